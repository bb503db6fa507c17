/* SPDX-License-Identifier: Apache-2.0
 *
 * json.c: every allocation of a parse fails once, by number, and each time the failure is called
 * what it is. A wrong body is still called wrong. Linked with --wrap, so that base/mem.c's calls
 * come here. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "request/json.h"

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static unsigned calls, fails_at; /* 0: none */

void *__wrap_malloc(size_t size)
{
    calls++;
    return calls == fails_at ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    calls++;
    return calls == fails_at ? NULL : __real_calloc(count, size);
}

static const char good[] =
    "{\"prompt\":\"a \\u00e9\\ud83d\\ude00 long enough to need more than the first buffer of the "
    "library\","
    "\"numbers\":[1,-2,3.5e10,true,false,null,[],{}],"
    "\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,\"j\":10,\"k\":11}";

static void each_allocation_fails_once(void **state)
{
    (void)state;
    json_error_t error;
    calls = fails_at = 0;
    json_t *root = rd_json_load(good, sizeof good - 1, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(root);
    json_decref(root);
    unsigned total = calls;
    assert_true(total > 30); /* else the wrapper is not in the way */
    for (unsigned number = 1; number <= total; number++) {
        calls = 0;
        fails_at = number;
        root = rd_json_load(good, sizeof good - 1, JSON_REJECT_DUPLICATES, &error);
        fails_at = 0;
        if (root != NULL || json_error_code(&error) != json_error_out_of_memory) {
            fail_msg("allocation %u: %d %s", number, (int)json_error_code(&error), error.text);
        }
        assert_string_equal(error.text, "out of memory");
    }
}

static void wrong_bodies_are_still_wrong(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",         "{",  "{\"a\":}", "{\"a\":1,\"a\":2}",
                                        "\"\xff\"", "nul"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        json_error_t error;
        assert_null(rd_json_load(wrong[i], strlen(wrong[i]), JSON_REJECT_DUPLICATES, &error));
        assert_int_not_equal(json_error_code(&error), json_error_out_of_memory);
        assert_true(error.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_fails_once),
        cmocka_unit_test(wrong_bodies_are_still_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
