/* SPDX-License-Identifier: Apache-2.0
 *
 * A token bucket: so many tokens a second, so many at once. Pure: the caller passes the time.
 *
 * Levels are counted in nano-tokens. A rate is a whole number of tokens a second, so each
 * nanosecond refills exactly `per_s` nano-tokens: nothing is ever rounded, and over any stretch of
 * time no more is granted than burst + per_s x time. A bucket is refilled when somebody looks at
 * it; there is no sweep, so a million idle buckets cost nothing.
 *
 * Every function takes any input: a rate or burst beyond its maximum counts as the maximum, a level
 * above the burst (the limit was lowered by a reload) counts as the burst, and a time before the
 * bucket's own changes nothing. One writer at a time; the caller locks.
 *
 * The contracts below are proved for bucket.c as it ships; see proofs/README.md. */
#ifndef RD_CORE_BUCKET_H
#define RD_CORE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#define RD_BUCKET_NANO 1000000000u      /* nano-tokens of a token, and nanoseconds of a second */
#define RD_BUCKET_PER_S_MAX 1000000000u /* tokens a second */
#define RD_BUCKET_BURST_MAX 1000000000u /* tokens at once: in nano-tokens 10^18, below 2^63 */
#define RD_BUCKET_UNLIMITED                                                                        \
    UINT64_MAX                     /* as per_s: everything is granted, the bucket is not used      \
                                    */
#define RD_BUCKET_NEVER UINT64_MAX /* as a wait: so many tokens will not be there */

struct rd_bucket {
    uint64_t level; /* nano-tokens at updated_ns */
    uint64_t updated_ns;
};

struct rd_bucket_rate {
    uint64_t per_s; /* 0: what is taken does not come back */
    uint64_t burst; /* 0: none allowed */
};

/*@ logic integer bucket_cap(integer burst) =
      (burst < RD_BUCKET_BURST_MAX ? burst : RD_BUCKET_BURST_MAX) * RD_BUCKET_NANO;
    logic integer bucket_speed(integer per_s) =
      per_s < RD_BUCKET_PER_S_MAX ? per_s : RD_BUCKET_PER_S_MAX;
    logic integer bucket_refilled(integer level, integer cap, integer speed, integer elapsed) =
      \min(cap, \min(cap, level) + speed * \max(0, elapsed));
    // Looking at a bucket on the way changes nothing.
    lemma bucket_adds: \forall integer level, cap, speed, a, b; a >= 0 && b >= 0 && speed >= 0 ==>
      bucket_refilled(bucket_refilled(level, cap, speed, a), cap, speed, b) ==
      bucket_refilled(level, cap, speed, a + b);
    // The level of a bucket at a time, in nano-tokens.
    logic integer bucket_at{L}(struct rd_bucket *b, struct rd_bucket_rate *r, integer now) =
      bucket_refilled(b->level, bucket_cap(r->burst), bucket_speed(r->per_s),
                      now - b->updated_ns);
    // And so much later, when nobody takes any.
    logic integer bucket_later{L}(struct rd_bucket *b, struct rd_bucket_rate *r, integer now,
                                  integer t) =
      bucket_refilled(bucket_at(b, r, now), bucket_cap(r->burst), bucket_speed(r->per_s), t); */

/* Full. */
/*@ requires \valid(bucket) && \valid_read(rate) && \separated(bucket, rate);
    terminates \true;
    assigns *bucket;
    ensures bucket->level == bucket_cap(rate->burst);
    ensures bucket->updated_ns == now_ns; */
void rd_bucket_init(struct rd_bucket *bucket, const struct rd_bucket_rate *rate, uint64_t now_ns);

