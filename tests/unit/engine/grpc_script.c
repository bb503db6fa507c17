/* SPDX-License-Identifier: Apache-2.0
 *
 * See grpc_script.h. `scripts` is what a prompt means. */
#include "grpc_script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <inference.pb-c.h>
#include <nghttp2/nghttp2.h>

#include "grpc_backend.h"

enum { RAW_REQUEST = 7, RAW_ANSWER = 6 };

/* ---- bytes ---- */

void grpc_put(struct bytes *to, const void *data, size_t len)
{
    to->data = realloc(to->data, to->len + len + 1);
    if (to->data == NULL) {
        abort();
    }
    if (len > 0) {
        memcpy(to->data + to->len, data, len);
    }
    to->len += len;
}

static void put_varint(struct bytes *to, uint64_t value)
{
    do {
        uint8_t byte = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        grpc_put(to, &byte, 1);
        value >>= 7;
    } while (value != 0);
}

static void put_field(struct bytes *to, unsigned field, const void *data, size_t len)
{
    put_varint(to, field << 3 | 2);
    put_varint(to, len);
    grpc_put(to, data, len);
}

static void put_frame(struct bytes *to, uint8_t flag, const struct bytes *message)
{
    uint8_t frame[5] = {flag, (uint8_t)(message->len >> 24), (uint8_t)(message->len >> 16),
                        (uint8_t)(message->len >> 8), (uint8_t)message->len};
    grpc_put(to, frame, sizeof frame);
    grpc_put(to, message->data, message->len);
}

void grpc_backend_picture(uint8_t out[GRPC_BACKEND_PICTURE], uint64_t seed)
{
    uint64_t state = seed * 6364136223846793005u + 1442695040888963407u;
    for (size_t i = 0; i < GRPC_BACKEND_PICTURE; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        out[i] = (uint8_t)(state >> 56);
    }
    memcpy(out, "\x89PNG\r\n\x1a\n", 8);
}

/* ---- answers ---- */

struct output {
    const char *name, *datatype;
    int64_t shape;
};

/* A ModelInferResponse without raw contents. */
static struct bytes head_of(const struct output *outputs, size_t count, bool final)
{
    Inference__ModelInferResponse answer;
    inference__model_infer_response__init(&answer);
    Inference__ModelInferResponse__InferOutputTensor tensors[8], *at[8];
    Inference__InferParameter value;
    inference__infer_parameter__init(&value);
    Inference__InferParameterEntry entry, *entry_at;
    inference__infer_parameter_entry__init(&entry);
    int64_t shapes[8];
    char model[] = "model", key[] = "triton_final_response";
    for (size_t i = 0; i < count; i++) {
        inference__model_infer_response__infer_output_tensor__init(&tensors[i]);
        tensors[i].name = (char *)(uintptr_t)outputs[i].name;
        tensors[i].datatype = (char *)(uintptr_t)outputs[i].datatype;
        shapes[i] = outputs[i].shape;
        tensors[i].shape = &shapes[i];
        tensors[i].n_shape = 1;
        at[i] = &tensors[i];
    }
    answer.model_name = model;
    answer.outputs = at;
    answer.n_outputs = count;
    if (final) {
        value.parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_BOOL_PARAM;
        value.bool_param = 1;
        entry.key = key;
        entry.value = &value;
        entry_at = &entry;
        answer.parameters = &entry_at;
        answer.n_parameters = 1;
    }
    struct bytes head = {NULL, 0};
    uint8_t *packed = malloc(inference__model_infer_response__get_packed_size(&answer) + 1);
    if (packed == NULL) {
        abort();
    }
    grpc_put(&head, packed, inference__model_infer_response__pack(&answer, packed));
    free(packed);
    return head;
}

static void put_raw_picture(struct bytes *to, uint64_t seed, size_t len)
{
    uint8_t *picture = malloc(4 + GRPC_BACKEND_PICTURE);
    if (picture == NULL) {
        abort();
    }
    for (unsigned i = 0; i < 4; i++) {
        picture[i] = (uint8_t)(GRPC_BACKEND_PICTURE >> (8 * i));
    }
    grpc_backend_picture(picture + 4, seed);
    put_field(to, RAW_ANSWER, picture, 4 + len);
    free(picture);
}

