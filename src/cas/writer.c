/* SPDX-License-Identifier: Apache-2.0
 *
 * Writers: one object on its way in.
 *
 * Bytes are hashed as they arrive, on the caller's thread, and then go one of three ways:
 *   MEMORY  up to RD_CAS_BUFFER bytes: kept, and written at commit, header, payload and meta in one
 * go. An object that is given up costs no disk, and a lying size hint costs nothing. REGION longer,
 * and the size was announced: a region of the pack is taken when the buffer first overflows, and
 * the payload goes to its place as it arrives. FILE    longer than own_file_bytes, or of unknown
 * size, or longer than announced: a file in tmp/. At seal it is copied into the pack, or stays a
 * file and moves to large/ at commit. The kernel is asked to start writing behind us every
 * START_STEP, so that the disk works while we hash. Not sooner: measured with 16 MiB objects this
 * doubles the rate, but with 1.5 MB ones it makes the disk serve many small orders where one sync
 * would have given it a long one.
 *
 * A commit looks the object up under the log lock. Bytes that the store has already are written
 * all the same, as a DUP record whose payload counts as garbage: the same work and the same sync,
 * so that nobody learns from the clock whether another tenant has these bytes. */
#include "cas/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/limits.h"
#include "base/mem.h"
#include "cas/io.h"

enum { BUFFER_FIRST = 65536 + 4096, START_STEP = 4 << 20 };

enum mode { MEMORY, REGION, FILE_OF_ITS_OWN };

struct rd_cas_writer {
    struct rd_cas_writer *next; /* in the pool */
    struct rd_cas *cas;
    struct rd_hasher *hasher; /* owned */
    char *buf;                /* owned */
    size_t buf_len, buf_cap;
    uint64_t owner, hint;
    uint64_t written; /* bytes taken from the caller */
    uint64_t flushed; /* of these, handed to the kernel */
    uint64_t started; /* of these, on their way to the disk */
    enum mode mode;
    struct rd_cas_place place; /* REGION */
    uint64_t room;             /* REGION: payload bytes that fit */
    int fd;                    /* FILE; -1 else */
    uint64_t file_id;
    struct rd_hash hash;
    bool sealed;
    rd_err err; /* sticky */
};

static void writer_free(struct rd_cas_writer *writer)
{
    rd_hasher_free(writer->hasher);
    rd_mem_free(writer->buf);
    rd_mem_free(writer);
}

void rd_cas_writer_drain_pool(struct rd_cas *cas)
{
    while (cas->pool != NULL) {
        struct rd_cas_writer *writer = cas->pool;
        cas->pool = writer->next;
        writer_free(writer);
    }
}

static rd_err writer_get(struct rd_cas *cas, struct rd_cas_writer **ret)
{
    pthread_mutex_lock(&cas->pool_lock);
    struct rd_cas_writer *writer = cas->pool;
    if (writer != NULL) {
        cas->pool = writer->next;
        cas->pool_count--;
    }
    pthread_mutex_unlock(&cas->pool_lock);
    if (writer != NULL) {
        rd_hasher_reset(writer->hasher);
        *writer = (struct rd_cas_writer){.cas = cas,
                                         .hasher = writer->hasher,
                                         .buf = writer->buf,
                                         .buf_cap = writer->buf_cap,
                                         .fd = -1};
        *ret = writer;
        return RD_OK;
    }
    writer = rd_mem_alloc(sizeof *writer);
    if (writer == NULL || rd_hasher_new(&writer->hasher) != RD_OK) {
        rd_mem_free(writer);
        return RD_ERR_NO_MEMORY;
    }
    writer->cas = cas;
    writer->fd = -1;
    *ret = writer;
    return RD_OK;
}

/* Gives back whatever the writer still holds, and the writer. */
static void writer_put(struct rd_cas_writer *writer)
{
    struct rd_cas *cas = writer->cas;
    if (writer->mode == REGION) {
        rd_cas_log_drop_region(cas, &writer->place);
    }
    if (writer->fd >= 0) {
        char path[RD_CAS_PATH_MAX];
        rd_cas_path_tmp(cas, writer->file_id, path);
        (void)unlink(path);
        (void)close(writer->fd);
    }
    pthread_mutex_lock(&cas->pool_lock);
    bool keep = cas->pool_count < RD_CAS_POOL_MAX;
    if (keep) {
        writer->next = cas->pool;
        cas->pool = writer;
        cas->pool_count++;
    }
    pthread_mutex_unlock(&cas->pool_lock);
    if (!keep) {
        writer_free(writer);
    }
}

