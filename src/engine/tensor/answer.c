/* SPDX-License-Identifier: Apache-2.0
 *
 * From the tensors of an answer to the sink. See answer.h.
 *
 * Each message is a list of tensors (head), then their bytes (data). A tensor of the mapping's is a
 * part; a part knows how many bytes it will have: from the shape, or, when it is BYTES, from the
 * four in front of its one element. What it does with them is its row's `gives`: a number is
 * gathered and told, a file of the asked type goes through, everything else is held. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/tensor/answer_internal.h"
#include "engine/tensor/fields.h"

enum {
    DEVICE_TEXT_MAX = 4096,
    PREVIEW_QUALITY = 72,
    NS_PER_S = 1000000000,
};

void rd_answer_init(struct rd_answer *answer, const struct rd_mapping *mapping,
                    const struct rd_generation *generation, unsigned output,
                    const struct rd_engine_sink *sink)
{
    memset(answer, 0, sizeof *answer);
    answer->mapping = mapping;
    answer->generation = generation;
    answer->output = output;
    answer->sink = sink;
}

static void part_reset(struct rd_answer_part *part)
{
    rd_buf_done(&part->file);
    rd_pixels_done(&part->pixels);
    memset(part, 0, sizeof *part);
}

/* What went wrong with this part is none of the answer's: it was a preview, a courtesy. An error
 * that counts would have ended the answer, so that `malformed` can only be of this one. */
static void leave_out(struct rd_answer *answer, struct rd_answer_part *part)
{
    rd_buf_done(&part->file);
    rd_pixels_done(&part->pixels);
    part->left_out = true;
    answer->malformed = false;
}

void rd_answer_done(struct rd_answer *answer)
{
    for (size_t i = 0; i < RD_MAPPING_TENSORS_MAX; i++) {
        part_reset(&answer->parts[i]);
    }
    rd_buf_done(&answer->file);
    rd_pixels_done(&answer->pixels);
}

rd_err rd_answer_malformed(struct rd_answer *answer, struct rd_why *why,
                           const struct rd_mapping_tensor *row, const char *fmt, ...)
{
    char text[sizeof why->text];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    answer->malformed = true;
    return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the answer's tensor %s: %s", row->name, text);
}

/* ---- the head of a message ---- */

static bool is_picture(const struct rd_mapping_tensor *row)
{
    return row->gives == RD_OUTPUT_IMAGE || row->gives == RD_OUTPUT_VIDEO;
}

static bool is_raw(const struct rd_mapping_tensor *row)
{
    return rd_tensor_outputs[row->gives].kind == RD_KIND_PICTURE &&
           row->datatype != RD_DATATYPE_BYTES;
}

static bool shape_is(const struct rd_mapping_tensor *row, const struct rd_tensor_info *info)
{
    bool same = row->rank == 0 || row->rank == info->rank;
    for (size_t i = 0; same && i < row->rank; i++) {
        same = row->shape[i] == -1 || row->shape[i] == info->shape[i];
    }
    return same;
}

/* False: more elements than anything here has. */
static bool count_elements(const struct rd_tensor_info *info, uint64_t *ret)
{
    uint64_t count = 1;
    for (size_t i = 0; i < info->rank; i++) {
        if (info->shape[i] < 0 || info->shape[i] > UINT32_MAX) {
            return false;
        }
        count *= (uint64_t)info->shape[i];
        if (count > UINT32_MAX) {
            return false;
        }
    }
    *ret = count;
    return true;
}

static rd_err begin_pixels(struct rd_answer *answer, const struct rd_mapping_tensor *row,
                           const struct rd_tensor_info *info, struct rd_why *why)
{
    struct rd_answer_part *part = &answer->parts[row - answer->mapping->outputs];
    const struct rd_format *format = answer->generation->format;
    struct rd_pixels *pixels = is_picture(row) ? &answer->pixels : &part->pixels;
    struct rd_mapping_picture layout;
    if (is_picture(row) && answer->picture != NULL) {
        return rd_answer_malformed(answer, why, row, "it came twice");
    }
    if (!rd_mapping_picture(info->shape, info->rank, &layout) || layout.channels != 3) {
        return rd_answer_malformed(answer, why, row, "its shape is none of a picture");
    }
    if (is_picture(row) && (layout.width != format->width || layout.height != format->height)) {
        return rd_answer_malformed(answer, why, row, "it is %lldx%lld, asked was %ux%u",
                                   (long long)layout.width, (long long)layout.height, format->width,
                                   format->height);
    }
    if (!is_picture(row) && layout.width * layout.height > RD_ANSWER_PREVIEW_PIXELS_MAX) {
        return rd_answer_malformed(answer, why, row, "a preview of %lldx%lld is too large",
                                   (long long)layout.width, (long long)layout.height);
    }
    part->expected =
        (uint64_t)layout.width * (uint64_t)layout.height * 3 * rd_datatype_size(row->datatype);
    rd_err err = rd_pixels_init(pixels, row, &layout);
    return err == RD_OK ? RD_OK : rd_why_set(why, err, "no memory for a picture");
}

