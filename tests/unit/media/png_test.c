/* SPDX-License-Identifier: Apache-2.0
 *
 * PNG: every colour type and depth against values computed here, and every way of being damaged. */
#include "pictures.h"

#include <stdlib.h>

#include "base/limits.h"
#include "base/mem.h"

enum { GRAY = 0, RGB = 2, PALETTE = 3, GRAY_ALPHA = 4, RGBA = 6, W = 21, H = 13 };

static const uint8_t palette[5 * 3] = {0, 0, 0, 255, 255, 255, 200, 10, 30, 1, 2, 3, 90, 180, 250};
static const uint8_t palette_alpha[3] = {0, 128, 255}; /* the other entries are opaque */

static unsigned to8(unsigned value, int depth)
{
    return depth == 16 ? (value * 255 + 32767) / 65535 : value * 255 / ((1u << depth) - 1);
}

/* What pixel (x, y) of a sample PNG must be as RGBA. */
static void expected_rgba(const struct png_spec *spec, unsigned x, unsigned y, unsigned ret[4])
{
    int depth = spec->depth;
    unsigned raw[4];
    for (unsigned c = 0; c < 4; c++) {
        raw[c] = sample_value(x, y, c, depth);
    }
    ret[3] = 255;
    if (spec->colour == PALETTE) {
        unsigned index = raw[0] % (unsigned)spec->palette_count;
        for (unsigned c = 0; c < 3; c++) {
            ret[c] = palette[3 * index + c];
        }
        if (spec->palette_alpha != NULL && (int)index < spec->palette_alpha_count) {
            ret[3] = spec->palette_alpha[index];
        }
        return;
    }
    bool gray = spec->colour == GRAY || spec->colour == GRAY_ALPHA;
    for (unsigned c = 0; c < 3; c++) {
        ret[c] = to8(raw[gray ? 0 : c], depth);
    }
    if (spec->colour == GRAY_ALPHA || spec->colour == RGBA) {
        ret[3] = to8(raw[gray ? 1 : 3], depth);
    }
    if (spec->trns != NULL) {
        bool hit = raw[0] == spec->trns[0] &&
                   (gray || (raw[1] == spec->trns[1] && raw[2] == spec->trns[2]));
        ret[3] = hit ? 0 : 255;
    }
}

static unsigned over_white(unsigned value, unsigned alpha)
{
    return (value * alpha + 255 * (255 - alpha) + 127) / 255;
}

static void check_spec(const struct png_spec *spec)
{
    struct rd_buf RD_AUTO_BUF file;
    rd_buf_init(&file, PICTURES_BUF_MAX);
    sample_png(spec, &file);
    struct rd_image four;
    struct rd_image three;
    struct rd_why why;
    assert_int_equal(decode_exact(file.data, file.len, 4, &four, &why), RD_OK);
    assert_int_equal(decode_exact(file.data, file.len, 3, &three, &why), RD_OK);
    assert_int_equal(four.width, spec->width);
    assert_int_equal(three.height, spec->height);
    assert_int_equal(four.channels, 4);
    assert_int_equal(three.channels, 3);
    for (unsigned y = 0; y < spec->height; y++) {
        for (unsigned x = 0; x < spec->width; x++) {
            unsigned want[4];
            expected_rgba(spec, x, y, want);
            size_t index = (size_t)y * spec->width + x;
            for (unsigned c = 0; c < 4; c++) {
                if (four.pixels[index * 4 + c] != want[c]) {
                    fail_msg("colour %d depth %d interlaced %d at %u,%u,%u: %u, not %u",
                             spec->colour, spec->depth, spec->interlaced, x, y, c,
                             four.pixels[index * 4 + c], want[c]);
                }
            }
            for (unsigned c = 0; c < 3; c++) {
                assert_int_equal(three.pixels[index * 3 + c], over_white(want[c], want[3]));
            }
        }
    }
    rd_image_done(&four);
    rd_image_done(&three);
    if (spec->width == W) {
        check_prefixes(&file);
        check_bit_flips(&file, 41);
    }
}

static void every_kind(void **state)
{
    (void)state;
    static const struct {
        int colour, depths[6];
    } kinds[] = {{GRAY, {1, 2, 4, 8, 16}},
                 {RGB, {8, 16}},
                 {PALETTE, {1, 2, 4, 8}},
                 {GRAY_ALPHA, {8, 16}},
                 {RGBA, {8, 16}}};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (const int *depth = kinds[k].depths; *depth != 0; depth++) {
            for (int interlaced = 0; interlaced < 2; interlaced++) {
                struct png_spec spec = {W, H, kinds[k].colour, *depth, interlaced, NULL, NULL, NULL,
                                        0, 0};
                if (spec.colour == PALETTE) {
                    spec.palette_rgb = palette;
                    spec.palette_count = *depth == 1 ? 2 : *depth == 2 ? 4 : 5;
                }
                check_spec(&spec);
                spec.width = 1; /* interlacing has passes without a pixel here */
                spec.height = 3;
                check_spec(&spec);
            }
        }
    }
}

