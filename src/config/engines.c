/* SPDX-License-Identifier: Apache-2.0
 *
 * The engines of a configuration: which keys each type has, as one table; the rules between them;
 * and whether two engines were written the same. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "config/forms.h"
#include "config/internal.h"
#include "engine/process/limits.h"

enum { SLOTS_DEFAULT = 1 }; /* what one device does at a time */

/* ---- which keys ---- */

#define BUILTIN (1u << RD_CONFIG_TYPE_BUILTIN)
#define HTTP (1u << RD_CONFIG_TYPE_HTTP)
#define TRITON (1u << RD_CONFIG_TYPE_TRITON)
#define OPENAI (1u << RD_CONFIG_TYPE_OPENAI)
#define PROCESS (1u << RD_CONFIG_TYPE_PROCESS)
#define REMOTE (HTTP | TRITON | OPENAI)

/* Keys that not every type has; the others are every type's. */
static const struct {
    const char *key;
    unsigned types;    /* that take it */
    unsigned required; /* that must have it */
    const char *words; /* it is missing; expected ... */
} keys[] = {
    {"url", REMOTE, REMOTE, "one"},
    {"models", BUILTIN | REMOTE | PROCESS, REMOTE | PROCESS, "a list of what this engine serves"},
    {"mapping", TRITON, TRITON, "a list of mappings, such as [prompt-to-picture]"},
    {"command", PROCESS, PROCESS, "a list of words, the program's absolute path first"},
    {"health", HTTP | OPENAI, 0, NULL},
    {"remote_model", OPENAI, 0, NULL},
    {"ca_file", REMOTE, 0, NULL},
    {"key_file", REMOTE, 0, NULL},
    {"memory", PROCESS, 0, NULL},
    {"output", PROCESS, 0, NULL},
};

static rd_err check_keys(struct rd_config_loader *l, const struct rd_yaml_node *node,
                         const struct rd_config_raw_engine *engine)
{
    const char *type = rd_config_engine_type_name(engine->type);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const struct rd_yaml_node *key = rd_yaml_get(node, keys[i].key);
        if (key != NULL && (keys[i].types & 1u << engine->type) == 0) {
            return rd_yaml_expected(l->doc, key, l->why, "no %s in an engine of type %s",
                                    keys[i].key, type);
        }
        if (key == NULL && (keys[i].required & 1u << engine->type) != 0) {
            return rd_yaml_refuse(l->doc, node, l->why,
                                  "\"%s\" is missing; expected %s in an engine of type %s",
                                  keys[i].key, keys[i].words, type);
        }
    }
    return RD_OK;
}

/* ---- rules between keys ---- */

static rd_err check_url(struct rd_config_loader *l, const struct rd_yaml_node *node,
                        const struct rd_config_raw_engine *engine)
{
    if (engine->url == NULL) {
        return RD_OK;
    }
    if (engine->type != RD_CONFIG_TYPE_TRITON && rd_text_starts(engine->url, "grpc")) {
        return rd_yaml_expected(l->doc, rd_yaml_get(node, "url"), l->why,
                                "an http:// or https:// URL in an engine of type %s",
                                rd_config_engine_type_name(engine->type));
    }
    if (engine->ca_file != NULL && !rd_text_starts(engine->url, "https://") &&
        !rd_text_starts(engine->url, "grpcs://")) {
        return rd_yaml_expected(l->doc, rd_yaml_get(node, "ca_file"), l->why,
                                "it beside a URL of https:// or grpcs:// only");
    }
    return RD_OK;
}

static rd_err check_engine(struct rd_config_loader *l, const struct rd_yaml_node *node,
                           const struct rd_config_raw_engine *engine)
{
    const char *const *command = engine->command.items;
    RD_TRY(check_keys(l, node, engine));
    RD_TRY(check_url(l, node, engine));
    if (engine->type == RD_CONFIG_TYPE_PROCESS && engine->slots > RD_PROCESS_SLOTS_MAX) {
        return rd_yaml_expected(l->doc, rd_yaml_get(node, "slots"), l->why,
                                "a whole number from 1 to %d in an engine of type process",
                                RD_PROCESS_SLOTS_MAX);
    }
    if (engine->command.given && command[0][0] != '/') {
        return rd_yaml_expected(l->doc, rd_yaml_item(rd_yaml_get(node, "command"), 0), l->why,
                                "the absolute path of a program");
    }
    if (engine->type == RD_CONFIG_TYPE_BUILTIN && engine->backend != RD_BACKEND_COUNT_ &&
        engine->backend != RD_BACKEND_BUILTIN) {
        return rd_yaml_expected(l->doc, rd_yaml_get(node, "backend"), l->why,
                                "builtin in an engine of type builtin");
    }
    return RD_OK;
}

