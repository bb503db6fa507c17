/* SPDX-License-Identifier: Apache-2.0
 *
 * See recorder.h. `calling` is set in a thread while it is inside start() or cancel(): a sink call
 * that sees it set came from inside them. */
#include "recorder.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

/* A call that must not block took longer: so much that no busy machine explains it. */
static const uint64_t BLOCKED_NS = 1000000000;

static _Thread_local bool calling;

__attribute__((format(printf, 2, 3))) static void violate(struct recorder *recorder,
                                                          const char *fmt, ...)
{
    if (recorder->violation[0] == '\0') {
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(recorder->violation, sizeof recorder->violation, fmt, args);
        va_end(args);
    }
}

static void check_order(struct recorder *recorder, const char *what)
{
    if (recorder->done > 0) {
        violate(recorder, "%s after done", what);
    }
    if (recorder->stopped && strcmp(what, "done") != 0) {
        violate(recorder, "%s after a sink function failed", what);
    }
}

/* Every sink function begins and ends with these two; between them the lock is held. */
static void enter(struct recorder *recorder, const char *what)
{
    if (atomic_exchange(&recorder->inside, true)) {
        violate(recorder, "%s while another sink function runs", what);
    }
    (void)pthread_mutex_lock(&recorder->lock);
    if (calling) {
        violate(recorder, "%s from inside start() or cancel()", what);
    }
    check_order(recorder, what);
}

static rd_err leave(struct recorder *recorder, enum recorder_stage stage)
{
    rd_err err = recorder->fail_at == stage ? recorder->fail_with : RD_OK;
    recorder->stopped = recorder->stopped || err != RD_OK;
    if (recorder->cancel_at == stage) {
        struct rd_engine_run *run;
        while ((run = atomic_load(&recorder->run)) == NULL) { /* start() has not yet returned */
            (void)sched_yield();
        }
        calling = true;
        recorder->ops->cancel(recorder->engine, run);
        calling = false;
    }
    (void)pthread_cond_broadcast(&recorder->changed);
    atomic_store(&recorder->inside, false);
    (void)pthread_mutex_unlock(&recorder->lock); /* from here on the test may free the recorder */
    return err;
}

static void on_progress(void *ctx, double fraction, unsigned step)
{
    struct recorder *recorder = ctx;
    enter(recorder, "progress");
    if (!(fraction >= 0 && fraction <= 1) || fraction < recorder->last_fraction) {
        violate(recorder, "progress %g after %g", fraction, recorder->last_fraction);
    }
    (void)step;
    recorder->last_fraction = fraction;
    recorder->progressed++;
    (void)leave(recorder, RECORDER_PROGRESS);
}

static void on_preview(void *ctx, enum rd_media media, const void *bytes, size_t len)
{
    struct recorder *recorder = ctx;
    enter(recorder, "preview");
    if (bytes == NULL || len == 0 || rd_media_type(media) == NULL) {
        violate(recorder, "an empty preview");
    }
    recorder->previews++;
    (void)leave(recorder, RECORDER_PROGRESS);
}

static rd_err on_begin(void *ctx, unsigned index, enum rd_media media, uint64_t size_hint)
{
    struct recorder *recorder = ctx;
    enter(recorder, "begin");
    if (recorder->open || index != recorder->begun || index >= recorder->count) {
        violate(recorder, "begin of output %u of %u, %u had begun", index, recorder->count,
                recorder->begun);
    } else {
        recorder->size_hint[index] = size_hint;
        recorder->checksum[index] = 14695981039346656037u; /* FNV-1a */
    }
    if (media != recorder->media) {
        violate(recorder, "begin with %s, not %s", rd_media_type(media),
                rd_media_type(recorder->media));
    }
    recorder->open = true;
    recorder->begun++;
    return leave(recorder, RECORDER_BEGIN);
}

