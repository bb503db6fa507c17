/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading, checking and looking up. Look-ups happen on each request: two sorted arrays, one by
 * family/model and one by model-hub id without regard to case, so ten comparisons find one of a
 * thousand and nothing is allocated or locked. A hash table would save a few of those comparisons
 * and cost a page of code.
 *
 * Everything lives in the YAML document's memory and dies with the last reference. */
#include "catalogue/catalogue.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "catalogue/catalogue_table.h"

enum { VIDEO_STEPS_MAX = 50 }; /* the request's range for video */

struct loader {
    struct rd_yaml *doc;
    struct rd_why *why;
    const struct rd_yaml_node *root;
    struct rd_catalogue_raw raw;
    struct rd_catalogue *catalogue;
};

static rd_err no_memory(struct loader *l)
{
    return rd_why_set(l->why, RD_ERR_NO_MEMORY, "no memory for the catalogue");
}

/* ---- rules between fields ---- */

/* Each task belongs to a modality that the model has, and each modality has a task. */
static rd_err check_tasks(struct loader *l, const struct rd_yaml_node *node,
                          const struct rd_catalogue_raw_model *raw)
{
    unsigned used = 0;
    for (unsigned task = 0; task < RD_TASK_COUNT_; task++) {
        unsigned modality = rd_task_modality((enum rd_task)task);
        if ((raw->tasks.set & (1u << task)) == 0) {
            continue;
        }
        if ((raw->modality.set & (1u << modality)) == 0) {
            return rd_yaml_refuse(l->doc, rd_yaml_get(node, "tasks"), l->why,
                                  "expected tasks of the model's modality, got %s, which makes %s",
                                  rd_task_name((enum rd_task)task),
                                  rd_modality_name((enum rd_modality)modality));
        }
        used |= 1u << modality;
    }
    if (used != raw->modality.set) {
        return rd_yaml_refuse(
            l->doc, rd_yaml_get(node, "modality"), l->why,
            "expected a task for each modality, got none for %s",
            rd_modality_name((used & 1u) != 0 ? RD_MODALITY_VIDEO : RD_MODALITY_IMAGE));
    }
    return RD_OK;
}

/* What is excluded must have been there, and a request without `format` must keep working. */
static rd_err check_formats(struct loader *l, const struct rd_yaml_node *node,
                            const struct rd_catalogue_raw_model *raw)
{
    const struct rd_yaml_node *item = rd_yaml_item(rd_yaml_get(node, "exclude_formats"), 0);
    for (; item != NULL; item = item->next) {
        bool has = false;
        for (unsigned m = 0; m < RD_MODALITY_COUNT_; m++) {
            const struct rd_format *format = rd_format_find((enum rd_modality)m, item->text);
            if (format == NULL || (raw->modality.set & (1u << m)) == 0) {
                continue;
            }
            has = true;
            if (format == rd_format_default((enum rd_modality)m)) {
                return rd_yaml_expected(l->doc, item, l->why, "a format that is not the default");
            }
        }
        if (!has) {
            return rd_yaml_expected(l->doc, item, l->why, "a format of the model's modality");
        }
    }
    return RD_OK;
}

static rd_err check_presets(struct loader *l, const struct rd_yaml_node *node,
                            const struct rd_catalogue_raw_model *raw)
{
    const struct rd_preset *presets = raw->presets.items;
    const struct rd_yaml_node *item = rd_yaml_item(rd_yaml_get(node, "presets"), 0);
    bool image = (raw->modality.set & (1u << RD_MODALITY_IMAGE)) != 0;
    for (size_t i = 0; i < raw->presets.count; i++, item = item->next) {
        for (size_t j = 0; j < i; j++) {
            if (strcmp(presets[i].name, presets[j].name) == 0) {
                return rd_yaml_expected(l->doc, rd_yaml_get(item, "name"), l->why,
                                        "a name that presets[%zu] does not have", j);
            }
        }
        if (!image && presets[i].steps > VIDEO_STEPS_MAX) {
            return rd_yaml_expected(l->doc, rd_yaml_get(item, "steps"), l->why,
                                    "at most %d steps for video", VIDEO_STEPS_MAX);
        }
        if (!image && presets[i].guidance >= 0) {
            return rd_yaml_expected(l->doc, rd_yaml_get(item, "guidance"), l->why,
                                    "no guidance for video");
        }
    }
    return RD_OK;
}

