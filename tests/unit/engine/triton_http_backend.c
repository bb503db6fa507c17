/* SPDX-License-Identifier: Apache-2.0
 *
 * See triton_http_backend.h. The model has PROMPT, SEED and, optionally, PICTURE, and gives IMAGE
 * and SECONDS; "raw" has a raw picture instead. */
#include "triton_http_backend.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "../fetch/loopback.h"
#include "base/text.h"

struct triton_backend triton_backend = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct asked {
    char prompt[64];
    uint64_t seed;
    bool binary; /* the answer shall be */
};

void triton_backend_picture(char *out, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i++) {
        out[i] = (char)(i * 31 + seed);
    }
    memcpy(out, "\x89PNG\r\n\x1a\n", len < 8 ? len : 8);
}

void triton_backend_reset(void)
{
    free(triton_backend.json);
    free(triton_backend.blobs);
    triton_backend.json = NULL;
    triton_backend.blobs = NULL;
    triton_backend.plain = false;
    triton_backend.unready = false;
    triton_backend.decoupled = false;
    triton_backend.model_status = 0;
    triton_backend.metadata = NULL;
    triton_backend.queue_ns_each = 0;
}

static void send_json(int fd, int status, const char *json)
{
    loopback_printf(fd,
                    "HTTP/1.1 %d Odd\r\nContent-Type: application/json\r\nContent-Length: "
                    "%zu\r\n\r\n%s",
                    status, strlen(json), json);
}

/* ---- answers to inference ---- */

static void send_binary(int fd, const char *json, const void *blobs, size_t len, size_t claimed)
{
    loopback_printf(fd,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                    "Inference-Header-Content-Length: %zu\r\nContent-Length: %zu\r\n\r\n%s",
                    strlen(json), strlen(json) + claimed, json);
    loopback_send(fd, blobs, len);
}

/* SECONDS (1.5) and IMAGE, `len` bytes of it with the length in front. */
static char *make_blobs(uint64_t seed, size_t len)
{
    static const float seconds = 1.5f;
    char *blobs = malloc(8 + len);
    uint32_t prefix = (uint32_t)len;
    if (blobs == NULL) {
        abort();
    }
    memcpy(blobs, &seconds, 4);
    memcpy(blobs + 4, &prefix, 4);
    triton_backend_picture(blobs + 8, len, seed);
    return blobs;
}

#define OUTPUTS(image_size)                                                                        \
    "{\"model_name\":\"painter\",\"outputs\":["                                                    \
    "{\"name\":\"SECONDS\",\"datatype\":\"FP32\",\"shape\":[1],"                                   \
    "\"parameters\":{\"binary_data_size\":4}},"                                                    \
    "{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[1],"                                    \
    "\"parameters\":{\"binary_data_size\":" image_size "}}]}"

static bool good(int fd, const struct asked *asked)
{
    char *blobs = make_blobs(asked->seed, TRITON_PICTURE);
    if (asked->binary) {
        send_binary(fd, OUTPUTS("20004"), blobs, TRITON_PICTURE + 8, TRITON_PICTURE + 8);
    } else {
        size_t room = RD_TEXT_BASE64_LEN(TRITON_PICTURE) + 512;
        char *json = malloc(room);
        char *text = malloc(RD_TEXT_BASE64_LEN(TRITON_PICTURE) + 1);
        if (json == NULL || text == NULL) {
            abort();
        }
        rd_text_base64(blobs + 8, TRITON_PICTURE, text);
        (void)snprintf(json, room,
                       "{\"outputs\": [ {\"name\":\"IMAGE\",\"shape\":[1],\"datatype\":\"BYTES\","
                       "\"data\": [ \"%s\" ] }, {\"name\":\"SECONDS\",\"shape\":[1],\"datatype\":"
                       "\"FP32\",\"parameters\":{\"data\":[1]},\"data\":[[1.5]]}],"
                       "\"model_name\":\"painter\"}",
                       text);
        loopback_printf(fd,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n%zx\r\n",
                        strlen(json));
        loopback_send(fd, json, strlen(json));
        loopback_printf(fd, "\r\n0\r\n\r\n");
        free(json);
        free(text);
    }
    free(blobs);
    return true;
}

