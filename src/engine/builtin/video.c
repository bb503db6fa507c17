/* SPDX-License-Identifier: Apache-2.0
 *
 * Video. See video.h. A frame must cost some fifteen milliseconds, so it is no picture painted from
 * noise: the canvas begins as the target itself, and `steps` decides how many passes of strokes go
 * over it. A stroke is known by its grid cell and pass; its phase moves it along the flow, and its
 * cover is a half sine of that phase, nothing where it jumps back. */
#include "engine/builtin/video.h"

#include <string.h>

#include "base/mem.h"

enum { NODES_MAX = 128, PASSES_MAX = 6 };

struct rd_video {
    struct rd_paint_input in;
    struct rd_scene scene;
    struct rd_canvas small, large;
    struct rd_surface target; /* half size; rgb owned */
    struct rd_brushes *brushes;
};

static rd_err prepare(struct rd_video *video)
{
    const struct rd_paint_input *in = &video->in;
    bool painted = in->source == NULL;
    int32_t width = painted ? (in->width + 1) / 2 : in->width;
    int32_t height = painted ? (in->height + 1) / 2 : in->height;
    RD_TRY(rd_scene_new(in->plan, width, height, NODES_MAX, &video->scene));
    if (!painted) { /* what carries the source stands still; the source moves along it */
        return rd_field_fill(&video->scene.field, in->plan, &(struct rd_moment){0}, &in->pulse);
    }
    RD_TRY(rd_canvas_new(width, height, &video->small));
    RD_TRY(rd_canvas_new(in->width, in->height, &video->large));
    video->target.width = width;
    video->target.height = height;
    video->target.rgb = rd_mem_alloc_array((size_t)width * (size_t)height, 3);
    video->brushes = rd_mem_alloc(sizeof *video->brushes);
    if (!video->target.rgb || !video->brushes) {
        return RD_ERR_NO_MEMORY;
    }
    rd_brushes_make(video->brushes);
    return RD_OK;
}

rd_err rd_video_new(const struct rd_paint_input *input, struct rd_video **ret)
{
    if (!rd_paint_size_ok(input->width, input->height)) {
        return RD_ERR_INVALID_REQUEST;
    }
    struct rd_video *video = rd_mem_alloc(sizeof *video);
    if (!video) {
        return RD_ERR_NO_MEMORY;
    }
    video->in = *input;
    rd_err err = prepare(video);
    if (err != RD_OK) {
        rd_video_free(video);
        return err;
    }
    *ret = video;
    return RD_OK;
}

void rd_video_free(struct rd_video *video)
{
    if (!video) {
        return;
    }
    rd_scene_done(&video->scene);
    rd_canvas_done(&video->small);
    rd_canvas_done(&video->large);
    rd_mem_free(video->target.rgb);
    rd_mem_free(video->brushes);
    rd_mem_free(video);
}

/* --- t2v --- */

struct pass {
    uint32_t index, turn;
    int32_t width, length, spacing; /* 1/256 pixels */
    int32_t keep;
    uint32_t cycles;
};

