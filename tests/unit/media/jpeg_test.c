/* SPDX-License-Identifier: Apache-2.0
 *
 * JPEG. It is lossy, so pixels are compared with a margin: flat colours come back within 2
 * (rounding of the colour transform and the DCT at quality 100), smooth pictures within what the
 * quality allows. */
#include "pictures.h"

#include <stdlib.h>

#include "base/limits.h"

enum { EXACT = 2, SMOOTH = 24 };

static struct rd_buf encoded(const struct jpeg_spec *spec)
{
    struct rd_buf file;
    rd_buf_init(&file, PICTURES_BUF_MAX);
    sample_jpeg(spec, &file);
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

static void refused(const void *bytes, size_t len)
{
    struct rd_image image = {0};
    struct rd_why why = {""};
    assert_int_equal(decode_exact(bytes, len, 3, &image, &why), RD_ERR_INVALID_REQUEST);
    assert_null(image.pixels);
    assert_string_not_equal(why.text, "");
}

/* One flat picture whose samples are these `components` numbers, and the RGB that it must become.
 */
static void check_flat(int components, int adobe, const uint8_t samples[4], const uint8_t rgb[3])
{
    enum { SIDE = 19 };
    uint8_t pixels[SIDE * SIDE * 4];
    for (size_t i = 0; i < sizeof pixels; i++) {
        pixels[i] = samples[i % (size_t)components];
    }
    struct rd_image image = {SIDE, SIDE, (unsigned)components, pixels};
    for (int progressive = 0; progressive < 2; progressive++) {
        struct jpeg_spec spec = {&image, components, 100, progressive, adobe, 0, NULL, 0};
        struct rd_buf RD_AUTO_BUF file = encoded(&spec);
        for (unsigned channels = 3; channels <= 4; channels++) {
            struct rd_image got = decoded(&file, channels);
            for (size_t i = 0; i < SIDE * SIDE; i++) {
                for (size_t c = 0; c < 3; c++) {
                    int gap = abs(got.pixels[i * channels + c] - rgb[c]);
                    assert_in_range(gap, 0, EXACT);
                }
                if (channels == 4) {
                    assert_int_equal(got.pixels[i * 4 + 3], 255);
                }
            }
            rd_image_done(&got);
        }
    }
}

static void known_colours(void **state)
{
    (void)state;
    check_flat(1, 0, (const uint8_t[4]){0}, (const uint8_t[3]){0, 0, 0});
    check_flat(1, 0, (const uint8_t[4]){200}, (const uint8_t[3]){200, 200, 200});
    check_flat(3, 0, (const uint8_t[4]){255, 0, 0}, (const uint8_t[3]){255, 0, 0});
    check_flat(3, 0, (const uint8_t[4]){10, 200, 90}, (const uint8_t[3]){10, 200, 90});
    /* ink: 255 of cyan takes all red; 51 = 20 % of black takes 20 % of the rest */
    check_flat(4, 0, (const uint8_t[4]){255, 0, 0, 51}, (const uint8_t[3]){0, 204, 204});
    check_flat(4, 0, (const uint8_t[4]){0, 0, 0, 0}, (const uint8_t[3]){255, 255, 255});
    /* Adobe's numbers are light */
    check_flat(4, 1, (const uint8_t[4]){0, 255, 255, 204}, (const uint8_t[3]){0, 204, 204});
    check_flat(4, 1, (const uint8_t[4]){255, 255, 255, 255}, (const uint8_t[3]){255, 255, 255});
}

static void orientation(void **state)
{
    (void)state;
    /* Four quarters of one colour each; the answer is which colour comes to stand where. In the
     * order top left, top right, bottom left, bottom right; as in the EXIF specification's F. */
    static const uint8_t colours[4][3] = {{250, 0, 0}, {0, 250, 0}, {0, 0, 250}, {250, 250, 0}};
    static const uint8_t expected[9][4] = {{0, 1, 2, 3}, {0, 1, 2, 3}, {1, 0, 3, 2},
                                           {3, 2, 1, 0}, {2, 3, 0, 1}, {0, 2, 1, 3},
                                           {2, 0, 3, 1}, {3, 1, 2, 0}, {1, 3, 0, 2}};
    enum { W = 48, H = 32 };
    struct rd_image image = picture_painted(W, H, 3, 0);
    for (unsigned i = 0; i < W * H; i++) {
        unsigned quarter = (i % W >= W / 2 ? 1 : 0) + (i / W >= H / 2 ? 2 : 0);
        memcpy(image.pixels + 3 * i, colours[quarter], 3);
    }
    for (unsigned value = 0; value <= 9; value++) {
        uint8_t block[64];
        size_t len = exif_block(block, (int)value % 2, value);
        struct jpeg_spec spec = {&image, 3, 100, 0, 0, 0, block, len};
        struct rd_buf RD_AUTO_BUF file = encoded(&spec);
        struct rd_image got = decoded(&file, 3);
        bool turned = value >= 5 && value <= 8;
        assert_int_equal(got.width, turned ? H : W);
        assert_int_equal(got.height, turned ? W : H);
        for (unsigned quarter = 0; quarter < 4; quarter++) {
            unsigned x = got.width / 4 + (quarter % 2) * got.width / 2;
            unsigned y = got.height / 4 + (quarter / 2) * got.height / 2;
            const uint8_t *want = colours[expected[value % 9][quarter]];
            const uint8_t *p = got.pixels + 3 * ((size_t)y * got.width + x);
            for (size_t c = 0; c < 3; c++) {
                assert_in_range(abs(p[c] - want[c]), 0, EXACT + 2); /* chroma is subsampled */
            }
        }
        rd_image_done(&got);
    }
    rd_image_done(&image);
}

static void round_trips(void **state)
{
    (void)state;
    static const unsigned sizes[][2] = {
        {1, 1}, {7, 9}, {640, 480}, {RD_LIMIT_IMAGE_SIDE, 1}, {1, RD_LIMIT_IMAGE_SIDE}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct rd_image image = picture_painted(sizes[i][0], sizes[i][1], 3, 3);
        struct rd_buf RD_AUTO_BUF one;
        struct rd_buf RD_AUTO_BUF two;
        rd_buf_init(&one, PICTURES_BUF_MAX);
        rd_buf_init(&two, PICTURES_BUF_MAX);
        assert_int_equal(rd_image_encode(&image, RD_MEDIA_JPEG, 95, &one), RD_OK);
        assert_int_equal(rd_image_encode(&image, RD_MEDIA_JPEG, 95, &two), RD_OK);
        assert_int_equal(one.len, two.len);
        assert_memory_equal(one.data, two.data, one.len);
        struct rd_image got = decoded(&one, 3);
        assert_in_range(picture_difference(&image, &got), 0, SMOOTH);
        rd_image_done(&got);
        rd_image_done(&image);
    }
}

/* The sampling factors of the first component, from the frame header. */
static unsigned sampling(const struct rd_buf *file)
{
    const uint8_t *p = memmem(file->data, file->len, "\xff\xc0\0\x11\x08", 5);
    assert_non_null(p);
    return p[11];
}

static void chroma_is_whole_at_high_quality(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(64, 64, 3, 3);
    static const struct {
        int quality;
        unsigned sampling;
    } rows[] = {{1, 0x22}, {89, 0x22}, {90, 0x11}, {100, 0x11}};
    size_t last = 0;
    for (size_t i = 0; i < 4; i++) {
        struct rd_buf RD_AUTO_BUF file;
        rd_buf_init(&file, PICTURES_BUF_MAX);
        assert_int_equal(rd_image_encode(&image, RD_MEDIA_JPEG, rows[i].quality, &file), RD_OK);
        assert_int_equal(sampling(&file), rows[i].sampling);
        assert_true(file.len > last);
        last = file.len;
    }
    rd_image_done(&image);
}

static void damaged_files(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(40, 24, 3, 1);
    for (int kind = 0; kind < 8; kind++) {
        int components = kind / 4 == 0 ? 3 : 1;
        struct jpeg_spec spec = {&image, components, 80, kind & 1, 0, kind & 2 ? 2 : 0, NULL, 0};
        struct rd_buf RD_AUTO_BUF file = encoded(&spec);
        check_prefixes(&file);
        check_bit_flips(&file, 5);
    }
    rd_image_done(&image);
}

/* Cut anywhere in the scans and closed with a proper end marker: what a lying file looks like. Some
 * cuts of the last bytes lose nothing (padding bits); those must give the same picture. */
static void cut_and_closed(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(64, 48, 3, 4);
    for (int progressive = 0; progressive < 2; progressive++) {
        struct jpeg_spec spec = {&image, 3, 80, progressive, 0, 0, NULL, 0};
        struct rd_buf RD_AUTO_BUF file = encoded(&spec);
        struct rd_image whole = decoded(&file, 3);
        size_t accepted = 0;
        const uint8_t *scan = memmem(file.data, file.len, "\xff\xda", 2);
        assert_non_null(scan);
        for (size_t cut = (size_t)(scan - (const uint8_t *)file.data); cut < file.len - 2; cut++) {
            uint8_t *copy = exact_copy(file.data, cut + 2);
            memcpy(copy + cut, "\xff\xd9", 2);
            struct rd_image got = {0};
            rd_err err = rd_image_decode(copy, cut + 2, 3, &got, NULL);
            free(copy);
            if (err == RD_OK) {
                assert_int_equal(picture_difference(&whole, &got), 0);
                rd_image_done(&got);
                accepted++;
            } else {
                assert_int_equal(err, RD_ERR_INVALID_REQUEST);
            }
        }
        assert_in_range(accepted, 0, 2);
        rd_image_done(&whole);
    }
    rd_image_done(&image);
}

static void trailing_bytes(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(16, 16, 3, 1);
    struct jpeg_spec spec = {&image, 3, 80, 0, 0, 0, NULL, 0};
    struct rd_buf RD_AUTO_BUF file = encoded(&spec);
    rd_buf_str(&file, "behind the end marker");
    struct rd_image got = decoded(&file, 3);
    rd_image_done(&got);

    /* In front of it: 64, and up to 8 more that the decoder had already read ahead and does not
     * count. */
    static const size_t paddings[] = {1, 63, 64, 73, 1000};
    for (size_t p = 0; p < 5; p++) {
        size_t padding = paddings[p];
        struct rd_buf RD_AUTO_BUF padded = encoded(&spec);
        padded.len -= 2;
        for (size_t i = 0; i < padding; i++) {
            rd_buf_char(&padded, '\0');
        }
        rd_buf_append(&padded, "\xff\xd9", 2);
        if (padding <= 64) {
            got = decoded(&padded, 3);
            rd_image_done(&got);
        } else {
            refused(padded.data, padded.len);
        }
    }
    rd_image_done(&image);
}

/* A progressive file that repeats an empty refinement scan over and over. */
static void scan_bomb(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(64, 64, 3, 1);
    struct jpeg_spec spec = {&image, 3, 80, 1, 0, 0, NULL, 0};
    struct rd_buf RD_AUTO_BUF file = encoded(&spec);
    /* the last scan is Y's AC refinement: repeat it in front of the end marker */
    size_t last = file.len;
    do {
        last--;
    } while (memcmp(file.data + last, "\xff\xda", 2) != 0);
    size_t len = file.len - 2 - last;
    struct rd_buf RD_AUTO_BUF bomb;
    rd_buf_init(&bomb, PICTURES_BUF_MAX);
    rd_buf_append(&bomb, file.data, file.len - 2);
    for (int i = 0; i < 200; i++) {
        rd_buf_append(&bomb, file.data + last, len);
    }
    rd_buf_append(&bomb, "\xff\xd9", 2);
    refused(bomb.data, bomb.len);
    rd_image_done(&image);
}

/* A non-interleaved baseline file with its last scan left out: one component was never sent. */
static void missing_component(void **state)
{
    (void)state;
    /* a DC-only progressive file has one interleaved scan; cutting its AC scans is cut_and_closed's
     * business. Here: 8 x 8 gray written as 3 components by hand, one scan each. */
    static const uint8_t head[] = {0xff, 0xd8, 0xff, 0xdb, 0, 67, 0};
    static const uint8_t tables[] = {
        0xff, 0xc0, 0, 17, 8, 0, 8, 0, 8, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0,
        /* one code of one bit for DC category 0, and one for end of block */
        0xff, 0xc4, 0, 20, 0x00, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xc4, 0,
        20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    for (int scans = 1; scans <= 3; scans++) {
        struct rd_buf RD_AUTO_BUF file;
        rd_buf_init(&file, 4096);
        rd_buf_append(&file, head, sizeof head);
        for (int i = 0; i < 64; i++) {
            rd_buf_char(&file, 1);
        }
        rd_buf_append(&file, tables, sizeof tables);
        for (int i = 1; i <= scans; i++) {
            const uint8_t scan[] = {0xff, 0xda, 0, 8, 1, (uint8_t)i, 0, 0, 63, 0, 0x3f};
            rd_buf_append(&file, scan, sizeof scan);
        }
        rd_buf_append(&file, "\xff\xd9", 2);
        if (scans < 3) {
            refused(file.data, file.len);
            continue;
        }
        struct rd_image got = decoded(&file, 3);
        for (int i = 0; i < 8 * 8 * 3; i++) {
            assert_int_equal(got.pixels[i], 128); /* all coefficients 0 */
        }
        rd_image_done(&got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_colours),     cmocka_unit_test(orientation),
        cmocka_unit_test(round_trips),       cmocka_unit_test(chroma_is_whole_at_high_quality),
        cmocka_unit_test(damaged_files),     cmocka_unit_test(cut_and_closed),
        cmocka_unit_test(trailing_bytes),    cmocka_unit_test(scan_bomb),
        cmocka_unit_test(missing_component),
    };
    return cmocka_run_group_tests_name("media/jpeg", tests, NULL, NULL);
}