static bool slow(int fd, const struct asked *asked)
{
    (void)asked;
    loopback_wait_gone(fd);
    return false;
}

static bool pauses(int fd, const struct asked *asked)
{
    (void)usleep(60000);
    return good(fd, asked);
}

static bool late(int fd, const struct asked *asked)
{
    (void)usleep(200000);
    return good(fd, asked);
}

static bool slow_inside(int fd, const struct asked *asked)
{
    char *blobs = make_blobs(asked->seed, TRITON_PICTURE);
    send_binary(fd, OUTPUTS("20004"), blobs, 5000, TRITON_PICTURE + 8);
    free(blobs);
    loopback_wait_gone(fd);
    return false;
}

static bool ends_early(int fd, const struct asked *asked)
{
    char *blobs = make_blobs(asked->seed, TRITON_PICTURE);
    send_binary(fd, OUTPUTS("20004"), blobs, TRITON_PICTURE, TRITON_PICTURE + 8);
    free(blobs);
    return false;
}

static bool reset_inside(int fd, const struct asked *asked)
{
    (void)ends_early(fd, asked);
    loopback_reset_on_close(fd);
    return false;
}

static bool hang_up(int fd, const struct asked *asked)
{
    (void)fd;
    (void)asked;
    return false;
}

/* The sizes say less than there is, and more. */
static bool too_much(int fd, const struct asked *asked)
{
    char *blobs = make_blobs(asked->seed, TRITON_PICTURE);
    send_binary(fd, OUTPUTS("20004"), blobs, TRITON_PICTURE + 8, TRITON_PICTURE + 12);
    loopback_printf(fd, "more");
    free(blobs);
    return true;
}

static bool too_little(int fd, const struct asked *asked)
{
    char *blobs = make_blobs(asked->seed, TRITON_PICTURE);
    send_binary(fd, OUTPUTS("20004"), blobs, TRITON_PICTURE, TRITON_PICTURE);
    free(blobs);
    return true;
}

static bool length_lies(int fd, const struct asked *asked)
{
    char *blobs = make_blobs(asked->seed, TRITON_PICTURE);
    blobs[4]++; /* the element says a byte more than the tensor has */
    send_binary(fd, OUTPUTS("20004"), blobs, TRITON_PICTURE + 8, TRITON_PICTURE + 8);
    free(blobs);
    return true;
}

static bool text_picture(int fd, const struct asked *asked)
{
    char *blobs = make_blobs(asked->seed, 100);
    memset(blobs + 8, 'x', 100);
    send_binary(fd, OUTPUTS("104"), blobs, 108, 108);
    free(blobs);
    return true;
}

