/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a job: every state with every event that means something to it, and the others, which
 * must change nothing. What runs next, and limits: queue_fair_test.c and queue_admit_test.c. */
#include "queue_fixture.h"

static void a_job_from_submit_to_its_end(void **state)
{
    (void)state;
    STEP(SUBMIT, .tenant = 1, .class_ = 1, .lane = RD_LANE_NORMAL, .units = 3);
    assert_int_equal(r.admit, RD_ADMIT_OK);
    assert_int_equal(r.count, 0); /* its row comes first, though a slot is free */
    const uint32_t job = r.job;
    assert_int_not_equal(job, 0);
    assert_int_equal(state_of(job), RD_JOB_ACCEPTED);

    STEP(DURABLE, .job = job);
    const struct rd_queue_action *action = only(RD_ACT_WRITE_LEASE, job);
    assert_int_equal(action->backend, 1);
    assert_int_equal(action->attempt, 1);
    const uint64_t token = action->token;
    assert_int_not_equal(token, 0);

    STEP(LEASED, .job = job, .token = token);
    assert_int_equal(only(RD_ACT_RUN, job)->token, token);
    assert_int_equal(r.next_ns, now + 10 * SECOND);

    STEP(DONE, .job = job, .token = token, .outcome = RD_OUTCOME_OK, .device_ns = 77);
    action = only(RD_ACT_WRITE_END, job);
    assert_int_equal(action->end, RD_END_COMPLETE);
    assert_int_equal(action->device_ns, 77);
    assert_int_equal(state_of(job), RD_JOB_ENDING);
    assert_int_equal(r.next_ns, UINT64_MAX);

    STEP(SLOT, .backend = 1);
    STEP(ENDED, .job = job);
    assert_int_equal(state_of(job), RD_JOB_FREE);
    assert_int_equal(queued(1), job); /* the number is used again */
}

static void what_does_not_fit_changes_nothing(void **state)
{
    (void)state;
    const uint32_t job = queued(1);
    const uint64_t token = running(job);
    const struct rd_queue_job before = look(job);
    static const enum rd_queue_event_kind kinds[] = {RD_EV_DURABLE,  RD_EV_LOST,  RD_EV_LEASED,
                                                     RD_EV_UNLEASED, RD_EV_ENDED, RD_EV_ADOPT};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        step((struct rd_queue_event){.kind = kinds[i], .job = job, .token = token});
        assert_int_equal(r.count, 0);
        const struct rd_queue_job after = look(job);
        assert_memory_equal(&before, &after, sizeof before);
    }
    static const uint32_t strangers[] = {0, 2, RD_QUEUE_JOBS_MAX, RD_QUEUE_JOBS_MAX + 1,
                                         UINT32_MAX};
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        for (uint32_t kind = RD_EV_DURABLE; kind <= RD_EV_TICK; kind++) {
            step((struct rd_queue_event){
                .kind = kind, .job = strangers[i], .token = token, .backend = 9, .tenant = 9});
            assert_int_equal(r.count, 0);
        }
        assert_false(rd_queue_look(queue, strangers[i], &(struct rd_queue_job){0}));
    }
    static const uint64_t tokens[] = {0, 2, UINT64_MAX};
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        STEP(DONE, .job = job, .token = tokens[i], .outcome = RD_OUTCOME_OK);
        assert_true(r.stale);
        STEP(HEARTBEAT, .job = job, .token = tokens[i]);
        assert_true(r.stale);
        assert_int_equal(state_of(job), RD_JOB_RUNNING);
    }
    assert_int_equal(token, 1);
}

