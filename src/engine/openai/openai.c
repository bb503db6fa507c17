/* SPDX-License-Identifier: Apache-2.0
 *
 * The dialect of engines of type "openai": servers that speak /v1/images/generations,
 * /v1/images/edits and /v1/videos. docs/openai-engine.md says what goes over the wire; request.c
 * writes it, answer.c reads it, video.c and health.c are the rest.
 *
 * One picture a request, whatever `count` is: only then every output has the seed that the caller
 * was told, and none has to wait in memory for its turn.
 *
 * Partial pictures are asked for when the sink wants previews. Most servers ignore that and answer
 * with JSON, one may refuse it; both are learned once and not asked of this engine again. A
 * refusal costs nothing: it comes before any work. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/text.h"
#include "engine/openai/link.h"
#include "engine/openai/openai.h"

/* ---- the engine ---- */

static rd_err openai_open(void *shared, const struct rd_engine_config *config, struct rd_why *why)
{
    struct rd_openai_engine *engine = shared;
    rd_openai_answer_init(&engine->probe.answer);
    size_t len = strlen(config->url);
    while (len > 0 && config->url[len - 1] == '/') {
        len--;
    }
    if (len >= 3 && memcmp(config->url + len - 3, "/v1", 3) == 0) {
        return rd_why_set(why, RD_ERR_CONFIG,
                          "backend %s: leave out the /v1 at the end of '%s'; it is put there",
                          config->name, config->url);
    }
    engine->url = rd_mem_strdup(config->url);
    engine->model = config->remote_model != NULL ? rd_mem_strdup(config->remote_model) : NULL;
    bool ok = engine->url != NULL && (config->remote_model == NULL || engine->model != NULL);
    return ok ? RD_OK : RD_ERR_NO_MEMORY;
}

static void openai_close(void *shared)
{
    struct rd_openai_engine *engine = shared;
    rd_openai_answer_done(&engine->probe.answer);
    rd_mem_free(engine->url);
    rd_mem_free(engine->model);
}

/* All that the API has; which of it the model behind it can, the catalogue says. */
static void openai_capabilities(void *shared, const char *model, struct rd_engine_capabilities *ret)
{
    (void)shared;
    (void)model;
    *ret = (struct rd_engine_capabilities){
        .tasks = 1u << RD_TASK_T2I | 1u << RD_TASK_I2I | 1u << RD_TASK_EDIT | 1u << RD_TASK_T2V |
                 1u << RD_TASK_I2V,
        .media =
            1u << RD_MEDIA_PNG | 1u << RD_MEDIA_JPEG | 1u << RD_MEDIA_WEBP | 1u << RD_MEDIA_MP4,
        .progress = true,
        .previews = true,
    };
}

/* ---- a run ---- */

static bool is_video(const struct rd_http_run *run)
{
    return rd_task_modality(run->job->generation->task) == RD_MODALITY_VIDEO;
}

static rd_err openai_begin(struct rd_http_run *run)
{
    struct rd_openai_run *state = run->state;
    const struct rd_openai_engine *engine = run->shared;
    const struct rd_generation *generation = run->job->generation;
    if (!state->made) {
        rd_openai_request_init(&state->request);
        rd_openai_answer_init(&state->answer);
        state->made = true;
    }
    rd_buf_reset(&state->request.mask);
    state->stage = is_video(run) ? RD_OPENAI_SUBMIT : RD_OPENAI_ASK;
    state->output = 0;
    state->plain = false;
    state->why.text[0] = '\0';
    state->answer.code[0] = state->answer.type[0] = '\0'; /* of another run */
    state->video[0] = '\0';
    state->working = false;
    state->poll_failures = 0;
    state->told_ns = 0;
    state->tellers = 0;
    int len = engine->model != NULL
                  ? snprintf(state->model, sizeof state->model, "%s", engine->model)
                  : snprintf(state->model, sizeof state->model, "%s/%s", generation->family,
                             generation->model);
    state->request.generation = generation;
    state->request.server = (enum rd_openai_server)atomic_load(&engine->server);
    state->request.model = state->model;
    return len >= 0 && (size_t)len < sizeof state->model ? RD_OK : RD_ERR_TOO_LARGE;
}

unsigned rd_openai_policy(const struct rd_openai_answer *answer)
{
    static const char *const words[] = {"policy", "moderation", "safety", "nsfw"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasestr(answer->code, words[i]) != NULL ||
            strcasestr(answer->type, words[i]) != NULL) {
            return (unsigned)RD_HTTP_FINAL | (unsigned)RD_HTTP_FAULTLESS;
        }
    }
    return 0;
}

rd_err rd_openai_failed(struct rd_http_run *run, rd_err err)
{
    struct rd_openai_run *state = run->state;
    unsigned flags = err == RD_ERR_INVALID_REQUEST
                         ? (unsigned)RD_HTTP_FINAL | (unsigned)RD_HTTP_FAULTLESS
                         : rd_openai_policy(&state->answer);
    return state->why.text[0] == '\0' ? err : rd_http_fail(run, err, flags, "%s", state->why.text);
}

