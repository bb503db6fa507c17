/* SPDX-License-Identifier: Apache-2.0
 *
 * The lists: order, removal from everywhere, refusals, and a long random run beside a simple model
 * that moves memory. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/lanes.h"

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct rd_lanes));
    return *state == NULL;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

/* What is in a list, walked along `next`, is exactly `expected`. */
static void assert_list(const struct rd_lanes *lanes, uint32_t list, const uint32_t *expected,
                        uint32_t count)
{
    assert_int_equal(rd_lanes_len(lanes, list), count);
    uint32_t node = rd_lanes_head(lanes, list);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(node, expected[i]);
        assert_int_equal(rd_lanes_list_of(lanes, node), list);
        assert_in_range(rd_lanes_ahead(lanes, node), i, count - 1);
        node = rd_lanes_next(lanes, node);
    }
    assert_int_equal(node, 0);
}

#define ASSERT_LIST(lanes, list, ...)                                                              \
    assert_list(lanes, list, (const uint32_t[]){__VA_ARGS__},                                      \
                sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void first_in_first_out(void **state)
{
    struct rd_lanes *lanes = *state;
    assert_int_equal(rd_lanes_pop(lanes, 1), 0);
    for (uint32_t node = 1; node <= 5; node++) {
        assert_true(rd_lanes_push(lanes, 1, node));
        assert_int_equal(rd_lanes_ahead(lanes, node), node - 1);
    }
    assert_true(rd_lanes_push_front(lanes, 1, 6));
    assert_true(rd_lanes_push_front(lanes, 2, 7));
    ASSERT_LIST(lanes, 1, 6, 1, 2, 3, 4, 5);
    assert_int_equal(rd_lanes_ahead(lanes, 5), 5);
    assert_int_equal(rd_lanes_pop(lanes, 1), 6);
    assert_int_equal(rd_lanes_pop(lanes, 1), 1);
    assert_int_equal(rd_lanes_ahead(lanes, 5), 3);
    assert_int_equal(rd_lanes_pop(lanes, 2), 7);
    assert_int_equal(rd_lanes_pop(lanes, 2), 0);
    ASSERT_LIST(lanes, 1, 2, 3, 4, 5);
    assert_true(rd_lanes_push(lanes, 2, 1)); /* a node that left may go elsewhere */
    assert_int_equal(rd_lanes_list_of(lanes, 1), 2);
    assert_int_equal(rd_lanes_list_of(lanes, 6), 0);
}

static void removal_from_everywhere(void **state)
{
    struct rd_lanes *lanes = *state;
    for (uint32_t node = 1; node <= 5; node++) {
        assert_true(rd_lanes_push(lanes, 1, node));
    }
    assert_true(rd_lanes_push(lanes, 2, 9));
    assert_true(rd_lanes_remove(lanes, 3));
    assert_false(rd_lanes_remove(lanes, 3));
    ASSERT_LIST(lanes, 1, 1, 2, 4, 5);
    assert_int_equal(rd_lanes_ahead(lanes, 4), 3); /* 2 in truth: an upper bound */
    assert_true(rd_lanes_remove(lanes, 1));
    ASSERT_LIST(lanes, 1, 2, 4, 5);
    assert_int_equal(rd_lanes_ahead(lanes, 2), 0);
    assert_true(rd_lanes_remove(lanes, 5));
    ASSERT_LIST(lanes, 1, 2, 4);
    assert_int_equal(rd_lanes_ahead(lanes, 4), 1); /* the length bounds it too */
    assert_true(rd_lanes_remove(lanes, 2));
    assert_true(rd_lanes_remove(lanes, 4));
    assert_int_equal(rd_lanes_head(lanes, 1), 0);
    assert_int_equal(rd_lanes_len(lanes, 1), 0);
    ASSERT_LIST(lanes, 2, 9);
    assert_true(rd_lanes_push(lanes, 1, 3));
    ASSERT_LIST(lanes, 1, 3);
}

static void hostile_numbers(void **state)
{
    struct rd_lanes *lanes = *state;
    const uint32_t bad[] = {0, RD_LANES_NODES + 1, UINT32_MAX};
    assert_true(rd_lanes_push(lanes, RD_LANES_LISTS, RD_LANES_NODES)); /* the last of each */
    for (unsigned i = 0; i < 3; i++) {
        assert_false(rd_lanes_push(lanes, 1, bad[i]));
        assert_false(rd_lanes_push(lanes, bad[i], 1));
        assert_false(rd_lanes_push_front(lanes, 1, bad[i]));
        assert_false(rd_lanes_push_front(lanes, bad[i], 1));
        assert_false(rd_lanes_remove(lanes, bad[i]));
        assert_int_equal(rd_lanes_pop(lanes, bad[i]), 0);
        assert_int_equal(rd_lanes_head(lanes, bad[i]), 0);
        assert_int_equal(rd_lanes_next(lanes, bad[i]), 0);
        assert_int_equal(rd_lanes_len(lanes, bad[i]), 0);
        assert_int_equal(rd_lanes_list_of(lanes, bad[i]), 0);
        assert_int_equal(rd_lanes_ahead(lanes, bad[i]), 0);
    }
    assert_false(rd_lanes_push(lanes, RD_LANES_LISTS + 1, 1));
    assert_false(rd_lanes_push(lanes, 1, RD_LANES_NODES)); /* in a list already */
    assert_false(rd_lanes_push_front(lanes, RD_LANES_LISTS, RD_LANES_NODES));
    assert_false(rd_lanes_remove(lanes, 1));
    assert_int_equal(rd_lanes_next(lanes, 1), 0);
    assert_int_equal(rd_lanes_ahead(lanes, 1), 0);
    ASSERT_LIST(lanes, RD_LANES_LISTS, RD_LANES_NODES);
}

static void used_up_numbers_are_refused(void **state)
{
    struct rd_lanes *lanes = *state;
    assert_true(rd_lanes_push(lanes, 1, 1));
    lanes->nodes[1].seq = UINT64_MAX; /* as after 2^63 pushes */
    assert_false(rd_lanes_push(lanes, 1, 2));
    lanes->nodes[1].seq = 0;
    assert_false(rd_lanes_push_front(lanes, 1, 2));
    ASSERT_LIST(lanes, 1, 1);
    assert_int_equal(rd_lanes_pop(lanes, 1), 1);
    assert_true(rd_lanes_push(lanes, 1, 2)); /* an empty list begins anew */
}

static void first_of_three(void **state)
{
    struct rd_lanes *lanes = *state;
    const uint32_t lists[RD_LANES_PRIORITIES] = {11, 12, 13};
    uint32_t lane = 77;
    assert_int_equal(rd_lanes_first(lanes, lists, &lane), 0);
    assert_int_equal(lane, 77);
    for (uint32_t i = 3; i-- > 0;) { /* low, normal, high */
        assert_true(rd_lanes_push(lanes, lists[i], i + 1));
        assert_int_equal(rd_lanes_first(lanes, lists, &lane), lists[i]);
        assert_int_equal(lane, i);
    }
}

/* A list as an array, the first at [0]. */
struct model {
    uint32_t nodes[64];
    uint32_t count;
};

static void model_insert(struct model *model, uint32_t at, uint32_t node)
{
    memmove(model->nodes + at + 1, model->nodes + at, (model->count - at) * sizeof(uint32_t));
    model->nodes[at] = node;
    model->count++;
}

static void model_remove(struct model *model, uint32_t node)
{
    uint32_t at = 0;
    while (model->nodes[at] != node) {
        at++;
    }
    model->count--;
    memmove(model->nodes + at, model->nodes + at + 1, (model->count - at) * sizeof(uint32_t));
}

static void as_the_model(void **state)
{
    struct rd_lanes *lanes = *state;
    struct model models[5] = {0};
    uint64_t random = 88172645463325252ull;
    for (int i = 0; i < 50000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        const uint32_t node = 1 + (uint32_t)(random >> 8) % 60;
        const uint32_t list = 1 + (uint32_t)(random >> 40) % 4;
        const uint32_t in = rd_lanes_list_of(lanes, node);
        switch (random >> 61) {
        case 0:
        case 1:
        case 2:
            assert_int_equal(rd_lanes_push(lanes, list, node), in == 0);
            if (in == 0) {
                model_insert(&models[list], models[list].count, node);
            }
            break;
        case 3:
            assert_int_equal(rd_lanes_push_front(lanes, list, node), in == 0);
            if (in == 0) {
                model_insert(&models[list], 0, node);
            }
            break;
        case 4: {
            const uint32_t popped = rd_lanes_pop(lanes, list);
            assert_int_equal(popped, models[list].count ? models[list].nodes[0] : 0);
            if (popped != 0) {
                model_remove(&models[list], popped);
            }
            break;
        }
        default:
            assert_int_equal(rd_lanes_remove(lanes, node), in != 0);
            if (in != 0) {
                model_remove(&models[in], node);
            }
        }
        assert_list(lanes, list, models[list].nodes, models[list].count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(first_in_first_out, setup, teardown),
        cmocka_unit_test_setup_teardown(removal_from_everywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(hostile_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(used_up_numbers_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(first_of_three, setup, teardown),
        cmocka_unit_test_setup_teardown(as_the_model, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
