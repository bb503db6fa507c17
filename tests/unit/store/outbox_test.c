/* SPDX-License-Identifier: Apache-2.0
 *
 * The outbox: a message is made with its job's end or not at all, what is due and when, what the
 * outcome of a try changes, endpoints that are gone, lists and replay. */
#include "jobs_fixture.h"

#define HOOK "https://example.com/hook"

struct deliveries {
    struct {
        struct rd_delivery d;
        char url[200], body[200], reason[200], tenant[80];
    } rows[32];
    size_t count, stop_at;
};
static struct deliveries found;

static bool keep(void *ctx, const struct rd_delivery *delivery)
{
    struct deliveries *kept = ctx;
    assert_true(kept->count < sizeof kept->rows / sizeof *kept->rows);
    kept->rows[kept->count].d = *delivery;
    (void)snprintf(kept->rows[kept->count].url, 200, "%s", delivery->url);
    (void)snprintf(kept->rows[kept->count].body, 200, "%s", delivery->body);
    (void)snprintf(kept->rows[kept->count].reason, 200, "%s", delivery->reason);
    (void)snprintf(kept->rows[kept->count].tenant, 80, "%s", delivery->tenant);
    kept->count++;
    return kept->stop_at == 0 || kept->count < kept->stop_at;
}

/* The message of the nth job. */
static const char *msg_id(uint64_t n)
{
    static char id[RD_ID_MAX];
    static const uint8_t none[10];
    rd_id_new_at("msg_", 1800000000000 + n, none, id);
    return id;
}

/* The nth job comes and goes, and a message says so, at 1800000002000 + n. */
static void make_message(struct rd_store *store, uint64_t n, uint64_t owner, const char *url)
{
    struct rd_job_write writes[] = {job_add(n, owner), job_end(n, RD_STATUS_COMPLETE, "[]")};
    writes[0].row.webhook = url;
    writes[1].message = "{\"type\":\"job.complete\"}";
    (void)snprintf(writes[1].message_id, RD_ID_MAX, "%s", msg_id(n));
    assert_int_equal(rd_store_jobs_apply(store, writes, 2), RD_OK);
    assert_int_equal(writes[0].err, RD_OK);
    assert_int_equal(writes[1].err, RD_OK);
}

static rd_err put(struct rd_store *store, uint64_t n, struct rd_delivery outcome, bool disable)
{
    struct rd_job_write write = {
        .kind = RD_WRITE_DELIVERY, .delivery = outcome, .disable_endpoint = disable};
    (void)snprintf(write.delivery.id, RD_ID_MAX, "%s", msg_id(n));
    return job_apply(store, write);
}

/* The numbers of the jobs of what is due, in order. */
static void check_due(struct rd_store *store, uint64_t now_ms, unsigned limit, const char *expected,
                      uint64_t expected_next)
{
    char text[200] = "";
    size_t len = 0;
    uint64_t next_ms = 77;
    found = (struct deliveries){.count = 0};
    assert_int_equal(rd_store_deliveries_due(store, now_ms, limit, keep, &found, &next_ms), RD_OK);
    for (size_t i = 0; i < found.count; i++) {
        for (uint64_t n = 1; n < 100; n++) {
            if (strcmp(found.rows[i].d.job, job_id(n)) == 0) {
                len += (size_t)snprintf(text + len, sizeof text - len, "%s%d", i == 0 ? "" : " ",
                                        (int)n);
            }
        }
    }
    assert_string_equal(text, expected);
    assert_int_equal(next_ms, expected_next);
}

static void test_a_message_is_made_with_the_end(void **state)
{
    (void)state;
    struct rd_store *store = jobs_open();
    check_due(store, UINT64_MAX, 10, "", 0);
    make_message(store, 1, 1, HOOK);
    for (int again = 0; again < 2; again++) {
        check_due(store, 1800000002001, 10, "1", 0);
        const struct rd_delivery *d = &found.rows[0].d;
        assert_string_equal(d->id, msg_id(1));
        assert_string_equal(d->job, job_id(1));
        assert_int_equal(d->owner, 1);
        assert_string_equal(found.rows[0].tenant, "acme");
        assert_string_equal(found.rows[0].url, HOOK);
        assert_string_equal(found.rows[0].body, "{\"type\":\"job.complete\"}");
        assert_string_equal(found.rows[0].reason, "");
        assert_int_equal(d->attempt, 0);
        assert_int_equal(d->created_ms, 1800000002001);
        assert_int_equal(d->next_ms, 1800000002001);
        assert_int_equal(d->state, RD_DELIVERY_PENDING);
        assert_int_equal(d->status, 0);
        rd_store_close(store);
        store = test_open();
    }
    rd_store_close(store);
}

