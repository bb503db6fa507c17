/* SPDX-License-Identifier: Apache-2.0
 *
 * The check of what engines deliver: every kind of picture that the libraries can write passes, in
 * any pieces; no prefix, no other size and not one byte more does; and whatever passes can be
 * decoded. */
#include "pictures.h"

#include <stdlib.h>
#include <time.h>

#include "media/check.h"

enum { W = 37, H = 23 };

static struct rd_media_expected of(enum rd_media media, unsigned width, unsigned height)
{
    return (struct rd_media_expected){media, width, height};
}

/* In pieces of `piece` bytes, each of its own memory so that a read beyond it is seen. */
static rd_err check_in(const struct rd_media_expected *expected, const void *bytes, size_t len,
                       size_t piece, struct rd_why *why)
{
    struct rd_media_check *check = NULL;
    const uint8_t *at = bytes;
    why->text[0] = '\0';
    assert_int_equal(rd_media_check_new(expected, &check), RD_OK);
    rd_err err = RD_OK;
    while (len > 0 && err == RD_OK) {
        size_t part = len < piece ? len : piece;
        uint8_t *copy = exact_copy(at, part);
        err = rd_media_check_feed(check, copy, part, why);
        free(copy);
        at += part;
        len -= part;
    }
    err = err == RD_OK ? rd_media_check_finish(check, why) : err;
    rd_media_check_free(check);
    assert_true(err == RD_OK || err == RD_ERR_BACKEND_FAILED);
    assert_true((err == RD_OK) == (why->text[0] == '\0'));
    return err;
}

static void passes(const struct rd_media_expected *expected, const struct rd_buf *file)
{
    static const size_t pieces[] = {1, 2, 7, 64, 1000, 16384, SIZE_MAX};
    struct rd_why why;
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        if (check_in(expected, file->data, file->len, pieces[i], &why) != RD_OK) {
            fail_msg("in pieces of %zu: %s", pieces[i], why.text);
        }
    }
}

static void refused(const struct rd_media_expected *expected, const struct rd_buf *file,
                    const char *text)
{
    struct rd_why why;
    assert_int_equal(check_in(expected, file->data, file->len, SIZE_MAX, &why),
                     RD_ERR_BACKEND_FAILED);
    if (strstr(why.text, text) == NULL) {
        fail_msg("'%s', not '%s'", why.text, text);
    }
    assert_int_equal(check_in(expected, file->data, file->len, 1, &why), RD_ERR_BACKEND_FAILED);
    if (strstr(why.text, text) == NULL) {
        fail_msg("byte by byte: '%s', not '%s'", why.text, text);
    }
}

/* What holds for every format. `decodes`: what passes must decode. */
static void holds(const struct rd_media_expected *expected, struct rd_buf *file, bool decodes)
{
    struct rd_why why;
    passes(expected, file);
    size_t stride = file->len > 2000 ? file->len / 500 : 1;
    for (size_t len = 0; len < file->len; len += len + stride < file->len ? stride : 1) {
        if (check_in(expected, file->data, len, 4096, &why) == RD_OK) {
            fail_msg("the first %zu of %zu bytes pass", len, file->len);
        }
    }
    for (unsigned side = 0; side < 2; side++) {
        struct rd_media_expected other = *expected;
        *(side == 0 ? &other.width : &other.height) += 1;
        refused(&other, file, "were asked for");
    }
    for (enum rd_media media = 0; media < RD_MEDIA_COUNT_; media++) {
        const struct rd_media_expected other = of(media, expected->width, expected->height);
        if (media != expected->media) {
            refused(&other, file, "asked for");
        }
    }
    uint32_t random = 1;
    for (unsigned i = 0; i < 300; i++) {
        random = random * 1664525 + 1013904223;
        size_t at = random % file->len;
        char before = file->data[at];
        file->data[at] = (char)(before ^ (1 << (random >> 29)));
        struct rd_image image;
        if (check_in(expected, file->data, file->len, 4096, &why) == RD_OK && decodes) {
            assert_int_equal(decode_exact(file->data, file->len, 3, &image, &why), RD_OK);
            rd_image_done(&image);
        }
        file->data[at] = before;
    }
    rd_buf_char(file, '\0');
    assert_int_equal(check_in(expected, file->data, file->len, 4096, &why), RD_ERR_BACKEND_FAILED);
}

