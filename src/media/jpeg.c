/* SPDX-License-Identifier: Apache-2.0
 *
 * JPEG through libjpeg(-turbo).
 *
 * Errors leave by longjmp to the one setjmp of the call; jpeg_damage.h says what is one. As in
 * png.c, what must survive the jump lives in a struct of the caller's frame, and the caller
 * destroys the library's object afterwards either way. The end of the input before the end marker
 * is an error too (the library would invent the marker). What follows the end marker is ignored:
 * phones put previews and depth maps there. A JPEG carries no checksum: damage that decodes cleanly
 * cannot be noticed, here or anywhere. Of a progressive file the coefficients of the whole picture
 * are held: at most 8 bytes a pixel, so the pixel limit bounds them.
 *
 * CMYK: Adobe writes it inverted and marks the file; others do not. Both become RGB by the plain
 * product, without a colour profile.
 *
 * Writing: 4:4:4 from FULL_CHROMA_QUALITY up, where chroma subsampling would be the visible loss,
 * and 4:2:0 below; the accurate integer DCT, which is the same on every machine. */
#include "media/codec.h"

#include "base/mem.h"
#include "media/jpeg_damage.h"

enum {
    FULL_CHROMA_QUALITY = 90, /* of 1..100 */
    WRITE_CHUNK = 16384,      /* bytes; on the stack */
};

struct reader {
    struct jpeg_decompress_struct codec;
    struct rd_jpeg_damage errors;
    struct jpeg_source_mgr source;
    const struct rd_media_input *input;
    struct rd_image image;
    uint8_t *cmyk; /* one row */
};

struct writer {
    struct jpeg_compress_struct codec;
    struct rd_jpeg_damage errors;
    struct jpeg_destination_mgr target;
    struct rd_buf *out;
    /* The library writes here, and it goes on to `out` in whole chunks: it asks for a new chunk as
     * soon as one is full, even when nothing follows, so lending it `out` itself would need room to
     * spare. */
    JOCTET chunk[WRITE_CHUNK];
};

/* --- reading --- */

static void source_nothing(j_decompress_ptr codec)
{
    (void)codec;
}

/* The whole file is in the buffer from the start, so being asked for more means that it ends early.
 */
static boolean source_fill(j_decompress_ptr codec)
{
    struct reader *reader = codec->client_data;
    rd_jpeg_damage_give_up(&reader->errors, RD_ERR_INVALID_REQUEST, "the file ends early");
    return FALSE;
}

static void source_skip(j_decompress_ptr codec, long count)
{
    if (count <= 0) {
        return;
    }
    if ((size_t)count > codec->src->bytes_in_buffer) {
        (void)source_fill(codec);
    }
    codec->src->next_input_byte += count;
    codec->src->bytes_in_buffer -= (size_t)count;
}

static void cmyk_to_rgb(const struct reader *reader, uint8_t *to)
{
    const uint8_t *from = reader->cmyk;
    unsigned flip = reader->codec.saw_Adobe_marker ? 0 : 255; /* Adobe's are light, not ink */
    for (unsigned x = 0; x < reader->image.width; x++, from += 4, to += reader->image.channels) {
        unsigned k = from[3] ^ flip;
        for (int i = 0; i < 3; i++) {
            to[i] = (uint8_t)(((from[i] ^ flip) * k + 127) / 255);
        }
        if (reader->image.channels == 4) {
            to[3] = 255;
        }
    }
}

static void read_rows(struct reader *reader)
{
    j_decompress_ptr codec = &reader->codec;
    size_t stride = (size_t)reader->image.width * reader->image.channels;
    while (codec->output_scanline < codec->output_height) {
        uint8_t *row = reader->image.pixels + codec->output_scanline * stride;
        JSAMPROW target = reader->cmyk == NULL ? row : reader->cmyk;
        (void)jpeg_read_scanlines(codec, &target, 1); /* never suspends: see source_fill */
        if (reader->cmyk != NULL) {
            cmyk_to_rgb(reader, row);
        }
    }
    rd_jpeg_damage_complete(&reader->errors, codec);
    (void)jpeg_finish_decompress(codec); /* reads up to the end marker */
}

static void reader_start(struct reader *reader)
{
    j_decompress_ptr codec = &reader->codec;
    codec->err = rd_jpeg_damage_init(&reader->errors);
    codec->client_data = reader;
    jpeg_create_decompress(codec);
    codec->mem->max_memory_to_use =
        0; /* the pixel limit bounds it, not the environment's JPEGMEM */
    reader->source = (struct jpeg_source_mgr){
        .next_input_byte = reader->input->bytes,
        .bytes_in_buffer = reader->input->len,
        .init_source = source_nothing,
        .fill_input_buffer = source_fill,
        .skip_input_data = source_skip,
        .resync_to_restart = jpeg_resync_to_restart,
        .term_source = source_nothing,
    };
    codec->src = &reader->source;
    rd_jpeg_damage_watch(&reader->errors, codec);
}

