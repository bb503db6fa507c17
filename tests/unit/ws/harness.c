/* SPDX-License-Identifier: Apache-2.0
 *
 * The host and the client of these tests. See harness.h. */
#include "harness.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

enum { WAIT_S = 20 };

static struct call *note(struct host *host, const char *what, const char *job, const char *body,
                         struct rd_ws_ask *ask)
{
    assert_true(host->count < HOST_CALLS);
    struct call *call = &host->calls[host->count];
    (void)snprintf(call->what, sizeof call->what, "%s", what);
    (void)snprintf(call->job, sizeof call->job, "%s", job);
    (void)snprintf(call->body, sizeof call->body, "%s", body);
    call->ask = ask;
    return call;
}

static void noted(struct host *host)
{
    host->count++;
    (void)pthread_cond_broadcast(&host->changed);
    (void)pthread_mutex_unlock(&host->lock);
}

static bool on_valid(void *ctx, void *session)
{
    struct host *host = session;
    (void)ctx;
    (void)pthread_mutex_lock(&host->lock);
    host->checks++;
    bool valid = !host->revoked;
    (void)pthread_mutex_unlock(&host->lock);
    return valid;
}

static void on_submit(void *ctx, void *session, const char *body, size_t len, struct rd_ws_ask *ask)
{
    struct host *host = session;
    (void)ctx;
    (void)pthread_mutex_lock(&host->lock);
    assert_int_equal(strlen(body), len);
    (void)note(host, "submit", "", body, ask);
    noted(host);
}

static void on_watch(void *ctx, void *session, const char *job, uint64_t after,
                     rd_jobs_event_fn *fn, void *fn_ctx, struct rd_ws_ask *ask)
{
    struct host *host = session;
    (void)ctx;
    (void)pthread_mutex_lock(&host->lock);
    struct call *call = note(host, "watch", job, "", ask);
    call->after = after;
    call->fn = fn;
    call->fn_ctx = fn_ctx;
    bool hold = host->hold_watches;
    bool inside = host->last_inside;
    rd_err err = host->watch_err;
    noted(host);
    if (inside) {
        static const char data[] = "{\"output\":\"x\"}";
        const struct rd_jobs_event event = {7, job, "complete", data, sizeof data - 1, true, 0};
        assert_true(fn(fn_ctx, &event));
    }
    if (!hold) {
        rd_ws_watched(ask, err, err != RD_OK || inside ? NULL : call);
    }
}

static void on_unwatch(void *ctx, void *watch)
{
    struct host *host = ctx;
    assert_non_null(watch);
    (void)pthread_mutex_lock(&host->lock);
    ((struct call *)watch)->fn = NULL;
    host->unwatched++;
    (void)pthread_cond_broadcast(&host->changed);
    (void)pthread_mutex_unlock(&host->lock);
}

static void on_cancel(void *ctx, void *session, const char *job, struct rd_ws_ask *ask)
{
    struct host *host = session;
    (void)ctx;
    (void)pthread_mutex_lock(&host->lock);
    (void)note(host, "cancel", job, "", ask);
    noted(host);
}

static void on_end(void *ctx, void *session)
{
    struct host *host = session;
    (void)ctx;
    (void)pthread_mutex_lock(&host->lock);
    host->ended++;
    (void)pthread_cond_broadcast(&host->changed);
    (void)pthread_mutex_unlock(&host->lock);
}

struct host *host_start(const struct rd_ws_options *times)
{
    struct host *host = rd_mem_alloc(sizeof *host);
    struct rd_ws_options options = {.ping_ms = 0};
    assert_non_null(host);
    assert_int_equal(pthread_mutex_init(&host->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&host->changed, NULL), 0);
    if (times != NULL) {
        options = *times;
    }
    options.host =
        (struct rd_ws_host){host, on_valid, on_submit, on_watch, on_unwatch, on_cancel, on_end};
    assert_int_equal(rd_ws_start(&options, &host->ws), RD_OK);
    return host;
}

void host_stop(struct host *host)
{
    rd_ws_stop(host->ws);
    (void)pthread_mutex_destroy(&host->lock);
    (void)pthread_cond_destroy(&host->changed);
    rd_mem_free(host);
}

void host_wait(struct host *host, const unsigned *counter, unsigned wanted)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    int rc = 0;
    (void)pthread_mutex_lock(&host->lock);
    while (*counter < wanted && rc == 0) {
        rc = pthread_cond_timedwait(&host->changed, &host->lock, &until);
    }
    assert_int_equal(*counter, wanted);
    (void)pthread_mutex_unlock(&host->lock);
}

struct call *host_call(struct host *host, unsigned number, const char *what)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    int rc = 0;
    (void)pthread_mutex_lock(&host->lock);
    while (host->count <= number && rc == 0) {
        rc = pthread_cond_timedwait(&host->changed, &host->lock, &until);
    }
    assert_true(host->count > number);
    (void)pthread_mutex_unlock(&host->lock);
    assert_string_equal(host->calls[number].what, what);
    return &host->calls[number];
}

