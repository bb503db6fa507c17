/* SPDX-License-Identifier: Apache-2.0
 *
 * The process engine: a command for each output, for models that have only a script. What is said
 * between the two: docs/process-engine.md. Threads: driver.c; a run: run.c; the child: child.c.
 *
 * start() takes a run from the pool, puts it into the inbox and wakes the engine's thread, which
 * does all the rest. cancel() sets a flag and wakes it; runs stay in memory until close(), so it
 * can never meet one that is gone.
 *
 * health() looks at the command by itself, at most twice a second, in the thread that asks: one
 * access(2) of a file that is in the kernel's memory. A second thread would only do the same. */
#include "engine/engine.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "engine/process/folder.h"
#include "engine/process/internal.h"

enum { NS_PER_MS = 1000000 };

/* ---- opening ---- */

static rd_err check_config(const struct rd_engine_config *config, struct rd_why *why)
{
    if (config->command_count < 1 || config->command_count > RD_PROCESS_COMMAND_MAX ||
        config->command == NULL || config->command[0][0] != '/') {
        return rd_why_set(why, RD_ERR_CONFIG,
                          "backend %s: command must be 1 to %d words, the first one the absolute "
                          "path of a program",
                          config->name, RD_PROCESS_COMMAND_MAX);
    }
    if (config->slots < 1 || config->slots > RD_PROCESS_SLOTS_MAX) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: slots must be 1 to %d, not %u",
                          config->name, RD_PROCESS_SLOTS_MAX, config->slots);
    }
    if (config->timeout_ms > RD_PROCESS_TIMEOUT_MS_MAX) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: the timeout must be at most %d s",
                          config->name, RD_PROCESS_TIMEOUT_MS_MAX / 1000);
    }
    return RD_OK;
}

static void process_close(struct rd_engine *engine)
{
    rd_process_driver_close(engine);
    while (engine->pool != NULL) {
        struct rd_engine_run *run = engine->pool;
        engine->pool = run->next;
        rd_mem_free(run);
    }
    if (engine->folder[0] != '\0') {
        rd_process_folder_close(engine->folder, engine->folder_lock);
    }
    rd_process_environment_done(&engine->environment);
    (void)pthread_mutex_destroy(&engine->lock);
    rd_mem_free(engine->buffer);
    rd_mem_free(engine);
}

static void look(struct rd_engine *engine)
{
    const char *path = engine->config->command[0];
    struct stat status;
    int failed = 0;
    if (stat(path, &status) != 0 || access(path, X_OK) != 0) {
        failed = errno;
    } else if (!S_ISREG(status.st_mode)) {
        failed = EACCES;
    }
    atomic_store(&engine->look_errno, failed);
}

