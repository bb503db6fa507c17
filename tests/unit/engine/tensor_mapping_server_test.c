/* SPDX-License-Identifier: Apache-2.0
 *
 * A mapping against what servers say of their model: each difference with its exact message, and
 * what counts as none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "engine/tensor/mapping.h"

#define ONE .rank = 1, .shape = {1}
#define BYTES_ROW(name_, field_)                                                                   \
    .name = (name_), .field = RD_INPUT_##field_, .datatype = RD_DATATYPE_BYTES

static const struct rd_mapping_tensor inputs[] = {
    {BYTES_ROW("PROMPT", PROMPT), ONE},
    {.name = "SEED", .field = RD_INPUT_SEED, .datatype = RD_DATATYPE_INT64, ONE},
    {.name = "INIT",
     .field = RD_INPUT_IMAGE,
     .datatype = RD_DATATYPE_UINT8,
     .range = RD_RANGE_0_255,
     .optional = true,
     .rank = 4,
     .shape = {1, -1, -1, 3}},
};
static const struct rd_mapping_tensor outputs[] = {
    {.name = "IMAGE", .gives = RD_OUTPUT_IMAGE, .datatype = RD_DATATYPE_BYTES},
    {.name = "PROGRESS", .gives = RD_OUTPUT_PROGRESS, .datatype = RD_DATATYPE_FP32, ONE},
};
static const struct rd_mapping mapping = {
    .name = "m", .inputs = inputs, .inputs_count = 3, .outputs = outputs, .outputs_count = 2};

static const int64_t one[] = {1};
static const int64_t any[] = {-1};
static const int64_t two[] = {2};
static const int64_t batch[] = {-1, 1};
static const int64_t rgb[] = {-1, -1, -1, 3};
static const int64_t fixed[] = {-1, 512, 512, 3};
static const int64_t rgb3[] = {-1, -1, 3};

/* What a server says that fits; a test changes one thing in it. */
struct server {
    struct rd_tensor_info inputs[4], outputs[3];
    struct rd_model_metadata metadata;
};

static void server_init(struct server *s)
{
    static const char *const versions[] = {"1", "3"};
    *s = (struct server){
        .inputs = {{"PROMPT", "BYTES", one, 1, false},
                   {"SEED", "INT64", any, 1, false},
                   {"INIT", "UINT8", rgb, 4, true},
                   {"EXTRA", "FP32", batch, 2, false}},
        .outputs = {{"IMAGE", "BYTES", batch, 2, false},
                    {"PROGRESS", "FP32", one, 1, false},
                    {"LATENTS", "FP16", rgb, 4, false}},
    };
    s->metadata = (struct rd_model_metadata){.name = "flux",
                                             .versions = versions,
                                             .versions_count = 2,
                                             .inputs = s->inputs,
                                             .inputs_count = 3,
                                             .outputs = s->outputs,
                                             .outputs_count = 3};
}

static void refused(const struct rd_mapping *m, const struct server *s, const char *message)
{
    struct rd_why why = {""};
    char whole[512] = "mapping m, model flux: ";
    strncat(whole, message, sizeof whole - strlen(whole) - 1);
    assert_int_equal(rd_mapping_check_server(m, &s->metadata, &why), RD_ERR_CONFIG);
    assert_string_equal(why.text, whole);
    assert_int_equal(rd_mapping_check_server(m, &s->metadata, NULL), RD_ERR_CONFIG);
}

static void what_fits(void **state)
{
    (void)state;
    struct server s;
    struct rd_why why = {""};
    struct rd_mapping m = mapping;
    server_init(&s);
    assert_int_equal(rd_mapping_check_server(&m, &s.metadata, &why), RD_OK);
    s.inputs[0].shape = any;
    s.inputs[3].optional = true; /* need not be filled */
    s.metadata.inputs_count = 4;
    m.version = "3";
    assert_int_equal(rd_mapping_check_server(&m, &s.metadata, &why), RD_OK);
    s.metadata.versions_count = 0; /* a server that does not tell */
    m.version = "7";
    assert_int_equal(rd_mapping_check_server(&m, &s.metadata, &why), RD_OK);
    assert_string_equal(why.text, "");
}

static void what_is_missing(void **state)
{
    (void)state;
    struct server s;
    server_init(&s);
    s.inputs[1].name = "seed";
    s.inputs[1].optional = true;
    refused(&mapping, &s, "input SEED: the model has none of that name; it has PROMPT, seed, INIT");
    server_init(&s);
    s.metadata.outputs_count = 1;
    refused(&mapping, &s, "output PROGRESS: the model has none of that name; it has IMAGE");
    s.metadata.outputs_count = 0;
    refused(&mapping, &s,
            "output IMAGE: the model has none of that name; it has none; also: output PROGRESS: "
            "the model has none of that name; it has none");
    server_init(&s);
    s.metadata.inputs_count = 4;
    refused(&mapping, &s,
            "input EXTRA (FP32, [-1, 1]): the model needs it, no row fills it; add one with a "
            "field or a value");
    server_init(&s);
    s.inputs[2].optional = false;
    refused(&mapping, &s, "input INIT: the model needs it always; take away optional: true");
}

