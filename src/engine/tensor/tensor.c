/* SPDX-License-Identifier: Apache-2.0
 *
 * From a generation to the bytes of its inputs. See tensor.h. */
#include "engine/tensor/tensor.h"

#include <string.h>

#include "base/mem.h"
#include "engine/tensor/fields.h"
#include "engine/tensor/pixels.h"
#include "media/media.h"

struct maker {
    const struct rd_mapping *mapping;
    const struct rd_generation *generation;
    unsigned output;
    struct rd_tensors *tensors;
    size_t owned;
    struct rd_why *why;
};

/* ---- what a generation has ---- */

struct value {
    const char *text; /* NULL: none */
    size_t text_len;  /* 0: as long as its string */
    uint64_t integer;
    double number;
    const struct rd_source *source;
    bool absent; /* nothing that was asked for or that the task has */
};

static bool is_empty(const char *text)
{
    return text == NULL || text[0] == '\0';
}

/* One row for each field; all of them are cheap. */
static struct value value_of(const struct maker *m, enum rd_mapping_field field)
{
    const struct rd_generation *g = m->generation;
    bool video = g->modality == RD_MODALITY_VIDEO;
    bool json = g->json != NULL;
    const struct value values[RD_INPUT_COUNT_] = {
        [RD_INPUT_PROMPT] = {.text = g->prompt},
        [RD_INPUT_NEGATIVE_PROMPT] = {.text = g->negative_prompt,
                                      .absent = is_empty(g->negative_prompt)},
        [RD_INPUT_SEED] = {.integer = rd_generation_seed(g, m->output)},
        [RD_INPUT_STEPS] = {.integer = g->steps},
        [RD_INPUT_GUIDANCE] = {.number = g->guidance, .absent = video},
        [RD_INPUT_CFG] = {.number = g->cfg},
        [RD_INPUT_STRENGTH] = {.number = g->strength, .absent = g->task != RD_TASK_I2I},
        [RD_INPUT_WIDTH] = {.integer = g->format->width},
        [RD_INPUT_HEIGHT] = {.integer = g->format->height},
        [RD_INPUT_DURATION] = {.number = g->duration, .absent = !video},
        [RD_INPUT_MOTION_STRENGTH] = {.number = g->motion_strength, .absent = !video},
        [RD_INPUT_SHIFT] = {.number = g->shift, .absent = !video || g->shift < 0},
        [RD_INPUT_SAMPLER] = {.text = g->sampler, .absent = is_empty(g->sampler)},
        [RD_INPUT_SCHEDULER] = {.text = g->scheduler, .absent = is_empty(g->scheduler)},
        [RD_INPUT_IMAGE] = {.source = &g->image, .absent = g->image.bytes == NULL},
        [RD_INPUT_MASK] = {.source = &g->mask, .absent = g->mask.bytes == NULL},
        [RD_INPUT_TASK] = {.text = rd_task_name(g->task)},
        [RD_INPUT_MEDIA_TYPE] = {.text = rd_media_type(g->media)},
        [RD_INPUT_REQUEST] = {.text = json ? g->json : "{}", .text_len = json ? g->json_len : 0},
    };
    return values[field];
}

/* ---- pictures ---- */

/* Decoded and stretched to the size that the tensor has. */
static rd_err load_picture(struct maker *m, const struct rd_source *source,
                           const struct rd_mapping_picture *want, struct rd_image *ret)
{
    struct rd_image image = {0};
    struct rd_why why;
    const char *name = source == &m->generation->mask ? "mask" : "image";
    rd_err err = rd_image_decode(source->bytes, source->bytes_len, 3, &image, &why);
    if (err != RD_OK) {
        bool memory = err == RD_ERR_NO_MEMORY;
        return rd_why_set(m->why, memory ? err : RD_ERR_INVALID_REQUEST, "%s: %s", name,
                          memory ? "no memory to decode it" : why.text);
    }
    if (image.width != (unsigned)want->width || image.height != (unsigned)want->height) {
        struct rd_image fitted;
        err = rd_image_resize(&image, (unsigned)want->width, (unsigned)want->height, &fitted);
        rd_image_done(&image);
        if (err != RD_OK) {
            return rd_why_set(m->why, err, "%s: cannot be resized", name);
        }
        image = fitted;
    }
    *ret = image;
    return RD_OK;
}

static rd_err make_pixels(struct maker *m, const struct rd_mapping_tensor *row,
                          const struct rd_source *source, struct rd_tensor *out)
{
    struct rd_image image;
    struct rd_mapping_picture layout;
    if (!rd_mapping_picture(out->shape, out->rank, &layout)) {
        return rd_why_set(m->why, RD_ERR_INTERNAL, "input %s: no shape of a picture", row->name);
    }
    layout.height = layout.height == -1 ? (int64_t)m->generation->format->height : layout.height;
    layout.width = layout.width == -1 ? (int64_t)m->generation->format->width : layout.width;
    out->shape[layout.height_at] = layout.height;
    out->shape[layout.height_at + 1] = layout.width;
    RD_TRY(load_picture(m, source, &layout, &image));
    size_t pixels = (size_t)image.width * image.height;
    size_t size = rd_datatype_size(row->datatype) * layout.channels;
    if (row->datatype == RD_DATATYPE_UINT8 && layout.channels == 3 && !layout.planar) {
        out->body = image.pixels; /* as it is */
        out->body_len = pixels * size;
        m->tensors->owned[m->owned++] = image.pixels;
        return RD_OK;
    }
    uint8_t *bytes = rd_mem_alloc_array(pixels, size);
    if (bytes != NULL) {
        rd_pixels_put(&image, row, &layout, bytes);
        out->body = bytes;
        out->body_len = pixels * size;
        m->tensors->owned[m->owned++] = bytes;
    }
    rd_image_done(&image);
    return bytes != NULL ? RD_OK
                         : rd_why_set(m->why, RD_ERR_NO_MEMORY, "no memory for a source picture");
}

