/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual time, the loop, crash and restart; and the driver, which does what the queue's actions
 * say, as src/jobs does with real threads and files. */
#include "sim.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* ---- chance: splitmix64 ---- */

uint64_t sim_random(struct world *w)
{
    w->random += 0x9e3779b97f4a7c15ull;
    uint64_t x = w->random;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

uint32_t sim_below(struct world *w, uint32_t n)
{
    return (uint32_t)((sim_random(w) >> 32) * n >> 32);
}

uint64_t sim_between(struct world *w, uint64_t low, uint64_t high)
{
    return low + sim_random(w) % (high - low + 1);
}

bool sim_chance(struct world *w, unsigned thousandths)
{
    return sim_below(w, 1000) < thousandths;
}

/* ---- what happens when ---- */

static bool sooner(const struct entry *a, const struct entry *b)
{
    return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->seq < b->seq);
}

void sim_happen(struct world *w, uint64_t in_ns, enum happening what, uint32_t a)
{
    if (w->agenda_len == AGENDA) {
        sim_broken(w, "the simulator's agenda is large enough", 0);
        return;
    }
    const struct entry entry = {
        .at_ns = w->now_ns + in_ns, .seq = ++w->agenda_seq, .what = what, .a = a, .life = w->life};
    uint32_t at = ++w->agenda_len;
    while (at > 1 && sooner(&entry, &w->agenda[at / 2])) {
        w->agenda[at] = w->agenda[at / 2];
        at /= 2;
    }
    w->agenda[at] = entry;
}

static struct entry next_entry(struct world *w)
{
    const struct entry first = w->agenda[1];
    const struct entry last = w->agenda[w->agenda_len--];
    uint32_t at = 1;
    while (at * 2 <= w->agenda_len) {
        uint32_t child = at * 2;
        child += child < w->agenda_len && sooner(&w->agenda[child + 1], &w->agenda[child]);
        if (!sooner(&w->agenda[child], &last)) {
            break;
        }
        w->agenda[at] = w->agenda[child];
        at = child;
    }
    w->agenda[at] = last;
    return first;
}

/* ---- the driver ---- */

static void perform(struct world *w, const struct rd_queue_action *action)
{
    const uint32_t id = sim_id_of(w, action->job);
    struct write write = {.id = id, .number = action->job, .token = action->token};
    switch (action->kind) {
    case RD_ACT_WRITE_LEASE:
        write.kind = WRITE_LEASE;
        write.attempt = action->attempt;
        write.fails = !w->settling && sim_chance(w, w->plan.lease_fails);
        sim_write(w, write);
        break;
    case RD_ACT_WRITE_CANCEL:
        write.kind = WRITE_CANCEL;
        sim_write(w, write);
        break;
    case RD_ACT_WRITE_END:
        write.kind = WRITE_END;
        write.end = action->end;
        sim_write(w, write);
        break;
    case RD_ACT_RUN:
        sim_engine_run(w, id, action);
        break;
    case RD_ACT_STOP:
        sim_engine_stop(w, action->token);
        break;
    case RD_ACT_RETRY:
    case RD_ACT_FREE:
        break;
    }
}

static void note(struct world *w, const struct rd_queue_event *event, uint32_t id,
                 const struct rd_queue_result *r)
{
    struct traced *it = &w->trace[w->traced++ % TRACE];
    it->step = w->step;
    it->now_ns = w->core_ns;
    it->event = *event;
    it->id = id;
    it->admit = r->admit;
    it->stale = r->stale;
    it->count = r->count;
    for (size_t i = 0; i < r->count && i < 4; i++) {
        it->actions[i] = r->actions[i];
    }
    if (w->tracing) {
        sim_print_step(it);
    }
}

