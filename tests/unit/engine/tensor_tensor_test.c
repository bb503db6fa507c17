/* SPDX-License-Identifier: Apache-2.0
 *
 * The inputs of a request, byte by byte as they go over the wire: the expected bytes are written
 * out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "engine/tensor/tensor.h"
#include "media/media.h"

static const struct rd_format square = {"512", RD_MODALITY_IMAGE, 512, 512};
static const struct rd_format tiny = {"tiny", RD_MODALITY_IMAGE, 4, 4};

static struct rd_generation a_generation(void)
{
    return (struct rd_generation){
        .modality = RD_MODALITY_IMAGE,
        .task = RD_TASK_T2I,
        .family = "flux",
        .model = "schnell",
        .format = &square,
        .media = RD_MEDIA_PNG,
        .prompt = "a cat",
        .negative_prompt = "",
        .seed = 4294967295u,
        .strength = 0.8,
        .steps = 4,
        .guidance = 3.5,
        .cfg = 1,
        .count = 1,
        .shift = -1,
        .sampler = "euler",
        .json = "{\"prompt\":\"a cat\"}",
        .json_len = 18,
    };
}

/* The tensor's bytes, in one piece. */
static size_t bytes_of(const struct rd_tensor *tensor, uint8_t *out)
{
    memcpy(out, tensor->head, tensor->head_len);
    if (tensor->body_len > 0) {
        memcpy(out + tensor->head_len, tensor->body, tensor->body_len);
    }
    return tensor->head_len + tensor->body_len;
}

static void assert_bytes(const struct rd_tensor *tensor, const char *want, size_t len)
{
    uint8_t got[4096];
    assert_true(tensor->head_len + tensor->body_len <= sizeof got);
    assert_int_equal(bytes_of(tensor, got), len);
    assert_memory_equal(got, want, len);
}
#define ASSERT_BYTES(tensor, want) assert_bytes((tensor), (want), sizeof(want) - 1)

static void test_prompt_to_picture(void **state)
{
    (void)state;
    const struct rd_mapping *mapping = rd_mapping_ready("prompt-to-picture");
    struct rd_generation g = a_generation();
    struct rd_tensors tensors;
    assert_int_equal(rd_tensors_make(mapping, &g, 0, &tensors, NULL), RD_OK);
    assert_int_equal(tensors.count, 6); /* no negative prompt */
    const struct rd_tensor *t = tensors.items;
    assert_string_equal(t[0].name, "prompt");
    assert_int_equal(t[0].datatype, RD_DATATYPE_BYTES);
    assert_int_equal(t[0].rank, 1);
    assert_int_equal(t[0].shape[0], 1);
    ASSERT_BYTES(&t[0], "\x05\0\0\0a cat");
    assert_ptr_equal(t[0].body, g.prompt); /* not copied */
    assert_string_equal(t[1].name, "seed");
    ASSERT_BYTES(&t[1], "\xff\xff\xff\xff\0\0\0\0");
    assert_string_equal(t[2].name, "steps");
    ASSERT_BYTES(&t[2], "\x04\0\0\0");
    assert_string_equal(t[3].name, "width");
    ASSERT_BYTES(&t[3], "\0\x02\0\0");
    assert_string_equal(t[5].name, "guidance");
    ASSERT_BYTES(&t[5], "\0\0\x60\x40");
    assert_int_equal(tensors.bytes, 9 + 8 + 4 + 4 + 4 + 4);
    rd_tensors_done(&tensors);
}

/* Every field, in the first datatype that it takes, in one mapping. */
#define ONE .rank = 1, .shape = {1}
#define ROW(field_, datatype_)                                                                     \
    {                                                                                              \
        .name = #field_, .field = RD_INPUT_##field_, .datatype = RD_DATATYPE_##datatype_, ONE      \
    }
static const struct rd_mapping_tensor image_output = {
    .name = "IMAGE", .gives = RD_OUTPUT_IMAGE, .datatype = RD_DATATYPE_BYTES};
