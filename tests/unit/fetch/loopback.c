/* SPDX-License-Identifier: Apache-2.0
 *
 * See loopback.h. Tests abort on any failure of their own tools, so that none is taken for a
 * result. */
#include "loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 4096, HEAD_MAX = 65536 };

struct connection {
    struct loopback *server;
    pthread_t thread;
    int fd; /* -1 once closed; under the server's lock */
};

struct loopback {
    loopback_handler handler;
    void *ctx;
    int listener;
    unsigned port;
    pthread_t acceptor;
    pthread_mutex_t lock;
    bool stopping;
    atomic_uint accepted, serving, requests;
    struct connection connections[CONNECTIONS_MAX];
};

static void must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        abort();
    }
}

void loopback_send(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);
        if (sent <= 0) {
            return;
        }
        at += sent;
        len -= (size_t)sent;
    }
}

void loopback_printf(int fd, const char *fmt, ...)
{
    char text[8192];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    must(len >= 0 && (size_t)len < sizeof text, "loopback_printf");
    loopback_send(fd, text, (size_t)len);
}

void loopback_wait_gone(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLRDHUP};
    while (poll(&wait, 1, -1) < 0) {
    }
}

void loopback_reset_on_close(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0, "SO_LINGER");
}

void loopback_header(const char *head, const char *name, char *out, size_t room)
{
    size_t name_len = strlen(name);
    out[0] = '\0';
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, name_len) == 0 && line[name_len] == ':') {
            const char *value = line + name_len + 1 + strspn(line + name_len + 1, " ");
            (void)snprintf(out, room, "%.*s", (int)strcspn(value, "\r"), value);
            return;
        }
    }
}

/* Reads until `*len` holds a whole head and its body. Returns the head's length, 0 at the end. */
static size_t read_request(int fd, char **buf, size_t *cap, size_t *len, size_t *ret_body_len)
{
    for (;;) {
        (*buf)[*len] = '\0';
        char *end = strstr(*buf, "\r\n\r\n");
        if (end != NULL) {
            char value[32];
            size_t head_len = (size_t)(end - *buf) + 4;
            char saved = (*buf)[head_len];
            (*buf)[head_len] = '\0';
            loopback_header(*buf, "Content-Length", value, sizeof value);
            (*buf)[head_len] = saved;
            size_t body_len = strtoul(value, NULL, 10);
            if (*len >= head_len + body_len) {
                *ret_body_len = body_len;
                return head_len;
            }
            if (head_len + body_len + 1 > *cap) {
                *cap = head_len + body_len + 1;
                *buf = realloc(*buf, *cap);
                must(*buf != NULL, "realloc");
            }
        }
        must(*len + 1 < *cap, "request too long for the test server");
        ssize_t got = recv(fd, *buf + *len, *cap - *len - 1, 0);
        if (got <= 0 || (*buf)[0] == 0x16) { /* gone, or a TLS ClientHello: hang up */
            return 0;
        }
        *len += (size_t)got;
    }
}

static void *serve(void *user)
{
    struct connection *self = user;
    struct loopback *server = self->server;
    size_t cap = HEAD_MAX;
    size_t len = 0;
    size_t body_len = 0;
    size_t head_len;
    char *buf = malloc(cap);
    must(buf != NULL, "malloc");
    bool keep = true;
    bool first = true;
    while (keep && (head_len = read_request(self->fd, &buf, &cap, &len, &body_len)) > 0) {
        char *head = strndup(buf, head_len);
        char *body = malloc(body_len + 1);
        must(head != NULL && body != NULL, "malloc");
        if (first) {
            atomic_fetch_add(&server->serving, 1);
            first = false;
        }
        memcpy(body, buf + head_len, body_len);
        body[body_len] = '\0';
        struct loopback_request request = {head, body, body_len,
                                           atomic_fetch_add(&server->requests, 1) + 1};
        len -= head_len + body_len;
        memmove(buf, buf + head_len + body_len, len);
        keep = server->handler(server->ctx, self->fd, &request);
        free(head);
        free(body);
    }
    free(buf);
    (void)pthread_mutex_lock(&server->lock);
    (void)close(self->fd);
    self->fd = -1;
    (void)pthread_mutex_unlock(&server->lock);
    return NULL;
}

static void *accept_all(void *user)
{
    struct loopback *server = user;
    for (;;) {
        int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
        (void)pthread_mutex_lock(&server->lock);
        bool stopping = server->stopping;
        if (fd >= 0 && !stopping) {
            int on = 1;
            (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            unsigned index = atomic_load(&server->accepted);
            must(index < CONNECTIONS_MAX, "too many connections for the test server");
            struct connection *made = &server->connections[index];
            made->server = server;
            made->fd = fd;
            atomic_store(&server->accepted, index + 1); /* before any answer goes out */
            must(pthread_create(&made->thread, NULL, serve, made) == 0, "pthread_create");
        } else if (fd >= 0) {
            (void)close(fd);
        }
        (void)pthread_mutex_unlock(&server->lock);
        if (stopping) {
            return NULL;
        }
    }
}

struct loopback *loopback_start(loopback_handler handler, void *ctx)
{
    return loopback_start_at(handler, ctx, 0);
}

struct loopback *loopback_start_at(loopback_handler handler, void *ctx, unsigned port)
{
    struct loopback *server = calloc(1, sizeof *server);
    must(server != NULL, "calloc");
    server->handler = handler;
    server->ctx = ctx;
    must(pthread_mutex_init(&server->lock, NULL) == 0, "pthread_mutex_init");
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(server->listener >= 0, "socket");
    int on = 1;
    must(setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0,
         "SO_REUSEADDR");
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)port)};
    socklen_t at_len = sizeof at;
    must(bind(server->listener, (const struct sockaddr *)&at, sizeof at) == 0, "bind");
    must(listen(server->listener, 128) == 0, "listen");
    must(getsockname(server->listener, (struct sockaddr *)&at, &at_len) == 0, "getsockname");
    server->port = ntohs(at.sin_port);
    must(pthread_create(&server->acceptor, NULL, accept_all, server) == 0, "pthread_create");
    return server;
}

void loopback_stop(struct loopback *server)
{
    (void)pthread_mutex_lock(&server->lock);
    server->stopping = true;
    for (unsigned i = 0; i < atomic_load(&server->accepted); i++) {
        if (server->connections[i].fd >= 0) {
            (void)shutdown(server->connections[i].fd, SHUT_RDWR);
        }
    }
    (void)pthread_mutex_unlock(&server->lock);
    (void)shutdown(server->listener, SHUT_RDWR); /* wakes accept */
    (void)pthread_join(server->acceptor, NULL);
    for (unsigned i = 0; i < atomic_load(&server->accepted); i++) {
        (void)pthread_join(server->connections[i].thread, NULL);
    }
    (void)close(server->listener);
    (void)pthread_mutex_destroy(&server->lock);
    free(server);
}

unsigned loopback_port(const struct loopback *server)
{
    return server->port;
}

unsigned loopback_serving(const struct loopback *server)
{
    return atomic_load(&server->serving);
}

unsigned loopback_connections(const struct loopback *server)
{
    return atomic_load(&server->accepted);
}

unsigned loopback_requests(const struct loopback *server)
{
    return atomic_load(&server->requests);
}
