/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting a command with nothing of ours: three descriptors, a short environment, a folder,
 * limits, a session of its own. */
#ifndef RD_ENGINE_PROCESS_CHILD_H
#define RD_ENGINE_PROCESS_CHILD_H

#include <limits.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum {
    RD_PROCESS_COMMAND_MAX = 64,     /* words of a command */
    RD_PROCESS_ENVIRONMENT_MAX = 16, /* variables */
    RD_PROCESS_VARIABLE_MAX = 4096,  /* bytes of one; a longer one is left out */
};

/* The variables that a command gets, but for HOME and TMPDIR, which are its run's folder. Taken
 * from the environment once, at open(). */
struct rd_process_environment {
    char *variables[RD_PROCESS_ENVIRONMENT_MAX]; /* "NAME=value", owned */
    size_t count;
};

rd_err rd_process_environment_take(struct rd_process_environment *environment) RD_MUST;
void rd_process_environment_done(struct rd_process_environment *environment);

struct rd_process_child {
    const char *const *command;
    size_t command_count;
    const struct rd_process_environment *environment;
    const char *folder;
    int in, out, err;                /* each above 2 */
    uint64_t memory_max, output_max; /* bytes; memory_max 0: none */
};

/* Starts it. `ret_pid` is its process, its group and its session; `ret_pidfd` becomes readable when
 * it has ended. What fails inside the child, exec among it, is told on its stderr and by status
 * 127. */
rd_err rd_process_spawn(const struct rd_process_child *child, pid_t *ret_pid, int *ret_pidfd,
                        struct rd_why *why) RD_MUST;

#endif
