/* SPDX-License-Identifier: Apache-2.0
 *
 * Engines of every type: what their keys become, which keys a type must have and may not have, the
 * rules between keys, and whether two engines were written the same. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "base/buf.h"
#include "config/config.h"

static struct rd_config *load(const char *yaml)
{
    struct rd_config *config = NULL;
    struct rd_why why = {""};
    if (rd_config_load(yaml, strlen(yaml), "r.yaml", &config, &why) != RD_OK) {
        fail_msg("%s", why.text);
    }
    return config;
}

static void each_type_has_its_keys(void **state)
{
    (void)state;
    struct rd_config *config =
        load("engines:\n"
             "  - {name: a, type: triton, url: grpcs://h:8001, models: [a/b], slots: 8,\n"
             "     mapping: [prompt-to-picture], ca_file: /ca.pem, key_file: /key, weight: 3}\n"
             "  - {name: b, type: openai, url: http://h/v1, models: [a/b], remote_model: Org/M,\n"
             "     health: /ready}\n"
             "  - {name: c, type: process, models: [a/b], memory: 2GiB, output: 64MiB,\n"
             "     command: [/opt/run, -v, -v]}\n"
             "  - {name: d, type: http, url: https://h/, models: [a/b], health: /h, key_file: k,\n"
             "     ca_file: c, slots: 1024}\n"
             "  - {name: e, type: builtin, slots: 2}\n"
             "  - {name: f, type: process, models: [a/b], command: [/x], slots: 64}\n"
             "jobs: {deadline: 90s}\n");
    const struct rd_config_engine *e = config->engines;
    assert_string_equal(e[0].engine.type, "triton");
    assert_string_equal(e[0].engine.url, "grpcs://h:8001");
    assert_string_equal(e[0].engine.ca_file, "/ca.pem");
    assert_string_equal(e[0].engine.key_file, "/key");
    assert_int_equal(e[0].engine.mappings_count, 1);
    assert_ptr_equal(e[0].engine.mappings[0], rd_mapping_ready("prompt-to-picture"));
    assert_int_equal(e[0].weight, 3);
    assert_int_equal(e[0].backend, RD_BACKEND_TORCH);
    assert_string_equal(e[1].engine.remote_model, "Org/M");
    assert_string_equal(e[1].engine.health, "/ready");
    assert_null(e[1].engine.ca_file);
    assert_int_equal(e[1].engine.slots, 1);
    assert_int_equal(e[1].weight, 1);
    assert_int_equal(e[2].engine.command_count, 3);
    assert_string_equal(e[2].engine.command[0], "/opt/run");
    assert_string_equal(e[2].engine.command[2], "-v");
    assert_null(e[2].engine.command[3]); /* as exec wants it */
    assert_true(e[2].engine.memory_max == 2ull << 30);
    assert_true(e[2].engine.output_max == 64 << 20);
    assert_null(e[2].engine.url);
    assert_string_equal(e[3].engine.ca_file, "c");
    assert_int_equal(e[3].weight, 1000); /* as the slots, at most this */
    assert_int_equal(e[4].weight, 2);
    assert_int_equal(e[5].engine.slots, 64);
    assert_int_equal(e[4].engine.memory_max, 0);
    assert_true(config->jobs_deadline_ms == 90000);
    rd_config_unref(config);
    config = load("");
    assert_true(config->jobs_deadline_ms == 3600000);
    rd_config_unref(config);
}

#define T "type: triton, url: \"grpc://h\", models: [a/b], mapping: [prompt-to-picture]"
#define H "type: http, url: http://h/, models: [a/b]"
#define O "type: openai, url: http://h/, models: [a/b]"
#define P "type: process, models: [a/b], command: [/x]"
#define B "type: builtin"
#define NAME_WORDS "a server's name for a model, 1 to 256 visible ASCII characters"

