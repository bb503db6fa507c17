/* SPDX-License-Identifier: Apache-2.0
 *
 * The model: what each event and action means to a job, its tenant and its backend, written down a
 * second time, plainly, from queue.h alone. It believes nothing: each action must be one that the
 * queue may take in the state that the model has, and each answer the one that the model expects.
 */
#include "sim.h"

static void expect(struct world *w, bool holds, const char *invariant, uint32_t id)
{
    if (!holds) {
        sim_broken(w, invariant, id);
    }
}

uint32_t sim_id_of(const struct world *w, uint32_t number)
{
    return number < sizeof w->id_of / sizeof w->id_of[0] ? w->id_of[number] : 0;
}

static bool is_queued(enum rd_job_state state)
{
    return state == RD_JOB_ACCEPTED || state == RD_JOB_QUEUED || state == RD_JOB_WAITING;
}

static bool is_running(enum rd_job_state state)
{
    return state == RD_JOB_LEASING || state == RD_JOB_RUNNING || state == RD_JOB_STOPPING;
}

static void move(struct world *w, struct job *job, enum rd_job_state state)
{
    struct tenant *tenant = &w->tenants[job->tenant];
    tenant->queued += (uint32_t)is_queued(state) - (uint32_t)is_queued(job->state);
    tenant->running += (uint32_t)is_running(state) - (uint32_t)is_running(job->state);
    if (is_running(job->state) && !is_running(state)) {
        job->token = 0;
    }
    job->state = state;
}

static void add_live(struct world *w, uint32_t id, uint32_t number)
{
    const bool fits =
        number != 0 && number < sizeof w->id_of / sizeof w->id_of[0] && w->live_count < LIVE;
    expect(w, fits && w->id_of[number] == 0, "a number belongs to one job at a time", id);
    if (w->broken == NULL) {
        w->id_of[number] = id;
        w->jobs[id].number = number;
        w->live[w->live_count++] = id;
    }
}

static void remove_live(struct world *w, uint32_t id)
{
    struct job *job = &w->jobs[id];
    move(w, job, RD_JOB_FREE);
    w->id_of[job->number] = 0;
    job->number = 0;
    uint32_t i = 0;
    while (w->live[i] != id) {
        i++;
    }
    w->live[i] = w->live[--w->live_count];
}

/* ---- leases ---- */

static void end_lease(struct world *w, struct job *job, enum rd_verdict verdict)
{
    w->backends[job->backend].leases--;
    sim_breaker_end(w, job->backend, job->permit, verdict);
    job->permit = 0;
}

static void quarantine(struct world *w, uint32_t backend)
{
    if (!w->backends[backend].quarantined) {
        w->backends[backend].quarantined = true;
        w->counted[COUNT_QUARANTINED]++;
        sim_happen(w, 300 * MS, HAPPEN_POLL, backend);
    }
}

/* ---- events ---- */

static void on_enter(struct world *w, const struct rd_queue_event *event, uint32_t id,
                     const struct rd_queue_result *r)
{
    struct job *job = &w->jobs[id];
    if (event->kind == RD_EV_SUBMIT) {
        if (r->admit != RD_ADMIT_OK) {
            w->counted[COUNT_REFUSED]++;
            return;
        }
        w->jobs_used = id;
        *job = (struct job){.tenant = event->tenant,
                            .class_ = event->class_,
                            .units = event->units,
                            .lane = event->lane,
                            .now_only = event->now_only,
                            .durable = !event->now_only};
    } else {
        expect(w, r->admit == RD_ADMIT_OK, "a row is always restored", id);
        job->attempt = event->attempt;
        job->cancel = event->cancel;
        job->durable = true;
        job->failed = 0;
        job->lost = false;
    }
    job->deadline_ns = NEVER;
    job->expires_ns = event->ttl_ns != 0 ? w->core_ns + event->ttl_ns : NEVER;
    job->order = ++w->order;
    add_live(w, id, r->job);
    if (w->broken != NULL) {
        return;
    }
    move(w, job, event->kind == RD_EV_SUBMIT ? RD_JOB_ACCEPTED : RD_JOB_QUEUED);
    if (event->kind == RD_EV_SUBMIT) {
        sim_admitted(w, id);
    }
}

static bool has_action(const struct rd_queue_result *r, enum rd_queue_action_kind kind,
                       uint32_t job)
{
    for (size_t i = 0; i < r->count; i++) {
        if (r->actions[i].kind == kind && r->actions[i].job == job) {
            return true;
        }
    }
    return false;
}

