/* SPDX-License-Identifier: Apache-2.0
 *
 * The key directory. See index.h.
 *
 * A slot is {tag, entry + 1}. The tag is a multiply-shift of the hash with a secret of this
 * process: the hash itself is chosen by whoever uploads, who could otherwise grind contents that
 * all fall into one place. The tag's top bits are the slot's home, so growing needs no entry.
 * Removal shifts the run back instead of leaving a mark, so that long lives do not lengthen
 * probes. */
#include "cas/index.h"

#include <string.h>

#include "base/id.h"
#include "base/mem.h"

enum { CHUNK = 256, SLOTS_MIN = 256, LOAD_NUM = 3, LOAD_DEN = 4 };

struct slot {
    uint32_t tag;
    uint32_t entry; /* number + 1; 0: empty */
};

struct rd_cas_index {
    struct slot *slots;
    size_t mask;                  /* slots - 1, a power of two */
    unsigned shift;               /* 32 - log2(slots) */
    uint64_t secret;              /* odd */
    struct rd_cas_entry **chunks; /* of CHUNK entries each */
    size_t chunk_count, chunk_cap;
    uint32_t *free_list; /* numbers of unused entries, as many as chunks hold */
    size_t free_count;
    size_t count, max;
};

static uint32_t tag_of(const struct rd_cas_index *index, const uint8_t blake3[RD_HASH_LEN])
{
    uint64_t word;
    memcpy(&word, blake3, sizeof word);
    return (uint32_t)((word * index->secret) >> 32);
}

static size_t home_of(const struct rd_cas_index *index, uint32_t tag)
{
    return index->shift == 0 ? tag : (size_t)(tag >> index->shift);
}

static struct rd_cas_entry *entry_of(const struct rd_cas_index *index, uint32_t number)
{
    return &index->chunks[number / CHUNK][number % CHUNK];
}

