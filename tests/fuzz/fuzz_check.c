/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as an engine's output. The first byte says into which pieces they fall. What must hold:
 * the pieces do not matter; nothing but OK, BACKEND_FAILED or NO_MEMORY; and a
 * picture that passes can be decoded and has the size that was asked for. PNG's checksums stop
 * blind mutation at the door, so they are repaired half of the time. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "media/check.h"
#include "media/media.h"

enum { PIXELS_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);

static void demand(bool holds)
{
    if (!holds) {
        abort();
    }
}

static bool check(const struct rd_media_expected *expected, const uint8_t *at, size_t len,
                  size_t piece)
{
    struct rd_media_check *check = NULL;
    struct rd_why why = {.text = ""};
    demand(rd_media_check_new(expected, &check) == RD_OK);
    rd_err err = RD_OK;
    while (len > 0 && err == RD_OK) {
        size_t part = len < piece ? len : piece;
        err = rd_media_check_feed(check, at, part, &why);
        at += part;
        len -= part;
    }
    err = err == RD_OK ? rd_media_check_finish(check, &why) : err;
    rd_media_check_free(check);
    demand(err == RD_OK || err == RD_ERR_BACKEND_FAILED || err == RD_ERR_NO_MEMORY);
    demand((err == RD_ERR_BACKEND_FAILED) == (why.text[0] != '\0'));
    return err == RD_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    size_t piece = (size_t)data[0] + 1;
    data++;
    size--;
    struct rd_image_info info = {RD_MEDIA_MP4, 64, 48};
    if (rd_image_probe(data, size, &info, NULL) == RD_OK &&
        (uint64_t)info.width * info.height > PIXELS_MAX) {
        return 0;
    }
    const struct rd_media_expected expected = {info.media, info.width, info.height};
    bool passes = check(&expected, data, size, SIZE_MAX);
    bool in_pieces = check(&expected, data, size, piece);
    demand(passes == in_pieces);
    if (passes && info.media != RD_MEDIA_MP4) {
        struct rd_image image;
        demand(rd_image_decode(data, size, 3, &image, NULL) == RD_OK);
        rd_image_done(&image);
    }
    return 0;
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    size = LLVMFuzzerMutate(data, size, size_max);
    if ((seed & 1) != 0 || size < 9 || memcmp(data + 1, "\x89PNG\r\n\x1a\n", 8) != 0) {
        return size;
    }
    for (size_t at = 9; size - at >= 12;) {
        size_t len = be32(data + at);
        if (len > size - at - 12) {
            break;
        }
        uint32_t crc = (uint32_t)crc32_z(0, data + at + 4, len + 4);
        for (unsigned i = 0; i < 4; i++) {
            data[at + 8 + len + i] = (uint8_t)(crc >> (24 - 8 * i));
        }
        at += len + 12;
    }
    return size;
}
