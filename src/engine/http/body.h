/* SPDX-License-Identifier: Apache-2.0
 *
 * The body of one request, as a list of pieces: text that was written for it, and bytes that stand
 * elsewhere (a source picture, a tensor), as they are or as base64. Those are never copied, and
 * base64 is made while libcurl asks for bytes; so a body may be read from any offset, and again
 * after a rewind.
 *
 *     rd_buf_str(&body->text, "{\"image\":\"");            text, with any rd_buf function
 *     rd_http_body_base64(body, picture, picture_len);     must stay until the exchange's end
 *     rd_buf_str(&body->text, "\"}");
 *     RD_TRY(rd_http_body_seal(body));                     now it can be read */
#ifndef RD_ENGINE_HTTP_BODY_H
#define RD_ENGINE_HTTP_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { RD_HTTP_BODY_PIECES = 64 };

struct rd_http_piece {
    const uint8_t *data; /* NULL: `len` bytes of the text */
    size_t len;          /* as it goes out */
    size_t raw_len;      /* bytes before base64; 0: as they are */
};

struct rd_http_body {
    struct rd_buf text; /* all pieces of text, one behind the other */
    struct rd_http_piece pieces[RD_HTTP_BODY_PIECES];
    size_t count;
    size_t text_used; /* of the text: in pieces already */
    rd_err err;       /* too many pieces */
    uint64_t total, offset;
};

void rd_http_body_init(struct rd_http_body *body);
void rd_http_body_done(struct rd_http_body *body);
void rd_http_body_reset(struct rd_http_body *body); /* empty; the text's memory is kept */
/* Bytes as they are, and as base64, behind what is there. */
void rd_http_body_bytes(struct rd_http_body *body, const void *data, size_t len);
void rd_http_body_base64(struct rd_http_body *body, const void *data, size_t len);
/* No more is added. TOO_LARGE when there are too many pieces or too much text, NO_MEMORY. */
rd_err rd_http_body_seal(struct rd_http_body *body) RD_MUST;
/* The bytes that stand in it so far (exact for sealed and unsealed bodies). */
uint64_t rd_http_body_len(const struct rd_http_body *body);

/* The whole body when it is one piece of text (`body->total` bytes), else NULL. */
const char *rd_http_body_flat(const struct rd_http_body *body);
/* The next at most `room` bytes; 0 at the end. */
size_t rd_http_body_read(struct rd_http_body *body, char *out, size_t room);
void rd_http_body_rewind(struct rd_http_body *body);

#endif