/* ---- PNG ---- */

static const uint8_t palette[5 * 3] = {0, 0, 0, 255, 255, 255, 200, 10, 30, 1, 2, 3, 90, 180, 250};

static void every_png(void **state)
{
    (void)state;
    static const struct {
        int colour, depths[6];
    } kinds[] = {
        {0, {1, 2, 4, 8, 16}}, {2, {8, 16}}, {3, {1, 2, 4, 8}}, {4, {8, 16}}, {6, {8, 16}}};
    const struct rd_media_expected expected = of(RD_MEDIA_PNG, W, H);
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (const int *depth = kinds[k].depths; *depth != 0; depth++) {
            for (int interlaced = 0; interlaced < 2; interlaced++) {
                struct png_spec spec = {W, H, kinds[k].colour, *depth, interlaced, NULL, NULL, NULL,
                                        0, 0};
                if (spec.colour == 3) {
                    spec.palette_rgb = palette;
                    spec.palette_count = *depth == 1 ? 2 : *depth == 2 ? 4 : 5;
                }
                struct rd_buf RD_AUTO_BUF file;
                rd_buf_init(&file, PICTURES_BUF_MAX);
                sample_png(&spec, &file);
                holds(&expected, &file, true);
            }
        }
    }
}

/* Interlaced passes that have no pixel. */
static void narrow_png(void **state)
{
    (void)state;
    for (unsigned width = 1; width < 9; width++) {
        for (unsigned height = 1; height < 9; height++) {
            const struct png_spec spec = {width, height, 2, 8, 1, NULL, NULL, NULL, 0, 0};
            const struct rd_media_expected expected = of(RD_MEDIA_PNG, width, height);
            struct rd_buf RD_AUTO_BUF file;
            rd_buf_init(&file, PICTURES_BUF_MAX);
            sample_png(&spec, &file);
            passes(&expected, &file);
        }
    }
}

/* Signature, IHDR (8-bit RGB, W x H), these chunks. */
static void built_png(struct rd_buf *file, const char *const *types, const struct rd_buf *idat)
{
    static const uint8_t ihdr[13] = {0, 0, 0, W, 0, 0, 0, H, 8, 2, 0, 0, 0};
    rd_buf_append(file, "\x89PNG\r\n\x1a\n", 8);
    sample_png_chunk(file, "IHDR", ihdr, sizeof ihdr);
    for (; *types != NULL; types++) {
        if (strcmp(*types, "half") == 0) {
            sample_png_chunk(file, "IDAT", idat->data, idat->len / 2);
        } else if (strcmp(*types, "rest") == 0) {
            sample_png_chunk(file, "IDAT", idat->data + idat->len / 2, idat->len - idat->len / 2);
        } else if (strcmp(*types, "IDAT") == 0) {
            sample_png_chunk(file, "IDAT", idat->data, idat->len);
        } else if (strcmp(*types, "more") == 0) {
            sample_png_chunk(file, "IDAT", "\0", 1);
        } else {
            sample_png_chunk(file, *types, "\0a\0b\0c", strcmp(*types, "IEND") == 0 ? 0 : 6);
        }
    }
}

