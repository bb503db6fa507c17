/* SPDX-License-Identifier: Apache-2.0
 *
 * The sync tier: POST a generation, receive the bytes. One call's way through here:
 *
 *   prepare   negotiate the type, parse and validate        HTTP thread; large bodies: pool
 *   load      read or fetch source images                   pool, or the fetchers
 *   launch    take a slot, start the run, wait              HTTP thread or pool
 *   answer    when the run is over (run.c)                  store's committer thread
 *
 * Three ways lead from here to the queue. With `Prefer: respond-async` the call is a submission and
 * gets its 202. With `Prefer: wait=N` or an Idempotency-Key it is a submission too, but the client
 * waits for the job's end, up to N seconds. And a call that takes longer than sync.wait, or whose
 * client leaves while sync.on_disconnect is `finish`, becomes a job while it runs: no work is lost.
 *
 * Who may answer: whoever claims the call's wait (waits.h). While it is linked, the run is here and
 * may be stopped. */
#include "gateway/generate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"

/* A body up to this size is parsed on the HTTP thread (a few microseconds); larger ones hold
 * pictures. */
enum { PARSE_INLINE_MAX = 65536, PREFER_WAIT_MAX_S = 86400 };
static const uint64_t second_ns = 1000000000;

/* ---- refusing ---- */

static void fail(struct rd_sync *sync, rd_err err, const char *message)
{
    rd_reply_error(sync->call, err, message, NULL);
}

/* Why none of the backends serves it; NULL: the model has none at all. */
static const char *why_no_backend(const struct rd_sync *sync)
{
    const struct rd_generation *generation = sync->run->generation;
    const struct rd_runtime_can can =
        rd_runtime_can(sync->call->runtime, sync->model,
                       generation->backend_asked ? generation->backend : RD_BACKEND_COUNT_);
    if (!can.configured) {
        return generation->backend_asked ? "no backend of the kind asked for is configured for "
                                           "this model; GET /models tells which are available"
                                         : NULL;
    }
    if ((can.tasks >> sync->task & 1) == 0) {
        return "no backend that is configured for this model does this task";
    }
    return (can.media >> sync->media & 1) == 0
               ? "no backend that is configured for this model delivers this type; ask for another "
                 "one with Accept"
               : "no backend that is configured for this model both does this task and delivers "
                 "this type";
}

static void refuse(struct rd_sync *sync, enum rd_admit admit)
{
    const char *why = admit == RD_ADMIT_NO_BACKEND ? why_no_backend(sync) : NULL;
    if (why != NULL) {
        fail(sync, RD_ERR_MODEL_UNAVAILABLE, why);
        return;
    }
    rd_reply_refusal(sync->call, admit, &sync->limits);
}

/* ---- life of a call ---- */

static struct rd_waits *waits(const struct rd_sync *sync)
{
    return sync->call->gateway->waits;
}

static void drop(struct rd_call *call)
{
    struct rd_sync *sync = call->state;
    rd_run_free(sync->run);
    rd_submission_done(&sync->submission);
}

static void suspend(struct rd_sync *sync)
{
    if (!sync->suspended) {
        sync->suspended = true;
        rd_http_suspend(sync->call->exchange);
    }
}

/* What an engine says about itself is for the log. What it says about the request is for the
 * client; it begins with the field (engine.h). */
static void fail_run(struct rd_sync *sync, rd_err err)
{
    const char *text = sync->run->why.text;
    if (err == RD_ERR_INVALID_REQUEST) {
        const char *field = rd_text_starts(text, "image: ")  ? "image"
                            : rd_text_starts(text, "mask: ") ? "mask"
                                                             : "";
        rd_reply_problem(sync->call, err, field, "media",
                         field[0] == '\0' ? text : text + strlen(field) + 2);
        return;
    }
    if (rd_err_info(err)->http >= 500) {
        (void)snprintf(sync->call->error_text, sizeof sync->call->error_text, "%.255s", text);
    }
    fail(sync, err, NULL);
}

