/* SPDX-License-Identifier: Apache-2.0
 *
 * Pictures in memory, and the one door to the codecs: rd_image_decode and rd_image_encode check
 * what is common to all of them (limits, channels, quality), so that no codec is entered without.
 * See media.h for the contract, codec.h for the split, resize.c for resizing. */
#include "media/codec.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

static bool channels_ok(unsigned channels)
{
    return channels == 3 || channels == 4;
}

rd_err rd_image_new(unsigned width, unsigned height, unsigned channels, struct rd_image *ret)
{
    if (!channels_ok(channels)) {
        return RD_ERR_INVALID_REQUEST;
    }
    RD_TRY(rd_media_check_size(width, height, NULL));
    uint8_t *pixels = rd_mem_alloc_array((size_t)width * height, channels);
    if (pixels == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    if (channels == 4) { /* black, not nothing */
        for (size_t i = 3; i < (size_t)width * height * 4; i += 4) {
            pixels[i] = 255;
        }
    }
    *ret = (struct rd_image){width, height, channels, pixels};
    return RD_OK;
}

void rd_image_done(struct rd_image *image)
{
    rd_mem_free(image->pixels);
    *image = (struct rd_image){0};
}

void rd_image_flatten(struct rd_image *image)
{
    if (image->channels != 4) {
        return;
    }
    size_t count = (size_t)image->width * image->height;
    uint8_t *to = image->pixels;
    const uint8_t *from = image->pixels;
    for (size_t i = 0; i < count; i++, from += 4, to += 3) {
        unsigned alpha = from[3];
        unsigned white = 255u * (255u - alpha) + 127u;
        to[0] = (uint8_t)((from[0] * alpha + white) / 255u);
        to[1] = (uint8_t)((from[1] * alpha + white) / 255u);
        to[2] = (uint8_t)((from[2] * alpha + white) / 255u);
    }
    image->channels = 3;
    uint8_t *smaller = rd_mem_resize(image->pixels, count * 3);
    if (smaller != NULL) { /* else the larger block goes on serving */
        image->pixels = smaller;
    }
}

rd_err rd_image_orient(struct rd_image *image, unsigned orientation)
{
    /* Where the stored pixel (x, y) goes: mirrored before, then with x and y exchanged. */
    static const struct {
        bool flip_x, flip_y, turned;
    } moves[9] = {
        [2] = {true, false, false}, [3] = {true, true, false}, [4] = {false, true, false},
        [5] = {false, false, true}, [6] = {false, true, true}, [7] = {true, true, true},
        [8] = {true, false, true},
    };
    if (orientation < 2 || orientation > 8) {
        return RD_OK;
    }
    bool flip_x = moves[orientation].flip_x;
    bool flip_y = moves[orientation].flip_y;
    bool turned = moves[orientation].turned;
    unsigned width = turned ? image->height : image->width;
    unsigned height = turned ? image->width : image->height;
    size_t channels = image->channels;
    struct rd_image got;
    RD_TRY(rd_image_new(width, height, image->channels, &got));
    const uint8_t *from = image->pixels;
    for (unsigned y = 0; y < image->height; y++) {
        size_t to_y = flip_y ? image->height - 1 - y : y;
        for (unsigned x = 0; x < image->width; x++, from += channels) {
            size_t to_x = flip_x ? image->width - 1 - x : x;
            size_t index = turned ? to_x * width + to_y : to_y * width + to_x;
            memcpy(got.pixels + index * channels, from, channels);
        }
    }
    rd_image_done(image);
    *image = got;
    return RD_OK;
}

static rd_err decode_as_stored(const struct rd_media_input *input, struct rd_image *ret,
                               struct rd_why *why)
{
    switch (input->header.media) {
    case RD_MEDIA_PNG:
        return rd_png_decode(input, ret, why);
    case RD_MEDIA_WEBP:
        return rd_webp_decode(input, ret, why);
    case RD_MEDIA_JPEG:
        return rd_jpeg_decode(input, ret, why);
    case RD_MEDIA_MP4:
    case RD_MEDIA_COUNT_:
        break;
    }
    return rd_why_set(why, RD_ERR_INTERNAL, "no picture");
}

rd_err rd_image_decode(const void *bytes, size_t len, unsigned channels, struct rd_image *ret,
                       struct rd_why *why)
{
    if (!channels_ok(channels)) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "%u channels", channels);
    }
    struct rd_media_input input = {.bytes = bytes, .len = len, .channels = channels};
    RD_TRY(rd_media_header_read(bytes, len, true, &input.header, why));
    struct rd_image image;
    RD_TRY(decode_as_stored(&input, &image, why));
    rd_err err = rd_image_orient(&image, input.header.orientation);
    if (err != RD_OK) {
        rd_image_done(&image);
        return rd_why_set(why, err, "no memory to turn the picture");
    }
    *ret = image;
    return RD_OK;
}

static rd_err encode(const struct rd_image *image, enum rd_media media, int quality,
                     struct rd_buf *out)
{
    switch (media) {
    case RD_MEDIA_PNG:
        return rd_png_encode(image, out);
    case RD_MEDIA_WEBP:
        return rd_webp_encode(image, quality, out);
    case RD_MEDIA_JPEG:
        return image->channels == 3 ? rd_jpeg_encode(image, quality, out) : RD_ERR_INVALID_REQUEST;
    case RD_MEDIA_MP4:
    case RD_MEDIA_COUNT_:
        break;
    }
    return RD_ERR_INVALID_REQUEST;
}

rd_err rd_image_encode(const struct rd_image *image, enum rd_media media, int quality,
                       struct rd_buf *out)
{
    RD_TRY(rd_buf_err(out));
    RD_TRY(rd_media_check_size(image->width, image->height, NULL));
    if (!channels_ok(image->channels) ||
        (media != RD_MEDIA_PNG && (quality < 1 || quality > 100))) {
        return RD_ERR_INVALID_REQUEST;
    }
    size_t before = out->len;
    rd_err err = encode(image, media, quality, out);
    if (err != RD_OK && out->data != NULL) { /* nothing of a picture that failed */
        out->len = before;
        out->data[before] = '\0';
    }
    return err;
}
