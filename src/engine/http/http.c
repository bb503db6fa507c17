/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP engine: forwards a generation to a server over HTTP/1.1 and streams the picture back.
 * What goes over the wire is in docs/http-engine.md; the threads are in driver.c, a run in run.c.
 *
 * start() makes the request's body in the caller's thread (those are many) and pushes the run to
 * the driver with the fewest; it takes the pool's lock for a few instructions and blocks on nothing
 * else. cancel() sets a flag and wakes the driver, so it needs no lock and cannot meet a run that
 * is gone: the caller promises not to call it after done() returned, and the run's memory stays
 * until close().
 *
 * Readiness is passive: after a failed connect (or name, or TLS) the engine says "not ready" for a
 * second, until some request gets an answer. No probe is ever sent. */
#include "engine/engine.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/http/internal.h"

static void global_init(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- opening ---- */

static rd_err check_url(const struct rd_engine_config *config, struct rd_why *why)
{
    if (config->url == NULL) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: an http engine needs a url",
                          config->name);
    }
    CURLU *parsed = curl_url();
    if (parsed == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    char *scheme = NULL;
    CURLUcode code = curl_url_set(parsed, CURLUPART_URL, config->url, 0);
    if (code == CURLUE_OK) {
        code = curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0);
    }
    bool known = code == CURLUE_OK && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    curl_free(scheme);
    curl_url_cleanup(parsed);
    if (code == CURLUE_OUT_OF_MEMORY) {
        return RD_ERR_NO_MEMORY;
    }
    return known ? RD_OK
                 : rd_why_set(why, RD_ERR_CONFIG, "backend %s: '%s' is not an http or https URL",
                              config->name, config->url);
}

static rd_err check_config(const struct rd_engine_config *config, struct rd_why *why)
{
    RD_TRY(check_url(config, why));
    if (config->slots < 1 || config->slots > RD_HTTP_SLOTS_MAX) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: slots must be 1 to %d, not %u",
                          config->name, RD_HTTP_SLOTS_MAX, config->slots);
    }
    if (config->timeout_ms > RD_HTTP_TIMEOUT_MS_MAX) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: the timeout must be at most %d s",
                          config->name, RD_HTTP_TIMEOUT_MS_MAX / 1000);
    }
    return RD_OK;
}

static void http_close(struct rd_engine *engine)
{
    for (unsigned i = 0; i < engine->drivers_count; i++) {
        rd_http_driver_close(&engine->drivers[i]);
    }
    while (engine->pool != NULL) {
        struct rd_engine_run *run = engine->pool;
        engine->pool = run->next;
        rd_http_run_free(run);
    }
    (void)pthread_mutex_destroy(&engine->pool_lock);
    rd_mem_free(engine->url);
    rd_mem_free(engine);
}

static rd_err http_open(const struct rd_engine_config *config, struct rd_engine **ret,
                        struct rd_why *why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, global_init);
    RD_TRY(check_config(config, why));
    struct rd_engine *engine = rd_mem_alloc(sizeof *engine);
    if (engine == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    if (pthread_mutex_init(&engine->pool_lock, NULL) != 0) {
        rd_mem_free(engine);
        return RD_ERR_NO_MEMORY;
    }
    engine->slots = config->slots;
    engine->timeout_ms = config->timeout_ms != 0 ? config->timeout_ms : RD_HTTP_TIMEOUT_MS;
    engine->url = rd_mem_strdup(config->url);
    unsigned wanted = (config->slots + RD_HTTP_SLOTS_PER_DRIVER - 1) / RD_HTTP_SLOTS_PER_DRIVER;
    wanted = wanted > RD_HTTP_DRIVERS_MAX ? RD_HTTP_DRIVERS_MAX : wanted;
    rd_err err = engine->url != NULL ? RD_OK : RD_ERR_NO_MEMORY;
    while (err == RD_OK && engine->drivers_count < wanted) {
        err = rd_http_driver_open(&engine->drivers[engine->drivers_count++], engine, why);
    }
    if (err != RD_OK) {
        http_close(engine);
        return err;
    }
    *ret = engine;
    return RD_OK;
}

