/* SPDX-License-Identifier: Apache-2.0
 *
 * Who runs next: flows, and a heap of them for each class and lane.
 *
 * A flow is in its heap exactly when it has a job that waits and its tenant may start one more. The
 * heap is by virtual time, in microseconds of device time; ties go to the flow that was served
 * longest ago. Starting a job adds its estimate to its flow, the end of the run corrects that to
 * what it took, at least an eighth of the estimate: else a tenant whose jobs fail at once could run
 * thousands of them before the first of another.
 *
 * A flow that comes into the heap begins at the time that the last start had, or the least one in
 * there (never below its own): it goes next, or nearly, and cannot use up now what it left idle
 * before. When the heap is empty it begins at the highest time that the lane has seen: nobody
 * waits, so whatever others have used so far was at nobody's expense, and is forgotten for all of
 * them.
 *
 * The bound: of two flows that stay in one heap for a while, the device time of runs that ended
 * differs by at most (6 S + 6) C, S being the runs at once and C the longest run or estimate,
 * however long that while is. For a start happens at the least virtual time, so times in one heap
 * are apart by at most one charge and the corrections that are out, S of each sign; and what a flow
 * was charged differs from what its ended runs took by at most its S runs before and after.
 * tests/simulate holds it to a third of that. */
#include "core/admission.h"
#include "core/queue_internal.h"

/* ---- the heap of a class and lane ---- */

static bool before(const struct rd_queue *queue, uint32_t a, uint32_t b)
{
    const struct flow *left = &queue->flows[a];
    const struct flow *right = &queue->flows[b];
    if (left->vtime_us != right->vtime_us) {
        return left->vtime_us < right->vtime_us;
    }
    return left->served != right->served ? left->served < right->served : a < b;
}

static void put(struct rd_queue *queue, uint32_t class_lane, uint32_t place, uint32_t flow)
{
    queue->heaps[class_lane][place] = flow;
    queue->flows[flow].place = place;
    queue->work++;
}

static void sift_up(struct rd_queue *queue, uint32_t class_lane, uint32_t place)
{
    const uint32_t *heap = queue->heaps[class_lane];
    const uint32_t flow = heap[place];
    uint32_t at = place;
    while (at > 1 && before(queue, flow, heap[at / 2])) {
        put(queue, class_lane, at, heap[at / 2]);
        at = at / 2;
    }
    put(queue, class_lane, at, flow);
}

static void sift_down(struct rd_queue *queue, uint32_t class_lane, uint32_t place)
{
    const uint32_t *heap = queue->heaps[class_lane];
    const uint32_t len = queue->class_lanes[class_lane].heap_len;
    const uint32_t flow = heap[place];
    uint32_t at = place;
    while (at * 2 <= len) {
        uint32_t child = at * 2;
        if (child < len && before(queue, heap[child + 1], heap[child])) {
            child++;
        }
        if (!before(queue, heap[child], flow)) {
            break;
        }
        put(queue, class_lane, at, heap[child]);
        at = child;
    }
    put(queue, class_lane, at, flow);
}

/* Its virtual time has changed, or its place is new. */
static void settle(struct rd_queue *queue, uint32_t flow)
{
    const uint32_t class_lane = queue->flows[flow].class_lane;
    sift_up(queue, class_lane, queue->flows[flow].place);
    sift_down(queue, class_lane, queue->flows[flow].place);
}

static void mark_waiting(struct rd_queue *queue, uint32_t class_lane)
{
    const uint32_t class_index = class_lane / RD_LANE_COUNT_;
    const uint64_t bit = 1ull << (class_index % 64);
    uint64_t *word = &queue->waiting[class_lane % RD_LANE_COUNT_][class_index / 64];
    *word = queue->class_lanes[class_lane].heap_len != 0 ? *word | bit : *word & ~bit;
}

static void insert(struct rd_queue *queue, uint32_t flow)
{
    const uint32_t class_lane = queue->flows[flow].class_lane;
    struct class_lane *line = &queue->class_lanes[class_lane];
    uint64_t begin_us = line->top_us;
    if (line->heap_len != 0) {
        const uint64_t least_us = queue->flows[queue->heaps[class_lane][1]].vtime_us;
        begin_us = least_us < line->start_us ? least_us : line->start_us;
    }
    if (queue->flows[flow].vtime_us < begin_us) {
        queue->flows[flow].vtime_us = begin_us;
    }
    line->heap_len++;
    put(queue, class_lane, line->heap_len, flow);
    settle(queue, flow);
    queue->eligible++;
    mark_waiting(queue, class_lane);
}

static void take_out(struct rd_queue *queue, uint32_t flow)
{
    const uint32_t class_lane = queue->flows[flow].class_lane;
    struct class_lane *line = &queue->class_lanes[class_lane];
    const uint32_t place = queue->flows[flow].place;
    const uint32_t last = queue->heaps[class_lane][line->heap_len];
    line->heap_len--;
    queue->flows[flow].place = 0;
    if (last != flow) {
        put(queue, class_lane, place, last);
        settle(queue, last);
    }
    queue->eligible--;
    mark_waiting(queue, class_lane);
}

