/* SPDX-License-Identifier: Apache-2.0
 *
 * One RPC on one HTTP/2 stream: its headers out, its body out as nghttp2 asks for it, the answer's
 * headers, body and trailers in, and what all that means.
 *
 * An answer is over when the server says END_STREAM, not when the stream is closed: a server may
 * answer before it has read the whole request. Then the rest of the request is not sent.
 *
 * Sent again, at most RD_GRPC_REPEATS_MAX times, is only what the server says that it has not
 * looked at: a stream refused with REFUSED_STREAM or above GOAWAY's last one (nghttp2 reports both
 * as REFUSED_STREAM), and a call whose headers never left this process. Everything else may have
 * cost the model its work. gRPC's own servers refuse streams below the number that they allow, for
 * a moment, while they clean up behind others. */
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "engine/triton/grpc_internal.h"

/* ---- lists ---- */

void rd_grpc_list_push(struct rd_grpc_list *list, struct rd_grpc_call *call)
{
    call->list = list;
    call->next = NULL;
    call->prev = list->last;
    if (list->last != NULL) {
        list->last->next = call;
    } else {
        list->first = call;
    }
    list->last = call;
}

void rd_grpc_list_take(struct rd_grpc_call *call)
{
    struct rd_grpc_list *list = call->list;
    if (list == NULL) {
        return;
    }
    if (call->prev != NULL) {
        call->prev->next = call->next;
    } else {
        list->first = call->next;
    }
    if (call->next != NULL) {
        call->next->prev = call->prev;
    } else {
        list->last = call->prev;
    }
    call->list = NULL;
}

/* ---- beginnings and ends ---- */

static void forget_answer(struct rd_grpc_call *call)
{
    call->offset = 0;
    call->heard = false;
    call->typed = false;
    call->encoded = false;
    call->http_status = 0;
    call->status = RD_GRPC_STATUS_NONE;
    call->head_len = 0;
    call->text[0] = '\0';
}

void rd_grpc_call_start(struct rd_grpc_driver *driver, struct rd_grpc_call *call)
{
    call->driver = driver;
    call->connection = NULL;
    call->repeats = 0;
    call->reached = false;
    call->err = RD_OK;
    call->final = false;
    call->faultless = false;
    call->why.text[0] = '\0';
    forget_answer(call);
    rd_grpc_list_push(&driver->waiting[call->kind], call);
}

/* Off its stream; what still comes on it is dropped. */
static void detach(struct rd_grpc_call *call)
{
    rd_grpc_list_take(call);
    if (call->connection != NULL) {
        (void)nghttp2_session_set_stream_user_data(call->connection->session, call->stream, NULL);
        call->connection->calls_count--;
        call->connection = NULL;
    }
}

static void over(struct rd_grpc_call *call)
{
    detach(call);
    rd_grpc_list_push(&call->driver->over, call);
}

static void again(struct rd_grpc_call *call)
{
    detach(call);
    call->repeats++;
    call->reached = false;
    forget_answer(call);
    rd_grpc_list_push(&call->driver->waiting[call->kind], call);
}

static void fail(struct rd_grpc_call *call, rd_err err, const char *why)
{
    if (call->err == RD_OK) {
        call->err = err;
        if (call->why.text[0] == '\0') {
            (void)rd_why_set(&call->why, err, "%s", why != NULL ? why : rd_err_info(err)->message);
        }
    }
}

static void reset(struct rd_grpc_call *call, uint32_t code)
{
    if (call->connection != NULL) {
        (void)nghttp2_submit_rst_stream(call->connection->session, NGHTTP2_FLAG_NONE, call->stream,
                                        code);
    }
}

void rd_grpc_call_stop(struct rd_grpc_call *call, rd_err err, const char *why)
{
    if (call->list == NULL || call->list == &call->driver->over) {
        return;
    }
    fail(call, err, why);
    reset(call, NGHTTP2_CANCEL);
    over(call);
}

void rd_grpc_call_lost(struct rd_grpc_call *call, bool unseen, const char *why)
{
    if (unseen && call->repeats < RD_GRPC_REPEATS_MAX && !call->heard) {
        again(call);
        return;
    }
    fail(call, RD_ERR_BACKEND_FAILED, why);
    over(call);
}

/* ---- out ---- */

#define NAME_VALUE(key, text, bytes, bits)                                                         \
    (nghttp2_nv)                                                                                   \
    {                                                                                              \
        .name = (uint8_t *)(uintptr_t)(key), .namelen = strlen(key),                               \
        .value = (uint8_t *)(uintptr_t)(text), .valuelen = (bytes), .flags = (bits)                \
    }

