/* SPDX-License-Identifier: Apache-2.0
 *
 * Generation requests. The body is written in one buffer: the caller's further fields, then the
 * fields of the struct, which win; local pictures are put in as base64 straight from the file,
 * since they are most of the body and need not be held three times. */
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"
#include "librender/internal.h"
#include "librender/sniff.h"

static render_status usage(render_client *client, const char *text)
{
    rd_client_reset(client);
    return rd_client_fail(client, RENDER_ERR_USAGE, "%s", text);
}

const char *rd_client_task(const render_generate_request *request)
{
    if (request->task != NULL) {
        return request->task;
    }
    if (request->video) {
        return request->image_file != NULL ? "i2v" : "t2v";
    }
    return request->mask_file != NULL ? "edit" : request->image_file != NULL ? "i2i" : "t2i";
}

void rd_client_escape(const render_client *client, struct rd_buf *url, const char *text, size_t len)
{
    char *escaped =
        len == 0 || len > RD_CLIENT_URL_MAX ? NULL : curl_easy_escape(client->curl, text, (int)len);
    if (escaped != NULL) {
        rd_buf_str(url, escaped);
    }
    curl_free(escaped);
}

/* Not empty, and no step in a path: libcurl would resolve it before sending. */
static bool segment_valid(const char *text, size_t len)
{
    return len > 0 && !rd_text_eq(text, len, ".") && !rd_text_eq(text, len, "..");
}

render_status rd_client_split_model(render_client *client, const render_generate_request *request,
                                    const char **ret_slash)
{
    const char *slash = request->model == NULL ? NULL : strchr(request->model, '/');
    if (slash == NULL || !segment_valid(request->model, (size_t)(slash - request->model)) ||
        !segment_valid(slash + 1, strlen(slash + 1)) || strchr(slash + 1, '/') != NULL) {
        return usage(client,
                     "the model must be family/model, such as builtin/plasma, or a model-hub "
                     "id, such as black-forest-labs/FLUX.1-schnell");
    }
    *ret_slash = slash;
    return RENDER_OK;
}

/* /{image|video}/{a}/{b}/{task}?format=&backend= */
static render_status make_path(render_client *client, const render_generate_request *request,
                               struct rd_buf *url)
{
    const char *slash = NULL;
    render_status status = rd_client_split_model(client, request, &slash);
    if (status != RENDER_OK) {
        return status;
    }
    const char *task = rd_client_task(request);
    if (!segment_valid(task, strlen(task))) {
        return usage(client, "the task must be one of t2i, i2i, edit, t2v, i2v");
    }
    rd_buf_str(url, request->video ? "/video/" : "/image/");
    rd_client_escape(client, url, request->model, (size_t)(slash - request->model));
    rd_buf_char(url, '/');
    rd_client_escape(client, url, slash + 1, strlen(slash + 1));
    rd_buf_char(url, '/');
    rd_client_escape(client, url, task, strlen(task));
    char sign = '?';
    const char *const query[][2] = {{"format", request->format}, {"backend", request->backend}};
    for (size_t i = 0; i < 2; i++) {
        if (query[i][1] != NULL) {
            rd_buf_printf(url, "%c%s=", sign, query[i][0]);
            rd_client_escape(client, url, query[i][1], strlen(query[i][1]));
            sign = '&';
        }
    }
    return rd_buf_err(url) == RD_OK ? RENDER_OK : usage(client, "the model's name is too long");
}

/* Appends "name":"<URL>" or "name":"data:image/png;base64,...". */
static render_status put_picture(render_client *client, struct rd_buf *body, const char *name,
                                 const char *file)
{
    if (file == NULL) {
        return RENDER_OK;
    }
    if (file[0] == '\0') {
        return rd_client_fail(client, RENDER_ERR_USAGE, "%s: no file is named", name);
    }
    rd_buf_printf(body, ",\"%s\":", name);
    if (rd_text_starts(file, "https://") || rd_text_starts(file, "http://") ||
        rd_text_starts(file, "data:")) {
        rd_buf_json_str(body, file);
        return RENDER_OK;
    }
    RD_AUTO_BUF struct rd_buf bytes;
    struct rd_why why = {""};
    rd_buf_init(&bytes, RD_LIMIT_DATA_URI_DECODED);
    rd_err err = rd_fs_read(file, &bytes, &why);
    if (err != RD_OK) {
        return rd_client_fail(
            client, err == RD_ERR_NO_MEMORY ? RENDER_ERR_MEMORY : RENDER_ERR_IO, "%s: %s%s", name,
            why.text, err == RD_ERR_TOO_LARGE ? "; upload it and give the asset's URL" : "");
    }
    const char *type = rd_client_sniff(bytes.data, bytes.len);
    if (type == NULL) {
        return rd_client_fail(client, RENDER_ERR_USAGE, "%s: %s is not a PNG, JPEG or WebP file",
                              name, file);
    }
    rd_buf_printf(body, "\"data:%s;base64,", type);
    size_t len = RD_TEXT_BASE64_LEN(bytes.len);
    char *room = rd_buf_reserve(body, len + 1);
    if (room != NULL) {
        rd_text_base64(bytes.data, bytes.len, room);
        rd_buf_commit(body, len);
        rd_buf_char(body, '"');
    }
    return RENDER_OK;
}

