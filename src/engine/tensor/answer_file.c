/* SPDX-License-Identifier: Apache-2.0
 *
 * The picture of an answer as a file. Its first bytes say what it is, whatever the mapping hopes:
 * of the asked type, it goes through as it comes; of another that we can decode, it is held; else
 * it is refused before the sink hears of it. And the way back from pixels to a file. */
#include <string.h>

#include "base/limits.h"
#include "engine/tensor/answer_internal.h"

enum { QUALITY = 92 }; /* of WebP and JPEG; as the built-in engine's */

/* RD_MEDIA_COUNT_: none of ours. */
static enum rd_media sniff(const uint8_t first[RD_ANSWER_MAGIC_LEN])
{
    static const struct {
        enum rd_media media;
        size_t at, len;
        const char *bytes;
    } magics[] = {
        {RD_MEDIA_PNG, 0, 8, "\x89PNG\r\n\x1a\n"},
        {RD_MEDIA_JPEG, 0, 3, "\xff\xd8\xff"},
        {RD_MEDIA_WEBP, 8, 4, "WEBP"},
        {RD_MEDIA_MP4, 4, 4, "ftyp"},
    };
    for (size_t i = 0; i < sizeof magics / sizeof magics[0]; i++) {
        if (memcmp(first + magics[i].at, magics[i].bytes, magics[i].len) == 0 &&
            (magics[i].media != RD_MEDIA_WEBP || memcmp(first, "RIFF", 4) == 0)) {
            return magics[i].media;
        }
    }
    return RD_MEDIA_COUNT_;
}

rd_err rd_answer_file_begin(struct rd_answer *answer, size_t row, struct rd_why *why)
{
    const struct rd_mapping_tensor *output = &answer->mapping->outputs[row];
    uint64_t len = answer->parts[row].expected - RD_ANSWER_LENGTH_LEN;
    if (answer->picture != NULL) {
        return rd_answer_malformed(answer, why, output, "it came twice");
    }
    if (len < RD_ANSWER_MAGIC_LEN) {
        return rd_answer_malformed(answer, why, output, "%llu bytes are no %s",
                                   (unsigned long long)len,
                                   rd_media_type(answer->generation->media));
    }
    answer->stage = RD_ANSWER_MAGIC;
    answer->picture = output;
    return RD_OK;
}

/* The first bytes are there: it goes through, is held, or is refused. */
static rd_err judge_file(struct rd_answer *answer, const struct rd_mapping_tensor *row,
                         struct rd_answer_part *part, struct rd_why *why)
{
    const struct rd_engine_sink *sink = answer->sink;
    enum rd_media asked = answer->generation->media;
    enum rd_media got = sniff(part->first);
    uint64_t len = part->expected - RD_ANSWER_LENGTH_LEN;
    if (got == asked) {
        answer->stage = RD_ANSWER_STREAM;
        return sink->begin(sink->ctx, answer->output, asked, len);
    }
    if (got == RD_MEDIA_COUNT_ || got == RD_MEDIA_MP4 || asked == RD_MEDIA_MP4) {
        return rd_answer_malformed(answer, why, row, "its bytes are no %s", rd_media_type(asked));
    }
    if (len > RD_ANSWER_FILE_MAX) {
        return rd_answer_malformed(
            answer, why, row, "%llu bytes of %s are too many to be made %s; at most %d",
            (unsigned long long)len, rd_media_type(got), rd_media_type(asked), RD_ANSWER_FILE_MAX);
    }
    answer->stage = RD_ANSWER_HELD;
    rd_buf_init(&answer->file, RD_ANSWER_FILE_MAX);
    return RD_OK;
}

static rd_err pass_file(struct rd_answer *answer, const uint8_t *bytes, size_t len)
{
    const struct rd_engine_sink *sink = answer->sink;
    if (len == 0) {
        return RD_OK;
    }
    if (answer->stage == RD_ANSWER_STREAM) {
        return sink->data(sink->ctx, answer->output, bytes, len);
    }
    rd_buf_append(&answer->file, bytes, len);
    return rd_buf_err(&answer->file);
}

rd_err rd_answer_file_take(struct rd_answer *answer, size_t row, const uint8_t *bytes, size_t len,
                           struct rd_why *why)
{
    struct rd_answer_part *part = &answer->parts[row];
    uint64_t at = part->received - RD_ANSWER_LENGTH_LEN; /* bytes that were there before */
    part->received += len;
    if (answer->stage != RD_ANSWER_MAGIC) {
        return pass_file(answer, bytes, len);
    }
    size_t missing = RD_ANSWER_MAGIC_LEN - (size_t)at;
    if (len < missing) {
        memcpy(part->first + at, bytes, len);
        return RD_OK;
    }
    memcpy(part->first + at, bytes, missing);
    RD_TRY(judge_file(answer, &answer->mapping->outputs[row], part, why));
    if (at == 0) { /* the usual case: nothing was held back */
        return pass_file(answer, bytes, len);
    }
    RD_TRY(pass_file(answer, part->first, RD_ANSWER_MAGIC_LEN));
    return pass_file(answer, bytes + missing, len - missing);
}

rd_err rd_answer_encode(struct rd_answer *answer, const struct rd_image *image, struct rd_why *why)
{
    const struct rd_engine_sink *sink = answer->sink;
    enum rd_media media = answer->generation->media;
    RD_AUTO_BUF struct rd_buf file;
    rd_buf_init(&file, RD_ANSWER_FILE_MAX);
    rd_err err = rd_image_encode(image, media, QUALITY, &file);
    if (err != RD_OK) {
        return rd_why_set(why, err, "the picture cannot be encoded as %s", rd_media_type(media));
    }
    RD_TRY(sink->begin(sink->ctx, answer->output, media, file.len));
    RD_TRY(sink->data(sink->ctx, answer->output, file.data, file.len));
    return sink->end(sink->ctx, answer->output);
}

rd_err rd_answer_file_encode(struct rd_answer *answer, struct rd_why *why)
{
    const struct rd_format *format = answer->generation->format;
    struct rd_image_info info;
    struct rd_image image;
    struct rd_why inner;
    rd_err err = rd_image_probe(answer->file.data, answer->file.len, &info, &inner);
    if (err == RD_OK && (info.width != format->width || info.height != format->height)) {
        return rd_answer_malformed(answer, why, answer->picture, "it is %ux%u, asked was %ux%u",
                                   info.width, info.height, format->width, format->height);
    }
    err = err != RD_OK ? err
                       : rd_image_decode(answer->file.data, answer->file.len, 3, &image, &inner);
    if (err == RD_ERR_NO_MEMORY) {
        return rd_why_set(why, err, "no memory to decode the picture");
    }
    if (err != RD_OK) {
        return rd_answer_malformed(answer, why, answer->picture, "%s", inner.text);
    }
    rd_buf_done(&answer->file);
    err = rd_answer_encode(answer, &image, why);
    rd_image_done(&image);
    return err;
}
