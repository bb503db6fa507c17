/* SPDX-License-Identifier: Apache-2.0
 *
 * The built-in engine as an engine: the conformance suite, every task and medium through the real
 * encoders, and that it is found by its name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "conformance.h"
#include "recorder.h"

static const struct rd_format small = {"small", RD_MODALITY_IMAGE, 48, 32};
static const struct rd_format large = {"large", RD_MODALITY_IMAGE, 1024, 1024};
static const struct rd_format small_video = {"small", RD_MODALITY_VIDEO, 96, 64};

static const struct rd_generation quick = {
    .modality = RD_MODALITY_IMAGE,
    .task = RD_TASK_T2I,
    .family = "builtin",
    .model = "plasma",
    .backend = RD_BACKEND_BUILTIN,
    .format = &small,
    .media = RD_MEDIA_PNG,
    .prompt = "a red circle",
    .negative_prompt = "",
    .seed = 7,
    .strength = 0.8,
    .steps = 3,
    .guidance = 3.5,
    .cfg = 1,
    .count = 1,
    .duration = 0.5,
    .motion_strength = 0.5,
    .shift = -1,
    .sampler = "euler",
    .scheduler = "simple",
    .noise_type = "gaussian",
    .detail_end = 1,
    .json = "{\"prompt\":\"a red circle\"}",
    .json_len = 25,
};
static struct rd_generation slow; /* four pictures of 150 steps: many seconds */
static struct rd_conformance given = {
    .ops = &rd_engine_builtin_ops,
    .config = {.name = "test", .type = "builtin", .slots = 4},
    .quick = &quick,
    .slow = &slow,
    .stop_ms = 2000,
    .races = 60,
};

static void found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(rd_engine_find("builtin", NULL), &rd_engine_builtin_ops);
    assert_ptr_equal(rd_engine_find("http", "http://a/"), &rd_engine_http_ops);
    assert_null(rd_engine_find("builtin ", NULL));
    assert_null(rd_engine_find("", NULL));
}

static void slots_have_limits(void **state)
{
    (void)state;
    struct rd_engine *engine = NULL;
    struct rd_why why = {""};
    struct rd_engine_config config = {.name = "b", .type = "builtin", .slots = 0};
    assert_int_equal(rd_engine_builtin_ops.open(&config, &engine, &why), RD_ERR_CONFIG);
    assert_non_null(strstr(why.text, "slots"));
    config.slots = 4097;
    assert_int_equal(rd_engine_builtin_ops.open(&config, &engine, &why), RD_ERR_CONFIG);
    assert_null(engine);
}

/* One run; gives its error and leaves the recorder for a look. */
static rd_err run_once(struct recorder *recorder, const struct rd_generation *generation)
{
    struct rd_engine *engine = NULL;
    struct rd_engine_config config = {.name = "b", .type = "builtin", .slots = 1};
    assert_int_equal(rd_engine_builtin_ops.open(&config, &engine, NULL), RD_OK);
    recorder_init(recorder);
    assert_int_equal(
        recorder_start(recorder, &rd_engine_builtin_ops, engine, generation, generation->count),
        RD_OK);
    assert_true(recorder_wait(recorder, 20000));
    rd_engine_builtin_ops.close(engine);
    assert_string_equal(recorder->violation, "");
    return recorder->err;
}

static void every_medium(void **state)
{
    (void)state;
    static const struct {
        enum rd_media media;
        const char *magic;
        size_t len;
    } table[] = {{RD_MEDIA_PNG, "\x89PNG", 4},
                 {RD_MEDIA_JPEG, "\xff\xd8\xff", 3},
                 {RD_MEDIA_WEBP, "RIFF", 4}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct rd_generation generation = quick;
        struct recorder recorder;
        generation.media = table[i].media;
        assert_int_equal(run_once(&recorder, &generation), RD_OK);
        assert_memory_equal(recorder.first[0], table[i].magic, table[i].len);
        assert_int_equal(recorder.size_hint[0], recorder.size[0]);
        assert_int_equal(recorder.report.source, RD_DEVICE_TIME_CPU);
        assert_true(recorder.report.device_ns > 0);
        assert_string_equal(recorder.report.device, "cpu");
        assert_int_equal(recorder.previews, 2); /* after each step but the last */
        recorder_done(&recorder);
    }
}

static void a_video(void **state)
{
    (void)state;
    struct rd_generation generation = quick;
    struct recorder recorder;
    generation.modality = RD_MODALITY_VIDEO;
    generation.task = RD_TASK_T2V;
    generation.format = &small_video;
    generation.media = RD_MEDIA_MP4;
    assert_int_equal(run_once(&recorder, &generation), RD_OK);
    assert_memory_equal(recorder.first[0] + 4, "ftyp", 4);
    assert_true(recorder.previews >= 6);
    recorder_done(&recorder);
}

static void what_cannot_be(void **state)
{
    (void)state;
    struct rd_generation generation = quick;
    struct recorder recorder;
    generation.media = RD_MEDIA_MP4; /* a picture as video */
    assert_int_equal(run_once(&recorder, &generation), RD_ERR_INVALID_REQUEST);
    assert_true(recorder.has_why);
    recorder_done(&recorder);

    generation = quick;
    generation.task = RD_TASK_I2I; /* without a source */
    assert_int_equal(run_once(&recorder, &generation), RD_ERR_INVALID_REQUEST);
    assert_non_null(strstr(recorder.why.text, "i2i"));
    recorder_done(&recorder);

    generation.image = (struct rd_source){
        .kind = RD_SOURCE_DATA, .bytes = (const uint8_t *)"no picture", .bytes_len = 10};
    assert_int_equal(run_once(&recorder, &generation), RD_ERR_INVALID_REQUEST);
    recorder_done(&recorder);
}

int main(void)
{
    slow = quick;
    slow.format = &large;
    slow.steps = 150;
    slow.count = 4;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(found_by_name),  cmocka_unit_test(slots_have_limits),
        cmocka_unit_test(every_medium),   cmocka_unit_test(a_video),
        cmocka_unit_test(what_cannot_be), RD_CONFORMANCE_LOCAL_TESTS(&given),
    };
    return cmocka_run_group_tests_name("engine/builtin", tests, NULL, NULL);
}