static void on_cancel(struct world *w, uint32_t id, const struct rd_queue_result *r)
{
    struct job *job = &w->jobs[id];
    const bool early = is_queued(job->state) || job->state == RD_JOB_LEASING;
    const enum rd_cancel expected = early                    ? RD_CANCEL_ENDED
                                    : is_running(job->state) ? RD_CANCEL_STOPPING
                                                             : RD_CANCEL_TOO_LATE;
    expect(w, r->cancel == expected, "a cancel is told what it met", id);
    job->cancel = job->cancel || expected != RD_CANCEL_TOO_LATE;
    if (job->state == RD_JOB_RUNNING) {
        expect(w, has_action(r, RD_ACT_STOP, job->number), "a cancelled run is stopped", id);
        expect(w, !job->durable || has_action(r, RD_ACT_WRITE_CANCEL, job->number),
               "a cancel of a run is written", id);
        move(w, job, RD_JOB_STOPPING);
        job->due_ns = w->core_ns + w->config.stop_patience_ns;
    }
}

static bool fresh(const struct job *job, const struct rd_queue_event *event)
{
    const bool leasing = event->kind == RD_EV_LEASED || event->kind == RD_EV_UNLEASED;
    const bool right = leasing ? job->state == RD_JOB_LEASING
                               : job->state == RD_JOB_RUNNING || job->state == RD_JOB_STOPPING;
    return job->number == event->job && right && job->token == event->token;
}

static bool ended_by(const struct job *job, const struct rd_queue_event *event,
                     enum rd_outcome outcome)
{
    return event->kind == RD_EV_DONE && fresh(job, event) && event->outcome == outcome;
}

static bool may_repeat(const struct job *job, const struct rd_queue_event *event)
{
    return job->state == RD_JOB_RUNNING && (ended_by(job, event, RD_OUTCOME_FAILED_AGAIN) ||
                                            ended_by(job, event, RD_OUTCOME_CANCELLED));
}

static void on_token(struct world *w, const struct rd_queue_event *event, uint32_t id,
                     const struct rd_queue_result *r)
{
    struct job *job = &w->jobs[id];
    const bool holds = fresh(job, event);
    expect(w, r->stale == !holds, "only the token of the live lease counts", id);
    w->counted[COUNT_STALE] += !holds;
    if (!holds) {
        return;
    }
    if (event->kind == RD_EV_UNLEASED) {
        end_lease(w, job, RD_VERDICT_SAYS_NOTHING);
        w->backends[job->backend].taken--;
        job->attempt--;
        job->returned = true;
        move(w, job, RD_JOB_QUEUED);
    } else if (event->kind == RD_EV_HEARTBEAT && job->state == RD_JOB_RUNNING) {
        job->due_ns = w->core_ns + w->backends[job->backend].lease_ns;
    } else if (event->kind == RD_EV_DONE) {
        const uint64_t wall_ns = w->core_ns - job->started_ns;
        end_lease(w, job, event->verdict);
        if (may_repeat(job, event) && event->verdict == RD_VERDICT_BAD) {
            job->failed |= 1u << job->backend;
        }
        job->lost = false;
        sim_took(w, job, event->device_ns != 0 ? event->device_ns : wall_ns);
    }
}

static void on_backend(struct world *w, const struct rd_queue_event *event)
{
    struct backend *backend = &w->backends[event->backend];
    if (!w->breakers[event->backend].known) {
        sim_breaker_init(w, event->backend);
    }
    backend->weight = event->weight;
    backend->slots = event->slots;
    backend->ready = event->ready && event->slots != 0;
    backend->lease_ns = event->lease_ns;
    if (backend->ready && backend->taken == backend->leases) {
        backend->quarantined = false;
    }
    for (uint32_t c = 1; c <= CLASSES && event->slots == 0; c++) {
        backend->serves[c] = false;
    }
}

static void on_adopt(struct world *w, const struct rd_queue_event *event, uint32_t id,
                     const struct rd_queue_result *r)
{
    struct job *job = &w->jobs[id];
    const bool fits = sim_fits(w, event, id);
    expect(w, r->job == (fits ? event->job : 0), "a run is adopted while it runs", id);
    if (!fits) {
        return;
    }
    expect(w, job->state != RD_JOB_STOPPING || has_action(r, RD_ACT_WRITE_CANCEL, event->job),
           "a cancel of a run is written when it is adopted", id);
    job->durable = true;
    w->counted[COUNT_ADOPTED]++;
}

