/* SPDX-License-Identifier: Apache-2.0
 *
 * Timers: a heap of jobs by the time they are due. A job needs one timer at most, and its state
 * says what it is for (ttl, wait for the next attempt, lease, patience after STOP), so there is
 * nothing to cancel and nothing stale to skip: the entry is moved. Each place has four below it,
 * next to each other, since what costs with a million timers is memory that is not in the cache:
 * ten levels are read instead of twenty. Not a timer wheel: a heap holds no time of its own, so it
 * does not care how far the clock jumps. */
#include "core/queue_internal.h"

#define WIDTH 4u

/* Equal times by number, so that the order depends on nothing else. */
static bool before(struct timer a, struct timer b)
{
    return a.due_ns < b.due_ns || (a.due_ns == b.due_ns && a.job < b.job);
}

static void put(struct rd_queue *queue, uint32_t place, struct timer timer)
{
    queue->timers[place] = timer;
    queue->jobs[timer.job].timer = place;
    queue->work++;
}

static void sift_up(struct rd_queue *queue, uint32_t place)
{
    const struct timer timer = queue->timers[place];
    uint32_t at = place;
    while (at > 1 && before(timer, queue->timers[rd_queue_timer_above(at)])) {
        put(queue, at, queue->timers[rd_queue_timer_above(at)]);
        at = rd_queue_timer_above(at);
    }
    put(queue, at, timer);
}

/* The soonest of those below; 0: there are none. */
static uint32_t soonest_below(const struct rd_queue *queue, uint32_t place)
{
    const uint32_t first = place * WIDTH - 2;
    uint32_t best = first <= queue->timers_len ? first : 0;
    for (uint32_t i = first + 1; i < first + WIDTH && i <= queue->timers_len; i++) {
        best = before(queue->timers[i], queue->timers[best]) ? i : best;
    }
    return best;
}

static void sift_down(struct rd_queue *queue, uint32_t place)
{
    const struct timer timer = queue->timers[place];
    uint32_t at = place;
    uint32_t below = soonest_below(queue, at);
    while (below != 0 && before(queue->timers[below], timer)) {
        put(queue, at, queue->timers[below]);
        at = below;
        below = soonest_below(queue, at);
    }
    put(queue, at, timer);
}

static void remove_timer(struct rd_queue *queue, uint32_t job)
{
    const uint32_t place = queue->jobs[job].timer;
    const struct timer last = queue->timers[queue->timers_len];
    queue->timers_len--;
    queue->jobs[job].timer = 0;
    if (last.job != job) {
        put(queue, place, last);
        sift_up(queue, place);
        sift_down(queue, queue->jobs[last.job].timer);
    }
}

void rd_queue_timer_set(struct rd_queue *queue, uint32_t job, uint64_t due_ns)
{
    uint32_t place = queue->jobs[job].timer;
    if (due_ns == RD_QUEUE_NEVER) {
        if (place != 0) {
            remove_timer(queue, job);
        }
        return;
    }
    if (place == 0) {
        queue->timers_len++;
        place = queue->timers_len;
    }
    put(queue, place, (struct timer){.due_ns = due_ns, .job = job});
    sift_up(queue, place);
    sift_down(queue, queue->jobs[job].timer);
}

uint32_t rd_queue_timer_due(const struct rd_queue *queue)
{
    if (queue->timers_len == 0 || queue->timers[1].due_ns > queue->now_ns) {
        return 0;
    }
    return queue->timers[1].job;
}
