/* SPDX-License-Identifier: Apache-2.0
 *
 * What an inference request over HTTP says, and the small things around it: paths, error bodies.
 *
 * With the binary tensor extension the body is JSON with the tensors' names and sizes, and behind
 * it their bytes in the same order; large ones are not copied. Without it each tensor's elements
 * stand in the JSON as "data", and a source picture as base64 with the parameter "content_type":
 * "base64", which is how servers of that kind (MLServer) are told. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "engine/http/reply.h"
#include "engine/triton/http_internal.h"

enum { NS_PER_US = 1000, SMALL = 16 << 10 };

json_t *rd_triton_http_json(const char *text, size_t len)
{
    return json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
}

bool rd_triton_http_error(const char *body, size_t len, char *out, size_t room)
{
    json_t *json = rd_triton_http_json(body, len);
    const json_t *error = json_object_get(json, "error");
    bool is = json_is_string(error);
    if (is) {
        rd_http_sanitise(json_string_value(error), json_string_length(error), out, room);
    }
    json_decref(json);
    return is;
}

/* ---- paths ---- */

static bool put_escaped(const char *text, char *out, size_t room, size_t *used)
{
    static const char hex[] = "0123456789ABCDEF";
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     strchr("-_.~", c) != NULL;
        if (*used + 4 > room) {
            return false;
        }
        if (plain) {
            out[(*used)++] = (char)c;
        } else {
            out[(*used)++] = '%';
            out[(*used)++] = hex[c >> 4];
            out[(*used)++] = hex[c & 15];
        }
    }
    out[*used] = '\0';
    return true;
}

static bool put_text(const char *text, char *out, size_t room, size_t *used)
{
    size_t len = strlen(text);
    if (*used + len + 1 > room) {
        return false;
    }
    memcpy(out + *used, text, len + 1);
    *used += len;
    return true;
}

bool rd_triton_http_path(const char *model, const char *version, char *out, size_t room)
{
    size_t used = 0;
    return put_text("/v2/models/", out, room, &used) && put_escaped(model, out, room, &used) &&
           (version == NULL ||
            (put_text("/versions/", out, room, &used) && put_escaped(version, out, room, &used)));
}

/* ---- the body ---- */

static void put_shape(struct rd_buf *text, const struct rd_tensor *tensor)
{
    rd_buf_str(text, ",\"shape\":[");
    for (unsigned i = 0; i < tensor->rank; i++) {
        rd_buf_printf(text, "%s%" PRId64, i == 0 ? "" : ",", tensor->shape[i]);
    }
    rd_buf_char(text, ']');
}

/* A picture's or a text's bytes as one element. */
static void put_bytes(struct rd_http_body *body, const struct rd_tensor *tensor)
{
    if (rd_text_utf8_valid((const char *)tensor->body, tensor->body_len)) {
        rd_buf_str(&body->text, ",\"data\":[");
        rd_buf_json_string(&body->text, (const char *)tensor->body, tensor->body_len);
        rd_buf_char(&body->text, ']');
        return;
    }
    rd_buf_str(&body->text, ",\"parameters\":{\"content_type\":\"base64\"},\"data\":[\"");
    rd_http_body_base64(body, tensor->body, tensor->body_len);
    rd_buf_str(&body->text, "\"]");
}

static void put_number(struct rd_buf *text, enum rd_datatype datatype, const uint8_t *at)
{
    uint64_t integer = 0;
    switch (datatype) {
    case RD_DATATYPE_BOOL:
        rd_buf_str(text, at[0] != 0 ? "true" : "false");
        break;
    case RD_DATATYPE_UINT64: /* not through a double, which would round them */
        for (size_t i = 0; i < sizeof integer; i++) {
            integer |= (uint64_t)at[i] << (8 * i);
        }
        rd_buf_printf(text, "%" PRIu64, integer);
        break;
    case RD_DATATYPE_INT64:
        for (size_t i = 0; i < sizeof integer; i++) {
            integer |= (uint64_t)at[i] << (8 * i);
        }
        rd_buf_printf(text, "%" PRId64, (int64_t)integer);
        break;
    case RD_DATATYPE_UINT8:
    case RD_DATATYPE_UINT16:
    case RD_DATATYPE_UINT32:
    case RD_DATATYPE_INT8:
    case RD_DATATYPE_INT16:
    case RD_DATATYPE_INT32:
    case RD_DATATYPE_FP16:
    case RD_DATATYPE_BF16:
    case RD_DATATYPE_FP32:
    case RD_DATATYPE_FP64:
    case RD_DATATYPE_BYTES:
    case RD_DATATYPE_COUNT_:
    default:
        rd_buf_json_number(text, rd_datatype_get_number(datatype, at));
        break;
    }
}

