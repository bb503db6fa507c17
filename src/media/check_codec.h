/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to check.c and check_*.c: what a format implements. check.c has looked at the first bytes
 * before the first feed(); `len` is never 0; after an error only free() follows. */
#ifndef RD_MEDIA_CHECK_CODEC_H
#define RD_MEDIA_CHECK_CODEC_H

#include <stdbool.h>
#include <stdint.h>

#include "media/check.h"

enum { RD_CHECK_START = 12 }; /* bytes that tell the formats apart */

struct rd_media_check_ops {
    const char *name;
    rd_err (*open)(const struct rd_media_expected *expected, struct rd_media_check **ret);
    rd_err (*feed)(struct rd_media_check *check, const uint8_t *bytes, size_t len,
                   struct rd_why *why);
    rd_err (*finish)(struct rd_media_check *check, struct rd_why *why);
    void (*free)(struct rd_media_check *check);
};

/* The first member of each format's own struct. */
struct rd_media_check {
    const struct rd_media_check_ops *ops;
    struct rd_media_expected expected;
    uint8_t start[RD_CHECK_START];
    size_t start_len;
    uint64_t beside; /* bytes that are not the picture, so far */
};

extern const struct rd_media_check_ops rd_media_check_png, rd_media_check_jpeg, rd_media_check_webp,
    rd_media_check_mp4;

/* BACKEND_FAILED unless it is the size that was asked for. */
rd_err rd_media_check_size_is(const struct rd_media_check *check, unsigned width, unsigned height,
                              struct rd_why *why) RD_MUST;
/* These bytes are skipped: BACKEND_FAILED once they are more than RD_MEDIA_BESIDE_MAX in all.
 * Called with what a part's head claims, so that it is refused before it comes. */
rd_err rd_media_check_beside(struct rd_media_check *check, uint64_t bytes,
                             struct rd_why *why) RD_MUST;
/* BACKEND_FAILED: it has more than one frame. */
rd_err rd_media_check_moves(const struct rd_media_check *check, struct rd_why *why) RD_MUST;

#endif
