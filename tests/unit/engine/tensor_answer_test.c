/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers, as servers send them and as they should not. An answer is a list of messages, a message
 * a list of tensors with their raw bytes; each is fed in pieces of many lengths, and what reached
 * the sink is compared. Wire bytes are written out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/tensor/answer.h"

static const struct rd_format small = {"small", RD_MODALITY_IMAGE, 8, 4};
static const int64_t one[] = {1};
static const int64_t none[] = {0};
static const int64_t one_one[] = {1, 1};
static const int64_t dims_two[] = {2};
static const int64_t dims_open[] = {-1};
static const int64_t dims_vast[] = {4294967295, 4294967295};

/* ---- the sink ---- */

struct told {
    struct rd_buf data, preview;
    unsigned begins, ends, previews, progresses, step;
    enum rd_media media, preview_media;
    uint64_t size_hint;
    double fraction;
    rd_err fail_begin, fail_data, fail_end; /* what the sink answers */
};

static rd_err on_begin(void *ctx, unsigned index, enum rd_media media, uint64_t size_hint)
{
    struct told *told = ctx;
    assert_int_equal(index, 2);
    told->begins++;
    told->media = media;
    told->size_hint = size_hint;
    return told->fail_begin;
}

static rd_err on_data(void *ctx, unsigned index, const void *bytes, size_t len)
{
    struct told *told = ctx;
    assert_int_equal(index, 2);
    assert_int_equal(told->begins, 1);
    assert_true(len > 0);
    rd_buf_append(&told->data, bytes, len);
    return told->fail_data;
}

static rd_err on_end(void *ctx, unsigned index)
{
    struct told *told = ctx;
    assert_int_equal(index, 2);
    told->ends++;
    return told->fail_end;
}

static void on_progress(void *ctx, double fraction, unsigned step)
{
    struct told *told = ctx;
    told->progresses++;
    told->fraction = fraction;
    told->step = step;
}

static void on_preview(void *ctx, enum rd_media media, const void *bytes, size_t len)
{
    struct told *told = ctx;
    told->previews++;
    told->preview_media = media;
    rd_buf_reset(&told->preview);
    rd_buf_append(&told->preview, bytes, len);
}

static void told_done(struct told *told)
{
    rd_buf_done(&told->data);
    rd_buf_done(&told->preview);
}

/* ---- answers ---- */

struct tensor {
    struct rd_tensor_info info;
    const void *bytes;
    size_t len;
};
struct message {
    struct tensor tensors[5];
    size_t count;
};
struct dialogue {
    const struct rd_mapping *mapping;
    struct rd_generation generation;
    const struct message *messages;
    size_t count;
    struct told *told; /* failing calls are set; the rest is filled */
    struct rd_answer *answer;
    bool deaf; /* the sink takes no progress and no previews */
};

static rd_err feed(struct rd_answer *answer, const struct message *message, size_t piece,
                   struct rd_why *why)
{
    struct rd_tensor_info infos[5];
    for (size_t i = 0; i < message->count; i++) {
        infos[i] = message->tensors[i].info;
    }
    RD_TRY(rd_answer_head(answer, infos, message->count, why));
    memset(infos, 0x55, sizeof infos); /* not needed any more */
    for (size_t i = 0; i < message->count; i++) {
        const struct tensor *t = &message->tensors[i];
        for (size_t at = 0; at < t->len; at += piece) {
            size_t step = t->len - at < piece ? t->len - at : piece;
            RD_AUTO_FREE char *copy = rd_mem_memdupz((const char *)t->bytes + at, step);
            RD_TRY(rd_answer_data(answer, i, copy, step, why));
        }
    }
    return RD_OK;
}

static rd_err run(struct dialogue *d, size_t piece, struct rd_why *why)
{
    struct rd_engine_sink sink = {.ctx = d->told,
                                  .begin = on_begin,
                                  .data = on_data,
                                  .end = on_end,
                                  .progress = d->deaf ? NULL : on_progress,
                                  .preview = d->deaf ? NULL : on_preview};
    rd_err err = RD_OK;
    rd_buf_init(&d->told->data, 10 << 20);
    rd_buf_init(&d->told->preview, 10 << 20);
    rd_answer_init(d->answer, d->mapping, &d->generation, 2, &sink);
    for (size_t i = 0; err == RD_OK && i < d->count; i++) {
        err = feed(d->answer, &d->messages[i], piece, why);
    }
    err = err == RD_OK ? rd_answer_finish(d->answer, why) : err;
    rd_answer_done(d->answer);
    return err;
}

