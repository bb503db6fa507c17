/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening, closing and counting. The directory:
 *
 *     lock            held with flock while a process has the store open
 *     packs/          NNNNNNNN.pack (pack.c) and NNNNNNNN.idx (hint.c)
 *     large/          16 hex digits each: objects above own_file_bytes
 *     tmp/            objects on their way in; emptied at start */
#include "cas/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/limits.h"
#include "base/mem.h"

void rd_cas_path_pack(const struct rd_cas *cas, uint32_t number, const char *suffix, char *out)
{
    (void)snprintf(out, RD_CAS_PATH_MAX, "%s/packs/%08u%s", cas->dir, number, suffix);
}

void rd_cas_path_large(const struct rd_cas *cas, uint64_t id, char *out)
{
    (void)snprintf(out, RD_CAS_PATH_MAX, "%s/large/%016llx", cas->dir, (unsigned long long)id);
}

void rd_cas_path_tmp(const struct rd_cas *cas, uint64_t id, char *out)
{
    (void)snprintf(out, RD_CAS_PATH_MAX, "%s/tmp/%016llx", cas->dir, (unsigned long long)id);
}

rd_err rd_cas_fail(struct rd_cas *cas)
{
    atomic_store(&cas->failed, true);
    return RD_ERR_STORAGE;
}

bool rd_cas_healthy(struct rd_cas *cas)
{
    return !atomic_load(&cas->failed);
}

static rd_err init_locks(struct rd_cas *cas)
{
    pthread_condattr_t monotonic;
    if (pthread_mutex_init(&cas->maintain, NULL) != 0 || pthread_mutex_init(&cas->log, NULL) != 0 ||
        pthread_mutex_init(&cas->queue, NULL) != 0 || pthread_mutex_init(&cas->map, NULL) != 0 ||
        pthread_mutex_init(&cas->pool_lock, NULL) != 0 || pthread_condattr_init(&monotonic) != 0) {
        return RD_ERR_NO_MEMORY;
    }
    bool ok = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0 &&
              pthread_cond_init(&cas->queue_cond, &monotonic) == 0 &&
              pthread_cond_init(&cas->keeper_cond, NULL) == 0;
    (void)pthread_condattr_destroy(&monotonic);
    return ok ? RD_OK : RD_ERR_NO_MEMORY;
}

/* Settings with their defaults and bounds. */
static rd_err set_config(struct rd_cas *cas, const struct rd_cas_config *config, struct rd_why *why)
{
    cas->config = *config;
    cas->config.dir = cas->dir;
    if (cas->config.relaxed_ms == 0) {
        cas->config.relaxed_ms = 500;
    }
    if (cas->config.pack_bytes == 0) {
        cas->config.pack_bytes = RD_MIB(256);
    }
    if (cas->config.pack_bytes < RD_CAS_PACK_BYTES_MIN || cas->config.pack_bytes > RD_MIB(16384)) {
        return rd_why_set(why, RD_ERR_CONFIG, "pack_bytes must be from 1 MiB to 16 GiB");
    }
    cas->config.pack_bytes &= ~(uint64_t)(RD_CAS_BLOCK - 1);
    if (cas->config.own_file_bytes == 0) {
        cas->config.own_file_bytes = RD_MIB(16);
    }
    if (cas->config.own_file_bytes > cas->config.pack_bytes / 2) {
        cas->config.own_file_bytes = cas->config.pack_bytes / 2; /* a record must fit into a pack */
    }
    int len = snprintf(cas->dir, sizeof cas->dir, "%s", config->dir);
    if (len <= 0 || (size_t)len >= sizeof cas->dir) {
        return rd_why_set(why, RD_ERR_CONFIG, "the store's path is empty or too long");
    }
    return RD_OK;
}

static rd_err open_dir(struct rd_cas *cas, struct rd_why *why)
{
    static const char *const folders[] = {"", "/packs", "/large", "/tmp"};
    char path[RD_CAS_PATH_MAX];
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        (void)snprintf(path, sizeof path, "%s%s", cas->dir, folders[i]);
        RD_TRY(rd_fs_mkdir(path, 0700, why));
    }
    (void)snprintf(path, sizeof path, "%s/lock", cas->dir);
    cas->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (cas->lock_fd < 0) {
        return rd_why_errno(why, errno, "open", path);
    }
    if (flock(cas->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            return rd_why_set(why, RD_ERR_CONFLICT, "%s is open in another process", cas->dir);
        }
        return rd_why_errno(why, errno, "lock", path);
    }
    (void)snprintf(path, sizeof path, "%s/large", cas->dir);
    cas->large_dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cas->large_dir_fd < 0) {
        return rd_why_errno(why, errno, "open", path);
    }
    return rd_fs_sync_dir(cas->dir, why);
}

/* So that the first commit finds a pack. On a full disk the store opens all the same: it can be
 * read, and objects can be deleted. */
static void make_first_pack(struct rd_cas *cas)
{
    struct rd_cas_pack *pack;
    if (cas->active != NULL || cas->spare != NULL ||
        rd_cas_log_make_pack(cas, cas->next_number, cas->seq, &pack) != RD_OK) {
        return;
    }
    cas->next_number++;
    if (rd_cas_state_add_pack(cas, pack) == RD_OK) { /* no locks: there are no threads yet */
        cas->spare = pack;
    } else {
        rd_cas_handle_unref(&pack->handle); /* removed as unused at the next start */
    }
}

