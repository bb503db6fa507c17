/* SPDX-License-Identifier: Apache-2.0
 *
 * What the sources of this folder share: one file that is being loaded. config.c goes through it
 * from top to bottom; mappings.c and engines.c know the rules of these two. */
#ifndef RD_CONFIG_INTERNAL_H
#define RD_CONFIG_INTERNAL_H

#include "config/config.h"
#include "config/config_table.h"

struct rd_config_loader {
    struct rd_yaml *doc;
    const struct rd_yaml_node *root; /* NULL: an empty file */
    struct rd_why *why;
    struct rd_config_raw raw;
};

rd_err rd_config_no_memory(struct rd_config_loader *l);

/* The file's mappings, checked. `ret` lives as long as the document. */
rd_err rd_config_mappings(struct rd_config_loader *l, struct rd_mapping **ret,
                          size_t *ret_count) RD_MUST;

/* The file's engines, checked, or the one that is there when the file says none. */
rd_err rd_config_engines(struct rd_config_loader *l, const struct rd_mapping *mappings,
                         size_t mappings_count, struct rd_config *config) RD_MUST;

#endif
