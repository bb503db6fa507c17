/* SPDX-License-Identifier: Apache-2.0
 *
 * The bodies of GET /models, /models/aliases and /models/loras. docs/catalogue.md shows them. Keys
 * that may have no value (alias, description) are null; what a preset does not say is left out, so
 * that a preset can be merged into a request as it is. Written straight into the buffer: its
 * ceiling and its one error check make a JSON library needless here. */
#include "catalogue/catalogue.h"
#include "catalogue/catalogue_table.h"

static void put_key_or_null(struct rd_buf *out, const char *key, const char *text)
{
    rd_buf_printf(out, ",\"%s\":", key);
    if (text == NULL) {
        rd_buf_str(out, "null");
    } else {
        rd_buf_json_str(out, text);
    }
}

static void put_id(struct rd_buf *out, const struct rd_model *model)
{
    /* Both halves are names (yaml/forms.c): nothing to escape. */
    rd_buf_printf(out, "\"%s/%s\"", model->family, model->name);
}

static void put_tasks(struct rd_buf *out, const struct rd_model *model)
{
    const char *comma = "";
    rd_buf_str(out, ",\"modality\":[");
    for (unsigned i = 0; i < RD_MODALITY_COUNT_; i++) {
        if ((model->modalities & (1u << i)) != 0) {
            rd_buf_printf(out, "%s\"%s\"", comma, rd_modality_name((enum rd_modality)i));
            comma = ",";
        }
    }
    comma = "";
    rd_buf_str(out, "],\"tasks\":[");
    for (unsigned i = 0; i < RD_TASK_COUNT_; i++) {
        if ((model->tasks & (1u << i)) != 0) {
            rd_buf_printf(out, "%s\"%s\"", comma, rd_task_name((enum rd_task)i));
            comma = ",";
        }
    }
    rd_buf_char(out, ']');
}

/* The kinds of a model, the default first. */
static size_t list_backends(const struct rd_model *model,
                            enum rd_backend_kind out[RD_BACKEND_COUNT_])
{
    size_t count = 0;
    out[count++] = model->default_backend;
    for (unsigned i = 0; i < RD_BACKEND_COUNT_; i++) {
        if ((model->backends & (1u << i)) != 0 && i != model->default_backend) {
            out[count++] = (enum rd_backend_kind)i;
        }
    }
    return count;
}

static void put_backends(struct rd_buf *out, const struct rd_model *model,
                         rd_catalogue_available *available, void *ctx)
{
    enum rd_backend_kind kinds[RD_BACKEND_COUNT_];
    size_t count = list_backends(model, kinds);
    bool any = false;
    rd_buf_str(out, ",\"backends\":[");
    for (size_t i = 0; i < count; i++) {
        bool yes = available(ctx, model, kinds[i]);
        any = any || yes;
        rd_buf_printf(out, "%s{\"name\":\"%s\",\"default\":%s,\"available\":%s}", i == 0 ? "" : ",",
                      rd_backend_kind_name(kinds[i]), i == 0 ? "true" : "false",
                      yes ? "true" : "false");
    }
    rd_buf_printf(out, "],\"available\":%s", any ? "true" : "false");
}

static void put_formats(struct rd_buf *out, const struct rd_model *model)
{
    const char *comma = "";
    rd_buf_str(out, ",\"formats\":[");
    for (size_t i = 0; i < rd_formats_count; i++) {
        const struct rd_format *format = &rd_formats[i];
        if (!rd_model_has_format(model, format)) {
            continue;
        }
        rd_buf_printf(out,
                      "%s{\"name\":\"%s\",\"modality\":\"%s\",\"width\":%u,\"height\":%u,"
                      "\"default\":%s}",
                      comma, format->name, rd_modality_name(format->modality), format->width,
                      format->height,
                      format == rd_format_default(format->modality) ? "true" : "false");
        comma = ",";
    }
    rd_buf_char(out, ']');
}

static void put_preset(struct rd_buf *out, const struct rd_preset *preset)
{
    const struct {
        const char *key, *text;
        bool given;
        double number;
    } parts[] = {
        {"sampler", preset->sampler, preset->sampler != NULL, 0},
        {"scheduler", preset->scheduler, preset->scheduler != NULL, 0},
        {"steps", NULL, preset->steps > 0, preset->steps},
        {"cfg", NULL, preset->cfg >= 0, preset->cfg},
        {"guidance", NULL, preset->guidance >= 0, preset->guidance},
    };
    const char *comma = "";
    rd_buf_json_str(out, preset->name);
    rd_buf_str(out, ":{");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (!parts[i].given) {
            continue;
        }
        rd_buf_printf(out, "%s\"%s\":", comma, parts[i].key);
        if (parts[i].text != NULL) {
            rd_buf_json_str(out, parts[i].text);
        } else {
            rd_buf_json_number(out, parts[i].number);
        }
        comma = ",";
    }
    rd_buf_char(out, '}');
}

rd_err rd_catalogue_models_json(const struct rd_catalogue *catalogue,
                                rd_catalogue_available *available, void *ctx, struct rd_buf *out)
{
    rd_buf_str(out, "{\"models\":[");
    for (size_t i = 0; i < catalogue->models_count; i++) {
        const struct rd_model *model = &catalogue->models[i];
        rd_buf_printf(out, "%s{\"id\":", i == 0 ? "" : ",");
        put_id(out, model);
        rd_buf_printf(out, ",\"family\":\"%s\",\"model\":\"%s\"", model->family, model->name);
        put_tasks(out, model);
        put_backends(out, model, available, ctx);
        rd_buf_printf(out, ",\"status\":\"%s\"", rd_model_status_name(model->status));
        put_key_or_null(out, "alias", model->alias);
        put_key_or_null(out, "description", model->description);
        put_formats(out, model);
        rd_buf_str(out, ",\"presets\":{");
        for (size_t p = 0; p < model->presets_count; p++) {
            rd_buf_str(out, p == 0 ? "" : ",");
            put_preset(out, &model->presets[p]);
        }
        rd_buf_str(out, "}}");
    }
    rd_buf_str(out, "]}");
    return rd_buf_err(out);
}

rd_err rd_catalogue_aliases_json(const struct rd_catalogue *catalogue, struct rd_buf *out)
{
    const char *comma = "";
    rd_buf_str(out, "{\"aliases\":{");
    for (size_t i = 0; i < catalogue->models_count; i++) {
        const struct rd_model *model = &catalogue->models[i];
        if (model->alias != NULL) {
            rd_buf_str(out, comma);
            rd_buf_json_str(out, model->alias);
            rd_buf_char(out, ':');
            put_id(out, model);
            comma = ",";
        }
    }
    rd_buf_str(out, "}}");
    return rd_buf_err(out);
}

rd_err rd_catalogue_loras_json(const struct rd_catalogue *catalogue, struct rd_buf *out)
{
    rd_buf_str(out, "{\"loras\":[");
    for (size_t i = 0; i < catalogue->loras_count; i++) {
        rd_buf_str(out, i == 0 ? "{\"id\":" : ",{\"id\":");
        rd_buf_json_str(out, catalogue->loras[i].id);
        rd_buf_str(out, ",\"family\":");
        rd_buf_json_str(out, catalogue->loras[i].family);
        rd_buf_char(out, '}');
    }
    rd_buf_str(out, "]}");
    return rd_buf_err(out);
}