static rd_err read_jpeg(struct reader *reader)
{
    j_decompress_ptr codec = &reader->codec;
    const struct rd_media_header *header = &reader->input->header;
    if (setjmp(reader->errors.env) != 0) {
        return reader->errors.err;
    }
    reader_start(reader);
    (void)jpeg_read_header(codec, TRUE);
    if (codec->image_width != header->width || codec->image_height != header->height) {
        rd_jpeg_damage_give_up(&reader->errors, RD_ERR_INVALID_REQUEST, "two sizes");
    }
    bool cmyk = codec->num_components == 4;
    codec->out_color_space = cmyk                           ? JCS_CMYK
                             : reader->input->channels == 4 ? JCS_EXT_RGBA
                                                            : JCS_RGB;
    codec->dct_method = JDCT_ISLOW;
    (void)jpeg_start_decompress(codec);
    RD_TRY(rd_image_new(header->width, header->height, reader->input->channels, &reader->image));
    if (cmyk) {
        reader->cmyk = rd_mem_alloc_array(header->width, 4);
        if (reader->cmyk == NULL) {
            return RD_ERR_NO_MEMORY;
        }
    }
    read_rows(reader);
    return RD_OK;
}

rd_err rd_jpeg_decode(const struct rd_media_input *input, struct rd_image *ret, struct rd_why *why)
{
    struct reader reader = {.input = input};
    rd_err err = read_jpeg(&reader);
    jpeg_destroy_decompress(&reader.codec);
    rd_mem_free(reader.cmyk);
    if (err != RD_OK) {
        rd_image_done(&reader.image);
        if (err != RD_ERR_INVALID_REQUEST) {
            return rd_why_set(why, err, "no memory for the picture");
        }
        return rd_why_set(why, err, "the JPEG is damaged: %s", reader.errors.message);
    }
    *ret = reader.image;
    return RD_OK;
}

/* --- writing --- */

static void target_flush(struct writer *writer, size_t count)
{
    rd_buf_append(writer->out, writer->chunk, count);
    if (writer->out->err != RD_OK) {
        rd_jpeg_damage_give_up(&writer->errors, writer->out->err, NULL);
    }
    writer->target.next_output_byte = writer->chunk;
    writer->target.free_in_buffer = sizeof writer->chunk;
}

static void target_init(j_compress_ptr codec)
{
    target_flush(codec->client_data, 0);
}

static boolean target_full(j_compress_ptr codec)
{
    struct writer *writer = codec->client_data;
    target_flush(writer, sizeof writer->chunk); /* the library means: all of it was used */
    return TRUE;
}

static void target_done(j_compress_ptr codec)
{
    struct writer *writer = codec->client_data;
    target_flush(writer, sizeof writer->chunk - writer->target.free_in_buffer);
}

static void write_rows(struct writer *writer, const struct rd_image *image)
{
    size_t stride = (size_t)image->width * 3;
    while (writer->codec.next_scanline < writer->codec.image_height) {
        JSAMPROW row = image->pixels + writer->codec.next_scanline * stride;
        (void)jpeg_write_scanlines(&writer->codec, &row, 1);
    }
    jpeg_finish_compress(&writer->codec);
}

static rd_err write_jpeg(struct writer *writer, const struct rd_image *image, int quality)
{
    j_compress_ptr codec = &writer->codec;
    if (setjmp(writer->errors.env) != 0) {
        return writer->errors.err == RD_ERR_INVALID_REQUEST ? RD_ERR_INTERNAL : writer->errors.err;
    }
    codec->err = rd_jpeg_damage_init(&writer->errors);
    codec->client_data = writer;
    jpeg_create_compress(codec);
    codec->mem->max_memory_to_use = 0;
    writer->target = (struct jpeg_destination_mgr){
        .init_destination = target_init,
        .empty_output_buffer = target_full,
        .term_destination = target_done,
    };
    codec->dest = &writer->target;
    codec->image_width = image->width;
    codec->image_height = image->height;
    codec->input_components = 3;
    codec->in_color_space = JCS_RGB;
    jpeg_set_defaults(codec);
    jpeg_set_quality(codec, quality, TRUE);
    codec->dct_method = JDCT_ISLOW;
    int subsampling = quality >= FULL_CHROMA_QUALITY ? 1 : 2;
    codec->comp_info[0].h_samp_factor = subsampling;
    codec->comp_info[0].v_samp_factor = subsampling;
    jpeg_start_compress(codec, TRUE);
    write_rows(writer, image);
    return RD_OK;
}

rd_err rd_jpeg_encode(const struct rd_image *image, int quality, struct rd_buf *out)
{
    struct writer writer = {.out = out};
    rd_err err = write_jpeg(&writer, image, quality);
    jpeg_destroy_compress(&writer.codec);
    return err;
}
