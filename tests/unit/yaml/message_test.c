/* SPDX-License-Identifier: Apache-2.0
 *
 * What a message shows of a hostile file: paths in order, everything escaped, everything cut. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/buf.h"
#include "yaml/tree.h"

static void quotes(void **state)
{
    (void)state;
    char out[RD_YAML_QUOTE_ROOM];
    rd_yaml_quote("plain", 5, out);
    assert_string_equal(out, "\"plain\"");
    rd_yaml_quote("", 0, out);
    assert_string_equal(out, "\"\"");
    rd_yaml_quote("a\"b\\c\n\x1b[31m", 11, out);
    assert_string_equal(out, "\"a\\\"b\\\\c\\x0a\\x1b[31m\"");
    rd_yaml_quote("caf\xc3\xa9 \xc2\x9b \xff", 10, out); /* e-acute stays; CSI and garbage do not */
    assert_string_equal(out, "\"caf\xc3\xa9 \\xc2\\x9b \\xff\"");
}

static void quotes_are_cut(void **state)
{
    (void)state;
    char text[100], out[RD_YAML_QUOTE_ROOM];
    memset(text, 'a', sizeof text);
    rd_yaml_quote(text, 60, out);
    assert_int_equal(strlen(out), 62);
    rd_yaml_quote(text, 61, out);
    assert_int_equal(strlen(out), 65);
    assert_string_equal(out + 60, "a\"...");
    memcpy(text + 59, "\xc3\xa9", 2); /* two bytes over the edge: never half a character */
    rd_yaml_quote(text, 61, out);
    assert_string_equal(out + 59, "a\"...");
    memset(text, '\x01', sizeof text); /* the longest there is */
    rd_yaml_quote(text, sizeof text, out);
    assert_int_equal(strlen(out), 4 * 60 + 5);
}

static void check(const char *yaml, const struct rd_yaml_node *(*pick)(const struct rd_yaml_node *),
                  const char *expected, const char *refused)
{
    struct rd_yaml *doc = NULL;
    struct rd_why why;
    assert_int_equal(rd_yaml_parse(yaml, strlen(yaml), "m.yaml", &doc, NULL), RD_OK);
    const struct rd_yaml_node *node = pick(rd_yaml_root(doc));
    assert_int_equal(rd_yaml_expected(doc, node, &why, "%s", "X"), RD_ERR_CONFIG);
    assert_string_equal(why.text, expected);
    assert_int_equal(rd_yaml_refuse(doc, node, &why, "no %d", 7), RD_ERR_CONFIG);
    assert_string_equal(why.text, refused);
    assert_int_equal(rd_yaml_refuse(doc, node, NULL, "no"), RD_ERR_CONFIG);
    rd_yaml_free(doc);
}

static const struct rd_yaml_node *itself(const struct rd_yaml_node *root)
{
    return root;
}

/* The last node of all: down the last child as long as there is one. */
static const struct rd_yaml_node *innermost(const struct rd_yaml_node *node)
{
    while (node->first != NULL) {
        node = rd_yaml_item(node, node->count - 1);
    }
    return node;
}

static void places(void **state)
{
    (void)state;
    check("[1]", itself, "m.yaml:1: expected X, got a list", "m.yaml:1: no 7");
    check("\n\na: 1", itself, "m.yaml:3: expected X, got a map", "m.yaml:3: no 7");
    check("", itself, "m.yaml:1: expected X, got nothing", "m.yaml:1: no 7");
    check("a:\n  many", innermost, "m.yaml:2: a: expected X, got \"many\"", "m.yaml:1: a: no 7");
    check("a:", innermost, "m.yaml:1: a: expected X, got nothing", "m.yaml:1: a: no 7");
    check("a: ''", innermost, "m.yaml:1: a: expected X, got \"\"", "m.yaml:1: a: no 7");
    check("a: {b: [1, [2, {c-d: 3}]]}", innermost, "m.yaml:1: a.b[1][1].c-d: expected X, got \"3\"",
          "m.yaml:1: a.b[1][1].c-d: no 7");
    check("'x y': {'\x22': 1}", innermost, "m.yaml:1: \"x y\".\"\\\"\": expected X, got \"1\"",
          "m.yaml:1: \"x y\".\"\\\"\": no 7");
}

static void long_paths_show_their_end(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf text;
    struct rd_yaml *doc = NULL;
    struct rd_why why;
    rd_buf_init(&text, 1 << 16);
    for (int depth = 0; depth < RD_YAML_DEPTH_MAX; depth++) {
        rd_buf_str(&text, "{a_key_of_forty_bytes_that_is_rather_long: ");
    }
    rd_buf_str(&text, "x");
    for (int depth = 0; depth < RD_YAML_DEPTH_MAX; depth++) {
        rd_buf_str(&text, "}");
    }
    assert_int_equal(rd_yaml_parse(text.data, text.len, "m.yaml", &doc, NULL), RD_OK);
    assert_int_equal(rd_yaml_expected(doc, innermost(rd_yaml_root(doc)), &why, "X"), RD_ERR_CONFIG);
    assert_memory_equal(why.text, "m.yaml:1: ...", 13);
    const char *end = "a_key_of_forty_bytes_that_is_rather_long: expected X, got \"x\"";
    assert_string_equal(why.text + strlen(why.text) - strlen(end), end);
    rd_yaml_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotes),
        cmocka_unit_test(quotes_are_cut),
        cmocka_unit_test(places),
        cmocka_unit_test(long_paths_show_their_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
