/* SPDX-License-Identifier: Apache-2.0
 *
 * From messages to requests to the host, from its answers and events to messages.
 *
 * An ask is open from the client's message until the host has answered it; a connection is not
 * freed while it has any, so an answer may come on any thread and at any time. A job that was made
 * is watched from inside the answer that tells its id, and the ack goes out with the first event or
 * with the answer of the watch, whichever is sooner: so the client gets the ack first, then every
 * event. */
#include <string.h>

#include "base/mem.h"
#include "ws/internal.h"

/* ---- telling ---- */

static void put_text(struct rd_ws_conn *conn, struct rd_buf *text)
{
    struct rd_ws_out *out = rd_ws_out_new(text);
    (void)rd_ws_put(conn, out, false); /* NULL, without memory: closed as a full queue is */
}

static void tell_error(struct rd_ws_conn *conn, const char *id, const char *job, rd_err err,
                       const char *message)
{
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, RD_WS_OUT_MAX);
    rd_ws_write_error(&text, id, job, err, message);
    put_text(conn, &text);
}

static struct rd_ws_out *make_ack(const struct rd_ws_ask *ask)
{
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, RD_WS_OUT_MAX);
    rd_ws_write_ack(&text, ask->id, ask->job);
    return rd_ws_out_new(&text);
}

/* The ask is answered; from now on its connection may be gone. */
static void finish(struct rd_ws_ask *ask)
{
    struct rd_ws_conn *conn = ask->conn;
    struct rd_ws *ws = conn->ws;
    (void)pthread_mutex_lock(&ws->lock);
    if (ask->sub != NULL) {
        ask->sub->settled = true;
    }
    conn->asks--;
    rd_ws_touch(conn);
    (void)pthread_mutex_unlock(&ws->lock);
    rd_mem_free(ask);
}

/* ---- watching ---- */

/* Under the host's lock, which is outside of ours. */
static bool on_event(void *ctx, const struct rd_jobs_event *event)
{
    struct rd_ws_sub *sub = ctx;
    struct rd_ws_conn *conn = sub->conn;
    if (event->name[0] == '\0') {
        return true; /* a heartbeat: we have pings */
    }
    if (!event->last && !rd_ws_has_room(conn)) {
        return false; /* before anything is written for it */
    }
    RD_AUTO_BUF struct rd_buf text;
    RD_AUTO_BUF struct rd_buf missed;
    rd_buf_init(&text, RD_WS_OUT_MAX);
    rd_buf_init(&missed, RD_WS_OUT_MAX);
    rd_ws_write_event(&text, event);
    struct rd_ws_out *chain = rd_ws_out_new(&text);
    if (event->missed > 0 && chain != NULL) {
        rd_ws_write_missed(&missed, event->job, event->missed);
        struct rd_ws_out *first = rd_ws_out_new(&missed);
        if (first == NULL) {
            rd_ws_out_free(chain);
            chain = NULL;
        } else {
            first->next = chain;
            chain = first;
        }
    }
    bool taken = rd_ws_put_event(sub, chain, !event->last);
    if (event->last) {
        (void)pthread_mutex_lock(&conn->ws->lock);
        sub->ended = true;
        rd_ws_touch(conn);
        (void)pthread_mutex_unlock(&conn->ws->lock);
    }
    return taken || event->last;
}

/* A place for one more job. CONFLICT: it is watched already, RATE_LIMITED: too many are. */
static rd_err add_sub(struct rd_ws_conn *conn, struct rd_ws_sub *sub)
{
    (void)pthread_mutex_lock(&conn->ws->lock);
    rd_err err = conn->sub_count < RD_LIMIT_WS_JOBS ? RD_OK : RD_ERR_RATE_LIMITED;
    for (struct rd_ws_sub *other = conn->subs; other != NULL; other = other->next) {
        if (!other->ended && strcmp(other->job, sub->job) == 0) {
            err = RD_ERR_CONFLICT;
        }
    }
    if (err == RD_OK) {
        sub->next = conn->subs;
        conn->subs = sub;
        conn->sub_count++;
    }
    (void)pthread_mutex_unlock(&conn->ws->lock);
    return err;
}

static void free_sub(struct rd_ws_sub *sub)
{
    if (sub != NULL) {
        rd_ws_out_free(sub->ack);
        rd_mem_free(sub);
    }
}

/* The job of this ask, with its ack ready. */
static rd_err make_sub(struct rd_ws_ask *ask)
{
    struct rd_ws_sub *sub = rd_mem_alloc(sizeof *sub);
    struct rd_ws_out *ack = sub == NULL ? NULL : make_ack(ask);
    if (ack == NULL) {
        rd_mem_free(sub);
        return RD_ERR_NO_MEMORY;
    }
    sub->conn = ask->conn;
    sub->ack = ack;
    memcpy(sub->job, ask->job, sizeof sub->job);
    rd_err err = add_sub(ask->conn, sub);
    if (err == RD_OK) {
        ask->sub = sub;
    } else {
        free_sub(sub);
    }
    return err;
}

