/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs of the gateway's queue: submitting, asking, cancelling. A submission is the body of a sync
 * generation with what its path would say as further fields; so one function writes both. */
#include <string.h>

#include "base/id.h"
#include "base/mem.h"
#include "base/text.h"
#include "librender/internal.h"

enum { KEY_MAX = 64, TTL_MIN_S = 60, TTL_MAX_S = 86400, LIMIT_MAX = 1000 };

static render_status usage(render_client *client, const char *text)
{
    rd_client_reset(client);
    return rd_client_fail(client, RENDER_ERR_USAGE, "%s", text);
}

static render_status check_options(render_client *client, const render_submit_options *options)
{
    const char *key = options->idempotency_key;
    if (key != NULL && (key[0] == '\0' || strlen(key) > KEY_MAX)) {
        return usage(client, "the idempotency key must have 1 to 64 characters");
    }
    if (options->ttl_s != 0 && (options->ttl_s < TTL_MIN_S || options->ttl_s > TTL_MAX_S)) {
        return usage(client, "the time to live must be 60 to 86400 seconds, or 0 for no limit");
    }
    if (options->count > RD_CLIENT_COUNT_MAX) {
        return usage(client, "the count must be 1 to 4");
    }
    return RENDER_OK;
}

static bool put_text(json_t *fields, const char *name, const char *text, size_t len)
{
    return text == NULL || json_object_set_new(fields, name, json_stringn(text, len)) == 0;
}

/* The caller's further fields with the envelope of a submission; NULL with the error told. */
static char *make_fields(render_client *client, const render_generate_request *request,
                         const render_submit_options *options)
{
    const char *slash = NULL;
    if (rd_client_split_model(client, request, &slash) != RENDER_OK) {
        return NULL;
    }
    const char *text = request->fields_json == NULL ? "{}" : request->fields_json;
    size_t len = strnlen(text, RD_CLIENT_FIELDS_MAX + 1);
    json_t *fields =
        len > RD_CLIENT_FIELDS_MAX ? NULL : json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(fields)) {
        json_decref(fields);
        (void)usage(client, "the further fields are not a JSON object of at most 1 MiB");
        return NULL;
    }
    const struct {
        const char *name, *text;
        size_t len;
    } rows[] = {
        {"modality", request->video ? "video" : "image", 5},
        {"family", request->model, (size_t)(slash - request->model)},
        {"model", slash + 1, strlen(slash + 1)},
        {"task", rd_client_task(request), strlen(rd_client_task(request))},
        {"format", request->format, request->format == NULL ? 0 : strlen(request->format)},
        {"backend", request->backend, request->backend == NULL ? 0 : strlen(request->backend)},
        {"priority", options->priority, options->priority == NULL ? 0 : strlen(options->priority)},
        {"webhook", options->webhook, options->webhook == NULL ? 0 : strlen(options->webhook)},
        {"idempotency_key", options->idempotency_key,
         options->idempotency_key == NULL ? 0 : strlen(options->idempotency_key)},
    };
    bool good = true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        good = good && put_text(fields, rows[i].name, rows[i].text, rows[i].len);
    }
    if (options->ttl_s > 0) {
        good = good && json_object_set_new(fields, "ttl", json_integer(options->ttl_s)) == 0;
    }
    char *made = good ? json_dumps(fields, JSON_COMPACT) : NULL;
    json_decref(fields);
    if (made == NULL) {
        (void)usage(client, "model, format, webhook and the like must be text in UTF-8");
    }
    return made;
}

