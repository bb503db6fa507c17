/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages as text: every way in which one from a client can be wrong, and the exact text of
 * each that goes to it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "ws/internal.h"

#define JOB "j_0123456789abcdefghijkl"

static void test_generate(void **state)
{
    static const char text[] =
        "{\"id\":\"a\\\"b\",\"type\":\"generate\",\"model\":\"m\",\"seed\":4294967295,"
        "\"strength\":0.1,\"webhook\":null,\"prompt\":\"\xc3\xa4\"}";
    struct rd_ws_message message;
    const char *problem = NULL;
    (void)state;
    assert_int_equal(rd_ws_message_parse(text, sizeof text - 1, &message, &problem), RD_OK);
    assert_int_equal(message.kind, RD_WS_GENERATE);
    assert_string_equal(message.id, "\"a\\\"b\"");
    assert_string_equal(message.body, "{\"model\":\"m\",\"seed\":4294967295,"
                                      "\"strength\":0.10000000000000001,\"webhook\":null,"
                                      "\"prompt\":\"\xc3\xa4\"}");
    rd_mem_free(message.body);
}

static void test_subscribe_and_cancel(void **state)
{
    static const char subscribe[] =
        "{\"id\":-7,\"type\":\"subscribe\",\"job_id\":\"" JOB "\",\"after\":9007199254740993}";
    static const char cancel[] = "{\"id\":\"x\",\"type\":\"cancel\",\"job_id\":\"" JOB "\"}";
    struct rd_ws_message message;
    const char *problem = NULL;
    (void)state;
    assert_int_equal(rd_ws_message_parse(subscribe, sizeof subscribe - 1, &message, &problem),
                     RD_OK);
    assert_int_equal(message.kind, RD_WS_SUBSCRIBE);
    assert_string_equal(message.id, "-7");
    assert_string_equal(message.job, JOB);
    assert_true(message.after == 9007199254740993);
    assert_int_equal(rd_ws_message_parse(cancel, sizeof cancel - 1, &message, &problem), RD_OK);
    assert_int_equal(message.kind, RD_WS_CANCEL);
    assert_true(message.after == 0);
}

