/* SPDX-License-Identifier: Apache-2.0
 *
 * What the log means: the one place that turns records and events into the index, used while
 * running and, through rd_cas_state_replay, at start. Every function needs the map lock.
 *
 * Ownership is a set of (object, owner) links; in the order of the log the last word about a link
 * counts. An object lives while it has a link. Its place is its first record; a later record takes
 * over when it carries the newest number among records that claim to (superseding, or moved by
 * compaction); DUP records never claim. A link is entered when its record gets its number, marked
 * not durable, and the object is visible once one of its records was published. */
#include "cas/internal.h"

#include <string.h>

#include "base/mem.h"

struct rd_cas_pack *rd_cas_state_pack(struct rd_cas *cas, uint32_t number)
{
    size_t low = 0, high = cas->pack_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uint32_t here = cas->packs[middle]->head.number;
        if (here == number) {
            return cas->packs[middle];
        }
        if (here < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

rd_err rd_cas_state_add_pack(struct rd_cas *cas, struct rd_cas_pack *pack)
{
    if (cas->pack_count >= RD_CAS_PACKS_MAX) {
        return RD_ERR_DISK_FULL;
    }
    if (cas->pack_count == cas->pack_cap) {
        size_t cap = cas->pack_cap == 0 ? 16 : cas->pack_cap * 2;
        struct rd_cas_pack **packs = rd_mem_resize(cas->packs, cap * sizeof(void *));
        if (packs == NULL) {
            return RD_ERR_NO_MEMORY;
        }
        cas->packs = packs;
        cas->pack_cap = cap;
    }
    size_t at = cas->pack_count++;
    for (; at > 0 && cas->packs[at - 1]->head.number > pack->head.number; at--) {
        cas->packs[at] = cas->packs[at - 1];
    }
    cas->packs[at] = pack;
    return RD_OK;
}

void rd_cas_state_drop_pack(struct rd_cas *cas, struct rd_cas_pack *pack)
{
    for (size_t i = 0; i < cas->pack_count; i++) {
        if (cas->packs[i] == pack) {
            memmove(&cas->packs[i], &cas->packs[i + 1], (cas->pack_count - i - 1) * sizeof(void *));
            cas->pack_count--;
            return;
        }
    }
}

static void count_live(struct rd_cas *cas, const struct rd_cas_entry *entry, bool more)
{
    struct rd_cas_pack *pack = rd_cas_state_pack(cas, entry->pack);
    if (pack != NULL) {
        pack->live = more ? pack->live + entry->capacity : pack->live - entry->capacity;
    }
    cas->bytes = more ? cas->bytes + entry->size : cas->bytes - entry->size;
}

static bool lacks_note(const struct rd_cas_entry *entry)
{
    return entry->want_note && entry->note_len == 0;
}

/* Forgetting is as good as remembering when there is no memory: the next start removes orphans. */
static void doom_large(struct rd_cas *cas, uint64_t id)
{
    if (id == 0) {
        return;
    }
    if (cas->doomed_count == cas->doomed_cap) {
        size_t cap = cas->doomed_cap == 0 ? 16 : cas->doomed_cap * 2;
        uint64_t *doomed = rd_mem_resize(cas->doomed_large, cap * sizeof *doomed);
        if (doomed == NULL) {
            return;
        }
        cas->doomed_large = doomed;
        cas->doomed_cap = cap;
    }
    cas->doomed_large[cas->doomed_count++] = id;
}

static void place_entry(struct rd_cas *cas, struct rd_cas_entry *entry,
                        const struct rd_cas_item *item)
{
    cas->unnoted -= lacks_note(entry) ? 1 : 0;
    entry->offset = item->offset;
    entry->capacity = item->capacity;
    entry->size = item->size;
    entry->created_ms = item->created_ms;
    entry->seq = item->seq;
    entry->large_id = item->large_id;
    entry->pack = item->pack;
    entry->want_note = item->want_note;
    entry->verified = false;
    count_live(cas, entry, true);
    cas->unnoted += lacks_note(entry) ? 1 : 0;
}

/* The record of `item` becomes the object's place when it is newer than the present one. */
void rd_cas_state_move(struct rd_cas *cas, struct rd_cas_entry *entry,
                       const struct rd_cas_item *item)
{
    if (item->seq <= entry->seq) {
        return;
    }
    count_live(cas, entry, false);
    if (entry->large_id != item->large_id) {
        doom_large(cas, entry->large_id);
    }
    place_entry(cas, entry, item);
}

static bool brings_object(const struct rd_cas_item *item)
{
    return item->kind == RD_CAS_OBJECT || item->kind == RD_CAS_LARGE;
}

static rd_err add_object(struct rd_cas *cas, const struct rd_cas_item *item,
                         struct rd_cas_entry **ret)
{
    RD_TRY(rd_cas_index_insert(cas->index, item->blake3, ret));
    place_entry(cas, *ret, item);
    return RD_OK;
}

static void remove_object(struct rd_cas *cas, struct rd_cas_entry *entry)
{
    count_live(cas, entry, false);
    cas->unnoted -= lacks_note(entry) ? 1 : 0;
    doom_large(cas, entry->large_id);
    rd_cas_index_remove(cas->index, entry);
}

rd_err rd_cas_state_reserve(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN], bool want_note,
                            bool *ret_dup)
{
    struct rd_cas_entry *entry = rd_cas_index_find(cas->index, blake3);
    if (entry == NULL) {
        RD_TRY(rd_cas_index_reserve(cas->index));
        *ret_dup = false;
        return RD_OK;
    }
    RD_TRY(rd_cas_entry_reserve(entry));
    *ret_dup = entry->want_note || !want_note;
    return RD_OK;
}

rd_err rd_cas_state_link(struct rd_cas *cas, const struct rd_cas_item *item, bool durable,
                         bool *ret_fresh)
{
    struct rd_cas_entry *entry = rd_cas_index_find(cas->index, item->blake3);
    bool added = entry == NULL;
    if (entry == NULL) {
        if (!brings_object(item)) {
            *ret_fresh = false;
            return RD_OK; /* a link to what is gone: its object did not survive, or was deleted */
        }
        RD_TRY(add_object(cas, item, &entry));
    }
    struct rd_cas_link *link = rd_cas_entry_link(entry, item->owner);
    bool fresh = link == NULL;
    if (fresh) {
        struct rd_cas_link made = {
            .owner = item->owner, .seq = item->seq, .born = item->seq, .durable = durable};
        rd_err err = rd_cas_entry_add(entry, &made);
        if (err != RD_OK) {
            if (added) {
                remove_object(cas, entry);
            }
            return err;
        }
    } else {
        link->seq = item->seq;
        link->durable = link->durable || durable;
    }
    if (durable) {
        entry->visible = true;
        if (brings_object(item)) {
            rd_cas_state_move(cas, entry, item);
        }
    }
    *ret_fresh = fresh;
    return RD_OK;
}

void rd_cas_state_publish(struct rd_cas *cas, const struct rd_cas_item *item)
{
    struct rd_cas_entry *entry = rd_cas_index_find(cas->index, item->blake3);
    struct rd_cas_link *link = entry == NULL ? NULL : rd_cas_entry_link(entry, item->owner);
    if (link == NULL || link->born > item->seq) {
        return; /* deleted meanwhile (and perhaps made again): the log says so too */
    }
    link->durable = true;
    entry->visible = true;
    if (brings_object(item)) {
        rd_cas_state_move(cas, entry, item);
    }
}

bool rd_cas_state_linked(struct rd_cas *cas, const struct rd_cas_pair *pair)
{
    struct rd_cas_entry *entry = rd_cas_index_find(cas->index, pair->blake3);
    const struct rd_cas_link *link = entry == NULL ? NULL : rd_cas_entry_link(entry, pair->owner);
    return link != NULL && (pair->only_seq == 0 || link->seq == pair->only_seq);
}

bool rd_cas_state_unlink(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN], uint64_t owner)
{
    struct rd_cas_entry *entry = rd_cas_index_find(cas->index, blake3);
    struct rd_cas_link *link = entry == NULL ? NULL : rd_cas_entry_link(entry, owner);
    if (link == NULL) {
        return false;
    }
    rd_cas_entry_drop(entry, link);
    if (rd_cas_entry_links(entry) == 0) {
        remove_object(cas, entry);
    }
    return true;
}

