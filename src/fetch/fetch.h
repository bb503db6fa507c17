/* SPDX-License-Identifier: Apache-2.0
 *
 * Fetching source images from https URLs that strangers chose. The guard looks at the address after
 * DNS and before connect, on every hop (libcurl's open-socket and pre-request hooks), so that a
 * name that resolves to a private address, a redirect, or a rebinding resolver reach nothing
 * inside. https on port 443 only; at most RD_LIMIT_FETCH_HOPS redirects, followed by hand, without
 * credentials; time and size caps; no proxy, netrc or cookies. A resolver error fails closed. */
#ifndef RD_FETCH_FETCH_H
#define RD_FETCH_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/err.h"

/* True when `address` (IPv4 or IPv6) is a public unicast address that a stranger may send us to.
 * The table of refused ranges, embedded IPv4 forms decoded, is in guard.c. */
bool rd_fetch_address_allowed(const struct sockaddr *address);

struct rd_fetch_options {
    size_t max_bytes;               /* TOO_LARGE beyond it, whatever Content-Length says */
    const char *const *allow_hosts; /* exact host names or addresses exempt from the guard; */
    size_t allow_hosts_count;       /* for them plain http and other ports are allowed too */
    const char *ca_file;            /* PEM bundle instead of the system's, or NULL */
};
/* Fetches `url` into `out`. Blocks (worker threads only). INVALID_REQUEST with why when the guard
 * refuses the URL or address, or the answer is not 200; BACKEND_TIMEOUT; TOO_LARGE. Why never tells
 * what stands at a private address. */
rd_err rd_fetch(const char *url, const struct rd_fetch_options *options, struct rd_buf *out,
                struct rd_why *why) RD_MUST;

#endif