bool sim_fits(const struct world *w, const struct rd_queue_event *event, uint32_t id)
{
    const struct job *job = &w->jobs[id];
    if (event->kind == RD_EV_DURABLE || event->kind == RD_EV_LOST) {
        return job->state == RD_JOB_ACCEPTED;
    }
    if (event->kind == RD_EV_ENDED) {
        return job->state == RD_JOB_ENDING;
    }
    if (event->kind == RD_EV_ADOPT) {
        const bool runs = job->state == RD_JOB_RUNNING || job->state == RD_JOB_STOPPING;
        return runs && !job->durable;
    }
    return false;
}

static void on_event(struct world *w, const struct rd_queue_event *event, uint32_t id,
                     const struct rd_queue_result *r)
{
    struct job *job = &w->jobs[id];
    switch (event->kind) {
    case RD_EV_SUBMIT:
    case RD_EV_RESTORE:
        on_enter(w, event, id, r);
        break;
    case RD_EV_DURABLE:
        if (sim_fits(w, event, id) && !job->cancel) {
            move(w, job, RD_JOB_QUEUED);
        }
        break;
    case RD_EV_LOST:
        if (sim_fits(w, event, id)) {
            sim_given_back(w, job->tenant);
            remove_live(w, id);
        }
        break;
    case RD_EV_LEASED:
    case RD_EV_UNLEASED:
    case RD_EV_HEARTBEAT:
    case RD_EV_DONE:
        on_token(w, event, id, r);
        break;
    case RD_EV_ADOPT:
        on_adopt(w, event, id, r);
        break;
    case RD_EV_CANCEL:
        on_cancel(w, id, r);
        break;
    case RD_EV_ENDED:
        if (sim_fits(w, event, id)) {
            expect(w, !rd_queue_look(w->queue, job->number, &(struct rd_queue_job){0}),
                   "a number is free when its end is written", id);
            remove_live(w, id);
        }
        break;
    case RD_EV_BACKEND:
        on_backend(w, event);
        break;
    case RD_EV_CLASS:
        w->backends[event->backend].serves[event->class_] = event->serves;
        break;
    case RD_EV_SLOT:
    case RD_EV_TENANT:
    case RD_EV_TICK:
        break;
    }
}

/* ---- actions ---- */

static void take_slot(struct world *w, uint32_t id, const struct rd_queue_action *action)
{
    struct job *job = &w->jobs[id];
    expect(w, action->backend >= 1 && action->backend <= w->plan.backends, "a backend exists", id);
    if (w->broken != NULL) {
        return;
    }
    struct backend *backend = &w->backends[action->backend];
    const struct tenant *tenant = &w->tenants[job->tenant];
    expect(w, backend->ready && backend->serves[job->class_],
           "a run goes to a backend that is ready and serves its class", id);
    expect(w, !backend->quarantined, "a backend in quarantine gets no run", id);
    expect(w, (job->failed >> action->backend & 1) == 0 || !sim_elsewhere(w, job),
           "a job comes back to where it failed only when nobody else can take it", id);
    expect(w, sim_least_loaded(w, job, action->backend), "the least loaded backend is chosen", id);
    expect(w, job->deadline_ns > w->core_ns, "no attempt begins after the deadline", id);
    expect(w, backend->taken < backend->slots, "slots are never above capacity", id);
    const uint32_t cap = tenant->limits.concurrency;
    expect(w, cap == 0 || tenant->running < cap, "a tenant never runs more than it may", id);
    expect(w, job->token == 0 && action->token > w->token, "one live lease a job, each token new",
           id);
    expect(w, action->attempt == job->attempt + 1 && action->attempt <= w->config.attempts_max,
           "attempts are counted, and there are no more than allowed", id);
    expect(w, !job->cancel, "a cancelled job is not started", id);
    job->permit = sim_breaker_allow(w, action->backend);
    expect(w, job->permit != 0, "a backend whose breaker is open gets no run", id);
    expect(w, w->breakers[action->backend].probes <= RD_BREAKER_PROBES, "probes are bounded", id);
    backend->taken++;
    backend->leases++;
    w->starts++;
    w->served[job->class_] = w->starts;
    w->token = action->token;
    job->token = action->token;
    job->backend = action->backend;
    job->attempt = action->attempt;
}

