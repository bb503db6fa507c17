/* SPDX-License-Identifier: Apache-2.0
 *
 * Files that a script has written, read with suspicion: it may have put a link, a pipe or something
 * huge in the place, and may still be writing. */
#ifndef RD_ENGINE_PROCESS_OUTPUT_H
#define RD_ENGINE_PROCESS_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct rd_process_output {
    int fd; /* -1: not open */
    uint64_t size, offset;
};

/* Opens a regular file of 1 to `max` bytes. BACKEND_FAILED, with words about the output, when it is
 * something else. */
rd_err rd_process_output_open(struct rd_process_output *output, const char *path, uint64_t max,
                              struct rd_why *why) RD_MUST;
/* The next at most `room` bytes; 0 at the end. BACKEND_FAILED when the file has become shorter. */
rd_err rd_process_output_read(struct rd_process_output *output, void *bytes, size_t room,
                              size_t *ret_len, struct rd_why *why) RD_MUST;
void rd_process_output_close(struct rd_process_output *output);

#endif
