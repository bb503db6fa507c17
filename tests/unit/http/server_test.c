/* SPDX-License-Identifier: Apache-2.0
 *
 * server.c: requests, bodies, limits and connections. Suspended answers are suspend_test.c's, what
 * an answer can be is exchange_test.c's. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "harness.h"

/* What the application saw. Filled on the server's threads, read by the test after the answer. */
struct seen {
    atomic_uint headers, requests, done, sent, chunks;
    size_t max;            /* for rd_http_buffer_body; SIZE_MAX: the route says nothing */
    bool stream, early;    /* stream the body; reply 403 from headers() */
    size_t chunk_fails_at; /* stream: an error after so many bytes; 0: never */
};

static rd_err on_chunk(void *ctx, struct rd_http_exchange *x, const void *data, size_t len)
{
    struct seen *seen = ctx;
    (void)data;
    assert_true(len > 0);
    atomic_fetch_add(&seen->chunks, 1);
    return seen->chunk_fails_at > 0 && rd_http_body_received(x) >= seen->chunk_fails_at
               ? RD_ERR_DISK_FULL
               : RD_OK;
}

static void on_headers(void *ctx, struct rd_http_exchange *x)
{
    struct seen *seen = ctx;
    atomic_fetch_add(&seen->headers, 1);
    if (rd_http_refusal(x) != RD_OK) {
        rd_http_reply(x, rd_err_info(rd_http_refusal(x))->http);
    } else if (seen->early) {
        rd_http_reply_text(x, "no", 2);
        rd_http_reply(x, 403);
    } else if (seen->stream) {
        rd_http_stream_body(x, on_chunk, seen);
    } else if (seen->max != SIZE_MAX) {
        rd_http_buffer_body(x, seen->max);
    }
}

/* "METHOD path length-of-body first-byte", or the error of the body. */
static void on_request(void *ctx, struct rd_http_exchange *x)
{
    struct seen *seen = ctx;
    atomic_fetch_add(&seen->requests, 1);
    rd_err err = rd_http_body_err(x);
    if (err != RD_OK) {
        rd_http_reply(x, rd_err_info(err)->http);
        return;
    }
    const struct rd_buf *body = rd_http_body(x);
    char text[512];
    (void)snprintf(text, sizeof text, "%s %s %llu %.1s",
                   rd_http_method_name(rd_http_request_method(x)), rd_http_request_path(x),
                   (unsigned long long)rd_http_body_received(x), rd_buf_cstr(body));
    harness_ok(x, text);
}

static void on_done(void *ctx, struct rd_http_exchange *x, bool sent)
{
    struct seen *seen = ctx;
    (void)x;
    atomic_fetch_add(&seen->done, 1);
    atomic_fetch_add(&seen->sent, sent ? 1 : 0);
}

static struct rd_http_server *start(struct seen *seen)
{
    const struct rd_http_app app = {
        .ctx = seen, .headers = on_headers, .request = on_request, .done = on_done};
    return harness_start(&app, 1);
}

static char *filled(size_t len)
{
    char *text = rd_mem_alloc(len + 1);
    assert_non_null(text);
    memset(text, 'x', len);
    return text;
}

static void expect_status(int fd, int status)
{
    struct harness_answer answer;
    assert_true(harness_read(fd, false, &answer));
    assert_int_equal(answer.status, status);
    harness_answer_done(&answer);
}

/* ---- requests ---- */

static void methods_and_raw_paths(void **state)
{
    (void)state;
    struct seen seen = {.max = 0};
    struct rd_http_server *server = start(&seen);
    int fd = harness_connect(server);
    static const char *const names[] = {"GET", "POST", "PUT", "DELETE", "OPTIONS"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char expected[64];
        harness_text(fd, "%s /a/%%2e%%2e/b?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
                     names[i]);
        (void)snprintf(expected, sizeof expected, "%s /a/%%2e%%2e/b 0 ", names[i]);
        harness_expect(fd, 200, expected);
    }
    harness_text(fd, "BREW /pot HTTP/1.1\r\nHost: h\r\n\r\n");
    harness_expect(fd, 200, "OTHER /pot 0 ");
    (void)close(fd);
    harness_stop(server);
    assert_int_equal(seen.done, 6);
    assert_int_equal(seen.sent, 6);
}

