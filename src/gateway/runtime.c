/* SPDX-License-Identifier: Apache-2.0
 *
 * The reloadable part of the gateway. See runtime.h. */
#include "gateway/runtime.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/jobs.h"

static pthread_mutex_t dead_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rd_runtime *dead_list;

/* A file that an engine has read: when it is another one, the engine is opened anew. */
struct stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
};

struct rd_running {
    _Atomic unsigned references;
    struct rd_config *config; /* one reference */
    const struct rd_config_engine *settings;
    const struct rd_engine_ops *ops;
    struct rd_engine *engine; /* owned */
    struct stamp ca_file, key_file;
    bool is_new;           /* opened by the last load */
    bool told, told_ready; /* rd_runtime_log_health's */
};

/* ---- engines that are open ---- */

static struct stamp stamp_of(const char *path)
{
    struct stat file;
    if (path == NULL || stat(path, &file) != 0) {
        return (struct stamp){.size = -1};
    }
    return (struct stamp){file.st_dev, file.st_ino, file.st_size, file.st_mtim};
}

static bool same_file(const struct stamp *was, const char *path)
{
    const struct stamp is = stamp_of(path);
    return was->device == is.device && was->inode == is.inode && was->size == is.size &&
           was->changed.tv_sec == is.changed.tv_sec && was->changed.tv_nsec == is.changed.tv_nsec;
}

static void running_unref(struct rd_running *running)
{
    if (running == NULL || atomic_fetch_sub(&running->references, 1) != 1) {
        return;
    }
    if (running->engine != NULL) {
        running->ops->close(running->engine);
    }
    rd_config_unref(running->config);
    rd_mem_free(running);
}

static rd_err running_open(struct rd_config *config, const struct rd_config_engine *settings,
                           struct rd_running **ret, struct rd_why *why)
{
    const struct rd_engine_config *engine = &settings->engine;
    struct rd_running *running = rd_mem_alloc(sizeof *running);
    if (running == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    atomic_init(&running->references, 1);
    running->config = rd_config_ref(config);
    running->settings = settings;
    running->ca_file = stamp_of(engine->ca_file);
    running->key_file = stamp_of(engine->key_file);
    running->is_new = true;
    running->ops = rd_engine_find(engine->type, engine->url);
    rd_err err = running->ops == NULL ? rd_why_set(why, RD_ERR_CONFIG,
                                                   "engine %s: no engine type "
                                                   "'%s'",
                                                   engine->name, engine->type)
                                      : running->ops->open(engine, &running->engine, why);
    if (err != RD_OK) {
        running_unref(running);
        return err;
    }
    *ret = running;
    return RD_OK;
}

/* The engine that runs in `old` just as it is wanted; NULL: there is none. */
static struct rd_running *running_keep(const struct rd_runtime *old,
                                       const struct rd_config_engine *wanted)
{
    for (size_t i = 0; old != NULL && i < old->backends_count; i++) {
        struct rd_running *running = old->backends[i].running;
        if (rd_config_engine_same(running->settings, wanted) &&
            same_file(&running->ca_file, wanted->engine.ca_file) &&
            same_file(&running->key_file, wanted->engine.key_file)) {
            atomic_fetch_add(&running->references, 1);
            running->is_new = false;
            return running;
        }
    }
    return NULL;
}

/* ---- runtimes ---- */

static void runtime_free(struct rd_runtime *runtime)
{
    for (size_t i = 0; i < runtime->backends_count; i++) {
        running_unref(runtime->backends[i].running);
    }
    rd_mem_free(runtime->backends);
    rd_catalogue_unref(runtime->catalogue);
    rd_config_unref(runtime->config);
    rd_mem_free(runtime);
}

void rd_runtime_unref(struct rd_runtime *runtime)
{
    if (runtime == NULL || atomic_fetch_sub(&runtime->references, 1) != 1) {
        return;
    }
    pthread_mutex_lock(&dead_lock);
    runtime->next_dead = dead_list;
    dead_list = runtime;
    pthread_mutex_unlock(&dead_lock);
}

void rd_runtime_collect(void)
{
    pthread_mutex_lock(&dead_lock);
    struct rd_runtime *list = dead_list;
    dead_list = NULL;
    pthread_mutex_unlock(&dead_lock);
    while (list != NULL) {
        struct rd_runtime *next = list->next_dead;
        runtime_free(list);
        list = next;
    }
}

static rd_err load_catalogue(struct rd_runtime *runtime, struct rd_why *why)
{
    const char *path = runtime->config->catalogue;
    if (path == NULL) {
        return rd_catalogue_load_default(&runtime->catalogue, why);
    }
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, RD_CONFIG_FILE_MAX);
    RD_TRY(rd_fs_read(path, &text, why));
    return rd_catalogue_load(rd_buf_cstr(&text), text.len, path, &runtime->catalogue, why);
}

