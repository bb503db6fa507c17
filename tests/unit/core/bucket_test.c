/* SPDX-License-Identifier: Apache-2.0
 *
 * The token bucket: exact refill, limits at their maximum and beyond, hostile times and sizes. The
 * theorems over sequences of calls are in proofs/; here are known answers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/bucket.h"

#define S 1000000000ull

static void full_then_refilled_exactly(void **state)
{
    (void)state;
    const struct rd_bucket_rate rate = {.per_s = 100, .burst = 1000};
    struct rd_bucket bucket;
    rd_bucket_init(&bucket, &rate, 5 * S);
    assert_int_equal(rd_bucket_level(&bucket, &rate, 5 * S), 1000);
    assert_true(rd_bucket_take(&bucket, &rate, 5 * S, 1000));
    assert_false(rd_bucket_take(&bucket, &rate, 5 * S, 1));
    assert_int_equal(rd_bucket_wait_ns(&bucket, &rate, 5 * S, 1), S / 100);
    assert_false(rd_bucket_take(&bucket, &rate, 5 * S + S / 100 - 1, 1));
    assert_true(rd_bucket_take(&bucket, &rate, 5 * S + S / 100, 1));
    assert_int_equal(bucket.level, 0);
    assert_int_equal(rd_bucket_level(&bucket, &rate, 14 * S), 899);
    assert_int_equal(rd_bucket_level(&bucket, &rate, 15 * S + S / 100), 1000);
    assert_int_equal(rd_bucket_level(&bucket, &rate, UINT64_MAX), 1000);
}

static void nothing_is_lost_to_rounding(void **state)
{
    (void)state;
    const struct rd_bucket_rate rate = {.per_s = 3, .burst = 10};
    struct rd_bucket bucket;
    rd_bucket_init(&bucket, &rate, 0);
    assert_true(rd_bucket_take(&bucket, &rate, 0, 10));
    uint64_t granted = 0;
    for (uint64_t now = 0; now <= 7 * S; now += 1000003) { /* looked at 6,999 times on the way */
        granted += rd_bucket_take(&bucket, &rate, now, 1);
    }
    assert_int_equal(granted, 20); /* the 21st is there at 7 s, the last look was a little before */
    assert_int_equal(rd_bucket_level(&bucket, &rate, 7 * S), 1);
    assert_int_equal(rd_bucket_wait_ns(&bucket, &rate, 7 * S, 2), 333333334);
}

static void refused_takes_nothing(void **state)
{
    (void)state;
    const struct rd_bucket_rate rate = {.per_s = 1, .burst = 5};
    struct rd_bucket bucket;
    rd_bucket_init(&bucket, &rate, 0);
    assert_true(rd_bucket_take(&bucket, &rate, 0, 3));
    assert_false(rd_bucket_take(&bucket, &rate, 0, 3));
    assert_false(rd_bucket_take(&bucket, &rate, 0, UINT64_MAX));
    assert_true(rd_bucket_take(&bucket, &rate, 0, 0));
    assert_int_equal(bucket.level, 2 * S);
    rd_bucket_give_back(&bucket, &rate, 3);
    assert_int_equal(bucket.level, 5 * S);
    rd_bucket_give_back(&bucket, &rate, 1); /* never above the burst */
    rd_bucket_give_back(&bucket, &rate, UINT64_MAX);
    assert_int_equal(bucket.level, 5 * S);
}

static void time_that_goes_back(void **state)
{
    (void)state;
    const struct rd_bucket_rate rate = {.per_s = 10, .burst = 10};
    struct rd_bucket bucket;
    rd_bucket_init(&bucket, &rate, 100 * S);
    assert_true(rd_bucket_take(&bucket, &rate, 100 * S, 10));
    assert_false(rd_bucket_take(&bucket, &rate, 0, 1));
    assert_int_equal(bucket.updated_ns, 100 * S);
    assert_int_equal(rd_bucket_wait_ns(&bucket, &rate, 0, 1), S / 10);
    assert_int_equal(rd_bucket_level(&bucket, &rate, 100 * S + S / 10), 1);
}

