/* SPDX-License-Identifier: Apache-2.0
 *
 * The sync tier: POST a generation, receive the bytes. One request's way through here:
 *
 *   prepare   negotiate the type, parse and validate                  HTTP thread (large bodies:
 * pool) load      read or fetch source images                             pool, or the fetchers
 *   launch    take a slot, start the engine, suspend the exchange     HTTP thread or pool
 *   run       the engine delivers bytes into the store                engine's thread
 *   commit    statements written, outputs committed together          engine's thread
 *   answer    when the store says that all of them count              store's committer thread
 *
 * Nothing of a run that failed is stored. `pending` counts what the answer waits for: the engine's
 * done() and each commit; whoever brings it to zero answers. A client that leaves cancels the run.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "gateway/generate.h"
#include "gateway/sources.h"

/* A body up to this size is parsed on the HTTP thread (a few microseconds); larger ones hold
 * pictures. */
enum { PARSE_INLINE_MAX = 65536, STATEMENT_MAX = 65536 };

static void launch(struct rd_run *run);

/* ---- refusing ---- */

static void fail(struct rd_run *run, rd_err err, const char *message)
{
    rd_reply_error(run->call, err, message, NULL);
}

static void fail_problems(struct rd_run *run, rd_err err, const struct rd_problems *problems)
{
    rd_reply_problems(run->call, err, problems);
}

static void refuse_admission(struct rd_run *run, enum rd_admission admission)
{
    struct rd_metrics *metrics = &run->call->gateway->metrics;
    if (admission == RD_ADMISSION_FULL) {
        atomic_fetch_add(&metrics->refused_capacity, 1);
        fail(run, RD_ERR_CAPACITY, NULL);
        return;
    }
    atomic_fetch_add(&metrics->refused_unavailable, 1);
    if (admission == RD_ADMISSION_NOT_READY) {
        fail(run, RD_ERR_NOT_READY, NULL);
        return;
    }
    fail(run, RD_ERR_MODEL_UNAVAILABLE,
         run->generation->backend_asked ? "no backend of the kind asked for is configured for this "
                                          "model; GET /models tells which are available"
                                        : NULL);
}

/* ---- life of a run ---- */

static void drop(struct rd_call *call)
{
    struct rd_run *run = call->state;
    for (unsigned i = 0; i < RD_LIMIT_COUNT; i++) {
        rd_cas_abort(run->outputs[i].writer);
        rd_buf_done(&run->outputs[i].statement);
    }
    rd_sources_done(&run->sources);
    (void)pthread_mutex_destroy(&run->lock);
}

static void gone(struct rd_call *call)
{
    struct rd_run *run = call->state;
    pthread_mutex_lock(&run->lock);
    run->client_gone = true;
    if (run->engine_run != NULL) {
        run->backend->ops->cancel(run->backend->engine, run->engine_run);
    }
    pthread_mutex_unlock(&run->lock);
}

static void suspend(struct rd_run *run)
{
    if (!run->suspended) {
        run->suspended = true;
        rd_http_suspend(run->call->exchange);
    }
}

/* What an engine says about itself is for the log. What it says about the request is for the
 * client; it begins with the field (engine.h). */
static void fail_run(struct rd_run *run, rd_err err)
{
    struct rd_metrics *metrics = &run->call->gateway->metrics;
    const char *text = run->why.text;
    if (err == RD_ERR_CANCELLED) {
        atomic_fetch_add(&metrics->generations_cancelled, 1);
    } else if (rd_err_info(err)->http >= 500) {
        atomic_fetch_add(&metrics->generations_failed, 1);
        (void)snprintf(run->call->error_text, sizeof run->call->error_text, "%.255s", text);
    } else if (err == RD_ERR_INVALID_REQUEST) {
        const char *field = rd_text_starts(text, "image: ")  ? "image"
                            : rd_text_starts(text, "mask: ") ? "mask"
                                                             : "";
        rd_reply_problem(run->call, err, field, "media",
                         field[0] == '\0' ? text : text + strlen(field) + 2);
        return;
    }
    fail(run, err, NULL);
}