void rd_cas_state_note(struct rd_cas *cas, const struct rd_cas_item *note)
{
    struct rd_cas_entry *entry = rd_cas_index_find(cas->index, note->blake3);
    if (entry == NULL) {
        return;
    }
    cas->unnoted -= lacks_note(entry) ? 1 : 0;
    entry->note_pack = note->pack;
    entry->note_at = note->offset;
    entry->note_len = (uint16_t)note->note_len;
    cas->unnoted += lacks_note(entry) ? 1 : 0;
}

rd_err rd_cas_state_replay(struct rd_cas *cas, const struct rd_cas_item *item)
{
    bool fresh;
    switch (item->kind) {
    case RD_CAS_OBJECT:
    case RD_CAS_LARGE:
    case RD_CAS_DUP:
        return rd_cas_state_link(cas, item, /* durable= */ true, &fresh);
    case RD_CAS_EVENTS:
        if (item->event == RD_CAS_NOTE) {
            rd_cas_state_note(cas, item);
        } else if (item->event == RD_CAS_UNLINK) {
            (void)rd_cas_state_unlink(cas, item->blake3, item->owner);
        } else if (item->event == RD_CAS_LINK) {
            return rd_cas_state_link(cas, item, /* durable= */ true, &fresh);
        }
        return RD_OK;
    default: /* items come from files */
        return RD_OK;
    }
}
