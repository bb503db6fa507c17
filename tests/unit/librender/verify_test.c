/* SPDX-License-Identifier: Apache-2.0
 *
 * render_verify against a known answer: an envelope over a statement about the bytes "abc", signed
 * with the key of RFC 8032's first test; the same with each byte changed, and with wrong keys. */
#include "fixture.h"

#define PAYLOAD                                                                                    \
    "eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCJzdWJqZWN0IjpbeyJuYW1lIjoib3V0LnBu" \
    "ZyIsImRp"                                                                                     \
    "Z2VzdCI6eyJzaGEyNTYiOiJiYTc4MTZiZjhmMDFjZmVhNDE0MTQwZGU1ZGFlMjIyM2IwMDM2MWEzOTYxNzdhOWNiNDEw" \
    "ZmY2MWYy"                                                                                     \
    "MDAxNWFkIn19XSwicHJlZGljYXRlVHlwZSI6Imh0dHBzOi8vc2xzYS5kZXYvcHJvdmVuYW5jZS92MSIsInByZWRpY2F0" \
    "ZSI6e319"
#define SIGNATURE                                                                                  \
    "KaK8WHqgp+ND6PTMJFEVvIS6COtYZ4tKnypswiJuz7xPVQ6FfcliGE4JhxjJEp56MjhrbCpUX+vIC/enfp88Bw=="
#define KEY_ID "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
#define KEY_HEX "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"

static const char envelope[] =
    "{\"payload\":\"" PAYLOAD "\",\"payloadType\":\"application/vnd.in-toto+json\",\"signatures\":["
    "{\"keyid\":\"" KEY_ID "\",\"sig\":\"" SIGNATURE "\"}]}";
static const char jwks[] = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"
                           "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";

static void test_it_holds(void **state)
{
    (void)state;
    static const char *const keys[] = {jwks, KEY_HEX,
                                       "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="};
    for (size_t i = 0; i < 3; i++) {
        render_verdict verdict = RENDER_VERDICT_INIT;
        render_status status = render_verify("abc", 3, envelope, keys[i], &verdict);
        if (status != RENDER_OK) {
            fail_msg("%s: %s", render_status_name(status), verdict.problem);
        }
        assert_int_equal(verdict.signature_ok, 1);
        assert_int_equal(verdict.statement_ok, 1);
        assert_int_equal(verdict.subject_ok, 1);
        assert_string_equal(verdict.key_id, KEY_ID);
        assert_null(verdict.problem);
        assert_int_equal(strlen(verdict.statement), 225);
        render_verdict_done(&verdict);
        render_verdict_done(&verdict);
    }
}

static void test_another_file(void **state)
{
    (void)state;
    static const char *const files[] = {"abd", "ab", "abcd", ""};
    for (size_t i = 0; i < 4; i++) {
        render_verdict verdict = RENDER_VERDICT_INIT;
        assert_int_equal(render_verify(files[i], strlen(files[i]), envelope, jwks, &verdict),
                         RENDER_ERR_UNVERIFIED);
        assert_int_equal(verdict.signature_ok, 1);
        assert_int_equal(verdict.statement_ok, 1);
        assert_int_equal(verdict.subject_ok, 0);
        assert_non_null(verdict.problem);
        assert_non_null(verdict.statement);
        render_verdict_done(&verdict);
    }
}

static void test_every_flipped_bit_of_the_envelope(void **state)
{
    (void)state;
    char changed[sizeof envelope];
    size_t harmless = 0;
    for (size_t at = 0; at < sizeof envelope - 1; at++) {
        for (int bit = 0; bit < 7; bit += 3) {
            memcpy(changed, envelope, sizeof changed);
            changed[at] = (char)(changed[at] ^ (1 << bit));
            render_verdict verdict = RENDER_VERDICT_INIT;
            render_status status = render_verify("abc", 3, changed, jwks, &verdict);
            if (status == RENDER_OK) {
                /* Only what is not signed may differ: the hint keyid, and the name "keyid". */
                const char *hint = strstr(envelope, "\"keyid\"");
                assert_true(envelope + at > hint && envelope + at < strstr(hint, "\",\"sig"));
                assert_int_equal(strlen(verdict.statement), 225);
                harmless++;
            } else {
                assert_int_equal(status, RENDER_ERR_UNVERIFIED);
                assert_int_equal(verdict.signature_ok && verdict.statement_ok && verdict.subject_ok,
                                 0);
                assert_non_null(verdict.problem);
            }
            render_verdict_done(&verdict);
        }
    }
    assert_true(harmless < 300);
}

static void test_wrong_keys_and_nonsense(void **state)
{
    (void)state;
    static const char other[] = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    render_verdict verdict = RENDER_VERDICT_INIT;
    assert_int_equal(render_verify("abc", 3, envelope, other, &verdict), RENDER_ERR_UNVERIFIED);
    assert_int_equal(verdict.signature_ok, 0);
    assert_int_equal(verdict.statement_ok, 0);
    assert_int_equal(verdict.subject_ok, 0);
    assert_null(verdict.statement);
    assert_non_null(verdict.problem);
    render_verdict_done(&verdict);
    static const char *const bad_keys[] = {"", "zz", "{\"keys\":[]}", "[1]", "11qYAY"};
    for (size_t i = 0; i < sizeof bad_keys / sizeof *bad_keys; i++) {
        assert_int_equal(render_verify("abc", 3, envelope, bad_keys[i], &verdict),
                         RENDER_ERR_USAGE);
        assert_non_null(verdict.problem);
        render_verdict_done(&verdict);
    }
    static const char *const bad[] = {"", "{}", "null", "{\"payload\":1}", "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(render_verify("abc", 3, bad[i], jwks, &verdict), RENDER_ERR_UNVERIFIED);
        assert_non_null(verdict.problem);
        render_verdict_done(&verdict);
    }
    assert_int_equal(render_verify("abc", 3, NULL, jwks, &verdict), RENDER_ERR_USAGE);
    assert_int_equal(render_verify("abc", 3, envelope, NULL, &verdict), RENDER_ERR_USAGE);
    assert_int_equal(render_verify(NULL, 3, envelope, jwks, &verdict), RENDER_ERR_USAGE);
    render_verdict_done(&verdict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_holds),
        cmocka_unit_test(test_another_file),
        cmocka_unit_test(test_every_flipped_bit_of_the_envelope),
        cmocka_unit_test(test_wrong_keys_and_nonsense),
    };
    return cmocka_run_group_tests_name("librender/verify", tests, NULL, NULL);
}