static void test_wrong_messages(void **state)
{
    static const struct {
        const char *text;
        rd_err err;
        const char *id; /* that the error is told under */
    } cases[] = {
        {"", RD_ERR_INVALID_JSON, "null"},
        {"[]", RD_ERR_INVALID_JSON, "null"},
        {"{", RD_ERR_INVALID_JSON, "null"},
        {"{\"id\":1,\"id\":2}", RD_ERR_INVALID_JSON, "null"},
        {"{\"id\":\"\\u0000\"}", RD_ERR_INVALID_JSON, "null"},
        {"{}", RD_ERR_INVALID_REQUEST, "null"},
        {"{\"id\":\"\",\"type\":\"cancel\"}", RD_ERR_INVALID_REQUEST, "null"},
        {"{\"id\":1.5,\"type\":\"cancel\"}", RD_ERR_INVALID_REQUEST, "null"},
        {"{\"id\":null,\"type\":\"cancel\"}", RD_ERR_INVALID_REQUEST, "null"},
        {"{\"id\":{},\"type\":\"cancel\"}", RD_ERR_INVALID_REQUEST, "null"},
        {"{\"id\":1}", RD_ERR_INVALID_REQUEST, "1"},
        {"{\"id\":1,\"type\":\"Generate\"}", RD_ERR_INVALID_REQUEST, "1"},
        {"{\"id\":1,\"type\":7}", RD_ERR_INVALID_REQUEST, "1"},
        {"{\"id\":1,\"type\":\"cancel\"}", RD_ERR_INVALID_REQUEST, "1"},
        {"{\"id\":1,\"type\":\"cancel\",\"job_id\":7}", RD_ERR_INVALID_REQUEST, "1"},
        {"{\"id\":1,\"type\":\"cancel\",\"job_id\":\"j_../../keys\"}", RD_ERR_INVALID_REQUEST, "1"},
        {"{\"id\":1,\"type\":\"cancel\",\"job_id\":\"j_0123456789abcdefghijkl0123456789\"}",
         RD_ERR_NOT_FOUND, "1"},
        {"{\"id\":1,\"type\":\"subscribe\",\"job_id\":\"" JOB "\",\"after\":-1}",
         RD_ERR_INVALID_REQUEST, "1"},
        {"{\"id\":1,\"type\":\"subscribe\",\"job_id\":\"" JOB "\",\"after\":\"5\"}",
         RD_ERR_INVALID_REQUEST, "1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rd_ws_message message;
        const char *problem = NULL;
        rd_err err = rd_ws_message_parse(cases[i].text, strlen(cases[i].text), &message, &problem);
        if (err != cases[i].err) {
            print_error("%s\n", cases[i].text);
        }
        assert_int_equal(err, cases[i].err);
        assert_string_equal(message.id, cases[i].id);
        assert_null(message.body);
    }
}

static void test_longest_id(void **state)
{
    char text[256];
    struct rd_ws_message message;
    const char *problem = NULL;
    (void)state;
    for (int len = 120; len <= 121; len++) {
        int put = snprintf(text, sizeof text, "{\"type\":\"generate\",\"id\":\"%0*d\"}", len, 0);
        rd_err err = rd_ws_message_parse(text, (size_t)put, &message, &problem);
        assert_int_equal(err, len == 120 ? RD_OK : RD_ERR_INVALID_REQUEST);
        rd_mem_free(message.body);
    }
}

static void check(struct rd_buf *out, const char *text)
{
    assert_int_equal(rd_buf_err(out), RD_OK);
    assert_string_equal(rd_buf_cstr(out), text);
    rd_buf_reset(out);
}

static void test_written(void **state)
{
    struct rd_jobs_event event = {5, JOB, "started", "{}", 2, false, 0};
    RD_AUTO_BUF struct rd_buf out;
    (void)state;
    rd_buf_init(&out, 4096);
    rd_ws_write_ack(&out, "\"a\"", JOB);
    check(&out, "{\"type\":\"ack\",\"id\":\"a\",\"job_id\":\"" JOB "\"}");
    rd_ws_write_error(&out, "7", "", RD_ERR_CONFLICT, "so");
    check(&out,
          "{\"type\":\"error\",\"id\":7,\"job_id\":null,\"code\":\"conflict\",\"message\":\"so\","
          "\"retriable\":false}");
    rd_ws_write_event(&out, &event);
    check(&out, "{\"type\":\"started\",\"job_id\":\"" JOB "\",\"event_id\":5}");
    event = (struct rd_jobs_event){6, JOB, "preview", "{\"frame\":\"x\"}", 13, false, 0};
    rd_ws_write_event(&out, &event);
    check(&out, "{\"type\":\"frame\",\"job_id\":\"" JOB "\",\"event_id\":6,\"frame\":\"x\"}");
    rd_ws_write_missed(&out, JOB, 3);
    check(&out, "{\"type\":\"missed\",\"job_id\":\"" JOB "\",\"count\":3}");
}

static void test_refusals(void **state)
{
    RD_AUTO_BUF struct rd_buf out;
    (void)state;
    rd_buf_init(&out, 4096);
    rd_ws_write_refusal(&out, "1",
                        "{\"error\":\"rate_limited\",\"message\":\"m\",\"request_id\":\"req_1\","
                        "\"retriable\":true,\"details\":[{\"field\":\"a\"}]}");
    check(
        &out,
        "{\"type\":\"error\",\"id\":1,\"job_id\":null,\"code\":\"rate_limited\",\"message\":\"m\","
        "\"request_id\":\"req_1\",\"retriable\":true,\"details\":[{\"field\":\"a\"}]}");
    rd_ws_write_refusal(&out, "1", "no JSON");
    check(
        &out,
        "{\"type\":\"error\",\"id\":1,\"job_id\":null,\"code\":\"internal\",\"message\":\"an error "
        "inside the gateway; the log has the request id\"}");
}

static void test_created(void **state)
{
    char job[RD_ID_MAX] = "";
    (void)state;
    assert_true(rd_ws_created_job("{\"id\":\"" JOB "\",\"status\":\"queued\"}", job));
    assert_string_equal(job, JOB);
    assert_false(rd_ws_created_job("{\"id\":\"x\"}", job));
    assert_false(rd_ws_created_job("{\"id\":\"j_0123456789abcdefghijkl0123456789\"}", job));
    assert_false(rd_ws_created_job("", job));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate),       cmocka_unit_test(test_subscribe_and_cancel),
        cmocka_unit_test(test_wrong_messages), cmocka_unit_test(test_longest_id),
        cmocka_unit_test(test_written),        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_created),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
