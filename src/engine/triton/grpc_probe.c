/* SPDX-License-Identifier: Apache-2.0
 *
 * Health. On a connection of its own the prober asks a round of questions, one after the other, a
 * second after the last round when all was well and a quarter of one when it was not: is the server
 * live, is it ready, is each model ready; once for each connection, does the model fit its mapping
 * (the metadata tells names, datatypes and shapes, Triton's ModelConfig which inputs are optional,
 * and decoupled models); and while runs happen, how long requests waited in the server's queue.
 * None of it makes a model work.
 *
 * The first bad answer ends the round: not ready, in words. An answer that does not come within
 * RD_GRPC_PROBE_MS counts as bad, and the connection is replaced, since a probe's silence says that
 * it may be dead. So a backend is out of rotation at most RD_GRPC_PROBE_EVERY_MS + RD_GRPC_PROBE_MS
 * after it fell silent, and at once when it closes the connection. */
#include <string.h>

#include <inference.pb-c.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/triton/grpc_internal.h"

/* ---- questions ---- */

struct rd_grpc_question {
    const char *method;
    bool of_model; /* asked about each model */
    bool idle_bad; /* its failing says that the backend is not ready */
    bool (*wanted)(const struct rd_grpc_prober *prober, const struct rd_grpc_model *model);
    rd_err (*ask)(struct rd_grpc_probe *probe);
    /* RD_OK: well. Else `why` says in words what is not. */
    rd_err (*take)(struct rd_grpc_probe *probe, const uint8_t *message, size_t len,
                   struct rd_why *why);
};

static bool is_unchecked(const struct rd_grpc_prober *prober, const struct rd_grpc_model *model)
{
    (void)prober;
    return !model->checked;
}

static bool is_running(const struct rd_grpc_prober *prober, const struct rd_grpc_model *model)
{
    (void)model;
    return prober->ran || prober->driver->runs != NULL;
}

static char *name_of(const struct rd_grpc_probe *probe)
{
    return (char *)(uintptr_t)
        probe->model->server; /* protobuf-c packs from char *, and only reads */
}

static char *version_of(const struct rd_grpc_probe *probe)
{
    const char *version = probe->model->mapping->version;
    return (char *)(uintptr_t)(version != NULL ? version : "");
}

static rd_err no_message(struct rd_why *why)
{
    return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the answer cannot be unpacked");
}

static rd_err ask_live(struct rd_grpc_probe *probe)
{
    Inference__ServerLiveRequest request;
    inference__server_live_request__init(&request);
    return rd_grpc_request_message(&probe->request, &request.base);
}

/* The three answers that are a bool in field 1 have one form on the wire. */
static rd_err take_bool(const uint8_t *message, size_t len, const char *what, struct rd_why *why)
{
    Inference__ServerLiveResponse *answer =
        inference__server_live_response__unpack(NULL, len, message);
    if (answer == NULL) {
        return no_message(why);
    }
    bool yes = answer->live;
    inference__server_live_response__free_unpacked(answer, NULL);
    return yes ? RD_OK : rd_why_set(why, RD_ERR_NOT_READY, "%s", what);
}

static rd_err take_live(struct rd_grpc_probe *probe, const uint8_t *message, size_t len,
                        struct rd_why *why)
{
    (void)probe;
    return take_bool(message, len, "the server says that it is not live", why);
}

static rd_err take_ready(struct rd_grpc_probe *probe, const uint8_t *message, size_t len,
                         struct rd_why *why)
{
    (void)probe;
    return take_bool(message, len, "the server says that it is not ready", why);
}

static rd_err ask_model(struct rd_grpc_probe *probe)
{
    Inference__ModelReadyRequest request;
    inference__model_ready_request__init(&request);
    request.name = name_of(probe);
    request.version = version_of(probe);
    return rd_grpc_request_message(&probe->request, &request.base);
}

