/* SPDX-License-Identifier: Apache-2.0
 *
 * Readers: one function a field type, chosen by table. See readers.h. Every message has the form
 * "expected X, got Y", so that a client can be repaired from it alone. */
#include "request/readers.h"

#include <math.h>
#include <string.h>

#include "base/text.h"
#include "request/source.h"

enum {
    NAMES_TEXT_MAX = 960, /* a list of names in a message; all samplers fit */
    ECHO_MAX = 64         /* bytes of a client's wrong value that a message repeats */
};

typedef rd_err read_fn(struct rd_parse *parse, const struct rd_field *field, const char *path,
                       json_t *value, void *base);

const char *rd_reader_type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        break;
    }
    return "null";
}

static void add(struct rd_parse *parse, const char *path, const char *constraint, const char *text)
{
    rd_problems_add(parse->problems, parse->arena, path, constraint, "%s", text);
}

static bool expect(struct rd_parse *parse, const char *path, const char *wanted,
                   const json_t *value, bool is_it)
{
    if (!is_it) {
        rd_problems_add(parse->problems, parse->arena, path, "type", "expected %s, got %s", wanted,
                        rd_reader_type_name(value));
    }
    return is_it;
}

static void *member(const struct rd_field *field, void *base)
{
    return (char *)base + field->offset;
}

/* "a, b, c" into `out`, cut when it is full. */
static void list_add(char out[NAMES_TEXT_MAX], size_t *len, const char *name)
{
    size_t name_len = strlen(name);
    if (*len + name_len + 3 > NAMES_TEXT_MAX) {
        return;
    }
    if (*len > 0) {
        memcpy(out + *len, ", ", 2);
        *len += 2;
    }
    memcpy(out + *len, name, name_len + 1);
    *len += name_len;
}

static void add_enum_problem(struct rd_parse *parse, const char *path, const char *names,
                             const char *got)
{
    size_t len = strnlen(got, ECHO_MAX);
    rd_problems_add(parse->problems, parse->arena, path, "enum",
                    "expected one of %s; got \"%.*s\"%s", names[0] == '\0' ? "(none)" : names,
                    (int)len, got, got[len] == '\0' ? "" : "...");
}

