/* SPDX-License-Identifier: Apache-2.0
 *
 * The driver with a real store and a host that does nothing by itself: getting in, running, ending,
 * cancelling, becoming a job, shutting down and coming back. */
#include "fixture.h"

static void test_from_submission_to_end(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    struct told told = submit(1);
    assert_int_equal(told.err, RD_OK);
    assert_false(told.existing);
    struct fake_run run = await_run(1);
    assert_string_equal(run.id, told.id);
    assert_true(says(told.id, "\"status\":\"running\""));
    assert_int_equal(stored(told.id).row.status, RD_STATUS_RUNNING);
    finish(&run, RD_OUTCOME_OK, RD_OK);
    await_says(told.id, "\"status\":\"complete\"");
    assert_true(says(told.id, "\"gpu_seconds\":1.500000000"));
    assert_true(says(told.id, "\"output\":\"http://here/a/a_0000"));
    struct kept kept = stored(told.id);
    assert_int_equal(kept.row.status, RD_STATUS_COMPLETE);
    assert_int_equal(kept.row.attempt, 1);
    assert_int_equal(kept.row.device_ns, 1500000000);
}

/* Nothing is told of an end before it is on the disk. */
static void test_an_end_is_durable_before_it_is_told(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    struct told told = submit(1);
    struct fake_run run = await_run(1);
    gate(true, RD_OK);
    finish(&run, RD_OUTCOME_OK, RD_OK);
    assert_true(says(told.id, "\"status\":\"running\""));
    assert_true(says(told.id, "\"output\":null"));
    gate(false, RD_OK);
    await_says(told.id, "\"status\":\"complete\"");
}

static void test_retries_until_attempts_are_used_up(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    struct told told = submit(1);
    for (size_t attempt = 1; attempt <= 4; attempt++) {
        struct fake_run run = await_run(attempt);
        finish(&run, RD_OUTCOME_FAILED_AGAIN, RD_ERR_BACKEND_FAILED);
    }
    await_says(told.id, "\"status\":\"error\"");
    assert_true(says(told.id, "\"code\":\"backend_failed\""));
    assert_true(says(told.id, "\"attempts\":4"));
}

/* What a run says that is not the job's any more changes nothing. */
static void test_a_late_result_is_dropped(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    struct told told = submit(1);
    struct fake_run first = await_run(1);
    finish(&first, RD_OUTCOME_FAILED_AGAIN, RD_ERR_BACKEND_FAILED);
    struct fake_run second = await_run(2);
    const struct rd_jobs_outcome late = {.outcome = RD_OUTCOME_OK, .assets = "[]"};
    (void)rd_jobs_done(jobs, &first.slot, &late, NULL);
    rd_jobs_progress(jobs, &first.slot, 0.75, 3);
    assert_int_equal(rd_jobs_attach(jobs, &first.slot, stop, NULL), RD_ERR_CANCELLED);
    assert_false(rd_jobs_watched(jobs, &first.slot));
    assert_true(says(told.id, "\"status\":\"running\",\"progress\":0,"));
    finish(&second, RD_OUTCOME_FAILED, RD_ERR_INVALID_REQUEST);
    await_says(told.id, "\"status\":\"error\"");
}

/* ---- cancelling ---- */