static void put_numbers(struct rd_buf *text, const struct rd_tensor *tensor)
{
    size_t size = rd_datatype_size(tensor->datatype);
    const uint8_t *data = tensor->body_len > 0 ? tensor->body : tensor->head;
    size_t len = tensor->body_len > 0 ? tensor->body_len : tensor->head_len;
    rd_buf_str(text, ",\"data\":[");
    for (size_t at = 0; at + size <= len && rd_buf_err(text) == RD_OK; at += size) {
        if (at > 0) {
            rd_buf_char(text, ',');
        }
        put_number(text, tensor->datatype, data + at);
    }
    rd_buf_char(text, ']');
}

static void put_input(struct rd_http_body *body, const struct rd_tensor *tensor, bool binary)
{
    struct rd_buf *text = &body->text;
    rd_buf_str(text, "{\"name\":");
    rd_buf_json_str(text, tensor->name);
    put_shape(text, tensor);
    rd_buf_printf(text, ",\"datatype\":\"%s\"", rd_datatype_name(tensor->datatype));
    if (binary) {
        rd_buf_printf(text, ",\"parameters\":{\"binary_data_size\":%zu}",
                      tensor->head_len + tensor->body_len);
    } else if (tensor->datatype == RD_DATATYPE_BYTES) {
        put_bytes(body, tensor);
    } else {
        put_numbers(text, tensor);
    }
    rd_buf_char(text, '}');
}

/* Names what the scheduler knows: 1 is the highest priority, the timeout is in microseconds. */
static void put_parameters(struct rd_buf *text, const struct rd_http_run *run)
{
    uint64_t now = rd_clock_mono_ns();
    uint64_t left = run->deadline_ns > now ? (run->deadline_ns - now) / NS_PER_US : 1;
    rd_buf_printf(text, ",\"parameters\":{\"timeout\":%" PRIu64, left);
    if (run->job->priority != 0) {
        rd_buf_printf(text, ",\"priority\":%u", run->job->priority);
    }
    rd_buf_char(text, '}');
}

rd_err rd_triton_http_write(struct rd_http_run *run, bool binary, struct rd_http_body *body,
                            char length_line[RD_TRITON_LINE_MAX])
{
    const struct rd_triton_run *state = run->state;
    const struct rd_mapping *mapping = state->model->mapping;
    struct rd_buf *text = &body->text;
    rd_buf_str(text, "{\"id\":");
    rd_buf_json_str(text, run->job->request_id != NULL ? run->job->request_id : "");
    put_parameters(text, run);
    rd_buf_str(text, ",\"inputs\":[");
    for (size_t i = 0; i < state->tensors.count; i++) {
        if (i > 0) {
            rd_buf_char(text, ',');
        }
        put_input(body, &state->tensors.items[i], binary);
    }
    rd_buf_str(text, "],\"outputs\":[");
    for (size_t i = 0; i < mapping->outputs_count; i++) {
        rd_buf_str(text, i == 0 ? "{\"name\":" : ",{\"name\":");
        rd_buf_json_str(text, mapping->outputs[i].name);
        rd_buf_str(text, binary ? ",\"parameters\":{\"binary_data\":true}}" : "}");
    }
    rd_buf_str(text, "]}");
    RD_TRY(rd_buf_err(text));
    if (!binary) {
        return RD_OK;
    }
    (void)snprintf(length_line, RD_TRITON_LINE_MAX, "Inference-Header-Content-Length: %zu",
                   text->len);
    for (size_t i = 0; i < state->tensors.count; i++) {
        const struct rd_tensor *tensor = &state->tensors.items[i];
        rd_buf_append(text, tensor->head, tensor->head_len);
        if (tensor->body_len <= SMALL) { /* so that a request of texts and numbers stays flat */
            rd_buf_append(text, tensor->body, tensor->body_len);
        } else {
            rd_http_body_bytes(body, tensor->body, tensor->body_len);
        }
    }
    return RD_OK;
}
