/* SPDX-License-Identifier: Apache-2.0
 *
 * See pictures.h. Any failure here is a failure of the test. */
#include "pictures.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <png.h>
#include <jpeglib.h>

#include "base/mem.h"

extern char **environ;

struct rd_image picture_painted(unsigned width, unsigned height, unsigned channels, unsigned phase)
{
    struct rd_image image;
    assert_int_equal(rd_image_new(width, height, channels, &image), RD_OK);
    uint8_t *p = image.pixels;
    for (unsigned y = 0; y < height; y++) {
        for (unsigned x = 0; x < width; x++) {
            for (unsigned c = 0; c < channels; c++) {
                unsigned wave = (x * (c + 2) + y * (5 - c) + phase * 7) % 512;
                *p++ = (uint8_t)(wave < 256 ? wave : 511 - wave);
            }
        }
    }
    return image;
}

unsigned picture_difference(const struct rd_image *a, const struct rd_image *b)
{
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    assert_int_equal(a->channels, b->channels);
    unsigned most = 0;
    for (size_t i = 0; i < (size_t)a->width * a->height * a->channels; i++) {
        int gap = abs(a->pixels[i] - b->pixels[i]);
        most = (unsigned)gap > most ? (unsigned)gap : most;
    }
    return most;
}

/* --- PNG --- */

unsigned sample_value(unsigned x, unsigned y, unsigned channel, int depth)
{
    return (x * 2557u + y * 7919u + channel * 31337u) & ((1u << depth) - 1);
}

static void png_out(png_structp png, png_bytep data, size_t len)
{
    rd_buf_append(png_get_io_ptr(png), data, len);
}

static void png_flushed(png_structp png)
{
    (void)png;
}

static void png_set_extras(png_structp png, png_infop info, const struct png_spec *spec)
{
    if (spec->palette_rgb != NULL) {
        png_color palette[256];
        for (int i = 0; i < spec->palette_count; i++) {
            memcpy(&palette[i], spec->palette_rgb + 3 * i, 3);
        }
        png_set_PLTE(png, info, palette, spec->palette_count);
    }
    if (spec->palette_alpha != NULL) {
        png_set_tRNS(png, info, spec->palette_alpha, spec->palette_alpha_count, NULL);
    }
    if (spec->trns != NULL) {
        png_color_16 key = {.gray = spec->trns[0],
                            .red = spec->trns[0],
                            .green = spec->trns[1],
                            .blue = spec->trns[2]};
        png_set_tRNS(png, info, NULL, 0, &key);
    }
}

void sample_png(const struct png_spec *spec, struct rd_buf *out)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    assert_non_null(info);
    png_set_write_fn(png, out, png_out, png_flushed);
    png_set_IHDR(png, info, spec->width, spec->height, spec->depth, spec->colour,
                 spec->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, 0, 0);
    png_set_extras(png, info, spec);
    png_write_info(png, info);
    int passes = png_set_interlace_handling(png);
    unsigned channels = png_get_channels(png, info);
    uint8_t *row = rd_mem_alloc_array(spec->width, channels * 2);
    assert_non_null(row);
    for (int pass = 0; pass < passes; pass++) {
        for (unsigned y = 0; y < spec->height; y++) {
            memset(row, 0, (size_t)spec->width * channels * 2);
            for (unsigned i = 0; i < spec->width * channels; i++) {
                unsigned value = sample_value(i / channels, y, i % channels, spec->depth);
                if (spec->colour == PNG_COLOR_TYPE_PALETTE) {
                    value %= (unsigned)spec->palette_count;
                }
                if (spec->depth == 16) {
                    row[2 * i] = (uint8_t)(value >> 8);
                    row[2 * i + 1] = (uint8_t)value;
                } else {
                    unsigned bit = i * (unsigned)spec->depth;
                    row[bit / 8] |= (uint8_t)(value << (8 - (unsigned)spec->depth - bit % 8));
                }
            }
            png_write_row(png, row);
        }
    }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    rd_mem_free(row);
    assert_int_equal(rd_buf_err(out), RD_OK);
}

uint32_t sample_crc(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < len * 8; i++) {
        crc ^= i % 8 == 0 ? p[i / 8] : 0;
        crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void put32(struct rd_buf *out, uint32_t value)
{
    uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                        (uint8_t)value};
    rd_buf_append(out, bytes, 4);
}

void sample_png_chunk(struct rd_buf *out, const char *type, const void *data, size_t len)
{
    put32(out, (uint32_t)len);
    size_t start = out->len;
    rd_buf_str(out, type);
    rd_buf_append(out, data, len);
    put32(out, sample_crc(out->data + start, out->len - start));
}

/* --- JPEG --- */

