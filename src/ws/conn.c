/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection: wslay between its socket and its queue. Everything here runs on the server's
 * thread.
 *
 * Incoming data frames are not gathered by wslay but here: wslay would take the memory that a frame
 * announces, and a block for each of a million tiny fragments; so a message costs what has arrived.
 *
 * Back-pressure: nothing is read while the client has too many unanswered requests, or while its
 * queue is fuller than events that may be missed can make it. So its own requests cannot fill its
 * queue, nor its pings wslay's, and TCP tells it to wait; but a slow reader of many events is still
 * heard.
 *
 * The end: after our close frame the writing side is shut and the socket read until the client ends
 * it, with a time limit; a socket that is closed with unread bytes in it would be reset, and the
 * reason lost on the way. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "ws/internal.h"

#define MS ((uint64_t)1000000)

enum { PING_LEN = sizeof(uint64_t) };

/* ---- reading ---- */

static bool paused(struct rd_ws_conn *conn)
{
    struct rd_ws *ws = conn->ws;
    (void)pthread_mutex_lock(&ws->lock);
    bool yes = conn->asks >= RD_LIMIT_WS_REQUESTS || conn->queued > RD_WS_QUEUE_PAUSE;
    (void)pthread_mutex_unlock(&ws->lock);
    return yes || wslay_event_get_queued_msg_count(conn->wslay) > RD_WS_FRAMES_PAUSE;
}

/* recv() of a byte stream that begins with what came behind the handshake. 0 at its end. */
static ssize_t read_some(struct rd_ws_conn *conn, void *into, size_t len)
{
    size_t left = conn->socket.extra_len - conn->extra_done;
    if (left > 0) {
        len = len < left ? len : left;
        memcpy(into, (const char *)conn->socket.extra + conn->extra_done, len);
        conn->extra_done += len;
        return (ssize_t)len;
    }
    ssize_t got = 0;
    do {
        got = recv(conn->socket.fd, into, len, 0);
    } while (got < 0 && errno == EINTR);
    return got;
}

