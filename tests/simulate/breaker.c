/* SPDX-License-Identifier: Apache-2.0
 *
 * The model of what the queue knows of backends, told a second time from core/breaker.h and
 * core/queue.h: the breaker as a list of results with their times, and who may get a run. */
#include "sim.h"

#include <string.h>

static uint64_t epoch(uint64_t ns)
{
    return ns / RD_BREAKER_SLOT_NS;
}

static void enter(struct world *w, struct breaker *it, enum rd_breaker_state state)
{
    w->counted[COUNT_OPENED] += state == RD_BREAKER_OPEN;
    it->state = state;
    it->since_ns = w->core_ns;
    it->period++;
    it->probes = it->successes = 0;
}

void sim_breaker_init(struct world *w, uint32_t backend)
{
    struct breaker *it = &w->breakers[backend];
    it->known = true;
    it->state = RD_BREAKER_CLOSED;
    it->since_ns = w->core_ns;
    it->period = 1;
    it->probes = it->successes = it->results = 0;
}

uint64_t sim_breaker_next_ns(const struct world *w, uint32_t backend)
{
    const struct breaker *it = &w->breakers[backend];
    const uint64_t lasts_ns = it->state == RD_BREAKER_OPEN        ? RD_BREAKER_OPEN_NS
                              : it->state == RD_BREAKER_HALF_OPEN ? RD_BREAKER_VERDICT_NS
                                                                  : NEVER;
    const bool changes = lasts_ns != NEVER && it->since_ns + lasts_ns > w->core_ns;
    return changes ? it->since_ns + lasts_ns : NEVER;
}

void sim_breakers_tend(struct world *w)
{
    for (uint32_t b = 1; b <= w->plan.backends; b++) {
        struct breaker *it = &w->breakers[b];
        if (it->state == RD_BREAKER_HALF_OPEN &&
            w->core_ns - it->since_ns >= RD_BREAKER_VERDICT_NS) {
            enter(w, it, RD_BREAKER_OPEN);
        }
    }
}

static bool lets_through(const struct world *w, const struct breaker *it)
{
    if (it->state == RD_BREAKER_OPEN) {
        return w->core_ns - it->since_ns >= RD_BREAKER_OPEN_NS;
    }
    return it->state == RD_BREAKER_CLOSED || it->probes < RD_BREAKER_PROBES;
}

uint64_t sim_breaker_allow(struct world *w, uint32_t backend)
{
    struct breaker *it = &w->breakers[backend];
    if (!lets_through(w, it)) {
        return 0;
    }
    if (it->state == RD_BREAKER_OPEN) {
        enter(w, it, RD_BREAKER_HALF_OPEN);
    }
    it->probes += it->state == RD_BREAKER_HALF_OPEN;
    return it->period;
}

static void forget_old(const struct world *w, struct breaker *it)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < it->results; i++) {
        if (epoch(w->core_ns) - epoch(it->at_ns[i]) < RD_BREAKER_SLOTS) {
            it->at_ns[kept] = it->at_ns[i];
            it->bad[kept++] = it->bad[i];
        }
    }
    it->results = kept;
}

static uint32_t failures(const struct breaker *it)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < it->results; i++) {
        count += it->bad[i];
    }
    return count;
}

static void result(struct world *w, struct breaker *it, bool bad)
{
    forget_old(w, it);
    if (it->results == RESULTS) {
        sim_broken(w, "the simulator's list of results is large enough", 0);
        return;
    }
    it->at_ns[it->results] = w->core_ns;
    it->bad[it->results++] = bad;
    if (it->results >= RD_BREAKER_REQUESTS_MIN && 2 * failures(it) >= it->results) {
        enter(w, it, RD_BREAKER_OPEN);
    }
}

void sim_breaker_end(struct world *w, uint32_t backend, uint64_t permit, enum rd_verdict verdict)
{
    struct breaker *it = &w->breakers[backend];
    if (permit != it->period) {
        return;
    }
    if (it->state == RD_BREAKER_CLOSED && verdict != RD_VERDICT_SAYS_NOTHING) {
        result(w, it, verdict == RD_VERDICT_BAD);
    } else if (it->state == RD_BREAKER_HALF_OPEN && verdict == RD_VERDICT_SAYS_NOTHING) {
        it->probes--;
    } else if (it->state == RD_BREAKER_HALF_OPEN && verdict == RD_VERDICT_BAD) {
        enter(w, it, RD_BREAKER_OPEN);
    } else if (it->state == RD_BREAKER_HALF_OPEN && ++it->successes == RD_BREAKER_SUCCESSES) {
        it->results = 0;
        enter(w, it, RD_BREAKER_CLOSED);
    }
}

/* ---- who may get a run ---- */

bool sim_usable(const struct world *w, uint32_t backend)
{
    const struct backend *it = &w->backends[backend];
    return it->ready && !it->quarantined && lets_through(w, &w->breakers[backend]);
}

static bool could_take(const struct world *w, const struct job *job, uint32_t backend)
{
    const struct backend *it = &w->backends[backend];
    return it->serves[job->class_] && it->taken < it->slots && sim_usable(w, backend);
}

bool sim_elsewhere(const struct world *w, const struct job *job)
{
    for (uint32_t b = 1; b <= w->plan.backends; b++) {
        if (could_take(w, job, b) && (job->failed >> b & 1) == 0) {
            return true;
        }
    }
    return false;
}

static uint64_t weight_of(const struct backend *it)
{
    return it->weight != 0 ? it->weight : it->slots;
}

bool sim_least_loaded(const struct world *w, const struct job *job, uint32_t backend)
{
    const struct backend *it = &w->backends[backend];
    for (uint32_t b = 1; b <= w->plan.backends; b++) {
        const struct backend *other = &w->backends[b];
        if (could_take(w, job, b) && (job->failed >> b & 1) == (job->failed >> backend & 1) &&
            other->taken * weight_of(it) < it->taken * weight_of(other)) {
            return false;
        }
    }
    return true;
}

/* The queue says the same of the backend. */
bool sim_same_backend(const struct world *w, uint32_t backend)
{
    const struct backend *it = &w->backends[backend];
    struct breaker breaker = w->breakers[backend];
    struct rd_queue_backend said;
    if (!rd_queue_look_backend(w->queue, backend, &said)) {
        return !breaker.known;
    }
    forget_old(w, &breaker);
    const uint64_t lasted_ns = w->core_ns - breaker.since_ns;
    const bool shut = breaker.state == RD_BREAKER_OPEN && lasted_ns < RD_BREAKER_OPEN_NS;
    return said.slots == it->slots && said.taken == it->taken && said.ready == it->ready &&
           said.quarantined == it->quarantined && said.usable == sim_usable(w, backend) &&
           said.breaker == breaker.state && said.requests == breaker.results &&
           said.failures == failures(&breaker) &&
           said.retry_ns == (shut ? RD_BREAKER_OPEN_NS - lasted_ns : 0);
}
