/* SPDX-License-Identifier: Apache-2.0
 *
 * The filler and the way from a table of parts to polygons. See shapes.h; the tables of the
 * subjects are in shapes_table.c. */
#include "engine/builtin/shapes.h"

#include <string.h>

#include "engine/builtin/palette.h"
#include "engine/builtin/shapes_table.h"

enum { ROWS_PER_PIXEL = 4, CROSSINGS_MAX = 64, ELLIPSE_POINTS = 44, CURVE_POINTS = 64 };

/* Adds a span of one sample row to the cover of the pixels under it; a full pixel gets 64 of 256.
 */
static void add_span(int32_t *cover, int32_t from, int32_t to, int32_t width)
{
    from = rd_noise_clamp(from, 0, width * 256);
    to = rd_noise_clamp(to, 0, width * 256);
    if (to <= from) {
        return;
    }
    int32_t first = from >> 8;
    int32_t last = to >> 8;
    if (first == last) {
        cover[first] += (to - from) / ROWS_PER_PIXEL;
        return;
    }
    cover[first] += (256 - (from & 255)) / ROWS_PER_PIXEL;
    for (int32_t x = first + 1; x < last; x++) {
        cover[x] += 256 / ROWS_PER_PIXEL;
    }
    if (last < width) {
        cover[last] += (to & 255) / ROWS_PER_PIXEL;
    }
}

/* Where the row at `y` crosses the edges, sorted. */
static size_t crossings(const int32_t (*points)[2], size_t count, int32_t y,
                        int32_t ret[CROSSINGS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < count && n < CROSSINGS_MAX; i++) {
        const int32_t *a = points[i];
        const int32_t *b = points[i + 1 < count ? i + 1 : 0];
        if ((a[1] <= y) == (b[1] <= y)) {
            continue;
        }
        int32_t x = a[0] + (int32_t)((int64_t)(b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]));
        size_t k = n++;
        for (; k > 0 && ret[k - 1] > x; k--) {
            ret[k] = ret[k - 1];
        }
        ret[k] = x;
    }
    return n;
}

/* 0..256 on the way from `from` to `to` at a pixel. */
static int32_t fill_at(const struct rd_fill *fill, int32_t x, int32_t y)
{
    int64_t ux = x - fill->x;
    int64_t uy = y - fill->y;
    if (fill->radial) {
        int64_t r2 = (int64_t)fill->dx * fill->dx;
        return r2 == 0 ? 256 : rd_noise_clamp((ux * ux + uy * uy) * 256 / r2, 0, 256);
    }
    int64_t len2 = (int64_t)fill->dx * fill->dx + (int64_t)fill->dy * fill->dy;
    return len2 == 0 ? 0 : rd_noise_clamp((ux * fill->dx + uy * fill->dy) * 256 / len2, 0, 256);
}

static void blend(uint8_t *p, struct rd_rgb c, int32_t alpha)
{
    p[0] = (uint8_t)(p[0] + (c.r - p[0]) * alpha / 256);
    p[1] = (uint8_t)(p[1] + (c.g - p[1]) * alpha / 256);
    p[2] = (uint8_t)(p[2] + (c.b - p[2]) * alpha / 256);
}

