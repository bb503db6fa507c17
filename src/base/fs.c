/* SPDX-License-Identifier: Apache-2.0
 *
 * Files. See fs.h. A failed fsync is returned and never tried again: after it, the kernel may have
 * dropped the dirty pages, and a second fsync would lie. */
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

enum { READ_STEP = 16384 };

void rd_fs_close_ptr_(const int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
}

rd_err rd_fs_mkdir(const char *path, mode_t mode, struct rd_why *why)
{
    if (mkdir(path, mode) == 0) {
        return RD_OK;
    }
    if (errno != EEXIST) {
        return rd_why_errno(why, errno, "create directory", path);
    }
    struct stat info;
    if (stat(path, &info) != 0) {
        return rd_why_errno(why, errno, "look at", path);
    }
    if (!S_ISDIR(info.st_mode)) {
        return rd_why_set(why, RD_ERR_IO, "%s exists and is not a directory", path);
    }
    return RD_OK;
}

rd_err rd_fs_read(const char *path, struct rd_buf *out, struct rd_why *why)
{
    RD_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        int errnum = errno;
        rd_err err = rd_why_errno(why, errnum, "open", path);
        return errnum == ENOENT ? RD_ERR_NOT_FOUND : err;
    }
    for (;;) {
        char step[READ_STEP];
        ssize_t got = read(fd, step, sizeof step);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return rd_why_errno(why, errno, "read", path);
        }
        if (got == 0) {
            return RD_OK;
        }
        rd_buf_append(out, step, (size_t)got);
        if (rd_buf_err(out) != RD_OK) {
            return rd_why_set(why, rd_buf_err(out), "%s is larger than %zu bytes", path, out->max);
        }
    }
}

rd_err rd_fs_pwrite_all(int fd, const void *data, size_t len, off_t offset)
{
    const char *p = data;
    while (len > 0) {
        ssize_t put = pwrite(fd, p, len, offset);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return rd_err_errno(put == 0 ? EIO : errno);
        }
        p += put;
        len -= (size_t)put;
        offset += put;
    }
    return RD_OK;
}

rd_err rd_fs_pread_all(int fd, void *ret, size_t len, off_t offset)
{
    char *p = ret;
    while (len > 0) {
        ssize_t got = pread(fd, p, len, offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return rd_err_errno(errno);
        }
        if (got == 0) {
            return RD_ERR_CORRUPT;
        }
        p += got;
        len -= (size_t)got;
        offset += got;
    }
    return RD_OK;
}

rd_err rd_fs_sync_dir(const char *path, struct rd_why *why)
{
    RD_AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return rd_why_errno(why, errno, "open", path);
    }
    if (fsync(fd) != 0) {
        return rd_why_errno(why, errno, "sync", path);
    }
    return RD_OK;
}

static rd_err write_and_sync(const char *path, const void *data, size_t len, mode_t mode,
                             struct rd_why *why)
{
    RD_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0) {
        return rd_why_errno(why, errno, "create", path);
    }
    if (fchmod(fd, mode) != 0) {
        return rd_why_errno(why, errno, "set the mode of", path);
    }
    rd_err err = rd_fs_pwrite_all(fd, data, len, 0);
    if (err != RD_OK) {
        return rd_why_set(why, err, "cannot write %s", path);
    }
    if (fsync(fd) != 0) {
        return rd_why_errno(why, errno, "sync", path);
    }
    return RD_OK;
}

rd_err rd_fs_write_atomic(const char *path, const void *data, size_t len, mode_t mode,
                          struct rd_why *why)
{
    RD_AUTO_BUF struct rd_buf temporary;
    RD_AUTO_BUF struct rd_buf folder;
    rd_buf_init(&temporary, 4096);
    rd_buf_init(&folder, 4096);
    rd_buf_printf(&temporary, "%s.new", path);
    const char *slash = strrchr(path, '/');
    rd_buf_append(&folder, path, slash == NULL ? 0 : (size_t)(slash - path) + 1);
    if (slash == NULL) {
        rd_buf_str(&folder, ".");
    }
    RD_TRY(rd_buf_err(&temporary));
    RD_TRY(rd_buf_err(&folder));
    rd_err err = write_and_sync(temporary.data, data, len, mode, why);
    if (err == RD_OK && rename(temporary.data, path) != 0) {
        err = rd_why_errno(why, errno, "replace", path);
    }
    if (err != RD_OK) {
        (void)unlink(temporary.data);
        return err;
    }
    return rd_fs_sync_dir(folder.data, why);
}
