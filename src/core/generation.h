/* SPDX-License-Identifier: Apache-2.0
 *
 * What one generation is: the vocabulary that every other part shares. Plain data, no functions
 * with effects. A struct rd_generation is made by request/ from a validated HTTP body, read by
 * engines and by provenance, and lives in the request's arena: every pointer in it lives exactly as
 * long. */
#ifndef RD_CORE_GENERATION_H
#define RD_CORE_GENERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rd_modality { RD_MODALITY_IMAGE, RD_MODALITY_VIDEO, RD_MODALITY_COUNT_ };
enum rd_task { RD_TASK_T2I, RD_TASK_I2I, RD_TASK_EDIT, RD_TASK_T2V, RD_TASK_I2V, RD_TASK_COUNT_ };
enum rd_backend_kind {
    RD_BACKEND_NUNCHAKU,
    RD_BACKEND_TORCH,
    RD_BACKEND_TENSORRT,
    RD_BACKEND_BUILTIN,
    RD_BACKEND_COUNT_
};
enum rd_model_status {
    RD_MODEL_ACTIVE,
    RD_MODEL_PREVIEW,
    RD_MODEL_COMING_SOON,
    RD_MODEL_DEPRECATED,
    RD_MODEL_STATUS_COUNT_
};
enum rd_media { RD_MEDIA_PNG, RD_MEDIA_WEBP, RD_MEDIA_JPEG, RD_MEDIA_MP4, RD_MEDIA_COUNT_ };

/* The names on the wire; NULL for a value out of range. */
const char *rd_modality_name(enum rd_modality value);
const char *rd_task_name(enum rd_task value);
const char *rd_backend_kind_name(enum rd_backend_kind value);
const char *rd_model_status_name(enum rd_model_status value);
const char *rd_media_type(enum rd_media value);      /* "image/png" ... */
const char *rd_media_extension(enum rd_media value); /* "png" ... */
/* The reverse; false when `name` is none. */
bool rd_modality_parse(const char *name, enum rd_modality *ret);
bool rd_task_parse(const char *name, enum rd_task *ret);
bool rd_backend_kind_parse(const char *name, enum rd_backend_kind *ret);
bool rd_model_status_parse(const char *name, enum rd_model_status *ret);
bool rd_media_parse(const char *type, enum rd_media *ret); /* "image/png" ... */

enum rd_modality rd_task_modality(enum rd_task task);
bool rd_task_needs_image(enum rd_task task);
bool rd_task_needs_mask(enum rd_task task);

/* One row of the table of formats; first of its modality = the default. */
struct rd_format {
    const char *name; /* "1024", "720p-portrait" */
    enum rd_modality modality;
    unsigned width, height; /* pixels */
};
extern const struct rd_format rd_formats[];
extern const size_t rd_formats_count;
const struct rd_format *rd_format_find(enum rd_modality modality, const char *name); /* or NULL */
const struct rd_format *rd_format_default(enum rd_modality modality);

/* Where a source image comes from; `bytes` is filled by the gateway before an engine sees it. */
enum rd_source_kind { RD_SOURCE_NONE, RD_SOURCE_URL, RD_SOURCE_ASSET, RD_SOURCE_DATA };
struct rd_source {
    enum rd_source_kind kind;
    const char *url;      /* URL: https://...; ASSET: the asset id; DATA: NULL */
    const uint8_t *bytes; /* the encoded image (png, jpeg, webp) */
    size_t bytes_len;
    uint8_t sha256[32]; /* of bytes; set together with them */
};

struct rd_lora {
    const char *id;
    double weight;
};

struct rd_generation {
    enum rd_modality modality;
    enum rd_task task;
    const char *family, *model; /* canonical catalogue names */
    enum rd_backend_kind backend;
    bool backend_asked; /* the request named it; else any configured backend may serve */
    const struct rd_format *format;
    enum rd_media media; /* what to produce */

    const char *prompt;
    const char *negative_prompt; /* "" when absent */
    struct rd_source image, mask;
    uint32_t seed;   /* drawn when absent */
    double strength; /* i2i 0..1 */
    unsigned steps;
    double guidance; /* image 0..30 */
    double cfg;      /* 0..20 */
    unsigned count;  /* 1..4 */
    double duration; /* seconds, video */
    double motion_strength;
    double shift; /* -1 = the model's default */
    bool lightning;
    const char *sampler, *scheduler, *noise_type;
    double eta;
    unsigned clip_skip;
    const struct rd_lora *loras;
    size_t loras_count;
    double detail_amount, detail_start, detail_end;

    /* The request as JSON with defaults filled in and unknown fields kept; source images stand in
     * it as given, except data URIs, which become "data:sha256:<hex>". Compact, keys sorted. */
    const char *json;
    size_t json_len;
};

/* The seed of output `index` (0-based) of a request with count > 1: seed + index, modulo 2^32. */
uint32_t rd_generation_seed(const struct rd_generation *generation, unsigned index);

#endif
