/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading: the schema reads the file into a raw struct, then the rules that involve more than one
 * field are checked, then the raw values become struct rd_config. Everything, the config itself
 * too, lives in the YAML document's memory, so that there is one thing to free. */
#include "config/config.h"

#include <string.h>

#include "base/limits.h"
#include "config/internal.h"

rd_err rd_config_no_memory(struct rd_config_loader *l)
{
    return rd_why_set(l->why, RD_ERR_NO_MEMORY, "no memory for the configuration");
}

/* ---- rules between fields ---- */

static rd_err check_origins(struct rd_config_loader *l)
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
static rd_err settle_store(struct rd_config_loader *l)
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

/* ---- raw to final ---- */

static void copy_list(const struct rd_yaml_list *list, const char **out, size_t *ret_count)
{
    const char *const *items = list->items;
    for (size_t i = 0; i < list->count; i++) { /* the schema allows RD_CONFIG_LIST_MAX */
        out[i] = items[i];
    }
    *ret_count = list->count;
}

static unsigned said(unsigned value, unsigned otherwise)
{
    return value == RD_CONFIG_UNSAID ? otherwise : value;
}

static rd_err fill_limits(struct rd_config_loader *l, struct rd_config *config)
{
    const struct rd_config_raw_limits *all = &l->raw.limits;
    const struct rd_config_raw_limits *rows = l->raw.tenants.items;
    size_t count = l->raw.tenants.count;
    config->limits = (struct rd_config_limits){
        NULL, all->rate, all->burst, all->concurrency, all->queue_depth, all->priority == 1};
    config->tenants = rd_yaml_alloc(l->doc, (count + 1) * sizeof *config->tenants);
    if (config->tenants == NULL) {
        return rd_config_no_memory(l);
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

static rd_err fill(struct rd_config_loader *l, struct rd_config **ret)
{
    const struct rd_config_raw *raw = &l->raw;
    struct rd_config *config = rd_yaml_alloc(l->doc, sizeof *config);
    if (config == NULL) {
        return rd_config_no_memory(l);
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
    config->jobs_deadline_ms = raw->jobs_deadline_ms;
    RD_TRY(fill_limits(l, config));
    struct rd_mapping *mappings = NULL;
    size_t mappings_count = 0;
    RD_TRY(rd_config_mappings(l, &mappings, &mappings_count));
    RD_TRY(rd_config_engines(l, mappings, mappings_count, config));
    atomic_init(&config->references, 1);
    config->internal = l->doc;
    *ret = config;
    return RD_OK;
}

static rd_err load(struct rd_config_loader *l, struct rd_config **ret)
{
    RD_TRY(rd_yaml_read(l->doc, l->root, &rd_config_schema, &l->raw, l->why));
    RD_TRY(check_origins(l));
    RD_TRY(settle_store(l));
    return fill(l, ret);
}

rd_err rd_config_load(const char *yaml, size_t len, const char *file, struct rd_config **ret,
                      struct rd_why *why)
{
    struct rd_config_loader l = {.why = why, .raw = rd_config_defaults};
    RD_TRY(rd_yaml_parse(yaml, len, file, &l.doc, why));
    l.root = rd_yaml_root(l.doc);
    rd_err err = load(&l, ret);
    if (err != RD_OK) {
        rd_yaml_free(l.doc);
    }
    return err;
}

struct rd_config *rd_config_ref(struct rd_config *config)
{
    if (config != NULL) {
        atomic_fetch_add(&config->references, 1);
    }
    return config;
}

void rd_config_unref(struct rd_config *config)
{
    if (config != NULL && atomic_fetch_sub(&config->references, 1) == 1) {
        rd_yaml_free(config->internal);
    }
}
