/* SPDX-License-Identifier: Apache-2.0
 *
 * A gRPC answer as it arrives: known messages cut at every place, and what the wire must not say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <inference.pb-c.h>

#include "engine/triton/grpc_message.h"

enum { TEXT_MAX = 4096 };

/* What the sink heard, in words. */
struct heard {
    char text[TEXT_MAX];
    size_t raw_bytes;
    rd_err fail_head, fail_raw, fail_end;
};

__attribute__((format(printf, 2, 3))) static void say(struct heard *heard, const char *fmt, ...)
{
    size_t at = strlen(heard->text);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(heard->text + at, sizeof heard->text - at, fmt, args);
    va_end(args);
}

static rd_err on_head(void *ctx, const Inference__ModelInferResponse *head, struct rd_why *why)
{
    (void)why;
    struct heard *heard = ctx;
    say(heard, "head %s", head->model_name);
    for (size_t i = 0; i < head->n_outputs; i++) {
        say(heard, " %s:%s[%zu]", head->outputs[i]->name, head->outputs[i]->datatype,
            head->outputs[i]->n_shape);
    }
    say(heard, ";");
    return heard->fail_head;
}

static rd_err on_raw(void *ctx, size_t index, const uint8_t *bytes, size_t len, bool last,
                     struct rd_why *why)
{
    (void)why;
    struct heard *heard = ctx;
    assert_true((bytes == NULL) == (len == 0));
    assert_true(len > 0 || last);
    heard->raw_bytes += len;
    if (last) {
        say(heard, "raw %zu %zu;", index, heard->raw_bytes);
        heard->raw_bytes = 0;
    }
    return heard->fail_raw;
}

static rd_err on_end(void *ctx, size_t raws, struct rd_why *why)
{
    (void)why;
    struct heard *heard = ctx;
    say(heard, "end %zu;", raws);
    return heard->fail_end;
}

/* Feeds in pieces of `step`, then finishes. */
static rd_err feed(struct heard *heard, bool stream, const char *bytes, size_t len, size_t step,
                   struct rd_why *why)
{
    const struct rd_grpc_message_sink sink = {
        .ctx = heard, .head = on_head, .raw = on_raw, .end = on_end};
    struct rd_grpc_message message;
    heard->text[0] = '\0';
    heard->raw_bytes = 0;
    rd_grpc_message_init(&message, stream, &sink);
    rd_err err = RD_OK;
    for (size_t at = 0; at < len && err == RD_OK; at += step) {
        /* Its own memory, so that reading behind a piece is seen by the address sanitizer. */
        size_t take = len - at < step ? len - at : step;
        uint8_t *piece = malloc(take);
        assert_non_null(piece);
        memcpy(piece, bytes + at, take);
        err = rd_grpc_message_feed(&message, piece, take, why);
        free(piece);
    }
    if (err == RD_OK) {
        err = rd_grpc_message_finish(&message, why);
    }
    rd_grpc_message_done(&message);
    return err;
}

/* The pieces of messages: OUT is an output "o", FP32, shape [2]. */
#define MODEL "\x0a\x01m"
#define OUT                                                                                        \
    "\x2a\x0b\x0a\x01o\x12\x04"                                                                    \
    "FP32\x1a\x00"
#define BODY_LEN (3 + 13)

