/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers, as servers send them and as they should not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "engine/tensor/answer.h"

static const struct rd_format square = {"512", RD_MODALITY_IMAGE, 512, 512};
static const int64_t one[] = {1};

/* What the sink was told. */
struct told {
    struct rd_buf data;
    unsigned begins, ends, previews, progresses;
    enum rd_media media;
    uint64_t size_hint;
    double fraction;
    rd_err fail; /* data() gives this */
};

static rd_err on_begin(void *ctx, unsigned index, enum rd_media media, uint64_t size_hint)
{
    struct told *told = ctx;
    assert_int_equal(index, 2);
    told->begins++;
    told->media = media;
    told->size_hint = size_hint;
    return RD_OK;
}

static rd_err on_data(void *ctx, unsigned index, const void *bytes, size_t len)
{
    struct told *told = ctx;
    assert_int_equal(index, 2);
    rd_buf_append(&told->data, bytes, len);
    return told->fail;
}

static rd_err on_end(void *ctx, unsigned index)
{
    struct told *told = ctx;
    assert_int_equal(index, 2);
    told->ends++;
    return RD_OK;
}

#define PNG "\x89PNG\r\n\x1a\n\0\0\0\rIHDR and whatever else"

static void test_file_streams(void **state)
{
    (void)state;
    const char wire[] = "\x22\0\0\0" PNG;
    const size_t len = sizeof wire - 1;
    assert_int_equal(len, 4 + 0x22);
    struct rd_generation g = {.format = &square, .media = RD_MEDIA_PNG, .steps = 4};
    struct rd_tensor_info info = {"image", "BYTES", one, 1, false};
    for (size_t chunk = 1; chunk <= len; chunk++) {
        struct told told = {0};
        struct rd_engine_sink sink = {
            .ctx = &told, .begin = on_begin, .data = on_data, .end = on_end};
        struct rd_answer answer;
        struct rd_why why;
        rd_buf_init(&told.data, 1000);
        rd_answer_init(&answer, rd_mapping_ready("prompt-to-picture"), &g, 2, &sink);
        assert_int_equal(rd_answer_head(&answer, &info, 1, &why), RD_OK);
        for (size_t at = 0; at < len; at += chunk) {
            size_t step = len - at < chunk ? len - at : chunk;
            assert_int_equal(rd_answer_data(&answer, 0, wire + at, step, &why), RD_OK);
        }
        assert_int_equal(told.ends, 0);
        assert_false(rd_answer_is_slow(&answer));
        assert_int_equal(rd_answer_finish(&answer, &why), RD_OK);
        rd_answer_done(&answer);
        assert_int_equal(told.begins, 1);
        assert_int_equal(told.ends, 1);
        assert_int_equal(told.media, RD_MEDIA_PNG);
        assert_int_equal(told.size_hint, 0x22);
        assert_int_equal(told.data.len, 0x22);
        assert_memory_equal(told.data.data, PNG, 0x22);
        rd_buf_done(&told.data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
