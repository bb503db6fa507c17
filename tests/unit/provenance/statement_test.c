/* SPDX-License-Identifier: Apache-2.0
 *
 * Statements: read back with jansson and compared member by member with the facts; prompts and
 * unknown fields never stand in clear, and the owner of the salt can show what they were; hostile
 * text stays inside its string; the time that writing one takes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "fixture.h"
#include "provenance/verify.h"

static const uint8_t salt[RD_SALT_LEN] = {1, 2, 3, 4};

/* A request with its facts. The strings are literals, the rest stands in the struct itself. */
struct sample {
    struct rd_generation generation;
    struct rd_hash hash;
    struct rd_engine_report report;
    struct rd_statement_facts facts;
};

static void fill(struct sample *sample, const char *json)
{
    *sample = (struct sample){
        .generation = {.modality = RD_MODALITY_IMAGE,
                       .task = RD_TASK_T2I,
                       .family = "builtin",
                       .model = "plasma",
                       .backend = RD_BACKEND_BUILTIN,
                       .format = &rd_formats[0],
                       .media = RD_MEDIA_PNG,
                       .prompt = "a secret garden",
                       .negative_prompt = "hidden weeds",
                       .seed = 4294967295u,
                       .count = 4,
                       .json = json,
                       .json_len = strlen(json)},
        .hash = hash_of("abc", 3),
        .report = {.device_ns = 1500000001u, .source = RD_DEVICE_TIME_CPU, .device = "cpu"},
    };
    sample->facts = (struct rd_statement_facts){.hash = &sample->hash,
                                                .size = 3,
                                                .generation = &sample->generation,
                                                .index = 1,
                                                .request_id = "req_1",
                                                .builder_id = "https://gateway.example",
                                                .engine = "local",
                                                .report = &sample->report,
                                                .started_ms = 1795348096042u,
                                                .finished_ms = 1795348097999u,
                                                .prompt_salt = salt};
}

#define REQUEST                                                                                    \
    "{\"count\":4,\"lora\":[{\"id\":\"anti_blur\",\"weight\":1.0}],\"model\":\"plasma\","          \
    "\"my_secret\":{\"a\":[1,{\"b\":\"}]\"}]},\"negative_prompt\":\"hidden weeds\","               \
    "\"prompt\":\"a secret garden\",\"seed\":4294967295,\"zz\":null}"

static char *write_text(const struct sample *sample)
{
    struct rd_buf out;
    size_t len = 0;
    rd_buf_init(&out, 65536);
    assert_int_equal(rd_statement_write(&out, &sample->facts), RD_OK);
    char *text = rd_buf_steal(&out, &len);
    assert_non_null(text);
    assert_int_equal(strlen(text), len);
    assert_memory_equal(text, RD_STATEMENT_PREFIX, sizeof RD_STATEMENT_PREFIX - 1);
    return text;
}

static json_t *write_json(const struct sample *sample)
{
    RD_AUTO_FREE char *text = write_text(sample);
    json_error_t error;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        fail_msg("%s in %s", error.text, text);
    }
    /* Compact, and nothing lost by the parser: written again it is the same but for numbers. */
    return root;
}

/* The value at a path such as "predicate.runDetails.builder.id"; numbers index arrays. */
static const json_t *at(const json_t *value, const char *path)
{
    char part[64];
    while (value != NULL && *path != '\0') {
        size_t len = strcspn(path, ".");
        assert_true(len < sizeof part);
        memcpy(part, path, len);
        part[len] = '\0';
        value = json_is_array(value) ? json_array_get(value, strtoul(part, NULL, 10))
                                     : json_object_get(value, part);
        path += len + (path[len] == '.');
    }
    return value;
}

static void assert_text(const json_t *root, const char *path, const char *expected)
{
    const char *got = json_string_value(at(root, path));
    if (got == NULL) {
        fail_msg("no text at %s", path);
    }
    assert_string_equal(got, expected);
}

