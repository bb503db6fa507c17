/* SPDX-License-Identifier: Apache-2.0
 *
 * Who watches is told everything once and in order; who is slow is told how much was missed; who
 * comes back gets what is still kept; the end is always told. */
#include "fixture.h"

struct seen {
    uint64_t id;
    char name[12], data[300];
    unsigned missed;
    bool last;
};

struct watcher {
    struct seen events[512];
    size_t count;
    size_t refuse; /* so many more events are not taken */
    size_t refused;
};

static bool on_event(void *ctx, const struct rd_jobs_event *event)
{
    struct watcher *watcher = ctx;
    pthread_mutex_lock(&fake.lock);
    bool take = watcher->refuse == 0;
    watcher->refuse -= take ? 0 : 1;
    watcher->refused += take ? 0 : 1;
    if (take) {
        assert_true(watcher->count < 512);
        struct seen *seen = &watcher->events[watcher->count++];
        seen->id = event->id;
        seen->missed = event->missed;
        seen->last = event->last;
        (void)snprintf(seen->name, sizeof seen->name, "%s", event->name);
        (void)snprintf(seen->data, sizeof seen->data, "%s", event->data);
    }
    fake_change();
    pthread_mutex_unlock(&fake.lock);
    return take;
}

static void await_events(struct watcher *watcher, size_t count)
{
    pthread_mutex_lock(&fake.lock);
    await_size(&watcher->count, count);
    pthread_mutex_unlock(&fake.lock);
}

static struct rd_jobs_watch *watch(const char *id, uint64_t after, struct watcher *watcher)
{
    struct rd_jobs_watch *made = NULL;
    memset(watcher, 0, sizeof *watcher);
    assert_int_equal(rd_jobs_watch(jobs, 1, id, after, on_event, watcher, &made), RD_OK);
    return made;
}

static void previews(const struct fake_run *run, unsigned count)
{
    char text[64];
    for (unsigned i = 0; i < count; i++) {
        int len = snprintf(text, sizeof text, "data:%u", i);
        rd_jobs_preview(jobs, &run->slot, text, (size_t)len);
    }
}

static void check_order(const struct watcher *watcher)
{
    for (size_t i = 1; i < watcher->count; i++) {
        assert_true(watcher->events[i].id > watcher->events[i - 1].id);
        assert_false(watcher->events[i - 1].last);
    }
}

static struct watcher one;
static struct watcher two;

static void test_everything_once_and_in_order(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    struct told told = submit(1);
    struct fake_run run = await_run(1);
    struct rd_jobs_watch *watching = watch(told.id, 0, &one);
    assert_string_equal(one.events[0].name, "started"); /* from inside the call */
    assert_string_equal(one.events[0].data, "{\"attempt\":1}");
    assert_true(rd_jobs_watched(jobs, &run.slot));
    rd_jobs_progress(jobs, &run.slot, 0.5, 2);
    previews(&run, 3);
    finish(&run, RD_OUTCOME_OK, RD_OK);
    await_events(&one, 6);
    check_order(&one);
    assert_string_equal(one.events[1].data, "{\"progress\":0.5000,\"step\":2}");
    assert_string_equal(one.events[4].data, "{\"frame\":\"data:2\"}");
    assert_true(one.events[5].last);
    assert_string_equal(one.events[5].name, "complete");
    rd_jobs_unwatch(jobs, watching);
    /* Afterwards: the end alone, and to those who come back what they have not seen. */
    assert_null(watch(told.id, 0, &two));
    assert_int_equal(two.count, 1);
    assert_int_equal(two.events[0].id, one.events[5].id);
    assert_null(watch(told.id, one.events[5].id, &two));
    assert_int_equal(two.count, 1); /* also when it is known already */
    assert_null(watch(told.id, one.events[0].id, &two));
    assert_int_equal(two.count, 2);
    assert_string_equal(two.events[0].name, "progress");
    assert_string_equal(two.events[1].name, "complete");
    assert_int_equal(rd_jobs_watch(jobs, 2, told.id, 0, on_event, &two, &watching),
                     RD_ERR_NOT_FOUND);
}

static void test_the_slow_are_told_what_they_missed(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    struct told told = submit(1);
    struct fake_run run = await_run(1);
    struct rd_jobs_watch *watching = watch(told.id, 0, &one);
    one.refuse = 5;
    previews(&run, 7);
    assert_int_equal(one.count, 3);
    assert_int_equal(one.events[1].missed, 5);
    assert_string_equal(one.events[1].data, "{\"frame\":\"data:5\"}");
    assert_int_equal(one.events[2].missed, 0);
    /* The end is offered until it is taken. */
    one.refuse = 3;
    finish(&run, RD_OUTCOME_FAILED, RD_ERR_INVALID_REQUEST);
    await_events(&one, 4);
    assert_int_equal(one.refused, 8);
    assert_true(one.events[3].last);
    assert_string_equal(one.events[3].name, "error");
    check_order(&one);
    rd_jobs_unwatch(jobs, watching);
}

