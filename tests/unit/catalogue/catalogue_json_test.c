/* SPDX-License-Identifier: Apache-2.0
 *
 * The three bodies, read back by a JSON library and compared with the catalogue that they show. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "catalogue/catalogue.h"

/* Only flux/schnell by torch is served. */
static bool schnell_by_torch(void *ctx, const struct rd_model *model, enum rd_backend_kind kind)
{
    unsigned *asked = ctx;
    (*asked)++;
    assert_true((model->backends & (1u << kind)) != 0);
    return strcmp(model->name, "schnell") == 0 && kind == RD_BACKEND_TORCH;
}

static struct rd_catalogue *load(const char *yaml)
{
    struct rd_catalogue *catalogue = NULL;
    struct rd_why why = {""};
    rd_err err = yaml == NULL ? rd_catalogue_load_default(&catalogue, &why)
                              : rd_catalogue_load(yaml, strlen(yaml), "c.yaml", &catalogue, &why);
    if (err != RD_OK) {
        fail_msg("%s", why.text);
    }
    return catalogue;
}

static json_t *parse(const struct rd_buf *body)
{
    json_error_t error;
    json_t *json = json_loadb(body->data, body->len, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        fail_msg("%s in %s", error.text, body->data);
    }
    return json;
}

static json_t *models_json(const struct rd_catalogue *catalogue)
{
    unsigned asked = 0;
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, 1 << 20);
    assert_int_equal(rd_catalogue_models_json(catalogue, schnell_by_torch, &asked, &body), RD_OK);
    return parse(&body);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

static bool flag_of(const json_t *object, const char *key)
{
    assert_true(json_is_boolean(json_object_get(object, key)));
    return json_is_true(json_object_get(object, key));
}

/* The strings of an array, joined with spaces. */
static void joined(const json_t *array, char *out, size_t room)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < json_array_size(array); i++) {
        int len = snprintf(out + at, room - at, "%s%s", i == 0 ? "" : " ",
                           json_string_value(json_array_get(array, i)));
        assert_true(len > 0 && (size_t)len < room - at);
        at += (size_t)len;
    }
}

static void models_show_everything(void **state)
{
    (void)state;
    struct rd_catalogue *catalogue = load(NULL);
    json_t *root = models_json(catalogue);
    const json_t *list = json_object_get(root, "models");
    static const char *const rows[][5] = {
        /* id, modality, tasks, status, alias */
        {"flux/dev2", "image", "t2i i2i", "active", "black-forest-labs/FLUX.2-dev"},
        {"flux/dev", "image", "t2i i2i", "active", "black-forest-labs/FLUX.1-dev"},
        {"flux/schnell", "image", "t2i i2i", "active", "black-forest-labs/FLUX.1-schnell"},
        {"zimage/turbo", "image", "t2i", "active", "Comfy-Org/z_image_turbo"},
        {"wan/default", "video", "t2v i2v", "coming_soon", "Wan-AI/Wan2.1-I2V-14B-480P"},
        {"qwen/edit", "image", "t2i i2i edit", "coming_soon", "Comfy-Org/Qwen-Image-Edit_ComfyUI"},
        {"sdxl/base", "image", "t2i i2i edit", "coming_soon", NULL},
        {"sdxl/lcm", "image", "t2i i2i", "coming_soon", NULL},
        {"builtin/plasma", "image video", "t2i i2i edit t2v i2v", "active", NULL},
    };
    assert_int_equal(json_object_size(root), 1);
    assert_int_equal(json_array_size(list), 9);
    for (size_t i = 0; i < 9; i++) {
        const json_t *model = json_array_get(list, i);
        char got[128], id[128];
        assert_int_equal(json_object_size(model), 12);
        assert_string_equal(text_of(model, "id"), rows[i][0]);
        assert_true(snprintf(id, sizeof id, "%s/%s", text_of(model, "family"),
                             text_of(model, "model")) > 0);
        assert_string_equal(id, rows[i][0]);
        joined(json_object_get(model, "modality"), got, sizeof got);
        assert_string_equal(got, rows[i][1]);
        joined(json_object_get(model, "tasks"), got, sizeof got);
        assert_string_equal(got, rows[i][2]);
        assert_string_equal(text_of(model, "status"), rows[i][3]);
        if (rows[i][4] == NULL) {
            assert_true(json_is_null(json_object_get(model, "alias")));
        } else {
            assert_string_equal(text_of(model, "alias"), rows[i][4]);
        }
        assert_int_equal(flag_of(model, "available"), i == 2);
        assert_int_equal(json_is_null(json_object_get(model, "description")), i != 8);
    }
    json_decref(root);
    rd_catalogue_unref(catalogue);
}

