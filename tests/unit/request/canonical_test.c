/* SPDX-License-Identifier: Apache-2.0
 *
 * canonical.c: known answers, one spelling for one request, and that its output is its own
 * input. */
#include "fixture.h"

#include <math.h>
#include <stdlib.h>

#include "request/canonical.h"

static void assert_json(struct fixture *f, const char *body, const char *want)
{
    assert_accepted(f, body);
    assert_string_equal(f->generation->json, want);
    assert_int_equal(f->generation->json_len, strlen(want));
}

static void known_answers(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, &plasma, RD_TASK_T2I);
    assert_json(
        &f, "{\"prompt\":\"a red circle\"}",
        "{\"backend\":\"builtin\",\"cfg\":1,\"clip_skip\":0,\"count\":1,\"detail_amount\":0,"
        "\"detail_end\":1,\"detail_start\":0,\"eta\":0.5,\"family\":\"builtin\",\"format\":"
        "\"1024\","
        "\"guidance\":3.5,\"lora\":[],\"modality\":\"image\",\"model\":\"plasma\","
        "\"negative_prompt\":\"\",\"noise_type\":\"gaussian\",\"prompt\":\"a red circle\","
        "\"sampler\":\"euler\",\"scheduler\":\"simple\",\"seed\":4242,\"steps\":20,\"task\":"
        "\"t2i\"}");
    fixture_end(&f);
    fixture_start(&f, &wan, RD_TASK_I2V);
    assert_json(
        &f,
        "{\"lightning\":true,\"image\":\"" PNG_URI "\",\"prompt\":\"\\u00e9\\n\","
        "\"zz\":[1,{\"b\":null,\"a\":false}],\"_x\":1.50,\"duration\":2.5,\"preset\":\"fast\","
        "\"lora\":[{\"weight\":2,\"id\":\"l\"},{\"id\":\"m\",\"extra\":1}]}",
        "{\"_x\":1.5,\"backend\":\"torch\",\"cfg\":1,\"clip_skip\":0,\"duration\":2.5,\"eta\":0.5,"
        "\"family\":\"wan\",\"format\":\"720p\",\"image\":\"data:sha256:" PNG_SHA256 "\","
        "\"lightning\":true,\"lora\":[{\"id\":\"l\",\"weight\":2},{\"extra\":1,\"id\":\"m\","
        "\"weight\":1}],"
        "\"modality\":\"video\",\"model\":\"default\",\"motion_strength\":0.5,"
        "\"negative_prompt\":\"\",\"noise_type\":\"gaussian\",\"preset\":\"fast\",\"prompt\":"
        "\"\xc3\xa9\\n\","
        "\"sampler\":\"euler\",\"scheduler\":\"simple\",\"seed\":4242,\"shift\":5,\"steps\":8,"
        "\"task\":\"i2v\",\"zz\":[1,{\"a\":false,\"b\":null}]}");
    fixture_end(&f);
}

/* Different spellings of one request. */
static void one_spelling(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"prompt\":\"a/b\",\"seed\":20,\"cfg\":2,\"x\":{\"p\":1,\"q\":0.1}}",
        " {\t\"cfg\" : 2.0 ,\r\n\"x\":{\"q\":1e-1,\"p\":1.0},\"seed\":2e1,\"prompt\":\"a\\/b\"}\n",
        ("{\"x\":{\"q\":0.10,\"p\":10e-1},\"\\u0070rompt\":\"\\u0061/"
         "b\",\"cfg\":20e-1,\"seed\":20.0,"
         "\"steps\":20,\"format\":\"1024\",\"task\":\"t2i\",\"count\":1}"),
    };
    struct fixture f;
    fixture_start(&f, &plasma, RD_TASK_T2I);
    char first[2048] = "";
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        assert_accepted(&f, bodies[i]);
        if (i == 0) {
            (void)snprintf(first, sizeof first, "%s", f.generation->json);
        }
        assert_string_equal(f.generation->json, first);
    }
    fixture_end(&f);
}

/* The output, sent again, is taken and gives itself: for every task and with everything set. */
static void is_its_own_input(void **state)
{
    (void)state;
    for (unsigned task = 0; task < RD_TASK_COUNT_; task++) {
        struct fixture f;
        char body[1024];
        char json[8192];
        fixture_start(&f, &plasma, (enum rd_task)task);
        (void)snprintf(body, sizeof body,
                       "%s,\"u\":{\"k\":[[],{},[{}],\"\\\"\\\\\\u0001\",-0.0,1e300,-7]},"
                       "\"lora\":[{\"id\":\"a\",\"weight\":-1.25}],\"cfg\":7.123456789012345}",
                       fixture_base((enum rd_task)task));
        assert_accepted(&f, body);
        (void)snprintf(json, sizeof json, "%s", f.generation->json);
        f.context.random_seed = 1; /* must not matter: the seed is in the text */
        assert_json(&f, json, json);
        assert_non_null(strstr(json, "\"u\":{\"k\":[[],{},[{}],\"\\\"\\\\\\u0001\",0,1e+300,-7]}"));
        fixture_end(&f);
    }
}

