/* SPDX-License-Identifier: Apache-2.0
 *
 * The tree: what the dialect takes, what it refuses with which words on which line, each limit at
 * its value and one above, and the attacks on YAML parsers that have names. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/buf.h"
#include "yaml/tree.h"

static struct rd_yaml *parse(const char *text)
{
    struct rd_yaml *doc = NULL;
    struct rd_why why = {""};
    rd_err err = rd_yaml_parse(text, strlen(text), "t.yaml", &doc, &why);
    if (err != RD_OK) {
        fail_msg("%s", why.text);
    }
    return doc;
}

static void refused_bytes(const char *text, size_t len, const char *message)
{
    struct rd_yaml *doc = NULL;
    struct rd_why why = {""};
    assert_int_equal(rd_yaml_parse(text, len, "t.yaml", &doc, &why), RD_ERR_CONFIG);
    assert_null(doc);
    assert_string_equal(why.text, message);
    assert_int_equal(rd_yaml_parse(text, len, "t.yaml", &doc, NULL), RD_ERR_CONFIG);
}

static void refused(const char *text, const char *message)
{
    refused_bytes(text, strlen(text), message);
}

static void builds_nodes_with_lines(void **state)
{
    (void)state;
    struct rd_yaml *doc = parse("# a comment\n"
                                "name: box1\n"
                                "list:\n"
                                "  - one\n"
                                "  - {deep: 'two',\n"
                                "     deeper: [3]}\n"
                                "empty:\n"
                                "block: |\n"
                                "  first\n"
                                "  second\n");
    const struct rd_yaml_node *root = rd_yaml_root(doc);
    assert_int_equal(root->kind, RD_YAML_MAP);
    assert_int_equal(root->count, 4);
    assert_int_equal(root->line, 2);
    assert_null(root->parent);
    const struct rd_yaml_node *name = rd_yaml_get(root, "name");
    assert_string_equal(name->text, "box1");
    assert_int_equal(name->len, 4);
    assert_false(name->quoted);
    assert_int_equal(name->line, 2);
    const struct rd_yaml_node *list = rd_yaml_get(root, "list");
    assert_int_equal(list->kind, RD_YAML_LIST);
    assert_int_equal(list->count, 2);
    assert_int_equal(list->key_line, 3);
    assert_int_equal(list->line, 4);
    assert_int_equal(list->index, 1);
    const struct rd_yaml_node *second = rd_yaml_item(list, 1);
    assert_int_equal(second->kind, RD_YAML_MAP);
    assert_ptr_equal(second->parent, list);
    assert_null(second->key);
    assert_true(rd_yaml_get(second, "deep")->quoted);
    assert_int_equal(rd_yaml_item(rd_yaml_get(second, "deeper"), 0)->line, 6);
    assert_string_equal(rd_yaml_get(root, "empty")->text, "");
    assert_false(rd_yaml_get(root, "empty")->quoted);
    assert_string_equal(rd_yaml_get(root, "block")->text, "first\nsecond\n");
    assert_true(rd_yaml_get(root, "block")->quoted);
    rd_yaml_free(doc);
}

static void look_ups_miss_quietly(void **state)
{
    (void)state;
    struct rd_yaml *doc = parse("a: [1]\nb: x\n");
    const struct rd_yaml_node *root = rd_yaml_root(doc);
    assert_null(rd_yaml_get(root, "c"));
    assert_null(rd_yaml_get(NULL, "a"));
    assert_null(rd_yaml_get(rd_yaml_get(root, "a"), "a"));
    assert_null(rd_yaml_get(rd_yaml_get(root, "b"), "a"));
    assert_null(rd_yaml_item(rd_yaml_get(root, "a"), 1));
    assert_null(rd_yaml_item(NULL, 0));
    rd_yaml_free(doc);
    rd_yaml_free(NULL);
}

static void empty_files_have_no_root(void **state)
{
    (void)state;
    static const char *const files[] = {"",
                                        "\n\n",
                                        "# only a comment",
                                        "---\n",
                                        "---\n...\n",
                                        "\xef\xbb\xbf",
                                        "\xef\xbb\xbf# after a mark\r\n"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct rd_yaml *doc = parse(files[i]);
        assert_null(rd_yaml_root(doc));
        rd_yaml_free(doc);
    }
    struct rd_yaml *doc = NULL;
    assert_int_equal(rd_yaml_parse(NULL, 0, "t.yaml", &doc, NULL), RD_OK);
    assert_null(rd_yaml_root(doc));
    rd_yaml_free(doc);
}

static void takes_crlf_and_a_byte_order_mark(void **state)
{
    (void)state;
    struct rd_yaml *doc = parse("\xef\xbb\xbf"
                                "a: 1\r\nb:\r\n  - x\r\n");
    const struct rd_yaml_node *root = rd_yaml_root(doc);
    assert_string_equal(rd_yaml_get(root, "a")->text, "1");
    assert_int_equal(rd_yaml_item(rd_yaml_get(root, "b"), 0)->line, 3);
    rd_yaml_free(doc);
    refused("a: 1\r\nb: \x01\r\n", "t.yaml:2: expected text, got the control character 0x01");
    refused("a: 1\rb: \x01\r", "t.yaml:2: expected text, got the control character 0x01");
}

static void refuses_other_dialects(void **state)
{
    (void)state;
    refused("a: &x 1\nb: *x\n", "t.yaml:1: expected a plain value, got a tag or an anchor");
    refused("a: 1\nb: *x\n", "t.yaml:2: expected a plain value, got an alias");
    refused("a: &x [1]\n", "t.yaml:1: expected a plain value, got a tag or an anchor");
    refused("a: &x {b: 1}\n", "t.yaml:1: expected a plain value, got a tag or an anchor");
    refused("a: !!int 1\n", "t.yaml:1: expected a plain value, got a tag or an anchor");
    refused("a: !x [1]\n", "t.yaml:1: expected a plain value, got a tag or an anchor");
    refused("!!map {a: 1}\n", "t.yaml:1: expected a plain value, got a tag or an anchor");
    refused("&k a: 1\n", "t.yaml:1: expected a plain value, got a tag or an anchor");
    refused("a: 1\n---\nb: 2\n", "t.yaml:2: expected one document, got a second one");
    refused("a: 1\n...\n---\n", "t.yaml:3: expected one document, got a second one");
    refused("? [a]\n: 1\n", "t.yaml:1: expected a key, got a list or a map");
    refused("{{a: 1}: 1}\n", "t.yaml:1: expected a key, got a list or a map");
    refused("?\n: 1\n", "t.yaml:1: expected a key of 1 to 128 bytes, got \"\"");
    refused("'': 1\n", "t.yaml:1: expected a key of 1 to 128 bytes, got \"\"");
}

static void refuses_duplicate_keys(void **state)
{
    (void)state;
    refused("a: 1\nb: 2\na: 3\n", "t.yaml:1: a: stands here, and again in line 3");
    refused("x:\n  - {k: 1,\n     k: 2}\n", "t.yaml:2: x[0].k: stands here, and again in line 3");
    refused("a: 1\n'a': 3\n", "t.yaml:1: a: stands here, and again in line 2");
    rd_yaml_free(parse("a: {k: 1}\nb: {k: 1}\n"));
}

static void refuses_bytes_that_are_no_text(void **state)
{
    (void)state;
    refused_bytes("a: 1\nb: x\0y\n", 12, "t.yaml:2: expected text, got the control character 0x00");
    refused("a: \"\\0\"\n", "t.yaml:1: expected text, got the control character 0x00");
    refused("a: 1\n\nb: \xff\n", "t.yaml:3: expected UTF-8, got the byte 0xff");
    refused("a: \xc3", "t.yaml:1: expected UTF-8, got the byte 0xc3");
    refused("a: \xed\xa0\x80", "t.yaml:1: expected UTF-8, got the byte 0xed");
    refused("a: \x7f", "t.yaml:1: expected text, got the control character 0x7f");
    refused("\xff\xfe"
            "a",
            "t.yaml:1: expected UTF-8, got the byte 0xff"); /* UTF-16 */
    refused("\n\na: \xc2\x80\n", "t.yaml:3: not valid YAML: control characters are not allowed");
}

