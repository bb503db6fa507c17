/* SPDX-License-Identifier: Apache-2.0
 *
 * The header parsers against headers built by hand, byte for byte as the formats' texts say. */
#include "pictures.h"

#include <stdlib.h>

#include "base/limits.h"

static const char untouched[] = "untouched";

static rd_err probe(const void *bytes, size_t len, struct rd_image_info *ret)
{
    uint8_t *copy = exact_copy(bytes, len);
    struct rd_image_info info;
    memset(&info, 0xa5, sizeof info);
    struct rd_image_info before = info;
    struct rd_why why = {"untouched"};
    rd_err err = rd_image_probe(copy, len, &info, &why);
    free(copy);
    if (err != RD_OK) {
        assert_memory_equal(&info, &before, sizeof info);
        assert_string_not_equal(why.text, untouched);
    } else {
        *ret = info;
    }
    return err;
}

#define REFUSED(bytes, len, err)                                                                   \
    do {                                                                                           \
        struct rd_image_info got_;                                                                 \
        assert_int_equal(probe((bytes), (len), &got_), err);                                       \
    } while (0)

static void be32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        to[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static void le(uint8_t *to, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        to[i] = (uint8_t)(value >> (8 * i));
    }
}

struct header {
    uint8_t bytes[64];
    size_t len;
};

static struct header png_header(uint32_t width, uint32_t height, const uint8_t rest[5])
{
    struct header h = {"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", 33};
    be32(h.bytes + 16, width);
    be32(h.bytes + 20, height);
    memcpy(h.bytes + 24, rest, 5);
    be32(h.bytes + 29, sample_crc(h.bytes + 12, 17));
    return h;
}

static struct header png_of(uint32_t width, uint32_t height)
{
    return png_header(width, height, (const uint8_t[5]){8, 2, 0, 0, 0});
}

static struct header jpeg_header(unsigned sof, unsigned depth, uint32_t width, uint32_t height)
{
    struct header h = {"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xff\xff\xc0\0\x11", 0};
    h.bytes[23] = (uint8_t)sof; /* after two fill bytes */
    h.bytes[26] = (uint8_t)depth;
    h.bytes[27] = (uint8_t)(height >> 8);
    h.bytes[28] = (uint8_t)height;
    h.bytes[29] = (uint8_t)(width >> 8);
    h.bytes[30] = (uint8_t)width;
    h.bytes[31] = 3;
    h.len = 32 + 9;
    return h;
}

static struct header jpeg_of(uint32_t width, uint32_t height)
{
    return jpeg_header(0xc0, 8, width, height);
}

static struct header vp8_of(uint32_t width, uint32_t height)
{
    struct header h = {"RIFF\x16\0\0\0WEBPVP8 \x0a\0\0\0\x10\0\0\x9d\x01\x2a", 30};
    le(h.bytes + 26, width, 2);
    le(h.bytes + 28, height, 2);
    return h;
}

static struct header vp8l_of(uint32_t width, uint32_t height)
{
    struct header h = {"RIFF\x12\0\0\0WEBPVP8L\x05\0\0\0\x2f", 26};
    le(h.bytes + 21, (width - 1) | (height - 1) << 14, 4);
    return h;
}

static struct header vp8x_of(uint32_t width, uint32_t height)
{
    struct header frame = vp8_of(width > 16383 ? 1 : width, height > 16383 ? 1 : height);
    struct header h = {"RIFF\x28\0\0\0WEBPVP8X\x0a\0\0\0", 30 + 18};
    le(h.bytes + 24, width - 1, 3);
    le(h.bytes + 27, height - 1, 3);
    memcpy(h.bytes + 30, frame.bytes + 12, 18);
    return h;
}

