/* SPDX-License-Identifier: Apache-2.0
 *
 * The verifier: what it must accept (the known answers, both alphabets of base64, unknown members,
 * misleading key ids, several signatures) and what it must refuse, each with the flags that say how
 * far the check came. Among them the signatures that satisfy Ed25519's equation and are still no
 * signatures: unreduced S, small-order points. */
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

static struct rd_hash abc;          /* the file of the known statement */
static struct rd_verify_keys known; /* holds the known key */
static struct key_pair key;

static int set_up(void **state)
{
    (void)state;
    abc = hash_of("abc", 3);
    key = key_from_seed(KNOWN_SEED);
    known = (struct rd_verify_keys){0};
    return rd_verify_keys_add(&known, KNOWN_PUBLIC, 64, NULL) == RD_OK ? 0 : -1;
}

/* An envelope from parts; `signatures` is the list's text. */
static char *envelope_of(const char *payload, const char *type, const char *signatures)
{
    struct rd_buf out;
    size_t len = strlen(payload);
    RD_AUTO_FREE char *digits = rd_mem_alloc(RD_TEXT_BASE64_LEN(len) + 1);
    assert_non_null(digits);
    rd_text_base64(payload, len, digits);
    rd_buf_init(&out, 1 << 22);
    rd_buf_printf(&out, "{\"payload\":\"%s\",\"payloadType\":\"%s\",\"signatures\":[%s]}", digits,
                  type, signatures);
    return rd_buf_steal(&out, NULL);
}

/* One entry of the list of signatures: the known key's over `payload`. */
static void entry_for(const char *payload, const char *keyid, char out[256])
{
    uint8_t signature[64];
    char digits[RD_TEXT_BASE64_LEN(64) + 1];
    sign_payload(&key, payload, strlen(payload), signature);
    rd_text_base64(signature, 64, digits);
    (void)snprintf(out, 256, "{\"keyid\":\"%s\",\"sig\":\"%s\"}", keyid, digits);
}

static char *signed_envelope(const char *payload)
{
    char entry[256];
    entry_for(payload, KNOWN_KEYID, entry);
    return envelope_of(payload, "application/vnd.in-toto+json", entry);
}

/* Checks and compares error and flags: "s" signature, "t" statement, "f" subject (the file). */
static void assert_verdict(const char *envelope, size_t len, rd_err err, const char *flags)
{
    struct rd_verdict verdict;
    rd_err got = rd_verify_envelope(envelope, len, &abc, &known, &verdict);
    if (got != err) {
        fail_msg("%s instead of %s (%s) for %.300s", rd_err_info(got)->code, rd_err_info(err)->code,
                 verdict.problem, envelope);
    }
    assert_int_equal(verdict.signature_ok, strchr(flags, 's') != NULL);
    assert_int_equal(verdict.statement_ok, strchr(flags, 't') != NULL);
    assert_int_equal(verdict.subject_ok, strchr(flags, 'f') != NULL);
    assert_int_equal(verdict.problem[0] == '\0', err == RD_OK);
    assert_int_equal(verdict.statement != NULL, verdict.signature_ok);
    assert_string_equal(verdict.keyid, verdict.signature_ok ? KNOWN_KEYID : "");
    rd_verdict_done(&verdict);
    assert_null(verdict.statement);
}

static void assert_text(const char *envelope, rd_err err, const char *flags)
{
    assert_verdict(envelope, strlen(envelope), err, flags);
}

static void assert_payload(const char *payload, rd_err err, const char *flags)
{
    RD_AUTO_FREE char *envelope = signed_envelope(payload);
    assert_text(envelope, err, flags);
}

#define TYPE "application/vnd.in-toto+json"

static void the_known_answer_verifies(void **state)
{
    (void)state;
    RD_AUTO_FREE char *envelope = envelope_of(
        KNOWN_STATEMENT, TYPE, "{\"keyid\":\"" KNOWN_KEYID "\",\"sig\":\"" KNOWN_SIGNATURE "\"}");
    struct rd_verdict verdict;
    assert_int_equal(rd_verify_envelope(envelope, strlen(envelope), &abc, &known, &verdict), RD_OK);
    assert_true(verdict.signature_ok && verdict.statement_ok && verdict.subject_ok);
    assert_string_equal(verdict.keyid, KNOWN_KEYID);
    assert_int_equal(verdict.statement_len, sizeof KNOWN_STATEMENT - 1);
    assert_string_equal(verdict.statement, KNOWN_STATEMENT);
    rd_verdict_done(&verdict);
}

