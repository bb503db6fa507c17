/* SPDX-License-Identifier: Apache-2.0
 *
 * stream.c: answers of unknown length. The promises of server.h that are tested here: what is
 * written arrives, in order and whole, on HTTP/1.1 and 1.0; no more than the buffer waits; gone()
 * comes once and done() last; and the server quiesces, hangs up and stops with streams open. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "harness.h"

enum { STREAMS_MAX = 256 };

/* The streams of a test, in the order of their requests, and what was heard of them. */
struct stage {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct rd_http_exchange *streams[STREAMS_MAX];
    unsigned opened, gone, done, sent;
    bool later;        /* suspend; the test starts the stream */
    bool ends_if_gone; /* gone() itself ends the stream */
    uint64_t bytes;    /* of the last that was done */
};

static void on_request(void *ctx, struct rd_http_exchange *x)
{
    struct stage *stage = ctx;
    pthread_mutex_lock(&stage->lock);
    bool later = stage->later;
    pthread_mutex_unlock(&stage->lock);
    if (later) {
        rd_http_suspend(x);
    } else {
        rd_http_reply_header(x, "Content-Type", "text/event-stream");
        rd_http_reply_stream(x, 200);
    }
    pthread_mutex_lock(&stage->lock);
    stage->streams[stage->opened++] = x;
    pthread_cond_broadcast(&stage->changed);
    pthread_mutex_unlock(&stage->lock);
}

static void on_gone(void *ctx, struct rd_http_exchange *x)
{
    struct stage *stage = ctx;
    pthread_mutex_lock(&stage->lock);
    stage->gone++;
    if (stage->ends_if_gone) {
        rd_http_stream_end(x); /* under a lock that done() takes as well */
    }
    pthread_cond_broadcast(&stage->changed);
    pthread_mutex_unlock(&stage->lock);
}

static void on_done(void *ctx, struct rd_http_exchange *x, bool sent)
{
    struct stage *stage = ctx;
    pthread_mutex_lock(&stage->lock);
    stage->done++;
    stage->sent += sent ? 1 : 0;
    stage->bytes = rd_http_reply_bytes(x);
    assert_int_equal(rd_http_reply_status(x), 200);
    pthread_cond_broadcast(&stage->changed);
    pthread_mutex_unlock(&stage->lock);
}

static struct rd_http_server *start(struct stage *stage, unsigned threads)
{
    memset(stage, 0, sizeof *stage);
    assert_int_equal(pthread_mutex_init(&stage->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&stage->changed, NULL), 0);
    const struct rd_http_app app = {
        .ctx = stage, .request = on_request, .gone = on_gone, .done = on_done};
    return harness_start(&app, threads);
}

static void set(struct stage *stage, bool *flag)
{
    pthread_mutex_lock(&stage->lock);
    *flag = true;
    pthread_mutex_unlock(&stage->lock);
}

static void stop(struct stage *stage, struct rd_http_server *server)
{
    harness_stop(server);
    assert_int_equal(stage->done, stage->opened);
    (void)pthread_cond_destroy(&stage->changed);
    (void)pthread_mutex_destroy(&stage->lock);
}

static void wait_for(struct stage *stage, const unsigned *count, unsigned least)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += HARNESS_PATIENCE_MS / 1000;
    int timed_out = 0;
    pthread_mutex_lock(&stage->lock);
    while (*count < least && timed_out == 0) {
        timed_out = pthread_cond_timedwait(&stage->changed, &stage->lock, &until);
    }
    unsigned have = *count;
    pthread_mutex_unlock(&stage->lock);
    if (have < least) {
        fail_msg("%u instead of %u", have, least);
    }
}

static struct rd_http_exchange *stream(struct stage *stage, unsigned index)
{
    wait_for(stage, &stage->opened, index + 1);
    pthread_mutex_lock(&stage->lock);
    struct rd_http_exchange *x = stage->streams[index];
    pthread_mutex_unlock(&stage->lock);
    return x;
}

static const char get[] = "GET /events HTTP/1.1\r\nHost: h\r\n\r\n";

