/* SPDX-License-Identifier: Apache-2.0
 *
 * WebP, gathered while it arrives and decoded at its end by libwebp. Not by its incremental
 * decoder: that one takes damaged files which nobody else can open. The format predicts each block
 * from its neighbours and, when lossless, from anywhere before, so there is no looking without the
 * canvas. It is YUV with alpha: the smallest one that makes libwebp unpack the alpha, too.
 *
 * The first 30 bytes hold the size (probe.c); only when it is right is anything kept. RIFF says how
 * long the file is; it must be exactly so long, and no longer than BYTES_A_PIXEL allow. Its chunks
 * (type | u32 length, little endian | data, made even) are walked as they come. As in webp.c, errno
 * tells a lack of memory from damage. */
#include "media/check_codec.h"

#include <errno.h>
#include <string.h>

#include <webp/decode.h>

#include "base/buf.h"
#include "base/mem.h"
#include "media/codec.h"

enum {
    HEADER = 30,
    RIFF = 12,
    CHUNK = 8,        /* a chunk's head */
    BYTES_A_PIXEL = 8 /* the file may have at most, and what is beside the picture */
};

struct webp {
    struct rd_media_check check; /* first */
    uint8_t header[HEADER];
    size_t header_len;
    uint64_t len, claimed; /* of the file: so far; as RIFF says */
    struct rd_buf file;
    uint8_t chunk[CHUNK];
    size_t chunk_len;
    uint64_t chunk_left; /* bytes to come before the next head */
    bool vp8x, alpha, picture;
};

static rd_err bad(struct rd_why *why, const char *what)
{
    return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the WebP is damaged: %s", what);
}

/* A chunk's head is there. Of each kind that makes the picture the first is used. */
static rd_err take_chunk(struct webp *webp, struct rd_why *why)
{
    const struct {
        const char *type;
        bool *seen;
    } kinds[] = {{"VP8X", &webp->vp8x},
                 {"ALPH", &webp->alpha},
                 {"VP8 ", &webp->picture},
                 {"VP8L", &webp->picture}};
    const uint8_t *at = webp->chunk;
    uint32_t len =
        (uint32_t)at[7] << 24 | (uint32_t)at[6] << 16 | (uint32_t)at[5] << 8 | (uint32_t)at[4];
    webp->chunk_left = (uint64_t)len + (len & 1);
    if (memcmp(at, "ANIM", 4) == 0 || memcmp(at, "ANMF", 4) == 0) {
        return rd_media_check_moves(&webp->check, why);
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (memcmp(at, kinds[i].type, 4) == 0 && !*kinds[i].seen) {
            *kinds[i].seen = true;
            return RD_OK;
        }
    }
    return rd_media_check_beside(&webp->check, CHUNK + webp->chunk_left, why);
}

static rd_err walk(struct webp *webp, const uint8_t *bytes, size_t len, struct rd_why *why)
{
    while (len > 0) {
        size_t part = CHUNK - webp->chunk_len;
        part = webp->chunk_left > 0 ? webp->chunk_left : part;
        part = len < part ? len : part;
        if (webp->chunk_left > 0) {
            webp->chunk_left -= part;
        } else {
            memcpy(webp->chunk + webp->chunk_len, bytes, part);
            webp->chunk_len += part;
        }
        bytes += part;
        len -= part;
        if (webp->chunk_len == CHUNK) {
            webp->chunk_len = 0;
            RD_TRY(take_chunk(webp, why));
        }
    }
    return RD_OK;
}

static rd_err append(struct webp *webp, const uint8_t *bytes, size_t len, struct rd_why *why)
{
    RD_TRY(walk(webp, bytes, len, why));
    rd_buf_append(&webp->file, bytes, len);
    return rd_buf_err(&webp->file);
}

static rd_err begin(struct webp *webp, struct rd_why *why)
{
    struct rd_media_header header;
    struct rd_why cause = {.text = ""};
    const uint8_t *at = webp->header + 4;
    if (rd_media_header_read(webp->header, HEADER, false, &header, &cause) != RD_OK) {
        return rd_why_set(why, RD_ERR_BACKEND_FAILED, "%s", cause.text);
    }
    RD_TRY(rd_media_check_size_is(&webp->check, header.width, header.height, why));
    webp->claimed =
        8 + ((uint64_t)at[3] << 24 | (uint64_t)at[2] << 16 | (uint64_t)at[1] << 8 | at[0]);
    if (webp->claimed >
        (uint64_t)header.width * header.height * BYTES_A_PIXEL + RD_MEDIA_BESIDE_MAX) {
        return bad(why, "it claims to be too long for its size");
    }
    rd_buf_init(&webp->file, (size_t)webp->claimed + 1);
    webp->chunk_left = RIFF;
    return append(webp, webp->header, HEADER, why);
}

static rd_err feed(struct rd_media_check *check, const uint8_t *bytes, size_t len,
                   struct rd_why *why)
{
    struct webp *webp = (struct webp *)check;
    webp->len += len;
    if (webp->header_len < HEADER) {
        size_t room = HEADER - webp->header_len;
        size_t part = len < room ? len : room;
        memcpy(webp->header + webp->header_len, bytes, part);
        webp->header_len += part;
        if (webp->header_len < HEADER) {
            return RD_OK;
        }
        RD_TRY(begin(webp, why));
        bytes += part;
        len -= part;
    }
    if (webp->len > webp->claimed) {
        return bad(why, "bytes follow its end");
    }
    return len == 0 ? RD_OK : append(webp, bytes, len, why);
}

static rd_err finish(struct rd_media_check *check, struct rd_why *why)
{
    struct webp *webp = (struct webp *)check;
    WebPDecoderConfig config;
    if (webp->header_len < HEADER || webp->len != webp->claimed) {
        return bad(why, "it ends early");
    }
    if (WebPInitDecoderConfig(&config) == 0) {
        return rd_why_set(why, RD_ERR_INTERNAL, "libwebp is of another version than its headers");
    }
    config.output.colorspace = MODE_YUVA;
    config.options.no_fancy_upsampling = 1;
    errno = 0;
    VP8StatusCode status = WebPDecode((const uint8_t *)webp->file.data, webp->file.len, &config);
    bool starved = status == VP8_STATUS_OUT_OF_MEMORY || errno == ENOMEM;
    WebPFreeDecBuffer(&config.output);
    if (status == VP8_STATUS_OK && !starved) {
        return RD_OK;
    }
    return starved ? RD_ERR_NO_MEMORY : bad(why, "it cannot be decoded");
}

static void webp_free(struct rd_media_check *check)
{
    struct webp *webp = (struct webp *)check;
    rd_buf_done(&webp->file);
    rd_mem_free(webp);
}

static rd_err webp_open(const struct rd_media_expected *expected, struct rd_media_check **ret)
{
    struct webp *webp = rd_mem_alloc(sizeof *webp);
    (void)expected;
    *ret = webp == NULL ? NULL : &webp->check;
    return webp == NULL ? RD_ERR_NO_MEMORY : RD_OK;
}

const struct rd_media_check_ops rd_media_check_webp = {
    .name = "WebP", .open = webp_open, .feed = feed, .finish = finish, .free = webp_free};
