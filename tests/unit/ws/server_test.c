/* SPDX-License-Identifier: Apache-2.0
 *
 * The server as a whole: who gets in, going away, many connections, threads that all talk at once.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "harness.h"

static void test_limits_of_admission(void **state)
{
    struct host *host = host_start(NULL);
    struct rd_ws_conn **conns = rd_mem_alloc_array(RD_LIMIT_WS_CONNECTIONS + 1, sizeof *conns);
    struct rd_ws_conn *refused = NULL;
    (void)state;
    assert_non_null(conns);
    for (unsigned i = 0; i < RD_LIMIT_WS_CONNECTIONS; i++) {
        uint64_t owner = i / RD_LIMIT_WS_CONNECTIONS_TENANT;
        assert_int_equal(rd_ws_admit(host->ws, owner, host, &conns[i]), RD_OK);
        if (i == RD_LIMIT_WS_CONNECTIONS_TENANT - 1) {
            assert_int_equal(rd_ws_admit(host->ws, owner, host, &refused), RD_ERR_RATE_LIMITED);
        }
    }
    assert_int_equal(rd_ws_admit(host->ws, 99, host, &refused), RD_ERR_CAPACITY);
    rd_ws_abandon(conns[0]);
    assert_int_equal(rd_ws_admit(host->ws, 99, host, &conns[0]), RD_OK);
    assert_int_equal(rd_ws_count(host->ws), RD_LIMIT_WS_CONNECTIONS);
    for (unsigned i = 0; i < RD_LIMIT_WS_CONNECTIONS; i++) {
        rd_ws_abandon(conns[i]);
    }
    assert_int_equal(rd_ws_count(host->ws), 0);
    assert_null(refused);
    assert_int_equal(host->ended, RD_LIMIT_WS_CONNECTIONS + 1); /* not for those refused */
    rd_mem_free(conns);
    host_stop(host);
}

static void test_going_away(void **state)
{
    struct host *host = host_start(NULL);
    struct rd_ws_conn *refused = NULL;
    int first = client_connect(host, NULL, 0);
    int second = client_connect(host, NULL, 0);
    (void)state;
    rd_ws_drain(host->ws);
    assert_int_equal(rd_ws_admit(host->ws, 1, host, &refused), RD_ERR_DRAINING);
    client_expect_close(first, 1001);
    client_expect_close(second, 1001);
    host_wait(host, &host->ended, 2);
    host_stop(host);
    rd_ws_stop(NULL);
}

static void test_cut(void **state)
{
    struct host *host = host_start(NULL);
    int fd = client_connect(host, NULL, 0);
    size_t len = 0;
    char frame[256];
    (void)state;
    rd_ws_drain(host->ws); /* it says goodbye, and the client does not */
    assert_int_equal(client_read(fd, frame, &len), 8);
    assert_int_equal(rd_ws_count(host->ws), 1);
    rd_ws_cut(host->ws);
    host_wait(host, &host->ended, 1);
    assert_int_equal(client_read(fd, frame, &len), -1);
    (void)close(fd);
    host_stop(host);
}

static void test_stop_cuts(void **state)
{
    struct host *host = host_start(NULL);
    int fd = client_connect(host, NULL, 0);
    size_t len = 0;
    char frame[256];
    (void)state;
    client_text(fd, "{\"type\":\"subscribe\",\"id\":1,\"job_id\":\"" JOB "\"}");
    client_expect(fd, "{\"type\":\"ack\",\"id\":1,\"job_id\":\"" JOB "\"}");
    rd_ws_stop(host->ws);
    host->ws = NULL;
    assert_int_equal(host->unwatched, 1);
    assert_int_equal(host->ended, 1);
    assert_int_equal(client_read(fd, frame, &len), -1);
    (void)close(fd);
    host_stop(host);
}

enum { TELLERS = 4, EVENTS = 2000, CLIENTS = 8 };

struct teller {
    struct host *host;
    unsigned first;
};

/* Events of many jobs from several threads, while clients read. */
static void *tell(void *arg)
{
    struct teller *teller = arg;
    for (unsigned i = 0; i < EVENTS; i++) {
        bool taken = false;
        struct call *watch = &teller->host->calls[(teller->first + i) % CLIENTS];
        const struct rd_jobs_event event = {i + 1, watch->job, "progress", "{\"progress\":0.5}",
                                            16,    false,      0};
        while (!taken) {
            taken = watch->fn(watch->fn_ctx, &event);
            (void)usleep(taken ? 0 : 100);
        }
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    struct host *host = host_start(NULL);
    int fds[CLIENTS];
    pthread_t threads[TELLERS];
    struct teller tellers[TELLERS];
    char frame[512];
    size_t len = 0;
    (void)state;
    for (unsigned i = 0; i < CLIENTS; i++) {
        fds[i] = client_connect(host, NULL, 0);
        client_text(fds[i], "{\"type\":\"subscribe\",\"id\":1,\"job_id\":\"" JOB "\"}");
        (void)host_call(host, i, "watch");
    }
    for (unsigned i = 0; i < TELLERS; i++) {
        tellers[i] = (struct teller){host, i};
        assert_int_equal(pthread_create(&threads[i], NULL, tell, &tellers[i]), 0);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        for (unsigned k = 0; k < 1 + TELLERS * EVENTS / CLIENTS; k++) {
            assert_int_equal(client_read(fds[i], frame, &len), 1);
        }
    }
    for (unsigned i = 0; i < TELLERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        (void)close(fds[i]);
    }
    host_wait(host, &host->ended, CLIENTS);
    host_stop(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_of_admission),
        cmocka_unit_test(test_going_away),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_stop_cuts),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