static rd_err take_model(struct rd_grpc_probe *probe, const uint8_t *message, size_t len,
                         struct rd_why *why)
{
    char what[160];
    (void)snprintf(what, sizeof what, "the server's model '%.100s' is not ready",
                   probe->model->server);
    rd_err err = take_bool(message, len, what, why);
    probe->model->checked = probe->model->checked && err == RD_OK;
    return err;
}

enum { METADATA_TENSORS_MAX = 128 };

static void forget_config(struct rd_grpc_probe *probe)
{
    if (probe->config != NULL) {
        inference__model_config_response__free_unpacked(probe->config, NULL);
        probe->config = NULL;
    }
}

static rd_err ask_config(struct rd_grpc_probe *probe)
{
    Inference__ModelConfigRequest request;
    forget_config(probe);
    inference__model_config_request__init(&request);
    request.name = name_of(probe);
    request.version = version_of(probe);
    return rd_grpc_request_message(&probe->request, &request.base);
}

static rd_err take_config(struct rd_grpc_probe *probe, const uint8_t *message, size_t len,
                          struct rd_why *why)
{
    probe->config = inference__model_config_response__unpack(NULL, len, message);
    return probe->config != NULL ? RD_OK : no_message(why);
}

/* Unknown counts as optional: then nothing is claimed to be missing. */
static bool is_optional(const struct rd_grpc_probe *probe, const char *name)
{
    const Inference__ModelConfig *config = probe->config == NULL ? NULL : probe->config->config;
    for (size_t i = 0; config != NULL && i < config->n_input; i++) {
        if (strcmp(config->input[i]->name, name) == 0) {
            return config->input[i]->optional;
        }
    }
    return true;
}

static bool is_decoupled(const struct rd_grpc_probe *probe)
{
    const Inference__ModelConfig *config = probe->config == NULL ? NULL : probe->config->config;
    return config != NULL && config->model_transaction_policy != NULL &&
           config->model_transaction_policy->decoupled;
}

static size_t describe(const struct rd_grpc_probe *probe,
                       Inference__ModelMetadataResponse__TensorMetadata **from, size_t count,
                       struct rd_tensor_info *out)
{
    count = count < METADATA_TENSORS_MAX ? count : METADATA_TENSORS_MAX;
    for (size_t i = 0; i < count; i++) {
        out[i] = (struct rd_tensor_info){.name = from[i]->name,
                                         .datatype = from[i]->datatype,
                                         .shape = from[i]->shape,
                                         .rank = from[i]->n_shape,
                                         .optional = is_optional(probe, from[i]->name)};
    }
    return count;
}

static rd_err take_metadata(struct rd_grpc_probe *probe, const uint8_t *message, size_t len,
                            struct rd_why *why)
{
    Inference__ModelMetadataResponse *answer =
        inference__model_metadata_response__unpack(NULL, len, message);
    if (answer == NULL) {
        return no_message(why);
    }
    struct rd_tensor_info inputs[METADATA_TENSORS_MAX], outputs[METADATA_TENSORS_MAX];
    const struct rd_model_metadata metadata = {
        .name = answer->name,
        .platform = answer->platform,
        .versions = (const char *const *)answer->versions,
        .versions_count = answer->n_versions,
        .inputs = inputs,
        .outputs = outputs,
        .inputs_count = describe(probe, answer->inputs, answer->n_inputs, inputs),
        .outputs_count = describe(probe, answer->outputs, answer->n_outputs, outputs),
        .decoupled = is_decoupled(probe),
    };
    rd_err err = rd_mapping_check_server(probe->model->mapping, &metadata, why);
    probe->model->checked = err == RD_OK;
    forget_config(probe);
    inference__model_metadata_response__free_unpacked(answer, NULL);
    return err;
}

/* How long requests waited, on average, since the statistics were last asked for. */
static void count_queue(struct rd_grpc_model *model, uint64_t count, uint64_t ns)
{
    if (count > model->queue_count && ns >= model->queue_ns && model->queue_count != 0) {
        model->queue_average_ns = (ns - model->queue_ns) / (count - model->queue_count);
    } else if (count < model->queue_count || model->queue_count == 0) {
        model->queue_average_ns = 0; /* it was started again, or nothing is known yet */
    }
    model->queue_count = count;
    model->queue_ns = ns;
}