static render_status submit(render_client *client, const render_generate_request *request,
                            unsigned count, char **ret_json)
{
    RD_AUTO_BUF struct rd_buf body;
    RD_AUTO_BUF struct rd_buf answer;
    rd_buf_init(&body, RD_CLIENT_BODY_MAX);
    rd_buf_init(&answer, RD_CLIENT_JSON_MAX);
    render_status status = rd_client_make_body(client, request, count == 1 ? 0 : count, &body);
    if (status != RENDER_OK) {
        return status;
    }
    struct rd_client_call call = RD_CLIENT_CALL_INIT;
    call.method = "POST";
    call.url = "/queue";
    call.content_type = "application/json";
    call.body = body.data;
    call.body_len = body.len;
    if (request->content_type != NULL && !request->video) {
        call.accept = request->content_type; /* of the pictures; the answer is JSON all the same */
    }
    status = rd_client_perform(client, &call, &answer);
    return status == RENDER_OK ? rd_client_take_text(client, &answer, ret_json) : status;
}

render_status render_job_submit(render_client *client, const render_generate_request *request,
                                const render_submit_options *options, char **ret_json)
{
    static const render_submit_options none = RENDER_SUBMIT_OPTIONS_INIT;
    options = options == NULL ? &none : options;
    render_status status = rd_client_check_request(client, request);
    status = status == RENDER_OK ? check_options(client, options) : status;
    if (status != RENDER_OK) {
        return status;
    }
    render_generate_request whole = *request;
    RD_AUTO_FREE char *fields = make_fields(client, request, options); /* jansson's is malloc */
    if (fields == NULL) {
        return RENDER_ERR_USAGE;
    }
    whole.fields_json = fields;
    return submit(client, &whole, options->count, ret_json);
}

/* "/jobs/<id><rest>"; false, with the error told, for what is no job's id. */
static bool job_path(render_client *client, const char *id, const char *rest, struct rd_buf *path)
{
    if (id == NULL || !rd_id_valid(id, "j_")) {
        (void)usage(client, "this is no job's id: those look like j_0V8zT3kQ1mXw5bYc7nRd2s");
        return false;
    }
    rd_buf_init(path, RD_CLIENT_URL_MAX);
    rd_buf_printf(path, "/jobs/%s%s", id, rest);
    return true;
}

static render_status ask(render_client *client, const char *method, const char *path,
                         char **ret_json)
{
    RD_AUTO_BUF struct rd_buf answer;
    rd_buf_init(&answer, RD_CLIENT_JSON_MAX);
    struct rd_client_call call = RD_CLIENT_CALL_INIT;
    call.method = method;
    call.url = path;
    call.see_other = true;
    render_status status = rd_client_perform(client, &call, &answer);
    return status == RENDER_OK ? rd_client_take_text(client, &answer, ret_json) : status;
}

render_status render_job_get(render_client *client, const char *id, char **ret_json)
{
    RD_AUTO_BUF struct rd_buf path = {.data = NULL};
    return job_path(client, id, "", &path) ? ask(client, "GET", rd_buf_cstr(&path), ret_json)
                                           : RENDER_ERR_USAGE;
}

render_status render_job_cancel(render_client *client, const char *id, char **ret_json)
{
    RD_AUTO_BUF struct rd_buf path = {.data = NULL};
    return job_path(client, id, "/cancel", &path)
               ? ask(client, "POST", rd_buf_cstr(&path), ret_json)
               : RENDER_ERR_USAGE;
}

render_status render_job_list(render_client *client, const char *status, const char *after,
                              unsigned limit, char **ret_json)
{
    RD_AUTO_BUF struct rd_buf path;
    rd_buf_init(&path, RD_CLIENT_URL_MAX);
    if (limit > LIMIT_MAX) {
        return usage(client, "the limit must be 1 to 1000, or 0 for the gateway's own");
    }
    rd_buf_str(&path, "/jobs");
    char sign = '?';
    const char *const query[][2] = {{"status", status}, {"after", after}};
    for (size_t i = 0; i < 2; i++) {
        if (query[i][1] != NULL) {
            rd_buf_printf(&path, "%c%s=", sign, query[i][0]);
            rd_client_escape(client, &path, query[i][1], strlen(query[i][1]));
            sign = '&';
        }
    }
    if (limit > 0) {
        rd_buf_printf(&path, "%climit=%u", sign, limit);
    }
    return ask(client, "GET", rd_buf_cstr(&path), ret_json);
}
