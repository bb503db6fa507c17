/* SPDX-License-Identifier: Apache-2.0
 *
 * What must always hold, counted afresh from the jobs themselves and compared with every number
 * that the queue keeps. For tests: the simulator asks after each step. It keeps no memory of its
 * own beside the stack, so sums for single tenants and flows are compared up to CHECK_MAX. */
#include "core/queue_internal.h"

#define CHECK_MAX 512u

struct tally {
    uint32_t queued[RD_LANE_COUNT_];
    uint32_t tenant_queued[CHECK_MAX], tenant_running[CHECK_MAX];
    uint32_t flow_refs[CHECK_MAX], flow_waiting[CHECK_MAX];
    uint32_t backend_leases[RD_QUEUE_BACKENDS_MAX + 1];
    uint32_t timers, free;
};

static bool is_queued(uint8_t state)
{
    return state == RD_JOB_ACCEPTED || state == RD_JOB_QUEUED || state == RD_JOB_WAITING;
}

static bool is_running(uint8_t state)
{
    return state == RD_JOB_LEASING || state == RD_JOB_RUNNING || state == RD_JOB_STOPPING;
}

static const char *check_job(const struct rd_queue *queue, uint32_t job)
{
    const struct job *it = &queue->jobs[job];
    const uint32_t list = rd_lanes_list_of(&queue->lanes, job);
    if (it->state == RD_JOB_QUEUED ? list != it->flow : list != 0) {
        return "a job is in its flow's list exactly while it is QUEUED";
    }
    if (is_running(it->state) != (it->token != 0) || it->token > queue->token) {
        return "a job has a token exactly while it has a lease";
    }
    if (is_running(it->state) != (it->permit != 0)) {
        return "a job has a permit exactly while it has a lease";
    }
    if ((is_queued(it->state) || is_running(it->state)) != (it->flow != 0)) {
        return "a job has a flow exactly until its end";
    }
    if (it->flow != 0 &&
        (queue->flows[it->flow].tenant != it->tenant ||
         queue->flows[it->flow].class_lane != rd_queue_class_lane(it->class_, it->lane))) {
        return "a job's flow is of its class, lane and tenant";
    }
    if (it->timer != 0 && queue->timers[it->timer].job != job) {
        return "a job's place in the heap of timers is its own";
    }
    if (it->state == RD_JOB_WAITING && it->timer == 0) {
        return "WAITING ends by a timer";
    }
    if (it->attempt > queue->config.attempts_max) {
        return "no more leases than attempts";
    }
    return NULL;
}

static void count_job(const struct rd_queue *queue, uint32_t job, struct tally *tally)
{
    const struct job *it = &queue->jobs[job];
    tally->timers += it->timer != 0;
    tally->free += it->state == RD_JOB_FREE;
    if (it->state == RD_JOB_FREE) {
        return;
    }
    tally->queued[it->lane] += is_queued(it->state);
    tally->backend_leases[it->backend] += is_running(it->state);
    if (it->tenant < CHECK_MAX) {
        tally->tenant_queued[it->tenant] += is_queued(it->state);
        tally->tenant_running[it->tenant] += is_running(it->state);
    }
    if (it->flow < CHECK_MAX) {
        tally->flow_refs[it->flow]++;
        tally->flow_waiting[it->flow] += it->state == RD_JOB_QUEUED;
    }
}

static const char *check_timers(const struct rd_queue *queue, const struct tally *tally)
{
    if (tally->timers != queue->timers_len) {
        return "as many jobs have timers as there are timers";
    }
    for (uint32_t i = 2; i <= queue->timers_len; i++) {
        if (queue->timers[rd_queue_timer_above(i)].due_ns > queue->timers[i].due_ns) {
            return "timers are a heap";
        }
    }
    return NULL;
}

static const char *check_flow(const struct rd_queue *queue, uint32_t flow,
                              const struct tally *tally)
{
    const struct flow *it = &queue->flows[flow];
    const uint32_t len = rd_lanes_len(&queue->lanes, flow);
    if (queue->flow_of[it->class_lane][it->tenant] != flow) {
        return "a flow is found by its class, lane and tenant";
    }
    const bool should = len != 0 && rd_queue_may_start(&queue->tenants[it->tenant]);
    if (should != (it->place != 0)) {
        return "a flow is in its heap exactly while it may be served";
    }
    if (it->place != 0 && queue->heaps[it->class_lane][it->place] != flow) {
        return "a flow's place in its heap is its own";
    }
    if (flow < CHECK_MAX && tally->flow_refs[flow] != it->refs) {
        return "a flow counts its jobs";
    }
    if (flow < CHECK_MAX && tally->flow_waiting[flow] != len) {
        return "a flow's list has its QUEUED jobs";
    }
    uint32_t walked = 0;
    for (uint32_t job = rd_lanes_head(&queue->lanes, flow); job != 0 && walked <= len;
         job = rd_lanes_next(&queue->lanes, job)) {
        walked++;
    }
    return walked == len ? NULL : "a flow's list is as long as it says";
}

