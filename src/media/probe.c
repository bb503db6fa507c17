/* SPDX-License-Identifier: Apache-2.0
 *
 * What a picture says about itself, read by hand from its first bytes. Nothing is decoded and no
 * library is asked, because this runs on whatever a stranger sends, and before any memory is taken.
 *
 *   PNG   8 bytes signature | u32 13 | "IHDR" | u32 width | u32 height | depth, colour, 0, 0,
 *         interlace | u32 crc                                                   (big endian)
 *   JPEG  FFD8, then segments FF marker u16 length ...; SOFn holds u8 precision, u16 height,
 *         u16 width, u8 components. Before it an APP1 "Exif" may hold the orientation: a TIFF
 *         header, then IFD0 with entries of 12 bytes; tag 0x0112.               (big endian)
 *   WebP  "RIFF" u32 size "WEBP", then chunks: tag, u32 size, data, padded to even. The first is
 *         "VP8 " (key frame header), "VP8L" or "VP8X" (canvas size and flags); after VP8X come
 *         others, and among them the picture, whose size must be the canvas's.  (little endian)
 *
 * Decisions. Strict: a size that the format allows but no decoder here takes (arithmetic or
 * lossless or 12-bit JPEG, a JPEG whose height comes later in DNL) is refused here, with a reason.
 * Animated WebP is refused: it holds no still picture, and its first frame would be a guess at what
 * was meant; an APNG is taken, since a PNG's IDAT is its still picture by definition. Only an EXIF
 * block in front of the frame header counts, so that probing needs no more bytes than finding the
 * size does; a broken EXIF block means "as stored", as everywhere else. Every read is preceded by
 * its bounds check against the bytes at hand; every loop step moves forward. */
#include "media/codec.h"

#include <string.h>

#include "base/limits.h"

struct span {
    const uint8_t *at;
    size_t len;
};

static uint32_t be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t be32(const uint8_t *p)
{
    return be16(p) << 16 | be16(p + 2);
}

static uint32_t le16(const uint8_t *p)
{
    return (uint32_t)p[1] << 8 | p[0];
}

static uint32_t le24(const uint8_t *p)
{
    return (uint32_t)p[2] << 16 | le16(p);
}

static uint32_t le32(const uint8_t *p)
{
    return le16(p + 2) << 16 | le16(p);
}

rd_err rd_media_check_size(unsigned width, unsigned height, struct rd_why *why)
{
    if (width == 0 || height == 0) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the picture is %u x %u pixels", width,
                          height);
    }
    if (width > RD_LIMIT_IMAGE_SIDE || height > RD_LIMIT_IMAGE_SIDE) {
        return rd_why_set(why, RD_ERR_TOO_LARGE,
                          "the picture is %u x %u pixels; a side may have %d at most", width,
                          height, RD_LIMIT_IMAGE_SIDE);
    }
    if ((uint64_t)width * height > RD_LIMIT_IMAGE_PIXELS) {
        return rd_why_set(why, RD_ERR_TOO_LARGE, "the picture is %u x %u pixels; %u in all at most",
                          width, height, RD_LIMIT_IMAGE_PIXELS);
    }
    return RD_OK;
}

bool rd_media_is_turned(unsigned orientation)
{
    return orientation >= 5 && orientation <= 8;
}

static rd_err truncated(struct rd_why *why, const char *kind)
{
    return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the %s ends before its header does", kind);
}

/* --- PNG --- */

enum { PNG_HEADER_LEN = 33 };

static const uint8_t png_start[16] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n',
                                      0,    0,   0,   13,  'I',  'H',  'D',  'R'};

/* CRC-32 of the few bytes of IHDR, bit by bit: no table and no zlib for 17 bytes. */
static uint32_t crc32_small(const uint8_t *bytes, size_t len)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

static bool png_depth_ok(unsigned colour, unsigned depth)
{
    /* bit d is set where depth d goes with the colour type */
    static const uint32_t depths[7] = {
        [0] = 1u << 1 | 1u << 2 | 1u << 4 | 1u << 8 | 1u << 16,
        [2] = 1u << 8 | 1u << 16,
        [3] = 1u << 1 | 1u << 2 | 1u << 4 | 1u << 8,
        [4] = 1u << 8 | 1u << 16,
        [6] = 1u << 8 | 1u << 16,
    };
    return colour < 7 && depth <= 16 && (depths[colour] >> depth & 1u) != 0;
}