/* Reads exactly `len` bytes of what the test wrote. */
static void read_exactly(int fd, char *out, size_t len)
{
    for (size_t have = 0; have < len;) {
        ssize_t got = recv(fd, out + have, len - have, 0);
        if (got <= 0) {
            fail_msg("%zu of %zu bytes", have, len);
        }
        have += (size_t)got;
    }
}

static void expect_text(int fd, const char *text)
{
    char got[4096];
    read_exactly(fd, got, strlen(text));
    assert_memory_equal(got, text, strlen(text));
}

/* The head, and that it is a stream's. */
static void expect_head(int fd, bool chunked)
{
    char head[4096];
    char value[512];
    struct harness_answer answer;
    size_t len = 0;
    while (len < 4 || memcmp(head + len - 4, "\r\n\r\n", 4) != 0) {
        assert_true(len < sizeof head - 1);
        read_exactly(fd, head + len++, 1);
    }
    head[len] = '\0';
    (void)snprintf(answer.head, sizeof answer.head, "%s", head);
    assert_memory_equal(head, "HTTP/1.1 200 OK\r\n", 17);
    assert_string_equal(harness_header(&answer, "Content-Type", value), "text/event-stream");
    assert_string_equal(harness_header(&answer, "Connection", value), "close");
    assert_non_null(harness_header(&answer, "Date", value));
    assert_null(harness_header(&answer, "Content-Length", value));
    const char *coding = harness_header(&answer, "Transfer-Encoding", value);
    if (chunked) {
        assert_non_null(coding);
        assert_string_equal(coding, "chunked");
    } else {
        assert_null(coding);
    }
}

static void what_is_written_arrives_at_once(void **state)
{
    (void)state;
    struct stage stage;
    struct rd_http_server *server = start(&stage, 1);
    int fd = harness_connect(server);
    harness_text(fd, "%s", get);
    struct rd_http_exchange *x = stream(&stage, 0);
    expect_head(fd, true);
    assert_true(rd_http_stream_write(x, "data: 1\n\n", 9));
    expect_text(fd, "9\r\ndata: 1\n\n\r\n");
    assert_true(rd_http_stream_write(x, "", 0)); /* no chunk: an empty one would be the end */
    assert_true(rd_http_stream_write(x, "data: second\n\n", 14));
    expect_text(fd, "e\r\ndata: second\n\n\r\n");
    assert_int_equal(rd_http_stream_waiting(x), 0);
    rd_http_stream_end(x);
    expect_text(fd, "0\r\n\r\n");
    harness_expect_closed(fd);
    (void)close(fd);
    stop(&stage, server);
    assert_int_equal(stage.sent, 1);
    assert_int_equal(stage.gone, 0);
    assert_int_equal(stage.bytes, 23);
}

static void http_1_0_gets_it_until_the_end_of_the_connection(void **state)
{
    (void)state;
    struct stage stage;
    struct rd_http_server *server = start(&stage, 1);
    int fd = harness_connect(server);
    harness_text(fd, "GET /events HTTP/1.0\r\n\r\n");
    struct rd_http_exchange *x = stream(&stage, 0);
    expect_head(fd, false);
    assert_true(rd_http_stream_write(x, "data: 1\n\n", 9));
    expect_text(fd, "data: 1\n\n");
    rd_http_stream_end(x);
    harness_expect_closed(fd);
    (void)close(fd);
    stop(&stage, server);
    assert_int_equal(stage.sent, 1);
}

