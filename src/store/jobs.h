/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs on disk: every accepted job, each change of its state, idempotency keys, and the outbox of
 * webhooks. The same database as store.h, so that a job's end and the message about it are one
 * transaction.
 *
 * Writing is by batches: rd_store_jobs_apply takes the changes of many jobs and makes them durable
 * with one sync (group commit); src/jobs/writer.c gathers them. A change that cannot be made (an
 * idempotency key that another job has) fails alone; the batch fails only as a whole, and then
 * nothing of it was written. After the first failed sync the store refuses for ever (store.h).
 *
 * Reading uses the reader connection and never waits for a sync. `each` is called while that is
 * held: it must be quick and must not call the store.
 *
 * What was altered on disk is CORRUPT when it is read: what was submitted, and by whom, is sealed
 * with the request and checked wherever that is handed out; damage of the other kind is found where
 * it is met. The start reads only small tables (db.c), whatever the number of jobs. */
#ifndef RD_STORE_JOBS_H
#define RD_STORE_JOBS_H

#include "store/store.h"

enum rd_job_status { /* as on the wire */
                     RD_STATUS_QUEUED,
                     RD_STATUS_RUNNING,
                     RD_STATUS_COMPLETE,
                     RD_STATUS_ERROR,
                     RD_STATUS_CANCELLED,
                     RD_STATUS_COUNT_,
};
const char *rd_job_status_name(enum rd_job_status status);
bool rd_job_status_parse(const char *name, enum rd_job_status *ret);

enum { RD_MODEL_NAME_MAX = 128, RD_JOB_REQUEST_MAX = 33 << 20 };

/* A job as it is stored. Texts of a row that a reading function hands out live during the call;
 * those of a change belong to the caller until rd_store_jobs_apply returns. */
struct rd_job_row {
    uint64_t n; /* order of acceptance; given by the caller, ascending, never used again */
    char id[RD_ID_MAX];
    uint64_t owner;
    const char *tenant;  /* its name; reading only */
    unsigned lane;       /* 0 high, 1 normal, 2 low */
    const char *model;   /* "family/model" */
    int kind;            /* the backend kind asked for, -1: any */
    uint32_t units;      /* work, for the queue's estimate */
    const char *request; /* the submission as JSON, as it came; NULL where it was not asked for */
    size_t request_len;
    const char *request_id; /* of the submission: what the statement's salt is bound to */
    const char *webhook;    /* URL or "" */
    uint32_t seed;
    unsigned media; /* enum rd_media */
    unsigned task;  /* enum rd_task; 0 in rows of before schema version 4 */
    uint64_t created_ms, expires_ms /* in the queue; 0: never */, started_ms, ended_ms;
    unsigned attempt;    /* leases written */
    uint64_t token;      /* of the last lease */
    const char *backend; /* of the last lease, "" */
    bool cancel;         /* was asked for */
    enum rd_job_status status;
    /* COMPLETE: the outputs as JSON list. ERROR, CANCELLED: the error as JSON object, or "". */
    const char *result;
    uint64_t device_ns; /* what ran in all, also of a cancelled job */
    int device_source;  /* enum rd_device_time_source: 0 means unknown */
};

/* Any of them is INTERNAL when the caller breaks this contract (a number twice, a text too long).
 * LEASE, RETRY, CANCEL and END are NOT_FOUND for an unknown n, and CONFLICT for a job that has
 * ended: that is for ever. */
enum rd_job_write_kind {
    RD_WRITE_ADD,    /* row; with an idempotency key: may be CONFLICT (key with another body), or
                        RD_OK with `existing` set: nothing was added, this is the job (or was it: a
                        key outlives a job that was forgotten first) */
    RD_WRITE_LEASE,  /* n, token, attempt, backend, started_ms; CONFLICT unless the token is higher
                        than that of the lease before */
    RD_WRITE_RETRY,  /* n: its run is over, it waits for its next attempt */
    RD_WRITE_CANCEL, /* n */
    RD_WRITE_END,    /* n, status, result, device_ns, device_source, ended_ms; with `message` the
                        outbox gets it, for the webhook that the job was added with, if any */
    RD_WRITE_DELIVERY, /* delivery: the outcome of one try (id, attempt, next_ms, state, status,
                          reason); NOT_FOUND for an unknown id */
};

/* One message to one endpoint. */
struct rd_delivery {
    uint64_t n;
    char id[RD_ID_MAX]; /* "msg_..." */
    char job[RD_ID_MAX];
    uint64_t owner;
    const char *tenant; /* reading only */
    const char *url;
    const char *body;
    unsigned attempt; /* tries made */
    uint64_t created_ms, next_ms /* due; 0: no more */;
    enum { RD_DELIVERY_PENDING, RD_DELIVERY_DONE, RD_DELIVERY_FAILED, RD_DELIVERY_DISABLED } state;
    int status;         /* HTTP status of the last try; 0: none came */
    const char *reason; /* what went wrong with the last try, "" */
};

