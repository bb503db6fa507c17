/* SPDX-License-Identifier: Apache-2.0
 *
 * The painter. See paint.h. One step is one pass of strokes of one width over a jittered grid,
 * walked as four interleaved sub-grids so that neighbours lie over each other in no visible order
 * while the walk still runs along rows, as the cache likes it (and the pulse is asked after each
 * row). What a stroke looks like depends on its grid cell, the step and the seed alone.
 *
 * Wide strokes take their colour from smaller copies of the target (a quarter, a sixteenth), which
 * is what keeps the early steps calm. */
#include "engine/builtin/painter.h"

#include "base/mem.h"
#include "engine/builtin/palette.h"

enum {
    WIDTH_MIN = 700, /* 1/256 pixels: finer strokes cannot be seen */
    THIN = 135,      /* thickness of paint through which the noise still shows */
    LATE = 36000, /* Q16 of the schedule: from here on, specks that no stroke meets fade as well */
    ODD = 84,     /* how far from the target a speck is, sum of three channels */
    NEAR_ENOUGH = 44, /* sum of three channel differences that needs no stroke */
    EDGE = 26,        /* luma difference across a stroke's place that makes it follow the edge */
};

/* --- one step --- */

/* How a step lays its strokes. */
struct pass {
    unsigned step;
    int32_t progress;      /* Q16 of the schedule: 0 first, 65536 last */
    int32_t width, length; /* 1/256 pixels */
    int32_t spacing;       /* 1/256 pixels between grid places */
    int32_t keep, alpha, jitter, threshold;
    int32_t lively; /* of 256 strokes that are not needed, how many are laid all the same */
    size_t mip;
};

/* The schedulers: Q16 to Q16, 0 to 0 and 65536 to 65536, never falling. */
static int32_t curve_at(enum rd_curve curve, int32_t t)
{
    int64_t square = (int64_t)t * t / 65536;
    switch (curve) {
    case RD_CURVE_SIMPLE:
        break;
    case RD_CURVE_BETA:
        return rd_noise_smooth(t);
    case RD_CURVE_EXPONENTIAL:
        return (int32_t)(2 * (int64_t)t - square);
    case RD_CURVE_KARRAS:
        return (int32_t)((square + t) / 2);
    case RD_CURVE_BONG_TANGENT:
        return rd_noise_smooth(rd_noise_smooth(t));
    case RD_CURVE_BETA57:
        return (int32_t)((rd_noise_smooth(t) + square) / 2);
    case RD_CURVE_COUNT_:
        break;
    }
    return t;
}

/* detail_amount: between its start and end the strokes are up to four times finer, or three
 * coarser. */
static void tune_detail(const struct rd_plan *plan, int32_t t, struct pass *pass)
{
    if (plan->detail == 0 || t < plan->detail_start || t > plan->detail_end) {
        return;
    }
    if (plan->detail > 0) {
        pass->width = pass->width * 256 / (256 + plan->detail / 2);
        pass->jitter += plan->detail / 10;
        pass->threshold = pass->threshold * 256 / (256 + plan->detail / 2);
    } else {
        pass->width = pass->width * (256 - plan->detail / 3) / 256;
        pass->threshold = pass->threshold * (256 - plan->detail / 4) / 256;
    }
}

