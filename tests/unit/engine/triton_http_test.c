/* SPDX-License-Identifier: Apache-2.0
 *
 * Triton over HTTP: the conformance suite against a scripted server (triton_http_backend.c), with
 * and without the binary tensor extension, then what goes over the wire, what the server is asked
 * about itself, and what of its answers is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "../fetch/loopback.h"
#include "base/clock.h"
#include "base/text.h"
#include "conformance.h"
#include "engine/triton/http_internal.h"
#include "recorder.h"
#include "triton_http_backend.h"

enum { WAIT_MS = 20000, NS_PER_MS = 1000000 };

static struct loopback *server;
static unsigned port;
static char base_url[64];

static const struct rd_format square = {"512", RD_MODALITY_IMAGE, 512, 512};
#define GENERATION(text)                                                                           \
    {                                                                                              \
        .task = RD_TASK_T2I, .family = "fam", .model = "mod", .format = &square,                   \
        .media = RD_MEDIA_PNG, .prompt = (text), .negative_prompt = "", .seed = 7, .count = 1,     \
        .steps = 4                                                                                 \
    }
static const struct rd_generation quick = GENERATION("quick");
static const struct rd_generation slow = GENERATION("slow");

#define INPUT(name_, field_, datatype_)                                                            \
    {                                                                                              \
        .name = (name_), .field = (field_), .datatype = (datatype_), .rank = 1, .shape = { 1 }     \
    }
static const struct rd_mapping_tensor inputs[] = {
    INPUT("PROMPT", RD_INPUT_PROMPT, RD_DATATYPE_BYTES),
    {.name = "PICTURE",
     .field = RD_INPUT_IMAGE,
     .datatype = RD_DATATYPE_BYTES,
     .rank = 1,
     .shape = {1},
     .optional = true},
    INPUT("SEED", RD_INPUT_SEED, RD_DATATYPE_INT64),
};
static const struct rd_mapping_tensor outputs[] = {
    {.name = "IMAGE",
     .gives = RD_OUTPUT_IMAGE,
     .datatype = RD_DATATYPE_BYTES,
     .rank = 1,
     .shape = {1}},
    {.name = "SECONDS",
     .gives = RD_OUTPUT_DEVICE_SECONDS,
     .datatype = RD_DATATYPE_FP32,
     .rank = 1,
     .shape = {1}},
};
static const struct rd_mapping mapping = {.name = "painter",
                                          .model = "painter",
                                          .inputs = inputs,
                                          .inputs_count = 3,
                                          .outputs = outputs,
                                          .outputs_count = 2};
static const struct rd_mapping untold = {.name = "untold",
                                         .model = "a b/%",
                                         .version = "7",
                                         .inputs = inputs,
                                         .inputs_count = 3,
                                         .outputs = outputs,
                                         .outputs_count = 1};
static const char *const models[] = {"fam/mod"};
static const struct rd_mapping *const mappings[] = {&mapping}, *const untold_mappings[] = {&untold};

#define CONFIG                                                                                     \
    {                                                                                              \
        .name = "test", .type = "triton", .url = base_url, .slots = 8, .models = models,           \
        .models_count = 1, .mappings = mappings, .mappings_count = 1                               \
    }

#define BAD(name_, text_) static const struct rd_generation name_ = GENERATION(text_)
BAD(busy, "busy");
BAD(expired, "expired");
BAD(broken, "broken");
BAD(refused, "refused");
BAD(unknown, "unknown");
BAD(large, "large");
BAD(ends_early, "ends-early");
BAD(reset_inside, "reset-inside");
BAD(hang_up, "hang-up");
BAD(too_much, "too-much");
BAD(text_picture, "text-picture");
BAD(wrong_type, "wrong-type");

static const struct rd_conformance_failure failures[] = {
    {"busy", &busy, RD_ERR_CAPACITY, false, false},
    {"expired", &expired, RD_ERR_BACKEND_TIMEOUT, false, false},
    {"broken", &broken, RD_ERR_BACKEND_FAILED, false, false},
    {"refused", &refused, RD_ERR_BACKEND_FAILED, true, true},
    {"unknown", &unknown, RD_ERR_BACKEND_FAILED, true, false},
    {"large", &large, RD_ERR_BACKEND_FAILED, true, true},
    {"ends early", &ends_early, RD_ERR_BACKEND_FAILED, false, false},
    {"reset inside", &reset_inside, RD_ERR_BACKEND_FAILED, false, false},
    {"hang up", &hang_up, RD_ERR_BACKEND_FAILED, false, false},
    {"too much", &too_much, RD_ERR_BACKEND_FAILED, true, false},
    {"text for a picture", &text_picture, RD_ERR_BACKEND_FAILED, true, false},
    {"wrong type", &wrong_type, RD_ERR_BACKEND_FAILED, true, false},
};

static void take_server(void *ctx, bool up)
{
    (void)ctx;
    if (up) {
        server = loopback_start_at(triton_backend_handle, NULL, port);
    } else {
        loopback_stop(server);
    }
}

static struct rd_conformance given = {
    .ops = &rd_engine_triton_http_ops,
    .config = CONFIG,
    .quick = &quick,
    .slow = &slow,
    .stop_ms = 2000,
    .races = 40,
    .failures = failures,
    .failures_count = sizeof failures / sizeof failures[0],
    .server = take_server,
};
static struct rd_conformance given_plain = {
    .ops = &rd_engine_triton_http_ops,
    .config = CONFIG,
    .quick = &quick,
    .slow = &slow,
    .stop_ms = 2000,
    .races = 10,
};

static int setup(void **state)
{
    (void)state;
    server = loopback_start(triton_backend_handle, NULL);
    port = loopback_port(server);
    (void)snprintf(base_url, sizeof base_url, "http://127.0.0.1:%u/", port);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loopback_stop(server);
    triton_backend_reset();
    return 0;
}

/* ---- tools ---- */

