/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP server: libmicrohttpd behind a face that knows exchanges, not sockets. One exchange is
 * one request and its answer. It runs on one of the server's threads; an answer that must wait is
 * given later from any thread (rd_http_suspend, then rd_http_reply). While it waits, a client that
 * closes its connection is noticed at once (app.gone).
 *
 * Order of calls for one exchange, never at the same time except `gone`:
 *   headers() -> [body arrives] -> request() -> [suspended; gone() from the watcher thread] ->
 * done() headers() sees everything but the body and may reply at once (then the body is thrown away
 * up to RD_HTTP_DRAIN_MAX and request() is not called); otherwise it says where the body goes. */
#ifndef RD_HTTP_SERVER_H
#define RD_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/id.h"
#include "base/mem.h"

struct rd_http_server;
struct rd_http_exchange;

enum rd_http_method {
    RD_HTTP_GET,
    RD_HTTP_HEAD,
    RD_HTTP_POST,
    RD_HTTP_PUT,
    RD_HTTP_DELETE,
    RD_HTTP_OPTIONS,
    RD_HTTP_OTHER,
};
const char *rd_http_method_name(enum rd_http_method method); /* "GET" ...; "OTHER" */

struct rd_http_app {
    void *ctx;
    void (*headers)(void *ctx, struct rd_http_exchange *exchange);
    void (*request)(void *ctx, struct rd_http_exchange *exchange);
    /* The client of a suspended exchange has left. From the watcher thread; a reply is still owed.
     * Never called after rd_http_reply. */
    void (*gone)(void *ctx, struct rd_http_exchange *exchange);
    /* The last call: the answer is sent (`sent`), or the client is gone. Release what hangs on it.
     */
    void (*done)(void *ctx, struct rd_http_exchange *exchange, bool sent);
};

struct rd_http_options {
    const char *host; /* numeric address or "localhost" */
    uint16_t port;    /* 0: a free one */
    unsigned threads; /* >= 1 */
};

/* Binds and listens, so that the port is known; nobody is served before rd_http_serve. */
rd_err rd_http_listen(const struct rd_http_options *options, struct rd_http_server **ret,
                      struct rd_why *why) RD_MUST;
rd_err rd_http_serve(struct rd_http_server *server, const struct rd_http_app *app,
                     struct rd_why *why) RD_MUST;
uint16_t rd_http_port(const struct rd_http_server *server);
/* Stops listening; open exchanges go on, and each connection ends with its next answer. */
void rd_http_quiesce(struct rd_http_server *server);
/* Cuts every connection; the suspended exchanges get their gone(), and still owe a reply. */
void rd_http_hang_up(struct rd_http_server *server);
unsigned rd_http_open_exchanges(struct rd_http_server *server);
unsigned rd_http_open_connections(struct rd_http_server *server);
/* Ends everything, also when it never served. Each suspended exchange must have had its reply. */
void rd_http_stop(struct rd_http_server *server);

/* The request. Texts live as long as the exchange. */
enum rd_http_method rd_http_request_method(const struct rd_http_exchange *exchange);
const char *rd_http_request_path(const struct rd_http_exchange *exchange); /* raw, without query */
const char *rd_http_request_header(struct rd_http_exchange *exchange,
                                   const char *name); /* or NULL */
/* The percent-decoded value; NULL when absent, "" when it cannot be decoded. */
const char *rd_http_request_query(struct rd_http_exchange *exchange, const char *name);
bool rd_http_request_length(struct rd_http_exchange *exchange, uint64_t *ret_content_length);
const char *rd_http_request_id(const struct rd_http_exchange *exchange); /* "req_..." */
struct rd_arena *rd_http_arena(struct rd_http_exchange *exchange);
uint64_t rd_http_started_ns(const struct rd_http_exchange *exchange); /* monotonic */
void rd_http_set_user(struct rd_http_exchange *exchange, void *user);
void *rd_http_user(const struct rd_http_exchange *exchange);
/* Why the server refused the request before headers() (RD_OK: it did not): headers() must reply it.
 */
rd_err rd_http_refusal(const struct rd_http_exchange *exchange);

/* Memory for requests is bounded, in all and for each party (whose request it is; set it before the
 * body comes). rd_http_hold counts `len` more bytes for this exchange, until its end; false when
 * that is too many: answer NO_MEMORY. Buffered bodies are counted by the server itself. */
void rd_http_hold_for(struct rd_http_exchange *exchange, uint64_t party);
bool rd_http_hold(struct rd_http_exchange *exchange, size_t len) RD_MUST;

/* Where the body goes; from headers() only. Default: a body is refused with TOO_LARGE. */
void rd_http_buffer_body(struct rd_http_exchange *exchange, size_t max);
/* Streams: `chunk` gets each piece; an error stops the stream, the rest is thrown away, and
 * request() sees it in rd_http_body_err. */
void rd_http_stream_body(struct rd_http_exchange *exchange,
                         rd_err (*chunk)(void *ctx, struct rd_http_exchange *exchange,
                                         const void *data, size_t len),
                         void *ctx);
const struct rd_buf *rd_http_body(const struct rd_http_exchange *exchange);
rd_err rd_http_body_err(const struct rd_http_exchange *exchange);
uint64_t rd_http_body_received(const struct rd_http_exchange *exchange);

/* The answer: collect status and headers, choose one body, then rd_http_reply. Values are copied; a
 * header whose value is NULL is left out. Should a part not be kept (no memory, no descriptor, too
 * many headers), then the connection is cut when the answer is due: less than was said is never
 * sent. */
enum {
    RD_HTTP_REPLY_HEADERS_MAX = 32,
    RD_HTTP_DRAIN_MAX = 4 << 20,         /* of a body that was refused before it came */
    RD_HTTP_DRAIN_FAILED_MAX = 64 << 20, /* of one that failed in its middle: a whole upload */
};
void rd_http_reply_header(struct rd_http_exchange *exchange, const char *name, const char *value);
void rd_http_reply_headerf(struct rd_http_exchange *exchange, const char *name, const char *fmt,
                           ...) RD_PRINTF(3, 4);
void rd_http_reply_text(struct rd_http_exchange *exchange, const char *data,
                        size_t len); /* copied */
/* A range of a file; `fd` is duplicated. */
void rd_http_reply_file(struct rd_http_exchange *exchange, int fd, uint64_t offset, uint64_t len);
/* Several pieces in a row: text (fd < 0, owned by the arena) and file ranges. */
struct rd_http_piece {
    const char *text;
    int fd; /* duplicated by the call */
    uint64_t offset, len;
};
void rd_http_reply_pieces(struct rd_http_exchange *exchange, const struct rd_http_piece *pieces,
                          size_t count);
/* Forgets what was collected for the answer so far (before an error replaces it). */
void rd_http_reply_reset(struct rd_http_exchange *exchange);
/* The answer is complete. For a suspended exchange from any thread, else from headers() or
 * request(), on their thread. */
void rd_http_reply(struct rd_http_exchange *exchange, int status);
int rd_http_reply_status(const struct rd_http_exchange *exchange);
uint64_t rd_http_reply_bytes(const struct rd_http_exchange *exchange);
/* From request() only: the reply comes later, and is owed even when the client is gone already. */
void rd_http_suspend(struct rd_http_exchange *exchange);

#endif
