/* SPDX-License-Identifier: Apache-2.0
 *
 * "FILE:LINE: PATH: expected X, got Y". The path is found by walking from the node up to the root;
 * nodes are at most RD_YAML_DEPTH_MAX deep, so a small array turns it round. Everything that comes
 * out of the file is escaped and cut before it is printed: a message goes to a terminal. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"
#include "yaml/internal.h"

enum {
    PATH_SHOWN_MAX = 160,
    QUOTE_SHOWN_MAX = 60,
};

void rd_yaml_quote(const char *text, size_t len, char out[RD_YAML_QUOTE_ROOM])
{
    static const char hex[] = "0123456789abcdef";
    size_t at = 0, i = 0;
    out[at++] = '"';
    while (i < len) {
        unsigned char c = (unsigned char)text[i];
        size_t width = c < 0x80 ? 1 : rd_text_utf8_width(text + i, len - i);
        if (i + (width == 0 ? 1 : width) > QUOTE_SHOWN_MAX) {
            break;
        }
        /* U+0080 to U+009F are control characters as well; they start with 0xC2. */
        bool control = c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)text[i + 1] < 0xa0);
        if (width == 0 || control) {
            const char escape[4] = {'\\', 'x', hex[c >> 4], hex[c & 15]};
            memcpy(out + at, escape, sizeof escape);
            at += sizeof escape;
            i++;
            continue;
        }
        if (c == '"' || c == '\\') {
            out[at++] = '\\';
        }
        memcpy(out + at, text + i, width);
        at += width;
        i += width;
    }
    out[at++] = '"';
    if (i < len) {
        memcpy(out + at, "...", 3);
        at += 3;
    }
    out[at] = '\0';
}

static bool is_plain_key(const char *key)
{
    for (const char *c = key; *c != '\0'; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                     (*c >= '0' && *c <= '9') || *c == '_' || *c == '-';
        if (!plain) {
            return false;
        }
    }
    return strlen(key) <= QUOTE_SHOWN_MAX;
}

static void put_path(struct rd_buf *out, const struct rd_yaml_node *node)
{
    const struct rd_yaml_node *steps[RD_YAML_DEPTH_MAX + 1];
    size_t count = 0;
    for (; node != NULL && node->parent != NULL; node = node->parent) {
        steps[count++] = node;
    }
    for (size_t i = count; i-- > 0;) {
        if (steps[i]->key == NULL) {
            rd_buf_printf(out, "[%zu]", steps[i]->index);
            continue;
        }
        rd_buf_str(out, i + 1 == count ? "" : ".");
        if (is_plain_key(steps[i]->key)) {
            rd_buf_str(out, steps[i]->key);
        } else {
            char quoted[RD_YAML_QUOTE_ROOM];
            rd_yaml_quote(steps[i]->key, strlen(steps[i]->key), quoted);
            rd_buf_str(out, quoted);
        }
    }
}

/* "FILE:LINE: PATH: "; about a key (it is unknown, it is there twice) its own line is named. */
static void put_place(struct rd_buf *out, const struct rd_yaml *doc,
                      const struct rd_yaml_node *node, bool about_key)
{
    unsigned line = node == NULL ? 1 : about_key ? node->key_line : node->line;
    rd_buf_printf(out, "%s:%u: ", doc->file, line);
    struct rd_buf path;
    rd_buf_init(&path, RD_YAML_DEPTH_MAX * (RD_YAML_QUOTE_ROOM + 1));
    put_path(&path, node);
    if (path.len > PATH_SHOWN_MAX) {
        rd_buf_str(out, "...");
        rd_buf_append(out, path.data + path.len - PATH_SHOWN_MAX, PATH_SHOWN_MAX);
    } else {
        rd_buf_append(out, rd_buf_cstr(&path), path.len);
    }
    rd_buf_str(out, path.len == 0 ? "" : ": ");
    out->err = out->err == RD_OK ? path.err : out->err;
    rd_buf_done(&path);
}

static void put_got(struct rd_buf *out, const struct rd_yaml_node *node)
{
    if (node == NULL || (node->kind == RD_YAML_SCALAR && node->len == 0 && !node->quoted)) {
        rd_buf_str(out, "nothing");
    } else if (node->kind == RD_YAML_LIST) {
        rd_buf_str(out, "a list");
    } else if (node->kind == RD_YAML_MAP) {
        rd_buf_str(out, "a map");
    } else {
        char quoted[RD_YAML_QUOTE_ROOM];
        rd_yaml_quote(node->text, node->len, quoted);
        rd_buf_str(out, quoted);
    }
}

__attribute__((format(printf, 2, 0))) static void put_text(struct rd_buf *out, const char *fmt,
                                                           va_list args)
{
    char text[sizeof((struct rd_why *)NULL)->text];
    int len = vsnprintf(text, sizeof text, fmt, args);
    rd_buf_str(out, len < 0 ? "" : text);
}

static rd_err finish(struct rd_buf *out, struct rd_why *why)
{
    rd_err err = rd_buf_err(out) == RD_ERR_NO_MEMORY
                     ? rd_why_set(why, RD_ERR_NO_MEMORY, "no memory to parse a file")
                     : rd_why_set(why, RD_ERR_CONFIG, "%s", rd_buf_cstr(out));
    rd_buf_done(out);
    return err;
}

rd_err rd_yaml_refuse(const struct rd_yaml *doc, const struct rd_yaml_node *node,
                      struct rd_why *why, const char *fmt, ...)
{
    struct rd_buf out;
    rd_buf_init(&out, 4096);
    put_place(&out, doc, node, true);
    va_list args;
    va_start(args, fmt);
    put_text(&out, fmt, args);
    va_end(args);
    return finish(&out, why);
}

rd_err rd_yaml_expected(const struct rd_yaml *doc, const struct rd_yaml_node *node,
                        struct rd_why *why, const char *fmt, ...)
{
    struct rd_buf out;
    rd_buf_init(&out, 4096);
    put_place(&out, doc, node, false);
    rd_buf_str(&out, "expected ");
    va_list args;
    va_start(args, fmt);
    put_text(&out, fmt, args);
    va_end(args);
    rd_buf_str(&out, ", got ");
    put_got(&out, node);
    return finish(&out, why);
}
