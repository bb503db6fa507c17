/* SPDX-License-Identifier: Apache-2.0
 *
 * conditional.c: the order of RFC 9110 13.2.2, both comparisons of tags, the three forms of
 * dates. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "http/conditional.h"

#define CHANGED "Sun, 06 Nov 1994 08:49:37 GMT"
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define AFTER "Sun, 06 Nov 1994 08:49:38 GMT"

static const struct rd_conditional_object object = {true, "\"abc\"", 784111777};
static const struct rd_conditional_object nothing = {false, NULL, 0};
static const struct rd_conditional_object undated = {true, "\"abc\"", 0};

#define GO RD_CONDITIONAL_PROCEED
#define SAME RD_CONDITIONAL_NOT_MODIFIED
#define FAIL RD_CONDITIONAL_FAILED

struct row {
    const char *if_match, *if_none_match, *if_modified, *if_unmodified;
    enum rd_conditional read, write; /* expected for GET, and for PUT */
};

static void check(const struct row *rows, size_t count, const struct rd_conditional_object *what)
{
    for (size_t i = 0; i < count; i++) {
        struct rd_conditional_request request = {true, rows[i].if_match, rows[i].if_none_match,
                                                 rows[i].if_modified, rows[i].if_unmodified};
        enum rd_conditional read = rd_conditional_evaluate(&request, what);
        request.is_read = false;
        enum rd_conditional write = rd_conditional_evaluate(&request, what);
        if (read != rows[i].read || write != rows[i].write) {
            fail_msg("row %zu: got %d for GET, %d for PUT", i, (int)read, (int)write);
        }
    }
}
#define CHECK(rows, what) check(rows, sizeof(rows) / sizeof(rows)[0], what)

static void single_conditions(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {NULL, NULL, NULL, NULL, GO, GO},
        {"\"abc\"", NULL, NULL, NULL, GO, GO},
        {"\"abd\"", NULL, NULL, NULL, FAIL, FAIL},
        {"*", NULL, NULL, NULL, GO, GO},
        {"W/\"abc\"", NULL, NULL, NULL, FAIL, FAIL}, /* strong comparison */
        {"\"x\", \"abc\"", NULL, NULL, NULL, GO, GO},
        {NULL, "\"abc\"", NULL, NULL, SAME, FAIL},
        {NULL, "W/\"abc\"", NULL, NULL, SAME, FAIL}, /* weak comparison */
        {NULL, "*", NULL, NULL, SAME, FAIL},
        {NULL, "\"x\",\"y\" , \"abc\"", NULL, NULL, SAME, FAIL},
        {NULL, "\"x,abc\"", NULL, NULL, GO, GO}, /* a comma inside a tag */
        {NULL, "\"ABC\"", NULL, NULL, GO, GO},
        {NULL, NULL, CHANGED, NULL, SAME, GO},
        {NULL, NULL, AFTER, NULL, SAME, GO},
        {NULL, NULL, BEFORE, NULL, GO, GO},
        {NULL, NULL, "yesterday", NULL, GO, GO},
        {NULL, NULL, NULL, CHANGED, GO, GO},
        {NULL, NULL, NULL, AFTER, GO, GO},
        {NULL, NULL, NULL, BEFORE, FAIL, FAIL},
        {NULL, NULL, NULL, "yesterday", GO, GO},
    };
    CHECK(rows, &object);
}

static void order(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"\"abc\"", NULL, NULL, BEFORE, GO, GO},      /* If-Match silences If-Unmodified-Since */
        {"\"x\"", "\"abc\"", NULL, NULL, FAIL, FAIL}, /* step 1 before step 3 */
        {NULL, "\"abc\"", NULL, BEFORE, FAIL, FAIL},  /* step 2 before step 3 */
        {NULL, "\"x\"", AFTER, NULL, GO, GO},         /* If-None-Match silences If-Modified-Since */
        {"\"abc\"", "\"abc\"", NULL, NULL, SAME, FAIL}, {"*", NULL, CHANGED, NULL, SAME, GO},
    };
    CHECK(rows, &object);
}

