/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs on disk: what is written is read again, over a restart as well; each change that may not be
 * made fails alone; ended is for ever; lists in every form. */
#include "jobs_fixture.h"

static void test_statuses_have_names(void **state)
{
    (void)state;
    static const char *const names[] = {"queued", "running", "complete", "error", "cancelled"};
    enum rd_job_status status = RD_STATUS_QUEUED;
    for (int i = 0; i < RD_STATUS_COUNT_; i++) {
        assert_string_equal(rd_job_status_name((enum rd_job_status)i), names[i]);
        assert_true(rd_job_status_parse(names[i], &status));
        assert_int_equal(status, i);
    }
    assert_null(rd_job_status_name(RD_STATUS_COUNT_));
    assert_false(rd_job_status_parse("canceled", &status));
    assert_false(rd_job_status_parse("", &status));
    assert_int_equal(status, RD_STATUS_CANCELLED);
}

static void check_new(const struct kept *kept, uint64_t n)
{
    assert_int_equal(kept->row.n, n);
    assert_string_equal(kept->row.id, job_id(n));
    assert_int_equal(kept->row.owner, 1);
    assert_string_equal(kept->tenant, "acme");
    assert_int_equal(kept->row.lane, 1);
    assert_string_equal(kept->model, "builtin/plasma");
    assert_int_equal(kept->row.kind, -1);
    assert_int_equal(kept->row.units, 4096);
    assert_string_equal(kept->request_id, "req_1234567890123456789012");
    assert_int_equal(kept->row.seed, 4294967295u);
    assert_int_equal(kept->row.media, 3);
    assert_int_equal(kept->row.task, 4);
    assert_int_equal(kept->row.created_ms, 1800000000000 + n);
    assert_int_equal(kept->row.expires_ms, 1800000060000 + n);
}

/* Everything that is set is read again, at each stage, also after a restart. */
static void test_a_job_from_end_to_end(void **state)
{
    (void)state;
    struct kept kept;
    struct rd_store *store = jobs_open();
    struct rd_job_write write = job_add(7, 1);
    write.row.webhook = "https://example.com/hook";
    assert_int_equal(job_apply(store, write), RD_OK);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(job_get(store, 1, job_id(7), &kept), RD_OK);
        check_new(&kept, 7);
        assert_string_equal(kept.request, REQUEST);
        assert_int_equal(kept.row.request_len, strlen(REQUEST));
        assert_string_equal(kept.webhook, "https://example.com/hook");
        assert_string_equal(kept.backend, "");
        assert_string_equal(kept.result, "");
        assert_int_equal(kept.row.status, RD_STATUS_QUEUED);
        assert_int_equal(kept.row.started_ms + kept.row.ended_ms + kept.row.attempt +
                             kept.row.token + kept.row.device_ns,
                         0);
        assert_false(kept.row.cancel);
        rd_store_close(store);
        store = test_open();
    }
    assert_int_equal(job_apply(store, job_lease(7, 3)), RD_OK);
    assert_int_equal(job_apply(store, job_cancel(7)), RD_OK);
    assert_int_equal(job_get(store, 1, job_id(7), &kept), RD_OK);
    assert_int_equal(kept.row.status, RD_STATUS_RUNNING);
    assert_int_equal(kept.row.token, 3);
    assert_int_equal(kept.row.attempt, 1);
    assert_string_equal(kept.backend, "plasma-1");
    assert_int_equal(kept.row.started_ms, 1800000001007);
    assert_true(kept.row.cancel);
    const struct rd_job_write pause = {.kind = RD_WRITE_RETRY, .row = {.n = 7}};
    assert_int_equal(job_apply(store, pause), RD_OK);
    assert_int_equal(job_get(store, 1, job_id(7), &kept), RD_OK);
    assert_int_equal(kept.row.status, RD_STATUS_QUEUED);
    assert_int_equal(kept.row.attempt, 1);
    assert_int_equal(job_apply(store, job_end(7, RD_STATUS_COMPLETE, "[{\"url\":\"x\"}]")), RD_OK);
    rd_store_close(store);
    store = test_open();
    assert_int_equal(job_get(store, 1, job_id(7), &kept), RD_OK);
    check_new(&kept, 7);
    assert_int_equal(kept.row.status, RD_STATUS_COMPLETE);
    assert_string_equal(kept.result, "[{\"url\":\"x\"}]");
    assert_int_equal(kept.row.ended_ms, 1800000002007);
    assert_int_equal(kept.row.device_ns, 12345678);
    assert_int_equal(kept.row.device_source, 1);
    rd_store_close(store);
}

