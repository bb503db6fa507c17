/* SPDX-License-Identifier: Apache-2.0
 *
 * When a message is tried again, and what an endpoint's answer means. Pure: the clock, the random
 * bits and the answer come in, the decision goes out, so that three days are tested in no time.
 *
 *     tries at  0 s, then after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h   (75 h 35
 * min)
 *
 * each wait up to a tenth longer (jitter), so that what failed together does not come back
 * together. */
#ifndef RD_WEBHOOK_SCHEDULE_H
#define RD_WEBHOOK_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    RD_WEBHOOK_TRIES_MAX = 10,
    RD_WEBHOOK_DAY_MS = 24 * 3600 * 1000, /* Retry-After counts up to here */
    RD_WEBHOOK_REST_MS = 60 * 1000,       /* a host that is busy and does not say for how long */
};

/* What came of one try. */
struct rd_webhook_answer {
    int status;              /* 0: none came */
    uint64_t retry_after_ms; /* 0: it did not say */
    char reason[128];        /* what went wrong; "" after success */
};

struct rd_webhook_next {
    enum { RD_WEBHOOK_DONE, RD_WEBHOOK_AGAIN, RD_WEBHOOK_FAILED, RD_WEBHOOK_GONE } what;
    uint64_t wait_ms; /* AGAIN: until the next try */
    uint64_t rest_ms; /* the endpoint's host is to be left alone for so long; 0: no */
};

/* How long to wait after the `tries`-th try (1...) failed; 0: that was the last. `hurry` divides
 * the table's times; 1 but in tests. */
uint64_t rd_webhook_wait_ms(unsigned tries, uint32_t random, unsigned hurry);
/* `tries` counts the one that brought this answer. */
void rd_webhook_decide(unsigned tries, const struct rd_webhook_answer *answer, uint32_t random,
                       unsigned hurry, struct rd_webhook_next *ret);
/* The reason that stands for a status; "" for 2xx. Room: RD_WEBHOOK reason. */
void rd_webhook_reason(int status, char ret[128]);
/* The value of Retry-After, seconds or a date, as milliseconds from now; at most a day, 0 when it
 * says nothing of use. */
uint64_t rd_webhook_retry_after_ms(const char *value, uint64_t now_ms);

#endif
