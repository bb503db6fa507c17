/* SPDX-License-Identifier: Apache-2.0
 *
 * Theorems about the token bucket over sequences of calls. Nobody runs these functions: Frama-C
 * reads them together with bucket.c and proves what they promise, for every input. A sequence of
 * calls is a loop over arrays that may hold anything, so the times may also go back. */
#include "core/bucket.h"

/*@ predicate in_limits(struct rd_bucket_rate *rate) =
      rate->per_s <= RD_BUCKET_PER_S_MAX && rate->burst <= RD_BUCKET_BURST_MAX; */

/* One call of each; returns what is granted and not given back. */
/*@ requires \valid(bucket) && \valid_read(rate) && \separated(bucket, rate) && in_limits(rate);
    requires granted <= UINT64_MAX - RD_BUCKET_BURST_MAX;
    requires elapsed == \max(0, now_ns - bucket->updated_ns);
    terminates \true;
    assigns *bucket;
    ensures \result <= granted + RD_BUCKET_BURST_MAX;
    ensures bucket->updated_ns == \max(now_ns, \old(bucket->updated_ns));
    ensures bucket->updated_ns == \old(bucket->updated_ns) + elapsed;
    ensures \result * RD_BUCKET_NANO + \min(rate->burst * RD_BUCKET_NANO, bucket->level) <=
      granted * RD_BUCKET_NANO + \min(rate->burst * RD_BUCKET_NANO, \old(bucket->level)) +
      rate->per_s * elapsed; */
static uint64_t take_and_give(struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                              uint64_t now_ns, uint64_t elapsed, uint64_t tokens, uint64_t back,
                              uint64_t granted)
{
    (void)elapsed; /* only the contract speaks of it */
    //@ assert bucket_speed(rate->per_s) == rate->per_s;
    //@ assert bucket_cap(rate->burst) == rate->burst * RD_BUCKET_NANO;
    /*@ assert bucket_at(bucket, rate, now_ns) == \min(rate->burst * RD_BUCKET_NANO,
          \min(rate->burst * RD_BUCKET_NANO, bucket->level) + rate->per_s * elapsed); */
    if (rd_bucket_take(bucket, rate, now_ns, tokens)) {
        granted += tokens;
    }
    /*@ assert granted * RD_BUCKET_NANO + bucket->level ==
          \at(granted, Pre) * RD_BUCKET_NANO + \at(bucket_at(bucket, rate, now_ns), Pre); */
    //@ assert bucket->level <= rate->burst * RD_BUCKET_NANO;
    /*@ assert granted * RD_BUCKET_NANO + bucket->level <= \at(granted, Pre) * RD_BUCKET_NANO +
          \min(rate->burst * RD_BUCKET_NANO, \at(bucket->level, Pre)) + rate->per_s * elapsed; */
    if (back <= granted) { /* of what was granted, now or earlier */
        rd_bucket_give_back(bucket, rate, back);
        granted -= back;
    }
    return granted;
}

/* Between any two moments no more is granted than what was there and what was refilled, and that is
 * at most the burst and rate x time. What is counted was not given back. */
/*@ requires \valid(bucket) && \valid_read(rate) && \valid_read(now_ns + (0 .. count - 1));
    requires \valid_read(tokens + (0 .. count - 1)) && \valid_read(back + (0 .. count - 1));
    requires \separated(bucket, rate, now_ns + (0 .. count - 1), tokens + (0 .. count - 1),
                        back + (0 .. count - 1));
    requires in_limits(rate);
    terminates \true;
    assigns *bucket;
    ensures exact: \result * RD_BUCKET_NANO + \min(rate->burst * RD_BUCKET_NANO, bucket->level) <=
      \min(rate->burst * RD_BUCKET_NANO, \old(bucket->level)) +
      rate->per_s * (bucket->updated_ns - \old(bucket->updated_ns));
    ensures bounded: \result * RD_BUCKET_NANO <= rate->burst * RD_BUCKET_NANO +
      rate->per_s * (bucket->updated_ns - \old(bucket->updated_ns));
    ensures time: bucket->updated_ns == \old(bucket->updated_ns) ||
      \exists integer i; 0 <= i < count && bucket->updated_ns == now_ns[i]; */
uint64_t theorem_granted(struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                         const uint64_t *now_ns, const uint64_t *tokens, const uint64_t *back,
                         uint32_t count)
{
    uint64_t granted = 0;
    //@ ghost uint64_t time = 0;
    /*@ loop invariant 0 <= i <= count;
        loop invariant granted <= i * RD_BUCKET_BURST_MAX;
        loop invariant bucket->updated_ns == \at(bucket->updated_ns, Pre) + time;
        loop invariant granted * RD_BUCKET_NANO +
          \min(rate->burst * RD_BUCKET_NANO, bucket->level) <=
          \min(rate->burst * RD_BUCKET_NANO, \at(bucket->level, Pre)) + rate->per_s * time;
        loop invariant bucket->updated_ns == \at(bucket->updated_ns, Pre) ||
          \exists integer j; 0 <= j < i && bucket->updated_ns == now_ns[j];
        loop assigns i, granted, time, *bucket;
        loop variant count - i; */
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t updated_ns = bucket->updated_ns;
        const uint64_t elapsed = now_ns[i] > updated_ns ? now_ns[i] - updated_ns : 0;
        granted = take_and_give(bucket, rate, now_ns[i], elapsed, tokens[i], back[i], granted);
        //@ assert rate->per_s * (time + elapsed) == rate->per_s * time + rate->per_s * elapsed;
        //@ ghost time = (uint64_t)(time + elapsed);
    }
    return granted;
}

