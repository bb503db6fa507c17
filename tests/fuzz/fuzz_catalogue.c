/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a catalogue: it loads or is refused in words; what loads finds each of its models by
 * name, and its bodies fit into a buffer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "catalogue/catalogue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int holds)
{
    if (!holds) {
        abort();
    }
}

static bool never(void *ctx, const struct rd_model *model, enum rd_backend_kind kind)
{
    (void)ctx;
    demand((model->backends & (1u << kind)) != 0);
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd_catalogue *catalogue = NULL;
    struct rd_why why = {""};
    rd_err err = rd_catalogue_load((const char *)data, size, "f.yaml", &catalogue, &why);
    if (err != RD_OK) {
        demand(err == RD_ERR_CONFIG && catalogue == NULL && strncmp(why.text, "f.yaml:", 7) == 0);
        return 0;
    }
    const struct rd_model *models = NULL;
    size_t count = rd_catalogue_models(catalogue, &models);
    for (size_t i = 0; i < count; i++) {
        demand(rd_catalogue_find(catalogue, models[i].family, models[i].name) == &models[i]);
    }
    struct rd_buf out;
    rd_buf_init(&out, (size_t)64 << 20);
    demand(rd_catalogue_models_json(catalogue, never, NULL, &out) == RD_OK);
    demand(rd_catalogue_aliases_json(catalogue, &out) == RD_OK);
    demand(rd_catalogue_loras_json(catalogue, &out) == RD_OK);
    rd_buf_done(&out);
    rd_catalogue_unref(catalogue);
    return 0;
}