/* First in, first out; those that come back go first. */
static void check_turn(struct world *w, uint32_t id)
{
    const struct job *job = &w->jobs[id];
    for (uint32_t i = 0; i < w->live_count; i++) {
        const struct job *other = &w->jobs[w->live[i]];
        if (other == job || other->state != RD_JOB_QUEUED || other->tenant != job->tenant ||
            other->class_ != job->class_ || other->lane != job->lane) {
            continue;
        }
        const bool first =
            other->returned ? !job->returned : !job->returned && other->order < job->order;
        expect(w, !first, "a flow is first in, first out, and what comes back goes first", id);
    }
}

static void on_lease(struct world *w, uint32_t id, const struct rd_queue_action *action)
{
    struct job *job = &w->jobs[id];
    const bool paused = job->state == RD_JOB_WAITING && job->due_ns <= w->core_ns;
    expect(w, job->state == RD_JOB_QUEUED || paused, "only what is queued is leased", id);
    if (job->elsewhere) { /* it takes no turn: that is what "at once" means */
        expect(w, sim_elsewhere(w, job), "elsewhere is where it has not failed", id);
        take_slot(w, id, action);
        move(w, job, RD_JOB_LEASING);
        job->elsewhere = false;
        return;
    }
    check_turn(w, id);
    w->started_after[w->started_count] = w->served[job->class_];
    take_slot(w, id, action);
    move(w, job, RD_JOB_LEASING);
    w->started[w->started_count++] = id;
}

/* It has neither another attempt nor time for one. */
static bool no_more_tries(const struct world *w, const struct job *job)
{
    return (!job->durable && job->lost) || job->attempt >= w->config.attempts_max ||
           job->expires_ns <= w->core_ns || job->deadline_ns <= w->core_ns;
}

/* The run that has just failed goes on at once on another backend. Its job still counts as running.
 */
static bool goes_elsewhere(const struct world *w, const struct job *job, enum rd_verdict verdict)
{
    const struct tenant *tenant = &w->tenants[job->tenant];
    const uint32_t cap = tenant->limits.concurrency;
    return verdict == RD_VERDICT_BAD && !no_more_tries(w, job) &&
           (cap == 0 || tenant->running - 1 < cap) && sim_elsewhere(w, job);
}

/* The shortest pause before the next attempt; the longest is twice that. */
static uint64_t least_pause_ns(const struct world *w, const struct job *job)
{
    uint64_t least_ns = w->config.retry_first_ns;
    for (uint32_t i = 1; i < job->attempt; i++) {
        least_ns *= 2;
    }
    return least_ns;
}

static uint64_t at_most(const struct world *w, uint64_t pause_ns)
{
    return pause_ns < w->config.retry_max_ns ? pause_ns : w->config.retry_max_ns;
}

/* Its failure may be its end. */
static bool gives_up(const struct world *w, const struct job *job, enum rd_verdict verdict)
{
    if (no_more_tries(w, job)) {
        return true;
    }
    const uint64_t longest_ns = at_most(w, 2 * least_pause_ns(w, job));
    const bool no_time = job->deadline_ns != NEVER && w->core_ns + longest_ns >= job->deadline_ns;
    return !goes_elsewhere(w, job, verdict) && (!job->durable || no_time);
}

static enum rd_verdict verdict_of(const struct job *job, const struct rd_queue_event *event)
{
    return job->lost ? RD_VERDICT_BAD : event->verdict;
}

static void on_run(struct world *w, uint32_t id, const struct rd_queue_event *event,
                   const struct rd_queue_action *action)
{
    struct job *job = &w->jobs[id];
    if (!job->durable) {
        const bool goes_on = may_repeat(job, event) && goes_elsewhere(w, job, event->verdict);
        expect(w, job->state == RD_JOB_ACCEPTED || goes_on,
               "a sync run starts once, and again only elsewhere", id);
        w->counted[COUNT_ELSEWHERE] += goes_on;
        if (goes_on) {
            move(w, job, RD_JOB_FREE);
        }
        take_slot(w, id, action);
    } else {
        expect(w, job->state == RD_JOB_LEASING && job->token == action->token,
               "a run starts with its lease", id);
        expect(w, job->row && !job->row_ended && job->row_attempt == job->attempt,
               "a run starts when its lease is on the disk", id);
    }
    job->runs++;
    expect(w, job->runs <= w->config.attempts_max, "no job runs more often than it may", id);
    move(w, job, RD_JOB_RUNNING);
    job->stopped = false;
    job->started_ns = w->core_ns;
    if (job->deadline_ns == NEVER && w->config.deadline_ns != 0) {
        job->deadline_ns = w->core_ns + w->config.deadline_ns;
    }
    expect(w, action->deadline_ns == (job->deadline_ns == NEVER ? 0 : job->deadline_ns),
           "a run is told its job's deadline", id);
    job->due_ns = w->core_ns + w->backends[job->backend].lease_ns;
}

