/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of the types that a route can produce a client wants: the Accept header, RFC 9110 12.5.1. A
 * pure function on strings; one pass, no memory taken. */
#ifndef RD_HTTP_ACCEPT_H
#define RD_HTTP_ACCEPT_H

#include <stddef.h>

enum {
    RD_ACCEPT_NONE = -1,      /* nothing that is offered is acceptable: 406 */
    RD_ACCEPT_OFFERS_MAX = 16 /* most types that can be offered */
};

/* The index in `offered` of the type to send, or RD_ACCEPT_NONE. `offered` has `count` types
 * without parameters ("image/png"), the server's favourite first; 1 <= count <=
 * RD_ACCEPT_OFFERS_MAX. Several Accept lines are to be joined with ",".
 *
 * An absent (NULL) or empty header takes the first. For each offer the most specific range that
 * matches it gives its q. The highest q wins; among equals the one that the client named most
 * precisely, then the one that it named first, then the first offered. q=0 forbids.
 *
 * Lenient where clients are sloppy: parameters other than q are ignored ("application/json;
 * charset=utf-8" asks for JSON), "*" alone means every type, "q=.5" is 0.5, and an element that
 * makes no sense is skipped. A header in which no element makes sense is treated as absent. */
int rd_accept_choose(const char *header, const char *const *offered, size_t count);

#endif