static rd_err start_threads(struct rd_cas *cas, struct rd_why *why)
{
    if (pthread_create(&cas->committer, NULL, rd_cas_committer, cas) != 0) {
        return rd_why_set(why, RD_ERR_NO_MEMORY, "cannot start a thread");
    }
    cas->committer_runs = true;
    if (pthread_create(&cas->keeper, NULL, rd_cas_keeper, cas) != 0) {
        return rd_why_set(why, RD_ERR_NO_MEMORY, "cannot start a thread");
    }
    cas->keeper_runs = true;
    rd_cas_keeper_wake(cas);
    return RD_OK;
}

static void stop_threads(struct rd_cas *cas)
{
    pthread_mutex_lock(&cas->queue);
    cas->stopping = true;
    pthread_cond_signal(&cas->queue_cond);
    pthread_mutex_unlock(&cas->queue);
    if (cas->committer_runs) {
        (void)pthread_join(cas->committer, NULL);
    }
    pthread_mutex_lock(&cas->queue);
    cas->keeper_stopping = true;
    pthread_cond_signal(&cas->keeper_cond);
    pthread_mutex_unlock(&cas->queue);
    if (cas->keeper_runs) {
        (void)pthread_join(cas->keeper, NULL);
    }
}

void rd_cas_free(struct rd_cas *cas)
{
    while (cas->first != NULL) { /* only when opening failed */
        struct rd_cas_job *job = cas->first;
        cas->first = job->next;
        rd_cas_job_free(job);
    }
    while (cas->large_dirty != NULL) { /* only when a sync failed */
        struct rd_cas_large *large = cas->large_dirty;
        cas->large_dirty = large->next;
        (void)close(large->fd);
        rd_mem_free(large);
    }
    for (size_t i = 0; i < cas->pack_count; i++) {
        rd_cas_handle_unref(&cas->packs[i]->handle);
    }
    rd_cas_writer_drain_pool(cas);
    rd_mem_free(cas->packs);
    rd_mem_free(cas->doomed_large);
    rd_mem_free(cas->requests);
    rd_cas_index_free(cas->index);
    if (cas->large_dir_fd >= 0) {
        (void)close(cas->large_dir_fd);
    }
    if (cas->lock_fd >= 0) {
        (void)close(cas->lock_fd); /* and with it the lock */
    }
    rd_mem_free(cas);
}

rd_err rd_cas_open(const struct rd_cas_config *config, struct rd_cas **ret, struct rd_why *why)
{
    struct rd_cas *cas = rd_mem_alloc(sizeof *cas);
    if (cas == NULL) {
        return rd_why_set(why, RD_ERR_NO_MEMORY, "out of memory");
    }
    cas->lock_fd = -1;
    cas->large_dir_fd = -1;
    cas->last = &cas->first;
    cas->next_number = 1;
    rd_err err = init_locks(cas);
    if (err == RD_OK) {
        err = set_config(cas, config, why);
    }
    if (err == RD_OK) {
        cas->requests = rd_mem_alloc_array(RD_CAS_BATCH_MAX, sizeof *cas->requests);
        err = cas->requests == NULL ? RD_ERR_NO_MEMORY
                                    : rd_cas_index_new(RD_CAS_OBJECTS_MAX, &cas->index);
    }
    if (err == RD_OK) {
        err = open_dir(cas, why);
    }
    if (err == RD_OK) {
        err = rd_cas_recover(cas, why);
    }
    if (err == RD_OK) {
        make_first_pack(cas);
        err = start_threads(cas, why);
        if (err != RD_OK) {
            stop_threads(cas);
        }
    }
    if (err != RD_OK) {
        rd_cas_free(cas);
        return err;
    }
    *ret = cas;
    return RD_OK;
}

/* So that the next start need not walk the active pack. Without it, it does. */
static void hint_active(struct rd_cas *cas)
{
    struct rd_cas_items items = {0};
    if (cas->active == NULL || atomic_load(&cas->failed)) {
        return;
    }
    rd_err err = rd_cas_items_walk(cas->active, RD_CAS_BLOCK, cas->active->tail, &items);
    if (err == RD_OK && items.end == cas->active->tail) {
        items.synced = cas->synced;
        err = rd_cas_hint_write(cas, cas->active, &items, NULL);
    }
    (void)err;
    rd_cas_items_done(&items);
}

void rd_cas_close(struct rd_cas *cas)
{
    if (cas == NULL) {
        return;
    }
    stop_threads(cas);
    hint_active(cas);
    rd_cas_free(cas);
}

void rd_cas_stats(struct rd_cas *cas, struct rd_cas_stats *ret)
{
    pthread_mutex_lock(&cas->log);
    pthread_mutex_lock(&cas->map);
    struct rd_cas_stats stats = {.objects = rd_cas_index_count(cas->index),
                                 .bytes = cas->bytes,
                                 .packs = cas->pack_count,
                                 .syncs = atomic_load(&cas->syncs),
                                 .commits = atomic_load(&cas->commits),
                                 .unnoted = cas->unnoted};
    for (size_t i = 0; i < cas->pack_count; i++) {
        const struct rd_cas_pack *pack = cas->packs[i];
        uint64_t used = pack->tail - RD_CAS_BLOCK - (pack->sealed ? RD_CAS_BLOCK : 0);
        stats.dead_bytes += used - pack->live - pack->kept;
    }
    pthread_mutex_unlock(&cas->map);
    pthread_mutex_unlock(&cas->log);
    *ret = stats;
}
