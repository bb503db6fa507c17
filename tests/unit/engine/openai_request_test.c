/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes to each server: fields, forms, the prompt's extras, masks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/openai/request.h"
#include "media/media.h"

static const struct rd_format square = {"512", RD_MODALITY_IMAGE, 512, 768};
static const struct rd_format wide = {"720p", RD_MODALITY_VIDEO, 1280, 720};
static const uint8_t picture[] = "\x89PNG\r\n\x1a\n 0123\r\n--x";
static const uint8_t jpeg[] = "\xff\xd8\xff\xe0 0123456789";
#define SOURCE(from)                                                                               \
    {                                                                                              \
        .kind = RD_SOURCE_DATA, .bytes = (from), .bytes_len = sizeof(from) - 1                     \
    }

static const struct rd_generation t2i = {.task = RD_TASK_T2I,
                                         .family = "flux",
                                         .model = "dev",
                                         .format = &square,
                                         .media = RD_MEDIA_JPEG,
                                         .prompt = "a \"cat\"\n|",
                                         .negative_prompt = "dogs | </sd_cpp_extra_args>",
                                         .seed = 4294967295u,
                                         .count = 2,
                                         .steps = 25,
                                         .cfg = 1,
                                         .guidance = 3.5,
                                         .strength = 0.75,
                                         .shift = -1,
                                         .sampler = "euler_ancestral",
                                         .scheduler = "karras"};

/* The body of a request, whole, with a NUL behind. */
static char *make(struct rd_openai_request *request, const struct rd_generation *generation,
                  enum rd_openai_server server, rd_err expected)
{
    struct rd_http_body body;
    struct rd_why why = {""};
    rd_http_body_init(&body);
    rd_openai_request_init(request);
    request->generation = generation;
    request->server = server;
    request->model = "the-model";
    assert_int_equal(rd_openai_request_make(request, &body, &why), expected);
    char *text = NULL;
    if (expected == RD_OK) {
        text = calloc(1, (size_t)body.total + 1);
        assert_non_null(text);
        assert_int_equal(rd_http_body_read(&body, text, (size_t)body.total), body.total);
    } else {
        assert_memory_equal(why.text, "mask: ", 6);
    }
    rd_http_body_done(&body);
    return text;
}

static json_t *make_json(const struct rd_generation *generation, enum rd_openai_server server,
                         const char *path)
{
    struct rd_openai_request request;
    char *text = make(&request, generation, server, RD_OK);
    assert_string_equal(request.path, path);
    assert_string_equal(request.content_type, "application/json");
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    rd_openai_request_done(&request);
    free(text);
    return json;
}

static const char *text_of(const json_t *json, const char *key)
{
    return json_string_value(json_object_get(json, key));
}

static double number_of(const json_t *json, const char *key)
{
    assert_true(json_is_number(json_object_get(json, key)));
    return json_number_value(json_object_get(json, key));
}

static void test_generation(void **state)
{
    (void)state;
    static const enum rd_openai_server servers[] = {RD_OPENAI_ANY, RD_OPENAI_VLLM,
                                                    RD_OPENAI_SGLANG};
    for (size_t i = 0; i < 3; i++) {
        json_t *json = make_json(&t2i, servers[i], "/v1/images/generations");
        assert_string_equal(text_of(json, "model"), "the-model");
        assert_string_equal(text_of(json, "prompt"), t2i.prompt);
        assert_string_equal(text_of(json, "negative_prompt"), t2i.negative_prompt);
        assert_string_equal(text_of(json, "size"), "512x768");
        assert_string_equal(text_of(json, "response_format"), "b64_json");
        assert_string_equal(text_of(json, "output_format"), "jpeg");
        assert_true(number_of(json, "n") == 1);
        assert_true(number_of(json, "seed") == 4294967295.0);
        assert_true(number_of(json, "num_inference_steps") == 25);
        assert_true(number_of(json, "guidance_scale") == 3.5);
        assert_true(number_of(json, "true_cfg_scale") == 1);
        assert_null(json_object_get(json, "stream"));
        assert_null(json_object_get(json, "strength"));
        assert_null(json_object_get(json, "flow_shift"));
        assert_int_equal(json_object_size(json), 11);
        json_decref(json);
    }
    struct rd_generation other = t2i;
    other.cfg = 7;
    other.shift = 3;
    other.negative_prompt = "";
    json_t *json = make_json(&other, RD_OPENAI_ANY, "/v1/images/generations");
    assert_true(number_of(json, "guidance_scale") == 7);
    assert_true(number_of(json, "flow_shift") == 3);
    assert_null(json_object_get(json, "negative_prompt"));
    json_decref(json);
}

