/* SPDX-License-Identifier: Apache-2.0
 *
 * Asking about jobs and cancelling them. What is in memory is answered on the HTTP thread; what is
 * only in the store is read on the pool. */
#include <string.h>

#include "base/limits.h"
#include "base/text.h"
#include "gateway/gateway.h"

enum { JOB_JSON_MAX = 40 << 20, LIST_DEFAULT = 50, LIST_MAX = 1000 };

uint64_t rd_call_jobs_owner(const struct rd_call *call)
{
    return (call->key.scopes & RD_SCOPE_ADMIN) != 0 ? 0 : call->key.owner;
}

static bool valid_id(struct rd_call *call)
{
    if (rd_id_valid(call->args[0], "j_")) {
        return true;
    }
    rd_reply_error(call, RD_ERR_NOT_FOUND, NULL, NULL);
    return false;
}

/* ---- one job ---- */

static void reply_job(struct rd_call *call, const char *output, const struct rd_buf *json)
{
    bool complete = output[0] != '\0';
    if (complete) {
        rd_http_reply_headerf(call->exchange, "Location", "%s/a/%s", call->gateway->public_url,
                              output);
    }
    rd_http_reply_header(call->exchange, "Cache-Control", "no-store");
    rd_reply_json(call, complete && !call->plain ? 303 : 200, json);
}

static void reply_row(void *ctx, const struct rd_job_row *row)
{
    struct rd_call *call = ctx;
    char output[RD_ID_ASSET_LEN + 1] = "";
    bool stored;
    RD_AUTO_BUF struct rd_buf json;
    rd_buf_init(&json, JOB_JSON_MAX);
    /* It may be alive, with a request that is too large for memory. */
    rd_err err = rd_jobs_get(call->gateway->jobs, 0, row->id, row->request, &json, output, &stored);
    if (err != RD_OK) {
        rd_buf_reset(&json);
        (void)rd_job_output(row, 0, output);
        rd_job_json(row, call->gateway->public_url, &json);
    }
    reply_job(call, output, &json);
}

static void get_stored(void *ctx)
{
    struct rd_call *call = ctx;
    rd_err err = rd_store_job_get(call->gateway->store, rd_call_jobs_owner(call), call->args[0],
                                  reply_row, call);
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
    }
}

/* From memory, or handed to the pool. `waits`: the exchange is suspended already. */
static void get(struct rd_call *call, bool waits)
{
    char output[RD_ID_ASSET_LEN + 1] = "";
    bool stored = false;
    RD_AUTO_BUF struct rd_buf json;
    rd_buf_init(&json, JOB_JSON_MAX);
    rd_err err = rd_jobs_get(call->gateway->jobs, rd_call_jobs_owner(call), call->args[0], NULL,
                             &json, output, &stored);
    if (err == RD_OK) {
        reply_job(call, output, &json);
        return;
    }
    if (!stored) {
        rd_reply_error(call, RD_ERR_NOT_FOUND, NULL, NULL);
        return;
    }
    if (!waits) {
        rd_http_suspend(call->exchange);
    }
    err = rd_pool_submit(call->gateway->pool, get_stored, call);
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
    }
}

void rd_jobs_get_handle(struct rd_call *call)
{
    if (valid_id(call)) {
        get(call, false);
    }
}

/* ---- cancelling ---- */

/* Not in memory: it ended long ago, or there is none. */
static void ended_or_none(void *ctx, const struct rd_job_row *row)
{
    struct rd_call *call = ctx;
    (void)row;
    rd_reply_error(call, RD_ERR_CONFLICT, "the job has ended already", NULL);
}

static void cancel_stored(void *ctx)
{
    struct rd_call *call = ctx;
    rd_err err = rd_store_job_get(call->gateway->store, rd_call_jobs_owner(call), call->args[0],
                                  ended_or_none, call);
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
    }
}

static void cancel(struct rd_call *call, bool queued_only, rd_jobs_done_fn *fn)
{
    if (!valid_id(call)) {
        return;
    }
    rd_http_suspend(call->exchange);
    rd_err err = rd_jobs_cancel(call->gateway->jobs, rd_call_jobs_owner(call), call->args[0],
                                queued_only, fn, call);
    if (err == RD_ERR_NOT_FOUND) {
        err = rd_pool_submit(call->gateway->pool, cancel_stored, call);
    }
    if (err != RD_OK) {
        rd_reply_error(call, err,
                       err != RD_ERR_CONFLICT ? NULL
                       : queued_only ? "the job is running or has ended; POST /jobs/{id}/cancel "
                                       "stops a running one"
                                     : "the job has ended already",
                       NULL);
    }
}