static rd_err check_disk(const struct rd_cas *cas, uint64_t hint)
{
    struct statvfs info;
    uint64_t need = cas->config.min_free_bytes;
    if (hint > cas->config.own_file_bytes) {
        need += hint; /* smaller ones go into space that is taken already */
    }
    if (need == 0) {
        return RD_OK;
    }
    if (fstatvfs(cas->lock_fd, &info) != 0) {
        return rd_err_errno(errno);
    }
    return (uint64_t)info.f_bavail * info.f_frsize < need ? RD_ERR_DISK_FULL : RD_OK;
}

rd_err rd_cas_begin(struct rd_cas *cas, uint64_t owner, uint64_t size_hint,
                    struct rd_cas_writer **ret)
{
    struct rd_cas_writer *writer = NULL;
    if (atomic_load(&cas->failed)) {
        return RD_ERR_STORAGE;
    }
    if (size_hint > RD_LIMIT_OBJECT_BYTES) {
        return RD_ERR_TOO_LARGE;
    }
    RD_TRY(check_disk(cas, size_hint));
    RD_TRY(writer_get(cas, &writer));
    writer->owner = owner;
    writer->hint = size_hint;
    *ret = writer;
    return RD_OK;
}

uint64_t rd_cas_written(const struct rd_cas_writer *writer)
{
    return writer->written;
}

static rd_err open_file(struct rd_cas_writer *writer)
{
    char path[RD_CAS_PATH_MAX];
    do {
        rd_id_random(&writer->file_id, sizeof writer->file_id);
    } while (writer->file_id == 0); /* 0 means: none */
    rd_cas_path_tmp(writer->cas, writer->file_id, path);
    writer->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (writer->fd < 0) {
        return rd_err_errno(errno);
    }
    if (writer->hint > writer->written) {
        /* A full disk says so now; but a length that is only claimed takes no more than this. */
        uint64_t most = writer->cas->config.own_file_bytes;
        return rd_cas_io_allocate(writer->fd, writer->hint < most ? writer->hint : most);
    }
    return RD_OK;
}

/* Copies `len` payload bytes from one file to another through the (empty) buffer. */
static rd_err copy_bytes(struct rd_cas_writer *writer, int from, uint64_t from_at, int into,
                         uint64_t into_at, uint64_t len)
{
    for (uint64_t done = 0; done < len;) {
        size_t step = len - done < writer->buf_cap ? (size_t)(len - done) : writer->buf_cap;
        RD_TRY(rd_fs_pread_all(from, writer->buf, step, (off_t)(from_at + done)));
        RD_TRY(rd_cas_io_put(into, writer->buf, step, into_at + done));
        done += step;
    }
    return RD_OK;
}

