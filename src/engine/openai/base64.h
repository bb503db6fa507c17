/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64 as it arrives: the standard alphabet, padded, nothing else in it. What was decoded is
 * handed on in pieces of at most RD_OPENAI_BYTES_MAX bytes, at the latest when the call returns.
 * base/text.h decodes whole texts, with libsodium, in constant time: 7 ms a megabyte. That is for
 * secrets; a picture is none, and takes a table and half a millisecond. */
#ifndef RD_ENGINE_OPENAI_BASE64_H
#define RD_ENGINE_OPENAI_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { RD_OPENAI_BYTES_MAX = 12288 };

struct rd_openai_base64 {
    void *ctx;
    rd_err (*bytes)(void *ctx, const uint8_t *bytes, size_t len); /* never 0 */
    char quantum[4]; /* four characters are three bytes */
    size_t quantum_len;
    bool padded; /* it has come to its end */
    bool bad;    /* what came is no base64; else an error is the one of bytes() */
    size_t out_len;
    uint8_t out[RD_OPENAI_BYTES_MAX];
};

void rd_openai_base64_begin(struct rd_openai_base64 *base64, void *ctx,
                            rd_err (*bytes)(void *ctx, const uint8_t *bytes, size_t len));
/* Takes characters from the front of `data` for as long as they are plain base64, and says how
 * many. What follows may be of it as well (padding): it goes to take(). Hands nothing on unless it
 * must; a take() comes behind it. */
rd_err rd_openai_base64_plain(struct rd_openai_base64 *base64, const char *data, size_t len,
                              size_t *ret_used) RD_MUST;
/* All of `data` is to be base64. BACKEND_FAILED and `bad` when it is not. */
rd_err rd_openai_base64_take(struct rd_openai_base64 *base64, const char *data, size_t len) RD_MUST;
/* It may end here. */
bool rd_openai_base64_whole(const struct rd_openai_base64 *base64);

#endif
