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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
