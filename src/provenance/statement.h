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

enum { RD_KEY_LEN = 32, RD_SIGNATURE_LEN = 64, RD_KEYID_LEN = 43 /* base64url of 32 bytes */ };

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
};

/* Appends the Statement as compact JSON, beginning with RD_STATEMENT_PREFIX. The subject carries
 * sha256 and blake3; the request stands in externalParameters; source images are
 * resolvedDependencies by sha256. The prompt stands in clear: the statement goes to whoever has the
 * asset's URL. Data URIs stand as digests only. */
rd_err rd_statement_write(struct rd_buf *out, const struct rd_statement_facts *facts) RD_MUST;

/* The bytes that DSSE signs. */
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
