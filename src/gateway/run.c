/* SPDX-License-Identifier: Apache-2.0
 *
 * Computing one generation. See run.h. */
#include "gateway/run.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"

enum { STATEMENT_MAX = 65536 };

struct rd_run *rd_run_new(struct rd_gateway *gateway, struct rd_runtime *runtime)
{
    struct rd_run *run = rd_mem_alloc(sizeof *run);
    if (run == NULL || pthread_mutex_init(&run->lock, NULL) != 0) {
        rd_mem_free(run);
        return NULL;
    }
    run->gateway = gateway;
    run->runtime = runtime;
    run->priority = RD_LANE_NORMAL + 1;
    atomic_fetch_add(&runtime->references, 1);
    rd_arena_init(&run->arena, RD_REQUEST_ARENA_MAX);
    for (unsigned i = 0; i < RD_LIMIT_COUNT; i++) {
        run->outputs[i].run = run;
        rd_buf_init(&run->outputs[i].statement, STATEMENT_MAX);
    }
    return run;
}

/* Nothing was delivered. */
static void drop_outputs(struct rd_run *run)
{
    for (unsigned i = 0; i < RD_LIMIT_COUNT; i++) {
        struct rd_output *output = &run->outputs[i];
        rd_cas_abort(RD_STEAL(output->writer));
        rd_media_check_free(RD_STEAL(output->check));
        output->sealed = false;
    }
}

void rd_run_free(struct rd_run *run)
{
    if (run == NULL) {
        return;
    }
    drop_outputs(run);
    for (unsigned i = 0; i < RD_LIMIT_COUNT; i++) {
        rd_buf_done(&run->outputs[i].statement);
    }
    rd_sources_done(&run->sources);
    rd_arena_done(&run->arena);
    rd_runtime_unref(run->engine_runtime);
    rd_runtime_unref(run->runtime);
    (void)pthread_mutex_destroy(&run->lock);
    rd_mem_free(run);
}

rd_err rd_run_parse(struct rd_run *run, const char *body, size_t len,
                    struct rd_request_context *context, struct rd_problems *problems)
{
    context->model = run->model;
    context->modality = run->modality;
    context->task = run->task;
    context->media = run->media;
    context->public_url = run->gateway->public_url;
    context->loras_count = rd_catalogue_loras(run->runtime->catalogue, &context->loras);
    return rd_request_parse(body, len, context, &run->arena, &run->generation, problems);
}

uint32_t rd_run_units(const struct rd_generation *generation)
{
    uint32_t pictures = generation->modality == RD_MODALITY_VIDEO
                            ? (uint32_t)ceil(generation->duration)
                            : generation->count;
    uint32_t units = generation->steps * pictures;
    return units == 0 ? 1 : units;
}

const char *rd_run_message(const struct rd_run *run, rd_err err)
{
    return err == RD_ERR_INVALID_REQUEST ? run->why.text : "";
}

/* ---- the end ---- */

/* What was delivered and refused is not asked for again: the model has worked for it, and would do
 * so as long again. */
static enum rd_outcome outcome_of(const struct rd_run *run, rd_err err)
{
    bool final = run->report.final || run->refused;
    return err == RD_OK                            ? RD_OUTCOME_OK
           : err == RD_ERR_CANCELLED               ? RD_OUTCOME_CANCELLED
           : rd_err_info(err)->retriable && !final ? RD_OUTCOME_FAILED_AGAIN
                                                   : RD_OUTCOME_FAILED;
}

/* What the end says about the backend. What the gateway itself could not do says nothing. */
static enum rd_verdict verdict_of(const struct rd_run *run, rd_err err)
{
    const bool backends = err == RD_ERR_BACKEND_FAILED || err == RD_ERR_BACKEND_TIMEOUT ||
                          err == RD_ERR_NOT_READY || err == RD_ERR_CAPACITY;
    return err == RD_OK                         ? RD_VERDICT_GOOD
           : backends && !run->report.faultless ? RD_VERDICT_BAD
                                                : RD_VERDICT_SAYS_NOTHING;
}

/* Whether its device time is the owner's: of what was made, or ran until it was cancelled. */
static bool charged(rd_err err)
{
    return err == RD_OK || err == RD_ERR_CANCELLED;
}

