/* SPDX-License-Identifier: Apache-2.0
 *
 * The mappings that are compiled in: sound, each name once, and docs/mappings.md has a row for
 * each of their tensors and no other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/fs.h"
#include "engine/tensor/mapping.h"

static void each_is_sound(void **state)
{
    (void)state;
    size_t count = 0;
    for (; rd_mapping_ready_at(count) != NULL; count++) {
        const struct rd_mapping *mapping = rd_mapping_ready_at(count);
        struct rd_why why = {""};
        if (rd_mapping_check(mapping, &why) != RD_OK) {
            fail_msg("%s", why.text);
        }
        assert_ptr_equal(rd_mapping_ready(mapping->name), mapping); /* so each name is there once */
        assert_int_equal(mapping->models_count, 0);
        assert_null(mapping->model);
    }
    assert_int_equal(count, 7);
    assert_null(rd_mapping_ready("prompt"));
    assert_null(rd_mapping_ready(""));
}

/* ---- the page ---- */

static size_t count_of(const char *page, const char *text)
{
    size_t count = 0;
    for (const char *at = page; (at = strstr(at, text)) != NULL; at++) {
        count++;
    }
    return count;
}

static void put_shape(const struct rd_mapping_tensor *row, struct rd_buf *out)
{
    if (row->rank == 0) {
        rd_buf_str(out, "one element");
        return;
    }
    for (size_t i = 0; i < row->rank; i++) {
        rd_buf_printf(out, "%s%lld", i == 0 ? "[" : ", ", (long long)row->shape[i]);
    }
    rd_buf_char(out, ']');
}

static void put_row(const struct rd_mapping_tensor *row, bool input, struct rd_buf *out)
{
    rd_buf_printf(out, "| %s | `%s` | ", input ? "in" : "out", row->name);
    if (row->value != NULL) {
        rd_buf_printf(out, "`%s`", row->value);
    } else {
        rd_buf_str(out,
                   input ? rd_mapping_field_name(row->field) : rd_mapping_gives_name(row->gives));
    }
    rd_buf_printf(out, "%s | %s | ", row->optional ? ", optional" : "",
                  rd_datatype_name(row->datatype));
    put_shape(row, out);
    if (rd_datatype_is_float(row->datatype) && row->rank >= 3) {
        rd_buf_printf(out, ", %s", rd_mapping_range_name(row->range));
    }
    rd_buf_str(out, " |\n");
}

/* As the page shows it: a heading and a table. */
static void put_mapping(const struct rd_mapping *mapping, struct rd_buf *out)
{
    rd_buf_printf(out,
                  "\n### %s\n\n%s| | tensor | is | datatype | shape |\n|---|---|---|---|---|\n",
                  mapping->name, mapping->decoupled ? "Decoupled.\n\n" : "");
    for (size_t i = 0; i < mapping->inputs_count; i++) {
        put_row(&mapping->inputs[i], true, out);
    }
    for (size_t i = 0; i < mapping->outputs_count; i++) {
        put_row(&mapping->outputs[i], false, out);
    }
    rd_buf_char(out, '\n');
}

static void the_page_shows_each(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf page;
    size_t count = 0;
    rd_buf_init(&page, 1 << 20);
    assert_int_equal(rd_fs_read(RD_SOURCE_ROOT "/docs/mappings.md", &page, NULL), RD_OK);
    for (; rd_mapping_ready_at(count) != NULL; count++) {
        RD_AUTO_BUF struct rd_buf want;
        rd_buf_init(&want, 1 << 16);
        put_mapping(rd_mapping_ready_at(count), &want);
        if (strstr(rd_buf_cstr(&page), rd_buf_cstr(&want)) == NULL) {
            fail_msg("docs/mappings.md lacks:\n%s", rd_buf_cstr(&want));
        }
    }
    assert_int_equal(count_of(rd_buf_cstr(&page), "\n### "), count);
}

static void the_page_has_every_field(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf page;
    size_t count = 0;
    rd_buf_init(&page, 1 << 20);
    assert_int_equal(rd_fs_read(RD_SOURCE_ROOT "/docs/mappings.md", &page, NULL), RD_OK);
    for (unsigned i = 1; i < RD_INPUT_COUNT_ + RD_OUTPUT_COUNT_; i++, count++) { /* 0: value */
        char row[64];
        (void)snprintf(row, sizeof row, "\n| `%s` | ",
                       i < RD_INPUT_COUNT_ ? rd_mapping_field_name(i)
                                           : rd_mapping_gives_name(i - RD_INPUT_COUNT_));
        if (strstr(rd_buf_cstr(&page), row) == NULL) {
            fail_msg("docs/mappings.md lacks the row%s", row);
        }
    }
    assert_int_equal(count_of(rd_buf_cstr(&page), "\n| `"), count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_sound),
        cmocka_unit_test(the_page_shows_each),
        cmocka_unit_test(the_page_has_every_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
