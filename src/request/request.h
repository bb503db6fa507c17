/* SPDX-License-Identifier: Apache-2.0
 *
 * From a JSON body to a struct rd_generation, or to the list of everything that is wrong with it. One
 * table (fields_table.c) says for each field its type, range, default and which tasks take it; the
 * OpenAPI file is tested against that table. No I/O. */
#ifndef RD_REQUEST_REQUEST_H
#define RD_REQUEST_REQUEST_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"
#include "catalogue/catalogue.h"
#include "core/generation.h"

/* What is wrong, all at once: field "prompt", constraint "maxLength", message "at most 4000 ...". */
struct rd_problem {
    const char *field;      /* JSON path: "lora[2].weight"; "" is the whole body */
    const char *constraint; /* "required", "type", "range", "enum", "maxLength", "format", ... */
    const char *message;    /* for a human: what was expected and what came */
};
struct rd_problems {
    struct rd_problem list[RD_LIMIT_PROBLEMS];
    size_t count; /* problems beyond the limit are counted only in `dropped` */
    size_t dropped;
};
/* Copies the texts into the arena; keeps quiet when that is out of memory (counts as dropped). */
void rd_problems_add(struct rd_problems *problems, struct rd_arena *arena, const char *field,
                     const char *constraint, const char *fmt, ...) RD_PRINTF(5, 6);
/* [{"field":..,"constraint":..,"message":..},...] */
void rd_problems_json(const struct rd_problems *problems, struct rd_buf *out);

struct rd_request_context {
    const struct rd_model *model;
    enum rd_modality modality;
    enum rd_task task;
    const char *format;  /* ?format= or NULL */
    const char *backend; /* ?backend= or NULL */
    enum rd_media media; /* what Accept chose */
    const char *public_url; /* own asset URLs start with this + "/a/" */
    uint32_t random_seed;   /* used when the request names none */
};

/* Parses and validates. On INVALID_REQUEST or INVALID_JSON `problems` says what is wrong. The result
 * and all it points to live in `arena`. data: URIs are decoded into the arena (their header is probed
 * and must be what it claims); https and asset sources keep bytes = NULL for the gateway to fill. */
rd_err rd_request_parse(const char *body, size_t len, const struct rd_request_context *context,
                        struct rd_arena *arena, struct rd_generation **ret,
                        struct rd_problems *problems) RD_MUST;

#endif
