/* SPDX-License-Identifier: Apache-2.0
 *
 * See output.h. The size is the one at opening: what is written behind it later is not read. */
#include "engine/process/output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

rd_err rd_process_output_open(struct rd_process_output *output, const char *path, uint64_t max,
                              struct rd_why *why)
{
    /* O_NONBLOCK: opening a pipe would wait for its writer. */
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        return rd_why_set(why, RD_ERR_BACKEND_FAILED,
                          "the command ended well, but wrote no file to the request's \"output\"");
    }
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) {
        rd_err err = rd_why_set(why, RD_ERR_BACKEND_FAILED, "the command's output cannot be read");
        if (fd >= 0) {
            (void)close(fd);
        }
        return err;
    }
    rd_err err = RD_OK;
    if (!S_ISREG(status.st_mode)) {
        err = rd_why_set(why, RD_ERR_BACKEND_FAILED, "the command's output is no plain file");
    } else if (status.st_size <= 0) {
        err = rd_why_set(why, RD_ERR_BACKEND_FAILED, "the command's output is empty");
    } else if ((uint64_t)status.st_size > max) {
        err = rd_why_set(why, RD_ERR_BACKEND_FAILED,
                         "the command's output has %jd bytes, the limit \"output\" is %" PRIu64,
                         (intmax_t)status.st_size, max);
    }
    if (err != RD_OK) {
        (void)close(fd);
        return err;
    }
    *output = (struct rd_process_output){.fd = fd, .size = (uint64_t)status.st_size};
    return RD_OK;
}

rd_err rd_process_output_read(struct rd_process_output *output, void *bytes, size_t room,
                              size_t *ret_len, struct rd_why *why)
{
    uint64_t left = output->size - output->offset;
    size_t want = left < room ? (size_t)left : room;
    ssize_t got = 0;
    do {
        got = want > 0 ? pread(output->fd, bytes, want, (off_t)output->offset) : 0;
    } while (got < 0 && errno == EINTR);
    if (got < 0 || (got == 0 && want > 0)) {
        return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the command's output %s",
                          got < 0 ? "cannot be read" : "became shorter while it was read");
    }
    output->offset += (uint64_t)got;
    *ret_len = (size_t)got;
    return RD_OK;
}

void rd_process_output_close(struct rd_process_output *output)
{
    if (output->fd >= 0) {
        (void)close(output->fd);
        output->fd = -1;
    }
}
