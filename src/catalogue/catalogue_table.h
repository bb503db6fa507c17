/* SPDX-License-Identifier: Apache-2.0
 *
 * The catalogue's inside: its schema (also for the test that holds docs/catalogue.md to it), the
 * bytes that are compiled in, and the struct that catalogue.c and catalogue_json.c share. */
#ifndef RD_CATALOGUE_CATALOGUE_TABLE_H
#define RD_CATALOGUE_CATALOGUE_TABLE_H

#include <stdatomic.h>

#include "catalogue/catalogue.h"
#include "yaml/read.h"

enum {
    RD_CATALOGUE_MODELS_MAX = 1024,
    RD_CATALOGUE_LORAS_MAX = 1024,
    RD_CATALOGUE_PRESETS_MAX = 16,
};

/* What the file says of one model. */
struct rd_catalogue_raw_model {
    const char *id, *alias, *description;
    struct rd_yaml_enums modality, tasks, backends;
    unsigned status;
    struct rd_yaml_list exclude_formats; /* of const char *, NULL behind the last */
    struct rd_yaml_list presets;         /* of struct rd_preset */
};

struct rd_catalogue_raw {
    struct rd_yaml_list models; /* of struct rd_catalogue_raw_model */
    struct rd_yaml_list loras;  /* of struct rd_catalogue_lora */
};

extern const struct rd_yaml_schema rd_catalogue_schema;

/* api/catalogue.yaml, made by scripts/embed at build time. */
extern const unsigned char rd_catalogue_default[];
extern const size_t rd_catalogue_default_len;

/* One way to a model: both halves of its name, or of its model-hub id. */
struct rd_catalogue_entry {
    const char *first, *second;
    const struct rd_model *model;
};

struct rd_catalogue {
    atomic_size_t refs;
    struct rd_yaml *doc;     /* the memory of everything here, this struct as well */
    struct rd_model *models; /* in the order of the file */
    size_t models_count;
    const struct rd_catalogue_lora *loras;
    size_t loras_count;
    struct rd_catalogue_entry *by_name;  /* sorted, models_count of them */
    struct rd_catalogue_entry *by_alias; /* sorted without regard to case */
    size_t aliases_count;
};

#endif
