/* SPDX-License-Identifier: Apache-2.0
 *
 * One exchange over libcurl's easy interface. The handle is kept, so calls share a connection;
 * every option is set anew for each call (curl_easy_reset keeps only connections), so no call sees
 * another's.
 *
 * What is not left to chance: only http and https, no redirects (a gateway sends none to these
 * routes, and following one would carry a prompt elsewhere), no .netrc, TLS verified, the key only
 * to the gateway's own address, answers bounded while they arrive. */
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "librender/internal.h"

struct transfer {
    render_client *client;
    struct rd_buf *body;
    const struct rd_client_call *call;
    off_t offset;
    bool given_up; /* by call->on_data */
};

static size_t on_data(char *data, size_t size, size_t count, void *ctx)
{
    struct transfer *transfer = ctx;
    const struct rd_client_call *call = transfer->call;
    long http_status = 0;
    if (call->on_data != NULL) {
        (void)curl_easy_getinfo(transfer->client->curl, CURLINFO_RESPONSE_CODE, &http_status);
    }
    if (http_status == 200) {
        transfer->given_up = !call->on_data(call->data_ctx, data, size * count);
        return transfer->given_up ? 0 : size * count;
    }
    rd_buf_append(transfer->body, data, size * count);
    return rd_buf_err(transfer->body) == RD_OK ? size * count : 0;
}

static size_t on_read(char *room, size_t size, size_t count, void *ctx)
{
    struct transfer *transfer = ctx;
    ssize_t got = pread(transfer->call->file, room, size * count, transfer->offset);
    if (got < 0) {
        return CURL_READFUNC_ABORT;
    }
    transfer->offset += got;
    return (size_t)got;
}

/* libcurl sends a body again when a kept connection turns out to be dead. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
    struct transfer *transfer = ctx;
    if (origin != SEEK_SET) {
        return CURL_SEEKFUNC_FAIL;
    }
    transfer->offset = offset;
    return CURL_SEEKFUNC_OK;
}

static int on_progress(void *ctx, curl_off_t expected, curl_off_t received, curl_off_t to_send,
                       curl_off_t sent)
{
    const struct transfer *transfer = ctx;
    const render_client *client = transfer->client;
    bool upload = transfer->call->file >= 0;
    curl_off_t now = upload ? sent : received;
    curl_off_t all = upload ? to_send : expected;
    return client->progress(client->progress_ctx, now > 0 ? (uint64_t)now : 0,
                            all > 0 ? (uint64_t)all : 0);
}

static bool same_origin(const render_client *client, const char *url)
{
    size_t len = strlen(client->url);
    return strncmp(url, client->url, len) == 0 && (url[len] == '/' || url[len] == '\0');
}

static bool add_header(struct curl_slist **headers, const char *name, const char *value)
{
    if (value == NULL) {
        return true;
    }
    struct rd_buf line;
    rd_buf_init(&line, RD_CLIENT_URL_MAX);
    rd_buf_printf(&line, "%s: %s", name, value);
    struct curl_slist *longer =
        rd_buf_err(&line) == RD_OK ? curl_slist_append(*headers, rd_buf_cstr(&line)) : NULL;
    if (line.data != NULL) {
        rd_mem_wipe(line.data, line.len); /* it may hold the key */
    }
    rd_buf_done(&line);
    if (longer == NULL) {
        return false;
    }
    *headers = longer;
    return true;
}

static bool make_headers(const render_client *client, const struct rd_client_call *call,
                         const char *url, struct curl_slist **ret)
{
    bool key = client->key != NULL && same_origin(client, url);
    struct rd_buf bearer;
    rd_buf_init(&bearer, RD_CLIENT_KEY_MAX + 16);
    if (key) {
        rd_buf_printf(&bearer, "Bearer %s", client->key);
    }
    bool ok = rd_buf_err(&bearer) == RD_OK &&
              add_header(ret, "Authorization", key ? rd_buf_cstr(&bearer) : NULL) &&
              add_header(ret, "Accept", call->accept) &&
              add_header(ret, "Content-Type", call->content_type) &&
              add_header(ret, "Last-Event-ID", call->last_event);
    if (bearer.data != NULL) {
        rd_mem_wipe(bearer.data, bearer.len);
    }
    rd_buf_done(&bearer);
    return ok;
}

#define SET(option, value) (void)curl_easy_setopt(curl, option, value)

static void set_body(CURL *curl, const struct rd_client_call *call, struct transfer *transfer)
{
    if (call->file >= 0) {
        SET(CURLOPT_UPLOAD, 1L);
        SET(CURLOPT_READFUNCTION, on_read);
        SET(CURLOPT_READDATA, transfer);
        SET(CURLOPT_SEEKFUNCTION, on_seek);
        SET(CURLOPT_SEEKDATA, transfer);
        SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)call->body_len);
    } else if (call->body != NULL) {
        SET(CURLOPT_POSTFIELDS, call->body);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_len);
    } else if (strcmp(call->method, "POST") == 0) {
        SET(CURLOPT_POSTFIELDS, "");
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)0);
    }
    SET(CURLOPT_CUSTOMREQUEST, call->method);
}

