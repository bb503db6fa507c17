/* SPDX-License-Identifier: Apache-2.0
 *
 * The circuit breaker. See breaker.h. */
#include "core/breaker.h"

/* The time, which never goes back. */
static uint64_t advance(struct rd_breaker *breaker, uint64_t now_ns)
{
    if (now_ns > breaker->now_ns) {
        breaker->now_ns = now_ns;
    }
    return breaker->now_ns;
}

static void enter(struct rd_breaker *breaker, enum rd_breaker_state state)
{
    breaker->state = state;
    breaker->since_ns = breaker->now_ns;
    breaker->period = breaker->period < UINT64_MAX ? breaker->period + 1 : 1;
    breaker->probes = 0;
    breaker->successes = 0;
}

static void clear(struct rd_breaker *breaker)
{
    for (uint32_t i = 0; i < RD_BREAKER_SLOTS; i++) {
        breaker->slots[i].epoch = 0;
        breaker->slots[i].total = 0;
        breaker->slots[i].failed = 0;
    }
}

/* Counts one result into the slot of the current time. */
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
static bool is_failing(const struct rd_breaker *breaker)
{
    uint64_t epoch = breaker->now_ns / RD_BREAKER_SLOT_NS;
    uint64_t total = 0;
    uint64_t failed = 0;
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
    if (breaker->state == RD_BREAKER_OPEN && lasted >= RD_BREAKER_OPEN_NS) {
        enter(breaker, RD_BREAKER_HALF_OPEN);
    }
    if (breaker->state == RD_BREAKER_OPEN || breaker->probes >= RD_BREAKER_PROBES) {
        return 0;
    }
    breaker->probes++;
    return breaker->period;
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

void rd_breaker_record(struct rd_breaker *breaker, uint64_t now_ns, uint64_t permit, bool ok)
{
    (void)advance(breaker, now_ns);
    if (permit != breaker->period) {
        return;
    }
    if (breaker->state == RD_BREAKER_CLOSED) {
        count(breaker, ok);
        if (is_failing(breaker)) {
            enter(breaker, RD_BREAKER_OPEN);
        }
    } else if (breaker->state == RD_BREAKER_HALF_OPEN && !ok) {
        enter(breaker, RD_BREAKER_OPEN);
    } else if (breaker->state == RD_BREAKER_HALF_OPEN && breaker->successes < breaker->probes) {
        breaker->successes++;
        if (breaker->successes >= RD_BREAKER_SUCCESSES) {
            clear(breaker);
            enter(breaker, RD_BREAKER_CLOSED);
        }
    }
}

void rd_breaker_cancel(struct rd_breaker *breaker, uint64_t permit)
{
    if (permit == breaker->period && breaker->successes < breaker->probes) {
        breaker->probes--;
    }
}
