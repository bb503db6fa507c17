/* SPDX-License-Identifier: Apache-2.0
 *
 * What exchange.c needs of an upgrade: see upgrade.c. Nobody outside src/http includes this. */
#ifndef RD_HTTP_UPGRADE_H
#define RD_HTTP_UPGRADE_H

#include <microhttpd.h>

struct rd_http_exchange;

/* The answer 101 without the collected headers; NULL without memory. */
struct MHD_Response *rd_http_upgrade_response(struct rd_http_exchange *exchange);

#endif