static void every_fact_stands_in_its_place(void **state)
{
    (void)state;
    struct sample sample;
    fill(&sample, REQUEST);
    json_auto_t *root = write_json(&sample);
    char asset[RD_ID_ASSET_LEN + 1];
    rd_id_asset(sample.hash.blake3, asset);
    assert_text(root, "_type", "https://in-toto.io/Statement/v1");
    assert_int_equal(json_array_size(at(root, "subject")), 1);
    assert_text(root, "subject.0.name", asset);
    assert_text(root, "subject.0.digest.sha256",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_text(root, "subject.0.digest.blake3",
                "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
    assert_text(root, "predicateType", "https://slsa.dev/provenance/v1");
    const json_t *definition = at(root, "predicate.buildDefinition");
    assert_text(definition, "buildType", "urn:render:generation:v1");
    assert_int_equal(json_integer_value(at(definition, "externalParameters.seed")), 4294967295);
    assert_text(definition, "externalParameters.lora.0.id", "anti_blur");
    const json_t *internal = at(definition, "internalParameters");
    assert_int_equal(json_integer_value(at(internal, "index")), 1);
    assert_int_equal(json_integer_value(at(internal, "count")), 4);
    assert_int_equal(json_integer_value(at(internal, "seed")), 0); /* seed + 1, modulo 2^32 */
    assert_int_equal(json_integer_value(at(internal, "size")), 3);
    assert_text(internal, "media", "image/png");
    assert_text(internal, "backend", "builtin");
    assert_text(internal, "engine", "local");
    assert_text(definition, "resolvedDependencies.0.uri", "urn:render:model:builtin/plasma");
    const json_t *run = at(root, "predicate.runDetails");
    assert_text(run, "builder.id", "https://gateway.example");
    assert_text(run, "builder.version.render", RD_VERSION);
    assert_text(run, "metadata.invocationId", "req_1");
    assert_text(run, "metadata.startedOn", "2026-11-22T11:48:16Z");
    assert_text(run, "metadata.finishedOn", "2026-11-22T11:48:17Z");
    const json_t *device = at(run, "byproducts.0.annotations");
    assert_true(json_real_value(at(device, "seconds")) == 1.500000001);
    assert_text(device, "source", "cpu");
    assert_text(device, "device", "cpu");
    assert_int_equal(json_integer_value(at(device, "outputs")), 4);
}

static void what_is_unknown_is_null(void **state)
{
    (void)state;
    struct sample sample;
    fill(&sample, "{}");
    sample.report = (struct rd_engine_report){.device_ns = 77};
    sample.facts.engine = NULL;
    sample.facts.request_id = NULL;
    for (int round = 0; round < 2; round++) {
        json_auto_t *root = write_json(&sample);
        const json_t *device = at(root, "predicate.runDetails.byproducts.0.annotations");
        assert_true(json_is_null(at(device, "seconds"))); /* not 0, and not 77 ns */
        assert_true(json_is_null(at(device, "source")));
        assert_true(json_is_null(at(device, "device")));
        assert_true(json_is_null(at(root, "predicate.runDetails.metadata.invocationId")));
        assert_true(json_is_null(at(root, "predicate.buildDefinition.internalParameters.engine")));
        assert_int_equal(json_object_size(at(root, "predicate.buildDefinition.externalParameters")),
                         0);
        sample.facts.report = NULL;
    }
}

static void sources_stand_by_digest(void **state)
{
    (void)state;
    struct sample sample;
    fill(&sample,
         "{\"image\":\"https://x.example/a.png?token=hunter2#f\",\"mask\":\"data:sha256:00\"}");
    static const struct rd_lora loras[] = {{"a\"b", 1.0}, {"c", 0.5}};
    sample.generation.loras = loras;
    sample.generation.loras_count = 2;
    sample.generation.image = (struct rd_source){
        .kind = RD_SOURCE_URL, .url = "https://x.example/a.png?token=hunter2#f", .sha256 = {0xab}};
    sample.generation.mask = (struct rd_source){.kind = RD_SOURCE_DATA, .sha256 = {0xcd}};
    json_auto_t *root = write_json(&sample);
    const json_t *list = at(root, "predicate.buildDefinition.resolvedDependencies");
    assert_int_equal(json_array_size(list), 5);
    assert_text(list, "1.uri", "urn:render:lora:a\"b");
    assert_text(list, "2.uri", "urn:render:lora:c");
    assert_text(list, "3.name", "image");
    assert_text(list, "3.uri", "https://x.example/a.png");
    assert_text(list, "3.digest.sha256",
                "ab00000000000000000000000000000000000000000000000000000000000000");
    assert_text(list, "4.name", "mask");
    assert_null(at(list, "4.uri"));
    assert_text(list, "4.digest.sha256",
                "cd00000000000000000000000000000000000000000000000000000000000000");
    const json_t *parameters = at(root, "predicate.buildDefinition.externalParameters");
    assert_text(parameters, "image", "https://x.example/a.png");
    assert_text(parameters, "mask", "data:sha256:00");
    RD_AUTO_FREE char *text = write_text(&sample);
    assert_null(strstr(text, "hunter2"));
    sample.generation.image = (struct rd_source){.kind = RD_SOURCE_ASSET, .url = "a_0123"};
    json_auto_t *again = write_json(&sample);
    assert_text(again, "predicate.buildDefinition.resolvedDependencies.3.uri",
                "https://gateway.example/a/a_0123");
}

static void assert_commits(const json_t *parameters, const char *field, const char *content)
{
    uint8_t field_salt[RD_SALT_LEN];
    uint8_t digest[32];
    char expected[8 + 64] = "sha256:";
    uint8_t joined[512];
    rd_statement_field_salt(salt, field, field_salt);
    memcpy(joined, field_salt, RD_SALT_LEN);
    memcpy(joined + RD_SALT_LEN, content, strlen(content));
    rd_hash_sha256(joined, RD_SALT_LEN + strlen(content), digest);
    rd_text_hex(digest, 32, expected + 7);
    assert_text(at(parameters, field), "commitment", expected);
}

static void prompts_and_unknown_fields_are_private(void **state)
{
    (void)state;
    struct sample sample;
    fill(&sample, REQUEST);
    RD_AUTO_FREE char *text = write_text(&sample);
    static const char *const secrets[] = {"secret garden", "hidden weeds", "my_secret", "zz"};
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
        assert_null(strstr(text, secrets[i]));
    }
    json_auto_t *root = write_json(&sample);
    const json_t *parameters = at(root, "predicate.buildDefinition.externalParameters");
    assert_int_equal(json_object_size(parameters), 7);
    assert_commits(parameters, "prompt", "a secret garden");
    assert_commits(parameters, "negative_prompt", "hidden weeds");
    assert_commits(parameters, "other", "{\"my_secret\":{\"a\":[1,{\"b\":\"}]\"}]},\"zz\":null}");
}

/* Equal prompts of two requests, or of two fields, look different. */
static void commitments_do_not_tell_equal_texts(void **state)
{
    (void)state;
    struct sample sample;
    fill(&sample, "{\"negative_prompt\":\"x\",\"prompt\":\"x\"}");
    sample.generation.prompt = "x";
    sample.generation.negative_prompt = "x";
    json_auto_t *first = write_json(&sample);
    const char *prompt = json_string_value(
        at(first, "predicate.buildDefinition.externalParameters.prompt.commitment"));
    const char *negative = json_string_value(
        at(first, "predicate.buildDefinition.externalParameters.negative_prompt.commitment"));
    assert_string_not_equal(prompt, negative);
    uint8_t secret[32] = {9};
    uint8_t one[RD_SALT_LEN];
    uint8_t two[RD_SALT_LEN];
    rd_statement_salt(secret, "req_1", one);
    rd_statement_salt(secret, "req_2", two);
    assert_memory_not_equal(one, two, RD_SALT_LEN);
    sample.facts.prompt_salt = one;
    json_auto_t *second = write_json(&sample);
    assert_string_not_equal(
        prompt, json_string_value(
                    at(second, "predicate.buildDefinition.externalParameters.prompt.commitment")));
    /* Without a salt: a fresh one each time, so that the text is private all the same. */
    sample.facts.prompt_salt = NULL;
    json_auto_t *third = write_json(&sample);
    json_auto_t *fourth = write_json(&sample);
    assert_false(json_equal(third, fourth));
}

static void an_owner_can_reveal(void **state)
{
    (void)state;
    struct sample sample;
    fill(&sample, REQUEST);
    RD_AUTO_FREE char *text = write_text(&sample);
    struct rd_verdict verdict = {.signature_ok = true, .statement_ok = true};
    verdict.statement = text;
    verdict.statement_len = strlen(text);
    uint8_t field_salt[RD_SALT_LEN];
    rd_statement_field_salt(salt, "prompt", field_salt);
    assert_true(rd_verify_revealed(&verdict, "prompt", "a secret garden", 15, field_salt));
    assert_false(rd_verify_revealed(&verdict, "prompt", "a secret gardem", 15, field_salt));
    assert_false(rd_verify_revealed(&verdict, "prompt", "a secret garden", 14, field_salt));
    assert_false(
        rd_verify_revealed(&verdict, "negative_prompt", "a secret garden", 15, field_salt));
    assert_false(rd_verify_revealed(&verdict, "seed", "", 0, field_salt));
    assert_false(rd_verify_revealed(&verdict, "prompt", "a secret garden", 15, salt));
    verdict.signature_ok = false; /* an unverified statement reveals nothing */
    assert_false(rd_verify_revealed(&verdict, "prompt", "a secret garden", 15, field_salt));
}

static void long_texts_are_committed_to_whole(void **state)
{
    (void)state;
    static const size_t lengths[] = {15999, 16000, 16001, 100000};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        RD_AUTO_FREE uint8_t *text = rd_mem_alloc(RD_SALT_LEN + lengths[i]);
        assert_non_null(text);
        memcpy(text, salt, RD_SALT_LEN);
        memset(text + RD_SALT_LEN, 'p', lengths[i]);
        uint8_t expected[32];
        uint8_t got[32];
        rd_hash_sha256(text, RD_SALT_LEN + lengths[i], expected);
        assert_int_equal(rd_statement_commit(salt, text + RD_SALT_LEN, lengths[i], got), RD_OK);
        assert_memory_equal(got, expected, 32);
    }
}

