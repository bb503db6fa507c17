/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP server over libmicrohttpd: start and stop, and the life of an exchange from its request
 * line to done(). See server.h for the order of calls. Answers are built in exchange.c, stream.c
 * and upgrade.c; the table of connections and the thread that watches them is watch.c.
 *
 * Threads. options.threads event loops run (loop.c); a connection stays with one of them, and so
 * does everything of its exchange until it is suspended. */
#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/limits.h"
#include "base/text.h"
#include "http/exchange.h"
#include "http/inside.h"
#include "http/park.h"
#include "http/stream.h"

enum {
    LISTEN_BACKLOG = 4096,
    /* A request line of 8 KiB, a header block of 32 KiB, and libmicrohttpd's lists of fields and
     * the answer's headers. It zeroes all of it after each request: a kept connection costs this
     * much. */
    CONNECTION_MEMORY = 48 * 1024,
    BODY_BYTES_PER_MS_MIN = 8, /* slower bodies than 8 KB/s are cut off */
    ARENA_MAX = 64 << 20,      /* one decoded image and its JSON */
};

static const char *const method_names[] = {
    [RD_HTTP_GET] = "GET",     [RD_HTTP_HEAD] = "HEAD",     [RD_HTTP_POST] = "POST",
    [RD_HTTP_PUT] = "PUT",     [RD_HTTP_DELETE] = "DELETE", [RD_HTTP_OPTIONS] = "OPTIONS",
    [RD_HTTP_OTHER] = "OTHER",
};

const char *rd_http_method_name(enum rd_http_method method)
{
    return method_names[method];
}

static enum rd_http_method parse_method(const char *name)
{
    for (int i = 0; i < RD_HTTP_OTHER; i++) {
        if (strcmp(method_names[i], name) == 0) {
            return (enum rd_http_method)i;
        }
    }
    return RD_HTTP_OTHER;
}

/* ---- connections ---- */

/* Connections that are ours (streams, upgraded ones) count, and the library does not know them. */
static enum MHD_Result on_accept(void *cls, const struct sockaddr *address, socklen_t len)
{
    const struct rd_http_server *server = cls;
    (void)address;
    (void)len;
    return atomic_load(&server->watch.connections) < RD_LIMIT_CONNECTIONS ? MHD_YES : MHD_NO;
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct rd_http_loop *loop = cls;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (code == MHD_CONNECTION_NOTIFY_STARTED && info != NULL) {
        const struct rd_http_conn conn = {.fd = info->connect_fd,
                                          .loop = loop,
                                          .library = connection,
                                          .consumed = rd_http_park_consumed(info->connect_fd)};
        *socket_context = rd_http_conn_open(&loop->server->watch, &conn);
    } else if (code == MHD_CONNECTION_NOTIFY_CLOSED && *socket_context != NULL) {
        rd_http_conn_close(*socket_context);
        *socket_context = NULL;
    }
}

static struct rd_http_conn *conn_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

/* ---- exchanges ---- */

/* The request line is there: the exchange begins. */
static void *on_request_line(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct rd_http_loop *loop = cls;
    struct rd_http_server *server = loop->server;
    struct rd_http_exchange *x = rd_mem_alloc(sizeof *x);
    if (x == NULL) {
        return NULL; /* on_access closes the connection */
    }
    x->server = server;
    x->loop = loop;
    x->app = &server->app;
    x->connection = connection;
    x->conn = conn_of(connection);
    x->started_ns = rd_clock_mono_ns();
    rd_arena_init(&x->arena, ARENA_MAX);
    rd_buf_init(&x->body, 0);
    rd_id_new("req_", x->id);
    atomic_fetch_add(&server->exchanges, 1);
    size_t len = strlen(uri);
    if (len > RD_LIMIT_REQUEST_LINE) {
        x->refusal = RD_ERR_URI_TOO_LONG;
        len = 0;
    }
    const char *query = memchr(uri, '?', len);
    size_t path_len = query == NULL ? len : (size_t)(query - uri);
    x->path = rd_arena_strndup(&x->arena, uri, path_len);
    x->query = query == NULL ? "" : rd_arena_strndup(&x->arena, query + 1, len - path_len - 1);
    if (x->path == NULL || x->query == NULL) {
        x->refusal = RD_ERR_NO_MEMORY;
        x->path = "";
        x->query = "";
    }
    return x;
}

struct header_sum {
    unsigned fields, lengths, encodings;
    size_t bytes;
    bool unknown_encoding;
};