static void test_known_answers(void **state)
{
    (void)state;
    static const struct {
        bool stream;
        const char *bytes;
        size_t len;
        const char *heard;
    } cases[] = {
#define ROW(stream, text, heard) {stream, text, sizeof(text) - 1, heard}
        ROW(false, "\0\0\0\0\0", "head ;end 0;"),
        ROW(false, "\0\0\0\0\x03" MODEL, "head m;end 0;"),
        ROW(false, "\0\0\0\0\x10" MODEL OUT, "head m o:FP32[0];end 0;"),
        ROW(false,
            "\0\0\0\0\x15" MODEL OUT "\x32\x03"
            "abc",
            "head m o:FP32[0];raw 0 3;end 1;"),
        ROW(false,
            "\0\0\0\0\x19" MODEL OUT "\x32\x00\x32\x05"
            "abcde",
            "head m o:FP32[0];raw 0 0;raw 1 5;end 2;"),
        /* a length of two bytes where one would do; unknown fields of every kind, behind, too */
        ROW(false,
            "\0\0\0\0\x10" MODEL "\x32\x83\x00"
            "abc"
            "\x78\x01\x7d"
            "1234",
            "head m;raw 0 3;end 1;"),
        ROW(false,
            "\0\0\0\0\x12"
            "\x78\x81\x01\x79"
            "12345678\x7a\x01x" MODEL,
            "head m;end 0;"),
        ROW(true, "", ""),
        ROW(true, "\0\0\0\0\x05\x12\x03" MODEL, "head m;end 0;"),
        ROW(true, "\0\0\0\0\x02\x12\x00", "head ;end 0;"),
        ROW(true,
            "\0\0\0\0\x0a\x12\x08" MODEL "\x32\x03"
            "abc"
            "\0\0\0\0\x05\x12\x03" MODEL,
            "head m;raw 0 3;end 1;head m;end 0;"),
        /* an empty error message is none; a field that nobody knows is skipped */
        ROW(true, "\0\0\0\0\x0b\x0a\x00\x12\x03" MODEL "\x1a\x02xx", "head m;end 0;"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t step = 1; step <= cases[i].len + 1; step++) {
            struct heard heard = {.fail_head = RD_OK};
            struct rd_why why = {""};
            rd_err err = feed(&heard, cases[i].stream, cases[i].bytes, cases[i].len, step, &why);
            if (err != RD_OK || strcmp(heard.text, cases[i].heard) != 0) {
                fail_msg("row %zu, step %zu: %s '%s'", i, step, heard.text, why.text);
            }
        }
    }
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        bool stream;
        const char *bytes;
        size_t len;
        const char *why;
    } cases[] = {
        ROW(false, "", "holds no message"),
        ROW(false, "\0\0\0", "in the middle of a message"),
        ROW(false, "\0\0\0\0\x03\x0a\x01", "in the middle of a message"),
        ROW(false, "\1\0\0\0\x03" MODEL, "compressed"),
        ROW(false, "\x02\0\0\0\x03" MODEL, "neither 0 nor 1"),
        ROW(false, "\0\x80\0\0\0", "more than 2 GiB"),
        ROW(false, "\0\0\0\0\x03" MODEL "\0\0\0\0\x03" MODEL, "a second message"),
        ROW(false, "\0\0\0\0\x03\x0a\x02m", "longer than what it stands in"),
        ROW(false, "\0\0\0\0\x02\x0a\x80", "in the middle of a message"), /* half a length */
        ROW(false, "\0\0\0\0\x01\x0a" MODEL, "longer than what it stands in"),
        ROW(false,
            "\0\0\0\0\x04\x32\x03"
            "abc",
            "longer than what it stands in"),
        ROW(false,
            "\0\0\0\0\x05\x79"
            "1234",
            "longer than what it stands in"),
        ROW(false,
            "\0\0\0\0\x08\x32\x03"
            "abc" MODEL,
            "in front of what describes them"),
        ROW(false, "\0\0\0\0\x02\x0b\x0c", "unknown kind"), /* a group */
        ROW(false, "\0\0\0\0\x02\x02\x00", "unknown kind"), /* field 0 */
        ROW(false, "\0\0\0\0\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\0", "unknown kind"),
        ROW(false, "\0\0\0\0\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\0", "64 bits"),
        ROW(false, "\0\0\0\0\x03\x2a\x01\x0a", "cannot be unpacked"), /* an output cut */
        ROW(true, "\0\0\0\0\0", "without a response"),
        ROW(true, "\0\0\0\0\x02\x18\x01", "without a response"),
        ROW(true, "\0\0\0\0\x06\x12\x05" MODEL, "longer than what it stands in"),
        ROW(true, "\0\0\0\0\x08\x12\x06" MODEL "\x32\x02x", "longer than what it stands in"),
        ROW(true, "\0\0\0\0\x0a\x12\x03" MODEL "\x12\x03" MODEL, "two responses"),
        ROW(true, "\0\0\0\0\x04\x0a\x02no", "the server answered: no"),
        ROW(true, "\0\0\0\0\x09\x12\x03" MODEL "\x0a\x02no", "the server answered: no"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t step = 1; step <= cases[i].len + 1; step++) {
            struct heard heard = {.fail_head = RD_OK};
            struct rd_why why = {""};
            rd_err err = feed(&heard, cases[i].stream, cases[i].bytes, cases[i].len, step, &why);
            if (err != RD_ERR_BACKEND_FAILED || strstr(why.text, cases[i].why) == NULL) {
                fail_msg("row %zu, step %zu: %d %s '%s'", i, step, (int)err, heard.text, why.text);
            }
        }
    }
}