/* On a connection that had an answer before, and with a body that is read first. */
static void a_stream_begun_by_another_thread(void **state)
{
    (void)state;
    struct stage stage;
    struct rd_http_server *server = start(&stage, 2);
    set(&stage, &stage.later);
    int fd = harness_connect(server);
    harness_text(fd, "%s", get);
    struct rd_http_exchange *x = stream(&stage, 0);
    harness_ok(x, "first");
    harness_expect(fd, 200, "first");
    harness_text(fd, "%s", get);
    x = stream(&stage, 1);
    rd_http_reply_header(x, "Content-Type", "text/event-stream");
    rd_http_reply_stream(x, 200);
    assert_true(rd_http_stream_write(x, "a\n", 2)); /* perhaps before it has the socket */
    assert_true(rd_http_stream_write(x, "b\n", 2));
    expect_head(fd, true);
    expect_text(fd, "2\r\na\n\r\n2\r\nb\n\r\n");
    rd_http_stream_end(x);
    expect_text(fd, "0\r\n\r\n");
    harness_expect_closed(fd);
    (void)close(fd);
    stop(&stage, server);
    assert_int_equal(stage.sent, 2);
}

static void a_stream_that_ends_at_once(void **state)
{
    (void)state;
    struct stage stage;
    struct rd_http_server *server = start(&stage, 2);
    set(&stage, &stage.later);
    for (unsigned i = 0; i < 50; i++) {
        int fd = harness_connect(server);
        harness_text(fd, "%s", get);
        struct rd_http_exchange *x = stream(&stage, i);
        rd_http_reply_header(x, "Content-Type", "text/event-stream");
        rd_http_reply_stream(x, 200);
        assert_true(rd_http_stream_write(x, "only\n", 5));
        rd_http_stream_end(x);
        expect_head(fd, true);
        expect_text(fd, "5\r\nonly\n\r\n0\r\n\r\n");
        harness_expect_closed(fd);
        (void)close(fd);
    }
    stop(&stage, server);
    assert_int_equal(stage.sent, 50);
    assert_int_equal(stage.gone, 0);
}

static void a_head_request_gets_no_stream(void **state)
{
    (void)state;
    struct stage stage;
    struct rd_http_server *server = start(&stage, 1);
    int fd = harness_connect(server);
    harness_text(fd, "HEAD /events HTTP/1.1\r\nHost: h\r\n\r\n");
    struct rd_http_exchange *x = stream(&stage, 0);
    expect_head(fd, true);
    wait_for(&stage, &stage.gone, 1);
    assert_false(rd_http_stream_write(x, "data: 1\n\n", 9));
    rd_http_stream_end(x);
    harness_expect_closed(fd);
    (void)close(fd);
    stop(&stage, server);
    assert_int_equal(stage.sent, 1);
}

/* The greatest record, to a client that does not read: it waits, and no more than the buffer. */
static void no_more_than_the_buffer_waits(void **state)
{
    (void)state;
    enum { RECORD = 200 * 1024 };
    struct stage stage;
    struct rd_http_server *server = start(&stage, 1);
    char *record = rd_mem_alloc(RD_HTTP_STREAM_BUFFER + 1);
    assert_non_null(record);
    memset(record, 'x', RD_HTTP_STREAM_BUFFER + 1);
    int fd = harness_connect(server);
    harness_text(fd, "GET /events HTTP/1.0\r\n\r\n");
    struct rd_http_exchange *x = stream(&stage, 0);
    expect_head(fd, false);
    assert_false(rd_http_stream_write(x, record, RD_HTTP_STREAM_BUFFER + 1));
    size_t written = 0;
    while (rd_http_stream_write(x, record, RECORD)) {
        written += RECORD;
        assert_true(rd_http_stream_waiting(x) <= RD_HTTP_STREAM_BUFFER);
        assert_true(written < (size_t)64 << 20);
    }
    size_t room = RD_HTTP_STREAM_BUFFER - rd_http_stream_waiting(x);
    assert_true(room < RECORD);
    assert_false(rd_http_stream_write(x, record, room + 1));
    assert_true(rd_http_stream_write(x, record, room)); /* to the byte */
    written += room;
    assert_int_equal(rd_http_stream_waiting(x), RD_HTTP_STREAM_BUFFER);
    for (size_t left = written; left > 0;) {
        ssize_t got = recv(fd, record, left < RECORD ? left : RECORD, 0);
        assert_true(got > 0);
        left -= (size_t)got;
    }
    assert_int_equal(rd_http_stream_waiting(x), 0);
    rd_http_stream_end(x);
    harness_expect_closed(fd);
    (void)close(fd);
    rd_mem_free(record);
    stop(&stage, server);
    assert_int_equal(stage.bytes, written);
    assert_int_equal(stage.sent, 1);
}

