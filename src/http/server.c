/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP server over libmicrohttpd: connections, exchanges and the watcher thread. Answers are
 * built in reply.c. See server.h for the order of calls.
 *
 * Threads. libmicrohttpd runs options.threads event loops; a connection stays with one of them, and
 * so does everything of its exchange until it is suspended. A suspended connection is not polled by
 * libmicrohttpd, so nobody would see its client leave: every socket therefore also stands, edge
 * triggered, in a second epoll set that only asks for EPOLLRDHUP, read by the watcher thread. A
 * client that half-closes its connection after the request counts as gone.
 *
 * Lock. server->lock guards the connection table, conn->hup, conn->waiting and the deadlines;
 * app.gone is called under it, so a reply (which takes it first) can never race with it.
 *
 * Slow clients. The watcher looks at all connections every TICK_MS and shuts the socket of one
 * whose deadline has passed: RD_LIMIT_HEADER_TIME_MS for the first headers, idle time plus that for
 * later ones, and for bodies an allowance that grows with their length
 * (RD_HTTP_BODY_BYTES_PER_MS_MIN). */
#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/limits.h"
#include "base/text.h"
#include "http/exchange.h"

enum {
    TICK_MS = 250,
    LISTEN_BACKLOG = 4096,
    WATCH_EVENTS = 64,
    /* A request line of 8 KiB, a header block of 32 KiB, and libmicrohttpd's lists of fields and
     * the answer's headers. It zeroes all of it after each request: a kept connection costs this
     * much. */
    CONNECTION_MEMORY = 48 * 1024,
    BODY_BYTES_PER_MS_MIN = 8, /* slower bodies than 8 KB/s are cut off */
    ARENA_MAX = 64 << 20,      /* one decoded image and its JSON */
    PARTIES = 256,             /* rows of the parties' accounts; two in one row share it */
};

struct conn {
    struct rd_http_server *server;
    int fd;
    uint32_t slot, generation;
    bool hup;                         /* the client closed its side */
    struct rd_http_exchange *waiting; /* the suspended exchange, or NULL */
    uint64_t deadline_ns;             /* 0: none */
};

struct rd_http_server {
    struct rd_http_app app;
    struct MHD_Daemon *daemon; /* owned */
    int listen_fd;             /* owned by the daemon once it runs */
    unsigned threads;
    bool watching;
    uint16_t port;
    int epoll_fd, wake_fd; /* owned */
    pthread_t watcher;
    atomic_bool stopping, closing;
    _Atomic size_t held, held_by[PARTIES]; /* bytes: see rd_http_hold */
    _Atomic unsigned exchanges, connections;
    pthread_mutex_t lock;
    uint32_t generation; /* of the next connection; tells old events from new */
    uint32_t slots_used; /* highest slot in use + 1 */
    struct conn *conns[RD_LIMIT_CONNECTIONS];
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

static void set_deadline(struct conn *conn, uint64_t ms)
{
    if (conn == NULL) {
        return;
    }
    pthread_mutex_lock(&conn->server->lock);
    conn->deadline_ns = ms == 0 ? 0 : rd_clock_mono_ns() + ms * 1000000u;
    pthread_mutex_unlock(&conn->server->lock);
}

/* ---- connections ---- */

static void conn_opened(struct rd_http_server *server, struct MHD_Connection *connection,
                        void **socket_context)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct conn *conn = rd_mem_alloc(sizeof *conn);
    if (info == NULL || conn == NULL) {
        rd_mem_free(conn);
        return; /* the connection works; only its client's leaving goes unseen */
    }
    conn->server = server;
    conn->fd = info->connect_fd;
    conn->deadline_ns = rd_clock_mono_ns() + RD_LIMIT_HEADER_TIME_MS * (uint64_t)1000000;
    pthread_mutex_lock(&server->lock);
    uint32_t slot = 0;
    while (slot < RD_LIMIT_CONNECTIONS && server->conns[slot] != NULL) {
        slot++;
    }
    if (slot == RD_LIMIT_CONNECTIONS) { /* libmicrohttpd's own limit is the same */
        pthread_mutex_unlock(&server->lock);
        rd_mem_free(conn);
        return;
    }
    conn->slot = slot;
    conn->generation = ++server->generation;
    server->conns[slot] = conn;
    server->slots_used = slot >= server->slots_used ? slot + 1 : server->slots_used;
    pthread_mutex_unlock(&server->lock);
    atomic_fetch_add(&server->connections, 1);
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET,
                                .data.u64 = (uint64_t)conn->generation << 32 | conn->slot};
    (void)epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event);
    *socket_context = conn;
}

