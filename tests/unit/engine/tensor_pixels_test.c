/* SPDX-License-Identifier: Apache-2.0
 *
 * Raw pictures, both ways: known samples by hand, every value of a byte through every datatype,
 * range and layout, in pieces of every length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tensor/pixels.h"

enum { SIDE = 16, PIXELS = SIDE * SIDE, SAMPLES = PIXELS * 3 };

static const enum rd_datatype datatypes[] = {RD_DATATYPE_UINT8, RD_DATATYPE_FP16, RD_DATATYPE_BF16,
                                             RD_DATATYPE_FP32, RD_DATATYPE_FP64};

/* Pixel p is (p, 255 - p, p * 7): each value of a byte. */
static void picture(struct rd_image *ret)
{
    assert_int_equal(rd_image_new(SIDE, SIDE, 3, ret), RD_OK);
    for (size_t p = 0; p < PIXELS; p++) {
        ret->pixels[p * 3] = (uint8_t)p;
        ret->pixels[p * 3 + 1] = (uint8_t)(255 - p);
        ret->pixels[p * 3 + 2] = (uint8_t)(p * 7);
    }
}

/* BF16 has 8 bits of precision; half a unit of 255 needs them all, and -1..1 one more. */
static bool is_exact(enum rd_datatype datatype, enum rd_mapping_range range)
{
    return datatype != RD_DATATYPE_BF16 || range == RD_RANGE_0_255;
}

static void feed_in_pieces(struct rd_pixels *pixels, const uint8_t *bytes, size_t len, size_t piece)
{
    for (size_t at = 0; at < len; at += piece) {
        size_t step = len - at < piece ? len - at : piece;
        assert_int_equal(rd_pixels_feed(pixels, bytes + at, step, NULL), RD_OK);
    }
}

static void there_and_back(void **state)
{
    (void)state;
    static uint8_t bytes[SAMPLES * 8];
    struct rd_image image;
    picture(&image);
    for (size_t d = 0; d < sizeof datatypes / sizeof datatypes[0]; d++) {
        for (unsigned range = 0; range < RD_RANGE_COUNT_; range++) {
            for (unsigned planar = 0; planar < 2; planar++) {
                struct rd_mapping_tensor row = {.datatype = datatypes[d],
                                                .range = (enum rd_mapping_range)range};
                struct rd_mapping_picture layout = {3, planar == 1, 0, SIDE, SIDE};
                struct rd_pixels pixels;
                size_t len = SAMPLES * rd_datatype_size(row.datatype);
                rd_pixels_put(&image, &row, &layout, bytes);
                assert_int_equal(rd_pixels_init(&pixels, &row, &layout), RD_OK);
                feed_in_pieces(&pixels, bytes, len, 1 + d * 3 + range);
                assert_int_equal(pixels.sample, SAMPLES);
                for (size_t i = 0; i < SAMPLES; i++) {
                    int off = abs((int)image.pixels[i] - (int)pixels.image.pixels[i]);
                    assert_true(off <= (is_exact(row.datatype, row.range) ? 0 : 1));
                }
                assert_int_equal(rd_pixels_feed(&pixels, bytes, 1, NULL), RD_ERR_BACKEND_FAILED);
                rd_pixels_done(&pixels);
            }
        }
    }
    rd_image_done(&image);
}

static void samples_on_the_wire(void **state)
{
    (void)state;
    static const uint8_t rgb[] = {0, 51, 255};
    struct rd_image image = {1, 1, 3, (uint8_t *)(uintptr_t)rgb};
    struct rd_mapping_picture layout = {3, false, 0, 1, 1};
    struct rd_mapping_picture grey = {1, false, 0, 1, 1};
    struct rd_mapping_tensor row = {.datatype = RD_DATATYPE_FP32, .range = RD_RANGE_MINUS1_1};
    uint8_t out[12];
    rd_pixels_put(&image, &row, &layout, out);
    assert_memory_equal(out, "\0\0\x80\xbf\x9a\x99\x19\xbf\0\0\x80\x3f", 12); /* -1, -0.6, 1 */
    row = (struct rd_mapping_tensor){.datatype = RD_DATATYPE_FP16, .range = RD_RANGE_0_1};
    rd_pixels_put(&image, &row, &layout, out);
    assert_memory_equal(out, "\x00\x00\x66\x32\x00\x3c", 6); /* 0, 0.2, 1 */
    row.range = RD_RANGE_0_255;
    rd_pixels_put(&image, &row, &layout, out);
    assert_memory_equal(out, "\x00\x00\x60\x52\xf8\x5b", 6); /* 0, 51, 255 */
    row.datatype = RD_DATATYPE_UINT8;
    rd_pixels_put(&image, &row, &grey, out);
    assert_int_equal(out[0], (51 * 150 + 255 * 29 + 128) / 256);
}

