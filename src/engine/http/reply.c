/* SPDX-License-Identifier: Apache-2.0
 *
 * The meaning of an answer. See reply.h. */
#include "engine/http/reply.h"

#include <string.h>
#include <strings.h>

#include "base/text.h"

enum { SECONDS_MAX = 1000000, NS_PER_S = 1000000000 };

static const struct {
    long status;
    rd_err err;
} statuses[] = {
    {408, RD_ERR_BACKEND_TIMEOUT},
    {429, RD_ERR_CAPACITY},
    {503, RD_ERR_CAPACITY},
    {504, RD_ERR_BACKEND_TIMEOUT},
};

/* Where two runs of bytes must stand. */
static const struct {
    const char *first;
    size_t first_len;
    size_t second_at;
    const char *second;
} magics[RD_MEDIA_COUNT_] = {
    [RD_MEDIA_PNG] = {"\x89PNG\r\n\x1a\n", 8, 8, ""},
    [RD_MEDIA_WEBP] = {"RIFF", 4, 8, "WEBP"},
    [RD_MEDIA_JPEG] = {"\xff\xd8\xff", 3, 3, ""},
    [RD_MEDIA_MP4] = {"", 0, 4, "ftyp"},
};

rd_err rd_http_status_err(long status)
{
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        if (statuses[i].status == status) {
            return statuses[i].err;
        }
    }
    return RD_ERR_BACKEND_FAILED;
}

/* The length of "type/subtype" in front of parameters. */
static size_t essence_len(const char *type)
{
    return strcspn(type, "; \t");
}

bool rd_http_type_is(const char *type, enum rd_media media)
{
    const char *want = rd_media_type(media);
    return type != NULL && essence_len(type) == strlen(want) &&
           strncasecmp(type, want, strlen(want)) == 0;
}

bool rd_http_type_is_text(const char *type)
{
    return type != NULL &&
           (strncasecmp(type, "text/", 5) == 0 ||
            (essence_len(type) == 16 && strncasecmp(type, "application/json", 16) == 0) ||
            (essence_len(type) == 24 && strncasecmp(type, "application/problem+json", 24) == 0));
}

bool rd_http_magic_is(const void *bytes, enum rd_media media)
{
    const char *text = bytes;
    return memcmp(text, magics[media].first, magics[media].first_len) == 0 &&
           memcmp(text + magics[media].second_at, magics[media].second,
                  strlen(magics[media].second)) == 0;
}

bool rd_http_seconds_parse(const char *text, size_t len, uint64_t *ret_ns)
{
    const char *point = memchr(text, '.', len);
    size_t whole_len = point != NULL ? (size_t)(point - text) : len;
    uint64_t whole = 0;
    if (!rd_text_u64(text, whole_len, &whole) || whole > SECONDS_MAX) {
        return false;
    }
    uint64_t fraction = 0;
    uint64_t unit = NS_PER_S;
    if (point != NULL && whole_len + 1 == len) {
        return false;
    }
    for (size_t i = whole_len + 1; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        unit /= 10; /* digits beyond nanoseconds count as 0 */
        fraction += unit * (uint64_t)(text[i] - '0');
    }
    *ret_ns = whole * NS_PER_S + fraction;
    return true;
}

void rd_http_sanitise(const char *text, size_t len, char *out, size_t room)
{
    size_t used = 0;
    for (size_t i = 0; i < len;) {
        size_t width = rd_text_utf8_width(text + i, len - i);
        unsigned char c = (unsigned char)text[i];
        size_t step = width == 0 ? 1 : width;
        if (used + step >= room) {
            break;
        }
        if (width > 1 && !(c == 0xc2 && (unsigned char)text[i + 1] < 0xa0)) { /* not C1 controls */
            memcpy(out + used, text + i, width);
        } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            out[used] = ' ';
            step = 1;
        } else {
            out[used] = c > 0x20 && c < 0x7f ? (char)c : '?';
            step = 1;
        }
        used += step;
        i += width == 0 ? 1 : width;
    }
    out[used] = '\0';
}
