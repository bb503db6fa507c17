/* SPDX-License-Identifier: Apache-2.0
 *
 * Backends in the queue: breakers, going on elsewhere, deadlines, quarantine, weights. Three
 * backends serve class 1 here, with four slots each. */
#include "queue_fixture.h"

static int three(void **state)
{
    (void)queue_setup(state);
    for (uint32_t b = 1; b <= 3; b++) {
        backend(b, 4, 1);
    }
    return 0;
}

static struct rd_queue_backend backend_of(uint32_t number)
{
    struct rd_queue_backend it = {.slots = 0};
    assert_true(rd_queue_look_backend(queue, number, &it));
    return it;
}

static void not_ready(uint32_t number)
{
    STEP(BACKEND, .backend = number, .slots = 4, .ready = false, .lease_ns = 10 * SECOND);
}

static void ready(uint32_t number)
{
    STEP(BACKEND, .backend = number, .slots = 4, .ready = true, .lease_ns = 10 * SECOND);
}

static uint32_t taken_now(void)
{
    STEP(SUBMIT, .tenant = 1, .class_ = 1, .lane = RD_LANE_NORMAL, .now_only = true);
    assert_int_equal(r.admit, RD_ADMIT_OK);
    return r.job;
}

/* The run of the job ends like this, and its engine lets go. Leaves the answer to DONE in `r`. */
static void ends(uint32_t job, enum rd_outcome outcome, enum rd_verdict verdict)
{
    const struct rd_queue_job it = look(job);
    STEP(SLOT, .backend = 0);
    STEP(DONE, .job = job, .token = it.token, .outcome = outcome, .verdict = verdict,
         .device_ns = 5);
    assert_false(r.stale);
    const struct rd_queue_result answer = r;
    STEP(SLOT, .backend = it.backend);
    r = answer;
}

/* One backend alone, whose breaker is open. */
static void opened(void)
{
    not_ready(2);
    not_ready(3);
    for (uint32_t i = 0; i < RD_BREAKER_REQUESTS_MIN; i++) {
        assert_int_equal(backend_of(1).breaker, RD_BREAKER_CLOSED);
        ends(taken_now(), RD_OUTCOME_FAILED, RD_VERDICT_BAD);
    }
    assert_int_equal(backend_of(1).breaker, RD_BREAKER_OPEN);
}