static void lay_stroke(struct rd_video *video, const struct pass *pass, int32_t column, int32_t row)
{
    const struct rd_plan *plan = video->in.plan;
    uint32_t h = rd_noise_hash(plan->seed, column, row, 0x6000 + pass->index);
    int32_t home_x =
        column * pass->spacing + rd_noise_range(h, -pass->spacing / 2, pass->spacing / 2);
    int32_t home_y = row * pass->spacing +
                     rd_noise_range(h * 0x9e3779b1u, -pass->spacing / 2, pass->spacing / 2);
    const struct rd_node *node = rd_field_at(&video->scene.field, home_x >> 8, home_y >> 8);
    uint32_t phase = (h >> 8 & 0xffff) + pass->turn * pass->cycles;
    int32_t along = (int32_t)(phase & 0xffff) - 32768;
    int64_t travel = (int64_t)pass->length * plan->motion / 65536 * along / 32768;
    int32_t alpha = pass->cycles > 0 ? rd_noise_sin((phase & 0xffff) / 2) / 150 : 190;
    struct rd_stroke stroke = {
        .x = home_x + (int32_t)(travel * node->flow_x / 16384),
        .y = home_y + (int32_t)(travel * node->flow_y / 16384),
        .width = pass->width * rd_noise_range(h >> 3, 200, 312) / 256,
        .length = pass->length,
        .alpha = alpha > 230 ? 230 : alpha,
        .keep = pass->keep,
        .kind = h >> 9,
    };
    int32_t at[2] = {rd_noise_clamp(stroke.x >> 8, 0, video->target.width - 1),
                     rd_noise_clamp(stroke.y >> 8, 0, video->target.height - 1)};
    const uint8_t *t =
        video->target.rgb + ((size_t)at[1] * (size_t)video->target.width + (size_t)at[0]) * 3;
    int32_t light = rd_noise_range(rd_noise_hash(h, 2, 0, 0), -30, 30) * plan->jitter / 300;
    stroke.rgb = (struct rd_rgb){(uint8_t)rd_noise_clamp(t[0] + light, 0, 255),
                                 (uint8_t)rd_noise_clamp(t[1] + light, 0, 255),
                                 (uint8_t)rd_noise_clamp(t[2] + light * 3 / 4, 0, 255)};
    uint32_t stray = (uint32_t)rd_noise_range(rd_noise_hash(h, 3, 0, 0), -plan->curl, plan->curl);
    int32_t s = rd_noise_sin(stray);
    int32_t c = rd_noise_cos(stray);
    stroke.dir_x = (node->flow_x * c - node->flow_y * s) >> 15;
    stroke.dir_y = (node->flow_x * s + node->flow_y * c) >> 15;
    if (plan->manner == RD_MANNER_CURLED) {
        stroke.bend = rd_noise_range(h >> 5, -200, 200);
    }
    rd_brush_paint(&video->small, video->target.rgb, video->brushes, &stroke);
}

static rd_err paint_pass(struct rd_video *video, const struct pass *pass)
{
    int32_t columns = video->target.width * 256 / pass->spacing + 1;
    int32_t rows = video->target.height * 256 / pass->spacing + 1;
    for (int32_t sub = 0; sub < 4; sub++) {
        for (int32_t row = sub >> 1; row <= rows; row += 2) {
            RD_TRY(rd_pulse_check(&video->in.pulse));
            for (int32_t column = (sub ^ (sub >> 1)) & 1; column <= columns; column += 2) {
                lay_stroke(video, pass, column, row);
            }
        }
    }
    return RD_OK;
}

static rd_err paint_strokes(struct rd_video *video, uint32_t turn)
{
    const struct rd_plan *plan = video->in.plan;
    int32_t side =
        video->target.width < video->target.height ? video->target.width : video->target.height;
    uint32_t passes = 1 + plan->steps / 6;
    passes = passes > PASSES_MAX ? PASSES_MAX : passes;
    for (uint32_t i = 0; i < passes; i++) {
        int32_t left = passes > 1 ? (int32_t)((passes - 1 - i) * 256 / (passes - 1)) : 128;
        int32_t width = side * (256 / 70 + 1 + left * left / 256 * 18 / 256) * plan->brush / 256;
        struct pass pass = {
            .index = i,
            .turn = turn,
            .width = width < 512 ? 512 : width,
            .keep = left > 200 ? 90 : 300,
            .cycles = plan->motion > 0 ? 1 + (uint32_t)plan->motion / 40000 : 0,
        };
        pass.length = (int32_t)((int64_t)pass.width * plan->aspect / 256);
        pass.spacing = (int32_t)rd_noise_isqrt((uint64_t)pass.width * (uint64_t)pass.length);
        RD_TRY(paint_pass(video, &pass));
    }
    return RD_OK;
}

/* Twice the size: each new pixel takes three quarters of the nearest old one and a quarter of the
 * next nearest, first down, then across. */
