/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /jobs/{id}/events: what happens to a job, as server-sent events (WHATWG HTML, 9.2). Resumable
 * by Last-Event-ID: what is still kept is sent again, what is not is counted in a comment. A job
 * that has ended is answered with its last event. A reader that is too slow loses events, and is
 * told how many; the last event is kept for it.
 *
 * The stream ends once: after its last event (on the pool), or when the client leaves (gone). */
#include <inttypes.h>
#include <string.h>

#include "base/limits.h"
#include "base/text.h"
#include "gateway/gateway.h"

enum state {
    SETTING_UP,
    SETTING_UP_TO_END, /* ... and it is to end as soon as it is set up */
    OPEN,
    ENDING, /* whoever changed it to this ends the stream; nobody else touches it any more */
};

struct stream {
    struct rd_call *call;
    struct rd_jobs_watch *watch;
    _Atomic int state; /* enum state */
    _Atomic bool left; /* the client, while somebody else was about to end the stream */
    bool begun;
};

/* True: the caller is the one who ends it. */
static bool claim_end(struct stream *stream)
{
    int now = SETTING_UP;
    if (atomic_compare_exchange_strong(&stream->state, &now, SETTING_UP_TO_END)) {
        return false;
    }
    now = OPEN;
    return atomic_compare_exchange_strong(&stream->state, &now, ENDING);
}

/* After it the stream is gone. */
static void end_stream(struct stream *stream)
{
    rd_jobs_unwatch(stream->call->gateway->jobs, RD_STEAL(stream->watch));
    rd_http_stream_end(stream->call->exchange);
}

/* The last thing that the handler does: once it is open another thread may end it. */
static void set_up(struct stream *stream, bool end)
{
    int now = SETTING_UP;
    if (end || !atomic_compare_exchange_strong(&stream->state, &now, OPEN)) {
        end_stream(stream);
    }
}

static void end_on_pool(void *ctx)
{
    end_stream(ctx);
}

static void gone(struct rd_call *call)
{
    struct stream *stream = call->state;
    if (claim_end(stream)) {
        end_stream(stream);
    } else {
        atomic_store(&stream->left, true); /* only this thread frees it: it is still there */
    }
}

static bool write_event(struct stream *stream, const struct rd_jobs_event *event)
{
    if (event->name[0] == '\0') {
        static const char beat[] = ": alive\n\n";
        return rd_http_stream_write(stream->call->exchange, beat, sizeof beat - 1);
    }
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, RD_JOBS_EVENT_MAX + RD_KIB(4));
    if (event->missed > 0) {
        rd_buf_printf(&text, "event: missed\ndata: {\"count\":%u}\n\n", event->missed);
    }
    rd_buf_printf(&text, "id: %" PRIu64 "\nevent: %s\ndata: ", event->id, event->name);
    rd_buf_append(&text, event->data, event->len);
    rd_buf_str(&text, "\n\n");
    return rd_buf_err(&text) == RD_OK &&
           rd_http_stream_write(stream->call->exchange, text.data, text.len);
}

/* Under the jobs' lock, where a watch cannot be given up: the pool ends the stream. False when it
 * is too busy: then it is offered again, and a client that sees it twice sees the same id. */
static bool end_soon(struct stream *stream)
{
    if (!claim_end(stream)) {
        return true;
    }
    if (rd_pool_submit(stream->call->gateway->pool, end_on_pool, stream) == RD_OK) {
        return true;
    }
    atomic_store(&stream->state, OPEN);
    return false;
}

/* Under the jobs' lock. */
static bool on_event(void *ctx, const struct rd_jobs_event *event)
{
    struct stream *stream = ctx;
    bool ends = event->last || atomic_load(&stream->call->gateway->draining);
    bool left = atomic_load(&stream->left);
    if (!write_event(stream, event) && !left) {
        return false;
    }
    return !(ends || left) || end_soon(stream);
}

static void begin(struct stream *stream)
{
    struct rd_call *call = stream->call;
    if (stream->begun) {
        return;
    }
    stream->begun = true;
    rd_call_common_headers(call);
    rd_http_reply_header(call->exchange, "Content-Type", "text/event-stream");
    rd_http_reply_header(call->exchange, "Cache-Control", "no-store");
    rd_http_reply_header(call->exchange, "X-Accel-Buffering", "no"); /* nginx in front */
    call->gone = gone;
    rd_http_reply_stream(call->exchange, 200);
}

static void stored_event(void *ctx, const struct rd_job_row *row)
{
    struct stream *stream = ctx;
    struct rd_gateway *gateway = stream->call->gateway;
    begin(stream);
    rd_job_last_event(row, gateway->public_url, on_event, stream);
}

static bool last_id(struct rd_call *call, uint64_t *ret)
{
    const char *text = rd_http_request_header(call->exchange, "Last-Event-ID");
    *ret = 0;
    return text == NULL || text[0] == '\0' || rd_text_u64(text, strlen(text), ret);
}

/* On the pool, since a job that is not in memory is looked for in the store. */
void rd_events_handle(struct rd_call *call)
{
    struct rd_gateway *gateway = call->gateway;
    uint64_t owner = rd_call_jobs_owner(call);
    uint64_t after;
    struct stream *stream = rd_arena_alloc(rd_http_arena(call->exchange), sizeof *stream);
    if (stream == NULL) {
        rd_reply_error(call, RD_ERR_NO_MEMORY, NULL, NULL);
        return;
    }
    if (!last_id(call, &after)) {
        rd_reply_problem(call, RD_ERR_INVALID_REQUEST, "Last-Event-ID", "type",
                         "the id of an event, a number");
        return;
    }
    stream->call = call;
    call->state = stream;
    rd_err err = RD_ERR_NOT_FOUND;
    if (rd_jobs_visible(gateway->jobs, owner, call->args[0])) {
        begin(stream);
        err = rd_jobs_watch(gateway->jobs, owner, call->args[0], after, on_event, stream,
                            &stream->watch);
    }
    bool watches = err == RD_OK && stream->watch != NULL;
    if (err == RD_ERR_NOT_FOUND) { /* or forgotten by the memory just now */
        err = rd_store_job_get(gateway->store, owner, call->args[0], stored_event, stream);
    }
    if (!stream->begun) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    set_up(stream, !watches);
}
