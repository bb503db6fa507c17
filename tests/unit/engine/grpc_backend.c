/* SPDX-License-Identifier: Apache-2.0
 *
 * See grpc_backend.h. A connection's thread reads, lets nghttp2 call on_request for each request
 * that is whole, and writes what there is to write. `scripts` is what a prompt means: the body that
 * is sent, and how the stream ends. */
#include "grpc_backend.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <inference.pb-c.h>
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>

struct grpc_backend grpc_backend;

enum { CONNECTIONS_MAX = 2048, RAW_REQUEST = 7, RAW_ANSWER = 6 };

enum end {
    END_STATUS,    /* trailers with `status` */
    END_NO_STATUS, /* END_STREAM on the data */
    END_NEVER,     /* nothing more comes */
    END_RESET,     /* RST_STREAM with `code` */
    END_CLOSE,     /* the connection is closed */
};

struct bytes {
    uint8_t *data;
    size_t len;
};

struct stream {
    struct stream *next; /* of its connection */
    int32_t id;
    char path[128];
    struct bytes headers, in, out;
    size_t out_at;
    char prompt[128];
    uint64_t seed;
    bool many; /* ModelStreamInfer */

    int http_status;
    const char *type;
    const char *encoding;
    enum end end;
    const char *status, *message;
    uint32_t code;
};

struct connection {
    pthread_t thread;
    int fd;
    SSL *ssl;
    nghttp2_session *session;
    struct stream *streams;
    bool close_now;
};

static struct {
    int fd;
    pthread_t thread;
    SSL_CTX *tls;
    pthread_mutex_t lock;
    struct connection connections[CONNECTIONS_MAX];
    unsigned count;
    bool stopping;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_uint refused; /* streams refused so far, of the prompts that want it once */

/* ---- bytes ---- */

static void put(struct bytes *to, const void *data, size_t len)
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
        put(to, &byte, 1);
        value >>= 7;
    } while (value != 0);
}

static void put_field(struct bytes *to, unsigned field, const void *data, size_t len)
{
    put_varint(to, field << 3 | 2);
    put_varint(to, len);
    put(to, data, len);
}

static void put_frame(struct bytes *to, uint8_t flag, const struct bytes *message)
{
    uint8_t frame[5] = {flag, (uint8_t)(message->len >> 24), (uint8_t)(message->len >> 16),
                        (uint8_t)(message->len >> 8), (uint8_t)message->len};
    put(to, frame, sizeof frame);
    put(to, message->data, message->len);
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
    put(&head, packed, inference__model_infer_response__pack(&answer, packed));
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
    put(&message, head.data, head.len);
    free(head.data);
    put_answer(stream, &message);
}