static rd_err openai_request(struct rd_http_run *run, struct rd_http_request *request)
{
    struct rd_openai_run *state = run->state;
    struct rd_openai_engine *engine = run->shared;
    if (state->stage == RD_OPENAI_FETCH) {
        request->method = "GET";
        request->path = state->path;
        request->at_origin = true;
        return RD_OK;
    }
    if (state->stage == RD_OPENAI_POLL || state->stage == RD_OPENAI_CONTENT) {
        return rd_openai_video_request(state, request);
    }
    struct rd_openai_request *made = &state->request;
    made->output = state->output;
    made->stream = state->stage == RD_OPENAI_ASK && run->job->sink.preview != NULL &&
                   !state->plain && !atomic_load(&engine->streams_not);
    rd_err err = rd_openai_request_make(made, &run->body, &state->why);
    if (err != RD_OK) {
        return rd_openai_failed(run, err);
    }
    request->path = made->path;
    request->content_type = made->content_type;
    request->accept = made->stream ? "text/event-stream, application/json" : "application/json";
    request->any_2xx = true; /* 201 and 202 are good answers to a submission */
    request->answer_max =
        state->stage == RD_OPENAI_ASK ? RD_OPENAI_ANSWER_MAX : RD_OPENAI_STATUS_MAX;
    return RD_OK;
}

/* `type` is `name`, perhaps with parameters. */
static bool type_is(const char *type, const char *name)
{
    size_t len = strlen(name);
    return type != NULL && strncasecmp(type, name, len) == 0 &&
           (type[len] == '\0' || type[len] == ';' || type[len] == ' ');
}

static rd_err openai_head(struct rd_http_run *run, const struct rd_http_answer *answer)
{
    struct rd_openai_run *state = run->state;
    struct rd_openai_engine *engine = run->shared;
    if (state->stage == RD_OPENAI_FETCH || state->stage == RD_OPENAI_CONTENT) {
        rd_openai_picture_begin(&state->answer.picture, run->job, state->output, answer->length);
        return RD_OK;
    }
    bool ask = state->stage == RD_OPENAI_ASK;
    bool events = ask && type_is(answer->type, "text/event-stream");
    if (!events && !type_is(answer->type, "application/json")) {
        return rd_http_fail(run, RD_ERR_BACKEND_FAILED, 0, "the engine answered with %.60s, not %s",
                            answer->type != NULL ? answer->type : "no Content-Type",
                            "application/json; is its url right?");
    }
    if (state->request.stream && !events) {
        atomic_store(&engine->streams_not, true);
    }
    rd_openai_answer_begin(&state->answer, ask ? run->job : NULL, state->output, events);
    return RD_OK;
}

static rd_err openai_data(struct rd_http_run *run, const char *data, size_t len)
{
    struct rd_openai_run *state = run->state;
    bool bytes = state->stage == RD_OPENAI_FETCH || state->stage == RD_OPENAI_CONTENT;
    rd_err err = bytes ? rd_openai_picture_bytes(&state->answer.picture, (const uint8_t *)data, len,
                                                 &state->why)
                       : rd_openai_answer_feed(&state->answer, data, len, &state->why);
    return err == RD_OK ? RD_OK : rd_openai_failed(run, err);
}

/* An output is with the sink. */
static void output_over(struct rd_http_run *run, struct rd_http_next *next)
{
    struct rd_openai_run *state = run->state;
    struct rd_openai_engine *engine = run->shared;
    if (state->plain) {
        atomic_store(&engine->streams_not, true); /* without it went well */
    }
    if (state->stage != RD_OPENAI_CONTENT && state->answer.told) {
        state->tellers++;
        state->told_ns += state->answer.told_ns;
    }
    state->output++;
    state->stage = is_video(run) ? RD_OPENAI_SUBMIT : RD_OPENAI_ASK;
    next->again = state->output < run->job->generation->count;
}

/* An answer without a picture: an address of one, or a failure. */
static rd_err no_picture(struct rd_http_run *run, struct rd_http_next *next)
{
    struct rd_openai_run *state = run->state;
    const struct rd_openai_engine *engine = run->shared;
    const struct rd_openai_answer *answer = &state->answer;
    if (answer->url[0] != '\0') {
        rd_err err =
            rd_openai_link(engine->url, answer->url, state->path, sizeof state->path, &state->why);
        if (err != RD_OK) {
            return rd_openai_failed(run, err);
        }
        state->stage = RD_OPENAI_FETCH;
        next->again = true;
        return RD_OK;
    }
    return rd_http_fail(run, RD_ERR_BACKEND_FAILED, rd_openai_policy(answer),
                        "the engine's answer holds no picture%s%s",
                        answer->error[0] != '\0' ? ": " : "", answer->error);
}