static void limits_and_beyond(void **state)
{
    (void)state;
    const struct rd_bucket_rate most = {.per_s = RD_BUCKET_PER_S_MAX, .burst = RD_BUCKET_BURST_MAX};
    const struct rd_bucket_rate more = {.per_s = UINT64_MAX - 1, .burst = UINT64_MAX};
    struct rd_bucket a, b;
    rd_bucket_init(&a, &most, 0);
    rd_bucket_init(&b, &more, 0);
    assert_int_equal(a.level, RD_BUCKET_BURST_MAX * S);
    assert_int_equal(a.level, b.level);
    assert_true(rd_bucket_take(&a, &most, 0, RD_BUCKET_BURST_MAX));
    assert_false(rd_bucket_take(&b, &more, 0, RD_BUCKET_BURST_MAX + 1ull));
    assert_true(rd_bucket_take(&b, &more, 0, RD_BUCKET_BURST_MAX));
    assert_int_equal(rd_bucket_wait_ns(&b, &more, 0, RD_BUCKET_BURST_MAX), S);
    assert_int_equal(rd_bucket_wait_ns(&b, &more, 0, RD_BUCKET_BURST_MAX + 1ull), RD_BUCKET_NEVER);
    assert_int_equal(rd_bucket_level(&b, &more, S - 1), RD_BUCKET_BURST_MAX - 1);
    assert_int_equal(rd_bucket_level(&b, &more, S), RD_BUCKET_BURST_MAX);
    assert_int_equal(rd_bucket_level(&a, &most, UINT64_MAX), RD_BUCKET_BURST_MAX);
    /* a reload lowers the limit under a full bucket; hostile contents do no harm */
    const struct rd_bucket_rate less = {.per_s = 1, .burst = 2};
    struct rd_bucket odd = {.level = UINT64_MAX, .updated_ns = UINT64_MAX};
    assert_int_equal(rd_bucket_level(&odd, &less, 0), 2);
    rd_bucket_give_back(&odd, &less, 1);
    assert_int_equal(odd.level, 2 * S);
}

static void none_and_unlimited(void **state)
{
    (void)state;
    const struct rd_bucket_rate none = {0};
    const struct rd_bucket_rate once = {.per_s = 0, .burst = 1};
    const struct rd_bucket_rate all = {.per_s = RD_BUCKET_UNLIMITED};
    struct rd_bucket bucket;
    rd_bucket_init(&bucket, &none, 0);
    assert_false(rd_bucket_take(&bucket, &none, UINT64_MAX, 1));
    assert_int_equal(rd_bucket_wait_ns(&bucket, &none, 0, 1), RD_BUCKET_NEVER);
    rd_bucket_init(&bucket, &once, 0);
    assert_true(rd_bucket_take(&bucket, &once, 0, 1));
    assert_false(rd_bucket_take(&bucket, &once, UINT64_MAX, 1));
    assert_int_equal(rd_bucket_wait_ns(&bucket, &once, 0, 1), RD_BUCKET_NEVER);
    rd_bucket_init(&bucket, &all, 0);
    const struct rd_bucket before = bucket;
    assert_true(rd_bucket_take(&bucket, &all, S, UINT64_MAX));
    assert_int_equal(rd_bucket_level(&bucket, &all, S), RD_BUCKET_UNLIMITED);
    assert_int_equal(rd_bucket_wait_ns(&bucket, &all, S, UINT64_MAX), 0);
    assert_memory_equal(&bucket, &before, sizeof(bucket));
}

/* The wait is the first nanosecond at which the take succeeds, for all kinds of rates. */
static void wait_is_exact(void **state)
{
    (void)state;
    uint64_t random = 88172645463325252ull;
    for (int i = 0; i < 20000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        const struct rd_bucket_rate rate = {.per_s = 1 + random % 1000, .burst = 1 + random % 50};
        const struct rd_bucket bucket = {.level = random % (rate.burst * S),
                                         .updated_ns = random % 977};
        uint64_t now = bucket.updated_ns + random % (S / 50);
        uint64_t tokens = 1 + (random >> 32) % rate.burst;
        uint64_t wait = rd_bucket_wait_ns(&bucket, &rate, now, tokens);
        assert_int_not_equal(wait, RD_BUCKET_NEVER);
        struct rd_bucket then = bucket;
        assert_true(rd_bucket_take(&then, &rate, now + wait, tokens));
        then = bucket;
        assert_true(wait == 0 || !rd_bucket_take(&then, &rate, now + wait - 1, tokens));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_then_refilled_exactly),
        cmocka_unit_test(nothing_is_lost_to_rounding),
        cmocka_unit_test(refused_takes_nothing),
        cmocka_unit_test(time_that_goes_back),
        cmocka_unit_test(limits_and_beyond),
        cmocka_unit_test(none_and_unlimited),
        cmocka_unit_test(wait_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
