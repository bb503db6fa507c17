/* SPDX-License-Identifier: Apache-2.0
 *
 * The two hashes of every object, computed together while its bytes arrive: BLAKE3 names it,
 * SHA-256 stands beside it for the tools that know no BLAKE3 (in-toto, S3, webhooks). */
#ifndef RD_BASE_HASH_H
#define RD_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { RD_HASH_LEN = 32, RD_HASH_HEX_LEN = 64 };

struct rd_hash {
    uint8_t blake3[RD_HASH_LEN];
    uint8_t sha256[RD_HASH_LEN];
};

struct rd_hasher; /* opaque, heap; one thread at a time */

rd_err rd_hasher_new(struct rd_hasher **ret) RD_MUST;
void rd_hasher_update(struct rd_hasher *hasher, const void *data, size_t len);
/* Finishes; the hasher can only be freed or reset afterwards. */
void rd_hasher_finish(struct rd_hasher *hasher, struct rd_hash *ret);
/* As new, for the next object, without new memory. */
void rd_hasher_reset(struct rd_hasher *hasher);
void rd_hasher_free(struct rd_hasher *hasher); /* NULL is fine */

/* One-shot forms. */
void rd_hash_blake3(const void *data, size_t len, uint8_t ret[RD_HASH_LEN]);
void rd_hash_blake3_keyed(const uint8_t key[RD_HASH_LEN], const void *data, size_t len,
                          uint8_t ret[RD_HASH_LEN]);
void rd_hash_sha256(const void *data, size_t len, uint8_t ret[RD_HASH_LEN]);
void rd_hash_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                         uint8_t ret[RD_HASH_LEN]);

#endif