/* What answers that are nothing but JSON say. */
static const struct {
    const char *prompt;
    int status;
    const char *json;
} texts[] = {
    {"busy", 503, "{\"error\":\"the queue is full\"}"},
    {"expired", 503, "{\"error\":\"Request timeout expired\"}"},
    {"broken", 500, "{\"error\":\"CUDA out of\\nmemory\"}"},
    {"refused", 400, "{\"error\":\"unexpected shape for input\"}"},
    {"unknown", 404, "{\"error\":\"Request for unknown model\"}"},
    {"no-text", 500, "[1]"},
    {"large", 413, "{}"},
    {"no-json", 200, "<html>"},
    {"half-json", 200, "{\"outputs\":[{\"name\":\"IMA"},
    {"list", 200, "[]"},
    {"no-outputs", 200, "{}"},
    {"no-picture", 200, "{\"outputs\":[]}"},
    {"wrong-type", 200,
     "{\"outputs\":[{\"name\":\"IMAGE\",\"datatype\":\"FP32\",\"shape\":[1],\"data\":[1]}]}"},
    {"wrong-shape", 200,
     "{\"outputs\":[{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[2],\"data\":[]}]}"},
    {"data-first", 200,
     "{\"outputs\":[{\"data\":[\"x\"],\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[1]}]}"},
    {"no-base64", 200,
     "{\"outputs\":[{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"??\"]}]}"},
    {"scalar", 200,
     "{\"outputs\":[{\"name\":\"SECONDS\",\"datatype\":\"FP32\",\"shape\":[1],\"data\":1}]}"},
    {"words", 200,
     "{\"outputs\":[{\"name\":\"SECONDS\",\"datatype\":\"FP32\",\"shape\":[1],\"data\":[NaN]}]}"},
    {"size-text", 200,
     "{\"outputs\":[{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[1],"
     "\"parameters\":{\"binary_data_size\":\"9\"}}]}"},
    {"size-huge", 200,
     "{\"outputs\":[{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[1],"
     "\"parameters\":{\"binary_data_size\":9223372036854775807}}]}"},
    {"deep", 200, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["},
};

static const struct {
    const char *prompt;
    bool (*answer)(int fd, const struct asked *asked);
} answers[] = {
    {"quick", good},
    {"slow", slow},
    {"pause", pauses},
    {"late", late},
    {"slow-inside", slow_inside},
    {"ends-early", ends_early},
    {"reset-inside", reset_inside},
    {"hang-up", hang_up},
    {"too-much", too_much},
    {"too-little", too_little},
    {"length-lies", length_lies},
    {"text-picture", text_picture},
};

/* A JSON head of a header's own making. */
static bool odd_head(int fd, const char *prompt)
{
    static const char *const lengths[] = {"0", "65537", "x", "-1", "99999999999999999999", "40"};
    unsigned index = (unsigned)prompt[5] - '0'; /* "head-N" */
    loopback_printf(fd,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                    "Inference-Header-Content-Length: %s\r\nContent-Length: 30\r\n\r\n%30s",
                    lengths[index], "{}");
    return true;
}

static bool infer(int fd, const struct asked *asked)
{
    if (strncmp(asked->prompt, "head-", 5) == 0) {
        return odd_head(fd, asked->prompt);
    }
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        if (strcmp(asked->prompt, answers[i].prompt) == 0) {
            return answers[i].answer(fd, asked);
        }
    }
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(asked->prompt, texts[i].prompt) == 0) {
            send_json(fd, texts[i].status, texts[i].json);
            return true;
        }
    }
    abort(); /* the test asks for what is not there */
}

/* ---- requests ---- */

/* Reads one input: from `*blob` on, or out of the JSON. */
static void take_input(const json_t *input, const char **blob, struct asked *asked)
{
    const char *name = json_string_value(json_object_get(input, "name"));
    const json_t *size = json_object_get(json_object_get(input, "parameters"), "binary_data_size");
    const json_t *first = json_array_get(json_object_get(input, "data"), 0);
    if (strcmp(name, "PROMPT") == 0) {
        uint32_t len = 0;
        if (size != NULL) {
            memcpy(&len, *blob, 4);
        }
        (void)snprintf(asked->prompt, sizeof asked->prompt, "%.*s", size != NULL ? (int)len : 63,
                       size != NULL ? *blob + 4 : json_string_value(first));
    } else if (strcmp(name, "SEED") == 0 && size != NULL) {
        memcpy(&asked->seed, *blob, 8);
    } else if (strcmp(name, "SEED") == 0) {
        asked->seed = (uint64_t)json_integer_value(first);
    }
    *blob += size != NULL ? json_integer_value(size) : 0;
}