static const struct rd_mapping_tensor video_output = {
    .name = "VIDEO", .gives = RD_OUTPUT_VIDEO, .datatype = RD_DATATYPE_BYTES};

static struct rd_mapping mapping_of(const struct rd_mapping_tensor *rows, size_t count)
{
    return (struct rd_mapping){.name = "m",
                               .inputs = rows,
                               .inputs_count = count,
                               .outputs = &image_output,
                               .outputs_count = 1};
}

static void test_every_field(void **state)
{
    (void)state;
    static const struct {
        struct rd_mapping_tensor row;
        const char *bytes;
        size_t len;
    } rows[] = {
#define WANT(text) (text), sizeof(text) - 1
        {ROW(PROMPT, BYTES), WANT("\x05\0\0\0a cat")},
        {ROW(NEGATIVE_PROMPT, BYTES), WANT("\x03\0\0\0dog")},
        {ROW(SEED, UINT32), WANT("\x01\0\0\0")}, /* 2^32 - 1 and index 2 */
        {ROW(SEED, FP64), WANT("\0\0\0\0\0\0\xf0\x3f")},
        {ROW(STEPS, UINT8), WANT("\x04")},
        {ROW(GUIDANCE, FP16), WANT("\x00\x43")},
        {ROW(CFG, BF16), WANT("\x80\x3f")},
        {ROW(STRENGTH, FP32), WANT("\xcd\xcc\x4c\x3f")},
        {ROW(WIDTH, INT16), WANT("\x00\x02")},
        {ROW(HEIGHT, INT32), WANT("\x00\x02\0\0")},
        {ROW(DURATION, FP64), WANT("\0\0\0\0\0\0\x12\x40")},
        {ROW(MOTION_STRENGTH, FP32), WANT("\0\0\0\x3f")},
        {ROW(SHIFT, FP32), WANT("\0\0\x80\xbf")},
        {ROW(SAMPLER, BYTES), WANT("\x05\0\0\0euler")},
        {ROW(SCHEDULER, BYTES), WANT("\0\0\0\0")}, /* none, and not optional */
        {ROW(TASK, BYTES), WANT("\x03\0\0\0t2i")},
        {ROW(MEDIA_TYPE, BYTES), WANT("\x09\0\0\0image/png")},
        {ROW(REQUEST, BYTES), WANT("\x12\0\0\0{\"prompt\":\"a cat\"}")},
    };
    struct rd_generation g = a_generation();
    g.negative_prompt = "dog";
    g.duration = 4.5;
    g.motion_strength = 0.5;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rd_mapping m = mapping_of(&rows[i].row, 1);
        struct rd_tensors tensors;
        assert_int_equal(rd_mapping_check(&m, NULL), RD_OK);
        assert_int_equal(rd_tensors_make(&m, &g, 2, &tensors, NULL), RD_OK);
        assert_int_equal(tensors.count, 1);
        assert_int_equal(tensors.bytes, rows[i].len);
        assert_bytes(&tensors.items[0], rows[i].bytes, rows[i].len);
        rd_tensors_done(&tensors);
    }
}