/* Each model that an engine names must stand in the catalogue, with the engine's kind of backend.
 */
static rd_err check_models(const struct rd_runtime *runtime, struct rd_why *why)
{
    for (size_t i = 0; i < runtime->config->engines_count; i++) {
        const struct rd_config_engine *engine = &runtime->config->engines[i];
        for (size_t k = 0; k < engine->models_count; k++) {
            char family[128];
            const char *slash = strchr(engine->models[k], '/');
            size_t len = slash == NULL ? 0 : (size_t)(slash - engine->models[k]);
            if (slash == NULL || len >= sizeof family) {
                return rd_why_set(why, RD_ERR_CONFIG, "engine %s: model '%s' is not family/model",
                                  engine->engine.name, engine->models[k]);
            }
            memcpy(family, engine->models[k], len);
            family[len] = '\0';
            const struct rd_model *model = rd_catalogue_find(runtime->catalogue, family, slash + 1);
            if (model == NULL) {
                return rd_why_set(why, RD_ERR_CONFIG,
                                  "engine %s: model '%s' is not in the catalogue; add it there or "
                                  "correct its name",
                                  engine->engine.name, engine->models[k]);
            }
            /* Else /models would promise one kind and another would answer. */
            if ((model->backends & 1u << engine->backend) == 0) {
                return rd_why_set(
                    why, RD_ERR_CONFIG,
                    "engine %s: it serves as backend '%s', which the catalogue does not "
                    "list for '%s'; set the engine's 'backend', or add it there",
                    engine->engine.name, rd_backend_kind_name(engine->backend), engine->models[k]);
            }
        }
    }
    return RD_OK;
}

/* Found out now, by the operator, and not later, by somebody who sends a URL. */
static rd_err check_ca_files(const struct rd_config *config, struct rd_why *why)
{
    const struct {
        const char *path, *verb;
    } files[] = {{config->fetch_ca_file, "read fetch.ca_file"},
                 {config->webhooks_ca_file, "read webhooks.ca_file"}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (files[i].path != NULL && access(files[i].path, R_OK) != 0) {
            return rd_why_errno(why, errno, files[i].verb, files[i].path);
        }
    }
    return RD_OK;
}

static rd_err open_engines(struct rd_runtime *runtime, const struct rd_runtime *old,
                           struct rd_why *why)
{
    size_t count = runtime->config->engines_count;
    runtime->backends = rd_mem_alloc_array(count, sizeof *runtime->backends);
    if (runtime->backends == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        const struct rd_config_engine *config = &runtime->config->engines[i];
        struct rd_running *running = running_keep(old, config);
        if (running == NULL) {
            RD_TRY(running_open(runtime->config, config, &running, why));
        }
        runtime->backends[i] = (struct rd_backend){
            .config = config, .ops = running->ops, .engine = running->engine, .running = running};
        runtime->backends_count = i + 1;
    }
    return RD_OK;
}

