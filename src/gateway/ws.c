/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /ws: the handshake as an HTTP handler, and the functions by which the connections reach the
 * jobs. A session remembers the key's text, and asks the store twice a second whether it still
 * holds: so a key that is revoked, or expires, ends its connections within a second.
 *
 * Jobs that ended long ago are only in the store; they are looked up on the pool, because the
 * thread of the connections must not wait for a disk. */
#include "gateway/ws.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "gateway/queue.h"
#include "ws/handshake.h"

enum {
    INLINE_MAX = 65536, /* bytes of a submission that is read on the connections' thread */
    ANSWER_MAX = 256 * 1024,
};

struct session {
    struct rd_gateway *gateway;
    struct rd_key key;
    uint64_t owner; /* whose jobs it may see; 0: everybody's */
    char key_text[RD_KEY_TEXT_LEN + 1];
};

static bool may(const struct session *session, unsigned scopes)
{
    return (session->key.scopes & scopes) != 0;
}

static bool on_valid(void *ctx, void *arg)
{
    struct session *session = arg;
    struct rd_key key;
    (void)ctx;
    return rd_store_key_check(session->gateway->store, session->key_text, strlen(session->key_text),
                              &key) == RD_OK;
}

static void on_end(void *ctx, void *arg)
{
    struct session *session = arg;
    (void)ctx;
    rd_mem_wipe(session->key_text, sizeof session->key_text);
    rd_mem_free(session);
}

/* ---- jobs that are only in the store ---- */

struct lookup {
    struct session *session;
    struct rd_ws_ask *ask;
    char job[RD_ID_MAX];
    rd_jobs_event_fn *fn; /* NULL: it is to be cancelled */
    void *fn_ctx;
    bool ended;
};

static void found(void *ctx, const struct rd_job_row *row)
{
    struct lookup *lookup = ctx;
    lookup->ended = row->ended_ms != 0;
    if (lookup->ended && lookup->fn != NULL) {
        rd_job_last_event(row, lookup->session->gateway->public_url, lookup->fn, lookup->fn_ctx);
    }
}

static void look_up(void *ctx)
{
    struct lookup *lookup = ctx;
    rd_err err = rd_store_job_get(lookup->session->gateway->store, lookup->session->owner,
                                  lookup->job, found, lookup);
    err = err == RD_OK && !lookup->ended ? RD_ERR_NOT_READY : err; /* it came just now */
    if (lookup->fn != NULL) {
        rd_ws_watched(lookup->ask, err, NULL);
    } else {
        rd_ws_cancelled(lookup->ask, err == RD_OK ? RD_ERR_CONFLICT : err);
    }
    rd_mem_free(lookup);
}

