/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes to and from the server: a socket that never waits, and TLS over it by OpenSSL where the URL
 * says grpcs://. Nothing here knows HTTP/2.
 *
 * TLS checks the server's certificate against ca_file (or the system's authorities) and its name or
 * address against the URL's host, and insists on ALPN "h2". OpenSSL writes with write(2), which
 * raises SIGPIPE when the server has gone; the gateway ignores that signal, as its other parts need
 * it to. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "engine/triton/grpc_internal.h"

enum {
    /* A host that is gone without a word is noticed within half a minute, by the kernel alone. */
    KEEP_IDLE_S = 10,
    KEEP_EVERY_S = 5,
    KEEP_COUNT = 3,
    UNACKNOWLEDGED_MS = 20000,
};

/* ---- sockets ---- */

static void set_option(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof value); /* each is an improvement, no need */
}

int rd_grpc_connect(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEP_EVERY_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS);
    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0 && errno != EINPROGRESS) {
        int failed = errno;
        (void)close(fd);
        errno = failed;
        return -1;
    }
    return fd;
}

/* ---- TLS ---- */

static rd_err tls_failed(struct rd_why *why, const char *what)
{
    char text[160] = "";
    unsigned long code = ERR_peek_last_error();
    if (code != 0) {
        ERR_error_string_n(code, text, sizeof text);
    }
    ERR_clear_error();
    return rd_why_set(why, RD_ERR_CONFIG, "%s%s%s", what, text[0] != '\0' ? ": " : "", text);
}

rd_err rd_grpc_tls_context(const struct rd_engine_config *config, SSL_CTX **ret, struct rd_why *why)
{
    static const uint8_t h2[] = {2, 'h', '2'};
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                        SSL_MODE_RELEASE_BUFFERS);
    bool ok = SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
              SSL_CTX_set_alpn_protos(context, h2, sizeof h2) == 0;
    ok = ok && (config->ca_file != NULL
                    ? SSL_CTX_load_verify_locations(context, config->ca_file, NULL) == 1
                    : SSL_CTX_set_default_verify_paths(context) == 1);
    if (!ok) {
        SSL_CTX_free(context);
        char what[256];
        (void)snprintf(what, sizeof what, "backend %s: cannot read the certificates of %s",
                       config->name, config->ca_file != NULL ? config->ca_file : "the system");
        return tls_failed(why, what);
    }
    *ret = context;
    return RD_OK;
}

rd_err rd_grpc_tls_start(struct rd_grpc_connection *connection)
{
    const struct rd_engine *engine = connection->driver->engine;
    const char *host = engine->target.host;
    struct in6_addr address;
    SSL *ssl = SSL_new(engine->tls);
    if (ssl == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    bool numeric =
        inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
    bool ok = SSL_set_fd(ssl, connection->fd) == 1;
    if (numeric) {
        ok = ok && X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    } else {
        ok = ok &&
             SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                      (void *)(uintptr_t)host) == 1 &&
             SSL_set1_host(ssl, host) == 1;
    }
    if (!ok) {
        SSL_free(ssl);
        return RD_ERR_NO_MEMORY;
    }
    SSL_set_connect_state(ssl);
    connection->ssl = ssl;
    return RD_OK;
}

/* What OpenSSL's result means here. */
static int tls_result(struct rd_grpc_connection *connection, int result)
{
    int error = SSL_get_error(connection->ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        return RD_GRPC_BLOCKED;
    }
    if (error == SSL_ERROR_ZERO_RETURN) {
        return 0;
    }
    long verified = SSL_get_verify_result(connection->ssl);
    if (verified != X509_V_OK) {
        (void)rd_why_set(&connection->why, RD_ERR_BACKEND_FAILED,
                         "the server's certificate is not valid: %s",
                         X509_verify_cert_error_string(verified));
    } else {
        (void)tls_failed(&connection->why, "TLS with the server failed");
    }
    ERR_clear_error();
    return RD_GRPC_BROKEN;
}

int rd_grpc_tls_shake(struct rd_grpc_connection *connection)
{
    ERR_clear_error();
    int result = SSL_do_handshake(connection->ssl);
    if (result != 1) {
        result = tls_result(connection, result);
        if (result == 0) {
            (void)rd_why_set(&connection->why, RD_ERR_BACKEND_FAILED,
                             "the server closed during the TLS handshake");
        }
        return result == RD_GRPC_BLOCKED ? result : RD_GRPC_BROKEN;
    }
    const uint8_t *chosen = NULL;
    unsigned len = 0;
    SSL_get0_alpn_selected(connection->ssl, &chosen, &len);
    if (len != 2 || memcmp(chosen, "h2", 2) != 0) {
        (void)rd_why_set(&connection->why, RD_ERR_BACKEND_FAILED,
                         "the server does not offer HTTP/2 (ALPN h2)");
        return RD_GRPC_BROKEN;
    }
    return 1;
}

/* ---- bytes ---- */

static ssize_t plain_result(struct rd_grpc_connection *connection, ssize_t result)
{
    if (result >= 0) {
        return result;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
        return RD_GRPC_BLOCKED;
    }
    (void)rd_why_set(&connection->why, RD_ERR_BACKEND_FAILED, "the connection broke: %s",
                     strerror(errno));
    return RD_GRPC_BROKEN;
}

ssize_t rd_grpc_read(struct rd_grpc_connection *connection, uint8_t *out, size_t room)
{
    if (connection->ssl == NULL) {
        return plain_result(connection, recv(connection->fd, out, room, 0));
    }
    ERR_clear_error();
    int result = SSL_read(connection->ssl, out, (int)room);
    return result > 0 ? result : tls_result(connection, result);
}

ssize_t rd_grpc_write(struct rd_grpc_connection *connection, const uint8_t *data, size_t len)
{
    if (connection->ssl == NULL) {
        return plain_result(connection, send(connection->fd, data, len, MSG_NOSIGNAL));
    }
    ERR_clear_error();
    int result = SSL_write(connection->ssl, data, (int)len);
    if (result > 0) {
        return result;
    }
    result = tls_result(connection, result);
    return result == 0 ? RD_GRPC_BROKEN : result;
}
