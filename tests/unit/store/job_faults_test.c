/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs while something fails: each write, sync and read of SQLite once, each allocation once. A
 * batch is there whole or not at all; what was answered with RD_OK is there after a restart; after
 * the first failed sync nothing is accepted, and nothing is written or synced any more. */
#include "faults.h"

/* Batches of the story, and which of them were promised. */
enum { ADDED, KEYED, LEASED, ENDED, LATER, BATCH_COUNT };
struct promises {
    bool made[BATCH_COUNT];
    bool secret_made;
    struct rd_webhook_secrets secrets;
};

static rd_err tell_batch(struct rd_store *store, int batch)
{
    struct rd_job_write writes[3];
    size_t count = 2;
    switch (batch) {
    case ADDED:
        writes[0] = job_add(1, 1);
        writes[0].row.webhook = "https://example.com/";
        writes[1] = job_add(2, 1);
        break;
    case KEYED:
        writes[0] = job_add(3, 1);
        writes[0].idempotency_key = "key";
        writes[1] = job_add(4, 1);
        writes[1].idempotency_key = "key";
        break;
    case LEASED:
        writes[0] = job_lease(1, 1);
        writes[1] = job_lease(2, 2);
        writes[2] = job_cancel(3);
        count = 3;
        break;
    case ENDED:
        writes[0] = job_end(1, RD_STATUS_COMPLETE, "[1]");
        writes[0].message = "{}";
        (void)snprintf(writes[0].message_id, RD_ID_MAX, "msg_0000000000000000000000");
        writes[1] = job_end(2, RD_STATUS_ERROR, "{}");
        break;
    default:
        writes[0] = job_add(5, 1);
        writes[1] = job_add(6, 1);
        break;
    }
    rd_err err = rd_store_jobs_apply(store, writes, count);
    for (size_t i = 0; i < count; i++) {
        /* A change of its own fails only where the batch before was not made. */
        assert_true(err == RD_OK ? writes[i].err != RD_ERR_STORAGE : writes[i].err == err);
    }
    return err;
}

static void tell(struct promises *promises)
{
    struct rd_store *store = NULL;
    struct rd_why why = {""};
    struct rd_key key;
    char text[RD_KEY_TEXT_LEN + 1];
    if (rd_store_open(test_dir, &store, &why) != RD_OK) {
        assert_null(store);
        assert_true(strlen(why.text) > 10);
        return;
    }
    store->now_ms = test_clock;
    bool told = rd_store_key_create(store, "acme", "n", 1, 0, &key, text, &why) == RD_OK;
    for (int i = 0; told && i < BATCH_COUNT; i++) {
        if (i == LATER) {
            store->writer.checkpoint_at = 1; /* the change begins with a checkpoint */
        }
        bool was_well = rd_store_healthy(store);
        rd_err err = tell_batch(store, i);
        promises->made[i] = err == RD_OK;
        assert_true(was_well || err == RD_ERR_STORAGE); /* for good */
        if (err == RD_ERR_STORAGE || err == RD_ERR_CORRUPT) {
            assert_false(rd_store_healthy(store));
        }
    }
    promises->secret_made =
        told && rd_store_webhook_secrets(store, 1, test_clock(), &promises->secrets) == RD_OK;
    rd_store_close(store);
}

static enum rd_job_status status_of(struct rd_store *store, uint64_t n, bool *ret_found)
{
    struct kept kept = {.row = {.n = 0}};
    rd_err err = job_get(store, 1, job_id(n), &kept);
    assert_true(err == RD_OK || err == RD_ERR_NOT_FOUND);
    *ret_found = err == RD_OK;
    return kept.row.status;
}

static bool count_delivery(void *ctx, const struct rd_delivery *delivery)
{
    (void)delivery;
    ++*(uint64_t *)ctx;
    return true;
}

