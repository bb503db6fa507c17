/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON answers and the contract's Error body. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "gateway/replay.h"
#include "request/json.h"

enum {
    RETRY_SOON_S = 1,
    RETRY_CONFIGURATION_S = 300,
    /* RD_LIMIT_PROBLEMS of the longest messages fit, even when JSON takes six bytes for each byte.
     */
    DETAILS_MAX = 256 * 1024,
    ERROR_BODY_MAX = DETAILS_MAX + 8192,
};

void rd_reply_json(struct rd_call *call, int status, const struct rd_buf *json)
{
    if (rd_buf_err(json) != RD_OK) {
        rd_reply_error(call,
                       rd_buf_err(json) == RD_ERR_NO_MEMORY ? RD_ERR_NO_MEMORY : RD_ERR_INTERNAL,
                       NULL, NULL);
        return;
    }
    rd_err err = rd_replay_keep(call, status, json);
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    rd_call_common_headers(call);
    rd_http_reply_header(call->exchange, "Content-Type", "application/json");
    rd_http_reply_text(call->exchange, rd_buf_cstr(json), json->len);
    rd_http_reply(call->exchange, status);
}

static void error_headers(struct rd_call *call, rd_err err, int status)
{
    struct rd_http_exchange *x = call->exchange;
    if (status == 401) {
        rd_http_reply_header(x, "WWW-Authenticate", "Bearer");
    }
    if (status == 429 || status == 503) {
        uint64_t usual = err == RD_ERR_MODEL_UNAVAILABLE ? RETRY_CONFIGURATION_S : RETRY_SOON_S;
        rd_http_reply_headerf(x, "Retry-After", "%" PRIu64,
                              call->retry_s > usual ? call->retry_s : usual);
    }
    if (err == RD_ERR_CAPACITY) {
        rd_http_reply_headerf(x, "Link", "<%s/queue>; rel=\"alternate\"",
                              call->gateway->public_url);
    }
    rd_http_reply_header(x, "Cache-Control", "no-store");
}

void rd_reply_error(struct rd_call *call, rd_err err, const char *message, const char *details)
{
    const struct rd_err_info *info = rd_err_info(err);
    rd_replay_release(call);
    if (info->http >= 500 && message != NULL) {
        (void)snprintf(call->error_text, sizeof call->error_text, "%s", message);
    }
    /* What went wrong inside is for the log, not for the client. */
    bool inside = info->http == 500;
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, ERROR_BODY_MAX);
    rd_buf_str(&body, "{\"error\":");
    rd_buf_json_str(&body, info->code);
    rd_buf_str(&body, ",\"message\":");
    rd_buf_json_str(&body, message == NULL || inside ? info->message : message);
    rd_buf_str(&body, ",\"request_id\":");
    rd_buf_json_str(&body, rd_http_request_id(call->exchange));
    rd_buf_printf(&body, ",\"retriable\":%s", info->retriable ? "true" : "false");
    rd_buf_str(&body, ",\"details\":");
    rd_buf_str(&body, details == NULL ? "[]" : details);
    rd_buf_char(&body, '}');
    int status = info->http == 499 ? 503 : info->http; /* 499 is for logs; no server sends it */
    error_headers(call, err, status);
    rd_call_common_headers(call);
    if (rd_buf_err(&body) == RD_OK) {
        rd_http_reply_header(call->exchange, "Content-Type", "application/json");
        rd_http_reply_text(call->exchange, body.data, body.len);
    }
    rd_http_reply(call->exchange, status);
}

void rd_reply_problems(struct rd_call *call, rd_err err, const struct rd_problems *problems)
{
    RD_AUTO_BUF struct rd_buf details;
    rd_buf_init(&details, DETAILS_MAX);
    rd_problems_json(problems, &details);
    rd_reply_error(call, err, NULL, rd_buf_err(&details) == RD_OK ? rd_buf_cstr(&details) : NULL);
}

void rd_reply_problem(struct rd_call *call, rd_err err, const char *field, const char *constraint,
                      const char *message)
{
    struct rd_problems problems = {.count = 0};
    rd_problems_add(&problems, rd_http_arena(call->exchange), field, constraint, "%s", message);
    rd_reply_problems(call, err, &problems);
}

json_t *rd_call_json(struct rd_call *call)
{
    const struct rd_buf *body = rd_http_body(call->exchange);
    json_error_t error;
    json_t *json = rd_json_load(rd_buf_cstr(body), body->len, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(json)) {
        return json;
    }
    if (json == NULL && json_error_code(&error) == json_error_out_of_memory) {
        rd_reply_error(call, RD_ERR_NO_MEMORY, NULL, NULL);
        return NULL;
    }
    rd_reply_problem(call, RD_ERR_INVALID_JSON, "", json == NULL ? "json" : "type",
                     json == NULL ? error.text : "expected an object: {...}");
    json_decref(json);
    return NULL;
}

/* draft-ietf-httpapi-ratelimit-headers: how much there may be, and how much is left. */
void rd_reply_limits(struct rd_call *call, const struct rd_jobs_limits *limits)
{
    if (limits->burst == 0) {
        return;
    }
    /* A bucket of `burst` that refills `rate` a second gives at most this over its window. */
    uint64_t window = limits->rate == 0 ? 0 : (limits->burst + limits->rate - 1) / limits->rate;
    rd_http_reply_headerf(call->exchange, "RateLimit-Policy", "\"burst\";q=%" PRIu64 ";w=%" PRIu64,
                          limits->burst, window == 0 ? 1 : window);
    rd_http_reply_headerf(call->exchange, "RateLimit", "\"burst\";r=%" PRIu64 ";t=%" PRIu64,
                          limits->left, limits->reset_s);
}

void rd_reply_refusal(struct rd_call *call, enum rd_admit admit,
                      const struct rd_jobs_limits *limits)
{
    const char *text;
    rd_err err = rd_jobs_refusal(admit, &text);
    call->retry_s = limits->retry_s;
    rd_reply_limits(call, limits);
    rd_reply_error(call, err, text, NULL);
}