/* The object outgrew its region: what is in the region goes to a file. */
static rd_err region_to_file(struct rd_cas_writer *writer)
{
    struct rd_cas_place old = writer->place;
    RD_TRY(open_file(writer));
    /* The buffer holds bytes that come next, so the copy needs memory of its own; it is rare. */
    RD_AUTO_FREE char *step = rd_mem_alloc(BUFFER_FIRST);
    if (step == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    for (uint64_t done = 0; done < writer->flushed;) {
        uint64_t left = writer->flushed - done;
        size_t len = left < BUFFER_FIRST ? (size_t)left : BUFFER_FIRST;
        RD_TRY(rd_fs_pread_all(old.pack->handle.fd, step, len,
                               (off_t)(old.offset + RD_CAS_BLOCK + done)));
        RD_TRY(rd_cas_io_put(writer->fd, step, len, done));
        done += len;
    }
    writer->mode = FILE_OF_ITS_OWN;
    rd_cas_log_drop_region(writer->cas, &old);
    return RD_OK;
}

/* The buffer overflows: `coming` more bytes are at hand. */
static rd_err choose_mode(struct rd_cas_writer *writer, size_t coming)
{
    uint64_t seen = writer->buf_len + coming;
    if (writer->hint >= seen && writer->hint <= writer->cas->config.own_file_bytes) {
        RD_TRY(
            rd_cas_log_open_region(writer->cas, writer->hint + RD_CAS_META_ROOM, &writer->place));
        writer->room = writer->hint;
        writer->mode = REGION;
        return RD_OK;
    }
    RD_TRY(open_file(writer));
    writer->mode = FILE_OF_ITS_OWN;
    return RD_OK;
}

/* Hands bytes to the kernel, behind those before. */
static rd_err flush_bytes(struct rd_cas_writer *writer, const void *data, size_t len)
{
    if (writer->mode == REGION && len > writer->room - writer->flushed) {
        RD_TRY(region_to_file(writer));
    }
    bool region = writer->mode == REGION;
    int fd = region ? writer->place.pack->handle.fd : writer->fd;
    uint64_t base = region ? writer->place.offset + RD_CAS_BLOCK : 0;
    RD_TRY(rd_cas_io_put(fd, data, len, base + writer->flushed));
    writer->flushed += len;
    if (writer->flushed - writer->started >= START_STEP) {
        rd_cas_io_start(fd, base + writer->started, writer->flushed - writer->started);
        writer->started = writer->flushed;
    }
    return RD_OK;
}

static rd_err flush_buffer(struct rd_cas_writer *writer)
{
    size_t len = writer->buf_len;
    if (len > 0) {
        RD_TRY(flush_bytes(writer, writer->buf, len));
        writer->buf_len = 0;
    }
    return RD_OK;
}

static rd_err ensure_buffer(struct rd_cas_writer *writer, size_t need)
{
    if (need <= writer->buf_cap) {
        return RD_OK;
    }
    size_t cap = BUFFER_FIRST;
    if (need > cap || writer->hint > cap) {
        cap = RD_CAS_BUFFER;
    }
    char *buf = rd_mem_resize(writer->buf, cap);
    if (buf == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    writer->buf = buf;
    writer->buf_cap = cap;
    return RD_OK;
}

static rd_err store_bytes(struct rd_cas_writer *writer, const char *data, size_t len)
{
    if (writer->mode == MEMORY && writer->buf_len + len > RD_CAS_BUFFER) {
        RD_TRY(choose_mode(writer, len));
    }
    if (writer->mode != MEMORY && writer->buf_len + len > RD_CAS_BUFFER) {
        RD_TRY(flush_buffer(writer));
    }
    if (len > RD_CAS_BUFFER) {
        return flush_bytes(writer, data, len);
    }
    RD_TRY(ensure_buffer(writer, writer->buf_len + len));
    memcpy(writer->buf + writer->buf_len, data, len);
    writer->buf_len += len;
    return RD_OK;
}

rd_err rd_cas_data(struct rd_cas_writer *writer, const void *data, size_t len)
{
    if (writer->err == RD_OK && writer->sealed) {
        writer->err = RD_ERR_INTERNAL;
    }
    if (writer->err == RD_OK && len > RD_LIMIT_OBJECT_BYTES - writer->written) {
        writer->err = RD_ERR_TOO_LARGE;
    }
    if (writer->err == RD_OK && len > 0) {
        rd_hasher_update(writer->hasher, data, len);
        writer->err = store_bytes(writer, data, len);
        writer->written += len;
    }
    return writer->err;
}

/* A spooled object that turned out to be small enough moves into a pack. */
static rd_err file_to_region(struct rd_cas_writer *writer)
{
    char path[RD_CAS_PATH_MAX];
    struct rd_cas_place place;
    RD_TRY(ensure_buffer(writer, RD_CAS_BUFFER));
    RD_TRY(rd_cas_log_open_region(writer->cas, writer->written + RD_CAS_META_ROOM, &place));
    rd_err err = copy_bytes(writer, writer->fd, 0, place.pack->handle.fd,
                            place.offset + RD_CAS_BLOCK, writer->written);
    if (err != RD_OK) {
        rd_cas_log_drop_region(writer->cas, &place);
        return err;
    }
    rd_cas_path_tmp(writer->cas, writer->file_id, path);
    (void)unlink(path);
    (void)close(writer->fd);
    writer->fd = -1;
    writer->place = place;
    writer->mode = REGION;
    return RD_OK;
}

static rd_err seal(struct rd_cas_writer *writer)
{
    if (writer->mode == MEMORY) {
        return RD_OK;
    }
    RD_TRY(flush_buffer(writer));
    if (writer->mode == REGION) {
        return RD_OK;
    }
    if (writer->written <= writer->cas->config.own_file_bytes) {
        return file_to_region(writer);
    }
    return ftruncate(writer->fd, (off_t)writer->written) == 0 ? RD_OK : rd_err_errno(errno);
}

rd_err rd_cas_seal(struct rd_cas_writer *writer, struct rd_hash *ret)
{
    if (writer->err == RD_OK && writer->sealed) {
        writer->err = RD_ERR_INTERNAL;
    }
    if (writer->err == RD_OK) {
        rd_hasher_finish(writer->hasher, &writer->hash);
        writer->sealed = true;
        writer->err = seal(writer);
    }
    if (writer->err == RD_OK) {
        *ret = writer->hash;
    }
    return writer->err;
}

void rd_cas_abort(struct rd_cas_writer *writer)
{
    if (writer != NULL) {
        writer_put(writer);
    }
}

/* Puts the meta behind the payload of a filled region; into a longer region when it does not fit.
 */
static rd_err region_meta(struct rd_cas_writer *writer, const struct rd_cas_commit *commit)
{
    if (commit->meta_len > writer->place.capacity - RD_CAS_BLOCK - writer->written) {
        struct rd_cas_place old = writer->place, place;
        RD_TRY(ensure_buffer(writer, RD_CAS_BUFFER));
        RD_TRY(rd_cas_log_open_region(writer->cas, writer->written + commit->meta_len, &place));
        rd_err err =
            copy_bytes(writer, old.pack->handle.fd, old.offset + RD_CAS_BLOCK,
                       place.pack->handle.fd, place.offset + RD_CAS_BLOCK, writer->written);
        rd_cas_log_drop_region(writer->cas, err == RD_OK ? &old : &place);
        RD_TRY(err);
        writer->place = place;
    }
    return rd_cas_io_put(writer->place.pack->handle.fd, commit->meta, commit->meta_len,
                         writer->place.offset + RD_CAS_BLOCK + writer->written);
}

/* What can be done before the log lock: the meta of a region, the name of a large file. */
static rd_err prepare(struct rd_cas_writer *writer, const struct rd_cas_commit *commit,
                      struct rd_cas_head *head)
{
    if (writer->err != RD_OK) {
        return writer->err;
    }
    size_t type_len =
        commit->content_type == NULL ? 0 : strnlen(commit->content_type, RD_CAS_TYPE_MAX + 1);
    if (!writer->sealed || type_len > RD_CAS_TYPE_MAX || commit->meta_len > RD_CAS_META_MAX) {
        return RD_ERR_INVALID_REQUEST;
    }
    *head = (struct rd_cas_head){.kind = RD_CAS_OBJECT,
                                 .flags = commit->want_note ? RD_CAS_WANT_NOTE : 0,
                                 .payload_off = RD_CAS_SECTOR,
                                 .payload_len = writer->written,
                                 .meta_len = (uint32_t)commit->meta_len,
                                 .owner = writer->owner,
                                 .created_ms = rd_clock_wall_ms(),
                                 .hash = writer->hash};
    if (type_len > 0) {
        memcpy(head->content_type, commit->content_type, type_len);
    }
    rd_hash_blake3(commit->meta, commit->meta_len, head->meta_check);
    if (writer->mode == REGION) {
        return region_meta(writer, commit);
    }
    if (writer->mode == FILE_OF_ITS_OWN) {
        char from[RD_CAS_PATH_MAX], into[RD_CAS_PATH_MAX];
        head->kind = RD_CAS_LARGE;
        head->large_id = writer->file_id;
        rd_cas_path_tmp(writer->cas, writer->file_id, from);
        rd_cas_path_large(writer->cas, writer->file_id, into);
        return rename(from, into) == 0 ? RD_OK : rd_err_errno(errno);
    }
    return RD_OK;
}

/* Writes the record; under the log lock. */
static rd_err write_record(struct rd_cas_writer *writer, const struct rd_cas_commit *commit,
                           struct rd_cas_head *head)
{
    if (writer->mode == REGION) {
        return rd_cas_log_finish_region(writer->cas, &writer->place, head);
    }
    struct rd_cas_place place;
    struct rd_cas_part parts[2] = {{writer->buf, writer->buf_len},
                                   {commit->meta, commit->meta_len}};
    uint64_t len = RD_CAS_SECTOR + commit->meta_len;
    bool large = writer->mode == FILE_OF_ITS_OWN;
    len += large ? 0 : writer->buf_len;
    RD_TRY(rd_cas_log_room(writer->cas, RD_CAS_BLOCKS(len), &place));
    RD_TRY(rd_cas_log_append(writer->cas, &place, head, large ? &parts[1] : parts, large ? 1 : 2));
    writer->place = place;
    return RD_OK;
}

static void fill_item(const struct rd_cas_writer *writer, const struct rd_cas_head *head,
                      struct rd_cas_item *item)
{
    *item = (struct rd_cas_item){.kind = head->kind,
                                 .want_note = (head->flags & RD_CAS_WANT_NOTE) != 0,
                                 .pack = writer->place.pack->head.number,
                                 .offset = head->offset,
                                 .capacity = head->capacity,
                                 .seq = head->seq,
                                 .size = head->payload_len,
                                 .owner = head->owner,
                                 .created_ms = head->created_ms,
                                 .large_id = head->large_id};
    memcpy(item->blake3, head->hash.blake3, RD_HASH_LEN);
}

/* Under the log lock: decides, writes, enters the link, queues. */
static rd_err enter(struct rd_cas_writer *writer, const struct rd_cas_commit *commit,
                    struct rd_cas_head *head, struct rd_cas_job *job)
{
    struct rd_cas *cas = writer->cas;
    bool dup = false, relaxed = cas->config.durability == RD_CAS_RELAXED;
    pthread_mutex_lock(&cas->map);
    rd_err err = rd_cas_state_reserve(cas, head->hash.blake3, commit->want_note, &dup);
    pthread_mutex_unlock(&cas->map);
    RD_TRY(err);
    if (dup) {
        /* A large file's name is dropped below; its record is then as empty as it looks. */
        head->payload_len = head->kind == RD_CAS_LARGE ? 0 : head->payload_len;
        head->kind = RD_CAS_DUP;
    }
    RD_TRY(write_record(writer, commit, head));
    fill_item(writer, head, &job->item);
    pthread_mutex_lock(&cas->map);
    err = rd_cas_state_link(cas, &job->item, relaxed, &job->fresh);
    pthread_mutex_unlock(&cas->map);
    if (err != RD_OK) {
        return rd_cas_fail(cas); /* cannot be: room was reserved under the same lock */
    }
    job->acked = relaxed;
    rd_cas_queue_push(cas, job, /* urgent= */ !relaxed);
    return RD_OK;
}

/* The job that follows the record through the committer, with what the committer needs of it. */
static rd_err make_job(const struct rd_cas_writer *writer, const struct rd_cas_commit *commit,
                       struct rd_cas_job **ret)
{
    struct rd_cas_job *job = rd_cas_job_new(RD_CAS_JOB_OBJECT);
    if (job == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    job->want_note = commit->want_note;
    job->hash = writer->hash;
    job->done = commit->done;
    job->ctx = commit->ctx;
    if (commit->want_note) {
        job->meta = rd_mem_memdupz(commit->meta, commit->meta_len);
        job->meta_len = commit->meta_len;
        if (job->meta == NULL) {
            rd_cas_job_free(job);
            return RD_ERR_NO_MEMORY;
        }
    }
    *ret = job;
    return RD_OK;
}

static rd_err commit_record(struct rd_cas_writer *writer, const struct rd_cas_commit *commit)
{
    struct rd_cas *cas = writer->cas;
    struct rd_cas_head head;
    struct rd_cas_job *job = NULL;
    RD_AUTO_FREE struct rd_cas_large *large = NULL;
    RD_TRY(prepare(writer, commit, &head));
    if (writer->mode == FILE_OF_ITS_OWN) {
        large = rd_mem_alloc(sizeof *large);
        if (large == NULL) {
            return RD_ERR_NO_MEMORY;
        }
        large->fd = writer->fd;
    }
    RD_TRY(make_job(writer, commit, &job));
    pthread_mutex_lock(&cas->log);
    rd_err err = enter(writer, commit, &head, job);
    if (err == RD_OK && large != NULL) {
        /* In the list before the log lock is given back: whoever syncs the record syncs the file.
         */
        large->next = cas->large_dirty;
        cas->large_dirty = RD_STEAL(large);
    }
    pthread_mutex_unlock(&cas->log);
    if (err != RD_OK) {
        rd_cas_job_free(job);
        return err;
    }
    if (writer->mode == FILE_OF_ITS_OWN && head.kind == RD_CAS_DUP) {
        char path[RD_CAS_PATH_MAX];
        rd_cas_path_large(cas, writer->file_id, path);
        (void)unlink(path); /* its bytes are synced all the same: equal work */
    }
    writer->mode = MEMORY; /* the region or file is the log's now */
    writer->fd = -1;
    return RD_OK;
}

rd_err rd_cas_commit(struct rd_cas_writer *writer, const struct rd_cas_commit *commit)
{
    struct rd_cas *cas = writer->cas;
    rd_err err = atomic_load(&cas->queued) < RD_CAS_QUEUE_MAX ? commit_record(writer, commit)
                                                              : RD_ERR_CAPACITY;
    if (err != RD_OK && writer->fd >= 0) {
        char path[RD_CAS_PATH_MAX]; /* it may have moved there already */
        rd_cas_path_large(cas, writer->file_id, path);
        (void)unlink(path);
    }
    writer_put(writer);
    if (err == RD_OK) {
        atomic_fetch_add(&cas->commits, 1);
        if (cas->config.durability == RD_CAS_RELAXED && commit->done != NULL) {
            commit->done(commit->ctx, RD_OK);
        }
    }
    return err;
}
