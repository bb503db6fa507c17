/* SPDX-License-Identifier: Apache-2.0
 *
 * What is submitted to the queue: the fields of a generation, and around them where it goes
 * (modality, family, model, task, format, backend) and how (priority, webhook, ttl,
 * idempotency_key). The same JSON text is what the store keeps and what a run is made from later,
 * so there is one reader for both. */
#ifndef RD_GATEWAY_SUBMISSION_H
#define RD_GATEWAY_SUBMISSION_H

#include "gateway/run.h"

struct rd_submission {
    enum rd_lane lane;
    const char *webhook;                  /* "" for none */
    uint64_t ttl_ms;                      /* 0: it waits for ever */
    char key[RD_IDEMPOTENCY_KEY_MAX + 1]; /* "" for none */
    uint8_t body_hash[RD_HASH_LEN];       /* when there is a key: of all but the key, in one form */
    struct json_t *json;                  /* owned; `webhook` points into it */
};

/* Reads `text` into *submission and run->generation (run->media is set before; run->model, modality
 * and task are set here). `key` is the Idempotency-Key header or NULL. Errors as rd_request_parse;
 * problems live in the run's arena. Release with rd_submission_done in every case. */
rd_err rd_submission_read(struct rd_run *run, const char *text, size_t len, const char *key,
                          uint32_t random_seed, struct rd_submission *ret,
                          struct rd_problems *problems) RD_MUST;
/* The same from a sync call: its body, and around it what its path and query say. */
struct rd_submission_path {
    const char *format, *backend; /* of the query; NULL: not said */
};
rd_err rd_submission_from_sync(struct rd_run *run, const char *body, size_t len,
                               const struct rd_submission_path *path, struct rd_buf *ret) RD_MUST;
void rd_submission_done(struct rd_submission *submission);

#endif
