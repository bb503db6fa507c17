/* SPDX-License-Identifier: Apache-2.0
 *
 * The verifier against any bytes as an envelope.. The key of
 * the known answers is trusted, so that a mutated seed can reach every step behind the signature;
 * what is accepted must be the statement that was signed, for nobody else has that key here. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "provenance/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char trusted[] = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
static const char signed_once[] =
    "{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{\"name\":\"out.png\",\"digest\":"
    "{\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}}],"
    "\"predicateType\":\"https://slsa.dev/provenance/v1\",\"predicate\":{}}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd_verify_keys keys = {0};
    struct rd_verdict verdict;
    struct rd_hash file;
    if (rd_verify_keys_add(&keys, trusted, sizeof trusted - 1, NULL) != RD_OK) {
        abort();
    }
    rd_hash_sha256("abc", 3, file.sha256);
    rd_hash_blake3("abc", 3, file.blake3);
    rd_err err = rd_verify_envelope((const char *)data, size, &file, &keys, &verdict);
    if (verdict.signature_ok != (verdict.statement != NULL) ||
        (verdict.subject_ok && !verdict.statement_ok) ||
        (verdict.statement_ok && !verdict.signature_ok) || (err == RD_OK) != verdict.subject_ok) {
        abort();
    }
    if (verdict.signature_ok && (verdict.statement_len != sizeof signed_once - 1 ||
                                 memcmp(verdict.statement, signed_once, sizeof signed_once - 1))) {
        abort(); /* a forgery */
    }
    static const uint8_t salt[32];
    if (rd_verify_revealed(&verdict, "prompt", "x", 1, salt)) {
        abort();
    }
    rd_verdict_done(&verdict);
    return 0;
}
