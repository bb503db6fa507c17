/* SPDX-License-Identifier: Apache-2.0
 *
 * Before the first step: the target, smaller copies of it, and the noise, each with the source in
 * it where the task has one. See paint.h. */
#include "base/mem.h"
#include "engine/builtin/painter.h"
#include "engine/builtin/palette.h"

enum {
    NODES_MAX = 256, /* of the field, along the longer side */
    NOISE_CELL = 4,  /* pixels between evaluations of the smooth kinds of noise */
    ASPECT_MAX = 8,
};

static rd_err mip_new(int32_t width, int32_t height, struct rd_mip *ret)
{
    uint8_t *rgb = rd_mem_alloc_array((size_t)width * (size_t)height, 3);
    if (!rgb) {
        return RD_ERR_NO_MEMORY;
    }
    *ret = (struct rd_mip){rgb, width, height};
    return RD_OK;
}

/* A quarter of each side, averaged. */
static void mip_shrink(const struct rd_mip *from, struct rd_mip *to)
{
    for (int32_t y = 0; y < to->height; y++) {
        for (int32_t x = 0; x < to->width; x++) {
            int32_t sum[3] = {0, 0, 0};
            int32_t count = 0;
            for (int32_t j = y * 4; j < y * 4 + 4 && j < from->height; j++) {
                const uint8_t *p =
                    from->rgb + ((size_t)j * (size_t)from->width + (size_t)x * 4) * 3;
                for (int32_t i = x * 4; i < x * 4 + 4 && i < from->width; i++, p += 3, count++) {
                    sum[0] += p[0];
                    sum[1] += p[1];
                    sum[2] += p[2];
                }
            }
            uint8_t *q = to->rgb + ((size_t)y * (size_t)to->width + (size_t)x) * 3;
            for (int k = 0; k < 3; k++) {
                q[k] = (uint8_t)(sum[k] / count);
            }
        }
    }
}

/* i2i: the target lies between the source (strength 0) and the scene (1). Up to the middle the
 * source takes on the palette by its lightness; from there the scene grows in where its field is
 * low first, so that it comes in forms and not as a double exposure, lit by what is left of the
 * source. */
static void mix_source(struct rd_painter *painter)
{
    int32_t s = painter->in.plan->strength;
    int32_t restyle = rd_noise_clamp(s * 2, 0, 65536) * 13 / 16 / 256; /* Q8 */
    int32_t grow = rd_noise_clamp((int64_t)s * 2 - 65536, 0, 65536);
    size_t at = 0;
    for (int32_t y = 0; y < painter->in.height; y++) {
        for (int32_t x = 0; x < painter->in.width; x++, at += 3) {
            const uint8_t *src = painter->in.source + at;
            uint8_t *t = painter->target[0].rgb + at;
            int32_t luma = rd_painter_luma(src);
            struct rd_rgb from =
                rd_palette_mix((struct rd_rgb){src[0], src[1], src[2]},
                               rd_scene_colour(&painter->scene, (uint32_t)luma * 257), restyle);
            int32_t node = rd_field_at(&painter->scene.field, x, y)->value;
            int32_t m = rd_noise_smooth(rd_noise_clamp(
                            ((int64_t)grow * 17 - (int64_t)node * 7) / 10, 0, 65536)) /
                        256;
            int32_t relight = (int32_t)((int64_t)(luma - 118) * (65536 - grow) / 65536 * m / 460);
            const uint8_t c[3] = {from.r, from.g, from.b};
            for (int k = 0; k < 3; k++) {
                t[k] = (uint8_t)rd_noise_clamp(c[k] + (t[k] - c[k]) * m / 256 + relight, 0, 255);
            }
        }
    }
}

static void noise_pixel(const struct rd_plan *plan, int32_t x, int32_t y, int32_t side,
                        int32_t n[3])
{
    for (uint32_t k = 0; k < 3; k++) {
        n[k] = rd_noise_kind_at(plan->noise, plan->seed + 0x1000 + k, x, y, side);
    }
}

/* The seeded noise that everything starts from. Smooth kinds are computed on a grid; the pixels of
 * the gaussian kind know nothing of each other. */
static rd_err fill_noise(struct rd_painter *painter)
{
    const struct rd_plan *plan = painter->in.plan;
    struct rd_canvas *canvas = &painter->canvas;
    int32_t side = canvas->width < canvas->height ? canvas->width : canvas->height;
    int32_t cell = plan->noise == RD_NOISE_GAUSSIAN ? 1 : NOISE_CELL;
    for (int32_t y = 0; y < canvas->height; y += cell) {
        RD_TRY(y % 16 == 0 ? rd_pulse_check(&painter->in.pulse) : RD_OK);
        for (int32_t x = 0; x < canvas->width; x += cell) {
            int32_t n[3];
            noise_pixel(plan, x, y, side, n);
            for (int32_t j = y; j < y + cell && j < canvas->height; j++) {
                uint8_t *p = canvas->pixels + ((size_t)j * (size_t)canvas->width + (size_t)x) * 4;
                for (int32_t i = x; i < x + cell && i < canvas->width; i++, p += 4) {
                    for (int k = 0; k < 3; k++) {
                        p[k] = (uint8_t)rd_noise_clamp(128 + n[k] / 300, 0, 255);
                    }
                    p[3] = RD_CANVAS_FLAT;
                }
            }
        }
    }
    return RD_OK;
}

