/* SPDX-License-Identifier: Apache-2.0
 *
 * The outbox's own worker: one thread that reads what is due from the store, sends it, and writes
 * down what came of it. It never holds a job's slot, and nobody waits for it: a job's end and its
 * message are one transaction (store/jobs.h), and from then on the message is this thread's.
 *
 * At least once: a try is written down after it was made, so a gateway that dies in between makes
 * it again, with the same id, by which receivers tell. Nothing is lost, because a message stays
 * pending until a try's outcome says otherwise.
 *
 * Due times are wall-clock time, because they must survive a restart; a clock that is set back
 * delays messages by as much. Everything that is measured is measured monotonically. */
#ifndef RD_WEBHOOK_SENDER_H
#define RD_WEBHOOK_SENDER_H

#include "base/buf.h"
#include "fetch/fetch.h"
#include "store/jobs.h"

struct rd_webhook_sender;

/* Starts the thread; what is due in the store goes out. `store` must outlive it; of `options`
 * (copied) allow_hosts and ca_file count. curl_global_init comes before. */
rd_err rd_webhook_start(struct rd_store *store, const struct rd_fetch_options *options,
                        struct rd_webhook_sender **ret, struct rd_why *why) RD_MUST;
/* Other hosts are allowed from now on (a reload). Any thread. */
rd_err rd_webhook_configure(struct rd_webhook_sender *sender,
                            const struct rd_fetch_options *options) RD_MUST;
/* There is something new to send. Any thread; cheap, never waits. */
void rd_webhook_wake(struct rd_webhook_sender *sender);
/* Tries that run get a moment to end, then they are broken off, to be made again after the next
 * start. Tests that wait are answered (CANCELLED). Nobody calls in any more. NULL is fine. */
void rd_webhook_stop(struct rd_webhook_sender *sender);

/* A signed test message at once, by the same way as the others but for the outbox: it is tried
 * once. */
struct rd_webhook_result {
    rd_err err; /* CANCELLED, STORAGE: it was not tried; otherwise RD_OK and: */
    char id[RD_ID_MAX];
    int status;         /* 0: no answer came */
    const char *reason; /* "" when it was taken (2xx) */
    uint64_t took_ns;
};
typedef void rd_webhook_result_fn(void *ctx, const struct rd_webhook_result *result);
/* `fn` is called once, on the sender's thread; not when this fails: RATE_LIMITED beyond
 * RD_LIMIT_WEBHOOK_TESTS_TENANT, INVALID_REQUEST with why for the URL. */
rd_err rd_webhook_test(struct rd_webhook_sender *sender, uint64_t owner, const char *url,
                       rd_webhook_result_fn *fn, void *ctx, struct rd_why *why) RD_MUST;

/* Appends to /metrics. */
void rd_webhook_metrics(struct rd_webhook_sender *sender, struct rd_buf *text);

#endif
