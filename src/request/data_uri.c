/* SPDX-License-Identifier: Apache-2.0
 *
 * Data URIs. See data_uri.h.
 *
 * The decoder is not base/text.h's: that one (libsodium's) takes constant time for secrets, which
 * costs a large picture a tenth of a second. A picture in a request is no secret to its sender, so
 * here is a table: four letters become three bytes, and the errors of a whole block are looked at
 * once. */
#include "request/data_uri.h"

#include <string.h>

#include "base/limits.h"

static const struct {
    const char *header;
    enum rd_media media;
} headers[] = {
    {"data:image/png;base64,", RD_MEDIA_PNG},
    {"data:image/jpeg;base64,", RD_MEDIA_JPEG},
    {"data:image/jpg;base64,", RD_MEDIA_JPEG},
    {"data:image/webp;base64,", RD_MEDIA_WEBP},
};

enum { BAD = 0xff };

/* The value of each base64 letter; BAD for every other byte. */
/* clang-format off */
static const uint8_t values[256] = {
#define BAD4 BAD, BAD, BAD, BAD
#define BAD16 BAD4, BAD4, BAD4, BAD4
    BAD16, BAD16,                                                              /* 0x00 */
    BAD4,  BAD4,  BAD,  BAD,   BAD,  62, BAD, BAD, BAD, 63,                    /* 0x20: + / */
    52,    53,    54,   55,    56,   57, 58,  59,  60,  61, BAD4, BAD, BAD,    /* 0x30: 0-9 */
    BAD,   0,     1,    2,     3,    4,  5,   6,   7,   8,  9,    10,  11, 12, 13, 14, /* 0x40: A */
    15,    16,    17,   18,    19,   20, 21,  22,  23,  24, 25,   BAD4, BAD,   /* 0x50 */
    BAD,   26,    27,   28,    29,   30, 31,  32,  33,  34, 35,   36,  37, 38, 39, 40, /* 0x60: a */
    41,    42,    43,   44,    45,   46, 47,  48,  49,  50, 51,   BAD4, BAD,   /* 0x70 */
    BAD16, BAD16, BAD16, BAD16, BAD16, BAD16, BAD16, BAD16,                    /* 0x80 */
};
/* clang-format on */

rd_err rd_data_uri_split(const char *text, size_t len, struct rd_data_uri *ret, struct rd_why *why)
{
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        size_t header_len = strlen(headers[i].header);
        if (len < header_len || memcmp(text, headers[i].header, header_len) != 0) {
            continue;
        }
        struct rd_data_uri uri = {
            .media = headers[i].media, .base64 = text + header_len, .base64_len = len - header_len};
        if (uri.base64_len == 0 || uri.base64_len % 4 != 0) {
            return rd_why_set(
                why, RD_ERR_INVALID_REQUEST,
                "expected padded base64, a multiple of 4 letters long, got %zu letters",
                uri.base64_len);
        }
        uri.decoded_len = uri.base64_len / 4 * 3;
        uri.decoded_len -= uri.base64[uri.base64_len - 1] == '=';
        uri.decoded_len -= uri.base64[uri.base64_len - 2] == '=';
        if (uri.decoded_len > RD_LIMIT_DATA_URI_DECODED) {
            return rd_why_set(
                why, RD_ERR_TOO_LARGE,
                "expected at most %zu bytes once decoded, got %zu; POST /uploads takes "
                "larger pictures",
                RD_LIMIT_DATA_URI_DECODED, uri.decoded_len);
        }
        *ret = uri;
        return RD_OK;
    }
    return rd_why_set(
        why, RD_ERR_INVALID_REQUEST,
        "expected data:image/png;base64, (or jpeg, jpg, webp) and nothing else before "
        "the base64");
}

static rd_err bad_letter(const struct rd_data_uri *uri, size_t from, struct rd_why *why)
{
    while (from < uri->base64_len && values[(uint8_t)uri->base64[from]] != BAD) {
        from++;
    }
    return rd_why_set(why, RD_ERR_INVALID_REQUEST,
                      "expected base64, got another byte at offset %zu", from);
}

/* The last four letters, of which the last one or two may be padding. */
static rd_err decode_tail(const struct rd_data_uri *uri, uint8_t *out, struct rd_why *why)
{
    size_t from = uri->base64_len - 4;
    const uint8_t *text = (const uint8_t *)uri->base64 + from;
    size_t count = 3 - (uri->base64_len / 4 * 3 - uri->decoded_len); /* bytes: 1, 2 or 3 */
    uint8_t letters[4] = {0};
    for (size_t i = 0; i <= count; i++) {
        letters[i] = values[text[i]];
        if (letters[i] == BAD) {
            return bad_letter(uri, from, why);
        }
    }
    for (size_t i = count + 1; i < 4; i++) {
        if (text[i] != '=') {
            return bad_letter(uri, from, why);
        }
    }
    uint32_t bits = (uint32_t)letters[0] << 18 | (uint32_t)letters[1] << 12 |
                    (uint32_t)letters[2] << 6 | letters[3];
    if (count < 3 && (bits & (count == 1 ? 0xffffu : 0xffu)) != 0) {
        return rd_why_set(
            why, RD_ERR_INVALID_REQUEST,
            "expected canonical base64, got unused bits that are not zero at its end");
    }
    for (size_t i = 0; i < count; i++) {
        out[i] = (uint8_t)(bits >> (16 - 8 * i));
    }
    return RD_OK;
}

rd_err rd_data_uri_decode(const struct rd_data_uri *uri, uint8_t *out, struct rd_why *why)
{
    const uint8_t *text = (const uint8_t *)uri->base64;
    size_t whole = uri->base64_len - 4;
    unsigned bad = 0;
    for (size_t at = 0; at < whole; at += 4) {
        unsigned a = values[text[at]];
        unsigned b = values[text[at + 1]];
        unsigned c = values[text[at + 2]];
        unsigned d = values[text[at + 3]];
        bad |= a | b | c | d; /* letters are below 64: the top bit is BAD's alone */
        uint32_t bits = a << 18 | b << 12 | c << 6 | d;
        *out++ = (uint8_t)(bits >> 16);
        *out++ = (uint8_t)(bits >> 8);
        *out++ = (uint8_t)bits;
    }
    if ((bad & 0x80) != 0) {
        return bad_letter(uri, 0, why);
    }
    return decode_tail(uri, out, why);
}
