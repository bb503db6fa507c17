/* SPDX-License-Identifier: Apache-2.0
 *
 * The circuit breaker. See breaker.h. */
#include "core/breaker.h"

/*@ // The sums of the first n slots, for the loop that adds them up.
    logic integer sum_total{L}(struct rd_breaker *b, integer n) =
      n <= 0 ? 0 : sum_total(b, n - 1) + slot_total(b, n - 1);
    logic integer sum_failed{L}(struct rd_breaker *b, integer n) =
      n <= 0 ? 0 : sum_failed(b, n - 1) + slot_failed(b, n - 1);
    lemma total_of_ten{L}: \forall struct rd_breaker *b;
      sum_total(b, RD_BREAKER_SLOTS) == breaker_total(b);
    lemma failed_of_ten{L}: \forall struct rd_breaker *b;
      sum_failed(b, RD_BREAKER_SLOTS) == breaker_failed(b); */

/* The time, which never goes back. */
/*@ requires \valid(breaker) && breaker_valid(breaker);
    terminates \true;
    assigns breaker->now_ns;
    ensures breaker_valid(breaker);
    ensures breaker->now_ns == \max(now_ns, \old(breaker->now_ns)) && \result == breaker->now_ns; */
static uint64_t advance(struct rd_breaker *breaker, uint64_t now_ns)
{
    if (now_ns > breaker->now_ns) {
        breaker->now_ns = now_ns;
    }
    return breaker->now_ns;
}

/*@ requires \valid(breaker);
    terminates \true;
    assigns breaker->state, breaker->since_ns, breaker->period, breaker->probes,
      breaker->successes;
    ensures breaker->state == state && breaker->probes == 0 && breaker->period >= 1;
    ensures breaker_entered{Pre, Post}(breaker) && breaker_same_slots{Pre, Post}(breaker);
    ensures valid: \old(breaker_valid(breaker)) &&
      (state == RD_BREAKER_CLOSED || state == RD_BREAKER_OPEN || state == RD_BREAKER_HALF_OPEN) ==>
      breaker_valid(breaker); */
static void enter(struct rd_breaker *breaker, enum rd_breaker_state state)
{
    breaker->state = state;
    breaker->since_ns = breaker->now_ns;
    breaker->period = breaker->period < UINT64_MAX ? breaker->period + 1 : 1;
    breaker->probes = 0;
    breaker->successes = 0;
}

/*@ requires \valid(breaker);
    terminates \true;
    assigns breaker->slots[0 .. RD_BREAKER_SLOTS - 1];
    ensures breaker_empty(breaker);
    ensures \forall integer i; 0 <= i < RD_BREAKER_SLOTS ==> breaker->slots[i].epoch == 0;
    ensures valid: \old(breaker_valid(breaker)) ==> breaker_valid(breaker); */
static void clear(struct rd_breaker *breaker)
{
    /*@ loop invariant 0 <= i <= RD_BREAKER_SLOTS;
        loop invariant \forall integer j; 0 <= j < i ==> breaker->slots[j].total == 0 &&
          breaker->slots[j].failed == 0 && breaker->slots[j].epoch == 0;
        loop assigns i, breaker->slots[0 .. RD_BREAKER_SLOTS - 1];
        loop variant RD_BREAKER_SLOTS - i; */
    for (uint32_t i = 0; i < RD_BREAKER_SLOTS; i++) {
        breaker->slots[i].epoch = 0;
        breaker->slots[i].total = 0;
        breaker->slots[i].failed = 0;
    }
}

/* Counts one result into the slot of the current time. */
/*@ requires \valid(breaker) && breaker_valid(breaker);
    terminates \true;
    assigns breaker->slots[breaker->now_ns / RD_BREAKER_SLOT_NS % RD_BREAKER_SLOTS];
    ensures breaker_valid(breaker);
    ensures breaker_counted{Pre, Post}(breaker, breaker_epoch(breaker->now_ns), ok ? 0 : 1); */
static void count(struct rd_breaker *breaker, bool ok)
{
    uint64_t epoch = breaker->now_ns / RD_BREAKER_SLOT_NS;
    struct rd_breaker_slot *slot = &breaker->slots[epoch % RD_BREAKER_SLOTS];
    if (slot->epoch != epoch) {
        slot->epoch = epoch;
        slot->total = 0;
        slot->failed = 0;
    }
    if (slot->total < UINT32_MAX) { /* 400 million results a second: the share is known by then */
        slot->total++;
        slot->failed += ok ? 0 : 1;
    }
}