static rd_err open_parts(struct rd_engine *engine, struct rd_why *why)
{
    engine->buffer = rd_mem_alloc(RD_ENGINE_HELD_MAX);
    if (engine->buffer == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    RD_TRY(rd_process_environment_take(&engine->environment));
    RD_TRY(rd_process_folder_open(engine->folder, &engine->folder_lock, why));
    look(engine);
    atomic_store(&engine->looked_ns, rd_clock_mono_ns());
    return rd_process_driver_open(engine, why);
}

static rd_err process_open(const struct rd_engine_config *config, struct rd_engine **ret,
                           struct rd_why *why)
{
    RD_TRY(check_config(config, why));
    struct rd_engine *engine = rd_mem_alloc(sizeof *engine);
    if (engine == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    engine->config = config;
    engine->timeout_ns =
        (uint64_t)(config->timeout_ms != 0 ? config->timeout_ms : RD_PROCESS_TIMEOUT_MS) *
        NS_PER_MS;
    engine->output_max = config->output_max != 0 && config->output_max < RD_LIMIT_OBJECT_BYTES
                             ? config->output_max
                             : RD_LIMIT_OBJECT_BYTES;
    engine->epoll_fd = engine->wake_fd = engine->folder_lock = -1;
    if (pthread_mutex_init(&engine->lock, NULL) != 0) {
        rd_mem_free(engine);
        return RD_ERR_NO_MEMORY;
    }
    rd_err err = open_parts(engine, why);
    if (err != RD_OK) {
        process_close(engine);
        return err;
    }
    *ret = engine;
    return RD_OK;
}

/* ---- runs ---- */

static struct rd_engine_run *pool_get(struct rd_engine *engine)
{
    (void)pthread_mutex_lock(&engine->lock);
    struct rd_engine_run *run = engine->pool;
    if (run != NULL) {
        engine->pool = run->next;
    }
    (void)pthread_mutex_unlock(&engine->lock);
    return run != NULL ? run : rd_mem_alloc(sizeof *run);
}

static void prepare(struct rd_engine *engine, struct rd_engine_run *run,
                    const struct rd_engine_job *job)
{
    memset(run, 0, sizeof *run);
    run->engine = engine;
    run->job = *job;
    run->all_told = true;
    run->file.fd = -1;
    for (size_t i = 0; i < sizeof run->watches / sizeof run->watches[0]; i++) {
        run->watches[i].fd = -1;
    }
    run->deadline_ns = rd_clock_mono_ns() + engine->timeout_ns;
    if (job->deadline_mono_ns != 0 && job->deadline_mono_ns < run->deadline_ns) {
        run->deadline_ns = job->deadline_mono_ns;
    }
}

static rd_err process_start(struct rd_engine *engine, const struct rd_engine_job *job,
                            struct rd_engine_run **ret_run)
{
    if (atomic_fetch_add(&engine->active, 1) >= engine->config->slots) {
        atomic_fetch_sub(&engine->active, 1);
        return RD_ERR_CAPACITY;
    }
    struct rd_engine_run *run = pool_get(engine);
    if (run == NULL) {
        atomic_fetch_sub(&engine->active, 1);
        return RD_ERR_NO_MEMORY;
    }
    prepare(engine, run, job);
    *ret_run = run; /* before the inbox: done() may come before start() returns */
    (void)pthread_mutex_lock(&engine->lock);
    run->next = engine->inbox;
    engine->inbox = run;
    (void)pthread_mutex_unlock(&engine->lock);
    rd_process_driver_wake(engine);
    return RD_OK;
}

void rd_process_release(struct rd_engine *engine, struct rd_engine_run *run)
{
    atomic_fetch_sub(&engine->active, 1);
    rd_process_run_report(run);
    (void)pthread_mutex_lock(&engine->lock);
    run->next = engine->pool;
    engine->pool = run;
    (void)pthread_mutex_unlock(&engine->lock);
}

static void process_cancel(struct rd_engine *engine, struct rd_engine_run *run)
{
    atomic_store(&run->cancelled, true);
    rd_process_driver_wake(engine);
}

static void process_capabilities(struct rd_engine *engine, const char *model,
                                 struct rd_engine_capabilities *ret)
{
    (void)engine;
    (void)model;
    *ret = (struct rd_engine_capabilities){.tasks = (1u << RD_TASK_COUNT_) - 1,
                                           .media = (1u << RD_MEDIA_COUNT_) - 1,
                                           .progress = true,
                                           .previews = true};
}

static void process_health(struct rd_engine *engine, struct rd_engine_health *ret)
{
    uint64_t now = rd_clock_mono_ns();
    uint64_t looked = atomic_load(&engine->looked_ns);
    if (now - looked >= (uint64_t)RD_PROCESS_HEALTH_MS * NS_PER_MS &&
        atomic_compare_exchange_strong(&engine->looked_ns, &looked, now)) {
        look(engine);
    }
    int failed = atomic_load(&engine->look_errno);
    *ret = (struct rd_engine_health){.ready = failed == 0};
    if (failed != 0) {
        struct rd_why why;
        (void)rd_why_errno(&why, failed, "execute", engine->config->command[0]);
        why.text[sizeof ret->why - 1] = '\0';
        memcpy(ret->why, why.text, sizeof ret->why);
    }
}

const struct rd_engine_ops rd_engine_process_ops = {
    .type = "process",
    .open = process_open,
    .start = process_start,
    .cancel = process_cancel,
    .capabilities = process_capabilities,
    .health = process_health,
    .close = process_close,
};
