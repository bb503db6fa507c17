/* SPDX-License-Identifier: Apache-2.0
 *
 * Files: bounded reads, and small files that are replaced whole or not at all. */
#ifndef RD_BASE_FS_H
#define RD_BASE_FS_H

#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* Creates `path` with `mode` when it is missing (parents must exist). Refuses when it exists and is
 * no directory. */
rd_err rd_fs_mkdir(const char *path, mode_t mode, struct rd_why *why) RD_MUST;
/* Appends the whole file to `out`; TOO_LARGE beyond the buffer's max; NOT_FOUND when missing. */
rd_err rd_fs_read(const char *path, struct rd_buf *out, struct rd_why *why) RD_MUST;
/* Replaces `path`: temporary file in the same folder, fsync, rename, fsync of the folder. After a
 * crash the old or the new content stands, never a part. */
rd_err rd_fs_write_atomic(const char *path, const void *data, size_t len, mode_t mode,
                          struct rd_why *why) RD_MUST;
/* fsync of a folder, so that names created or removed in it survive a crash. */
rd_err rd_fs_sync_dir(const char *path, struct rd_why *why) RD_MUST;
/* All `len` bytes at `offset`, through EINTR and short writes. */
rd_err rd_fs_pwrite_all(int fd, const void *data, size_t len, off_t offset) RD_MUST;
/* All `len` bytes from `offset`; CORRUPT when the file ends before. */
rd_err rd_fs_pread_all(int fd, void *ret, size_t len, off_t offset) RD_MUST;

void rd_fs_close_ptr_(const int *fd);
/* `RD_AUTO_CLOSE int fd = open(...)`: closed at the end of the scope when >= 0. */
#define RD_AUTO_CLOSE __attribute__((cleanup(rd_fs_close_ptr_)))

#endif