/* Enough results in the window, and at least half of them failures. */
/*@ requires \valid_read(breaker) && breaker_valid(breaker);
    terminates \true;
    assigns \nothing;
    ensures \result <==> breaker_failing(breaker); */
static bool is_failing(const struct rd_breaker *breaker)
{
    uint64_t epoch = breaker->now_ns / RD_BREAKER_SLOT_NS;
    uint64_t total = 0;
    uint64_t failed = 0;
    /*@ loop invariant 0 <= i <= RD_BREAKER_SLOTS;
        loop invariant total == sum_total(breaker, i) && total <= i * UINT32_MAX;
        loop invariant failed == sum_failed(breaker, i) && failed <= total;
        loop assigns i, total, failed;
        loop variant RD_BREAKER_SLOTS - i; */
    for (uint32_t i = 0; i < RD_BREAKER_SLOTS; i++) {
        if (epoch - breaker->slots[i].epoch < RD_BREAKER_SLOTS) {
            total += breaker->slots[i].total;
            failed += breaker->slots[i].failed;
        }
    }
    return total >= RD_BREAKER_REQUESTS_MIN && 2 * failed >= total;
}

void rd_breaker_init(struct rd_breaker *breaker, uint64_t now_ns)
{
    clear(breaker);
    breaker->now_ns = now_ns;
    breaker->since_ns = now_ns;
    breaker->period = 1;
    breaker->state = RD_BREAKER_CLOSED;
    breaker->probes = 0;
    breaker->successes = 0;
}

/* A permit of a half open period, while there are any. */
/*@ requires \valid(breaker) && breaker_valid(breaker) && breaker->state == RD_BREAKER_HALF_OPEN;
    terminates \true;
    assigns breaker->probes;
    ensures valid: breaker_valid(breaker);
    ensures \old(breaker->probes) < RD_BREAKER_PROBES ==>
      breaker->probes == \old(breaker->probes) + 1 && \result == breaker->period;
    ensures \old(breaker->probes) >= RD_BREAKER_PROBES ==>
      breaker->probes == \old(breaker->probes) && \result == 0; */
static uint64_t probe(struct rd_breaker *breaker)
{
    if (breaker->probes >= RD_BREAKER_PROBES) {
        return 0;
    }
    breaker->probes++;
    return breaker->period;
}

uint64_t rd_breaker_allow(struct rd_breaker *breaker, uint64_t now_ns)
{
    uint64_t lasted = advance(breaker, now_ns) - breaker->since_ns;
    if (breaker->state == RD_BREAKER_CLOSED) {
        return breaker->period;
    }
    if (breaker->state == RD_BREAKER_HALF_OPEN && lasted >= RD_BREAKER_VERDICT_NS) {
        enter(breaker, RD_BREAKER_OPEN);
        return 0;
    }
    if (breaker->state == RD_BREAKER_OPEN) {
        if (lasted < RD_BREAKER_OPEN_NS) {
            return 0;
        }
        enter(breaker, RD_BREAKER_HALF_OPEN);
    }
    return probe(breaker);
}

bool rd_breaker_ready(const struct rd_breaker *breaker, uint64_t now_ns)
{
    uint64_t now = now_ns > breaker->now_ns ? now_ns : breaker->now_ns;
    uint64_t lasted = now - breaker->since_ns;
    if (breaker->state == RD_BREAKER_CLOSED) {
        return true;
    }
    if (breaker->state == RD_BREAKER_OPEN) {
        return lasted >= RD_BREAKER_OPEN_NS;
    }
    return lasted < RD_BREAKER_VERDICT_NS && breaker->probes < RD_BREAKER_PROBES;
}

/* Opens, which the window has no part in. */
/*@ requires \valid(breaker) && breaker_valid(breaker);
    terminates \true;
    assigns breaker->state, breaker->since_ns, breaker->period, breaker->probes,
      breaker->successes;
    ensures valid: breaker_valid(breaker);
    ensures breaker->state == RD_BREAKER_OPEN && breaker_entered{Pre, Post}(breaker);
    ensures breaker_same_slots{Pre, Post}(breaker);
    ensures breaker_total(breaker) == \old(breaker_total(breaker));
    ensures breaker_failed(breaker) == \old(breaker_failed(breaker)); */
