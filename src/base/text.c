/* SPDX-License-Identifier: Apache-2.0
 *
 * UTF-8, hex, base64 (through libsodium), base62. See text.h. */
#include "base/text.h"

#include <string.h>

#include <sodium.h>

size_t rd_text_utf8_width(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    if (len == 0) {
        return 0;
    }
    if (p[0] < 0x80) {
        return 1;
    }
    size_t width = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || len < width) {
        return 0;
    }
    for (size_t i = 1; i < width; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool surrogate = p[0] == 0xed && p[1] >= 0xa0;
    bool beyond = p[0] == 0xf4 && p[1] >= 0x90;
    return overlong || surrogate || beyond ? 0 : width;
}

bool rd_text_utf8_valid(const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t width = rd_text_utf8_width(text + i, len - i);
        if (width == 0) {
            return false;
        }
        i += width;
    }
    return true;
}

size_t rd_text_utf8_count(const char *text, size_t len)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++) {
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    }
    return count;
}

void rd_text_hex(const void *data, size_t len, char *out)
{
    (void)sodium_bin2hex(out, len * 2 + 1, data, len);
}

bool rd_text_unhex(const char *text, size_t text_len, void *ret_data, size_t len)
{
    if (text_len != len * 2) {
        return false;
    }
    for (size_t i = 0; i < text_len; i++) {
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f'))) {
            return false;
        }
    }
    return sodium_hex2bin(ret_data, len, text, text_len, NULL, NULL, NULL) == 0;
}

void rd_text_base64(const void *data, size_t len, char *out)
{
    (void)sodium_bin2base64(out, RD_TEXT_BASE64_LEN(len) + 1, data, len,
                            sodium_base64_VARIANT_ORIGINAL);
}

void rd_text_base64url(const void *data, size_t len, char *out)
{
    (void)sodium_bin2base64(out, RD_TEXT_BASE64_LEN(len) + 1, data, len,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

static rd_err unbase64(const char *text, size_t text_len, void *ret, size_t *ret_len, int variant)
{
    const char *end = NULL;
    size_t len = 0;
    size_t room = text_len / 4 * 3 + 3;
    for (size_t i = 0; i < text_len; i++) {
        if ((unsigned char)text[i] >=
            0x80) { /* libsodium 1.0.18 takes every such byte for a digit */
            return RD_ERR_INVALID_REQUEST;
        }
    }
    if (sodium_base642bin(ret, room, text, text_len, NULL, &len, &end, variant) != 0 ||
        end != text + text_len) {
        return RD_ERR_INVALID_REQUEST;
    }
    *ret_len = len;
    return RD_OK;
}

rd_err rd_text_unbase64(const char *text, size_t text_len, void *ret, size_t *ret_len)
{
    if (text_len % 4 != 0) {
        return RD_ERR_INVALID_REQUEST;
    }
    return unbase64(text, text_len, ret, ret_len, sodium_base64_VARIANT_ORIGINAL);
}

rd_err rd_text_unbase64_any(const char *text, size_t text_len, void *ret, size_t *ret_len)
{
    bool url = memchr(text, '-', text_len) != NULL || memchr(text, '_', text_len) != NULL;
    /* All of the padding or none of it: a text has two spellings, not many. */
    if (text_len > 0 && text_len % 4 == 0) {
        text_len -= text[text_len - 1] == '=';
        text_len -= text_len % 4 == 3 && text[text_len - 1] == '=';
    }
    return unbase64(text, text_len, ret, ret_len,
                    url ? sodium_base64_VARIANT_URLSAFE_NO_PADDING
                        : sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
}

void rd_text_base62_u128(unsigned __int128 value, size_t digits, char *out)
{
    static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    out[digits] = '\0';
    while (digits > 0) {
        out[--digits] = alphabet[(unsigned)(value % 62)];
        value /= 62;
    }
}

bool rd_text_u64(const char *text, size_t len, uint64_t *ret)
{
    if (len == 0 || len > 20 || (len > 1 && text[0] == '0')) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value)) {
            return false;
        }
    }
    *ret = value;
    return true;
}

bool rd_text_eq(const char *a, size_t a_len, const char *b)
{
    return strlen(b) == a_len && memcmp(a, b, a_len) == 0;
}

bool rd_text_starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool rd_text_ends(const char *text, const char *suffix)
{
    size_t len = strlen(text);
    size_t suffix_len = strlen(suffix);
    return len >= suffix_len && memcmp(text + len - suffix_len, suffix, suffix_len) == 0;
}

bool rd_text_secret_eq(const void *a, size_t a_len, const void *b, size_t b_len)
{
    return a_len == b_len && sodium_memcmp(a, b, a_len) == 0;
}