static rd_err take_statistics(struct rd_grpc_probe *probe, const uint8_t *message, size_t len,
                              struct rd_why *why)
{
    Inference__ModelStatisticsResponse *answer =
        inference__model_statistics_response__unpack(NULL, len, message);
    if (answer == NULL) {
        return no_message(why);
    }
    uint64_t count = 0, ns = 0;
    for (size_t i = 0; i < answer->n_model_stats; i++) { /* one for each version */
        const Inference__InferStatistics *stats = answer->model_stats[i]->inference_stats;
        if (stats != NULL && stats->queue != NULL) {
            count += stats->queue->count;
            ns += stats->queue->ns;
        }
    }
    count_queue(probe->model, count, ns);
    inference__model_statistics_response__free_unpacked(answer, NULL);
    return RD_OK;
}

static const struct rd_grpc_question questions[] = {
    {"ServerLive", false, true, NULL, ask_live, take_live},
    {"ServerReady", false, true, NULL, ask_live, take_ready},
    {"ModelReady", true, true, NULL, ask_model, take_model},
    {"ModelConfig", true, false, is_unchecked, ask_config, take_config},
    {"ModelMetadata", true, true, is_unchecked, ask_model, take_metadata},
    {"ModelStatistics", true, false, is_running, ask_model, take_statistics},
};
enum { QUESTIONS = sizeof questions / sizeof questions[0] };

/* ---- a round ---- */

static uint64_t in_ms(unsigned ms)
{
    return rd_clock_mono_ns() + (uint64_t)ms * RD_GRPC_NS_PER_MS;
}

static void round_over(struct rd_grpc_prober *prober, const char *why)
{
    prober->asking = false;
    prober->next_ns = in_ms(why == NULL ? RD_GRPC_PROBE_EVERY_MS : RD_GRPC_PROBE_AGAIN_MS);
    if (why == NULL) {
        prober->ran = false;
    }
    rd_grpc_engine_health(prober->driver->engine, why);
}

/* To the next question: all about one model before the next model. False behind the last. */
static bool next_question(struct rd_grpc_prober *prober)
{
    const struct rd_engine *engine = prober->driver->engine;
    for (;;) {
        if (++prober->question == QUESTIONS) {
            prober->model++;
            prober->question = 0;
            while (prober->question < QUESTIONS && !questions[prober->question].of_model) {
                prober->question++;
            }
        }
        const struct rd_grpc_question *at = &questions[prober->question];
        if (prober->model >= engine->models_count) {
            return false;
        }
        if (at->wanted == NULL || at->wanted(prober, &engine->models[prober->model])) {
            return true;
        }
    }
}

static rd_err probe_data(struct rd_grpc_call *call, const uint8_t *bytes, size_t len)
{
    struct rd_grpc_probe *probe =
        (struct rd_grpc_probe *)(void *)((char *)call - offsetof(struct rd_grpc_probe, call));
    rd_buf_append(&probe->answer, bytes, len);
    return rd_buf_err(&probe->answer) == RD_OK
               ? RD_OK
               : rd_why_set(&call->why, RD_ERR_BACKEND_FAILED, "the answer is over 256 KiB");
}

/* The one message in the answer. */
static rd_err take_answer(struct rd_grpc_probe *probe, struct rd_why *why)
{
    const uint8_t *data = (const uint8_t *)rd_buf_cstr(&probe->answer);
    size_t len = probe->answer.len;
    if (len < RD_GRPC_FRAME_LEN || data[0] != 0 ||
        ((uint64_t)data[1] << 24 | (uint64_t)data[2] << 16 | (uint64_t)data[3] << 8 | data[4]) !=
            len - RD_GRPC_FRAME_LEN) {
        return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the answer is not one message");
    }
    return probe->question->take(probe, data + RD_GRPC_FRAME_LEN, len - RD_GRPC_FRAME_LEN, why);
}

