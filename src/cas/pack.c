/* SPDX-License-Identifier: Apache-2.0
 *
 * The format of pack files.
 *
 * A store is a log of records, cut into files DIR/packs/NNNNNNNN.pack which take their disk space
 * when they are made. Numbers are little-endian. A file starts with one block (4096 bytes), of
 * which the first sector (512 bytes) counts:
 *
 *     0 "RDPACK\n1"  8 number u32   16 base_seq u64   24 created_ms u64   32 secret[32]
 *     480 BLAKE3 of bytes 0..479
 *
 * Then records, each a whole number of blocks, the next one right behind. A record starts with a
 * header of one sector:
 *
 *     0 "RREC"  4 version u8 = 1  5 kind u8  6 flags u8  7 zero
 *     8 offset u64  16 capacity u64  24 seq u64  32 synced u64  40 payload_len u64
 *     48 payload_off u32  52 meta_len u32  56 owner u64  64 created_ms u64  72 large_id u64
 *     80 blake3[32]  112 sha256[32]  144 meta_check[32]  176 content_type[64], NUL-padded
 *     240 zeros  480 BLAKE3 of bytes 0..479, keyed with the pack's secret
 *
 * Valid is a header whose keyed checksum holds and whose `offset` is where it stands. So a payload
 * can never pass for a record: whoever writes payloads does not know the secret, and a copy of a
 * true header stands at the wrong offset. Records of one write (all up to 256 KiB) have the
 * payload right behind the header, then the meta. Larger ones are written while they arrive: first
 * an OPEN header in sector 0 that says how long the region is, the payload from the second block
 * on, at last the OBJECT header in sector 1. Nothing that is durable is ever written over, so a
 * torn write can spoil only what was being added. An EVENTS payload is a run of
 *
 *     0 type u8  1 zero  2 note_len u16  4 zero u32  8 owner u64  16 blake3[32]  48 note
 *
 * What the log means: records in the order of `seq`. OBJECT and LARGE bring an object and link it
 * to their owner; DUP and LINK link one more owner; UNLINK takes one away; an object without
 * owners is gone; NOTE attaches a signature. state.c applies this, the same code at run time and
 * at start.
 *
 * Why a crash shows nothing half-written and loses nothing that was acknowledged:
 *  1. Under one lock, a record gets its place, its `seq`, and its first header (or all of it)
 *     is handed to the kernel; only then may the next record get a place. So a sync that makes
 *     a record durable finds the first headers of all records before it in the file written
 *     too: from the file's start one can walk to every acknowledged record.
 *  2. `synced` in a header says that all records up to this number were durable. Let S be the
 *     highest found in the whole store. A record with seq <= S is whole. One above S may have
 *     its header on disk and its payload not: recovery reads it and compares with its hash,
 *     and writes VOID over the header of one that does not match. It cannot have been
 *     acknowledged: that happens after the sync.
 *  3. Walking ends at the first place without a valid header. If that is a torn tail, what
 *     follows was never acknowledged (by 1), and the file is cut there and closed with an END
 *     record. It is rot, not tearing, when a record behind it, or in a later pack, proves that
 *     the place had been synced: a record Z behind it (its first header has number z) and any
 *     `synced` >= z. Then opening fails with CORRUPT instead of forgetting data.
 *  4. A file with a torn tail is never appended to again: so no header of a former life can
 *     lie in the way of a later walk.
 *  5. A pack gets its name only after its first block is durable.
 *
 * Changing the format: raise the version byte, keep the old decoder, add a golden file to the
 * tests. */
#include "cas/pack.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/limits.h"
#include "base/text.h"
#include "cas/wire.h"

enum { CHECK_AT = RD_CAS_SECTOR - RD_HASH_LEN, VERSION = 1, SEARCH_STEP = 1 << 20 };

static const char pack_magic[8] = {'R', 'D', 'P', 'A', 'C', 'K', '\n', '1'};
static const char head_magic[4] = {'R', 'R', 'E', 'C'};

#define put rd_cas_wire_put
#define get rd_cas_wire_get

void rd_cas_pack_head_encode(const struct rd_cas_pack_head *head, uint8_t out[RD_CAS_SECTOR])
{
    memset(out, 0, RD_CAS_SECTOR);
    memcpy(out, pack_magic, sizeof pack_magic);
    put(out + 8, head->number, 4);
    put(out + 16, head->base_seq, 8);
    put(out + 24, head->created_ms, 8);
    memcpy(out + 32, head->secret, RD_CAS_SECRET_LEN);
    rd_hash_blake3(out, CHECK_AT, out + CHECK_AT);
}

