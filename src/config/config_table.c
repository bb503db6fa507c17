/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration on one screen: names, types, ranges and defaults. docs/configuration.md must
 * have a row for each of these with the same words, which a test checks. */
#include "config/config_table.h"

#include "config/config.h"
#include "config/forms.h"
#include "yaml/forms.h"

static const char *durability_name(unsigned index)
{
    static const char *const names[] = {[RD_CAS_STRICT] = "strict", [RD_CAS_RELAXED] = "relaxed"};
    return index < 2 ? names[index] : NULL;
}

static const char *log_format_name(unsigned index)
{
    static const char *const names[] = {[RD_LOG_JSON] = "json", [RD_LOG_TEXT] = "text"};
    return index < 2 ? names[index] : NULL;
}

static const char *log_level_name(unsigned index)
{
    static const char *const names[] = {[RD_LOG_DEBUG] = "debug",
                                        [RD_LOG_INFO] = "info",
                                        [RD_LOG_WARN] = "warn",
                                        [RD_LOG_ERROR] = "error"};
    return index < 4 ? names[index] : NULL;
}

const char *rd_config_engine_type_name(unsigned index)
{
    static const char *const names[RD_CONFIG_TYPE_COUNT_] = {
        [RD_CONFIG_TYPE_BUILTIN] = "builtin", [RD_CONFIG_TYPE_HTTP] = "http",
        [RD_CONFIG_TYPE_TRITON] = "triton",   [RD_CONFIG_TYPE_OPENAI] = "openai",
        [RD_CONFIG_TYPE_PROCESS] = "process",
    };
    return index < RD_CONFIG_TYPE_COUNT_ ? names[index] : NULL;
}

static const char *priority_name(unsigned index)
{
    static const char *const names[] = {"normal", "high"};
    return index < 2 ? names[index] : NULL;
}

static const char *on_disconnect_name(unsigned index)
{
    static const char *const names[] = {
        [RD_CONFIG_CANCEL] = "cancel", [RD_CONFIG_FINISH] = "finish"};
    return index < 2 ? names[index] : NULL;
}

static const char *backend_name(unsigned index)
{
    return rd_backend_kind_name((enum rd_backend_kind)index);
}

/* A constant is a key of its own, "value", and no field. */
static const char *field_name(unsigned index)
{
    return rd_mapping_field_name(RD_INPUT_VALUE + 1 + index);
}

static const char *task_name(unsigned index)
{
    return rd_task_name((enum rd_task)index);
}

#define COUNT(table) (sizeof(table) / sizeof(table)[0])
#define AT(member) .offset = offsetof(struct rd_config_raw, member)
#define ENGINE_AT(member) .offset = offsetof(struct rd_config_raw_engine, member)
#define GIB(n) ((uint64_t)(n) << 30)
#define MIB(n) ((uint64_t)(n) << 20)
#define KIB(n) ((uint64_t)(n) << 10)
#define HOUR ((uint64_t)3600000)

static const struct rd_yaml_field log_fields[] = {
    {"format", RD_YAML_ENUM, AT(log_format), .name_of = log_format_name},
    {"level", RD_YAML_ENUM, AT(log_level), .name_of = log_level_name},
};
static const struct rd_yaml_schema log_schema = {log_fields, COUNT(log_fields), 0, NULL};

static const struct rd_yaml_field cors_fields[] = {
    {"origins", RD_YAML_STRINGS, AT(cors_origins), .max = RD_CONFIG_LIST_MAX,
     .form = &rd_config_form_origin},
};
static const struct rd_yaml_schema cors_schema = {cors_fields, COUNT(cors_fields), 0, NULL};

static const struct rd_yaml_field store_fields[] = {
    {"pack_size", RD_YAML_SIZE, AT(pack_bytes), .min = MIB(1), .max = GIB(1)},
    {"own_file_over", RD_YAML_SIZE, AT(own_file_bytes), .min = 64 << 10, .max = MIB(512)},
    {"min_free", RD_YAML_SIZE, AT(min_free_bytes), .min = 0, .max = GIB(1024)},
    {"retention_days", RD_YAML_UNSIGNED, AT(retention_days), .min = 0, .max = 36500},
};
static const struct rd_yaml_schema store_schema = {store_fields, COUNT(store_fields), 0, NULL};

