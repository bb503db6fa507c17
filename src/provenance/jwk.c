/* SPDX-License-Identifier: Apache-2.0
 *
 * Public keys as JSON: RFC 8037 (Ed25519 as an OKP key) and RFC 7638 (the thumbprint, which is the
 * key id in JWKS and in envelopes alike). The thumbprint hashes the required members in the order
 * of their names, without white space; nothing else of the document enters it.
 *
 * `alg` is left out on purpose: RFC 9864 deprecates "EdDSA" for "Ed25519", and old libraries know
 * only the former. Without it every library goes by kty and crv. */
#include "provenance/statement.h"

#include <stdio.h>

#include "base/text.h"

enum { JWK_CORE_MAX = 96 };

void rd_jwk_thumbprint(const uint8_t key[RD_KEY_LEN], char ret[RD_KEYID_LEN + 1])
{
    char x[RD_TEXT_BASE64_LEN(RD_KEY_LEN) + 1];
    rd_text_base64url(key, RD_KEY_LEN, x);
    char core[JWK_CORE_MAX];
    int len = snprintf(core, sizeof core, "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"%s\"}", x);
    uint8_t digest[RD_HASH_LEN];
    rd_hash_sha256(core, (size_t)len, digest);
    char text[RD_TEXT_BASE64_LEN(RD_HASH_LEN) + 1];
    rd_text_base64url(digest, RD_HASH_LEN, text);
    (void)snprintf(ret, RD_KEYID_LEN + 1, "%.*s", (int)RD_KEYID_LEN, text);
}

rd_err rd_jwks_write(struct rd_buf *out, const uint8_t (*keys)[RD_KEY_LEN], size_t count)
{
    rd_buf_str(out, "{\"keys\":[");
    for (size_t i = 0; i < count; i++) {
        char x[RD_TEXT_BASE64_LEN(RD_KEY_LEN) + 1];
        char kid[RD_KEYID_LEN + 1];
        rd_text_base64url(keys[i], RD_KEY_LEN, x);
        rd_jwk_thumbprint(keys[i], kid);
        rd_buf_printf(out,
                      "%s{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\",\"kid\":\"%s\","
                      "\"use\":\"sig\"}",
                      i == 0 ? "" : ",", x, kid);
    }
    rd_buf_str(out, "]}");
    return rd_buf_err(out);
}
