/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of engine types: the one place that knows which exist. See engine.h. */
#include "engine/engine.h"

#include <string.h>

const struct rd_engine_ops *rd_engine_find(const char *type, const char *url)
{
    static const struct {
        const struct rd_engine_ops *ops;
        const char *scheme; /* how its URLs begin; NULL: the type alone tells */
    } table[] = {
        {&rd_engine_builtin_ops, NULL},       {&rd_engine_http_ops, NULL},
        {&rd_engine_openai_ops, NULL},        {&rd_engine_process_ops, NULL},
        {&rd_engine_triton_grpc_ops, "grpc"}, {&rd_engine_triton_http_ops, "http"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const char *scheme = table[i].scheme;
        if (strcmp(table[i].ops->type, type) == 0 &&
            (scheme == NULL || (url != NULL && strncmp(url, scheme, strlen(scheme)) == 0))) {
            return table[i].ops;
        }
    }
    return NULL;
}
