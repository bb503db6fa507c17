/* SPDX-License-Identifier: Apache-2.0
 *
 * Server-sent events as they arrive, in pieces of any size (WHATWG HTML, 9.2.6): lines end in LF,
 * CR or CRLF, a line that begins with ':' is a comment, an empty line ends an event. */
#ifndef RD_LIBRENDER_SSE_H
#define RD_LIBRENDER_SSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { RD_SSE_LINE_MAX = 1 << 20, RD_SSE_NAME_MAX = 32 };

struct rd_sse {
    struct rd_buf line, data;
    char name[RD_SSE_NAME_MAX + 1];
    uint64_t id;   /* of the last event that had one */
    bool has_id;   /* this event has */
    bool after_cr; /* a LF now belongs to the line before */
    bool begun;    /* behind a possible byte order mark */
    /* An event with data; false stops. `id` is 0 when this event has none. */
    bool (*event)(void *ctx, const char *name, const char *data, uint64_t id);
    void *ctx;
};

void rd_sse_init(struct rd_sse *sse, bool (*event)(void *, const char *, const char *, uint64_t),
                 void *ctx);
void rd_sse_done(struct rd_sse *sse);
/* False when the event function said so, or a line or an event is over 1 MiB. */
bool rd_sse_feed(struct rd_sse *sse, const char *data, size_t len) RD_MUST;

#endif
