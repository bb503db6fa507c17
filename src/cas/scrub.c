/* SPDX-License-Identifier: Apache-2.0
 *
 * The scrub: reads everything that the store relies on and compares it with its checksums.
 *  1. Every object, by the index: header, payload, meta, and the file of a large one.
 *  2. Every pack: the first block, the chain of headers, and the payloads of EVENTS records
 *     (notes and deletions), none of which an object's own check covers.
 * Bytes that nothing depends on (garbage, padding) are not looked at. */
#include "cas/internal.h"

#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"

enum { STEP = 256 };

static void report(struct rd_cas_scrub *scrub, const char *where, const uint8_t *blake3)
{
    scrub->bad++;
    if (scrub->on_bad != NULL) {
        scrub->on_bad(scrub->ctx, where, blake3);
    }
}

static rd_err scrub_object(struct rd_cas *cas, struct rd_cas_scrub *scrub,
                           const uint8_t blake3[RD_HASH_LEN])
{
    struct rd_cas_object object;
    struct rd_cas_meta meta = {0};
    rd_err err = rd_cas_open_object(cas, blake3, &object);
    if (err == RD_ERR_NOT_FOUND) {
        return RD_OK; /* deleted meanwhile */
    }
    uint64_t size = 0;
    if (err == RD_OK) {
        size = object.size;
        err = rd_cas_check_bytes(object.fd, object.offset, object.size, &object.hash);
        rd_cas_release_object(&object);
    }
    if (err == RD_OK) {
        err = rd_cas_read_meta(cas, blake3, &meta);
        rd_mem_free(meta.meta);
        rd_mem_free(meta.note);
        if (err == RD_ERR_NOT_FOUND) {
            return RD_OK;
        }
    }
    scrub->objects++;
    scrub->bytes += size;
    if (err == RD_ERR_CORRUPT || err == RD_ERR_IO) { /* an unreadable sector is bad, too */
        report(scrub, "object", blake3);
        return RD_OK;
    }
    return err;
}

static rd_err scrub_objects(struct rd_cas *cas, struct rd_cas_scrub *scrub)
{
    size_t cursor = 0, count;
    RD_AUTO_FREE uint8_t(*names)[RD_HASH_LEN] = rd_mem_alloc_array(STEP, RD_HASH_LEN);
    if (names == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    do {
        const struct rd_cas_entry *entry;
        count = 0;
        pthread_mutex_lock(&cas->map);
        while (count < STEP && (entry = rd_cas_index_next(cas->index, &cursor)) != NULL) {
            if (entry->visible) {
                memcpy(names[count++], entry->blake3, RD_HASH_LEN);
            }
        }
        pthread_mutex_unlock(&cas->map);
        for (size_t i = 0; i < count; i++) {
            RD_TRY(scrub_object(cas, scrub, names[i]));
        }
    } while (count == STEP);
    return RD_OK;
}

struct pack_view {
    struct rd_cas_pack *pack; /* referenced */
    uint64_t tail;
    uint32_t number;
    uint8_t secret[RD_CAS_SECRET_LEN];
};

static bool next_pack(struct rd_cas *cas, uint32_t above, struct pack_view *ret)
{
    bool found = false;
    pthread_mutex_lock(&cas->log);
    pthread_mutex_lock(&cas->map);
    for (size_t i = 0; i < cas->pack_count && !found; i++) {
        struct rd_cas_pack *pack = cas->packs[i];
        if (pack->head.number > above) {
            *ret =
                (struct pack_view){.pack = pack, .tail = pack->tail, .number = pack->head.number};
            memcpy(ret->secret, pack->head.secret, sizeof ret->secret);
            rd_cas_handle_ref(&pack->handle);
            found = true;
        }
    }
    pthread_mutex_unlock(&cas->map);
    pthread_mutex_unlock(&cas->log);
    return found;
}

static void report_at(struct rd_cas_scrub *scrub, const struct pack_view *view, uint64_t offset,
                      const char *what)
{
    static const uint8_t none[RD_HASH_LEN];
    char where[128];
    (void)snprintf(where, sizeof where, "packs/%08u.pack at offset %llu: %s", view->number,
                   (unsigned long long)offset, what);
    report(scrub, where, none);
}

/* An event record at `head`. */
static rd_err scrub_events(struct rd_cas_scrub *scrub, const struct pack_view *view,
                           const struct rd_cas_head *head)
{
    RD_AUTO_BUF struct rd_buf bytes;
    rd_buf_init(&bytes, RD_CAS_EVENTS_MAX);
    rd_err err = rd_cas_pack_events(view->pack->handle.fd, head, &bytes);
    if (err == RD_ERR_CORRUPT || err == RD_ERR_IO) {
        report_at(scrub, view, head->offset, "notes or deletions");
        return RD_OK;
    }
    return err;
}

static rd_err scrub_pack(struct rd_cas_scrub *scrub, const struct pack_view *view)
{
    uint8_t sector[RD_CAS_SECTOR];
    struct rd_cas_pack_head pack_head;
    struct rd_cas_head head;
    uint64_t first;
    int fd = view->pack->handle.fd;
    if (rd_fs_pread_all(fd, sector, sizeof sector, 0) != RD_OK ||
        !rd_cas_pack_head_decode(sector, &pack_head) || pack_head.number != view->number) {
        report_at(scrub, view, 0, "first block");
    }
    for (uint64_t offset = RD_CAS_BLOCK; offset < view->tail;
         offset = head.offset + head.capacity) {
        rd_err err = rd_cas_pack_walk(fd, view->secret, offset, view->tail, &head, &first);
        if (err == RD_ERR_NOT_FOUND || err == RD_ERR_CORRUPT || err == RD_ERR_IO) {
            report_at(scrub, view, offset, "record header");
            err = rd_cas_pack_search(fd, view->secret, offset + RD_CAS_BLOCK, view->tail, &head,
                                     &first);
            if (err != RD_OK) {
                return RD_OK; /* nothing behind it that could be found again */
            }
        }
        RD_TRY(err);
        if (head.kind == RD_CAS_EVENTS) {
            RD_TRY(scrub_events(scrub, view, &head));
        }
    }
    return RD_OK;
}

rd_err rd_cas_scrub(struct rd_cas *cas, struct rd_cas_scrub *scrub)
{
    struct pack_view view = {.number = 0};
    scrub->objects = scrub->bytes = scrub->bad = 0;
    RD_TRY(scrub_objects(cas, scrub));
    while (next_pack(cas, view.number, &view)) {
        rd_err err = scrub_pack(scrub, &view);
        rd_cas_handle_unref(&view.pack->handle);
        RD_TRY(err);
    }
    return RD_OK;
}