void host_event(struct host *host, struct call *watch, const char *name, const char *data,
                bool last, bool *ret_taken)
{
    static uint64_t id;
    const struct rd_jobs_event event = {++id, watch->job, name, data, strlen(data), last, 0};
    (void)pthread_mutex_lock(&host->lock);
    bool taken = watch->fn(watch->fn_ctx, &event);
    (void)pthread_mutex_unlock(&host->lock);
    if (ret_taken != NULL) {
        *ret_taken = taken;
    } else {
        assert_true(taken);
    }
}

/* ---- the client ---- */

struct handle {
    struct host *host;
    int fd;
};

static void on_close(void *arg)
{
    struct handle *handle = arg;
    struct host *host = handle->host;
    (void)close(handle->fd);
    rd_mem_free(handle);
    (void)pthread_mutex_lock(&host->lock);
    host->closed++;
    (void)pthread_cond_broadcast(&host->changed);
    (void)pthread_mutex_unlock(&host->lock);
}

int client_connect(struct host *host, const void *extra, size_t extra_len)
{
    int fds[2];
    struct rd_ws_conn *conn = NULL;
    struct handle *handle = rd_mem_alloc(sizeof *handle);
    const struct timeval limit = {WAIT_S, 0};
    const int small = 16 * 1024; /* so that slow readers are noticed soon */
    assert_non_null(handle);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), 0);
    *handle = (struct handle){host, fds[0]};
    assert_int_equal(rd_ws_admit(host->ws, 1, host, &conn), RD_OK);
    rd_ws_take(conn, &(struct rd_ws_socket){fds[0], extra, extra_len, on_close, handle});
    return fds[1];
}

void client_raw(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;
    while (len > 0) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);
        assert_true(sent > 0);
        at += sent;
        len -= (size_t)sent;
    }
}

void client_frame(int fd, unsigned first, const void *payload, size_t len)
{
    static const unsigned char mask[4] = {0x12, 0x34, 0x56, 0x78};
    unsigned char head[14] = {(unsigned char)first};
    size_t head_len = 2;
    size_t bytes = len < 126 ? 0 : len < 65536 ? 2 : 8;
    head[1] = (unsigned char)(0x80 | (bytes == 0 ? len : bytes == 2 ? 126 : 127));
    for (size_t i = bytes; i > 0; i--) {
        head[head_len++] = (unsigned char)((uint64_t)len >> (8 * (i - 1)));
    }
    memcpy(head + head_len, mask, sizeof mask);
    head_len += sizeof mask;
    char *copy = rd_mem_memdupz(payload, len);
    assert_non_null(copy);
    for (size_t i = 0; i < len; i++) {
        copy[i] = (char)(copy[i] ^ mask[i % 4]);
    }
    client_raw(fd, head, head_len);
    client_raw(fd, copy, len);
    rd_mem_free(copy);
}

void client_text(int fd, const char *text)
{
    client_frame(fd, 0x81, text, strlen(text));
}

static bool read_exactly(int fd, void *into, size_t len)
{
    char *at = into;
    while (len > 0) {
        ssize_t got = recv(fd, at, len, 0);
        if (got == 0) {
            return false;
        }
        assert_true(got > 0); /* not within WAIT_S, or an error */
        at += got;
        len -= (size_t)got;
    }
    return true;
}

int client_read(int fd, char *payload, size_t *ret_len)
{
    unsigned char head[10];
    if (!read_exactly(fd, head, 2)) {
        return -1;
    }
    assert_int_equal(head[0] & 0x70, 0);
    assert_int_equal(head[1] & 0x80, 0); /* a server does not mask */
    uint64_t len = head[1] & 0x7f;
    size_t bytes = len == 126 ? 2 : len == 127 ? 8 : 0;
    if (bytes > 0) {
        assert_true(read_exactly(fd, head + 2, bytes));
        len = 0;
        for (size_t i = 0; i < bytes; i++) {
            len = len << 8 | head[2 + i];
        }
    }
    assert_true(len < FRAME_MAX);
    assert_true(read_exactly(fd, payload, len));
    payload[len] = '\0';
    *ret_len = len;
    return head[0] & 0x0f;
}

static char payload[FRAME_MAX];

void client_expect(int fd, const char *text)
{
    size_t len = 0;
    assert_int_equal(client_read(fd, payload, &len), 1);
    assert_string_equal(payload, text);
}

void client_expect_close(int fd, unsigned code)
{
    size_t len = 0;
    int opcode = 0;
    do {
        opcode = client_read(fd, payload, &len);
    } while (opcode == 1 || opcode == 9 || opcode == 10);
    assert_int_equal(opcode, 8);
    unsigned found =
        len < 2 ? 0 : (unsigned)((unsigned char)payload[0] << 8 | (unsigned char)payload[1]);
    assert_int_equal(found, code);
    client_frame(fd, 0x88, payload, len < 2 ? 0 : 2);
    assert_int_equal(client_read(fd, payload, &len), -1);
    (void)close(fd);
}
