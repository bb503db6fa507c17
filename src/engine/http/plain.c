/* SPDX-License-Identifier: Apache-2.0
 *
 * The dialect of an engine of type "http": one POST of JSON for one picture, the picture's bytes
 * back. What goes over the wire is in docs/http-engine.md.
 *
 * Nothing reaches the sink before it is known to be a picture of the asked kind: status 200, the
 * right Content-Type, and the right first bytes. From then on libcurl's buffer is handed on as it
 * is. */
#include <string.h>

#include "base/limits.h"
#include "engine/http/dialect.h"
#include "engine/http/reply.h"

struct plain {
    unsigned output;                  /* the one being made */
    bool begun;                       /* sink.begin() was called */
    uint64_t length;                  /* of the picture; 0: not known */
    uint8_t first[RD_HTTP_MAGIC_LEN]; /* of the picture, until there are enough to judge it */
    size_t first_len;
    uint64_t told_ns; /* X-Device-Seconds of this answer */
    bool told;
    uint64_t device_ns; /* of the outputs so far */
    unsigned tellers;   /* ... that said it */
    char device[64];
};

static rd_err plain_begin(struct rd_http_run *run)
{
    struct plain *state = run->state;
    memset(state, 0, sizeof *state);
    return RD_OK;
}

static void write_fields(struct rd_buf *text, const struct rd_generation *generation, uint32_t seed)
{
    rd_buf_str(text, "{\"request\":");
    if (generation->json != NULL && generation->json_len > 0) {
        rd_buf_append(text, generation->json, generation->json_len);
    } else {
        rd_buf_str(text, "{}");
    }
    rd_buf_str(text, ",\"family\":");
    rd_buf_json_str(text, generation->family);
    rd_buf_str(text, ",\"model\":");
    rd_buf_json_str(text, generation->model);
    rd_buf_printf(text, ",\"task\":\"%s\",\"width\":%u,\"height\":%u,\"seed\":%u,\"media\":\"%s\"",
                  rd_task_name(generation->task), generation->format->width,
                  generation->format->height, seed, rd_media_type(generation->media));
}

static rd_err plain_request(struct rd_http_run *run, struct rd_http_request *request)
{
    (void)request;
    struct plain *state = run->state;
    const struct rd_generation *generation = run->job->generation;
    struct rd_http_body *body = &run->body;
    const struct {
        const char *field;
        const struct rd_source *source;
    } pictures[] = {{",\"image\":\"", &generation->image}, {",\"mask\":\"", &generation->mask}};
    write_fields(&body->text, generation, rd_generation_seed(generation, state->output));
    for (size_t i = 0; i < 2; i++) {
        if (pictures[i].source->bytes != NULL) {
            rd_buf_str(&body->text, pictures[i].field);
            rd_http_body_base64(body, pictures[i].source->bytes, pictures[i].source->bytes_len);
            rd_buf_char(&body->text, '"');
        }
    }
    rd_buf_char(&body->text, '}');
    return RD_OK;
}

static void plain_header(struct rd_http_run *run, const char *line, size_t len)
{
    struct plain *state = run->state;
    const char *value;
    size_t value_len;
    switch (line[0]) { /* most lines need no comparison */
    case 'H':
        if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) { /* also behind a 100 or 103 */
            state->told = false;
        }
        break;
    case 'X':
    case 'x':
        if (rd_http_header_is(line, len, "X-Device-Seconds", &value, &value_len)) {
            state->told = rd_http_seconds_parse(value, value_len, &state->told_ns);
        } else if (rd_http_header_is(line, len, "X-Device", &value, &value_len)) {
            rd_http_sanitise(value, value_len, state->device, sizeof state->device);
        }
        break;
    default:
        break;
    }
}