/* tidy: a table, one line a rule */
static void each_rule_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *engine, *message;
    } rows[] = {
        /* what a type must have */
        {"type: triton, models: [a/b], mapping: [stable-diffusion]",
         ": \"url\" is missing; expected one in an engine of type triton"},
        {"type: triton, url: \"grpc://h\", mapping: [stable-diffusion]",
         ": \"models\" is missing; expected a list of what this engine serves in an engine of type "
         "triton"},
        {"type: triton, url: \"grpc://h\", models: [a/b]",
         ": \"mapping\" is missing; expected a list of mappings, such as [prompt-to-picture] in an "
         "engine of type triton"},
        {"type: openai, models: [a/b]",
         ": \"url\" is missing; expected one in an engine of type openai"},
        {"type: process, models: [a/b]",
         ": \"command\" is missing; expected a list of words, the program's absolute path first in "
         "an engine of type process"},
        {"type: process, command: [/x]",
         ": \"models\" is missing; expected a list of what this engine serves in an engine of type "
         "process"},
        /* what it may not have */
        {B ", mapping: [x]",
         ".mapping: expected no mapping in an engine of type builtin, got a list"},
        {B ", command: [/x]",
         ".command: expected no command in an engine of type builtin, got a list"},
        {B ", health: /x", ".health: expected no health in an engine of type builtin, got \"/x\""},
        {H ", mapping: [x]", ".mapping: expected no mapping in an engine of type http, got a list"},
        {H ", remote_model: x",
         ".remote_model: expected no remote_model in an engine of type http, got \"x\""},
        {H ", memory: 1GiB", ".memory: expected no memory in an engine of type http, got \"1GiB\""},
        {T ", health: /x", ".health: expected no health in an engine of type triton, got \"/x\""},
        {T ", output: 1GiB",
         ".output: expected no output in an engine of type triton, got \"1GiB\""},
        {O ", command: [/x]",
         ".command: expected no command in an engine of type openai, got a list"},
        {P ", url: http://h",
         ".url: expected no url in an engine of type process, got \"http://h\""},
        {P ", key_file: /k",
         ".key_file: expected no key_file in an engine of type process, got \"/k\""},
        /* rules between keys */
        {"type: http, url: \"grpc://h\", models: [a/b]",
         ".url: expected an http:// or https:// URL in an engine of type http, got \"grpc://h\""},
        {"type: openai, url: \"grpcs://h\", models: [a/b]",
         ".url: expected an http:// or https:// URL in an engine of type openai, got "
         "\"grpcs://h\""},
        {H ", ca_file: /c",
         ".ca_file: expected it beside a URL of https:// or grpcs:// only, got \"/c\""},
        {T ", ca_file: /c",
         ".ca_file: expected it beside a URL of https:// or grpcs:// only, got \"/c\""},
        {"type: process, models: [a/b], command: [run.sh]",
         ".command[0]: expected the absolute path of a program, got \"run.sh\""},
        {"type: triton, url: \"grpc://h\", models: [a/b], mapping: [stable-diffusion, other]",
         ".mapping[1]: expected the name of one of \"mappings\" or of those compiled in "
         "(prompt-to-picture, prompt-to-pixels, prompt-to-stream, picture-to-picture, "
         "prompt-to-video, stable-diffusion, tensorrt-diffusion), got \"other\""},
        {"type: triton, url: \"grpc://h\", models: [a/b, a/c], mapping: [m]",
         ".mapping: expected one that is for a/b, too"},
        {"type: triton, url: http://h/, models: [a/b], mapping: [prompt-to-stream]",
         ".mapping[0]: expected a grpc:// or grpcs:// URL beside a mapping that is decoupled, got "
         "\"prompt-to-stream\""},
        /* ranges */
        {B ", weight: 0", ".weight: expected a whole number from 1 to 1000, got \"0\""},
        {B ", weight: 1001", ".weight: expected a whole number from 1 to 1000, got \"1001\""},
        {P ", memory: 15MiB",
         ".memory: expected a size (such as 64KiB) from 16MiB to 1TiB, got \"15MiB\""},
        {P ", output: 1023B",
         ".output: expected a size (such as 64KiB) from 1KiB to 4GiB, got \"1023B\""},
        {"type: process, models: [a/b], command: []",
         ".command: expected a list of 1 to 64 entries, each text, got 0"},
        {H ", health: health", ".health: expected a path that begins with /, got \"health\""},
        {P ", slots: 65",
         ".slots: expected a whole number from 1 to 64 in an engine of type process, got \"65\""},
        {O ", remote_model: ''", ".remote_model: expected " NAME_WORDS ", got \"\""},
        {O ", remote_model: \"a\\nb\"", ".remote_model: expected " NAME_WORDS ", got \"a\\x0ab\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rd_config *config = NULL;
        struct rd_why why = {""};
        RD_AUTO_BUF struct rd_buf yaml, message;
        rd_buf_init(&yaml, 4096);
        rd_buf_init(&message, 4096);
        rd_buf_printf(&yaml,
                      "mappings: [{name: m, models: [x/y],\n"
                      "  inputs: [{name: P, field: prompt, datatype: BYTES}],\n"
                      "  outputs: [{name: I, gives: image, datatype: BYTES}]}]\n"
                      "engines:\n  - {name: e, %s}\n",
                      rows[i].engine);
        rd_buf_printf(&message, "r.yaml:5: engines[0]%s", rows[i].message);
        assert_int_equal(rd_config_load(yaml.data, yaml.len, "r.yaml", &config, &why),
                         RD_ERR_CONFIG);
        assert_string_equal(why.text, message.data);
    }
}

