/* SPDX-License-Identifier: Apache-2.0
 *
 * POST /queue and GET /queue: a submission is read and checked whole, admitted, made durable, and
 * answered with 202. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/limits.h"
#include "gateway/generate.h"
#include "gateway/queue.h"
#include "http/accept.h"

void rd_queue_ask(const struct rd_run *run, const struct rd_key *key, enum rd_lane lane,
                  char model[RD_MODEL_NAME_MAX], struct rd_jobs_ask *ret)
{
    const struct rd_generation *generation = run->generation;
    (void)snprintf(model, RD_MODEL_NAME_MAX, "%s/%s", run->model->family, run->model->name);
    *ret = (struct rd_jobs_ask){
        .owner = key->owner,
        .tenant = key->tenant,
        .lane = lane,
        .want = {.model = model,
                 .kind = generation->backend_asked ? (int)generation->backend : -1,
                 .task = generation->task,
                 .media = generation->media},
        .units = rd_run_units(generation),
    };
}

void rd_queue_row(const struct rd_run *run, const struct rd_jobs_ask *ask,
                  const struct rd_submission *submission, const struct rd_buf *text,
                  struct rd_job_write *ret)
{
    uint64_t now = rd_clock_wall_ms();
    *ret = (struct rd_job_write){
        .kind = RD_WRITE_ADD,
        .row =
            {
                .owner = ask->owner,
                .lane = (unsigned)ask->lane,
                .model = ask->want.model,
                .kind = ask->want.kind,
                .units = ask->units,
                .request = rd_buf_cstr(text),
                .request_len = text->len,
                .request_id = run->request_id,
                .webhook = submission->webhook,
                .backend = "",
                .seed = run->generation->seed,
                .media = (unsigned)run->generation->media,
                .task = (unsigned)run->generation->task,
                .created_ms = now,
                .expires_ms = submission->ttl_ms == 0 ? 0 : now + submission->ttl_ms,
                .status = RD_STATUS_QUEUED,
            },
        .idempotency_key = submission->key[0] == '\0' ? NULL : submission->key,
    };
    memcpy(ret->body_hash, submission->body_hash, sizeof ret->body_hash);
}

void rd_queue_created_json(const struct rd_gateway *gateway, const struct rd_jobs_created *created,
                           struct rd_buf *json)
{
    rd_buf_printf(json, "{\"id\":\"%s\",\"status\":\"queued\",\"position\":%" PRIu32, created->id,
                  created->position);
    rd_jobs_write_seconds(json, "eta_seconds", created->eta_ns);
    rd_buf_printf(json, ",\"events_url\":\"%s/jobs/%s/events\"}", gateway->public_url, created->id);
}

void rd_queue_reply_created(struct rd_call *call, const struct rd_jobs_created *created)
{
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, RD_KIB(4));
    rd_queue_created_json(call->gateway, created, &body);
    rd_http_reply_headerf(call->exchange, "Location", "/jobs/%s", created->id);
    rd_http_reply_headerf(call->exchange, "Link", "</jobs/%s/events>; rel=\"monitor\"",
                          created->id);
    rd_http_reply_header(call->exchange, "Cache-Control", "no-store");
    rd_reply_json(call, 202, &body);
}

void rd_queue_reply_failed(struct rd_call *call, const struct rd_job_row *row)
{
    rd_http_reply_headerf(call->exchange, "Link", "</jobs/%s>; rel=\"monitor\"", row->id);
    json_t *error = row->result == NULL ? NULL : json_loads(row->result, 0, NULL);
    const char *code = json_string_value(json_object_get(error, "code"));
    rd_err err = code == NULL ? RD_ERR_INTERNAL : rd_err_find(code);
    rd_reply_error(call, err, json_string_value(json_object_get(error, "message")), NULL);
    json_decref(error);
}

/* ---- submitting ---- */

struct submit {
    struct rd_submit_answer answer;
    struct rd_run *run; /* only its parsing is used */
    struct rd_submission submission;
    rd_submit_fn *fn;
    void *ctx;
};

static void finish(struct submit *submit)
{
    submit->fn(submit->ctx, &submit->answer);
    rd_submission_done(&submit->submission);
    rd_run_free(submit->run);
    rd_mem_free(submit);
}

static void created(void *ctx, rd_err err, const struct rd_jobs_created *what)
{
    struct submit *submit = ctx;
    submit->answer.err = err == RD_ERR_CONFLICT ? RD_ERR_IDEMPOTENCY : err;
    submit->answer.created = what;
    if (what != NULL && what->admit != RD_ADMIT_OK) {
        submit->answer.admit = what->admit;
        submit->answer.err = rd_jobs_refusal(what->admit, &submit->answer.message);
    }
    finish(submit);
}