/* The end waits for what waits. */
static void the_end_comes_behind_all_the_rest(void **state)
{
    (void)state;
    enum { RECORD = 200 * 1024 };
    struct stage stage;
    struct rd_http_server *server = start(&stage, 1);
    char *record = rd_mem_alloc(RECORD);
    assert_non_null(record);
    int fd = harness_connect(server);
    harness_text(fd, "GET /events HTTP/1.0\r\n\r\n");
    struct rd_http_exchange *x = stream(&stage, 0);
    expect_head(fd, false);
    size_t written = 0;
    while (rd_http_stream_write(x, record, RECORD)) {
        written += RECORD;
    }
    rd_http_stream_end(x);
    for (ssize_t got = 1; got > 0;) {
        got = recv(fd, record, RECORD, 0);
        assert_true(got >= 0);
        written -= (size_t)got;
    }
    assert_int_equal(written, 0);
    (void)close(fd);
    rd_mem_free(record);
    stop(&stage, server);
    assert_int_equal(stage.sent, 1);
}

static void a_client_that_leaves_is_noticed(void **state)
{
    (void)state;
    struct stage stage;
    struct rd_http_server *server = start(&stage, 1);
    int fd = harness_connect(server);
    harness_text(fd, "%s", get);
    struct rd_http_exchange *x = stream(&stage, 0);
    expect_head(fd, true);
    (void)close(fd);
    wait_for(&stage, &stage.gone, 1);
    assert_false(rd_http_stream_write(x, "x", 1));
    assert_int_equal(stage.done, 0);
    rd_http_stream_end(x);
    wait_for(&stage, &stage.done, 1);
    set(&stage, &stage.ends_if_gone);
    fd = harness_connect(server);
    harness_text(fd, "%s", get);
    (void)stream(&stage, 1);
    (void)close(fd); /* perhaps before the head is sent */
    wait_for(&stage, &stage.done, 2);
    stop(&stage, server);
    assert_int_equal(stage.gone, 2);
    assert_int_equal(stage.sent, 0);
}

/* With a reset, and while much waits. */
static void a_client_that_resets_in_the_middle(void **state)
{
    (void)state;
    enum { RECORD = 200 * 1024 };
    struct stage stage;
    struct rd_http_server *server = start(&stage, 1);
    char *record = rd_mem_alloc(RECORD);
    assert_non_null(record);
    int fd = harness_connect(server);
    harness_text(fd, "%s", get);
    struct rd_http_exchange *x = stream(&stage, 0);
    while (rd_http_stream_write(x, record, RECORD)) {
    }
    struct linger linger = {.l_onoff = 1};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    (void)close(fd);
    wait_for(&stage, &stage.gone, 1);
    assert_false(rd_http_stream_write(x, record, 1));
    rd_http_stream_end(x);
    rd_mem_free(record);
    stop(&stage, server);
    assert_int_equal(stage.gone, 1);
    assert_int_equal(stage.sent, 0);
}

/* What cannot be said in a header cuts the connection, and the end is still owed. */
static void an_answer_that_cannot_begin(void **state)
{
    (void)state;
    struct stage stage;
    struct rd_http_server *server = start(&stage, 1);
    set(&stage, &stage.later);
    int fd = harness_connect(server);
    harness_text(fd, "%s", get);
    struct rd_http_exchange *x = stream(&stage, 0);
    rd_http_reply_header(x, "X-Two", "one\r\nX-Other: two");
    rd_http_reply_stream(x, 200);
    assert_false(rd_http_stream_write(x, "x", 1));
    harness_expect_closed(fd);
    wait_for(&stage, &stage.gone, 1);
    rd_http_stream_end(x);
    (void)close(fd);
    stop(&stage, server);
    assert_int_equal(stage.sent, 0);
}