static void chunks_of_a_png(void **state)
{
    (void)state;
    static const struct {
        const char *chunks[6], *refused; /* NULL: it passes */
    } cases[] = {
        {{"IDAT", "IEND"}, NULL},
        {{"half", "rest", "IEND"}, NULL},
        {{"tEXt", "IDAT", "tEXt", "IEND"}, NULL},
        {{"PLTE", "tRNS", "IDAT", "IEND"}, NULL},
        {{"IEND"}, "pixels are missing"},
        {{"half", "IEND"}, "pixels are missing"},
        {{"half", "tEXt", "rest", "IEND"}, "scattered"},
        {{"IDAT", "more", "IEND"}, "data follows"},
        {{"IDAT", "PLTE", "IEND"}, "palette is malformed"},
        {{"PLTE", "PLTE", "IDAT", "IEND"}, "palette is malformed"},
        {{"IDAT", "tRNS", "IEND"}, "transparency is malformed"},
        {{"IDAT", "NoNe", "IEND"}, "must be understood"},
        {{"IDAT", "te1t", "IEND"}, "a chunk is malformed"},
        {{"IDAT", "IEND", "IEND"}, "bytes follow its end"},
        {{"IDAT"}, "ends early"},
        {{"acTL", "IDAT", "IEND"}, "is animated"},
        {{"fcTL", "IDAT", "IEND"}, "is animated"},
        {{"IDAT", "fdAT", "IEND"}, "is animated"},
    };
    const struct png_spec spec = {W, H, 2, 8, 0, NULL, NULL, NULL, 0, 0};
    const struct rd_media_expected expected = of(RD_MEDIA_PNG, W, H);
    struct rd_buf RD_AUTO_BUF whole;
    struct rd_buf RD_AUTO_BUF idat;
    rd_buf_init(&whole, PICTURES_BUF_MAX);
    rd_buf_init(&idat, PICTURES_BUF_MAX);
    sample_png(&spec, &whole);
    for (size_t at = 33; memcmp(whole.data + at + 4, "IEND", 4) != 0;) {
        const uint8_t *head = (const uint8_t *)whole.data + at;
        size_t len = (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
        if (memcmp(head + 4, "IDAT", 4) == 0) {
            rd_buf_append(&idat, head + 8, len);
        }
        at += len + 12;
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rd_buf RD_AUTO_BUF file;
        rd_buf_init(&file, PICTURES_BUF_MAX);
        built_png(&file, cases[i].chunks, &idat);
        if (cases[i].refused == NULL) {
            passes(&expected, &file);
        } else {
            refused(&expected, &file, cases[i].refused);
        }
    }
}

/* Texts and profiles: as many bytes as the limit, and one more. */
static void beside_a_png(void **state)
{
    (void)state;
    const struct png_spec spec = {W, H, 2, 8, 0, NULL, NULL, NULL, 0, 0};
    const struct rd_media_expected expected = of(RD_MEDIA_PNG, W, H);
    struct rd_buf RD_AUTO_BUF whole;
    rd_buf_init(&whole, PICTURES_BUF_MAX);
    sample_png(&spec, &whole);
    uint8_t *text = calloc(1, RD_MEDIA_BESIDE_MAX);
    assert_non_null(text);
    for (size_t more = 0; more < 2; more++) {
        struct rd_buf RD_AUTO_BUF file;
        rd_buf_init(&file, PICTURES_BUF_MAX);
        rd_buf_append(&file, whole.data, 33);
        sample_png_chunk(&file, "teXt", text, 1000);
        sample_png_chunk(&file, "teXt", text, RD_MEDIA_BESIDE_MAX - 1000 - 2 * 12 + more);
        rd_buf_append(&file, whole.data + 33, whole.len - 33);
        if (more == 0) {
            passes(&expected, &file);
        } else {
            refused(&expected, &file, "over 1 MiB");
        }
    }
    free(text);
}

/* ---- JPEG, WebP, MP4 ---- */

static void every_jpeg(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(W, H, 3, 1);
    for (int progressive = 0; progressive < 2; progressive++) {
        for (int restart = 0; restart < 2; restart++) {
            const struct jpeg_spec spec = {.image = &image,
                                           .components = 3,
                                           .quality = 85,
                                           .progressive = progressive,
                                           .restart = restart};
            const struct rd_media_expected expected = of(RD_MEDIA_JPEG, W, H);
            struct rd_buf RD_AUTO_BUF file;
            rd_buf_init(&file, PICTURES_BUF_MAX);
            sample_jpeg(&spec, &file);
            holds(&expected, &file, true);
        }
    }
    rd_image_done(&image);
}

/* Comments and profiles are skipped, however they fall into pieces. */
static void long_segments(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(W, H, 3, 1);
    const struct jpeg_spec spec = {.image = &image, .components = 3, .quality = 85};
    const struct rd_media_expected expected = of(RD_MEDIA_JPEG, W, H);
    struct rd_buf RD_AUTO_BUF bare;
    struct rd_buf RD_AUTO_BUF file;
    rd_buf_init(&bare, PICTURES_BUF_MAX);
    rd_buf_init(&file, PICTURES_BUF_MAX);
    sample_jpeg(&spec, &bare);
    rd_buf_append(&file, bare.data, 2);
    for (unsigned i = 0; i < 5; i++) {
        rd_buf_append(&file, i % 2 == 0 ? "\xff\xfe\xff\xff" : "\xff\xe2\xff\xff", 4);
        for (unsigned k = 0; k < 65533; k++) {
            rd_buf_char(&file, (char)k);
        }
    }
    rd_buf_append(&file, bare.data + 2, bare.len - 2);
    passes(&expected, &file);
    rd_image_done(&image);
}

/* Comments: as many bytes as the limit, and one more. */
static void beside_a_jpeg(void **state)
{
    (void)state;
    struct rd_image image = picture_painted(W, H, 3, 1);
    const struct jpeg_spec spec = {.image = &image, .components = 3, .quality = 85};
    const struct rd_media_expected expected = of(RD_MEDIA_JPEG, W, H);
    struct rd_buf RD_AUTO_BUF bare;
    rd_buf_init(&bare, PICTURES_BUF_MAX);
    sample_jpeg(&spec, &bare);
    for (unsigned more = 0; more < 2; more++) {
        struct rd_buf RD_AUTO_BUF file;
        rd_buf_init(&file, PICTURES_BUF_MAX);
        rd_buf_append(&file, bare.data, 2);
        for (unsigned left = RD_MEDIA_BESIDE_MAX + more; left > 0;) {
            unsigned part = left < 65533 ? left : 65533;
            const uint8_t head[4] = {0xff, 0xfe, (uint8_t)((part + 2) >> 8), (uint8_t)(part + 2)};
            rd_buf_append(&file, head, sizeof head);
            for (unsigned k = 0; k < part; k++) {
                rd_buf_char(&file, (char)k);
            }
            left -= part;
        }
        rd_buf_append(&file, bare.data + 2, bare.len - 2);
        if (more == 0) {
            passes(&expected, &file);
        } else {
            refused(&expected, &file, "over 1 MiB");
        }
    }
    rd_image_done(&image);
}

/* A segment that libjpeg wants whole is not begun again with every byte: that would be some 2^33
 * steps here, many seconds. */
static void long_tables_byte_by_byte(void **state)
{
    (void)state;
    enum { TABLES = 1008, SEGMENTS = 4 };
    struct rd_image image = picture_painted(W, H, 3, 1);
    const struct jpeg_spec spec = {.image = &image, .components = 3, .quality = 85};
    const struct rd_media_expected expected = of(RD_MEDIA_JPEG, W, H);
    struct rd_buf RD_AUTO_BUF bare;
    struct rd_buf RD_AUTO_BUF file;
    rd_buf_init(&bare, PICTURES_BUF_MAX);
    rd_buf_init(&file, PICTURES_BUF_MAX);
    sample_jpeg(&spec, &bare);
    rd_buf_append(&file, bare.data, 2);
    for (unsigned i = 0; i < SEGMENTS; i++) {
        const unsigned len = 2 + 65 * TABLES;
        const uint8_t head[4] = {0xff, 0xdb, (uint8_t)(len >> 8), (uint8_t)len};
        rd_buf_append(&file, head, sizeof head);
        for (unsigned k = 0; k < 65 * TABLES; k++) {
            rd_buf_char(&file, k % 65 == 0 ? 3 : 1); /* table 3, which nothing uses */
        }
    }
    rd_buf_append(&file, bare.data + 2, bare.len - 2);
    struct rd_media_check *check = NULL;
    struct rd_why why;
    assert_int_equal(rd_media_check_new(&expected, &check), RD_OK);
    clock_t begun = clock(); /* of this process: other work does not count */
    for (size_t i = 0; i < file.len; i++) {
        assert_int_equal(rd_media_check_feed(check, file.data + i, 1, &why), RD_OK);
    }
    assert_int_equal(rd_media_check_finish(check, &why), RD_OK);
    assert_in_range(clock() - begun, 0, 3 * CLOCKS_PER_SEC);
    rd_media_check_free(check);
    rd_image_done(&image);
}

static void every_webp(void **state)
{
    (void)state;
    for (unsigned channels = 3; channels < 5; channels++) {
        for (int quality = 60; quality <= 100; quality += 40) {
            struct rd_image image = picture_painted(W, H, channels, 2);
            const struct rd_media_expected expected = of(RD_MEDIA_WEBP, W, H);
            struct rd_buf RD_AUTO_BUF file;
            rd_buf_init(&file, PICTURES_BUF_MAX);
            assert_int_equal(rd_image_encode(&image, RD_MEDIA_WEBP, quality, &file), RD_OK);
            holds(&expected, &file, true);
            rd_image_done(&image);
        }
    }
}

static void le32(struct rd_buf *file, size_t number)
{
    const uint8_t bytes[4] = {(uint8_t)number, (uint8_t)(number >> 8), (uint8_t)(number >> 16),
                              (uint8_t)(number >> 24)};
    rd_buf_append(file, bytes, sizeof bytes);
}

static void riff_chunk(struct rd_buf *file, const char *type, size_t len)
{
    rd_buf_append(file, type, 4);
    le32(file, len);
    for (size_t i = 0; i < len + len % 2; i++) {
        rd_buf_char(file, (char)(i % 7));
    }
}

/* RIFF, VP8X, one chunk, the picture, another chunk. Types NULL: none. */
static void built_webp(struct rd_buf *file, const char *const types[2], const size_t lens[2])
{
    static const uint8_t vp8x[10] = {0, 0, 0, 0, W - 1, 0, 0, H - 1, 0, 0};
    struct rd_image image = picture_painted(W, H, 3, 2);
    struct rd_buf RD_AUTO_BUF plain;
    struct rd_buf RD_AUTO_BUF content;
    rd_buf_init(&plain, PICTURES_BUF_MAX);
    rd_buf_init(&content, PICTURES_BUF_MAX);
    assert_int_equal(rd_image_encode(&image, RD_MEDIA_WEBP, 60, &plain), RD_OK);
    rd_image_done(&image);
    char *picture = memmem(plain.data, plain.len, "VP8 ", 4);
    assert_non_null(picture);
    rd_buf_append(&content, "WEBPVP8X\x0a\0\0\0", 12);
    rd_buf_append(&content, vp8x, sizeof vp8x);
    for (unsigned i = 0; i < 2; i++) {
        if (types[i] != NULL) {
            riff_chunk(&content, types[i], lens[i]);
        }
        if (i == 0) {
            rd_buf_append(&content, picture, plain.len - (size_t)(picture - plain.data));
        }
    }
    rd_buf_append(file, "RIFF", 4);
    le32(file, content.len);
    rd_buf_append(file, content.data, content.len);
}

static void chunks_of_a_webp(void **state)
{
    (void)state;
    enum { REST = RD_MEDIA_BESIDE_MAX - 8 - 1000 - 8 };
    static const struct {
        const char *types[2];
        size_t lens[2];
        const char *refused; /* NULL: it passes */
    } cases[] = {
        {{"ICCP", "XMP "}, {1000, 333}, NULL},
        {{"abcd", "efgh"}, {1000, REST}, NULL},
        {{"abcd", "efgh"}, {1000, REST + 1}, "over 1 MiB"},
        {{"abcd", NULL}, {RD_MEDIA_BESIDE_MAX, 0}, "over 1 MiB"},
        {{NULL, "VP8 "}, {0, RD_MEDIA_BESIDE_MAX - 8}, NULL}, /* a second one is not the picture */
        {{NULL, "VP8 "}, {0, RD_MEDIA_BESIDE_MAX}, "over 1 MiB"},
        {{NULL, "ANMF"}, {0, 100}, "is animated"},
        {{"ANIM", NULL}, {6, 0}, "is animated"},
    };
    const struct rd_media_expected expected = of(RD_MEDIA_WEBP, W, H);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rd_buf RD_AUTO_BUF file;
        rd_buf_init(&file, PICTURES_BUF_MAX);
        built_webp(&file, cases[i].types, cases[i].lens);
        if (cases[i].refused == NULL) {
            passes(&expected, &file);
        } else {
            refused(&expected, &file, cases[i].refused);
        }
    }
}

