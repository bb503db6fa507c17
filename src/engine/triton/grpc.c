/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine for Triton, and other servers of the Open Inference Protocol, over gRPC: the table of
 * functions, the pool of runs, health. The threads are in grpc_driver.c, a run in grpc_run.c.
 *
 * start() makes the tensors and the request in the caller's thread when that takes microseconds,
 * and pushes the run to the driver; it takes the pool's lock for a few instructions and blocks on
 * nothing. cancel() sets a flag and wakes the driver: the caller promises not to call it after
 * done() returned, and a run's memory stays until close(). */
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "engine/triton/grpc_internal.h"

/* ---- opening ---- */

static rd_err check_config(const struct rd_engine_config *config, struct rd_why *why)
{
    if (config->url == NULL) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: a triton engine needs a url",
                          config->name);
    }
    if (config->slots < 1 || config->slots > RD_GRPC_SLOTS_MAX) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: slots must be 1 to %d, not %u",
                          config->name, RD_GRPC_SLOTS_MAX, config->slots);
    }
    if (config->timeout_ms > RD_GRPC_TIMEOUT_MS_MAX) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: the timeout must be at most %d s",
                          config->name, RD_GRPC_TIMEOUT_MS_MAX / 1000);
    }
    if (config->models_count < 1 || config->models_count > RD_GRPC_MODELS_MAX) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: models must be 1 to %d, not %zu",
                          config->name, RD_GRPC_MODELS_MAX, config->models_count);
    }
    return RD_OK;
}

static rd_err find_models(struct rd_engine *engine, struct rd_why *why)
{
    const struct rd_engine_config *config = engine->config;
    for (size_t i = 0; i < config->models_count; i++) {
        const struct rd_mapping *mapping = rd_mapping_for(config, config->models[i]);
        if (mapping == NULL) {
            return rd_why_set(why, RD_ERR_CONFIG, "backend %s: no mapping is for the model %s",
                              config->name, config->models[i]);
        }
        engine->models[i] =
            (struct rd_grpc_model){.name = config->models[i],
                                   .server = rd_mapping_server_model(mapping, config->models[i]),
                                   .mapping = mapping};
    }
    engine->models_count = config->models_count;
    return RD_OK;
}

static rd_err read_key(struct rd_engine *engine, struct rd_why *why)
{
    const struct rd_engine_config *config = engine->config;
    if (config->key_file == NULL) {
        return RD_OK;
    }
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, RD_GRPC_KEY_MAX);
    rd_err err = rd_fs_read(config->key_file, &text, why);
    if (err != RD_OK) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: cannot read the key in %s: %s",
                          config->name, config->key_file, rd_err_info(err)->message);
    }
    size_t len = strcspn(rd_buf_cstr(&text), "\r\n");
    bool valid = len > 0;
    for (size_t i = 0; valid && i < len; i++) {
        valid = text.data[i] > 0x20 && text.data[i] < 0x7f;
    }
    if (valid) {
        static const char bearer[] = "Bearer ";
        engine->authorization = rd_mem_alloc(sizeof bearer + len);
        if (engine->authorization != NULL) {
            memcpy(engine->authorization, bearer, sizeof bearer - 1);
            memcpy(engine->authorization + sizeof bearer - 1, text.data, len);
        }
    }
    if (text.data != NULL) {
        rd_mem_wipe(text.data, text.len);
    }
    if (!valid) {
        return rd_why_set(why, RD_ERR_CONFIG,
                          "backend %s: the first line of %s is no key: printable ASCII without "
                          "spaces was expected",
                          config->name, config->key_file);
    }
    return engine->authorization != NULL ? RD_OK : RD_ERR_NO_MEMORY;
}

static rd_err open_parts(struct rd_engine *engine, struct rd_why *why)
{
    const struct rd_engine_config *config = engine->config;
    struct rd_why part = {""};
    if (rd_grpc_target_parse(config->url, &engine->target, &part) != RD_OK) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: %s", config->name, part.text);
    }
    RD_TRY(find_models(engine, why));
    RD_TRY(read_key(engine, why));
    if (engine->target.tls) {
        RD_TRY(rd_grpc_tls_context(config, &engine->tls, why));
    }
    return rd_grpc_driver_open(&engine->driver, why);
}

static void grpc_close(struct rd_engine *engine)
{
    rd_grpc_driver_close(&engine->driver);
    while (engine->pool != NULL) {
        struct rd_engine_run *run = engine->pool;
        engine->pool = run->next;
        rd_grpc_run_free(run);
    }
    if (engine->authorization != NULL) {
        rd_mem_wipe(engine->authorization, strlen(engine->authorization));
        rd_mem_free(engine->authorization);
    }
    SSL_CTX_free(engine->tls);
    (void)pthread_mutex_destroy(&engine->health_lock);
    (void)pthread_mutex_destroy(&engine->pool_lock);
    rd_mem_free(engine);
}

