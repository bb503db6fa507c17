/* SPDX-License-Identifier: Apache-2.0
 *
 * The scanner of JSON that arrives: every document is fed whole, byte by byte and in odd pieces,
 * and must say the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "engine/openai/stream.h"

/* What was said, as text: "P0[...]" a picture, "3=abc;" a field. */
struct heard {
    char text[4096];
    size_t len;
    uint8_t *bytes; /* of pictures, when set */
    size_t bytes_len;
    rd_err refuse; /* what bytes() gives */
};

static void hear(struct heard *heard, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void hear(struct heard *heard, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(heard->text + heard->len, sizeof heard->text - heard->len, fmt, args);
    va_end(args);
    assert_true(len >= 0 && (size_t)len < sizeof heard->text - heard->len);
    heard->len += (size_t)len;
}

static rd_err on_picture(void *ctx, unsigned index)
{
    hear(ctx, "P%u[", index);
    return RD_OK;
}

static rd_err on_bytes(void *ctx, const uint8_t *bytes, size_t len)
{
    struct heard *heard = ctx;
    assert_true(len > 0);
    if (heard->bytes != NULL) {
        memcpy(heard->bytes + heard->bytes_len, bytes, len);
        heard->bytes_len += len;
    } else {
        hear(heard, "%.*s", (int)len, (const char *)bytes);
    }
    return heard->refuse;
}

static rd_err on_picture_end(void *ctx)
{
    hear(ctx, "]");
    return RD_OK;
}

static rd_err on_text(void *ctx, enum rd_openai_field field, const char *text, size_t len)
{
    assert_int_equal(strlen(text), len);
    hear(ctx, "%d=%s;", (int)field, text);
    return RD_OK;
}

static rd_err scan(const char *json, size_t len, size_t step, struct heard *heard,
                   struct rd_why *why)
{
    static struct rd_openai_stream stream;
    const struct rd_openai_events events = {heard, on_picture, on_bytes, on_picture_end, on_text};
    memset(&stream, 0xa5, sizeof stream); /* init() must not count on zeros */
    rd_openai_stream_init(&stream, &events);
    for (size_t at = 0; at < len; at += step) {
        RD_TRY(rd_openai_stream_feed(&stream, json + at, len - at < step ? len - at : step, why));
    }
    return rd_openai_stream_end(&stream, why);
}

static const size_t steps[] = {1, 2, 3, 5, 7, 4096, 1 << 30};

static void expect(const char *json, const char *said)
{
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct heard heard = {.len = 0};
        struct rd_why why = {""};
        if (scan(json, strlen(json), steps[i], &heard, &why) != RD_OK) {
            fail_msg("%s: %s", json, why.text);
        }
        assert_string_equal(heard.text, said);
    }
}

static void refuse(const char *json, const char *words)
{
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct heard heard = {.len = 0};
        struct rd_why why = {""};
        assert_int_equal(scan(json, strlen(json), steps[i], &heard, &why), RD_ERR_BACKEND_FAILED);
        if (strstr(why.text, words) == NULL) {
            fail_msg("%s in pieces of %zu: '%s' is not in '%s'", json, steps[i], words, why.text);
        }
    }
}

static void test_fields(void **state)
{
    (void)state;
    char said[256];
    expect("{\"data\":[{\"b64_json\":\"aGVsbG8=\"}]}", "P0[hello]");
    expect(" { \"b64_json\" : \"aGVsbG8h\" } \r\n\t", "P0[hello!]");
    expect("{\"data\":[{\"b64_json\":\"YQ==\"},{\"b64_json\":\"Yg==\"},{}]}", "P0[a]P1[b]");
    expect("{\"data\":[{\"b64_json\":\"\"}]}", "P0[]");
    expect("{\"data\":[{\"b64_json\":null,\"url\":\"http://x/1.png\"}]}", "2=http://x/1.png;");
    (void)snprintf(said, sizeof said, "%d=in_progress;%d=42;%d=12.5e0;", RD_OPENAI_STATUS,
                   RD_OPENAI_PROGRESS, RD_OPENAI_SECONDS);
    expect("{\"status\":\"in_progress\",\"progress\":42,\"inference_time_s\":12.5e0}", said);
    (void)snprintf(said, sizeof said, "%d=no;%d=bad_prompt;%d=x;", RD_OPENAI_ERROR,
                   RD_OPENAI_ERROR_CODE, RD_OPENAI_ERROR_TYPE);
    expect("{\"error\":{\"message\":\"no\",\"code\":\"bad_prompt\",\"type\":\"x\",\"param\":null}}",
           said);
    (void)snprintf(said, sizeof said, "%d=no;%d=no;%d=no;", RD_OPENAI_ERROR, RD_OPENAI_MESSAGE,
                   RD_OPENAI_MESSAGE);
    expect("{\"error\":\"no\",\"detail\":[{\"loc\":[1],\"msg\":\"no\"}],\"message\":\"no\"}", said);
    (void)snprintf(said, sizeof said, "%d=;", RD_OPENAI_LOADED);
    expect("{\"loaded_models\":[]}", said);
    /* Of the same names elsewhere nothing is taken. */
    expect(
        "{\"x\":{\"b64_json\":\"!\",\"data\":[{\"b64_json\":\"!\"}]},\"data\":{\"b64_json\":\"!\"}"
        ",\"y\":[[{\"id\":1}],[]],\"error\":{\"error\":{\"message\":\"m\"}}}",
        "");
    expect("[1,-0.5E+3,true,false,null,\"x\",{},[]]", "");
    expect("\"b64_json\"", "");
    expect("7", "");
}

