/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages as text. Pure functions: what comes is any text, what goes is written by hand, since
 * an event's data is a JSON object already and only needs its head. See ws.h for the forms. */
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "request/json.h"
#include "ws/internal.h"

static const struct {
    const char *name;
    enum rd_ws_kind kind;
} kinds[] = {
    {"generate", RD_WS_GENERATE}, {"subscribe", RD_WS_SUBSCRIBE}, {"cancel", RD_WS_CANCEL}};

static rd_err invalid(const char **ret_problem, const char *text)
{
    *ret_problem = text;
    return RD_ERR_INVALID_REQUEST;
}

static rd_err read_id(const json_t *object, struct rd_ws_message *message, const char **ret_problem)
{
    static const char problem[] = "id: a text of 1 to 120 bytes as JSON, or a whole number";
    const json_t *id = json_object_get(object, "id");
    if (!json_is_integer(id) && (!json_is_string(id) || json_string_length(id) == 0)) {
        return invalid(ret_problem, problem);
    }
    RD_AUTO_FREE char *text = json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT);
    if (text == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    if (strlen(text) > RD_WS_ID_MAX - 6) { /* 120 and two quotes */
        return invalid(ret_problem, problem);
    }
    memcpy(message->id, text, strlen(text) + 1);
    return RD_OK;
}

static rd_err read_job(const json_t *object, struct rd_ws_message *message,
                       const char **ret_problem)
{
    const char *job = json_string_value(json_object_get(object, "job_id"));
    const json_t *after = json_object_get(object, "after");
    if (job == NULL || !rd_id_valid(job, "j_")) {
        return invalid(ret_problem, "job_id: the id of a job, \"j_...\"");
    }
    if (after != NULL && (!json_is_integer(after) || json_integer_value(after) < 0)) {
        return invalid(ret_problem, "after: the event_id of the last event that you have");
    }
    if (strlen(job) >= sizeof message->job) {
        return RD_ERR_NOT_FOUND; /* well formed, but longer than any that we gave */
    }
    memcpy(message->job, job, strlen(job) + 1);
    message->after = (uint64_t)json_integer_value(after);
    return RD_OK;
}

static rd_err read_object(json_t *object, struct rd_ws_message *message, const char **ret_problem)
{
    RD_TRY(read_id(object, message, ret_problem));
    const char *type = json_string_value(json_object_get(object, "type"));
    size_t at = 0;
    while (at < sizeof kinds / sizeof *kinds &&
           (type == NULL || strcmp(type, kinds[at].name) != 0)) {
        at++;
    }
    if (at == sizeof kinds / sizeof *kinds) {
        return invalid(ret_problem, "type: generate, subscribe or cancel");
    }
    message->kind = kinds[at].kind;
    if (message->kind != RD_WS_GENERATE) {
        return read_job(object, message, ret_problem);
    }
    (void)json_object_del(object, "type");
    (void)json_object_del(object, "id");
    message->body = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17));
    return message->body == NULL ? RD_ERR_NO_MEMORY : RD_OK; /* jansson's allocator is malloc */
}

rd_err rd_ws_message_parse(const char *text, size_t len, struct rd_ws_message *ret,
                           const char **ret_problem)
{
    json_error_t error;
    *ret = (struct rd_ws_message){.id = "null"};
    *ret_problem = NULL;
    json_t *object = rd_json_load(text, len, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL && json_error_code(&error) == json_error_out_of_memory) {
        return RD_ERR_NO_MEMORY;
    }
    if (!json_is_object(object)) {
        json_decref(object);
        *ret_problem = "a message is a JSON object: {\"type\": .., \"id\": .., ...}";
        return RD_ERR_INVALID_JSON;
    }
    rd_err err = read_object(object, ret, ret_problem);
    json_decref(object);
    return err;
}

static void write_job(struct rd_buf *out, const char *job)
{
    rd_buf_str(out, ",\"job_id\":");
    if (job[0] == '\0') {
        rd_buf_str(out, "null");
    } else {
        rd_buf_json_str(out, job);
    }
}

void rd_ws_write_ack(struct rd_buf *out, const char *id, const char *job)
{
    rd_buf_printf(out, "{\"type\":\"ack\",\"id\":%s", id);
    write_job(out, job);
    rd_buf_char(out, '}');
}

static void begin_error(struct rd_buf *out, const char *id, const char *job, const char *code,
                        const char *message)
{
    rd_buf_printf(out, "{\"type\":\"error\",\"id\":%s", id);
    write_job(out, job);
    rd_buf_str(out, ",\"code\":");
    rd_buf_json_str(out, code);
    rd_buf_str(out, ",\"message\":");
    rd_buf_json_str(out, message);
}

void rd_ws_write_error(struct rd_buf *out, const char *id, const char *job, rd_err err,
                       const char *message)
{
    const struct rd_err_info *info = rd_err_info(err);
    begin_error(out, id, job, info->code, message == NULL ? info->message : message);
    rd_buf_printf(out, ",\"retriable\":%s}", info->retriable ? "true" : "false");
}

static const char *text_of(const json_t *object, const char *name, const char *none)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? none : text;
}

void rd_ws_write_refusal(struct rd_buf *out, const char *id, const char *json)
{
    static const char *const kept[] = {"request_id", "retriable", "retry_after_s", "details"};
    json_t *error = json_loads(json, 0, NULL);
    const struct rd_err_info *none = rd_err_info(RD_ERR_INTERNAL);
    begin_error(out, id, "", text_of(error, "error", none->code),
                text_of(error, "message", none->message));
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        const json_t *value = json_object_get(error, kept[i]);
        char *text = value == NULL ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        if (text != NULL) {
            rd_buf_printf(out, ",\"%s\":", kept[i]);
            rd_buf_str(out, text);
        }
        rd_mem_free(text);
    }
    rd_buf_char(out, '}');
    json_decref(error);
}

void rd_ws_write_event(struct rd_buf *out, const struct rd_jobs_event *event)
{
    /* The contract calls a preview `frame` here, and `preview` in server-sent events. */
    rd_buf_str(out, "{\"type\":");
    rd_buf_json_str(out, strcmp(event->name, "preview") == 0 ? "frame" : event->name);
    write_job(out, event->job);
    rd_buf_printf(out, ",\"event_id\":%llu", (unsigned long long)event->id);
    if (event->len > 2) {
        rd_buf_char(out, ',');
        rd_buf_append(out, event->data + 1, event->len - 1);
    } else {
        rd_buf_char(out, '}');
    }
}

void rd_ws_write_missed(struct rd_buf *out, const char *job, unsigned count)
{
    rd_buf_str(out, "{\"type\":\"missed\"");
    write_job(out, job);
    rd_buf_printf(out, ",\"count\":%u}", count);
}

bool rd_ws_created_job(const char *json, char ret[RD_ID_MAX])
{
    json_t *created = json_loads(json, 0, NULL);
    const char *id = text_of(created, "id", "");
    bool found = rd_id_valid(id, "j_") && strlen(id) < RD_ID_MAX;
    if (found) {
        memcpy(ret, id, strlen(id) + 1);
    }
    json_decref(created);
    return found;
}
