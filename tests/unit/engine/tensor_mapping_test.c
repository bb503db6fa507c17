/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules of mappings: each broken once, with its exact message; what a sound one can do; which
 * one an engine uses for a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "engine/tensor/mapping.h"

#define ONE .rank = 1, .shape = {1}
#define PROMPT                                                                                     \
    {                                                                                              \
        .name = "PROMPT", .field = RD_INPUT_PROMPT, .datatype = RD_DATATYPE_BYTES, ONE             \
    }
#define IMAGE                                                                                      \
    {                                                                                              \
        .name = "IMAGE", .gives = RD_OUTPUT_IMAGE, .datatype = RD_DATATYPE_BYTES                   \
    }

static const struct rd_mapping_tensor prompt = PROMPT;
static const struct rd_mapping_tensor image = IMAGE;

static struct rd_mapping mapping_of(const struct rd_mapping_tensor *inputs, size_t inputs_count,
                                    const struct rd_mapping_tensor *outputs, size_t outputs_count)
{
    return (struct rd_mapping){.name = "m",
                               .inputs = inputs,
                               .inputs_count = inputs_count,
                               .outputs = outputs,
                               .outputs_count = outputs_count};
}

static void refused(const struct rd_mapping *mapping, const char *message)
{
    struct rd_why why = {""};
    assert_int_equal(rd_mapping_check(mapping, &why), RD_ERR_CONFIG);
    assert_string_equal(why.text, message);
    assert_int_equal(rd_mapping_check(mapping, NULL), RD_ERR_CONFIG);
}

static void taken(const struct rd_mapping *mapping)
{
    struct rd_why why = {""};
    if (rd_mapping_check(mapping, &why) != RD_OK) {
        fail_msg("%s", why.text);
    }
}

static void names_are_those_of_the_configuration(void **state)
{
    (void)state;
    assert_string_equal(rd_mapping_field_name(RD_INPUT_VALUE), "value");
    assert_string_equal(rd_mapping_field_name(RD_INPUT_NEGATIVE_PROMPT), "negative_prompt");
    assert_string_equal(rd_mapping_field_name(RD_INPUT_COUNT_ - 1), "request");
    assert_null(rd_mapping_field_name(RD_INPUT_COUNT_));
    assert_string_equal(rd_mapping_gives_name(RD_OUTPUT_DEVICE_SECONDS), "device_seconds");
    assert_null(rd_mapping_gives_name(RD_OUTPUT_COUNT_));
    assert_string_equal(rd_mapping_range_name(RD_RANGE_MINUS1_1), "-1..1");
    assert_null(rd_mapping_range_name(RD_RANGE_COUNT_));
    for (unsigned i = 0; i < RD_INPUT_COUNT_; i++) {
        assert_non_null(rd_mapping_field_name(i));
    }
}

#define INPUT(field_, datatype_)                                                                   \
    .name = "X", .field = RD_INPUT_##field_, .datatype = RD_DATATYPE_##datatype_
#define VALUE(value_, datatype_)                                                                   \
    .name = "X", .field = RD_INPUT_VALUE, .value = (value_), .datatype = RD_DATATYPE_##datatype_
#define DIMS(n, ...) .rank = (n), .shape = {__VA_ARGS__}
#define HOLDS(what) "datatype: expected a datatype that holds every " what ", such as INT64, got "
#define FLOATS "datatype: expected FP32, FP64, FP16 or BF16 for "
#define SINGLE "shape: expected dimensions of 1 alone, such as [1] or [1, 1], got "
#define RAW "shape: expected [-1, -1, 3] or [3, -1, -1]"
#define RAW_END " for raw pixels, any dimensions of 1 in front, got "
#define PIXEL_TYPES                                                                                \
    "datatype: expected BYTES (a file), or UINT8, FP16, BF16, FP32 or FP64 (raw pixels) for "

