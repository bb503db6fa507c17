/* SPDX-License-Identifier: Apache-2.0
 *
 * One run from encoded sources to encoded outputs: what an edit keeps survives the files, sources
 * of another size are stretched first, outputs come in chunks, previews are small pictures, count
 * makes different ones. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/limits.h"
#include "engine/builtin/builtin.h"
#include "engine/builtin/noise.h"
#include "media/media.h"

enum { SIDE = 192, PIXELS = SIDE * SIDE };

static const struct rd_format format = {"test", RD_MODALITY_IMAGE, SIDE, SIDE};

/* What a run delivered. */
struct delivered {
    struct rd_buf bytes[RD_LIMIT_COUNT];
    uint64_t hint;
    size_t largest_chunk;
    unsigned previews, progressed;
    double fraction;
    struct rd_image_info preview;
};

static void on_progress(void *ctx, double fraction, unsigned step)
{
    struct delivered *d = ctx;
    assert_true(fraction > d->fraction && fraction <= 1);
    d->fraction = fraction;
    d->progressed++;
    (void)step;
}

static void on_preview(void *ctx, enum rd_media media, const void *bytes, size_t len)
{
    struct delivered *d = ctx;
    d->previews++;
    assert_int_equal(media, RD_MEDIA_JPEG);
    assert_int_equal(rd_image_probe(bytes, len, &d->preview, NULL), RD_OK);
}

static rd_err on_begin(void *ctx, unsigned index, enum rd_media media, uint64_t size_hint)
{
    struct delivered *d = ctx;
    (void)media;
    rd_buf_init(&d->bytes[index], RD_MIB(16));
    d->hint = size_hint;
    return RD_OK;
}

static rd_err on_data(void *ctx, unsigned index, const void *bytes, size_t len)
{
    struct delivered *d = ctx;
    d->largest_chunk = len > d->largest_chunk ? len : d->largest_chunk;
    rd_buf_append(&d->bytes[index], bytes, len);
    return rd_buf_err(&d->bytes[index]);
}

static rd_err on_end(void *ctx, unsigned index)
{
    struct delivered *d = ctx;
    assert_int_equal(d->bytes[index].len, d->hint);
    return RD_OK;
}

static rd_err run(const struct rd_generation *generation, struct delivered *d)
{
    memset(d, 0, sizeof *d);
    struct rd_engine_job job = {
        .generation = generation,
        .request_id = "req_test",
        .sink = {d, on_progress, on_preview, on_begin, on_data, on_end, NULL},
    };
    struct rd_pulse pulse = {NULL, NULL};
    struct rd_why why;
    return rd_builtin_run(&job, &pulse, &why);
}

static void forget(struct delivered *d)
{
    for (size_t i = 0; i < RD_LIMIT_COUNT; i++) {
        rd_buf_done(&d->bytes[i]);
    }
}

static struct rd_generation request(enum rd_task task)
{
    return (struct rd_generation){
        .modality = RD_MODALITY_IMAGE,
        .task = task,
        .format = &format,
        .media = RD_MEDIA_PNG,
        .prompt = "a gold star on navy",
        .negative_prompt = "",
        .strength = 0.8,
        .steps = 20,
        .guidance = 3.5,
        .cfg = 1,
        .count = 1,
        .duration = 0.5,
        .motion_strength = 0.5,
        .shift = -1,
        .sampler = "euler",
        .scheduler = "simple",
        .noise_type = "gaussian",
        .detail_end = 1,
    };
}

static void fill(struct rd_image *image, unsigned side)
{
    assert_int_equal(rd_image_new(side, side, 3, image), RD_OK);
    for (size_t i = 0; i < (size_t)side * side * 3; i++) {
        image->pixels[i] = (uint8_t)(rd_noise_hash(3, (int32_t)i, 0, 1) >> 24);
    }
}

/* Black on the left half, white on the right, as a PNG. */
static void half_mask(struct rd_buf *out)
{
    struct rd_image mask = {0};
    assert_int_equal(rd_image_new(SIDE, SIDE, 3, &mask), RD_OK);
    for (size_t i = 0; i < PIXELS; i++) {
        memset(mask.pixels + i * 3, i % SIDE < SIDE / 2 ? 0 : 255, 3);
    }
    rd_buf_init(out, RD_MIB(4));
    assert_int_equal(rd_image_encode(&mask, RD_MEDIA_PNG, 100, out), RD_OK);
    rd_image_done(&mask);
}

static void set_source(struct rd_source *source, const struct rd_buf *bytes)
{
    *source = (struct rd_source){
        .kind = RD_SOURCE_DATA, .bytes = (const uint8_t *)bytes->data, .bytes_len = bytes->len};
}

/* The left half of what came out is that of `kept`; returns how many pixels of the right one
 * differ. */