/* One of the things that the answer waits for is done. */
static void settle(struct rd_run *run, rd_err err)
{
    if (err != RD_OK) {
        int none = RD_OK;
        (void)atomic_compare_exchange_strong(&run->err, &none, (int)err);
    }
    if (atomic_fetch_sub(&run->pending, 1) != 1) {
        return;
    }
    struct rd_metrics *metrics = &run->call->gateway->metrics;
    rd_err result = (rd_err)atomic_load(&run->err);
    if (result != RD_OK) {
        fail_run(run, result);
        return;
    }
    atomic_fetch_add(&metrics->generations_ok, 1);
    if (run->report.source != RD_DEVICE_TIME_UNKNOWN) {
        atomic_fetch_add(&metrics->device_ns, run->report.device_ns);
    }
    rd_metrics_observe(&metrics->added, rd_clock_mono_ns() -
                                            rd_http_started_ns(run->call->exchange) -
                                            run->call->engine_ns);
    rd_generate_answer(run);
}

static void committed(void *ctx, rd_err err)
{
    const struct rd_output *output = ctx;
    if (err == RD_OK) {
        atomic_fetch_add(&output->run->call->gateway->metrics.output_bytes, output->size);
    }
    settle(output->run, err);
}

/* ---- what the engine delivers ---- */

static rd_err on_begin(void *ctx, unsigned index, enum rd_media media, uint64_t size_hint)
{
    struct rd_run *run = ctx;
    if (index >= run->generation->count || media != run->generation->media) {
        return rd_why_set(&run->why, RD_ERR_BACKEND_FAILED, "the engine broke its contract");
    }
    return rd_cas_begin(run->call->gateway->cas, run->call->key.owner, size_hint,
                        &run->outputs[index].writer);
}

static rd_err on_data(void *ctx, unsigned index, const void *bytes, size_t len)
{
    struct rd_run *run = ctx;
    return rd_cas_data(run->outputs[index].writer, bytes, len);
}

static rd_err on_end(void *ctx, unsigned index)
{
    struct rd_run *run = ctx;
    struct rd_output *output = &run->outputs[index];
    output->size = rd_cas_written(output->writer);
    RD_TRY(rd_cas_seal(output->writer, &output->hash));
    output->sealed = true;
    return RD_OK;
}

static rd_err write_statement(struct rd_run *run, unsigned index)
{
    struct rd_output *output = &run->outputs[index];
    if (!output->sealed) {
        return rd_why_set(&run->why, RD_ERR_BACKEND_FAILED, "the engine delivered too few outputs");
    }
    const struct rd_call *call = run->call;
    uint8_t salt[RD_SALT_LEN];
    rd_attest_salt(call, rd_http_request_id(call->exchange), salt);
    const struct rd_statement_facts facts = {
        .hash = &output->hash,
        .size = output->size,
        .generation = run->generation,
        .index = index,
        .request_id = rd_http_request_id(call->exchange),
        .builder_id = call->gateway->public_url,
        .engine = run->backend->config->engine.name,
        .report = &run->report,
        .started_ms = run->started_ms,
        .finished_ms = rd_clock_wall_ms(),
        .prompt_salt = salt,
    };
    return rd_statement_write(&output->statement, &facts);
}

static void commit_all(struct rd_run *run)
{
    unsigned count = run->generation->count;
    for (unsigned i = 0; i < count; i++) {
        rd_err err = write_statement(run, i);
        if (err != RD_OK) {
            settle(run, err);
            return;
        }
    }
    atomic_fetch_add(&run->pending, (int)count);
    for (unsigned i = 0; i < count; i++) {
        struct rd_output *output = &run->outputs[i];
        const struct rd_cas_commit commit = {
            .content_type = rd_media_type(run->generation->media),
            .meta = rd_buf_cstr(&output->statement),
            .meta_len = output->statement.len,
            .want_note = true,
            .done = committed,
            .ctx = output,
        };
        rd_err err = rd_cas_commit(RD_STEAL(output->writer), &commit);
        if (err != RD_OK) {
            settle(run, err);
        }
    }
    settle(run, RD_OK);
}

