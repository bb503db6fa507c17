/* SPDX-License-Identifier: Apache-2.0
 *
 * Which part of an object a client wants: the Range header, RFC 9110 14, for one byte range of
 * an object whose size is known. A request for several ranges is answered with the whole object,
 * which the RFC allows: multipart/byteranges has no user here and is a known way to multiply
 * work. Pure. */
#ifndef RD_HTTP_RANGE_H
#define RD_HTTP_RANGE_H

#include <stdint.h>

enum rd_range_kind {
    RD_RANGE_WHOLE,        /* no, other, several or malformed ranges: ignore them, 200 */
    RD_RANGE_PART,         /* 206 with *ret */
    RD_RANGE_UNSATISFIABLE /* 416 */
};

struct rd_range {
    uint64_t first, last; /* both included; first <= last < size */
};

/* `header` is the value of Range, or NULL. Several Range lines are several ranges: join with ",".
 * *ret is set for RD_RANGE_PART only. Whether If-Range lets the range count is conditional.h's. */
enum rd_range_kind rd_range_parse(const char *header, uint64_t size, struct rd_range *ret);

enum { RD_RANGE_TEXT_MAX = 72 };
/* Content-Range: "bytes 0-99/1234" for 206; "bytes *" "/1234" (range NULL) for 416. */
void rd_range_content(const struct rd_range *range, uint64_t size, char out[RD_RANGE_TEXT_MAX]);

#endif
