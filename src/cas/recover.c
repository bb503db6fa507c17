/* SPDX-License-Identifier: Apache-2.0
 *
 * Start: from the files to the tables. The argument why this is right stands at the top of pack.c.
 *
 *  1. Every pack: first block, then its items from the hint file or by walking.
 *  2. S, the highest `synced` that any header or hint states.
 *  3. Every pack that is not closed by an END record: is what stands behind the last valid
 *     header rot (then CORRUPT) or a torn tail (then it is cut)? A pack whose hint says that
 *     the store was closed in order, with nothing behind it, goes on as the active one; an
 *     empty one is the spare.
 *  4. Records above S are read and compared with their hashes; VOID over those that fail.
 *  5. What was cut or voided is synced, and so is everything above S: a killed process leaves
 *     bytes that only the kernel has.
 *  6. All items in the order of their numbers go through state.c.
 *  7. Files that nothing names are removed; objects that wait for a note are queued. */
#include "cas/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "cas/io.h"

struct found {
    struct rd_cas_pack *pack;
    struct rd_cas_items items;
    bool closed_in_order; /* the hint covers all that was known when the store closed */
    bool gone;            /* removed: an unused leftover */
    uint64_t beyond;      /* first-header number of the first record behind the stop; 0: none */
};

struct recovery {
    struct rd_cas *cas;
    struct rd_why *why;
    struct found *packs;
    size_t count, cap;
    uint64_t synced; /* S */
};

static rd_err corrupt(struct recovery *r, const struct rd_cas_pack *pack, uint64_t offset,
                      const char *what)
{
    char path[RD_CAS_PATH_MAX];
    rd_cas_path_pack(r->cas, pack->head.number, ".pack", path);
    return rd_why_set(r->why, RD_ERR_CORRUPT, "%s at offset %llu: %s", path,
                      (unsigned long long)offset, what);
}

/* Calls `each` with every name in DIR/<folder>. */
static rd_err list_folder(struct recovery *r, const char *folder,
                          rd_err (*each)(struct recovery *r, const char *name))
{
    char path[RD_CAS_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", r->cas->dir, folder);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return rd_why_errno(r->why, errno, "open", path);
    }
    rd_err err = RD_OK;
    const struct dirent *entry;
    while (err == RD_OK && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            err = each(r, entry->d_name);
        }
    }
    (void)closedir(dir);
    return err;
}

static void remove_in(struct recovery *r, const char *folder, const char *name)
{
    char path[RD_CAS_PATH_MAX];
    int len = snprintf(path, sizeof path, "%s/%s/%s", r->cas->dir, folder, name);
    if (len > 0 && (size_t)len < sizeof path) {
        (void)unlink(path);
    }
}

/* "NNNNNNNN<suffix>" */
static bool pack_number(const char *name, const char *suffix, uint32_t *ret)
{
    enum { DIGITS = 8 };
    uint32_t number = 0;
    for (int i = 0; i < DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9') {
            return false;
        }
        number = number * 10 + (uint32_t)(name[i] - '0');
    }
    *ret = number;
    return strcmp(name + DIGITS, suffix) == 0;
}

static rd_err load_pack(struct recovery *r, struct rd_cas_pack *pack, uint32_t number)
{
    char path[RD_CAS_PATH_MAX];
    uint8_t sector[RD_CAS_SECTOR];
    struct stat info;
    rd_cas_path_pack(r->cas, number, ".pack", path);
    pack->handle.fd = open(path, O_RDWR | O_CLOEXEC);
    if (pack->handle.fd < 0 || fstat(pack->handle.fd, &info) != 0) {
        return rd_why_errno(r->why, errno, "open", path);
    }
    pack->size = (uint64_t)info.st_size;
    pack->head.number = number;
    if (pack->size < RD_CAS_BLOCK) {
        return corrupt(r, pack, 0, "the file is shorter than its first block");
    }
    rd_err err = rd_fs_pread_all(pack->handle.fd, sector, sizeof sector, 0);
    if (err != RD_OK) {
        return rd_why_set(r->why, err, "cannot read %s", path);
    }
    if (!rd_cas_pack_head_decode(sector, &pack->head) || pack->head.number != number) {
        pack->head.number = number;
        return corrupt(r, pack, 0, "the first block does not check");
    }
    return RD_OK;
}