static void on_done(void *ctx, rd_err err, const struct rd_why *why,
                    const struct rd_engine_report *report)
{
    struct rd_run *run = ctx;
    pthread_mutex_lock(&run->lock);
    run->engine_run = NULL;
    run->engine_done = true;
    pthread_mutex_unlock(&run->lock);
    rd_runtime_release(run->call->runtime, run->backend);
    run->call->engine_ns = rd_clock_mono_ns() - run->engine_started_ns;
    run->report = *report;
    if (err != RD_OK) {
        if (why != NULL && run->why.text[0] == '\0') {
            run->why = *why;
        }
        settle(run, err);
        return;
    }
    commit_all(run);
}

static void launch(struct rd_run *run)
{
    struct rd_call *call = run->call;
    struct rd_generation *generation = run->generation;
    if (atomic_load(&call->gateway->draining)) {
        fail(run, RD_ERR_DRAINING, NULL);
        return;
    }
    enum rd_backend_kind kind = generation->backend_asked ? generation->backend : RD_BACKEND_COUNT_;
    enum rd_admission admission = rd_runtime_take(call->runtime, run->model, kind, &run->backend);
    if (admission != RD_ADMISSION_TAKE) {
        refuse_admission(run, admission);
        return;
    }
    suspend(run);
    const struct rd_engine_job job = {
        .generation = generation,
        .request_id = rd_http_request_id(call->exchange),
        .traceparent = rd_call_traceparent(call),
        .sink = {.ctx = run, .begin = on_begin, .data = on_data, .end = on_end, .done = on_done},
    };
    atomic_store(&run->pending, 2); /* the engine's done(), and this function's end */
    run->started_ms = rd_clock_wall_ms();
    run->engine_started_ns = rd_clock_mono_ns();
    struct rd_engine_run *started = NULL;
    pthread_mutex_lock(&run->lock);
    rd_err err = run->client_gone ? RD_ERR_CANCELLED
                                  : run->backend->ops->start(run->backend->engine, &job, &started);
    if (err == RD_OK) {
        run->engine_run = started; /* on_done waits for the lock before it clears this */
    }
    pthread_mutex_unlock(&run->lock);
    if (err != RD_OK) {
        rd_runtime_release(call->runtime, run->backend);
        settle(run, err);
    }
    settle(run, RD_OK);
}

/* ---- from the request to a run ---- */

static _Atomic unsigned *fetches_of(const struct rd_run *run)
{
    struct rd_gateway *gateway = run->call->gateway;
    return &gateway->fetching[run->call->key.owner %
                              (sizeof gateway->fetching / sizeof gateway->fetching[0])];
}

static bool client_has_left(struct rd_run *run)
{
    pthread_mutex_lock(&run->lock);
    bool left = run->client_gone;
    pthread_mutex_unlock(&run->lock);
    return left;
}

static void load_and_launch(void *ctx)
{
    struct rd_run *run = ctx;
    struct rd_problems problems = {.count = 0};
    rd_err err = client_has_left(run)
                     ? RD_ERR_CANCELLED
                     : rd_sources_load(run->call, run->generation, &run->sources, &problems);
    if (run->fetching) {
        run->fetching = false;
        atomic_fetch_sub(fetches_of(run), 1);
    }
    if (err == RD_ERR_INVALID_REQUEST) {
        fail_problems(run, err, &problems);
    } else if (err != RD_OK) {
        fail(run, err, NULL);
    } else {
        launch(run);
    }
}

/* Other people's hosts may take half a minute, so their wait has threads of its own, and one tenant
 * only some of them: nobody's upload or key waits behind it. */
static void load_from_afar(struct rd_run *run)
{
    rd_err err = RD_ERR_RATE_LIMITED;
    suspend(run);
    run->fetching = true;
    if (atomic_fetch_add(fetches_of(run), 1) < RD_LIMIT_FETCHES_TENANT) {
        err = rd_pool_submit(run->call->gateway->fetchers, load_and_launch, run);
    }
    if (err != RD_OK) {
        atomic_fetch_sub(fetches_of(run), 1);
        fail(run, err,
             err == RD_ERR_RATE_LIMITED ? "too many source images of this tenant are being fetched"
                                        : NULL);
    }
}