/* What is gathered has a limit, what is not has none. */
static void test_limits(void **state)
{
    (void)state;
    static const struct {
        size_t len; /* of the model's name, or of the raw contents */
        bool raw;
        const char *why; /* NULL: it is fine */
    } cases[] = {
        {RD_GRPC_HEAD_MAX - 4, false, NULL}, /* with a tag and a length in 3 bytes */
        {RD_GRPC_HEAD_MAX - 3, false, "256 KiB"},
        {(size_t)5 << 20, false, "256 KiB"},
        {(size_t)5 << 20, true, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t len = cases[i].len, at = 5;
        char *bytes = calloc(1, len + 16);
        assert_non_null(bytes);
        bytes[at++] = cases[i].raw ? 0x32 : 0x0a;
        for (size_t left = len; left > 0 || at == 6; left >>= 7) {
            bytes[at++] = (char)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
        }
        memset(bytes + at, 'x', len);
        size_t total = at + len - 5;
        for (unsigned byte = 0; byte < 4; byte++) {
            bytes[1 + byte] = (char)(total >> (24 - 8 * byte));
        }
        struct heard heard = {.fail_head = RD_OK};
        struct rd_why why = {""};
        rd_err err = feed(&heard, false, bytes, total + 5, 16384, &why);
        if (cases[i].why == NULL
                ? err != RD_OK
                : err != RD_ERR_BACKEND_FAILED || strstr(why.text, cases[i].why) == NULL) {
            fail_msg("%zu: %d %s", i, (int)err, why.text);
        }
        free(bytes);
    }
}

/* Many small fields count against the limit as well. */
static void test_many_small_fields(void **state)
{
    (void)state;
    enum { FIELDS = 100000 };
    char *bytes = calloc(1, 5 + 3 * FIELDS);
    assert_non_null(bytes);
    size_t total = (size_t)3 * FIELDS;
    for (size_t i = 0; i < FIELDS; i++) {
        memcpy(bytes + 5 + 3 * i, "\x78\x81\x01", 3);
    }
    for (unsigned byte = 0; byte < 4; byte++) {
        bytes[1 + byte] = (char)(total >> (24 - 8 * byte));
    }
    struct heard heard = {.fail_head = RD_OK};
    struct rd_why why = {""};
    assert_int_equal(feed(&heard, false, bytes, total + 5, 1000, &why), RD_ERR_BACKEND_FAILED);
    assert_non_null(strstr(why.text, "256 KiB"));
    free(bytes);
}

static void test_errors_of_the_sink(void **state)
{
    (void)state;
    static const char bytes[] = "\0\0\0\0\x08" MODEL "\x32\x03"
                                "abc";
    static const struct {
        struct heard heard;
        const char *text;
    } cases[] = {
        {{.fail_head = RD_ERR_DISK_FULL}, "head m;"},
        {{.fail_raw = RD_ERR_DISK_FULL}, "head m;raw 0 3;"},
        {{.fail_end = RD_ERR_DISK_FULL}, "head m;raw 0 3;end 1;"},
    };
    for (size_t i = 0; i < 3; i++) {
        struct heard heard = cases[i].heard;
        struct rd_why why = {""};
        assert_int_equal(feed(&heard, false, bytes, sizeof bytes - 1, 100, &why), RD_ERR_DISK_FULL);
        assert_string_equal(heard.text, cases[i].text);
    }
}

static void test_reset(void **state)
{
    (void)state;
    struct heard heard = {.fail_head = RD_OK};
    const struct rd_grpc_message_sink sink = {
        .ctx = &heard, .head = on_head, .raw = on_raw, .end = on_end};
    struct rd_grpc_message message;
    struct rd_why why = {""};
    rd_grpc_message_init(&message, false, &sink);
    static const char half[] = "\0\0\0\0\x08" MODEL "\x32\x03"
                               "a";
    static const char whole[] = "\0\0\0\0\x05\x12\x03" MODEL;
    assert_int_equal(rd_grpc_message_feed(&message, (const uint8_t *)half, sizeof half - 1, &why),
                     RD_OK);
    rd_grpc_message_reset(&message, true);
    heard.text[0] = '\0';
    assert_int_equal(rd_grpc_message_feed(&message, (const uint8_t *)whole, sizeof whole - 1, &why),
                     RD_OK);
    assert_int_equal(rd_grpc_message_finish(&message, &why), RD_OK);
    assert_string_equal(heard.text, "head m;end 0;");
    rd_grpc_message_done(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_many_small_fields),
        cmocka_unit_test(test_errors_of_the_sink),
        cmocka_unit_test(test_reset),
    };
    return cmocka_run_group_tests_name("engine/grpc_message", tests, NULL, NULL);
}
