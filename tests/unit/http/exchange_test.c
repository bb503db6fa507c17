/* SPDX-License-Identifier: Apache-2.0
 *
 * exchange.c: what an answer can be. Every byte of every form is compared, at the sizes where
 * copying in blocks could go wrong; and an answer that cannot be given whole is not given at all.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "harness.h"

enum { FILE_LEN = 3 << 20, PIECES_MAX = 12 };

/* What the next request is answered with; set by the test while no request is open. */
struct script {
    int fd; /* a file of FILE_LEN bytes, the pattern below */
    struct rd_http_piece pieces[PIECES_MAX];
    size_t pieces_count;
    void (*answer)(const struct script *script, struct rd_http_exchange *x);
};

static unsigned char pattern(uint64_t at)
{
    return (unsigned char)(at * 2654435761u >> 13 ^ at);
}

static int make_file(void)
{
    int fd = memfd_create("answer", MFD_CLOEXEC);
    assert_true(fd >= 0);
    RD_AUTO_FREE char *bytes = rd_mem_alloc(FILE_LEN);
    assert_non_null(bytes);
    for (size_t i = 0; i < FILE_LEN; i++) {
        bytes[i] = (char)pattern(i);
    }
    assert_int_equal(write(fd, bytes, FILE_LEN), FILE_LEN);
    return fd;
}

static void on_request(void *ctx, struct rd_http_exchange *x)
{
    const struct script *script = ctx;
    script->answer(script, x);
}

static unsigned open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    unsigned count = 0;
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count;
}

static const char get[] = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

/* ---- text ---- */

static size_t text_len;
static char *text_bytes;

static void answer_text(const struct script *script, struct rd_http_exchange *x)
{
    (void)script;
    rd_http_reply_text(x, text_bytes, text_len);
    rd_http_reply(x, 200);
}

static void texts_of_many_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 4095, 4096, 16383, 65535, 65536, 65537, 1 << 20, 20 << 20};
    struct script script = {.answer = answer_text};
    const struct rd_http_app app = {.ctx = &script, .request = on_request};
    struct rd_http_server *server = harness_start(&app, 1);
    int fd = harness_connect(server);
    text_bytes = rd_mem_alloc(20 << 20);
    assert_non_null(text_bytes);
    for (size_t i = 0; i < 20 << 20; i++) {
        text_bytes[i] = (char)pattern(i); /* NUL bytes are in there, too */
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        text_len = sizes[i];
        struct harness_answer answer;
        harness_text(fd, "%s", get);
        assert_true(harness_read(fd, false, &answer));
        assert_int_equal(answer.status, 200);
        assert_int_equal(answer.body.len, text_len);
        assert_true(text_len == 0 || memcmp(answer.body.data, text_bytes, text_len) == 0);
        harness_answer_done(&answer);
    }
    rd_mem_free(text_bytes);
    (void)close(fd);
    harness_stop(server);
}

/* ---- pieces ---- */

static void answer_pieces(const struct script *script, struct rd_http_exchange *x)
{
    rd_http_reply_header(x, "Content-Type", "application/x-pieces");
    rd_http_reply_pieces(x, script->pieces, script->pieces_count);
    rd_http_reply(x, 200);
}

static void expect_pieces(int fd, const struct script *script)
{
    struct harness_answer answer;
    harness_text(fd, "%s", get);
    assert_true(harness_read(fd, false, &answer));
    assert_int_equal(answer.status, 200);
    size_t at = 0;
    for (size_t i = 0; i < script->pieces_count; i++) {
        const struct rd_http_piece *piece = &script->pieces[i];
        assert_true(answer.body.len - at >= piece->len);
        for (uint64_t j = 0; j < piece->len; j++, at++) {
            unsigned char want =
                piece->fd < 0 ? (unsigned char)piece->text[j] : pattern(piece->offset + j);
            if ((unsigned char)answer.body.data[at] != want) {
                fail_msg("piece %zu differs at byte %llu", i, (unsigned long long)j);
            }
        }
    }
    assert_int_equal(answer.body.len, at);
    harness_answer_done(&answer);
}

static struct rd_http_piece file_piece(const struct script *script, uint64_t offset, uint64_t len)
{
    return (struct rd_http_piece){.fd = script->fd, .offset = offset, .len = len};
}

static struct rd_http_piece text_piece(const char *text)
{
    return (struct rd_http_piece){.text = text, .fd = -1, .len = strlen(text)};
}

