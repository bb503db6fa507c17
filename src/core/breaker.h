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
 * One writer at a time; the caller locks.
 *
 * The contracts below are proved for breaker.c as it ships; see proofs/README.md. */
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

/*@ logic integer breaker_epoch(integer ns) = ns / RD_BREAKER_SLOT_NS;
    logic integer breaker_next(integer period) = period < UINT64_MAX ? period + 1 : 1;
    predicate breaker_valid{L}(struct rd_breaker *b) =
      1 <= b->period && b->since_ns <= b->now_ns &&
      (b->state == RD_BREAKER_CLOSED || b->state == RD_BREAKER_OPEN ||
       b->state == RD_BREAKER_HALF_OPEN) &&
      b->successes <= b->probes <= RD_BREAKER_PROBES && b->successes < RD_BREAKER_SUCCESSES &&
      (b->state != RD_BREAKER_HALF_OPEN ==> b->probes == 0) &&
      \forall integer i; 0 <= i < RD_BREAKER_SLOTS ==>
        b->slots[i].failed <= b->slots[i].total &&
        b->slots[i].epoch <= breaker_epoch(b->now_ns);
    // How long this period has lasted at a time.
    logic integer breaker_lasted{L}(struct rd_breaker *b, integer now) =
      \max(now, b->now_ns) - b->since_ns;

    // What a slot adds to the window, and the sums of all ten.
    logic integer breaker_age{L}(struct rd_breaker *b, integer i) =
      breaker_epoch(b->now_ns) - b->slots[i].epoch;
    logic integer slot_total{L}(struct rd_breaker *b, integer i) =
      breaker_age(b, i) < RD_BREAKER_SLOTS ? b->slots[i].total : 0;
    logic integer slot_failed{L}(struct rd_breaker *b, integer i) =
      breaker_age(b, i) < RD_BREAKER_SLOTS ? b->slots[i].failed : 0;
    logic integer breaker_total{L}(struct rd_breaker *b) =
      slot_total(b, 0) + slot_total(b, 1) + slot_total(b, 2) + slot_total(b, 3) + slot_total(b, 4) +
      slot_total(b, 5) + slot_total(b, 6) + slot_total(b, 7) + slot_total(b, 8) + slot_total(b, 9);
    logic integer breaker_failed{L}(struct rd_breaker *b) =
      slot_failed(b, 0) + slot_failed(b, 1) + slot_failed(b, 2) + slot_failed(b, 3) + slot_failed(b,
   4) + slot_failed(b, 5) + slot_failed(b, 6) + slot_failed(b, 7) + slot_failed(b, 8) +
   slot_failed(b, 9); predicate breaker_failing{L}(struct rd_breaker *b) = breaker_total(b) >=
   RD_BREAKER_REQUESTS_MIN && 2 * breaker_failed(b) >= breaker_total(b);

    predicate breaker_same_slots{A, B}(struct rd_breaker *b) =
      \forall integer i; 0 <= i < RD_BREAKER_SLOTS ==>
        \at(b->slots[i].epoch, A) == \at(b->slots[i].epoch, B) &&
        \at(b->slots[i].total, A) == \at(b->slots[i].total, B) &&
        \at(b->slots[i].failed, A) == \at(b->slots[i].failed, B);
    // One result more in the slot of the latest time, e; the other slots are as they were.
    predicate breaker_counted{A, B}(struct rd_breaker *b, integer e, integer failed) =
      \forall integer i; 0 <= i < RD_BREAKER_SLOTS ==>
        (i != e % RD_BREAKER_SLOTS ==>
          \at(b->slots[i].epoch, B) == \at(b->slots[i].epoch, A) &&
          \at(b->slots[i].total, B) == \at(b->slots[i].total, A) &&
          \at(b->slots[i].failed, B) == \at(b->slots[i].failed, A)) &&
        (i == e % RD_BREAKER_SLOTS ==> \at(b->slots[i].epoch, B) == e &&
          (\at(b->slots[i].epoch, A) != e ==>
            \at(b->slots[i].total, B) == 1 && \at(b->slots[i].failed, B) == failed) &&
          (\at(b->slots[i].epoch, A) == e && \at(b->slots[i].total, A) < UINT32_MAX ==>
            \at(b->slots[i].total, B) == \at(b->slots[i].total, A) + 1 &&
            \at(b->slots[i].failed, B) == \at(b->slots[i].failed, A) + failed) &&
          (\at(b->slots[i].epoch, A) == e && \at(b->slots[i].total, A) == UINT32_MAX ==>
            \at(b->slots[i].total, B) == \at(b->slots[i].total, A) &&
            \at(b->slots[i].failed, B) == \at(b->slots[i].failed, A)));
    predicate breaker_empty{L}(struct rd_breaker *b) = \forall integer i;
      0 <= i < RD_BREAKER_SLOTS ==> b->slots[i].total == 0 && b->slots[i].failed == 0;
    // A new period has begun.
    predicate breaker_entered{A, B}(struct rd_breaker *b) =
      \at(b->period, B) == breaker_next(\at(b->period, A)) && \at(b->successes, B) == 0 &&
      \at(b->since_ns, B) == \at(b->now_ns, B);
    // It goes on.
    predicate breaker_stayed{A, B}(struct rd_breaker *b) =
      \at(b->state, A) == \at(b->state, B) && \at(b->period, A) == \at(b->period, B) &&
      \at(b->since_ns, A) == \at(b->since_ns, B); */

