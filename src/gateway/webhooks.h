/* SPDX-License-Identifier: Apache-2.0
 *
 * What the gateway's other files need of its webhooks: which hosts the configuration allows, for
 * the sender (rd_webhook_start, rd_webhook_configure) and for a submission (rd_webhook_url_check).
 */
#ifndef RD_GATEWAY_WEBHOOKS_H
#define RD_GATEWAY_WEBHOOKS_H

#include "config/config.h"
#include "fetch/fetch.h"

/* Lives as long as `config`. */
struct rd_fetch_options rd_webhooks_options(const struct rd_config *config);

#endif
