/* SPDX-License-Identifier: Apache-2.0
 *
 * Backends through the driver: what they serve, going on elsewhere, quarantine, and what is told of
 * them. */
#include "fixture.h"

static uint32_t more[2];

static void begin(uint32_t slots)
{
    store = jobs_open();
    jobs_start(slots);
}

static void three_backends(uint32_t slots)
{
    begin(slots);
    more[0] = add_backend("rack", slots);
    more[1] = add_backend("tower", slots);
    rd_jobs_reloaded(jobs);
}

static struct rd_jobs_slot take(void)
{
    const struct rd_jobs_ask ask = ask_of(1);
    struct rd_jobs_limits limits;
    struct rd_jobs_slot slot = {0};
    assert_int_equal(rd_jobs_take(jobs, &ask, &slot, &limits), RD_ADMIT_OK);
    return slot;
}

static bool failed(const struct rd_jobs_slot *slot, enum rd_verdict verdict,
                   struct rd_jobs_slot *ret_again)
{
    const struct rd_jobs_outcome outcome = {
        .outcome = RD_OUTCOME_FAILED_AGAIN, .verdict = verdict, .err = RD_ERR_BACKEND_FAILED};
    bool again = rd_jobs_done(jobs, slot, &outcome, ret_again);
    rd_jobs_slot_free(jobs, slot->backend);
    return again;
}

static void well(const struct rd_jobs_slot *slot)
{
    const struct rd_jobs_outcome outcome = {.outcome = RD_OUTCOME_OK, .verdict = RD_VERDICT_GOOD};
    struct rd_jobs_slot none;
    assert_false(rd_jobs_done(jobs, slot, &outcome, &none));
    rd_jobs_slot_free(jobs, slot->backend);
}

static bool backends_say(const char *text)
{
    RD_AUTO_BUF struct rd_buf json;
    rd_buf_init(&json, RD_KIB(64));
    rd_jobs_backends_json(jobs, &json);
    return strstr(rd_buf_cstr(&json), text) != NULL;
}

static void await_backends(const char *text)
{
    for (unsigned ms = 0; !backends_say(text); ms++) {
        assert_true(ms < WAIT_MS);
        (void)usleep(1000);
    }
}

static void test_a_sync_run_goes_on_elsewhere(void **state)
{
    (void)state;
    three_backends(2);
    struct rd_jobs_slot first = take();
    struct rd_jobs_slot second = {0};
    struct rd_jobs_slot third = {0};
    struct rd_jobs_slot none = {.job = 99};
    assert_true(failed(&first, RD_VERDICT_BAD, &second));
    assert_int_equal(second.job, first.job);
    assert_true(second.token > first.token);
    assert_int_not_equal(second.backend, first.backend);
    assert_int_equal(rd_jobs_backend_taken(jobs, first.backend), 0);
    assert_int_equal(rd_jobs_backend_taken(jobs, second.backend), 1);
    assert_true(failed(&second, RD_VERDICT_BAD, &third));
    assert_int_equal(third.backend, 1 + 2 + 3 - first.backend - second.backend);
    assert_false(failed(&third, RD_VERDICT_BAD, &none)); /* it has failed everywhere */
    assert_int_equal(none.job, 99);
    assert_int_equal(rd_jobs_running(jobs), 0);

    first = take(); /* the second time it works */
    assert_true(failed(&first, RD_VERDICT_BAD, &second));
    well(&second);

    first = take(); /* nobody is to blame, or the caller cannot start it again */
    assert_false(failed(&first, RD_VERDICT_SAYS_NOTHING, &none));
    first = take();
    assert_false(failed(&first, RD_VERDICT_BAD, NULL));
    assert_int_equal(rd_jobs_running(jobs), 0);
}

static void test_a_run_that_went_on_becomes_a_job(void **state)
{
    (void)state;
    struct told told = {.count = 0};
    three_backends(2);
    struct rd_jobs_slot first = take();
    struct rd_jobs_slot second = {0};
    assert_true(failed(&first, RD_VERDICT_BAD, &second));
    const struct rd_jobs_ask ask = ask_of(1);
    struct rd_job_write add = new_job(1);
    assert_int_equal(rd_jobs_adopt(jobs, &first, &ask, &add, on_created, &told), RD_ERR_NOT_FOUND);
    assert_int_equal(rd_jobs_adopt(jobs, &second, &ask, &add, on_created, &told), RD_OK);
    await_told(&told);
    assert_int_equal(stored(told.id).row.attempt, 2);
    struct rd_jobs_slot none = {.job = 99};
    assert_false(failed(&second, RD_VERDICT_BAD, &none)); /* the queue's now: host.run is told */
    assert_int_equal(none.job, 99);
    struct fake_run third = await_run(1);
    assert_int_equal(third.slot.backend, 1 + 2 + 3 - first.backend - second.backend);
    assert_string_equal(third.id, told.id);
    assert_int_equal(stored(told.id).row.attempt, 3);
    finish(&third, RD_OUTCOME_OK, RD_OK);
    await_says(told.id, "\"status\":\"complete\"");
}

