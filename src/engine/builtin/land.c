/* SPDX-License-Identifier: Apache-2.0
 *
 * Landscapes. See land.h. A range is a height for each column: some tents (peaks) or sines (hills)
 * with noise on them. Below its edge each pixel asks which way the slope faces, by noise that is
 * sheared with depth, and is lit or in shade; farther layers fade into the colour of the sky. */
#include "engine/builtin/land.h"

#include "engine/builtin/palette.h"

enum { PEAKS = 7, STARS = 90, BIG_STARS = 8, BAND_ROWS = 32 };

struct range {
    const struct rd_plan_subject *subject;
    int32_t side;       /* short side of the frame */
    int32_t width;      /* of the surface */
    int32_t base, rise; /* rows: the foot, and how far the highest peak stands above it */
    int32_t peak_x;
    uint32_t seed;
    bool mountain;
    struct rd_rgb lit, dim, haze;
};

/* Rows that the range stands above its base at column `x`, in 1/16 pixels. */
static int32_t range_height(const struct range *r, int32_t x)
{
    int32_t u = (int32_t)((int64_t)x * 65536 / r->side);
    if (!r->mountain) {
        int32_t n = rd_noise_fbm(r->seed, u * 3 / 2, 3000, 3);
        return (int32_t)((int64_t)r->rise * 16 * (26000 + n) / 52000);
    }
    int32_t best = 0;
    for (int32_t i = 0; i < PEAKS; i++) {
        uint32_t h = rd_noise_hash(r->seed, i, 0, 0x9ea);
        int32_t at =
            i == 0 ? r->peak_x
                   : r->width * i / (PEAKS - 1) + rd_noise_range(h, -r->side / 9, r->side / 9);
        int32_t tall = i == 0 ? 256 : rd_noise_range(h >> 3, 110, 215);
        int32_t spread = r->rise * rd_noise_range(h >> 7, 105, 150) / 100 * tall / 256 + 1;
        int32_t away = x > at ? x - at : at - x;
        int32_t height = away < spread ? (spread - away) * 256 / spread * tall / 256 : 0;
        best = height > best ? height : best;
    }
    int32_t rough = rd_noise_fbm(r->seed + 5, u * 8, 1000, 5);
    int32_t slow = rd_noise_fbm(r->seed + 6, u * 2, 2000, 2);
    int32_t total = best * 200 + rough / 3 + slow / 4 + 6000;
    return (int32_t)((int64_t)r->rise * 16 * (total > 0 ? total : 0) / 57000);
}

static struct rd_rgb mountain_colour(const struct range *r, int32_t x, int32_t depth,
                                     int32_t height)
{
    int32_t u = (int32_t)((int64_t)x * 65536 / r->side);
    int32_t v = (int32_t)((int64_t)depth * 65536 / r->side);
    /* facets: noise sheared along the fall line, to the left for one half and the right for the
     * other */
    int32_t facet = rd_noise_gradient(r->seed + 9, u * 8 + v * 6, v * 5) +
                    rd_noise_gradient(r->seed + 10, u * 20 - v * 14, v * 11) * 3 / 4;
    int32_t light = rd_noise_clamp(128 + (int64_t)facet * 256 / 22000, 0, 256);
    struct rd_rgb c = rd_palette_mix(r->dim, r->lit, light);
    int32_t ragged = facet / 3 + rd_noise_gradient(r->seed + 11, u * 60, v * 14) / 2;
    int32_t snow_line = height * 9 / 16 - (r->rise - height) / 2 + ragged * r->rise / 60000;
    int32_t snowy = rd_noise_clamp((int64_t)(snow_line - depth) * 5000 / r->side, 0, 230);
    if (snowy > 0) {
        struct rd_rgb snow =
            rd_palette_mix(rd_palette_mix((struct rd_rgb){120, 146, 204}, r->dim, 50),
                           (struct rd_rgb){255, 250, 240}, light);
        c = rd_palette_mix(c, snow, snowy);
    }
    int32_t low = rd_noise_clamp((int64_t)depth * 256 / (r->rise + 1) - 60, 0, 150);
    return rd_palette_mix(c, r->haze, low);
}

static struct rd_rgb hill_colour(const struct range *r, int32_t x, int32_t depth)
{
    int32_t u = (int32_t)((int64_t)x * 65536 / r->side);
    int32_t v = (int32_t)((int64_t)depth * 65536 / r->side);
    int32_t n = rd_noise_gradient(r->seed + 9, u * 3 + v * 2, v * 12) / 2 +
                rd_noise_gradient(r->seed + 10, u * 9, v * 30) / 3;
    int32_t light =
        rd_noise_clamp(190 - (int64_t)depth * 210 / (r->rise * 3 + 1) + n / 150, 0, 256);
    return rd_palette_mix(r->dim, r->lit, light);
}