static void deadlines_have_a_range(void **state)
{
    (void)state;
    struct rd_config *config = load("jobs: {deadline: 168h}");
    struct rd_why why;
    assert_true(config->jobs_deadline_ms == 168ull * 3600000);
    rd_config_unref(config);
    config = NULL;
    assert_int_equal(rd_config_load("jobs: {deadline: 999ms}", 23, "r.yaml", &config, &why),
                     RD_ERR_CONFIG);
    assert_string_equal(why.text, "r.yaml:1: jobs.deadline: expected a duration (such as 30s) from "
                                  "1s to 168h, got \"999ms\"");
}

/* ---- the same ---- */

#define MAPPING(inputs, outputs)                                                                   \
    "mappings: [{name: m, inputs: [" inputs "], outputs: [" outputs "]}]\n"
#define IN "{name: P, field: prompt, datatype: BYTES}"
#define OUT "{name: I, gives: image, datatype: BYTES}"
#define GPU(more) "engines: [{name: e, type: triton, url: \"grpcs://h\", models: [a/b]" more "}]\n"
#define NAMED ", mapping: [m]"

static bool same(const char *a, const char *b)
{
    struct rd_config *x = load(a);
    struct rd_config *y = load(b);
    bool got = rd_config_engine_same(&x->engines[0], &y->engines[0]);
    assert_int_equal(rd_config_engine_same(&y->engines[0], &x->engines[0]), got);
    rd_config_unref(x);
    rd_config_unref(y);
    return got;
}

static void what_is_the_same(void **state)
{
    (void)state;
    static const char base[] = MAPPING(IN, OUT) GPU(NAMED);
    assert_true(same(base, base));
    assert_true(same("", ""));
    assert_true(same(base, "# the same, with other words around it\n"
                           "limits: {rate: 7}\n" MAPPING("{datatype: BYTES, field: prompt, name: P,"
                                                         " shape: [1]}",
                                                         OUT)
                               GPU(NAMED ", slots: 1, weight: 1, backend: torch")));
    assert_true(same("engines: [{name: e, type: process, models: [a/b], command: [/x, a]}]",
                     "engines: [{name: e, type: process, models: [a/b], command: [/x, a]},"
                     " {name: f, type: builtin}]"));
}

