/* SPDX-License-Identifier: Apache-2.0
 *
 * The lanes. See turns.h. A chained hash table over a fixed array; links are numbers, 0 is none. */
#include "webhook/turns.h"

#include <string.h>

#include "base/hash.h"

enum { MEAN_PARTS = 8 }; /* of which the newest try is one */

void rd_webhook_turns_init(struct rd_webhook_turns *turns, const uint8_t salt[32])
{
    memcpy(turns->salt, salt, sizeof turns->salt);
}

static struct rd_webhook_lane *at(struct rd_webhook_turns *turns, uint32_t lane)
{
    return &turns->lanes[lane - 1];
}

static uint64_t key_of(const struct rd_webhook_turns *turns, const char *name)
{
    uint8_t hash[RD_HASH_LEN];
    uint64_t key = 0;
    rd_hash_blake3_keyed(turns->salt, name, strlen(name), hash);
    memcpy(&key, hash, sizeof key);
    return key == 0 ? 1 : key;
}

static uint32_t *bucket_of(struct rd_webhook_turns *turns, uint64_t key)
{
    return &turns->buckets[key % RD_WEBHOOK_LANES];
}

static void forget(struct rd_webhook_turns *turns, uint32_t lane)
{
    uint32_t *link = bucket_of(turns, at(turns, lane)->key);
    while (*link != lane) {
        link = &at(turns, *link)->next;
    }
    *link = at(turns, lane)->next;
    *at(turns, lane) = (struct rd_webhook_lane){.next = turns->free};
    turns->free = lane;
}

/* Makes room: of the lanes that nobody holds, the one unused for longest, and one that must rest
 * only when there is no other. */
static void evict(struct rd_webhook_turns *turns, uint64_t now_ns)
{
    uint32_t best = 0;
    for (uint32_t lane = 1; lane <= RD_WEBHOOK_LANES; lane++) {
        const struct rd_webhook_lane *seen = at(turns, lane);
        if (seen->held > 0) {
            continue;
        }
        const struct rd_webhook_lane *than = best == 0 ? NULL : at(turns, best);
        bool rests = seen->rest_ns > now_ns;
        bool than_rests = than != NULL && than->rest_ns > now_ns;
        if (than == NULL || (than_rests && !rests) ||
            (than_rests == rests && seen->used_ns < than->used_ns)) {
            best = lane;
        }
    }
    if (best != 0) {
        forget(turns, best);
    }
}

static uint32_t take_free(struct rd_webhook_turns *turns, uint64_t now_ns)
{
    if (turns->free == 0 && turns->used < RD_WEBHOOK_LANES) {
        return ++turns->used;
    }
    if (turns->free == 0) {
        evict(turns, now_ns);
    }
    uint32_t lane = turns->free;
    if (lane != 0) {
        turns->free = at(turns, lane)->next;
    }
    return lane;
}

uint32_t rd_webhook_turns_hold(struct rd_webhook_turns *turns, const char *name, uint32_t max,
                               uint64_t now_ns)
{
    uint64_t key = key_of(turns, name);
    uint32_t lane = *bucket_of(turns, key);
    while (lane != 0 && at(turns, lane)->key != key) {
        lane = at(turns, lane)->next;
    }
    if (lane == 0) {
        lane = take_free(turns, now_ns);
        if (lane == 0) {
            return RD_WEBHOOK_LANE_NONE;
        }
        uint32_t *bucket = bucket_of(turns, key);
        *at(turns, lane) = (struct rd_webhook_lane){.key = key, .next = *bucket, .max = max};
        *bucket = lane;
    }
    at(turns, lane)->held++;
    at(turns, lane)->used_ns = now_ns;
    return lane;
}

void rd_webhook_turns_release(struct rd_webhook_turns *turns, uint32_t lane)
{
    if (lane != RD_WEBHOOK_LANE_NONE) {
        at(turns, lane)->held--;
    }
}

static uint32_t room(const struct rd_webhook_lane *lane)
{
    return lane->mute ? 1 : lane->max;
}

bool rd_webhook_turns_resting(const struct rd_webhook_turns *turns, uint32_t lane, uint64_t now_ns)
{
    return turns->lanes[lane - 1].rest_ns > now_ns;
}

bool rd_webhook_turns_free(const struct rd_webhook_turns *turns, uint32_t lane, uint64_t now_ns)
{
    const struct rd_webhook_lane *seen = &turns->lanes[lane - 1];
    return seen->running < room(seen) && seen->rest_ns <= now_ns;
}

void rd_webhook_turns_begin(struct rd_webhook_turns *turns, uint32_t lane, uint64_t now_ns)
{
    struct rd_webhook_lane *seen = at(turns, lane);
    if (seen->running++ == 0) {
        seen->moved_ns = now_ns;
    }
}

void rd_webhook_turns_end(struct rd_webhook_turns *turns, uint32_t lane, uint64_t begun_ns,
                          uint64_t now_ns, bool answered)
{
    struct rd_webhook_lane *seen = at(turns, lane);
    seen->running--;
    seen->mute = !answered;
    seen->moved_ns = now_ns;
    seen->mean_ns = seen->mean_ns - seen->mean_ns / MEAN_PARTS + (now_ns - begun_ns) / MEAN_PARTS;
}

void rd_webhook_turns_rest(struct rd_webhook_turns *turns, uint32_t lane, uint64_t until_ns)
{
    struct rd_webhook_lane *seen = at(turns, lane);
    seen->rest_ns = until_ns > seen->rest_ns ? until_ns : seen->rest_ns;
}

void rd_webhook_turns_pass(struct rd_webhook_turns *turns, uint32_t lane)
{
    at(turns, lane)->ahead = 0;
}

uint64_t rd_webhook_turns_wait(struct rd_webhook_turns *turns, uint32_t lane, uint64_t now_ns)
{
    struct rd_webhook_lane *seen = at(turns, lane);
    uint64_t still = seen->running > 0 && now_ns > seen->moved_ns ? now_ns - seen->moved_ns : 0;
    uint64_t each = still > seen->mean_ns ? still : seen->mean_ns;
    uint64_t wait = (uint64_t)seen->ahead++ * each / room(seen);
    uint64_t rest = seen->rest_ns > now_ns ? seen->rest_ns - now_ns : 0;
    return wait + rest;
}