/* Is there any valid header behind the place where walking stopped? What such headers say about
 * `synced` is true, whatever happened to the place. */
static rd_err look_beyond(struct recovery *r, struct found *found)
{
    const struct rd_cas_pack *pack = found->pack;
    struct rd_cas_head head;
    uint64_t first;
    for (uint64_t at = found->items.end;; at = head.offset + head.capacity) {
        rd_err err =
            rd_cas_pack_search(pack->handle.fd, pack->head.secret, at, pack->size, &head, &first);
        if (err == RD_ERR_NOT_FOUND) {
            return RD_OK;
        }
        RD_TRY(err);
        found->beyond = found->beyond == 0 ? first : found->beyond;
        r->synced = head.synced > r->synced ? head.synced : r->synced;
    }
}

/* Step 1 for one pack. */
static rd_err load_items(struct recovery *r, struct found *found)
{
    struct rd_cas_pack *pack = found->pack;
    struct rd_cas_items *items = &found->items;
    rd_err err = rd_cas_hint_read(r->cas, pack, items);
    uint64_t hinted = items->end;
    bool hint = err == RD_OK;
    if (err == RD_ERR_NOT_FOUND || (hint && !items->ended)) {
        err = rd_cas_items_walk(pack, hint ? items->end : RD_CAS_BLOCK, pack->size, items);
        found->closed_in_order = hint && items->end == hinted;
    }
    if (err == RD_OK && !items->ended) {
        err = look_beyond(r, found);
    }
    if (err != RD_OK) {
        return corrupt(r, pack, items->end, "cannot be read");
    }
    pack->hinted = items->trusted;
    pack->sealed = items->ended;
    pack->tail = items->end;
    pack->kept = items->kept;
    pack->last_seq = items->last_seq > pack->head.base_seq ? items->last_seq : pack->head.base_seq;
    r->synced = items->synced > r->synced ? items->synced : r->synced;
    r->cas->seq = pack->last_seq > r->cas->seq ? pack->last_seq : r->cas->seq;
    return RD_OK;
}

