/* SPDX-License-Identifier: Apache-2.0
 *
 * Canonical JSON. See canonical.h.
 *
 * Not json_dumps: it writes 0.1 as 0.10000000000000001, and we would first have to put every
 * default into its tree. Here two sorted lists, the table's rows and the body's unknown keys,
 * are merged straight into the output. Nested unknown values are walked with a stack of our own,
 * since their depth is the client's choice. */
#include "request/canonical.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/text.h"

/* One open object (keys != NULL) or array. */
struct frame {
    json_t *node;
    const char **keys;
    size_t count, next;
};

static const double short_max = 1e10;               /* up to here, thousandths fit far below 2^53 */
static const double whole_max = 9007199254740992.0; /* 2^53: above, not every integer is a double */

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int compare_members(const void *a, const void *b)
{
    return strcmp(((const struct rd_member *)a)->key, ((const struct rd_member *)b)->key);
}

static rd_err sorted_keys(json_t *object, struct rd_arena *arena, const char ***ret_keys,
                          size_t *ret_count)
{
    size_t count = 0;
    const char **keys = rd_arena_alloc(arena, json_object_size(object) * sizeof *keys);
    if (keys == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    for (void *iter = json_object_iter(object); iter != NULL;
         iter = json_object_iter_next(object, iter)) {
        keys[count++] = json_object_iter_key(iter);
    }
    qsort(keys, count, sizeof *keys, compare_keys);
    *ret_keys = keys;
    *ret_count = count;
    return RD_OK;
}

/* `thousandths` / 1000 without trailing zeros. By hand: printf costs as much as parsing a
 * request. */
static void write_thousandths(int64_t thousandths, struct rd_buf *out)
{
    char text[32];
    size_t at = sizeof text;
    uint64_t rest = thousandths < 0 ? 0 - (uint64_t)thousandths : (uint64_t)thousandths;
    unsigned decimals = 3;
    while (decimals > 0 && rest % 10 == 0) {
        rest /= 10;
        decimals--;
    }
    for (bool point = decimals > 0; rest > 0 || point || at == sizeof text; rest /= 10) {
        text[--at] = (char)('0' + rest % 10);
        if (point && --decimals == 0) {
            text[--at] = '.';
            point = false;
            if (rest < 10) {
                text[--at] = '0';
            }
        }
    }
    if (thousandths < 0) {
        text[--at] = '-';
    }
    rd_buf_append(out, text + at, sizeof text - at);
}

void rd_canonical_number(double value, struct rd_buf *out)
{
    int64_t thousandths = fabs(value) < short_max ? (int64_t)round(value * 1000) : 0;
    if (fabs(value) < short_max && (double)thousandths / 1000 == value) {
        write_thousandths(thousandths, out); /* exact: division rounds as reading the text would */
    } else if (fabs(value) <= whole_max && value == trunc(value)) {
        rd_buf_printf(out, "%" PRId64, (int64_t)value);
    } else {
        rd_buf_json_number(out, value);
    }
}

static void write_key(const char *key, struct rd_buf *out)
{
    rd_buf_json_str(out, key);
    rd_buf_char(out, ':');
}

/* Anything but objects and arrays. */
static void write_scalar(json_t *value, struct rd_buf *out)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        rd_buf_json_string(out, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        rd_buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        rd_canonical_number(json_real_value(value), out);
        break;
    case JSON_TRUE:
        rd_buf_str(out, "true");
        break;
    case JSON_FALSE:
        rd_buf_str(out, "false");
        break;
    case JSON_OBJECT:
    case JSON_ARRAY:
    case JSON_NULL:
        rd_buf_str(out, "null");
        break;
    }
}

static rd_err open_frame(json_t *node, struct rd_arena *arena, struct frame *frame,
                         struct rd_buf *out)
{
    *frame = (struct frame){.node = node};
    if (json_is_object(node)) {
        RD_TRY(sorted_keys(node, arena, &frame->keys, &frame->count));
    } else {
        frame->count = json_array_size(node);
    }
    rd_buf_char(out, json_is_object(node) ? '{' : '[');
    return RD_OK;
}

rd_err rd_canonical_value(json_t *value, struct rd_arena *arena, struct rd_buf *out)
{
    struct frame frames[RD_LIMIT_JSON_DEPTH];
    size_t depth = 0;
    for (;;) {
        if (json_is_object(value) || json_is_array(value)) {
            if (depth == RD_LIMIT_JSON_DEPTH) {
                return RD_ERR_INTERNAL;
            }
            RD_TRY(open_frame(value, arena, &frames[depth], out));
            depth++;
        } else {
            write_scalar(value, out);
        }
        while (depth > 0 && frames[depth - 1].next == frames[depth - 1].count) {
            depth--;
            rd_buf_char(out, frames[depth].keys != NULL ? '}' : ']');
        }
        if (depth == 0) {
            return RD_OK;
        }
        struct frame *top = &frames[depth - 1];
        if (top->next > 0) {
            rd_buf_char(out, ',');
        }
        if (top->keys != NULL) {
            write_key(top->keys[top->next], out);
            value = json_object_get(top->node, top->keys[top->next]);
        } else {
            value = json_array_get(top->node, top->next);
        }
        top->next++;
    }
}