static ssize_t on_recv(wslay_event_context_ptr wslay, uint8_t *into, size_t len, int flags,
                       void *user)
{
    struct rd_ws_conn *conn = user;
    (void)flags;
    ssize_t got = -1;
    if (conn->budget == 0 || (conn->state == RD_WS_OPEN && paused(conn))) {
        errno = EAGAIN;
    } else {
        got = read_some(conn, into, len < conn->budget ? len : conn->budget);
    }
    if (got <= 0) {
        conn->gone = got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
        wslay_event_set_error(wslay,
                              conn->gone ? WSLAY_ERR_CALLBACK_FAILURE : WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    conn->budget -= (size_t)got;
    return got;
}

static void drop_message(struct rd_ws_conn *conn, bool all)
{
    conn->ws->incoming -= conn->message.len;
    if (all || conn->message.cap > RD_WS_MESSAGE_KEPT) {
        rd_buf_done(&conn->message);
    } else {
        rd_buf_reset(&conn->message);
    }
}

/* The close frame goes ahead of what wslay would answer by itself, and nothing follows it. */
static void queue_close(struct rd_ws_conn *conn, enum rd_ws_code code, const char *reason)
{
    (void)wslay_event_queue_close(conn->wslay, (uint16_t)code, (const uint8_t *)reason,
                                  strlen(reason));
    drop_message(conn, true);
    conn->data_frame = false;
    conn->state = RD_WS_CLOSING;
}

static void on_frame(wslay_event_context_ptr wslay,
                     const struct wslay_event_on_frame_recv_start_arg *frame, void *user)
{
    struct rd_ws_conn *conn = user;
    (void)wslay;
    conn->data_frame = false;
    if (conn->state != RD_WS_OPEN) {
        return;
    }
    if (frame->opcode == WSLAY_CONNECTION_CLOSE && frame->payload_length == 1) {
        queue_close(conn, RD_WS_PROTOCOL_ERROR, "half a code"); /* wslay takes it for none */
    } else if (frame->opcode == WSLAY_BINARY_FRAME) {
        queue_close(conn, RD_WS_UNSUPPORTED, "messages are text");
    } else if (!wslay_is_ctrl_frame(frame->opcode)) {
        if (frame->payload_length > RD_LIMIT_WS_MESSAGE - conn->message.len) {
            queue_close(conn, RD_WS_TOO_BIG, "a message is over 1 MiB");
            return;
        }
        conn->data_frame = true;
    }
}

static void on_chunk(wslay_event_context_ptr wslay,
                     const struct wslay_event_on_frame_recv_chunk_arg *chunk, void *user)
{
    struct rd_ws_conn *conn = user;
    (void)wslay;
    if (!conn->data_frame) {
        return;
    }
    size_t before = conn->message.len;
    rd_buf_append(&conn->message, chunk->data, chunk->data_length);
    conn->ws->incoming += conn->message.len - before;
    if (rd_buf_err(&conn->message) != RD_OK || conn->ws->incoming > conn->ws->options.held) {
        queue_close(conn, RD_WS_TRY_LATER, "out of memory for messages");
    }
}

static void on_message(wslay_event_context_ptr wslay,
                       const struct wslay_event_on_msg_recv_arg *message, void *user)
{
    struct rd_ws_conn *conn = user;
    (void)wslay;
    if (conn->state != RD_WS_OPEN) {
        return;
    }
    if (message->opcode == WSLAY_PONG) {
        if (message->msg_length == PING_LEN &&
            memcmp(message->msg, &conn->ping_count, PING_LEN) == 0) {
            conn->pong_ns = 0;
        }
    } else if (message->opcode == WSLAY_TEXT_FRAME) {
        rd_ws_handle(conn, rd_buf_cstr(&conn->message), conn->message.len);
        drop_message(conn, false);
    }
}

/* ---- writing ---- */

/* For a frame whose very header is wrong wslay queues a close without a code (its errors of other
 * kinds have one). The RFC's is 1002, so these two bytes go as four. */
static ssize_t send_close_1002(struct rd_ws_conn *conn, wslay_event_context_ptr wslay)
{
    static const uint8_t close_1002[] = {0x88, 2, RD_WS_PROTOCOL_ERROR >> 8,
                                         RD_WS_PROTOCOL_ERROR & 0xff};
    ssize_t sent = send(conn->socket.fd, close_1002, sizeof close_1002, MSG_NOSIGNAL);
    if (sent == sizeof close_1002) {
        return 2;
    }
    bool later = sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    wslay_event_set_error(wslay, later ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static ssize_t on_send(wslay_event_context_ptr wslay, const uint8_t *data, size_t len, int flags,
                       void *user)
{
    struct rd_ws_conn *conn = user;
    ssize_t sent = 0;
    if (conn->bad_frame && len == 2 && data[0] == 0x88 && data[1] == 0) {
        return send_close_1002(conn, wslay);
    }
    int more = (flags & WSLAY_MSG_MORE) != 0 ? MSG_MORE : 0;
    do {
        sent = send(conn->socket.fd, data, len, MSG_NOSIGNAL | more);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        bool later = errno == EAGAIN || errno == EWOULDBLOCK;
        wslay_event_set_error(wslay, later ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    }
    return sent;
}

static struct rd_ws_out *take_out(struct rd_ws_conn *conn)
{
    struct rd_ws *ws = conn->ws;
    (void)pthread_mutex_lock(&ws->lock);
    struct rd_ws_out *out = conn->out;
    if (out != NULL) {
        conn->out = out->next;
        conn->out_end = conn->out == NULL ? &conn->out : conn->out_end;
        conn->queued -= out->len + sizeof *out;
        ws->outgoing -= out->len + sizeof *out;
        out->next = NULL;
    }
    (void)pthread_mutex_unlock(&ws->lock);
    return out;
}

static bool has_out(struct rd_ws_conn *conn)
{
    (void)pthread_mutex_lock(&conn->ws->lock);
    bool has = conn->out != NULL;
    (void)pthread_mutex_unlock(&conn->ws->lock);
    return has;
}

/* From our queue to wslay's, as long as that one is short. */
static void fill(struct rd_ws_conn *conn)
{
    struct rd_ws_out *out = NULL;
    while (conn->state == RD_WS_OPEN &&
           wslay_event_get_queued_msg_length(conn->wslay) < RD_WS_BATCH &&
           (out = take_out(conn)) != NULL) {
        const struct wslay_event_msg message = {WSLAY_TEXT_FRAME, (const uint8_t *)out->text,
                                                out->len};
        if (wslay_event_queue_msg(conn->wslay, &message) != 0) {
            rd_ws_conn_kill(conn); /* no memory */
        }
        rd_ws_out_free(out);
    }
}

/* Until nothing is left or the socket is full. */
static void write_all(struct rd_ws_conn *conn)
{
    do {
        fill(conn);
        if (conn->state != RD_WS_DEAD && wslay_event_send(conn->wslay) != 0) {
            rd_ws_conn_kill(conn);
        }
        if (conn->state == RD_WS_DEAD || wslay_event_want_write(conn->wslay) != 0) {
            return;
        }
    } while (conn->state == RD_WS_OPEN && has_out(conn));
}

/* ---- life ---- */

rd_err rd_ws_conn_init(struct rd_ws_conn *conn)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv,
        .send_callback = on_send,
        .on_frame_recv_start_callback = on_frame,
        .on_frame_recv_chunk_callback = on_chunk,
        .on_msg_recv_callback = on_message,
    };
    conn->out_end = &conn->out;
    rd_buf_init(&conn->message, RD_LIMIT_WS_MESSAGE);
    if (wslay_event_context_server_init(&conn->wslay, &callbacks, conn) != 0) {
        return RD_ERR_NO_MEMORY;
    }
    wslay_event_config_set_max_recv_msg_length(conn->wslay, RD_LIMIT_WS_MESSAGE);
    wslay_event_config_set_no_buffering(conn->wslay, 1);
    return RD_OK;
}

void rd_ws_conn_done(struct rd_ws_conn *conn)
{
    if (conn->wslay != NULL) {
        wslay_event_context_free(conn->wslay);
    }
    rd_mem_free((void *)(uintptr_t)conn->socket.extra);
    rd_buf_done(&conn->message);
}

static void watch_socket(struct rd_ws_conn *conn)
{
    bool reading = conn->state == RD_WS_LINGER || (wslay_event_want_read(conn->wslay) &&
                                                   (conn->state != RD_WS_OPEN || !paused(conn)));
    uint32_t wanted = (reading ? (uint32_t)EPOLLIN : 0) |
                      (wslay_event_want_write(conn->wslay) ? (uint32_t)EPOLLOUT : 0);
    struct epoll_event event = {.events = wanted, .data.ptr = conn};
    if (wanted != conn->interest) {
        conn->interest = wanted;
        if (epoll_ctl(conn->ws->epoll, EPOLL_CTL_MOD, conn->socket.fd, &event) != 0) {
            rd_ws_conn_kill(conn);
        }
    }
}

void rd_ws_conn_begin(struct rd_ws_conn *conn, uint64_t now_ns)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    int on = 1;
    (void)setsockopt(conn->socket.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    conn->interest = EPOLLIN;
    conn->ping_ns = now_ns + conn->ws->options.ping_ms * MS;
    if (epoll_ctl(conn->ws->epoll, EPOLL_CTL_ADD, conn->socket.fd, &event) != 0 ||
        (conn->socket.extra_len > 0 && conn->socket.extra == NULL)) {
        rd_ws_conn_kill(conn);
        return;
    }
    rd_ws_conn_step(conn, 0, now_ns);
}

void rd_ws_conn_kill(struct rd_ws_conn *conn)
{
    struct rd_ws *ws = conn->ws;
    if (conn->state == RD_WS_DEAD) {
        return;
    }
    conn->state = RD_WS_DEAD;
    drop_message(conn, true);
    (void)epoll_ctl(ws->epoll, EPOLL_CTL_DEL, conn->socket.fd, NULL);
    conn->socket.close(conn->socket.handle);
    (void)pthread_mutex_lock(&ws->lock);
    struct rd_ws_out *out = conn->out;
    ws->outgoing -= conn->queued;
    conn->out = NULL;
    conn->queued = 0;
    conn->closed = true;
    (void)pthread_mutex_unlock(&ws->lock);
    rd_ws_out_free(out);
}

void rd_ws_conn_close(struct rd_ws_conn *conn, enum rd_ws_code code, const char *reason,
                      uint64_t now_ns)
{
    if (conn->state == RD_WS_OPEN) {
        queue_close(conn, code, reason);
        rd_ws_conn_step(conn, 0, now_ns);
    }
}

/* Reads what is still coming, until the client ends its side. */
static void linger(struct rd_ws_conn *conn)
{
    char waste[4096];
    ssize_t got = 0;
    conn->socket.extra_len = conn->extra_done = 0;
    for (size_t read = 0; read < RD_WS_BUDGET; read += (size_t)got) {
        got = read_some(conn, waste, sizeof waste);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return;
        }
        if (got <= 0) {
            rd_ws_conn_kill(conn);
            return;
        }
    }
}

/* Where the close handshake stands. */
static void advance(struct rd_ws_conn *conn, uint64_t now_ns)
{
    struct rd_ws *ws = conn->ws;
    if (conn->state == RD_WS_OPEN && (wslay_event_get_close_received(conn->wslay) != 0 ||
                                      wslay_event_want_read(conn->wslay) == 0)) {
        conn->state = RD_WS_CLOSING; /* wslay has queued the answer */
    }
    if (conn->state == RD_WS_CLOSING && conn->close_ns == 0) {
        conn->close_ns = now_ns + ws->options.close_ms * MS;
    }
    if (conn->state == RD_WS_CLOSING && wslay_event_get_close_sent(conn->wslay) != 0 &&
        (wslay_event_get_close_received(conn->wslay) != 0 ||
         wslay_event_want_read(conn->wslay) == 0)) {
        conn->state = RD_WS_LINGER;
        conn->close_ns = now_ns + RD_WS_LINGER_MS * MS;
        (void)shutdown(conn->socket.fd, SHUT_WR);
    }
}

static bool too_many_asks(struct rd_ws_conn *conn)
{
    (void)pthread_mutex_lock(&conn->ws->lock);
    bool yes = conn->asks >= RD_LIMIT_WS_REQUESTS;
    (void)pthread_mutex_unlock(&conn->ws->lock);
    return yes;
}

static bool overflowed(struct rd_ws_conn *conn)
{
    (void)pthread_mutex_lock(&conn->ws->lock);
    bool yes = conn->overflow;
    (void)pthread_mutex_unlock(&conn->ws->lock);
    return yes;
}

void rd_ws_conn_step(struct rd_ws_conn *conn, uint32_t events, uint64_t now_ns)
{
    bool ready = (events & (uint32_t)EPOLLIN) != 0;
    if (conn->state == RD_WS_DEAD) {
        return;
    }
    conn->budget = RD_WS_BUDGET;
    if (conn->state == RD_WS_OPEN && overflowed(conn)) {
        queue_close(conn, RD_WS_TRY_LATER, "too slow a reader");
    }
    bool more = ready || conn->extra_done < conn->socket.extra_len;
    if (conn->state != RD_WS_LINGER && more && wslay_event_recv(conn->wslay) != 0) {
        conn->bad_frame = true;
    }
    if (conn->gone) {
        rd_ws_conn_kill(conn);
        return;
    }
    advance(conn, now_ns);
    if (conn->state != RD_WS_LINGER) {
        write_all(conn);
    }
    if (conn->state != RD_WS_DEAD) {
        advance(conn, now_ns);
    }
    if (conn->state == RD_WS_LINGER) {
        linger(conn);
    }
    if (conn->state != RD_WS_DEAD && (events & (uint32_t)(EPOLLERR | EPOLLHUP)) != 0) {
        rd_ws_conn_kill(conn);
    }
    if (conn->state != RD_WS_DEAD) {
        watch_socket(conn);
    }
}

static void ping(struct rd_ws_conn *conn, uint64_t now_ns)
{
    const struct rd_ws_options *options = &conn->ws->options;
    conn->ping_count++;
    const struct wslay_event_msg message = {WSLAY_PING, (const uint8_t *)&conn->ping_count,
                                            PING_LEN};
    conn->ping_ns = now_ns + options->ping_ms * MS;
    conn->pong_ns = now_ns + options->pong_ms * MS;
    if (wslay_event_queue_msg(conn->wslay, &message) != 0) {
        rd_ws_conn_kill(conn);
        return;
    }
    rd_ws_conn_step(conn, 0, now_ns);
}

void rd_ws_conn_tick(struct rd_ws_conn *conn, uint64_t now_ns, bool check_key)
{
    const struct rd_ws_host *host = &conn->ws->options.host;
    if (conn->state == RD_WS_DEAD) {
        return;
    }
    if (conn->state != RD_WS_OPEN) {
        if (conn->close_ns != 0 && now_ns >= conn->close_ns) {
            rd_ws_conn_kill(conn);
        }
        return;
    }
    if (check_key && !host->valid(host->ctx, conn->session)) {
        rd_ws_conn_close(conn, RD_WS_POLICY, "the key is revoked or has expired", now_ns);
        return;
    }
    if (conn->pong_ns != 0 && too_many_asks(conn)) {
        conn->pong_ns = now_ns + conn->ws->options.pong_ms * MS; /* we do not listen */
    }
    if (conn->pong_ns != 0 && now_ns >= conn->pong_ns) {
        rd_ws_conn_kill(conn); /* whoever answers no ping reads no close frame */
        return;
    }
    if (conn->pong_ns == 0 && now_ns >= conn->ping_ns) {
        ping(conn, now_ns);
    }
}
