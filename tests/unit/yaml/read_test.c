/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader on a schema that has a field of each type: good values arrive where the table says,
 * and everything else is refused with exactly these words. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "yaml/forms.h"
#include "yaml/read.h"

struct item {
    const char *name;
    unsigned slots;
};

struct target {
    const char *text, *form;
    bool flag;
    unsigned count, color;
    double ratio;
    uint64_t size, time;
    struct rd_yaml_enums colors;
    struct rd_yaml_list names, words, dims, items;
    unsigned inner;
};

static const char *color_name(unsigned index)
{
    static const char *const names[] = {"red", "green", "blue"};
    return index < 3 ? names[index] : NULL;
}

#define AT(member) .offset = offsetof(struct target, member)
static const struct rd_yaml_field item_fields[] = {
    {"name", RD_YAML_STRING, .required = true, .offset = offsetof(struct item, name), .min = 1,
     .max = 8},
    {"slots", RD_YAML_UNSIGNED, .offset = offsetof(struct item, slots), .min = 1, .max = 1024},
};
static const struct item item_defaults = {.slots = 5};
static const struct rd_yaml_schema item_schema = {item_fields, 2, sizeof(struct item),
                                                  &item_defaults};
static const struct rd_yaml_field inner_fields[] = {
    {"value", RD_YAML_UNSIGNED, AT(inner), .min = 0, .max = 9},
};
static const struct rd_yaml_schema inner_schema = {inner_fields, 1, 0, NULL};
static const struct rd_yaml_field fields[] = {
    {"text", RD_YAML_STRING, AT(text), .min = 2, .max = 4},
    {"form", RD_YAML_STRING, AT(form), .form = &rd_yaml_form_model},
    {"flag", RD_YAML_BOOL, AT(flag)},
    {"count", RD_YAML_UNSIGNED, AT(count), .min = 2, .max = 4},
    {"color", RD_YAML_ENUM, AT(color), .name_of = color_name},
    {"ratio", RD_YAML_DOUBLE, AT(ratio), .low = -0.5, .high = 2},
    {"size", RD_YAML_SIZE, AT(size), .min = 1024, .max = 1 << 20},
    {"time", RD_YAML_DURATION, AT(time), .min = 100, .max = 60000},
    {"colors", RD_YAML_ENUMS, AT(colors), .min = 1, .max = 2, .name_of = color_name},
    {"names", RD_YAML_STRINGS, AT(names), .min = 1, .max = 2, .form = &rd_yaml_form_name},
    {"words", RD_YAML_STRINGS, AT(words), .repeats = true, .min = 1, .max = 3},
    {"dims", RD_YAML_INTEGERS, AT(dims), .min = 1, .max = 3, .low = -1, .high = 1024},
    {"inner", RD_YAML_SUBMAP, .schema = &inner_schema},
    {"items", RD_YAML_MAPS, AT(items), .min = 0, .max = 2, .schema = &item_schema},
};
static const struct rd_yaml_schema schema = {fields, 14, 0, NULL};
static const struct target defaults = {.text = "as before", .count = 3, .ratio = 0.25};

static rd_err read(const char *yaml, struct target *target, struct rd_yaml **ret_doc,
                   struct rd_why *why)
{
    *target = defaults;
    assert_int_equal(rd_yaml_parse(yaml, strlen(yaml), "r.yaml", ret_doc, why), RD_OK);
    return rd_yaml_read(*ret_doc, rd_yaml_root(*ret_doc), &schema, target, why);
}