struct rd_job_write {
    enum rd_job_write_kind kind;
    struct rd_job_row row;       /* what the kind names; the rest is not looked at */
    const char *idempotency_key; /* ADD: or NULL */
    uint8_t body_hash[RD_HASH_LEN];
    const char *message; /* END: body of the webhook, or NULL */
    char message_id[RD_ID_MAX];
    struct rd_delivery delivery;
    bool disable_endpoint; /* DELIVERY: the endpoint (owner and url) said 410: what waits for it
                              becomes DISABLED, later messages to it are not made */
    /* out */
    rd_err err;
    char existing[RD_ID_MAX]; /* ADD: the job that has this key, or "" */
};

/* One transaction, durable when RD_OK is returned; each write has its own err then. */
rd_err rd_store_jobs_apply(struct rd_store *store, struct rd_job_write *writes,
                           size_t count) RD_MUST;

/* What an ADD with this owner, key and body_hash would find: `existing` or err CONFLICT is filled
 * in. NOT_FOUND: the key is new. Reading only. */
rd_err rd_store_job_key(struct rd_store *store, struct rd_job_write *write) RD_MUST;

/* The highest n and token so far, for numbering on. */
rd_err rd_store_jobs_last(struct rd_store *store, uint64_t *ret_n, uint64_t *ret_token) RD_MUST;
/* Every job that has not ended, in the order of n, without its request: a million in about a
 * second. `each` returns false to stop. */
rd_err rd_store_jobs_live(struct rd_store *store,
                          bool (*each)(void *ctx, const struct rd_job_row *row), void *ctx) RD_MUST;
/* One job with its request. owner 0: any (administrator). NOT_FOUND for another tenant's. The row
 * is handed to `each` once. */
rd_err rd_store_job_get(struct rd_store *store, uint64_t owner, const char *id,
                        void (*each)(void *ctx, const struct rd_job_row *row), void *ctx) RD_MUST;
/* The tenant's (0: all) jobs, newest first, those after `after` ("" = from the newest), of this
 * status (-1: all), without their requests. */
struct rd_job_filter {
    uint64_t owner;
    const char *after;
    int status;
    unsigned limit;
};
rd_err rd_store_jobs_list(struct rd_store *store, const struct rd_job_filter *filter,
                          bool (*each)(void *ctx, const struct rd_job_row *row), void *ctx) RD_MUST;
/* All jobs, oldest first, with their requests: `render-gateway jobs export`. Each is told as it is
 * when its turn comes; others read between. */
rd_err rd_store_jobs_export(struct rd_store *store,
                            bool (*each)(void *ctx, const struct rd_job_row *row),
                            void *ctx) RD_MUST;
/* Forgets idempotency keys, with kept answers, older than `keys_before_ms`, and ended jobs and
 * deliveries older than `jobs_before_ms` (0: keep), at most `max` rows of each, so that writers
 * wait only for a moment; *ret_more: there are more. */
rd_err rd_store_jobs_sweep(struct rd_store *store, uint64_t keys_before_ms, uint64_t jobs_before_ms,
                           unsigned max, bool *ret_more) RD_MUST;

/* The outbox. Pending deliveries that are due at `now_ms`, the longest due first, at most `limit`;
 * *ret_next_ms: when the next one after those is due (0: none). */
rd_err rd_store_deliveries_due(struct rd_store *store, uint64_t now_ms, unsigned limit,
                               bool (*each)(void *ctx, const struct rd_delivery *delivery),
                               void *ctx, uint64_t *ret_next_ms) RD_MUST;
/* The tenant's (0: all), newest first, from `after` on; and one (NOT_FOUND like a job's). */
rd_err rd_store_deliveries_list(struct rd_store *store, const struct rd_job_filter *filter,
                                bool (*each)(void *ctx, const struct rd_delivery *delivery),
                                void *ctx) RD_MUST;
/* Makes a delivery due now again with no tries made, and enables its endpoint. Durable. */
rd_err rd_store_delivery_replay(struct rd_store *store, uint64_t owner, const char *id,
                                uint64_t now_ms) RD_MUST;
/* How many wait, and since when the oldest is due (0: none): for /metrics. */
rd_err rd_store_deliveries_age(struct rd_store *store, uint64_t *ret_count,
                               uint64_t *ret_oldest_ms) RD_MUST;

/* Webhook secrets of a tenant: the newest signs, with the one before it beside until a day after it
 * was replaced (rotation). Made at the first need. Encrypted under the pepper, never listed. */
enum { RD_WEBHOOK_SECRET_LEN = 32 };
struct rd_webhook_secrets {
    size_t count; /* 1 or 2, newest first */
    uint8_t secrets[2][RD_WEBHOOK_SECRET_LEN];
};
rd_err rd_store_webhook_secrets(struct rd_store *store, uint64_t owner, uint64_t now_ms,
                                struct rd_webhook_secrets *ret) RD_MUST;
rd_err rd_store_webhook_rotate(struct rd_store *store, uint64_t owner, uint64_t now_ms,
                               struct rd_webhook_secrets *ret) RD_MUST;

#endif
