/* SPDX-License-Identifier: Apache-2.0
 *
 * For the tests of this folder only: the same sender with time bent. Nothing else includes it. */
#ifndef RD_WEBHOOK_HOOK_H
#define RD_WEBHOOK_HOOK_H

#include "webhook/sender.h"

struct rd_webhook_hook {
    unsigned hurry;      /* divides the schedule's times; 0: 1 */
    unsigned total_ms;   /* of one try; 0: RD_LIMIT_WEBHOOK_TIME_MS */
    unsigned trouble_ms; /* 0: RD_WEBHOOK_TROUBLE_MS */
    unsigned stop_ms;    /* 0: RD_WEBHOOK_STOP_MS */
};
rd_err rd_webhook_start_hooked(struct rd_store *store, const struct rd_fetch_options *options,
                               const struct rd_webhook_hook *hook, struct rd_webhook_sender **ret,
                               struct rd_why *why) RD_MUST;

#endif
