/* SPDX-License-Identifier: Apache-2.0
 *
 * What a mapping must be. See mapping.h. The tables at the top say what each field is; the checks
 * below are rules about kinds of fields, so that a new field is one row.
 *
 * An integer field asks for a datatype that holds all its values: a seed in INT32 would work in
 * every second request and fail in the others, which is worse than a refusal at the start. */
#include "engine/tensor/mapping.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "engine/tensor/fields.h"

/* The request's own limits. FP16 holds each integer up to 2048, which formats do not reach. */
enum { STEPS_MAX = 150, SIDE_ASKED_MAX = 2048 };

const struct rd_tensor_field rd_tensor_inputs[RD_INPUT_COUNT_] = {
    [RD_INPUT_VALUE] = {"value", RD_KIND_CONSTANT, 0},
    [RD_INPUT_PROMPT] = {"prompt", RD_KIND_TEXT, 0},
    [RD_INPUT_NEGATIVE_PROMPT] = {"negative_prompt", RD_KIND_TEXT, 0},
    [RD_INPUT_SEED] = {"seed", RD_KIND_INTEGER, UINT32_MAX},
    [RD_INPUT_STEPS] = {"steps", RD_KIND_INTEGER, STEPS_MAX},
    [RD_INPUT_GUIDANCE] = {"guidance", RD_KIND_NUMBER, 0},
    [RD_INPUT_CFG] = {"cfg", RD_KIND_NUMBER, 0},
    [RD_INPUT_STRENGTH] = {"strength", RD_KIND_NUMBER, 0},
    [RD_INPUT_WIDTH] = {"width", RD_KIND_INTEGER, SIDE_ASKED_MAX},
    [RD_INPUT_HEIGHT] = {"height", RD_KIND_INTEGER, SIDE_ASKED_MAX},
    [RD_INPUT_DURATION] = {"duration", RD_KIND_NUMBER, 0},
    [RD_INPUT_MOTION_STRENGTH] = {"motion_strength", RD_KIND_NUMBER, 0},
    [RD_INPUT_SHIFT] = {"shift", RD_KIND_NUMBER, 0},
    [RD_INPUT_SAMPLER] = {"sampler", RD_KIND_TEXT, 0},
    [RD_INPUT_SCHEDULER] = {"scheduler", RD_KIND_TEXT, 0},
    [RD_INPUT_IMAGE] = {"image", RD_KIND_PICTURE, 0},
    [RD_INPUT_MASK] = {"mask", RD_KIND_PICTURE, 0},
    [RD_INPUT_TASK] = {"task", RD_KIND_TEXT, 0},
    [RD_INPUT_MEDIA_TYPE] = {"media_type", RD_KIND_TEXT, 0},
    [RD_INPUT_REQUEST] = {"request", RD_KIND_TEXT, 0},
};

const struct rd_tensor_field rd_tensor_outputs[RD_OUTPUT_COUNT_] = {
    [RD_OUTPUT_IMAGE] = {"image", RD_KIND_PICTURE, 0},
    [RD_OUTPUT_VIDEO] = {"video", RD_KIND_FILE, 0},
    [RD_OUTPUT_PROGRESS] = {"progress", RD_KIND_NUMBER, 0},
    [RD_OUTPUT_PREVIEW] = {"preview", RD_KIND_PICTURE, 0},
    [RD_OUTPUT_DEVICE_SECONDS] = {"device_seconds", RD_KIND_NUMBER, 0},
    [RD_OUTPUT_DEVICE] = {"device", RD_KIND_TEXT, 0},
};

static const char *const range_names[RD_RANGE_COUNT_] = {
    [RD_RANGE_0_1] = "0..1", [RD_RANGE_MINUS1_1] = "-1..1", [RD_RANGE_0_255] = "0..255"};

const char *rd_mapping_field_name(unsigned index)
{
    return index < RD_INPUT_COUNT_ ? rd_tensor_inputs[index].name : NULL;
}

