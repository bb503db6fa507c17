/* SPDX-License-Identifier: Apache-2.0
 *
 * The model of who may enter: rates, concurrency, depth, lanes and slots, told a second time from
 * queue.h, with buckets that count in nano-tokens. */
#include "sim.h"

#define NANO 1000000000u

static unsigned __int128 cap_of(const struct tenant *tenant)
{
    return (unsigned __int128)tenant->limits.rate.burst * NANO;
}

static uint64_t core_clock(const struct world *w)
{
    const uint64_t clock_ns = w->now_ns - w->behind_ns;
    return clock_ns > w->core_ns ? clock_ns : w->core_ns;
}

static void refill(struct world *w, struct tenant *tenant)
{
    const uint64_t now_ns = core_clock(w);
    const unsigned __int128 cap = cap_of(tenant);
    if (tenant->limits.rate.per_s != RD_BUCKET_UNLIMITED) {
        tenant->level += (unsigned __int128)(now_ns - tenant->level_ns) * tenant->limits.rate.per_s;
    }
    tenant->level = tenant->level < cap ? tenant->level : cap;
    tenant->level_ns = now_ns;
}

void sim_model_limits(struct world *w, uint32_t t, const struct rd_tenant_limits *limits)
{
    struct tenant *tenant = &w->tenants[t];
    const bool unlimited = w->plan.fair || w->plan.crowd;
    const bool full = limits == NULL || tenant->limits.rate.per_s == RD_BUCKET_UNLIMITED;
    if (limits != NULL) {
        refill(w, tenant);
        tenant->limits = *limits;
    } else {
        tenant->limits = (struct rd_tenant_limits){
            .rate = {.per_s = unlimited || sim_chance(w, 400) ? RD_BUCKET_UNLIMITED
                                                              : 1 + sim_below(w, 20),
                     .burst = 1 + sim_below(w, 20)},
            .concurrency = unlimited || sim_chance(w, 400) ? 0 : 1 + sim_below(w, 4),
            .depth = unlimited || sim_chance(w, 400) ? 0 : 1 + sim_below(w, 20),
            .high = sim_chance(w, 700),
        };
    }
    if (full) {
        tenant->level = cap_of(tenant);
        tenant->level_ns = core_clock(w);
    }
    tenant->window_ns = core_clock(w);
    tenant->admitted = tenant->given_back = 0;
}

static enum rd_admit expect_slot(const struct world *w, uint32_t class_)
{
    enum rd_admit answer = RD_ADMIT_NO_BACKEND;
    for (uint32_t b = 1; b <= w->plan.backends; b++) {
        const struct backend *it = &w->backends[b];
        if (!it->serves[class_]) {
            continue;
        }
        const bool full = it->taken >= it->slots;
        if (!full && sim_usable(w, b)) {
            return RD_ADMIT_OK;
        }
        if (full) {
            answer = RD_ADMIT_NO_SLOT;
        } else if (answer == RD_ADMIT_NO_BACKEND) {
            answer = RD_ADMIT_NOT_READY;
        }
    }
    return answer;
}

enum rd_admit sim_expect_admit(struct world *w, const struct rd_queue_event *event,
                               uint64_t *ret_wait_ns)
{
    struct tenant *tenant = &w->tenants[event->tenant];
    const struct rd_tenant_limits *limits = &tenant->limits;
    if (event->lane == RD_LANE_HIGH && !limits->high) {
        return RD_ADMIT_LANE;
    }
    if (event->now_only) {
        const enum rd_admit slot = expect_slot(w, event->class_);
        if (limits->concurrency != 0 && tenant->running >= limits->concurrency) {
            return RD_ADMIT_CONCURRENCY;
        }
        if (slot != RD_ADMIT_OK) {
            return slot;
        }
    } else if (limits->depth != 0 && tenant->queued >= limits->depth) {
        return RD_ADMIT_DEPTH;
    }
    refill(w, tenant);
    if (limits->rate.per_s == RD_BUCKET_UNLIMITED || tenant->level >= NANO) {
        return RD_ADMIT_OK;
    }
    const bool ever = limits->rate.per_s != 0 && limits->rate.burst != 0;
    const uint64_t missing = NANO - (uint64_t)tenant->level;
    *ret_wait_ns = ever ? (missing + limits->rate.per_s - 1) / limits->rate.per_s : NEVER;
    return RD_ADMIT_RATE;
}

void sim_admitted(struct world *w, uint32_t id)
{
    struct tenant *tenant = &w->tenants[w->jobs[id].tenant];
    const struct rd_bucket_rate *rate = &tenant->limits.rate;
    tenant->admitted++;
    if (rate->per_s == RD_BUCKET_UNLIMITED) {
        return;
    }
    tenant->level -= NANO;
    const unsigned __int128 allowed =
        (unsigned __int128)(rate->burst + tenant->given_back) * NANO +
        (unsigned __int128)rate->per_s * (w->core_ns - tenant->window_ns);
    if ((unsigned __int128)tenant->admitted * NANO > allowed) {
        sim_broken(w, "no more is admitted than burst + rate * time", id);
    }
}

void sim_given_back(struct world *w, uint32_t t)
{
    struct tenant *tenant = &w->tenants[t];
    refill(w, tenant);
    tenant->given_back++;
    tenant->level += NANO;
    refill(w, tenant);
}

/* A new process begins with full buckets. */
void sim_limits_crash(struct world *w)
{
    for (uint32_t t = 1; t <= w->plan.tenants; t++) {
        struct tenant *tenant = &w->tenants[t];
        tenant->level = cap_of(tenant);
        tenant->level_ns = tenant->window_ns = w->now_ns - w->behind_ns;
        tenant->admitted = tenant->given_back = 0;
    }
}
