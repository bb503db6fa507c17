/* SPDX-License-Identifier: Apache-2.0
 *
 * Questions: where a job stands, how long it may take, how full everything is. Nothing here changes
 * anything, and every answer takes constant time in jobs and flows: clients poll ten times a
 * second. Times are estimates from what was observed (rd_queue_learn); they promise nothing. */
#include "core/queue_internal.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t rd_queue_estimate_ns(const struct rd_queue *queue, uint32_t job)
{
    const uint64_t unit_ns = queue->classes[queue->jobs[job].class_].unit_ns;
    return least(rd_queue_mul(unit_ns, queue->jobs[job].units), RD_QUEUE_RUN_NS_MAX);
}

/* Slots of usable backends, of those that serve the class (0: of all), and of them the free ones.
 */
static uint32_t capacity(const struct rd_queue *queue, uint32_t class_, uint32_t *ret_free)
{
    uint32_t slots = 0;
    uint32_t free_slots = 0;
    for (uint32_t b = 1; b <= queue->backends_used; b++) {
        const struct backend *backend = &queue->backends[b];
        if (!rd_queue_usable(queue, backend) ||
            (class_ != 0 && !rd_queue_class_in(backend->classes, class_))) {
            continue;
        }
        slots += backend->slots;
        free_slots += backend->taken < backend->slots ? backend->slots - backend->taken : 0;
    }
    *ret_free = free_slots;
    return slots;
}

/* A job that waits for its next attempt goes to the front of its flow, so it counts as there. */
static uint32_t position(const struct rd_queue *queue, uint32_t job)
{
    const struct job *it = &queue->jobs[job];
    const struct class_lane *line = &queue->class_lanes[rd_queue_class_lane(it->class_, it->lane)];
    const uint64_t ahead = rd_lanes_ahead(&queue->lanes, job); /* 0 while WAITING */
    const uint64_t own = rd_lanes_len(&queue->lanes, it->flow);
    const uint64_t others = line->waiting - own;
    const uint64_t other_flows = line->flows - (own != 0);
    uint64_t before = ahead + least(others, rd_queue_mul(other_flows, ahead + 1));
    for (uint32_t lane = 0; lane < it->lane; lane++) {
        before += queue->class_lanes[rd_queue_class_lane(it->class_, lane)].waiting;
    }
    return (uint32_t)least(before + 1, UINT32_MAX);
}

/* Jobs before it go through the class's slots one after another, each for as long as the mean. */
static uint64_t waiting_eta_ns(const struct rd_queue *queue, uint32_t job, uint32_t place)
{
    const struct job *it = &queue->jobs[job];
    const uint64_t job_ns = queue->classes[it->class_].job_ns;
    if (job_ns == 0) {
        return 0;
    }
    uint32_t free_slots = 0;
    const uint32_t slots = capacity(queue, it->class_, &free_slots);
    const uint64_t first = free_slots != 0 ? place - 1 : place;
    const uint64_t wait_ns = rd_queue_mul(first, job_ns) / (slots != 0 ? slots : 1);
    const uint64_t own_ns = rd_queue_estimate_ns(queue, job);
    const uint64_t pause_ns =
        it->state == RD_JOB_WAITING ? queue->timers[it->timer].due_ns - queue->now_ns : 0;
    return rd_queue_add(rd_queue_add(wait_ns, own_ns), pause_ns);
}

/* Never 0 when something is known, also when it takes longer than expected. */
static uint64_t running_eta_ns(const struct rd_queue *queue, uint32_t job)
{
    const struct job *it = &queue->jobs[job];
    const uint64_t whole_ns = rd_queue_estimate_ns(queue, job);
    const uint64_t done_ns = it->state == RD_JOB_LEASING ? 0 : queue->now_ns - it->started_ns;
    if (whole_ns == 0) {
        return 0;
    }
    return done_ns < whole_ns ? whole_ns - done_ns : 1;
}

