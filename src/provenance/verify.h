/* SPDX-License-Identifier: Apache-2.0
 *
 * Checking provenance, offline, without trusting whoever gave the bytes. Shares only the hashes with
 * the code that makes it, so that a bug is not made twice. Used by librender and `render verify`. */
#ifndef RD_PROVENANCE_VERIFY_H
#define RD_PROVENANCE_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"

enum { RD_VERIFY_KEYS_MAX = 64, RD_VERIFY_ENVELOPE_MAX = 1 << 20 };

struct rd_verify_keys {
    uint8_t keys[RD_VERIFY_KEYS_MAX][32];
    size_t count;
};
/* Adds keys from text: a JWKS or JWK document, or one key as 64 hex digits or base64. */
rd_err rd_verify_keys_add(struct rd_verify_keys *keys, const char *text, size_t len,
                          struct rd_why *why) RD_MUST;

/* What one check found; each of the three is only true when it was really checked. */
struct rd_verdict {
    bool signature_ok; /* a known key signed exactly this statement */
    bool statement_ok; /* it is an in-toto Statement v1 with SLSA provenance v1 */
    bool subject_ok;   /* one of its subjects has the file's SHA-256 (and BLAKE3 when given) */
    char keyid[44];
    char problem[256]; /* "" or the first thing that did not hold, in words */
    char *statement;   /* the verified payload bytes, owned; NULL unless signature_ok */
    size_t statement_len;
};
/* Checks a DSSE envelope against the hashes of a file. RD_OK when everything holds; HASH_MISMATCH,
 * INVALID_REQUEST or UNAUTHORIZED (unknown key, bad signature) otherwise, with `ret` filled. */
rd_err rd_verify_envelope(const char *envelope, size_t len, const struct rd_hash *file,
                          const struct rd_verify_keys *keys, struct rd_verdict *ret) RD_MUST;
void rd_verdict_done(struct rd_verdict *verdict);

#endif