static void what_differs(void **state)
{
    (void)state;
    struct server s;
    struct rd_mapping m = mapping;
    server_init(&s);
    s.inputs[1].datatype = "INT32";
    refused(&m, &s, "input SEED: the mapping says INT64, the server INT32; write datatype: INT32");
    server_init(&s);
    s.inputs[0].shape = batch;
    s.inputs[0].rank = 2;
    refused(&m, &s,
            "input PROMPT: the mapping says shape [1], the server [-1, 1]; write shape: [1, 1]");
    s.inputs[0].shape = two;
    s.inputs[0].rank = 1;
    refused(&m, &s,
            "input PROMPT: the mapping says shape [1], the server [2]; the mapping can fill one "
            "element only");
    server_init(&s);
    s.inputs[2].shape = rgb3;
    s.inputs[2].rank = 3;
    refused(&m, &s,
            "input INIT: the mapping says shape [1, -1, -1, 3], the server [-1, -1, 3]; write "
            "shape: [-1, -1, 3]");
    s.inputs[2].shape = fixed;
    s.inputs[2].rank = 4;
    refused(&m, &s,
            "input INIT: the mapping says shape [1, -1, -1, 3], the server [-1, 512, 512, 3]; "
            "write shape: [1, 512, 512, 3]");
    server_init(&s);
    s.outputs[1].shape = batch;
    s.outputs[1].rank = 2;
    refused(&m, &s,
            "output PROGRESS: the mapping says shape [1], the server [-1, 1]; write shape: [1, 1]");
    server_init(&s);
    s.outputs[0].datatype = "UINT8";
    refused(&m, &s,
            "output IMAGE: the mapping says BYTES, the server UINT8; write datatype: UINT8");
    server_init(&s);
    m.version = "2";
    refused(&m, &s, "version 2: the server has 1, 3");
    server_init(&s);
    m.version = NULL;
    s.metadata.decoupled = true;
    refused(&m, &s, "the model is decoupled; write decoupled: true, and a grpc:// URL");
    m.decoupled = true;
    assert_int_equal(rd_mapping_check_server(&m, &s.metadata, NULL), RD_OK);
    s.metadata.decoupled = false;
    assert_int_equal(rd_mapping_check_server(&m, &s.metadata, NULL), RD_OK);
}

/* It goes to logs and terminals. */
static void what_a_server_says_is_cleaned(void **state)
{
    (void)state;
    struct server s;
    server_init(&s);
    s.inputs[1].datatype = "\x1b[2J\n\xff";
    s.inputs[1].optional = true;
    refused(&mapping, &s,
            "input SEED: the mapping says INT64, the server ?[2J??; write datatype: ?[2J??");
    server_init(&s);
    s.inputs[3].name = "\r";
    s.metadata.inputs_count = 4;
    refused(&mapping, &s,
            "input ? (FP32, [-1, 1]): the model needs it, no row fills it; add one with a field or "
            "a value");
}

static void hostile_metadata(void **state)
{
    (void)state;
    struct server s;
    static struct rd_tensor_info many[1000];
    static char name[3000];
    int64_t wide[100];
    struct rd_why why;
    memset(name, 'x', sizeof name - 1);
    for (size_t i = 0; i < 100; i++) {
        wide[i] = INT64_MIN;
    }
    for (size_t i = 0; i < 1000; i++) {
        many[i] = (struct rd_tensor_info){name, name, wide, 100, false};
    }
    server_init(&s);
    s.metadata.inputs = s.metadata.outputs = many;
    s.metadata.inputs_count = s.metadata.outputs_count = 1000;
    s.metadata.name = NULL;
    assert_int_equal(rd_mapping_check_server(&mapping, &s.metadata, &why), RD_ERR_CONFIG);
    assert_true(strlen(why.text) < sizeof why.text);
    server_init(&s);
    s.inputs[0].shape = wide;
    s.inputs[0].rank = 100;
    s.inputs[1].rank = 0;
    assert_int_equal(rd_mapping_check_server(&mapping, &s.metadata, &why), RD_ERR_CONFIG);
    assert_non_null(strstr(why.text, "input PROMPT: the mapping says shape [1], the server [-9"));
    assert_non_null(
        strstr(why.text, "also: input SEED: the mapping says shape [1], the server []"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits),        cmocka_unit_test(what_is_missing),
        cmocka_unit_test(what_differs),     cmocka_unit_test(what_a_server_says_is_cleaned),
        cmocka_unit_test(hostile_metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
