/* SPDX-License-Identifier: Apache-2.0
 *
 * Raw pictures: between a picture of 8-bit RGB and the samples of a tensor, in both directions.
 *
 * Samples that arrive are turned into 8 bits at once, in pieces of any length, so that a picture in
 * FP32 is never held as such. Floats are clamped to their range, since decoders overshoot it by a
 * little as a matter of course; NaN and infinity are refused, since then nothing of it is right. */
#ifndef RD_ENGINE_TENSOR_PIXELS_H
#define RD_ENGINE_TENSOR_PIXELS_H

#include "engine/tensor/mapping.h"
#include "media/media.h"

/* The samples of `image` (RGB) as `row` and `layout` want them; one channel: its luma. `out` has
 * room for all of them. */
void rd_pixels_put(const struct rd_image *image, const struct rd_mapping_tensor *row,
                   const struct rd_mapping_picture *layout, uint8_t *out);

/* A picture that arrives. Zeroed is fine for rd_pixels_done. */
struct rd_pixels {
    enum rd_datatype datatype;
    enum rd_mapping_range range;
    bool planar;
    struct rd_image image; /* RGB */
    size_t sample;         /* the next one's number */
    uint8_t carry[8];      /* the beginning of a sample that is not whole yet */
    size_t carry_len;
};

/* `layout` has 3 channels and no -1. TOO_LARGE over the limits of pictures, NO_MEMORY. */
rd_err rd_pixels_init(struct rd_pixels *pixels, const struct rd_mapping_tensor *row,
                      const struct rd_mapping_picture *layout) RD_MUST;
/* The next bytes; in all no more than the picture has. BACKEND_FAILED for NaN or infinity. */
rd_err rd_pixels_feed(struct rd_pixels *pixels, const uint8_t *bytes, size_t len,
                      struct rd_why *why) RD_MUST;
void rd_pixels_done(struct rd_pixels *pixels);

#endif