static struct rd_engine *open_with(const struct rd_engine_config *config)
{
    struct rd_engine *engine = NULL;
    struct rd_why why = {""};
    if (rd_engine_triton_http_ops.open(config, &engine, &why) != RD_OK) {
        fail_msg("open: %s", why.text);
    }
    return engine;
}

static struct rd_engine *open_usual(void)
{
    const struct rd_engine_config config = CONFIG;
    return open_with(&config);
}

static void run_on(struct rd_engine *engine, const struct rd_generation *generation, unsigned count,
                   struct recorder *recorder)
{
    recorder_init(recorder);
    assert_int_equal(
        recorder_start(recorder, &rd_engine_triton_http_ops, engine, generation, count), RD_OK);
    assert_true(recorder_wait(recorder, WAIT_MS));
    assert_string_equal(recorder->violation, "");
}

/* Waits until the engine is ready, or is not and says `why`. */
static void wait_health(struct rd_engine *engine, bool ready, const char *why)
{
    struct rd_engine_health health;
    uint64_t until = rd_clock_mono_ns() + (uint64_t)WAIT_MS * NS_PER_MS;
    for (;;) {
        rd_engine_triton_http_ops.health(engine, &health);
        if (health.ready == ready && strstr(health.why, why) != NULL) {
            return;
        }
        if (rd_clock_mono_ns() > until) {
            fail_msg("ready %d, \"%s\"", health.ready, health.why);
        }
        (void)usleep(1000);
    }
}

static uint64_t checksum_of(uint64_t seed)
{
    char *picture = malloc(TRITON_PICTURE);
    assert_non_null(picture);
    triton_backend_picture(picture, TRITON_PICTURE, seed);
    uint64_t checksum = 14695981039346656037u;
    for (size_t i = 0; i < TRITON_PICTURE; i++) {
        checksum = (checksum ^ (uint8_t)picture[i]) * 1099511628211u;
    }
    free(picture);
    return checksum;
}

