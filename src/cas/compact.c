/* SPDX-License-Identifier: Apache-2.0
 *
 * Deletion, expiry, and compaction.
 *
 * Deleting appends UNLINK events; the space comes back when the pack is compacted: what is still needed
 * is copied to the log's tail, the copy is made durable, the index is pointed at it, and the old file
 * goes. Whoever reads the old file keeps its descriptor. Nothing is locked while bytes are copied.
 *
 * What a pack P holds that is still needed:
 *  - records that are an object's place: copied whole (payload and meta are checked on the way; a bad
 *    one stops the compaction of P, so that rot is never laundered into a fresh checksum);
 *  - links: the latest word about (object, owner) stands in P: said again as LINK;
 *  - notes that an object uses: said again;
 *  - UNLINKs, as long as an older pack may still hold what they take away: said again, unless the owner
 *    has the object once more. They go for good when every other pack began after them.
 * Each is decided and appended under one hold of the log lock, against the index as it is then: a
 * deletion that comes in meanwhile has a higher number than what is copied, and wins. */
#include "cas/internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cas/io.h"

enum {
    COPY_STEP = 1 << 18,
    EVENTS_STEP = 1 << 15, /* bytes of events appended at a time, to hold the log lock briefly */
};

rd_err rd_cas_delete(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN], uint64_t owner)
{
    struct rd_cas_pair pair = {.owner = owner};
    memcpy(pair.blake3, blake3, RD_HASH_LEN);
    if (!rd_cas_owned_by(cas, blake3, owner)) {
        return RD_ERR_NOT_FOUND; /* without a disk write, whoever asks */
    }
    struct rd_cas_job job = {.kind = RD_CAS_JOB_UNLINK, .pairs = &pair, .pair_count = 1};
    RD_TRY(rd_cas_queue_wait(cas, &job));
    return pair.found ? RD_OK : RD_ERR_NOT_FOUND;
}

/* The next pairs of objects created before `before_ms`; returns how many objects they complete. */
static size_t expired_pairs(struct rd_cas *cas, uint64_t before_ms, size_t *cursor,
                            struct rd_cas_pair *pairs, size_t *ret_count)
{
    size_t count = 0, objects = 0;
    pthread_mutex_lock(&cas->map);
    for (;;) {
        struct rd_cas_entry *entry = rd_cas_index_next(cas->index, cursor);
        if (entry == NULL || count == RD_CAS_UNLINKS_MAX) {
            *cursor -= entry == NULL ? 0 : 1; /* it comes first next time */
            break;
        }
        if (!entry->visible || entry->created_ms >= before_ms) {
            continue;
        }
        size_t links = rd_cas_entry_links(entry), i = 0;
        for (; i < links && count < RD_CAS_UNLINKS_MAX; i++) {
            pairs[count] = (struct rd_cas_pair){.owner = rd_cas_entry_at(entry, i)->owner};
            memcpy(pairs[count++].blake3, entry->blake3, RD_HASH_LEN);
        }
        if (i < links) {
            *cursor -= 1; /* the rest of its owners next time */
            break;
        }
        objects++;
    }
    pthread_mutex_unlock(&cas->map);
    *ret_count = count;
    return objects;
}