static rd_err png_header(struct span in, struct rd_media_header *ret, struct rd_why *why)
{
    if (in.len < PNG_HEADER_LEN) {
        return truncated(why, "PNG");
    }
    const uint8_t *ihdr = in.at + sizeof png_start;
    if (memcmp(in.at, png_start, sizeof png_start) != 0) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the PNG does not begin with an IHDR");
    }
    if (crc32_small(ihdr - 4, 17) != be32(ihdr + 13)) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the PNG's header fails its checksum");
    }
    if (!png_depth_ok(ihdr[9], ihdr[8]) || ihdr[10] != 0 || ihdr[11] != 0 || ihdr[12] > 1) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST,
                          "the PNG's header has depth %u, colour %u, methods %u %u %u", ihdr[8],
                          ihdr[9], ihdr[10], ihdr[11], ihdr[12]);
    }
    *ret = (struct rd_media_header){RD_MEDIA_PNG, be32(ihdr), be32(ihdr + 4), 1};
    return RD_OK;
}

/* --- JPEG --- */

enum {
    JPEG_SOF0 = 0xc0, /* baseline */
    JPEG_SOF2 = 0xc2, /* progressive */
    JPEG_DHT = 0xc4,
    JPEG_JPG = 0xc8,
    JPEG_DAC = 0xcc,
    JPEG_SOF15 = 0xcf,
    JPEG_RST0 = 0xd0,
    JPEG_SOS = 0xda, /* RST0..7, SOI, EOI, SOS: none of them may come before the frame header */
    JPEG_APP1 = 0xe1,
};

/* The value of a TIFF field: the block's byte order is in its first byte, 'I' or 'M'. */
static uint32_t tiff(const struct span *block, size_t at, int width)
{
    bool little = block->at[0] == 'I';
    const uint8_t *p = block->at + at;
    if (width == 2) {
        return little ? le16(p) : be16(p);
    }
    return little ? le32(p) : be32(p);
}

/* The orientation in an APP1 segment; 1 when it holds none, or none that makes sense. */
static unsigned exif_orientation(struct span segment)
{
    enum { TIFF_HEADER = 8, ENTRY = 12, TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3 };
    static const uint8_t magic[6] = {'E', 'x', 'i', 'f', 0, 0};
    if (segment.len < sizeof magic + TIFF_HEADER || memcmp(segment.at, magic, sizeof magic) != 0) {
        return 0;
    }
    struct span block = {segment.at + sizeof magic, segment.len - sizeof magic};
    if ((memcmp(block.at, "II", 2) != 0 && memcmp(block.at, "MM", 2) != 0) ||
        tiff(&block, 2, 2) != 42) {
        return 1;
    }
    size_t ifd = tiff(&block, 4, 4);
    if (ifd > block.len - 2) {
        return 1;
    }
    size_t count = tiff(&block, ifd, 2);
    size_t room = (block.len - ifd - 2) / ENTRY;
    for (size_t i = 0; i < count && i < room; i++) {
        size_t entry = ifd + 2 + i * ENTRY;
        if (tiff(&block, entry, 2) != TAG_ORIENTATION) {
            continue;
        }
        uint32_t value = tiff(&block, entry + 8, 2);
        bool right = tiff(&block, entry + 2, 2) == TYPE_SHORT && tiff(&block, entry + 4, 4) == 1;
        return right && value >= 1 && value <= 8 ? value : 1;
    }
    return 1;
}

static rd_err jpeg_frame(struct span segment, unsigned marker, struct rd_media_header *ret,
                         struct rd_why *why)
{
    if (segment.len < 6 || segment.len != 6u + 3u * segment.at[5]) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the JPEG's frame header is malformed");
    }
    unsigned components = segment.at[5];
    if (marker > JPEG_SOF2 || segment.at[0] != 8) {
        return rd_why_set(
            why, RD_ERR_INVALID_REQUEST,
            "the JPEG is of a kind that is not taken (SOF%u, %u bits); send a baseline "
            "or progressive one with 8 bits",
            marker - JPEG_SOF0, segment.at[0]);
    }
    if (components != 1 && components != 3 && components != 4) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the JPEG has %u components", components);
    }
    ret->media = RD_MEDIA_JPEG;
    ret->height = be16(segment.at + 1);
    ret->width = be16(segment.at + 3);
    return RD_OK;
}

