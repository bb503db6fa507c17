/* SPDX-License-Identifier: Apache-2.0
 *
 * One run: for each output in turn its tensors, one call, and the way of the answer from nghttp2's
 * buffer through the message and the mapping to the sink.
 *
 *     MAKE -> SEND -> (the call) -> FINISH -> NEXT -> MAKE of the next output, or the end
 *
 * MAKE and FINISH are work that any thread may do (rd_grpc_run_work): the caller's own in start(),
 * a worker's where pictures are decoded or encoded, else the driver's. The rest is the driver's.
 *
 * Device time. What the model tells counts. Else it is the time of the call less what requests
 * waited in the server's queue, on average, when the statistics were last asked for. */
#include <string.h>

#include <inference.pb-c.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/triton/grpc_internal.h"

void rd_grpc_run_stop(struct rd_engine_run *run, rd_err err, const char *why)
{
    if (run->err == RD_OK) {
        run->err = err;
        (void)rd_why_set(&run->why, err, "%s",
                         why != NULL && why[0] != '\0' ? why : rd_err_info(err)->message);
    }
}

/* What came is not what was asked for; it would come again. What the sink says is the sink's. */
static void note_malformed(struct rd_engine_run *run, rd_err err)
{
    if (err == RD_ERR_BACKEND_FAILED && !run->sink_failed) {
        run->final = true;
    }
}

static rd_err note_sink(struct rd_engine_run *run, rd_err err)
{
    run->sink_failed = err != RD_OK && !run->answer.malformed;
    return err;
}

/* ---- the answer ---- */

static rd_err on_head(void *ctx, const Inference__ModelInferResponse *head, struct rd_why *why)
{
    struct rd_engine_run *run = ctx;
    struct rd_tensor_info tensors[RD_ANSWER_TENSORS_MAX];
    if (head->n_outputs > RD_ANSWER_TENSORS_MAX) {
        return rd_why_set(why, RD_ERR_BACKEND_FAILED,
                          "the server's answer has %zu tensors; at most %d are read",
                          head->n_outputs, RD_ANSWER_TENSORS_MAX);
    }
    for (size_t i = 0; i < head->n_outputs; i++) {
        const Inference__ModelInferResponse__InferOutputTensor *output = head->outputs[i];
        if (output->contents.len > 0) {
            return rd_why_set(why, RD_ERR_BACKEND_FAILED,
                              "the server sends '%.64s' in contents, not in raw_output_contents",
                              output->name);
        }
        tensors[i] = (struct rd_tensor_info){.name = output->name,
                                             .datatype = output->datatype,
                                             .shape = output->shape,
                                             .rank = output->n_shape};
    }
    run->tensors_told = head->n_outputs;
    return note_sink(run, rd_answer_head(&run->answer, tensors, head->n_outputs, why));
}

static rd_err on_raw(void *ctx, size_t index, const uint8_t *bytes, size_t len, bool last,
                     struct rd_why *why)
{
    struct rd_engine_run *run = ctx;
    (void)last;
    if (index >= run->tensors_told) {
        return rd_why_set(why, RD_ERR_BACKEND_FAILED,
                          "the server's answer has more raw contents than tensors");
    }
    return len > 0 ? note_sink(run, rd_answer_data(&run->answer, index, bytes, len, why)) : RD_OK;
}

static rd_err on_end(void *ctx, size_t raws, struct rd_why *why)
{
    struct rd_engine_run *run = ctx;
    return raws == run->tensors_told
               ? RD_OK
               : rd_why_set(why, RD_ERR_BACKEND_FAILED,
                            "the server's answer has %zu tensors and %zu raw contents",
                            run->tensors_told, raws);
}

static struct rd_engine_run *run_of(struct rd_grpc_call *call)
{
    return (struct rd_engine_run *)(void *)((char *)call - offsetof(struct rd_engine_run, call));
}

static rd_err call_data(struct rd_grpc_call *call, const uint8_t *bytes, size_t len)
{
    struct rd_engine_run *run = run_of(call);
    if (atomic_load_explicit(&run->cancelled, memory_order_relaxed)) {
        return RD_ERR_CANCELLED;
    }
    rd_err err = rd_grpc_message_feed(&run->message, bytes, len, &call->why);
    if (err != RD_OK) {
        note_malformed(run, err);
    }
    return err;
}

