/* SPDX-License-Identifier: Apache-2.0
 *
 * Palettes. See palette.h. Mixing is done on the sRGB values as they are, as a painter's eye would:
 * linear light would need a table for every step and makes the middles of these mixes paler. */
#include "engine/builtin/palette.h"

enum { LIGHT = 200, DARK = 44, GREY_CHROMA2 = 900 };

static const struct rd_rgb cream = {255, 247, 226};
static const struct rd_rgb deep = {10, 9, 26};

struct rd_rgb rd_palette_mix(struct rd_rgb a, struct rd_rgb b, int32_t t)
{
    return (struct rd_rgb){
        (uint8_t)(a.r + (b.r - a.r) * t / 256),
        (uint8_t)(a.g + (b.g - a.g) * t / 256),
        (uint8_t)(a.b + (b.b - a.b) * t / 256),
    };
}

int32_t rd_palette_luma(struct rd_rgb c)
{
    return (c.r * 77 + c.g * 150 + c.b * 29) >> 8;
}

static struct rd_rgb scale(struct rd_rgb c, int32_t q8)
{
    return (struct rd_rgb){(uint8_t)(c.r * q8 / 256), (uint8_t)(c.g * q8 / 256),
                           (uint8_t)(c.b * q8 / 256)};
}

static void from_one(struct rd_rgb c, bool backdrop, struct rd_rgb ret[RD_PALETTE_STOPS])
{
    int32_t luma = rd_palette_luma(c);
    if (backdrop) {
        ret[0] = rd_palette_mix(scale(c, 36), deep, 60);
        ret[1] = rd_palette_mix(scale(c, 74), deep, 24);
        ret[2] = scale(c, 116);
        ret[3] = rd_palette_mix(scale(c, 176), cream, 20);
        ret[4] = rd_palette_mix(scale(c, 232), cream, 92);
    } else if (luma > LIGHT) {
        ret[0] = scale(c, 128);
        ret[1] = scale(c, 176);
        ret[2] = scale(c, 216);
        ret[3] = c;
        ret[4] = rd_palette_mix(c, (struct rd_rgb){255, 255, 255}, 150);
    } else if (luma < DARK) {
        ret[0] = scale(c, 80);
        ret[1] = c;
        ret[2] = rd_palette_mix(c, cream, 22);
        ret[3] = rd_palette_mix(c, cream, 54);
        ret[4] = rd_palette_mix(c, cream, 112);
    } else {
        ret[0] = rd_palette_mix(scale(c, 60), deep, 40);
        ret[1] = scale(c, 144);
        ret[2] = c;
        ret[3] = rd_palette_mix(c, cream, 76);
        ret[4] = rd_palette_mix(c, cream, 176);
    }
}

void rd_palette_from_colours(const struct rd_rgb *colours, size_t count, bool backdrop,
                             struct rd_rgb ret[RD_PALETTE_STOPS])
{
    if (count <= 1) {
        from_one(colours[0], backdrop, ret);
        return;
    }
    struct rd_rgb first[RD_PALETTE_STOPS];
    struct rd_rgb last[RD_PALETTE_STOPS];
    from_one(colours[0], backdrop, first);
    from_one(colours[count - 1], backdrop, last);
    ret[0] = first[0];
    ret[1] = colours[0];
    ret[2] = count > 2 ? colours[1] : rd_palette_mix(colours[0], colours[1], 128);
    ret[3] = colours[count - 1];
    ret[4] = last[4];
}

struct rd_rgb rd_palette_without(struct rd_rgb c, struct rd_rgb banned)
{
    int32_t ban_luma = rd_palette_luma(banned);
    int32_t br = banned.r - ban_luma;
    int32_t bg = banned.g - ban_luma;
    int32_t bb = banned.b - ban_luma;
    int32_t b2 = br * br + bg * bg + bb * bb;
    int32_t luma = rd_palette_luma(c);
    if (b2 < GREY_CHROMA2) {
        if (ban_luma > 160) {
            return scale(c, 256 - (luma > 128 ? (luma - 128) * 3 / 4 : 0));
        }
        if (ban_luma < 96) {
            return rd_palette_mix(c, cream, luma < 112 ? (112 - luma) * 3 / 4 : 0);
        }
        return c;
    }
    int32_t ur = c.r - luma;
    int32_t ug = c.g - luma;
    int32_t ub = c.b - luma;
    int32_t dot = ur * br + ug * bg + ub * bb;
    int32_t u2 = ur * ur + ug * ug + ub * ub;
    /* within about 50 degrees of the banned hue: cos^2 > 0.41 */
    if (dot <= 0 || (int64_t)dot * dot * 100 < (int64_t)u2 * b2 * 41) {
        return c;
    }
    /* take the component along the banned hue out, and turn the colour a little to its other side
     */
    int64_t k = (int64_t)dot * 320 / b2;
    return (struct rd_rgb){
        (uint8_t)rd_noise_clamp(luma + ur - br * k / 256, 0, 255),
        (uint8_t)rd_noise_clamp(luma + ug - bg * k / 256, 0, 255),
        (uint8_t)rd_noise_clamp(luma + ub - bb * k / 256, 0, 255),
    };
}
