/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a job: what each event and each timer means to it. See queue.h for the states.
 *
 * One step is: the event, then the timers that are due, then free slots are given out. In this
 * order a heartbeat that came late but came saves its lease, and what the event freed is used at
 * once. An event causes at most three actions; timers and slots go on only while there is room for
 * as many again, so no action is ever lost.
 *
 * Two counts follow a job through its states: queued goes up and down with rd_queue_enter and
 * rd_queue_leave, running with rd_queue_start and stop_running or unlease.
 * A slot is its engine's, not its job's: SLOT gives it back, or LEASING ends before there is a run.
 */
#include "core/queue_internal.h"

#define ROOM 3u /* actions that one event or timer may need */

size_t rd_queue_size(void)
{
    return sizeof(struct rd_queue);
}

struct rd_queue *rd_queue_init(void *memory, const struct rd_queue_config *config)
{
    struct rd_queue *queue = memory;
    queue->config = *config;
    queue->token = config->token_last;
    if (queue->config.attempts_max == 0) {
        queue->config.attempts_max = 1;
    }
    if (queue->config.retry_max_ns > RD_QUEUE_RUN_NS_MAX) {
        queue->config.retry_max_ns = RD_QUEUE_RUN_NS_MAX; /* WAITING must end */
    }
    queue->breakers_next_ns = RD_QUEUE_NEVER;
    return queue;
}

struct rd_queue_action *rd_queue_act(struct rd_queue_result *ret, enum rd_queue_action_kind kind,
                                     uint32_t job)
{
    struct rd_queue_action *action = &ret->actions[ret->count];
    ret->count++;
    *action = (struct rd_queue_action){.kind = kind, .job = job};
    return action;
}

static bool has_room(const struct rd_queue_result *ret)
{
    return ret->count + ROOM <= RD_QUEUE_ACTIONS_MAX;
}

/* ---- from state to state ---- */

void rd_queue_enter(struct rd_queue *queue, uint32_t job)
{
    queue->tenants[queue->jobs[job].tenant].queued++;
    queue->queued[queue->jobs[job].lane]++;
}

void rd_queue_leave(struct rd_queue *queue, uint32_t job)
{
    queue->tenants[queue->jobs[job].tenant].queued--;
    queue->queued[queue->jobs[job].lane]--;
}

/* Until when it may be without an engine. */
static uint64_t waits_until(const struct job *it)
{
    return it->expires_ns < it->deadline_ns ? it->expires_ns : it->deadline_ns;
}

static void run(struct rd_queue *queue, uint32_t job, struct rd_queue_result *ret)
{
    struct job *it = &queue->jobs[job];
    const uint64_t lease_ns = queue->backends[it->backend].lease_ns;
    it->state = RD_JOB_RUNNING;
    it->started_ns = queue->now_ns;
    if (it->deadline_ns == RD_QUEUE_NEVER && queue->config.deadline_ns != 0) {
        it->deadline_ns = rd_queue_add(queue->now_ns, queue->config.deadline_ns);
    }
    rd_queue_timer_set(queue, job,
                       lease_ns != 0 ? rd_queue_add(queue->now_ns, lease_ns) : RD_QUEUE_NEVER);
    struct rd_queue_action *action = rd_queue_act(ret, RD_ACT_RUN, job);
    action->token = it->token;
    action->backend = it->backend;
    action->attempt = it->attempt;
    action->deadline_ns = it->deadline_ns != RD_QUEUE_NEVER ? it->deadline_ns : 0;
}

void rd_queue_start(struct rd_queue *queue, uint32_t job, uint32_t backend,
                    struct rd_queue_result *ret)
{
    struct job *it = &queue->jobs[job];
    queue->token++;
    it->token = queue->token;
    it->attempt++;
    rd_queue_lease(queue, job, backend);
    rd_queue_charge(queue, job);
    rd_queue_tenant_run(queue, it->tenant, 1);
    if (!it->durable) {
        run(queue, job, ret);
        return;
    }
    it->state = RD_JOB_LEASING;
    struct rd_queue_action *action = rd_queue_act(ret, RD_ACT_WRITE_LEASE, job);
    action->token = it->token;
    action->backend = backend;
    action->attempt = it->attempt;
}

