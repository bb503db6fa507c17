/* SPDX-License-Identifier: Apache-2.0
 *
 * What an HTTP engine's answer means: pure functions over what came, without libcurl, so that each
 * row of their tables is a unit test. */
#ifndef RD_ENGINE_HTTP_REPLY_H
#define RD_ENGINE_HTTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/generation.h"

enum {
    RD_HTTP_MAGIC_LEN = 12,    /* the first bytes that tell every medium apart */
    RD_HTTP_SNIPPET_MAX = 200, /* of an error's text that may end up in our own */
};

/* The error for a status other than 200. */
rd_err rd_http_status_err(long status);
/* `type` (a Content-Type with or without parameters; NULL is none) names `media`. */
bool rd_http_type_is(const char *type, enum rd_media media);
/* `type` is readable by a person: text/..., JSON. */
bool rd_http_type_is_text(const char *type);
/* The first RD_HTTP_MAGIC_LEN bytes are those of `media`. */
bool rd_http_magic_is(const void *bytes, enum rd_media media);
/* "1.25" as nanoseconds; false when it is not a plain decimal number of at most 10^6 seconds. */
bool rd_http_seconds_parse(const char *text, size_t len, uint64_t *ret_ns);
/* Copies at most `room` - 1 bytes as one line: white space becomes a space, control characters and
 * broken UTF-8 '?'. */
void rd_http_sanitise(const char *text, size_t len, char *out, size_t room);

#endif
