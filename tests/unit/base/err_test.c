/* SPDX-License-Identifier: Apache-2.0
 *
 * The error table: every row is whole, codes are unique and have the form of the wire, and the two
 * helpers cut instead of overflowing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/err.h"

static void every_row_is_whole(void **state)
{
    (void)state;
    for (int i = RD_OK; i < RD_ERR_COUNT_; i++) {
        const struct rd_err_info *info = rd_err_info((rd_err)i);
        assert_true(i == RD_OK ? info->http == 200 : info->http >= 400 && info->http <= 599);
        assert_true(strlen(info->code) > 1);
        assert_int_equal(strspn(info->code, "abcdefghijklmnopqrstuvwxyz_0123456789"),
                         strlen(info->code));
        assert_true(info->message[0] != '\0');
        assert_int_not_equal(info->message[strlen(info->message) - 1], '.');
        for (int j = RD_OK; j < i; j++) {
            assert_string_not_equal(info->code, rd_err_info((rd_err)j)->code);
        }
    }
}

static void what_is_out_of_range_is_internal(void **state)
{
    (void)state;
    assert_string_equal(rd_err_info(RD_ERR_COUNT_)->code, "internal");
    assert_string_equal(rd_err_info((rd_err)-1)->code, "internal");
    assert_string_equal(rd_err_info((rd_err)9999)->code, "internal");
}

static void errno_classes(void **state)
{
    (void)state;
    assert_int_equal(rd_err_errno(ENOSPC), RD_ERR_DISK_FULL);
    assert_int_equal(rd_err_errno(EDQUOT), RD_ERR_DISK_FULL);
    assert_int_equal(rd_err_errno(EFBIG), RD_ERR_DISK_FULL);
    assert_int_equal(rd_err_errno(ENOMEM), RD_ERR_NO_MEMORY);
    assert_int_equal(rd_err_errno(EIO), RD_ERR_IO);
    assert_int_equal(rd_err_errno(0), RD_ERR_IO);
}

static void why_tells_and_cuts(void **state)
{
    (void)state;
    struct rd_why why = {""};
    assert_int_equal(rd_why_set(&why, RD_ERR_CONFIG, "line %d: %s", 3, "bad"), RD_ERR_CONFIG);
    assert_string_equal(why.text, "line 3: bad");
    assert_int_equal(rd_why_errno(&why, ENOENT, "open", "/a/b"), RD_ERR_IO);
    assert_string_equal(why.text, "cannot open /a/b: No such file or directory");
    assert_int_equal(rd_why_errno(&why, ENOSPC, "write", "x"), RD_ERR_DISK_FULL);
    char long_text[2000];
    memset(long_text, 'z', sizeof long_text);
    long_text[sizeof long_text - 1] = '\0';
    assert_int_equal(rd_why_set(&why, RD_ERR_IO, "%s", long_text), RD_ERR_IO);
    assert_int_equal(strlen(why.text), sizeof why.text - 1);
    assert_int_equal(rd_why_set(NULL, RD_ERR_IO, "%s", long_text), RD_ERR_IO);
    assert_int_equal(rd_why_errno(NULL, ENOSPC, "write", "x"), RD_ERR_DISK_FULL);
}

static rd_err give(rd_err err)
{
    return err;
}

static rd_err try_twice(rd_err first, int *ret_reached)
{
    RD_TRY(give(first));
    *ret_reached = 1;
    return RD_OK;
}

static void try_returns_early(void **state)
{
    (void)state;
    int reached = 0;
    assert_int_equal(try_twice(RD_ERR_CORRUPT, &reached), RD_ERR_CORRUPT);
    assert_int_equal(reached, 0);
    assert_int_equal(try_twice(RD_OK, &reached), RD_OK);
    assert_int_equal(reached, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_whole), cmocka_unit_test(what_is_out_of_range_is_internal),
        cmocka_unit_test(errno_classes),      cmocka_unit_test(why_tells_and_cuts),
        cmocka_unit_test(try_returns_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
