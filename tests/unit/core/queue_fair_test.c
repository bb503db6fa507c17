/* SPDX-License-Identifier: Apache-2.0
 *
 * What runs next: lanes, classes, backends, and shares of device time inside a lane; and that a
 * step stays cheap with a million jobs. */
#include "core/queue_internal.h"
#include "queue_fixture.h"

static uint32_t queued_as(uint32_t tenant, uint32_t class_, enum rd_lane lane, uint32_t units)
{
    STEP(SUBMIT, .tenant = tenant, .class_ = class_, .lane = lane, .units = units);
    assert_int_equal(r.admit, RD_ADMIT_OK);
    const uint32_t job = r.job;
    STEP(DURABLE, .job = job);
    return job;
}

/* Ends the one job that runs on backend 1 after `ns`, and returns the next one, now running. */
static uint32_t after(uint32_t job, uint64_t ns)
{
    complete(job, ns);
    if (r.count == 0) {
        return 0;
    }
    assert_int_equal(r.count, 1);
    assert_int_equal(r.actions[0].kind, RD_ACT_WRITE_LEASE);
    const uint32_t next = r.actions[0].job;
    (void)leased(next);
    return next;
}

static void lanes_come_before_all_else(void **state)
{
    (void)state;
    const uint32_t first = queued(1);
    (void)leased(first);
    const uint32_t low = queued_as(1, 1, RD_LANE_LOW, 1);
    const uint32_t normal = queued_as(2, 1, RD_LANE_NORMAL, 1);
    const uint32_t high = queued_as(1, 1, RD_LANE_HIGH, 1);
    assert_int_equal(after(first, SECOND), high);
    assert_int_equal(after(high, SECOND), normal);
    assert_int_equal(after(normal, SECOND), low);
    assert_int_equal(after(low, SECOND), 0);
}

static void one_flow_is_first_in_first_out(void **state)
{
    (void)state;
    uint32_t jobs[20];
    for (int i = 0; i < 20; i++) {
        jobs[i] = queued(1);
    }
    STEP(CANCEL, .job = jobs[7]);
    (void)leased(jobs[0]);
    for (int i = 1; i < 20; i++) {
        if (i != 7) {
            assert_int_equal(after(jobs[i == 8 ? 6 : i - 1], SECOND), jobs[i]);
        }
    }
}

static void classes_take_turns(void **state)
{
    (void)state;
    STEP(CLASS, .backend = 1, .class_ = 70, .serves = true);
    STEP(CLASS, .backend = 1, .class_ = 512, .serves = true);
    uint32_t job = queued(1);
    (void)leased(job);
    for (int i = 0; i < 4; i++) {
        (void)queued_as(1, 512, RD_LANE_NORMAL, 1);
        (void)queued_as(1, 70, RD_LANE_NORMAL, 1);
        (void)queued(1);
    }
    static const uint32_t turns[] = {70, 512, 1, 70, 512, 1, 70, 512, 1};
    for (size_t i = 0; i < sizeof turns / sizeof turns[0]; i++) {
        job = after(job, SECOND);
        assert_int_equal(look(job).class_, turns[i]);
    }
    STEP(CLASS, .backend = 1, .class_ = 70, .serves = false);
    for (int i = 0; i < 2; i++) {
        job = after(job, SECOND);
        assert_int_not_equal(look(job).class_, 70);
    }
}

