/* SPDX-License-Identifier: Apache-2.0
 *
 * The bounded buffer: its ceiling at max and max + 1, the state after a failure, and JSON text that
 * reads back as what went in. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

static void appends_and_ends_in_nul(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf buf;
    rd_buf_init(&buf, 1000);
    assert_string_equal(rd_buf_cstr(&buf), "");
    assert_null(buf.data);
    rd_buf_str(&buf, "ab");
    rd_buf_char(&buf, 'c');
    rd_buf_append(&buf, "d\0e", 3);
    rd_buf_append(&buf, NULL, 0);
    rd_buf_printf(&buf, "%d-%s", 7, "x");
    assert_int_equal(rd_buf_err(&buf), RD_OK);
    assert_int_equal(buf.len, 9);
    assert_memory_equal(buf.data, "abcd\0e7-x", 10);
    rd_buf_reset(&buf);
    assert_int_equal(buf.len, 0);
    assert_string_equal(rd_buf_cstr(&buf), "");
}

static void the_ceiling_is_exact(void **state)
{
    (void)state;
    for (size_t max = 0; max < 600; max += 1 + max / 7) {
        for (size_t step = 1; step < 40; step += 6) {
            RD_AUTO_BUF struct rd_buf buf;
            char piece[64];
            memset(piece, 'x', sizeof piece);
            rd_buf_init(&buf, max);
            while (buf.len + step <= max) {
                rd_buf_append(&buf, piece, step);
                assert_int_equal(rd_buf_err(&buf), RD_OK);
                assert_int_equal(buf.data[buf.len], '\0');
            }
            rd_buf_append(&buf, piece, max - buf.len);
            assert_int_equal(rd_buf_err(&buf), RD_OK);
            assert_int_equal(buf.len, max);
            rd_buf_char(&buf, 'y');
            assert_int_equal(rd_buf_err(&buf), RD_ERR_TOO_LARGE);
            assert_int_equal(buf.len, max); /* nothing was appended */
        }
    }
}

/* After a failure nothing more is appended, even what would fit, until a reset. */
static void a_failure_sticks(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf buf;
    rd_buf_init(&buf, 4);
    rd_buf_str(&buf, "abc");
    rd_buf_str(&buf, "de");
    rd_buf_char(&buf, 'f');
    rd_buf_printf(&buf, "g");
    rd_buf_json_str(&buf, "h");
    assert_null(rd_buf_reserve(&buf, 0));
    assert_string_equal(rd_buf_cstr(&buf), "abc");
    assert_int_equal(rd_buf_err(&buf), RD_ERR_TOO_LARGE);
    size_t len = 77;
    assert_null(rd_buf_steal(&buf, &len));
    assert_int_equal(len, 77);
    rd_buf_reset(&buf);
    rd_buf_str(&buf, "abcd");
    assert_int_equal(rd_buf_err(&buf), RD_OK);
}

static void lengths_that_overflow_are_too_large(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf buf;
    rd_buf_init(&buf, 100);
    rd_buf_char(&buf, 'a');
    assert_null(rd_buf_reserve(&buf, SIZE_MAX));
    assert_int_equal(rd_buf_err(&buf), RD_ERR_TOO_LARGE);
    rd_buf_reset(&buf);
    assert_null(rd_buf_reserve(&buf, SIZE_MAX - 1));
    assert_int_equal(rd_buf_err(&buf), RD_ERR_TOO_LARGE);
}

/* The longest that the first try of printf holds is 255; below, at, above, and far above. */
static void printf_of_every_length(void **state)
{
    (void)state;
    static const int lengths[] = {0, 1, 254, 255, 256, 257, 5000};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        RD_AUTO_BUF struct rd_buf buf;
        rd_buf_init(&buf, 5002);
        rd_buf_char(&buf, '<');
        rd_buf_printf(&buf, "%*s", lengths[i], "");
        rd_buf_char(&buf, '>');
        assert_int_equal(rd_buf_err(&buf), RD_OK);
        assert_int_equal(buf.len, lengths[i] + 2);
        assert_int_equal(strspn(buf.data + 1, " "), lengths[i]);
        RD_AUTO_BUF struct rd_buf tight;
        rd_buf_init(&tight, lengths[i] == 0 ? 0 : (size_t)lengths[i] - 1);
        rd_buf_printf(&tight, "%*s", lengths[i], "");
        assert_int_equal(rd_buf_err(&tight), lengths[i] == 0 ? RD_OK : RD_ERR_TOO_LARGE);
        assert_int_equal(tight.len, 0);
    }
}

