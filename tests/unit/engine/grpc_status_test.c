/* SPDX-License-Identifier: Apache-2.0
 *
 * What gRPC says beside its messages: status codes, texts, times, types; and URLs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "engine/triton/grpc_address.h"
#include "engine/triton/grpc_status.h"

static void test_meanings(void **state)
{
    (void)state;
    /* What may be repeated elsewhere: what was refused before any work, and what is overloaded. */
    static const int repeated[] = {1, 4, 5, 7, 8, 10, 14, 16};
    for (int status = 1; status < RD_GRPC_STATUS_COUNT; status++) {
        bool want = false;
        for (size_t i = 0; i < sizeof repeated / sizeof repeated[0]; i++) {
            want = want || repeated[i] == status;
        }
        const struct rd_grpc_meaning *meaning = rd_grpc_meaning(status);
        assert_int_equal(!meaning->final, want);
        assert_int_not_equal(meaning->err, RD_OK);
        assert_true(!meaning->faultless || meaning->final);
    }
    assert_int_equal(rd_grpc_meaning(RD_GRPC_OK)->err, RD_OK);
    assert_string_equal(rd_grpc_meaning(14)->name, "UNAVAILABLE");
    assert_string_equal(rd_grpc_meaning(16)->name, "UNAUTHENTICATED");
    assert_string_equal(rd_grpc_meaning(17)->name, "UNKNOWN");
    assert_string_equal(rd_grpc_meaning(-1)->name, "UNKNOWN");
    assert_int_equal(rd_grpc_meaning(8)->err, RD_ERR_CAPACITY);
    assert_int_equal(rd_grpc_meaning(4)->err, RD_ERR_BACKEND_TIMEOUT);
    assert_int_equal(rd_grpc_status_http(503), 14);
    assert_int_equal(rd_grpc_status_http(404), 12);
    assert_int_equal(rd_grpc_status_http(418), 2);
}

static void test_status(void **state)
{
    (void)state;
    assert_int_equal(rd_grpc_status_parse("0", 1), 0);
    assert_int_equal(rd_grpc_status_parse("14", 2), 14);
    assert_int_equal(rd_grpc_status_parse("999", 3), 999);
    static const char *const wrong[] = {"", "-1", "+1", "01", "1 ", "x", "1000", "0x1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(rd_grpc_status_parse(wrong[i], strlen(wrong[i])), RD_GRPC_STATUS_NONE);
    }
}

static void test_text(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", ""},
        {"plain", "plain"},
        {"a%20b", "a b"},
        {"%E2%82%AC", "\u20ac"},
        {"a%0Ab%09c%0D", "a b c "},
        {"100%", "100%"},
        {"%4", "%4"},
        {"%zz%41", "%zzA"},
        {"%ff%00x", "??x"},
        {"\x1b[31m", "?[31m"},
        {"%E2%82", "??"},
    };
    char out[RD_GRPC_TEXT_MAX + 1];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rd_grpc_text(cases[i].in, strlen(cases[i].in), out, sizeof out);
        assert_string_equal(out, cases[i].out);
    }
    char small[3];
    rd_grpc_text("abcdef", 6, small, sizeof small);
    assert_string_equal(small, "ab");
    rd_grpc_text("a\u20ac", 4, small, sizeof small); /* not cut inside a character */
    assert_string_equal(small, "a");
    char long_text[1000];
    memset(long_text, 'x', sizeof long_text);
    rd_grpc_text(long_text, sizeof long_text, out, sizeof out);
    assert_int_equal(strlen(out), RD_GRPC_TEXT_MAX);
}

static void test_timeout(void **state)
{
    (void)state;
    static const struct {
        uint64_t ns;
        const char *text;
    } cases[] = {
        {0, "1n"},
        {1, "1n"},
        {99999999, "99999999n"},
        {100000000, "100000u"},
        {99999999999, "99999999u"},
        {300000000000, "300000m"},
        {99999999999999, "99999999m"},
        {100000000000000, "100000S"},
        {UINT64_MAX, "307445734M"},
    };
    char out[RD_GRPC_TIMEOUT_LEN + 1];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rd_grpc_timeout(cases[i].ns, out);
        if (cases[i].ns != UINT64_MAX) {
            assert_string_equal(out, cases[i].text);
        }
        assert_true(strlen(out) <= RD_GRPC_TIMEOUT_LEN);
    }
    assert_string_equal(out, "5124095H");
}

static void test_type(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        bool is;
    } cases[] = {
        {"application/grpc", true},
        {"application/grpc+proto", true},
        {"application/grpc;x=y", true},
        {"Application/GRPC", true},
        {"application/grpc+json", false},
        {"application/grpc-web", false},
        {"application/grp", false},
        {"text/html", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(rd_grpc_type_is(cases[i].type, strlen(cases[i].type)), cases[i].is);
    }
}

static void test_targets(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host, *port, *authority;
        bool tls;
    } cases[] = {
        {"grpc://box", "box", "8001", "box:8001", false},
        {"grpc://box/", "box", "8001", "box:8001", false},
        {"grpcs://box.example:443", "box.example", "443", "box.example:443", true},
        {"grpc://10.0.0.1:1", "10.0.0.1", "1", "10.0.0.1:1", false},
        {"grpc://[::1]:65535", "::1", "65535", "[::1]:65535", false},
        {"grpc://[fe80::1]", "fe80::1", "8001", "[fe80::1]:8001", false},
    };
    struct rd_grpc_target target;
    struct rd_why why;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(rd_grpc_target_parse(cases[i].url, &target, &why), RD_OK);
        assert_string_equal(target.host, cases[i].host);
        assert_string_equal(target.port, cases[i].port);
        assert_string_equal(target.authority, cases[i].authority);
        assert_int_equal(target.tls, cases[i].tls);
    }
    char name[RD_GRPC_HOST_MAX + 16] = "grpc://";
    memset(name + 7, 'a', RD_GRPC_HOST_MAX);
    assert_int_equal(rd_grpc_target_parse(name, &target, &why), RD_OK);
    name[7 + RD_GRPC_HOST_MAX] = 'a';
    assert_int_equal(rd_grpc_target_parse(name, &target, &why), RD_ERR_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meanings), cmocka_unit_test(test_status),
        cmocka_unit_test(test_text),     cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_type),     cmocka_unit_test(test_targets),
    };
    return cmocka_run_group_tests_name("engine/grpc_status", tests, NULL, NULL);
}
