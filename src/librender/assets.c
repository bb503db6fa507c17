/* SPDX-License-Identifier: Apache-2.0
 *
 * Uploads, assets, attestations, and any other route that answers JSON. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "librender/internal.h"
#include "librender/sniff.h"

enum { ATTESTATION_FIRST_MS = 10, ATTESTATION_STEP_MAX_MS = 500 };

const char *rd_client_sniff(const void *bytes, size_t len)
{
    static const unsigned char png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const unsigned char jpeg[3] = {0xff, 0xd8, 0xff};
    const char *p = bytes;
    if (len >= sizeof png && memcmp(p, png, sizeof png) == 0) {
        return "image/png";
    }
    if (len >= sizeof jpeg && memcmp(p, jpeg, sizeof jpeg) == 0) {
        return "image/jpeg";
    }
    if (len >= 12 && memcmp(p, "RIFF", 4) == 0 && memcmp(p + 8, "WEBP", 4) == 0) {
        return "image/webp";
    }
    return NULL;
}

render_status rd_client_take_text(render_client *client, struct rd_buf *body, char **ret)
{
    char *text = rd_buf_steal(body, NULL);
    if (text == NULL) {
        return rd_client_fail(client, RENDER_ERR_MEMORY, "out of memory");
    }
    *ret = text;
    return RENDER_OK;
}

render_status render_call(render_client *client, const char *method, const char *path,
                          const char *body, char **ret_json)
{
    rd_client_reset(client);
    if (method == NULL || path == NULL || path[0] != '/' || method[0] == '\0' ||
        method[strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")] != '\0') {
        return rd_client_fail(client, RENDER_ERR_USAGE,
                              "a call takes a method such as GET and a path that begins with '/'");
    }
    RD_AUTO_BUF struct rd_buf answer;
    rd_buf_init(&answer, RD_CLIENT_JSON_MAX);
    struct rd_client_call call = RD_CLIENT_CALL_INIT;
    call.method = method;
    call.url = path;
    if (body != NULL) {
        call.content_type = "application/json";
        call.body = body;
        call.body_len = strlen(body);
    }
    render_status status = rd_client_perform(client, &call, &answer);
    if (status != RENDER_OK) {
        return status;
    }
    const char *type = rd_client_header(client, "Content-Type");
    if (answer.len > 0 && (type == NULL || strstr(type, "json") == NULL)) {
        return rd_client_fail(client, RENDER_ERR_SERVER,
                              "%s%s answered %s instead of JSON: is it a Render gateway?",
                              client->url, path, type == NULL ? "no type" : type);
    }
    return rd_client_take_text(client, &answer, ret_json);
}

/* Asks for a ticket: where to PUT, and what the asset will be called. */
static render_status ask_ticket(render_client *client, const char *type, uint64_t bytes,
                                char **ret_upload_url, char **ret_asset_url)
{
    char body[128];
    RD_AUTO_FREE char *text = NULL;
    (void)snprintf(body, sizeof body, "{\"content_type\":\"%s\",\"bytes\":%llu}", type,
                   (unsigned long long)bytes);
    render_status status = render_call(client, "POST", "/uploads", body, &text);
    if (status != RENDER_OK) {
        return status;
    }
    json_t *answer = json_loads(text, 0, NULL);
    const char *upload_url = json_string_value(json_object_get(answer, "upload_url"));
    const char *asset_url = json_string_value(json_object_get(answer, "asset_url"));
    if (upload_url == NULL || asset_url == NULL) {
        status =
            rd_client_fail(client, RENDER_ERR_SERVER,
                           "the gateway's answer to POST /uploads lacks upload_url or asset_url");
    } else {
        *ret_upload_url = rd_client_absolute(client, upload_url);
        *ret_asset_url = rd_client_absolute(client, asset_url);
        if (*ret_upload_url == NULL || *ret_asset_url == NULL) {
            status = rd_client_fail(client, RENDER_ERR_MEMORY, "out of memory");
        }
    }
    json_decref(answer);
    return status;
}

static render_status open_picture(render_client *client, const char *file, int *ret_fd,
                                  uint64_t *ret_len, const char **ret_type)
{
    RD_AUTO_CLOSE int fd = open(file, O_RDONLY | O_CLOEXEC);
    struct stat info;
    char head[RD_CLIENT_SNIFF_LEN] = {0};
    if (fd < 0 || fstat(fd, &info) != 0) {
        struct rd_why why;
        (void)rd_why_errno(&why, errno, "open", file);
        return rd_client_fail(client, RENDER_ERR_IO, "%s", why.text);
    }
    if (!S_ISREG(info.st_mode) || info.st_size < RD_CLIENT_SNIFF_LEN ||
        rd_fs_pread_all(fd, head, sizeof head, 0) != RD_OK ||
        rd_client_sniff(head, sizeof head) == NULL) {
        return rd_client_fail(client, RENDER_ERR_USAGE, "%s is not a PNG, JPEG or WebP file", file);
    }
    *ret_type = rd_client_sniff(head, sizeof head);
    *ret_len = (uint64_t)info.st_size;
    *ret_fd = fd;
    fd = -1; /* handed over */
    return RENDER_OK;
}

