/* SPDX-License-Identifier: Apache-2.0
 *
 * docs/configuration.md says what the schema says: every key, nothing else, in the words of the
 * errors; and its example loads. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../yaml/docs.h"
#include "config/config.h"
#include "config/config_table.h"
#include "engine/process/limits.h"

static void the_page_has_every_key(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf page;
    rd_buf_init(&page, 1 << 20);
    assert_int_equal(rd_fs_read(RD_SOURCE_ROOT "/docs/configuration.md", &page, NULL), RD_OK);
    size_t rows = docs_check(page.data, &rd_config_schema, "");
    assert_int_equal(rows, 78);
    assert_int_equal(docs_rows(page.data), rows);
}

/* A limit that only one type has stands in the words of the row. */
static void the_page_says_how_many_processes(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf page;
    rd_buf_init(&page, 1 << 20);
    assert_int_equal(rd_fs_read(RD_SOURCE_ROOT "/docs/configuration.md", &page, NULL), RD_OK);
    char words[64];
    snprintf(words, sizeof words, "| Generations at a time; type process: at most %d.",
             RD_PROCESS_SLOTS_MAX);
    assert_non_null(strstr(page.data, words));
}

static void the_example_loads(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf page;
    rd_buf_init(&page, 1 << 20);
    assert_int_equal(rd_fs_read(RD_SOURCE_ROOT "/docs/configuration.md", &page, NULL), RD_OK);
    size_t len = 0;
    const char *example = docs_example(page.data, &len);
    assert_non_null(example);
    struct rd_config *config = NULL;
    struct rd_why why = {""};
    if (rd_config_load(example, len, "docs/configuration.md", &config, &why) != RD_OK) {
        fail_msg("%s", why.text);
    }
    assert_int_equal(config->engines_count, 5);
    assert_int_equal(config->engines[1].engine.timeout_ms, 120000);
    rd_config_unref(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_has_every_key),
        cmocka_unit_test(the_page_says_how_many_processes),
        cmocka_unit_test(the_example_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
