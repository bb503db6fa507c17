/* SPDX-License-Identifier: Apache-2.0
 *
 * Whose turn it is. A message goes through two lanes: its host's and its tenant's. Each lets so
 * many through at once, so that neither a slow endpoint nor a tenant with many of them takes the
 * workers from the others. A host that asked to be left alone rests; one whose last try brought no
 * answer at all gets one try at a time until it answers again.
 *
 * A lane also knows how long its tries take, and so how long the k-th in it will wait: who would
 * wait long is not held in memory, where there is room for some hundreds, but put off in the store.
 *
 * Pure and bounded: a table of RD_WEBHOOK_LANES, time is monotonic nanoseconds and comes in. A lane
 * is known by 64 bits of a keyed hash. Two that fell together would share their limits, no more. */
#ifndef RD_WEBHOOK_TURNS_H
#define RD_WEBHOOK_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RD_WEBHOOK_LANES = 4096, RD_WEBHOOK_LANE_NONE = 0 };

struct rd_webhook_lane {
    uint64_t key;      /* 0: free */
    uint32_t next;     /* in its bucket, or in the free list */
    uint32_t held;     /* messages in memory that go through it */
    uint32_t running;  /* of these, being tried */
    uint32_t max;      /* tries at once */
    uint32_t ahead;    /* counted by rd_webhook_turns_wait, in one pass over the messages */
    bool mute;         /* the last try brought no answer */
    uint64_t rest_ns;  /* not before then */
    uint64_t mean_ns;  /* of a try; moving */
    uint64_t moved_ns; /* since then tries run and none has ended */
    uint64_t used_ns;  /* last */
};

struct rd_webhook_turns {
    uint8_t salt[32];
    uint32_t buckets[RD_WEBHOOK_LANES]; /* first lane of each, by number + 1 */
    uint32_t free;                      /* number + 1 */
    uint32_t used;                      /* lanes ever given out: those behind are free too */
    struct rd_webhook_lane lanes[RD_WEBHOOK_LANES];
};

/* `turns` is all zero. */
void rd_webhook_turns_init(struct rd_webhook_turns *turns, const uint8_t salt[32]);
/* The number of the lane with this name, held once more; RD_WEBHOOK_LANE_NONE when all are held. */
uint32_t rd_webhook_turns_hold(struct rd_webhook_turns *turns, const char *name, uint32_t max,
                               uint64_t now_ns);
void rd_webhook_turns_release(struct rd_webhook_turns *turns, uint32_t lane);

bool rd_webhook_turns_free(const struct rd_webhook_turns *turns, uint32_t lane, uint64_t now_ns);
bool rd_webhook_turns_resting(const struct rd_webhook_turns *turns, uint32_t lane, uint64_t now_ns);
void rd_webhook_turns_begin(struct rd_webhook_turns *turns, uint32_t lane, uint64_t now_ns);
/* A try is over that began at `begun_ns`; whether any answer came. */
void rd_webhook_turns_end(struct rd_webhook_turns *turns, uint32_t lane, uint64_t begun_ns,
                          uint64_t now_ns, bool answered);
/* Nobody goes through before `until_ns`. */
void rd_webhook_turns_rest(struct rd_webhook_turns *turns, uint32_t lane, uint64_t until_ns);

/* How long the next message of this lane will wait, after those that asked before in this pass. */
void rd_webhook_turns_pass(struct rd_webhook_turns *turns, uint32_t lane); /* begins: ahead = 0 */
uint64_t rd_webhook_turns_wait(struct rd_webhook_turns *turns, uint32_t lane, uint64_t now_ns);

#endif
