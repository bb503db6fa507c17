/* SPDX-License-Identifier: Apache-2.0
 *
 * The routes as one table, and the way of every request through it: match, authenticate, take the
 * body, handle, log. Deny by default: a path that is not in the table is 404, a method that is not
 * is 405, and a route without RD_SCOPE bits is public because its row says so. */
#include "gateway/routes.h"

#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/replay.h"
#include "gateway/ws.h"

#define PUBLIC 0u

static const struct rd_route routes[] = {
    {RD_HTTP_GET, "/", PUBLIC, RD_BODY_NONE, RD_ON_HTTP, NULL, rd_info_root, "root"},
    {RD_HTTP_GET, "/health/live", PUBLIC, RD_BODY_NONE, RD_ON_HTTP, NULL, rd_info_live,
     "health_live"},
    {RD_HTTP_GET, "/health/ready", PUBLIC, RD_BODY_NONE, RD_ON_HTTP, NULL, rd_info_ready,
     "health_ready"},
    {RD_HTTP_GET, "/metrics", PUBLIC, RD_BODY_NONE, RD_ON_HTTP, NULL, rd_info_metrics, "metrics"},
    {RD_HTTP_GET, "/openapi.yaml", PUBLIC, RD_BODY_NONE, RD_ON_HTTP, NULL, rd_info_openapi,
     "openapi"},
    {RD_HTTP_GET, "/.well-known/jwks.json", PUBLIC, RD_BODY_NONE, RD_ON_HTTP, NULL, rd_info_jwks,
     "jwks"},
    {RD_HTTP_GET, "/models", RD_SCOPE_ALL, RD_BODY_NONE, RD_ON_HTTP, NULL, rd_info_models,
     "models"},
    {RD_HTTP_GET, "/models/aliases", RD_SCOPE_ALL, RD_BODY_NONE, RD_ON_HTTP, NULL, rd_info_aliases,
     "aliases"},
    {RD_HTTP_GET, "/models/loras", RD_SCOPE_ALL, RD_BODY_NONE, RD_ON_HTTP, NULL, rd_info_loras,
     "loras"},
    {RD_HTTP_GET, "/backends", RD_SCOPE_ADMIN, RD_BODY_NONE, RD_ON_POOL, NULL, rd_backends_handle,
     "backends"},
    {RD_HTTP_POST, "/uploads", RD_SCOPE_UPLOAD, RD_BODY_JSON, RD_ON_POOL_ONCE, NULL,
     rd_upload_create, "upload_create"},
    {RD_HTTP_PUT, "/uploads/{token}", PUBLIC, RD_BODY_STREAM, RD_ON_HTTP, rd_upload_begin,
     rd_upload_put, "upload_put"},
    {RD_HTTP_GET, "/a/{asset}", PUBLIC, RD_BODY_NONE, RD_ON_HTTP, NULL, rd_asset_handle, "asset"},
    {RD_HTTP_GET, "/a/{asset}/attestation", PUBLIC, RD_BODY_NONE, RD_ON_HTTP, NULL,
     rd_attestation_handle, "attestation"},
    {RD_HTTP_GET, "/a/{asset}/reveal", RD_SCOPE_READ, RD_BODY_NONE, RD_ON_HTTP, NULL,
     rd_reveal_handle, "reveal"},
    {RD_HTTP_PUT, "/v1/objects/{hash}", RD_SCOPE_UPLOAD, RD_BODY_STREAM, RD_ON_HTTP,
     rd_object_begin, rd_object_put, "object_put"},
    {RD_HTTP_GET, "/v1/objects/{hash}", RD_SCOPE_READ, RD_BODY_NONE, RD_ON_HTTP, NULL,
     rd_object_get, "object_get"},
    {RD_HTTP_POST, "/queue", RD_SCOPE_GENERATE, RD_BODY_IMAGES, RD_ON_HTTP, NULL, rd_queue_post,
     "queue_submit"},
    {RD_HTTP_GET, "/queue", RD_SCOPE_GENERATE | RD_SCOPE_READ, RD_BODY_NONE, RD_ON_HTTP, NULL,
     rd_queue_info, "queue"},
    {RD_HTTP_GET, "/jobs", RD_SCOPE_GENERATE | RD_SCOPE_READ, RD_BODY_NONE, RD_ON_POOL, NULL,
     rd_jobs_list_handle, "job_list"},
    {RD_HTTP_GET, "/jobs/{id}", RD_SCOPE_GENERATE | RD_SCOPE_READ, RD_BODY_NONE, RD_ON_HTTP, NULL,
     rd_jobs_get_handle, "job"},
    {RD_HTTP_DELETE, "/jobs/{id}", RD_SCOPE_GENERATE, RD_BODY_NONE, RD_ON_HTTP, NULL,
     rd_jobs_delete_handle, "job_delete"},
    {RD_HTTP_POST, "/jobs/{id}/cancel", RD_SCOPE_GENERATE, RD_BODY_JSON, RD_ON_HTTP, NULL,
     rd_jobs_cancel_handle, "job_cancel"},
    {RD_HTTP_GET, "/jobs/{id}/events", RD_SCOPE_GENERATE | RD_SCOPE_READ, RD_BODY_NONE, RD_ON_POOL,
     NULL, rd_events_handle, "job_events"},
    {RD_HTTP_GET, "/ws", PUBLIC, RD_BODY_NONE, RD_ON_HTTP, NULL, rd_sockets_handle, "ws"},
    {RD_HTTP_POST, "/keys", RD_SCOPE_ADMIN, RD_BODY_JSON, RD_ON_POOL_ONCE, NULL, rd_keys_create,
     "key_create"},
    {RD_HTTP_GET, "/keys", RD_SCOPE_ADMIN | RD_SCOPE_READ, RD_BODY_NONE, RD_ON_POOL, NULL,
     rd_keys_list, "key_list"},
    {RD_HTTP_DELETE, "/keys/{id}", RD_SCOPE_ADMIN | RD_SCOPE_READ, RD_BODY_NONE, RD_ON_POOL, NULL,
     rd_keys_revoke, "key_revoke"},
    {RD_HTTP_GET, "/webhooks", RD_SCOPE_ADMIN | RD_SCOPE_READ | RD_SCOPE_GENERATE, RD_BODY_NONE,
     RD_ON_POOL, NULL, rd_webhooks_list, "webhook_list"},
    {RD_HTTP_POST, "/webhooks/{id}/replay", RD_SCOPE_ADMIN | RD_SCOPE_GENERATE, RD_BODY_NONE,
     RD_ON_POOL_ONCE, NULL, rd_webhooks_replay, "webhook_replay"},
    {RD_HTTP_POST, "/webhooks/test", RD_SCOPE_GENERATE, RD_BODY_JSON, RD_ON_HTTP, NULL,
     rd_webhooks_test, "webhook_test"},
    {RD_HTTP_GET, "/webhooks/secret", RD_SCOPE_GENERATE, RD_BODY_NONE, RD_ON_POOL, NULL,
     rd_webhooks_secret, "webhook_secret"},
    {RD_HTTP_POST, "/webhooks/secret/rotate", RD_SCOPE_GENERATE, RD_BODY_NONE, RD_ON_POOL_ONCE,
     NULL, rd_webhooks_rotate, "webhook_rotate"},
    {RD_HTTP_POST, "/{modality}/{family}/{model}/{task}", RD_SCOPE_GENERATE, RD_BODY_IMAGES,
     RD_ON_HTTP, NULL, rd_generate_handle, "generate"},
};
enum { ROUTES = sizeof routes / sizeof routes[0] };
_Static_assert(ROUTES + 1 < RD_METRICS_ROUTES_MAX, "metrics has a row for each route and for none");

