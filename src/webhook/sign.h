/* SPDX-License-Identifier: Apache-2.0
 *
 * Signatures of Standard Webhooks 1.0. What is signed is "ID.TIMESTAMP.BODY"; the header is a list,
 * and a receiver takes the message when any entry fits:
 *
 *     v1    HMAC-SHA-256 with the tenant's secret, shown as "whsec_" + base64. Every library knows
 * it. v1a   Ed25519, so that a receiver holds nothing with which it could sign itself. The public
 * key is shown as "whpk_" + base64.
 *
 * A tenant has one secret to keep, not two: the Ed25519 seed is derived from it by a labelled HMAC.
 * While a rotation lasts, the secret before signs too (v1 only: who verifies v1a reads the new
 * public key). */
#ifndef RD_WEBHOOK_SIGN_H
#define RD_WEBHOOK_SIGN_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/text.h"
#include "store/jobs.h"

enum {
    RD_WEBHOOK_SEED_LEN = 32,
    RD_WEBHOOK_V1_LEN = 3 + RD_TEXT_BASE64_LEN(32),      /* "v1," + base64 */
    RD_WEBHOOK_V1A_LEN = 4 + RD_TEXT_BASE64_LEN(64),     /* "v1a," + base64 */
    RD_WEBHOOK_SECRET_TEXT = 6 + RD_TEXT_BASE64_LEN(32), /* "whsec_" + base64 */
    RD_WEBHOOK_PUBLIC_TEXT = 5 + RD_TEXT_BASE64_LEN(32), /* "whpk_" + base64 */
};

struct rd_webhook_message {
    const char *id;  /* "msg_...", without "." */
    uint64_t unix_s; /* of this try */
    const char *body;
    size_t body_len;
};

/* One entry of the header each. */
rd_err rd_webhook_sign_v1(const void *key, size_t key_len, const struct rd_webhook_message *message,
                          char ret[RD_WEBHOOK_V1_LEN + 1]) RD_MUST;
rd_err rd_webhook_sign_v1a(const uint8_t seed[RD_WEBHOOK_SEED_LEN],
                           const struct rd_webhook_message *message,
                           char ret[RD_WEBHOOK_V1A_LEN + 1]) RD_MUST;
/* The Ed25519 seed that belongs to a secret. */
void rd_webhook_seed(const uint8_t secret[RD_WEBHOOK_SECRET_LEN], uint8_t ret[RD_WEBHOOK_SEED_LEN]);

/* Appends the whole header value: v1 by each secret, then v1a by the newest. */
rd_err rd_webhook_signatures(const struct rd_webhook_secrets *secrets,
                             const struct rd_webhook_message *message, struct rd_buf *out) RD_MUST;

/* What is shown to the tenant. */
void rd_webhook_secret_text(const uint8_t secret[RD_WEBHOOK_SECRET_LEN],
                            char ret[RD_WEBHOOK_SECRET_TEXT + 1]);
void rd_webhook_public_text(const uint8_t secret[RD_WEBHOOK_SECRET_LEN],
                            char ret[RD_WEBHOOK_PUBLIC_TEXT + 1]);

#endif
