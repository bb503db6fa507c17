/* SPDX-License-Identifier: Apache-2.0
 *
 * Events into nodes. The builder is a stack of open lists and maps, of fixed depth, and no
 * recursion: a file of a million '[' meets RD_YAML_DEPTH_MAX and nothing else. Each scalar inside a
 * map is by turns a key and a value; the key waits in the stack's frame until its value's node
 * exists.
 *
 * The bytes are looked at once before libyaml sees them: UTF-8, no control characters, size. So its
 * reader has nothing left to guess (it would take UTF-16 as well), and these errors have lines. */
#include "yaml/tree.h"

#include <string.h>

#include <yaml.h>

#include "base/text.h"
#include "yaml/internal.h"

/* Nodes, texts and what readers build from them: strings are used where they stand, so that arrays
 * of structs are all that is added. */
enum { ARENA_MAX = 64 << 20 };

enum { FILE_SHOWN_MAX = 160 }; /* of a longer path the end stands in messages */

struct frame {
    struct rd_yaml_node *node; /* the open list or map */
    struct rd_yaml_node *last; /* its newest child */
    const char *key;           /* MAP: the key that waits for its value */
    unsigned key_line;
};

struct builder {
    struct rd_yaml *doc;
    struct rd_why *why;
    size_t depth;
    size_t nodes;
    bool document_seen;
    struct frame frames[RD_YAML_DEPTH_MAX];
};

static unsigned line_of(const yaml_mark_t *mark)
{
    return (unsigned)mark->line + 1;
}

static rd_err refuse_line(const struct builder *b, unsigned line, const char *text)
{
    return rd_why_set(b->why, RD_ERR_CONFIG, "%s:%u: %s", b->doc->file, line, text);
}

/* The checks that need no YAML. */
static rd_err check_bytes(const struct builder *b, const char *text, size_t len)
{
    unsigned line = 1;
    if (len > RD_YAML_FILE_MAX) {
        return rd_why_set(b->why, RD_ERR_CONFIG, "%s: expected at most %d bytes, got %zu",
                          b->doc->file, RD_YAML_FILE_MAX, len);
    }
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)text[i];
        size_t width = c < 0x80 ? 1 : rd_text_utf8_width(text + i, len - i);
        if (width == 0) {
            return rd_why_set(b->why, RD_ERR_CONFIG, "%s:%u: expected UTF-8, got the byte 0x%02x",
                              b->doc->file, line, c);
        }
        if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f) {
            return rd_why_set(b->why, RD_ERR_CONFIG,
                              "%s:%u: expected text, got the control character 0x%02x",
                              b->doc->file, line, c);
        }
        if (c == '\n' || (c == '\r' && !(i + 1 < len && text[i + 1] == '\n'))) {
            line++;
        }
        i += width;
    }
    return RD_OK;
}

/* Whether line number `line` starts with white space that has a tab in it: the one YAML mistake
 * that nobody can see, so it gets words of its own. */
static bool indented_by_tab(const char *text, size_t len, unsigned line)
{
    size_t i = 0;
    for (unsigned at = 1; at < line && i < len; i++) {
        at += text[i] == '\n';
    }
    while (i < len && text[i] == ' ') {
        i++;
    }
    return i < len && text[i] == '\t';
}

static rd_err parser_failed(const struct builder *b, const yaml_parser_t *parser, const char *text,
                            size_t len)
{
    if (parser->error == YAML_MEMORY_ERROR) {
        return rd_why_set(b->why, RD_ERR_NO_MEMORY, "no memory to parse %s", b->doc->file);
    }
    const char *problem = parser->problem == NULL ? "malformed" : parser->problem;
    if (parser->error == YAML_READER_ERROR) {
        unsigned line = 1;
        for (size_t i = 0; i < len && i < parser->problem_offset; i++) {
            line += text[i] == '\n';
        }
        return rd_why_set(b->why, RD_ERR_CONFIG, "%s:%u: not valid YAML: %s", b->doc->file, line,
                          problem);
    }
    unsigned line = line_of(&parser->problem_mark);
    if (indented_by_tab(text, len, line)) {
        return refuse_line(b, line, "expected spaces, got a tab: YAML is not indented with tabs");
    }
    return rd_why_set(b->why, RD_ERR_CONFIG, "%s:%u: not valid YAML: %s", b->doc->file, line,
                      problem);
}

static struct frame *top(struct builder *b)
{
    return b->depth == 0 ? NULL : &b->frames[b->depth - 1];
}

