/* SPDX-License-Identifier: Apache-2.0
 *
 * The fetch: one libcurl easy handle with the guard on it (guard.h), and a loop over redirects that
 * this file follows by itself.
 *
 * libcurl's own redirects are off: every hop gets the same checks as the first URL, and the clock
 * and the hop count run over all of them. No Accept-Encoding: a compressed answer would be a bomb
 * behind the size cap.
 *
 * The errors tell a stranger no more than "refused" about an address that the guard stops, because
 * nothing was sent to it. */
#include "fetch/fetch.h"

#include <pthread.h>

#include <curl/curl.h>

#include "base/clock.h"
#include "base/limits.h"
#include "fetch/guard.h"
#include "fetch/hook.h"
#include "fetch/url.h"

enum {
    DISCARD_MAX = 65536, /* of a redirect's or an error's body; more is not read */
    NS_PER_MS = 1000000,
};

/* One rd_fetch; the libcurl callbacks get it. */
struct fetch {
    CURL *easy;
    const struct rd_fetch_options *options;
    struct rd_buf *out;
    size_t start;      /* out->len before the fetch */
    size_t head_bytes; /* of this hop's header block */
    size_t discarded;  /* of this hop's body, when it is not the picture */
    bool too_large;
    struct rd_fetch_guard guard; /* of this hop */
};

/* libcurl's answers that a caller can do something about; the rest is "failed". */
static const struct {
    CURLcode code;
    rd_err err;
    const char *text;
} outcomes[] = {
    {CURLE_OPERATION_TIMEDOUT, RD_ERR_BACKEND_TIMEOUT, "the host did not answer in time"},
    {CURLE_OUT_OF_MEMORY, RD_ERR_NO_MEMORY, "out of memory"},
    {CURLE_FILESIZE_EXCEEDED, RD_ERR_TOO_LARGE, "the image is larger than the limit"},
    {CURLE_COULDNT_RESOLVE_HOST, RD_ERR_INVALID_REQUEST, "the host name does not resolve"},
    {CURLE_COULDNT_CONNECT, RD_ERR_INVALID_REQUEST, "cannot connect to the host"},
    {CURLE_PEER_FAILED_VERIFICATION, RD_ERR_INVALID_REQUEST, "the host's certificate is not valid"},
    {CURLE_SSL_CONNECT_ERROR, RD_ERR_INVALID_REQUEST, "the TLS handshake failed"},
    {CURLE_SSL_CACERT_BADFILE, RD_ERR_CONFIG, "the CA file cannot be read"},
    {CURLE_PARTIAL_FILE, RD_ERR_INVALID_REQUEST, "the answer ended early"},
    {CURLE_GOT_NOTHING, RD_ERR_INVALID_REQUEST, "the host closed without an answer"},
};

static void global_init(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

static size_t on_header(char *line, size_t size, size_t count, void *user)
{
    (void)line;
    struct fetch *fetch = user;
    fetch->head_bytes += size * count;
    return fetch->head_bytes > RD_LIMIT_HEADER_BLOCK ? 0 : size * count;
}

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct fetch *fetch = user;
    size_t len = size * count;
    long status = 0;
    (void)curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        fetch->discarded += len;
        return fetch->discarded > DISCARD_MAX ? 0 : len;
    }
    if (len > fetch->options->max_bytes - (fetch->out->len - fetch->start)) {
        fetch->too_large = true;
        return 0;
    }
    rd_buf_append(fetch->out, data, len);
    return rd_buf_err(fetch->out) == RD_OK ? len : 0;
}

/* Everything that stays the same over the hops. */
static bool set_constant(struct fetch *fetch)
{
    CURL *easy = fetch->easy;
    const char *ca_file = fetch->options->ca_file;
    bool ok = rd_fetch_guard_install(easy, &fetch->guard);
    ok = ok && curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)RD_LIMIT_FETCH_CONNECT_MS) ==
                   CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HEADERDATA, fetch) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE,
                                (curl_off_t)fetch->options->max_bytes) == CURLE_OK;
    return ok && (ca_file == NULL || curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file) == CURLE_OK);
}

static rd_err outcome(const struct fetch *fetch, CURLcode code, struct rd_why *why)
{
    if (fetch->guard.refused && code != CURLE_OK) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST,
                          "the host has no address that may be fetched from");
    }
    if (fetch->too_large || rd_buf_err(fetch->out) == RD_ERR_TOO_LARGE) {
        return rd_why_set(why, RD_ERR_TOO_LARGE, "the image is larger than the limit");
    }
    RD_TRY(rd_buf_err(fetch->out));
    if (fetch->head_bytes > RD_LIMIT_HEADER_BLOCK ||
        (code == CURLE_OUT_OF_MEMORY && fetch->guard.reached)) {
        /* Older libcurl calls a header line without end "out of memory". */
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the host's header block is too large");
    }
    for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++) {
        if (outcomes[i].code == code) {
            return rd_why_set(why, outcomes[i].err, "%s", outcomes[i].text);
        }
    }
    return code == CURLE_OK ? RD_OK
                            : rd_why_set(why, RD_ERR_INVALID_REQUEST, "the fetch failed: %s",
                                         curl_easy_strerror(code));
}

