/* SPDX-License-Identifier: Apache-2.0
 *
 * Sizes, durations and numbers: exactly one spelling, both ways, at the edges of 64 bits. And the
 * nearest name: near enough to help, never so far that it misleads. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "yaml/read.h"

static void sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"0B", 0},
        {"0GiB", 0},
        {"1B", 1},
        {"1KiB", 1024},
        {"256MiB", 268435456},
        {"3GiB", 3221225472},
        {"2TiB", 2199023255552},
        {"18446744073709551615B", UINT64_MAX},
        {"16777215TiB", 16777215ull << 40},
    };
    static const char *const bad[] = {
        "",
        "1",
        "256",
        "MiB",
        "256MB",
        "256mib",
        "256 MiB",
        "256MiB ",
        " 1B",
        "-1B",
        "+1B",
        "1.5GiB",
        "01B",
        "1KiBB",
        "0x1B",
        "18446744073709551616B",
        "16777216TiB",
        "1Ki",
        "1M",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t bytes = 7;
        assert_true(rd_yaml_size(good[i].text, strlen(good[i].text), &bytes));
        assert_true(bytes == good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t bytes = 7;
        assert_false(rd_yaml_size(bad[i], strlen(bad[i]), &bytes));
        assert_true(bytes == 7);
    }
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"0", 0},
                {"0s", 0},
                {"500ms", 500},
                {"120s", 120000},
                {"5m", 300000},
                {"24h", 86400000},
                {"18446744073709551615ms", UINT64_MAX}};
    static const char *const bad[] = {"",
                                      "5",
                                      "s",
                                      "5 s",
                                      "1.5s",
                                      "-1s",
                                      "5min",
                                      "5S",
                                      "5sec",
                                      "1d",
                                      "18446744073709551616ms",
                                      "18446744073709551615s",
                                      "05s"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t ms = 7;
        assert_true(rd_yaml_duration(good[i].text, strlen(good[i].text), &ms));
        assert_true(ms == good[i].ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t ms = 7;
        assert_false(rd_yaml_duration(bad[i], strlen(bad[i]), &ms));
        assert_true(ms == 7);
    }
}

static void doubles(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0},      {"1.0", 1},     {"-2.5", -2.5},  {"2.8", 2.8},
                {"1e3", 1000}, {"25E-1", 2.5}, {"1.5e+2", 150}, {"007", 7}};
    static const char *const bad[] = {
        "",    "-",     "+1",  ".5",    "5.",  "1e",
        "1e+", "0x10",  "inf", "nan",   "1 ",  " 1",
        "1,5", "1_000", "--1", "1.2.3", "one", "1111111111111111111111111111111111"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        double value = 99;
        assert_true(rd_yaml_double(good[i].text, strlen(good[i].text), &value));
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        double value = 99;
        assert_false(rd_yaml_double(bad[i], strlen(bad[i]), &value));
        assert_true(value == 99);
    }
}

static void texts_read_back(void **state)
{
    (void)state;
    static const struct {
        uint64_t value;
        const char *size, *duration;
    } rows[] = {{0, "0", "0"},
                {1, "1B", "1ms"},
                {1000, "1000B", "1s"},
                {1024, "1KiB", "1024ms"},
                {60000, "60000B", "1m"},
                {1 << 20, "1MiB", "1048576ms"},
                {3600000, "3600000B", "1h"},
                {3ull << 40, "3TiB", "3298534883328ms"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[32];
        uint64_t back = 7;
        rd_yaml_size_text(rows[i].value, text);
        assert_string_equal(text, rows[i].size);
        assert_true(rd_yaml_size(text, strlen(text), &back) && back == rows[i].value);
        rd_yaml_duration_text(rows[i].value, text);
        assert_string_equal(text, rows[i].duration);
        assert_true(rd_yaml_duration(text, strlen(text), &back) && back == rows[i].value);
    }
}

static void nearest_name(void **state)
{
    (void)state;
    static const struct rd_yaml_field fields[] = {
        {.name = "threads"}, {.name = "catalogue"}, {.name = "public_url"},
        {.name = "url"},     {.name = "pack_size"},
    };
    static const struct rd_yaml_schema schema = {.fields = fields, .count = 5};
    static const struct {
        const char *text, *name;
    } rows[] = {
        {"treads", "threads"},
        {"thread", "threads"},
        {"threadss", "threads"},
        {"htreads", "threads"},
        {"catalog", "catalogue"},
        {"public-url", "public_url"},
        {"publicurl", "public_url"},
        {"packsize", "pack_size"},
        {"ulr", "url"},
        {"uri", "url"},
        {"uuu", NULL},
        {"x", NULL},
        {"engines", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *got = rd_yaml_nearest(rows[i].text, &schema);
        if (rows[i].name == NULL) {
            assert_null(got);
        } else {
            assert_non_null(got);
            assert_string_equal(got, rows[i].name);
        }
    }
    char longer[200];
    memset(longer, 't', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_null(rd_yaml_nearest(longer, &schema));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),        cmocka_unit_test(durations),
        cmocka_unit_test(doubles),      cmocka_unit_test(texts_read_back),
        cmocka_unit_test(nearest_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
