/* SPDX-License-Identifier: Apache-2.0
 *
 * Server-sent events: the standard's own examples, every line end, pieces of every size, limits. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "librender/sse.h"

struct heard {
    char text[512];
    size_t len;
    unsigned count, stop_at;
};

static bool on_event(void *ctx, const char *name, const char *data, uint64_t id)
{
    struct heard *heard = ctx;
    int put = snprintf(heard->text + heard->len, sizeof heard->text - heard->len, "%s=%s#%llu|",
                       name, data, (unsigned long long)id);
    assert_true(put > 0 && heard->len + (size_t)put < sizeof heard->text);
    heard->len += (size_t)put;
    return ++heard->count != heard->stop_at;
}

static const struct {
    const char *stream, *heard;
} rows[] = {
    {"", ""},
    {"data: a\n", ""}, /* not ended */
    {"data: a\n\n", "message=a#0|"},
    {"data:a\r\rdata:b\r\n\r\n", "message=a#0|message=b#0|"},
    {"data: YHOO\ndata: +2\ndata: 10\n\n", "message=YHOO\n+2\n10#0|"},
    {": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
     "message=first event#1|message=second event#0|message= third event#0|"},
    {"data\n\ndata\ndata\n\ndata:", "message=#0|message=\n#0|"},
    {"data:test\n\ndata: test\n\n", "message=test#0|message=test#0|"},
    {"event: started\ndata: {}\nid: 1048577\n\n", "started={}#1048577|"},
    {"event: only a name\n\ndata: x\n\n", "message=x#0|"},
    {"event: 0123456789abcdef0123456789abcdef0\ndata: x\n\n", "message=x#0|"},
    {"event: a\nevent: b\ndata: x\n\n", "b=x#0|"},
    {"id: x\ndata: 1\n\nid: -1\ndata: 2\n\nid: 18446744073709551616\ndata: 3\n\n",
     "message=1#0|message=2#0|message=3#0|"},
    {"\xef\xbb\xbf"
     "data: x\n\n",
     "message=x#0|"},
    {"\n\xef\xbb\xbf"
     "data: x\n\n",
     ""},
    {"retry: 5\nnonsense\nnonsense: 7\n:\n: data: x\ndata: y\n\n", "message=y#0|"},
};

static void test_streams(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t len = strlen(rows[i].stream);
        for (size_t piece = 1; piece <= len + 1; piece++) {
            struct heard heard = {.text = ""};
            struct rd_sse sse;
            rd_sse_init(&sse, on_event, &heard);
            for (size_t at = 0; at < len; at += piece) {
                assert_true(
                    rd_sse_feed(&sse, rows[i].stream + at, len - at < piece ? len - at : piece));
            }
            rd_sse_done(&sse);
            assert_string_equal(heard.text, rows[i].heard);
        }
    }
}

static void test_stops(void **state)
{
    static const char stream[] = "data: 1\n\ndata: 2\n\ndata: 3\n\n";
    struct heard heard = {.stop_at = 2};
    struct rd_sse sse;
    (void)state;
    rd_sse_init(&sse, on_event, &heard);
    assert_false(rd_sse_feed(&sse, stream, sizeof stream - 1));
    assert_string_equal(heard.text, "message=1#0|message=2#0|");
    rd_sse_done(&sse);
}

static bool count_event(void *ctx, const char *name, const char *data, uint64_t id)
{
    size_t *len = ctx;
    (void)name;
    (void)id;
    *len = strlen(data);
    return true;
}

static void test_limits(void **state)
{
    static char line[RD_SSE_LINE_MAX + 16];
    (void)state;
    memset(line, 'x', sizeof line);
    memcpy(line, "data:", 5);
    for (size_t over = 0; over <= 1; over++) {
        struct rd_sse sse;
        size_t told = 0;
        rd_sse_init(&sse, count_event, &told);
        bool good = rd_sse_feed(&sse, line, RD_SSE_LINE_MAX + over) && rd_sse_feed(&sse, "\n\n", 2);
        assert_int_equal(good, over == 0);
        assert_int_equal(told, over == 0 ? RD_SSE_LINE_MAX - 5 : 0);
        rd_sse_done(&sse);
        /* Many lines of one event. */
        rd_sse_init(&sse, count_event, &told);
        good = true;
        for (size_t i = 0; i < 1024 + 8 * over && good; i++) { /* 1023 and a line feed each */
            good = rd_sse_feed(&sse, line, 5 + 1023) && rd_sse_feed(&sse, "\n", 1);
        }
        assert_int_equal(good, over == 0);
        rd_sse_done(&sse);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
