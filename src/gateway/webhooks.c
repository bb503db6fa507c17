/* SPDX-License-Identifier: Apache-2.0
 *
 * /webhooks: what became of messages, sending one again, trying an endpoint, and the secret that
 * signs. Looking takes `read` or `generate`; what makes the gateway send something, or shows what
 * it signs with, takes `generate`: a key that only reads cannot forge messages. An administrator's
 * key sees all tenants' deliveries, but only its own tenant's secret. */
#include "gateway/webhooks.h"

#include <inttypes.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "gateway/gateway.h"
#include "webhook/sender.h"
#include "webhook/sign.h"

enum { LIST_LIMIT = 50, LIST_LIMIT_MAX = 200, LIST_BODY_MAX = 4 << 20, ANSWER_MAX = 8192 };

struct rd_fetch_options rd_webhooks_options(const struct rd_config *config)
{
    return (struct rd_fetch_options){
        .allow_hosts = config->webhooks_allow_hosts,
        .allow_hosts_count = config->webhooks_allow_hosts_count,
        .ca_file = config->webhooks_ca_file,
    };
}

/* Whose deliveries the caller may see; 0: everybody's. */
static uint64_t visible_owner(const struct rd_call *call)
{
    return (call->key.scopes & RD_SCOPE_ADMIN) != 0 ? 0 : call->key.owner;
}

/* ---- the list ---- */

static const char *const statuses[] = {
    [RD_DELIVERY_PENDING] = "pending",
    [RD_DELIVERY_DONE] = "delivered",
    [RD_DELIVERY_FAILED] = "failed",
    [RD_DELIVERY_DISABLED] = "disabled",
};
enum { STATUSES = sizeof statuses / sizeof statuses[0] };

static void parse_list(struct rd_call *call, struct rd_job_filter *filter,
                       struct rd_problems *problems)
{
    struct rd_arena *arena = rd_http_arena(call->exchange);
    const char *limit = rd_http_request_query(call->exchange, "limit");
    const char *after = rd_http_request_query(call->exchange, "after");
    const char *status = rd_http_request_query(call->exchange, "status");
    uint64_t count = LIST_LIMIT;
    if (limit != NULL &&
        (!rd_text_u64(limit, strlen(limit), &count) || count < 1 || count > LIST_LIMIT_MAX)) {
        rd_problems_add(problems, arena, "limit", "range", "a whole number from 1 to %d",
                        LIST_LIMIT_MAX);
    }
    if (after != NULL && !rd_id_valid(after, "msg_")) {
        rd_problems_add(problems, arena, "after", "format", "the id of a delivery: msg_...");
    }
    int at = -1;
    for (int i = 0; status != NULL && i < STATUSES; i++) {
        at = strcmp(status, statuses[i]) == 0 ? i : at;
    }
    if (status != NULL && at < 0) {
        rd_problems_add(problems, arena, "status", "enum",
                        "one of pending, delivered, failed, disabled");
    }
    *filter = (struct rd_job_filter){.owner = visible_owner(call),
                                     .after = after == NULL ? "" : after,
                                     .status = at,
                                     .limit = (unsigned)count + 1}; /* one more: is there a next? */
}

struct listing {
    struct rd_buf body;
    unsigned left;
    bool more;
    char last[RD_ID_MAX];
};

static void write_time(struct rd_buf *out, const char *name, uint64_t ms)
{
    char text[RD_CLOCK_RFC3339_LEN + 1];
    rd_clock_rfc3339_ms(ms, text);
    rd_buf_printf(out, ms == 0 ? ",\"%s\":null" : ",\"%s\":\"%s\"", name, text);
}

static void write_reason(struct rd_buf *out, int status, const char *reason)
{
    if (status == 0) {
        rd_buf_str(out, ",\"response_status\":null,\"reason\":");
    } else {
        rd_buf_printf(out, ",\"response_status\":%d,\"reason\":", status);
    }
    if (reason == NULL || reason[0] == '\0') {
        rd_buf_str(out, "null");
    } else {
        rd_buf_json_str(out, reason);
    }
}

static bool list_one(void *ctx, const struct rd_delivery *delivery)
{
    struct listing *listing = ctx;
    struct rd_buf *out = &listing->body;
    listing->more = listing->left == 0;
    if (listing->more) {
        return false;
    }
    rd_buf_printf(out, "%s{\"id\":\"%s\",\"job\":\"%s\",\"tenant\":",
                  listing->last[0] == '\0' ? "" : ",", delivery->id, delivery->job);
    rd_buf_json_str(out, delivery->tenant == NULL ? "" : delivery->tenant);
    rd_buf_str(out, ",\"url\":");
    rd_buf_json_str(out, delivery->url);
    rd_buf_printf(out, ",\"status\":\"%s\",\"attempts\":%u", statuses[delivery->state],
                  delivery->attempt);
    write_time(out, "created_at", delivery->created_ms);
    write_time(out, "next_attempt_at", delivery->next_ms);
    write_reason(out, delivery->status, delivery->reason);
    rd_buf_char(out, '}');
    memcpy(listing->last, delivery->id, sizeof listing->last);
    listing->left--;
    return rd_buf_err(out) == RD_OK;
}