static rd_err meet_pack(struct recovery *r, const char *name)
{
    uint32_t number;
    if (pack_number(name, ".new", &number)) {
        remove_in(r, "packs", name); /* half made */
        return RD_OK;
    }
    if (!pack_number(name, ".pack", &number)) {
        return RD_OK;
    }
    if (r->count == r->cap) {
        size_t cap = r->cap == 0 ? 16 : r->cap * 2;
        struct found *packs = rd_mem_resize(r->packs, cap * sizeof *packs);
        if (packs == NULL) {
            return RD_ERR_NO_MEMORY;
        }
        r->packs = packs;
        r->cap = cap;
    }
    struct rd_cas_pack *pack = rd_mem_alloc(sizeof *pack);
    if (pack == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    atomic_init(&pack->handle.refs, 1);
    pack->handle.fd = -1;
    struct found *found = &r->packs[r->count++];
    *found = (struct found){.pack = pack};
    RD_TRY(load_pack(r, pack, number));
    if (number >= r->cas->next_number) {
        r->cas->next_number = number + 1;
    }
    return load_items(r, found);
}

/* Step 3: has the place where walking stopped ever been durable? Then it is rot. */
static rd_err check_rot(struct recovery *r, const struct found *found)
{
    const struct rd_cas_pack *pack = found->pack;
    if (found->beyond != 0 && r->synced >= found->beyond) {
        return corrupt(r, pack, found->items.end, "a record that was durable does not check");
    }
    for (size_t i = 0; i < r->count && found->items.first_seq != 0; i++) {
        const struct rd_cas_items *other = &r->packs[i].items;
        if (other->first_seq > found->items.last_first_seq && r->synced >= other->first_seq) {
            return corrupt(r, pack, found->items.end, "the end of a closed pack is missing");
        }
    }
    return RD_OK;
}

static bool is_zero_sector(const struct rd_cas_pack *pack, uint64_t offset)
{
    uint8_t sector[RD_CAS_SECTOR];
    if (offset + sizeof sector > pack->size ||
        rd_fs_pread_all(pack->handle.fd, sector, sizeof sector, (off_t)offset) != RD_OK) {
        return false;
    }
    for (size_t i = 0; i < sizeof sector; i++) {
        if (sector[i] != 0) {
            return false;
        }
    }
    return true;
}

/* Cuts a torn tail and writes END there. */
static rd_err cut_pack(struct recovery *r, struct found *found)
{
    struct rd_cas_pack *pack = found->pack;
    uint8_t block[RD_CAS_BLOCK] = {0};
    struct rd_cas_head end = {.kind = RD_CAS_END,
                              .offset = found->items.end,
                              .capacity = RD_CAS_BLOCK,
                              .payload_off = RD_CAS_SECTOR,
                              .seq = ++r->cas->seq,
                              .synced = r->synced};
    rd_cas_head_encode(&end, pack->head.secret, block);
    if (ftruncate(pack->handle.fd, (off_t)end.offset) != 0) {
        return rd_why_errno(r->why, errno, "cut", "a torn pack");
    }
    rd_err err = rd_cas_io_put(pack->handle.fd, block, sizeof block, end.offset);
    if (err != RD_OK) {
        return rd_why_set(r->why, err, "cannot close a torn pack");
    }
    pack->tail = end.offset + RD_CAS_BLOCK;
    pack->size = pack->tail;
    pack->sealed = true;
    pack->last_seq = end.seq;
    return RD_OK;
}

static rd_err settle_pack(struct recovery *r, struct found *found)
{
    struct rd_cas *cas = r->cas;
    struct rd_cas_pack *pack = found->pack;
    if (found->items.ended) {
        return RD_OK;
    }
    RD_TRY(check_rot(r, found));
    bool clean = found->beyond == 0 && is_zero_sector(pack, found->items.end);
    if (clean && found->items.first_seq == 0) { /* never used */
        char name[RD_CAS_PATH_MAX];
        if (cas->spare == NULL && pack->size == cas->config.pack_bytes) {
            cas->spare = pack;
            return RD_OK;
        }
        rd_cas_path_pack(cas, pack->head.number, ".pack", name);
        (void)unlink(name);
        found->gone = true;
        return RD_OK;
    }
    if (clean && found->closed_in_order && cas->active == NULL) {
        cas->active = pack;
        return RD_OK;
    }
    return cut_pack(r, found);
}

/* Whether a record's payload and meta are what its header says. */
static rd_err check_record(struct recovery *r, const struct rd_cas_pack *pack,
                           const struct rd_cas_head *head)
{
    RD_AUTO_BUF struct rd_buf meta;
    rd_buf_init(&meta, RD_CAS_META_MAX);
    RD_TRY(rd_cas_read_record_meta(pack->handle.fd, head, &meta));
    if (head->kind == RD_CAS_LARGE) {
        char path[RD_CAS_PATH_MAX];
        struct stat info;
        rd_cas_path_large(r->cas, head->large_id, path);
        RD_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &info) != 0 || (uint64_t)info.st_size != head->payload_len) {
            return RD_ERR_CORRUPT;
        }
        RD_TRY(rd_cas_check_bytes(fd, 0, head->payload_len, &head->hash));
        return rd_cas_io_sync(fd);
    }
    return rd_cas_check_bytes(pack->handle.fd, head->offset + head->payload_off, head->payload_len,
                              &head->hash);
}

static rd_err void_record(struct recovery *r, const struct rd_cas_pack *pack,
                          const struct rd_cas_head *head)
{
    uint8_t sector[RD_CAS_SECTOR];
    struct rd_cas_head empty = {.kind = RD_CAS_VOID,
                                .offset = head->offset,
                                .capacity = head->capacity,
                                .payload_off = head->payload_off,
                                .seq = head->seq,
                                .synced = head->synced};
    rd_cas_head_encode(&empty, pack->head.secret, sector);
    uint64_t at = head->offset + (head->payload_off == RD_CAS_BLOCK ? RD_CAS_SECTOR : 0);
    rd_err err = rd_cas_io_put(pack->handle.fd, sector, sizeof sector, at);
    return err == RD_OK ? RD_OK : rd_why_set(r->why, err, "cannot void a torn record");
}