static const struct rd_generation png_asked = {
    .format = &small, .media = RD_MEDIA_PNG, .steps = 10, .count = 3};

/* Refused with these words, however the bytes are cut; the sink saw no end. */
static void refused(const struct rd_mapping *mapping, const struct message *messages, size_t count,
                    const char *text)
{
    static const size_t pieces[] = {1, 2, 3, 5, 1000000};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct told told = {0};
        struct rd_answer answer;
        struct rd_why why = {""};
        struct dialogue d = {mapping, png_asked, messages, count, &told, &answer, false};
        assert_int_equal(run(&d, pieces[i], &why), RD_ERR_BACKEND_FAILED);
        assert_string_equal(why.text, text);
        assert_true(answer.malformed);
        assert_int_equal(told.ends, 0);
        told_done(&told);
    }
}

#define FILE_TENSOR(name, bytes)                                                                   \
    {                                                                                              \
        {(name), "BYTES", one, 1, false}, (bytes), sizeof(bytes) - 1                               \
    }
#define PNG "\x89PNG\r\n\x1a\n\0\0\0\rIHDR and whatever else" /* 0x22 bytes */

/* ---- files ---- */

static void a_file_streams(void **state)
{
    (void)state;
    static const struct message message = {{FILE_TENSOR("image", "\x22\0\0\0" PNG)}, 1};
    for (size_t piece = 1; piece <= 40; piece++) {
        struct told told = {0};
        struct rd_answer answer;
        struct rd_why why = {""};
        struct dialogue d = {
            rd_mapping_ready("prompt-to-picture"), png_asked, &message, 1, &told, &answer, false};
        assert_int_equal(run(&d, piece, &why), RD_OK);
        assert_int_equal(told.begins, 1);
        assert_int_equal(told.ends, 1);
        assert_int_equal(told.media, RD_MEDIA_PNG);
        assert_int_equal(told.size_hint, 0x22);
        assert_int_equal(told.data.len, 0x22);
        assert_memory_equal(told.data.data, PNG, 0x22);
        assert_false(answer.malformed || answer.device_told);
        told_done(&told);
    }
}

/* Nothing is gathered: bytes are with the sink before the next ones come. */
static void bytes_go_on_as_they_come(void **state)
{
    (void)state;
    struct told told = {0};
    struct rd_engine_sink sink = {.ctx = &told, .begin = on_begin, .data = on_data, .end = on_end};
    struct rd_tensor_info info = {"image", "BYTES", one, 1, false};
    struct rd_answer answer;
    rd_buf_init(&told.data, 1000);
    rd_answer_init(&answer, rd_mapping_ready("prompt-to-picture"), &png_asked, 2, &sink);
    assert_int_equal(rd_answer_head(&answer, &info, 1, NULL), RD_OK);
    assert_int_equal(rd_answer_data(&answer, 0, "\x22\0\0\0" PNG, 15, NULL), RD_OK);
    assert_int_equal(told.begins, 0);
    assert_int_equal(rd_answer_data(&answer, 0, &PNG[11], 1, NULL), RD_OK);
    assert_int_equal(told.begins, 1);
    assert_int_equal(told.data.len, 12);
    assert_int_equal(rd_answer_data(&answer, 0, &PNG[12], 20, NULL), RD_OK);
    assert_int_equal(told.data.len, 32);
    assert_int_equal(rd_answer_data(&answer, 0, &PNG[32], 2, NULL), RD_OK);
    assert_int_equal(told.ends, 0);
    assert_false(rd_answer_is_slow(&answer));
    assert_int_equal(rd_answer_finish(&answer, NULL), RD_OK);
    assert_int_equal(told.ends, 1);
    rd_answer_done(&answer);
    told_done(&told);
}

static void video_streams(void **state)
{
    (void)state;
#define MP4                                                                                        \
    "\0\0\0\x18"                                                                                   \
    "ftypisom and so on"
    static const struct message message = {{FILE_TENSOR("video", "\x16\0\0\0" MP4)}, 1};
    static const struct message picture = {{FILE_TENSOR("video", "\x22\0\0\0" PNG)}, 1};
    struct told told = {0};
    struct rd_answer answer;
    struct rd_why why = {""};
    struct dialogue d = {
        rd_mapping_ready("prompt-to-video"), png_asked, &message, 1, &told, &answer, false};
    d.generation.media = RD_MEDIA_MP4;
    assert_int_equal(run(&d, 7, &why), RD_OK);
    assert_int_equal(told.media, RD_MEDIA_MP4);
    assert_memory_equal(told.data.data, MP4, 0x16);
    told_done(&told);
    d.messages = &picture;
    told = (struct told){0};
    assert_int_equal(run(&d, 7, &why), RD_ERR_BACKEND_FAILED);
    assert_string_equal(why.text, "the answer's tensor video: its bytes are no video/mp4");
    assert_int_equal(told.begins, 0);
    told_done(&told);
}

