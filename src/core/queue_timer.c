/* SPDX-License-Identifier: Apache-2.0
 *
 * Timers: a binary heap of jobs by the time they are due. A job needs one timer at most, and its
 * state says what it is for (ttl, wait for the next attempt, lease, patience after STOP), so there
 * is nothing to cancel and nothing stale to skip: the entry is moved. Not a timer wheel: a heap
 * holds no time of its own, so it does not care how far the clock jumps, and 20 comparisons for a
 * million timers are nothing beside a row that is written. */
#include "core/queue_internal.h"

/* Equal times by number, so that the order depends on nothing else. */
static bool before(const struct rd_queue *queue, uint32_t a, uint32_t b)
{
    const uint64_t left = queue->jobs[a].due_ns;
    const uint64_t right = queue->jobs[b].due_ns;
    return left < right || (left == right && a < b);
}

static void put(struct rd_queue *queue, uint32_t place, uint32_t job)
{
    queue->timers[place] = job;
    queue->jobs[job].timer = place;
    queue->work++;
}

static void sift_up(struct rd_queue *queue, uint32_t place)
{
    const uint32_t job = queue->timers[place];
    uint32_t at = place;
    while (at > 1 && before(queue, job, queue->timers[at / 2])) {
        put(queue, at, queue->timers[at / 2]);
        at = at / 2;
    }
    put(queue, at, job);
}

static void sift_down(struct rd_queue *queue, uint32_t place)
{
    const uint32_t job = queue->timers[place];
    const uint32_t len = queue->timers_len;
    uint32_t at = place;
    while (at * 2 <= len) {
        uint32_t child = at * 2;
        if (child < len && before(queue, queue->timers[child + 1], queue->timers[child])) {
            child++;
        }
        if (!before(queue, queue->timers[child], job)) {
            break;
        }
        put(queue, at, queue->timers[child]);
        at = child;
    }
    put(queue, at, job);
}

static void remove_timer(struct rd_queue *queue, uint32_t job)
{
    const uint32_t place = queue->jobs[job].timer;
    const uint32_t last = queue->timers[queue->timers_len];
    queue->timers_len--;
    queue->jobs[job].timer = 0;
    if (last != job) {
        put(queue, place, last);
        sift_up(queue, place);
        sift_down(queue, queue->jobs[last].timer);
    }
}

void rd_queue_timer_set(struct rd_queue *queue, uint32_t job, uint64_t due_ns)
{
    const uint32_t place = queue->jobs[job].timer;
    if (due_ns == RD_QUEUE_NEVER) {
        if (place != 0) {
            remove_timer(queue, job);
        }
        return;
    }
    queue->jobs[job].due_ns = due_ns;
    if (place == 0) {
        queue->timers_len++;
        put(queue, queue->timers_len, job);
    }
    sift_up(queue, queue->jobs[job].timer);
    sift_down(queue, queue->jobs[job].timer);
}

uint32_t rd_queue_timer_due(const struct rd_queue *queue)
{
    if (queue->timers_len == 0) {
        return 0;
    }
    const uint32_t job = queue->timers[1];
    return queue->jobs[job].due_ns <= queue->now_ns ? job : 0;
}