/* One tensor of the message that the mapping has a row for. */
static rd_err begin_part(struct rd_answer *answer, const struct rd_mapping_tensor *row,
                         const struct rd_tensor_info *info, struct rd_why *why)
{
    struct rd_answer_part *part = &answer->parts[row - answer->mapping->outputs];
    char ours[RD_TENSOR_SHAPE_ROOM], theirs[RD_TENSOR_SHAPE_ROOM];
    uint64_t elements;
    if (part->present) {
        return rd_answer_malformed(answer, why, row, "it stands twice in one message");
    }
    part->present = true;
    if (strcmp(info->datatype, rd_datatype_name(row->datatype)) != 0) {
        char got[RD_TENSOR_TEXT_ROOM];
        return rd_answer_malformed(answer, why, row, "expected %s, got %s",
                                   rd_datatype_name(row->datatype),
                                   rd_tensor_text(info->datatype, got));
    }
    if (!count_elements(info, &elements)) {
        return rd_answer_malformed(answer, why, row, "no shape that a tensor can have");
    }
    if (elements == 0 && (answer->mapping->decoupled || !is_picture(row))) {
        part->skipped = true;
        return RD_OK;
    }
    if (!shape_is(row, info) || (!is_raw(row) && elements != 1)) {
        return rd_answer_malformed(
            answer, why, row, "expected shape %s, got %s",
            row->rank == 0 ? "of one element"
                           : rd_tensor_shape_text(row->shape, row->rank, ours, sizeof ours),
            rd_tensor_shape_text(info->shape, info->rank, theirs, sizeof theirs));
    }
    if (is_raw(row)) {
        RD_TRY(begin_pixels(answer, row, info, why));
        if (is_picture(row)) {
            answer->stage = RD_ANSWER_PIXELS;
            answer->picture = row;
        }
        return RD_OK;
    }
    part->expected =
        row->datatype == RD_DATATYPE_BYTES ? RD_ANSWER_LENGTH_LEN : rd_datatype_size(row->datatype);
    return RD_OK;
}

/* Every tensor of the message before has all its bytes. */
static rd_err check_complete(struct rd_answer *answer, struct rd_why *why)
{
    for (size_t i = 0; i < answer->mapping->outputs_count; i++) {
        const struct rd_answer_part *part = &answer->parts[i];
        bool matters = answer->mapping->outputs[i].gives != RD_OUTPUT_PREVIEW;
        if (part->present && matters && !part->skipped && part->received < part->expected) {
            return rd_answer_malformed(
                answer, why, &answer->mapping->outputs[i], "it ended after %llu of %llu bytes",
                (unsigned long long)part->received, (unsigned long long)part->expected);
        }
    }
    return RD_OK;
}

/* -1: nobody wants it. */
static int find_row(const struct rd_answer *answer, const char *name)
{
    for (size_t i = 0; i < answer->mapping->outputs_count; i++) {
        const struct rd_mapping_tensor *row = &answer->mapping->outputs[i];
        if (strcmp(row->name, name) == 0) {
            bool wanted = row->gives != RD_OUTPUT_PREVIEW || answer->sink->preview != NULL;
            return wanted ? (int)i : -1;
        }
    }
    return -1;
}

