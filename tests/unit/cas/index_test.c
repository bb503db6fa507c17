/* SPDX-License-Identifier: Apache-2.0
 *
 * The key directory against a plain model: random inserts and removals, growth, the maximum,
 * owners. */
#include "support.h"

static void name_of(uint64_t n, uint8_t out[RD_HASH_LEN])
{
    memset(out, 0, RD_HASH_LEN);
    memcpy(out + (n % 2 == 0 ? 0 : 20), &n, sizeof n); /* half of them alike where the tag looks */
}

static void test_against_a_model(void **state)
{
    (void)state;
    enum { KEYS = 3000, STEPS = 60000 };
    static bool there[KEYS];
    struct rd_cas_index *index;
    uint64_t x = 42;
    size_t count = 0;
    memset(there, 0, sizeof there);
    assert_int_equal(rd_cas_index_new(KEYS, &index), RD_OK);
    for (size_t step = 0; step < STEPS; step++) {
        uint8_t name[RD_HASH_LEN];
        x = x * 6364136223846793005u + 1442695040888963407u;
        uint64_t n = (x >> 33) % KEYS;
        name_of(n, name);
        struct rd_cas_entry *entry = rd_cas_index_find(index, name);
        assert_int_equal(entry != NULL, there[n]);
        bool remove_it = (x >> 20) % 16 < (step < STEPS / 2 ? 5 : 11); /* grows, then shrinks */
        if (entry != NULL) {
            assert_int_equal(entry->size, n);
            if (remove_it) {
                rd_cas_index_remove(index, entry);
                there[n] = false;
                count--;
            }
        } else if (!remove_it) {
            assert_int_equal(rd_cas_index_insert(index, name, &entry), RD_OK);
            entry->size = n;
            there[n] = true;
            count++;
        }
        if (step % 997 == 0) {
            assert_true(rd_cas_index_valid(index));
        }
        assert_int_equal(rd_cas_index_count(index), count);
    }
    size_t cursor = 0, met = 0;
    const struct rd_cas_entry *entry;
    while ((entry = rd_cas_index_next(index, &cursor)) != NULL) {
        assert_true(there[entry->size]);
        met++;
    }
    assert_int_equal(met, count);
    rd_cas_index_free(index);
    rd_cas_index_free(NULL);
}

static void test_maximum(void **state)
{
    (void)state;
    struct rd_cas_index *index;
    struct rd_cas_entry *entry, *last = NULL;
    uint8_t name[RD_HASH_LEN];
    assert_int_equal(rd_cas_index_new(5, &index), RD_OK);
    for (uint64_t n = 0; n < 5; n++) {
        name_of(n, name);
        assert_int_equal(rd_cas_index_insert(index, name, &last), RD_OK);
    }
    assert_int_equal(rd_cas_index_insert(index, name, &entry), RD_ERR_DISK_FULL);
    rd_cas_index_remove(index, last);
    name_of(99, name);
    assert_int_equal(rd_cas_index_reserve(index), RD_OK);
    assert_int_equal(rd_cas_index_insert(index, name, &entry), RD_OK);
    assert_int_equal(rd_cas_index_reserve(index), RD_ERR_DISK_FULL);
    rd_cas_index_free(index);
}

static void test_owners(void **state)
{
    (void)state;
    struct rd_cas_index *index;
    struct rd_cas_entry *entry;
    uint8_t name[RD_HASH_LEN] = {1};
    assert_int_equal(rd_cas_index_new(5, &index), RD_OK);
    assert_int_equal(rd_cas_index_insert(index, name, &entry), RD_OK);
    assert_int_equal(rd_cas_entry_links(entry), 0);
    for (uint64_t owner = 0; owner < RD_CAS_OWNERS_MAX; owner++) {
        struct rd_cas_link link = {.owner = owner, .seq = owner + 1};
        assert_int_equal(rd_cas_entry_add(entry, &link), RD_OK);
    }
    struct rd_cas_link more = {.owner = RD_CAS_OWNERS_MAX, .seq = 1};
    assert_int_equal(rd_cas_entry_add(entry, &more), RD_ERR_STORAGE);
    assert_int_equal(rd_cas_entry_links(entry), RD_CAS_OWNERS_MAX);
    assert_null(rd_cas_entry_link(entry, RD_CAS_OWNERS_MAX));
    rd_cas_entry_drop(entry, rd_cas_entry_link(entry, 0)); /* the first one, kept apart */
    assert_null(rd_cas_entry_link(entry, 0));
    rd_cas_entry_drop(entry, rd_cas_entry_link(entry, 7));
    assert_null(rd_cas_entry_link(entry, 7));
    assert_int_equal(rd_cas_entry_links(entry), RD_CAS_OWNERS_MAX - 2);
    uint64_t sum = 0;
    for (size_t i = 0; i < rd_cas_entry_links(entry); i++) {
        sum += rd_cas_entry_at(entry, i)->owner;
    }
    assert_int_equal(sum, (uint64_t)(RD_CAS_OWNERS_MAX - 1) * RD_CAS_OWNERS_MAX / 2 - 7);
    rd_cas_index_free(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_a_model),
                                       cmocka_unit_test(test_maximum),
                                       cmocka_unit_test(test_owners)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
