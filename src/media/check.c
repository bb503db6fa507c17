/* SPDX-License-Identifier: Apache-2.0
 *
 * The checks' common part: which format the first bytes are of. See check.h. */
#include "media/check_codec.h"

#include <string.h>

static const struct rd_media_check_ops *const formats[RD_MEDIA_COUNT_] = {
    [RD_MEDIA_PNG] = &rd_media_check_png,
    [RD_MEDIA_WEBP] = &rd_media_check_webp,
    [RD_MEDIA_JPEG] = &rd_media_check_jpeg,
    [RD_MEDIA_MP4] = &rd_media_check_mp4,
};

/* The format that begins like this, or COUNT_. */
static enum rd_media media_of(const uint8_t *start, size_t len)
{
    if (len >= 8 && memcmp(start, "\x89PNG\r\n\x1a\n", 8) == 0) {
        return RD_MEDIA_PNG;
    }
    if (len >= 3 && memcmp(start, "\xff\xd8\xff", 3) == 0) {
        return RD_MEDIA_JPEG;
    }
    if (len >= 12 && memcmp(start, "RIFF", 4) == 0 && memcmp(start + 8, "WEBP", 4) == 0) {
        return RD_MEDIA_WEBP;
    }
    return len >= 8 && memcmp(start + 4, "ftyp", 4) == 0 ? RD_MEDIA_MP4 : RD_MEDIA_COUNT_;
}

static rd_err check_start(const struct rd_media_check *check, struct rd_why *why)
{
    enum rd_media media = media_of(check->start, check->start_len);
    if (media == check->expected.media) {
        return RD_OK;
    }
    if (media != RD_MEDIA_COUNT_) {
        return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the output is a %s, not the %s asked for",
                          formats[media]->name, check->ops->name);
    }
    return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the output does not begin like a %s",
                      check->ops->name);
}

rd_err rd_media_check_size_is(const struct rd_media_check *check, unsigned width, unsigned height,
                              struct rd_why *why)
{
    const struct rd_media_expected *expected = &check->expected;
    return width == expected->width && height == expected->height
               ? RD_OK
               : rd_why_set(why, RD_ERR_BACKEND_FAILED,
                            "the %s is %u x %u pixels; %u x %u were asked for", check->ops->name,
                            width, height, expected->width, expected->height);
}

rd_err rd_media_check_beside(struct rd_media_check *check, uint64_t bytes, struct rd_why *why)
{
    if (bytes <= RD_MEDIA_BESIDE_MAX - check->beside) {
        check->beside += bytes;
        return RD_OK;
    }
    return rd_why_set(why, RD_ERR_BACKEND_FAILED,
                      "the %s has over %d MiB of profiles, texts and the like beside its picture",
                      check->ops->name, RD_MEDIA_BESIDE_MAX >> 20);
}

rd_err rd_media_check_moves(const struct rd_media_check *check, struct rd_why *why)
{
    return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the %s is animated; one picture was asked for",
                      check->ops->name);
}

rd_err rd_media_check_new(const struct rd_media_expected *expected, struct rd_media_check **ret)
{
    struct rd_media_check *check = NULL;
    RD_TRY(formats[expected->media]->open(expected, &check));
    check->ops = formats[expected->media];
    check->expected = *expected;
    *ret = check;
    return RD_OK;
}

rd_err rd_media_check_feed(struct rd_media_check *check, const void *bytes, size_t len,
                           struct rd_why *why)
{
    const uint8_t *at = bytes;
    if (len > 0 && check->start_len < RD_CHECK_START) {
        size_t room = RD_CHECK_START - check->start_len;
        size_t part = len < room ? len : room;
        memcpy(check->start + check->start_len, at, part);
        check->start_len += part;
        if (check->start_len < RD_CHECK_START) {
            return RD_OK;
        }
        RD_TRY(check_start(check, why));
        RD_TRY(check->ops->feed(check, check->start, RD_CHECK_START, why));
        at += part;
        len -= part;
    }
    return len == 0 ? RD_OK : check->ops->feed(check, at, len, why);
}

rd_err rd_media_check_finish(struct rd_media_check *check, struct rd_why *why)
{
    if (check->start_len < RD_CHECK_START) { /* shorter than any of them can be */
        RD_TRY(check_start(check, why));
        return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the %s ends within its first bytes",
                          check->ops->name);
    }
    return check->ops->finish(check, why);
}

void rd_media_check_free(struct rd_media_check *check)
{
    if (check != NULL) {
        check->ops->free(check);
    }
}