static void test_no_message_without_need(void **state)
{
    (void)state;
    struct rd_store *store = jobs_open();
    make_message(store, 1, 1, ""); /* no webhook */
    struct rd_job_write writes[] = {job_add(2, 1),
                                    job_end(2, RD_STATUS_ERROR, "{}"),
                                    job_end(2, RD_STATUS_COMPLETE, "[]"),
                                    job_end(3, RD_STATUS_COMPLETE, "[]"),
                                    job_add(4, 1),
                                    job_end(4, RD_STATUS_COMPLETE, "[]")};
    writes[0].row.webhook = HOOK;
    writes[4].row.webhook = HOOK;
    for (size_t i = 2; i < 6; i++) { /* too late, unknown, and without a proper id */
        writes[i].message = "{}";
        (void)snprintf(writes[i].message_id, RD_ID_MAX, "%s", i == 5 ? "" : msg_id(i));
    }
    assert_int_equal(rd_store_jobs_apply(store, writes, 6), RD_OK);
    assert_int_equal(writes[2].err, RD_ERR_CONFLICT);
    assert_int_equal(writes[3].err, RD_ERR_NOT_FOUND);
    assert_int_equal(writes[5].err, RD_ERR_INTERNAL);
    check_due(store, UINT64_MAX, 10, "", 0);
    struct kept kept;
    assert_int_equal(job_get(store, 1, job_id(4), &kept), RD_OK);
    assert_int_equal(kept.row.status, RD_STATUS_QUEUED);
    rd_store_close(store);
}

/* The same message id again: the message is there, and the batch is not lost for it. */
static void test_a_message_twice_is_one(void **state)
{
    (void)state;
    struct kept kept;
    struct rd_store *store = jobs_open();
    make_message(store, 1, 1, HOOK);
    struct rd_job_write writes[] = {job_add(2, 1), job_end(2, RD_STATUS_ERROR, "{}")};
    writes[0].row.webhook = HOOK;
    writes[1].message = "{}";
    (void)snprintf(writes[1].message_id, RD_ID_MAX, "%s", msg_id(1));
    assert_int_equal(rd_store_jobs_apply(store, writes, 2), RD_OK);
    assert_int_equal(writes[1].err, RD_OK);
    check_due(store, UINT64_MAX, 10, "1", 0);
    assert_int_equal(job_get(store, 1, job_id(2), &kept), RD_OK);
    assert_int_equal(kept.row.status, RD_STATUS_ERROR);
    rd_store_close(store);
}

static void test_what_is_due_and_when(void **state)
{
    (void)state;
    struct rd_store *store = jobs_open();
    uint64_t count = 9;
    uint64_t oldest_ms = 9;
    assert_int_equal(rd_store_deliveries_age(store, &count, &oldest_ms), RD_OK);
    assert_int_equal(count, 0);
    assert_int_equal(oldest_ms, 0);
    for (uint64_t n = 1; n <= 5; n++) {
        make_message(store, n, 1 + n % 2, HOOK);
    }
    assert_int_equal(
        put(store, 2,
            (struct rd_delivery){
                .attempt = 1, .next_ms = 1800000009000, .status = 503, .reason = "HTTP 503"},
            false),
        RD_OK);
    check_due(store, 1800000002000, 10, "", 1800000002001);
    check_due(store, 1800000002001, 10, "1", 1800000002003);
    check_due(store, 1800000002003, 10, "1 3", 1800000002004);
    check_due(store, 1800000008999, 10, "1 3 4 5", 1800000009000);
    check_due(store, 1800000009000, 10, "1 3 4 5 2", 0);
    assert_int_equal(found.rows[4].d.attempt, 1);
    assert_int_equal(found.rows[4].d.status, 503);
    assert_string_equal(found.rows[4].reason, "HTTP 503");
    check_due(store, 1800000009000, 5, "1 3 4 5 2", 0);
    check_due(store, 1800000009000, 4, "1 3 4 5", 1800000009000);
    check_due(store, 1800000009000, 2, "1 3", 1800000002004); /* due, but beyond the limit */
    check_due(store, 1800000009000, 0, "", 1800000002001);
    assert_int_equal(rd_store_deliveries_age(store, &count, &oldest_ms), RD_OK);
    assert_int_equal(count, 5);
    assert_int_equal(oldest_ms, 1800000002001);
    /* A reader that has enough. */
    uint64_t next_ms = 0;
    found = (struct deliveries){.stop_at = 2};
    assert_int_equal(rd_store_deliveries_due(store, UINT64_MAX, 10, keep, &found, &next_ms), RD_OK);
    assert_int_equal(found.count, 2);
    static const int over[] = {RD_DELIVERY_DONE, RD_DELIVERY_FAILED, RD_DELIVERY_DISABLED};
    for (uint64_t i = 0; i < 3; i++) { /* done with 1, 2 and 3 */
        struct rd_delivery outcome = {.attempt = 2, .status = 200, .reason = NULL};
        outcome.state = (unsigned)over[i];
        assert_int_equal(put(store, i + 1, outcome, false), RD_OK);
    }
    check_due(store, UINT64_MAX, 10, "4 5", 0);
    assert_int_equal(rd_store_deliveries_age(store, &count, &oldest_ms), RD_OK);
    assert_int_equal(count, 2);
    assert_int_equal(oldest_ms, 1800000002004);
    rd_store_close(store);
}

