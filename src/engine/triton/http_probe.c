/* SPDX-License-Identifier: Apache-2.0
 *
 * What a Triton (or another v2 server) is asked about itself: once a second whether it and each
 * model are ready; once after it came up, what it can do (GET /v2) and what the model's inputs and
 * outputs are, to be compared with the mapping; and after runs, the model's statistics, from whose
 * difference to those before follows how long a request waited in the server's queue.
 *
 * All of it is the prober's thread's; runs see `binary` and the average wait, which are atomics. */
#include <stdio.h>
#include <string.h>

#include "engine/triton/http_internal.h"

enum question {
    ASK_READY,
    ASK_SERVER,
    ASK_MODEL_READY, /* this and what follows: of each model */
    ASK_CONFIG,
    ASK_METADATA,
    ASK_STATISTICS,
    ASK_COUNT_,
};

/* The first model of the server that has the path of this one answers for all of them. */
static bool is_repeated(const struct rd_triton_server *server, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (strcmp(server->models[i].path, server->models[index].path) == 0 &&
            server->models[i].mapping == server->models[index].mapping) {
            return true;
        }
    }
    return false;
}

static bool is_wanted(struct rd_triton_server *server)
{
    const struct rd_triton_model *model = &server->models[server->model];
    if (server->question >= ASK_MODEL_READY && is_repeated(server, server->model)) {
        return false;
    }
    switch ((enum question)server->question) {
    case ASK_READY:
    case ASK_MODEL_READY:
        return true;
    case ASK_SERVER:
        return !server->known;
    case ASK_CONFIG:
        return !model->checked && server->has_config;
    case ASK_METADATA:
        return !model->checked;
    case ASK_STATISTICS:
        return server->has_statistics && server->ran_before;
    case ASK_COUNT_:
    default:
        return false;
    }
}

/* The next question, wanted or not; false behind the last. */
static bool advance(struct rd_triton_server *server)
{
    if (server->question + 1 < ASK_COUNT_) {
        server->question++;
        return true;
    }
    server->question = ASK_MODEL_READY;
    return ++server->model < server->models_count;
}

/* It was not ready, and may come back as another server: all is to be asked again. */
static void forget(struct rd_triton_server *server)
{
    server->known = false;
    for (size_t i = 0; i < server->models_count; i++) {
        server->models[i].checked = false;
        json_decref(server->models[i].config);
        server->models[i].config = NULL;
    }
}

bool rd_triton_http_probe(void *shared, unsigned step, char path[RD_HTTP_PATH_MAX])
{
    static const char *const behind[ASK_COUNT_] = {[ASK_MODEL_READY] = "/ready",
                                                   [ASK_CONFIG] = "/config",
                                                   [ASK_METADATA] = "",
                                                   [ASK_STATISTICS] = "/stats"};
    struct rd_triton_server *server = shared;
    if (step == 0) {
        if (!server->complete) { /* the last round was cut off */
            forget(server);
        }
        server->complete = false;
        server->question = ASK_READY;
        server->model = 0;
        server->ran_before = atomic_exchange(&server->ran, false);
    } else {
        do {
            if (!advance(server)) {
                server->complete = true;
                return false;
            }
        } while (!is_wanted(server));
    }
    if (server->question < ASK_MODEL_READY) {
        (void)snprintf(path, RD_HTTP_PATH_MAX, "%s",
                       server->question == ASK_READY ? "/v2/health/ready" : "/v2");
    } else {
        (void)snprintf(path, RD_HTTP_PATH_MAX, "%s%s", server->models[server->model].path,
                       behind[server->question]);
    }
    return true;
}

/* ---- answers ---- */

static bool has_extension(const json_t *json, const char *name)
{
    const json_t *extensions = json_object_get(json, "extensions");
    for (size_t i = 0; i < json_array_size(extensions); i++) {
        const char *extension = json_string_value(json_array_get(extensions, i));
        if (extension != NULL && strcmp(extension, name) == 0) {
            return true;
        }
    }
    return false;
}

/* A server that says nothing of extensions has none. */
static void take_server(struct rd_triton_server *server, const json_t *json)
{
    atomic_store(&server->binary, has_extension(json, "binary_tensor_data"));
    server->has_config = has_extension(json, "model_configuration");
    server->has_statistics = has_extension(json, "statistics");
    server->known = true;
}

struct infos {
    struct rd_tensor_info list[RD_ANSWER_TENSORS_MAX];
    int64_t shapes[RD_ANSWER_TENSORS_MAX][RD_MAPPING_RANK_MAX];
    size_t count;
};

static bool is_optional(const json_t *config, const char *name)
{
    const json_t *inputs = json_object_get(config, "input");
    if (inputs == NULL) {
        return true; /* it does not tell */
    }
    for (size_t i = 0; i < json_array_size(inputs); i++) {
        const json_t *input = json_array_get(inputs, i);
        const char *its = json_string_value(json_object_get(input, "name"));
        if (its != NULL && strcmp(its, name) == 0) {
            return json_is_true(json_object_get(input, "optional"));
        }
    }
    return false;
}

