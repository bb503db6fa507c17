/* SPDX-License-Identifier: Apache-2.0
 *
 * From a body to a generation: scan, parse, walk the table, fill in defaults, write canonical JSON.
 * See request.h.
 *
 * Order of precedence for a value: the request's own, then what lightning sets, then the preset
 * (the named one, else "standard", if the model has it), then the row's default. Everything is
 * read into the generation first and defaults come last, so that all problems are found in one
 * go. */
#include "request/request.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "request/canonical.h"
#include "request/json.h"
#include "request/readers.h"

/* Escapes and numbers can grow a value six-fold, and defaults add less than a kilobyte. */
#define CANONICAL_MAX (8 * RD_LIMIT_JSON_BODY)
#define CANONICAL_DEFAULTS 1024

static const char default_preset[] = "standard";

static void json_freep(json_t **root)
{
    json_decref(*root);
}
#define AUTO_JSON __attribute__((cleanup(json_freep)))

/* Line and column (in characters), from 1, of an offset in the body. */
static void position(const char *body, size_t offset, size_t *ret_line, size_t *ret_column)
{
    size_t line = 1;
    size_t column = 1;
    for (size_t i = 0; i < offset; i++) {
        if (body[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)body[i] & 0xc0) != 0x80) {
            column++;
        }
    }
    *ret_line = line;
    *ret_column = column;
}

static rd_err refuse_json(const struct rd_parse *parse, size_t offset, const char *constraint,
                          const char *text)
{
    size_t line;
    size_t column;
    position(parse->body, offset, &line, &column);
    rd_problems_add(parse->problems, parse->arena, "", constraint, "line %zu, column %zu: %s", line,
                    column, text);
    return RD_ERR_INVALID_JSON;
}

static rd_err scan(struct rd_parse *parse, size_t len)
{
    rd_err err = rd_scan_body(parse->body, len, parse->arena, &parse->scan);
    if (err == RD_ERR_TOO_LARGE) {
        rd_problems_add(parse->problems, parse->arena, "", "maxLength",
                        "expected at most %zu bytes, of which all but %zu are data: URIs in image "
                        "and mask; got %zu",
                        RD_LIMIT_JSON_BODY_DATA_URI, RD_LIMIT_JSON_BODY, len);
    }
    if (err == RD_ERR_INVALID_JSON) {
        char text[64];
        (void)snprintf(text, sizeof text, "nested deeper than %d levels", RD_LIMIT_JSON_DEPTH);
        return refuse_json(parse, parse->scan.deep_at, "depth", text);
    }
    return err;
}

/* The constraint that stands for one of the JSON library's errors. */
static const char *json_constraint(enum json_error_code code)
{
    static const struct {
        enum json_error_code code;
        const char *constraint;
    } table[] = {
        {json_error_duplicate_key, "unique"},    {json_error_null_character, "nul"},
        {json_error_null_byte_in_key, "nul"},    {json_error_invalid_utf8, "utf8"},
        {json_error_numeric_overflow, "number"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].code == code) {
            return table[i].constraint;
        }
    }
    return "json";
}

/* Parses what the scanner left. An integer beyond 64 bits is no reason to stop: it is read as a
 * double, so that its own field can refuse it by name; *ret_big notes that there was one. */
static rd_err load(struct rd_parse *parse, json_t **ret_root, size_t *ret_big)
{
    json_error_t error;
    size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    json_t *root = rd_json_load(parse->scan.text, parse->scan.len, flags, &error);
    *ret_big = 0;
    if (root == NULL && json_error_code(&error) == json_error_numeric_overflow) {
        *ret_big = (size_t)error.position;
        root = rd_json_load(parse->scan.text, parse->scan.len, flags | JSON_DECODE_INT_AS_REAL,
                            &error);
    }
    if (root == NULL) {
        enum json_error_code code = json_error_code(&error);
        if (code == json_error_out_of_memory) {
            return RD_ERR_NO_MEMORY;
        }
        size_t at = error.position < 0 ? 0 : (size_t)error.position;
        at = at > parse->scan.len ? parse->scan.len : at;
        return refuse_json(parse, rd_scan_body_offset(&parse->scan, at), json_constraint(code),
                           parse->scan.len == 0 ? "expected a JSON object, got nothing"
                                                : error.text);
    }
    if (!json_is_object(root)) {
        rd_problems_add(parse->problems, parse->arena, "", "type", "expected an object, got %s",
                        rd_reader_type_name(root));
        json_decref(root);
        return RD_ERR_INVALID_JSON;
    }
    *ret_root = root;
    return RD_OK;
}