static void numbers_out_of_range_are_nothing(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0, RD_QUEUE_TENANTS_MAX + 1, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        STEP(TENANT, .tenant = bad[i], .limits.rate = NO_LIMIT);
        STEP(BACKEND, .backend = bad[i], .slots = 1, .ready = true);
        STEP(CLASS, .backend = bad[i], .class_ = 1, .serves = true);
        STEP(CLASS, .backend = 1, .class_ = bad[i], .serves = true);
        STEP(SLOT, .backend = bad[i]);
        STEP(SUBMIT, .tenant = bad[i], .class_ = 1);
        assert_int_equal(r.admit, RD_ADMIT_FULL);
        STEP(SUBMIT, .tenant = 1, .class_ = bad[i]);
        assert_int_equal(r.admit, RD_ADMIT_FULL);
        STEP(RESTORE, .tenant = bad[i], .class_ = 1);
        assert_int_equal(r.admit, RD_ADMIT_FULL);
    }
    STEP(BACKEND, .backend = RD_QUEUE_BACKENDS_MAX + 1, .slots = 1, .ready = true);
    STEP(CLASS, .backend = 1, .class_ = RD_QUEUE_CLASSES_MAX + 1, .serves = true);
    STEP(SUBMIT, .tenant = 1, .class_ = RD_QUEUE_CLASSES_MAX + 1);
    assert_int_equal(r.admit, RD_ADMIT_FULL);
    STEP(SUBMIT, .tenant = 1, .class_ = 1, .lane = RD_LANE_COUNT_);
    assert_int_equal(r.admit, RD_ADMIT_FULL);
    STEP(SUBMIT, .tenant = 5, .class_ = 1); /* never told about */
    assert_int_equal(r.admit, RD_ADMIT_FULL);
    struct rd_tenant_state tenant;
    rd_queue_tenant(queue, 0, now, &tenant);
    assert_int_equal(tenant.tokens, 0);
    struct rd_queue_counts counts;
    rd_queue_counts(queue, &counts);
    assert_int_equal(counts.capacity, 1);
    /* the last of each is something */
    limits(RD_QUEUE_TENANTS_MAX, (struct rd_tenant_limits){.rate = NO_LIMIT, .high = true});
    backend(RD_QUEUE_BACKENDS_MAX, 1, RD_QUEUE_CLASSES_MAX);
    STEP(SUBMIT, .tenant = RD_QUEUE_TENANTS_MAX, .class_ = RD_QUEUE_CLASSES_MAX,
         .lane = RD_LANE_HIGH);
    assert_int_equal(r.admit, RD_ADMIT_OK);
    const uint32_t job = r.job;
    STEP(DURABLE, .job = job);
    assert_int_equal(only(RD_ACT_WRITE_LEASE, job)->backend, RD_QUEUE_BACKENDS_MAX);
}

static void a_row_that_is_lost_is_a_job_that_never_was(void **state)
{
    (void)state;
    limits(1, (struct rd_tenant_limits){.rate = {.per_s = 0, .burst = 1}, .depth = 1});
    STEP(SUBMIT, .tenant = 1, .class_ = 1, .lane = RD_LANE_NORMAL);
    const uint32_t job = r.job;
    STEP(LOST, .job = job);
    assert_int_equal(r.count, 0);
    assert_int_equal(state_of(job), RD_JOB_FREE);
    STEP(SUBMIT, .tenant = 1, .class_ = 1, .lane = RD_LANE_NORMAL); /* token and depth came back */
    assert_int_equal(r.admit, RD_ADMIT_OK);
}

static void a_lease_that_cannot_be_written(void **state)
{
    (void)state;
    const uint32_t first = queued(1);
    const uint32_t second = queued(1);
    STEP(BACKEND, .backend = 1, .slots = 1, .ready = false);
    STEP(UNLEASED, .job = first, .token = look(first).token);
    assert_int_equal(state_of(first), RD_JOB_QUEUED);
    assert_int_equal(look(first).attempt, 0);
    assert_int_equal(look(first).position, 1);
    assert_int_equal(look(second).position, 2);
    STEP(BACKEND, .backend = 1, .slots = 1, .ready = true);
    assert_int_equal(only(RD_ACT_WRITE_LEASE, first)->attempt, 1);
    assert_int_equal(r.actions[0].token, 2); /* the old one is worth nothing */
    STEP(LEASED, .job = first, .token = 1);
    assert_true(r.stale);
}

