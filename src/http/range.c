/* SPDX-License-Identifier: Apache-2.0
 *
 * Range. See range.h.
 *
 *     bytes=0-99     the first 100          bytes=100-   all but the first 100
 *     bytes=-100     the last 100
 *
 * Positions have any number of digits: those beyond 64 bits are beyond every object, so they are
 * cut to the largest number rather than refused. */
#include "http/range.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <strings.h>

static const char unit[] = "bytes=";

static const char *skip_space(const char *at)
{
    while (*at == ' ' || *at == '\t') {
        at++;
    }
    return at;
}

/* Digits into *ret, cut at the largest number; returns behind them, which is `at` when there are
 * none. */
static const char *read_number(const char *at, uint64_t *ret)
{
    uint64_t value = 0;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value)) {
            value = UINT64_MAX;
        }
    }
    *ret = value;
    return at;
}

/* Over the empty elements that a list may have: ", ,". */
static const char *skip_empty(const char *at)
{
    at = skip_space(at);
    while (*at == ',') {
        at = skip_space(at + 1);
    }
    return at;
}

enum rd_range_kind rd_range_parse(const char *header, uint64_t size, struct rd_range *ret)
{
    if (header == NULL || strncasecmp(header, unit, sizeof unit - 1) != 0 || size == 0) {
        return RD_RANGE_WHOLE;
    }
    const char *start = skip_empty(header + sizeof unit - 1);
    struct rd_range range;
    const char *at = read_number(start, &range.first);
    bool has_first = at != start;
    if (*at != '-') {
        return RD_RANGE_WHOLE;
    }
    const char *second = at + 1;
    at = read_number(second, &range.last);
    bool has_last = at != second;
    if (*skip_empty(at) != '\0' || (!has_first && !has_last) ||
        (has_first && has_last && range.first > range.last)) {
        return RD_RANGE_WHOLE;
    }
    if (!has_first) {
        uint64_t suffix = range.last < size ? range.last : size;
        range = (struct rd_range){.first = size - suffix, .last = size - 1};
    } else if (!has_last || range.last >= size) {
        range.last = size - 1;
    }
    if (range.first >= size) {
        return RD_RANGE_UNSATISFIABLE;
    }
    *ret = range;
    return RD_RANGE_PART;
}

void rd_range_content(const struct rd_range *range, uint64_t size, char out[RD_RANGE_TEXT_MAX])
{
    if (range == NULL) {
        (void)snprintf(out, RD_RANGE_TEXT_MAX, "bytes */%" PRIu64, size);
    } else {
        (void)snprintf(out, RD_RANGE_TEXT_MAX, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
                       range->first, range->last, size);
    }
}