static void test_a_job_is_its_owners(void **state)
{
    (void)state;
    struct kept kept;
    struct rd_store *store = jobs_open();
    assert_int_equal(job_apply(store, job_add(1, 1)), RD_OK);
    assert_int_equal(job_get(store, 1, job_id(1), &kept), RD_OK);
    assert_int_equal(job_get(store, 0, job_id(1), &kept), RD_OK);
    static const char *const others[] = {"", "j_", "j_000000000000", "key_0000000000000000000000",
                                         "j_' OR 1=1 --0000000000"};
    assert_int_equal(job_get(store, 2, job_id(1), &kept), RD_ERR_NOT_FOUND);
    assert_int_equal(job_get(store, 3, job_id(1), &kept), RD_ERR_NOT_FOUND);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(job_get(store, 0, others[i], &kept), RD_ERR_NOT_FOUND);
    }
    rd_store_close(store);
}

static void test_ended_is_for_ever(void **state)
{
    (void)state;
    struct kept kept;
    struct rd_store *store = jobs_open();
    struct rd_job_write writes[] = {
        job_add(1, 1),
        job_lease(1, 1),
        job_end(1, RD_STATUS_ERROR, "{\"code\":\"x\"}"),
        job_end(1, RD_STATUS_COMPLETE, "[]"), /* a late result */
        job_lease(1, 2),
        job_cancel(1),
        job_add(2, 1), /* and the batch goes on */
    };
    static const rd_err expected[] = {RD_OK,           RD_OK,           RD_OK, RD_ERR_CONFLICT,
                                      RD_ERR_CONFLICT, RD_ERR_CONFLICT, RD_OK};
    size_t count = sizeof writes / sizeof *writes;
    assert_int_equal(rd_store_jobs_apply(store, writes, count), RD_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(writes[i].err, expected[i]);
    }
    assert_int_equal(job_get(store, 1, job_id(1), &kept), RD_OK);
    assert_int_equal(kept.row.status, RD_STATUS_ERROR);
    assert_string_equal(kept.result, "{\"code\":\"x\"}");
    assert_int_equal(kept.row.token, 1);
    assert_false(kept.row.cancel);
    assert_int_equal(job_get(store, 1, job_id(2), &kept), RD_OK);
    rd_store_close(store);
}

static void test_changes_that_cannot_be(void **state)
{
    (void)state;
    struct rd_store *store = jobs_open();
    assert_int_equal(job_apply(store, job_lease(1, 1)), RD_ERR_NOT_FOUND);
    assert_int_equal(job_apply(store, job_cancel(1)), RD_ERR_NOT_FOUND);
    assert_int_equal(job_apply(store, job_end(1, RD_STATUS_COMPLETE, "")), RD_ERR_NOT_FOUND);
    assert_int_equal(job_apply(store, job_add(1, 1)), RD_OK);
    assert_int_equal(job_apply(store, job_end(1, RD_STATUS_RUNNING, "")), RD_ERR_INTERNAL);
    assert_int_equal(job_apply(store, job_end(1, RD_STATUS_COUNT_, "")), RD_ERR_INTERNAL);
    struct rd_job_write odd = job_cancel(1);
    odd.kind = (enum rd_job_write_kind)99;
    assert_int_equal(job_apply(store, odd), RD_ERR_INTERNAL);
    /* A lease that comes after a newer one. */
    assert_int_equal(job_apply(store, job_lease(1, 5)), RD_OK);
    assert_int_equal(job_apply(store, job_lease(1, 5)), RD_ERR_CONFLICT);
    assert_int_equal(job_apply(store, job_lease(1, 4)), RD_ERR_CONFLICT);
    assert_int_equal(job_apply(store, job_lease(1, 6)), RD_OK);
    assert_true(rd_store_healthy(store));
    rd_store_close(store);
}

