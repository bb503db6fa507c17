/* SPDX-License-Identifier: Apache-2.0
 *
 * Server-sent events that arrive: every stream is fed whole and in pieces of all small sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "engine/openai/sse.h"

struct heard {
    struct rd_openai_sse sse;
    char text[512]; /* "name:data;" for each event */
    size_t len, refuse_at;
    bool inside;
};

static void hear(struct heard *heard, const char *text, size_t len)
{
    assert_true(len < sizeof heard->text - heard->len);
    memcpy(heard->text + heard->len, text, len);
    heard->len += len;
    heard->text[heard->len] = '\0';
}

static rd_err on_data(void *ctx, const char *data, size_t len)
{
    struct heard *heard = ctx;
    assert_true(len > 0);
    if (!heard->inside) {
        hear(heard, heard->sse.name, strlen(heard->sse.name));
        hear(heard, ":", 1);
    }
    heard->inside = true;
    hear(heard, data, len);
    return heard->refuse_at > 0 && heard->len >= heard->refuse_at ? RD_ERR_DISK_FULL : RD_OK;
}

static rd_err on_end(void *ctx)
{
    struct heard *heard = ctx;
    heard->inside = false;
    hear(heard, ";", 1);
    return RD_OK;
}

static void expect(const char *stream, const char *said)
{
    size_t len = strlen(stream);
    for (size_t step = 1; step <= len + 1; step++) {
        struct heard heard = {.len = 0};
        rd_openai_sse_init(&heard.sse, &heard, on_data, on_end);
        for (size_t at = 0; at < len; at += step) {
            assert_int_equal(
                rd_openai_sse_feed(&heard.sse, stream + at, len - at < step ? len - at : step),
                RD_OK);
        }
        if (strcmp(heard.text, said) != 0) {
            fail_msg("'%s' in pieces of %zu: '%s', not '%s'", stream, step, heard.text, said);
        }
    }
}

static void test_events(void **state)
{
    (void)state;
    expect("data: a\n\n", ":a;");
    expect("data:a\r\n\r\ndata:  b\r\n\r\n", ":a;: b;");
    expect("data:a\r\rdata:b\r\r", ":a;:b;");
    expect("event: done\ndata: {}\n\ndata: x\n\n", "done:{};:x;");
    expect("data: a\ndata: b\ndata:\ndata\n\n", ":a\nb\n\n;");
    expect("\xef\xbb\xbf"
           "data: a\n\n",
           ":a;");
    expect("data: \xef\xbb\xbf"
           "a\n\n",
           ":\xef\xbb\xbf"
           "a;");
    expect(": a comment\n:\nid: 7\nretry: 1\ndata: a:b: c\n\n", ":a:b: c;");
    /* An event without data, one that is cut off, names that are none of ours. */
    expect("event: x\n\ndata: a\n\nevent: y\n\n", ":a;");
    expect("data: a\n\ndata: b\n", ":a;:b");
    expect("dat: a\ndatax: b\ndatadatadata: c\nDATA: d\n\nevents: e\nevent\ndata: f\n\n", ":f;");
    expect("event: a\nevent: b\ndata: x\n\n", "b:x;");
    expect("", "");
    expect("\n\r\n\r\n\n", "");
}

static void test_a_name_that_is_too_long_is_none(void **state)
{
    (void)state;
    char stream[200], said[200];
    for (size_t len = RD_OPENAI_SSE_NAME_MAX; len <= RD_OPENAI_SSE_NAME_MAX + 1; len++) {
        memcpy(stream, "event:", 6);
        memset(stream + 6, 'n', len);
        memcpy(stream + 6 + len, "\ndata:x\n\n", 10);
        bool fits = len <= RD_OPENAI_SSE_NAME_MAX;
        memset(said, 'n', len);
        memcpy(said + (fits ? len : 0), ":x;", 4);
        expect(stream, said);
    }
}

static void test_an_error_is_passed_on(void **state)
{
    (void)state;
    struct heard heard = {.refuse_at = 4};
    rd_openai_sse_init(&heard.sse, &heard, on_data, on_end);
    assert_int_equal(rd_openai_sse_feed(&heard.sse, "data:a\n\ndata:b\n\n", 16), RD_ERR_DISK_FULL);
    assert_string_equal(heard.text, ":a;:b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_a_name_that_is_too_long_is_none),
        cmocka_unit_test(test_an_error_is_passed_on),
    };
    return cmocka_run_group_tests_name("engine/openai_sse", tests, NULL, NULL);
}
