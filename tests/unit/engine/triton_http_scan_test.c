/* SPDX-License-Identifier: Apache-2.0
 *
 * The scanner of Triton's HTTP answers by itself: elements in JSON, bytes behind it, in portions of
 * any size; its limits; what is neither. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "engine/triton/http_scan.h"

static const struct rd_mapping_tensor raw_outputs[] = {
    {.name = "RAW",
     .gives = RD_OUTPUT_IMAGE,
     .datatype = RD_DATATYPE_UINT8,
     .rank = 3,
     .shape = {-1, -1, 3}},
    {.name = "SECONDS", .gives = RD_OUTPUT_DEVICE_SECONDS, .datatype = RD_DATATYPE_FP32},
    {.name = "DEVICE", .gives = RD_OUTPUT_DEVICE, .datatype = RD_DATATYPE_BYTES},
};
static const struct rd_mapping_tensor file_outputs[] = {
    {.name = "FILE", .gives = RD_OUTPUT_IMAGE, .datatype = RD_DATATYPE_BYTES},
};
static const struct rd_mapping raw = {.name = "raw", .outputs = raw_outputs, .outputs_count = 3};
static const struct rd_mapping file = {.name = "file", .outputs = file_outputs, .outputs_count = 1};
static const struct rd_format tiny = {"4", RD_MODALITY_IMAGE, 4, 4};
static const struct rd_generation generation = {.task = RD_TASK_T2I,
                                                .format = &tiny,
                                                .media = RD_MEDIA_PNG,
                                                .prompt = "",
                                                .negative_prompt = "",
                                                .count = 1};

/* ---- a scan and what it gives ---- */

struct scan {
    struct rd_triton_scan scan;
    struct rd_answer answer;
    struct rd_engine_sink sink;
    struct rd_buf file;
    unsigned ended;
    struct rd_why why;
};

static rd_err sink_begin(void *ctx, unsigned index, enum rd_media media, uint64_t hint)
{
    (void)ctx;
    (void)index;
    (void)hint;
    return media == RD_MEDIA_PNG ? RD_OK : RD_ERR_INTERNAL;
}

static rd_err sink_data(void *ctx, unsigned index, const void *bytes, size_t len)
{
    struct scan *scan = ctx;
    (void)index;
    rd_buf_append(&scan->file, bytes, len);
    return rd_buf_err(&scan->file);
}

static rd_err sink_end(void *ctx, unsigned index)
{
    struct scan *scan = ctx;
    (void)index;
    scan->ended++;
    return RD_OK;
}

static struct scan *scan_new(const struct rd_mapping *mapping, bool binary, uint64_t json_len)
{
    struct scan *scan = calloc(1, sizeof *scan);
    assert_non_null(scan);
    rd_buf_init(&scan->file, 1 << 24);
    scan->sink = (struct rd_engine_sink){
        .ctx = scan, .begin = sink_begin, .data = sink_data, .end = sink_end};
    rd_answer_init(&scan->answer, mapping, &generation, 0, &scan->sink);
    rd_triton_scan_begin(&scan->scan, &scan->answer, binary, json_len);
    return scan;
}

static void scan_free(struct scan *scan)
{
    rd_triton_scan_done(&scan->scan);
    rd_answer_done(&scan->answer);
    rd_buf_done(&scan->file);
    free(scan);
}

/* All of it, `step` bytes at a time, and the end. */
static rd_err scan_all(struct scan *scan, const char *data, size_t len, size_t step)
{
    for (size_t at = 0; at < len; at += step) {
        RD_TRY(rd_triton_scan_feed(&scan->scan, data + at, len - at < step ? len - at : step,
                                   &scan->why));
    }
    RD_TRY(rd_triton_scan_end(&scan->scan, &scan->why));
    return rd_answer_finish(&scan->answer, &scan->why);
}

/* The text is refused, in words that hold `why`. */
static void check_refused(const struct rd_mapping *mapping, const char *text, const char *why)
{
    struct scan *scan = scan_new(mapping, false, 0);
    rd_err err = scan_all(scan, text, strlen(text), 7);
    if (err != RD_ERR_BACKEND_FAILED || !scan->answer.malformed ||
        strstr(scan->why.text, why) == NULL) {
        fail_msg("%.200s: %s '%s'", text, rd_err_info(err)->code, scan->why.text);
    }
    scan_free(scan);
}

/* ---- elements in JSON ---- */

#define ZEROS "[0,0,0],[0,0,0],[0,0,0],[0,0,0]"