static void add(nghttp2_nv *headers, size_t *count, const char *name, const char *value)
{
    headers[(*count)++] = NAME_VALUE(name, value, strlen(value), NGHTTP2_NV_FLAG_NO_COPY_NAME);
}

static ssize_t read_request(nghttp2_session *session, int32_t stream, uint8_t *out, size_t room,
                            uint32_t *ret_flags, nghttp2_data_source *source, void *user)
{
    (void)source;
    (void)user;
    struct rd_grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);
    if (call == NULL) { /* stopped meanwhile */
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    size_t len = rd_grpc_request_read(call->request, call->offset, out, room);
    call->offset += len;
    if (call->offset == call->request->total) {
        *ret_flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)len;
}

rd_err rd_grpc_call_submit(struct rd_grpc_call *call, struct rd_grpc_connection *connection)
{
    enum { HEADERS_MAX = 13 };
    const struct rd_engine *engine = connection->driver->engine;
    char path[64], timeout[RD_GRPC_TIMEOUT_LEN + 1];
    uint64_t now = rd_clock_mono_ns();
    nghttp2_nv headers[HEADERS_MAX];
    size_t count = 0;
    (void)snprintf(path, sizeof path, "/inference.GRPCInferenceService/%s", call->method);
    rd_grpc_timeout(call->deadline_ns > now ? call->deadline_ns - now : 1, timeout);
    add(headers, &count, ":method", "POST");
    add(headers, &count, ":scheme", engine->tls != NULL ? "https" : "http");
    add(headers, &count, ":path", path);
    add(headers, &count, ":authority", engine->target.authority);
    add(headers, &count, "te", "trailers");
    headers[count++] = NAME_VALUE("grpc-timeout", timeout, strlen(timeout),
                                  NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_INDEX);
    add(headers, &count, "content-type", "application/grpc");
    add(headers, &count, "user-agent", "render/" RD_VERSION);
    add(headers, &count, "grpc-accept-encoding", "identity");
    if (engine->authorization != NULL) {
        headers[count++] =
            NAME_VALUE("authorization", engine->authorization, strlen(engine->authorization),
                       NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_INDEX);
    }
    if (call->traceparent != NULL) {
        headers[count++] = NAME_VALUE("traceparent", call->traceparent, strlen(call->traceparent),
                                      NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_INDEX);
    }
    if (call->status_errors) {
        add(headers, &count, "triton_grpc_error", "true");
    }
    const nghttp2_data_provider body = {.read_callback = read_request};
    int32_t stream = nghttp2_submit_request(connection->session, NULL, headers, count, &body, call);
    if (stream < 0) {
        return stream == NGHTTP2_ERR_NOMEM ? RD_ERR_NO_MEMORY : RD_ERR_BACKEND_FAILED;
    }
    rd_grpc_list_take(call);
    call->stream = stream;
    call->connection = connection;
    call->sent_ns = now;
    connection->calls_count++;
    rd_grpc_list_push(&connection->calls, call);
    return RD_OK;
}

/* ---- in: headers ---- */

static bool is(const uint8_t *name, size_t len, const char *want)
{
    return len == strlen(want) && memcmp(name, want, len) == 0;
}

static void take_header(struct rd_grpc_call *call, const char *name, size_t name_len,
                        const char *value, size_t value_len)
{
    const uint8_t *at = (const uint8_t *)name;
    uint64_t number;
    if (is(at, name_len, ":status")) {
        call->http_status =
            rd_text_u64(value, value_len, &number) && number < 1000 ? (int)number : 0;
    } else if (is(at, name_len, "content-type")) {
        call->typed = rd_grpc_type_is(value, value_len);
    } else if (is(at, name_len, "grpc-encoding")) {
        call->encoded = !rd_text_eq(value, value_len, "identity");
    } else if (is(at, name_len, "grpc-status")) {
        call->status = rd_grpc_status_parse(value, value_len);
    } else if (is(at, name_len, "grpc-message")) {
        rd_grpc_text(value, value_len, call->text, sizeof call->text);
    }
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    (void)flags;
    (void)user;
    struct rd_grpc_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (call == NULL || frame->hd.type != NGHTTP2_HEADERS) {
        return 0;
    }
    call->head_len += name_len + value_len + 32; /* as HTTP/2 counts a list */
    if (call->head_len > RD_LIMIT_HEADER_BLOCK) {
        rd_grpc_call_stop(call, RD_ERR_BACKEND_FAILED, "the server's headers are over 32 KiB");
        return 0;
    }
    take_header(call, (const char *)name, name_len, (const char *)value, value_len);
    return 0;
}