/* The run is over, and it was this client's to the end. */
static void over(struct rd_run *run, rd_err err)
{
    struct rd_sync *sync = run->ctx;
    struct rd_call *call = sync->call;
    if (!rd_waits_claim(waits(sync), &sync->wait)) {
        return; /* cannot be: others claim only what they have adopted */
    }
    call->engine_ns = run->engine_ns;
    if (err != RD_OK) {
        fail_run(sync, err);
        return;
    }
    rd_metrics_observe(&call->gateway->metrics.added,
                       rd_clock_mono_ns() - rd_http_started_ns(call->exchange) - run->engine_ns);
    struct rd_result result = {
        .count = run->generation->count,
        .seed = run->generation->seed,
        .device_ns = run->report.device_ns,
        .device_source = run->report.source,
        .device = run->report.device,
    };
    for (unsigned i = 0; i < result.count; i++) {
        result.hashes[i] = run->outputs[i].hash;
        result.sizes[i] = run->outputs[i].size;
    }
    rd_generate_answer(sync, &result);
}

/* ---- a run becomes a job ---- */

static bool may_adopt(struct rd_wait *wait)
{
    struct rd_sync *sync = (struct rd_sync *)wait;
    return rd_run_adopt(sync->run);
}

/* On the writer: the job is durable, or it is not. */
static void adopted(void *ctx, rd_err err, const struct rd_jobs_created *created)
{
    struct rd_sync *sync = ctx;
    if (err != RD_OK) {
        fail(sync, err, NULL);
        return;
    }
    rd_queue_reply_created(sync->call, created);
}

static rd_err text_of(struct rd_sync *sync, struct rd_run *run, struct rd_buf *ret)
{
    const struct rd_buf *body = rd_http_body(sync->call->exchange);
    const struct rd_submission_path path = {
        .format = rd_http_request_query(sync->call->exchange, "format"),
        .backend = rd_http_request_query(sync->call->exchange, "backend"),
    };
    return rd_submission_from_sync(run, rd_buf_cstr(body), body->len, &path, ret);
}

static void adopt(void *ctx)
{
    struct rd_sync *sync = ctx;
    struct rd_gateway *gateway = sync->call->gateway;
    struct rd_run *run = RD_STEAL(sync->run); /* rd_run_adopted gives it to the queue */
    char model[RD_MODEL_NAME_MAX];
    struct rd_jobs_ask ask;
    struct rd_job_write add;
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, RD_JOB_REQUEST_MAX);
    rd_err err = text_of(sync, run, &text);
    if (err == RD_OK) {
        const struct rd_submission none = {.lane = RD_LANE_NORMAL, .webhook = ""};
        rd_queue_ask(run, &sync->call->key, RD_LANE_NORMAL, model, &ask);
        rd_queue_row(run, &ask, &none, &text, &add);
        err = rd_jobs_adopt(gateway->jobs, &run->slot, &ask, &add, adopted, sync);
    }
    if (err != RD_OK) {
        fail(sync, err, NULL);
        rd_run_stop(run);
    } else {
        rd_run_attach(run);
    }
    rd_run_adopted(run);
}

static void late(struct rd_wait *wait)
{
    struct rd_sync *sync = (struct rd_sync *)wait;
    if (rd_pool_submit(sync->call->gateway->pool, adopt, sync) != RD_OK) {
        adopt(sync);
    }
}

/* ---- the client leaves ---- */

static void left(struct rd_wait *wait)
{
    struct rd_sync *sync = (struct rd_sync *)wait;
    if (sync->call->runtime->config->on_disconnect == RD_CONFIG_FINISH) {
        sync->wait.until_ns = 0; /* it becomes a job at the next look */
    } else {
        rd_run_stop(sync->run);
    }
}

static void reply_to_nobody(void *ctx)
{
    struct rd_sync *sync = ctx;
    rd_jobs_unwatch(sync->call->gateway->jobs, sync->watch);
    fail(sync, RD_ERR_CANCELLED, NULL);
}