static void assert_number(double value, const char *want)
{
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, 64);
    rd_canonical_number(value, &out);
    assert_string_equal(rd_buf_cstr(&out), want);
}

static void numbers(void **state)
{
    (void)state;
    assert_number(0, "0");
    assert_number(-0.0, "0");
    assert_number(1, "1");
    assert_number(-1, "-1");
    assert_number(0.1, "0.1");
    assert_number(0.30000000000000004, "0.30000000000000004");
    assert_number(1000000, "1000000");
    assert_number(4294967295.0, "4294967295");
    assert_number(9007199254740992.0, "9007199254740992");
    assert_number(1e300, "1e+300");
    assert_number(5e-324, "4.94066e-324");
    assert_number(0.001, "0.001");
    assert_number(-0.05, "-0.05");
    assert_number(12.5, "12.5");
    assert_number(-100.25, "-100.25");
    assert_number(0.0005, "0.0005");
    assert_number(9999999999.999, "9999999999.999");
    assert_number(10000000000.5, "10000000000.5");
    assert_number(-9007199254740992.0, "-9007199254740992");
    assert_number(18014398509481984.0, "18014398509481984");
}

/* Whatever the form, it reads back as the same value; and short values stay short. */
static void numbers_read_back(void **state)
{
    (void)state;
    uint64_t random = 88172645463325252u;
    for (int i = 0; i < 200000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        double value = (double)(int64_t)(random >> (i % 60)) / (i % 3 == 0   ? 1000.0
                                                                : i % 3 == 1 ? 7.0
                                                                             : 64.0);
        RD_AUTO_BUF struct rd_buf out;
        rd_buf_init(&out, 64);
        rd_canonical_number(value, &out);
        assert_true(strtod(rd_buf_cstr(&out), NULL) == value);
        assert_true(out.len <= 24);
    }
}

static void value_of(const char *json, const char *want)
{
    struct rd_arena arena;
    RD_AUTO_BUF struct rd_buf out;
    rd_arena_init(&arena, RD_MIB(1));
    rd_buf_init(&out, RD_MIB(1));
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    assert_int_equal(rd_canonical_value(value, &arena, &out), RD_OK);
    json_decref(value);
    rd_arena_done(&arena);
    assert_string_equal(rd_buf_cstr(&out), want);
}

static void values(void **state)
{
    (void)state;
    value_of("null", "null");
    value_of("true", "true");
    value_of("\"\\u0007\"", "\"\\u0007\"");
    value_of("[]", "[]");
    value_of("{}", "{}");
    value_of("[ [ ] , { } ]", "[[],{}]");
    value_of("{\"b\":1,\"a\":2,\"\":3,\"B\":4,\"\xc3\xa9\":5}",
             "{\"\":3,\"B\":4,\"a\":2,\"b\":1,\"\xc3\xa9\":5}");
    value_of("[9223372036854775807,-9223372036854775808]",
             "[9223372036854775807,-9223372036854775808]");
    value_of("[{\"a\":[{\"a\":[{\"a\":[]}]}]}]", "[{\"a\":[{\"a\":[{\"a\":[]}]}]}]");
}

static void bounded_depth(void **state)
{
    (void)state;
    for (size_t depth = RD_LIMIT_JSON_DEPTH; depth <= RD_LIMIT_JSON_DEPTH + 1; depth++) {
        char text[2 * (RD_LIMIT_JSON_DEPTH + 1)];
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        json_t *value = json_loadb(text, 2 * depth, 0, NULL);
        assert_non_null(value);
        struct rd_arena arena;
        RD_AUTO_BUF struct rd_buf out;
        rd_arena_init(&arena, RD_MIB(1));
        rd_buf_init(&out, RD_KIB(4));
        assert_int_equal(rd_canonical_value(value, &arena, &out),
                         depth > RD_LIMIT_JSON_DEPTH ? RD_ERR_INTERNAL : RD_OK);
        if (depth == RD_LIMIT_JSON_DEPTH) {
            assert_int_equal(out.len, 2 * depth);
            assert_memory_equal(out.data, text, 2 * depth);
        }
        json_decref(value);
        rd_arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),     cmocka_unit_test(one_spelling),
        cmocka_unit_test(is_its_own_input),  cmocka_unit_test(numbers),
        cmocka_unit_test(numbers_read_back), cmocka_unit_test(values),
        cmocka_unit_test(bounded_depth),
    };
    return cmocka_run_group_tests_name("request/canonical", tests, NULL, NULL);
}
