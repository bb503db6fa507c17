/* SPDX-License-Identifier: Apache-2.0
 *
 * The committer: one thread that makes batches durable. While one sync runs, commits queue; the
 * next sync covers them all. So batches form by themselves, as long as they need to be.
 *
 * A STRICT batch: ask for notes, append them as one EVENTS record, append the UNLINKs, sync every
 * file that was touched, enter the news into the index, call back. Records are in the log already
 * when they are queued (writer.c); the sync covers whatever stands in the log when it starts.
 *
 * A RELAXED commit was called back and entered when it was written. Its batch syncs, then asks for
 * notes and appends them; the next sync, at most relaxed_ms later, covers those.
 *
 * A commit whose note is refused fails: an UNLINK follows its record, so that no later start
 * brings it back. A sync that fails is final (cas.h): everything in flight gets STORAGE. */
#include "cas/internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cas/io.h"

struct rd_cas_job *rd_cas_job_new(enum rd_cas_job_kind kind)
{
    struct rd_cas_job *job = rd_mem_alloc(sizeof *job);
    if (job != NULL) {
        job->kind = kind;
    }
    return job;
}

void rd_cas_job_free(struct rd_cas_job *job)
{
    if (job != NULL) {
        rd_mem_free(job->meta);
        rd_mem_free(job);
    }
}

void rd_cas_queue_push(struct rd_cas *cas, struct rd_cas_job *job, bool urgent)
{
    pthread_mutex_lock(&cas->queue);
    bool wake = cas->first == NULL || (urgent && !cas->urgent);
    job->next = NULL;
    *cas->last = job;
    cas->last = &job->next;
    atomic_fetch_add(&cas->queued, 1);
    cas->urgent = cas->urgent || urgent;
    if (cas->due_ns == 0) {
        cas->due_ns = rd_clock_mono_ns() + (uint64_t)cas->config.relaxed_ms * 1000000u;
    }
    if (wake) {
        pthread_cond_signal(&cas->queue_cond);
    }
    pthread_mutex_unlock(&cas->queue);
}

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    rd_err err;
};

static void wake_waiter(void *ctx, rd_err err)
{
    struct waiter *waiter = ctx;
    pthread_mutex_lock(&waiter->lock);
    waiter->done = true;
    waiter->err = err;
    pthread_cond_signal(&waiter->cond);
    pthread_mutex_unlock(&waiter->lock);
}

rd_err rd_cas_queue_wait(struct rd_cas *cas, struct rd_cas_job *job)
{
    struct waiter waiter = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    job->waited = true;
    job->done = wake_waiter;
    job->ctx = &waiter;
    rd_cas_queue_push(cas, job, /* urgent= */ true);
    pthread_mutex_lock(&waiter.lock);
    while (!waiter.done) {
        pthread_cond_wait(&waiter.cond, &waiter.lock);
    }
    pthread_mutex_unlock(&waiter.lock);
    pthread_cond_destroy(&waiter.cond);
    pthread_mutex_destroy(&waiter.lock);
    return waiter.err;
}

/* Everything that a sync must cover, taken in one moment. */
struct sync_set {
    uint64_t target;
    struct rd_cas_pack *packs;
    struct rd_cas_large *large;
    uint64_t *doomed;
    size_t doomed_count;
};

static void take_dirty(struct rd_cas *cas, struct sync_set *set)
{
    pthread_mutex_lock(&cas->log);
    set->target = cas->seq;
    set->packs = NULL;
    while (cas->dirty != NULL) { /* moved to a list of our own: `dirty` may be set again at once */
        struct rd_cas_pack *pack = cas->dirty;
        cas->dirty = pack->dirty_next;
        pack->dirty = false;
        pack->sync_next = set->packs;
        set->packs = pack;
    }
    set->large = cas->large_dirty;
    cas->large_dirty = NULL;
    pthread_mutex_lock(&cas->map);
    set->doomed = cas->doomed_large;
    set->doomed_count = cas->doomed_count;
    cas->doomed_large = NULL;
    cas->doomed_count = cas->doomed_cap = 0;
    pthread_mutex_unlock(&cas->map);
    pthread_mutex_unlock(&cas->log);
}

/* Large files first: a pack that is on disk may then name them. */
static rd_err sync_set(struct rd_cas *cas, struct sync_set *set)
{
    rd_err err = RD_OK;
    bool names = set->large != NULL;
    while (set->large != NULL) {
        struct rd_cas_large *large = set->large;
        set->large = large->next;
        if (err == RD_OK) {
            err = rd_cas_io_sync(large->fd);
        }
        (void)close(large->fd);
        rd_mem_free(large);
    }
    if (err == RD_OK && names && fsync(cas->large_dir_fd) != 0) {
        err = RD_ERR_IO;
    }
    for (struct rd_cas_pack *pack = set->packs; pack != NULL && err == RD_OK;
         pack = pack->sync_next) {
        err = rd_cas_io_sync(pack->handle.fd);
    }
    return err;
}

