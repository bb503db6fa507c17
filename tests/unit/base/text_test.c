/* SPDX-License-Identifier: Apache-2.0
 *
 * Text: UTF-8 against an independent decoder over all short sequences, encodings against the
 * vectors of RFC 4648, and one spelling for one value (two for base64 that DSSE allows). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

/* RFC 3629 read the other way round: which bytes does each code point have? */
static size_t encode(uint32_t point, uint8_t out[4])
{
    if (point < 0x80) {
        out[0] = (uint8_t)point;
        return 1;
    }
    size_t width = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = width - 1; i > 0; i--) {
        out[i] = (uint8_t)(0x80 | (point & 0x3f));
        point >>= 6;
    }
    out[0] = (uint8_t)(leads[width] | point);
    return width;
}

static void every_code_point_and_no_surrogate(void **state)
{
    (void)state;
    for (uint32_t point = 0; point < 0x110000 + 0x1000; point++) {
        uint8_t bytes[4];
        size_t width = encode(point, bytes);
        bool fine = point <= 0x10ffff && (point < 0xd800 || point > 0xdfff);
        if (rd_text_utf8_width((const char *)bytes, width) != (fine ? width : 0)) {
            fail_msg("U+%04X", point);
        }
        for (size_t cut = 1; cut < width; cut++) {
            assert_int_equal(rd_text_utf8_width((const char *)bytes, cut), 0);
        }
    }
}

/* All 2^24 sequences of three bytes hold exactly as many well-formed ones as the tables of the
 * standard say: so nothing overlong and no stray byte passes. */
static void three_byte_sequences_are_counted(void **state)
{
    (void)state;
    size_t widths[5] = {0};
    for (uint32_t value = 0; value < 1u << 24; value++) {
        char bytes[3] = {(char)(value >> 16), (char)(value >> 8), (char)value};
        widths[rd_text_utf8_width(bytes, 3)]++;
    }
    assert_int_equal(widths[1], 128u * 65536);
    assert_int_equal(widths[2], (0x800u - 0x80) * 256);
    assert_int_equal(widths[3], 0x10000u - 0x800 - 0x800);
    assert_int_equal(widths[4], 0); /* cut */
}

static void utf8_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
    } cases[] = {
        {"", true},
        {"plain", true},
        {"\xc3\xa9t\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\xa8", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\xf4\x90\x80\x80", false},
        {"\xf5\x80\x80\x80", false},
        {"\xc0\x80", false},
        {"\xc1\xbf", false},
        {"\xe0\x9f\xbf", false},
        {"\xf0\x8f\xbf\xbf", false},
        {"\xed\xa0\x80", false},
        {"\xed\x9f\xbf", true},
        {"\xee\x80\x80", true},
        {"\x80", false},
        {"\xbf", false},
        {"\xfe", false},
        {"\xff", false},
        {"a\xc3", false},
        {"a\xc3\x28", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(rd_text_utf8_valid(cases[i].text, strlen(cases[i].text)), cases[i].ok);
    }
    assert_true(rd_text_utf8_valid("\0", 1));
    assert_int_equal(rd_text_utf8_width("", 0), 0);
    assert_int_equal(rd_text_utf8_count("\xc3\xa9t\xc3\xa9 \xf0\x9f\x8e\xa8", 10), 5);
    assert_int_equal(rd_text_utf8_count("", 0), 0);
}

static void hex(void **state)
{
    (void)state;
    char text[513];
    uint8_t bytes[256];
    uint8_t back[256];
    for (int i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
    }
    rd_text_hex(bytes, 256, text);
    assert_memory_equal(text, "000102030405060708090a0b0c0d0e0f10", 34);
    assert_true(rd_text_unhex(text, 512, back, 256));
    assert_memory_equal(bytes, back, 256);
    assert_true(rd_text_unhex("", 0, back, 0));
    static const char *const bad[] = {"0", "000", "0g", "0G", "AB", "aB", " 00", "0x", "00 ", "-1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(rd_text_unhex(bad[i], strlen(bad[i]), back, 1));
    }
    for (int c = 0; c < 256; c++) {
        char pair[2] = {'0', (char)c};
        bool ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        assert_int_equal(rd_text_unhex(pair, 2, back, 1), ok);
    }
}

static const struct {
    const char *plain, *encoded;
} rfc4648[] = {{"", ""},
               {"f", "Zg=="},
               {"fo", "Zm8="},
               {"foo", "Zm9v"},
               {"foob", "Zm9vYg=="},
               {"fooba", "Zm9vYmE="},
               {"foobar", "Zm9vYmFy"},
               {"\xfb\xff\xbf", "+/+/"}};

static void base64_of_rfc_4648(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rfc4648 / sizeof rfc4648[0]; i++) {
        char text[16];
        uint8_t back[16];
        size_t len = 99;
        size_t plain_len = strlen(rfc4648[i].plain);
        rd_text_base64(rfc4648[i].plain, plain_len, text);
        assert_string_equal(text, rfc4648[i].encoded);
        assert_int_equal(strlen(text), RD_TEXT_BASE64_LEN(plain_len));
        assert_int_equal(rd_text_unbase64(text, strlen(text), back, &len), RD_OK);
        assert_int_equal(len, plain_len);
        assert_memory_equal(back, rfc4648[i].plain, len);
    }
    char url[16];
    rd_text_base64url("\xfb\xff\xbf", 3, url);
    assert_string_equal(url, "-_-_");
    rd_text_base64url("f", 1, url);
    assert_string_equal(url, "Zg");
}