/* One message of the stream: `message` wrapped, or bare. */
static void put_answer(struct stream *stream, struct bytes *message)
{
    if (stream->many) {
        struct bytes outer = {NULL, 0};
        put_field(&outer, 2, message->data, message->len);
        put_frame(&stream->out, 0, &outer);
        free(outer.data);
    } else {
        put_frame(&stream->out, 0, message);
    }
    free(message->data);
}

static const struct output image_output = {"image", "BYTES", 1};

static void answer_picture(struct stream *stream, size_t len)
{
    struct bytes message = head_of(&image_output, 1, false);
    put_raw_picture(&message, stream->seed, len);
    put_answer(stream, &message);
}

static void s_quick(struct stream *stream)
{
    if (stream->many) {
        static const struct output progress = {"progress", "FP32", 1};
        for (unsigned i = 1; i <= 3; i++) {
            float fraction = (float)i / 4;
            struct bytes message = head_of(&progress, 1, false);
            put_field(&message, RAW_ANSWER, &fraction, sizeof fraction);
            put_answer(stream, &message);
        }
    }
    answer_picture(stream, GRPC_BACKEND_PICTURE);
    if (stream->many) {
        struct bytes message = head_of(NULL, 0, true);
        put_answer(stream, &message);
    }
}

static void s_half(struct stream *stream)
{
    answer_picture(stream, GRPC_BACKEND_PICTURE);
    stream->out.len /= 2;
}

static void s_none(struct stream *stream)
{
    (void)stream;
}

static void s_twice(struct stream *stream)
{
    s_quick(stream);
    s_quick(stream);
}

static void s_compressed(struct stream *stream)
{
    s_quick(stream);
    stream->out.data[0] = 1;
}

static void s_flag(struct stream *stream)
{
    s_quick(stream);
    stream->out.data[0] = 7;
}

static void s_raw_first(struct stream *stream)
{
    struct bytes message = {NULL, 0};
    put_raw_picture(&message, 1, 100);
    struct bytes head = head_of(&image_output, 1, false);
    grpc_put(&message, head.data, head.len);
    free(head.data);
    put_answer(stream, &message);
}

/* The outer length says more than there is room for. */
static void s_liar(struct stream *stream)
{
    struct bytes message = head_of(&image_output, 1, false);
    put_varint(&message, RAW_ANSWER << 3 | 2);
    put_varint(&message, 1u << 30);
    grpc_put(&message, "abc", 3);
    put_answer(stream, &message);
}

static void s_no_raw(struct stream *stream)
{
    struct bytes message = head_of(&image_output, 1, false);
    put_answer(stream, &message);
}

static void s_two_raws(struct stream *stream)
{
    struct bytes message = head_of(&image_output, 1, false);
    put_raw_picture(&message, 1, GRPC_BACKEND_PICTURE);
    put_raw_picture(&message, 1, GRPC_BACKEND_PICTURE);
    put_answer(stream, &message);
}

static void s_short(struct stream *stream)
{
    answer_picture(stream, 500);
}

static void s_wrong_type(struct stream *stream)
{
    static const struct output wrong = {"image", "FP32", 3};
    float numbers[3] = {1, 2, 3};
    struct bytes message = head_of(&wrong, 1, false);
    put_field(&message, RAW_ANSWER, numbers, sizeof numbers);
    put_answer(stream, &message);
}

static void s_text(struct stream *stream)
{
    static const char text[] = "\x14\0\0\0this is no picture!!";
    struct bytes message = head_of(&image_output, 1, false);
    put_field(&message, RAW_ANSWER, text, 24);
    put_answer(stream, &message);
}

static void s_huge_head(struct stream *stream)
{
    struct bytes message = {NULL, 0};
    char *name = calloc(1, 300000);
    if (name == NULL) {
        abort();
    }
    put_field(&message, 1, name, 300000);
    free(name);
    put_answer(stream, &message);
}