static void parse(struct rd_run *run)
{
    struct rd_call *call = run->call;
    const struct rd_buf *body = rd_http_body(call->exchange);
    uint32_t random_seed;
    rd_id_random(&random_seed, sizeof random_seed);
    struct rd_request_context context = {
        .model = run->model,
        .modality = run->modality,
        .task = run->task,
        .format = rd_http_request_query(call->exchange, "format"),
        .backend = rd_http_request_query(call->exchange, "backend"),
        .media = run->media,
        .public_url = call->gateway->public_url,
        .random_seed = random_seed,
    };
    context.loras_count = rd_catalogue_loras(call->runtime->catalogue, &context.loras);
    struct rd_problems problems = {.count = 0};
    rd_err err = rd_request_parse(rd_buf_cstr(body), body->len, &context,
                                  rd_http_arena(call->exchange), &run->generation, &problems);
    if (err != RD_OK) {
        fail_problems(run, err, &problems);
        return;
    }
    if (!rd_http_hold(call->exchange,
                      run->generation->image.bytes_len + run->generation->mask.bytes_len)) {
        fail(run, RD_ERR_NO_MEMORY, NULL); /* what data: URIs were decoded to */
        return;
    }
    if (!rd_sources_needed(run->generation)) {
        launch(run);
        return;
    }
    if (rd_sources_far(run->generation)) {
        load_from_afar(run);
        return;
    }
    if (run->suspended) { /* already on the pool */
        load_and_launch(run);
        return;
    }
    suspend(run);
    err = rd_pool_submit(call->gateway->pool, load_and_launch, run);
    if (err != RD_OK) {
        fail(run, err, NULL);
    }
}

static void parse_on_pool(void *ctx)
{
    parse(ctx);
}

/* Which model and task the path names; replies itself when there is none. */
static bool resolve_path(struct rd_run *run)
{
    struct rd_call *call = run->call;
    if (!rd_modality_parse(call->args[0], &run->modality)) {
        fail(run, RD_ERR_NOT_FOUND, "a generation's path begins with /image or /video");
        return false;
    }
    if (!rd_task_parse(call->args[3], &run->task) || rd_task_modality(run->task) != run->modality) {
        fail(run, RD_ERR_NOT_FOUND,
             run->modality == RD_MODALITY_IMAGE ? "image tasks are t2i, i2i and edit"
                                                : "video tasks are t2v and i2v");
        return false;
    }
    run->model = rd_catalogue_find(call->runtime->catalogue, call->args[1], call->args[2]);
    if (run->model == NULL || (run->model->modalities & (1u << run->modality)) == 0) {
        fail(run, RD_ERR_MODEL_NOT_FOUND, NULL);
        return false;
    }
    if ((run->model->tasks & (1u << run->task)) == 0) {
        fail(run, RD_ERR_NOT_FOUND,
             "this model does not do this task; GET /models tells which it does");
        return false;
    }
    call->log_model = rd_arena_printf(rd_http_arena(call->exchange), "%s/%s", run->model->family,
                                      run->model->name);
    return true;
}

void rd_generate_handle(struct rd_call *call)
{
    struct rd_run *run = rd_arena_alloc(rd_http_arena(call->exchange), sizeof *run);
    if (run == NULL || pthread_mutex_init(&run->lock, NULL) != 0) {
        rd_reply_error(call, RD_ERR_NO_MEMORY, NULL, NULL);
        return;
    }
    run->call = call;
    for (unsigned i = 0; i < RD_LIMIT_COUNT; i++) {
        run->outputs[i].run = run;
        rd_buf_init(&run->outputs[i].statement, STATEMENT_MAX);
    }
    call->state = run;
    call->drop = drop;
    call->gone = gone;
    if (!resolve_path(run) || !rd_generate_negotiate(run)) {
        return;
    }
    if (rd_http_body(call->exchange)->len <= PARSE_INLINE_MAX) {
        parse(run);
        return;
    }
    suspend(run);
    rd_err err = rd_pool_submit(call->gateway->pool, parse_on_pool, run);
    if (err != RD_OK) {
        fail(run, err, NULL);
    }
}