static rd_err read_text(struct rd_parse *parse, const struct rd_field *field, const char *path,
                        json_t *value, void *base)
{
    if (!expect(parse, path, "a string", value, json_is_string(value))) {
        return RD_OK;
    }
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    size_t count = rd_text_utf8_count(text, len);
    if ((double)count < field->min || (double)count > field->max) {
        rd_problems_add(parse->problems, parse->arena, path,
                        (double)count < field->min ? "minLength" : "maxLength",
                        "expected %.0f to %.0f characters, got %zu", field->min, field->max, count);
        return RD_OK;
    }
    char *copy = rd_arena_strndup(parse->arena, text, len);
    if (copy == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    memcpy(member(field, base), &copy, sizeof copy);
    return RD_OK;
}

static bool in_range(struct rd_parse *parse, const struct rd_field *field, const char *path,
                     double number)
{
    if (number < field->min || number > field->max) {
        rd_problems_add(
            parse->problems, parse->arena, path, number < field->min ? "minimum" : "maximum",
            "expected a number from %.10g to %.10g, got %.10g", field->min, field->max, number);
        return false;
    }
    return true;
}

static rd_err read_integer(struct rd_parse *parse, const struct rd_field *field, const char *path,
                           json_t *value, void *base)
{
    double number = json_number_value(value); /* 0 when it is none */
    bool is_whole =
        json_is_number(value) && number == trunc(number); /* 20.0 is whole, as in JSON Schema */
    if (json_is_number(value) && !is_whole) {
        rd_problems_add(parse->problems, parse->arena, path, "type",
                        "expected a whole number, got %.10g", number);
        return RD_OK;
    }
    if (expect(parse, path, "a whole number", value, is_whole) &&
        in_range(parse, field, path, number)) {
        uint32_t whole = (uint32_t)number;
        memcpy(member(field, base), &whole, sizeof whole);
    }
    return RD_OK;
}

static rd_err read_number(struct rd_parse *parse, const struct rd_field *field, const char *path,
                          json_t *value, void *base)
{
    if (expect(parse, path, "a number", value, json_is_number(value)) &&
        in_range(parse, field, path, json_number_value(value))) {
        double number = json_number_value(value) + 0.0; /* -0 becomes 0 */
        memcpy(member(field, base), &number, sizeof number);
    }
    return RD_OK;
}

static rd_err read_bool(struct rd_parse *parse, const struct rd_field *field, const char *path,
                        json_t *value, void *base)
{
    if (!expect(parse, path, "a boolean", value, json_is_boolean(value))) {
        return RD_OK;
    }
    bool flag = json_is_true(value);
    if (flag && field->family != NULL &&
        strcmp(field->family, parse->context->model->family) != 0) {
        rd_problems_add(parse->problems, parse->arena, path, "not_applicable",
                        "expected false: only models of the family %s have it", field->family);
        return RD_OK;
    }
    memcpy(member(field, base), &flag, sizeof flag);
    return RD_OK;
}

static rd_err read_name(struct rd_parse *parse, const struct rd_field *field, const char *path,
                        json_t *value, void *base)
{
    if (!expect(parse, path, "a string", value, json_is_string(value))) {
        return RD_OK;
    }
    char names[NAMES_TEXT_MAX] = "";
    size_t len = 0;
    for (size_t i = 0; field->names[i] != NULL; i++) {
        if (strcmp(field->names[i], json_string_value(value)) == 0) {
            memcpy(member(field, base), &field->names[i], sizeof field->names[i]);
            return RD_OK;
        }
    }
    for (size_t i = 0; field->names[i] != NULL; i++) {
        list_add(names, &len, field->names[i]);
    }
    add_enum_problem(parse, path, names, json_string_value(value));
    return RD_OK;
}

/* A lifted URI, or the value's text, as a NUL-terminated string that lives in the arena. */
static const char *source_text(struct rd_parse *parse, const struct rd_field *field,
                               const json_t *value, size_t *ret_len)
{
    const struct rd_scan_lift *lift = rd_scan_lift_of(&parse->scan, field);
    if (lift == NULL) {
        *ret_len = json_string_length(value);
        return rd_arena_strndup(parse->arena, json_string_value(value), *ret_len);
    }
    if (!lift->escaped) {
        *ret_len = lift->len;
        return parse->body + lift->start; /* not terminated, but split and decode take a length */
    }
    char *text = rd_arena_alloc(parse->arena, lift->len + 1);
    size_t len = 0;
    for (size_t i = 0; text != NULL && i < lift->len; i++) {
        char c = parse->body[lift->start + i];
        if (c != '\\') { /* the scanner saw that only "\/" is there */
            text[len++] = c;
        }
    }
    *ret_len = len;
    return text;
}

static rd_err read_source(struct rd_parse *parse, const struct rd_field *field, const char *path,
                          json_t *value, void *base)
{
    if (!expect(parse, path, "a string", value, json_is_string(value))) {
        return RD_OK;
    }
    size_t len;
    const char *text = source_text(parse, field, value, &len);
    if (text == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    return rd_source_read(path, text, len, parse->context, parse->arena, member(field, base),
                          parse->problems);
}

/* When the catalogue lists LoRAs for the model's family, `id` must be one of them. */
static void check_lora_id(struct rd_parse *parse, const char *path, const char *id)
{
    const struct rd_request_context *context = parse->context;
    char names[NAMES_TEXT_MAX] = "";
    size_t len = 0;
    for (size_t i = 0; i < context->loras_count; i++) {
        if (strcmp(context->loras[i].family, context->model->family) != 0) {
            continue;
        }
        if (strcmp(context->loras[i].id, id) == 0) {
            return;
        }
        list_add(names, &len, context->loras[i].id);
    }
    if (len > 0) {
        add_enum_problem(parse, path, names, id);
    }
}

static rd_err read_lora(struct rd_parse *parse, size_t index, json_t *item, struct rd_lora *lora)
{
    const char *item_path = rd_arena_printf(parse->arena, "lora[%zu]", index);
    if (item_path == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    if (!expect(parse, item_path, "an object", item, json_is_object(item))) {
        return RD_OK;
    }
    for (size_t i = 0; i < rd_lora_fields_count; i++) {
        const struct rd_field *field = &rd_lora_fields[i];
        const char *path = rd_arena_printf(parse->arena, "%s.%s", item_path, field->name);
        json_t *value = json_object_get(item, field->name);
        if (path == NULL) {
            return RD_ERR_NO_MEMORY;
        }
        if (value != NULL) {
            RD_TRY(rd_reader_read(parse, field, path, value, lora));
        } else if (field->required != 0) {
            add(parse, path, "required", "expected a value, got none");
        } else {
            memcpy(member(field, lora), &field->number, sizeof field->number);
            if (json_object_set_new(item, field->name, json_real(field->number)) != 0) {
                return RD_ERR_NO_MEMORY;
            }
        }
    }
    if (lora->id != NULL) {
        check_lora_id(parse, rd_arena_printf(parse->arena, "%s.id", item_path), lora->id);
    }
    return RD_OK;
}

static rd_err read_loras(struct rd_parse *parse, const struct rd_field *field, const char *path,
                         json_t *value, void *base)
{
    if (!expect(parse, path, "a list", value, json_is_array(value))) {
        return RD_OK;
    }
    size_t count = json_array_size(value);
    if ((double)count > field->max) {
        rd_problems_add(parse->problems, parse->arena, path, "maxItems",
                        "expected at most %.0f items, got %zu", field->max, count);
        return RD_OK;
    }
    struct rd_lora *loras = rd_arena_alloc(parse->arena, count * sizeof *loras);
    if (loras == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        RD_TRY(read_lora(parse, i, json_array_get(value, i), &loras[i]));
    }
    memcpy(member(field, base), &loras, sizeof loras);
    parse->generation->loras_count = count;
    return RD_OK;
}

static rd_err read_preset(struct rd_parse *parse, const struct rd_field *field, const char *path,
                          json_t *value, void *base)
{
    (void)field;
    (void)base;
    if (!expect(parse, path, "a string", value, json_is_string(value))) {
        return RD_OK;
    }
    const struct rd_model *model = parse->context->model;
    char names[NAMES_TEXT_MAX] = "";
    size_t len = 0;
    for (size_t i = 0; i < model->presets_count; i++) {
        if (strcmp(model->presets[i].name, json_string_value(value)) == 0) {
            parse->preset = &model->presets[i];
            return RD_OK;
        }
        list_add(names, &len, model->presets[i].name);
    }
    add_enum_problem(parse, path, names, json_string_value(value));
    return RD_OK;
}

/* What the query or the body says; NULL with a problem added, when they say two things or no
 * name. */
static const char *query_or_body(struct rd_parse *parse, const char *path, const char *query,
                                 json_t *value)
{
    if (value == NULL) {
        return query;
    }
    if (!expect(parse, path, "a string", value, json_is_string(value))) {
        return NULL;
    }
    if (query != NULL && strcmp(query, json_string_value(value)) != 0) {
        rd_problems_add(parse->problems, parse->arena, path, "conflict",
                        "expected the same value as ?%s= in the URL has, or none", path);
        return NULL;
    }
    return json_string_value(value);
}

static rd_err read_format(struct rd_parse *parse, const struct rd_field *field, const char *path,
                          json_t *value, void *base)
{
    struct rd_generation *generation = base;
    (void)field;
    const char *name = query_or_body(parse, path, parse->context->format, value);
    if (name == NULL) {
        return RD_OK;
    }
    const struct rd_model *model = parse->context->model;
    const struct rd_format *format = rd_format_find(parse->context->modality, name);
    if (format != NULL && rd_model_has_format(model, format)) {
        generation->format = format;
        return RD_OK;
    }
    char names[NAMES_TEXT_MAX] = "";
    size_t len = 0;
    for (size_t i = 0; i < rd_formats_count; i++) {
        if (rd_formats[i].modality == parse->context->modality &&
            rd_model_has_format(model, &rd_formats[i])) {
            list_add(names, &len, rd_formats[i].name);
        }
    }
    add_enum_problem(parse, path, names, name);
    return RD_OK;
}

static rd_err read_backend(struct rd_parse *parse, const struct rd_field *field, const char *path,
                           json_t *value, void *base)
{
    struct rd_generation *generation = base;
    (void)field;
    const char *name = query_or_body(parse, path, parse->context->backend, value);
    if (name == NULL) {
        return RD_OK;
    }
    const struct rd_model *model = parse->context->model;
    enum rd_backend_kind kind;
    if (rd_backend_kind_parse(name, &kind) && (model->backends & 1u << kind) != 0) {
        generation->backend = kind;
        generation->backend_asked = true;
        return RD_OK;
    }
    char names[NAMES_TEXT_MAX] = "";
    size_t len = 0;
    for (unsigned i = 0; i < RD_BACKEND_COUNT_; i++) {
        if ((model->backends & 1u << i) != 0) {
            list_add(names, &len, rd_backend_kind_name((enum rd_backend_kind)i));
        }
    }
    add_enum_problem(parse, path, names, name);
    return RD_OK;
}

static rd_err read_route(struct rd_parse *parse, const struct rd_field *field, const char *path,
                         json_t *value, void *base)
{
    const char *is = field->route(base);
    if (expect(parse, path, "a string", value, json_is_string(value)) &&
        strcmp(is, json_string_value(value)) != 0) {
        rd_problems_add(parse->problems, parse->arena, path, "conflict",
                        "expected \"%s\", as the path says, or no such field", is);
    }
    return RD_OK;
}

static read_fn *const readers[] = {
    [RD_FIELD_TEXT] = read_text,     [RD_FIELD_INTEGER] = read_integer,
    [RD_FIELD_NUMBER] = read_number, [RD_FIELD_BOOL] = read_bool,
    [RD_FIELD_NAME] = read_name,     [RD_FIELD_SOURCE] = read_source,
    [RD_FIELD_LORAS] = read_loras,   [RD_FIELD_PRESET] = read_preset,
    [RD_FIELD_FORMAT] = read_format, [RD_FIELD_BACKEND] = read_backend,
    [RD_FIELD_ROUTE] = read_route,
};
_Static_assert(sizeof readers / sizeof readers[0] == RD_FIELD_TYPE_COUNT_,
               "a reader for every type");

rd_err rd_reader_read(struct rd_parse *parse, const struct rd_field *field, const char *path,
                      json_t *value, void *base)
{
    return readers[field->type](parse, field, path, value, base);
}