void rd_shapes_polygon(struct rd_surface *surface, const int32_t (*points)[2], size_t count,
                       const struct rd_fill *fill)
{
    int32_t cover[RD_SURFACE_SIDE_MAX + 1];
    int32_t box[4] = {INT32_MAX, INT32_MAX, INT32_MIN, INT32_MIN};
    for (size_t i = 0; i < count; i++) {
        box[0] = points[i][0] < box[0] ? points[i][0] : box[0];
        box[1] = points[i][1] < box[1] ? points[i][1] : box[1];
        box[2] = points[i][0] > box[2] ? points[i][0] : box[2];
        box[3] = points[i][1] > box[3] ? points[i][1] : box[3];
    }
    if (count < 3) {
        return;
    }
    int32_t x0 = rd_noise_clamp(box[0] >> 8, 0, surface->width);
    int32_t x1 = rd_noise_clamp((box[2] >> 8) + 1, 0, surface->width);
    int32_t y0 = rd_noise_clamp(box[1] >> 8, 0, surface->height);
    int32_t y1 = rd_noise_clamp((box[3] >> 8) + 1, 0, surface->height);
    for (int32_t y = y0; y < y1 && x1 > x0; y++) {
        memset(cover + x0, 0, (size_t)(x1 - x0 + 1) * sizeof cover[0]);
        for (int32_t row = 0; row < ROWS_PER_PIXEL; row++) {
            int32_t cross[CROSSINGS_MAX];
            size_t n = crossings(points, count, y * 256 + 32 + row * 64, cross);
            for (size_t i = 0; i + 1 < n; i += 2) {
                add_span(cover, cross[i], cross[i + 1], surface->width);
            }
        }
        uint8_t *p = surface->rgb + ((size_t)y * (size_t)surface->width + (size_t)x0) * 3;
        for (int32_t x = x0; x < x1; x++, p += 3) {
            if (cover[x] > 0) {
                int32_t t = fill_at(fill, x, y) * 2;
                struct rd_rgb c = t < 256 ? rd_palette_mix(fill->from, fill->mid, t)
                                          : rd_palette_mix(fill->mid, fill->to, t - 256);
                blend(p, c, (cover[x] > 256 ? 256 : cover[x]) * fill->alpha / 256);
            }
        }
    }
}

void rd_shapes_glow(struct rd_surface *surface, const int32_t centre[2], int32_t radius,
                    struct rd_rgb colour, int32_t alpha)
{
    int32_t y0 = rd_noise_clamp(centre[1] - radius, 0, surface->height);
    int32_t y1 = rd_noise_clamp(centre[1] + radius + 1, 0, surface->height);
    int32_t x0 = rd_noise_clamp(centre[0] - radius, 0, surface->width);
    int32_t x1 = rd_noise_clamp(centre[0] + radius + 1, 0, surface->width);
    int64_t r2 = (int64_t)radius * radius;
    for (int32_t y = y0; y < y1; y++) {
        uint8_t *p = surface->rgb + ((size_t)y * (size_t)surface->width + (size_t)x0) * 3;
        for (int32_t x = x0; x < x1; x++, p += 3) {
            int64_t ux = x - centre[0];
            int64_t uy = y - centre[1];
            int64_t d2 = ux * ux + uy * uy;
            if (d2 < r2) {
                int32_t near = (int32_t)(256 - d2 * 256 / r2);
                blend(p, colour, near * near / 256 * near / 256 * alpha / 256);
            }
        }
    }
}

/* --- parts --- */

struct drawing {
    struct rd_surface *surface;
    const struct rd_pose *pose;
    struct rd_rgb roles[RD_ROLE_COUNT_];
    int32_t alpha;
    int32_t sin, cos; /* of the tilt, Q15 */
};

/* From the table's square to 1/256 pixels. `x`, `y` are Q4 of the table's unit. */
static void place(const struct drawing *d, int32_t x, int32_t y, int32_t ret[2])
{
    int64_t px = (int64_t)x * d->pose->size / 1600;
    int64_t py = (int64_t)y * d->pose->size / 1600;
    ret[0] = d->pose->x + (int32_t)((px * d->cos - py * d->sin) / 32768);
    ret[1] = d->pose->y + (int32_t)((px * d->sin + py * d->cos) / 32768);
}

