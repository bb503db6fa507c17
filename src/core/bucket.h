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
 * bucket's own changes nothing. One writer at a time; the caller locks. */
#ifndef RD_CORE_BUCKET_H
#define RD_CORE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#define RD_BUCKET_NANO 1000000000u      /* nano-tokens of a token, and nanoseconds of a second */
#define RD_BUCKET_PER_S_MAX 1000000000u /* tokens a second */
#define RD_BUCKET_BURST_MAX 1000000000u /* tokens at once: in nano-tokens 10^18, below 2^63 */
#define RD_BUCKET_UNLIMITED UINT64_MAX  /* as per_s: everything is granted, the bucket is not used \
                                         */
#define RD_BUCKET_NEVER UINT64_MAX      /* as a wait: so many tokens will not be there */

struct rd_bucket {
    uint64_t level; /* nano-tokens at updated_ns */
    uint64_t updated_ns;
};

struct rd_bucket_rate {
    uint64_t per_s; /* 0: what is taken does not come back */
    uint64_t burst; /* 0: none allowed */
};

/* Full. */
void rd_bucket_init(struct rd_bucket *bucket, const struct rd_bucket_rate *rate, uint64_t now_ns);

/* True: there were `tokens`, and they are gone. False: nothing was taken. */
bool rd_bucket_take(struct rd_bucket *bucket, const struct rd_bucket_rate *rate, uint64_t now_ns,
                    uint64_t tokens);

/* Puts back what was taken for a request that was then refused for another reason; never above the
 * burst. */
void rd_bucket_give_back(struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                         uint64_t tokens);

/* Whole tokens that may be taken now; RD_BUCKET_UNLIMITED without a limit. */
uint64_t rd_bucket_level(const struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                         uint64_t now_ns);

/* Nanoseconds until `tokens` are there, exactly, when nobody else takes any: 0 when they are there
 * now, RD_BUCKET_NEVER when they never will be. Counted from now, or from the bucket's own time if
 * that is later. */
uint64_t rd_bucket_wait_ns(const struct rd_bucket *bucket, const struct rd_bucket_rate *rate,
                           uint64_t now_ns, uint64_t tokens);

#endif