static void hostile_text_stays_in_its_string(void **state)
{
    (void)state;
    struct sample sample;
    fill(&sample, "{\"prompt\":\"\\\"},\\u0000\"}");
    static const char hostile[] = "\"},\"x\":{\"\n\\\xff\x01";
    sample.facts.engine = hostile;
    sample.facts.request_id = hostile;
    sample.facts.builder_id = hostile;
    sample.generation.prompt = hostile;
    (void)snprintf(sample.report.device, sizeof sample.report.device, "%s", hostile);
    json_auto_t *root = write_json(&sample);
    static const char cleaned[] = "\"},\"x\":{\"\n\\\xef\xbf\xbd\x01";
    assert_text(root, "predicate.runDetails.builder.id", cleaned);
    assert_text(root, "predicate.runDetails.metadata.invocationId", cleaned);
    assert_text(root, "predicate.runDetails.byproducts.0.annotations.device", cleaned);
    assert_int_equal(json_object_size(root), 4);
}

static void a_request_that_is_no_object_is_internal(void **state)
{
    (void)state;
    static const char *const broken[] = {"",           "{",
                                         "}",          "[]",
                                         "null",       "{\"a\"",
                                         "{\"a\":",    "{\"a\":}",
                                         "{\"a\":1",   "{\"a\":1,",
                                         "{\"a\":\"",  "{\"a\":\"\\",
                                         "{\"a\":{}",  "{a:1}",
                                         "{\"a\":1}x", "{\"a\":1]",
                                         "{\"a\" :1}", "{\"prompt\"}",
                                         "{,}",        "{\"a\":1 \"b\":2}}"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct sample sample;
        RD_AUTO_BUF struct rd_buf out;
        rd_buf_init(&out, 65536);
        fill(&sample, "{}");
        /* a copy of just this length, so that a sanitizer sees one byte too far */
        RD_AUTO_FREE char *copy = rd_mem_alloc(strlen(broken[i]));
        assert_non_null(copy);
        memcpy(copy, broken[i], strlen(broken[i]));
        sample.generation.json = copy;
        sample.generation.json_len = strlen(broken[i]);
        if (rd_statement_write(&out, &sample.facts) != RD_ERR_INTERNAL) {
            fail_msg("accepted: %s", broken[i]);
        }
    }
    struct sample sample;
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, 65536);
    fill(&sample, "{}");
    sample.generation.json = NULL;
    assert_int_equal(rd_statement_write(&out, &sample.facts), RD_ERR_INTERNAL);
}