static void what_is_made_here_verifies(void **state)
{
    (void)state;
    uint8_t signature[64];
    char keyid[RD_KEYID_LEN + 1];
    sign_payload(&key, KNOWN_STATEMENT, sizeof KNOWN_STATEMENT - 1, signature);
    rd_jwk_thumbprint(key.public, keyid);
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, 4096);
    assert_int_equal(
        rd_dsse_envelope(&out, KNOWN_STATEMENT, sizeof KNOWN_STATEMENT - 1, keyid, signature),
        RD_OK);
    assert_verdict(out.data, out.len, RD_OK, "stf");
}

/* Every way to write the same bytes in base64 that DSSE asks for. The statement is made so that its
 * base64 has '+' and '/' in it. */
static void both_alphabets_padded_or_not(void **state)
{
    (void)state;
    for (size_t pad = 0; pad < 3; pad++) {
        RD_AUTO_BUF struct rd_buf payload;
        rd_buf_init(&payload, 4096);
        rd_buf_append(&payload, KNOWN_STATEMENT, sizeof KNOWN_STATEMENT - 2);
        rd_buf_printf(&payload, ",\"x\":\"~~~?>?>?>\xc3\xbf\xc3\xbe%.*s\"}", (int)pad, "ab");
        RD_AUTO_FREE char *standard = signed_envelope(payload.data);
        RD_AUTO_FREE char *url = rd_mem_strdup(standard);
        RD_AUTO_FREE char *bare = rd_mem_alloc(strlen(standard) + 1);
        assert_true(url != NULL && bare != NULL);
        char *end = strstr(url, "\",\"payloadType");
        size_t changed = 0;
        for (char *p = url; p < end; p++) {
            changed += *p == '+' || *p == '/';
            *p = (char)(*p == '+' ? '-' : *p == '/' ? '_' : *p);
        }
        assert_true(changed > 0);
        size_t len = 0;
        for (const char *p = standard; *p != '\0'; p++) {
            if (*p != '=') {
                bare[len++] = *p;
            }
        }
        assert_text(standard, RD_OK, "stf");
        assert_text(url, RD_OK, "stf");
        assert_text(bare, RD_OK, "stf");
    }
}

static void key_ids_are_hints_and_strangers_are_passed_over(void **state)
{
    (void)state;
    char good[256];
    char list[2048];
    static const char *const hints[] = {KNOWN_KEYID, "", "nonsense",
                                        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++) {
        entry_for(KNOWN_STATEMENT, hints[i], good);
        RD_AUTO_FREE char *envelope = envelope_of(KNOWN_STATEMENT, TYPE, good);
        assert_text(envelope, RD_OK, "stf");
    }
    entry_for(KNOWN_STATEMENT, KNOWN_KEYID, good);
    RD_AUTO_FREE char *without =
        envelope_of(KNOWN_STATEMENT, TYPE, "{\"sig\":\"" KNOWN_SIGNATURE "\"}");
    assert_text(without, RD_OK, "stf");
    /* A bad one that claims to be the known key's, another algorithm's, a stranger's; then the
     * good. */
    (void)snprintf(
        list, sizeof list,
        "{\"keyid\":\"" KNOWN_KEYID "\",\"sig\":\"%.88s\"},{\"sig\":\"MEUCIQ==\"},"
        "{\"sig\":\"\",\"cert\":\"x\"},%s",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        "AAAA==",
        good);
    RD_AUTO_FREE char *envelope = envelope_of(KNOWN_STATEMENT, TYPE, list);
    assert_text(envelope, RD_OK, "stf");
}