/* Without a descriptor for the socket it cannot begin either. */
static void a_stream_without_a_descriptor(void **state)
{
    (void)state;
    struct stage stage;
    struct rd_http_server *server = start(&stage, 1);
    set(&stage, &stage.later);
    int fd = harness_connect(server);
    harness_text(fd, "%s", get);
    struct rd_http_exchange *x = stream(&stage, 0);
    struct rlimit usual;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    struct rlimit none = {.rlim_cur = 1, .rlim_max = usual.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    rd_http_reply_stream(x, 200);
    wait_for(&stage, &stage.gone, 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    harness_expect_closed(fd);
    rd_http_stream_end(x);
    (void)close(fd);
    stop(&stage, server);
    assert_int_equal(stage.sent, 0);
}

static void stream_at_once(void *ctx, struct rd_http_exchange *x)
{
    (void)ctx;
    rd_http_reply_header(x, "Content-Type", "text/event-stream");
    rd_http_reply_stream(x, 200);
    assert_true(rd_http_stream_write(x, "early\n", 6));
    rd_http_stream_end(x);
}

/* From headers(): before the body, which is then read first, or never. */
static void a_stream_instead_of_a_body(void **state)
{
    (void)state;
    static const char *const more[] = {"Content-Length: 3\r\n\r\nabc",
                                       "Content-Length: 99\r\nExpect: 100-continue\r\n\r\n",
                                       "Content-Length: 9999999\r\n\r\nabc",
                                       "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"};
    const struct rd_http_app app = {.headers = stream_at_once};
    struct rd_http_server *server = harness_start(&app, 1);
    for (unsigned i = 0; i < sizeof more / sizeof *more; i++) {
        int fd = harness_connect(server);
        harness_text(fd, "POST / HTTP/1.1\r\nHost: h\r\n%s", more[i]);
        expect_head(fd, true);
        expect_text(fd, "6\r\nearly\n\r\n0\r\n\r\n");
        (void)close(fd);
    }
    harness_stop(server);
}

static void quiesce_lets_streams_go_on_and_hanging_up_ends_them(void **state)
{
    (void)state;
    enum { STREAMS = 8 };
    struct stage stage;
    struct rd_http_server *server = start(&stage, 2);
    set(&stage, &stage.ends_if_gone);
    int fds[STREAMS];
    for (unsigned i = 0; i < STREAMS; i++) {
        fds[i] = harness_connect(server);
        harness_text(fds[i], "%s", get);
        expect_head(fds[i], true);
    }
    assert_int_equal(rd_http_open_connections(server), STREAMS);
    rd_http_quiesce(server);
    for (unsigned i = 0; i < STREAMS; i++) {
        assert_true(rd_http_stream_write(stream(&stage, i), "still here", 10));
    }
    for (unsigned i = 0; i < STREAMS; i++) {
        expect_text(fds[i], "a\r\nstill here\r\n");
    }
    rd_http_hang_up(server);
    wait_for(&stage, &stage.done, STREAMS);
    for (unsigned i = 0; i < STREAMS; i++) {
        harness_expect_closed(fds[i]);
        (void)close(fds[i]);
    }
    stop(&stage, server);
    assert_int_equal(stage.gone, STREAMS);
}

/* Streams that have ended and whose clients do not read are cut when the server stops. */
static void stopping_with_ended_streams_that_wait(void **state)
{
    (void)state;
    enum { RECORD = 200 * 1024 };
    struct stage stage;
    struct rd_http_server *server = start(&stage, 1);
    char *record = rd_mem_alloc(RECORD);
    assert_non_null(record);
    int fd = harness_connect(server);
    harness_text(fd, "%s", get);
    struct rd_http_exchange *x = stream(&stage, 0);
    while (rd_http_stream_write(x, record, RECORD)) {
    }
    rd_http_stream_end(x);
    rd_http_stop(server);
    assert_int_equal(stage.done, 1); /* its `sent` depends on the kernel's buffers */
    (void)close(fd);
    rd_mem_free(record);
}

/* ---- races ---- */

struct race {
    struct stage *stage;
    unsigned index;
    atomic_bool *go;
};

static void *write_and_end(void *arg)
{
    struct race *race = arg;
    struct rd_http_exchange *x = race->stage->streams[race->index];
    while (!atomic_load(race->go)) {
    }
    for (unsigned i = 0; i < 20; i++) {
        if (!rd_http_stream_write(x, "data: race\n\n", 12)) {
            break;
        }
    }
    rd_http_stream_end(x);
    return NULL;
}

/* Writers end their streams while the clients leave. */
static void leaving_and_ending_race(void **state)
{
    (void)state;
    enum { ROUNDS = 100 };
    struct stage stage;
    struct rd_http_server *server = start(&stage, 2);
    for (unsigned i = 0; i < ROUNDS; i++) {
        atomic_bool go = false;
        int fd = harness_connect(server);
        harness_text(fd, "%s", get);
        (void)stream(&stage, i);
        struct race race = {.stage = &stage, .index = i, .go = &go};
        pthread_t writer;
        assert_int_equal(pthread_create(&writer, NULL, write_and_end, &race), 0);
        atomic_store(&go, true);
        for (volatile unsigned pause = i * 100; pause > 0; pause--) {
        }
        (void)close(fd);
        assert_int_equal(pthread_join(writer, NULL), 0);
    }
    wait_for(&stage, &stage.done, ROUNDS);
    stop(&stage, server);
    assert_true(stage.gone <= ROUNDS);
}

struct many {
    struct rd_http_exchange *x;
    char letter;
};

static void *write_letters(void *arg)
{
    const struct many *many = arg;
    char record[100];
    memset(record, many->letter, sizeof record);
    for (unsigned sent = 0; sent < 2000;) {
        sent += rd_http_stream_write(many->x, record, sizeof record) ? 1 : 0;
    }
    return NULL;
}

/* Two threads write to one stream: each record arrives whole. */
static void records_of_two_writers_do_not_mix(void **state)
{
    (void)state;
    struct stage stage;
    struct rd_http_server *server = start(&stage, 1);
    int fd = harness_connect(server);
    harness_text(fd, "GET /events HTTP/1.0\r\n\r\n");
    struct rd_http_exchange *x = stream(&stage, 0);
    expect_head(fd, false);
    struct many many[] = {{x, 'a'}, {x, 'b'}};
    pthread_t writers[2];
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&writers[i], NULL, write_letters, &many[i]), 0);
    }
    unsigned count[2] = {0, 0};
    for (unsigned i = 0; i < 4000; i++) {
        char record[100];
        char whole[100];
        read_exactly(fd, record, sizeof record);
        assert_true(record[0] == 'a' || record[0] == 'b');
        memset(whole, record[0], sizeof whole);
        assert_memory_equal(record, whole, sizeof whole);
        count[record[0] - 'a']++;
    }
    assert_int_equal(count[0], 2000);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(writers[i], NULL), 0);
    }
    rd_http_stream_end(x);
    harness_expect_closed(fd);
    (void)close(fd);
    stop(&stage, server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_arrives_at_once),
        cmocka_unit_test(http_1_0_gets_it_until_the_end_of_the_connection),
        cmocka_unit_test(a_stream_begun_by_another_thread),
        cmocka_unit_test(a_stream_that_ends_at_once),
        cmocka_unit_test(a_head_request_gets_no_stream),
        cmocka_unit_test(no_more_than_the_buffer_waits),
        cmocka_unit_test(the_end_comes_behind_all_the_rest),
        cmocka_unit_test(a_client_that_leaves_is_noticed),
        cmocka_unit_test(a_client_that_resets_in_the_middle),
        cmocka_unit_test(an_answer_that_cannot_begin),
        cmocka_unit_test(a_stream_without_a_descriptor),
        cmocka_unit_test(a_stream_instead_of_a_body),
        cmocka_unit_test(quiesce_lets_streams_go_on_and_hanging_up_ends_them),
        cmocka_unit_test(stopping_with_ended_streams_that_wait),
        cmocka_unit_test(leaving_and_ending_race),
        cmocka_unit_test(records_of_two_writers_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
