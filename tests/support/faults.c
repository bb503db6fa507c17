/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes one call of a running gateway fail, chosen by number: a library for LD_PRELOAD that stands
 * before the C library's allocation functions and its ways to change a file.
 * tests/blackbox/test_faults.py arms it for every number that a request reaches, one after the
 * other.
 *
 * The two sides share a small file, mapped by both; its path is in RENDER_FAULTS:
 *
 *     u32 kind       0: nothing fails, 1: allocations, 2: writes (and what else changes a file),
 *                    3: syncs alone
 *     i32 error      the errno to fail with; 0: a write takes half of its bytes, as it may
 *     i64 countdown  taken down by each call of that kind; the call that takes it to 0 fails
 *     u32 fired      set to 1 by that call
 *     u32 again      how often the file whose sync failed was synced after that: must stay 0
 *
 * Arming is the test's write of the other fields and then of `kind`. A countdown that is not
 * reached goes on below nothing: what is left of it says how many calls there were. Only
 * render-gateway itself counts, not the processes that it starts. The place of the failing call is
 * shown on standard error.
 *
 * Why not --wrap at link time: the libraries' own allocations must fail, too. Why not a sanitizer
 * build: its allocator cannot be preloaded over; leaks and overruns on these paths are looked for
 * by the unit tests that fail allocations one by one under the address sanitizer. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FRAMES = 24 };
enum kind { KIND_NONE, KIND_ALLOCATION, KIND_WRITE, KIND_SYNC };

struct faults {
    _Atomic uint32_t kind;
    _Atomic int32_t error;
    _Atomic int64_t countdown;
    _Atomic uint32_t fired;
    _Atomic uint32_t again;
};
_Static_assert(sizeof(struct faults) == 24, "as test_faults.py packs it");

static struct faults *faults;     /* NULL: count nothing */
static _Atomic uint64_t unsynced; /* the inode whose sync failed; 0: none has */

__attribute__((constructor)) static void find_switchboard(void)
{
    static const char program[] = "render-gateway";
    char self[4096];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    const char *path = getenv("RENDER_FAULTS");
    if (path == NULL || len < (ssize_t)sizeof program ||
        memcmp(self + len - (sizeof program - 1), program, sizeof program - 1) != 0) {
        return;
    }
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *map =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        abort(); /* a test that injects nothing must not pass */
    }
    (void)close(fd);
    void *frame;
    (void)backtrace(&frame, 1); /* its first call allocates */
    faults = map;
}

/* Where it was, to standard error, which is the gateway's log: `addr2line -fe PROGRAM ADDRESS`
 * reads it. */
static void show_place(void)
{
    static const char title[] = "the call that fails:\n";
    void *frames[FRAMES];
    int count = backtrace(frames, FRAMES);
    ssize_t ignored = syscall(SYS_write, STDERR_FILENO, title, sizeof title - 1);
    (void)ignored;
    backtrace_symbols_fd(frames, count, STDERR_FILENO);
}

static bool falls(enum kind kind)
{
    if (faults == NULL ||
        atomic_load_explicit(&faults->kind, memory_order_relaxed) != (uint32_t)kind ||
        atomic_fetch_sub(&faults->countdown, 1) != 1) {
        return false;
    }
    atomic_store(&faults->fired, 1);
    show_place();
    return true;
}

/* ---- allocations ---- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t size)
{
    return falls(KIND_ALLOCATION) ? no_memory() : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return falls(KIND_ALLOCATION) ? no_memory() : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    /* size 0 frees, and cannot fail */
    return size > 0 && falls(KIND_ALLOCATION) ? no_memory() : __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
    return falls(KIND_ALLOCATION) ? no_memory() : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return falls(KIND_ALLOCATION) ? no_memory() : __libc_memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
    void *block = falls(KIND_ALLOCATION) ? NULL : __libc_memalign(alignment, size);
    if (block == NULL) {
        return ENOMEM;
    }
    *ret = block;
    return 0;
}

/* ---- writes ---- */

