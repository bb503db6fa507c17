/* SPDX-License-Identifier: Apache-2.0
 *
 * The token bucket. See bucket.h. Why nothing overflows: a level is at most 10^18 nano-tokens, and
 * elapsed x per_s is computed only after a division has shown that it fits into the room left. */
#include "core/bucket.h"

/*@ requires \valid_read(rate);
    terminates \true;
    assigns \nothing;
    ensures \result == bucket_cap(rate->burst); */
static uint64_t cap_of(const struct rd_bucket_rate *rate)
{
    uint64_t burst = rate->burst < RD_BUCKET_BURST_MAX ? rate->burst : RD_BUCKET_BURST_MAX;
    return burst * RD_BUCKET_NANO;
}

/*@ requires \valid_read(rate);
    terminates \true;
    assigns \nothing;
    ensures \result == bucket_speed(rate->per_s); */
static uint64_t speed_of(const struct rd_bucket_rate *rate)
{
    return rate->per_s < RD_BUCKET_PER_S_MAX ? rate->per_s : RD_BUCKET_PER_S_MAX;
}

/* min(cap, level + speed x elapsed) */
/*@ requires \valid_read(bucket) && \valid_read(rate);
    terminates \true;
    assigns \nothing;
    ensures \result == bucket_at(bucket, rate, now_ns);
    ensures \result <= bucket_cap(rate->burst); */
static uint64_t refilled(const struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                         uint64_t now_ns)
{
    uint64_t cap = cap_of(rate);
    uint64_t speed = speed_of(rate);
    uint64_t level = bucket->level < cap ? bucket->level : cap;
    if (now_ns <= bucket->updated_ns || speed == 0) {
        return level;
    }
    uint64_t elapsed = now_ns - bucket->updated_ns;
    if (elapsed > (cap - level) / speed) {
        return cap;
    }
    return level + elapsed * speed;
}

/* Nanoseconds from `level` to `need`. */
/*@ requires 0 < speed && level < need <= cap <= RD_BUCKET_BURST_MAX * RD_BUCKET_NANO;
    terminates \true;
    assigns \nothing;
    ensures \result <= need;
    ensures enough: bucket_refilled(level, cap, speed, \result) >= need;
    ensures not_sooner: \forall integer t; 0 <= t < \result ==>
      bucket_refilled(level, cap, speed, t) < need; */
static uint64_t wait_for(uint64_t level, uint64_t cap, uint64_t speed, uint64_t need)
{
    (void)cap; /* only the contract speaks of it */
    uint64_t missing = need - level;
    uint64_t whole = missing / speed;
    uint64_t rest = missing % speed;
    //@ assert missing == whole * speed + rest && rest < speed;
    //@ assert \forall integer t; t <= whole ==> t * speed <= whole * speed;
    return rest != 0 ? whole + 1 : whole;
}

void rd_bucket_init(struct rd_bucket *bucket, const struct rd_bucket_rate *rate, uint64_t now_ns)
{
    bucket->level = cap_of(rate);
    bucket->updated_ns = now_ns;
}

bool rd_bucket_take(struct rd_bucket *bucket, const struct rd_bucket_rate *rate, uint64_t now_ns,
                    uint64_t tokens)
{
    if (rate->per_s == RD_BUCKET_UNLIMITED) {
        return true;
    }
    uint64_t level = refilled(bucket, rate, now_ns);
    bool enough = tokens <= level / RD_BUCKET_NANO;
    bucket->level = enough ? level - tokens * RD_BUCKET_NANO : level;
    bucket->updated_ns = now_ns > bucket->updated_ns ? now_ns : bucket->updated_ns;
    return enough;
}

void rd_bucket_give_back(struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                         uint64_t tokens)
{
    uint64_t cap = cap_of(rate);
    uint64_t level = bucket->level < cap ? bucket->level : cap;
    uint64_t back = tokens < RD_BUCKET_BURST_MAX ? tokens : RD_BUCKET_BURST_MAX;
    uint64_t nano = back * RD_BUCKET_NANO;
    bucket->level = nano < cap - level ? level + nano : cap;
}

uint64_t rd_bucket_level(const struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                         uint64_t now_ns)
{
    if (rate->per_s == RD_BUCKET_UNLIMITED) {
        return RD_BUCKET_UNLIMITED;
    }
    return refilled(bucket, rate, now_ns) / RD_BUCKET_NANO;
}

uint64_t rd_bucket_wait_ns(const struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                           uint64_t now_ns, uint64_t tokens)
{
    if (rate->per_s == RD_BUCKET_UNLIMITED) {
        return 0;
    }
    uint64_t level = refilled(bucket, rate, now_ns);
    if (tokens <= level / RD_BUCKET_NANO) {
        return 0;
    }
    uint64_t speed = speed_of(rate);
    uint64_t cap = cap_of(rate);
    if (tokens > cap / RD_BUCKET_NANO || speed == 0) {
        return RD_BUCKET_NEVER;
    }
    return wait_for(level, cap, speed, tokens * RD_BUCKET_NANO);
}
