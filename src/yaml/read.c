/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader: one function for each type, chosen by a table. It recurses from map to map as the
 * schema does, and schemas are constants of the program: the depth of the file has no say. */
#include "yaml/read.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"

struct reader {
    struct rd_yaml *doc;
    struct rd_why *why;
};

typedef rd_err read_fn(struct reader *r, const struct rd_yaml_node *node,
                       const struct rd_yaml_field *field, void *slot);

enum { WORDS_MAX = 256 };

/* ---- words ---- */

static void put_names(struct rd_buf *out, const char *(*name_of)(unsigned))
{
    for (unsigned i = 0; name_of(i) != NULL; i++) {
        rd_buf_printf(out, "%s%s", i == 0 ? "" : ", ", name_of(i));
    }
}

static void put_range(struct rd_buf *out, const char *what, const struct rd_yaml_field *field,
                      void (*text)(uint64_t, char[32]))
{
    char low[32], high[32];
    text(field->min, low);
    text(field->max, high);
    rd_buf_printf(out, "%s from %s to %s", what, low, high);
}

static void put_entry(struct rd_buf *out, const struct rd_yaml_field *field)
{
    if (field->form != NULL) {
        rd_buf_str(out, field->form->words);
    } else {
        rd_buf_str(out, "text");
    }
}

static void put_words(struct rd_buf *out, const struct rd_yaml_field *field)
{
    unsigned long long min = field->min, max = field->max;
    switch (field->type) {
    case RD_YAML_STRING:
        put_entry(out, field);
        if (field->form == NULL) {
            rd_buf_printf(out, " of %llu to %llu bytes", min, max);
        }
        break;
    case RD_YAML_BOOL:
        rd_buf_str(out, "true or false");
        break;
    case RD_YAML_UNSIGNED:
        rd_buf_printf(out, "a whole number from %llu to %llu", min, max);
        break;
    case RD_YAML_DOUBLE:
        rd_buf_printf(out, "a number from %g to %g", field->low, field->high);
        break;
    case RD_YAML_SIZE:
        put_range(out, "a size (such as 64KiB)", field, rd_yaml_size_text);
        break;
    case RD_YAML_DURATION:
        put_range(out, "a duration (such as 30s)", field, rd_yaml_duration_text);
        break;
    case RD_YAML_ENUM:
        rd_buf_str(out, "one of ");
        put_names(out, field->name_of);
        break;
    case RD_YAML_ENUMS:
        rd_buf_printf(out, "a list of %llu to %llu of ", min, max);
        put_names(out, field->name_of);
        break;
    case RD_YAML_STRINGS:
        rd_buf_printf(out, "a list of %llu to %llu entries, each ", min, max);
        put_entry(out, field);
        break;
    case RD_YAML_INTEGERS:
        rd_buf_printf(out, "a list of %llu to %llu whole numbers from %.0f to %.0f", min, max,
                      field->low, field->high);
        break;
    case RD_YAML_SUBMAP:
        rd_buf_str(out, "a map");
        break;
    case RD_YAML_MAPS:
        rd_buf_printf(out, "a list of %llu to %llu maps", min, max);
        break;
    }
}

void rd_yaml_describe(const struct rd_yaml_field *field, char *out, size_t room)
{
    RD_AUTO_BUF struct rd_buf words;
    rd_buf_init(&words, 4096);
    put_words(&words, field);
    if (snprintf(out, room, "%s", rd_buf_cstr(&words)) < 0) {
        out[0] = '\0';
    }
}

static rd_err not_that(struct reader *r, const struct rd_yaml_node *node,
                       const struct rd_yaml_field *field)
{
    char words[WORDS_MAX];
    rd_yaml_describe(field, words, sizeof words);
    return rd_yaml_expected(r->doc, node, r->why, "%s", words);
}

static rd_err no_memory(struct reader *r)
{
    return rd_why_set(r->why, RD_ERR_NO_MEMORY, "no memory for the values of a YAML file");
}

/* ---- scalars ---- */

static bool is_given(const struct rd_yaml_node *node)
{
    return node->kind == RD_YAML_SCALAR && (node->len > 0 || node->quoted);
}

