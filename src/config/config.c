/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading: the schema reads the file into a raw struct, then the rules that involve more than one
 * field are checked, then the raw values become struct rd_config. Everything, the config itself
 * too, lives in the YAML document's memory, so that there is one thing to free. */
#include "config/config.h"

#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "config/config_table.h"

enum { HTTP_SLOTS_DEFAULT = 1 }; /* what one device does at a time */

struct loader {
    struct rd_yaml *doc;
    const struct rd_yaml_node *root; /* NULL: an empty file */
    struct rd_why *why;
    struct rd_config_raw raw;
};

static unsigned cores(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    if (count < 1) {
        return 1;
    }
    return count > RD_CONFIG_SLOTS_MAX ? RD_CONFIG_SLOTS_MAX : (unsigned)count;
}

static rd_err no_memory(struct loader *l)
{
    return rd_why_set(l->why, RD_ERR_NO_MEMORY, "no memory for the configuration");
}

/* ---- rules between fields ---- */

static rd_err check_origins(struct loader *l)
{
    const struct rd_yaml_node *list = rd_yaml_get(rd_yaml_get(l->root, "cors"), "origins");
    for (const struct rd_yaml_node *item = list == NULL ? NULL : list->first; item != NULL;
         item = item->next) {
        if (strcmp(item->text, "*") == 0 && list->count > 1) {
            return rd_yaml_refuse(l->doc, item, l->why,
                                  "expected \"*\" to stand alone, got %zu other origins",
                                  list->count - 1);
        }
    }
    return RD_OK;
}

/* An object, its note and its headers must fit into a pack, with room for others. */
static rd_err settle_store(struct loader *l)
{
    struct rd_config_raw *raw = &l->raw;
    uint64_t half = raw->pack_bytes / 2;
    if (raw->own_file_bytes == 0) {
        raw->own_file_bytes = half < RD_MIB(16) ? half : RD_MIB(16);
    }
    if (raw->own_file_bytes > half) {
        char most[32];
        rd_yaml_size_text(half, most);
        return rd_yaml_expected(l->doc, rd_yaml_get(rd_yaml_get(l->root, "store"), "own_file_over"),
                                l->why, "at most half of pack_size, %s", most);
    }
    return RD_OK;
}

static rd_err check_engine(struct loader *l, const struct rd_yaml_node *node,
                           const struct rd_config_raw_engine *engine)
{
    bool builtin = engine->type == RD_CONFIG_TYPE_BUILTIN;
    if (!builtin && engine->url == NULL) {
        return rd_yaml_refuse(l->doc, node, l->why,
                              "\"url\" is missing; expected one in an engine of type http");
    }
    if (!builtin && !engine->models.given) {
        return rd_yaml_refuse(l->doc, node, l->why,
                              "\"models\" is missing; expected a list of what this engine serves");
    }
    if (builtin && engine->url != NULL) {
        return rd_yaml_expected(l->doc, rd_yaml_get(node, "url"), l->why,
                                "no url in an engine of type builtin");
    }
    if (builtin && engine->backend != RD_BACKEND_COUNT_ && engine->backend != RD_BACKEND_BUILTIN) {
        return rd_yaml_expected(l->doc, rd_yaml_get(node, "backend"), l->why,
                                "builtin in an engine of type builtin");
    }
    return RD_OK;
}

static rd_err check_engines(struct loader *l)
{
    const struct rd_config_raw_engine *engines = l->raw.engines.items;
    const struct rd_yaml_node *node = rd_yaml_item(rd_yaml_get(l->root, "engines"), 0);
    for (size_t i = 0; i < l->raw.engines.count; i++, node = node->next) {
        RD_TRY(check_engine(l, node, &engines[i]));
        for (size_t j = 0; j < i; j++) {
            if (strcmp(engines[i].name, engines[j].name) == 0) {
                return rd_yaml_expected(l->doc, rd_yaml_get(node, "name"), l->why,
                                        "a name that engines[%zu] does not have", j);
            }
        }
    }
    return RD_OK;
}

/* ---- raw to final ---- */

static void copy_list(const struct rd_yaml_list *list, const char **out, size_t *ret_count)
{
    const char *const *items = list->items;
    for (size_t i = 0; i < list->count; i++) { /* the schema allows RD_CONFIG_LIST_MAX */
        out[i] = items[i];
    }
    *ret_count = list->count;
}

static void fill_engine(const struct rd_config_raw_engine *raw, struct rd_config_engine *out)
{
    bool builtin = raw->type == RD_CONFIG_TYPE_BUILTIN;
    out->engine = (struct rd_engine_config){
        .name = raw->name,
        .type = rd_config_engine_type_name(raw->type),
        .url = raw->url,
        .slots = raw->slots != 0 ? raw->slots
                 : builtin       ? cores()
                                 : HTTP_SLOTS_DEFAULT,
        .timeout_ms = (unsigned)raw->timeout_ms, /* at most 24 h */
    };
    enum rd_backend_kind usual = builtin ? RD_BACKEND_BUILTIN : RD_BACKEND_TORCH;
    out->backend = raw->backend == RD_BACKEND_COUNT_ ? usual : (enum rd_backend_kind)raw->backend;
    copy_list(&raw->models, out->models, &out->models_count);
    if (out->models_count == 0) { /* only type builtin may leave them out */
        out->models[out->models_count++] = "builtin/plasma";
    }
    out->engine.models = out->models;
    out->engine.models_count = out->models_count;
}

