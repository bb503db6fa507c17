/* SPDX-License-Identifier: Apache-2.0
 *
 * The catalogue's schema on one screen. Ranges of presets are those of the request's fields.
 * docs/catalogue.md must have a row for each field with the same words, which a test checks. */
#include "catalogue/catalogue_table.h"

#include <string.h>

#include "yaml/forms.h"

enum { STEPS_MAX = 150, HUB_PART_LEN_MAX = 96, DESCRIPTION_LEN_MAX = 1000 };

static const char *modality_name(unsigned index)
{
    return rd_modality_name((enum rd_modality)index);
}

static const char *task_name(unsigned index)
{
    return rd_task_name((enum rd_task)index);
}

static const char *backend_name(unsigned index)
{
    return rd_backend_kind_name((enum rd_backend_kind)index);
}

static const char *status_name(unsigned index)
{
    return rd_model_status_name((enum rd_model_status)index);
}

static bool is_hub_part(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool alnum = (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z') ||
                     (text[i] >= '0' && text[i] <= '9');
        bool mark = text[i] == '-' || text[i] == '_' || text[i] == '.';
        if (!alnum && (i == 0 || !mark)) {
            return false;
        }
    }
    return len >= 1 && len <= HUB_PART_LEN_MAX;
}

static bool is_hub_id(const char *text, size_t len)
{
    const char *slash = memchr(text, '/', len);
    return slash != NULL && is_hub_part(text, (size_t)(slash - text)) &&
           is_hub_part(slash + 1, len - (size_t)(slash - text) - 1);
}

static const struct rd_yaml_form hub_form = {
    is_hub_id, "a model-hub id as org/repo, such as black-forest-labs/FLUX.1-dev"};

static bool is_format(const char *text, size_t len)
{
    (void)len;
    return rd_format_find(RD_MODALITY_IMAGE, text) != NULL ||
           rd_format_find(RD_MODALITY_VIDEO, text) != NULL;
}

static const struct rd_yaml_form format_form = {is_format,
                                                "the name of a format, such as portrait-wide"};

#define COUNT(table) (sizeof(table) / sizeof(table)[0])
#define PRESET_AT(member) .offset = offsetof(struct rd_preset, member)
#define MODEL_AT(member) .offset = offsetof(struct rd_catalogue_raw_model, member)
#define LORA_AT(member) .offset = offsetof(struct rd_catalogue_lora, member)
#define TOP_AT(member) .offset = offsetof(struct rd_catalogue_raw, member)

static const struct rd_yaml_field preset_fields[] = {
    {"name", RD_YAML_STRING, .required = true, PRESET_AT(name), .form = &rd_yaml_form_name},
    {"sampler", RD_YAML_STRING, PRESET_AT(sampler), .form = &rd_yaml_form_name},
    {"scheduler", RD_YAML_STRING, PRESET_AT(scheduler), .form = &rd_yaml_form_name},
    {"steps", RD_YAML_UNSIGNED, PRESET_AT(steps), .min = 1, .max = STEPS_MAX},
    {"cfg", RD_YAML_DOUBLE, PRESET_AT(cfg), .low = 0, .high = 20},
    {"guidance", RD_YAML_DOUBLE, PRESET_AT(guidance), .low = 0, .high = 30},
};
static const struct rd_preset preset_defaults = {.cfg = -1, .guidance = -1};
static const struct rd_yaml_schema preset_schema = {preset_fields, COUNT(preset_fields),
                                                    sizeof(struct rd_preset), &preset_defaults};

static const struct rd_yaml_field model_fields[] = {
    {"id", RD_YAML_STRING, .required = true, MODEL_AT(id), .form = &rd_yaml_form_model},
    {"modality", RD_YAML_ENUMS, .required = true, MODEL_AT(modality), .min = 1,
     .max = RD_MODALITY_COUNT_, .name_of = modality_name},
    {"tasks", RD_YAML_ENUMS, .required = true, MODEL_AT(tasks), .min = 1, .max = RD_TASK_COUNT_,
     .name_of = task_name},
    {"backends", RD_YAML_ENUMS, .required = true, MODEL_AT(backends), .min = 1,
     .max = RD_BACKEND_COUNT_, .name_of = backend_name},
    {"status", RD_YAML_ENUM, .required = true, MODEL_AT(status), .name_of = status_name},
    {"alias", RD_YAML_STRING, MODEL_AT(alias), .form = &hub_form},
    {"description", RD_YAML_STRING, MODEL_AT(description), .min = 1, .max = DESCRIPTION_LEN_MAX},
    {"exclude_formats", RD_YAML_STRINGS, MODEL_AT(exclude_formats), .max = 16,
     .form = &format_form},
    {"presets", RD_YAML_MAPS, MODEL_AT(presets), .max = RD_CATALOGUE_PRESETS_MAX,
     .schema = &preset_schema},
};
static const struct rd_yaml_schema model_schema = {model_fields, COUNT(model_fields),
                                                   sizeof(struct rd_catalogue_raw_model), NULL};

static const struct rd_yaml_field lora_fields[] = {
    {"id", RD_YAML_STRING, .required = true, LORA_AT(id), .form = &rd_yaml_form_name},
    {"family", RD_YAML_STRING, .required = true, LORA_AT(family), .form = &rd_yaml_form_name},
};
static const struct rd_yaml_schema lora_schema = {lora_fields, COUNT(lora_fields),
                                                  sizeof(struct rd_catalogue_lora), NULL};

static const struct rd_yaml_field fields[] = {
    {"models", RD_YAML_MAPS, .required = true, TOP_AT(models), .max = RD_CATALOGUE_MODELS_MAX,
     .schema = &model_schema},
    {"loras", RD_YAML_MAPS, TOP_AT(loras), .max = RD_CATALOGUE_LORAS_MAX, .schema = &lora_schema},
};
const struct rd_yaml_schema rd_catalogue_schema = {fields, COUNT(fields), 0, NULL};