static void plan_tick(struct world *w, uint64_t next_ns)
{
    const uint64_t clock_ns = w->now_ns - w->behind_ns;
    if (next_ns == NEVER) {
        return;
    }
    const uint64_t in_ns = next_ns > clock_ns ? next_ns - clock_ns : 1;
    if (w->tick_ns == NEVER || w->now_ns + in_ns < w->tick_ns) {
        w->tick_ns = w->now_ns + in_ns;
        sim_happen(w, in_ns, HAPPEN_TICK, 0);
    }
}

void sim_step(struct world *w, const struct rd_queue_event *event, uint32_t id)
{
    static struct rd_queue_result r;
    struct rd_queue_event now = *event;
    do {
        if (w->broken != NULL) {
            return;
        }
        const uint64_t clock_ns = w->now_ns - w->behind_ns;
        w->core_ns = w->core_ns < clock_ns ? clock_ns : w->core_ns;
        sim_breakers_tend(w);
        w->step++;
        w->counted[COUNT_STEPS]++;
        now.random = (uint32_t)sim_random(w);
        uint64_t wait_ns = 0;
        const bool submit = now.kind == RD_EV_SUBMIT;
        const enum rd_admit expected = submit ? sim_expect_admit(w, &now, &wait_ns) : RD_ADMIT_OK;
        rd_queue_step(w->queue, &now, clock_ns, &r);
        note(w, &now, id, &r);
        if (submit && (r.admit != expected || r.wait_ns != wait_ns)) {
            sim_broken(w, "a submission is admitted or refused as the limits say", id);
        }
        w->counted[COUNT_MORE] += r.more;
        sim_follow(w, &now, id, &r);
        for (size_t i = 0; i < r.count && w->broken == NULL; i++) {
            perform(w, &r.actions[i]);
        }
        sim_check(w, &r);
        now = (struct rd_queue_event){.kind = RD_EV_TICK};
    } while (r.more);
    plan_tick(w, r.next_ns);
}

/* ---- crash and restart ---- */

static void restore(struct world *w)
{
    for (uint32_t id = 1; id <= w->jobs_used; id++) {
        const struct job *job = &w->jobs[id];
        if (!job->row || job->row_ended) {
            continue;
        }
        const uint64_t left_ns = job->expires_ns > w->core_ns ? job->expires_ns - w->core_ns : 1;
        const struct rd_queue_event event = {
            .kind = RD_EV_RESTORE,
            .tenant = job->tenant,
            .class_ = job->class_,
            .lane = job->lane,
            .units = job->units,
            .ttl_ns = job->expires_ns == NEVER ? 0 : left_ns,
            .attempt = job->row_attempt,
            .cancel = job->row_cancel,
        };
        sim_step(w, &event, id);
    }
}

static bool start_process(struct world *w)
{
    void *memory = mmap(NULL, rd_queue_size(), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        sim_broken(w, "there is memory for the queue", 0);
        return false;
    }
    w->config.token_last = w->token;
    w->queue = rd_queue_init(memory, &w->config);
    w->core_ns = w->now_ns - w->behind_ns;
    w->tick_ns = NEVER;
    const bool before = sim_chance(w, 700); /* limits may be known before the rows or after */
    for (uint32_t t = 1; t <= w->plan.tenants && before; t++) {
        sim_tell_limits(w, t);
    }
    restore(w);
    for (uint32_t t = 1; t <= w->plan.tenants && !before; t++) {
        sim_tell_limits(w, t);
    }
    for (uint32_t b = 1; b <= w->plan.backends; b++) {
        sim_tell_backend(w, b);
    }
    return true;
}

static void crash(struct world *w)
{
    w->counted[COUNT_CRASHES]++;
    sim_store_crash(w);
    sim_model_crash(w);
    w->life++;
    (void)munmap(w->queue, rd_queue_size());
    (void)start_process(w);
}

/* ---- one seed ---- */

static unsigned some(struct world *w, unsigned most)
{
    return sim_chance(w, 500) ? 0 : 1 + sim_below(w, most);
}