rd_err rd_cas_expire(struct rd_cas *cas, uint64_t before_ms, uint64_t *ret_count)
{
    uint64_t total = 0;
    size_t cursor = 0;
    RD_AUTO_FREE struct rd_cas_pair *pairs = rd_mem_alloc_array(RD_CAS_UNLINKS_MAX, sizeof *pairs);
    if (pairs == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    for (;;) {
        struct rd_cas_job job = {.kind = RD_CAS_JOB_UNLINK, .pairs = pairs};
        size_t objects = expired_pairs(cas, before_ms, &cursor, pairs, &job.pair_count);
        if (job.pair_count == 0) {
            *ret_count = total;
            return RD_OK;
        }
        RD_TRY(rd_cas_queue_wait(cas, &job));
        total += objects;
    }
}

struct compaction {
    struct rd_cas *cas;
    struct rd_cas_pack *pack;    /* that goes */
    struct rd_cas_items items;   /* all of it */
    struct rd_cas_items moved;   /* records and notes at their new place ... */
    struct rd_cas_items origins; /* ... and, at the same position, at their old one */
    uint64_t written;
    char *step; /* COPY_STEP bytes */
};

static void compaction_done(struct compaction *c)
{
    rd_cas_items_done(&c->items);
    rd_cas_items_done(&c->moved);
    rd_cas_items_done(&c->origins);
    rd_mem_free(c->step);
}

/* The object whose place is `item`; NULL when it has another by now. Under the map lock. */
static struct rd_cas_entry *entry_at(struct rd_cas *cas, const struct rd_cas_item *item)
{
    struct rd_cas_entry *entry = rd_cas_index_find(cas->index, item->blake3);
    return entry != NULL && entry->pack == item->pack && entry->offset == item->offset ? entry
                                                                                        : NULL;
}

static bool still_there(struct compaction *c, const struct rd_cas_item *item)
{
    pthread_mutex_lock(&c->cas->map);
    bool there = entry_at(c->cas, item) != NULL;
    pthread_mutex_unlock(&c->cas->map);
    return there;
}

/* Copies payload and meta to `into` while hashing them. */
static rd_err copy_checked(struct compaction *c, const struct rd_cas_head *head, int into,
                           uint64_t into_at)
{
    int from = c->pack->handle.fd;
    uint64_t from_at = head->offset + head->payload_off;
    uint64_t len = head->kind == RD_CAS_LARGE ? 0 : head->payload_len;
    struct rd_hasher *hasher = NULL;
    struct rd_hash got;
    RD_AUTO_BUF struct rd_buf meta;
    rd_buf_init(&meta, RD_CAS_META_MAX);
    RD_TRY(rd_cas_read_record_meta(from, head, &meta));
    RD_TRY(rd_cas_io_put(into, meta.data, meta.len, into_at + len));
    RD_TRY(rd_hasher_new(&hasher));
    rd_err err = RD_OK;
    for (uint64_t done = 0; done < len && err == RD_OK;) {
        size_t part = len - done < COPY_STEP ? (size_t)(len - done) : COPY_STEP;
        err = rd_fs_pread_all(from, c->step, part, (off_t)(from_at + done));
        if (err == RD_OK) {
            rd_hasher_update(hasher, c->step, part);
            err = rd_cas_io_put(into, c->step, part, into_at + done);
        }
        done += part;
    }
    if (err == RD_OK && head->kind != RD_CAS_LARGE) {
        rd_hasher_finish(hasher, &got);
        err = memcmp(&got, &head->hash, sizeof got) == 0 ? RD_OK : RD_ERR_CORRUPT;
    }
    rd_hasher_free(hasher);
    return err;
}

/* Some owner whose link the copy can carry: durable for choice. Under the map lock. */
static struct rd_cas_link *carried_link(struct rd_cas_entry *entry)
{
    size_t links = rd_cas_entry_links(entry);
    for (size_t i = 0; i < links; i++) {
        if (rd_cas_entry_at(entry, i)->durable) {
            return rd_cas_entry_at(entry, i);
        }
    }
    return rd_cas_entry_at(entry, 0);
}

/* Gives the filled region `place` its header, if the object is still where `item` says. */
static rd_err finish_copy(struct compaction *c, const struct rd_cas_item *item,
                          struct rd_cas_head *head, const struct rd_cas_place *place)
{
    struct rd_cas *cas = c->cas;
    pthread_mutex_lock(&cas->log);
    pthread_mutex_lock(&cas->map);
    struct rd_cas_entry *entry = entry_at(cas, item);
    if (entry != NULL) {
        head->owner = carried_link(entry)->owner;
    }
    pthread_mutex_unlock(&cas->map);
    if (entry == NULL) { /* deleted while it was copied: nobody else changes places under this lock */
        pthread_mutex_unlock(&cas->log);
        rd_cas_log_drop_region(cas, place);
        return RD_OK;
    }
    rd_err err = rd_cas_log_finish_region(cas, place, head);
    struct rd_cas_item moved = *item;
    moved.pack = place->pack->head.number;
    moved.offset = head->offset;
    moved.capacity = head->capacity;
    moved.seq = head->seq;
    moved.owner = head->owner;
    if (err == RD_OK) {
        pthread_mutex_lock(&cas->map);
        struct rd_cas_entry *now = entry_at(cas, item);
        struct rd_cas_link *link = now == NULL ? NULL : rd_cas_entry_link(now, head->owner);
        if (link != NULL) {
            link->seq = head->seq;
        }
        pthread_mutex_unlock(&cas->map);
    }
    pthread_mutex_unlock(&cas->log);
    if (err != RD_OK) {
        rd_cas_log_drop_region(cas, place);
        return err;
    }
    c->written += head->capacity;
    RD_TRY(rd_cas_items_add(&c->origins, item));
    return rd_cas_items_add(&c->moved, &moved);
}

static rd_err move_record(struct compaction *c, const struct rd_cas_item *item)
{
    struct rd_cas *cas = c->cas;
    struct rd_cas_head head;
    struct rd_cas_place place;
    uint64_t first;
    rd_err err = rd_cas_pack_walk(c->pack->handle.fd, c->pack->head.secret, item->offset,
                                  item->offset + item->capacity, &head, &first);
    RD_TRY(err == RD_ERR_NOT_FOUND ? RD_ERR_CORRUPT : err);
    uint64_t payload = head.kind == RD_CAS_LARGE ? 0 : head.payload_len;
    RD_TRY(rd_cas_log_open_region(cas, payload + head.meta_len, &place));
    err = copy_checked(c, &head, place.pack->handle.fd, place.offset + RD_CAS_BLOCK);
    if (err != RD_OK) {
        rd_cas_log_drop_region(cas, &place);
        return err;
    }
    return finish_copy(c, item, &head, &place);
}

/* Whether an UNLINK may still be needed: some other pack is older. Under the map lock. */
static bool outlives(const struct compaction *c, const struct rd_cas_item *unlink_event)
{
    for (size_t i = 0; i < c->cas->pack_count; i++) {
        const struct rd_cas_pack *other = c->cas->packs[i];
        if (other != c->pack && other->head.base_seq < unlink_event->seq) {
            return true;
        }
    }
    return false;
}

/* The event that must be said again for `item`; false when none. Under the log and map locks. */
static bool to_repeat(struct compaction *c, const struct rd_cas_item *item,
                      struct rd_cas_event *ret)
{
    struct rd_cas_entry *entry = rd_cas_index_find(c->cas->index, item->blake3);
    *ret = (struct rd_cas_event){.owner = item->owner};
    memcpy(ret->blake3, item->blake3, RD_HASH_LEN);
    if (item->kind == RD_CAS_EVENTS && item->event == RD_CAS_NOTE) {
        ret->type = RD_CAS_NOTE;
        ret->owner = 0;
        return entry != NULL && entry->note_len > 0 && entry->note_pack == item->pack &&
               entry->note_at == item->offset;
    }
    const struct rd_cas_link *link =
        entry == NULL ? NULL : rd_cas_entry_link(entry, item->owner);
    if (item->kind == RD_CAS_EVENTS && item->event == RD_CAS_UNLINK) {
        ret->type = RD_CAS_UNLINK;
        return link == NULL && outlives(c, item);
    }
    ret->type = RD_CAS_LINK;
    return link != NULL && link->seq == item->seq;
}

/* After the record `said` was appended with `event` in it. Under the log lock. */
static rd_err note_repeat(struct compaction *c, const struct rd_cas_item *item,
                          const struct rd_cas_item *said, uint64_t note_at)
{
    if (item->kind == RD_CAS_EVENTS && item->event == RD_CAS_UNLINK) {
        return RD_OK;
    }
    if (item->kind == RD_CAS_EVENTS && item->event == RD_CAS_NOTE) {
        struct rd_cas_item moved = *item;
        moved.pack = said->pack;
        moved.offset = said->offset + note_at;
        moved.seq = said->seq;
        RD_TRY(rd_cas_items_add(&c->origins, item));
        return rd_cas_items_add(&c->moved, &moved);
    }
    pthread_mutex_lock(&c->cas->map);
    struct rd_cas_entry *entry = rd_cas_index_find(c->cas->index, item->blake3);
    struct rd_cas_link *link = entry == NULL ? NULL : rd_cas_entry_link(entry, item->owner);
    if (link != NULL) {
        link->seq = said->seq;
    }
    pthread_mutex_unlock(&c->cas->map);
    return RD_OK;
}

/* Says items from *next on again, as one record; moves *next. Under the log lock. */
static rd_err repeat_some(struct compaction *c, size_t *next)
{
    RD_AUTO_BUF struct rd_buf events;
    RD_AUTO_BUF struct rd_buf said; /* struct { index, note_at }, in pairs */
    struct rd_cas_item record;
    uint8_t note[RD_CAS_NOTE_MAX];
    size_t pair[2];
    rd_buf_init(&events, EVENTS_STEP + RD_CAS_EVENT_LEN + RD_CAS_NOTE_MAX);
    rd_buf_init(&said, EVENTS_STEP / RD_CAS_EVENT_LEN * sizeof pair + sizeof pair);
    for (; *next < c->items.count && events.len < EVENTS_STEP; (*next)++) {
        const struct rd_cas_item *item = &c->items.items[*next];
        struct rd_cas_event event;
        pthread_mutex_lock(&c->cas->map);
        bool needed = to_repeat(c, item, &event);
        pthread_mutex_unlock(&c->cas->map);
        if (!needed) {
            continue;
        }
        if (event.type == RD_CAS_NOTE) {
            RD_TRY(rd_fs_pread_all(c->pack->handle.fd, note, item->note_len, (off_t)item->offset));
            event.note = note;
            event.note_len = item->note_len;
        }
        pair[0] = *next;
        pair[1] = events.len + RD_CAS_EVENT_LEN;
        rd_buf_append(&said, pair, sizeof pair);
        rd_cas_event_write(&events, &event);
    }
    if (events.len == 0) {
        return RD_OK;
    }
    RD_TRY(rd_buf_err(&events));
    RD_TRY(rd_buf_err(&said));
    RD_TRY(rd_cas_log_events(c->cas, &events, &record));
    c->written += record.capacity;
    for (size_t at = 0; at < said.len; at += sizeof pair) {
        memcpy(pair, said.data + at, sizeof pair);
        RD_TRY(note_repeat(c, &c->items.items[pair[0]], &record, pair[1]));
    }
    return RD_OK;
}

/* The copies are durable: readers go there from now on. */
static rd_err switch_over(struct compaction *c)
{
    struct rd_cas *cas = c->cas;
    pthread_mutex_lock(&cas->map);
    for (size_t i = 0; i < c->moved.count; i++) {
        const struct rd_cas_item *from = &c->origins.items[i], *to = &c->moved.items[i];
        if (from->kind == RD_CAS_EVENTS) {
            const struct rd_cas_entry *entry = rd_cas_index_find(cas->index, from->blake3);
            if (entry != NULL && entry->note_len > 0 && entry->note_pack == from->pack &&
                entry->note_at == from->offset) {
                rd_cas_state_note(cas, to);
            }
            continue;
        }
        struct rd_cas_entry *entry = entry_at(cas, from);
        if (entry != NULL) {
            rd_cas_state_move(cas, entry, to);
        }
    }
    bool empty = c->pack->live == 0;
    if (empty) {
        rd_cas_state_drop_pack(cas, c->pack);
    }
    pthread_mutex_unlock(&cas->map);
    return empty ? RD_OK : RD_ERR_INTERNAL; /* else something still lives there: keep the file */
}

static rd_err copy_needed(struct compaction *c)
{
    struct rd_cas *cas = c->cas;
    for (size_t i = 0; i < c->items.count; i++) {
        const struct rd_cas_item *item = &c->items.items[i];
        if ((item->kind == RD_CAS_OBJECT || item->kind == RD_CAS_LARGE) && still_there(c, item)) {
            RD_TRY(move_record(c, item));
        }
        if (item->kind == RD_CAS_EVENTS && item->event == 0) {
            return RD_ERR_CORRUPT;
        }
    }
    for (size_t next = 0; next < c->items.count;) {
        pthread_mutex_lock(&cas->log);
        rd_err err = repeat_some(c, &next);
        pthread_mutex_unlock(&cas->log);
        RD_TRY(err);
    }
    struct rd_cas_job job = {.kind = RD_CAS_JOB_SYNC};
    return rd_cas_queue_wait(cas, &job);
}

static rd_err compact_pack(struct rd_cas *cas, struct rd_cas_pack *pack, uint64_t *freed)
{
    char path[RD_CAS_PATH_MAX];
    struct compaction c = {.cas = cas, .pack = pack, .step = rd_mem_alloc(COPY_STEP)};
    uint64_t tail = pack->tail; /* a sealed pack's stands still */
    rd_err err = c.step == NULL ? RD_ERR_NO_MEMORY
                                : rd_cas_items_walk(pack, RD_CAS_BLOCK, tail, &c.items);
    if (err == RD_OK && !c.items.ended) {
        err = RD_ERR_CORRUPT;
    }
    if (err == RD_OK) {
        err = copy_needed(&c);
    }
    if (err == RD_OK) {
        err = switch_over(&c);
    }
    if (err == RD_OK) {
        rd_cas_path_pack(cas, pack->head.number, ".pack", path);
        (void)unlink(path);
        rd_cas_path_pack(cas, pack->head.number, ".idx", path);
        (void)unlink(path); /* one that stays alone is removed at the next start */
        *freed += tail > c.written ? tail - c.written : 0;
        rd_cas_handle_unref(&pack->handle); /* the table's reference */
    }
    compaction_done(&c);
    return err;
}

/* Under the log and map locks. */
static bool is_wasteful(const struct rd_cas_pack *pack, unsigned dead_percent)
{
    uint64_t ends = RD_CAS_BLOCK + (pack->sealed ? RD_CAS_BLOCK : 0);
    uint64_t used = pack->tail - ends;
    uint64_t dead = used - pack->live - pack->kept;
    return dead > 0 && dead * 100 > used * (uint64_t)dead_percent;
}

/* The next pack above `number` that is worth compacting, referenced. */
static struct rd_cas_pack *next_wasteful(struct rd_cas *cas, unsigned dead_percent, uint32_t above)
{
    struct rd_cas_pack *found = NULL;
    pthread_mutex_lock(&cas->log);
    pthread_mutex_lock(&cas->map);
    for (size_t i = 0; i < cas->pack_count && found == NULL; i++) {
        struct rd_cas_pack *pack = cas->packs[i];
        if (pack->head.number > above && pack->sealed && pack->open_regions == 0 &&
            pack->last_seq <= cas->synced && is_wasteful(pack, dead_percent)) {
            found = pack;
            rd_cas_handle_ref(&pack->handle);
        }
    }
    pthread_mutex_unlock(&cas->map);
    pthread_mutex_unlock(&cas->log);
    return found;
}

/* The active pack takes part too: else the garbage of a small store would never go. */
static rd_err close_active(struct rd_cas *cas, unsigned dead_percent)
{
    pthread_mutex_lock(&cas->log);
    pthread_mutex_lock(&cas->map);
    bool roll = cas->active != NULL && cas->active->open_regions == 0 &&
                is_wasteful(cas->active, dead_percent);
    pthread_mutex_unlock(&cas->map);
    rd_err err = roll ? rd_cas_log_roll(cas) : RD_OK;
    pthread_mutex_unlock(&cas->log);
    if (roll && err == RD_OK) {
        struct rd_cas_job job = {.kind = RD_CAS_JOB_SYNC};
        err = rd_cas_queue_wait(cas, &job);
    }
    return err;
}

rd_err rd_cas_compact(struct rd_cas *cas, unsigned dead_percent, uint64_t *ret_freed)
{
    uint64_t freed = 0;
    uint32_t above = 0;
    struct rd_cas_pack *pack;
    if (atomic_load(&cas->failed)) {
        return RD_ERR_STORAGE;
    }
    pthread_mutex_lock(&cas->maintain);
    rd_err first_err = close_active(cas, dead_percent);
    while (first_err == RD_OK || first_err == RD_ERR_CORRUPT) {
        pack = next_wasteful(cas, dead_percent, above);
        if (pack == NULL) {
            break;
        }
        above = pack->head.number;
        rd_err err = compact_pack(cas, pack, &freed);
        rd_cas_handle_unref(&pack->handle);
        first_err = first_err == RD_OK || err != RD_OK ? err : first_err; /* a bad pack stays; go on */
    }
    pthread_mutex_unlock(&cas->maintain);
    RD_TRY(first_err);
    *ret_freed = freed;
    return RD_OK;
}
