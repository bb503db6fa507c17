/* SPDX-License-Identifier: Apache-2.0
 *
 * docs/catalogue.md says what the schema says, and its example loads. The bytes compiled in are
 * those of api/catalogue.yaml. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../yaml/docs.h"
#include "catalogue/catalogue_table.h"

static void the_page_has_every_key(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf page;
    rd_buf_init(&page, 1 << 20);
    assert_int_equal(rd_fs_read(RD_SOURCE_ROOT "/docs/catalogue.md", &page, NULL), RD_OK);
    size_t rows = docs_check(page.data, &rd_catalogue_schema, "");
    assert_int_equal(rows, 19);
    assert_int_equal(docs_rows(page.data), rows);
}

static void the_example_loads(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf page;
    rd_buf_init(&page, 1 << 20);
    assert_int_equal(rd_fs_read(RD_SOURCE_ROOT "/docs/catalogue.md", &page, NULL), RD_OK);
    size_t len = 0;
    const char *example = docs_example(page.data, &len);
    assert_non_null(example);
    struct rd_catalogue *catalogue = NULL;
    struct rd_why why = {""};
    if (rd_catalogue_load(example, len, "docs/catalogue.md", &catalogue, &why) != RD_OK) {
        fail_msg("%s", why.text);
    }
    assert_non_null(rd_catalogue_find(catalogue, "flux", "schnell"));
    rd_catalogue_unref(catalogue);
}

static void what_is_compiled_in_is_the_file(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf file;
    rd_buf_init(&file, 1 << 20);
    assert_int_equal(rd_fs_read(RD_SOURCE_ROOT "/api/catalogue.yaml", &file, NULL), RD_OK);
    assert_int_equal(file.len, rd_catalogue_default_len);
    assert_memory_equal(file.data, rd_catalogue_default, file.len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_has_every_key),
        cmocka_unit_test(the_example_loads),
        cmocka_unit_test(what_is_compiled_in_is_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