static struct pass plan_pass(const struct rd_painter *painter, unsigned step)
{
    const struct rd_plan *plan = painter->in.plan;
    int32_t n = (int32_t)plan->steps;
    int32_t side = painter->in.width < painter->in.height ? painter->in.width : painter->in.height;
    int32_t t = n > 1 ? (int32_t)((int64_t)step * 65536 / (n - 1)) : 65536;
    int64_t left = 65536 - curve_at(plan->curve, t);
    int64_t cube = left * left / 65536 * left / 65536;
    int32_t finest = side * 256 / 160 * (n + 5) / n * plan->brush / 256;
    int32_t widest = side * 256 / 8;
    widest = widest > finest ? widest : finest;
    struct pass pass = {
        .step = step,
        .progress = (int32_t)(65536 - left),
        .width = finest + (int32_t)((widest - finest) * cube / 65536),
        .alpha = 216 + (int32_t)((65536 - left) / 1820),
        .jitter = plan->jitter * (plan->sde ? 15 : 9) / 5,
        .lively = 14 + (int32_t)(left / 800),
        .threshold = NEAR_ENOUGH + (256 - plan->adherence) / 3,
    };
    pass.keep = pass.width > side * 256 / 26
                    ? 0
                    : (int32_t)((int64_t)plan->adherence * (pass.progress + 26000) * 3 / 131072);
    tune_detail(plan, t, &pass);
    pass.width = pass.width < WIDTH_MIN ? WIDTH_MIN : pass.width;
    pass.length = (int32_t)((int64_t)pass.width * plan->aspect / 256);
    /* few steps cover more each: 1 step about three times over, 20 steps 0.9, 50 and more 0.75 */
    int32_t cover = 180 + 620 / n;
    int64_t area = (int64_t)pass.width * pass.length * 180 / cover;
    pass.spacing = (int32_t)rd_noise_isqrt((uint64_t)area);
    pass.mip = pass.width > 40 * 256 ? 2 : pass.width > 11 * 256 ? 1 : 0;
    return pass;
}

static const uint8_t *mip_at(const struct rd_painter *painter, size_t level, int32_t x, int32_t y)
{
    const struct rd_mip *mip = &painter->target[level];
    int32_t mx = rd_noise_clamp(x >> (2 * level), 0, mip->width - 1);
    int32_t my = rd_noise_clamp(y >> (2 * level), 0, mip->height - 1);
    return mip->rgb + ((size_t)my * (size_t)mip->width + (size_t)mx) * 3;
}

/* Along the flow; along the edge where the target has one there; then astray by `curl`. */
static void direct(const struct rd_painter *painter, const struct pass *pass, uint32_t h,
                   struct rd_stroke *stroke)
{
    const struct rd_plan *plan = painter->in.plan;
    int32_t x = stroke->x >> 8;
    int32_t y = stroke->y >> 8;
    const struct rd_node *node = rd_field_at(&painter->scene.field, x, y);
    int32_t dir_x = node->flow_x;
    int32_t dir_y = node->flow_y;
    size_t level = pass->mip > 1 ? 2 : 1;
    int32_t reach = level > 1 ? 16 : 4;
    int64_t gx = rd_painter_luma(mip_at(painter, level, x + reach, y)) -
                 rd_painter_luma(mip_at(painter, level, x - reach, y));
    int64_t gy = rd_painter_luma(mip_at(painter, level, x, y + reach)) -
                 rd_painter_luma(mip_at(painter, level, x, y - reach));
    if (gx * gx + gy * gy > EDGE * EDGE) {
        int64_t length = rd_noise_isqrt((uint64_t)((gx * gx + gy * gy) * 65536));
        dir_x = (int32_t)(-gy * 256 * 16384 / length);
        dir_y = (int32_t)(gx * 256 * 16384 / length);
    } else if (plan->manner != RD_MANNER_STRAIGHT && plan->manner != RD_MANNER_DABS) {
        /* bend with the flow: how much it has turned at the stroke's end */
        int32_t ahead_x = x + (int32_t)((int64_t)dir_x * (stroke->length / 2) >> 22);
        int32_t ahead_y = y + (int32_t)((int64_t)dir_y * (stroke->length / 2) >> 22);
        const struct rd_node *ahead = rd_field_at(&painter->scene.field, ahead_x, ahead_y);
        int64_t cross = (int64_t)dir_x * ahead->flow_y - (int64_t)dir_y * ahead->flow_x;
        int64_t bend = cross / 16384 * stroke->length / stroke->width * 128 / 16384;
        stroke->bend = rd_noise_clamp(
            plan->manner == RD_MANNER_CURLED ? bend * 2 + rd_noise_range(h, -150, 150) : bend, -330,
            330);
    }
    uint32_t stray = (uint32_t)rd_noise_range(rd_noise_hash(h, 1, 0, 0), -plan->curl, plan->curl);
    int32_t s = rd_noise_sin(stray);
    int32_t c = rd_noise_cos(stray);
    stroke->dir_x = (dir_x * c - dir_y * s) >> 15;
    stroke->dir_y = (dir_x * s + dir_y * c) >> 15;
}