static rd_err check_loras(struct loader *l)
{
    const struct rd_catalogue *c = l->catalogue;
    const struct rd_yaml_node *item = rd_yaml_item(rd_yaml_get(l->root, "loras"), 0);
    for (size_t i = 0; i < c->loras_count; i++, item = item->next) {
        for (size_t j = 0; j < i; j++) {
            if (strcmp(c->loras[i].id, c->loras[j].id) == 0) {
                return rd_yaml_expected(l->doc, rd_yaml_get(item, "id"), l->why,
                                        "an id that loras[%zu] does not have", j);
            }
        }
        size_t m = 0;
        while (m < c->models_count && strcmp(c->models[m].family, c->loras[i].family) != 0) {
            m++;
        }
        if (m == c->models_count) {
            return rd_yaml_expected(l->doc, rd_yaml_get(item, "family"), l->why,
                                    "the family of a model");
        }
    }
    return RD_OK;
}

/* ---- the index ---- */

static int compare_names(const void *a, const void *b)
{
    const struct rd_catalogue_entry *x = a, *y = b;
    int order = strcmp(x->first, y->first);
    return order != 0 ? order : strcmp(x->second, y->second);
}

static int compare_aliases(const void *a, const void *b)
{
    const struct rd_catalogue_entry *x = a, *y = b;
    int order = strcasecmp(x->first, y->first);
    return order != 0 ? order : strcasecmp(x->second, y->second);
}

/* Splits "first/second", which a form has checked, into two copies. */
static rd_err split(struct loader *l, const char *id, const char **ret_first,
                    const char **ret_second)
{
    size_t len = strlen(id), slash = strcspn(id, "/");
    char *copy = rd_yaml_alloc(l->doc, len + 1);
    if (copy == NULL) {
        return no_memory(l);
    }
    memcpy(copy, id, len);
    copy[slash] = '\0';
    *ret_first = copy;
    *ret_second = copy + slash + 1;
    return RD_OK;
}

/* After sorting, equal entries are neighbours; the one that stands later in the file is to blame.
 */
static rd_err check_unique(struct loader *l, const struct rd_catalogue_entry *entries, size_t count,
                           const char *key)
{
    int (*compare)(const void *, const void *) =
        entries == l->catalogue->by_name ? compare_names : compare_aliases;
    const struct rd_yaml_node *models = rd_yaml_get(l->root, "models");
    for (size_t i = 1; i < count; i++) {
        if (compare(&entries[i - 1], &entries[i]) == 0) {
            size_t a = (size_t)(entries[i - 1].model - l->catalogue->models);
            size_t b = (size_t)(entries[i].model - l->catalogue->models);
            const struct rd_yaml_node *later = rd_yaml_item(models, a > b ? a : b);
            return rd_yaml_expected(l->doc, rd_yaml_get(later, key), l->why,
                                    "an %s that models[%zu] does not have", key, a < b ? a : b);
        }
    }
    return RD_OK;
}

static const struct rd_model *find_in(const struct rd_catalogue_entry *entries, size_t count,
                                      const struct rd_catalogue_entry *key,
                                      int (*compare)(const void *, const void *))
{
    const struct rd_catalogue_entry *got =
        count == 0 ? NULL : bsearch(key, entries, count, sizeof *entries, compare);
    return got == NULL ? NULL : got->model;
}

static rd_err build_index(struct loader *l)
{
    struct rd_catalogue *c = l->catalogue;
    c->by_name = rd_yaml_alloc(l->doc, c->models_count * sizeof *c->by_name);
    c->by_alias = rd_yaml_alloc(l->doc, c->models_count * sizeof *c->by_alias);
    if (c->by_name == NULL || c->by_alias == NULL) {
        return no_memory(l);
    }
    for (size_t i = 0; i < c->models_count; i++) {
        const struct rd_model *model = &c->models[i];
        c->by_name[i] = (struct rd_catalogue_entry){model->family, model->name, model};
        if (model->alias != NULL) {
            struct rd_catalogue_entry *entry = &c->by_alias[c->aliases_count++];
            RD_TRY(split(l, model->alias, &entry->first, &entry->second));
            entry->model = model;
        }
    }
    qsort(c->by_name, c->models_count, sizeof *c->by_name, compare_names);
    qsort(c->by_alias, c->aliases_count, sizeof *c->by_alias, compare_aliases);
    RD_TRY(check_unique(l, c->by_name, c->models_count, "id"));
    RD_TRY(check_unique(l, c->by_alias, c->aliases_count, "alias"));
    const struct rd_yaml_node *models = rd_yaml_get(l->root, "models");
    for (size_t i = 0; i < c->aliases_count; i++) {
        /* Names are all lower case, so that the order of by_name is right for this comparison too.
         */
        if (find_in(c->by_name, c->models_count, &c->by_alias[i], compare_aliases) != NULL) {
            size_t at = (size_t)(c->by_alias[i].model - c->models);
            return rd_yaml_expected(l->doc, rd_yaml_get(rd_yaml_item(models, at), "alias"), l->why,
                                    "an alias that is not the id of a model");
        }
    }
    return RD_OK;
}