static const char *check_heap(const struct rd_queue *queue, uint32_t class_lane)
{
    const struct class_lane *line = &queue->class_lanes[class_lane];
    const uint32_t *heap = queue->heaps[class_lane];
    const uint32_t class_ = class_lane / RD_LANE_COUNT_ + 1;
    if (rd_queue_class_in(queue->waiting[class_lane % RD_LANE_COUNT_], class_) !=
        (line->heap_len != 0)) {
        return "a class is marked exactly while its heap has a flow";
    }
    for (uint32_t i = 2; i <= line->heap_len; i++) {
        if (queue->flows[heap[i / 2]].vtime_us > queue->flows[heap[i]].vtime_us) {
            return "flows are a heap";
        }
    }
    return NULL;
}

static const char *check_flows(const struct rd_queue *queue, const struct tally *tally)
{
    uint64_t waiting = 0;
    uint64_t flows = 0;
    uint64_t eligible = 0;
    for (uint32_t i = 0; i < queue->classes_used * RD_LANE_COUNT_; i++) {
        const char *wrong = check_heap(queue, i);
        if (wrong != NULL) {
            return wrong;
        }
        waiting += queue->class_lanes[i].waiting;
        flows += queue->class_lanes[i].flows;
        eligible += queue->class_lanes[i].heap_len;
    }
    for (uint32_t flow = 1; flow <= queue->flows_used; flow++) {
        const char *wrong = check_flow(queue, flow, tally);
        if (wrong != NULL) {
            return wrong;
        }
        const uint32_t len = rd_lanes_len(&queue->lanes, flow);
        waiting -= len;
        flows -= len != 0;
        eligible -= queue->flows[flow].place != 0;
    }
    const bool right = waiting == 0 && flows == 0 && eligible == 0;
    return right ? NULL : "classes count their jobs and flows";
}

static const char *check_counts(const struct rd_queue *queue, const struct tally *tally)
{
    for (uint32_t lane = 0; lane < RD_LANE_COUNT_; lane++) {
        if (tally->queued[lane] != queue->queued[lane]) {
            return "lanes count their jobs";
        }
    }
    for (uint32_t tenant = 1; tenant <= queue->tenants_used && tenant < CHECK_MAX; tenant++) {
        const struct tenant *it = &queue->tenants[tenant];
        if (tally->tenant_queued[tenant] != it->queued) {
            return "tenants count their queued jobs";
        }
        if (tally->tenant_running[tenant] != it->running) {
            return "tenants count their running jobs";
        }
    }
    for (uint32_t backend = 1; backend <= queue->backends_used; backend++) {
        const struct backend *it = &queue->backends[backend];
        if (tally->backend_leases[backend] != it->leases || it->leases > it->taken) {
            return "every lease has a slot";
        }
        if (it->breaker.state != RD_BREAKER_CLOSED && it->breaker.since_ns > queue->now_ns) {
            return "a breaker's time is the queue's";
        }
    }
    uint32_t free_jobs = 0;
    for (uint32_t job = queue->jobs_free; job != 0 && free_jobs <= queue->jobs_used;
         job = queue->jobs[job].next_free) {
        free_jobs++;
    }
    return free_jobs == tally->free ? NULL : "every number that is free can be given again";
}

const char *rd_queue_check(const struct rd_queue *queue)
{
    struct tally tally = {0};
    for (uint32_t job = 1; job <= queue->jobs_used; job++) {
        const char *wrong = check_job(queue, job);
        if (wrong != NULL) {
            return wrong;
        }
        count_job(queue, job, &tally);
    }
    const char *wrong = check_counts(queue, &tally);
    if (wrong == NULL) {
        wrong = check_timers(queue, &tally);
    }
    if (wrong == NULL) {
        wrong = check_flows(queue, &tally);
    }
    return wrong;
}