static void files_and_pieces_to_the_byte(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 65535, 65536, 65537, 131072, 1000003, FILE_LEN - 7};
    struct script script = {.fd = make_file(), .answer = answer_pieces};
    const struct rd_http_app app = {.ctx = &script, .request = on_request};
    struct rd_http_server *server = harness_start(&app, 1);
    unsigned before = open_descriptors();
    int fd = harness_connect(server);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t len = sizes[i];
        script.pieces[0] = file_piece(&script, 7, len); /* alone: sendfile */
        script.pieces_count = 1;
        expect_pieces(fd, &script);
        script.pieces[0] = text_piece("--first\r\n");
        script.pieces[1] = file_piece(&script, 7, len);
        script.pieces[2] = text_piece("");
        script.pieces[3] = text_piece("--middle\r\n");
        script.pieces[4] = file_piece(&script, FILE_LEN - len, len);
        script.pieces[5] = file_piece(&script, 0, 3);
        script.pieces[6] = text_piece("--last--\r\n");
        for (script.pieces_count = 2; script.pieces_count <= 7; script.pieces_count++) {
            expect_pieces(fd, &script);
        }
    }
    (void)close(fd);
    harness_stop(server);
    assert_true(open_descriptors() < before); /* the server's own are gone, and no copy is left */
    (void)close(script.fd);
}

static void descriptors_are_not_leaked_by_clients_that_leave(void **state)
{
    (void)state;
    struct script script = {.fd = make_file(), .answer = answer_pieces};
    const struct rd_http_app app = {.ctx = &script, .request = on_request};
    struct rd_http_server *server = harness_start(&app, 1);
    unsigned before = open_descriptors();
    script.pieces[0] = file_piece(&script, 0, FILE_LEN);
    script.pieces[1] = text_piece("end");
    for (unsigned i = 0; i < 40; i++) {
        int fd = harness_connect(server);
        char byte;
        script.pieces_count = 1 + i % 2;
        harness_text(fd, "%s", get);
        assert_int_equal(read(fd, &byte, 1), 1);
        (void)close(fd);
    }
    uint64_t until = harness_now_ms() + HARNESS_PATIENCE_MS;
    while (rd_http_open_connections(server) > 0 && harness_now_ms() < until) {
        (void)usleep(1000);
    }
    /* the daemon closes a socket a little after it says so */
    while (open_descriptors() > before && harness_now_ms() < until) {
        (void)usleep(1000);
    }
    assert_int_equal(open_descriptors(), before);
    harness_stop(server);
    (void)close(script.fd);
}

/* ---- headers, and starting over ---- */

static void answer_again(const struct script *script, struct rd_http_exchange *x)
{
    rd_http_reply_header(x, "X-Old", "1");
    rd_http_reply_pieces(x, script->pieces, script->pieces_count);
    rd_http_reply_reset(x);
    rd_http_reply_header(x, "X-New", "2");
    rd_http_reply_header(x, "X-Absent", NULL);
    rd_http_reply_headerf(x, "X-Number", "%d/%s", 7, "seven");
    rd_http_reply_text(x, "new", 3);
    assert_int_equal(rd_http_reply_bytes(x), 3);
    rd_http_reply(x, 418);
    assert_int_equal(rd_http_reply_status(x), 418);
}

static void an_answer_may_start_over(void **state)
{
    (void)state;
    struct script script = {.fd = make_file(), .answer = answer_again, .pieces_count = 1};
    script.pieces[0] = file_piece(&script, 0, 100);
    const struct rd_http_app app = {.ctx = &script, .request = on_request};
    struct rd_http_server *server = harness_start(&app, 1);
    int fd = harness_connect(server);
    struct harness_answer answer;
    char value[512];
    harness_text(fd, "%s", get);
    harness_expect(fd, 418, "new");
    unsigned before = open_descriptors();
    harness_text(fd, "%s", get);
    assert_true(harness_read(fd, false, &answer));
    assert_int_equal(answer.status, 418);
    assert_string_equal(rd_buf_cstr(&answer.body), "new");
    assert_null(harness_header(&answer, "X-Old", value));
    assert_null(harness_header(&answer, "X-Absent", value));
    assert_string_equal(harness_header(&answer, "X-New", value), "2");
    assert_string_equal(harness_header(&answer, "X-Number", value), "7/seven");
    assert_int_equal(open_descriptors(), before);
    harness_answer_done(&answer);
    (void)close(fd);
    harness_stop(server);
    (void)close(script.fd);
}

static unsigned header_count;

static void answer_headers(const struct script *script, struct rd_http_exchange *x)
{
    (void)script;
    for (unsigned i = 0; i < header_count; i++) {
        rd_http_reply_header(x, "X-Many", "v");
    }
    rd_http_reply(x, 204);
}

