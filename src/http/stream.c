/* SPDX-License-Identifier: Apache-2.0
 *
 * Streamed answers, for server-sent events. Ten thousand of them may be open, and nearly all wait.
 * libmicrohttpd could send them, from a content reader that suspends while there is nothing to say;
 * but each would keep its pool (a kept connection's is 48 KiB), and each resume walks the list of
 * all that are suspended. So it does not: when the answer is due, the socket is taken away from the
 * library, and head, chunks and end are written here. An idle stream then costs its exchange.
 *
 * Taking away. The connection is suspended, which takes its socket out of the library's epoll set.
 * The socket gets a number of ours (dup), and its old number is given to an unconnected socket
 * (dup3), as rd_http_quiesce does with the listener. The library resumes, asks for the answer
 * again, hears that there is none, and shuts and closes the unconnected socket.
 *
 * Sending. rd_http_stream_write sends at once, on the caller's thread, when nothing waits before
 * it; what the socket does not take waits in a buffer, and the watcher sends that when there is
 * room. Each write is one chunk. The connection ends with the stream.
 *
 * Life. Application and library must both have let go, and the watcher thread alone calls gone()
 * and done() and frees, without a lock: so an application may write and end under locks of its
 * own that those two take as well.
 *
 * Lock. stream.lock; watch->news_lock may be taken under it, watch->lock never is. */
#include "http/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "http/exchange.h"
#include "http/inside.h"
#include "http/loop.h"
#include "http/watch.h"

static size_t waiting(const struct rd_http_stream *s)
{
    return s->wait.len - s->sent;
}

/* The stream cannot go on; the watcher tells. Under its lock. */
static void give_up(struct rd_http_exchange *x)
{
    x->stream.dead = true;
    rd_http_watch_post(&x->server->watch, x);
}