static void tell_queue(struct rd_run *run, rd_err err)
{
    RD_AUTO_BUF struct rd_buf assets;
    rd_buf_init(&assets, RD_KIB(1));
    unsigned count = err == RD_OK ? run->generation->count : 0;
    rd_buf_char(&assets, '[');
    for (unsigned i = 0; i < count; i++) {
        char asset[RD_ID_ASSET_LEN + 1];
        rd_id_asset(run->outputs[i].hash.blake3, asset);
        rd_buf_printf(&assets, "%s\"%s\"", i == 0 ? "" : ",", asset);
    }
    rd_buf_char(&assets, ']');
    err = rd_buf_err(&assets) != RD_OK ? RD_ERR_NO_MEMORY : err;
    const char *message = rd_run_message(run, err);
    const struct rd_jobs_outcome outcome = {
        .outcome = outcome_of(run, err),
        .verdict = verdict_of(run, err),
        .err = err,
        .message = message[0] == '\0' ? NULL : message,
        .assets = rd_buf_cstr(&assets),
        .device_ns = run->report.device_ns,
        /* the queue learns from all, the owner pays for none that failed */
        .device_source = charged(err) ? (int)run->report.source : RD_DEVICE_TIME_UNKNOWN,
    };
    (void)rd_jobs_done(run->gateway->jobs, &run->slot, &outcome, NULL);
    rd_jobs_slot_free(run->gateway->jobs, run->slot.backend);
}

static void count(struct rd_run *run, rd_err err)
{
    struct rd_metrics *metrics = &run->gateway->metrics;
    if (err == RD_OK) {
        atomic_fetch_add(&metrics->generations_ok, 1);
    } else if (err == RD_ERR_CANCELLED) {
        atomic_fetch_add(&metrics->generations_cancelled, 1);
    } else if (rd_err_info(err)->http >= 500) {
        atomic_fetch_add(&metrics->generations_failed, 1);
    }
    if (charged(err) && run->report.source != RD_DEVICE_TIME_UNKNOWN) {
        atomic_fetch_add(&metrics->device_ns, run->report.device_ns);
    }
}

/* One of the things that the end waits for is done. */
static void settle(struct rd_run *run, rd_err err)
{
    if (err != RD_OK) {
        int none = RD_OK;
        (void)atomic_compare_exchange_strong(&run->err, &none, (int)err);
    }
    if (atomic_fetch_sub(&run->pending, 1) != 1) {
        return;
    }
    rd_err result = (rd_err)atomic_load(&run->err);
    count(run, result);
    if (atomic_load(&run->whose) == RD_RUN_QUEUES) {
        tell_queue(run, result);
        rd_run_free(run);
        return;
    }
    run->done(run, result);
}

static void committed(void *ctx, rd_err err)
{
    const struct rd_output *output = ctx;
    if (err == RD_OK) {
        atomic_fetch_add(&output->run->gateway->metrics.output_bytes, output->size);
    }
    settle(output->run, err);
}

/* ---- what the engine delivers ---- */

static rd_err on_begin(void *ctx, unsigned index, enum rd_media media, uint64_t size_hint)
{
    struct rd_run *run = ctx;
    const struct rd_generation *generation = run->generation;
    if (index >= generation->count || media != generation->media ||
        run->outputs[index].writer != NULL) {
        return rd_why_set(&run->why, RD_ERR_BACKEND_FAILED, "the engine broke its contract");
    }
    if (!run->trusted) {
        const struct rd_media_expected expected = {media, generation->format->width,
                                                   generation->format->height};
        RD_TRY(rd_media_check_new(&expected, &run->outputs[index].check));
    }
    return rd_cas_begin(run->gateway->cas, run->owner, size_hint, &run->outputs[index].writer);
}

static rd_err looked_at(struct rd_run *run, rd_err err)
{
    run->refused = err == RD_ERR_BACKEND_FAILED;
    return err;
}

static rd_err on_data(void *ctx, unsigned index, const void *bytes, size_t len)
{
    struct rd_run *run = ctx;
    struct rd_output *output = &run->outputs[index];
    if (output->check != NULL) {
        RD_TRY(looked_at(run, rd_media_check_feed(output->check, bytes, len, &run->why)));
    }
    return rd_cas_data(output->writer, bytes, len);
}

static rd_err on_end(void *ctx, unsigned index)
{
    struct rd_run *run = ctx;
    struct rd_output *output = &run->outputs[index];
    if (output->check != NULL) {
        RD_TRY(looked_at(run, rd_media_check_finish(output->check, &run->why)));
        rd_media_check_free(RD_STEAL(output->check));
    }
    output->size = rd_cas_written(output->writer);
    RD_TRY(rd_cas_seal(output->writer, &output->hash));
    output->sealed = true;
    return RD_OK;
}

static void on_progress(void *ctx, double fraction, unsigned step)
{
    struct rd_run *run = ctx;
    if (atomic_load(&run->whose) == RD_RUN_QUEUES) {
        rd_jobs_progress(run->gateway->jobs, &run->slot, fraction, step);
    }
}

