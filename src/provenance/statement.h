/* SPDX-License-Identifier: Apache-2.0
 *
 * Making provenance: the in-toto Statement that says what made an output (predicate SLSA provenance
 * v1), its DSSE envelope, and JWKS. Checking is verify.h's, which shares no code with this but the
 * hashes. Formats: in-toto Statement v1, DSSE v1.0.2, SLSA provenance v1, RFC 8037/7638. */
#ifndef RD_PROVENANCE_STATEMENT_H
#define RD_PROVENANCE_STATEMENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "core/generation.h"
#include "engine/engine.h"

#define RD_STATEMENT_PAYLOAD_TYPE "application/vnd.in-toto+json"
#define RD_STATEMENT_PREFIX "{\"_type\":\"https://in-toto.io/Statement/v1\","

enum {
    RD_KEY_LEN = 32,
    RD_SIGNATURE_LEN = 64,
    RD_KEYID_LEN = 43, /* base64url of 32 bytes */
    RD_SALT_LEN = 32,
};

struct rd_statement_facts {
    const struct rd_hash *hash; /* of the output's exact bytes */
    uint64_t size;
    const struct rd_generation *generation;
    unsigned index;         /* which of `count` outputs */
    const char *request_id; /* invocationId */
    const char *builder_id; /* the gateway's public URL */
    const char *engine;     /* the backend's configured name */
    const struct rd_engine_report *report;
    uint64_t started_ms, finished_ms; /* Unix milliseconds */
    /* RD_SALT_LEN secret bytes, best from rd_statement_salt(), for the commitments to prompts.
     * NULL: a random salt that nobody keeps, so that the prompts stay private but can never be
     * revealed. */
    const uint8_t *prompt_salt;
};

/* Appends the Statement as compact JSON, beginning with RD_STATEMENT_PREFIX. The subject carries
 * sha256 and blake3; the request stands in externalParameters; source images are
 * resolvedDependencies by sha256. Prompts are private, because the statement goes to whoever has
 * the asset's URL: "prompt", "negative_prompt" and fields that the contract does not know stand as
 * salted commitments (parameters.c), URLs without their query. Data URIs stand as digests only.
 * INTERNAL when generation->json is not an object; otherwise the buffer's error. */
rd_err rd_statement_write(struct rd_buf *out, const struct rd_statement_facts *facts) RD_MUST;

/* The salt of one request's statements, from the gateway's lasting secret: nothing is to be stored,
 * and the owner of the request can be told it later. */
void rd_statement_salt(const uint8_t secret[RD_SALT_LEN], const char *request_id,
                       uint8_t ret[RD_SALT_LEN]);
/* The salt of one field ("prompt", "negative_prompt", "other"): what an owner publishes, with the
 * text, to reveal that field and no other. */
void rd_statement_field_salt(const uint8_t salt[RD_SALT_LEN], const char *field,
                             uint8_t ret[RD_SALT_LEN]);
/* The commitment as it stands in the statement: SHA-256(field salt || text). Fails only for want of
 * memory, and only for texts longer than a prompt may be. */
rd_err rd_statement_commit(const uint8_t field_salt[RD_SALT_LEN], const void *text, size_t len,
                           uint8_t ret[RD_HASH_LEN]) RD_MUST;

/* Appends externalParameters (for rd_statement_write; here for its tests). */
rd_err rd_statement_parameters(struct rd_buf *out, const struct rd_generation *generation,
                               const uint8_t salt[RD_SALT_LEN]) RD_MUST;

/* The bytes that DSSE signs ("pre-authentication encoding"). */
rd_err rd_dsse_pae(struct rd_buf *out, const char *type, const void *payload, size_t len) RD_MUST;
/* The envelope for a statement and its signature. */
rd_err rd_dsse_envelope(struct rd_buf *out, const void *statement, size_t len,
                        const char keyid[RD_KEYID_LEN + 1],
                        const uint8_t signature[RD_SIGNATURE_LEN]) RD_MUST;

/* RFC 7638 thumbprint of an Ed25519 key: the key id everywhere. */
void rd_jwk_thumbprint(const uint8_t key[RD_KEY_LEN], char ret[RD_KEYID_LEN + 1]);
/* {"keys":[{...}]} */
rd_err rd_jwks_write(struct rd_buf *out, const uint8_t (*keys)[RD_KEY_LEN], size_t count) RD_MUST;

#endif