static void test_constants(void **state)
{
    (void)state;
#define CONSTANT(value_, datatype_)                                                                \
    {                                                                                              \
        .name = "C", .value = (value_), .datatype = RD_DATATYPE_##datatype_, .rank = 2, .shape = { \
            1,                                                                                     \
            1                                                                                      \
        }                                                                                          \
    }
    static const struct {
        struct rd_mapping_tensor row;
        const char *bytes;
        size_t len;
    } rows[] = {
        {CONSTANT("fast", BYTES), WANT("\x04\0\0\0fast")},
        {CONSTANT("", BYTES), WANT("\0\0\0\0")},
        {CONSTANT("true", BOOL), WANT("\x01")},
        {CONSTANT("false", BOOL), WANT("\x00")},
        {CONSTANT("-2", INT8), WANT("\xfe")},
        {CONSTANT("65535", UINT16), WANT("\xff\xff")},
        {CONSTANT("18446744073709551615", UINT64), WANT("\xff\xff\xff\xff\xff\xff\xff\xff")},
        {CONSTANT("-9223372036854775808", INT64), WANT("\0\0\0\0\0\0\0\x80")},
        {CONSTANT("0.5", FP32), WANT("\0\0\0\x3f")},
        {CONSTANT("2", FP16), WANT("\x00\x40")},
    };
    struct rd_generation g = a_generation();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rd_mapping m = mapping_of(&rows[i].row, 1);
        struct rd_tensors tensors;
        assert_int_equal(rd_tensors_make(&m, &g, 0, &tensors, NULL), RD_OK);
        assert_bytes(&tensors.items[0], rows[i].bytes, rows[i].len);
        assert_int_equal(tensors.items[0].rank, 2);
        assert_int_equal(tensors.items[0].shape[1], 1);
        rd_tensors_done(&tensors);
    }
}

/* What a generation has none of is left out when it is optional, and only then. */
static void test_optional_fields(void **state)
{
    (void)state;
    static const struct rd_mapping_tensor rows[] = {
#define OPTIONAL(field_, datatype_)                                                                \
    {.name = #field_,                                                                              \
     .field = RD_INPUT_##field_,                                                                   \
     .datatype = RD_DATATYPE_##datatype_,                                                          \
     ONE,                                                                                          \
     .optional = true}
        OPTIONAL(NEGATIVE_PROMPT, BYTES),
        OPTIONAL(STRENGTH, FP32),
        OPTIONAL(DURATION, FP32),
        OPTIONAL(MOTION_STRENGTH, FP32),
        OPTIONAL(SHIFT, FP32),
        OPTIONAL(SCHEDULER, BYTES),
        OPTIONAL(IMAGE, BYTES),
        OPTIONAL(MASK, BYTES),
        OPTIONAL(GUIDANCE, FP32),
        OPTIONAL(SEED, INT64),
        OPTIONAL(SAMPLER, BYTES),
    };
    struct rd_mapping m = mapping_of(rows, sizeof rows / sizeof rows[0]);
    struct rd_generation g = a_generation();
    struct rd_tensors tensors;
    assert_int_equal(rd_tensors_make(&m, &g, 0, &tensors, NULL), RD_OK);
    assert_int_equal(tensors.count, 3);
    assert_string_equal(tensors.items[0].name, "GUIDANCE");
    assert_string_equal(tensors.items[1].name, "SEED");
    assert_string_equal(tensors.items[2].name, "SAMPLER");
    rd_tensors_done(&tensors);
    g.task = RD_TASK_I2I;
    g.image.bytes = (const uint8_t *)"picture";
    g.image.bytes_len = 7;
    g.negative_prompt = "x";
    g.scheduler = "karras";
    assert_int_equal(rd_tensors_make(&m, &g, 0, &tensors, NULL), RD_OK);
    assert_int_equal(tensors.count, 7);
    assert_string_equal(tensors.items[3].name, "IMAGE");
    ASSERT_BYTES(&tensors.items[3], "\x07\0\0\0picture");
    assert_ptr_equal(tensors.items[3].body, g.image.bytes); /* not copied */
    rd_tensors_done(&tensors);
    m.outputs = &video_output;
    g = a_generation();
    g.modality = RD_MODALITY_VIDEO;
    g.task = RD_TASK_T2V;
    g.shift = 5;
    assert_int_equal(rd_tensors_make(&m, &g, 0, &tensors, NULL), RD_OK);
    assert_int_equal(tensors.count, 5); /* duration, motion_strength, shift, seed, sampler */
    assert_string_equal(tensors.items[2].name, "SHIFT");
    rd_tensors_done(&tensors);
}