static void good_values(void **state)
{
    (void)state;
    struct target t;
    struct rd_yaml *doc = NULL;
    struct rd_why why;
    rd_err err =
        read("text: abcd\nform: flux/dev.2\nflag: true\ncount: 4\ncolor: blue\n"
             "ratio: -5e-1\nsize: 1MiB\ntime: '100ms'\ncolors: [blue, red]\n"
             "names: [a, b_1]\nwords: [-v, a b, -v]\ndims: [-1, 0, 1024]\ninner: {value: 9}\n"
             "items:\n  - {name: one}\n  - {slots: 7, name: \"2\"}\n",
             &t, &doc, &why);
    assert_int_equal(err, RD_OK);
    assert_string_equal(t.text, "abcd");
    assert_string_equal(t.form, "flux/dev.2");
    assert_true(t.flag);
    assert_int_equal(t.count, 4);
    assert_int_equal(t.color, 2);
    assert_true(t.ratio == -0.5);
    assert_int_equal(t.size, 1 << 20);
    assert_int_equal(t.time, 100);
    assert_int_equal(t.colors.set, 5);
    assert_int_equal(t.colors.first, 2);
    const char *const *names = t.names.items;
    assert_true(t.names.given);
    assert_int_equal(t.names.count, 2);
    assert_string_equal(names[1], "b_1");
    assert_null(names[2]);
    const char *const *words = t.words.items;
    assert_int_equal(t.words.count, 3);
    assert_string_equal(words[1], "a b");
    assert_string_equal(words[2], "-v");
    const int64_t *dims = t.dims.items;
    assert_true(t.dims.given);
    assert_int_equal(t.dims.count, 3);
    assert_int_equal(dims[0], -1);
    assert_int_equal(dims[1], 0);
    assert_int_equal(dims[2], 1024);
    assert_int_equal(t.inner, 9);
    const struct item *items = t.items.items;
    assert_int_equal(t.items.count, 2);
    assert_string_equal(items[0].name, "one");
    assert_int_equal(items[0].slots, 5);
    assert_string_equal(items[1].name, "2");
    assert_int_equal(items[1].slots, 7);
    rd_yaml_free(doc);
}

static void what_is_absent_stays(void **state)
{
    (void)state;
    static const char *const files[] = {"", "# nothing\n", "{}", "inner: {}"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct target t;
        struct rd_yaml *doc = NULL;
        assert_int_equal(read(files[i], &t, &doc, NULL), RD_OK);
        assert_string_equal(t.text, "as before");
        assert_int_equal(t.count, 3);
        assert_true(t.ratio == 0.25);
        assert_false(t.items.given);
        rd_yaml_free(doc);
    }
    struct target t;
    struct rd_yaml *doc = NULL;
    assert_int_equal(read("items: []", &t, &doc, NULL), RD_OK);
    assert_true(t.items.given);
    assert_int_equal(t.items.count, 0);
    rd_yaml_free(doc);
}

