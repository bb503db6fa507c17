/* SPDX-License-Identifier: Apache-2.0
 *
 * Upload tickets: one PUT each, one hour, claims, restarts, sweeping, limits, and a race for a
 * claim. */
#include <pthread.h>

#include "base/limits.h"
#include "fixture.h"

enum { HOUR_MS = 3600000 };

static struct rd_upload ticket(struct rd_store *store, const struct rd_key *key,
                               char token[RD_UPLOAD_TOKEN_LEN + 1])
{
    struct rd_upload upload;
    assert_int_equal(rd_store_upload_create(store, key, "image/png", 1000, HOUR_MS, &upload, token),
                     RD_OK);
    return upload;
}

static rd_err claim(struct rd_store *store, const char *token, struct rd_upload *ret)
{
    return rd_store_upload_claim(store, token, strlen(token), ret);
}

static void test_the_whole_way(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    uint8_t hash[RD_HASH_LEN];
    struct rd_upload got;
    struct rd_key key = test_key(store, "acme", text);
    struct rd_upload made = ticket(store, &key, token);
    memset(hash, 0xab, sizeof hash);
    assert_true(rd_id_valid(made.id, "a_"));
    assert_int_equal(strlen(token), RD_UPLOAD_TOKEN_LEN);
    assert_string_equal(made.tenant, "acme");
    assert_int_equal(made.owner, key.owner);
    assert_int_equal(made.bytes, 1000);
    assert_int_equal(made.expires_ms, test_clock() + HOUR_MS);
    assert_false(made.done);

    assert_int_equal(rd_store_upload_resolve(store, made.id, &got), RD_ERR_NOT_FOUND);
    assert_int_equal(rd_store_upload_finish(store, made.id, hash), RD_ERR_CONFLICT); /* no claim */
    assert_int_equal(claim(store, token, &got), RD_OK);
    assert_memory_equal(&got, &made, sizeof got);
    assert_int_equal(claim(store, token, &got), RD_ERR_GONE); /* being used */
    rd_store_upload_release(store, made.id);
    rd_store_upload_release(store, made.id); /* twice does no harm */
    assert_int_equal(claim(store, token, &got), RD_OK);
    assert_int_equal(rd_store_upload_finish(store, made.id, hash), RD_OK);
    assert_int_equal(claim(store, token, &got), RD_ERR_GONE); /* used */
    assert_int_equal(rd_store_upload_finish(store, made.id, hash), RD_ERR_CONFLICT);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(rd_store_upload_resolve(store, made.id, &got), RD_OK);
        assert_true(got.done);
        assert_memory_equal(got.blake3, hash, sizeof hash);
        assert_string_equal(got.content_type, "image/png");
        assert_int_equal(got.owner, key.owner);
        rd_store_close(store);
        store = test_open();
        assert_int_equal(claim(store, token, &got), RD_ERR_GONE);
    }
    atomic_fetch_add(&test_now, (uint64_t)HOUR_MS * 1000); /* an alias lasts */
    assert_int_equal(rd_store_upload_resolve(store, made.id, &got), RD_OK);
    rd_store_close(store);
}

static void test_a_claim_does_not_survive_a_restart(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    struct rd_upload got;
    struct rd_key key = test_key(store, "acme", text);
    (void)ticket(store, &key, token);
    assert_int_equal(claim(store, token, &got), RD_OK);
    rd_store_close(store);
    store = test_open();
    assert_int_equal(claim(store, token, &got), RD_OK);
    rd_store_close(store);
}

static void test_wrong_tokens_and_ids(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    struct rd_upload got;
    memset(&got, 0x5a, sizeof got);
    struct rd_upload before = got;
    struct rd_key key = test_key(store, "acme", text);
    struct rd_upload made = ticket(store, &key, token);
    for (size_t i = 0; i < RD_UPLOAD_TOKEN_LEN; i++) {
        char kept = token[i];
        token[i] = kept == 'x' ? 'y' : 'x';
        assert_int_equal(claim(store, token, &got), RD_ERR_NOT_FOUND);
        token[i] = kept;
    }
    assert_int_equal(rd_store_upload_claim(store, token, RD_UPLOAD_TOKEN_LEN - 1, &got),
                     RD_ERR_NOT_FOUND);
    assert_int_equal(rd_store_upload_claim(store, token, 0, &got), RD_ERR_NOT_FOUND);
    assert_int_equal(claim(store, "' OR 1=1 --                   ", &got), RD_ERR_NOT_FOUND);
    assert_int_equal(claim(store, made.id, &got), RD_ERR_NOT_FOUND);
    static const char *const ids[] = {"",
                                      "a_",
                                      "a_../../etc/passwd",
                                      "a_0000000000000000000000",
                                      "key_000000000000000000000",
                                      "a_' OR 1=1 --000000000000000"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        assert_int_equal(rd_store_upload_resolve(store, ids[i], &got), RD_ERR_NOT_FOUND);
    }
    assert_memory_equal(&got, &before, sizeof got);
    assert_int_equal(claim(store, token, &got), RD_OK);
    rd_store_close(store);
}