static void the_least_loaded_backend_that_serves_it(void **state)
{
    (void)state;
    backend(2, 4, 1);
    backend(3, 4, 2);
    STEP(BACKEND, .backend = 4, .slots = 9, .ready = false);
    STEP(CLASS, .backend = 4, .class_ = 1, .serves = true);
    uint32_t on[5] = {0};
    for (uint32_t i = 0; i < 6; i++) {
        const uint32_t job = queued(1);
        on[look(job).backend]++;
        if (i < 5) {
            (void)leased(job);
        }
    }
    assert_int_equal(on[1], 1);
    assert_int_equal(on[2], 4);
    assert_int_equal(on[0], 1);              /* waits */
    STEP(BACKEND, .backend = 2, .slots = 0); /* retired, with four runs */
    for (uint32_t job = 1; job <= 5; job++) {
        if (look(job).backend == 2) {
            STEP(DONE, .job = job, .token = look(job).token, .outcome = RD_OUTCOME_OK);
            STEP(SLOT, .backend = 2);
            assert_int_equal(state_of(6), RD_JOB_QUEUED);
        }
    }
    STEP(BACKEND, .backend = 2, .slots = 4, .ready = true);
    assert_int_equal(r.count, 0); /* it serves nothing any more */
    STEP(CLASS, .backend = 2, .class_ = 1, .serves = true);
    assert_int_equal(r.count, 1);
}

static void a_batch_does_not_delay_a_single_job(void **state)
{
    (void)state;
    unchecked = true;
    uint32_t job = queued(1);
    (void)leased(job);
    for (int i = 0; i < 10000; i++) {
        (void)queued(1);
    }
    for (int i = 0; i < 20; i++) {
        job = after(job, SECOND);
        assert_int_equal(look(job).tenant, 1);
    }
    const uint32_t single = queued(2);
    assert_int_equal(after(job, SECOND), single);
    assert_int_equal(look(after(single, SECOND)).tenant, 1);
}

/* Tenant 2's jobs take nine times as long: it gets a tenth of the starts, half of the time. */
static void shares_are_of_device_time(void **state)
{
    (void)state;
    unchecked = true;
    uint32_t job = queued(1);
    for (int i = 0; i < 1000; i++) {
        (void)queued(1);
        (void)queued(2);
    }
    (void)leased(job);
    uint64_t time[3] = {0};
    uint32_t starts[3] = {0};
    for (int i = 0; i < 1000; i++) {
        const uint32_t tenant = look(job).tenant;
        const uint64_t took = tenant == 1 ? SECOND : 9 * SECOND;
        time[tenant] += took;
        starts[tenant]++;
        job = after(job, took);
        const uint64_t apart = time[1] < time[2] ? time[2] - time[1] : time[1] - time[2];
        assert_in_range(apart, 0, 12 * SECOND); /* (6 S + 6) C would be 108 s */
    }
    assert_in_range(starts[1], 890, 910);
}

/* What an engine says counts, and units before anything is known. */
static void charges_and_corrections(void **state)
{
    (void)state;
    uint32_t job = queued(1);
    (void)leased(job);
    for (int i = 0; i < 20; i++) {
        (void)queued_as(1, 1, RD_LANE_NORMAL, 4);
        (void)queued_as(2, 1, RD_LANE_NORMAL, 1);
    }
    uint32_t starts[3] = {0};
    for (int i = 0; i < 20; i++) {
        const struct rd_queue_job it = look(job);
        now += SECOND;
        STEP(DONE, .job = job, .token = it.token, .outcome = RD_OUTCOME_FAILED, .device_ns = 1);
        STEP(ENDED, .job = job);
        STEP(SLOT, .backend = 1);
        job = r.actions[0].job;
        starts[look(job).tenant]++;
        (void)leased(job);
    }
    assert_in_range(starts[1], 3, 5); /* an eighth of the estimate at least: four units or one */
}

/* Idle tenants save nothing up: after 1000 jobs of tenant 1, tenant 2 begins level with it. */
static void idleness_is_not_saved_up(void **state)
{
    (void)state;
    uint32_t job = queued(1);
    (void)leased(job);
    for (int i = 0; i < 120; i++) {
        (void)queued(1);
    }
    for (int i = 0; i < 100; i++) {
        job = after(job, SECOND);
    }
    for (int i = 0; i < 20; i++) {
        (void)queued(2);
    }
    uint32_t starts[3] = {0};
    for (int i = 0; i < 20; i++) {
        job = after(job, SECOND);
        starts[look(job).tenant]++;
    }
    assert_in_range(starts[2], 9, 11);
}

