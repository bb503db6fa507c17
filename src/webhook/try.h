/* SPDX-License-Identifier: Apache-2.0
 *
 * One try: a POST of one message to one endpoint, as a libcurl easy handle that the sender drives.
 * The outbound guard sits on it (fetch/guard.h), so the address is judged at every try, after DNS
 * and before anything is sent. Redirects are not followed. The status line is the answer: of the
 * body nothing is kept, and one that does not end changes nothing. */
#ifndef RD_WEBHOOK_TRY_H
#define RD_WEBHOOK_TRY_H

#include <curl/curl.h>

#include "fetch/fetch.h"
#include "fetch/guard.h"
#include "fetch/url.h"
#include "webhook/schedule.h"
#include "webhook/sign.h"

struct rd_webhook_try {
    CURL *easy;
    struct rd_fetch_guard guard;
    struct rd_fetch_url url;
    struct curl_slist *headers;
    size_t head_bytes, body_bytes; /* of the answer */
    bool final;                    /* a status that is no 1xx has come */
};

struct rd_webhook_call {
    const char *url;
    struct rd_webhook_message message; /* the body must live as long as the try */
    const struct rd_webhook_secrets *secrets;
    const struct rd_fetch_options *options; /* allow_hosts, ca_file */
    unsigned total_ms;
    void *user; /* CURLOPT_PRIVATE */
};

/* Makes the handle; not yet sent. INVALID_REQUEST with why when the URL may not be called. On
 * failure nothing is left to be released. */
rd_err rd_webhook_try_make(struct rd_webhook_try *attempt, const struct rd_webhook_call *call,
                           struct rd_why *why) RD_MUST;
/* What came of it, once libcurl is done with the handle. */
void rd_webhook_try_answer(const struct rd_webhook_try *attempt, CURLcode code, uint64_t now_ms,
                           struct rd_webhook_answer *ret);
/* The handle must be in no multi handle any more. */
void rd_webhook_try_done(struct rd_webhook_try *attempt);

#endif
