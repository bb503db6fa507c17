/* SPDX-License-Identifier: Apache-2.0
 *
 * The first look at a body. See scan.h. */
#include "request/scan.h"

#include <string.h>

#include "base/limits.h"

static const char lifted_prefix[] = "data:";

/* The offset of the quote that ends the string whose text starts at `start`; `len` when none
 * does. */
static size_t string_end(const char *body, size_t len, size_t start)
{
    size_t at = start;
    while (at < len) {
        const char *quote = memchr(body + at, '"', len - at);
        if (quote == NULL) {
            return len;
        }
        size_t end = (size_t)(quote - body);
        size_t slashes = 0;
        while (end - slashes > start && body[end - slashes - 1] == '\\') {
            slashes++;
        }
        if (slashes % 2 == 0) {
            return end;
        }
        at = end + 1;
    }
    return len;
}

static size_t skip_space(const char *body, size_t len, size_t at)
{
    while (at < len &&
           (body[at] == ' ' || body[at] == '\t' || body[at] == '\n' || body[at] == '\r')) {
        at++;
    }
    return at;
}

/* The row of a field that takes pictures and has this name, without escapes in it; or NULL. */
static const struct rd_field *source_field(const char *name, size_t len)
{
    for (size_t i = 0; i < rd_fields_count; i++) {
        const struct rd_field *field = &rd_fields[i];
        if (field->type == RD_FIELD_SOURCE && strlen(field->name) == len &&
            memcmp(field->name, name, len) == 0) {
            return field;
        }
    }
    return NULL;
}

/* Whether all escapes in a string are "\/"; sets *ret_escaped when there is one. */
static bool only_slash_escapes(const char *text, size_t len, bool *ret_escaped)
{
    *ret_escaped = false;
    for (size_t at = 0; at < len;) {
        const char *slash = memchr(text + at, '\\', len - at);
        if (slash == NULL) {
            return true;
        }
        at = (size_t)(slash - text) + 2;
        if (at > len || slash[1] != '/') {
            return false;
        }
        *ret_escaped = true;
    }
    return true;
}

/* `name` was a string of the outermost object, ending with the quote at `end`. When it is the
 * key of a data URI, notes that, and returns the offset of the quote that ends the URI;
 * otherwise `end`. */
static size_t try_lift(const char *body, size_t len, const struct rd_field *field, size_t end,
                       struct rd_scan *scan)
{
    size_t at = skip_space(body, len, end + 1);
    if (field == NULL || scan->lifts_count == RD_SCAN_LIFTS || at >= len || body[at] != ':') {
        return end;
    }
    at = skip_space(body, len, at + 1);
    if (len - at <= sizeof lifted_prefix || body[at] != '"' ||
        memcmp(body + at + 1, lifted_prefix, sizeof lifted_prefix - 1) != 0) {
        return end;
    }
    size_t start = at + 1;
    size_t stop = string_end(body, len, start);
    bool escaped;
    if (stop == len || !only_slash_escapes(body + start, stop - start, &escaped)) {
        return end;
    }
    scan->lifts[scan->lifts_count++] = (struct rd_scan_lift){
        .field = field, .start = start, .len = stop - start, .escaped = escaped};
    return stop;
}

static rd_err find_lifts(const char *body, size_t len, struct rd_scan *scan)
{
    size_t depth = 0;
    for (size_t at = 0; at < len; at++) {
        char c = body[at];
        if (c == '{' || c == '[') {
            depth++;
            if (depth > RD_LIMIT_JSON_DEPTH) {
                scan->deep_at = at;
                return RD_ERR_INVALID_JSON;
            }
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        } else if (c == '"') {
            size_t end = string_end(body, len, at + 1);
            if (end < len && depth == 1) {
                end = try_lift(body, len, source_field(body + at + 1, end - at - 1), end, scan);
            }
            at = end;
        }
    }
    return RD_OK;
}

rd_err rd_scan_body(const char *body, size_t len, struct rd_arena *arena, struct rd_scan *scan)
{
    *scan = (struct rd_scan){.text = body, .len = len};
    if (len > RD_LIMIT_JSON_BODY_DATA_URI) {
        return RD_ERR_TOO_LARGE;
    }
    RD_TRY(find_lifts(body, len, scan));
    for (size_t i = 0; i < scan->lifts_count; i++) {
        scan->len -= scan->lifts[i].len;
    }
    if (scan->len > RD_LIMIT_JSON_BODY) {
        return RD_ERR_TOO_LARGE;
    }
    if (scan->lifts_count == 0) {
        return RD_OK;
    }
    char *text = rd_arena_alloc(arena, scan->len);
    if (text == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    size_t from = 0;
    size_t to = 0;
    for (size_t i = 0; i <= scan->lifts_count; i++) {
        size_t until = i < scan->lifts_count ? scan->lifts[i].start : len;
        memcpy(text + to, body + from, until - from);
        to += until - from;
        from = i < scan->lifts_count ? until + scan->lifts[i].len : until;
    }
    scan->text = text;
    return RD_OK;
}

const struct rd_scan_lift *rd_scan_lift_of(const struct rd_scan *scan, const struct rd_field *field)
{
    for (size_t i = 0; i < scan->lifts_count; i++) {
        if (scan->lifts[i].field == field) {
            return &scan->lifts[i];
        }
    }
    return NULL;
}

size_t rd_scan_body_offset(const struct rd_scan *scan, size_t offset)
{
    for (size_t i = 0; i < scan->lifts_count && offset > scan->lifts[i].start; i++) {
        offset += scan->lifts[i].len;
    }
    return offset;
}
