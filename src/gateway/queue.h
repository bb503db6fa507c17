/* SPDX-License-Identifier: Apache-2.0
 *
 * Submitting to the queue, whichever way it comes: POST /queue, or a WebSocket message. */
#ifndef RD_GATEWAY_QUEUE_H
#define RD_GATEWAY_QUEUE_H

#include "gateway/gateway.h"

struct rd_submit_request {
    struct rd_gateway *gateway;
    const struct rd_key *key;
    const char *body; /* the submission as JSON; read only during the call */
    size_t len;
    const char *idempotency_key; /* header, or NULL */
    const char *request_id;
    enum rd_media media; /* of pictures */
};

struct rd_submit_answer {
    rd_err err;
    const char *message;                /* NULL: the error's own */
    const struct rd_problems *problems; /* or NULL */
    enum rd_admit admit;                /* not OK: the limits refused it */
    struct rd_jobs_limits limits;
    const struct rd_jobs_created *created; /* when err is RD_OK */
};
typedef void rd_submit_fn(void *ctx, const struct rd_submit_answer *answer);

/* Calls fn exactly once: from inside when it is refused, else on the writer of jobs/ when it is
 * durable. The answer lives during the call. Does not block; a large body takes its time. */
void rd_queue_submit_json(const struct rd_submit_request *request, rd_submit_fn *fn, void *ctx);
/* The contract's JobCreated. */
void rd_queue_created_json(const struct rd_gateway *gateway, const struct rd_jobs_created *created,
                           struct rd_buf *json);

#endif