/* Numbers and true/false in quotes are most likely a template's mistake: say so. */
static rd_err refuse_quotes(struct reader *r, const struct rd_yaml_node *node,
                            const struct rd_yaml_field *field)
{
    char words[WORDS_MAX];
    rd_yaml_describe(field, words, sizeof words);
    return rd_yaml_expected(r->doc, node, r->why, "%s without quotes", words);
}

static rd_err read_string(struct reader *r, const struct rd_yaml_node *node,
                          const struct rd_yaml_field *field, void *slot)
{
    bool ok = is_given(node) &&
              (field->form != NULL ? field->form->matches(node->text, node->len)
                                   : node->len >= field->min && node->len <= field->max);
    if (!ok) {
        return not_that(r, node, field);
    }
    memcpy(slot, &node->text, sizeof node->text);
    return RD_OK;
}

static rd_err read_bool(struct reader *r, const struct rd_yaml_node *node,
                        const struct rd_yaml_field *field, void *slot)
{
    bool yes = node->kind == RD_YAML_SCALAR && strcmp(node->text, "true") == 0;
    bool no = node->kind == RD_YAML_SCALAR && strcmp(node->text, "false") == 0;
    if (!yes && !no) {
        return not_that(r, node, field);
    }
    if (node->quoted) {
        return refuse_quotes(r, node, field);
    }
    memcpy(slot, &yes, sizeof yes);
    return RD_OK;
}

static rd_err read_unsigned(struct reader *r, const struct rd_yaml_node *node,
                            const struct rd_yaml_field *field, void *slot)
{
    uint64_t value;
    if (node->kind != RD_YAML_SCALAR || !rd_text_u64(node->text, node->len, &value) ||
        value < field->min || value > field->max) {
        return not_that(r, node, field);
    }
    if (node->quoted) {
        return refuse_quotes(r, node, field);
    }
    unsigned narrow = (unsigned)value; /* field->max is at most UINT_MAX */
    memcpy(slot, &narrow, sizeof narrow);
    return RD_OK;
}

static rd_err read_double(struct reader *r, const struct rd_yaml_node *node,
                          const struct rd_yaml_field *field, void *slot)
{
    double value;
    if (node->kind != RD_YAML_SCALAR || !rd_yaml_double(node->text, node->len, &value) ||
        !(value >= field->low && value <= field->high)) {
        return not_that(r, node, field);
    }
    if (node->quoted) {
        return refuse_quotes(r, node, field);
    }
    memcpy(slot, &value, sizeof value);
    return RD_OK;
}

static rd_err read_unit(struct reader *r, const struct rd_yaml_node *node,
                        const struct rd_yaml_field *field, void *slot)
{
    uint64_t value;
    bool (*parse)(const char *, size_t, uint64_t *) =
        field->type == RD_YAML_SIZE ? rd_yaml_size : rd_yaml_duration;
    if (node->kind != RD_YAML_SCALAR || !parse(node->text, node->len, &value) ||
        value < field->min || value > field->max) {
        return not_that(r, node, field);
    }
    memcpy(slot, &value, sizeof value);
    return RD_OK;
}