static enum MHD_Result sum_header(void *cls, enum MHD_ValueKind kind, const char *key,
                                  const char *value)
{
    struct header_sum *sum = cls;
    (void)kind;
    sum->fields++;
    sum->bytes += strlen(key) + (value == NULL ? 0 : strlen(value)) + 4;
    if (strcasecmp(key, "Content-Length") == 0) {
        sum->lengths++;
    } else if (strcasecmp(key, "Transfer-Encoding") == 0) {
        sum->encodings++;
        sum->unknown_encoding |= value == NULL || strcasecmp(value, "chunked") != 0;
    }
    return MHD_YES;
}

static void begin(struct rd_http_exchange *x, const char *method)
{
    x->begun = true;
    x->method = parse_method(method);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (x->conn != NULL && info != NULL) {
        x->conn->consumed += info->header_size;
    }
    struct header_sum sum = {0};
    (void)MHD_get_connection_values(x->connection, MHD_HEADER_KIND, sum_header, &sum);
    if (x->refusal == RD_OK &&
        (sum.fields > RD_LIMIT_HEADER_FIELDS || sum.bytes > RD_LIMIT_HEADER_BLOCK)) {
        x->refusal = RD_ERR_HEADERS_TOO_LARGE;
    }
    /* Where the body ends must be said once: two readings of it are how requests are smuggled. */
    x->unsound = sum.lengths + sum.encodings > 1 || sum.unknown_encoding;
    if (x->refusal == RD_OK && x->unsound) {
        x->refusal = RD_ERR_INVALID_REQUEST;
    }
    const char *length = rd_http_request_header(x, "Content-Length");
    uint64_t announced = 0;
    if (length != NULL && rd_text_u64(length, strlen(length), &announced)) {
        x->has_length = true;
        x->length = announced;
    }
    x->has_body = announced > 0 || rd_http_request_header(x, "Transfer-Encoding") != NULL;
    uint64_t allowance =
        x->has_body ? RD_LIMIT_BODY_IDLE_MS + announced / BODY_BYTES_PER_MS_MIN : 0;
    if (x->has_body && !x->has_length) {
        allowance = RD_LIMIT_BODY_IDLE_MS + RD_LIMIT_UPLOAD_BYTES / BODY_BYTES_PER_MS_MIN;
    }
    rd_http_conn_deadline(x->conn, allowance);
}

void rd_http_hold_for(struct rd_http_exchange *x, uint64_t party)
{
    x->party = (unsigned)(party % RD_HTTP_PARTIES);
}

bool rd_http_hold(struct rd_http_exchange *x, size_t len)
{
    struct rd_http_server *server = x->server;
    size_t whole = x->holding + len;
    size_t more = whole > RD_LIMIT_HELD_FREE ? whole - RD_LIMIT_HELD_FREE - x->counted : 0;
    if (more > 0) {
        size_t all = atomic_fetch_add(&server->held, more) + more;
        size_t mine = atomic_fetch_add(&server->held_by[x->party], more) + more;
        if (all > RD_LIMIT_HELD || mine > RD_LIMIT_HELD_TENANT) {
            atomic_fetch_sub(&server->held, more);
            atomic_fetch_sub(&server->held_by[x->party], more);
            return false;
        }
    }
    x->holding = whole;
    x->counted += more;
    return true;
}

/* Takes one piece of a body to where it belongs; false when the connection must be cut. */
static bool take_body(struct rd_http_exchange *x, const char *data, size_t len)
{
    x->received += len;
    if (x->conn != NULL) {
        x->conn->consumed += len;
    }
    if (x->replied || x->body_err != RD_OK) {
        /* No answer can go out before the body is through, so an upload that fails in its middle
         * (the disk is full, it is no picture) is read to its end: its client shall hear why. */
        x->drained += len;
        bool ends = !x->replied && x->has_length;
        return x->drained <= (ends ? RD_HTTP_DRAIN_FAILED_MAX : RD_HTTP_DRAIN_MAX);
    }
    if (x->chunk != NULL) {
        x->body_err = x->chunk(x->chunk_ctx, x, data, len);
    } else if (x->received > x->announced_held && !rd_http_hold(x, len)) {
        x->body_err = RD_ERR_NO_MEMORY;
    } else {
        rd_buf_append(&x->body, data, len);
        x->body_err = rd_buf_err(&x->body);
    }
    return true;
}

/* Whether a refused body is read and dropped, so that the client can finish sending and then read
 * the answer on a connection that stays good. Otherwise the answer comes at once, and the
 * connection is closed: the body is large, or the client waits for leave to send it, or nobody
 * knows its end. */