static void test_cancelling(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    struct told running = submit(1);
    struct fake_run run = await_run(1);
    struct told queued = submit(1);
    struct told cancelled = {0};
    assert_int_equal(rd_jobs_cancel(jobs, 2, queued.id, false, on_done, &cancelled),
                     RD_ERR_NOT_FOUND);
    assert_int_equal(rd_jobs_cancel(jobs, 1, running.id, true, on_done, &cancelled),
                     RD_ERR_CONFLICT);
    assert_int_equal(rd_jobs_cancel(jobs, 1, queued.id, true, on_done, &cancelled), RD_OK);
    await_told(&cancelled);
    assert_int_equal(cancelled.err, RD_OK);
    assert_int_equal(stored(queued.id).row.status, RD_STATUS_CANCELLED);
    assert_int_equal(rd_jobs_cancel(jobs, 1, queued.id, false, on_done, &cancelled),
                     RD_ERR_CONFLICT);
    /* Three want the running one cancelled: all are told, its engine is stopped once. */
    assert_int_equal(rd_jobs_attach(jobs, &run.slot, stop, NULL), RD_OK);
    struct told wishes[3] = {{0}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(rd_jobs_cancel(jobs, 0, running.id, false, on_done, &wishes[i]), RD_OK);
    }
    for (size_t i = 0; i < 3; i++) {
        await_told(&wishes[i]);
        assert_int_equal(wishes[i].err, RD_OK);
    }
    assert_int_equal(fake.stops, 1);
    assert_true(stored(running.id).row.cancel);
    finish(&run, RD_OUTCOME_OK, RD_OK); /* it was done, but too late */
    await_says(running.id, "\"status\":\"cancelled\"");
    assert_true(says(running.id, "\"output\":null"));
    assert_true(says(running.id, "\"gpu_seconds\":1.5"));
}

/* Asked for while its end was being written: told that it was too late. */
static void test_cancelling_what_is_about_to_end(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    struct told told = submit(1);
    struct told cancelled = {0};
    struct fake_run run = await_run(1);
    gate(true, RD_OK);
    finish(&run, RD_OUTCOME_OK, RD_OK);
    assert_int_equal(rd_jobs_cancel(jobs, 1, told.id, false, on_done, &cancelled), RD_ERR_CONFLICT);
    gate(false, RD_OK);
    await_says(told.id, "\"status\":\"complete\"");
    assert_int_equal(cancelled.count, 0);
}

/* ---- the sync tier ---- */

static void test_a_run_becomes_a_job(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    const struct rd_jobs_ask ask = ask_of(1);
    const struct rd_job_write add = new_job(1);
    struct rd_jobs_limits limits;
    struct fake_run run = {.id = ""};
    struct told told = {0};
    assert_int_equal(rd_jobs_take(jobs, &ask, &run.slot, &limits), RD_ADMIT_OK);
    struct rd_jobs_slot second;
    assert_int_equal(rd_jobs_take(jobs, &ask, &second, &limits), RD_ADMIT_NO_SLOT);
    assert_int_equal(rd_jobs_adopt(jobs, &run.slot, &ask, &add, on_created, &told), RD_OK);
    await_told(&told);
    assert_int_equal(told.err, RD_OK);
    struct kept kept = stored(told.id);
    assert_string_equal(kept.request, REQUEST);
    assert_int_equal(kept.row.status, RD_STATUS_RUNNING);
    assert_int_equal(kept.row.attempt, 1);
    assert_string_equal(kept.backend, "box");
    finish(&run, RD_OUTCOME_OK, RD_OK);
    await_says(told.id, "\"status\":\"complete\"");
    assert_int_equal(rd_jobs_adopt(jobs, &run.slot, &ask, &add, on_created, &told),
                     RD_ERR_NOT_FOUND);
}

static void test_a_run_that_is_over_is_forgotten(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(2);
    const struct rd_jobs_ask ask = ask_of(1);
    const struct rd_job_write add = new_job(1);
    struct rd_jobs_limits limits;
    struct told told = {0};
    struct fake_run run = {.id = ""};
    for (int i = 0; i < 10; i++) {
        assert_int_equal(rd_jobs_take(jobs, &ask, &run.slot, &limits), RD_ADMIT_OK);
        assert_int_equal(rd_jobs_backend_taken(jobs, run.slot.backend), 1);
        finish(&run, RD_OUTCOME_OK, RD_OK);
        assert_int_equal(rd_jobs_running(jobs), 0);
    }
    assert_int_equal(rd_jobs_adopt(jobs, &run.slot, &ask, &add, on_created, &told),
                     RD_ERR_NOT_FOUND);
    assert_int_equal(told.count, 0);
    assert_int_equal(fake.changes, 0); /* nothing of it was ever written */
}