static void test_numbers(void **state)
{
    (void)state;
    static const char text[] =
        "{\"outputs\":[{\"name\":\"OTHER\",\"datatype\":\"FP64\",\"shape\":[2],"
        "\"data\":[-1.5e3,2]},"
        "{\"name\":\"RAW\",\"datatype\":\"UINT8\",\"shape\":[4,4,3],\"data\":\n"
        "[[[255, 0,0],[0,255.0,0],[0,0,255],[1,2,3]],[" ZEROS "],\n[" ZEROS "],[" ZEROS "]]},"
        "{\"name\":\"TEXT\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a]\\\"\\\\\"]},"
        "{\"shape\":[],\"name\":\"SECONDS\",\"datatype\":\"FP32\",\"data\":[2.5e-1]},"
        "{\"name\":\"DEVICE\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"cuda\\u003a1\"]}],"
        "\"id\":\"\\\"data\\\":[\",\"data\":[1,2],\"parameters\":{\"x\":{\"data\":7}}}";
    for (size_t step = 1; step < sizeof text; step++) {
        struct scan *scan = scan_new(&raw, false, 0);
        struct rd_image image;
        if (scan_all(scan, text, sizeof text - 1, step) != RD_OK) {
            fail_msg("in steps of %zu: %s", step, scan->why.text);
        }
        assert_int_equal(scan->ended, 1);
        assert_true(scan->answer.device_told);
        assert_int_equal(scan->answer.device_ns, 250000000);
        assert_string_equal(scan->answer.device, "cuda:1");
        assert_int_equal(rd_image_decode(scan->file.data, scan->file.len, 3, &image, &scan->why),
                         RD_OK);
        assert_memory_equal(image.pixels, "\377\0\0\0\377\0\0\0\377\1\2\3", 12);
        rd_image_done(&image);
        scan_free(scan);
    }
}

static void test_values_of_no_datatype(void **state)
{
    (void)state;
    static const char *const bad[] = {"256",  "-1",    "1.5",   "1e99",  "true x",
                                      "--1",  "\"1\"", "[1",    "0x10",  "NaN",
                                      "null", "{}",    "1,,\"", "1]]]]", ""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[256];
        (void)snprintf(text, sizeof text,
                       "{\"outputs\":[{\"name\":\"RAW\",\"datatype\":\"UINT8\",\"shape\":[4,4,3],"
                       "\"data\":[%s]}]}",
                       bad[i]);
        check_refused(&raw, text, "");
    }
    check_refused(&raw,
                  "{\"outputs\":[{\"name\":\"RAW\",\"datatype\":\"UINT9\",\"shape\":[1],"
                  "\"data\":[1]}]}",
                  "before its name, datatype and shape");
    check_refused(&raw,
                  "{\"outputs\":[{\"name\":\"RAW\",\"datatype\":\"UINT8\",\"shape\":[1.5],"
                  "\"data\":[1]}]}",
                  "before its name, datatype and shape");
}

/* ---- bytes behind the JSON ---- */

static void test_blobs(void **state)
{
    (void)state;
    static const char json[] =
        "{\"outputs\":[{\"name\":\"SECONDS\",\"datatype\":\"FP32\",\"shape\":[1],"
        "\"parameters\":{\"binary_data_size\":4}},"
        "{\"name\":\"EMPTY\",\"datatype\":\"FP32\",\"shape\":[0],"
        "\"parameters\":{\"binary_data_size\":0}},"
        "{\"name\":\"RAW\",\"datatype\":\"UINT8\",\"shape\":[4,4,3],"
        "\"parameters\":{\"binary_data_size\":48}},"
        "{\"name\":\"DEVICE\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"gpu\"]}]}";
    char text[512];
    size_t len = sizeof json - 1;
    memcpy(text, json, len);
    memcpy(text + len, "\0\0\0\77", 4); /* 0.5 */
    for (size_t i = 0; i < 48; i++) {
        text[len + 4 + i] = (char)i;
    }
    for (size_t step = 1; step < len + 52; step++) {
        struct scan *scan = scan_new(&raw, true, len);
        struct rd_image image;
        if (scan_all(scan, text, len + 52, step) != RD_OK) {
            fail_msg("in steps of %zu: %s", step, scan->why.text);
        }
        assert_int_equal(scan->answer.device_ns, 500000000);
        assert_string_equal(scan->answer.device, "gpu");
        assert_int_equal(rd_image_decode(scan->file.data, scan->file.len, 3, &image, &scan->why),
                         RD_OK);
        assert_memory_equal(image.pixels, text + len + 4, 48);
        rd_image_done(&image);
        scan_free(scan);
    }
    for (size_t cut = 0; cut < len + 52; cut++) { /* no shorter one is an answer */
        struct scan *scan = scan_new(&raw, true, len);
        assert_int_equal(scan_all(scan, text, cut, 512), RD_ERR_BACKEND_FAILED);
        assert_int_equal(scan->ended, 0);
        scan_free(scan);
    }
}

