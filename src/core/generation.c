/* SPDX-License-Identifier: Apache-2.0
 *
 * The vocabulary as tables. See generation.h. */
#include "core/generation.h"

#include <string.h>

static const char *const modality_names[] = {"image", "video"};
static const char *const task_names[] = {"t2i", "i2i", "edit", "t2v", "i2v"};
static const char *const backend_names[] = {"nunchaku", "torch", "tensorrt", "builtin"};
static const char *const status_names[] = {"active", "preview", "coming_soon", "deprecated"};
static const char *const media_types[] = {"image/png", "image/webp", "image/jpeg", "video/mp4"};
static const char *const media_extensions[] = {"png", "webp", "jpg", "mp4"};

static const struct {
    enum rd_modality modality;
    bool image, mask;
} tasks[] = {
    [RD_TASK_T2I] = {RD_MODALITY_IMAGE, false, false},
    [RD_TASK_I2I] = {RD_MODALITY_IMAGE, true, false},
    [RD_TASK_EDIT] = {RD_MODALITY_IMAGE, true, true},
    [RD_TASK_T2V] = {RD_MODALITY_VIDEO, false, false},
    [RD_TASK_I2V] = {RD_MODALITY_VIDEO, true, false},
};

const struct rd_format rd_formats[] = {
    {"1024", RD_MODALITY_IMAGE, 1024, 1024},     {"512", RD_MODALITY_IMAGE, 512, 512},
    {"portrait", RD_MODALITY_IMAGE, 768, 1024},  {"portrait-wide", RD_MODALITY_IMAGE, 576, 1024},
    {"landscape", RD_MODALITY_IMAGE, 1024, 768}, {"landscape-wide", RD_MODALITY_IMAGE, 1024, 576},
    {"720p", RD_MODALITY_VIDEO, 1280, 720},      {"720p-portrait", RD_MODALITY_VIDEO, 720, 1280},
    {"480p", RD_MODALITY_VIDEO, 832, 480},       {"480p-portrait", RD_MODALITY_VIDEO, 480, 832},
    {"square", RD_MODALITY_VIDEO, 640, 640},
};
const size_t rd_formats_count = sizeof rd_formats / sizeof rd_formats[0];

#define NAME_OF(table, value)                                                                      \
    ((unsigned)(value) < sizeof(table) / sizeof(table)[0] ? (table)[value] : NULL)

static bool find_name(const char *const *names, size_t count, const char *name, unsigned *ret)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            *ret = (unsigned)i;
            return true;
        }
    }
    return false;
}

#define DEFINE_NAMES(type, function, parse, table)                                                 \
    const char *function(type value)                                                               \
    {                                                                                              \
        return NAME_OF(table, value);                                                              \
    }                                                                                              \
    bool parse(const char *name, type *ret)                                                        \
    {                                                                                              \
        unsigned value;                                                                            \
        if (!find_name(table, sizeof(table) / sizeof(table)[0], name, &value)) {                   \
            return false;                                                                          \
        }                                                                                          \
        *ret = (type)value;                                                                        \
        return true;                                                                               \
    }

DEFINE_NAMES(enum rd_modality, rd_modality_name, rd_modality_parse, modality_names)
DEFINE_NAMES(enum rd_task, rd_task_name, rd_task_parse, task_names)
DEFINE_NAMES(enum rd_backend_kind, rd_backend_kind_name, rd_backend_kind_parse, backend_names)
DEFINE_NAMES(enum rd_model_status, rd_model_status_name, rd_model_status_parse, status_names)
DEFINE_NAMES(enum rd_media, rd_media_type, rd_media_parse, media_types)

const char *rd_media_extension(enum rd_media value)
{
    return NAME_OF(media_extensions, value);
}

enum rd_modality rd_task_modality(enum rd_task task)
{
    return tasks[task].modality;
}

bool rd_task_needs_image(enum rd_task task)
{
    return tasks[task].image;
}

bool rd_task_needs_mask(enum rd_task task)
{
    return tasks[task].mask;
}

const struct rd_format *rd_format_find(enum rd_modality modality, const char *name)
{
    for (size_t i = 0; i < rd_formats_count; i++) {
        if (rd_formats[i].modality == modality && strcmp(rd_formats[i].name, name) == 0) {
            return &rd_formats[i];
        }
    }
    return NULL;
}

const struct rd_format *rd_format_default(enum rd_modality modality)
{
    size_t i = 0;
    while (rd_formats[i].modality != modality) {
        i++;
    }
    return &rd_formats[i];
}

uint32_t rd_generation_seed(const struct rd_generation *generation, unsigned index)
{
    return generation->seed + index;
}