static rd_err begin_lookup(const struct lookup *wanted, const char *job)
{
    struct lookup *lookup = rd_mem_alloc(sizeof *lookup);
    if (lookup == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    *lookup = *wanted;
    memcpy(lookup->job, job, strlen(job) + 1); /* an ask's: it fits */
    rd_err err = rd_pool_submit(wanted->session->gateway->pool, look_up, lookup);
    if (err != RD_OK) {
        rd_mem_free(lookup);
    }
    return err;
}

/* ---- what connections ask for ---- */

static void on_watch(void *ctx, void *arg, const char *job, uint64_t after, rd_jobs_event_fn *fn,
                     void *fn_ctx, struct rd_ws_ask *ask)
{
    struct session *session = arg;
    struct rd_jobs_watch *watch = NULL;
    (void)ctx;
    rd_err err =
        rd_jobs_watch(session->gateway->jobs, session->owner, job, after, fn, fn_ctx, &watch);
    if (err == RD_ERR_NOT_FOUND) {
        const struct lookup lookup = {.session = session, .ask = ask, .fn = fn, .fn_ctx = fn_ctx};
        err = begin_lookup(&lookup, job);
        if (err == RD_OK) {
            return;
        }
    }
    rd_ws_watched(ask, err, watch);
}

static void on_unwatch(void *ctx, void *watch)
{
    struct rd_gateway *gateway = ctx;
    rd_jobs_unwatch(gateway->jobs, watch);
}

static void on_cancelled(void *ctx, rd_err err)
{
    rd_ws_cancelled(ctx, err);
}

static void on_cancel(void *ctx, void *arg, const char *job, struct rd_ws_ask *ask)
{
    struct session *session = arg;
    (void)ctx;
    if (!may(session, RD_SCOPE_GENERATE)) {
        rd_ws_cancelled(ask, RD_ERR_FORBIDDEN);
        return;
    }
    rd_err err =
        rd_jobs_cancel(session->gateway->jobs, session->owner, job, false, on_cancelled, ask);
    if (err == RD_ERR_NOT_FOUND) {
        const struct lookup lookup = {.session = session, .ask = ask};
        err = begin_lookup(&lookup, job);
    }
    if (err != RD_OK) {
        rd_ws_cancelled(ask, err);
    }
}

/* The same Error as over HTTP, whose headers are members here. */
static void write_error(struct rd_buf *out, const struct rd_submit_answer *answer,
                        const char *request_id)
{
    const struct rd_err_info *info = rd_err_info(answer->err);
    rd_buf_str(out, "{\"error\":");
    rd_buf_json_str(out, info->code);
    rd_buf_str(out, ",\"message\":");
    rd_buf_json_str(out,
                    answer->message == NULL || info->http == 500 ? info->message : answer->message);
    rd_buf_printf(out, ",\"request_id\":\"%s\",\"retriable\":%s", request_id,
                  info->retriable ? "true" : "false");
    if (answer->admit != RD_ADMIT_OK) {
        rd_buf_printf(out, ",\"retry_after_s\":%" PRIu64, answer->limits.retry_s);
    }
    if (answer->problems != NULL) {
        rd_buf_str(out, ",\"details\":");
        rd_problems_json(answer->problems, out);
    }
    rd_buf_char(out, '}');
}

struct submission {
    struct session *session;
    struct rd_ws_ask *ask;
    char *body; /* owned */
    size_t len;
    char request_id[RD_ID_MAX];
};

static void on_submitted(void *ctx, const struct rd_submit_answer *answer)
{
    struct submission *submission = ctx;
    RD_AUTO_BUF struct rd_buf json;
    rd_buf_init(&json, ANSWER_MAX);
    if (answer->err == RD_OK) {
        rd_queue_created_json(submission->session->gateway, answer->created, &json);
    } else {
        write_error(&json, answer, submission->request_id);
    }
    bool good = rd_buf_err(&json) == RD_OK;
    rd_ws_submitted(submission->ask, answer->err == RD_OK ? 202 : rd_err_info(answer->err)->http,
                    good ? rd_buf_cstr(&json) : "{}");
    rd_mem_free(submission->body);
    rd_mem_free(submission);
}

static void submit(void *ctx)
{
    struct submission *submission = ctx;
    const struct rd_submit_request request = {
        .gateway = submission->session->gateway,
        .key = &submission->session->key,
        .body = submission->body,
        .len = submission->len,
        .request_id = submission->request_id,
        .media = RD_MEDIA_PNG, /* as over HTTP without an Accept */
    };
    rd_queue_submit_json(&request, on_submitted, submission);
}

static void refuse(struct submission *submission, rd_err err, const char *message)
{
    const struct rd_submit_answer answer = {.err = err, .message = message};
    on_submitted(submission, &answer);
}

static void on_submit(void *ctx, void *arg, const char *body, size_t len, struct rd_ws_ask *ask)
{
    struct session *session = arg;
    struct submission *submission = rd_mem_alloc(sizeof *submission);
    char *copy = submission == NULL ? NULL : rd_mem_memdupz(body, len);
    (void)ctx;
    if (copy == NULL) {
        rd_mem_free(submission);
        rd_ws_submitted(ask, 503,
                        "{\"error\":\"out_of_memory\",\"message\":\"the gateway is short of "
                        "memory\",\"retriable\":true}");
        return;
    }
    *submission = (struct submission){.session = session, .ask = ask, .body = copy, .len = len};
    rd_id_new("req_", submission->request_id);
    rd_err err = RD_OK;
    if (!may(session, RD_SCOPE_GENERATE)) {
        refuse(submission, RD_ERR_FORBIDDEN, NULL);
    } else if (len <= INLINE_MAX) {
        submit(submission);
    } else if ((err = rd_pool_submit(session->gateway->pool, submit, submission)) != RD_OK) {
        refuse(submission, err, NULL);
    }
}

rd_err rd_sockets_start(struct rd_gateway *gateway)
{
    const struct rd_ws_options options = {
        .host = {gateway, on_valid, on_submit, on_watch, on_unwatch, on_cancel, on_end}};
    return rd_ws_start(&options, &gateway->ws);
}

/* ---- the handshake ---- */

struct opening {
    struct rd_ws_conn *conn;
    bool taken;
};

static void on_taken(void *ctx, int fd, const void *extra, size_t extra_len, void *handle)
{
    struct opening *opening = ctx;
    opening->taken = true;
    rd_ws_take(opening->conn,
               &(struct rd_ws_socket){fd, extra, extra_len, rd_http_upgrade_close, handle});
}

static void drop_opening(struct rd_call *call)
{
    struct opening *opening = call->state;
    if (!opening->taken) {
        rd_ws_abandon(opening->conn);
    }
}

static const char *header_of(void *ctx, const char *name)
{
    return rd_http_request_header(ctx, name);
}

/* The key is in Authorization, or among the protocols. */
static rd_err check_key(struct rd_call *call, const struct rd_ws_handshake_answer *answer,
                        char ret_text[RD_KEY_TEXT_LEN + 1])
{
    static const char scheme[] = "Bearer ";
    const char *header = rd_http_request_header(call->exchange, "Authorization");
    const char *text = answer->key;
    size_t len = answer->key_len;
    if (header != NULL) {
        if (strncasecmp(header, scheme, sizeof scheme - 1) != 0) {
            return RD_ERR_UNAUTHORIZED;
        }
        text = header + sizeof scheme - 1;
        len = strlen(text);
    }
    if (text == NULL || len != RD_KEY_TEXT_LEN) {
        return RD_ERR_UNAUTHORIZED;
    }
    RD_TRY(rd_store_key_check(call->gateway->store, text, len, &call->key));
    if ((call->key.scopes & (RD_SCOPE_GENERATE | RD_SCOPE_READ)) == 0) {
        return RD_ERR_FORBIDDEN;
    }
    memcpy(ret_text, text, len);
    ret_text[len] = '\0';
    return RD_OK;
}

/* A place for the connection, with its session; *ret_text is why there is none. */
static rd_err open_session(struct rd_call *call, const struct rd_ws_handshake_answer *answer,
                           struct rd_ws_conn **ret, const char **ret_text)
{
    struct session *session = rd_mem_alloc(sizeof *session);
    if (session == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    rd_err err = check_key(call, answer, session->key_text);
    if (err == RD_OK) {
        session->gateway = call->gateway;
        session->key = call->key;
        session->owner = rd_call_jobs_owner(call);
        err = rd_ws_admit(call->gateway->ws, call->key.owner, session, ret);
        *ret_text = err == RD_ERR_RATE_LIMITED ? "this tenant has too many WebSocket connections"
                    : err == RD_ERR_CAPACITY   ? "there are too many WebSocket connections"
                                               : NULL;
    }
    if (err != RD_OK) {
        on_end(NULL, session);
    }
    return err;
}

void rd_sockets_handle(struct rd_call *call)
{
    struct rd_http_exchange *x = call->exchange;
    const struct rd_config *config = call->runtime->config;
    const struct rd_ws_handshake request = {header_of, x, (const char *const *)config->cors_origins,
                                            config->cors_origins_count};
    struct rd_ws_handshake_answer answer;
    const char *problem = NULL;
    struct opening *opening = rd_arena_alloc(rd_http_arena(x), sizeof *opening);
    rd_err err = opening == NULL ? RD_ERR_NO_MEMORY : rd_ws_handshake(&request, &answer, &problem);
    if (rd_http_request_method(x) != RD_HTTP_GET) {
        err = RD_ERR_UPGRADE_REQUIRED; /* HEAD */
    }
    err = err == RD_OK ? open_session(call, &answer, &opening->conn, &problem) : err;
    if (err != RD_OK) {
        if (err == RD_ERR_UPGRADE_REQUIRED) {
            rd_http_reply_header(x, "Upgrade", "websocket");
            rd_http_reply_header(x, "Sec-WebSocket-Version", "13");
        }
        rd_reply_error(call, err, problem, NULL);
        return;
    }
    call->state = opening;
    call->drop = drop_opening;
    rd_call_common_headers(call);
    rd_http_reply_header(x, "Sec-WebSocket-Accept", answer.accept);
    rd_http_reply_header(x, "Sec-WebSocket-Protocol", answer.protocol ? RD_WS_PROTOCOL : NULL);
    rd_http_reply_upgrade(x, "websocket", on_taken, opening);
}