/* ---- tensors ---- */

static void make_bytes(struct rd_tensor *out, const void *bytes, size_t len)
{
    for (unsigned i = 0; i < 4; i++) {
        out->head[i] = (uint8_t)(len >> (8 * i));
    }
    out->head_len = 4;
    out->body = bytes;
    out->body_len = len;
}

static rd_err make_picture(struct maker *m, const struct rd_mapping_tensor *row,
                           const struct rd_source *source, struct rd_tensor *out)
{
    if (source->bytes == NULL) {
        return rd_why_set(m->why, RD_ERR_INTERNAL,
                          "mapping %s: input %s needs a picture that task %s does not have",
                          m->mapping->name, row->name, rd_task_name(m->generation->task));
    }
    if (row->datatype != RD_DATATYPE_BYTES) {
        return make_pixels(m, row, source, out);
    }
    make_bytes(out, source->bytes, source->bytes_len);
    return RD_OK;
}

static rd_err make_tensor(struct maker *m, const struct rd_mapping_tensor *row,
                          const struct value *value, struct rd_tensor *out)
{
    const char *text = row->field == RD_INPUT_VALUE ? row->value : value->text;
    bool ok = true;
    *out = (struct rd_tensor){.name = row->name, .datatype = row->datatype, .rank = row->rank};
    memcpy(out->shape, row->shape, sizeof out->shape);
    if (value->source != NULL) {
        return make_picture(m, row, value->source, out);
    }
    out->head_len = rd_datatype_size(row->datatype);
    switch (rd_tensor_inputs[row->field].kind) {
    case RD_KIND_INTEGER:
        ok = rd_datatype_put_integer(row->datatype, false, value->integer, out->head);
        break;
    case RD_KIND_NUMBER:
        ok = rd_datatype_put_number(row->datatype, value->number, out->head);
        break;
    case RD_KIND_CONSTANT:
        ok = rd_tensor_constant(row, out->head);
        break;
    case RD_KIND_TEXT:
    case RD_KIND_PICTURE:
    case RD_KIND_FILE:
        break;
    }
    if (row->datatype == RD_DATATYPE_BYTES) {
        text = text == NULL ? "" : text;
        make_bytes(out, text, value->text_len != 0 ? value->text_len : strlen(text));
    }
    return ok ? RD_OK
              : rd_why_set(m->why, RD_ERR_INTERNAL, "mapping %s: input %s: %s does not fit %s",
                           m->mapping->name, row->name, rd_mapping_field_name(row->field),
                           rd_datatype_name(row->datatype));
}

rd_err rd_tensors_make(const struct rd_mapping *mapping, const struct rd_generation *generation,
                       unsigned output, struct rd_tensors *ret, struct rd_why *why)
{
    struct rd_tensors made = {0};
    struct maker m = {mapping, generation, output, &made, 0, why};
    if ((rd_mapping_tasks(mapping) & 1u << generation->task) == 0) {
        return rd_why_set(why, RD_ERR_INTERNAL, "mapping %s: it does not do task %s", mapping->name,
                          rd_task_name(generation->task));
    }
    for (size_t i = 0; i < mapping->inputs_count; i++) {
        const struct rd_mapping_tensor *row = &mapping->inputs[i];
        struct value value = value_of(&m, row->field);
        if (row->optional && value.absent) {
            continue;
        }
        struct rd_tensor *out = &made.items[made.count];
        rd_err err = make_tensor(&m, row, &value, out);
        if (err != RD_OK) {
            rd_tensors_done(&made);
            return err;
        }
        made.bytes += out->head_len + out->body_len;
        made.count++;
    }
    *ret = made;
    return RD_OK;
}

void rd_tensors_done(struct rd_tensors *tensors)
{
    for (size_t i = 0; i < sizeof tensors->owned / sizeof tensors->owned[0]; i++) {
        rd_mem_free(tensors->owned[i]);
    }
    memset(tensors, 0, sizeof *tensors);
}

bool rd_tensors_is_slow(const struct rd_mapping *mapping, const struct rd_generation *generation)
{
    for (size_t i = 0; i < mapping->inputs_count; i++) {
        const struct rd_mapping_tensor *row = &mapping->inputs[i];
        const struct rd_source *source = row->field == RD_INPUT_IMAGE  ? &generation->image
                                         : row->field == RD_INPUT_MASK ? &generation->mask
                                                                       : NULL;
        if (source != NULL && source->bytes != NULL && row->datatype != RD_DATATYPE_BYTES) {
            return true;
        }
    }
    return false;
}
