/* SPDX-License-Identifier: Apache-2.0
 *
 * The catalogue that ships against the contract's table, written out here row by row; look-ups; the
 * rules between fields with their messages; hostile bytes; references under threads. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "catalogue/catalogue.h"
#include "catalogue/catalogue_table.h"

enum {
    IMAGE = 1u << RD_MODALITY_IMAGE,
    VIDEO = 1u << RD_MODALITY_VIDEO,
    T2I = 1u << RD_TASK_T2I,
    I2I = 1u << RD_TASK_I2I,
    EDIT = 1u << RD_TASK_EDIT,
    T2V = 1u << RD_TASK_T2V,
    I2V = 1u << RD_TASK_I2V,
    NUNCHAKU = 1u << RD_BACKEND_NUNCHAKU,
    TORCH = 1u << RD_BACKEND_TORCH,
    TENSORRT = 1u << RD_BACKEND_TENSORRT,
    BUILTIN = 1u << RD_BACKEND_BUILTIN,
};

static const struct {
    const char *family, *name;
    unsigned modalities, tasks, backends;
    enum rd_backend_kind first;
    enum rd_model_status status;
    const char *org, *repo;
    bool wide; /* has the two -wide formats, as far as it makes images */
    struct rd_preset presets[4];
} contract[] = {
    {"flux",
     "dev2",
     IMAGE,
     T2I | I2I,
     NUNCHAKU | TORCH,
     RD_BACKEND_NUNCHAKU,
     RD_MODEL_ACTIVE,
     "black-forest-labs",
     "FLUX.2-dev",
     true,
     {{"fast", "euler", "simple", 20, 1.0, 2.5},
      {"standard", "euler", "beta", 25, 1.0, 3.5},
      {"quality", "res_3s", "exponential", 35, 1.0, 3.5}}},
    {"flux",
     "dev",
     IMAGE,
     T2I | I2I,
     NUNCHAKU | TORCH,
     RD_BACKEND_NUNCHAKU,
     RD_MODEL_ACTIVE,
     "black-forest-labs",
     "FLUX.1-dev",
     true,
     {{"standard", "euler", "beta", 25, 1.0, 3.5},
      {"photorealism", "res_2m", "bong_tangent", 25, 1.0, 2.8}}},
    {"flux",
     "schnell",
     IMAGE,
     T2I | I2I,
     NUNCHAKU | TORCH,
     RD_BACKEND_NUNCHAKU,
     RD_MODEL_ACTIVE,
     "black-forest-labs",
     "FLUX.1-schnell",
     true,
     {{"standard", "euler", "beta", 4, 1.0, 3.5}}},
    {"zimage",
     "turbo",
     IMAGE,
     T2I,
     NUNCHAKU,
     RD_BACKEND_NUNCHAKU,
     RD_MODEL_ACTIVE,
     "Comfy-Org",
     "z_image_turbo",
     false,
     {{"fast", "euler", "simple", 5, 1.0, -1},
      {"standard", "euler", "beta", 8, 1.0, -1},
      {"quality", "res_2m", "bong_tangent", 10, 1.0, -1}}},
    {"wan",
     "default",
     VIDEO,
     I2V | T2V,
     TORCH | NUNCHAKU,
     RD_BACKEND_TORCH,
     RD_MODEL_COMING_SOON,
     "Wan-AI",
     "Wan2.1-I2V-14B-480P",
     true,
     {{"fast", "euler", "simple", 8, 1.0, -1},
      {"standard", "uni_pc", "beta", 28, 7.0, -1},
      {"quality", "res_2m", "bong_tangent", 20, 7.0, -1}}},
    {"qwen",
     "edit",
     IMAGE,
     T2I | I2I | EDIT,
     NUNCHAKU,
     RD_BACKEND_NUNCHAKU,
     RD_MODEL_COMING_SOON,
     "Comfy-Org",
     "Qwen-Image-Edit_ComfyUI",
     false,
     {{"fast", "euler", NULL, 4, 1.0, -1},
      {"standard", "euler", NULL, 8, 1.0, -1},
      {"quality", "euler", NULL, 20, 1.0, -1}}},
    {"sdxl",
     "base",
     IMAGE,
     T2I | I2I | EDIT,
     TENSORRT | TORCH,
     RD_BACKEND_TENSORRT,
     RD_MODEL_COMING_SOON,
     NULL,
     NULL,
     true,
     {{0}}},
    {"sdxl",
     "lcm",
     IMAGE,
     T2I | I2I,
     TENSORRT,
     RD_BACKEND_TENSORRT,
     RD_MODEL_COMING_SOON,
     NULL,
     NULL,
     true,
     {{0}}},
    {"builtin",
     "plasma",
     IMAGE | VIDEO,
     T2I | I2I | EDIT | T2V | I2V,
     BUILTIN,
     RD_BACKEND_BUILTIN,
     RD_MODEL_ACTIVE,
     NULL,
     NULL,
     true,
     {{0}}},
};
enum { CONTRACT_COUNT = sizeof contract / sizeof contract[0] };