static void transparency(void **state)
{
    (void)state;
    for (int depth = 1; depth <= 16; depth *= 2) {
        uint16_t key[3];
        for (unsigned c = 0; c < 3; c++) {
            key[c] = (uint16_t)sample_value(3, 2, c, depth);
        }
        struct png_spec spec = {W, H, GRAY, depth, 0, key, NULL, NULL, 0, 0};
        check_spec(&spec);
        spec.colour = RGB;
        if (depth >= 8) {
            check_spec(&spec);
        }
    }
    struct png_spec spec = {W, H, PALETTE, 4, 1, NULL, palette, palette_alpha, 5, 3};
    check_spec(&spec);
}

static void round_trips(void **state)
{
    (void)state;
    static const unsigned sizes[][2] = {{1, 1},
                                        {2, 1},
                                        {1, 2},
                                        {17, 31},
                                        {300, 2},
                                        {640, 480},
                                        {RD_LIMIT_IMAGE_SIDE, 2},
                                        {3, RD_LIMIT_IMAGE_SIDE}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (unsigned channels = 3; channels <= 4; channels++) {
            struct rd_image image = picture_painted(sizes[i][0], sizes[i][1], channels, 5);
            struct rd_buf RD_AUTO_BUF file;
            rd_buf_init(&file, PICTURES_BUF_MAX);
            assert_int_equal(rd_image_encode(&image, RD_MEDIA_PNG, 0, &file), RD_OK);
            struct rd_image back;
            assert_int_equal(decode_exact(file.data, file.len, channels, &back, NULL), RD_OK);
            assert_int_equal(picture_difference(&image, &back), 0);
            rd_image_done(&back);
            rd_image_done(&image);
        }
    }
}

static void same_bytes_and_nothing_else_in_them(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(500, 400, 3, 9);
    struct rd_buf RD_AUTO_BUF one;
    struct rd_buf RD_AUTO_BUF two;
    rd_buf_init(&one, PICTURES_BUF_MAX);
    rd_buf_init(&two, PICTURES_BUF_MAX);
    assert_int_equal(rd_image_encode(&image, RD_MEDIA_PNG, 0, &one), RD_OK);
    assert_int_equal(rd_image_encode(&image, RD_MEDIA_PNG, 100, &two), RD_OK);
    assert_int_equal(one.len, two.len);
    assert_memory_equal(one.data, two.data, one.len);
    size_t at = 8;
    const char *allowed = "IHDR";
    while (at < one.len) {
        const uint8_t *p = (const uint8_t *)one.data + at;
        if (memcmp(p + 4, "IDAT", 4) == 0) {
            allowed = "IEND";
        } else {
            assert_memory_equal(p + 4, allowed, 4);
        }
        at += 12 + ((size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3]);
    }
    assert_int_equal(at, one.len);
    rd_image_done(&image);
}

static void flat_pictures_stay_small(void **state)
{
    (void)state;
    struct rd_image image;
    assert_int_equal(rd_image_new(1024, 1024, 3, &image), RD_OK);
    struct rd_buf RD_AUTO_BUF file;
    rd_buf_init(&file, PICTURES_BUF_MAX);
    assert_int_equal(rd_image_encode(&image, RD_MEDIA_PNG, 0, &file), RD_OK);
    assert_in_range(file.len, 1, 32768); /* of 3 MiB; a mask is such a picture */
    rd_image_done(&image);
}

/* A PNG of 4 x 4 gray pixels from its parts, so that single parts can be wrong. */
static void build(struct rd_buf *out, const char *before_idat, size_t len)
{
    struct png_spec spec = {4, 4, GRAY, 8, 0, NULL, NULL, NULL, 0, 0};
    struct rd_buf RD_AUTO_BUF good;
    rd_buf_init(&good, PICTURES_BUF_MAX);
    sample_png(&spec, &good);
    rd_buf_append(out, good.data, 33);
    if (before_idat != NULL) {
        sample_png_chunk(out, before_idat, NULL, len);
    }
    rd_buf_append(out, good.data + 33, good.len - 33);
}

static rd_err decode(const struct rd_buf *file)
{
    struct rd_image image;
    memset(&image, 0x5a, sizeof image);
    struct rd_image before = image;
    rd_err err = decode_exact(file->data, file->len, 3, &image, NULL);
    if (err == RD_OK) {
        rd_image_done(&image);
    } else {
        assert_memory_equal(&image, &before, sizeof image);
    }
    return err;
}

static void chunks(void **state)
{
    (void)state;
    struct rd_buf RD_AUTO_BUF file;
    rd_buf_init(&file, PICTURES_BUF_MAX);
    build(&file, NULL, 0);
    assert_int_equal(decode(&file), RD_OK);
    rd_buf_str(&file, "what follows IEND is no part of the picture");
    assert_int_equal(decode(&file), RD_OK);

    rd_buf_reset(&file);
    build(&file, "tEXt", 0); /* malformed (no keyword), but stepped over unread */
    assert_int_equal(decode(&file), RD_OK);
    ((uint8_t *)file.data)[33 + 11] ^= 1; /* its checksum */
    assert_int_equal(decode(&file), RD_ERR_INVALID_REQUEST);

    static const char *const refused[] = {"CrIt", "IHDR", "tRNS", "PLTE", "IEND"};
    for (size_t i = 0; i < 5; i++) { /* unknown but critical; twice; empty; misplaced */
        rd_buf_reset(&file);
        build(&file, refused[i], 0);
        assert_int_equal(decode(&file), RD_ERR_INVALID_REQUEST);
    }
}