bool rd_queue_look(const struct rd_queue *queue, uint32_t job, struct rd_queue_job *ret)
{
    if (!rd_queue_is_job(queue, job) || queue->jobs[job].state == RD_JOB_FREE) {
        return false;
    }
    const struct job *it = &queue->jobs[job];
    *ret = (struct rd_queue_job){
        .state = (enum rd_job_state)it->state,
        .lane = (enum rd_lane)it->lane,
        .tenant = it->tenant,
        .class_ = it->class_,
        .backend = it->backend,
        .attempt = it->attempt,
        .token = it->token,
    };
    if (it->state == RD_JOB_QUEUED || it->state == RD_JOB_WAITING) {
        ret->position = position(queue, job);
        ret->eta_ns = waiting_eta_ns(queue, job, ret->position);
    } else if (it->state == RD_JOB_LEASING || it->state == RD_JOB_RUNNING) {
        ret->eta_ns = running_eta_ns(queue, job);
    }
    return true;
}

bool rd_queue_look_backend(const struct rd_queue *queue, uint32_t number,
                           struct rd_queue_backend *ret)
{
    if (number == 0 || number > queue->backends_used || !queue->backends[number].known) {
        return false;
    }
    const struct backend *it = &queue->backends[number];
    const struct rd_breaker *breaker = &it->breaker;
    *ret = (struct rd_queue_backend){
        .slots = it->slots,
        .taken = it->taken,
        .weight = it->weight != 0 ? it->weight : it->slots,
        .ready = it->ready,
        .quarantined = it->quarantined,
        .usable = rd_queue_usable(queue, it),
        .breaker = breaker->state,
    };
    const uint64_t epoch = queue->now_ns / RD_BREAKER_SLOT_NS;
    for (uint32_t i = 0; i < RD_BREAKER_SLOTS; i++) {
        if (epoch - breaker->slots[i].epoch < RD_BREAKER_SLOTS) {
            ret->requests += breaker->slots[i].total;
            ret->failures += breaker->slots[i].failed;
        }
    }
    const uint64_t lasted_ns = queue->now_ns - breaker->since_ns;
    if (breaker->state == RD_BREAKER_OPEN && lasted_ns < RD_BREAKER_OPEN_NS) {
        ret->retry_ns = RD_BREAKER_OPEN_NS - lasted_ns;
    }
    return true;
}

void rd_queue_counts(const struct rd_queue *queue, struct rd_queue_counts *ret)
{
    *ret = (struct rd_queue_counts){0};
    for (uint32_t lane = 0; lane < RD_LANE_COUNT_; lane++) {
        ret->queued[lane] = queue->queued[lane];
    }
    for (uint32_t b = 1; b <= queue->backends_used; b++) {
        ret->running += queue->backends[b].taken;
    }
    uint32_t free_slots = 0;
    ret->capacity = capacity(queue, 0, &free_slots);
    if (free_slots != 0) {
        return;
    }
    uint64_t work_ns = queue->job_ns;
    for (uint32_t class_ = 1; class_ <= queue->classes_used; class_++) {
        const uint64_t jobs =
            (uint64_t)queue->class_lanes[rd_queue_class_lane(class_, RD_LANE_HIGH)].waiting +
            queue->class_lanes[rd_queue_class_lane(class_, RD_LANE_NORMAL)].waiting;
        work_ns = rd_queue_add(work_ns, rd_queue_mul(jobs, queue->classes[class_].job_ns));
    }
    ret->wait_ns = work_ns / (ret->capacity != 0 ? ret->capacity : 1);
}

void rd_queue_tenant(const struct rd_queue *queue, uint32_t tenant, uint64_t now_ns,
                     struct rd_tenant_state *ret)
{
    *ret = (struct rd_tenant_state){0};
    if (tenant == 0 || tenant > RD_QUEUE_TENANTS_MAX) {
        return;
    }
    const struct tenant *it = &queue->tenants[tenant];
    const struct rd_bucket_rate *rate = &it->limits.rate;
    const uint64_t time_ns = queue->now_ns < now_ns ? now_ns : queue->now_ns;
    ret->tokens = rd_bucket_level(&it->bucket, rate, time_ns);
    ret->wait_ns =
        rd_bucket_wait_ns(&it->bucket, rate, time_ns, least(rate->burst, RD_BUCKET_BURST_MAX));
    ret->running = it->running;
    ret->queued = it->queued;
}
