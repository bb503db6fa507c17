/* SPDX-License-Identifier: Apache-2.0
 *
 * Known answers: of the specification's own suites (v1), of RFC 8032's first key (v1a), and, for
 * what is derived from a secret, of another implementation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include <sodium.h>

#include "webhook/sign.h"

static const char body[] = "{\"test\": 2432232314}";
static const struct rd_webhook_message message = {
    .id = "msg_p5jXN8AQM9LWM0D4loKWxJek",
    .unix_s = 1614265330,
    .body = body,
    .body_len = sizeof body - 1,
};

static void test_v1(void **state)
{
    (void)state;
    uint8_t key[32];
    size_t len = 0;
    char text[RD_WEBHOOK_V1_LEN + 1];
    static const char secret[] = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    assert_int_equal(rd_text_unbase64(secret, strlen(secret), key, &len), RD_OK);
    assert_int_equal(len, 24);
    assert_int_equal(rd_webhook_sign_v1(key, len, &message, text), RD_OK);
    assert_string_equal(text, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

static void test_v1a(void **state)
{
    (void)state;
    uint8_t seed[RD_WEBHOOK_SEED_LEN];
    char text[RD_WEBHOOK_V1A_LEN + 1];
    assert_true(rd_text_unhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                              64, seed, sizeof seed));
    assert_int_equal(rd_webhook_sign_v1a(seed, &message, text), RD_OK);
    assert_string_equal(text, "v1a,fldxM4gAKugP6nnt1hdz3sgGfZ6d99nzrMFnZOELIxbzEHoVmAb2ADpkJK7zgP"
                              "ePmPsle0zV9jSeGlHFG2NVAw==");
}

static struct rd_webhook_secrets make_secrets(size_t count)
{
    struct rd_webhook_secrets secrets = {.count = count};
    for (uint8_t i = 0; i < RD_WEBHOOK_SECRET_LEN; i++) {
        secrets.secrets[0][i] = i;
        secrets.secrets[1][i] = (uint8_t)(i + 32);
    }
    return secrets;
}

#define NEW_V1 "v1,O4Gjv1HqPqsMrjmczoggs/sWA8gZD0VyHG+fLh4+ktI="
#define OLD_V1 "v1,lIQ9xamNNsnjTnLcKevQF9eZA6DgFnOi9+/I3EzeZGQ="
#define NEW_V1A                                                                                    \
    "v1a,TpuypXL+TSO33AWvxIwpgPhRqSF9hFq5bs+VyVyoMKva+3a1sc3jWFSDdRE2/wzmduOVZeEf336AokU3ZqfDAQ=="

static void test_header(void **state)
{
    (void)state;
    struct rd_buf out;
    rd_buf_init(&out, 1024);
    struct rd_webhook_secrets secrets = make_secrets(1);
    assert_int_equal(rd_webhook_signatures(&secrets, &message, &out), RD_OK);
    assert_string_equal(rd_buf_cstr(&out), NEW_V1 " " NEW_V1A);
    rd_buf_reset(&out);
    secrets = make_secrets(2); /* a rotation */
    assert_int_equal(rd_webhook_signatures(&secrets, &message, &out), RD_OK);
    assert_string_equal(rd_buf_cstr(&out), NEW_V1 " " OLD_V1 " " NEW_V1A);
    rd_buf_done(&out);
    rd_buf_init(&out, 100); /* too small: no half header */
    assert_int_equal(rd_webhook_signatures(&secrets, &message, &out), RD_ERR_TOO_LARGE);
    rd_buf_done(&out);
}

static void test_texts(void **state)
{
    (void)state;
    struct rd_webhook_secrets secrets = make_secrets(1);
    char secret[RD_WEBHOOK_SECRET_TEXT + 1];
    char public[RD_WEBHOOK_PUBLIC_TEXT + 1];
    rd_webhook_secret_text(secrets.secrets[0], secret);
    rd_webhook_public_text(secrets.secrets[0], public);
    assert_string_equal(secret, "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    assert_string_equal(public, "whpk_4oy3PAHGgQgrVkQvAO+B2IMgnC4wiUJfKcocIg0XQSc=");
}

/* Each part of what is signed counts. */
static void test_every_part_is_signed(void **state)
{
    (void)state;
    struct rd_webhook_secrets secrets = make_secrets(1);
    struct rd_webhook_message others[4] = {message, message, message, message};
    others[0].id = "msg_p5jXN8AQM9LWM0D4loKWxJel";
    others[1].unix_s++;
    others[2].body_len--;
    others[3].body = "{\"test\": 2432232315}";
    for (size_t i = 0; i < 4; i++) {
        struct rd_buf out;
        rd_buf_init(&out, 1024);
        assert_int_equal(rd_webhook_signatures(&secrets, &others[i], &out), RD_OK);
        assert_null(strstr(rd_buf_cstr(&out), NEW_V1));
        assert_null(strstr(rd_buf_cstr(&out), NEW_V1A));
        rd_buf_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v1),
        cmocka_unit_test(test_v1a),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_every_part_is_signed),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests_name("webhook/sign", tests, NULL, NULL);
}