/* A 2 x 2 picture: red, green, blue, white. */
static void source(struct rd_buf *out, enum rd_media media)
{
    static const uint8_t rgb[] = {255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255};
    struct rd_image image = {2, 2, 3, (uint8_t *)(uintptr_t)rgb};
    rd_buf_init(out, 100000);
    assert_int_equal(rd_image_encode(&image, media, 100, out), RD_OK);
}

static struct rd_generation with_source(const struct rd_buf *file, const struct rd_format *format)
{
    struct rd_generation g = a_generation();
    g.task = RD_TASK_I2I;
    g.format = format;
    g.image.bytes = (const uint8_t *)file->data;
    g.image.bytes_len = file->len;
    return g;
}

static void test_raw_source(void **state)
{
    (void)state;
    static const struct rd_format small = {"small", RD_MODALITY_IMAGE, 8, 4};
    struct rd_mapping_tensor row = {.name = "INIT",
                                    .field = RD_INPUT_IMAGE,
                                    .datatype = RD_DATATYPE_UINT8,
                                    .range = RD_RANGE_0_255,
                                    .rank = 3,
                                    .shape = {-1, -1, 3}};
    RD_AUTO_BUF struct rd_buf file;
    source(&file, RD_MEDIA_PNG);
    struct rd_generation g = with_source(&file, &small);
    struct rd_mapping m = mapping_of(&row, 1);
    struct rd_tensors tensors;
    assert_int_equal(rd_tensors_make(&m, &g, 0, &tensors, NULL), RD_OK);
    const struct rd_tensor *t = &tensors.items[0];
    assert_int_equal(t->shape[0], 4);
    assert_int_equal(t->shape[1], 8);
    assert_int_equal(t->shape[2], 3);
    assert_int_equal(t->head_len, 0);
    assert_int_equal(t->body_len, 4 * 8 * 3);
    assert_memory_equal(t->body, "\xff\0\0\xff\0\0", 6);               /* top left */
    assert_memory_equal(t->body + 7 * 3, "\0\xff\0", 3);               /* top right */
    assert_memory_equal(t->body + (3 * 8 + 7) * 3, "\xff\xff\xff", 3); /* bottom right */
    rd_tensors_done(&tensors);
    assert_null(tensors.owned[0]);

    row = (struct rd_mapping_tensor){.name = "INIT",
                                     .field = RD_INPUT_IMAGE,
                                     .datatype = RD_DATATYPE_FP32,
                                     .range = RD_RANGE_MINUS1_1,
                                     .rank = 4,
                                     .shape = {1, 3, 4, 4}}; /* a size of its own */
    assert_int_equal(rd_tensors_make(&m, &g, 0, &tensors, NULL), RD_OK);
    t = &tensors.items[0];
    assert_int_equal(t->shape[1], 3);
    assert_int_equal(t->shape[3], 4);
    assert_int_equal(t->body_len, 3 * 16 * 4);
    assert_memory_equal(t->body, "\0\0\x80\x3f", 4);          /* red is 1 */
    assert_memory_equal(t->body + 16 * 4, "\0\0\x80\xbf", 4); /* green is -1 */
    rd_tensors_done(&tensors);
}

static void test_image_and_mask(void **state)
{
    (void)state;
    static const struct rd_mapping_tensor rows[] = {
        {.name = "INIT",
         .field = RD_INPUT_IMAGE,
         .datatype = RD_DATATYPE_UINT8,
         .range = RD_RANGE_0_255,
         .rank = 3,
         .shape = {3, -1, -1}},
        {.name = "MASK",
         .field = RD_INPUT_MASK,
         .datatype = RD_DATATYPE_UINT8,
         .range = RD_RANGE_0_255,
         .rank = 3,
         .shape = {-1, -1, 1}},
    };
    RD_AUTO_BUF struct rd_buf file;
    source(&file, RD_MEDIA_WEBP);
    struct rd_generation g = with_source(&file, &tiny);
    struct rd_mapping m = mapping_of(rows, 2);
    struct rd_tensors tensors;
    g.task = RD_TASK_EDIT;
    g.mask = g.image;
    assert_true(rd_tensors_is_slow(&m, &g));
    assert_int_equal(rd_tensors_make(&m, &g, 0, &tensors, NULL), RD_OK);
    assert_int_equal(tensors.bytes, 16 * 3 + 16);
    assert_int_equal(tensors.items[1].shape[2], 1);
    assert_int_equal(tensors.items[1].body[0], (255 * 77 + 128) / 256);
    assert_int_equal(tensors.items[1].body[15], 255);
    rd_tensors_done(&tensors);
    assert_false(rd_tensors_is_slow(rd_mapping_ready("picture-to-picture"), &g));
}