/* RUNNING or STOPPING is over. */
static void stop_running(struct rd_queue *queue, uint32_t job, uint64_t took_ns,
                         enum rd_verdict verdict)
{
    queue->jobs[job].token = 0;
    rd_queue_release(queue, job, verdict);
    rd_queue_correct(queue, job, took_ns);
    rd_queue_tenant_run(queue, queue->jobs[job].tenant, -1);
}

/* LEASING is over: no engine has begun, so the slot is free at once, and nothing was used. */
static void unlease(struct rd_queue *queue, uint32_t job)
{
    queue->jobs[job].token = 0;
    rd_queue_release(queue, job, RD_VERDICT_SAYS_NOTHING);
    rd_queue_on_slot(queue, queue->jobs[job].backend);
    rd_queue_refund(queue, job);
    rd_queue_tenant_run(queue, queue->jobs[job].tenant, -1);
}

void rd_queue_finish(struct rd_queue *queue, uint32_t job, enum rd_job_end end,
                     struct rd_queue_result *ret)
{
    struct job *it = &queue->jobs[job];
    struct rd_queue_action *action =
        rd_queue_act(ret, it->durable ? RD_ACT_WRITE_END : RD_ACT_FREE, job);
    action->end = end;
    action->backend = it->backend;
    action->attempt = it->attempt;
    rd_queue_timer_set(queue, job, RD_QUEUE_NEVER);
    rd_queue_flow_release(queue, it->flow);
    it->flow = 0;
    it->state = RD_JOB_ENDING;
    if (!it->durable) {
        rd_queue_job_free(queue, job);
    }
}

/* No engine works for it. */
static void end_unstarted(struct rd_queue *queue, uint32_t job, enum rd_job_end end,
                          struct rd_queue_result *ret)
{
    if (queue->jobs[job].state == RD_JOB_LEASING) {
        unlease(queue, job);
    } else {
        rd_queue_leave(queue, job);
    }
    if (queue->jobs[job].state == RD_JOB_QUEUED) {
        rd_queue_wait_remove(queue, job);
    }
    rd_queue_finish(queue, job, end, ret);
}

static void make_queued(struct rd_queue *queue, uint32_t job, bool front)
{
    queue->jobs[job].state = RD_JOB_QUEUED;
    rd_queue_timer_set(queue, job, waits_until(&queue->jobs[job]));
    rd_queue_wait_push(queue, job, front);
}

/* first << (attempt - 1), and up to as much again, never more than max. */
static uint64_t retry_wait_ns(struct rd_queue *queue, uint32_t attempt)
{
    const uint64_t max = queue->config.retry_max_ns;
    uint64_t wait = queue->config.retry_first_ns;
    for (uint32_t i = 1; i < attempt && wait < max; i++) {
        wait = rd_queue_mul(wait, 2);
    }
    wait = wait < max ? wait : max;
    const uint64_t jitter = (uint64_t)rd_queue_draw(queue) * (wait >> 32) +
                            (((uint64_t)rd_queue_draw(queue) * (wait & UINT32_MAX)) >> 32);
    return jitter < max - wait ? wait + jitter : max;
}

/* On another backend, at once. */
static void go_on(struct rd_queue *queue, uint32_t job, uint32_t backend,
                  struct rd_queue_result *ret)
{
    if (queue->jobs[job].durable) {
        rd_queue_act(ret, RD_ACT_RETRY, job)->attempt = queue->jobs[job].attempt;
        rd_queue_timer_set(queue, job, waits_until(&queue->jobs[job]));
    }
    rd_queue_start(queue, job, backend, ret);
}

static void pause(struct rd_queue *queue, uint32_t job, uint64_t wait_ns,
                  struct rd_queue_result *ret)
{
    struct job *it = &queue->jobs[job];
    const uint64_t due_ns = rd_queue_add(queue->now_ns, wait_ns);
    it->state = RD_JOB_WAITING;
    rd_queue_enter(queue, job);
    rd_queue_timer_set(queue, job, due_ns < it->expires_ns ? due_ns : it->expires_ns);
    struct rd_queue_action *action = rd_queue_act(ret, RD_ACT_RETRY, job);
    action->attempt = it->attempt;
    action->wait_ns = wait_ns;
}

