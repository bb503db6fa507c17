/* SPDX-License-Identifier: Apache-2.0
 *
 * WebP through libwebp.
 *
 * Reading goes straight into our pixels (external memory), so nothing is copied. libwebp refuses
 * truncated data by itself; probe.c has already refused what animates, what is longer than the
 * file, and a canvas that is not the picture's size. Straight alpha; when RGB is wanted of a
 * picture with alpha, it is laid over white. EXIF, XMP and ICC chunks are not read. What follows
 * the RIFF is ignored.
 *
 * Memory: libwebp reports some of its failed allocations as damage or as an error of no kind, and
 * some not at all: it goes on with a worse encoding. Telling a client that his picture is damaged
 * when we are short of memory would be wrong, and so would be other bytes for the same picture. So
 * errno decides: the library makes no system calls, and malloc sets it (POSIX).
 *
 * Writing: quality 100 is lossless with exact RGB even where alpha is 0. The effort levels are for
 * an answer that someone waits for; one thread, so the bytes do not depend on the machine's cores.
 */
#include "media/codec.h"

#include <errno.h>

#include <webp/decode.h>
#include <webp/encode.h>

#include "base/mem.h"

enum {
    LOSSY_EFFORT = 2,    /* of 0..6 */
    LOSSLESS_EFFORT = 1, /* of 0..9 */
};

static rd_err damaged(VP8StatusCode status, struct rd_why *why)
{
    if (status == VP8_STATUS_OUT_OF_MEMORY || errno == ENOMEM) {
        return rd_why_set(why, RD_ERR_NO_MEMORY, "no memory for the picture");
    }
    return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the WebP is damaged: %s",
                      status == VP8_STATUS_NOT_ENOUGH_DATA || status == VP8_STATUS_SUSPENDED
                          ? "it ends early"
                          : "its data cannot be decoded");
}

rd_err rd_webp_decode(const struct rd_media_input *input, struct rd_image *ret, struct rd_why *why)
{
    WebPDecoderConfig config;
    errno = 0;
    if (WebPInitDecoderConfig(&config) == 0) {
        return rd_why_set(why, RD_ERR_INTERNAL, "libwebp is of another version than its headers");
    }
    VP8StatusCode status = WebPGetFeatures(input->bytes, input->len, &config.input);
    if (status != VP8_STATUS_OK) {
        return damaged(status, why);
    }
    if (config.input.has_animation || config.input.width != (int)input->header.width ||
        config.input.height != (int)input->header.height) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the WebP is damaged: two sizes");
    }
    struct rd_image image;
    rd_err err = rd_image_new(input->header.width, input->header.height,
                              config.input.has_alpha ? 4 : input->channels, &image);
    if (err != RD_OK) {
        return rd_why_set(why, err, "no memory for the picture");
    }
    size_t stride = (size_t)image.width * image.channels;
    config.output.colorspace = image.channels == 4 ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = image.pixels;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = stride * image.height;
    status = WebPDecode(input->bytes, input->len, &config);
    WebPFreeDecBuffer(&config.output);
    if (status != VP8_STATUS_OK) {
        rd_image_done(&image);
        return damaged(status, why);
    }
    if (input->channels == 3) {
        rd_image_flatten(&image);
    }
    *ret = image;
    return RD_OK;
}

static int on_write(const uint8_t *data, size_t len, const WebPPicture *picture)
{
    struct rd_buf *out = picture->custom_ptr;
    rd_buf_append(out, data, len);
    return out->err == RD_OK;
}

static rd_err encode_error(WebPEncodingError error, const struct rd_buf *out)
{
    RD_TRY(rd_buf_err(out));
    bool no_memory = error == VP8_ENC_ERROR_OUT_OF_MEMORY ||
                     error == VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY || errno == ENOMEM;
    return no_memory ? RD_ERR_NO_MEMORY : RD_ERR_INTERNAL;
}

rd_err rd_webp_encode(const struct rd_image *image, int quality, struct rd_buf *out)
{
    WebPConfig config;
    WebPPicture picture;
    if (WebPConfigInit(&config) == 0 || WebPPictureInit(&picture) == 0) {
        return RD_ERR_INTERNAL; /* libwebp is of another version than its headers */
    }
    if (image->width > WEBP_MAX_DIMENSION || image->height > WEBP_MAX_DIMENSION) {
        return RD_ERR_TOO_LARGE; /* 16383: the format has 14 bits for a side */
    }
    bool lossless = quality == 100;
    if (lossless && WebPConfigLosslessPreset(&config, LOSSLESS_EFFORT) == 0) {
        return RD_ERR_INTERNAL;
    }
    if (!lossless) {
        config.quality = (float)quality;
        config.method = LOSSY_EFFORT;
    }
    config.exact = 1;
    config.thread_level = 0;
    picture.use_argb = lossless;
    picture.width = (int)image->width;
    picture.height = (int)image->height;
    picture.writer = on_write;
    picture.custom_ptr = out;
    int stride = (int)(image->width * image->channels);
    errno = 0;
    int ok = image->channels == 4 ? WebPPictureImportRGBA(&picture, image->pixels, stride)
                                  : WebPPictureImportRGB(&picture, image->pixels, stride);
    ok = ok && WebPEncode(&config, &picture);
    rd_err err = ok && errno != ENOMEM ? RD_OK : encode_error(picture.error_code, out);
    WebPPictureFree(&picture);
    return err;
}
