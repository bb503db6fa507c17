/* SPDX-License-Identifier: Apache-2.0
 *
 * The structs of the process engine and who may touch them.
 *
 *     engine   constant after open(), but for: the inbox and the pool (its lock), what health() has
 *              seen and a few flags (atomics), and what belongs to its thread: epoll set, buffer,
 *              list of runs
 *     run      one start(): made by the caller's thread, handed through the inbox to the engine's
 *              thread, which owns it until done() has been called and gives it back to the pool;
 *              only `cancelled` is written by others meanwhile
 *
 * A run is a row of processes, one for each output, one after the other, in one folder:
 *
 *     LAUNCH --spawned--> RUNNING --it ended--> REAPING --nothing is left--> READING --> LAUNCH
 *                                                                               |   or OVER
 *
 * Whatever stops a run (cancel, time, a sink's error, the script's own word) sets `err`, once. A
 * RUNNING process is then told to end by SIGTERM to its group, and 2 s later by SIGKILL; done()
 * comes when it is gone, so that a slot that is free is free. */
#ifndef RD_ENGINE_PROCESS_INTERNAL_H
#define RD_ENGINE_PROCESS_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/engine.h"
#include "engine/process/child.h"
#include "engine/process/limits.h"
#include "engine/process/output.h"
#include "engine/process/words.h"

enum {
    RD_PROCESS_TIMEOUT_MS = 300000,
    RD_PROCESS_TIMEOUT_MS_MAX = 86400000,
    RD_PROCESS_GRACE_MS = 2000,      /* between SIGTERM and SIGKILL */
    RD_PROCESS_LINES_MAX = 100000,   /* on stdout, of one process */
    RD_PROCESS_LINES_RATE = 1024,    /* a second; the pipe is not read faster */
    RD_PROCESS_LOG_MAX = 64 << 20,   /* bytes on stderr, of one process */
    RD_PROCESS_LOOK_MS = 50,         /* between looks at a process that is told to end */
    RD_PROCESS_REAP_MS = 5,          /* between looks for grandchildren that are dying */
    RD_PROCESS_REAP_MAX_MS = 1000,   /* then they are left to others */
    RD_PROCESS_TURN_BYTES = 1 << 20, /* of one output, before other runs have their turn */
    RD_PROCESS_HEALTH_MS = 500,      /* between looks at the command */
};

enum rd_process_phase {
    RD_PROCESS_LAUNCH,
    RD_PROCESS_RUNNING,
    RD_PROCESS_REAPING,
    RD_PROCESS_READING,
};

/* What epoll tells about. */
enum rd_process_event { RD_PROCESS_STDOUT, RD_PROCESS_STDERR, RD_PROCESS_EXIT };

struct rd_process_watch {
    struct rd_engine_run *run;
    enum rd_process_event event;
    int fd; /* -1: closed; what epoll still says of it is late */
};

struct rd_engine_run {
    struct rd_engine *engine;
    struct rd_engine_run *next; /* in the inbox, the pool or the engine's list */
    struct rd_engine_job job;
    atomic_bool cancelled;
    char folder[PATH_MAX]; /* "" until it was made */

    enum rd_process_phase phase;
    uint64_t deadline_ns;
    unsigned output; /* the one being made */

    /* The process of this output. */
    pid_t pid; /* of the process and of its group; 0: none */
    struct rd_process_watch watches[3];
    uint64_t spawned_ns, window_ns, kill_ns, reap_ns; /* 0: not set */
    unsigned lines, window_lines;
    uint64_t log_bytes;
    int status; /* as waitpid(2) gives it */
    bool terminated, paused;
    struct rd_process_words words;  /* what it said last, on stderr or beside the protocol */
    char line[RD_PROCESS_LINE_MAX]; /* of stdout, begun */
    size_t line_len;
    bool line_long; /* the rest of this one is thrown away */
    double fraction;
    unsigned step;

    struct rd_process_output file;

    rd_err err; /* what stopped the run; the first one counts */
    struct rd_why why;
    bool final, faultless;
    uint64_t measured_ns, device_ns; /* over the processes that have ended */
    uint64_t told_ns;                /* what this one has told; 0: nothing */
    bool all_told;
    char device[64];
};

struct rd_engine {
    const struct rd_engine_config *config;
    uint64_t timeout_ns, output_max;
    struct rd_process_environment environment;
    char folder[PATH_MAX]; /* of all runs; "" until it was made */
    int folder_lock;       /* held as long as the folder is in use */
    atomic_uint active;

    _Atomic(uint64_t) looked_ns; /* at the command */
    atomic_int look_errno;       /* 0: it can be executed */

    pthread_mutex_t lock;
    struct rd_engine_run *inbox, *pool;
    atomic_bool closing;

    pthread_t thread;
    bool threaded; /* it was started */
    int epoll_fd, wake_fd;
    struct rd_engine_run *runs;
    unsigned long folders; /* made so far */
    uint8_t *buffer;       /* RD_ENGINE_HELD_MAX bytes: a preview, or a piece of an output */
};

/* driver.c */
rd_err rd_process_driver_open(struct rd_engine *engine, struct rd_why *why) RD_MUST;
void rd_process_driver_close(struct rd_engine *engine); /* also of one half open */
void rd_process_driver_wake(struct rd_engine *engine);

/* run.c; on the engine's thread */
/* Something is to be read, or the process has ended. */
void rd_process_run_event(struct rd_engine_run *run, enum rd_process_event event);
/* Does what is due. False: the run is over; else `ret_next_ns` says when to come again at the
 * latest. */
bool rd_process_run_turn(struct rd_engine_run *run, uint64_t *ret_next_ns);
void rd_process_run_report(struct rd_engine_run *run);
/* Notes the first reason to stop. */
void rd_process_run_stop(struct rd_engine_run *run, rd_err err, const char *why);

/* stdout.c: the lines of the protocol, as they come. */
void rd_process_stdout_bytes(struct rd_engine_run *run, const char *bytes, size_t len);

/* process.c: the run is over; its slot is free before the owner hears of it. */
void rd_process_release(struct rd_engine *engine, struct rd_engine_run *run);

#endif
