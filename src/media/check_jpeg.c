/* SPDX-License-Identifier: Apache-2.0
 *
 * JPEG, checked while it arrives: libjpeg with a source that suspends. What it has not used yet is
 * kept and given again with the next bytes; that is a marker's segment at most, 64 KiB. It begins
 * that segment from the front each time, so it is asked only when AGAIN more bytes are there.
 *
 * The output is an eighth of the size in each direction and in the file's own colours, so that no
 * transform of any size is computed: of each 8 x 8 block only the first coefficient is used. All
 * the others are still read, code by code, which is where damage is. */
#include "media/check_codec.h"

#include <string.h>

#include "base/mem.h"
#include "media/jpeg_damage.h"

enum {
    PIECE = 16384,
    AGAIN = 4096,
    KEPT_MAX = 65536 + AGAIN + PIECE, /* a segment, what it was not asked for yet, and a piece */
    COMPONENTS_MAX = 4,
    SHRINK = 8,
};

enum stage { IN_HEADER, IN_SCANS, IN_ROWS, IN_TAIL, AT_END };

struct jpeg {
    struct rd_media_check check; /* first */
    struct jpeg_decompress_struct codec;
    struct rd_jpeg_damage damage;
    struct jpeg_source_mgr source;
    enum stage stage;
    size_t skip; /* bytes to come that nobody looks at */
    rd_err skipped;
    uint8_t *row;
    struct rd_why *why;         /* of the call */
    size_t kept_len, asked_len; /* of it, what libjpeg has seen and not used */
    uint8_t kept[KEPT_MAX];
};

static void source_nothing(j_decompress_ptr codec)
{
    (void)codec;
}

static boolean source_suspend(j_decompress_ptr codec)
{
    (void)codec;
    return FALSE;
}

static void source_skip(j_decompress_ptr codec, long count)
{
    struct jpeg *jpeg = codec->client_data;
    size_t there = jpeg->source.bytes_in_buffer;
    size_t now = count <= 0 ? 0 : (size_t)count < there ? (size_t)count : there;
    jpeg->source.next_input_byte += now;
    jpeg->source.bytes_in_buffer -= now;
    jpeg->skip = count <= 0 ? 0 : (size_t)count - now;
    if (count > 0 && jpeg->skipped == RD_OK) {
        jpeg->skipped = rd_media_check_beside(&jpeg->check, (uint64_t)count, jpeg->why);
    }
}

/* The header is read: is it what was asked for? */
static rd_err begin(struct jpeg *jpeg)
{
    j_decompress_ptr codec = &jpeg->codec;
    RD_TRY(
        rd_media_check_size_is(&jpeg->check, codec->image_width, codec->image_height, jpeg->why));
    if (codec->arith_code || codec->data_precision != 8 || codec->num_components > COMPONENTS_MAX ||
        codec->num_components == 2) {
        return rd_why_set(jpeg->why, RD_ERR_BACKEND_FAILED,
                          "the JPEG is of a kind that few programs read: arithmetic coding, not 8 "
                          "bits, or two colours");
    }
    codec->scale_num = 1;
    codec->scale_denom = SHRINK;
    codec->out_color_space = codec->jpeg_color_space;
    codec->do_block_smoothing = FALSE;
    codec->do_fancy_upsampling = FALSE;
    jpeg->row = rd_mem_alloc(((size_t)codec->image_width / SHRINK + 1) * COMPONENTS_MAX);
    return jpeg->row == NULL ? RD_ERR_NO_MEMORY : RD_OK;
}

/* As far as the bytes at hand go. */
static rd_err go_on(struct jpeg *jpeg)
{
    j_decompress_ptr codec = &jpeg->codec;
    if (setjmp(jpeg->damage.env) != 0) {
        return jpeg->damage.err == RD_ERR_NO_MEMORY
                   ? RD_ERR_NO_MEMORY
                   : rd_why_set(jpeg->why, RD_ERR_BACKEND_FAILED, "the JPEG is damaged: %s",
                                jpeg->damage.message);
    }
    if (jpeg->stage == IN_HEADER) {
        if (jpeg_read_header(codec, TRUE) == JPEG_SUSPENDED) {
            return RD_OK;
        }
        RD_TRY(begin(jpeg));
        jpeg->stage = IN_SCANS;
    }
    if (jpeg->stage == IN_SCANS) {
        if (!jpeg_start_decompress(codec)) {
            return RD_OK;
        }
        jpeg->stage = IN_ROWS;
    }
    while (jpeg->stage == IN_ROWS && codec->output_scanline < codec->output_height) {
        JSAMPROW row = jpeg->row;
        if (jpeg_read_scanlines(codec, &row, 1) == 0) {
            return RD_OK;
        }
    }
    if (jpeg->stage == IN_ROWS) {
        rd_jpeg_damage_complete(&jpeg->damage, codec);
        jpeg->stage = IN_TAIL;
    }
    if (jpeg->stage == IN_TAIL && jpeg_finish_decompress(codec)) {
        jpeg->stage = AT_END;
    }
    return RD_OK;
}