static bool lease_over(const struct world *w, const struct job *job)
{
    return job->state == RD_JOB_RUNNING && job->due_ns <= w->core_ns;
}

static void on_stop(struct world *w, uint32_t id, const struct rd_queue_event *event,
                    const struct rd_queue_action *action)
{
    struct job *job = &w->jobs[id];
    const bool cancelled = job->state == RD_JOB_STOPPING && event->kind == RD_EV_CANCEL;
    expect(w, cancelled || lease_over(w, job), "a run is stopped for a reason", id);
    expect(w, action->token == job->token, "the run that is stopped is the one that runs", id);
    expect(w, !job->stopped, "a run is stopped once", id);
    job->stopped = true;
    if (lease_over(w, job)) {
        end_lease(w, job, RD_VERDICT_BAD);
        job->failed |= 1u << job->backend;
        job->lost = true;
    }
}

static void on_retry(struct world *w, uint32_t id, const struct rd_queue_event *event,
                     const struct rd_queue_action *action)
{
    struct job *job = &w->jobs[id];
    const bool lost = job->lost && job->stopped;
    const bool at_once = action->wait_ns == 0;
    expect(w, lost ? lease_over(w, job) : may_repeat(job, event), "a run is repeated for a reason",
           id);
    expect(w, !no_more_tries(w, job), "a run is repeated only while it may be", id);
    expect(w, goes_elsewhere(w, job, verdict_of(job, event)) == at_once,
           "a run is repeated elsewhere at once, if anybody else can take it", id);
    const uint64_t least_ns = least_pause_ns(w, job);
    expect(w,
           at_once || (action->wait_ns >= at_most(w, least_ns) &&
                       action->wait_ns <= at_most(w, 2 * least_ns)),
           "waits between attempts double, with jitter, up to the longest", id);
    expect(w, at_once || w->core_ns + action->wait_ns < job->deadline_ns,
           "a pause ends before the deadline", id);
    if (lost) {
        sim_took(w, job, w->core_ns - job->started_ns);
    }
    job->due_ns = w->core_ns + action->wait_ns;
    job->returned = true;
    job->elsewhere = at_once;
    move(w, job, RD_JOB_WAITING);
    w->counted[at_once ? COUNT_ELSEWHERE : COUNT_RETRIES]++;
}

static bool right_end(const struct world *w, const struct job *job,
                      const struct rd_queue_event *event, enum rd_job_end end)
{
    const bool restored = event->kind == RD_EV_RESTORE && job->state == RD_JOB_QUEUED;
    const bool unstarted = is_queued(job->state) || job->state == RD_JOB_LEASING;
    const bool late = unstarted && job->deadline_ns <= w->core_ns && job->expires_ns > w->core_ns;
    const bool over =
        job->state == RD_JOB_STOPPING &&
        (job->due_ns <= w->core_ns || (event->kind == RD_EV_DONE && fresh(job, event)));
    switch (end) {
    case RD_END_COMPLETE:
        return job->state == RD_JOB_RUNNING && ended_by(job, event, RD_OUTCOME_OK);
    case RD_END_ERROR:
        return late ? !job->lost
                    : job->state == RD_JOB_RUNNING &&
                          (ended_by(job, event, RD_OUTCOME_FAILED) ||
                           (may_repeat(job, event) && gives_up(w, job, event->verdict)));
    case RD_END_CANCELLED:
        return job->cancel && (unstarted || over);
    case RD_END_EXPIRED:
        return unstarted && job->state != RD_JOB_ACCEPTED && job->expires_ns <= w->core_ns;
    case RD_END_LOST:
        return (restored && job->attempt >= w->config.attempts_max) || (late && job->lost) ||
               (lease_over(w, job) && job->lost && gives_up(w, job, RD_VERDICT_BAD));
    }
    return false;
}