/* True: there were `tokens`, and they are gone. False: nothing was taken. */
/*@ requires \valid(bucket) && \valid_read(rate) && \separated(bucket, rate);
    terminates \true;
    assigns *bucket;
    behavior unlimited:
      assumes rate->per_s == RD_BUCKET_UNLIMITED;
      ensures \result && *bucket == \old(*bucket);
    behavior enough:
      assumes rate->per_s != RD_BUCKET_UNLIMITED;
      assumes bucket_at(bucket, rate, now_ns) >= tokens * RD_BUCKET_NANO;
      ensures \result;
      ensures bucket->level == \old(bucket_at(bucket, rate, now_ns)) - tokens * RD_BUCKET_NANO;
      ensures bucket->updated_ns == \max(now_ns, \old(bucket->updated_ns));
    behavior too_few:
      assumes rate->per_s != RD_BUCKET_UNLIMITED;
      assumes bucket_at(bucket, rate, now_ns) < tokens * RD_BUCKET_NANO;
      ensures !\result;
      ensures bucket->level == \old(bucket_at(bucket, rate, now_ns));
      ensures bucket->updated_ns == \max(now_ns, \old(bucket->updated_ns));
    complete behaviors;
    disjoint behaviors; */
bool rd_bucket_take(struct rd_bucket *bucket, const struct rd_bucket_rate *rate, uint64_t now_ns,
                    uint64_t tokens);

/* Puts back what was taken for a request that was then refused for another reason; never above the
 * burst. */
/*@ requires \valid(bucket) && \valid_read(rate) && \separated(bucket, rate);
    terminates \true;
    assigns bucket->level;
    ensures bucket->level == \min(bucket_cap(rate->burst),
      \min(bucket_cap(rate->burst), \old(bucket->level)) + tokens * RD_BUCKET_NANO); */
void rd_bucket_give_back(struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                         uint64_t tokens);

/* Whole tokens that may be taken now; RD_BUCKET_UNLIMITED without a limit. */
/*@ requires \valid_read(bucket) && \valid_read(rate);
    terminates \true;
    assigns \nothing;
    ensures rate->per_s == RD_BUCKET_UNLIMITED ==> \result == RD_BUCKET_UNLIMITED;
    ensures rate->per_s != RD_BUCKET_UNLIMITED ==>
      \result * RD_BUCKET_NANO <= bucket_at(bucket, rate, now_ns) < (\result + 1) * RD_BUCKET_NANO;
 */
uint64_t rd_bucket_level(const struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                         uint64_t now_ns);

/* Nanoseconds until `tokens` are there, exactly, when nobody else takes any: 0 when they are there
 * now, RD_BUCKET_NEVER when they never will be. Counted from now, or from the bucket's own time if
 * that is later. */
/*@ requires \valid_read(bucket) && \valid_read(rate);
    terminates \true;
    assigns \nothing;
    behavior unlimited:
      assumes rate->per_s == RD_BUCKET_UNLIMITED;
      ensures \result == 0;
    behavior never:
      assumes rate->per_s != RD_BUCKET_UNLIMITED;
      assumes bucket_at(bucket, rate, now_ns) < tokens * RD_BUCKET_NANO;
      assumes tokens * RD_BUCKET_NANO > bucket_cap(rate->burst) || rate->per_s == 0;
      ensures \result == RD_BUCKET_NEVER;
    behavior then:
      assumes rate->per_s != RD_BUCKET_UNLIMITED;
      assumes bucket_at(bucket, rate, now_ns) >= tokens * RD_BUCKET_NANO ||
        (tokens * RD_BUCKET_NANO <= bucket_cap(rate->burst) && rate->per_s != 0);
      ensures \result <= RD_BUCKET_BURST_MAX * RD_BUCKET_NANO;
      ensures enough_then: bucket_later(bucket, rate, now_ns, \result) >= tokens * RD_BUCKET_NANO;
      ensures not_sooner: \forall integer t; 0 <= t < \result ==>
        bucket_later(bucket, rate, now_ns, t) < tokens * RD_BUCKET_NANO;
    complete behaviors;
    disjoint behaviors; */
uint64_t rd_bucket_wait_ns(const struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                           uint64_t now_ns, uint64_t tokens);

#endif
