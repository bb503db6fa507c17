/* SPDX-License-Identifier: Apache-2.0
 *
 * The schema of the configuration, for config.c and for the test that holds docs/configuration.md
 * to it: every field that can be written, and the struct that reading fills. */
#ifndef RD_CONFIG_CONFIG_TABLE_H
#define RD_CONFIG_CONFIG_TABLE_H

#include "yaml/read.h"

enum { RD_CONFIG_SLOTS_MAX = 1024, RD_CONFIG_WEIGHT_MAX = 1000 };

/* What the file says, before the rules between fields are checked. Enumerations are `unsigned`
 * because the reader writes that type. */
struct rd_config_raw_engine {
    const char *name, *url;
    unsigned type;    /* index of rd_config_engine_type_name */
    unsigned slots;   /* 0: not said */
    unsigned weight;  /* 0: not said */
    unsigned backend; /* RD_BACKEND_COUNT_: not said */
    uint64_t timeout_ms;
    struct rd_yaml_list models;  /* of const char * */
    struct rd_yaml_list mapping; /* the same */
    struct rd_yaml_list command; /* the same */
    const char *health, *remote_model, *ca_file, *key_file;
    uint64_t memory_bytes, output_bytes; /* 0: not said */
};

/* An input or an output of a mapping. */
struct rd_config_raw_tensor {
    const char *name;
    unsigned field; /* index of the names, RD_CONFIG_UNSAID: not said */
    const char *value;
    bool optional;
    unsigned gives, datatype;
    unsigned range;            /* RD_CONFIG_UNSAID: not said */
    struct rd_yaml_list shape; /* of int64_t */
};

struct rd_config_raw_mapping {
    const char *name, *model, *version;
    struct rd_yaml_list models; /* of const char * */
    bool decoupled;
    struct rd_yaml_enums tasks;
    struct rd_yaml_list inputs, outputs; /* of struct rd_config_raw_tensor */
};

struct rd_config_raw_limits {
    const char *name;                                         /* of the tenant; NULL: everybody's */
    unsigned rate, burst, concurrency, queue_depth, priority; /* RD_CONFIG_UNSAID: as everybody */
};
#define RD_CONFIG_UNSAID UINT32_MAX

struct rd_config_raw {
    const char *public_url, *catalogue;
    unsigned threads, durability;
    unsigned log_format, log_level;
    struct rd_config_raw_limits limits;
    struct rd_yaml_list tenants; /* of struct rd_config_raw_limits */
    uint64_t sync_wait_ms;
    unsigned on_disconnect;
    unsigned keep_days, idempotency_hours;
    uint64_t jobs_deadline_ms;
    struct rd_yaml_list cors_origins; /* of const char * */
    uint64_t pack_bytes, own_file_bytes, min_free_bytes;
    unsigned retention_days;
    struct rd_yaml_list fetch_allow_hosts; /* of const char * */
    const char *fetch_ca_file;
    struct rd_yaml_list webhooks_allow_hosts; /* of const char * */
    const char *webhooks_ca_file;
    struct rd_yaml_list mappings; /* of struct rd_config_raw_mapping */
    struct rd_yaml_list engines;  /* of struct rd_config_raw_engine */
};

extern const struct rd_yaml_schema rd_config_schema;
extern const struct rd_config_raw rd_config_defaults;

enum rd_config_type {
    RD_CONFIG_TYPE_BUILTIN,
    RD_CONFIG_TYPE_HTTP,
    RD_CONFIG_TYPE_TRITON,
    RD_CONFIG_TYPE_OPENAI,
    RD_CONFIG_TYPE_PROCESS,
    RD_CONFIG_TYPE_COUNT_
};
const char *rd_config_engine_type_name(unsigned index); /* NULL behind the last */

#endif