/* tidy: a table, one line a rule */
static void each_input_rule_refuses(void **state)
{
    (void)state;
    static const struct {
        struct rd_mapping_tensor row;
        const char *message;
    } rows[] = {
        {{INPUT(PROMPT, FP32), ONE}, "datatype: expected BYTES for prompt, got FP32"},
        {{INPUT(REQUEST, UINT8), ONE}, "datatype: expected BYTES for request, got UINT8"},
        {{INPUT(SEED, INT32), ONE}, HOLDS("seed from 0 to 4294967295") "INT32"},
        {{INPUT(SEED, FP32), ONE}, HOLDS("seed from 0 to 4294967295") "FP32"},
        {{INPUT(SEED, BYTES), ONE}, HOLDS("seed from 0 to 4294967295") "BYTES"},
        {{INPUT(STEPS, INT8), ONE}, HOLDS("steps from 0 to 150") "INT8"},
        {{INPUT(WIDTH, UINT8), ONE}, HOLDS("width from 0 to 2048") "UINT8"},
        {{INPUT(GUIDANCE, INT32), ONE}, FLOATS "guidance, got INT32"},
        {{INPUT(DURATION, BYTES), ONE}, FLOATS "duration, got BYTES"},
        {{INPUT(IMAGE, INT8), DIMS(3, -1, -1, 3)}, PIXEL_TYPES "image, got INT8"},
        {{INPUT(IMAGE, BYTES), DIMS(3, -1, -1, 3)}, SINGLE "[-1, -1, 3]"},
        {{INPUT(IMAGE, UINT8), .range = RD_RANGE_0_255, ONE}, RAW RAW_END "[1]"},
        {{INPUT(IMAGE, UINT8), .range = RD_RANGE_0_255, DIMS(3, -1, -1, 1)},
         RAW RAW_END "[-1, -1, 1]"},
        {{INPUT(IMAGE, UINT8), .range = RD_RANGE_0_255, DIMS(4, 2, -1, -1, 3)},
         RAW RAW_END "[2, -1, -1, 3]"},
        {{INPUT(IMAGE, UINT8), .range = RD_RANGE_0_255, DIMS(3, -1, 4097, 3)},
         RAW RAW_END "[-1, 4097, 3]"},
        {{INPUT(MASK, FP32), DIMS(3, -1, -1, 2)}, RAW ", or with 1 channel," RAW_END "[-1, -1, 2]"},
        {{INPUT(IMAGE, UINT8), DIMS(3, -1, -1, 3)}, "range: expected 0..255 for UINT8, got 0..1"},
        {{INPUT(SEED, INT64), DIMS(1, -1)}, SINGLE "[-1]"},
        {{INPUT(SEED, INT64), DIMS(2, 1, 2)}, SINGLE "[1, 2]"},
        {{INPUT(SEED, INT64), .rank = 0}, SINGLE "[]"},
        {{VALUE("1.5", INT32), ONE}, "value: expected a value that INT32 holds"},
        {{VALUE("256", UINT8), ONE}, "value: expected a value that UINT8 holds"},
        {{VALUE("-1", UINT64), ONE}, "value: expected a value that UINT64 holds"},
        {{VALUE("", INT8), ONE}, "value: expected a value that INT8 holds"},
        {{VALUE("+1", INT8), ONE}, "value: expected a value that INT8 holds"},
        {{VALUE("nan", FP32), ONE}, "value: expected a value that FP32 holds"},
        {{VALUE("0x1", FP32), ONE}, "value: expected a value that FP32 holds"},
        {{VALUE("1e", FP32), ONE}, "value: expected a value that FP32 holds"},
        {{VALUE("", FP32), ONE}, "value: expected a value that FP32 holds"},
        {{VALUE("1e39", FP32), ONE}, "value: expected a value that FP32 holds"},
        {{VALUE("1e999", FP64), ONE}, "value: expected a value that FP64 holds"},
        {{VALUE("yes", BOOL), ONE}, "value: expected a value that BOOL holds"},
        {{VALUE("x", BYTES), DIMS(1, 2)}, SINGLE "[2]"},
        {{INPUT(VALUE, BYTES), ONE}, "expected either \"field\" or \"value\""},
        {{INPUT(PROMPT, BYTES), .value = "x", ONE}, "expected either \"field\" or \"value\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rd_mapping_tensor inputs[] = {PROMPT, rows[i].row};
        struct rd_mapping mapping = mapping_of(inputs, 2, &image, 1);
        char message[400] = "mapping m: inputs[1] (X): ";
        strncat(message, rows[i].message, sizeof message - strlen(message) - 1);
        refused(&mapping, message);
    }
}

static void inputs_that_are_taken(void **state)
{
    (void)state;
    static const struct rd_mapping_tensor rows[] = {
        {INPUT(SEED, UINT32), ONE},
        {INPUT(SEED, FP64), DIMS(8, 1, 1, 1, 1, 1, 1, 1, 1)},
        {INPUT(STEPS, UINT8), ONE},
        {INPUT(STEPS, FP16), ONE},
        {INPUT(WIDTH, INT16), ONE},
        {INPUT(HEIGHT, FP16), ONE},
        {INPUT(SHIFT, BF16), ONE},
        {INPUT(IMAGE, UINT8), .range = RD_RANGE_0_255, DIMS(3, -1, -1, 3), .optional = true},
        {INPUT(IMAGE, FP16), DIMS(5, 1, 1, 3, -1, -1), .optional = true},
        {INPUT(IMAGE, FP32), DIMS(3, 512, 4096, 3), .optional = true},
        {INPUT(IMAGE, BYTES), DIMS(2, 1, 1), .optional = true},
        {VALUE("18446744073709551615", UINT64), ONE},
        {VALUE("-9223372036854775808", INT64), ONE},
        {VALUE("-0", INT8), ONE},
        {VALUE("-1.5e-3", FP16), ONE},
        {VALUE("7", FP64), ONE},
        {VALUE("true", BOOL), ONE},
        {VALUE("", BYTES), ONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rd_mapping_tensor inputs[] = {PROMPT, rows[i]};
        struct rd_mapping mapping = mapping_of(inputs, 2, &image, 1);
        taken(&mapping);
    }
}

/* What a datatype must hold is at least what a generation can have. */
static void formats_are_within_the_limit(void **state)
{
    (void)state;
    for (size_t i = 0; i < rd_formats_count; i++) {
        assert_in_range(rd_formats[i].width, 4, 2048);
        assert_in_range(rd_formats[i].height, 4, 2048);
    }
}

#define OUTPUT(gives_, datatype_)                                                                  \
    .name = "Y", .gives = RD_OUTPUT_##gives_, .datatype = RD_DATATYPE_##datatype_

static void each_output_rule_refuses(void **state)
{
    (void)state;
    static const struct {
        struct rd_mapping_tensor row;
        const char *message;
    } rows[] = {
        {{OUTPUT(PROGRESS, INT32)}, FLOATS "progress, got INT32"},
        {{OUTPUT(DEVICE_SECONDS, BYTES)}, FLOATS "device_seconds, got BYTES"},
        {{OUTPUT(DEVICE, UINT8)}, "datatype: expected BYTES for device, got UINT8"},
        {{OUTPUT(PREVIEW, INT64)}, PIXEL_TYPES "preview, got INT64"},
        {{OUTPUT(PREVIEW, FP32), ONE}, RAW RAW_END "[1]"},
        {{OUTPUT(PROGRESS, FP32), DIMS(1, 2)}, SINGLE "[2]"},
        {{OUTPUT(IMAGE, BYTES)}, "gives: expected something that outputs[0] does not give"},
        {{.name = "IMAGE", .gives = RD_OUTPUT_DEVICE, .datatype = RD_DATATYPE_BYTES},
         "name: expected a name that outputs[0] does not have"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rd_mapping_tensor outputs[] = {IMAGE, rows[i].row};
        struct rd_mapping mapping = mapping_of(&prompt, 1, outputs, 2);
        char message[400] = "mapping m: outputs[1] (";
        strncat(message, rows[i].row.name, 10);
        strncat(message, "): ", 4);
        strncat(message, rows[i].message, sizeof message - strlen(message) - 1);
        refused(&mapping, message);
    }
    struct rd_mapping_tensor video = {OUTPUT(VIDEO, UINT8)};
    struct rd_mapping mapping = mapping_of(&prompt, 1, &video, 1);
    refused(&mapping, "mapping m: outputs[0] (Y): datatype: expected BYTES for video, got UINT8");
}

static void rules_of_the_whole(void **state)
{
    (void)state;
    static const struct rd_mapping_tensor twice[] = {PROMPT, PROMPT};
    static const struct rd_mapping_tensor pictures[] = {
        PROMPT,
        {.name = "A", .field = RD_INPUT_IMAGE, .datatype = RD_DATATYPE_BYTES, ONE},
        {.name = "B", .field = RD_INPUT_IMAGE, .datatype = RD_DATATYPE_BYTES, ONE}};
    static const struct rd_mapping_tensor mask[] = {
        PROMPT, {.name = "M", .field = RD_INPUT_MASK, .datatype = RD_DATATYPE_BYTES, ONE}};
    static const struct rd_mapping_tensor progress = {OUTPUT(PROGRESS, FP32)};
    static const struct rd_mapping_tensor both[] = {IMAGE, {OUTPUT(VIDEO, BYTES)}};
    static struct rd_mapping_tensor many[RD_MAPPING_TENSORS_MAX + 1];
    struct rd_mapping m = mapping_of(twice, 2, &image, 1);
    refused(&m,
            "mapping m: inputs[1] (PROMPT): name: expected a name that inputs[0] does not have");
    m = mapping_of(pictures, 3, &image, 1);
    refused(&m, "mapping m: inputs[2] (B): field: expected a picture that inputs[1] does not have");
    m = mapping_of(mask, 2, &image, 1);
    refused(&m, "mapping m: inputs: expected an input for image beside the one for mask");
    m = mapping_of(&prompt, 1, &progress, 1);
    refused(&m, "mapping m: outputs: expected one that gives image or one that gives video");
    m = mapping_of(&prompt, 1, both, 2);
    refused(&m,
            "mapping m: outputs: expected one that gives image or one that gives video, not both");
    m = mapping_of(many, 0, &image, 1);
    refused(&m, "mapping m: inputs: expected 1 to 32 inputs, got 0");
    m = mapping_of(many, RD_MAPPING_TENSORS_MAX + 1, &image, 1);
    refused(&m, "mapping m: inputs: expected 1 to 32 inputs, got 33");
    m = mapping_of(&prompt, 1, many, 0);
    refused(&m, "mapping m: outputs: expected 1 to 32 outputs, got 0");
    m = mapping_of(&prompt, 1, many, RD_MAPPING_TENSORS_MAX + 1);
    refused(&m, "mapping m: outputs: expected 1 to 32 outputs, got 33");
}

#define TASK(name) (1u << RD_TASK_##name)

static void tasks_follow_from_the_rows(void **state)
{
    (void)state;
    static const struct rd_mapping_tensor video = {OUTPUT(VIDEO, BYTES)};
    static const struct {
        int image, mask; /* 0: none, 1: needed, 2: optional */
        bool video;
        unsigned tasks;
    } rows[] = {
        {0, 0, false, TASK(T2I)},
        {1, 0, false, TASK(I2I)},
        {2, 0, false, TASK(T2I) | TASK(I2I)},
        {1, 1, false, TASK(EDIT)},
        {1, 2, false, TASK(I2I) | TASK(EDIT)},
        {2, 2, false, TASK(T2I) | TASK(I2I) | TASK(EDIT)},
        {0, 0, true, TASK(T2V)},
        {1, 0, true, TASK(I2V)},
        {2, 0, true, TASK(T2V) | TASK(I2V)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rd_mapping_tensor inputs[3] = {PROMPT};
        size_t count = 1;
        if (rows[i].image != 0) {
            inputs[count++] = (struct rd_mapping_tensor){INPUT(IMAGE, BYTES), ONE,
                                                         .optional = rows[i].image == 2};
        }
        if (rows[i].mask != 0) {
            inputs[count++] = (struct rd_mapping_tensor){.name = "M",
                                                         .field = RD_INPUT_MASK,
                                                         .datatype = RD_DATATYPE_BYTES,
                                                         ONE,
                                                         .optional = rows[i].mask == 2};
        }
        struct rd_mapping m = mapping_of(inputs, count, rows[i].video ? &video : &image, 1);
        taken(&m);
        assert_int_equal(rd_mapping_tasks(&m), rows[i].tasks);
        assert_int_equal(rd_mapping_media(&m),
                         rows[i].video
                             ? 1u << RD_MEDIA_MP4
                             : 1u << RD_MEDIA_PNG | 1u << RD_MEDIA_WEBP | 1u << RD_MEDIA_JPEG);
        for (unsigned task = 0; task < RD_TASK_COUNT_; task++) {
            m.tasks = 1u << task;
            assert_int_equal(rd_mapping_check(&m, NULL),
                             (rows[i].tasks & m.tasks) != 0 ? RD_OK : RD_ERR_CONFIG);
            assert_int_equal(rd_mapping_tasks(&m), m.tasks);
        }
    }
    struct rd_mapping m = mapping_of(&prompt, 1, &image, 1);
    m.tasks = TASK(T2I) | TASK(I2I);
    refused(&m, "mapping m: tasks: expected tasks that the rows can do: i2i needs an output that "
                "gives image, and inputs for image and mask as far as the task has them and no "
                "others that are not optional");
}

static void where_the_dimensions_of_a_picture_stand(void **state)
{
    (void)state;
    static const struct {
        size_t rank;
        int64_t shape[8];
        struct rd_mapping_picture want;
    } rows[] = {
        {3, {512, 768, 3}, {3, false, 0, 768, 512}}, {3, {3, 512, 768}, {3, true, 1, 768, 512}},
        {4, {1, -1, -1, 3}, {3, false, 1, -1, -1}},  {5, {1, 1, 3, 8, -1}, {3, true, 3, -1, 8}},
        {2, {64, 32}, {1, false, 0, 32, 64}},        {3, {1, 64, 32}, {1, false, 1, 32, 64}},
        {3, {64, 32, 1}, {1, false, 0, 32, 64}},     {4, {1, 64, 32, 1}, {1, false, 1, 32, 64}},
    };
    static const struct {
        size_t rank;
        int64_t shape[8];
    } bad[] = {
        {0, {0}},          {1, {512}},          {3, {512, 512, 4}},     {3, {4, 512, 512}},
        {3, {3, 512, 3}},  {3, {0, 512, 3}},    {3, {-2, 512, 3}},      {4, {2, 512, 512, 3}},
        {4, {3, 1, 8, 8}}, {3, {512, 4097, 3}}, {3, {INT64_MAX, 8, 3}}, {3, {512, 1, 1}},
    };
    struct rd_mapping_picture got;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        memset(&got, 0, sizeof got);
        assert_true(rd_mapping_picture(rows[i].shape, rows[i].rank, &got));
        assert_int_equal(got.channels, rows[i].want.channels);
        assert_int_equal(got.planar, rows[i].want.planar);
        assert_int_equal(got.height_at, rows[i].want.height_at);
        assert_int_equal(got.width, rows[i].want.width);
        assert_int_equal(got.height, rows[i].want.height);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (rd_mapping_picture(bad[i].shape, bad[i].rank, &got)) {
            fail_msg("row %zu", i);
        }
    }
}

static void an_engine_uses_the_first_that_is_for_the_model(void **state)
{
    (void)state;
    static const char *const dev[] = {"flux/schnell", "flux/dev"};
    struct rd_mapping special = mapping_of(&prompt, 1, &image, 1);
    struct rd_mapping general = special;
    special.models = dev;
    special.models_count = 2;
    general.model = "anything";
    const struct rd_mapping *const list[] = {&special, &general};
    struct rd_engine_config config = {.mappings = list, .mappings_count = 2};
    assert_ptr_equal(rd_mapping_for(&config, "flux/dev"), &special);
    assert_ptr_equal(rd_mapping_for(&config, "flux/pro"), &general);
    config.mappings_count = 1;
    assert_null(rd_mapping_for(&config, "flux/pro"));
    config.mappings_count = 0;
    assert_null(rd_mapping_for(&config, "flux/dev"));
    assert_string_equal(rd_mapping_server_model(&special, "flux/dev"), "dev");
    assert_string_equal(rd_mapping_server_model(&general, "flux/dev"), "anything");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_those_of_the_configuration),
        cmocka_unit_test(each_input_rule_refuses),
        cmocka_unit_test(inputs_that_are_taken),
        cmocka_unit_test(formats_are_within_the_limit),
        cmocka_unit_test(each_output_rule_refuses),
        cmocka_unit_test(rules_of_the_whole),
        cmocka_unit_test(tasks_follow_from_the_rows),
        cmocka_unit_test(where_the_dimensions_of_a_picture_stand),
        cmocka_unit_test(an_engine_uses_the_first_that_is_for_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
