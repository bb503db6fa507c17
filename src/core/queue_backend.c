/* SPDX-License-Identifier: Apache-2.0
 *
 * Backends: their slots, what they serve, whether they are to get work, and which of them takes a
 * run.
 *
 * Four things keep work away from one: it is not ready (the host's word), its breaker is open (how
 * its runs went), it is quarantined (it does not end what it was told to), or its slots are taken.
 * Readiness comes from probes and may be wrong both ways; the breaker learns only from runs; the
 * quarantine is about one broken promise, so it is lifted by the promise kept: no slot is held by a
 * run that is over, and after that the host has said ready again.
 *
 * A slot is its engine's: `taken` goes down with SLOT. Of those, `leases` belong to a job that
 * still waits for its run. The difference is runs that are over and have not let go.
 *
 * A breaker changes by itself twice: 60 s after it opened it lets probes through, and after 900 s
 * half open it opens again. `breakers_next_ns` is the next such time, so that a step asks one
 * number and not every backend, and so that the driver knows when to come back. */
#include "core/admission.h"
#include "core/queue_internal.h"

static bool is_backend(uint32_t backend)
{
    return 1 <= backend && backend <= RD_QUEUE_BACKENDS_MAX;
}

/* ---- breakers ---- */

/* When this breaker changes by itself. */
static uint64_t change_ns(const struct rd_breaker *breaker)
{
    switch (breaker->state) {
    case RD_BREAKER_OPEN:
        return rd_queue_add(breaker->since_ns, RD_BREAKER_OPEN_NS);
    case RD_BREAKER_HALF_OPEN:
        return rd_queue_add(breaker->since_ns, RD_BREAKER_VERDICT_NS);
    case RD_BREAKER_CLOSED:
        break;
    }
    return RD_QUEUE_NEVER;
}

static void plan_breakers(struct rd_queue *queue)
{
    queue->breakers_next_ns = RD_QUEUE_NEVER;
    for (uint32_t b = 1; b <= queue->backends_used; b++) {
        const uint64_t at_ns = change_ns(&queue->backends[b].breaker);
        if (at_ns > queue->now_ns && at_ns < queue->breakers_next_ns) {
            queue->breakers_next_ns = at_ns;
        }
    }
}

void rd_queue_tend_breakers(struct rd_queue *queue)
{
    if (queue->now_ns < queue->breakers_next_ns) {
        return;
    }
    for (uint32_t b = 1; b <= queue->backends_used; b++) {
        struct rd_breaker *breaker = &queue->backends[b].breaker;
        if (breaker->state == RD_BREAKER_HALF_OPEN && change_ns(breaker) <= queue->now_ns) {
            (void)rd_breaker_allow(breaker, queue->now_ns); /* no permit: it opens */
        }
    }
    plan_breakers(queue);
}

/* ---- leases ---- */

void rd_queue_lease(struct rd_queue *queue, uint32_t job, uint32_t backend)
{
    struct backend *it = &queue->backends[backend];
    const uint64_t period = it->breaker.period;
    it->taken++;
    it->leases++;
    queue->jobs[job].backend = (uint16_t)backend;
    queue->jobs[job].permit = rd_breaker_allow(&it->breaker, queue->now_ns);
    if (it->breaker.period != period) {
        plan_breakers(queue);
    }
}

void rd_queue_release(struct rd_queue *queue, uint32_t job, enum rd_verdict verdict)
{
    struct backend *it = &queue->backends[queue->jobs[job].backend];
    const uint64_t period = it->breaker.period;
    const uint64_t permit = queue->jobs[job].permit;
    it->leases--;
    queue->jobs[job].permit = 0;
    if (verdict == RD_VERDICT_SAYS_NOTHING) {
        rd_breaker_cancel(&it->breaker, permit);
    } else {
        rd_breaker_record(&it->breaker, queue->now_ns, permit, verdict == RD_VERDICT_GOOD);
    }
    if (it->breaker.period != period) {
        plan_breakers(queue);
    }
}

void rd_queue_quarantine(struct rd_queue *queue, uint32_t job)
{
    queue->backends[queue->jobs[job].backend].quarantined = true;
}

/* ---- what a job failed on ---- */

static bool has_failed(const struct rd_queue *queue, uint32_t job, uint32_t backend)
{
    const uint16_t *failed = queue->jobs[job].failed;
    bool found = false;
    for (uint32_t i = 0; i < RD_QUEUE_FAILED_KEPT; i++) {
        found = found || failed[i] == backend;
    }
    return found;
}

