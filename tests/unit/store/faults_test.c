/* SPDX-License-Identifier: Apache-2.0
 *
 * One story (open, make keys, revoke, upload, close), told again and again with one thing failing
 * each time: the Nth write, sync or read of SQLite, the Nth allocation of SQLite's or of ours.
 * Whatever happens, a call says so, nothing crashes or leaks, and after a restart everything that
 * was promised stands: a key that was handed out is accepted, a revoked one is not, a finished
 * upload resolves. */
#include "faults.h"

/* What was promised so far, over all runs on this folder. */
struct promises {
    char good[RD_KEY_TEXT_LEN + 1], revoked[RD_KEY_TEXT_LEN + 1];
    bool has_good, has_revoked, has_upload;
    char upload_id[RD_ID_MAX];
};

static const uint8_t content[RD_HASH_LEN] = {42};

static void tell_uploads(struct rd_store *store, const struct rd_key *key,
                         struct promises *promises)
{
    struct rd_upload upload;
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    if (rd_store_upload_create(store, key, "image/png", 9, 1000, &upload, token) != RD_OK ||
        rd_store_upload_claim(store, token, RD_UPLOAD_TOKEN_LEN, &upload) != RD_OK) {
        return;
    }
    if (rd_store_upload_finish(store, upload.id, content) == RD_OK) {
        promises->has_upload = true;
        memcpy(promises->upload_id, upload.id, sizeof upload.id);
    } else {
        rd_store_upload_release(store, upload.id);
    }
}

/* The story; every step may fail, none may lie. */
static void tell(struct promises *promises)
{
    struct rd_store *store = NULL;
    struct rd_why why = {""};
    struct rd_key key;
    struct rd_key doomed;
    char text[RD_KEY_TEXT_LEN + 1];
    rd_err err = rd_store_open(test_dir, &store, &why);
    if (err != RD_OK) {
        assert_null(store);
        assert_true(strlen(why.text) > 10);
        return;
    }
    store->now_ms = test_clock;
    if (rd_store_key_create(store, "acme", "good", 1, 0, &key, text, &why) == RD_OK) {
        memcpy(promises->good, text, sizeof text);
        promises->has_good = true;
        tell_uploads(store, &key, promises);
    }
    if (rd_store_key_create(store, "beta", "doomed", 1, 0, &doomed, text, &why) == RD_OK) {
        err = rd_store_key_revoke(store, NULL, doomed.id);
        struct rd_key got;
        assert_int_equal(rd_store_key_check(store, text, RD_KEY_TEXT_LEN, &got),
                         RD_ERR_UNAUTHORIZED);
        if (err == RD_OK) {
            memcpy(promises->revoked, text, sizeof text);
            promises->has_revoked = true;
        }
    }
    rd_store_close(store);
}

static void check_promises(const struct promises *promises)
{
    struct rd_key key;
    struct rd_upload upload;
    struct rd_store *store = test_open();
    if (promises->has_good) {
        assert_int_equal(rd_store_key_check(store, promises->good, RD_KEY_TEXT_LEN, &key), RD_OK);
    }
    if (promises->has_revoked) {
        assert_int_equal(rd_store_key_check(store, promises->revoked, RD_KEY_TEXT_LEN, &key),
                         RD_ERR_UNAUTHORIZED);
    }
    if (promises->has_upload) {
        assert_int_equal(rd_store_upload_resolve(store, promises->upload_id, &upload), RD_OK);
        assert_memory_equal(upload.blake3, content, sizeof content);
    }
    rd_store_close(store);
}

static void begin_anew(void)
{
    static const char *const names[] = {"render.db", "render.db-wal", "render.db-shm", "pepper",
                                        "pepper.new"};
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
            struct promises promises = {.has_good = false};
            begin_anew();
            fault.kind = kind;
            fault.left = n;
            fault.hit = false;
            fault.armed = true;
            tell(&promises);
            fault.armed = false;
            check_promises(&promises);
            if (!fault.hit) {
                assert_true(promises.has_good && promises.has_revoked && promises.has_upload);
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
        struct promises promises = {.has_good = false};
        begin_anew();
        memory.hit = false;
        memory.ours_left = n;
        tell(&promises);
        memory.ours_left = -1;
        check_promises(&promises);
        if (!memory.hit) {
            assert_true(promises.has_good && promises.has_revoked && promises.has_upload);
            break;
        }
    }
    print_message("# %ld allocations failed once each\n", n);
    assert_true(n > 10);
}

static void test_allocations_of_sqlite_fail(void **state)
{
    (void)state;
    long failed = 0;
    for (long n = 0;; n += 29) { /* thousands in all: some in each phase of the story */
        struct promises promises = {.has_good = false};
        begin_anew();
        memory.hit = false;
        memory.sqlite_left = n;
        tell(&promises);
        memory.sqlite_left = -1;
        check_promises(&promises);
        if (!memory.hit) {
            assert_true(promises.has_good && promises.has_revoked && promises.has_upload);
            break;
        }
        failed++;
    }
    print_message("# %ld of SQLite's allocations failed once each\n", failed);
    assert_true(failed > 50);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_every_file_operation_fails_once),
        TEST(test_every_allocation_of_ours_fails_once),
        TEST(test_allocations_of_sqlite_fail),
    };
    return cmocka_run_group_tests_name("store/faults", tests, faults_install, NULL);
}
