/* SPDX-License-Identifier: Apache-2.0
 *
 * Triton over HTTP: the dialect of engine/http for the v2 (Open Inference) protocol. One POST to
 * /v2/models/M/infer for each output. The inputs are what the mapping makes of the generation, the
 * answer's tensors go through rd_answer into the sink as they come; how they stand on the wire is
 * http_request.c and http_scan.c, what the server is asked about itself http_probe.c.
 *
 * Whether the binary tensor extension is used the server decides by its list of extensions.
 *
 * Device time is the model's own figure where the mapping names an output for it, else the time of
 * the request less the average that requests waited in the server's queue, by its statistics.
 *
 * Not here: decoupled models, whose answers HTTP has no form for (grpc.c has), and cancelling: HTTP
 * has only the closed connection, which Triton notices between steps of a model at best. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "engine/http/reply.h"
#include "engine/triton/http_internal.h"

/* ---- the engine ---- */

static rd_err add_model(struct rd_triton_server *server, const struct rd_engine_config *config,
                        const char *name, struct rd_why *why)
{
    const struct rd_mapping *mapping = rd_mapping_for(config, name);
    if (mapping == NULL) {
        return rd_why_set(why, RD_ERR_CONFIG,
                          "backend %s: no mapping for model %s; name one in `mappings:` of this "
                          "engine",
                          config->name, name);
    }
    if (mapping->decoupled) {
        return rd_why_set(why, RD_ERR_CONFIG,
                          "backend %s: mapping %s is decoupled, which HTTP cannot serve; write the "
                          "url as grpc://HOST:8001",
                          config->name, mapping->name);
    }
    struct rd_triton_model *model = &server->models[server->models_count];
    model->name = name;
    model->mapping = mapping;
    model->server = rd_mapping_server_model(mapping, name);
    atomic_init(&model->queue_average_ns, 0);
    if (strlen(model->server) > RD_TRITON_NAME_MAX ||
        (mapping->version != NULL && strlen(mapping->version) > RD_TRITON_NAME_MAX / 4) ||
        !rd_triton_http_path(model->server, mapping->version, model->path, sizeof model->path)) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: the server's name for %s is too long",
                          config->name, name);
    }
    server->models_count++;
    return RD_OK;
}

static rd_err triton_server_open(void *shared, const struct rd_engine_config *config,
                                 struct rd_why *why)
{
    struct rd_triton_server *server = shared;
    atomic_init(&server->binary, true);
    atomic_init(&server->ran, true);
    if (config->models_count == 0 || config->models_count > RD_TRITON_MODELS_MAX) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: 1 to %d models, not %zu", config->name,
                          RD_TRITON_MODELS_MAX, config->models_count);
    }
    for (size_t i = 0; i < config->models_count; i++) {
        RD_TRY(add_model(server, config, config->models[i], why));
    }
    return RD_OK;
}

static void triton_server_close(void *shared)
{
    struct rd_triton_server *server = shared;
    for (size_t i = 0; i < server->models_count; i++) {
        json_decref(server->models[i].config);
    }
}

static const struct rd_triton_model *model_find(const struct rd_triton_server *server,
                                                const char *family, const char *model)
{
    size_t family_len = strlen(family);
    for (size_t i = 0; i < server->models_count; i++) {
        const char *name = server->models[i].name;
        if (strncmp(name, family, family_len) == 0 && name[family_len] == '/' &&
            strcmp(name + family_len + 1, model) == 0) {
            return &server->models[i];
        }
    }
    return NULL;
}

static bool encodes_itself(const struct rd_mapping *mapping)
{
    for (size_t i = 0; i < mapping->outputs_count; i++) {
        enum rd_mapping_gives gives = mapping->outputs[i].gives;
        if ((gives == RD_OUTPUT_IMAGE || gives == RD_OUTPUT_VIDEO) &&
            mapping->outputs[i].datatype == RD_DATATYPE_BYTES) {
            return false;
        }
    }
    return true;
}

/* Progress and previews come with the answer, when they are of no use: not claimed. */
static void triton_capabilities(void *shared, const char *model, struct rd_engine_capabilities *ret)
{
    const struct rd_triton_server *server = shared;
    *ret = (struct rd_engine_capabilities){.tasks = 0};
    for (size_t i = 0; i < server->models_count; i++) {
        const struct rd_mapping *mapping = server->models[i].mapping;
        if (strcmp(server->models[i].name, model) == 0) {
            ret->tasks = rd_mapping_tasks(mapping);
            ret->media = rd_mapping_media(mapping);
            ret->trusted = encodes_itself(mapping);
        }
    }
}