void rd_queue_blame(struct rd_queue *queue, uint32_t job)
{
    struct job *it = &queue->jobs[job];
    if (has_failed(queue, job, it->backend)) {
        return;
    }
    for (uint32_t i = RD_QUEUE_FAILED_KEPT - 1; i > 0; i--) {
        it->failed[i] = it->failed[i - 1];
    }
    it->failed[0] = it->backend;
}

/* ---- the choice ---- */

bool rd_queue_usable(const struct rd_queue *queue, const struct backend *backend)
{
    return backend->ready && !backend->quarantined &&
           rd_breaker_ready(&backend->breaker, queue->now_ns);
}

enum rd_admission rd_queue_backend_for(struct rd_queue *queue, uint32_t class_, uint32_t job,
                                       uint32_t *ret_backend)
{
    struct rd_slots slots[RD_QUEUE_BACKENDS_MAX];
    const uint32_t count = queue->backends_used;
    for (uint32_t i = 0; i < count; i++) {
        const struct backend *backend = &queue->backends[i + 1];
        slots[i].slots = backend->slots;
        slots[i].taken = backend->taken;
        slots[i].weight = backend->weight;
        slots[i].serves = backend->slots != 0 && rd_queue_class_in(backend->classes, class_);
        slots[i].ready = slots[i].serves && rd_queue_usable(queue, backend);
        slots[i].failed = job != 0 && has_failed(queue, job, i + 1);
    }
    size_t index = 0;
    const enum rd_admission result = rd_admission_pick(slots, count, rd_queue_draw(queue), &index);
    if (result == RD_ADMISSION_TAKE) {
        *ret_backend = (uint32_t)index + 1;
    }
    return result;
}

bool rd_queue_elsewhere(struct rd_queue *queue, uint32_t job, uint32_t *ret_backend)
{
    uint32_t backend = 0;
    const uint32_t class_ = queue->jobs[job].class_;
    if (rd_queue_backend_for(queue, class_, job, &backend) != RD_ADMISSION_TAKE ||
        has_failed(queue, job, backend)) {
        return false;
    }
    *ret_backend = backend;
    return true;
}

void rd_queue_open_classes(const struct rd_queue *queue, uint64_t *ret_set)
{
    for (uint32_t i = 0; i < RD_QUEUE_CLASS_WORDS; i++) {
        ret_set[i] = 0;
    }
    for (uint32_t b = 1; b <= queue->backends_used; b++) {
        const struct backend *backend = &queue->backends[b];
        if (backend->taken >= backend->slots || !rd_queue_usable(queue, backend)) {
            continue;
        }
        for (uint32_t i = 0; i < RD_QUEUE_CLASS_WORDS; i++) {
            ret_set[i] |= backend->classes[i];
        }
    }
}

/* ---- events ---- */

void rd_queue_on_backend(struct rd_queue *queue, const struct rd_queue_event *event)
{
    if (!is_backend(event->backend)) {
        return;
    }
    struct backend *backend = &queue->backends[event->backend];
    if (!backend->known) {
        rd_breaker_init(&backend->breaker, queue->now_ns);
        backend->known = true;
    }
    backend->slots = event->slots;
    backend->weight = event->weight;
    backend->ready = event->ready && event->slots != 0;
    backend->lease_ns = event->lease_ns;
    if (backend->ready && backend->taken == backend->leases) {
        backend->quarantined = false;
    }
    for (uint32_t i = 0; i < RD_QUEUE_CLASS_WORDS && event->slots == 0; i++) {
        backend->classes[i] = 0;
    }
    if (queue->backends_used < event->backend) {
        queue->backends_used = event->backend;
    }
}

void rd_queue_on_class(struct rd_queue *queue, const struct rd_queue_event *event)
{
    if (!is_backend(event->backend) || event->class_ == 0 || event->class_ > RD_QUEUE_CLASSES_MAX) {
        return;
    }
    const uint64_t bit = 1ull << ((event->class_ - 1) % 64);
    uint64_t *word = &queue->backends[event->backend].classes[(event->class_ - 1) / 64];
    *word = event->serves ? *word | bit : *word & ~bit;
}

void rd_queue_on_slot(struct rd_queue *queue, uint32_t backend)
{
    if (is_backend(backend) && queue->backends[backend].taken != 0) {
        queue->backends[backend].taken--;
    }
}
