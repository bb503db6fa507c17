/* SPDX-License-Identifier: Apache-2.0
 *
 * WebP: lossless exactly, lossy within a margin, the extended container, and damage. */
#include "pictures.h"

#include <stdlib.h>

#include "base/limits.h"

static struct rd_buf encoded(const struct rd_image *image, int quality)
{
    struct rd_buf file;
    rd_buf_init(&file, PICTURES_BUF_MAX);
    assert_int_equal(rd_image_encode(image, RD_MEDIA_WEBP, quality, &file), RD_OK);
    return file;
}

static struct rd_image decoded(const struct rd_buf *file, unsigned channels)
{
    struct rd_image image = {0};
    struct rd_why why = {""};
    if (decode_exact(file->data, file->len, channels, &image, &why) != RD_OK) {
        fail_msg("%s", why.text);
    }
    return image;
}

static void lossless(void **state)
{
    (void)state;
    static const unsigned sizes[][2] = {{1, 1}, {2, 3}, {321, 123}, {16383, 1}, {1, 16383}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (unsigned channels = 3; channels <= 4; channels++) {
            struct rd_image image = picture_painted(sizes[i][0], sizes[i][1], channels, 5);
            struct rd_buf RD_AUTO_BUF file = encoded(&image, 100);
            struct rd_image got = decoded(&file, channels);
            assert_int_equal(picture_difference(&image, &got), 0); /* colours under alpha 0 too */
            rd_image_done(&got);
            rd_image_done(&image);
        }
    }
}

static void lossy(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(320, 200, 3, 5);
    size_t last = 0;
    for (int quality = 1; quality <= 99; quality += 49) {
        struct rd_buf RD_AUTO_BUF file = encoded(&image, quality);
        struct rd_buf RD_AUTO_BUF again = encoded(&image, quality);
        assert_int_equal(file.len, again.len);
        assert_memory_equal(file.data, again.data, file.len);
        assert_memory_equal(file.data + 12, "VP8 ", 4);
        assert_true(file.len > last);
        last = file.len;
        struct rd_image got = decoded(&file, 3);
        unsigned gap = picture_difference(&image, &got);
        assert_true(gap > 0); /* it is lossy */
        if (quality == 99) {
            assert_in_range(gap, 1, 40);
        }
        rd_image_done(&got);
    }
    rd_image_done(&image);
}

static void lossy_with_alpha(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(64, 48, 4, 5);
    struct rd_buf RD_AUTO_BUF file = encoded(&image, 90);
    assert_memory_equal(file.data + 12, "VP8X", 4);
    struct rd_image four = decoded(&file, 4);
    struct rd_image three = decoded(&file, 3);
    for (size_t i = 0; i < 64 * 48; i++) {
        unsigned alpha = four.pixels[4 * i + 3];
        assert_int_equal(alpha, image.pixels[4 * i + 3]); /* alpha itself is lossless */
        for (size_t c = 0; c < 3; c++) {
            unsigned over = (four.pixels[4 * i + c] * alpha + 255 * (255 - alpha) + 127) / 255;
            assert_int_equal(three.pixels[3 * i + c], over);
        }
    }
    rd_image_done(&four);
    rd_image_done(&three);
    rd_image_done(&image);
    check_prefixes(&file);
    check_bit_flips(&file, 11);
}

static void sides(void **state)
{
    (void)state;
    struct rd_image image;
    assert_int_equal(rd_image_new(16384, 1, 3, &image), RD_OK);
    struct rd_buf RD_AUTO_BUF file;
    rd_buf_init(&file, PICTURES_BUF_MAX);
    rd_buf_str(&file, "before");
    assert_int_equal(rd_image_encode(&image, RD_MEDIA_WEBP, 80, &file), RD_ERR_TOO_LARGE);
    assert_string_equal(rd_buf_cstr(&file), "before");
    rd_image_done(&image);
}

