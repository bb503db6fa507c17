/* SPDX-License-Identifier: Apache-2.0
 *
 * render_job_watch: the events of a job over as many connections as it takes. Each new one sends
 * the id of the last event that was told, so the gateway goes on behind it; what comes twice all
 * the same is not told twice. */
#include <stdio.h>
#include <string.h>

#include "base/id.h"
#include "base/text.h"
#include "librender/internal.h"
#include "librender/sse.h"

enum { FAILURES_MAX = 10, FIRST_MS = 250, LONGEST_MS = 10000 };

struct watch {
    render_job_event_fn *fn;
    void *ctx;
    uint64_t last;     /* the id of the last event that was told */
    unsigned failures; /* connections since then */
    bool connected;    /* the gateway has begun to tell, once */
    bool broken;       /* what it tells makes no sense */
    bool ended, given_up;
    struct rd_sse sse;
};

static bool on_event(void *ctx, const char *name, const char *data, uint64_t id)
{
    struct watch *watch = ctx;
    if (watch->ended || (id != 0 && id <= watch->last)) {
        return true; /* told before the connection broke */
    }
    const render_job_event event = {name, data, id};
    watch->last = id != 0 ? id : watch->last;
    watch->failures = 0;
    watch->ended = strcmp(name, "complete") == 0 || strcmp(name, "error") == 0;
    watch->given_up = watch->fn(watch->ctx, &event) != 0;
    return !watch->given_up; /* the last event told, the gateway ends the stream */
}

static bool on_data(void *ctx, const char *data, size_t len)
{
    struct watch *watch = ctx;
    watch->connected = true;
    bool go_on = rd_sse_feed(&watch->sse, data, len);
    watch->broken = !go_on && !watch->ended && !watch->given_up;
    return go_on;
}

/* One connection. */
static render_status follow(render_client *client, const char *path, struct watch *watch)
{
    char last[24];
    RD_AUTO_BUF struct rd_buf refusal;
    rd_buf_init(&refusal, RD_CLIENT_JSON_MAX);
    rd_sse_init(&watch->sse, on_event, watch);
    (void)snprintf(last, sizeof last, "%llu", (unsigned long long)watch->last);
    struct rd_client_call call = RD_CLIENT_CALL_INIT;
    call.url = path;
    call.accept = "text/event-stream";
    call.last_event = watch->last == 0 ? NULL : last;
    call.on_data = on_data;
    call.data_ctx = watch;
    render_status status = rd_client_perform(client, &call, &refusal);
    rd_sse_done(&watch->sse);
    const char *type = rd_client_header(client, "Content-Type");
    bool stream = type != NULL && rd_text_starts(type, "text/event-stream");
    if (watch->broken || (status == RENDER_OK && !stream)) {
        watch->broken = true;
        rd_client_reset(client);
        return rd_client_fail(client, RENDER_ERR_SERVER,
                              "%s%s is no stream of events: is it a Render gateway?", client->url,
                              path);
    }
    return status;
}

/* May the next connection do better? A stream that ended or broke, a gateway that is busy or being
 * started again; but one that was never reached is more likely misspelt. */
static bool worth_trying(const struct watch *watch, render_status status)
{
    return !watch->broken &&
           (status == RENDER_OK || status == RENDER_ERR_BUSY ||
            (watch->connected && (status == RENDER_ERR_CONNECT || status == RENDER_ERR_SERVER)));
}

static unsigned pause_ms(const render_client *client, unsigned failures)
{
    if (client->retry_after > 0) {
        return client->retry_after < LONGEST_MS / 1000 ? (unsigned)client->retry_after * 1000
                                                       : (unsigned)LONGEST_MS;
    }
    unsigned ms = FIRST_MS << (failures < 6 ? failures : 6);
    return ms < LONGEST_MS ? ms : (unsigned)LONGEST_MS;
}

render_status render_job_watch(render_client *client, const char *id, uint64_t after,
                               render_job_event_fn *fn, void *ctx)
{
    struct watch watch = {.fn = fn, .ctx = ctx, .last = after};
    char path[128];
    rd_client_reset(client);
    if (id == NULL || !rd_id_valid(id, "j_") || fn == NULL) {
        return rd_client_fail(client, RENDER_ERR_USAGE, "this is no job's id");
    }
    (void)snprintf(path, sizeof path, "/jobs/%s/events", id);
    for (;;) {
        render_status status = follow(client, path, &watch);
        if (watch.ended && !watch.given_up) {
            rd_client_reset(client);
            return RENDER_OK;
        }
        if (watch.given_up) {
            rd_client_reset(client);
            return rd_client_fail(client, RENDER_ERR_CANCELLED, "given up");
        }
        if (!worth_trying(&watch, status)) {
            return status;
        }
        if (watch.failures == FAILURES_MAX) {
            return status != RENDER_OK
                       ? status
                       : rd_client_fail(client, RENDER_ERR_SERVER,
                                        "the gateway ends the stream of events again and again");
        }
        if (!rd_client_rest(client, pause_ms(client, watch.failures++))) {
            rd_client_reset(client);
            return rd_client_fail(client, RENDER_ERR_CANCELLED, "given up");
        }
    }
}
