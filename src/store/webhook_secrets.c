/* SPDX-License-Identifier: Apache-2.0
 *
 * The secrets that sign a tenant's webhooks: see jobs.h. Unlike keys they must be read again, so
 * they are encrypted: XChaCha20-Poly1305 with a random nonce under HMAC(pepper, "render webhook
 * secret v1"), bound to the row's owner and time, so that a copy of the database alone tells
 * nothing, and a row that was altered or moved to another tenant does not open.
 *
 * At most two rows of a tenant are kept: the newest, and the one that it replaced, which receivers
 * still have for a day. */
#include <string.h>

#include "base/mem.h"
#include "store/internal.h"
#include "store/jobs.h"

enum {
    NONCE_LEN = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    SEALED_LEN = RD_WEBHOOK_SECRET_LEN + crypto_aead_xchacha20poly1305_ietf_ABYTES,
    BOUND_LEN = 16,
};
_Static_assert(RD_HASH_LEN == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "the derived key");

static void derive_key(const struct rd_store *store, uint8_t ret[RD_HASH_LEN])
{
    static const char label[] = "render webhook secret v1";
    rd_store_key_hash(store, label, strlen(label), ret);
}

static void bind_to(uint64_t owner, uint64_t created_ms, uint8_t ret[BOUND_LEN])
{
    for (size_t i = 0; i < 8; i++) {
        ret[i] = (uint8_t)(owner >> (8 * i));
        ret[8 + i] = (uint8_t)(created_ms >> (8 * i));
    }
}

static bool open_row(const struct rd_store *store, sqlite3_stmt *row, uint64_t owner,
                     uint64_t *ret_created_ms, uint8_t ret[RD_WEBHOOK_SECRET_LEN])
{
    uint8_t nonce[NONCE_LEN];
    uint8_t sealed[SEALED_LEN];
    uint8_t bound[BOUND_LEN];
    uint8_t key[RD_HASH_LEN];
    if (!rd_store_column_u64(row, 0, ret_created_ms) ||
        !rd_store_column_blob(row, 1, nonce, sizeof nonce) ||
        !rd_store_column_blob(row, 2, sealed, sizeof sealed)) {
        return false;
    }
    bind_to(owner, *ret_created_ms, bound);
    derive_key(store, key);
    bool ok = crypto_aead_xchacha20poly1305_ietf_decrypt(ret, NULL, NULL, sealed, sizeof sealed,
                                                         bound, sizeof bound, nonce, key) == 0;
    rd_mem_wipe(key, sizeof key);
    return ok;
}

/* The tenant's secrets as they stand, none as well. Under the lock of `db`. */
static rd_err read_all(const struct rd_store *store, struct rd_store_db *db, uint64_t owner,
                       uint64_t now_ms, struct rd_webhook_secrets *ret)
{
    sqlite3_stmt *row = NULL;
    bool got = true;
    uint64_t newest_ms = 0;
    *ret = (struct rd_webhook_secrets){.count = 0};
    RD_TRY(rd_store_db_query(db, RD_STORE_SQL_SECRETS_GET,
                             RD_STORE_VALUES(RD_STORE_VALUE_INT(owner)), &row));
    while (ret->count < 2) {
        uint64_t created_ms = 0;
        RD_TRY(rd_store_db_row(db, row, &got));
        if (!got) {
            return RD_OK;
        }
        if (!open_row(store, row, owner, &created_ms, ret->secrets[ret->count])) {
            (void)sqlite3_reset(row);
            return RD_ERR_CORRUPT;
        }
        newest_ms = ret->count == 0 ? created_ms : newest_ms;
        ret->count++;
    }
    (void)sqlite3_reset(row);
    if (now_ms >= newest_ms && now_ms - newest_ms >= RD_STORE_SECRET_BESIDE_MS) {
        rd_mem_wipe(ret->secrets[1], sizeof ret->secrets[1]);
        ret->count = 1;
    }
    return RD_OK;
}

/* In a transaction. */
static rd_err add(struct rd_store *store, uint64_t owner, uint64_t now_ms)
{
    uint8_t secret[RD_WEBHOOK_SECRET_LEN];
    uint8_t nonce[NONCE_LEN];
    uint8_t sealed[SEALED_LEN];
    uint8_t bound[BOUND_LEN];
    uint8_t key[RD_HASH_LEN];
    rd_id_random(secret, sizeof secret);
    rd_id_random(nonce, sizeof nonce);
    bind_to(owner, now_ms, bound);
    derive_key(store, key);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(sealed, NULL, secret, sizeof secret, bound,
                                                     sizeof bound, NULL, nonce, key);
    rd_mem_wipe(key, sizeof key);
    rd_mem_wipe(secret, sizeof secret);
    RD_TRY(rd_store_db_run(&store->writer, RD_STORE_SQL_SECRET_ADD,
                           RD_STORE_VALUES(RD_STORE_VALUE_INT(owner), RD_STORE_VALUE_INT(now_ms),
                                           RD_STORE_VALUE_BLOB(nonce, sizeof nonce),
                                           RD_STORE_VALUE_BLOB(sealed, sizeof sealed))));
    return rd_store_db_run(&store->writer, RD_STORE_SQL_SECRETS_TRIM,
                           RD_STORE_VALUES(RD_STORE_VALUE_INT(owner)));
}

/* Adds one (where there is none, or in any case), and reads what there is then. */
static rd_err change(struct rd_store *store, uint64_t owner, uint64_t now_ms, bool always,
                     struct rd_webhook_secrets *ret)
{
    struct rd_webhook_secrets secrets;
    RD_TRY(rd_store_db_begin(&store->writer));
    rd_err err = read_all(store, &store->writer, owner, now_ms, &secrets);
    if (err == RD_OK && (always || secrets.count == 0)) {
        err = add(store, owner, now_ms);
        err = err == RD_OK ? read_all(store, &store->writer, owner, now_ms, &secrets) : err;
        err = err == RD_OK ? rd_store_db_commit(&store->writer) : err;
    }
    rd_store_db_end(&store->writer);
    if (err == RD_OK) {
        *ret = secrets;
    }
    rd_mem_wipe(&secrets, sizeof secrets);
    return err;
}

rd_err rd_store_webhook_secrets(struct rd_store *store, uint64_t owner, uint64_t now_ms,
                                struct rd_webhook_secrets *ret)
{
    struct rd_webhook_secrets secrets;
    rd_store_db_lock(&store->reader);
    rd_err err = read_all(store, &store->reader, owner, now_ms, &secrets);
    rd_store_db_unlock(&store->reader);
    if (err == RD_OK && secrets.count == 0) {
        return change(store, owner, now_ms, false, ret);
    }
    if (err == RD_OK) {
        *ret = secrets;
    }
    rd_mem_wipe(&secrets, sizeof secrets);
    return err;
}

rd_err rd_store_webhook_rotate(struct rd_store *store, uint64_t owner, uint64_t now_ms,
                               struct rd_webhook_secrets *ret)
{
    return change(store, owner, now_ms, true, ret);
}