/* ---- the end of a process, and the next ---- */

static void test_jobs_come_back(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    struct told running = submit(1);
    (void)await_run(1);
    struct told queued = submit(1);
    jobs_again(2);
    assert_true(rd_jobs_visible(jobs, 1, queued.id));
    assert_false(rd_jobs_visible(jobs, 2, queued.id));
    struct fake_run first = await_run(1);
    struct fake_run second = await_run(2);
    assert_string_equal(first.id, running.id); /* in the order of acceptance */
    assert_true(says(running.id, "\"attempts\":2"));
    assert_true(says(queued.id, "\"attempts\":1"));
    finish(&first, RD_OUTCOME_OK, RD_OK);
    finish(&second, RD_OUTCOME_OK, RD_OK);
    await_says(queued.id, "\"status\":\"complete\"");
    await_says(running.id, "\"status\":\"complete\"");
}

/* Broken off by a shutdown on its last attempt: it has that attempt again. */
static void test_a_shutdown_costs_no_attempt(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    struct told told = submit(1);
    for (size_t attempt = 1; attempt <= 3; attempt++) {
        struct fake_run run = await_run(attempt);
        finish(&run, RD_OUTCOME_FAILED_AGAIN, RD_ERR_BACKEND_FAILED);
    }
    struct fake_run last = await_run(4);
    assert_int_equal(rd_jobs_attach(jobs, &last.slot, stop, NULL), RD_OK);
    rd_jobs_drain(jobs);
    rd_jobs_break_off(jobs);
    assert_int_equal(fake.stops, 1);
    finish(&last, RD_OUTCOME_CANCELLED, RD_ERR_CANCELLED);
    assert_int_equal(rd_jobs_running(jobs), 0);
    struct told late = {0};
    assert_int_not_equal(submit_later(1, NULL, &late), RD_ADMIT_OK);
    jobs_again(1);
    assert_int_equal(stored(told.id).row.status, RD_STATUS_RUNNING);
    struct fake_run again = await_run(1);
    assert_true(says(told.id, "\"attempts\":4"));
    finish(&again, RD_OUTCOME_OK, RD_OK);
    await_says(told.id, "\"status\":\"complete\"");
}

/* A run that has not said yet how it is stopped is broken off as soon as it does. */
static void test_a_shutdown_meets_a_run_that_is_being_made(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    (void)submit(1);
    struct fake_run run = await_run(1);
    rd_jobs_drain(jobs);
    rd_jobs_break_off(jobs);
    assert_int_equal(rd_jobs_attach(jobs, &run.slot, stop, NULL), RD_ERR_CANCELLED);
    finish(&run, RD_OUTCOME_CANCELLED, RD_ERR_CANCELLED);
    assert_int_equal(rd_jobs_running(jobs), 0);
}

static void test_a_wish_to_cancel_comes_back(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    struct told told = submit(1);
    struct told cancelled = {0};
    (void)await_run(1);
    assert_int_equal(rd_jobs_cancel(jobs, 1, told.id, false, on_done, &cancelled), RD_OK);
    await_told(&cancelled);
    jobs_again(1);
    await_says(told.id, "\"status\":\"cancelled\"");
    assert_int_equal(fake.runs_count, 0);
}

/* ---- limits, keys, memory ---- */