/* A new node in its place: the root, the next of a list, or the value of the waiting key. */
static rd_err add_node(struct builder *b, enum rd_yaml_kind kind, unsigned line,
                       struct rd_yaml_node **ret)
{
    if (b->nodes == RD_YAML_NODES_MAX) {
        return rd_why_set(b->why, RD_ERR_CONFIG, "%s:%u: expected at most %d values in a file",
                          b->doc->file, line, RD_YAML_NODES_MAX);
    }
    struct rd_yaml_node *node = rd_arena_alloc(&b->doc->arena, sizeof *node);
    if (node == NULL) {
        return rd_why_set(b->why, RD_ERR_NO_MEMORY, "no memory to parse %s", b->doc->file);
    }
    b->nodes++;
    node->kind = kind;
    node->line = line;
    node->key_line = line;
    node->text = "";
    struct frame *frame = top(b);
    if (frame == NULL) {
        b->doc->root = node;
    } else {
        node->parent = frame->node;
        node->index = frame->node->count++;
        if (frame->key != NULL) {
            node->key = frame->key;
            node->key_line = frame->key_line;
            frame->key = NULL;
        }
        *(frame->last == NULL ? &frame->node->first : &frame->last->next) = node;
        frame->last = node;
    }
    *ret = node;
    return RD_OK;
}

static bool wants_key(const struct frame *frame)
{
    return frame != NULL && frame->node->kind == RD_YAML_MAP && frame->key == NULL;
}

static rd_err open_node(struct builder *b, enum rd_yaml_kind kind, unsigned line)
{
    struct rd_yaml_node *node = NULL;
    if (wants_key(top(b))) {
        return refuse_line(b, line, "expected a key, got a list or a map");
    }
    if (b->depth == RD_YAML_DEPTH_MAX) {
        return rd_why_set(b->why, RD_ERR_CONFIG,
                          "%s:%u: expected at most %d lists and maps in each other", b->doc->file,
                          line, RD_YAML_DEPTH_MAX);
    }
    RD_TRY(add_node(b, kind, line, &node));
    b->frames[b->depth++] = (struct frame){.node = node};
    return RD_OK;
}

static rd_err take_key(struct builder *b, const char *text, size_t len, unsigned line)
{
    struct frame *frame = top(b);
    char quoted[RD_YAML_QUOTE_ROOM];
    rd_yaml_quote(text, len, quoted);
    if (len == 0 || len > RD_YAML_KEY_LEN_MAX) {
        return rd_why_set(b->why, RD_ERR_CONFIG, "%s:%u: expected a key of 1 to %d bytes, got %s",
                          b->doc->file, line, RD_YAML_KEY_LEN_MAX, quoted);
    }
    const struct rd_yaml_node *before = rd_yaml_get(frame->node, text);
    if (before != NULL) {
        return rd_yaml_refuse(b->doc, before, b->why, "stands here, and again in line %u", line);
    }
    if (frame->node->count == RD_YAML_KEYS_MAX) {
        return rd_why_set(b->why, RD_ERR_CONFIG, "%s:%u: expected at most %d keys in a map",
                          b->doc->file, line, RD_YAML_KEYS_MAX);
    }
    frame->key = text;
    frame->key_line = line;
    return RD_OK;
}

static rd_err on_scalar(struct builder *b, const yaml_event_t *event)
{
    const char *raw = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    unsigned line = line_of(&event->start_mark);
    bool quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    if (memchr(raw, '\0', len) != NULL) { /* written as "\0": the raw byte is refused before */
        return refuse_line(b, line, "expected text, got the control character 0x00");
    }
    if (len > RD_YAML_TEXT_LEN_MAX) {
        return rd_why_set(b->why, RD_ERR_CONFIG,
                          "%s:%u: expected a text of at most %d bytes, got %zu", b->doc->file, line,
                          RD_YAML_TEXT_LEN_MAX, len);
    }
    const char *text = rd_arena_strndup(&b->doc->arena, raw, len);
    if (text == NULL) {
        return rd_why_set(b->why, RD_ERR_NO_MEMORY, "no memory to parse %s", b->doc->file);
    }
    if (wants_key(top(b))) {
        return take_key(b, text, len, line);
    }
    if (b->depth == 0 && len == 0 && !quoted) { /* "---" and nothing behind it */
        return RD_OK;
    }
    struct rd_yaml_node *node = NULL;
    RD_TRY(add_node(b, RD_YAML_SCALAR, line, &node));
    node->text = text;
    node->len = len;
    node->quoted = quoted;
    return RD_OK;
}