/* A run has failed in a way that may be repeated, if there is still an attempt, and time, for it:
 * elsewhere at once if the backend is to blame and another one can take it, else after a pause. A
 * sync run whose lease ran out has nobody who could start it again: its caller is still in it. */
static void again(struct rd_queue *queue, uint32_t job, enum rd_job_end end,
                  enum rd_verdict verdict, struct rd_queue_result *ret)
{
    struct job *it = &queue->jobs[job];
    uint32_t backend = 0;
    it->lost = end == RD_END_LOST;
    if (verdict == RD_VERDICT_BAD) {
        rd_queue_blame(queue, job);
    }
    if (waits_until(it) <= queue->now_ns || it->attempt >= queue->config.attempts_max ||
        (it->lost && !it->durable)) {
        rd_queue_finish(queue, job, end, ret);
        return;
    }
    if (verdict == RD_VERDICT_BAD && rd_queue_may_start(&queue->tenants[it->tenant]) &&
        rd_queue_elsewhere(queue, job, &backend)) {
        go_on(queue, job, backend, ret);
        return;
    }
    const uint64_t wait_ns = retry_wait_ns(queue, it->attempt);
    if (!it->durable || rd_queue_add(queue->now_ns, wait_ns) >= it->deadline_ns) {
        rd_queue_finish(queue, job, end, ret);
        return;
    }
    pause(queue, job, wait_ns, ret);
}

/* ---- events of one job ---- */

static void on_durable(struct rd_queue *queue, uint32_t job, struct rd_queue_result *ret)
{
    if (!rd_queue_is_job(queue, job) || queue->jobs[job].state != RD_JOB_ACCEPTED) {
        return;
    }
    if (queue->jobs[job].cancel) {
        end_unstarted(queue, job, RD_END_CANCELLED, ret);
    } else {
        make_queued(queue, job, false);
    }
}

/* The event's token is that of the job's lease, and the job is in `a` or `b`. */
static bool holds(const struct rd_queue *queue, const struct rd_queue_event *event,
                  enum rd_job_state a, enum rd_job_state b)
{
    if (!rd_queue_is_job(queue, event->job)) {
        return false;
    }
    const struct job *it = &queue->jobs[event->job];
    return it->token != 0 && it->token == event->token && (it->state == a || it->state == b);
}

static void on_leased(struct rd_queue *queue, const struct rd_queue_event *event,
                      struct rd_queue_result *ret)
{
    ret->stale = !holds(queue, event, RD_JOB_LEASING, RD_JOB_LEASING);
    if (ret->stale) {
        return;
    }
    if (event->kind == RD_EV_LEASED) {
        run(queue, event->job, ret);
        return;
    }
    unlease(queue, event->job);
    queue->jobs[event->job].attempt--;
    rd_queue_enter(queue, event->job);
    make_queued(queue, event->job, true);
}

static void on_heartbeat(struct rd_queue *queue, const struct rd_queue_event *event,
                         struct rd_queue_result *ret)
{
    ret->stale = !holds(queue, event, RD_JOB_RUNNING, RD_JOB_STOPPING);
    if (ret->stale || queue->jobs[event->job].state == RD_JOB_STOPPING) {
        return; /* patience after STOP is not renewed */
    }
    const uint64_t lease_ns = queue->backends[queue->jobs[event->job].backend].lease_ns;
    rd_queue_timer_set(queue, event->job,
                       lease_ns != 0 ? rd_queue_add(queue->now_ns, lease_ns) : RD_QUEUE_NEVER);
}

