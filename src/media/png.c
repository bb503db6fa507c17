/* SPDX-License-Identifier: Apache-2.0
 *
 * PNG through libpng.
 *
 * Errors. libpng reports by calling back, and the callback must not return: ours keeps the text and
 * longjmps to the one setjmp of the call. Everything that must survive the jump lives in a struct
 * of the caller's frame, whose address libpng holds; no local variable changes between setjmp and
 * the jump, so none needs to be volatile. The caller frees afterwards, whichever way it came back.
 *
 * Reading is strict. Warnings and "benign" errors are errors: with the chunks that are read here
 * (the critical ones and tRNS) each means that data is missing, twice there or contradicts itself.
 * All other chunks (text, profiles, gamma, times) are stepped over unread: they change no pixel, as
 * pixels here are sRGB by definition, and they are where decompression bombs hide. Checksums of all
 * chunks must hold. The file must reach IEND; what follows IEND is ignored, as PNG defines its end.
 *
 * Any depth and colour type becomes 8-bit RGB or RGBA: tRNS expanded, gray tripled, 16 bits scaled
 * with rounding. Palettes are looked up here: libpng, when it does so, paints an index that lies
 * outside of the palette black and says nothing.
 *
 * Writing is for an answer that someone waits for, so the settings were chosen by measuring: the
 * "average" filter and run-length + Huffman coding, without the search for matches. On 1024 x 1024
 * pixels that took 26 ms where level 1 with matches took 38 to 48, and gave smaller files wherever
 * the picture has noise in it; flat areas still collapse, which Huffman alone would not do. No
 * ancillary chunk is written, so nothing depends on the time. */
#include "media/codec.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <png.h>

#include "base/limits.h"
#include "base/mem.h"

enum {
    CHUNK_BYTES_MAX = 8000000, /* one chunk other than IDAT; libpng's default, said aloud */
    CHUNKS_MAX = 1000,         /* ancillary chunks that libpng would keep */
    ENCODE_LEVEL = 1,
    ENCODE_RLE = 3,       /* zlib's Z_RLE; this one number is not worth another dependency */
    ENCODE_BUFFER = 65536 /* one IDAT chunk */
};

struct job {
    png_structp png;
    png_infop info;
    jmp_buf env;
    bool no_memory, warned;
    char message[128];

    const struct rd_media_input *input; /* reading */
    size_t at;
    bool indexed; /* rows come as palette indices */
    struct rd_image image;

    const struct rd_image *source; /* writing */
    struct rd_buf *out;
};

static void on_error(png_structp png, png_const_charp message)
{
    struct job *job = png_get_error_ptr(png);
    if (snprintf(job->message, sizeof job->message, "%s", message) < 0) {
        job->message[0] = '\0';
    }
    longjmp(job->env, 1);
}

/* Remembered, and an error at the end. Not at once: libpng does not expect to be left from here,
 * and would leak what it holds. */
static void on_warning(png_structp png, png_const_charp message)
{
    struct job *job = png_get_error_ptr(png);
    if (!job->warned && snprintf(job->message, sizeof job->message, "%s", message) >= 0) {
        job->warned = true;
    }
}

static png_voidp on_malloc(png_structp png, png_alloc_size_t size)
{
    struct job *job = png_get_mem_ptr(png);
    void *got = rd_mem_alloc(size);
    if (got == NULL) {
        job->no_memory = true;
    }
    return got;
}

static void on_free(png_structp png, png_voidp block)
{
    (void)png;
    rd_mem_free(block);
}

static void on_read(png_structp png, png_bytep to, size_t len)
{
    struct job *job = png_get_io_ptr(png);
    if (len > job->input->len - job->at) {
        png_error(png, "the file ends early");
    }
    memcpy(to, job->input->bytes + job->at, len);
    job->at += len;
}

static void on_write(png_structp png, png_bytep from, size_t len)
{
    struct job *job = png_get_io_ptr(png);
    rd_buf_append(job->out, from, len);
    if (job->out->err != RD_OK) {
        png_error(png, "the output buffer is full");
    }
}

static void on_flush(png_structp png)
{
    (void)png;
}

/* Everything that decides what is accepted, before the first byte is read. */
static void set_limits(struct job *job)
{
    png_structp png = job->png;
    png_set_benign_errors(png, 0);
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_user_limits(png, RD_LIMIT_IMAGE_SIDE, RD_LIMIT_IMAGE_SIDE);
    png_set_chunk_cache_max(png, CHUNKS_MAX);
    png_set_chunk_malloc_max(png, CHUNK_BYTES_MAX);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_read_fn(png, job, on_read);
}

/* Asks libpng for 8-bit RGB or RGBA and returns the channels that will come: 4 also when 3 are
 * wanted of a picture with transparency, which is then laid over white. */
static unsigned set_transforms(struct job *job)
{
    png_structp png = job->png;
    bool alpha = (png_get_color_type(png, job->info) & PNG_COLOR_MASK_ALPHA) != 0 ||
                 png_get_valid(png, job->info, PNG_INFO_tRNS) != 0;
    unsigned channels = alpha ? 4 : job->input->channels;
    job->indexed = png_get_color_type(png, job->info) == PNG_COLOR_TYPE_PALETTE;
    if (job->indexed) {
        png_set_packing(png); /* one byte an index */
        return channels;
    }
    png_set_expand(png);
    png_set_scale_16(png);
    png_set_gray_to_rgb(png);
    if (!alpha && channels == 4) {
        png_set_add_alpha(png, 0xff, PNG_FILLER_AFTER);
    }
    return channels;
}