static void backends_start_with_the_default(void **state)
{
    (void)state;
    struct rd_catalogue *catalogue = load(NULL);
    json_t *root = models_json(catalogue);
    const json_t *list = json_object_get(root, "models");
    static const struct {
        size_t model;
        const char *names[2];
    } rows[] = {{2, {"nunchaku", "torch"}},
                {4, {"torch", "nunchaku"}},
                {6, {"tensorrt", "torch"}},
                {8, {"builtin", NULL}}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const json_t *backends = json_object_get(json_array_get(list, rows[i].model), "backends");
        assert_int_equal(json_array_size(backends), rows[i].names[1] == NULL ? 1 : 2);
        for (size_t b = 0; b < json_array_size(backends); b++) {
            const json_t *backend = json_array_get(backends, b);
            assert_string_equal(text_of(backend, "name"), rows[i].names[b]);
            assert_int_equal(flag_of(backend, "default"), b == 0);
            assert_int_equal(flag_of(backend, "available"), rows[i].model == 2 && b == 1);
        }
    }
    json_decref(root);
    rd_catalogue_unref(catalogue);
}

static void formats_and_presets(void **state)
{
    (void)state;
    struct rd_catalogue *catalogue = load(NULL);
    json_t *root = models_json(catalogue);
    const json_t *list = json_object_get(root, "models");
    static const size_t counts[] = {6, 6, 6, 4, 5, 4, 6, 6, 11};
    for (size_t i = 0; i < 9; i++) {
        const json_t *formats = json_object_get(json_array_get(list, i), "formats");
        assert_int_equal(json_array_size(formats), counts[i]);
        for (size_t f = 0; f < json_array_size(formats); f++) {
            const json_t *format = json_array_get(formats, f);
            enum rd_modality modality;
            assert_true(rd_modality_parse(text_of(format, "modality"), &modality));
            const struct rd_format *known = rd_format_find(modality, text_of(format, "name"));
            assert_non_null(known);
            assert_int_equal(json_integer_value(json_object_get(format, "width")), known->width);
            assert_int_equal(json_integer_value(json_object_get(format, "height")), known->height);
            assert_int_equal(flag_of(format, "default"), known == rd_format_default(modality));
        }
    }
    const json_t *photo =
        json_object_get(json_object_get(json_array_get(list, 1), "presets"), "photorealism");
    assert_int_equal(json_object_size(photo), 5);
    assert_string_equal(text_of(photo, "sampler"), "res_2m");
    assert_string_equal(text_of(photo, "scheduler"), "bong_tangent");
    assert_int_equal(json_integer_value(json_object_get(photo, "steps")), 25);
    assert_true(json_number_value(json_object_get(photo, "cfg")) == 1.0);
    assert_true(json_number_value(json_object_get(photo, "guidance")) == 2.8);
    const json_t *qwen =
        json_object_get(json_object_get(json_array_get(list, 5), "presets"), "fast");
    assert_int_equal(json_object_size(qwen), 3); /* neither scheduler nor guidance */
    assert_int_equal(json_object_size(json_object_get(json_array_get(list, 8), "presets")), 0);
    json_decref(root);
    rd_catalogue_unref(catalogue);
}

