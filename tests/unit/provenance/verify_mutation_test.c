/* SPDX-License-Identifier: Apache-2.0
 *
 * 30,000 random changes of an envelope and of a file, from a fixed seed. The property, exactly:
 *
 *   - A changed file is never accepted.
 *   - A changed envelope is accepted only when it still says the same: the statement handed on is
 * byte for byte the one that was signed, and a strict second reading of the changed text (jansson
 * and a base64 decoder of this test's own) finds the same payload, the same payload type and the
 * same 64 bytes of signature in it. Changes of that kind are white space, the spelling of an
 * escape, the key id, the padding or alphabet of base64, and unknown members.
 *
 * So an accepted envelope with any other payload or signature fails the test, and both kinds are
 * counted: a run in which nothing is refused, or no harmless change was met, fails too. */
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

enum { ENVELOPE_ROUNDS = 24000, FILE_ROUNDS = 6000, FILE_LEN = 700, ROOM = 8192 };

static struct rd_verify_keys known;
static char envelope[ROOM];
static size_t envelope_len;
static uint8_t signature[64];
static char statement[1024];
static uint8_t file[FILE_LEN];
static uint64_t random_state = 88172645463325252u;

/* xorshift64: the same changes on every machine. */
static uint32_t draw(uint32_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 11) % below);
}

static int set_up(void **state)
{
    (void)state;
    struct key_pair key = key_from_seed(KNOWN_SEED);
    for (size_t i = 0; i < FILE_LEN; i++) {
        file[i] = (uint8_t)draw(256);
    }
    char sha256[65];
    char keyid[RD_KEYID_LEN + 1];
    struct rd_hash hash = hash_of(file, FILE_LEN);
    rd_text_hex(hash.sha256, 32, sha256);
    (void)snprintf(statement, sizeof statement,
                   RD_STATEMENT_PREFIX
                   "\"subject\":[{\"name\":\"x\",\"digest\":{\"sha256\":\"%s\"}}],"
                   "\"predicateType\":\"https://slsa.dev/provenance/v1\","
                   "\"predicate\":{\"a\":[1,2,{\"b\":null}]}}",
                   sha256);
    sign_payload(&key, statement, strlen(statement), signature);
    rd_jwk_thumbprint(key.public, keyid);
    RD_AUTO_BUF struct rd_buf out;
    rd_buf_init(&out, ROOM);
    if (rd_dsse_envelope(&out, statement, strlen(statement), keyid, signature) != RD_OK ||
        rd_verify_keys_add(&known, KNOWN_PUBLIC, 64, NULL) != RD_OK) {
        return -1;
    }
    memcpy(envelope, out.data, out.len);
    envelope_len = out.len;
    return 0;
}

/* The value of one base64 digit of either alphabet, or -1. Written anew on purpose. */
static int digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c == '\0' ? NULL : strchr(digits, c == '-' ? '+' : c == '_' ? '/' : c);
    return at == NULL ? -1 : (int)(at - digits);
}

/* Whether `text` is some spelling of exactly these bytes. */
static bool spells(const char *text, const void *bytes, size_t len)
{
    const uint8_t *expected = bytes;
    unsigned bits = 0;
    unsigned held = 0;
    size_t got = 0;
    for (; *text != '\0' && *text != '='; text++) {
        int value = digit(*text);
        if (value < 0) {
            return false;
        }
        held = (held << 6 | (unsigned)value) & 0xffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            if (got >= len || expected[got++] != (uint8_t)(held >> bits)) {
                return false;
            }
        }
    }
    return got == len && (held & ((1u << bits) - 1)) == 0 && strspn(text, "=") == strlen(text);
}

/* The second reading: does the changed text still carry the original payload and signature? */
static bool says_the_same(const char *text, size_t len)
{
    json_auto_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    const char *payload = json_string_value(json_object_get(root, "payload"));
    const char *type = json_string_value(json_object_get(root, "payloadType"));
    const json_t *list = json_object_get(root, "signatures");
    if (payload == NULL || type == NULL || strcmp(type, RD_STATEMENT_PAYLOAD_TYPE) != 0 ||
        !spells(payload, statement, strlen(statement))) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *sig = json_string_value(json_object_get(json_array_get(list, i), "sig"));
        if (sig != NULL && spells(sig, signature, 64)) {
            return true;
        }
    }
    return false;
}

/* Between one and four changes: a bit, a byte, an insertion, a removal, a copy of a piece
 * elsewhere, a cut, white space. */