static void add_not_applicable(struct rd_parse *parse, const struct rd_field *field)
{
    char tasks[64] = "";
    size_t len = 0;
    for (unsigned i = 0; i < RD_TASK_COUNT_; i++) {
        if ((field->tasks & RD_FIELD_TASK(i)) != 0) {
            int wrote = snprintf(tasks + len, sizeof tasks - len, "%s%s", len == 0 ? "" : ", ",
                                 rd_task_name((enum rd_task)i));
            len += wrote > 0 ? (size_t)wrote : 0;
        }
    }
    rd_problems_add(parse->problems, parse->arena, field->name, "not_applicable",
                    "%s does not take it, only %s: leave it out",
                    rd_task_name(parse->context->task), tasks);
}

static bool query_has(const struct rd_parse *parse, const struct rd_field *field)
{
    return (field->type == RD_FIELD_FORMAT && parse->context->format != NULL) ||
           (field->type == RD_FIELD_BACKEND && parse->context->backend != NULL);
}

/* Looks every member up once. */
static rd_err sort_out(json_t *root, struct rd_arena *arena, struct rd_members *members)
{
    members->unknown = rd_arena_alloc(arena, json_object_size(root) * sizeof *members->unknown);
    if (members->unknown == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    const struct rd_field *end = rd_fields + rd_fields_count;
    for (void *iter = json_object_iter(root); iter != NULL;
         iter = json_object_iter_next(root, iter)) {
        const char *key = json_object_iter_key(iter);
        const struct rd_field *field = rd_field_find(key);
        if (field == NULL) {
            members->unknown[members->unknown_count++] =
                (struct rd_member){.key = key, .value = json_object_iter_value(iter)};
            continue;
        }
        for (; field < end && strcmp(field->name, key) == 0; field++) {
            members->known[field - rd_fields] = json_object_iter_value(iter);
        }
    }
    return RD_OK;
}

static rd_err walk(struct rd_parse *parse)
{
    enum rd_task task = parse->context->task;
    for (size_t i = 0; i < rd_fields_count; i++) {
        const struct rd_field *field = &rd_fields[i];
        json_t *value = parse->members.known[i];
        if ((field->tasks & RD_FIELD_TASK(task)) == 0) {
            if (value != NULL && rd_field_find_for(field->name, task) == NULL) {
                add_not_applicable(parse, field);
            }
            continue;
        }
        if (value != NULL || query_has(parse, field)) {
            parse->given |= (uint64_t)1 << i;
            RD_TRY(rd_reader_read(parse, field, field->name, value, parse->generation));
        } else if ((field->required & RD_FIELD_TASK(task)) != 0) {
            rd_problems_add(parse->problems, parse->arena, field->name, "required", "%s needs it",
                            rd_task_name(task));
        }
    }
    return RD_OK;
}

/* The preset's value into `target`; false when it says nothing. */
static bool take_preset(const struct rd_parse *parse, const struct rd_field *field, void *target)
{
    if (parse->preset == NULL) {
        return false;
    }
    const char *from = (const char *)parse->preset + field->preset_offset;
    if (field->type == RD_FIELD_INTEGER) {
        unsigned number;
        memcpy(&number, from, sizeof number);
        if (number != 0) {
            memcpy(target, &number, sizeof number);
        }
        return number != 0;
    }
    if (field->type == RD_FIELD_NUMBER) {
        double number;
        memcpy(&number, from, sizeof number);
        if (number >= 0) {
            memcpy(target, &number, sizeof number);
        }
        return number >= 0;
    }
    const char *text;
    memcpy(&text, from, sizeof text);
    if (text != NULL) {
        memcpy(target, &text, sizeof text);
    }
    return text != NULL;
}

static void set_default(struct rd_parse *parse, const struct rd_field *field)
{
    struct rd_generation *generation = parse->generation;
    void *target = (char *)generation + field->offset;
    if (field->fallback != RD_DEFAULT_FIXED && field->fallback != RD_DEFAULT_PRESET) {
        return;
    }
    if (field->set_by_lightning && generation->lightning) {
        memcpy(target, &field->lightning, sizeof field->lightning);
        return;
    }
    if (field->fallback == RD_DEFAULT_PRESET && take_preset(parse, field, target)) {
        return;
    }
    if (field->type == RD_FIELD_INTEGER) {
        uint32_t number = (uint32_t)field->number;
        memcpy(target, &number, sizeof number);
    } else if (field->type == RD_FIELD_BOOL) {
        bool flag = field->number != 0;
        memcpy(target, &flag, sizeof flag);
    } else if (field->type == RD_FIELD_NUMBER) {
        memcpy(target, &field->number, sizeof field->number);
    } else {
        memcpy(target, &field->text, sizeof field->text);
    }
}

/* Fields of other tasks: so that no member is left without a sensible value. Before the walk, since
 * two rows may share a member (steps). */
static void set_foreign_defaults(struct rd_parse *parse)
{
    for (size_t i = 0; i < rd_fields_count; i++) {
        if ((rd_fields[i].tasks & RD_FIELD_TASK(parse->context->task)) == 0) {
            set_default(parse, &rd_fields[i]);
        }
    }
}

/* Fields of the task that the request does not have. */
static void set_defaults(struct rd_parse *parse)
{
    const struct rd_model *model = parse->context->model;
    for (size_t i = 0; parse->preset == NULL && i < model->presets_count; i++) {
        if (strcmp(model->presets[i].name, default_preset) == 0) {
            parse->preset = &model->presets[i];
        }
    }
    for (size_t i = 0; i < rd_fields_count; i++) {
        if ((parse->given & (uint64_t)1 << i) == 0 &&
            (rd_fields[i].tasks & RD_FIELD_TASK(parse->context->task)) != 0) {
            set_default(parse, &rd_fields[i]);
        }
    }
}

/* What the path says must be possible; the rest of the request may still be judged if it is not. */
static void check_route(struct rd_parse *parse)
{
    const struct rd_request_context *context = parse->context;
    if (rd_task_modality(context->task) != context->modality ||
        (context->model->tasks & RD_FIELD_TASK(context->task)) == 0 ||
        (context->model->modalities & 1u << context->modality) == 0) {
        rd_problems_add(parse->problems, parse->arena, "task", "enum",
                        "%s/%s does not do %s as %s; GET /models lists what it does",
                        context->model->family, context->model->name, rd_task_name(context->task),
                        rd_modality_name(context->modality));
    }
}

static struct rd_generation *new_generation(const struct rd_parse *parse)
{
    const struct rd_request_context *context = parse->context;
    struct rd_generation *generation = rd_arena_alloc(parse->arena, sizeof *generation);
    if (generation != NULL) {
        *generation = (struct rd_generation){
            .modality = context->modality,
            .task = context->task,
            .family = context->model->family,
            .model = context->model->name,
            .backend = context->model->default_backend,
            .format = rd_format_default(context->modality),
            .media = context->media,
            .seed = context->random_seed,
        };
    }
    return generation;
}

static rd_err write_canonical(struct rd_parse *parse)
{
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, CANONICAL_MAX);
    (void)rd_buf_reserve(&out,
                         parse->scan.len + CANONICAL_DEFAULTS); /* one allocation, most often */
    RD_TRY(rd_canonical_request(parse->generation, &parse->members, parse->arena, &out));
    parse->generation->json = rd_arena_strndup(parse->arena, rd_buf_cstr(&out), out.len);
    parse->generation->json_len = out.len;
    return parse->generation->json == NULL ? RD_ERR_NO_MEMORY : RD_OK;
}