rd_err rd_answer_head(struct rd_answer *answer, const struct rd_tensor_info *tensors, size_t count,
                      struct rd_why *why)
{
    RD_TRY(check_complete(answer, why));
    if (count > RD_ANSWER_TENSORS_MAX) {
        answer->malformed = true;
        return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the answer has %zu tensors, at most %d",
                          count, RD_ANSWER_TENSORS_MAX);
    }
    for (size_t i = 0; i < answer->mapping->outputs_count; i++) {
        part_reset(&answer->parts[i]);
    }
    answer->tensors_count = count;
    for (size_t i = 0; i < count; i++) {
        int row = find_row(answer, tensors[i].name);
        answer->part_of[i] = (int8_t)row;
        if (row < 0) {
            continue;
        }
        const struct rd_mapping_tensor *output = &answer->mapping->outputs[row];
        if (output->gives != RD_OUTPUT_PREVIEW) {
            RD_TRY(begin_part(answer, output, &tensors[i], why));
        } else if (begin_part(answer, output, &tensors[i], NULL) != RD_OK) {
            leave_out(answer, &answer->parts[row]);
        }
    }
    return RD_OK;
}

/* ---- numbers and texts ---- */

static void end_number(struct rd_answer *answer, const struct rd_mapping_tensor *row,
                       const struct rd_answer_part *part)
{
    const struct rd_engine_sink *sink = answer->sink;
    double value = rd_datatype_get_number(row->datatype, part->first);
    if (row->gives == RD_OUTPUT_PROGRESS) {
        /* Over all outputs of the run; a model that counts back is not followed. */
        double whole = (answer->output + value) / answer->generation->count;
        if (value >= answer->progress && value <= 1 && sink->progress != NULL) {
            answer->progress = value;
            sink->progress(sink->ctx, whole, (unsigned)(whole * answer->generation->steps + 0.5));
        }
    } else if (value * NS_PER_S >= 1 && value <= RD_ANSWER_DEVICE_SECONDS_MAX) {
        answer->device_told = true;
        answer->device_ns = (uint64_t)(value * NS_PER_S);
    }
}

static void end_device(struct rd_answer *answer, const struct rd_answer_part *part)
{
    size_t used = 0;
    for (size_t i = 0; i < part->file.len && used + 1 < sizeof answer->device; i++) {
        char c = part->file.data[i];
        answer->device[used++] = c >= 0x20 && c < 0x7f ? c : '?'; /* it goes into statements */
    }
    answer->device[used] = '\0';
}

/* ---- previews ---- */

static rd_err end_preview(struct rd_answer *answer, const struct rd_mapping_tensor *row,
                          struct rd_answer_part *part, struct rd_why *why)
{
    const struct rd_engine_sink *sink = answer->sink;
    struct rd_image_info info;
    struct rd_why inner;
    if (is_raw(row)) {
        RD_AUTO_BUF struct rd_buf file; /* beside the pixels */
        rd_buf_init(&file, RD_ENGINE_HELD_MAX - 3 * RD_ANSWER_PREVIEW_PIXELS_MAX);
        RD_TRY(rd_image_encode(&part->pixels.image, RD_MEDIA_JPEG, PREVIEW_QUALITY, &file));
        sink->preview(sink->ctx, RD_MEDIA_JPEG, file.data, file.len);
        return RD_OK;
    }
    if (rd_image_probe(part->file.data, part->file.len, &info, &inner) != RD_OK) {
        return rd_answer_malformed(answer, why, row, "%s", inner.text);
    }
    sink->preview(sink->ctx, info.media, part->file.data, part->file.len);
    return RD_OK;
}

/* ---- bytes ---- */

/* The length in front of a BYTES element is known. */
static rd_err begin_bytes(struct rd_answer *answer, size_t row, struct rd_why *why)
{
    const struct rd_mapping_tensor *output = &answer->mapping->outputs[row];
    struct rd_answer_part *part = &answer->parts[row];
    uint64_t len = (uint64_t)part->first[0] | (uint64_t)part->first[1] << 8 |
                   (uint64_t)part->first[2] << 16 | (uint64_t)part->first[3] << 24;
    part->expected = RD_ANSWER_LENGTH_LEN + len;
    if (!is_picture(output)) {
        size_t most = output->gives == RD_OUTPUT_PREVIEW ? RD_ENGINE_HELD_MAX : DEVICE_TEXT_MAX;
        if (len > most) {
            return rd_answer_malformed(answer, why, output, "%llu bytes, at most %zu",
                                       (unsigned long long)len, most);
        }
        rd_buf_init(&part->file, most);
        part->skipped = len == 0;
        return RD_OK;
    }
    part->skipped = len == 0 && answer->mapping->decoupled;
    return part->skipped ? RD_OK : rd_answer_file_begin(answer, row, why);
}