static void gone(struct rd_call *call)
{
    struct rd_sync *sync = call->state;
    atomic_store(&sync->gone, true);
    if (!sync->queued) {
        rd_waits_visit(waits(sync), &sync->wait, left);
    } else if (rd_waits_claim(waits(sync), &sync->wait) &&
               rd_pool_submit(call->gateway->pool, reply_to_nobody, sync) != RD_OK) {
        rd_waits_put_back(waits(sync), &sync->wait); /* its time will be up */
    }
}

/* ---- launch ---- */

static void launch(struct rd_sync *sync)
{
    struct rd_call *call = sync->call;
    struct rd_run *run = sync->run;
    char model[RD_MODEL_NAME_MAX];
    struct rd_jobs_ask ask;
    if (atomic_load(&call->gateway->draining)) {
        fail(sync, RD_ERR_DRAINING, NULL);
        return;
    }
    rd_queue_ask(run, &call->key, RD_LANE_NORMAL, model, &ask);
    enum rd_admit admit = rd_jobs_take(call->gateway->jobs, &ask, &run->slot, &sync->limits);
    if (admit != RD_ADMIT_OK) {
        refuse(sync, admit);
        return;
    }
    suspend(sync);
    run->done = over;
    run->ctx = sync;
    sync->wait.until_ns =
        rd_clock_mono_ns() + call->runtime->config->sync_wait_ms * (second_ns / 1000);
    sync->wait.may = may_adopt;
    sync->wait.late = late;
    rd_waits_put_back(waits(sync), &sync->wait); /* nobody claims it before the run is over */
    if (atomic_load(&sync->gone)) {
        rd_waits_visit(waits(sync), &sync->wait, left);
    }
    rd_run_start(run);
}

/* ---- by the queue ---- */

static void answer_job_row(void *ctx, const struct rd_job_row *row)
{
    struct rd_sync *sync = ctx;
    struct rd_result result = {
        .seed = row->seed,
        .device_ns = row->device_ns,
        .device_source = (enum rd_device_time_source)row->device_source,
        .device = "",
    };
    char asset[RD_ID_ASSET_LEN + 1];
    if (row->status != RD_STATUS_COMPLETE) {
        rd_queue_reply_failed(sync->call, row);
        return;
    }
    sync->media = (enum rd_media)row->media;
    while (result.count < RD_LIMIT_COUNT && rd_job_output(row, result.count, asset)) {
        struct rd_cas_object object;
        uint8_t blake3[RD_HASH_LEN];
        rd_err err = rd_id_asset_parse(asset, strlen(asset), blake3)
                         ? rd_cas_open_object(sync->call->gateway->cas, blake3, &object)
                         : RD_ERR_CORRUPT;
        if (err != RD_OK) {
            fail(sync, err == RD_ERR_NOT_FOUND ? RD_ERR_GONE : err,
                 err == RD_ERR_NOT_FOUND ? "the job is complete, its output was removed since"
                                         : NULL);
            return;
        }
        result.hashes[result.count] = object.hash;
        result.sizes[result.count++] = object.size;
        rd_cas_release_object(&object);
    }
    rd_generate_answer(sync, &result);
}

/* On the pool: the job that the client waits for has ended. */
static void answer_job(void *ctx)
{
    struct rd_sync *sync = ctx;
    struct rd_gateway *gateway = sync->call->gateway;
    rd_jobs_unwatch(gateway->jobs, RD_STEAL(sync->watch));
    rd_err err =
        rd_store_job_get(gateway->store, sync->call->key.owner, sync->job_id, answer_job_row, sync);
    if (err != RD_OK) {
        fail(sync, err, NULL);
    }
}