/* Step 4 for one item; *ret_keep says whether it counts. */
static rd_err verify_item(struct recovery *r, const struct rd_cas_pack *pack,
                          const struct rd_cas_item *item, bool *ret_keep)
{
    bool events = item->kind == RD_CAS_EVENTS;
    bool broken_events = events && item->event == 0;
    *ret_keep = !broken_events;
    if (broken_events && item->seq <= r->synced) {
        return corrupt(r, pack, item->offset, "a record of events does not check");
    }
    if ((events && !broken_events) || item->kind == RD_CAS_DUP || item->seq <= r->synced) {
        return RD_OK;
    }
    struct rd_cas_head head;
    uint64_t first;
    rd_err err = rd_cas_pack_walk(pack->handle.fd, pack->head.secret, item->offset,
                                  item->offset + item->capacity, &head, &first);
    if (err == RD_OK && !broken_events) {
        err = check_record(r, pack, &head);
        if (err == RD_OK) {
            return RD_OK;
        }
    }
    if (err == RD_OK || err == RD_ERR_CORRUPT) {
        *ret_keep = false;
        return void_record(r, pack, &head);
    }
    return rd_why_set(r->why, err, "cannot check a record at offset %llu",
                      (unsigned long long)item->offset);
}

/* Steps 4 and 5 for one pack; keeps only the items that count. */
static rd_err verify_pack(struct recovery *r, struct found *found)
{
    size_t kept = 0;
    if (found->items.trusted || found->gone) {
        return RD_OK;
    }
    for (size_t i = 0; i < found->items.count; i++) {
        bool keep = true;
        RD_TRY(verify_item(r, found->pack, &found->items.items[i], &keep));
        if (keep) {
            found->items.items[kept++] = found->items.items[i];
        }
    }
    found->items.count = kept;
    rd_err err = rd_cas_io_sync(found->pack->handle.fd);
    return err == RD_OK ? RD_OK : rd_why_set(r->why, err, "cannot sync a pack");
}

static int by_seq(const void *a, const void *b)
{
    const struct rd_cas_item *const *x = a, *const *y = b;
    if ((*x)->seq != (*y)->seq) {
        return (*x)->seq < (*y)->seq ? -1 : 1;
    }
    return ((*x)->place > (*y)->place) - ((*x)->place < (*y)->place);
}