static void test_a_job_goes_on_elsewhere(void **state)
{
    (void)state;
    three_backends(1);
    const struct told told = submit(1);
    struct fake_run first = await_run(1);
    assert_false(failed(&first.slot, RD_VERDICT_BAD, NULL));
    struct fake_run second = await_run(2);
    assert_int_not_equal(second.slot.backend, first.slot.backend);
    /* The end of the first, said twice, ends nothing. */
    assert_false(failed(&(struct rd_jobs_slot){first.slot.job, 0, first.slot.token, 0},
                        RD_VERDICT_BAD, NULL));
    finish(&second, RD_OUTCOME_OK, RD_OK);
    await_says(told.id, "\"attempts\":2");
    await_says(told.id, "\"status\":\"complete\"");
}

static void test_what_backends_serve(void **state)
{
    (void)state;
    fake.no_webp = 1u << 1; /* the box */
    three_backends(4);
    struct rd_jobs_ask ask = ask_of(1);
    struct rd_jobs_limits limits;
    struct rd_jobs_slot slots[9];
    ask.want.media = RD_MEDIA_WEBP;
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(rd_jobs_take(jobs, &ask, &slots[i], &limits), RD_ADMIT_OK);
        assert_int_not_equal(slots[i].backend, box);
    }
    assert_int_equal(rd_jobs_take(jobs, &ask, &slots[8], &limits), RD_ADMIT_NO_SLOT);
    ask.want.media = RD_MEDIA_PNG;
    assert_int_equal(rd_jobs_take(jobs, &ask, &slots[8], &limits), RD_ADMIT_OK);
    assert_int_equal(slots[8].backend, box);
    struct rd_jobs_slot none;
    ask.want.task = RD_TASK_EDIT;
    assert_int_equal(rd_jobs_take(jobs, &ask, &none, &limits), RD_ADMIT_NO_BACKEND);
    for (unsigned i = 0; i < 9; i++) {
        well(&slots[i]);
    }
}

/* The task is in the row: what waits over a restart goes only where it is served. */
static void test_a_restart_keeps_the_task(void **state)
{
    (void)state;
    begin(1);
    struct told told = {.count = 0};
    struct rd_jobs_ask ask = ask_of(1);
    struct rd_job_write add = new_job(1);
    struct rd_jobs_limits limits;
    ask.want.task = RD_TASK_I2I;
    add.row.task = RD_TASK_I2I;
    assert_int_equal(rd_jobs_submit(jobs, &ask, &add, on_created, &told, &limits), RD_ADMIT_OK);
    await_told(&told);
    assert_int_equal(fake.runs_count, 0);
    jobs_again(1);
    const struct told other = submit(1); /* behind it, and yet it runs */
    struct fake_run run = await_run(1);
    assert_string_equal(run.id, other.id);
    assert_int_equal(stored(told.id).row.task, RD_TASK_I2I);
}

static void test_a_deadline_is_told(void **state)
{
    (void)state;
    fake.deadline_ns = (uint64_t)3600 * 1000000000;
    begin(1);
    const uint64_t before = rd_clock_mono_ns();
    struct rd_jobs_slot slot = take();
    assert_in_range(slot.deadline_ns, before + fake.deadline_ns,
                    rd_clock_mono_ns() + fake.deadline_ns);
    well(&slot);
    (void)submit(1);
    struct fake_run first = await_run(1);
    assert_true(first.slot.deadline_ns > slot.deadline_ns);
    assert_false(failed(&first.slot, RD_VERDICT_SAYS_NOTHING, NULL));
    struct fake_run second = await_run(2);
    assert_true(second.slot.deadline_ns == first.slot.deadline_ns);
    finish(&second, RD_OUTCOME_OK, RD_OK);
}