static void a_breaker_opens_and_lets_probes_through(void **state)
{
    (void)state;
    opened();
    struct rd_queue_backend it = backend_of(1);
    assert_true(it.ready && !it.usable);
    assert_int_equal(it.requests, 10);
    assert_int_equal(it.failures, 10);
    assert_int_equal(it.retry_ns, RD_BREAKER_OPEN_NS);
    STEP(SUBMIT, .tenant = 1, .class_ = 1, .lane = RD_LANE_NORMAL, .now_only = true);
    assert_int_equal(r.admit, RD_ADMIT_NOT_READY);
    uint32_t jobs[7];
    for (int i = 0; i < 7; i++) {
        jobs[i] = queued(1);
        assert_int_equal(state_of(jobs[i]), RD_JOB_QUEUED);
    }
    assert_int_equal(r.next_ns, now + RD_BREAKER_OPEN_NS);
    now += RD_BREAKER_OPEN_NS - 1;
    STEP(TICK, .job = 0);
    assert_int_equal(r.count, 0);
    assert_int_equal(backend_of(1).retry_ns, 1);
    now += 1;
    STEP(TICK, .job = 0);
    assert_int_equal(r.count, 4); /* its slots */
    assert_int_equal(backend_of(1).breaker, RD_BREAKER_HALF_OPEN);
    assert_int_equal(r.next_ns, now + RD_BREAKER_VERDICT_NS);
    for (int i = 0; i < 4; i++) {
        (void)running(jobs[i]);
    }
    ends(jobs[0], RD_OUTCOME_OK, RD_VERDICT_GOOD);
    ends(jobs[1], RD_OUTCOME_OK, RD_VERDICT_GOOD);
    assert_int_equal(state_of(jobs[4]), RD_JOB_LEASING); /* the fifth probe, and no sixth */
    assert_int_equal(state_of(jobs[5]), RD_JOB_QUEUED);
    assert_false(backend_of(1).usable);
    STEP(UNLEASED, .job = jobs[4], .token = look(jobs[4]).token); /* gives its permit back */
    assert_int_equal(state_of(jobs[4]), RD_JOB_LEASING);          /* and takes it again */
    STEP(CANCEL, .job = jobs[4]);
    assert_int_equal(state_of(jobs[5]), RD_JOB_LEASING);
    (void)running(jobs[5]);
    ends(jobs[5], RD_OUTCOME_CANCELLED, RD_VERDICT_SAYS_NOTHING); /* cancelled: another probe */
    assert_int_equal(state_of(jobs[6]), RD_JOB_LEASING);
    (void)running(jobs[6]);
    ends(jobs[2], RD_OUTCOME_OK, RD_VERDICT_GOOD);
    ends(jobs[3], RD_OUTCOME_OK, RD_VERDICT_GOOD);
    assert_int_equal(backend_of(1).breaker, RD_BREAKER_HALF_OPEN);
    ends(jobs[6], RD_OUTCOME_OK, RD_VERDICT_GOOD);
    it = backend_of(1);
    assert_int_equal(it.breaker, RD_BREAKER_CLOSED);
    assert_int_equal(it.requests, 0);
}

static void a_reload_keeps_the_breaker(void **state)
{
    (void)state;
    opened();
    STEP(BACKEND, .backend = 1, .slots = 0); /* taken away */
    ready(1);                                /* and back */
    assert_int_equal(backend_of(1).breaker, RD_BREAKER_OPEN);
    struct rd_queue_backend it;
    assert_false(rd_queue_look_backend(queue, 0, &it));
    assert_false(rd_queue_look_backend(queue, 4, &it));
    assert_false(rd_queue_look_backend(queue, RD_QUEUE_BACKENDS_MAX + 1, &it));
}

static void half_open_without_a_verdict(void **state)
{
    (void)state;
    opened();
    now += RD_BREAKER_OPEN_NS;
    const uint32_t job = taken_now();
    assert_int_equal(backend_of(1).breaker, RD_BREAKER_HALF_OPEN);
    now += 9 * SECOND;
    STEP(HEARTBEAT, .job = job, .token = look(job).token);
    ends(job, RD_OUTCOME_OK, RD_VERDICT_GOOD);
    now += RD_BREAKER_VERDICT_NS - 9 * SECOND;
    STEP(TICK, .job = 0); /* nobody has asked it anything since: it opens all the same */
    assert_int_equal(backend_of(1).breaker, RD_BREAKER_OPEN);
    assert_int_equal(r.next_ns, now + RD_BREAKER_OPEN_NS);
    now += RD_BREAKER_OPEN_NS;
    STEP(TICK, .job = 0);
    assert_int_equal(r.next_ns, UINT64_MAX); /* and then waits for a request */
    assert_true(backend_of(1).usable);
}

static void a_lost_lease_is_a_bad_result(void **state)
{
    (void)state;
    not_ready(2);
    not_ready(3);
    const uint32_t job = queued(1);
    (void)running(job);
    now += 10 * SECOND;
    STEP(TICK, .job = 0);
    assert_int_equal(r.count, 2);
    assert_int_equal(r.actions[1].kind, RD_ACT_RETRY);
    assert_in_range(r.actions[1].wait_ns, SECOND, 2 * SECOND); /* nobody else is there */
    assert_int_equal(backend_of(1).failures, 1);
}