/* ---- limits ---- */

static void test_size_of_the_json(void **state)
{
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        size_t len = RD_TRITON_HEAD_MAX + over;
        char *text = malloc(len + 1);
        assert_non_null(text);
        memset(text, 'x', len);
        memcpy(text, "{\"outputs\":[],\"x\":\"", 19);
        memcpy(text + len - 2, "\"}", 3);
        check_refused(&file, text, over == 1 ? "larger than 64 KiB" : "no picture");
        free(text);
    }
}

static void test_size_of_a_string(void **state)
{
    (void)state;
    static const char head[] =
        "{\"outputs\":[{\"name\":\"FILE\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"";
    for (size_t over = 0; over < 2; over++) {
        size_t string = RD_TRITON_STRING_MAX - 2 - 2 + 4 * over; /* of base64, with its quotes */
        size_t len = sizeof head - 1 + string + 5;
        char *text = malloc(len + 1);
        assert_non_null(text);
        memcpy(text, head, sizeof head - 1);
        memset(text + sizeof head - 1, 'A', string);
        memcpy(text + sizeof head - 1, "iVBORw0KGgoA", 12); /* how a PNG begins */
        memcpy(text + len - 5, "\"]}]}", 6);
        struct scan *scan = scan_new(&file, false, 0);
        rd_err err = scan_all(scan, text, len, 100000);
        assert_int_equal(err, over == 1 ? RD_ERR_BACKEND_FAILED : RD_OK);
        assert_int_equal(scan->file.len, over == 1 ? 0 : string / 4 * 3);
        assert_true(over == 0 || strstr(scan->why.text, "larger than 8 MiB") != NULL);
        scan_free(scan);
        free(text);
    }
}

static void test_depth_and_length_of_numbers(void **state)
{
    (void)state;
    char text[256];
    char many[128];
    for (int over = 0; over < 2; over++) {
        memset(many, '[', sizeof many);
        (void)snprintf(text, sizeof text, "%.*s", RD_TRITON_DEPTH_MAX + over, many);
        check_refused(&raw, text, over == 1 ? "too deep" : "not JSON");
        (void)snprintf(text, sizeof text,
                       "{\"outputs\":[{\"name\":\"SECONDS\",\"datatype\":\"FP32\",\"shape\":[1],"
                       "\"data\":%.*s",
                       RD_TRITON_DEPTH_MAX + over, many);
        check_refused(&raw, text, over == 1 ? "too deep" : "not JSON");
        memset(many, '0', sizeof many);
        (void)snprintf(text, sizeof text,
                       "{\"outputs\":[{\"name\":\"SECONDS\",\"datatype\":\"FP32\",\"shape\":[1],"
                       "\"data\":[1.%.*s]}]}",
                       RD_TRITON_NUMBER_MAX - 3 + over, many);
        check_refused(&raw, text, over == 1 ? "no value of its datatype" : "no picture");
    }
}

/* Whatever stands there, it ends, and nothing is read beyond it. */
static void test_noise(void **state)
{
    (void)state;
    static const char seeds[] =
        "{\"outputs\":[{\"name\":\"RAW\",\"datatype\":\"UINT8\",\"shape\":[4,4,3],\"data\":[1,2]},"
        "{\"name\":\"FILE\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"iVBO\\\"\"]},"
        "{\"name\":\"DEVICE\",\"datatype\":\"BYTES\",\"shape\":[1],"
        "\"parameters\":{\"binary_data_size\":9}}]}\5\0\0\0hello";
    uint32_t random = 1;
    for (unsigned i = 0; i < 4000; i++) {
        char *text = malloc(sizeof seeds); /* exact, so that reading beyond it is seen */
        assert_non_null(text);
        memcpy(text, seeds, sizeof seeds);
        for (unsigned k = 0; k < 1 + i % 4; k++) {
            random = random * 1664525u + 1013904223u;
            text[(random >> 8) % sizeof seeds] = "\"[]{},:\\0e\5x"[(random >> 24) % 12];
        }
        struct scan *scan = scan_new(i % 2 == 0 ? &raw : &file, i % 3 == 0, sizeof seeds - 10);
        rd_err err = scan_all(scan, text, sizeof seeds - 1, 1 + i % 50);
        assert_true(err == RD_OK || scan->why.text[0] != '\0');
        scan_free(scan);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_values_of_no_datatype),
        cmocka_unit_test(test_blobs),
        cmocka_unit_test(test_size_of_the_json),
        cmocka_unit_test(test_size_of_a_string),
        cmocka_unit_test(test_depth_and_length_of_numbers),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests_name("engine/triton_http_scan", tests, NULL, NULL);
}