/* One long job at a time, its flow empty in between: what it used is not forgotten. */
static void a_flow_that_comes_and_goes_sheds_nothing(void **state)
{
    (void)state;
    uint32_t job = queued(1);
    (void)leased(job);
    for (int i = 0; i < 200; i++) {
        (void)queued(1);
    }
    (void)queued(2);
    uint64_t time[3] = {0};
    for (int i = 0; i < 100; i++) {
        const uint32_t tenant = look(job).tenant;
        const uint64_t took = tenant == 1 ? SECOND : 9 * SECOND;
        time[tenant] += took;
        const uint32_t next = after(job, took);
        if (tenant == 2) {
            (void)queued(2);
        }
        job = next;
    }
    assert_in_range(time[2], time[1] / 2, time[1] + 10 * SECOND);
}

static void a_tenant_at_its_cap_is_passed_over(void **state)
{
    (void)state;
    backend(1, 4, 1);
    limits(1, (struct rd_tenant_limits){.rate = NO_LIMIT, .concurrency = 2, .high = true});
    uint32_t jobs[4];
    for (int i = 0; i < 4; i++) {
        jobs[i] = queued_as(1, 1, RD_LANE_HIGH, 1);
    }
    assert_int_equal(state_of(jobs[1]), RD_JOB_LEASING);
    assert_int_equal(state_of(jobs[2]), RD_JOB_QUEUED);
    const uint32_t other = queued_as(2, 1, RD_LANE_LOW, 1);
    assert_int_equal(state_of(other), RD_JOB_LEASING);
    (void)leased(jobs[0]);
    const uint64_t token = look(jobs[0]).token;
    STEP(DONE, .job = jobs[0], .token = token, .outcome = RD_OUTCOME_OK);
    assert_int_equal(state_of(jobs[2]), RD_JOB_LEASING); /* the fourth slot; its own is not free */
    assert_int_equal(state_of(jobs[3]), RD_JOB_QUEUED);
    STEP(SLOT, .backend = 1);
    assert_int_equal(r.count, 0);
    limits(1, (struct rd_tenant_limits){.rate = NO_LIMIT, .high = true});
    (void)only(RD_ACT_WRITE_LEASE, jobs[3]);
    limits(1, (struct rd_tenant_limits){.rate = NO_LIMIT, .concurrency = 1, .high = true});
    const uint32_t more = queued_as(1, 1, RD_LANE_LOW, 1);
    STEP(CANCEL, .job = jobs[1]);
    STEP(CANCEL, .job = jobs[2]);
    assert_int_equal(state_of(more), RD_JOB_QUEUED); /* one still runs: a lowered cap holds */
    STEP(CANCEL, .job = jobs[3]);
    assert_int_equal(state_of(more), RD_JOB_LEASING);
}

/* Flows are few: 65,536, each with a job that has not ended. Idle ones give their number away. */
static void every_flow_taken(void **state)
{
    (void)state;
    unchecked = true;
    for (uint32_t tenant = 1; tenant <= RD_QUEUE_TENANTS_MAX; tenant++) {
        limits(tenant, (struct rd_tenant_limits){.rate = NO_LIMIT, .high = true});
    }
    uint32_t jobs[4] = {0};
    for (uint32_t i = 0; i < RD_QUEUE_FLOWS_MAX; i++) {
        jobs[i % 4] = queued_as(1 + i / 4, 7 + i % 2, i / 2 % 2 ? RD_LANE_HIGH : RD_LANE_LOW, 1);
    }
    STEP(SUBMIT, .tenant = 1, .class_ = 3, .lane = RD_LANE_NORMAL);
    assert_int_equal(r.admit, RD_ADMIT_FULL);
    STEP(RESTORE, .tenant = 1, .class_ = 3, .lane = RD_LANE_NORMAL);
    assert_int_equal(r.admit, RD_ADMIT_FULL);
    assert_int_not_equal(queued_as(1, 7, RD_LANE_LOW, 1), 0); /* its flow is there */
    assert_null(rd_queue_check(queue));
    STEP(CANCEL, .job = jobs[3]);
    STEP(CANCEL, .job = jobs[1]);
    assert_int_not_equal(queued_as(1, 3, RD_LANE_NORMAL, 1), 0);
    assert_int_not_equal(queued_as(2, 3, RD_LANE_NORMAL, 1), 0);
    STEP(SUBMIT, .tenant = RD_QUEUE_TENANTS_MAX, .class_ = 8, .lane = RD_LANE_HIGH);
    assert_int_equal(r.admit, RD_ADMIT_FULL); /* its number is another's now */
    assert_null(rd_queue_check(queue));
}