static size_t compare(const struct rd_buf *bytes, const struct rd_image *kept)
{
    struct rd_image out = {0};
    size_t differ = 0;
    assert_int_equal(rd_image_decode(bytes->data, bytes->len, 3, &out, NULL), RD_OK);
    assert_int_equal(out.width, SIDE);
    for (size_t i = 0; i < PIXELS; i++) {
        bool same = memcmp(out.pixels + i * 3, kept->pixels + i * 3, 3) == 0;
        if (i % SIDE < SIDE / 2) {
            assert_true(same);
        } else {
            differ += !same;
        }
    }
    rd_image_done(&out);
    return differ;
}

static void edits_survive_the_files(void **state)
{
    (void)state;
    static const enum rd_media lossless[] = {RD_MEDIA_PNG, RD_MEDIA_WEBP};
    RD_AUTO_BUF struct rd_buf mask;
    half_mask(&mask);
    for (unsigned side = SIDE; side <= SIDE + 57; side += 57) { /* its own size, and another */
        struct rd_image source = {0};
        struct rd_image kept = {0};
        RD_AUTO_BUF struct rd_buf bytes;
        rd_buf_init(&bytes, RD_MIB(4));
        fill(&source, side);
        assert_int_equal(rd_image_encode(&source, RD_MEDIA_PNG, 100, &bytes), RD_OK);
        assert_int_equal(rd_image_resize(&source, SIDE, SIDE, &kept), RD_OK);
        for (size_t i = 0; i < 2; i++) {
            struct delivered d;
            struct rd_generation g = request(RD_TASK_EDIT);
            g.media = lossless[i];
            set_source(&g.image, &bytes);
            set_source(&g.mask, &mask);
            assert_int_equal(run(&g, &d), RD_OK);
            assert_true(compare(&d.bytes[0], side == SIDE ? &source : &kept) > PIXELS * 9 / 20);
            forget(&d);
        }
        rd_image_done(&source);
        rd_image_done(&kept);
    }
}

static void outputs_come_in_chunks_with_previews(void **state)
{
    (void)state;
    struct delivered d;
    struct rd_generation g = request(RD_TASK_T2I);
    g.eta = 2; /* grain makes a PNG larger than one chunk */
    g.count = 2;
    assert_int_equal(run(&g, &d), RD_OK);
    assert_true(d.bytes[0].len > RD_KIB(64));
    assert_int_equal(d.largest_chunk, RD_KIB(64));
    assert_in_range(d.previews, 12, 16); /* about eight for each */
    assert_int_equal(d.progressed, 40);
    assert_true(d.fraction == 1);
    assert_true(d.preview.width <= 192 && d.preview.height <= 192);
    assert_true(d.bytes[0].len != d.bytes[1].len ||
                memcmp(d.bytes[0].data, d.bytes[1].data, d.bytes[0].len) != 0);
    struct delivered second; /* output 1 is output 0 of the next seed */
    g.count = 1;
    g.seed++;
    assert_int_equal(run(&g, &second), RD_OK);
    assert_int_equal(second.bytes[0].len, d.bytes[1].len);
    assert_memory_equal(second.bytes[0].data, d.bytes[1].data, d.bytes[1].len);
    forget(&second);
    forget(&d);
}

static void sources_go_into_i2i_and_i2v(void **state)
{
    (void)state;
    struct rd_image source = {0};
    struct rd_image out = {0};
    struct delivered d;
    RD_AUTO_BUF struct rd_buf bytes;
    rd_buf_init(&bytes, RD_MIB(4));
    fill(&source, SIDE);
    assert_int_equal(rd_image_encode(&source, RD_MEDIA_PNG, 100, &bytes), RD_OK);
    struct rd_generation g = request(RD_TASK_I2I);
    set_source(&g.image, &bytes);
    g.strength = 0;
    assert_int_equal(run(&g, &d), RD_OK);
    assert_int_equal(rd_image_decode(d.bytes[0].data, d.bytes[0].len, 3, &out, NULL), RD_OK);
    assert_memory_equal(out.pixels, source.pixels, PIXELS * 3);
    rd_image_done(&out);
    forget(&d);

    g.modality = RD_MODALITY_VIDEO;
    g.task = RD_TASK_I2V;
    g.media = RD_MEDIA_MP4;
    assert_int_equal(run(&g, &d), RD_OK);
    assert_int_equal(d.progressed, 12); /* half a second of frames */
    assert_memory_equal(d.bytes[0].data + 4, "ftyp", 4);
    forget(&d);

    g.image.bytes_len = bytes.len / 2; /* a truncated source */
    assert_int_equal(run(&g, &d), RD_ERR_INVALID_REQUEST);
    rd_image_done(&source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits_survive_the_files),
        cmocka_unit_test(outputs_come_in_chunks_with_previews),
        cmocka_unit_test(sources_go_into_i2i_and_i2v),
    };
    return cmocka_run_group_tests_name("engine/builtin_run", tests, NULL, NULL);
}