static rd_err ask(struct jpeg *jpeg)
{
    jpeg->source.next_input_byte = jpeg->kept;
    jpeg->source.bytes_in_buffer = jpeg->kept_len;
    rd_err err = go_on(jpeg);
    RD_TRY(jpeg->skipped); /* sure, whatever came of the rest */
    RD_TRY(err);
    jpeg->kept_len = jpeg->source.bytes_in_buffer;
    jpeg->asked_len = jpeg->kept_len;
    memmove(jpeg->kept, jpeg->source.next_input_byte, jpeg->kept_len);
    return jpeg->stage == AT_END && jpeg->kept_len > 0
               ? rd_why_set(jpeg->why, RD_ERR_BACKEND_FAILED, "bytes follow the JPEG's end")
               : RD_OK;
}

static rd_err feed(struct rd_media_check *check, const uint8_t *bytes, size_t len,
                   struct rd_why *why)
{
    struct jpeg *jpeg = (struct jpeg *)check;
    jpeg->why = why;
    while (len > 0) {
        if (jpeg->stage == AT_END) {
            return rd_why_set(why, RD_ERR_BACKEND_FAILED, "bytes follow the JPEG's end");
        }
        size_t skip = len < jpeg->skip ? len : jpeg->skip;
        jpeg->skip -= skip;
        bytes += skip;
        len -= skip;
        size_t part = len < PIECE ? len : PIECE;
        if (part > KEPT_MAX - jpeg->kept_len) {
            return rd_why_set(why, RD_ERR_BACKEND_FAILED,
                              "the JPEG is damaged: a segment is over "
                              "its end");
        }
        memcpy(jpeg->kept + jpeg->kept_len, bytes, part);
        jpeg->kept_len += part;
        if (jpeg->kept_len - jpeg->asked_len >= AGAIN) {
            RD_TRY(ask(jpeg));
        }
        bytes += part;
        len -= part;
    }
    return RD_OK;
}

static rd_err finish(struct rd_media_check *check, struct rd_why *why)
{
    struct jpeg *jpeg = (struct jpeg *)check;
    jpeg->why = why;
    if (jpeg->kept_len > jpeg->asked_len) {
        RD_TRY(ask(jpeg));
    }
    return jpeg->stage == AT_END
               ? RD_OK
               : rd_why_set(why, RD_ERR_BACKEND_FAILED, "the JPEG is damaged: it ends early");
}

static void jpeg_free(struct rd_media_check *check)
{
    struct jpeg *jpeg = (struct jpeg *)check;
    jpeg_destroy_decompress(&jpeg->codec);
    rd_mem_free(jpeg->row);
    rd_mem_free(jpeg);
}

static rd_err jpeg_open(const struct rd_media_expected *expected, struct rd_media_check **ret)
{
    struct jpeg *jpeg = rd_mem_alloc(sizeof *jpeg);
    (void)expected;
    if (jpeg == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    jpeg->codec.err = rd_jpeg_damage_init(&jpeg->damage);
    if (setjmp(jpeg->damage.env) != 0) {
        jpeg_free(&jpeg->check);
        return RD_ERR_NO_MEMORY;
    }
    jpeg_create_decompress(&jpeg->codec);
    jpeg->codec.client_data = jpeg;
    jpeg->codec.mem->max_memory_to_use = 0; /* as jpeg.c */
    jpeg->source = (struct jpeg_source_mgr){
        .init_source = source_nothing,
        .fill_input_buffer = source_suspend,
        .skip_input_data = source_skip,
        .resync_to_restart = jpeg_resync_to_restart,
        .term_source = source_nothing,
    };
    jpeg->codec.src = &jpeg->source;
    rd_jpeg_damage_watch(&jpeg->damage, &jpeg->codec);
    *ret = &jpeg->check;
    return RD_OK;
}

const struct rd_media_check_ops rd_media_check_jpeg = {
    .name = "JPEG", .open = jpeg_open, .feed = feed, .finish = finish, .free = jpeg_free};
