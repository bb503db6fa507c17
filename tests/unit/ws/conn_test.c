/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames: what RFC 6455 forbids and the code that answers it, sizes at their limit and beyond,
 * pings, and both ways of closing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "harness.h"

static char payload[FRAME_MAX];

#define BYTES(text) text, sizeof text - 1

static void test_forbidden_frames(void **state)
{
    /* Raw bytes; a mask of zeros where there is one, so that payloads can be read here. */
    static const struct {
        const char *name, *bytes;
        size_t len;
        unsigned code; /* 0: a close frame without one */
    } cases[] = {
        {"rsv1", BYTES("\xc1\x80\0\0\0\0"), 1002},
        {"rsv2", BYTES("\xa1\x80\0\0\0\0"), 1002},
        {"rsv3", BYTES("\x91\x80\0\0\0\0"), 1002},
        {"opcode 3", BYTES("\x83\x80\0\0\0\0"), 1002},
        {"opcode 7", BYTES("\x87\x80\0\0\0\0"), 1002},
        {"opcode 11", BYTES("\x8b\x80\0\0\0\0"), 1002},
        {"opcode 15", BYTES("\x8f\x80\0\0\0\0"), 1002},
        {"not masked", BYTES("\x81\x02{}"), 1002},
        {"ping of 126 bytes", BYTES("\x89\xfe\x00\x7e\0\0\0\0"), 1002},
        {"fragmented ping", BYTES("\x09\x80\0\0\0\0"), 1002},
        {"fragmented close", BYTES("\x08\x80\0\0\0\0"), 1002},
        {"continuation of nothing", BYTES("\x80\x80\0\0\0\0"), 1002},
        {"text inside of a text", BYTES("\x01\x81\0\0\0\0a\x81\x81\0\0\0\0b"), 1002},
        {"longer length than needed", BYTES("\x81\xfe\x00\x01\0\0\0\0a"), 1002},
        {"8-byte length than needed", BYTES("\x81\xff\0\0\0\0\0\0\0\x01\0\0\0\0a"), 1002},
        {"length over 2^63", BYTES("\x81\xff\x80\0\0\0\0\0\0\0\0\0\0\0"), 1002},
        {"length 2^63 - 1", BYTES("\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0a"), 1009},
        {"binary", BYTES("\x82\x80\0\0\0\0"), 1003},
        {"no UTF-8", BYTES("\x81\x82\0\0\0\0\xc3\x28"), 1007},
        {"a surrogate", BYTES("\x81\x83\0\0\0\0\xed\xa0\x80"), 1007},
        {"cut UTF-8", BYTES("\x81\x81\0\0\0\0\xc3"), 1007},
        {"UTF-8 broken between fragments", BYTES("\x01\x81\0\0\0\0\xc3\x80\x81\0\0\0\0\x28"), 1007},
        {"close of one byte", BYTES("\x88\x81\0\0\0\0\x03"), 1002},
        {"close 999", BYTES("\x88\x82\0\0\0\0\x03\xe7"), 1002},
        {"close 1005", BYTES("\x88\x82\0\0\0\0\x03\xed"), 1002},
        {"close 1006", BYTES("\x88\x82\0\0\0\0\x03\xee"), 1002},
        {"close 2999", BYTES("\x88\x82\0\0\0\0\x0b\xb7"), 1002},
        {"close 65535", BYTES("\x88\x82\0\0\0\0\xff\xff"), 1002},
        {"close with a reason of no UTF-8", BYTES("\x88\x84\0\0\0\0\x03\xe8\xc3\x28"), 1007},
        {"close 1000", BYTES("\x88\x82\0\0\0\0\x03\xe8"), 1000},
        {"close 4999", BYTES("\x88\x82\0\0\0\0\x13\x87"), 4999},
        {"close without a code", BYTES("\x88\x80\0\0\0\0"), 0},
    };
    (void)state;
    struct host *host = host_start(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("# %s\n", cases[i].name);
        int fd = client_connect(host, NULL, 0);
        client_raw(fd, cases[i].bytes, cases[i].len);
        client_expect_close(fd, cases[i].code);
        fd = client_connect(host, cases[i].bytes, cases[i].len); /* behind the handshake */
        client_expect_close(fd, cases[i].code);
    }
    host_wait(host, &host->ended, 2 * sizeof cases / sizeof *cases);
    assert_int_equal(host->count, 0);
    host_stop(host);
}

static void test_byte_by_byte(void **state)
{
    /* A message in three fragments with a ping between them, and an empty one at its end. */
    static const char bytes[] = "\x01\x90\0\0\0\0{\"type\":\"generat"
                                "\x89\x82\0\0\0\0hi"
                                "\x00\x89\0\0\0\0e\",\"id\":1"
                                "\x00\x81\0\0\0\0}"
                                "\x80\x80\0\0\0\0";
    struct host *host = host_start(NULL);
    int fd = client_connect(host, NULL, 0);
    size_t len = 0;
    (void)state;
    for (size_t i = 0; i < sizeof bytes - 1; i++) {
        client_raw(fd, bytes + i, 1);
    }
    assert_int_equal(client_read(fd, payload, &len), 10);
    assert_string_equal(payload, "hi");
    struct call *call = host_call(host, 0, "submit");
    assert_string_equal(call->body, "{}");
    rd_ws_submitted(call->ask, 500, "");
    (void)close(fd);
    host_stop(host);
}

static void test_all_behind_the_handshake(void **state)
{
    static const char bytes[] = "\x81\x9a\0\0\0\0{\"type\":\"generate\",\"id\":1}"
                                "\x88\x82\0\0\0\0\x03\xe8";
    struct host *host = host_start(NULL);
    int fd = client_connect(host, bytes, sizeof bytes - 1);
    (void)state;
    client_expect_close(fd, 1000);
    struct call *call = host_call(host, 0, "submit");
    rd_ws_submitted(call->ask, 500, "");
    host_wait(host, &host->ended, 1);
    host_stop(host);
}

