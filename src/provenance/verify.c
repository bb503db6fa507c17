/* SPDX-License-Identifier: Apache-2.0
 *
 * Checking one envelope, in this order: envelope -> signature -> statement -> subject. Nothing of
 * the payload is looked at before a known key has signed it; what is handed on is the very bytes
 * that were verified, never a second decoding of the envelope. A later step's flag is true only
 * when all before it are.
 *
 * Signatures are checked by libsodium, which refuses what Ed25519's equation alone would let pass:
 * an S that is not reduced (the same signature written twice), a small-order R or key. So one key
 * has one signature for one statement, and a changed envelope is refused or says the same. */
#include "provenance/verify.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "provenance/verify_json.h"

#define PAYLOAD_TYPE "application/vnd.in-toto+json"
#define STATEMENT_TYPE "https://in-toto.io/Statement/v1"
#define PREDICATE_TYPE "https://slsa.dev/provenance/v1"
#define COMMITMENT_PREFIX "sha256:"

enum { SIGNATURE_BYTES = 64, KEY_BYTES = 32, SALT_BYTES = 32, PAE_HEADER_MAX = 128 };

/* Decoded text, owned. */
struct bytes {
    uint8_t *data;
    size_t len;
};

static void bytes_cleanup(const struct bytes *bytes)
{
    rd_mem_free(bytes->data);
}
#define AUTO_BYTES __attribute__((cleanup(bytes_cleanup)))

static rd_err problem(struct rd_verdict *ret, rd_err err, const char *text)
{
    (void)snprintf(ret->problem, sizeof ret->problem, "%s", text);
    return err;
}