static void sizes_are_read(void **state)
{
    (void)state;
    static const struct {
        struct header (*make)(uint32_t, uint32_t);
        enum rd_media media;
        unsigned side_max;
    } formats[] = {
        {png_of, RD_MEDIA_PNG, RD_LIMIT_IMAGE_SIDE},
        {jpeg_of, RD_MEDIA_JPEG, RD_LIMIT_IMAGE_SIDE},
        {vp8_of, RD_MEDIA_WEBP, 16383},
        {vp8l_of, RD_MEDIA_WEBP, RD_LIMIT_IMAGE_SIDE},
        {vp8x_of, RD_MEDIA_WEBP, 16383},
    };
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        const unsigned sizes[][2] = {
            {1, 1}, {640, 480}, {1, formats[i].side_max}, {formats[i].side_max, 1}, {8000, 8000}};
        for (size_t s = 0; s < 5; s++) {
            struct header h = formats[i].make(sizes[s][0], sizes[s][1]);
            struct rd_image_info info;
            assert_int_equal(probe(h.bytes, h.len, &info), RD_OK);
            assert_int_equal(info.media, formats[i].media);
            assert_int_equal(info.width, sizes[s][0]);
            assert_int_equal(info.height, sizes[s][1]);
            for (size_t len = 0; len < h.len; len++) {
                REFUSED(h.bytes, len, RD_ERR_INVALID_REQUEST);
            }
        }
    }
}

static void sizes_over_the_limits(void **state)
{
    (void)state;
    assert_int_equal(8000 * 8000, RD_LIMIT_IMAGE_PIXELS);
    static const unsigned sizes[][2] = {{RD_LIMIT_IMAGE_SIDE + 1, 1},
                                        {1, RD_LIMIT_IMAGE_SIDE + 1},
                                        {8000, 8001},
                                        {8001, 8000},
                                        {65535, 65535},
                                        {16384, 16384}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned w = sizes[i][0];
        unsigned h = sizes[i][1];
        REFUSED(png_of(w, h).bytes, 33, RD_ERR_TOO_LARGE);
        REFUSED(jpeg_of(w, h).bytes, 41, RD_ERR_TOO_LARGE);
    }
    REFUSED(png_of(0x7fffffff, 0x7fffffff).bytes, 33, RD_ERR_TOO_LARGE);
    REFUSED(png_of(0xffffffff, 0xffffffff).bytes, 33, RD_ERR_TOO_LARGE);
    REFUSED(vp8_of(16383, 16383).bytes, 30, RD_ERR_TOO_LARGE);
    REFUSED(vp8l_of(16384, 16384).bytes, 26, RD_ERR_TOO_LARGE);
    REFUSED(vp8_of(8001, 8000).bytes, 30, RD_ERR_TOO_LARGE);
    REFUSED(vp8l_of(8000, 8001).bytes, 26, RD_ERR_TOO_LARGE);
    /* a canvas that no frame can fill: the limit or the difference, refused either way */
    REFUSED(vp8x_of(16385, 1).bytes, 48, RD_ERR_INVALID_REQUEST);
    REFUSED(vp8x_of(1 << 24, 1 << 24).bytes, 48, RD_ERR_INVALID_REQUEST);
    REFUSED(png_of(0, 5).bytes, 33, RD_ERR_INVALID_REQUEST);
    REFUSED(png_of(5, 0).bytes, 33, RD_ERR_INVALID_REQUEST);
    REFUSED(jpeg_of(0, 5).bytes, 41, RD_ERR_INVALID_REQUEST);
    REFUSED(jpeg_of(5, 0).bytes, 41, RD_ERR_INVALID_REQUEST);
    REFUSED(vp8_of(0, 5).bytes, 30, RD_ERR_INVALID_REQUEST);
    REFUSED(vp8_of(5, 0).bytes, 30, RD_ERR_INVALID_REQUEST);
}

