/* SPDX-License-Identifier: Apache-2.0
 *
 * Mappings as they are written: what each key becomes, what is filled in, and every refusal with
 * its file, line, place and words. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/buf.h"
#include "base/fs.h"
#include "config/config.h"

#define ENGINE                                                                                     \
    "engines:\n  - {name: g, type: triton, url: \"grpc://h:8001\", models: [a/b], mapping: [m]}\n"
#define PROMPT "{name: P, field: prompt, datatype: BYTES}"
#define IMAGE "{name: I, gives: image, datatype: BYTES}"

static struct rd_config *load(const char *yaml)
{
    struct rd_config *config = NULL;
    struct rd_why why = {""};
    if (rd_config_load(yaml, strlen(yaml), "r.yaml", &config, &why) != RD_OK) {
        fail_msg("%s", why.text);
    }
    return config;
}

static void refused(const char *yaml, const char *message)
{
    struct rd_config *config = NULL;
    struct rd_why why = {""};
    assert_int_equal(rd_config_load(yaml, strlen(yaml), "r.yaml", &config, &why), RD_ERR_CONFIG);
    assert_string_equal(why.text, message);
    assert_null(config);
}

static const char whole[] =
    "mappings:\n"
    "  - name: m\n"
    "    models: [a/b, a/c]\n"
    "    model: Flux_schnell\n"
    "    version: \"2\"\n"
    "    decoupled: true\n"
    "    tasks: [i2i]\n"
    "    inputs:\n"
    "      - {name: PROMPT, field: prompt, datatype: BYTES, shape: [1, 1]}\n"
    "      - {name: MODE, value: \"\", datatype: BYTES}\n"
    "      - {name: N, value: 3, datatype: INT32}\n"
    "      - {name: INIT, field: image, datatype: UINT8, optional: true}\n"
    "      - {name: MASK, field: mask, datatype: FP16, shape: [1, -1, -1], range: -1..1,\n"
    "         optional: true}\n"
    "      - {name: REQUEST, field: request, datatype: BYTES}\n"
    "    outputs:\n"
    "      - {name: IMAGE, gives: image, datatype: BF16, shape: [1, 3, 512, 512], range: 0..255}\n"
    "      - {name: PREVIEW, gives: preview, datatype: UINT8}\n"
    "      - {name: DEVICE, gives: device, datatype: BYTES, shape: [-1]}\n" ENGINE;

static void check_inputs(const struct rd_mapping_tensor *row)
{
    assert_string_equal(row[0].name, "PROMPT");
    assert_int_equal(row[0].field, RD_INPUT_PROMPT);
    assert_null(row[0].value);
    assert_false(row[0].optional);
    assert_int_equal(row[0].datatype, RD_DATATYPE_BYTES);
    assert_int_equal(row[0].rank, 2);
    assert_int_equal(row[0].shape[1], 1);
    assert_int_equal(row[1].field, RD_INPUT_VALUE);
    assert_string_equal(row[1].value, "");
    assert_int_equal(row[1].rank, 1);
    assert_int_equal(row[1].shape[0], 1);
    assert_string_equal(row[2].value, "3");
    assert_int_equal(row[2].datatype, RD_DATATYPE_INT32);
    assert_int_equal(row[3].field, RD_INPUT_IMAGE);
    assert_true(row[3].optional);
    assert_int_equal(row[3].rank, 3);
    assert_int_equal(row[3].shape[0], -1);
    assert_int_equal(row[3].shape[2], 3);
    assert_int_equal(row[3].range, RD_RANGE_0_255);
    assert_int_equal(row[4].field, RD_INPUT_MASK);
    assert_int_equal(row[4].range, RD_RANGE_MINUS1_1);
    assert_int_equal(row[5].field, RD_INPUT_REQUEST);
}

static void a_whole_mapping(void **state)
{
    (void)state;
    struct rd_config *config = load(whole);
    const struct rd_engine_config *engine = &config->engines[0].engine;
    assert_int_equal(engine->mappings_count, 1);
    const struct rd_mapping *m = engine->mappings[0];
    assert_string_equal(m->name, "m");
    assert_int_equal(m->models_count, 2);
    assert_string_equal(m->models[1], "a/c");
    assert_string_equal(m->model, "Flux_schnell");
    assert_string_equal(m->version, "2");
    assert_true(m->decoupled);
    assert_int_equal(m->tasks, 1u << RD_TASK_I2I);
    assert_int_equal(m->inputs_count, 6);
    check_inputs(m->inputs);
    assert_int_equal(m->outputs_count, 3);
    assert_int_equal(m->outputs[0].gives, RD_OUTPUT_IMAGE);
    assert_int_equal(m->outputs[0].datatype, RD_DATATYPE_BF16);
    assert_int_equal(m->outputs[0].range, RD_RANGE_0_255);
    assert_int_equal(m->outputs[0].shape[3], 512);
    assert_int_equal(m->outputs[1].rank, 3);
    assert_int_equal(m->outputs[1].range, RD_RANGE_0_255);
    assert_int_equal(m->outputs[2].rank, 1);
    assert_int_equal(m->outputs[2].shape[0], -1);
    assert_int_equal(rd_mapping_check(m, NULL), RD_OK);
    rd_config_unref(config);
}

static void a_small_mapping(void **state)
{
    (void)state;
    struct rd_config *config =
        load("mappings: [{name: m, inputs: [" PROMPT "], outputs: [" IMAGE "]}]\n" ENGINE);
    const struct rd_mapping *m = config->engines[0].engine.mappings[0];
    assert_null(m->model);
    assert_null(m->version);
    assert_false(m->decoupled);
    assert_int_equal(m->models_count, 0);
    assert_int_equal(m->tasks, 0);
    assert_int_equal(m->outputs[0].rank, 0);
    assert_int_equal(rd_mapping_tasks(m), 1u << RD_TASK_T2I);
    rd_config_unref(config);
}

/* Rows of inputs and outputs: each stands on line 6 and is the second of its list.
 * tidy: a table, one line a rule */