/* The last name stands for requests that no row matches. */
static const char *route_names[ROUTES + 2];

const char *const *rd_routes_names(void)
{
    return route_names;
}

/* ---- matching ---- */

static bool segment_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '~';
}

/* True when `path` has the pattern's shape; captured segments go to call->args. A segment holds
 * only unreserved characters, so "..", "%2e", NUL and the like cannot get past here. */
static bool match(const char *pattern, const char *path, struct rd_call *call)
{
    size_t arg = 0;
    while (*pattern != '\0' && *path != '\0') {
        if (*pattern != '{') {
            if (*pattern++ != *path++) {
                return false;
            }
            continue;
        }
        size_t len = 0;
        while (segment_char(path[len])) {
            len++;
        }
        bool dots = (len == 1 && path[0] == '.') || (len == 2 && path[0] == '.' && path[1] == '.');
        if (len == 0 || len >= RD_ROUTE_ARG_LEN || dots || arg == RD_ROUTE_ARGS_MAX) {
            return false;
        }
        memcpy(call->args[arg], path, len);
        call->args[arg++][len] = '\0';
        path += len;
        pattern = strchr(pattern, '}') + 1;
    }
    return *pattern == '\0' && *path == '\0';
}

/* The row for the request, or NULL with the methods that the path has in `allow`. */
static const struct rd_route *find_route(struct rd_call *call, struct rd_buf *allow)
{
    enum rd_http_method method = rd_http_request_method(call->exchange);
    enum rd_http_method wanted = method == RD_HTTP_HEAD ? RD_HTTP_GET : method;
    const char *path = rd_http_request_path(call->exchange);
    for (size_t i = 0; i < ROUTES; i++) {
        if (!match(routes[i].pattern, path, call)) {
            continue;
        }
        if (routes[i].method == wanted) {
            return &routes[i];
        }
        rd_buf_str(allow, allow->len > 0 ? ", " : "");
        rd_buf_str(allow, rd_http_method_name(routes[i].method));
        rd_buf_str(allow, routes[i].method == RD_HTTP_GET ? ", HEAD" : "");
    }
    return NULL;
}