static rd_err plain_head(struct rd_http_run *run, const struct rd_http_answer *answer)
{
    struct plain *state = run->state;
    enum rd_media media = run->job->generation->media;
    state->begun = false;
    state->first_len = 0;
    state->length = answer->length;
    if (!rd_http_type_is(answer->type, media)) {
        char shown[64];
        const char *type = answer->type != NULL ? answer->type : "nothing";
        rd_http_sanitise(type, strlen(type), shown, sizeof shown);
        return rd_http_fail(run, RD_ERR_BACKEND_FAILED, RD_HTTP_FINAL, "the engine sent %s, not %s",
                            shown, rd_media_type(media));
    }
    return RD_OK;
}

static rd_err begin_output(struct rd_http_run *run, const void *first)
{
    struct plain *state = run->state;
    const struct rd_engine_sink *sink = &run->job->sink;
    enum rd_media media = run->job->generation->media;
    if (!rd_http_magic_is(first, media)) {
        return rd_http_fail(run, RD_ERR_BACKEND_FAILED, RD_HTTP_FINAL,
                            "the engine's body is not what its Content-Type says");
    }
    state->begun = true;
    return sink->begin(sink->ctx, state->output, media, state->length);
}

static rd_err plain_data(struct rd_http_run *run, const char *data, size_t len)
{
    struct plain *state = run->state;
    const struct rd_engine_sink *sink = &run->job->sink;
    if (state->begun) {
        return sink->data(sink->ctx, state->output, data, len);
    }
    if (state->first_len == 0 && len >= RD_HTTP_MAGIC_LEN) { /* the usual case: all at once */
        RD_TRY(begin_output(run, data));
        return sink->data(sink->ctx, state->output, data, len);
    }
    size_t missing = RD_HTTP_MAGIC_LEN - state->first_len;
    size_t take = len < missing ? len : missing;
    memcpy(state->first + state->first_len, data, take);
    state->first_len += take;
    if (take < missing) {
        return RD_OK;
    }
    RD_TRY(begin_output(run, state->first));
    RD_TRY(sink->data(sink->ctx, state->output, state->first, RD_HTTP_MAGIC_LEN));
    return take == len ? RD_OK : sink->data(sink->ctx, state->output, data + take, len - take);
}

static rd_err plain_end(struct rd_http_run *run, struct rd_http_next *next)
{
    struct plain *state = run->state;
    if (!state->begun) {
        return rd_http_fail(run, RD_ERR_BACKEND_FAILED, RD_HTTP_FINAL,
                            "the engine's body is too short to be a picture");
    }
    if (state->told) {
        state->device_ns += state->told_ns;
        state->tellers++;
    }
    RD_TRY(run->job->sink.end(run->job->sink.ctx, state->output));
    next->again = ++state->output < run->job->generation->count;
    return RD_OK;
}

/* The server's own figure, when every exchange came to an end and gave one. */
static void plain_report(struct rd_http_run *run, rd_err err, struct rd_engine_report *report)
{
    (void)err;
    const struct plain *state = run->state;
    if (state->tellers > 0 && state->tellers == run->exchanges) {
        report->device_ns = state->device_ns;
        report->source = RD_DEVICE_TIME_ENGINE;
    }
    memcpy(report->device, state->device, sizeof report->device);
}

static void plain_capabilities(void *shared, const char *model, struct rd_engine_capabilities *ret)
{
    (void)shared;
    (void)model;
    *ret = (struct rd_engine_capabilities){.tasks = (1u << RD_TASK_COUNT_) - 1,
                                           .media = (1u << RD_MEDIA_COUNT_) - 1};
}

static const struct rd_http_dialect plain = {
    .type = "http",
    .run_size = sizeof(struct plain),
    .capabilities = plain_capabilities,
    .begin = plain_begin,
    .request = plain_request,
    .header = plain_header,
    .head = plain_head,
    .data = plain_data,
    .end = plain_end,
    .report = plain_report,
};

static rd_err plain_open(const struct rd_engine_config *config, struct rd_engine **ret,
                         struct rd_why *why)
{
    return rd_http_open(&plain, config, ret, why);
}

const struct rd_engine_ops rd_engine_http_ops = RD_HTTP_ENGINE_OPS("http", plain_open);