static const char *const contract_loras[][2] = {
    {"anti_blur", "flux"},
    {"amateur_snapshot", "flux"},
    {"hands_v2", "flux"},
    {"qwen_lightning_4step", "qwen"},
    {"qwen_lightning_8step", "qwen"},
    {"wan_lightx2v_high", "wan"},
    {"wan_lightx2v_low", "wan"},
    {"sdxl_sameface_fix", "sdxl"},
    {"sdxl_dmd2_4step", "sdxl"},
};

static struct rd_catalogue *shipped(void)
{
    struct rd_catalogue *catalogue = NULL;
    struct rd_why why = {""};
    if (rd_catalogue_load_default(&catalogue, &why) != RD_OK) {
        fail_msg("%s", why.text);
    }
    return catalogue;
}

static void same_text(const char *got, const char *expected)
{
    if (expected == NULL) {
        assert_null(got);
    } else {
        assert_non_null(got);
        assert_string_equal(got, expected);
    }
}

static void check_presets(const struct rd_model *model, const struct rd_preset *expected)
{
    size_t count = 0;
    for (; expected[count].name != NULL; count++) {
        const struct rd_preset *got = &model->presets[count];
        assert_true(count < model->presets_count);
        assert_string_equal(got->name, expected[count].name);
        same_text(got->sampler, expected[count].sampler);
        same_text(got->scheduler, expected[count].scheduler);
        assert_int_equal(got->steps, expected[count].steps);
        assert_true(got->cfg == expected[count].cfg);
        assert_true(got->guidance == expected[count].guidance);
    }
    assert_int_equal(model->presets_count, count);
}

static void what_ships_is_the_contract(void **state)
{
    (void)state;
    struct rd_catalogue *catalogue = shipped();
    const struct rd_model *models = NULL;
    assert_int_equal(rd_catalogue_models(catalogue, &models), CONTRACT_COUNT);
    for (size_t i = 0; i < CONTRACT_COUNT; i++) {
        assert_string_equal(models[i].family, contract[i].family);
        assert_string_equal(models[i].name, contract[i].name);
        assert_int_equal(models[i].modalities, contract[i].modalities);
        assert_int_equal(models[i].tasks, contract[i].tasks);
        assert_int_equal(models[i].backends, contract[i].backends);
        assert_int_equal(models[i].default_backend, contract[i].first);
        assert_int_equal(models[i].status, contract[i].status);
        RD_AUTO_BUF struct rd_buf alias;
        rd_buf_init(&alias, 256);
        if (contract[i].org != NULL) {
            rd_buf_printf(&alias, "%s/%s", contract[i].org, contract[i].repo);
        }
        same_text(models[i].alias, contract[i].org == NULL ? NULL : rd_buf_cstr(&alias));
        check_presets(&models[i], contract[i].presets);
    }
    assert_non_null(strstr(models[8].description, "procedural painter"));
    assert_non_null(strstr(models[8].description, "no neural network"));
    const struct rd_catalogue_lora *loras = NULL;
    size_t count = sizeof contract_loras / sizeof contract_loras[0];
    assert_int_equal(rd_catalogue_loras(catalogue, &loras), count);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(loras[i].id, contract_loras[i][0]);
        assert_string_equal(loras[i].family, contract_loras[i][1]);
    }
    rd_catalogue_unref(catalogue);
}