static void the_ceiling_holds_at_every_length(void **state)
{
    (void)state;
    struct sample sample;
    fill(&sample, REQUEST);
    RD_AUTO_FREE char *text = write_text(&sample);
    size_t len = strlen(text);
    for (size_t max = 0; max <= len; max++) {
        RD_AUTO_BUF struct rd_buf tight;
        rd_buf_init(&tight, max);
        assert_int_equal(rd_statement_write(&tight, &sample.facts),
                         max == len ? RD_OK : RD_ERR_TOO_LARGE);
    }
}

/* The figure of the design is 5 us. A test on a busy machine can only be generous: this one finds a
 * writer that became a hundred times slower. The best of several rounds is printed. */
static void it_is_fast(void **state)
{
    (void)state;
    enum { ROUNDS = 5, EACH = 500 };
    struct sample sample;
    fill(&sample, REQUEST);
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, 65536);
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = rd_clock_thread_cpu_ns();
        for (int i = 0; i < EACH; i++) {
            rd_buf_reset(&out);
            assert_int_equal(rd_statement_write(&out, &sample.facts), RD_OK);
        }
        uint64_t took = (rd_clock_thread_cpu_ns() - start) / EACH;
        best = took < best ? took : best;
    }
    print_message("# a statement of %zu bytes takes %llu ns\n", out.len, (unsigned long long)best);
    assert_true(best < 500000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fact_stands_in_its_place),
        cmocka_unit_test(what_is_unknown_is_null),
        cmocka_unit_test(sources_stand_by_digest),
        cmocka_unit_test(prompts_and_unknown_fields_are_private),
        cmocka_unit_test(commitments_do_not_tell_equal_texts),
        cmocka_unit_test(an_owner_can_reveal),
        cmocka_unit_test(long_texts_are_committed_to_whole),
        cmocka_unit_test(hostile_text_stays_in_its_string),
        cmocka_unit_test(a_request_that_is_no_object_is_internal),
        cmocka_unit_test(the_ceiling_holds_at_every_length),
        cmocka_unit_test(it_is_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