/* Step 6. The packs are in the table already. */
static rd_err replay(struct recovery *r)
{
    size_t total = 0, n = 0;
    for (size_t i = 0; i < r->count; i++) {
        total += r->packs[i].items.count;
    }
    RD_AUTO_FREE const struct rd_cas_item **order = rd_mem_alloc_array(total, sizeof *order);
    if (order == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    bool sorted = true;
    for (size_t i = 0; i < r->count; i++) {
        for (size_t j = 0; j < r->packs[i].items.count; j++) {
            order[n] = &r->packs[i].items.items[j];
            sorted = sorted && (n == 0 || by_seq(&order[n - 1], &order[n]) <= 0);
            n++;
        }
    }
    if (!sorted) {
        qsort(order, total, sizeof *order, by_seq);
    }
    for (size_t i = 0; i < total; i++) {
        RD_TRY(rd_cas_state_replay(r->cas, order[i]));
    }
    r->cas->doomed_count = 0; /* the sweep finds them */
    return RD_OK;
}

static rd_err add_packs(struct recovery *r)
{
    for (size_t i = 0; i < r->count; i++) {
        struct found *found = &r->packs[i];
        if (found->gone) {
            continue;
        }
        RD_TRY(rd_cas_state_add_pack(r->cas, found->pack));
        struct rd_cas_pack *pack = found->pack;
        found->pack = NULL; /* the table's from here on */
        if (pack->sealed && !pack->hinted) {
            r->cas->unhinted = true;
        }
        if (pack->sealed && pack->hinted && pack->size > pack->tail &&
            ftruncate(pack->handle.fd, (off_t)pack->tail) != 0) {
            return rd_why_errno(r->why, errno, "cut", "a full pack");
        }
    }
    return RD_OK;
}

static rd_err sweep_tmp(struct recovery *r, const char *name)
{
    remove_in(r, "tmp", name);
    return RD_OK;
}

static rd_err sweep_hint(struct recovery *r, const char *name)
{
    uint32_t number;
    if (pack_number(name, ".idx", &number) && rd_cas_state_pack(r->cas, number) == NULL) {
        remove_in(r, "packs", name);
    }
    return RD_OK;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* Files in large/ that no object names: of failed commits, and of deletions. */
static rd_err sweep_large(struct recovery *r)
{
    char folder[RD_CAS_PATH_MAX];
    size_t cursor = 0, count = 0;
    struct rd_cas_entry *entry;
    RD_AUTO_FREE uint64_t *named =
        rd_mem_alloc_array(rd_cas_index_count(r->cas->index), sizeof *named);
    if (named == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    while ((entry = rd_cas_index_next(r->cas->index, &cursor)) != NULL) {
        if (entry->large_id != 0) {
            named[count++] = entry->large_id;
        }
    }
    qsort(named, count, sizeof *named, by_id);
    (void)snprintf(folder, sizeof folder, "%s/large", r->cas->dir);
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        return rd_why_errno(r->why, errno, "open", folder);
    }
    const struct dirent *file;
    while ((file = readdir(dir)) != NULL) {
        uint8_t bytes[8];
        uint64_t id = 0;
        if (!rd_text_unhex(file->d_name, strlen(file->d_name), bytes, sizeof bytes)) {
            continue; /* not ours */
        }
        for (size_t i = 0; i < sizeof bytes; i++) {
            id = id << 8 | bytes[i];
        }
        if (bsearch(&id, named, count, sizeof *named, by_id) == NULL) {
            remove_in(r, "large", file->d_name);
        }
    }
    (void)closedir(dir);
    return RD_OK;
}

static rd_err queue_notes(struct recovery *r)
{
    size_t cursor = 0, queued = 0;
    struct rd_cas_entry *entry;
    while (r->cas->config.annotate != NULL && queued < RD_CAS_QUEUE_MAX / 2 &&
           (entry = rd_cas_index_next(r->cas->index, &cursor)) != NULL) {
        if (!entry->want_note || entry->note_len > 0) {
            continue;
        }
        struct rd_cas_job *job = rd_cas_job_new(RD_CAS_JOB_NOTE);
        if (job == NULL) {
            return RD_ERR_NO_MEMORY;
        }
        job->want_note = true;
        memcpy(job->hash.blake3, entry->blake3, RD_HASH_LEN);
        rd_cas_queue_push(r->cas, job, /* urgent= */ true);
        queued++;
    }
    return RD_OK;
}

static rd_err run(struct recovery *r)
{
    struct rd_cas *cas = r->cas;
    RD_TRY(list_folder(r, "packs", meet_pack));
    cas->seq = r->synced > cas->seq ? r->synced : cas->seq;
    for (size_t i = 0; i < r->count; i++) {
        RD_TRY(settle_pack(r, &r->packs[i]));
    }
    for (size_t i = 0; i < r->count; i++) {
        RD_TRY(verify_pack(r, &r->packs[i]));
    }
    if (fsync(cas->large_dir_fd) != 0) {
        return rd_why_errno(r->why, errno, "sync", "large/");
    }
    cas->synced = cas->seq;
    RD_TRY(add_packs(r));
    RD_TRY(replay(r));
    RD_TRY(list_folder(r, "packs", sweep_hint));
    RD_TRY(list_folder(r, "tmp", sweep_tmp));
    RD_TRY(sweep_large(r));
    return queue_notes(r);
}

rd_err rd_cas_recover(struct rd_cas *cas, struct rd_why *why)
{
    struct recovery r = {.cas = cas, .why = why};
    if (why != NULL) {
        why->text[0] = '\0';
    }
    rd_err err = run(&r);
    for (size_t i = 0; i < r.count; i++) {
        if (r.packs[i].pack != NULL) {
            if (r.packs[i].pack == cas->active) {
                cas->active = NULL;
            }
            if (r.packs[i].pack == cas->spare) {
                cas->spare = NULL;
            }
            rd_cas_handle_unref(&r.packs[i].pack->handle);
        }
        rd_cas_items_done(&r.packs[i].items);
    }
    rd_mem_free(r.packs);
    if (err != RD_OK && why != NULL && why->text[0] == '\0') {
        return rd_why_set(why, err, "cannot recover %s: %s", cas->dir, rd_err_info(err)->message);
    }
    return err;
}