const char *rd_mapping_gives_name(unsigned index)
{
    return index < RD_OUTPUT_COUNT_ ? rd_tensor_outputs[index].name : NULL;
}

const char *rd_mapping_range_name(unsigned index)
{
    return index < RD_RANGE_COUNT_ ? range_names[index] : NULL;
}

/* ---- shapes ---- */

const char *rd_tensor_shape_text(const int64_t *shape, size_t rank, char *out, size_t room)
{
    size_t used = 1;
    (void)snprintf(out, room, "[");
    for (size_t i = 0; i < rank && used + 24 < room; i++) {
        int len =
            snprintf(out + used, room - used, "%s%lld", i == 0 ? "" : ", ", (long long)shape[i]);
        used += len > 0 ? (size_t)len : 0;
    }
    (void)snprintf(out + used, room - used, "]");
    return out;
}

const char *rd_tensor_text(const char *text, char out[RD_TENSOR_TEXT_ROOM])
{
    size_t len = 0;
    for (; text[len] != '\0' && len + 1 < RD_TENSOR_TEXT_ROOM; len++) {
        out[len] = text[len] >= 0x20 && text[len] < 0x7f ? text[len] : '?';
    }
    out[len] = '\0';
    return out;
}

static bool is_side(int64_t dim)
{
    return dim == -1 || (dim > 3 && dim <= RD_MAPPING_SIDE_MAX);
}

bool rd_mapping_picture(const int64_t *shape, size_t rank, struct rd_mapping_picture *ret)
{
    struct rd_mapping_picture got = {.channels = 1};
    size_t height = 0;
    size_t first = 0; /* of what belongs to the picture */
    if (rank < 2 || rank > RD_MAPPING_RANK_MAX) {
        return false;
    }
    if (rank >= 3 && (shape[rank - 1] == 1 || shape[rank - 1] == 3)) {
        height = first = rank - 3;
        got.channels = (unsigned)shape[rank - 1];
    } else {
        height = first = rank - 2;
        if (rank >= 3 && shape[rank - 3] == 3) {
            first = rank - 3;
            got.channels = 3;
            got.planar = true;
        }
    }
    for (size_t i = 0; i < first; i++) {
        if (shape[i] != 1) {
            return false;
        }
    }
    got.height_at = height;
    got.height = shape[height];
    got.width = shape[height + 1];
    if (!is_side(got.width) || !is_side(got.height)) {
        return false;
    }
    *ret = got;
    return true;
}

/* ---- constants ---- */

static bool parse_integer(const char *text, bool *ret_negative, uint64_t *ret_magnitude)
{
    *ret_negative = text[0] == '-';
    const char *digits = text + (*ret_negative ? 1 : 0);
    return rd_text_u64(digits, strlen(digits), ret_magnitude);
}

/* strtod takes more than numbers: hex, "nan", blanks in front. The locale is C's in the gateway. */
static bool parse_number(const char *text, double *ret)
{
    char *end = NULL;
    if (text[0] == '\0' || strspn(text, "0123456789+-.eE") != strlen(text)) {
        return false;
    }
    double value = strtod(text, &end);
    if (*end != '\0' || !isfinite(value)) {
        return false;
    }
    *ret = value;
    return true;
}

bool rd_tensor_constant(const struct rd_mapping_tensor *row, uint8_t out[8])
{
    bool negative = false;
    uint64_t magnitude = 0;
    double number = 0;
    if (row->datatype == RD_DATATYPE_BYTES) {
        return true;
    }
    if (row->datatype == RD_DATATYPE_BOOL) {
        out[0] = row->value[0] == 't';
        return strcmp(row->value, "true") == 0 || strcmp(row->value, "false") == 0;
    }
    if (rd_datatype_is_float(row->datatype)) {
        return parse_number(row->value, &number) &&
               rd_datatype_put_number(row->datatype, number, out);
    }
    return parse_integer(row->value, &negative, &magnitude) &&
           rd_datatype_put_integer(row->datatype, negative, magnitude, out);
}

/* ---- rules of one row ---- */

