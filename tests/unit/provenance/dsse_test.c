/* SPDX-License-Identifier: Apache-2.0
 *
 * DSSE and Ed25519 against published known answers: the encoding of the specification, the
 * signature over the 225-byte statement, and the vectors of RFC 8032, section 7.1. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>

#include "base/mem.h"
#include "fixture.h"

static void pae_is_the_one_of_the_specification(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, 1024);
    assert_int_equal(rd_dsse_pae(&out, "http://example.com/HelloWorld", "hello world", 11), RD_OK);
    assert_string_equal(out.data, "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    rd_buf_reset(&out);
    assert_int_equal(rd_dsse_pae(&out, "", "", 0), RD_OK);
    assert_string_equal(out.data, "DSSEv1 0  0 ");
}

static void pae_counts_bytes_and_takes_any(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, 1024);
    static const char payload[] = "\xc3\xa9\0\xff"; /* two bytes of UTF-8, NUL, no UTF-8 */
    assert_int_equal(rd_dsse_pae(&out, "t", payload, 4), RD_OK);
    assert_int_equal(out.len, sizeof "DSSEv1 1 t 4 " - 1 + 4);
    assert_memory_equal(out.data, "DSSEv1 1 t 4 \xc3\xa9\0\xff", out.len);
}

static void known_statement_has_the_known_signature(void **state)
{
    (void)state;
    assert_int_equal(sizeof KNOWN_STATEMENT - 1, 225);
    RD_AUTO_BUF struct rd_buf pae;
    rd_buf_init(&pae, 1024);
    assert_int_equal(
        rd_dsse_pae(&pae, RD_STATEMENT_PAYLOAD_TYPE, KNOWN_STATEMENT, sizeof KNOWN_STATEMENT - 1),
        RD_OK);
    uint8_t digest[32];
    char hex[65];
    rd_hash_sha256(pae.data, pae.len, digest);
    rd_text_hex(digest, 32, hex);
    assert_string_equal(hex, "c13b8e1eaccf1fa401836b9240defe0dfd2a6c1bcc975900be7d6707e1e8726d");
    struct key_pair key = key_from_seed(KNOWN_SEED);
    uint8_t signature[64];
    char text[RD_TEXT_BASE64_LEN(64) + 1];
    sign_payload(&key, KNOWN_STATEMENT, sizeof KNOWN_STATEMENT - 1, signature);
    rd_text_base64(signature, 64, text);
    assert_string_equal(text, KNOWN_SIGNATURE);
}

static void envelope_has_exactly_this_form(void **state)
{
    (void)state;
    struct key_pair key = key_from_seed(KNOWN_SEED);
    uint8_t signature[64];
    char keyid[RD_KEYID_LEN + 1];
    sign_payload(&key, KNOWN_STATEMENT, sizeof KNOWN_STATEMENT - 1, signature);
    rd_jwk_thumbprint(key.public, keyid);
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, 4096);
    assert_int_equal(
        rd_dsse_envelope(&out, KNOWN_STATEMENT, sizeof KNOWN_STATEMENT - 1, keyid, signature),
        RD_OK);
    char payload[RD_TEXT_BASE64_LEN(sizeof KNOWN_STATEMENT - 1) + 1];
    rd_text_base64(KNOWN_STATEMENT, sizeof KNOWN_STATEMENT - 1, payload);
    RD_AUTO_BUF struct rd_buf expected;
    rd_buf_init(&expected, 4096);
    rd_buf_printf(&expected,
                  "{\"payload\":\"%s\",\"payloadType\":\"application/vnd.in-toto+json\","
                  "\"signatures\":[{\"keyid\":\"" KNOWN_KEYID "\",\"sig\":\"" KNOWN_SIGNATURE
                  "\"}]}",
                  payload);
    assert_string_equal(out.data, expected.data);
}

/* An envelope that the buffer just holds, and one byte less. */
static void envelope_respects_the_ceiling(void **state)
{
    (void)state;
    static const uint8_t signature[64];
    char keyid[RD_KEYID_LEN + 1] = KNOWN_KEYID;
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, 4096);
    assert_int_equal(rd_dsse_envelope(&out, "abc", 3, keyid, signature), RD_OK);
    size_t len = out.len;
    for (size_t max = 0; max <= len; max++) {
        RD_AUTO_BUF struct rd_buf tight;
        rd_buf_init(&tight, max);
        assert_int_equal(rd_dsse_envelope(&tight, "abc", 3, keyid, signature),
                         max == len ? RD_OK : RD_ERR_TOO_LARGE);
    }
    assert_int_equal(rd_dsse_envelope(&out, "abc", SIZE_MAX, keyid, signature), RD_ERR_TOO_LARGE);
}

/* RFC 8032 7.1: TEST 1, 2, 3, 1024 is left out for its length, SHA(abc). */
static void rfc8032_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *seed, *public, *message, *signature;
    } vectors[] = {
        {KNOWN_SEED, KNOWN_PUBLIC, "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701"
         "cf9"
         "b46bd25bf5f0595bbe24655141438e7a100b"},
        {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d"
         "0f1"
         "1d8c387b2eaeb4302aeeb00d291612bb0c00"},
        {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
         "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
         "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f7609"
         "84d"
         "c6594a7c15e9716ed28dc027beceea1ec40a"},
        {"833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
         "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
         "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a"
         "3fe"
         "ebbd454d4423643ce80e2a9ac94fa54ca49f",
         "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66"
         "431"
         "e0303dca179c138ac17ad9bef1177331a704"},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        struct key_pair key = key_from_seed(vectors[i].seed);
        uint8_t message[64];
        uint8_t signature[64];
        char hex[129];
        size_t len = strlen(vectors[i].message) / 2;
        assert_true(rd_text_unhex(vectors[i].message, len * 2, message, len));
        rd_text_hex(key.public, 32, hex);
        assert_string_equal(hex, vectors[i].public);
        (void)crypto_sign_detached(signature, NULL, message, len, key.secret);
        rd_text_hex(signature, 64, hex);
        assert_string_equal(hex, vectors[i].signature);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pae_is_the_one_of_the_specification),
        cmocka_unit_test(pae_counts_bytes_and_takes_any),
        cmocka_unit_test(known_statement_has_the_known_signature),
        cmocka_unit_test(envelope_has_exactly_this_form),
        cmocka_unit_test(envelope_respects_the_ceiling),
        cmocka_unit_test(rfc8032_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
