/* SPDX-License-Identifier: Apache-2.0
 *
 * What the sources of this folder share: the document's inside. */
#ifndef RD_YAML_INTERNAL_H
#define RD_YAML_INTERNAL_H

#include "base/mem.h"
#include "yaml/tree.h"

struct rd_yaml {
    struct rd_arena arena; /* nodes, texts, and what readers allocate */
    const char *file;
    struct rd_yaml_node *root; /* NULL when empty */
};

#endif
