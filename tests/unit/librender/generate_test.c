/* SPDX-License-Identifier: Apache-2.0
 *
 * Generation: paths, bodies, pictures as data URIs, outputs, and every argument that cannot be
 * right. */
#include "fixture.h"

static const unsigned char png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13};

static void test_one_picture(void **state)
{
    (void)state;
    char url[200];
    render_client *client = test_client(TEST_KEY);
    render_generate_request request = test_request("a \"red\" circle\n\xf0\x9f\x94\xb4");
    render_output output = RENDER_OUTPUT_INIT;
    request.seed = 7;
    assert_int_equal(render_generate(client, &request, &output), RENDER_OK);
    (void)snprintf(url, sizeof url, "%s/a/%s", stub_url, ASSET);
    assert_int_equal(output.len, 3);
    assert_memory_equal(output.bytes, "abc", 3);
    assert_string_equal(output.content_type, "image/png");
    assert_string_equal(output.asset_url, url);
    assert_string_equal(output.device, "cpu");
    assert_int_equal(output.seed, 7);
    assert_true(output.device_seconds == 0.25);
    assert_true(output.duration_ms == 12.5);
    assert_string_equal(render_client_request_id(client), REQUEST_ID);
    render_output_done(&output);
    render_output_done(&output); /* twice does no harm */
    json_t *last = test_last();
    const json_t *body = json_object_get(last, "json");
    assert_string_equal(test_text(last, "method"), "POST");
    assert_string_equal(test_text(last, "path"), "/image/builtin/plasma/t2i");
    assert_string_equal(test_header(last, "Authorization"), "Bearer " TEST_KEY);
    assert_string_equal(test_header(last, "Accept"), "image/png");
    assert_string_equal(test_text(body, "prompt"), request.prompt);
    assert_int_equal(json_object_size(body), 2);
    json_decref(last);

    request = test_request("relative");
    request.seed = -1;
    assert_int_equal(render_generate(client, &request, &output), RENDER_OK);
    assert_string_equal(output.asset_url, url);
    assert_int_equal(output.seed, UINT32_MAX);
    render_output_done(&output);
    render_client_free(client);
}

static void test_paths(void **state)
{
    (void)state;
    char file[64];
    test_file(file, png, sizeof png);
    const struct {
        const char *model, *task, *format, *backend, *type, *image, *mask;
        int video;
        const char *path, *accept;
    } rows[] = {
        {"black-forest-labs/FLUX.1-schnell", NULL, NULL, NULL, NULL, NULL, NULL, 0,
         "/image/black-forest-labs/FLUX.1-schnell/t2i", "image/png"},
        {"a/b", NULL, "512", "torch", "image/webp", NULL, NULL, 0,
         "/image/a/b/t2i?format=512&backend=torch", "image/webp"},
        {"a/b", NULL, NULL, "x y&z", NULL, NULL, NULL, 0, "/image/a/b/t2i?backend=x%20y%26z",
         "image/png"},
        {"../x", NULL, NULL, NULL, NULL, NULL, NULL, 0, "", NULL},
        {"a b/\xc3\xab?", "a/b", NULL, NULL, NULL, NULL, NULL, 0, "/image/a%20b/%C3%AB%3F/a%2Fb",
         "image/png"},
        {"a/b", NULL, NULL, NULL, NULL, file, NULL, 0, "/image/a/b/i2i", "image/png"},
        {"a/b", NULL, NULL, NULL, NULL, file, file, 0, "/image/a/b/edit", "image/png"},
        {"a/b", NULL, NULL, NULL, NULL, NULL, NULL, 1, "/video/a/b/t2v", "video/mp4"},
        {"a/b", NULL, "720p", NULL, NULL, file, NULL, 1, "/video/a/b/i2v?format=720p", "video/mp4"},
        {"a/b", "edit", NULL, NULL, "image/jpeg", file, NULL, 0, "/image/a/b/edit", "image/jpeg"},
    };
    render_client *client = test_client(TEST_KEY);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        render_generate_request request = test_request("p");
        render_output output = RENDER_OUTPUT_INIT;
        request.model = rows[i].model;
        request.task = rows[i].task;
        request.format = rows[i].format;
        request.backend = rows[i].backend;
        request.content_type = rows[i].type;
        request.image_file = rows[i].image;
        request.mask_file = rows[i].mask;
        request.video = rows[i].video;
        render_status status = render_generate(client, &request, &output);
        if (rows[i].path[0] == '\0') { /* a segment of dots is not taken as a step upwards */
            assert_int_equal(status, RENDER_ERR_USAGE);
            continue;
        }
        assert_int_equal(status, RENDER_OK);
        assert_string_equal(output.content_type, rows[i].accept);
        json_t *last = test_last();
        assert_string_equal(test_text(last, "path"), rows[i].path);
        assert_string_equal(test_header(last, "Accept"), rows[i].accept);
        json_decref(last);
        render_output_done(&output);
    }
    render_client_free(client);
    (void)unlink(file);
}