static void test_quarantine(void **state)
{
    (void)state;
    fake.patience_ns = 1000000;
    begin(2);
    const struct told told = submit(1);
    struct told cancelled = {.count = 0};
    struct fake_run run = await_run(1);
    assert_int_equal(rd_jobs_cancel(jobs, 1, told.id, false, on_done, &cancelled), RD_OK);
    await_told(&cancelled);
    await_backends("\"quarantined\":true");
    struct rd_jobs_ask ask = ask_of(1);
    struct rd_jobs_limits limits;
    struct rd_jobs_slot slot;
    assert_int_equal(rd_jobs_take(jobs, &ask, &slot, &limits), RD_ADMIT_NOT_READY);
    pthread_mutex_lock(&fake.lock);
    fake.unready = 1u << box;
    pthread_mutex_unlock(&fake.lock);
    await_backends("\"ready\":false");
    finish(&run, RD_OUTCOME_CANCELLED, RD_ERR_CANCELLED);
    assert_true(backends_say("\"taken\":0") && backends_say("\"quarantined\":true"));
    pthread_mutex_lock(&fake.lock);
    fake.unready = 0;
    pthread_mutex_unlock(&fake.lock);
    await_backends("\"quarantined\":false");
    slot = take();
    well(&slot);
}

static void test_one_that_stayed_ready_leaves_quarantine(void **state)
{
    (void)state;
    fake.patience_ns = 1000000;
    begin(1);
    const struct told told = submit(1);
    struct told cancelled = {.count = 0};
    struct fake_run run = await_run(1);
    assert_int_equal(rd_jobs_cancel(jobs, 1, told.id, false, on_done, &cancelled), RD_OK);
    await_told(&cancelled);
    await_backends("\"quarantined\":true");
    finish(&run, RD_OUTCOME_CANCELLED, RD_ERR_CANCELLED);
    await_backends("\"quarantined\":false");
}

static void test_what_is_told_of_them(void **state)
{
    (void)state;
    begin(8);
    struct rd_jobs_slot slot = take();
    assert_true(
        backends_say("[{\"name\":\"box\",\"slots\":8,\"taken\":1,\"weight\":8,\"ready\":true,"
                     "\"quarantined\":false,\"breaker\":{\"state\":\"closed\",\"requests\":0,"
                     "\"failures\":0,\"retry_after_seconds\":null}}]"));
    well(&slot);
    for (unsigned i = 0; i < 9; i++) {
        slot = take();
        assert_false(failed(&slot, RD_VERDICT_BAD, NULL));
    }
    assert_true(backends_say("\"state\":\"open\",\"requests\":10,\"failures\":9,"
                             "\"retry_after_seconds\":"));
    assert_false(backends_say("null"));
    const struct rd_jobs_ask ask = ask_of(1);
    struct rd_jobs_limits limits;
    assert_int_equal(rd_jobs_take(jobs, &ask, &slot, &limits), RD_ADMIT_NOT_READY);
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, RD_KIB(256));
    rd_jobs_metrics(jobs, &text);
    static const char *const lines[] = {
        "render_backend_slots{backend=\"box\"} 8\n",
        "render_backend_slots_taken{backend=\"box\"} 0\n",
        "render_backend_ready{backend=\"box\"} 1\n",
        "render_backend_breaker_state{backend=\"box\"} 1\n",
        "render_backend_quarantined{backend=\"box\"} 0\n",
        "task=\"t2i\",media=\"png\"",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        assert_non_null(strstr(rd_buf_cstr(&text), lines[i]));
    }
    /* A reload that brings it back does not forget; one that is gone and idle is not told of. */
    const struct rd_jobs_backend gone = {.name = "box"};
    uint32_t number = 0;
    assert_int_equal(rd_jobs_backend(jobs, &gone, &number), RD_OK);
    rd_jobs_reloaded(jobs);
    assert_false(backends_say("box"));
    const struct rd_jobs_backend back = {.name = "box", .slots = 2, .weight = 5};
    assert_int_equal(rd_jobs_backend(jobs, &back, &number), RD_OK);
    assert_int_equal(number, box);
    rd_jobs_reloaded(jobs);
    assert_true(backends_say("\"slots\":2,\"taken\":0,\"weight\":5"));
    assert_true(backends_say("\"state\":\"open\""));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, jobs_setup, jobs_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_sync_run_goes_on_elsewhere),
        TEST(test_a_run_that_went_on_becomes_a_job),
        TEST(test_a_job_goes_on_elsewhere),
        TEST(test_what_backends_serve),
        TEST(test_a_restart_keeps_the_task),
        TEST(test_a_deadline_is_told),
        TEST(test_quarantine),
        TEST(test_one_that_stayed_ready_leaves_quarantine),
        TEST(test_what_is_told_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