static void s_garbage(struct stream *stream)
{
    struct bytes message = {NULL, 0};
    grpc_put(&message, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
    put_answer(stream, &message);
}

static void s_error_message(struct stream *stream)
{
    struct bytes outer = {NULL, 0};
    put_field(&outer, 1, "the model fell over", 19);
    put_frame(&stream->out, 0, &outer);
    free(outer.data);
}

static void s_big_headers(struct stream *stream)
{
    static char big[40000];
    memset(big, 'a', sizeof big - 1);
    stream->message = big;
}

static const struct script {
    const char *prompt;
    void (*body)(struct stream *stream);
    enum end end;
    const char *status, *message;
    uint32_t code;
    int http_status;
    const char *type;
} scripts[] = {
    {.prompt = "quick", .body = s_quick, .status = "0"},
    {.prompt = "slow", .body = s_none, .end = END_NEVER, .http_status = -1},
    {.prompt = "slow-headers", .body = s_none, .end = END_NEVER},
    {.prompt = "slow-body", .body = s_half, .end = END_NEVER},
    {.prompt = "no-end", .body = s_quick, .end = END_NEVER},
    {.prompt = "cut", .body = s_half, .status = "0"},
    {.prompt = "empty", .body = s_none, .status = "0"},
    {.prompt = "no-status", .body = s_quick, .end = END_NO_STATUS},
    {.prompt = "bad-status", .body = s_quick, .status = "zero"},
    {.prompt = "odd-status", .body = s_quick, .status = "99", .message = "odd"},
    {.prompt = "late-error", .body = s_quick, .status = "13", .message = "too late"},
    {.prompt = "invalid", .body = s_none, .status = "3", .message = "bad%20size %E2%82%AC%0Anext"},
    {.prompt = "exhausted", .body = s_none, .status = "8", .message = "queue full"},
    {.prompt = "unavailable", .body = s_none, .status = "14", .message = "shutting down"},
    {.prompt = "overdue", .body = s_none, .status = "4"},
    {.prompt = "cancelled", .body = s_none, .status = "1"},
    {.prompt = "http404", .body = s_none, .http_status = 404, .type = "text/html"},
    {.prompt = "http503", .body = s_none, .http_status = 503, .type = "text/html"},
    {.prompt = "html", .body = s_none, .http_status = 200, .type = "text/html"},
    {.prompt = "reset", .body = s_none, .end = END_RESET, .code = NGHTTP2_INTERNAL_ERROR},
    {.prompt = "reset-inside", .body = s_half, .end = END_RESET, .code = NGHTTP2_CANCEL},
    {.prompt = "calm", .body = s_none, .end = END_RESET, .code = NGHTTP2_ENHANCE_YOUR_CALM},
    {.prompt = "close", .body = s_none, .end = END_CLOSE},
    {.prompt = "close-inside", .body = s_half, .end = END_CLOSE},
    {.prompt = "twice", .body = s_twice, .status = "0"},
    {.prompt = "compressed", .body = s_compressed, .status = "0"},
    {.prompt = "flag", .body = s_flag, .status = "0"},
    {.prompt = "encoded", .body = s_quick, .status = "0"},
    {.prompt = "raw-first", .body = s_raw_first, .status = "0"},
    {.prompt = "liar", .body = s_liar, .status = "0"},
    {.prompt = "no-raw", .body = s_no_raw, .status = "0"},
    {.prompt = "two-raws", .body = s_two_raws, .status = "0"},
    {.prompt = "short", .body = s_short, .status = "0"},
    {.prompt = "wrong-type", .body = s_wrong_type, .status = "0"},
    {.prompt = "text", .body = s_text, .status = "0"},
    {.prompt = "huge-head", .body = s_huge_head, .status = "0"},
    {.prompt = "garbage", .body = s_garbage, .status = "0"},
    {.prompt = "error-message", .body = s_error_message, .status = "0"},
    {.prompt = "big-headers", .body = s_big_headers, .status = "13"},
};

/* ---- requests ---- */

static void remember(struct stream *stream, const Inference__ModelInferRequest *request)
{
    struct bytes text = {NULL, 0};
    char line[512];
    (void)snprintf(line, sizeof line, "model %s version '%s' id %s\n", request->model_name,
                   request->model_version, request->id);
    grpc_put(&text, line, strlen(line));
    for (size_t i = 0; i < request->n_parameters; i++) {
        const Inference__InferParameter *value = request->parameters[i]->value;
        (void)snprintf(line, sizeof line, "parameter %s %d %lld\n", request->parameters[i]->key,
                       (int)value->parameter_choice_case,
                       value->parameter_choice_case ==
                               INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_BOOL_PARAM
                           ? (long long)value->bool_param
                           : (long long)value->uint64_param);
        grpc_put(&text, line, strlen(line));
    }
    for (size_t i = 0; i < request->n_inputs; i++) {
        (void)snprintf(line, sizeof line, "input %s %s %lld\n", request->inputs[i]->name,
                       request->inputs[i]->datatype, (long long)request->inputs[i]->shape[0]);
        grpc_put(&text, line, strlen(line));
    }
    for (size_t i = 0; i < request->n_outputs; i++) {
        (void)snprintf(line, sizeof line, "output %s\n", request->outputs[i]->name);
        grpc_put(&text, line, strlen(line));
    }
    (void)pthread_mutex_lock(&grpc_backend.lock);
    (void)snprintf(grpc_backend.headers, sizeof grpc_backend.headers, "%.*s",
                   (int)stream->headers.len, (const char *)stream->headers.data);
    (void)snprintf(grpc_backend.request, sizeof grpc_backend.request, "%.*s", (int)text.len,
                   (const char *)text.data);
    (void)pthread_mutex_unlock(&grpc_backend.lock);
    free(text.data);
}

/* Inputs are prompt (BYTES) and seed (INT64), raw, in this order: fields that protobuf-c does not
 * know, which it keeps as they came. */
void grpc_read_infer(struct stream *stream)
{
    Inference__ModelInferRequest *request =
        inference__model_infer_request__unpack(NULL, stream->in.len - 5, stream->in.data + 5);
    if (request == NULL) {
        return;
    }
    remember(stream, request);
    unsigned raw = 0;
    for (size_t i = 0; i < request->base.n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *field = &request->base.unknown_fields[i];
        size_t skip = 0;
        while (skip < field->len && (field->data[skip] & 0x80) != 0) {
            skip++;
        }
        skip++;
        if (field->tag == RAW_REQUEST && raw++ == 0 && field->len >= skip + 4) {
            (void)snprintf(stream->prompt, sizeof stream->prompt, "%.*s",
                           (int)(field->len - skip - 4), (const char *)field->data + skip + 4);
        } else if (field->tag == RAW_REQUEST && field->len == skip + 8) {
            memcpy(&stream->seed, field->data + skip, 8);
        }
    }
    inference__model_infer_request__free_unpacked(request, NULL);
}

void grpc_choose_script(struct stream *stream)
{
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        const struct script *script = &scripts[i];
        if (strcmp(script->prompt, stream->prompt) == 0) {
            stream->http_status = script->http_status != 0 ? script->http_status : 200;
            stream->type = script->type != NULL ? script->type : "application/grpc";
            stream->encoding = strcmp(script->prompt, "encoded") == 0 ? "gzip" : NULL;
            stream->end =
                script->status == NULL && script->end == END_STATUS ? END_NO_STATUS : script->end;
            stream->status = script->status;
            stream->message = script->message;
            stream->code = script->code;
            script->body(stream);
            return;
        }
    }
    stream->status = "3";
    stream->message = "no such script";
}