bool rd_cas_pack_head_decode(const uint8_t in[RD_CAS_SECTOR], struct rd_cas_pack_head *ret)
{
    uint8_t check[RD_HASH_LEN];
    rd_hash_blake3(in, CHECK_AT, check);
    if (memcmp(in, pack_magic, sizeof pack_magic) != 0 ||
        memcmp(check, in + CHECK_AT, sizeof check) != 0) {
        return false;
    }
    ret->number = (uint32_t)get(in + 8, 4);
    ret->base_seq = get(in + 16, 8);
    ret->created_ms = get(in + 24, 8);
    memcpy(ret->secret, in + 32, RD_CAS_SECRET_LEN);
    return true;
}

void rd_cas_head_encode(const struct rd_cas_head *head, const uint8_t secret[RD_CAS_SECRET_LEN],
                        uint8_t out[RD_CAS_SECTOR])
{
    memset(out, 0, RD_CAS_SECTOR);
    memcpy(out, head_magic, sizeof head_magic);
    out[4] = VERSION;
    out[5] = head->kind;
    out[6] = head->flags;
    put(out + 8, head->offset, 8);
    put(out + 16, head->capacity, 8);
    put(out + 24, head->seq, 8);
    put(out + 32, head->synced, 8);
    put(out + 40, head->payload_len, 8);
    put(out + 48, head->payload_off, 4);
    put(out + 52, head->meta_len, 4);
    put(out + 56, head->owner, 8);
    put(out + 64, head->created_ms, 8);
    put(out + 72, head->large_id, 8);
    memcpy(out + 80, head->hash.blake3, RD_HASH_LEN);
    memcpy(out + 112, head->hash.sha256, RD_HASH_LEN);
    memcpy(out + 144, head->meta_check, RD_HASH_LEN);
    memcpy(out + 176, head->content_type, strnlen(head->content_type, RD_CAS_TYPE_MAX));
    rd_hash_blake3_keyed(secret, out, CHECK_AT, out + CHECK_AT);
}

/* A header with a good checksum was written by this program, but the bounds are checked all the
 * same: everything behind this point relies on them. */
static bool head_fits(const struct rd_cas_head *head)
{
    if (head->kind < RD_CAS_OPEN || head->kind > RD_CAS_END || head->capacity < RD_CAS_BLOCK ||
        head->capacity % RD_CAS_BLOCK != 0 || head->offset % RD_CAS_BLOCK != 0 ||
        head->offset < RD_CAS_BLOCK || head->offset > INT64_MAX / 4 ||
        head->capacity > INT64_MAX / 4 || head->payload_off < RD_CAS_SECTOR ||
        head->payload_off > head->capacity || head->payload_len > RD_LIMIT_OBJECT_BYTES ||
        head->meta_len > RD_CAS_META_MAX) {
        return false;
    }
    uint64_t inside = head->meta_len;
    if (head->kind != RD_CAS_LARGE) {
        inside += head->payload_len;
    }
    return inside <= head->capacity - head->payload_off &&
           (head->kind != RD_CAS_EVENTS || head->payload_len <= RD_CAS_EVENTS_MAX);
}

bool rd_cas_head_decode(const uint8_t in[RD_CAS_SECTOR], const uint8_t secret[RD_CAS_SECRET_LEN],
                        uint64_t offset, struct rd_cas_head *ret)
{
    if (memcmp(in, head_magic, sizeof head_magic) != 0 || in[4] != VERSION ||
        get(in + 8, 8) != offset) {
        return false; /* before the hash: walking and searching meet mostly other bytes */
    }
    uint8_t check[RD_HASH_LEN];
    rd_hash_blake3_keyed(secret, in, CHECK_AT, check);
    if (!rd_text_secret_eq(check, sizeof check, in + CHECK_AT, RD_HASH_LEN)) {
        return false;
    }
    struct rd_cas_head head = {
        .kind = in[5],
        .flags = in[6],
        .offset = offset,
        .capacity = get(in + 16, 8),
        .seq = get(in + 24, 8),
        .synced = get(in + 32, 8),
        .payload_len = get(in + 40, 8),
        .payload_off = (uint32_t)get(in + 48, 4),
        .meta_len = (uint32_t)get(in + 52, 4),
        .owner = get(in + 56, 8),
        .created_ms = get(in + 64, 8),
        .large_id = get(in + 72, 8),
    };
    memcpy(head.hash.blake3, in + 80, RD_HASH_LEN);
    memcpy(head.hash.sha256, in + 112, RD_HASH_LEN);
    memcpy(head.meta_check, in + 144, RD_HASH_LEN);
    memcpy(head.content_type, in + 176, RD_CAS_TYPE_MAX);
    if (!head_fits(&head)) {
        return false;
    }
    *ret = head;
    return true;
}