static const struct rd_yaml_field fetch_fields[] = {
    {"allow_hosts", RD_YAML_STRINGS, AT(fetch_allow_hosts), .max = RD_CONFIG_LIST_MAX,
     .form = &rd_config_form_host},
    {"ca_file", RD_YAML_STRING, AT(fetch_ca_file), .form = &rd_config_form_path},
};
static const struct rd_yaml_schema fetch_schema = {fetch_fields, COUNT(fetch_fields), 0, NULL};

static const struct rd_yaml_field webhooks_fields[] = {
    {"allow_hosts", RD_YAML_STRINGS, AT(webhooks_allow_hosts), .max = RD_CONFIG_LIST_MAX,
     .form = &rd_config_form_host},
    {"ca_file", RD_YAML_STRING, AT(webhooks_ca_file), .form = &rd_config_form_path},
};
static const struct rd_yaml_schema webhooks_schema = {webhooks_fields, COUNT(webhooks_fields), 0,
                                                      NULL};

#define LIMIT_ROWS(at)                                                                             \
    {"rate", RD_YAML_UNSIGNED, at(rate), .min = 0, .max = 1000000},                                \
        {"burst", RD_YAML_UNSIGNED, at(burst), .min = 1, .max = 1000000},                          \
        {"concurrency", RD_YAML_UNSIGNED, at(concurrency), .min = 0, .max = 1000000},              \
        {"queue_depth", RD_YAML_UNSIGNED, at(queue_depth), .min = 0, .max = 1000000},              \
        {"priority", RD_YAML_ENUM, at(priority), .name_of = priority_name},
#define LIMITS_AT(member) AT(limits.member)
#define TENANT_AT(member) .offset = offsetof(struct rd_config_raw_limits, member)

static const struct rd_yaml_field limits_fields[] = {LIMIT_ROWS(LIMITS_AT)};
static const struct rd_yaml_schema limits_schema = {limits_fields, COUNT(limits_fields), 0, NULL};

static const struct rd_yaml_field tenant_fields[] = {
    {"name", RD_YAML_STRING, .required = true, TENANT_AT(name), .form = &rd_yaml_form_name},
    LIMIT_ROWS(TENANT_AT)};
static const struct rd_config_raw_limits tenant_defaults = {
    NULL, RD_CONFIG_UNSAID, RD_CONFIG_UNSAID, RD_CONFIG_UNSAID, RD_CONFIG_UNSAID, RD_CONFIG_UNSAID};
static const struct rd_yaml_schema tenant_schema = {
    tenant_fields, COUNT(tenant_fields), sizeof(struct rd_config_raw_limits), &tenant_defaults};

static const struct rd_yaml_field sync_fields[] = {
    {"wait", RD_YAML_DURATION, AT(sync_wait_ms), .min = 100, .max = 24 * HOUR},
    {"on_disconnect", RD_YAML_ENUM, AT(on_disconnect), .name_of = on_disconnect_name},
};
static const struct rd_yaml_schema sync_schema = {sync_fields, COUNT(sync_fields), 0, NULL};

static const struct rd_yaml_field jobs_fields[] = {
    {"keep_days", RD_YAML_UNSIGNED, AT(keep_days), .min = 0, .max = 36500},
    {"idempotency_hours", RD_YAML_UNSIGNED, AT(idempotency_hours), .min = 1, .max = 24 * 365},
    {"deadline", RD_YAML_DURATION, AT(jobs_deadline_ms), .min = 1000, .max = 7 * 24 * HOUR},
};
static const struct rd_yaml_schema jobs_schema = {jobs_fields, COUNT(jobs_fields), 0, NULL};