/* No two strokes have quite the same colour: most of the difference is light, a little is hue, and
 * the kind of start noise decides how it hangs together across the picture. */
static struct rd_rgb tone(const struct rd_painter *painter, const struct pass *pass,
                          const uint8_t *t, uint32_t h, const int32_t at[2])
{
    const struct rd_plan *plan = painter->in.plan;
    int32_t side = painter->in.width < painter->in.height ? painter->in.width : painter->in.height;
    int32_t n =
        rd_noise_kind_at(plan->noise, plan->seed + 0x77, at[0], at[1], side) / 512; /* +-64 */
    int32_t light = (n + rd_noise_range(h, -24, 24)) * pass->jitter / 600;
    int32_t warm = rd_noise_range(rd_noise_hash(h, 2, 0, 0), -20, 20) * pass->jitter / 600;
    return (struct rd_rgb){
        (uint8_t)rd_noise_clamp(t[0] + light + warm, 0, 255),
        (uint8_t)rd_noise_clamp(t[1] + light - warm / 3, 0, 255),
        (uint8_t)rd_noise_clamp(t[2] + light - warm, 0, 255),
    };
}

static void lay_stroke(struct rd_painter *painter, const struct pass *pass, int32_t column,
                       int32_t row)
{
    uint32_t h = rd_noise_hash(painter->in.plan->seed, column, row, 0x4000 + pass->step);
    int32_t spread = pass->spacing * 3 / 4;
    struct rd_stroke stroke = {
        .x = column * pass->spacing + rd_noise_range(h, -spread, spread),
        .y = row * pass->spacing + rd_noise_range(h * 0x9e3779b1u, -spread, spread),
        .alpha = pass->alpha,
        .keep = pass->keep,
        .kind = h >> 9,
    };
    int32_t at[2] = {rd_noise_clamp(stroke.x >> 8, 0, painter->in.width - 1),
                     rd_noise_clamp(stroke.y >> 8, 0, painter->in.height - 1)};
    const uint8_t *t = mip_at(painter, pass->mip, at[0], at[1]);
    size_t here = (size_t)at[1] * (size_t)painter->in.width + (size_t)at[0];
    if (painter->in.mask && painter->in.mask[here] == 0) {
        return;
    }
    const uint8_t *p = painter->canvas.pixels + here * 4;
    int32_t far = 0;
    for (int k = 0; k < 3; k++) {
        far += t[k] > p[k] ? t[k] - p[k] : p[k] - t[k];
    }
    uint32_t dice = rd_noise_hash(h, 3, 0, 0);
    if (far < pass->threshold && (int32_t)(dice & 0xff) > pass->lively + far) {
        return; /* done already, but for a few that keep the surface alive */
    }
    int32_t vary = rd_noise_range(dice >> 8, 190, 330);
    stroke.width = pass->width * vary / 256;
    stroke.length = pass->length * rd_noise_range(rd_noise_hash(dice, 4, 0, 0), 190, 330) / 256;
    stroke.rgb = tone(painter, pass, t, dice, at);
    direct(painter, pass, dice, &stroke);
    rd_brush_paint(&painter->canvas, painter->target[0].rgb, painter->brushes, &stroke);
}

/* i2i leaves out the first part of the steps, as much as it keeps of the source. */
static unsigned first_step(const struct rd_painter *painter)
{
    const struct rd_plan *plan = painter->in.plan;
    if (!painter->in.source || painter->in.mask) {
        return 0;
    }
    uint64_t run = ((uint64_t)plan->steps * (uint32_t)plan->strength + 65535) / 65536;
    return plan->steps - (unsigned)run;
}

static int32_t absolute(int32_t v)
{
    return v < 0 ? -v : v;
}

/* What no stroke has covered yet goes towards the target by itself, a little each step, as far as a
 * diffusion model's noise would: after the last step nothing of the noise is left bare. Late in the
 * work the same happens to specks of wrong colour that were left between strokes. */