static void conn_closed(struct rd_http_server *server, void **socket_context)
{
    struct conn *conn = *socket_context;
    if (conn == NULL) {
        return;
    }
    (void)epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
    pthread_mutex_lock(&server->lock);
    server->conns[conn->slot] = NULL;
    while (server->slots_used > 0 && server->conns[server->slots_used - 1] == NULL) {
        server->slots_used--;
    }
    pthread_mutex_unlock(&server->lock);
    atomic_fetch_sub(&server->connections, 1);
    rd_mem_free(conn);
    *socket_context = NULL;
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        conn_opened(cls, connection, socket_context);
    } else {
        conn_closed(cls, socket_context);
    }
}

static struct conn *conn_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

/* ---- exchanges ---- */

/* The request line is there: the exchange begins. */
static void *on_request_line(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct rd_http_server *server = cls;
    struct rd_http_exchange *x = rd_mem_alloc(sizeof *x);
    if (x == NULL) {
        return NULL; /* on_access closes the connection */
    }
    x->server = server;
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
    set_deadline(x->conn, allowance);
}

void rd_http_hold_for(struct rd_http_exchange *x, uint64_t party)
{
    x->party = (unsigned)(party % PARTIES);
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
    x->last = atomic_load(&x->server->closing);
    set_deadline(x->conn, RD_LIMIT_IDLE_TIME_MS + x->reply_len / BODY_BYTES_PER_MS_MIN);
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
    (void)version;
    if (x == NULL) {
        return MHD_NO;
    }
    if (!x->begun) {
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
        set_deadline(x->conn, 0);
        x->app->request(x->app->ctx, x);
        if (x->suspended) {
            return MHD_YES; /* rd_http_reply resumes, perhaps it already has */
        }
    }
    return answer(x);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    struct rd_http_server *server = cls;
    struct rd_http_exchange *x = *con_cls;
    (void)connection;
    if (x == NULL) {
        return;
    }
    *con_cls = NULL;
    set_deadline(x->conn, RD_LIMIT_IDLE_TIME_MS + RD_LIMIT_HEADER_TIME_MS);
    if (x->begun) {
        /* A socket takes a small answer also when nobody reads it any more. */
        bool sent = code == MHD_REQUEST_TERMINATED_COMPLETED_OK && !x->told_gone;
        server->app.done(server->app.ctx, x, sent);
    }
    atomic_fetch_sub(&server->held, x->counted);
    atomic_fetch_sub(&server->held_by[x->party], x->counted);
    rd_http_exchange_free(x);
    atomic_fetch_sub(&server->exchanges, 1);
}

static void wake_watcher(struct rd_http_server *server)
{
    uint64_t one = 1;
    ssize_t ignored = write(server->wake_fd, &one, sizeof one);
    (void)ignored;
}

void rd_http_suspend(struct rd_http_exchange *x)
{
    x->suspended = true;
    MHD_suspend_connection(x->connection);
    struct conn *conn = x->conn;
    if (conn == NULL) {
        return;
    }
    struct rd_http_server *server = x->server;
    pthread_mutex_lock(&server->lock);
    conn->waiting = x;
    bool hup = conn->hup;
    pthread_mutex_unlock(&server->lock);
    if (hup) { /* it left before: have the watcher look again */
        wake_watcher(server);
    }
}

void rd_http_exchange_resume(struct rd_http_exchange *x)
{
    if (x->conn != NULL) {
        pthread_mutex_lock(&x->server->lock);
        x->conn->waiting = NULL;
        pthread_mutex_unlock(&x->server->lock);
    }
    MHD_resume_connection(x->connection);
}

/* ---- the watcher thread ---- */

static void tell_gone(struct rd_http_server *server, struct conn *conn)
{
    if (conn->hup && conn->waiting != NULL && !conn->waiting->told_gone) {
        conn->waiting->told_gone = true;
        server->app.gone(server->app.ctx, conn->waiting);
    }
}

static void look_at_all(struct rd_http_server *server)
{
    uint64_t now = rd_clock_mono_ns();
    pthread_mutex_lock(&server->lock);
    for (uint32_t i = 0; i < server->slots_used; i++) {
        struct conn *conn = server->conns[i];
        if (conn == NULL) {
            continue;
        }
        tell_gone(server, conn);
        if (conn->deadline_ns != 0 && now > conn->deadline_ns) {
            conn->deadline_ns = 0;
            (void)shutdown(conn->fd, SHUT_RDWR);
        } else if (conn->hup && conn->waiting == NULL) {
            /* libmicrohttpd misses the end of a stream that comes together with its last bytes;
             * this loses nothing, since no more can come, and makes it look again. */
            (void)shutdown(conn->fd, SHUT_RD);
        }
    }
    pthread_mutex_unlock(&server->lock);
}

