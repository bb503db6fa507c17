/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the queue share: one queue in fresh memory, and short ways to send it events.
 * After every step the queue checks itself. Tenants 1 to 4 have no limits, backend 1 serves class 1
 * with one slot and a lease of 10 s; a test changes what it needs. */
#ifndef RD_TESTS_QUEUE_FIXTURE_H
#define RD_TESTS_QUEUE_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>

#include "core/queue.h"

#define SECOND 1000000000ull
#define NO_LIMIT ((struct rd_bucket_rate){.per_s = RD_BUCKET_UNLIMITED})

static struct rd_queue *queue;
static struct rd_queue_result r;
static uint64_t now;
static bool unchecked; /* for tests with so many jobs that a check after each step takes too long */

static const struct rd_queue_result *step(struct rd_queue_event event)
{
    rd_queue_step(queue, &event, now, &r);
    if (!unchecked) {
        const char *wrong = rd_queue_check(queue);
        assert_string_equal(wrong != NULL ? wrong : "", "");
    }
    return &r;
}

#define STEP(kind_, ...) step((struct rd_queue_event){.kind = RD_EV_##kind_, __VA_ARGS__})

static inline void backend(uint32_t number, uint32_t slots, uint32_t class_)
{
    STEP(BACKEND, .backend = number, .slots = slots, .ready = true, .lease_ns = 10 * SECOND);
    STEP(CLASS, .backend = number, .class_ = class_, .serves = true);
}

static inline void limits(uint32_t tenant, struct rd_tenant_limits limits)
{
    STEP(TENANT, .tenant = tenant, .limits = limits);
}

static int queue_setup(void **state)
{
    (void)state;
    void *memory = mmap(NULL, rd_queue_size(), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    const struct rd_queue_config config = {
        .attempts_max = 4,
        .retry_first_ns = SECOND,
        .retry_max_ns = 30 * SECOND,
        .stop_patience_ns = 20 * SECOND,
    };
    queue = rd_queue_init(memory, &config);
    now = 1000 * SECOND;
    unchecked = false;
    for (uint32_t tenant = 1; tenant <= 4; tenant++) {
        limits(tenant, (struct rd_tenant_limits){.rate = NO_LIMIT, .high = true});
    }
    backend(1, 1, 1);
    return 0;
}

static int queue_teardown(void **state)
{
    (void)state;
    return munmap(queue, rd_queue_size());
}

/* A job of class 1 in the normal lane, its row written; the step that follows may start it. */
static inline uint32_t queued(uint32_t tenant)
{
    STEP(SUBMIT, .tenant = tenant, .class_ = 1, .lane = RD_LANE_NORMAL, .units = 1);
    assert_int_equal(r.admit, RD_ADMIT_OK);
    const uint32_t job = r.job;
    STEP(DURABLE, .job = job);
    return job;
}

static inline struct rd_queue_job look(uint32_t job)
{
    struct rd_queue_job it = {.state = RD_JOB_FREE};
    (void)rd_queue_look(queue, job, &it);
    return it;
}

static inline uint32_t state_of(uint32_t job)
{
    return look(job).state;
}

/* The only action of the last step is this one. */
static inline const struct rd_queue_action *only(enum rd_queue_action_kind kind, uint32_t job)
{
    assert_int_equal(r.count, 1);
    assert_int_equal(r.actions[0].kind, kind);
    assert_int_equal(r.actions[0].job, job);
    return &r.actions[0];
}

/* From LEASING to RUNNING; its token. */
static inline uint64_t leased(uint32_t job)
{
    const uint64_t token = look(job).token;
    STEP(LEASED, .job = job, .token = token);
    assert_false(r.stale);
    assert_int_equal(state_of(job), RD_JOB_RUNNING);
    return token;
}

/* From QUEUED with a free slot to RUNNING; its token. */
static inline uint64_t running(uint32_t job)
{
    assert_int_equal(state_of(job), RD_JOB_LEASING);
    return leased(job);
}

/* The run of a job ends after `ns`, its slot is free, its end is written. */
static inline void complete(uint32_t job, uint64_t ns)
{
    const struct rd_queue_job it = look(job);
    now += ns;
    STEP(DONE, .job = job, .token = it.token, .outcome = RD_OUTCOME_OK);
    assert_false(r.stale);
    STEP(ENDED, .job = job);
    STEP(SLOT, .backend = it.backend);
}

#endif