static bool is_frame_header(unsigned marker)
{
    return marker >= JPEG_SOF0 && marker <= JPEG_SOF15 && marker != JPEG_DHT &&
           marker != JPEG_JPG && marker != JPEG_DAC;
}

static rd_err jpeg_header(struct span in, struct rd_media_header *ret, struct rd_why *why)
{
    unsigned orientation = 0; /* 0: no EXIF block yet; the first one counts */
    size_t at = 2;
    while (at < in.len) {
        if (in.at[at] != 0xff) {
            return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the JPEG has no marker at byte %zu",
                              at);
        }
        while (at < in.len && in.at[at] == 0xff) { /* a marker may be led by any number of FFs */
            at++;
        }
        if (at >= in.len || in.len - at < 3) {
            break;
        }
        unsigned marker = in.at[at];
        size_t length = be16(in.at + at + 1);
        if (marker < JPEG_SOF0 || (marker >= JPEG_RST0 && marker <= JPEG_SOS) || length < 2) {
            return rd_why_set(why, RD_ERR_INVALID_REQUEST,
                              "the JPEG has marker 0x%02x in front of its frame header", marker);
        }
        if (length > in.len - at - 1) {
            break;
        }
        struct span segment = {in.at + at + 3, length - 2};
        if (is_frame_header(marker)) {
            struct rd_media_header header = {.orientation = orientation == 0 ? 1 : orientation};
            RD_TRY(jpeg_frame(segment, marker, &header, why));
            *ret = header;
            return RD_OK;
        }
        if (marker == JPEG_APP1 && orientation == 0) {
            orientation = exif_orientation(segment);
        }
        at += 1 + length;
    }
    return truncated(why, "JPEG");
}

/* --- WebP --- */

enum { RIFF_HEADER = 12, CHUNK_HEADER = 8, VP8L_MIN = 5, VP8X_LEN = 10, VP8X_ANIMATED = 0x02 };

/* The size in the picture chunk `tag`; false when the chunk's first bytes are not what they must
 * be. */
static bool webp_frame(const uint8_t *tag, struct span data, struct rd_media_header *ret)
{
    if (memcmp(tag, "VP8 ", 4) == 0) {
        /* 3 bytes of frame tag, whose lowest bit is 0 in a key frame; a start code; 2 x 14 bits */
        if (data.len < 10 || (data.at[0] & 1) != 0 || memcmp(data.at + 3, "\x9d\x01\x2a", 3) != 0) {
            return false;
        }
        ret->width = le16(data.at + 6) & 0x3fff;
        ret->height = le16(data.at + 8) & 0x3fff;
        return true;
    }
    if (data.len < VP8L_MIN || data.at[0] != 0x2f ||
        data.at[4] >> 5 != 0) { /* signature; version 0 */
        return false;
    }
    uint32_t bits = le32(data.at + 1);
    ret->width = (bits & 0x3fff) + 1;
    ret->height = (bits >> 14 & 0x3fff) + 1;
    return true;
}

/* Behind VP8X: walks to the picture chunk and compares. `in` ends where the RIFF does or where the
 * bytes at hand do; in the second case, unless `whole`, the canvas's word has to do. */