static bool take_infos(const json_t *list, const json_t *config, struct infos *ret)
{
    ret->count = json_array_size(list);
    if (!json_is_array(list) || ret->count > RD_ANSWER_TENSORS_MAX) {
        return false;
    }
    for (size_t i = 0; i < ret->count; i++) {
        const json_t *tensor = json_array_get(list, i);
        const json_t *shape = json_object_get(tensor, "shape");
        struct rd_tensor_info *info = &ret->list[i];
        info->name = json_string_value(json_object_get(tensor, "name"));
        info->datatype = json_string_value(json_object_get(tensor, "datatype"));
        info->rank = json_array_size(shape);
        info->shape = ret->shapes[i];
        if (info->name == NULL || info->datatype == NULL || info->rank > RD_MAPPING_RANK_MAX) {
            return false;
        }
        info->optional = is_optional(config, info->name);
        for (size_t k = 0; k < info->rank; k++) { /* what is no number is open */
            const json_t *dimension = json_array_get(shape, k);
            ret->shapes[i][k] = json_is_integer(dimension) ? json_integer_value(dimension) : -1;
        }
    }
    return true;
}

static bool check_metadata(struct rd_triton_model *model, const json_t *json, char *why)
{
    struct infos inputs, outputs;
    struct rd_why text;
    if (!take_infos(json_object_get(json, "inputs"), model->config, &inputs) ||
        !take_infos(json_object_get(json, "outputs"), NULL, &outputs)) {
        (void)snprintf(why, RD_ENGINE_WHY_MAX, "model %.60s: its metadata cannot be read",
                       model->server);
        return false;
    }
    const struct rd_model_metadata metadata = {.name = model->server,
                                               .inputs = inputs.list,
                                               .inputs_count = inputs.count,
                                               .outputs = outputs.list,
                                               .outputs_count = outputs.count};
    if (rd_mapping_check_server(model->mapping, &metadata, &text) != RD_OK) {
        (void)snprintf(why, RD_ENGINE_WHY_MAX, "%.*s", RD_ENGINE_WHY_MAX - 1, text.text);
        return false;
    }
    return true;
}

static bool take_config(struct rd_triton_model *model, json_t *json, char *why)
{
    const json_t *policy = json_object_get(json, "model_transaction_policy");
    if (json_is_true(json_object_get(policy, "decoupled"))) {
        (void)snprintf(why, RD_ENGINE_WHY_MAX,
                       "model %.60s is decoupled, which HTTP cannot serve: write the url as "
                       "grpc://HOST:8001 and decoupled: true in its mapping",
                       model->server);
        json_decref(json);
        return false;
    }
    json_decref(model->config);
    model->config = json;
    return true;
}

/* The average wait of the requests since the last look; with none, what is known stays. */
static void take_statistics(struct rd_triton_model *model, const json_t *json)
{
    const json_t *list = json_object_get(json, "model_stats");
    const json_t *queue = NULL;
    uint64_t count = 0;
    uint64_t ns = 0;
    for (size_t i = 0; i < json_array_size(list); i++) { /* its versions */
        queue =
            json_object_get(json_object_get(json_array_get(list, i), "inference_stats"), "queue");
        count += (uint64_t)json_integer_value(json_object_get(queue, "count"));
        ns += (uint64_t)json_integer_value(json_object_get(queue, "ns"));
    }
    if (count > model->queue_count && ns >= model->queue_ns) {
        atomic_store(&model->queue_average_ns,
                     (ns - model->queue_ns) / (count - model->queue_count));
    }
    model->queue_count = count;
    model->queue_ns = ns;
}

static bool refused(struct rd_triton_server *server, long status, const char *body, size_t len,
                    char *why)
{
    char text[100];
    if (server->question >= ASK_MODEL_READY) {
        bool said = rd_triton_http_error(body, len, text, sizeof text);
        (void)snprintf(why, RD_ENGINE_WHY_MAX, "model %.60s is not ready: it answered %ld%s%s",
                       server->models[server->model].server, status, said ? ": " : "",
                       said ? text : "");
    }
    return false;
}

bool rd_triton_http_probed(void *shared, unsigned step, long status, const char *body, size_t len,
                           char *why)
{
    (void)step;
    struct rd_triton_server *server = shared;
    struct rd_triton_model *model = &server->models[server->model];
    enum question question = (enum question)server->question;
    if (status != 200 &&
        (question == ASK_READY || question == ASK_MODEL_READY || question == ASK_METADATA)) {
        return refused(server, status, body, len, why);
    }
    if (question == ASK_READY || question == ASK_MODEL_READY) {
        return true;
    }
    json_t *json = status == 200 ? rd_triton_http_json(body, len) : NULL;
    bool good = true;
    if (question == ASK_SERVER) {
        take_server(server, json);
    } else if (question == ASK_CONFIG && json != NULL) {
        good = take_config(model, json, why);
        json = NULL; /* it has it */
    } else if (question == ASK_METADATA) {
        good = check_metadata(model, json, why);
        model->checked = good;
    } else if (question == ASK_STATISTICS) {
        take_statistics(model, json);
    }
    json_decref(json);
    return good;
}
