/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of API keys: the checksum against published answers, every altered character, every
 * length. */
#include "fixture.h"

static void test_crc32_known_answers(void **state)
{
    (void)state;
    /* The check value of CRC-32/ISO-HDLC, and two of zlib's. */
    assert_int_equal(rd_store_crc32("123456789", 9), 0xcbf43926);
    assert_int_equal(rd_store_crc32("", 0), 0);
    assert_int_equal(rd_store_crc32("The quick brown fox jumps over the lazy dog", 43), 0x414fa339);
}

static void test_new_keys_are_valid_and_differ(void **state)
{
    (void)state;
    char last[RD_KEY_TEXT_LEN + 1] = "";
    for (int i = 0; i < 1000; i++) {
        char text[RD_KEY_TEXT_LEN + 1];
        rd_store_key_text_new(text);
        assert_int_equal(strlen(text), RD_KEY_TEXT_LEN);
        assert_true(rd_store_key_text_valid(text, RD_KEY_TEXT_LEN));
        assert_string_not_equal(text, last);
        memcpy(last, text, sizeof last);
    }
}

static void test_known_key(void **state)
{
    (void)state;
    /* zlib.crc32(b"rk_" + b"0" * 30) = 3685272945 = "41P1qD" in base62. */
    static const char text[] = "rk_000000000000000000000000000000"
                               "41P1qD";
    assert_true(rd_store_key_text_valid(text, strlen(text)));
}

static void test_every_altered_character_is_refused(void **state)
{
    (void)state;
    char text[RD_KEY_TEXT_LEN + 1];
    rd_store_key_text_new(text);
    for (size_t i = 0; i < RD_KEY_TEXT_LEN; i++) {
        char kept = text[i];
        for (int c = 0; c < 256; c++) {
            text[i] = (char)c;
            if (text[i] != kept) {
                assert_false(rd_store_key_text_valid(text, RD_KEY_TEXT_LEN));
            }
        }
        text[i] = kept;
    }
    for (size_t len = 0; len < RD_KEY_TEXT_LEN; len++) {
        assert_false(rd_store_key_text_valid(text, len));
    }
    assert_false(rd_store_key_text_valid(text, RD_KEY_TEXT_LEN + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32_known_answers),
        cmocka_unit_test(test_new_keys_are_valid_and_differ),
        cmocka_unit_test(test_known_key),
        cmocka_unit_test(test_every_altered_character_is_refused),
    };
    return cmocka_run_group_tests_name("store/key_text", tests, NULL, NULL);
}