static bool on_event(void *ctx, const struct rd_jobs_event *event)
{
    struct rd_sync *sync = ctx;
    if (!event->last || !rd_waits_claim(waits(sync), &sync->wait)) {
        return true;
    }
    if (rd_pool_submit(sync->call->gateway->pool, answer_job, sync) != RD_OK) {
        rd_waits_put_back(waits(sync), &sync->wait);
        return false; /* offered again soon */
    }
    return true;
}

static void waited_enough(struct rd_wait *wait)
{
    struct rd_sync *sync = (struct rd_sync *)wait;
    struct rd_jobs *jobs = sync->call->gateway->jobs;
    struct rd_jobs_created created = {.id = sync->job_id};
    rd_jobs_unwatch(jobs, RD_STEAL(sync->watch));
    rd_jobs_where(jobs, &created);
    rd_queue_reply_created(sync->call, &created);
}

/* On the writer: the submission is durable. */
static void submitted(void *ctx, rd_err err, const struct rd_jobs_created *created)
{
    struct rd_sync *sync = ctx;
    struct rd_gateway *gateway = sync->call->gateway;
    if (created != NULL && created->admit != RD_ADMIT_OK) {
        rd_reply_refusal(sync->call, created->admit, &sync->limits);
        return;
    }
    if (err != RD_OK) {
        fail(sync, err == RD_ERR_CONFLICT ? RD_ERR_IDEMPOTENCY : err, NULL);
        return;
    }
    if (sync->wait_s == 0) {
        rd_http_reply_header(sync->call->exchange, "Preference-Applied", "respond-async");
        rd_reply_limits(sync->call, &sync->limits);
        rd_queue_reply_created(sync->call, created);
        return;
    }
    memcpy(sync->job_id, created->id, strlen(created->id) + 1);
    /* Who left before `queued` was set has not claimed the wait: its time is up. */
    sync->wait.until_ns =
        atomic_load(&sync->gone) ? 0 : rd_clock_mono_ns() + sync->wait_s * second_ns;
    sync->wait.late = waited_enough;
    sync->wait.leaves = true;
    rd_err watching = rd_jobs_watch(gateway->jobs, sync->call->key.owner, created->id, 0, on_event,
                                    sync, &sync->watch);
    if (watching == RD_OK && rd_waits_add(waits(sync), &sync->wait)) {
        return; /* an event, the time, or gone() ends it; perhaps it has already */
    }
    /* It has ended, or the client is gone, or there is nothing to watch: nobody else answers. */
    if (rd_pool_submit(gateway->pool, answer_job, sync) != RD_OK) {
        rd_jobs_unwatch(gateway->jobs, RD_STEAL(sync->watch));
        fail(sync, RD_ERR_CAPACITY, NULL);
    }
}

static void queue_it(struct rd_sync *sync)
{
    struct rd_call *call = sync->call;
    struct rd_run *run = sync->run;
    char model[RD_MODEL_NAME_MAX];
    struct rd_jobs_ask ask;
    struct rd_job_write add;
    struct rd_problems problems = {.count = 0};
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, RD_JOB_REQUEST_MAX);
    if (atomic_load(&call->gateway->draining)) {
        fail(sync, RD_ERR_DRAINING, NULL);
        return;
    }
    rd_err err = text_of(sync, run, &text);
    if (err == RD_OK) {
        err = rd_submission_read(run, text.data, text.len,
                                 rd_http_request_header(call->exchange, "Idempotency-Key"),
                                 run->generation->seed, &sync->submission, &problems);
    }
    if (err != RD_OK) {
        rd_reply_problems(call, err, &problems);
        return;
    }
    suspend(sync);
    sync->queued = true;
    rd_queue_ask(run, &call->key, sync->submission.lane, model, &ask);
    rd_queue_row(run, &ask, &sync->submission, &text, &add);
    enum rd_admit admit =
        rd_jobs_submit(call->gateway->jobs, &ask, &add, submitted, sync, &sync->limits);
    if (admit != RD_ADMIT_OK) {
        rd_reply_refusal(call, admit, &sync->limits);
    }
}

/* ---- from the request to a run ---- */

