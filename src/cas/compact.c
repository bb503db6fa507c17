/* SPDX-License-Identifier: Apache-2.0
 *
 * Deletion, expiry, and compaction.
 *
 * Deleting appends UNLINK events; the space comes back when the pack is compacted: what is still
 * needed is copied to the log's tail, the copy is made durable, the index is pointed at it, and
 * the old file goes. Whoever reads the old file keeps its descriptor. Nothing is locked while
 * bytes are copied.
 *
 * What a pack P holds that is still needed:
 *  - records that are an object's place: copied whole (payload and meta are checked on the
 *    way; a bad one stops the compaction of P, so that rot is never laundered into a fresh
 *    checksum);
 *  - links: the latest word about (object, owner) stands in P: said again as LINK;
 *  - notes that an object uses: said again;
 *  - all links and the note of an object whose record in P was copied, or gave way to a newer
 *    one, where they stand before that newer record in the log: replay would find no object to
 *    apply them to. Said again, behind it;
 *  - UNLINKs, as long as an older pack may still hold what they take away: said again, unless
 *    the owner has the object once more. They go for good when every other pack began after
 *    them.
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
    size_t copies, copy_at;      /* records among them: they come first, in the order of the pack */
    struct rd_cas_items said;    /* facts for the next EVENTS record ... */
    size_t bytes;                /* ... and their length */
    uint64_t written;
    char *step; /* COPY_STEP bytes */
};