/* A text chunk that would inflate to 64 MiB costs nothing, because nothing inflates it. */
static void bombs_in_text_chunks(void **state)
{
    (void)state;
    struct rd_buf RD_AUTO_BUF file;
    struct rd_buf RD_AUTO_BUF good;
    rd_buf_init(&file, PICTURES_BUF_MAX);
    rd_buf_init(&good, PICTURES_BUF_MAX);
    build(&good, NULL, 0);
    rd_buf_append(&file, good.data, 33);
    uint8_t *text = rd_mem_alloc(100000);
    assert_non_null(text);
    memcpy(text, "k\0\0\x78\x9c", 5);
    for (int i = 0; i < 5000; i++) { /* over CHUNKS_MAX, were they kept */
        sample_png_chunk(&file, i % 2 == 0 ? "zTXt" : "iCCP", text, 1000);
    }
    rd_mem_free(text);
    rd_buf_append(&file, good.data + 33, good.len - 33);
    assert_int_equal(decode(&file), RD_OK);
}

/* The header claims more rows, or a wider row, than the data holds; or fewer. */
static void lying_headers(void **state)
{
    (void)state;
    static const unsigned sizes[][2] = {{4, 5}, {5, 4}, {4, 16384}, {3900, 16384}, {4, 3}, {3, 4}};
    for (size_t i = 0; i < 6; i++) {
        struct rd_buf RD_AUTO_BUF file;
        rd_buf_init(&file, PICTURES_BUF_MAX);
        build(&file, NULL, 0);
        uint8_t *p = (uint8_t *)file.data;
        for (int b = 0; b < 4; b++) {
            p[16 + b] = (uint8_t)(sizes[i][0] >> (24 - 8 * b));
            p[20 + b] = (uint8_t)(sizes[i][1] >> (24 - 8 * b));
        }
        uint32_t crc = sample_crc(p + 12, 17);
        for (int b = 0; b < 4; b++) {
            p[29 + b] = (uint8_t)(crc >> (24 - 8 * b));
        }
        struct rd_image_info info;
        assert_int_equal(rd_image_probe(file.data, file.len, &info, NULL), RD_OK);
        assert_int_equal(decode(&file), RD_ERR_INVALID_REQUEST);
    }
}

static void palette_index_out_of_range(void **state)
{
    (void)state;
    struct png_spec spec = {8, 8, PALETTE, 8, 0, NULL, palette, NULL, 5, 0};
    struct rd_buf RD_AUTO_BUF file;
    rd_buf_init(&file, PICTURES_BUF_MAX);
    sample_png(&spec, &file);
    assert_int_equal(decode(&file), RD_OK);
    /* the same picture with a palette of two: PLTE is at 33, 5 colours long */
    struct rd_buf RD_AUTO_BUF cut;
    rd_buf_init(&cut, PICTURES_BUF_MAX);
    rd_buf_append(&cut, file.data, 33);
    sample_png_chunk(&cut, "PLTE", palette, 6);
    rd_buf_append(&cut, file.data + 33 + 12 + 15, file.len - 33 - 12 - 15);
    assert_int_equal(decode(&cut), RD_ERR_INVALID_REQUEST);
}

static void pngcheck_agrees(void **state)
{
    (void)state;
    for (unsigned channels = 3; channels <= 4; channels++) {
        struct rd_image image = picture_painted(333, 77, channels, 2);
        struct rd_buf RD_AUTO_BUF file;
        struct rd_buf RD_AUTO_BUF said;
        rd_buf_init(&file, PICTURES_BUF_MAX);
        rd_buf_init(&said, 65536);
        assert_int_equal(rd_image_encode(&image, RD_MEDIA_PNG, 0, &file), RD_OK);
        rd_image_done(&image);
        char *path = tool_file(file.data, file.len);
        int status = tool_run((const char *const[]){"pngcheck", "-v", path, NULL}, &said);
        tool_file_done(path);
        if (status == -1) {
            print_message("# pngcheck is not installed\n");
            skip();
        }
        assert_int_equal(status, 0);
        assert_non_null(strstr(rd_buf_cstr(&said), "333 x 77 image"));
        assert_non_null(strstr(rd_buf_cstr(&said), "No errors detected"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind),
        cmocka_unit_test(transparency),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(same_bytes_and_nothing_else_in_them),
        cmocka_unit_test(flat_pictures_stay_small),
        cmocka_unit_test(chunks),
        cmocka_unit_test(bombs_in_text_chunks),
        cmocka_unit_test(lying_headers),
        cmocka_unit_test(palette_index_out_of_range),
        cmocka_unit_test(pngcheck_agrees),
    };
    return cmocka_run_group_tests_name("media/png", tests, NULL, NULL);
}