static rd_err grpc_open(const struct rd_engine_config *config, struct rd_engine **ret,
                        struct rd_why *why)
{
    RD_TRY(check_config(config, why));
    struct rd_engine *engine = rd_mem_alloc(sizeof *engine);
    if (engine == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    if (pthread_mutex_init(&engine->pool_lock, NULL) != 0 ||
        pthread_mutex_init(&engine->health_lock, NULL) != 0) {
        rd_mem_free(engine);
        return RD_ERR_NO_MEMORY;
    }
    engine->config = config;
    engine->slots = config->slots;
    engine->timeout_ms = config->timeout_ms != 0 ? config->timeout_ms : RD_GRPC_TIMEOUT_MS;
    rd_grpc_driver_init(&engine->driver, engine);
    rd_grpc_engine_health(engine, "the server has not answered yet");
    rd_err err = open_parts(engine, why);
    if (err != RD_OK) {
        grpc_close(engine);
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
        return rd_grpc_run_new(engine, ret);
    }
    *ret = run;
    return RD_OK;
}

static const struct rd_grpc_model *find_model(const struct rd_engine *engine,
                                              const struct rd_generation *generation)
{
    size_t family = strlen(generation->family);
    for (size_t i = 0; i < engine->models_count; i++) {
        const char *name = engine->models[i].name;
        if (strncmp(name, generation->family, family) == 0 && name[family] == '/' &&
            strcmp(name + family + 1, generation->model) == 0) {
            return &engine->models[i];
        }
    }
    return NULL;
}

static rd_err grpc_start(struct rd_engine *engine, const struct rd_engine_job *job,
                         struct rd_engine_run **ret_run)
{
    const struct rd_grpc_model *model = find_model(engine, job->generation);
    if (model == NULL) {
        return RD_ERR_MODEL_UNAVAILABLE;
    }
    if (atomic_fetch_add(&engine->active, 1) >= engine->slots) {
        atomic_fetch_sub(&engine->active, 1);
        return RD_ERR_CAPACITY;
    }
    struct rd_engine_run *run = NULL;
    rd_err err = pool_get(engine, &run);
    if (err != RD_OK) {
        atomic_fetch_sub(&engine->active, 1);
        return err;
    }
    run->model = model;
    rd_grpc_run_prepare(run, job);
    *ret_run = run; /* before the push: done() may come before start() returns */
    rd_grpc_driver_push(&engine->driver, run);
    return RD_OK;
}

void rd_grpc_engine_release(struct rd_engine *engine, struct rd_engine_run *run)
{
    atomic_fetch_sub(&engine->active, 1);
    rd_grpc_run_report(run);
    pool_put(engine, run);
}

static void grpc_cancel(struct rd_engine *engine, struct rd_engine_run *run)
{
    atomic_store(&run->cancelled, true);
    rd_grpc_driver_wake(&engine->driver);
}

/* ---- what it can do, how it is ---- */

static void grpc_capabilities(struct rd_engine *engine, const char *model,
                              struct rd_engine_capabilities *ret)
{
    *ret = (struct rd_engine_capabilities){.tasks = 0};
    for (size_t i = 0; i < engine->models_count; i++) {
        if (strcmp(engine->models[i].name, model) == 0) {
            const struct rd_mapping *mapping = engine->models[i].mapping;
            ret->tasks = rd_mapping_tasks(mapping);
            ret->media = rd_mapping_media(mapping);
            ret->progress = mapping->decoupled && rd_mapping_has(mapping, RD_OUTPUT_PROGRESS);
            ret->previews = mapping->decoupled && rd_mapping_has(mapping, RD_OUTPUT_PREVIEW);
            return;
        }
    }
}

void rd_grpc_engine_health(struct rd_engine *engine, const char *why)
{
    struct rd_engine_health health = {.ready = why == NULL};
    (void)snprintf(health.why, sizeof health.why, "%s", why != NULL ? why : "");
    (void)pthread_mutex_lock(&engine->health_lock);
    engine->health = health;
    (void)pthread_mutex_unlock(&engine->health_lock);
}

static void grpc_health(struct rd_engine *engine, struct rd_engine_health *ret)
{
    (void)pthread_mutex_lock(&engine->health_lock);
    *ret = engine->health;
    (void)pthread_mutex_unlock(&engine->health_lock);
}

const struct rd_engine_ops rd_engine_triton_grpc_ops = {
    .type = "triton",
    .open = grpc_open,
    .start = grpc_start,
    .cancel = grpc_cancel,
    .capabilities = grpc_capabilities,
    .health = grpc_health,
    .close = grpc_close,
};
