/* SPDX-License-Identifier: Apache-2.0
 *
 * A video: submitted, looked at until it is complete, fetched. The server's name for it lives in
 * the run, and the run belongs to one backend, so no other server is ever asked about it. The looks
 * grow rarer (RD_OPENAI_POLL_MS and on) and are bounded by the run's deadline; some that fail in a
 * row are forgiven, because a busy server that misses one still works on the video.
 *
 * Who stops waiting tells the server by DELETE, which is how vLLM-Omni's work is cancelled. */
#include <stdio.h>
#include <string.h>

#include "engine/openai/openai.h"

rd_err rd_openai_video_request(struct rd_openai_run *state, struct rd_http_request *request)
{
    (void)snprintf(state->path, sizeof state->path, "/v1/videos/%s%s", state->video,
                   state->stage == RD_OPENAI_CONTENT ? "/content" : "");
    request->method = "GET";
    request->path = state->path;
    if (state->stage == RD_OPENAI_POLL) {
        request->accept = "application/json";
        request->answer_max = RD_OPENAI_STATUS_MAX;
    }
    return RD_OK;
}

/* It becomes a part of a path. */
static bool is_id(const char *text)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    return text[0] != '\0' && text[strspn(text, good)] == '\0';
}

static bool is_one_of(const char *text, const char *const *words)
{
    while (*words != NULL && strcmp(text, *words) != 0) {
        words++;
    }
    return *words != NULL;
}

static rd_err failed(struct rd_http_run *run)
{
    struct rd_openai_run *state = run->state;
    const struct rd_openai_answer *answer = &state->answer;
    return rd_http_fail(run, RD_ERR_BACKEND_FAILED, rd_openai_policy(answer),
                        "the engine's video is '%s'%s%s", answer->status,
                        answer->error[0] != '\0' ? ": " : "", answer->error);
}

static void tell_progress(struct rd_http_run *run, double progress)
{
    const struct rd_engine_sink *sink = &run->job->sink;
    if (sink->progress != NULL && progress >= 0) {
        sink->progress(sink->ctx, progress, (unsigned)(progress * run->job->generation->steps));
    }
}

rd_err rd_openai_video_end(struct rd_http_run *run, struct rd_http_next *next)
{
    static const char *const over[] = {"failed",  "cancelled", "canceled", "expired",
                                       "deleted", "error",     NULL};
    struct rd_openai_run *state = run->state;
    const struct rd_openai_answer *answer = &state->answer;
    rd_err err = rd_openai_answer_end(&state->answer, &state->why);
    if (err != RD_OK) {
        return rd_openai_failed(run, err);
    }
    if (state->stage == RD_OPENAI_SUBMIT) {
        if (!is_id(answer->id)) {
            return rd_http_fail(
                run, RD_ERR_BACKEND_FAILED, 0,
                "the engine took the video and gave no id that can be asked for%s%s",
                answer->error[0] != '\0' ? ": " : "", answer->error);
        }
        memcpy(state->video, answer->id, sizeof state->video);
        state->working = true;
        state->stage = RD_OPENAI_POLL;
        state->poll_ms = RD_OPENAI_POLL_MS;
    }
    state->poll_failures = 0;
    if (is_one_of(answer->status, over)) {
        state->working = false;
        return failed(run);
    }
    next->again = true;
    if (strcmp(answer->status, "completed") == 0) {
        state->working = false;
        state->stage = RD_OPENAI_CONTENT;
        state->tellers += answer->told;
        state->told_ns += answer->told ? answer->told_ns : 0;
        return RD_OK;
    }
    tell_progress(run, answer->progress);
    next->after_ms = state->poll_ms;
    state->poll_ms += state->poll_ms / 2;
    state->poll_ms =
        state->poll_ms < RD_OPENAI_POLL_MAX_MS ? state->poll_ms : RD_OPENAI_POLL_MAX_MS;
    return RD_OK;
}

void rd_openai_video_refused(struct rd_openai_run *state, struct rd_http_refusal *refusal)
{
    bool passing = refusal->status == 0 || refusal->status == 429 || refusal->status >= 500;
    if (passing && ++state->poll_failures < RD_OPENAI_POLL_FAILURES) {
        refusal->again = true;
        refusal->after_ms = state->poll_ms;
    } else if (refusal->status == 404) {
        refusal->final = false; /* it forgot the video: from the start it may go well */
        state->working = false;
    }
}

bool rd_openai_video_abandon(struct rd_http_run *run, struct rd_http_request *request)
{
    struct rd_openai_run *state = run->state;
    if (!state->working) {
        return false;
    }
    (void)snprintf(state->path, sizeof state->path, "/v1/videos/%s", state->video);
    request->method = "DELETE";
    request->path = state->path;
    return true;
}