#define MAPPING_AT(member) .offset = offsetof(struct rd_config_raw_mapping, member)
#define TENSOR_AT(member) .offset = offsetof(struct rd_config_raw_tensor, member)
#define TENSOR_ROWS                                                                                \
    {"datatype", RD_YAML_ENUM, .required = true, TENSOR_AT(datatype),                              \
     .name_of = rd_datatype_name},                                                                 \
        {"shape",                                                                                  \
         RD_YAML_INTEGERS,                                                                         \
         TENSOR_AT(shape),                                                                         \
         .min = 1,                                                                                 \
         .max = RD_MAPPING_RANK_MAX,                                                               \
         .low = -1,                                                                                \
         .high = RD_MAPPING_SIDE_MAX},                                                             \
        {"range", RD_YAML_ENUM, TENSOR_AT(range), .name_of = rd_mapping_range_name},
static const struct rd_config_raw_tensor tensor_defaults = {.field = RD_CONFIG_UNSAID,
                                                            .range = RD_CONFIG_UNSAID};

static const struct rd_yaml_field input_fields[] = {
    {"name", RD_YAML_STRING, .required = true, TENSOR_AT(name), .form = &rd_config_form_tensor},
    {"field", RD_YAML_ENUM, TENSOR_AT(field), .name_of = field_name},
    {"value", RD_YAML_STRING, TENSOR_AT(value), .min = 0, .max = 4096},
    {"optional", RD_YAML_BOOL, TENSOR_AT(optional)},
    TENSOR_ROWS};
static const struct rd_yaml_schema input_schema = {
    input_fields, COUNT(input_fields), sizeof(struct rd_config_raw_tensor), &tensor_defaults};

static const struct rd_yaml_field output_fields[] = {
    {"name", RD_YAML_STRING, .required = true, TENSOR_AT(name), .form = &rd_config_form_tensor},
    {"gives", RD_YAML_ENUM, .required = true, TENSOR_AT(gives), .name_of = rd_mapping_gives_name},
    TENSOR_ROWS};
static const struct rd_yaml_schema output_schema = {
    output_fields, COUNT(output_fields), sizeof(struct rd_config_raw_tensor), &tensor_defaults};

static const struct rd_yaml_field mapping_fields[] = {
    {"name", RD_YAML_STRING, .required = true, MAPPING_AT(name), .form = &rd_yaml_form_name},
    {"models", RD_YAML_STRINGS, MAPPING_AT(models), .min = 1, .max = RD_CONFIG_LIST_MAX,
     .form = &rd_yaml_form_model},
    {"model", RD_YAML_STRING, MAPPING_AT(model), .form = &rd_config_form_server_model},
    {"version", RD_YAML_STRING, MAPPING_AT(version), .form = &rd_config_form_version},
    {"decoupled", RD_YAML_BOOL, MAPPING_AT(decoupled)},
    {"tasks", RD_YAML_ENUMS, MAPPING_AT(tasks), .min = 1, .max = RD_TASK_COUNT_,
     .name_of = task_name},
    {"inputs", RD_YAML_MAPS, .required = true, MAPPING_AT(inputs), .min = 1,
     .max = RD_MAPPING_TENSORS_MAX, .schema = &input_schema},
    {"outputs", RD_YAML_MAPS, .required = true, MAPPING_AT(outputs), .min = 1,
     .max = RD_MAPPING_TENSORS_MAX, .schema = &output_schema},
};
static const struct rd_yaml_schema mapping_schema = {mapping_fields, COUNT(mapping_fields),
                                                     sizeof(struct rd_config_raw_mapping), NULL};