void sample_jpeg(const struct jpeg_spec *spec, struct rd_buf *out)
{
    struct jpeg_compress_struct codec;
    struct jpeg_error_mgr errors;
    codec.err = jpeg_std_error(&errors);
    jpeg_create_compress(&codec);
    unsigned char *memory = NULL;
    unsigned long len = 0;
    jpeg_mem_dest(&codec, &memory, &len);
    codec.image_width = spec->image->width;
    codec.image_height = spec->image->height;
    codec.input_components = spec->components;
    codec.in_color_space = spec->components == 1   ? JCS_GRAYSCALE
                           : spec->components == 3 ? JCS_RGB
                                                   : JCS_CMYK;
    jpeg_set_defaults(&codec);
    jpeg_set_quality(&codec, spec->quality, TRUE);
    codec.restart_interval = (unsigned)spec->restart;
    if (spec->components == 4) {
        codec.write_Adobe_marker = spec->adobe ? TRUE : FALSE;
    }
    if (spec->progressive) {
        jpeg_simple_progression(&codec);
    }
    jpeg_start_compress(&codec, TRUE);
    if (spec->app1 != NULL) {
        jpeg_write_marker(&codec, JPEG_APP0 + 1, spec->app1, (unsigned)spec->app1_len);
    }
    size_t stride = (size_t)spec->image->width * (size_t)spec->components;
    while (codec.next_scanline < codec.image_height) {
        JSAMPROW row = spec->image->pixels + codec.next_scanline * stride;
        assert_int_equal(jpeg_write_scanlines(&codec, &row, 1), 1);
    }
    jpeg_finish_compress(&codec);
    jpeg_destroy_compress(&codec);
    rd_buf_append(out, memory, len);
    free(memory);
    assert_int_equal(rd_buf_err(out), RD_OK);
}

size_t exif_block(uint8_t to[64], int big_endian, unsigned orientation)
{
    static const uint8_t big[] =
        "Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0";
    static const uint8_t little[] =
        "Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0\0\0\0\0";
    enum { LEN = 32, VALUE = 24 };
    memcpy(to, big_endian ? big : little, LEN);
    to[big_endian ? VALUE + 1 : VALUE] = (uint8_t)orientation;
    return LEN;
}

/* --- checking --- */

uint8_t *exact_copy(const void *bytes, size_t len)
{
    uint8_t *copy = malloc(len == 0 ? 1 : len);
    assert_non_null(copy);
    if (len > 0) {
        memcpy(copy, bytes, len);
    }
    return copy;
}

rd_err decode_exact(const void *bytes, size_t len, unsigned channels, struct rd_image *ret,
                    struct rd_why *why)
{
    uint8_t *copy = exact_copy(bytes, len);
    rd_err err = rd_image_decode(copy, len, channels, ret, why);
    free(copy);
    return err;
}

void check_prefixes(const struct rd_buf *file)
{
    struct rd_image_info whole;
    assert_int_equal(rd_image_probe(file->data, file->len, &whole, NULL), RD_OK);
    bool probed = false;
    for (size_t len = 0; len < file->len; len++) {
        uint8_t *copy = exact_copy(file->data, len);
        struct rd_image_info info;
        struct rd_why why = {""};
        rd_err err = rd_image_probe(copy, len, &info, &why);
        if (err == RD_OK) {
            assert_memory_equal(&info, &whole, sizeof info);
            probed = true;
        } else {
            assert_int_equal(err, RD_ERR_INVALID_REQUEST);
            assert_string_not_equal(why.text, "");
        }
        struct rd_image image;
        why.text[0] = '\0';
        err = rd_image_decode(copy, len, 3 + len % 2, &image, &why);
        free(copy);
        if (err != RD_ERR_INVALID_REQUEST) {
            fail_msg("%zu of %zu bytes: error %d", len, file->len, (int)err);
        }
        assert_string_not_equal(why.text, "");
    }
    assert_true(probed || whole.media == RD_MEDIA_WEBP);
}

void check_bit_flips(const struct rd_buf *file, unsigned stride)
{
    for (size_t bit = 0; bit < file->len * 8; bit += bit < 1024 ? 1 : stride) {
        uint8_t *copy = exact_copy(file->data, file->len);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct rd_image image;
        if (rd_image_decode(copy, file->len, 3 + bit % 2, &image, NULL) == RD_OK) {
            struct rd_image_info info;
            assert_int_equal(rd_image_probe(copy, file->len, &info, NULL), RD_OK);
            assert_int_equal(info.width, image.width);
            assert_int_equal(info.height, image.height);
            rd_image_done(&image);
        }
        free(copy);
    }
}

/* --- tools --- */

int tool_run(const char *const argv[], struct rd_buf *out)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO), 0);
    pid_t pid = -1;
    union {
        const char *const *given;
        char *const *wanted;
    } args = {argv};
    int failed = posix_spawnp(&pid, argv[0], &actions, NULL, args.wanted, environ);
    assert_int_equal(posix_spawn_file_actions_destroy(&actions), 0);
    assert_int_equal(close(ends[1]), 0);
    if (failed != 0) {
        assert_int_equal(failed, ENOENT);
        assert_int_equal(close(ends[0]), 0);
        return -1;
    }
    char chunk[4096];
    ssize_t got;
    while ((got = read(ends[0], chunk, sizeof chunk)) > 0) {
        rd_buf_append(out, chunk, (size_t)got);
    }
    assert_int_equal(close(ends[0]), 0);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

char *tool_file(const void *bytes, size_t len)
{
    char *path = rd_mem_strdup("/tmp/rd-media-test-XXXXXX");
    assert_non_null(path);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    assert_int_equal(close(fd), 0);
    return path;
}

void tool_file_done(char *path)
{
    assert_int_equal(unlink(path), 0);
    rd_mem_free(path);
}
