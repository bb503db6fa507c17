/* SPDX-License-Identifier: Apache-2.0
 *
 * API keys: what is accepted and what is refused, tenants apart, limits, last use, restart, and
 * many threads at once. */
#include <pthread.h>

#include "base/clock.h"
#include "fixture.h"

static rd_err check(struct rd_store *store, const char *text, struct rd_key *ret)
{
    return rd_store_key_check(store, text, strlen(text), ret);
}

static void test_scopes_have_names(void **state)
{
    (void)state;
    static const char *const names[] = {"generate", "upload", "read", "admin"};
    unsigned all = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned bit = 0;
        assert_true(rd_scope_parse(names[i], &bit));
        assert_int_equal(bit, 1u << i);
        assert_string_equal(rd_scope_name(bit), names[i]);
        all |= bit;
    }
    assert_int_equal(all, RD_SCOPE_ALL);
    unsigned bit = 77;
    static const char *const bad[] = {"", "Generate", "generate ", "all", "admi"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(rd_scope_parse(bad[i], &bit));
    }
    assert_int_equal(bit, 77);
    assert_null(rd_scope_name(0));
    assert_null(rd_scope_name(3));
    assert_null(rd_scope_name(16));
}

static void test_a_key_is_made_and_accepted(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    struct rd_key made = test_key(store, "acme", text);
    struct rd_key got;
    assert_true(rd_id_valid(made.id, "key_"));
    assert_string_equal(made.tenant, "acme");
    assert_string_equal(made.name, "a name");
    assert_int_equal(strlen(made.prefix), 12);
    assert_memory_equal(made.prefix, text, 12);
    assert_int_equal(made.owner, 1);
    assert_int_equal(made.created_ms, test_clock());
    assert_int_equal(made.last_used_ms, 0);
    assert_int_equal(check(store, text, &got), RD_OK);
    assert_memory_equal(&got, &made, sizeof got);
    assert_int_equal(rd_store_key_count(store), 1);
    rd_store_close(store);
}

static void test_altered_and_foreign_keys_are_refused(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    char other[RD_KEY_TEXT_LEN + 1];
    struct rd_key got;
    memset(&got, 0x5a, sizeof got);
    struct rd_key before = got;
    (void)test_key(store, "acme", text);
    for (int i = 0; i < 100; i++) {
        rd_store_key_text_new(other); /* valid checksum, never created */
        assert_int_equal(check(store, other, &got), RD_ERR_UNAUTHORIZED);
    }
    memcpy(other, text, sizeof other);
    other[5] = other[5] == 'a' ? 'b' : 'a';
    assert_int_equal(check(store, other, &got), RD_ERR_UNAUTHORIZED);
    assert_int_equal(check(store, "", &got), RD_ERR_UNAUTHORIZED);
    assert_int_equal(rd_store_key_check(store, text, RD_KEY_TEXT_LEN - 1, &got),
                     RD_ERR_UNAUTHORIZED);
    assert_memory_equal(&got, &before, sizeof got); /* outputs untouched */
    rd_store_close(store);
}

static void test_expiry_to_the_millisecond(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    struct rd_key key;
    uint64_t now = test_clock();
    assert_int_equal(
        rd_store_key_create(store, "acme", "n", RD_SCOPE_READ, now + 1000, &key, text, NULL),
        RD_OK);
    atomic_store(&test_now, now + 999);
    assert_int_equal(check(store, text, &key), RD_OK);
    atomic_store(&test_now, now + 1000);
    assert_int_equal(check(store, text, &key), RD_ERR_UNAUTHORIZED);
    rd_store_close(store);
}

static void test_revocation_is_at_once_and_lasts(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    char kept[RD_KEY_TEXT_LEN + 1];
    struct rd_key key = test_key(store, "acme", text);
    struct rd_key got;
    (void)test_key(store, "acme", kept);
    assert_int_equal(rd_store_key_revoke(store, "rival", key.id), RD_ERR_NOT_FOUND);
    assert_int_equal(rd_store_key_revoke(store, "acme", "key_0000000000000000000000"),
                     RD_ERR_NOT_FOUND);
    assert_int_equal(check(store, text, &got), RD_OK);
    assert_int_equal(rd_store_key_revoke(store, "acme", key.id), RD_OK);
    assert_int_equal(check(store, text, &got), RD_ERR_UNAUTHORIZED);
    assert_int_equal(rd_store_key_revoke(store, NULL, key.id), RD_OK); /* again: no harm */
    assert_int_equal(check(store, kept, &got), RD_OK);
    rd_store_close(store);
    store = test_open();
    assert_int_equal(check(store, text, &got), RD_ERR_UNAUTHORIZED);
    assert_int_equal(check(store, kept, &got), RD_OK);
    rd_store_close(store);
}

