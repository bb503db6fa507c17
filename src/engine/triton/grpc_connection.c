/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection to the server, from its name to its end:
 *
 *     CLOSED -> LOOKUP -> CONNECTING -> HANDSHAKE (TLS) -> GREETING -> OPEN -> CLOSED
 *
 * It is OPEN with the server's SETTINGS, not before: only then is it known how many streams it
 * takes, and that it speaks HTTP/2 at all. A failure up to there tries the name's next address; the
 * last one's is told to the driver, which ends the calls that wait.
 *
 * nghttp2 must not be deleted from inside its own callbacks, so what finds a connection broken only
 * says so (`broken`), and rd_grpc_connection_settle closes it.
 *
 * Windows. nghttp2 sends WINDOW_UPDATEs by itself as bytes are handed to the callbacks. Nothing is
 * held on this side, whatever the size of a window: what a sink does not take at once keeps this
 * thread, and so the socket, waiting. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "engine/triton/grpc_internal.h"

static const char no_http2[] = "the server does not speak HTTP/2; is the URL its gRPC port?";

/* ---- broken, closed ---- */

static void breaks(struct rd_grpc_connection *connection, const char *why)
{
    if (!connection->broken) {
        connection->broken = true;
        (void)rd_why_set(&connection->why, RD_ERR_BACKEND_FAILED, "%s", why);
    }
}

/* The same, with the words that are in `why` already. */
static void broke(struct rd_grpc_connection *connection)
{
    connection->broken = true;
}

static void watch(struct rd_grpc_connection *connection, uint32_t mask)
{
    struct rd_grpc_driver *driver = connection->driver;
    if (connection->mask == mask) {
        return;
    }
    uint64_t row = (uint64_t)(connection - driver->connections);
    struct epoll_event event = {.events = mask,
                                .data.u64 = row + 1 + ((uint64_t)connection->serial << 32)};
    int op = connection->mask == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(driver->epoll_fd, op, connection->fd, &event) == 0) {
        connection->mask = mask;
    } else {
        breaks(connection, "out of memory");
    }
}

/* Socket, TLS, session: what is of one attempt. */
static void drop_socket(struct rd_grpc_connection *connection)
{
    nghttp2_session_del(connection->session);
    connection->session = NULL;
    SSL_free(connection->ssl);
    connection->ssl = NULL;
    if (connection->fd >= 0) {
        (void)close(connection->fd); /* which takes it out of the epoll set */
    }
    connection->fd = -1;
    connection->mask = 0;
    connection->serial++;
}

void rd_grpc_connection_close(struct rd_grpc_connection *connection, const char *why)
{
    struct rd_grpc_call *next;
    for (struct rd_grpc_call *call = connection->calls.first; call != NULL; call = next) {
        next = call->next;
        rd_grpc_call_lost(call, !call->reached, why);
    }
    drop_socket(connection);
    rd_grpc_lookup_drop(connection->lookup);
    connection->lookup = NULL;
    rd_mem_free(connection->out);
    connection->out = NULL;
    if (connection->state == RD_GRPC_OPEN && connection->kind == RD_GRPC_PROBES) {
        rd_grpc_prober_soon(&connection->driver->prober, 0); /* the server may be gone */
    }
    connection->state = RD_GRPC_CLOSED;
    connection->rest_ns = 0;
}

/* ---- coming up ---- */

/* This address has failed, for the reason in `why`. */
static void next_address(struct rd_grpc_connection *connection);

static void attempt(struct rd_grpc_connection *connection)
{
    int total = connection->kind == RD_GRPC_PROBES ? RD_GRPC_PROBE_CONNECT_MS : RD_GRPC_CONNECT_MS;
    bool more = connection->address->ai_next != NULL && connection->tries + 1 < RD_GRPC_ADDRESS_MAX;
    connection->broken = false;
    connection->why.text[0] = '\0';
    connection->state = RD_GRPC_CONNECTING;
    connection->until_ns =
        rd_clock_mono_ns() + (uint64_t)(more ? total / 2 : total) * RD_GRPC_NS_PER_MS;
    connection->fd = rd_grpc_connect(connection->address);
    if (connection->fd < 0) {
        (void)rd_why_set(&connection->why, RD_ERR_BACKEND_FAILED, "cannot connect to %s: %s",
                         connection->driver->engine->target.authority, strerror(errno));
        next_address(connection);
        return;
    }
    watch(connection, EPOLLOUT);
}