static void planes_lie_behind_each_other(void **state)
{
    (void)state;
    static const uint8_t rgb[] = {1, 2, 3, 4, 5, 6};
    struct rd_image image = {2, 1, 3, (uint8_t *)(uintptr_t)rgb};
    struct rd_mapping_picture layout = {3, true, 1, 2, 1};
    struct rd_mapping_tensor row = {.datatype = RD_DATATYPE_UINT8, .range = RD_RANGE_0_255};
    uint8_t out[6];
    rd_pixels_put(&image, &row, &layout, out);
    assert_memory_equal(out, "\1\4\2\5\3\6", 6);
    struct rd_pixels pixels;
    assert_int_equal(rd_pixels_init(&pixels, &row, &layout), RD_OK);
    assert_int_equal(rd_pixels_feed(&pixels, out, 6, NULL), RD_OK);
    assert_memory_equal(pixels.image.pixels, rgb, 6);
    rd_pixels_done(&pixels);
}

static uint8_t level(double value, enum rd_mapping_range range)
{
    struct rd_mapping_tensor row = {.datatype = RD_DATATYPE_FP64, .range = range};
    struct rd_mapping_picture layout = {3, false, 0, 1, 1};
    struct rd_pixels pixels;
    uint8_t bytes[8];
    memcpy(bytes, &value, 8); /* the tests run on little-endian machines */
    assert_int_equal(rd_pixels_init(&pixels, &row, &layout), RD_OK);
    assert_int_equal(rd_pixels_feed(&pixels, bytes, 8, NULL), RD_OK);
    uint8_t got = pixels.image.pixels[0];
    rd_pixels_done(&pixels);
    return got;
}

static void floats_are_rounded_and_clamped(void **state)
{
    (void)state;
    assert_int_equal(level(0.5, RD_RANGE_0_1), 128);
    assert_int_equal(level(0.00195, RD_RANGE_0_1), 0);
    assert_int_equal(level(0.00197, RD_RANGE_0_1), 1);
    assert_int_equal(level(1.01, RD_RANGE_0_1), 255);
    assert_int_equal(level(-0.01, RD_RANGE_0_1), 0);
    assert_int_equal(level(0, RD_RANGE_MINUS1_1), 128);
    assert_int_equal(level(-1, RD_RANGE_MINUS1_1), 0);
    assert_int_equal(level(1, RD_RANGE_MINUS1_1), 255);
    assert_int_equal(level(-7, RD_RANGE_MINUS1_1), 0);
    assert_int_equal(level(254.49, RD_RANGE_0_255), 254);
    assert_int_equal(level(254.5, RD_RANGE_0_255), 255);
    assert_int_equal(level(1e300, RD_RANGE_0_255), 255);
}

static void what_is_no_number_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *text;
    } rows[] = {
        {"\0\0\xc0\x7f", "the sample at x 1, y 0, channel 1 is NaN"},
        {"\0\0\x80\x7f", "the sample at x 1, y 0, channel 1 is infinite"},
        {"\0\0\x80\xff", "the sample at x 1, y 0, channel 1 is infinite"},
    };
    struct rd_mapping_tensor row = {.datatype = RD_DATATYPE_FP32, .range = RD_RANGE_0_1};
    struct rd_mapping_picture layout = {3, false, 0, 2, 2};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rd_pixels pixels;
        struct rd_why why;
        static const uint8_t zeros[16];
        assert_int_equal(rd_pixels_init(&pixels, &row, &layout), RD_OK);
        assert_int_equal(rd_pixels_feed(&pixels, zeros, 16, &why), RD_OK);
        assert_int_equal(rd_pixels_feed(&pixels, (const uint8_t *)rows[i].bytes, 2, &why), RD_OK);
        assert_int_equal(rd_pixels_feed(&pixels, (const uint8_t *)rows[i].bytes + 2, 2, &why),
                         RD_ERR_BACKEND_FAILED);
        assert_string_equal(why.text, rows[i].text);
        rd_pixels_done(&pixels);
    }
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    struct rd_mapping_tensor row = {.datatype = RD_DATATYPE_UINT8, .range = RD_RANGE_0_255};
    struct rd_mapping_picture layout = {3, false, 0, 16385, 1};
    struct rd_pixels pixels;
    assert_int_equal(rd_pixels_init(&pixels, &row, &layout), RD_ERR_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(samples_on_the_wire),
        cmocka_unit_test(planes_lie_behind_each_other),
        cmocka_unit_test(floats_are_rounded_and_clamped),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(sizes_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