/* The next function of that name behind this library. */
#define NEXT(name)                                                                                 \
    __extension__({                                                                                \
        static __typeof__(&name) next_;                                                            \
        if (next_ == NULL) {                                                                       \
            void *found_ = dlsym(RTLD_NEXT, #name);                                                \
            memcpy(&next_, &found_, sizeof next_);                                                 \
        }                                                                                          \
        next_;                                                                                     \
    })

static bool is_file(int fd)
{
    struct stat info;
    return faults != NULL && fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

/* Whether this call fails; then errno is set, unless it is to be a short one. */
static bool write_falls(void)
{
    if (!falls(KIND_WRITE)) {
        return false;
    }
    errno = atomic_load(&faults->error);
    return true;
}

#define WRITE(call_whole, call_half)                                                               \
    do {                                                                                           \
        if (!is_file(fd) || !write_falls()) {                                                      \
            return call_whole;                                                                     \
        }                                                                                          \
        return errno == 0 ? (call_half) : (ssize_t)-1;                                             \
    } while (0)

ssize_t write(int fd, const void *data, size_t len)
{
    WRITE(NEXT(write)(fd, data, len), NEXT(write)(fd, data, (len + 1) / 2));
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    WRITE(NEXT(pwrite)(fd, data, len, offset), NEXT(pwrite)(fd, data, (len + 1) / 2, offset));
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
    WRITE(NEXT(pwrite64)(fd, data, len, offset), NEXT(pwrite64)(fd, data, (len + 1) / 2, offset));
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    WRITE(NEXT(writev)(fd, parts, count),
          NEXT(write)(fd, parts[0].iov_base, (parts[0].iov_len + 1) / 2));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    WRITE(NEXT(pwritev)(fd, parts, count, offset),
          NEXT(pwrite)(fd, parts[0].iov_base, (parts[0].iov_len + 1) / 2, offset));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    WRITE(NEXT(pwritev64)(fd, parts, count, offset),
          NEXT(pwrite64)(fd, parts[0].iov_base, (parts[0].iov_len + 1) / 2, offset));
}

/* What has no half: a short one is passed on whole. */
#define CHANGE(name, ...) (write_falls() && errno != 0 ? -1 : NEXT(name)(__VA_ARGS__))

/* A sync counts among the changes, and alone. One that failed must not be tried again: the kernel
 * has forgotten what it could not write, and would answer that all is well. */
static bool sync_falls(int fd)
{
    struct stat info;
    uint64_t inode = faults != NULL && fstat(fd, &info) == 0 ? (uint64_t)info.st_ino : 0;
    if (inode != 0 && inode == atomic_load(&unsynced)) {
        atomic_fetch_add(&faults->again, 1);
    }
    if (falls(KIND_SYNC)) {
        errno = atomic_load(&faults->error);
    } else if (!write_falls() || errno == 0) {
        return false;
    }
    atomic_store(&unsynced, inode);
    return true;
}

int fsync(int fd)
{
    return sync_falls(fd) ? -1 : NEXT(fsync)(fd);
}

int fdatasync(int fd)
{
    return sync_falls(fd) ? -1 : NEXT(fdatasync)(fd);
}

int ftruncate(int fd, off_t len)
{
    return CHANGE(ftruncate, fd, len);
}

int ftruncate64(int fd, off64_t len)
{
    return CHANGE(ftruncate64, fd, len);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    return CHANGE(fallocate, fd, mode, offset, len);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
    return CHANGE(fallocate64, fd, mode, offset, len);
}

int posix_fallocate(int fd, off_t offset, off_t len)
{
    return write_falls() && errno != 0 ? errno : NEXT(posix_fallocate)(fd, offset, len);
}

int posix_fallocate64(int fd, off64_t offset, off64_t len)
{
    return write_falls() && errno != 0 ? errno : NEXT(posix_fallocate64)(fd, offset, len);
}

int rename(const char *from, const char *to)
{
    return CHANGE(rename, from, to);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return CHANGE(renameat, from_dir, from, to_dir, to);
}

int link(const char *from, const char *to)
{
    return CHANGE(link, from, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    return CHANGE(linkat, from_dir, from, to_dir, to, flags);
}