static void next_address(struct rd_grpc_connection *connection)
{
    drop_socket(connection);
    connection->address = connection->address->ai_next;
    if (connection->address != NULL && ++connection->tries < RD_GRPC_ADDRESS_MAX) {
        attempt(connection); /* nests at most RD_GRPC_ADDRESS_MAX deep */
        return;
    }
    struct rd_why why = connection->why;
    rd_grpc_connection_close(connection, why.text);
    rd_grpc_driver_unreachable(connection->driver, connection->kind, why.text);
}

void rd_grpc_connection_open(struct rd_grpc_connection *connection, struct rd_grpc_driver *driver,
                             enum rd_grpc_kind kind)
{
    uint32_t serial = connection->serial;
    *connection = (struct rd_grpc_connection){
        .driver = driver, .kind = kind, .state = RD_GRPC_LOOKUP, .serial = serial, .fd = -1};
    connection->until_ns = rd_clock_mono_ns() + (uint64_t)RD_GRPC_CONNECT_MS * RD_GRPC_NS_PER_MS;
    connection->out = rd_mem_alloc(RD_GRPC_OUT);
    if (connection->out == NULL || rd_grpc_lookup_start(&driver->engine->target, driver->wake_fd,
                                                        &connection->lookup) != RD_OK) {
        rd_grpc_connection_close(connection, NULL);
        rd_grpc_driver_unreachable(driver, kind, "out of memory");
        return;
    }
    rd_grpc_connection_looked(connection);
}

void rd_grpc_connection_looked(struct rd_grpc_connection *connection)
{
    struct rd_why why;
    if (connection->state != RD_GRPC_LOOKUP ||
        !rd_grpc_lookup_known(connection->lookup, &connection->address, &why)) {
        return;
    }
    if (connection->address == NULL) {
        rd_grpc_connection_close(connection, NULL);
        rd_grpc_driver_unreachable(connection->driver, connection->kind, why.text);
        return;
    }
    attempt(connection);
}

/* ---- the session ---- */

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    struct rd_grpc_connection *connection = user;
    bool useful = frame->hd.type == NGHTTP2_HEADERS ||
                  (frame->hd.type == NGHTTP2_DATA &&
                   (frame->hd.length > 0 || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0));
    if (useful) {
        connection->control = 0;
        connection->pings = 0;
        connection->refusals = 0;
    } else if (++connection->control > RD_GRPC_CONTROL_MAX) {
        breaks(connection, "the server floods the connection with empty frames");
        return 0;
    }
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        rd_grpc_call_frame(connection, frame);
        break;
    case NGHTTP2_SETTINGS:
        if (connection->state == RD_GRPC_GREETING && (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
            connection->state = RD_GRPC_OPEN;
        }
        break;
    case NGHTTP2_GOAWAY:
        connection->leaving = true; /* nghttp2 closes the streams that it has not seen */
        break;
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) {
            connection->ping_ns = 0;
        }
        break;
    default:
        break;
    }
    return 0;
}

static bool start_session(struct rd_grpc_connection *connection)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, RD_GRPC_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, RD_GRPC_FRAME_MAX},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, RD_LIMIT_HEADER_BLOCK},
    };
    struct rd_grpc_driver *driver = connection->driver;
    nghttp2_session_callbacks_set_on_frame_recv_callback(driver->callbacks, on_frame);
    connection->state = RD_GRPC_GREETING;
    connection->heard_ns = rd_clock_mono_ns();
    return nghttp2_session_client_new2(&connection->session, driver->callbacks, connection,
                                       driver->options) == 0 &&
           nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings,
                                   sizeof settings / sizeof settings[0]) == 0 &&
           nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0,
                                                 RD_GRPC_CONNECTION_WINDOW) == 0;
}

static void handshake(struct rd_grpc_connection *connection)
{
    int result = rd_grpc_tls_shake(connection);
    if (result == RD_GRPC_BLOCKED) {
        watch(connection, SSL_want_write(connection->ssl) ? (uint32_t)EPOLLOUT : (uint32_t)EPOLLIN);
    } else if (result != 1) {
        broke(connection);
    } else if (!start_session(connection)) {
        breaks(connection, "out of memory");
    } else {
        watch(connection, EPOLLIN);
    }
}

