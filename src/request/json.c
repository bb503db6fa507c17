/* SPDX-License-Identifier: Apache-2.0
 *
 * See json.h. The library's allocations go through base/mem.h, and a failed one leaves a mark on
 * its thread; a parse that ends with the mark set failed for want of memory, whatever the library
 * says. */
#include "request/json.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static _Thread_local bool starved;

static void *take(size_t size)
{
    void *block = rd_mem_alloc(size);
    starved |= block == NULL;
    return block;
}

/* Before there are threads, and before anything is parsed. */
__attribute__((constructor)) static void route_memory(void)
{
    json_set_alloc_funcs(take, rd_mem_free);
}

json_t *rd_json_load(const char *text, size_t len, size_t flags, json_error_t *error)
{
    starved = false;
    json_t *root = json_loadb(text, len, flags, error);
    if (starved) { /* also when something came out: who knows what is missing in it */
        json_decref(root);
        root = NULL;
        (void)snprintf(error->text, sizeof error->text - 1, "out of memory");
        error->text[sizeof error->text - 1] = (char)json_error_out_of_memory;
    }
    return root;
}
