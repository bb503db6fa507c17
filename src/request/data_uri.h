/* SPDX-License-Identifier: Apache-2.0
 *
 * Pictures inside JSON: `data:image/(png|jpeg|jpg|webp);base64,<base64>`, exactly that, in lower
 * case, without parameters or white space. (RFC 2397 allows more; nobody sends it, and one form
 * leaves no room for two readings.) Splitting looks at the header only; decoding is strict:
 * standard alphabet, padded, unused bits zero. Pure functions. */
#ifndef RD_REQUEST_DATA_URI_H
#define RD_REQUEST_DATA_URI_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/generation.h"

struct rd_data_uri {
    enum rd_media media; /* what it claims: PNG, JPEG or WEBP */
    const char *base64;  /* inside the text given to split */
    size_t base64_len;
    size_t decoded_len; /* what decoding gives, if the base64 is valid */
};

/* INVALID_REQUEST when `text` does not begin with one of the four headers, or when what follows is
 * empty or no multiple of 4 long; TOO_LARGE when it decodes to more than RD_LIMIT_DATA_URI_DECODED.
 * `why` says so for a human. */
rd_err rd_data_uri_split(const char *text, size_t len, struct rd_data_uri *ret,
                         struct rd_why *why) RD_MUST;
/* Writes uri->decoded_len bytes. INVALID_REQUEST (with why: where) when it is not base64; then the
 * bytes at `out` are undefined. */
rd_err rd_data_uri_decode(const struct rd_data_uri *uri, uint8_t *out, struct rd_why *why) RD_MUST;

#endif