static void on_end(struct world *w, uint32_t id, const struct rd_queue_event *event,
                   const struct rd_queue_action *action)
{
    static const enum counted counters[] = {COUNT_COMPLETE, COUNT_ERROR, COUNT_CANCELLED,
                                            COUNT_EXPIRED, COUNT_LOST};
    struct job *job = &w->jobs[id];
    expect(w, (action->kind == RD_ACT_WRITE_END) == job->durable, "what has a row ends in it", id);
    expect(w, right_end(w, job, event, action->end), "a job ends for a reason", id);
    expect(w, !job->cancel || action->end == RD_END_CANCELLED, "a cancelled job ends cancelled",
           id);
    expect(w, action->end != RD_END_LOST || event->kind == RD_EV_RESTORE || job->stopped,
           "a run that lost its lease is stopped", id);
    const bool by_done = event->kind == RD_EV_DONE && is_running(job->state) && fresh(job, event);
    expect(w, action->device_ns == (by_done ? event->device_ns : 0),
           "the device time is that of the run that ended", id);
    if (is_running(job->state) && job->state != RD_JOB_LEASING && !by_done) {
        sim_took(w, job, w->core_ns - job->started_ns);
    }
    if (job->state == RD_JOB_LEASING) {
        end_lease(w, job, RD_VERDICT_SAYS_NOTHING);
        w->backends[job->backend].taken--;
    }
    if (job->state == RD_JOB_STOPPING && !by_done) {
        end_lease(w, job, RD_VERDICT_SAYS_NOTHING);
        quarantine(w, job->backend);
    }
    expect(w, !w->plan.steady || (action->end != RD_END_ERROR && action->end != RD_END_LOST),
           "with one dead backend of three nothing fails", id);
    w->counted[counters[action->end]]++;
    move(w, job, RD_JOB_ENDING);
    if (action->kind == RD_ACT_FREE) {
        remove_live(w, id);
    }
}

static void on_action(struct world *w, const struct rd_queue_event *event,
                      const struct rd_queue_action *action)
{
    const uint32_t id = sim_id_of(w, action->job);
    struct job *job = &w->jobs[id];
    expect(w, id != 0, "an action is about a job that exists", 0);
    if (w->broken != NULL) {
        return;
    }
    switch (action->kind) {
    case RD_ACT_WRITE_LEASE:
        on_lease(w, id, action);
        break;
    case RD_ACT_RUN:
        on_run(w, id, event, action);
        break;
    case RD_ACT_STOP:
        on_stop(w, id, event, action);
        break;
    case RD_ACT_WRITE_CANCEL:
        expect(w, job->state == RD_JOB_STOPPING && job->durable && job->cancel,
               "a cancel is written for a run that was cancelled", id);
        break;
    case RD_ACT_RETRY:
        on_retry(w, id, event, action);
        break;
    case RD_ACT_WRITE_END:
    case RD_ACT_FREE:
        on_end(w, id, event, action);
        break;
    }
}

void sim_follow(struct world *w, const struct rd_queue_event *event, uint32_t id,
                const struct rd_queue_result *r)
{
    w->started_count = 0;
    expect(w, r->count <= RD_QUEUE_ACTIONS_MAX, "actions fit", id);
    on_event(w, event, id, r);
    for (size_t i = 0; i < r->count && w->broken == NULL; i++) {
        on_action(w, event, &r->actions[i]);
    }
}

void sim_model_crash(struct world *w)
{
    while (w->live_count != 0) {
        const uint32_t id = w->live[0];
        struct job *job = &w->jobs[id];
        remove_live(w, id);
        job->attempt = job->row_attempt;
        job->cancel = job->row_cancel;
        job->returned = false;
        job->durable = job->row;
        expect(w, !job->told || job->row, "a job whose acceptance was told survives", id);
        expect(w, !job->cancel_told || job->row_cancel || job->row_ended,
               "a cancel that was told survives", id);
    }
    sim_limits_crash(w);
    for (uint32_t b = 1; b <= w->plan.backends; b++) {
        w->backends[b] = (struct backend){.slots = 0};
        w->breakers[b].known = false;
        w->breakers[b].state = RD_BREAKER_CLOSED;
    }
    for (uint32_t c = 1; c <= CLASSES; c++) {
        for (uint32_t lane = 0; lane < RD_LANE_COUNT_; lane++) {
            w->shares[c][lane] = (struct shares){.took_us = {0}};
        }
    }
    w->starts = 0;
    for (uint32_t c = 1; c <= CLASSES; c++) {
        w->served[c] = 0;
    }
}
