/* SPDX-License-Identifier: Apache-2.0
 *
 * The circuit breaker as a story in virtual time: when it opens, what passes half open, what closes
 * it, and what it does not listen to. The theorems over all sequences of calls are in proofs/. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/breaker.h"

#define S 1000000000ull

static void results(struct rd_breaker *breaker, uint64_t now, unsigned ok, unsigned failed)
{
    for (unsigned i = 0; i < ok + failed; i++) {
        uint64_t permit = rd_breaker_allow(breaker, now);
        assert_int_not_equal(permit, 0);
        rd_breaker_record(breaker, now, permit, i < ok);
    }
}

static struct rd_breaker opened_at(uint64_t now)
{
    struct rd_breaker breaker;
    rd_breaker_init(&breaker, now);
    results(&breaker, now, 5, 5);
    assert_int_equal(breaker.state, RD_BREAKER_OPEN);
    return breaker;
}

static void opens_at_half_of_ten(void **state)
{
    (void)state;
    struct rd_breaker breaker;
    rd_breaker_init(&breaker, 7 * S);
    results(&breaker, 7 * S, 0, 9); /* nine say nothing */
    assert_int_equal(breaker.state, RD_BREAKER_CLOSED);
    results(&breaker, 7 * S, 1, 0);
    assert_int_equal(breaker.state, RD_BREAKER_OPEN);
    rd_breaker_init(&breaker, 7 * S);
    results(&breaker, 7 * S, 6, 5); /* 5 of 11 */
    assert_int_equal(breaker.state, RD_BREAKER_CLOSED);
    results(&breaker, 7 * S, 0, 1); /* 6 of 12 */
    assert_int_equal(breaker.state, RD_BREAKER_OPEN);
    assert_int_equal(rd_breaker_allow(&breaker, 7 * S), 0);
}

static void the_window_rolls(void **state)
{
    (void)state;
    struct rd_breaker breaker;
    rd_breaker_init(&breaker, 0);
    results(&breaker, 5 * S, 0, 9);
    results(&breaker, 99 * S, 0, 0);
    results(&breaker, 100 * S, 0, 9); /* the first nine are out */
    assert_int_equal(breaker.state, RD_BREAKER_CLOSED);
    results(&breaker, 199 * S, 0, 1); /* these nine are not */
    assert_int_equal(breaker.state, RD_BREAKER_OPEN);
    rd_breaker_init(&breaker, 0);
    for (uint64_t i = 0; i < 1000; i++) { /* a failure every 12 s: never ten in a window */
        results(&breaker, i * 12 * S, 0, 1);
    }
    assert_int_equal(breaker.state, RD_BREAKER_CLOSED);
}

static void half_open_after_a_minute(void **state)
{
    (void)state;
    struct rd_breaker breaker = opened_at(100 * S);
    assert_false(rd_breaker_ready(&breaker, 160 * S - 1));
    assert_int_equal(rd_breaker_allow(&breaker, 160 * S - 1), 0);
    assert_true(rd_breaker_ready(&breaker, 160 * S));
    uint64_t permits[RD_BREAKER_PROBES];
    for (unsigned i = 0; i < RD_BREAKER_PROBES; i++) {
        permits[i] = rd_breaker_allow(&breaker, 160 * S);
        assert_int_not_equal(permits[i], 0);
    }
    assert_int_equal(breaker.state, RD_BREAKER_HALF_OPEN);
    assert_false(rd_breaker_ready(&breaker, 160 * S));
    assert_int_equal(rd_breaker_allow(&breaker, 160 * S), 0);
    for (unsigned i = 0; i < RD_BREAKER_SUCCESSES; i++) {
        assert_int_equal(breaker.state, RD_BREAKER_HALF_OPEN);
        rd_breaker_record(&breaker, 161 * S, permits[i], true);
    }
    assert_int_equal(breaker.state, RD_BREAKER_CLOSED);
    results(&breaker, 161 * S, 0, 9); /* with an empty window */
    assert_int_equal(breaker.state, RD_BREAKER_CLOSED);
}