static rd_err fill_engines(struct loader *l, struct rd_config *config)
{
    static const struct rd_config_raw_engine usual = {
        .name = "builtin", .type = RD_CONFIG_TYPE_BUILTIN, .backend = RD_BACKEND_COUNT_};
    const struct rd_config_raw_engine *raw = l->raw.engines.items;
    size_t count = l->raw.engines.count;
    if (!l->raw.engines.given) {
        raw = &usual;
        count = 1;
    }
    config->engines = rd_yaml_alloc(l->doc, count * sizeof *config->engines);
    if (config->engines == NULL) {
        return no_memory(l);
    }
    for (size_t i = 0; i < count; i++) {
        fill_engine(&raw[i], &config->engines[i]);
    }
    config->engines_count = count;
    return RD_OK;
}

static unsigned said(unsigned value, unsigned otherwise)
{
    return value == RD_CONFIG_UNSAID ? otherwise : value;
}

static rd_err fill_limits(struct loader *l, struct rd_config *config)
{
    const struct rd_config_raw_limits *all = &l->raw.limits;
    const struct rd_config_raw_limits *rows = l->raw.tenants.items;
    size_t count = l->raw.tenants.count;
    config->limits = (struct rd_config_limits){
        NULL, all->rate, all->burst, all->concurrency, all->queue_depth, all->priority == 1};
    config->tenants = rd_yaml_alloc(l->doc, (count + 1) * sizeof *config->tenants);
    if (config->tenants == NULL) {
        return no_memory(l);
    }
    const struct rd_yaml_node *node = rd_yaml_item(rd_yaml_get(l->root, "tenants"), 0);
    for (size_t i = 0; i < count; i++, node = node->next) {
        for (size_t k = 0; k < i; k++) {
            if (strcmp(rows[i].name, rows[k].name) == 0) {
                return rd_yaml_expected(l->doc, rd_yaml_get(node, "name"), l->why,
                                        "a name that tenants[%zu] does not have", k);
            }
        }
        config->tenants[i] = (struct rd_config_limits){
            rows[i].name,
            said(rows[i].rate, all->rate),
            said(rows[i].burst, all->burst),
            said(rows[i].concurrency, all->concurrency),
            said(rows[i].queue_depth, all->queue_depth),
            said(rows[i].priority, all->priority) == 1,
        };
    }
    config->tenants_count = count;
    return RD_OK;
}

const struct rd_config_limits *rd_config_limits_of(const struct rd_config *config,
                                                   const char *tenant)
{
    for (size_t i = 0; i < config->tenants_count; i++) {
        if (strcmp(config->tenants[i].name, tenant) == 0) {
            return &config->tenants[i];
        }
    }
    return &config->limits;
}

static rd_err fill(struct loader *l, struct rd_config **ret)
{
    const struct rd_config_raw *raw = &l->raw;
    struct rd_config *config = rd_yaml_alloc(l->doc, sizeof *config);
    if (config == NULL) {
        return no_memory(l);
    }
    config->public_url = raw->public_url;
    config->threads = raw->threads;
    config->durability = (enum rd_cas_durability)raw->durability;
    config->catalogue = raw->catalogue;
    config->log_format = (enum rd_log_format)raw->log_format;
    config->log_level = (enum rd_log_level)raw->log_level;
    config->pack_bytes = raw->pack_bytes;
    config->own_file_bytes = raw->own_file_bytes;
    config->min_free_bytes = raw->min_free_bytes;
    config->retention_days = raw->retention_days;
    copy_list(&raw->cors_origins, config->cors_origins, &config->cors_origins_count);
    copy_list(&raw->fetch_allow_hosts, config->fetch_allow_hosts, &config->fetch_allow_hosts_count);
    config->fetch_ca_file = raw->fetch_ca_file;
    copy_list(&raw->webhooks_allow_hosts, config->webhooks_allow_hosts,
              &config->webhooks_allow_hosts_count);
    config->webhooks_ca_file = raw->webhooks_ca_file;
    config->sync_wait_ms = raw->sync_wait_ms;
    config->on_disconnect = (enum rd_config_disconnect)raw->on_disconnect;
    config->keep_days = raw->keep_days;
    config->idempotency_hours = raw->idempotency_hours;
    RD_TRY(fill_limits(l, config));
    RD_TRY(fill_engines(l, config));
    config->internal = l->doc;
    *ret = config;
    return RD_OK;
}

static rd_err load(struct loader *l, struct rd_config **ret)
{
    RD_TRY(rd_yaml_read(l->doc, l->root, &rd_config_schema, &l->raw, l->why));
    RD_TRY(check_origins(l));
    RD_TRY(settle_store(l));
    RD_TRY(check_engines(l));
    return fill(l, ret);
}

rd_err rd_config_load(const char *yaml, size_t len, const char *file, struct rd_config **ret,
                      struct rd_why *why)
{
    struct loader l = {.why = why, .raw = rd_config_defaults};
    RD_TRY(rd_yaml_parse(yaml, len, file, &l.doc, why));
    l.root = rd_yaml_root(l.doc);
    rd_err err = load(&l, ret);
    if (err != RD_OK) {
        rd_yaml_free(l.doc);
    }
    return err;
}

void rd_config_free(struct rd_config *config)
{
    if (config != NULL) {
        rd_yaml_free(config->internal);
    }
}
