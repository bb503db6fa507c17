/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML as a bounded tree. One document becomes nodes that know their line and their place, so that
 * whoever reads them can say "FILE:LINE: PATH: expected X, got Y". Below it is libyaml's event
 * parser; above it read.h turns the tree into checked values.
 *
 * The dialect is the plain part of YAML that configuration needs: maps, lists, scalars, comments.
 * Anchors, aliases and merge keys are refused (they are how ten lines become a billion nodes), and
 * so are tags (they would choose types that the schema chooses), duplicate keys (which one
 * counts?), keys that are no text, a second document, control characters and anything that is not
 * UTF-8. A scalar has no type of its own here: `on`, `1` and `"1"` are text until a schema asks for
 * more.
 *
 * Why events and not libyaml's own document API: that one resolves aliases, accepts duplicate keys,
 * and bounds neither depth nor nodes. */
#ifndef RD_YAML_TREE_H
#define RD_YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum {
    RD_YAML_FILE_MAX = 1 << 20,  /* bytes; a file written by people is smaller */
    RD_YAML_DEPTH_MAX = 32,      /* lists and maps in each other */
    RD_YAML_NODES_MAX = 100000,  /* about 10 MiB of nodes */
    RD_YAML_KEYS_MAX = 256,      /* in one map: each new key is compared with all others */
    RD_YAML_KEY_LEN_MAX = 128,   /* bytes of one key */
    RD_YAML_TEXT_LEN_MAX = 8192, /* bytes of one scalar */
};

enum rd_yaml_kind { RD_YAML_SCALAR, RD_YAML_LIST, RD_YAML_MAP };

/* Read only; lives as long as its document. */
struct rd_yaml_node {
    enum rd_yaml_kind kind;
    bool quoted;       /* SCALAR: written in quotes or as a block, so meant as text */
    unsigned line;     /* where the value starts; the first line is 1 */
    unsigned key_line; /* where its key starts; = line in a list */
    const char *key;   /* its name in the map around it; NULL elsewhere */
    size_t index;      /* its place, from 0, in the list or map around it */
    const char *text;  /* SCALAR: NUL behind it and none inside; "" when nothing was written */
    size_t len;
    size_t count;                      /* LIST, MAP: how many are inside */
    const struct rd_yaml_node *parent; /* NULL at the root */
    struct rd_yaml_node *first, *next; /* inside; beside */
};

struct rd_yaml; /* a document: the nodes, and the memory of whatever was read from them */

/* Parses `len` bytes (a leading byte order mark is skipped). `file` is for messages and is copied.
 * CONFIG with `why` when it is not the dialect above; NO_MEMORY. */
rd_err rd_yaml_parse(const char *text, size_t len, const char *file, struct rd_yaml **ret,
                     struct rd_why *why) RD_MUST;
void rd_yaml_free(struct rd_yaml *doc); /* NULL is fine */

/* NULL when the file holds nothing but comments. */
const struct rd_yaml_node *rd_yaml_root(const struct rd_yaml *doc);
/* The value of `key`; NULL when `map` is NULL, no map, or has none. */
const struct rd_yaml_node *rd_yaml_get(const struct rd_yaml_node *map, const char *key);
/* Entry `index`; NULL when `list` is NULL or shorter. */
const struct rd_yaml_node *rd_yaml_item(const struct rd_yaml_node *list, size_t index);

/* Zeroed memory that lives as long as the document; NULL when there is none. */
void *rd_yaml_alloc(struct rd_yaml *doc, size_t size) RD_MUST;

/* Both fill `why` and return CONFIG (NO_MEMORY when there is none for the words). `node` NULL
 * stands for the whole file. FILE:LINE: PATH: <text> FILE:LINE: PATH: expected <text>, got <what
 * the node is> */
rd_err rd_yaml_refuse(const struct rd_yaml *doc, const struct rd_yaml_node *node,
                      struct rd_why *why, const char *fmt, ...) RD_PRINTF(4, 5);
rd_err rd_yaml_expected(const struct rd_yaml *doc, const struct rd_yaml_node *node,
                        struct rd_why *why, const char *fmt, ...) RD_PRINTF(4, 5);

/* `text` in quotes, fit for a terminal and a log: escaped, cut behind 60 bytes. Room: this. */
enum { RD_YAML_QUOTE_ROOM = 4 * 60 + 8 };
void rd_yaml_quote(const char *text, size_t len, char out[RD_YAML_QUOTE_ROOM]);

#endif