static void reserve_and_commit(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf buf;
    rd_buf_init(&buf, 10);
    rd_buf_commit(&buf, 0); /* nothing was reserved: harmless */
    char *room = rd_buf_reserve(&buf, 10);
    assert_non_null(room);
    memcpy(room, "0123456789", 10);
    assert_int_equal(buf.len, 0);
    rd_buf_commit(&buf, 4);
    assert_string_equal(buf.data, "0123");
    assert_non_null(rd_buf_reserve(&buf, 6));
    assert_null(rd_buf_reserve(&buf, 7));
}

static void steal_hands_the_memory_over(void **state)
{
    (void)state;
    struct rd_buf buf;
    size_t len = 0;
    rd_buf_init(&buf, 10);
    char *empty = rd_buf_steal(&buf, &len);
    assert_non_null(empty); /* an empty text is a text */
    assert_string_equal(empty, "");
    assert_int_equal(len, 0);
    rd_buf_str(&buf, "abc");
    char *text = rd_buf_steal(&buf, &len);
    assert_string_equal(text, "abc");
    assert_int_equal(len, 3);
    assert_null(buf.data);
    assert_int_equal(buf.len, 0);
    rd_buf_str(&buf, "again");
    assert_string_equal(buf.data, "again");
    rd_buf_done(&buf);
    rd_mem_free(empty);
    rd_mem_free(text);
}

static void assert_json(const char *in, size_t len, const char *expected)
{
    RD_AUTO_BUF struct rd_buf buf;
    rd_buf_init(&buf, 1000);
    rd_buf_json_string(&buf, in, len);
    assert_string_equal(rd_buf_cstr(&buf), expected);
}

static void json_strings(void **state)
{
    (void)state;
#define CASE(in, out) assert_json(in, sizeof in - 1, out)
    CASE("", "\"\"");
    CASE("plain / text", "\"plain / text\"");
    CASE("\"\\", "\"\\\"\\\\\"");
    CASE("a\nb\tc\rd\be\ff", "\"a\\nb\\tc\\u000dd\\u0008e\\u000cf\"");
    CASE("\0\x01\x1f\x7f", "\"\\u0000\\u0001\\u001f\\u007f\"");
    CASE("\xc3\xa9\xe2\x82\xac\xf0\x9f\x8e\xa8", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x8e\xa8\"");
    CASE("a\xff"
         "b",
         "\"a\xef\xbf\xbd"
         "b\"");
    CASE("\xc3", "\"\xef\xbf\xbd\"");
    CASE("\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    CASE("\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    CASE("\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"");
#undef CASE
    assert_json("ab", 1, "\"a\""); /* the length counts, not the NUL */
}

static void assert_number(double value, const char *expected)
{
    RD_AUTO_BUF struct rd_buf buf;
    rd_buf_init(&buf, 100);
    rd_buf_json_number(&buf, value);
    assert_string_equal(rd_buf_cstr(&buf), expected);
}

static void json_numbers(void **state)
{
    (void)state;
    assert_number(0, "0");
    assert_number(1, "1");
    assert_number(-1.5, "-1.5");
    assert_number(0.1, "0.1");
    assert_number(3.5, "3.5");
    assert_number(1e21, "1e+21");
    assert_number(0.30000000000000004, "0.30000000000000004");
    assert_number((double)INFINITY, "null");
    assert_number(-(double)INFINITY, "null");
    assert_number((double)NAN, "null");
    static const double hard[] = {DBL_MAX,  DBL_MIN,      DBL_EPSILON,        5e-324,
                                  1.0 / 3,  4294967295.0, 9007199254740993.0, 123456.7,
                                  1234567.0};
    for (size_t i = 0; i < sizeof hard / sizeof hard[0]; i++) {
        RD_AUTO_BUF struct rd_buf buf;
        rd_buf_init(&buf, 100);
        rd_buf_json_number(&buf, hard[i]);
        assert_true(strtod(buf.data, NULL) == hard[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_and_ends_in_nul),
        cmocka_unit_test(the_ceiling_is_exact),
        cmocka_unit_test(a_failure_sticks),
        cmocka_unit_test(lengths_that_overflow_are_too_large),
        cmocka_unit_test(printf_of_every_length),
        cmocka_unit_test(reserve_and_commit),
        cmocka_unit_test(steal_hands_the_memory_over),
        cmocka_unit_test(json_strings),
        cmocka_unit_test(json_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
