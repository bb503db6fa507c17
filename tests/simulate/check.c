/* SPDX-License-Identifier: Apache-2.0
 *
 * What must hold after every step, and at the end of a run. */
#include "sim.h"

static void expect(struct world *w, bool holds, const char *invariant, uint32_t id)
{
    if (!holds) {
        sim_broken(w, invariant, id);
    }
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The queue and the model say the same of every job. */
static void check_jobs(struct world *w)
{
    for (uint32_t i = 0; i < w->live_count; i++) {
        const uint32_t id = w->live[i];
        struct job *job = &w->jobs[id];
        struct rd_queue_job it;
        expect(w, rd_queue_look(w->queue, job->number, &it), "no job is lost", id);
        if (w->broken != NULL) {
            return;
        }
        if (job->state == RD_JOB_WAITING && it.state == RD_JOB_QUEUED &&
            job->due_ns <= w->core_ns) {
            job->state = RD_JOB_QUEUED; /* no action tells of it */
        }
        expect(w, !job->elsewhere, "what goes on elsewhere goes at once", id);
        expect(w, it.state == job->state, "a job is in the state that its events lead to", id);
        expect(w, it.tenant == job->tenant && it.class_ == job->class_ && it.lane == job->lane,
               "a job stays what it is", id);
        expect(w, it.token == job->token, "a job has the lease that it was given", id);
        expect(w, it.attempt == job->attempt, "a job's attempts are counted", id);
        const bool waits = it.state == RD_JOB_QUEUED || it.state == RD_JOB_WAITING;
        expect(w, waits ? it.position >= 1 && it.position <= w->live_count : it.position == 0,
               "a job that waits has a position", id);
    }
}

static void check_counts(struct world *w)
{
    struct rd_queue_counts counts;
    rd_queue_counts(w->queue, &counts);
    uint32_t queued[RD_LANE_COUNT_] = {0};
    for (uint32_t i = 0; i < w->live_count; i++) {
        const struct job *job = &w->jobs[w->live[i]];
        queued[job->lane] += job->state == RD_JOB_ACCEPTED || job->state == RD_JOB_QUEUED ||
                             job->state == RD_JOB_WAITING;
    }
    for (uint32_t lane = 0; lane < RD_LANE_COUNT_; lane++) {
        expect(w, counts.queued[lane] == queued[lane], "sizes of lanes are conserved", 0);
    }
    uint32_t taken = 0;
    uint32_t slots = 0;
    for (uint32_t b = 1; b <= w->plan.backends; b++) {
        taken += w->backends[b].taken;
        slots += w->backends[b].slots;
    }
    w->slots_most = w->slots_most < slots ? slots : w->slots_most;
    expect(w, counts.running == taken, "slots are conserved", 0);
    for (uint32_t b = 1; b <= w->plan.backends; b++) {
        expect(w, sim_same_backend(w, b), "backends, breakers and quarantines are as the runs say",
               0);
    }
    for (uint32_t t = 1; t <= w->plan.tenants; t++) {
        struct rd_tenant_state it;
        rd_queue_tenant(w->queue, t, w->core_ns, &it);
        expect(w, it.queued == w->tenants[t].queued, "sizes of tenants' queues are conserved", 0);
        expect(w, it.running == w->tenants[t].running, "tenants' runs are conserved", 0);
    }
}

static bool may_start(const struct world *w, const struct job *job)
{
    const struct tenant *tenant = &w->tenants[job->tenant];
    const uint32_t cap = tenant->limits.concurrency;
    return job->state == RD_JOB_QUEUED && (cap == 0 || tenant->running < cap);
}

/* Which classes have a free slot now, as bits. */
static uint32_t open_classes(const struct world *w)
{
    uint32_t open = 0;
    for (uint32_t b = 1; b <= w->plan.backends; b++) {
        const struct backend *it = &w->backends[b];
        for (uint32_t c = 1; c <= w->plan.classes; c++) {
            const bool serves = it->serves[c] && sim_usable(w, b);
            open |= (uint32_t)(serves && it->taken < it->slots) << c;
        }
    }
    return open;
}

static void check_choice(struct world *w, bool more)
{
    const uint32_t open = open_classes(w);
    for (uint32_t i = 0; i < w->live_count; i++) {
        const uint32_t id = w->live[i];
        const struct job *job = &w->jobs[id];
        if (!may_start(w, job)) {
            continue;
        }
        expect(w, more || (open >> job->class_ & 1) == 0,
               "no slot is free while a job could use it", id);
        for (uint32_t k = 0; k < w->started_count; k++) {
            const struct job *started = &w->jobs[w->started[k]];
            if (!w->backends[started->backend].serves[job->class_]) {
                continue;
            }
            expect(w, started->lane <= job->lane, "a higher lane goes first", id);
            expect(w,
                   started->lane != job->lane || started->class_ == job->class_ ||
                       w->served[job->class_] >= w->started_after[k],
                   "of several classes the one that was served longest ago goes first", id);
        }
    }
}

/* Everything that is due has happened, and TICK is asked for at the next time that is. */
static void check_timers(struct world *w, const struct rd_queue_result *r)
{
    uint64_t next_ns = NEVER;
    for (uint32_t i = 0; i < w->live_count; i++) {
        const uint32_t id = w->live[i];
        const struct job *job = &w->jobs[id];
        uint64_t due_ns = NEVER;
        if (job->state == RD_JOB_QUEUED || job->state == RD_JOB_LEASING) {
            due_ns = least(job->expires_ns, job->deadline_ns);
        } else if (job->state == RD_JOB_WAITING) {
            due_ns = least(job->due_ns, job->expires_ns);
        } else if (job->state == RD_JOB_RUNNING || job->state == RD_JOB_STOPPING) {
            due_ns = job->due_ns;
        }
        expect(w, r->more || due_ns > w->core_ns, "what is due happens", id);
        next_ns = least(next_ns, due_ns);
    }
    for (uint32_t b = 1; b <= w->plan.backends; b++) {
        next_ns = least(next_ns, sim_breaker_next_ns(w, b));
    }
    expect(w, r->next_ns == (r->more ? w->core_ns : next_ns), "the next tick is at the next timer",
           0);
}

/* ---- fairness ---- */

void sim_took(struct world *w, const struct job *job, uint64_t took_ns)
{
    const uint64_t took_us = took_ns / 1000;
    w->shares[job->class_][job->lane].took_us[job->tenant] += took_us;
    w->longest_us = w->longest_us < took_us ? took_us : w->longest_us;
}

/* Of two tenants that have both had an eligible job waiting for a while, in one class and lane, the
 * device time of runs that ended in that while differs by at most (2 S + 2) C: a third of the bound
 * that queue_fair.c gives the reason for, and twice what any seed has come to. */
static void check_pair(struct world *w, struct shares *s, uint32_t a, uint32_t b)
{
    const int64_t apart_us = (int64_t)s->took_us[a] - (int64_t)s->took_us[b];
    const bool both = s->waits[a] && s->waits[b];
    if (both && !s->both[a][b]) {
        s->base_us[a][b] = apart_us;
    }
    s->both[a][b] = both;
    if (both) {
        const int64_t grown_us = apart_us - s->base_us[a][b];
        const int64_t bound_us = (int64_t)((2 * w->slots_most + 2) * w->longest_us);
        w->counted[COUNT_FAIR]++;
        expect(w, -bound_us <= grown_us && grown_us <= bound_us,
               "those who wait get equal shares of device time", 0);
    }
}

static void check_fairness(struct world *w)
{
    struct shares *s = &w->shares[1][RD_LANE_NORMAL];
    for (uint32_t t = 1; t <= w->plan.tenants; t++) {
        s->waits[t] = false;
    }
    for (uint32_t i = 0; i < w->live_count; i++) {
        const struct job *job = &w->jobs[w->live[i]];
        s->waits[job->tenant] = s->waits[job->tenant] || may_start(w, job);
    }
    for (uint32_t a = 1; a <= w->plan.tenants; a++) {
        for (uint32_t b = a + 1; b <= w->plan.tenants; b++) {
            check_pair(w, s, a, b);
        }
    }
}

void sim_check(struct world *w, const struct rd_queue_result *r)
{
    const char *wrong = w->broken == NULL && !w->blind ? rd_queue_check(w->queue) : NULL;
    if (wrong != NULL) {
        sim_broken(w, wrong, 0);
    }
    if (w->broken == NULL) {
        check_jobs(w);
    }
    if (w->broken == NULL) {
        check_counts(w);
        check_choice(w, r->more);
        check_timers(w, r);
        if (w->plan.fair) {
            check_fairness(w);
        }
    }
}

/* Faults have stopped, and nothing is planned any more. */
void sim_check_end(struct world *w)
{
    for (uint32_t id = 1; id <= w->jobs_used; id++) {
        const struct job *job = &w->jobs[id];
        expect(w, !job->told || (job->row && job->row_ended), "every accepted job ends", id);
        expect(w, job->number == 0, "every number becomes free", id);
        expect(w, !(job->row_cancel || job->cancel_told) || job->row_end == RD_END_CANCELLED,
               "a job whose cancel was told ends cancelled", id);
    }
    for (uint32_t b = 1; b <= w->plan.backends; b++) {
        expect(w, w->backends[b].taken == 0, "every slot becomes free", 0);
        expect(w, !w->backends[b].quarantined, "every quarantine ends", 0);
    }
    expect(w, w->agenda_len == 0 && w->writes_count == 0, "everything comes to rest", 0);
}
