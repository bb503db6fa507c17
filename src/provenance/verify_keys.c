/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys that a verifier trusts, from what people have at hand: a JWKS document as the gateway
 * serves it, one JWK, or a bare key in hex or base64. And the reading of JSON for both verify
 * files.
 *
 * A bare 32 bytes is not yet a key: some points of the curve verify a signature over any message
 * (small order), and some encodings name a point twice. Both are refused here, once, so that
 * nothing later depends on how a library treats them. */
#include "provenance/verify.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "base/text.h"
#include "provenance/verify_json.h"

enum { KEY_BYTES = 32, KEY_HEX = 64, KEY_BASE64_MAX = 44 };

/* jansson recurses up to 2,048 levels; this bounds it before. Brackets in strings do not count. */
static bool shallow(const char *text, size_t len)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            in_string = c != '"';
            i += c == '\\';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > RD_VERIFY_DEPTH_MAX) {
                return false;
            }
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return true;
}

json_t *rd_verify_json_object(const char *text, size_t len)
{
    if (!shallow(text, len)) {
        return NULL;
    }
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (root != NULL && !json_is_object(root)) {
        json_decref(root);
        root = NULL;
    }
    return root;
}

static rd_err add_key(struct rd_verify_keys *keys, const uint8_t key[KEY_BYTES], struct rd_why *why)
{
    if (crypto_core_ed25519_is_valid_point(key) != 1) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "a key is not a sound Ed25519 public key");
    }
    for (size_t i = 0; i < keys->count; i++) {
        if (memcmp(keys->keys[i], key, KEY_BYTES) == 0) {
            return RD_OK;
        }
    }
    if (keys->count == RD_VERIFY_KEYS_MAX) {
        return rd_why_set(why, RD_ERR_TOO_LARGE, "there are more than %d keys",
                          (int)RD_VERIFY_KEYS_MAX);
    }
    memcpy(keys->keys[keys->count++], key, KEY_BYTES);
    return RD_OK;
}

static bool member_is(const json_t *object, const char *name, const char *value)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL && strcmp(text, value) == 0;
}

/* Whether a JWK is an Ed25519 key that may be used for signatures; others are passed over. */
static bool usable_jwk(const json_t *jwk)
{
    if (!member_is(jwk, "kty", "OKP") || !member_is(jwk, "crv", "Ed25519")) {
        return false;
    }
    if (json_object_get(jwk, "use") != NULL && !member_is(jwk, "use", "sig")) {
        return false;
    }
    return json_object_get(jwk, "alg") == NULL || member_is(jwk, "alg", "EdDSA") ||
           member_is(jwk, "alg", "Ed25519");
}

static rd_err add_jwk(struct rd_verify_keys *keys, const json_t *jwk, struct rd_why *why)
{
    const json_t *x = json_object_get(jwk, "x");
    uint8_t key[KEY_BASE64_MAX]; /* room that the decoder asks for: 43 / 4 * 3 + 3 */
    size_t len = 0;
    if (!json_is_string(x) || json_string_length(x) != KEY_BASE64_MAX - 1 ||
        rd_text_unbase64_any(json_string_value(x), json_string_length(x), key, &len) != RD_OK ||
        len != KEY_BYTES) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST,
                          "\"x\" of an Ed25519 key is not 32 bytes in base64url");
    }
    return add_key(keys, key, why);
}

static rd_err add_document(struct rd_verify_keys *keys, const char *text, size_t len,
                           struct rd_why *why)
{
    json_auto_t *root = rd_verify_json_object(text, len);
    if (root == NULL) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the keys are not a JSON object");
    }
    const json_t *list = json_object_get(root, "keys");
    if (list == NULL) {
        if (!usable_jwk(root)) {
            return rd_why_set(why, RD_ERR_INVALID_REQUEST,
                              "the JSON is neither a JWKS nor an Ed25519 key");
        }
        return add_jwk(keys, root, why);
    }
    size_t usable = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *jwk = json_array_get(list, i);
        if (usable_jwk(jwk)) {
            RD_TRY(add_jwk(keys, jwk, why));
            usable++;
        }
    }
    if (usable == 0) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "the JWKS has no Ed25519 signing key");
    }
    return RD_OK;
}

static rd_err add_bare(struct rd_verify_keys *keys, const char *text, size_t len,
                       struct rd_why *why)
{
    uint8_t key[KEY_BASE64_MAX + 3];
    size_t got = 0;
    if (len == KEY_HEX && sodium_hex2bin(key, sizeof key, text, len, NULL, &got, NULL) == 0 &&
        got == KEY_BYTES) {
        return add_key(keys, key, why);
    }
    if (len <= KEY_BASE64_MAX && rd_text_unbase64_any(text, len, key, &got) == RD_OK &&
        got == KEY_BYTES) {
        return add_key(keys, key, why);
    }
    return rd_why_set(why, RD_ERR_INVALID_REQUEST,
                      "a key is 64 hex digits, base64 of 32 bytes, or a JWKS document");
}

rd_err rd_verify_keys_add(struct rd_verify_keys *keys, const char *text, size_t len,
                          struct rd_why *why)
{
    static const char blanks[] = " \t\r\n";
    if (len > RD_VERIFY_KEYS_TEXT_MAX) {
        return rd_why_set(why, RD_ERR_TOO_LARGE, "the key document is over %d bytes",
                          (int)RD_VERIFY_KEYS_TEXT_MAX);
    }
    while (len > 0 && text[0] != '\0' && strchr(blanks, text[0]) != NULL) {
        text++;
        len--;
    }
    while (len > 0 && text[len - 1] != '\0' && strchr(blanks, text[len - 1]) != NULL) {
        len--;
    }
    struct rd_verify_keys all = *keys; /* on failure the caller's stay as they were */
    if (len > 0 && text[0] == '{') {
        RD_TRY(add_document(&all, text, len, why));
    } else {
        RD_TRY(add_bare(&all, text, len, why));
    }
    *keys = all;
    return RD_OK;
}
