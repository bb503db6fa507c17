/* SPDX-License-Identifier: Apache-2.0
 *
 * Signatures of Standard Webhooks. See sign.h. */
#include "webhook/sign.h"

#include <inttypes.h>
#include <string.h>

#include <sodium.h>

#include "base/hash.h"
#include "base/mem.h"

enum { SIGNED_MAX = 1 << 20 }; /* the body's own limit is the sender's */

_Static_assert(RD_WEBHOOK_SEED_LEN == crypto_sign_SEEDBYTES, "Ed25519");
_Static_assert((int)RD_WEBHOOK_SEED_LEN == (int)RD_HASH_LEN, "an HMAC is a seed");

static rd_err signed_bytes(const struct rd_webhook_message *message, struct rd_buf *out)
{
    rd_buf_init(out, SIGNED_MAX);
    rd_buf_printf(out, "%s.%" PRIu64 ".", message->id, message->unix_s);
    rd_buf_append(out, message->body, message->body_len);
    return rd_buf_err(out);
}

rd_err rd_webhook_sign_v1(const void *key, size_t key_len, const struct rd_webhook_message *message,
                          char ret[RD_WEBHOOK_V1_LEN + 1])
{
    RD_AUTO_BUF struct rd_buf bytes;
    RD_TRY(signed_bytes(message, &bytes));
    uint8_t mac[RD_HASH_LEN];
    rd_hash_hmac_sha256(key, key_len, bytes.data, bytes.len, mac);
    memcpy(ret, "v1,", 3);
    rd_text_base64(mac, sizeof mac, ret + 3);
    return RD_OK;
}

rd_err rd_webhook_sign_v1a(const uint8_t seed[RD_WEBHOOK_SEED_LEN],
                           const struct rd_webhook_message *message,
                           char ret[RD_WEBHOOK_V1A_LEN + 1])
{
    RD_AUTO_BUF struct rd_buf bytes;
    RD_TRY(signed_bytes(message, &bytes));
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
    uint8_t signature[crypto_sign_BYTES];
    (void)crypto_sign_seed_keypair(public_key, secret_key, seed);
    (void)crypto_sign_detached(signature, NULL, (const uint8_t *)bytes.data, bytes.len, secret_key);
    rd_mem_wipe(secret_key, sizeof secret_key);
    memcpy(ret, "v1a,", 4);
    rd_text_base64(signature, sizeof signature, ret + 4);
    return RD_OK;
}

void rd_webhook_seed(const uint8_t secret[RD_WEBHOOK_SECRET_LEN], uint8_t ret[RD_WEBHOOK_SEED_LEN])
{
    static const char label[] = "render webhook ed25519 v1";
    rd_hash_hmac_sha256(secret, RD_WEBHOOK_SECRET_LEN, label, sizeof label - 1, ret);
}

rd_err rd_webhook_signatures(const struct rd_webhook_secrets *secrets,
                             const struct rd_webhook_message *message, struct rd_buf *out)
{
    char v1[RD_WEBHOOK_V1_LEN + 1];
    char v1a[RD_WEBHOOK_V1A_LEN + 1];
    uint8_t seed[RD_WEBHOOK_SEED_LEN];
    for (size_t i = 0; i < secrets->count; i++) {
        RD_TRY(rd_webhook_sign_v1(secrets->secrets[i], RD_WEBHOOK_SECRET_LEN, message, v1));
        rd_buf_printf(out, "%s ", v1);
    }
    rd_webhook_seed(secrets->secrets[0], seed);
    rd_err err = rd_webhook_sign_v1a(seed, message, v1a);
    rd_mem_wipe(seed, sizeof seed);
    RD_TRY(err);
    rd_buf_str(out, v1a);
    return rd_buf_err(out);
}

void rd_webhook_secret_text(const uint8_t secret[RD_WEBHOOK_SECRET_LEN],
                            char ret[RD_WEBHOOK_SECRET_TEXT + 1])
{
    memcpy(ret, "whsec_", 6);
    rd_text_base64(secret, RD_WEBHOOK_SECRET_LEN, ret + 6);
}

void rd_webhook_public_text(const uint8_t secret[RD_WEBHOOK_SECRET_LEN],
                            char ret[RD_WEBHOOK_PUBLIC_TEXT + 1])
{
    uint8_t seed[RD_WEBHOOK_SEED_LEN];
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
    rd_webhook_seed(secret, seed);
    (void)crypto_sign_seed_keypair(public_key, secret_key, seed);
    rd_mem_wipe(secret_key, sizeof secret_key);
    rd_mem_wipe(seed, sizeof seed);
    memcpy(ret, "whpk_", 5);
    rd_text_base64(public_key, sizeof public_key, ret + 5);
}
