/* SPDX-License-Identifier: Apache-2.0
 *
 * What the gateway tells about itself: models, health, metrics, public key, its own OpenAPI file.
 */
#include <stdio.h>
#include <string.h>

#include "gateway/embedded.h"
#include "gateway/gateway.h"
#include "gateway/ws.h"

enum { MODELS_BODY_MAX = 4 << 20, METRICS_BODY_MAX = 4 << 20 };

static bool available(void *ctx, const struct rd_model *model, enum rd_backend_kind kind)
{
    return rd_runtime_can(ctx, model, kind).tasks != 0;
}

void rd_info_models(struct rd_call *call)
{
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, MODELS_BODY_MAX);
    rd_err err =
        rd_catalogue_models_json(call->runtime->catalogue, available, call->runtime, &body);
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    rd_reply_json(call, 200, &body);
}

static void reply_list(struct rd_call *call,
                       rd_err (*write)(const struct rd_catalogue *catalogue, struct rd_buf *out))
{
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, MODELS_BODY_MAX);
    rd_err err = write(call->runtime->catalogue, &body);
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    rd_reply_json(call, 200, &body);
}

void rd_info_aliases(struct rd_call *call)
{
    reply_list(call, rd_catalogue_aliases_json);
}

void rd_info_loras(struct rd_call *call)
{
    reply_list(call, rd_catalogue_loras_json);
}

static void reply_literal(struct rd_call *call, int status, const char *type, const char *text,
                          size_t len)
{
    rd_call_common_headers(call);
    rd_http_reply_header(call->exchange, "Content-Type", type);
    rd_http_reply_text(call->exchange, text, len);
    rd_http_reply(call->exchange, status);
}

void rd_info_live(struct rd_call *call)
{
    static const char body[] = "{\"status\":\"live\"}";
    reply_literal(call, 200, "application/json", body, sizeof body - 1);
}

void rd_info_ready(struct rd_call *call)
{
    struct rd_gateway *gateway = call->gateway;
    const struct {
        const char *name;
        bool ok;
    } parts[] = {
        {"objects", rd_cas_healthy(gateway->cas)},
        {"store", rd_store_healthy(gateway->store)},
        {"signer", rd_signer_alive(gateway->signer)},
        {"accepting", !atomic_load(&gateway->draining)},
    };
    bool ready = true;
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, 1024);
    rd_buf_str(&body, "{\"checks\":{");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        rd_buf_printf(&body, "%s\"%s\":%s", i == 0 ? "" : ",", parts[i].name,
                      parts[i].ok ? "true" : "false");
        ready = ready && parts[i].ok;
    }
    rd_buf_printf(&body, "},\"status\":\"%s\"}", ready ? "ready" : "not_ready");
    if (!ready) {
        rd_http_reply_header(call->exchange, "Retry-After", "1");
    }
    rd_reply_json(call, ready ? 200 : 503, &body);
}

static void write_gauges(struct rd_call *call, struct rd_buf *out)
{
    struct rd_gateway *gateway = call->gateway;
    struct rd_cas_stats stats;
    rd_cas_stats(gateway->cas, &stats);
    const struct {
        const char *name, *help;
        double value;
    } gauges[] = {
        {"render_connections", "open client connections", rd_http_open_connections(gateway->http)},
        {"render_ws_connections", "of them WebSockets", rd_ws_count(gateway->ws)},
        {"render_exchanges", "requests being answered", rd_http_open_exchanges(gateway->http)},
        {"render_objects", "stored objects", (double)stats.objects},
        {"render_object_bytes", "bytes of stored objects", (double)stats.bytes},
        {"render_object_dead_bytes", "bytes that compaction would free", (double)stats.dead_bytes},
        {"render_object_packs", "pack files", (double)stats.packs},
        {"render_object_syncs", "syncs of the object store since start", (double)stats.syncs},
        {"render_objects_unsigned", "outputs that wait for their signature", (double)stats.unnoted},
        {"render_started_seconds", "start of the process, Unix time",
         (double)gateway->metrics.started_ms / 1000},
    };
    for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++) {
        rd_metrics_line(out, gauges[i].name, "gauge", gauges[i].help, gauges[i].value);
    }
}

void rd_info_metrics(struct rd_call *call)
{
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, METRICS_BODY_MAX);
    rd_metrics_write(&call->gateway->metrics, rd_routes_names(), &body);
    write_gauges(call, &body);
    rd_jobs_metrics(call->gateway->jobs, &body);
    rd_webhook_metrics(call->gateway->webhooks, &body);
    if (rd_buf_err(&body) != RD_OK) {
        rd_reply_error(call, rd_buf_err(&body), NULL, NULL);
        return;
    }
    reply_literal(call, 200, "text/plain; version=0.0.4; charset=utf-8", rd_buf_cstr(&body),
                  body.len);
}

void rd_info_jwks(struct rd_call *call)
{
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, 4096);
    uint8_t keys[1][RD_KEY_LEN];
    memcpy(keys[0], rd_signer_public_key(call->gateway->signer), RD_KEY_LEN);
    rd_err err = rd_jwks_write(&body, (const uint8_t(*)[RD_KEY_LEN])keys, 1);
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    rd_http_reply_header(call->exchange, "Cache-Control", "public, max-age=3600");
    rd_reply_json(call, 200, &body);
}

void rd_info_openapi(struct rd_call *call)
{
    reply_literal(call, 200, "application/yaml", (const char *)rd_embedded_openapi,
                  rd_embedded_openapi_len);
}

void rd_info_root(struct rd_call *call)
{
    static const char body[] =
        "{\"name\":\"render\",\"version\":\"" RD_VERSION "\",\"openapi\":\"/openapi.yaml\","
        "\"models\":\"/models\",\"generate\":\"POST /{image|video}/{family}/{model}/{task}\","
        "\"queue\":\"POST /queue\",\"jobs\":\"/jobs\","
        "\"health\":\"/health/ready\",\"metrics\":\"/metrics\",\"keys\":\"/.well-known/"
        "jwks.json\"}";
    reply_literal(call, 200, "application/json", body, sizeof body - 1);
}