/* A source shows through the noise: where the mask is black, or by how little strength there is. */
static void noise_over_source(struct rd_painter *painter)
{
    size_t count = (size_t)painter->in.width * (size_t)painter->in.height;
    int32_t strength = painter->in.plan->strength;
    for (size_t i = 0; i < count; i++) {
        int32_t m = painter->in.mask ? painter->in.mask[i] * 65536 / 255 : strength;
        uint8_t *p = painter->canvas.pixels + i * 4;
        const uint8_t *s = painter->in.source + i * 3;
        for (int k = 0; k < 3; k++) {
            p[k] = (uint8_t)(s[k] + (int32_t)((int64_t)(p[k] - s[k]) * m / 65536));
        }
    }
}

/* edit: the scene is composed for the box around what may change. */
static struct rd_frame mask_frame(const struct rd_paint_input *in)
{
    int32_t box[4] = {in->width, in->height, -1, -1};
    for (int32_t y = 0; in->mask && y < in->height; y++) {
        for (int32_t x = 0; x < in->width; x++) {
            if (in->mask[(size_t)y * (size_t)in->width + (size_t)x] >= 128) {
                box[0] = x < box[0] ? x : box[0];
                box[1] = y < box[1] ? y : box[1];
                box[2] = x > box[2] ? x : box[2];
                box[3] = y;
            }
        }
    }
    if (box[2] - box[0] < 16 || box[3] - box[1] < 16) { /* too small for a composition */
        return (struct rd_frame){0, 0, in->width, in->height};
    }
    return (struct rd_frame){box[0], box[1], box[2] - box[0] + 1, box[3] - box[1] + 1};
}

static rd_err prepare(struct rd_painter *painter)
{
    const struct rd_paint_input *in = &painter->in;
    struct rd_frame frame = mask_frame(in);
    RD_TRY(rd_scene_new(in->plan, in->width, in->height, NODES_MAX, &painter->scene));
    rd_scene_reframe(&painter->scene, &frame);
    RD_TRY(rd_canvas_new(in->width, in->height, &painter->canvas));
    painter->brushes = rd_mem_alloc(sizeof *painter->brushes);
    if (!painter->brushes) {
        return RD_ERR_NO_MEMORY;
    }
    rd_brushes_make(painter->brushes);
    int32_t width = in->width;
    int32_t height = in->height;
    for (size_t i = 0; i < RD_MIP_LEVELS; i++) {
        RD_TRY(mip_new(width, height, &painter->target[i]));
        width = (width + 3) / 4;
        height = (height + 3) / 4;
    }
    struct rd_surface surface = {painter->target[0].rgb, in->width, in->height};
    RD_TRY(rd_scene_draw(&painter->scene, 0, &surface, &in->pulse));
    if (in->source && !in->mask) {
        mix_source(painter);
    }
    for (size_t i = 1; i < RD_MIP_LEVELS; i++) {
        mip_shrink(&painter->target[i - 1], &painter->target[i]);
    }
    RD_TRY(fill_noise(painter));
    if (in->source) {
        noise_over_source(painter);
    }
    return RD_OK;
}

bool rd_paint_size_ok(int32_t width, int32_t height)
{
    return width >= 1 && height >= 1 && width <= RD_SURFACE_SIDE_MAX &&
           height <= RD_SURFACE_SIDE_MAX && width <= height * ASPECT_MAX &&
           height <= width * ASPECT_MAX;
}

rd_err rd_painter_new(const struct rd_paint_input *input, struct rd_painter **ret)
{
    if (!rd_paint_size_ok(input->width, input->height)) {
        return RD_ERR_INVALID_REQUEST;
    }
    struct rd_painter *painter = rd_mem_alloc(sizeof *painter);
    if (!painter) {
        return RD_ERR_NO_MEMORY;
    }
    painter->in = *input;
    rd_err err = prepare(painter);
    if (err != RD_OK) {
        rd_painter_free(painter);
        return err;
    }
    *ret = painter;
    return RD_OK;
}

void rd_painter_free(struct rd_painter *painter)
{
    if (!painter) {
        return;
    }
    for (size_t i = 0; i < RD_MIP_LEVELS; i++) {
        rd_mem_free(painter->target[i].rgb);
    }
    rd_mem_free(painter->brushes);
    rd_canvas_done(&painter->canvas);
    rd_scene_done(&painter->scene);
    rd_mem_free(painter);
}
