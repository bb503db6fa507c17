/* SPDX-License-Identifier: Apache-2.0
 *
 * The lanes, in virtual time: their limits at the edge and beyond, rest, silence, what is expected
 * of a wait, and a full table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "webhook/turns.h"

#define S ((uint64_t)1000000000)
static const uint8_t salt[32] = {1};

static int setup(void **state)
{
    struct rd_webhook_turns *turns = calloc(1, sizeof *turns);
    assert_non_null(turns);
    rd_webhook_turns_init(turns, salt);
    *state = turns;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void test_a_lane_lets_so_many_through(void **state)
{
    struct rd_webhook_turns *turns = *state;
    uint32_t a = rd_webhook_turns_hold(turns, "a", 2, 1);
    uint32_t b = rd_webhook_turns_hold(turns, "b", 2, 1);
    assert_int_not_equal(a, b);
    assert_int_equal(rd_webhook_turns_hold(turns, "a", 2, 1), a);
    rd_webhook_turns_begin(turns, a, 1);
    assert_true(rd_webhook_turns_free(turns, a, 1));
    rd_webhook_turns_begin(turns, a, 1);
    assert_false(rd_webhook_turns_free(turns, a, 1));
    assert_true(rd_webhook_turns_free(turns, b, 1));
    rd_webhook_turns_end(turns, a, 1, 1 + 5, true);
    assert_true(rd_webhook_turns_free(turns, a, 1));
}

static void test_a_mute_host_gets_one_at_a_time(void **state)
{
    struct rd_webhook_turns *turns = *state;
    uint32_t a = rd_webhook_turns_hold(turns, "a", 8, 1);
    rd_webhook_turns_begin(turns, a, 1);
    rd_webhook_turns_begin(turns, a, 1);
    rd_webhook_turns_end(turns, a, 1, 1 + 20 * S, false);
    assert_false(rd_webhook_turns_free(turns, a, 1)); /* one runs */
    rd_webhook_turns_end(turns, a, 1, 1 + 20 * S, false);
    assert_true(rd_webhook_turns_free(turns, a, 1));
    rd_webhook_turns_begin(turns, a, 1);
    assert_false(rd_webhook_turns_free(turns, a, 1));
    rd_webhook_turns_end(turns, a, 1, 1 + S, true);
    rd_webhook_turns_begin(turns, a, 1);
    assert_true(rd_webhook_turns_free(turns, a, 1)); /* it answers again */
    rd_webhook_turns_end(turns, a, 1, 1 + S, true);
}

static void test_rest(void **state)
{
    struct rd_webhook_turns *turns = *state;
    uint32_t a = rd_webhook_turns_hold(turns, "a", 8, 1);
    rd_webhook_turns_rest(turns, a, 10 * S);
    rd_webhook_turns_rest(turns, a, 5 * S); /* the longer one counts */
    assert_true(rd_webhook_turns_resting(turns, a, 10 * S - 1));
    assert_false(rd_webhook_turns_free(turns, a, 10 * S - 1));
    assert_false(rd_webhook_turns_resting(turns, a, 10 * S));
    assert_true(rd_webhook_turns_free(turns, a, 10 * S));
    /* It is remembered although nobody goes there. */
    rd_webhook_turns_release(turns, a);
    assert_int_equal(rd_webhook_turns_hold(turns, "a", 8, 2), a);
    assert_true(rd_webhook_turns_resting(turns, a, 3));
    rd_webhook_turns_pass(turns, a);
    assert_int_equal(rd_webhook_turns_wait(turns, a, 4 * S), 6 * S);
}