/* The same number or id again, an unknown tenant: refused alone, with no trace. */
static void test_an_add_that_collides_leaves_nothing(void **state)
{
    (void)state;
    struct kept kept;
    struct rd_store *store = jobs_open();
    struct rd_job_write writes[] = {job_add(1, 1), job_add(1, 1), job_add(2, 1), job_add(3, 77),
                                    job_add(4, 1)};
    (void)snprintf(writes[1].row.id, RD_ID_MAX, "j_9999999999999999999999");
    (void)snprintf(writes[2].row.id, RD_ID_MAX, "%s", writes[0].row.id);
    writes[2].idempotency_key = "k";
    static const rd_err expected[] = {RD_OK, RD_ERR_INTERNAL, RD_ERR_INTERNAL, RD_ERR_INTERNAL,
                                      RD_OK};
    assert_int_equal(rd_store_jobs_apply(store, writes, 5), RD_OK);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(writes[i].err, expected[i]);
    }
    assert_int_equal(job_get(store, 0, "j_9999999999999999999999", &kept), RD_ERR_NOT_FOUND);
    struct rd_job_write again = job_add(2, 1); /* 2 and its key are free */
    again.idempotency_key = "k";
    assert_int_equal(job_apply(store, again), RD_OK);
    assert_int_equal(job_apply(store, job_add(3, 2)), RD_OK);
    rd_store_close(store);
}

static void test_limits_of_a_row(void **state)
{
    (void)state;
    struct rd_store *store = jobs_open();
    static char long_text[RD_LIMIT_URL + 2];
    memset(long_text, 'x', sizeof long_text - 1);
    const char *const end = long_text + sizeof long_text - 1;
    struct kept kept;
    for (int over = 0; over < 2; over++) {
        rd_err expected = over == 1 ? RD_ERR_INTERNAL : RD_OK;
        for (uint64_t i = 0; i < 7; i++) {
            struct rd_job_write write = job_add(10 * (uint64_t)(over + 1) + i, 1);
            write.row.model = i == 0 ? end - RD_MODEL_NAME_MAX - over : write.row.model;
            write.row.webhook = i == 1 ? end - RD_LIMIT_URL - over : "";
            write.row.request_id = i == 2 ? end - RD_STORE_REQUEST_ID_MAX - over : "r";
            write.idempotency_key = i == 3 ? end - RD_IDEMPOTENCY_KEY_MAX - over : NULL;
            write.row.lane = i == 4 ? 2 + (unsigned)over : 0;
            write.row.request_len = i == 5 ? 1 - (size_t)over : write.row.request_len;
            write.row.expires_ms = i == 6 ? (uint64_t)INT64_MAX + (uint64_t)over : 0;
            assert_int_equal(job_apply(store, write), expected);
            assert_int_equal(job_get(store, 1, write.row.id, &kept),
                             over == 1 ? RD_ERR_NOT_FOUND : RD_OK);
        }
    }
    struct rd_job_write write = job_add(90, 1);
    write.idempotency_key = "";
    assert_int_equal(job_apply(store, write), RD_ERR_INTERNAL);
    write = job_add(0, 1);
    assert_int_equal(job_apply(store, write), RD_ERR_INTERNAL);
    write = job_add(90, 1);
    write.row.id[0] = 'k';
    assert_int_equal(job_apply(store, write), RD_ERR_INTERNAL);
    write = job_lease(10, 1);
    write.row.backend = end - RD_STORE_BACKEND_MAX - 1;
    assert_int_equal(job_apply(store, write), RD_ERR_INTERNAL);
    write.row.backend++;
    assert_int_equal(job_apply(store, write), RD_OK);
    rd_store_close(store);
}

static void count_bytes(void *ctx, const struct rd_job_row *row)
{
    *(size_t *)ctx = row->request_len;
    assert_int_equal(row->request[0], '"');
    assert_int_equal(row->request[row->request_len - 1], '"');
}