static void a_video(struct rd_buf *file)
{
    struct rd_mp4 *mp4 = NULL;
    struct rd_why why;
    assert_int_equal(rd_mp4_new(64, 48, 10, &mp4, &why), RD_OK);
    for (unsigned i = 0; i < 12; i++) {
        struct rd_image frame = picture_painted(64, 48, 3, i);
        assert_int_equal(rd_mp4_frame(mp4, &frame), RD_OK);
        rd_image_done(&frame);
    }
    assert_int_equal(rd_mp4_finish(mp4, file), RD_OK);
    rd_mp4_free(mp4);
}

static void every_mp4(void **state)
{
    (void)state;
    const struct rd_media_expected expected = of(RD_MEDIA_MP4, 64, 48);
    struct rd_buf RD_AUTO_BUF file;
    rd_buf_init(&file, PICTURES_BUF_MAX);
    a_video(&file);
    holds(&expected, &file, false);
}

static void boxes_of_an_mp4(void **state)
{
    (void)state;
    const struct rd_media_expected expected = of(RD_MEDIA_MP4, 64, 48);
    struct rd_buf RD_AUTO_BUF file;
    struct rd_buf RD_AUTO_BUF other;
    rd_buf_init(&file, PICTURES_BUF_MAX);
    rd_buf_init(&other, PICTURES_BUF_MAX);
    a_video(&file);
    char *vide = memmem(file.data, file.len, "vide", 4);
    assert_non_null(vide);
    vide[0] = 's';
    refused(&expected, &file, "no video track");
    vide[0] = 'v';
    char *trak = memmem(file.data, file.len, "trak", 4);
    trak[-1] = (char)(trak[-1] + 1);
    refused(&expected, &file, "index is malformed");
    trak[-1] = (char)(trak[-1] - 1);
    /* a 64-bit size, and one that goes on to the end */
    rd_buf_append(&other, file.data, file.len);
    rd_buf_append(&other,
                  "\0\0\0\1free\0\0\0\0\0\0\0\x14"
                  "abcd",
                  20);
    passes(&expected, &other);
    rd_buf_append(&other, "\0\0\0\0mdatabc", 11);
    passes(&expected, &other);
    rd_buf_reset(&other);
    rd_buf_append(&other, file.data, file.len);
    rd_buf_append(&other, "\0\0\0\7free", 8);
    refused(&expected, &other, "a box is malformed");
    rd_buf_reset(&other);
    rd_buf_append(&other,
                  "\0\0\0\x0c"
                  "ftypabcd\0\0\0\xa"
                  "mdatab",
                  22);
    refused(&expected, &other, "ends early");
    rd_buf_append(&other, "\0\5\0\0moov", 8);
    refused(&expected, &other, "over 256 KiB");
    rd_buf_reset(&other);
    rd_buf_append(&other,
                  "\0\0\0\x0c"
                  "ftypabcd\0\0\0\0moov",
                  20);
    refused(&expected, &other, "where it must not");
}

