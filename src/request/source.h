/* SPDX-License-Identifier: Apache-2.0
 *
 * The value of `image` or `mask`: which kind of source it is, and whether it may be one. Inside
 * src/request only.
 *
 * - Own asset: public_url + "/a/" + id, or "/a/" + id, or the id alone. An id is an asset's ("a_" +
 *   64 hex digits of BLAKE3) or an upload's ("a_" + base62). Tried first, since the gateway's own
 *   URL may be http:// and is never fetched over the network.
 * - https URL: plain ASCII, a host, no user:password@, no fragment, at most RD_LIMIT_URL bytes.
 *   Which addresses it may resolve to is fetch's business, after DNS.
 * - data URI: decoded here, at once; what it holds must be what it claims. */
#ifndef RD_REQUEST_SOURCE_H
#define RD_REQUEST_SOURCE_H

#include "request/request.h"

/* `text` lives as long as the arena, and ends in NUL unless it begins with "data:". Problems are
 * added under `name`; returns NO_MEMORY or RD_OK, and on a problem leaves *ret alone. */
rd_err rd_source_read(const char *name, const char *text, size_t len,
                      const struct rd_request_context *context, struct rd_arena *arena,
                      struct rd_source *ret, struct rd_problems *problems) RD_MUST;

#endif
