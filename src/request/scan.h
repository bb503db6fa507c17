/* SPDX-License-Identifier: Apache-2.0
 *
 * A first look at a JSON body, before the JSON library sees it: bounds depth and size, and lifts
 * the data: URIs of `image` and `mask` out. Inside src/request only.
 *
 * Why lift: a picture of 20 MiB is 27 MB of base64. The library would check it as UTF-8 byte by
 * byte, and copy it twice, before we decode it a third time. The scanner passes over it with memchr
 * and puts an empty string in its place. That also gives the exact measure for the rule that only
 * data URIs may make a body larger than RD_LIMIT_JSON_BODY: what is left must fit.
 *
 * It is a tokenizer of quotes and brackets only and proves nothing: all that is wrong with the
 * text is found by the library, in the rest. Cutting the inside of a string out cannot make
 * wrong JSON right, since what is cut has only base64's letters (checked when it is decoded) and
 * "\/" escapes. */
#ifndef RD_REQUEST_SCAN_H
#define RD_REQUEST_SCAN_H

#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"
#include "request/fields.h"

enum { RD_SCAN_LIFTS = 4 }; /* image and mask, and room for a body that wrongly has one twice */

struct rd_scan_lift {
    const struct rd_field *field;
    size_t start, len; /* the string in the body, without its quotes */
    bool escaped;      /* holds "\/", as PHP writes a slash */
};

struct rd_scan {
    const char *text; /* the body without what was lifted: the body itself, or in the arena */
    size_t len;
    struct rd_scan_lift lifts[RD_SCAN_LIFTS];
    size_t lifts_count;
    size_t deep_at; /* on INVALID_JSON: where depth goes over RD_LIMIT_JSON_DEPTH */
};

/* INVALID_JSON when it is too deep, TOO_LARGE, NO_MEMORY. */
rd_err rd_scan_body(const char *body, size_t len, struct rd_arena *arena,
                    struct rd_scan *scan) RD_MUST;
/* The lifted value of a field, or NULL. */
const struct rd_scan_lift *rd_scan_lift_of(const struct rd_scan *scan,
                                           const struct rd_field *field);
/* From an offset in scan->text to the one in the body. */
size_t rd_scan_body_offset(const struct rd_scan *scan, size_t offset);

#endif
