/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may enter. All limits are asked first and the token is taken last, so one decision covers
 * them all and a refusal has nothing to give back. */
#include "core/admission.h"
#include "core/queue_internal.h"

static bool tables_full(const struct rd_queue *queue, const struct rd_queue_event *event)
{
    const uint32_t class_lane = rd_queue_class_lane(event->class_, event->lane);
    const bool job = queue->jobs_free != 0 || queue->jobs_used < RD_QUEUE_JOBS_MAX;
    const bool flow = queue->flow_of[class_lane][event->tenant] != 0 || queue->idle_first != 0 ||
                      queue->flows_used < RD_QUEUE_FLOWS_MAX;
    return !job || !flow;
}

static bool makes_sense(const struct rd_queue_event *event)
{
    return 1 <= event->tenant && event->tenant <= RD_QUEUE_TENANTS_MAX && 1 <= event->class_ &&
           event->class_ <= RD_QUEUE_CLASSES_MAX && (uint32_t)event->lane < RD_LANE_COUNT_;
}

static uint32_t make_job(struct rd_queue *queue, const struct rd_queue_event *event)
{
    uint32_t job = queue->jobs_free;
    if (job != 0) {
        queue->jobs_free = queue->jobs[job].next_free;
    } else {
        queue->jobs_used++;
        job = queue->jobs_used;
    }
    if (queue->classes_used < event->class_) {
        queue->classes_used = event->class_;
    }
    if (queue->tenants_used < event->tenant) {
        queue->tenants_used = event->tenant;
    }
    const uint32_t class_lane = rd_queue_class_lane(event->class_, event->lane);
    queue->jobs[job] = (struct job){
        .tenant = event->tenant,
        .class_ = (uint16_t)event->class_,
        .lane = (uint8_t)event->lane,
        .units = event->units != 0 ? event->units : 1,
        .expires_ns =
            event->ttl_ns != 0 ? rd_queue_add(queue->now_ns, event->ttl_ns) : RD_QUEUE_NEVER,
        .deadline_ns = RD_QUEUE_NEVER,
        .flow = rd_queue_flow_take(queue, class_lane, event->tenant),
        .durable = !event->now_only,
        .state = RD_JOB_ACCEPTED,
    };
    return job;
}

void rd_queue_job_free(struct rd_queue *queue, uint32_t job)
{
    queue->jobs[job].state = RD_JOB_FREE;
    queue->jobs[job].flow = 0;
    queue->jobs[job].next_free = queue->jobs_free;
    queue->jobs_free = job;
}

static enum rd_admit backend_for_now(struct rd_queue *queue, uint32_t class_, uint32_t *ret_backend)
{
    switch (rd_queue_backend_for(queue, class_, 0, ret_backend)) {
    case RD_ADMISSION_TAKE:
        return RD_ADMIT_OK;
    case RD_ADMISSION_NONE:
        return RD_ADMIT_NO_BACKEND;
    case RD_ADMISSION_NOT_READY:
        return RD_ADMIT_NOT_READY;
    case RD_ADMISSION_FULL:
        return RD_ADMIT_NO_SLOT;
    }
    return RD_ADMIT_NO_SLOT;
}

/* Everything but the rate. */
static enum rd_admit decide(struct rd_queue *queue, const struct rd_queue_event *event,
                            uint32_t *ret_backend)
{
    if (!makes_sense(event) || !queue->tenants[event->tenant].known) {
        return RD_ADMIT_FULL;
    }
    const struct tenant *tenant = &queue->tenants[event->tenant];
    if (event->lane == RD_LANE_HIGH && !tenant->limits.high) {
        return RD_ADMIT_LANE;
    }
    if (tables_full(queue, event)) {
        return RD_ADMIT_FULL;
    }
    if (event->now_only) {
        return rd_queue_may_start(tenant) ? backend_for_now(queue, event->class_, ret_backend)
                                          : RD_ADMIT_CONCURRENCY;
    }
    const bool deep = tenant->limits.depth != 0 && tenant->queued >= tenant->limits.depth;
    return deep ? RD_ADMIT_DEPTH : RD_ADMIT_OK;
}

void rd_queue_submit(struct rd_queue *queue, const struct rd_queue_event *event,
                     struct rd_queue_result *ret)
{
    uint32_t backend = 0;
    ret->admit = decide(queue, event, &backend);
    if (ret->admit != RD_ADMIT_OK) {
        return;
    }
    struct tenant *tenant = &queue->tenants[event->tenant];
    if (!rd_bucket_take(&tenant->bucket, &tenant->limits.rate, queue->now_ns, 1)) {
        ret->admit = RD_ADMIT_RATE;
        ret->wait_ns = rd_bucket_wait_ns(&tenant->bucket, &tenant->limits.rate, queue->now_ns, 1);
        return;
    }
    ret->job = make_job(queue, event);
    if (event->now_only) {
        rd_queue_start(queue, ret->job, backend, ret);
    } else {
        rd_queue_enter(queue, ret->job);
    }
}

void rd_queue_restore(struct rd_queue *queue, const struct rd_queue_event *event,
                      struct rd_queue_result *ret)
{
    if (!makes_sense(event) || tables_full(queue, event)) {
        ret->admit = RD_ADMIT_FULL;
        return;
    }
    const uint32_t job = make_job(queue, event);
    struct job *it = &queue->jobs[job];
    ret->job = job;
    it->durable = true;
    it->attempt = event->attempt;
    if (event->cancel || it->attempt >= queue->config.attempts_max) {
        rd_queue_finish(queue, job, event->cancel ? RD_END_CANCELLED : RD_END_LOST, ret);
        return;
    }
    rd_queue_enter(queue, job);
    it->state = RD_JOB_QUEUED;
    rd_queue_timer_set(queue, job, it->expires_ns);
    rd_queue_wait_push(queue, job, false);
}

/* The submission was not written: the token goes back, too. */
void rd_queue_lost(struct rd_queue *queue, uint32_t job)
{
    if (!rd_queue_is_job(queue, job) || queue->jobs[job].state != RD_JOB_ACCEPTED) {
        return;
    }
    struct tenant *tenant = &queue->tenants[queue->jobs[job].tenant];
    rd_bucket_give_back(&tenant->bucket, &tenant->limits.rate, 1);
    rd_queue_leave(queue, job);
    rd_queue_flow_release(queue, queue->jobs[job].flow);
    rd_queue_job_free(queue, job);
}

void rd_queue_limits(struct rd_queue *queue, const struct rd_queue_event *event)
{
    if (event->tenant == 0 || event->tenant > RD_QUEUE_TENANTS_MAX) {
        return;
    }
    struct tenant *tenant = &queue->tenants[event->tenant];
    if (!tenant->known || tenant->limits.rate.per_s == RD_BUCKET_UNLIMITED) {
        rd_bucket_init(&tenant->bucket, &event->limits.rate, queue->now_ns);
    } else { /* what has flowed in so far did so at the old rate */
        (void)rd_bucket_take(&tenant->bucket, &tenant->limits.rate, queue->now_ns, 0);
    }
    tenant->limits = event->limits;
    tenant->known = true;
    rd_queue_tenant_sync(queue, event->tenant);
}
