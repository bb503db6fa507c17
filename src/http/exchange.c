/* SPDX-License-Identifier: Apache-2.0
 *
 * One exchange: reading its request, collecting its answer, handing that to libmicrohttpd. See
 * server.h. A file range goes out by sendfile; several pieces go out through a reader that copies
 * at most PIECE_BLOCK bytes at a time. */
#include "http/exchange.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "http/upgrade.h"

enum { PIECE_BLOCK = 65536 };

enum rd_http_method rd_http_request_method(const struct rd_http_exchange *x)
{
    return x->method;
}

const char *rd_http_request_path(const struct rd_http_exchange *x)
{
    return x->path;
}

const char *rd_http_request_header(struct rd_http_exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

bool rd_http_request_length(struct rd_http_exchange *x, uint64_t *ret_content_length)
{
    if (!x->has_length) {
        return false;
    }
    *ret_content_length = x->length;
    return true;
}

const char *rd_http_request_id(const struct rd_http_exchange *x)
{
    return x->id;
}

struct rd_arena *rd_http_arena(struct rd_http_exchange *x)
{
    return &x->arena;
}

uint64_t rd_http_started_ns(const struct rd_http_exchange *x)
{
    return x->started_ns;
}

void rd_http_set_user(struct rd_http_exchange *x, void *user)
{
    x->user = user;
}

void *rd_http_user(const struct rd_http_exchange *x)
{
    return x->user;
}

rd_err rd_http_refusal(const struct rd_http_exchange *x)
{
    return x->refusal;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes in place; false for a broken escape or an encoded NUL. */
static bool percent_decode(char *text)
{
    char *out = text;
    for (const char *in = text; *in != '\0'; in++) {
        if (*in != '%') {
            *out++ = *in == '+' ? ' ' : *in;
            continue;
        }
        int high = hex_digit(in[1]);
        int low = high < 0 ? -1 : hex_digit(in[2]);
        if (low < 0 || (high == 0 && low == 0)) {
            return false;
        }
        *out++ = (char)(high << 4 | low);
        in += 2;
    }
    *out = '\0';
    return true;
}

const char *rd_http_request_query(struct rd_http_exchange *x, const char *name)
{
    size_t name_len = strlen(name);
    const char *p = x->query;
    while (*p != '\0') {
        size_t len = strcspn(p, "&");
        if (len > name_len && p[name_len] == '=' && memcmp(p, name, name_len) == 0) {
            char *value = rd_arena_strndup(&x->arena, p + name_len + 1, len - name_len - 1);
            return value != NULL && percent_decode(value) ? value : "";
        }
        p += len + (p[len] == '&');
    }
    return NULL;
}

void rd_http_buffer_body(struct rd_http_exchange *x, size_t max)
{
    x->body.max = max;
    if (x->has_length && x->length > max) {
        x->body_err = RD_ERR_TOO_LARGE;
    } else if (x->has_length && !rd_http_hold(x, (size_t)x->length)) {
        x->body_err = RD_ERR_NO_MEMORY; /* now, while the client can still read it */
    } else if (x->has_length) {
        x->announced_held = (size_t)x->length;
    }
}

void rd_http_stream_body(struct rd_http_exchange *x,
                         rd_err (*chunk)(void *ctx, struct rd_http_exchange *exchange,
                                         const void *data, size_t len),
                         void *ctx)
{
    x->chunk = chunk;
    x->chunk_ctx = ctx;
}

const struct rd_buf *rd_http_body(const struct rd_http_exchange *x)
{
    return &x->body;
}

rd_err rd_http_body_err(const struct rd_http_exchange *x)
{
    return x->body_err;
}

uint64_t rd_http_body_received(const struct rd_http_exchange *x)
{
    return x->received;
}

/* ---- the answer ---- */

void rd_http_reply_header(struct rd_http_exchange *x, const char *name, const char *value)
{
    if (value == NULL) {
        return;
    }
    const char *copy = x->headers_count == RD_HTTP_REPLY_HEADERS_MAX
                           ? NULL
                           : rd_arena_strndup(&x->arena, value, strlen(value));
    if (copy == NULL) {
        x->broken = true;
        return;
    }
    x->headers[x->headers_count++] = (struct reply_header){name, copy};
}

void rd_http_reply_headerf(struct rd_http_exchange *x, const char *name, const char *fmt, ...)
{
    char value[1024];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(value, sizeof value, fmt, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof value) {
        x->broken = true;
        return;
    }
    rd_http_reply_header(x, name, value);
}

static void drop_pieces(struct rd_http_exchange *x)
{
    for (size_t i = 0; i < x->pieces_count; i++) {
        rd_fs_close_ptr_(&x->pieces[i].fd);
    }
    x->pieces_count = 0;
    x->pieces = NULL;
}

void rd_http_reply_reset(struct rd_http_exchange *x)
{
    drop_pieces(x);
    x->headers_count = 0;
    x->text = NULL;
    x->reply_len = 0;
    x->broken = false;
}

void rd_http_reply_text(struct rd_http_exchange *x, const char *data, size_t len)
{
    drop_pieces(x);
    x->text = rd_arena_strndup(&x->arena, data, len);
    x->broken |= x->text == NULL;
    x->reply_len = len;
}

void rd_http_reply_pieces(struct rd_http_exchange *x, const struct rd_http_piece *pieces,
                          size_t count)
{
    drop_pieces(x);
    struct rd_http_piece *copy = rd_arena_alloc(&x->arena, count * sizeof *copy);
    if (copy == NULL) {
        x->broken = true;
        return;
    }
    x->pieces = copy;
    x->reply_len = 0;
    for (size_t i = 0; i < count; i++) {
        copy[i] = pieces[i];
        if (pieces[i].fd >= 0) {
            copy[i].fd = fcntl(pieces[i].fd, F_DUPFD_CLOEXEC, 0);
            copy[i].text = NULL;
            x->broken |= copy[i].fd < 0;
        }
        x->pieces_count = i + 1;
        x->reply_len += pieces[i].len;
    }
}

void rd_http_reply_file(struct rd_http_exchange *x, int fd, uint64_t offset, uint64_t len)
{
    struct rd_http_piece piece = {.fd = fd, .offset = offset, .len = len};
    rd_http_reply_pieces(x, &piece, 1);
}

void rd_http_reply(struct rd_http_exchange *x, int status)
{
    x->status = status;
    if (x->suspended) {
        x->replied = true; /* the connection's thread reads it only after the resume */
        rd_http_exchange_resume(x);
    } else {
        x->replied = true;
    }
}

int rd_http_reply_status(const struct rd_http_exchange *x)
{
    return x->status;
}

uint64_t rd_http_reply_bytes(const struct rd_http_exchange *x)
{
    return x->reply_len;
}

static ssize_t read_pieces(void *cls, uint64_t pos, char *buf, size_t max)
{
    const struct rd_http_exchange *x = cls;
    for (size_t i = 0; i < x->pieces_count; i++) {
        const struct rd_http_piece *piece = &x->pieces[i];
        if (pos >= piece->len) {
            pos -= piece->len;
            continue;
        }
        size_t len = piece->len - pos < max ? (size_t)(piece->len - pos) : max;
        if (piece->fd < 0) {
            memcpy(buf, piece->text + pos, len);
        } else if (rd_fs_pread_all(piece->fd, buf, len, (off_t)(piece->offset + pos)) != RD_OK) {
            return MHD_CONTENT_READER_END_WITH_ERROR;
        }
        return (ssize_t)len;
    }
    return MHD_CONTENT_READER_END_OF_STREAM;
}

static struct MHD_Response *make_response(struct rd_http_exchange *x)
{
    static char nothing[1];
    if (x->pieces_count == 1 && x->pieces[0].fd >= 0) {
        struct rd_http_piece *piece = &x->pieces[0];
        struct MHD_Response *response =
            MHD_create_response_from_fd_at_offset64(piece->len, piece->fd, piece->offset);
        if (response != NULL) {
            piece->fd = -1; /* libmicrohttpd closes it */
        }
        return response;
    }
    if (x->pieces_count > 0) {
        return MHD_create_response_from_callback(x->reply_len, PIECE_BLOCK, read_pieces, x, NULL);
    }
    return MHD_create_response_from_buffer(x->reply_len,
                                           x->text == NULL ? nothing : (void *)(uintptr_t)x->text,
                                           MHD_RESPMEM_MUST_COPY);
}

enum MHD_Result rd_http_exchange_add_headers(struct rd_http_exchange *x,
                                             struct MHD_Response *response)
{
    enum MHD_Result ok = MHD_YES;
    for (size_t i = 0; i < x->headers_count && ok == MHD_YES; i++) {
        ok = MHD_add_response_header(response, x->headers[i].name, x->headers[i].value);
    }
    return ok;
}

enum MHD_Result rd_http_exchange_queue(struct rd_http_exchange *x)
{
    if (!x->replied || x->broken) {
        return MHD_NO; /* no answer, or not a whole one: cut the connection */
    }
    struct MHD_Response *response =
        x->protocol != NULL ? rd_http_upgrade_response(x) : make_response(x);
    if (response == NULL) {
        return MHD_NO;
    }
    enum MHD_Result ok = rd_http_exchange_add_headers(x, response);
    if (ok == MHD_YES && (x->unsound || x->last) && x->protocol == NULL) {
        ok = MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    }
    if (ok == MHD_YES) {
        ok = MHD_queue_response(x->connection, (unsigned)x->status, response);
    }
    MHD_destroy_response(response);
    return ok;
}

void rd_http_exchange_free(struct rd_http_exchange *x)
{
    drop_pieces(x);
    rd_buf_done(&x->body);
    rd_arena_done(&x->arena);
    rd_mem_free(x);
}