static void be32_to(char *to, size_t number)
{
    for (unsigned i = 0; i < 4; i++) {
        to[i] = (char)(number >> (24 - 8 * i));
    }
}

/* The index promises frames, and there is something that they can be in. */
static void frames_of_an_mp4(void **state)
{
    (void)state;
    const struct rd_media_expected expected = of(RD_MEDIA_MP4, 64, 48);
    struct rd_buf RD_AUTO_BUF file;
    struct rd_buf RD_AUTO_BUF other;
    rd_buf_init(&file, PICTURES_BUF_MAX);
    rd_buf_init(&other, PICTURES_BUF_MAX);
    a_video(&file);
    char *mdat = memmem(file.data, file.len, "mdat", 4);
    char *stsz = memmem(file.data, file.len, "stsz", 4);
    assert_true(mdat != NULL && stsz != NULL);
    size_t before = (size_t)(mdat - file.data) - 4;
    rd_buf_append(&other, file.data, before);
    rd_buf_append(&other, "\0\0\0\x08mdat", 8);
    refused(&expected, &other, "no frames");
    rd_buf_append(&other, "\0\0\0\0mdat", 8);
    refused(&expected, &other, "no frames");
    rd_buf_append(&other, "a", 1);
    passes(&expected, &other);
    be32_to(stsz + 12, 0);
    refused(&expected, &file, "no frames");
    rd_buf_append(&file, "\0\0\0\x08moof", 8);
    refused(&expected, &file, "no frames");
    rd_buf_append(&file, "\0\0\0\x0cmoofabcd", 12); /* fragments: the index has none itself */
    passes(&expected, &file);
    be32_to(stsz + 12, 12);
    memcpy(stsz, "free", 4);
    file.len -= 20;
    refused(&expected, &file, "no frames");
}