static void test_limits(void **state)
{
    (void)state;
    store = jobs_open();
    fake.limits = (struct rd_tenant_limits){.rate = {1, 5}, .depth = 3};
    jobs_start(0);
    const struct rd_jobs_ask ask = ask_of(1);
    struct rd_jobs_ask high = ask;
    high.lane = RD_LANE_HIGH;
    struct rd_job_write add = new_job(1);
    struct rd_jobs_limits limits;
    struct told told = {0};
    for (int i = 0; i < 3; i++) {
        (void)submit(1);
    }
    assert_int_equal(rd_jobs_submit(jobs, &high, &add, on_created, &told, &limits), RD_ADMIT_LANE);
    assert_int_equal(rd_jobs_submit(jobs, &ask, &add, on_created, &told, &limits), RD_ADMIT_DEPTH);
    assert_int_equal(limits.burst, 5);
    assert_int_equal(limits.rate, 1);
    assert_int_equal(limits.left, 2); /* refusals gave back what they took */
    assert_true(limits.reset_s >= 2 && limits.reset_s <= 3);
    fake.limits = (struct rd_tenant_limits){.rate = {1, 1}};
    rd_jobs_reloaded(jobs);
    enum rd_admit admit = RD_ADMIT_OK;
    for (int i = 0; i < 3 && admit == RD_ADMIT_OK; i++) {
        admit = submit_later(1, NULL, &told);
    }
    assert_int_equal(admit, RD_ADMIT_RATE);
    for (int a = RD_ADMIT_RATE; a <= RD_ADMIT_NO_SLOT; a++) {
        const char *text = NULL;
        assert_int_not_equal(rd_jobs_refusal((enum rd_admit)a, &text), RD_OK);
    }
}

static void test_idempotency_keys(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(0);
    struct told first = {0};
    struct told second = {0};
    struct told other = {0};
    gate(true, RD_OK); /* both are on their way at once */
    assert_int_equal(submit_later(1, "k", &first), RD_ADMIT_OK);
    assert_int_equal(submit_later(1, "k", &second), RD_ADMIT_OK);
    assert_int_equal(submit_later(2, "k", &other), RD_ADMIT_OK);
    gate(false, RD_OK);
    await_told(&first);
    await_told(&second);
    await_told(&other);
    assert_false(first.existing);
    assert_true(second.existing);
    assert_string_equal(first.id, second.id);
    assert_string_not_equal(first.id, other.id);
    RD_AUTO_BUF struct rd_buf json;
    rd_buf_init(&json, RD_KIB(4));
    rd_jobs_queue_json(jobs, &json);
    assert_non_null(strstr(rd_buf_cstr(&json), "\"normal\":2"));
}

/* A key that has a job is answered with it when the tenant may submit nothing more. */
static void test_a_known_key_comes_before_the_limits(void **state)
{
    (void)state;
    store = jobs_open();
    fake.limits = (struct rd_tenant_limits){.rate = {0, 1}};
    jobs_start(0);
    struct told first = {0};
    struct told again = {0};
    struct told fresh = {0};
    struct told changed = {0};
    struct rd_jobs_limits limits;
    const struct rd_jobs_ask ask = ask_of(1);
    assert_int_equal(submit_later(1, "k", &first), RD_ADMIT_OK);
    await_told(&first);
    assert_int_equal(submit_later(1, NULL, &again), RD_ADMIT_RATE); /* no key: refused at once */
    assert_int_equal(submit_later(1, "k", &again), RD_ADMIT_OK);
    await_told(&again);
    assert_int_equal(again.err, RD_OK);
    assert_true(again.existing);
    assert_string_equal(again.id, first.id);
    struct rd_job_write add = new_job(1);
    add.idempotency_key = "k";
    add.body_hash[0] = 1;
    assert_int_equal(rd_jobs_submit(jobs, &ask, &add, on_created, &changed, &limits), RD_ADMIT_OK);
    await_told(&changed);
    assert_int_equal(changed.err, RD_ERR_CONFLICT);
    add.idempotency_key = "new";
    assert_int_equal(rd_jobs_submit(jobs, &ask, &add, on_created, &fresh, &limits), RD_ADMIT_OK);
    assert_int_equal(limits.burst, 1); /* what the refusal says */
    assert_int_equal(limits.left, 0);
    await_told(&fresh);
    assert_int_equal(fresh.err, RD_ERR_RATE_LIMITED);
    assert_int_equal(fresh.admit, RD_ADMIT_RATE);
    assert_string_equal(fresh.id, "");
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, RD_KIB(256));
    rd_jobs_metrics(jobs, &text); /* the one without a key, and the new one */
    assert_non_null(strstr(rd_buf_cstr(&text), "render_refused_total{reason=\"rate\"} 2\n"));
}

