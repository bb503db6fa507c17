/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that is not there: every allocation on the way of a raw source picture into a tensor, and
 * of answers into a sink, fails in turn. The end is NO_MEMORY or success, nothing half-done, and
 * (under ASan) nothing is lost. PNG alone: the other libraries end the process in places that
 * tests/unit/media/memory_test.c names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "tensor_dialogue.h"

#include "engine/tensor/tensor.h"

/* Fails the allocation with this number, counted from 1; 0: none. */
static size_t fail_at;
static size_t seen;
static bool failed;

static bool fails(void)
{
    seen++;
    failed = failed || seen == fail_at;
    return seen == fail_at;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size)
{
    return fails() ? NULL : __real_realloc(block, size);
}

/* Runs `attempt` with each of its allocations failing, until none is left to fail. */
static void torture(rd_err (*attempt)(struct told *told), size_t least)
{
    size_t number = 0;
    do {
        struct told told = {0};
        rd_buf_init(&told.data, 1 << 20);
        assert_non_null(rd_buf_reserve(&told.data, 1 << 16)); /* the sink itself does not fail */
        fail_at = ++number;
        seen = 0;
        failed = false;
        rd_err err = attempt(&told);
        fail_at = 0;
        assert_true(err == RD_OK || (failed && err == RD_ERR_NO_MEMORY));
        assert_int_equal(told.ends, err == RD_OK && told.begins > 0);
        told_done(&told);
    } while (failed);
    assert_true(number > least); /* it did allocate */
}

static struct rd_buf source; /* an 8 x 4 PNG, as on the wire */

static rd_err make_a_tensor(struct told *told)
{
    static const struct rd_mapping_tensor row = {.name = "INIT",
                                                 .field = RD_INPUT_IMAGE,
                                                 .datatype = RD_DATATYPE_FP16,
                                                 .rank = 3,
                                                 .shape = {3, 16, 16}};
    struct rd_mapping mapping = *rd_mapping_ready("prompt-to-picture");
    struct rd_generation g = png_asked;
    struct rd_tensors tensors;
    (void)told;
    mapping.inputs = &row;
    mapping.inputs_count = 1;
    g.task = RD_TASK_I2I;
    g.image.bytes = (const uint8_t *)source.data + 4;
    g.image.bytes_len = source.len - 4;
    RD_TRY(rd_tensors_make(&mapping, &g, 0, &tensors, NULL));
    assert_int_equal(tensors.bytes, 16 * 16 * 3 * 2);
    rd_tensors_done(&tensors);
    return RD_OK;
}

static rd_err answer_with(struct told *told, const struct rd_mapping *mapping,
                          const struct rd_tensor_info *info, const void *bytes, size_t len)
{
    struct rd_engine_sink sink = {.ctx = told, .begin = on_begin, .data = on_data, .end = on_end};
    struct rd_answer answer;
    rd_answer_init(&answer, mapping, &png_asked, 2, &sink);
    rd_err err = rd_answer_head(&answer, info, 1, NULL);
    err = err == RD_OK ? rd_answer_data(&answer, 0, bytes, len, NULL) : err;
    err = err == RD_OK ? rd_answer_finish(&answer, NULL) : err;
    assert_false(answer.malformed);
    rd_answer_done(&answer);
    return err;
}

static rd_err answer_raw(struct told *told)
{
    static const int64_t shape[] = {1, 3, 4, 8};
    static const uint8_t zeros[96 * 4];
    struct rd_tensor_info info = {"IMAGES", "FP32", shape, 4, false};
    struct rd_mapping mapping = raw_mapping();
    return answer_with(told, &mapping, &info, zeros, sizeof zeros);
}

static rd_err answer_file(struct told *told)
{
    struct rd_tensor_info info = {"image", "BYTES", one, 1, false};
    return answer_with(told, rd_mapping_ready("prompt-to-picture"), &info, source.data, source.len);
}

static void tensors(void **state)
{
    (void)state;
    torture(make_a_tensor, 3);
}

static void raw_answers(void **state)
{
    (void)state;
    torture(answer_raw, 2);
}

/* What streams takes no memory at all. */
static void answers_that_stream(void **state)
{
    (void)state;
    torture(answer_file, 0);
    assert_int_equal(seen, 0);
}

static int prepare(void **state)
{
    (void)state;
    a_file(RD_MEDIA_PNG, &source);
    return 0;
}

static int tidy_up(void **state)
{
    (void)state;
    rd_buf_done(&source);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors),
        cmocka_unit_test(raw_answers),
        cmocka_unit_test(answers_that_stream),
    };
    return cmocka_run_group_tests(tests, prepare, tidy_up);
}