static void test_outcomes_that_cannot_be(void **state)
{
    (void)state;
    struct rd_store *store = jobs_open();
    make_message(store, 1, 1, HOOK);
    assert_int_equal(put(store, 2, (struct rd_delivery){.reason = ""}, true), RD_ERR_NOT_FOUND);
    assert_int_equal(put(store, 1, (struct rd_delivery){.status = -1}, true), RD_ERR_INTERNAL);
    assert_int_equal(put(store, 1, (struct rd_delivery){.next_ms = UINT64_MAX}, true),
                     RD_ERR_INTERNAL);
    struct rd_delivery outcome = {.attempt = 1};
    outcome.state = (unsigned)RD_DELIVERY_DISABLED + 1;
    assert_int_equal(put(store, 1, outcome, true), RD_ERR_INTERNAL);
    struct rd_job_write write = {.kind = RD_WRITE_DELIVERY};
    assert_int_equal(job_apply(store, write), RD_ERR_INTERNAL);
    check_due(store, UINT64_MAX, 10, "1", 0); /* nothing of that did anything */
    make_message(store, 2, 1, HOOK);
    check_due(store, UINT64_MAX, 10, "1 2", 0);
    rd_store_close(store);
}

static void test_an_endpoint_that_is_gone(void **state)
{
    (void)state;
    struct rd_store *store = jobs_open();
    make_message(store, 1, 1, HOOK);
    make_message(store, 2, 1, HOOK);
    make_message(store, 3, 1, HOOK "2"); /* another of the tenant's */
    make_message(store, 4, 2, HOOK);     /* the same, another tenant's */
    make_message(store, 5, 1, HOOK);
    assert_int_equal(put(store, 5, (struct rd_delivery){.state = RD_DELIVERY_DONE}, false), RD_OK);
    for (int again = 0; again < 2; again++) { /* twice does no harm */
        assert_int_equal(
            put(store, 1,
                (struct rd_delivery){
                    .state = RD_DELIVERY_DISABLED, .attempt = 1, .status = 410, .reason = "gone"},
                true),
            RD_OK);
    }
    check_due(store, UINT64_MAX, 10, "3 4", 0);
    rd_store_close(store);
    store = test_open();
    make_message(store, 6, 1, HOOK);
    make_message(store, 7, 2, HOOK);
    check_due(store, UINT64_MAX, 10, "3 4 7", 0);
    /* Replaying one makes the endpoint take messages again; the others stay put aside. */
    assert_int_equal(rd_store_delivery_replay(store, 1, msg_id(2), 1800000000500), RD_OK);
    make_message(store, 8, 1, HOOK);
    check_due(store, UINT64_MAX, 10, "2 3 4 7 8", 0);
    assert_int_equal(found.rows[0].d.next_ms, 1800000000500);
    rd_store_close(store);
}

