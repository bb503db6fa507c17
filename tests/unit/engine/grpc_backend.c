/* SPDX-License-Identifier: Apache-2.0
 *
 * See grpc_backend.h. A connection's thread reads, lets nghttp2 call on_request for each request
 * that is whole, and writes what there is to write. `scripts` is what a prompt means: the body that
 * is sent, and how the stream ends. */
#include "grpc_backend.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>

#include "grpc_script.h"

struct grpc_backend grpc_backend;

enum { CONNECTIONS_MAX = 2048 };

struct connection {
    pthread_t thread;
    int fd;
    SSL *ssl;
    nghttp2_session *session;
    struct stream *streams;
    bool close_now;
};

static struct {
    int fd;
    pthread_t thread;
    SSL_CTX *tls;
    pthread_mutex_t lock;
    struct connection connections[CONNECTIONS_MAX];
    unsigned count;
    bool stopping;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_uint refused; /* streams refused so far, of the prompts that want it once */

/* ---- HTTP/2 ---- */

static ssize_t read_answer(nghttp2_session *session, int32_t id, uint8_t *out, size_t room,
                           uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)user;
    struct stream *stream = source->ptr;
    size_t left = stream->out.len - stream->out_at;
    size_t len = left < room ? left : room;
    if (len > 0) {
        memcpy(out, stream->out.data + stream->out_at, len);
        stream->out_at += len;
    }
    if (stream->out_at < stream->out.len) {
        return (ssize_t)len;
    }
    if (stream->end == END_NO_STATUS) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (stream->end == END_STATUS) {
        const char *message = stream->message != NULL ? stream->message : "";
        nghttp2_nv trailers[2] = {{(uint8_t *)(uintptr_t) "grpc-status",
                                   (uint8_t *)(uintptr_t)stream->status, 11, strlen(stream->status),
                                   0},
                                  {(uint8_t *)(uintptr_t) "grpc-message",
                                   (uint8_t *)(uintptr_t)message, 12, strlen(message), 0}};
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        (void)nghttp2_submit_trailer(session, id, trailers, 2);
    } else if (len == 0) {
        if (stream->end == END_RESET) {
            (void)nghttp2_submit_rst_stream(session, 0, id, stream->code);
        }
        if (stream->end == END_CLOSE) {
            ((struct connection *)user)->close_now = true;
        }
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)len;
}

static void send_answer(struct connection *connection, struct stream *stream)
{
    char status[16];
    (void)snprintf(status, sizeof status, "%d", stream->http_status);
    if (stream->http_status < 0) {
        return;
    }
    nghttp2_nv headers[3] = {
        {(uint8_t *)(uintptr_t) ":status", (uint8_t *)status, 7, strlen(status), 0},
        {(uint8_t *)(uintptr_t) "content-type", (uint8_t *)(uintptr_t)stream->type, 12,
         strlen(stream->type), 0},
        {(uint8_t *)(uintptr_t) "grpc-encoding", (uint8_t *)(uintptr_t) "gzip", 13, 4, 0}};
    nghttp2_data_provider body = {.source.ptr = stream, .read_callback = read_answer};
    (void)nghttp2_submit_response(connection->session, stream->id, headers,
                                  stream->encoding != NULL ? 3 : 2, &body);
}

/* Prompts that are about the connection. True: nothing else is to be done. */
static bool connection_script(struct connection *connection, struct stream *stream)
{
    if (strcmp(stream->prompt, "refuse-5") == 0 || strcmp(stream->prompt, "goaway-1") == 0) {
        unsigned times = (unsigned)(stream->prompt[7] - '0');
        bool first = atomic_fetch_add(&refused, 1) < times;
        bool goaway = stream->prompt[0] == 'g';
        memcpy(stream->prompt, "quick", 6);
        if (first && goaway) {
            (void)nghttp2_submit_goaway(connection->session, 0, stream->id - 1, NGHTTP2_NO_ERROR,
                                        NULL, 0);
        } else if (first) {
            (void)nghttp2_submit_rst_stream(connection->session, 0, stream->id,
                                            NGHTTP2_REFUSED_STREAM);
        }
        return first;
    }
    if (strcmp(stream->prompt, "refuse") == 0) {
        (void)nghttp2_submit_rst_stream(connection->session, 0, stream->id, NGHTTP2_REFUSED_STREAM);
        return true;
    }
    if (strcmp(stream->prompt, "flood") == 0) {
        for (unsigned i = 0; i < 5000; i++) {
            (void)nghttp2_submit_ping(connection->session, 0, NULL);
        }
        return true;
    }
    return false;
}

