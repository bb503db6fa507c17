/* SPDX-License-Identifier: Apache-2.0
 *
 * The store's door to the kernel. See io.h. Nothing here retries a failed sync: after one, the
 * kernel may have dropped the dirty pages, and a second sync would say that all is well. */
#include "cas/io.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static ssize_t real_pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev(fd, parts, count, offset);
}

struct rd_cas_io rd_cas_io = {
    .pwritev = real_pwritev,
    .fdatasync = fdatasync,
    .fallocate = fallocate,
};

/* Drops `done` bytes from the front of the parts; returns how many parts remain. */
static int advance(struct iovec **parts, int count, size_t done)
{
    while (count > 0 && done >= (*parts)->iov_len) {
        done -= (*parts)->iov_len;
        (*parts)++;
        count--;
    }
    if (count > 0) {
        (*parts)->iov_base = (char *)(*parts)->iov_base + done;
        (*parts)->iov_len -= done;
    }
    return count;
}

rd_err rd_cas_io_write(int fd, struct iovec *parts, int count, uint64_t offset)
{
    count = advance(&parts, count, 0); /* empty parts in front */
    while (count > 0) {
        ssize_t put = rd_cas_io.pwritev(fd, parts, count, (off_t)offset);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return rd_err_errno(put == 0 ? EIO : errno);
        }
        offset += (uint64_t)put;
        count = advance(&parts, count, (size_t)put);
    }
    return RD_OK;
}

rd_err rd_cas_io_put(int fd, const void *data, size_t len, uint64_t offset)
{
    /* iov_base is not const in POSIX; nothing writes through it. */
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    return rd_cas_io_write(fd, &part, 1, offset);
}

rd_err rd_cas_io_sync(int fd)
{
    while (rd_cas_io.fdatasync(fd) != 0) {
        if (errno != EINTR) {
            return rd_err_errno(errno);
        }
    }
    return RD_OK;
}

rd_err rd_cas_io_allocate(int fd, uint64_t len)
{
    while (rd_cas_io.fallocate(fd, 0, 0, (off_t)len) != 0) {
        if (errno == EOPNOTSUPP) {
            return ftruncate(fd, (off_t)len) == 0 ? RD_OK : rd_err_errno(errno);
        }
        if (errno != EINTR) {
            return rd_err_errno(errno);
        }
    }
    return RD_OK;
}

void rd_cas_io_start(int fd, uint64_t offset, uint64_t len)
{
    (void)sync_file_range(fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE);
}
