/* SPDX-License-Identifier: Apache-2.0
 *
 * Resizing, in integers only, so that every machine makes the same pixels.
 *
 * Each axis on its own: smaller means area averaging (each new pixel is the mean of exactly the
 * stretch it covers), larger means bilinear between pixel centres. Both are "a run of source pixels
 * with weights", so an axis is a table of runs, and the rest of the code knows no kernels:
 *
 *   smaller, m to n pixels: in units of 1/n source pixel, new pixel i covers [i*m, (i+1)*m) and
 * source pixel j [j*n, (j+1)*n); the weight is the length they share, of m. larger: the centre of i
 * lies at ((2i+1)m - n) / 2n; the weights of its two neighbours are the remainders, of 2n.
 *
 * Weights are scaled to ONE = 2^16 by rounding their running sum, so that they add up to exactly
 * ONE and a flat area stays flat. Transparent pixels must not bleed their invisible colour, so RGBA
 * is averaged premultiplied. Between the passes a sample is 16 bits: value * 255 (RGB and alpha) or
 * colour * alpha, 65025 at most; sums stay under 65025 * 2^16 + 2^15 < 2^32.
 *
 * Memory: rows are widened or narrowed one at a time as the vertical pass asks for them, and the
 * last two are kept (runs that follow each other share one row, or two when enlarging). So besides
 * the new picture it takes three rows and the tables, however large the source. */
#include "media/codec.h"

#include <string.h>

#include "base/mem.h"

enum { ONE_BITS = 16, ONE = 1 << ONE_BITS, HALF = ONE / 2, FULL = 255 };

struct run {
    unsigned first, count; /* source pixels */
    size_t weights;        /* index of the first of `count` */
};

struct axis {
    struct run *runs; /* one for each new pixel */
    uint32_t *weights;
};

static void axis_done(struct axis *axis)
{
    rd_mem_free(axis->runs);
    rd_mem_free(axis->weights);
}

/* The weight of the part [from, to) of `total`, such that neighbouring parts add up without a rest.
 */
static uint32_t scaled(uint64_t from, uint64_t to, uint64_t total)
{
    return (uint32_t)((to * ONE + total / 2) / total - (from * ONE + total / 2) / total);
}

static size_t run_smaller(const struct axis *axis, struct run *run, uint64_t i, uint64_t m,
                          uint64_t n)
{
    uint64_t start = i * m;
    uint64_t end = start + m;
    run->first = (unsigned)(start / n);
    run->count = 0;
    uint64_t at = start;
    while (at < end) {
        uint64_t next = (run->first + run->count + 1) * n;
        next = next < end ? next : end;
        axis->weights[run->weights + run->count] = scaled(at - start, next - start, m);
        run->count++;
        at = next;
    }
    return run->count;
}

static size_t run_larger(const struct axis *axis, struct run *run, uint64_t i, uint64_t m,
                         uint64_t n)
{
    uint64_t centre = (2 * i + 1) * m; /* in units of 1/2n source pixel, and n too far right */
    uint64_t total = 2 * n;
    uint64_t left = centre < n ? 0 : (centre - n) / total;
    uint64_t rest = centre < n ? 0 : (centre - n) % total;
    run->first = (unsigned)left;
    run->count = left + 1 < m ? 2 : 1;
    uint32_t *weights = axis->weights + run->weights;
    weights[0] = run->count == 1 ? ONE : scaled(0, total - rest, total);
    if (run->count == 2) {
        weights[1] = ONE - weights[0];
    }
    return run->count;
}

static rd_err axis_new(unsigned m, unsigned n, struct axis *ret)
{
    /* smaller: each boundary between new pixels adds one to the m weights; larger: two each */
    size_t most = (size_t)m + 2 * (size_t)n;
    struct axis axis = {rd_mem_alloc_array(n, sizeof *axis.runs),
                        rd_mem_alloc_array(most, sizeof *axis.weights)};
    if (axis.runs == NULL || axis.weights == NULL) {
        axis_done(&axis);
        return RD_ERR_NO_MEMORY;
    }
    size_t used = 0;
    for (unsigned i = 0; i < n; i++) {
        axis.runs[i].weights = used;
        used += n < m ? run_smaller(&axis, &axis.runs[i], i, m, n)
                      : run_larger(&axis, &axis.runs[i], i, m, n);
    }
    *ret = axis;
    return RD_OK;
}

struct resizer {
    const struct rd_image *source;
    struct rd_image target;
    struct axis across, down;
    uint16_t *rows[2];  /* source rows row_of[i], already of the new width */
    uint64_t row_of[2]; /* UINT64_MAX: none */
    unsigned oldest;    /* the one of the two to be replaced next */
    uint32_t *sums;     /* one new row in the making */
};

