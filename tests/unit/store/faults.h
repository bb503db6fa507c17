/* SPDX-License-Identifier: Apache-2.0
 *
 * What fails in the tests of faults: file operations of SQLite, through a VFS around the system's,
 * and allocations, SQLite's through its own switch, ours through the linker's --wrap. */
#ifndef RD_TEST_STORE_FAULTS_H
#define RD_TEST_STORE_FAULTS_H

#include <errno.h>

#include "jobs_fixture.h"

enum { WRITE, FULL, QUOTA, SYNC, READ, KIND_COUNT };
static const char *const kinds[KIND_COUNT] = {"write", "full disk", "quota", "sync", "read"};

/* Atomic, because the store's thread for last_used writes as well. */
static struct {
    atomic_bool armed;
    atomic_int kind;
    atomic_long left; /* operations of that kind until the one that fails */
    atomic_bool hit;
    atomic_bool lasting;       /* and all after it */
    atomic_long writes, syncs; /* all that were made or failed */
} fault;

static bool strikes(int kind)
{
    if (!fault.armed || fault.kind != kind) {
        return false;
    }
    long left = atomic_fetch_sub(&fault.left, 1);
    bool now = left == 0 || (fault.lasting && left < 0);
    if (now) {
        fault.hit = true;
    }
    return now;
}

static inline void fault_arm(int kind, long left, bool lasting)
{
    fault.kind = kind;
    fault.left = left;
    fault.lasting = lasting;
    fault.hit = false;
    fault.armed = true;
}

/* A VFS around the system's: the real file lies behind ours in the same memory. */
struct shim {
    sqlite3_file base;
    sqlite3_file *real;
};
static sqlite3_vfs *real_vfs;
static sqlite3_vfs shim_vfs;

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct shim *)file)->real;
}

static int shim_close(sqlite3_file *file)
{
    return real_of(file)->pMethods->xClose(real_of(file));
}
static int shim_read(sqlite3_file *file, void *out, int len, sqlite3_int64 at)
{
    return strikes(READ) ? SQLITE_IOERR_READ
                         : real_of(file)->pMethods->xRead(real_of(file), out, len, at);
}
static int shim_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 at)
{
    atomic_fetch_add(&fault.writes, 1);
    if (strikes(FULL)) {
        return SQLITE_FULL;
    }
    if (strikes(QUOTA)) {
        errno = EDQUOT;
        return SQLITE_IOERR_WRITE;
    }
    if (strikes(WRITE)) { /* half of it arrives */
        (void)real_of(file)->pMethods->xWrite(real_of(file), data, len / 2, at);
        errno = EIO;
        return SQLITE_IOERR_WRITE;
    }
    return real_of(file)->pMethods->xWrite(real_of(file), data, len, at);
}
static int shim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    atomic_fetch_add(&fault.writes, 1);
    return strikes(WRITE) ? SQLITE_IOERR_TRUNCATE
                          : real_of(file)->pMethods->xTruncate(real_of(file), size);
}
static int shim_sync(sqlite3_file *file, int flags)
{
    (void)file;
    (void)flags; /* no real one: the machine does not lose power here, and it would take long */
    atomic_fetch_add(&fault.syncs, 1);
    return strikes(SYNC) ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}
static int shim_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    return real_of(file)->pMethods->xFileSize(real_of(file), ret);
}
static int shim_lock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xLock(real_of(file), level);
}
static int shim_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}
static int shim_reserved(sqlite3_file *file, int *ret)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), ret);
}
static int shim_control(sqlite3_file *file, int op, void *arg)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), op, arg);
}
static int shim_sector(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}
static int shim_device(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}
static int shim_map(sqlite3_file *file, int page, int size, int extend, void volatile **ret)
{
    if (extend != 0 && strikes(QUOTA)) {
        errno = ENOSPC;
        return SQLITE_IOERR_SHMSIZE;
    }
    return real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, ret);
}
static int shim_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, n, flags);
}
static void shim_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}
static int shim_unmap(sqlite3_file *file, int remove)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), remove);
}

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                     int *ret_flags)
{
    static const sqlite3_io_methods methods = {
        2,           shim_close, shim_read,     shim_write,    shim_truncate, shim_sync,
        shim_size,   shim_lock,  shim_unlock,   shim_reserved, shim_control,  shim_sector,
        shim_device, shim_map,   shim_shm_lock, shim_barrier,  shim_unmap,    NULL,
        NULL};
    struct shim *shim = (struct shim *)file;
    (void)vfs;
    shim->real = (sqlite3_file *)(shim + 1);
    int rc = real_vfs->xOpen(real_vfs, name, shim->real, flags, ret_flags);
    shim->base.pMethods = shim->real->pMethods == NULL ? NULL : &methods;
    return rc;
}

/* Allocations: ours by the linker's --wrap, SQLite's by its own switch. */
static struct {
    atomic_long ours_left, sqlite_left; /* < 0: never */
    atomic_bool hit;
} memory = {-1, -1, false};

static bool out_of(atomic_long *left)
{
    if (atomic_load(left) < 0) {
        return false;
    }
    bool now = atomic_fetch_sub(left, 1) == 0;
    if (now) {
        memory.hit = true;
    }
    return now;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);

void *__wrap_malloc(size_t size)
{
    return out_of(&memory.ours_left) ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size)
{
    return out_of(&memory.ours_left) ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *block, size_t size)
{
    return out_of(&memory.ours_left) ? NULL : __real_realloc(block, size);
}

static sqlite3_mem_methods real_memory;

static void *failing_malloc(int size)
{
    return out_of(&memory.sqlite_left) ? NULL : real_memory.xMalloc(size);
}
static void *failing_realloc(void *block, int size)
{
    return out_of(&memory.sqlite_left) ? NULL : real_memory.xRealloc(block, size);
}

static inline int faults_install(void **state)
{
    (void)state;
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory) != SQLITE_OK) {
        return -1;
    }
    sqlite3_mem_methods failing = real_memory;
    failing.xMalloc = failing_malloc;
    failing.xRealloc = failing_realloc;
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &failing) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) != SQLITE_OK) {
        return -1;
    }
    real_vfs = sqlite3_vfs_find(NULL);
    if (real_vfs == NULL) {
        return -1;
    }
    shim_vfs = *real_vfs;
    shim_vfs.zName = "faults";
    shim_vfs.pNext = NULL;
    shim_vfs.szOsFile += (int)sizeof(struct shim);
    shim_vfs.xOpen = shim_open;
    return sqlite3_vfs_register(&shim_vfs, 1) == SQLITE_OK ? 0 : -1;
}

#endif
