/* SPDX-License-Identifier: Apache-2.0
 *
 * Resizing against answers worked out by hand and against a slow reference in exact fractions. */
#include "pictures.h"

#include "base/hash.h"
#include "base/limits.h"
#include "base/text.h"

static struct rd_image resized(const struct rd_image *image, unsigned width, unsigned height)
{
    struct rd_image got;
    assert_int_equal(rd_image_resize(image, width, height, &got), RD_OK);
    assert_int_equal(got.width, width);
    assert_int_equal(got.height, height);
    assert_int_equal(got.channels, image->channels);
    return got;
}

static struct rd_image gray_row(const uint8_t *values, unsigned count)
{
    struct rd_image image;
    assert_int_equal(rd_image_new(count, 1, 3, &image), RD_OK);
    for (unsigned i = 0; i < count; i++) {
        memset(image.pixels + 3 * (size_t)i, values[i], 3);
    }
    return image;
}

static void by_hand(void **state)
{
    (void)state;
    static const struct {
        unsigned from, to;
        uint8_t in[6], out[6];
    } rows[] = {
        {4, 2, {0, 100, 200, 50}, {50, 125}},
        {3, 2, {0, 90, 240}, {30, 190}}, /* (0*2 + 90) / 3; (90 + 240*2) / 3 */
        {3, 1, {10, 20, 60}, {30}},
        {2, 4, {0, 200}, {0, 50, 150, 200}}, /* centres at -.25, .25, .75, 1.25 */
        {2, 3, {0, 120}, {0, 60, 120}},
        {1, 5, {77}, {77, 77, 77, 77, 77}},
        {5, 5, {1, 2, 3, 250, 255}, {1, 2, 3, 250, 255}},
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        struct rd_image image = gray_row(rows[r].in, rows[r].from);
        struct rd_image got = resized(&image, rows[r].to, 1);
        struct rd_image tall = {1, rows[r].from, 3, image.pixels}; /* the same, down */
        struct rd_image got_tall = resized(&tall, 1, rows[r].to);
        for (unsigned i = 0; i < rows[r].to; i++) {
            for (unsigned c = 0; c < 3; c++) {
                assert_int_equal(got.pixels[3 * i + c], rows[r].out[i]);
                assert_int_equal(got_tall.pixels[3 * i + c], rows[r].out[i]);
            }
        }
        rd_image_done(&image);
        rd_image_done(&got);
        rd_image_done(&got_tall);
    }
}

/* The share of source pixel j in new pixel i, as a fraction of *ret_total. */
static uint64_t share(uint64_t i, uint64_t j, uint64_t m, uint64_t n, uint64_t *ret_total)
{
    if (n < m) {
        uint64_t from = i * m > j * n ? i * m : j * n;
        uint64_t to = (i + 1) * m < (j + 1) * n ? (i + 1) * m : (j + 1) * n;
        *ret_total = m;
        return to > from ? to - from : 0;
    }
    *ret_total = 2 * n;
    int64_t centre = (int64_t)((2 * i + 1) * m) - (int64_t)n;
    int64_t most = (int64_t)(2 * n * (m - 1));
    centre = centre < 0 ? 0 : centre > most ? most : centre;
    int64_t gap = centre - (int64_t)(2 * n * j);
    gap = gap < 0 ? -gap : gap;
    return gap < (int64_t)(2 * n) ? 2 * n - (uint64_t)gap : 0;
}

static void against_the_reference(void **state)
{
    (void)state;
    enum { M = 23, N = 17 };
    struct rd_image image = picture_painted(M, N, 3, 2);
    static const unsigned sizes[][2] = {{23, 17}, {11, 9}, {1, 1},  {40, 40},
                                        {7, 31},  {46, 3}, {22, 16}};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct rd_image got = resized(&image, sizes[s][0], sizes[s][1]);
        for (unsigned i = 0; i < got.width * got.height * 3; i++) {
            unsigned x = i / 3 % got.width;
            unsigned y = i / 3 / got.width;
            uint64_t total_x = 1;
            uint64_t total_y = 1;
            uint64_t sum = 0;
            for (unsigned v = 0; v < N; v++) {
                uint64_t down = share(y, v, N, got.height, &total_y);
                for (unsigned u = 0; u < M; u++) {
                    uint64_t across = share(x, u, M, got.width, &total_x);
                    sum += down * across * image.pixels[(v * M + u) * 3 + i % 3];
                }
            }
            double exact = (double)sum / (double)(total_x * total_y);
            double gap = (double)got.pixels[i] - exact;
            assert_true(gap < 0.51 && gap > -0.51); /* rounding, and 1/100 for the fixed point */
        }
        rd_image_done(&got);
    }
    rd_image_done(&image);
}

