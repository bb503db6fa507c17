/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers of decoupled models: many messages, the picture once; what is not told, what is told
 * twice or wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tensor_dialogue.h"

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
        {{SECONDS("\1\0\0\0\0\0\0\0")}, 1}, /* above 0, but no ns: it would be a 0 that was told */
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
    static const struct message device[] = {{{FILE_TENSOR("device", "\x01\x10\0\0 ")}, 1}};
    static const struct message empty[] = {{{{{"image", "BYTES", none, 1, false}, "x", 1}}, 1}};
    refused(mapping, twice, 2, "the answer's tensor image: it came twice");
    refused(mapping, cut, 2, "the answer's tensor image: it ended after 38 of 39 bytes");
    refused(mapping, late, 1, "the answer has no picture");
    refused(mapping, two, 1,
            "the answer's tensor progress: expected shape of one element, got [2]");
    refused(mapping, long_number, 1, "the answer's tensor progress: it has more than its 4 bytes");
    refused(mapping, type, 1, "the answer's tensor device_seconds: expected FP64, got FP32");
    refused(mapping, device, 1, "the answer's tensor device: 4097 bytes, at most 4096");
    refused(mapping, empty, 1, "the answer's tensor image: it has more than its 0 bytes");
}

/* A preview is a courtesy: one that is wrong is left out, and what comes behind it counts. */
static void previews_that_are_wrong_are_left_out(void **state)
{
    (void)state;
    static const size_t pieces[] = {1, 3, 4, 1000000};
    static const struct message rows[] = {
        {{FILE_TENSOR("preview", "\x0f\0\0\0this is no file")}, 1},
        {{FILE_TENSOR("preview", "\x01\0\x04\0 ")}, 1}, /* RD_ENGINE_HELD_MAX + 1 */
        {{FILE_TENSOR("preview", "\xff\xff\xff\xff ")}, 1},
        {{FILE_TENSOR("preview", "\x0f\0\0\0it ends")}, 1},
        {{FILE_TENSOR("preview", "\x0f\0")}, 1},
        {{FILE_TENSOR("preview", "\x01\0\0\0 and more")}, 1},
        {{{{"preview", "FP32", one, 1, false}, QUARTER, 4}}, 1},
        {{{{"preview", "BYTES", dims_two, 1, false}, "\0\0\0\0\0\0\0\0", 8}}, 1},
        {{{{"preview", "BYTES", dims_vast, 2, false}, "x", 1}}, 1},
        {{{{"preview", "BYTES", none, 1, false}, "x", 1}}, 1},
        {{FILE_TENSOR("preview", "\2\0\0\0ab"), FILE_TENSOR("preview", "\2\0\0\0cd")}, 2},
    };
    RD_AUTO_BUF struct rd_buf good;
    a_file(RD_MEDIA_JPEG, &good);
    for (size_t i = 0; i < 4 * sizeof rows / sizeof rows[0]; i++) {
        const struct message messages[] = {
            rows[i / 4],
            {{FILE_TENSOR("image", "\x22\0\0\0" PNG)}, 1},
            {{{{"preview", "BYTES", one, 1, false}, good.data, good.len}}, 1},
        };
        for (size_t count = 2; count <= 3; count++) {
            struct told told = {0};
            struct rd_answer answer;
            struct rd_why why = {""};
            struct dialogue d = {rd_mapping_ready("prompt-to-stream"),
                                 png_asked,
                                 messages,
                                 count,
                                 &told,
                                 &answer,
                                 false};
            assert_int_equal(run(&d, pieces[i % 4], &why), RD_OK);
            assert_false(answer.malformed);
            assert_string_equal(why.text, "");
            assert_int_equal(told.previews, count - 2);
            assert_int_equal(told.ends, 1);
            assert_int_equal(told.data.len, 0x22);
            told_done(&told);
        }
    }
}

static void a_preview_of_as_much_as_may_be_held(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf file, padded;
    a_file(RD_MEDIA_PNG, &file);
    for (size_t more = 0; more < 2; more++) {
        size_t len = RD_ENGINE_HELD_MAX + more;
        rd_buf_init(&padded, 4 + len);
        for (unsigned i = 0; i < 4; i++) {
            rd_buf_char(&padded, (char)(len >> (8 * i)));
        }
        rd_buf_append(&padded, file.data + 4, file.len - 4);
        size_t rest = 4 + len - padded.len;
        char *room = rd_buf_reserve(&padded, rest);
        assert_non_null(room);
        memset(room, 0, rest);
        rd_buf_commit(&padded, rest);
        const struct message messages[] = {
            {{{{"preview", "BYTES", one, 1, false}, padded.data, padded.len}}, 1},
            {{FILE_TENSOR("image", "\x22\0\0\0" PNG)}, 1}};
        struct told told = {0};
        struct rd_answer answer;
        struct dialogue d = {
            rd_mapping_ready("prompt-to-stream"), png_asked, messages, 2, &told, &answer, false};
        assert_int_equal(run(&d, 10000, NULL), RD_OK);
        assert_int_equal(told.previews, 1 - more);
        assert_int_equal(told.preview.len, more == 0 ? len : 0);
        told_done(&told);
        rd_buf_done(&padded);
    }
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
        cmocka_unit_test(a_stream_of_messages),
        cmocka_unit_test(streams_that_are_wrong),
        cmocka_unit_test(previews_that_are_wrong_are_left_out),
        cmocka_unit_test(a_preview_of_as_much_as_may_be_held),
        cmocka_unit_test(a_raw_picture_comes_once),
        cmocka_unit_test(progress_is_of_the_whole_run),
        cmocka_unit_test(numbers_that_count_as_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
