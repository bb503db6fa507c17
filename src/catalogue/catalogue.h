/* SPDX-License-Identifier: Apache-2.0
 *
 * The catalogue: which models exist, what they can do, their aliases, presets and LoRAs. A YAML
 * file that an operator edits (api/catalogue.yaml ships and is compiled in as the default), loaded
 * at start and on reload. Immutable once loaded; readers hold a reference. */
#ifndef RD_CATALOGUE_CATALOGUE_H
#define RD_CATALOGUE_CATALOGUE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/generation.h"

struct rd_preset {
    const char *name;                /* "fast", "standard", "quality" */
    const char *sampler, *scheduler; /* NULL: not said */
    unsigned steps;                  /* 0: not said */
    double cfg, guidance;            /* < 0: not said */
};

struct rd_model {
    const char *family, *name; /* "flux", "schnell" */
    unsigned modalities;       /* bit (1u << enum rd_modality) */
    unsigned tasks;            /* bit (1u << enum rd_task) */
    unsigned backends;         /* bit (1u << enum rd_backend_kind) */
    enum rd_backend_kind default_backend;
    enum rd_model_status status;
    const char *alias;       /* model-hub id "org/repo", or NULL */
    const char *description; /* or NULL */
    const struct rd_preset *presets;
    size_t presets_count;
    const char *const *excluded_formats; /* names that this model lacks, NULL-terminated */
};

struct rd_catalogue_lora {
    const char *id, *family;
};

struct rd_catalogue; /* immutable, reference-counted */

/* Parses YAML. `file` is for messages: "FILE:LINE: FIELD: expected ..., got ...". CONFIG on error.
 */
rd_err rd_catalogue_load(const char *yaml, size_t len, const char *file, struct rd_catalogue **ret,
                         struct rd_why *why) RD_MUST;
/* The one that ships (compiled in). */
rd_err rd_catalogue_load_default(struct rd_catalogue **ret, struct rd_why *why) RD_MUST;
struct rd_catalogue *rd_catalogue_ref(struct rd_catalogue *catalogue);
void rd_catalogue_unref(struct rd_catalogue *catalogue); /* NULL is fine */

size_t rd_catalogue_models(const struct rd_catalogue *catalogue, const struct rd_model **ret);
size_t rd_catalogue_loras(const struct rd_catalogue *catalogue,
                          const struct rd_catalogue_lora **ret);
/* By "family/model", or by model-hub id "org/repo" (case-insensitive for ids); NULL when unknown.
 */
const struct rd_model *rd_catalogue_find(const struct rd_catalogue *catalogue, const char *first,
                                         const char *second);
bool rd_model_has_format(const struct rd_model *model, const struct rd_format *format);

/* JSON bodies of GET /models, /models/aliases, /models/loras, appended to `out`; docs/catalogue.md
 * shows them. TOO_LARGE or NO_MEMORY as the buffer says. `available` tells, for a model and one of
 * its backend kinds, whether a configured engine serves it. */
typedef bool rd_catalogue_available(void *ctx, const struct rd_model *model,
                                    enum rd_backend_kind kind);
rd_err rd_catalogue_models_json(const struct rd_catalogue *catalogue,
                                rd_catalogue_available *available, void *ctx,
                                struct rd_buf *out) RD_MUST;
rd_err rd_catalogue_aliases_json(const struct rd_catalogue *catalogue, struct rd_buf *out) RD_MUST;
rd_err rd_catalogue_loras_json(const struct rd_catalogue *catalogue, struct rd_buf *out) RD_MUST;

#endif
