/* SPDX-License-Identifier: Apache-2.0
 *
 * From a JSON body to a struct rd_generation, or to the list of everything that is wrong with it.
 * One table (fields_table.c) says for each field its type, range, default and which tasks take it;
 * the OpenAPI file is tested against that table. No I/O.
 *
 * What the table cannot say:
 * - A known field on a task that does not take it is a problem ("not_applicable"), because a
 *   picture made without the mask or the strength that was asked for is a wrong picture. A field
 *   that no task knows is kept and passed on. null is a value of the wrong type, not an absent
 *   field.
 * - Fields that only some samplers or models look at (noise_type, eta, clip_skip) are taken
 *   everywhere.
 * - A body over RD_LIMIT_JSON_BODY is taken only when it is that large because of the data: URIs
 *   in `image` and `mask`: what is left without them must fit. */
#ifndef RD_REQUEST_REQUEST_H
#define RD_REQUEST_REQUEST_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"
#include "catalogue/catalogue.h"
#include "core/generation.h"

/* What is wrong, all at once: field "prompt", constraint "maxLength", message "at most 4000
 * ...". */
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
    const char *format;     /* ?format= or NULL */
    const char *backend;    /* ?backend= or NULL */
    enum rd_media media;    /* what Accept chose */
    const char *public_url; /* own asset URLs start with this + "/a/" */
    uint32_t random_seed;   /* used when the request names none */
    /* All LoRAs of the catalogue, or NULL/0 for no check. A family that has some takes only
     * those; a family without any in the list (builtin) takes every id. */
    const struct rd_catalogue_lora *loras;
    size_t loras_count;
};

/* What the arena must be able to hold besides decoded pictures (RD_LIMIT_DATA_URI_DECODED each). */
#define RD_REQUEST_ARENA_MAX (RD_MIB(24) + 2 * RD_LIMIT_DATA_URI_DECODED)

/* Parses and validates. INVALID_JSON (no JSON object: problems has the one reason, with line and
 * column), INVALID_REQUEST (problems lists everything), TOO_LARGE (problems has the one reason),
 * or NO_MEMORY. `problems` is emptied first. The body is not changed and need not end in NUL.
 * The result and all it points to live in `arena`, except names that come from context->model
 * and constants. data: URIs are decoded into the arena (their header is probed and must be what
 * it claims); https and asset sources keep bytes = NULL for the gateway to fill. */
rd_err rd_request_parse(const char *body, size_t len, const struct rd_request_context *context,
                        struct rd_arena *arena, struct rd_generation **ret,
                        struct rd_problems *problems) RD_MUST;

#endif
