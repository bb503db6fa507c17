/* SPDX-License-Identifier: Apache-2.0
 *
 * One try. See try.h. The reasons tell the tenant what to look at, and of an address that the guard
 * stopped no more than that it was stopped, because nothing was sent to it. */
#include "webhook/try.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"

enum { DISCARD_MAX = 16384, HEADER_MAX = 1024 };

static const struct {
    CURLcode code;
    const char *text;
} reasons[] = {
    {CURLE_OPERATION_TIMEDOUT, "the endpoint did not answer in time"},
    {CURLE_COULDNT_RESOLVE_HOST, "the host name does not resolve"},
    {CURLE_COULDNT_CONNECT, "cannot connect to the host"},
    {CURLE_PEER_FAILED_VERIFICATION, "the host's certificate is not valid"},
    {CURLE_SSL_CONNECT_ERROR, "the TLS handshake failed"},
    {CURLE_SSL_CACERT_BADFILE, "the gateway's CA file cannot be read"},
    {CURLE_GOT_NOTHING, "the host closed without an answer"},
    {CURLE_SEND_ERROR, "the connection broke"},
    {CURLE_RECV_ERROR, "the connection broke"},
};

static size_t on_header(char *line, size_t size, size_t count, void *user)
{
    struct rd_webhook_try *attempt = user;
    size_t len = size * count;
    attempt->head_bytes += len;
    if (len > 9 && strncmp(line, "HTTP/", 5) == 0) {
        const char *status = memchr(line, ' ', len);
        attempt->final = status != NULL && status[1] != '1';
    }
    return attempt->head_bytes > RD_LIMIT_HEADER_BLOCK ? 0 : len;
}

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    (void)data;
    struct rd_webhook_try *attempt = user;
    attempt->body_bytes += size * count;
    return attempt->body_bytes > DISCARD_MAX ? 0 : size * count; /* the status says enough */
}

static bool add_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer != NULL) {
        *list = longer;
    }
    return longer != NULL;
}

static rd_err make_headers(const struct rd_webhook_call *call, struct curl_slist **ret)
{
    RD_AUTO_BUF struct rd_buf line;
    rd_buf_init(&line, HEADER_MAX);
    bool ok = add_header(ret, "Content-Type: application/json");
    ok = ok && add_header(ret, "Accept:"); /* none of these: nothing in the answer is read */
    ok = ok && add_header(ret, "Expect:");
    rd_buf_printf(&line, "webhook-id: %s", call->message.id);
    ok = ok && rd_buf_err(&line) == RD_OK && add_header(ret, rd_buf_cstr(&line));
    rd_buf_reset(&line);
    rd_buf_printf(&line, "webhook-timestamp: %llu", (unsigned long long)call->message.unix_s);
    ok = ok && rd_buf_err(&line) == RD_OK && add_header(ret, rd_buf_cstr(&line));
    rd_buf_reset(&line);
    rd_buf_str(&line, "webhook-signature: ");
    RD_TRY(rd_webhook_signatures(call->secrets, &call->message, &line));
    return ok && add_header(ret, rd_buf_cstr(&line)) ? RD_OK : RD_ERR_NO_MEMORY;
}

static bool set_options(struct rd_webhook_try *attempt, const struct rd_webhook_call *call)
{
    CURL *easy = attempt->easy;
    const char *ca_file = call->options->ca_file;
    bool ok = rd_fetch_guard_install(easy, &attempt->guard);
    ok = ok && curl_easy_setopt(easy, CURLOPT_CURLU, attempt->url.parsed) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->message.body) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                                (curl_off_t)call->message.body_len) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HTTPHEADER, attempt->headers) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                                (long)RD_LIMIT_WEBHOOK_CONNECT_MS) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)call->total_ms) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HEADERDATA, attempt) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEDATA, attempt) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PRIVATE, call->user) == CURLE_OK;
    return ok && (ca_file == NULL || curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file) == CURLE_OK);
}

rd_err rd_webhook_try_make(struct rd_webhook_try *attempt, const struct rd_webhook_call *call,
                           struct rd_why *why)
{
    memset(attempt, 0, sizeof *attempt);
    RD_TRY(rd_fetch_url_parse(call->url, call->options, NULL, &attempt->url, why));
    attempt->guard.exempt = attempt->url.exempt;
    rd_err err = make_headers(call, &attempt->headers);
    if (err == RD_OK) {
        attempt->easy = curl_easy_init();
        err = attempt->easy != NULL && set_options(attempt, call) ? RD_OK : RD_ERR_NO_MEMORY;
    }
    if (err != RD_OK) {
        rd_webhook_try_done(attempt);
    }
    return err;
}

static void take_retry_after(const struct rd_webhook_try *attempt, uint64_t now_ms,
                             struct rd_webhook_answer *ret)
{
    struct curl_header *header = NULL;
    if (curl_easy_header(attempt->easy, "Retry-After", 0, CURLH_HEADER, -1, &header) == CURLHE_OK) {
        ret->retry_after_ms = rd_webhook_retry_after_ms(header->value, now_ms);
    }
}

void rd_webhook_try_answer(const struct rd_webhook_try *attempt, CURLcode code, uint64_t now_ms,
                           struct rd_webhook_answer *ret)
{
    const char *text = NULL;
    long status = 0;
    *ret = (struct rd_webhook_answer){.status = 0};
    if (attempt->final && attempt->guard.reached) {
        (void)curl_easy_getinfo(attempt->easy, CURLINFO_RESPONSE_CODE, &status);
    }
    if (status > 0 && attempt->head_bytes <= RD_LIMIT_HEADER_BLOCK) {
        ret->status = (int)status;
        rd_webhook_reason(ret->status, ret->reason);
        take_retry_after(attempt, now_ms, ret);
        return;
    }
    if (attempt->guard.refused) {
        text = "the host has no address that messages may go to";
    } else if (attempt->head_bytes > RD_LIMIT_HEADER_BLOCK) {
        text = "the answer's header block is too large";
    }
    for (size_t i = 0; text == NULL && i < sizeof reasons / sizeof reasons[0]; i++) {
        text = reasons[i].code == code ? reasons[i].text : NULL;
    }
    if (text != NULL) {
        (void)snprintf(ret->reason, sizeof ret->reason, "%s", text);
    } else {
        (void)snprintf(ret->reason, sizeof ret->reason, "the request failed: %.80s",
                       curl_easy_strerror(code));
    }
}

void rd_webhook_try_done(struct rd_webhook_try *attempt)
{
    curl_easy_cleanup(attempt->easy);
    curl_slist_free_all(attempt->headers);
    rd_fetch_url_done(&attempt->url);
    memset(attempt, 0, sizeof *attempt);
}
