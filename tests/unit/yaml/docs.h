/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests that hold a page of documentation to a schema: each field must have a table row with
 * its path and the very words of its errors, and each row must be a field. */
#ifndef TESTS_UNIT_YAML_DOCS_H
#define TESTS_UNIT_YAML_DOCS_H

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/fs.h"
#include "yaml/read.h"

/* Fails the test for each missing row; returns how many rows there are. */
static size_t docs_check(const char *page, const struct rd_yaml_schema *schema, const char *prefix)
{
    size_t rows = 0;
    for (size_t i = 0; i < schema->count; i++) {
        const struct rd_yaml_field *field = &schema->fields[i];
        char words[512], path[128], row[1024];
        rd_yaml_describe(field, words, sizeof words);
        snprintf(path, sizeof path, "%s%s", prefix, field->name);
        snprintf(row, sizeof row, "\n| `%s` | %s | %s", path, words,
                 field->required ? "required | " : "");
        if (strstr(page, row) == NULL) {
            fail_msg("the page lacks the row:%s", row);
        }
        rows++;
        if (field->schema != NULL) {
            snprintf(path, sizeof path, "%s%s%s", prefix, field->name,
                     field->type == RD_YAML_MAPS ? "[]." : ".");
            rows += docs_check(page, field->schema, path);
        }
    }
    return rows;
}

static size_t docs_rows(const char *page)
{
    size_t rows = 0;
    for (const char *at = page; (at = strstr(at, "\n| `")) != NULL; at++) {
        rows++;
    }
    return rows;
}

/* The first ```yaml block; NULL when there is none. */
static const char *docs_example(const char *page, size_t *ret_len)
{
    const char *start = strstr(page, "```yaml\n");
    if (start == NULL) {
        return NULL;
    }
    start += strlen("```yaml\n");
    *ret_len = (size_t)(strstr(start, "```") - start);
    return start;
}

#endif