static rd_err end_part(struct rd_answer *answer, size_t row, struct rd_why *why)
{
    const struct rd_mapping_tensor *output = &answer->mapping->outputs[row];
    struct rd_answer_part *part = &answer->parts[row];
    switch (output->gives) {
    case RD_OUTPUT_PROGRESS:
    case RD_OUTPUT_DEVICE_SECONDS:
        end_number(answer, output, part);
        break;
    case RD_OUTPUT_DEVICE:
        end_device(answer, part);
        break;
    case RD_OUTPUT_PREVIEW:
        return end_preview(answer, output, part, why);
    case RD_OUTPUT_IMAGE:
    case RD_OUTPUT_VIDEO:
    case RD_OUTPUT_COUNT_:
        break; /* ends with the answer */
    }
    return RD_OK;
}

/* At most what the part still expects. */
static rd_err take(struct rd_answer *answer, size_t row, const uint8_t *bytes, size_t len,
                   struct rd_why *why)
{
    const struct rd_mapping_tensor *output = &answer->mapping->outputs[row];
    struct rd_answer_part *part = &answer->parts[row];
    struct rd_why inner;
    if (is_raw(output)) {
        part->received += len;
        rd_err err = rd_pixels_feed(is_picture(output) ? &answer->pixels : &part->pixels, bytes,
                                    len, &inner);
        return err == RD_OK ? RD_OK : rd_answer_malformed(answer, why, output, "%s", inner.text);
    }
    if (output->datatype != RD_DATATYPE_BYTES || part->received < RD_ANSWER_LENGTH_LEN) {
        memcpy(part->first + part->received, bytes, len);
        part->received += len;
        return output->datatype == RD_DATATYPE_BYTES && part->received == RD_ANSWER_LENGTH_LEN
                   ? begin_bytes(answer, row, why)
                   : RD_OK;
    }
    if (is_picture(output)) {
        return rd_answer_file_take(answer, row, bytes, len, why);
    }
    part->received += len;
    rd_buf_append(&part->file, bytes, len);
    return rd_buf_err(&part->file);
}

/* Bytes of a tensor that has row `row`. */
static rd_err feed(struct rd_answer *answer, size_t row, const uint8_t *from, size_t len,
                   struct rd_why *why)
{
    struct rd_answer_part *part = &answer->parts[row];
    while (len > 0) {
        uint64_t room = part->expected - part->received;
        size_t step = len < room ? len : (size_t)room;
        if (room == 0) {
            return rd_answer_malformed(answer, why, &answer->mapping->outputs[row],
                                       "it has more than its %llu bytes",
                                       (unsigned long long)part->expected);
        }
        RD_TRY(take(answer, row, from, step, why));
        from += step;
        len -= step;
        if (part->received == part->expected && !part->skipped) {
            RD_TRY(end_part(answer, row, why));
        }
    }
    return RD_OK;
}

rd_err rd_answer_data(struct rd_answer *answer, size_t index, const void *bytes, size_t len,
                      struct rd_why *why)
{
    if (index >= answer->tensors_count) {
        answer->malformed = true;
        return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the answer has more bytes than tensors");
    }
    if (answer->part_of[index] < 0) {
        return RD_OK;
    }
    size_t row = (size_t)answer->part_of[index];
    struct rd_answer_part *part = &answer->parts[row];
    if (answer->mapping->outputs[row].gives != RD_OUTPUT_PREVIEW) {
        return feed(answer, row, bytes, len, why);
    }
    if (!part->left_out && feed(answer, row, bytes, len, NULL) != RD_OK) {
        leave_out(answer, part);
    }
    return RD_OK;
}

/* ---- the end ---- */

bool rd_answer_is_slow(const struct rd_answer *answer)
{
    return answer->stage == RD_ANSWER_HELD || answer->stage == RD_ANSWER_PIXELS;
}

rd_err rd_answer_finish(struct rd_answer *answer, struct rd_why *why)
{
    RD_TRY(check_complete(answer, why));
    switch (answer->stage) {
    case RD_ANSWER_STREAM:
        return answer->sink->end(answer->sink->ctx, answer->output);
    case RD_ANSWER_HELD:
        return rd_answer_file_encode(answer, why);
    case RD_ANSWER_PIXELS:
        return rd_answer_encode(answer, &answer->pixels.image, why);
    case RD_ANSWER_NO_PICTURE:
    case RD_ANSWER_MAGIC:
        break;
    }
    answer->malformed = true;
    return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the answer has no picture");
}