static void a_lease_runs_out_and_the_late_result_is_dropped(void **state)
{
    (void)state;
    backend(1, 2, 1);
    const uint32_t job = queued(1);
    const uint64_t token = running(job);
    now += 9 * SECOND;
    STEP(HEARTBEAT, .job = job, .token = token);
    assert_int_equal(r.next_ns, now + 10 * SECOND);
    now += 10 * SECOND - 1;
    STEP(TICK, .job = 0);
    assert_int_equal(state_of(job), RD_JOB_RUNNING);
    now += 1;
    STEP(TICK, .job = 0);
    assert_int_equal(r.count, 2);
    assert_int_equal(r.actions[0].kind, RD_ACT_STOP);
    assert_int_equal(r.actions[0].token, token);
    assert_int_equal(r.actions[1].kind, RD_ACT_RETRY);
    assert_int_equal(r.actions[1].attempt, 1);
    assert_int_equal(state_of(job), RD_JOB_WAITING);

    STEP(DONE, .job = job, .token = token, .outcome = RD_OUTCOME_OK);
    assert_true(r.stale);
    assert_int_equal(r.count, 0);
    now += 2 * SECOND;
    STEP(TICK, .job = 0);
    assert_int_equal(only(RD_ACT_WRITE_LEASE, job)->attempt, 2);
    struct rd_queue_counts counts;
    rd_queue_counts(queue, &counts);
    assert_int_equal(counts.running, 2); /* the engine that lost its lease has not let go */
    STEP(SLOT, .backend = 1);
    const uint64_t second = leased(job);
    STEP(DONE, .job = job, .token = token, .outcome = RD_OUTCOME_OK);
    assert_true(r.stale);
    STEP(DONE, .job = job, .token = second, .outcome = RD_OUTCOME_OK);
    assert_false(r.stale);
    STEP(DONE, .job = job, .token = second, .outcome = RD_OUTCOME_FAILED);
    assert_true(r.stale);
    assert_int_equal(r.count, 0);
}

/* The event comes before the timers of its step. */
static void a_heartbeat_that_comes_late_but_comes(void **state)
{
    (void)state;
    const uint32_t job = queued(1);
    const uint64_t token = running(job);
    now += 3600 * SECOND;
    STEP(HEARTBEAT, .job = job, .token = token);
    assert_int_equal(r.count, 0);
    assert_int_equal(state_of(job), RD_JOB_RUNNING);
    STEP(BACKEND, .backend = 1, .slots = 1, .ready = true, .lease_ns = 0);
    STEP(HEARTBEAT, .job = job, .token = token);
    assert_int_equal(r.next_ns, UINT64_MAX); /* a lease of 0 does not end */
}

static void a_lease_lost_too_often(void **state)
{
    (void)state;
    const uint32_t job = queued(1);
    for (uint32_t attempt = 1; attempt <= 4; attempt++) {
        (void)running(job);
        assert_int_equal(look(job).attempt, attempt);
        now += 10 * SECOND;
        STEP(TICK, .job = 0);
        assert_int_equal(r.count, 2);
        STEP(SLOT, .backend = 1);
        now += 30 * SECOND;
        STEP(TICK, .job = 0);
    }
    assert_int_equal(state_of(job), RD_JOB_ENDING);
    STEP(CANCEL, .job = job);
    assert_int_equal(r.cancel, RD_CANCEL_TOO_LATE);
}

static void failures_are_repeated_with_growing_waits(void **state)
{
    (void)state;
    const uint32_t job = queued(1);
    for (uint32_t attempt = 1; attempt <= 3; attempt++) {
        const uint64_t token = running(job);
        STEP(DONE, .job = job, .token = token, .device_ns = attempt,
             .outcome = attempt == 2 ? RD_OUTCOME_CANCELLED : RD_OUTCOME_FAILED_AGAIN,
             .random = attempt * 2654435761u);
        const struct rd_queue_action *retry = only(RD_ACT_RETRY, job);
        const uint64_t least = SECOND << (attempt - 1);
        assert_in_range(retry->wait_ns, least, 2 * least);
        assert_int_equal(retry->attempt, attempt);
        assert_int_equal(retry->device_ns, attempt);
        assert_int_equal(r.next_ns, now + retry->wait_ns);
        const uint64_t wait_ns = retry->wait_ns;
        STEP(SLOT, .backend = 1);
        now += wait_ns - 1;
        STEP(TICK, .job = 0);
        assert_int_equal(state_of(job), RD_JOB_WAITING);
        now += 1;
        STEP(TICK, .job = 0);
        assert_int_equal(only(RD_ACT_WRITE_LEASE, job)->attempt, attempt + 1);
    }
    const uint64_t token = running(job);
    STEP(DONE, .job = job, .token = token, .outcome = RD_OUTCOME_FAILED_AGAIN);
    assert_int_equal(only(RD_ACT_WRITE_END, job)->end, RD_END_ERROR);
}

