/* SPDX-License-Identifier: Apache-2.0
 *
 * upgrade.c: connections that leave HTTP. The promises of server.h that are tested here: the 101
 * and its headers; the socket works both ways and is the taker's; what came behind the request is
 * not lost; the exchange ends with the 101 and the connection with rd_http_upgrade_close; and the
 * server hangs up and counts such connections. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

enum { TAKEN_MAX = 64 };

struct taken {
    int fd;
    void *handle;
};

/* What a test's application took, and what was heard. */
struct desk {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct taken taken[TAKEN_MAX];
    unsigned count, done, sent, gone;
    char extra[256];
    bool later, closes, spoils;
    struct rd_http_exchange *waiting;
};

static void on_taken(void *ctx, int fd, const void *extra, size_t extra_len, void *handle)
{
    struct desk *desk = ctx;
    pthread_mutex_lock(&desk->lock);
    (void)snprintf(desk->extra, sizeof desk->extra, "%.*s", (int)extra_len, (const char *)extra);
    if (desk->closes) {
        rd_http_upgrade_close(handle);
    }
    desk->taken[desk->count++] = (struct taken){fd, handle};
    pthread_cond_broadcast(&desk->changed);
    pthread_mutex_unlock(&desk->lock);
}

static void upgrade(struct desk *desk, struct rd_http_exchange *x)
{
    rd_http_reply_header(x, "Sec-WebSocket-Accept", desk->spoils ? "a\r\nb" : "accepted");
    rd_http_reply_upgrade(x, "websocket", on_taken, desk);
}

static void on_request(void *ctx, struct rd_http_exchange *x)
{
    struct desk *desk = ctx;
    pthread_mutex_lock(&desk->lock);
    bool later = desk->later;
    if (later) {
        rd_http_suspend(x);
        desk->waiting = x;
        pthread_cond_broadcast(&desk->changed);
    }
    pthread_mutex_unlock(&desk->lock);
    if (!later) {
        upgrade(desk, x);
    }
}

static void on_gone(void *ctx, struct rd_http_exchange *x)
{
    struct desk *desk = ctx;
    (void)x;
    pthread_mutex_lock(&desk->lock);
    desk->gone++;
    pthread_cond_broadcast(&desk->changed);
    pthread_mutex_unlock(&desk->lock);
}

static void on_done(void *ctx, struct rd_http_exchange *x, bool sent)
{
    struct desk *desk = ctx;
    assert_int_equal(rd_http_reply_status(x), 101);
    pthread_mutex_lock(&desk->lock);
    desk->done++;
    desk->sent += sent ? 1 : 0;
    pthread_cond_broadcast(&desk->changed);
    pthread_mutex_unlock(&desk->lock);
}

static struct rd_http_server *start(struct desk *desk, unsigned threads)
{
    assert_int_equal(pthread_mutex_init(&desk->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&desk->changed, NULL), 0);
    const struct rd_http_app app = {
        .ctx = desk, .request = on_request, .gone = on_gone, .done = on_done};
    return harness_start(&app, threads);
}

static void stop(struct desk *desk, struct rd_http_server *server)
{
    harness_stop(server);
    (void)pthread_cond_destroy(&desk->changed);
    (void)pthread_mutex_destroy(&desk->lock);
}

static void wait_for(struct desk *desk, const unsigned *count, unsigned least)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += HARNESS_PATIENCE_MS / 1000;
    int timed_out = 0;
    pthread_mutex_lock(&desk->lock);
    while (*count < least && timed_out == 0) {
        timed_out = pthread_cond_timedwait(&desk->changed, &desk->lock, &until);
    }
    unsigned have = *count;
    pthread_mutex_unlock(&desk->lock);
    if (have < least) {
        fail_msg("%u instead of %u", have, least);
    }
}

static const char hello[] = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
                            "Upgrade: websocket\r\n\r\n";

static void expect_101(int fd)
{
    struct harness_answer answer;
    char value[512];
    assert_true(harness_read(fd, false, &answer));
    assert_int_equal(answer.status, 101);
    assert_string_equal(harness_header(&answer, "Upgrade", value), "websocket");
    assert_string_equal(harness_header(&answer, "Connection", value), "Upgrade");
    assert_string_equal(harness_header(&answer, "Sec-WebSocket-Accept", value), "accepted");
    assert_null(harness_header(&answer, "Content-Length", value));
    assert_null(harness_header(&answer, "Transfer-Encoding", value));
    harness_answer_done(&answer);
}

