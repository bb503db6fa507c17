/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard of everything that goes out to a host which a stranger named: source images here,
 * webhooks elsewhere. It sits in two of libcurl's hooks on an easy handle:
 *
 *     open socket   libcurl has resolved the name and is about to connect: the address is looked at
 *                   here, after DNS, so a name cannot mean one thing to a check and another to the
 *                   connection (rebinding);
 *     pre-request   the connection stands, maybe one that an earlier request opened: the peer's
 *                   address is looked at again before a byte of the request goes out.
 *
 * Whoever uses it follows no redirect by libcurl, since `exempt` belongs to one host. */
#ifndef RD_FETCH_GUARD_H
#define RD_FETCH_GUARD_H

#include <stdbool.h>

#include <curl/curl.h>

struct rd_fetch_guard {
    bool exempt;  /* in: this request's host stands in allow_hosts (url.h) */
    bool refused; /* out: an address was stopped */
    bool reached; /* out: a request went out */
};

/* Sets the hooks on `easy`, and turns off whatever a handle could pick up from outside: proxy
 * variables, .netrc, redirects, other protocols, TLS before 1.2. `guard` must outlive the handle.
 * False when libcurl is out of memory. */
bool rd_fetch_guard_install(CURL *easy, struct rd_fetch_guard *guard);

#endif