static void png_headers(void **state)
{
    (void)state;
    unsigned accepted = 0;
    for (unsigned depth = 0; depth < 256; depth++) {
        for (unsigned colour = 0; colour < 256; colour++) {
            struct header h =
                png_header(3, 2, (const uint8_t[5]){(uint8_t)depth, (uint8_t)colour, 0, 0, 0});
            struct rd_image_info info;
            accepted += rd_image_probe(h.bytes, h.len, &info, NULL) == RD_OK;
        }
    }
    assert_int_equal(accepted, 15); /* the table of the PNG specification has 15 entries */
    struct header h = png_header(3, 2, (const uint8_t[5]){8, 6, 0, 0, 1});
    struct rd_image_info info;
    assert_int_equal(probe(h.bytes, h.len, &info), RD_OK);
    REFUSED(png_header(3, 2, (const uint8_t[5]){8, 6, 1, 0, 0}).bytes, 33, RD_ERR_INVALID_REQUEST);
    REFUSED(png_header(3, 2, (const uint8_t[5]){8, 6, 0, 1, 0}).bytes, 33, RD_ERR_INVALID_REQUEST);
    REFUSED(png_header(3, 2, (const uint8_t[5]){8, 6, 0, 0, 2}).bytes, 33, RD_ERR_INVALID_REQUEST);
    for (size_t bit = 0; bit < h.len * 8; bit++) { /* the checksum covers it all */
        struct header broken = h;
        broken.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        REFUSED(broken.bytes, broken.len, RD_ERR_INVALID_REQUEST);
    }
}

static void jpeg_kinds(void **state)
{
    (void)state;
    struct rd_image_info info;
    for (unsigned sof = 0xc0; sof <= 0xcf; sof++) {
        struct header h = jpeg_header(sof, 8, 7, 5);
        bool taken = sof <= 0xc2;
        assert_int_equal(probe(h.bytes, h.len, &info), taken ? RD_OK : RD_ERR_INVALID_REQUEST);
    }
    REFUSED(jpeg_header(0xc1, 12, 7, 5).bytes, 41, RD_ERR_INVALID_REQUEST);
    for (unsigned components = 0; components < 256; components++) {
        uint8_t bytes[1024] = {0};
        struct header h = jpeg_of(7, 5);
        memcpy(bytes, h.bytes, h.len);
        unsigned length = 8 + 3 * components;
        bytes[24] = (uint8_t)(length >> 8);
        bytes[25] = (uint8_t)length;
        bytes[31] = (uint8_t)components;
        bool taken = components == 1 || components == 3 || components == 4;
        assert_int_equal(probe(bytes, 24 + length, &info), taken ? RD_OK : RD_ERR_INVALID_REQUEST);
        bytes[25] ^= 1; /* a length that contradicts the count */
        REFUSED(bytes, 24 + length + 1, RD_ERR_INVALID_REQUEST);
    }
    static const uint8_t early[] = {0x00, 0x01, 0xbf, 0xd0, 0xd7, 0xd8, 0xd9, 0xda};
    for (size_t i = 0; i < sizeof early; i++) { /* may not stand in front of a frame header */
        struct header h = jpeg_of(7, 5);
        h.bytes[3] = early[i];
        REFUSED(h.bytes, h.len, RD_ERR_INVALID_REQUEST);
    }
    struct header h = jpeg_of(7, 5);
    h.bytes[5] = 1; /* a segment shorter than its own length field */
    REFUSED(h.bytes, h.len, RD_ERR_INVALID_REQUEST);
    h.bytes[5] = 0x13; /* a segment that ends inside the next marker */
    REFUSED(h.bytes, h.len, RD_ERR_INVALID_REQUEST);
}

/* The orientation that the header reader finds behind an APP1 with these bytes. */
static unsigned orientation_of(const uint8_t *app1, size_t len)
{
    uint8_t bytes[256] = {0xff, 0xd8, 0xff, 0xe1, (uint8_t)((len + 2) >> 8), (uint8_t)(len + 2)};
    memcpy(bytes + 6, app1, len);
    struct header h = jpeg_of(7, 5);
    memcpy(bytes + 6 + len, h.bytes + 2, h.len - 2);
    size_t total = 6 + len + h.len - 2;
    uint8_t *copy = exact_copy(bytes, total);
    struct rd_media_header header;
    struct rd_why why;
    rd_err err = rd_media_header_read(copy, total, true, &header, &why);
    if (err != RD_OK) {
        fail_msg("%s", why.text);
    }
    free(copy);
    assert_int_equal(header.width, 7);
    assert_int_equal(header.height, 5);
    return header.orientation;
}