static void compaction_done(struct compaction *c)
{
    rd_cas_items_done(&c->items);
    rd_cas_items_done(&c->moved);
    rd_cas_items_done(&c->origins);
    rd_cas_items_done(&c->said);
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
    if (entry == NULL) { /* deleted while it was copied */
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

/* Adds a fact to what will be said. */
static rd_err say(struct compaction *c, uint8_t event, const uint8_t blake3[RD_HASH_LEN],
                  uint64_t owner)
{
    struct rd_cas_item fact = {.kind = RD_CAS_EVENTS, .event = event, .owner = owner};
    memcpy(fact.blake3, blake3, RD_HASH_LEN);
    c->bytes += RD_CAS_EVENT_LEN;
    return rd_cas_items_add(&c->said, &fact);
}

static rd_err say_note(struct compaction *c, const struct rd_cas_entry *entry)
{
    struct rd_cas_item fact = {.kind = RD_CAS_EVENTS,
                               .event = RD_CAS_NOTE,
                               .pack = entry->note_pack,
                               .offset = entry->note_at,
                               .note_len = entry->note_len};
    memcpy(fact.blake3, entry->blake3, RD_HASH_LEN);
    c->bytes += RD_CAS_EVENT_LEN + fact.note_len;
    return rd_cas_items_add(&c->said, &fact);
}

/* The number of the copy of a record; 0 when it was not copied. Records come in order. */
static uint64_t copy_seq(struct compaction *c, const struct rd_cas_item *record)
{
    while (c->copy_at < c->copies && c->origins.items[c->copy_at].offset < record->offset) {
        c->copy_at++;
    }
    return c->copy_at < c->copies && c->origins.items[c->copy_at].offset == record->offset
               ? c->moved.items[c->copy_at].seq
               : 0;
}

/* A record goes whose object lives on in a newer one. Replay will then meet the object only at the
 * newer record, so what was said about it before that must be said again behind it. */
static rd_err say_about_record(struct compaction *c, const struct rd_cas_item *item,
                               struct rd_cas_entry *entry, bool *ret_more)
{
    uint64_t copied = copy_seq(c, item), bound = copied != 0 ? copied : entry->seq;
    size_t links = rd_cas_entry_links(entry);
    for (size_t i = 0; i < links; i++) {
        const struct rd_cas_link *link = rd_cas_entry_at(entry, i);
        if (link->seq >= bound && link->seq != item->seq) {
            continue;
        }
        if (c->bytes >= EVENTS_STEP) {
            *ret_more = true; /* those said by then are above the bound */
            return RD_OK;
        }
        RD_TRY(say(c, RD_CAS_LINK, item->blake3, link->owner));
    }
    if (copied != 0 && entry->note_len > 0 && entry->note_pack != item->pack) {
        return say_note(c, entry);
    }
    return RD_OK;
}

/* Decides what must be said because of `item`. *ret_more: come again. Under log and map locks. */
static rd_err say_about(struct compaction *c, const struct rd_cas_item *item, bool *ret_more)
{
    struct rd_cas_entry *entry = rd_cas_index_find(c->cas->index, item->blake3);
    const struct rd_cas_link *link = entry == NULL ? NULL : rd_cas_entry_link(entry, item->owner);
    bool event = item->kind == RD_CAS_EVENTS;
    if (event && item->event == RD_CAS_UNLINK) {
        return link == NULL && outlives(c, item) ? say(c, RD_CAS_UNLINK, item->blake3, item->owner)
                                                 : RD_OK;
    }
    if (entry == NULL) {
        return RD_OK;
    }
    if (event && item->event == RD_CAS_NOTE) {
        return entry->note_len > 0 && entry->note_pack == item->pack &&
                       entry->note_at == item->offset
                   ? say_note(c, entry)
                   : RD_OK;
    }
    if (item->kind == RD_CAS_OBJECT || item->kind == RD_CAS_LARGE) {
        return say_about_record(c, item, entry, ret_more);
    }
    return link != NULL && link->seq == item->seq ? say(c, RD_CAS_LINK, item->blake3, item->owner)
                                                  : RD_OK;
}

/* Writes one fact as an event; a note's bytes come from where they are. */
static rd_err write_fact(struct compaction *c, const struct rd_cas_item *fact,
                         struct rd_buf *events)
{
    uint8_t note[RD_CAS_NOTE_MAX];
    struct rd_cas_event event = {.type = fact->event, .owner = fact->owner};
    memcpy(event.blake3, fact->blake3, RD_HASH_LEN);
    if (fact->event == RD_CAS_NOTE) {
        pthread_mutex_lock(&c->cas->map);
        const struct rd_cas_pack *pack = rd_cas_state_pack(c->cas, fact->pack);
        pthread_mutex_unlock(&c->cas->map);
        if (pack == NULL) {
            return RD_ERR_CORRUPT;
        }
        /* Only a compaction drops packs, and this is the one that runs. */
        RD_TRY(rd_fs_pread_all(pack->handle.fd, note, fact->note_len, (off_t)fact->offset));
        event.note = note;
        event.note_len = fact->note_len;
    }
    rd_cas_event_write(events, &event);
    return rd_buf_err(events);
}

/* The facts stand in `record` now. Under the log lock. */
static rd_err facts_were_said(struct compaction *c, const struct rd_cas_item *record)
{
    uint64_t at = record->offset;
    rd_err err = RD_OK;
    pthread_mutex_lock(&c->cas->map);
    for (size_t i = 0; i < c->said.count && err == RD_OK; i++) {
        const struct rd_cas_item *fact = &c->said.items[i];
        at += RD_CAS_EVENT_LEN;
        if (fact->event == RD_CAS_NOTE) {
            struct rd_cas_item moved = *fact;
            moved.pack = record->pack;
            moved.offset = at;
            moved.seq = record->seq;
            err = rd_cas_items_add(&c->origins, fact);
            err = err == RD_OK ? rd_cas_items_add(&c->moved, &moved) : err;
            at += fact->note_len;
        } else if (fact->event == RD_CAS_LINK) {
            struct rd_cas_entry *entry = rd_cas_index_find(c->cas->index, fact->blake3);
            struct rd_cas_link *link = entry == NULL ? NULL : rd_cas_entry_link(entry, fact->owner);
            if (link != NULL) {
                link->seq = record->seq;
            }
        }
    }
    pthread_mutex_unlock(&c->cas->map);
    return err;
}

/* Says again what items from *next on ask for, as one record; moves *next. Under the log lock, so
 * that what is decided is still true when it is written. */
static rd_err repeat_some(struct compaction *c, size_t *next)
{
    RD_AUTO_BUF struct rd_buf events;
    struct rd_cas_item record;
    rd_buf_init(&events, EVENTS_STEP + 2 * (RD_CAS_EVENT_LEN + RD_CAS_NOTE_MAX));
    c->said.count = 0;
    c->bytes = 0;
    pthread_mutex_lock(&c->cas->map);
    rd_err err = RD_OK;
    for (bool more = false; *next < c->items.count && c->bytes < EVENTS_STEP && err == RD_OK;) {
        err = say_about(c, &c->items.items[*next], &more);
        if (more) {
            break;
        }
        (*next)++;
    }
    pthread_mutex_unlock(&c->cas->map);
    RD_TRY(err);
    if (c->said.count == 0) {
        return RD_OK;
    }
    for (size_t i = 0; i < c->said.count; i++) {
        RD_TRY(write_fact(c, &c->said.items[i], &events));
    }
    RD_TRY(rd_cas_log_events(c->cas, &events, &record));
    c->written += record.capacity;
    return facts_were_said(c, &record);
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
    c->copies = c->moved.count;
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
    rd_err err =
        c.step == NULL ? RD_ERR_NO_MEMORY : rd_cas_items_walk(pack, RD_CAS_BLOCK, tail, &c.items);
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

/* The next pack with a number between the two that is worth compacting, referenced. */
static struct rd_cas_pack *next_wasteful(struct rd_cas *cas, unsigned dead_percent, uint32_t above,
                                         uint32_t below)
{
    struct rd_cas_pack *found = NULL;
    pthread_mutex_lock(&cas->log);
    pthread_mutex_lock(&cas->map);
    for (size_t i = 0; i < cas->pack_count && found == NULL; i++) {
        struct rd_cas_pack *pack = cas->packs[i];
        if (pack->head.number > above && pack->head.number < below && pack->sealed &&
            pack->open_regions == 0 && pack->last_seq <= cas->synced &&
            is_wasteful(pack, dead_percent)) {
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
    pthread_mutex_lock(&cas->log);
    uint32_t below = cas->next_number; /* packs made from here on wait for the next time */
    pthread_mutex_unlock(&cas->log);
    while (first_err == RD_OK || first_err == RD_ERR_CORRUPT) {
        pack = next_wasteful(cas, dead_percent, above, below);
        if (pack == NULL) {
            break;
        }
        above = pack->head.number;
        rd_err err = compact_pack(cas, pack, &freed);
        rd_cas_handle_unref(&pack->handle);
        if (err != RD_OK) {
            first_err = err; /* a bad pack stays, and the others get their turn */
        }
    }
    pthread_mutex_unlock(&cas->maintain);
    RD_TRY(first_err);
    *ret_freed = freed;
    return RD_OK;
}
