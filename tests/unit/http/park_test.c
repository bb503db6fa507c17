/* SPDX-License-Identifier: Apache-2.0
 *
 * park.c: idle connections that wait outside libmicrohttpd. Here they are parked at once, not after
 * a second. What is tested: the client notices nothing, whatever it sent and however cut up;
 * nothing that came is lost; a parked connection that ends, or its server, leaves nothing behind.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "http/inside.h"

static void on_headers(void *ctx, struct rd_http_exchange *x)
{
    (void)ctx;
    rd_http_buffer_body(x, 1 << 20);
}

static void on_request(void *ctx, struct rd_http_exchange *x)
{
    (void)ctx;
    char text[64];
    (void)snprintf(text, sizeof text, "%s %zu", rd_http_request_path(x), rd_http_body(x)->len);
    harness_ok(x, text);
}

static struct rd_http_server *start(unsigned threads, uint64_t after_ns)
{
    const struct rd_http_app app = {.headers = on_headers, .request = on_request};
    struct rd_http_server *server = harness_start(&app, threads);
    atomic_store(&server->watch.park_after_ns, after_ns);
    return server;
}

static unsigned parked(struct rd_http_server *server)
{
    unsigned count = 0;
    pthread_mutex_lock(&server->watch.lock);
    for (uint32_t i = 0; i < server->watch.slots_used; i++) {
        count += server->watch.conns[i] != NULL && server->watch.conns[i]->parked;
    }
    pthread_mutex_unlock(&server->watch.lock);
    return count;
}

static void wait_until_parked(struct rd_http_server *server, unsigned count)
{
    uint64_t until_ms = harness_now_ms() + HARNESS_PATIENCE_MS;
    while (parked(server) != count) {
        if (harness_now_ms() > until_ms) {
            fail_msg("%u instead of %u are parked", parked(server), count);
        }
        atomic_store(&server->watch.look_again, true); /* not only four times a second */
        rd_http_watch_wake(&server->watch);
        (void)usleep(200);
    }
}

static void the_client_notices_nothing(void **state)
{
    (void)state;
    struct rd_http_server *server = start(1, 0);
    int fd = harness_connect(server);
    for (unsigned i = 0; i < 20; i++) {
        harness_text(fd, "GET /%u HTTP/1.1\r\nHost: h\r\n\r\n", i);
        char expected[32];
        (void)snprintf(expected, sizeof expected, "/%u 0", i);
        harness_expect(fd, 200, expected);
        wait_until_parked(server, 1);
        assert_int_equal(rd_http_open_connections(server), 1);
        harness_text(fd, "POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
        harness_expect(fd, 200, "/body 5");
        wait_until_parked(server, 1);
    }
    (void)close(fd);
    harness_stop(server);
}

/* A request of which a part came before: it must not be parked, and must be answered. */
static void what_came_early_is_not_lost(void **state)
{
    (void)state;
    struct rd_http_server *server = start(1, 0);
    int witness = harness_connect(server);
    harness_text(witness, "GET /w HTTP/1.1\r\nHost: h\r\n\r\n");
    harness_expect(witness, 200, "/w 0");
    wait_until_parked(server, 1);
    int fd = harness_connect(server);
    static const char next[] = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
    for (size_t cut = 1; cut < sizeof next - 1; cut++) {
        harness_text(fd, "GET /first HTTP/1.1\r\nHost: h\r\n\r\n%.*s", (int)cut, next);
        harness_expect(fd, 200, "/first 0");
        for (unsigned i = 0; i < 3; i++) { /* the watcher looks, and has it tried */
            atomic_store(&server->watch.look_again, true);
            rd_http_watch_wake(&server->watch);
            (void)usleep(100);
        }
        harness_text(fd, "%s", next + cut);
        harness_expect(fd, 200, "/next 0");
    }
    (void)close(fd);
    (void)close(witness);
    harness_stop(server);
}

/* Empty lines and chunks are not counted: such a connection is never parked, and still works. */
static void what_cannot_be_counted_stays(void **state)
{
    (void)state;
    struct rd_http_server *server = start(1, 0);
    int plain = harness_connect(server);
    int fd = harness_connect(server);
    harness_text(fd, "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "3\r\nabc\r\n0\r\n\r\n");
    harness_expect(fd, 200, "/c 3");
    for (unsigned i = 0; i < 5; i++) {
        harness_text(fd, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
        harness_expect(fd, 200, "/a 0");
        harness_text(plain, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
        harness_expect(plain, 200, "/a 0");
        wait_until_parked(server, 1); /* the other one */
    }
    (void)close(fd);
    (void)close(plain);
    harness_stop(server);
}

static void parked_connections_end(void **state)
{
    (void)state;
    enum { CONNECTIONS = 200 };
    int fds[CONNECTIONS];
    for (unsigned round = 0; round < 3; round++) {
        struct rd_http_server *server = start(2, 0);
        for (unsigned i = 0; i < CONNECTIONS; i++) {
            fds[i] = harness_connect(server);
            harness_text(fds[i], "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
            harness_expect(fds[i], 200, "/a 0");
        }
        wait_until_parked(server, CONNECTIONS);
        if (round == 0) { /* the clients leave */
            for (unsigned i = 0; i < CONNECTIONS; i++) {
                (void)close(fds[i]);
            }
            harness_stop(server);
            continue;
        }
        if (round == 1) { /* the server hangs up */
            rd_http_quiesce(server);
            rd_http_hang_up(server);
            for (unsigned i = 0; i < CONNECTIONS; i++) {
                harness_expect_closed(fds[i]);
            }
            harness_stop(server);
        } else { /* or stops */
            rd_http_stop(server);
            for (unsigned i = 0; i < CONNECTIONS; i++) {
                harness_expect_closed(fds[i]);
            }
        }
        for (unsigned i = 0; i < CONNECTIONS; i++) {
            (void)close(fds[i]);
        }
    }
}

static void *look_all_the_time(void *arg)
{
    struct rd_http_server *server = arg;
    while (atomic_load(&server->watch.park_after_ns) == 0) {
        atomic_store(&server->watch.look_again, true);
        rd_http_watch_wake(&server->watch);
    }
    return NULL;
}

/* Requests come while their connections are being parked and given back. */
static void parking_and_requests_race(void **state)
{
    (void)state;
    enum { CONNECTIONS = 8, ROUNDS = 200 };
    struct rd_http_server *server = start(2, 0);
    pthread_t looker;
    assert_int_equal(pthread_create(&looker, NULL, look_all_the_time, server), 0);
    int fds[CONNECTIONS];
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        fds[i] = harness_connect(server);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < CONNECTIONS; i++) {
            harness_text(fds[i], "POST /%u HTTP/1.1\r\nHost: h\r\nContent-Le", i);
        }
        for (unsigned i = 0; i < CONNECTIONS; i++) {
            char expected[32];
            harness_text(fds[i], "ngth: 3\r\n\r\nabc");
            (void)snprintf(expected, sizeof expected, "/%u 3", i);
            harness_expect(fds[i], 200, expected);
        }
    }
    atomic_store(&server->watch.park_after_ns, 1);
    assert_int_equal(pthread_join(looker, NULL), 0);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        (void)close(fds[i]);
    }
    harness_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_client_notices_nothing),
        cmocka_unit_test(what_came_early_is_not_lost),
        cmocka_unit_test(what_cannot_be_counted_stays),
        cmocka_unit_test(parked_connections_end),
        cmocka_unit_test(parking_and_requests_race),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
