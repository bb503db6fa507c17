/* SPDX-License-Identifier: Apache-2.0
 *
 * Text: UTF-8, encodings of bytes as text, and small parsers that accept exactly one form. Encoders
 * write a NUL and need the stated room; decoders refuse anything but the exact alphabet. */
#ifndef RD_BASE_TEXT_H
#define RD_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Bytes of the UTF-8 sequence at the start of `text` (1 to 4); 0 when it is not well formed
 * (overlong, surrogate, above U+10FFFF, or cut). RFC 3629. */
size_t rd_text_utf8_width(const char *text, size_t len);
bool rd_text_utf8_valid(const char *text, size_t len);
/* Unicode code points in well-formed UTF-8. */
size_t rd_text_utf8_count(const char *text, size_t len);

/* Lower-case hex; `out` has room for 2 * len + 1. */
void rd_text_hex(const void *data, size_t len, char *out);
/* Exactly 2 * len lower-case hex digits in `text`; false otherwise. */
bool rd_text_unhex(const char *text, size_t text_len, void *ret_data, size_t len);

/* Base64 of RFC 4648, with padding (standard) or without (URL-safe). */
#define RD_TEXT_BASE64_LEN(len) (((len) + 2) / 3 * 4)
void rd_text_base64(const void *data, size_t len, char *out);    /* room: BASE64_LEN + 1 */
void rd_text_base64url(const void *data, size_t len, char *out); /* the same room */
/* Decodes standard base64, padding required, no white space, unused bits zero. `ret` has room for
 * text_len / 4 * 3 + 3. INVALID_REQUEST when it is not that. */
rd_err rd_text_unbase64(const char *text, size_t text_len, void *ret, size_t *ret_len) RD_MUST;
/* Either alphabet, padding optional: what DSSE asks of verifiers. */
rd_err rd_text_unbase64_any(const char *text, size_t text_len, void *ret, size_t *ret_len) RD_MUST;

/* The lowest `digits` base62 digits of `value`, most significant first, alphabet 0-9A-Za-z (so that
 * text order is number order). Room: digits + 1. */
void rd_text_base62_u128(unsigned __int128 value, size_t digits, char *out);

/* A whole decimal number in `text`: digits only, no sign, no leading zero but "0" itself. */
bool rd_text_u64(const char *text, size_t len, uint64_t *ret);

bool rd_text_eq(const char *a, size_t a_len, const char *b); /* a equals the C string b */
bool rd_text_starts(const char *text, const char *prefix);
bool rd_text_ends(const char *text, const char *suffix);
/* Equal in constant time with respect to the contents; lengths are public. */
bool rd_text_secret_eq(const void *a, size_t a_len, const void *b, size_t b_len);

#endif