static void row_rgb(const struct resizer *r, const uint8_t *from, uint16_t *to)
{
    for (unsigned x = 0; x < r->target.width; x++, to += 3) {
        const struct run *run = &r->across.runs[x];
        const uint32_t *weight = r->across.weights + run->weights;
        const uint8_t *pixel = from + (size_t)run->first * 3;
        uint32_t sum[3] = {HALF, HALF, HALF};
        for (unsigned i = 0; i < run->count; i++, pixel += 3) {
            uint32_t w = weight[i] * FULL;
            sum[0] += pixel[0] * w;
            sum[1] += pixel[1] * w;
            sum[2] += pixel[2] * w;
        }
        for (int c = 0; c < 3; c++) {
            to[c] = (uint16_t)(sum[c] >> ONE_BITS);
        }
    }
}

static void row_rgba(const struct resizer *r, const uint8_t *from, uint16_t *to)
{
    for (unsigned x = 0; x < r->target.width; x++, to += 4) {
        const struct run *run = &r->across.runs[x];
        const uint32_t *weight = r->across.weights + run->weights;
        const uint8_t *pixel = from + (size_t)run->first * 4;
        uint32_t sum[4] = {HALF, HALF, HALF, HALF};
        for (unsigned i = 0; i < run->count; i++, pixel += 4) {
            uint32_t w = weight[i] * pixel[3];
            sum[0] += pixel[0] * w;
            sum[1] += pixel[1] * w;
            sum[2] += pixel[2] * w;
            sum[3] += FULL * w;
        }
        for (int c = 0; c < 4; c++) {
            to[c] = (uint16_t)(sum[c] >> ONE_BITS);
        }
    }
}

/* Source row y in the new width. */
static const uint16_t *row_get(struct resizer *r, unsigned y)
{
    for (int i = 0; i < 2; i++) {
        if (r->row_of[i] == y) {
            return r->rows[i];
        }
    }
    unsigned slot = r->oldest;
    r->oldest = 1 - slot;
    r->row_of[slot] = y;
    unsigned channels = r->source->channels;
    const uint8_t *from = r->source->pixels + (size_t)y * r->source->width * channels;
    if (channels == 4) {
        row_rgba(r, from, r->rows[slot]);
    } else {
        row_rgb(r, from, r->rows[slot]);
    }
    return r->rows[slot];
}

static uint8_t clip(uint32_t value)
{
    return value > FULL ? FULL : (uint8_t)value;
}

/* The finished sums of one row, back to 8 bits and straight alpha. */
static void row_store(const struct resizer *r, uint8_t *to)
{
    const uint32_t *sum = r->sums;
    unsigned channels = r->target.channels;
    for (unsigned x = 0; x < r->target.width; x++, sum += channels, to += channels) {
        uint32_t alpha = channels == 4 ? sum[3] >> ONE_BITS : FULL * FULL;
        for (int c = 0; c < 3; c++) {
            uint32_t colour = sum[c] >> ONE_BITS;
            to[c] = alpha == 0 ? 0 : clip((colour * FULL + alpha / 2) / alpha);
        }
        if (channels == 4) {
            to[3] = clip((alpha + FULL / 2) / FULL);
        }
    }
}

static void resize_rows(struct resizer *r)
{
    size_t samples = (size_t)r->target.width * r->target.channels;
    for (unsigned y = 0; y < r->target.height; y++) {
        const struct run *run = &r->down.runs[y];
        const uint32_t *weight = r->down.weights + run->weights;
        for (size_t i = 0; i < samples; i++) {
            r->sums[i] = HALF;
        }
        for (unsigned k = 0; k < run->count; k++) {
            const uint16_t *row = row_get(r, run->first + k);
            for (size_t i = 0; i < samples; i++) {
                r->sums[i] += row[i] * weight[k];
            }
        }
        row_store(r, r->target.pixels + y * samples);
    }
}

static rd_err resizer_start(struct resizer *r, unsigned width, unsigned height)
{
    RD_TRY(rd_image_new(width, height, r->source->channels, &r->target));
    RD_TRY(axis_new(r->source->width, width, &r->across));
    RD_TRY(axis_new(r->source->height, height, &r->down));
    size_t samples = (size_t)width * r->source->channels;
    r->rows[0] = rd_mem_alloc_array(samples, sizeof *r->rows[0]);
    r->rows[1] = rd_mem_alloc_array(samples, sizeof *r->rows[1]);
    r->sums = rd_mem_alloc_array(samples, sizeof *r->sums);
    bool got = r->rows[0] != NULL && r->rows[1] != NULL && r->sums != NULL;
    return got ? RD_OK : RD_ERR_NO_MEMORY;
}

rd_err rd_image_resize(const struct rd_image *image, unsigned width, unsigned height,
                       struct rd_image *ret)
{
    struct resizer r = {.source = image, .row_of = {UINT64_MAX, UINT64_MAX}};
    rd_err err = resizer_start(&r, width, height);
    if (err == RD_OK) {
        resize_rows(&r);
        *ret = r.target;
    } else {
        rd_image_done(&r.target);
    }
    axis_done(&r.across);
    axis_done(&r.down);
    rd_mem_free(r.rows[0]);
    rd_mem_free(r.rows[1]);
    rd_mem_free(r.sums);
    return err;
}
