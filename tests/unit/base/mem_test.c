/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory: zeroed, overflow-safe, bounded arenas with aligned blocks, and a wipe that stays. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/mem.h"

static void allocations_are_zeroed(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 7, 4096, 1000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        RD_AUTO_FREE uint8_t *block = rd_mem_alloc(sizes[i]);
        assert_non_null(block);
        for (size_t j = 0; j < sizes[i]; j++) {
            assert_int_equal(block[j], 0);
        }
    }
}

static void products_that_overflow_give_null(void **state)
{
    (void)state;
    volatile size_t huge = SIZE_MAX; /* volatile: the compiler would object to the constants */
    assert_null(rd_mem_alloc_array(huge / 2 + 1, 2));
    assert_null(rd_mem_alloc_array(huge, huge));
    RD_AUTO_FREE void *none = rd_mem_alloc_array(0, 8);
    assert_non_null(none);
    RD_AUTO_FREE uint32_t *some = rd_mem_alloc_array(3, sizeof *some);
    assert_non_null(some);
    assert_int_equal(some[0] | some[1] | some[2], 0);
    assert_null(rd_mem_memdupz("x", huge));
}

static void copies(void **state)
{
    (void)state;
    RD_AUTO_FREE char *text = rd_mem_strdup("abc");
    RD_AUTO_FREE char *bytes = rd_mem_memdupz("a\0b", 3);
    RD_AUTO_FREE char *empty = rd_mem_memdupz(NULL, 0);
    assert_string_equal(text, "abc");
    assert_memory_equal(bytes, "a\0b\0", 4);
    assert_string_equal(empty, "");
    char *grown = rd_mem_resize(rd_mem_strdup("abc"), 100);
    assert_non_null(grown);
    assert_string_equal(grown, "abc");
    grown = rd_mem_resize(grown, 0);
    assert_non_null(grown);
    rd_mem_free(grown);
    rd_mem_free(NULL);
}

static char *stolen(void)
{
    RD_AUTO_FREE char *text = rd_mem_strdup("kept");
    return RD_STEAL(text);
}

static void steal_hands_over(void **state)
{
    (void)state;
    RD_AUTO_FREE char *text = stolen();
    assert_string_equal(text, "kept"); /* under a sanitizer: not freed */
}

static void wipe_overwrites(void **state)
{
    (void)state;
    uint8_t secret[64];
    memset(secret, 0xaa, sizeof secret);
    rd_mem_wipe(secret + 1, 62);
    assert_int_equal(secret[0], 0xaa);
    assert_int_equal(secret[63], 0xaa);
    for (int i = 1; i < 63; i++) {
        assert_int_equal(secret[i], 0);
    }
}

static void arenas_align_and_zero(void **state)
{
    (void)state;
    struct rd_arena arena;
    rd_arena_init(&arena, 1 << 20);
    for (size_t size = 0; size < 6000; size = size * 3 / 2 + 1) {
        uint8_t *block = rd_arena_alloc(&arena, size);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 16, 0);
        for (size_t i = 0; i < size; i++) {
            assert_int_equal(block[i], 0);
        }
        memset(block, 0xff, size); /* under a sanitizer: all of it is ours */
    }
    rd_arena_done(&arena);
    rd_arena_done(&arena); /* twice is harmless, and it can be used again */
    assert_non_null(rd_arena_alloc(&arena, 1));
    rd_arena_done(&arena);
}

static void arenas_have_a_ceiling(void **state)
{
    (void)state;
    volatile size_t huge = SIZE_MAX;
    struct rd_arena arena;
    rd_arena_init(&arena, 100);
    assert_non_null(rd_arena_alloc(&arena, 60));
    assert_null(rd_arena_alloc(&arena, 41));
    assert_non_null(rd_arena_alloc(&arena, 40));
    assert_null(rd_arena_alloc(&arena, 1));
    assert_null(rd_arena_alloc(&arena, huge));
    assert_null(rd_arena_strndup(&arena, "x", huge));
    assert_null(rd_arena_printf(&arena, "%d", 1));
    rd_arena_done(&arena);
    rd_arena_init(&arena, 0);
    assert_null(rd_arena_alloc(&arena, 1));
    rd_arena_done(&arena);
}

static void arena_texts(void **state)
{
    (void)state;
    struct rd_arena arena;
    rd_arena_init(&arena, 100000);
    char *copy = rd_arena_strndup(&arena, "abcdef", 3);
    char *empty = rd_arena_strndup(&arena, NULL, 0);
    char *text = rd_arena_printf(&arena, "%s/%05d", "x", 42);
    char *large = rd_arena_printf(&arena, "%*s", 9000, "y");
    assert_string_equal(copy, "abc");
    assert_string_equal(empty, "");
    assert_string_equal(text, "x/00042");
    assert_int_equal(strlen(large), 9000);
    rd_arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_zeroed),
        cmocka_unit_test(products_that_overflow_give_null),
        cmocka_unit_test(copies),
        cmocka_unit_test(steal_hands_over),
        cmocka_unit_test(wipe_overwrites),
        cmocka_unit_test(arenas_align_and_zero),
        cmocka_unit_test(arenas_have_a_ceiling),
        cmocka_unit_test(arena_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