/* A base64 string member; INVALID_REQUEST when it is none. */
static rd_err decode(const json_t *value, struct bytes *ret)
{
    if (!json_is_string(value)) {
        return RD_ERR_INVALID_REQUEST;
    }
    size_t text_len = json_string_length(value);
    uint8_t *data = rd_mem_alloc(text_len / 4 * 3 + 3);
    if (data == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    rd_err err = rd_text_unbase64_any(json_string_value(value), text_len, data, &ret->len);
    if (err != RD_OK) {
        rd_mem_free(data);
        return err;
    }
    ret->data = data;
    return RD_OK;
}

/* What DSSE signs, built here anew: see dsse.c for the other writer of it. */
static rd_err pae_of(const struct bytes *payload, struct bytes *ret)
{
    char header[PAE_HEADER_MAX];
    int header_len = snprintf(header, sizeof header, "DSSEv1 %zu " PAYLOAD_TYPE " %zu ",
                              sizeof PAYLOAD_TYPE - 1, payload->len);
    size_t len = (size_t)header_len + payload->len;
    uint8_t *data = rd_mem_alloc(len);
    if (data == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    memcpy(data, header, (size_t)header_len);
    memcpy(data + header_len, payload->data, payload->len);
    *ret = (struct bytes){data, len};
    return RD_OK;
}

/* The key id that this project gives a key (RFC 7638), made without jwk.c. */
static void name_key(const uint8_t key[KEY_BYTES], char ret[44])
{
    static const char head[] = "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"";
    char document[sizeof head + 64];
    char digits[RD_TEXT_BASE64_LEN(KEY_BYTES) + 1];
    uint8_t digest[RD_HASH_LEN];
    memcpy(document, head, sizeof head - 1);
    rd_text_base64url(key, KEY_BYTES, digits);
    size_t digits_len = strlen(digits);
    memcpy(document + sizeof head - 1, digits, digits_len);
    memcpy(document + sizeof head - 1 + digits_len, "\"}", 2);
    rd_hash_sha256(document, sizeof head - 1 + digits_len + 2, digest);
    rd_text_base64url(digest, sizeof digest, digits);
    memcpy(ret, digits, 43);
    ret[43] = '\0';
}

/* The known key that made this signature, or NULL. The hinted one is tried first, then every one.
 */
static const uint8_t *signing_key(const struct rd_verify_keys *keys, const char *hint,
                                  const uint8_t signature[SIGNATURE_BYTES], const struct bytes *pae)
{
    for (int round = hint == NULL ? 1 : 0; round < 2; round++) {
        for (size_t i = 0; i < keys->count; i++) {
            char name[44];
            if (round == 0) {
                name_key(keys->keys[i], name);
                if (strcmp(name, hint) != 0) {
                    continue;
                }
            }
            if (crypto_sign_verify_detached(signature, pae->data, pae->len, keys->keys[i]) == 0) {
                return keys->keys[i];
            }
        }
    }
    return NULL;
}

static rd_err check_signatures(const json_t *list, const struct bytes *pae,
                               const struct rd_verify_keys *keys, struct rd_verdict *ret)
{
    size_t count = json_array_size(list);
    if (count == 0 || count > RD_VERIFY_SIGNATURES_MAX) {
        return problem(ret, RD_ERR_INVALID_REQUEST,
                       "the envelope has no list of 1 to 16 signatures");
    }
    const uint8_t *signer = NULL;
    for (size_t i = 0; i < count; i++) {
        const json_t *entry = json_array_get(list, i);
        const json_t *keyid = json_object_get(entry, "keyid");
        AUTO_BYTES struct bytes signature = {NULL, 0};
        rd_err err = decode(json_object_get(entry, "sig"), &signature);
        if (err == RD_ERR_NO_MEMORY) {
            return err;
        }
        if (err != RD_OK || (keyid != NULL && !json_is_string(keyid))) {
            return problem(ret, RD_ERR_INVALID_REQUEST,
                           "a signature of the envelope is not {keyid, sig in base64}");
        }
        if (signer == NULL && signature.len == SIGNATURE_BYTES) {
            signer = signing_key(keys, json_string_value(keyid), signature.data, pae);
        }
    }
    if (signer == NULL) {
        return problem(ret, RD_ERR_UNAUTHORIZED,
                       "no signature of the envelope verifies under a known key");
    }
    name_key(signer, ret->keyid);
    return RD_OK;
}

static bool member_is(const json_t *object, const char *name, const char *value)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL && strcmp(text, value) == 0;
}

static rd_err check_statement(const json_t *statement, struct rd_verdict *ret)
{
    if (statement == NULL) {
        return problem(ret, RD_ERR_INVALID_REQUEST, "the signed statement is not a JSON object");
    }
    if (!member_is(statement, "_type", STATEMENT_TYPE)) {
        return problem(ret, RD_ERR_INVALID_REQUEST, "what was signed is no in-toto Statement v1");
    }
    if (!member_is(statement, "predicateType", PREDICATE_TYPE) ||
        !json_is_object(json_object_get(statement, "predicate"))) {
        return problem(ret, RD_ERR_INVALID_REQUEST, "the statement is no SLSA provenance v1");
    }
    size_t subjects = json_array_size(json_object_get(statement, "subject"));
    if (subjects == 0 || subjects > RD_VERIFY_SUBJECTS_MAX) {
        return problem(ret, RD_ERR_INVALID_REQUEST, "the statement has no list of subjects");
    }
    ret->statement_ok = true;
    return RD_OK;
}

static rd_err check_subject(const json_t *statement, const struct rd_hash *file,
                            struct rd_verdict *ret)
{
    char sha256[RD_HASH_HEX_LEN + 1];
    char blake3[RD_HASH_HEX_LEN + 1];
    rd_text_hex(file->sha256, RD_HASH_LEN, sha256);
    rd_text_hex(file->blake3, RD_HASH_LEN, blake3);
    const json_t *subjects = json_object_get(statement, "subject");
    for (size_t i = 0; i < json_array_size(subjects); i++) {
        const json_t *digest = json_object_get(json_array_get(subjects, i), "digest");
        if (member_is(digest, "sha256", sha256) &&
            (json_object_get(digest, "blake3") == NULL || member_is(digest, "blake3", blake3))) {
            ret->subject_ok = true;
            return RD_OK;
        }
    }
    return problem(ret, RD_ERR_HASH_MISMATCH,
                   "the statement is about other bytes: no subject has this file's digests");
}

static rd_err check_payload(const struct bytes *payload, const struct rd_hash *file,
                            struct rd_verdict *ret)
{
    json_auto_t *statement = rd_verify_json_object((const char *)payload->data, payload->len);
    RD_TRY(check_statement(statement, ret));
    return check_subject(statement, file, ret);
}

rd_err rd_verify_envelope(const char *envelope, size_t len, const struct rd_hash *file,
                          const struct rd_verify_keys *keys, struct rd_verdict *ret)
{
    *ret = (struct rd_verdict){0};
    if (len > RD_VERIFY_ENVELOPE_MAX) {
        return problem(ret, RD_ERR_INVALID_REQUEST, "the envelope is over 1 MiB");
    }
    json_auto_t *root = rd_verify_json_object(envelope, len);
    if (root == NULL) {
        return problem(ret, RD_ERR_INVALID_REQUEST, "the envelope is not a sound JSON object");
    }
    if (!member_is(root, "payloadType", PAYLOAD_TYPE)) {
        return problem(ret, RD_ERR_INVALID_REQUEST, "the envelope's payloadType is not in-toto's");
    }
    AUTO_BYTES struct bytes payload = {NULL, 0};
    AUTO_BYTES struct bytes pae = {NULL, 0};
    rd_err err = decode(json_object_get(root, "payload"), &payload);
    if (err != RD_OK) {
        return problem(ret, err, "the envelope's payload is not base64");
    }
    RD_TRY(pae_of(&payload, &pae));
    RD_TRY(check_signatures(json_object_get(root, "signatures"), &pae, keys, ret));
    ret->statement = rd_mem_memdupz(payload.data, payload.len);
    if (ret->statement == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    ret->statement_len = payload.len;
    ret->signature_ok = true;
    return check_payload(&payload, file, ret);
}

void rd_verdict_done(struct rd_verdict *verdict)
{
    rd_mem_free(verdict->statement);
    *verdict = (struct rd_verdict){0};
}

bool rd_verify_revealed(const struct rd_verdict *verdict, const char *field, const char *text,
                        size_t len, const uint8_t salt[32])
{
    if (!verdict->signature_ok || !verdict->statement_ok || len > RD_VERIFY_ENVELOPE_MAX) {
        return false;
    }
    RD_AUTO_FREE uint8_t *salted = rd_mem_alloc(SALT_BYTES + len);
    if (salted == NULL) {
        return false;
    }
    memcpy(salted, salt, SALT_BYTES);
    memcpy(salted + SALT_BYTES, text, len);
    json_auto_t *statement = rd_verify_json_object(verdict->statement, verdict->statement_len);
    const json_t *predicate = json_object_get(statement, "predicate");
    const json_t *definition = json_object_get(predicate, "buildDefinition");
    const json_t *parameters = json_object_get(definition, "externalParameters");
    uint8_t digest[RD_HASH_LEN];
    char expected[sizeof COMMITMENT_PREFIX + RD_HASH_HEX_LEN];
    rd_hash_sha256(salted, SALT_BYTES + len, digest);
    memcpy(expected, COMMITMENT_PREFIX, sizeof COMMITMENT_PREFIX - 1);
    rd_text_hex(digest, sizeof digest, expected + sizeof COMMITMENT_PREFIX - 1);
    return member_is(json_object_get(parameters, field), "commitment", expected);
}
