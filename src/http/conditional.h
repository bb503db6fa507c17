/* SPDX-License-Identifier: Apache-2.0
 *
 * Conditional requests, RFC 9110 13: If-Match, If-Unmodified-Since, If-None-Match,
 * If-Modified-Since and If-Range against an object with a strong entity tag and a time of last
 * change. Pure. */
#ifndef RD_HTTP_CONDITIONAL_H
#define RD_HTTP_CONDITIONAL_H

#include <stdbool.h>
#include <stdint.h>

/* What there is. */
struct rd_conditional_object {
    bool exists;            /* false: only "*" and a PUT that creates are of interest */
    const char *etag;       /* strong, with its quotes: "\"abc\""; never NULL when it exists */
    uint64_t last_modified; /* Unix seconds; 0: unknown, then the conditions on dates are ignored */
};

/* What the client says; each is the header's value or NULL. Several lines are joined with ",". */
struct rd_conditional_request {
    bool is_read; /* GET or HEAD */
    const char *if_match, *if_none_match;
    const char *if_modified_since, *if_unmodified_since;
};

enum rd_conditional {
    RD_CONDITIONAL_PROCEED,
    RD_CONDITIONAL_NOT_MODIFIED, /* 304, for GET and HEAD only */
    RD_CONDITIONAL_FAILED        /* 412 */
};

/* In the order of RFC 9110 13.2.2. Entity tags that are malformed match nothing; dates that are
 * malformed are as if they were not there. */
enum rd_conditional rd_conditional_evaluate(const struct rd_conditional_request *request,
                                            const struct rd_conditional_object *object);

/* Whether a Range header counts: true without If-Range, or when it is exactly the (strong) tag, or
 * exactly the date of last change. A weak tag or anything else: send the whole object. */
bool rd_conditional_range_applies(const char *if_range, const struct rd_conditional_object *object);

/* An HTTP date in any of the three forms that recipients must take (IMF-fixdate, RFC 850,
 * asctime); false when it is none or no day of the calendar. Two-digit years from 70 are of the
 * last century. */
bool rd_conditional_date(const char *text, uint64_t *ret_unix_s);

#endif
