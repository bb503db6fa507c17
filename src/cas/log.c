/* SPDX-License-Identifier: Apache-2.0
 *
 * The tail of the log: where the next record goes, and which number it gets. See pack.c for the
 * format and the crash argument, which rests on one rule kept here: under the log lock a record
 * gets its place and number and its first header is handed to the kernel, before the next record
 * gets a place.
 *
 * A whole small record is written under that lock too. It costs nothing: the kernel lets one
 * writer at a time into a file anyway.
 *
 * A write that fails for want of space (file systems that cannot take space ahead) leaves the tail
 * where it was, with zeros over a header that may have been written; the store goes on, and the
 * next record goes to the same place. Any other failed write is final. */
#include "cas/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "cas/io.h"

/* A new pack under its temporary name: space taken, first block durable. */
static rd_err fill_new_pack(const struct rd_cas *cas, struct rd_cas_pack *pack, const char *tmp)
{
    uint8_t block[RD_CAS_SECTOR];
    char path[RD_CAS_PATH_MAX], folder[RD_CAS_PATH_MAX];
    pack->handle.fd = open(tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (pack->handle.fd < 0) {
        return rd_err_errno(errno);
    }
    RD_TRY(rd_cas_io_allocate(pack->handle.fd, pack->size));
    rd_cas_pack_head_encode(&pack->head, block);
    RD_TRY(rd_cas_io_put(pack->handle.fd, block, sizeof block, 0));
    RD_TRY(rd_cas_io_sync(pack->handle.fd));
    rd_cas_path_pack(cas, pack->head.number, ".pack", path);
    if (rename(tmp, path) != 0) {
        return rd_err_errno(errno);
    }
    (void)snprintf(folder, sizeof folder, "%s/packs", cas->dir);
    return rd_fs_sync_dir(folder, NULL);
}

rd_err rd_cas_log_make_pack(struct rd_cas *cas, uint32_t number, uint64_t base_seq,
                            struct rd_cas_pack **ret)
{
    char tmp[RD_CAS_PATH_MAX];
    struct rd_cas_pack *pack = rd_mem_alloc(sizeof *pack);
    if (pack == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    atomic_init(&pack->handle.refs, 1);
    pack->handle.fd = -1;
    pack->head = (struct rd_cas_pack_head){
        .number = number, .base_seq = base_seq, .created_ms = rd_clock_wall_ms()};
    rd_id_random(pack->head.secret, sizeof pack->head.secret);
    pack->size = cas->config.pack_bytes;
    pack->tail = RD_CAS_BLOCK;
    pack->last_seq = base_seq;
    rd_cas_path_pack(cas, number, ".new", tmp);
    rd_err err = fill_new_pack(cas, pack, tmp);
    if (err != RD_OK) {
        char path[RD_CAS_PATH_MAX];
        rd_cas_path_pack(cas, number, ".pack", path);
        (void)unlink(tmp);
        (void)unlink(path); /* in case only the folder's sync failed: nothing uses it yet */
        rd_cas_handle_unref(&pack->handle);
        return err;
    }
    *ret = pack;
    return RD_OK;
}

static void mark_dirty(struct rd_cas *cas, struct rd_cas_pack *pack, uint64_t seq)
{
    if (!pack->dirty) {
        pack->dirty = true;
        pack->dirty_next = cas->dirty;
        cas->dirty = pack;
    }
    if (seq > pack->last_seq) {
        pack->last_seq = seq;
    }
}

/* Writes END at the tail. Keeps one block free for it in every pack: see rd_cas_log_room. */
static rd_err end_pack(struct rd_cas *cas, struct rd_cas_pack *pack)
{
    uint8_t sector[RD_CAS_SECTOR];
    struct rd_cas_head head = {.kind = RD_CAS_END,
                               .offset = pack->tail,
                               .capacity = RD_CAS_BLOCK,
                               .payload_off = RD_CAS_SECTOR,
                               .seq = cas->seq + 1,
                               .synced = cas->synced};
    rd_cas_head_encode(&head, pack->head.secret, sector);
    if (rd_cas_io_put(pack->handle.fd, sector, sizeof sector, pack->tail) != RD_OK) {
        return rd_cas_fail(cas);
    }
    cas->seq++;
    pack->tail += RD_CAS_BLOCK;
    pack->sealed = true;
    cas->unhinted = true;
    mark_dirty(cas, pack, head.seq);
    return RD_OK;
}

/* Makes the spare pack the active one, or a new one when there is no spare. */
static rd_err next_pack(struct rd_cas *cas)
{
    struct rd_cas_pack *pack = cas->spare;
    if (pack == NULL) {
        RD_TRY(rd_cas_log_make_pack(cas, cas->next_number, cas->seq, &pack));
        cas->next_number++;
        pthread_mutex_lock(&cas->map);
        rd_err err = rd_cas_state_add_pack(cas, pack);
        pthread_mutex_unlock(&cas->map);
        if (err != RD_OK) {
            char path[RD_CAS_PATH_MAX];
            rd_cas_path_pack(cas, pack->head.number, ".pack", path);
            (void)unlink(path);
            rd_cas_handle_unref(&pack->handle);
            return err;
        }
    }
    cas->spare = NULL;
    if (cas->active != NULL) {
        rd_err err = end_pack(cas, cas->active);
        if (err != RD_OK) {
            cas->spare = pack;
            return err;
        }
    }
    cas->active = pack;
    cas->spare_asked = false;
    return RD_OK;
}

rd_err rd_cas_log_roll(struct rd_cas *cas)
{
    return next_pack(cas);
}

/* With a block to spare for END. */
static bool has_room(const struct rd_cas_pack *pack, uint64_t capacity)
{
    return pack != NULL && pack->tail + capacity + RD_CAS_BLOCK <= pack->size;
}

rd_err rd_cas_log_room(struct rd_cas *cas, uint64_t capacity, struct rd_cas_place *ret)
{
    if (atomic_load(&cas->failed)) {
        return RD_ERR_STORAGE;
    }
    if (capacity > cas->config.pack_bytes - 2 * RD_CAS_BLOCK) {
        return RD_ERR_TOO_LARGE;
    }
    for (int tries = 0; !has_room(cas->active, capacity); tries++) {
        if (tries == 2) {
            return RD_ERR_STORAGE; /* once for a spare of a former, smaller setting; never twice */
        }
        RD_TRY(next_pack(cas));
    }
    *ret = (struct rd_cas_place){
        .pack = cas->active, .offset = cas->active->tail, .capacity = capacity};
    return RD_OK;
}

/* The tail could not be written. */
static rd_err refuse_write(struct rd_cas *cas, const struct rd_cas_place *place, rd_err err)
{
    static const uint8_t zeros[RD_CAS_SECTOR];
    if (err != RD_ERR_DISK_FULL) {
        return rd_cas_fail(cas);
    }
    rd_err zeroed = rd_cas_io_put(place->pack->handle.fd, zeros, sizeof zeros, place->offset);
    if (zeroed != RD_OK &&
        zeroed != RD_ERR_DISK_FULL) { /* full again: the header never got a page */
        return rd_cas_fail(cas);
    }
    return err;
}

rd_err rd_cas_log_append(struct rd_cas *cas, const struct rd_cas_place *place,
                         struct rd_cas_head *head, const struct rd_cas_part *parts, size_t count)
{
    uint8_t sector[RD_CAS_SECTOR];
    struct iovec vec[1 + RD_CAS_LOG_PARTS] = {{.iov_base = sector, .iov_len = sizeof sector}};
    head->offset = place->offset;
    head->capacity = place->capacity;
    head->seq = cas->seq + 1;
    head->synced = cas->synced;
    rd_cas_head_encode(head, place->pack->head.secret, sector);
    for (size_t i = 0; i < count && i < RD_CAS_LOG_PARTS; i++) {
        vec[1 + i] =
            (struct iovec){.iov_base = (void *)(uintptr_t)parts[i].data, .iov_len = parts[i].len};
    }
    rd_err err = rd_cas_io_write(place->pack->handle.fd, vec, 1 + (int)count, place->offset);
    if (err != RD_OK) {
        return refuse_write(cas, place, err);
    }
    cas->seq = head->seq;
    place->pack->tail += place->capacity;
    mark_dirty(cas, place->pack, head->seq);
    if (cas->spare == NULL && !cas->spare_asked && place->pack->tail > place->pack->size / 2) {
        cas->spare_asked = true;
        rd_cas_keeper_wake(cas);
    }
    return RD_OK;
}

rd_err rd_cas_log_open_region(struct rd_cas *cas, uint64_t room, struct rd_cas_place *ret)
{
    struct rd_cas_place place;
    struct rd_cas_head head = {.kind = RD_CAS_OPEN, .payload_off = RD_CAS_BLOCK};
    uint64_t capacity = RD_CAS_BLOCK + RD_CAS_BLOCKS(room);
    pthread_mutex_lock(&cas->log);
    rd_err err = rd_cas_log_room(cas, capacity, &place);
    if (err == RD_OK) {
        err = rd_cas_log_append(cas, &place, &head, NULL, 0);
    }
    if (err == RD_OK) {
        place.pack->open_regions++;
    }
    pthread_mutex_unlock(&cas->log);
    if (err == RD_OK) {
        *ret = place;
    }
    return err;
}

void rd_cas_log_drop_region(struct rd_cas *cas, const struct rd_cas_place *place)
{
    pthread_mutex_lock(&cas->log);
    place->pack->open_regions--;
    pthread_mutex_unlock(&cas->log);
}

rd_err rd_cas_log_finish_region(struct rd_cas *cas, const struct rd_cas_place *place,
                                struct rd_cas_head *head)
{
    uint8_t sector[RD_CAS_SECTOR];
    if (atomic_load(&cas->failed)) {
        return RD_ERR_STORAGE;
    }
    head->offset = place->offset;
    head->capacity = place->capacity;
    head->payload_off = RD_CAS_BLOCK;
    head->seq = cas->seq + 1;
    head->synced = cas->synced;
    rd_cas_head_encode(head, place->pack->head.secret, sector);
    rd_err err =
        rd_cas_io_put(place->pack->handle.fd, sector, sizeof sector, place->offset + RD_CAS_SECTOR);
    if (err != RD_OK) {
        return rd_cas_fail(
            cas); /* in place, on a page that was written before: never a full disk */
    }
    cas->seq = head->seq;
    mark_dirty(cas, place->pack, head->seq);
    place->pack->open_regions--;
    return RD_OK;
}

rd_err rd_cas_log_events(struct rd_cas *cas, const struct rd_buf *events, struct rd_cas_item *ret)
{
    struct rd_cas_place place;
    struct rd_cas_head head = {.kind = RD_CAS_EVENTS,
                               .payload_off = RD_CAS_SECTOR,
                               .payload_len = events->len,
                               .created_ms = rd_clock_wall_ms()};
    struct rd_cas_part part = {.data = events->data, .len = events->len};
    if (events->len > RD_CAS_EVENTS_MAX) {
        return RD_ERR_TOO_LARGE;
    }
    rd_hash_blake3(events->data, events->len, head.hash.blake3);
    RD_TRY(rd_cas_log_room(cas, RD_CAS_BLOCKS(RD_CAS_SECTOR + events->len), &place));
    RD_TRY(rd_cas_log_append(cas, &place, &head, &part, 1));
    pthread_mutex_lock(&cas->map);
    place.pack->kept += place.capacity;
    pthread_mutex_unlock(&cas->map);
    *ret = (struct rd_cas_item){.kind = RD_CAS_EVENTS,
                                .pack = place.pack->head.number,
                                .offset = head.offset + head.payload_off,
                                .capacity = head.capacity,
                                .seq = head.seq};
    return RD_OK;
}