static void enlarge(const struct rd_canvas *from, struct rd_canvas *to)
{
    uint16_t column[(RD_SURFACE_SIDE_MAX / 2 + 2) *
                    4]; /* sums of 3 + 1, with one pixel more at each end */
    int32_t bytes = from->width * 4;
    for (int32_t y = 0; y < to->height; y++) {
        int32_t sy = y / 2;
        int32_t ny = rd_noise_clamp(y % 2 ? sy + 1 : sy - 1, 0, from->height - 1);
        const uint8_t *a = from->pixels + (size_t)sy * (size_t)bytes;
        const uint8_t *b = from->pixels + (size_t)ny * (size_t)bytes;
        for (int32_t i = 0; i < bytes; i++) {
            column[i + 4] = (uint16_t)(a[i] * 3 + b[i]);
        }
        memcpy(column, column + 4, 4 * sizeof column[0]);
        memcpy(column + bytes + 4, column + bytes, 4 * sizeof column[0]);
        uint8_t *p = to->pixels + (size_t)y * (size_t)to->width * 4;
        for (int32_t x = 0; x < to->width; x++, p += 4) {
            const uint16_t *near = column + (x / 2 + 1) * 4;
            const uint16_t *next = x % 2 ? near + 4 : near - 4;
            for (int k = 0; k < 4; k++) {
                p[k] = (uint8_t)((near[k] * 3 + next[k] + 8) >> 4);
            }
        }
    }
}

static void add_grain(const struct rd_video *video, uint32_t frame, uint8_t *rgb)
{
    const struct rd_plan *plan = video->in.plan;
    for (int32_t y = 0; y < video->in.height; y++) {
        for (int32_t x = 0; x < video->in.width; x++, rgb += 3) {
            int32_t n = rd_noise_kind_at(RD_NOISE_GAUSSIAN, plan->seed + frame, x, y, 1) *
                        plan->grain / 420000;
            for (int k = 0; k < 3; k++) {
                rgb[k] = (uint8_t)rd_noise_clamp(rgb[k] + n, 0, 255);
            }
        }
    }
}

static rd_err painted_frame(struct rd_video *video, uint32_t turn, uint8_t *rgb)
{
    RD_TRY(rd_scene_draw(&video->scene, turn, &video->target, &video->in.pulse));
    size_t count = (size_t)video->target.width * (size_t)video->target.height;
    for (size_t i = 0; i < count; i++) {
        memcpy(video->small.pixels + i * 4, video->target.rgb + i * 3, 3);
        video->small.pixels[i * 4 + 3] = RD_CANVAS_FLAT;
    }
    RD_TRY(paint_strokes(video, turn));
    enlarge(&video->small, &video->large);
    RD_TRY(rd_pulse_check(&video->in.pulse));
    rd_canvas_light(&video->large, video->in.plan->relief, 0, video->large.height, rgb);
    return rd_pulse_check(&video->in.pulse);
}

/* --- i2v --- */

/* One pixel of the source between its four neighbours; (x, y) in 1/256 pixels, held inside. */
static void sample(const struct rd_paint_input *in, int32_t x, int32_t y, uint8_t *out)
{
    x = rd_noise_clamp(x, 0, (in->width - 1) * 256);
    y = rd_noise_clamp(y, 0, (in->height - 1) * 256);
    int32_t fx = x & 255;
    int32_t fy = y & 255;
    size_t right = fx > 0 ? 3 : 0;
    size_t down = fy > 0 ? (size_t)in->width * 3 : 0;
    const uint8_t *p = in->source + ((size_t)(y >> 8) * (size_t)in->width + (size_t)(x >> 8)) * 3;
    for (size_t k = 0; k < 3; k++) {
        int32_t top = p[k] * (256 - fx) + p[k + right] * fx;
        int32_t bottom = p[k + down] * (256 - fx) + p[k + down + right] * fx;
        out[k] = (uint8_t)((top * (256 - fy) + bottom * fy + 32768) >> 16);
    }
}

struct carry {
    int32_t dx, dy; /* 1/256 pixels */
    int32_t value, sheen;
};

