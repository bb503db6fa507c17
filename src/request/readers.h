/* SPDX-License-Identifier: Apache-2.0
 *
 * One JSON value into one member, by the type of its row. Inside src/request only. A reader adds
 * what is wrong to the problems and goes on; it returns an error only when there is no memory. */
#ifndef RD_REQUEST_READERS_H
#define RD_REQUEST_READERS_H

#include <jansson.h>

#include "request/canonical.h"
#include "request/request.h"
#include "request/scan.h"

/* One request while it is parsed. */
struct rd_parse {
    const struct rd_request_context *context;
    struct rd_arena *arena;
    struct rd_problems *problems;
    struct rd_generation *generation;
    const char *body; /* as it came; data: URIs are read from here */
    struct rd_scan scan;
    struct rd_members members;      /* of the parsed body */
    const struct rd_preset *preset; /* the named one; later the standard one; or NULL */
    uint64_t given;                 /* bit i: the request has a value for rd_fields[i] */
};

/* Reads `value` of `field` into `base` + field->offset. `path` names it in problems. `value` is
 * NULL when only the query has one (format, backend). */
rd_err rd_reader_read(struct rd_parse *parse, const struct rd_field *field, const char *path,
                      json_t *value, void *base) RD_MUST;

/* "a string", "a whole number" ... */
const char *rd_reader_type_name(const json_t *value);

#endif