static void on_request(struct connection *connection, struct stream *stream)
{
    const char *method = strrchr(stream->path, '/');
    method = method != NULL ? method + 1 : "";
    stream->http_status = 200;
    stream->type = "application/grpc";
    stream->many = strcmp(method, "ModelStreamInfer") == 0;
    if (stream->many || strcmp(method, "ModelInfer") == 0) {
        atomic_fetch_add(&grpc_backend.infers, 1);
        grpc_read_infer(stream);
        if (connection_script(connection, stream)) {
            return;
        }
        grpc_choose_script(stream);
    } else {
        grpc_answer_probe(stream, method);
    }
    send_answer(connection, stream);
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct connection *connection = user;
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        abort();
    }
    stream->id = frame->hd.stream_id;
    stream->next = connection->streams;
    connection->streams = stream;
    return nghttp2_session_set_stream_user_data(session, stream->id, stream);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    (void)flags;
    (void)user;
    struct stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (stream == NULL) {
        return 0;
    }
    if (name_len == 5 && memcmp(name, ":path", 5) == 0) {
        (void)snprintf(stream->path, sizeof stream->path, "%.*s", (int)value_len,
                       (const char *)value);
    }
    char line[512];
    (void)snprintf(line, sizeof line, "%.*s: %.*s\n", (int)name_len, (const char *)name,
                   (int)value_len, (const char *)value);
    grpc_put(&stream->headers, line, strlen(line));
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *user)
{
    (void)flags;
    (void)user;
    struct stream *stream = nghttp2_session_get_stream_user_data(session, id);
    if (stream != NULL) {
        grpc_put(&stream->in, data, len);
    }
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        atomic_fetch_add(&grpc_backend.resets, 1);
        (void)sem_post(&grpc_backend.reset);
    }
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
        (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS)) {
        struct stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (stream != NULL) {
            on_request(user, stream);
        }
    }
    return 0;
}

static void drop(struct stream *stream)
{
    free(stream->headers.data);
    free(stream->in.data);
    free(stream->out.data);
    free(stream);
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    (void)session;
    (void)code;
    struct connection *connection = user;
    for (struct stream **at = &connection->streams; *at != NULL; at = &(*at)->next) {
        if ((*at)->id == id) {
            struct stream *gone = *at;
            *at = gone->next;
            drop(gone);
            break;
        }
    }
    return 0;
}

/* ---- sockets ---- */

static ssize_t get(struct connection *connection, void *out, size_t room)
{
    return connection->ssl != NULL ? SSL_read(connection->ssl, out, (int)room)
                                   : recv(connection->fd, out, room, 0);
}

static bool give(struct connection *connection, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = connection->ssl != NULL ? SSL_write(connection->ssl, data, (int)len)
                                               : send(connection->fd, data, len, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        data += sent;
        len -= (size_t)sent;
    }
    return true;
}

static bool flush(struct connection *connection)
{
    const uint8_t *data;
    ssize_t len;
    while ((len = nghttp2_session_mem_send(connection->session, &data)) > 0) {
        if (!give(connection, data, (size_t)len)) {
            return false;
        }
    }
    return len == 0 && !connection->close_now;
}

static void serve_http2(struct connection *connection)
{
    uint8_t in[16384];
    nghttp2_session_callbacks *callbacks;
    nghttp2_settings_entry settings[1] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, atomic_load(&grpc_backend.streams_max)}};
    (void)nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    (void)nghttp2_session_server_new(&connection->session, callbacks, connection);
    (void)nghttp2_submit_settings(connection->session, 0, settings, settings[0].value != 0);
    ssize_t len;
    while (flush(connection) && (len = get(connection, in, sizeof in)) > 0) {
        if (nghttp2_session_mem_recv(connection->session, in, (size_t)len) < 0) {
            break;
        }
    }
    nghttp2_session_del(connection->session);
    nghttp2_session_callbacks_del(callbacks);
    while (connection->streams != NULL) {
        struct stream *gone = connection->streams;
        connection->streams = gone->next;
        drop(gone);
    }
}

static void serve_plainly(struct connection *connection)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    uint8_t in[1024];
    if (!atomic_load(&grpc_backend.mute)) {
        (void)give(connection, (const uint8_t *)text, sizeof text - 1);
    }
    while (get(connection, in, sizeof in) > 0) {
    }
}