static struct carry carry_at(const struct rd_video *video, const struct rd_node *node,
                             uint32_t turn)
{
    const struct rd_plan *plan = video->in.plan;
    int32_t side = video->in.width < video->in.height ? video->in.width : video->in.height;
    uint32_t phase = (uint32_t)node->value / 2;
    int64_t swing = rd_noise_sin(turn + phase) - rd_noise_sin(phase); /* 0 at turn 0 */
    int64_t reach = (int64_t)plan->motion * side / 256 * (512 + plan->shift) / 1280 * 3 / 200;
    int32_t rise = (32767 - rd_noise_cos(turn)) / 256; /* 0..256, 0 at turn 0 */
    return (struct carry){
        .dx = (int32_t)(swing * reach / 32768 * node->flow_x / 16384),
        .dy = (int32_t)(swing * reach / 32768 * node->flow_y / 16384),
        .value = node->value,
        .sheen = (int32_t)((int64_t)rise * plan->motion / 65536 * node->value / 65536 *
                           (64 + plan->glow / 4) / 256),
    };
}

static struct carry between(struct carry a, struct carry b, int32_t t, int32_t of)
{
    return (struct carry){a.dx + (b.dx - a.dx) * t / of, a.dy + (b.dy - a.dy) * t / of,
                          a.value + (b.value - a.value) * t / of,
                          a.sheen + (b.sheen - a.sheen) * t / of};
}

/* The carried pixels of a row, `zoom` Q16 a pixel towards the middle. */
static void carried_row(struct rd_video *video, uint32_t turn, int32_t zoom, int32_t y, uint8_t *p)
{
    const struct rd_paint_input *in = &video->in;
    const struct rd_field *field = &video->scene.field;
    int32_t row = y / field->cell;
    int32_t fy = y - row * field->cell;
    const struct rd_node *a = &field->nodes[row * field->columns];
    const struct rd_node *b = a + field->columns;
    struct carry right =
        between(carry_at(video, a, turn), carry_at(video, b, turn), fy, field->cell);
    int64_t cy = (y * 2 - in->height + 1) * 128;
    for (int32_t x0 = 0, column = 1; x0 < in->width; x0 += field->cell, column++) {
        struct carry left = right;
        right = between(carry_at(video, a + column, turn), carry_at(video, b + column, turn), fy,
                        field->cell);
        for (int32_t i = 0; i < field->cell && x0 + i < in->width; i++, p += 3) {
            struct carry c = between(left, right, i, field->cell);
            int64_t cx = ((x0 + i) * 2 - in->width + 1) * 128;
            sample(in, (x0 + i) * 256 + c.dx - (int32_t)(cx * zoom / 65536),
                   y * 256 + c.dy - (int32_t)(cy * zoom / 65536), p);
            struct rd_rgb light = rd_scene_colour(&video->scene, (uint32_t)c.value);
            p[0] = (uint8_t)(p[0] + (light.r - p[0]) * c.sheen / 256);
            p[1] = (uint8_t)(p[1] + (light.g - p[1]) * c.sheen / 256);
            p[2] = (uint8_t)(p[2] + (light.b - p[2]) * c.sheen / 256);
        }
    }
}

static rd_err carried_frame(struct rd_video *video, uint32_t turn, uint8_t *rgb)
{
    const struct rd_plan *plan = video->in.plan;
    int32_t breath = (32767 - rd_noise_cos(turn)) / 2;
    int32_t zoom = (int32_t)((int64_t)breath * plan->motion / 65536 * 2 / 25);
    for (int32_t y = 0; y < video->in.height; y++) {
        if (y % 32 == 0) {
            RD_TRY(rd_pulse_check(&video->in.pulse));
        }
        carried_row(video, turn, zoom, y, rgb + (size_t)y * (size_t)video->in.width * 3);
    }
    return RD_OK;
}

rd_err rd_video_frame(struct rd_video *video, unsigned frame, uint8_t *rgb)
{
    const struct rd_plan *plan = video->in.plan;
    uint32_t turn = (uint32_t)((uint64_t)(frame % plan->frames) * 65536 / plan->frames);
    rd_err err =
        video->in.source ? carried_frame(video, turn, rgb) : painted_frame(video, turn, rgb);
    if (err == RD_OK && plan->grain > 0) {
        add_grain(video, frame, rgb);
    }
    return err;
}