static void test_an_hour_to_the_millisecond(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    struct rd_upload got;
    struct rd_key key = test_key(store, "acme", text);
    struct rd_upload made = ticket(store, &key, token);
    atomic_store(&test_now, made.expires_ms - 1);
    assert_int_equal(claim(store, token, &got), RD_OK);
    rd_store_upload_release(store, made.id);
    atomic_store(&test_now, made.expires_ms);
    assert_int_equal(claim(store, token, &got), RD_ERR_GONE);
    rd_store_close(store);
}

static void test_a_put_that_began_in_time_may_finish_later(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    uint8_t hash[RD_HASH_LEN] = {1};
    struct rd_upload got;
    struct rd_key key = test_key(store, "acme", text);
    struct rd_upload made = ticket(store, &key, token);
    assert_int_equal(claim(store, token, &got), RD_OK);
    atomic_store(&test_now, made.expires_ms + 1000);
    assert_int_equal(rd_store_upload_finish(store, made.id, hash), RD_OK);
    assert_int_equal(rd_store_upload_resolve(store, made.id, &got), RD_OK);
    rd_store_close(store);
}

static void test_expired_tickets_are_swept_a_day_later(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    char used[RD_UPLOAD_TOKEN_LEN + 1];
    char later[RD_UPLOAD_TOKEN_LEN + 1];
    uint8_t hash[RD_HASH_LEN] = {1};
    struct rd_upload got;
    struct rd_key key = test_key(store, "acme", text);
    struct rd_upload made = ticket(store, &key, token);
    struct rd_upload done = ticket(store, &key, used);
    assert_int_equal(claim(store, used, &got), RD_OK);
    assert_int_equal(rd_store_upload_finish(store, done.id, hash), RD_OK);
    atomic_store(&test_now, made.expires_ms + RD_STORE_TICKET_KEEP_MS - 1);
    (void)ticket(store, &key, later);
    assert_int_equal(claim(store, token, &got), RD_ERR_GONE);
    atomic_store(&test_now, made.expires_ms + RD_STORE_TICKET_KEEP_MS);
    (void)ticket(store, &key, later);
    assert_int_equal(claim(store, token, &got), RD_ERR_NOT_FOUND);
    assert_int_equal(rd_store_upload_resolve(store, done.id, &got), RD_OK); /* never swept */
    rd_store_close(store);
}

static void test_limits_of_a_ticket(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    struct rd_key key = test_key(store, "acme", text);
    static const struct {
        const char *type;
        uint64_t bytes, ttl;
        rd_err err;
    } rows[] = {
        {"image/png", 1, 1, RD_OK},
        {"1234567890123456789012345678901", RD_LIMIT_UPLOAD_BYTES, RD_STORE_TICKET_TTL_MS_MAX,
         RD_OK},
        {"12345678901234567890123456789012", 1, 1, RD_ERR_INVALID_REQUEST},
        {"", 1, 1, RD_ERR_INVALID_REQUEST},
        {"image/png", 0, 1, RD_ERR_INVALID_REQUEST},
        {"image/png", RD_LIMIT_UPLOAD_BYTES + 1, 1, RD_ERR_INVALID_REQUEST},
        {"image/png", UINT64_MAX, 1, RD_ERR_INVALID_REQUEST},
        {"image/png", 1, 0, RD_ERR_INVALID_REQUEST},
        {"image/png", 1, RD_STORE_TICKET_TTL_MS_MAX + 1, RD_ERR_INVALID_REQUEST},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rd_upload upload;
        char token[RD_UPLOAD_TOKEN_LEN + 1] = "untouched";
        assert_int_equal(rd_store_upload_create(store, &key, rows[i].type, rows[i].bytes,
                                                rows[i].ttl, &upload, token),
                         rows[i].err);
        assert_int_equal(strcmp(token, "untouched") == 0, rows[i].err != RD_OK);
    }
    key.owner = 99; /* no such tenant: the foreign key refuses */
    struct rd_upload upload;
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    assert_int_equal(rd_store_upload_create(store, &key, "image/png", 1, 1, &upload, token),
                     RD_ERR_STORAGE);
    assert_true(rd_store_healthy(store));
    rd_store_close(store);
}

static void test_open_tickets_of_one_tenant_are_limited(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    struct rd_upload upload;
    struct rd_key acme = test_key(store, "acme", text);
    struct rd_key beta = test_key(store, "beta", text);
    struct rd_upload first = ticket(store, &acme, token);
    rd_store_close(store);
    char sql[700];
    (void)snprintf(sql, sizeof sql,
                   "WITH RECURSIVE i(x) AS (SELECT 2 UNION ALL SELECT x + 1 FROM i WHERE x < %d)"
                   "INSERT INTO uploads SELECT NULL, 'a_' || printf('%%022d', x), randomblob(32),"
                   " 1, 'image/png', 1, %llu, 0, zeroblob(32), zeroblob(32) FROM i",
                   (int)RD_STORE_UPLOADS_OPEN_MAX - 1, (unsigned long long)first.expires_ms);
    test_sql(sql);
    store = test_open();
    (void)ticket(store, &acme, token); /* the last that fits */
    assert_int_equal(rd_store_upload_create(store, &acme, "image/png", 1, 1, &upload, token),
                     RD_ERR_RATE_LIMITED);
    (void)ticket(store, &beta, token); /* nobody else's concern */
    atomic_store(&test_now, first.expires_ms);
    (void)ticket(store, &acme, token); /* expired ones do not count */
    rd_store_close(store);
}

