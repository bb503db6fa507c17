/* SPDX-License-Identifier: Apache-2.0
 *
 * A tiny scripted HTTP/1.1 server on 127.0.0.1 for tests: plain sockets, a free port, one thread a
 * connection. It reads a whole request (head, and a body by Content-Length) and lets the test's
 * function write whatever it wants, right or wrong, to the socket. */
#ifndef RD_TESTS_LOOPBACK_H
#define RD_TESTS_LOOPBACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loopback_request {
    const char *head; /* request line and headers, NUL behind */
    const char *body; /* NUL behind */
    size_t body_len;
    unsigned number; /* 1 for the server's first request */
};

/* Writes an answer to `fd`. True keeps the connection for another request, false closes it. */
typedef bool (*loopback_handler)(void *ctx, int fd, const struct loopback_request *request);

struct loopback;
struct loopback *loopback_start(loopback_handler handler, void *ctx);
/* On a port that an earlier one had. */
struct loopback *loopback_start_at(loopback_handler handler, void *ctx, unsigned port);
/* Cuts every connection, waits for every thread, frees. */
void loopback_stop(struct loopback *server);
unsigned loopback_port(const struct loopback *server);
unsigned loopback_connections(const struct loopback *server); /* accepted so far */
unsigned loopback_serving(const struct loopback *server);     /* ... on which some request came */
unsigned loopback_requests(const struct loopback *server);    /* read whole so far */

/* For handlers. Errors (the client went away) are ignored. */
void loopback_send(int fd, const void *data, size_t len);
void loopback_printf(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void loopback_wait_gone(int fd);      /* until the client, or loopback_stop, closes */
void loopback_reset_on_close(int fd); /* the close after it sends RST */
/* The value of header `name` in `head`, copied to `out` ("" when absent). */
void loopback_header(const char *head, const char *name, char *out, size_t room);

#endif