static void test_pictures_and_fields(void **state)
{
    (void)state;
    char file[64];
    test_file(file, png, sizeof png);
    render_client *client = test_client(TEST_KEY);
    render_generate_request request = test_request("the struct wins");
    render_output output = RENDER_OUTPUT_INIT;
    request.image_file = file;
    request.mask_file = "https://pictures.example/mask.png";
    request.seed = 5;
    request.fields_json =
        "{\"steps\":8,\"prompt\":\"lost\",\"seed\":9,\"image\":\"lost\",\"count\":1,"
        "\"cfg\":0.1,\"lora\":[{\"id\":\"x\"}]}";
    assert_int_equal(render_generate(client, &request, &output), RENDER_OK);
    render_output_done(&output);
    json_t *last = test_last();
    const json_t *body = json_object_get(last, "json");
    assert_string_equal(test_text(body, "prompt"), "the struct wins");
    assert_string_equal(test_text(body, "image"), "data:image/png;base64,iVBORw0KGgoAAAAN");
    assert_string_equal(test_text(body, "mask"), "https://pictures.example/mask.png");
    assert_int_equal(json_integer_value(json_object_get(body, "seed")), 5);
    assert_int_equal(json_integer_value(json_object_get(body, "steps")), 8);
    assert_true(json_real_value(json_object_get(body, "cfg")) == 0.1);
    assert_int_equal(json_array_size(json_object_get(body, "lora")), 1);
    assert_null(json_object_get(body, "count"));
    json_decref(last);
    request.seed = -1;
    request.image_file = NULL;
    request.fields_json = "{\"seed\":9,\"image\":\"data:x\"}";
    assert_int_equal(render_generate(client, &request, &output), RENDER_OK);
    render_output_done(&output);
    last = test_last();
    body = json_object_get(last, "json");
    assert_int_equal(json_integer_value(json_object_get(body, "seed")), 9);
    assert_string_equal(test_text(body, "image"), "data:x");
    json_decref(last);
    render_client_free(client);
    (void)unlink(file);
}

static void test_a_large_picture(void **state)
{
    (void)state;
    enum { MAX = 20 << 20 };
    char file[64];
    unsigned char *bytes = calloc(1, MAX + 1);
    assert_non_null(bytes);
    memcpy(bytes, png, sizeof png);
    render_client *client = test_client(TEST_KEY);
    render_generate_request request = test_request("p");
    render_output output = RENDER_OUTPUT_INIT;
    test_file(file, bytes, MAX);
    request.image_file = file;
    assert_int_equal(render_generate(client, &request, &output), RENDER_OK);
    render_output_done(&output);
    (void)unlink(file);
    test_file(file, bytes, MAX + 1);
    assert_int_equal(render_generate(client, &request, &output), RENDER_ERR_IO);
    assert_says(client, "upload it and give the asset's URL");
    (void)unlink(file);
    free(bytes);
    render_client_free(client);
}

static void test_wrong_arguments(void **state)
{
    (void)state;
    char text_file[64];
    test_file(text_file, "not a picture at all", 20);
    const struct {
        render_generate_request request;
        render_status status;
        const char *words;
    } rows[] = {
        {{.model = "plasma", .prompt = "p", .seed = -1}, RENDER_ERR_USAGE, "family/model"},
        {{.model = "/plasma", .prompt = "p", .seed = -1}, RENDER_ERR_USAGE, "family/model"},
        {{.model = "builtin/", .prompt = "p", .seed = -1}, RENDER_ERR_USAGE, "family/model"},
        {{.model = "a/b/c", .prompt = "p", .seed = -1}, RENDER_ERR_USAGE, "family/model"},
        {{.model = "a/.", .prompt = "p", .seed = -1}, RENDER_ERR_USAGE, "family/model"},
        {{.model = NULL, .prompt = "p", .seed = -1}, RENDER_ERR_USAGE, "family/model"},
        {{.model = "a/b", .prompt = NULL, .seed = -1}, RENDER_ERR_USAGE, "prompt"},
        {{.model = "a/b", .prompt = "\xff", .seed = -1}, RENDER_ERR_USAGE, "UTF-8"},
        {{.model = "a/b", .prompt = "p", .seed = -2}, RENDER_ERR_USAGE, "seed"},
        {{.model = "a/b", .prompt = "p", .seed = 4294967296}, RENDER_ERR_USAGE, "seed"},
        {{.model = "a/b", .prompt = "p", .seed = -1, .content_type = ""}, RENDER_ERR_USAGE, "type"},
        {{.model = "a/b", .prompt = "p", .seed = -1, .content_type = "a\r\nX: y"},
         RENDER_ERR_USAGE,
         "type"},
        {{.model = "a/b", .prompt = "p", .seed = -1, .task = ""}, RENDER_ERR_USAGE, "task"},
        {{.model = "a/b", .prompt = "p", .seed = -1, .fields_json = "[]"},
         RENDER_ERR_USAGE,
         "JSON object"},
        {{.model = "a/b", .prompt = "p", .seed = -1, .fields_json = ""},
         RENDER_ERR_USAGE,
         "JSON object"},
        {{.model = "a/b", .prompt = "p", .seed = -1, .fields_json = "{\"a\":1,\"a\":2}"},
         RENDER_ERR_USAGE,
         "JSON object"},
        {{.model = "a/b", .prompt = "p", .seed = -1, .fields_json = "{\"count\":2}"},
         RENDER_ERR_USAGE,
         "render_generate_many"},
        {{.model = "a/b", .prompt = "p", .seed = -1, .image_file = "/nonexistent"},
         RENDER_ERR_IO,
         "image: cannot open /nonexistent"},
        {{.model = "a/b", .prompt = "p", .seed = -1, .image_file = ""},
         RENDER_ERR_USAGE,
         "image: no file is named"},
        {{.model = "a/b", .prompt = "p", .seed = -1, .mask_file = "/tmp"}, RENDER_ERR_IO, "mask: "},
        {{.model = "a/b", .prompt = "p", .seed = -1, .image_file = text_file},
         RENDER_ERR_USAGE,
         "is not a PNG, JPEG or WebP file"},
    };
    render_client *client = test_client(TEST_KEY);
    render_output output = RENDER_OUTPUT_INIT;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        render_status status = render_generate(client, &rows[i].request, &output);
        if (status != rows[i].status) {
            fail_msg("row %zu: %s: %s", i, render_status_name(status), render_client_error(client));
        }
        assert_says(client, rows[i].words);
        assert_null(output.bytes);
    }
    render_client_free(client);
    (void)unlink(text_file);
}