/* How many of a batch's changes are there: all or none. */
static void check_promises(const struct promises *promises)
{
    struct rd_store *store = test_open();
    enum rd_job_status status[7] = {RD_STATUS_QUEUED};
    bool found[7] = {false};
    for (uint64_t n = 1; n <= 6; n++) {
        status[n] = status_of(store, n, &found[n]);
    }
    assert_int_equal(found[1], found[2]);
    assert_int_equal(found[5], found[6]);
    assert_false(found[4]);
    assert_int_equal(status[1] >= RD_STATUS_COMPLETE, status[2] >= RD_STATUS_COMPLETE);
    assert_int_equal(status[1] >= RD_STATUS_RUNNING, status[2] >= RD_STATUS_RUNNING);
    assert_true(!promises->made[ADDED] || found[1]);
    assert_true(!promises->made[KEYED] || found[3]);
    assert_true(!promises->made[LATER] || found[5]);
    if (promises->made[ADDED] && promises->made[LEASED]) {
        assert_true(status[1] >= RD_STATUS_RUNNING);
    }
    if (promises->made[ADDED] && promises->made[ENDED]) {
        assert_int_equal(status[1], RD_STATUS_COMPLETE);
        assert_int_equal(status[2], RD_STATUS_ERROR);
    }
    uint64_t messages = 0;
    uint64_t next_ms = 0;
    assert_int_equal(
        rd_store_deliveries_due(store, UINT64_MAX, 9, count_delivery, &messages, &next_ms), RD_OK);
    assert_int_equal(messages, status[1] == RD_STATUS_COMPLETE ? 1 : 0);
    if (promises->secret_made) {
        struct rd_webhook_secrets secrets;
        assert_int_equal(rd_store_webhook_secrets(store, 1, test_clock(), &secrets), RD_OK);
        assert_memory_equal(&secrets, &promises->secrets, sizeof secrets);
    }
    rd_store_close(store);
}

static bool all_made(const struct promises *promises)
{
    bool all = promises->secret_made;
    for (size_t i = 0; i < BATCH_COUNT; i++) {
        all = all && promises->made[i];
    }
    return all;
}

static void begin_anew(void)
{
    static const char *const names[] = {"render.db", "render.db-wal", "render.db-shm", "pepper"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)unlink(test_path(names[i]));
    }
}

static void test_every_file_operation_fails_once(void **state)
{
    (void)state;
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        long n = 0;
        for (;; n++) {
            struct promises promises = {.secret_made = false};
            begin_anew();
            fault_arm(kind, n, false);
            tell(&promises);
            fault.armed = false;
            check_promises(&promises);
            if (!fault.hit) {
                assert_true(all_made(&promises));
                break;
            }
        }
        print_message("# %ld operations failed once each: %s\n", n, kinds[kind]);
        assert_true(n > 5);
    }
}

static void test_every_allocation_of_ours_fails_once(void **state)
{
    (void)state;
    long n = 0;
    for (;; n++) {
        struct promises promises = {.secret_made = false};
        begin_anew();
        memory.hit = false;
        memory.ours_left = n;
        tell(&promises);
        memory.ours_left = -1;
        check_promises(&promises);
        if (!memory.hit) {
            assert_true(all_made(&promises));
            break;
        }
    }
    print_message("# %ld allocations failed once each\n", n);
    assert_true(n > 5);
}

/* Those of the changes one by one; opening and closing is the matter of faults_test.c. */
static void test_every_allocation_of_sqlite_in_a_change_fails(void **state)
{
    (void)state;
    long failed = 0;
    for (int batch = 0; batch < BATCH_COUNT; batch++) {
        for (long n = 0;; n++) {
            struct promises promises = {.secret_made = false};
            begin_anew();
            struct rd_store *store = jobs_open();
            for (int i = 0; i < batch; i++) {
                assert_int_equal(tell_batch(store, i), RD_OK);
                promises.made[i] = true;
            }
            store->writer.checkpoint_at = batch == LATER ? 1 : INT32_MAX;
            memory.hit = false;
            memory.sqlite_left = n;
            rd_err err = tell_batch(store, batch);
            memory.sqlite_left = -1;
            assert_true(err == RD_OK || err == RD_ERR_NO_MEMORY);
            assert_true(rd_store_healthy(store));
            if (err != RD_OK) { /* it was as if it had not been */
                assert_int_equal(tell_batch(store, batch), RD_OK);
            }
            promises.made[batch] = true;
            rd_store_close(store);
            check_promises(&promises);
            if (!memory.hit) {
                break;
            }
            failed++;
        }
    }
    print_message("# %ld of SQLite's allocations failed once each\n", failed);
    assert_true(failed > 50);
}