static size_t ellipse_points(const struct drawing *d, const int8_t v[5], int32_t (*points)[2])
{
    uint32_t tilt = (uint32_t)(v[4] * 256);
    int32_t s = rd_noise_sin(tilt);
    int32_t c = rd_noise_cos(tilt);
    for (uint32_t i = 0; i < ELLIPSE_POINTS; i++) {
        uint32_t turn = i * 65536 / ELLIPSE_POINTS;
        int32_t ex = rd_noise_cos(turn) * v[2] / 2048; /* Q4 */
        int32_t ey = rd_noise_sin(turn) * v[3] / 2048;
        place(d, v[0] * 16 + (ex * c - ey * s) / 32768, v[1] * 16 + (ex * s + ey * c) / 32768,
              points[i]);
    }
    return ELLIPSE_POINTS;
}

/* v: points, outer radius, inner radius, turn in 1/256: stars, regular polygons, suns. */
static size_t spiky_points(const struct drawing *d, const int8_t v[5], int32_t (*points)[2])
{
    uint32_t count = (uint32_t)v[0] * 2;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t turn = i * 65536 / count + (uint32_t)(v[3] * 256);
        int32_t r = i % 2 == 0 ? v[1] : v[2];
        place(d, rd_noise_cos(turn) * r / 2048, rd_noise_sin(turn) * r / 2048, points[i]);
    }
    return count;
}

/* The usual heart curve: x = 16 sin^3, y = 13 cos - 5 cos 2 - 2 cos 3 - cos 4. */
static size_t heart_points(const struct drawing *d, const int8_t v[5], int32_t (*points)[2])
{
    for (uint32_t i = 0; i < CURVE_POINTS; i++) {
        uint32_t t = i * 65536 / CURVE_POINTS;
        int64_t s = rd_noise_sin(t);
        int32_t x = (int32_t)(s * s / 32768 * s / 32768) * 16;
        int32_t y = 13 * rd_noise_cos(t) - 5 * rd_noise_cos(2 * t) - 2 * rd_noise_cos(3 * t) -
                    rd_noise_cos(4 * t);
        /* 17 units high each way at most; the table's v[0] is the size in per cent */
        place(d, x / 17 * v[0] / 2048, (-y - 65536) / 17 * v[0] / 2048, points[i]);
    }
    return CURVE_POINTS;
}

/* Along the outside, then back along the inside: even-odd filling leaves the hole. */
static size_t ring_points(const struct drawing *d, const int8_t v[5], int32_t (*points)[2])
{
    uint32_t tilt = (uint32_t)(v[3] * 256);
    int32_t s = rd_noise_sin(tilt);
    int32_t c = rd_noise_cos(tilt);
    size_t n = 0;
    for (int side = 0; side < 2; side++) {
        for (uint32_t i = 0; i <= ELLIPSE_POINTS; i++) {
            uint32_t along = (side == 0 ? i : ELLIPSE_POINTS - i) * (v[4] ? 32768u : 65536u);
            uint32_t turn = along / ELLIPSE_POINTS;
            int32_t ex = rd_noise_cos(turn) * v[side] / 2048;
            int32_t ey = rd_noise_sin(turn) * v[side] / 2048 * v[2] / 100;
            place(d, (ex * c - ey * s) / 32768, (ex * s + ey * c) / 32768, points[n++]);
        }
    }
    return n;
}

static size_t part_points(const struct drawing *d, const struct rd_part *part, int32_t (*points)[2])
{
    switch (part->form) {
    case RD_FORM_ELLIPSE:
        return ellipse_points(d, part->data, points);
    case RD_FORM_SPIKY:
        return spiky_points(d, part->data, points);
    case RD_FORM_HEART:
        return heart_points(d, part->data, points);
    case RD_FORM_RING:
        return ring_points(d, part->data, points);
    case RD_FORM_POLYGON:
        break;
    }
    for (size_t i = 0; i < part->count; i++) {
        place(d, part->data[2 * i] * 16, part->data[2 * i + 1] * 16, points[i]);
    }
    return part->count;
}