static bool take_inference(int fd, const struct loopback_request *request)
{
    char value[32];
    loopback_header(request->head, "Inference-Header-Content-Length", value, sizeof value);
    size_t len = value[0] != '\0' ? strtoul(value, NULL, 10) : request->body_len;
    json_t *json = len <= request->body_len ? json_loadb(request->body, len, 0, NULL) : NULL;
    if (json == NULL) {
        abort(); /* the engine does not speak JSON */
    }
    struct asked asked = {.binary = value[0] != '\0'};
    const char *blob = request->body + len;
    const json_t *inputs = json_object_get(json, "inputs");
    for (size_t i = 0; i < json_array_size(inputs); i++) {
        take_input(json_array_get(inputs, i), &blob, &asked);
    }
    json_decref(json);
    (void)pthread_mutex_lock(&triton_backend.lock);
    free(triton_backend.json);
    free(triton_backend.blobs);
    triton_backend.json = strndup(request->body, len);
    triton_backend.blobs_len = request->body_len - len;
    triton_backend.blobs = malloc(triton_backend.blobs_len + 1);
    if (triton_backend.json == NULL || triton_backend.blobs == NULL ||
        blob != request->body + request->body_len) {
        abort();
    }
    memcpy(triton_backend.blobs, request->body + len, triton_backend.blobs_len);
    (void)snprintf(triton_backend.head, sizeof triton_backend.head, "%s", request->head);
    triton_backend.inferred++;
    (void)pthread_mutex_unlock(&triton_backend.lock);
    return infer(fd, &asked);
}

static const char metadata[] =
    "{\"name\":\"painter\",\"versions\":[\"1\"],\"platform\":\"python\",\"inputs\":["
    "{\"name\":\"PROMPT\",\"datatype\":\"BYTES\",\"shape\":[1]},"
    "{\"name\":\"PICTURE\",\"datatype\":\"BYTES\",\"shape\":[1]},"
    "{\"name\":\"SEED\",\"datatype\":\"INT64\",\"shape\":[1]}],\"outputs\":["
    "{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[1]},"
    "{\"name\":\"SECONDS\",\"datatype\":\"FP32\",\"shape\":[1]}]}";

/* What the server says of itself. */
static void tell(int fd, const char *path)
{
    struct triton_backend *own = &triton_backend;
    char text[512];
    (void)pthread_mutex_lock(&own->lock);
    if (strcmp(path, "/v2/health/ready") == 0) {
        send_json(fd, own->unready ? 400 : 200, "");
    } else if (strcmp(path, "/v2") == 0) {
        send_json(fd, 200,
                  own->plain ? "{\"name\":\"other\",\"version\":\"1\",\"extensions\":[]}"
                             : "{\"name\":\"triton\",\"extensions\":[\"binary_tensor_data\","
                               "\"model_configuration\",\"statistics\"]}");
    } else if (rd_text_ends(path, "/ready")) {
        send_json(fd, own->model_status != 0 ? own->model_status : 200,
                  own->model_status != 0 ? "{\"error\":\"no GPU\"}" : "");
    } else if (rd_text_ends(path, "/config")) {
        (void)snprintf(text, sizeof text,
                       "{\"input\":[{\"name\":\"PICTURE\",\"optional\":true},{\"name\":\"PROMPT\"},"
                       "{\"name\":\"SEED\"}],\"model_transaction_policy\":{\"decoupled\":%s}}",
                       own->decoupled ? "true" : "false");
        send_json(fd, 200, text);
    } else if (rd_text_ends(path, "/stats")) {
        own->statistics_asked++;
        (void)snprintf(
            text, sizeof text,
            "{\"model_stats\":[{\"inference_stats\":{\"queue\":{\"count\":%u,\"ns\":%llu}"
            "}}]}",
            own->inferred, (unsigned long long)(own->queue_ns_each * own->inferred));
        send_json(fd, 200, text);
    } else {
        own->metadata_asked++;
        send_json(fd, 200, own->metadata != NULL ? own->metadata : metadata);
    }
    (void)pthread_mutex_unlock(&own->lock);
}

bool triton_backend_handle(void *ctx, int fd, const struct loopback_request *request)
{
    (void)ctx;
    char method[8] = "", path[256] = "";
    (void)sscanf(request->head, "%7s %255s", method, path);
    if (strcmp(method, "POST") == 0) {
        (void)pthread_mutex_lock(&triton_backend.lock);
        memcpy(triton_backend.path, path, sizeof path);
        (void)pthread_mutex_unlock(&triton_backend.lock);
        return take_inference(fd, request);
    }
    tell(fd, path);
    return true;
}