static void what_is_not_the_same(void **state)
{
    (void)state;
    static const char base[] = MAPPING(IN, OUT) GPU(NAMED);
    static const char *const others[] = {
        MAPPING(IN, OUT) GPU(NAMED ", slots: 2"),
        MAPPING(IN, OUT) GPU(NAMED ", weight: 2"),
        MAPPING(IN, OUT) GPU(NAMED ", timeout: 5s"),
        MAPPING(IN, OUT) GPU(NAMED ", backend: nunchaku"),
        MAPPING(IN, OUT) GPU(NAMED ", key_file: /k"),
        MAPPING(IN, OUT) GPU(NAMED ", ca_file: /c"),
        MAPPING(IN, OUT) GPU(", mapping: [m, prompt-to-picture]"),
        GPU(", mapping: [prompt-to-picture]"),
        MAPPING(IN, OUT) "engines: [{name: e, type: triton, url: \"grpcs://i\", models: [a/b]" NAMED
                         "}]",
        MAPPING(IN, OUT) "engines: [{name: f, type: triton, url: \"grpcs://h\", models: [a/b]" NAMED
                         "}]",
        MAPPING(IN, OUT) "engines: [{name: e, type: triton, url: \"grpcs://h\", models: [a/c]" NAMED
                         "}]",
        MAPPING(IN, OUT) "engines: [{name: e, type: triton, url: \"grpcs://h\", models: [a/b, "
                         "a/c]" NAMED "}]",
        MAPPING("{name: Q, field: prompt, datatype: BYTES}", OUT) GPU(NAMED),
        MAPPING("{name: P, field: request, datatype: BYTES}", OUT) GPU(NAMED),
        MAPPING("{name: P, value: x, datatype: BYTES}", OUT) GPU(NAMED),
        MAPPING("{name: P, field: prompt, datatype: BYTES, shape: [1, 1]}", OUT) GPU(NAMED),
        MAPPING("{name: P, field: prompt, datatype: BYTES, optional: true}", OUT) GPU(NAMED),
        MAPPING(IN ", {name: S, field: seed, datatype: INT64}", OUT) GPU(NAMED),
        MAPPING(IN, "{name: I, gives: video, datatype: BYTES}") GPU(NAMED),
        MAPPING(IN, "{name: I, gives: image, datatype: BYTES, shape: [1]}") GPU(NAMED),
        MAPPING(IN, "{name: I, gives: image, datatype: UINT8}") GPU(NAMED),
        "mappings: [{name: m, model: x, inputs: [" IN "], outputs: [" OUT "]}]\n" GPU(NAMED),
        "mappings: [{name: m, version: 1, inputs: [" IN "], outputs: [" OUT "]}]\n" GPU(NAMED),
        "mappings: [{name: m, decoupled: true, inputs: [" IN "], outputs: [" OUT "]}]\n" GPU(NAMED),
        "mappings: [{name: m, tasks: [t2i], inputs: [" IN "], outputs: [" OUT "]}]\n" GPU(NAMED),
        "mappings: [{name: m, models: [a/b], inputs: [" IN "], outputs: [" OUT "]}]\n" GPU(NAMED),
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (same(base, others[i])) {
            fail_msg("taken for the same: %s", others[i]);
        }
    }
    static const char *const pairs[][2] = {
        {MAPPING(IN, "{name: I, gives: image, datatype: FP32}") GPU(NAMED),
         MAPPING(IN, "{name: I, gives: image, datatype: FP32, range: -1..1}") GPU(NAMED)},
        {"engines: [{name: e, " O "}]", "engines: [{name: e, " O ", remote_model: b}]"},
        {"engines: [{name: e, " O "}]", "engines: [{name: e, " O ", health: /h}]"},
        {"engines: [{name: e, " O "}]", "engines: [{name: e, " H "}]"},
        {"engines: [{name: e, " P "}]", "engines: [{name: e, " P ", memory: 1GiB}]"},
        {"engines: [{name: e, " P "}]", "engines: [{name: e, " P ", output: 1GiB}]"},
        {"engines: [{name: e, " P "}]",
         "engines: [{name: e, type: process, models: [a/b], command: [/x, -v]}]"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        assert_false(same(pairs[i][0], pairs[i][1]));
    }
}

/* ---- references ---- */

static void *hold_and_let_go(void *ctx)
{
    for (int i = 0; i < 10000; i++) {
        struct rd_config *config = rd_config_ref(ctx);
        if (config->engines_count != 1) {
            return ctx;
        }
        rd_config_unref(config);
    }
    rd_config_unref(ctx); /* the thread's own; the last of all frees */
    return NULL;
}

static void references_are_counted(void **state)
{
    (void)state;
    struct rd_config *config = load("");
    pthread_t threads[4];
    assert_ptr_equal(rd_config_ref(NULL), NULL);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hold_and_let_go, rd_config_ref(config)),
                         0);
    }
    rd_config_unref(config);
    for (int i = 0; i < 4; i++) {
        void *wrong = NULL;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_has_its_keys), cmocka_unit_test(each_rule_refuses),
        cmocka_unit_test(deadlines_have_a_range), cmocka_unit_test(what_is_the_same),
        cmocka_unit_test(what_is_not_the_same),   cmocka_unit_test(references_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
