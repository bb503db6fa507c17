/* SPDX-License-Identifier: Apache-2.0
 *
 * What was promised is there: after a kill, after a write-ahead log that was torn or altered
 * anywhere in its last change, and never under an SQLite that does not sync. And the log stays
 * small whoever reads. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "jobs_fixture.h"

enum { FRAME = 24 + 4096, WAL_HEAD = 32, BATCH = 8 };

static rd_err add_batch(struct rd_store *store, uint64_t first)
{
    struct rd_job_write writes[BATCH];
    for (uint64_t i = 0; i < BATCH; i++) {
        writes[i] = job_add(first + i, 1);
    }
    rd_err err = rd_store_jobs_apply(store, writes, BATCH);
    for (size_t i = 0; i < BATCH && err == RD_OK; i++) {
        err = writes[i].err;
    }
    return err;
}

static bool count_row(void *ctx, const struct rd_job_row *row)
{
    (void)row;
    ++*(uint64_t *)ctx;
    return true;
}

static uint64_t count_jobs(struct rd_store *store)
{
    uint64_t listed = 0;
    uint64_t live = 0;
    uint64_t whole = 0;
    struct rd_job_filter mine = {1, "", -1, 1000000};
    assert_int_equal(rd_store_jobs_list(store, &mine, count_row, &listed), RD_OK);
    assert_int_equal(rd_store_jobs_live(store, count_row, &live), RD_OK);
    assert_int_equal(rd_store_jobs_export(store, count_row, &whole), RD_OK);
    assert_int_equal(listed, live);
    assert_int_equal(listed, whole);
    return listed;
}

/* The files of a store that was killed after its third batch, and how long its log was before. */
struct killed {
    char *db, *wal;
    size_t db_len, wal_len, before;
};

static struct killed make_killed(void)
{
    struct killed killed = {.db = NULL};
    struct stat info;
    struct rd_store *store = jobs_open();
    assert_int_equal(add_batch(store, 1), RD_OK);
    assert_int_equal(add_batch(store, 1 + BATCH), RD_OK);
    assert_int_equal(stat(test_path("render.db-wal"), &info), 0);
    killed.before = (size_t)info.st_size;
    assert_int_equal(add_batch(store, 1 + 2 * BATCH), RD_OK);
    killed.db = test_read("render.db", &killed.db_len);
    killed.wal = test_read("render.db-wal", &killed.wal_len);
    assert_int_equal((killed.before - WAL_HEAD) % FRAME, 0);
    assert_int_equal((killed.wal_len - WAL_HEAD) % FRAME, 0);
    assert_true(killed.wal_len >= killed.before + 4 * FRAME);
    rd_store_close(store);
    return killed;
}

static uint64_t jobs_after(const struct killed *killed, size_t wal_len)
{
    (void)unlink(test_path("render.db-shm"));
    test_write("render.db", killed->db, killed->db_len);
    test_write("render.db-wal", killed->wal, wal_len);
    struct rd_store *store = test_open();
    uint64_t jobs = count_jobs(store);
    rd_store_close(store);
    return jobs;
}

/* Cut at every byte of each frame's head and of its last bytes, and here and there between. */
static void test_a_torn_log(void **state)
{
    (void)state;
    struct killed killed = make_killed();
    size_t tried = 0;
    for (size_t at = killed.before; at <= killed.wal_len; at++) {
        size_t in_frame = (at - WAL_HEAD) % FRAME;
        if (in_frame > 32 && in_frame < FRAME - 8 && in_frame % 331 != 0) {
            continue;
        }
        uint64_t expected = at == killed.wal_len ? 3 * BATCH : 2 * BATCH;
        if (jobs_after(&killed, at) != expected) {
            fail_msg("cut at %zu of %zu", at, killed.wal_len);
        }
        tried++;
    }
    print_message("# the log was cut at %zu places\n", tried);
    rd_mem_free(killed.db);
    rd_mem_free(killed.wal);
}

static void test_an_altered_log(void **state)
{
    (void)state;
    struct killed killed = make_killed();
    for (size_t at = killed.before; at < killed.wal_len; at += 127) {
        killed.wal[at] = (char)~killed.wal[at];
        uint64_t jobs = jobs_after(&killed, killed.wal_len);
        killed.wal[at] = (char)~killed.wal[at];
        if (jobs != 2 * BATCH) {
            fail_msg("altered at %zu of %zu: %d", at, killed.wal_len, (int)jobs);
        }
    }
    assert_int_equal(jobs_after(&killed, killed.wal_len), 3 * BATCH);
    rd_mem_free(killed.db);
    rd_mem_free(killed.wal);
}

/* A child adds batches and tells the number of each after the call returned, until it is killed. */
static void add_until_killed(int out)
{
    struct rd_store *store = NULL;
    if (rd_store_open(test_dir, &store, NULL) != RD_OK) {
        _exit(1);
    }
    uint64_t n = 0;
    uint64_t token = 0;
    if (rd_store_jobs_last(store, &n, &token) != RD_OK) {
        _exit(1);
    }
    for (;;) {
        if (add_batch(store, n + 1) != RD_OK) {
            _exit(1);
        }
        n += BATCH;
        if (write(out, &n, sizeof n) != sizeof n) {
            _exit(1);
        }
    }
}

