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
    /* The client of a suspended exchange has left, or of one that streams. From the watcher thread;
     * a reply, or the end of the stream, is still owed. Never called after rd_http_reply; it may
     * still be running when rd_http_stream_end returns, and never after done(). */
    void (*gone)(void *ctx, struct rd_http_exchange *exchange);
    /* The last call: the answer is sent (`sent`), or the client is gone. Release what hangs on it.
     * A stream's comes from the watcher thread. */
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
/* Cuts every connection; exchanges that are suspended or stream get their gone(), and still owe a
 * reply or an end. Who took an upgraded connection reads its end. */
void rd_http_hang_up(struct rd_http_server *server);
unsigned rd_http_open_exchanges(struct rd_http_server *server);
unsigned rd_http_open_connections(struct rd_http_server *server);
/* Ends everything, also when it never served. Each suspended exchange must have had its reply, each
 * stream its end, and each upgraded connection must have been closed. */
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

/* An answer whose end nobody knows yet, as server-sent events: status and the collected headers,
 * and then what is written, until rd_http_stream_end. Instead of rd_http_reply, and from where that
 * may be called. HTTP/1.1 gets chunks, HTTP/1.0 gets it until the connection ends; the connection
 * ends with the stream in any case. From now on no rd_http_request_* but id, method and path.
 *
 * When the client leaves, or takes nothing for RD_LIMIT_IDLE_TIME_MS while something waits, then
 * gone() is called once; the end is still owed. A HEAD request gets its headers, nothing that is
 * written, and then gone(). done() comes after the end, when all is sent or the client is gone; its
 * `sent` says whether all was sent. Nothing here calls back into the application, so write, waiting
 * and end may be called from any thread, under locks that gone() and done() take, and from gone()
 * itself. */
enum { RD_HTTP_STREAM_BUFFER = 256 * 1024 };
void rd_http_reply_stream(struct rd_http_exchange *exchange, int status);
/* Sends, or copies what the client does not take at once. False, and nothing taken: more than
 * RD_HTTP_STREAM_BUFFER would wait (framing included, so one record may have 200 KiB), or the
 * client is gone. What two threads write at the same time comes whole, in some order. */
bool rd_http_stream_write(struct rd_http_exchange *exchange, const void *data, size_t len) RD_MUST;
/* Bytes that the client's socket has not taken yet. */
size_t rd_http_stream_waiting(struct rd_http_exchange *exchange);
/* Exactly once, and the last call: when it returns, the exchange may be gone. */
void rd_http_stream_end(struct rd_http_exchange *exchange);

/* Leaves HTTP: 101 with the collected headers, Upgrade: `protocol` and Connection: Upgrade. Instead
 * of rd_http_reply, and from where that may be called; the request must be HTTP/1.1, without a
 * body, and have asked for it. `protocol` must live until done().
 *
 * When the 101 is sent, `taken` is called once, on an HTTP thread: do little there. It gets the
 * socket (non-blocking, close-on-exec) and in `extra` what the client sent behind its request,
 * which is only valid during the call. The exchange ends right after, with done(sent = true). When
 * the 101 could not be sent, `taken` is never called, and done() says sent = false: free `ctx`
 * there.
 *
 * From `taken` on the socket belongs to whoever took it: any thread may read, write, poll and shut
 * it, as they agree among themselves; the server does none of it, sets no deadlines, and never
 * calls gone(). The one exception is rd_http_hang_up, which shuts it. It still counts as a
 * connection. Nobody may close() it, except by rd_http_upgrade_close: exactly once, from any thread
 * also inside `taken`, after the last use of the socket and before rd_http_stop. */
typedef void rd_http_taken(void *ctx, int fd, const void *extra, size_t extra_len, void *handle);
void rd_http_reply_upgrade(struct rd_http_exchange *exchange, const char *protocol,
                           rd_http_taken *taken, void *ctx);
void rd_http_upgrade_close(void *handle);

/* From request() only: the reply comes later, and is owed even when the client is gone already. */
void rd_http_suspend(struct rd_http_exchange *exchange);

#endif