static void nothing_there(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"*", NULL, NULL, NULL, FAIL, FAIL},   {"\"abc\"", NULL, NULL, NULL, FAIL, FAIL},
        {NULL, "*", NULL, NULL, GO, GO}, /* PUT that must create */
        {NULL, "\"abc\"", NULL, NULL, GO, GO}, {NULL, NULL, AFTER, BEFORE, GO, GO},
    };
    CHECK(rows, &nothing);
    static const struct row dates[] = {{NULL, NULL, AFTER, NULL, GO, GO},
                                       {NULL, NULL, NULL, BEFORE, GO, GO}};
    CHECK(dates, &undated);
}

static void malformed_tags(void **state)
{
    (void)state;
    static const char *const tags[] = {
        "",           " ",         ",",          "abc", "\"abc",       "abc\"",        "'abc'",
        "W/abc",      "w/\"abc\"", "W/ \"abc\"", "**",  "* , \"abc\"", "\"abc\"\"x\"", "\"a bc\"",
        "x, \"abc\"", "\"\"",      "\"abc\"x",
    };
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
        struct rd_conditional_request request = {.is_read = true, .if_none_match = tags[i]};
        bool first_is_right = strncmp(tags[i], "\"abc\"", 5) == 0; /* found before the nonsense */
        if (rd_conditional_evaluate(&request, &object) != (first_is_right ? SAME : GO)) {
            fail_msg("If-None-Match: %s", tags[i]);
        }
    }
}

static void ranges(void **state)
{
    (void)state;
    assert_true(rd_conditional_range_applies(NULL, &object));
    assert_true(rd_conditional_range_applies("\"abc\"", &object));
    assert_true(rd_conditional_range_applies(CHANGED, &object));
    static const char *const not [] = {"W/\"abc\"", "\"x\"", "abc", "",
                                       "*",         BEFORE,  AFTER, "\"abc\","};
    for (size_t i = 0; i < sizeof not / sizeof not [0]; i++) {
        assert_false(rd_conditional_range_applies(not [i], &object));
    }
    assert_false(rd_conditional_range_applies("\"abc\"", &nothing));
    assert_false(rd_conditional_range_applies(CHANGED, &undated));
}

static void dates(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t want;
    } good[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777}, /* the three forms of RFC 9110 5.6.7 */
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {"Wed Nov 16 08:49:37 1994", 784975777},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Tue, 29 Feb 2000 23:59:60 GMT", 951868800},
        {"Thu, 31 Dec 9999 23:59:59 GMT", 253402300799},
        {"Friday, 01-Jan-69 00:00:00 GMT", 3124224000},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t got = 1;
        assert_true(rd_conditional_date(good[i].text, &got));
        assert_int_equal(got, good[i].want);
    }
    static const char *const bad[] = {
        "",
        "0",
        "Sun",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Tue, 29 Feb 1900 00:00:00 GMT",
        "Mon, 29 Feb 2100 00:00:00 GMT",
        "Sun, 06 Nov 1969 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Wday, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "1994-11-06T08:49:37Z",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, -6 Nov 1994 08:49:37 GMT",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t got = 7;
        if (rd_conditional_date(bad[i], &got) || got != 7) {
            fail_msg("taken: %s", bad[i]);
        }
    }
}

/* What base/clock.h writes is what is read, over 400 years in odd steps. */
static void dates_round_trip(void **state)
{
    (void)state;
    for (uint64_t time = 0; time < 12622780800u; time += 86399 * 17) {
        char text[RD_CLOCK_HTTP_DATE_LEN + 1];
        uint64_t got;
        rd_clock_http_date(time, text);
        assert_true(rd_conditional_date(text, &got));
        assert_int_equal(got, time);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_conditions),
        cmocka_unit_test(order),
        cmocka_unit_test(nothing_there),
        cmocka_unit_test(malformed_tags),
        cmocka_unit_test(ranges),
        cmocka_unit_test(dates),
        cmocka_unit_test(dates_round_trip),
    };
    return cmocka_run_group_tests_name("http/conditional", tests, NULL, NULL);
}
