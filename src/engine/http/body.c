/* SPDX-License-Identifier: Apache-2.0
 *
 * The request body in pieces. See body.h. */
#include "engine/http/body.h"

#include <string.h>

#include "base/limits.h"
#include "base/text.h"

/* The request's own JSON is bounded by what the gateway reads; the rest is a few names. */
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

static void add_text(struct rd_http_body *body, size_t from)
{
    body->pieces[body->count].data = (const uint8_t *)body->text.data + from;
    body->pieces[body->count].len = body->text.len - from;
    body->pieces[body->count].raw_len = 0;
    body->count++;
}

static void add_picture(struct rd_http_body *body, const struct rd_source *source)
{
    body->pieces[body->count].data = source->bytes;
    body->pieces[body->count].len = RD_TEXT_BASE64_LEN(source->bytes_len);
    body->pieces[body->count].raw_len = source->bytes_len;
    body->count++;
}

static void write_fields(struct rd_buf *text, const struct rd_generation *generation, uint32_t seed)
{
    rd_buf_str(text, "{\"request\":");
    if (generation->json != NULL && generation->json_len > 0) {
        rd_buf_append(text, generation->json, generation->json_len);
    } else {
        rd_buf_str(text, "{}");
    }
    rd_buf_str(text, ",\"family\":");
    rd_buf_json_str(text, generation->family);
    rd_buf_str(text, ",\"model\":");
    rd_buf_json_str(text, generation->model);
    rd_buf_printf(text, ",\"task\":\"%s\",\"width\":%u,\"height\":%u,\"seed\":%u,\"media\":\"%s\"",
                  rd_task_name(generation->task), generation->format->width,
                  generation->format->height, seed, rd_media_type(generation->media));
}

rd_err rd_http_body_make(struct rd_http_body *body, const struct rd_generation *generation,
                         unsigned index)
{
    struct rd_buf *text = &body->text;
    const struct {
        const char *field;
        const struct rd_source *source;
    } pictures[] = {{",\"image\":\"", &generation->image}, {",\"mask\":\"", &generation->mask}};
    size_t ends[RD_HTTP_BODY_PIECES];
    size_t texts = 0;

    rd_buf_reset(text);
    write_fields(text, generation, rd_generation_seed(generation, index));
    for (size_t i = 0; i < 2; i++) {
        if (pictures[i].source->bytes != NULL) {
            rd_buf_str(text, pictures[i].field);
            ends[texts++] = text->len;
            rd_buf_char(text, '"');
        }
    }
    rd_buf_char(text, '}');
    RD_TRY(rd_buf_err(text));

    /* Only now: the buffer moves while it grows. */
    size_t whole = text->len;
    size_t from = 0;
    size_t at = 0;
    body->count = 0;
    for (size_t i = 0; i < 2; i++) {
        if (pictures[i].source->bytes != NULL) {
            text->len = ends[at++];
            add_text(body, from);
            add_picture(body, pictures[i].source);
            from = text->len;
        }
    }
    text->len = whole;
    add_text(body, from);
    body->total = 0;
    body->offset = 0;
    for (size_t i = 0; i < body->count; i++) {
        body->total += body->pieces[i].len;
    }
    return RD_OK;
}

const char *rd_http_body_flat(const struct rd_http_body *body)
{
    return body->count == 1 ? body->text.data : NULL;
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
    for (size_t i = 0; i < body->count; i++) {
        size_t len = body->pieces[i].len;
        while (done < room && body->offset < start + len) {
            size_t at = (size_t)(body->offset - start);
            size_t step = len - at < room - done ? len - at : room - done;
            if (body->pieces[i].raw_len > 0) {
                step = read_base64(body->pieces[i].data, body->pieces[i].raw_len, at, out + done,
                                   room - done);
            } else {
                memcpy(out + done, body->pieces[i].data + at, step);
            }
            done += step;
            body->offset += step;
        }
        start += len;
    }
    return done;
}

void rd_http_body_rewind(struct rd_http_body *body)
{
    body->offset = 0;
}
