/* SPDX-License-Identifier: Apache-2.0
 *
 * Identifiers. Time-ordered ones: 48 bits of Unix milliseconds, then 80 random bits, written as 22
 * base62 digits, so that text order is time order and every store appends. They are not secrets.
 * Secrets (keys, tokens) come from rd_id_secret. Asset ids are "a_" + the BLAKE3 in hex, so that
 * `b3sum FILE` gives the asset's name. */
#ifndef RD_BASE_ID_H
#define RD_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

enum {
    RD_ID_DIGITS = 22,
    RD_ID_MAX = 32,                        /* room for any time-ordered id with prefix, NUL */
    RD_ID_ASSET_LEN = 2 + RD_HASH_HEX_LEN, /* "a_" + 64 */
};

/* "<prefix>" + 22 base62 digits, e.g. prefix "req_", "j_", "key_". Room: RD_ID_MAX. */
void rd_id_new(const char *prefix, char out[RD_ID_MAX]);
/* The same with the time given, for tests and simulations. */
void rd_id_new_at(const char *prefix, uint64_t unix_ms, const uint8_t random[10],
                  char out[RD_ID_MAX]);
/* `prefix` followed by 12 to 40 of [0-9A-Za-z] and nothing else. */
bool rd_id_valid(const char *text, const char *prefix);

void rd_id_asset(const uint8_t blake3[RD_HASH_LEN], char out[RD_ID_ASSET_LEN + 1]);
bool rd_id_asset_parse(const char *text, size_t len, uint8_t ret_blake3[RD_HASH_LEN]);

/* `digits` base62 digits from the system's random source (5.95 bits each), room digits + 1. */
void rd_id_secret(size_t digits, char *out);
void rd_id_random(void *out, size_t len); /* random bytes */

#endif
