/* SPDX-License-Identifier: Apache-2.0
 *
 * The gateway's configuration: YAML, checked against one table (schema in config_table.c), from
 * which docs/configuration.md is checked too. An error names file, line, field and what was
 * expected. Immutable once loaded.
 *
 *     public_url: https://media.example.org     # default: http://HOST:PORT of the listener
 *     threads: 2                                # HTTP threads; default: cores
 *     durability: strict                        # strict | relaxed
 *     catalogue: /etc/render/catalogue.yaml     # default: the one compiled in
 *     log: {format: json, level: info}          # json | text; debug | info | warn | error
 *     cors: {origins: ["https://app.example.org"]}
 *     store: {pack_size: 256MiB, own_file_over: 16MiB, min_free: 1GiB, retention_days: 0}
 *     fetch: {allow_hosts: []}                  # private hosts that source images may come from
 *     webhooks: {allow_hosts: []}               # private hosts that webhooks may go to
 *     limits: {rate: 100, burst: 1000, concurrency: 0, queue_depth: 100000, priority: normal}
 *     tenants: [{name: acme, rate: 500, priority: high}]   # what is not said is as in limits
 *     sync: {wait: 50s, on_disconnect: cancel}  # cancel | finish
 *     jobs: {keep_days: 30, idempotency_hours: 24, deadline: 1h}
 *     mappings:                                 # how a generation becomes tensors:
 * docs/mappings.md
 *       - name: my-flux
 *         inputs: [{name: PROMPT, field: prompt, datatype: BYTES}]
 *         outputs: [{name: IMAGE, gives: image, datatype: BYTES}]
 *     engines:
 *       - {name: painter, type: builtin, slots: 2, models: [builtin/plasma]}
 *       - {name: box1, type: http, url: "http://10.0.0.5:9000/generate", slots: 4,
 *          models: [flux/schnell, flux/dev], backend: nunchaku, timeout: 120s}
 *       - {name: gpu1, type: triton, url: "grpc://10.0.0.6:8001", models: [flux/dev],
 *          mapping: [my-flux]}
 *
 * Without `engines` one builtin engine, named builtin, with a slot per core, is configured;
 * `engines: []` means none. Every key with its range and default: docs/configuration.md. */
#ifndef RD_CONFIG_CONFIG_H
#define RD_CONFIG_CONFIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "cas/cas.h"
#include "core/generation.h"
#include "engine/engine.h"
#include "engine/tensor/mapping.h"

enum {
    RD_CONFIG_ENGINES_MAX = 128,
    RD_CONFIG_TENANTS_MAX = 4096,
    RD_CONFIG_MAPPINGS_MAX = 128,
    RD_CONFIG_LIST_MAX = 64,
    RD_CONFIG_FILE_MAX = 1 << 20
};

struct rd_config_engine {
    struct rd_engine_config engine;         /* its models are the ones below */
    enum rd_backend_kind backend;           /* the kind that it serves as */
    unsigned weight;                        /* its share where several serve a model; 1 to 1000 */
    const char *models[RD_CONFIG_LIST_MAX]; /* "family/model" */
    size_t models_count;
};

struct rd_config_limits {
    const char *name; /* the tenant's; NULL in rd_config.limits */
    unsigned rate;    /* requests that make something, a second; 0: no limit */
    unsigned burst;
    unsigned concurrency; /* running at once; 0: no limit */
    unsigned queue_depth; /* jobs that wait; 0: no limit */
    bool high;            /* may use priority high */
};
/* The limits that hold for the tenant. */
struct rd_config;
const struct rd_config_limits *rd_config_limits_of(const struct rd_config *config,
                                                   const char *tenant);

/* What becomes of the run when the client of a sync call leaves. */
enum rd_config_disconnect { RD_CONFIG_CANCEL, RD_CONFIG_FINISH };

struct rd_config {
    const char *public_url; /* NULL: derive from the listener; never ends in '/' */
    unsigned threads;       /* 0: one per core */
    enum rd_cas_durability durability;
    const char *catalogue; /* path or NULL */
    enum rd_log_format log_format;
    enum rd_log_level log_level;
    const char *cors_origins[RD_CONFIG_LIST_MAX]; /* exact origins, or "*" alone */
    size_t cors_origins_count;
    uint64_t pack_bytes, own_file_bytes, min_free_bytes;
    unsigned retention_days; /* 0: for ever */
    const char *fetch_allow_hosts[RD_CONFIG_LIST_MAX];
    size_t fetch_allow_hosts_count;
    const char *fetch_ca_file; /* path or NULL: the system's authorities */
    const char *webhooks_allow_hosts[RD_CONFIG_LIST_MAX];
    size_t webhooks_allow_hosts_count;
    const char *webhooks_ca_file;     /* path or NULL: the system's authorities */
    struct rd_config_limits limits;   /* of a tenant without a row of its own */
    struct rd_config_limits *tenants; /* sorted as written */
    size_t tenants_count;
    uint64_t sync_wait_ms; /* a sync call that takes longer becomes a job */
    enum rd_config_disconnect on_disconnect;
    unsigned keep_days, idempotency_hours;
    uint64_t jobs_deadline_ms; /* from a job's first attempt on, for all of them */
    struct rd_config_engine *engines;
    size_t engines_count;
    _Atomic unsigned references;
    void *internal; /* the memory behind all of it */
};

/* Parses; `file` is for messages "FILE:LINE: FIELD: expected X, got Y". CONFIG on error. `yaml` of
 * length 0 gives the defaults. */
rd_err rd_config_load(const char *yaml, size_t len, const char *file, struct rd_config **ret,
                      struct rd_why *why) RD_MUST;
/* The caller of rd_config_load has one reference. Any thread; NULL is fine. */
struct rd_config *rd_config_ref(struct rd_config *config); /* returns it */
void rd_config_unref(struct rd_config *config);

/* The two were written the same, with everything that they name of the file (mappings): a reload
 * may keep the engine that runs. Not whether the files that they name have changed. */
bool rd_config_engine_same(const struct rd_config_engine *a, const struct rd_config_engine *b);

#endif