/* ---- what every answer carries ---- */

static bool valid_traceparent(const char *text)
{
    if (strlen(text) < 55 || strlen(text) > 128) {
        return false;
    }
    for (const char *p = text; *p != '\0'; p++) {
        if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f') || *p == '-')) {
            return false;
        }
    }
    return text[2] == '-' && text[35] == '-' && text[52] == '-';
}

const char *rd_call_traceparent(struct rd_call *call)
{
    const char *text = rd_http_request_header(call->exchange, "traceparent");
    return text != NULL && valid_traceparent(text) ? text : NULL;
}

static void cors_headers(struct rd_call *call)
{
    const char *origin = rd_http_request_header(call->exchange, "Origin");
    const struct rd_config *config = call->runtime->config;
    if (origin == NULL) {
        return;
    }
    for (size_t i = 0; i < config->cors_origins_count; i++) {
        const char *allowed = config->cors_origins[i];
        if (strcmp(allowed, "*") == 0 || strcmp(allowed, origin) == 0) {
            rd_http_reply_header(call->exchange, "Access-Control-Allow-Origin", allowed);
            rd_http_reply_header(
                call->exchange, "Access-Control-Expose-Headers",
                "Content-Location, ETag, Link, Location, Preference-Applied, "
                "RateLimit, RateLimit-Policy, Retry-After, X-Weyl-Request-Id, "
                "X-Weyl-Seed, X-Weyl-Duration-Ms, x-gpu-seconds, x-gpu-source, x-gpu-device");
            rd_http_reply_header(call->exchange, "Vary", "Origin");
            return;
        }
    }
}

