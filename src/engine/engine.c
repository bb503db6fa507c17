/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of engine types: the one place that knows which exist. See engine.h. */
#include "engine/engine.h"

#include <string.h>

const struct rd_engine_ops *rd_engine_find(const char *type, const char *url)
{
    (void)url;
    static const struct rd_engine_ops *const table[] = {
        &rd_engine_builtin_ops,
        &rd_engine_http_ops,
        &rd_engine_openai_ops,
        &rd_engine_process_ops,
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i]->type, type) == 0) {
            return table[i];
        }
    }
    return NULL;
}
