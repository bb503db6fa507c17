/* SPDX-License-Identifier: Apache-2.0
 *
 * Engines of type "openai": the conformance suite against a scripted server, then each way in which
 * a server can misbehave (openai_backend.c), videos, partial pictures, health, and who it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../fetch/loopback.h"
#include "base/clock.h"
#include "conformance.h"
#include "openai_backend.h"
#include "recorder.h"

enum { WAIT_MS = 20000, PICTURE = OPENAI_BACKEND_PICTURE };

static struct loopback *server;
static const struct rd_engine_ops *const ops = &rd_engine_openai_ops;

static const struct rd_format square = {"512", RD_MODALITY_IMAGE, 512, 512};
static const struct rd_format wide = {"720p", RD_MODALITY_VIDEO, 1280, 720};
static const uint8_t source[] = "\x89PNG\r\n\x1a\n a source picture";

#define GENERATION(text)                                                                           \
    {                                                                                              \
        .task = RD_TASK_T2I, .family = "fam", .model = "mod", .format = &square,                   \
        .media = RD_MEDIA_PNG, .prompt = (text), .negative_prompt = "", .seed = 7, .count = 1,     \
        .steps = 20, .cfg = 1, .guidance = 3.5, .shift = -1                                        \
    }
static const struct rd_generation quick = GENERATION("quick");
static const struct rd_generation slow = GENERATION("slow");
static const struct rd_generation video = {.task = RD_TASK_T2V,
                                           .modality = RD_MODALITY_VIDEO,
                                           .family = "fam",
                                           .model = "mod",
                                           .format = &wide,
                                           .media = RD_MEDIA_MP4,
                                           .prompt = "waves",
                                           .negative_prompt = "",
                                           .seed = 7,
                                           .count = 1,
                                           .steps = 20,
                                           .cfg = 5,
                                           .duration = 2,
                                           .shift = -1};

static void toggle(void *ctx, bool up)
{
    (void)ctx;
    (void)pthread_mutex_lock(&openai_backend.lock);
    openai_backend.down = !up;
    (void)pthread_mutex_unlock(&openai_backend.lock);
}

/* The server answers a prompt "!MODE" as MODE. */
static const struct rd_generation policy = GENERATION("!policy");
static const struct rd_generation twice = GENERATION("!two");
static const struct rd_generation malformed = GENERATION("!cut-base64");
static const struct rd_generation page = GENERATION("!html");
static const struct rd_generation busy = GENERATION("!busy");
static const struct rd_generation oversized = GENERATION("!oversized");
static const struct rd_conformance_failure failures[] = {
    {"refused prompt", &policy, RD_ERR_BACKEND_FAILED, true, true},
    {"two pictures", &twice, RD_ERR_BACKEND_FAILED, false, false},
    {"cut base64", &malformed, RD_ERR_BACKEND_FAILED, false, false},
    {"an HTML page", &page, RD_ERR_BACKEND_FAILED, false, false},
    {"busy", &busy, RD_ERR_CAPACITY, false, false},
    {"oversized", &oversized, RD_ERR_BACKEND_FAILED, true, false},
};

static char base_url[64];
static const char *const models[] = {"fam/mod"};
static struct rd_conformance given = {
    .ops = &rd_engine_openai_ops,
    .config = {.name = "test",
               .type = "openai",
               .url = base_url,
               .slots = 8,
               .models = models,
               .models_count = 1},
    .quick = &quick,
    .slow = &slow,
    .stop_ms = 2000,
    .races = 60,
    .server = toggle,
    .failures = failures,
    .failures_count = sizeof failures / sizeof failures[0],
};

static int setup(void **state)
{
    (void)state;
    openai_backend_init();
    server = loopback_start(openai_backend_handle, NULL);
    (void)snprintf(base_url, sizeof base_url, "http://127.0.0.1:%u/good", loopback_port(server));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loopback_stop(server);
    openai_backend_done();
    return 0;
}

/* ---- tools ---- */

