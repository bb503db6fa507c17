/* SPDX-License-Identifier: Apache-2.0
 *
 * What an HTTP engine's answer means, row by row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "engine/http/reply.h"

static void test_statuses(void **state)
{
    (void)state;
    for (long status = 100; status < 600; status++) {
        rd_err want = status == 429 || status == 503   ? RD_ERR_CAPACITY
                      : status == 408 || status == 504 ? RD_ERR_BACKEND_TIMEOUT
                                                       : RD_ERR_BACKEND_FAILED;
        assert_int_equal(rd_http_status_err(status), want);
    }
    assert_int_equal(rd_http_status_err(0), RD_ERR_BACKEND_FAILED);
}

static void test_types(void **state)
{
    (void)state;
    static const char *const png[] = {"image/png", "IMAGE/PNG", "image/png;x=1", "image/png ; x=1"};
    static const char *const not_png[] = {"image/pngx", "image/pn",   "",          "image/jpeg",
                                          "text/plain", " image/png", "image/png,"};
    for (size_t i = 0; i < sizeof png / sizeof png[0]; i++) {
        assert_true(rd_http_type_is(png[i], RD_MEDIA_PNG));
        assert_false(rd_http_type_is(png[i], RD_MEDIA_WEBP));
    }
    for (size_t i = 0; i < sizeof not_png / sizeof not_png[0]; i++) {
        assert_false(rd_http_type_is(not_png[i], RD_MEDIA_PNG));
    }
    assert_false(rd_http_type_is(NULL, RD_MEDIA_PNG));
    assert_true(rd_http_type_is("video/mp4", RD_MEDIA_MP4));

    static const char *const text[] = {"text/plain", "Text/HTML; charset=utf-8", "application/json",
                                       "application/problem+json; x",
                                       "application/JSON;charset=utf-8"};
    static const char *const not_text[] = {
        "image/png", "application/jsonx",        "application/octet-stream", "",
        "texts",     "application/problem+jsonx"};
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
        assert_true(rd_http_type_is_text(text[i]));
    }
    for (size_t i = 0; i < sizeof not_text / sizeof not_text[0]; i++) {
        assert_false(rd_http_type_is_text(not_text[i]));
    }
    assert_false(rd_http_type_is_text(NULL));
}

static void test_magics(void **state)
{
    (void)state;
    static const char firsts[RD_MEDIA_COUNT_][RD_HTTP_MAGIC_LEN + 1] = {
        [RD_MEDIA_PNG] = "\x89PNG\r\n\x1a\nabcd",
        [RD_MEDIA_WEBP] = "RIFFabcdWEBP",
        [RD_MEDIA_JPEG] = "\xff\xd8\xff\xe0ghijklmn",
        [RD_MEDIA_MP4] = "abcdftypisom",
    };
    for (unsigned media = 0; media < RD_MEDIA_COUNT_; media++) {
        for (unsigned bytes = 0; bytes < RD_MEDIA_COUNT_; bytes++) {
            assert_int_equal(rd_http_magic_is(firsts[bytes], (enum rd_media)media), media == bytes);
        }
        assert_false(rd_http_magic_is("{\"error\": 1}", (enum rd_media)media));
    }
    /* Every byte that must stand counts. */
    static const struct {
        enum rd_media media;
        size_t from, to;
    } fixed[] = {{RD_MEDIA_PNG, 0, 8},
                 {RD_MEDIA_WEBP, 0, 4},
                 {RD_MEDIA_WEBP, 8, 12},
                 {RD_MEDIA_JPEG, 0, 3},
                 {RD_MEDIA_MP4, 4, 8}};
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        for (size_t at = fixed[i].from; at < fixed[i].to; at++) {
            char bytes[RD_HTTP_MAGIC_LEN];
            memcpy(bytes, firsts[fixed[i].media], sizeof bytes);
            bytes[at] ^= 1;
            assert_false(rd_http_magic_is(bytes, fixed[i].media));
        }
    }
}

static void test_seconds(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ns;
    } good[] = {
        {"0", 0},
        {"1", 1000000000},
        {"1.25", 1250000000},
        {"0.000000001", 1},
        {"0.0000000019", 1}, /* below a nanosecond: cut */
        {"0.9999999999", 999999999},
        {"1000000", 1000000000000000},
        {"1000000.999999999", 1000000999999999},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t ns = 42;
        assert_true(rd_http_seconds_parse(good[i].text, strlen(good[i].text), &ns));
        assert_int_equal(ns, good[i].ns);
    }
    static const char *const bad[] = {"",    ".",   ".5",  "1.",    "-1",   "+1",
                                      "1e3", "1,5", " 1",  "1 ",    "01",   "1000001",
                                      "nan", "inf", "0x1", "1.2.3", "1.-2", "18446744073709551616"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t ns = 42;
        assert_false(rd_http_seconds_parse(bad[i], strlen(bad[i]), &ns));
        assert_int_equal(ns, 42);
    }
}

static void test_sanitise(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", ""},
        {"plain text.", "plain text."},
        {"a\r\nb\tc", "a  b c"},
        {"\x1b[31mred\x7f", "?[31mred?"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"\xff\xfe", "??"},
        {"\xc2\x85\xc2\x9b", "??"}, /* C1 controls */
        {"\xe2\x82", "??"},         /* cut */
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
    };
    char out[64];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rd_http_sanitise(cases[i].in, strlen(cases[i].in), out, sizeof out);
        assert_string_equal(out, cases[i].out);
    }
    rd_http_sanitise("a\0b", 3, out, sizeof out);
    assert_string_equal(out, "a?b");
    rd_http_sanitise("abcdef", 6, out, 4); /* cut at the room, */
    assert_string_equal(out, "abc");
    rd_http_sanitise("ab\xc3\xbc", 4, out, 4); /* never inside a character */
    assert_string_equal(out, "ab");
    rd_http_sanitise("abc", 3, out, 1);
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses), cmocka_unit_test(test_types),
        cmocka_unit_test(test_magics),   cmocka_unit_test(test_seconds),
        cmocka_unit_test(test_sanitise),
    };
    return cmocka_run_group_tests_name("engine/http_reply", tests, NULL, NULL);
}
