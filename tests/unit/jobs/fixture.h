/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the driver share: a real store, and a host that is a table of runs. The store's
 * one writing function stands behind a gate (link_args --wrap), which can be shut and can fail.
 * Waiting is for a condition, with a limit that only a failure reaches. */
#ifndef RD_TEST_JOBS_FIXTURE_H
#define RD_TEST_JOBS_FIXTURE_H

#include "../store/jobs_fixture.h"

#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "jobs/jobs.h"

enum { RUNS_MAX = 2048, WAIT_MS = 20000 };

struct fake_run {
    char id[RD_ID_MAX];
    struct rd_jobs_slot slot;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct fake_run runs[RUNS_MAX];
    size_t runs_count;
    unsigned stops, messages, broken;
    struct rd_tenant_limits limits;
    unsigned no_webp, unready; /* bits: these backends do not make WebP, are not ready */
    uint64_t patience_ns, deadline_ns, retry_ns;
    /* the gate before the store */
    bool shut;
    rd_err fail;   /* every batch, before anything is written */
    bool sick;     /* the store has failed for good */
    int fail_kind; /* this kind of change fails alone, once; -1: none */
    size_t batches, changes, largest;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct rd_store *store;
static struct rd_jobs *jobs;
static uint32_t box;

/* ---- waiting ---- */

static inline void fake_change(void)
{
    pthread_cond_broadcast(&fake.changed);
}

/* Under fake.lock; *value grows to `want`. */
static inline void await_size(const size_t *value, size_t want)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000;
    while (*value < want) {
        assert_int_equal(pthread_cond_timedwait(&fake.changed, &fake.lock, &until), 0);
    }
}

static inline struct fake_run await_run(size_t n)
{
    pthread_mutex_lock(&fake.lock);
    await_size(&fake.runs_count, n);
    struct fake_run run = fake.runs[n - 1];
    pthread_mutex_unlock(&fake.lock);
    return run;
}

/* ---- the gate ---- */

rd_err __real_rd_store_jobs_apply(struct rd_store *of, struct rd_job_write *writes, size_t count);
rd_err __wrap_rd_store_jobs_apply(struct rd_store *of, struct rd_job_write *writes, size_t count);
bool __real_rd_store_healthy(struct rd_store *of);
bool __wrap_rd_store_healthy(struct rd_store *of);

rd_err __wrap_rd_store_jobs_apply(struct rd_store *of, struct rd_job_write *writes, size_t count)
{
    pthread_mutex_lock(&fake.lock);
    fake.batches++;
    fake.changes += count;
    fake.largest = count > fake.largest ? count : fake.largest;
    fake_change();
    while (fake.shut) {
        pthread_cond_wait(&fake.changed, &fake.lock);
    }
    rd_err err = fake.fail;
    int kind = fake.fail_kind;
    pthread_mutex_unlock(&fake.lock);
    if (err != RD_OK) {
        return err;
    }
    err = __real_rd_store_jobs_apply(of, writes, count);
    for (size_t i = 0; err == RD_OK && kind >= 0 && i < count; i++) {
        if ((int)writes[i].kind == kind) {
            writes[i].err = RD_ERR_CONFLICT;
            pthread_mutex_lock(&fake.lock);
            fake.fail_kind = -1;
            pthread_mutex_unlock(&fake.lock);
        }
    }
    return err;
}

bool __wrap_rd_store_healthy(struct rd_store *of)
{
    pthread_mutex_lock(&fake.lock);
    bool sick = fake.sick;
    pthread_mutex_unlock(&fake.lock);
    return !sick && __real_rd_store_healthy(of);
}

static inline void gate(bool shut, rd_err fail)
{
    pthread_mutex_lock(&fake.lock);
    fake.shut = shut;
    fake.fail = fail;
    fake_change();
    pthread_mutex_unlock(&fake.lock);
}

/* ---- the host ---- */

