/* SPDX-License-Identifier: Apache-2.0
 *
 * Ids: their form, that text order is time order, that they do not repeat, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/id.h"
#include "base/text.h"

static void known_ids(void **state)
{
    (void)state;
    static const uint8_t zero[10] = {0};
    static const uint8_t full[10] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    char id[RD_ID_MAX];
    rd_id_new_at("j_", 0, zero, id);
    assert_string_equal(id, "j_0000000000000000000000");
    rd_id_new_at("", (1ull << 48) - 1, full, id); /* 2^128 - 1 in base62 */
    assert_string_equal(id, "7n42DGM5Tflk9n8mt7Fhc7");
    rd_id_new_at("", UINT64_MAX, full, id); /* only 48 bits of time */
    assert_string_equal(id, "7n42DGM5Tflk9n8mt7Fhc7");
}

static void text_order_is_time_order(void **state)
{
    (void)state;
    static const uint8_t low[10] = {0};
    static const uint8_t high[10] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    static const uint64_t times[] = {0, 1, 61, 62, 1000, 1795348096042, 1795348096043, 1ull << 47};
    for (size_t i = 1; i < sizeof times / sizeof times[0]; i++) {
        char before[RD_ID_MAX];
        char after[RD_ID_MAX];
        rd_id_new_at("req_", times[i - 1], high, before);
        rd_id_new_at("req_", times[i], low, after);
        assert_true(strcmp(before, after) < 0);
        assert_int_equal(strlen(before), 4 + RD_ID_DIGITS);
    }
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, RD_ID_MAX);
}

static void new_ids_are_valid_and_differ(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    static char ids[COUNT][RD_ID_MAX];
    for (int i = 0; i < COUNT; i++) {
        memset(ids[i], 0, RD_ID_MAX);
        rd_id_new("key_", ids[i]);
        assert_true(rd_id_valid(ids[i], "key_"));
    }
    qsort(ids, COUNT, RD_ID_MAX, compare);
    for (int i = 1; i < COUNT; i++) {
        assert_string_not_equal(ids[i - 1], ids[i]);
    }
}

/* The 80 random bits of an id. */
static unsigned __int128 random_part(const char *digits)
{
    static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    unsigned __int128 value = 0;
    for (size_t i = 0; digits[i] != '\0'; i++) {
        value = value * 62 + (unsigned)(strchr(alphabet, digits[i]) - alphabet);
    }
    return value & (((unsigned __int128)1 << 80) - 1);
}

static void a_child_has_other_randomness(void **state)
{
    (void)state;
    int pipes[2];
    char mine[RD_ID_MAX];
    char its[RD_ID_MAX];
    rd_id_new("", mine); /* so that some is at hand that both could use */
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        rd_id_new("", its);
        _exit(write(pipes[1], its, sizeof its) == sizeof its ? 0 : 1);
    }
    rd_id_new("", mine);
    assert_int_equal(read(pipes[0], its, sizeof its), sizeof its);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(random_part(mine) != random_part(its));
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}

/* A prefix that does not fit is cut, never written past the room. */
static void long_prefixes_stay_in_bounds(void **state)
{
    (void)state;
    char room[RD_ID_MAX + 1];
    room[RD_ID_MAX] = '#';
    rd_id_new("a_prefix_that_is_far_too_long_", room);
    assert_int_equal(room[RD_ID_MAX], '#');
    assert_int_equal(strlen(room), RD_ID_MAX - 1);
}

static void validity(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
    } cases[] = {
        {"j_0123456789Az", true},
        {"j_0123456789A", false}, /* 11 digits */
        {"j_0123456789012345678901234567890123456789", true},
        {"j_01234567890123456789012345678901234567890", false}, /* 41 */
        {"j_", false},
        {"", false},
        {"j", false},
        {"J_0123456789Az", false},
        {"k_0123456789Az", false},
        {"j_0123456789A-", false},
        {"j_0123456789Az ", false},
        {"j_0123456789Az\n", false},
        {"j_0123456789\xc3\xa9", false},
        {"j_../../../../", false},
        {" j_0123456789Az", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(rd_id_valid(cases[i].text, "j_"), cases[i].ok);
    }
}

static void asset_ids(void **state)
{
    (void)state;
    uint8_t blake3[RD_HASH_LEN];
    uint8_t back[RD_HASH_LEN];
    char id[RD_ID_ASSET_LEN + 1];
    rd_hash_blake3("", 0, blake3);
    rd_id_asset(blake3, id);
    assert_string_equal(id, "a_af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    assert_true(rd_id_asset_parse(id, RD_ID_ASSET_LEN, back));
    assert_memory_equal(back, blake3, RD_HASH_LEN);
    for (size_t i = 0; i < RD_ID_ASSET_LEN; i++) { /* each character changed, each length */
        char bad[RD_ID_ASSET_LEN + 1];
        memcpy(bad, id, sizeof bad);
        bad[i] = 'G';
        assert_false(rd_id_asset_parse(bad, RD_ID_ASSET_LEN, back));
        assert_false(rd_id_asset_parse(id, i, back));
    }
    assert_false(rd_id_asset_parse(id, RD_ID_ASSET_LEN + 1, back));
    id[2] = 'A'; /* capitals would be a second name of the same object */
    assert_false(rd_id_asset_parse(id, RD_ID_ASSET_LEN, back));
}

/* 62,000 digits: each of the 62 comes about 1,000 times; 6 sigma is 190. */
static void secrets_use_the_whole_alphabet_evenly(void **state)
{
    (void)state;
    enum { DIGITS = 62000 };
    static char secret[DIGITS + 1];
    unsigned counts[256] = {0};
    rd_id_secret(DIGITS, secret);
    assert_int_equal(strlen(secret), DIGITS);
    for (size_t i = 0; i < DIGITS; i++) {
        counts[(unsigned char)secret[i]]++;
    }
    unsigned used = 0;
    for (unsigned c = 0; c < 256; c++) {
        if (counts[c] > 0) {
            used++;
            assert_in_range(counts[c], 800, 1200);
        }
    }
    assert_int_equal(used, 62);
    rd_id_secret(0, secret);
    assert_string_equal(secret, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_ids),
        cmocka_unit_test(text_order_is_time_order),
        cmocka_unit_test(new_ids_are_valid_and_differ),
        cmocka_unit_test(a_child_has_other_randomness),
        cmocka_unit_test(long_prefixes_stay_in_bounds),
        cmocka_unit_test(validity),
        cmocka_unit_test(asset_ids),
        cmocka_unit_test(secrets_use_the_whole_alphabet_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