static void test_the_largest_request(void **state)
{
    (void)state;
    struct rd_store *store = jobs_open();
    char *request = rd_mem_alloc(RD_JOB_REQUEST_MAX + 1);
    assert_non_null(request);
    memset(request, '"', RD_JOB_REQUEST_MAX + 1);
    struct rd_job_write write = job_add(1, 1);
    write.row.request = request;
    write.row.request_len = RD_JOB_REQUEST_MAX + 1;
    assert_int_equal(job_apply(store, write), RD_ERR_INTERNAL);
    write.row.request_len = RD_JOB_REQUEST_MAX;
    assert_int_equal(job_apply(store, write), RD_OK);
    size_t len = 0;
    assert_int_equal(rd_store_job_get(store, 1, job_id(1), count_bytes, &len), RD_OK);
    assert_int_equal(len, RD_JOB_REQUEST_MAX);
    rd_mem_free(request);
    rd_store_close(store);
}

static void test_idempotency(void **state)
{
    (void)state;
    struct kept kept;
    struct rd_store *store = jobs_open();
    struct rd_job_write first = job_add(1, 1);
    first.idempotency_key = "order-1";
    first.body_hash[0] = 1;
    struct rd_job_write same = job_add(2, 1);
    same.idempotency_key = "order-1";
    same.body_hash[0] = 1;
    struct rd_job_write other_body = same;
    other_body.body_hash[31] = 9;
    struct rd_job_write other_tenant = job_add(3, 2);
    other_tenant.idempotency_key = "order-1";
    /* All in one batch, and then again after a restart. */
    struct rd_job_write writes[] = {first, same, other_body, other_tenant};
    assert_int_equal(rd_store_jobs_apply(store, writes, 4), RD_OK);
    assert_int_equal(writes[0].err, RD_OK);
    assert_string_equal(writes[0].existing, "");
    assert_int_equal(writes[1].err, RD_OK);
    assert_string_equal(writes[1].existing, job_id(1));
    assert_int_equal(writes[2].err, RD_ERR_CONFLICT);
    assert_string_equal(writes[2].existing, "");
    assert_int_equal(writes[3].err, RD_OK);
    assert_string_equal(writes[3].existing, "");
    rd_store_close(store);
    store = test_open();
    assert_int_equal(job_get(store, 0, job_id(2), &kept), RD_ERR_NOT_FOUND);
    assert_int_equal(rd_store_jobs_apply(store, &same, 1), RD_OK);
    assert_int_equal(same.err, RD_OK);
    assert_string_equal(same.existing, job_id(1));
    assert_int_equal(job_apply(store, other_body), RD_ERR_CONFLICT);
    /* The same by reading only. */
    assert_int_equal(rd_store_job_key(store, &same), RD_OK);
    assert_int_equal(same.err, RD_OK);
    assert_string_equal(same.existing, job_id(1));
    assert_int_equal(rd_store_job_key(store, &other_body), RD_OK);
    assert_int_equal(other_body.err, RD_ERR_CONFLICT);
    assert_string_equal(other_body.existing, "");
    same.idempotency_key = "order-2";
    assert_int_equal(rd_store_job_key(store, &same), RD_ERR_NOT_FOUND);
    assert_string_equal(same.existing, "");
    /* What was not added is no job, and its number is not taken. */
    assert_int_equal(job_apply(store, job_add(2, 1)), RD_OK);
    rd_store_close(store);
}

static void test_the_last_numbers(void **state)
{
    (void)state;
    uint64_t n = 99;
    uint64_t token = 99;
    struct rd_store *store = jobs_open();
    assert_int_equal(rd_store_jobs_last(store, &n, &token), RD_OK);
    assert_int_equal(n, 0);
    assert_int_equal(token, 0);
    struct rd_job_write writes[] = {job_add(5, 1), job_add(9, 1), job_lease(9, 40),
                                    job_lease(5, 30), job_lease(8, 50)};
    assert_int_equal(rd_store_jobs_apply(store, writes, 5), RD_OK);
    assert_int_equal(job_apply(store, job_add(6, 1)), RD_OK);
    assert_int_equal(job_apply(store, job_end(9, RD_STATUS_COMPLETE, "")), RD_OK);
    bool more = false;
    assert_int_equal(rd_store_jobs_sweep(store, 0, UINT64_C(1900000000000), 100, &more), RD_OK);
    rd_store_close(store);
    store = test_open();
    struct kept kept;
    assert_int_equal(job_get(store, 0, job_id(9), &kept), RD_ERR_NOT_FOUND); /* forgotten, but */
    assert_int_equal(rd_store_jobs_last(store, &n, &token), RD_OK);
    assert_int_equal(n, 9);
    assert_int_equal(token, 40); /* 50 was not written */
    rd_store_close(store);
}

