/* SPDX-License-Identifier: Apache-2.0
 *
 * Trusted keys from text: every form that is taken gives the same key; every other is refused and
 * leaves the list as it was. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>

#include "base/mem.h"
#include "fixture.h"
#include "provenance/verify.h"

#define X "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define JWK "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\"}"

static void every_form_gives_the_key(void **state)
{
    (void)state;
    static const char *const forms[] = {
        KNOWN_PUBLIC,
        "D75A980182B10AB7D54BFED3C964073A0EE172F3DAA62325AF021A68F707511A",
        "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        X,
        X "=",
        "\r\n\t " KNOWN_PUBLIC " \n",
        JWK,
        "\n" JWK "\n",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X
        "\",\"use\":\"sig\",\"alg\":\"EdDSA\",\"kid\":1}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\",\"alg\":\"Ed25519\"}",
        "{\"keys\":[" JWK "]}",
        "{\"keys\":[" JWK "," JWK "],\"more\":1}", /* twice the same is one key */
        "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"x\"},{\"kty\":\"EC\",\"crv\":\"P-256\"},"
        "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"" X "\"},null,1,[],"
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"enc\",\"x\":\"?\"}," JWK "]}",
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct rd_verify_keys keys = {0};
        struct rd_why why = {""};
        if (rd_verify_keys_add(&keys, forms[i], strlen(forms[i]), &why) != RD_OK) {
            fail_msg("%s: %s", forms[i], why.text);
        }
        assert_int_equal(keys.count, 1);
        char hex[65];
        rd_text_hex(keys.keys[0], 32, hex);
        assert_string_equal(hex, KNOWN_PUBLIC);
    }
}

static void everything_else_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "x",
        "00",
        KNOWN_PUBLIC "0",
        "D75A980182B10AB7D54BFED3C964073A0EE172F3DAA62325AF021A68F707511",
        X "==",
        X "A",
        "11qYAYKxCrfVS-7TyWQHOg7hcvPapiMlrwIaaPcHUR/",
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURp",
        KNOWN_PUBLIC " " KNOWN_PUBLIC,
        "{",
        "{}",
        "[]",
        "[" JWK "]",
        "{\"keys\":[]}",
        "{\"keys\":{}}",
        "{\"keys\":[{\"kty\":\"RSA\"}]}",
        "{\"keys\":[" JWK "],\"keys\":[]}",
        JWK JWK,
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\"}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":1}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\",\"use\":\"enc\"}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\",\"use\":7}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\",\"alg\":\"RS256\"}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "=\"}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_"
        "7TyWQHOg7hcvPapiMlrwIaaPcHURp\"}",
        /* one good key and one that claims to be Ed25519 and is not: nothing of it is trusted */
        "{\"keys\":[" JWK ",{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}]}",
    };
    struct rd_verify_keys keys = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rd_why why = {""};
        if (rd_verify_keys_add(&keys, bad[i], strlen(bad[i]), &why) != RD_ERR_INVALID_REQUEST) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_true(why.text[0] != '\0');
        assert_int_equal(keys.count, 0);
    }
    assert_int_equal(rd_verify_keys_add(&keys, "\0", 1, NULL), RD_ERR_INVALID_REQUEST);
}

/* Points that verify what nobody signed, names of no point, and second names of one point. */
static void unsound_points_are_refused(void **state)
{
    (void)state;
    static const char *const points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "0200000000000000000000000000000000000000000000000000000000000000",
    };
    struct rd_verify_keys keys = {0};
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        assert_int_equal(rd_verify_keys_add(&keys, points[i], 64, NULL), RD_ERR_INVALID_REQUEST);
    }
    assert_int_equal(keys.count, 0);
}

static void up_to_64_keys(void **state)
{
    (void)state;
    struct rd_verify_keys keys = {0};
    uint8_t seed[32] = {0};
    for (unsigned i = 0; i < RD_VERIFY_KEYS_MAX + 1; i++) {
        uint8_t public[32];
        uint8_t secret[64];
        char hex[65];
        seed[0] = (uint8_t)i;
        (void)crypto_sign_seed_keypair(public, secret, seed);
        rd_text_hex(public, 32, hex);
        assert_int_equal(rd_verify_keys_add(&keys, hex, 64, NULL),
                         i < RD_VERIFY_KEYS_MAX ? RD_OK : RD_ERR_TOO_LARGE);
    }
    assert_int_equal(keys.count, RD_VERIFY_KEYS_MAX);
    RD_AUTO_FREE char *large = rd_mem_alloc(RD_VERIFY_KEYS_TEXT_MAX + 1);
    assert_non_null(large);
    memset(large, ' ', RD_VERIFY_KEYS_TEXT_MAX + 1);
    memcpy(large, JWK, sizeof JWK - 1);
    struct rd_verify_keys few = {0};
    assert_int_equal(rd_verify_keys_add(&few, large, RD_VERIFY_KEYS_TEXT_MAX + 1, NULL),
                     RD_ERR_TOO_LARGE);
    assert_int_equal(rd_verify_keys_add(&few, large, RD_VERIFY_KEYS_TEXT_MAX, NULL), RD_OK);
}

static void what_the_gateway_serves_is_taken(void **state)
{
    (void)state;
    uint8_t list[2][RD_KEY_LEN];
    struct key_pair key = key_from_seed(KNOWN_SEED);
    memcpy(list[0], key.public, 32);
    (void)crypto_sign_seed_keypair(list[1], key.secret, list[0]);
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, 4096);
    assert_int_equal(rd_jwks_write(&out, (const uint8_t(*)[RD_KEY_LEN])list, 2), RD_OK);
    struct rd_verify_keys keys = {0};
    assert_int_equal(rd_verify_keys_add(&keys, out.data, out.len, NULL), RD_OK);
    assert_int_equal(keys.count, 2);
    assert_memory_equal(keys.keys, list, sizeof list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_gives_the_key),
        cmocka_unit_test(everything_else_is_refused),
        cmocka_unit_test(unsound_points_are_refused),
        cmocka_unit_test(up_to_64_keys),
        cmocka_unit_test(what_the_gateway_serves_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