/* The outer length says more than there is room for. */
static void s_liar(struct stream *stream)
{
    struct bytes message = head_of(&image_output, 1, false);
    put_varint(&message, RAW_ANSWER << 3 | 2);
    put_varint(&message, 1u << 30);
    put(&message, "abc", 3);
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
    put(&message, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
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
    put(&text, line, strlen(line));
    for (size_t i = 0; i < request->n_parameters; i++) {
        const Inference__InferParameter *value = request->parameters[i]->value;
        (void)snprintf(line, sizeof line, "parameter %s %d %lld\n", request->parameters[i]->key,
                       (int)value->parameter_choice_case,
                       value->parameter_choice_case ==
                               INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_BOOL_PARAM
                           ? (long long)value->bool_param
                           : (long long)value->uint64_param);
        put(&text, line, strlen(line));
    }
    for (size_t i = 0; i < request->n_inputs; i++) {
        (void)snprintf(line, sizeof line, "input %s %s %lld\n", request->inputs[i]->name,
                       request->inputs[i]->datatype, (long long)request->inputs[i]->shape[0]);
        put(&text, line, strlen(line));
    }
    for (size_t i = 0; i < request->n_outputs; i++) {
        (void)snprintf(line, sizeof line, "output %s\n", request->outputs[i]->name);
        put(&text, line, strlen(line));
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
static void read_infer(struct stream *stream)
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

static void choose_script(struct stream *stream)
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
        put(&message, "\x08\x01", 2);
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
    put(&message, data, protobuf_c_message_pack(packed, data));
    put_frame(&stream->out, 0, &message);
    free(data);
    free(message.data);
}

static void answer_metadata(struct stream *stream)
{
    typedef Inference__ModelMetadataResponse__TensorMetadata tensor;
    char names[3][8] = {"prompt", "seed", "image"}, types[3][8] = {"BYTES", "INT64", "BYTES"};
    tensor tensors[3], *inputs[2] = {&tensors[0], &tensors[1]}, *outputs[2] = {&tensors[2]};
    int64_t one = 1;
    if (atomic_load(&grpc_backend.wrong_metadata)) {
        memcpy(types[1], "FP32", 5);
    }
    for (unsigned i = 0; i < 3; i++) {
        inference__model_metadata_response__tensor_metadata__init(&tensors[i]);
        tensors[i].name = names[i];
        tensors[i].datatype = types[i];
        tensors[i].shape = &one;
        tensors[i].n_shape = 1;
    }
    Inference__ModelMetadataResponse__TensorMetadata progress;
    inference__model_metadata_response__tensor_metadata__init(&progress);
    char progress_name[] = "progress", progress_type[] = "FP32";
    progress.name = progress_name;
    progress.datatype = progress_type;
    progress.shape = &one;
    progress.n_shape = 1;
    outputs[1] = &progress;
    Inference__ModelMetadataResponse answer;
    inference__model_metadata_response__init(&answer);
    answer.inputs = inputs;
    answer.n_inputs = 2;
    answer.outputs = outputs;
    answer.n_outputs = 2;
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

static void answer_probe(struct stream *stream, const char *method)
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
    } else if (strcmp(method, "ModelStatistics") == 0) {
        answer_statistics(stream);
    } else {
        stream->status = "12";
    }
}

/* ---- HTTP/2 ---- */

static ssize_t read_answer(nghttp2_session *session, int32_t id, uint8_t *out, size_t room,
                           uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)user;
    struct stream *stream = source->ptr;
    size_t left = stream->out.len - stream->out_at;
    size_t len = left < room ? left : room;
    if (len > 0) {
        memcpy(out, stream->out.data + stream->out_at, len);
        stream->out_at += len;
    }
    if (stream->out_at < stream->out.len) {
        return (ssize_t)len;
    }
    if (stream->end == END_NO_STATUS) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (stream->end == END_STATUS) {
        const char *message = stream->message != NULL ? stream->message : "";
        nghttp2_nv trailers[2] = {{(uint8_t *)(uintptr_t) "grpc-status",
                                   (uint8_t *)(uintptr_t)stream->status, 11, strlen(stream->status),
                                   0},
                                  {(uint8_t *)(uintptr_t) "grpc-message",
                                   (uint8_t *)(uintptr_t)message, 12, strlen(message), 0}};
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        (void)nghttp2_submit_trailer(session, id, trailers, 2);
    } else if (len == 0) {
        if (stream->end == END_RESET) {
            (void)nghttp2_submit_rst_stream(session, 0, id, stream->code);
        }
        if (stream->end == END_CLOSE) {
            ((struct connection *)user)->close_now = true;
        }
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)len;
}

static void send_answer(struct connection *connection, struct stream *stream)
{
    char status[16];
    (void)snprintf(status, sizeof status, "%d", stream->http_status);
    if (stream->http_status < 0) {
        return;
    }
    nghttp2_nv headers[3] = {
        {(uint8_t *)(uintptr_t) ":status", (uint8_t *)status, 7, strlen(status), 0},
        {(uint8_t *)(uintptr_t) "content-type", (uint8_t *)(uintptr_t)stream->type, 12,
         strlen(stream->type), 0},
        {(uint8_t *)(uintptr_t) "grpc-encoding", (uint8_t *)(uintptr_t) "gzip", 13, 4, 0}};
    nghttp2_data_provider body = {.source.ptr = stream, .read_callback = read_answer};
    (void)nghttp2_submit_response(connection->session, stream->id, headers,
                                  stream->encoding != NULL ? 3 : 2, &body);
}

/* Prompts that are about the connection. True: nothing else is to be done. */
static bool connection_script(struct connection *connection, struct stream *stream)
{
    if (strcmp(stream->prompt, "refuse-once") == 0 || strcmp(stream->prompt, "goaway-once") == 0) {
        bool first = atomic_fetch_add(&refused, 1) == 0;
        bool goaway = stream->prompt[0] == 'g';
        memcpy(stream->prompt, "quick", 6);
        if (first && goaway) {
            (void)nghttp2_submit_goaway(connection->session, 0, stream->id - 1, NGHTTP2_NO_ERROR,
                                        NULL, 0);
        } else if (first) {
            (void)nghttp2_submit_rst_stream(connection->session, 0, stream->id,
                                            NGHTTP2_REFUSED_STREAM);
        }
        return first;
    }
    if (strcmp(stream->prompt, "refuse") == 0) {
        (void)nghttp2_submit_rst_stream(connection->session, 0, stream->id, NGHTTP2_REFUSED_STREAM);
        return true;
    }
    if (strcmp(stream->prompt, "flood") == 0) {
        for (unsigned i = 0; i < 5000; i++) {
            (void)nghttp2_submit_ping(connection->session, 0, NULL);
        }
        return true;
    }
    return false;
}