static void write_source(const struct rd_source *source, json_t *given, struct rd_buf *out)
{
    if (source->kind != RD_SOURCE_DATA) {
        rd_buf_json_string(out, json_string_value(given), json_string_length(given));
        return;
    }
    char hex[2 * sizeof source->sha256 + 1];
    rd_text_hex(source->sha256, sizeof source->sha256, hex);
    rd_buf_printf(out, "\"data:sha256:%s\"", hex);
}

/* The value of one field of the table; `given` is what the body has for it, or NULL. */
static rd_err write_field(const struct rd_generation *generation, const struct rd_field *field,
                          json_t *given, struct rd_arena *arena, struct rd_buf *out)
{
    const char *member = (const char *)generation + field->offset;
    switch (field->type) {
    case RD_FIELD_TEXT:
    case RD_FIELD_NAME: {
        const char *text;
        memcpy(&text, member, sizeof text);
        rd_buf_json_str(out, text);
        break;
    }
    case RD_FIELD_INTEGER: {
        uint32_t number;
        memcpy(&number, member, sizeof number);
        rd_canonical_number(number, out);
        break;
    }
    case RD_FIELD_NUMBER: {
        double number;
        memcpy(&number, member, sizeof number);
        rd_canonical_number(number, out);
        break;
    }
    case RD_FIELD_BOOL: {
        bool flag;
        memcpy(&flag, member, sizeof flag);
        rd_buf_str(out, flag ? "true" : "false");
        break;
    }
    case RD_FIELD_SOURCE:
        write_source((const void *)member, given, out);
        break;
    case RD_FIELD_LORAS:
        if (given == NULL) {
            rd_buf_str(out, "[]");
            break;
        }
        return rd_canonical_value(given, arena, out);
    case RD_FIELD_PRESET:
        write_scalar(given, out);
        break;
    case RD_FIELD_FORMAT:
        rd_buf_json_str(out, generation->format->name);
        break;
    case RD_FIELD_BACKEND:
        rd_buf_json_str(out, rd_backend_kind_name(generation->backend));
        break;
    case RD_FIELD_ROUTE:
        rd_buf_json_str(out, field->route(generation));
        break;
    case RD_FIELD_TYPE_COUNT_:
        return RD_ERR_INTERNAL;
    }
    return RD_OK;
}

/* Whether the canonical form has the field: all that the task takes, but a preset only when
 * named. */
static bool is_written(const struct rd_generation *generation, const struct rd_field *field,
                       json_t *given)
{
    return (field->tasks & RD_FIELD_TASK(generation->task)) != 0 &&
           (field->type != RD_FIELD_PRESET || given != NULL);
}

/* Names of the table need no escapes. */
static void write_name(const char *name, struct rd_buf *out)
{
    size_t len = strlen(name);
    char *room = rd_buf_reserve(out, len + 3);
    if (room != NULL) {
        room[0] = '"';
        memcpy(room + 1, name, len);
        memcpy(room + 1 + len, "\":", 2);
        rd_buf_commit(out, len + 3);
    }
}

rd_err rd_canonical_request(const struct rd_generation *generation, struct rd_members *members,
                            struct rd_arena *arena, struct rd_buf *out)
{
    const struct rd_member *unknown = members->unknown;
    qsort(members->unknown, members->unknown_count, sizeof *unknown, compare_members);
    size_t start = out->len;
    size_t row = 0;
    size_t key = 0;
    while (row < rd_fields_count || key < members->unknown_count) {
        const struct rd_field *field = &rd_fields[row];
        if (row < rd_fields_count && !is_written(generation, field, members->known[row])) {
            row++;
            continue;
        }
        rd_buf_char(out, out->len == start ? '{' : ',');
        if (key == members->unknown_count ||
            (row < rd_fields_count && strcmp(field->name, unknown[key].key) < 0)) {
            write_name(field->name, out);
            RD_TRY(write_field(generation, field, members->known[row], arena, out));
            row++;
        } else {
            write_key(unknown[key].key, out);
            RD_TRY(rd_canonical_value(unknown[key].value, arena, out));
            key++;
        }
    }
    rd_buf_char(out, '}');
    return rd_buf_err(out);
}
