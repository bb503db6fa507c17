/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of jobs share: a job that can be written at once, and rows kept after a reading
 * function has returned. */
#ifndef RD_TEST_STORE_JOBS_FIXTURE_H
#define RD_TEST_STORE_JOBS_FIXTURE_H

#include "fixture.h"

#include "base/limits.h"

#define REQUEST "{\"model\":\"builtin/plasma\",\"prompt\":\"a cat\"}"

/* The nth job; its id is made from n, so that tests can name it. */
static inline struct rd_job_write job_add(uint64_t n, uint64_t owner)
{
    struct rd_job_write write = {
        .kind = RD_WRITE_ADD,
        .row = {.n = n,
                .owner = owner,
                .lane = 1,
                .model = "builtin/plasma",
                .kind = -1,
                .units = 4096,
                .request = REQUEST,
                .request_len = strlen(REQUEST),
                .request_id = "req_1234567890123456789012",
                .webhook = "",
                .seed = 4294967295u,
                .media = 3,
                .task = 4,
                .created_ms = 1800000000000 + n,
                .expires_ms = 1800000060000 + n},
    };
    static const uint8_t none[10];
    rd_id_new_at("j_", 1800000000000 + n, none, write.row.id);
    return write;
}

static inline const char *job_id(uint64_t n)
{
    static char id[RD_ID_MAX];
    (void)snprintf(id, sizeof id, "%s", job_add(n, 1).row.id);
    return id;
}

static inline struct rd_job_write job_lease(uint64_t n, uint64_t token)
{
    return (struct rd_job_write){.kind = RD_WRITE_LEASE,
                                 .row = {.n = n,
                                         .token = token,
                                         .attempt = 1,
                                         .backend = "plasma-1",
                                         .started_ms = 1800000001000 + n}};
}

static inline struct rd_job_write job_end(uint64_t n, enum rd_job_status status, const char *result)
{
    return (struct rd_job_write){.kind = RD_WRITE_END,
                                 .row = {.n = n,
                                         .status = status,
                                         .result = result,
                                         .device_ns = 12345678,
                                         .device_source = 1,
                                         .ended_ms = 1800000002000 + n}};
}

static inline struct rd_job_write job_cancel(uint64_t n)
{
    return (struct rd_job_write){.kind = RD_WRITE_CANCEL, .row = {.n = n}};
}

/* Makes one change and gives its own error; the batch must be written. */
static inline rd_err job_apply(struct rd_store *store, struct rd_job_write write)
{
    assert_int_equal(rd_store_jobs_apply(store, &write, 1), RD_OK);
    return write.err;
}

/* A row with its texts, as long as the test needs it. */
struct kept {
    struct rd_job_row row;
    char tenant[80], model[200], request[400], request_id[200], webhook[2100], backend[200];
    char result[400];
};
struct kept_rows {
    struct kept rows[32];
    size_t count, stop_at; /* 0: never */
};

static inline bool job_keep(void *ctx, const struct rd_job_row *row)
{
    struct kept_rows *kept = ctx;
    assert_true(kept->count < sizeof kept->rows / sizeof *kept->rows);
    struct kept *k = &kept->rows[kept->count++];
    *k = (struct kept){.row = *row};
    const struct {
        const char *text;
        char *to;
        size_t room;
    } texts[] = {
        {row->tenant, k->tenant, sizeof k->tenant},
        {row->model, k->model, sizeof k->model},
        {row->request, k->request, sizeof k->request},
        {row->request_id, k->request_id, sizeof k->request_id},
        {row->webhook, k->webhook, sizeof k->webhook},
        {row->backend, k->backend, sizeof k->backend},
        {row->result, k->result, sizeof k->result},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        (void)snprintf(texts[i].to, texts[i].room, "%s",
                       texts[i].text == NULL ? "(none)" : texts[i].text);
    }
    return kept->stop_at == 0 || kept->count < kept->stop_at;
}

static inline void job_keep_one(void *ctx, const struct rd_job_row *row)
{
    (void)job_keep(ctx, row);
}

static inline rd_err job_get(struct rd_store *store, uint64_t owner, const char *id,
                             struct kept *ret)
{
    static struct kept_rows kept;
    kept.count = 0;
    rd_err err = rd_store_job_get(store, owner, id, job_keep_one, &kept);
    assert_int_equal(kept.count, err == RD_OK ? 1 : 0);
    if (err == RD_OK) {
        *ret = kept.rows[0];
    }
    return err;
}

/* A store with the tenants acme (owner 1) and beta (owner 2). */
static inline struct rd_store *jobs_open(void)
{
    char text[RD_KEY_TEXT_LEN + 1];
    struct rd_store *store = test_open();
    assert_int_equal(test_key(store, "acme", text).owner, 1);
    assert_int_equal(test_key(store, "beta", text).owner, 2);
    return store;
}

#endif
