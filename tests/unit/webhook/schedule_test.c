/* SPDX-License-Identifier: Apache-2.0
 *
 * The published schedule to the second, its jitter at both ends, every answer that the table tells
 * apart, and Retry-After with what strangers write into it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "webhook/schedule.h"

#define DAY ((uint64_t)86400000)

static void test_waits(void **state)
{
    (void)state;
    static const uint64_t seconds[] = {5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400};
    uint64_t sum = 0;
    for (unsigned tries = 1; tries <= 9; tries++) {
        uint64_t least = seconds[tries - 1] * 1000;
        assert_int_equal(rd_webhook_wait_ms(tries, 0, 1), least);
        uint64_t most = rd_webhook_wait_ms(tries, UINT32_MAX, 1);
        assert_true(most > least + least / 11 && most < least + least / 10);
        assert_int_equal(rd_webhook_wait_ms(tries, UINT32_C(1) << 31, 1), least + least / 20);
        assert_int_equal(rd_webhook_wait_ms(tries, 0, 1000), seconds[tries - 1]);
        sum += least;
    }
    assert_int_equal(sum, ((uint64_t)75 * 3600 + 35 * 60 + 5) * 1000);
    assert_int_equal(rd_webhook_wait_ms(0, 0, 1), 0);
    assert_int_equal(rd_webhook_wait_ms(10, 0, 1), 0);
    assert_int_equal(rd_webhook_wait_ms(UINT32_MAX, 0, 1), 0);
    assert_int_equal(rd_webhook_wait_ms(1, 0, 1000000), 1); /* 0 would mean that it is over */
}

static struct rd_webhook_next decide(unsigned tries, int status, uint64_t retry_after_ms)
{
    struct rd_webhook_answer answer = {.status = status, .retry_after_ms = retry_after_ms};
    struct rd_webhook_next next;
    rd_webhook_decide(tries, &answer, 0, 1, &next);
    return next;
}