static size_t mutate(char *text, size_t len)
{
    static const char likely[] = "\"\\{}[]:,= \n\tAZaz09+/-_";
    for (uint32_t changes = 1 + draw(4); changes > 0 && len > 1; changes--) {
        uint32_t at = draw((uint32_t)len);
        uint32_t run = 1 + draw(8);
        run = run > len - at ? (uint32_t)len - at : run;
        switch (draw(7)) {
        case 0:
            text[at] = (char)(text[at] ^ 1 << draw(8));
            break;
        case 1:
            text[at] = (char)draw(256);
            break;
        case 2:
            text[at] = likely[draw(sizeof likely - 1)];
            break;
        case 3:
            memmove(text + at + 1, text + at, len - at);
            text[at] = likely[draw(sizeof likely - 1)];
            len++;
            break;
        case 4:
            memmove(text + at, text + at + run, len - at - run);
            len -= run;
            break;
        case 5: {
            uint32_t from = draw((uint32_t)(len - run + 1));
            memmove(text + at, text + from, run);
            break;
        }
        default:
            if (draw(20) == 0) {
                len = at + 1;
            } else {
                memmove(text + at + 1, text + at, len - at);
                text[at] = ' ';
                len++;
            }
        }
    }
    return len;
}

static void no_changed_envelope_says_something_else(void **state)
{
    (void)state;
    struct rd_hash hash = hash_of(file, FILE_LEN);
    unsigned refused = 0;
    unsigned harmless = 0;
    for (int round = 0; round < ENVELOPE_ROUNDS; round++) {
        char text[ROOM];
        struct rd_verdict verdict;
        memcpy(text, envelope, envelope_len);
        size_t len = mutate(text, envelope_len);
        rd_err err = rd_verify_envelope(text, len, &hash, &known, &verdict);
        if (err != RD_OK) {
            refused++;
            assert_false(verdict.signature_ok && verdict.statement_ok && verdict.subject_ok);
        } else {
            harmless++;
            assert_int_equal(verdict.statement_len, strlen(statement));
            assert_memory_equal(verdict.statement, statement, verdict.statement_len);
            if (!says_the_same(text, len)) {
                fail_msg("accepted in round %d: %.*s", round, (int)len, text);
            }
        }
        rd_verdict_done(&verdict);
    }
    print_message("# %u changed envelopes refused, %u said the same\n", refused, harmless);
    assert_true(refused > ENVELOPE_ROUNDS / 2);
    assert_true(harmless > 0);
}

static void no_changed_file_is_accepted(void **state)
{
    (void)state;
    for (int round = 0; round < FILE_ROUNDS; round++) {
        char changed[FILE_LEN + 64];
        struct rd_verdict verdict;
        size_t len = FILE_LEN;
        memcpy(changed, file, FILE_LEN);
        while (len == FILE_LEN && memcmp(changed, file, FILE_LEN) == 0) {
            len = mutate(changed, FILE_LEN);
        }
        struct rd_hash hash = hash_of(changed, len);
        assert_int_equal(rd_verify_envelope(envelope, envelope_len, &hash, &known, &verdict),
                         RD_ERR_HASH_MISMATCH);
        assert_true(verdict.signature_ok && !verdict.subject_ok);
        rd_verdict_done(&verdict);
    }
}

/* Each single bit of the signature and of the payload, as bytes: all 64 * 8 and all of the
 * statement. */
static void no_single_bit_may_differ(void **state)
{
    (void)state;
    struct rd_hash hash = hash_of(file, FILE_LEN);
    size_t len = strlen(statement);
    for (size_t bit = 0; bit < (64 + len) * 8; bit++) {
        uint8_t sig[64];
        char payload[sizeof statement];
        struct rd_verdict verdict;
        memcpy(sig, signature, 64);
        memcpy(payload, statement, len);
        if (bit < 512) {
            sig[bit / 8] ^= (uint8_t)(1 << bit % 8);
        } else {
            payload[bit / 8 - 64] = (char)(payload[bit / 8 - 64] ^ 1 << bit % 8);
        }
        RD_AUTO_BUF struct rd_buf out;
        rd_buf_init(&out, ROOM);
        char keyid[RD_KEYID_LEN + 1] = KNOWN_KEYID;
        assert_int_equal(rd_dsse_envelope(&out, payload, len, keyid, sig), RD_OK);
        assert_int_equal(rd_verify_envelope(out.data, out.len, &hash, &known, &verdict),
                         RD_ERR_UNAUTHORIZED);
        rd_verdict_done(&verdict);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_changed_envelope_says_something_else),
        cmocka_unit_test(no_changed_file_is_accepted),
        cmocka_unit_test(no_single_bit_may_differ),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
