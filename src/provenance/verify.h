/* SPDX-License-Identifier: Apache-2.0
 *
 * Checking provenance, offline, without trusting whoever gave the bytes. Shares only the hashes and
 * the text decoders of base/ with the code that makes it, so that a bug is not made twice. Used by
 * librender and `render verify`.
 *
 * What is accepted: a DSSE v1.0.2 envelope whose payload one known key has signed, being an in-toto
 * Statement v1 with SLSA provenance v1, one subject of which has the file's digests. Base64 may be
 * the standard or the URL-safe kind, padded or not. A key id is a hint only: it says which key to
 * try first. Unknown members are ignored everywhere; duplicate names are refused, because two
 * readers may take different ones.
 *
 * Several signatures: one that verifies under a known key is enough. Those of unknown keys, and
 * those that do not verify, are passed over, as DSSE says: whoever holds an envelope can add or
 * drop signatures, so that a bad one beside a good one tells nothing about the statement. */
#ifndef RD_PROVENANCE_VERIFY_H
#define RD_PROVENANCE_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"

enum {
    RD_VERIFY_KEYS_MAX = 64,           /* times the signatures: bounds the work of one check */
    RD_VERIFY_SIGNATURES_MAX = 16,     /* in one envelope; more is refused */
    RD_VERIFY_ENVELOPE_MAX = 1 << 20,  /* bytes; a statement has at most 64 KiB */
    RD_VERIFY_KEYS_TEXT_MAX = 1 << 18, /* bytes of a key document */
    RD_VERIFY_DEPTH_MAX = 32,          /* nesting of any JSON here: the parser recurses */
    RD_VERIFY_SUBJECTS_MAX = 1024,     /* looked at in one statement */
};

struct rd_verify_keys {
    uint8_t keys[RD_VERIFY_KEYS_MAX][32];
    size_t count;
};
/* Adds keys from text: a JWKS or JWK document, or one key as 64 hex digits or base64, white space
 * around it allowed. Keys of other kinds in a JWKS are passed over; a key that is already there is
 * not added twice. INVALID_REQUEST when no usable key is in it, or one that is no sound Ed25519 key
 * (small order, not canonical); TOO_LARGE beyond the limits. All or nothing. */
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

/* Whether `text` is what a verified statement's externalParameters committed to under `field`
 * ("prompt", "negative_prompt", "other"), given the 32-byte salt that the owner published. */
bool rd_verify_revealed(const struct rd_verdict *verdict, const char *field, const char *text,
                        size_t len, const uint8_t salt[32]) RD_MUST;

#endif