static void test_sources_that_are_none(void **state)
{
    (void)state;
    static const struct rd_mapping_tensor rows[] = {
        {.name = "INIT",
         .field = RD_INPUT_IMAGE,
         .datatype = RD_DATATYPE_UINT8,
         .range = RD_RANGE_0_255,
         .rank = 3,
         .shape = {-1, -1, 3}},
        {.name = "MASK",
         .field = RD_INPUT_MASK,
         .datatype = RD_DATATYPE_FP32,
         .rank = 2,
         .shape = {-1, -1}},
    };
    RD_AUTO_BUF struct rd_buf file;
    source(&file, RD_MEDIA_PNG);
    struct rd_generation g = with_source(&file, &tiny);
    struct rd_mapping m = mapping_of(rows, 2);
    struct rd_tensors tensors;
    struct rd_why why = {""};
    g.task = RD_TASK_EDIT;
    g.mask.bytes = (const uint8_t *)"no picture at all";
    g.mask.bytes_len = 17;
    memset(&tensors, 0x55, sizeof tensors);
    assert_int_equal(rd_tensors_make(&m, &g, 0, &tensors, &why), RD_ERR_INVALID_REQUEST);
    assert_memory_equal(why.text, "mask: ", 6);
    assert_int_equal(tensors.count, 0x5555555555555555); /* untouched */
    for (size_t len = 0; len < file.len; len += 7) {
        g.image.bytes_len = len; /* cut */
        assert_int_equal(rd_tensors_make(&m, &g, 0, &tensors, &why), RD_ERR_INVALID_REQUEST);
        assert_memory_equal(why.text, "image: ", 7);
    }
    assert_int_equal(rd_tensors_make(&m, &g, 0, &tensors, NULL), RD_ERR_INVALID_REQUEST);
}

static void test_what_the_mapping_does_not_do(void **state)
{
    (void)state;
    struct rd_generation g = a_generation();
    struct rd_tensors tensors;
    struct rd_why why = {""};
    g.task = RD_TASK_EDIT;
    assert_int_equal(rd_tensors_make(rd_mapping_ready("prompt-to-picture"), &g, 0, &tensors, &why),
                     RD_ERR_INTERNAL);
    assert_string_equal(why.text, "mapping prompt-to-picture: it does not do task edit");
    static const struct rd_mapping_tensor row = {
        .name = "INIT", .field = RD_INPUT_IMAGE, .datatype = RD_DATATYPE_BYTES, ONE};
    struct rd_mapping m = mapping_of(&row, 1);
    g.task = RD_TASK_I2I; /* and no picture: nobody loaded it */
    assert_int_equal(rd_tensors_make(&m, &g, 0, &tensors, &why), RD_ERR_INTERNAL);
    assert_string_equal(why.text,
                        "mapping m: input INIT needs a picture that task i2i does not have");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompt_to_picture),
        cmocka_unit_test(test_every_field),
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_optional_fields),
        cmocka_unit_test(test_raw_source),
        cmocka_unit_test(test_image_and_mask),
        cmocka_unit_test(test_sources_that_are_none),
        cmocka_unit_test(test_what_the_mapping_does_not_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