rd_err rd_cas_sync_all(struct rd_cas *cas)
{
    struct sync_set set;
    take_dirty(cas, &set);
    rd_err err = sync_set(cas, &set);
    if (err == RD_OK) {
        char path[RD_CAS_PATH_MAX];
        for (size_t i = 0; i < set.doomed_count; i++) {
            rd_cas_path_large(cas, set.doomed[i], path);
            (void)unlink(path); /* what stays is removed at the next start */
        }
        pthread_mutex_lock(&cas->log);
        cas->synced = set.target;
        bool wake = cas->unhinted;
        pthread_mutex_unlock(&cas->log);
        atomic_fetch_add(&cas->syncs, 1);
        if (wake) {
            rd_cas_keeper_wake(cas);
        }
    }
    rd_mem_free(set.doomed);
    return err == RD_OK ? RD_OK : rd_cas_fail(cas);
}

/* The pairs that are linked get an UNLINK event each, and are unlinked, in one moment of the log.
 */
static rd_err unlink_pairs(struct rd_cas *cas, struct rd_cas_pair *pairs, size_t count)
{
    RD_AUTO_BUF struct rd_buf events;
    rd_buf_init(&events, RD_CAS_EVENTS_MAX);
    pthread_mutex_lock(&cas->log);
    pthread_mutex_lock(&cas->map);
    for (size_t i = 0; i < count; i++) {
        pairs[i].found = rd_cas_state_linked(cas, &pairs[i]);
        if (pairs[i].found) {
            struct rd_cas_event event = {.type = RD_CAS_UNLINK, .owner = pairs[i].owner};
            memcpy(event.blake3, pairs[i].blake3, RD_HASH_LEN);
            rd_cas_event_write(&events, &event);
        }
    }
    pthread_mutex_unlock(&cas->map);
    struct rd_cas_item item;
    rd_err err = rd_buf_err(&events);
    if (err == RD_OK && events.len > 0) {
        err = rd_cas_log_events(cas, &events, &item);
    }
    if (err == RD_OK) {
        pthread_mutex_lock(&cas->map);
        for (size_t i = 0; i < count; i++) {
            if (pairs[i].found) {
                (void)rd_cas_state_unlink(cas, pairs[i].blake3, pairs[i].owner);
            }
        }
        pthread_mutex_unlock(&cas->map);
    }
    pthread_mutex_unlock(&cas->log);
    return err;
}

/* A job of a former life: its meta is on disk. It is no error when the object is gone by now. */
static void load_meta(struct rd_cas *cas, struct rd_cas_job *job)
{
    struct rd_cas_meta meta;
    if (rd_cas_read_meta(cas, job->hash.blake3, &meta) != RD_OK) {
        return;
    }
    if (meta.note == NULL) {
        job->meta = RD_STEAL(meta.meta);
        job->meta_len = meta.meta_len;
    }
    rd_mem_free(meta.meta);
    rd_mem_free(meta.note);
}

static bool asks(const struct rd_cas_job *job)
{
    return job->err == RD_OK && job->meta != NULL &&
           (job->kind == RD_CAS_JOB_NOTE ||
            (job->kind == RD_CAS_JOB_OBJECT && job->want_note && job->item.kind != RD_CAS_DUP));
}

/* Appends the notes of the asking jobs from `first` on, up to `stop`, as one record. */
static rd_err append_notes(struct rd_cas *cas, struct rd_cas_job *first,
                           const struct rd_cas_job *stop)
{
    RD_AUTO_BUF struct rd_buf events;
    rd_buf_init(&events, RD_CAS_EVENTS_MAX);
    size_t i = 0;
    for (struct rd_cas_job *job = first; job != stop; job = job->next) {
        if (!asks(job)) {
            continue;
        }
        const struct rd_cas_note_request *request = &cas->requests[i++];
        if (request->note_len == 0 || request->note_len > RD_CAS_NOTE_MAX) {
            return RD_ERR_INTERNAL;
        }
        struct rd_cas_event event = {
            .type = RD_CAS_NOTE, .note = request->note, .note_len = request->note_len};
        memcpy(event.blake3, request->hash->blake3, RD_HASH_LEN);
        job->note = (struct rd_cas_item){.kind = RD_CAS_EVENTS,
                                         .event = RD_CAS_NOTE,
                                         .note_len = (uint32_t)request->note_len,
                                         .offset = events.len + RD_CAS_EVENT_LEN};
        memcpy(job->note.blake3, event.blake3, RD_HASH_LEN);
        rd_cas_event_write(&events, &event);
    }
    RD_TRY(rd_buf_err(&events));
    struct rd_cas_item item;
    pthread_mutex_lock(&cas->log);
    rd_err err = rd_cas_log_events(cas, &events, &item);
    pthread_mutex_unlock(&cas->log);
    RD_TRY(err);
    for (struct rd_cas_job *job = first; job != stop; job = job->next) {
        if (asks(job)) {
            job->note.pack = item.pack;
            job->note.offset += item.offset;
            job->note.seq = item.seq;
        }
    }
    return RD_OK;
}