static void elsewhere_at_once(void **state)
{
    (void)state;
    const uint32_t job = queued(1);
    const uint32_t first = look(job).backend;
    (void)running(job);
    ends(job, RD_OUTCOME_FAILED_AGAIN, RD_VERDICT_BAD);
    assert_int_equal(r.count, 2);
    assert_int_equal(r.actions[0].kind, RD_ACT_RETRY);
    assert_int_equal(r.actions[0].wait_ns, 0);
    assert_int_equal(r.actions[0].attempt, 1);
    assert_int_equal(r.actions[0].device_ns, 5);
    assert_int_equal(r.actions[1].kind, RD_ACT_WRITE_LEASE);
    assert_int_equal(r.actions[1].attempt, 2);
    const uint32_t second = r.actions[1].backend;
    assert_int_not_equal(second, first);
    (void)leased(job);
    now += 10 * SECOND; /* the second one hangs */
    STEP(TICK, .job = 0);
    assert_int_equal(r.count, 3);
    assert_int_equal(r.actions[0].kind, RD_ACT_STOP);
    assert_int_equal(r.actions[0].backend, second);
    assert_int_equal(r.actions[1].kind, RD_ACT_RETRY);
    const uint32_t third = r.actions[2].backend;
    assert_int_equal(third, 6 - first - second);
    (void)leased(job);
    ends(job, RD_OUTCOME_FAILED_AGAIN, RD_VERDICT_BAD); /* it has failed on all of them */
    assert_in_range(only(RD_ACT_RETRY, job)->wait_ns, 4 * SECOND, 8 * SECOND);
    not_ready(first);
    now += 8 * SECOND;
    STEP(TICK, .job = 0);
    assert_int_not_equal(only(RD_ACT_WRITE_LEASE, job)->backend, first); /* where it failed: then */
    (void)leased(job);
    ends(job, RD_OUTCOME_FAILED_AGAIN, RD_VERDICT_BAD);
    assert_int_equal(only(RD_ACT_WRITE_END, job)->end, RD_END_ERROR);
}

static void what_says_nothing_waits(void **state)
{
    (void)state;
    const uint32_t job = queued(1);
    (void)running(job);
    ends(job, RD_OUTCOME_FAILED_AGAIN, RD_VERDICT_SAYS_NOTHING);
    assert_in_range(only(RD_ACT_RETRY, job)->wait_ns, SECOND, 2 * SECOND);
    const uint32_t now_only = taken_now();
    ends(now_only, RD_OUTCOME_FAILED_AGAIN, RD_VERDICT_SAYS_NOTHING);
    assert_int_equal(only(RD_ACT_FREE, now_only)->end, RD_END_ERROR);
}

static void a_sync_run_goes_on_elsewhere(void **state)
{
    (void)state;
    const uint32_t job = taken_now();
    const struct rd_queue_job first = look(job);
    ends(job, RD_OUTCOME_FAILED_AGAIN, RD_VERDICT_BAD);
    const struct rd_queue_action *action = only(RD_ACT_RUN, job);
    assert_int_not_equal(action->backend, first.backend);
    assert_int_not_equal(action->token, first.token);
    assert_int_equal(action->attempt, 2);
    const uint32_t second = action->backend;
    assert_int_equal(backend_of(first.backend).taken, 0);
    assert_int_equal(backend_of(second).taken, 1);
    STEP(DONE, .job = job, .token = first.token, .outcome = RD_OUTCOME_OK);
    assert_true(r.stale);
    /* it may become a job, and is then written as tried twice */
    STEP(ADOPT, .job = job);
    assert_int_equal(r.job, job);
    assert_int_equal(look(job).attempt, 2);
    ends(job, RD_OUTCOME_FAILED_AGAIN, RD_VERDICT_BAD);
    assert_int_equal(r.count, 2);
    assert_int_equal(r.actions[1].kind, RD_ACT_WRITE_LEASE);
    assert_int_equal(r.actions[1].attempt, 3);
    assert_int_equal(r.actions[1].backend, 6 - first.backend - second);

    const uint32_t lost = taken_now(); /* its caller is still in it: nobody could start it again */
    now += 10 * SECOND;
    STEP(TICK, .job = 0);
    assert_int_equal(state_of(lost), RD_JOB_FREE);

    const uint32_t cancelled = taken_now();
    STEP(CANCEL, .job = cancelled);
    ends(cancelled, RD_OUTCOME_FAILED_AGAIN, RD_VERDICT_BAD);
    assert_int_equal(only(RD_ACT_FREE, cancelled)->end, RD_END_CANCELLED);
}