uint64_t rd_cas_head_meta_at(const struct rd_cas_head *head)
{
    return head->offset + head->payload_off + (head->kind == RD_CAS_LARGE ? 0 : head->payload_len);
}

void rd_cas_event_write(struct rd_buf *out, const struct rd_cas_event *event)
{
    uint8_t fixed[RD_CAS_EVENT_LEN] = {event->type};
    put(fixed + 2, event->note_len, 2);
    put(fixed + 8, event->owner, 8);
    memcpy(fixed + 16, event->blake3, RD_HASH_LEN);
    rd_buf_append(out, fixed, sizeof fixed);
    rd_buf_append(out, event->note, event->note_len);
}

bool rd_cas_event_read(const uint8_t *data, size_t len, size_t *pos, struct rd_cas_event *ret)
{
    if (*pos > len || len - *pos < RD_CAS_EVENT_LEN) {
        return false;
    }
    const uint8_t *at = data + *pos;
    size_t note_len = (size_t)get(at + 2, 2);
    if (at[0] < RD_CAS_NOTE || at[0] > RD_CAS_UNLINK || note_len > RD_CAS_NOTE_MAX ||
        note_len > len - *pos - RD_CAS_EVENT_LEN || (at[0] != RD_CAS_NOTE && note_len != 0)) {
        return false;
    }
    *ret = (struct rd_cas_event){.type = at[0],
                                 .owner = get(at + 8, 8),
                                 .note = at + RD_CAS_EVENT_LEN,
                                 .note_len = note_len,
                                 .note_at = *pos + RD_CAS_EVENT_LEN};
    memcpy(ret->blake3, at + 16, RD_HASH_LEN);
    *pos += RD_CAS_EVENT_LEN + note_len;
    return true;
}

rd_err rd_cas_pack_walk(int fd, const uint8_t secret[RD_CAS_SECRET_LEN], uint64_t offset,
                        uint64_t size, struct rd_cas_head *ret, uint64_t *ret_first)
{
    uint8_t bytes[2 * RD_CAS_SECTOR];
    struct rd_cas_head head;
    if (offset > size || size - offset < sizeof bytes) {
        return RD_ERR_NOT_FOUND;
    }
    RD_TRY(rd_fs_pread_all(fd, bytes, sizeof bytes, (off_t)offset));
    if (!rd_cas_head_decode(bytes, secret, offset, &head) || head.capacity > size - offset) {
        return RD_ERR_NOT_FOUND;
    }
    uint64_t first = head.seq;
    if (head.kind == RD_CAS_OPEN) {
        struct rd_cas_head final;
        if (rd_cas_head_decode(bytes + RD_CAS_SECTOR, secret, offset, &final) &&
            final.capacity == head.capacity && final.payload_off == RD_CAS_BLOCK &&
            final.kind != RD_CAS_OPEN) {
            head = final;
        }
    }
    *ret = head;
    *ret_first = first;
    return RD_OK;
}

rd_err rd_cas_pack_search(int fd, const uint8_t secret[RD_CAS_SECRET_LEN], uint64_t offset,
                          uint64_t size, struct rd_cas_head *ret, uint64_t *ret_first)
{
    while (offset < size) {
        /* The space behind the tail was taken but never written: the kernel knows where data is. */
        off_t data = lseek(fd, (off_t)offset, SEEK_DATA);
        if (data < 0) {
            return errno == ENXIO ? RD_ERR_NOT_FOUND : rd_err_errno(errno);
        }
        if ((uint64_t)data > offset) {
            offset = (uint64_t)data & ~(uint64_t)(RD_CAS_BLOCK - 1);
        }
        for (uint64_t stop = offset + SEARCH_STEP; offset < stop && offset < size;
             offset += RD_CAS_BLOCK) {
            rd_err err = rd_cas_pack_walk(fd, secret, offset, size, ret, ret_first);
            if (err != RD_ERR_NOT_FOUND) {
                return err;
            }
        }
    }
    return RD_ERR_NOT_FOUND;
}

rd_err rd_cas_pack_events(int fd, const struct rd_cas_head *head, struct rd_buf *out)
{
    uint8_t hash[RD_HASH_LEN];
    size_t len = (size_t)head->payload_len;
    if (len > RD_CAS_EVENTS_MAX) {
        return RD_ERR_CORRUPT;
    }
    char *room = rd_buf_reserve(out, len);
    if (room == NULL) {
        return rd_buf_err(out);
    }
    RD_TRY(rd_fs_pread_all(fd, room, len, (off_t)(head->offset + head->payload_off)));
    rd_hash_blake3(room, len, hash);
    if (memcmp(hash, head->hash.blake3, sizeof hash) != 0) {
        return RD_ERR_CORRUPT;
    }
    rd_buf_commit(out, len);
    return RD_OK;
}