static struct rd_rgb range_colour(const struct range *r, int32_t x, int32_t depth, int32_t height)
{
    return r->mountain ? mountain_colour(r, x, depth, height) : hill_colour(r, x, depth);
}

static rd_err draw_range(const struct range *r, int32_t alpha, struct rd_surface *surface,
                         const struct rd_pulse *pulse)
{
    int32_t heights[RD_SURFACE_SIDE_MAX]; /* 1/16 pixels */
    int32_t highest = 0;
    for (int32_t x = 0; x < surface->width; x++) {
        heights[x] = range_height(r, x);
        highest = heights[x] > highest ? heights[x] : highest;
    }
    int32_t first = rd_noise_clamp((r->base * 16 - highest) >> 4, 0, surface->height);
    for (int32_t y = first; y < surface->height; y++) {
        RD_TRY(y % BAND_ROWS == 0 ? rd_pulse_check(pulse) : RD_OK);
        uint8_t *p = surface->rgb + (size_t)y * (size_t)surface->width * 3;
        struct rd_rgb c = {0, 0, 0};
        for (int32_t x = 0, known = 0; x < surface->width; x++, p += 3) {
            int32_t top = r->base * 16 - heights[x];
            int32_t depth = y - (top >> 4);
            if (depth < 0) {
                known = 0;
                continue;
            }
            if (known == 0) { /* one colour for three pixels: the finest stroke is wider */
                c = range_colour(r, x, depth, heights[x] >> 4);
                known = depth < 3 ? 1 : 3;
            }
            known--;
            int32_t a = (depth == 0 ? 256 - (top & 15) * 16 : 256) * alpha >> 8;
            p[0] = (uint8_t)(p[0] + (c.r - p[0]) * a / 256);
            p[1] = (uint8_t)(p[1] + (c.g - p[1]) * a / 256);
            p[2] = (uint8_t)(p[2] + (c.b - p[2]) * a / 256);
        }
    }
    return RD_OK;
}

rd_err rd_land_draw(const struct rd_scene *scene, const struct rd_plan_subject *subject, int32_t x,
                    struct rd_surface *surface, const struct rd_pulse *pulse)
{
    const struct rd_frame *f = &scene->frame;
    int32_t side = f->width < f->height ? f->width : f->height;
    bool mountain = subject->kind == RD_SHAPE_MOUNTAIN;
    struct rd_rgb sky = rd_scene_colour(scene, 50000);
    struct rd_rgb shadow = rd_palette_mix(scene->plan->palette[0], (struct rd_rgb){14, 16, 40}, 96);
    int32_t layers = mountain ? 2 : 3;
    for (int32_t i = 0; i < layers; i++) {
        int32_t far = layers - 1 - i; /* 0: the nearest */
        struct rd_rgb c = rd_palette_mix(subject->rgb, sky, mountain ? far * 112 : far * 70);
        struct range r = {
            .subject = subject,
            .side = side,
            .width = surface->width,
            .base = f->y + (int32_t)((int64_t)subject->y * f->height / 65536),
            .rise = (int32_t)((int64_t)subject->size * side / 65536) * (mountain ? 4 + far : 4) / 4,
            .peak_x = far == 0 ? x : f->x + f->width - (x - f->x),
            .seed = subject->seed + (uint32_t)i * 77,
            .mountain = mountain,
            .lit = rd_palette_mix(c, (struct rd_rgb){255, 244, 214}, mountain ? 76 : 70),
            .dim = rd_palette_mix(c, shadow, 128 - far * 40),
            .haze = rd_palette_mix(sky, c, 70),
        };
        if (!mountain) { /* the nearest lies lowest */
            r.base += (i - 1) * r.rise * 3 / 4 + r.rise / 2;
        }
        r.rise = r.rise > 0 ? r.rise : 1;
        RD_TRY(draw_range(&r, scene->plan->subject_alpha, surface, pulse));
    }
    return RD_OK;
}