static void test_live_jobs_in_order(void **state)
{
    (void)state;
    static struct kept_rows live;
    struct rd_store *store = jobs_open();
    for (uint64_t n = 1; n <= 9; n++) {
        assert_int_equal(job_apply(store, job_add(n, n % 2 + 1)), RD_OK);
    }
    assert_int_equal(job_apply(store, job_lease(2, 1)), RD_OK);
    assert_int_equal(job_apply(store, job_lease(7, 2)), RD_OK);
    assert_int_equal(job_apply(store, job_lease(5, 3)), RD_OK);
    assert_int_equal(job_apply(store, job_cancel(5)), RD_OK);
    assert_int_equal(job_apply(store, job_end(7, RD_STATUS_COMPLETE, "[]")), RD_OK);
    assert_int_equal(job_apply(store, job_end(3, RD_STATUS_CANCELLED, "")), RD_OK);
    assert_int_equal(rd_store_jobs_live(store, job_keep, &live), RD_OK);
    static const uint64_t expected[] = {1, 2, 4, 5, 6, 8, 9};
    assert_int_equal(live.count, 7);
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(live.rows[i].row.n, expected[i]);
        assert_string_equal(live.rows[i].row.id, job_id(expected[i]));
        assert_string_equal(live.rows[i].tenant, expected[i] % 2 == 0 ? "acme" : "beta");
        bool running = expected[i] == 2 || expected[i] == 5;
        assert_int_equal(live.rows[i].row.status, running ? RD_STATUS_RUNNING : RD_STATUS_QUEUED);
        assert_int_equal(live.rows[i].row.cancel, expected[i] == 5);
        assert_null(live.rows[i].row.request);
    }
    live = (struct kept_rows){.stop_at = 3};
    assert_int_equal(rd_store_jobs_live(store, job_keep, &live), RD_OK);
    assert_int_equal(live.count, 3);
    rd_store_close(store);
}

static void check_list(struct rd_store *store, const struct rd_job_filter *filter,
                       const char *expected)
{
    static struct kept_rows found;
    char text[200] = "";
    size_t len = 0;
    found.count = 0;
    assert_int_equal(rd_store_jobs_list(store, filter, job_keep, &found), RD_OK);
    for (size_t i = 0; i < found.count; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%d", i == 0 ? "" : " ",
                                (int)found.rows[i].row.n);
        assert_null(found.rows[i].row.request);
    }
    assert_string_equal(text, expected);
}