static void a_wait_has_a_longest(void **state)
{
    (void)state;
    const struct rd_queue_config config = {
        .attempts_max = UINT32_MAX, .retry_first_ns = SECOND, .retry_max_ns = 5 * SECOND};
    queue = rd_queue_init(queue, &config);
    const uint32_t job = queued(1);
    for (uint32_t attempt = 1; attempt < 100; attempt++) {
        const uint64_t token = running(job);
        STEP(DONE, .job = job, .token = token, .outcome = RD_OUTCOME_FAILED_AGAIN,
             .random = attempt);
        const struct rd_queue_action *retry = only(RD_ACT_RETRY, job);
        assert_in_range(retry->wait_ns, attempt < 3 ? SECOND << (attempt - 1) : 4 * SECOND,
                        5 * SECOND);
        now += 5 * SECOND;
        STEP(SLOT, .backend = 1);
    }
}

/* At least one attempt, and no pause without an end. */
static void a_configuration_that_makes_no_sense(void **state)
{
    (void)state;
    struct rd_queue_config config = {.attempts_max = 0};
    queue = rd_queue_init(queue, &config);
    uint32_t job = queued(1);
    STEP(DONE, .job = job, .token = running(job), .outcome = RD_OUTCOME_FAILED_AGAIN);
    assert_int_equal(only(RD_ACT_WRITE_END, job)->end, RD_END_ERROR);
    STEP(SLOT, .backend = 1);
    config = (struct rd_queue_config){.attempts_max = 2,
                                      .retry_first_ns = UINT64_MAX,
                                      .retry_max_ns = UINT64_MAX,
                                      .token_last = 1};
    queue = rd_queue_init(queue, &config);
    job = queued(1);
    STEP(DONE, .job = job, .token = running(job), .outcome = RD_OUTCOME_FAILED_AGAIN);
    assert_int_equal(only(RD_ACT_RETRY, job)->wait_ns, 86400 * SECOND);
}

static void failures_that_are_final(void **state)
{
    (void)state;
    const uint32_t job = queued(1);
    const uint64_t token = running(job);
    STEP(DONE, .job = job, .token = token, .outcome = RD_OUTCOME_FAILED);
    assert_int_equal(only(RD_ACT_WRITE_END, job)->end, RD_END_ERROR);
}

static void cancel_before_there_is_an_engine(void **state)
{
    (void)state;
    STEP(SUBMIT, .tenant = 1, .class_ = 1, .lane = RD_LANE_NORMAL);
    uint32_t job = r.job; /* ACCEPTED: its row is under way */
    STEP(CANCEL, .job = job);
    assert_int_equal(r.cancel, RD_CANCEL_ENDED);
    assert_int_equal(r.count, 0);
    STEP(DURABLE, .job = job);
    assert_int_equal(only(RD_ACT_WRITE_END, job)->end, RD_END_CANCELLED);
    STEP(ENDED, .job = job);

    job = queued(1); /* LEASING: the row of the lease is under way */
    const uint64_t token = look(job).token;
    STEP(CANCEL, .job = job);
    assert_int_equal(r.cancel, RD_CANCEL_ENDED);
    assert_int_equal(only(RD_ACT_WRITE_END, job)->end, RD_END_CANCELLED);
    STEP(LEASED, .job = job, .token = token);
    assert_true(r.stale);
    assert_int_equal(r.count, 0);
    STEP(ENDED, .job = job);

    job = queued(1); /* the slot came back */
    const uint32_t waits = queued(2);
    assert_int_equal(state_of(waits), RD_JOB_QUEUED);
    STEP(CANCEL, .job = waits);
    assert_int_equal(r.cancel, RD_CANCEL_ENDED);
    assert_int_equal(only(RD_ACT_WRITE_END, waits)->end, RD_END_CANCELLED);

    STEP(DONE, .job = job, .token = running(job), .outcome = RD_OUTCOME_FAILED_AGAIN);
    assert_int_equal(state_of(job), RD_JOB_WAITING);
    STEP(CANCEL, .job = job);
    assert_int_equal(r.cancel, RD_CANCEL_ENDED);
    assert_int_equal(only(RD_ACT_WRITE_END, job)->end, RD_END_CANCELLED);
    assert_int_equal(r.next_ns, UINT64_MAX);
}