static void on_request(struct connection *connection, struct stream *stream)
{
    const char *method = strrchr(stream->path, '/');
    method = method != NULL ? method + 1 : "";
    stream->http_status = 200;
    stream->type = "application/grpc";
    stream->many = strcmp(method, "ModelStreamInfer") == 0;
    if (stream->many || strcmp(method, "ModelInfer") == 0) {
        atomic_fetch_add(&grpc_backend.infers, 1);
        read_infer(stream);
        if (connection_script(connection, stream)) {
            return;
        }
        choose_script(stream);
    } else {
        answer_probe(stream, method);
    }
    send_answer(connection, stream);
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct connection *connection = user;
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        abort();
    }
    stream->id = frame->hd.stream_id;
    stream->next = connection->streams;
    connection->streams = stream;
    return nghttp2_session_set_stream_user_data(session, stream->id, stream);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    (void)flags;
    (void)user;
    struct stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (stream == NULL) {
        return 0;
    }
    if (name_len == 5 && memcmp(name, ":path", 5) == 0) {
        (void)snprintf(stream->path, sizeof stream->path, "%.*s", (int)value_len,
                       (const char *)value);
    }
    char line[512];
    (void)snprintf(line, sizeof line, "%.*s: %.*s\n", (int)name_len, (const char *)name,
                   (int)value_len, (const char *)value);
    put(&stream->headers, line, strlen(line));
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *user)
{
    (void)flags;
    (void)user;
    struct stream *stream = nghttp2_session_get_stream_user_data(session, id);
    if (stream != NULL) {
        put(&stream->in, data, len);
    }
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        atomic_fetch_add(&grpc_backend.resets, 1);
        (void)sem_post(&grpc_backend.reset);
    }
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
        (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS)) {
        struct stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (stream != NULL) {
            on_request(user, stream);
        }
    }
    return 0;
}

static void drop(struct stream *stream)
{
    free(stream->headers.data);
    free(stream->in.data);
    free(stream->out.data);
    free(stream);
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    (void)session;
    (void)code;
    struct connection *connection = user;
    for (struct stream **at = &connection->streams; *at != NULL; at = &(*at)->next) {
        if ((*at)->id == id) {
            struct stream *gone = *at;
            *at = gone->next;
            drop(gone);
            break;
        }
    }
    return 0;
}

/* ---- sockets ---- */

static ssize_t get(struct connection *connection, void *out, size_t room)
{
    return connection->ssl != NULL ? SSL_read(connection->ssl, out, (int)room)
                                   : recv(connection->fd, out, room, 0);
}

static bool give(struct connection *connection, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = connection->ssl != NULL ? SSL_write(connection->ssl, data, (int)len)
                                               : send(connection->fd, data, len, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        data += sent;
        len -= (size_t)sent;
    }
    return true;
}

static bool flush(struct connection *connection)
{
    const uint8_t *data;
    ssize_t len;
    while ((len = nghttp2_session_mem_send(connection->session, &data)) > 0) {
        if (!give(connection, data, (size_t)len)) {
            return false;
        }
    }
    return len == 0 && !connection->close_now;
}

static void serve_http2(struct connection *connection)
{
    uint8_t in[16384];
    nghttp2_session_callbacks *callbacks;
    nghttp2_settings_entry settings[1] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, atomic_load(&grpc_backend.streams_max)}};
    (void)nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    (void)nghttp2_session_server_new(&connection->session, callbacks, connection);
    (void)nghttp2_submit_settings(connection->session, 0, settings, settings[0].value != 0);
    ssize_t len;
    while (flush(connection) && (len = get(connection, in, sizeof in)) > 0) {
        if (nghttp2_session_mem_recv(connection->session, in, (size_t)len) < 0) {
            break;
        }
    }
    nghttp2_session_del(connection->session);
    nghttp2_session_callbacks_del(callbacks);
    while (connection->streams != NULL) {
        struct stream *gone = connection->streams;
        connection->streams = gone->next;
        drop(gone);
    }
}

