/* SPDX-License-Identifier: Apache-2.0
 *
 * For the tests of this folder only: the same fetch with the outside world bent. Nothing else
 * includes it. A test cannot listen on port 443 and must not depend on a resolver, so it may say
 * which port stands for 443 (with which plain http is taken too), what names resolve to, and how
 * long a fetch may last. The guard itself cannot be bent. */
#ifndef RD_FETCH_HOOK_H
#define RD_FETCH_HOOK_H

#include "fetch/fetch.h"

struct rd_fetch_hook {
    unsigned port;       /* 0: 443, https only */
    const char *resolve; /* "name:port:address" as CURLOPT_RESOLVE takes it, or NULL */
    unsigned total_ms;   /* 0: RD_LIMIT_FETCH_TOTAL_MS */
};
rd_err rd_fetch_hooked(const char *url, const struct rd_fetch_options *options,
                       const struct rd_fetch_hook *hook, struct rd_buf *out,
                       struct rd_why *why) RD_MUST;

/* What rd_fetch accepts as a URL, before any name is resolved. */
rd_err rd_fetch_url_check(const char *url, const struct rd_fetch_options *options,
                          const struct rd_fetch_hook *hook, struct rd_why *why) RD_MUST;

#endif