static void *watch(void *arg)
{
    struct rd_http_server *server = arg;
    uint64_t next_tick = 0;
    while (!atomic_load(&server->stopping)) {
        struct epoll_event events[WATCH_EVENTS];
        int count = epoll_wait(server->epoll_fd, events, WATCH_EVENTS, TICK_MS);
        bool woken = false;
        pthread_mutex_lock(&server->lock);
        for (int i = 0; i < count; i++) {
            if (events[i].data.u64 == UINT64_MAX) {
                uint64_t value;
                ssize_t ignored = read(server->wake_fd, &value, sizeof value);
                (void)ignored;
                woken = true;
                continue;
            }
            uint32_t slot = (uint32_t)events[i].data.u64;
            struct conn *conn = slot < RD_LIMIT_CONNECTIONS ? server->conns[slot] : NULL;
            if (conn != NULL && conn->generation == events[i].data.u64 >> 32) {
                conn->hup = true;
                tell_gone(server, conn);
            }
        }
        pthread_mutex_unlock(&server->lock);
        uint64_t now = rd_clock_mono_ns();
        if (woken || now >= next_tick) {
            look_at_all(server);
            next_tick = now + TICK_MS * (uint64_t)1000000;
        }
    }
    return NULL;
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

static struct MHD_Daemon *start_daemon(struct rd_http_server *server, unsigned threads)
{
    struct MHD_OptionItem pool[] = {
        {threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, (intptr_t)threads, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    return MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_access, server,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL,
        MHD_OPTION_URI_LOG_CALLBACK, on_request_line, server, MHD_OPTION_LISTEN_SOCKET,
        server->listen_fd, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)RD_LIMIT_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(RD_LIMIT_IDLE_TIME_MS / 1000), MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        server, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_ARRAY, pool,
        MHD_OPTION_END);
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
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
    bool ok = pthread_mutex_init(&server->lock, NULL) == 0 && server->epoll_fd >= 0 &&
              server->wake_fd >= 0 &&
              epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->wake_fd, &event) == 0;
    rd_err err = ok ? open_listener(options, &server->listen_fd, &server->port, why)
                    : rd_why_errno(why, errno, "make", "an epoll set");
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
    if (pthread_create(&server->watcher, NULL, watch, server) != 0) {
        return rd_why_set(why, RD_ERR_IO, "cannot start the HTTP server: out of threads");
    }
    server->watching = true;
    server->daemon = start_daemon(server, server->threads);
    return server->daemon != NULL
               ? RD_OK
               : rd_why_set(why, RD_ERR_IO,
                            "cannot start the HTTP server: out of descriptors or threads");
}

uint16_t rd_http_port(const struct rd_http_server *server)
{
    return server->port;
}

void rd_http_quiesce(struct rd_http_server *server)
{
    atomic_store(&server->closing, true);
    /* Another socket takes the listener's number, and with its last descriptor the listener closes
     * and leaves all epoll sets. Not MHD_quiesce_daemon: it and its workers take the listener out
     * of the same epoll set, and whichever comes second aborts the process (0.9.75, 1.0.1). */
    int idle = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (idle >= 0) { /* without a descriptor it goes on listening until rd_http_stop */
        (void)dup3(idle, server->listen_fd, O_CLOEXEC);
        (void)close(idle);
    }
}

void rd_http_hang_up(struct rd_http_server *server)
{
    pthread_mutex_lock(&server->lock);
    for (uint32_t i = 0; i < server->slots_used; i++) {
        if (server->conns[i] != NULL) { /* the watcher sees the end, and tells */
            (void)shutdown(server->conns[i]->fd, SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&server->lock);
}

unsigned rd_http_open_exchanges(struct rd_http_server *server)
{
    return atomic_load(&server->exchanges);
}

unsigned rd_http_open_connections(struct rd_http_server *server)
{
    return atomic_load(&server->connections);
}

void rd_http_stop(struct rd_http_server *server)
{
    if (server->daemon != NULL) {
        MHD_stop_daemon(server->daemon); /* closes listen_fd as well */
    } else {
        rd_fs_close_ptr_(&server->listen_fd);
    }
    atomic_store(&server->stopping, true);
    wake_watcher(server);
    if (server->watching) {
        (void)pthread_join(server->watcher, NULL);
    }
    rd_fs_close_ptr_(&server->epoll_fd);
    rd_fs_close_ptr_(&server->wake_fd);
    (void)pthread_mutex_destroy(&server->lock);
    rd_mem_free(server);
}