rd_err rd_runtime_load(const char *config_path, const struct rd_runtime *old,
                       struct rd_runtime **ret, struct rd_why *why)
{
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, RD_CONFIG_FILE_MAX);
    if (config_path != NULL) {
        RD_TRY(rd_fs_read(config_path, &text, why));
    }
    struct rd_runtime *runtime = rd_mem_alloc(sizeof *runtime);
    if (runtime == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    atomic_init(&runtime->references, 1);
    rd_err err =
        rd_config_load(rd_buf_cstr(&text), text.len,
                       config_path == NULL ? "(defaults)" : config_path, &runtime->config, why);
    err = err == RD_OK ? load_catalogue(runtime, why) : err;
    err = err == RD_OK ? check_ca_files(runtime->config, why) : err;
    err = err == RD_OK ? check_models(runtime, why) : err;
    err = err == RD_OK ? open_engines(runtime, old, why) : err;
    if (err != RD_OK) {
        runtime_free(runtime);
        return err;
    }
    *ret = runtime;
    return RD_OK;
}

/* ---- health ---- */

void rd_runtime_settle(const struct rd_runtime *runtime, unsigned ms)
{
    const uint64_t until = rd_clock_mono_ns() + ms * (uint64_t)1000000;
    for (size_t i = 0; i < runtime->backends_count; i++) {
        const struct rd_backend *backend = &runtime->backends[i];
        struct rd_engine_health health = {.ready = false};
        backend->ops->health(backend->engine, &health);
        while (backend->running->is_new && !health.ready && rd_clock_mono_ns() < until) {
            (void)poll(NULL, 0, 1);
            backend->ops->health(backend->engine, &health);
        }
    }
}

void rd_runtime_log_health(const struct rd_runtime *runtime)
{
    for (size_t i = 0; i < runtime->backends_count; i++) {
        const struct rd_backend *backend = &runtime->backends[i];
        struct rd_running *running = backend->running;
        struct rd_engine_health health = {.ready = false};
        backend->ops->health(backend->engine, &health);
        if (running->told && running->told_ready == health.ready) {
            continue;
        }
        running->told = true;
        running->told_ready = health.ready;
        const struct rd_log_field fields[] = {
            RD_LOG_STR("backend", backend->config->engine.name),
            RD_LOG_STR("why", health.ready || health.why[0] == '\0' ? NULL : health.why),
            RD_LOG_END,
        };
        rd_log(health.ready ? RD_LOG_INFO : RD_LOG_WARN,
               health.ready ? "backend is ready" : "backend is not ready", fields);
    }
}

/* ---- what backends do ---- */

bool rd_backend_serves(const struct rd_backend *backend, const char *model, int kind)
{
    if (kind >= 0 && backend->config->backend != (enum rd_backend_kind)kind) {
        return false;
    }
    for (size_t i = 0; i < backend->config->models_count; i++) {
        if (strcmp(backend->config->models[i], model) == 0) {
            return true;
        }
    }
    return false;
}

struct rd_runtime_can rd_runtime_can(const struct rd_runtime *runtime, const struct rd_model *model,
                                     enum rd_backend_kind kind)
{
    struct rd_runtime_can all = {.configured = false};
    char name[RD_MODEL_NAME_MAX];
    (void)snprintf(name, sizeof name, "%s/%s", model->family, model->name);
    for (size_t i = 0; i < runtime->backends_count; i++) {
        const struct rd_backend *backend = &runtime->backends[i];
        struct rd_engine_capabilities can = {.tasks = 0};
        if (rd_backend_serves(backend, name, kind == RD_BACKEND_COUNT_ ? -1 : (int)kind)) {
            backend->ops->capabilities(backend->engine, name, &can);
            all.configured = true;
            all.tasks |= can.media == 0 ? 0 : can.tasks & model->tasks;
            all.media |= can.media;
        }
    }
    return all;
}

struct rd_backend *rd_runtime_backend(struct rd_runtime *runtime, uint32_t number)
{
    for (size_t i = 0; i < runtime->backends_count; i++) {
        if (runtime->backends[i].number == number) {
            return &runtime->backends[i];
        }
    }
    return NULL;
}