/* Every length and many contents: back to the same bytes through all four spellings. */
static void base64_round_trips(void **state)
{
    (void)state;
    uint8_t bytes[200] = {0};
    for (size_t len = 0; len < sizeof bytes; len++) {
        char standard[300];
        char url[300];
        uint8_t back[300];
        size_t got = 0;
        for (size_t i = 0; i < len; i++) {
            bytes[i] = (uint8_t)(i * 151 + len * 17);
        }
        rd_text_base64(bytes, len, standard);
        rd_text_base64url(bytes, len, url);
        assert_int_equal(rd_text_unbase64(standard, strlen(standard), back, &got), RD_OK);
        assert_int_equal(got, len);
        assert_memory_equal(back, bytes, len);
        assert_int_equal(rd_text_unbase64_any(standard, strlen(standard), back, &got), RD_OK);
        assert_int_equal(got, len);
        assert_int_equal(rd_text_unbase64_any(url, strlen(url), back, &got), RD_OK);
        assert_int_equal(got, len);
        assert_memory_equal(back, bytes, len);
        size_t bare = strcspn(standard, "=");
        assert_int_equal(rd_text_unbase64_any(standard, bare, back, &got), RD_OK);
        assert_int_equal(got, len);
        if (bare != strlen(standard)) { /* the strict form wants its padding */
            assert_int_equal(rd_text_unbase64(standard, bare, back, &got), RD_ERR_INVALID_REQUEST);
        }
    }
}

static void base64_that_is_not_exact_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool any_takes; /* what the lenient form still takes */
    } bad[] = {
        {"Zg", true},      {"Zg=", false},         {"Zg===", false},     {"Zg====", false},
        {"Z===", false},   {"====", false},        {"=", false},         {"==", false},
        {"Z", false},      {"Zm9vY", false},       {"Zh==", false}, /* unused bits set */
        {"Zm9=", false},   {"Zm8", true},          {"Zm9v====", false},  {" Zm9v", false},
        {"Zm9v\n", false}, {"Zm 9v", false},       {"Zm9v Zm9v", false}, {"Zg==Zg==", false},
        {"Zm9*", false},   {"Z\xc3\xa9==", false}, {"-_-_", true},       {"+_+_", false},
        {"-/+_", false},   {"Zm9v=", false},       {"Zm9v==", false},    {"Zm8==", false},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t out[32];
        size_t len = 77;
        assert_int_equal(rd_text_unbase64(bad[i].text, strlen(bad[i].text), out, &len),
                         RD_ERR_INVALID_REQUEST);
        assert_int_equal(len, 77); /* untouched */
        rd_err err = rd_text_unbase64_any(bad[i].text, strlen(bad[i].text), out, &len);
        if ((err == RD_OK) != bad[i].any_takes) {
            fail_msg("%s", bad[i].text);
        }
    }
    uint8_t out[8];
    size_t len = 0;
    assert_int_equal(rd_text_unbase64("Zg\0=", 4, out, &len), RD_ERR_INVALID_REQUEST);
    assert_int_equal(rd_text_unbase64_any("Zg\0=", 4, out, &len), RD_ERR_INVALID_REQUEST);
}