/* A job that waits for its next attempt is not listed as running. */
static void test_a_pause_is_in_the_row(void **state)
{
    (void)state;
    store = jobs_open();
    fake.retry_ns = (uint64_t)3600 * 1000000000;
    jobs_start(1);
    const struct told told = submit(1);
    struct fake_run run = await_run(1);
    assert_int_equal(stored(told.id).row.status, RD_STATUS_RUNNING);
    finish(&run, RD_OUTCOME_FAILED_AGAIN, RD_ERR_BACKEND_FAILED);
    await_says(told.id, "\"status\":\"queued\"");
    for (unsigned ms = 0; stored(told.id).row.status != RD_STATUS_QUEUED; ms++) {
        assert_true(ms < WAIT_MS);
        (void)usleep(1000);
    }
    jobs_again(1); /* a restart does not wait for the pause */
    run = await_run(1);
    assert_int_equal(stored(told.id).row.attempt, 2);
    finish(&run, RD_OUTCOME_OK, RD_OK);
    await_says(told.id, "\"status\":\"complete\"");
}

/* Only so many that have ended stay in memory; the others are the store's. */
static void test_ended_jobs_are_forgotten_by_the_memory(void **state)
{
    (void)state;
    enum { MORE = 10 };
    store = jobs_open();
    jobs_start(1);
    char first[RD_ID_MAX] = "";
    char last[RD_ID_MAX] = "";
    for (size_t n = 1; n <= RD_JOBS_ENDED_KEPT + MORE; n++) {
        struct told told = submit(1);
        struct fake_run run = await_run(n);
        (void)snprintf(n == MORE ? first : last, RD_ID_MAX, "%s", told.id);
        finish(&run, RD_OUTCOME_OK, RD_OK);
    }
    await_says(last, "\"status\":\"complete\"");
    assert_false(rd_jobs_visible(jobs, 1, first));
    assert_int_equal(stored(first).row.status, RD_STATUS_COMPLETE);
    char output[RD_ID_ASSET_LEN + 1];
    bool look = false;
    RD_AUTO_BUF struct rd_buf json;
    rd_buf_init(&json, RD_KIB(4));
    assert_int_equal(rd_jobs_get(jobs, 1, first, "", &json, output, &look), RD_ERR_NOT_FOUND);
    assert_true(look);
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, RD_KIB(64));
    rd_jobs_metrics(jobs, &text);
    assert_non_null(strstr(rd_buf_cstr(&text), "render_jobs_ended_total{end=\"complete\"} 1034\n"));
    assert_non_null(strstr(rd_buf_cstr(&text), "render_jobs_accepted_total 1034\n"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, jobs_setup, jobs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_from_submission_to_end),
        T(test_an_end_is_durable_before_it_is_told),
        T(test_retries_until_attempts_are_used_up),
        T(test_a_late_result_is_dropped),
        T(test_cancelling),
        T(test_cancelling_what_is_about_to_end),
        T(test_a_run_becomes_a_job),
        T(test_a_run_that_is_over_is_forgotten),
        T(test_jobs_come_back),
        T(test_a_shutdown_costs_no_attempt),
        T(test_a_shutdown_meets_a_run_that_is_being_made),
        T(test_a_wish_to_cancel_comes_back),
        T(test_limits),
        T(test_idempotency_keys),
        T(test_a_known_key_comes_before_the_limits),
        T(test_a_pause_is_in_the_row),
        T(test_ended_jobs_are_forgotten_by_the_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