static void call_over(struct rd_grpc_call *call)
{
    struct rd_engine_run *run = run_of(call);
    run->calling = false;
    run->stage = RD_GRPC_RUN_FINISH;
    if (call->reached) {
        uint64_t took = rd_clock_mono_ns() - call->sent_ns;
        uint64_t waited = run->model->queue_average_ns;
        run->reached = true;
        run->measured_ns += took > waited ? took - waited : took;
    }
    if (call->err == RD_OK) {
        call->err = rd_grpc_message_finish(&run->message, &call->why);
        note_malformed(run, call->err);
    }
    if (call->err != RD_OK) {
        run->final = run->final || call->final;
        run->faultless = call->faultless;
        rd_grpc_run_stop(run, call->err, call->why.text);
    }
    rd_grpc_driver_go(&run->engine->driver, run);
}

/* ---- work ---- */

static void make(struct rd_engine_run *run)
{
    struct rd_why why = {""};
    rd_tensors_done(&run->tensors);
    rd_err err =
        rd_tensors_make(run->model->mapping, run->job.generation, run->output, &run->tensors, &why);
    if (err == RD_ERR_INVALID_REQUEST) {
        run->final = true;
        run->faultless = true;
    }
    if (err == RD_OK) {
        uint64_t now = rd_clock_mono_ns();
        const struct rd_grpc_infer infer = {
            .model = run->model->server,
            .version = run->model->mapping->version,
            .id = run->job.request_id,
            .mapping = run->model->mapping,
            .tensors = &run->tensors,
            .priority = run->job.priority,
            .timeout_us = run->deadline_ns > now ? (run->deadline_ns - now) / 1000 + 1 : 1,
        };
        err = rd_grpc_request_infer(&run->request, &infer);
    }
    run->stage = RD_GRPC_RUN_SEND;
    if (err != RD_OK) {
        rd_grpc_run_stop(run, err, why.text);
    }
}

static void finish(struct rd_engine_run *run)
{
    struct rd_why why = {""};
    rd_err err = rd_answer_finish(&run->answer, &why);
    run->stage = RD_GRPC_RUN_NEXT;
    if (err != RD_OK) {
        run->final = run->final || run->answer.malformed;
        rd_grpc_run_stop(run, err, why.text);
    }
}

bool rd_grpc_run_is_slow(const struct rd_engine_run *run)
{
    switch (run->stage) {
    case RD_GRPC_RUN_MAKE:
        return rd_tensors_is_slow(run->model->mapping, run->job.generation);
    case RD_GRPC_RUN_FINISH:
        return rd_answer_is_slow(&run->answer);
    case RD_GRPC_RUN_SEND:
    case RD_GRPC_RUN_NEXT:
    default:
        return false;
    }
}

void rd_grpc_run_work(struct rd_engine_run *run)
{
    if (run->stage == RD_GRPC_RUN_MAKE) {
        make(run);
    } else if (run->stage == RD_GRPC_RUN_FINISH) {
        finish(run);
    }
}

/* ---- steps ---- */

static const struct rd_grpc_call_ops call_ops = {.data = call_data, .over = call_over};

static void send_call(struct rd_engine_run *run)
{
    bool decoupled = run->model->mapping->decoupled;
    rd_answer_init(&run->answer, run->model->mapping, run->job.generation, run->output,
                   &run->job.sink);
    run->has_answer = true;
    rd_grpc_message_reset(&run->message, decoupled);
    run->call.ops = &call_ops;
    run->call.kind = RD_GRPC_RUNS;
    run->call.method = decoupled ? "ModelStreamInfer" : "ModelInfer";
    run->call.request = &run->request;
    run->call.traceparent = run->traceparent[0] != '\0' ? run->traceparent : NULL;
    run->call.deadline_ns = run->deadline_ns;
    run->call.status_errors = decoupled;
    run->calling = true;
    rd_grpc_call_start(&run->engine->driver, &run->call);
}