static void test_lists(void **state)
{
    (void)state;
    struct rd_store *store = jobs_open();
    for (uint64_t n = 1; n <= 12; n++) { /* acme has the even ones */
        assert_int_equal(job_apply(store, job_add(n, n % 2 + 1)), RD_OK);
    }
    assert_int_equal(job_apply(store, job_lease(4, 1)), RD_OK);
    assert_int_equal(job_apply(store, job_end(6, RD_STATUS_COMPLETE, "[6]")), RD_OK);
    assert_int_equal(job_apply(store, job_end(10, RD_STATUS_COMPLETE, "[10]")), RD_OK);
    assert_int_equal(job_apply(store, job_end(7, RD_STATUS_COMPLETE, "[7]")), RD_OK);
    assert_int_equal(job_apply(store, job_end(8, RD_STATUS_ERROR, "{}")), RD_OK);
    assert_int_equal(job_apply(store, job_end(2, RD_STATUS_CANCELLED, "")), RD_OK);
    char four[RD_ID_MAX];
    (void)snprintf(four, sizeof four, "%s", job_id(4));
    const struct {
        struct rd_job_filter filter;
        const char *expected;
    } cases[] = {
        {{1, "", -1, 99}, "12 10 8 6 4 2"},
        {{1, NULL, -1, 99}, "12 10 8 6 4 2"},
        {{1, "", -1, 3}, "12 10 8"},
        {{1, "", -1, 0}, ""},
        {{1, four, -1, 99}, "2"},
        {{1, "", RD_STATUS_COMPLETE, 99}, "10 6"},
        {{1, "", RD_STATUS_COMPLETE, 1}, "10"},
        {{1, four, RD_STATUS_COMPLETE, 99}, ""},
        {{1, "", RD_STATUS_QUEUED, 99}, "12"},
        {{1, "", RD_STATUS_RUNNING, 99}, "4"},
        {{1, "", RD_STATUS_ERROR, 99}, "8"},
        {{1, "", RD_STATUS_CANCELLED, 99}, "2"},
        {{2, "", -1, 99}, "11 9 7 5 3 1"},
        {{2, four, -1, 99}, "3 1"},
        {{3, "", -1, 99}, ""},
        {{0, "", -1, 99}, "12 11 10 9 8 7 6 5 4 3 2 1"},
        {{0, four, -1, 2}, "3 2"},
        {{0, "", RD_STATUS_COMPLETE, 99}, "10 7 6"},
        {{0, "", RD_STATUS_COMPLETE, 2}, "10 7"},
        {{0, four, RD_STATUS_QUEUED, 99}, "3 1"},
        {{0, "j_0", -1, 99}, ""},       /* before all */
        {{0, "j_zzz", -1, 2}, "12 11"}, /* after all */
        {{0, "'; DROP TABLE jobs", -1, 2}, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_list(store, &cases[i].filter, cases[i].expected);
    }
    /* A list goes on where it was when the job that it ended with is forgotten meanwhile. */
    bool more = true;
    char six[RD_ID_MAX];
    (void)snprintf(six, sizeof six, "%s", job_id(6));
    assert_int_equal(rd_store_jobs_sweep(store, 0, 1900000000000, 100, &more), RD_OK);
    assert_false(more);
    check_list(store, &(struct rd_job_filter){1, six, -1, 99}, "4");
    check_list(store, &(struct rd_job_filter){0, six, -1, 99}, "5 4 3 1");
    rd_store_close(store);
}

static void test_export(void **state)
{
    (void)state;
    static struct kept_rows all;
    struct rd_store *store = jobs_open();
    for (uint64_t n = 1; n <= 5; n++) {
        assert_int_equal(job_apply(store, job_add(n, n % 2 + 1)), RD_OK);
    }
    assert_int_equal(job_apply(store, job_end(3, RD_STATUS_COMPLETE, "[3]")), RD_OK);
    assert_int_equal(rd_store_jobs_export(store, job_keep, &all), RD_OK);
    assert_int_equal(all.count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(all.rows[i].row.n, i + 1);
        assert_string_equal(all.rows[i].request, REQUEST);
        assert_string_equal(all.rows[i].result, i == 2 ? "[3]" : "");
    }
    all = (struct kept_rows){.stop_at = 2};
    assert_int_equal(rd_store_jobs_export(store, job_keep, &all), RD_OK);
    assert_int_equal(all.count, 2);
    rd_store_close(store);
}

static bool count_rows(void *ctx, const struct rd_job_row *row)
{
    uint64_t *count = ctx;
    assert_int_equal(row->n, ++*count);
    return true;
}

static void test_export_of_many(void **state)
{
    (void)state;
    struct rd_store *store = jobs_open();
    uint64_t n = 0;
    for (size_t more = RD_STORE_EXPORT_ROWS - 1; more <= 2 * RD_STORE_EXPORT_ROWS + 1; more++) {
        while (n < more) {
            n++;
            assert_int_equal(job_apply(store, job_add(n, 1)), RD_OK);
        }
        uint64_t count = 0;
        assert_int_equal(rd_store_jobs_export(store, count_rows, &count), RD_OK);
        assert_int_equal(count, n);
    }
    rd_store_close(store);
}

static void test_an_altered_job_is_not_believed(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "UPDATE jobs SET owner = 2",
        "UPDATE jobs SET lane = 0",
        "UPDATE jobs SET model = 'other/model'",
        "UPDATE jobs SET kind = 1",
        "UPDATE jobs SET units = 1",
        "UPDATE jobs SET request_id = 'req_2'",
        "UPDATE jobs SET webhook = 'https://elsewhere'",
        "UPDATE jobs SET seed = 1",
        "UPDATE jobs SET media = 1",
        "UPDATE jobs SET created_ms = 1",
        "UPDATE jobs SET expires_ms = 1",
        "UPDATE job_requests SET request = '{}'",
        "UPDATE job_requests SET seal = zeroblob(32)",
        "UPDATE job_requests SET seal = x'00'",
        "DELETE FROM job_requests",
        "UPDATE jobs SET status = 9",
        "UPDATE jobs SET lane = 3",
        "UPDATE jobs SET cancel = 2",
        "UPDATE jobs SET token = -1",
        "UPDATE jobs SET backend = 'a' || char(0) || 'b'",
        "UPDATE jobs SET id = 'j_' || hex(zeroblob(40))",
    };
    struct kept kept;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct rd_store *store = jobs_open();
        assert_int_equal(job_apply(store, job_add(1, 1)), RD_OK);
        rd_store_close(store);
        test_sql("PRAGMA foreign_keys = OFF");
        test_sql(changes[i]);
        store = test_open();
        static struct kept_rows found;
        found.count = 0;
        rd_err err = job_get(store, 0, job_id(1), &kept);
        rd_err export = rd_store_jobs_export(store, job_keep, &found);
        if (export != RD_ERR_CORRUPT || (err != RD_ERR_CORRUPT && err != RD_ERR_NOT_FOUND)) {
            fail_msg("%s: %d %d", changes[i], (int)err, (int)export);
        }
        assert_int_equal(found.count, 0);
        rd_store_close(store);
        assert_int_equal(unlink(test_path("render.db")), 0);
        assert_int_equal(unlink(test_path("pepper")), 0);
    }
}