static void damaged_files(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(40, 24, 3, 1);
    static const int qualities[] = {100, 75};
    for (int i = 0; i < 2; i++) {
        struct rd_buf RD_AUTO_BUF file = encoded(&image, qualities[i]);
        check_prefixes(&file);
        check_bit_flips(&file, 5);
    }
    rd_image_done(&image);
}

static void le32(struct rd_buf *out, size_t at, size_t value)
{
    for (size_t i = 0; i < 4; i++) {
        out->data[at + i] = (char)(value >> (8 * i));
    }
}

/* Cut off, with the chunk's and the RIFF's sizes corrected: nothing in the container is wrong. */
static void cut_and_closed(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(64, 48, 3, 4);
    static const int qualities[] = {100, 75};
    for (int i = 0; i < 2; i++) {
        struct rd_buf RD_AUTO_BUF file = encoded(&image, qualities[i]);
        struct rd_image whole = decoded(&file, 3);
        size_t chunk = (uint8_t)file.data[16] | (size_t)(uint8_t)file.data[17] << 8;
        size_t accepted = 0;
        for (size_t len = 10; len < chunk; len++) {
            size_t padded = 20 + len + len % 2;
            struct rd_buf RD_AUTO_BUF cut;
            rd_buf_init(&cut, PICTURES_BUF_MAX);
            rd_buf_append(&cut, file.data, 20 + len);
            if (len % 2 != 0) {
                rd_buf_char(&cut, '\0');
            }
            le32(&cut, 4, padded - 8);
            le32(&cut, 16, len);
            struct rd_image got = {0};
            rd_err err = decode_exact(cut.data, cut.len, 3, &got, NULL);
            if (err == RD_OK) { /* bits that were only padding */
                assert_int_equal(picture_difference(&whole, &got), 0);
                rd_image_done(&got);
                accepted++;
            } else {
                assert_int_equal(err, RD_ERR_INVALID_REQUEST);
            }
        }
        assert_in_range(accepted, 0, 4);
        rd_image_done(&whole);
    }
    rd_image_done(&image);
}

static void trailing_bytes(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(16, 16, 3, 1);
    struct rd_buf RD_AUTO_BUF file = encoded(&image, 100);
    rd_buf_str(&file, "behind the RIFF");
    struct rd_image got = decoded(&file, 3);
    assert_int_equal(picture_difference(&image, &got), 0);
    rd_image_done(&got);
    rd_image_done(&image);
}

/* A still picture inside VP8X with a profile before it and XMP behind it, as cameras and editors
 * write. */
static void extended_container(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(33, 21, 3, 1);
    struct rd_buf RD_AUTO_BUF plain = encoded(&image, 100);
    struct rd_buf RD_AUTO_BUF file;
    rd_buf_init(&file, PICTURES_BUF_MAX);
    rd_buf_append(&file, "RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x24\0\0\0\x20\0\0\x14\0\0", 30);
    rd_buf_append(&file, "ICCP\x03\0\0\0abc\0", 12); /* an odd length is padded */
    rd_buf_append(&file, plain.data + 12, plain.len - 12);
    rd_buf_append(&file, "XMP \x02\0\0\0<x", 10);
    le32(&file, 4, file.len - 8);
    struct rd_image got = decoded(&file, 3);
    assert_int_equal(picture_difference(&image, &got), 0);
    rd_image_done(&got);
    check_prefixes(&file);
    check_bit_flips(&file, 7);
    rd_image_done(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lossless),         cmocka_unit_test(lossy),
        cmocka_unit_test(lossy_with_alpha), cmocka_unit_test(sides),
        cmocka_unit_test(damaged_files),    cmocka_unit_test(cut_and_closed),
        cmocka_unit_test(trailing_bytes),   cmocka_unit_test(extended_container),
    };
    return cmocka_run_group_tests_name("media/webp", tests, NULL, NULL);
}