static void test_revocation_holds_when_the_disk_fails(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    struct rd_key key = test_key(store, "acme", text);
    struct rd_key got;
    assert_true(rd_store_healthy(store));
    atomic_store(&store->writer.failed, true); /* as after a failed fsync */
    assert_false(rd_store_healthy(store));
    assert_int_equal(rd_store_key_revoke(store, "acme", key.id), RD_ERR_STORAGE);
    assert_int_equal(check(store, text, &got), RD_ERR_UNAUTHORIZED);
    char none[RD_KEY_TEXT_LEN + 1] = "untouched";
    struct rd_why why = {""};
    assert_int_equal(rd_store_key_create(store, "acme", "n", RD_SCOPE_READ, 0, &got, none, &why),
                     RD_ERR_STORAGE);
    assert_string_equal(none, "untouched");
    assert_true(strlen(why.text) > 0);
    assert_int_equal(rd_store_key_count(store), 1);
    rd_store_close(store);
}

struct listed {
    struct rd_key keys[8];
    size_t count, stop_at;
    struct rd_store *store; /* called back into when not NULL */
};

static bool collect(void *ctx, const struct rd_key *key)
{
    struct listed *listed = ctx;
    listed->keys[listed->count++] = *key;
    if (listed->store != NULL) {
        assert_int_equal(rd_store_key_revoke(listed->store, NULL, key->id), RD_OK);
    }
    return listed->count != listed->stop_at;
}

static void test_list_by_tenant_in_order(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    static const char *const tenants[] = {"acme", "beta", "acme", "gamma", "acme"};
    char text[RD_KEY_TEXT_LEN + 1];
    struct rd_key made[5];
    for (size_t i = 0; i < 5; i++) {
        made[i] = test_key(store, tenants[i], text);
    }
    assert_int_equal(made[0].owner, 1);
    assert_int_equal(made[1].owner, 2);
    assert_int_equal(made[2].owner, 1);
    assert_int_equal(made[3].owner, 3);
    for (int round = 0; round < 2; round++) {
        struct listed all = {.count = 0};
        assert_int_equal(rd_store_key_list(store, NULL, collect, &all), RD_OK);
        assert_int_equal(all.count, 5);
        assert_memory_equal(all.keys, made, sizeof made);
        struct listed acme = {.count = 0};
        assert_int_equal(rd_store_key_list(store, "acme", collect, &acme), RD_OK);
        assert_int_equal(acme.count, 3);
        assert_string_equal(acme.keys[1].id, made[2].id);
        struct listed first = {.stop_at = 2};
        assert_int_equal(rd_store_key_list(store, NULL, collect, &first), RD_OK);
        assert_int_equal(first.count, 2);
        struct listed none = {.count = 0};
        assert_int_equal(rd_store_key_list(store, "nobody", collect, &none), RD_OK);
        assert_int_equal(none.count, 0);
        rd_store_close(store);
        store = test_open();
    }
    struct listed calls = {.store = store};
    assert_int_equal(rd_store_key_list(store, NULL, collect, &calls), RD_OK);
    assert_int_equal(calls.count, 5);
    rd_store_close(store);
}