static _Atomic unsigned *fetches_of(const struct rd_sync *sync)
{
    struct rd_gateway *gateway = sync->call->gateway;
    return &gateway->fetching[sync->call->key.owner %
                              (sizeof gateway->fetching / sizeof gateway->fetching[0])];
}

static void load_and_launch(void *ctx)
{
    struct rd_sync *sync = ctx;
    struct rd_run *run = sync->run;
    struct rd_problems problems = {.count = 0};
    const struct rd_sources_for of = {sync->call->gateway, run->runtime, &run->arena,
                                      sync->call->exchange};
    rd_err err = atomic_load(&sync->gone)
                     ? RD_ERR_CANCELLED
                     : rd_sources_load(&of, run->generation, &run->sources, &problems);
    if (sync->fetching) {
        sync->fetching = false;
        atomic_fetch_sub(fetches_of(sync), 1);
    }
    if (err == RD_ERR_INVALID_REQUEST) {
        rd_reply_problems(sync->call, err, &problems);
    } else if (err != RD_OK) {
        fail(sync, err, NULL);
    } else {
        launch(sync);
    }
}

/* Other people's hosts may take half a minute, so their wait has threads of its own, and one tenant
 * only some of them: nobody's upload or key waits behind it. */
static void load_from_afar(struct rd_sync *sync)
{
    rd_err err = RD_ERR_RATE_LIMITED;
    suspend(sync);
    sync->fetching = true;
    if (atomic_fetch_add(fetches_of(sync), 1) < RD_LIMIT_FETCHES_TENANT) {
        err = rd_pool_submit(sync->call->gateway->fetchers, load_and_launch, sync);
    }
    if (err != RD_OK) {
        atomic_fetch_sub(fetches_of(sync), 1);
        fail(sync, err,
             err == RD_ERR_RATE_LIMITED ? "too many source images of this tenant are being fetched"
                                        : NULL);
    }
}

/* RFC 7240. False: it is an ordinary sync call. */
static bool asks_for_queue(struct rd_sync *sync)
{
    struct rd_http_exchange *x = sync->call->exchange;
    const char *prefer = rd_http_request_header(x, "Prefer");
    bool key = rd_http_request_header(x, "Idempotency-Key") != NULL;
    bool async = false;
    unsigned wait = 0;
    for (const char *at = prefer; at != NULL && *at != '\0';) {
        at += strspn(at, " \t,");
        size_t len = strcspn(at, ",;");
        uint64_t seconds;
        if (len >= 13 && strncasecmp(at, "respond-async", 13) == 0) {
            async = true;
        } else if (len > 5 && strncasecmp(at, "wait=", 5) == 0 &&
                   rd_text_u64(at + 5, len - 5 - (at[len - 1] == ' '), &seconds)) {
            wait = seconds > PREFER_WAIT_MAX_S ? PREFER_WAIT_MAX_S : (unsigned)seconds;
            async = async || wait == 0;
        }
        at += strcspn(at, ",");
    }
    sync->wait_s = wait;
    if (!async && wait == 0 && key) {
        sync->wait_s = (unsigned)(sync->call->runtime->config->sync_wait_ms / 1000) + 1;
    }
    return async || sync->wait_s > 0;
}