static void *serve(void *user)
{
    struct connection *connection = user;
    bool ok = true;
    int yes = 1;
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (server.tls != NULL) {
        connection->ssl = SSL_new(server.tls);
        ok = SSL_set_fd(connection->ssl, connection->fd) == 1 && SSL_accept(connection->ssl) == 1;
    }
    if (ok && (atomic_load(&grpc_backend.plain) || atomic_load(&grpc_backend.mute))) {
        serve_plainly(connection);
    } else if (ok) {
        serve_http2(connection);
    }
    SSL_free(connection->ssl);
    (void)shutdown(connection->fd, SHUT_RDWR); /* closed by stop, which may use it until then */
    return NULL;
}

static void *accept_all(void *user)
{
    (void)user;
    for (;;) {
        int fd = accept(server.fd, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        (void)pthread_mutex_lock(&server.lock);
        if (server.stopping || server.count == CONNECTIONS_MAX) {
            (void)close(fd);
        } else {
            struct connection *connection = &server.connections[server.count++];
            *connection = (struct connection){.fd = fd};
            atomic_fetch_add(&grpc_backend.connections, 1);
            if (pthread_create(&connection->thread, NULL, serve, connection) != 0) {
                abort();
            }
        }
        (void)pthread_mutex_unlock(&server.lock);
    }
}

static int choose_h2(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                     const unsigned char *in, unsigned in_len, void *user)
{
    (void)ssl;
    (void)user;
    if (atomic_load(&grpc_backend.no_alpn) || in_len < 3) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    *out = in + 1;
    *out_len = in[0];
    return SSL_TLSEXT_ERR_OK;
}

unsigned grpc_backend_start(unsigned port, const char *certificate, const char *key)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int yes = 1;
    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(server.fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(server.fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(server.fd, 64) != 0 ||
        getsockname(server.fd, (struct sockaddr *)&address, &len) != 0) {
        abort();
    }
    server.stopping = false;
    server.count = 0;
    server.tls = NULL;
    if (certificate != NULL) {
        server.tls = SSL_CTX_new(TLS_server_method());
        if (SSL_CTX_use_certificate_file(server.tls, certificate, SSL_FILETYPE_PEM) != 1 ||
            SSL_CTX_use_PrivateKey_file(server.tls, key, SSL_FILETYPE_PEM) != 1) {
            abort();
        }
        SSL_CTX_set_alpn_select_cb(server.tls, choose_h2, NULL);
    }
    if (pthread_create(&server.thread, NULL, accept_all, NULL) != 0) {
        abort();
    }
    return ntohs(address.sin_port);
}

void grpc_backend_stop(void)
{
    (void)pthread_mutex_lock(&server.lock);
    server.stopping = true;
    (void)shutdown(server.fd, SHUT_RDWR);
    for (unsigned i = 0; i < server.count; i++) {
        (void)shutdown(server.connections[i].fd, SHUT_RDWR);
    }
    (void)pthread_mutex_unlock(&server.lock);
    (void)pthread_join(server.thread, NULL);
    (void)close(server.fd);
    for (unsigned i = 0; i < server.count; i++) {
        (void)pthread_join(server.connections[i].thread, NULL);
        (void)close(server.connections[i].fd);
    }
    SSL_CTX_free(server.tls);
}

void grpc_backend_reset(void)
{
    atomic_bool *switches[] = {
        &grpc_backend.not_live,       &grpc_backend.not_ready,      &grpc_backend.model_missing,
        &grpc_backend.wrong_metadata, &grpc_backend.silent,         &grpc_backend.plain,
        &grpc_backend.mute,           &grpc_backend.no_alpn,        &grpc_backend.no_config,
        &grpc_backend.more_inputs,    &grpc_backend.decoupled_model};
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        atomic_store(switches[i], false);
    }
    atomic_store(&grpc_backend.streams_max, 0);
    atomic_store(&grpc_backend.queue_ms, 0);
    atomic_store(&grpc_backend.connections, 0);
    atomic_store(&grpc_backend.infers, 0);
    atomic_store(&grpc_backend.resets, 0);
    atomic_store(&grpc_backend.probes, 0);
    atomic_store(&grpc_backend.statistics, 0);
    atomic_store(&refused, 0);
    while (sem_trywait(&grpc_backend.reset) == 0) {
    }
}