static void headers_to_the_last_and_no_further(void **state)
{
    (void)state;
    struct script script = {.answer = answer_headers};
    const struct rd_http_app app = {.ctx = &script, .request = on_request};
    struct rd_http_server *server = harness_start(&app, 1);
    int fd = harness_connect(server);
    struct harness_answer answer;
    header_count = RD_HTTP_REPLY_HEADERS_MAX;
    harness_text(fd, "%s", get);
    assert_true(harness_read(fd, false, &answer));
    assert_int_equal(answer.status, 204);
    unsigned seen = 0;
    for (const char *p = answer.head; (p = strstr(p, "X-Many")) != NULL; p++) {
        seen++;
    }
    assert_int_equal(seen, RD_HTTP_REPLY_HEADERS_MAX);
    harness_answer_done(&answer);
    header_count++;
    harness_text(fd, "%s", get);
    harness_expect_closed(fd);
    (void)close(fd);
    harness_stop(server);
}

/* ---- what cannot be given whole ---- */

static void answer_split_header(const struct script *script, struct rd_http_exchange *x)
{
    (void)script;
    rd_http_reply_header(x, "X-Evil", "a\r\nX-Injected: b");
    rd_http_reply(x, 200);
}

static void answer_long_header(const struct script *script, struct rd_http_exchange *x)
{
    (void)script;
    rd_http_reply_headerf(x, "X-Long", "%2000d", 1);
    rd_http_reply(x, 200);
}

static void answer_nothing(const struct script *script, struct rd_http_exchange *x)
{
    (void)script;
    (void)x;
}

static void answer_bad_descriptor(const struct script *script, struct rd_http_exchange *x)
{
    (void)script;
    rd_http_reply_file(x, 100000, 0, 10);
    rd_http_reply(x, 200);
}

/* No descriptor is left for the copy. */
static void answer_without_descriptors(const struct script *script, struct rd_http_exchange *x)
{
    struct rlimit old;
    struct rlimit none = {.rlim_cur = 0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    rd_http_reply_pieces(x, script->pieces, script->pieces_count);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    rd_http_reply(x, 200);
}

static void answer_too_much(const struct script *script, struct rd_http_exchange *x)
{
    (void)script;
    static const char byte[1];
    while (rd_arena_alloc(rd_http_arena(x), 1 << 20) != NULL) {
    }
    while (rd_arena_alloc(rd_http_arena(x), 1) != NULL) {
    }
    rd_http_reply_text(x, byte, 1);
    rd_http_reply(x, 200);
}

static void what_cannot_be_given_whole_is_not_given(void **state)
{
    (void)state;
    void (*const answers[])(const struct script *, struct rd_http_exchange *) = {
        answer_split_header,   answer_long_header,         answer_nothing,
        answer_bad_descriptor, answer_without_descriptors, answer_too_much,
    };
    struct script script = {.fd = make_file(), .pieces_count = 2};
    script.pieces[0] = text_piece("text");
    script.pieces[1] = file_piece(&script, 0, 100);
    const struct rd_http_app app = {.ctx = &script, .request = on_request};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        script.answer = answers[i];
        struct rd_http_server *server = harness_start(&app, 1);
        int fd = harness_connect(server);
        harness_text(fd, "%s", get);
        harness_expect_closed(fd);
        (void)close(fd);
        harness_stop(server);
    }
    (void)close(script.fd);
}

/* A file shrinks under an answer of several pieces: the client sees the connection end early. (Of
 * one piece alone sendfile would wait for libmicrohttpd's timeout. The store's files never shrink.)
 */
static void a_file_that_shrinks_cuts_the_answer(void **state)
{
    (void)state;
    struct script script = {.fd = make_file(), .answer = answer_pieces, .pieces_count = 2};
    script.pieces[0] = file_piece(&script, 0, FILE_LEN);
    script.pieces[1] = text_piece("end");
    const struct rd_http_app app = {.ctx = &script, .request = on_request};
    struct rd_http_server *server = harness_start(&app, 1);
    int fd = harness_connect(server);
    assert_int_equal(ftruncate(script.fd, 100000), 0);
    harness_text(fd, "%s", get);
    RD_AUTO_FREE char *all = rd_mem_alloc(FILE_LEN);
    assert_non_null(all);
    size_t len = 0;
    ssize_t got;
    while ((got = read(fd, all + len, FILE_LEN - len)) > 0) {
        len += (size_t)got;
    }
    const char *body = memmem(all, len, "\r\n\r\n", 4);
    assert_non_null(body);
    size_t body_len = len - (size_t)(body + 4 - all);
    assert_in_range(body_len, 1, 100000);
    for (size_t i = 0; i < body_len; i++) {
        assert_int_equal((unsigned char)body[4 + i], pattern(i));
    }
    (void)close(fd);
    harness_stop(server);
    (void)close(script.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_of_many_sizes),
        cmocka_unit_test(files_and_pieces_to_the_byte),
        cmocka_unit_test(descriptors_are_not_leaked_by_clients_that_leave),
        cmocka_unit_test(an_answer_may_start_over),
        cmocka_unit_test(headers_to_the_last_and_no_further),
        cmocka_unit_test(what_cannot_be_given_whole_is_not_given),
        cmocka_unit_test(a_file_that_shrinks_cuts_the_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