static void on_done(struct rd_queue *queue, const struct rd_queue_event *event,
                    struct rd_queue_result *ret)
{
    ret->stale = !holds(queue, event, RD_JOB_RUNNING, RD_JOB_STOPPING);
    if (ret->stale) {
        return;
    }
    const uint32_t job = event->job;
    const uint64_t wall_ns = queue->now_ns - queue->jobs[job].started_ns;
    const uint64_t took_ns = event->device_ns != 0 ? event->device_ns : wall_ns;
    const bool stopping = queue->jobs[job].state == RD_JOB_STOPPING;
    stop_running(queue, job, took_ns, event->verdict);
    if (stopping) {
        rd_queue_finish(queue, job, RD_END_CANCELLED, ret);
    } else if (event->outcome == RD_OUTCOME_OK) {
        rd_queue_learn(queue, job, took_ns);
        rd_queue_finish(queue, job, RD_END_COMPLETE, ret);
    } else if (event->outcome == RD_OUTCOME_FAILED) {
        rd_queue_finish(queue, job, RD_END_ERROR, ret);
    } else {
        again(queue, job, RD_END_ERROR, event->verdict, ret); /* or CANCELLED without a STOP */
    }
    ret->actions[0].device_ns = event->device_ns; /* the one that says what becomes of the job */
}

static void write_cancel(uint32_t job, struct rd_queue_result *ret)
{
    (void)rd_queue_act(ret, RD_ACT_WRITE_CANCEL, job);
}

static void on_adopt(struct rd_queue *queue, uint32_t job, struct rd_queue_result *ret)
{
    if (!rd_queue_is_job(queue, job) || queue->jobs[job].durable) {
        return;
    }
    const uint8_t state = queue->jobs[job].state;
    if (state != RD_JOB_RUNNING && state != RD_JOB_STOPPING) {
        return;
    }
    queue->jobs[job].durable = true;
    ret->job = job;
    if (state == RD_JOB_STOPPING) {
        write_cancel(job, ret);
    }
}

static void stop(struct rd_queue *queue, uint32_t job, struct rd_queue_result *ret)
{
    struct rd_queue_action *action = rd_queue_act(ret, RD_ACT_STOP, job);
    action->token = queue->jobs[job].token;
    action->backend = queue->jobs[job].backend;
}

static void on_cancel(struct rd_queue *queue, uint32_t job, struct rd_queue_result *ret)
{
    ret->cancel = RD_CANCEL_TOO_LATE;
    if (!rd_queue_is_job(queue, job)) {
        return;
    }
    struct job *it = &queue->jobs[job];
    switch ((enum rd_job_state)it->state) {
    case RD_JOB_ACCEPTED:
        ret->cancel = RD_CANCEL_ENDED;
        it->cancel = true;
        break;
    case RD_JOB_QUEUED:
    case RD_JOB_WAITING:
    case RD_JOB_LEASING:
        ret->cancel = RD_CANCEL_ENDED;
        end_unstarted(queue, job, RD_END_CANCELLED, ret);
        break;
    case RD_JOB_RUNNING:
        ret->cancel = RD_CANCEL_STOPPING;
        it->state = RD_JOB_STOPPING;
        rd_queue_timer_set(queue, job, rd_queue_add(queue->now_ns, queue->config.stop_patience_ns));
        stop(queue, job, ret);
        if (it->durable) {
            write_cancel(job, ret);
        }
        break;
    case RD_JOB_STOPPING:
        ret->cancel = RD_CANCEL_STOPPING;
        break;
    case RD_JOB_ENDING:
    case RD_JOB_FREE:
        break;
    }
}

static void on_ended(struct rd_queue *queue, uint32_t job)
{
    if (rd_queue_is_job(queue, job) && queue->jobs[job].state == RD_JOB_ENDING) {
        rd_queue_job_free(queue, job);
    }
}

/* ---- timers, slots, and the step ---- */

/* Its time without an engine is up. */
static enum rd_job_end late_end(const struct rd_queue *queue, const struct job *it)
{
    return it->expires_ns <= queue->now_ns ? RD_END_EXPIRED : it->lost ? RD_END_LOST : RD_END_ERROR;
}