static inline void host_run(void *ctx, const char *id, const struct rd_jobs_slot *slot)
{
    (void)ctx;
    pthread_mutex_lock(&fake.lock);
    assert_true(fake.runs_count < RUNS_MAX);
    struct fake_run *run = &fake.runs[fake.runs_count++];
    (void)snprintf(run->id, sizeof run->id, "%s", id);
    run->slot = *slot;
    fake_change();
    pthread_mutex_unlock(&fake.lock);
}

static inline bool host_serves(void *ctx, uint32_t backend, const struct rd_jobs_want *want)
{
    (void)ctx;
    return strcmp(want->model, "builtin/plasma") == 0 && want->task == RD_TASK_T2I &&
           (want->media != RD_MEDIA_WEBP || (fake.no_webp >> backend & 1) == 0);
}

static inline bool host_ready(void *ctx, uint32_t backend)
{
    (void)ctx;
    pthread_mutex_lock(&fake.lock);
    bool ready = (fake.unready >> backend & 1) == 0;
    pthread_mutex_unlock(&fake.lock);
    return ready;
}

static inline void host_limits(void *ctx, const char *tenant, struct rd_tenant_limits *ret)
{
    (void)ctx;
    (void)tenant;
    *ret = fake.limits;
}

static inline void host_tick(void *ctx)
{
    (void)ctx;
}

static inline void host_count(unsigned *counter)
{
    pthread_mutex_lock(&fake.lock);
    (*counter)++;
    fake_change();
    pthread_mutex_unlock(&fake.lock);
}

static inline void host_message(void *ctx)
{
    (void)ctx;
    host_count(&fake.messages);
}

static inline void host_broken(void *ctx)
{
    (void)ctx;
    host_count(&fake.broken);
}

static inline void stop(void *run)
{
    (void)run;
    host_count(&fake.stops);
}

/* ---- life ---- */

static inline uint32_t add_backend(const char *name, uint32_t slots)
{
    const struct rd_jobs_backend backend = {
        .name = name, .slots = slots, .lease_ns = (uint64_t)60 * 1000000000};
    uint32_t number = 0;
    assert_int_equal(rd_jobs_backend(jobs, &backend, &number), RD_OK);
    return number;
}

static inline void jobs_start(uint32_t slots)
{
    const struct rd_jobs_options options = {
        .store = store,
        .queue = {.attempts_max = 4,
                  .retry_first_ns = fake.retry_ns,
                  .retry_max_ns = fake.retry_ns,
                  .stop_patience_ns = fake.patience_ns,
                  .deadline_ns = fake.deadline_ns},
        .host = {NULL, host_run, host_serves, host_ready, host_limits, host_tick, host_message,
                 host_broken},
        .public_url = "http://here",
        .keep_days = 30,
        .idempotency_hours = 24,
    };
    struct rd_why why;
    assert_int_equal(rd_jobs_open(&options, &jobs, &why), RD_OK);
    box = add_backend("box", slots);
    rd_jobs_go(jobs);
}

static inline void jobs_stop(void)
{
    rd_jobs_close(jobs);
    jobs = NULL;
}

/* As after a kill, but that what was written is there: only the memory is lost. */
static inline void jobs_again(uint32_t slots)
{
    jobs_stop();
    rd_store_close(store);
    store = test_open();
    fake.runs_count = 0;
    jobs_start(slots);
}

static inline int jobs_setup(void **state)
{
    fake.runs_count = fake.batches = fake.changes = fake.largest = 0;
    fake.stops = fake.messages = fake.broken = 0;
    fake.limits = (struct rd_tenant_limits){.rate = {RD_BUCKET_UNLIMITED, 1}, .high = true};
    fake.no_webp = fake.unready = 0;
    fake.patience_ns = (uint64_t)30 * 1000000000;
    fake.deadline_ns = 0;
    fake.retry_ns = 1000000;
    fake.fail = RD_OK;
    fake.fail_kind = -1;
    fake.shut = fake.sick = false;
    return test_setup(state);
}