static void test_replay(void **state)
{
    (void)state;
    struct rd_store *store = jobs_open();
    make_message(store, 1, 1, HOOK);
    assert_int_equal(
        put(store, 1,
            (struct rd_delivery){
                .state = RD_DELIVERY_FAILED, .attempt = 10, .status = 500, .reason = "HTTP 500"},
            false),
        RD_OK);
    check_due(store, UINT64_MAX, 10, "", 0);
    assert_int_equal(rd_store_delivery_replay(store, 2, msg_id(1), 5), RD_ERR_NOT_FOUND);
    assert_int_equal(rd_store_delivery_replay(store, 1, msg_id(2), 5), RD_ERR_NOT_FOUND);
    assert_int_equal(rd_store_delivery_replay(store, 0, "msg_", 5), RD_ERR_NOT_FOUND);
    check_due(store, UINT64_MAX, 10, "", 0);
    assert_int_equal(rd_store_delivery_replay(store, 1, msg_id(1), 1800000005000), RD_OK);
    rd_store_close(store);
    store = test_open();
    check_due(store, 1800000005000, 10, "1", 0);
    assert_int_equal(found.rows[0].d.attempt, 0);
    assert_int_equal(found.rows[0].d.status, 0);
    assert_string_equal(found.rows[0].reason, "");
    assert_int_equal(found.rows[0].d.created_ms, 1800000002001);
    assert_int_equal(rd_store_delivery_replay(store, 0, msg_id(1), 1800000006000), RD_OK);
    check_due(store, 1800000005999, 10, "", 1800000006000);
    rd_store_close(store);
}

static void check_list(struct rd_store *store, const struct rd_job_filter *filter,
                       const char *expected)
{
    char text[200] = "";
    size_t len = 0;
    found = (struct deliveries){.count = 0};
    assert_int_equal(rd_store_deliveries_list(store, filter, keep, &found), RD_OK);
    for (size_t i = 0; i < found.count; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%d", i == 0 ? "" : " ",
                                (int)found.rows[i].d.n);
    }
    assert_string_equal(text, expected);
}

static void test_lists(void **state)
{
    (void)state;
    struct rd_store *store = jobs_open();
    for (uint64_t n = 1; n <= 8; n++) { /* acme has the even ones */
        make_message(store, n, n % 2 + 1, HOOK);
    }
    assert_int_equal(put(store, 2, (struct rd_delivery){.state = RD_DELIVERY_DONE}, false), RD_OK);
    assert_int_equal(put(store, 4, (struct rd_delivery){.state = RD_DELIVERY_FAILED}, false),
                     RD_OK);
    assert_int_equal(put(store, 3, (struct rd_delivery){.state = RD_DELIVERY_DONE}, false), RD_OK);
    char four[RD_ID_MAX];
    (void)snprintf(four, sizeof four, "%s", msg_id(4));
    const struct {
        struct rd_job_filter filter;
        const char *expected;
    } cases[] = {
        {{1, "", -1, 99}, "8 6 4 2"},
        {{1, "", -1, 2}, "8 6"},
        {{1, four, -1, 99}, "2"},
        {{1, "", RD_DELIVERY_PENDING, 99}, "8 6"},
        {{1, "", RD_DELIVERY_DONE, 99}, "2"},
        {{1, "", RD_DELIVERY_FAILED, 99}, "4"},
        {{1, "", RD_DELIVERY_DISABLED, 99}, ""},
        {{2, "", -1, 99}, "7 5 3 1"},
        {{0, "", -1, 99}, "8 7 6 5 4 3 2 1"},
        {{0, four, -1, 2}, "3 2"},
        {{0, "", RD_DELIVERY_DONE, 99}, "3 2"},
        {{0, four, RD_DELIVERY_PENDING, 99}, "1"},
        {{3, "", -1, 99}, ""},
        {{0, "", -1, 0}, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_list(store, &cases[i].filter, cases[i].expected);
    }
    rd_store_close(store);
}

static void test_an_altered_row_is_told(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "UPDATE deliveries SET state = 4, next_ms = 1", "UPDATE deliveries SET attempt = -1",
        "UPDATE deliveries SET owner = 99", "UPDATE deliveries SET status = 99999999999",
        "UPDATE deliveries SET id = 'msg_' || hex(zeroblob(40))"};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct rd_store *store = jobs_open();
        make_message(store, 1, 1, HOOK);
        rd_store_close(store);
        test_sql(changes[i]);
        store = test_open();
        found = (struct deliveries){.count = 0};
        struct rd_job_filter all = {0, "", -1, 10};
        assert_int_equal(rd_store_deliveries_list(store, &all, keep, &found), RD_ERR_CORRUPT);
        assert_int_equal(found.count, 0);
        rd_store_close(store);
        assert_int_equal(unlink(test_path("render.db")), 0);
        assert_int_equal(unlink(test_path("pepper")), 0);
    }
}

