/* SPDX-License-Identifier: Apache-2.0
 *
 * JWKS and thumbprints, with the key of RFC 8037, appendix A. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>

#include "fixture.h"

static void thumbprint_of_rfc8037(void **state)
{
    (void)state;
    uint8_t key[33]; /* the decoder's room: 43 / 4 * 3 + 3 */
    size_t len = 0;
    static const char x[] = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    assert_int_equal(rd_text_unbase64_any(x, sizeof x - 1, key, &len), RD_OK);
    assert_int_equal(len, 32);
    char hex[65];
    rd_text_hex(key, 32, hex);
    assert_string_equal(hex, KNOWN_PUBLIC);
    char keyid[RD_KEYID_LEN + 1];
    rd_jwk_thumbprint(key, keyid);
    assert_string_equal(keyid, KNOWN_KEYID);
}

static void jwks_has_exactly_this_form(void **state)
{
    (void)state;
    struct key_pair key = key_from_seed(KNOWN_SEED);
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, 4096);
    assert_int_equal(rd_jwks_write(&out, (const uint8_t(*)[RD_KEY_LEN]) & key.public, 1), RD_OK);
    assert_string_equal(out.data, "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
                                  "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\","
                                  "\"kid\":\"" KNOWN_KEYID "\",\"use\":\"sig\"}]}");
    rd_buf_reset(&out);
    assert_int_equal(rd_jwks_write(&out, NULL, 0), RD_OK);
    assert_string_equal(out.data, "{\"keys\":[]}");
}

static void jwks_lists_several_keys_in_order(void **state)
{
    (void)state;
    uint8_t keys[3][RD_KEY_LEN];
    for (int i = 0; i < 3; i++) {
        struct key_pair key = key_from_seed(KNOWN_SEED);
        key.secret[0] ^= (uint8_t)i;
        (void)crypto_sign_seed_keypair(keys[i], (uint8_t[64]){0}, key.secret);
    }
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, 4096);
    assert_int_equal(rd_jwks_write(&out, (const uint8_t(*)[RD_KEY_LEN])keys, 3), RD_OK);
    json_auto_t *root = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *list = json_object_get(root, "keys");
    assert_int_equal(json_array_size(list), 3);
    for (size_t i = 0; i < 3; i++) {
        char keyid[RD_KEYID_LEN + 1];
        rd_jwk_thumbprint(keys[i], keyid);
        assert_string_equal(json_string_value(json_object_get(json_array_get(list, i), "kid")),
                            keyid);
    }
    RD_AUTO_BUF struct rd_buf tight;
    rd_buf_init(&tight, out.len - 1);
    assert_int_equal(rd_jwks_write(&tight, (const uint8_t(*)[RD_KEY_LEN])keys, 3),
                     RD_ERR_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thumbprint_of_rfc8037),
        cmocka_unit_test(jwks_has_exactly_this_form),
        cmocka_unit_test(jwks_lists_several_keys_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
