/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the HTTP server share: a server on a free port whose application is a few
 * functions of the test, and a client made of plain sockets, which can send anything, whole or in
 * pieces, and shows exactly which bytes came back. */
#ifndef RD_TESTS_HTTP_HARNESS_H
#define RD_TESTS_HTTP_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "http/server.h"

enum {
    HARNESS_PATIENCE_MS = 20000, /* how long anything may take before the test fails */
    HARNESS_BODY_MAX = 64 << 20,
};

/* Starts a server; `app` fields that are NULL do nothing. */
struct rd_http_server *harness_start(const struct rd_http_app *app, unsigned threads);
/* Waits until no exchange and no connection is open, then stops it: so done() has run for each. */
void harness_stop(struct rd_http_server *server);
/* Replies 200 with this text. */
void harness_ok(struct rd_http_exchange *exchange, const char *text);

/* The client. */
int harness_connect(const struct rd_http_server *server);
void harness_send(int fd, const void *data, size_t len); /* fails the test when it cannot */
void harness_text(int fd, const char *fmt, ...) RD_PRINTF(2, 3);
/* As much as the server takes before it closes; false when it did not take all. */
bool harness_try_send(int fd, const void *data, size_t len);

struct harness_answer {
    int status;
    char head[16384]; /* status line and headers, NUL behind */
    struct rd_buf body;
};
/* Reads one answer, also an interim one (1xx); `is_head`: of a HEAD request, no body follows. False
 * when the connection ends before its first byte. Anything else that is no answer fails the test.
 */
bool harness_read(int fd, bool is_head, struct harness_answer *ret);
void harness_answer_done(struct harness_answer *answer);
/* The value of a header in `out` (room 512), or NULL. */
const char *harness_header(const struct harness_answer *answer, const char *name, char *out);
/* Reads an answer and compares. */
void harness_expect(int fd, int status, const char *body);
/* The server closes without another byte. */
void harness_expect_closed(int fd);

/* Milliseconds on a clock that only goes forward. */
uint64_t harness_now_ms(void);

#endif
