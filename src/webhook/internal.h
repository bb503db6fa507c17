/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the sender share. Not for other folders.
 *
 *     sender.c   the thread, libcurl, tests, the face
 *     outbox.c   messages in memory: from the store, and back to it with what came of them
 *
 * A message in memory is an entry: WAITING for its turn, RUNNING in libcurl, or SETTLED, with a
 * change that the store is to be told. Entries stand in the order in which they are due. All of it
 * belongs to the sender's thread, but for what is marked. */
#ifndef RD_WEBHOOK_INTERNAL_H
#define RD_WEBHOOK_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/limits.h"
#include "webhook/hook.h"
#include "webhook/schedule.h"
#include "webhook/try.h"
#include "webhook/turns.h"

enum {
    RD_WEBHOOK_WINDOW = 512, /* messages in memory that wait */
    RD_WEBHOOK_ASKS = 64,    /* tests at once, of all tenants */
    RD_WEBHOOK_ENTRIES = RD_WEBHOOK_WINDOW + RD_LIMIT_WEBHOOKS_OPEN + RD_WEBHOOK_ASKS,
    RD_WEBHOOK_BATCH = 256,         /* outcomes in one transaction */
    RD_WEBHOOK_PATIENCE_MS = 1000,  /* who waits longer makes room when there is none */
    RD_WEBHOOK_PUT_OFF_MS = 300000, /* and comes back after at most so long */
    RD_WEBHOOK_TROUBLE_MS = 1000,   /* after an error of the store */
    RD_WEBHOOK_STOP_MS = 3000,      /* for tries that run when the gateway stops */
    RD_WEBHOOK_COUNT_MS = 250,      /* the outbox is counted at most so often, for /metrics */
};

struct rd_webhook_entry {
    enum { RD_WEBHOOK_WAITING, RD_WEBHOOK_RUNNING, RD_WEBHOOK_SETTLED } state;
    struct rd_delivery delivery; /* its texts are the four below */
    char *url, *body;            /* owned */
    size_t body_len;
    char reason[128];
    bool disable;          /* SETTLED: the endpoint wants no more */
    uint32_t host, tenant; /* lanes held; RD_WEBHOOK_LANE_NONE in a test */
    uint64_t begun_ns, took_ns;
    struct rd_webhook_try attempt; /* RUNNING */

    rd_webhook_result_fn *fn; /* a test: who waits for it. NULL: a message of the outbox */
    void *ctx;
    rd_err err;                    /* of a test */
    struct rd_webhook_entry *next; /* in the inbox */
};

struct rd_webhook_sender {
    struct rd_store *store;
    unsigned hurry, total_ms, trouble_ms, stop_ms; /* hook.h */
    pthread_t thread;
    CURLM *multi;

    /* Any thread. */
    atomic_bool hungry; /* there may be something new in the store */
    atomic_bool stop;
    _Atomic uint64_t done, again, failed, gone, put_off; /* for /metrics */
    _Atomic uint64_t pending, oldest_ms;                 /* of the store; oldest due, 0: none */
    _Atomic uint32_t running;                            /* written by the thread only */
    pthread_mutex_t lock;                                /* of what follows */
    struct rd_fetch_options options;                     /* its texts are owned */
    struct rd_webhook_entry *inbox;                      /* tests, newest first */
    uint64_t asking[RD_WEBHOOK_ASKS];                    /* their owners; 0: free */

    /* The thread's. */
    struct rd_webhook_entry *entries[RD_WEBHOOK_ENTRIES];
    size_t count;
    uint64_t next_due_ms; /* UINT64_MAX: nothing is */
    uint64_t flush_ns;    /* write no sooner, unless there is a batch of it */
    uint64_t trouble_ns;  /* the store failed: leave it alone until then */
    bool broken;          /* it failed for good */
    bool stale;           /* `pending` and `oldest_ms` have changed since ... */
    uint64_t counted_ns;  /* ... they were read */
    struct rd_webhook_turns turns;
    struct rd_job_write writes[RD_WEBHOOK_BATCH];
};

/* outbox.c */
struct rd_webhook_entry *rd_webhook_entry_new(const struct rd_delivery *delivery);
void rd_webhook_entry_free(struct rd_webhook_sender *sender, struct rd_webhook_entry *entry);
/* Is it time to read on, and is there room? */
bool rd_webhook_room(const struct rd_webhook_sender *sender);
/* Reads what is due, as far as there is room. */
void rd_webhook_load(struct rd_webhook_sender *sender, uint64_t now_ms);
/* A try's outcome. */
void rd_webhook_settle(struct rd_webhook_sender *sender, struct rd_webhook_entry *entry,
                       const struct rd_webhook_answer *answer);
/* No try was made; the message comes back later. */
void rd_webhook_put_off(struct rd_webhook_sender *sender, struct rd_webhook_entry *entry,
                        uint64_t wait_ms);
/* Puts off what rests, and, when more is due than there is room for, what would wait long. */
void rd_webhook_make_room(struct rd_webhook_sender *sender, uint64_t now_ns);
/* Counts what waits in the store, when it is time to. */
void rd_webhook_count(struct rd_webhook_sender *sender, uint64_t now_ns);
/* Tells those who wait for tests what has been settled, and the store, when it is time to: now, or
 * when as long has passed as the last writing took, so that a slow disk gets larger batches. */
void rd_webhook_flush(struct rd_webhook_sender *sender, uint64_t now_ns);
/* When it will be; UINT64_MAX: there is nothing to write. */
uint64_t rd_webhook_flush_at(const struct rd_webhook_sender *sender);

#endif