static void test_limits_of_tenant_name_scopes_expiry(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char long64[65];
    char long65[66];
    memset(long64, 'a', 64);
    memset(long65, 'a', 65);
    long64[64] = '\0';
    long65[65] = '\0';
    const struct {
        const char *tenant, *name;
        unsigned scopes;
        uint64_t expires;
        const char *words; /* NULL: accepted */
    } rows[] = {
        {"a", "n", 1, 0, NULL},
        {"0-", "n", 15, 0, NULL},
        {long64, long64, 1, 0, NULL},
        {"t", "Zo\xc3\xab \xc2\xa0\xf0\x9f\x8e\xa8", 1, test_clock() + 1, NULL},
        {"t", "x", 1, INT64_MAX, NULL},
        {"", "n", 1, 0, "tenant"},
        {"-a", "n", 1, 0, "tenant"},
        {"A", "n", 1, 0, "tenant"},
        {"a b", "n", 1, 0, "tenant"},
        {"a/..", "n", 1, 0, "tenant"},
        {"\xc3\xab", "n", 1, 0, "tenant"},
        {long65, "n", 1, 0, "tenant"},
        {"t", "", 1, 0, "name"},
        {"t", long65, 1, 0, "name"},
        {"t", "a\nb", 1, 0, "name"},
        {"t", "a\x1b[2J", 1, 0, "name"},
        {"t", "a\x7f", 1, 0, "name"},
        {"t",
         "\xc2\x9b"
         "2J",
         1, 0, "name"},
        {"t", "\xff", 1, 0, "name"},
        {"t", "\xc3", 1, 0, "name"},
        {"t", "n", 0, 0, "scopes"},
        {"t", "n", 16, 0, "scopes"},
        {"t", "n", 1, 1, "expires"},
        {"t", "n", 1, test_clock(), "expires"},
        {"t", "n", 1, (uint64_t)INT64_MAX + 1, "expires"},
    };
    size_t accepted = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rd_key key;
        char text[RD_KEY_TEXT_LEN + 1];
        struct rd_why why = {""};
        rd_err err = rd_store_key_create(store, rows[i].tenant, rows[i].name, rows[i].scopes,
                                         rows[i].expires, &key, text, &why);
        if (rows[i].words == NULL) {
            assert_int_equal(err, RD_OK);
            assert_string_equal(key.name, rows[i].name);
            accepted++;
        } else {
            assert_int_equal(err, RD_ERR_INVALID_REQUEST);
            assert_true(rd_text_starts(why.text, rows[i].words));
        }
    }
    assert_int_equal(rd_store_key_count(store), accepted);
    rd_store_close(store);
}

static void test_no_more_keys_than_the_limit(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    struct rd_key key;
    struct rd_why why = {""};
    (void)test_key(store, "acme", text);
    size_t count = store->keys.count;
    store->keys.count = RD_STORE_KEYS_MAX; /* as if there were so many */
    assert_int_equal(rd_store_key_create(store, "acme", "n", 1, 0, &key, text, &why),
                     RD_ERR_CONFLICT);
    assert_non_null(strstr(why.text, "100000"));
    store->keys.count = count;
    (void)test_key(store, "acme", text);
    rd_store_close(store);
}

static uint64_t used_in_file(void)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *row = NULL;
    assert_int_equal(sqlite3_open(test_path("render.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT last_used_ms FROM keys", -1, &row, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(row), SQLITE_ROW);
    uint64_t used = (uint64_t)sqlite3_column_int64(row, 0);
    (void)sqlite3_finalize(row);
    (void)sqlite3_close(db);
    return used;
}

static void test_last_use_is_noted_once_a_minute(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    struct rd_key key = test_key(store, "acme", text);
    uint64_t first = test_clock();
    assert_int_equal(check(store, text, &key), RD_OK);
    assert_int_equal(key.last_used_ms, 0); /* before this use */
    atomic_store(&test_now, first + RD_STORE_USED_EVERY_MS - 1);
    assert_int_equal(check(store, text, &key), RD_OK);
    assert_int_equal(check(store, text, &key), RD_OK);
    assert_int_equal(key.last_used_ms, first);
    atomic_store(&test_now, first + RD_STORE_USED_EVERY_MS);
    assert_int_equal(check(store, text, &key), RD_OK);
    assert_int_equal(check(store, text, &key), RD_OK);
    assert_int_equal(key.last_used_ms, first + RD_STORE_USED_EVERY_MS);
    atomic_store(&test_now, first - 5); /* a clock that is set back does no harm */
    assert_int_equal(check(store, text, &key), RD_OK);
    rd_store_close(store);
    assert_int_equal(used_in_file(), first + RD_STORE_USED_EVERY_MS);
    store = test_open();
    assert_int_equal(check(store, text, &key), RD_OK);
    assert_int_equal(key.last_used_ms, first + RD_STORE_USED_EVERY_MS);
    rd_store_close(store);
}

static void test_many_keys_are_all_found_again(void **state)
{
    (void)state;
    enum { COUNT = 70 }; /* past two growths of the table */
    static char texts[COUNT][RD_KEY_TEXT_LEN + 1];
    struct rd_store *store = test_open();
    struct rd_key keys[COUNT];
    struct rd_key got;
    for (int i = 0; i < COUNT; i++) {
        keys[i] = test_key(store, i % 2 == 0 ? "even" : "odd", texts[i]);
    }
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++) {
            assert_int_equal(check(store, texts[i], &got), RD_OK);
            assert_string_equal(got.id, keys[i].id);
            assert_string_equal(got.tenant, keys[i].tenant);
        }
        rd_store_close(store);
        store = test_open();
    }
    rd_store_close(store);
}