static void up_to_16_signatures(void **state)
{
    (void)state;
    char good[256];
    entry_for(KNOWN_STATEMENT, KNOWN_KEYID, good);
    for (int strangers = 14; strangers <= 16; strangers++) {
        RD_AUTO_BUF struct rd_buf list;
        rd_buf_init(&list, 8192);
        for (int i = 0; i < strangers; i++) {
            rd_buf_str(&list, "{\"sig\":\"AAAA\"},");
        }
        rd_buf_str(&list, good);
        RD_AUTO_FREE char *envelope = envelope_of(KNOWN_STATEMENT, TYPE, list.data);
        assert_text(envelope, strangers < 16 ? RD_OK : RD_ERR_INVALID_REQUEST,
                    strangers < 16 ? "stf" : "");
    }
}

static void unknown_members_are_ignored_and_duplicates_refused(void **state)
{
    (void)state;
    RD_AUTO_FREE char *plain = signed_envelope(KNOWN_STATEMENT);
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, 8192);
    rd_buf_printf(&text, "{\"future\":{\"a\":[1,2]},%s", plain + 1);
    assert_text(text.data, RD_OK, "stf");
    rd_buf_reset(&text);
    rd_buf_printf(&text, "{\"payload\":\"e30=\",%s", plain + 1);
    assert_text(text.data, RD_ERR_INVALID_REQUEST, "");
    rd_buf_reset(&text);
    rd_buf_printf(&text, "{\"x\":{\"a\":1,\"a\":1},%s", plain + 1);
    assert_text(text.data, RD_ERR_INVALID_REQUEST, "");
}

static void envelopes_that_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "null",
        "[]",
        "\"x\"",
        "1",
        "{",
        "{}",
        "{}{}",
        "{\"payload\":\"e30=\"}",
        "{\"payloadType\":\"" TYPE "\"}",
        "{\"payload\":1,\"payloadType\":\"" TYPE "\",\"signatures\":[]}",
        "{\"payload\":\"e30=\",\"payloadType\":\"" TYPE "\",\"signatures\":[]}",
        "{\"payload\":\"e30=\",\"payloadType\":\"" TYPE "\",\"signatures\":{}}",
        "{\"payload\":\"e30=\",\"payloadType\":\"" TYPE "\",\"signatures\":[1]}",
        "{\"payload\":\"e30=\",\"payloadType\":\"" TYPE "\",\"signatures\":[{}]}",
        "{\"payload\":\"e30=\",\"payloadType\":\"" TYPE "\",\"signatures\":[{\"sig\":1}]}",
        "{\"payload\":\"e30=\",\"payloadType\":\"" TYPE "\",\"signatures\":[{\"sig\":\"*\"}]}",
        "{\"payload\":\"e30=\",\"payloadType\":\"" TYPE
        "\",\"signatures\":[{\"sig\":\"AAAA\",\"keyid\":7}]}",
        "{\"payload\":\"e31=\",\"payloadType\":\"" TYPE "\",\"signatures\":[{\"sig\":\"AAAA\"}]}",
        "{\"payload\":\"e30==\",\"payloadType\":\"" TYPE "\",\"signatures\":[{\"sig\":\"AAAA\"}]}",
        "{\"payload\":\"e3 0=\",\"payloadType\":\"" TYPE "\",\"signatures\":[{\"sig\":\"AAAA\"}]}",
        "{\"payload\":\"e-+_\",\"payloadType\":\"" TYPE "\",\"signatures\":[{\"sig\":\"AAAA\"}]}",
        "{\"payload\":\"e30=\",\"payloadType\":\"text/plain\",\"signatures\":[{\"sig\":\"AAAA\"}]}",
        "{\"payload\":\"\xff\",\"payloadType\":\"" TYPE "\",\"signatures\":[{\"sig\":\"AAAA\"}]}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_text(bad[i], RD_ERR_INVALID_REQUEST, "");
    }
    RD_AUTO_FREE char *good = signed_envelope(KNOWN_STATEMENT);
    size_t len = strlen(good);
    for (size_t cut = 0; cut < len; cut++) { /* every truncation, and a NUL behind */
        assert_verdict(good, cut, RD_ERR_INVALID_REQUEST, "");
    }
    assert_verdict(good, len + 1, RD_ERR_INVALID_REQUEST, "");
}

