/* SPDX-License-Identifier: Apache-2.0
 *
 * Is this output what it claims to be? An engine's bytes pass through here while they are stored,
 * and nothing is called a picture before its last byte was looked at. What is checked:
 *
 *   PNG   every chunk and its checksum, all of the compressed data to its own checksum, every row,
 *         palette indices, IEND. Nothing is kept but zlib's window: 64 KiB (and two rows of a
 *         picture with a palette).
 *   JPEG  every Huffman code of every scan, by libjpeg, which is asked for an eighth of the size so
 *         that it computes hardly a pixel. What it only warns of is damage here (jpeg_damage.h).
 *         About 100 KiB; a progressive one needs its coefficients as well, 3 to 6 bytes a pixel.
 *   WebP  decoded at its end by libwebp, which cannot do without the file and the canvas: 2.5 bytes
 *         a pixel, 8 when it is lossless.
 *   MP4   the boxes, not the frames: ftyp, moov and mdat are there, no size lies, a video track
 *         has the right size and says that it has frames, mdat is not empty. Decoding a video would
 *         cost more than many a small model takes to make it. moov is held: MOOV_MAX, 256 KiB.
 *
 * In all four the width and height must be those of the generation's format, which the caller asked
 * for and the statement will say. A PNG or WebP that moves is refused, since nothing looked at its
 * other frames, and nothing may follow the end: what is signed is one picture. Beside it stand only
 * parts that the format lets readers skip, RD_MEDIA_BESIDE_MAX bytes together, and nobody looks
 * into those. No check can prove that a file hides nothing: pixels, tables and padding can, too.
 * Memory is taken after the size was found to be right.
 *
 * Cost on one core of a small server, spread over the time in which the bytes come: what unpacking
 * the format costs anybody, so an engine's own encoder took several times as long.
 *
 *     PNG    1.5 MB, noise that does not compress   1.1 ms       64 KiB of it   0.04 ms
 *            1.4 MB, 1024 x 1024, like a photo     18 ms         48 KiB         0.43 ms
 *     JPEG   250 KB, the same photo                 2.6 ms       progressive   14 ms
 *     WebP   145 KB, the same photo                17 ms         lossless      79 ms
 */
#ifndef RD_MEDIA_CHECK_H
#define RD_MEDIA_CHECK_H

#include <stddef.h>

#include "base/err.h"
#include "core/generation.h"

struct rd_media_check;

/* Profiles, texts, a C2PA manifest. */
enum { RD_MEDIA_BESIDE_MAX = 1 << 20 };

struct rd_media_expected {
    enum rd_media media;
    unsigned width, height; /* exactly */
};

rd_err rd_media_check_new(const struct rd_media_expected *expected,
                          struct rd_media_check **ret) RD_MUST;
/* The next bytes. BACKEND_FAILED with why, as soon as it is clear; NO_MEMORY. After a failure only
 * rd_media_check_free. */
rd_err rd_media_check_feed(struct rd_media_check *check, const void *bytes, size_t len,
                           struct rd_why *why) RD_MUST;
/* That was all. */
rd_err rd_media_check_finish(struct rd_media_check *check, struct rd_why *why) RD_MUST;
void rd_media_check_free(struct rd_media_check *check); /* NULL is fine */

#endif
