/* SPDX-License-Identifier: Apache-2.0
 *
 * BLAKE3 through the official C code, SHA-256 through OpenSSL (which uses the processor's SHA
 * instructions; libsodium's does not). See hash.h. */
#include "base/hash.h"

#include <stdlib.h>

#include <blake3.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/mem.h"

struct rd_hasher {
    blake3_hasher blake3;
    EVP_MD_CTX *sha256; /* owned */
};

/* BLAKE3 looks at the processor on its first call, and stores what it saw without a lock. So the first
 * call happens here, before there are threads. */
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
    blake3_hasher_init(&hasher->blake3);
    hasher->sha256 = EVP_MD_CTX_new();
    if (hasher->sha256 == NULL || EVP_DigestInit_ex(hasher->sha256, EVP_sha256(), NULL) != 1) {
        rd_hasher_free(hasher);
        return RD_ERR_NO_MEMORY;
    }
    *ret = hasher;
    return RD_OK;
}

void rd_hasher_update(struct rd_hasher *hasher, const void *data, size_t len)
{
    blake3_hasher_update(&hasher->blake3, data, len);
    if (EVP_DigestUpdate(hasher->sha256, data, len) != 1) {
        abort(); /* only a misused context fails here: never go on with a wrong hash */
    }
}

void rd_hasher_finish(struct rd_hasher *hasher, struct rd_hash *ret)
{
    blake3_hasher_finalize(&hasher->blake3, ret->blake3, RD_HASH_LEN);
    unsigned len = 0;
    if (EVP_DigestFinal_ex(hasher->sha256, ret->sha256, &len) != 1 || len != RD_HASH_LEN) {
        abort();
    }
}

void rd_hasher_reset(struct rd_hasher *hasher)
{
    blake3_hasher_init(&hasher->blake3);
    /* NULL: the digest that the context has already, so that nothing is looked up or allocated. */
    if (EVP_DigestInit_ex(hasher->sha256, NULL, NULL) != 1) {
        abort();
    }
}

void rd_hasher_free(struct rd_hasher *hasher)
{
    if (hasher != NULL) {
        EVP_MD_CTX_free(hasher->sha256);
        rd_mem_free(hasher);
    }
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
    unsigned got = 0;
    if (EVP_Digest(data, len, ret, &got, EVP_sha256(), NULL) != 1 || got != RD_HASH_LEN) {
        abort();
    }
}

void rd_hash_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                         uint8_t ret[RD_HASH_LEN])
{
    unsigned got = 0;
    if (HMAC(EVP_sha256(), key, (int)key_len, data, len, ret, &got) == NULL || got != RD_HASH_LEN) {
        abort();
    }
}