static void on_preview(void *ctx, enum rd_media media, const void *bytes, size_t len)
{
    struct rd_run *run = ctx;
    if (atomic_load(&run->whose) != RD_RUN_QUEUES ||
        !rd_jobs_watched(run->gateway->jobs, &run->slot)) {
        return;
    }
    RD_AUTO_BUF struct rd_buf uri;
    rd_buf_init(&uri, RD_JOBS_EVENT_MAX);
    rd_buf_printf(&uri, "data:%s;base64,", rd_media_type(media));
    char *room = rd_buf_reserve(&uri, RD_TEXT_BASE64_LEN(len) + 1);
    if (room != NULL) { /* a larger one is left out */
        rd_text_base64(bytes, len, room);
        rd_buf_commit(&uri, RD_TEXT_BASE64_LEN(len));
        rd_jobs_preview(run->gateway->jobs, &run->slot, uri.data, uri.len);
    }
}

static rd_err write_statement(struct rd_run *run, unsigned index)
{
    struct rd_output *output = &run->outputs[index];
    if (!output->sealed) {
        return rd_why_set(&run->why, RD_ERR_BACKEND_FAILED, "the engine delivered too few outputs");
    }
    uint8_t salt[RD_SALT_LEN];
    rd_attest_salt(run->gateway, run->owner, run->request_id, salt);
    const struct rd_statement_facts facts = {
        .hash = &output->hash,
        .size = output->size,
        .generation = run->generation,
        .index = index,
        .request_id = run->request_id,
        .builder_id = run->gateway->public_url,
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
    unsigned outputs = run->generation->count;
    for (unsigned i = 0; i < outputs; i++) {
        rd_err err = write_statement(run, i);
        if (err != RD_OK) {
            settle(run, err);
            return;
        }
    }
    atomic_fetch_add(&run->pending, (int)outputs);
    for (unsigned i = 0; i < outputs; i++) {
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

/* ---- attempts ---- */

static void attempt(struct rd_run *run);

/* For the operator: the client is told of the last attempt only. */
static void log_attempt(const struct rd_run *run, rd_err err, bool again)
{
    const struct rd_log_field fields[] = {
        RD_LOG_STR("request_id", run->request_id),
        RD_LOG_STR("backend", run->backend == NULL ? NULL : run->backend->config->engine.name),
        RD_LOG_STR("code", rd_err_info(err)->code),
        RD_LOG_STR("why", run->why.text[0] == '\0' ? NULL : run->why.text),
        RD_LOG_STR("then", again ? "on another backend" : NULL),
        RD_LOG_END,
    };
    rd_log(RD_LOG_WARN, "attempt failed", fields);
}

/* A client's run gives its slot back as soon as the engine is free; a job keeps it until its
 * outcome is settled, because the queue orders it so. True: it goes on elsewhere. */
static bool leave_slot(struct rd_run *run, rd_err err)
{
    const struct rd_jobs_outcome outcome = {
        .outcome = outcome_of(run, err),
        .verdict = verdict_of(run, err),
        .err = err,
        .device_ns = run->report.device_ns,
    };
    const struct rd_jobs_slot old = run->slot;
    struct rd_jobs_slot other;
    bool again = rd_jobs_done(run->gateway->jobs, &old, &outcome, &other);
    rd_jobs_slot_free(run->gateway->jobs, old.backend);
    if (again) {
        log_attempt(run, err, true);
        pthread_mutex_lock(&run->lock);
        run->slot = other;
        pthread_mutex_unlock(&run->lock);
    }
    return again;
}

static void on_done(void *ctx, rd_err err, const struct rd_why *why,
                    const struct rd_engine_report *report)
{
    struct rd_run *run = ctx;
    pthread_mutex_lock(&run->lock);
    run->engine_run = NULL;
    run->engine_done = true;
    bool clients = atomic_load(&run->whose) == RD_RUN_CLIENTS;
    pthread_mutex_unlock(&run->lock);
    uint64_t now = rd_clock_mono_ns();
    run->engine_ns = now - run->engine_started_ns;
    run->report = *report;
    if (err == RD_OK && run->slot.deadline_ns != 0 && now > run->slot.deadline_ns) {
        err = rd_why_set(&run->why, RD_ERR_BACKEND_TIMEOUT, "it was done after the job's deadline");
    }
    if (err != RD_OK && why != NULL && run->why.text[0] == '\0') {
        run->why = *why;
    }
    if (clients && leave_slot(run, err)) {
        attempt(run);
        return;
    }
    if (!clients && verdict_of(run, err) == RD_VERDICT_BAD) {
        log_attempt(run, err, false);
    }
    if (err != RD_OK) {
        settle(run, err);
        return;
    }
    commit_all(run);
}

/* The engine was not started at all. */
static void not_started(struct rd_run *run, rd_err err)
{
    const struct rd_engine_report nothing = {.source = RD_DEVICE_TIME_UNKNOWN};
    on_done(run, err, NULL, &nothing);
}

/* The backend of the slot: as it is now, and if a reload took it away in between, as it was when
 * the request came. */
static rd_err find_backend(struct rd_run *run)
{
    struct rd_runtime *runtime = rd_gateway_runtime(run->gateway);
    struct rd_backend *backend = rd_runtime_backend(runtime, run->slot.backend);
    if (backend == NULL) {
        backend = rd_runtime_backend(run->runtime, run->slot.backend);
    }
    struct rd_engine_capabilities can = {.trusted = false};
    if (backend != NULL) {
        char model[RD_MODEL_NAME_MAX];
        (void)snprintf(model, sizeof model, "%s/%s", run->model->family, run->model->name);
        backend->ops->capabilities(backend->engine, model, &can);
    }
    pthread_mutex_lock(&run->lock);
    struct rd_runtime *old = run->engine_runtime;
    run->engine_runtime = runtime;
    run->backend = backend;
    run->trusted = can.trusted;
    pthread_mutex_unlock(&run->lock);
    rd_runtime_unref(old);
    return backend == NULL ? RD_ERR_NOT_READY : RD_OK;
}

static rd_err start_engine(struct rd_run *run)
{
    const struct rd_engine_job job = {
        .generation = run->generation,
        .request_id = run->request_id,
        .traceparent = run->traceparent[0] == '\0' ? NULL : run->traceparent,
        .deadline_mono_ns = run->slot.deadline_ns,
        .priority = run->priority,
        .sink = {.ctx = run,
                 .progress = on_progress,
                 .preview = on_preview,
                 .begin = on_begin,
                 .data = on_data,
                 .end = on_end,
                 .done = on_done},
    };
    struct rd_engine_run *started = NULL;
    pthread_mutex_lock(&run->lock);
    run->engine_started = true;
    run->engine_done = false;
    rd_err err = run->stopped ? RD_ERR_CANCELLED
                              : run->backend->ops->start(run->backend->engine, &job, &started);
    if (err == RD_OK) {
        run->engine_run = started; /* on_done waits for the lock before it clears this */
    }
    pthread_mutex_unlock(&run->lock);
    return err;
}

/* On the backend of run->slot. An engine that refuses at once brings it to another one from inside
 * here: as often as the queue lets it be tried, which is four times. */
static void attempt(struct rd_run *run)
{
    drop_outputs(run);
    run->why.text[0] = '\0';
    run->refused = false;
    run->started_ms = rd_clock_wall_ms();
    rd_err err = find_backend(run);
    err = err == RD_OK ? start_engine(run) : err;
    if (err != RD_OK) {
        not_started(run, err);
    }
}

/* ---- start and stop ---- */

void rd_run_start(struct rd_run *run)
{
    atomic_store(&run->pending, 2); /* the engine's done(), and this function's end */
    run->engine_started_ns = rd_clock_mono_ns();
    attempt(run);
    settle(run, RD_OK);
}

void rd_run_stop(struct rd_run *run)
{
    pthread_mutex_lock(&run->lock);
    run->stopped = true;
    if (run->engine_run != NULL) {
        run->backend->ops->cancel(run->backend->engine, run->engine_run);
    }
    pthread_mutex_unlock(&run->lock);
}

static void stop(void *run)
{
    rd_run_stop(run);
}

void rd_run_attach(struct rd_run *run)
{
    if (rd_jobs_attach(run->gateway->jobs, &run->slot, stop, run) != RD_OK) {
        rd_run_stop(run);
    }
}

bool rd_run_adopt(struct rd_run *run)
{
    pthread_mutex_lock(&run->lock);
    bool mine = run->engine_started && !run->engine_done && !run->stopped &&
                atomic_load(&run->whose) == RD_RUN_CLIENTS;
    if (mine) {
        atomic_store(&run->whose, RD_RUN_QUEUES);
        atomic_fetch_add(&run->pending, 1); /* on_done() takes the lock first: it is not over */
    }
    pthread_mutex_unlock(&run->lock);
    return mine;
}

void rd_run_adopted(struct rd_run *run)
{
    settle(run, RD_OK);
}