static struct rd_engine *open_with(const char *mode, const char *remote_model, unsigned timeout_ms)
{
    char url[128];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/%s/", loopback_port(server), mode);
    struct rd_engine_config config = given.config;
    config.url = url;
    config.slots = 4;
    config.timeout_ms = timeout_ms;
    config.remote_model = remote_model;
    struct rd_engine *engine = NULL;
    struct rd_why why = {""};
    if (ops->open(&config, &engine, &why) != RD_OK) {
        fail_msg("open: %s", why.text);
    }
    return engine;
}

static bool becomes(struct rd_engine *engine, bool ready, struct rd_engine_health *health)
{
    uint64_t until = rd_clock_mono_ns() + (uint64_t)WAIT_MS * 1000000;
    for (;;) {
        ops->health(engine, health);
        if (health->ready == ready) {
            return true;
        }
        if (rd_clock_mono_ns() > until) {
            return false;
        }
        (void)usleep(1000);
    }
}

static void run_on(struct rd_engine *engine, const struct rd_generation *generation, unsigned count,
                   bool bare, struct recorder *recorder)
{
    recorder_init(recorder);
    recorder->bare = bare;
    assert_int_equal(recorder_start(recorder, ops, engine, generation, count), RD_OK);
    assert_true(recorder_wait(recorder, WAIT_MS));
    assert_string_equal(recorder->violation, "");
}

/* What the newest POST held. */
static bool posted(const char *text)
{
    (void)pthread_mutex_lock(&openai_backend.lock);
    bool found =
        strstr(openai_backend.body, text) != NULL || strstr(openai_backend.head, text) != NULL;
    (void)pthread_mutex_unlock(&openai_backend.lock);
    return found;
}

static unsigned posts(void)
{
    (void)pthread_mutex_lock(&openai_backend.lock);
    unsigned count = openai_backend.posts;
    (void)pthread_mutex_unlock(&openai_backend.lock);
    return count;
}

/* ---- answers ---- */

struct bad {
    const char *mode;
    rd_err err;
    const char *why;
    bool final, faultless;
};

static void check_bad(const struct bad *row, const struct rd_generation *generation,
                      unsigned timeout_ms)
{
    struct rd_engine *engine = open_with(row->mode, NULL, timeout_ms);
    struct recorder recorder;
    run_on(engine, generation, 2, true, &recorder);
    if (recorder.err != row->err || strstr(recorder.why.text, row->why) == NULL ||
        recorder.report.final != row->final || recorder.report.faultless != row->faultless) {
        fail_msg("%s: %s, '%s', final %d, faultless %d", row->mode, rd_err_info(recorder.err)->code,
                 recorder.why.text, recorder.report.final, recorder.report.faultless);
    }
    assert_int_equal(recorder.ended, 0);
    recorder_done(&recorder);
    ops->close(engine);
}