/* Nothing is lost either: looking on the way changes nothing. */
/*@ requires \valid(bucket) && \valid_read(rate) && \separated(bucket, rate) && in_limits(rate);
    requires bucket->updated_ns <= now_ns <= later_ns;
    terminates \true;
    assigns *bucket;
    ensures bucket->level == \old(bucket_at(bucket, rate, later_ns)); */
void theorem_looks_are_free(struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                            uint64_t now_ns, uint64_t later_ns)
{
    (void)rd_bucket_take(bucket, rate, now_ns, 0);
    /*@ assert bucket->level == bucket_refilled(\at(bucket->level, Pre), bucket_cap(rate->burst),
          bucket_speed(rate->per_s), now_ns - \at(bucket->updated_ns, Pre)); */
    /*@ assert bucket_at(bucket, rate, later_ns) == bucket_refilled(bucket_refilled(
          \at(bucket->level, Pre), bucket_cap(rate->burst), bucket_speed(rate->per_s),
          now_ns - \at(bucket->updated_ns, Pre)), bucket_cap(rate->burst),
          bucket_speed(rate->per_s), later_ns - now_ns); */
    /*@ assert bucket_at(bucket, rate, later_ns) ==
          \at(bucket_at(bucket, rate, later_ns), Pre); */
    (void)rd_bucket_take(bucket, rate, later_ns, 0);
}

/* level' + granted == min(cap, level + rate x elapsed), for one call whatever it answers. */
/*@ requires \valid(bucket) && \valid_read(rate) && \separated(bucket, rate);
    requires in_limits(rate) && bucket->level <= rate->burst * RD_BUCKET_NANO;
    terminates \true;
    assigns *bucket;
    ensures bucket->level + (\result ? tokens : 0) * RD_BUCKET_NANO ==
      \min(rate->burst * RD_BUCKET_NANO, \old(bucket->level) +
           rate->per_s * \max(0, now_ns - \old(bucket->updated_ns))); */
bool theorem_take_is_exact(struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                           uint64_t now_ns, uint64_t tokens)
{
    //@ assert bucket_speed(rate->per_s) == rate->per_s;
    //@ assert bucket_cap(rate->burst) == rate->burst * RD_BUCKET_NANO;
    /*@ assert bucket_at(bucket, rate, now_ns) == \min(rate->burst * RD_BUCKET_NANO,
          bucket->level + rate->per_s * \max(0, now_ns - bucket->updated_ns)); */
    return rd_bucket_take(bucket, rate, now_ns, tokens);
}

/* A request that is refused by another limit leaves this one as it found it. */
/*@ requires \valid(bucket) && \valid_read(rate) && \separated(bucket, rate);
    requires rate->per_s != RD_BUCKET_UNLIMITED;
    terminates \true;
    assigns *bucket;
    ensures bucket->level == \old(bucket_at(bucket, rate, now_ns)); */
void theorem_refused_gives_back(struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                                uint64_t now_ns, uint64_t tokens)
{
    if (rd_bucket_take(bucket, rate, now_ns, tokens)) {
        rd_bucket_give_back(bucket, rate, tokens);
    }
}

/* Who waits as long as he was told is served, and not a nanosecond sooner. */
/*@ requires \valid(bucket) && \valid_read(rate) && \separated(bucket, rate);
    requires rate->per_s != RD_BUCKET_UNLIMITED && now_ns >= bucket->updated_ns;
    requires now_ns < 0x8000000000000000;
    terminates \true;
    assigns *bucket;
    ensures \result ==> sooner == 0;
    ensures sooner == 0 ==> \result || bucket_cap(rate->burst) < tokens * RD_BUCKET_NANO ||
      rate->per_s == 0; */
bool theorem_wait_then_take(struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                            uint64_t now_ns, uint64_t tokens, uint64_t sooner)
{
    uint64_t wait = rd_bucket_wait_ns(bucket, rate, now_ns, tokens);
    if (wait == RD_BUCKET_NEVER || sooner > wait) {
        return false;
    }
    const uint64_t then_ns = now_ns + (wait - sooner);
    /*@ assert bucket_at(bucket, rate, then_ns) ==
          bucket_later(bucket, rate, now_ns, wait - sooner); */
    return rd_bucket_take(bucket, rate, then_ns, tokens);
}
