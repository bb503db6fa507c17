/* SPDX-License-Identifier: Apache-2.0
 *
 * What a reload replaces as one: the configuration, the catalogue, and the backends made from them.
 * Immutable. Reference-counted: a request keeps the runtime that it began with, so a reload drops
 * nothing. An engine belongs to no runtime: a reload that leaves its configuration as it was shares
 * it between the old one and the new one, with its connections, its runs and what it knows of its
 * backend's health. It lives as long as a runtime that has it, and holds on to the configuration
 * that it was opened with.
 *
 * The last reference may fall on an engine's own thread, which cannot close its engine: a runtime
 * that nobody holds is handed to the janitor (rd_runtime_collect, called by main's loop). */
#ifndef RD_GATEWAY_RUNTIME_H
#define RD_GATEWAY_RUNTIME_H

#include <stdatomic.h>

#include "catalogue/catalogue.h"
#include "config/config.h"
#include "engine/engine.h"

struct rd_running; /* an engine that is open (runtime.c) */

struct rd_backend {
    const struct rd_config_engine *config;
    const struct rd_engine_ops *ops;
    struct rd_engine *engine;   /* of `running` */
    struct rd_running *running; /* one reference */
    uint32_t number;            /* the queue's, by name (jobs/jobs.h) */
};

struct rd_runtime {
    _Atomic unsigned references;
    struct rd_config *config;       /* owned */
    struct rd_catalogue *catalogue; /* one reference */
    struct rd_backend *backends;    /* owned; config->engines_count of them */
    size_t backends_count;
    struct rd_runtime *next_dead;
};

/* Reads the configuration (path NULL: defaults) and the catalogue, opens the engines, but for those
 * that run in `old` (or NULL) as they are to. */
rd_err rd_runtime_load(const char *config_path, const struct rd_runtime *old,
                       struct rd_runtime **ret, struct rd_why *why) RD_MUST;
/* Waits until the engines that were opened for it are ready, at most so long: before it is current,
 * so that nobody is refused while an engine looks at its backend for the first time. */
void rd_runtime_settle(const struct rd_runtime *runtime, unsigned ms);
/* Logs each backend whose health is not what it was when this was called last. One caller. */
void rd_runtime_log_health(const struct rd_runtime *runtime);
void rd_runtime_unref(struct rd_runtime *runtime);
/* Closes the runtimes that nobody holds any more; from a thread that serves nobody. */
void rd_runtime_collect(void);

/* The backend that the queue knows by this number; NULL when a reload took it away. */
struct rd_backend *rd_runtime_backend(struct rd_runtime *runtime, uint32_t number);
/* That backend serves the model ("family/model") as this kind (-1: any). */
bool rd_backend_serves(const struct rd_backend *backend, const char *model, int kind);
/* What can be done for the model by the engines that are configured, ready or not; as this kind
 * (COUNT_: any). */
struct rd_runtime_can {
    bool configured; /* there is one at all */
    unsigned tasks;  /* 1u << enum rd_task: those of the model's that some engine does */
    unsigned media;  /* 1u << enum rd_media: what some engine delivers */
};
struct rd_runtime_can rd_runtime_can(const struct rd_runtime *runtime, const struct rd_model *model,
                                     enum rd_backend_kind kind);

#endif