static void trip(struct rd_breaker *breaker)
{
    enter(breaker, RD_BREAKER_OPEN);
    /*@ assert \forall integer i; 0 <= i < RD_BREAKER_SLOTS ==>
          slot_total(breaker, i) == \at(slot_total(breaker, i), Pre) &&
          slot_failed(breaker, i) == \at(slot_failed(breaker, i), Pre); */
    //@ assert breaker_total(breaker) == \at(breaker_total(breaker), Pre);
    //@ assert breaker_failed(breaker) == \at(breaker_failed(breaker), Pre);
}

/* A result while closed. */
/*@ requires \valid(breaker) && breaker_valid(breaker) && breaker->state == RD_BREAKER_CLOSED;
    terminates \true;
    assigns *breaker;
    ensures valid: breaker_valid(breaker);
    ensures time: breaker->now_ns == \old(breaker->now_ns);
    ensures breaker_counted{Pre, Post}(breaker, breaker_epoch(breaker->now_ns), ok ? 0 : 1);
    ensures breaker_failing(breaker) ==>
      breaker->state == RD_BREAKER_OPEN && breaker_entered{Pre, Post}(breaker);
    ensures !breaker_failing(breaker) ==> breaker_stayed{Pre, Post}(breaker); */
static void hear(struct rd_breaker *breaker, bool ok)
{
    count(breaker, ok);
    const bool failing = is_failing(breaker);
    if (failing) {
        trip(breaker);
    }
    //@ assert failing <==> breaker_failing(breaker);
}

/* A result while half open. */
/*@ requires \valid(breaker) && breaker_valid(breaker) && breaker->state == RD_BREAKER_HALF_OPEN;
    terminates \true;
    assigns *breaker;
    ensures valid: breaker_valid(breaker);
    ensures time: breaker->now_ns == \old(breaker->now_ns);
    behavior failed:
      assumes !ok;
      ensures breaker->state == RD_BREAKER_OPEN && breaker_entered{Pre, Post}(breaker);
      ensures breaker_same_slots{Pre, Post}(breaker);
    behavior said_twice:
      assumes ok && breaker->successes == breaker->probes;
      ensures breaker_stayed{Pre, Post}(breaker) && breaker_same_slots{Pre, Post}(breaker);
      ensures breaker->probes == \old(breaker->probes);
      ensures breaker->successes == \old(breaker->successes);
    behavior succeeded:
      assumes ok && breaker->successes < breaker->probes;
      assumes breaker->successes + 1 < RD_BREAKER_SUCCESSES;
      ensures breaker_stayed{Pre, Post}(breaker) && breaker_same_slots{Pre, Post}(breaker);
      ensures breaker->probes == \old(breaker->probes);
      ensures breaker->successes == \old(breaker->successes) + 1;
    behavior closes:
      assumes ok && breaker->successes < breaker->probes;
      assumes breaker->successes + 1 == RD_BREAKER_SUCCESSES;
      ensures breaker->state == RD_BREAKER_CLOSED && breaker_entered{Pre, Post}(breaker);
      ensures breaker_empty(breaker);
    complete behaviors;
    disjoint behaviors; */
static void hear_probe(struct rd_breaker *breaker, bool ok)
{
    if (!ok) {
        enter(breaker, RD_BREAKER_OPEN);
        return;
    }
    if (breaker->successes == breaker->probes) {
        return;
    }
    if (breaker->successes + 1 < RD_BREAKER_SUCCESSES) {
        breaker->successes++;
        return;
    }
    clear(breaker);
    enter(breaker, RD_BREAKER_CLOSED);
}

void rd_breaker_record(struct rd_breaker *breaker, uint64_t now_ns, uint64_t permit, bool ok)
{
    (void)advance(breaker, now_ns);
    if (permit != breaker->period) {
        return;
    }
    if (breaker->state == RD_BREAKER_CLOSED) {
        hear(breaker, ok);
    } else if (breaker->state == RD_BREAKER_HALF_OPEN) {
        hear_probe(breaker, ok);
    }
}

void rd_breaker_cancel(struct rd_breaker *breaker, uint64_t permit)
{
    if (permit == breaker->period && breaker->successes < breaker->probes) {
        breaker->probes--;
    }
}