/* ---- a run ---- */

static rd_err triton_begin(struct rd_http_run *run)
{
    struct rd_triton_run *state = run->state;
    const struct rd_generation *generation = run->job->generation;
    state->model = model_find(run->shared, generation->family, generation->model);
    state->output = 0;
    state->device_ns = 0;
    state->queue_ns = 0;
    state->tellers = 0;
    state->device[0] = '\0';
    return state->model != NULL
               ? RD_OK
               : rd_http_fail(run, RD_ERR_INTERNAL, 0, "the engine does not serve %s/%s",
                              generation->family, generation->model);
}

static bool triton_slow(const struct rd_http_run *run, bool end)
{
    const struct rd_triton_run *state = run->state;
    if (end) {
        return rd_answer_is_slow(&state->answer);
    }
    return state->model != NULL && rd_tensors_is_slow(state->model->mapping, run->job->generation);
}

static void answer_over(struct rd_triton_run *state)
{
    if (state->answering) {
        rd_answer_done(&state->answer);
        state->answering = false;
    }
}

static rd_err triton_request(struct rd_http_run *run, struct rd_http_request *request)
{
    struct rd_triton_run *state = run->state;
    struct rd_triton_server *server = run->shared;
    const struct rd_generation *generation = run->job->generation;
    struct rd_why why = {""};
    bool binary = atomic_load(&server->binary);
    rd_tensors_done(&state->tensors);
    rd_err err =
        rd_tensors_make(state->model->mapping, generation, state->output, &state->tensors, &why);
    if (err != RD_OK) {
        unsigned flags = err == RD_ERR_INVALID_REQUEST
                             ? (unsigned)RD_HTTP_FINAL | (unsigned)RD_HTTP_FAULTLESS
                             : 0;
        return rd_http_fail(run, err, flags, "%s",
                            why.text[0] != '\0' ? why.text : rd_err_info(err)->message);
    }
    RD_TRY(rd_triton_http_write(run, binary, &run->body, state->length_line));
    state->body_len = rd_http_body_len(&run->body);
    (void)snprintf(state->path, sizeof state->path, "%s/infer", state->model->path);
    request->path = state->path;
    request->accept = "application/json";
    if (binary) {
        request->content_type = "application/octet-stream";
        request->headers[0] = state->length_line;
    }
    answer_over(state);
    rd_answer_init(&state->answer, state->model->mapping, generation, state->output,
                   &run->job->sink);
    state->answering = true;
    return RD_OK;
}

static void triton_header(struct rd_http_run *run, const char *line, size_t len)
{
    struct rd_triton_run *state = run->state;
    const char *value;
    size_t value_len;
    if (line[0] == 'H' && len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        state->has_length = false;
    } else if ((line[0] == 'I' || line[0] == 'i') &&
               rd_http_header_is(line, len, "Inference-Header-Content-Length", &value,
                                 &value_len)) {
        state->has_length = true;
        if (!rd_text_u64(value, value_len, &state->head_len)) {
            state->head_len = UINT64_MAX;
        }
    }
}

static rd_err triton_head(struct rd_http_run *run, const struct rd_http_answer *answer)
{
    struct rd_triton_run *state = run->state;
    if (state->has_length && (state->head_len > RD_TRITON_HEAD_MAX || state->head_len == 0 ||
                              (answer->length > 0 && state->head_len > answer->length))) {
        return rd_http_fail(run, RD_ERR_BACKEND_FAILED, RD_HTTP_FINAL,
                            "the engine's Inference-Header-Content-Length is wrong, or over %d",
                            RD_TRITON_HEAD_MAX);
    }
    rd_triton_scan_begin(&state->scan, &state->answer, state->has_length, state->head_len);
    return RD_OK;
}

/* What is not as it was asked for would come again; an error of the sink is none of the server's.
 */
static rd_err judge(struct rd_http_run *run, rd_err err, const struct rd_why *why)
{
    const struct rd_triton_run *state = run->state;
    if (err != RD_OK && why->text[0] != '\0') {
        return rd_http_fail(run, err, state->answer.malformed ? RD_HTTP_FINAL : 0, "%s", why->text);
    }
    return err;
}

static rd_err triton_data(struct rd_http_run *run, const char *data, size_t len)
{
    struct rd_triton_run *state = run->state;
    struct rd_why why = {""};
    return judge(run, rd_triton_scan_feed(&state->scan, data, len, &why), &why);
}