static rd_err on_data(void *ctx, unsigned index, const void *bytes, size_t len)
{
    struct recorder *recorder = ctx;
    const uint8_t *at = bytes;
    enter(recorder, "data");
    if (!recorder->open || index + 1 != recorder->begun || index >= RD_LIMIT_COUNT || len == 0) {
        violate(recorder, "%zu bytes of data for output %u, %u had begun", len, index,
                recorder->begun);
    } else {
        for (size_t i = 0; i < len; i++) {
            if (recorder->size[index] + i < sizeof recorder->first[index]) {
                recorder->first[index][recorder->size[index] + i] = at[i];
            }
            recorder->checksum[index] = (recorder->checksum[index] ^ at[i]) * 1099511628211u;
        }
        recorder->size[index] += len;
    }
    return leave(recorder, RECORDER_DATA);
}

static rd_err on_end(void *ctx, unsigned index)
{
    struct recorder *recorder = ctx;
    enter(recorder, "end");
    if (!recorder->open || index + 1 != recorder->begun) {
        violate(recorder, "end of output %u, %u had begun", index, recorder->begun);
    } else if (recorder->size_hint[index] != 0 &&
               recorder->size_hint[index] != recorder->size[index]) {
        violate(recorder, "output %u has %llu bytes, told were %llu", index,
                (unsigned long long)recorder->size[index],
                (unsigned long long)recorder->size_hint[index]);
    }
    recorder->open = false;
    recorder->ended++;
    return leave(recorder, RECORDER_END);
}

/* What a report may say: a time that is not known is no zero that is known, and what went well is
 * neither to be repeated nor to be forgiven. */
static void check_report(struct recorder *recorder, rd_err err,
                         const struct rd_engine_report *report)
{
    if (report == NULL) {
        violate(recorder, "done without a report");
        return;
    }
    if (memchr(report->device, '\0', sizeof report->device) == NULL) {
        violate(recorder, "the report's device has no end");
        return;
    }
    recorder->report = *report;
    if ((unsigned)report->source > RD_DEVICE_TIME_MEASURED) {
        violate(recorder, "a device time of source %u", (unsigned)report->source);
    }
    if (report->source == RD_DEVICE_TIME_UNKNOWN && report->device_ns != 0) {
        violate(recorder, "a device time that is not known, of %llu ns",
                (unsigned long long)report->device_ns);
    }
    if (report->source != RD_DEVICE_TIME_UNKNOWN && report->device_ns == 0) {
        violate(recorder, "a device time that is known and zero");
    }
    if (err == RD_OK && (report->final || report->faultless)) {
        violate(recorder, "success, and final or faultless");
    }
}

static void check_end(struct recorder *recorder, rd_err err, const struct rd_why *why)
{
    if ((unsigned)err >= RD_ERR_COUNT_) {
        violate(recorder, "done(%u), which is no error", (unsigned)err);
    } else if (why != NULL && memchr(why->text, '\0', sizeof why->text) == NULL) {
        violate(recorder, "a why without an end");
    } else if (why != NULL && (err == RD_OK || why->text[0] == '\0')) {
        violate(recorder, "done(%s) with %s", rd_err_info(err)->code,
                err == RD_OK ? "a why" : "an empty why");
    }
    if (err == RD_OK && (recorder->open || recorder->ended != recorder->count)) {
        violate(recorder, "done with %u of %u outputs", recorder->ended, recorder->count);
    }
    if (err == RD_OK && recorder->stopped) {
        violate(recorder, "done without error after a sink function failed");
    }
    if (recorder->stopped && err != recorder->fail_with) {
        violate(recorder, "done with another error than the sink's");
    }
}

static void on_done(void *ctx, rd_err err, const struct rd_why *why,
                    const struct rd_engine_report *report)
{
    struct recorder *recorder = ctx;
    enter(recorder, "done");
    if (recorder->done == 0) { /* what comes later was noted by enter() */
        check_end(recorder, err, why);
        check_report(recorder, err, report);
        recorder->err = err;
        recorder->has_why = why != NULL;
        if (why != NULL) {
            recorder->why = *why;
        }
        memset(recorder->generation, 0xa5, sizeof *recorder->generation);
        free(recorder->generation);
        free(recorder->request_id);
    }
    recorder->done++;
    (void)leave(recorder, RECORDER_DONE);
}

