/* SPDX-License-Identifier: Apache-2.0
 *
 * See harness.h. Reading is one byte at a time until the empty line: slow, and never more than the
 * answer, so that pipelined answers stay in the socket. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static void no_exchange(void *ctx, struct rd_http_exchange *exchange)
{
    (void)ctx;
    (void)exchange;
}

static void no_done(void *ctx, struct rd_http_exchange *exchange, bool sent)
{
    (void)ctx;
    (void)exchange;
    (void)sent;
}

uint64_t harness_now_ms(void)
{
    return rd_clock_mono_ns() / 1000000;
}

struct rd_http_server *harness_start(const struct rd_http_app *app, unsigned threads)
{
    struct rd_http_app whole = *app;
    whole.headers = whole.headers == NULL ? no_exchange : whole.headers;
    whole.request = whole.request == NULL ? no_exchange : whole.request;
    whole.gone = whole.gone == NULL ? no_exchange : whole.gone;
    whole.done = whole.done == NULL ? no_done : whole.done;
    const struct rd_http_options options = {.host = "127.0.0.1", .port = 0, .threads = threads};
    struct rd_http_server *server = NULL;
    struct rd_why why = {""};
    if (rd_http_listen(&options, &server, &why) != RD_OK ||
        rd_http_serve(server, &whole, &why) != RD_OK) {
        fail_msg("no server: %s", why.text);
    }
    return server;
}

void harness_stop(struct rd_http_server *server)
{
    uint64_t until = harness_now_ms() + HARNESS_PATIENCE_MS;
    while (rd_http_open_exchanges(server) > 0 || rd_http_open_connections(server) > 0) {
        if (harness_now_ms() > until) {
            fail_msg("%u exchanges and %u connections are still open",
                     rd_http_open_exchanges(server), rd_http_open_connections(server));
        }
        (void)poll(NULL, 0, 1);
    }
    rd_http_stop(server);
}

void harness_ok(struct rd_http_exchange *exchange, const char *text)
{
    rd_http_reply_text(exchange, text, strlen(text));
    rd_http_reply(exchange, 200);
}

/* ---- the client ---- */

int harness_connect(const struct rd_http_server *server)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(rd_http_port(server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), 0);
    struct timeval patience = {.tv_sec = HARNESS_PATIENCE_MS / 1000};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), 0);
    return fd;
}

bool harness_try_send(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0) {
        ssize_t sent = send(fd, p, len, MSG_NOSIGNAL);
        if (sent <= 0) {
            if (errno == EAGAIN) {
                fail_msg("the server takes nothing more and does not close");
            }
            return false;
        }
        p += sent;
        len -= (size_t)sent;
    }
    return true;
}

void harness_send(int fd, const void *data, size_t len)
{
    assert_true(harness_try_send(fd, data, len));
}

void harness_text(int fd, const char *fmt, ...)
{
    RD_AUTO_BUF struct rd_buf text;
    char piece[8192];
    va_list args;
    rd_buf_init(&text, sizeof piece);
    va_start(args, fmt);
    int len = vsnprintf(piece, sizeof piece, fmt, args);
    va_end(args);
    assert_true(len >= 0 && (size_t)len < sizeof piece);
    harness_send(fd, piece, (size_t)len);
}

/* One byte, or -1 at the end of the connection (a reset is one too). */
static int read_byte(int fd)
{
    unsigned char byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    if (got < 0 && errno == EAGAIN) {
        fail_msg("no answer within %d ms", HARNESS_PATIENCE_MS);
    }
    return got == 1 ? byte : -1;
}

const char *harness_header(const struct harness_answer *answer, const char *name, char *out)
{
    size_t len = strlen(name);
    for (const char *line = strstr(answer->head, "\r\n"); line != NULL;
         line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            size_t from = len + 1 + strspn(line + len + 1, " ");
            (void)snprintf(out, 512, "%.*s", (int)strcspn(line + from, "\r"), line + from);
            return out;
        }
    }
    return NULL;
}

static void read_body(int fd, struct harness_answer *ret)
{
    char value[512];
    unsigned long long left = 0;
    if (harness_header(ret, "Content-Length", value) == NULL || sscanf(value, "%llu", &left) != 1) {
        fail_msg("an answer without Content-Length:\n%s", ret->head);
    }
    while (left > 0) {
        char *room = rd_buf_reserve(&ret->body, left < 65536 ? (size_t)left : 65536);
        assert_non_null(room);
        ssize_t got = recv(fd, room, left < 65536 ? (size_t)left : 65536, 0);
        if (got <= 0) {
            fail_msg("the body ends %llu bytes early", left);
        }
        rd_buf_commit(&ret->body, (size_t)got);
        left -= (unsigned long long)got;
    }
}

bool harness_read(int fd, bool is_head, struct harness_answer *ret)
{
    size_t len = 0;
    ret->head[0] = '\0';
    rd_buf_init(&ret->body, HARNESS_BODY_MAX);
    while (len < 4 || memcmp(ret->head + len - 4, "\r\n\r\n", 4) != 0) {
        int byte = read_byte(fd);
        if (byte < 0 && len == 0) {
            return false;
        }
        if (byte < 0 || len + 1 >= sizeof ret->head) {
            fail_msg("the head of an answer ends early: %.*s", (int)len, ret->head);
        }
        ret->head[len++] = (char)byte;
        ret->head[len] = '\0';
    }
    if (sscanf(ret->head, "HTTP/1.%*1[01] %3d ", &ret->status) != 1) {
        fail_msg("no status line: %s", ret->head);
    }
    bool bodyless = is_head || ret->status < 200 || ret->status == 204 || ret->status == 304;
    if (!bodyless) {
        read_body(fd, ret);
    }
    return true;
}

void harness_answer_done(struct harness_answer *answer)
{
    rd_buf_done(&answer->body);
}

void harness_expect(int fd, int status, const char *body)
{
    struct harness_answer answer;
    assert_true(harness_read(fd, false, &answer));
    if (answer.status != status || strcmp(rd_buf_cstr(&answer.body), body) != 0) {
        fail_msg("expected %d \"%s\", got %d \"%s\"", status, body, answer.status,
                 rd_buf_cstr(&answer.body));
    }
    harness_answer_done(&answer);
}

void harness_expect_closed(int fd)
{
    int byte = read_byte(fd);
    if (byte >= 0) {
        fail_msg("a byte (%02x) where the end of the connection was expected", (unsigned)byte);
    }
}
