/* SPDX-License-Identifier: Apache-2.0
 *
 * Prints the table of request fields, and the vocabulary that the OpenAPI file repeats, as JSON.
 * The test tests/unit/request/openapi_check.py compares that with api/openapi.yaml, so that the
 * published contract cannot drift from what the parser does. No arguments. */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/limits.h"
#include "request/canonical.h"
#include "request/fields.h"

static const char *const type_names[] = {
    [RD_FIELD_TEXT] = "text",       [RD_FIELD_INTEGER] = "integer", [RD_FIELD_NUMBER] = "number",
    [RD_FIELD_BOOL] = "boolean",    [RD_FIELD_NAME] = "name",       [RD_FIELD_SOURCE] = "source",
    [RD_FIELD_LORAS] = "loras",     [RD_FIELD_PRESET] = "preset",   [RD_FIELD_FORMAT] = "format",
    [RD_FIELD_BACKEND] = "backend", [RD_FIELD_ROUTE] = "route",
};
static const char *const default_names[] = {
    [RD_DEFAULT_NONE] = "none",   [RD_DEFAULT_FIXED] = "fixed", [RD_DEFAULT_PRESET] = "preset",
    [RD_DEFAULT_DRAWN] = "drawn", [RD_DEFAULT_MODEL] = "model",
};

static void put_tasks(struct rd_buf *out, const char *key, unsigned tasks)
{
    rd_buf_printf(out, ",\"%s\":[", key);
    const char *comma = "";
    for (unsigned i = 0; i < RD_TASK_COUNT_; i++) {
        if ((tasks & RD_FIELD_TASK(i)) != 0) {
            rd_buf_printf(out, "%s\"%s\"", comma, rd_task_name((enum rd_task)i));
            comma = ",";
        }
    }
    rd_buf_char(out, ']');
}

static void put_number(struct rd_buf *out, const char *key, double value)
{
    rd_buf_printf(out, ",\"%s\":", key);
    rd_canonical_number(value, out);
}

static void put_field(struct rd_buf *out, const struct rd_field *field)
{
    rd_buf_printf(out, "{\"name\":\"%s\",\"type\":\"%s\",\"fallback\":\"%s\"", field->name,
                  type_names[field->type], default_names[field->fallback]);
    put_tasks(out, "tasks", field->tasks);
    put_tasks(out, "required", field->required);
    if (field->min != 0 || field->max != 0) {
        put_number(out, "min", field->min);
        put_number(out, "max", field->max);
    }
    if (field->fallback == RD_DEFAULT_FIXED || field->fallback == RD_DEFAULT_PRESET) {
        if (field->text != NULL) {
            rd_buf_str(out, ",\"default\":");
            rd_buf_json_str(out, field->text);
        } else if (field->type == RD_FIELD_BOOL) {
            rd_buf_printf(out, ",\"default\":%s", field->number != 0 ? "true" : "false");
        } else {
            put_number(out, "default", field->number);
        }
    }
    if (field->names != NULL) {
        rd_buf_str(out, ",\"enum\":[");
        for (size_t i = 0; field->names[i] != NULL; i++) {
            rd_buf_printf(out, "%s\"%s\"", i == 0 ? "" : ",", field->names[i]);
        }
        rd_buf_char(out, ']');
    }
    rd_buf_char(out, '}');
}

static void put_fields(struct rd_buf *out, const char *key, const struct rd_field *fields,
                       size_t count)
{
    rd_buf_printf(out, "\"%s\":[\n", key);
    for (size_t i = 0; i < count; i++) {
        put_field(out, &fields[i]);
        rd_buf_str(out, i + 1 < count ? ",\n" : "\n],\n");
    }
}

#define PUT_NAMES(out, key, type, count, name)                                                     \
    do {                                                                                           \
        rd_buf_printf(out, "\"%s\":[", key);                                                       \
        for (unsigned i = 0; i < (count); i++) {                                                   \
            rd_buf_str(out, i == 0 ? "" : ",");                                                    \
            rd_buf_json_str(out, name((type)i));                                                   \
        }                                                                                          \
        rd_buf_str(out, "],\n");                                                                   \
    } while (0)

static const char *error_code(rd_err err)
{
    return rd_err_info(err)->code;
}

static void put_vocabulary(struct rd_buf *out)
{
    PUT_NAMES(out, "modalities", enum rd_modality, RD_MODALITY_COUNT_, rd_modality_name);
    PUT_NAMES(out, "tasks", enum rd_task, RD_TASK_COUNT_, rd_task_name);
    PUT_NAMES(out, "backends", enum rd_backend_kind, RD_BACKEND_COUNT_, rd_backend_kind_name);
    PUT_NAMES(out, "model_statuses", enum rd_model_status, RD_MODEL_STATUS_COUNT_,
              rd_model_status_name);
    PUT_NAMES(out, "media", enum rd_media, RD_MEDIA_COUNT_, rd_media_type);
    PUT_NAMES(out, "error_codes", rd_err, RD_ERR_COUNT_, error_code);
    rd_buf_str(out, "\"formats\":[");
    for (size_t i = 0; i < rd_formats_count; i++) {
        rd_buf_printf(out, "%s{\"name\":\"%s\",\"modality\":\"%s\",\"width\":%u,\"height\":%u}",
                      i == 0 ? "" : ",", rd_formats[i].name,
                      rd_modality_name(rd_formats[i].modality), rd_formats[i].width,
                      rd_formats[i].height);
    }
    rd_buf_printf(out, "],\n\"upload_bytes\":%d\n", RD_LIMIT_UPLOAD_BYTES);
}

int main(void)
{
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, RD_MIB(1));
    rd_buf_str(&out, "{");
    put_fields(&out, "fields", rd_fields, rd_fields_count);
    put_fields(&out, "lora", rd_lora_fields, rd_lora_fields_count);
    put_vocabulary(&out);
    rd_buf_str(&out, "}\n");
    if (rd_buf_err(&out) != RD_OK || fputs(rd_buf_cstr(&out), stdout) < 0 || fflush(stdout) != 0) {
        (void)fputs("request_fields: cannot write\n", stderr);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