static bool problem(struct rd_mapping_problem *ret, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static bool problem(struct rd_mapping_problem *ret, const char *key, const char *fmt, ...)
{
    va_list args;
    ret->key = key;
    va_start(args, fmt);
    (void)vsnprintf(ret->text, sizeof ret->text, fmt, args);
    va_end(args);
    return true;
}

/* UINT8 and the floats. */
static bool is_pixel(enum rd_datatype datatype)
{
    return datatype == RD_DATATYPE_UINT8 || rd_datatype_is_float(datatype);
}

static bool datatype_problem(const struct rd_mapping_tensor *row,
                             const struct rd_tensor_field *field, struct rd_mapping_problem *ret)
{
    const char *got = rd_datatype_name(row->datatype);
    uint8_t bytes[8];
    switch (field->kind) {
    case RD_KIND_CONSTANT:
        return rd_tensor_constant(row, bytes)
                   ? false
                   : problem(ret, "value", "expected a value that %s holds", got);
    case RD_KIND_TEXT:
    case RD_KIND_FILE:
        return row->datatype == RD_DATATYPE_BYTES
                   ? false
                   : problem(ret, "datatype", "expected BYTES for %s, got %s", field->name, got);
    case RD_KIND_INTEGER:
        return rd_datatype_put_integer(row->datatype, false, field->max, bytes)
                   ? false
                   : problem(ret, "datatype",
                             "expected a datatype that holds every %s from 0 to %llu, such as "
                             "INT64, got %s",
                             field->name, (unsigned long long)field->max, got);
    case RD_KIND_NUMBER:
        return rd_datatype_is_float(row->datatype)
                   ? false
                   : problem(ret, "datatype", "expected FP32, FP64, FP16 or BF16 for %s, got %s",
                             field->name, got);
    case RD_KIND_PICTURE:
        return row->datatype == RD_DATATYPE_BYTES || is_pixel(row->datatype)
                   ? false
                   : problem(ret, "datatype",
                             "expected BYTES (a file), or UINT8, FP16, BF16, FP32 or FP64 (raw "
                             "pixels) for %s, got %s",
                             field->name, got);
    }
    return false;
}

static bool picture_shape_problem(const struct rd_mapping_tensor *row, bool may_be_grey,
                                  struct rd_mapping_problem *ret)
{
    char got[RD_TENSOR_SHAPE_ROOM];
    struct rd_mapping_picture picture;
    if (!rd_mapping_picture(row->shape, row->rank, &picture) ||
        (picture.channels != 3 && !may_be_grey)) {
        return problem(ret, "shape",
                       "expected [-1, -1, 3] or [3, -1, -1]%s for raw pixels, any dimensions of 1 "
                       "in front, got %s",
                       may_be_grey ? ", or with 1 channel," : "",
                       rd_tensor_shape_text(row->shape, row->rank, got, sizeof got));
    }
    if (row->datatype == RD_DATATYPE_UINT8 && row->range != RD_RANGE_0_255) {
        return problem(ret, "range", "expected 0..255 for UINT8, got %s",
                       rd_mapping_range_name(row->range));
    }
    return false;
}

/* One element; of an output the server may call a dimension -1. */
static bool single_shape_problem(const struct rd_mapping_tensor *row, bool output,
                                 struct rd_mapping_problem *ret)
{
    char got[RD_TENSOR_SHAPE_ROOM];
    bool one = row->rank >= 1 && row->rank <= RD_MAPPING_RANK_MAX;
    for (size_t i = 0; one && i < row->rank; i++) {
        one = row->shape[i] == 1 || (output && row->shape[i] == -1);
    }
    return one ? false
               : problem(ret, "shape",
                         "expected dimensions of 1 alone, such as [1] or [1, 1], got %s",
                         rd_tensor_shape_text(row->shape, row->rank, got, sizeof got));
}

static bool input_problem(const struct rd_mapping_tensor *row, struct rd_mapping_problem *ret)
{
    const struct rd_tensor_field *field = &rd_tensor_inputs[row->field];
    if ((row->field == RD_INPUT_VALUE) != (row->value != NULL)) {
        return problem(ret, NULL, "expected either \"field\" or \"value\"");
    }
    if (datatype_problem(row, field, ret)) {
        return true;
    }
    bool raw = field->kind == RD_KIND_PICTURE && row->datatype != RD_DATATYPE_BYTES;
    return raw ? picture_shape_problem(row, row->field == RD_INPUT_MASK, ret)
               : single_shape_problem(row, false, ret);
}

static bool output_problem(const struct rd_mapping_tensor *row, struct rd_mapping_problem *ret)
{
    const struct rd_tensor_field *field = &rd_tensor_outputs[row->gives];
    if (datatype_problem(row, field, ret)) {
        return true;
    }
    if (field->kind == RD_KIND_PICTURE && row->datatype != RD_DATATYPE_BYTES) {
        return picture_shape_problem(row, false, ret);
    }
    return row->rank == 0 ? false : single_shape_problem(row, true, ret);
}

/* ---- rules of a mapping ---- */

static bool is_source(const struct rd_mapping_tensor *row)
{
    return row->field == RD_INPUT_IMAGE || row->field == RD_INPUT_MASK;
}

static bool rows_problem(const struct rd_mapping_tensor *rows, size_t count, bool outputs,
                         struct rd_mapping_problem *ret)
{
    ret->list = outputs ? "outputs" : "inputs";
    for (size_t i = 0; i < count; i++) {
        ret->index = i;
        for (size_t k = 0; k < i; k++) {
            if (strcmp(rows[i].name, rows[k].name) == 0) {
                return problem(ret, "name", "expected a name that %s[%zu] does not have", ret->list,
                               k);
            }
            if (outputs && rows[i].gives == rows[k].gives) {
                return problem(ret, "gives", "expected something that outputs[%zu] does not give",
                               k);
            }
            if (!outputs && is_source(&rows[i]) && rows[i].field == rows[k].field) {
                return problem(ret, "field", "expected a picture that inputs[%zu] does not have",
                               k);
            }
        }
        if (outputs ? output_problem(&rows[i], ret) : input_problem(&rows[i], ret)) {
            return true;
        }
    }
    ret->list = NULL;
    ret->index = 0;
    return false;
}

bool rd_mapping_has(const struct rd_mapping *mapping, enum rd_mapping_gives gives)
{
    for (size_t i = 0; i < mapping->outputs_count; i++) {
        if (mapping->outputs[i].gives == gives) {
            return true;
        }
    }
    return false;
}

/* The tasks that the rows can do: a picture that is not optional is needed, one that has no row
 * cannot be given. */
static unsigned possible_tasks(const struct rd_mapping *mapping)
{
    bool has[2] = {false, false};
    bool needs[2] = {false, false};
    unsigned tasks = 0;
    for (size_t i = 0; i < mapping->inputs_count; i++) {
        const struct rd_mapping_tensor *row = &mapping->inputs[i];
        if (is_source(row)) {
            has[row->field == RD_INPUT_MASK] = true;
            needs[row->field == RD_INPUT_MASK] |= !row->optional;
        }
    }
    for (unsigned task = 0; task < RD_TASK_COUNT_; task++) {
        bool image = rd_task_needs_image((enum rd_task)task);
        bool mask = rd_task_needs_mask((enum rd_task)task);
        enum rd_mapping_gives gives = rd_task_modality((enum rd_task)task) == RD_MODALITY_VIDEO
                                          ? RD_OUTPUT_VIDEO
                                          : RD_OUTPUT_IMAGE;
        if (rd_mapping_has(mapping, gives) && (image ? has[0] : !needs[0]) &&
            (mask ? has[1] : !needs[1])) {
            tasks |= 1u << task;
        }
    }
    return tasks;
}

unsigned rd_mapping_tasks(const struct rd_mapping *mapping)
{
    return mapping->tasks != 0 ? mapping->tasks : possible_tasks(mapping);
}

static bool tasks_problem(const struct rd_mapping *mapping, struct rd_mapping_problem *ret)
{
    unsigned possible = possible_tasks(mapping);
    if (possible == 0) {
        return problem(ret, "inputs", "expected an input for image beside the one for mask");
    }
    for (unsigned task = 0; task < RD_TASK_COUNT_; task++) {
        if ((mapping->tasks & ~possible & 1u << task) != 0) {
            return problem(ret, "tasks", "expected tasks that the rows can do: %s needs %s",
                           rd_task_name((enum rd_task)task),
                           rd_task_modality((enum rd_task)task) == RD_MODALITY_VIDEO
                               ? "an output that gives video, and an input for image when it is i2v"
                               : "an output that gives image, and inputs for image and mask as far "
                                 "as the task has them and no others that are not optional");
        }
    }
    return false;
}

bool rd_mapping_problem_find(const struct rd_mapping *mapping, struct rd_mapping_problem *ret)
{
    memset(ret, 0, sizeof *ret);
    if (mapping->inputs_count == 0 || mapping->inputs_count > RD_MAPPING_TENSORS_MAX) {
        return problem(ret, "inputs", "expected 1 to %d inputs, got %zu", RD_MAPPING_TENSORS_MAX,
                       mapping->inputs_count);
    }
    if (mapping->outputs_count == 0 || mapping->outputs_count > RD_MAPPING_TENSORS_MAX) {
        return problem(ret, "outputs", "expected 1 to %d outputs, got %zu", RD_MAPPING_TENSORS_MAX,
                       mapping->outputs_count);
    }
    if (rows_problem(mapping->inputs, mapping->inputs_count, false, ret) ||
        rows_problem(mapping->outputs, mapping->outputs_count, true, ret)) {
        return true;
    }
    bool image = rd_mapping_has(mapping, RD_OUTPUT_IMAGE);
    if (image == rd_mapping_has(mapping, RD_OUTPUT_VIDEO)) {
        return problem(ret, "outputs", "expected one that gives image or one that gives video%s",
                       image ? ", not both" : "");
    }
    return tasks_problem(mapping, ret);
}

rd_err rd_mapping_check(const struct rd_mapping *mapping, struct rd_why *why)
{
    struct rd_mapping_problem found;
    if (!rd_mapping_problem_find(mapping, &found)) {
        return RD_OK;
    }
    char place[RD_ENGINE_WHY_MAX] = "";
    if (found.list != NULL) {
        const struct rd_mapping_tensor *rows =
            strcmp(found.list, "inputs") == 0 ? mapping->inputs : mapping->outputs;
        (void)snprintf(place, sizeof place, "%s[%zu] (%s): ", found.list, found.index,
                       rows[found.index].name);
    }
    return rd_why_set(why, RD_ERR_CONFIG, "mapping %s: %s%s%s%s", mapping->name, place,
                      found.key == NULL ? "" : found.key, found.key == NULL ? "" : ": ",
                      found.text);
}

/* ---- use ---- */

const struct rd_mapping *rd_mapping_for(const struct rd_engine_config *config, const char *model)
{
    for (size_t i = 0; i < config->mappings_count; i++) {
        const struct rd_mapping *mapping = config->mappings[i];
        if (mapping->models_count == 0) {
            return mapping;
        }
        for (size_t k = 0; k < mapping->models_count; k++) {
            if (strcmp(mapping->models[k], model) == 0) {
                return mapping;
            }
        }
    }
    return NULL;
}

const char *rd_mapping_server_model(const struct rd_mapping *mapping, const char *model)
{
    const char *slash = strchr(model, '/');
    const char *own = slash == NULL ? model : slash + 1;
    return mapping->model != NULL ? mapping->model : own;
}

unsigned rd_mapping_media(const struct rd_mapping *mapping)
{
    return rd_mapping_has(mapping, RD_OUTPUT_VIDEO)
               ? 1u << RD_MEDIA_MP4
               : 1u << RD_MEDIA_PNG | 1u << RD_MEDIA_WEBP | 1u << RD_MEDIA_JPEG;
}
