/* SPDX-License-Identifier: Apache-2.0
 *
 * What several provenance tests share: the key and statement of the known answers, and signing
 * without the signer process. The key is RFC 8032 test 1; nobody must use it for anything else. */
#ifndef TESTS_PROVENANCE_FIXTURE_H
#define TESTS_PROVENANCE_FIXTURE_H

#include <stdint.h>
#include <string.h>

#include <sodium.h>

#include "base/hash.h"
#include "base/text.h"
#include "provenance/statement.h"

#define KNOWN_SEED "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
#define KNOWN_PUBLIC "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
#define KNOWN_KEYID "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
#define KNOWN_STATEMENT                                                                            \
    "{\"_type\":\"https://in-toto.io/Statement/"                                                   \
    "v1\",\"subject\":[{\"name\":\"out.png\",\"digest\":"                                          \
    "{\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}}],"         \
    "\"predicateType\":\"https://slsa.dev/provenance/v1\",\"predicate\":{}}"
#define KNOWN_SIGNATURE                                                                            \
    "KaK8WHqgp+ND6PTMJFEVvIS6COtYZ4tKnypswiJuz7xPVQ6FfcliGE4JhxjJEp56MjhrbCpUX+vIC/enfp88Bw=="

struct key_pair {
    uint8_t public[32];
    uint8_t secret[64];
};

static inline struct key_pair key_from_seed(const char *seed_hex)
{
    struct key_pair pair;
    uint8_t seed[32] = {0};
    (void)rd_text_unhex(seed_hex, 64, seed, sizeof seed);
    (void)crypto_sign_seed_keypair(pair.public, pair.secret, seed);
    return pair;
}

/* Signs any payload, also one that the signer would refuse. */
static inline void sign_payload(const struct key_pair *pair, const void *payload, size_t len,
                                uint8_t ret[64])
{
    struct rd_buf pae;
    rd_buf_init(&pae, len + 128);
    if (rd_dsse_pae(&pae, RD_STATEMENT_PAYLOAD_TYPE, payload, len) != RD_OK) {
        memset(ret, 0, 64);
        return;
    }
    (void)crypto_sign_detached(ret, NULL, (const uint8_t *)pae.data, pae.len, pair->secret);
    rd_buf_done(&pae);
}

static inline struct rd_hash hash_of(const void *data, size_t len)
{
    struct rd_hash hash;
    rd_hash_sha256(data, len, hash.sha256);
    rd_hash_blake3(data, len, hash.blake3);
    return hash;
}

#endif