static void query_request(void *ctx, struct rd_http_exchange *x)
{
    (void)ctx;
    const char *a = rd_http_request_query(x, "a");
    const char *bb = rd_http_request_query(x, "bb");
    char text[256];
    (void)snprintf(text, sizeof text, "[%s][%s]", a == NULL ? "-" : a, bb == NULL ? "-" : bb);
    harness_ok(x, text);
}

static void queries_are_decoded_or_empty_or_absent(void **state)
{
    (void)state;
    static const struct {
        const char *query, *expected;
    } cases[] = {
        {"", "[-][-]"},
        {"?", "[-][-]"},
        {"?a=1&bb=2", "[1][2]"},
        {"?bb=2", "[-][2]"},
        {"?a=&bb", "[][-]"},
        {"?aa=1&abb=2", "[-][-]"},
        {"?a=x%20y+z%2B", "[x y z+][-]"},
        {"?a=1&a=2", "[1][-]"},
        {"?a=%c3%A9", "[\xc3\xa9][-]"},
        {"?a=%", "[][-]"},
        {"?a=%4", "[][-]"},
        {"?a=%zz", "[][-]"},
        {"?a=%00", "[][-]"},
        {"?a=1%26bb=3", "[1&bb=3][-]"},
    };
    const struct rd_http_app app = {.request = query_request};
    struct rd_http_server *server = harness_start(&app, 1);
    int fd = harness_connect(server);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        harness_text(fd, "GET /%s HTTP/1.1\r\nHost: h\r\n\r\n", cases[i].query);
        harness_expect(fd, 200, cases[i].expected);
    }
    (void)close(fd);
    harness_stop(server);
}

static void head_has_the_length_and_no_body(void **state)
{
    (void)state;
    struct seen seen = {.max = 0};
    struct rd_http_server *server = start(&seen);
    int fd = harness_connect(server);
    harness_text(fd, "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\nGET /y HTTP/1.1\r\nHost: h\r\n\r\n");
    struct harness_answer answer;
    char value[512];
    assert_true(harness_read(fd, true, &answer));
    assert_int_equal(answer.status, 200);
    assert_string_equal(harness_header(&answer, "Content-Length", value), "10"); /* "HEAD /x 0 " */
    harness_answer_done(&answer);
    harness_expect(fd, 200, "GET /y 0 ");
    (void)close(fd);
    harness_stop(server);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    enum { REQUESTS = 300 };
    struct seen seen = {.max = 100};
    struct rd_http_server *server = start(&seen);
    int fd = harness_connect(server);
    RD_AUTO_BUF struct rd_buf all;
    rd_buf_init(&all, 1 << 20);
    for (unsigned i = 0; i < REQUESTS; i++) {
        if (i % 3 == 0) {
            rd_buf_printf(&all, "POST /%u HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
                          i);
        } else {
            rd_buf_printf(&all, "GET /%u HTTP/1.1\r\nHost: h\r\n\r\n", i);
        }
    }
    harness_send(fd, all.data, all.len);
    for (unsigned i = 0; i < REQUESTS; i++) {
        char expected[64];
        (void)snprintf(expected, sizeof expected, i % 3 == 0 ? "POST /%u 5 h" : "GET /%u 0 ", i);
        harness_expect(fd, 200, expected);
    }
    (void)close(fd);
    harness_stop(server);
    assert_int_equal(seen.done, REQUESTS);
}

/* ---- bodies ---- */

enum { CONTENT_LENGTH, CHUNKED };