static void connected(struct rd_grpc_connection *connection)
{
    int failed = 0;
    socklen_t len = sizeof failed;
    if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &failed, &len) != 0 || failed != 0) {
        (void)rd_why_set(&connection->why, RD_ERR_BACKEND_FAILED, "cannot connect to %s: %s",
                         connection->driver->engine->target.authority, strerror(failed));
        broke(connection);
        return;
    }
    bool tls = connection->driver->engine->tls != NULL;
    if (tls ? rd_grpc_tls_start(connection) != RD_OK : !start_session(connection)) {
        breaks(connection, "out of memory");
    } else if (tls) {
        connection->state = RD_GRPC_HANDSHAKE;
        handshake(connection);
    } else {
        watch(connection, EPOLLIN);
    }
}

static void take_bytes(struct rd_grpc_connection *connection, const uint8_t *data, size_t len)
{
    connection->heard_ns = rd_clock_mono_ns();
    ssize_t used = nghttp2_session_mem_recv(connection->session, data, len);
    if (used < 0) {
        if (used == NGHTTP2_ERR_BAD_CLIENT_MAGIC || connection->state == RD_GRPC_GREETING) {
            breaks(connection, no_http2);
        } else {
            breaks(connection, used == NGHTTP2_ERR_NOMEM     ? "out of memory"
                               : used == NGHTTP2_ERR_FLOODED ? "the server floods the connection"
                                                             : nghttp2_strerror((int)used));
        }
    }
}

static void read_some(struct rd_grpc_connection *connection)
{
    uint8_t *in = connection->driver->in;
    connection->again = false;
    for (unsigned turn = 0; turn < RD_GRPC_READS_MAX && !connection->broken; turn++) {
        ssize_t len = rd_grpc_read(connection, in, RD_GRPC_IN);
        if (len == RD_GRPC_BLOCKED) {
            return;
        }
        if (len == RD_GRPC_BROKEN) {
            broke(connection);
            return;
        }
        if (len == 0) {
            breaks(connection, connection->state == RD_GRPC_GREETING
                                   ? no_http2
                                   : "the server closed the connection");
            return;
        }
        take_bytes(connection, in, (size_t)len);
        if (connection->ssl == NULL && len < RD_GRPC_IN) {
            return; /* that was all; epoll tells of more */
        }
    }
    connection->again = !connection->broken;
}

void rd_grpc_connection_event(struct rd_grpc_connection *connection, uint32_t events)
{
    switch (connection->state) {
    case RD_GRPC_CONNECTING:
        connected(connection);
        break;
    case RD_GRPC_HANDSHAKE:
        handshake(connection);
        break;
    case RD_GRPC_GREETING:
    case RD_GRPC_OPEN:
        if ((events & ~(uint32_t)EPOLLOUT) != 0 || connection->ssl != NULL) {
            read_some(connection);
        }
        break; /* what can be written is written by settle */
    case RD_GRPC_CLOSED:
    case RD_GRPC_LOOKUP:
    default:
        break;
    }
}

/* ---- out ---- */

/* Gathers frames; false when there are none. */
static bool fill(struct rd_grpc_connection *connection)
{
    const uint8_t *frame;
    connection->out_at = 0;
    connection->out_len = 0;
    /* A frame has at most 16 KiB here, and headers as long as a key. */
    while (RD_GRPC_OUT - connection->out_len >= RD_GRPC_OUT / 2) {
        ssize_t len = nghttp2_session_mem_send(connection->session, &frame);
        if (len == 0) {
            break;
        }
        if (len < 0 || (size_t)len > RD_GRPC_OUT - connection->out_len) {
            breaks(connection, len < 0 ? nghttp2_strerror((int)len) : "a frame is too large");
            return false;
        }
        memcpy(connection->out + connection->out_len, frame, (size_t)len);
        connection->out_len += (size_t)len;
    }
    return connection->out_len > 0;
}

static void write_some(struct rd_grpc_connection *connection)
{
    while (connection->out_at < connection->out_len || fill(connection)) {
        ssize_t len = rd_grpc_write(connection, connection->out + connection->out_at,
                                    connection->out_len - connection->out_at);
        if (len == RD_GRPC_BLOCKED) {
            watch(connection, (uint32_t)(EPOLLIN | EPOLLOUT));
            return;
        }
        if (len < 0) {
            read_some(connection); /* it may have said goodbye, and what it has not seen */
            broke(connection);
            return;
        }
        connection->out_at += (size_t)len;
    }
    watch(connection, EPOLLIN);
}

