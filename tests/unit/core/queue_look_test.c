/* SPDX-License-Identifier: Apache-2.0
 *
 * What the queue tells: positions, times to the end, counts. */
#include "queue_fixture.h"

static uint32_t queued_in(uint32_t tenant, enum rd_lane lane, uint32_t units)
{
    STEP(SUBMIT, .tenant = tenant, .class_ = 1, .lane = lane, .units = units);
    const uint32_t job = r.job;
    STEP(DURABLE, .job = job);
    return job;
}

static void positions(void **state)
{
    (void)state;
    const uint32_t runs = queued(1);
    assert_int_equal(look(runs).position, 0);
    uint32_t mine[6];
    for (int i = 0; i < 6; i++) {
        mine[i] = queued(1);
        assert_int_equal(look(mine[i]).position, i + 1);
    }
    const uint32_t other = queued(2);
    assert_int_equal(look(other).position, 2); /* one of tenant 1 may come before it */
    assert_int_equal(look(mine[0]).position, 2);
    assert_int_equal(look(mine[5]).position, 7); /* the other has only one */
    const uint32_t high = queued_in(3, RD_LANE_HIGH, 1);
    assert_int_equal(look(high).position, 1);
    assert_int_equal(look(other).position, 3);
    STEP(CANCEL, .job = mine[0]);
    assert_int_equal(look(mine[1]).position, 3);
    assert_in_range(look(mine[3]).position, 5, 6); /* an upper bound while the hole is there */

    STEP(DONE, .job = runs, .token = leased(runs), .outcome = RD_OUTCOME_FAILED_AGAIN);
    assert_int_equal(state_of(runs), RD_JOB_WAITING);
    assert_int_equal(look(runs).position, 3); /* first of its flow, behind one high and one other */
    STEP(CANCEL, .job = runs);
    assert_int_equal(state_of(runs), RD_JOB_ENDING);
    assert_int_equal(look(runs).position, 0);
}

static void times(void **state)
{
    (void)state;
    STEP(CLASS, .backend = 1, .class_ = 2, .serves = true);
    uint32_t job = queued_in(1, RD_LANE_NORMAL, 2);
    (void)leased(job);
    assert_int_equal(look(job).eta_ns, 0); /* nothing is known yet */
    const uint32_t second = queued_in(1, RD_LANE_NORMAL, 2);
    const uint32_t third = queued_in(1, RD_LANE_NORMAL, 6);
    assert_int_equal(look(second).eta_ns, 0);
    complete(job, 10 * SECOND); /* wall time, as no device time was told: 5 s a unit */
    (void)leased(second);
    assert_int_equal(look(second).eta_ns, 10 * SECOND);
    assert_int_equal(look(third).eta_ns, 10 * SECOND + 30 * SECOND);
    now += 4 * SECOND;
    STEP(TICK, .job = 0);
    assert_int_equal(look(second).eta_ns, 6 * SECOND);
    now += 5 * SECOND;
    STEP(HEARTBEAT, .job = second, .token = look(second).token);
    now += 5 * SECOND;
    STEP(TICK, .job = 0);
    assert_int_equal(look(second).eta_ns, 1); /* late, but not unknown */
    struct rd_queue_counts counts;
    rd_queue_counts(queue, &counts);
    assert_int_equal(counts.wait_ns, 20 * SECOND); /* the one that waits, and what runs */
    STEP(DONE, .job = second, .token = look(second).token, .outcome = RD_OUTCOME_OK,
         .device_ns = 26 * SECOND); /* 13 s a unit; an eighth of the difference counts: 6 s */
    STEP(SLOT, .backend = 1);
    assert_int_equal(look(third).eta_ns, 36 * SECOND);
    STEP(DONE, .job = third, .token = leased(third), .outcome = RD_OUTCOME_FAILED_AGAIN,
         .device_ns = 1); /* failures teach nothing */
    STEP(SLOT, .backend = 1);
    assert_in_range(look(third).eta_ns, 37 * SECOND, 38 * SECOND); /* and the pause */
    STEP(SUBMIT, .tenant = 1, .class_ = 2, .lane = RD_LANE_LOW);
    const uint32_t other = r.job;
    STEP(DURABLE, .job = other);
    assert_int_equal(look(other).eta_ns, 0); /* another class */
}

