/* SPDX-License-Identifier: Apache-2.0
 *
 * What webhooks read from outside. The input is a URL that a tenant names: any bytes, no crash;
 * what is let through is a URL that fetches take as well, and when its host is an address in any
 * spelling that the system reads, a public one. And it is a Retry-After that an endpoint sends:
 * never more than a day. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <netdb.h>

#include "base/mem.h"
#include "fetch/hook.h"
#include "webhook/schedule.h"
#include "webhook/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The system's own opinion of the host, without asking anybody. */
static void check_address(const char *url)
{
    char host[RD_WEBHOOK_HOST_MAX];
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    rd_webhook_url_host(url, host);
    char *port = strrchr(host, ':');
    if (port == NULL || strcmp(port, ":443") != 0) {
        abort();
    }
    *port = '\0';
    if (getaddrinfo(host, NULL, &hints, &found) == 0) {
        if (!rd_fetch_address_allowed(found->ai_addr)) {
            abort();
        }
        freeaddrinfo(found);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rd_fetch_options options = {.max_bytes = 0};
    static const struct rd_fetch_hook plain = {0};
    RD_AUTO_FREE char *text = rd_mem_memdupz(data, size);
    if (text == NULL) {
        return 0;
    }
    struct rd_why why = {""};
    if (rd_webhook_url_check(text, &options, &why) != RD_OK) {
        if (why.text[0] == '\0') {
            abort(); /* a refusal says why */
        }
    } else if (rd_fetch_url_check(text, &options, &plain, NULL) != RD_OK) {
        abort();
    } else {
        check_address(text);
    }
    if (rd_webhook_retry_after_ms(text, 1795353600000) > RD_WEBHOOK_DAY_MS) {
        abort();
    }
    return 0;
}