void rd_grpc_connection_settle(struct rd_grpc_connection *connection)
{
    if (!connection->broken && connection->state >= RD_GRPC_GREETING) {
        write_some(connection);
        if (nghttp2_session_want_read(connection->session) == 0 &&
            nghttp2_session_want_write(connection->session) == 0) {
            breaks(connection, connection->state == RD_GRPC_GREETING
                                   ? no_http2
                                   : "the server broke the rules of HTTP/2");
        }
    }
    if (connection->broken) {
        if (connection->state < RD_GRPC_OPEN) {
            next_address(connection);
            return;
        }
        struct rd_why why = connection->why;
        rd_grpc_connection_close(connection, why.text);
    } else if (connection->leaving && connection->calls_count == 0) {
        rd_grpc_connection_close(connection, NULL);
    }
}

void rd_grpc_connection_refused(struct rd_grpc_connection *connection)
{
    unsigned ms = RD_GRPC_REST_MS_MAX;
    if (connection->leaving) {
        return; /* above GOAWAY's last stream: another connection takes it */
    }
    if (connection->refusals < 5) {
        ms = (unsigned)RD_GRPC_REST_MS << connection->refusals;
    }
    connection->refusals++;
    connection->rest_ns = rd_clock_mono_ns() + (uint64_t)ms * RD_GRPC_NS_PER_MS;
}

bool rd_grpc_connection_room(const struct rd_grpc_connection *connection)
{
    return connection->state == RD_GRPC_OPEN && !connection->leaving && !connection->broken &&
           connection->rest_ns == 0 &&
           connection->calls_count <
               nghttp2_session_get_remote_settings(connection->session,
                                                   NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) &&
           nghttp2_session_check_request_allowed(connection->session) != 0;
}

/* ---- time ---- */

static uint64_t keep_alive(struct rd_grpc_connection *connection, uint64_t now)
{
    if (connection->calls_count == 0) {
        return UINT64_MAX;
    }
    if (connection->ping_ns != 0) {
        uint64_t until =
            connection->ping_ns + (uint64_t)RD_GRPC_PING_TIMEOUT_MS * RD_GRPC_NS_PER_MS;
        if (connection->heard_ns > connection->ping_ns) {
            connection->ping_ns = 0; /* it lives, whatever it says */
        } else if (until <= now) {
            breaks(connection, "the server does not answer a PING");
            return now;
        } else {
            return until;
        }
    }
    int wait =
        connection->pings < RD_GRPC_PINGS_SOON ? RD_GRPC_PING_AFTER_MS : RD_GRPC_PING_RARELY_MS;
    uint64_t from =
        connection->heard_ns > connection->pinged_ns ? connection->heard_ns : connection->pinged_ns;
    if (connection->calls.first->sent_ns > from) {
        from = connection->calls.first->sent_ns; /* the oldest: before it there was peace */
    }
    uint64_t at = from + (uint64_t)wait * RD_GRPC_NS_PER_MS;
    if (at > now) {
        return at;
    }
    (void)nghttp2_submit_ping(connection->session, NGHTTP2_FLAG_NONE, NULL);
    connection->ping_ns = now;
    connection->pinged_ns = now;
    connection->pings++;
    return now + (uint64_t)RD_GRPC_PING_TIMEOUT_MS * RD_GRPC_NS_PER_MS;
}

uint64_t rd_grpc_connection_timer(struct rd_grpc_connection *connection, uint64_t now)
{
    uint64_t at;
    switch (connection->state) {
    case RD_GRPC_LOOKUP:
        if (connection->until_ns <= now) {
            rd_grpc_connection_close(connection, NULL);
            rd_grpc_driver_unreachable(connection->driver, connection->kind,
                                       "resolving the server's name took too long");
            return now;
        }
        return connection->until_ns;
    case RD_GRPC_CONNECTING:
    case RD_GRPC_HANDSHAKE:
    case RD_GRPC_GREETING:
        if (connection->until_ns <= now) {
            (void)rd_why_set(&connection->why, RD_ERR_BACKEND_FAILED,
                             "connecting to %s took too long%s",
                             connection->driver->engine->target.authority,
                             connection->state == RD_GRPC_GREETING
                                 ? ": no HTTP/2 from it; is the URL its gRPC port?"
                                 : "");
            broke(connection);
            return now;
        }
        return connection->until_ns;
    case RD_GRPC_OPEN:
        if (connection->rest_ns <= now) {
            connection->rest_ns = 0;
        }
        at = keep_alive(connection, now);
        at = connection->rest_ns != 0 && connection->rest_ns < at ? connection->rest_ns : at;
        return connection->again ? now : at;
    case RD_GRPC_CLOSED:
    default:
        return UINT64_MAX;
    }
}