static rd_err resize_slots(struct rd_cas_index *index, size_t count)
{
    struct slot *slots = rd_mem_alloc_array(count, sizeof *slots);
    if (slots == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    struct slot *old = index->slots;
    size_t old_count = old == NULL ? 0 : index->mask + 1;
    index->slots = slots;
    index->mask = count - 1;
    index->shift = 32 - (unsigned)__builtin_ctzll(count);
    for (size_t i = 0; i < old_count; i++) {
        if (old[i].entry != 0) {
            size_t at = home_of(index, old[i].tag);
            while (slots[at].entry != 0) {
                at = (at + 1) & index->mask;
            }
            slots[at] = old[i];
        }
    }
    rd_mem_free(old);
    return RD_OK;
}

rd_err rd_cas_index_new(size_t max, struct rd_cas_index **ret)
{
    struct rd_cas_index *index = rd_mem_alloc(sizeof *index);
    if (index == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    index->max = max;
    rd_id_random(&index->secret, sizeof index->secret);
    index->secret |= 1;
    rd_err err = resize_slots(index, SLOTS_MIN);
    if (err != RD_OK) {
        rd_mem_free(index);
        return err;
    }
    *ret = index;
    return RD_OK;
}

void rd_cas_index_free(struct rd_cas_index *index)
{
    if (index == NULL) {
        return;
    }
    for (size_t i = 0; i < index->chunk_count; i++) {
        for (size_t j = 0; j < CHUNK; j++) {
            rd_mem_free(index->chunks[i][j].more);
        }
        rd_mem_free(index->chunks[i]);
    }
    rd_mem_free(index->chunks);
    rd_mem_free(index->free_list);
    rd_mem_free(index->slots);
    rd_mem_free(index);
}

size_t rd_cas_index_count(const struct rd_cas_index *index)
{
    return index->count;
}

/* The slot of the hash, or the empty one where it would go. */
static struct slot *probe(const struct rd_cas_index *index, const uint8_t blake3[RD_HASH_LEN])
{
    uint32_t tag = tag_of(index, blake3);
    for (size_t at = home_of(index, tag);; at = (at + 1) & index->mask) {
        struct slot *slot = &index->slots[at];
        if (slot->entry == 0 ||
            (slot->tag == tag &&
             memcmp(entry_of(index, slot->entry - 1)->blake3, blake3, RD_HASH_LEN) == 0)) {
            return slot;
        }
    }
}

struct rd_cas_entry *rd_cas_index_find(struct rd_cas_index *index,
                                       const uint8_t blake3[RD_HASH_LEN])
{
    const struct slot *slot = probe(index, blake3);
    return slot->entry == 0 ? NULL : entry_of(index, slot->entry - 1);
}

static rd_err add_chunk(struct rd_cas_index *index)
{
    if (index->chunk_count == index->chunk_cap) {
        size_t cap = index->chunk_cap == 0 ? 16 : index->chunk_cap * 2;
        struct rd_cas_entry **chunks = rd_mem_resize(index->chunks, cap * sizeof(void *));
        if (chunks == NULL) {
            return RD_ERR_NO_MEMORY;
        }
        index->chunks = chunks;
        uint32_t *list = rd_mem_resize(index->free_list, cap * CHUNK * sizeof *list);
        if (list == NULL) {
            return RD_ERR_NO_MEMORY;
        }
        index->free_list = list;
        index->chunk_cap = cap;
    }
    struct rd_cas_entry *chunk = rd_mem_alloc_array(CHUNK, sizeof *chunk);
    if (chunk == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    size_t base = index->chunk_count * CHUNK;
    index->chunks[index->chunk_count++] = chunk;
    for (size_t i = CHUNK; i > 0; i--) { /* lowest number on top */
        index->free_list[index->free_count++] = (uint32_t)(base + i - 1);
    }
    return RD_OK;
}

rd_err rd_cas_index_reserve(struct rd_cas_index *index)
{
    if (index->count >= index->max) {
        return RD_ERR_DISK_FULL;
    }
    if ((index->count + 1) * LOAD_DEN > (index->mask + 1) * LOAD_NUM) {
        RD_TRY(resize_slots(index, (index->mask + 1) * 2));
    }
    return index->free_count == 0 ? add_chunk(index) : RD_OK;
}

rd_err rd_cas_index_insert(struct rd_cas_index *index, const uint8_t blake3[RD_HASH_LEN],
                           struct rd_cas_entry **ret)
{
    RD_TRY(rd_cas_index_reserve(index));
    struct slot *slot = probe(index, blake3);
    if (slot->entry != 0) {
        return RD_ERR_INTERNAL; /* the caller looked before */
    }
    uint32_t number = index->free_list[--index->free_count];
    struct rd_cas_entry *entry = entry_of(index, number);
    memset(entry, 0, sizeof *entry);
    memcpy(entry->blake3, blake3, RD_HASH_LEN);
    entry->used = true;
    *slot = (struct slot){.tag = tag_of(index, blake3), .entry = number + 1};
    index->count++;
    *ret = entry;
    return RD_OK;
}

void rd_cas_index_remove(struct rd_cas_index *index, struct rd_cas_entry *entry)
{
    struct slot *slot = probe(index, entry->blake3);
    uint32_t number = slot->entry - 1;
    size_t hole = (size_t)(slot - index->slots);
    /* Shift back whatever may stand nearer to its home. */
    for (size_t at = (hole + 1) & index->mask; index->slots[at].entry != 0;
         at = (at + 1) & index->mask) {
        size_t home = home_of(index, index->slots[at].tag);
        if (((at - home) & index->mask) >= ((at - hole) & index->mask)) {
            index->slots[hole] = index->slots[at];
            hole = at;
        }
    }
    index->slots[hole] = (struct slot){0, 0};
    rd_mem_free(entry->more);
    memset(entry, 0, sizeof *entry);
    index->free_list[index->free_count++] = number;
    index->count--;
}

struct rd_cas_entry *rd_cas_index_next(struct rd_cas_index *index, size_t *cursor)
{
    for (; *cursor < index->chunk_count * CHUNK; (*cursor)++) {
        struct rd_cas_entry *entry = entry_of(index, (uint32_t)*cursor);
        if (entry->used) {
            (*cursor)++;
            return entry;
        }
    }
    return NULL;
}

size_t rd_cas_entry_links(const struct rd_cas_entry *entry)
{
    return (entry->first.seq != 0 ? 1u : 0u) + entry->more_count;
}

struct rd_cas_link *rd_cas_entry_at(struct rd_cas_entry *entry, size_t i)
{
    if (entry->first.seq != 0) {
        if (i == 0) {
            return &entry->first;
        }
        i--;
    }
    return &entry->more[i];
}

struct rd_cas_link *rd_cas_entry_link(struct rd_cas_entry *entry, uint64_t owner)
{
    if (entry->first.seq != 0 && entry->first.owner == owner) {
        return &entry->first;
    }
    for (size_t i = 0; i < entry->more_count; i++) {
        if (entry->more[i].owner == owner) {
            return &entry->more[i];
        }
    }
    return NULL;
}

rd_err rd_cas_entry_reserve(struct rd_cas_entry *entry)
{
    if (entry->first.seq == 0) {
        return RD_OK;
    }
    if (entry->more_count >= RD_CAS_OWNERS_MAX - 1) {
        return RD_ERR_STORAGE;
    }
    if (entry->more_count == entry->more_cap) {
        uint32_t cap = entry->more_cap == 0 ? 2 : entry->more_cap * 2;
        struct rd_cas_link *more = rd_mem_resize(entry->more, cap * sizeof *more);
        if (more == NULL) {
            return RD_ERR_NO_MEMORY;
        }
        entry->more = more;
        entry->more_cap = cap;
    }
    return RD_OK;
}

rd_err rd_cas_entry_add(struct rd_cas_entry *entry, const struct rd_cas_link *link)
{
    RD_TRY(rd_cas_entry_reserve(entry));
    if (entry->first.seq == 0) {
        entry->first = *link;
    } else {
        entry->more[entry->more_count++] = *link;
    }
    return RD_OK;
}

void rd_cas_entry_drop(struct rd_cas_entry *entry, struct rd_cas_link *link)
{
    if (link == &entry->first) {
        entry->first = (struct rd_cas_link){0};
    } else {
        *link = entry->more[--entry->more_count];
    }
}

bool rd_cas_index_valid(struct rd_cas_index *index)
{
    size_t filled = 0;
    for (size_t i = 0; i <= index->mask; i++) {
        if (index->slots[i].entry != 0) {
            filled++;
            const struct rd_cas_entry *entry = entry_of(index, index->slots[i].entry - 1);
            if (!entry->used || tag_of(index, entry->blake3) != index->slots[i].tag ||
                probe(index, entry->blake3) != &index->slots[i]) {
                return false;
            }
        }
    }
    return filled == index->count && index->free_count + index->count == index->chunk_count * CHUNK;
}
