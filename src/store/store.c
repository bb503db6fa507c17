/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening and closing the store, and the thread that writes last_used. See store.h.
 *
 * DIR/lock is held with flock(2) while the store is open: two gateways on one folder would each
 * keep their own keys in memory, and a key revoked in one would live on in the other. The kernel
 * gives the lock back when the process ends, however it ends; the process id in the file is for
 * people.
 *
 * Reading a key's last use must not cost a write: the check only notes the time in memory, and a
 * thread that sleeps until there is something to note writes all of them in one transaction, at
 * most once a minute. A crash loses at most that minute of last_used, and nothing else. */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "store/internal.h"

rd_err rd_store_path(const char *dir, const char *name, struct rd_buf *ret, struct rd_why *why)
{
    rd_buf_init(ret, 4096);
    rd_buf_printf(ret, "%s/%s", dir, name);
    rd_err err = rd_buf_err(ret);
    return err == RD_OK
               ? RD_OK
               : rd_why_set(why, err, "the path of %s is too long, or no memory is left", name);
}

static rd_err take_lock(struct rd_store *store, const char *dir, struct rd_why *why)
{
    RD_AUTO_BUF struct rd_buf path;
    RD_TRY(rd_store_path(dir, "lock", &path, why));
    int fd = open(path.data, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return rd_why_errno(why, errno, "open", path.data);
    }
    char text[32] = "";
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int errnum = errno;
        ssize_t got = pread(fd, text, sizeof text - 1, 0);
        text[got > 0 ? strcspn(text, "\n") : 0] = '\0';
        (void)close(fd);
        if (errnum != EWOULDBLOCK) {
            return rd_why_errno(why, errnum, "lock", path.data);
        }
        return rd_why_set(
            why, RD_ERR_CONFLICT,
            "%s is in use by another gateway (process %s): stop that one, or give another "
            "--data folder",
            dir, text[0] == '\0' ? "unknown" : text);
    }
    int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || rd_fs_pwrite_all(fd, text, (size_t)len, 0) != RD_OK) {
        rd_err err = rd_why_errno(why, errno, "write", path.data);
        (void)close(fd);
        return err;
    }
    store->lock_fd = fd;
    return RD_OK;
}

/* Makes the file ourselves, so that its mode is 0600 whatever the umask; SQLite gives -wal and -shm
 * the same. */
static rd_err make_file(const char *path, struct rd_why *why)
{
    RD_AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return rd_why_errno(why, errno, "open", path);
    }
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return rd_why_errno(why, errno, "look at", path);
    }
    if (!S_ISREG(info.st_mode)) {
        return rd_why_set(why, RD_ERR_IO, "%s is not a regular file", path);
    }
    return RD_OK;
}

static void *flusher_main(void *ctx)
{
    struct rd_store *store = ctx;
    (void)pthread_mutex_lock(&store->flush_lock);
    while (!store->flush_stop) {
        if (!store->flush_wanted) {
            (void)pthread_cond_wait(&store->flush_wake, &store->flush_lock);
            continue;
        }
        /* The first use is written at once, later ones after a minute's rest. */
        store->flush_wanted = false;
        (void)pthread_mutex_unlock(&store->flush_lock);
        rd_err err = rd_store_keys_flush(store);
        (void)err; /* rd_store_healthy tells; the times stay in memory and are tried again */
        (void)pthread_mutex_lock(&store->flush_lock);
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += RD_STORE_USED_EVERY_MS / 1000;
        int rc = 0;
        while (!store->flush_stop && rc == 0) {
            rc = pthread_cond_timedwait(&store->flush_wake, &store->flush_lock, &until);
        }
    }
    (void)pthread_mutex_unlock(&store->flush_lock);
    return NULL;
}

void rd_store_flush_soon(struct rd_store *store)
{
    (void)pthread_mutex_lock(&store->flush_lock);
    store->flush_wanted = true;
    (void)pthread_cond_signal(&store->flush_wake);
    (void)pthread_mutex_unlock(&store->flush_lock);
}

static rd_err init_locks(struct rd_store *store)
{
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0) {
        return RD_ERR_NO_MEMORY;
    }
    /* On Linux these cannot fail with valid arguments. */
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&store->flush_wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)pthread_mutex_init(&store->flush_lock, NULL);
    (void)pthread_mutex_init(&store->uploads.lock, NULL);
    (void)pthread_mutex_init(&store->replays.lock, NULL);
    (void)pthread_rwlock_init(&store->keys.lock, NULL);
    return RD_OK;
}

static void free_store(struct rd_store *store)
{
    rd_store_keys_done(store);
    rd_store_uploads_done(store);
    store->writer.reader = NULL;
    rd_store_db_close(&store->reader);
    rd_store_db_close(&store->writer); /* last: it checkpoints, and removes the WAL */
    if (store->lock_fd >= 0) {
        (void)close(store->lock_fd);
    }
    (void)pthread_cond_destroy(&store->flush_wake);
    (void)pthread_mutex_destroy(&store->flush_lock);
    (void)pthread_mutex_destroy(&store->uploads.lock);
    (void)pthread_mutex_destroy(&store->replays.lock);
    (void)pthread_rwlock_destroy(&store->keys.lock);
    rd_mem_wipe(store, sizeof *store);
    rd_mem_free(store);
}

static rd_err open_all(struct rd_store *store, const char *dir, struct rd_why *why)
{
    RD_AUTO_BUF struct rd_buf path;
    RD_TRY(rd_store_path(dir, "render.db", &path, why));
    RD_TRY(rd_fs_mkdir(dir, 0700, why));
    RD_TRY(take_lock(store, dir, why));
    RD_TRY(make_file(path.data, why));
    RD_TRY(rd_store_db_open_writer(&store->writer, path.data, store->now_ms(), why));
    RD_TRY(rd_store_pepper_load(store, dir, why));
    RD_TRY(rd_store_keys_load(store, why));
    RD_TRY(rd_store_db_open_reader(&store->reader, path.data, why));
    store->writer.reader = &store->reader;
    RD_TRY(rd_fs_sync_dir(dir, why)); /* the names of what was created */
    int rc = pthread_create(&store->flusher, NULL, flusher_main, store);
    return rc == 0 ? RD_OK : rd_why_errno(why, rc, "start", "a thread");
}

rd_err rd_store_open(const char *dir, struct rd_store **ret, struct rd_why *why)
{
    if (sodium_init() < 0) {
        return rd_why_set(why, RD_ERR_IO, "the system gives no random bytes");
    }
    struct rd_store *store = rd_mem_alloc(sizeof *store);
    if (store == NULL || init_locks(store) != RD_OK) {
        rd_mem_free(store);
        return rd_why_set(why, RD_ERR_NO_MEMORY, "no memory for the store");
    }
    store->lock_fd = -1;
    store->now_ms = rd_clock_wall_ms;
    rd_err err = open_all(store, dir, why);
    if (err != RD_OK) {
        free_store(store);
        return err;
    }
    *ret = store;
    return RD_OK;
}

void rd_store_close(struct rd_store *store)
{
    if (store == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&store->flush_lock);
    store->flush_stop = true;
    (void)pthread_cond_signal(&store->flush_wake);
    (void)pthread_mutex_unlock(&store->flush_lock);
    (void)pthread_join(store->flusher, NULL);
    rd_err err = rd_store_keys_flush(store);
    (void)err; /* nobody is left to tell; only last_used is lost */
    free_store(store);
}

bool rd_store_healthy(struct rd_store *store)
{
    return !atomic_load(&store->writer.failed) && !atomic_load(&store->reader.failed);
}
