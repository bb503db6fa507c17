/* SPDX-License-Identifier: Apache-2.0
 *
 * The store's door to the kernel: every call whose failure decides about durability goes through
 * this table, so that a test can make the Nth write, sync or allocation fail. Production never
 * changes it; a test does so before it opens a store and after it closed it. */
#ifndef RD_CAS_IO_H
#define RD_CAS_IO_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"

struct rd_cas_io {
    ssize_t (*pwritev)(int fd, const struct iovec *parts, int count, off_t offset);
    int (*fdatasync)(int fd);
    int (*fallocate)(int fd, int mode, off_t offset, off_t len);
};
extern struct rd_cas_io rd_cas_io;

/* All bytes of all parts, through EINTR and short writes; `parts` is used up. */
rd_err rd_cas_io_write(int fd, struct iovec *parts, int count, uint64_t offset) RD_MUST;
/* One part. */
rd_err rd_cas_io_put(int fd, const void *data, size_t len, uint64_t offset) RD_MUST;
rd_err rd_cas_io_sync(int fd) RD_MUST;
/* Takes `len` bytes of disk for `fd`, or (where the file system cannot) only makes it that long. */
rd_err rd_cas_io_allocate(int fd, uint64_t len) RD_MUST;
/* Lets the kernel start writing [offset, offset+len) out, without waiting: a later sync then finds
 * little to do. Only a hint; it promises nothing. */
void rd_cas_io_start(int fd, uint64_t offset, uint64_t len);

#endif