static void each_row_refuses(void **state)
{
    (void)state;
#define TYPES                                                                                      \
    "one of BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, BF16, FP32, "    \
    "FP64, BYTES"
    static const struct {
        bool output;
        const char *row, *message;
    } rows[] = {
        {false, "name: X, datatype: BYTES",
         ": expected either \"field\" or \"value\", got neither"},
        {false, "name: X, field: seed, value: 1, datatype: INT64",
         ": expected either \"field\" or \"value\", got both"},
        {false, "name: X, field: value, datatype: INT64",
         ".field: expected one of prompt, negative_prompt, seed, steps, guidance, cfg, strength, "
         "width, height, duration, motion_strength, shift, sampler, scheduler, image, mask, task, "
         "media_type, request, got \"value\""},
        {false, "name: X, field: seed", ": \"datatype\" is missing; expected " TYPES},
        {false, "name: X, field: seed, datatype: STRING",
         ".datatype: expected " TYPES ", got \"STRING\""},
        {false, "field: seed, datatype: INT64",
         ": \"name\" is missing; expected a tensor's name of 1 to 128 bytes without control "
         "characters"},
        {false, "name: X, field: seed, datatype: INT32",
         ".datatype: expected a datatype that holds every seed from 0 to 4294967295, such as "
         "INT64, got INT32"},
        {false, "name: X, value: many, datatype: INT32",
         ".value: expected a value that INT32 holds, got \"many\""},
        {false, "name: X, value: \"\\e[2J\", datatype: INT32",
         ".value: expected a value that INT32 holds, got \"\\x1b[2J\""},
        {false, "name: X, value: {}, datatype: INT32",
         ".value: expected text of 0 to 4096 bytes, got a map"},
        {false, "name: X, field: seed, datatype: INT64, shape: [2]",
         ".shape: expected dimensions of 1 alone, such as [1] or [1, 1], got [2]"},
        {false, "name: X, field: seed, datatype: INT64, shape: [4097]",
         ".shape[0]: expected a whole number from -1 to 4096, got \"4097\""},
        {false, "name: X, field: seed, datatype: INT64, shape: []",
         ".shape: expected a list of 1 to 8 whole numbers from -1 to 4096, got 0"},
        {false, "name: X, field: seed, datatype: INT64, range: 0..1",
         ".range: expected no range but for raw pixels, got \"0..1\""},
        {false, "name: X, field: image, datatype: BYTES, range: 0..1",
         ".range: expected no range but for raw pixels, got \"0..1\""},
        {false, "name: X, field: image, datatype: UINT8, range: 0..1",
         ".range: expected 0..255 for UINT8, got 0..1"},
        {false, "name: X, field: image, datatype: FP32, range: 0..2",
         ".range: expected one of 0..1, -1..1, 0..255, got \"0..2\""},
        {false, "name: P, field: seed, datatype: INT64",
         ".name: expected a name that inputs[0] does not have, got \"P\""},
        {false, "name: X, gives: image, datatype: BYTES",
         ".gives: unknown key; expected one of name, field, value, optional, datatype, shape, "
         "range"},
        {true, "name: X, datatype: BYTES",
         ": \"gives\" is missing; expected one of image, video, progress, preview, "
         "device_seconds, device"},
        {true, "name: X, gives: image, datatype: BYTES",
         ".gives: expected something that outputs[0] does not give, got \"image\""},
        {true, "name: X, gives: progress, datatype: INT32",
         ".datatype: expected FP32, FP64, FP16 or BF16 for progress, got INT32"},
        {true, "name: X, gives: device, datatype: BYTES, optional: true",
         ".optional: unknown key; expected one of name, gives, datatype, shape, range"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        RD_AUTO_BUF struct rd_buf yaml, message;
        rd_buf_init(&yaml, 4096);
        rd_buf_init(&message, 4096);
        rd_buf_printf(
            &yaml, "mappings:\n  - name: m\n    %s: [%s]\n    %s:\n      [%s,\n      {%s}]\n",
            rows[i].output ? "inputs" : "outputs", rows[i].output ? PROMPT : IMAGE,
            rows[i].output ? "outputs" : "inputs", rows[i].output ? IMAGE : PROMPT, rows[i].row);
        rd_buf_printf(&message, "r.yaml:6: mappings[0].%s[1]%s",
                      rows[i].output ? "outputs" : "inputs", rows[i].message);
        refused(rd_buf_cstr(&yaml), rd_buf_cstr(&message));
    }
}

static void each_mapping_refuses(void **state)
{
    (void)state;
#define ROWS "inputs: [" PROMPT "], outputs: [" IMAGE "]"
    static const struct {
        const char *yaml, *message;
    } rows[] = {
        {"{" ROWS "}", "r.yaml:1: mappings[0]: \"name\" is missing; expected a name of 1 to 64 of "
                       "a-z 0-9 - _ . that starts with a letter or digit"},
        {"{name: m}",
         "r.yaml:1: mappings[0]: \"inputs\" is missing; expected a list of 1 to 32 maps"},
        {"{name: m, inputs: [], outputs: [" IMAGE "]}",
         "r.yaml:1: mappings[0].inputs: expected a list of 1 to 32 maps, got 0"},
        {"{name: m, " ROWS "}, {name: m, " ROWS "}",
         "r.yaml:1: mappings[1].name: expected a name that mappings[0] does not have, got \"m\""},
        {"{name: prompt-to-picture, " ROWS "}",
         "r.yaml:1: mappings[0].name: expected a name that none of the mappings compiled in has, "
         "got \"prompt-to-picture\""},
        {"{name: m, tasks: [i2i], " ROWS "}",
         "r.yaml:1: mappings[0].tasks: expected tasks that the rows can do: i2i needs an output "
         "that gives image, and inputs for image and mask as far as the task has them and no "
         "others that are not optional"},
        {"{name: m, tasks: [t2x], " ROWS "}",
         "r.yaml:1: mappings[0].tasks[0]: expected one of t2i, i2i, edit, t2v, i2v, got \"t2x\""},
        {"{name: m, inputs: [" PROMPT "], outputs: [{name: X, gives: device, datatype: BYTES}]}",
         "r.yaml:1: mappings[0].outputs: expected one that gives image or one that gives video"},
        {"{name: m, model: a/b, " ROWS "}",
         "r.yaml:1: mappings[0].model: expected a server's name for a model, 1 to 128 of a-z A-Z "
         "0-9 - _ ., got \"a/b\""},
        {"{name: m, version: latest, " ROWS "}",
         "r.yaml:1: mappings[0].version: expected a version's number, 1 or more, got \"latest\""},
        {"{name: m, decoupled: yes, " ROWS "}",
         "r.yaml:1: mappings[0].decoupled: expected true or false, got \"yes\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        RD_AUTO_BUF struct rd_buf yaml;
        rd_buf_init(&yaml, 4096);
        rd_buf_printf(&yaml, "mappings: [%s]\n", rows[i].yaml);
        refused(rd_buf_cstr(&yaml), rows[i].message);
    }
}

/* The example of docs/mappings.md loads. */
static void the_page_is_taken(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf page;
    rd_buf_init(&page, 1 << 20);
    assert_int_equal(rd_fs_read(RD_SOURCE_ROOT "/docs/mappings.md", &page, NULL), RD_OK);
    char *start = strstr(page.data, "```yaml\n");
    assert_non_null(start);
    start += strlen("```yaml\n");
    *strstr(start, "```") = '\0';
    struct rd_config *config = load(start);
    assert_int_equal(config->engines_count, 1);
    assert_int_equal(config->engines[0].engine.mappings[0]->outputs_count, 3);
    rd_config_unref(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_mapping),   cmocka_unit_test(a_small_mapping),
        cmocka_unit_test(each_row_refuses),  cmocka_unit_test(each_mapping_refuses),
        cmocka_unit_test(the_page_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