static void cancel_of_a_run(void **state)
{
    (void)state;
    static const enum rd_outcome outcomes[] = {RD_OUTCOME_OK, RD_OUTCOME_FAILED,
                                               RD_OUTCOME_FAILED_AGAIN, RD_OUTCOME_CANCELLED};
    for (size_t i = 0; i < 4; i++) {
        const uint32_t job = queued(1);
        const uint64_t token = running(job);
        STEP(CANCEL, .job = job);
        assert_int_equal(r.cancel, RD_CANCEL_STOPPING);
        assert_int_equal(r.count, 2);
        assert_int_equal(r.actions[0].kind, RD_ACT_STOP);
        assert_int_equal(r.actions[0].token, token);
        assert_int_equal(r.actions[1].kind, RD_ACT_WRITE_CANCEL);
        STEP(CANCEL, .job = job);
        assert_int_equal(r.cancel, RD_CANCEL_STOPPING);
        assert_int_equal(r.count, 0);
        STEP(DONE, .job = job, .token = token, .outcome = outcomes[i], .device_ns = 5);
        assert_int_equal(only(RD_ACT_WRITE_END, job)->end, RD_END_CANCELLED);
        assert_int_equal(r.actions[0].device_ns, 5);
        STEP(SLOT, .backend = 1);
        STEP(ENDED, .job = job);
    }
}

static void patience_with_an_engine_ends(void **state)
{
    (void)state;
    const uint32_t job = queued(1);
    const uint64_t token = running(job);
    STEP(CANCEL, .job = job);
    for (int i = 0; i < 4; i++) { /* it is alive, but does not stop */
        now += 5 * SECOND - 1;
        STEP(HEARTBEAT, .job = job, .token = token);
        assert_int_equal(state_of(job), RD_JOB_STOPPING);
    }
    now += 4;
    STEP(TICK, .job = 0);
    assert_int_equal(only(RD_ACT_WRITE_END, job)->end, RD_END_CANCELLED);
    STEP(ENDED, .job = job);
    const uint32_t next = queued(1);
    assert_int_equal(state_of(next), RD_JOB_QUEUED); /* its slot is not free */
    STEP(DONE, .job = job, .token = token, .outcome = RD_OUTCOME_OK);
    assert_true(r.stale);
    STEP(SLOT, .backend = 1);
    assert_int_equal(state_of(next), RD_JOB_QUEUED); /* it has to prove ready first */
    backend(1, 1, 1);
    assert_int_equal(state_of(next), RD_JOB_LEASING);
}

static uint32_t queued_with_ttl(uint64_t ttl_ns)
{
    STEP(SUBMIT, .tenant = 1, .class_ = 1, .lane = RD_LANE_NORMAL, .ttl_ns = ttl_ns);
    const uint32_t job = r.job;
    STEP(DURABLE, .job = job);
    return job;
}

static void a_ttl_ends_what_has_no_engine(void **state)
{
    (void)state;
    const uint32_t run = queued_with_ttl(5 * SECOND);
    const uint64_t token = running(run);
    const uint32_t waits = queued_with_ttl(5 * SECOND);
    now += 5 * SECOND - 1;
    STEP(TICK, .job = 0);
    assert_int_equal(state_of(waits), RD_JOB_QUEUED);
    now += 1;
    STEP(TICK, .job = 0);
    assert_int_equal(only(RD_ACT_WRITE_END, waits)->end, RD_END_EXPIRED);
    assert_int_equal(state_of(run), RD_JOB_RUNNING);
    STEP(DONE, .job = run, .token = token, .outcome = RD_OUTCOME_FAILED_AGAIN);
    assert_int_equal(only(RD_ACT_WRITE_END, run)->end, RD_END_ERROR); /* no time for another try */
    STEP(SLOT, .backend = 1);

    const uint32_t pauses = queued_with_ttl(SECOND / 2);
    STEP(DONE, .job = pauses, .token = running(pauses), .outcome = RD_OUTCOME_FAILED_AGAIN);
    assert_int_equal(r.next_ns, now + SECOND / 2);
    now += SECOND / 2;
    STEP(TICK, .job = 0);
    assert_int_equal(only(RD_ACT_WRITE_END, pauses)->end, RD_END_EXPIRED);
    STEP(SLOT, .backend = 1);

    const uint32_t leasing = queued_with_ttl(SECOND);
    assert_int_equal(state_of(leasing), RD_JOB_LEASING);
    now += SECOND;
    STEP(TICK, .job = 0);
    assert_int_equal(only(RD_ACT_WRITE_END, leasing)->end, RD_END_EXPIRED);
    const uint32_t next = queued_with_ttl(UINT64_MAX); /* never ends, and does not wrap around */
    assert_int_equal(state_of(next), RD_JOB_LEASING);
}

