/* SPDX-License-Identifier: Apache-2.0
 *
 * Server-sent events as they arrive, in pieces of any size (WHATWG HTML, 9.2.6), for events that
 * hold a picture: the data is handed on while its line still comes, so an event of 2 MB takes no
 * memory. (librender has a parser that gathers an event; ours must not.) Lines end in LF, CR or
 * CRLF, a line that begins with ':' is a comment, an empty line ends an event. Only `data` and
 * `event` are looked at. An event's name is known to data() when it was said in front of it, as
 * every server does. Nothing is refused: what is no event is passed over. */
#ifndef RD_ENGINE_OPENAI_SSE_H
#define RD_ENGINE_OPENAI_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { RD_OPENAI_SSE_FIELD_MAX = 8, RD_OPENAI_SSE_NAME_MAX = 64 };

struct rd_openai_sse {
    void *ctx;
    /* Some of the event's data; two lines of it have a line feed between them. */
    rd_err (*data)(void *ctx, const char *data, size_t len);
    rd_err (*end)(void *ctx); /* of an event that had data */

    enum { RD_SSE_FIELD, RD_SSE_SPACE, RD_SSE_VALUE } state;
    enum { RD_SSE_OTHER, RD_SSE_DATA, RD_SSE_EVENT } kind; /* of the line, behind its colon */
    bool after_cr, has_data;
    unsigned mark; /* bytes of the byte order mark seen; 3: none is expected any more */
    char field[RD_OPENAI_SSE_FIELD_MAX];
    size_t field_len;                      /* one more than fits: no field of ours */
    char name[RD_OPENAI_SSE_NAME_MAX + 1]; /* of the event; "" when not said or too long */
    size_t name_len;
};

void rd_openai_sse_init(struct rd_openai_sse *sse, void *ctx,
                        rd_err (*data)(void *ctx, const char *data, size_t len),
                        rd_err (*end)(void *ctx));
/* What data() or end() gave. */
rd_err rd_openai_sse_feed(struct rd_openai_sse *sse, const char *data, size_t len) RD_MUST;

#endif
