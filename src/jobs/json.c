/* SPDX-License-Identifier: Apache-2.0
 *
 * How a job looks on the wire: the contract's Job, the end of one as an event, and the message of
 * a webhook. Written from the row, so that a job in memory and one in the store look the same. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "jobs/internal.h"

static void time_field(struct rd_buf *json, const char *name, uint64_t ms)
{
    char text[RD_CLOCK_RFC3339_LEN + 1];
    if (ms == 0) {
        rd_buf_printf(json, ",\"%s\":null", name);
        return;
    }
    rd_clock_rfc3339_ms(ms, text);
    rd_buf_printf(json, ",\"%s\":\"%s\"", name, text);
}

bool rd_job_output(const struct rd_job_row *row, unsigned index, char ret[RD_ID_ASSET_LEN + 1])
{
    /* Our own text: ["a_<hex>","a_<hex>"]. */
    enum { ITEM = RD_ID_ASSET_LEN + 3 };
    const char *list = row->result;
    if (row->status != RD_STATUS_COMPLETE || list == NULL ||
        strlen(list) < 1 + (size_t)(index + 1) * ITEM) {
        return false;
    }
    memcpy(ret, list + 2 + (size_t)index * ITEM, RD_ID_ASSET_LEN);
    ret[RD_ID_ASSET_LEN] = '\0';
    return rd_text_starts(ret, "a_");
}

static void outputs(const struct rd_job_row *row, const char *public_url, struct rd_buf *json)
{
    char asset[RD_ID_ASSET_LEN + 1];
    if (!rd_job_output(row, 0, asset)) {
        rd_buf_str(json, ",\"output\":null");
        return;
    }
    rd_buf_printf(json, ",\"output\":\"%s/a/%s\"", public_url, asset);
    if (!rd_job_output(row, 1, asset)) {
        return;
    }
    rd_buf_str(json, ",\"outputs\":[");
    for (unsigned i = 0; rd_job_output(row, i, asset); i++) {
        rd_buf_printf(json, "%s\"%s/a/%s\"", i == 0 ? "" : ",", public_url, asset);
    }
    rd_buf_char(json, ']');
}

const char *rd_jobs_device_source(int source)
{
    static const char *const names[] = {NULL, "cpu", "engine", "measured"}; /* engine/engine.h */
    return source >= 0 && source < 4 ? names[source] : NULL;
}

void rd_jobs_write_device_time(struct rd_buf *json, int source, uint64_t ns)
{
    const char *name = rd_jobs_device_source(source);
    if (name == NULL) {
        rd_buf_str(json, ",\"gpu_seconds\":null,\"gpu_source\":null");
    } else {
        rd_buf_printf(json, ",\"gpu_seconds\":%" PRIu64 ".%09" PRIu64 ",\"gpu_source\":\"%s\"",
                      ns / 1000000000, ns % 1000000000, name);
    }
}

static const char *error_of(const struct rd_job_row *row)
{
    bool failed = row->status == RD_STATUS_ERROR || row->status == RD_STATUS_CANCELLED;
    return failed && row->result != NULL && row->result[0] != '\0' ? row->result : "null";
}

void rd_jobs_write_seconds(struct rd_buf *json, const char *name, uint64_t ns)
{
    if (ns == 0) {
        rd_buf_printf(json, ",\"%s\":null", name);
    } else {
        rd_buf_printf(json, ",\"%s\":%" PRIu64 ".%03" PRIu64, name, ns / 1000000000,
                      ns / 1000000 % 1000);
    }
}

/* Pictures that stand in a request as data: URIs are not sent back. */
static void without_pictures(json_t *request)
{
    static const char *const fields[] = {"image", "mask"};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const char *text = json_string_value(json_object_get(request, fields[i]));
        const char *comma =
            text == NULL || !rd_text_starts(text, "data:") ? NULL : strchr(text, ',');
        if (comma != NULL) {
            (void)json_object_set_new(request, fields[i],
                                      json_sprintf("%.*s,... (%zu characters)", (int)(comma - text),
                                                   text, strlen(comma + 1)));
        }
    }
}