/* A part of a job without the job: a batch that meets it can never be written. */
static void test_a_stray_row_is_damage(void **state)
{
    (void)state;
    static const char *const strays[] = {
        "INSERT INTO job_requests VALUES(2, '{}', zeroblob(32))",
        "INSERT INTO job_results VALUES(2, '{}')",
        "INSERT INTO job_keys VALUES(2, 1, 'other', zeroblob(32), 'j_', 0)"};
    for (size_t i = 0; i < sizeof strays / sizeof *strays; i++) {
        struct kept kept;
        struct rd_store *store = jobs_open();
        rd_store_close(store);
        test_sql(strays[i]);
        store = test_open();
        struct rd_job_write writes[] = {job_add(1, 1), job_add(2, 1),
                                        job_end(2, RD_STATUS_COMPLETE, "[]")};
        writes[1].idempotency_key = "k";
        assert_int_equal(rd_store_jobs_apply(store, writes, 3), RD_ERR_CORRUPT);
        assert_int_equal(writes[0].err, RD_ERR_CORRUPT);
        assert_false(rd_store_healthy(store));
        assert_int_equal(job_get(store, 1, job_id(1), &kept), RD_ERR_NOT_FOUND);
        rd_store_close(store);
        assert_int_equal(unlink(test_path("render.db")), 0);
        assert_int_equal(unlink(test_path("pepper")), 0);
        (void)unlink(test_path("render.db-wal"));
        (void)unlink(test_path("render.db-shm"));
    }
}

/* Random changes, reopened now and then, against what they should have made. */
enum { MODEL_JOBS = 60, MODEL_STEPS = 1500, MODEL_BATCH = 12 };
struct model {
    bool there;
    enum rd_job_status status;
    uint64_t token, owner;
    bool cancel;
};

static uint64_t draw(uint64_t *seed, uint64_t below)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % below;
}

