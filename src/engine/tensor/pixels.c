/* SPDX-License-Identifier: Apache-2.0
 *
 * See pixels.h. Sample i of [H, W, 3] is byte i of the picture; of [3, H, W] it belongs to channel
 * i / (H * W). */
#include "engine/tensor/pixels.h"

#include <math.h>
#include <string.h>

/* ---- out ---- */

static uint8_t luma(const uint8_t *rgb)
{
    return (uint8_t)((rgb[0] * 77u + rgb[1] * 150u + rgb[2] * 29u + 128u) >> 8);
}

/* Each of the 256 values as its bytes, so that no pixel has to compute. */
static void values_init(const struct rd_mapping_tensor *row, uint8_t values[256][8])
{
    for (unsigned i = 0; i < 256; i++) {
        double unit = (double)i / 255.0;
        double value = row->range == RD_RANGE_0_1        ? unit
                       : row->range == RD_RANGE_MINUS1_1 ? 2.0 * unit - 1.0
                                                         : (double)i;
        values[i][0] = (uint8_t)i;
        if (row->datatype != RD_DATATYPE_UINT8) {
            (void)rd_datatype_put_number(row->datatype, value, values[i]);
        }
    }
}

void rd_pixels_put(const struct rd_image *image, const struct rd_mapping_tensor *row,
                   const struct rd_mapping_picture *layout, uint8_t *out)
{
    uint8_t values[256][8];
    size_t pixels = (size_t)image->width * image->height;
    size_t channels = layout->channels;
    size_t size = rd_datatype_size(row->datatype);
    values_init(row, values);
    for (size_t p = 0; p < pixels; p++) {
        const uint8_t *rgb = image->pixels + p * 3;
        for (size_t c = 0; c < channels; c++) {
            uint8_t value = channels == 1 ? luma(rgb) : rgb[c];
            size_t at = layout->planar ? c * pixels + p : p * channels + c;
            memcpy(out + at * size, values[value], size);
        }
    }
}

/* ---- in ---- */

rd_err rd_pixels_init(struct rd_pixels *pixels, const struct rd_mapping_tensor *row,
                      const struct rd_mapping_picture *layout)
{
    struct rd_image image;
    RD_TRY(rd_image_new((unsigned)layout->width, (unsigned)layout->height, 3, &image));
    *pixels = (struct rd_pixels){
        .datatype = row->datatype, .range = row->range, .planar = layout->planar, .image = image};
    return RD_OK;
}

void rd_pixels_done(struct rd_pixels *pixels)
{
    rd_image_done(&pixels->image);
    memset(pixels, 0, sizeof *pixels);
}

static size_t place(const struct rd_pixels *pixels, size_t sample)
{
    size_t count = (size_t)pixels->image.width * pixels->image.height;
    return pixels->planar ? sample % count * 3 + sample / count : sample;
}

static uint8_t quantize(enum rd_mapping_range range, double value)
{
    double level = range == RD_RANGE_0_1        ? value * 255.0
                   : range == RD_RANGE_MINUS1_1 ? (value + 1.0) * 127.5
                                                : value;
    return level <= 0.0 ? 0 : level >= 255.0 ? 255 : (uint8_t)(level + 0.5);
}

static rd_err take(struct rd_pixels *pixels, const uint8_t *bytes, struct rd_why *why)
{
    size_t at = place(pixels, pixels->sample);
    if (pixels->datatype == RD_DATATYPE_UINT8) {
        pixels->image.pixels[at] = bytes[0];
    } else {
        double value = rd_datatype_get_number(pixels->datatype, bytes);
        if (!isfinite(value)) {
            return rd_why_set(why, RD_ERR_BACKEND_FAILED,
                              "the sample at x %zu, y %zu, channel %zu is %s",
                              at / 3 % pixels->image.width, at / 3 / pixels->image.width, at % 3,
                              isnan(value) ? "NaN" : "infinite");
        }
        pixels->image.pixels[at] = quantize(pixels->range, value);
    }
    pixels->sample++;
    return RD_OK;
}

rd_err rd_pixels_feed(struct rd_pixels *pixels, const uint8_t *bytes, size_t len,
                      struct rd_why *why)
{
    size_t size = rd_datatype_size(pixels->datatype);
    size_t samples = (size_t)pixels->image.width * pixels->image.height * 3;
    size_t room = (samples - pixels->sample) * size - pixels->carry_len;
    if (len > room) {
        return rd_why_set(why, RD_ERR_BACKEND_FAILED, "more samples than the picture has");
    }
    if (pixels->datatype == RD_DATATYPE_UINT8 && !pixels->planar) {
        memcpy(pixels->image.pixels + pixels->sample, bytes, len);
        pixels->sample += len;
        return RD_OK;
    }
    while (pixels->carry_len > 0 && len > 0) {
        pixels->carry[pixels->carry_len++] = *bytes++;
        len--;
        if (pixels->carry_len == size) {
            pixels->carry_len = 0;
            RD_TRY(take(pixels, pixels->carry, why));
        }
    }
    for (; len >= size; bytes += size, len -= size) {
        RD_TRY(take(pixels, bytes, why));
    }
    memcpy(pixels->carry + pixels->carry_len, bytes, len);
    pixels->carry_len += len;
    return RD_OK;
}
