/* SPDX-License-Identifier: Apache-2.0
 *
 * PNG, checked while it arrives. libpng's own reader for streams gathers every chunk other than
 * IDAT whole, up to megabytes; and a picture's filters cannot fail, so turning them back proves
 * nothing and costs. So this walks the chunks by hand and gives the IDATs to zlib: what holds here
 * is what libpng would read, and tests/fuzz/fuzz_check.c holds the two against each other.
 *
 *   signature, IHDR        probe.c reads them, as it does for every picture
 *   then chunks            u32 length | type | data | u32 CRC-32 of type and data    (big endian)
 *   acTL, fcTL, fdAT       refused: an APNG's other frames, which libpng skips and viewers show
 *   IDATs together         one zlib stream: for each row of each pass a filter byte, 0 to 4, and
 *                          the row; exactly as many bytes as the header's size needs
 *
 * Rows are not put together, with one exception: where a palette has fewer colours than indices are
 * possible, the filters are undone to see whether a pixel's index lies outside of it. */
#include "media/check_codec.h"

#include <string.h>

#include <zlib.h>

#include "base/mem.h"
#include "media/codec.h"

enum {
    HEADER = 33,      /* signature and IHDR */
    AROUND = 12,      /* a chunk's bytes beside its data */
    INFLATED = 16384, /* bytes at a time */
    PASSES = 7,
    COLOUR_PALETTE = 3
};

enum state { AT_HEADER, AT_CHUNK, AT_DATA, AT_CRC, AT_END };
enum kind { KIND_OTHER, KIND_PLTE, KIND_TRNS, KIND_IDAT, KIND_IEND };

struct png {
    struct rd_media_check check; /* first */
    enum state state;
    uint8_t small[HEADER]; /* gathered: the header, a chunk's head, its CRC */
    size_t small_len;
    enum kind kind;
    uint32_t left; /* bytes of the chunk's data to come */
    uint32_t crc;
    unsigned width, height, depth, colour, pixel_bits;
    bool interlaced, palette, trns, idat, idat_over;
    unsigned colours;
    /* the pixels */
    z_stream zlib;
    bool zlib_open, zlib_ended;
    unsigned pass, rows_left, row_pixels;
    size_t row_len, row_at; /* row_at 0: a filter byte is next */
    uint8_t filter;
    uint8_t *rows[2]; /* the row and the one above; NULL when indices need no look */
};

