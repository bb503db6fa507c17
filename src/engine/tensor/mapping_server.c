/* SPDX-License-Identifier: Apache-2.0
 *
 * A mapping against a server's own description of the model. See mapping.h.
 *
 * A dimension fits when the server says -1 or both say the same; so a model that batches (its
 * shapes begin with -1) fits a mapping that writes 1 there, and one written without the batch
 * dimension is told the rank that is missing. An input that the server wants in one size must say
 * so in the mapping, too: then source pictures are brought to it. An output of one size may be
 * called -1: it serves those who ask for that size. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "engine/tensor/fields.h"

static const struct rd_tensor_info *find(const struct rd_tensor_info *tensors, size_t count,
                                         const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(tensors[i].name, name) == 0) {
            return &tensors[i];
        }
    }
    return NULL;
}

static void put_names(struct rd_buf *out, const struct rd_tensor_info *tensors, size_t count)
{
    for (size_t i = 0; i < count && i < 8; i++) {
        char name[RD_TENSOR_TEXT_ROOM];
        rd_buf_printf(out, "%s%s", i == 0 ? "" : ", ", rd_tensor_text(tensors[i].name, name));
    }
    rd_buf_str(out, count == 0 ? "none" : count > 8 ? ", ..." : "");
}

static bool shape_fits(const struct rd_mapping_tensor *row, const struct rd_tensor_info *info,
                       bool input)
{
    if (row->rank == 0) {
        return true;
    }
    if (row->rank != info->rank) {
        return false;
    }
    for (size_t i = 0; i < info->rank; i++) {
        bool open = info->shape[i] == -1 || (row->shape[i] == -1 && !input);
        if (!open && row->shape[i] != info->shape[i]) {
            return false;
        }
    }
    return true;
}

/* What to write instead: the server's shape, with 1 for what it leaves open in front or, of a
 * single element, everywhere. */
static void put_advice(struct rd_buf *out, const struct rd_mapping_tensor *row,
                       const struct rd_tensor_info *info)
{
    int64_t shape[RD_MAPPING_RANK_MAX];
    char text[RD_TENSOR_SHAPE_ROOM];
    struct rd_mapping_picture picture;
    if (info->rank == 0 || info->rank > RD_MAPPING_RANK_MAX) {
        return;
    }
    bool single = !rd_mapping_picture(row->shape, row->rank, &picture);
    for (size_t i = 0; i < info->rank; i++) {
        bool open = info->shape[i] == -1;
        shape[i] = open && (single || (i == 0 && info->rank > 3)) ? 1 : info->shape[i];
        if (single && shape[i] != 1) {
            rd_buf_printf(out, "; the mapping can fill one element only");
            return;
        }
    }
    rd_buf_printf(out, "; write shape: %s",
                  rd_tensor_shape_text(shape, info->rank, text, sizeof text));
}

static void check_row(const struct rd_mapping_tensor *row, const char *list,
                      const struct rd_tensor_info *info, struct rd_buf *out)
{
    char ours[RD_TENSOR_SHAPE_ROOM], theirs[RD_TENSOR_SHAPE_ROOM];
    const char *datatype = rd_datatype_name(row->datatype);
    const char *start = out->len == 0 ? "" : "; also: ";
    if (strcmp(info->datatype, datatype) != 0) {
        char got[RD_TENSOR_TEXT_ROOM];
        (void)rd_tensor_text(info->datatype, got);
        rd_buf_printf(out, "%s%s %s: the mapping says %s, the server %s; write datatype: %s", start,
                      list, row->name, datatype, got, got);
    } else if (!shape_fits(row, info, strcmp(list, "input") == 0)) {
        rd_buf_printf(out, "%s%s %s: the mapping says shape %s, the server %s", start, list,
                      row->name, rd_tensor_shape_text(row->shape, row->rank, ours, sizeof ours),
                      rd_tensor_shape_text(info->shape, info->rank, theirs, sizeof theirs));
        put_advice(out, row, info);
    }
}

