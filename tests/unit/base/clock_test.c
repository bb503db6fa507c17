/* SPDX-License-Identifier: Apache-2.0
 *
 * Written times against known dates, and that the clocks go forward. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

static const struct {
    uint64_t unix_ms;
    const char *ms, *s, *http;
} dates[] = {
    {0, "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"},
    {784111777000, "1994-11-06T08:49:37.000Z", "1994-11-06T08:49:37Z",
     "Sun, 06 Nov 1994 08:49:37 GMT"}, /* the example of RFC 9110 */
    {951782399999, "2000-02-28T23:59:59.999Z", "2000-02-28T23:59:59Z",
     "Mon, 28 Feb 2000 23:59:59 GMT"},
    {951782400000, "2000-02-29T00:00:00.000Z", "2000-02-29T00:00:00Z",
     "Tue, 29 Feb 2000 00:00:00 GMT"},
    {1795348096042, "2026-11-22T11:48:16.042Z", "2026-11-22T11:48:16Z",
     "Sun, 22 Nov 2026 11:48:16 GMT"},
    {2147483648001, "2038-01-19T03:14:08.001Z", "2038-01-19T03:14:08Z",
     "Tue, 19 Jan 2038 03:14:08 GMT"}, /* beyond 32 bits */
    {253402300799999, "9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59Z",
     "Fri, 31 Dec 9999 23:59:59 GMT"},
};

static void known_dates(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof dates / sizeof dates[0]; i++) {
        char ms[RD_CLOCK_RFC3339_LEN + 1];
        char s[21];
        char http[RD_CLOCK_HTTP_DATE_LEN + 1];
        rd_clock_rfc3339_ms(dates[i].unix_ms, ms);
        rd_clock_rfc3339_s(dates[i].unix_ms, s);
        rd_clock_http_date(dates[i].unix_ms / 1000, http);
        assert_string_equal(ms, dates[i].ms);
        assert_string_equal(s, dates[i].s);
        assert_string_equal(http, dates[i].http);
    }
}

/* Neither the time zone nor the locale of the machine shows. */
static void always_utc(void **state)
{
    (void)state;
    assert_int_equal(setenv("TZ", "Asia/Tokyo", 1), 0);
    tzset();
    known_dates(state);
    assert_int_equal(unsetenv("TZ"), 0);
    tzset();
}

/* Times that no calendar holds must stay inside their buffers. */
static void absurd_times_stay_in_bounds(void **state)
{
    (void)state;
    static const uint64_t absurd[] = {UINT64_MAX, INT64_MAX, 253402300800000, UINT64_MAX / 1000};
    for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; i++) {
        char ms[RD_CLOCK_RFC3339_LEN + 2];
        char s[22];
        char http[RD_CLOCK_HTTP_DATE_LEN + 2];
        ms[RD_CLOCK_RFC3339_LEN + 1] = s[21] = http[RD_CLOCK_HTTP_DATE_LEN + 1] = '#';
        rd_clock_rfc3339_ms(absurd[i], ms);
        rd_clock_rfc3339_s(absurd[i], s);
        rd_clock_http_date(absurd[i], http);
        assert_in_range(strlen(ms), 0, RD_CLOCK_RFC3339_LEN);
        assert_in_range(strlen(s), 0, 20);
        assert_in_range(strlen(http), 0, RD_CLOCK_HTTP_DATE_LEN);
        assert_true(ms[RD_CLOCK_RFC3339_LEN + 1] == '#' && s[21] == '#');
        assert_int_equal(http[RD_CLOCK_HTTP_DATE_LEN + 1], '#');
    }
}

static void clocks_go_forward(void **state)
{
    (void)state;
    uint64_t mono = rd_clock_mono_ns();
    uint64_t cpu = rd_clock_thread_cpu_ns();
    for (int i = 0; i < 100000; i++) {
        uint64_t now = rd_clock_mono_ns();
        assert_true(now >= mono);
        mono = now;
    }
    assert_true(rd_clock_thread_cpu_ns() > cpu);
    uint64_t wall = rd_clock_wall_ms();
    assert_in_range(wall, 1700000000000u,
                    253402300799999u); /* after 2023: milliseconds, not seconds */
    assert_in_range(wall / 1000, (uint64_t)time(NULL) - 2, (uint64_t)time(NULL) + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_dates),
        cmocka_unit_test(always_utc),
        cmocka_unit_test(absurd_times_stay_in_bounds),
        cmocka_unit_test(clocks_go_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