static void depth_and_size_at_the_limit(void **state)
{
    (void)state;
    RD_AUTO_FREE char *plain = signed_envelope(KNOWN_STATEMENT);
    for (int depth = RD_VERIFY_DEPTH_MAX - 1; depth <= RD_VERIFY_DEPTH_MAX; depth++) {
        RD_AUTO_BUF struct rd_buf text;
        rd_buf_init(&text, 8192);
        rd_buf_printf(&text, "{\"x\":%.*s1%.*s,%s", depth, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
                      depth, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", plain + 1);
        bool fits = depth < RD_VERIFY_DEPTH_MAX; /* the envelope itself is one level */
        assert_text(text.data, fits ? RD_OK : RD_ERR_INVALID_REQUEST, fits ? "stf" : "");
    }
    for (size_t over = 0; over < 2; over++) {
        size_t len = RD_VERIFY_ENVELOPE_MAX + over;
        RD_AUTO_FREE char *text = rd_mem_alloc(len);
        assert_non_null(text);
        memset(text, ' ', len);
        memcpy(text, plain, strlen(plain));
        assert_verdict(text, len, over == 0 ? RD_OK : RD_ERR_INVALID_REQUEST,
                       over == 0 ? "stf" : "");
    }
    /* a bomb of brackets must not reach the recursive parser */
    RD_AUTO_FREE char *bomb = rd_mem_alloc(1000000);
    assert_non_null(bomb);
    memset(bomb, '[', 1000000);
    memcpy(bomb, "{\"a\":", 5);
    assert_verdict(bomb, 1000000, RD_ERR_INVALID_REQUEST, "");
}

static void other_signatures_are_unauthorized(void **state)
{
    (void)state;
    /* another statement's signature */
    char entry[256];
    entry_for("{}", KNOWN_KEYID, entry);
    RD_AUTO_FREE char *moved = envelope_of(KNOWN_STATEMENT, TYPE, entry);
    assert_text(moved, RD_ERR_UNAUTHORIZED, "");
    /* the bare statement signed, without the encoding */
    uint8_t signature[64];
    char digits[RD_TEXT_BASE64_LEN(64) + 1];
    (void)crypto_sign_detached(signature, NULL, (const uint8_t *)KNOWN_STATEMENT,
                               sizeof KNOWN_STATEMENT - 1, key.secret);
    rd_text_base64(signature, 64, digits);
    (void)snprintf(entry, sizeof entry, "{\"sig\":\"%s\"}", digits);
    RD_AUTO_FREE char *bare = envelope_of(KNOWN_STATEMENT, TYPE, entry);
    assert_text(bare, RD_ERR_UNAUTHORIZED, "");
    /* an unknown key */
    struct rd_verify_keys none = {0};
    struct rd_verdict verdict;
    RD_AUTO_FREE char *good = signed_envelope(KNOWN_STATEMENT);
    assert_int_equal(rd_verify_envelope(good, strlen(good), &abc, &none, &verdict),
                     RD_ERR_UNAUTHORIZED);
    assert_false(verdict.signature_ok);
    rd_verdict_done(&verdict);
}

/* S + L satisfies the equation as S does; accepting it would let anybody write a second signature.
 */
static void an_unreduced_s_is_refused(void **state)
{
    (void)state;
    static const uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
                                      0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
                                      0,    0,    0,    0,    0,    0,    0,    0,
                                      0,    0,    0,    0,    0,    0,    0,    0x10};
    uint8_t signature[64];
    char entry[256];
    char digits[RD_TEXT_BASE64_LEN(64) + 1];
    sign_payload(&key, KNOWN_STATEMENT, sizeof KNOWN_STATEMENT - 1, signature);
    for (int times = 1; times <= 7; times++) { /* S + 7 L still fits into 32 bytes */
        unsigned carry = 0;
        for (int i = 0; i < 32; i++) {
            carry += signature[32 + i] + order[i];
            signature[32 + i] = (uint8_t)carry;
            carry >>= 8;
        }
        assert_int_equal(carry, 0);
        rd_text_base64(signature, 64, digits);
        (void)snprintf(entry, sizeof entry, "{\"sig\":\"%s\"}", digits);
        RD_AUTO_FREE char *envelope = envelope_of(KNOWN_STATEMENT, TYPE, entry);
        assert_text(envelope, RD_ERR_UNAUTHORIZED, "");
    }
}