/* The caller's further fields without those that the struct rules; NULL with the error told. */
static json_t *further_fields(render_client *client, const render_generate_request *request,
                              unsigned count)
{
    json_error_t error;
    const char *text = request->fields_json == NULL ? "{}" : request->fields_json;
    size_t len = strnlen(text, RD_CLIENT_FIELDS_MAX + 1);
    json_t *fields = len > RD_CLIENT_FIELDS_MAX
                         ? NULL
                         : json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!json_is_object(fields)) {
        json_decref(fields);
        (void)usage(client, len > RD_CLIENT_FIELDS_MAX
                                ? "the further fields are over 1 MiB"
                                : "the further fields are not a JSON object");
        return NULL;
    }
    const json_t *fields_count = json_object_get(fields, "count");
    if (count == 0 && fields_count != NULL &&
        !(json_is_integer(fields_count) && json_integer_value(fields_count) == 1)) {
        json_decref(fields);
        (void)usage(client, "count: for several outputs call render_generate_many");
        return NULL;
    }
    static const char *const ruled[] = {"prompt", "seed", "image", "mask", "count"};
    const bool given[] = {true, request->seed >= 0, request->image_file != NULL,
                          request->mask_file != NULL, true};
    for (size_t i = 0; i < sizeof ruled / sizeof *ruled; i++) {
        if (given[i]) {
            (void)json_object_del(fields, ruled[i]);
        }
    }
    return fields;
}

render_status rd_client_make_body(render_client *client, const render_generate_request *request,
                                  unsigned count, struct rd_buf *body)
{
    json_t *fields = further_fields(client, request, count);
    if (fields == NULL) {
        return RENDER_ERR_USAGE;
    }
    char *text = json_dumps(fields, JSON_COMPACT);
    bool empty = json_object_size(fields) == 0;
    json_decref(fields);
    if (text == NULL) {
        rd_client_reset(client);
        return rd_client_fail(client, RENDER_ERR_MEMORY, "out of memory");
    }
    rd_buf_append(body, text, strlen(text) - 1); /* without its '}' */
    rd_mem_free(text);                           /* jansson's allocator is malloc */
    rd_buf_str(body, empty ? "\"prompt\":" : ",\"prompt\":");
    rd_buf_json_str(body, request->prompt);
    if (request->seed >= 0) {
        rd_buf_printf(body, ",\"seed\":%lld", (long long)request->seed);
    }
    if (count > 0) {
        rd_buf_printf(body, ",\"count\":%u", count);
    }
    rd_client_reset(client);
    render_status status = put_picture(client, body, "image", request->image_file);
    if (status == RENDER_OK) {
        status = put_picture(client, body, "mask", request->mask_file);
    }
    rd_buf_char(body, '}');
    if (status == RENDER_OK && rd_buf_err(body) != RD_OK) {
        return rd_client_fail(client, RENDER_ERR_MEMORY, "the request is too large for the memory");
    }
    return status;
}

render_status rd_client_check_request(render_client *client, const render_generate_request *request)
{
    if (request->prompt == NULL || !rd_text_utf8_valid(request->prompt, strlen(request->prompt))) {
        return usage(client, "the prompt must be text in UTF-8");
    }
    if (request->seed < -1 || request->seed > UINT32_MAX) {
        return usage(client, "the seed must be 0 to 4294967295, or -1 to have one drawn");
    }
    const char *type = request->content_type;
    if (type != NULL &&
        (type[0] == '\0' ||
         strspn(type, "abcdefghijklmnopqrstuvwxyz0123456789/+-.") != strlen(type))) {
        return usage(client, "the content type must be one such as image/webp");
    }
    return RENDER_OK;
}

/* Sends the request; `count` 0 asks for bytes, else for JSON. */
static render_status send_request(render_client *client, const render_generate_request *request,
                                  unsigned count, struct rd_buf *ret_body)
{
    render_status status = rd_client_check_request(client, request);
    if (status != RENDER_OK) {
        return status;
    }
    RD_AUTO_BUF struct rd_buf path;
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&path, RD_CLIENT_URL_MAX);
    rd_buf_init(&body, RD_CLIENT_BODY_MAX);
    status = make_path(client, request, &path);
    if (status == RENDER_OK) {
        status = rd_client_make_body(client, request, count, &body);
    }
    if (status != RENDER_OK) {
        return status;
    }
    struct rd_client_call call = RD_CLIENT_CALL_INIT;
    call.method = "POST";
    call.url = rd_buf_cstr(&path);
    call.content_type = "application/json";
    call.body = body.data;
    call.body_len = body.len;
    /* For several, JSON is what we want; the picture's type stands behind it. */
    const char *type = request->content_type != NULL ? request->content_type
                       : request->video              ? "video/mp4"
                                                     : "image/png";
    char accept[128];
    int len =
        snprintf(accept, sizeof accept, count == 0 ? "%s" : "application/json, %s;q=0.5", type);
    if (len < 0 || (size_t)len >= sizeof accept) {
        return usage(client, "the content type is too long");
    }
    call.accept = accept;
    return rd_client_perform(client, &call, ret_body);
}