static void set_options(CURL *curl, const char *url, struct transfer *transfer)
{
    const render_client *client = transfer->client;
    SET(CURLOPT_URL, url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_NOSIGNAL, 1L); /* no SIGALRM in somebody else's program */
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)RD_CLIENT_CONNECT_MS);
    if (transfer->call->on_data == NULL) {
        SET(CURLOPT_TIMEOUT_MS, (long)RD_CLIENT_TOTAL_MS);
    } else { /* a stream has no end, but a sign of life every 15 s */
        SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
        SET(CURLOPT_LOW_SPEED_TIME, (long)RD_CLIENT_SILENCE_S);
    }
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_USERAGENT, "librender/" RD_VERSION);
    SET(CURLOPT_WRITEFUNCTION, on_data);
    SET(CURLOPT_WRITEDATA, transfer);
    if (client->ca_file != NULL) {
        SET(CURLOPT_CAINFO, client->ca_file);
    }
    if (client->progress != NULL) {
        SET(CURLOPT_NOPROGRESS, 0L);
        SET(CURLOPT_XFERINFOFUNCTION, on_progress);
        SET(CURLOPT_XFERINFODATA, transfer);
    }
}

/* libcurl's many codes as ours; the text before libcurl's own. */
static const struct {
    CURLcode code;
    render_status status;
    const char *text;
} failures[] = {
    {CURLE_URL_MALFORMAT, RENDER_ERR_USAGE, "this is not a URL"},
    {CURLE_UNSUPPORTED_PROTOCOL, RENDER_ERR_SERVER, "this does not answer in HTTP"},
    {CURLE_OUT_OF_MEMORY, RENDER_ERR_MEMORY, "out of memory"},
    {CURLE_ABORTED_BY_CALLBACK, RENDER_ERR_CANCELLED, "given up"},
    {CURLE_READ_ERROR, RENDER_ERR_IO, "the local file cannot be read"},
    {CURLE_SSL_CACERT_BADFILE, RENDER_ERR_IO, "the file with certificates cannot be read"},
    {CURLE_PEER_FAILED_VERIFICATION, RENDER_ERR_CONNECT, "the server's certificate is not trusted"},
    {CURLE_PARTIAL_FILE, RENDER_ERR_SERVER, "the answer was cut off"},
    {CURLE_WEIRD_SERVER_REPLY, RENDER_ERR_SERVER, "this does not answer in HTTP"},
    {CURLE_WRITE_ERROR, RENDER_ERR_SERVER, "the answer is larger than this program takes"},
    {CURLE_COULDNT_RESOLVE_HOST, RENDER_ERR_CONNECT, "the host's name is not known"},
};

static render_status failed(render_client *client, CURLcode code, const char *url,
                            const char *detail)
{
    render_status status = RENDER_ERR_CONNECT;
    const char *text = "cannot reach the gateway";
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        if (failures[i].code == code) {
            status = failures[i].status;
            text = failures[i].text;
        }
    }
    return rd_client_fail(client, status, "%s: %s (%s)", url, text,
                          detail[0] != '\0' ? detail : curl_easy_strerror(code));
}

static void note_headers(render_client *client)
{
    const char *id = rd_client_header(client, "X-Weyl-Request-Id");
    if (id != NULL && strlen(id) < sizeof client->request_id) {
        memcpy(client->request_id, id, strlen(id) + 1);
    }
    const char *after = rd_client_header(client, "Retry-After");
    uint64_t seconds = 0;
    if (after != NULL && rd_text_u64(after, strlen(after), &seconds) && seconds <= INT32_MAX) {
        client->retry_after = (int)seconds;
    }
}

static render_status exchange(render_client *client, const struct rd_client_call *call,
                              const char *url, struct rd_buf *ret_body)
{
    char detail[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = NULL;
    struct transfer transfer = {client, ret_body, call, 0, false};
    CURL *curl = client->curl;
    if (!make_headers(client, call, url, &headers)) {
        curl_slist_free_all(headers);
        return rd_client_fail(client, RENDER_ERR_MEMORY, "out of memory");
    }
    curl_easy_reset(curl);
    set_options(curl, url, &transfer);
    set_body(curl, call, &transfer);
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_ERRORBUFFER, detail);
    CURLcode code = curl_easy_perform(curl);
    SET(CURLOPT_ERRORBUFFER, NULL);
    SET(CURLOPT_HTTPHEADER, NULL);
    for (struct curl_slist *line = headers; line != NULL; line = line->next) {
        rd_mem_wipe(line->data, strlen(line->data));
    }
    curl_slist_free_all(headers);
    if (code == CURLE_WRITE_ERROR && rd_buf_err(ret_body) == RD_ERR_NO_MEMORY) {
        code = CURLE_OUT_OF_MEMORY;
    }
    if (code == CURLE_WRITE_ERROR && transfer.given_up) {
        code = CURLE_ABORTED_BY_CALLBACK;
    }
    if (code != CURLE_OK) {
        return failed(client, code, url, detail);
    }
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &client->http_status);
    note_headers(client);
    return RENDER_OK;
}

render_status rd_client_perform(render_client *client, const struct rd_client_call *call,
                                struct rd_buf *ret_body)
{
    rd_client_reset(client);
    RD_AUTO_FREE char *url = rd_client_absolute(client, call->url);
    if (url == NULL) {
        return rd_client_fail(client, RENDER_ERR_USAGE, "the URL is too long");
    }
    render_status status = exchange(client, call, url, ret_body);
    if (status != RENDER_OK) {
        return status;
    }
    bool good = (client->http_status >= 200 && client->http_status <= 299) ||
                (client->http_status == 303 && call->see_other);
    if (!good) {
        return rd_client_refused(client, client->http_status, ret_body);
    }
    return RENDER_OK;
}

const char *rd_client_header(const render_client *client, const char *name)
{
    struct curl_header *header = NULL;
    if (curl_easy_header(client->curl, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK) {
        return NULL;
    }
    for (const char *p = header->value; *p != '\0'; p++) {
        if (*p < ' ' || *p > '~') {
            return NULL;
        }
    }
    return header->value;
}
