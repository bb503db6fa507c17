/* SPDX-License-Identifier: Apache-2.0
 *
 * What may be named as a webhook. See url.h. */
#include "webhook/url.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "fetch/url.h"

/* The host without brackets and final dot; false when it does not fit. */
static bool plain_host(CURLU *parsed, char ret[RD_WEBHOOK_HOST_MAX], bool *ret_v6)
{
    char *host = NULL;
    if (curl_url_get(parsed, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
        return false;
    }
    size_t len = strlen(host);
    bool v6 = len >= 2 && host[0] == '[' && host[len - 1] == ']';
    size_t from = v6 ? 1 : 0;
    size_t end = v6 || len == 0 || host[len - 1] != '.' ? len - from : len - 1;
    bool fits = end > from && end - from < RD_WEBHOOK_HOST_MAX;
    if (fits) {
        memcpy(ret, host + from, end - from);
        ret[end - from] = '\0';
        *ret_v6 = v6;
    }
    curl_free(host);
    return fits;
}

static bool host_allowed(const char *host, bool v6)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (v6) {
        return inet_pton(AF_INET6, host, &in6.sin6_addr) == 1 &&
               rd_fetch_address_allowed((const struct sockaddr *)&in6);
    }
    if (inet_aton(host, &in.sin_addr) != 0) { /* 127.1, 0x7f000001 and 017700000001 as well */
        return rd_fetch_address_allowed((const struct sockaddr *)&in);
    }
    size_t len = strlen(host);
    static const char own[] = ".localhost";
    bool below = len >= sizeof own && strcasecmp(host + len - (sizeof own - 1), own) == 0;
    return !below && strcasecmp(host, own + 1) != 0;
}

rd_err rd_webhook_url_check(const char *url, const struct rd_fetch_options *options,
                            struct rd_why *why)
{
    struct rd_fetch_url at;
    RD_TRY(rd_fetch_url_parse(url, options, NULL, &at, why));
    char host[RD_WEBHOOK_HOST_MAX];
    bool v6 = false;
    bool allowed = at.exempt || (plain_host(at.parsed, host, &v6) && host_allowed(host, v6));
    rd_fetch_url_done(&at);
    return allowed ? RD_OK
                   : rd_why_set(why, RD_ERR_INVALID_REQUEST,
                                "the host has no address that messages may go to");
}

void rd_webhook_url_host(const char *url, char ret[RD_WEBHOOK_HOST_MAX])
{
    char host[RD_WEBHOOK_HOST_MAX];
    char *port = NULL;
    bool v6 = false;
    CURLU *parsed = curl_url();
    ret[0] = '\0';
    if (parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
        plain_host(parsed, host, &v6) &&
        curl_url_get(parsed, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK) {
        (void)snprintf(ret, RD_WEBHOOK_HOST_MAX, "%.490s:%s", host, port);
        for (char *at = ret; *at != '\0'; at++) {
            *at = (char)(*at >= 'A' && *at <= 'Z' ? *at + ('a' - 'A') : *at);
        }
    }
    curl_free(port);
    curl_url_cleanup(parsed);
}