/* ---- loading ---- */

static rd_err fill_model(struct loader *l, const struct rd_catalogue_raw_model *raw,
                         struct rd_model *out)
{
    static const char *const none[] = {NULL};
    RD_TRY(split(l, raw->id, &out->family, &out->name));
    out->modalities = raw->modality.set;
    out->tasks = raw->tasks.set;
    out->backends = raw->backends.set;
    out->default_backend = (enum rd_backend_kind)raw->backends.first;
    out->status = (enum rd_model_status)raw->status;
    out->alias = raw->alias;
    out->description = raw->description;
    out->presets = raw->presets.items;
    out->presets_count = raw->presets.count;
    out->excluded_formats = raw->exclude_formats.given ? raw->exclude_formats.items : none;
    return RD_OK;
}

static rd_err fill(struct loader *l)
{
    const struct rd_catalogue_raw_model *raw = l->raw.models.items;
    const struct rd_yaml_node *node = rd_yaml_item(rd_yaml_get(l->root, "models"), 0);
    struct rd_catalogue *c = l->catalogue;
    c->models_count = l->raw.models.count;
    c->models = rd_yaml_alloc(l->doc, c->models_count * sizeof *c->models);
    if (c->models == NULL) {
        return no_memory(l);
    }
    for (size_t i = 0; i < c->models_count; i++, node = node->next) {
        RD_TRY(check_tasks(l, node, &raw[i]));
        RD_TRY(check_formats(l, node, &raw[i]));
        RD_TRY(check_presets(l, node, &raw[i]));
        RD_TRY(fill_model(l, &raw[i], &c->models[i]));
    }
    c->loras = l->raw.loras.items;
    c->loras_count = l->raw.loras.count;
    RD_TRY(build_index(l));
    return check_loras(l);
}

static rd_err load(struct loader *l)
{
    RD_TRY(rd_yaml_read(l->doc, l->root, &rd_catalogue_schema, &l->raw, l->why));
    l->catalogue = rd_yaml_alloc(l->doc, sizeof *l->catalogue);
    if (l->catalogue == NULL) {
        return no_memory(l);
    }
    l->catalogue->doc = l->doc;
    atomic_init(&l->catalogue->refs, 1);
    return fill(l);
}

rd_err rd_catalogue_load(const char *yaml, size_t len, const char *file, struct rd_catalogue **ret,
                         struct rd_why *why)
{
    struct loader l = {.why = why};
    RD_TRY(rd_yaml_parse(yaml, len, file, &l.doc, why));
    l.root = rd_yaml_root(l.doc);
    rd_err err = load(&l);
    if (err != RD_OK) {
        rd_yaml_free(l.doc);
        return err;
    }
    *ret = l.catalogue;
    return RD_OK;
}

rd_err rd_catalogue_load_default(struct rd_catalogue **ret, struct rd_why *why)
{
    return rd_catalogue_load((const char *)rd_catalogue_default, rd_catalogue_default_len,
                             "catalogue.yaml (built in)", ret, why);
}

struct rd_catalogue *rd_catalogue_ref(struct rd_catalogue *catalogue)
{
    atomic_fetch_add_explicit(&catalogue->refs, 1, memory_order_relaxed);
    return catalogue;
}

void rd_catalogue_unref(struct rd_catalogue *catalogue)
{
    /* The last one must see what all others did before they let go. */
    if (catalogue != NULL &&
        atomic_fetch_sub_explicit(&catalogue->refs, 1, memory_order_acq_rel) == 1) {
        rd_yaml_free(catalogue->doc);
    }
}

/* ---- looking up ---- */

size_t rd_catalogue_models(const struct rd_catalogue *catalogue, const struct rd_model **ret)
{
    *ret = catalogue->models;
    return catalogue->models_count;
}

size_t rd_catalogue_loras(const struct rd_catalogue *catalogue,
                          const struct rd_catalogue_lora **ret)
{
    *ret = catalogue->loras;
    return catalogue->loras_count;
}

const struct rd_model *rd_catalogue_find(const struct rd_catalogue *catalogue, const char *first,
                                         const char *second)
{
    const struct rd_catalogue_entry key = {.first = first, .second = second};
    const struct rd_model *model =
        find_in(catalogue->by_name, catalogue->models_count, &key, compare_names);
    return model != NULL
               ? model
               : find_in(catalogue->by_alias, catalogue->aliases_count, &key, compare_aliases);
}

bool rd_model_has_format(const struct rd_model *model, const struct rd_format *format)
{
    if ((model->modalities & (1u << format->modality)) == 0) {
        return false;
    }
    for (const char *const *name = model->excluded_formats; *name != NULL; name++) {
        if (strcmp(*name, format->name) == 0) {
            return false;
        }
    }
    return true;
}