/* ---- in: what it means ---- */

static void judge_status(struct rd_grpc_call *call)
{
    const struct rd_grpc_meaning *meaning = rd_grpc_meaning(call->status);
    if (meaning->err == RD_OK) {
        return;
    }
    call->final = meaning->final;
    call->faultless = meaning->faultless;
    (void)rd_why_set(&call->why, meaning->err, "the server answered %s%s%s", meaning->name,
                     call->text[0] != '\0' ? ": " : "", call->text);
    fail(call, meaning->err, NULL);
}

/* An answer of something that is no gRPC server, such as a proxy. True when it is one. */
static bool judge_foreign(struct rd_grpc_call *call)
{
    if (call->http_status == 200 && (call->typed || call->status != RD_GRPC_STATUS_NONE)) {
        return false;
    }
    rd_err err = rd_grpc_meaning(rd_grpc_status_http(call->http_status))->err;
    if (call->http_status != 200) {
        (void)rd_why_set(&call->why, err, "the server answered HTTP %d, which is not gRPC",
                         call->http_status);
    } else {
        (void)rd_why_set(&call->why, err,
                         "the server's Content-Type is not gRPC's; is the URL its gRPC port?");
    }
    fail(call, err, NULL);
    return true;
}

static void answer_over(struct rd_grpc_call *call)
{
    if (!judge_foreign(call)) {
        if (call->status == RD_GRPC_STATUS_NONE) {
            fail(call, RD_ERR_BACKEND_FAILED, "the server's answer ended without a grpc-status");
        } else {
            judge_status(call);
        }
    }
    if (call->offset < call->request->total) {
        reset(call, NGHTTP2_CANCEL); /* nobody reads the rest of the request */
    }
    over(call);
}

void rd_grpc_call_frame(struct rd_grpc_connection *connection, const nghttp2_frame *frame)
{
    struct rd_grpc_call *call =
        nghttp2_session_get_stream_user_data(connection->session, frame->hd.stream_id);
    if (call == NULL) {
        return;
    }
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        if (call->http_status >= 100 && call->http_status < 200) {
            call->http_status = 0; /* the answer's own headers follow */
            return;
        }
        call->heard = true;
        if (!end && judge_foreign(call)) {
            reset(call, NGHTTP2_CANCEL);
            over(call);
            return;
        }
        if (!end && call->encoded) {
            rd_grpc_call_stop(call, RD_ERR_BACKEND_FAILED,
                              "the server's answer is compressed, which was not asked for");
            return;
        }
    }
    if (end) {
        answer_over(call);
    }
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
                   size_t len, void *user)
{
    (void)flags;
    (void)user;
    struct rd_grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);
    if (call == NULL || len == 0) {
        return 0;
    }
    rd_err err = call->ops->data(call, data, len);
    if (err != RD_OK) {
        rd_grpc_call_stop(call, err, NULL);
    }
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t code, void *user)
{
    (void)user;
    struct rd_grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);
    if (call == NULL) {
        return 0;
    }
    (void)nghttp2_session_set_stream_user_data(session, stream, NULL);
    if (code == NGHTTP2_REFUSED_STREAM) {
        rd_grpc_connection_refused(call->connection);
        rd_grpc_call_lost(call, true, "the server refuses the stream");
        return 0;
    }
    rd_err err = code == NGHTTP2_ENHANCE_YOUR_CALM ? RD_ERR_CAPACITY : RD_ERR_BACKEND_FAILED;
    if (call->why.text[0] == '\0') {
        (void)rd_why_set(&call->why, err, "the server reset the stream (%s)",
                         nghttp2_http2_strerror(code));
    }
    fail(call, err, NULL);
    over(call);
    return 0;
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)user;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        struct rd_grpc_call *call =
            nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (call != NULL) {
            call->reached = true;
            call->sent_ns = rd_clock_mono_ns();
        }
    }
    return 0;
}

static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user)
{
    (void)user;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        struct rd_grpc_call *call =
            nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (call != NULL) {
            rd_grpc_call_lost(call, true, nghttp2_strerror(code));
        }
    }
    return 0;
}

void rd_grpc_call_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_not_sent);
}