static bool find_name(const struct rd_yaml_node *node, const struct rd_yaml_field *field,
                      unsigned *ret)
{
    if (node->kind != RD_YAML_SCALAR) {
        return false;
    }
    for (unsigned i = 0; field->name_of(i) != NULL; i++) {
        if (strcmp(field->name_of(i), node->text) == 0) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static rd_err read_enum(struct reader *r, const struct rd_yaml_node *node,
                        const struct rd_yaml_field *field, void *slot)
{
    unsigned value;
    if (!find_name(node, field, &value)) {
        return not_that(r, node, field);
    }
    memcpy(slot, &value, sizeof value);
    return RD_OK;
}

/* ---- lists and maps ---- */

/* A list of as many entries as the field takes. */
static rd_err check_list(struct reader *r, const struct rd_yaml_node *node,
                         const struct rd_yaml_field *field)
{
    if (node->kind != RD_YAML_LIST) {
        return not_that(r, node, field);
    }
    if (node->count < field->min || node->count > field->max) {
        char words[WORDS_MAX];
        rd_yaml_describe(field, words, sizeof words);
        return rd_yaml_refuse(r->doc, node, r->why, "expected %s, got %zu", words, node->count);
    }
    return RD_OK;
}

static rd_err read_enums(struct reader *r, const struct rd_yaml_node *node,
                         const struct rd_yaml_field *field, void *slot)
{
    struct rd_yaml_enums value = {0};
    RD_TRY(check_list(r, node, field));
    for (const struct rd_yaml_node *item = node->first; item != NULL; item = item->next) {
        unsigned index = 0;
        struct rd_yaml_field one = {.type = RD_YAML_ENUM, .name_of = field->name_of};
        RD_TRY(read_enum(r, item, &one, &index));
        if ((value.set & (1u << index)) != 0) {
            return rd_yaml_refuse(r->doc, item, r->why, "%s stands twice in the list", item->text);
        }
        value.first = item == node->first ? index : value.first;
        value.set |= 1u << index;
    }
    memcpy(slot, &value, sizeof value);
    return RD_OK;
}

static bool stands_before(const struct rd_yaml_node *list, const struct rd_yaml_node *item)
{
    const struct rd_yaml_node *other = list->first;
    while (other != item && strcmp(other->text, item->text) != 0) {
        other = other->next;
    }
    return other != item;
}

static rd_err read_strings(struct reader *r, const struct rd_yaml_node *node,
                           const struct rd_yaml_field *field, void *slot)
{
    RD_TRY(check_list(r, node, field));
    /* One more than needed: a NULL ends the list for those who like it so. */
    const char **items = rd_yaml_alloc(r->doc, (node->count + 1) * sizeof *items);
    if (items == NULL) {
        return no_memory(r);
    }
    struct rd_yaml_field one = {
        .type = RD_YAML_STRING, .form = field->form, .min = 1, .max = RD_YAML_TEXT_LEN_MAX};
    for (const struct rd_yaml_node *item = node->first; item != NULL; item = item->next) {
        RD_TRY(read_string(r, item, &one, &items[item->index]));
        if (!field->repeats && stands_before(node, item)) {
            char quoted[RD_YAML_QUOTE_ROOM];
            rd_yaml_quote(item->text, item->len, quoted);
            return rd_yaml_refuse(r->doc, item, r->why, "%s stands twice in the list", quoted);
        }
    }
    struct rd_yaml_list value = {.items = items, .count = node->count, .given = true};
    memcpy(slot, &value, sizeof value);
    return RD_OK;
}

/* One of a list of integers: "-1", "1024". */
static bool read_signed(const struct rd_yaml_node *node, const struct rd_yaml_field *field,
                        int64_t *ret)
{
    bool negative = node->text[0] == '-';
    uint64_t magnitude;
    if (node->kind != RD_YAML_SCALAR || node->quoted ||
        !rd_text_u64(node->text + (negative ? 1 : 0), node->len - (negative ? 1 : 0), &magnitude) ||
        magnitude > INT32_MAX) {
        return false;
    }
    int64_t value = negative ? -(int64_t)magnitude : (int64_t)magnitude;
    if ((double)value < field->low || (double)value > field->high) {
        return false;
    }
    *ret = value;
    return true;
}

static rd_err read_integers(struct reader *r, const struct rd_yaml_node *node,
                            const struct rd_yaml_field *field, void *slot)
{
    RD_TRY(check_list(r, node, field));
    int64_t *items = rd_yaml_alloc(r->doc, (node->count + 1) * sizeof *items);
    if (items == NULL) {
        return no_memory(r);
    }
    for (const struct rd_yaml_node *item = node->first; item != NULL; item = item->next) {
        if (!read_signed(item, field, &items[item->index])) {
            return rd_yaml_expected(r->doc, item, r->why, "a whole number from %.0f to %.0f",
                                    field->low, field->high);
        }
    }
    struct rd_yaml_list value = {.items = items, .count = node->count, .given = true};
    memcpy(slot, &value, sizeof value);
    return RD_OK;
}

static rd_err read_map(struct reader *r, const struct rd_yaml_node *node,
                       const struct rd_yaml_schema *schema, void *target);

static rd_err read_submap(struct reader *r, const struct rd_yaml_node *node,
                          const struct rd_yaml_field *field, void *slot)
{
    return read_map(r, node, field->schema, slot);
}

static rd_err read_maps(struct reader *r, const struct rd_yaml_node *node,
                        const struct rd_yaml_field *field, void *slot)
{
    const struct rd_yaml_schema *schema = field->schema;
    RD_TRY(check_list(r, node, field));
    unsigned char *items = rd_yaml_alloc(r->doc, node->count * schema->size);
    if (items == NULL) {
        return no_memory(r);
    }
    for (const struct rd_yaml_node *item = node->first; item != NULL; item = item->next) {
        unsigned char *at = items + item->index * schema->size;
        if (schema->defaults != NULL) {
            memcpy(at, schema->defaults, schema->size);
        }
        RD_TRY(read_map(r, item, schema, at));
    }
    struct rd_yaml_list value = {.items = items, .count = node->count, .given = true};
    memcpy(slot, &value, sizeof value);
    return RD_OK;
}

static read_fn *const readers[] = {
    [RD_YAML_STRING] = read_string,     [RD_YAML_BOOL] = read_bool,
    [RD_YAML_UNSIGNED] = read_unsigned, [RD_YAML_DOUBLE] = read_double,
    [RD_YAML_SIZE] = read_unit,         [RD_YAML_DURATION] = read_unit,
    [RD_YAML_ENUM] = read_enum,         [RD_YAML_ENUMS] = read_enums,
    [RD_YAML_STRINGS] = read_strings,   [RD_YAML_INTEGERS] = read_integers,
    [RD_YAML_SUBMAP] = read_submap,     [RD_YAML_MAPS] = read_maps,
};

static rd_err refuse_unknown(struct reader *r, const struct rd_yaml_node *node,
                             const struct rd_yaml_schema *schema)
{
    const char *nearest = rd_yaml_nearest(node->key, schema);
    if (nearest != NULL) {
        return rd_yaml_refuse(r->doc, node, r->why, "unknown key; did you mean \"%s\"?", nearest);
    }
    RD_AUTO_BUF struct rd_buf names;
    rd_buf_init(&names, 4096);
    for (size_t i = 0; i < schema->count; i++) {
        rd_buf_printf(&names, "%s%s", i == 0 ? "" : ", ", schema->fields[i].name);
    }
    return rd_yaml_refuse(r->doc, node, r->why, "unknown key; expected one of %s",
                          rd_buf_cstr(&names));
}

static const struct rd_yaml_field *find_field(const struct rd_yaml_schema *schema, const char *key)
{
    for (size_t i = 0; i < schema->count; i++) {
        if (strcmp(schema->fields[i].name, key) == 0) {
            return &schema->fields[i];
        }
    }
    return NULL;
}

static rd_err check_required(struct reader *r, const struct rd_yaml_node *node,
                             const struct rd_yaml_schema *schema)
{
    for (size_t i = 0; i < schema->count; i++) {
        const struct rd_yaml_field *field = &schema->fields[i];
        if (field->required && rd_yaml_get(node, field->name) == NULL) {
            char words[WORDS_MAX];
            rd_yaml_describe(field, words, sizeof words);
            return rd_yaml_refuse(r->doc, node, r->why, "\"%s\" is missing; expected %s",
                                  field->name, words);
        }
    }
    return RD_OK;
}

static rd_err read_map(struct reader *r, const struct rd_yaml_node *node,
                       const struct rd_yaml_schema *schema, void *target)
{
    if (node->kind != RD_YAML_MAP) {
        return rd_yaml_expected(r->doc, node, r->why, "a map");
    }
    for (const struct rd_yaml_node *child = node->first; child != NULL; child = child->next) {
        const struct rd_yaml_field *field = find_field(schema, child->key);
        if (field == NULL) {
            return refuse_unknown(r, child, schema);
        }
        RD_TRY(readers[field->type](r, child, field, (unsigned char *)target + field->offset));
    }
    return check_required(r, node, schema);
}

rd_err rd_yaml_read(struct rd_yaml *doc, const struct rd_yaml_node *node,
                    const struct rd_yaml_schema *schema, void *target, struct rd_why *why)
{
    static const struct rd_yaml_node empty = {
        .kind = RD_YAML_MAP, .line = 1, .key_line = 1, .text = ""};
    struct reader r = {.doc = doc, .why = why};
    return read_map(&r, node == NULL ? &empty : node, schema, target);
}