render_status render_upload(render_client *client, const char *file, char **ret_asset_url)
{
    rd_client_reset(client);
    RD_AUTO_CLOSE int fd = -1;
    RD_AUTO_FREE char *upload_url = NULL;
    RD_AUTO_FREE char *asset_url = NULL;
    uint64_t len = 0;
    const char *type = NULL;
    render_status status = open_picture(client, file, &fd, &len, &type);
    if (status == RENDER_OK) {
        status = ask_ticket(client, type, len, &upload_url, &asset_url);
    }
    if (status != RENDER_OK) {
        return status;
    }
    RD_AUTO_BUF struct rd_buf answer;
    rd_buf_init(&answer, RD_CLIENT_JSON_MAX);
    struct rd_client_call call = RD_CLIENT_CALL_INIT;
    call.method = "PUT";
    call.url = upload_url;
    call.content_type = type;
    call.file = fd;
    call.body_len = (size_t)len;
    status = rd_client_perform(client, &call, &answer);
    if (status == RENDER_OK) {
        *ret_asset_url = RD_STEAL(asset_url);
    }
    return status;
}

/* "/a/a_..." for an id; paths and URLs as they are; NULL (told) for anything else. */
static char *asset_path(render_client *client, const char *asset)
{
    struct rd_buf path;
    rd_buf_init(&path, 2 * RD_CLIENT_URL_MAX);
    bool id =
        rd_text_starts(asset, "a_") && asset[2] != '\0' &&
        asset[strspn(asset, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")] ==
            '\0';
    if (id || asset[0] == '/' || rd_text_starts(asset, "http://") ||
        rd_text_starts(asset, "https://")) {
        rd_buf_printf(&path, "%s%s", id ? "/a/" : "", asset);
    }
    char *text = path.len == 0 ? NULL : rd_buf_steal(&path, NULL);
    rd_buf_done(&path);
    if (text == NULL) {
        (void)rd_client_fail(client, RENDER_ERR_USAGE,
                             "%.200s is no asset: give an id (a_...), a URL, or a path (/...)",
                             asset);
    }
    return text;
}

render_status render_fetch(render_client *client, const char *asset, render_output *output)
{
    rd_client_reset(client);
    RD_AUTO_FREE char *path = asset_path(client, asset);
    if (path == NULL) {
        return RENDER_ERR_USAGE;
    }
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, RD_CLIENT_OUTPUT_MAX);
    struct rd_client_call call = RD_CLIENT_CALL_INIT;
    call.url = path;
    call.accept = "*/*";
    render_status status = rd_client_perform(client, &call, &body);
    if (status != RENDER_OK) {
        return status;
    }
    render_output got = RENDER_OUTPUT_INIT;
    status = rd_client_take_output(client, &body, &got);
    if (status == RENDER_OK && got.asset_url == NULL) {
        got.asset_url = rd_client_absolute(client, path);
        if (got.asset_url == NULL) {
            render_output_done(&got);
            return rd_client_fail(client, RENDER_ERR_MEMORY, "out of memory");
        }
    }
    if (status == RENDER_OK) {
        *output = got;
    }
    return status;
}

render_status render_attestation(render_client *client, const char *asset, unsigned wait_ms,
                                 char **ret_json)
{
    rd_client_reset(client);
    RD_AUTO_FREE char *path = asset_path(client, asset);
    if (path == NULL) {
        return RENDER_ERR_USAGE;
    }
    RD_AUTO_BUF struct rd_buf url;
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&url, 3 * RD_CLIENT_URL_MAX);
    rd_buf_init(&body, RD_CLIENT_JSON_MAX);
    rd_buf_printf(&url, "%s/attestation", path);
    struct rd_client_call call = RD_CLIENT_CALL_INIT;
    call.url = rd_buf_cstr(&url);
    uint64_t end = rd_clock_mono_ns() / 1000000 + wait_ms;
    uint64_t step = ATTESTATION_FIRST_MS;
    for (;;) {
        render_status status = rd_client_perform(client, &call, &body);
        if (status == RENDER_OK) {
            return rd_client_take_text(client, &body, ret_json);
        }
        uint64_t now = rd_clock_mono_ns() / 1000000;
        /* 404 with Retry-After: it will be there; without: there is none. */
        if (client->http_status != 404 || client->retry_after < 0 || now >= end) {
            return status;
        }
        if (!rd_client_rest(client, (unsigned)(step < end - now ? step : end - now))) {
            return rd_client_fail(client, RENDER_ERR_CANCELLED, "given up");
        }
        step = step * 2 < ATTESTATION_STEP_MAX_MS ? step * 2 : ATTESTATION_STEP_MAX_MS;
        rd_buf_reset(&body);
    }
}
