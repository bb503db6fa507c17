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

static void run(struct rd_queue *queue, uint32_t job, struct rd_queue_result *ret)
{
    struct job *it = &queue->jobs[job];
    const uint64_t lease_ns = queue->backends[it->backend].lease_ns;
    it->state = RD_JOB_RUNNING;
    it->started_ns = queue->now_ns;
    rd_queue_timer_set(queue, job,
                       lease_ns != 0 ? rd_queue_add(queue->now_ns, lease_ns) : RD_QUEUE_NEVER);
    struct rd_queue_action *action = rd_queue_act(ret, RD_ACT_RUN, job);
    action->token = it->token;
    action->backend = it->backend;
    action->attempt = it->attempt;
}

void rd_queue_start(struct rd_queue *queue, uint32_t job, uint32_t backend,
                    struct rd_queue_result *ret)
{
    struct job *it = &queue->jobs[job];
    queue->backends[backend].taken++;
    queue->token++;
    it->token = queue->token;
    it->backend = (uint16_t)backend;
    it->attempt++;
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
static void stop_running(struct rd_queue *queue, uint32_t job, uint64_t took_ns)
{
    queue->jobs[job].token = 0;
    rd_queue_correct(queue, job, took_ns);
    rd_queue_tenant_run(queue, queue->jobs[job].tenant, -1);
}

/* LEASING is over: no engine has begun, so the slot is free at once, and nothing was used. */
static void unlease(struct rd_queue *queue, uint32_t job)
{
    queue->jobs[job].token = 0;
    queue->backends[queue->jobs[job].backend].taken--;
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
    rd_queue_timer_set(queue, job, queue->jobs[job].expires_ns);
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

/* A run has failed in a way that may be repeated: if there is still an attempt, and time, for it.
 */
static void again(struct rd_queue *queue, uint32_t job, enum rd_job_end end,
                  struct rd_queue_result *ret)
{
    struct job *it = &queue->jobs[job];
    const bool too_late = it->expires_ns <= queue->now_ns;
    if (!it->durable || too_late || it->attempt >= queue->config.attempts_max) {
        rd_queue_finish(queue, job, end, ret);
        return;
    }
    const uint64_t wait_ns = retry_wait_ns(queue, it->attempt);
    const uint64_t due_ns = rd_queue_add(queue->now_ns, wait_ns);
    it->state = RD_JOB_WAITING;
    rd_queue_enter(queue, job);
    rd_queue_timer_set(queue, job, due_ns < it->expires_ns ? due_ns : it->expires_ns);
    struct rd_queue_action *action = rd_queue_act(ret, RD_ACT_RETRY, job);
    action->attempt = it->attempt;
    action->wait_ns = wait_ns;
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
    stop_running(queue, job, took_ns);
    if (stopping) {
        rd_queue_finish(queue, job, RD_END_CANCELLED, ret);
    } else if (event->outcome == RD_OUTCOME_OK) {
        rd_queue_learn(queue, job, took_ns);
        rd_queue_finish(queue, job, RD_END_COMPLETE, ret);
    } else if (event->outcome == RD_OUTCOME_FAILED) {
        rd_queue_finish(queue, job, RD_END_ERROR, ret);
    } else {
        again(queue, job, RD_END_ERROR, ret); /* CANCELLED without a STOP: the engine's own doing */
    }
    ret->actions[ret->count - 1].device_ns = event->device_ns;
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

/* ---- events of backends ---- */

static void on_backend(struct rd_queue *queue, const struct rd_queue_event *event)
{
    if (event->backend == 0 || event->backend > RD_QUEUE_BACKENDS_MAX) {
        return;
    }
    struct backend *backend = &queue->backends[event->backend];
    backend->slots = event->slots;
    backend->ready = event->ready && event->slots != 0;
    backend->lease_ns = event->lease_ns;
    for (uint32_t i = 0; i < RD_QUEUE_CLASS_WORDS && event->slots == 0; i++) {
        backend->classes[i] = 0;
    }
    if (queue->backends_used < event->backend) {
        queue->backends_used = event->backend;
    }
}

static void on_class(struct rd_queue *queue, const struct rd_queue_event *event)
{
    if (event->backend == 0 || event->backend > RD_QUEUE_BACKENDS_MAX || event->class_ == 0 ||
        event->class_ > RD_QUEUE_CLASSES_MAX) {
        return;
    }
    const uint64_t bit = 1ull << ((event->class_ - 1) % 64);
    uint64_t *word = &queue->backends[event->backend].classes[(event->class_ - 1) / 64];
    *word = event->serves ? *word | bit : *word & ~bit;
}

static void on_slot(struct rd_queue *queue, uint32_t backend)
{
    if (backend != 0 && backend <= RD_QUEUE_BACKENDS_MAX && queue->backends[backend].taken != 0) {
        queue->backends[backend].taken--;
    }
}

/* ---- timers, slots, and the step ---- */

static void fire(struct rd_queue *queue, uint32_t job, struct rd_queue_result *ret)
{
    const struct job *it = &queue->jobs[job];
    const uint64_t ran_ns = queue->now_ns - it->started_ns;
    switch ((enum rd_job_state)it->state) {
    case RD_JOB_WAITING:
        if (it->expires_ns > queue->now_ns) {
            make_queued(queue, job, true);
            break;
        }
        end_unstarted(queue, job, RD_END_EXPIRED, ret);
        break;
    case RD_JOB_QUEUED:
    case RD_JOB_LEASING:
        end_unstarted(queue, job, RD_END_EXPIRED, ret);
        break;
    case RD_JOB_RUNNING: /* the lease ran out */
        stop(queue, job, ret);
        stop_running(queue, job, ran_ns);
        again(queue, job, RD_END_LOST, ret);
        break;
    case RD_JOB_STOPPING: /* patience ran out */
        stop_running(queue, job, ran_ns);
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
        on_slot(queue, event->backend);
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
        on_backend(queue, event);
        break;
    case RD_EV_CLASS:
        on_class(queue, event);
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
    handle(queue, event, ret);
    fire_due(queue, ret);
    give_slots(queue, ret);
    ret->more = !has_room(ret);
    ret->next_ns = queue->timers_len != 0 ? queue->timers[1].due_ns : RD_QUEUE_NEVER;
    if (ret->more) {
        ret->next_ns = queue->now_ns;
    }
}