static inline int jobs_teardown(void **state)
{
    if (jobs != NULL) {
        jobs_stop();
    }
    rd_store_close(store);
    store = NULL;
    return test_teardown(state);
}

/* ---- submitting ---- */

struct told {
    size_t count;
    rd_err err;
    char id[RD_ID_MAX];
    bool existing;
    enum rd_admit admit;
};

static inline void on_created(void *ctx, rd_err err, const struct rd_jobs_created *created)
{
    struct told *told = ctx;
    pthread_mutex_lock(&fake.lock);
    told->count++;
    told->err = err;
    if (created != NULL) {
        (void)snprintf(told->id, sizeof told->id, "%s", created->id);
        told->existing = created->existing;
        told->admit = created->admit;
    }
    fake_change();
    pthread_mutex_unlock(&fake.lock);
}

static inline void on_done(void *ctx, rd_err err)
{
    on_created(ctx, err, NULL);
}

static inline void await_told(struct told *told)
{
    pthread_mutex_lock(&fake.lock);
    await_size(&told->count, 1);
    pthread_mutex_unlock(&fake.lock);
}

static inline struct rd_jobs_ask ask_of(uint64_t owner)
{
    return (struct rd_jobs_ask){.owner = owner,
                                .tenant = owner == 1 ? "acme" : "beta",
                                .lane = RD_LANE_NORMAL,
                                .want = {.model = "builtin/plasma", .kind = -1},
                                .units = 1};
}

static inline struct rd_job_write new_job(uint64_t owner)
{
    struct rd_job_write add = job_add(0, owner);
    add.row.id[0] = '\0';
    add.row.units = 1;
    add.row.task = RD_TASK_T2I;
    add.row.seed = 7;
    add.row.created_ms = rd_clock_wall_ms();
    add.row.expires_ms = 0;
    return add;
}

static inline enum rd_admit submit_later(uint64_t owner, const char *key, struct told *told)
{
    const struct rd_jobs_ask ask = ask_of(owner);
    struct rd_job_write add = new_job(owner);
    struct rd_jobs_limits limits;
    add.idempotency_key = key;
    return rd_jobs_submit(jobs, &ask, &add, on_created, told, &limits);
}

static inline struct told submit(uint64_t owner)
{
    struct told told = {.err = RD_ERR_INTERNAL};
    assert_int_equal(submit_later(owner, NULL, &told), RD_ADMIT_OK);
    await_told(&told);
    return told;
}

static inline void finish(const struct fake_run *run, enum rd_outcome outcome, rd_err err)
{
    const struct rd_jobs_outcome result = {
        .outcome = outcome,
        .err = err,
        .assets = "[\"a_0000000000000000000000000000000000000000000000000000000000000001\"]",
        .device_ns = 1500000000,
        .device_source = 1,
    };
    (void)rd_jobs_done(jobs, &run->slot, &result, NULL);
    rd_jobs_slot_free(jobs, run->slot.backend);
}

/* ---- looking ---- */

static inline bool says(const char *id, const char *text)
{
    char output[RD_ID_ASSET_LEN + 1];
    bool stored;
    RD_AUTO_BUF struct rd_buf json;
    rd_buf_init(&json, RD_KIB(64));
    return rd_jobs_get(jobs, 0, id, "", &json, output, &stored) == RD_OK &&
           strstr(rd_buf_cstr(&json), text) != NULL;
}

static inline void await_says(const char *id, const char *text)
{
    for (unsigned ms = 0; !says(id, text); ms++) {
        assert_true(ms < WAIT_MS);
        (void)usleep(1000);
    }
}

static inline struct kept stored(const char *id)
{
    struct kept kept;
    assert_int_equal(job_get(store, 0, id, &kept), RD_OK);
    return kept;
}

#endif