void rd_webhooks_list(struct rd_call *call)
{
    struct rd_problems problems = {.count = 0};
    struct rd_job_filter filter;
    parse_list(call, &filter, &problems);
    if (problems.count > 0) {
        rd_reply_problems(call, RD_ERR_INVALID_REQUEST, &problems);
        return;
    }
    struct listing listing = {.left = filter.limit - 1};
    rd_buf_init(&listing.body, LIST_BODY_MAX);
    rd_buf_str(&listing.body, "{\"deliveries\":[");
    rd_err err = rd_store_deliveries_list(call->gateway->store, &filter, list_one, &listing);
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
    } else {
        rd_buf_printf(&listing.body, listing.more ? "],\"next\":\"%s\"}" : "],\"next\":null}",
                      listing.last);
        rd_http_reply_header(call->exchange, "Cache-Control", "no-store");
        rd_reply_json(call, 200, &listing.body);
    }
    rd_buf_done(&listing.body);
}

void rd_webhooks_replay(struct rd_call *call)
{
    const char *id = call->args[0];
    rd_err err = rd_id_valid(id, "msg_")
                     ? rd_store_delivery_replay(call->gateway->store, visible_owner(call), id,
                                                rd_clock_wall_ms())
                     : RD_ERR_NOT_FOUND;
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    rd_webhook_wake(call->gateway->webhooks);
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, ANSWER_MAX);
    rd_buf_printf(&body, "{\"id\":\"%s\",\"status\":\"pending\"}", id);
    rd_reply_json(call, 202, &body);
}

/* ---- a test message ---- */

static void answer_test(void *ctx, const struct rd_webhook_result *result)
{
    struct rd_call *call = ctx;
    if (result->err != RD_OK) {
        rd_reply_error(call, result->err == RD_ERR_CANCELLED ? RD_ERR_DRAINING : result->err, NULL,
                       NULL);
        return;
    }
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, ANSWER_MAX);
    rd_buf_printf(&body, "{\"id\":\"%s\",\"delivered\":%s", result->id,
                  result->reason[0] == '\0' ? "true" : "false");
    write_reason(&body, result->status, result->reason);
    rd_buf_printf(&body, ",\"duration_ms\":%" PRIu64 "}", (result->took_ns + 500000) / 1000000);
    rd_http_reply_header(call->exchange, "Cache-Control", "no-store");
    rd_reply_json(call, 200, &body);
}

void rd_webhooks_test(struct rd_call *call)
{
    json_t *json = rd_call_json(call);
    if (json == NULL) {
        return;
    }
    const json_t *value = json_object_get(json, "url");
    const char *url = json_string_value(value);
    struct rd_why why = {.text = ""};
    if (url == NULL) {
        rd_reply_problem(call, RD_ERR_INVALID_REQUEST, "url", value == NULL ? "required" : "type",
                         "the https URL of an endpoint");
        json_decref(json);
        return;
    }
    rd_http_suspend(call->exchange); /* the sender answers, maybe before this returns */
    rd_err err =
        rd_webhook_test(call->gateway->webhooks, call->key.owner, url, answer_test, call, &why);
    json_decref(json);
    if (err == RD_ERR_INVALID_REQUEST) {
        rd_reply_problem(call, err, "url", "format", why.text);
    } else if (err != RD_OK) {
        rd_reply_error(call, err, why.text[0] == '\0' ? NULL : why.text, NULL);
    }
}

/* ---- the secret ---- */

static void answer_secret(struct rd_call *call, rd_err err, struct rd_webhook_secrets *secrets)
{
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    char secret[RD_WEBHOOK_SECRET_TEXT + 1];
    char key[RD_WEBHOOK_PUBLIC_TEXT + 1];
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, ANSWER_MAX);
    rd_webhook_secret_text(secrets->secrets[0], secret);
    rd_webhook_public_text(secrets->secrets[0], key);
    rd_buf_printf(&body, "{\"secret\":\"%s\",\"public_key\":\"%s\"", secret, key);
    if (secrets->count > 1) {
        rd_webhook_secret_text(secrets->secrets[1], secret);
        rd_buf_printf(&body, ",\"previous\":\"%s\"", secret);
    }
    rd_buf_char(&body, '}');
    rd_http_reply_header(call->exchange, "Cache-Control", "no-store");
    rd_reply_json(call, 200, &body);
    rd_mem_wipe(secret, sizeof secret);
    rd_mem_wipe(secrets, sizeof *secrets);
    rd_mem_wipe(body.data, body.len);
}

void rd_webhooks_secret(struct rd_call *call)
{
    struct rd_webhook_secrets secrets;
    rd_err err = rd_store_webhook_secrets(call->gateway->store, call->key.owner, rd_clock_wall_ms(),
                                          &secrets);
    answer_secret(call, err, &secrets);
}

void rd_webhooks_rotate(struct rd_call *call)
{
    struct rd_webhook_secrets secrets;
    rd_err err = rd_store_webhook_rotate(call->gateway->store, call->key.owner, rd_clock_wall_ms(),
                                         &secrets);
    answer_secret(call, err, &secrets);
}
