/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may enter: each limit at its value and one above, what is answered, and that a refusal takes
 * nothing away. */
#include "queue_fixture.h"

static enum rd_admit submit(uint32_t tenant, enum rd_lane lane, bool now_only)
{
    STEP(SUBMIT, .tenant = tenant, .class_ = 1, .lane = lane, .units = 1, .now_only = now_only);
    assert_int_equal(r.admit == RD_ADMIT_OK, r.job != 0);
    return r.admit;
}

static uint64_t tokens(uint32_t tenant)
{
    struct rd_tenant_state it;
    rd_queue_tenant(queue, tenant, now, &it);
    return it.tokens;
}

static void rate_and_burst(void **state)
{
    (void)state;
    limits(1, (struct rd_tenant_limits){.rate = {.per_s = 2, .burst = 3}});
    for (int i = 0; i < 3; i++) {
        assert_int_equal(submit(1, RD_LANE_NORMAL, false), RD_ADMIT_OK);
    }
    assert_int_equal(submit(1, RD_LANE_NORMAL, false), RD_ADMIT_RATE);
    assert_int_equal(r.wait_ns, SECOND / 2);
    now += r.wait_ns - 1;
    assert_int_equal(submit(1, RD_LANE_NORMAL, false), RD_ADMIT_RATE);
    assert_int_equal(r.wait_ns, 1);
    now += 1;
    assert_int_equal(submit(1, RD_LANE_NORMAL, true), RD_ADMIT_OK); /* both tiers, one bucket */
    now += 3600 * SECOND;
    assert_int_equal(tokens(1), 3);
    struct rd_tenant_state it;
    rd_queue_tenant(queue, 1, now, &it);
    assert_int_equal(it.wait_ns, 0);
    assert_int_equal(it.queued, 3);
    assert_int_equal(it.running, 1);
    assert_int_equal(submit(1, RD_LANE_NORMAL, false), RD_ADMIT_OK);
    rd_queue_tenant(queue, 1, now, &it);
    assert_int_equal(it.wait_ns, SECOND / 2);
    assert_int_equal(submit(2, RD_LANE_NORMAL, false), RD_ADMIT_OK); /* another's is another's */
}

/* New limits hold from now on: what has flowed in did so at the old rate. */
static void limits_are_reloaded(void **state)
{
    (void)state;
    limits(1, (struct rd_tenant_limits){.rate = {.per_s = 1, .burst = 10}});
    for (int i = 0; i < 10; i++) {
        assert_int_equal(submit(1, RD_LANE_NORMAL, false), RD_ADMIT_OK);
    }
    now += 4 * SECOND;
    limits(1, (struct rd_tenant_limits){.rate = {.per_s = 1000, .burst = 10000}});
    assert_int_equal(tokens(1), 4);
    limits(1, (struct rd_tenant_limits){.rate = {.per_s = 1, .burst = 2}});
    assert_int_equal(tokens(1), 2);
    limits(1, (struct rd_tenant_limits){.rate = NO_LIMIT});
    assert_int_equal(tokens(1), RD_BUCKET_UNLIMITED);
    limits(1, (struct rd_tenant_limits){.rate = {.per_s = 1, .burst = 5}});
    assert_int_equal(tokens(1), 5);
}

static void depth(void **state)
{
    (void)state;
    limits(1, (struct rd_tenant_limits){.rate = NO_LIMIT, .depth = 2});
    assert_int_equal(submit(1, RD_LANE_NORMAL, false), RD_ADMIT_OK);
    const uint32_t first = r.job;
    assert_int_equal(submit(1, RD_LANE_LOW, false), RD_ADMIT_OK);
    assert_int_equal(submit(1, RD_LANE_NORMAL, false), RD_ADMIT_DEPTH);
    STEP(DURABLE, .job = first); /* it goes to the slot, which makes room */
    assert_int_equal(submit(1, RD_LANE_NORMAL, false), RD_ADMIT_OK);
    assert_int_equal(submit(1, RD_LANE_NORMAL, false), RD_ADMIT_DEPTH);
    /* what comes back is never refused, but counts */
    STEP(DONE, .job = first, .token = leased(first), .outcome = RD_OUTCOME_FAILED_AGAIN);
    assert_int_equal(state_of(first), RD_JOB_WAITING);
    struct rd_tenant_state it;
    rd_queue_tenant(queue, 1, now, &it);
    assert_int_equal(it.queued, 3);
    STEP(CANCEL, .job = first);
    assert_int_equal(submit(1, RD_LANE_NORMAL, false), RD_ADMIT_DEPTH);
}

