/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a configuration file: it loads, or the answer is CONFIG with a message that starts
 * with the file's name, and nothing is returned. What loads keeps what the header promises. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd_config *config = NULL;
    struct rd_why why = {""};
    rd_err err = rd_config_load((const char *)data, size, "f.yaml", &config, &why);
    if (err != RD_OK) {
        demand(err == RD_ERR_CONFIG && config == NULL && strncmp(why.text, "f.yaml:", 7) == 0);
        return 0;
    }
    demand(config->own_file_bytes * 2 <= config->pack_bytes);
    demand(config->engines_count <= RD_CONFIG_ENGINES_MAX);
    for (size_t i = 0; i < config->engines_count; i++) {
        const struct rd_config_engine *engine = &config->engines[i];
        demand(engine->engine.slots >= 1 && engine->models_count >= 1);
        demand(engine->weight >= 1 && engine->weight <= 1000);
        bool local = strcmp(engine->engine.type, "builtin") == 0 ||
                     strcmp(engine->engine.type, "process") == 0;
        demand(local == (engine->engine.url == NULL));
        demand(rd_config_engine_same(engine, engine));
        for (size_t k = 0; k < engine->engine.mappings_count; k++) {
            demand(rd_mapping_check(engine->engine.mappings[k], NULL) == RD_OK);
        }
    }
    rd_config_unref(config);
    return 0;
}