/* Sets one thing of the server's. */
#define WITH_SERVER(what)                                                                          \
    do {                                                                                           \
        (void)pthread_mutex_lock(&triton_backend.lock);                                            \
        what;                                                                                      \
        (void)pthread_mutex_unlock(&triton_backend.lock);                                          \
    } while (0)

/* ---- the wire ---- */

static const json_t *input_named(const json_t *json, const char *name)
{
    const json_t *list = json_object_get(json, "inputs");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *input = json_array_get(list, i);
        if (strcmp(json_string_value(json_object_get(input, "name")), name) == 0) {
            return input;
        }
    }
    return NULL;
}

static void test_request(void **state)
{
    (void)state;
    struct rd_engine *engine = open_usual();
    struct recorder recorder;
    wait_health(engine, true, "");
    run_on(engine, &quick, 2, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    assert_int_equal(recorder.size[0], TRITON_PICTURE);
    assert_int_equal(recorder.size_hint[0], TRITON_PICTURE);
    assert_int_equal(recorder.checksum[0], checksum_of(7));
    assert_int_equal(recorder.checksum[1], checksum_of(8));
    assert_int_equal(recorder.report.source, RD_DEVICE_TIME_ENGINE);
    assert_int_equal(recorder.report.device_ns, 3000000000u);
    WITH_SERVER({
        char value[64];
        json_t *json = json_loads(triton_backend.json, 0, NULL);
        assert_non_null(json);
        assert_string_equal(triton_backend.path, "/v2/models/painter/infer");
        assert_string_equal(json_string_value(json_object_get(json, "id")),
                            "req_000000000000conform");
        const json_t *parameters = json_object_get(json, "parameters");
        long long left = json_integer_value(json_object_get(parameters, "timeout"));
        assert_true(left > 200000000 && left <= 300000000); /* of the usual 5 minutes, in us */
        assert_int_equal(json_array_size(json_object_get(json, "inputs")), 2);
        const json_t *seed = input_named(json, "SEED");
        assert_string_equal(json_string_value(json_object_get(seed, "datatype")), "INT64");
        assert_int_equal(json_integer_value(json_array_get(json_object_get(seed, "shape"), 0)), 1);
        const json_t *output = json_array_get(json_object_get(json, "outputs"), 0);
        assert_true(
            json_is_true(json_object_get(json_object_get(output, "parameters"), "binary_data")));
        json_decref(json);
        assert_int_equal(triton_backend.blobs_len, 4 + 5 + 8);
        assert_memory_equal(triton_backend.blobs, "\5\0\0\0quick\10\0\0\0\0\0\0\0", 17);
        loopback_header(triton_backend.head, "Content-Type", value, sizeof value);
        assert_string_equal(value, "application/octet-stream");
        loopback_header(triton_backend.head, "traceparent", value, sizeof value);
        assert_string_equal(value, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        loopback_header(triton_backend.head, "X-Request-Id", value, sizeof value);
        assert_string_equal(value, "req_000000000000conform");
    });
    rd_engine_triton_http_ops.close(engine);
    recorder_done(&recorder);
}

/* A source picture follows as bytes, or stands in the JSON as base64; large and small. */
static void test_source_picture(void **state)
{
    (void)state;
    enum { BIG = 300001 };
    uint8_t *bytes = malloc(BIG);
    assert_non_null(bytes);
    for (size_t i = 0; i < BIG; i++) {
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    static const size_t sizes[] = {20, 16384, 16385, BIG};
    for (size_t i = 0; i < 8; i++) {
        WITH_SERVER(triton_backend.plain = i >= 4);
        struct rd_engine *engine = open_usual();
        struct recorder recorder;
        struct rd_generation edit = quick;
        size_t size = sizes[i % 4];
        edit.task = RD_TASK_I2I;
        edit.image = (struct rd_source){.kind = RD_SOURCE_DATA, .bytes = bytes, .bytes_len = size};
        wait_health(engine, true, "");
        run_on(engine, &edit, 1, &recorder);
        assert_int_equal(recorder.err, RD_OK);
        if (i < 4) { /* behind the prompt's 9 bytes and the picture's own length */
            assert_int_equal(triton_backend.blobs_len, 9 + 4 + size + 8);
            assert_memory_equal(triton_backend.blobs + 13, bytes, size);
        } else {
            char *text = malloc(RD_TEXT_BASE64_LEN(size) + 1);
            json_t *json = json_loads(triton_backend.json, 0, NULL);
            assert_non_null(text);
            rd_text_base64(bytes, size, text);
            assert_int_equal(triton_backend.blobs_len, 0);
            assert_string_equal(json_string_value(json_array_get(
                                    json_object_get(input_named(json, "PICTURE"), "data"), 0)),
                                text);
            json_decref(json);
            free(text);
        }
        rd_engine_triton_http_ops.close(engine);
        recorder_done(&recorder);
    }
    WITH_SERVER(triton_backend.plain = false);
    free(bytes);
}

static void test_priority_and_path(void **state)
{
    (void)state;
    static const struct rd_engine_config config = {.name = "test",
                                                   .type = "triton",
                                                   .url = base_url,
                                                   .slots = 1,
                                                   .models = models,
                                                   .models_count = 1,
                                                   .mappings = untold_mappings,
                                                   .mappings_count = 1};
    struct rd_engine *engine = open_with(&config);
    struct recorder recorder;
    recorder_init(&recorder);
    recorder.priority = 3;
    assert_int_equal(recorder_start(&recorder, &rd_engine_triton_http_ops, engine, &quick, 1),
                     RD_OK);
    assert_true(recorder_wait(&recorder, WAIT_MS));
    assert_int_equal(recorder.err, RD_OK);
    WITH_SERVER({
        json_t *json = json_loads(triton_backend.json, 0, NULL);
        const json_t *parameters = json_object_get(json, "parameters");
        assert_int_equal(json_integer_value(json_object_get(parameters, "priority")), 3);
        json_decref(json);
        assert_string_equal(triton_backend.path, "/v2/models/a%20b%2F%25/versions/7/infer");
    });
    rd_engine_triton_http_ops.close(engine);
    recorder_done(&recorder);
}

/* ---- what comes back ---- */

static void test_bad_answers(void **state)
{
    (void)state;
    static const struct {
        const char *prompt, *why;
        bool final;
    } cases[] = {
        {"broken", "answered 500: CUDA out of memory", false},
        {"no-text", "answered 500: [1]", false},
        {"large", "--http-max-input-size", true},
        {"no-json", "not JSON", true},
        {"half-json", "not JSON, or ends early", true},
        {"list", "not JSON", true},
        {"no-outputs", "no list of outputs", true},
        {"no-picture", "no picture", true},
        {"wrong-type", "expected BYTES, got FP32", true},
        {"wrong-shape", "shape", true},
        {"data-first", "before its name", true},
        {"no-base64", "base64", true},
        {"scalar", "no list", true},
        {"words", "no value of its datatype", true},
        {"size-text", "no name, datatype, shape or size", true},
        {"size-huge", "larger than 4 GiB", true},
        {"deep", "too deep", true},
        {"too-much", "more bytes than its tensors", true},
        {"too-little", "ends before its tensors do", true},
        {"length-lies", "ended after", true},
        {"text-picture", "no image/png", true},
        {"head-0", "Inference-Header-Content-Length", true},
        {"head-1", "Inference-Header-Content-Length", true},
        {"head-2", "Inference-Header-Content-Length", true},
        {"head-3", "Inference-Header-Content-Length", true},
        {"head-4", "Inference-Header-Content-Length", true},
        {"head-5", "Inference-Header-Content-Length", true},
    };
    struct rd_engine *engine = open_usual();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct recorder recorder;
        struct rd_generation generation = quick;
        generation.prompt = cases[i].prompt;
        run_on(engine, &generation, 1, &recorder);
        if (recorder.err != RD_ERR_BACKEND_FAILED ||
            strstr(recorder.why.text, cases[i].why) == NULL ||
            recorder.report.final != cases[i].final) {
            fail_msg("%s: %s '%s', final %d", cases[i].prompt, rd_err_info(recorder.err)->code,
                     recorder.why.text, recorder.report.final);
        }
        recorder_done(&recorder);
    }
    rd_engine_triton_http_ops.close(engine);
}

static void test_stalls(void **state)
{
    (void)state;
    static const char *const prompts[] = {"slow", "slow-inside", "late"}; /* a success, too late */
    struct rd_engine_config config = CONFIG;
    config.timeout_ms = 80;
    struct rd_engine *engine = open_with(&config);
    for (size_t i = 0; i < 3; i++) {
        struct recorder recorder;
        struct rd_generation generation = quick;
        generation.prompt = prompts[i];
        run_on(engine, &generation, 1, &recorder);
        assert_int_equal(recorder.err, RD_ERR_BACKEND_TIMEOUT);
        assert_int_equal(recorder.begun, i == 1);
        assert_int_equal(recorder.ended, 0);
        assert_false(recorder.report.final);
        recorder_done(&recorder);
    }
    rd_engine_triton_http_ops.close(engine);
}

/* Over 64 MB the words say so, whatever the server did; the request is sent all the same. */
static void test_the_limit_of_a_request(void **state)
{
    (void)state;
    uint8_t *bytes = calloc(1, RD_TRITON_BODY_USUAL);
    assert_non_null(bytes);
    struct rd_generation edit = quick;
    edit.task = RD_TASK_I2I;
    edit.prompt = "refused";
    edit.image = (struct rd_source){
        .kind = RD_SOURCE_DATA, .bytes = bytes, .bytes_len = RD_TRITON_BODY_USUAL};
    struct rd_engine *engine = open_usual();
    struct recorder recorder;
    run_on(engine, &edit, 1, &recorder);
    assert_int_equal(recorder.err, RD_ERR_BACKEND_FAILED);
    assert_true(recorder.report.final && recorder.report.faultless);
    assert_non_null(strstr(recorder.why.text, "67108864 unless"));
    assert_non_null(strstr(recorder.why.text, "unexpected shape"));
    rd_engine_triton_http_ops.close(engine);
    recorder_done(&recorder);
    free(bytes);
}

/* ---- raw pictures ---- */

static const struct rd_mapping_tensor raw_outputs[] = {
    {.name = "RAW",
     .gives = RD_OUTPUT_IMAGE,
     .datatype = RD_DATATYPE_UINT8,
     .rank = 3,
     .shape = {-1, -1, 3}},
};
static const struct rd_mapping raw_mapping = {
    .name = "raw", .inputs = inputs, .inputs_count = 3, .outputs = raw_outputs, .outputs_count = 1};

/* ---- health ---- */

static void test_health(void **state)
{
    (void)state;
    struct rd_engine *engine = open_usual();
    struct rd_engine_health health;
    rd_engine_triton_http_ops.health(engine, &health);
    assert_true(health.ready || strstr(health.why, "not probed yet") != NULL);
    wait_health(engine, true, "");
    WITH_SERVER(triton_backend.unready = true);
    wait_health(engine, false, "/v2/health/ready: answered 400, not 200");
    unsigned asked = 0;
    WITH_SERVER(triton_backend.unready = false; triton_backend.model_status = 400;
                asked = triton_backend.metadata_asked);
    wait_health(engine, false, "model painter is not ready: it answered 400: no GPU");
    WITH_SERVER(triton_backend.model_status = 0);
    wait_health(engine, true, "");
    WITH_SERVER(asked = triton_backend.metadata_asked - asked);
    assert_true(asked > 0); /* it may have come back with another model */
    rd_engine_triton_http_ops.close(engine);
}

static void test_metadata_is_checked(void **state)
{
    (void)state;
    static const struct {
        const char *metadata, *why;
    } cases[] = {
        {"{\"inputs\":[{\"name\":\"PROMPT\",\"datatype\":\"FP32\",\"shape\":[1]}],\"outputs\":[]}",
         "PROMPT"},
        {"{\"inputs\":[{\"name\":\"PROMPT\",\"datatype\":\"BYTES\",\"shape\":[1]},"
         "{\"name\":\"PICTURE\",\"datatype\":\"BYTES\",\"shape\":[1]},"
         "{\"name\":\"SEED\",\"datatype\":\"INT64\",\"shape\":[1]},"
         "{\"name\":\"MISSED\",\"datatype\":\"INT64\",\"shape\":[1]}],\"outputs\":["
         "{\"name\":\"IMAGE\",\"datatype\":\"BYTES\",\"shape\":[1]},"
         "{\"name\":\"SECONDS\",\"datatype\":\"FP32\",\"shape\":[1]}]}",
         "MISSED"},
        {"{}", "cannot be read"},
        {"nonsense", "cannot be read"},
        {"{\"inputs\":[{}],\"outputs\":[]}", "cannot be read"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        WITH_SERVER(triton_backend.metadata = cases[i].metadata);
        struct rd_engine *engine = open_usual();
        wait_health(engine, false, cases[i].why);
        rd_engine_triton_http_ops.close(engine);
    }
    WITH_SERVER(triton_backend.metadata = NULL; triton_backend.decoupled = true);
    struct rd_engine *engine = open_usual();
    wait_health(engine, false, "decoupled");
    WITH_SERVER(triton_backend.decoupled = false);
    wait_health(engine, true, "");
    rd_engine_triton_http_ops.close(engine);
}

/* The time of the request less what the statistics say that requests wait. */
static void test_queue_time(void **state)
{
    (void)state;
    struct rd_engine_config config = CONFIG;
    config.mappings = untold_mappings;
    struct rd_engine *engine = open_with(&config);
    struct recorder recorder;
    wait_health(engine, true, "");
    run_on(engine, &quick, 1, &recorder);
    assert_int_equal(recorder.report.source, RD_DEVICE_TIME_MEASURED);
    assert_true(recorder.report.device_ns > 0);
    recorder_done(&recorder);
    struct rd_generation pause = quick;
    pause.prompt =
        "pause"; /* the server takes 60 ms, and claims that 50 of them were its queue's */
    WITH_SERVER(triton_backend.queue_ns_each = 50 * NS_PER_MS);
    uint64_t until = rd_clock_mono_ns() + (uint64_t)WAIT_MS * NS_PER_MS;
    uint64_t device_ns = UINT64_MAX;
    while (device_ns >= 60 * NS_PER_MS && rd_clock_mono_ns() < until) {
        run_on(engine, &pause, 1, &recorder);
        assert_int_equal(recorder.report.source, RD_DEVICE_TIME_MEASURED);
        device_ns = recorder.report.device_ns;
        assert_true(device_ns >= 10 * NS_PER_MS);
        recorder_done(&recorder);
    }
    assert_true(device_ns < 60 * NS_PER_MS);
    WITH_SERVER(triton_backend.queue_ns_each = 0);
    rd_engine_triton_http_ops.close(engine);
}

/* ---- opening ---- */

static void test_config_refused(void **state)
{
    (void)state;
    static const struct rd_mapping decoupled = {.name = "stream",
                                                .inputs = inputs,
                                                .inputs_count = 3,
                                                .outputs = outputs,
                                                .outputs_count = 2,
                                                .decoupled = true};
    static const struct rd_mapping *const streams[] = {&decoupled};
    static const char long_name[] =
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
        "nnnnnnnnnnnnnnnnnnnnnnnnnn";
    static const struct rd_mapping named = {.name = "long",
                                            .model = long_name,
                                            .inputs = inputs,
                                            .inputs_count = 3,
                                            .outputs = outputs,
                                            .outputs_count = 2};
    static const struct rd_mapping *const longs[] = {&named};
    struct rd_engine_config config = CONFIG;
    const struct {
        const char *url;
        const struct rd_mapping *const *mappings;
        size_t mappings_count, models_count;
        const char *why;
    } cases[] = {
        {base_url, streams, 1, 1, "grpc://HOST:8001"},
        {base_url, mappings, 0, 1, "no mapping for model fam/mod"},
        {base_url, longs, 1, 1, "too long"},
        {base_url, mappings, 1, 0, "1 to 32 models"},
        {"http://x/?a=1", mappings, 1, 1, "before any '?'"},
        {"ftp://x/", mappings, 1, 1, "not an http"},
        {NULL, mappings, 1, 1, "needs a url"},
    };
    assert_int_equal(strlen(long_name), RD_TRITON_NAME_MAX + 2);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rd_engine *engine = NULL;
        struct rd_why why = {""};
        config.url = cases[i].url;
        config.mappings = cases[i].mappings;
        config.mappings_count = cases[i].mappings_count;
        config.models_count = cases[i].models_count;
        assert_int_equal(rd_engine_triton_http_ops.open(&config, &engine, &why), RD_ERR_CONFIG);
        if (strstr(why.text, cases[i].why) == NULL || strstr(why.text, "backend test") == NULL) {
            fail_msg("%s: %s", cases[i].why, why.text);
        }
        assert_null(engine);
    }
}

static void test_capabilities(void **state)
{
    (void)state;
    struct rd_engine_config config = CONFIG;
    static const struct rd_mapping *const raws[] = {&raw_mapping};
    struct rd_engine_capabilities can;
    struct rd_engine *engine = open_with(&config);
    rd_engine_triton_http_ops.capabilities(engine, "fam/mod", &can);
    assert_true(can.tasks & 1u << RD_TASK_T2I);
    assert_false(can.progress || can.previews || can.trusted);
    rd_engine_triton_http_ops.close(engine);
    config.mappings = raws;
    engine = open_with(&config);
    rd_engine_triton_http_ops.capabilities(engine, "fam/mod", &can);
    assert_true(can.trusted); /* it is encoded here */
    rd_engine_triton_http_ops.close(engine);
    assert_ptr_equal(rd_engine_find("triton", "http://x:8000"), &rd_engine_triton_http_ops);
    assert_ptr_equal(rd_engine_find("triton", "https://x"), &rd_engine_triton_http_ops);
}

static int make_plain(void **state)
{
    (void)state;
    WITH_SERVER(triton_backend.plain = true);
    return 0;
}

static int make_usual(void **state)
{
    (void)state;
    WITH_SERVER(triton_backend.plain = false);
    return 0;
}

#define PLAIN(test)                                                                                \
    {                                                                                              \
#test ", JSON", test, make_plain, make_usual, &given_plain                                 \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        RD_CONFORMANCE_TESTS(&given),
        PLAIN(rd_conformance_one),
        PLAIN(rd_conformance_counts),
        PLAIN(rd_conformance_same),
        PLAIN(rd_conformance_all_slots),
        PLAIN(rd_conformance_sink_errors),
        PLAIN(rd_conformance_cancel_inside),
        PLAIN(rd_conformance_races),
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_source_picture),
        cmocka_unit_test(test_priority_and_path),
        cmocka_unit_test(test_bad_answers),
        cmocka_unit_test(test_stalls),
        cmocka_unit_test(test_the_limit_of_a_request),
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_metadata_is_checked),
        cmocka_unit_test(test_queue_time),
        cmocka_unit_test(test_config_refused),
        cmocka_unit_test(test_capabilities),
    };
    return cmocka_run_group_tests_name("engine/triton_http", tests, setup, teardown);
}
