/* SPDX-License-Identifier: Apache-2.0
 *
 * A circuit breaker: keeps work away from a backend that fails. Pure: the caller passes the time.
 *
 *     CLOSED --half of at least 10 results in 100 s failed--> OPEN
 *     OPEN --60 s--> HALF_OPEN          (by the next request that asks)
 *     HALF_OPEN --5 successes--> CLOSED (with an empty window)
 *     HALF_OPEN --1 failure, or no verdict in 900 s--> OPEN
 *
 * Half open, at most RD_BREAKER_PROBES requests pass before the verdict. The window is 10 slots of
 * 10 s; a slot that is not of the last 10 is not counted, so nothing has to be swept.
 *
 * Who asks gets a permit, which is the number of the period between two changes of state, and hands
 * it back with the result. A result of another period says nothing about this one and is ignored:
 * what was sent before the breaker opened can neither close it nor open it again. Every permit ends
 * in exactly one rd_breaker_record or rd_breaker_cancel; one that is lost costs its probe, and the
 * 900 s see to it that this does not last. A time before the last one seen counts as that one.
 * One writer at a time; the caller locks. */
#ifndef RD_CORE_BREAKER_H
#define RD_CORE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#define RD_BREAKER_SLOTS 10u                /* of the window: 100 s */
#define RD_BREAKER_SLOT_NS 10000000000u     /* 10 s */
#define RD_BREAKER_REQUESTS_MIN 10u         /* fewer in the window say nothing */
#define RD_BREAKER_OPEN_NS 60000000000u     /* 60 s */
#define RD_BREAKER_VERDICT_NS 900000000000u /* 900 s: longer than a run that probes may take */
#define RD_BREAKER_PROBES 5u                /* that pass while half open */
#define RD_BREAKER_SUCCESSES 5u             /* that close it; at most RD_BREAKER_PROBES */

enum rd_breaker_state {
    RD_BREAKER_CLOSED,
    RD_BREAKER_OPEN,
    RD_BREAKER_HALF_OPEN,
};

struct rd_breaker_slot {
    uint64_t epoch; /* time / RD_BREAKER_SLOT_NS */
    uint32_t total;
    uint32_t failed; /* <= total */
};

struct rd_breaker {
    struct rd_breaker_slot slots[RD_BREAKER_SLOTS]; /* that of epoch e is number e % SLOTS */
    uint64_t now_ns;                                /* the latest time seen */
    uint64_t since_ns;                              /* when this period began */
    uint64_t period;                                /* >= 1, one more with each change of state */
    enum rd_breaker_state state;
    uint32_t probes;    /* that passed while half open, without the cancelled */
    uint32_t successes; /* of them */
};

/* Closed, with an empty window. */
void rd_breaker_init(struct rd_breaker *breaker, uint64_t now_ns);

/* A permit for one request, or 0: not now. */
uint64_t rd_breaker_allow(struct rd_breaker *breaker, uint64_t now_ns);

/* Whether rd_breaker_allow would give a permit; changes nothing. */
bool rd_breaker_ready(const struct rd_breaker *breaker, uint64_t now_ns);

/* The backend's result: `ok` false for what the backend is to blame for. */
void rd_breaker_record(struct rd_breaker *breaker, uint64_t now_ns, uint64_t permit, bool ok);

/* The request was not sent, or ended without saying anything about the backend. */
void rd_breaker_cancel(struct rd_breaker *breaker, uint64_t permit);

#endif
