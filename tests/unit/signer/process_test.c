/* SPDX-License-Identifier: Apache-2.0
 *
 * The real render-signer (its path is the argument) on a socket of this test's own: every request
 * in every state, and every kind of frame that must make it hang up, with its exit code. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../provenance/fixture.h"
#include "provenance/signer_proto.h"

static const char *program; /* render-signer */
static char folder[64];
static char key_file[128];

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/render-signer-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(key_file, sizeof key_file, "%s/signing.key", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(key_file);
    assert_int_equal(rmdir(folder), 0); /* nothing else was left behind */
    return 0;
}

struct raw {
    int channel;
    pid_t pid;
};

/* A real signer on a socket of our own. */
static struct raw raw_start(void)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    struct timeval patience = {.tv_sec = 10};
    assert_int_equal(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char number[16];
        (void)close(ends[0]);
        (void)snprintf(number, sizeof number, "%d", ends[1]);
        (void)execl(program, program, "--key", key_file, "--fd", number, (char *)NULL);
        _exit(127);
    }
    (void)close(ends[1]);
    return (struct raw){ends[0], pid};
}

static int raw_end(struct raw raw)
{
    int status = 0;
    (void)close(raw.channel);
    assert_int_equal(waitpid(raw.pid, &status, 0), raw.pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void put(struct raw raw, const void *data, size_t len)
{
    /* The signer may hang up in the middle of a bad frame: then the rest has no reader. */
    const char *at = data;
    while (len > 0) {
        ssize_t sent = send(raw.channel, at, len, MSG_NOSIGNAL);
        if (sent <= 0) {
            return;
        }
        at += sent;
        len -= (size_t)sent;
    }
}

static void put_header(struct raw raw, unsigned kind, unsigned count, uint32_t length)
{
    uint8_t bytes[RD_SIGNER_HEADER_LEN];
    rd_signer_header_write(bytes, (struct rd_signer_header){.kind = (uint16_t)kind,
                                                            .count = (uint16_t)count,
                                                            .length = length});
    put(raw, bytes, sizeof bytes);
}

/* The signer hung up without an answer: end of file, or a reset when it left bytes unread. */
static void assert_hung_up(struct raw raw, int exit_code)
{
    char byte;
    ssize_t got = recv(raw.channel, &byte, 1, 0);
    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
    assert_int_equal(raw_end(raw), exit_code);
}

static void assert_public_key_answer(struct raw raw)
{
    uint8_t answer[RD_SIGNER_HEADER_LEN + RD_KEY_LEN];
    struct rd_signer_header header;
    put_header(raw, RD_SIGNER_PUBLIC_KEY, 0, 0);
    assert_int_equal(recv(raw.channel, answer, sizeof answer, MSG_WAITALL), sizeof answer);
    assert_true(rd_signer_header_read(answer, &header));
    assert_int_equal(header.kind, RD_SIGNER_PUBLIC_KEY);
    assert_int_equal(header.count, 1);
    assert_int_equal(header.length, RD_KEY_LEN);
}

static void assert_signing_answer(struct raw raw)
{
    static const uint32_t len = sizeof KNOWN_STATEMENT - 1;
    uint8_t length[4];
    uint8_t answer[RD_SIGNER_HEADER_LEN + RD_SIGNATURE_LEN];
    struct rd_signer_header header;
    rd_signer_put_u32(length, len);
    put_header(raw, RD_SIGNER_SIGN_STATEMENTS, 1, 4 + len);
    put(raw, length, 4);
    put(raw, KNOWN_STATEMENT, len);
    assert_int_equal(recv(raw.channel, answer, sizeof answer, MSG_WAITALL), sizeof answer);
    assert_true(rd_signer_header_read(answer, &header));
    assert_int_equal(header.kind, RD_SIGNER_SIGN_STATEMENTS);
    assert_int_equal(header.count, 1);
}

/* There is one state. Each request, first, after each other, and repeated. */
static void every_request_in_every_state(void **state)
{
    (void)state;
    void (*const requests[2])(struct raw) = {assert_public_key_answer, assert_signing_answer};
    for (int path = 0; path < 16; path++) {
        struct raw raw = raw_start();
        for (int step = 0; step < 4; step++) {
            requests[path >> step & 1](raw);
        }
        assert_int_equal(raw_end(raw), 0);
    }
}

static void headers_outside_the_table_hang_up(void **state)
{
    (void)state;
    static const struct {
        unsigned kind, count;
        uint32_t length;
    } bad[] = {
        {0, 0, 0},
        {3, 0, 0},
        {0xffff, 0, 0},
        {RD_SIGNER_REFUSED, 0, 0}, /* answers are no requests */
        {RD_SIGNER_FAILED, 0, 0},
        {RD_SIGNER_PUBLIC_KEY, 1, 0},
        {RD_SIGNER_PUBLIC_KEY, 0, 1},
        {RD_SIGNER_SIGN_STATEMENTS, 0, 4},
        {RD_SIGNER_SIGN_STATEMENTS, 0, 0},
        {RD_SIGNER_SIGN_STATEMENTS, 1, 0},
        {RD_SIGNER_SIGN_STATEMENTS, 1, 3},
        {RD_SIGNER_SIGN_STATEMENTS, RD_SIGNER_BATCH_MAX + 1, 4096},
        {RD_SIGNER_SIGN_STATEMENTS, 1, RD_SIGNER_BODY_MAX + 1},
        {RD_SIGNER_SIGN_STATEMENTS, 1, UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct raw raw = raw_start();
        assert_signing_answer(raw);
        put_header(raw, bad[i].kind, bad[i].count, bad[i].length);
        assert_hung_up(raw, 3);
    }
}

static void bodies_that_do_not_add_up_hang_up(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {
        0, 95, 97, RD_SIGNER_STATEMENT_MAX + 1, UINT32_MAX, UINT32_MAX - 3, 0x80000000u};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint8_t body[100] = {0};
        struct raw raw = raw_start();
        rd_signer_put_u32(body, lengths[i]);
        put_header(raw, RD_SIGNER_SIGN_STATEMENTS, 1, sizeof body);
        put(raw, body, sizeof body);
        assert_hung_up(raw, 3);
    }
    /* a table of lengths that is longer than the body */
    struct raw raw = raw_start();
    uint8_t body[8] = {0};
    put_header(raw, RD_SIGNER_SIGN_STATEMENTS, RD_SIGNER_BATCH_MAX, sizeof body);
    put(raw, body, sizeof body);
    assert_hung_up(raw, 3);
}

static void garbage_and_cut_frames_hang_up(void **state)
{
    (void)state;
    struct raw raw = raw_start();
    put(raw, "GET / HTTP/1.1\r\n\r\n", 18);
    assert_hung_up(raw, 3);
    raw = raw_start();
    put(raw, "RDS1\x01\x00", 6);
    assert_int_equal(raw_end(raw), 4); /* cut in the header */
    raw = raw_start();
    put_header(raw, RD_SIGNER_SIGN_STATEMENTS, 1, 1000);
    put(raw, "abc", 3);
    assert_int_equal(raw_end(raw), 4); /* cut in the body */
    raw = raw_start();
    assert_int_equal(raw_end(raw), 0); /* an end between frames is the ordinary one */
}

static void usage_errors(void **state)
{
    (void)state;
    static const char *const commands[] = {"",
                                           "--key",
                                           "--fd 3 --key x",
                                           "--key x --fd -1",
                                           "--key x --fd 3x",
                                           "--key x --fd 99999999",
                                           "--help"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        char words[64];
        char *argv[8] = {NULL};
        size_t argc = 0;
        (void)snprintf(words, sizeof words, "%s", commands[i]);
        char *rest = words;
        argv[argc++] = words;
        for (char *word = strsep(&rest, " "); word != NULL && argc < 7; word = strsep(&rest, " ")) {
            if (*word != '\0') {
                argv[argc++] = word;
            }
        }
        pid_t pid = fork();
        if (pid == 0) {
            int null = open("/dev/null", O_RDWR);
            (void)dup2(null, 2);
            (void)execv(program, argv);
            _exit(127);
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 2);
    }
}

/* A descriptor that is no local stream socket: one line on stderr, exit 1. */
static void a_channel_that_is_none(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        (void)dup2(null, 2);
        (void)execl(program, program, "--key", key_file, "--fd", "0", (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fputs("usage: process_test PATH_OF_RENDER_SIGNER\n", stderr);
        return 2;
    }
    program = argv[1];
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(every_request_in_every_state),
        WITH_FOLDER(headers_outside_the_table_hang_up),
        WITH_FOLDER(bodies_that_do_not_add_up_hang_up),
        WITH_FOLDER(garbage_and_cut_frames_hang_up),
        WITH_FOLDER(usage_errors),
        WITH_FOLDER(a_channel_that_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