static void formats_are_those_of_the_contract(void **state)
{
    (void)state;
    struct rd_catalogue *catalogue = shipped();
    const struct rd_model *models = NULL;
    size_t count = rd_catalogue_models(catalogue, &models);
    for (size_t i = 0; i < count; i++) {
        for (size_t f = 0; f < rd_formats_count; f++) {
            bool made = (contract[i].modalities & (1u << rd_formats[f].modality)) != 0;
            bool wide = strstr(rd_formats[f].name, "-wide") != NULL;
            assert_int_equal(rd_model_has_format(&models[i], &rd_formats[f]),
                             made && (!wide || contract[i].wide));
        }
    }
    rd_catalogue_unref(catalogue);
}

static void finds_by_name_and_by_hub_id(void **state)
{
    (void)state;
    struct rd_catalogue *catalogue = shipped();
    const struct rd_model *models = NULL;
    rd_catalogue_models(catalogue, &models);
    for (size_t i = 0; i < CONTRACT_COUNT; i++) {
        const struct rd_model *got =
            rd_catalogue_find(catalogue, contract[i].family, contract[i].name);
        assert_ptr_equal(got, &models[i]);
        if (contract[i].org != NULL) {
            assert_ptr_equal(rd_catalogue_find(catalogue, contract[i].org, contract[i].repo),
                             &models[i]);
        }
    }
    assert_ptr_equal(rd_catalogue_find(catalogue, "BLACK-FOREST-LABS", "flux.1-SCHNELL"),
                     &models[2]);
    static const char *const missing[][2] = {
        {"flux", "dev3"}, {"flux", "de"},
        {"fluxx", "dev"}, {"Flux", "dev"},
        {"flux", "DEV"},  {"", ""},
        {"flux", ""},     {"", "dev"},
        {"dev", "flux"},  {"black-forest-labs", "FLUX.1"},
        {"flux/dev", ""}, {"flux", "FLUX.1-dev"},
    };
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        assert_null(rd_catalogue_find(catalogue, missing[i][0], missing[i][1]));
    }
    rd_catalogue_unref(catalogue);
}

static void refused(const char *yaml, const char *message)
{
    struct rd_catalogue *catalogue = NULL;
    struct rd_why why = {""};
    assert_int_equal(rd_catalogue_load(yaml, strlen(yaml), "c.yaml", &catalogue, &why),
                     RD_ERR_CONFIG);
    assert_string_equal(why.text, message);
    assert_null(catalogue);
    assert_int_equal(rd_catalogue_load(yaml, strlen(yaml), "c.yaml", &catalogue, NULL),
                     RD_ERR_CONFIG);
}

/* A good model as flow text, to which a row adds or which it replaces. */
#define MODEL(id) "id: " id ", modality: [image], tasks: [t2i], backends: [torch], status: active"
#define VIDEO_MODEL(id)                                                                            \
    "id: " id ", modality: [video], tasks: [t2v], backends: [torch], status: active"
#define NAME "a name of 1 to 64 of a-z 0-9 - _ . that starts with a letter or digit"
#define ID "a model as family/model, such as flux/dev, in lower case"
#define HUB "a model-hub id as org/repo, such as black-forest-labs/FLUX.1-dev"

