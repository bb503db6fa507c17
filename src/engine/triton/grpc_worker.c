/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads for what takes long: decoding a source picture into a tensor, encoding a raw picture that
 * came. The driver's thread serves every run of the engine and must not do it. A backend whose
 * mapping needs neither never has one of them. */
#include "engine/triton/grpc_internal.h"

static void work(struct rd_grpc_workers *workers, struct rd_engine_run *run)
{
    rd_grpc_run_work(run);
    rd_grpc_driver_push(workers->driver, run);
}

static void *serve(void *user)
{
    struct rd_grpc_workers *workers = user;
    (void)pthread_mutex_lock(&workers->lock);
    for (;;) {
        while (workers->first == NULL && !workers->closing) {
            workers->idle++;
            (void)pthread_cond_wait(&workers->changed, &workers->lock);
            workers->idle--;
        }
        struct rd_engine_run *run = workers->first;
        if (run == NULL) {
            break;
        }
        workers->first = run->next;
        (void)pthread_mutex_unlock(&workers->lock);
        work(workers, run);
        (void)pthread_mutex_lock(&workers->lock);
    }
    (void)pthread_mutex_unlock(&workers->lock);
    return NULL;
}

void rd_grpc_workers_push(struct rd_grpc_workers *workers, struct rd_engine_run *run)
{
    run->away = true;
    run->next = NULL;
    (void)pthread_mutex_lock(&workers->lock);
    if (workers->idle == 0 && workers->threads_count < workers->threads_max &&
        pthread_create(&workers->threads[workers->threads_count], NULL, serve, workers) == 0) {
        workers->threads_count++;
    }
    bool any = workers->threads_count > 0;
    if (any) {
        if (workers->first == NULL) {
            workers->first = run;
        } else {
            workers->last->next = run;
        }
        workers->last = run;
        (void)pthread_cond_signal(&workers->changed);
    }
    (void)pthread_mutex_unlock(&workers->lock);
    if (!any) {
        work(workers, run);
    }
}

rd_err rd_grpc_workers_open(struct rd_grpc_workers *workers, struct rd_grpc_driver *driver,
                            unsigned most)
{
    if (pthread_mutex_init(&workers->lock, NULL) != 0) {
        return RD_ERR_NO_MEMORY;
    }
    if (pthread_cond_init(&workers->changed, NULL) != 0) {
        (void)pthread_mutex_destroy(&workers->lock);
        return RD_ERR_NO_MEMORY;
    }
    workers->threads_max = most < RD_GRPC_WORKERS_MAX ? most : RD_GRPC_WORKERS_MAX;
    workers->driver = driver;
    return RD_OK;
}

void rd_grpc_workers_close(struct rd_grpc_workers *workers)
{
    if (workers->driver == NULL) {
        return; /* never opened */
    }
    (void)pthread_mutex_lock(&workers->lock);
    workers->closing = true;
    (void)pthread_cond_broadcast(&workers->changed);
    (void)pthread_mutex_unlock(&workers->lock);
    for (unsigned i = 0; i < workers->threads_count; i++) {
        (void)pthread_join(workers->threads[i], NULL);
    }
    (void)pthread_cond_destroy(&workers->changed);
    (void)pthread_mutex_destroy(&workers->lock);
}