/* No fault but the one: a backend that fails everything, and that its probes take for ready. */
static void make_steady(struct plan *p)
{
    *p = (struct plan){.steps = 1500,
                       .steady = true,
                       .now_only = 500,
                       .tenants = 2,
                       .classes = 1,
                       .backends = 3,
                       .units_max = p->units_max,
                       .slots_max = 1};
}

static void make_plan(struct world *w)
{
    struct plan *p = &w->plan;
    p->fair = sim_chance(w, 200);
    p->steps = p->fair ? 1500 : 200 + sim_below(w, 1000);
    p->insert_fails = some(w, 60);
    p->lease_fails = some(w, 60);
    p->hangs = some(w, p->fair ? 20 : 150);
    p->twice = some(w, 200);
    p->fails = some(w, 150);
    p->fails_again = some(w, 250);
    p->gives_up = some(w, 50);
    p->heartbeat_lost = some(w, 300);
    p->crashes = p->fair ? 0 : some(w, 100);
    p->cancels = p->fair ? 0 : some(w, 600);
    p->reloads = p->fair ? 0 : some(w, 300);
    p->outages = some(w, 100);
    p->sickness = some(w, 60);
    p->clock = some(w, 150);
    p->now_only = some(w, 800);
    p->adopts = some(w, 800);
    p->leaves = p->fair ? 0 : some(w, 500);
    p->ttl = p->fair ? 0 : some(w, 400);
    p->high = p->fair ? 0 : some(w, 400);
    p->low = p->fair ? 0 : some(w, 400);
    p->tenants = p->fair ? 2 + sim_below(w, 2) : 1 + sim_below(w, TENANTS);
    p->classes = p->fair ? 1 : 1 + sim_below(w, CLASSES);
    p->backends = p->fair ? 1 : 1 + sim_below(w, BACKENDS);
    p->noise = some(w, 300);
    p->crowd = !p->fair && sim_chance(w, 100);
    p->uneven = p->fair && sim_chance(w, 500);
    p->units_max = 1 + sim_below(w, 8);
    p->slots_max = 1 + sim_below(w, 4);
    if (p->crowd) { /* most of them expire, many at once when the clock is right again */
        p->steps = 1500;
        p->ttl = 900;
        p->clock = 200;
        p->reloads = p->now_only = 0;
        p->slots_max = p->backends = 1;
    }
    if (sim_chance(w, 30)) {
        make_steady(p);
    }
    w->config = (struct rd_queue_config){
        .attempts_max = 1 + sim_below(w, 4),
        .retry_first_ns = sim_between(w, 50 * MS, SECOND),
        .retry_max_ns = sim_between(w, SECOND, 4 * SECOND),
        .stop_patience_ns = sim_between(w, SECOND, 5 * SECOND),
        .deadline_ns = sim_chance(w, 400) ? sim_between(w, SECOND, 20 * SECOND) : 0,
    };
    if (p->steady) {
        w->config.attempts_max = 4;
        w->config.deadline_ns = 0;
    }
}

static void make_world(struct world *w)
{
    make_plan(w);
    for (uint32_t c = 1; c <= w->plan.classes; c++) {
        w->unit_ns[c] = sim_between(w, 60 * MS, 500 * MS);
        const uint64_t longest_us = 2 * w->unit_ns[c] * w->plan.units_max / 1000;
        w->longest_us = w->longest_us < longest_us ? longest_us : w->longest_us;
    }
    for (uint32_t b = 1; b <= w->plan.backends; b++) {
        struct backend *backend = &w->wanted[b];
        backend->slots = 1 + sim_below(w, w->plan.slots_max);
        backend->ready = true;
        backend->weight = sim_below(w, 4);
        backend->lease_ns = sim_between(w, SECOND, 6 * SECOND);
        if (w->plan.steady) {
            backend->slots = 12;
            backend->lease_ns = 60 * SECOND;
            backend->sick = b == 1;
        }
        for (uint32_t c = 1; c <= w->plan.classes; c++) {
            backend->serves[c] = w->plan.fair || w->plan.steady || sim_chance(w, 600);
        }
    }
    for (uint32_t t = 1; t <= w->plan.tenants; t++) {
        sim_model_limits(w, t, NULL);
    }
}