static void refuses_broken_yaml(void **state)
{
    (void)state;
    refused("a: 1\n\tb: 2\n",
            "t.yaml:2: expected spaces, got a tab: YAML is not indented with tabs");
    refused("a:\n  \tb: 2\n",
            "t.yaml:2: expected spaces, got a tab: YAML is not indented with tabs");
    struct rd_why why;
    struct rd_yaml *doc = NULL;
    static const char *const broken[] = {
        "a: [1", "a: {b", "a: 'x", "a: \"\\q\"", "a: b: c",          "- 1\na",
        "a: @x", "a: `x", "]",     "}",          "%YAML 9.1\n---\n", "a: 1\n b: 2"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        why.text[0] = '\0';
        if (rd_yaml_parse(broken[i], strlen(broken[i]), "t.yaml", &doc, &why) != RD_ERR_CONFIG) {
            fail_msg("taken: %s", broken[i]);
        }
        assert_non_null(strstr(why.text, "t.yaml:"));
        assert_non_null(strstr(why.text, ": not valid YAML: "));
    }
    assert_null(doc);
}

static void nest(struct rd_buf *out, const char *open, const char *close, size_t depth)
{
    rd_buf_reset(out);
    for (size_t i = 0; i < depth; i++) {
        rd_buf_str(out, open);
    }
    for (size_t i = 0; i < depth; i++) {
        rd_buf_str(out, close);
    }
}