/* A sync fails, in a commit or in a checkpoint, and never again: nothing is tried after it. */
static void test_after_a_failed_sync_nothing_is_accepted(void **state)
{
    (void)state;
    for (int in_checkpoint = 0; in_checkpoint < 2; in_checkpoint++) {
        begin_anew();
        struct rd_store *store = jobs_open();
        struct kept kept;
        struct rd_key key;
        struct rd_why why = {""};
        struct rd_webhook_secrets secrets;
        char text[RD_KEY_TEXT_LEN + 1];
        bool more = false;
        assert_int_equal(tell_batch(store, ADDED), RD_OK);
        store->writer.checkpoint_at = in_checkpoint == 1 ? 1 : INT32_MAX;
        fault_arm(SYNC, 0, false);
        assert_int_equal(tell_batch(store, KEYED), RD_ERR_STORAGE);
        assert_true(fault.hit);
        assert_false(rd_store_healthy(store));
        long writes = fault.writes;
        long syncs = fault.syncs;
        assert_int_equal(tell_batch(store, LATER), RD_ERR_STORAGE);
        assert_int_equal(rd_store_key_create(store, "acme", "n", 1, 0, &key, text, &why),
                         RD_ERR_STORAGE);
        assert_int_equal(rd_store_jobs_sweep(store, 1, 1, 1, &more), RD_ERR_STORAGE);
        assert_int_equal(rd_store_delivery_replay(store, 0, "msg_0000000000000000000000", 1),
                         RD_ERR_STORAGE);
        assert_int_equal(rd_store_webhook_rotate(store, 1, 1, &secrets), RD_ERR_STORAGE);
        assert_int_equal(job_get(store, 1, job_id(1), &kept), RD_OK); /* it can still be read */
        assert_false(rd_store_healthy(store));
        rd_store_close(store);
        assert_int_equal(fault.writes, writes);
        assert_int_equal(fault.syncs, syncs);
        store = test_open();
        assert_true(rd_store_healthy(store));
        assert_int_equal(job_get(store, 1, job_id(1), &kept), RD_OK);
        assert_int_equal(job_get(store, 1, job_id(5), &kept), RD_ERR_NOT_FOUND);
        assert_int_equal(tell_batch(store, LATER), RD_OK);
        rd_store_close(store);
    }
}

/* No room for as long as it takes: batches are refused, what is there can be read; then there is.
 */
static void test_a_full_disk_is_waited_out(void **state)
{
    (void)state;
    static const int reasons[] = {FULL, QUOTA};
    for (size_t i = 0; i < 2; i++) {
        begin_anew();
        struct rd_store *store = jobs_open();
        struct kept kept;
        assert_int_equal(tell_batch(store, ADDED), RD_OK);
        for (int with_checkpoint = 0; with_checkpoint < 2; with_checkpoint++) {
            store->writer.checkpoint_at = with_checkpoint == 1 ? 1 : INT32_MAX;
            fault_arm(reasons[i], 0, true);
            for (int k = 0; k < 3; k++) {
                assert_int_equal(tell_batch(store, LEASED), RD_ERR_DISK_FULL);
            }
            assert_true(rd_store_healthy(store));
            assert_int_equal(job_get(store, 1, job_id(2), &kept), RD_OK);
            assert_int_equal(kept.row.status, RD_STATUS_QUEUED);
            fault.armed = false;
        }
        assert_int_equal(tell_batch(store, LEASED), RD_OK);
        assert_int_equal(job_get(store, 1, job_id(2), &kept), RD_OK);
        assert_int_equal(kept.row.status, RD_STATUS_RUNNING);
        rd_store_close(store);
        check_promises(&(struct promises){.made = {[ADDED] = true, [LEASED] = true}});
    }
}

/* The checkpoint finds no room, though the WAL has some: the change is made all the same. */
static void test_a_checkpoint_without_room_is_put_off(void **state)
{
    (void)state;
    struct rd_store *store = jobs_open();
    assert_int_equal(tell_batch(store, ADDED), RD_OK);
    store->writer.checkpoint_at = 1;
    fault_arm(FULL, 0, false);
    assert_int_equal(tell_batch(store, LEASED), RD_OK);
    assert_true(fault.hit);
    fault.armed = false;
    assert_true(store->writer.checkpoint_at > 1);
    assert_true(rd_store_healthy(store));
    rd_store_close(store);
    check_promises(&(struct promises){.made = {[ADDED] = true, [LEASED] = true}});
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_every_file_operation_fails_once),
        TEST(test_every_allocation_of_ours_fails_once),
        TEST(test_every_allocation_of_sqlite_in_a_change_fails),
        TEST(test_after_a_failed_sync_nothing_is_accepted),
        TEST(test_a_full_disk_is_waited_out),
        TEST(test_a_checkpoint_without_room_is_put_off),
    };
    return cmocka_run_group_tests_name("store/job_faults", tests, faults_install, NULL);
}