static bool drains(struct rd_http_exchange *x)
{
    return !x->unsound && (!x->has_length || x->length <= RD_HTTP_DRAIN_MAX) &&
           rd_http_request_header(x, "Expect") == NULL;
}

/* The answer goes out: at a least speed, so that slow readers cannot keep what it holds. */
static enum MHD_Result answer(struct rd_http_exchange *x)
{
    if (x->streamed) {
        return rd_http_stream_start(x);
    }
    x->last = atomic_load(&x->server->closing);
    rd_http_conn_deadline(x->conn, RD_LIMIT_IDLE_TIME_MS + x->reply_len / BODY_BYTES_PER_MS_MIN);
    return rd_http_exchange_queue(x);
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *upload_data,
                                 size_t *upload_data_size, void **con_cls)
{
    struct rd_http_exchange *x = *con_cls;
    (void)cls;
    (void)connection;
    (void)url;
    if (x == NULL) {
        return MHD_NO;
    }
    if (!x->begun) {
        x->http_1_0 = strcmp(version, MHD_HTTP_VERSION_1_0) == 0;
        begin(x, method);
        x->app->headers(x->app->ctx, x);
        return x->replied && x->has_body && !drains(x) ? answer(x) : MHD_YES;
    }
    if (*upload_data_size > 0) {
        bool go_on = take_body(x, upload_data, *upload_data_size);
        *upload_data_size = 0;
        return go_on ? MHD_YES : MHD_NO;
    }
    if (!x->replied && !x->dispatched) {
        x->dispatched = true;
        rd_http_conn_deadline(x->conn, 0);
        x->app->request(x->app->ctx, x);
        if (x->suspended) {
            return MHD_YES; /* rd_http_reply resumes, perhaps it already has */
        }
    }
    return answer(x);
}

void rd_http_exchange_done(struct rd_http_exchange *x, bool sent)
{
    struct rd_http_server *server = x->server;
    if (x->begun) {
        server->app.done(server->app.ctx, x, sent);
    }
    x->over = true;
    atomic_fetch_sub(&server->held, x->counted);
    atomic_fetch_sub(&server->held_by[x->party], x->counted);
    atomic_fetch_sub(&server->exchanges, 1);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    struct rd_http_exchange *x = *con_cls;
    (void)cls;
    (void)connection;
    if (x == NULL) {
        return;
    }
    *con_cls = NULL;
    if (x->streamed) {
        rd_http_stream_released(x);
        return;
    }
    if (!x->over) { /* else it was upgraded, and no lock may be taken here: see upgrade.c */
        rd_http_conn_idle(x->conn, RD_LIMIT_IDLE_TIME_MS + RD_LIMIT_HEADER_TIME_MS);
        /* A socket takes a small answer also when nobody reads it any more. */
        bool sent = code == MHD_REQUEST_TERMINATED_COMPLETED_OK && !x->told_gone;
        rd_http_exchange_done(x, sent);
    }
    rd_http_exchange_free(x);
}

void rd_http_suspend(struct rd_http_exchange *x)
{
    x->suspended = true;
    MHD_suspend_connection(x->connection);
    rd_http_conn_wait(x->conn, x);
}

void rd_http_exchange_resume(struct rd_http_exchange *x)
{
    /* Once it is resumed the exchange may be gone; the server stays until this has ended. */
    struct rd_http_server *server = x->server;
    struct rd_http_loop *loop = x->loop;
    atomic_fetch_add(&server->resuming, 1);
    rd_http_conn_wait(x->conn, NULL);
    MHD_resume_connection(x->connection);
    rd_http_loop_wake(loop);
    atomic_fetch_sub(&server->resuming, 1);
}

/* ---- start and stop ---- */

static rd_err open_listener(const struct rd_http_options *options, int *ret_fd, uint16_t *ret_port,
                            struct rd_why *why)
{
    char port[8];
    (void)snprintf(port, sizeof port, "%u", (unsigned)options->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(options->host, port, &hints, &found);
    if (code != 0) {
        return rd_why_set(why, RD_ERR_CONFIG, "cannot listen on %s: %s", options->host,
                          gai_strerror(code));
    }
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    struct sockaddr_storage bound = {0};
    socklen_t bound_len = sizeof bound;
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
              bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0 &&
              getsockname(fd, (struct sockaddr *)&bound, &bound_len) == 0;
    int errnum = errno;
    freeaddrinfo(found);
    if (!ok) {
        if (fd >= 0) {
            (void)close(fd);
        }
        char address[300];
        (void)snprintf(address, sizeof address, "%s:%s", options->host, port);
        return rd_why_errno(why, errnum, "listen on", address);
    }
    *ret_port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                  : ((struct sockaddr_in *)&bound)->sin_port);
    *ret_fd = fd;
    return RD_OK;
}