static void sweep(struct rd_store *store, uint64_t keys_before, uint64_t jobs_before, unsigned max,
                  bool expect_more)
{
    bool more = !expect_more;
    assert_int_equal(rd_store_jobs_sweep(store, keys_before, jobs_before, max, &more), RD_OK);
    assert_int_equal(more, expect_more);
}

/* Rows of a table, counted behind the store's back. */
static void check_counts(const char *table, int expected)
{
    char sql[200];
    (void)snprintf(sql, sizeof sql,
                   "CREATE TEMP TABLE x(n INTEGER CHECK(n = %d)) STRICT;"
                   "INSERT INTO x SELECT count(*) FROM %s",
                   expected, table);
    test_sql(sql);
}

static void test_sweep(void **state)
{
    (void)state;
    struct rd_store *store = jobs_open();
    for (uint64_t n = 1; n <= 10; n++) { /* created at 1.8e12 + n, ended 2 s later */
        if (n % 2 == 0) {
            make_message(store, n, 1, n == 2 ? HOOK "2" : HOOK);
        } else {
            struct rd_job_write write = job_add(n, 1);
            char key[8];
            (void)snprintf(key, sizeof key, "k%d", (int)n);
            write.idempotency_key = key;
            assert_int_equal(job_apply(store, write), RD_OK);
        }
    }
    for (uint64_t n = 4; n <= 10; n += 2) {
        assert_int_equal(put(store, n, (struct rd_delivery){.state = RD_DELIVERY_DONE}, false),
                         RD_OK);
    }
    sweep(store, 0, 0, 100, false);
    check_counts("jobs", 10);
    sweep(store, 1800000000001, 1800000002002, 100, false); /* to the millisecond: none yet */
    check_counts("jobs", 10);
    check_counts("job_keys", 5);
    sweep(store, 1800000000006, 0, 100, false);
    check_counts("jobs", 10);
    check_counts("job_keys", 2);
    struct rd_job_write again = job_add(11, 1);
    again.idempotency_key = "k5"; /* free again */
    assert_int_equal(job_apply(store, again), RD_OK);
    /* A few at a time: 2 to 10 ended, and have messages; 2's was not delivered and stays. */
    sweep(store, 0, 1900000000000, 2, true);
    check_counts("jobs", 9);
    sweep(store, 0, 1900000000000, 2, true);
    check_counts("jobs", 7);
    check_counts("deliveries", 1);
    sweep(store, 0, 1900000000000, 2, false);
    check_counts("jobs", 6); /* those that live */
    check_counts("job_requests", 6);
    check_counts("job_results", 0);
    check_counts("deliveries WHERE state = 0", 1);
    check_counts("deliveries", 1);
    check_due(store, UINT64_MAX, 10, "2", 0);
    sweep(store, 1900000000000, 1900000000000, 100, false);
    check_counts("job_keys", 0);
    check_counts("jobs", 6);
    rd_store_close(store);
}

/* ---- secrets ---- */

static bool same(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, RD_WEBHOOK_SECRET_LEN) == 0;
}