/* POSTs `len` bytes one way or the other, in pieces of 1000, and expects a status. */
static void post(int fd, size_t len, int how, int status)
{
    RD_AUTO_FREE char *body = filled(len);
    if (how == CONTENT_LENGTH) {
        harness_text(fd, "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", len);
    } else {
        harness_text(fd, "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    }
    for (size_t at = 0; at < len; at += 1000) {
        size_t piece = len - at < 1000 ? len - at : 1000;
        if (how == CHUNKED) {
            harness_text(fd, "%zx\r\n", piece);
        }
        harness_send(fd, body + at, piece);
        if (how == CHUNKED) {
            harness_text(fd, "\r\n");
        }
    }
    if (how == CHUNKED) {
        harness_text(fd, "0\r\n\r\n");
    }
    expect_status(fd, status);
}

static void buffered_bodies_to_the_byte(void **state)
{
    (void)state;
    static const size_t limits[] = {0, 1, 999, 70000};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct seen seen = {.max = limits[i]};
        struct rd_http_server *server = start(&seen);
        int fd = harness_connect(server);
        for (int how = CONTENT_LENGTH; how <= CHUNKED; how++) {
            post(fd, limits[i], how, 200);
            post(fd, limits[i] + 1, how, 413); /* drained: the connection stays good */
            post(fd, limits[i] + 100000, how, 413);
            post(fd, limits[i], how, 200);
        }
        (void)close(fd);
        harness_stop(server);
        assert_int_equal(seen.requests, 8);
        assert_int_equal(seen.sent, 8);
    }
}

static void a_route_that_says_nothing_takes_no_body(void **state)
{
    (void)state;
    struct seen seen = {.max = SIZE_MAX};
    struct rd_http_server *server = start(&seen);
    int fd = harness_connect(server);
    post(fd, 0, CONTENT_LENGTH, 200);
    post(fd, 1, CONTENT_LENGTH, 413);
    post(fd, 1, CHUNKED, 413);
    (void)close(fd);
    harness_stop(server);
}

static void streams_see_every_byte_until_an_error(void **state)
{
    (void)state;
    struct seen seen = {.stream = true};
    struct rd_http_server *server = start(&seen);
    int fd = harness_connect(server);
    post(fd, 1000000, CONTENT_LENGTH, 200);
    post(fd, 1000000, CHUNKED, 200);
    unsigned before = seen.chunks;
    seen.chunk_fails_at = 1; /* the first piece fails; nothing more is handed over */
    post(fd, 1000000, CONTENT_LENGTH, 507);
    assert_int_equal(seen.chunks, before + 1);
    post(fd, 2 * (size_t)RD_HTTP_DRAIN_MAX, CONTENT_LENGTH, 507);
    (void)close(fd);
    harness_stop(server);
    assert_int_equal(seen.done, 4);
}

static void a_refused_stream_that_goes_on_is_cut(void **state)
{
    (void)state;
    struct seen seen = {.stream = true, .chunk_fails_at = 1};
    struct rd_http_server *server = start(&seen);
    int fd = harness_connect(server);
    size_t len = RD_HTTP_DRAIN_FAILED_MAX + ((size_t)8 << 20);
    RD_AUTO_FREE char *body = filled(len);
    harness_text(fd, "PUT /p HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", len);
    bool all = harness_try_send(fd, body, len);
    struct harness_answer answer;
    /* Either the send breaks, or the kernel swallowed the rest; no answer 200 can come. */
    assert_false(all && harness_read(fd, false, &answer) && answer.status == 200);
    (void)close(fd);
    harness_stop(server);
    assert_int_equal(seen.done, 1);
    assert_int_equal(seen.sent, 0);
}

/* ---- early replies ---- */

static void early_replies_to_small_bodies_keep_the_connection(void **state)
{
    (void)state;
    struct seen seen = {.early = true};
    struct rd_http_server *server = start(&seen);
    int fd = harness_connect(server);
    harness_text(fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    harness_expect(fd, 403, "no");
    post(fd, 500, CONTENT_LENGTH, 403);
    post(fd, 500, CHUNKED, 403);
    post(fd, RD_HTTP_DRAIN_MAX, CONTENT_LENGTH, 403);
    post(fd, 0, CONTENT_LENGTH, 403);
    (void)close(fd);
    harness_stop(server);
    assert_int_equal(seen.requests, 0);
    assert_int_equal(seen.headers, 5);
    assert_int_equal(seen.sent, 5);
}

static void early_replies_to_large_bodies_come_before_the_body(void **state)
{
    (void)state;
    struct seen seen = {.early = true};
    struct rd_http_server *server = start(&seen);
    int fd = harness_connect(server);
    harness_text(fd, "PUT /p HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n",
                 RD_HTTP_DRAIN_MAX + 1);
    harness_expect(fd, 403, "no"); /* not a byte of the body was sent */
    harness_expect_closed(fd);
    (void)close(fd);
    harness_stop(server);
}

static void expect_100_continue(void **state)
{
    (void)state;
    struct seen seen = {.max = 100};
    struct rd_http_server *server = start(&seen);
    int fd = harness_connect(server);
    struct harness_answer answer;
    harness_text(fd,
                 "PUT /p HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_true(harness_read(fd, false, &answer));
    assert_int_equal(answer.status, 100);
    harness_answer_done(&answer);
    harness_text(fd, "hello");
    harness_expect(fd, 200, "PUT /p 5 h");
    (void)close(fd);
    seen.early = true; /* a refusal comes instead of the 100, whatever the body's size */
    static const int lengths[] = {5, RD_HTTP_DRAIN_MAX + 1};
    for (size_t i = 0; i < 2; i++) {
        fd = harness_connect(server);
        harness_text(
            fd, "PUT /p HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
            lengths[i]);
        harness_expect(fd, 403, "no");
        (void)close(fd);
    }
    harness_stop(server);
    assert_int_equal(seen.done, 3);
}

/* ---- limits ---- */

static void request_lines_to_the_byte(void **state)
{
    (void)state;
    struct seen seen = {.max = 0};
    struct rd_http_server *server = start(&seen);
    static const struct {
        size_t len;
        int status;
    } cases[] = {{RD_LIMIT_REQUEST_LINE, 200}, {RD_LIMIT_REQUEST_LINE + 1, 414}, {20000, 414}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int fd = harness_connect(server);
        RD_AUTO_FREE char *path = filled(cases[i].len);
        path[0] = '/';
        path[3] = '?';
        harness_text(fd, "GET ");
        harness_send(fd, path, cases[i].len);
        harness_text(fd, " HTTP/1.1\r\nHost: h\r\n\r\n");
        expect_status(fd, cases[i].status);
        (void)close(fd);
    }
    harness_stop(server);
}

static void header_fields_to_the_last(void **state)
{
    (void)state;
    struct seen seen = {.max = 0};
    struct rd_http_server *server = start(&seen);
    int fd = harness_connect(server);
    for (unsigned fields = RD_LIMIT_HEADER_FIELDS; fields <= RD_LIMIT_HEADER_FIELDS + 1; fields++) {
        RD_AUTO_BUF struct rd_buf text;
        rd_buf_init(&text, 65536);
        rd_buf_str(&text, "GET / HTTP/1.1\r\nHost: h\r\n");
        for (unsigned i = 1; i < fields; i++) {
            rd_buf_printf(&text, "X-%u: y\r\n", i);
        }
        rd_buf_str(&text, "\r\n");
        harness_send(fd, text.data, text.len);
        expect_status(fd, fields <= RD_LIMIT_HEADER_FIELDS ? 200 : 431);
    }
    (void)close(fd);
    harness_stop(server);
}

static void header_blocks_to_the_byte(void **state)
{
    (void)state;
    struct seen seen = {.max = 0};
    struct rd_http_server *server = start(&seen);
    /* "Host: h" counts 9 bytes with its line end; "X: value" the value and 5. */
    static const size_t rooms[] = {RD_LIMIT_HEADER_BLOCK, RD_LIMIT_HEADER_BLOCK + 1,
                                   2 * RD_LIMIT_HEADER_BLOCK};
    for (size_t i = 0; i < sizeof rooms / sizeof rooms[0]; i++) {
        int fd = harness_connect(server);
        size_t len = rooms[i] - 9 - 5;
        RD_AUTO_FREE char *value = filled(len);
        harness_text(fd, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
        /* libmicrohttpd may refuse, and close, before it has read all of the last one */
        if (harness_try_send(fd, value, len)) {
            (void)harness_try_send(fd, "\r\n\r\n", 4);
        }
        expect_status(fd, i == 0 ? 200 : 431);
        (void)close(fd);
    }
    harness_stop(server);
}

static void lengths_that_lie_or_quarrel(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "Content-Length: x\r\n",           "Content-Length: -1\r\n",
        "Content-Length: 5 5\r\n",         "Content-Length: 99999999999999999999999999\r\n",
        "Transfer-Encoding: nonsense\r\n",
    };
    struct seen seen = {.max = 100};
    struct rd_http_server *server = start(&seen);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        int fd = harness_connect(server);
        harness_text(fd, "POST /p HTTP/1.1\r\nHost: h\r\n%s\r\nhello", refused[i]);
        struct harness_answer answer;
        if (harness_read(fd, false, &answer)) {
            if (answer.status < 400) {
                fail_msg("%s gave %d", refused[i], answer.status);
            }
            harness_answer_done(&answer);
        }
        (void)close(fd);
    }
    harness_stop(server);
    assert_int_equal(seen.headers, seen.done);
}

/* ---- connections ---- */

static void a_client_that_leaves_in_the_body_ends_its_exchange(void **state)
{
    (void)state;
    struct seen seen = {.max = 100000};
    struct rd_http_server *server = start(&seen);
    static const char *const parts[] = {
        "",
        "GET",
        "POST /p HTTP/1.1\r\nHost: h\r\n",
        "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n",
        "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\nhalf",
        "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf",
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        int fd = harness_connect(server);
        harness_text(fd, "%s", parts[i]);
        (void)close(fd);
    }
    harness_stop(server);
    assert_int_equal(seen.requests, 0);
    assert_int_equal(seen.sent, 0);
    assert_int_equal(seen.headers, seen.done);
}

static void two_hundred_connections_at_once(void **state)
{
    (void)state;
    enum { CONNECTIONS = 200, ROUNDS = 3 };
    struct seen seen = {.max = 10};
    const struct rd_http_app app = {
        .ctx = &seen, .headers = on_headers, .request = on_request, .done = on_done};
    struct rd_http_server *server = harness_start(&app, 4);
    int fds[CONNECTIONS];
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        fds[i] = harness_connect(server);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < CONNECTIONS; i++) {
            harness_text(fds[i], "POST /%u HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab", i);
        }
        for (unsigned i = 0; i < CONNECTIONS; i++) {
            char expected[64];
            (void)snprintf(expected, sizeof expected, "POST /%u 2 a", i);
            harness_expect(fds[i], 200, expected);
        }
        assert_int_equal(rd_http_open_connections(server), CONNECTIONS);
    }
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        (void)close(fds[i]);
    }
    harness_stop(server);
    assert_int_equal(seen.done, CONNECTIONS * ROUNDS);
}