static void test_answers(void **state)
{
    (void)state;
    static const struct {
        int status;
        int what;
        bool rests;
    } cases[] = {
        {0, RD_WEBHOOK_AGAIN, false},   {200, RD_WEBHOOK_DONE, false},
        {204, RD_WEBHOOK_DONE, false},  {299, RD_WEBHOOK_DONE, false},
        {300, RD_WEBHOOK_AGAIN, false}, {302, RD_WEBHOOK_AGAIN, false},
        {399, RD_WEBHOOK_AGAIN, false}, {400, RD_WEBHOOK_AGAIN, false},
        {401, RD_WEBHOOK_AGAIN, false}, {404, RD_WEBHOOK_AGAIN, false},
        {409, RD_WEBHOOK_AGAIN, false}, {410, RD_WEBHOOK_GONE, false},
        {411, RD_WEBHOOK_AGAIN, false}, {428, RD_WEBHOOK_AGAIN, false},
        {429, RD_WEBHOOK_AGAIN, true},  {430, RD_WEBHOOK_AGAIN, false},
        {500, RD_WEBHOOK_AGAIN, false}, {501, RD_WEBHOOK_AGAIN, false},
        {502, RD_WEBHOOK_AGAIN, true},  {503, RD_WEBHOOK_AGAIN, true},
        {504, RD_WEBHOOK_AGAIN, true},  {505, RD_WEBHOOK_AGAIN, false},
        {999, RD_WEBHOOK_AGAIN, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rd_webhook_next next = decide(1, cases[i].status, 0);
        if ((int)next.what != cases[i].what || (next.rest_ms > 0) != cases[i].rests) {
            fail_msg("%d: %d, rests %d", cases[i].status, (int)next.what, next.rest_ms > 0);
        }
        assert_int_equal(next.wait_ms, next.what == RD_WEBHOOK_AGAIN ? 5000 : 0);
        bool last_ok = next.what != RD_WEBHOOK_AGAIN;
        next = decide(10, cases[i].status, 0);
        assert_int_equal(next.what, last_ok ? cases[i].what : (int)RD_WEBHOOK_FAILED);
    }
}

static void test_waiting_longer_when_asked(void **state)
{
    (void)state;
    assert_int_equal(decide(1, 429, 7000).wait_ms, 7000);
    assert_int_equal(decide(1, 429, 7000).rest_ms, 7000);
    assert_int_equal(decide(1, 429, 2000).wait_ms, 5000); /* never sooner than the schedule */
    assert_int_equal(decide(1, 429, 2000).rest_ms, 2000);
    assert_int_equal(decide(1, 500, 7000).wait_ms, 7000); /* asked by the message's own endpoint */
    assert_int_equal(decide(1, 500, 7000).rest_ms, 0);
    assert_int_equal(decide(1, 503, 0).rest_ms, 5000);
    assert_int_equal(decide(2, 503, 0).wait_ms, 300000);
    assert_int_equal(decide(2, 503, 0).rest_ms, 60000); /* others need not wait as long */
    assert_int_equal(decide(10, 503, 7000).what, RD_WEBHOOK_FAILED);
    assert_int_equal(decide(10, 503, 7000).rest_ms, 7000);
    assert_int_equal(decide(1, 200, 7000).wait_ms, 0);
}

static void test_reasons(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *reason;
    } cases[] = {
        {200, ""},
        {302, "the endpoint answered 302: redirects are not followed"},
        {404, "the endpoint answered 404"},
        {410, "the endpoint answered 410: the endpoint wants no more messages"},
        {429, "the endpoint answered 429: too many requests"},
        {500, "the endpoint answered 500"},
        {503, "the endpoint answered 503: the endpoint is not available"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char reason[128];
        rd_webhook_reason(cases[i].status, reason);
        assert_string_equal(reason, cases[i].reason);
    }
}

static void test_retry_after(void **state)
{
    (void)state;
    /* Sun, 06 Nov 1994 08:49:37 GMT, RFC 9110's own example */
    const uint64_t then = (uint64_t)784111777 * 1000;
    static const struct {
        const char *value;
        int64_t before_ms; /* now is so long before then */
        uint64_t wait_ms;
    } cases[] = {
        {"0", 0, 0},
        {"00", 0, 0},
        {"1", 0, 1000},
        {"007", 0, 7000},
        {"120", 0, 120000},
        {"86400", 0, DAY},
        {"86401", 0, DAY},
        {"99999999999999999999999999", 0, DAY},
        {"Sun, 06 Nov 1994 08:49:37 GMT", 5000, 5000},
        {"Sun, 06 Nov 1994 08:49:37 GMT", 0, 0},
        {"Sun, 06 Nov 1994 08:49:37 GMT", -5000, 0},
        {"Sun, 06 Nov 1994 08:49:37 GMT", 90000000, DAY},
        {"", 0, 0},
        {" ", 0, 0},
        {"-1", 0, 0},
        {"1.5", 0, 0},
        {"soon", 0, 0},
        {"1e9", 0, 0},
        {"0x10", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t now = (uint64_t)((int64_t)then - cases[i].before_ms);
        uint64_t got = rd_webhook_retry_after_ms(cases[i].value, now);
        if (got != cases[i].wait_ms) {
            fail_msg("'%s': %llu", cases[i].value, (unsigned long long)got);
        }
    }
}

/* From the first try to the last: what a message lives through whose endpoint never answers. */
static void test_a_whole_life(void **state)
{
    (void)state;
    uint64_t now = 0;
    unsigned tries = 0;
    struct rd_webhook_next next = {.what = RD_WEBHOOK_AGAIN};
    while (next.what == RD_WEBHOOK_AGAIN) {
        now += next.wait_ms;
        next = decide(++tries, 0, 0);
    }
    assert_int_equal(next.what, RD_WEBHOOK_FAILED);
    assert_int_equal(tries, RD_WEBHOOK_TRIES_MAX);
    assert_int_equal(now, ((uint64_t)75 * 3600 + 35 * 60 + 5) * 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_waiting_longer_when_asked),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_a_whole_life),
    };
    return cmocka_run_group_tests_name("webhook/schedule", tests, NULL, NULL);
}
