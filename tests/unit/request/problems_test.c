/* SPDX-License-Identifier: Apache-2.0
 *
 * problems.c: the list, its limit, its JSON. */
#include "fixture.h"

static void lists_and_counts(void **state)
{
    (void)state;
    struct rd_arena arena;
    struct rd_problems problems = {.count = 0};
    rd_arena_init(&arena, RD_MIB(1));
    for (unsigned i = 0; i < RD_LIMIT_PROBLEMS + 3; i++) {
        rd_problems_add(&problems, &arena, "f", "c", "number %u", i);
    }
    assert_int_equal(problems.count, RD_LIMIT_PROBLEMS);
    assert_int_equal(problems.dropped, 3);
    assert_string_equal(problems.list[RD_LIMIT_PROBLEMS - 1].message, "number 31");
    rd_arena_done(&arena);
}

static void writes_json(void **state)
{
    (void)state;
    struct rd_arena arena;
    struct rd_problems problems = {.count = 0};
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, RD_KIB(4));
    rd_arena_init(&arena, RD_MIB(1));
    rd_problems_json(&problems, &out);
    assert_string_equal(rd_buf_cstr(&out), "[]");
    rd_buf_reset(&out);
    rd_problems_add(&problems, &arena, "lora[2].weight", "type", "got \"%s\"", "a\nb\xff");
    rd_problems_add(&problems, &arena, "", "json", "line 1");
    rd_problems_json(&problems, &out);
    assert_string_equal(rd_buf_cstr(&out),
                        "[{\"field\":\"lora[2].weight\",\"constraint\":\"type\",\"message\":\"got "
                        "\\\"a\\nb\xef\xbf\xbd\\\"\"},"
                        "{\"field\":\"\",\"constraint\":\"json\",\"message\":\"line 1\"}]");
    rd_arena_done(&arena);
}

static void keeps_quiet_without_memory(void **state)
{
    (void)state;
    struct rd_arena arena;
    for (size_t max = 0; max < 12; max++) { /* fails at the first, second and third text in turn */
        struct rd_problems problems = {.count = 0};
        rd_arena_init(&arena, max);
        rd_problems_add(&problems, &arena, "abc", "def", "%s", "ghi");
        assert_int_equal(problems.count, 0);
        assert_int_equal(problems.dropped, 1);
        rd_arena_done(&arena);
    }
}

static void cuts_long_messages(void **state)
{
    (void)state;
    struct rd_arena arena;
    struct rd_problems problems = {.count = 0};
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    rd_arena_init(&arena, RD_MIB(1));
    rd_problems_add(&problems, &arena, "f", "c", "%s", text);
    assert_int_equal(strlen(problems.list[0].message), 1023);
    rd_arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_and_counts),
        cmocka_unit_test(writes_json),
        cmocka_unit_test(keeps_quiet_without_memory),
        cmocka_unit_test(cuts_long_messages),
    };
    return cmocka_run_group_tests_name("request/problems", tests, NULL, NULL);
}