static void beside_an_mp4(void **state)
{
    (void)state;
    const struct rd_media_expected expected = of(RD_MEDIA_MP4, 64, 48);
    struct rd_buf RD_AUTO_BUF bare;
    rd_buf_init(&bare, PICTURES_BUF_MAX);
    a_video(&bare);
    size_t there = 0; /* ftyp and free, where the muxer leaves one */
    for (size_t at = 0; at < bare.len;) {
        const uint8_t *box = (const uint8_t *)bare.data + at;
        size_t len = (size_t)box[1] << 16 | (size_t)box[2] << 8 | box[3];
        there += memcmp(box + 4, "moov", 4) != 0 && memcmp(box + 4, "mdat", 4) != 0 ? len : 0;
        at += len;
    }
    for (size_t more = 0; more < 2; more++) {
        struct rd_buf RD_AUTO_BUF file;
        rd_buf_init(&file, PICTURES_BUF_MAX);
        rd_buf_append(&file, bare.data, bare.len);
        char head[8] = "\0\0\0\0fre";
        head[7] = 'e';
        be32_to(head, RD_MEDIA_BESIDE_MAX - there + more);
        rd_buf_append(&file, head, sizeof head);
        for (size_t i = 8; i < RD_MEDIA_BESIDE_MAX - there + more; i++) {
            rd_buf_char(&file, 'x');
        }
        if (more == 0) {
            passes(&expected, &file);
        } else {
            refused(&expected, &file, "over 1 MiB");
        }
    }
    rd_buf_reset(&bare);
    rd_buf_append(&bare,
                  "\0\0\0\x0c"
                  "ftypabcd\0\0\0\1free\xff\xff\xff\xff\xff\xff\xff\xff",
                  28);
    refused(&expected, &bare, "over 1 MiB");
}