static uint32_t taken_now(uint32_t tenant)
{
    STEP(SUBMIT, .tenant = tenant, .class_ = 1, .lane = RD_LANE_NORMAL, .now_only = true);
    assert_int_equal(r.admit, RD_ADMIT_OK);
    assert_int_equal(only(RD_ACT_RUN, r.job)->backend, 1);
    return r.job;
}

static void a_run_of_the_sync_tier(void **state)
{
    (void)state;
    uint32_t job = taken_now(1);
    assert_int_equal(state_of(job), RD_JOB_RUNNING);
    STEP(SUBMIT, .tenant = 1, .class_ = 1, .lane = RD_LANE_NORMAL, .now_only = true);
    assert_int_equal(r.admit, RD_ADMIT_NO_SLOT);
    STEP(DONE, .job = job, .token = look(job).token, .outcome = RD_OUTCOME_FAILED_AGAIN,
         .device_ns = 9);
    assert_int_equal(only(RD_ACT_FREE, job)->end, RD_END_ERROR);
    assert_int_equal(r.actions[0].device_ns, 9);
    assert_int_equal(state_of(job), RD_JOB_FREE);
    STEP(SLOT, .backend = 1);

    job = taken_now(1);
    STEP(CANCEL, .job = job);
    assert_int_equal(r.cancel, RD_CANCEL_STOPPING);
    (void)only(RD_ACT_STOP, job);
    now += 20 * SECOND;
    STEP(TICK, .job = 0);
    assert_int_equal(only(RD_ACT_FREE, job)->end, RD_END_CANCELLED);
    STEP(SLOT, .backend = 1);
    backend(1, 1, 1); /* ready again: out of quarantine */

    job = taken_now(1);
    now += 10 * SECOND;
    STEP(TICK, .job = 0);
    assert_int_equal(r.count, 2);
    assert_int_equal(r.actions[0].kind, RD_ACT_STOP);
    assert_int_equal(r.actions[1].kind, RD_ACT_FREE);
    assert_int_equal(r.actions[1].end, RD_END_LOST);
}

static void a_run_is_adopted(void **state)
{
    (void)state;
    uint32_t job = taken_now(1);
    STEP(ADOPT, .job = job);
    assert_int_equal(r.job, job);
    assert_int_equal(r.count, 0);
    STEP(ADOPT, .job = job);
    assert_int_equal(r.job, 0);
    now += 10 * SECOND;
    STEP(TICK, .job = 0); /* an ordinary job: its lease is lost, it will be repeated */
    assert_int_equal(r.count, 2);
    assert_int_equal(r.actions[1].kind, RD_ACT_RETRY);
    STEP(SLOT, .backend = 1);
    now += 2 * SECOND;
    STEP(TICK, .job = 0);
    assert_int_equal(only(RD_ACT_WRITE_LEASE, job)->attempt, 2);
    STEP(DONE, .job = job, .token = running(job), .outcome = RD_OUTCOME_OK);
    assert_int_equal(only(RD_ACT_WRITE_END, job)->end, RD_END_COMPLETE);
    STEP(SLOT, .backend = 1);
    STEP(ADOPT, .job = job);
    assert_int_equal(r.job, 0);

    job = taken_now(1);
    STEP(CANCEL, .job = job);
    STEP(ADOPT, .job = job); /* the wish to cancel comes along */
    assert_int_equal(r.job, job);
    (void)only(RD_ACT_WRITE_CANCEL, job);
    STEP(DONE, .job = job, .token = look(job).token, .outcome = RD_OUTCOME_OK);
    assert_int_equal(only(RD_ACT_WRITE_END, job)->end, RD_END_CANCELLED);
}