static void fire(struct rd_queue *queue, uint32_t job, struct rd_queue_result *ret)
{
    const struct job *it = &queue->jobs[job];
    const uint64_t ran_ns = queue->now_ns - it->started_ns;
    switch ((enum rd_job_state)it->state) {
    case RD_JOB_WAITING:
        if (waits_until(it) > queue->now_ns) {
            make_queued(queue, job, true);
            break;
        }
        end_unstarted(queue, job, late_end(queue, it), ret);
        break;
    case RD_JOB_QUEUED:
    case RD_JOB_LEASING:
        end_unstarted(queue, job, late_end(queue, it), ret);
        break;
    case RD_JOB_RUNNING: /* the lease ran out */
        stop(queue, job, ret);
        stop_running(queue, job, ran_ns, RD_VERDICT_BAD);
        again(queue, job, RD_END_LOST, RD_VERDICT_BAD, ret);
        break;
    case RD_JOB_STOPPING: /* patience ran out */
        stop_running(queue, job, ran_ns, RD_VERDICT_SAYS_NOTHING);
        rd_queue_quarantine(queue, job);
        rd_queue_finish(queue, job, RD_END_CANCELLED, ret);
        break;
    case RD_JOB_ACCEPTED:
    case RD_JOB_ENDING:
    case RD_JOB_FREE: /* have no timer */
        rd_queue_timer_set(queue, job, RD_QUEUE_NEVER);
        break;
    }
}

static void fire_due(struct rd_queue *queue, struct rd_queue_result *ret)
{
    uint32_t job = rd_queue_timer_due(queue);
    while (job != 0 && has_room(ret)) {
        fire(queue, job, ret);
        job = rd_queue_timer_due(queue);
    }
}

static void give_slots(struct rd_queue *queue, struct rd_queue_result *ret)
{
    uint32_t backend = 0;
    uint32_t job = has_room(ret) ? rd_queue_next(queue, &backend) : 0;
    while (job != 0) {
        rd_queue_wait_remove(queue, job);
        rd_queue_leave(queue, job);
        rd_queue_start(queue, job, backend, ret);
        job = has_room(ret) ? rd_queue_next(queue, &backend) : 0;
    }
}

static void handle(struct rd_queue *queue, const struct rd_queue_event *event,
                   struct rd_queue_result *ret)
{
    switch (event->kind) {
    case RD_EV_SUBMIT:
        rd_queue_submit(queue, event, ret);
        break;
    case RD_EV_RESTORE:
        rd_queue_restore(queue, event, ret);
        break;
    case RD_EV_DURABLE:
        on_durable(queue, event->job, ret);
        break;
    case RD_EV_LOST:
        rd_queue_lost(queue, event->job);
        break;
    case RD_EV_LEASED:
    case RD_EV_UNLEASED:
        on_leased(queue, event, ret);
        break;
    case RD_EV_HEARTBEAT:
        on_heartbeat(queue, event, ret);
        break;
    case RD_EV_DONE:
        on_done(queue, event, ret);
        break;
    case RD_EV_SLOT:
        rd_queue_on_slot(queue, event->backend);
        break;
    case RD_EV_ADOPT:
        on_adopt(queue, event->job, ret);
        break;
    case RD_EV_CANCEL:
        on_cancel(queue, event->job, ret);
        break;
    case RD_EV_ENDED:
        on_ended(queue, event->job);
        break;
    case RD_EV_TENANT:
        rd_queue_limits(queue, event);
        break;
    case RD_EV_BACKEND:
        rd_queue_on_backend(queue, event);
        break;
    case RD_EV_CLASS:
        rd_queue_on_class(queue, event);
        break;
    case RD_EV_TICK:
        break;
    }
}

void rd_queue_step(struct rd_queue *queue, const struct rd_queue_event *event, uint64_t now_ns,
                   struct rd_queue_result *ret)
{
    ret->count = 0;
    ret->admit = RD_ADMIT_OK;
    ret->job = 0;
    ret->wait_ns = 0;
    ret->cancel = RD_CANCEL_TOO_LATE;
    ret->stale = false;
    queue->now_ns = queue->now_ns < now_ns ? now_ns : queue->now_ns;
    queue->random += event->random;
    rd_queue_tend_breakers(queue);
    handle(queue, event, ret);
    fire_due(queue, ret);
    give_slots(queue, ret);
    ret->more = !has_room(ret);
    ret->next_ns = queue->timers_len != 0 ? queue->timers[1].due_ns : RD_QUEUE_NEVER;
    if (queue->breakers_next_ns < ret->next_ns) {
        ret->next_ns = queue->breakers_next_ns;
    }
    if (ret->more) {
        ret->next_ns = queue->now_ns;
    }
}
