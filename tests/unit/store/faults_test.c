/* SPDX-License-Identifier: Apache-2.0
 *
 * One story (open, make keys, revoke, upload, close), told again and again with one thing failing
 * each time: the Nth write, sync or read of SQLite, the Nth allocation of SQLite's or of ours.
 * Whatever happens, a call says so, nothing crashes or leaks, and after a restart everything that
 * was promised stands: a key that was handed out is accepted, a revoked one is not, a finished
 * upload resolves. */
#include "fixture.h"

static const char *const kinds[] = {"write", "full disk", "sync", "read"};
enum { WRITE, FULL, SYNC, READ, KIND_COUNT };

/* Atomic, because the store's thread for last_used writes as well. */
static struct {
    atomic_bool armed;
    atomic_int kind;
    atomic_long left; /* operations of that kind until the one that fails */
    atomic_bool hit;
} fault;

static bool strikes(int kind)
{
    if (!fault.armed || fault.kind != kind) {
        return false;
    }
    bool now = atomic_fetch_sub(&fault.left, 1) == 0;
    if (now) {
        fault.hit = true;
    }
    return now;
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
    if (strikes(FULL)) {
        return SQLITE_FULL;
    }
    if (strikes(WRITE)) { /* half of it arrives */
        (void)real_of(file)->pMethods->xWrite(real_of(file), data, len / 2, at);
        return SQLITE_IOERR_WRITE;
    }
    return real_of(file)->pMethods->xWrite(real_of(file), data, len, at);
}
static int shim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return strikes(WRITE) ? SQLITE_IOERR_TRUNCATE
                          : real_of(file)->pMethods->xTruncate(real_of(file), size);
}
static int shim_sync(sqlite3_file *file, int flags)
{
    (void)file;
    (void)flags; /* no real one: the machine does not lose power here, and it would take long */
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

/* What was promised so far, over all runs on this folder. */
struct promises {
    char good[RD_KEY_TEXT_LEN + 1], revoked[RD_KEY_TEXT_LEN + 1];
    bool has_good, has_revoked, has_upload;
    char upload_id[RD_ID_MAX];
};

static const uint8_t content[RD_HASH_LEN] = {42};

static void tell_uploads(struct rd_store *store, const struct rd_key *key,
                         struct promises *promises)
{
    struct rd_upload upload;
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    if (rd_store_upload_create(store, key, "image/png", 9, 1000, &upload, token) != RD_OK ||
        rd_store_upload_claim(store, token, RD_UPLOAD_TOKEN_LEN, &upload) != RD_OK) {
        return;
    }
    if (rd_store_upload_finish(store, upload.id, content) == RD_OK) {
        promises->has_upload = true;
        memcpy(promises->upload_id, upload.id, sizeof upload.id);
    } else {
        rd_store_upload_release(store, upload.id);
    }
}

/* The story; every step may fail, none may lie. */
static void tell(struct promises *promises)
{
    struct rd_store *store = NULL;
    struct rd_why why = {""};
    struct rd_key key;
    struct rd_key doomed;
    char text[RD_KEY_TEXT_LEN + 1];
    rd_err err = rd_store_open(test_dir, &store, &why);
    if (err != RD_OK) {
        assert_null(store);
        assert_true(strlen(why.text) > 10);
        return;
    }
    store->now_ms = test_clock;
    if (rd_store_key_create(store, "acme", "good", 1, 0, &key, text, &why) == RD_OK) {
        memcpy(promises->good, text, sizeof text);
        promises->has_good = true;
        tell_uploads(store, &key, promises);
    }
    if (rd_store_key_create(store, "beta", "doomed", 1, 0, &doomed, text, &why) == RD_OK) {
        err = rd_store_key_revoke(store, NULL, doomed.id);
        struct rd_key got;
        assert_int_equal(rd_store_key_check(store, text, RD_KEY_TEXT_LEN, &got),
                         RD_ERR_UNAUTHORIZED);
        if (err == RD_OK) {
            memcpy(promises->revoked, text, sizeof text);
            promises->has_revoked = true;
        }
    }
    rd_store_close(store);
}

static void check_promises(const struct promises *promises)
{
    struct rd_key key;
    struct rd_upload upload;
    struct rd_store *store = test_open();
    if (promises->has_good) {
        assert_int_equal(rd_store_key_check(store, promises->good, RD_KEY_TEXT_LEN, &key), RD_OK);
    }
    if (promises->has_revoked) {
        assert_int_equal(rd_store_key_check(store, promises->revoked, RD_KEY_TEXT_LEN, &key),
                         RD_ERR_UNAUTHORIZED);
    }
    if (promises->has_upload) {
        assert_int_equal(rd_store_upload_resolve(store, promises->upload_id, &upload), RD_OK);
        assert_memory_equal(upload.blake3, content, sizeof content);
    }
    rd_store_close(store);
}

static void begin_anew(void)
{
    static const char *const names[] = {"render.db", "render.db-wal", "render.db-shm", "pepper",
                                        "pepper.new"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)unlink(test_path(names[i]));
    }
}

static void test_every_file_operation_fails_once(void **state)
{
    (void)state;
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        long n = 0;
        for (;; n++) {
            struct promises promises = {.has_good = false};
            begin_anew();
            fault.kind = kind;
            fault.left = n;
            fault.hit = false;
            fault.armed = true;
            tell(&promises);
            fault.armed = false;
            check_promises(&promises);
            if (!fault.hit) {
                assert_true(promises.has_good && promises.has_revoked && promises.has_upload);
                break;
            }
        }
        print_message("# %ld operations failed once each: %s\n", n, kinds[kind]);
        assert_true(n > 5);
    }
}

static void test_every_allocation_of_ours_fails_once(void **state)
{
    (void)state;
    long n = 0;
    for (;; n++) {
        struct promises promises = {.has_good = false};
        begin_anew();
        memory.hit = false;
        memory.ours_left = n;
        tell(&promises);
        memory.ours_left = -1;
        check_promises(&promises);
        if (!memory.hit) {
            assert_true(promises.has_good && promises.has_revoked && promises.has_upload);
            break;
        }
    }
    print_message("# %ld allocations failed once each\n", n);
    assert_true(n > 10);
}

static void test_allocations_of_sqlite_fail(void **state)
{
    (void)state;
    long failed = 0;
    for (long n = 0;; n += 29) { /* thousands in all: some in each phase of the story */
        struct promises promises = {.has_good = false};
        begin_anew();
        memory.hit = false;
        memory.sqlite_left = n;
        tell(&promises);
        memory.sqlite_left = -1;
        check_promises(&promises);
        if (!memory.hit) {
            assert_true(promises.has_good && promises.has_revoked && promises.has_upload);
            break;
        }
        failed++;
    }
    print_message("# %ld of SQLite's allocations failed once each\n", failed);
    assert_true(failed > 50);
}

static int install(void **state)
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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_every_file_operation_fails_once),
        TEST(test_every_allocation_of_ours_fails_once),
        TEST(test_allocations_of_sqlite_fail),
    };
    return cmocka_run_group_tests_name("store/faults", tests, install, NULL);
}