static void check_rows(const struct rd_mapping_tensor *rows, size_t rows_count, const char *list,
                       const struct rd_tensor_info *infos, size_t infos_count, struct rd_buf *out)
{
    for (size_t i = 0; i < rows_count; i++) {
        const struct rd_tensor_info *info = find(infos, infos_count, rows[i].name);
        if (info != NULL) {
            check_row(&rows[i], list, info, out);
            continue;
        }
        rd_buf_printf(out, "%s%s %s: the model has none of that name; it has ",
                      out->len == 0 ? "" : "; also: ", list, rows[i].name);
        put_names(out, infos, infos_count);
    }
}

/* Inputs that the server cannot do without and no row fills. */
static void check_filled(const struct rd_mapping *mapping, const struct rd_model_metadata *metadata,
                         struct rd_buf *out)
{
    for (size_t i = 0; i < metadata->inputs_count; i++) {
        const struct rd_tensor_info *info = &metadata->inputs[i];
        char shape[RD_TENSOR_SHAPE_ROOM];
        bool filled = false;
        bool optional = false;
        for (size_t k = 0; k < mapping->inputs_count; k++) {
            if (strcmp(mapping->inputs[k].name, info->name) == 0) {
                filled = true;
                optional = mapping->inputs[k].optional;
            }
        }
        if (!info->optional && !filled) {
            char name[RD_TENSOR_TEXT_ROOM], datatype[RD_TENSOR_TEXT_ROOM];
            rd_buf_printf(out,
                          "%sinput %s (%s, %s): the model needs it, no row fills it; add one with "
                          "a field or a value",
                          out->len == 0 ? "" : "; also: ", rd_tensor_text(info->name, name),
                          rd_tensor_text(info->datatype, datatype),
                          rd_tensor_shape_text(info->shape, info->rank, shape, sizeof shape));
        } else if (!info->optional && optional) { /* so the name is the mapping's */
            rd_buf_printf(out, "%sinput %s: the model needs it always; take away optional: true",
                          out->len == 0 ? "" : "; also: ", info->name);
        }
    }
}

static void check_version(const struct rd_mapping *mapping,
                          const struct rd_model_metadata *metadata, struct rd_buf *out)
{
    if (mapping->version == NULL || metadata->versions_count == 0) {
        return;
    }
    for (size_t i = 0; i < metadata->versions_count; i++) {
        if (strcmp(metadata->versions[i], mapping->version) == 0) {
            return;
        }
    }
    rd_buf_printf(out, "version %s: the server has ", mapping->version);
    for (size_t i = 0; i < metadata->versions_count && i < 8; i++) {
        char version[RD_TENSOR_TEXT_ROOM];
        rd_buf_printf(out, "%s%s", i == 0 ? "" : ", ",
                      rd_tensor_text(metadata->versions[i], version));
    }
}

/* Triton refuses to run a decoupled model otherwise; the other way round it does no harm. */
static void check_decoupled(const struct rd_mapping *mapping,
                            const struct rd_model_metadata *metadata, struct rd_buf *out)
{
    if (metadata->decoupled && !mapping->decoupled) {
        rd_buf_printf(out, "%sthe model is decoupled; write decoupled: true, and a grpc:// URL",
                      out->len == 0 ? "" : "; also: ");
    }
}

rd_err rd_mapping_check_server(const struct rd_mapping *mapping,
                               const struct rd_model_metadata *metadata, struct rd_why *why)
{
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, 16384);
    check_version(mapping, metadata, &out);
    check_decoupled(mapping, metadata, &out);
    check_rows(mapping->inputs, mapping->inputs_count, "input", metadata->inputs,
               metadata->inputs_count, &out);
    check_filled(mapping, metadata, &out);
    check_rows(mapping->outputs, mapping->outputs_count, "output", metadata->outputs,
               metadata->outputs_count, &out);
    if (out.len == 0) {
        return rd_buf_err(&out);
    }
    char model[RD_TENSOR_TEXT_ROOM];
    return rd_why_set(why, RD_ERR_CONFIG, "mapping %s, model %s: %s", mapping->name,
                      rd_tensor_text(metadata->name == NULL ? "?" : metadata->name, model),
                      rd_buf_cstr(&out));
}