static void depth_is_bounded(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, 4 << 20);
    nest(&text, "[", "]", RD_YAML_DEPTH_MAX);
    rd_yaml_free(parse(text.data));
    nest(&text, "[", "]", RD_YAML_DEPTH_MAX + 1);
    refused(text.data, "t.yaml:1: expected at most 32 lists and maps in each other");
    nest(&text, "{a: ", "}", RD_YAML_DEPTH_MAX + 1);
    refused(text.data, "t.yaml:1: expected at most 32 lists and maps in each other");
    nest(&text, "[", "", 1000000);
    refused(text.data, "t.yaml:1: expected at most 32 lists and maps in each other");
    nest(&text, "- ", "", 500000);
    refused(text.data, "t.yaml:1: expected at most 32 lists and maps in each other");
}

static void nodes_are_bounded(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, 4 << 20);
    rd_buf_str(&text, "[");
    for (size_t i = 0; i < RD_YAML_NODES_MAX - 1; i++) { /* the list itself is one */
        rd_buf_str(&text, "a,");
    }
    size_t len = text.len;
    rd_buf_str(&text, "]");
    rd_yaml_free(parse(text.data));
    text.len = len;
    rd_buf_str(&text, "a]");
    refused(text.data, "t.yaml:1: expected at most 100000 values in a file");
}

static void keys_are_bounded(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, 4 << 20);
    for (size_t i = 0; i < RD_YAML_KEYS_MAX; i++) {
        rd_buf_printf(&text, "k%zu: 1\n", i);
    }
    rd_yaml_free(parse(text.data));
    rd_buf_str(&text, "more: 1\n");
    refused(text.data, "t.yaml:257: expected at most 256 keys in a map");
}

static void texts_are_bounded(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, 4 << 20);
    for (size_t i = 0; i < RD_YAML_KEY_LEN_MAX; i++) {
        rd_buf_char(&text, 'k');
    }
    rd_buf_str(&text, ": ");
    for (size_t i = 0; i < RD_YAML_TEXT_LEN_MAX; i++) {
        rd_buf_char(&text, 'v');
    }
    rd_yaml_free(parse(text.data));
    rd_buf_str(&text, "v");
    refused(text.data, "t.yaml:1: expected a text of at most 8192 bytes, got 8193");
    rd_buf_reset(&text);
    for (size_t i = 0; i < RD_YAML_KEY_LEN_MAX + 1; i++) {
        rd_buf_char(&text, 'k');
    }
    rd_buf_str(&text, ": 1");
    struct rd_yaml *doc = NULL;
    struct rd_why why;
    assert_int_equal(rd_yaml_parse(text.data, text.len, "t.yaml", &doc, &why), RD_ERR_CONFIG);
    assert_non_null(strstr(why.text, "t.yaml:1: expected a key of 1 to 128 bytes, got \"kkk"));
    assert_non_null(strstr(why.text, "kkk\"..."));
}

static void size_is_bounded(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, 4 << 20);
    rd_buf_str(&text, "a: 1\n#");
    while (text.len < RD_YAML_FILE_MAX) {
        rd_buf_char(&text, text.len % 100 == 0 ? '\n' : '#');
    }
    rd_yaml_free(parse(text.data));
    rd_buf_char(&text, '#');
    refused(text.data, "t.yaml: expected at most 1048576 bytes, got 1048577");
}

static void laughs_are_refused(void **state)
{
    (void)state;
    refused("a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
            "b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
            "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n",
            "t.yaml:1: expected a plain value, got a tag or an anchor");
    refused("a: [*a, *a]\n", "t.yaml:1: expected a plain value, got an alias");
}

static void long_file_names_show_their_end(void **state)
{
    (void)state;
    char file[1024];
    struct rd_why why;
    struct rd_yaml *doc = NULL;
    memset(file, 'd', sizeof file);
    memcpy(file + sizeof file - 13, "/render.yaml", 13);
    assert_int_equal(rd_yaml_parse("a: 1\na: 2", 9, file, &doc, &why), RD_ERR_CONFIG);
    assert_memory_equal(why.text, "...ddd", 6);
    assert_non_null(strstr(why.text, "ddd/render.yaml:1: a: stands here, and again in line 2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(builds_nodes_with_lines),
        cmocka_unit_test(look_ups_miss_quietly),
        cmocka_unit_test(empty_files_have_no_root),
        cmocka_unit_test(takes_crlf_and_a_byte_order_mark),
        cmocka_unit_test(refuses_other_dialects),
        cmocka_unit_test(refuses_duplicate_keys),
        cmocka_unit_test(refuses_bytes_that_are_no_text),
        cmocka_unit_test(refuses_broken_yaml),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(nodes_are_bounded),
        cmocka_unit_test(keys_are_bounded),
        cmocka_unit_test(texts_are_bounded),
        cmocka_unit_test(size_is_bounded),
        cmocka_unit_test(laughs_are_refused),
        cmocka_unit_test(long_file_names_show_their_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
