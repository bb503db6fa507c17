/* SPDX-License-Identifier: Apache-2.0
 *
 * The bounded byte buffer and the JSON text that is written into it. See buf.h. */
#include "base/buf.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

enum { BUF_FIRST_SIZE = 128 };

void rd_buf_init(struct rd_buf *buf, size_t max)
{
    *buf = (struct rd_buf){.max = max};
}

void rd_buf_done(struct rd_buf *buf)
{
    rd_mem_free(buf->data);
    rd_buf_init(buf, buf->max);
}

void rd_buf_cleanup_(struct rd_buf *buf)
{
    rd_buf_done(buf);
}

void rd_buf_reset(struct rd_buf *buf)
{
    buf->len = 0;
    buf->err = RD_OK;
    if (buf->data != NULL) {
        buf->data[0] = '\0';
    }
}

char *rd_buf_reserve(struct rd_buf *buf, size_t len)
{
    if (buf->err != RD_OK) {
        return NULL;
    }
    if (len > buf->max - buf->len) {
        buf->err = RD_ERR_TOO_LARGE;
        return NULL;
    }
    size_t need = buf->len + len + 1;
    if (need > buf->cap) {
        size_t cap = buf->cap == 0 ? BUF_FIRST_SIZE : buf->cap;
        while (cap < need) {
            cap = cap > SIZE_MAX / 2 ? need : cap * 2;
        }
        if (cap > buf->max + 1) {
            cap = buf->max + 1;
        }
        char *data = rd_mem_resize(buf->data, cap);
        if (data == NULL) {
            buf->err = RD_ERR_NO_MEMORY;
            return NULL;
        }
        buf->data = data;
        buf->cap = cap;
    }
    return buf->data + buf->len;
}

void rd_buf_commit(struct rd_buf *buf, size_t len)
{
    if (buf->data == NULL) {
        return;
    }
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void rd_buf_append(struct rd_buf *buf, const void *data, size_t len)
{
    char *room = rd_buf_reserve(buf, len);
    if (room != NULL) {
        if (len > 0) {
            memcpy(room, data, len);
        }
        rd_buf_commit(buf, len);
    }
}

void rd_buf_str(struct rd_buf *buf, const char *text)
{
    rd_buf_append(buf, text, strlen(text));
}

void rd_buf_char(struct rd_buf *buf, char c)
{
    rd_buf_append(buf, &c, 1);
}

void rd_buf_printf(struct rd_buf *buf, const char *fmt, ...)
{
    char small[256];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    if (len < 0) {
        buf->err = buf->err == RD_OK ? RD_ERR_INTERNAL : buf->err;
        return;
    }
    if ((size_t)len < sizeof small) {
        rd_buf_append(buf, small, (size_t)len);
        return;
    }
    char *room = rd_buf_reserve(buf, (size_t)len);
    if (room != NULL) {
        va_start(args, fmt);
        len = vsnprintf(room, (size_t)len + 1, fmt, args);
        va_end(args);
        rd_buf_commit(buf, len < 0 ? 0 : (size_t)len);
    }
}

rd_err rd_buf_err(const struct rd_buf *buf)
{
    return buf->err;
}

const char *rd_buf_cstr(const struct rd_buf *buf)
{
    return buf->data == NULL ? "" : buf->data;
}

char *rd_buf_steal(struct rd_buf *buf, size_t *ret_len)
{
    if (buf->err != RD_OK) {
        return NULL;
    }
    rd_buf_append(buf, "", 0);
    char *data = buf->data;
    if (data != NULL && ret_len != NULL) {
        *ret_len = buf->len;
    }
    buf->data = NULL;
    buf->len = 0;
    buf->cap = 0;
    return data;
}

void rd_buf_json_string(struct rd_buf *buf, const char *text, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    rd_buf_char(buf, '"');
    size_t start = 0;
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)text[i];
        size_t width = c < 0x80 ? 1 : rd_text_utf8_width(text + i, len - i);
        if (width >= 1 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            i += width;
            continue;
        }
        rd_buf_append(buf, text + start, i - start);
        if (width == 0) {
            rd_buf_str(buf, "\xef\xbf\xbd");
        } else if (c == '"' || c == '\\') {
            rd_buf_char(buf, '\\');
            rd_buf_char(buf, (char)c);
        } else if (c == '\n') {
            rd_buf_str(buf, "\\n");
        } else if (c == '\t') {
            rd_buf_str(buf, "\\t");
        } else {
            char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            rd_buf_append(buf, escape, sizeof escape);
        }
        i++;
        start = i;
    }
    rd_buf_append(buf, text + start, len - start);
    rd_buf_char(buf, '"');
}

void rd_buf_json_str(struct rd_buf *buf, const char *text)
{
    rd_buf_json_string(buf, text, strlen(text));
}

void rd_buf_json_number(struct rd_buf *buf, double value)
{
    if (!isfinite(value)) {
        rd_buf_str(buf, "null");
        return;
    }
    char text[32];
    for (int digits = 6; digits <= 17; digits++) {
        if (snprintf(text, sizeof text, "%.*g", digits, value) < 0) {
            break;
        }
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    rd_buf_str(buf, text);
}