static rd_err on_open(struct builder *b, enum rd_yaml_kind kind, const yaml_event_t *event,
                      bool decorated)
{
    unsigned line = line_of(&event->start_mark);
    if (decorated) {
        return refuse_line(b, line, "expected a plain value, got a tag or an anchor");
    }
    return open_node(b, kind, line);
}

static rd_err on_event(struct builder *b, const yaml_event_t *event)
{
    unsigned line = line_of(&event->start_mark);
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->document_seen) {
            return refuse_line(b, line, "expected one document, got a second one");
        }
        b->document_seen = true;
        return RD_OK;
    case YAML_ALIAS_EVENT:
        return refuse_line(b, line, "expected a plain value, got an alias");
    case YAML_SCALAR_EVENT:
        if (event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL) {
            return refuse_line(b, line, "expected a plain value, got a tag or an anchor");
        }
        return on_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(b, RD_YAML_LIST, event,
                       event->data.sequence_start.anchor != NULL ||
                           event->data.sequence_start.tag != NULL);
    case YAML_MAPPING_START_EVENT:
        return on_open(b, RD_YAML_MAP, event,
                       event->data.mapping_start.anchor != NULL ||
                           event->data.mapping_start.tag != NULL);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        return RD_OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return RD_OK;
    }
    return RD_OK;
}

static rd_err run_parser(struct builder *b, yaml_parser_t *parser, const char *text, size_t len)
{
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(parser, (const unsigned char *)text, len);
    for (bool more = true; more;) {
        yaml_event_t event;
        if (yaml_parser_parse(parser, &event) == 0) {
            return parser_failed(b, parser, text, len);
        }
        more = event.type != YAML_STREAM_END_EVENT;
        rd_err err = on_event(b, &event);
        yaml_event_delete(&event);
        RD_TRY(err);
    }
    return RD_OK;
}

static rd_err build(struct builder *b, const char *text, size_t len)
{
    RD_TRY(check_bytes(b, text, len));
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        len -= 3;
    }
    yaml_parser_t parser;
    if (yaml_parser_initialize(&parser) == 0) {
        return rd_why_set(b->why, RD_ERR_NO_MEMORY, "no memory to parse %s", b->doc->file);
    }
    rd_err err = run_parser(b, &parser, text, len);
    yaml_parser_delete(&parser);
    return err;
}

rd_err rd_yaml_parse(const char *text, size_t len, const char *file, struct rd_yaml **ret,
                     struct rd_why *why)
{
    struct rd_yaml *doc = rd_mem_alloc(sizeof *doc);
    /* Too large to put on any thread's stack without asking. */
    RD_AUTO_FREE struct builder *b = rd_mem_alloc(sizeof *b);
    if (doc == NULL || b == NULL) {
        rd_mem_free(doc);
        return rd_why_set(why, RD_ERR_NO_MEMORY, "no memory to parse %s", file);
    }
    rd_arena_init(&doc->arena, ARENA_MAX);
    size_t cut = strlen(file) > FILE_SHOWN_MAX ? strlen(file) - FILE_SHOWN_MAX : 0;
    doc->file = rd_arena_printf(&doc->arena, "%s%s", cut == 0 ? "" : "...", file + cut);
    *b = (struct builder){.doc = doc, .why = why};
    rd_err err = doc->file == NULL
                     ? rd_why_set(why, RD_ERR_NO_MEMORY, "no memory to parse %s", file)
                     : build(b, len == 0 ? "" : text, len);
    if (err != RD_OK) {
        rd_yaml_free(doc);
        return err;
    }
    *ret = doc;
    return RD_OK;
}

void rd_yaml_free(struct rd_yaml *doc)
{
    if (doc != NULL) {
        rd_arena_done(&doc->arena);
        rd_mem_free(doc);
    }
}

const struct rd_yaml_node *rd_yaml_root(const struct rd_yaml *doc)
{
    return doc->root;
}

const struct rd_yaml_node *rd_yaml_get(const struct rd_yaml_node *map, const char *key)
{
    if (map == NULL || map->kind != RD_YAML_MAP) {
        return NULL;
    }
    const struct rd_yaml_node *node = map->first;
    while (node != NULL && strcmp(node->key, key) != 0) {
        node = node->next;
    }
    return node;
}

const struct rd_yaml_node *rd_yaml_item(const struct rd_yaml_node *list, size_t index)
{
    const struct rd_yaml_node *node = list == NULL ? NULL : list->first;
    while (node != NULL && node->index != index) {
        node = node->next;
    }
    return node;
}

void *rd_yaml_alloc(struct rd_yaml *doc, size_t size)
{
    return rd_arena_alloc(&doc->arena, size);
}
