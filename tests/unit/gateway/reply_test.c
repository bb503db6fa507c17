/* SPDX-License-Identifier: Apache-2.0
 *
 * reply.c: the contract's Error body, for every row of errors.def, through a real server, read back
 * by a JSON library. What routes.c adds to every answer has a stand-in here. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../http/harness.h"
#include "base/mem.h"
#include "base/text.h"
#include "gateway/gateway.h"

void rd_call_common_headers(struct rd_call *call)
{
    rd_http_reply_header(call->exchange, "X-Common", "yes");
}

/* What the next request is answered with, and what the call was left with. */
struct script {
    void (*answer)(const struct script *script, struct rd_call *call);
    rd_err err;
    const char *message, *details;
    char error_text[256];
};

static struct rd_gateway *gateway;

static void on_request(void *ctx, struct rd_http_exchange *x)
{
    struct script *script = ctx;
    struct rd_call *call = rd_arena_alloc(rd_http_arena(x), sizeof *call);
    assert_non_null(call);
    call->gateway = gateway;
    call->exchange = x;
    script->answer(script, call);
    memcpy(script->error_text, call->error_text, sizeof script->error_text);
}

/* Answers one request by the script, on a server of its own; the caller frees `answer`. */
static void ask(struct script *script, struct harness_answer *answer)
{
    const struct rd_http_app app = {.ctx = script, .request = on_request};
    struct rd_http_server *server = harness_start(&app, 1);
    int fd = harness_connect(server);
    harness_text(fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(harness_read(fd, false, answer));
    (void)close(fd);
    harness_stop(server);
}

static void answer_error(const struct script *script, struct rd_call *call)
{
    rd_reply_error(call, script->err, script->message, script->details);
}

static json_t *ask_error(struct script *script, struct harness_answer *answer)
{
    script->answer = answer_error;
    ask(script, answer);
    json_t *body = json_loadb(answer->body.data, answer->body.len, JSON_REJECT_DUPLICATES, NULL);
    if (body == NULL) {
        fail_msg("no JSON: %s", rd_buf_cstr(&answer->body));
    }
    return body;
}

static const char *text_of(const json_t *body, const char *name)
{
    const char *text = json_string_value(json_object_get(body, name));
    assert_non_null(text);
    return text;
}

static void every_error_has_the_contracts_body(void **state)
{
    (void)state;
    for (int err = RD_OK + 1; err < RD_ERR_COUNT_; err++) {
        const struct rd_err_info *info = rd_err_info((rd_err)err);
        struct script script = {.err = (rd_err)err};
        struct harness_answer answer;
        char value[512];
        json_t *body = ask_error(&script, &answer);
        /* 499 is no status that a server sends */
        assert_int_equal(answer.status, info->http == 499 ? 503 : info->http);
        assert_string_equal(text_of(body, "error"), info->code);
        assert_string_equal(text_of(body, "message"), info->message);
        assert_int_equal(strncmp(text_of(body, "request_id"), "req_", 4), 0);
        assert_int_equal(json_is_true(json_object_get(body, "retriable")), info->retriable);
        assert_int_equal(json_array_size(json_object_get(body, "details")), 0);
        assert_int_equal(json_object_size(body), 5);
        assert_string_equal(harness_header(&answer, "Content-Type", value), "application/json");
        assert_string_equal(harness_header(&answer, "Cache-Control", value), "no-store");
        assert_string_equal(harness_header(&answer, "X-Common", value), "yes");
        assert_int_equal(harness_header(&answer, "WWW-Authenticate", value) != NULL,
                         info->http == 401);
        assert_int_equal(harness_header(&answer, "Retry-After", value) != NULL,
                         answer.status == 429 || answer.status == 503);
        assert_int_equal(harness_header(&answer, "Link", value) != NULL, err == RD_ERR_CAPACITY);
        json_decref(body);
        harness_answer_done(&answer);
    }
}

static void capacity_names_the_other_way(void **state)
{
    (void)state;
    struct script script = {.err = RD_ERR_CAPACITY};
    struct harness_answer answer;
    char value[512];
    json_decref(ask_error(&script, &answer));
    assert_string_equal(harness_header(&answer, "Link", value),
                        "<https://render.example/queue>; rel=\"alternate\"");
    harness_answer_done(&answer);
}

static void a_message_is_quoted_not_trusted(void **state)
{
    (void)state;
    struct script script = {.err = RD_ERR_INVALID_REQUEST,
                            .message = "\"},\\ \n\x01 \xff\xc3\xa9",
                            .details = "[{\"field\":\"prompt\"}]"};
    struct harness_answer answer;
    json_t *body = ask_error(&script, &answer);
    assert_string_equal(text_of(body, "message"), "\"},\\ \n\x01 \xef\xbf\xbd\xc3\xa9");
    json_t *details = json_object_get(body, "details");
    assert_string_equal(text_of(json_array_get(details, 0), "field"), "prompt");
    assert_string_equal(script.error_text, ""); /* a client's mistake is no error of ours */
    json_decref(body);
    harness_answer_done(&answer);
}

static void what_went_wrong_inside_is_for_the_log(void **state)
{
    (void)state;
    struct script script = {.err = RD_ERR_INTERNAL,
                            .message = "table keys is gone from /data/render.db"};
    struct harness_answer answer;
    json_t *body = ask_error(&script, &answer);
    assert_string_equal(text_of(body, "message"), rd_err_info(RD_ERR_INTERNAL)->message);
    assert_null(strstr(answer.body.data, "render.db"));
    assert_string_equal(script.error_text, script.message);
    json_decref(body);
    harness_answer_done(&answer);
    /* an engine's failure is told to both */
    script = (struct script){.err = RD_ERR_BACKEND_FAILED, .message = "the engine answered 500"};
    body = ask_error(&script, &answer);
    assert_string_equal(text_of(body, "message"), script.message);
    assert_string_equal(script.error_text, script.message);
    json_decref(body);
    harness_answer_done(&answer);
}

static void answer_problems(const struct script *script, struct rd_call *call)
{
    (void)script;
    struct rd_problems problems = {.count = 0};
    char message[1024];
    memset(message, '\x01', sizeof message - 1); /* six bytes each in JSON */
    message[sizeof message - 1] = '\0';
    for (unsigned i = 0; i < RD_LIMIT_PROBLEMS + 3; i++) {
        rd_problems_add(&problems, rd_http_arena(call->exchange), "lora[2].weight", "range", "%s",
                        message);
    }
    assert_int_equal(problems.count, RD_LIMIT_PROBLEMS);
    assert_int_equal(problems.dropped, 3);
    rd_reply_problems(call, RD_ERR_INVALID_REQUEST, &problems);
}

static void all_problems_are_listed_however_long(void **state)
{
    (void)state;
    struct script script = {.answer = answer_problems};
    struct harness_answer answer;
    ask(&script, &answer);
    assert_int_equal(answer.status, 400);
    json_t *body = json_loadb(answer.body.data, answer.body.len, 0, NULL);
    json_t *details = json_object_get(body, "details");
    assert_int_equal(json_array_size(details), RD_LIMIT_PROBLEMS);
    assert_string_equal(text_of(json_array_get(details, 31), "field"), "lora[2].weight");
    assert_int_equal(strlen(text_of(json_array_get(details, 31), "message")), 1023);
    json_decref(body);
    harness_answer_done(&answer);
}

static void answer_json(const struct script *script, struct rd_call *call)
{
    (void)script;
    RD_AUTO_BUF struct rd_buf json;
    rd_buf_init(&json, 100);
    rd_buf_str(&json, "{\"a\":1}");
    rd_reply_json(call, 201, &json);
}

static void answer_overflowed_json(const struct script *script, struct rd_call *call)
{
    (void)script;
    RD_AUTO_BUF struct rd_buf json;
    rd_buf_init(&json, 5);
    rd_buf_str(&json, "{\"a\":1}");
    rd_reply_json(call, 201, &json);
}

static void json_whole_or_an_error(void **state)
{
    (void)state;
    struct script script = {.answer = answer_json};
    struct harness_answer answer;
    char value[512];
    ask(&script, &answer);
    assert_int_equal(answer.status, 201);
    assert_string_equal(rd_buf_cstr(&answer.body), "{\"a\":1}");
    assert_string_equal(harness_header(&answer, "Content-Type", value), "application/json");
    harness_answer_done(&answer);
    script.answer = answer_overflowed_json;
    ask(&script, &answer);
    assert_int_equal(answer.status, 500);
    assert_non_null(strstr(rd_buf_cstr(&answer.body), "\"error\":\"internal\""));
    harness_answer_done(&answer);
}

static int make_gateway(void **state)
{
    (void)state;
    gateway = rd_mem_alloc(sizeof *gateway);
    if (gateway == NULL) {
        return -1;
    }
    (void)snprintf(gateway->public_url, sizeof gateway->public_url, "https://render.example");
    return 0;
}

static int free_gateway(void **state)
{
    (void)state;
    rd_mem_free(gateway);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_the_contracts_body),
        cmocka_unit_test(capacity_names_the_other_way),
        cmocka_unit_test(a_message_is_quoted_not_trusted),
        cmocka_unit_test(what_went_wrong_inside_is_for_the_log),
        cmocka_unit_test(all_problems_are_listed_however_long),
        cmocka_unit_test(json_whole_or_an_error),
    };
    return cmocka_run_group_tests(tests, make_gateway, free_gateway);
}
