/* SPDX-License-Identifier: Apache-2.0
 *
 * Triton over gRPC: the conformance suite against a scripted server (grpc_backend.c), then each way
 * in which a server can misbehave, and what goes over the wire. Connections and health are
 * grpc_health_test.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "conformance.h"
#include "engine/triton/grpc_internal.h"
#include "grpc_fixture.h"

static void take_server(void *ctx, bool up)
{
    (void)ctx;
    if (up) {
        assert_int_equal(grpc_backend_start(port, NULL, NULL), port);
    } else {
        grpc_backend_stop();
    }
}

static const struct rd_generation unavailable = GENERATION("unavailable");
static const struct rd_generation exhausted = GENERATION("exhausted");
static const struct rd_generation invalid = GENERATION("invalid");
static const struct rd_generation overdue = GENERATION("overdue");
static const struct rd_generation reset = GENERATION("reset-inside");
static const struct rd_generation closed = GENERATION("close-inside");
static const struct rd_generation cut = GENERATION("cut");
static const struct rd_generation no_picture = GENERATION("text");

static const struct rd_conformance_failure failures[] = {
    {"unavailable", &unavailable, RD_ERR_BACKEND_FAILED, false, false},
    {"exhausted", &exhausted, RD_ERR_CAPACITY, false, false},
    {"invalid", &invalid, RD_ERR_BACKEND_FAILED, true, true},
    {"overdue", &overdue, RD_ERR_BACKEND_TIMEOUT, false, false},
    {"reset", &reset, RD_ERR_BACKEND_FAILED, false, false},
    {"closed", &closed, RD_ERR_BACKEND_FAILED, false, false},
    {"cut", &cut, RD_ERR_BACKEND_FAILED, true, false},
    {"text", &no_picture, RD_ERR_BACKEND_FAILED, true, false},
};

#define GIVEN(list)                                                                                \
    {                                                                                              \
        .ops = &rd_engine_triton_grpc_ops, .config = CONFIG(list), .quick = &quick, .slow = &slow, \
        .stop_ms = 2000, .races = 60, .failures = failures,                                        \
        .failures_count = sizeof failures / sizeof failures[0], .server = take_server              \
    }
static struct rd_conformance given = GIVEN(unary_list);
static struct rd_conformance given_decoupled = GIVEN(decoupled_list);

/* ---- answers ---- */

struct bad_answer {
    const char *prompt;
    rd_err err;
    const char *why;
    unsigned begun;
    bool final, faultless;
};

static void check_bad(struct rd_engine_config config, const struct bad_answer *row)
{
    bool hangs = row->err == RD_ERR_BACKEND_TIMEOUT && strcmp(row->prompt, "overdue") != 0;
    config.timeout_ms = hangs ? 100 : 0;
    struct rd_engine *engine = open_config(&config);
    struct recorder recorder;
    run_on(engine, row->prompt, 1, &recorder);
    if (recorder.err != row->err || strstr(recorder.why.text, row->why) == NULL ||
        recorder.begun != row->begun || !recorder.has_why || recorder.report.final != row->final ||
        recorder.report.faultless != row->faultless) {
        fail_msg("%s: %s '%s', begun %u, final %d, faultless %d", row->prompt,
                 rd_err_info(recorder.err)->code, recorder.why.text, recorder.begun,
                 recorder.report.final, recorder.report.faultless);
    }
    assert_true(strlen(recorder.why.text) < 300);
    recorder_done(&recorder);
    run_on(engine, hangs ? "exhausted" : "quick", 1, &recorder); /* the engine goes on */
    assert_int_equal(recorder.err, hangs ? RD_ERR_CAPACITY : RD_OK);
    recorder_done(&recorder);
    rd_engine_triton_grpc_ops.close(engine);
}

