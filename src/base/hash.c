/* SPDX-License-Identifier: Apache-2.0
 *
 * BLAKE3 through the official C code, SHA-256 through OpenSSL (which uses the processor's SHA
 * instructions; libsodium's does not). See hash.h.
 *
 * OpenSSL's EVP interface takes memory for each hash, also to start over, so it could fail in the
 * middle of a request, where nobody can do anything sensible. The functions below it take none and
 * cannot fail; they are called deprecated because they know no providers, and that is what is
 * wanted here. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/hash.h"

#include <blake3.h>
#include <openssl/sha.h>
#include <sodium.h>

#include "base/mem.h"

struct rd_hasher {
    blake3_hasher blake3;
    SHA256_CTX sha256;
};

/* BLAKE3 looks at the processor on its first call, and stores what it saw without a lock. So the
 * first call happens here, before there are threads. */
__attribute__((constructor)) static void look_at_processor(void)
{
    blake3_hasher hasher;
    uint8_t hash[RD_HASH_LEN];
    blake3_hasher_init(&hasher);
    blake3_hasher_finalize(&hasher, hash, sizeof hash);
}

rd_err rd_hasher_new(struct rd_hasher **ret)
{
    struct rd_hasher *hasher = rd_mem_alloc(sizeof *hasher);
    if (hasher == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    rd_hasher_reset(hasher);
    *ret = hasher;
    return RD_OK;
}

void rd_hasher_update(struct rd_hasher *hasher, const void *data, size_t len)
{
    blake3_hasher_update(&hasher->blake3, data, len);
    (void)SHA256_Update(&hasher->sha256, data, len);
}

void rd_hasher_finish(struct rd_hasher *hasher, struct rd_hash *ret)
{
    blake3_hasher_finalize(&hasher->blake3, ret->blake3, RD_HASH_LEN);
    (void)SHA256_Final(ret->sha256, &hasher->sha256);
}

void rd_hasher_reset(struct rd_hasher *hasher)
{
    blake3_hasher_init(&hasher->blake3);
    (void)SHA256_Init(&hasher->sha256);
}

void rd_hasher_free(struct rd_hasher *hasher)
{
    rd_mem_free(hasher);
}

void rd_hash_blake3(const void *data, size_t len, uint8_t ret[RD_HASH_LEN])
{
    blake3_hasher hasher;
    blake3_hasher_init(&hasher);
    blake3_hasher_update(&hasher, data, len);
    blake3_hasher_finalize(&hasher, ret, RD_HASH_LEN);
}

void rd_hash_blake3_keyed(const uint8_t key[RD_HASH_LEN], const void *data, size_t len,
                          uint8_t ret[RD_HASH_LEN])
{
    blake3_hasher hasher;
    blake3_hasher_init_keyed(&hasher, key);
    blake3_hasher_update(&hasher, data, len);
    blake3_hasher_finalize(&hasher, ret, RD_HASH_LEN);
}

void rd_hash_sha256(const void *data, size_t len, uint8_t ret[RD_HASH_LEN])
{
    SHA256_CTX sha256;
    (void)SHA256_Init(&sha256);
    (void)SHA256_Update(&sha256, data, len);
    (void)SHA256_Final(ret, &sha256);
}

void rd_hash_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                         uint8_t ret[RD_HASH_LEN])
{
    crypto_auth_hmacsha256_state state;
    (void)crypto_auth_hmacsha256_init(&state, key, key_len);
    (void)crypto_auth_hmacsha256_update(&state, data, len);
    (void)crypto_auth_hmacsha256_final(&state, ret);
    rd_mem_wipe(&state, sizeof state);
}
