/* SPDX-License-Identifier: Apache-2.0
 *
 * The built-in engine as an rd_engine_ops: worker threads and a queue. One thread a slot (at most
 * THREADS_MAX; more slots than that wait their turn), made at open, so that start() only takes a
 * lock, appends and signals, and never blocks on work.
 *
 * Locking: `lock` guards the queue, the list of runs and `closing`. A run belongs to the engine
 * from start() until its done() has returned; then the worker frees it. So cancel(), which the
 * contract allows only before that, may write to the run's one atomic flag without the lock, and
 * close(), which walks the list, holds the lock. The sink is never called under the lock.
 *
 * A slot is free as soon as the work is over, just before done(): so a caller may start the next
 * run from inside done(), and it is taken up when done() returns. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/builtin/builtin.h"

enum { THREADS_MAX = 64, SLOTS_MAX = 4096 };

struct rd_engine_run {
    struct rd_engine_job job;
    atomic_bool cancelled;
    uint64_t deadline_mono_ns; /* 0: none */
    struct rd_engine_run *next_queued;
    struct rd_engine_run *prev, *next; /* all runs that have not had their done() */
};

struct rd_engine {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct rd_engine_run *queue_first, *queue_last;
    struct rd_engine_run *runs;
    unsigned active, slots; /* runs that hold a slot; how many may */
    bool closing;
    uint64_t timeout_ns; /* of a whole run; 0: none */
    unsigned threads_count;
    pthread_t threads[THREADS_MAX];
};

static rd_err check_run(void *ctx)
{
    struct rd_engine_run *run = ctx;
    if (atomic_load_explicit(&run->cancelled, memory_order_relaxed)) {
        return RD_ERR_CANCELLED;
    }
    if (run->deadline_mono_ns != 0 && rd_clock_mono_ns() >= run->deadline_mono_ns) {
        return RD_ERR_BACKEND_TIMEOUT;
    }
    return RD_OK;
}

/* Under the lock. */
static void unlink_run(struct rd_engine *engine, struct rd_engine_run *run)
{
    if (run->prev) {
        run->prev->next = run->next;
    } else {
        engine->runs = run->next;
    }
    if (run->next) {
        run->next->prev = run->prev;
    }
}

static void work_on(struct rd_engine *engine, struct rd_engine_run *run)
{
    uint64_t from = rd_clock_thread_cpu_ns();
    struct rd_why why = {""};
    struct rd_pulse pulse = {check_run, run};
    rd_err err = rd_builtin_run(&run->job, &pulse, &why);
    struct rd_engine_report report = {
        .device_ns = rd_clock_thread_cpu_ns() - from,
        .source = RD_DEVICE_TIME_CPU,
        .device = "cpu",
    };
    pthread_mutex_lock(&engine->lock);
    engine->active--;
    pthread_mutex_unlock(&engine->lock);
    report.final = err == RD_ERR_BACKEND_FAILED; /* nothing here depends on the moment */
    run->job.sink.done(run->job.sink.ctx, err, why.text[0] != '\0' ? &why : NULL, &report);
    pthread_mutex_lock(&engine->lock);
    unlink_run(engine, run);
    pthread_mutex_unlock(&engine->lock);
    rd_mem_free(run);
}

static void *worker(void *arg)
{
    struct rd_engine *engine = arg;
    for (;;) {
        pthread_mutex_lock(&engine->lock);
        while (!engine->queue_first && !engine->closing) {
            pthread_cond_wait(&engine->wake, &engine->lock);
        }
        struct rd_engine_run *run = engine->queue_first;
        if (run) {
            engine->queue_first = run->next_queued;
            engine->queue_last = engine->queue_first ? engine->queue_last : NULL;
        }
        pthread_mutex_unlock(&engine->lock);
        if (!run) {
            return NULL; /* closing, and nothing is left */
        }
        work_on(engine, run);
    }
}

