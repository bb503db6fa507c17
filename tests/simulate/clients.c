/* SPDX-License-Identifier: Apache-2.0
 *
 * Those who use and operate the gateway: they submit, cancel, leave, wait no longer (and take their
 * run along as a job), change limits, slots and what backends serve, take backends away and bring
 * them back. And the clock, which may stand still or go back. */
#include "sim.h"

static uint32_t random_live(struct world *w)
{
    return w->live_count != 0 ? w->live[sim_below(w, w->live_count)] : 0;
}

static enum rd_lane random_lane(struct world *w)
{
    if (sim_chance(w, w->plan.high)) {
        return RD_LANE_HIGH;
    }
    return sim_chance(w, w->plan.low) ? RD_LANE_LOW : RD_LANE_NORMAL;
}

static void submit(struct world *w, uint32_t tenant)
{
    if (w->jobs_used == JOBS || w->live_count + 2 > LIVE) {
        return;
    }
    const uint32_t id = w->jobs_used + 1;
    const bool ttl = sim_chance(w, w->plan.ttl);
    const struct rd_queue_event event = {
        .kind = RD_EV_SUBMIT,
        .tenant = tenant,
        .class_ = 1 + sim_below(w, w->plan.classes),
        .lane = random_lane(w),
        /* with fair shares asked for, tenants differ in the size of their jobs */
        .units = w->plan.fair && tenant != 1 ? 1 : 1 + sim_below(w, w->plan.units_max),
        .ttl_ns = ttl ? sim_between(w, MS, 10 * SECOND) : 0,
        .now_only = sim_chance(w, w->plan.now_only),
    };
    sim_step(w, &event, id);
    if (w->jobs_used != id || w->broken != NULL) {
        return;
    }
    const struct job *job = &w->jobs[id];
    if (!job->now_only) {
        sim_write(w, (struct write){.kind = WRITE_INSERT,
                                    .id = id,
                                    .number = job->number,
                                    .fails = sim_chance(w, w->plan.insert_fails)});
        return;
    }
    const bool adopts = sim_chance(w, w->plan.adopts);
    if (adopts || sim_chance(w, w->plan.leaves)) {
        sim_happen(w, sim_between(w, 0, SECOND), adopts ? HAPPEN_ADOPT : HAPPEN_LEAVE, id);
    }
}

/* A tenant submits a few, and comes back. Those who keep a backlog submit when it gets low. */
static void steady_client(struct world *w, uint32_t tenant)
{
    if (w->live_count < 4) {
        submit(w, tenant);
    }
    sim_happen(w, sim_between(w, 10 * MS, 200 * MS), HAPPEN_CLIENT, tenant);
}

void sim_client(struct world *w, uint32_t tenant)
{
    if (w->settling) {
        return;
    }
    if (w->plan.steady) {
        steady_client(w, tenant);
        return;
    }
    const uint32_t backlog = w->tenants[tenant].queued;
    const uint32_t many = w->plan.crowd ? 150 : 12;
    const uint32_t few = 1 + sim_below(w, w->plan.crowd || sim_chance(w, 100) ? many : 3);
    const uint32_t count = !w->plan.fair ? few : backlog < 12 ? 12 : 0;
    for (uint32_t i = 0; i < count && w->broken == NULL; i++) {
        submit(w, tenant);
    }
    sim_happen(w, w->plan.fair ? 300 * MS : sim_between(w, 10 * MS, 2 * SECOND), HAPPEN_CLIENT,
               tenant);
}

void sim_leave(struct world *w, uint32_t id)
{
    const struct rd_queue_event event = {.kind = RD_EV_CANCEL, .job = w->jobs[id].number};
    if (event.job != 0) {
        sim_step(w, &event, id);
    }
}

void sim_adopt(struct world *w, uint32_t id)
{
    struct job *job = &w->jobs[id];
    if (job->number == 0 || job->durable) {
        return;
    }
    const struct rd_queue_event event = {.kind = RD_EV_ADOPT, .job = job->number};
    /* the row of a run that was cancelled says so: the order of writes is that of the actions */
    sim_write(w,
              (struct write){
                  .kind = WRITE_INSERT, .id = id, .number = job->number, .attempt = job->attempt});
    sim_step(w, &event, id);
}

/* ---- limits and backends ---- */

void sim_tell_limits(struct world *w, uint32_t tenant)
{
    const struct rd_queue_event event = {
        .kind = RD_EV_TENANT, .tenant = tenant, .limits = w->tenants[tenant].limits};
    sim_step(w, &event, 0);
}

void sim_tell_backend(struct world *w, uint32_t backend)
{
    const struct backend *it = &w->wanted[backend];
    sim_step(w,
             &(struct rd_queue_event){.kind = RD_EV_BACKEND,
                                      .backend = backend,
                                      .slots = it->slots,
                                      .weight = it->weight,
                                      .ready = it->ready,
                                      .lease_ns = it->lease_ns},
             0);
    for (uint32_t c = 1; c <= w->plan.classes && it->slots != 0; c++) {
        sim_step(w,
                 &(struct rd_queue_event){
                     .kind = RD_EV_CLASS, .backend = backend, .class_ = c, .serves = it->serves[c]},
                 0);
    }
}

static uint32_t none_or(struct world *w, uint32_t most)
{
    return sim_chance(w, 300) ? 0 : 1 + sim_below(w, most);
}