static void one_failed_probe_opens(void **state)
{
    (void)state;
    struct rd_breaker breaker = opened_at(0);
    uint64_t first = rd_breaker_allow(&breaker, 60 * S);
    uint64_t second = rd_breaker_allow(&breaker, 60 * S);
    rd_breaker_record(&breaker, 61 * S, first, false);
    assert_int_equal(breaker.state, RD_BREAKER_OPEN);
    assert_int_equal(rd_breaker_allow(&breaker, 121 * S - 1), 0);
    uint64_t again = rd_breaker_allow(&breaker, 121 * S);
    assert_int_not_equal(again, 0);
    rd_breaker_record(&breaker, 121 * S, second, false); /* of the half open before */
    assert_int_equal(breaker.state, RD_BREAKER_HALF_OPEN);
    assert_int_equal(breaker.successes, 0);
}

static void late_results_say_nothing(void **state)
{
    (void)state;
    struct rd_breaker breaker;
    rd_breaker_init(&breaker, 0);
    uint64_t early = rd_breaker_allow(&breaker, 0);
    results(&breaker, 0, 0, 10);
    rd_breaker_record(&breaker, S, early, true); /* open */
    assert_int_equal(breaker.state, RD_BREAKER_OPEN);
    uint64_t probe = rd_breaker_allow(&breaker, 60 * S);
    for (int i = 0; i < 10; i++) {
        rd_breaker_record(&breaker, 60 * S, early, true);
        rd_breaker_record(&breaker, 60 * S, early, false);
        rd_breaker_record(&breaker, 60 * S, 0, false);
    }
    assert_int_equal(breaker.state, RD_BREAKER_HALF_OPEN);
    for (int i = 0; i < 10; i++) { /* one probe cannot speak twice */
        rd_breaker_record(&breaker, 60 * S, probe, true);
    }
    assert_int_equal(breaker.successes, 1);
}

static void cancelled_and_lost_probes(void **state)
{
    (void)state;
    struct rd_breaker breaker = opened_at(0);
    for (int i = 0; i < 100; i++) { /* a cancelled probe frees its place */
        uint64_t permit = rd_breaker_allow(&breaker, 60 * S);
        assert_int_not_equal(permit, 0);
        rd_breaker_cancel(&breaker, permit);
    }
    for (unsigned i = 0; i < RD_BREAKER_PROBES; i++) { /* these are never heard of again */
        assert_int_not_equal(rd_breaker_allow(&breaker, 60 * S), 0);
    }
    assert_false(rd_breaker_ready(&breaker, 60 * S + RD_BREAKER_VERDICT_NS - 1));
    assert_int_equal(rd_breaker_allow(&breaker, 60 * S + RD_BREAKER_VERDICT_NS), 0);
    assert_int_equal(breaker.state, RD_BREAKER_OPEN);
    assert_true(rd_breaker_ready(&breaker, 120 * S + RD_BREAKER_VERDICT_NS));
}

static void hostile_times_and_counts(void **state)
{
    (void)state;
    struct rd_breaker breaker = opened_at(1000 * S);
    assert_int_equal(rd_breaker_allow(&breaker, 0), 0); /* back in time: nothing */
    assert_int_equal(breaker.now_ns, 1000 * S);
    assert_int_not_equal(rd_breaker_allow(&breaker, UINT64_MAX), 0);
    rd_breaker_init(&breaker, UINT64_MAX);
    results(&breaker, UINT64_MAX, 0, 10);
    assert_int_equal(breaker.state, RD_BREAKER_OPEN);
    rd_breaker_init(&breaker, 0);
    breaker.slots[0].total = UINT32_MAX; /* a full slot counts no further */
    breaker.slots[0].failed = 1;
    results(&breaker, 0, 0, 3);
    assert_int_equal(breaker.slots[0].total, UINT32_MAX);
    assert_int_equal(breaker.slots[0].failed, 1);
    breaker.period = UINT64_MAX; /* and a permit is never 0 */
    breaker.slots[0].failed = UINT32_MAX;
    rd_breaker_record(&breaker, 0, UINT64_MAX, false);
    assert_int_equal(breaker.state, RD_BREAKER_OPEN);
    assert_int_equal(breaker.period, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_at_half_of_ten),     cmocka_unit_test(the_window_rolls),
        cmocka_unit_test(half_open_after_a_minute), cmocka_unit_test(one_failed_probe_opens),
        cmocka_unit_test(late_results_say_nothing), cmocka_unit_test(cancelled_and_lost_probes),
        cmocka_unit_test(hostile_times_and_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
