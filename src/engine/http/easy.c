/* SPDX-License-Identifier: Apache-2.0
 *
 * The transport's libcurl handles: every option that is set, and why not others. No proxy, no
 * redirect, no cookie, no netrc, no compression: a backend is one server, and what it sends is
 * stored as it is. Headers are a list that is linked in place and given to libcurl once; it reads
 * the list at the start of each transfer. */
#include "engine/http/internal.h"

#include <string.h>

bool rd_http_easy_common(const struct rd_engine *engine, CURL *easy)
{
    bool ok = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    ok =
        ok && curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)RD_HTTP_IDLE_S) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_USERAGENT, "render/" RD_VERSION) == CURLE_OK;
    return ok && (engine->ca_file == NULL ||
                  curl_easy_setopt(easy, CURLOPT_CAINFO, engine->ca_file) == CURLE_OK);
}

bool rd_http_easy_constant(struct rd_engine_run *run)
{
    CURL *easy = run->easy;
    bool ok = rd_http_easy_common(run->engine, easy);
    ok = ok && curl_easy_setopt(easy, CURLOPT_URL, run->engine->url) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PRIVATE, run) == CURLE_OK;
    ok = ok &&
         curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)RD_HTTP_CONNECT_MS) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RD_HTTP_BUFFER) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HTTPHEADER, run->headers) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, rd_http_on_header) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HEADERDATA, run) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, rd_http_on_body) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEDATA, run) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_READFUNCTION, rd_http_on_read) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_READDATA, run) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, rd_http_on_seek) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_SEEKDATA, run) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, rd_http_on_prereq) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PREREQDATA, run) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, rd_http_socket_open) == CURLE_OK;
    ok =
        ok && curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, rd_http_socket_close) == CURLE_OK;
    rd_buf_reset(&run->url);
    run->method_set = NULL;
    return ok;
}

void rd_http_header_line(char line[RD_HTTP_HEADER_TEXT], const char *name, const char *value)
{
    size_t name_len = strlen(name);
    size_t len = value != NULL ? strlen(value) : 0;
    bool fits = len > 0 && name_len + 2 + len < RD_HTTP_HEADER_TEXT;
    for (size_t i = 0; fits && i < len; i++) {
        fits = value[i] >= 0x20 && value[i] < 0x7f;
    }
    memcpy(line, name, name_len); /* by hand: it is done four times a request */
    line[name_len] = ':';
    if (fits) {
        line[name_len + 1] = ' ';
        memcpy(line + name_len + 2, value, len);
    }
    line[fits ? name_len + 2 + len : name_len + 1] = '\0';
}

static void link_headers(struct rd_engine_run *run)
{
    static char no_expect[] = "Expect:"; /* no waiting for 100-continue with a large body */
    const struct rd_http_request *request = &run->request;
    size_t count = 0;
    rd_http_header_line(run->content_type, "Content-Type",
                        run->face.body.total > 0 ? request->content_type : NULL);
    rd_http_header_line(run->accept, "Accept", request->accept);
    run->headers[count++].data = run->content_type;
    run->headers[count++].data = no_expect;
    run->headers[count++].data = run->accept;
    run->headers[count++].data = run->request_id;
    run->headers[count++].data = run->traceparent;
    if (run->engine->authorization != NULL) {
        run->headers[count++].data = run->engine->authorization;
    }
    for (size_t i = 0; i < RD_HTTP_OWN_HEADERS; i++) {
        if (request->headers[i] != NULL) {
            run->headers[count++].data = (char *)(uintptr_t)request->headers[i];
        }
    }
    for (size_t i = 0; i < count; i++) {
        run->headers[i].next = i + 1 < count ? &run->headers[i + 1] : NULL;
    }
}

/* The URL is parsed anew each time that it is set, so only when it is another. */
static rd_err set_url(struct rd_engine_run *run)
{
    const char *path = run->request.path;
    if (path == NULL) {
        if (run->url.len > 0) {
            rd_buf_reset(&run->url);
            return curl_easy_setopt(run->easy, CURLOPT_URL, run->engine->url) == CURLE_OK
                       ? RD_OK
                       : RD_ERR_NO_MEMORY;
        }
        return RD_OK;
    }
    const char *base = run->request.at_origin ? run->engine->origin : run->engine->url;
    size_t base_len = strlen(base);
    if (strlen(path) > RD_HTTP_PATH_MAX) {
        return RD_ERR_TOO_LARGE;
    }
    if (run->url.len == base_len + strlen(path) && memcmp(run->url.data, base, base_len) == 0 &&
        strcmp(run->url.data + base_len, path) == 0) {
        return RD_OK;
    }
    rd_buf_reset(&run->url);
    rd_buf_str(&run->url, base);
    rd_buf_str(&run->url, path);
    RD_TRY(rd_buf_err(&run->url));
    return curl_easy_setopt(run->easy, CURLOPT_URL, rd_buf_cstr(&run->url)) == CURLE_OK
               ? RD_OK
               : RD_ERR_NO_MEMORY;
}

static bool set_method(struct rd_engine_run *run)
{
    const char *method = run->request.method;
    if (run->method_set != NULL && strcmp(run->method_set, method) == 0) {
        return true;
    }
    bool post = strcmp(method, "POST") == 0;
    bool plain = post || strcmp(method, "GET") == 0;
    run->method_set = method;
    return curl_easy_setopt(run->easy, post ? CURLOPT_POST : CURLOPT_HTTPGET, 1L) == CURLE_OK &&
           curl_easy_setopt(run->easy, CURLOPT_CUSTOMREQUEST, plain ? NULL : method) == CURLE_OK;
}

rd_err rd_http_easy_request(struct rd_engine_run *run)
{
    struct rd_http_body *body = &run->face.body;
    CURL *easy = run->easy;
    RD_TRY(set_url(run));
    bool ok = set_method(run);
    link_headers(run);
    if (strcmp(run->request.method, "POST") == 0) {
        /* POSTFIELDS lets libcurl send head and body in one write. */
        const char *flat = body->total == 0 ? "" : rd_http_body_flat(body);
        ok = ok && curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->total) ==
                       CURLE_OK;
        ok = ok && curl_easy_setopt(easy, CURLOPT_POSTFIELDS, flat) == CURLE_OK;
    }
    ok = ok && curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, run->driver) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, run->driver) == CURLE_OK;
    return ok ? RD_OK : RD_ERR_NO_MEMORY;
}