static void test_answers_that_make_no_sense(void **state)
{
    (void)state;
    static const struct {
        const char *prompt;
        render_status status;
        const char *words;
    } rows[] = {
        {"case:text", RENDER_ERR_SERVER, "answered text/plain with 5 bytes instead of an output"},
        {"case:empty", RENDER_ERR_SERVER, "0 bytes"},
        {"case:cut", RENDER_ERR_SERVER, "cut off"},
        {"case:status:503", RENDER_ERR_BUSY, "try again in 7 s"},
        {"case:status:400", RENDER_ERR_REFUSED, "steps: 1 to 150"},
    };
    render_client *client = test_client(TEST_KEY);
    render_output output = RENDER_OUTPUT_INIT;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        render_generate_request request = test_request(rows[i].prompt);
        assert_int_equal(render_generate(client, &request, &output), rows[i].status);
        assert_says(client, rows[i].words);
        assert_null(output.bytes);
    }
    render_generate_request request = test_request("case:bad-headers");
    assert_int_equal(render_generate(client, &request, &output), RENDER_OK);
    assert_int_equal(output.seed, 0);
    assert_true(output.device_seconds < 0);
    assert_true(output.duration_ms == 0.0);
    assert_null(output.device);
    assert_null(output.asset_url);
    render_output_done(&output);
    render_client_free(client);
}

static void test_many(void **state)
{
    (void)state;
    render_client *client = test_client(TEST_KEY);
    render_generate_request request = test_request("p");
    render_output outputs[4] = {RENDER_OUTPUT_INIT, RENDER_OUTPUT_INIT, RENDER_OUTPUT_INIT,
                                RENDER_OUTPUT_INIT};
    char url[200];
    (void)snprintf(url, sizeof url, "%s/a/%s", stub_url, ASSET);
    assert_int_equal(render_generate_many(client, &request, 4, outputs), RENDER_OK);
    assert_string_equal(render_client_error(client), "");
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(outputs[i].len, 3);
        assert_int_equal(outputs[i].seed, 10 + i);
        assert_string_equal(outputs[i].content_type, "image/png");
        assert_string_equal(outputs[i].asset_url, url);
        assert_true(i == 0 ? outputs[i].device_seconds == 0.25 : outputs[i].device_seconds < 0);
        render_output_done(&outputs[i]);
    }
    assert_int_equal(render_generate_many(client, &request, 1, outputs), RENDER_OK);
    render_output_done(&outputs[0]);
    assert_int_equal(render_generate_many(client, &request, 0, outputs), RENDER_ERR_USAGE);
    assert_int_equal(render_generate_many(client, &request, 5, outputs), RENDER_ERR_USAGE);
    static const char *const prompts[] = {"too few", "wrong length", "case:text",
                                          "case:status:503"};
    for (size_t i = 0; i < 4; i++) {
        request = test_request(prompts[i]);
        assert_int_equal(render_generate_many(client, &request, 2, outputs),
                         i < 3 ? RENDER_ERR_SERVER : RENDER_ERR_BUSY);
        assert_true(strlen(render_client_error(client)) > 10);
        assert_null(outputs[0].bytes);
        assert_null(outputs[1].bytes);
    }
    request = test_request("p");
    request.fields_json = "{\"count\":9}"; /* the argument rules */
    request.content_type = "image/webp";
    assert_int_equal(render_generate_many(client, &request, 2, outputs), RENDER_OK);
    render_output_done(&outputs[0]);
    render_output_done(&outputs[1]);
    render_client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_picture),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_pictures_and_fields),
        cmocka_unit_test(test_a_large_picture),
        cmocka_unit_test(test_wrong_arguments),
        cmocka_unit_test(test_answers_that_make_no_sense),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests_name("librender/generate", tests, stub_start, stub_stop);
}
