/* SPDX-License-Identifier: Apache-2.0
 *
 * What a reload replaces as one: the configuration, the catalogue, and the backends made from them.
 * Reference-counted: a request keeps the runtime that it began with, so a reload drops nothing. The
 * last reference may fall on an engine's own thread, which cannot close its engine: a runtime that
 * nobody holds is handed to the janitor (rd_runtime_collect, called by main's loop). */
#ifndef RD_GATEWAY_RUNTIME_H
#define RD_GATEWAY_RUNTIME_H

#include <pthread.h>
#include <stdatomic.h>

#include "catalogue/catalogue.h"
#include "config/config.h"
#include "core/admission.h"
#include "engine/engine.h"

struct rd_backend {
    const struct rd_config_engine *config;
    const struct rd_engine_ops *ops;
    struct rd_engine *engine; /* owned */
    unsigned taken;           /* slots in use; under rd_runtime.lock */
};

struct rd_runtime {
    _Atomic unsigned references;
    struct rd_config *config;       /* owned */
    struct rd_catalogue *catalogue; /* one reference */
    pthread_mutex_t lock;           /* of all `taken` */
    struct rd_backend *backends;    /* owned; config->engines_count of them */
    size_t backends_count;
    struct rd_runtime *next_dead;
};

/* Reads the configuration (path NULL: defaults) and the catalogue, opens the engines. */
rd_err rd_runtime_load(const char *config_path, struct rd_runtime **ret,
                       struct rd_why *why) RD_MUST;
void rd_runtime_unref(struct rd_runtime *runtime);
/* Closes the runtimes that nobody holds any more; from a thread that serves nobody. */
void rd_runtime_collect(void);

/* Takes a slot on a backend for the model; `kind` RD_BACKEND_COUNT_ means any. */
enum rd_admission rd_runtime_take(struct rd_runtime *runtime, const struct rd_model *model,
                                  enum rd_backend_kind kind, struct rd_backend **ret);
void rd_runtime_release(struct rd_runtime *runtime, struct rd_backend *backend);
/* An engine is configured for the model as this kind (ready or not). */
bool rd_runtime_serves(const struct rd_runtime *runtime, const struct rd_model *model,
                       enum rd_backend_kind kind);

#endif