/* Closed, with an empty window. */
/*@ requires \valid(breaker);
    terminates \true;
    assigns *breaker;
    ensures breaker_valid(breaker) && breaker_empty(breaker);
    ensures breaker->state == RD_BREAKER_CLOSED && breaker->now_ns == now_ns; */
void rd_breaker_init(struct rd_breaker *breaker, uint64_t now_ns);

/* A permit for one request, or 0: not now. */
/*@ requires \valid(breaker) && breaker_valid(breaker);
    terminates \true;
    assigns breaker->now_ns, breaker->since_ns, breaker->period, breaker->state, breaker->probes,
      breaker->successes;
    ensures valid: breaker_valid(breaker);
    ensures time: breaker->now_ns == \max(now_ns, \old(breaker->now_ns));
    behavior closed:
      assumes breaker->state == RD_BREAKER_CLOSED;
      ensures breaker_stayed{Pre, Post}(breaker) && \result == breaker->period;
    behavior open:
      assumes breaker->state == RD_BREAKER_OPEN;
      assumes breaker_lasted(breaker, now_ns) < RD_BREAKER_OPEN_NS;
      ensures breaker_stayed{Pre, Post}(breaker) && \result == 0;
    behavior open_is_over:
      assumes breaker->state == RD_BREAKER_OPEN;
      assumes breaker_lasted(breaker, now_ns) >= RD_BREAKER_OPEN_NS;
      ensures breaker->state == RD_BREAKER_HALF_OPEN && breaker_entered{Pre, Post}(breaker);
      ensures breaker->probes == 1 && \result == breaker->period;
    behavior probe:
      assumes breaker->state == RD_BREAKER_HALF_OPEN && breaker->probes < RD_BREAKER_PROBES;
      assumes breaker_lasted(breaker, now_ns) < RD_BREAKER_VERDICT_NS;
      ensures breaker_stayed{Pre, Post}(breaker) && \result == breaker->period;
      ensures breaker->probes == \old(breaker->probes) + 1;
      ensures breaker->successes == \old(breaker->successes);
    behavior probes_are_out:
      assumes breaker->state == RD_BREAKER_HALF_OPEN && breaker->probes == RD_BREAKER_PROBES;
      assumes breaker_lasted(breaker, now_ns) < RD_BREAKER_VERDICT_NS;
      ensures breaker_stayed{Pre, Post}(breaker) && \result == 0;
      ensures breaker->probes == \old(breaker->probes);
      ensures breaker->successes == \old(breaker->successes);
    behavior no_verdict:
      assumes breaker->state == RD_BREAKER_HALF_OPEN;
      assumes breaker_lasted(breaker, now_ns) >= RD_BREAKER_VERDICT_NS;
      ensures breaker->state == RD_BREAKER_OPEN && breaker_entered{Pre, Post}(breaker);
      ensures \result == 0;
    complete behaviors;
    disjoint behaviors; */
uint64_t rd_breaker_allow(struct rd_breaker *breaker, uint64_t now_ns);