static void test_escapes(void **state)
{
    (void)state;
    expect("{\"b64\\u005fjson\":\"\\u0061GVsbG8\\u003D\"}", "P0[hello]");
    expect("{\"b64_json\":\"Pz8\\/Pz8\\u002b\"}", "P0[????"
                                                  "?>]");
    char said[128];
    (void)snprintf(said, sizeof said, "%d=\"\\/\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80;",
                   RD_OPENAI_ID);
    expect("{\"id\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20AC\\ud83d\\ude00\"}", said);
    /* Halves without their other half. */
    (void)snprintf(said, sizeof said,
                   "%d=\xef\xbf\xbdx\xef\xbf\xbd\xef\xbf\xbd\nY\xef\xbf\xbd\xef\xbf\xbd"
                   "A\xef\xbf\xbd;",
                   RD_OPENAI_ID);
    expect("{\"id\":\"\\ud83dx\\ude00\\ud83d\\nY\\ud83d\\ud83d\\u0041\\ud83d\"}", said);
}

static void test_not_json(void **state)
{
    (void)state;
    static const struct {
        const char *json, *words;
    } cases[] = {
        {"", "ends early, inside its JSON, at byte 0"},
        {"<html>", "expected a value at byte 0"},
        {"{\"a\":1", "at byte 6"},
        {"{\"a\":1,}", "expected a key at byte 7"},
        {"{a:1}", "a key or '}' at byte 1"},
        {"{\"a\" 1}", "':' at byte 5"},
        {"{\"a\":1 2}", "',' or an end at byte 7"},
        {"[1,]", "expected a value at byte 3"},
        {"[1}", "',' or an end at byte 2"},
        {"{\"a\":1]", "',' or an end at byte 6"},
        {"]", "a value at byte 0"},
        {"{} x", "nothing more at byte 3"},
        {"{}{}", "nothing more at byte 2"},
        {"[\"\n\"]", "control character in a string, byte 2"},
        {"[\"\\x\"]", "an escape at byte 3"},
        {"[\"\\u12g4\"]", "hexadecimal digit at byte 6"},
        {"[\"abc", "ends early"},
        {"[nul]", "true, false or null at byte 4"},
        {"[nulll]", "at byte 6"},
        {"[01]", "at byte 3"},
        {"[-]", "at byte 2"},
        {"[1.]", "at byte 3"},
        {"[1e]", "at byte 3"},
        {"[.5]", "a value or ']' at byte 1"},
        {"[+1]", "a value or ']' at byte 1"},
        {"[NaN]", "a value or ']' at byte 1"},
        {"1e5e5", "at byte 5"},
        {"-", "at byte 1"},
        {"[111111111111111111111111111111111]", "a number, true, false or null at byte 33"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        refuse(cases[i].json, cases[i].words);
    }
    expect("[11111111111111111111111111111111]", ""); /* RD_OPENAI_WORD_MAX digits */
}

static void test_not_base64(void **state)
{
    (void)state;
    static const char *const bad[] = {"a",        "aa",        "aaa",       "aaaaa",   "=",
                                      "====",     "a===",      "aGVsbG9=",  "YR==",    "YQ==YQ==",
                                      "YQ=a",     "aaaaYQ==a", "aaaa aaaa", "aaaa\\n", "aa-_",
                                      "aaaa!aaa", "\\u0000AAA"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char json[128];
        (void)snprintf(json, sizeof json, "{\"b64_json\":\"%s\"}", bad[i]);
        refuse(json, "base64");
    }
}

static void test_depth(void **state)
{
    (void)state;
    char json[2 * RD_OPENAI_DEPTH_MAX + 3];
    memset(json, '[', RD_OPENAI_DEPTH_MAX);
    memset(json + RD_OPENAI_DEPTH_MAX, ']', RD_OPENAI_DEPTH_MAX);
    json[2 * RD_OPENAI_DEPTH_MAX] = '\0';
    expect(json, "");
    memset(json, '[', RD_OPENAI_DEPTH_MAX + 1);
    memset(json + RD_OPENAI_DEPTH_MAX + 1, ']', RD_OPENAI_DEPTH_MAX + 1);
    json[2 * RD_OPENAI_DEPTH_MAX + 2] = '\0';
    refuse(json, "nested deeper than 32 at byte 32");
}

/* Keys that do not fit are passed over, and nothing below or behind them is mistaken. */
static void test_long_keys(void **state)
{
    (void)state;
    char json[2048], said[64];
    char key[300];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    (void)snprintf(json, sizeof json,
                   "{\"%s\":{\"b64_json\":\"!\",\"data\":[{\"b64_json\":\"!\"}]},\"error%s\":"
                   "{\"message\":\"x\"},\"id\":\"i\",\"%s\":1,\"data\":[{\"%s\":{\"x\":[]},"
                   "\"b64_json\":\"YQ==\"}]}",
                   key, key, key, key);
    (void)snprintf(said, sizeof said, "%d=i;P0[a]", RD_OPENAI_ID);
    expect(json, said);
}

static void test_texts_are_cut(void **state)
{
    (void)state;
    char json[2 * RD_OPENAI_TEXT_MAX], said[2 * RD_OPENAI_TEXT_MAX], text[RD_OPENAI_TEXT_MAX + 9];
    for (int more = 0; more < 8; more += 7) {
        memset(text, 'x', sizeof text);
        text[RD_OPENAI_TEXT_MAX + more] = '\0';
        (void)snprintf(json, sizeof json, "{\"id\":\"%s\"}", text);
        text[RD_OPENAI_TEXT_MAX] = '\0';
        (void)snprintf(said, sizeof said, "%d=%s;", RD_OPENAI_ID, text);
        expect(json, said);
    }
}

/* Pictures of sizes around that of what is handed on at once, in pieces of any size. */
static void test_pictures_of_any_size(void **state)
{
    (void)state;
    enum { MOST = 2 * RD_OPENAI_BYTES_MAX + 10 };
    static const char before[] = "{\"data\":[{\"b64_json\":\"", after[] = "\"}]}";
    uint8_t *bytes = malloc(MOST);
    uint8_t *got = malloc(MOST);
    char *json = malloc(RD_TEXT_BASE64_LEN(MOST) + 64);
    assert_true(bytes != NULL && got != NULL && json != NULL);
    for (size_t i = 0; i < MOST; i++) {
        bytes[i] = (uint8_t)(i * 2654435761u >> 11);
    }
    for (size_t len = RD_OPENAI_BYTES_MAX - 9; len < MOST;
         len += len == RD_OPENAI_BYTES_MAX + 9 ? RD_OPENAI_BYTES_MAX - 18 : 1) {
        memcpy(json, before, sizeof before);
        rd_text_base64(bytes, len, json + sizeof before - 1);
        memcpy(json + sizeof before - 1 + RD_TEXT_BASE64_LEN(len), after, sizeof after);
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
            struct heard heard = {.bytes = got};
            struct rd_why why = {""};
            assert_int_equal(scan(json, strlen(json), steps[i], &heard, &why), RD_OK);
            assert_int_equal(heard.bytes_len, len);
            assert_memory_equal(got, bytes, len);
        }
    }
    free(bytes);
    free(got);
    free(json);
}

static void test_an_events_error_is_passed_on(void **state)
{
    (void)state;
    static const char json[] = "{\"b64_json\":\"aGVsbG8h\"}";
    struct heard heard = {.refuse = RD_ERR_DISK_FULL};
    struct rd_why why = {"as it was"};
    assert_int_equal(scan(json, strlen(json), 1, &heard, &why), RD_ERR_DISK_FULL);
    assert_string_equal(why.text, "as it was");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_not_json),
        cmocka_unit_test(test_not_base64),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_long_keys),
        cmocka_unit_test(test_texts_are_cut),
        cmocka_unit_test(test_pictures_of_any_size),
        cmocka_unit_test(test_an_events_error_is_passed_on),
    };
    return cmocka_run_group_tests_name("engine/openai_stream", tests, NULL, NULL);
}
