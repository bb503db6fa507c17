/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /backends, for administrators: what the queue thinks of each backend (jobs/backends.c), and
 * beside it what the configuration and its engine say. The two are put together by name, since a
 * backend that a reload took away is known to the queue until its last run is over. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "gateway/gateway.h"

enum { BODY_MAX = 1 << 20 };

/* Without the query, which may be a secret. A user and password the configuration refuses. */
static json_t *bare_url(const char *url)
{
    return url == NULL ? json_null() : json_stringn(url, strcspn(url, "?#"));
}

static json_t *list_models(const struct rd_config_engine *config)
{
    json_t *models = json_array();
    for (size_t i = 0; i < config->models_count; i++) {
        (void)json_array_append_new(models, json_string(config->models[i]));
    }
    return models;
}

static const struct rd_backend *find(const struct rd_runtime *runtime, const char *name)
{
    for (size_t i = 0; i < runtime->backends_count; i++) {
        if (strcmp(runtime->backends[i].config->engine.name, name) == 0) {
            return &runtime->backends[i];
        }
    }
    return NULL;
}

static void add_engine(const struct rd_runtime *runtime, json_t *row)
{
    const char *name = json_string_value(json_object_get(row, "name"));
    const struct rd_backend *backend = name == NULL ? NULL : find(runtime, name);
    struct rd_engine_health health = {.ready = false};
    (void)json_object_set_new(row, "retired", json_boolean(backend == NULL));
    if (backend == NULL) {
        return;
    }
    const struct rd_config_engine *config = backend->config;
    backend->ops->health(backend->engine, &health);
    (void)json_object_set_new(row, "type", json_string(config->engine.type));
    (void)json_object_set_new(row, "url", bare_url(config->engine.url));
    (void)json_object_set_new(row, "kind", json_string(rd_backend_kind_name(config->backend)));
    (void)json_object_set_new(row, "models", list_models(config));
    json_t *why = health.ready || health.why[0] == '\0' ? NULL : json_string(health.why);
    (void)json_object_set_new(row, "why", why == NULL ? json_null() : why);
}

void rd_backends_handle(struct rd_call *call)
{
    RD_AUTO_BUF struct rd_buf text;
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&text, BODY_MAX);
    rd_buf_init(&body, BODY_MAX);
    rd_jobs_backends_json(call->gateway->jobs, &text);
    json_t *rows = json_loads(rd_buf_cstr(&text), 0, NULL);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        add_engine(call->runtime, json_array_get(rows, i));
    }
    char *list = rows == NULL ? NULL : json_dumps(rows, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(rows);
    if (list == NULL) {
        rd_reply_error(call, RD_ERR_NO_MEMORY, NULL, NULL);
        return;
    }
    rd_buf_str(&body, "{\"backends\":");
    rd_buf_str(&body, list);
    rd_buf_char(&body, '}');
    free(list); /* tidy: jansson's own memory */
    rd_http_reply_header(call->exchange, "Cache-Control", "no-store");
    rd_reply_json(call, 200, &body);
}
