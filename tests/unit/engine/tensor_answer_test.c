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
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tensor_dialogue.h"

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

/* Found out from its header, before it is decoded. */
static void another_type_of_another_size(void **state)
{
    (void)state;
    static const struct rd_format other = {"other", RD_MODALITY_IMAGE, 8, 8};
    RD_AUTO_BUF struct rd_buf wire;
    a_file(RD_MEDIA_WEBP, &wire);
    struct message message = {{{{"image", "BYTES", one, 1, false}, wire.data, wire.len}}, 1};
    struct told told = {0};
    struct rd_answer answer;
    struct rd_why why = {""};
    struct dialogue d = {
        rd_mapping_ready("prompt-to-picture"), png_asked, &message, 1, &told, &answer, false};
    d.generation.format = &other;
    assert_int_equal(run(&d, 17, &why), RD_ERR_BACKEND_FAILED);
    assert_string_equal(why.text, "the answer's tensor image: it is 8x4, asked was 8x8");
    assert_true(answer.malformed);
    assert_int_equal(told.begins, 0);
    told_done(&told);
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
        {FILE_TENSOR("image", "\x01\0\0\x01RIFF\xff\xff\xff\x03WEBPVP8 ")}, 1};
    refused(rd_mapping_ready("prompt-to-picture"), &large, 1,
            "the answer's tensor image: 16777217 bytes of image/webp are too many to be made "
            "image/png; at most 16777216");
}

/* ---- raw pictures ---- */

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
    struct rd_mapping mapping = raw_mapping();
    struct message message = {{{{"PREVIEW", "UINT8", shape, 3, false}, grey, sizeof grey}}, 1};
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
}

/* What is wrong with a raw preview leaves it out; the picture beside it comes. */
static void raw_previews_that_are_left_out(void **state)
{
    (void)state;
    static const int64_t most[] = {256, 256, 3};
    static const int64_t more[] = {257, 256, 3};
    static const int64_t grey[] = {16, 16, 1};
    static uint8_t pixels[257 * 256 * 3];
    static float nan[3];
    static const int64_t picture[] = {1, 3, 4, 8};
    static const int64_t dot[] = {1, 1, 3};
    static const float zeros[96];
    const struct {
        struct tensor preview;
        unsigned previews;
    } rows[] = {
        {{{"PREVIEW", "UINT8", most, 3, false}, pixels, 256 * 256 * 3}, 1},
        {{{"PREVIEW", "UINT8", more, 3, false}, pixels, 257 * 256 * 3}, 0},
        {{{"PREVIEW", "UINT8", grey, 3, false}, pixels, 16 * 16}, 0},
        {{{"PREVIEW", "UINT8", most, 3, false}, pixels, 100}, 0},
        {{{"PREVIEW", "UINT8", most, 3, false}, pixels, 257 * 256 * 3}, 1},
        {{{"PREVIEW", "FP32", dot, 3, false}, nan, sizeof nan}, 0},
    };
    nan[1] = NAN;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rd_mapping mapping = raw_mapping();
        struct rd_mapping_tensor outputs[] = {raw_outputs[0], raw_outputs[1]};
        if (i == 5) { /* the datatype is right, a sample is not */
            outputs[1].datatype = RD_DATATYPE_FP32;
            outputs[1].range = RD_RANGE_0_1;
        }
        mapping.outputs = outputs;
        struct message message = {
            {rows[i].preview, {{"IMAGES", "FP32", picture, 4, false}, zeros, sizeof zeros}}, 2};
        struct told told = {0};
        struct rd_answer answer;
        struct rd_why why = {""};
        struct dialogue d = {&mapping, png_asked, &message, 1, &told, &answer, false};
        assert_int_equal(run(&d, 1000, &why), RD_OK);
        assert_false(answer.malformed);
        assert_string_equal(why.text, "");
        assert_int_equal(told.previews, rows[i].previews);
        assert_int_equal(told.ends, 1);
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
        cmocka_unit_test(another_type_of_another_size),
        cmocka_unit_test(another_type_that_is_broken),
        cmocka_unit_test(a_raw_picture_is_encoded),
        cmocka_unit_test(raw_pictures_that_are_none),
        cmocka_unit_test(a_raw_preview),
        cmocka_unit_test(raw_previews_that_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