static void drop_answer(struct rd_engine_run *run)
{
    if (run->has_answer) {
        if (run->answer.device_told) {
            run->device_ns += run->answer.device_ns;
        } else {
            run->all_told = false;
        }
        if (run->answer.device[0] != '\0') {
            memcpy(run->device, run->answer.device, sizeof run->device);
        }
        rd_answer_done(&run->answer);
        run->has_answer = false;
    }
}

bool rd_grpc_run_step(struct rd_engine_run *run)
{
    if (run->err != RD_OK) {
        return false;
    }
    if (run->stage == RD_GRPC_RUN_SEND) {
        send_call(run);
    } else if (run->stage == RD_GRPC_RUN_NEXT) {
        drop_answer(run);
        if (++run->output == run->job.generation->count) {
            return false;
        }
        run->stage = RD_GRPC_RUN_MAKE;
    }
    return true;
}

/* ---- life ---- */

rd_err rd_grpc_run_new(struct rd_engine *engine, struct rd_engine_run **ret)
{
    struct rd_engine_run *run = rd_mem_alloc(sizeof *run);
    if (run == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    const struct rd_grpc_message_sink sink = {
        .ctx = run, .head = on_head, .raw = on_raw, .end = on_end};
    run->engine = engine;
    atomic_init(&run->cancelled, false);
    rd_grpc_request_init(&run->request);
    rd_grpc_message_init(&run->message, false, &sink);
    *ret = run;
    return RD_OK;
}

void rd_grpc_run_free(struct rd_engine_run *run)
{
    rd_grpc_request_done(&run->request);
    rd_grpc_message_done(&run->message);
    rd_mem_free(run);
}

/* What a header must not hold is not sent. */
static void copy_trace(struct rd_engine_run *run, const char *trace)
{
    size_t len = trace != NULL ? strlen(trace) : 0;
    bool fits = len < sizeof run->traceparent;
    for (size_t i = 0; fits && i < len; i++) {
        fits = trace[i] > 0x20 && trace[i] < 0x7f;
    }
    run->traceparent[0] = '\0';
    if (fits && len > 0) {
        memcpy(run->traceparent, trace, len + 1);
    }
}

void rd_grpc_run_prepare(struct rd_engine_run *run, const struct rd_engine_job *job)
{
    run->job = *job;
    run->stage = RD_GRPC_RUN_MAKE;
    run->calling = false;
    run->away = false;
    run->output = 0;
    run->err = RD_OK;
    run->final = false;
    run->faultless = false;
    run->sink_failed = false;
    run->reached = false;
    run->all_told = true;
    run->measured_ns = 0;
    run->device_ns = 0;
    run->device[0] = '\0';
    run->call.list = NULL;
    atomic_store(&run->cancelled, false);
    run->deadline_ns = rd_clock_mono_ns() + (uint64_t)run->engine->timeout_ms * RD_GRPC_NS_PER_MS;
    if (job->deadline_mono_ns != 0 && job->deadline_mono_ns < run->deadline_ns) {
        run->deadline_ns = job->deadline_mono_ns;
    }
    copy_trace(run, job->traceparent);
    if (!rd_grpc_run_is_slow(run)) {
        rd_grpc_run_work(run);
    }
}

void rd_grpc_run_report(struct rd_engine_run *run)
{
    drop_answer(run);
    rd_tensors_done(&run->tensors);
    struct rd_engine_report report = {.source = RD_DEVICE_TIME_UNKNOWN};
    if (run->reached) {
        bool told = run->all_told && run->device_ns > 0;
        report.device_ns = told ? run->device_ns : run->measured_ns;
        report.source = told ? RD_DEVICE_TIME_ENGINE : RD_DEVICE_TIME_MEASURED;
    }
    memcpy(report.device, run->device, sizeof report.device);
    report.final = run->err != RD_OK && run->final;
    report.faultless = run->err != RD_OK && run->faultless;
    run->job.sink.done(run->job.sink.ctx, run->err, run->err == RD_OK ? NULL : &run->why, &report);
}