static void answer_bool(struct stream *stream, bool yes)
{
    struct bytes message = {NULL, 0};
    if (yes) {
        grpc_put(&message, "\x08\x01", 2);
    }
    put_frame(&stream->out, 0, &message);
    free(message.data);
}

static void answer_packed(struct stream *stream, const ProtobufCMessage *packed)
{
    struct bytes message = {NULL, 0};
    uint8_t *data = malloc(protobuf_c_message_get_packed_size(packed) + 1);
    if (data == NULL) {
        abort();
    }
    grpc_put(&message, data, protobuf_c_message_pack(packed, data));
    put_frame(&stream->out, 0, &message);
    free(data);
    free(message.data);
}

/* prompt and seed, and with `more_inputs` one that a mapping does not have. */
static void answer_metadata(struct stream *stream)
{
    typedef Inference__ModelMetadataResponse__TensorMetadata tensor;
    static const char *const names[] = {"prompt", "seed", "steps", "image", "progress"};
    static const char *const types[] = {"BYTES", "INT64", "INT32", "BYTES", "FP32"};
    tensor tensors[5], *at[5];
    int64_t one = 1;
    bool wrong = atomic_load(&grpc_backend.wrong_metadata);
    for (unsigned i = 0; i < 5; i++) {
        inference__model_metadata_response__tensor_metadata__init(&tensors[i]);
        tensors[i].name = (char *)(uintptr_t)names[i];
        tensors[i].datatype = (char *)(uintptr_t)(wrong && i == 1 ? "FP32" : types[i]);
        tensors[i].shape = &one;
        tensors[i].n_shape = 1;
        at[i] = &tensors[i];
    }
    Inference__ModelMetadataResponse answer;
    inference__model_metadata_response__init(&answer);
    answer.inputs = at;
    answer.n_inputs = atomic_load(&grpc_backend.more_inputs) ? 3 : 2;
    answer.outputs = at + 3;
    answer.n_outputs = 2;
    answer_packed(stream, &answer.base);
}