static void not_beyond_its_tenants_limit(void **state)
{
    (void)state;
    const uint32_t job = queued(2);
    const uint32_t other = queued(2);
    (void)running(job);
    (void)running(other);
    limits(2, (struct rd_tenant_limits){.rate = NO_LIMIT, .concurrency = 1});
    ends(job, RD_OUTCOME_FAILED_AGAIN, RD_VERDICT_BAD);
    assert_in_range(only(RD_ACT_RETRY, job)->wait_ns, SECOND, 2 * SECOND);
    ends(other, RD_OUTCOME_FAILED_AGAIN, RD_VERDICT_BAD);
    assert_int_equal(r.actions[0].wait_ns, 0); /* it is the only one now */
}

/* ---- deadlines ---- */

static int with_deadline(void **state)
{
    (void)three(state);
    (void)queue_teardown(state);
    void *memory = mmap(NULL, rd_queue_size(), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    const struct rd_queue_config config = {.attempts_max = 4,
                                           .retry_first_ns = SECOND,
                                           .retry_max_ns = SECOND,
                                           .stop_patience_ns = SECOND,
                                           .deadline_ns = 15 * SECOND};
    queue = rd_queue_init(memory, &config);
    limits(1, (struct rd_tenant_limits){.rate = NO_LIMIT});
    backend(1, 4, 1);
    return 0;
}

static void a_deadline_covers_all_attempts(void **state)
{
    (void)state;
    const uint32_t job = queued(1);
    now += 5 * SECOND; /* it counts from the first start */
    const uint64_t deadline_ns = now + 15 * SECOND;
    STEP(LEASED, .job = job, .token = look(job).token);
    assert_int_equal(only(RD_ACT_RUN, job)->deadline_ns, deadline_ns);
    now += 9 * SECOND;
    ends(job, RD_OUTCOME_FAILED_AGAIN, RD_VERDICT_BAD);
    assert_int_equal(only(RD_ACT_RETRY, job)->wait_ns, SECOND);
    now += SECOND;
    STEP(TICK, .job = 0);
    STEP(LEASED, .job = job, .token = look(job).token);
    assert_int_equal(only(RD_ACT_RUN, job)->deadline_ns, deadline_ns); /* still that one */
    now = deadline_ns - SECOND - 1;
    ends(job, RD_OUTCOME_FAILED_AGAIN, RD_VERDICT_BAD);
    assert_int_equal(only(RD_ACT_RETRY, job)->wait_ns, SECOND); /* just in time */
    not_ready(1);
    now += SECOND;
    STEP(TICK, .job = 0);
    assert_int_equal(state_of(job), RD_JOB_QUEUED);
    assert_int_equal(r.next_ns, deadline_ns);
    now += 1;
    STEP(TICK, .job = 0);
    assert_int_equal(only(RD_ACT_WRITE_END, job)->end, RD_END_ERROR); /* the last one it had */
}

static void no_pause_goes_beyond_the_deadline(void **state)
{
    (void)state;
    const uint32_t job = queued(1);
    (void)running(job);
    for (int i = 0; i < 14; i++) {
        now += SECOND;
        STEP(HEARTBEAT, .job = job, .token = look(job).token);
    }
    ends(job, RD_OUTCOME_FAILED_AGAIN, RD_VERDICT_BAD);
    assert_int_equal(only(RD_ACT_WRITE_END, job)->end, RD_END_ERROR);

    const uint32_t lost = queued(1);
    (void)running(lost);
    now += 10 * SECOND;
    STEP(TICK, .job = 0); /* its lease: a pause of 1 s */
    assert_int_equal(state_of(lost), RD_JOB_WAITING);
    not_ready(1);
    now += 5 * SECOND;
    STEP(TICK, .job = 0);
    assert_int_equal(only(RD_ACT_WRITE_END, lost)->end, RD_END_LOST);
    backend(1, 4, 1);
    const uint32_t sync = taken_now();
    assert_int_equal(r.actions[0].deadline_ns, now + 15 * SECOND);
    assert_int_equal(state_of(sync), RD_JOB_RUNNING);
}

/* ---- quarantine ---- */

static void a_backend_that_does_not_let_go(void **state)
{
    (void)state;
    not_ready(2);
    not_ready(3);
    const uint32_t hangs = queued(1);
    const uint64_t token = running(hangs);
    const uint32_t fine = queued(1);
    (void)running(fine);
    STEP(CANCEL, .job = hangs);
    for (int i = 0; i < 20; i++) {
        now += SECOND;
        STEP(HEARTBEAT, .job = fine, .token = look(fine).token);
    }
    assert_int_equal(state_of(hangs), RD_JOB_ENDING);
    assert_true(backend_of(1).quarantined && !backend_of(1).usable);
    assert_int_equal(backend_of(1).requests, 0); /* its breaker has nothing to do with it */
    const uint32_t waits = queued(1);
    ready(1); /* it says so, but the slot is still held */
    assert_true(backend_of(1).quarantined);
    STEP(SUBMIT, .tenant = 1, .class_ = 1, .lane = RD_LANE_NORMAL, .now_only = true);
    assert_int_equal(r.admit, RD_ADMIT_NOT_READY);
    STEP(DONE, .job = hangs, .token = token, .outcome = RD_OUTCOME_OK);
    assert_true(r.stale);
    STEP(SLOT, .backend = 1);
    assert_true(backend_of(1).quarantined); /* it has not said ready since */
    not_ready(1);
    assert_true(backend_of(1).quarantined);
    ready(1);
    assert_false(backend_of(1).quarantined); /* `fine` runs on: it was never asked to stop */
    assert_int_equal(state_of(waits), RD_JOB_LEASING);
}

static void weights_are_the_backends(void **state)
{
    (void)state;
    STEP(BACKEND, .backend = 1, .slots = 4, .weight = 3, .ready = true);
    STEP(BACKEND, .backend = 2, .slots = 4, .weight = 1, .ready = true);
    not_ready(3);
    for (int i = 0; i < 4; i++) {
        (void)taken_now();
    }
    assert_int_equal(backend_of(1).taken, 3);
    assert_int_equal(backend_of(2).taken, 1);
    assert_int_equal(backend_of(1).weight, 3);
    assert_int_equal(backend_of(3).weight, 4); /* as slots */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, three, queue_teardown)
#define TEST_DEADLINE(name) cmocka_unit_test_setup_teardown(name, with_deadline, queue_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_breaker_opens_and_lets_probes_through),
        TEST(a_reload_keeps_the_breaker),
        TEST(half_open_without_a_verdict),
        TEST(a_lost_lease_is_a_bad_result),
        TEST(elsewhere_at_once),
        TEST(what_says_nothing_waits),
        TEST(a_sync_run_goes_on_elsewhere),
        TEST(not_beyond_its_tenants_limit),
        TEST_DEADLINE(a_deadline_covers_all_attempts),
        TEST_DEADLINE(no_pause_goes_beyond_the_deadline),
        TEST(a_backend_that_does_not_let_go),
        TEST(weights_are_the_backends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
