/* SPDX-License-Identifier: Apache-2.0
 *
 * A growable byte buffer with a mandatory ceiling (as curl's dynbuf). Appending beyond `max`, or
 * out of memory, marks the buffer failed and appends nothing more; so a run of appends needs one
 * check, rd_buf_err(), at its end. `data` always ends in a NUL that `len` does not count.
 *
 *     struct rd_buf out;
 *     rd_buf_init(&out, 4096);
 *     rd_buf_str(&out, "hello ");
 *     rd_buf_printf(&out, "%d", 7);
 *     RD_TRY(rd_buf_err(&out)); ... rd_buf_done(&out); */
#ifndef RD_BASE_BUF_H
#define RD_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct rd_buf {
    char *data; /* owned; NULL while nothing was appended */
    size_t len;
    size_t cap;
    size_t max; /* most bytes that `len` may reach */
    rd_err err; /* RD_OK, RD_ERR_TOO_LARGE or RD_ERR_NO_MEMORY */
};

void rd_buf_init(struct rd_buf *buf, size_t max);
void rd_buf_done(struct rd_buf *buf);  /* frees; the buffer may be used again */
void rd_buf_reset(struct rd_buf *buf); /* len 0, error forgotten, memory kept */

void rd_buf_append(struct rd_buf *buf, const void *data, size_t len);
void rd_buf_str(struct rd_buf *buf, const char *text);
void rd_buf_char(struct rd_buf *buf, char c);
void rd_buf_printf(struct rd_buf *buf, const char *fmt, ...) RD_PRINTF(2, 3);
/* Makes room for `len` more bytes and returns where they start, or NULL (buffer failed). The caller
 * writes at most `len` and then calls rd_buf_commit with how many. */
char *rd_buf_reserve(struct rd_buf *buf, size_t len);
void rd_buf_commit(struct rd_buf *buf, size_t len);

rd_err rd_buf_err(const struct rd_buf *buf) RD_MUST;
/* The text, "" when empty. Valid until the next change. */
const char *rd_buf_cstr(const struct rd_buf *buf);
/* Hands the memory over (free with rd_mem_free) and empties the buffer; NULL when it failed. */
char *rd_buf_steal(struct rd_buf *buf, size_t *ret_len);

void rd_buf_cleanup_(struct rd_buf *buf);
#define RD_AUTO_BUF __attribute__((cleanup(rd_buf_cleanup_)))

/* JSON text: appends `text` as a quoted, escaped string. Bytes that are not UTF-8 become U+FFFD. */
void rd_buf_json_string(struct rd_buf *buf, const char *text, size_t len);
void rd_buf_json_str(struct rd_buf *buf, const char *text);
/* The shortest decimal that reads back as the same double; "null" when not finite. */
void rd_buf_json_number(struct rd_buf *buf, double value);

#endif