static rd_err check_engines(struct rd_config_loader *l)
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

/* ---- mappings by name ---- */

struct pool {
    const struct rd_mapping *items;
    size_t count;
};

static const struct rd_mapping *find_mapping(const struct pool *pool, const char *name)
{
    for (size_t i = 0; i < pool->count; i++) {
        if (strcmp(pool->items[i].name, name) == 0) {
            return &pool->items[i];
        }
    }
    return rd_mapping_ready(name);
}

static rd_err unknown_mapping(struct rd_config_loader *l, const struct rd_yaml_node *node)
{
    char names[256] = "";
    size_t used = 0;
    for (size_t i = 0; rd_mapping_ready_at(i) != NULL && used < sizeof names; i++) {
        int len = snprintf(names + used, sizeof names - used, "%s%s", i == 0 ? "" : ", ",
                           rd_mapping_ready_at(i)->name);
        used += len > 0 ? (size_t)len : 0;
    }
    return rd_yaml_expected(l->doc, node, l->why,
                            "the name of one of \"mappings\" or of those compiled in (%s)", names);
}

/* The mappings that the engine names; each of its models has one. */
static rd_err fill_mappings(struct rd_config_loader *l, const struct rd_yaml_node *node,
                            const struct rd_config_raw_engine *raw, const struct pool *pool,
                            struct rd_config_engine *out)
{
    const char *const *names = raw->mapping.items;
    const struct rd_mapping **mappings =
        rd_yaml_alloc(l->doc, (raw->mapping.count + 1) * sizeof(struct rd_mapping *));
    if (mappings == NULL) {
        return rd_config_no_memory(l);
    }
    node = rd_yaml_get(node, "mapping");
    for (size_t i = 0; i < raw->mapping.count; i++) {
        mappings[i] = find_mapping(pool, names[i]);
        if (mappings[i] == NULL) {
            return unknown_mapping(l, rd_yaml_item(node, i));
        }
        if (mappings[i]->decoupled && !rd_text_starts(raw->url, "grpc")) {
            return rd_yaml_expected(l->doc, rd_yaml_item(node, i), l->why,
                                    "a grpc:// or grpcs:// URL beside a mapping that is decoupled");
        }
    }
    out->engine.mappings = mappings;
    out->engine.mappings_count = raw->mapping.count;
    for (size_t i = 0; raw->mapping.given && i < out->models_count; i++) {
        if (rd_mapping_for(&out->engine, out->models[i]) == NULL) {
            return rd_yaml_refuse(l->doc, node, l->why, "expected one that is for %s, too",
                                  out->models[i]);
        }
    }
    return RD_OK;
}

/* ---- raw to final ---- */

static unsigned cores(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    if (count < 1) {
        return 1;
    }
    return count > RD_CONFIG_SLOTS_MAX ? RD_CONFIG_SLOTS_MAX : (unsigned)count;
}

static void fill_engine(const struct rd_config_raw_engine *raw, struct rd_config_engine *out)
{
    bool builtin = raw->type == RD_CONFIG_TYPE_BUILTIN;
    const char *const *models = raw->models.items;
    out->engine = (struct rd_engine_config){
        .name = raw->name,
        .type = rd_config_engine_type_name(raw->type),
        .url = raw->url,
        .slots = raw->slots != 0 ? raw->slots
                 : builtin       ? cores()
                                 : SLOTS_DEFAULT,
        .timeout_ms = (unsigned)raw->timeout_ms, /* at most 24 h */
        .ca_file = raw->ca_file,
        .key_file = raw->key_file,
        .health = raw->health,
        .remote_model = raw->remote_model,
        .command = raw->command.items,
        .command_count = raw->command.count,
        .memory_max = raw->memory_bytes,
        .output_max = raw->output_bytes,
    };
    enum rd_backend_kind usual = builtin ? RD_BACKEND_BUILTIN : RD_BACKEND_TORCH;
    out->backend = raw->backend == RD_BACKEND_COUNT_ ? usual : (enum rd_backend_kind)raw->backend;
    out->weight = raw->weight != 0                           ? raw->weight
                  : out->engine.slots < RD_CONFIG_WEIGHT_MAX ? out->engine.slots
                                                             : RD_CONFIG_WEIGHT_MAX;
    for (size_t i = 0; i < raw->models.count; i++) { /* the schema allows RD_CONFIG_LIST_MAX */
        out->models[out->models_count++] = models[i];
    }
    if (out->models_count == 0) { /* only type builtin may leave them out */
        out->models[out->models_count++] = "builtin/plasma";
    }
    out->engine.models = out->models;
    out->engine.models_count = out->models_count;
}