static const struct {
    const char *model, *message;
} model_rows[] = {
    {"modality: [image], tasks: [t2i], backends: [torch], status: active",
     ": \"id\" is missing; expected " ID},
    {"id: a/b, tasks: [t2i], backends: [torch], status: active",
     ": \"modality\" is missing; expected a list of 1 to 2 of image, video"},
    {"id: a/b, modality: [image], backends: [torch], status: active",
     ": \"tasks\" is missing; expected a list of 1 to 5 of t2i, i2i, edit, t2v, i2v"},
    {"id: a/b, modality: [image], tasks: [t2i], status: active",
     ": \"backends\" is missing; expected a list of 1 to 4 of nunchaku, torch, tensorrt, "
     "builtin"},
    {"id: a/b, modality: [image], tasks: [t2i], backends: [torch]",
     ": \"status\" is missing; expected one of active, preview, coming_soon, deprecated"},
    {MODEL("flux"), ".id: expected " ID ", got \"flux\""},
    {MODEL("[x]"), ".id: expected " ID ", got a list"},
    {MODEL("x/one"), ".id: expected an id that models[0] does not have, got \"x/one\""},
    {"id: a/b, modality: [audio], tasks: [t2i], backends: [torch], status: active",
     ".modality[0]: expected one of image, video, got \"audio\""},
    {"id: a/b, modality: [], tasks: [t2i], backends: [torch], status: active",
     ".modality: expected a list of 1 to 2 of image, video, got 0"},
    {"id: a/b, modality: image, tasks: [t2i], backends: [torch], status: active",
     ".modality: expected a list of 1 to 2 of image, video, got \"image\""},
    {"id: a/b, modality: [image], tasks: [t2x], backends: [torch], status: active",
     ".tasks[0]: expected one of t2i, i2i, edit, t2v, i2v, got \"t2x\""},
    {"id: a/b, modality: [image], tasks: [t2i, t2v], backends: [torch], status: active",
     ".tasks: expected tasks of the model's modality, got t2v, which makes video"},
    {"id: a/b, modality: [image, video], tasks: [t2i], backends: [torch], status: active",
     ".modality: expected a task for each modality, got none for video"},
    {"id: a/b, modality: [image, video], tasks: [i2v], backends: [torch], status: active",
     ".modality: expected a task for each modality, got none for image"},
    {"id: a/b, modality: [image], tasks: [t2i], backends: [cuda], status: active",
     ".backends[0]: expected one of nunchaku, torch, tensorrt, builtin, got \"cuda\""},
    {"id: a/b, modality: [image], tasks: [t2i], backends: [torch, torch], status: active",
     ".backends[1]: torch stands twice in the list"},
    {"id: a/b, modality: [image], tasks: [t2i], backends: [torch], status: on",
     ".status: expected one of active, preview, coming_soon, deprecated, got \"on\""},
    {MODEL("a/b") ", alias: FLUX", ".alias: expected " HUB ", got \"FLUX\""},
    {MODEL("a/b") ", alias: a/b/c", ".alias: expected " HUB ", got \"a/b/c\""},
    {MODEL("a/b") ", alias: org/REPO",
     ".alias: expected an alias that models[0] does not have, got \"org/REPO\""},
    {MODEL("a/b") ", alias: X/One",
     ".alias: expected an alias that is not the id of a model, got \"X/One\""},
    {MODEL("a/b") ", description: ''", ".description: expected text of 1 to 1000 bytes, got \"\""},
    {MODEL("a/b") ", descriptoin: x", ".descriptoin: unknown key; did you mean \"description\"?"},
    {MODEL("a/b") ", exclude_formats: [2048]",
     ".exclude_formats[0]: expected the name of a format, such as portrait-wide, got \"2048\""},
    {MODEL("a/b") ", exclude_formats: [480p]",
     ".exclude_formats[0]: expected a format of the model's modality, got \"480p\""},
    {MODEL("a/b") ", exclude_formats: [portrait, '1024']",
     ".exclude_formats[1]: expected a format that is not the default, got \"1024\""},
    {MODEL("a/b") ", presets: {fast: {}}", ".presets: expected a list of 0 to 16 maps, got a map"},
    {MODEL("a/b") ", presets: [{steps: 4}]", ".presets[0]: \"name\" is missing; expected " NAME},
    {MODEL("a/b") ", presets: [{name: f}, {name: g}, {name: f}]",
     ".presets[2].name: expected a name that presets[0] does not have, got \"f\""},
    {MODEL("a/b") ", presets: [{name: f, sampler: 'e u'}]",
     ".presets[0].sampler: expected " NAME ", got \"e u\""},
    {MODEL("a/b") ", presets: [{name: f, scheduler: []}]",
     ".presets[0].scheduler: expected " NAME ", got a list"},
    {MODEL("a/b") ", presets: [{name: f, steps: 0}]",
     ".presets[0].steps: expected a whole number from 1 to 150, got \"0\""},
    {MODEL("a/b") ", presets: [{name: f, steps: 151}]",
     ".presets[0].steps: expected a whole number from 1 to 150, got \"151\""},
    {VIDEO_MODEL("a/b") ", presets: [{name: f, steps: 51}]",
     ".presets[0].steps: expected at most 50 steps for video, got \"51\""},
    {VIDEO_MODEL("a/b") ", presets: [{name: f, guidance: 1}]",
     ".presets[0].guidance: expected no guidance for video, got \"1\""},
    {MODEL("a/b") ", presets: [{name: f, cfg: 20.1}]",
     ".presets[0].cfg: expected a number from 0 to 20, got \"20.1\""},
    {MODEL("a/b") ", presets: [{name: f, cfg: -1}]",
     ".presets[0].cfg: expected a number from 0 to 20, got \"-1\""},
    {MODEL("a/b") ", presets: [{name: f, guidance: 30.5}]",
     ".presets[0].guidance: expected a number from 0 to 30, got \"30.5\""},
    {MODEL("a/b") ", presets: [{name: f, guidance: x}]",
     ".presets[0].guidance: expected a number from 0 to 30, got \"x\""},
};