static void request_field(const struct rd_job_row *row, struct rd_buf *json)
{
    if (row->request == NULL) {
        return;
    }
    rd_buf_str(json, ",\"request\":");
    if (strstr(row->request, "data:") == NULL) {
        rd_buf_append(json, row->request, row->request_len);
        return;
    }
    json_t *request = json_loadb(row->request, row->request_len, 0, NULL);
    without_pictures(request);
    char *text = request == NULL ? NULL : json_dumps(request, JSON_COMPACT);
    rd_buf_str(json, text == NULL ? "null" : text);
    json_decref(request);
    free(text); /* tidy: jansson's own memory */
}

void rd_jobs_write_job(const struct rd_job_row *row, const struct job_now *now,
                       const char *public_url, struct rd_buf *json)
{
    static const char *const lanes[] = {"high", "normal", "low"};
    rd_buf_printf(json, "{\"id\":\"%s\",\"status\":\"%s\"", row->id,
                  rd_job_status_name(row->status));
    if (row->status == RD_STATUS_QUEUED) {
        rd_buf_printf(json, ",\"position\":%" PRIu32, now->position);
    }
    double progress = row->status == RD_STATUS_COMPLETE ? 1 : now->progress;
    rd_buf_printf(json, ",\"progress\":%.4g", progress);
    if (row->ended_ms == 0) {
        rd_jobs_write_seconds(json, "eta_seconds", now->eta_ns);
    }
    if (row->cancel && row->ended_ms == 0) {
        rd_buf_str(json, ",\"cancel_requested\":true");
    }
    outputs(row, public_url, json);
    rd_buf_printf(json,
                  ",\"seed\":%" PRIu32 ",\"model\":\"%s\",\"priority\":\"%s\",\"attempts\":%u",
                  row->seed, row->model, lanes[row->lane < 3 ? row->lane : 1], row->attempt);
    rd_buf_printf(json, ",\"error\":%s", error_of(row));
    rd_jobs_write_device_time(json, row->device_source, row->device_ns);
    time_field(json, "created_at", row->created_ms);
    time_field(json, "started_at", row->started_ms);
    time_field(json, "completed_at", row->ended_ms);
    request_field(row, json);
    rd_buf_char(json, '}');
}

void rd_job_json(const struct rd_job_row *row, const char *public_url, struct rd_buf *json)
{
    const struct job_now now = {.progress = 0};
    rd_jobs_write_job(row, &now, public_url, json);
}

void rd_jobs_write_end(const struct rd_job_row *row, const char *public_url, struct rd_buf *json)
{
    if (row->status != RD_STATUS_COMPLETE) {
        rd_buf_str(json, error_of(row));
        return;
    }
    RD_AUTO_BUF struct rd_buf fields;
    rd_buf_init(&fields, RD_KIB(4));
    outputs(row, public_url, &fields);
    rd_jobs_write_device_time(&fields, row->device_source, row->device_ns);
    rd_buf_printf(json, "{%s,\"seed\":%" PRIu32 "}", rd_buf_cstr(&fields) + 1, row->seed);
}

void rd_job_message(const struct rd_job_row *row, const char *public_url, struct rd_buf *json)
{
    struct rd_job_row thin = *row;
    char at[RD_CLOCK_RFC3339_LEN + 1];
    rd_clock_rfc3339_ms(row->ended_ms, at);
    thin.request = NULL; /* messages are small; the job's URL has the rest */
    rd_buf_printf(json, "{\"type\":\"job.%s\",\"timestamp\":\"%s\",\"data\":",
                  rd_job_status_name(row->status), at);
    rd_job_json(&thin, public_url, json);
    rd_buf_char(json, '}');
}