/* Waits until the taker's socket can be read, and reads. */
static void expect_at_taker(int fd, const char *text)
{
    char got[64];
    for (size_t have = 0; have < strlen(text);) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&ready, 1, HARNESS_PATIENCE_MS), 1);
        ssize_t len = recv(fd, got + have, strlen(text) - have, 0);
        assert_true(len > 0);
        have += (size_t)len;
    }
    assert_memory_equal(got, text, strlen(text));
}

static void expect_at_client(int fd, const char *text)
{
    char got[64];
    assert_int_equal(recv(fd, got, strlen(text), MSG_WAITALL), strlen(text));
    assert_memory_equal(got, text, strlen(text));
}

static void the_socket_is_the_takers(void **state)
{
    (void)state;
    struct desk desk = {.count = 0};
    struct rd_http_server *server = start(&desk, 1);
    int fd = harness_connect(server);
    harness_text(fd, "%s", hello);
    expect_101(fd);
    wait_for(&desk, &desk.done, 1);
    assert_int_equal(desk.count, 1);
    assert_int_equal(desk.sent, 1);
    assert_string_equal(desk.extra, "");
    int taken = desk.taken[0].fd;
    assert_true((fcntl(taken, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(taken, F_GETFD) & FD_CLOEXEC) != 0);
    uint64_t until_ms = harness_now_ms() + HARNESS_PATIENCE_MS;
    while (rd_http_open_exchanges(server) > 0) { /* counted off just after done() */
        assert_true(harness_now_ms() < until_ms);
    }
    assert_int_equal(rd_http_open_connections(server), 1);
    for (unsigned i = 0; i < 3; i++) {
        harness_text(fd, "ping");
        expect_at_taker(taken, "ping");
        assert_int_equal(send(taken, "pong", 4, MSG_NOSIGNAL), 4);
        expect_at_client(fd, "pong");
    }
    rd_http_upgrade_close(desk.taken[0].handle);
    harness_expect_closed(fd);
    (void)close(fd);
    stop(&desk, server);
    assert_int_equal(desk.gone, 0);
}

/* Frames in the same packet as the request: the server has read them already. */
static void what_came_behind_the_request_is_not_lost(void **state)
{
    (void)state;
    struct desk desk = {.count = 0};
    struct rd_http_server *server = start(&desk, 1);
    int fd = harness_connect(server);
    harness_text(fd, "%s%s", hello, "early frame");
    expect_101(fd);
    wait_for(&desk, &desk.done, 1);
    size_t have = strlen(desk.extra);
    assert_memory_equal(desk.extra, "early frame", have);
    expect_at_taker(desk.taken[0].fd, &"early frame"[have]);
    rd_http_upgrade_close(desk.taken[0].handle);
    (void)close(fd);
    stop(&desk, server);
}

static void an_upgrade_from_another_thread(void **state)
{
    (void)state;
    struct desk desk = {.later = true};
    struct rd_http_server *server = start(&desk, 2);
    int fd = harness_connect(server);
    harness_text(fd, "%s", hello);
    pthread_mutex_lock(&desk.lock);
    while (desk.waiting == NULL) {
        (void)pthread_cond_wait(&desk.changed, &desk.lock);
    }
    pthread_mutex_unlock(&desk.lock);
    upgrade(&desk, desk.waiting);
    expect_101(fd);
    wait_for(&desk, &desk.done, 1);
    (void)close(fd); /* the taker sees it; nobody else does anything */
    struct pollfd ended = {.fd = desk.taken[0].fd, .events = POLLIN};
    assert_int_equal(poll(&ended, 1, HARNESS_PATIENCE_MS), 1);
    char byte;
    assert_int_equal(recv(desk.taken[0].fd, &byte, 1, 0), 0);
    rd_http_upgrade_close(desk.taken[0].handle);
    stop(&desk, server);
    assert_int_equal(desk.gone, 0);
}

static void an_upgrade_closed_inside_taken(void **state)
{
    (void)state;
    struct desk desk = {.closes = true};
    struct rd_http_server *server = start(&desk, 2);
    for (unsigned i = 0; i < TAKEN_MAX; i++) {
        int fd = harness_connect(server);
        harness_text(fd, "%s", hello);
        expect_101(fd);
        harness_expect_closed(fd);
        (void)close(fd);
    }
    wait_for(&desk, &desk.done, TAKEN_MAX);
    stop(&desk, server);
    assert_int_equal(desk.sent, TAKEN_MAX);
}

/* A 101 that cannot be sent: never taken, and done() says so. */
static void an_upgrade_that_fails(void **state)
{
    (void)state;
    struct desk desk = {.spoils = true};
    struct rd_http_server *server = start(&desk, 1);
    int fd = harness_connect(server);
    harness_text(fd, "%s", hello);
    harness_expect_closed(fd);
    wait_for(&desk, &desk.done, 1);
    (void)close(fd);
    stop(&desk, server);
    assert_int_equal(desk.sent, 0);
    assert_int_equal(desk.count, 0);
}

/* Not on HTTP/1.0, which knows no 101. */
static void an_upgrade_of_http_1_0_fails(void **state)
{
    (void)state;
    struct desk desk = {.count = 0};
    struct rd_http_server *server = start(&desk, 1);
    int fd = harness_connect(server);
    harness_text(fd, "GET /ws HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    harness_expect_closed(fd);
    wait_for(&desk, &desk.done, 1);
    (void)close(fd);
    stop(&desk, server);
    assert_int_equal(desk.sent, 0);
    assert_int_equal(desk.count, 0);
}

static void an_upgrade_without_a_descriptor(void **state)
{
    (void)state;
    struct desk desk = {.later = true};
    struct rd_http_server *server = start(&desk, 1);
    int fd = harness_connect(server);
    harness_text(fd, "%s", hello);
    pthread_mutex_lock(&desk.lock);
    while (desk.waiting == NULL) {
        (void)pthread_cond_wait(&desk.changed, &desk.lock);
    }
    pthread_mutex_unlock(&desk.lock);
    struct rlimit usual;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    struct rlimit none = {.rlim_cur = 1, .rlim_max = usual.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    upgrade(&desk, desk.waiting);
    wait_for(&desk, &desk.done, 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    expect_101(fd); /* it was sent before */
    harness_expect_closed(fd);
    (void)close(fd);
    stop(&desk, server);
    assert_int_equal(desk.sent, 0);
    assert_int_equal(desk.count, 0);
}

static void hanging_up_cuts_upgraded_connections(void **state)
{
    (void)state;
    enum { SOCKETS = 8 };
    struct desk desk = {.count = 0};
    struct rd_http_server *server = start(&desk, 2);
    int fds[SOCKETS];
    for (unsigned i = 0; i < SOCKETS; i++) {
        fds[i] = harness_connect(server);
        harness_text(fds[i], "%s", hello);
        expect_101(fds[i]);
    }
    wait_for(&desk, &desk.done, SOCKETS);
    rd_http_quiesce(server);
    assert_int_equal(send(desk.taken[0].fd, "x", 1, MSG_NOSIGNAL), 1);
    rd_http_hang_up(server);
    for (unsigned i = 0; i < SOCKETS; i++) {
        char byte;
        assert_int_equal(recv(desk.taken[i].fd, &byte, 1, 0), 0);
        rd_http_upgrade_close(desk.taken[i].handle);
        (void)close(fds[i]);
    }
    assert_int_equal(rd_http_open_connections(server), 0);
    stop(&desk, server);
    assert_int_equal(desk.gone, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_socket_is_the_takers),
        cmocka_unit_test(what_came_behind_the_request_is_not_lost),
        cmocka_unit_test(an_upgrade_from_another_thread),
        cmocka_unit_test(an_upgrade_closed_inside_taken),
        cmocka_unit_test(an_upgrade_that_fails),
        cmocka_unit_test(an_upgrade_of_http_1_0_fails),
        cmocka_unit_test(an_upgrade_without_a_descriptor),
        cmocka_unit_test(hanging_up_cuts_upgraded_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
