/* SPDX-License-Identifier: Apache-2.0
 *
 * Backend choice: every outcome, least load by share and not by count, fair ties. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/admission.h"

static void outcomes(void **state)
{
    (void)state;
    size_t index = 77;
    assert_int_equal(rd_admission_pick(NULL, 0, 1, &index), RD_ADMISSION_NONE);
    struct rd_slots other = {.slots = 1, .ready = true};
    assert_int_equal(rd_admission_pick(&other, 1, 1, &index), RD_ADMISSION_NONE);
    struct rd_slots down = {.slots = 1, .serves = true};
    assert_int_equal(rd_admission_pick(&down, 1, 1, &index), RD_ADMISSION_NOT_READY);
    struct rd_slots full[] = {{.slots = 2, .taken = 2, .serves = true, .ready = true}, down};
    assert_int_equal(rd_admission_pick(full, 2, 1, &index), RD_ADMISSION_FULL);
    assert_int_equal(index, 77);
    struct rd_slots busy = {
        .slots = 1, .taken = 1, .serves = true}; /* full, hence not ready for more */
    assert_int_equal(rd_admission_pick(&busy, 1, 1, &index), RD_ADMISSION_FULL);
    struct rd_slots mixed[] = {
        full[0], down, other, {.slots = 9, .taken = 8, .serves = true, .ready = true}};
    assert_int_equal(rd_admission_pick(mixed, 4, 1, &index), RD_ADMISSION_TAKE);
    assert_int_equal(index, 3);
    /* a full one behind the choice does not undo it */
    struct rd_slots order[] = {mixed[3], full[0]};
    assert_int_equal(rd_admission_pick(order, 2, 1, &index), RD_ADMISSION_TAKE);
    assert_int_equal(index, 0);
}

static void least_loaded_by_share(void **state)
{
    (void)state;
    struct rd_slots backends[] = {
        {.slots = 2, .taken = 1, .serves = true, .ready = true}, /* 50 % */
        {.slots = 10,
         .taken = 4,
         .serves = true,
         .ready = true}, /* 40 %: more in number, less in share */
        {.slots = 3, .taken = 2, .serves = true, .ready = true},
    };
    for (uint32_t random = 0; random < 1000; random++) {
        size_t index = 9;
        assert_int_equal(rd_admission_pick(backends, 3, random * 2654435761u, &index),
                         RD_ADMISSION_TAKE);
        assert_int_equal(index, 1);
    }
}

static size_t picked(const struct rd_slots *backends, size_t count)
{
    size_t index = 9;
    assert_int_equal(rd_admission_pick(backends, count, 7, &index), RD_ADMISSION_TAKE);
    return index;
}

static void weights_stand_for_slots(void **state)
{
    (void)state;
    struct rd_slots backends[] = {
        {.slots = 8, .taken = 2, .weight = 1, .serves = true, .ready = true},
        {.slots = 8, .taken = 5, .weight = 3, .serves = true, .ready = true},
    };
    assert_int_equal(picked(backends, 2), 1); /* 2 / 1 against 5 / 3 */
    backends[1].taken = 7;
    assert_int_equal(picked(backends, 2), 0);
    backends[0].weight = 0; /* 2 / 8 */
    assert_int_equal(picked(backends, 2), 0);
    backends[0] = (struct rd_slots){
        .slots = UINT32_MAX, .taken = UINT32_MAX - 1, .serves = true, .ready = true};
    backends[1] = (struct rd_slots){
        .slots = UINT32_MAX, .taken = 1, .weight = 1, .serves = true, .ready = true};
    assert_int_equal(picked(backends, 2), 0); /* no overflow: just below 1 against 1 */
}

static void where_it_failed_comes_last(void **state)
{
    (void)state;
    struct rd_slots backends[] = {
        {.slots = 9, .serves = true, .ready = true, .failed = true},
        {.slots = 9, .taken = 8, .serves = true, .ready = true},
        {.slots = 9, .taken = 1, .serves = true, .ready = true, .failed = true},
    };
    assert_int_equal(picked(backends, 3), 1);
    backends[1].taken = 9;
    assert_int_equal(picked(backends, 3), 0);
    backends[0].ready = false;
    assert_int_equal(picked(backends, 3), 2);
}

static void ties_are_drawn_evenly(void **state)
{
    (void)state;
    struct rd_slots backends[3];
    for (int i = 0; i < 3; i++) {
        backends[i] = (struct rd_slots){.slots = 4, .taken = 1, .serves = true, .ready = true};
    }
    unsigned hits[3] = {0};
    uint32_t random = 12345;
    for (int i = 0; i < 30000; i++) {
        random = random * 1664525u + 1013904223u;
        size_t index = 9;
        assert_int_equal(rd_admission_pick(backends, 3, random ^ (random >> 16), &index),
                         RD_ADMISSION_TAKE);
        hits[index]++;
    }
    for (int i = 0; i < 3; i++) {
        assert_in_range(hits[i], 9000, 11000); /* expected 10,000, sigma about 82 */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outcomes),
        cmocka_unit_test(least_loaded_by_share),
        cmocka_unit_test(weights_stand_for_slots),
        cmocka_unit_test(where_it_failed_comes_last),
        cmocka_unit_test(ties_are_drawn_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
