/* SPDX-License-Identifier: Apache-2.0
 *
 * range.c: every pair of positions of a small object against a plain model, the edges of 64
 * bits, and what is to be ignored. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "http/range.h"

static void assert_part(const char *header, uint64_t size, uint64_t first, uint64_t last)
{
    struct rd_range range = {99, 99};
    if (rd_range_parse(header, size, &range) != RD_RANGE_PART || range.first != first ||
        range.last != last) {
        fail_msg("%s of %llu: got %llu-%llu", header, (unsigned long long)size,
                 (unsigned long long)range.first, (unsigned long long)range.last);
    }
}

static void assert_kind(const char *header, uint64_t size, enum rd_range_kind want)
{
    struct rd_range range = {77, 88};
    enum rd_range_kind got = rd_range_parse(header, size, &range);
    if (got != want) {
        fail_msg("%s of %llu: expected %d, got %d", header == NULL ? "NULL" : header,
                 (unsigned long long)size, (int)want, (int)got);
    }
    assert_true(range.first == 77 && range.last == 88); /* untouched */
}

static void small_objects(void **state)
{
    (void)state;
    char header[64];
    for (uint64_t size = 1; size <= 6; size++) {
        for (unsigned a = 0; a <= 8; a++) {
            (void)snprintf(header, sizeof header, "bytes=%u-", a);
            if (a < size) {
                assert_part(header, size, a, size - 1);
            } else {
                assert_kind(header, size, RD_RANGE_UNSATISFIABLE);
            }
            (void)snprintf(header, sizeof header, "bytes=-%u", a);
            if (a > 0) {
                assert_part(header, size, a < size ? size - a : 0, size - 1);
            } else {
                assert_kind(header, size, RD_RANGE_UNSATISFIABLE);
            }
            for (unsigned b = 0; b <= 8; b++) {
                (void)snprintf(header, sizeof header, "bytes=%u-%u", a, b);
                if (b < a) {
                    assert_kind(header, size, RD_RANGE_WHOLE);
                } else if (a >= size) {
                    assert_kind(header, size, RD_RANGE_UNSATISFIABLE);
                } else {
                    assert_part(header, size, a, b < size ? b : size - 1);
                }
            }
        }
    }
}

static void large_numbers(void **state)
{
    (void)state;
    uint64_t max = UINT64_MAX;
    assert_part("bytes=0-18446744073709551615", max, 0, max - 1);
    assert_part("bytes=18446744073709551614-18446744073709551614", max, max - 1, max - 1);
    assert_kind("bytes=18446744073709551615-", max, RD_RANGE_UNSATISFIABLE);
    assert_part("bytes=5-99999999999999999999999999", 10, 5, 9);
    assert_part("bytes=-99999999999999999999999999", 10, 0, 9);
    assert_kind("bytes=99999999999999999999999999-", 10, RD_RANGE_UNSATISFIABLE);
    assert_kind("bytes=18446744073709551616-", 10, RD_RANGE_UNSATISFIABLE); /* 2^64 is not 0 */
    assert_part("bytes=0000000000000000000000001-2", 10, 1, 2);
}

static void forms_that_count(void **state)
{
    (void)state;
    assert_part("Bytes=1-2", 10, 1, 2);
    assert_part("bytes= 1-2", 10, 1, 2);
    assert_part("bytes=1-2 \t", 10, 1, 2);
    assert_part("bytes=,, 1-2 ,", 10, 1, 2);
}

static void forms_that_do_not(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=,",
        "bytes=x",
        "bytes=1",
        "bytes=1-x",
        "bytes=a-2",
        "bytes=1--2",
        "bytes=--2",
        "bytes=1-2-3",
        "bytes 1-2",
        "bytes=1 -2",
        "bytes=1- 2",
        "bytes=+1-2",
        "items=0-1",
        "byte=0-1",
        "bytes=0-1,3-4",
        "bytes=0-0,-1",
        "bytes=0-1;x",
        "bytes=0x1-2",
        " bytes=0-1",
        "bytes=0-1\r\n",
        "bytes=\x80-1",
        "seconds=1-2",
    };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        assert_kind(headers[i], 10, RD_RANGE_WHOLE);
    }
    assert_kind(NULL, 10, RD_RANGE_WHOLE);
    assert_kind("bytes=0-", 0, RD_RANGE_WHOLE); /* nothing there to be a part of */
    assert_kind("bytes=-1", 0, RD_RANGE_WHOLE);
}

static void content_range(void **state)
{
    (void)state;
    char text[RD_RANGE_TEXT_MAX];
    struct rd_range range = {0, 99};
    rd_range_content(&range, 1234, text);
    assert_string_equal(text, "bytes 0-99/1234");
    rd_range_content(NULL, 1234, text);
    assert_string_equal(text, "bytes */1234");
    range = (struct rd_range){UINT64_MAX - 1, UINT64_MAX - 1};
    rd_range_content(&range, UINT64_MAX, text);
    assert_string_equal(text,
                        "bytes 18446744073709551614-18446744073709551614/18446744073709551615");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_objects),    cmocka_unit_test(large_numbers),
        cmocka_unit_test(forms_that_count), cmocka_unit_test(forms_that_do_not),
        cmocka_unit_test(content_range),
    };
    return cmocka_run_group_tests_name("http/range", tests, NULL, NULL);
}
