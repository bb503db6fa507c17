/* SPDX-License-Identifier: Apache-2.0
 *
 * An output on its way to the sink. See picture.h. */
#include "engine/openai/picture.h"

#include <string.h>

#include "media/media.h"

void rd_openai_picture_init(struct rd_openai_picture *picture)
{
    memset(picture, 0, sizeof *picture);
    rd_buf_init(&picture->gathered, RD_OPENAI_GATHER_MAX);
}

void rd_openai_picture_done(struct rd_openai_picture *picture)
{
    rd_buf_done(&picture->gathered);
}

void rd_openai_picture_begin(struct rd_openai_picture *picture, const struct rd_engine_job *job,
                             unsigned output, uint64_t size_hint)
{
    picture->job = job;
    picture->output = output;
    picture->size_hint = size_hint;
    picture->stage = RD_OPENAI_FIRST;
    picture->first_len = 0;
    rd_buf_reset(&picture->gathered);
}

bool rd_openai_media_of(const void *first, enum rd_media *ret)
{
    for (int media = 0; media < RD_MEDIA_COUNT_; media++) {
        if (rd_http_magic_is(first, (enum rd_media)media)) {
            *ret = (enum rd_media)media;
            return true;
        }
    }
    return false;
}

static bool is_still(enum rd_media media)
{
    return media != RD_MEDIA_MP4;
}

/* The first bytes are there: what is it? */
static rd_err judge(struct rd_openai_picture *p, struct rd_why *why)
{
    enum rd_media wanted = p->job->generation->media;
    enum rd_media got;
    if (!rd_openai_media_of(p->first, &got)) {
        return rd_why_set(why, RD_ERR_BACKEND_FAILED,
                          "the engine's output is neither PNG, JPEG, WebP nor MP4");
    }
    if (got != wanted && (!is_still(got) || !is_still(wanted))) {
        return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the engine's output is %s, not %s",
                          rd_media_type(got), rd_media_type(wanted));
    }
    if (got != wanted) {
        p->stage = RD_OPENAI_GATHER;
        rd_buf_append(&p->gathered, p->first, p->first_len);
        return rd_buf_err(&p->gathered);
    }
    p->stage = RD_OPENAI_PASS;
    const struct rd_engine_sink *sink = &p->job->sink;
    RD_TRY(sink->begin(sink->ctx, p->output, wanted, p->size_hint));
    return sink->data(sink->ctx, p->output, p->first, p->first_len);
}

rd_err rd_openai_picture_bytes(struct rd_openai_picture *picture, const uint8_t *bytes, size_t len,
                               struct rd_why *why)
{
    struct rd_openai_picture *p = picture;
    if (p->stage == RD_OPENAI_FIRST) {
        size_t room = sizeof p->first - p->first_len;
        size_t take = len < room ? len : room;
        memcpy(p->first + p->first_len, bytes, take);
        p->first_len += take;
        if (p->first_len < sizeof p->first) {
            return RD_OK;
        }
        RD_TRY(judge(p, why));
        bytes += take;
        len -= take;
    }
    if (len == 0) {
        return RD_OK;
    }
    if (p->stage == RD_OPENAI_PASS) {
        return p->job->sink.data(p->job->sink.ctx, p->output, bytes, len);
    }
    rd_buf_append(&p->gathered, bytes, len);
    rd_err err = rd_buf_err(&p->gathered);
    return err != RD_ERR_TOO_LARGE
               ? err
               : rd_why_set(why, RD_ERR_BACKEND_FAILED,
                            "the engine's picture is of another type than was asked for, and over "
                            "%u MiB",
                            (unsigned)RD_OPENAI_GATHER_MAX >> 20);
}

/* Gives an output that was made here. */
static rd_err give(struct rd_openai_picture *p, const struct rd_buf *made)
{
    const struct rd_engine_sink *sink = &p->job->sink;
    RD_TRY(sink->begin(sink->ctx, p->output, p->job->generation->media, made->len));
    RD_TRY(sink->data(sink->ctx, p->output, made->data, made->len));
    return sink->end(sink->ctx, p->output);
}

/* Its header is looked at first: a picture of another size is no result, and may be a huge one. */
static rd_err decode(struct rd_openai_picture *p, unsigned channels, struct rd_image *ret,
                     struct rd_why *why)
{
    const struct rd_format *format = p->job->generation->format;
    struct rd_image_info info;
    RD_TRY(rd_image_probe(p->gathered.data, p->gathered.len, &info, why));
    if (info.width != format->width || info.height != format->height) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "it is %ux%u, not %ux%u", info.width,
                          info.height, format->width, format->height);
    }
    return rd_image_decode(p->gathered.data, p->gathered.len, channels, ret, why);
}

static rd_err recode(struct rd_openai_picture *p, struct rd_why *why)
{
    enum rd_media wanted = p->job->generation->media;
    struct rd_image image;
    struct rd_why reason = {""};
    rd_err err = decode(p, wanted == RD_MEDIA_JPEG ? 3 : 4, &image, &reason);
    rd_buf_done(&p->gathered);
    if (err == RD_ERR_NO_MEMORY) {
        return err;
    }
    if (err != RD_OK) {
        return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the engine's picture cannot be used: %s",
                          reason.text);
    }
    RD_AUTO_BUF struct rd_buf made;
    rd_buf_init(&made, RD_OPENAI_GATHER_MAX);
    err = rd_image_encode(&image, wanted, RD_OPENAI_QUALITY, &made);
    rd_image_done(&image);
    return err == RD_OK ? give(p, &made) : err;
}

rd_err rd_openai_picture_end(struct rd_openai_picture *picture, struct rd_why *why)
{
    if (picture->stage == RD_OPENAI_PASS) {
        return picture->job->sink.end(picture->job->sink.ctx, picture->output);
    }
    if (picture->stage == RD_OPENAI_GATHER) {
        return recode(picture, why);
    }
    return rd_why_set(why, RD_ERR_BACKEND_FAILED,
                      "the engine's output of %zu bytes is too short to be a picture",
                      picture->first_len);
}
