/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.c: the order, the bound, and the end. What waits is woken by the work itself, so nothing
 * here depends on how fast threads are. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "gateway/pool.h"

struct gate {
    sem_t entered, open;
};

static void wait_at_gate(void *ctx)
{
    struct gate *gate = ctx;
    (void)sem_post(&gate->entered);
    (void)sem_wait(&gate->open);
}

static unsigned order[RD_POOL_QUEUE_MAX];
static unsigned numbers[RD_POOL_QUEUE_MAX];
static atomic_uint ran;

static void note(void *ctx)
{
    order[atomic_fetch_add(&ran, 1)] = *(const unsigned *)ctx;
}

static void queue_is_bounded_and_in_order(void **state)
{
    (void)state;
    struct rd_pool *pool = NULL;
    struct gate gate;
    assert_int_equal(sem_init(&gate.entered, 0, 0), 0);
    assert_int_equal(sem_init(&gate.open, 0, 0), 0);
    assert_int_equal(rd_pool_start(1, &pool), RD_OK);
    assert_int_equal(rd_pool_submit(pool, wait_at_gate, &gate), RD_OK);
    (void)sem_wait(&gate.entered); /* the one thread is busy; from here on everything waits */
    atomic_store(&ran, 0);
    for (unsigned i = 0; i < RD_POOL_QUEUE_MAX; i++) {
        numbers[i] = i;
        assert_int_equal(rd_pool_submit(pool, note, &numbers[i]), RD_OK);
    }
    assert_int_equal(rd_pool_submit(pool, note, &numbers[0]), RD_ERR_CAPACITY);
    (void)sem_post(&gate.open);
    rd_pool_stop(pool); /* runs what is queued */
    assert_int_equal(atomic_load(&ran), RD_POOL_QUEUE_MAX);
    for (unsigned i = 0; i < RD_POOL_QUEUE_MAX; i++) {
        assert_int_equal(order[i], i);
    }
    (void)sem_destroy(&gate.entered);
    (void)sem_destroy(&gate.open);
}

static void all_threads_work_at_once(void **state)
{
    (void)state;
    enum { THREADS = 5 };
    struct rd_pool *pool = NULL;
    struct gate gate;
    assert_int_equal(sem_init(&gate.entered, 0, 0), 0);
    assert_int_equal(sem_init(&gate.open, 0, 0), 0);
    assert_int_equal(rd_pool_start(THREADS, &pool), RD_OK);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(rd_pool_submit(pool, wait_at_gate, &gate), RD_OK);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        (void)sem_wait(&gate.entered); /* would hang if one thread less took work */
    }
    for (unsigned i = 0; i < THREADS; i++) {
        (void)sem_post(&gate.open);
    }
    rd_pool_stop(pool);
    (void)sem_destroy(&gate.entered);
    (void)sem_destroy(&gate.open);
}

static atomic_uint total;

static void count(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&total, 1);
}

struct submitter {
    struct rd_pool *pool;
    unsigned accepted;
};

static void *submit_many(void *arg)
{
    struct submitter *submitter = arg;
    for (unsigned i = 0; i < 5000; i++) {
        rd_err err = rd_pool_submit(submitter->pool, count, NULL);
        submitter->accepted += err == RD_OK ? 1 : 0;
    }
    return NULL;
}

static void what_was_accepted_runs_once(void **state)
{
    (void)state;
    enum { SUBMITTERS = 4 };
    struct rd_pool *pool = NULL;
    struct submitter submitters[SUBMITTERS];
    pthread_t threads[SUBMITTERS];
    atomic_store(&total, 0);
    assert_int_equal(rd_pool_start(3, &pool), RD_OK);
    for (unsigned i = 0; i < SUBMITTERS; i++) {
        submitters[i] = (struct submitter){.pool = pool};
        assert_int_equal(pthread_create(&threads[i], NULL, submit_many, &submitters[i]), 0);
    }
    unsigned accepted = 0;
    for (unsigned i = 0; i < SUBMITTERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        accepted += submitters[i].accepted;
    }
    rd_pool_stop(pool);
    assert_true(accepted > 0);
    assert_int_equal(atomic_load(&total), accepted);
}

static void odd_sizes(void **state)
{
    (void)state;
    struct rd_pool *pool = NULL;
    rd_pool_stop(NULL);
    assert_int_equal(rd_pool_start(0, &pool),
                     RD_ERR_NO_MEMORY); /* a pool that cannot work is none */
    assert_null(pool);
    assert_int_equal(rd_pool_start(100000, &pool), RD_OK); /* as many as are sensible */
    rd_pool_stop(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queue_is_bounded_and_in_order),
        cmocka_unit_test(all_threads_work_at_once),
        cmocka_unit_test(what_was_accepted_runs_once),
        cmocka_unit_test(odd_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
