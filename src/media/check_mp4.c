/* SPDX-License-Identifier: Apache-2.0
 *
 * MP4, its boxes checked while they arrive; frames are not decoded.
 *
 *   box    u32 size (all of it) | type | content     (big endian; size 1: u64 size behind the type;
 *                                                     size 0: up to the file's end)
 *   file   ftyp first; one moov, and mdats that are not all empty; other boxes are stepped over,
 * and bounded together moov   trak, and in one of them mdia.hdlr says "vide"; tkhd has the size:
 * its last 8 bytes, width and height as 16.16; mdia.minf.stbl.stsz (or stz2) the number of frames
 *
 * A file whose boxes end where it ends was not cut. moov is held until it is whole, then walked; it
 * is an index, a few bytes a frame. In a fragmented file it may count none: each moof is an index
 * of its own, with an mdat of its own. */
#include "media/check_codec.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

enum {
    MOOV_MAX = 256 << 10,
    HEAD = 8,
    HEAD_LARGE = 16,
    DEPTH = 4,
    TKHD_MIN = 84,
    HDLR_MIN = 12,
    STSZ_MIN = 12
};

enum kind { KIND_OTHER, KIND_FTYP, KIND_MOOV, KIND_MOOF, KIND_MDAT };

struct mp4 {
    struct rd_media_check check; /* first */
    uint8_t head[HEAD_LARGE];
    size_t head_len;
    uint64_t left; /* of the box's content */
    bool inside, endless;
    enum kind kind; /* of the box that it is in */
    bool ftyp, moov, mdat;
    bool frames, data;   /* an index says that there are some; an mdat has a byte */
    struct rd_buf index; /* moov's content */
};