void rd_call_common_headers(struct rd_call *call)
{
    rd_http_reply_header(call->exchange, "X-Weyl-Request-Id", rd_http_request_id(call->exchange));
    rd_http_reply_header(call->exchange, "X-Content-Type-Options", "nosniff");
    rd_http_reply_header(call->exchange, "traceparent", rd_call_traceparent(call));
    cors_headers(call);
}

static void preflight(struct rd_call *call, const struct rd_buf *allow)
{
    rd_call_common_headers(call);
    rd_http_reply_header(call->exchange, "Allow", rd_buf_cstr(allow));
    rd_http_reply_header(call->exchange, "Access-Control-Allow-Methods", rd_buf_cstr(allow));
    rd_http_reply_header(
        call->exchange, "Access-Control-Allow-Headers",
        "Authorization, Content-Type, Accept, Prefer, Idempotency-Key, Last-Event-ID, traceparent, "
        "If-None-Match, Range");
    rd_http_reply_header(call->exchange, "Access-Control-Max-Age", "86400");
    rd_http_reply(call->exchange, 204);
}

/* ---- the way of a request ---- */

static rd_err authenticate(struct rd_call *call)
{
    const char *header = rd_http_request_header(call->exchange, "Authorization");
    static const char scheme[] = "Bearer ";
    if (header == NULL || strncasecmp(header, scheme, sizeof scheme - 1) != 0) {
        return RD_ERR_UNAUTHORIZED;
    }
    const char *key = header + sizeof scheme - 1;
    RD_TRY(rd_store_key_check(call->gateway->store, key, strlen(key), &call->key));
    return (call->key.scopes & call->route->scope) == 0 ? RD_ERR_FORBIDDEN : RD_OK;
}

static void take_body(struct rd_call *call)
{
    struct rd_http_exchange *x = call->exchange;
    rd_http_hold_for(x, call->key.owner);
    switch (call->route->body) {
    case RD_BODY_NONE:
        rd_http_buffer_body(x, 0);
        break;
    case RD_BODY_STREAM:
        break; /* `begin` says where it goes */
    case RD_BODY_JSON:
        rd_http_buffer_body(x, RD_LIMIT_JSON_BODY);
        break;
    case RD_BODY_IMAGES:
        rd_http_buffer_body(x, RD_LIMIT_JSON_BODY_DATA_URI);
        break;
    }
    /* What is announced too large is refused before it is sent. */
    if (rd_http_body_err(x) != RD_OK) {
        rd_reply_error(call, rd_http_body_err(x), NULL, NULL);
        return;
    }
    if (call->route->begin != NULL) {
        call->route->begin(call);
    }
}

static void no_route(struct rd_call *call, const struct rd_buf *allow)
{
    if (allow->len == 0) {
        rd_reply_error(call, RD_ERR_NOT_FOUND, "no such path; GET /openapi.yaml describes them all",
                       NULL);
        return;
    }
    if (rd_http_request_method(call->exchange) == RD_HTTP_OPTIONS) {
        preflight(call, allow);
        return;
    }
    rd_http_reply_header(call->exchange, "Allow", rd_buf_cstr(allow));
    rd_reply_error(call, RD_ERR_METHOD_NOT_ALLOWED, NULL, NULL);
}

static void on_headers(void *ctx, struct rd_http_exchange *x)
{
    struct rd_gateway *gateway = ctx;
    struct rd_call *call = rd_arena_alloc(rd_http_arena(x), sizeof *call);
    if (call == NULL) {
        rd_http_reply(x, 503);
        return;
    }
    call->gateway = gateway;
    call->exchange = x;
    call->runtime = rd_gateway_runtime(gateway);
    rd_http_set_user(x, call);
    if (rd_http_refusal(x) != RD_OK) {
        rd_reply_error(call, rd_http_refusal(x), NULL, NULL);
        return;
    }
    RD_AUTO_BUF struct rd_buf allow;
    rd_buf_init(&allow, 256);
    call->route = find_route(call, &allow);
    if (call->route == NULL) {
        no_route(call, &allow);
        return;
    }
    rd_err err = call->route->scope == PUBLIC ? RD_OK : authenticate(call);
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    take_body(call);
}

