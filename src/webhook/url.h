/* SPDX-License-Identifier: Apache-2.0
 *
 * What may be named as a webhook. Refused when it is submitted: what is not https on port 443, what
 * names a private address literally, in whatever spelling, and this machine's own name. A name
 * that leads to a private address is found at each try, where the address is known: here nothing
 * is resolved, since a submission must not wait for somebody's DNS. */
#ifndef RD_WEBHOOK_URL_H
#define RD_WEBHOOK_URL_H

#include "fetch/fetch.h"

/* INVALID_REQUEST with why. Of `options` the allow list counts: its hosts are exempt, for them http
 * and other ports are allowed too. */
rd_err rd_webhook_url_check(const char *url, const struct rd_fetch_options *options,
                            struct rd_why *why) RD_MUST;

enum { RD_WEBHOOK_HOST_MAX = 512 };
/* "host:port" in one spelling, for counting; "" when it is no URL. */
void rd_webhook_url_host(const char *url, char ret[RD_WEBHOOK_HOST_MAX]);

#endif