static void files_that_are_none(void **state)
{
    (void)state;
    const struct rd_mapping *mapping = rd_mapping_ready("prompt-to-picture");
    static const struct {
        struct message message;
        const char *text;
    } rows[] = {
        {{{FILE_TENSOR("image", "\x0e\0\0\0this is no PNG")}, 1},
         "the answer's tensor image: its bytes are no image/png"},
        {{{FILE_TENSOR("image", "\x16\0\0\0" MP4)}, 1},
         "the answer's tensor image: its bytes are no image/png"},
        {{{FILE_TENSOR("image", "\x0b\0\0\0\x89PNG\r\n\x1a\n\0\0\0")}, 1},
         "the answer's tensor image: 11 bytes are no image/png"},
        {{{FILE_TENSOR("image", "\0\0\0\0")}, 1},
         "the answer's tensor image: 0 bytes are no image/png"},
        {{{FILE_TENSOR("image", "\x23\0\0\0" PNG)}, 1},
         "the answer's tensor image: it ended after 38 of 39 bytes"},
        {{{FILE_TENSOR("image", "\x21\0\0\0" PNG)}, 1},
         "the answer's tensor image: it has more than its 37 bytes"},
        {{{FILE_TENSOR("image", "\x22\0\0")}, 1},
         "the answer's tensor image: it ended after 3 of 4 bytes"},
        {{{FILE_TENSOR("image", "")}, 1}, "the answer's tensor image: it ended after 0 of 4 bytes"},
        {{{FILE_TENSOR("picture", "\x22\0\0\0" PNG)}, 1}, "the answer has no picture"},
        {{{{{0}, NULL, 0}}, 0}, "the answer has no picture"},
        {{{FILE_TENSOR("image", "\x22\0\0\0" PNG), FILE_TENSOR("image", "\x22\0\0\0" PNG)}, 2},
         "the answer's tensor image: it stands twice in one message"},
        {{{{{"image", "UINT8", one, 1, false}, "x", 1}}, 1},
         "the answer's tensor image: expected BYTES, got UINT8"},
        {{{{{"image", "BYTES", dims_two, 1, false}, "x", 1}}, 1},
         "the answer's tensor image: expected shape of one element, got [2]"},
        {{{{{"image", "BYTES", none, 1, false}, "", 0}}, 1},
         "the answer's tensor image: expected shape of one element, got [0]"},
        {{{{{"image", "BYTES", dims_open, 1, false}, "x", 1}}, 1},
         "the answer's tensor image: no shape that a tensor can have"},
        {{{{{"image", "BYTES", dims_vast, 2, false}, "x", 1}}, 1},
         "the answer's tensor image: no shape that a tensor can have"},
        {{{FILE_TENSOR("other", "\x22\0\0\0"), FILE_TENSOR("image", "\x23\0\0\0" PNG)}, 2},
         "the answer's tensor image: it ended after 38 of 39 bytes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        refused(mapping, &rows[i].message, 1, rows[i].text);
    }
}

static void a_written_shape_is_compared(void **state)
{
    (void)state;
    static const struct rd_mapping_tensor output = {.name = "IMAGE",
                                                    .gives = RD_OUTPUT_IMAGE,
                                                    .datatype = RD_DATATYPE_BYTES,
                                                    .rank = 2,
                                                    .shape = {-1, 1}};
    static const struct message good = {
        {{{"IMAGE", "BYTES", one_one, 2, false}, "\x22\0\0\0" PNG, 38}}, 1};
    static const struct message bad = {{FILE_TENSOR("IMAGE", "\x22\0\0\0" PNG)}, 1};
    struct rd_mapping mapping = *rd_mapping_ready("prompt-to-picture");
    struct told told = {0};
    struct rd_answer answer;
    struct dialogue d = {&mapping, png_asked, &good, 1, &told, &answer, false};
    mapping.outputs = &output;
    assert_int_equal(run(&d, 5, NULL), RD_OK);
    told_done(&told);
    refused(&mapping, &bad, 1, "the answer's tensor IMAGE: expected shape [-1, 1], got [1]");
}

static void too_many_tensors(void **state)
{
    (void)state;
    struct rd_tensor_info infos[RD_ANSWER_TENSORS_MAX + 1];
    struct rd_engine_sink sink = {0};
    struct rd_answer answer;
    struct rd_why why = {""};
    for (size_t i = 0; i <= RD_ANSWER_TENSORS_MAX; i++) {
        infos[i] = (struct rd_tensor_info){"x", "FP32", one, 1, false};
    }
    rd_answer_init(&answer, rd_mapping_ready("prompt-to-picture"), &png_asked, 2, &sink);
    assert_int_equal(rd_answer_head(&answer, infos, RD_ANSWER_TENSORS_MAX, &why), RD_OK);
    assert_int_equal(rd_answer_data(&answer, RD_ANSWER_TENSORS_MAX - 1, "xyz", 3, &why), RD_OK);
    assert_int_equal(rd_answer_data(&answer, RD_ANSWER_TENSORS_MAX, "x", 1, &why),
                     RD_ERR_BACKEND_FAILED);
    assert_string_equal(why.text, "the answer has more bytes than tensors");
    assert_int_equal(rd_answer_head(&answer, infos, RD_ANSWER_TENSORS_MAX + 1, &why),
                     RD_ERR_BACKEND_FAILED);
    assert_string_equal(why.text, "the answer has 65 tensors, at most 64");
    rd_answer_done(&answer);
}

/* The sink's own error comes back as it is; it is not the server's fault. */
static void errors_of_the_sink(void **state)
{
    (void)state;
    static const struct message message = {{FILE_TENSOR("image", "\x22\0\0\0" PNG)}, 1};
    for (int i = 0; i < 3; i++) {
        struct told told = {.fail_begin = i == 0 ? RD_ERR_DISK_FULL : RD_OK,
                            .fail_data = i == 1 ? RD_ERR_CANCELLED : RD_OK,
                            .fail_end = i == 2 ? RD_ERR_STORAGE : RD_OK};
        static const rd_err want[] = {RD_ERR_DISK_FULL, RD_ERR_CANCELLED, RD_ERR_STORAGE};
        struct rd_answer answer;
        struct dialogue d = {
            rd_mapping_ready("prompt-to-picture"), png_asked, &message, 1, &told, &answer, false};
        assert_int_equal(run(&d, 9, NULL), want[i]);
        assert_false(answer.malformed);
        told_done(&told);
    }
}

/* ---- files of another type ---- */

/* A picture of 8 x 4 pixels: the red grows with x, the green with y. */
static void a_picture(struct rd_image *ret)
{
    assert_int_equal(rd_image_new(8, 4, 3, ret), RD_OK);
    for (size_t i = 0; i < 32; i++) {
        ret->pixels[i * 3] = (uint8_t)(i % 8 * 32);
        ret->pixels[i * 3 + 1] = (uint8_t)(i / 8 * 64);
        ret->pixels[i * 3 + 2] = 100;
    }
}

/* The wire form of the picture as a file. */
static void a_file(enum rd_media media, struct rd_buf *out)
{
    struct rd_image image;
    RD_AUTO_BUF struct rd_buf file;
    a_picture(&image);
    rd_buf_init(&file, 100000);
    rd_buf_init(out, 100000);
    assert_int_equal(rd_image_encode(&image, media, 100, &file), RD_OK);
    for (unsigned i = 0; i < 4; i++) {
        rd_buf_char(out, (char)(file.len >> (8 * i)));
    }
    rd_buf_append(out, file.data, file.len);
    rd_image_done(&image);
}

/* What the sink got shows the picture, as the type that was asked for. */
static void assert_shows(const struct told *told, enum rd_media media, int tolerance)
{
    struct rd_image want, got;
    struct rd_image_info info;
    a_picture(&want);
    assert_int_equal(told->begins, 1);
    assert_int_equal(told->ends, 1);
    assert_int_equal(told->media, media);
    assert_int_equal(told->size_hint, told->data.len);
    assert_int_equal(rd_image_probe(told->data.data, told->data.len, &info, NULL), RD_OK);
    assert_int_equal(info.media, media);
    assert_int_equal(rd_image_decode(told->data.data, told->data.len, 3, &got, NULL), RD_OK);
    assert_int_equal(got.width, 8);
    assert_int_equal(got.height, 4);
    for (size_t i = 0; i < 96; i++) {
        assert_true(abs((int)got.pixels[i] - (int)want.pixels[i]) <= tolerance);
    }
    rd_image_done(&want);
    rd_image_done(&got);
}

static void another_type_is_encoded_again(void **state)
{
    (void)state;
    static const enum rd_media types[] = {RD_MEDIA_PNG, RD_MEDIA_WEBP, RD_MEDIA_JPEG};
    for (size_t from = 0; from < 3; from++) {
        for (size_t to = 0; to < 3; to++) {
            RD_AUTO_BUF struct rd_buf wire;
            a_file(types[from], &wire);
            struct message message = {{{{"image", "BYTES", one, 1, false}, wire.data, wire.len}},
                                      1};
            struct told told = {0};
            struct rd_answer answer;
            struct rd_why why = {""};
            struct dialogue d = {rd_mapping_ready("prompt-to-picture"),
                                 png_asked,
                                 &message,
                                 1,
                                 &told,
                                 &answer,
                                 false};
            d.generation.media = types[to];
            assert_int_equal(run(&d, 17, &why), RD_OK);
            assert_int_equal(answer.stage, from == to ? RD_ANSWER_STREAM : RD_ANSWER_HELD);
            assert_int_equal(rd_answer_is_slow(&answer), from != to);
            assert_shows(&told, types[to], 60);
            told_done(&told);
        }
    }
}

static void another_type_that_is_broken(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf wire;
    a_file(RD_MEDIA_WEBP, &wire);
    struct told told = {0};
    struct rd_answer answer;
    struct rd_why why = {""};
    wire.data[0] = 30; /* a WebP that ends after 30 bytes, as the length says */
    wire.data[1] = 0;
    struct message message = {{{{"image", "BYTES", one, 1, false}, wire.data, 34}}, 1};
    struct dialogue d = {
        rd_mapping_ready("prompt-to-picture"), png_asked, &message, 1, &told, &answer, false};
    assert_int_equal(run(&d, 17, &why), RD_ERR_BACKEND_FAILED);
    assert_memory_equal(why.text, "the answer's tensor image: ", 27);
    assert_true(answer.malformed);
    assert_int_equal(told.begins, 0);
    told_done(&told);
    static const struct message large = {
        {FILE_TENSOR("image", "\x01\0\0\x04RIFF\xff\xff\xff\x03WEBPVP8 ")}, 1};
    refused(rd_mapping_ready("prompt-to-picture"), &large, 1,
            "the answer's tensor image: 67108865 bytes of image/webp are too many to be made "
            "image/png; at most 67108864");
}

/* ---- raw pictures ---- */

static const struct rd_mapping_tensor raw_outputs[] = {
    {.name = "IMAGES",
     .gives = RD_OUTPUT_IMAGE,
     .datatype = RD_DATATYPE_FP32,
     .range = RD_RANGE_0_1,
     .rank = 4,
     .shape = {1, 3, -1, -1}},
    {.name = "PREVIEW",
     .gives = RD_OUTPUT_PREVIEW,
     .datatype = RD_DATATYPE_UINT8,
     .range = RD_RANGE_0_255,
     .rank = 3,
     .shape = {-1, -1, 3}},
};
static struct rd_mapping raw_mapping(void)
{
    struct rd_mapping mapping = *rd_mapping_ready("prompt-to-picture");
    mapping.outputs = raw_outputs;
    mapping.outputs_count = 2;
    return mapping;
}

static void a_raw_picture_is_encoded(void **state)
{
    (void)state;
    static const int64_t shape[] = {1, 3, 4, 8};
    static const enum rd_media types[] = {RD_MEDIA_PNG, RD_MEDIA_WEBP, RD_MEDIA_JPEG};
    struct rd_mapping mapping = raw_mapping();
    struct rd_mapping_picture layout;
    struct rd_image image;
    uint8_t bytes[96 * 4];
    a_picture(&image);
    assert_true(rd_mapping_picture(shape, 4, &layout));
    rd_pixels_put(&image, &raw_outputs[0], &layout, bytes);
    rd_image_done(&image);
    struct message message = {{{{"IMAGES", "FP32", shape, 4, false}, bytes, sizeof bytes}}, 1};
    for (size_t i = 0; i < 3; i++) {
        struct told told = {0};
        struct rd_answer answer;
        struct rd_why why = {""};
        struct dialogue d = {&mapping, png_asked, &message, 1, &told, &answer, false};
        d.generation.media = types[i];
        assert_int_equal(run(&d, 5, &why), RD_OK);
        assert_true(rd_answer_is_slow(&answer));
        assert_shows(&told, types[i], types[i] == RD_MEDIA_PNG ? 0 : 60);
        told_done(&told);
    }
}

static void raw_pictures_that_are_none(void **state)
{
    (void)state;
    static const int64_t shape[] = {1, 3, 4, 8};
    static const uint8_t zeros[97 * 4];
    static uint8_t nan[96 * 4];
    struct rd_mapping mapping = raw_mapping();
    memcpy(nan + 40, "\0\0\xc0\x7f", 4);
#define RAW(dims, bytes, len)                                                                      \
    {                                                                                              \
        {{{"IMAGES", "FP32", dims, 4, false}, bytes, len}}, 1                                      \
    }
    const struct {
        struct message message;
        const char *text;
    } rows[] = {
        {RAW(shape, zeros, 383), "it ended after 383 of 384 bytes"},
        {RAW(shape, zeros, 385), "it has more than its 384 bytes"},
        {RAW(shape, nan, 384), "the sample at x 2, y 1, channel 0 is NaN"},
        {RAW(((const int64_t[]){1, 3, 8, 4}), zeros, 384), "it is 4x8, asked was 8x4"},
        {RAW(((const int64_t[]){2, 3, 4, 8}), zeros, 384),
         "expected shape [1, 3, -1, -1], got [2, 3, 4, 8]"},
        {RAW(((const int64_t[]){1, 3, 1, 8}), zeros, 96), "its shape is none of a picture"},
        {RAW(((const int64_t[]){1, 3, 0, 8}), zeros, 0), "its shape is none of a picture"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[200] = "the answer's tensor IMAGES: ";
        strncat(text, rows[i].text, 150);
        refused(&mapping, &rows[i].message, 1, text);
    }
}

static void a_raw_preview(void **state)
{
    (void)state;
    static uint8_t grey[64 * 64 * 3];
    static const int64_t shape[] = {64, 64, 3};
    static const int64_t large[] = {600, 600, 3};
    struct rd_mapping mapping = raw_mapping();
    struct message message = {{{{"PREVIEW", "UINT8", shape, 3, false}, grey, sizeof grey}}, 1};
    struct message too_large = {{{{"PREVIEW", "UINT8", large, 3, false}, grey, 1}}, 1};
    memset(grey, 128, sizeof grey);
    struct told told = {0};
    struct rd_answer answer;
    struct dialogue d = {&mapping, png_asked, &message, 1, &told, &answer, false};
    assert_int_equal(run(&d, 1000, NULL), RD_ERR_BACKEND_FAILED); /* no picture came */
    assert_int_equal(told.previews, 1);
    assert_int_equal(told.preview_media, RD_MEDIA_JPEG);
    struct rd_image image;
    assert_int_equal(rd_image_decode(told.preview.data, told.preview.len, 3, &image, NULL), RD_OK);
    assert_int_equal(image.width, 64);
    assert_in_range(image.pixels[1000], 126, 130);
    rd_image_done(&image);
    told_done(&told);
    refused(&mapping, &too_large, 1,
            "the answer's tensor PREVIEW: a preview of 600x600 is too large");
}

/* ---- streams ---- */

#define PROGRESS(bytes)                                                                            \
    {                                                                                              \
        {"progress", "FP32", one, 1, false}, (bytes), 4                                            \
    }
#define SECONDS(bytes)                                                                             \
    {                                                                                              \
        {"device_seconds", "FP64", one, 1, false}, (bytes), 8                                      \
    }
#define EMPTY(name)                                                                                \
    {                                                                                              \
        {(name), "BYTES", none, 1, false}, "", 0                                                   \
    }
#define QUARTER "\0\0\x80\x3e"
#define NAN32 "\0\0\xc0\x7f"

static void a_stream_of_messages(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf preview;
    a_file(RD_MEDIA_JPEG, &preview);
    const struct message messages[] = {
        {{PROGRESS(QUARTER)}, 1},
        {{{{0}, NULL, 0}}, 0}, /* the empty last one of Triton's may also come first */
        {{PROGRESS(NAN32), EMPTY("image"), EMPTY("preview"), EMPTY("device")}, 4},
        {{FILE_TENSOR("preview", "\0\0\0\0"), FILE_TENSOR("image", "\0\0\0\0")}, 2},
        {{{{"preview", "BYTES", one, 1, false}, preview.data, preview.len},
          PROGRESS("\0\0\x40\x3f")},
         2},
        {{FILE_TENSOR("image", "\x22\0\0\0" PNG), PROGRESS("\0\0\x80\x3f"),
          SECONDS("\0\0\0\0\0\0\xf4\x3f"), FILE_TENSOR("device", "\x08\0\0\0gpu\xff:0\r\n")},
         4},
        {{FILE_TENSOR("image", "\0\0\0\0"), SECONDS("\0\0\0\0\0\0\0\0")}, 2},
    };
    for (size_t piece = 1; piece < 50; piece += 3) {
        struct told told = {0};
        struct rd_answer answer;
        struct rd_why why = {""};
        struct dialogue d = {rd_mapping_ready("prompt-to-stream"),
                             png_asked,
                             messages,
                             sizeof messages / sizeof messages[0],
                             &told,
                             &answer,
                             piece % 2 == 0};
        if (run(&d, piece, &why) != RD_OK) {
            fail_msg("%s", why.text);
        }
        assert_int_equal(told.progresses, d.deaf ? 0 : 3);
        assert_int_equal(told.previews, d.deaf ? 0 : 1);
        if (!d.deaf) {
            assert_true(told.fraction >= 1);
            assert_int_equal(told.step, 10);
            assert_int_equal(told.preview_media, RD_MEDIA_JPEG);
            assert_int_equal(told.preview.len, preview.len - 4);
            assert_memory_equal(told.preview.data, preview.data + 4, preview.len - 4);
        }
        assert_int_equal(told.ends, 1);
        assert_int_equal(told.data.len, 0x22);
        assert_true(answer.device_told);
        assert_int_equal(answer.device_ns, 1250000000);
        assert_string_equal(answer.device, "gpu?:0??");
        told_done(&told);
    }
}

static void streams_that_are_wrong(void **state)
{
    (void)state;
    const struct rd_mapping *mapping = rd_mapping_ready("prompt-to-stream");
    static const struct message twice[] = {{{FILE_TENSOR("image", "\x22\0\0\0" PNG)}, 1},
                                           {{FILE_TENSOR("image", "\x22\0\0\0" PNG)}, 1}};
    static const struct message cut[] = {{{FILE_TENSOR("image", "\x23\0\0\0" PNG)}, 1},
                                         {{PROGRESS(QUARTER)}, 1}};
    static const struct message late[] = {{{PROGRESS(QUARTER)}, 1}};
    static const struct message two[] = {
        {{{{"progress", "FP32", dims_two, 1, false}, QUARTER QUARTER, 8}}, 1}};
    static const struct message long_number[] = {
        {{{{"progress", "FP32", one, 1, false}, QUARTER QUARTER, 8}}, 1}};
    static const struct message type[] = {
        {{{{"device_seconds", "FP32", one, 1, false}, QUARTER, 4}}, 1}};
    static const struct message preview[] = {
        {{FILE_TENSOR("preview", "\x0f\0\0\0this is no file")}, 1}};
    static const struct message large[] = {{{FILE_TENSOR("preview", "\x01\0\x10\0 ")}, 1}};
    static const struct message device[] = {{{FILE_TENSOR("device", "\x01\x10\0\0 ")}, 1}};
    static const struct message empty[] = {{{{{"image", "BYTES", none, 1, false}, "x", 1}}, 1}};
    refused(mapping, twice, 2, "the answer's tensor image: it came twice");
    refused(mapping, cut, 2, "the answer's tensor image: it ended after 38 of 39 bytes");
    refused(mapping, late, 1, "the answer has no picture");
    refused(mapping, two, 1,
            "the answer's tensor progress: expected shape of one element, got [2]");
    refused(mapping, long_number, 1, "the answer's tensor progress: it has more than its 4 bytes");
    refused(mapping, type, 1, "the answer's tensor device_seconds: expected FP64, got FP32");
    refused(mapping, large, 1, "the answer's tensor preview: 1048577 bytes, at most 1048576");
    refused(mapping, device, 1, "the answer's tensor device: 4097 bytes, at most 4096");
    refused(mapping, empty, 1, "the answer's tensor image: it has more than its 0 bytes");
    struct told told = {0};
    struct rd_answer answer;
    struct rd_why why = {""};
    struct dialogue d = {mapping, png_asked, preview, 1, &told, &answer, false};
    assert_int_equal(run(&d, 4, &why), RD_ERR_BACKEND_FAILED);
    assert_memory_equal(why.text, "the answer's tensor preview: ", 29);
    told_done(&told);
}

/* Over all outputs of the run: this one is the third of four. */
static void progress_is_of_the_whole_run(void **state)
{
    (void)state;
    static const struct message messages[] = {{{PROGRESS(QUARTER)}, 1},
                                              {{PROGRESS("\0\0\0\0")}, 1}}; /* it counts back */
    struct told told = {0};
    struct rd_answer answer;
    struct dialogue d = {
        rd_mapping_ready("prompt-to-stream"), png_asked, messages, 2, &told, &answer, false};
    d.generation.count = 4;
    d.generation.steps = 16;
    assert_int_equal(run(&d, 100, NULL), RD_ERR_BACKEND_FAILED);
    assert_int_equal(told.progresses, 1);
    assert_true(told.fraction == 0.5625);
    assert_int_equal(told.step, 9);
    told_done(&told);
}

/* Without a picture held or streamed twice: raw ones. */
static void a_raw_picture_comes_once(void **state)
{
    (void)state;
    static const int64_t shape[] = {1, 3, 4, 8};
    static const int64_t empty[] = {1, 3, 0, 8};
    static const uint8_t zeros[96 * 4];
    struct rd_mapping mapping = raw_mapping();
    const struct message messages[] = {
        {{{{"IMAGES", "FP32", empty, 4, false}, "", 0}}, 1},
        {{{{"IMAGES", "FP32", shape, 4, false}, zeros, sizeof zeros}}, 1},
        {{{{"IMAGES", "FP32", empty, 4, false}, "", 0}}, 1},
        {{{{"IMAGES", "FP32", shape, 4, false}, zeros, sizeof zeros}}, 1},
    };
    struct told told = {0};
    struct rd_answer answer;
    mapping.decoupled = true;
    struct dialogue d = {&mapping, png_asked, messages, 3, &told, &answer, false};
    assert_int_equal(run(&d, 100, NULL), RD_OK);
    assert_int_equal(told.ends, 1);
    told_done(&told);
    refused(&mapping, messages, 4, "the answer's tensor IMAGES: it came twice");
}

static void numbers_that_count_as_not_told(void **state)
{
    (void)state;
    static const char *const seconds[] = {
        "\0\0\0\0\0\0\0\0",       /* 0: never a figure */
        "\0\0\0\0\0\0\xf0\xbf",   /* -1 */
        "\0\0\0\0\0\0\xf8\x7f",   /* NaN */
        "\0\0\0\0\0\0\xf0\x7f",   /* infinite */
        "\x01\0\0\0\0\0\x30\x41", /* just over 2^20 */
    };
    static const char *const progress[] = {NAN32, "\0\0\x80\xbf", "\x01\0\x80\x3f", "\0\0\x80\x7f",
                                           "\0\0\x80\xff"};
    for (size_t i = 0; i < 5; i++) {
        const struct message message = {
            {FILE_TENSOR("image", "\x22\0\0\0" PNG), SECONDS(seconds[i]), PROGRESS(progress[i])},
            3};
        struct told told = {0};
        struct rd_answer answer;
        struct dialogue d = {
            rd_mapping_ready("prompt-to-stream"), png_asked, &message, 1, &told, &answer, false};
        assert_int_equal(run(&d, 100, NULL), RD_OK);
        assert_false(answer.device_told);
        assert_int_equal(told.progresses, 0);
        assert_string_equal(answer.device, "");
        told_done(&told);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_streams),
        cmocka_unit_test(bytes_go_on_as_they_come),
        cmocka_unit_test(video_streams),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(a_written_shape_is_compared),
        cmocka_unit_test(too_many_tensors),
        cmocka_unit_test(errors_of_the_sink),
        cmocka_unit_test(another_type_is_encoded_again),
        cmocka_unit_test(another_type_that_is_broken),
        cmocka_unit_test(a_raw_picture_is_encoded),
        cmocka_unit_test(raw_pictures_that_are_none),
        cmocka_unit_test(a_raw_preview),
        cmocka_unit_test(a_stream_of_messages),
        cmocka_unit_test(streams_that_are_wrong),
        cmocka_unit_test(a_raw_picture_comes_once),
        cmocka_unit_test(progress_is_of_the_whole_run),
        cmocka_unit_test(numbers_that_count_as_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