/* One random change, and what must come of it. */
static struct rd_job_write draw_change(struct model *jobs, uint64_t *seed, rd_err *ret_expected)
{
    uint64_t n = 1 + draw(seed, MODEL_JOBS - 1);
    struct model *job = &jobs[n];
    bool live = job->there && job->status < RD_STATUS_COMPLETE;
    *ret_expected = live ? RD_OK : job->there ? RD_ERR_CONFLICT : RD_ERR_NOT_FOUND;
    switch (draw(seed, 4)) {
    case 0: {
        struct rd_job_write write = job_add(n, 1 + draw(seed, 2));
        *ret_expected = job->there ? RD_ERR_INTERNAL : RD_OK;
        if (!job->there) {
            *job = (struct model){.there = true, .owner = write.row.owner};
        }
        return write;
    }
    case 1: {
        uint64_t token = draw(seed, 9);
        if (live && token <= job->token) {
            *ret_expected = RD_ERR_CONFLICT;
        } else if (live) {
            job->token = token;
            job->status = RD_STATUS_RUNNING;
        }
        return job_lease(n, token);
    }
    case 2:
        job->cancel |= live;
        return job_cancel(n);
    default: {
        enum rd_job_status status = (enum rd_job_status)(RD_STATUS_COMPLETE + draw(seed, 3));
        if (draw(seed, 3) > 0) {
            job->cancel |= live;
            return job_cancel(n);
        }
        job->status = live ? status : job->status;
        return job_end(n, status, "[]");
    }
    }
}

static void check_model(struct rd_store *store, const struct model *jobs)
{
    for (uint64_t n = 1; n < MODEL_JOBS; n++) {
        struct kept kept = {.row = {.n = 0}};
        rd_err err = job_get(store, 0, job_id(n), &kept);
        assert_int_equal(err, jobs[n].there ? RD_OK : RD_ERR_NOT_FOUND);
        if (jobs[n].there) {
            assert_int_equal(kept.row.owner, jobs[n].owner);
            assert_int_equal(kept.row.status, jobs[n].status);
            assert_int_equal(kept.row.token, jobs[n].token);
            assert_int_equal(kept.row.cancel, jobs[n].cancel);
        }
    }
    for (int status = -1; status < RD_STATUS_COUNT_; status++) {
        for (uint64_t owner = 0; owner <= 2; owner++) {
            char expected[400] = "";
            size_t len = 0;
            for (uint64_t n = MODEL_JOBS - 1, left = 20; n > 0 && left > 0; n--) {
                if (jobs[n].there && (owner == 0 || jobs[n].owner == owner) &&
                    (status < 0 || (int)jobs[n].status == status)) {
                    len += (size_t)snprintf(expected + len, sizeof expected - len, "%s%d",
                                            len == 0 ? "" : " ", (int)n);
                    left--;
                }
            }
            check_list(store, &(struct rd_job_filter){owner, "", status, 20}, expected);
        }
    }
}

static void test_random_changes_against_a_model(void **state)
{
    (void)state;
    static struct model jobs[MODEL_JOBS];
    uint64_t seed = 20;
    struct rd_store *store = jobs_open();
    for (int step = 0; step < MODEL_STEPS; step += MODEL_BATCH) {
        struct rd_job_write writes[MODEL_BATCH];
        rd_err expected[MODEL_BATCH];
        for (size_t i = 0; i < MODEL_BATCH; i++) {
            writes[i] = draw_change(jobs, &seed, &expected[i]);
        }
        assert_int_equal(rd_store_jobs_apply(store, writes, MODEL_BATCH), RD_OK);
        for (size_t i = 0; i < MODEL_BATCH; i++) {
            assert_int_equal(writes[i].err, expected[i]);
        }
        if (draw(&seed, 10) == 0) {
            rd_store_close(store);
            store = test_open();
            check_model(store, jobs);
        }
    }
    check_model(store, jobs);
    rd_store_close(store);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses_have_names),
        TEST(test_a_job_from_end_to_end),
        TEST(test_a_job_is_its_owners),
        TEST(test_ended_is_for_ever),
        TEST(test_changes_that_cannot_be),
        TEST(test_an_add_that_collides_leaves_nothing),
        TEST(test_limits_of_a_row),
        TEST(test_the_largest_request),
        TEST(test_idempotency),
        TEST(test_the_last_numbers),
        TEST(test_live_jobs_in_order),
        TEST(test_lists),
        TEST(test_export),
        TEST(test_export_of_many),
        TEST(test_an_altered_job_is_not_believed),
        TEST(test_a_stray_row_is_damage),
        TEST(test_random_changes_against_a_model),
    };
    return cmocka_run_group_tests_name("store/jobs", tests, NULL, NULL);
}