static void rows_after_a_restart(void **state)
{
    (void)state;
    limits(1, (struct rd_tenant_limits){.rate = {0, 0}, .depth = 1}); /* are not asked */
    STEP(BACKEND, .backend = 1, .slots = 1, .ready = false);
    uint32_t jobs[5];
    for (uint32_t i = 0; i < 5; i++) {
        STEP(RESTORE, .tenant = i == 0 ? 9 : 1, .class_ = 1, .lane = RD_LANE_NORMAL, .units = 1,
             .attempt = i == 3 ? 4 : i == 1, .cancel = i == 4, .ttl_ns = i == 2);
        assert_int_equal(r.admit, RD_ADMIT_OK);
        jobs[i] = r.job;
    }
    assert_int_equal(only(RD_ACT_WRITE_END, jobs[4])->end, RD_END_CANCELLED);
    assert_int_equal(state_of(jobs[3]), RD_JOB_ENDING); /* LOST: leased four times */
    assert_int_equal(look(jobs[1]).position, 2);
    now += 1;
    STEP(TICK, .job = 0);
    assert_int_equal(only(RD_ACT_WRITE_END, jobs[2])->end, RD_END_EXPIRED);
    STEP(BACKEND, .backend = 1, .slots = 2, .ready = true);
    assert_int_equal(r.count, 2);
    assert_int_equal(look(jobs[0]).attempt, 1);
    assert_int_equal(look(jobs[1]).attempt, 2);
}

/* A result of a run from before the restart fits no lease of after it. */
static void tokens_go_on_after_a_restart(void **state)
{
    (void)state;
    const struct rd_queue_config config = {.attempts_max = 4, .token_last = 77};
    queue = rd_queue_init(queue, &config);
    const uint32_t job = queued(1);
    assert_int_equal(look(job).token, 78);
    (void)leased(job);
    STEP(DONE, .job = job, .token = 1, .outcome = RD_OUTCOME_OK);
    assert_true(r.stale);
    assert_int_equal(state_of(job), RD_JOB_RUNNING);
}

static void more_actions_than_room(void **state)
{
    (void)state;
    STEP(BACKEND, .backend = 1, .slots = 1, .ready = false);
    for (int i = 0; i < 500; i++) {
        (void)queued_with_ttl(i < 250 ? SECOND : 0);
    }
    now += SECOND;
    uint32_t ends = 0;
    uint32_t steps = 0;
    do {
        STEP(TICK, .job = 0);
        ends += (uint32_t)r.count;
        steps++;
        assert_in_range(r.count, 0, RD_QUEUE_ACTIONS_MAX);
        assert_int_equal(r.next_ns, r.more ? now : UINT64_MAX);
    } while (r.more);
    assert_int_equal(ends, 250);
    assert_in_range(steps, 4, 6);
    STEP(BACKEND, .backend = 1, .slots = 1000, .ready = true);
    for (ends = (uint32_t)r.count; r.more; ends += (uint32_t)r.count) {
        STEP(TICK, .job = 0);
    }
    assert_int_equal(ends, 250);
}

static void a_clock_that_stands_still_or_goes_back(void **state)
{
    (void)state;
    const uint32_t job = queued(1);
    const uint64_t token = running(job);
    now -= 500 * SECOND;
    STEP(HEARTBEAT, .job = job, .token = token);
    assert_int_equal(r.next_ns, now + 510 * SECOND);
    STEP(TICK, .job = 0);
    now += 509 * SECOND;
    STEP(TICK, .job = 0);
    assert_int_equal(r.count, 0);
    now += SECOND;
    STEP(TICK, .job = 0);
    assert_int_equal(r.count, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_job_from_submit_to_its_end),
        TEST(what_does_not_fit_changes_nothing),
        TEST(numbers_out_of_range_are_nothing),
        TEST(a_row_that_is_lost_is_a_job_that_never_was),
        TEST(a_lease_that_cannot_be_written),
        TEST(a_lease_runs_out_and_the_late_result_is_dropped),
        TEST(a_heartbeat_that_comes_late_but_comes),
        TEST(a_lease_lost_too_often),
        TEST(failures_are_repeated_with_growing_waits),
        TEST(a_wait_has_a_longest),
        TEST(a_configuration_that_makes_no_sense),
        TEST(failures_that_are_final),
        TEST(cancel_before_there_is_an_engine),
        TEST(cancel_of_a_run),
        TEST(patience_with_an_engine_ends),
        TEST(a_ttl_ends_what_has_no_engine),
        TEST(a_run_of_the_sync_tier),
        TEST(a_run_is_adopted),
        TEST(rows_after_a_restart),
        TEST(tokens_go_on_after_a_restart),
        TEST(more_actions_than_room),
        TEST(a_clock_that_stands_still_or_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