static const struct {
    const char *yaml, *message;
} refusal_rows[] = {
    {"dims: 1",
     "r.yaml:1: dims: expected a list of 1 to 3 whole numbers from -1 to 1024, got \"1\""},
    {"dims: []", "r.yaml:1: dims: expected a list of 1 to 3 whole numbers from -1 to 1024, got 0"},
    {"dims: [1, 2, 3, 4]",
     "r.yaml:1: dims: expected a list of 1 to 3 whole numbers from -1 to 1024, got 4"},
    {"dims: [-2]", "r.yaml:1: dims[0]: expected a whole number from -1 to 1024, got \"-2\""},
    {"dims: [1025]", "r.yaml:1: dims[0]: expected a whole number from -1 to 1024, got \"1025\""},
    {"dims: [1.5]", "r.yaml:1: dims[0]: expected a whole number from -1 to 1024, got \"1.5\""},
    {"dims: [x]", "r.yaml:1: dims[0]: expected a whole number from -1 to 1024, got \"x\""},
    {"dims: ['-']", "r.yaml:1: dims[0]: expected a whole number from -1 to 1024, got \"-\""},
    {"dims: [--1]", "r.yaml:1: dims[0]: expected a whole number from -1 to 1024, got \"--1\""},
    {"dims: [+1]", "r.yaml:1: dims[0]: expected a whole number from -1 to 1024, got \"+1\""},
    {"dims: [01]", "r.yaml:1: dims[0]: expected a whole number from -1 to 1024, got \"01\""},
    {"dims: [-01]", "r.yaml:1: dims[0]: expected a whole number from -1 to 1024, got \"-01\""},
    {"dims: [99999999999999999999]",
     "r.yaml:1: dims[0]: expected a whole number from -1 to 1024, got \"99999999999999999999\""},
    {"dims: ['1']", "r.yaml:1: dims[0]: expected a whole number from -1 to 1024, got \"1\""},
    {"dims: [[1]]", "r.yaml:1: dims[0]: expected a whole number from -1 to 1024, got a list"},
    {"words: [a, '']", "r.yaml:1: words[1]: expected text of 1 to 8192 bytes, got \"\""},
    {"text: a", "r.yaml:1: text: expected text of 2 to 4 bytes, got \"a\""},
    {"text: abcde", "r.yaml:1: text: expected text of 2 to 4 bytes, got \"abcde\""},
    {"text:", "r.yaml:1: text: expected text of 2 to 4 bytes, got nothing"},
    {"text: [ab]", "r.yaml:1: text: expected text of 2 to 4 bytes, got a list"},
    {"text: {a: b}", "r.yaml:1: text: expected text of 2 to 4 bytes, got a map"},
    {"form: Flux/dev", "r.yaml:1: form: expected a model as family/model, such as flux/dev, in "
                       "lower case, got \"Flux/dev\""},
    {"flag: yes", "r.yaml:1: flag: expected true or false, got \"yes\""},
    {"flag: 1", "r.yaml:1: flag: expected true or false, got \"1\""},
    {"flag: 'true'", "r.yaml:1: flag: expected true or false without quotes, got \"true\""},
    {"flag: [true]", "r.yaml:1: flag: expected true or false, got a list"},
    {"count: 1", "r.yaml:1: count: expected a whole number from 2 to 4, got \"1\""},
    {"count: 5", "r.yaml:1: count: expected a whole number from 2 to 4, got \"5\""},
    {"count: -3", "r.yaml:1: count: expected a whole number from 2 to 4, got \"-3\""},
    {"count: 3.0", "r.yaml:1: count: expected a whole number from 2 to 4, got \"3.0\""},
    {"count: 0x3", "r.yaml:1: count: expected a whole number from 2 to 4, got \"0x3\""},
    {"count: 4294967299",
     "r.yaml:1: count: expected a whole number from 2 to 4, got \"4294967299\""},
    {"count: 18446744073709551619",
     "r.yaml:1: count: expected a whole number from 2 to 4, got \"18446744073709551619\""},
    {"count: \"3\"",
     "r.yaml:1: count: expected a whole number from 2 to 4 without quotes, got \"3\""},
    {"count:\n  - 3", "r.yaml:2: count: expected a whole number from 2 to 4, got a list"},
    {"count:", "r.yaml:1: count: expected a whole number from 2 to 4, got nothing"},
    {"color: pink", "r.yaml:1: color: expected one of red, green, blue, got \"pink\""},
    {"color: RED", "r.yaml:1: color: expected one of red, green, blue, got \"RED\""},
    {"color: {red: 1}", "r.yaml:1: color: expected one of red, green, blue, got a map"},
    {"ratio: 2.1", "r.yaml:1: ratio: expected a number from -0.5 to 2, got \"2.1\""},
    {"ratio: -0.6", "r.yaml:1: ratio: expected a number from -0.5 to 2, got \"-0.6\""},
    {"ratio: nan", "r.yaml:1: ratio: expected a number from -0.5 to 2, got \"nan\""},
    {"ratio: '1'", "r.yaml:1: ratio: expected a number from -0.5 to 2 without quotes, got \"1\""},
    {"size: 1023B", "r.yaml:1: size: expected a size (such as 64KiB) from 1KiB to 1MiB, got "
                    "\"1023B\""},
    {"size: 2MiB", "r.yaml:1: size: expected a size (such as 64KiB) from 1KiB to 1MiB, got "
                   "\"2MiB\""},
    {"size: 4096", "r.yaml:1: size: expected a size (such as 64KiB) from 1KiB to 1MiB, got "
                   "\"4096\""},
    {"time: 99ms", "r.yaml:1: time: expected a duration (such as 30s) from 100ms to 1m, got "
                   "\"99ms\""},
    {"time: 2m", "r.yaml:1: time: expected a duration (such as 30s) from 100ms to 1m, got "
                 "\"2m\""},
    {"colors: red", "r.yaml:1: colors: expected a list of 1 to 2 of red, green, blue, got "
                    "\"red\""},
    {"colors: []", "r.yaml:1: colors: expected a list of 1 to 2 of red, green, blue, got 0"},
    {"colors: [red, green, blue]",
     "r.yaml:1: colors: expected a list of 1 to 2 of red, green, blue, got 3"},
    {"colors: [red,\n  pink]",
     "r.yaml:2: colors[1]: expected one of red, green, blue, got \"pink\""},
    {"colors: [red, red]", "r.yaml:1: colors[1]: red stands twice in the list"},
    {"colors: [[red]]", "r.yaml:1: colors[0]: expected one of red, green, blue, got a list"},
    {"names: [a,\n B]", "r.yaml:2: names[1]: expected a name of 1 to 64 of a-z 0-9 - _ . that "
                        "starts with a letter or digit, got \"B\""},
    {"names: [a, a]", "r.yaml:1: names[1]: \"a\" stands twice in the list"},
    {"names: []", "r.yaml:1: names: expected a list of 1 to 2 entries, each a name of 1 to 64 of "
                  "a-z 0-9 - _ . that starts with a letter or digit, got 0"},
    {"inner: 3", "r.yaml:1: inner: expected a map, got \"3\""},
    {"inner:", "r.yaml:1: inner: expected a map, got nothing"},
    {"inner: {value: 10}",
     "r.yaml:1: inner.value: expected a whole number from 0 to 9, got \"10\""},
    {"inner:\n  valeu: 1", "r.yaml:2: inner.valeu: unknown key; did you mean \"value\"?"},
    {"inner: {x: 1}", "r.yaml:1: inner.x: unknown key; expected one of value"},
    {"items: {}", "r.yaml:1: items: expected a list of 0 to 2 maps, got a map"},
    {"items: [{name: a}, {name: b}, {name: c}]",
     "r.yaml:1: items: expected a list of 0 to 2 maps, got 3"},
    {"items:\n  - {name: a}\n  - b", "r.yaml:3: items[1]: expected a map, got \"b\""},
    {"items:\n  - {name: a}\n  - {slots: 2}",
     "r.yaml:3: items[1]: \"name\" is missing; expected text of 1 to 8 bytes"},
    {"items:\n  - {name: a}\n  - name: b\n    slots: many",
     "r.yaml:4: items[1].slots: expected a whole number from 1 to 1024, got \"many\""},
    {"colour: red", "r.yaml:1: colour: unknown key; did you mean \"color\"?"},
    {"a\\b: red", "r.yaml:1: \"a\\\\b\": unknown key; expected one of text, form, flag, count, "
                  "color, ratio, size, time, colors, names, words, dims, inner, items"},
    {"<<: {a: 1}", "r.yaml:1: \"<<\": unknown key; expected one of text, form, flag, count, "
                   "color, ratio, size, time, colors, names, words, dims, inner, items"},
    {"[text]", "r.yaml:1: expected a map, got a list"},
    {"hello", "r.yaml:1: expected a map, got \"hello\""},
};

static void refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusal_rows / sizeof refusal_rows[0]; i++) {
        struct target t;
        struct rd_yaml *doc = NULL;
        struct rd_why why = {""};
        assert_int_equal(read(refusal_rows[i].yaml, &t, &doc, &why), RD_ERR_CONFIG);
        assert_string_equal(why.text, refusal_rows[i].message);
        rd_yaml_free(doc);
    }
}

static void required_in_an_empty_file(void **state)
{
    (void)state;
    struct item item = {0};
    struct rd_yaml *doc = NULL;
    struct rd_why why;
    assert_int_equal(rd_yaml_parse("", 0, "r.yaml", &doc, NULL), RD_OK);
    assert_int_equal(rd_yaml_read(doc, NULL, &item_schema, &item, &why), RD_ERR_CONFIG);
    assert_string_equal(why.text, "r.yaml:1: \"name\" is missing; expected text of 1 to 8 bytes");
    rd_yaml_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_values),
        cmocka_unit_test(what_is_absent_stays),
        cmocka_unit_test(refusals),
        cmocka_unit_test(required_in_an_empty_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