static rd_err bad(struct rd_why *why, const char *what)
{
    return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the PNG is damaged: %s", what);
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void *on_alloc(void *ctx, unsigned count, unsigned size)
{
    (void)ctx;
    return rd_mem_alloc_array(count, size);
}

static void on_free(void *ctx, void *block)
{
    (void)ctx;
    rd_mem_free(block);
}

/* ---- rows ---- */

/* On to the next pass that has pixels; false: that was the last. */
static bool next_pass(struct png *png)
{
    static const struct {
        uint8_t x, y, dx, dy;
    } adam7[PASSES] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                       {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
    png->rows_left = 0;
    for (; png->pass < PASSES; png->pass++) {
        unsigned x = adam7[png->pass].x;
        unsigned y = adam7[png->pass].y;
        if (!png->interlaced) {
            png->pass = PASSES - 1;
            png->row_pixels = png->width;
            png->rows_left = png->height;
        } else if (x < png->width && y < png->height) {
            png->row_pixels = (png->width - x - 1) / adam7[png->pass].dx + 1;
            png->rows_left = (png->height - y - 1) / adam7[png->pass].dy + 1;
        }
        if (png->rows_left > 0) {
            png->pass++;
            png->row_len = ((size_t)png->row_pixels * png->pixel_bits + 7) / 8;
            if (png->rows[0] != NULL) {
                memset(png->rows[1], 0, png->row_len); /* above a pass's first row is nothing */
            }
            return true;
        }
    }
    return false;
}

static uint8_t paeth(int left, int above, int corner)
{
    int to_left = above > corner ? above - corner : corner - above;
    int to_above = left > corner ? left - corner : corner - left;
    int to_corner = left + above - 2 * corner;
    to_corner = to_corner < 0 ? -to_corner : to_corner;
    return (uint8_t)(to_left <= to_above && to_left <= to_corner ? left
                     : to_above <= to_corner                     ? above
                                                                 : corner);
}

/* Of a row of indices: undoes its filter and looks at each. */
static bool indices_fit(struct png *png)
{
    uint8_t *row = png->rows[0];
    const uint8_t *above = png->rows[1];
    for (size_t i = 0; i < png->row_len && png->filter != 0; i++) {
        uint8_t left = i == 0 ? 0 : row[i - 1];
        uint8_t corner = i == 0 ? 0 : above[i - 1];
        const uint8_t from[5] = {0, left, above[i], (uint8_t)((left + above[i]) / 2),
                                 paeth(left, above[i], corner)};
        row[i] = (uint8_t)(row[i] + from[png->filter]);
    }
    unsigned mask = (1u << png->depth) - 1;
    bool fit = true;
    for (unsigned x = 0; x < png->row_pixels; x++) {
        unsigned bit = x * png->depth;
        fit = fit && (row[bit / 8] >> (8 - png->depth - bit % 8) & mask) < png->colours;
    }
    png->rows[0] = png->rows[1];
    png->rows[1] = row;
    return fit;
}

static rd_err take_pixels(struct png *png, const uint8_t *bytes, size_t len, struct rd_why *why)
{
    while (len > 0) {
        if (png->rows_left == 0 && !next_pass(png)) {
            return bad(why, "more pixels than its size has");
        }
        if (png->row_at == 0) {
            png->filter = *bytes;
            if (png->filter > 4) {
                return bad(why, "a row has no filter type");
            }
            bytes++;
            len--;
            png->row_at = 1;
            continue;
        }
        size_t left = png->row_len + 1 - png->row_at;
        size_t part = len < left ? len : left;
        if (png->rows[0] != NULL) {
            memcpy(png->rows[0] + png->row_at - 1, bytes, part);
        }
        bytes += part;
        len -= part;
        png->row_at += part;
        if (part == left) {
            png->row_at = 0;
            png->rows_left--;
            if (png->rows[0] != NULL && !indices_fit(png)) {
                return bad(why, "a pixel's colour is not in the palette");
            }
        }
    }
    return RD_OK;
}

static rd_err take_idat(struct png *png, const uint8_t *bytes, size_t len, struct rd_why *why)
{
    uint8_t out[INFLATED];
    if (png->zlib_ended) {
        return bad(why, "data follows the pixels");
    }
    png->zlib.next_in = (uint8_t *)(uintptr_t)bytes; /* zlib does not write there */
    png->zlib.avail_in = (unsigned)len;
    do {
        png->zlib.next_out = out;
        png->zlib.avail_out = sizeof out;
        int got = inflate(&png->zlib, Z_NO_FLUSH);
        if (got == Z_MEM_ERROR) {
            return rd_why_set(why, RD_ERR_NO_MEMORY, "no memory to check the PNG");
        }
        if (got != Z_OK && got != Z_STREAM_END && got != Z_BUF_ERROR) {
            return bad(why, png->zlib.msg == NULL ? "its pixels do not unpack" : png->zlib.msg);
        }
        RD_TRY(take_pixels(png, out, sizeof out - png->zlib.avail_out, why));
        if (got == Z_STREAM_END) {
            png->zlib_ended = true;
            return png->zlib.avail_in == 0 ? RD_OK : bad(why, "data follows the pixels");
        }
    } while (png->zlib.avail_out == 0 || png->zlib.avail_in > 0);
    return RD_OK;
}

/* ---- chunks ---- */

static rd_err take_header(struct png *png, struct rd_why *why)
{
    static const uint8_t channels[7] = {1, 0, 3, 1, 2, 0, 4};
    struct rd_media_header header;
    struct rd_why cause = {.text = ""};
    if (rd_media_header_read(png->small, HEADER, false, &header, &cause) != RD_OK) {
        return rd_why_set(why, RD_ERR_BACKEND_FAILED, "%s", cause.text);
    }
    RD_TRY(rd_media_check_size_is(&png->check, header.width, header.height, why));
    png->width = header.width;
    png->height = header.height;
    png->depth = png->small[24];
    png->colour = png->small[25];
    png->interlaced = png->small[28] != 0;
    png->pixel_bits = png->depth * channels[png->colour];
    png->state = AT_CHUNK;
    return RD_OK;
}

/* Before the first pixel: zlib's state, and two rows when indices must be looked at. */
static rd_err begin_pixels(struct png *png, struct rd_why *why)
{
    png->idat = true;
    png->zlib.zalloc = on_alloc;
    png->zlib.zfree = on_free;
    if (png->colour == COLOUR_PALETTE && !png->palette) {
        return bad(why, "no palette");
    }
    if (inflateInit2(&png->zlib, 0) != Z_OK) { /* 0: as large a window as the stream says */
        return rd_why_set(why, RD_ERR_NO_MEMORY, "no memory to check the PNG");
    }
    png->zlib_open = true;
    if (png->colour == COLOUR_PALETTE && png->colours < 1u << png->depth) {
        for (unsigned i = 0; i < 2; i++) {
            png->rows[i] = rd_mem_alloc((size_t)png->width + 1);
            if (png->rows[i] == NULL) {
                return rd_why_set(why, RD_ERR_NO_MEMORY, "no memory to check the PNG");
            }
        }
    }
    return RD_OK;
}

static rd_err check_palette(struct png *png, struct rd_why *why)
{
    unsigned most = png->colour == COLOUR_PALETTE ? 1u << png->depth : 256;
    png->colours = png->left / 3;
    if (png->palette || png->trns || png->idat || (png->colour & 2) == 0 || png->left % 3 != 0 ||
        png->colours == 0 || png->colours > most) {
        return bad(why, "its palette is malformed");
    }
    png->palette = true;
    return RD_OK;
}

static rd_err check_transparency(struct png *png, struct rd_why *why)
{
    bool fits = png->colour == 0   ? png->left == 2
                : png->colour == 2 ? png->left == 6
                : png->colour == COLOUR_PALETTE
                    ? png->palette && png->left > 0 && png->left <= png->colours
                    : false;
    if (png->trns || png->idat || !fits) {
        return bad(why, "its transparency is malformed");
    }
    png->trns = true;
    return RD_OK;
}

static rd_err check_pixels(struct png *png, struct rd_why *why)
{
    if (png->idat_over) {
        return bad(why, "its pixels are scattered");
    }
    return png->idat ? RD_OK : begin_pixels(png, why);
}

static rd_err check_end(struct png *png, struct rd_why *why)
{
    if (!png->zlib_ended || png->rows_left > 0 || next_pass(png)) {
        return bad(why, "pixels are missing");
    }
    return png->left == 0 ? RD_OK : bad(why, "its end is malformed");
}

static rd_err check_frames(struct png *png, struct rd_why *why)
{
    return rd_media_check_moves(&png->check, why);
}

/* The colour that is transparent, of 2 or 6 bytes, must be one that the depth has. */
static rd_err take_transparency(struct png *png, const uint8_t *bytes, size_t len,
                                struct rd_why *why)
{
    memcpy(png->small + png->small_len, bytes, len);
    png->small_len += len;
    bool fits = true;
    for (size_t i = 0; i + 1 < png->small_len; i += 2) {
        unsigned sample = (unsigned)png->small[i] << 8 | png->small[i + 1];
        fits = fits && sample >> png->depth == 0;
    }
    if (len == png->left) {
        png->small_len = 0;
    }
    return fits ? RD_OK : bad(why, "its transparency is malformed");
}

static bool type_is_sound(const uint8_t *type)
{
    for (int i = 0; i < 4; i++) {
        uint8_t upper = type[i] & 0xdf;
        if (upper < 'A' || upper > 'Z') {
            return false;
        }
    }
    return (type[2] & 0x20) == 0; /* reserved: upper case */
}

/* A chunk's length and type are there. */
static rd_err take_chunk(struct png *png, struct rd_why *why)
{
    static const struct {
        char type[5];
        enum kind kind;
        rd_err (*check)(struct png *png, struct rd_why *why);
    } known[] = {{"PLTE", KIND_PLTE, check_palette}, {"tRNS", KIND_TRNS, check_transparency},
                 {"IDAT", KIND_IDAT, check_pixels},  {"IEND", KIND_IEND, check_end},
                 {"acTL", KIND_OTHER, check_frames}, {"fcTL", KIND_OTHER, check_frames},
                 {"fdAT", KIND_OTHER, check_frames}};
    const uint8_t *type = png->small + 4;
    png->left = be32(png->small);
    png->crc = (uint32_t)crc32_z(0, type, 4);
    png->kind = KIND_OTHER;
    png->state = png->left == 0 ? AT_CRC : AT_DATA;
    bool idat = memcmp(type, "IDAT", 4) == 0;
    if (!type_is_sound(type) || png->left > INT32_MAX) {
        return bad(why, "a chunk is malformed");
    }
    png->idat_over = png->idat_over || (png->idat && !idat);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (memcmp(type, known[i].type, 4) == 0) {
            png->kind = known[i].kind;
            return known[i].check(png, why);
        }
    }
    return (type[0] & 0x20) != 0
               ? rd_media_check_beside(&png->check, (uint64_t)png->left + AROUND, why)
               : bad(why, "a chunk that must be understood is unknown");
}

static rd_err take_crc(struct png *png, struct rd_why *why)
{
    png->state = png->kind == KIND_IEND ? AT_END : AT_CHUNK;
    return be32(png->small) == png->crc ? RD_OK : bad(why, "a chunk fails its checksum");
}

/* Gathers what is looked at as a whole. */
static rd_err gather(struct png *png, const uint8_t **at, const uint8_t *end, struct rd_why *why)
{
    size_t need = png->state == AT_HEADER ? HEADER : png->state == AT_CHUNK ? 8 : 4;
    size_t part = (size_t)(end - *at);
    part = part < need - png->small_len ? part : need - png->small_len;
    memcpy(png->small + png->small_len, *at, part);
    *at += part;
    png->small_len += part;
    if (png->small_len < need) {
        return RD_OK;
    }
    png->small_len = 0;
    return png->state == AT_HEADER  ? take_header(png, why)
           : png->state == AT_CHUNK ? take_chunk(png, why)
                                    : take_crc(png, why);
}

static rd_err feed(struct rd_media_check *check, const uint8_t *bytes, size_t len,
                   struct rd_why *why)
{
    struct png *png = (struct png *)check;
    const uint8_t *end = bytes + len;
    while (bytes < end) {
        if (png->state == AT_END) {
            return bad(why, "bytes follow its end");
        }
        if (png->state != AT_DATA) {
            RD_TRY(gather(png, &bytes, end, why));
            continue;
        }
        size_t part = (size_t)(end - bytes) < png->left ? (size_t)(end - bytes) : png->left;
        png->crc = (uint32_t)crc32_z(png->crc, bytes, part);
        if (png->kind == KIND_IDAT) {
            RD_TRY(take_idat(png, bytes, part, why));
        }
        if (png->kind == KIND_TRNS && png->colour != COLOUR_PALETTE) {
            RD_TRY(take_transparency(png, bytes, part, why));
        }
        bytes += part;
        png->left -= (uint32_t)part;
        png->state = png->left == 0 ? AT_CRC : AT_DATA;
    }
    return RD_OK;
}

static rd_err finish(struct rd_media_check *check, struct rd_why *why)
{
    const struct png *png = (const struct png *)check;
    return png->state == AT_END ? RD_OK : bad(why, "it ends early");
}

static void png_free(struct rd_media_check *check)
{
    struct png *png = (struct png *)check;
    if (png->zlib_open) {
        (void)inflateEnd(&png->zlib);
    }
    rd_mem_free(png->rows[0]);
    rd_mem_free(png->rows[1]);
    rd_mem_free(png);
}

static rd_err png_open(const struct rd_media_expected *expected, struct rd_media_check **ret)
{
    struct png *png = rd_mem_alloc(sizeof *png);
    (void)expected;
    *ret = png == NULL ? NULL : &png->check;
    return png == NULL ? RD_ERR_NO_MEMORY : RD_OK;
}

const struct rd_media_check_ops rd_media_check_png = {
    .name = "PNG", .open = png_open, .feed = feed, .finish = finish, .free = png_free};