static void exif(void **state)
{
    (void)state;
    uint8_t block[64];
    for (int big = 0; big < 2; big++) {
        for (unsigned value = 0; value < 256; value++) {
            size_t len = exif_block(block, big, value);
            unsigned expected = value >= 1 && value <= 8 ? value : 1;
            assert_int_equal(orientation_of(block, len), expected);
        }
        size_t len = exif_block(block, big, 6);
        for (size_t cut = 0; cut + 4 < len;
             cut++) { /* the last 4 bytes are the next IFD's offset */
            unsigned got = orientation_of(block, cut);
            assert_int_equal(got, cut >= 28 ? 6 : 1);
        }
        for (size_t bit = 0; bit < len * 8; bit++) { /* broken blocks: as stored, or some value */
            size_t same = exif_block(block, big, 6);
            block[bit / 8] ^= (uint8_t)(1 << bit % 8);
            unsigned got = orientation_of(block, same);
            assert_in_range(got, 1, 8);
        }
        exif_block(block, big, 6);
        memset(block + 10, 0xff, 4); /* an IFD at 4 GiB */
        assert_int_equal(orientation_of(block, len), 1);
        exif_block(block, big, 6);
        memset(block + 14, 0xff, 2); /* 65535 entries */
        assert_int_equal(orientation_of(block, len), 6);
    }
    assert_int_equal(orientation_of((const uint8_t *)"http://ns.adobe.com/xap/1.0/", 28), 1);
    assert_int_equal(orientation_of((const uint8_t *)"", 0), 1);
}

static void exif_turns_the_size(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(24, 8, 3, 0);
    for (unsigned value = 1; value <= 8; value++) {
        uint8_t block[64];
        struct jpeg_spec spec = {&image, 3, 90, 0, 0, 0, block, exif_block(block, 1, value)};
        struct rd_buf RD_AUTO_BUF file;
        rd_buf_init(&file, PICTURES_BUF_MAX);
        sample_jpeg(&spec, &file);
        struct rd_image_info info;
        assert_int_equal(probe(file.data, file.len, &info), RD_OK);
        assert_int_equal(info.width, value >= 5 ? 8 : 24);
        assert_int_equal(info.height, value >= 5 ? 24 : 8);
    }
    rd_image_done(&image);
}

static void webp_structure(void **state)
{
    (void)state;
    struct rd_image_info info;
    struct header h = vp8x_of(100, 50);
    h.bytes[20] |= 0x02; /* animation */
    REFUSED(h.bytes, h.len, RD_ERR_INVALID_REQUEST);
    h = vp8x_of(100, 50);
    le(h.bytes + 24, 100, 3); /* canvas 101 */
    REFUSED(h.bytes, h.len, RD_ERR_INVALID_REQUEST);
    h = vp8x_of(100, 50);
    memcpy(h.bytes + 30, "ANMF", 4); /* frames without the flag */
    REFUSED(h.bytes, h.len, RD_ERR_INVALID_REQUEST);
    memcpy(h.bytes + 30, "ICCP", 4); /* no picture at all */
    REFUSED(h.bytes, h.len, RD_ERR_INVALID_REQUEST);
    le(h.bytes + 34, 0xffffffff, 4); /* a chunk over the end */
    REFUSED(h.bytes, h.len, RD_ERR_INVALID_REQUEST);
    h = vp8x_of(100, 50);
    le(h.bytes + 16, 9, 4); /* VP8X of another length */
    REFUSED(h.bytes, h.len, RD_ERR_INVALID_REQUEST);

    static const size_t at[] = {12, 20, 23, 24, 25};
    for (size_t i = 0; i < 5; i++) { /* tag, key frame bit, start code */
        h = vp8_of(100, 50);
        h.bytes[at[i]] ^= 1;
        REFUSED(h.bytes, h.len, RD_ERR_INVALID_REQUEST);
    }
    h = vp8l_of(100, 50);
    h.bytes[24] |= 0x20; /* version 1 */
    REFUSED(h.bytes, h.len, RD_ERR_INVALID_REQUEST);
    h = vp8l_of(100, 50);
    h.bytes[20] = 0x2e;
    REFUSED(h.bytes, h.len, RD_ERR_INVALID_REQUEST);
    static const uint32_t sizes[] = {0, 11, 0x17, 0xffff, 0x7fffffff, 0xffffffff};
    for (size_t i = 0; i < 6; i++) { /* a RIFF too short for its chunk, or longer than the file */
        h = vp8_of(100, 50);
        le(h.bytes + 4, sizes[i], 4);
        REFUSED(h.bytes, h.len, RD_ERR_INVALID_REQUEST);
    }
    h = vp8_of(100, 50);
    h.bytes[27] |= 0x40; /* the scaling hints are no part of the size */
    assert_int_equal(probe(h.bytes, h.len, &info), RD_OK);
    assert_int_equal(info.width, 100);
}