static void test_only_so_many_are_kept(void **state)
{
    (void)state;
    enum { MORE = 20 };
    store = jobs_open();
    jobs_start(1);
    struct told told = submit(1);
    struct fake_run run = await_run(1);
    struct rd_jobs_watch *watching = watch(told.id, 0, &one);
    previews(&run, RD_JOBS_EVENTS_KEPT + MORE);
    struct rd_jobs_watch *late = watch(told.id, one.events[0].id, &two);
    assert_int_equal(two.count, 1); /* of previews the newest */
    assert_string_equal(two.events[0].data, one.events[one.count - 1].data);
    assert_true(two.events[0].missed >= MORE);
    rd_jobs_unwatch(jobs, late);
    late = watch(told.id, one.events[one.count - 1].id, &two);
    assert_int_equal(two.count, 0);
    previews(&run, 1);
    assert_int_equal(two.events[0].missed, 0);
    rd_jobs_unwatch(jobs, late);
    rd_jobs_unwatch(jobs, watching);
    assert_false(rd_jobs_watched(jobs, &run.slot));
    finish(&run, RD_OUTCOME_OK, RD_OK);
}

static void test_too_large_a_preview_is_left_out(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    struct told told = submit(1);
    struct fake_run run = await_run(1);
    struct rd_jobs_watch *watching = watch(told.id, 0, &one);
    char *large = rd_mem_alloc(RD_JOBS_EVENT_MAX);
    assert_non_null(large);
    memset(large, 'x', RD_JOBS_EVENT_MAX);
    rd_jobs_preview(jobs, &run.slot, large, RD_JOBS_EVENT_MAX);
    rd_mem_free(large);
    assert_int_equal(one.count, 1);
    rd_jobs_unwatch(jobs, watching);
    finish(&run, RD_OUTCOME_OK, RD_OK);
}

static void last_of(void *ctx, const struct rd_job_row *row)
{
    rd_job_last_event(row, "http://here", on_event, ctx);
}

/* The end from the store is the end from memory, and comes after all that an earlier process told.
 */
static void test_the_end_is_the_same_from_the_store(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    struct told told = submit(1);
    (void)await_run(1);
    struct rd_jobs_watch *watching = watch(told.id, 0, &one);
    uint64_t before = one.events[0].id;
    rd_jobs_unwatch(jobs, watching);
    jobs_again(1);
    struct fake_run run = await_run(1);
    watching = watch(told.id, before, &one);
    finish(&run, RD_OUTCOME_OK, RD_OK);
    await_events(&one, 2);
    assert_string_equal(one.events[0].data, "{\"attempt\":2}");
    assert_true(one.events[0].id > before);
    check_order(&one);
    rd_jobs_unwatch(jobs, watching);
    memset(&two, 0, sizeof two);
    assert_int_equal(rd_store_job_get(store, 1, told.id, last_of, &two), RD_OK);
    assert_int_equal(two.events[0].id, one.events[1].id);
    assert_string_equal(two.events[0].data, one.events[1].data);
    assert_true(two.events[0].last);
}

/* A job that somebody still watches may be forgotten by everybody else, not by the watcher. */
static void test_positions(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(0);
    struct told first = submit(1);
    struct told second = submit(1);
    struct rd_jobs_watch *watching = watch(second.id, 0, &one);
    assert_int_equal(one.count, 1);
    assert_string_equal(one.events[0].data, "{\"position\":2,\"eta_seconds\":null}");
    struct told cancelled = {0};
    assert_int_equal(rd_jobs_cancel(jobs, 1, first.id, true, on_done, &cancelled), RD_OK);
    await_events(&one, 2);
    assert_string_equal(one.events[1].data, "{\"position\":1,\"eta_seconds\":null}");
    cancelled.count = 0;
    assert_int_equal(rd_jobs_cancel(jobs, 1, second.id, true, on_done, &cancelled), RD_OK);
    await_events(&one, 3);
    assert_string_equal(one.events[2].name, "error");
    check_order(&one);
    rd_jobs_unwatch(jobs, watching);
}

#define T(name) cmocka_unit_test_setup_teardown(name, jobs_setup, jobs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_everything_once_and_in_order),
        T(test_the_slow_are_told_what_they_missed),
        T(test_only_so_many_are_kept),
        T(test_too_large_a_preview_is_left_out),
        T(test_the_end_is_the_same_from_the_store),
        T(test_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