static void test_outputs_have_their_own_seed(void **state)
{
    (void)state;
    struct rd_openai_request request;
    struct rd_http_body body;
    struct rd_why why;
    rd_http_body_init(&body);
    rd_openai_request_init(&request);
    request.generation = &t2i;
    request.model = "m";
    request.output = 1;
    request.stream = true;
    assert_int_equal(rd_openai_request_make(&request, &body, &why), RD_OK);
    const char *flat = rd_http_body_flat(&body);
    assert_non_null(strstr(flat, "\"seed\":0,"));
    assert_non_null(strstr(flat, "\"stream\":true,\"partial_images\":3}"));
    rd_http_body_done(&body);
    rd_openai_request_done(&request);
}

/* stable-diffusion.cpp: the extras stand first, and no text of a caller's can end or begin them. */
static void test_sdcpp(void **state)
{
    (void)state;
    static const char open[] = "<sd_cpp_extra_args>", close[] = "</sd_cpp_extra_args>";
    struct rd_generation generation = t2i;
    generation.prompt = "<sd_cpp_extra_args>{\"seed\":1}</sd_cpp_extra_args>";
    json_t *json = make_json(&generation, RD_OPENAI_SDCPP, "/v1/images/generations");
    const char *prompt = text_of(json, "prompt");
    assert_memory_equal(prompt, open, sizeof open - 1);
    const char *end = strstr(prompt, close);
    assert_string_equal(end + sizeof close - 1, generation.prompt);
    size_t args_len = (size_t)(end - prompt) - (sizeof open - 1);
    json_t *args = json_loadb(prompt + sizeof open - 1, args_len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(args);
    assert_string_equal(text_of(args, "negative_prompt"), t2i.negative_prompt);
    assert_true(number_of(args, "seed") == 4294967295.0);
    const json_t *sample = json_object_get(args, "sample_params");
    const json_t *guidance = json_object_get(sample, "guidance");
    assert_true(number_of(sample, "sample_steps") == 25);
    assert_string_equal(text_of(sample, "sample_method"), "euler_a");
    assert_string_equal(text_of(sample, "scheduler"), "karras");
    assert_true(number_of(guidance, "txt_cfg") == 1);
    assert_true(number_of(guidance, "distilled_guidance") == 3.5);
    json_decref(args);
    json_decref(json);
    generation.sampler = "rk4_4s"; /* it has no such sampler */
    generation.scheduler = NULL;
    generation.negative_prompt = "";
    generation.shift = 2;
    generation.clip_skip = 2;
    json = make_json(&generation, RD_OPENAI_SDCPP, "/v1/images/generations");
    assert_null(strstr(text_of(json, "prompt"), "sample_method"));
    assert_non_null(strstr(text_of(json, "prompt"), "\"flow_shift\":2"));
    assert_non_null(strstr(text_of(json, "prompt"), "\"clip_skip\":2"));
    json_decref(json);
}

static void test_localai(void **state)
{
    (void)state;
    json_t *json = make_json(&t2i, RD_OPENAI_LOCALAI, "/v1/images/generations");
    assert_string_equal(text_of(json, "prompt"), "a \"cat\"\n |dogs   </sd_cpp_extra_args>");
    assert_true(number_of(json, "step") == 25);
    assert_true(number_of(json, "seed") == 2147483647.0);
    json_decref(json);
    struct rd_generation i2i = t2i;
    i2i.task = RD_TASK_I2I;
    i2i.image = (struct rd_source)SOURCE(picture);
    i2i.negative_prompt = "";
    json = make_json(&i2i, RD_OPENAI_LOCALAI, "/v1/images/generations");
    assert_string_equal(text_of(json, "file"), "iVBORw0KGgogMDEyMw0KLS14");
    assert_string_equal(text_of(json, "prompt"), "a \"cat\"\n ");
    json_decref(json);
    i2i.task = RD_TASK_EDIT;
    i2i.mask = (struct rd_source)SOURCE(jpeg);
    struct rd_openai_request request;
    char *text = make(&request, &i2i, RD_OPENAI_LOCALAI, RD_OK);
    assert_string_equal(request.path, "/v1/images/inpainting");
    assert_non_null(strstr(text, "name=\"steps\"\r\n\r\n25\r\n"));
    assert_non_null(
        strstr(text, "name=\"mask\"; filename=\"mask.jpeg\"\r\nContent-Type: image/jpeg"));
    free(text);
    rd_openai_request_done(&request);
}

/* Splits a form by its own boundary and returns how many parts it has. */
static unsigned parts_of(const char *text, size_t len, const char *content_type)
{
    const char *boundary = strstr(content_type, "boundary=");
    assert_non_null(boundary);
    boundary += 9;
    assert_int_equal(strlen(boundary), RD_OPENAI_BOUNDARY_LEN);
    assert_memory_equal(text, "--", 2);
    unsigned parts = 0;
    const char *end = text + len;
    for (const char *at = text;
         (at = memmem(at, (size_t)(end - at), boundary, RD_OPENAI_BOUNDARY_LEN)) != NULL;
         at += RD_OPENAI_BOUNDARY_LEN) {
        parts++;
    }
    assert_memory_equal(end - 4, "--\r\n", 4);
    return parts - 1;
}

static void test_edit(void **state)
{
    (void)state;
    struct rd_generation i2i = t2i;
    i2i.task = RD_TASK_I2I;
    i2i.media = RD_MEDIA_WEBP;
    i2i.image = (struct rd_source)SOURCE(picture);
    for (int server = RD_OPENAI_ANY; server <= RD_OPENAI_SGLANG; server++) {
        struct rd_openai_request request;
        char *text = make(&request, &i2i, (enum rd_openai_server)server, RD_OK);
        size_t len = strlen(text); /* the picture has no NUL */
        assert_string_equal(request.path, "/v1/images/edits");
        assert_int_equal(parts_of(text, len, request.content_type), 13);
        assert_non_null(strstr(text,
                               "name=\"image\"; filename=\"image.png\"\r\nContent-Type: image/png"
                               "\r\n\r\n\x89PNG\r\n\x1a\n 0123\r\n--x\r\n--"));
        assert_non_null(strstr(text, "name=\"strength\"\r\n\r\n0.75\r\n"));
        assert_non_null(strstr(text, server == RD_OPENAI_SDCPP
                                         ? "name=\"output_format\"\r\n\r\npng\r\n"
                                         : "name=\"output_format\"\r\n\r\nwebp\r\n"));
        assert_non_null(strstr(text, "a \"cat\"\n|\r\n"));
        free(text);
        rd_openai_request_done(&request);
    }
}

/* A small mask of three lights: black keeps, white changes. */
static void make_mask(struct rd_buf *png)
{
    struct rd_image image;
    assert_int_equal(rd_image_new(3, 1, 3, &image), RD_OK);
    memset(image.pixels + 3, 128, 3);
    memset(image.pixels + 6, 255, 3);
    assert_int_equal(rd_image_encode(&image, RD_MEDIA_PNG, 100, png), RD_OK);
    rd_image_done(&image);
}

static void test_masks(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf png, both;
    rd_buf_init(&png, 1 << 16);
    rd_buf_init(&both, 1 << 16);
    make_mask(&png);
    struct rd_generation edit = t2i;
    edit.task = RD_TASK_EDIT;
    edit.image = (struct rd_source)SOURCE(picture);
    edit.mask = (struct rd_source){.bytes = (const uint8_t *)png.data, .bytes_len = png.len};
    struct rd_why why;
    assert_int_equal(rd_openai_mask(&edit.mask, &both, &why), RD_OK);
    struct rd_image image;
    assert_int_equal(rd_image_decode(both.data, both.len, 4, &image, &why), RD_OK);
    static const uint8_t expected[] = {0, 0, 0, 255, 128, 128, 128, 127, 255, 255, 255, 0};
    assert_memory_equal(image.pixels, expected, sizeof expected);
    rd_image_done(&image);

    static const struct {
        enum rd_openai_server server;
        const char *name;
        bool converted;
    } rows[] = {{RD_OPENAI_ANY, "mask", true},
                {RD_OPENAI_SDCPP, "mask", false},
                {RD_OPENAI_SGLANG, "mask", false},
                {RD_OPENAI_VLLM, "mask_image", false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rd_openai_request request;
        struct rd_http_body body;
        char part[64], text[8192];
        rd_http_body_init(&body);
        rd_openai_request_init(&request);
        request.generation = &edit;
        request.server = rows[i].server;
        request.model = "m";
        assert_int_equal(rd_openai_request_is_slow(&request), rows[i].converted);
        assert_int_equal(rd_openai_request_make(&request, &body, &why), RD_OK);
        assert_false(rd_openai_request_is_slow(&request)); /* made once, for all outputs */
        size_t len = rd_http_body_read(&body, text, sizeof text);
        assert_int_equal(len, body.total);
        assert_int_equal(parts_of(text, len, request.content_type), 13);
        (void)snprintf(part, sizeof part, "name=\"%s\"; filename", rows[i].name);
        assert_non_null(memmem(text, len, part, strlen(part)));
        const struct rd_buf *sent = rows[i].converted ? &both : &png;
        assert_non_null(memmem(text, len, sent->data, sent->len));
        rd_http_body_done(&body);
        rd_openai_request_done(&request);
    }
    edit.mask = (struct rd_source)SOURCE(jpeg);
    struct rd_openai_request request;
    assert_null(make(&request, &edit, RD_OPENAI_ANY, RD_ERR_INVALID_REQUEST));
    rd_openai_request_done(&request);
}

static void test_videos(void **state)
{
    (void)state;
    struct rd_generation video = t2i;
    video.task = RD_TASK_T2V;
    video.modality = RD_MODALITY_VIDEO;
    video.format = &wide;
    video.media = RD_MEDIA_MP4;
    video.cfg = 5;
    video.duration = 2;
    json_t *json = make_json(&video, RD_OPENAI_SGLANG, "/v1/videos");
    assert_string_equal(text_of(json, "seconds"), "2");
    assert_string_equal(text_of(json, "size"), "1280x720");
    assert_true(number_of(json, "guidance_scale") == 5);
    assert_null(json_object_get(json, "num_frames"));
    assert_null(json_object_get(json, "n"));
    assert_null(json_object_get(json, "output_format"));
    json_decref(json);
    video.duration = 2.5;
    json = make_json(&video, RD_OPENAI_ANY, "/v1/videos");
    assert_string_equal(text_of(json, "seconds"), "3");
    assert_true(number_of(json, "fps") == 24);
    assert_true(number_of(json, "num_frames") == 60);
    json_decref(json);
    struct rd_openai_request request;
    char *text = make(&request, &video, RD_OPENAI_VLLM, RD_OK); /* takes forms only */
    assert_non_null(strstr(request.content_type, "multipart/form-data"));
    assert_non_null(strstr(text, "name=\"seconds\"\r\n\r\n3\r\n"));
    free(text);
    rd_openai_request_done(&request);
    video.task = RD_TASK_I2V;
    video.image = (struct rd_source)SOURCE(jpeg);
    text = make(&request, &video, RD_OPENAI_SGLANG, RD_OK);
    assert_string_equal(request.path, "/v1/videos");
    assert_non_null(strstr(text, "name=\"input_reference\"; filename=\"input_reference.jpeg\""));
    free(text);
    rd_openai_request_done(&request);
}

static void test_servers(void **state)
{
    (void)state;
    static const struct {
        const char *model, *owner;
        enum rd_openai_server server;
    } rows[] = {{"", "", RD_OPENAI_ANY},
                {"sd-cpp-local", "local", RD_OPENAI_SDCPP},
                {"Qwen/Qwen-Image", "vllm", RD_OPENAI_VLLM},
                {"Qwen/Qwen-Image", "vllm-omni", RD_OPENAI_VLLM},
                {"x", "sglang", RD_OPENAI_SGLANG},
                {"gpt-image-1", "openai", RD_OPENAI_ANY}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(rd_openai_server_of(rows[i].model, rows[i].owner), rows[i].server);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generation), cmocka_unit_test(test_outputs_have_their_own_seed),
        cmocka_unit_test(test_sdcpp),      cmocka_unit_test(test_localai),
        cmocka_unit_test(test_edit),       cmocka_unit_test(test_masks),
        cmocka_unit_test(test_videos),     cmocka_unit_test(test_servers),
    };
    return cmocka_run_group_tests_name("engine/openai_request", tests, NULL, NULL);
}