/* Gets notes for all jobs of the list that ask for one. Jobs that get none have their err set. */
static void note_jobs(struct rd_cas *cas, struct rd_cas_job *list)
{
    for (struct rd_cas_job *first = list; first != NULL && cas->config.annotate != NULL;) {
        size_t count = 0;
        struct rd_cas_job *stop = first;
        for (; stop != NULL && count < RD_CAS_BATCH_MAX; stop = stop->next) {
            if (stop->kind == RD_CAS_JOB_NOTE) {
                load_meta(cas, stop);
            }
            if (asks(stop)) {
                cas->requests[count].hash = &stop->hash;
                cas->requests[count].meta = stop->meta;
                cas->requests[count].meta_len = stop->meta_len;
                cas->requests[count].note_len = 0;
                count++;
            }
        }
        rd_err err = RD_OK;
        if (count > 0) {
            err = cas->config.annotate(cas->config.annotate_ctx, cas->requests, count);
            err = err == RD_OK ? append_notes(cas, first, stop) : err;
        }
        for (; first != stop; first = first->next) {
            if (err != RD_OK && asks(first)) {
                first->note.seq = 0;
                first->err = err;
            }
        }
    }
}

/* A commit of bytes that were there already gets no note of its own, but must not succeed without.
 */
static void check_dup(struct rd_cas *cas, struct rd_cas_job *list, struct rd_cas_job *dup)
{
    pthread_mutex_lock(&cas->map);
    const struct rd_cas_entry *entry = rd_cas_index_find(cas->index, dup->item.blake3);
    bool noted = entry == NULL || entry->note_len > 0; /* NULL: deleted since, nothing to sign */
    pthread_mutex_unlock(&cas->map);
    rd_err err = RD_ERR_STORAGE;
    for (struct rd_cas_job *job = list; job != NULL && !noted; job = job->next) {
        if (job->kind != RD_CAS_JOB_UNLINK && job->want_note &&
            memcmp(job->hash.blake3, dup->hash.blake3, RD_HASH_LEN) == 0) {
            noted = job->note.seq != 0;
            err = job->err != RD_OK ? job->err : err;
        }
    }
    dup->err = noted ? RD_OK : err;
}

/* Strict: commits that failed for want of a note leave the log again. */
static void retract_failed(struct rd_cas *cas, struct rd_cas_job *list)
{
    for (struct rd_cas_job *job = list; job != NULL; job = job->next) {
        if (job->kind != RD_CAS_JOB_OBJECT) {
            continue;
        }
        if (job->err == RD_OK && job->want_note && job->item.kind == RD_CAS_DUP &&
            cas->config.annotate != NULL) {
            check_dup(cas, list, job);
        }
        if (job->err != RD_OK && job->fresh) {
            struct rd_cas_pair pair = {.owner = job->item.owner, .only_seq = job->item.seq};
            memcpy(pair.blake3, job->item.blake3, RD_HASH_LEN);
            /* Should even this fail, then the object comes back at the next start, without harm:
             * whole, its owner's, and asked for its note again. */
            rd_err err = unlink_pairs(cas, &pair, 1);
            (void)err;
        }
    }
}

static void run_unlinks(struct rd_cas *cas, struct rd_cas_job *list)
{
    for (struct rd_cas_job *job = list; job != NULL; job = job->next) {
        if (job->kind == RD_CAS_JOB_UNLINK) {
            job->err = unlink_pairs(cas, job->pairs, job->pair_count);
        }
    }
}

static void publish(struct rd_cas *cas, struct rd_cas_job *list)
{
    pthread_mutex_lock(&cas->map);
    for (struct rd_cas_job *job = list; job != NULL; job = job->next) {
        if (job->err != RD_OK) {
            continue;
        }
        if (job->kind == RD_CAS_JOB_OBJECT && !job->acked) {
            rd_cas_state_publish(cas, &job->item);
        }
        if (job->note.seq != 0) {
            rd_cas_state_note(cas, &job->note);
        }
    }
    pthread_mutex_unlock(&cas->map);
}