/* One request. On RD_OK `ret_next` is NULL (the picture is in `out`) or where to go on: curl's
 * text, valid until the handle's next use. */
static rd_err run_hop(struct fetch *fetch, const struct rd_fetch_url *url, uint64_t end_ns,
                      const char **ret_next, struct rd_why *why)
{
    uint64_t now = rd_clock_mono_ns();
    long left_ms = now >= end_ns ? 0 : (long)((end_ns - now) / NS_PER_MS);
    if (left_ms == 0) { /* to libcurl 0 means: for ever */
        return outcome(fetch, CURLE_OPERATION_TIMEDOUT, why);
    }
    fetch->guard = (struct rd_fetch_guard){.exempt = url->exempt};
    fetch->head_bytes = 0;
    fetch->discarded = 0;
    if (curl_easy_setopt(fetch->easy, CURLOPT_CURLU, url->parsed) != CURLE_OK ||
        curl_easy_setopt(fetch->easy, CURLOPT_TIMEOUT_MS, left_ms) != CURLE_OK) {
        return RD_ERR_NO_MEMORY;
    }
    CURLcode code = curl_easy_perform(fetch->easy);
    if (code == CURLE_WRITE_ERROR && fetch->discarded > DISCARD_MAX) {
        code = CURLE_OK; /* an error page that is not read to its end: its status says enough */
    }
    RD_TRY(outcome(fetch, code, why));
    long status = 0;
    char *next = NULL;
    (void)curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(fetch->easy, CURLINFO_REDIRECT_URL, &next);
    bool moved = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    if (status != 200 && (!moved || next == NULL)) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the host answered %ld", status);
    }
    *ret_next = moved ? next : NULL;
    return RD_OK;
}

static rd_err run_hops(struct fetch *fetch, const char *url, const struct rd_fetch_hook *hook,
                       struct rd_why *why)
{
    uint64_t total_ms = hook->total_ms != 0 ? hook->total_ms : RD_LIMIT_FETCH_TOTAL_MS;
    uint64_t end_ns = rd_clock_mono_ns() + total_ms * NS_PER_MS;
    struct rd_fetch_url at;
    for (unsigned hop = 0; hop <= RD_LIMIT_FETCH_HOPS; hop++) {
        RD_TRY(rd_fetch_url_parse(url, fetch->options, hook, &at, why));
        rd_err err = run_hop(fetch, &at, end_ns, &url, why);
        (void)curl_easy_setopt(fetch->easy, CURLOPT_CURLU, NULL); /* before its memory goes */
        rd_fetch_url_done(&at);
        if (err != RD_OK || url == NULL) {
            return err;
        }
    }
    return rd_why_set(why, RD_ERR_INVALID_REQUEST, "more than %d redirects", RD_LIMIT_FETCH_HOPS);
}

rd_err rd_fetch_hooked(const char *url, const struct rd_fetch_options *options,
                       const struct rd_fetch_hook *hook, struct rd_buf *out, struct rd_why *why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, global_init);
    RD_TRY(rd_buf_err(out));
    struct fetch fetch = {
        .easy = curl_easy_init(), .options = options, .out = out, .start = out->len};
    struct curl_slist *resolve = NULL;
    rd_err err = RD_ERR_NO_MEMORY;
    if (fetch.easy != NULL && set_constant(&fetch)) {
        if (hook->resolve != NULL) {
            resolve = curl_slist_append(NULL, hook->resolve);
            (void)curl_easy_setopt(fetch.easy, CURLOPT_RESOLVE, resolve);
        }
        err = run_hops(&fetch, url, hook, why);
    }
    curl_easy_cleanup(fetch.easy);
    curl_slist_free_all(resolve);
    if (err != RD_OK && out->data != NULL) { /* untouched on failure */
        out->len = fetch.start;
        out->data[out->len] = '\0';
        out->err = RD_OK;
    }
    return err;
}

rd_err rd_fetch(const char *url, const struct rd_fetch_options *options, struct rd_buf *out,
                struct rd_why *why)
{
    static const struct rd_fetch_hook none = {0};
    return rd_fetch_hooked(url, options, &none, out, why);
}