static void test_bad_answers(void **state)
{
    (void)state;
    static const struct bad rows[] = {
        {"two", RD_ERR_BACKEND_FAILED, "a second picture", false, false},
        {"bad-base64", RD_ERR_BACKEND_FAILED, "base64", false, false},
        {"cut-base64", RD_ERR_BACKEND_FAILED, "cut off", false, false},
        {"cut-json", RD_ERR_BACKEND_FAILED, "ends early", false, false},
        {"cut-body", RD_ERR_BACKEND_FAILED, "ended early", false, false},
        {"oversized", RD_ERR_BACKEND_FAILED, "too large", true, false},
        {"html", RD_ERR_BACKEND_FAILED, "text/html", false, false},
        {"html-as-json", RD_ERR_BACKEND_FAILED, "a value at byte 0", false, false},
        {"gif", RD_ERR_BACKEND_FAILED, "neither PNG", false, false},
        {"video-as-picture", RD_ERR_BACKEND_FAILED, "video/mp4, not image/png", false, false},
        {"tiny", RD_ERR_BACKEND_FAILED, "too short", false, false},
        {"no-picture", RD_ERR_BACKEND_FAILED, "the GPU is on fire", false, false},
        {"foreign-url", RD_ERR_BACKEND_FAILED, "not on the engine's own server", false, false},
        {"policy", RD_ERR_BACKEND_FAILED,
         "answered 400: Your request was rejected by the safety system. (moderation_blocked)", true,
         true},
        {"policy-403", RD_ERR_BACKEND_FAILED, "answered 403: no (content_policy_violation)", true,
         true},
        {"unauthorized", RD_ERR_BACKEND_FAILED, "Incorrect API key (invalid_api_key) (is the key",
         true, false},
        {"sdcpp-error", RD_ERR_BACKEND_FAILED, "generate_image returned no results", false, false},
        {"fastapi-error", RD_ERR_BACKEND_FAILED, "size must be WxH", true, true},
        {"rate-limit", RD_ERR_CAPACITY, "slow down (rate_limit_exceeded)", false, false},
        {"busy", RD_ERR_CAPACITY, "answered 503: <h1>loading", false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        check_bad(&rows[i], &quick, 0);
    }
    static const struct bad stalls = {"stall", RD_ERR_BACKEND_TIMEOUT, "", false, false};
    check_bad(&stalls, &quick, 200);
}

static void test_a_url_of_its_own_is_fetched(void **state)
{
    (void)state;
    struct rd_engine *engine = open_with("own-url", NULL, 0);
    struct recorder recorder;
    run_on(engine, &quick, 2, true, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    assert_int_equal(recorder.size[0], PICTURE);
    assert_int_equal(recorder.size_hint[1], PICTURE);
    recorder_done(&recorder);
    ops->close(engine);
}

static void test_another_type_is_made_of_it(void **state)
{
    (void)state;
    struct rd_engine *engine = open_with("real", NULL, 0);
    static const enum rd_media media[] = {RD_MEDIA_JPEG, RD_MEDIA_WEBP, RD_MEDIA_PNG};
    static const char *const magic[] = {"\xff\xd8\xff", "RIFF", "\x89PNG"};
    for (size_t i = 0; i < 3; i++) {
        struct rd_generation generation = quick;
        struct recorder recorder;
        generation.media = media[i];
        run_on(engine, &generation, 2, false, &recorder);
        assert_int_equal(recorder.err, RD_OK);
        assert_memory_equal(recorder.first[0], magic[i], strlen(magic[i]));
        assert_int_equal(recorder.ended, 2);
        recorder_done(&recorder);
    }
    ops->close(engine);
    struct rd_generation jpeg = quick;
    jpeg.media = RD_MEDIA_JPEG;
    static const struct bad cut = {"real-cut", RD_ERR_BACKEND_FAILED, "cannot be used", false,
                                   false};
    check_bad(&cut, &jpeg, 0);
    static const struct bad other_size = {"real", RD_ERR_BACKEND_FAILED,
                                          "it is 512x512, not 1280x720", false, false};
    jpeg.format = &wide;
    check_bad(&other_size, &jpeg, 0);
}

static void test_device_time(void **state)
{
    (void)state;
    struct recorder recorder;
    struct rd_engine *engine = open_with("told", NULL, 0);
    run_on(engine, &quick, 2, true, &recorder);
    assert_int_equal(recorder.report.source, RD_DEVICE_TIME_ENGINE);
    assert_int_equal(recorder.report.device_ns, 2500000000u);
    recorder_done(&recorder);
    ops->close(engine);
    engine = open_with("good", NULL, 0);
    run_on(engine, &quick, 2, true, &recorder);
    assert_int_equal(recorder.report.source, RD_DEVICE_TIME_MEASURED);
    assert_true(recorder.report.device_ns > 0);
    recorder_done(&recorder);
    ops->close(engine);
}

/* ---- partial pictures ---- */

static void test_partial_pictures(void **state)
{
    (void)state;
    static const struct {
        const char *mode;
        unsigned previews;
    } good[] = {{"events", 2}, {"events-by-name", 1}, {"events-vllm", 0}};
    struct recorder recorder;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct rd_engine *engine = open_with(good[i].mode, NULL, 0);
        run_on(engine, &quick, 2, false, &recorder);
        if (recorder.err != RD_OK) {
            fail_msg("%s: %s", good[i].mode, recorder.why.text);
        }
        assert_true(posted("\"stream\":true,\"partial_images\":3"));
        assert_true(posted("text/event-stream"));
        assert_int_equal(recorder.previews, 2 * good[i].previews);
        assert_int_equal(recorder.progressed, 2 * good[i].previews);
        assert_int_equal(recorder.size[0], PICTURE);
        recorder_done(&recorder);
        ops->close(engine);
    }
    static const struct {
        const char *mode, *why;
        bool faultless;
    } bad[] = {{"events-unnamed", "whether it is the last one", false},
               {"events-without-end", "holds no picture", false},
               {"events-failed", "the engine failed: out of memory", false},
               {"events-refused", "the engine failed: not allowed", true}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rd_engine *engine = open_with(bad[i].mode, NULL, 0);
        run_on(engine, &quick, 2, false, &recorder);
        assert_int_equal(recorder.err, RD_ERR_BACKEND_FAILED);
        if (strstr(recorder.why.text, bad[i].why) == NULL) {
            fail_msg("%s: %s", bad[i].mode, recorder.why.text);
        }
        assert_int_equal(recorder.report.faultless, bad[i].faultless);
        assert_int_equal(recorder.report.final, bad[i].faultless);
        recorder_done(&recorder);
        ops->close(engine);
    }
}

static void test_who_does_not_stream_is_asked_once(void **state)
{
    (void)state;
    static const struct {
        const char *mode;
        unsigned first; /* requests for two pictures */
    } rows[] = {{"good", 2}, {"refuses-stream", 3}};
    for (size_t i = 0; i < 2; i++) {
        struct rd_engine *engine = open_with(rows[i].mode, NULL, 0);
        struct recorder recorder;
        unsigned before = posts();
        run_on(engine, &quick, 2, false, &recorder);
        assert_int_equal(recorder.err, RD_OK);
        assert_int_equal(posts(), before + rows[i].first);
        recorder_done(&recorder);
        run_on(engine, &quick, 1, false, &recorder);
        assert_int_equal(posts(), before + rows[i].first + 1);
        assert_false(posted("\"stream\""));
        recorder_done(&recorder);
        ops->close(engine);
    }
    /* A refused prompt is not tried again in another way. */
    struct rd_engine *strict = open_with("policy", NULL, 0);
    struct recorder refused;
    unsigned earlier = posts();
    run_on(strict, &quick, 1, false, &refused);
    assert_int_equal(posts(), earlier + 1);
    recorder_done(&refused);
    ops->close(strict);
    /* Nothing is learned from a request that is refused either way. */
    struct rd_engine *engine = open_with("fastapi-error", NULL, 0);
    for (unsigned i = 0; i < 2; i++) {
        struct recorder recorder;
        unsigned before = posts();
        run_on(engine, &quick, 1, false, &recorder);
        assert_non_null(strstr(recorder.why.text, "size must be WxH"));
        assert_int_equal(posts(), before + 2);
        recorder_done(&recorder);
    }
    ops->close(engine);
}

/* ---- videos ---- */

static void test_video(void **state)
{
    (void)state;
    static const char *const modes[] = {"video", "video-shaky"};
    for (size_t i = 0; i < 2; i++) {
        struct rd_engine *engine = open_with(modes[i], "wan", 0);
        struct recorder recorder;
        run_on(engine, &video, 1, false, &recorder);
        if (recorder.err != RD_OK) {
            fail_msg("%s", recorder.why.text);
        }
        assert_true(posted("/v1/videos "));
        assert_true(posted("\"model\":\"wan\""));
        assert_true(posted("\"seconds\":\"2\""));
        assert_int_equal(recorder.size[0], 5000);
        assert_int_equal(recorder.size_hint[0], 5000);
        assert_int_equal(recorder.report.source, RD_DEVICE_TIME_ENGINE);
        assert_int_equal(recorder.report.device_ns, 12500000000u);
        assert_true(recorder.progressed >= 1);
        recorder_done(&recorder);
        ops->close(engine);
    }
}

static void test_bad_videos(void **state)
{
    (void)state;
    static const struct bad rows[] = {
        {"video-bad-id", RD_ERR_BACKEND_FAILED, "no id that can be asked for", false, false},
        {"video-failed", RD_ERR_BACKEND_FAILED, "'failed': no VRAM", false, false},
        {"video-policy", RD_ERR_BACKEND_FAILED, "'failed': no", true, true},
        {"video-lost", RD_ERR_BACKEND_FAILED, "Video not found", false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rd_engine *engine = open_with(rows[i].mode, NULL, 0);
        struct recorder recorder;
        run_on(engine, &video, 1, true, &recorder);
        if (recorder.err != rows[i].err || strstr(recorder.why.text, rows[i].why) == NULL ||
            recorder.report.final != rows[i].final ||
            recorder.report.faultless != rows[i].faultless) {
            fail_msg("%s: %s, '%s', final %d, faultless %d", rows[i].mode,
                     rd_err_info(recorder.err)->code, recorder.why.text, recorder.report.final,
                     recorder.report.faultless);
        }
        recorder_done(&recorder);
        ops->close(engine);
    }
}

/* Who stops waiting says so: on cancel and at the deadline, the server's work is deleted. */
static void test_a_video_that_is_given_up_is_deleted(void **state)
{
    (void)state;
    for (unsigned by_deadline = 0; by_deadline < 2; by_deadline++) {
        struct rd_engine *engine = open_with("video-slow", NULL, by_deadline ? 300 : 0);
        struct recorder recorder;
        recorder_init(&recorder);
        recorder.cancel_at = by_deadline ? RECORDER_NEVER : RECORDER_PROGRESS;
        assert_int_equal(recorder_start(&recorder, ops, engine, &video, 1), RD_OK);
        assert_true(recorder_wait(&recorder, WAIT_MS));
        assert_int_equal(recorder.err, by_deadline ? RD_ERR_BACKEND_TIMEOUT : RD_ERR_CANCELLED);
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 10;
        assert_int_equal(sem_timedwait(&openai_backend.told, &until), 0);
        (void)pthread_mutex_lock(&openai_backend.lock);
        assert_string_equal(openai_backend.deleted, "/video-slow/v1/videos/video_7");
        (void)pthread_mutex_unlock(&openai_backend.lock);
        ops->close(engine);
        recorder_done(&recorder);
    }
}

/* ---- health, and who it is ---- */

static void test_health(void **state)
{
    (void)state;
    struct rd_engine_health health;
    static const char *const ready[] = {"good", "nohealth", "sdcpp", "vllm", "localai"};
    for (size_t i = 0; i < sizeof ready / sizeof ready[0]; i++) {
        struct rd_engine *engine = open_with(ready[i], NULL, 0);
        assert_true(becomes(engine, true, &health));
        ops->close(engine);
    }
    static const struct {
        const char *mode, *why;
    } not [] = {{"loading", "/health: answered 503"},
                {"unauthorized", "answered 401, not 200; is the"}};
    for (size_t i = 0; i < 2; i++) {
        struct rd_engine *engine = open_with(not [i].mode, NULL, 0);
        uint64_t until = rd_clock_mono_ns() + (uint64_t)WAIT_MS * 1000000;
        do {
            ops->health(engine, &health);
            assert_false(health.ready);
            (void)usleep(1000);
        } while (strstr(health.why, not [i].why) == NULL && rd_clock_mono_ns() < until);
        assert_non_null(strstr(health.why, not [i].why));
        ops->close(engine);
    }
}

/* A server that is known gets what only it understands. */
static void test_who_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *mode, *sent, *not_sent;
    } rows[] = {
        {"good", "\"prompt\":\"quick\",", "sd_cpp"},
        {"sdcpp", "<sd_cpp_extra_args>{", "quick|"},
        {"sglang", "\"num_inference_steps\":20", "sd_cpp"},
        {"localai", "\"prompt\":\"quick|bad\"", "num_inference_steps"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rd_engine *engine = open_with(rows[i].mode, NULL, 0);
        struct rd_engine_health health;
        struct rd_generation generation = quick;
        struct recorder recorder;
        generation.negative_prompt = "bad";
        assert_true(becomes(engine, true, &health));
        run_on(engine, &generation, 1, true, &recorder);
        assert_int_equal(recorder.err, RD_OK);
        assert_true(posted(rows[i].sent));
        assert_false(posted(rows[i].not_sent));
        recorder_done(&recorder);
        ops->close(engine);
    }
}

/* What is learned is not asked again: one GET a round. */
static void test_probes_are_few(void **state)
{
    (void)state;
    struct rd_engine_health health;
    (void)pthread_mutex_lock(&openai_backend.lock);
    unsigned before = openai_backend.probes;
    (void)pthread_mutex_unlock(&openai_backend.lock);
    struct rd_engine *engine = open_with("vllm", NULL, 0);
    assert_true(becomes(engine, true, &health));
    uint64_t from = rd_clock_mono_ns();
    unsigned now;
    do {
        (void)usleep(1000);
        (void)pthread_mutex_lock(&openai_backend.lock);
        now = openai_backend.probes - before;
        (void)pthread_mutex_unlock(&openai_backend.lock);
    } while (now < 3 && rd_clock_mono_ns() - from < 10000000000u);
    assert_int_equal(now, 3); /* /health, /v1/models; then, a second later, /health */
    ops->close(engine);
}

/* ---- requests ---- */

static void test_edit(void **state)
{
    (void)state;
    struct rd_engine *engine = open_with("real", NULL, 0);
    struct recorder recorder;
    struct rd_generation edit = quick;
    edit.task = RD_TASK_EDIT;
    edit.image =
        (struct rd_source){.kind = RD_SOURCE_DATA, .bytes = source, .bytes_len = sizeof source - 1};
    edit.mask = (struct rd_source){
        .kind = RD_SOURCE_DATA, .bytes = openai_backend.real, .bytes_len = openai_backend.real_len};
    run_on(engine, &edit, 2, true, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    assert_true(posted("POST /real/v1/images/edits "));
    assert_true(posted("name=\"image\"; filename=\"image.png\""));
    recorder_done(&recorder);
    /* A mask that is none is the caller's fault, told before anything is sent. */
    unsigned before = posts();
    edit.mask.bytes = source;
    edit.mask.bytes_len = sizeof source - 1;
    run_on(engine, &edit, 1, true, &recorder);
    assert_int_equal(recorder.err, RD_ERR_INVALID_REQUEST);
    assert_memory_equal(recorder.why.text, "mask: ", 6);
    assert_true(recorder.report.final && recorder.report.faultless);
    assert_int_equal(recorder.report.source, RD_DEVICE_TIME_UNKNOWN);
    assert_int_equal(posts(), before);
    recorder_done(&recorder);
    ops->close(engine);
}

static void test_config_refused(void **state)
{
    (void)state;
    static const char *const urls[] = {"http://x/v1", "http://x:8000/a/v1//"};
    for (size_t i = 0; i < 2; i++) {
        struct rd_engine_config config = given.config;
        struct rd_engine *engine = NULL;
        struct rd_why why = {""};
        config.url = urls[i];
        assert_int_equal(ops->open(&config, &engine, &why), RD_ERR_CONFIG);
        assert_non_null(strstr(why.text, "leave out the /v1"));
    }
    assert_ptr_equal(rd_engine_find("openai", "http://x"), ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RD_CONFORMANCE_TESTS(&given),
        cmocka_unit_test(test_bad_answers),
        cmocka_unit_test(test_a_url_of_its_own_is_fetched),
        cmocka_unit_test(test_another_type_is_made_of_it),
        cmocka_unit_test(test_device_time),
        cmocka_unit_test(test_partial_pictures),
        cmocka_unit_test(test_who_does_not_stream_is_asked_once),
        cmocka_unit_test(test_video),
        cmocka_unit_test(test_bad_videos),
        cmocka_unit_test(test_a_video_that_is_given_up_is_deleted),
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_who_it_is),
        cmocka_unit_test(test_probes_are_few),
        cmocka_unit_test(test_edit),
        cmocka_unit_test(test_config_refused),
    };
    return cmocka_run_group_tests_name("engine/openai", tests, setup, teardown);
}
