/* SPDX-License-Identifier: Apache-2.0
 *
 * The parser of server-sent events that hold pictures. See sse.h. */
#include "engine/openai/sse.h"

#include <string.h>

#include "base/text.h"

static void next_line(struct rd_openai_sse *sse)
{
    sse->state = RD_SSE_FIELD;
    sse->kind = RD_SSE_OTHER;
    sse->field_len = 0;
}

void rd_openai_sse_init(struct rd_openai_sse *sse, void *ctx,
                        rd_err (*data)(void *ctx, const char *data, size_t len),
                        rd_err (*end)(void *ctx))
{
    *sse = (struct rd_openai_sse){.ctx = ctx, .data = data, .end = end};
    next_line(sse);
}

/* The field's name is complete: by a colon, or by the end of a line that has none. */
static rd_err begin_value(struct rd_openai_sse *sse)
{
    sse->state = RD_SSE_SPACE;
    if (rd_text_eq(sse->field, sse->field_len, "data")) {
        sse->kind = RD_SSE_DATA;
        bool more = sse->has_data;
        sse->has_data = true;
        return more ? sse->data(sse->ctx, "\n", 1) : RD_OK;
    }
    if (rd_text_eq(sse->field, sse->field_len, "event")) {
        sse->kind = RD_SSE_EVENT;
        sse->name_len = 0;
        sse->name[0] = '\0';
    }
    return RD_OK;
}

static rd_err end_line(struct rd_openai_sse *sse)
{
    bool empty = sse->state == RD_SSE_FIELD && sse->field_len == 0;
    if (sse->state == RD_SSE_FIELD && !empty) {
        RD_TRY(begin_value(sse));
    }
    next_line(sse);
    if (!empty) {
        return RD_OK;
    }
    bool dispatch = sse->has_data;
    sse->has_data = false;
    rd_err err = dispatch ? sse->end(sse->ctx) : RD_OK;
    sse->name_len = 0;
    sse->name[0] = '\0';
    return err;
}

static rd_err take_value(struct rd_openai_sse *sse, const char *data, size_t len)
{
    if (sse->kind == RD_SSE_DATA) {
        return len == 0 ? RD_OK : sse->data(sse->ctx, data, len);
    }
    if (sse->kind == RD_SSE_EVENT) {
        bool fits = len <= RD_OPENAI_SSE_NAME_MAX - sse->name_len;
        memcpy(sse->name + sse->name_len, data, fits ? len : 0);
        sse->name_len = fits ? sse->name_len + len : 0;
        sse->kind = fits ? RD_SSE_EVENT : RD_SSE_OTHER;
        sse->name[sse->name_len] = '\0';
    }
    return RD_OK;
}

/* A line's text up to its end or the end of `data`, without the line's end. */
static rd_err take_text(struct rd_openai_sse *sse, const char *data, size_t len)
{
    size_t at = 0;
    while (sse->state == RD_SSE_FIELD && at < len) {
        char c = data[at++];
        if (c == ':') {
            RD_TRY(begin_value(sse)); /* with no name before it: a comment */
        } else if (sse->field_len < sizeof sse->field) {
            sse->field[sse->field_len++] = c;
        } else {
            memset(sse->field, ':', sizeof sse->field); /* is no field's name */
        }
    }
    if (sse->state == RD_SSE_SPACE && at < len) {
        sse->state = RD_SSE_VALUE;
        at += data[at] == ' ';
    }
    return sse->state == RD_SSE_VALUE ? take_value(sse, data + at, len - at) : RD_OK;
}

static bool is_mark(struct rd_openai_sse *sse, char c)
{
    static const char mark[] = "\xef\xbb\xbf";
    if (sse->mark < 3 && c == mark[sse->mark]) {
        sse->mark++;
        return true;
    }
    sse->mark = 3;
    return false;
}

rd_err rd_openai_sse_feed(struct rd_openai_sse *sse, const char *data, size_t len)
{
    for (size_t i = 0; i < len;) {
        if (sse->mark < 3 && is_mark(sse, data[i])) {
            i++;
            continue;
        }
        if (sse->after_cr && data[i] == '\n') {
            sse->after_cr = false;
            i++;
            continue;
        }
        sse->after_cr = false;
        size_t run = 0;
        while (i + run < len && data[i + run] != '\n' && data[i + run] != '\r') {
            run++;
        }
        RD_TRY(take_text(sse, data + i, run));
        i += run;
        if (i < len) {
            sse->after_cr = data[i++] == '\r';
            RD_TRY(end_line(sse));
        }
    }
    return RD_OK;
}