static void reload_tenant(struct world *w)
{
    const uint32_t tenant = 1 + sim_below(w, w->plan.tenants);
    const struct rd_tenant_limits limits = {
        .rate = {.per_s = sim_chance(w, 300) ? RD_BUCKET_UNLIMITED : sim_below(w, 20),
                 .burst = sim_below(w, 20)},
        .concurrency = none_or(w, 4),
        .depth = none_or(w, 20),
        .high = sim_chance(w, 700),
    };
    sim_model_limits(w, tenant, &limits);
    sim_tell_limits(w, tenant);
}

static void reload_backend(struct world *w)
{
    const uint32_t backend = 1 + sim_below(w, w->plan.backends);
    struct backend *it = &w->wanted[backend];
    it->slots = sim_chance(w, 200) ? 0 : 1 + sim_below(w, w->plan.slots_max);
    it->weight = sim_below(w, 4);
    it->lease_ns = sim_between(w, SECOND, 6 * SECOND);
    for (uint32_t c = 1; c <= w->plan.classes; c++) {
        it->serves[c] = sim_chance(w, 600);
    }
    sim_tell_backend(w, backend);
}

static void outage(struct world *w)
{
    const uint32_t backend = 1 + sim_below(w, w->plan.backends);
    w->wanted[backend].ready = false;
    for (uint32_t i = 1; i <= w->runs_used; i++) { /* some of its runs die, some nobody hears of */
        struct run *run = &w->runs[i];
        if (run->backend == backend && !run->done && !run->hangs && sim_chance(w, 700)) {
            run->outcome = RD_OUTCOME_FAILED_AGAIN;
            run->verdict = RD_VERDICT_BAD;
        }
    }
    sim_tell_backend(w, backend);
    sim_happen(w, sim_between(w, 100 * MS, 5 * SECOND), HAPPEN_BACK, backend);
}

void sim_back(struct world *w, uint32_t backend)
{
    w->wanted[backend].ready = true;
    sim_tell_backend(w, backend);
}

/* It takes runs, and fails them all. Sometimes its probes notice. */
static void sicken(struct world *w)
{
    const uint32_t backend = 1 + sim_below(w, w->plan.backends);
    struct backend *it = &w->wanted[backend];
    if (!it->sick) {
        it->sick = true;
        sim_happen(w, sim_between(w, SECOND, 150 * SECOND), HAPPEN_CURED, backend);
    }
}

void sim_cured(struct world *w, uint32_t backend)
{
    w->wanted[backend].sick = w->plan.steady && !w->settling;
}

/* The driver asks a backend in quarantine some times a second whether it is ready, and tells. */
void sim_poll(struct world *w, uint32_t backend)
{
    const struct backend *it = &w->wanted[backend];
    if (!w->backends[backend].quarantined) {
        return;
    }
    if (it->ready && it->slots != 0) {
        sim_step(w,
                 &(struct rd_queue_event){.kind = RD_EV_BACKEND,
                                          .backend = backend,
                                          .slots = it->slots,
                                          .weight = it->weight,
                                          .ready = true,
                                          .lease_ns = it->lease_ns},
                 0);
    }
    if (w->backends[backend].quarantined) {
        sim_happen(w, 300 * MS, HAPPEN_POLL, backend);
    }
}

/* What must change nothing. */
static void noise(struct world *w)
{
    static const enum rd_queue_event_kind kinds[] = {RD_EV_DURABLE,   RD_EV_LOST,   RD_EV_ENDED,
                                                     RD_EV_ADOPT,     RD_EV_LEASED, RD_EV_UNLEASED,
                                                     RD_EV_HEARTBEAT, RD_EV_DONE,   RD_EV_SLOT};
    struct rd_queue_event event = {
        .kind = kinds[sim_below(w, sizeof kinds / sizeof kinds[0])],
        .job = sim_below(w, w->live_count + 3),
        .token = sim_below(w, (uint32_t)w->token + 3),
        .backend = sim_chance(w, 500) ? 0 : RD_QUEUE_BACKENDS_MAX + 1,
        .outcome = RD_OUTCOME_OK,
        .device_ns = SECOND,
    };
    const uint32_t id = sim_id_of(w, event.job);
    if (event.token == w->jobs[id].token) {
        event.token++;
    }
    if (!sim_fits(w, &event, id)) {
        w->counted[COUNT_NOISE]++;
        sim_step(w, &event, id);
    }
}

void sim_chaos(struct world *w)
{
    if (w->settling || w->broken != NULL) {
        return;
    }
    const uint32_t id = random_live(w);
    if (id != 0 && sim_chance(w, w->plan.cancels)) {
        sim_step(w, &(struct rd_queue_event){.kind = RD_EV_CANCEL, .job = w->jobs[id].number}, id);
    }
    for (unsigned i = 0; i < 4 && sim_chance(w, w->plan.noise); i++) {
        noise(w);
    }
    if (sim_chance(w, w->plan.reloads)) {
        reload_tenant(w);
    }
    if (sim_chance(w, w->plan.reloads)) {
        reload_backend(w);
    }
    if (sim_chance(w, w->plan.outages)) {
        outage(w);
    }
    if (sim_chance(w, w->plan.sickness)) {
        sicken(w);
    }
    if (sim_chance(w, w->plan.clock)) { /* it stands still, jumps back, or is right again */
        w->behind_ns = sim_chance(w, 500) ? 0 : sim_between(w, 0, 10 * SECOND);
    }
    sim_happen(w, sim_between(w, 10 * MS, 300 * MS), HAPPEN_CHAOS, 0);
}