static void hand_in(struct submit *submit, const struct rd_submit_request *request,
                    struct rd_problems *problems)
{
    struct rd_gateway *gateway = request->gateway;
    struct rd_submit_answer *answer = &submit->answer;
    struct rd_jobs_ask ask;
    struct rd_job_write add;
    char model[RD_MODEL_NAME_MAX];
    uint32_t seed;
    rd_id_random(&seed, sizeof seed);
    answer->err = rd_submission_read(submit->run, request->body, request->len,
                                     request->idempotency_key, seed, &submit->submission, problems);
    if (answer->err != RD_OK) {
        answer->problems = problems;
        finish(submit);
        return;
    }
    /* What came is what is kept; the caller's buffer lives until this returns. */
    const struct rd_buf text = {.data = (char *)(uintptr_t)request->body, .len = request->len};
    rd_queue_ask(submit->run, request->key, submit->submission.lane, model, &ask);
    rd_queue_row(submit->run, &ask, &submit->submission, &text, &add);
    enum rd_admit admit =
        rd_jobs_submit(gateway->jobs, &ask, &add, created, submit, &answer->limits);
    if (admit != RD_ADMIT_OK) { /* else it may have been answered already, and be gone */
        answer->admit = admit;
        answer->err = rd_jobs_refusal(answer->admit, &answer->message);
        finish(submit);
    }
}

void rd_queue_submit_json(const struct rd_submit_request *request, rd_submit_fn *fn, void *ctx)
{
    struct rd_problems problems = {.count = 0};
    struct submit *submit = rd_mem_alloc(sizeof *submit);
    if (submit == NULL) {
        const struct rd_submit_answer none = {.err = RD_ERR_NO_MEMORY};
        fn(ctx, &none);
        return;
    }
    submit->fn = fn;
    submit->ctx = ctx;
    struct rd_runtime *runtime = rd_gateway_runtime(request->gateway);
    submit->run = rd_run_new(request->gateway, runtime);
    rd_runtime_unref(runtime);
    submit->answer.err = submit->run == NULL                        ? RD_ERR_NO_MEMORY
                         : atomic_load(&request->gateway->draining) ? RD_ERR_DRAINING
                                                                    : RD_OK;
    if (submit->answer.err != RD_OK) {
        finish(submit);
        return;
    }
    submit->run->owner = request->key->owner;
    submit->run->media = request->media;
    (void)snprintf(submit->run->request_id, sizeof submit->run->request_id, "%s",
                   request->request_id);
    hand_in(submit, request, &problems);
}

/* ---- the routes ---- */

static void answer_submit(void *ctx, const struct rd_submit_answer *answer)
{
    struct rd_call *call = ctx;
    if (answer->err == RD_OK) {
        rd_reply_limits(call, &answer->limits);
        rd_queue_reply_created(call, answer->created);
    } else if (answer->problems != NULL) {
        rd_reply_problems(call, answer->err, answer->problems);
    } else if (answer->admit != RD_ADMIT_OK) {
        rd_reply_refusal(call, answer->admit, &answer->limits);
    } else {
        rd_reply_error(call, answer->err, answer->message, NULL);
    }
}

/* What the pictures are to be: the first of these that Accept names, else PNG. Videos are MP4. */
static enum rd_media wanted(struct rd_call *call)
{
    static const char *const offers[] = {"application/json", "image/png", "image/webp",
                                         "image/jpeg"};
    const char *accept = rd_http_request_header(call->exchange, "Accept");
    int chosen = accept == NULL ? 0 : rd_accept_choose(accept, offers, 4);
    return chosen == 2 ? RD_MEDIA_WEBP : chosen == 3 ? RD_MEDIA_JPEG : RD_MEDIA_PNG;
}

static void submit_call(void *ctx)
{
    struct rd_call *call = ctx;
    const struct rd_buf *body = rd_http_body(call->exchange);
    const struct rd_submit_request request = {
        .gateway = call->gateway,
        .key = &call->key,
        .body = rd_buf_cstr(body),
        .len = body->len,
        .idempotency_key = rd_http_request_header(call->exchange, "Idempotency-Key"),
        .request_id = rd_http_request_id(call->exchange),
        .media = wanted(call),
    };
    rd_queue_submit_json(&request, answer_submit, call);
}

void rd_queue_post(struct rd_call *call)
{
    enum { INLINE_MAX = 65536 };
    rd_http_suspend(call->exchange);
    if (rd_http_body(call->exchange)->len <= INLINE_MAX) {
        submit_call(call);
        return;
    }
    rd_err err = rd_pool_submit(call->gateway->pool, submit_call, call);
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
    }
}

void rd_queue_info(struct rd_call *call)
{
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, RD_KIB(4));
    rd_jobs_queue_json(call->gateway->jobs, &body);
    rd_http_reply_header(call->exchange, "Cache-Control", "no-store");
    rd_reply_json(call, 200, &body);
}