static bool of_this_life(const struct world *w, const struct entry *entry)
{
    return entry->life == w->life || entry->what == HAPPEN_CLIENT || entry->what == HAPPEN_CHAOS ||
           entry->what == HAPPEN_BACK || entry->what == HAPPEN_CURED || entry->what == HAPPEN_DONE;
}

static void happen(struct world *w, const struct entry *entry)
{
    switch (entry->what) {
    case HAPPEN_TICK:
        if (entry->at_ns == w->tick_ns) {
            w->tick_ns = NEVER;
            sim_step(w, &(struct rd_queue_event){.kind = RD_EV_TICK}, 0);
        }
        break;
    case HAPPEN_CLIENT:
        sim_client(w, entry->a);
        break;
    case HAPPEN_CHAOS:
        if (!w->settling && sim_chance(w, w->plan.crashes)) {
            crash(w);
        }
        sim_chaos(w);
        break;
    case HAPPEN_SYNC:
        sim_synced(w);
        break;
    case HAPPEN_LEAVE:
        sim_leave(w, entry->a);
        break;
    case HAPPEN_ADOPT:
        sim_adopt(w, entry->a);
        break;
    case HAPPEN_BACK:
        sim_back(w, entry->a);
        break;
    case HAPPEN_CURED:
        sim_cured(w, entry->a);
        break;
    case HAPPEN_POLL:
        sim_poll(w, entry->a);
        break;
    case HAPPEN_DONE:
        if (entry->life != w->life) {
            sim_engine_ghost(w, entry->a);
            break;
        }
        sim_engine_happens(w, entry->what, entry->a);
        break;
    case HAPPEN_HEARTBEAT:
    case HAPPEN_AGAIN:
    case HAPPEN_SLOT:
        sim_engine_happens(w, entry->what, entry->a);
        break;
    }
}

/* Faults stop: every backend comes back, serves everything, and has slots. */
static void settle(struct world *w)
{
    w->settling = true;
    w->behind_ns = 0;
    for (uint32_t b = 1; b <= w->plan.backends; b++) {
        struct backend *backend = &w->wanted[b];
        backend->ready = true;
        backend->sick = false;
        backend->slots = backend->slots != 0 ? backend->slots : 1;
        for (uint32_t c = 1; c <= w->plan.classes; c++) {
            backend->serves[c] = true;
        }
        sim_tell_backend(w, b);
    }
}

bool sim_run(struct world *w, uint64_t seed, bool tracing, bool blind)
{
    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->random = seed * 0x2545f4914f6cdd1dull + 1;
    w->tracing = tracing;
    w->blind = blind;
    w->now_ns = 1000 * SECOND;
    make_world(w);
    if (!start_process(w)) {
        return false;
    }
    for (uint32_t t = 1; t <= w->plan.tenants; t++) {
        const bool late = w->plan.fair && t == 2; /* who comes late has nothing saved up */
        sim_happen(w, sim_between(w, 0, late ? 90 * SECOND : 100 * MS), HAPPEN_CLIENT, t);
    }
    sim_happen(w, 50 * MS, HAPPEN_CHAOS, 0);
    const unsigned limit = w->plan.steps * 20 + 50000;
    const uint64_t until_ns = w->now_ns + 3600 * SECOND; /* no backend may serve anything */
    while (w->broken == NULL && w->agenda_len != 0 && w->step < limit) {
        const struct entry entry = next_entry(w);
        w->now_ns = entry.at_ns;
        if (!w->settling && (w->step >= w->plan.steps || w->now_ns > until_ns)) {
            settle(w);
        }
        if (of_this_life(w, &entry)) {
            happen(w, &entry);
        }
    }
    if (w->broken == NULL) {
        sim_check_end(w);
    }
    (void)munmap(w->queue, rd_queue_size());
    return w->broken == NULL;
}