static void watch(struct rd_ws_ask *ask, uint64_t after)
{
    struct rd_ws_conn *conn = ask->conn;
    const struct rd_ws_host *host = &conn->ws->options.host;
    rd_err err = make_sub(ask);
    if (err == RD_OK) {
        host->watch(host->ctx, conn->session, ask->job, after, on_event, ask->sub, ask);
        return;
    }
    if (err == RD_ERR_CONFLICT && ask->kind == RD_WS_GENERATE) {
        (void)rd_ws_put(conn, make_ack(ask), false); /* the same job, by its idempotency key */
    } else {
        tell_error(conn, ask->id, ask->job, err,
                   err == RD_ERR_CONFLICT ? "this connection is subscribed to the job already"
                   : err == RD_ERR_RATE_LIMITED
                       ? "this connection is subscribed to as many jobs as may be"
                       : NULL);
    }
    finish(ask);
}

void rd_ws_watched(struct rd_ws_ask *ask, rd_err err, void *handle)
{
    struct rd_ws_sub *sub = ask->sub;
    if (err == RD_OK) {
        rd_ws_put_ack(sub);
    } else {
        tell_error(ask->conn, ask->id, ask->job, err,
                   err == RD_ERR_NOT_FOUND ? "no such job of this caller" : NULL);
    }
    (void)pthread_mutex_lock(&ask->conn->ws->lock);
    sub->watch = handle;
    sub->ended = sub->ended || handle == NULL;
    (void)pthread_mutex_unlock(&ask->conn->ws->lock);
    finish(ask);
}

void rd_ws_reap_subs(struct rd_ws_conn *conn, bool all)
{
    const struct rd_ws_host *host = &conn->ws->options.host;
    struct rd_ws_sub *reaped = NULL;
    (void)pthread_mutex_lock(&conn->ws->lock);
    for (struct rd_ws_sub **at = &conn->subs; *at != NULL;) {
        struct rd_ws_sub *sub = *at;
        if (!all && !(sub->ended && sub->settled)) {
            at = &sub->next;
            continue;
        }
        *at = sub->next;
        conn->sub_count--;
        sub->next = reaped;
        reaped = sub;
    }
    (void)pthread_mutex_unlock(&conn->ws->lock);
    while (reaped != NULL) {
        struct rd_ws_sub *sub = reaped;
        reaped = sub->next;
        if (sub->watch != NULL) {
            host->unwatch(host->ctx, sub->watch);
        }
        free_sub(sub);
    }
}

/* ---- the other requests ---- */

void rd_ws_submitted(struct rd_ws_ask *ask, int status, const char *json)
{
    if (status < 200 || status > 299 || !rd_ws_created_job(json, ask->job)) {
        RD_AUTO_BUF struct rd_buf text;
        rd_buf_init(&text, RD_WS_OUT_MAX);
        rd_ws_write_refusal(&text, ask->id, json);
        put_text(ask->conn, &text);
        finish(ask);
        return;
    }
    watch(ask, 0);
}

void rd_ws_cancelled(struct rd_ws_ask *ask, rd_err err)
{
    if (err == RD_OK) {
        (void)rd_ws_put(ask->conn, make_ack(ask), false);
    } else {
        tell_error(ask->conn, ask->id, ask->job, err,
                   err == RD_ERR_NOT_FOUND  ? "no such job of this caller"
                   : err == RD_ERR_CONFLICT ? "the job has ended"
                                            : NULL);
    }
    finish(ask);
}

static struct rd_ws_ask *open_ask(struct rd_ws_conn *conn, const struct rd_ws_message *message)
{
    struct rd_ws_ask *ask = rd_mem_alloc(sizeof *ask);
    if (ask == NULL) {
        return NULL;
    }
    ask->conn = conn;
    ask->kind = message->kind;
    memcpy(ask->id, message->id, sizeof ask->id);
    memcpy(ask->job, message->job, sizeof ask->job);
    (void)pthread_mutex_lock(&conn->ws->lock);
    conn->asks++;
    (void)pthread_mutex_unlock(&conn->ws->lock);
    return ask;
}

void rd_ws_handle(struct rd_ws_conn *conn, const char *text, size_t len)
{
    const struct rd_ws_host *host = &conn->ws->options.host;
    struct rd_ws_message message;
    const char *problem = NULL;
    rd_err err = rd_ws_message_parse(text, len, &message, &problem);
    struct rd_ws_ask *ask = err == RD_OK ? open_ask(conn, &message) : NULL;
    if (ask == NULL) {
        tell_error(conn, message.id, message.job, err == RD_OK ? RD_ERR_NO_MEMORY : err, problem);
    } else if (message.kind == RD_WS_GENERATE) {
        host->submit(host->ctx, conn->session, message.body, strlen(message.body), ask);
    } else if (message.kind == RD_WS_SUBSCRIBE) {
        watch(ask, message.after);
    } else {
        host->cancel(host->ctx, conn->session, ask->job, ask);
    }
    rd_mem_free(message.body);
}