static bool file_holds(const char *name, const char *secret)
{
    size_t len = 0;
    char *bytes = test_read(name, &len);
    bool found = memmem(bytes, len, secret, strlen(secret)) != NULL;
    rd_mem_free(bytes);
    return found;
}

static void test_no_secret_is_in_any_file(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    struct rd_upload upload;
    struct rd_key key = test_key(store, "acme", text);
    assert_int_equal(rd_store_upload_create(store, &key, "image/png", 1, 1000, &upload, token),
                     RD_OK);
    char secret[RD_KEY_TEXT_LEN];
    (void)snprintf(secret, sizeof secret, "%.20s", text + 13); /* beyond what is shown */
    static const char *const open_files[] = {"render.db", "render.db-wal", "render.db-shm", "lock"};
    for (size_t i = 0; i < 4; i++) {
        assert_false(file_holds(open_files[i], secret));
        assert_false(file_holds(open_files[i], token));
    }
    assert_true(file_holds("render.db-wal", key.prefix)); /* the search does find what is there */
    rd_store_close(store);
    assert_false(file_holds("render.db", secret));
    assert_false(file_holds("render.db", token));
    assert_true(file_holds("render.db", key.prefix));
}

/* Checkers run against keys that are being made, used and revoked. */
struct crowd {
    struct rd_store *store;
    char text[RD_KEY_TEXT_LEN + 1];
    char doomed[RD_KEY_TEXT_LEN + 1];
    atomic_bool revoked, stop;
    atomic_uint wrong;
};

static void *checker(void *ctx)
{
    struct crowd *crowd = ctx;
    while (!atomic_load(&crowd->stop)) {
        struct rd_key key;
        bool was_revoked = atomic_load(&crowd->revoked);
        rd_err err = check(crowd->store, crowd->doomed, &key);
        if ((was_revoked && err == RD_OK) || check(crowd->store, crowd->text, &key) != RD_OK) {
            atomic_fetch_add(&crowd->wrong, 1);
        }
        atomic_fetch_add(&test_now, RD_STORE_USED_EVERY_MS / 16);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct crowd crowd = {.store = test_open()};
    struct rd_key doomed = test_key(crowd.store, "acme", crowd.doomed);
    char text[RD_KEY_TEXT_LEN + 1];
    pthread_t threads[3];
    (void)test_key(crowd.store, "acme", crowd.text);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, checker, &crowd), 0);
    }
    for (int i = 0; i < 40; i++) {
        (void)test_key(crowd.store, "beta", text);
        if (i == 20) {
            assert_int_equal(rd_store_key_revoke(crowd.store, NULL, doomed.id), RD_OK);
            atomic_store(&crowd.revoked, true);
        }
        assert_int_equal(rd_store_keys_flush(crowd.store), RD_OK);
    }
    atomic_store(&crowd.stop, true);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&crowd.wrong), 0);
    assert_int_equal(rd_store_key_count(crowd.store), 42);
    rd_store_close(crowd.store);
}

static void test_a_check_is_quick(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    struct rd_key key = test_key(store, "acme", text);
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < 20; round++) {
        uint64_t start = rd_clock_thread_cpu_ns();
        for (int i = 0; i < 200; i++) {
            assert_int_equal(rd_store_key_check(store, text, RD_KEY_TEXT_LEN, &key), RD_OK);
        }
        uint64_t each = (rd_clock_thread_cpu_ns() - start) / 200;
        best = each < best ? each : best;
    }
    print_message("# a key check takes %llu ns\n", (unsigned long long)best);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__has_feature)
    assert_true(best <
                20000); /* goal 2 us; the slack is for slow machines, a disk access is over it */
#endif
    rd_store_close(store);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scopes_have_names),
        TEST(test_a_key_is_made_and_accepted),
        TEST(test_altered_and_foreign_keys_are_refused),
        TEST(test_expiry_to_the_millisecond),
        TEST(test_revocation_is_at_once_and_lasts),
        TEST(test_revocation_holds_when_the_disk_fails),
        TEST(test_list_by_tenant_in_order),
        TEST(test_limits_of_tenant_name_scopes_expiry),
        TEST(test_no_more_keys_than_the_limit),
        TEST(test_last_use_is_noted_once_a_minute),
        TEST(test_many_keys_are_all_found_again),
        TEST(test_no_secret_is_in_any_file),
        TEST(test_threads),
        TEST(test_a_check_is_quick),
    };
    return cmocka_run_group_tests_name("store/keys", tests, NULL, NULL);
}