static void test_what_returned_survives_a_kill(void **state)
{
    (void)state;
    rd_store_close(jobs_open());
    uint64_t told = 0;
    for (int round = 0; round < 5; round++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            add_until_killed(ends[1]);
        }
        (void)close(ends[1]);
        for (int i = 0; i < 20; i++) {
            assert_int_equal(read(ends[0], &told, sizeof told), sizeof told);
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        while (read(ends[0], &told, sizeof told) == sizeof told) {
        }
        (void)close(ends[0]);
        struct rd_store *store = test_open();
        uint64_t jobs = count_jobs(store);
        uint64_t last = 0;
        uint64_t token = 0;
        assert_true(jobs >= told && jobs % BATCH == 0); /* at most one batch was not told yet */
        assert_true(jobs <= told + BATCH);
        assert_int_equal(rd_store_jobs_last(store, &last, &token), RD_OK);
        assert_int_equal(last, jobs);
        rd_store_close(store);
    }
}

/* ---- an SQLite that was built or told to be careless ---- */

static const char *ignored_pragma;

static int ignore_pragma(void *ctx, int action, const char *first, const char *second,
                         const char *database, const char *trigger)
{
    (void)ctx;
    (void)database;
    (void)trigger;
    bool asked = action == SQLITE_PRAGMA && second != NULL && strcmp(first, ignored_pragma) == 0;
    return asked ? SQLITE_IGNORE : SQLITE_OK;
}

static int be_careless(sqlite3 *db, char **message, const struct sqlite3_api_routines *api)
{
    (void)message;
    (void)api;
    int rc = sqlite3_exec(db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL);
    return rc == SQLITE_OK ? sqlite3_set_authorizer(db, ignore_pragma, NULL) : rc;
}

static void test_a_database_that_does_not_sync_is_refused(void **state)
{
    (void)state;
    void (*hook)(void) = NULL;
    int (*function)(sqlite3 *, char **, const struct sqlite3_api_routines *) = be_careless;
    memcpy(&hook, &function, sizeof hook);
    assert_int_equal(sqlite3_auto_extension(hook), SQLITE_OK);
    ignored_pragma = "journal_mode";
    test_refused(RD_ERR_STORAGE, "cannot be used with a write-ahead log");
    ignored_pragma = "synchronous";
    test_refused(RD_ERR_STORAGE, "synchronous is 1, and must be 2, FULL");
    ignored_pragma = "another";
    rd_store_close(test_open()); /* it is the pragma, not the hook */
    sqlite3_reset_auto_extension();
    rd_store_close(test_open());
}

/* ---- readers beside the writer ---- */

struct crowd {
    struct rd_store *store;
    atomic_bool stop;
    atomic_long reads, failed;
};

static void look_at(void *ctx, const struct rd_job_row *row)
{
    (void)ctx;
    assert_string_equal(row->tenant, "acme");
    assert_int_equal(row->request_len, strlen(REQUEST));
}

static bool count_delivery(void *ctx, const struct rd_delivery *delivery)
{
    (void)delivery;
    ++*(uint64_t *)ctx;
    return true;
}

/* The readers' functions, and the changes that are made beside the writer's batches. */
static rd_err do_something(struct rd_store *store, uint64_t i)
{
    struct rd_webhook_secrets secrets;
    struct rd_job_filter mine = {i % 3, "", (int)(i % 6) - 1, 20};
    uint64_t count = 0;
    uint64_t n = 0;
    bool more = false;
    switch (i % 64) {
    case 0:
        return rd_store_jobs_export(store, count_row, &count);
    case 1:
        return rd_store_jobs_live(store, count_row, &count);
    case 2:
        return rd_store_jobs_sweep(store, 1, 1, 10, &more);
    case 3:
        return rd_store_webhook_secrets(store, 1 + i % 2, i, &secrets);
    case 4:
        return rd_store_deliveries_due(store, i, 10, count_delivery, &count, &n);
    case 5:
        return rd_store_jobs_last(store, &n, &count);
    default:
        return i % 2 == 0 ? rd_store_jobs_list(store, &mine, count_row, &count)
                          : rd_store_job_get(store, 1, job_add(1, 1).row.id, look_at, NULL);
    }
}

static void *read_on_and_on(void *ctx)
{
    struct crowd *crowd = ctx;
    for (uint64_t i = 0; !crowd->stop; i++) {
        rd_err err = do_something(crowd->store, i);
        if (err != RD_OK && err != RD_ERR_NOT_FOUND) { /* before the first batch */
            crowd->failed++;
        }
        crowd->reads++;
    }
    return NULL;
}

static void test_the_log_stays_small_while_others_read(void **state)
{
    (void)state;
    struct crowd crowd = {.store = jobs_open()};
    pthread_t readers[2];
    off_t largest = 0;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&readers[i], NULL, read_on_and_on, &crowd), 0);
    }
    for (uint64_t n = 1; n < 1500 * BATCH; n += BATCH) { /* about 50 MB of log */
        struct stat info;
        assert_int_equal(add_batch(crowd.store, n), RD_OK);
        assert_int_equal(stat(test_path("render.db-wal"), &info), 0);
        largest = info.st_size > largest ? info.st_size : largest;
    }
    crowd.stop = true;
    for (size_t i = 0; i < 2; i++) {
        (void)pthread_join(readers[i], NULL);
    }
    assert_int_equal(crowd.failed, 0);
    assert_int_equal(count_jobs(crowd.store), 1500 * BATCH);
    assert_true(crowd.reads > 10);
    print_message("# %ld reads; the log had %ld KiB at most\n", (long)crowd.reads,
                  (long)(largest / 1024));
    assert_true(largest > 8 << 20); /* else the test is too small to tell */
    assert_true(largest < 40 << 20);
    rd_store_close(crowd.store);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_torn_log),
        TEST(test_an_altered_log),
        TEST(test_what_returned_survives_a_kill),
        TEST(test_a_database_that_does_not_sync_is_refused),
        TEST(test_the_log_stays_small_while_others_read),
    };
    return cmocka_run_group_tests_name("store/durable", tests, NULL, NULL);
}
