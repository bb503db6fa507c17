/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to src/media: what image.c hands to the three codecs and what its tests may reach into.
 *
 * The split: probe.c is the only code that reads a picture's header to decide anything (kind, size,
 * orientation). A codec gets that header, decodes with its library, and refuses when the library
 * sees another size. So "the size that was checked" and "the size that was decoded" cannot differ,
 * and no library is called on a header that is over the limits. */
#ifndef RD_MEDIA_CODEC_H
#define RD_MEDIA_CODEC_H

#include <stdbool.h>

#include "media/media.h"

/* What the header says. width and height are as stored, before `orientation`. */
struct rd_media_header {
    enum rd_media media;
    unsigned width, height;
    unsigned orientation; /* EXIF 1..8; 1 = as stored */
};

/* `whole`: the bytes are the complete file, so what lies beyond them does not exist. */
rd_err rd_media_header_read(const uint8_t *bytes, size_t len, bool whole,
                            struct rd_media_header *ret, struct rd_why *why) RD_MUST;
/* INVALID_REQUEST when a side is 0, TOO_LARGE when over RD_LIMIT_IMAGE_*. */
rd_err rd_media_check_size(unsigned width, unsigned height, struct rd_why *why) RD_MUST;
/* Orientations 5 to 8 turn the picture on its side. */
bool rd_media_is_turned(unsigned orientation);

/* One decoding: a whole file, its checked header, and the channels wanted. */
struct rd_media_input {
    const uint8_t *bytes;
    size_t len;
    struct rd_media_header header;
    unsigned channels; /* 3 or 4 */
};

/* Each gives the picture as stored (not turned) with `input->channels` channels. */
rd_err rd_png_decode(const struct rd_media_input *input, struct rd_image *ret,
                     struct rd_why *why) RD_MUST;
rd_err rd_jpeg_decode(const struct rd_media_input *input, struct rd_image *ret,
                      struct rd_why *why) RD_MUST;
rd_err rd_webp_decode(const struct rd_media_input *input, struct rd_image *ret,
                      struct rd_why *why) RD_MUST;

/* Each appends to `out`; on failure `out` may hold a part, which rd_image_encode takes back. */
rd_err rd_png_encode(const struct rd_image *image, struct rd_buf *out) RD_MUST;
rd_err rd_jpeg_encode(const struct rd_image *image, int quality, struct rd_buf *out) RD_MUST;
rd_err rd_webp_encode(const struct rd_image *image, int quality, struct rd_buf *out) RD_MUST;

/* RGBA to RGB in place, over white; RGB stays as it is. */
void rd_image_flatten(struct rd_image *image);
/* Turns and mirrors so that the picture stands as its EXIF orientation says. */
rd_err rd_image_orient(struct rd_image *image, unsigned orientation) RD_MUST;

/* rd_mp4_new with one named encoder of FFmpeg's, for the tests; NULL tries the table in order. */
rd_err rd_mp4_new_with(const char *encoder, const unsigned size_fps[3], struct rd_mp4 **ret,
                       struct rd_why *why) RD_MUST;
const char *rd_mp4_encoder(const struct rd_mp4 *mp4);

/* What the module render-mp4.so (mp4_ffmpeg.c) gives to mp4.c: the functions of media.h, sizes
 * checked against the limits already. */
struct rd_mp4_ops {
    rd_err (*new_with)(const char *encoder, const unsigned size_fps[3], struct rd_mp4 **ret,
                       struct rd_why *why);
    const char *(*encoder)(const struct rd_mp4 *mp4);
    rd_err (*frame)(struct rd_mp4 *mp4, const struct rd_image *frame);
    rd_err (*finish)(struct rd_mp4 *mp4, struct rd_buf *out);
    void (*free)(struct rd_mp4 *mp4);
};
#define RD_MP4_MODULE "render-mp4.so"
#define RD_MP4_SYMBOL "rd_mp4_ffmpeg_ops"
extern const struct rd_mp4_ops rd_mp4_ffmpeg_ops;

#endif
