/* SPDX-License-Identifier: Apache-2.0
 *
 * The parser of server-sent events. See sse.h. Of an event only what we use is kept: its name, its
 * data, and an id that is a number, as the gateway's are; `retry` is passed over. */
#include "librender/sse.h"

#include <string.h>

#include "base/text.h"

static void next_event(struct rd_sse *sse)
{
    rd_buf_reset(&sse->data);
    sse->name[0] = '\0';
    sse->has_id = false;
}

void rd_sse_init(struct rd_sse *sse, bool (*event)(void *, const char *, const char *, uint64_t),
                 void *ctx)
{
    *sse = (struct rd_sse){.event = event, .ctx = ctx};
    rd_buf_init(&sse->line, RD_SSE_LINE_MAX);
    rd_buf_init(&sse->data, RD_SSE_LINE_MAX);
}

void rd_sse_done(struct rd_sse *sse)
{
    rd_buf_done(&sse->line);
    rd_buf_done(&sse->data);
}

static void take_field(struct rd_sse *sse, const char *name, size_t name_len, const char *value,
                       size_t len)
{
    if (rd_text_eq(name, name_len, "data")) {
        rd_buf_append(&sse->data, value, len);
        rd_buf_char(&sse->data, '\n');
    } else if (rd_text_eq(name, name_len, "event")) {
        len = len <= RD_SSE_NAME_MAX ? len : 0;
        memcpy(sse->name, value, len);
        sse->name[len] = '\0';
    } else if (rd_text_eq(name, name_len, "id")) {
        sse->has_id = rd_text_u64(value, len, &sse->id);
    }
}

static bool end_line(struct rd_sse *sse)
{
    const char *line = rd_buf_cstr(&sse->line);
    size_t len = sse->line.len;
    bool go_on = true;
    if (len == 0) {
        if (sse->data.len > 0) {
            sse->data.data[--sse->data.len] = '\0'; /* the last line feed */
            go_on = sse->event(sse->ctx, sse->name[0] == '\0' ? "message" : sse->name,
                               rd_buf_cstr(&sse->data), sse->has_id ? sse->id : 0);
        }
        next_event(sse);
    } else if (line[0] != ':') {
        const char *colon = memchr(line, ':', len);
        size_t name_len = colon == NULL ? len : (size_t)(colon - line);
        size_t at = colon == NULL ? len : name_len + 1;
        at += at < len && line[at] == ' ' ? 1 : 0;
        take_field(sse, line, name_len, line + at, len - at);
    }
    rd_buf_reset(&sse->line);
    return go_on;
}

bool rd_sse_feed(struct rd_sse *sse, const char *data, size_t len)
{
    static const char mark[] = "\xef\xbb\xbf";
    for (size_t i = 0; i < len;) {
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
        rd_buf_append(&sse->line, data + i, run);
        if (rd_buf_err(&sse->line) != RD_OK) {
            return false;
        }
        i += run;
        if (i == len) {
            break;
        }
        if (!sse->begun && rd_text_starts(rd_buf_cstr(&sse->line), mark)) {
            memmove(sse->line.data, sse->line.data + 3, sse->line.len - 3 + 1);
            sse->line.len -= 3;
        }
        sse->begun = true;
        sse->after_cr = data[i++] == '\r';
        if (!end_line(sse) || rd_buf_err(&sse->data) != RD_OK) {
            return false;
        }
    }
    return true;
}