/* All texts of four characters of a small alphabet: each byte string has one strict spelling. */
static void base64_is_not_malleable(void **state)
{
    (void)state;
    static const char alphabet[] = "AQgw/+=-_ ";
    enum { LETTERS = sizeof alphabet - 1 };
    size_t count = 0;
    for (int n = 0; n < LETTERS * LETTERS * LETTERS * LETTERS; n++) {
        char text[5] = {alphabet[n % LETTERS], alphabet[n / LETTERS % LETTERS],
                        alphabet[n / LETTERS / LETTERS % LETTERS],
                        alphabet[n / LETTERS / LETTERS / LETTERS], '\0'};
        uint8_t out[8];
        size_t len = 0;
        if (rd_text_unbase64(text, 4, out, &len) != RD_OK) {
            continue;
        }
        char again[8];
        rd_text_base64(out, len, again);
        assert_string_equal(again,
                            text); /* encoding is the inverse: so no two texts decode alike */
        count++;
    }
    /* Six letters are digits; four of them (0, 16, 32, 48) leave the unused bits of padding zero.
     */
    assert_int_equal(count, 6 * 6 * 6 * 6 + 6 * 6 * 4 + 6 * 4);
}

static void base62(void **state)
{
    (void)state;
    char text[40];
    rd_text_base62_u128(0, 3, text);
    assert_string_equal(text, "000");
    rd_text_base62_u128(61, 2, text);
    assert_string_equal(text, "0z");
    rd_text_base62_u128(62, 2, text);
    assert_string_equal(text, "10");
    rd_text_base62_u128(62 * 62, 2, text); /* only the lowest digits */
    assert_string_equal(text, "00");
    rd_text_base62_u128(~(unsigned __int128)0, 22, text);
    assert_string_equal(text, "7n42DGM5Tflk9n8mt7Fhc7");
    rd_text_base62_u128(5, 0, text);
    assert_string_equal(text, "");
}

static void decimal_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } cases[] = {
        {"0", true, 0},
        {"7", true, 7},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"99999999999999999999", false, 0},
        {"100000000000000000000", false, 0},
        {"", false, 0},
        {"00", false, 0},
        {"01", false, 0},
        {"+1", false, 0},
        {"-1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1a", false, 0},
        {"0x1", false, 0},
        {"1.0", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t value = 42;
        assert_int_equal(rd_text_u64(cases[i].text, strlen(cases[i].text), &value), cases[i].ok);
        assert_true(value == (cases[i].ok ? cases[i].value : 42));
    }
}

static void comparisons(void **state)
{
    (void)state;
    assert_true(rd_text_eq("abc", 3, "abc"));
    assert_false(rd_text_eq("abc", 2, "abc"));
    assert_false(rd_text_eq("abcd", 4, "abc"));
    assert_false(rd_text_eq("ab\0", 3, "ab"));
    assert_true(rd_text_eq("", 0, ""));
    assert_true(rd_text_starts("abc", ""));
    assert_true(rd_text_starts("abc", "abc"));
    assert_false(rd_text_starts("ab", "abc"));
    assert_true(rd_text_ends("abc", "bc"));
    assert_true(rd_text_ends("abc", ""));
    assert_false(rd_text_ends("c", "bc"));
    assert_true(rd_text_secret_eq("abc", 3, "abc", 3));
    assert_false(rd_text_secret_eq("abc", 3, "abd", 3));
    assert_false(rd_text_secret_eq("abc", 3, "abc", 2));
    assert_true(rd_text_secret_eq("", 0, "", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_and_no_surrogate),
        cmocka_unit_test(three_byte_sequences_are_counted),
        cmocka_unit_test(utf8_texts),
        cmocka_unit_test(hex),
        cmocka_unit_test(base64_of_rfc_4648),
        cmocka_unit_test(base64_round_trips),
        cmocka_unit_test(base64_that_is_not_exact_is_refused),
        cmocka_unit_test(base64_is_not_malleable),
        cmocka_unit_test(base62),
        cmocka_unit_test(decimal_numbers),
        cmocka_unit_test(comparisons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
