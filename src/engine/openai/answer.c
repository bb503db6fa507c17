/* SPDX-License-Identifier: Apache-2.0
 *
 * What an answer says. See answer.h. */
#include "engine/openai/answer.h"

#include <string.h>

#include "base/text.h"
#include "engine/http/reply.h"

static rd_err on_event_data(void *ctx, const char *data, size_t len);
static rd_err on_event_end(void *ctx);

void rd_openai_answer_init(struct rd_openai_answer *answer)
{
    memset(answer, 0, sizeof *answer);
    rd_openai_picture_init(&answer->picture);
    rd_buf_init(&answer->preview, RD_ENGINE_HELD_MAX);
}

void rd_openai_answer_done(struct rd_openai_answer *answer)
{
    rd_openai_picture_done(&answer->picture);
    rd_buf_done(&answer->preview);
}

/* ---- pictures ---- */

static rd_err on_picture(void *ctx, unsigned index)
{
    struct rd_openai_answer *a = ctx;
    if (a->job == NULL) {
        return rd_why_set(a->why, RD_ERR_BACKEND_FAILED,
                          "the engine sent a picture where none was asked for");
    }
    if (a->events && a->event_type[0] == '\0' && a->sse.name[0] != '\0') {
        memcpy(a->event_type, a->sse.name, sizeof a->event_type - 1);
    }
    if (a->events && a->event_type[0] == '\0') {
        return rd_why_set(a->why, RD_ERR_BACKEND_FAILED,
                          "the engine's event has a picture, and nothing before it says whether it "
                          "is the last one");
    }
    a->partial = a->events && rd_text_ends(a->event_type, "partial_image");
    if (a->partial) {
        rd_buf_reset(&a->preview);
        return RD_OK;
    }
    if (a->complete || index > 0) {
        return rd_why_set(a->why, RD_ERR_BACKEND_FAILED,
                          "the engine sent a second picture; one was asked for");
    }
    rd_openai_picture_begin(&a->picture, a->job, a->output, 0);
    return RD_OK;
}

static rd_err on_bytes(void *ctx, const uint8_t *bytes, size_t len)
{
    struct rd_openai_answer *a = ctx;
    if (a->partial) {
        rd_buf_append(&a->preview, bytes, len); /* over its bound: there is no preview */
        return RD_OK;
    }
    return rd_openai_picture_bytes(&a->picture, bytes, len, a->why);
}

static void show_preview(struct rd_openai_answer *a)
{
    const struct rd_engine_sink *sink = &a->job->sink;
    enum rd_media media;
    a->previews += a->previews < RD_OPENAI_PARTIALS ? 1 : 0;
    if (sink->progress != NULL) {
        double fraction = (double)a->previews / (RD_OPENAI_PARTIALS + 1);
        double of_all = (a->output + fraction) / a->job->generation->count;
        sink->progress(sink->ctx, of_all, (unsigned)(of_all * a->job->generation->steps));
    }
    if (sink->preview != NULL && rd_buf_err(&a->preview) == RD_OK &&
        a->preview.len >= RD_HTTP_MAGIC_LEN && rd_openai_media_of(a->preview.data, &media) &&
        media != RD_MEDIA_MP4) {
        sink->preview(sink->ctx, media, a->preview.data, a->preview.len);
    }
}

static rd_err on_picture_end(void *ctx)
{
    struct rd_openai_answer *a = ctx;
    if (a->partial) {
        show_preview(a);
        return RD_OK;
    }
    a->complete = true; /* its end is for the caller, when the rest of the answer was sound */
    return RD_OK;
}

/* ---- texts ---- */

/* What does not fit is no word of ours. */
static void keep(char *to, size_t room, const char *text, size_t len)
{
    if (len < room) {
        memcpy(to, text, len + 1);
    }
}

/* "45" of 100 as 0.45; what is no small number changes nothing. */
static void keep_progress(struct rd_openai_answer *a, const char *text, size_t len)
{
    uint64_t ns;
    if (rd_http_seconds_parse(text, len, &ns)) {
        double percent = (double)ns / 1e9;
        a->progress = percent > 100 ? 1 : percent / 100;
    }
}