/* Indices to colours, in place: the indices are the last bytes of the pixel memory, and pixel i of
 * n ends at (i + 1) * channels, which is not beyond index i + 1, at n * (channels - 1) + i + 1. */
static void look_up(struct job *job)
{
    png_colorp colours = NULL;
    png_bytep alphas = NULL;
    int colours_count = 0;
    int alphas_count = 0;
    (void)png_get_PLTE(job->png, job->info, &colours, &colours_count);
    (void)png_get_tRNS(job->png, job->info, &alphas, &alphas_count, NULL);
    unsigned channels = job->image.channels;
    size_t count = (size_t)job->image.width * job->image.height;
    const uint8_t *from = job->image.pixels + count * (channels - 1);
    uint8_t *to = job->image.pixels;
    for (size_t i = 0; i < count; i++, to += channels) {
        int index = from[i];
        if (index >= colours_count) {
            png_error(job->png, "a pixel's colour is not in the palette");
        }
        to[0] = colours[index].red;
        to[1] = colours[index].green;
        to[2] = colours[index].blue;
        if (channels == 4) {
            to[3] = index < alphas_count ? alphas[index] : 255;
        }
    }
}

static void read_rows(struct job *job, int passes, size_t stride)
{
    const struct rd_image *image = &job->image;
    size_t bytes = (size_t)image->width * image->height * image->channels;
    uint8_t *rows = image->pixels + (bytes - stride * image->height); /* see look_up */
    for (int pass = 0; pass < passes; pass++) {
        for (unsigned y = 0; y < image->height; y++) {
            png_read_row(job->png, rows + y * stride, NULL);
        }
    }
    png_read_end(job->png, NULL);
    if (job->warned) {
        longjmp(job->env, 1);
    }
    if (job->indexed) {
        look_up(job);
    }
}

static rd_err read_png(struct job *job)
{
    if (setjmp(job->env) != 0) {
        return RD_ERR_INVALID_REQUEST;
    }
    job->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, job, on_error, on_warning, job,
                                        on_malloc, on_free);
    job->info = job->png == NULL ? NULL : png_create_info_struct(job->png);
    if (job->info == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    set_limits(job);
    png_read_info(job->png, job->info);
    const struct rd_media_header *header = &job->input->header;
    if (png_get_image_width(job->png, job->info) != header->width ||
        png_get_image_height(job->png, job->info) != header->height) {
        png_error(job->png, "two sizes");
    }
    unsigned channels = set_transforms(job);
    int passes = png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    size_t stride = (size_t)header->width * (job->indexed ? 1 : channels);
    if (png_get_rowbytes(job->png, job->info) != stride) {
        png_error(job->png, "unexpected row size");
    }
    RD_TRY(rd_image_new(header->width, header->height, channels, &job->image));
    read_rows(job, passes, stride);
    return RD_OK;
}

rd_err rd_png_decode(const struct rd_media_input *input, struct rd_image *ret, struct rd_why *why)
{
    struct job job = {.input = input};
    rd_err err = read_png(&job);
    png_destroy_read_struct(&job.png, &job.info, NULL);
    if (err != RD_OK) {
        rd_image_done(&job.image);
        if (job.no_memory || err != RD_ERR_INVALID_REQUEST) {
            return rd_why_set(why, job.no_memory ? RD_ERR_NO_MEMORY : err,
                              "no memory for the picture");
        }
        return rd_why_set(why, err, "the PNG is damaged: %s", job.message);
    }
    if (input->channels == 3) {
        rd_image_flatten(&job.image);
    }
    *ret = job.image;
    return RD_OK;
}

static void write_rows(struct job *job)
{
    const struct rd_image *image = job->source;
    size_t stride = (size_t)image->width * image->channels;
    for (unsigned y = 0; y < image->height; y++) {
        png_write_row(job->png, image->pixels + y * stride);
    }
    png_write_end(job->png, job->info);
}

static rd_err write_png(struct job *job)
{
    if (setjmp(job->env) != 0) {
        return RD_ERR_INTERNAL;
    }
    job->png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, job, on_error, on_warning, job,
                                         on_malloc, on_free);
    job->info = job->png == NULL ? NULL : png_create_info_struct(job->png);
    if (job->info == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    png_set_user_limits(job->png, RD_LIMIT_IMAGE_SIDE, RD_LIMIT_IMAGE_SIDE);
    png_set_write_fn(job->png, job, on_write, on_flush);
    png_set_IHDR(job->png, job->info, job->source->width, job->source->height, 8,
                 job->source->channels == 4 ? PNG_COLOR_TYPE_RGB_ALPHA : PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_compression_level(job->png, ENCODE_LEVEL);
    png_set_compression_buffer_size(job->png, ENCODE_BUFFER);
    png_set_compression_strategy(job->png, ENCODE_RLE);
    png_set_filter(job->png, PNG_FILTER_TYPE_BASE, PNG_FILTER_AVG);
    png_write_info(job->png, job->info);
    write_rows(job);
    return RD_OK;
}

rd_err rd_png_encode(const struct rd_image *image, struct rd_buf *out)
{
    struct job job = {.source = image, .out = out};
    rd_err err = write_png(&job);
    png_destroy_write_struct(&job.png, &job.info);
    if (err == RD_OK) {
        return RD_OK;
    }
    RD_TRY(rd_buf_err(out));
    return job.no_memory ? RD_ERR_NO_MEMORY : err;
}