static void test_expected_waits(void **state)
{
    struct rd_webhook_turns *turns = *state;
    uint32_t a = rd_webhook_turns_hold(turns, "a", 4, 1);
    uint64_t now = S;
    rd_webhook_turns_pass(turns, a);
    (void)rd_webhook_turns_wait(turns, a, now);
    assert_int_equal(rd_webhook_turns_wait(turns, a, now), 0); /* nothing is known yet */
    for (unsigned i = 0; i < 100; i++) {
        rd_webhook_turns_begin(turns, a, now);
        rd_webhook_turns_end(turns, a, now, now + 2 * S, true);
        now += 2 * S;
    }
    rd_webhook_turns_pass(turns, a);
    for (uint64_t k = 0; k < 9; k++) { /* four at once, two seconds each */
        uint64_t wait = rd_webhook_turns_wait(turns, a, now);
        assert_true(wait + S / 100 >= k * S / 2 && wait <= k * S / 2);
    }
    rd_webhook_turns_pass(turns, a);
    assert_int_equal(rd_webhook_turns_wait(turns, a, now), 0);
    rd_webhook_turns_begin(turns, a, now);
    rd_webhook_turns_end(turns, a, now, now + 2 * S, false); /* mute: one at a time */
    rd_webhook_turns_pass(turns, a);
    (void)rd_webhook_turns_wait(turns, a, now);
    assert_true(rd_webhook_turns_wait(turns, a, now) > 19 * S / 10);
}

/* A host that hangs is known as slow before the first try has ended. */
static void test_standing_still(void **state)
{
    struct rd_webhook_turns *turns = *state;
    uint32_t a = rd_webhook_turns_hold(turns, "a", 4, 1);
    rd_webhook_turns_begin(turns, a, S);
    rd_webhook_turns_begin(turns, a, 2 * S); /* the first one counts */
    rd_webhook_turns_pass(turns, a);
    assert_int_equal(rd_webhook_turns_wait(turns, a, 9 * S), 0);
    assert_int_equal(rd_webhook_turns_wait(turns, a, 9 * S),
                     2 * S); /* eight seconds, four at once */
    rd_webhook_turns_end(turns, a, S, 9 * S, true);
    rd_webhook_turns_pass(turns, a);
    (void)rd_webhook_turns_wait(turns, a, 9 * S);
    assert_int_equal(rd_webhook_turns_wait(turns, a, 9 * S),
                     S / 4); /* an eighth of eight, by four */
    rd_webhook_turns_end(turns, a, 2 * S, 9 * S, true);
}

/* A full table forgets who is not held: the longest unused first, those who rest last. */
static void test_full(void **state)
{
    struct rd_webhook_turns *turns = *state;
    char name[16];
    uint32_t last = 0;
    for (uint32_t i = 0; i < RD_WEBHOOK_LANES; i++) {
        (void)snprintf(name, sizeof name, "%u", i);
        last = rd_webhook_turns_hold(turns, name, 1, i + 1);
        assert_int_not_equal(last, RD_WEBHOOK_LANE_NONE);
    }
    assert_int_equal(rd_webhook_turns_hold(turns, "x", 1, 9999), RD_WEBHOOK_LANE_NONE);
    uint32_t seven = rd_webhook_turns_hold(turns, "7", 1, 8);
    rd_webhook_turns_rest(turns, seven, 100000);
    rd_webhook_turns_release(turns, seven);
    rd_webhook_turns_release(turns, seven);
    uint32_t nine = rd_webhook_turns_hold(turns, "9", 1, 10);
    rd_webhook_turns_release(turns, nine);
    rd_webhook_turns_release(turns, nine);
    /* "9" goes although "7" is older; then "7"; then nobody. */
    assert_int_equal(rd_webhook_turns_hold(turns, "x", 1, 9999), nine);
    assert_int_equal(rd_webhook_turns_hold(turns, "y", 1, 9999), seven);
    assert_false(rd_webhook_turns_resting(turns, seven, 9999));
    assert_int_equal(rd_webhook_turns_hold(turns, "z", 1, 9999), RD_WEBHOOK_LANE_NONE);
    rd_webhook_turns_release(turns, last);
    assert_int_equal(rd_webhook_turns_hold(turns, "z", 1, 9999), last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_lane_lets_so_many_through, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_mute_host_gets_one_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expected_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_standing_still, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
    };
    return cmocka_run_group_tests_name("webhook/turns", tests, NULL, NULL);
}
