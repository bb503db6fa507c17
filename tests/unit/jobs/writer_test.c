/* SPDX-License-Identifier: Apache-2.0
 *
 * Durability: many share a sync, a full disk refuses what is new and holds what was promised, a
 * store that has failed stops everything. */
#include "fixture.h"

static void test_many_share_a_sync(void **state)
{
    (void)state;
    enum { MANY = 600 }; /* the largest batch is 512 */
    static struct told told[MANY + 1];
    memset(told, 0, sizeof told);
    store = jobs_open();
    jobs_start(0);
    gate(true, RD_OK);
    assert_int_equal(submit_later(1, NULL, &told[MANY]), RD_ADMIT_OK);
    pthread_mutex_lock(&fake.lock);
    await_size(&fake.batches, 1);
    pthread_mutex_unlock(&fake.lock);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(submit_later(1 + i % 2, NULL, &told[i]), RD_ADMIT_OK);
        assert_int_equal(told[i].count, 0); /* nobody is told before the sync */
    }
    gate(false, RD_OK);
    for (size_t i = 0; i <= MANY; i++) {
        await_told(&told[i]);
        assert_int_equal(told[i].err, RD_OK);
        assert_int_equal(stored(told[i].id).row.status, RD_STATUS_QUEUED);
    }
    assert_int_equal(fake.batches, 3);
    assert_int_equal(fake.largest, 512);
}

static void test_a_full_disk(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(2);
    struct told done = submit(1);
    struct told stopped = submit(1);
    struct fake_run first = await_run(1);
    (void)await_run(2);
    struct told queued = submit(1);
    gate(false, RD_ERR_DISK_FULL);
    struct told refused = {0};
    assert_int_equal(submit_later(1, NULL, &refused), RD_ADMIT_OK);
    await_told(&refused);
    assert_int_equal(refused.err, RD_ERR_DISK_FULL);
    assert_string_equal(refused.id, "");
    struct told cancelled = {0};
    finish(&first, RD_OUTCOME_OK, RD_OK);
    assert_int_equal(rd_jobs_cancel(jobs, 1, stopped.id, false, on_done, &cancelled), RD_OK);
    await_told(&cancelled); /* nobody is kept waiting for somebody to clear the disk */
    assert_int_equal(cancelled.err, RD_ERR_DISK_FULL);
    pthread_mutex_lock(&fake.lock);
    await_size(&fake.batches, fake.batches + 1); /* it was tried again */
    pthread_mutex_unlock(&fake.lock);
    assert_true(says(done.id, "\"status\":\"running\""));
    gate(false, RD_OK);
    await_says(done.id, "\"status\":\"complete\"");
    assert_true(stored(stopped.id).row.cancel); /* the wish was held */
    assert_int_equal(stored(done.id).row.status, RD_STATUS_COMPLETE);
    assert_string_equal(await_run(3).id, queued.id); /* its lease was held too */
    assert_int_equal(submit(1).err, RD_OK);
    assert_int_equal(fake.broken, 0);
}

/* A shutdown does not wait for somebody to clear the disk. */
static void test_a_shutdown_on_a_full_disk(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    struct told first = submit(1);
    struct fake_run run = await_run(1);
    struct told second = submit(1);
    gate(false, RD_ERR_DISK_FULL);
    size_t before = fake.batches;
    finish(&run, RD_OUTCOME_OK, RD_OK); /* its end is held, and the other one's lease */
    pthread_mutex_lock(&fake.lock);
    await_size(&fake.batches, before + 1);
    pthread_mutex_unlock(&fake.lock);
    rd_jobs_drain(jobs);
    for (unsigned ms = 0; rd_jobs_running(jobs) > 0; ms++) {
        assert_true(ms < WAIT_MS);
        (void)usleep(1000);
    }
    jobs_stop();
    gate(false, RD_OK);
    fake.runs_count = 0;
    jobs_start(2);
    assert_string_equal(await_run(1).id, first.id); /* its end was never told, so it runs again */
    assert_string_equal(await_run(2).id, second.id);
}

/* A lease that cannot be written is given up; the job keeps its place and its attempts. */
static void test_a_lease_that_fails_alone(void **state)
{
    (void)state;
    store = jobs_open();
    fake.fail_kind = RD_WRITE_LEASE;
    jobs_start(1);
    struct told told = submit(1);
    struct fake_run run = await_run(1);
    assert_string_equal(run.id, told.id);
    assert_int_equal(fake.fail_kind, -1);
    assert_true(says(told.id, "\"attempts\":1"));
    finish(&run, RD_OUTCOME_OK, RD_OK);
    await_says(told.id, "\"status\":\"complete\"");
}

static void test_a_broken_store(void **state)
{
    (void)state;
    store = jobs_open();
    jobs_start(1);
    pthread_mutex_lock(&fake.lock);
    fake.sick = true;
    fake.fail = RD_ERR_STORAGE;
    pthread_mutex_unlock(&fake.lock);
    struct told told = {0};
    assert_int_equal(submit_later(1, NULL, &told), RD_ADMIT_OK);
    await_told(&told);
    assert_int_equal(told.err, RD_ERR_STORAGE);
    assert_int_equal(fake.broken, 1);
    assert_int_not_equal(submit_later(1, NULL, &told), RD_ADMIT_OK);
    const struct rd_jobs_ask ask = ask_of(1);
    struct rd_jobs_slot slot;
    struct rd_jobs_limits limits;
    assert_int_not_equal(rd_jobs_take(jobs, &ask, &slot, &limits), RD_ADMIT_OK);
    assert_int_equal(fake.broken, 1);
}

/* A run that became a job for which there is no room: its client is told, it is stopped. */
static void test_a_run_that_cannot_become_a_job(void **state)
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
    assert_int_equal(rd_jobs_attach(jobs, &run.slot, stop, NULL), RD_OK);
    gate(false, RD_ERR_DISK_FULL);
    assert_int_equal(rd_jobs_adopt(jobs, &run.slot, &ask, &add, on_created, &told), RD_OK);
    await_told(&told);
    assert_int_equal(told.err, RD_ERR_DISK_FULL);
    assert_int_equal(fake.stops, 1);
    finish(&run, RD_OUTCOME_CANCELLED, RD_ERR_CANCELLED);
    gate(false, RD_OK);
    (void)submit(1);
    run = await_run(1); /* the slot serves again */
    finish(&run, RD_OUTCOME_OK, RD_OK);
}

#define T(name) cmocka_unit_test_setup_teardown(name, jobs_setup, jobs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_many_share_a_sync),
        T(test_a_full_disk),
        T(test_a_shutdown_on_a_full_disk),
        T(test_a_lease_that_fails_alone),
        T(test_a_broken_store),
        T(test_a_run_that_cannot_become_a_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