static void counts_of_everything(void **state)
{
    (void)state;
    struct rd_queue_counts counts;
    rd_queue_counts(queue, &counts);
    assert_int_equal(counts.capacity, 1);
    assert_int_equal(counts.running, 0);
    assert_int_equal(counts.wait_ns, 0);
    const uint32_t first = queued(1);
    (void)queued(1);
    (void)queued_in(1, RD_LANE_HIGH, 1);
    (void)queued_in(2, RD_LANE_LOW, 1);
    STEP(SUBMIT, .tenant = 2, .class_ = 1, .lane = RD_LANE_LOW);
    backend(2, 8, 2);
    STEP(BACKEND, .backend = 3, .slots = 100, .ready = false);
    rd_queue_counts(queue, &counts);
    assert_int_equal(counts.queued[RD_LANE_HIGH], 1);
    assert_int_equal(counts.queued[RD_LANE_NORMAL], 1);
    assert_int_equal(counts.queued[RD_LANE_LOW], 2);
    assert_int_equal(counts.running, 1);
    assert_int_equal(counts.capacity, 9);
    assert_int_equal(counts.wait_ns, 0);
    (void)leased(first);
    complete(first, SECOND);
    STEP(BACKEND, .backend = 2, .slots = 0);
    rd_queue_counts(queue, &counts);
    assert_int_equal(counts.capacity, 1);
    assert_int_equal(counts.wait_ns, 2 * SECOND); /* the high one leases; one waits, one runs */
    STEP(BACKEND, .backend = 1, .slots = 1, .ready = false);
    rd_queue_counts(queue, &counts);
    assert_int_equal(counts.capacity, 0);
    struct rd_tenant_state tenant;
    rd_queue_tenant(queue, 1, now, &tenant);
    assert_int_equal(tenant.running, 1);
    assert_int_equal(tenant.queued, 1);
    assert_int_equal(tenant.tokens, RD_BUCKET_UNLIMITED);
}

/* Numbers as large as they come overflow nothing. */
static void enormous_numbers(void **state)
{
    (void)state;
    const uint32_t first = queued_in(1, RD_LANE_NORMAL, UINT32_MAX);
    const uint32_t second = queued_in(1, RD_LANE_NORMAL, 1);
    const uint32_t third = queued_in(1, RD_LANE_NORMAL, UINT32_MAX);
    STEP(DONE, .job = first, .token = leased(first), .outcome = RD_OUTCOME_OK,
         .device_ns = UINT64_MAX);
    STEP(SLOT, .backend = 1);
    STEP(DONE, .job = second, .token = leased(second), .outcome = RD_OUTCOME_OK,
         .device_ns = UINT64_MAX);
    STEP(SLOT, .backend = 1);
    const uint64_t day = 86400 * SECOND;
    assert_int_equal(look(third).eta_ns, day); /* no run is thought to take longer */
    now = UINT64_MAX - 1;
    STEP(TICK, .job = 0);
    STEP(LEASED, .job = third, .token = look(third).token);
    STEP(HEARTBEAT, .job = third, .token = look(third).token);
    STEP(CANCEL, .job = third);
    assert_int_equal(r.cancel, RD_CANCEL_STOPPING);
    STEP(DONE, .job = third, .token = look(third).token, .outcome = RD_OUTCOME_OK);
    assert_int_equal(only(RD_ACT_WRITE_END, third)->end, RD_END_CANCELLED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)
    const struct CMUnitTest tests[] = {
        TEST(positions),
        TEST(times),
        TEST(counts_of_everything),
        TEST(enormous_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
