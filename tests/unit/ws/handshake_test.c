/* SPDX-License-Identifier: Apache-2.0
 *
 * The opening handshake: RFC 6455's own example, everything that makes it none, and where a key may
 * come from. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <strings.h>

#include "ws/handshake.h"

enum { HEADERS = 8 };

struct headers {
    const char *pairs[HEADERS][2];
};

static const struct headers good = {{{"Upgrade", "websocket"},
                                     {"Connection", "Upgrade"},
                                     {"Sec-WebSocket-Version", "13"},
                                     {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}}};

static const char *header(void *ctx, const char *name)
{
    const struct headers *headers = ctx;
    for (size_t i = 0; i < HEADERS && headers->pairs[i][0] != NULL; i++) {
        if (strcasecmp(headers->pairs[i][0], name) == 0) {
            return headers->pairs[i][1];
        }
    }
    return NULL;
}

static rd_err try(const struct headers *headers, struct rd_ws_handshake_answer *answer)
{
    static const char *const origins[] = {"https://a.example", "https://b.example"};
    struct headers copy = *headers;
    const struct rd_ws_handshake request = {header, &copy, origins, 2};
    const char *problem = NULL;
    rd_err err = rd_ws_handshake(&request, answer, &problem);
    assert_int_equal(err == RD_OK, problem == NULL);
    return err;
}

/* The good request with one header changed, added, or (NULL) removed. */
static struct headers with(const char *name, const char *value)
{
    struct headers headers = good;
    size_t at = 0;
    while (headers.pairs[at][0] != NULL && strcmp(headers.pairs[at][0], name) != 0) {
        at++;
    }
    headers.pairs[at][0] = value == NULL ? "X-None" : name;
    headers.pairs[at][1] = value;
    return headers;
}

static void test_example_of_the_rfc(void **state)
{
    struct rd_ws_handshake_answer answer;
    (void)state;
    assert_int_equal(try(&good, &answer), RD_OK);
    assert_string_equal(answer.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_false(answer.protocol);
    assert_null(answer.key);
}

static void test_headers_one_by_one(void **state)
{
    static const struct {
        const char *name, *value;
        rd_err err;
    } cases[] = {
        {"Upgrade", NULL, RD_ERR_UPGRADE_REQUIRED},
        {"Upgrade", "h2c", RD_ERR_UPGRADE_REQUIRED},
        {"Upgrade", "websockets", RD_ERR_UPGRADE_REQUIRED},
        {"Upgrade", "", RD_ERR_UPGRADE_REQUIRED},
        {"Upgrade", "h2c, WebSocket", RD_OK},
        {"Connection", NULL, RD_ERR_UPGRADE_REQUIRED},
        {"Connection", "keep-alive", RD_ERR_UPGRADE_REQUIRED},
        {"Connection", "keep-alive, upgrade", RD_OK},
        {"Connection", ",,upgrade\t", RD_OK},
        {"Sec-WebSocket-Version", NULL, RD_ERR_UPGRADE_REQUIRED},
        {"Sec-WebSocket-Version", "8", RD_ERR_UPGRADE_REQUIRED},
        {"Sec-WebSocket-Version", "13, 8", RD_ERR_UPGRADE_REQUIRED},
        {"Sec-WebSocket-Key", NULL, RD_ERR_INVALID_REQUEST},
        {"Sec-WebSocket-Key", "", RD_ERR_INVALID_REQUEST},
        {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ", RD_ERR_INVALID_REQUEST},
        {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=!", RD_ERR_INVALID_REQUEST},
        {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZTEy", RD_ERR_INVALID_REQUEST}, /* 18 bytes */
        {"Origin", "https://b.example", RD_OK},
        {"Origin", "https://b.example.evil", RD_ERR_FORBIDDEN},
        {"Origin", "null", RD_ERR_FORBIDDEN},
        {"Origin", "", RD_ERR_FORBIDDEN},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rd_ws_handshake_answer answer;
        struct headers headers = with(cases[i].name, cases[i].value);
        rd_err err = try(&headers, &answer);
        if (err != cases[i].err) {
            print_error("%s: %s\n", cases[i].name, cases[i].value);
        }
        assert_int_equal(err, cases[i].err);
    }
}

static void test_any_origin(void **state)
{
    static const char *const any[] = {"*"};
    struct headers headers = with("Origin", "https://c.example");
    const struct rd_ws_handshake request = {header, &headers, any, 1};
    const struct rd_ws_handshake none = {header, &headers, NULL, 0};
    struct rd_ws_handshake_answer answer;
    const char *problem = NULL;
    (void)state;
    assert_int_equal(rd_ws_handshake(&request, &answer, &problem), RD_OK);
    assert_int_equal(rd_ws_handshake(&none, &answer, &problem), RD_ERR_FORBIDDEN);
}

static void test_key_of_a_browser(void **state)
{
    static const struct {
        const char *value;
        bool protocol;
        const char *key;
    } cases[] = {
        {"render.v1", true, NULL},
        {"render.v1, render.key.rk_abc", true, "rk_abc"},
        {"render.key.rk_abc,render.v1", true, "rk_abc"},
        {"render.key.", false, NULL},
        {"render.key.x", false, "x"},
        {"RENDER.V1, chat", false, NULL}, /* protocols are compared with their case */
        {"", false, NULL},
        {" , ,", false, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rd_ws_handshake_answer answer;
        struct headers headers = with("Sec-WebSocket-Protocol", cases[i].value);
        assert_int_equal(try(&headers, &answer), RD_OK);
        assert_int_equal(answer.protocol, cases[i].protocol);
        assert_int_equal(answer.key != NULL, cases[i].key != NULL);
        if (cases[i].key != NULL) {
            assert_int_equal(answer.key_len, strlen(cases[i].key));
            assert_memory_equal(answer.key, cases[i].key, answer.key_len);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example_of_the_rfc),
        cmocka_unit_test(test_headers_one_by_one),
        cmocka_unit_test(test_any_origin),
        cmocka_unit_test(test_key_of_a_browser),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