/* ---- runs ---- */

static void pool_put(struct rd_engine *engine, struct rd_engine_run *run)
{
    (void)pthread_mutex_lock(&engine->pool_lock);
    run->next = engine->pool;
    engine->pool = run;
    (void)pthread_mutex_unlock(&engine->pool_lock);
}

static rd_err pool_get(struct rd_engine *engine, struct rd_engine_run **ret)
{
    (void)pthread_mutex_lock(&engine->pool_lock);
    struct rd_engine_run *run = engine->pool;
    if (run != NULL) {
        engine->pool = run->next;
    }
    (void)pthread_mutex_unlock(&engine->pool_lock);
    if (run == NULL) {
        return rd_http_run_new(engine, ret);
    }
    *ret = run;
    return RD_OK;
}

static struct rd_http_driver *least_loaded(struct rd_engine *engine)
{
    unsigned turn = engine->drivers_count > 1 ? atomic_fetch_add(&engine->turn, 1) : 0;
    struct rd_http_driver *best = NULL;
    for (unsigned i = 0; i < engine->drivers_count; i++) {
        struct rd_http_driver *at = &engine->drivers[(turn + i) % engine->drivers_count];
        if (best == NULL || atomic_load(&at->load) < atomic_load(&best->load)) {
            best = at;
        }
    }
    return best;
}

static rd_err http_start(struct rd_engine *engine, const struct rd_engine_job *job,
                         struct rd_engine_run **ret_run)
{
    if (atomic_fetch_add(&engine->active, 1) >= engine->slots) {
        atomic_fetch_sub(&engine->active, 1);
        return RD_ERR_CAPACITY;
    }
    struct rd_engine_run *run = NULL;
    rd_err err = pool_get(engine, &run);
    if (err == RD_OK) {
        err = rd_http_run_prepare(run, job);
    }
    if (err != RD_OK) {
        if (run != NULL) {
            pool_put(engine, run);
        }
        atomic_fetch_sub(&engine->active, 1);
        return err;
    }
    run->driver = least_loaded(engine);
    atomic_fetch_add(&run->driver->load, 1);
    *ret_run = run; /* before the push: done() may come before start() returns */
    rd_http_driver_push(run->driver, run);
    return RD_OK;
}

void rd_http_engine_release(struct rd_engine *engine, struct rd_engine_run *run)
{
    atomic_fetch_sub(&engine->active, 1);
    rd_http_run_report(run);
    pool_put(engine, run);
}

static void http_cancel(struct rd_engine *engine, struct rd_engine_run *run)
{
    (void)engine;
    atomic_store(&run->cancelled, true);
    rd_http_driver_wake(run->driver);
}

static void http_capabilities(struct rd_engine *engine, const char *model,
                              struct rd_engine_capabilities *ret)
{
    (void)engine;
    (void)model;
    *ret = (struct rd_engine_capabilities){.tasks = (1u << RD_TASK_COUNT_) - 1,
                                           .media = (1u << RD_MEDIA_COUNT_) - 1};
}

static void http_health(struct rd_engine *engine, struct rd_engine_health *ret)
{
    uint64_t not_before = atomic_load(&engine->not_before_ns);
    *ret = (struct rd_engine_health){.ready = not_before == 0 || rd_clock_mono_ns() >= not_before};
    if (!ret->ready) {
        (void)snprintf(ret->why, sizeof ret->why, "no connection to %s", engine->url);
    }
}

const struct rd_engine_ops rd_engine_http_ops = {
    .type = "http",
    .open = http_open,
    .start = http_start,
    .cancel = http_cancel,
    .capabilities = http_capabilities,
    .health = http_health,
    .close = http_close,
};