/* Light falls from the upper left on everything. */
static void part_fill(const struct drawing *d, const struct rd_part *part, struct rd_fill *ret)
{
    struct rd_rgb c = d->roles[part->role];
    int32_t r = d->pose->size >> 8;
    int32_t centre[2] = {d->pose->x >> 8, d->pose->y >> 8};
    *ret = (struct rd_fill){.alpha = d->alpha, .from = c, .mid = c, .to = c};
    struct rd_rgb lit = rd_palette_mix(c, (struct rd_rgb){255, 244, 214}, 112);
    struct rd_rgb dim = rd_palette_mix(c, (struct rd_rgb){24, 14, 48}, 136);
    switch (part->shade) {
    case RD_SHADE_FLAT:
        break;
    case RD_SHADE_SLOPE:
        ret->from = lit;
        ret->to = dim;
        ret->x = centre[0] - r * 7 / 10;
        ret->y = centre[1] - r;
        ret->dx = r * 14 / 10;
        ret->dy = r * 2;
        break;
    case RD_SHADE_BALL: {
        int32_t at[2];
        bool round = part->form == RD_FORM_ELLIPSE;
        place(d, round ? part->data[0] * 16 : 0, round ? part->data[1] * 16 : 0, at);
        int32_t reach =
            round ? r * (part->data[2] > part->data[3] ? part->data[2] : part->data[3]) / 100 : r;
        ret->from = lit;
        ret->to = dim;
        ret->radial = true;
        ret->x = (at[0] >> 8) - reach * 35 / 100;
        ret->y = (at[1] >> 8) - reach * 40 / 100;
        ret->dx = reach * 155 / 100;
        break;
    }
    case RD_SHADE_CORE:
        ret->from = rd_palette_mix(c, (struct rd_rgb){255, 255, 240}, 150);
        ret->mid = rd_palette_mix(c, ret->from, 110);
        ret->radial = true;
        ret->x = centre[0];
        ret->y = centre[1];
        ret->dx = r;
        break;
    }
}

static void fill_roles(struct rd_rgb main, struct rd_rgb roles[RD_ROLE_COUNT_])
{
    static const struct rd_rgb white = {255, 250, 236};
    static const struct rd_rgb night = {20, 16, 38};
    roles[RD_ROLE_MAIN] = main;
    roles[RD_ROLE_LIGHT] = rd_palette_mix(main, white, 120);
    roles[RD_ROLE_DARK] = rd_palette_mix(main, night, 120);
    roles[RD_ROLE_SHADE] = rd_palette_mix(main, night, 44);
    roles[RD_ROLE_PALE] = rd_palette_mix(white, main, 26);
    roles[RD_ROLE_INK] = rd_palette_mix(night, main, 34);
    roles[RD_ROLE_BARK] = (struct rd_rgb){88, 58, 40};
    roles[RD_ROLE_ROOF] = rd_palette_mix((struct rd_rgb){168, 62, 44}, main, 40);
    roles[RD_ROLE_LAMP] = (struct rd_rgb){255, 214, 110};
    roles[RD_ROLE_LEAF] = (struct rd_rgb){66, 128, 62};
}

void rd_shapes_draw(struct rd_surface *surface, enum rd_shape shape, const struct rd_pose *pose,
                    struct rd_rgb main, int32_t alpha)
{
    struct drawing d = {
        .surface = surface,
        .pose = pose,
        .alpha = alpha,
        .sin = rd_noise_sin(pose->tilt),
        .cos = rd_noise_cos(pose->tilt),
    };
    fill_roles(main, d.roles);
    for (size_t i = pose->skip; i < rd_shapes_table[shape].count; i++) {
        const struct rd_part *part = &rd_shapes_table[shape].parts[i];
        int32_t points[RD_POLYGON_POINTS_MAX][2];
        size_t count = part_points(&d, part, points);
        struct rd_fill fill;
        part_fill(&d, part, &fill);
        rd_shapes_polygon(surface, points, count, &fill);
    }
}