static rd_err bad(struct rd_why *why, const char *what)
{
    return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the MP4 is damaged: %s", what);
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ---- moov ---- */

struct span {
    const uint8_t *at;
    size_t len;
};

/* The next box of `in`, which moves behind it. False: it lies about its size; or there is none. */
static bool next_box(struct span *in, struct span *ret, const uint8_t **ret_type)
{
    if (in->len < HEAD) {
        return false;
    }
    size_t size = be32(in->at);
    if (size < HEAD || size > in->len) {
        return false;
    }
    *ret_type = in->at + 4;
    *ret = (struct span){in->at + HEAD, size - HEAD};
    in->at += size;
    in->len -= size;
    return true;
}

struct track {
    bool video;
    uint32_t width, height, frames;
};

static bool is_one_of(const uint8_t *type, const char *types)
{
    for (; *types != '\0'; types += 4) {
        if (memcmp(type, types, 4) == 0) {
            return true;
        }
    }
    return false;
}

/* What stands in trak, and in the boxes in it that lead to the frames. */
static bool read_track(struct span in, unsigned depth, struct track *ret)
{
    while (in.len > 0) {
        struct span box;
        const uint8_t *type;
        if (!next_box(&in, &box, &type)) {
            return false;
        }
        if (is_one_of(type, "mdiaminfstbl") && depth > 0 && !read_track(box, depth - 1, ret)) {
            return false;
        }
        if (is_one_of(type, "stszstz2") && box.len >= STSZ_MIN) {
            ret->frames = be32(box.at + 8);
        }
        if (depth == DEPTH - 2 && memcmp(type, "hdlr", 4) == 0 && box.len >= HDLR_MIN) {
            ret->video = memcmp(box.at + 8, "vide", 4) == 0;
        }
        if (memcmp(type, "tkhd", 4) == 0 && box.len >= TKHD_MIN) {
            ret->width = be32(box.at + box.len - 8) >> 16;
            ret->height = be32(box.at + box.len - 4) >> 16;
        }
    }
    return true;
}

static rd_err check_index(struct mp4 *mp4, struct rd_why *why)
{
    struct span in = {(const uint8_t *)mp4->index.data, mp4->index.len};
    bool video = false;
    while (in.len > 0) {
        struct span box;
        const uint8_t *type;
        struct track track = {.video = false};
        if (!next_box(&in, &box, &type)) {
            return bad(why, "a box in its index is malformed");
        }
        if (memcmp(type, "trak", 4) != 0) {
            continue;
        }
        if (!read_track(box, DEPTH - 1, &track)) {
            return bad(why, "a box in its index is malformed");
        }
        if (track.video) {
            video = true;
            mp4->frames = mp4->frames || track.frames > 0;
            RD_TRY(rd_media_check_size_is(&mp4->check, track.width, track.height, why));
        }
    }
    return video ? RD_OK : bad(why, "it has no video track");
}

/* ---- the file ---- */

static enum kind kind_of(const uint8_t *type)
{
    static const char types[] = "    ftypmoovmoofmdat"; /* as enum kind */
    enum kind kind = KIND_MDAT;
    while (kind != KIND_OTHER && memcmp(type, types + 4 * (size_t)kind, 4) != 0) {
        kind--;
    }
    return kind;
}

static rd_err begin_box(struct mp4 *mp4, struct rd_why *why)
{
    mp4->kind = kind_of(mp4->head + 4);
    uint64_t size = be32(mp4->head);
    mp4->endless = size == 0;
    if (size == 1) {
        size = (uint64_t)be32(mp4->head + 8) << 32 | be32(mp4->head + 12);
    }
    if (!mp4->endless && size < mp4->head_len) {
        return bad(why, "a box is malformed");
    }
    mp4->left = mp4->endless ? UINT64_MAX : size - mp4->head_len;
    mp4->inside = mp4->left > 0;
    size_t head_len = mp4->head_len;
    mp4->head_len = 0;
    bool moov = mp4->kind == KIND_MOOV;
    mp4->ftyp = mp4->ftyp || mp4->kind == KIND_FTYP;
    mp4->mdat = mp4->mdat || mp4->kind == KIND_MDAT;
    if (!mp4->ftyp || (moov && mp4->moov) || (mp4->endless && mp4->kind != KIND_MDAT)) {
        return bad(why, "a box stands where it must not");
    }
    if (moov && mp4->left > MOOV_MAX) {
        return bad(why, "its index is over 256 KiB");
    }
    if (mp4->kind == KIND_OTHER || mp4->kind == KIND_FTYP) {
        RD_TRY(rd_media_check_beside(&mp4->check, mp4->left, why));
        RD_TRY(rd_media_check_beside(&mp4->check, head_len, why));
    }
    mp4->moov = mp4->moov || moov;
    mp4->frames = mp4->frames || (mp4->kind == KIND_MOOF && mp4->inside);
    return moov && !mp4->inside ? check_index(mp4, why) : RD_OK;
}

static rd_err gather_head(struct mp4 *mp4, const uint8_t **at, const uint8_t *end,
                          struct rd_why *why)
{
    size_t need = mp4->head_len >= HEAD && be32(mp4->head) == 1 ? HEAD_LARGE : HEAD;
    size_t part = (size_t)(end - *at);
    part = part < need - mp4->head_len ? part : need - mp4->head_len;
    memcpy(mp4->head + mp4->head_len, *at, part);
    *at += part;
    mp4->head_len += part;
    bool large = mp4->head_len == HEAD && be32(mp4->head) == 1;
    return mp4->head_len < need || large ? RD_OK : begin_box(mp4, why);
}

static rd_err feed(struct rd_media_check *check, const uint8_t *bytes, size_t len,
                   struct rd_why *why)
{
    struct mp4 *mp4 = (struct mp4 *)check;
    const uint8_t *end = bytes + len;
    while (bytes < end) {
        if (!mp4->inside) {
            RD_TRY(gather_head(mp4, &bytes, end, why));
            continue;
        }
        size_t part = (size_t)(end - bytes) < mp4->left ? (size_t)(end - bytes) : mp4->left;
        mp4->data = mp4->data || mp4->kind == KIND_MDAT;
        if (mp4->kind == KIND_MOOV) {
            rd_buf_append(&mp4->index, bytes, part);
            RD_TRY(rd_buf_err(&mp4->index));
        }
        bytes += part;
        mp4->left -= part;
        if (mp4->left == 0) {
            mp4->inside = false;
            if (mp4->kind == KIND_MOOV) {
                RD_TRY(check_index(mp4, why));
                rd_buf_done(&mp4->index);
            }
        }
    }
    return RD_OK;
}

static rd_err finish(struct rd_media_check *check, struct rd_why *why)
{
    const struct mp4 *mp4 = (const struct mp4 *)check;
    if (mp4->head_len > 0 || (mp4->inside && !mp4->endless) || !mp4->moov || !mp4->mdat) {
        return bad(why, "it ends early");
    }
    return mp4->frames && mp4->data ? RD_OK : bad(why, "it has no frames");
}

static void mp4_free(struct rd_media_check *check)
{
    struct mp4 *mp4 = (struct mp4 *)check;
    rd_buf_done(&mp4->index);
    rd_mem_free(mp4);
}

static rd_err mp4_open(const struct rd_media_expected *expected, struct rd_media_check **ret)
{
    struct mp4 *mp4 = rd_mem_alloc(sizeof *mp4);
    (void)expected;
    if (mp4 == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    rd_buf_init(&mp4->index, MOOV_MAX);
    *ret = &mp4->check;
    return RD_OK;
}

const struct rd_media_check_ops rd_media_check_mp4 = {
    .name = "MP4", .open = mp4_open, .feed = feed, .finish = finish, .free = mp4_free};