static void serve_plainly(struct connection *connection)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    uint8_t in[1024];
    if (!atomic_load(&grpc_backend.mute)) {
        (void)give(connection, (const uint8_t *)text, sizeof text - 1);
    }
    while (get(connection, in, sizeof in) > 0) {
    }
}

static void *serve(void *user)
{
    struct connection *connection = user;
    bool ok = true;
    int yes = 1;
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (server.tls != NULL) {
        connection->ssl = SSL_new(server.tls);
        ok = SSL_set_fd(connection->ssl, connection->fd) == 1 && SSL_accept(connection->ssl) == 1;
    }
    if (ok && (atomic_load(&grpc_backend.plain) || atomic_load(&grpc_backend.mute))) {
        serve_plainly(connection);
    } else if (ok) {
        serve_http2(connection);
    }
    SSL_free(connection->ssl);
    (void)shutdown(connection->fd, SHUT_RDWR); /* closed by stop, which may use it until then */
    return NULL;
}

static void *accept_all(void *user)
{
    (void)user;
    for (;;) {
        int fd = accept(server.fd, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        (void)pthread_mutex_lock(&server.lock);
        if (server.stopping || server.count == CONNECTIONS_MAX) {
            (void)close(fd);
        } else {
            struct connection *connection = &server.connections[server.count++];
            *connection = (struct connection){.fd = fd};
            atomic_fetch_add(&grpc_backend.connections, 1);
            if (pthread_create(&connection->thread, NULL, serve, connection) != 0) {
                abort();
            }
        }
        (void)pthread_mutex_unlock(&server.lock);
    }
}

static int choose_h2(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                     const unsigned char *in, unsigned in_len, void *user)
{
    (void)ssl;
    (void)user;
    if (atomic_load(&grpc_backend.no_alpn) || in_len < 3) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    *out = in + 1;
    *out_len = in[0];
    return SSL_TLSEXT_ERR_OK;
}

unsigned grpc_backend_start(unsigned port, const char *certificate, const char *key)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int yes = 1;
    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(server.fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(server.fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(server.fd, 64) != 0 ||
        getsockname(server.fd, (struct sockaddr *)&address, &len) != 0) {
        abort();
    }
    server.stopping = false;
    server.count = 0;
    server.tls = NULL;
    if (certificate != NULL) {
        server.tls = SSL_CTX_new(TLS_server_method());
        if (SSL_CTX_use_certificate_file(server.tls, certificate, SSL_FILETYPE_PEM) != 1 ||
            SSL_CTX_use_PrivateKey_file(server.tls, key, SSL_FILETYPE_PEM) != 1) {
            abort();
        }
        SSL_CTX_set_alpn_select_cb(server.tls, choose_h2, NULL);
    }
    if (pthread_create(&server.thread, NULL, accept_all, NULL) != 0) {
        abort();
    }
    return ntohs(address.sin_port);
}

void grpc_backend_stop(void)
{
    (void)pthread_mutex_lock(&server.lock);
    server.stopping = true;
    (void)shutdown(server.fd, SHUT_RDWR);
    for (unsigned i = 0; i < server.count; i++) {
        (void)shutdown(server.connections[i].fd, SHUT_RDWR);
    }
    (void)pthread_mutex_unlock(&server.lock);
    (void)pthread_join(server.thread, NULL);
    (void)close(server.fd);
    for (unsigned i = 0; i < server.count; i++) {
        (void)pthread_join(server.connections[i].thread, NULL);
        (void)close(server.connections[i].fd);
    }
    SSL_CTX_free(server.tls);
}

void grpc_backend_reset(void)
{
    atomic_bool *switches[] = {&grpc_backend.not_live,      &grpc_backend.not_ready,
                               &grpc_backend.model_missing, &grpc_backend.wrong_metadata,
                               &grpc_backend.silent,        &grpc_backend.plain,
                               &grpc_backend.mute,          &grpc_backend.no_alpn};
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        atomic_store(switches[i], false);
    }
    atomic_store(&grpc_backend.streams_max, 0);
    atomic_store(&grpc_backend.queue_ms, 0);
    atomic_store(&grpc_backend.connections, 0);
    atomic_store(&grpc_backend.infers, 0);
    atomic_store(&grpc_backend.resets, 0);
    atomic_store(&grpc_backend.probes, 0);
    atomic_store(&grpc_backend.statistics, 0);
    atomic_store(&refused, 0);
    while (sem_trywait(&grpc_backend.reset) == 0) {
    }
}
