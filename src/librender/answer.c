/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading answers: the error body {"error", "message", "request_id", "details": [...]} becomes a
 * status and a text that a person can act on; the headers of an output become a render_output. A
 * body that is not what it should be is an answer too, and its text says so. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/mem.h"
#include "base/text.h"
#include "librender/internal.h"

enum { DETAILS_MAX = 32, FOREIGN_TEXT_MAX = 200 };

static render_status status_of(long http_status)
{
    switch (http_status) {
    case 401:
    case 403:
        return RENDER_ERR_AUTH;
    case 429:
    case 503:
        return RENDER_ERR_BUSY;
    default:
        return http_status >= 400 && http_status < 500 ? RENDER_ERR_REFUSED : RENDER_ERR_SERVER;
    }
}

static const char *string_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "" : text;
}

static void tell_details(render_client *client, const json_t *details)
{
    size_t count = json_array_size(details);
    for (size_t i = 0; i < count && i < DETAILS_MAX; i++) {
        const json_t *detail = json_array_get(details, i);
        const char *field = string_of(detail, "field");
        const char *message = string_of(detail, "message");
        if (message[0] == '\0') {
            message = string_of(detail, "constraint");
        }
        (void)rd_client_fail(client, RENDER_OK, "\n  %.200s: %.500s",
                             field[0] == '\0' ? "request" : field, message);
    }
}

/* A proxy's page, or no Render at all: its first line, cut. */
static void tell_foreign(render_client *client, long http_status, const struct rd_buf *body)
{
    (void)rd_client_fail(client, RENDER_OK, "HTTP status %ld, not from a Render gateway",
                         http_status);
    const char *text = rd_buf_cstr(body);
    size_t len = strcspn(text, "\r\n");
    if (len > 0) {
        (void)rd_client_fail(client, RENDER_OK, ": ");
        rd_client_error_text(client, text, len < FOREIGN_TEXT_MAX ? len : FOREIGN_TEXT_MAX);
    }
}

render_status rd_client_refused(render_client *client, long http_status, const struct rd_buf *body)
{
    json_t *error = body->len == 0 ? NULL : json_loadb(body->data, body->len, 0, NULL);
    const char *message = string_of(error, "message");
    if (http_status < 400) {
        const char *location = rd_client_header(client, "Location");
        (void)rd_client_fail(
            client, RENDER_OK,
            "HTTP status %ld: the server sends this elsewhere (%s); give that as the "
            "gateway's URL if it is right",
            http_status, location == NULL ? "it does not say where" : location);
    } else if (message[0] == '\0') {
        tell_foreign(client, http_status, body);
    } else {
        (void)rd_client_fail(client, RENDER_OK, "%.1000s", message);
        tell_details(client, json_object_get(error, "details"));
    }
    render_status status = status_of(http_status);
    if (status == RENDER_ERR_BUSY && client->retry_after >= 0) {
        (void)rd_client_fail(client, RENDER_OK, "\n  try again in %d s", client->retry_after);
    }
    if (client->request_id[0] == '\0') {
        const char *id = string_of(error, "request_id");
        if (strlen(id) < sizeof client->request_id && rd_id_valid(id, "req_")) {
            memcpy(client->request_id, id, strlen(id) + 1);
        }
    }
    if (client->request_id[0] != '\0') {
        (void)rd_client_fail(client, RENDER_OK, "\n  request id: %s", client->request_id);
    }
    json_decref(error);
    return status;
}

static bool copy_header(const render_client *client, const char *name, char **ret)
{
    const char *value = rd_client_header(client, name);
    *ret = value == NULL ? NULL : rd_mem_strdup(value);
    return value == NULL || *ret != NULL;
}

/* A number in a header; `none` when it is missing or no sensible number. */
static double number_of(const render_client *client, const char *name, double none)
{
    const char *text = rd_client_header(client, name);
    if (text == NULL) {
        return none;
    }
    char *end = NULL;
    double value = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(value) && value >= 0 ? value : none;
}

render_status rd_client_take_output(render_client *client, struct rd_buf *body,
                                    render_output *output)
{
    render_output got = RENDER_OUTPUT_INIT;
    const char *location = rd_client_header(client, "Content-Location");
    const char *seed = rd_client_header(client, "X-Weyl-Seed");
    uint64_t seed_value = 0;
    bool ok = copy_header(client, "Content-Type", &got.content_type) &&
              copy_header(client, "x-gpu-device", &got.device);
    if (location != NULL) {
        got.asset_url = rd_client_absolute(client, location);
        ok = ok && got.asset_url != NULL;
    }
    if (seed != NULL && rd_text_u64(seed, strlen(seed), &seed_value) && seed_value <= UINT32_MAX) {
        got.seed = (uint32_t)seed_value;
    }
    got.device_seconds = number_of(client, "x-gpu-seconds", -1.0);
    got.duration_ms = number_of(client, "X-Weyl-Duration-Ms", 0.0);
    got.bytes = (unsigned char *)rd_buf_steal(body, &got.len);
    if (!ok || got.bytes == NULL) {
        render_output_done(&got);
        return rd_client_fail(client, RENDER_ERR_MEMORY, "out of memory");
    }
    *output = got;
    return RENDER_OK;
}

void render_output_done(render_output *output)
{
    rd_mem_free(output->bytes);
    rd_mem_free(output->content_type);
    rd_mem_free(output->asset_url);
    rd_mem_free(output->device);
    *output = (render_output)RENDER_OUTPUT_INIT;
}
