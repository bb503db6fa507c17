/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a picture. What must hold: nothing but the three defined errors; what decodes was
 * probed and has the size that probing said; asking for RGB and for RGBA gives one verdict; what
 * was decoded survives PNG without loss. Pictures of over PIXELS_MAX are probed only: large flat
 * ones are legitimate and would make the fuzzer slow.
 *
 * PNG's checksums stop blind mutation at the door, so the mutator repairs them half of the time. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "media/media.h"

enum { PIXELS_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);

static void demand(int holds)
{
    if (!holds) {
        abort();
    }
}

static void survives_png(const struct rd_image *image)
{
    struct rd_buf file;
    rd_buf_init(&file, RD_MIB(64));
    demand(rd_image_encode(image, RD_MEDIA_PNG, 100, &file) == RD_OK);
    struct rd_image back;
    demand(rd_image_decode(file.data, file.len, image->channels, &back, NULL) == RD_OK);
    size_t bytes = (size_t)image->width * image->height * image->channels;
    demand(back.width == image->width && back.height == image->height);
    demand(memcmp(back.pixels, image->pixels, bytes) == 0);
    rd_image_done(&back);
    rd_buf_done(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd_image_info info;
    struct rd_why why = {""};
    rd_err probed = rd_image_probe(data, size, &info, &why);
    demand(probed == RD_OK || probed == RD_ERR_INVALID_REQUEST || probed == RD_ERR_TOO_LARGE);
    demand((probed == RD_OK) == (why.text[0] == '\0'));
    if (probed == RD_OK && (uint64_t)info.width * info.height > PIXELS_MAX) {
        return 0;
    }
    struct rd_image images[2];
    rd_err errs[2];
    for (unsigned i = 0; i < 2; i++) {
        errs[i] = rd_image_decode(data, size, 3 + i, &images[i], NULL);
    }
    demand(errs[0] == errs[1]);
    if (probed != RD_OK) {
        demand(errs[0] == probed);
        return 0;
    }
    demand(errs[0] == RD_OK || errs[0] == RD_ERR_INVALID_REQUEST);
    for (unsigned i = 0; i < 2 && errs[0] == RD_OK; i++) {
        demand(images[i].width == info.width && images[i].height == info.height);
        demand(images[i].channels == 3 + i);
        survives_png(&images[i]);
        rd_image_done(&images[i]);
    }
    return 0;
}

static uint32_t crc32_of(const uint8_t *bytes, size_t len)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < len * 8; i++) {
        crc ^= i % 8 == 0 ? bytes[i / 8] : 0;
        crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
    }
    return ~crc;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    size = LLVMFuzzerMutate(data, size, size_max);
    if (size < 8 || memcmp(data, "\x89PNG", 4) != 0 || seed % 2 == 0) {
        return size;
    }
    size_t at = 8;
    while (size - at >= 12) { /* length, type, data, checksum */
        uint8_t *p = data + at;
        size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (len > size - at - 12) {
            break;
        }
        uint32_t crc = crc32_of(p + 4, len + 4);
        for (int i = 0; i < 4; i++) {
            p[8 + len + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        }
        at += 12 + len;
    }
    return size;
}