static void test_an_altered_row_is_not_believed(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "UPDATE uploads SET blake3 = zeroblob(32)",
        "UPDATE uploads SET owner = 2",
        "UPDATE uploads SET bytes = bytes + 1",
        "UPDATE uploads SET content_type = 'image/jpeg'",
        "UPDATE uploads SET expires_ms = expires_ms + 1",
        "UPDATE uploads SET seal = randomblob(32)",
        "UPDATE uploads SET seal = randomblob(31)",
        "UPDATE uploads SET bytes = -1",
        "UPDATE uploads SET content_type = printf('%100d', 1)",
    };
    char text[RD_KEY_TEXT_LEN + 1];
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    uint8_t hash[RD_HASH_LEN] = {7};
    struct rd_upload got;
    struct rd_store *store = test_open();
    struct rd_key key = test_key(store, "acme", text);
    (void)test_key(store, "beta", text);
    struct rd_upload made = ticket(store, &key, token);
    assert_int_equal(claim(store, token, &got), RD_OK);
    assert_int_equal(rd_store_upload_finish(store, made.id, hash), RD_OK);
    rd_store_close(store);
    size_t len = 0;
    char *whole = test_read("render.db", &len);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        test_sql(changes[i]);
        store = test_open();
        assert_int_equal(rd_store_upload_resolve(store, made.id, &got), RD_ERR_CORRUPT);
        rd_store_close(store);
        test_write("render.db", whole, len);
    }
    rd_mem_free(whole);
}

static void test_claims_are_limited(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    char tokens[40][RD_UPLOAD_TOKEN_LEN + 1];
    struct rd_upload got[40];
    struct rd_upload none;
    struct rd_key key = test_key(store, "acme", text);
    for (size_t i = 0; i < 40; i++) { /* past two growths */
        (void)ticket(store, &key, tokens[i]);
        assert_int_equal(claim(store, tokens[i], &got[i]), RD_OK);
    }
    rd_store_upload_release(store, got[3].id);
    assert_int_equal(claim(store, tokens[3], &none), RD_OK);
    for (size_t i = 0; i < 40; i++) {
        assert_int_equal(claim(store, tokens[i], &none), RD_ERR_GONE);
        rd_store_upload_release(store, got[i].id);
    }
    assert_int_equal(store->uploads.count, 0);
    while (store->uploads.room < RD_STORE_CLAIMS_MAX) {
        store->uploads.room *= 2;
    }
    store->uploads.ids = rd_mem_resize(store->uploads.ids, store->uploads.room * RD_ID_MAX);
    memset(store->uploads.ids, 0, store->uploads.room * RD_ID_MAX);
    store->uploads.count = RD_STORE_CLAIMS_MAX;
    assert_int_equal(claim(store, tokens[0], &none), RD_ERR_CAPACITY);
    store->uploads.count--;
    assert_int_equal(claim(store, tokens[0], &none), RD_OK);
    rd_store_close(store);
}

struct race {
    struct rd_store *store;
    const char *token;
    atomic_uint won, other;
};

static void *racer(void *ctx)
{
    struct race *race = ctx;
    struct rd_upload got;
    uint8_t hash[RD_HASH_LEN] = {3};
    for (int i = 0; i < 50; i++) {
        rd_err err = claim(race->store, race->token, &got);
        if (err == RD_OK && i < 40) {
            rd_store_upload_release(race->store, got.id);
        } else if (err == RD_OK) {
            atomic_fetch_add(&race->won,
                             rd_store_upload_finish(race->store, got.id, hash) == RD_OK ? 1 : 100);
        } else if (err != RD_ERR_GONE) {
            atomic_fetch_add(&race->other, 1);
        }
    }
    return NULL;
}

static void test_one_of_many_wins(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    struct rd_key key = test_key(store, "acme", text);
    (void)ticket(store, &key, token);
    struct race race = {.store = store, .token = token};
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, racer, &race), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&race.won), 1);
    assert_int_equal(atomic_load(&race.other), 0);
    rd_store_close(store);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_the_whole_way),
        TEST(test_a_claim_does_not_survive_a_restart),
        TEST(test_wrong_tokens_and_ids),
        TEST(test_an_hour_to_the_millisecond),
        TEST(test_a_put_that_began_in_time_may_finish_later),
        TEST(test_expired_tickets_are_swept_a_day_later),
        TEST(test_limits_of_a_ticket),
        TEST(test_open_tickets_of_one_tenant_are_limited),
        TEST(test_an_altered_row_is_not_believed),
        TEST(test_claims_are_limited),
        TEST(test_one_of_many_wins),
    };
    return cmocka_run_group_tests_name("store/uploads", tests, NULL, NULL);
}