/* A message of `len` bytes in frames of `part`. */
static void send_message(int fd, size_t len, size_t part)
{
    static const char head[] = "{\"type\":\"generate\",\"id\":1,\"p\":\"";
    char *text = rd_mem_alloc(len);
    assert_non_null(text);
    memset(text, 'x', len);
    memcpy(text, head, sizeof head - 1);
    memcpy(text + len - 2, "\"}", 2);
    for (size_t at = 0; at < len; at += part) {
        size_t size = len - at < part ? len - at : part;
        client_frame(fd, (at == 0 ? 0x01u : 0u) | (at + size == len ? 0x80u : 0u), text + at, size);
    }
    rd_mem_free(text);
}

static void test_largest_message(void **state)
{
    static const size_t parts[] = {RD_LIMIT_WS_MESSAGE + 1, 65536, 1000};
    struct host *host = host_start(NULL);
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        int fd = client_connect(host, NULL, 0);
        send_message(fd, RD_LIMIT_WS_MESSAGE, parts[i]);
        struct call *call = host_call(host, i, "submit");
        rd_ws_submitted(call->ask, 500, "");
        assert_int_equal(client_read(fd, payload, &(size_t){0}), 1);
        send_message(fd, RD_LIMIT_WS_MESSAGE + 1, parts[i]);
        client_expect_close(fd, 1009);
    }
    host_stop(host);
}

static void test_pings(void **state)
{
    const struct rd_ws_options times = {.ping_ms = 20, .pong_ms = 2000};
    struct host *host = host_start(&times);
    int fd = client_connect(host, NULL, 0);
    size_t len = 0;
    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(client_read(fd, payload, &len), 9);
        client_frame(fd, 0x8a, "wrong", 5); /* nobody asked for it: nothing happens */
        client_frame(fd, 0x8a, payload, len);
    }
    (void)close(fd);
    host_wait(host, &host->ended, 1);
    host_stop(host);
}

static void test_no_pong(void **state)
{
    const struct rd_ws_options times = {.ping_ms = 20, .pong_ms = 60};
    struct host *host = host_start(&times);
    int fd = client_connect(host, NULL, 0);
    size_t len = 0;
    (void)state;
    assert_int_equal(client_read(fd, payload, &len), 9);
    client_frame(fd, 0x8a, "12345678", 8);
    assert_int_equal(client_read(fd, payload, &len), -1); /* no second ping, and no close frame */
    host_wait(host, &host->ended, 1);
    (void)close(fd);
    host_stop(host);
}

static void test_flood_of_pings(void **state)
{
    /* A client that pings and reads nothing is not read any more; its pongs are not gathered. */
    struct host *host = host_start(NULL);
    int fd = client_connect(host, NULL, 0);
    static char pings[6 * 1000];
    size_t sent = 0;
    (void)state;
    for (size_t i = 0; i < sizeof pings; i += 6) {
        memcpy(pings + i, "\x89\x80\0\0\0\0", 6);
    }
    const struct timeval soon = {0, 200000};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon), 0);
    for (ssize_t put = 0; put >= 0 && sent < (size_t)64 << 20;
         sent += (size_t)(put > 0 ? put : 0)) {
        put = send(fd, pings, sizeof pings, MSG_NOSIGNAL);
    }
    assert_true(sent < (size_t)8 << 20);
    (void)close(fd);
    host_wait(host, &host->ended, 1);
    host_stop(host);
}

static void test_revoked_key(void **state)
{
    const struct rd_ws_options times = {.check_ms = 20};
    struct host *host = host_start(&times);
    int fd = client_connect(host, NULL, 0);
    (void)state;
    while (true) { /* it is looked at again and again */
        (void)pthread_mutex_lock(&host->lock);
        bool seen = host->checks >= 3;
        host->revoked = seen;
        (void)pthread_mutex_unlock(&host->lock);
        if (seen) {
            break;
        }
        (void)usleep(1000);
    }
    client_expect_close(fd, 1008);
    host_wait(host, &host->ended, 1);
    host_stop(host);
}

static void test_client_that_does_not_close(void **state)
{
    const struct rd_ws_options times = {.close_ms = 50};
    struct host *host = host_start(&times);
    int fd = client_connect(host, NULL, 0);
    size_t len = 0;
    (void)state;
    client_frame(fd, 0x82, "x", 1);
    assert_int_equal(client_read(fd, payload, &len), 8);
    assert_int_equal(client_read(fd, payload, &len), -1); /* after 50 ms */
    host_wait(host, &host->ended, 1);
    (void)close(fd);
    host_stop(host);
}

static void test_client_that_leaves(void **state)
{
    static const char *const parts[] = {"", "\x81", "\x81\xfe\x01", "\x81\x85\0\0\0\0ab"};
    static const size_t lens[] = {0, 1, 3, 8};
    struct host *host = host_start(NULL);
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        int fd = client_connect(host, NULL, 0);
        client_raw(fd, parts[i], lens[i]);
        (void)close(fd);
        host_wait(host, &host->ended, i + 1);
    }
    host_stop(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forbidden_frames),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_all_behind_the_handshake),
        cmocka_unit_test(test_largest_message),
        cmocka_unit_test(test_pings),
        cmocka_unit_test(test_no_pong),
        cmocka_unit_test(test_flood_of_pings),
        cmocka_unit_test(test_revoked_key),
        cmocka_unit_test(test_client_that_does_not_close),
        cmocka_unit_test(test_client_that_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