static rd_err triton_end(struct rd_http_run *run, struct rd_http_next *next)
{
    struct rd_triton_run *state = run->state;
    struct rd_triton_server *server = run->shared;
    struct rd_why why = {""};
    rd_err err = rd_triton_scan_end(&state->scan, &why);
    if (err == RD_OK) {
        err = rd_answer_finish(&state->answer, &why);
    }
    RD_TRY(judge(run, err, &why));
    if (state->answer.device_told) {
        state->device_ns += state->answer.device_ns;
        state->tellers++;
    }
    state->queue_ns += atomic_load(&state->model->queue_average_ns);
    if (state->answer.device[0] != '\0') {
        memcpy(state->device, state->answer.device, sizeof state->device);
    }
    atomic_store(&server->ran, true);
    answer_over(state);
    next->again = ++state->output < run->job->generation->count;
    return RD_OK;
}

static void triton_refused(struct rd_http_run *run, struct rd_http_refusal *refusal)
{
    const struct rd_triton_run *state = run->state;
    char text[RD_HTTP_SNIPPET_MAX + 1] = "";
    bool said =
        refusal->len > 0 && rd_triton_http_error(refusal->body, refusal->len, text, sizeof text);
    if (said) {
        (void)rd_why_set(&refusal->why, RD_OK, "the engine answered %ld: %s", refusal->status,
                         text);
    }
    /* Over its limit Triton answers 400 or 413, or hangs up while we still send. */
    bool large = state->body_len > RD_TRITON_BODY_USUAL;
    if (refusal->status == 413 || (large && refusal->status < 500)) {
        char before[RD_HTTP_SNIPPET_MAX + 100];
        (void)snprintf(before, sizeof before, "%.*s", (int)sizeof before - 1, refusal->why.text);
        (void)rd_why_set(&refusal->why, RD_OK,
                         "the request has %llu bytes; a Triton takes %d unless it is started with "
                         "--http-max-input-size, and gRPC has no such limit (%s)",
                         (unsigned long long)state->body_len, RD_TRITON_BODY_USUAL, before);
        refusal->err = RD_ERR_BACKEND_FAILED;
        refusal->final = true;
        refusal->faultless = true;
    } else if (said && refusal->status == 503 && strstr(text, "timeout expired") != NULL) {
        refusal->err = RD_ERR_BACKEND_TIMEOUT; /* it waited in the server's queue for too long */
    }
}

static void triton_report(struct rd_http_run *run, rd_err err, struct rd_engine_report *report)
{
    struct rd_triton_run *state = run->state;
    (void)err;
    if (state->tellers > 0 && state->tellers == run->exchanges) {
        report->device_ns = state->device_ns;
        report->source = RD_DEVICE_TIME_ENGINE;
    } else if (report->source == RD_DEVICE_TIME_MEASURED &&
               state->queue_ns < report->device_ns) { /* else this one did not wait so long */
        report->device_ns -= state->queue_ns;
    }
    memcpy(report->device, state->device, sizeof report->device);
    rd_tensors_done(&state->tensors); /* raw pictures are large, and the pool keeps this */
    answer_over(state);
    rd_triton_scan_done(&state->scan);
}

static void triton_forget(void *memory)
{
    struct rd_triton_run *state = memory;
    rd_tensors_done(&state->tensors);
    answer_over(state);
    rd_triton_scan_done(&state->scan);
}

static const struct rd_http_dialect triton_http = {
    .type = "triton",
    .base = true,
    .run_size = sizeof(struct rd_triton_run),
    .shared_size = sizeof(struct rd_triton_server),
    .open = triton_server_open,
    .close = triton_server_close,
    .capabilities = triton_capabilities,
    .probe = rd_triton_http_probe,
    .probed = rd_triton_http_probed,
    .begin = triton_begin,
    .request = triton_request,
    .header = triton_header,
    .head = triton_head,
    .data = triton_data,
    .end = triton_end,
    .refused = triton_refused,
    .report = triton_report,
    .forget = triton_forget,
    .slow = triton_slow,
};

static rd_err triton_open(const struct rd_engine_config *config, struct rd_engine **ret,
                          struct rd_why *why)
{
    return rd_http_open(&triton_http, config, ret, why);
}

const struct rd_engine_ops rd_engine_triton_http_ops = RD_HTTP_ENGINE_OPS("triton", triton_open);
