/* SPDX-License-Identifier: Apache-2.0
 *
 * The check of a URL's text, for fetches and webhooks. One parser reads it, libcurl's, and the
 * parsed handle is what is connected to: two parsers that disagree about where the host ends are
 * how guards of this kind are usually passed. */
#ifndef RD_FETCH_URL_H
#define RD_FETCH_URL_H

#include <curl/curl.h>

#include "fetch/fetch.h"

struct rd_fetch_hook; /* hook.h: of this folder's tests */

struct rd_fetch_url {
    CURLU *parsed; /* owned; rd_fetch_url_done frees */
    bool exempt;   /* the host stands in options->allow_hosts */
};

/* INVALID_REQUEST with why for a URL that may not be used; of `options` the allow list counts.
 * `hook` NULL: none. On success the caller owns `ret->parsed`. */
rd_err rd_fetch_url_parse(const char *url, const struct rd_fetch_options *options,
                          const struct rd_fetch_hook *hook, struct rd_fetch_url *ret,
                          struct rd_why *why) RD_MUST;
void rd_fetch_url_done(struct rd_fetch_url *url);

#endif
