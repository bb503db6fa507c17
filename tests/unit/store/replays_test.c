/* SPDX-License-Identifier: Apache-2.0
 *
 * Kept answers: once, again, with another body, at the same time, over a restart, altered, swept,
 * at the limits. */
#include "fixture.h"
#include "jobs_fixture.h"

static const struct rd_replay_ask acme = {.owner = 7, .key = "order-1", .body_hash = {1, 2, 3}};

static void done(struct rd_store *store, const struct rd_replay_ask *ask, const char *answer)
{
    struct rd_replay got;
    assert_int_equal(rd_store_replay_begin(store, ask, &got), RD_OK);
    assert_int_equal(got.status, 0);
    assert_int_equal(rd_store_replay_keep(store, ask, 201, answer, strlen(answer)), RD_OK);
    rd_store_replay_release(store, ask);
}

static void is_kept(struct rd_store *store, const struct rd_replay_ask *ask, const char *answer)
{
    struct rd_replay got;
    assert_int_equal(rd_store_replay_begin(store, ask, &got), RD_OK);
    assert_int_equal(got.status, 201);
    assert_int_equal(got.len, strlen(answer));
    assert_memory_equal(got.answer, answer, got.len);
}

static void test_once_and_again(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    struct rd_replay got;
    done(store, &acme, "{\"key\":\"secret\"}");
    is_kept(store, &acme, "{\"key\":\"secret\"}");
    struct rd_replay_ask other = acme;
    other.body_hash[31] = 1;
    assert_int_equal(rd_store_replay_begin(store, &other, &got), RD_ERR_IDEMPOTENCY);
    other = acme;
    other.owner = 8; /* another tenant's key is another key */
    done(store, &other, "{}");
    is_kept(store, &other, "{}");
    rd_store_close(store);
    store = test_open();
    is_kept(store, &acme, "{\"key\":\"secret\"}");
    rd_store_close(store);
}

static void test_one_at_a_time(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    struct rd_replay got;
    assert_int_equal(rd_store_replay_begin(store, &acme, &got), RD_OK);
    assert_int_equal(rd_store_replay_begin(store, &acme, &got), RD_ERR_CONFLICT);
    rd_store_replay_release(store, &acme); /* it came to nothing */
    assert_int_equal(rd_store_replay_begin(store, &acme, &got), RD_OK);
    assert_int_equal(got.status, 0);
    rd_store_replay_release(store, &acme);
    char keys[RD_STORE_REPLAYS_OPEN_MAX + 1][8];
    for (unsigned i = 0; i <= RD_STORE_REPLAYS_OPEN_MAX; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "k%u", i);
        const struct rd_replay_ask ask = {.owner = 1, .key = keys[i]};
        assert_int_equal(rd_store_replay_begin(store, &ask, &got),
                         i < RD_STORE_REPLAYS_OPEN_MAX ? RD_OK : RD_ERR_CAPACITY);
    }
    rd_store_close(store);
}

static void test_limits(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    struct rd_replay got;
    static char longest[RD_REPLAY_ANSWER_MAX + 2];
    memset(longest, 'x', RD_REPLAY_ANSWER_MAX);
    done(store, &acme, longest);
    is_kept(store, &acme, longest);
    const struct rd_replay_ask second = {.owner = 7, .key = "order-2"};
    assert_int_equal(rd_store_replay_keep(store, &second, 201, longest, RD_REPLAY_ANSWER_MAX + 1),
                     RD_ERR_INTERNAL);
    assert_int_equal(rd_store_replay_keep(store, &second, 400, "", 0), RD_ERR_INTERNAL);
    const struct rd_replay_ask empty = {.owner = 7, .key = ""};
    assert_int_equal(rd_store_replay_begin(store, &empty, &got), RD_ERR_INTERNAL);
    rd_store_close(store);
}

/* Nothing in the file tells the secret, and what was altered is not given out. */
static void test_sealed(void **state)
{
    (void)state;
    static const char *const alter[] = {
        "UPDATE replays SET owner = 9",
        "UPDATE replays SET status = 200",
        "UPDATE replays SET status = 500",
        "UPDATE replays SET answer = zeroblob(length(answer))",
        "UPDATE replays SET answer = substr(answer, 1, length(answer) - 1)",
        "UPDATE replays SET answer = x''",
        "UPDATE replays SET nonce = zeroblob(24)",
        "UPDATE replays SET nonce = x'00'",
    };
    for (size_t i = 0; i < sizeof alter / sizeof *alter; i++) {
        struct rd_store *store = test_open();
        struct rd_replay got;
        done(store, &acme, "{\"key\":\"rk_verysecret\"}");
        rd_store_close(store);
        struct rd_buf file;
        rd_buf_init(&file, 1u << 24);
        assert_int_equal(rd_fs_read(test_path("render.db"), &file, NULL), RD_OK);
        assert_null(memmem(file.data, file.len, "rk_verysecret", 13));
        rd_buf_done(&file);
        test_sql(alter[i]);
        store = test_open();
        struct rd_replay_ask ask = acme;
        ask.owner = i == 0 ? 9 : 7;
        assert_int_equal(rd_store_replay_begin(store, &ask, &got), RD_ERR_CORRUPT);
        rd_store_close(store);
        assert_int_equal(unlink(test_path("render.db")), 0);
    }
}

static void test_forgotten_with_the_other_keys(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    struct rd_replay got;
    bool more = true;
    done(store, &acme, "{}");
    assert_int_equal(rd_store_jobs_sweep(store, test_clock(), 0, 10, &more), RD_OK);
    is_kept(store, &acme, "{}");
    assert_int_equal(rd_store_jobs_sweep(store, test_clock() + 1, 0, 10, &more), RD_OK);
    assert_int_equal(rd_store_replay_begin(store, &acme, &got), RD_OK);
    assert_int_equal(got.status, 0);
    rd_store_close(store);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_once_and_again),
        TEST(test_one_at_a_time),
        TEST(test_limits),
        TEST(test_sealed),
        TEST(test_forgotten_with_the_other_keys),
    };
    return cmocka_run_group_tests_name("store/replays", tests, NULL, NULL);
}