/* With a small-order key, R = identity and S = 0 would verify for one message in a few. Even when
 * such a key gets past verify_keys.c (here: written into the struct), nothing verifies. */
static void small_order_keys_sign_nothing(void **state)
{
    (void)state;
    static const char *const points[] = {
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        struct rd_verify_keys keys = {.count = 1};
        struct rd_verdict verdict;
        assert_true(rd_text_unhex(points[i], 64, keys.keys[0], 32));
        for (int nonce = 0; nonce < 64; nonce++) {
            char payload[512];
            uint8_t signature[64] = {1}; /* R = the identity, S = 0 */
            char digits[RD_TEXT_BASE64_LEN(64) + 1];
            char entry[256];
            (void)snprintf(payload, sizeof payload, "%.*s,\"n\":%d}",
                           (int)sizeof KNOWN_STATEMENT - 2, KNOWN_STATEMENT, nonce);
            if (nonce % 2 == 1) {
                memcpy(signature, keys.keys[0], 32); /* R = the key itself */
            }
            rd_text_base64(signature, 64, digits);
            (void)snprintf(entry, sizeof entry, "{\"sig\":\"%s\"}", digits);
            RD_AUTO_FREE char *envelope = envelope_of(payload, TYPE, entry);
            assert_int_equal(rd_verify_envelope(envelope, strlen(envelope), &abc, &keys, &verdict),
                             RD_ERR_UNAUTHORIZED);
            rd_verdict_done(&verdict);
        }
    }
}

/* Signed by the known key, and still not what is wanted: the flags say how far it came. */
static void signed_statements_that_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "x",
        "[]",
        "{}",
        "{\"_type\":\"https://in-toto.io/Statement/v1\"}",
        "{\"_type\":\"https://in-toto.io/Statement/v0.1\",\"subject\":[{}],"
        "\"predicateType\":\"https://slsa.dev/provenance/v1\",\"predicate\":{}}",
        "{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{}],"
        "\"predicateType\":\"https://slsa.dev/provenance/v0.2\",\"predicate\":{}}",
        "{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{}],"
        "\"predicateType\":\"https://slsa.dev/provenance/v1\",\"predicate\":[]}",
        "{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[],"
        "\"predicateType\":\"https://slsa.dev/provenance/v1\",\"predicate\":{}}",
        "{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":{},"
        "\"predicateType\":\"https://slsa.dev/provenance/v1\",\"predicate\":{}}",
        "{\"_type\":\"https://in-toto.io/Statement/v1\",\"_type\":\"https://in-toto.io/Statement/"
        "v1\","
        "\"subject\":[{}],\"predicateType\":\"https://slsa.dev/provenance/v1\",\"predicate\":{}}",
        KNOWN_STATEMENT "x",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_payload(bad[i], RD_ERR_INVALID_REQUEST, "s");
    }
}

#define ABOUT(subjects)                                                                            \
    "{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[" subjects                        \
    "],\"predicateType\":\"https://slsa.dev/provenance/v1\",\"predicate\":{}}"
#define SHA "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define BLAKE "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
#define ZERO "0000000000000000000000000000000000000000000000000000000000000000"