static void finish(struct rd_cas *cas, struct rd_cas_job *list, rd_err err)
{
    size_t count = 0;
    while (list != NULL) {
        struct rd_cas_job *job = list;
        list = job->next;
        bool waited = job->waited;
        rd_err result = err != RD_OK ? err : job->err;
        if (job->done != NULL && !job->acked) {
            job->done(job->ctx, result);
        }
        if (!waited) {
            rd_cas_job_free(job);
        }
        count++;
    }
    atomic_fetch_sub(&cas->queued, count);
}

static void strict_batch(struct rd_cas *cas, struct rd_cas_job *list)
{
    rd_err err = atomic_load(&cas->failed) ? RD_ERR_STORAGE : RD_OK;
    if (err == RD_OK) {
        note_jobs(cas, list);
        retract_failed(cas, list);
        run_unlinks(cas, list);
        err = rd_cas_sync_all(cas);
    }
    if (err == RD_OK) {
        publish(cas, list);
    }
    finish(cas, list, err);
}

/* Splits off the jobs that somebody waits for; the rest stays in order. */
static struct rd_cas_job *take_waited(struct rd_cas_job **list)
{
    struct rd_cas_job *waited = NULL, **last = &waited;
    while (*list != NULL) {
        struct rd_cas_job *job = *list;
        if (job->waited) {
            *list = job->next;
            job->next = NULL;
            *last = job;
            last = &job->next;
        } else {
            list = &job->next;
        }
    }
    return waited;
}

static void relaxed_batch(struct rd_cas *cas, struct rd_cas_job *list)
{
    struct rd_cas_job *waited = take_waited(&list);
    rd_err err = atomic_load(&cas->failed) ? RD_ERR_STORAGE : RD_OK;
    if (err == RD_OK) {
        run_unlinks(cas, waited);
        err = rd_cas_sync_all(cas);
    }
    finish(cas, waited, err);
    if (err == RD_OK) {
        note_jobs(cas, list);
        publish(cas, list);
        pthread_mutex_lock(&cas->log);
        bool again = cas->dirty != NULL;
        pthread_mutex_unlock(&cas->log);
        pthread_mutex_lock(&cas->queue);
        if (again && cas->due_ns == 0) {
            cas->due_ns = rd_clock_mono_ns() + (uint64_t)cas->config.relaxed_ms * 1000000u;
        }
        pthread_mutex_unlock(&cas->queue);
    }
    finish(cas, list, err);
}

/* RELAXED: until something is urgent, or due, or much has gathered. */
static void wait_until_due(struct rd_cas *cas)
{
    while (!cas->stopping && !cas->urgent &&
           (cas->due_ns == 0 || rd_clock_mono_ns() < cas->due_ns)) {
        if (cas->due_ns == 0) {
            pthread_cond_wait(&cas->queue_cond, &cas->queue);
            continue;
        }
        struct timespec until = {.tv_sec = (time_t)(cas->due_ns / 1000000000u),
                                 .tv_nsec = (long)(cas->due_ns % 1000000000u)};
        (void)pthread_cond_timedwait(&cas->queue_cond, &cas->queue, &until);
    }
}

/* The next batch, in order; false when the store closes and nothing is left. */
static bool take_batch(struct rd_cas *cas, size_t max, struct rd_cas_job **ret)
{
    bool strict = cas->config.durability == RD_CAS_STRICT;
    pthread_mutex_lock(&cas->queue);
    while (strict && cas->first == NULL && !cas->stopping) {
        pthread_cond_wait(&cas->queue_cond, &cas->queue);
    }
    if (!strict) {
        wait_until_due(cas);
    }
    struct rd_cas_job *list = cas->first, *job = list;
    bool more = list != NULL || (!strict && cas->due_ns != 0);
    for (size_t i = 1; job != NULL && job->next != NULL && i < max; i++) {
        job = job->next;
    }
    cas->first = job == NULL ? NULL : job->next;
    if (cas->first == NULL) {
        cas->last = &cas->first;
        cas->urgent = false;
        cas->due_ns = 0;
    }
    if (job != NULL) {
        job->next = NULL;
    }
    pthread_mutex_unlock(&cas->queue);
    *ret = list;
    return more;
}

void *rd_cas_committer(void *arg)
{
    struct rd_cas *cas = arg;
    struct rd_cas_job *list;
    bool strict = cas->config.durability == RD_CAS_STRICT;
    while (take_batch(cas, strict ? RD_CAS_BATCH_MAX : SIZE_MAX, &list)) {
        if (strict) {
            strict_batch(cas, list);
        } else {
            relaxed_batch(cas, list);
        }
    }
    return NULL;
}
