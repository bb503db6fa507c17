/* SPDX-License-Identifier: Apache-2.0
 *
 * The reloadable part of the gateway. See runtime.h. */
#include "gateway/runtime.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "store/jobs.h"

static pthread_mutex_t dead_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rd_runtime *dead_list;

static void runtime_free(struct rd_runtime *runtime)
{
    for (size_t i = 0; i < runtime->backends_count; i++) {
        runtime->backends[i].ops->close(runtime->backends[i].engine);
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

static rd_err open_engines(struct rd_runtime *runtime, struct rd_why *why)
{
    size_t count = runtime->config->engines_count;
    runtime->backends = rd_mem_alloc_array(count, sizeof *runtime->backends);
    if (runtime->backends == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        struct rd_backend *backend = &runtime->backends[i];
        backend->config = &runtime->config->engines[i];
        backend->ops = rd_engine_find(backend->config->engine.type, backend->config->engine.url);
        if (backend->ops == NULL) {
            return rd_why_set(why, RD_ERR_CONFIG, "engine %s: no engine type '%s'",
                              backend->config->engine.name, backend->config->engine.type);
        }
        RD_TRY(backend->ops->open(&backend->config->engine, &backend->engine, why));
        runtime->backends_count = i + 1;
    }
    return RD_OK;
}

rd_err rd_runtime_load(const char *config_path, struct rd_runtime **ret, struct rd_why *why)
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
    err = err == RD_OK ? open_engines(runtime, why) : err;
    if (err != RD_OK) {
        runtime_free(runtime);
        return err;
    }
    *ret = runtime;
    return RD_OK;
}

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

bool rd_runtime_serves(const struct rd_runtime *runtime, const struct rd_model *model,
                       enum rd_backend_kind kind)
{
    char name[RD_MODEL_NAME_MAX];
    (void)snprintf(name, sizeof name, "%s/%s", model->family, model->name);
    for (size_t i = 0; i < runtime->backends_count; i++) {
        if (rd_backend_serves(&runtime->backends[i], name,
                              kind == RD_BACKEND_COUNT_ ? -1 : (int)kind)) {
            return true;
        }
    }
    return false;
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
