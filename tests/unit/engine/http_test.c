/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP engine: the conformance suite against a scripted backend, then each way in which a
 * backend can misbehave (http_backend.c), and what goes over the wire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../fetch/loopback.h"
#include "base/clock.h"
#include "base/text.h"
#include "conformance.h"
#include "engine/http/internal.h"
#include "http_backend.h"
#include "recorder.h"

enum { WAIT_MS = 20000, PICTURE = HTTP_BACKEND_PICTURE };

static struct loopback *server;

static const struct rd_format square = {"512", RD_MODALITY_IMAGE, 512, 512};

static bool is_ready(struct rd_engine *engine)
{
    struct rd_engine_health health;
    rd_engine_http_ops.health(engine, &health);
    assert_int_equal(health.ready, health.why[0] == '\0');
    return health.ready;
}

/* Within WAIT_MS. */
static bool becomes(struct rd_engine *engine, bool ready)
{
    uint64_t until = rd_clock_mono_ns() + (uint64_t)WAIT_MS * 1000000;
    while (is_ready(engine) != ready) {
        if (rd_clock_mono_ns() > until) {
            return false;
        }
        (void)usleep(1000);
    }
    return true;
}

static const char quick_json[] = "{\"prompt\":\"quick\"}";
static const char slow_json[] = "{\"prompt\":\"slow\"}";
#define GENERATION(text)                                                                           \
    {                                                                                              \
        .task = RD_TASK_T2I, .family = "fam", .model = "mod", .format = &square,                   \
        .media = RD_MEDIA_PNG, .prompt = "p", .negative_prompt = "", .seed = 7, .count = 1,        \
        .json = (text), .json_len = sizeof(text) - 1                                               \
    }
static const struct rd_generation quick = GENERATION(quick_json);
static const struct rd_generation slow = GENERATION(slow_json);