void recorder_init(struct recorder *recorder)
{
    memset(recorder, 0, sizeof *recorder);
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    /* Recursive: an engine that calls the sink from inside cancel(), which it must not, is to be
     * found out, not to hang. */
    pthread_mutexattr_t recursive;
    (void)pthread_mutexattr_init(&recursive);
    (void)pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init(&recorder->lock, &recursive);
    (void)pthread_mutexattr_destroy(&recursive);
    (void)pthread_cond_init(&recorder->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

void recorder_done(struct recorder *recorder)
{
    (void)pthread_cond_destroy(&recorder->changed);
    (void)pthread_mutex_destroy(&recorder->lock);
}

rd_err recorder_start(struct recorder *recorder, const struct rd_engine_ops *ops,
                      struct rd_engine *engine, const struct rd_generation *generation,
                      unsigned count)
{
    recorder->ops = ops;
    recorder->engine = engine;
    recorder->count = count;
    recorder->media = generation->media;
    recorder->generation = malloc(sizeof *recorder->generation);
    recorder->request_id = strdup("req_000000000000conform");
    if (recorder->generation == NULL || recorder->request_id == NULL) {
        abort();
    }
    *recorder->generation = *generation;
    recorder->generation->count = count;
    struct rd_engine_job job = {
        .generation = recorder->generation,
        .request_id = recorder->request_id,
        .traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        .deadline_mono_ns = recorder->deadline_mono_ns,
        .priority = recorder->priority,
        .sink = {.ctx = recorder,
                 .progress = recorder->bare ? NULL : on_progress,
                 .preview = recorder->bare ? NULL : on_preview,
                 .begin = on_begin,
                 .data = on_data,
                 .end = on_end,
                 .done = on_done},
    };
    struct rd_engine_run *run = NULL;
    uint64_t from = rd_clock_mono_ns();
    calling = true;
    rd_err err = ops->start(engine, &job, &run);
    calling = false;
    uint64_t took = rd_clock_mono_ns() - from;
    memset(&job, 0xa5, sizeof job); /* an engine must not need it any more */
    if (err != RD_OK) {
        free(recorder->generation);
        free(recorder->request_id);
        return err;
    }
    atomic_store(&recorder->run, run);
    if (run == NULL || took > BLOCKED_NS) {
        (void)pthread_mutex_lock(&recorder->lock);
        violate(recorder, run == NULL ? "start() gave no run" : "start() blocked");
        (void)pthread_mutex_unlock(&recorder->lock);
    }
    return RD_OK;
}

void recorder_cancel(struct recorder *recorder)
{
    (void)pthread_mutex_lock(&recorder->lock); /* done() cannot return meanwhile */
    if (recorder->done == 0) {
        uint64_t from = rd_clock_mono_ns();
        calling = true;
        recorder->ops->cancel(recorder->engine, atomic_load(&recorder->run));
        calling = false;
        if (rd_clock_mono_ns() - from > BLOCKED_NS) {
            violate(recorder, "cancel() blocked");
        }
    }
    (void)pthread_mutex_unlock(&recorder->lock);
}

static bool wait_for(struct recorder *recorder, const unsigned *number, unsigned ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&recorder->lock);
    int failed = 0;
    while (*number == 0 && recorder->done == 0 && failed == 0) {
        failed = pthread_cond_timedwait(&recorder->changed, &recorder->lock, &until);
    }
    bool came = *number > 0;
    (void)pthread_mutex_unlock(&recorder->lock);
    return came;
}

bool recorder_wait(struct recorder *recorder, unsigned ms)
{
    return wait_for(recorder, &recorder->done, ms);
}

bool recorder_wait_begun(struct recorder *recorder, unsigned ms)
{
    return wait_for(recorder, &recorder->begun, ms);
}
