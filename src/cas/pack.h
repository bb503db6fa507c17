/* SPDX-License-Identifier: Apache-2.0
 *
 * The format of pack files: headers, events, and walking from record to record. Pure but for
 * rd_cas_pack_walk, which reads. The byte layout, what makes a record valid, and why a crash cannot
 * show half a record stand at the top of pack.c. */
#ifndef RD_CAS_PACK_H
#define RD_CAS_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "cas/cas.h"

enum {
    RD_CAS_BLOCK = 4096, /* records start at its multiples: no two share a page */
    RD_CAS_SECTOR = 512, /* a header's size: what disks write whole or not at all */
    RD_CAS_SECRET_LEN = 32,
    RD_CAS_EVENT_LEN = 48,      /* without the note that may follow */
    RD_CAS_EVENTS_MAX = 262144, /* bytes of events in one record; bounds what a reader must hold */
};

/* Rounds up to whole blocks. Callers keep sizes far below the overflow (RD_LIMIT_OBJECT_BYTES). */
#define RD_CAS_BLOCKS(len) (((uint64_t)(len) + (RD_CAS_BLOCK - 1)) & ~(uint64_t)(RD_CAS_BLOCK - 1))

/* What stands in a file's first block. */
struct rd_cas_pack_head {
    uint32_t number;
    uint64_t base_seq; /* every record in the pack has a higher number */
    uint64_t created_ms;
    uint8_t secret[RD_CAS_SECRET_LEN];
};
void rd_cas_pack_head_encode(const struct rd_cas_pack_head *head, uint8_t out[RD_CAS_SECTOR]);
bool rd_cas_pack_head_decode(const uint8_t in[RD_CAS_SECTOR], struct rd_cas_pack_head *ret);

enum rd_cas_kind {
    RD_CAS_OPEN = 1, /* a region that is being filled; its final header comes in the next sector */
    RD_CAS_OBJECT = 2, /* payload and meta */
    RD_CAS_DUP = 3,   /* bytes that the store had already: counts as a link, the payload is waste */
    RD_CAS_LARGE = 4, /* meta; the payload is in large/ */
    RD_CAS_EVENTS = 5, /* payload: a run of events */
    RD_CAS_VOID = 6,   /* a record that recovery refused */
    RD_CAS_END = 7,    /* nothing follows in this pack */
};
enum { RD_CAS_WANT_NOTE = 1 }; /* flags */

struct rd_cas_head {
    uint8_t kind, flags;
    uint32_t payload_off; /* from the record's start */
    uint32_t meta_len;
    uint64_t offset;   /* of the record in its file */
    uint64_t capacity; /* bytes to the next record; whole blocks */
    uint64_t seq;      /* position in the store's one order of events */
    uint64_t synced;   /* records up to this number were durable when this header was written */
    uint64_t payload_len;
    uint64_t owner;
    uint64_t created_ms;
    uint64_t large_id;               /* LARGE: names the file */
    struct rd_hash hash;             /* of the payload */
    uint8_t meta_check[RD_HASH_LEN]; /* BLAKE3 of the meta */
    char content_type[RD_CAS_TYPE_MAX + 1];
};
void rd_cas_head_encode(const struct rd_cas_head *head, const uint8_t secret[RD_CAS_SECRET_LEN],
                        uint8_t out[RD_CAS_SECTOR]);
/* True when `in` is a header that was written for this very pack and offset, and its lengths fit.
 */
bool rd_cas_head_decode(const uint8_t in[RD_CAS_SECTOR], const uint8_t secret[RD_CAS_SECRET_LEN],
                        uint64_t offset, struct rd_cas_head *ret);
/* Where the meta lies in the file. */
uint64_t rd_cas_head_meta_at(const struct rd_cas_head *head);

/* One small fact about an object, many to a record. */
enum rd_cas_event_type { RD_CAS_NOTE = 1, RD_CAS_LINK = 2, RD_CAS_UNLINK = 3 };
struct rd_cas_event {
    uint8_t type;
    uint64_t owner; /* LINK, UNLINK */
    uint8_t blake3[RD_HASH_LEN];
    const uint8_t *note; /* NOTE: lives as long as the record's bytes */
    size_t note_len;
    size_t note_at; /* offset of the note in the record's payload */
};
void rd_cas_event_write(struct rd_buf *out, const struct rd_cas_event *event);
/* The event at *pos, which moves behind it; false at the end or when the bytes are no event. */
bool rd_cas_event_read(const uint8_t *data, size_t len, size_t *pos, struct rd_cas_event *ret);

/* Reads the record at `offset` of a file of `size` bytes. NOT_FOUND when no valid header stands
 * there. For a region that was filled in place this is its final header; *ret_first is the number
 * that the region's first header had, always one that was given while the region was the pack's
 * last. */
rd_err rd_cas_pack_walk(int fd, const uint8_t secret[RD_CAS_SECRET_LEN], uint64_t offset,
                        uint64_t size, struct rd_cas_head *ret, uint64_t *ret_first) RD_MUST;
/* The first valid header at or after `offset`, for telling rot from a torn tail. */
rd_err rd_cas_pack_search(int fd, const uint8_t secret[RD_CAS_SECRET_LEN], uint64_t offset,
                          uint64_t size, struct rd_cas_head *ret, uint64_t *ret_first) RD_MUST;
/* Appends an EVENTS record's payload to `out`; CORRUPT when it does not hash to its header. */
rd_err rd_cas_pack_events(int fd, const struct rd_cas_head *head, struct rd_buf *out) RD_MUST;

#endif
