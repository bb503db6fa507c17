/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads for the steps of a run that take long: a picture that must be decoded before it can be
 * sent, or encoded when it has come. On the driver's thread they would hold up every other run.
 * There are none when the dialect has no such steps. The list is as long as there are runs, so it
 * is bounded by the slots. */
#include "engine/http/internal.h"

static void step(struct rd_engine_run *run)
{
    if (run->step_end) {
        rd_http_run_end(run);
    } else if (!atomic_load(&run->cancelled)) {
        rd_err err = rd_http_run_prepare(run);
        if (err != RD_OK) {
            rd_http_run_stop(run, err, NULL);
        }
    }
    rd_http_driver_push(run->driver, run);
}

static void *work(void *user)
{
    struct rd_http_workers *workers = user;
    (void)pthread_mutex_lock(&workers->lock);
    for (;;) {
        struct rd_engine_run *run = workers->first;
        if (run != NULL) {
            workers->first = run->inbox_next;
            (void)pthread_mutex_unlock(&workers->lock);
            step(run);
            (void)pthread_mutex_lock(&workers->lock);
        } else if (workers->closing) {
            break;
        } else {
            (void)pthread_cond_wait(&workers->changed, &workers->lock);
        }
    }
    (void)pthread_mutex_unlock(&workers->lock);
    return NULL;
}

void rd_http_workers_push(struct rd_http_workers *workers, struct rd_engine_run *run)
{
    (void)pthread_mutex_lock(&workers->lock);
    run->inbox_next = NULL;
    if (workers->first == NULL) {
        workers->first = run;
    } else {
        workers->last->inbox_next = run;
    }
    workers->last = run;
    (void)pthread_cond_signal(&workers->changed);
    (void)pthread_mutex_unlock(&workers->lock);
}

rd_err rd_http_workers_open(struct rd_http_workers *workers, unsigned count, struct rd_why *why)
{
    if (pthread_mutex_init(&workers->lock, NULL) != 0) {
        return RD_ERR_NO_MEMORY;
    }
    if (pthread_cond_init(&workers->changed, NULL) != 0) {
        (void)pthread_mutex_destroy(&workers->lock);
        return RD_ERR_NO_MEMORY;
    }
    workers->made = true;
    while (workers->count < count) {
        int failed = pthread_create(&workers->threads[workers->count], NULL, work, workers);
        if (failed != 0) {
            return rd_why_errno(why, failed, "start", "a thread of the engine");
        }
        workers->count++;
    }
    return RD_OK;
}

void rd_http_workers_close(struct rd_http_workers *workers)
{
    if (!workers->made) {
        return;
    }
    (void)pthread_mutex_lock(&workers->lock);
    workers->closing = true;
    (void)pthread_cond_broadcast(&workers->changed);
    (void)pthread_mutex_unlock(&workers->lock);
    for (unsigned i = 0; i < workers->count; i++) {
        (void)pthread_join(workers->threads[i], NULL);
    }
    (void)pthread_cond_destroy(&workers->changed);
    (void)pthread_mutex_destroy(&workers->lock);
}
