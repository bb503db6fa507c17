/* SPDX-License-Identifier: Apache-2.0
 *
 * See grpc_status.h. In the table of meanings, `final` stands where the model may have worked and
 * failed: the same request would cost another backend the same. What a server refuses before it
 * works (it is down, has not loaded the model, does not let us in) may be asked of another one. */
#include "engine/triton/grpc_status.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

static const struct rd_grpc_meaning meanings[RD_GRPC_STATUS_COUNT] = {
    {"OK", RD_OK, false, false},
    {"CANCELLED", RD_ERR_BACKEND_FAILED, false, false}, /* ours never ask the server */
    {"UNKNOWN", RD_ERR_BACKEND_FAILED, true, false},
    {"INVALID_ARGUMENT", RD_ERR_BACKEND_FAILED, true, true},
    {"DEADLINE_EXCEEDED", RD_ERR_BACKEND_TIMEOUT, false, false},
    {"NOT_FOUND", RD_ERR_BACKEND_FAILED, false, false},
    {"ALREADY_EXISTS", RD_ERR_BACKEND_FAILED, true, false},
    {"PERMISSION_DENIED", RD_ERR_BACKEND_FAILED, false, false},
    {"RESOURCE_EXHAUSTED", RD_ERR_CAPACITY, false, false},
    {"FAILED_PRECONDITION", RD_ERR_BACKEND_FAILED, true, false},
    {"ABORTED", RD_ERR_BACKEND_FAILED, false, false},
    {"OUT_OF_RANGE", RD_ERR_BACKEND_FAILED, true, true},
    {"UNIMPLEMENTED", RD_ERR_BACKEND_FAILED, true, false},
    {"INTERNAL", RD_ERR_BACKEND_FAILED, true, false},
    {"UNAVAILABLE", RD_ERR_BACKEND_FAILED, false, false},
    {"DATA_LOSS", RD_ERR_BACKEND_FAILED, true, false},
    {"UNAUTHENTICATED", RD_ERR_BACKEND_FAILED, false, false},
};

const struct rd_grpc_meaning *rd_grpc_meaning(int status)
{
    return &meanings[status >= 0 && status < RD_GRPC_STATUS_COUNT ? status : 2];
}

int rd_grpc_status_parse(const char *text, size_t len)
{
    uint64_t number;
    return len <= 3 && rd_text_u64(text, len, &number) ? (int)number : RD_GRPC_STATUS_NONE;
}

int rd_grpc_status_http(int http_status)
{
    switch (http_status) { /* as gRPC's own table has it */
    case 400:
        return 13;
    case 401:
        return 16;
    case 403:
        return 7;
    case 404:
        return 12;
    case 429:
    case 502:
    case 503:
    case 504:
        return 14;
    default:
        return 2;
    }
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

void rd_grpc_text(const char *text, size_t len, char *out, size_t room)
{
    /* Decoded first, so that a character split by the encoding is whole when it is judged. */
    char raw[RD_GRPC_TEXT_MAX * 2];
    size_t raw_len = 0;
    for (size_t i = 0; i < len && raw_len < sizeof raw; i++) {
        char c = text[i];
        if (c == '%' && len - i > 2 && hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0) {
            c = (char)(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
            i += 2;
        }
        raw[raw_len++] = c;
    }
    size_t at = 0;
    for (size_t i = 0; i < raw_len && at + 1 < room;) {
        unsigned char c = (unsigned char)raw[i];
        size_t width = rd_text_utf8_width(raw + i, raw_len - i);
        if (width > 1 && at + width < room) {
            memcpy(out + at, raw + i, width);
            at += width;
            i += width;
        } else if (width > 1) {
            break;
        } else {
            out[at++] = c == '\t' || c == '\n' || c == '\r'   ? ' '
                        : width == 0 || c < 0x20 || c == 0x7f ? '?'
                                                              : (char)c;
            i++;
        }
    }
    out[at] = '\0';
}

void rd_grpc_timeout(uint64_t ns, char out[RD_GRPC_TIMEOUT_LEN + 1])
{
    static const struct {
        char unit;
        uint64_t ns;
    } units[] = {{'n', 1},           {'u', 1000},         {'m', 1000000},
                 {'S', 1000000000u}, {'M', 60000000000u}, {'H', 3600000000000u}};
    size_t i = 0;
    while (i + 1 < sizeof units / sizeof units[0] && ns / units[i].ns > 99999999) {
        i++;
    }
    uint64_t number = ns / units[i].ns;
    number = number > 99999999 ? 99999999 : number == 0 ? 1 : number;
    (void)snprintf(out, RD_GRPC_TIMEOUT_LEN + 1, "%u%c", (unsigned)number, units[i].unit);
}

bool rd_grpc_type_is(const char *type, size_t len)
{
    static const char want[] = "application/grpc";
    size_t want_len = sizeof want - 1;
    if (len < want_len || strncasecmp(type, want, want_len) != 0) {
        return false;
    }
    return len == want_len || type[want_len] == ';' || type[want_len] == ' ' ||
           (len >= want_len + 6 && strncasecmp(type + want_len, "+proto", 6) == 0);
}
