/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients that wait for the bytes of a generation, each with the time until which it waits. Whoever
 * claims a wait first answers its client, and nobody else does: the run that is over, the time that
 * is up, the client that leaves. */
#ifndef RD_GATEWAY_WAITS_H
#define RD_GATEWAY_WAITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct rd_waits;

/* Lives beside the exchange; belongs to the list while it is linked. */
struct rd_wait {
    uint64_t until_ns; /* monotonic */
    bool leaves;       /* at a drain its time is up: it waits for what will not come */
    /* The time is up. Under the list's lock: decides only. True: claimed, and `late` is called
     * next, without the lock; false: asked again in a second. NULL: always claimed. */
    bool (*may)(struct rd_wait *wait);
    void (*late)(struct rd_wait *wait);
    struct rd_wait *next, **link; /* link NULL: claimed, or not added yet */
    bool missed;                  /* somebody wanted to claim it while it was not linked */
    struct rd_wait *chain;        /* of those that are late, while they are being told */
};

void rd_waits_drain(struct rd_waits *waits);
rd_err rd_waits_new(struct rd_waits **ret) RD_MUST;
void rd_waits_free(struct rd_waits *waits); /* nobody waits any more; NULL is fine */
/* False, and nothing done: somebody wanted to claim it before. From true on others may end it: do
 * not touch it any more. */
bool rd_waits_add(struct rd_waits *waits, struct rd_wait *wait) RD_MUST;
/* After a claim that came to nothing. Whoever else wanted to claim it meanwhile: its time is up at
 * the next look. */
void rd_waits_put_back(struct rd_waits *waits, struct rd_wait *wait);
/* True for the first who asks, and only while it is linked. */
bool rd_waits_claim(struct rd_waits *waits, struct rd_wait *wait) RD_MUST;
/* Calls `fn` under the list's lock if nobody has claimed it: until it returns nobody does. */
void rd_waits_visit(struct rd_waits *waits, struct rd_wait *wait, void (*fn)(struct rd_wait *wait));
/* Some ten times a second: calls `late` of those whose time is up. */
void rd_waits_tick(struct rd_waits *waits);

#endif
