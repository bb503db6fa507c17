/* SPDX-License-Identifier: Apache-2.0
 *
 * The stroke. See brush.h. This is where the time goes, so the loop is lean: both texture
 * coordinates move by a constant from pixel to pixel, the arc is one multiplication, and each row
 * starts and ends where the stroke does, found by one division a row and side. */
#include "engine/builtin/brush.h"

#include "base/mem.h"

/* Noise along the bristles: long in u, fine in v. */
static int32_t bristle(uint32_t seed, int32_t u, int32_t v)
{
    int32_t fine = rd_noise_gradient(seed, u * 900, v * 24000);
    int32_t coarse = rd_noise_gradient(seed + 1, u * 600, v * 9000);
    return fine + coarse;
}

void rd_brushes_make(struct rd_brushes *ret)
{
    for (int32_t kind = 0; kind < RD_BRUSH_KINDS; kind++) {
        uint32_t seed = 0xb2054u + (uint32_t)kind * 101;
        for (int32_t u = 0; u < RD_BRUSH_U; u++) {
            for (int32_t v = 0; v < RD_BRUSH_V; v++) {
                int32_t n = bristle(seed, u, v); /* about -30000..30000 */
                int32_t across = v * 2 - (RD_BRUSH_V - 1);
                across = (across < 0 ? -across : across) * 256 / RD_BRUSH_V; /* 0..252 at the rim */
                /* the rim frays; the end runs dry; the start is round */
                int32_t rim = rd_noise_clamp((int64_t)(236 - across) * 8 + n / 100, 0, 256);
                int32_t dry = u > 150 ? (u - 150) * 256 / 106 : 0;
                int32_t end = rd_noise_clamp(256 + n / 64 - dry * 5 / 4, 0, 256);
                int32_t round = across * across / 256 / 5 + 5;
                int32_t start = rd_noise_clamp((int64_t)(u - round + n / 4000) * 24, 0, 256);
                int32_t last = rd_noise_clamp((int64_t)(RD_BRUSH_U - 3 - u) * 30, 0, 256);
                int32_t body = rd_noise_clamp(236 + n / 300, 0, 256);
                int32_t cover = rim * end / 256 * start / 256 * last / 256 * body / 256;
                /* paint is pushed to the rims and to the end of the stroke */
                int32_t ridge = across > 180 ? (across - 180) / 3 : 0;
                int32_t thick = 142 + n / 500 + ridge + (u < 40 ? (40 - u) / 3 : 0);
                ret->texels[kind][u * RD_BRUSH_V + v] =
                    (uint16_t)(rd_noise_clamp(cover, 0, 255) << 8 | rd_noise_clamp(thick, 0, 255));
            }
        }
    }
}

rd_err rd_canvas_new(int32_t width, int32_t height, struct rd_canvas *ret)
{
    uint8_t *pixels = rd_mem_alloc_array((size_t)width * (size_t)height, 4);
    if (!pixels) {
        return RD_ERR_NO_MEMORY;
    }
    *ret = (struct rd_canvas){pixels, width, height};
    return RD_OK;
}

void rd_canvas_done(struct rd_canvas *canvas)
{
    rd_mem_free(canvas->pixels);
    canvas->pixels = NULL;
}

/* The x at which start + step * x is inside 0..limit, cut to ret[0]..ret[1]. */
static void cut_span(int32_t start, int32_t step, int32_t limit, int32_t ret[2])
{
    if (step > -64 && step < 64) {
        return; /* hardly moves: the test of each pixel decides */
    }
    int32_t a = -start / step;
    int32_t b = (limit - start) / step;
    int32_t lo = (a < b ? a : b) - 1;
    int32_t hi = (a < b ? b : a) + 2;
    ret[0] = lo > ret[0] ? lo : ret[0];
    ret[1] = hi < ret[1] ? hi : ret[1];
}

struct laying {
    const uint16_t *texels;
    const struct rd_stroke *stroke;
    int32_t step_u, step_v; /* Q16 texels a pixel to the right */
    int32_t bend;           /* Q8 texels at the ends */
};

static inline int32_t absolute(int32_t v)
{
    return v < 0 ? -v : v;
}

/* `count` pixels of a row; `uv` Q16 belongs to the first. */
static void lay_row(const struct laying *l, uint8_t *p, const uint8_t *t, int32_t count,
                    const int32_t uv[2])
{
    int32_t u = uv[0];
    int32_t v = uv[1];
    const struct rd_stroke *s = l->stroke;
    int32_t r = s->rgb.r;
    int32_t g = s->rgb.g;
    int32_t b = s->rgb.b;
    for (int32_t i = 0; i < count; i++, p += 4, t += 3, u += l->step_u, v += l->step_v) {
        uint32_t ui = (uint32_t)(u >> 16);
        if (ui >= RD_BRUSH_U) {
            continue;
        }
        int32_t uc = (int32_t)ui - RD_BRUSH_U / 2;
        uint32_t vi = (uint32_t)((v + (l->bend * uc * uc >> 6)) >> 16);
        if (vi >= RD_BRUSH_V) {
            continue;
        }
        uint32_t texel = l->texels[ui * RD_BRUSH_V + vi];
        int32_t a = (int32_t)(texel >> 8) * s->alpha >> 8;
        if (a == 0) {
            continue;
        }
        if (s->keep > 0) {
            int32_t far = absolute(t[0] - r) + absolute(t[1] - g) + absolute(t[2] - b);
            int32_t close = 256 - (far * s->keep >> 8);
            if (close <= 0) {
                continue;
            }
            a = a * close >> 8;
        }
        p[0] = (uint8_t)(p[0] + ((r - p[0]) * a + 128) / 256);
        p[1] = (uint8_t)(p[1] + ((g - p[1]) * a + 128) / 256);
        p[2] = (uint8_t)(p[2] + ((b - p[2]) * a + 128) / 256);
        p[3] = (uint8_t)(p[3] + (((int32_t)(texel & 255) - p[3]) * a + 128) / 256);
    }
}

