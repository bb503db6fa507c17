/* SPDX-License-Identifier: Apache-2.0
 *
 * Mappings as they are written become struct rd_mapping. The rules between fields are the engines'
 * (engine/tensor/mapping.h); here a broken one gets its file, line and path. */
#include <string.h>

#include "base/text.h"
#include "config/internal.h"

static bool is_raw_picture(bool input, const struct rd_mapping_tensor *tensor)
{
    bool picture = input ? tensor->field == RD_INPUT_IMAGE || tensor->field == RD_INPUT_MASK
                         : tensor->gives == RD_OUTPUT_IMAGE || tensor->gives == RD_OUTPUT_PREVIEW;
    return picture && tensor->datatype != RD_DATATYPE_BYTES;
}

/* What is not said: one element, or the shape that pictures usually have. */
static void fill_shape(const struct rd_config_raw_tensor *raw, bool input,
                       struct rd_mapping_tensor *out)
{
    const int64_t *dims = raw->shape.items;
    if (raw->shape.given) {
        out->rank = (unsigned)raw->shape.count; /* the schema allows RD_MAPPING_RANK_MAX */
        memcpy(out->shape, dims, raw->shape.count * sizeof *dims);
    } else if (is_raw_picture(input, out)) {
        static const int64_t picture[] = {-1, -1, 3};
        out->rank = 3;
        memcpy(out->shape, picture, sizeof picture);
    } else if (input) {
        out->rank = 1;
        out->shape[0] = 1;
    }
}

static rd_err fill_tensor(struct rd_config_loader *l, const struct rd_yaml_node *node, bool input,
                          const struct rd_config_raw_tensor *raw, struct rd_mapping_tensor *out)
{
    bool said = raw->field != RD_CONFIG_UNSAID;
    if (input && said == (raw->value != NULL)) {
        return rd_yaml_refuse(l->doc, node, l->why,
                              "expected either \"field\" or \"value\", got %s",
                              said ? "both" : "neither");
    }
    *out = (struct rd_mapping_tensor){
        .name = raw->name,
        .field = said ? (enum rd_mapping_field)(RD_INPUT_VALUE + 1 + raw->field) : RD_INPUT_VALUE,
        .value = raw->value,
        .optional = raw->optional,
        .gives = (enum rd_mapping_gives)raw->gives,
        .datatype = (enum rd_datatype)raw->datatype,
    };
    fill_shape(raw, input, out);
    if (raw->range != RD_CONFIG_UNSAID && !is_raw_picture(input, out)) {
        return rd_yaml_expected(l->doc, rd_yaml_get(node, "range"), l->why,
                                "no range but for raw pixels");
    }
    out->range = raw->range != RD_CONFIG_UNSAID       ? (enum rd_mapping_range)raw->range
                 : out->datatype == RD_DATATYPE_UINT8 ? RD_RANGE_0_255
                                                      : RD_RANGE_0_1;
    return RD_OK;
}

static rd_err fill_tensors(struct rd_config_loader *l, const struct rd_yaml_node *list, bool input,
                           const struct rd_yaml_list *raw, const struct rd_mapping_tensor **ret)
{
    const struct rd_config_raw_tensor *rows = raw->items;
    struct rd_mapping_tensor *tensors = rd_yaml_alloc(l->doc, raw->count * sizeof *tensors);
    if (tensors == NULL) {
        return rd_config_no_memory(l);
    }
    const struct rd_yaml_node *node = rd_yaml_item(list, 0);
    for (size_t i = 0; i < raw->count; i++, node = node->next) {
        RD_TRY(fill_tensor(l, node, input, &rows[i], &tensors[i]));
    }
    *ret = tensors;
    return RD_OK;
}

/* The rules of the engines, at the line of the row and key that break one. */
static rd_err check(struct rd_config_loader *l, const struct rd_yaml_node *node,
                    const struct rd_mapping *mapping)
{
    struct rd_mapping_problem found;
    if (!rd_mapping_problem_find(mapping, &found)) {
        return RD_OK;
    }
    if (found.list != NULL) {
        node = rd_yaml_item(rd_yaml_get(node, found.list), found.index);
    }
    const struct rd_yaml_node *key = found.key == NULL ? NULL : rd_yaml_get(node, found.key);
    const char *expected = rd_text_starts(found.text, "expected ") ? found.text + 9 : NULL;
    if (key != NULL && key->kind == RD_YAML_SCALAR && expected != NULL &&
        strstr(expected, ", got ") == NULL) {
        return rd_yaml_expected(l->doc, key, l->why, "%s", expected);
    }
    if (key != NULL) {
        return rd_yaml_refuse(l->doc, key, l->why, "%s", found.text);
    }
    return rd_yaml_refuse(l->doc, node, l->why, "%s%s%s", found.key == NULL ? "" : found.key,
                          found.key == NULL ? "" : ": ", found.text);
}

static rd_err fill_mapping(struct rd_config_loader *l, const struct rd_yaml_node *node,
                           const struct rd_config_raw_mapping *raw, struct rd_mapping *out)
{
    *out = (struct rd_mapping){
        .name = raw->name,
        .models = raw->models.items,
        .models_count = raw->models.count,
        .model = raw->model,
        .version = raw->version,
        .decoupled = raw->decoupled,
        .tasks = raw->tasks.set,
        .inputs_count = raw->inputs.count,
        .outputs_count = raw->outputs.count,
    };
    RD_TRY(fill_tensors(l, rd_yaml_get(node, "inputs"), true, &raw->inputs, &out->inputs));
    RD_TRY(fill_tensors(l, rd_yaml_get(node, "outputs"), false, &raw->outputs, &out->outputs));
    return check(l, node, out);
}

rd_err rd_config_mappings(struct rd_config_loader *l, struct rd_mapping **ret, size_t *ret_count)
{
    const struct rd_config_raw_mapping *raw = l->raw.mappings.items;
    size_t count = l->raw.mappings.count;
    struct rd_mapping *mappings = rd_yaml_alloc(l->doc, (count + 1) * sizeof *mappings);
    if (mappings == NULL) {
        return rd_config_no_memory(l);
    }
    const struct rd_yaml_node *node = rd_yaml_item(rd_yaml_get(l->root, "mappings"), 0);
    for (size_t i = 0; i < count; i++, node = node->next) {
        const struct rd_yaml_node *name = rd_yaml_get(node, "name");
        if (rd_mapping_ready(raw[i].name) != NULL) {
            return rd_yaml_expected(l->doc, name, l->why,
                                    "a name that none of the mappings compiled in has");
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(raw[i].name, raw[k].name) == 0) {
                return rd_yaml_expected(l->doc, name, l->why,
                                        "a name that mappings[%zu] does not have", k);
            }
        }
        RD_TRY(fill_mapping(l, node, &raw[i], &mappings[i]));
    }
    *ret = mappings;
    *ret_count = count;
    return RD_OK;
}
