/* SPDX-License-Identifier: Apache-2.0
 *
 * Theorems about the circuit breaker over sequences of calls; see bucket_theorems.c. An event is a
 * request that asks, a result, or a cancellation, at any time, with any permit. */
#include "core/breaker.h"

struct event {
    uint64_t now_ns;
    uint64_t permit;
    uint8_t kind; /* 0: asks, 1: succeeded, 2: failed, else cancelled */
};

/*@ requires \valid(breaker) && breaker_valid(breaker) && \valid_read(event);
    requires \separated(breaker, event) && breaker->state != RD_BREAKER_CLOSED;
    terminates \true;
    assigns *breaker;
    ensures valid: breaker_valid(breaker);
    ensures time: breaker->now_ns == \max(\old(breaker->now_ns), event->now_ns) ||
      breaker->now_ns == \old(breaker->now_ns);
    ensures open: \old(breaker->state) == RD_BREAKER_OPEN ==>
      (breaker->state == RD_BREAKER_OPEN && breaker->since_ns == \old(breaker->since_ns) &&
       breaker->period == \old(breaker->period) && \result == 0) ||
      (breaker->state == RD_BREAKER_HALF_OPEN && \result == 1 && breaker->probes == 1 &&
       breaker->now_ns - \old(breaker->since_ns) >= RD_BREAKER_OPEN_NS);
    ensures half_open: \old(breaker->state) == RD_BREAKER_HALF_OPEN &&
      breaker->state == RD_BREAKER_HALF_OPEN ==>
      breaker->probes == \old(breaker->probes) + \result;
    ensures at_end: \old(breaker->state) == RD_BREAKER_HALF_OPEN &&
      breaker->state != RD_BREAKER_HALF_OPEN ==> \result == 0;
    ensures one: -1 <= \result <= 1; */
static int32_t happens(struct rd_breaker *breaker, const struct event *event)
{
    const uint32_t probes = breaker->probes;
    if (event->kind == 0) {
        return rd_breaker_allow(breaker, event->now_ns) != 0 ? 1 : 0;
    }
    if (event->kind <= 2) {
        rd_breaker_record(breaker, event->now_ns, event->permit, event->kind == 1);
        return 0;
    }
    rd_breaker_cancel(breaker, event->permit);
    return breaker->probes < probes ? -1 : 0;
}

/* From an opening until it closes or opens again, at most RD_BREAKER_PROBES requests have passed
 * that were not cancelled; at every moment of it, not only at the end. */
/*@ requires \valid(breaker) && breaker_valid(breaker) && \valid_read(events + (0 .. count - 1));
    requires \separated(breaker, events + (0 .. count - 1));
    requires breaker->state == RD_BREAKER_OPEN;
    terminates \true;
    assigns *breaker;
    ensures 0 <= \result <= RD_BREAKER_PROBES; */
int32_t theorem_probes_are_bounded(struct rd_breaker *breaker, const struct event *events,
                                   uint32_t count)
{
    int32_t passed = 0;
    /*@ loop invariant 0 <= i <= count && breaker_valid(breaker);
        loop invariant breaker->state == RD_BREAKER_OPEN ==>
          passed == 0 && breaker->period == \at(breaker->period, Pre);
        loop invariant breaker->state == RD_BREAKER_HALF_OPEN ==> passed == breaker->probes;
        loop invariant breaker->state != RD_BREAKER_CLOSED;
        loop assigns i, passed, *breaker;
        loop variant count - i; */
    for (uint32_t i = 0; i < count; i++) {
        const bool probing = breaker->state == RD_BREAKER_HALF_OPEN;
        passed += happens(breaker, &events[i]);
        if (breaker->state == RD_BREAKER_CLOSED || (breaker->state == RD_BREAKER_OPEN && probing)) {
            break;
        }
    }
    return passed;
}

/* Whatever is said to an open breaker, nothing passes for RD_BREAKER_OPEN_NS. */
/*@ requires \valid(breaker) && breaker_valid(breaker) && \valid_read(events + (0 .. count - 1));
    requires \separated(breaker, events + (0 .. count - 1));
    requires breaker->state == RD_BREAKER_OPEN;
    requires breaker->now_ns - breaker->since_ns < RD_BREAKER_OPEN_NS;
    requires \forall integer i; 0 <= i < count ==>
      events[i].now_ns - breaker->since_ns < RD_BREAKER_OPEN_NS;
    terminates \true;
    assigns *breaker;
    ensures \result == 0 && breaker->state == RD_BREAKER_OPEN;
    ensures breaker->since_ns == \old(breaker->since_ns); */
int32_t theorem_open_lets_nothing_pass(struct rd_breaker *breaker, const struct event *events,
                                       uint32_t count)
{
    int32_t passed = 0;
    /*@ loop invariant 0 <= i <= count && breaker_valid(breaker) && passed == 0;
        loop invariant breaker->state == RD_BREAKER_OPEN;
        loop invariant breaker->since_ns == \at(breaker->since_ns, Pre);
        loop invariant breaker->now_ns - breaker->since_ns < RD_BREAKER_OPEN_NS;
        loop assigns i, passed, *breaker;
        loop variant count - i; */
    for (uint32_t i = 0; i < count; i++) {
        passed += happens(breaker, &events[i]);
    }
    return passed;
}

/* What rd_breaker_ready says is what rd_breaker_allow does. */
/*@ requires \valid(breaker) && breaker_valid(breaker);
    terminates \true;
    assigns *breaker;
    ensures \result; */
bool theorem_ready_means_allowed(struct rd_breaker *breaker, uint64_t now_ns)
{
    const bool ready = rd_breaker_ready(breaker, now_ns);
    return ready == (rd_breaker_allow(breaker, now_ns) != 0);
}
