/* SPDX-License-Identifier: Apache-2.0
 *
 * Pictures as bytes: recognising, bounded decoding, encoding, and MP4. Pixels are 8-bit sRGB, rows
 * top to bottom, without padding, 3 (RGB) or 4 (RGBA, straight alpha) channels. Everything is
 * checked against RD_LIMIT_IMAGE_* from the header before any pixel memory is taken. Encoders are
 * deterministic: same pixels, same bytes, on the same library versions. */
#ifndef RD_MEDIA_MEDIA_H
#define RD_MEDIA_MEDIA_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/generation.h"

/* What the first bytes of a picture say. The size is that of the decoded picture, so of a JPEG as
 * its EXIF orientation shows it. */
struct rd_image_info {
    enum rd_media media; /* PNG, WEBP or JPEG */
    unsigned width, height;
};

/* Reads the header only; never decodes, never trusts a claimed type. `len` may be a prefix of the
 * file of at least RD_IMAGE_PROBE_MAX bytes or the whole file. INVALID_REQUEST (with why) when it
 * is no PNG, JPEG or WebP, or of a kind that is not taken: animated WebP; arithmetic, lossless or
 * 12-bit JPEG; a JPEG with more than RD_IMAGE_PROBE_MAX bytes in front of its frame header.
 * TOO_LARGE when a side or the pixel count is over the limit. */
#define RD_IMAGE_PROBE_MAX 262144
rd_err rd_image_probe(const void *bytes, size_t len, struct rd_image_info *ret,
                      struct rd_why *why) RD_MUST;

struct rd_image {
    unsigned width, height, channels;
    uint8_t *pixels; /* owned; width * height * channels */
};

rd_err rd_image_new(unsigned width, unsigned height, unsigned channels,
                    struct rd_image *ret) RD_MUST; /* black */
void rd_image_done(struct rd_image *image);

/* Decodes a whole PNG, JPEG (EXIF orientation applied) or WebP to RGB (channels = 3; alpha is laid
 * over white) or RGBA (channels = 4). Truncated or lying data is INVALID_REQUEST, never a guess;
 * over the limits TOO_LARGE, before memory is taken; else NO_MEMORY. Bytes behind the picture's own
 * end are ignored, and so are colour profiles. Takes up to 8 bytes a pixel besides the picture
 * itself. */
rd_err rd_image_decode(const void *bytes, size_t len, unsigned channels, struct rd_image *ret,
                       struct rd_why *why) RD_MUST;
/* Encodes RGB (or RGBA for PNG and WebP): PNG lossless (`quality` is not looked at); WebP and JPEG
 * at `quality` 1..100, for WebP 100 means lossless. Appends to `out`; on failure `out` keeps what
 * it held before. INVALID_REQUEST for other arguments; TOO_LARGE when `out` is full, or for a WebP
 * with a side of 16384 (the format ends at 16383). */
rd_err rd_image_encode(const struct rd_image *image, enum rd_media media, int quality,
                       struct rd_buf *out) RD_MUST;
/* Area-averaged or bilinear resize (fixed-point arithmetic, so the same on every machine),
 * stretched to exactly width x height. */
rd_err rd_image_resize(const struct rd_image *image, unsigned width, unsigned height,
                       struct rd_image *ret) RD_MUST;

/* A silent H.264 or MPEG-4 MP4 (whatever encoder the system's FFmpeg libraries have, tried in the
 * order libx264, libopenh264, mpeg4), yuv420p, constant frame rate, moov first (faststart), no
 * encoder-dependent time stamps in it. Frames are RGB and all of one size. Width and height must be
 * even and `fps` 1..120, else INVALID_REQUEST; BACKEND_FAILED when FFmpeg has none of the encoders.
 */
struct rd_mp4;
rd_err rd_mp4_new(unsigned width, unsigned height, unsigned fps, struct rd_mp4 **ret,
                  struct rd_why *why) RD_MUST;
rd_err rd_mp4_frame(struct rd_mp4 *mp4, const struct rd_image *frame) RD_MUST;
/* Flushes the encoder and appends the finished file to `out`. Call once, after at least one frame;
 * then free. A video with no frame, or a frame of another shape, is INVALID_REQUEST. */
rd_err rd_mp4_finish(struct rd_mp4 *mp4, struct rd_buf *out) RD_MUST;
void rd_mp4_free(struct rd_mp4 *mp4); /* NULL is fine */

#endif