void rd_brush_paint(struct rd_canvas *canvas, const uint8_t *target,
                    const struct rd_brushes *brushes, const struct rd_stroke *s)
{
    int32_t length = s->length < 512 ? 512 : s->length;
    int32_t width = s->width < 256 ? 256 : s->width;
    /* texels per pixel in Q16, times the direction in Q14 */
    int32_t scale_u = (int32_t)((int64_t)RD_BRUSH_U * 65536 * 256 / length);
    int32_t scale_v = (int32_t)((int64_t)RD_BRUSH_V * 65536 * 256 / width);
    int32_t u_x = (int32_t)((int64_t)scale_u * s->dir_x >> 14);
    int32_t u_y = (int32_t)((int64_t)scale_u * s->dir_y >> 14);
    int32_t v_x = (int32_t)((int64_t)scale_v * -s->dir_y >> 14);
    int32_t v_y = (int32_t)((int64_t)scale_v * s->dir_x >> 14);
    struct laying l = {
        .texels = brushes->texels[s->kind % RD_BRUSH_KINDS],
        .stroke = s,
        .step_u = u_x,
        .step_v = v_x,
        .bend = s->bend * RD_BRUSH_V / 2,
    };
    int32_t bow = absolute(l.bend) * 256; /* Q16 texels */
    int32_t half_l = length / 2;
    int32_t half_w = width / 2 + absolute(s->bend) * (width / 2) / 256;
    int32_t reach_x =
        (absolute(s->dir_x) * (half_l >> 4) + absolute(s->dir_y) * (half_w >> 4)) >> 10;
    int32_t reach_y =
        (absolute(s->dir_y) * (half_l >> 4) + absolute(s->dir_x) * (half_w >> 4)) >> 10;
    int32_t x0 = rd_noise_clamp((s->x - reach_x) >> 8, 0, canvas->width);
    int32_t x1 = rd_noise_clamp(((s->x + reach_x) >> 8) + 2, 0, canvas->width);
    int32_t y0 = rd_noise_clamp((s->y - reach_y) >> 8, 0, canvas->height);
    int32_t y1 = rd_noise_clamp(((s->y + reach_y) >> 8) + 2, 0, canvas->height);
    /* the arc's middle is bowed back by a third, so that the stroke stays about its centre */
    int32_t v_mid = RD_BRUSH_V * 32768 - l.bend * 256 / 3;
    for (int32_t y = y0; y < y1; y++) {
        int64_t dx = (int64_t)x0 * 256 + 128 - s->x;
        int64_t dy = (int64_t)y * 256 + 128 - s->y;
        int64_t u = RD_BRUSH_U * 32768 + ((dx * u_x + dy * u_y) >> 8);
        int64_t v = v_mid + ((dx * v_x + dy * v_y) >> 8);
        if (u > INT32_MAX / 2 || u < INT32_MIN / 2 || v > INT32_MAX / 2 || v < INT32_MIN / 2) {
            continue;
        }
        int32_t cut[2] = {0, x1 - x0};
        cut_span((int32_t)u, u_x, RD_BRUSH_U * 65536, cut);
        cut_span((int32_t)v + bow, v_x, RD_BRUSH_V * 65536 + 2 * bow, cut);
        if (cut[1] > cut[0]) {
            size_t at = (size_t)y * (size_t)canvas->width + (size_t)(x0 + cut[0]);
            const int32_t uv[2] = {(int32_t)u + cut[0] * u_x, (int32_t)v + cut[0] * v_x};
            lay_row(&l, canvas->pixels + at * 4, target + at * 3, cut[1] - cut[0], uv);
        }
    }
}

/* `slope` is the difference of thickness across a pixel, lit from the upper left. */
static inline void light_pixel(const uint8_t *p, int32_t slope, int32_t relief, uint8_t *out)
{
    int32_t light = slope * relief / 640;
    light = light > 44 ? 44 : light < -40 ? -40 : light;
    for (int k = 0; k < 3; k++) {
        int32_t c = p[k] + light;
        out[k] = (uint8_t)(c < 0 ? 0 : c > 255 ? 255 : c);
    }
}

void rd_canvas_light(const struct rd_canvas *canvas, int32_t relief, int32_t row_from,
                     int32_t row_to, uint8_t *rgb)
{
    size_t stride = (size_t)canvas->width * 4;
    for (int32_t y = row_from; y < row_to; y++) {
        const uint8_t *p = canvas->pixels + (size_t)y * stride;
        const uint8_t *up = y > 0 ? p - stride : p;
        const uint8_t *down = y + 1 < canvas->height ? p + stride : p;
        uint8_t *out = rgb + (size_t)y * (size_t)canvas->width * 3;
        int32_t last = canvas->width - 1;
        for (int32_t x = 0; x <= last; x++, out += 3) {
            int32_t at = x * 4 + 3;
            int32_t across = p[x < last ? at + 4 : at] - p[x > 0 ? at - 4 : at];
            light_pixel(p + x * 4, across + (down[at] - up[at]) * 5 / 4, relief, out);
        }
    }
}