/* Puts the flow into its heap or takes it out, as it should be. */
static void sync_flow(struct rd_queue *queue, uint32_t flow)
{
    const bool should = rd_lanes_len(&queue->lanes, flow) != 0 &&
                        rd_queue_may_start(&queue->tenants[queue->flows[flow].tenant]);
    const bool is = queue->flows[flow].place != 0;
    queue->work++;
    if (should && !is) {
        insert(queue, flow);
    }
    if (!should && is) {
        take_out(queue, flow);
    }
}

/* ---- the numbers of flows ---- */

static void idle_remove(struct rd_queue *queue, uint32_t flow)
{
    const uint32_t next = queue->flows[flow].idle_next;
    const uint32_t prev = queue->flows[flow].idle_prev;
    if (prev != 0) {
        queue->flows[prev].idle_next = next;
    } else {
        queue->idle_first = next;
    }
    if (next != 0) {
        queue->flows[next].idle_prev = prev;
    } else {
        queue->idle_last = prev;
    }
}

static void idle_append(struct rd_queue *queue, uint32_t flow)
{
    const uint32_t last = queue->idle_last;
    queue->flows[flow].idle_next = 0;
    queue->flows[flow].idle_prev = last;
    if (last != 0) {
        queue->flows[last].idle_next = flow;
    } else {
        queue->idle_first = flow;
    }
    queue->idle_last = flow;
}

/* Takes the number of an idle flow away from it. */
static void forget(struct rd_queue *queue, uint32_t flow)
{
    const struct flow *old = &queue->flows[flow];
    const uint32_t next = old->tenant_next;
    const uint32_t prev = old->tenant_prev;
    idle_remove(queue, flow);
    queue->flow_of[old->class_lane][old->tenant] = 0;
    if (prev != 0) {
        queue->flows[prev].tenant_next = next;
    } else {
        queue->tenants[old->tenant].flows = next;
    }
    if (next != 0) {
        queue->flows[next].tenant_prev = prev;
    }
}

static uint32_t make_flow(struct rd_queue *queue, uint32_t class_lane, uint32_t tenant)
{
    uint32_t flow = queue->idle_first;
    if (queue->flows_used < RD_QUEUE_FLOWS_MAX) {
        queue->flows_used++;
        flow = queue->flows_used;
    } else if (flow != 0) {
        forget(queue, flow);
    } else {
        return 0;
    }
    const uint32_t next = queue->tenants[tenant].flows;
    queue->flows[flow] =
        (struct flow){.tenant = tenant, .class_lane = class_lane, .tenant_next = next};
    if (next != 0) {
        queue->flows[next].tenant_prev = flow;
    }
    queue->tenants[tenant].flows = flow;
    queue->flow_of[class_lane][tenant] = flow;
    return flow;
}

uint32_t rd_queue_flow_take(struct rd_queue *queue, uint32_t class_lane, uint32_t tenant)
{
    uint32_t flow = queue->flow_of[class_lane][tenant];
    if (flow == 0) {
        flow = make_flow(queue, class_lane, tenant);
    } else if (queue->flows[flow].refs == 0) {
        idle_remove(queue, flow);
    }
    if (flow != 0) {
        queue->flows[flow].refs++;
    }
    return flow;
}

void rd_queue_flow_release(struct rd_queue *queue, uint32_t flow)
{
    queue->flows[flow].refs--;
    if (queue->flows[flow].refs == 0) {
        idle_append(queue, flow);
    }
}

/* ---- waiting ---- */

void rd_queue_wait_push(struct rd_queue *queue, uint32_t job, bool front)
{
    const uint32_t flow = queue->jobs[job].flow;
    struct class_lane *line = &queue->class_lanes[queue->flows[flow].class_lane];
    const bool pushed = front ? rd_lanes_push_front(&queue->lanes, flow, job)
                              : rd_lanes_push(&queue->lanes, flow, job);
    line->waiting += pushed;
    line->flows += pushed && rd_lanes_len(&queue->lanes, flow) == 1;
    sync_flow(queue, flow);
}

void rd_queue_wait_remove(struct rd_queue *queue, uint32_t job)
{
    const uint32_t flow = queue->jobs[job].flow;
    struct class_lane *line = &queue->class_lanes[queue->flows[flow].class_lane];
    const bool removed = rd_lanes_remove(&queue->lanes, job);
    line->waiting -= removed;
    line->flows -= removed && rd_lanes_len(&queue->lanes, flow) == 0;
    sync_flow(queue, flow);
}

/* A tenant has as many flows as classes and lanes it uses: few. */
void rd_queue_tenant_sync(struct rd_queue *queue, uint32_t tenant)
{
    for (uint32_t flow = queue->tenants[tenant].flows; flow != 0;
         flow = queue->flows[flow].tenant_next) {
        sync_flow(queue, flow);
    }
}

void rd_queue_tenant_run(struct rd_queue *queue, uint32_t tenant, int change)
{
    struct tenant *it = &queue->tenants[tenant];
    const bool could = rd_queue_may_start(it);
    it->running = change > 0 ? it->running + 1 : it->running - 1;
    if (could != rd_queue_may_start(it)) {
        rd_queue_tenant_sync(queue, tenant);
    }
}

