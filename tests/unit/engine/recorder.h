/* SPDX-License-Identifier: Apache-2.0
 *
 * A sink for tests of engines: it records what an engine delivers and notes the first violation of
 * engine.h that it sees, because cmocka may only be told on the main thread. It owns a heap copy of
 * the generation and frees it inside done(), so that an engine that still holds the job is caught
 * by the address sanitizer. */
#ifndef RD_TESTS_ENGINE_RECORDER_H
#define RD_TESTS_ENGINE_RECORDER_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/limits.h"
#include "engine/engine.h"

enum recorder_stage {
    RECORDER_NEVER,
    RECORDER_BEGIN,
    RECORDER_DATA,
    RECORDER_END,
    RECORDER_PROGRESS,
    RECORDER_DONE,
};

struct recorder {
    /* set before recorder_start */
    enum recorder_stage fail_at; /* the sink function that gives `fail_with` */
    rd_err fail_with;
    enum recorder_stage cancel_at; /* the sink function that calls cancel() */
    bool bare;                     /* no progress and no preview function */
    uint64_t deadline_mono_ns;
    unsigned priority; /* of the job */

    /* what came; read it after recorder_wait */
    rd_err err;
    struct rd_why why;
    bool has_why;
    struct rd_engine_report report;
    unsigned begun, ended, progressed, previews;
    uint64_t size_hint[RD_LIMIT_COUNT], size[RD_LIMIT_COUNT], checksum[RD_LIMIT_COUNT];
    uint8_t first[RD_LIMIT_COUNT][12];
    char violation[256]; /* "" when all was well */

    /* inside */
    const struct rd_engine_ops *ops;
    struct rd_engine *engine;
    _Atomic(struct rd_engine_run *) run;
    struct rd_generation *generation;
    char *request_id;
    enum rd_media media;
    unsigned count;
    bool open, stopped;
    double last_fraction;
    atomic_bool inside; /* some sink function runs */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned done; /* calls */
};

void recorder_init(struct recorder *recorder);
void recorder_done(struct recorder *recorder);
/* Starts a run of a copy of `generation` with `count` outputs. */
rd_err recorder_start(struct recorder *recorder, const struct rd_engine_ops *ops,
                      struct rd_engine *engine, const struct rd_generation *generation,
                      unsigned count);
/* Cancels, unless done() has come. Any thread. */
void recorder_cancel(struct recorder *recorder);
/* Waits until done() has come; false after `ms`. */
bool recorder_wait(struct recorder *recorder, unsigned ms);
/* Waits until an output has begun; false after `ms`. */
bool recorder_wait_begun(struct recorder *recorder, unsigned ms);

#endif
