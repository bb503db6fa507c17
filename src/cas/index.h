/* SPDX-License-Identifier: Apache-2.0
 *
 * The key directory: every object that the store has, by the BLAKE3 of its bytes. In memory only,
 * made from the log at start. An open-addressing table of 8-byte slots over entries that never
 * move, so a look-up is one probe run and one entry, and growing the table touches only slots.
 *
 * Not thread-safe: the store's map lock guards it. Pointers to entries live until
 * rd_cas_index_remove. */
#ifndef RD_CAS_INDEX_H
#define RD_CAS_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"

enum {
    RD_CAS_OBJECTS_MAX = 1 << 26, /* objects in one store: about 10 GB of memory; then DISK_FULL */
    RD_CAS_OWNERS_MAX = 65536,    /* owners of one object; they are searched one by one */
};

/* That `owner` has the object. */
struct rd_cas_link {
    uint64_t owner;
    uint64_t seq;  /* number of the latest event that says so */
    uint64_t born; /* number of the first event of this link */
    bool durable;  /* false: written, but nobody has been told yet */
};

struct rd_cas_entry {
    uint8_t blake3[RD_HASH_LEN];
    uint64_t offset, capacity; /* the record in its pack */
    uint64_t size;             /* of the payload */
    uint64_t created_ms;
    uint64_t seq;      /* of the record */
    uint64_t large_id; /* 0: the payload is in the pack */
    uint64_t note_at;
    uint32_t pack, note_pack;
    uint16_t note_len; /* 0: none yet */
    bool used;         /* false: on the free list */
    bool want_note, visible, verified;
    uint32_t more_count, more_cap;
    struct rd_cas_link first; /* the usual case has one owner; seq 0: none */
    struct rd_cas_link *more; /* owned */
};

struct rd_cas_index;

/* `max`: entries that it will ever hold (RD_CAS_OBJECTS_MAX; less in tests). */
rd_err rd_cas_index_new(size_t max, struct rd_cas_index **ret) RD_MUST;
void rd_cas_index_free(struct rd_cas_index *index);
size_t rd_cas_index_count(const struct rd_cas_index *index);

struct rd_cas_entry *rd_cas_index_find(struct rd_cas_index *index,
                                       const uint8_t blake3[RD_HASH_LEN]);
/* Makes sure that the next insert cannot fail. DISK_FULL at the maximum. */
rd_err rd_cas_index_reserve(struct rd_cas_index *index) RD_MUST;
/* A zeroed entry for a hash that is not there. DISK_FULL at the maximum. */
rd_err rd_cas_index_insert(struct rd_cas_index *index, const uint8_t blake3[RD_HASH_LEN],
                           struct rd_cas_entry **ret) RD_MUST;
void rd_cas_index_remove(struct rd_cas_index *index, struct rd_cas_entry *entry);
/* The next entry at or after *cursor, which moves behind it; NULL at the end. Entries that are
 * added or removed meanwhile may or may not be met; all others are met once. Start with 0. */
struct rd_cas_entry *rd_cas_index_next(struct rd_cas_index *index, size_t *cursor);

struct rd_cas_link *rd_cas_entry_link(struct rd_cas_entry *entry, uint64_t owner);
/* Makes sure that the next add cannot fail. STORAGE beyond RD_CAS_OWNERS_MAX. */
rd_err rd_cas_entry_reserve(struct rd_cas_entry *entry) RD_MUST;
/* Links one more owner. */
rd_err rd_cas_entry_add(struct rd_cas_entry *entry, const struct rd_cas_link *link) RD_MUST;
void rd_cas_entry_drop(struct rd_cas_entry *entry, struct rd_cas_link *link);
size_t rd_cas_entry_links(const struct rd_cas_entry *entry);
/* The i-th link, i < rd_cas_entry_links. */
struct rd_cas_link *rd_cas_entry_at(struct rd_cas_entry *entry, size_t i);

/* True when every invariant holds; for tests. */
bool rd_cas_index_valid(struct rd_cas_index *index);

#endif