static void handle_on_pool(void *ctx)
{
    struct rd_call *call = ctx;
    if (call->route->where != RD_ON_POOL_ONCE || !rd_replay_answered(call)) {
        call->route->handle(call);
    }
}

static void on_request(void *ctx, struct rd_http_exchange *x)
{
    struct rd_gateway *gateway = ctx;
    struct rd_call *call = rd_http_user(x);
    if (rd_http_body_err(x) != RD_OK && call->route->body != RD_BODY_STREAM) {
        rd_reply_error(call, rd_http_body_err(x), NULL, NULL);
        return;
    }
    if (call->route->where == RD_ON_HTTP) {
        call->route->handle(call);
        return;
    }
    rd_http_suspend(x);
    rd_err err = rd_pool_submit(gateway->pool, handle_on_pool, call);
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
    }
}

static void on_gone(void *ctx, struct rd_http_exchange *x)
{
    (void)ctx;
    struct rd_call *call = rd_http_user(x);
    if (call->gone != NULL) {
        call->gone(call);
    }
}

static void log_request(struct rd_call *call, uint64_t ns, bool sent)
{
    struct rd_http_exchange *x = call->exchange;
    int status = rd_http_reply_status(x);
    enum rd_log_level level =
        status >= 500 && call->error_text[0] != '\0' ? RD_LOG_ERROR : RD_LOG_INFO;
    if (!rd_log_enabled(level)) {
        return;
    }
    bool head = rd_http_request_method(x) == RD_HTTP_HEAD;
    /* No path: it may hold an upload's secret. The route's name and the request id find everything.
     */
    const struct rd_log_field fields[] = {
        RD_LOG_STR("request_id", rd_http_request_id(x)),
        RD_LOG_STR("tenant", call->key.tenant[0] == '\0' ? NULL : call->key.tenant),
        RD_LOG_STR("key", call->key.id[0] == '\0' ? NULL : call->key.id),
        RD_LOG_STR("method", rd_http_method_name(rd_http_request_method(x))),
        RD_LOG_STR("route", call->route == NULL ? "none" : call->route->name),
        RD_LOG_STR("model", call->log_model),
        RD_LOG_INT("status", status),
        RD_LOG_STR("client", sent ? NULL : "left"),
        RD_LOG_INT("bytes_in", rd_http_body_received(x)),
        RD_LOG_INT("bytes_out", head ? 0 : rd_http_reply_bytes(x)),
        RD_LOG_NUM("ms", (double)(ns / 1000) / 1000),
        RD_LOG_NUM("engine_ms", (double)(call->engine_ns / 1000) / 1000),
        RD_LOG_STR("error", call->error_text[0] == '\0' ? NULL : call->error_text),
        RD_LOG_END,
    };
    rd_log(level, "request", fields);
}

static void on_done(void *ctx, struct rd_http_exchange *x, bool sent)
{
    struct rd_gateway *gateway = ctx;
    struct rd_call *call = rd_http_user(x);
    if (call == NULL) {
        return;
    }
    uint64_t ns = rd_clock_mono_ns() - rd_http_started_ns(x);
    unsigned route = call->route == NULL ? ROUTES : (unsigned)(call->route - routes);
    rd_metrics_request(&gateway->metrics, route, rd_http_reply_status(x), ns);
    log_request(call, ns, sent);
    if (call->drop != NULL) {
        call->drop(call);
    }
    rd_runtime_unref(call->runtime);
}

void rd_routes_app(struct rd_gateway *gateway, struct rd_http_app *ret)
{
    for (size_t i = 0; i < ROUTES; i++) {
        route_names[i] = routes[i].name;
    }
    route_names[ROUTES] = "none";
    *ret = (struct rd_http_app){gateway, on_headers, on_request, on_gone, on_done};
}