static void aliases_and_loras(void **state)
{
    (void)state;
    struct rd_catalogue *catalogue = load(NULL);
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, 1 << 16);
    assert_int_equal(rd_catalogue_aliases_json(catalogue, &body), RD_OK);
    json_t *root = parse(&body);
    const json_t *aliases = json_object_get(root, "aliases");
    assert_int_equal(json_object_size(aliases), 6);
    assert_string_equal(text_of(aliases, "black-forest-labs/FLUX.1-dev"), "flux/dev");
    assert_string_equal(text_of(aliases, "Wan-AI/Wan2.1-I2V-14B-480P"), "wan/default");
    json_decref(root);
    rd_buf_reset(&body);
    assert_int_equal(rd_catalogue_loras_json(catalogue, &body), RD_OK);
    root = parse(&body);
    const json_t *loras = json_object_get(root, "loras");
    assert_int_equal(json_array_size(loras), 9);
    assert_string_equal(text_of(json_array_get(loras, 0), "id"), "anti_blur");
    assert_string_equal(text_of(json_array_get(loras, 8), "family"), "sdxl");
    json_decref(root);
    rd_catalogue_unref(catalogue);
}

static void texts_are_escaped(void **state)
{
    (void)state;
    struct rd_catalogue *catalogue =
        load("models:\n  - {id: a/b, modality: [image], tasks: [t2i], backends: [torch],\n"
             "     status: preview, description: \"say \\\"hi\\\"\\n\\x1b\\\\ caf\xc3\xa9\"}\n");
    json_t *root = models_json(catalogue);
    const json_t *model = json_array_get(json_object_get(root, "models"), 0);
    assert_string_equal(text_of(model, "description"), "say \"hi\"\n\x1b\\ caf\xc3\xa9");
    assert_string_equal(text_of(model, "status"), "preview");
    json_decref(root);
    rd_catalogue_unref(catalogue);
}

static void empty_bodies(void **state)
{
    (void)state;
    struct rd_catalogue *catalogue = load("models: []");
    unsigned asked = 0;
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, 1 << 16);
    assert_int_equal(rd_catalogue_models_json(catalogue, schnell_by_torch, &asked, &body), RD_OK);
    rd_buf_char(&body, ' ');
    assert_int_equal(rd_catalogue_aliases_json(catalogue, &body), RD_OK);
    rd_buf_char(&body, ' ');
    assert_int_equal(rd_catalogue_loras_json(catalogue, &body), RD_OK);
    assert_string_equal(body.data, "{\"models\":[]} {\"aliases\":{}} {\"loras\":[]}");
    assert_int_equal(asked, 0);
    rd_catalogue_unref(catalogue);
}

static void a_full_buffer_is_told(void **state)
{
    (void)state;
    struct rd_catalogue *catalogue = load(NULL);
    unsigned asked = 0;
    RD_AUTO_BUF struct rd_buf small;
    rd_buf_init(&small, 20);
    assert_int_equal(rd_catalogue_models_json(catalogue, schnell_by_torch, &asked, &small),
                     RD_ERR_TOO_LARGE);
    rd_buf_reset(&small);
    assert_int_equal(rd_catalogue_aliases_json(catalogue, &small), RD_ERR_TOO_LARGE);
    rd_buf_reset(&small);
    assert_int_equal(rd_catalogue_loras_json(catalogue, &small), RD_ERR_TOO_LARGE);
    rd_catalogue_unref(catalogue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_show_everything), cmocka_unit_test(backends_start_with_the_default),
        cmocka_unit_test(formats_and_presets),    cmocka_unit_test(aliases_and_loras),
        cmocka_unit_test(texts_are_escaped),      cmocka_unit_test(empty_bodies),
        cmocka_unit_test(a_full_buffer_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
