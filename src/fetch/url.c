/* SPDX-License-Identifier: Apache-2.0
 *
 * The check of a URL's text: https, port 443, no credentials, printable ASCII. What the host
 * resolves to is not decided here: http://127.1/ or a friendly name may be well-formed, and the
 * address behind them is checked when the socket is made (guard.c). See url.h. */
#include "fetch/url.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/limits.h"
#include "fetch/hook.h"

/* Strings that libcurl's URL functions hand over are freed by curl_free only. */
static void free_text(char **text)
{
    curl_free(*text);
}
#define AUTO_CURL_TEXT __attribute__((cleanup(free_text)))

static bool printable(const char *url, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (url[i] <= 0x20 || url[i] >= 0x7f || url[i] == '\\') {
            return false;
        }
    }
    return true;
}

/* What stands behind "scheme://", or NULL. libcurl also takes one slash or three; nobody writes
 * that by accident. */
static const char *authority_of(const char *url)
{
    const char *colon = strchr(url, ':');
    return colon != NULL && strncmp(colon, "://", 3) == 0 && colon[3] != '/' ? colon + 3 : NULL;
}

/* An '@' in front of the path: credentials, or an attempt to make the host look like another.
 * libcurl drops an empty "@", so this looks at the text itself. */
static bool has_userinfo(const char *authority)
{
    return memchr(authority, '@', strcspn(authority, "/?#")) != NULL;
}

/* "[::1]" and "::1" are the same host in a list. */
static bool host_equal(const char *host, const char *listed)
{
    size_t len = strlen(host);
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']' && listed[0] != '[') {
        return strlen(listed) == len - 2 && strncasecmp(host + 1, listed, len - 2) == 0;
    }
    return strcasecmp(host, listed) == 0;
}

static bool is_exempt(const char *host, const struct rd_fetch_options *options)
{
    for (size_t i = 0; i < options->allow_hosts_count; i++) {
        if (host_equal(host, options->allow_hosts[i])) {
            return true;
        }
    }
    return false;
}

static rd_err check_parts(CURLU *parsed, const struct rd_fetch_options *options,
                          const struct rd_fetch_hook *hook, bool *ret_exempt, struct rd_why *why)
{
    AUTO_CURL_TEXT char *scheme = NULL;
    AUTO_CURL_TEXT char *host = NULL;
    AUTO_CURL_TEXT char *port = NULL;
    CURLUcode code = curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0);
    code = code != CURLUE_OK ? code : curl_url_get(parsed, CURLUPART_HOST, &host, 0);
    code =
        code != CURLUE_OK ? code : curl_url_get(parsed, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);
    if (code == CURLUE_OUT_OF_MEMORY) {
        return RD_ERR_NO_MEMORY;
    }
    bool https = code == CURLUE_OK && strcasecmp(scheme, "https") == 0;
    bool http = code == CURLUE_OK && strcasecmp(scheme, "http") == 0;
    if (!https && !http) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "only https URLs are taken");
    }
    bool exempt = is_exempt(host, options);
    bool hooked = hook != NULL && hook->port != 0;
    if (!exempt && !https && !hooked) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "only https URLs are taken");
    }
    unsigned long want = hooked ? hook->port : 443;
    if (!exempt && strtoul(port, NULL, 10) != want) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "only port 443 is taken");
    }
    *ret_exempt = exempt;
    return RD_OK;
}

rd_err rd_fetch_url_parse(const char *url, const struct rd_fetch_options *options,
                          const struct rd_fetch_hook *hook, struct rd_fetch_url *ret,
                          struct rd_why *why)
{
    size_t len = strnlen(url, RD_LIMIT_URL + 1);
    if (len > RD_LIMIT_URL) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the URL is longer than %d bytes",
                          RD_LIMIT_URL);
    }
    if (!printable(url, len)) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST,
                          "the URL holds a byte that must be percent-encoded");
    }
    const char *authority = authority_of(url);
    if (authority == NULL) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "not a URL that can be used");
    }
    if (has_userinfo(authority)) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "a URL with a user name is not taken");
    }
    struct rd_fetch_url made = {.parsed = curl_url()};
    if (made.parsed == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    CURLUcode code = curl_url_set(made.parsed, CURLUPART_URL, url, CURLU_DISALLOW_USER);
    rd_err err = code == CURLUE_OK ? check_parts(made.parsed, options, hook, &made.exempt, why)
                 : code == CURLUE_OUT_OF_MEMORY
                     ? RD_ERR_NO_MEMORY
                     : rd_why_set(why, RD_ERR_INVALID_REQUEST, "not a URL that can be used");
    if (err != RD_OK) {
        rd_fetch_url_done(&made);
        return err;
    }
    *ret = made;
    return RD_OK;
}

void rd_fetch_url_done(struct rd_fetch_url *url)
{
    curl_url_cleanup(url->parsed);
    url->parsed = NULL;
}

rd_err rd_fetch_url_check(const char *url, const struct rd_fetch_options *options,
                          const struct rd_fetch_hook *hook, struct rd_why *why)
{
    struct rd_fetch_url parsed;
    RD_TRY(rd_fetch_url_parse(url, options, hook, &parsed, why));
    rd_fetch_url_done(&parsed);
    return RD_OK;
}