static rd_err fade_noise(struct rd_painter *painter, const struct pass *pass)
{
    int32_t rate = 900 / (int32_t)painter->in.plan->steps;
    bool late = pass->progress > LATE;
    rate = rate > 150 ? 150 : rate < 6 ? 6 : rate;
    size_t level = pass->progress < 24000 ? 2 : pass->progress < 46000 ? 1 : 0;
    size_t width = (size_t)painter->in.width;
    for (int32_t y = 0; y < painter->in.height; y++) {
        if (y % 64 == 0) {
            RD_TRY(rd_pulse_check(&painter->in.pulse));
        }
        uint8_t *p = painter->canvas.pixels + (size_t)y * width * 4;
        const struct rd_mip *mip = &painter->target[level];
        const uint8_t *row = mip->rgb + (size_t)(y >> (2 * level)) * (size_t)mip->width * 3;
        for (size_t x = 0; x < width; x++, p += 4) {
            const uint8_t *t = row + (x >> (2 * level)) * 3;
            bool odd =
                late && absolute(p[0] - t[0]) + absolute(p[1] - t[1]) + absolute(p[2] - t[2]) > ODD;
            if (p[3] < THIN || odd) {
                for (int k = 0; k < 3; k++) {
                    p[k] = (uint8_t)(p[k] + (t[k] - p[k]) * rate / 256);
                }
            }
        }
    }
    return RD_OK;
}

rd_err rd_painter_step(struct rd_painter *painter, unsigned step)
{
    if (step < first_step(painter)) {
        return RD_OK;
    }
    struct pass pass = plan_pass(painter, step);
    int32_t columns = painter->in.width * 256 / pass.spacing + 1;
    int32_t rows = painter->in.height * 256 / pass.spacing + 1;
    for (int32_t sub = 0; sub < 4; sub++) {
        for (int32_t row = sub >> 1; row <= rows; row += 2) {
            RD_TRY(rd_pulse_check(&painter->in.pulse));
            for (int32_t column = (sub ^ (sub >> 1)) & 1; column <= columns; column += 2) {
                lay_stroke(painter, &pass, column, row);
            }
        }
    }
    painter->steps_run++;
    return fade_noise(painter, &pass);
}

/* --- showing --- */

/* eta: grain on what was painted, of the kind that the start noise was. */
static void add_grain(const struct rd_painter *painter, int32_t y, uint8_t *p)
{
    const struct rd_plan *plan = painter->in.plan;
    int32_t amount = plan->grain;
    if (painter->in.source && !painter->in.mask) {
        amount = (int32_t)((int64_t)amount * plan->strength / 65536);
    }
    for (int32_t x = 0; x < painter->in.width; x++, p += 3) {
        int32_t n =
            rd_noise_kind_at(RD_NOISE_GAUSSIAN, plan->seed + 0x6a41, x, y, 1) * amount / 420000;
        for (int k = 0; k < 3; k++) {
            p[k] = (uint8_t)rd_noise_clamp(p[k] + n, 0, 255);
        }
    }
}

/* Where the mask is black the source's bytes come out as they went in. */
static void keep_masked(const struct rd_painter *painter, size_t at, uint8_t *p)
{
    const uint8_t *mask = painter->in.mask + at;
    const uint8_t *source = painter->in.source + at * 3;
    for (int32_t x = 0; x < painter->in.width; x++, p += 3, source += 3) {
        int32_t m = mask[x];
        for (int k = 0; k < 3; k++) {
            p[k] = (uint8_t)((source[k] * (255 - m) + p[k] * m + 127) / 255);
        }
    }
}

rd_err rd_painter_show(struct rd_painter *painter, uint8_t *rgb)
{
    for (int32_t y = 0; y < painter->in.height; y++) {
        if (y % 32 == 0) {
            RD_TRY(rd_pulse_check(&painter->in.pulse));
        }
        size_t at = (size_t)y * (size_t)painter->in.width;
        rd_canvas_light(&painter->canvas, painter->in.plan->relief, y, y + 1, rgb);
        if (painter->in.plan->grain > 0 && painter->steps_run > 0) {
            add_grain(painter, y, rgb + at * 3);
        }
        if (painter->in.mask) {
            keep_masked(painter, at, rgb + at * 3);
        }
    }
    return RD_OK;
}