static void concurrency_of_runs_now(void **state)
{
    (void)state;
    STEP(BACKEND, .backend = 1, .slots = 3, .ready = true);
    limits(1, (struct rd_tenant_limits){.rate = NO_LIMIT, .concurrency = 2, .depth = 1});
    assert_int_equal(submit(1, RD_LANE_NORMAL, true), RD_ADMIT_OK);
    const uint32_t first = r.job;
    assert_int_equal(submit(1, RD_LANE_NORMAL, true), RD_ADMIT_OK); /* depth is not asked */
    assert_int_equal(submit(1, RD_LANE_NORMAL, true), RD_ADMIT_CONCURRENCY);
    assert_int_equal(submit(1, RD_LANE_NORMAL, false), RD_ADMIT_OK); /* may wait */
    const uint32_t waits = r.job;
    STEP(DURABLE, .job = waits);
    assert_int_equal(state_of(waits), RD_JOB_QUEUED);
    STEP(DONE, .job = first, .token = look(first).token, .outcome = RD_OUTCOME_OK);
    assert_int_equal(state_of(waits), RD_JOB_LEASING);
    assert_int_equal(submit(1, RD_LANE_NORMAL, true), RD_ADMIT_CONCURRENCY);
}

static void why_there_is_no_slot_now(void **state)
{
    (void)state;
    STEP(SUBMIT, .tenant = 1, .class_ = 2, .now_only = true);
    assert_int_equal(r.admit, RD_ADMIT_NO_BACKEND);
    STEP(BACKEND, .backend = 1, .slots = 1, .ready = false);
    assert_int_equal(submit(1, RD_LANE_NORMAL, true), RD_ADMIT_NOT_READY);
    STEP(BACKEND, .backend = 1, .slots = 1, .ready = true);
    assert_int_equal(submit(1, RD_LANE_NORMAL, true), RD_ADMIT_OK);
    assert_int_equal(submit(1, RD_LANE_NORMAL, true), RD_ADMIT_NO_SLOT);
    STEP(BACKEND, .backend = 1, .slots = 0);
    assert_int_equal(submit(1, RD_LANE_NORMAL, true), RD_ADMIT_NO_BACKEND);
}

static void the_high_lane_is_for_some(void **state)
{
    (void)state;
    limits(1, (struct rd_tenant_limits){.rate = NO_LIMIT});
    assert_int_equal(submit(1, RD_LANE_HIGH, false), RD_ADMIT_LANE);
    assert_int_equal(submit(1, RD_LANE_HIGH, true), RD_ADMIT_LANE);
    assert_int_equal(submit(2, RD_LANE_HIGH, false), RD_ADMIT_OK);
}

/* Whatever the reason, what a refused submission found it leaves. */
static void a_refusal_takes_nothing(void **state)
{
    (void)state;
    limits(1, (struct rd_tenant_limits){
                  .rate = {.per_s = 0, .burst = 5}, .concurrency = 1, .depth = 1});
    assert_int_equal(submit(1, RD_LANE_NORMAL, true), RD_ADMIT_OK);
    assert_int_equal(submit(1, RD_LANE_NORMAL, false), RD_ADMIT_OK);
    struct rd_tenant_state before;
    rd_queue_tenant(queue, 1, now, &before);
    assert_int_equal(before.tokens, 3);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(submit(1, RD_LANE_HIGH, false), RD_ADMIT_LANE);
        assert_int_equal(submit(1, RD_LANE_NORMAL, false), RD_ADMIT_DEPTH);
        assert_int_equal(submit(1, RD_LANE_NORMAL, true), RD_ADMIT_CONCURRENCY);
        assert_int_equal(submit(2, RD_LANE_NORMAL, true), RD_ADMIT_NO_SLOT);
    }
    struct rd_tenant_state after;
    rd_queue_tenant(queue, 1, now, &after);
    assert_memory_equal(&before, &after, sizeof before);
    limits(1, (struct rd_tenant_limits){.rate = {.per_s = 0, .burst = 3}});
    for (int i = 0; i < 3; i++) {
        assert_int_equal(submit(1, RD_LANE_NORMAL, false), RD_ADMIT_OK);
    }
    for (int i = 0; i < 10; i++) {
        assert_int_equal(submit(1, RD_LANE_NORMAL, false), RD_ADMIT_RATE);
        assert_int_equal(r.wait_ns, RD_BUCKET_NEVER);
    }
    rd_queue_tenant(queue, 1, now, &after);
    assert_int_equal(after.queued, 4);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)
    const struct CMUnitTest tests[] = {
        TEST(rate_and_burst),
        TEST(limits_are_reloaded),
        TEST(depth),
        TEST(concurrency_of_runs_now),
        TEST(why_there_is_no_slot_now),
        TEST(the_high_lane_is_for_some),
        TEST(a_refusal_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