/* ---- what is none ---- */

static void texts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"<script>alert(1)</script>", "does not begin like a"},
        {"", "does not begin like a"},
        {"a", "does not begin like a"},
        {"{\"error\": \"out of memory on cuda:0, and some more text\"}", "does not begin like a"},
    };
    for (enum rd_media media = 0; media < RD_MEDIA_COUNT_; media++) {
        const struct rd_media_expected expected = of(media, W, H);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct rd_buf RD_AUTO_BUF file;
            rd_buf_init(&file, 1024);
            rd_buf_str(&file, cases[i].text);
            refused(&expected, &file, cases[i].why);
        }
    }
    struct rd_buf RD_AUTO_BUF file;
    rd_buf_init(&file, 1024);
    rd_buf_append(&file, "\x89PNG\r\n\x1a\nabc", 11);
    const struct rd_media_expected png = of(RD_MEDIA_PNG, W, H);
    refused(&png, &file, "ends within its first bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_png),
        cmocka_unit_test(narrow_png),
        cmocka_unit_test(chunks_of_a_png),
        cmocka_unit_test(every_jpeg),
        cmocka_unit_test(long_segments),
        cmocka_unit_test(every_webp),
        cmocka_unit_test(beside_a_png),
        cmocka_unit_test(beside_a_jpeg),
        cmocka_unit_test(long_tables_byte_by_byte),
        cmocka_unit_test(chunks_of_a_webp),
        cmocka_unit_test(frames_of_an_mp4),
        cmocka_unit_test(beside_an_mp4),
        cmocka_unit_test(every_mp4),
        cmocka_unit_test(boxes_of_an_mp4),
        cmocka_unit_test(texts),
    };
    return cmocka_run_group_tests_name("media/check", tests, NULL, NULL);
}