static void prefixes_of_large_files(void **state)
{
    (void)state;
    uint8_t *bytes = calloc(1, RD_IMAGE_PROBE_MAX);
    assert_non_null(bytes);
    /* VP8X, then a profile that goes beyond the prefix: the canvas's word has to do */
    struct header h = vp8x_of(100, 50);
    memcpy(bytes, h.bytes, 30);
    le(bytes + 4, RD_IMAGE_PROBE_MAX * 2, 4);
    memcpy(bytes + 30, "ICCP", 4);
    le(bytes + 34, RD_IMAGE_PROBE_MAX, 4);
    struct rd_image_info info;
    assert_int_equal(rd_image_probe(bytes, RD_IMAGE_PROBE_MAX, &info, NULL), RD_OK);
    assert_int_equal(info.width, 100);
    assert_int_equal(info.height, 50);
    /* one byte less is a whole file, and then it is cut off */
    assert_int_equal(rd_image_probe(bytes, RD_IMAGE_PROBE_MAX - 1, &info, NULL),
                     RD_ERR_INVALID_REQUEST);
    le(bytes + 24, RD_LIMIT_IMAGE_SIDE, 3);
    assert_int_equal(rd_image_probe(bytes, RD_IMAGE_PROBE_MAX, &info, NULL), RD_ERR_TOO_LARGE);
    /* a JPEG whose frame header lies behind the prefix */
    memset(bytes, 0, RD_IMAGE_PROBE_MAX);
    memcpy(bytes, "\xff\xd8", 2);
    for (size_t i = 2; i + 4 < RD_IMAGE_PROBE_MAX; i += 65537) {
        memcpy(bytes + i, "\xff\xe2\xff\xff", 4);
    }
    assert_int_equal(rd_image_probe(bytes, RD_IMAGE_PROBE_MAX, &info, NULL),
                     RD_ERR_INVALID_REQUEST);
    free(bytes);
}

static void no_pictures(void **state)
{
    (void)state;
    static const char *const others[] = {"",
                                         "GIF89a\1\0\1\0",
                                         "BM",
                                         "<svg/>",
                                         "\xff\xd8",
                                         "RIFF",
                                         "\x89PNG\r\n",
                                         "%PDF-1.7",
                                         "\0\0\0\40ftypavif",
                                         "RIFF....WAVEfmt "};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        REFUSED(others[i], i == 8 ? 12 : strlen(others[i]), RD_ERR_INVALID_REQUEST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read), cmocka_unit_test(sizes_over_the_limits),
        cmocka_unit_test(png_headers),    cmocka_unit_test(jpeg_kinds),
        cmocka_unit_test(exif),           cmocka_unit_test(exif_turns_the_size),
        cmocka_unit_test(webp_structure), cmocka_unit_test(prefixes_of_large_files),
        cmocka_unit_test(no_pictures),
    };
    return cmocka_run_group_tests_name("media/probe", tests, NULL, NULL);
}
