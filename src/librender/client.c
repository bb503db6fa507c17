/* SPDX-License-Identifier: Apache-2.0
 *
 * The client object: what it is given once, and what it tells about the last call. See render.h. */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/text.h"
#include "librender/internal.h"

static const char *const status_names[] = {
    [RENDER_OK] = "ok",
    [RENDER_ERR_USAGE] = "usage",
    [RENDER_ERR_CONNECT] = "connect",
    [RENDER_ERR_AUTH] = "auth",
    [RENDER_ERR_REFUSED] = "refused",
    [RENDER_ERR_BUSY] = "busy",
    [RENDER_ERR_SERVER] = "server",
    [RENDER_ERR_MEMORY] = "memory",
    [RENDER_ERR_IO] = "io",
    [RENDER_ERR_UNVERIFIED] = "unverified",
    [RENDER_ERR_CANCELLED] = "cancelled",
};

const char *render_status_name(render_status status)
{
    size_t index = (size_t)status;
    return index < sizeof status_names / sizeof *status_names ? status_names[index] : "unknown";
}

const char *render_version(void)
{
    return RD_VERSION;
}

void render_free(void *pointer)
{
    rd_mem_free(pointer);
}

static CURLcode global_result = CURLE_FAILED_INIT;

static void global_init(void)
{
    global_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* http or https, a host, no user, no query. So that joining a path is all there is to do, and no
 * password hides in what gets printed. */
static bool url_valid(const char *url)
{
    if (strnlen(url, RD_CLIENT_URL_MAX + 1) > RD_CLIENT_URL_MAX ||
        !(rd_text_starts(url, "http://") || rd_text_starts(url, "https://")) ||
        strpbrk(url, "?#@ ") != NULL || strstr(url, ":///") != NULL) {
        return false; /* of http:///x libcurl would make the host x */
    }
    CURLU *parsed = curl_url();
    bool valid = parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK;
    curl_url_cleanup(parsed);
    return valid;
}

/* Printable and without spaces, so that it can be nothing but the value of one header. */
static bool key_valid(const char *key)
{
    size_t len = strnlen(key, RD_CLIENT_KEY_MAX + 1);
    for (size_t i = 0; i < len; i++) {
        if (key[i] <= ' ' || key[i] > '~') {
            return false;
        }
    }
    return len > 0 && len <= RD_CLIENT_KEY_MAX;
}

render_status render_client_new(const char *url, const char *key, render_client **ret_client)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, global_init);
    if (url == NULL || ret_client == NULL || !url_valid(url) || (key != NULL && !key_valid(key))) {
        return RENDER_ERR_USAGE;
    }
    render_client *client = rd_mem_alloc(sizeof *client);
    if (client == NULL || global_result != CURLE_OK) {
        rd_mem_free(client);
        return RENDER_ERR_MEMORY;
    }
    rd_buf_init(&client->error, RD_CLIENT_ERROR_MAX);
    client->retry_after = -1;
    client->curl = curl_easy_init();
    client->url = rd_mem_strdup(url);
    client->key = key == NULL ? NULL : rd_mem_strdup(key);
    if (client->curl == NULL || client->url == NULL || (key != NULL && client->key == NULL)) {
        render_client_free(client);
        return RENDER_ERR_MEMORY;
    }
    for (size_t len = strlen(client->url); len > 0 && client->url[len - 1] == '/'; len--) {
        client->url[len - 1] = '\0';
    }
    *ret_client = client;
    return RENDER_OK;
}

render_status render_client_copy(const render_client *client, render_client **ret_client)
{
    render_client *copy = NULL;
    render_status status = render_client_new(client->url, client->key, &copy);
    status = status == RENDER_OK ? render_client_ca_file(copy, client->ca_file) : status;
    if (status != RENDER_OK) {
        render_client_free(copy);
        return status;
    }
    *ret_client = copy;
    return RENDER_OK;
}

void render_client_free(render_client *client)
{
    if (client == NULL) {
        return;
    }
    curl_easy_cleanup(client->curl);
    if (client->key != NULL) {
        rd_mem_wipe(client->key, strlen(client->key));
    }
    rd_mem_free(client->key);
    rd_mem_free(client->url);
    rd_mem_free(client->ca_file);
    rd_buf_done(&client->error);
    rd_mem_free(client);
}

render_status render_client_ca_file(render_client *client, const char *file)
{
    char *copy = file == NULL ? NULL : rd_mem_strdup(file);
    if (file != NULL && copy == NULL) {
        return RENDER_ERR_MEMORY;
    }
    rd_mem_free(client->ca_file);
    client->ca_file = copy;
    return RENDER_OK;
}

void render_client_on_progress(render_client *client, render_progress_fn *fn, void *ctx)
{
    client->progress = fn;
    client->progress_ctx = ctx;
}

const char *render_client_error(const render_client *client)
{
    return rd_buf_cstr(&client->error);
}

const char *render_client_request_id(const render_client *client)
{
    return client->request_id;
}

int render_client_retry_after(const render_client *client)
{
    return client->retry_after;
}

void rd_client_reset(render_client *client)
{
    rd_buf_reset(&client->error);
    client->request_id[0] = '\0';
    client->retry_after = -1;
    client->http_status = 0;
}

void rd_client_error_text(render_client *client, const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t width = rd_text_utf8_width(text + i, len - i);
        unsigned char c = (unsigned char)text[i];
        /* What a server says is printed on a terminal: no escape codes, also not the C1 ones. */
        bool control = (c < 0x20 && c != '\n') || c == 0x7f ||
                       (width == 2 && c == 0xc2 && (unsigned char)text[i + 1] < 0xa0);
        if (width == 0 || control) {
            rd_buf_char(&client->error, '?');
        } else {
            rd_buf_append(&client->error, text + i, width);
        }
        i += width == 0 ? 1 : width;
    }
}

render_status rd_client_fail(render_client *client, render_status status, const char *fmt, ...)
{
    char text[2 * RD_CLIENT_URL_MAX];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (len > 0) {
        rd_client_error_text(client, text,
                             (size_t)len < sizeof text ? (size_t)len : sizeof text - 1);
    }
    return status;
}

bool rd_client_rest(const render_client *client, unsigned ms)
{
    enum { PIECE_MS = 100 };
    for (unsigned piece = 0; ms > 0; ms -= piece) {
        piece = ms < PIECE_MS ? ms : PIECE_MS;
        struct timespec rest = {0, (long)piece * 1000000};
        (void)nanosleep(&rest, NULL); /* woken early by a signal: it only asks earlier */
        if (client->progress != NULL && client->progress(client->progress_ctx, 0, 0) != 0) {
            return false;
        }
    }
    return true;
}

char *rd_client_absolute(const render_client *client, const char *url)
{
    struct rd_buf out;
    rd_buf_init(&out, 3 * RD_CLIENT_URL_MAX);
    if (url[0] == '/') {
        rd_buf_str(&out, client->url);
    }
    rd_buf_str(&out, url);
    char *text = rd_buf_steal(&out, NULL);
    rd_buf_done(&out);
    return text;
}
