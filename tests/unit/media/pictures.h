/* SPDX-License-Identifier: Apache-2.0
 *
 * Sample pictures for the media tests, made by the libraries directly, with options that the code
 * under test never uses (interlacing, palettes, CMYK ...), and the running of independent checkers.
 */
#ifndef TEST_MEDIA_PICTURES_H
#define TEST_MEDIA_PICTURES_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "media/codec.h"

enum { PICTURES_BUF_MAX = 1 << 26 };

/* A smooth coloured pattern (alpha too, when there are 4 channels), the same for the same numbers.
 */
struct rd_image picture_painted(unsigned width, unsigned height, unsigned channels, unsigned phase);
/* The largest difference of any two samples; the pictures must have one shape. */
unsigned picture_difference(const struct rd_image *a, const struct rd_image *b);

struct png_spec {
    unsigned width, height;
    int colour, depth, interlaced;
    const uint16_t *trns; /* gray or red, green, blue; NULL: none */
    const uint8_t *palette_rgb, *palette_alpha;
    int palette_count, palette_alpha_count;
};
/* The value of sample `channel` at (x, y) in the sample PNGs, of `depth` bits. */
unsigned sample_value(unsigned x, unsigned y, unsigned channel, int depth);
void sample_png(const struct png_spec *spec, struct rd_buf *out);
/* Appends one chunk with its checksum. */
void sample_png_chunk(struct rd_buf *out, const char *type, const void *data, size_t len);
uint32_t sample_crc(const void *data, size_t len);

struct jpeg_spec {
    const struct rd_image *image; /* RGB; of CMYK and gray the numbers are taken as they are */
    int components;               /* 1, 3 or 4 */
    int quality;
    int progressive, adobe, restart;
    const uint8_t *app1; /* an APP1 segment's content, or NULL */
    size_t app1_len;
};
void sample_jpeg(const struct jpeg_spec *spec, struct rd_buf *out);
/* An EXIF block with one orientation entry; returns its length (32). */
size_t exif_block(uint8_t to[64], int big_endian, unsigned orientation);

/* A copy of its own on the heap, exactly `len` bytes, so that a read beyond it is seen. */
uint8_t *exact_copy(const void *bytes, size_t len);
/* Decodes from an exact copy. */
rd_err decode_exact(const void *bytes, size_t len, unsigned channels, struct rd_image *ret,
                    struct rd_why *why);
/* Every prefix must be refused by decode; probe must refuse it or say the right size. */
void check_prefixes(const struct rd_buf *file);
/* Flips bits all over the file: whatever decodes must have the size that probe says. */
void check_bit_flips(const struct rd_buf *file, unsigned stride);

/* Runs a program without a shell; its standard output goes to `out`. -1: it is not installed. */
int tool_run(const char *const argv[], struct rd_buf *out);
/* A temporary file with these bytes; free the path with tool_file_done, which also removes it. */
char *tool_file(const void *bytes, size_t len);
void tool_file_done(char *path);

#endif