static void deleted(void *ctx, rd_err err)
{
    struct rd_call *call = ctx;
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    rd_call_common_headers(call);
    rd_http_reply(call->exchange, 204);
}

void rd_jobs_delete_handle(struct rd_call *call)
{
    cancel(call, true, deleted);
}

static void cancelled(void *ctx, rd_err err)
{
    struct rd_call *call = ctx;
    if (err != RD_OK) {
        rd_reply_error(call, err,
                       err == RD_ERR_CONFLICT ? "the job ended before it could be stopped" : NULL,
                       NULL);
        return;
    }
    call->plain = true;
    get(call, true);
}

void rd_jobs_cancel_handle(struct rd_call *call)
{
    cancel(call, false, cancelled);
}

/* ---- the list ---- */

struct listing {
    struct rd_call *call;
    struct rd_buf json;
    unsigned count, limit;
    char last[RD_ID_MAX];
    bool more;
};

static bool list_row(void *ctx, const struct rd_job_row *row)
{
    struct listing *listing = ctx;
    if (listing->count == listing->limit) {
        listing->more = true;
        return false;
    }
    struct rd_gateway *gateway = listing->call->gateway;
    char output[RD_ID_ASSET_LEN + 1];
    bool stored;
    rd_buf_str(&listing->json, listing->count++ == 0 ? "" : ",");
    RD_AUTO_BUF struct rd_buf one;
    rd_buf_init(&one, RD_KIB(64));
    /* One that lives is told as it is now; the list leaves requests out. */
    if (rd_jobs_get(gateway->jobs, 0, row->id, "", &one, output, &stored) != RD_OK) {
        rd_buf_reset(&one);
        rd_job_json(row, gateway->public_url, &one);
    }
    rd_buf_append(&listing->json, rd_buf_cstr(&one), one.len);
    memcpy(listing->last, row->id, sizeof listing->last);
    return true;
}

static bool read_filter(struct rd_call *call, struct rd_job_filter *ret)
{
    struct rd_problems problems = {.count = 0};
    struct rd_arena *arena = rd_http_arena(call->exchange);
    const char *limit = rd_http_request_query(call->exchange, "limit");
    const char *after = rd_http_request_query(call->exchange, "after");
    const char *status = rd_http_request_query(call->exchange, "status");
    uint64_t number = LIST_DEFAULT;
    enum rd_job_status which = RD_STATUS_QUEUED;
    if (limit != NULL &&
        (!rd_text_u64(limit, strlen(limit), &number) || number < 1 || number > LIST_MAX)) {
        rd_problems_add(&problems, arena, "limit", "range", "a whole number from 1 to %d",
                        LIST_MAX);
    }
    if (after != NULL && !rd_id_valid(after, "j_")) {
        rd_problems_add(&problems, arena, "after", "form", "a job's id");
    }
    if (status != NULL && !rd_job_status_parse(status, &which)) {
        rd_problems_add(&problems, arena, "status", "enum",
                        "one of queued, running, complete, error, cancelled");
    }
    if (problems.count > 0) {
        rd_reply_problems(call, RD_ERR_INVALID_REQUEST, &problems);
        return false;
    }
    *ret = (struct rd_job_filter){
        .owner = rd_call_jobs_owner(call),
        .after = after == NULL ? "" : after,
        .status = status == NULL ? -1 : (int)which,
        .limit = (unsigned)number + 1, /* to see whether there are more */
    };
    return true;
}

void rd_jobs_list_handle(struct rd_call *call)
{
    struct rd_job_filter filter;
    if (!read_filter(call, &filter)) {
        return;
    }
    struct listing listing = {.call = call, .limit = filter.limit - 1};
    rd_buf_init(&listing.json, JOB_JSON_MAX);
    rd_buf_str(&listing.json, "{\"jobs\":[");
    rd_err err = rd_store_jobs_list(call->gateway->store, &filter, list_row, &listing);
    rd_buf_str(&listing.json, "],\"next\":");
    if (listing.more) {
        rd_buf_json_str(&listing.json, listing.last);
    } else {
        rd_buf_str(&listing.json, "null");
    }
    rd_buf_char(&listing.json, '}');
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
    } else {
        rd_http_reply_header(call->exchange, "Cache-Control", "no-store");
        rd_reply_json(call, 200, &listing.json);
    }
    rd_buf_done(&listing.json);
}