static void builtin_close(struct rd_engine *engine)
{
    if (!engine) {
        return;
    }
    pthread_mutex_lock(&engine->lock);
    engine->closing = true;
    for (struct rd_engine_run *run = engine->runs; run; run = run->next) {
        atomic_store_explicit(&run->cancelled, true, memory_order_relaxed);
    }
    pthread_cond_broadcast(&engine->wake);
    pthread_mutex_unlock(&engine->lock);
    for (unsigned i = 0; i < engine->threads_count; i++) {
        pthread_join(engine->threads[i], NULL);
    }
    pthread_cond_destroy(&engine->wake);
    pthread_mutex_destroy(&engine->lock);
    rd_mem_free(engine);
}

static rd_err builtin_open(const struct rd_engine_config *config, struct rd_engine **ret,
                           struct rd_why *why)
{
    if (config->slots < 1 || config->slots > SLOTS_MAX) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: slots must be 1 to %d, got %u",
                          config->name, SLOTS_MAX, config->slots);
    }
    struct rd_engine *engine = rd_mem_alloc(sizeof *engine);
    if (!engine) {
        return RD_ERR_NO_MEMORY;
    }
    engine->slots = config->slots;
    engine->timeout_ns = (uint64_t)config->timeout_ms * 1000000;
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->wake, NULL);
    unsigned threads = config->slots < THREADS_MAX ? config->slots : THREADS_MAX;
    for (; engine->threads_count < threads; engine->threads_count++) {
        int failed = pthread_create(&engine->threads[engine->threads_count], NULL, worker, engine);
        if (failed != 0) {
            rd_err err = rd_why_errno(why, failed, "start", "a worker thread");
            builtin_close(engine);
            return err;
        }
    }
    *ret = engine;
    return RD_OK;
}

static rd_err builtin_start(struct rd_engine *engine, const struct rd_engine_job *job,
                            struct rd_engine_run **ret_run)
{
    struct rd_engine_run *run = rd_mem_alloc(sizeof *run);
    if (!run) {
        return RD_ERR_NO_MEMORY;
    }
    run->job = *job;
    atomic_init(&run->cancelled, false);
    run->deadline_mono_ns = job->deadline_mono_ns;
    if (engine->timeout_ns > 0) {
        uint64_t own = rd_clock_mono_ns() + engine->timeout_ns;
        run->deadline_mono_ns =
            run->deadline_mono_ns == 0 || own < run->deadline_mono_ns ? own : run->deadline_mono_ns;
    }
    pthread_mutex_lock(&engine->lock);
    if (engine->closing || engine->active >= engine->slots) {
        pthread_mutex_unlock(&engine->lock);
        rd_mem_free(run);
        return RD_ERR_CAPACITY;
    }
    engine->active++;
    run->next = engine->runs;
    if (run->next) {
        run->next->prev = run;
    }
    engine->runs = run;
    if (engine->queue_last) {
        engine->queue_last->next_queued = run;
    } else {
        engine->queue_first = run;
    }
    engine->queue_last = run;
    *ret_run = run; /* before a worker can call done() and the owner look for it */
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->lock);
    return RD_OK;
}

static void builtin_cancel(struct rd_engine *engine, struct rd_engine_run *run)
{
    (void)engine;
    atomic_store_explicit(&run->cancelled, true, memory_order_relaxed);
}

static void builtin_capabilities(struct rd_engine *engine, const char *model,
                                 struct rd_engine_capabilities *ret)
{
    (void)engine;
    (void)model;
    *ret = (struct rd_engine_capabilities){.tasks = (1u << RD_TASK_COUNT_) - 1,
                                           .media = (1u << RD_MEDIA_COUNT_) - 1,
                                           .progress = true,
                                           .previews = true,
                                           .trusted = true};
}

static void builtin_health(struct rd_engine *engine, struct rd_engine_health *ret)
{
    pthread_mutex_lock(&engine->lock);
    *ret = (struct rd_engine_health){.ready = !engine->closing};
    pthread_mutex_unlock(&engine->lock);
}

const struct rd_engine_ops rd_engine_builtin_ops = {
    .type = "builtin",
    .open = builtin_open,
    .start = builtin_start,
    .cancel = builtin_cancel,
    .capabilities = builtin_capabilities,
    .health = builtin_health,
    .close = builtin_close,
};