rd_err rd_land_water(const struct rd_scene *scene, uint32_t turn, struct rd_surface *surface,
                     const struct rd_pulse *pulse)
{
    const struct rd_plan *plan = scene->plan;
    int32_t side =
        scene->frame.width < scene->frame.height ? scene->frame.width : scene->frame.height;
    int32_t horizon = scene->horizon;
    struct rd_rgb deep = rd_palette_mix(plan->palette[0], plan->palette[1], 150);
    struct rd_rgb foam = plan->palette[4];
    uint32_t seed = rd_noise_hash(plan->seed, 1, 0, 0x3a7e);
    int32_t travel = (int32_t)((int64_t)plan->motion * rd_noise_sin(turn) / 32768);
    int32_t swell = (int32_t)((int64_t)plan->motion * (rd_noise_cos(turn) - 32767) / 32768);
    for (int32_t y = horizon > 0 ? horizon : 0; y < surface->height; y++) {
        RD_TRY(y % BAND_ROWS == 0 ? rd_pulse_check(pulse) : RD_OK);
        int32_t depth = y - horizon;
        /* perspective: ripples are thin far away and wide at the shore */
        int32_t near = 16 + depth * 240 / (surface->height - horizon + 1);
        int32_t v = (int32_t)((int64_t)depth * 65536 * 30 / side * 64 / (near + 48));
        for (int32_t x = 0; x < surface->width; x++) {
            int32_t u =
                (int32_t)(((int64_t)x * 2 - surface->width) * 32768 / side * 5 * 96 / (near + 64));
            int32_t n = rd_noise_gradient(seed, u + travel, v + swell) +
                        rd_noise_gradient(seed + 1, u * 3 - travel, v * 2 + 5000) / 2;
            int32_t sx = rd_noise_clamp(x + (int64_t)n * near * side / (32768 * 6 * 256), 0,
                                        surface->width - 1);
            int32_t sy =
                rd_noise_clamp(horizon - 1 - depth - (int64_t)n * near * side / (32768 * 9 * 256),
                               0, horizon > 0 ? horizon - 1 : 0);
            const uint8_t *m =
                surface->rgb + ((size_t)sy * (size_t)surface->width + (size_t)sx) * 3;
            struct rd_rgb c =
                rd_palette_mix((struct rd_rgb){m[0], m[1], m[2]}, deep, 70 + near * 90 / 256);
            c = n > 9000 ? rd_palette_mix(c, foam, (n - 9000) / 110 > 90 ? 90 : (n - 9000) / 110)
                         : c;
            uint8_t *p = surface->rgb + ((size_t)y * (size_t)surface->width + (size_t)x) * 3;
            p[0] = c.r;
            p[1] = c.g;
            p[2] = c.b;
        }
    }
    return RD_OK;
}

/* The star `i`: place, size in 1/16 of the short side's per mille, and its own hash. */
static void star_at(const struct rd_scene *scene, int32_t i, int32_t at[2], int32_t *ret_radius)
{
    const struct rd_frame *f = &scene->frame;
    uint32_t seed = scene->plan->seed;
    int32_t side = f->width < f->height ? f->width : f->height;
    int32_t bottom = scene->horizon > 0 ? scene->horizon - f->y : f->height;
    bool big = i < BIG_STARS;
    at[0] = f->x + rd_noise_range(rd_noise_hash(seed, i, 0, 0x57a1), 0, f->width);
    at[1] =
        f->y + rd_noise_range(rd_noise_hash(seed, i, 1, 0x57a1), 0, bottom * (big ? 78 : 94) / 100);
    if (big) { /* spread them: one for each eighth of the width, in a mixed order */
        int32_t slot = (i * 5 + (int32_t)(seed & 7)) % BIG_STARS;
        at[0] = f->x + (slot * 2 + 1) * f->width / (2 * BIG_STARS) +
                rd_noise_range(rd_noise_hash(seed, i, 2, 0x57a1), -f->width / 24, f->width / 24);
    }
    uint32_t h = rd_noise_hash(seed, i, 3, 0x57a1);
    *ret_radius = side * (big ? rd_noise_range(h, 26, 50) : rd_noise_range(h, 6, 14)) / 1000 + 1;
}

void rd_land_stars(const struct rd_scene *scene, uint32_t turn, struct rd_surface *surface)
{
    struct rd_rgb warm =
        rd_palette_mix(scene->plan->palette[4], (struct rd_rgb){255, 224, 130}, 120);
    struct rd_rgb white = {255, 252, 236};
    for (int32_t i = 0; i < STARS; i++) {
        int32_t at[2];
        int32_t radius;
        star_at(scene, i, at, &radius);
        uint32_t h = rd_noise_hash(scene->plan->seed, i, 4, 0x57a1);
        int32_t wink = rd_noise_sin(turn * (1 + h % 3) + (h >> 8)) - rd_noise_sin(h >> 8);
        int32_t glow = rd_noise_clamp(210 + wink / 400 * (scene->plan->motion >> 8) / 256, 60, 256);
        struct rd_rgb c = h & 4 ? warm : rd_palette_mix(warm, scene->plan->palette[3], 150);
        rd_shapes_glow(surface, at, radius * 2, c, glow * 5 / 8);
        rd_shapes_glow(surface, at, radius, rd_palette_mix(c, white, 150), glow);
        rd_shapes_glow(surface, at, radius / 2 + 1, white, glow);
    }
}

void rd_land_star_vortices(const struct rd_scene *scene, struct rd_moment *moment)
{
    for (int32_t i = 0; i < BIG_STARS && moment->vortices_count < RD_FIELD_VORTICES; i++) {
        int32_t at[2];
        int32_t radius;
        star_at(scene, i, at, &radius);
        moment->vortices[moment->vortices_count++] = (struct rd_vortex){at[0], at[1], radius * 3};
    }
}
