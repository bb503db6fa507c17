/* SPDX-License-Identifier: Apache-2.0
 *
 * The request as canonical JSON: what engines get and what provenance binds. Inside src/request
 * only. Form: no white space; keys in the order of their UTF-8 bytes, at every level; strings
 * with the fewest escapes; numbers in the shortest form that reads back as the same value, whole
 * ones without fraction or exponent; every field of the task, with its default filled in;
 * unknown fields as they came. The same request, however it is spelt, gives the same bytes. */
#ifndef RD_REQUEST_CANONICAL_H
#define RD_REQUEST_CANONICAL_H

#include <jansson.h>

#include "base/buf.h"
#include "base/mem.h"
#include "core/generation.h"
#include "request/fields.h"

/* The body's members, each looked up once: by row of rd_fields, and those that no row knows. */
struct rd_member {
    const char *key;
    json_t *value;
};
struct rd_members {
    json_t *known[RD_FIELDS_MAX]; /* NULL: the body has none; rows of one name share the value */
    struct rd_member *unknown;    /* in the arena; sorted by key when written */
    size_t unknown_count;
};

/* Appends any JSON value. Nesting is bounded by RD_LIMIT_JSON_DEPTH (INTERNAL beyond). */
rd_err rd_canonical_value(json_t *value, struct rd_arena *arena, struct rd_buf *out) RD_MUST;
void rd_canonical_number(double value, struct rd_buf *out);

/* Appends the whole request. `members` gives the unknown fields and what stands in the text as
 * given (URLs, LoRA items, whose weights must be filled in). */
rd_err rd_canonical_request(const struct rd_generation *generation, struct rd_members *members,
                            struct rd_arena *arena, struct rd_buf *out) RD_MUST;

#endif