/* Paths and queries stay as they were sent: the router and rd_http_request_query decode. */
static size_t no_unescape(void *cls, struct MHD_Connection *connection, char *text)
{
    (void)cls;
    (void)connection;
    return strlen(text);
}

/* SIGPIPE_HANDLED_BY_APP: the loop's thread blocks it. Without that files are copied in pieces of
 * 4 KiB instead of being sent by sendfile, at seven times the cost. */
static struct MHD_Daemon *start_daemon(struct rd_http_server *server, struct rd_http_loop *loop)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE, 0, on_accept, server,
        on_access, server, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK,
        no_unescape, NULL, MHD_OPTION_URI_LOG_CALLBACK, on_request_line, loop,
        MHD_OPTION_LISTEN_SOCKET, loop->listen_fd, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)RD_LIMIT_CONNECTIONS / server->threads + 1, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(RD_LIMIT_IDLE_TIME_MS / 1000), MHD_OPTION_NOTIFY_CONNECTION, on_connection, loop,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_END);
}

static rd_err start_loop(struct rd_http_server *server, struct rd_http_loop *loop)
{
    RD_TRY(rd_http_loop_init(loop, server, server->listen_fd));
    loop->daemon = start_daemon(server, loop);
    return loop->daemon == NULL ? RD_ERR_IO : rd_http_loop_run(loop);
}

rd_err rd_http_listen(const struct rd_http_options *options, struct rd_http_server **ret,
                      struct rd_why *why)
{
    struct rd_http_server *server = rd_mem_alloc(sizeof *server);
    if (server == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    server->threads = options->threads;
    server->listen_fd = -1;
    server->idle_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rd_err err = rd_http_watch_init(&server->watch, &server->app);
    if (err != RD_OK || server->idle_fd < 0) {
        err = rd_why_errno(why, errno, "make", "an epoll set");
    } else {
        err = open_listener(options, &server->listen_fd, &server->port, why);
    }
    if (err != RD_OK) {
        rd_http_stop(server);
        return err;
    }
    *ret = server;
    return RD_OK;
}

rd_err rd_http_serve(struct rd_http_server *server, const struct rd_http_app *app,
                     struct rd_why *why)
{
    server->app = *app;
    server->loops = rd_mem_alloc_array(server->threads, sizeof *server->loops);
    rd_err err = server->loops == NULL ? RD_ERR_NO_MEMORY : rd_http_watch_start(&server->watch);
    while (err == RD_OK && server->loops_count < server->threads) {
        err = start_loop(server, &server->loops[server->loops_count++]);
    }
    return err == RD_OK ? RD_OK
                        : rd_why_set(why, err,
                                     "cannot start the HTTP server: out of descriptors or threads");
}

uint16_t rd_http_port(const struct rd_http_server *server)
{
    return server->port;
}

void rd_http_quiesce(struct rd_http_server *server)
{
    atomic_store(&server->closing, true);
    for (unsigned i = 0; i < server->loops_count; i++) {
        rd_http_loop_stop_listening(&server->loops[i], server->idle_fd);
    }
    rd_fs_close_ptr_(&server->listen_fd);
    server->listen_fd = -1;
}

void rd_http_hang_up(struct rd_http_server *server)
{
    rd_http_watch_hang_up(&server->watch);
}

unsigned rd_http_open_exchanges(struct rd_http_server *server)
{
    return atomic_load(&server->exchanges);
}

unsigned rd_http_open_connections(struct rd_http_server *server)
{
    return atomic_load(&server->watch.connections);
}

void rd_http_stop(struct rd_http_server *server)
{
    while (atomic_load(&server->resuming) > 0) { /* a reply that has not returned yet */
        (void)sched_yield();
    }
    for (unsigned i = 0; i < server->loops_count; i++) {
        rd_http_loop_stop(&server->loops[i]);
    }
    rd_fs_close_ptr_(&server->listen_fd);
    rd_http_watch_done(&server->watch); /* it wakes loops */
    for (unsigned i = 0; i < server->loops_count; i++) {
        rd_http_loop_done(&server->loops[i]);
    }
    rd_fs_close_ptr_(&server->idle_fd);
    rd_mem_free(server->loops);
    rd_mem_free(server);
}