static rd_err openai_end(struct rd_http_run *run, struct rd_http_next *next)
{
    struct rd_openai_run *state = run->state;
    rd_err err = RD_OK;
    if (state->stage == RD_OPENAI_SUBMIT || state->stage == RD_OPENAI_POLL) {
        return rd_openai_video_end(run, next);
    }
    if (state->stage == RD_OPENAI_ASK) {
        err = rd_openai_answer_end(&state->answer, &state->why);
        if (err == RD_OK && !state->answer.complete) {
            return no_picture(run, next);
        }
    }
    err = err == RD_OK ? rd_openai_picture_end(&state->answer.picture, &state->why) : err;
    if (err != RD_OK) {
        return rd_openai_failed(run, err);
    }
    output_over(run, next);
    return RD_OK;
}

static bool openai_slow(const struct rd_http_run *run, bool end)
{
    const struct rd_openai_run *state = run->state;
    if (end) {
        return (state->stage == RD_OPENAI_FETCH || state->stage == RD_OPENAI_ASK) &&
               state->answer.picture.stage == RD_OPENAI_GATHER;
    }
    return state->stage == RD_OPENAI_ASK && rd_openai_request_is_slow(&state->request);
}

/* ---- refusals ---- */

/* The server's own words, out of its JSON, for the log. */
static void read_refusal(struct rd_openai_answer *answer, struct rd_http_refusal *refusal)
{
    struct rd_why ignored;
    rd_openai_answer_begin(answer, NULL, 0, false);
    if (rd_openai_answer_feed(answer, refusal->body, refusal->len, &ignored) != RD_OK &&
        answer->error[0] == '\0') {
        return; /* it is no JSON: the transport's words stand */
    }
    bool key = refusal->status == 401 || refusal->status == 403;
    const char *hint = key ? " (is the key in key_file right?)" : "";
    if (answer->error[0] != '\0') {
        (void)rd_why_set(&refusal->why, refusal->err, "the engine answered %ld: %.300s%s%s%s%s",
                         refusal->status, answer->error, answer->code[0] != '\0' ? " (" : "",
                         answer->code, answer->code[0] != '\0' ? ")" : "",
                         rd_openai_policy(answer) != 0 ? "" : hint);
    }
}

static void openai_refused(struct rd_http_run *run, struct rd_http_refusal *refusal)
{
    struct rd_openai_run *state = run->state;
    bool policy = false;
    if (refusal->status != 0) {
        read_refusal(&state->answer, refusal);
        policy = rd_openai_policy(&state->answer) != 0;
        if (refusal->status < 500 && policy) {
            refusal->final = true;
            refusal->faultless = true;
        }
    }
    if (state->stage == RD_OPENAI_POLL) {
        rd_openai_video_refused(state, refusal);
    } else if (state->stage == RD_OPENAI_ASK && state->request.stream && !policy &&
               (refusal->status == 400 || refusal->status == 422)) {
        state->plain = true; /* perhaps it was that: the same without */
        refusal->again = true;
    }
}

/* The run is over; its large buffers do not wait in the pool for another. */
static void openai_report(struct rd_http_run *run, rd_err err, struct rd_engine_report *report)
{
    struct rd_openai_run *state = run->state;
    rd_buf_done(&state->request.mask);
    rd_buf_done(&state->answer.preview);
    rd_buf_done(&state->answer.picture.gathered);
    if (err == RD_OK && state->tellers == run->job->generation->count) {
        report->device_ns = state->told_ns;
        report->source = RD_DEVICE_TIME_ENGINE;
    }
}

static void openai_forget(void *opaque)
{
    struct rd_openai_run *state = opaque;
    if (state->made) {
        rd_openai_request_done(&state->request);
        rd_openai_answer_done(&state->answer);
    }
}

static const struct rd_http_dialect dialect = {
    .type = "openai",
    .base = true,
    .run_size = sizeof(struct rd_openai_run),
    .shared_size = sizeof(struct rd_openai_engine),
    .default_timeout_ms = RD_OPENAI_TIMEOUT_MS,
    .open = openai_open,
    .close = openai_close,
    .capabilities = openai_capabilities,
    .probe = rd_openai_probe,
    .probed = rd_openai_probed,
    .begin = openai_begin,
    .request = openai_request,
    .head = openai_head,
    .data = openai_data,
    .end = openai_end,
    .refused = openai_refused,
    .abandon = rd_openai_video_abandon,
    .report = openai_report,
    .forget = openai_forget,
    .slow = openai_slow,
};

static rd_err open_engine(const struct rd_engine_config *config, struct rd_engine **ret,
                          struct rd_why *why)
{
    return rd_http_open(&dialect, config, ret, why);
}

const struct rd_engine_ops rd_engine_openai_ops = RD_HTTP_ENGINE_OPS("openai", open_engine);
