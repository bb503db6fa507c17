/* SPDX-License-Identifier: Apache-2.0
 *
 * What one request to an HTTP engine says: JSON, as docs/http-engine.md describes. Source images
 * stand in it as base64, but never in memory: the body is a list of pieces, and base64 is made
 * while libcurl asks for bytes. So a body may be read from any offset, again after a rewind. */
#ifndef RD_ENGINE_HTTP_BODY_H
#define RD_ENGINE_HTTP_BODY_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "core/generation.h"

enum { RD_HTTP_BODY_PIECES = 5 };

struct rd_http_body {
    struct rd_buf text; /* all the text pieces, one behind the other */
    struct {
        const uint8_t *data; /* in `text`, or the picture's bytes */
        size_t len;          /* as it goes out */
        size_t raw_len;      /* a picture's bytes before base64; 0 for text */
    } pieces[RD_HTTP_BODY_PIECES];
    size_t count;
    uint64_t total, offset;
};

void rd_http_body_init(struct rd_http_body *body);
void rd_http_body_done(struct rd_http_body *body);
/* Makes the body of output `index`, keeping the buffer of an earlier one. The pictures are not
 * copied: `generation` must stay. */
rd_err rd_http_body_make(struct rd_http_body *body, const struct rd_generation *generation,
                         unsigned index) RD_MUST;
/* The whole body when it is one piece of text (`body->total` bytes), else NULL. */
const char *rd_http_body_flat(const struct rd_http_body *body);
/* The next at most `room` bytes; 0 at the end. */
size_t rd_http_body_read(struct rd_http_body *body, char *out, size_t room);
void rd_http_body_rewind(struct rd_http_body *body);

#endif