static rd_err webp_find_frame(struct span in, bool whole, const struct rd_media_header *canvas,
                              struct rd_why *why)
{
    size_t at = RIFF_HEADER + CHUNK_HEADER + VP8X_LEN;
    while (in.len - at >= CHUNK_HEADER) {
        const uint8_t *tag = in.at + at;
        size_t size = le32(tag + 4);
        size_t room = in.len - at - CHUNK_HEADER;
        if (memcmp(tag, "VP8 ", 4) == 0 || memcmp(tag, "VP8L", 4) == 0) {
            struct rd_media_header frame = *canvas;
            struct span data = {tag + CHUNK_HEADER, size < room ? size : room};
            bool read = webp_frame(tag, data, &frame);
            if (!read && !whole && room < 10) {
                return RD_OK;
            }
            if (!read || frame.width != canvas->width || frame.height != canvas->height) {
                return rd_why_set(why, RD_ERR_INVALID_REQUEST,
                                  "the WebP's picture is not of the size that its header claims");
            }
            return RD_OK;
        }
        if (memcmp(tag, "ANIM", 4) == 0 || memcmp(tag, "ANMF", 4) == 0) {
            return rd_why_set(why, RD_ERR_INVALID_REQUEST, "an animated WebP is not taken");
        }
        size_t padded = size + (size & 1); /* size < 2^32, size_t has 64 bits */
        if (padded > room) {
            break;
        }
        at += CHUNK_HEADER + padded;
    }
    return whole ? rd_why_set(why, RD_ERR_INVALID_REQUEST, "the WebP holds no picture") : RD_OK;
}

static rd_err webp_header(struct span in, bool whole, struct rd_media_header *ret,
                          struct rd_why *why)
{
    if (in.len < RIFF_HEADER + CHUNK_HEADER + VP8L_MIN) {
        return truncated(why, "WebP");
    }
    size_t riff = le32(in.at + 4); /* counts from byte 8 */
    if (whole && riff > in.len - 8) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the WebP is %zu bytes long and claims %zu",
                          in.len, riff + 8);
    }
    const uint8_t *tag = in.at + RIFF_HEADER;
    size_t size = le32(tag + 4);
    size_t room = in.len - RIFF_HEADER - CHUNK_HEADER;
    if (riff < RIFF_HEADER - 8 + CHUNK_HEADER || size > riff - (RIFF_HEADER - 8 + CHUNK_HEADER)) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the WebP's first chunk is over its end");
    }
    struct rd_media_header header = {.media = RD_MEDIA_WEBP, .orientation = 1};
    struct span data = {tag + CHUNK_HEADER, size < room ? size : room};
    if (memcmp(tag, "VP8X", 4) != 0) {
        bool known = memcmp(tag, "VP8 ", 4) == 0 || memcmp(tag, "VP8L", 4) == 0;
        if (!known || !webp_frame(tag, data, &header)) {
            return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the WebP's first chunk is malformed");
        }
        *ret = header;
        return RD_OK;
    }
    if (size != VP8X_LEN || data.len != VP8X_LEN) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the WebP's VP8X chunk is malformed");
    }
    if ((data.at[0] & VP8X_ANIMATED) != 0) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "an animated WebP is not taken");
    }
    header.width = le24(data.at + 4) + 1;
    header.height = le24(data.at + 7) + 1;
    if (riff + 8 < in.len) {
        in.len = riff + 8;
    }
    RD_TRY(webp_find_frame(in, whole || riff + 8 <= in.len, &header, why));
    *ret = header;
    return RD_OK;
}

/* --- all three --- */

rd_err rd_media_header_read(const uint8_t *bytes, size_t len, bool whole,
                            struct rd_media_header *ret, struct rd_why *why)
{
    struct span in = {bytes, len};
    struct rd_media_header header;
    if (len >= 8 && memcmp(bytes, png_start, 8) == 0) {
        RD_TRY(png_header(in, &header, why));
    } else if (len >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0) {
        RD_TRY(jpeg_header(in, &header, why));
    } else if (len >= RIFF_HEADER && memcmp(bytes, "RIFF", 4) == 0 &&
               memcmp(bytes + 8, "WEBP", 4) == 0) {
        RD_TRY(webp_header(in, whole, &header, why));
    } else {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST,
                          "the bytes are no PNG, JPEG or WebP picture");
    }
    RD_TRY(rd_media_check_size(header.width, header.height, why));
    *ret = header;
    return RD_OK;
}

rd_err rd_image_probe(const void *bytes, size_t len, struct rd_image_info *ret, struct rd_why *why)
{
    struct rd_media_header header;
    RD_TRY(rd_media_header_read(bytes, len, len < RD_IMAGE_PROBE_MAX, &header, why));
    bool turned = rd_media_is_turned(header.orientation);
    *ret = (struct rd_image_info){
        .media = header.media,
        .width = turned ? header.height : header.width,
        .height = turned ? header.width : header.height,
    };
    return RD_OK;
}
