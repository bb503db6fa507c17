/* SPDX-License-Identifier: Apache-2.0
 *
 * What a WebSocket client sends behind its handshake: frames, and the messages in them, through the
 * real connection but without its thread. The first byte chooses: even, the bytes are the stream as
 * it is; odd, they are one message, framed here, so that the fuzzer need not find masks and
 * lengths. What comes back must be whole frames that a server may send, and nothing may be left
 * over. */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "ws/internal.h"

static const char job[] = "j_0123456789abcdefghijkl";

static bool on_valid(void *ctx, void *session)
{
    (void)ctx;
    (void)session;
    return true;
}

static void on_submit(void *ctx, void *session, const char *body, size_t len, struct rd_ws_ask *ask)
{
    (void)ctx;
    (void)session;
    assert(body[0] == '{' && body[len - 1] == '}' && strlen(body) == len);
    rd_ws_submitted(ask, len % 2 == 0 ? 202 : 400, "{\"id\":\"j_0123456789abcdefghijkl\"}");
}

static void on_watch(void *ctx, void *session, const char *id, uint64_t after, rd_jobs_event_fn *fn,
                     void *fn_ctx, struct rd_ws_ask *ask)
{
    const struct rd_jobs_event event = {after, id, "progress", "{\"progress\":1}", 14, false, 1};
    (void)ctx;
    (void)session;
    assert(rd_id_valid(id, "j_"));
    (void)fn(fn_ctx, &event);
    rd_ws_watched(ask, strcmp(id, job) == 0 ? RD_OK : RD_ERR_NOT_FOUND, NULL);
}

static void on_unwatch(void *ctx, void *watch)
{
    (void)ctx;
    assert(watch == NULL); /* none was given */
}

static void on_cancel(void *ctx, void *session, const char *id, struct rd_ws_ask *ask)
{
    (void)ctx;
    (void)session;
    assert(rd_id_valid(id, "j_"));
    rd_ws_cancelled(ask, RD_OK);
}

static void on_end(void *ctx, void *session)
{
    (void)ctx;
    (void)session;
}

static void on_close(void *handle)
{
    *(bool *)handle = true;
}

static void frame(const uint8_t *data, size_t size, struct rd_buf *out)
{
    rd_buf_append(out, "\x81\xff\0\0\0\0", 6);
    for (int shift = 24; shift >= 0; shift -= 8) {
        rd_buf_char(out, (char)(size >> shift));
    }
    if (size < 65536) {
        rd_buf_reset(out);
        rd_buf_append(out, "\x81\xfe", 2);
        rd_buf_char(out, (char)(size >> 8));
        rd_buf_char(out, (char)size);
    }
    if (size < 126) {
        rd_buf_reset(out);
        rd_buf_char(out, '\x81');
        rd_buf_char(out, (char)(0x80 | size));
    }
    rd_buf_append(out, "\0\0\0\0", 4);
    rd_buf_append(out, data, size);
}

/* Text, ping, pong and close, whole, not masked; nothing after a close. */
static void check_frames(const uint8_t *at, size_t len)
{
    bool closed = false;
    while (len > 0) {
        assert(!closed && len >= 2);
        size_t size = at[1];
        size_t head = 2;
        assert(at[0] == 0x81 || at[0] == 0x88 || at[0] == 0x89 || at[0] == 0x8a);
        assert(size < 127); /* nothing here is that long */
        if (size == 126) {
            assert(len >= 4);
            size = (size_t)at[2] << 8 | at[3];
            head = 4;
        }
        assert(len >= head + size);
        closed = at[0] == 0x88;
        at += head + size;
        len -= head + size;
    }
}

static void serve(struct rd_ws *ws, const struct rd_buf *stream)
{
    static uint8_t answer[1 << 20];
    int fds[2];
    bool closed = false;
    struct rd_ws_conn *conn = rd_mem_alloc(sizeof *conn);
    assert(conn != NULL);
    int made = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds);
    assert(made == 0);
    conn->ws = ws;
    rd_err err = rd_ws_conn_init(conn);
    assert(err == RD_OK);
    conn->socket = (struct rd_ws_socket){fds[0], rd_mem_memdupz(rd_buf_cstr(stream), stream->len),
                                         stream->len, on_close, &closed};
    rd_ws_conn_begin(conn, 1);
    size_t len = 0;
    ssize_t got = 1;
    for (int idle = 0; idle < 2; idle += got <= 0) { /* answers are put while frames are read */
        rd_ws_reap_subs(conn, false);
        rd_ws_conn_step(conn, 0, 2);
        got = recv(fds[1], answer + len, sizeof answer - len, 0);
        len += got > 0 ? (size_t)got : 0;
    }
    check_frames(answer, len);
    (void)close(fds[1]);
    rd_ws_conn_step(conn, EPOLLIN | EPOLLHUP, 3);
    rd_ws_conn_kill(conn);
    assert(closed && conn->asks == 0);
    rd_ws_reap_subs(conn, true);
    assert(ws->outgoing == 0 && ws->incoming == 0);
    rd_ws_conn_done(conn);
    rd_mem_free(conn);
    ws->dirty = NULL;
    (void)close(fds[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rd_ws ws = {
        .options = {.host = {NULL, on_valid, on_submit, on_watch, on_unwatch, on_cancel, on_end},
                    .ping_ms = 1000,
                    .pong_ms = 1000,
                    .close_ms = 1000,
                    .held = RD_LIMIT_WS_HELD},
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };
    if (ws.event == 0) {
        ws.epoll = epoll_create1(0);
        ws.event = eventfd(0, EFD_NONBLOCK);
    }
    if (size == 0) {
        return 0;
    }
    RD_AUTO_BUF struct rd_buf stream;
    rd_buf_init(&stream, size + 16);
    if (data[0] % 2 == 0) {
        rd_buf_append(&stream, data + 1, size - 1);
    } else {
        frame(data + 1, size - 1, &stream);
    }
    serve(&ws, &stream);
    return 0;
}
