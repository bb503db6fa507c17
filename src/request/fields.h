/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of request fields: what a row says. Inside src/request only; fields_table.c has the
 * rows. A row is one field as a set of tasks takes it; a field whose range depends on the
 * modality (steps) has one row for each. Rows stand in the order of their names, which is also
 * the order in which canonical JSON writes them. */
#ifndef RD_REQUEST_FIELDS_H
#define RD_REQUEST_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/generation.h"

enum rd_field_type {
    RD_FIELD_TEXT,    /* string of min..max code points -> const char * */
    RD_FIELD_INTEGER, /* min..max -> uint32_t or unsigned */
    RD_FIELD_NUMBER,  /* min..max -> double */
    RD_FIELD_BOOL,    /* -> bool */
    RD_FIELD_NAME,    /* one of names -> const char * */
    RD_FIELD_SOURCE,  /* URL, asset or data URI -> struct rd_source */
    RD_FIELD_LORAS,   /* list of min..max objects with the rows of rd_lora_fields -> loras */
    RD_FIELD_PRESET,  /* the name of one of the model's presets */
    RD_FIELD_FORMAT,  /* the name of one of the model's formats; also ?format= */
    RD_FIELD_BACKEND, /* the name of one of the model's backends; also ?backend= */
    RD_FIELD_ROUTE,   /* may repeat what the path says, and nothing else */
    RD_FIELD_TYPE_COUNT_
};

/* What a field is when the body does not have it. */
enum rd_field_default {
    RD_DEFAULT_NONE,   /* nothing: required, or simply absent */
    RD_DEFAULT_FIXED,  /* the row's number or text */
    RD_DEFAULT_PRESET, /* the preset's value, or the row's when there is none */
    RD_DEFAULT_DRAWN,  /* a random one */
    RD_DEFAULT_MODEL   /* the model's first: format, backend */
};

struct rd_field {
    const char *name;
    enum rd_field_type type;
    unsigned tasks;    /* bits (1u << enum rd_task) that take it */
    unsigned required; /* bits of those that must have it */
    double min, max;
    enum rd_field_default fallback;
    double number;            /* default of INTEGER, NUMBER, BOOL */
    const char *text;         /* default of TEXT, NAME */
    const char *const *names; /* NAME: NULL-terminated */
    size_t offset;            /* in struct rd_generation (rd_lora_fields: in struct rd_lora) */
    size_t preset_offset;     /* in struct rd_preset, when fallback is RD_DEFAULT_PRESET */
    const char *family;       /* BOOL: true is for models of this family only; NULL: for all */
    bool set_by_lightning;    /* lightning changes the default to ... */
    double lightning;         /* ... this */
    const char *(*route)(const struct rd_generation *generation); /* ROUTE: what the path says */
};

#define RD_FIELD_TASK(task) (1u << (task))

enum { RD_FIELDS_MAX = 64 }; /* rows: struct rd_parse keeps a bit for each */

extern const struct rd_field rd_fields[];
extern const size_t rd_fields_count;
extern const struct rd_field rd_lora_fields[];
extern const size_t rd_lora_fields_count;

/* Whether any task knows a field of that name; the first of its rows or NULL. */
const struct rd_field *rd_field_find(const char *name);
/* The row that `task` uses, or NULL when it takes no such field. */
const struct rd_field *rd_field_find_for(const char *name, enum rd_task task);

#endif