static const struct rd_yaml_field engine_fields[] = {
    {"name", RD_YAML_STRING, .required = true, ENGINE_AT(name), .form = &rd_yaml_form_name},
    {"type", RD_YAML_ENUM, .required = true, ENGINE_AT(type),
     .name_of = rd_config_engine_type_name},
    {"url", RD_YAML_STRING, ENGINE_AT(url), .form = &rd_config_form_url},
    {"slots", RD_YAML_UNSIGNED, ENGINE_AT(slots), .min = 1, .max = RD_CONFIG_SLOTS_MAX},
    {"models", RD_YAML_STRINGS, ENGINE_AT(models), .min = 1, .max = RD_CONFIG_LIST_MAX,
     .form = &rd_yaml_form_model},
    {"backend", RD_YAML_ENUM, ENGINE_AT(backend), .name_of = backend_name},
    {"timeout", RD_YAML_DURATION, ENGINE_AT(timeout_ms), .min = 100, .max = 24 * HOUR},
    {"weight", RD_YAML_UNSIGNED, ENGINE_AT(weight), .min = 1, .max = RD_CONFIG_WEIGHT_MAX},
    {"mapping", RD_YAML_STRINGS, ENGINE_AT(mapping), .min = 1, .max = RD_CONFIG_LIST_MAX,
     .form = &rd_yaml_form_name},
    {"health", RD_YAML_STRING, ENGINE_AT(health), .form = &rd_config_form_url_path},
    {"remote_model", RD_YAML_STRING, ENGINE_AT(remote_model), .form = &rd_config_form_remote_model},
    {"ca_file", RD_YAML_STRING, ENGINE_AT(ca_file), .form = &rd_config_form_path},
    {"key_file", RD_YAML_STRING, ENGINE_AT(key_file), .form = &rd_config_form_path},
    {"command", RD_YAML_STRINGS, ENGINE_AT(command), .repeats = true, .min = 1,
     .max = RD_CONFIG_LIST_MAX},
    {"memory", RD_YAML_SIZE, ENGINE_AT(memory_bytes), .min = MIB(16), .max = GIB(1024)},
    {"output", RD_YAML_SIZE, ENGINE_AT(output_bytes), .min = KIB(1), .max = GIB(4)},
};
static const struct rd_config_raw_engine engine_defaults = {.backend = RD_BACKEND_COUNT_};
static const struct rd_yaml_schema engine_schema = {
    engine_fields, COUNT(engine_fields), sizeof(struct rd_config_raw_engine), &engine_defaults};

static const struct rd_yaml_field fields[] = {
    {"public_url", RD_YAML_STRING, AT(public_url), .form = &rd_config_form_public_url},
    {"threads", RD_YAML_UNSIGNED, AT(threads), .min = 0, .max = 256},
    {"durability", RD_YAML_ENUM, AT(durability), .name_of = durability_name},
    {"catalogue", RD_YAML_STRING, AT(catalogue), .form = &rd_config_form_path},
    {"log", RD_YAML_SUBMAP, .schema = &log_schema},
    {"cors", RD_YAML_SUBMAP, .schema = &cors_schema},
    {"store", RD_YAML_SUBMAP, .schema = &store_schema},
    {"fetch", RD_YAML_SUBMAP, .schema = &fetch_schema},
    {"webhooks", RD_YAML_SUBMAP, .schema = &webhooks_schema},
    {"limits", RD_YAML_SUBMAP, .schema = &limits_schema},
    {"tenants", RD_YAML_MAPS, AT(tenants), .max = RD_CONFIG_TENANTS_MAX, .schema = &tenant_schema},
    {"sync", RD_YAML_SUBMAP, .schema = &sync_schema},
    {"jobs", RD_YAML_SUBMAP, .schema = &jobs_schema},
    {"mappings", RD_YAML_MAPS, AT(mappings), .max = RD_CONFIG_MAPPINGS_MAX,
     .schema = &mapping_schema},
    {"engines", RD_YAML_MAPS, AT(engines), .max = RD_CONFIG_ENGINES_MAX, .schema = &engine_schema},
};
const struct rd_yaml_schema rd_config_schema = {fields, COUNT(fields), 0, NULL};

const struct rd_config_raw rd_config_defaults = {
    .durability = RD_CAS_STRICT,
    .log_format = RD_LOG_JSON,
    .log_level = RD_LOG_INFO,
    .pack_bytes = MIB(256),
    .own_file_bytes = 0, /* not said: 16 MiB, or half a pack when that is less */
    .min_free_bytes = GIB(1),
    .limits = {NULL, 100, 1000, 0, 100000, 0},
    .sync_wait_ms = 50000,
    .keep_days = 30,
    .idempotency_hours = 24,
    .jobs_deadline_ms = HOUR,
};