/* ---- virtual time ---- */

static void set_vtime(struct rd_queue *queue, uint32_t flow, uint64_t vtime_us)
{
    struct class_lane *line = &queue->class_lanes[queue->flows[flow].class_lane];
    queue->flows[flow].vtime_us = vtime_us;
    line->top_us = line->top_us < vtime_us ? vtime_us : line->top_us;
    if (queue->flows[flow].place != 0) {
        settle(queue, flow);
    }
}

static uint64_t limited(uint64_t ns)
{
    return ns < RD_QUEUE_RUN_NS_MAX ? ns : RD_QUEUE_RUN_NS_MAX;
}

void rd_queue_charge(struct rd_queue *queue, uint32_t job)
{
    struct job *it = &queue->jobs[job];
    const uint64_t known = queue->classes[it->class_].unit_ns;
    const uint64_t unit_ns = known != 0 ? known : RD_QUEUE_UNIT_NS_GUESS;
    it->charged_us = limited(rd_queue_mul(unit_ns, it->units)) / RD_QUEUE_NS_PER_US;
    queue->starts++;
    queue->classes[it->class_].served = queue->starts;
    queue->flows[it->flow].served = queue->starts;
    struct class_lane *line = &queue->class_lanes[queue->flows[it->flow].class_lane];
    if (line->start_us < queue->flows[it->flow].vtime_us) {
        line->start_us = queue->flows[it->flow].vtime_us;
    }
    set_vtime(queue, it->flow, rd_queue_add(queue->flows[it->flow].vtime_us, it->charged_us));
}

static void replace_charge(struct rd_queue *queue, uint32_t job, uint64_t took_us)
{
    struct job *it = &queue->jobs[job];
    const uint64_t with_us = rd_queue_add(queue->flows[it->flow].vtime_us, took_us);
    const uint64_t charged_us = it->charged_us;
    it->charged_us = 0;
    set_vtime(queue, it->flow, with_us > charged_us ? with_us - charged_us : 0);
}

void rd_queue_correct(struct rd_queue *queue, uint32_t job, uint64_t took_ns)
{
    const uint64_t took_us = limited(took_ns) / RD_QUEUE_NS_PER_US;
    const uint64_t least_us = queue->jobs[job].charged_us / RD_QUEUE_CHARGE_PART;
    replace_charge(queue, job, took_us > least_us ? took_us : least_us);
}

void rd_queue_refund(struct rd_queue *queue, uint32_t job)
{
    replace_charge(queue, job, 0);
}

/* One eighth of each new value. */
static uint64_t mean(uint64_t old, uint64_t value)
{
    if (old == 0) {
        return value;
    }
    return value >= old ? old + (value - old) / 8 : old - (old - value) / 8;
}

void rd_queue_learn(struct rd_queue *queue, uint32_t job, uint64_t took_ns)
{
    const struct job *it = &queue->jobs[job];
    struct class_ *class_ = &queue->classes[it->class_];
    const uint64_t run_ns = limited(took_ns);
    const uint64_t unit_ns = run_ns / it->units;
    class_->unit_ns = mean(class_->unit_ns, unit_ns != 0 ? unit_ns : 1);
    class_->job_ns = mean(class_->job_ns, run_ns != 0 ? run_ns : 1);
    queue->job_ns = mean(queue->job_ns, run_ns != 0 ? run_ns : 1);
}

/* ---- the choice ---- */

/* Of the classes in both sets the one that was served longest ago, or 0. */
static uint32_t longest_ago(const struct rd_queue *queue, const uint64_t *a, const uint64_t *b)
{
    uint32_t best = 0;
    for (uint32_t i = 0; i < RD_QUEUE_CLASS_WORDS; i++) {
        uint64_t left = a[i] & b[i];
        for (uint32_t bit = 0; left != 0; bit++, left >>= 1) {
            const uint32_t class_ = i * 64 + bit + 1;
            if ((left & 1) != 0 &&
                (best == 0 || queue->classes[class_].served < queue->classes[best].served)) {
                best = class_;
            }
        }
    }
    return best;
}

uint32_t rd_queue_next(struct rd_queue *queue, uint32_t *ret_backend)
{
    if (queue->eligible == 0) {
        return 0;
    }
    uint64_t open[RD_QUEUE_CLASS_WORDS];
    rd_queue_open_classes(queue, open);
    for (uint32_t lane = 0; lane < RD_LANE_COUNT_; lane++) {
        const uint32_t class_ = longest_ago(queue, open, queue->waiting[lane]);
        if (class_ == 0) {
            continue;
        }
        const uint32_t flow = queue->heaps[rd_queue_class_lane(class_, lane)][1];
        const uint32_t job = rd_lanes_head(&queue->lanes, flow);
        if (rd_queue_backend_for(queue, class_, job, ret_backend) == RD_ADMISSION_TAKE) {
            return job;
        }
    }
    return 0;
}