static void test_secrets_are_made_once_and_rotated(void **state)
{
    (void)state;
    const uint64_t t = 1800000000000;
    const uint64_t day = 86400000;
    struct rd_webhook_secrets first;
    struct rd_webhook_secrets got;
    struct rd_webhook_secrets other;
    struct rd_store *store = jobs_open();
    assert_int_equal(rd_store_webhook_secrets(store, 1, t, &first), RD_OK);
    assert_int_equal(first.count, 1);
    assert_int_equal(rd_store_webhook_secrets(store, 2, t, &other), RD_OK);
    assert_false(same(first.secrets[0], other.secrets[0]));
    assert_int_equal(rd_store_webhook_secrets(store, 1, t + 5 * day, &got), RD_OK);
    assert_int_equal(got.count, 1);
    assert_true(same(first.secrets[0], got.secrets[0]));
    rd_store_close(store);
    store = test_open();
    struct rd_webhook_secrets second;
    assert_int_equal(rd_store_webhook_rotate(store, 1, t + 9 * day, &second), RD_OK);
    assert_int_equal(second.count, 2);
    assert_true(same(second.secrets[1], first.secrets[0]));
    assert_false(same(second.secrets[0], first.secrets[0]));
    assert_int_equal(rd_store_webhook_secrets(store, 1, t + 10 * day - 1, &got), RD_OK);
    assert_int_equal(got.count, 2);
    assert_memory_equal(&got, &second, sizeof got);
    assert_int_equal(rd_store_webhook_secrets(store, 1, t + 10 * day, &got), RD_OK);
    assert_int_equal(got.count, 1);
    assert_true(same(got.secrets[0], second.secrets[0]));
    assert_int_equal(rd_store_webhook_secrets(store, 1, t, &got), RD_OK); /* the clock went back */
    assert_int_equal(got.count, 2);
    assert_int_equal(rd_store_webhook_rotate(store, 1, t + 11 * day, &got), RD_OK);
    assert_int_equal(got.count, 2);
    assert_true(same(got.secrets[1], second.secrets[0]));
    check_counts("webhook_secrets", 3); /* of both tenants */
    assert_int_equal(rd_store_webhook_secrets(store, 2, t, &got), RD_OK);
    assert_true(same(got.secrets[0], other.secrets[0]));
    /* Rotated before there was one; and no such tenant. */
    char text[RD_KEY_TEXT_LEN + 1];
    uint64_t owner = test_key(store, "gamma", text).owner;
    assert_int_equal(rd_store_webhook_rotate(store, owner, t, &got), RD_OK);
    assert_int_equal(got.count, 1);
    assert_int_equal(rd_store_webhook_secrets(store, 99, t, &got), RD_ERR_STORAGE);
    assert_true(rd_store_healthy(store));
    rd_store_close(store);
}

static void test_secrets_are_not_in_the_files(void **state)
{
    (void)state;
    struct rd_webhook_secrets got;
    struct rd_store *store = jobs_open();
    assert_int_equal(rd_store_webhook_secrets(store, 1, 1800000000000, &got), RD_OK);
    static const char *const names[] = {"render.db", "render.db-wal", "pepper"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t len = 0;
        char *file = test_read(names[i], &len);
        assert_null(memmem(file, len, got.secrets[0], RD_WEBHOOK_SECRET_LEN));
        rd_mem_free(file);
    }
    rd_store_close(store);
}

static void test_altered_secrets_do_not_open(void **state)
{
    (void)state;
    static const char *const changes[] = {"UPDATE webhook_secrets SET owner = 2",
                                          "UPDATE webhook_secrets SET created_ms = 1",
                                          "UPDATE webhook_secrets SET nonce = zeroblob(24)",
                                          "UPDATE webhook_secrets SET secret = zeroblob(48)",
                                          "UPDATE webhook_secrets SET secret = x''"};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct rd_webhook_secrets got = {.count = 77};
        struct rd_store *store = jobs_open();
        assert_int_equal(rd_store_webhook_secrets(store, 1, 1800000000000, &got), RD_OK);
        rd_store_close(store);
        test_sql(changes[i]);
        store = test_open();
        got.count = 77;
        uint64_t owner = i == 0 ? 2 : 1;
        assert_int_equal(rd_store_webhook_secrets(store, owner, 1800000000000, &got),
                         RD_ERR_CORRUPT);
        assert_int_equal(rd_store_webhook_rotate(store, owner, 1800000000000, &got),
                         RD_ERR_CORRUPT);
        assert_int_equal(got.count, 77);
        rd_store_close(store);
        assert_int_equal(unlink(test_path("render.db")), 0);
        assert_int_equal(unlink(test_path("pepper")), 0);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_message_is_made_with_the_end),
        TEST(test_no_message_without_need),
        TEST(test_a_message_twice_is_one),
        TEST(test_what_is_due_and_when),
        TEST(test_outcomes_that_cannot_be),
        TEST(test_an_endpoint_that_is_gone),
        TEST(test_replay),
        TEST(test_lists),
        TEST(test_an_altered_row_is_told),
        TEST(test_sweep),
        TEST(test_secrets_are_made_once_and_rotated),
        TEST(test_secrets_are_not_in_the_files),
        TEST(test_altered_secrets_do_not_open),
    };
    return cmocka_run_group_tests_name("store/outbox", tests, NULL, NULL);
}