static void parse(struct rd_sync *sync)
{
    struct rd_call *call = sync->call;
    struct rd_run *run = sync->run;
    const struct rd_buf *body = rd_http_body(call->exchange);
    struct rd_request_context context = {
        .format = rd_http_request_query(call->exchange, "format"),
        .backend = rd_http_request_query(call->exchange, "backend"),
    };
    rd_id_random(&context.random_seed, sizeof context.random_seed);
    struct rd_problems problems = {.count = 0};
    rd_err err = rd_run_parse(run, rd_buf_cstr(body), body->len, &context, &problems);
    if (err != RD_OK) {
        rd_reply_problems(call, err, &problems);
        return;
    }
    sync->picture = run->generation->format;
    if (!rd_http_hold(call->exchange,
                      run->generation->image.bytes_len + run->generation->mask.bytes_len)) {
        fail(sync, RD_ERR_NO_MEMORY, NULL); /* what data: URIs were decoded to */
        return;
    }
    if (asks_for_queue(sync)) {
        queue_it(sync); /* a job loads its pictures when it runs */
        return;
    }
    if (!rd_sources_needed(run->generation)) {
        launch(sync);
        return;
    }
    if (rd_sources_far(run->generation)) {
        load_from_afar(sync);
        return;
    }
    if (sync->suspended) { /* already on the pool */
        load_and_launch(sync);
        return;
    }
    suspend(sync);
    err = rd_pool_submit(call->gateway->pool, load_and_launch, sync);
    if (err != RD_OK) {
        fail(sync, err, NULL);
    }
}

static void parse_on_pool(void *ctx)
{
    parse(ctx);
}

/* Which model and task the path names; replies itself when there is none. */
static bool resolve_path(struct rd_sync *sync)
{
    struct rd_call *call = sync->call;
    if (!rd_modality_parse(call->args[0], &sync->modality)) {
        fail(sync, RD_ERR_NOT_FOUND, "a generation's path begins with /image or /video");
        return false;
    }
    if (!rd_task_parse(call->args[3], &sync->task) ||
        rd_task_modality(sync->task) != sync->modality) {
        fail(sync, RD_ERR_NOT_FOUND,
             sync->modality == RD_MODALITY_IMAGE ? "image tasks are t2i, i2i and edit"
                                                 : "video tasks are t2v and i2v");
        return false;
    }
    sync->model = rd_catalogue_find(call->runtime->catalogue, call->args[1], call->args[2]);
    if (sync->model == NULL || (sync->model->modalities & (1u << sync->modality)) == 0) {
        fail(sync, RD_ERR_MODEL_NOT_FOUND, NULL);
        return false;
    }
    if ((sync->model->tasks & (1u << sync->task)) == 0) {
        fail(sync, RD_ERR_NOT_FOUND,
             "this model does not do this task; GET /models tells which it does");
        return false;
    }
    call->log_model = rd_arena_printf(rd_http_arena(call->exchange), "%s/%s", sync->model->family,
                                      sync->model->name);
    return true;
}

/* The run keeps the runtime that the path was resolved in. */
static bool make_run(struct rd_sync *sync)
{
    struct rd_call *call = sync->call;
    const char *trace = rd_call_traceparent(call);
    struct rd_run *run = rd_run_new(call->gateway, call->runtime);
    if (run == NULL) {
        fail(sync, RD_ERR_NO_MEMORY, NULL);
        return false;
    }
    sync->run = run;
    run->owner = call->key.owner;
    run->model = sync->model;
    run->modality = sync->modality;
    run->task = sync->task;
    run->media = sync->media;
    memcpy(run->request_id, rd_http_request_id(call->exchange),
           strlen(rd_http_request_id(call->exchange)) + 1);
    (void)snprintf(run->traceparent, sizeof run->traceparent, "%s", trace == NULL ? "" : trace);
    return true;
}

void rd_generate_handle(struct rd_call *call)
{
    struct rd_sync *sync = rd_arena_alloc(rd_http_arena(call->exchange), sizeof *sync);
    if (sync == NULL) {
        rd_reply_error(call, RD_ERR_NO_MEMORY, NULL, NULL);
        return;
    }
    sync->call = call;
    call->state = sync;
    call->drop = drop;
    call->gone = gone;
    if (!resolve_path(sync) || !rd_generate_negotiate(sync) || !make_run(sync)) {
        return;
    }
    if (rd_http_body(call->exchange)->len <= PARSE_INLINE_MAX) {
        parse(sync);
        return;
    }
    suspend(sync);
    rd_err err = rd_pool_submit(call->gateway->pool, parse_on_pool, sync);
    if (err != RD_OK) {
        fail(sync, err, NULL);
    }
}