static void subjects_match_by_digest_only(void **state)
{
    (void)state;
    static const struct {
        const char *payload;
        bool match;
    } cases[] = {
        {ABOUT("{\"digest\":{\"sha256\":\"" SHA "\"}}"), true},
        {ABOUT("{\"digest\":{\"sha256\":\"" SHA "\",\"blake3\":\"" BLAKE "\"}}"), true},
        {ABOUT("{\"name\":\"x\",\"digest\":{\"sha256\":\"" ZERO
               "\"}},{\"digest\":{\"sha256\":\"" SHA "\",\"sha512\":\"?\"}}"),
         true},
        {ABOUT("{\"digest\":{\"sha256\":\"" SHA "\",\"blake3\":\"" ZERO "\"}}"), false},
        {ABOUT("{\"digest\":{\"sha256\":\"" SHA "\",\"blake3\":null}}"), false},
        {ABOUT("{\"digest\":{\"sha256\":\"" ZERO "\",\"blake3\":\"" BLAKE "\"}}"), false},
        {ABOUT("{\"digest\":{\"blake3\":\"" BLAKE "\"}}"), false},
        {ABOUT("{\"digest\":{\"SHA256\":\"" SHA "\"}}"), false},
        {ABOUT("{\"digest\":{\"sha256\":\"" SHA "0\"}}"), false},
        {ABOUT("{\"digest\":{\"sha256\":\"\"}}"), false},
        {ABOUT("{\"digest\":{\"sha256\":[\"" SHA "\"]}}"), false},
        {ABOUT("{\"digest\":\"" SHA "\"}"), false},
        {ABOUT("{\"sha256\":\"" SHA "\"}"), false},
        {ABOUT("\"" SHA "\",null,1"), false},
        /* half of one subject and half of the next */
        {ABOUT("{\"digest\":{\"sha256\":\"" SHA "\",\"blake3\":\"" ZERO
               "\"}},{\"digest\":{\"sha256\":\"" ZERO "\",\"blake3\":\"" BLAKE "\"}}"),
         false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_payload(cases[i].payload, cases[i].match ? RD_OK : RD_ERR_HASH_MISMATCH,
                       cases[i].match ? "stf" : "st");
    }
}

static void one_flipped_bit_of_the_file_is_another_file(void **state)
{
    (void)state;
    RD_AUTO_FREE char *envelope = signed_envelope(KNOWN_STATEMENT);
    for (unsigned bit = 0; bit < 24; bit++) {
        char file[3] = {'a', 'b', 'c'};
        file[bit / 8] = (char)(file[bit / 8] ^ 1 << bit % 8);
        struct rd_hash hash = hash_of(file, 3);
        struct rd_verdict verdict;
        assert_int_equal(rd_verify_envelope(envelope, strlen(envelope), &hash, &known, &verdict),
                         RD_ERR_HASH_MISMATCH);
        assert_true(verdict.signature_ok && verdict.statement_ok && !verdict.subject_ok);
        rd_verdict_done(&verdict);
    }
}

static void subjects_up_to_the_limit(void **state)
{
    (void)state;
    for (int over = 0; over < 2; over++) {
        RD_AUTO_BUF struct rd_buf payload;
        rd_buf_init(&payload, 1 << 20);
        rd_buf_str(&payload, "{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[");
        for (int i = 0; i < RD_VERIFY_SUBJECTS_MAX - 1 + over; i++) {
            rd_buf_str(&payload, "{},");
        }
        rd_buf_str(&payload, "{\"digest\":{\"sha256\":\"" SHA "\"}}],\"predicateType\":"
                             "\"https://slsa.dev/provenance/v1\",\"predicate\":{}}");
        assert_payload(payload.data, over ? RD_ERR_INVALID_REQUEST : RD_OK, over ? "s" : "stf");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_known_answer_verifies),
        cmocka_unit_test(what_is_made_here_verifies),
        cmocka_unit_test(both_alphabets_padded_or_not),
        cmocka_unit_test(key_ids_are_hints_and_strangers_are_passed_over),
        cmocka_unit_test(up_to_16_signatures),
        cmocka_unit_test(unknown_members_are_ignored_and_duplicates_refused),
        cmocka_unit_test(envelopes_that_are_none),
        cmocka_unit_test(depth_and_size_at_the_limit),
        cmocka_unit_test(other_signatures_are_unauthorized),
        cmocka_unit_test(an_unreduced_s_is_refused),
        cmocka_unit_test(small_order_keys_sign_nothing),
        cmocka_unit_test(signed_statements_that_are_none),
        cmocka_unit_test(subjects_match_by_digest_only),
        cmocka_unit_test(one_flipped_bit_of_the_file_is_another_file),
        cmocka_unit_test(subjects_up_to_the_limit),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