#define BAD(name, path)                                                                            \
    static const char name##_json[] = "{\"prompt\":\"" path "\"}";                                 \
    static const struct rd_generation name = GENERATION(name##_json)
BAD(busy, "/status/429");
BAD(gone, "/status/410");
BAD(refused, "/status/422");
BAD(broken, "/status/500");
BAD(late, "/status/504");
BAD(partial, "/partial");
BAD(reset, "/reset");
BAD(reset_inside, "/reset-inside");
BAD(no_length, "/no-length");
BAD(too_long, "/too-long");
BAD(wrong_magic, "/wrong-magic");
BAD(garbage, "/garbage");
BAD(headers, "/headers");

static const struct rd_conformance_failure failures[] = {
    {"429", &busy, RD_ERR_CAPACITY, false, false},
    {"410", &gone, RD_ERR_BACKEND_FAILED, true, false},
    {"422", &refused, RD_ERR_BACKEND_FAILED, true, true},
    {"500", &broken, RD_ERR_BACKEND_FAILED, false, false},
    {"504", &late, RD_ERR_BACKEND_TIMEOUT, false, false},
    {"ends early", &partial, RD_ERR_BACKEND_FAILED, false, false},
    {"reset", &reset, RD_ERR_BACKEND_FAILED, false, false},
    {"reset inside", &reset_inside, RD_ERR_BACKEND_FAILED, false, false},
    {"no length", &no_length, RD_ERR_BACKEND_FAILED, true, false},
    {"too long", &too_long, RD_ERR_BACKEND_FAILED, true, false},
    {"no picture", &wrong_magic, RD_ERR_BACKEND_FAILED, true, false},
    {"not HTTP", &garbage, RD_ERR_BACKEND_FAILED, false, false},
    {"endless head", &headers, RD_ERR_BACKEND_FAILED, false, false},
};

static unsigned port;

static void take_server(void *ctx, bool up)
{
    (void)ctx;
    if (up) {
        server = loopback_start_at(http_backend_handle, NULL, port);
    } else {
        loopback_stop(server);
    }
}

static char base_url[64];
static struct rd_conformance given = {
    .ops = &rd_engine_http_ops,
    .config = {.name = "test", .type = "http", .url = base_url, .slots = 8},
    .quick = &quick,
    .slow = &slow,
    .stop_ms = 2000,
    .races = 60,
    .failures = failures,
    .failures_count = sizeof failures / sizeof failures[0],
    .server = take_server,
};

static int setup(void **state)
{
    (void)state;
    assert_int_equal(sem_init(&http_backend.gone, 0, 0), 0);
    server = loopback_start(http_backend_handle, NULL);
    port = loopback_port(server);
    (void)snprintf(base_url, sizeof base_url, "http://127.0.0.1:%u/", port);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loopback_stop(server);
    free(http_backend.body);
    (void)sem_destroy(&http_backend.gone);
    return 0;
}

/* ---- tools ---- */

static struct rd_engine *open_at(const char *url, unsigned slots, unsigned timeout_ms)
{
    const struct rd_engine_config config = {
        .name = "test", .type = "http", .url = url, .slots = slots, .timeout_ms = timeout_ms};
    struct rd_engine *engine = NULL;
    struct rd_why why = {""};
    if (rd_engine_http_ops.open(&config, &engine, &why) != RD_OK) {
        fail_msg("open: %s", why.text);
    }
    return engine;
}

static struct rd_engine *open_path(const char *path, unsigned timeout_ms)
{
    char url[128];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u%s", loopback_port(server), path);
    return open_at(url, 4, timeout_ms);
}

static void run_on(struct rd_engine *engine, const struct rd_generation *generation, unsigned count,
                   struct recorder *recorder)
{
    recorder_init(recorder);
    assert_int_equal(recorder_start(recorder, &rd_engine_http_ops, engine, generation, count),
                     RD_OK);
    assert_true(recorder_wait(recorder, WAIT_MS));
    assert_string_equal(recorder->violation, "");
}

/* ---- answers ---- */

static void test_bad_answers(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        rd_err err;
        const char *why;
        unsigned begun;
    } cases[] = {
        {"/hang", RD_ERR_BACKEND_TIMEOUT, "in time", 0},
        {"/hang-inside", RD_ERR_BACKEND_TIMEOUT, "in time", 1},
        {"/partial", RD_ERR_BACKEND_FAILED, "ended early", 1},
        {"/reset", RD_ERR_BACKEND_FAILED, "", 0},
        {"/reset-inside", RD_ERR_BACKEND_FAILED, "broke", 1},
        {"/close", RD_ERR_BACKEND_FAILED, "without an answer", 0},
        {"/no-length", RD_ERR_BACKEND_FAILED, "neither Content-Length", 0},
        {"/chunked-cut", RD_ERR_BACKEND_FAILED, "", 0},
        {"/too-long", RD_ERR_BACKEND_FAILED, "too large", 0},
        {"/text", RD_ERR_BACKEND_FAILED, "sent text/html, not image/png", 0},
        {"/no-type", RD_ERR_BACKEND_FAILED, "sent nothing", 0},
        {"/wrong-magic", RD_ERR_BACKEND_FAILED, "not what its Content-Type says", 0},
        {"/tiny", RD_ERR_BACKEND_FAILED, "too short", 0},
        {"/empty", RD_ERR_BACKEND_FAILED, "too short", 0},
        {"/garbage", RD_ERR_BACKEND_FAILED, "", 0},
        {"/headers", RD_ERR_BACKEND_FAILED, "header block", 0},
        {"/redirect", RD_ERR_BACKEND_FAILED, "answered 307", 0},
        {"/long-error", RD_ERR_BACKEND_FAILED, "answered 500: out of memory ?[31m? 0000", 0},
        {"/huge-error", RD_ERR_BACKEND_FAILED, "answered 500: 0123456789", 0},
        {"/binary-error", RD_ERR_BACKEND_FAILED, "answered 502", 0},
        {"/status/201", RD_ERR_BACKEND_FAILED, "answered 201", 0},
        {"/status/204", RD_ERR_BACKEND_FAILED, "answered 204", 0},
        {"/status/400", RD_ERR_BACKEND_FAILED, "answered 400", 0},
        {"/status/404", RD_ERR_BACKEND_FAILED, "answered 404", 0},
        {"/status/408", RD_ERR_BACKEND_TIMEOUT, "answered 408", 0},
        {"/status/429", RD_ERR_CAPACITY, "answered 429", 0},
        {"/status/500", RD_ERR_BACKEND_FAILED, "answered 500", 0},
        {"/status/503", RD_ERR_CAPACITY, "answered 503", 0},
        {"/status/504", RD_ERR_BACKEND_TIMEOUT, "answered 504", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool hangs = strncmp(cases[i].path, "/hang", 5) == 0;
        struct rd_engine *engine = open_path(cases[i].path, hangs ? 100 : 0);
        struct recorder recorder;
        run_on(engine, &quick, 1, &recorder);
        if (recorder.err != cases[i].err || strstr(recorder.why.text, cases[i].why) == NULL ||
            recorder.begun != cases[i].begun || !recorder.has_why) {
            fail_msg("%s: %s '%s', begun %u", cases[i].path, rd_err_info(recorder.err)->code,
                     recorder.why.text, recorder.begun);
        }
        assert_null(strstr(recorder.why.text, "secret"));
        assert_true(strlen(recorder.why.text) < 260);
        assert_true(becomes(engine, true)); /* it answered, however badly */
        rd_engine_http_ops.close(engine);
        recorder_done(&recorder);
    }
}

static void test_good_answers(void **state)
{
    (void)state;
    struct rd_engine *engine = open_path("/chunked", 0);
    struct recorder recorder;
    run_on(engine, &quick, 2, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    assert_int_equal(recorder.size[0], 708);
    assert_int_equal(recorder.size_hint[0], 0);
    assert_int_equal(recorder.report.source, RD_DEVICE_TIME_MEASURED); /* 103 does not count */
    rd_engine_http_ops.close(engine);
    recorder_done(&recorder);

    engine = open_path("/good", 0);
    run_on(engine, &quick, 1, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    assert_int_equal(recorder.size[0], PICTURE);
    assert_int_equal(recorder.size_hint[0], PICTURE);
    char *expected = malloc(PICTURE);
    assert_non_null(expected);
    http_backend_picture(expected, PICTURE, "\"seed\":7");
    uint64_t checksum = 14695981039346656037u;
    for (size_t i = 0; i < PICTURE; i++) {
        checksum = (checksum ^ (uint8_t)expected[i]) * 1099511628211u;
    }
    free(expected);
    assert_int_equal(recorder.checksum[0], checksum);
    rd_engine_http_ops.close(engine);
    recorder_done(&recorder);
}

static void test_device_time(void **state)
{
    (void)state;
    struct rd_engine *engine = open_path("/told", 0);
    struct recorder recorder;
    run_on(engine, &quick, 3, &recorder);
    assert_int_equal(recorder.report.source, RD_DEVICE_TIME_ENGINE);
    assert_int_equal(recorder.report.device_ns, 3750000000u);
    assert_string_equal(recorder.report.device, "cuda:3");
    rd_engine_http_ops.close(engine);
    recorder_done(&recorder);

    engine = open_path("/told-badly", 0);
    run_on(engine, &quick, 1, &recorder);
    assert_int_equal(recorder.report.source, RD_DEVICE_TIME_MEASURED);
    assert_true(recorder.report.device_ns > 0 && recorder.report.device_ns < 10000000000u);
    assert_string_equal(recorder.report.device, "?");
    rd_engine_http_ops.close(engine);
    recorder_done(&recorder);
}

static void test_unreachable(void **state)
{
    (void)state;
    struct rd_engine *engine = open_at("http://127.0.0.1:1/", 2, 0);
    struct recorder recorder;
    struct rd_engine_health health;
    assert_false(is_ready(engine));
    run_on(engine, &quick, 4, &recorder);
    rd_engine_http_ops.health(engine, &health);
    assert_false(health.ready);
    assert_non_null(strstr(health.why, "http://127.0.0.1:1"));
    assert_non_null(strstr(health.why, "cannot connect"));
    assert_int_equal(recorder.err, RD_ERR_BACKEND_FAILED);
    assert_non_null(strstr(recorder.why.text, "cannot connect"));
    assert_int_equal(recorder.report.source, RD_DEVICE_TIME_UNKNOWN); /* nothing was asked of it */
    assert_int_equal(recorder.report.device_ns, 0);
    assert_false(recorder.report.final);
    rd_engine_http_ops.close(engine);
    recorder_done(&recorder);
}

/* ---- the wire ---- */

static void test_request(void **state)
{
    (void)state;
    struct rd_engine *engine = open_path("/told", 0);
    struct recorder recorder;
    run_on(engine, &quick, 2, &recorder);
    (void)pthread_mutex_lock(&http_backend.lock);
    char expected[1024];
    (void)snprintf(expected, sizeof expected,
                   "POST /told HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: render/" RD_VERSION
                   "\r\n"
                   "Content-Type: application/json\r\nAccept: image/png\r\n"
                   "X-Request-Id: req_000000000000conform\r\n"
                   "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
                   "Content-Length: %zu\r\n\r\n",
                   loopback_port(server), http_backend.body_len);
    assert_string_equal(http_backend.head, expected);
    assert_string_equal(http_backend.body,
                        "{\"request\":{\"prompt\":\"quick\"},\"family\":\"fam\",\"model\":\"mod\","
                        "\"task\":\"t2i\",\"width\":512,\"height\":512,\"seed\":8,"
                        "\"media\":\"image/png\"}");
    (void)pthread_mutex_unlock(&http_backend.lock);
    rd_engine_http_ops.close(engine);
    recorder_done(&recorder);
}

static void check_base64_field(const char *name, const uint8_t *bytes, size_t len)
{
    char *want = malloc(RD_TEXT_BASE64_LEN(len) + 1);
    assert_non_null(want);
    rd_text_base64(bytes, len, want);
    char *at = strstr(http_backend.body, name);
    assert_non_null(at);
    at += strlen(name);
    assert_int_equal(strncmp(at, want, strlen(want)), 0);
    assert_int_equal(at[strlen(want)], '"');
    free(want);
}

static void test_source_images(void **state)
{
    (void)state;
    enum { BIG = 300001 };
    uint8_t *bytes = malloc(BIG);
    assert_non_null(bytes);
    for (size_t i = 0; i < BIG; i++) {
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    static const size_t sizes[] = {1, 2, 3, 49151, BIG};
    struct rd_engine *engine = open_path("/told", 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct rd_generation edit = quick;
        edit.task = RD_TASK_EDIT;
        edit.image =
            (struct rd_source){.kind = RD_SOURCE_DATA, .bytes = bytes, .bytes_len = sizes[i]};
        edit.mask = (struct rd_source){.kind = RD_SOURCE_DATA, .bytes = bytes + 1, .bytes_len = 5};
        struct recorder recorder;
        run_on(engine, &edit, 2, &recorder);
        assert_int_equal(recorder.err, RD_OK);
        recorder_done(&recorder);
        (void)pthread_mutex_lock(&http_backend.lock);
        assert_non_null(strstr(http_backend.body, "\"task\":\"edit\""));
        assert_int_equal(strlen(http_backend.body), http_backend.body_len);
        assert_int_equal(http_backend.body[http_backend.body_len - 1], '}');
        check_base64_field("\"image\":\"", bytes, sizes[i]);
        check_base64_field("\"mask\":\"", bytes + 1, 5);
        (void)pthread_mutex_unlock(&http_backend.lock);
    }
    rd_engine_http_ops.close(engine);
    free(bytes);
}

static void test_body_read_in_any_portions(void **state)
{
    (void)state;
    static const uint8_t bytes[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    struct rd_http_body body;
    rd_http_body_init(&body);
    rd_buf_str(&body.text, "{\"a\":\"");
    rd_http_body_base64(&body, bytes, 36);
    rd_buf_str(&body.text, "\",\"b\":\"");
    rd_http_body_base64(&body, bytes, 34);
    rd_buf_str(&body.text, "\"}");
    rd_http_body_bytes(&body, bytes, 35);
    rd_http_body_bytes(&body, bytes, 0);
    assert_int_equal(rd_http_body_seal(&body), RD_OK);
    assert_null(rd_http_body_flat(&body));
    assert_int_equal(body.total, 6 + 48 + 7 + 48 + 2 + 35);
    char whole[1024], parts[1024];
    size_t len = rd_http_body_read(&body, whole, sizeof whole);
    assert_int_equal(len, body.total);
    for (size_t step = 1; step < 50; step++) {
        size_t at = 0;
        size_t got;
        rd_http_body_rewind(&body);
        while ((got = rd_http_body_read(&body, parts + at, step)) > 0) {
            assert_true(got <= step);
            at += got;
        }
        assert_int_equal(at, len);
        assert_memory_equal(parts, whole, len);
    }
    rd_http_body_done(&body);
}

/* A header that a job carries cannot add another. */
static void test_header_injection(void **state)
{
    (void)state;
    struct rd_engine *engine = open_path("/told", 0);
    struct recorder recorder;
    struct rd_generation generation = quick;
    generation.family = "a\"b\n";
    run_on(engine, &generation, 1, &recorder);
    (void)pthread_mutex_lock(&http_backend.lock);
    assert_non_null(strstr(http_backend.body, "\"family\":\"a\\\"b\\n\""));
    (void)pthread_mutex_unlock(&http_backend.lock);
    const char *const bad[] = {"x\r\nEvil: 1", "x\ny", "\x7f", "", NULL};
    for (size_t i = 0; i < 5; i++) {
        char line[RD_HTTP_HEADER_TEXT];
        rd_http_header_line(line, "X-Request-Id", bad[i]);
        assert_string_equal(line, "X-Request-Id:");
    }
    rd_engine_http_ops.close(engine);
    recorder_done(&recorder);
}

static void test_connections_are_kept(void **state)
{
    (void)state;
    struct rd_engine *engine = open_path("/good", 0);
    unsigned before = loopback_serving(server);
    for (unsigned i = 0; i < 10; i++) {
        struct recorder recorder;
        run_on(engine, &quick, 4, &recorder);
        assert_int_equal(recorder.err, RD_OK);
        recorder_done(&recorder);
    }
    assert_int_equal(loopback_serving(server), before + 1);
    rd_engine_http_ops.close(engine);
}

/* A server that closes kept connections without a word, at any moment, costs no request. */
static void test_closed_connections_are_replaced(void **state)
{
    (void)state;
    struct rd_engine *engine = open_path("/good-then-close", 0);
    for (unsigned i = 0; i < 100; i++) {
        struct recorder recorder;
        run_on(engine, &quick, 2, &recorder);
        if (recorder.err != RD_OK) {
            fail_msg("run %u: %s", i, recorder.why.text);
        }
        recorder_done(&recorder);
    }
    rd_engine_http_ops.close(engine);
}

/* The backend hears of a cancel: its connection closes. */
static void test_cancel_closes_the_connection(void **state)
{
    (void)state;
    struct rd_engine *engine = open_path("/hang-inside", 0);
    struct recorder recorder;
    recorder_init(&recorder);
    while (sem_trywait(&http_backend.gone) == 0) { /* of earlier tests */
    }
    assert_int_equal(recorder_start(&recorder, &rd_engine_http_ops, engine, &quick, 1), RD_OK);
    assert_true(recorder_wait_begun(&recorder, WAIT_MS));
    uint64_t from = rd_clock_mono_ns();
    recorder_cancel(&recorder);
    assert_true(recorder_wait(&recorder, WAIT_MS));
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    assert_int_equal(sem_timedwait(&http_backend.gone, &until),
                     0); /* while the engine is still open */
    assert_true(rd_clock_mono_ns() - from < 1000000000u);
    assert_int_equal(recorder.err, RD_ERR_CANCELLED);
    assert_int_equal(recorder.report.source, RD_DEVICE_TIME_MEASURED);
    rd_engine_http_ops.close(engine);
    recorder_done(&recorder);
}

static void test_capacity(void **state)
{
    (void)state;
    struct rd_engine *engine = open_path("/hang", 0);
    struct recorder recorders[5];
    for (unsigned i = 0; i < 4; i++) {
        assert_true(becomes(engine, true));
        recorder_init(&recorders[i]);
        assert_int_equal(recorder_start(&recorders[i], &rd_engine_http_ops, engine, &quick, 1),
                         RD_OK);
    }
    assert_true(is_ready(engine)); /* it is up; that it is full the caller knows */
    recorder_init(&recorders[4]);
    assert_int_equal(recorder_start(&recorders[4], &rd_engine_http_ops, engine, &quick, 1),
                     RD_ERR_CAPACITY);
    recorder_cancel(&recorders[0]);
    assert_true(recorder_wait(&recorders[0], WAIT_MS));
    assert_int_equal(recorder_start(&recorders[4], &rd_engine_http_ops, engine, &quick, 1), RD_OK);
    rd_engine_http_ops.close(engine);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(recorders[i].done, 1);
        recorder_done(&recorders[i]);
    }
}

static void test_config_refused(void **state)
{
    (void)state;
    static const struct {
        struct rd_engine_config config;
        const char *why;
    } cases[] = {
        {{.name = "b", .type = "http", .url = NULL, .slots = 1, .timeout_ms = 0}, "needs a url"},
        {{.name = "b", .type = "http", .url = "", .slots = 1, .timeout_ms = 0}, "not an http"},
        {{.name = "b", .type = "http", .url = "ftp://x/", .slots = 1, .timeout_ms = 0},
         "not an http"},
        {{.name = "b", .type = "http", .url = "x:8000/", .slots = 1, .timeout_ms = 0},
         "not an http"},
        {{.name = "b", .type = "http", .url = "http://x:99999/", .slots = 1, .timeout_ms = 0},
         "not an http"},
        {{.name = "b", .type = "http", .url = "http://x/", .slots = 0, .timeout_ms = 0}, "slots"},
        {{.name = "b", .type = "http", .url = "http://x/", .slots = RD_HTTP_SLOTS_MAX + 1},
         "slots"},
        {{.name = "b",
          .type = "http",
          .url = "http://x/",
          .slots = 1,
          .timeout_ms = RD_HTTP_TIMEOUT_MS_MAX + 1},
         "timeout"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rd_engine *engine = NULL;
        struct rd_why why = {""};
        assert_int_equal(rd_engine_http_ops.open(&cases[i].config, &engine, &why), RD_ERR_CONFIG);
        assert_null(engine);
        assert_non_null(strstr(why.text, cases[i].why));
        assert_non_null(strstr(why.text, "backend b"));
    }
    struct rd_engine *engine = open_at("http://x/", RD_HTTP_SLOTS_MAX, RD_HTTP_TIMEOUT_MS_MAX);
    assert_int_equal(engine->drivers_count, RD_HTTP_DRIVERS_MAX);
    rd_engine_http_ops.close(engine);
}

static void test_many_drivers(void **state)
{
    (void)state;
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/good", loopback_port(server));
    struct rd_engine *engine = open_at(url, 2 * RD_HTTP_SLOTS_PER_DRIVER, 0);
    assert_int_equal(engine->drivers_count, 2);
    struct recorder recorders[16];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 16; i++) {
            recorder_init(&recorders[i]);
            assert_int_equal(recorder_start(&recorders[i], &rd_engine_http_ops, engine, &quick, 2),
                             RD_OK);
        }
        for (unsigned i = 0; i < 16; i++) {
            assert_true(recorder_wait(&recorders[i], WAIT_MS));
            assert_int_equal(recorders[i].err, RD_OK);
            assert_string_equal(recorders[i].violation, "");
            recorder_done(&recorders[i]);
        }
    }
    rd_engine_http_ops.close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RD_CONFORMANCE_TESTS(&given),
        cmocka_unit_test(test_bad_answers),
        cmocka_unit_test(test_good_answers),
        cmocka_unit_test(test_device_time),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_source_images),
        cmocka_unit_test(test_body_read_in_any_portions),
        cmocka_unit_test(test_header_injection),
        cmocka_unit_test(test_connections_are_kept),
        cmocka_unit_test(test_closed_connections_are_replaced),
        cmocka_unit_test(test_cancel_closes_the_connection),
        cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_config_refused),
        cmocka_unit_test(test_many_drivers),
    };
    return cmocka_run_group_tests_name("engine/http", tests, setup, teardown);
}