render_status render_generate(render_client *client, const render_generate_request *request,
                              render_output *output)
{
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, RD_CLIENT_OUTPUT_MAX);
    render_status status = send_request(client, request, 0, &body);
    if (status != RENDER_OK) {
        return status;
    }
    const char *type = rd_client_header(client, "Content-Type");
    if (type == NULL || body.len == 0 ||
        !(rd_text_starts(type, "image/") || rd_text_starts(type, "video/"))) {
        return rd_client_fail(client, RENDER_ERR_SERVER,
                              "%s answered %s with %zu bytes instead of an output: is it a Render "
                              "gateway?",
                              client->url, type == NULL ? "no type" : type, body.len);
    }
    return rd_client_take_output(client, &body, output);
}

/* One row of "outputs": fetches it, by its id from the gateway we talk to (which may know its own
 * public URL wrongly) or else by its URL, and checks that the bytes are as many as announced. */
static render_status take_row(render_client *client, const json_t *row, render_output *output)
{
    const char *asset = json_string_value(json_object_get(row, "asset"));
    const char *url = json_string_value(json_object_get(row, "url"));
    json_int_t seed = json_integer_value(json_object_get(row, "seed"));
    const json_t *bytes = json_object_get(row, "bytes");
    if (url == NULL) {
        return rd_client_fail(client, RENDER_ERR_SERVER,
                              "the gateway's answer names no output URL");
    }
    render_output got = RENDER_OUTPUT_INIT;
    render_status status = render_fetch(client, asset != NULL ? asset : url, &got);
    if (status != RENDER_OK) {
        return status;
    }
    RD_AUTO_FREE char *told_url = rd_client_absolute(client, url);
    if (told_url == NULL) {
        render_output_done(&got);
        return rd_client_fail(client, RENDER_ERR_MEMORY, "out of memory");
    }
    if (json_is_integer(bytes) && json_integer_value(bytes) != (json_int_t)got.len) {
        render_output_done(&got);
        return rd_client_fail(client, RENDER_ERR_SERVER,
                              "%s: the asset is not as long as announced", url);
    }
    rd_mem_free(got.asset_url);
    got.asset_url = RD_STEAL(told_url);
    got.seed = seed >= 0 && seed <= UINT32_MAX ? (uint32_t)seed : 0;
    *output = got;
    return RENDER_OK;
}

render_status render_generate_many(render_client *client, const render_generate_request *request,
                                   unsigned count, render_output *outputs)
{
    if (count < 1 || count > RD_CLIENT_COUNT_MAX) {
        return usage(client, "the count must be 1 to 4");
    }
    if (count == 1) {
        return render_generate(client, request, outputs);
    }
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, RD_CLIENT_JSON_MAX);
    render_output whole = RENDER_OUTPUT_INIT; /* what the headers say of the request */
    render_output got[RD_CLIENT_COUNT_MAX] = {RENDER_OUTPUT_INIT, RENDER_OUTPUT_INIT,
                                              RENDER_OUTPUT_INIT, RENDER_OUTPUT_INIT};
    char request_id[sizeof client->request_id];
    render_status status = send_request(client, request, count, &body);
    if (status != RENDER_OK) {
        return status;
    }
    memcpy(request_id, client->request_id, sizeof request_id);
    json_t *answer = body.len == 0 ? NULL : json_loadb(body.data, body.len, 0, NULL);
    const json_t *rows = json_object_get(answer, "outputs");
    if (json_array_size(rows) != count) {
        status = rd_client_fail(client, RENDER_ERR_SERVER,
                                "the gateway's answer does not list %u outputs", count);
    } else {
        status = rd_client_take_output(client, &body, &whole);
    }
    for (unsigned i = 0; status == RENDER_OK && i < count; i++) {
        status = take_row(client, json_array_get(rows, i), &got[i]);
    }
    json_decref(answer);
    if (status == RENDER_OK) {
        got[0].device = RD_STEAL(whole.device);
        got[0].device_seconds = whole.device_seconds;
        got[0].duration_ms = whole.duration_ms;
        memcpy(outputs, got, count * sizeof *outputs);
        memcpy(client->request_id, request_id, sizeof request_id);
    } else {
        for (unsigned i = 0; i < count; i++) {
            render_output_done(&got[i]);
        }
    }
    render_output_done(&whole);
    return status;
}