static void test_bad_answers(void **state)
{
    (void)state;
    static const struct bad_answer cases[] = {
        {"slow", RD_ERR_BACKEND_TIMEOUT, "in time", 0, false, false},
        {"slow-headers", RD_ERR_BACKEND_TIMEOUT, "in time", 0, false, false},
        {"slow-body", RD_ERR_BACKEND_TIMEOUT, "in time", 1, false, false},
        {"no-end", RD_ERR_BACKEND_TIMEOUT, "in time", 1, false, false},
        {"cut", RD_ERR_BACKEND_FAILED, "ends in the middle", 1, true, false},
        {"empty", RD_ERR_BACKEND_FAILED, "holds no message", 0, true, false},
        {"no-status", RD_ERR_BACKEND_FAILED, "without a grpc-status", 1, false, false},
        {"bad-status", RD_ERR_BACKEND_FAILED, "without a grpc-status", 1, false, false},
        {"odd-status", RD_ERR_BACKEND_FAILED, "UNKNOWN: odd", 1, true, false},
        {"late-error", RD_ERR_BACKEND_FAILED, "INTERNAL: too late", 1, true, false},
        {"invalid", RD_ERR_BACKEND_FAILED, "INVALID_ARGUMENT: bad size \u20ac next", 0, true, true},
        {"exhausted", RD_ERR_CAPACITY, "RESOURCE_EXHAUSTED: queue full", 0, false, false},
        {"unavailable", RD_ERR_BACKEND_FAILED, "UNAVAILABLE: shutting down", 0, false, false},
        {"overdue", RD_ERR_BACKEND_TIMEOUT, "DEADLINE_EXCEEDED", 0, false, false},
        {"cancelled", RD_ERR_BACKEND_FAILED, "CANCELLED", 0, false, false},
        {"http404", RD_ERR_BACKEND_FAILED, "HTTP 404", 0, false, false},
        {"http503", RD_ERR_BACKEND_FAILED, "HTTP 503", 0, false, false},
        {"html", RD_ERR_BACKEND_FAILED, "Content-Type", 0, false, false},
        {"reset", RD_ERR_BACKEND_FAILED, "reset the stream (INTERNAL_ERROR)", 0, false, false},
        {"reset-inside", RD_ERR_BACKEND_FAILED, "reset the stream (CANCEL)", 1, false, false},
        {"calm", RD_ERR_CAPACITY, "ENHANCE_YOUR_CALM", 0, false, false},
        {"close", RD_ERR_BACKEND_FAILED, "closed the connection", 0, false, false},
        {"close-inside", RD_ERR_BACKEND_FAILED, "closed the connection", 1, false, false},
        {"twice", RD_ERR_BACKEND_FAILED, "a second message", 1, true, false},
        {"compressed", RD_ERR_BACKEND_FAILED, "compressed", 0, true, false},
        {"flag", RD_ERR_BACKEND_FAILED, "neither 0 nor 1", 0, true, false},
        {"encoded", RD_ERR_BACKEND_FAILED, "compressed", 0, false, false},
        {"raw-first", RD_ERR_BACKEND_FAILED, "raw contents", 0, true, false},
        {"liar", RD_ERR_BACKEND_FAILED, "longer than what it stands in", 0, true, false},
        {"no-raw", RD_ERR_BACKEND_FAILED, "1 tensors and 0 raw", 0, true, false},
        {"two-raws", RD_ERR_BACKEND_FAILED, "more raw contents", 1, true, false},
        {"short", RD_ERR_BACKEND_FAILED, "", 1, true, false},
        {"wrong-type", RD_ERR_BACKEND_FAILED, "FP32", 0, true, false},
        {"text", RD_ERR_BACKEND_FAILED, "", 0, true, false},
        {"huge-head", RD_ERR_BACKEND_FAILED, "256 KiB", 0, true, false},
        {"garbage", RD_ERR_BACKEND_FAILED, "more than 64 bits", 0, true, false},
        {"big-headers", RD_ERR_BACKEND_FAILED, "", 0, false, false},
        {"refuse", RD_ERR_BACKEND_FAILED, "refuses the stream", 0, false, false},
        {"flood", RD_ERR_BACKEND_FAILED, "floods", 0, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rd_engine_config config = CONFIG(unary_list);
        check_bad(config, &cases[i]);
    }
}

static void test_bad_streams(void **state)
{
    (void)state;
    static const struct bad_answer cases[] = {
        {"error-message", RD_ERR_BACKEND_FAILED, "the model fell over", 0, true, false},
        {"empty", RD_ERR_BACKEND_FAILED, "", 0, true, false},
        {"unavailable", RD_ERR_BACKEND_FAILED, "UNAVAILABLE", 0, false, false},
        {"slow-body", RD_ERR_BACKEND_TIMEOUT, "in time", 1, false, false},
        {"liar", RD_ERR_BACKEND_FAILED, "longer than what it stands in", 0, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rd_engine_config config = CONFIG(decoupled_list);
        check_bad(config, &cases[i]);
    }
}

static void test_picture(void **state)
{
    (void)state;
    struct rd_engine_config config = CONFIG(unary_list);
    struct rd_engine *engine = open_config(&config);
    struct recorder recorder;
    run_on(engine, "quick", 2, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    uint8_t *picture = malloc(GRPC_BACKEND_PICTURE);
    assert_non_null(picture);
    for (unsigned i = 0; i < 2; i++) {
        grpc_backend_picture(picture, 7 + i);
        uint64_t checksum = 14695981039346656037u;
        for (size_t at = 0; at < GRPC_BACKEND_PICTURE; at++) {
            checksum = (checksum ^ picture[at]) * 1099511628211u;
        }
        assert_int_equal(recorder.size[i], GRPC_BACKEND_PICTURE);
        assert_int_equal(recorder.checksum[i], checksum);
    }
    free(picture);
    assert_int_equal(recorder.report.source, RD_DEVICE_TIME_MEASURED);
    assert_true(recorder.report.device_ns > 0);
    recorder_done(&recorder);
    rd_engine_triton_grpc_ops.close(engine);
}

/* What the sink finds wrong is the sink's to judge. */
static void test_sink_error_is_not_final(void **state)
{
    (void)state;
    struct rd_engine_config config = CONFIG(unary_list);
    struct rd_engine *engine = open_config(&config);
    struct recorder recorder;
    recorder_init(&recorder);
    recorder.fail_at = RECORDER_DATA;
    recorder.fail_with = RD_ERR_BACKEND_FAILED;
    assert_int_equal(recorder_start(&recorder, &rd_engine_triton_grpc_ops, engine, &quick, 1),
                     RD_OK);
    assert_true(recorder_wait(&recorder, WAIT_MS));
    assert_int_equal(recorder.err, RD_ERR_BACKEND_FAILED);
    assert_false(recorder.report.final || recorder.report.faultless);
    recorder_done(&recorder);
    rd_engine_triton_grpc_ops.close(engine);
}

static void test_progress(void **state)
{
    (void)state;
    struct rd_engine_config config = CONFIG(decoupled_list);
    struct rd_engine *engine = open_config(&config);
    struct rd_engine_capabilities can;
    rd_engine_triton_grpc_ops.capabilities(engine, "fam/mod", &can);
    assert_true(can.progress);
    assert_false(can.previews || can.trusted);
    assert_true((can.media & 1u << RD_MEDIA_PNG) != 0);
    struct recorder recorder;
    run_on(engine, "quick", 1, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    assert_int_equal(recorder.progressed, 3);
    recorder_done(&recorder);
    rd_engine_triton_grpc_ops.close(engine);
}

/* ---- the wire ---- */

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_request(void **state)
{
    (void)state;
    char key[] = "/tmp/grpc_test_key_XXXXXX";
    int fd = mkstemp(key);
    assert_true(fd >= 0);
    (void)close(fd);
    write_file(key, "sesame\nsecond line\n");
    struct rd_engine_config config = CONFIG(unary_list);
    config.key_file = key;
    config.timeout_ms = 60000;
    struct rd_engine *engine = open_config(&config);
    struct recorder recorder;
    run_on(engine, "quick", 1, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    recorder_done(&recorder);
    (void)pthread_mutex_lock(&grpc_backend.lock);
    char expected[1024], timeout[32] = "";
    const char *at = strstr(grpc_backend.headers, "grpc-timeout: ");
    assert_non_null(at);
    (void)sscanf(at, "grpc-timeout: %31s", timeout);
    assert_int_equal(timeout[strlen(timeout) - 1], 'u');
    assert_in_range(strtoul(timeout, NULL, 10), 59000000, 60000000);
    (void)snprintf(
        expected, sizeof expected,
        ":method: POST\n:scheme: http\n:path: /inference.GRPCInferenceService/ModelInfer\n"
        ":authority: 127.0.0.1:%u\nte: trailers\ngrpc-timeout: %s\n"
        "content-type: application/grpc\nuser-agent: render/" RD_VERSION "\n"
        "grpc-accept-encoding: identity\nauthorization: Bearer sesame\n"
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n",
        port, timeout);
    assert_string_equal(grpc_backend.headers, expected);
    at = strstr(grpc_backend.request, "parameter timeout 2 ");
    assert_non_null(at);
    assert_in_range(strtoul(at + 20, NULL, 10), 59000000, 60000001);
    assert_non_null(
        strstr(grpc_backend.request, "model painter version '2' id req_000000000000conform\n"));
    assert_non_null(
        strstr(grpc_backend.request, "input prompt BYTES 1\ninput seed INT64 1\noutput image\n"));
    (void)pthread_mutex_unlock(&grpc_backend.lock);
    rd_engine_triton_grpc_ops.close(engine);
    (void)unlink(key);
}

static void test_stream_request(void **state)
{
    (void)state;
    struct rd_engine_config config = CONFIG(decoupled_list);
    struct rd_engine *engine = open_config(&config);
    struct recorder recorder;
    run_on(engine, "quick", 1, &recorder);
    recorder_done(&recorder);
    (void)pthread_mutex_lock(&grpc_backend.lock);
    assert_non_null(strstr(grpc_backend.headers, "/ModelStreamInfer\n"));
    assert_non_null(strstr(grpc_backend.headers, "triton_grpc_error: true\n"));
    assert_non_null(
        strstr(grpc_backend.request, "parameter triton_enable_empty_final_response 1 1\n"));
    (void)pthread_mutex_unlock(&grpc_backend.lock);
    rd_engine_triton_grpc_ops.close(engine);
}

#define TEST(name) cmocka_unit_test_setup(name, before)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RD_CONFORMANCE_TESTS(&given), RD_CONFORMANCE_TESTS(&given_decoupled),
        TEST(test_bad_answers),       TEST(test_bad_streams),
        TEST(test_picture),           TEST(test_sink_error_is_not_final),
        TEST(test_progress),          TEST(test_request),
        TEST(test_stream_request),
    };
    return cmocka_run_group_tests_name("engine/grpc", tests, setup, teardown);
}
