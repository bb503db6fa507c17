/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker pool: a ring of pending work behind one mutex. See pool.h. */
#include "gateway/pool.h"

#include <pthread.h>
#include <stdbool.h>

#include "base/mem.h"

enum { POOL_THREADS_MAX = 64 };

struct work {
    void (*run)(void *ctx);
    void *ctx;
};

struct rd_pool {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct work ring[RD_POOL_QUEUE_MAX];
    unsigned head, count;
    bool stopping;
    unsigned threads_count;
    pthread_t threads[POOL_THREADS_MAX];
};

static void *serve(void *arg)
{
    struct rd_pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->count == 0 && !pool->stopping) {
            pthread_cond_wait(&pool->filled, &pool->lock);
        }
        if (pool->count == 0) {
            break;
        }
        struct work work = pool->ring[pool->head];
        pool->head = (pool->head + 1) % RD_POOL_QUEUE_MAX;
        pool->count--;
        pthread_mutex_unlock(&pool->lock);
        work.run(work.ctx);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

rd_err rd_pool_start(unsigned threads, struct rd_pool **ret)
{
    struct rd_pool *pool = rd_mem_alloc(sizeof *pool);
    if (pool == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    if (pthread_mutex_init(&pool->lock, NULL) != 0 || pthread_cond_init(&pool->filled, NULL) != 0) {
        rd_mem_free(pool);
        return RD_ERR_NO_MEMORY;
    }
    unsigned wanted = threads > POOL_THREADS_MAX ? POOL_THREADS_MAX : threads;
    while (pool->threads_count < wanted &&
           pthread_create(&pool->threads[pool->threads_count], NULL, serve, pool) == 0) {
        pool->threads_count++;
    }
    if (pool->threads_count == 0) {
        rd_pool_stop(pool);
        return RD_ERR_NO_MEMORY;
    }
    *ret = pool;
    return RD_OK;
}

rd_err rd_pool_submit(struct rd_pool *pool, void (*work)(void *ctx), void *ctx)
{
    rd_err err = RD_ERR_CAPACITY;
    pthread_mutex_lock(&pool->lock);
    if (pool->count < RD_POOL_QUEUE_MAX && !pool->stopping) {
        pool->ring[(pool->head + pool->count) % RD_POOL_QUEUE_MAX] = (struct work){work, ctx};
        pool->count++;
        pthread_cond_signal(&pool->filled);
        err = RD_OK;
    }
    pthread_mutex_unlock(&pool->lock);
    return err;
}

void rd_pool_stop(struct rd_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->filled);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->threads_count; i++) {
        (void)pthread_join(pool->threads[i], NULL);
    }
    (void)pthread_cond_destroy(&pool->filled);
    (void)pthread_mutex_destroy(&pool->lock);
    rd_mem_free(pool);
}