rd_err rd_config_engines(struct rd_config_loader *l, const struct rd_mapping *mappings,
                         size_t mappings_count, struct rd_config *config)
{
    static const struct rd_config_raw_engine usual = {
        .name = "builtin", .type = RD_CONFIG_TYPE_BUILTIN, .backend = RD_BACKEND_COUNT_};
    const struct pool pool = {mappings, mappings_count};
    bool given = l->raw.engines.given;
    const struct rd_config_raw_engine *raw = given ? l->raw.engines.items : &usual;
    size_t count = given ? l->raw.engines.count : 1;
    RD_TRY(check_engines(l));
    config->engines = rd_yaml_alloc(l->doc, count * sizeof *config->engines);
    if (config->engines == NULL) {
        return rd_config_no_memory(l);
    }
    for (size_t i = 0; i < count; i++) {
        const struct rd_yaml_node *node = rd_yaml_item(rd_yaml_get(l->root, "engines"), i);
        fill_engine(&raw[i], &config->engines[i]);
        RD_TRY(fill_mappings(l, node, &raw[i], &pool, &config->engines[i]));
    }
    config->engines_count = count;
    return RD_OK;
}

/* ---- two engines ---- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_list(const char *const *a, size_t a_count, const char *const *b, size_t b_count)
{
    bool same = a_count == b_count;
    for (size_t i = 0; same && i < a_count; i++) {
        same = same_text(a[i], b[i]);
    }
    return same;
}

static bool same_tensors(const struct rd_mapping_tensor *a, const struct rd_mapping_tensor *b,
                         size_t count)
{
    for (size_t i = 0; i < count; i++, a++, b++) {
        if (!same_text(a->name, b->name) || a->field != b->field ||
            !same_text(a->value, b->value) || a->optional != b->optional || a->gives != b->gives ||
            a->datatype != b->datatype || a->range != b->range || a->rank != b->rank ||
            memcmp(a->shape, b->shape, a->rank * sizeof a->shape[0]) != 0) {
            return false;
        }
    }
    return true;
}

static bool same_mapping(const struct rd_mapping *a, const struct rd_mapping *b)
{
    return a == b || (same_text(a->name, b->name) && same_text(a->model, b->model) &&
                      same_text(a->version, b->version) && a->decoupled == b->decoupled &&
                      a->tasks == b->tasks && a->inputs_count == b->inputs_count &&
                      a->outputs_count == b->outputs_count &&
                      same_list(a->models, a->models_count, b->models, b->models_count) &&
                      same_tensors(a->inputs, b->inputs, a->inputs_count) &&
                      same_tensors(a->outputs, b->outputs, a->outputs_count));
}

static bool same_mappings(const struct rd_engine_config *a, const struct rd_engine_config *b)
{
    bool same = a->mappings_count == b->mappings_count;
    for (size_t i = 0; same && i < a->mappings_count; i++) {
        same = same_mapping(a->mappings[i], b->mappings[i]);
    }
    return same;
}

bool rd_config_engine_same(const struct rd_config_engine *a, const struct rd_config_engine *b)
{
    const struct rd_engine_config *x = &a->engine;
    const struct rd_engine_config *y = &b->engine;
    return same_text(x->name, y->name) && same_text(x->type, y->type) &&
           same_text(x->url, y->url) && x->slots == y->slots && x->timeout_ms == y->timeout_ms &&
           same_list(x->models, x->models_count, y->models, y->models_count) &&
           same_text(x->ca_file, y->ca_file) && same_text(x->key_file, y->key_file) &&
           same_text(x->health, y->health) && same_text(x->remote_model, y->remote_model) &&
           same_list(x->command, x->command_count, y->command, y->command_count) &&
           x->memory_max == y->memory_max && x->output_max == y->output_max &&
           same_mappings(x, y) && a->backend == b->backend && a->weight == b->weight;
}
