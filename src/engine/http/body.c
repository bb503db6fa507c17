/* SPDX-License-Identifier: Apache-2.0
 *
 * The request body in pieces. See body.h. A piece of text says only its length: the buffer moves
 * while it grows, so where a piece stands in it is counted while reading. */
#include "engine/http/body.h"

#include <string.h>

#include "base/limits.h"
#include "base/text.h"

/* The request's own JSON is bounded by what the gateway reads; the rest is names and numbers. */
#define TEXT_MAX (RD_LIMIT_JSON_BODY_DATA_URI + RD_KIB(64))

void rd_http_body_init(struct rd_http_body *body)
{
    memset(body, 0, sizeof *body);
    rd_buf_init(&body->text, TEXT_MAX);
}

void rd_http_body_done(struct rd_http_body *body)
{
    rd_buf_done(&body->text);
}

void rd_http_body_reset(struct rd_http_body *body)
{
    rd_buf_reset(&body->text);
    body->count = 0;
    body->text_used = 0;
    body->err = RD_OK;
    body->total = 0;
    body->offset = 0;
}

static void add(struct rd_http_body *body, const void *data, size_t len, size_t raw_len)
{
    if (len == 0) {
        return;
    }
    if (body->count == RD_HTTP_BODY_PIECES) {
        body->err = RD_ERR_TOO_LARGE;
        return;
    }
    body->pieces[body->count++] = (struct rd_http_piece){data, len, raw_len};
    body->total += len;
}

/* What was written since the last piece becomes one. */
static void add_text(struct rd_http_body *body)
{
    add(body, NULL, body->text.len - body->text_used, 0);
    body->text_used = body->text.len;
}

void rd_http_body_bytes(struct rd_http_body *body, const void *data, size_t len)
{
    add_text(body);
    add(body, data, len, 0);
}

void rd_http_body_base64(struct rd_http_body *body, const void *data, size_t len)
{
    add_text(body);
    add(body, data, RD_TEXT_BASE64_LEN(len), len);
}

rd_err rd_http_body_seal(struct rd_http_body *body)
{
    add_text(body);
    RD_TRY(rd_buf_err(&body->text));
    return body->err;
}

uint64_t rd_http_body_len(const struct rd_http_body *body)
{
    return body->total + (body->text.len - body->text_used);
}

const char *rd_http_body_flat(const struct rd_http_body *body)
{
    return body->count == 1 && body->pieces[0].data == NULL ? body->text.data : NULL;
}

/* The base64 of `raw` from encoded position `at` on, at most `room` characters. */
static size_t read_base64(const uint8_t *raw, size_t raw_len, size_t at, char *out, size_t room)
{
    size_t from = at / 4 * 3;
    size_t bulk = room > 4 ? (room - 1) / 4 * 3 : 0; /* - 1: the encoder writes a NUL behind */
    if (at % 4 != 0 || bulk == 0) {
        char quantum[5];
        size_t left = raw_len - from;
        rd_text_base64(raw + from, left < 3 ? left : 3, quantum);
        size_t len = 4 - at % 4;
        len = len < room ? len : room;
        memcpy(out, quantum + at % 4, len);
        return len;
    }
    bulk = bulk < raw_len - from ? bulk : raw_len - from;
    rd_text_base64(raw + from, bulk, out);
    return RD_TEXT_BASE64_LEN(bulk);
}

size_t rd_http_body_read(struct rd_http_body *body, char *out, size_t room)
{
    size_t done = 0;
    uint64_t start = 0; /* of piece i */
    const uint8_t *text = (const uint8_t *)body->text.data;
    for (size_t i = 0; i < body->count; i++) {
        const struct rd_http_piece *piece = &body->pieces[i];
        const uint8_t *data = piece->data != NULL ? piece->data : text;
        while (done < room && body->offset < start + piece->len) {
            size_t at = (size_t)(body->offset - start);
            size_t step = piece->len - at < room - done ? piece->len - at : room - done;
            if (piece->raw_len > 0) {
                step = read_base64(data, piece->raw_len, at, out + done, room - done);
            } else {
                memcpy(out + done, data + at, step);
            }
            done += step;
            body->offset += step;
        }
        start += piece->len;
        text += piece->data == NULL ? piece->len : 0;
    }
    return done;
}

void rd_http_body_rewind(struct rd_http_body *body)
{
    body->offset = 0;
}