/* The same inputs, none of them optional; decoupled where the switch says so. */
static void answer_config(struct stream *stream)
{
    static const char *const names[] = {"prompt", "seed", "steps"};
    Inference__ModelInput inputs[3], *at[3];
    Inference__ModelTransactionPolicy policy;
    Inference__ModelConfig config;
    Inference__ModelConfigResponse answer;
    inference__model_transaction_policy__init(&policy);
    inference__model_config__init(&config);
    inference__model_config_response__init(&answer);
    for (unsigned i = 0; i < 3; i++) {
        inference__model_input__init(&inputs[i]);
        inputs[i].name = (char *)(uintptr_t)names[i];
        at[i] = &inputs[i];
    }
    policy.decoupled = atomic_load(&grpc_backend.decoupled_model);
    config.input = at;
    config.n_input = 3;
    config.model_transaction_policy = &policy;
    answer.config = &config;
    answer_packed(stream, &answer.base);
}

static void answer_statistics(struct stream *stream)
{
    unsigned asked = atomic_fetch_add(&grpc_backend.statistics, 1) + 1;
    Inference__StatisticDuration queue;
    inference__statistic_duration__init(&queue);
    Inference__InferStatistics stats;
    inference__infer_statistics__init(&stats);
    Inference__ModelStatistics model, *at = &model;
    inference__model_statistics__init(&model);
    Inference__ModelStatisticsResponse answer;
    inference__model_statistics_response__init(&answer);
    queue.count = asked * 10;
    queue.ns = (uint64_t)asked * 10 * atomic_load(&grpc_backend.queue_ms) * 1000000;
    stats.queue = &queue;
    model.inference_stats = &stats;
    answer.model_stats = &at;
    answer.n_model_stats = 1;
    answer_packed(stream, &answer.base);
}

void grpc_answer_probe(struct stream *stream, const char *method)
{
    atomic_fetch_add(&grpc_backend.probes, 1);
    stream->status = "0";
    if (atomic_load(&grpc_backend.silent)) {
        stream->end = END_NEVER;
        stream->http_status = -1;
    } else if (strcmp(method, "ServerLive") == 0) {
        answer_bool(stream, !atomic_load(&grpc_backend.not_live));
    } else if (strcmp(method, "ServerReady") == 0) {
        answer_bool(stream, !atomic_load(&grpc_backend.not_ready));
    } else if (strcmp(method, "ModelReady") == 0) {
        answer_bool(stream, !atomic_load(&grpc_backend.model_missing));
    } else if (strcmp(method, "ModelMetadata") == 0) {
        answer_metadata(stream);
    } else if (strcmp(method, "ModelConfig") == 0 && !atomic_load(&grpc_backend.no_config)) {
        answer_config(stream);
    } else if (strcmp(method, "ModelStatistics") == 0) {
        answer_statistics(stream);
    } else {
        stream->status = "12";
    }
}