static void flat_stays_flat(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 256; value += 5) {
        for (unsigned channels = 3; channels <= 4; channels++) {
            struct rd_image image;
            assert_int_equal(rd_image_new(37, 29, channels, &image), RD_OK);
            for (size_t i = 0; i < 37 * 29; i++) {
                memset(image.pixels + i * channels, (int)value, 3);
            }
            static const unsigned sizes[][2] = {{5, 3}, {91, 64}, {36, 30}};
            for (size_t s = 0; s < 3; s++) {
                struct rd_image got = resized(&image, sizes[s][0], sizes[s][1]);
                for (size_t i = 0; i < (size_t)got.width * got.height * channels; i++) {
                    assert_int_equal(got.pixels[i], i % channels == 3 ? 255 : value);
                }
                rd_image_done(&got);
            }
            rd_image_done(&image);
        }
    }
}

static void opaque_rgba_is_as_rgb(void **state)
{
    (void)state;
    struct rd_image three = picture_painted(50, 41, 3, 2);
    struct rd_image four;
    assert_int_equal(rd_image_new(50, 41, 4, &four), RD_OK);
    for (size_t i = 0; i < 50 * 41; i++) {
        memcpy(four.pixels + 4 * i, three.pixels + 3 * i, 3);
    }
    struct rd_image got_three = resized(&three, 33, 77);
    struct rd_image got_four = resized(&four, 33, 77);
    for (size_t i = 0; i < 33 * 77; i++) {
        assert_memory_equal(got_four.pixels + 4 * i, got_three.pixels + 3 * i, 3);
        assert_int_equal(got_four.pixels[4 * i + 3], 255);
    }
    rd_image_done(&three);
    rd_image_done(&four);
    rd_image_done(&got_three);
    rd_image_done(&got_four);
}

/* Invisible green next to opaque red: the mean is half transparent and purely red. */
static void transparent_pixels_do_not_bleed(void **state)
{
    (void)state;
    uint8_t pixels[8] = {255, 0, 0, 255, 0, 255, 0, 0};
    struct rd_image image = {2, 1, 4, pixels};
    struct rd_image got = resized(&image, 1, 1);
    assert_memory_equal(got.pixels, ((const uint8_t[4]){255, 0, 0, 128}), 4);
    rd_image_done(&got);
    pixels[3] = 0;
    got = resized(&image, 1, 1);
    assert_int_equal(got.pixels[3], 0);
    rd_image_done(&got);
}

static void extremes(void **state)
{
    (void)state;
    struct rd_image image;
    assert_int_equal(rd_image_new(RD_LIMIT_IMAGE_SIDE, 3, 4, &image), RD_OK);
    memset(image.pixels, 255, (size_t)RD_LIMIT_IMAGE_SIDE * 3 * 4);
    static const unsigned sizes[][2] = {
        {1, 1}, {1, RD_LIMIT_IMAGE_SIDE}, {RD_LIMIT_IMAGE_SIDE, 1}, {RD_LIMIT_IMAGE_SIDE - 1, 4}};
    for (size_t s = 0; s < 4; s++) {
        struct rd_image got = resized(&image, sizes[s][0], sizes[s][1]);
        for (size_t i = 0; i < (size_t)got.width * got.height * 4; i++) {
            assert_int_equal(got.pixels[i], 255);
        }
        rd_image_done(&got);
    }
    struct rd_image got = {0};
    assert_int_equal(rd_image_resize(&image, RD_LIMIT_IMAGE_SIDE + 1, 1, &got), RD_ERR_TOO_LARGE);
    assert_int_equal(rd_image_resize(&image, 8001, 8000, &got), RD_ERR_TOO_LARGE);
    assert_int_equal(rd_image_resize(&image, 0, 1, &got), RD_ERR_INVALID_REQUEST);
    assert_null(got.pixels);
    rd_image_done(&image);
}

/* The same pixels on every machine: one digest, kept here. A change of it changes what requests
 * with a source image produce. */
static void pinned(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(201, 133, 4, 2);
    struct rd_image small = resized(&image, 64, 48);
    struct rd_image large = resized(&small, 100, 301);
    uint8_t digest[32];
    char hex[65];
    rd_hash_sha256(large.pixels, 100 * 301 * 4, digest);
    rd_text_hex(digest, sizeof digest, hex);
    assert_string_equal(hex, "ee42add8b7f8917bbf0bbf29a988bc9a2d3f6827352ebc552c4c2c54dacbf2ce");
    rd_image_done(&image);
    rd_image_done(&small);
    rd_image_done(&large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),
        cmocka_unit_test(against_the_reference),
        cmocka_unit_test(flat_stays_flat),
        cmocka_unit_test(opaque_rgba_is_as_rgb),
        cmocka_unit_test(transparent_pixels_do_not_bleed),
        cmocka_unit_test(extremes),
        cmocka_unit_test(pinned),
    };
    return cmocka_run_group_tests_name("media/resize", tests, NULL, NULL);
}