static rd_err on_text(void *ctx, enum rd_openai_field field, const char *text, size_t len)
{
    struct rd_openai_answer *a = ctx;
    switch (field) {
    case RD_OPENAI_URL: /* the first; a cut one is seen by its length */
        memcpy(a->url, text, a->url[0] == '\0' ? len + 1 : 0);
        break;
    case RD_OPENAI_ERROR:
        rd_http_sanitise(text, len, a->error, sizeof a->error);
        break;
    case RD_OPENAI_MESSAGE: /* of an event it may be news, of a whole answer it is the error */
        if (!a->events) {
            rd_http_sanitise(text, len, a->error, sizeof a->error);
        }
        break;
    case RD_OPENAI_ERROR_CODE:
        rd_http_sanitise(text, len, a->code, sizeof a->code);
        break;
    case RD_OPENAI_ERROR_TYPE:
        rd_http_sanitise(text, len, a->type, sizeof a->type);
        break;
    case RD_OPENAI_TYPE:
        keep(a->event_type, sizeof a->event_type, text, len);
        break;
    case RD_OPENAI_ID:
        keep(a->id, sizeof a->id, text, len);
        break;
    case RD_OPENAI_STATUS:
        keep(a->status, sizeof a->status, text, len);
        break;
    case RD_OPENAI_PROGRESS:
        keep_progress(a, text, len);
        break;
    case RD_OPENAI_SECONDS:
        a->told = rd_http_seconds_parse(text, len, &a->told_ns);
        break;
    case RD_OPENAI_MODEL_ID:
        keep(a->model, a->model[0] == '\0' ? sizeof a->model : 0, text, len);
        break;
    case RD_OPENAI_OWNER:
        keep(a->owner, a->owner[0] == '\0' ? sizeof a->owner : 0, text, len);
        break;
    case RD_OPENAI_LOADED:
        a->loaded = true;
        break;
    case RD_OPENAI_NONE:
    case RD_OPENAI_PICTURE:
        break; /* never told so */
    }
    return RD_OK;
}

/* ---- documents and events ---- */

static void begin_document(struct rd_openai_answer *a)
{
    const struct rd_openai_events events = {.ctx = a,
                                            .picture = on_picture,
                                            .bytes = on_bytes,
                                            .picture_end = on_picture_end,
                                            .text = on_text};
    rd_openai_stream_init(&a->json, &events);
}

void rd_openai_answer_begin(struct rd_openai_answer *answer, const struct rd_engine_job *job,
                            unsigned output, bool events)
{
    struct rd_openai_answer *a = answer;
    a->job = job;
    a->output = output;
    a->events = events;
    a->document = false;
    a->passed_over = false;
    a->partial = false;
    a->previews = 0;
    a->complete = false;
    a->url[0] = a->error[0] = a->code[0] = a->type[0] = a->status[0] = '\0';
    a->event_type[0] = a->id[0] = a->owner[0] = a->model[0] = '\0';
    a->progress = -1;
    a->told = false;
    a->loaded = false;
    begin_document(a);
    rd_openai_sse_init(&a->sse, a, on_event_data, on_event_end);
}

static rd_err on_event_data(void *ctx, const char *data, size_t len)
{
    struct rd_openai_answer *a = ctx;
    if (!a->document) {
        a->document = true;
        a->event_type[0] = '\0';
        a->passed_over = data[0] == '['; /* "[DONE]": an event of ours is an object */
        begin_document(a);
    }
    return a->passed_over ? RD_OK : rd_openai_stream_feed(&a->json, data, len, a->why);
}

static rd_err on_event_end(void *ctx)
{
    struct rd_openai_answer *a = ctx;
    a->document = false;
    if (a->passed_over) {
        return RD_OK;
    }
    RD_TRY(rd_openai_stream_end(&a->json, a->why));
    return a->error[0] == '\0'
               ? RD_OK
               : rd_why_set(a->why, RD_ERR_BACKEND_FAILED, "the engine failed: %s", a->error);
}

rd_err rd_openai_answer_feed(struct rd_openai_answer *answer, const char *data, size_t len,
                             struct rd_why *why)
{
    answer->why = why;
    return answer->events ? rd_openai_sse_feed(&answer->sse, data, len)
                          : rd_openai_stream_feed(&answer->json, data, len, why);
}

rd_err rd_openai_answer_end(struct rd_openai_answer *answer, struct rd_why *why)
{
    if (!answer->events) {
        return rd_openai_stream_end(&answer->json, why);
    }
    /* An event that was cut off is no event; whether something is missing, `complete` tells. */
    return RD_OK;
}