/* The most loop rounds that one step took, in a mix of everything that happens to a busy queue. */
static uint64_t dearest_step(uint32_t jobs)
{
    uint64_t dearest = 0;
    uint32_t live = 0;
    for (uint32_t i = 0; i < jobs; i++) {
        const uint64_t work = queue->work;
        STEP(SUBMIT, .tenant = 1 + i % 4, .class_ = 1, .lane = (i / 4) % RD_LANE_COUNT_,
             .ttl_ns = 10000 * SECOND + i * 2654435761u % 1000000);
        const uint32_t job = r.job;
        STEP(DURABLE, .job = job);
        dearest = queue->work - work > dearest ? queue->work - work : dearest;
        live = i == 0 ? job : live;
    }
    (void)leased(live);
    for (uint32_t i = 0; i < 100; i++) {
        const uint64_t work = queue->work;
        const uint32_t next = after(live, SECOND);
        STEP(CANCEL, .job = 1 + (i * 2654435761u) % jobs);
        dearest = queue->work - work > dearest ? queue->work - work : dearest;
        live = state_of(next) == RD_JOB_RUNNING ? next : live;
        if (state_of(live) != RD_JOB_RUNNING) {
            break;
        }
    }
    return dearest;
}

static void a_million_jobs_cost_no_more_a_step(void **state)
{
    (void)state;
    unchecked = true;
    const uint64_t few = dearest_step(256);
    assert_int_equal(queue_teardown(state), 0);
    assert_int_equal(queue_setup(state), 0);
    unchecked = true;
    const uint64_t many = dearest_step(RD_QUEUE_JOBS_MAX);
    assert_null(rd_queue_check(queue));
    /* the heap of timers is 10 high instead of 4, and nothing else knows how many there are */
    assert_in_range(few, 8, 60);
    assert_in_range(many, 20, 150);

    while (queue->jobs_free != 0) {
        STEP(SUBMIT, .tenant = 1, .class_ = 1, .lane = RD_LANE_NORMAL);
        assert_int_equal(r.admit, RD_ADMIT_OK);
    }
    STEP(SUBMIT, .tenant = 1, .class_ = 1, .lane = RD_LANE_NORMAL);
    assert_int_equal(r.admit, RD_ADMIT_FULL);
    STEP(SUBMIT, .tenant = 1, .class_ = 1, .lane = RD_LANE_NORMAL, .now_only = true);
    assert_int_equal(r.admit, RD_ADMIT_FULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)
    const struct CMUnitTest tests[] = {
        TEST(lanes_come_before_all_else),
        TEST(one_flow_is_first_in_first_out),
        TEST(classes_take_turns),
        TEST(the_least_loaded_backend_that_serves_it),
        TEST(a_batch_does_not_delay_a_single_job),
        TEST(shares_are_of_device_time),
        TEST(charges_and_corrections),
        TEST(idleness_is_not_saved_up),
        TEST(a_flow_that_comes_and_goes_sheds_nothing),
        TEST(a_tenant_at_its_cap_is_passed_over),
        TEST(every_flow_taken),
        TEST(a_million_jobs_cost_no_more_a_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