rd_err rd_request_parse(const char *body, size_t len, const struct rd_request_context *context,
                        struct rd_arena *arena, struct rd_generation **ret,
                        struct rd_problems *problems)
{
    assert(context->model != NULL && context->task < RD_TASK_COUNT_);
    *problems = (struct rd_problems){0};
    struct rd_parse parse = {
        .context = context, .arena = arena, .problems = problems, .body = body};
    RD_TRY(scan(&parse, len));
    AUTO_JSON json_t *root = NULL;
    size_t big;
    RD_TRY(load(&parse, &root, &big));
    RD_TRY(sort_out(root, arena, &parse.members));
    parse.generation = new_generation(&parse);
    if (parse.generation == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    check_route(&parse);
    set_foreign_defaults(&parse);
    RD_TRY(walk(&parse));
    set_defaults(&parse);
    const struct rd_generation *got = parse.generation;
    if (got->detail_start > got->detail_end) {
        rd_problems_add(problems, arena, "detail_start", "maximum",
                        "expected at most detail_end, %.10g, got %.10g", got->detail_end,
                        got->detail_start);
    }
    if (problems->count + problems->dropped > 0) {
        return RD_ERR_INVALID_REQUEST;
    }
    if (big != 0) {
        return refuse_json(&parse, rd_scan_body_offset(&parse.scan, big), "number",
                           "too big an integer: 64 bits are the most that can be kept exactly");
    }
    RD_TRY(write_canonical(&parse));
    *ret = parse.generation;
    return RD_OK;
}