static void each_row_of_models_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof model_rows / sizeof model_rows[0]; i++) {
        RD_AUTO_BUF struct rd_buf yaml, message;
        rd_buf_init(&yaml, 4096);
        rd_buf_init(&message, 4096);
        rd_buf_printf(&yaml, "models:\n  - {" MODEL("x/one") ", alias: Org/Repo}\n  - {%s}\n",
                      model_rows[i].model);
        rd_buf_printf(&message, "c.yaml:3: models[1]%s", model_rows[i].message);
        refused(yaml.data, message.data);
    }
}

static void the_rest_refuses(void **state)
{
    (void)state;
    static const char one[] = "models: [{" MODEL("x/one") "}]\nloras:\n";
    static const struct {
        const char *loras, *message;
    } rows[] = {
        {"  - {id: a}", "loras[0]: \"family\" is missing; expected " NAME},
        {"  - {family: x}", "loras[0]: \"id\" is missing; expected " NAME},
        {"  - {id: A, family: x}", "loras[0].id: expected " NAME ", got \"A\""},
        {"  - {id: a, family: y}", "loras[0].family: expected the family of a model, got \"y\""},
        {"  - {id: a, family: x, wieght: 1}",
         "loras[0].wieght: unknown key; expected one of id, family"},
        {"  - {id: a, family: [x]}", "loras[0].family: expected " NAME ", got a list"},
        {"  - a", "loras[0]: expected a map, got \"a\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        RD_AUTO_BUF struct rd_buf yaml, message;
        rd_buf_init(&yaml, 4096);
        rd_buf_init(&message, 4096);
        rd_buf_printf(&yaml, "%s%s\n", one, rows[i].loras);
        rd_buf_printf(&message, "c.yaml:3: %s", rows[i].message);
        refused(yaml.data, message.data);
    }
    refused("models: [{" MODEL("x/one") "}]\nloras: [{id: a, family: x},\n  {id: a, family: x}]",
            "c.yaml:3: loras[1].id: expected an id that loras[0] does not have, got \"a\"");
    refused("", "c.yaml:1: \"models\" is missing; expected a list of 0 to 1024 maps");
    refused("loras: []", "c.yaml:1: \"models\" is missing; expected a list of 0 to 1024 maps");
    refused("models: x", "c.yaml:1: models: expected a list of 0 to 1024 maps, got \"x\"");
    refused("model: []", "c.yaml:1: model: unknown key; did you mean \"models\"?");
}

static void put_models(struct rd_buf *yaml, size_t count)
{
    rd_buf_reset(yaml);
    rd_buf_str(yaml, "models:\n");
    for (size_t i = 0; i < count; i++) {
        rd_buf_printf(yaml, "  - {" MODEL("f%zu/m%zu") ", alias: O%zu/R}\n", i % 7, i, i);
    }
}

static void limits_hold(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf yaml;
    rd_buf_init(&yaml, 1 << 20);
    put_models(&yaml, RD_CATALOGUE_MODELS_MAX);
    struct rd_catalogue *catalogue = NULL;
    assert_int_equal(rd_catalogue_load(yaml.data, yaml.len, "c.yaml", &catalogue, NULL), RD_OK);
    const struct rd_model *models = NULL;
    assert_int_equal(rd_catalogue_models(catalogue, &models), RD_CATALOGUE_MODELS_MAX);
    for (size_t i = 0; i < RD_CATALOGUE_MODELS_MAX; i++) {
        char org[16];
        assert_ptr_equal(rd_catalogue_find(catalogue, models[i].family, models[i].name),
                         &models[i]);
        assert_true(snprintf(org, sizeof org, "o%zu", i) > 0);
        assert_ptr_equal(rd_catalogue_find(catalogue, org, "r"), &models[i]);
    }
    uint64_t start = rd_clock_mono_ns();
    for (size_t i = 0; i < 100000; i++) {
        assert_ptr_equal(rd_catalogue_find(catalogue, "o1023", "r"), &models[1023]);
    }
    print_message("# a look-up by hub id among 1024 models: %llu ns\n",
                  (unsigned long long)((rd_clock_mono_ns() - start) / 100000));
    rd_catalogue_unref(catalogue);
    put_models(&yaml, RD_CATALOGUE_MODELS_MAX + 1);
    refused(yaml.data, "c.yaml:1: models: expected a list of 0 to 1024 maps, got 1025");
}

static void an_empty_catalogue_is_one(void **state)
{
    (void)state;
    struct rd_catalogue *catalogue = NULL;
    const struct rd_model *models = NULL;
    const struct rd_catalogue_lora *loras = NULL;
    assert_int_equal(rd_catalogue_load("models: []", 10, "c.yaml", &catalogue, NULL), RD_OK);
    assert_int_equal(rd_catalogue_models(catalogue, &models), 0);
    assert_int_equal(rd_catalogue_loras(catalogue, &loras), 0);
    assert_null(rd_catalogue_find(catalogue, "flux", "dev"));
    rd_catalogue_unref(catalogue);
    rd_catalogue_unref(NULL);
}

static void either_way(const char *yaml, size_t len)
{
    struct rd_catalogue *catalogue = NULL;
    struct rd_why why = {""};
    rd_err err = rd_catalogue_load(yaml, len, "c.yaml", &catalogue, &why);
    if (err == RD_OK) {
        assert_non_null(catalogue);
        rd_catalogue_unref(catalogue);
    } else {
        assert_int_equal(err, RD_ERR_CONFIG);
        assert_null(catalogue);
        assert_memory_equal(why.text, "c.yaml:", 7);
    }
}

static void prefixes_and_bit_flips_are_answered(void **state)
{
    (void)state;
    RD_AUTO_FREE char *copy = rd_mem_memdupz(rd_catalogue_default, rd_catalogue_default_len);
    for (size_t len = 0; len < rd_catalogue_default_len; len++) {
        RD_AUTO_FREE char *prefix = rd_mem_memdupz(rd_catalogue_default, len);
        either_way(prefix, len);
    }
    for (size_t i = 0; i < rd_catalogue_default_len; i++) {
        for (int pass = 0; pass < 2; pass++) {
            char flip = (char)(1 << ((i + 3 * (size_t)pass) % 8));
            copy[i] = (char)(copy[i] ^ flip);
            either_way(copy, rd_catalogue_default_len);
            copy[i] = (char)(copy[i] ^ flip);
        }
    }
    assert_memory_equal(copy, rd_catalogue_default, rd_catalogue_default_len);
}

enum { READERS = 4, ROUNDS = 20000 };

/* Takes a reference of its own again and again, reads through it, and gives up the one it got. */
static void *reader_main(void *arg)
{
    struct rd_catalogue *catalogue = arg;
    size_t found = 0;
    for (int i = 0; i < ROUNDS; i++) {
        struct rd_catalogue *mine = rd_catalogue_ref(catalogue);
        found += rd_catalogue_find(mine, "flux", "dev") != NULL;
        rd_catalogue_unref(mine);
    }
    rd_catalogue_unref(catalogue);
    return found == ROUNDS ? NULL : arg;
}

static void references_are_counted_across_threads(void **state)
{
    (void)state;
    struct rd_catalogue *catalogue = shipped();
    pthread_t threads[READERS];
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, reader_main, rd_catalogue_ref(catalogue)), 0);
    }
    rd_catalogue_unref(
        catalogue); /* whoever is last frees it; leaks and races are the sanitizers' */
    for (size_t i = 0; i < READERS; i++) {
        void *bad = NULL;
        assert_int_equal(pthread_join(threads[i], &bad), 0);
        assert_null(bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_ships_is_the_contract),
        cmocka_unit_test(formats_are_those_of_the_contract),
        cmocka_unit_test(finds_by_name_and_by_hub_id),
        cmocka_unit_test(each_row_of_models_refuses),
        cmocka_unit_test(the_rest_refuses),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(an_empty_catalogue_is_one),
        cmocka_unit_test(prefixes_and_bit_flips_are_answered),
        cmocka_unit_test(references_are_counted_across_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