/* Sends of `iov` what the socket takes, and returns how much; 0 also when the stream has died. */
static size_t send_some(struct rd_http_exchange *x, struct iovec *iov, size_t count)
{
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
    ssize_t sent = 0;
    do {
        sent = sendmsg(x->stream.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN) {
        give_up(x);
    }
    return sent < 0 ? 0 : (size_t)sent;
}

static void flush(struct rd_http_exchange *x)
{
    struct rd_http_stream *s = &x->stream;
    size_t sent = 1;
    while (!s->dead && sent > 0 && waiting(s) > 0) {
        struct iovec iov = {.iov_base = s->wait.data + s->sent, .iov_len = waiting(s)};
        sent = send_some(x, &iov, 1);
        s->sent += sent;
        if (sent > 0 || atomic_load(&s->stuck_ns) == 0) {
            atomic_store(&s->stuck_ns, rd_clock_mono_ns());
        }
    }
    if (waiting(s) == 0 || s->dead) {
        rd_buf_done(&s->wait);
        s->sent = 0;
        atomic_store(&s->stuck_ns, 0);
    }
}

/* Keeps the end of `iov`, from its byte `from` on. */
static void keep(struct rd_http_exchange *x, const struct iovec *iov, size_t count, size_t from)
{
    struct rd_http_stream *s = &x->stream;
    if (s->sent > 0) {
        memmove(s->wait.data, s->wait.data + s->sent, waiting(s));
        s->wait.len -= s->sent;
        s->sent = 0;
    }
    for (size_t i = 0; i < count; i++) {
        size_t skip = from < iov[i].iov_len ? from : iov[i].iov_len;
        rd_buf_append(&s->wait, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
        from -= skip;
    }
    if (rd_buf_err(&s->wait) != RD_OK) {
        give_up(x); /* a part is lost: nothing may follow */
    } else if (atomic_load(&s->stuck_ns) == 0 && s->fd >= 0) {
        atomic_store(&s->stuck_ns, rd_clock_mono_ns());
    }
}

static void put(struct rd_http_exchange *x, struct iovec *iov, size_t count)
{
    size_t len = 0;
    size_t sent = 0;
    for (size_t i = 0; i < count; i++) {
        len += iov[i].iov_len;
    }
    if (x->stream.fd >= 0 && waiting(&x->stream) == 0) {
        sent = send_some(x, iov, count);
    }
    if (sent < len && !x->stream.dead) {
        keep(x, iov, count, sent);
    }
}

bool rd_http_stream_write(struct rd_http_exchange *x, const void *data, size_t len)
{
    char size[24];
    char end[] = "\r\n";
    struct iovec iov[] = {{size, 0}, {(void *)(uintptr_t)data, len}, {end, 0}};
    if (!x->http_1_0) {
        iov[0].iov_len = (size_t)snprintf(size, sizeof size, "%zx\r\n", len);
        iov[2].iov_len = 2;
    }
    size_t whole = iov[0].iov_len + len + iov[2].iov_len;
    pthread_mutex_lock(&x->stream.lock);
    bool ok = !x->stream.dead && len <= RD_HTTP_STREAM_BUFFER &&
              waiting(&x->stream) + whole <= RD_HTTP_STREAM_BUFFER;
    if (ok && len > 0 && x->method != RD_HTTP_HEAD) {
        put(x, iov, 3);
        x->reply_len += len;
        ok = !x->stream.dead;
    }
    pthread_mutex_unlock(&x->stream.lock);
    return ok;
}

size_t rd_http_stream_waiting(struct rd_http_exchange *x)
{
    pthread_mutex_lock(&x->stream.lock);
    size_t len = waiting(&x->stream);
    pthread_mutex_unlock(&x->stream.lock);
    return len;
}

void rd_http_stream_end(struct rd_http_exchange *x)
{
    char end[] = "0\r\n\r\n";
    struct iovec iov = {end, sizeof end - 1};
    pthread_mutex_lock(&x->stream.lock);
    if (!x->http_1_0 && x->method != RD_HTTP_HEAD && !x->stream.dead) {
        put(x, &iov, 1);
    }
    x->stream.ended = true;
    rd_http_watch_post(&x->server->watch, x); /* under the lock: afterwards it may be freed */
    pthread_mutex_unlock(&x->stream.lock);
}

/* ---- the beginning ---- */

/* A line break in a value would make two headers of one. */
static bool is_one_line(const char *text)
{
    return text[strcspn(text, "\r\n")] == '\0';
}

static void write_head(struct rd_http_exchange *x)
{
    struct rd_buf *head = &x->stream.wait;
    char date[RD_CLOCK_HTTP_DATE_LEN + 1];
    rd_clock_http_date(rd_clock_wall_ms() / 1000, date);
    rd_buf_printf(head, "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: close\r\n", x->status,
                  MHD_get_reason_phrase_for((unsigned)x->status), date);
    for (size_t i = 0; i < x->headers_count; i++) {
        x->broken |= !is_one_line(x->headers[i].value);
        rd_buf_printf(head, "%s: %s\r\n", x->headers[i].name, x->headers[i].value);
    }
    rd_buf_str(head, x->http_1_0 ? "\r\n" : "Transfer-Encoding: chunked\r\n\r\n");
    x->stream.dead = x->broken || rd_buf_err(head) != RD_OK;
}

void rd_http_reply_stream(struct rd_http_exchange *x, int status)
{
    x->streamed = true;
    x->stream.fd = -1;
    (void)pthread_mutex_init(&x->stream.lock, NULL);
    rd_buf_init(&x->stream.wait, 2 * (size_t)RD_HTTP_STREAM_BUFFER);
    x->status = status;
    write_head(x);
    rd_http_reply(x, status);
}

/* The socket gets the number `fd`, which is ours, and its old one goes to an unconnected socket.
 * What fails here ends the stream, and libmicrohttpd then closes the connection. */
static void take_over(struct rd_http_exchange *x, int fd)
{
    int old = x->conn->fd;
    int one = 1;
    MHD_suspend_connection(x->connection); /* so it leaves the library's epoll set */
    struct rd_http_conn *conn =
        rd_http_conn_take_over(x->conn, &(struct rd_http_conn){.fd = fd, .stream = x}, EPOLLOUT);
    if (conn == NULL) {
        (void)close(fd);
    } else {
        bool ok = dup3(x->server->idle_fd, old, O_CLOEXEC) >= 0;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        pthread_mutex_lock(&x->stream.lock);
        x->conn = conn;
        x->stream.fd = fd;
        x->stream.dead |= !ok;
        flush(x);
        rd_http_watch_post(&x->server->watch, x);
        pthread_mutex_unlock(&x->stream.lock);
    }
    MHD_resume_connection(x->connection);
    rd_http_loop_wake(x->loop);
}

enum MHD_Result rd_http_stream_start(struct rd_http_exchange *x)
{
    pthread_mutex_lock(&x->stream.lock);
    bool dead = x->stream.dead;
    pthread_mutex_unlock(&x->stream.lock);
    int fd = x->ours || dead || x->conn == NULL ? -1 : fcntl(x->conn->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return MHD_NO;
    }
    x->ours = true;
    take_over(x, fd);
    return MHD_YES; /* it asks again */
}

/* ---- the end ---- */

void rd_http_stream_released(struct rd_http_exchange *x)
{
    pthread_mutex_lock(&x->stream.lock);
    x->stream.released = true;
    x->stream.dead |= x->stream.fd < 0; /* it did not come to the taking over */
    rd_http_watch_post(&x->server->watch, x);
    pthread_mutex_unlock(&x->stream.lock);
}

static void finish(struct rd_http_exchange *x, bool sent)
{
    if (x->stream.fd >= 0) {
        int fd = x->stream.fd;
        rd_http_conn_close(x->conn);
        (void)close(fd);
    }
    rd_http_exchange_done(x, sent);
    rd_buf_done(&x->stream.wait);
    (void)pthread_mutex_destroy(&x->stream.lock);
    rd_http_exchange_free(x);
}

void rd_http_stream_look(struct rd_http_exchange *x)
{
    struct rd_http_stream *s = &x->stream;
    pthread_mutex_lock(&s->lock);
    bool sends = s->fd >= 0 && !s->dead;
    if (sends) {
        flush(x);
    }
    bool empty = waiting(s) == 0 && !s->dead;
    s->head_sent |= empty && sends && x->method == RD_HTTP_HEAD;
    bool sent = s->head_sent || (empty && s->ended);
    s->dead |= s->head_sent || (sends && x->conn->hup);
    bool tell = s->dead && !s->ended && !s->told;
    s->told |= tell;
    /* When it was posted again meanwhile, then it is looked at again. */
    bool finished =
        s->ended && s->released && (s->dead || sent) && !rd_http_watch_posted(&x->server->watch, x);
    pthread_mutex_unlock(&s->lock);
    if (tell) {
        x->app->gone(x->app->ctx, x);
    }
    if (finished) {
        finish(x, sent);
    }
}
