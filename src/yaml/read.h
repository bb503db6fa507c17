/* SPDX-License-Identifier: Apache-2.0
 *
 * From the tree to checked values, by tables. A schema is a const table of fields; each says its
 * name, type, range and where in the target struct its value goes. What is not in the table is
 * refused, with the nearest name as a hint. Documentation is checked against the same tables:
 * rd_yaml_describe gives the words that errors use.
 *
 *     struct log { unsigned format; };
 *     static const struct rd_yaml_field fields[] = {
 *         {.name = "format", .type = RD_YAML_ENUM, .offset = offsetof(struct log, format),
 *          .name_of = format_name},
 *     };
 *     static const struct rd_yaml_schema schema = {.fields = fields, .count = 1,
 *                                                  .size = sizeof(struct log)};
 *
 * Fields that the file does not have leave the target as it is: fill in the defaults before. Rules
 * between fields are the caller's, after reading, with rd_yaml_get for the line to name.
 * Texts and lists live in the document. */
#ifndef RD_YAML_READ_H
#define RD_YAML_READ_H

#include <stdint.h>

#include "yaml/tree.h"

enum rd_yaml_type {
    RD_YAML_STRING,   /* const char *; min..max bytes, and `form` when given */
    RD_YAML_BOOL,     /* bool; true or false */
    RD_YAML_UNSIGNED, /* unsigned; min..max; decimal digits, not in quotes */
    RD_YAML_DOUBLE,   /* double; low..high; not in quotes */
    RD_YAML_SIZE,     /* uint64_t bytes; min..max; with a unit: B KiB MiB GiB TiB */
    RD_YAML_DURATION, /* uint64_t milliseconds; min..max; with a unit: ms s m h */
    RD_YAML_ENUM,     /* unsigned; the index of one of name_of's names */
    RD_YAML_ENUMS,    /* struct rd_yaml_enums; min..max different ones */
    RD_YAML_STRINGS,  /* struct rd_yaml_list of const char *; min..max of them */
    RD_YAML_INTEGERS, /* struct rd_yaml_list of int64_t low..high; min..max of them */
    RD_YAML_SUBMAP,   /* the fields of `schema`, offsets in the same target */
    RD_YAML_MAPS,     /* struct rd_yaml_list of structs as `schema` says; min..max of them */
};

struct rd_yaml_enums {
    unsigned set;   /* bit 1u << index for each name given */
    unsigned first; /* the index of the first one */
};

struct rd_yaml_list {
    const void *items;
    size_t count;
    bool given; /* false: the file does not have the field */
};

/* What a text must look like; `words` finish the sentence "expected ...". */
struct rd_yaml_form {
    bool (*matches)(const char *text, size_t len);
    const char *words;
};

struct rd_yaml_schema;

struct rd_yaml_field {
    const char *name;
    enum rd_yaml_type type;
    bool required;
    bool repeats; /* STRINGS: the same entry may stand in it more than once */
    size_t offset;
    uint64_t min, max;
    double low, high;
    const char *(*name_of)(unsigned index); /* ENUM, ENUMS: NULL behind the last */
    const struct rd_yaml_form *form;        /* STRING, STRINGS: or NULL */
    const struct rd_yaml_schema *schema;    /* SUBMAP, MAPS */
};

struct rd_yaml_schema {
    const struct rd_yaml_field *fields;
    size_t count;
    size_t size;          /* MAPS: of one struct */
    const void *defaults; /* MAPS: what a struct is before its fields are read; NULL: zeros */
};

/* Reads `node` (NULL: an empty map) into `target`. CONFIG with the first thing that is wrong, in
 * the order of the file, what is missing last; then `target` is partly written. NO_MEMORY. */
rd_err rd_yaml_read(struct rd_yaml *doc, const struct rd_yaml_node *node,
                    const struct rd_yaml_schema *schema, void *target, struct rd_why *why) RD_MUST;

/* What a field takes, as errors put it: "a whole number from 1 to 64", "one of json, text". Cut at
 * `room`. */
void rd_yaml_describe(const struct rd_yaml_field *field, char *out, size_t room);

/* value.c: exactly one spelling each; false when `text` is not that. */
bool rd_yaml_size(const char *text, size_t len, uint64_t *ret_bytes);
bool rd_yaml_duration(const char *text, size_t len, uint64_t *ret_ms);
bool rd_yaml_double(const char *text, size_t len, double *ret);
/* The other way, in the largest unit that divides: "16MiB", "2m", "0". Room: 32. */
void rd_yaml_size_text(uint64_t bytes, char out[32]);
void rd_yaml_duration_text(uint64_t ms, char out[32]);

/* The one of `count` names that `text` was probably meant to be (as many as two letters wrong,
 * missing, too many or swapped); NULL when none is near. */
const char *rd_yaml_nearest(const char *text, const struct rd_yaml_schema *schema);

#endif