/* Whether rd_breaker_allow would give a permit; changes nothing. */
/*@ requires \valid_read(breaker) && breaker_valid(breaker);
    terminates \true;
    assigns \nothing;
    ensures \result <==> breaker->state == RD_BREAKER_CLOSED ||
      (breaker->state == RD_BREAKER_OPEN &&
       breaker_lasted(breaker, now_ns) >= RD_BREAKER_OPEN_NS) ||
      (breaker->state == RD_BREAKER_HALF_OPEN && breaker->probes < RD_BREAKER_PROBES &&
       breaker_lasted(breaker, now_ns) < RD_BREAKER_VERDICT_NS); */
bool rd_breaker_ready(const struct rd_breaker *breaker, uint64_t now_ns);

/* The backend's result: `ok` false for what the backend is to blame for. */
/*@ requires \valid(breaker) && breaker_valid(breaker);
    terminates \true;
    assigns *breaker;
    ensures valid: breaker_valid(breaker);
    ensures time: breaker->now_ns == \max(now_ns, \old(breaker->now_ns));
    behavior not_of_this_period:
      assumes permit != breaker->period || breaker->state == RD_BREAKER_OPEN;
      ensures breaker_stayed{Pre, Post}(breaker) && breaker_same_slots{Pre, Post}(breaker);
      ensures breaker->probes == \old(breaker->probes);
      ensures breaker->successes == \old(breaker->successes);
    behavior closed:
      assumes permit == breaker->period && breaker->state == RD_BREAKER_CLOSED;
      ensures breaker_counted{Pre, Post}(breaker, breaker_epoch(breaker->now_ns), ok ? 0 : 1);
      ensures breaker_failing(breaker) ==>
        breaker->state == RD_BREAKER_OPEN && breaker_entered{Pre, Post}(breaker);
      ensures !breaker_failing(breaker) ==> breaker_stayed{Pre, Post}(breaker);
    behavior failed:
      assumes permit == breaker->period && breaker->state == RD_BREAKER_HALF_OPEN && !ok;
      ensures breaker->state == RD_BREAKER_OPEN && breaker_entered{Pre, Post}(breaker);
      ensures breaker_same_slots{Pre, Post}(breaker);
    behavior succeeded:
      assumes permit == breaker->period && breaker->state == RD_BREAKER_HALF_OPEN && ok;
      assumes breaker->successes < breaker->probes;
      assumes breaker->successes + 1 < RD_BREAKER_SUCCESSES;
      ensures breaker_stayed{Pre, Post}(breaker) && breaker_same_slots{Pre, Post}(breaker);
      ensures breaker->probes == \old(breaker->probes);
      ensures breaker->successes == \old(breaker->successes) + 1;
    behavior closes:
      assumes permit == breaker->period && breaker->state == RD_BREAKER_HALF_OPEN && ok;
      assumes breaker->successes < breaker->probes;
      assumes breaker->successes + 1 == RD_BREAKER_SUCCESSES;
      ensures breaker->state == RD_BREAKER_CLOSED && breaker_entered{Pre, Post}(breaker);
      ensures breaker_empty(breaker);
    behavior said_twice:
      assumes permit == breaker->period && breaker->state == RD_BREAKER_HALF_OPEN && ok;
      assumes breaker->successes == breaker->probes;
      ensures breaker_stayed{Pre, Post}(breaker) && breaker_same_slots{Pre, Post}(breaker);
      ensures breaker->probes == \old(breaker->probes);
      ensures breaker->successes == \old(breaker->successes);
    complete behaviors;
    disjoint behaviors; */
void rd_breaker_record(struct rd_breaker *breaker, uint64_t now_ns, uint64_t permit, bool ok);

/* The request was not sent, or ended without saying anything about the backend. */
/*@ requires \valid(breaker) && breaker_valid(breaker);
    terminates \true;
    assigns breaker->probes;
    ensures breaker_valid(breaker);
    ensures permit == breaker->period && breaker->successes < \old(breaker->probes) ?
      breaker->probes == \old(breaker->probes) - 1 : breaker->probes == \old(breaker->probes); */
void rd_breaker_cancel(struct rd_breaker *breaker, uint64_t permit);

#endif