static sem_t burst_entered, burst_go;

static void burst_request(void *ctx, struct rd_http_exchange *x)
{
    (void)ctx;
    if (strcmp(rd_http_request_path(x), "/wait") == 0) {
        (void)sem_post(&burst_entered);
        (void)sem_wait(&burst_go);
    }
    harness_ok(x, "answered");
}

/* Exactly as many requests at once as libmicrohttpd fetches at once: see loop.c. */
static void a_burst_of_any_size_is_answered_at_once(void **state)
{
    (void)state;
    enum { FEWEST = 124, MOST = 132 };
    const struct rd_http_app app = {.request = burst_request};
    assert_int_equal(sem_init(&burst_entered, 0, 0), 0);
    assert_int_equal(sem_init(&burst_go, 0, 0), 0);
    struct rd_http_server *server = harness_start(&app, 1);
    int fds[MOST + 1];
    for (unsigned i = 0; i <= MOST; i++) {
        fds[i] = harness_connect(server);
        harness_text(fds[i], "GET /first HTTP/1.1\r\nHost: h\r\n\r\n");
        harness_expect(fds[i], 200, "answered");
    }
    for (unsigned count = FEWEST; count <= MOST; count++) {
        harness_text(fds[MOST], "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
        (void)sem_wait(&burst_entered); /* the loop stands still while the burst comes in */
        for (unsigned i = 0; i < count; i++) {
            harness_text(fds[i], "GET /burst HTTP/1.1\r\nHost: h\r\n\r\n");
        }
        uint64_t started_ms = harness_now_ms();
        (void)sem_post(&burst_go);
        harness_expect(fds[MOST], 200, "answered");
        for (unsigned i = 0; i < count; i++) {
            harness_expect(fds[i], 200, "answered");
        }
        assert_true(harness_now_ms() - started_ms < 5000);
    }
    for (unsigned i = 0; i <= MOST; i++) {
        (void)close(fds[i]);
    }
    harness_stop(server);
    (void)sem_destroy(&burst_entered);
    (void)sem_destroy(&burst_go);
}

static void quiesce_keeps_what_is_open(void **state)
{
    (void)state;
    struct seen seen = {.max = 0};
    struct rd_http_server *server = start(&seen);
    int fd = harness_connect(server);
    harness_text(fd, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n");
    harness_expect(fd, 200, "GET /1 0 ");
    rd_http_quiesce(server);
    harness_text(fd, "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
    harness_expect(fd, 200, "GET /2 0 ");
    /* the port is free again: somebody else can listen there */
    const struct rd_http_options options = {
        .host = "127.0.0.1", .port = rd_http_port(server), .threads = 1};
    struct rd_http_server *other = NULL;
    assert_int_equal(rd_http_listen(&options, &other, NULL), RD_OK);
    rd_http_stop(other);
    (void)close(fd);
    harness_stop(server);
}

/* Stopping to listen while workers accept: libmicrohttpd's own way to do that aborts now and then.
 */
static void quiesce_while_clients_come(void **state)
{
    (void)state;
    enum { ROUNDS = 60, CLIENTS = 6 };
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct seen seen = {.max = 0};
        struct rd_http_server *server = start(&seen);
        int fds[CLIENTS];
        for (unsigned i = 0; i < CLIENTS; i++) {
            fds[i] = harness_connect(server);
            if (i == round % CLIENTS) {
                rd_http_quiesce(server);
                for (unsigned k = i + 1; k < CLIENTS; k++) {
                    fds[k] = -1;
                }
                break;
            }
        }
        for (unsigned i = 0; i < CLIENTS; i++) {
            if (fds[i] >= 0) {
                (void)close(fds[i]);
            }
        }
        harness_stop(server);
    }
}

static void what_cannot_be_listened_on(void **state)
{
    (void)state;
    const struct rd_http_options free_port = {.host = "127.0.0.1", .port = 0, .threads = 1};
    struct rd_http_server *first = NULL;
    struct rd_http_server *second = NULL;
    struct rd_why why = {""};
    assert_int_equal(rd_http_listen(&free_port, &first, &why), RD_OK);
    assert_true(rd_http_port(first) > 0);
    const struct rd_http_options taken = {
        .host = "127.0.0.1", .port = rd_http_port(first), .threads = 1};
    assert_int_not_equal(rd_http_listen(&taken, &second, &why), RD_OK);
    assert_non_null(strstr(why.text, "Address already in use"));
    assert_null(second);
    const struct rd_http_options elsewhere = {.host = "192.0.2.1", .port = 0, .threads = 1};
    assert_int_not_equal(rd_http_listen(&elsewhere, &second, &why), RD_OK);
    assert_non_null(strstr(why.text, "192.0.2.1"));
    rd_http_stop(first); /* it never served */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods_and_raw_paths),
        cmocka_unit_test(queries_are_decoded_or_empty_or_absent),
        cmocka_unit_test(head_has_the_length_and_no_body),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(buffered_bodies_to_the_byte),
        cmocka_unit_test(a_route_that_says_nothing_takes_no_body),
        cmocka_unit_test(streams_see_every_byte_until_an_error),
        cmocka_unit_test(a_refused_stream_that_goes_on_is_cut),
        cmocka_unit_test(early_replies_to_small_bodies_keep_the_connection),
        cmocka_unit_test(early_replies_to_large_bodies_come_before_the_body),
        cmocka_unit_test(expect_100_continue),
        cmocka_unit_test(request_lines_to_the_byte),
        cmocka_unit_test(header_fields_to_the_last),
        cmocka_unit_test(header_blocks_to_the_byte),
        cmocka_unit_test(lengths_that_lie_or_quarrel),
        cmocka_unit_test(a_client_that_leaves_in_the_body_ends_its_exchange),
        cmocka_unit_test(two_hundred_connections_at_once),
        cmocka_unit_test(a_burst_of_any_size_is_answered_at_once),
        cmocka_unit_test(quiesce_keeps_what_is_open),
        cmocka_unit_test(quiesce_while_clients_come),
        cmocka_unit_test(what_cannot_be_listened_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