static void ask(struct rd_grpc_prober *prober);

static void probe_over(struct rd_grpc_call *call)
{
    struct rd_grpc_probe *probe =
        (struct rd_grpc_probe *)(void *)((char *)call - offsetof(struct rd_grpc_probe, call));
    struct rd_grpc_prober *prober = &call->driver->prober;
    struct rd_why why = {""};
    if (call->err == RD_OK) {
        call->err = take_answer(probe, &why);
    } else {
        why = call->why;
    }
    if (call->err != RD_OK && probe->question->idle_bad) {
        char text[RD_ENGINE_WHY_MAX];
        (void)snprintf(text, sizeof text, "%s: %.180s", probe->question->method, why.text);
        round_over(prober, text);
        return;
    }
    /* A connection that is new may lead to another server than the one that was checked. */
    const struct rd_grpc_connection *own = &prober->driver->connections[0];
    if (prober->serial != own->serial) {
        prober->serial = own->serial;
        for (size_t i = 0; i < prober->driver->engine->models_count; i++) {
            prober->driver->engine->models[i].checked = false;
        }
    }
    if (next_question(prober)) {
        ask(prober);
    } else {
        round_over(prober, NULL);
    }
}

static const struct rd_grpc_call_ops probe_ops = {.data = probe_data, .over = probe_over};

static void ask(struct rd_grpc_prober *prober)
{
    struct rd_grpc_probe *probe = &prober->probe;
    probe->question = &questions[prober->question];
    probe->model = &prober->driver->engine->models[prober->model];
    rd_buf_reset(&probe->answer);
    if (probe->question->ask(probe) != RD_OK) {
        round_over(prober, "out of memory");
        return;
    }
    prober->deadline_ns = in_ms(RD_GRPC_PROBE_MS);
    probe->call.ops = &probe_ops;
    probe->call.kind = RD_GRPC_PROBES;
    probe->call.method = probe->question->method;
    probe->call.request = &probe->request;
    probe->call.deadline_ns = prober->deadline_ns;
    rd_grpc_call_start(prober->driver, &probe->call);
}

/* ---- time ---- */

void rd_grpc_prober_init(struct rd_grpc_prober *prober, struct rd_grpc_driver *driver)
{
    *prober = (struct rd_grpc_prober){.driver = driver};
    rd_grpc_request_init(&prober->probe.request);
    rd_buf_init(&prober->probe.answer, RD_GRPC_PROBE_ANSWER_MAX);
}

void rd_grpc_prober_done(struct rd_grpc_prober *prober)
{
    rd_grpc_request_done(&prober->probe.request);
    forget_config(&prober->probe);
    rd_buf_done(&prober->probe.answer);
}

void rd_grpc_prober_soon(struct rd_grpc_prober *prober, unsigned ms)
{
    uint64_t at = in_ms(ms);
    prober->next_ns = at < prober->next_ns ? at : prober->next_ns;
}

uint64_t rd_grpc_prober_timer(struct rd_grpc_prober *prober, uint64_t now)
{
    if (prober->asking) {
        if (prober->deadline_ns > now) {
            return prober->deadline_ns;
        }
        struct rd_grpc_connection *own = &prober->driver->connections[0];
        if (own->state == RD_GRPC_OPEN) {
            own->broken = true; /* it may be dead; the next round makes another */
            (void)rd_why_set(&own->why, RD_ERR_BACKEND_FAILED, "the server is silent");
        }
        rd_grpc_call_stop(&prober->probe.call, RD_ERR_BACKEND_TIMEOUT, "no answer within 750 ms");
        prober->deadline_ns = UINT64_MAX;
        return now;
    }
    if (prober->next_ns > now) {
        return prober->next_ns;
    }
    prober->asking = true;
    prober->question = 0;
    prober->model = 0;
    ask(prober);
    return now;
}
