/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers that are given again: see store.h. They hold secrets (an upload's URL, a key), so they
 * are encrypted as webhook_secrets.c does it: XChaCha20-Poly1305 with a random nonce under
 * HMAC(pepper, label), bound to all that stands in the row beside them. A row that was altered or
 * moved to another tenant does not open.
 *
 * A request that is being answered now stands in memory only. If the gateway dies before its answer
 * is kept, nobody has got that answer, and the request is done again when it comes again. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "store/internal.h"

enum {
    NONCE_LEN = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    TAG_LEN = crypto_aead_xchacha20poly1305_ietf_ABYTES,
    SEALED_MAX = RD_REPLAY_ANSWER_MAX + TAG_LEN,
};
_Static_assert(RD_HASH_LEN == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "the derived key");

static void derive_key(const struct rd_store *store, uint8_t ret[RD_HASH_LEN])
{
    static const char label[] = "render kept answer v1";
    rd_store_key_hash(store, label, strlen(label), ret);
}

/* What the answer is bound to: the hash of everything in its row. */
static void bind_to(const struct rd_replay_ask *ask, int status, uint8_t ret[RD_HASH_LEN])
{
    char text[64 + RD_IDEMPOTENCY_KEY_MAX + RD_HASH_LEN] = "";
    int len = snprintf(text, sizeof text - RD_HASH_LEN, "%llu %d %s ",
                       (unsigned long long)ask->owner, status, ask->key);
    memcpy(text + len, ask->body_hash, RD_HASH_LEN);
    rd_hash_sha256(text, (size_t)len + RD_HASH_LEN, ret);
}

/* ---- those that are being answered ---- */

static struct rd_store_replaying *find_open(struct rd_store *store, const struct rd_replay_ask *ask)
{
    for (size_t i = 0; i < store->replays.count; i++) {
        struct rd_store_replaying *open = &store->replays.open[i];
        if (open->owner == ask->owner && strcmp(open->key, ask->key) == 0) {
            return open;
        }
    }
    return NULL;
}

static rd_err take(struct rd_store *store, const struct rd_replay_ask *ask)
{
    rd_err err = RD_ERR_CAPACITY;
    (void)pthread_mutex_lock(&store->replays.lock);
    if (find_open(store, ask) != NULL) {
        err = RD_ERR_CONFLICT;
    } else if (store->replays.count < RD_STORE_REPLAYS_OPEN_MAX) {
        struct rd_store_replaying *open = &store->replays.open[store->replays.count++];
        open->owner = ask->owner;
        memcpy(open->key, ask->key, strlen(ask->key) + 1);
        err = RD_OK;
    }
    (void)pthread_mutex_unlock(&store->replays.lock);
    return err;
}

void rd_store_replay_release(struct rd_store *store, const struct rd_replay_ask *ask)
{
    (void)pthread_mutex_lock(&store->replays.lock);
    struct rd_store_replaying *open = find_open(store, ask);
    if (open != NULL) {
        *open = store->replays.open[--store->replays.count];
    }
    (void)pthread_mutex_unlock(&store->replays.lock);
}

/* ---- those that were answered ---- */

static rd_err open_row(const struct rd_store *store, sqlite3_stmt *row,
                       const struct rd_replay_ask *ask, struct rd_replay *ret)
{
    uint8_t hash[RD_HASH_LEN];
    uint8_t nonce[NONCE_LEN];
    uint8_t bound[RD_HASH_LEN];
    uint8_t key[RD_HASH_LEN];
    uint64_t status = 0;
    const uint8_t *sealed = sqlite3_column_blob(row, 3);
    size_t sealed_len = (size_t)sqlite3_column_bytes(row, 3);
    if (!rd_store_column_blob(row, 0, hash, sizeof hash) || !rd_store_column_u64(row, 1, &status) ||
        status < 200 || status > 299 || !rd_store_column_blob(row, 2, nonce, sizeof nonce) ||
        sealed == NULL || sealed_len < TAG_LEN || sealed_len > SEALED_MAX) {
        return RD_ERR_CORRUPT;
    }
    if (memcmp(hash, ask->body_hash, sizeof hash) != 0) {
        return RD_ERR_IDEMPOTENCY;
    }
    bind_to(ask, (int)status, bound);
    derive_key(store, key);
    int opened = crypto_aead_xchacha20poly1305_ietf_decrypt(
        (uint8_t *)ret->answer, NULL, NULL, sealed, sealed_len, bound, sizeof bound, nonce, key);
    rd_mem_wipe(key, sizeof key);
    if (opened != 0) {
        return RD_ERR_CORRUPT;
    }
    ret->status = (int)status;
    ret->len = sealed_len - TAG_LEN;
    return RD_OK;
}

static rd_err look_up(struct rd_store *store, const struct rd_replay_ask *ask,
                      struct rd_replay *ret)
{
    sqlite3_stmt *row = NULL;
    bool got = false;
    rd_store_db_lock(&store->reader);
    rd_err err = rd_store_db_query(
        &store->reader, RD_STORE_SQL_REPLAY_GET,
        RD_STORE_VALUES(RD_STORE_VALUE_INT(ask->owner), RD_STORE_VALUE_TEXT(ask->key)), &row);
    err = err == RD_OK ? rd_store_db_row(&store->reader, row, &got) : err;
    if (err == RD_OK && got) {
        err = open_row(store, row, ask, ret);
        (void)sqlite3_reset(row);
    }
    rd_store_db_unlock(&store->reader);
    return err;
}

rd_err rd_store_replay_begin(struct rd_store *store, const struct rd_replay_ask *ask,
                             struct rd_replay *ret)
{
    ret->status = 0;
    if (ask->key[0] == '\0' || strlen(ask->key) > RD_IDEMPOTENCY_KEY_MAX) {
        return RD_ERR_INTERNAL;
    }
    RD_TRY(take(store, ask)); /* before looking: whoever has it may be about to keep its answer */
    rd_err err = look_up(store, ask, ret);
    if (err != RD_OK || ret->status != 0) {
        rd_store_replay_release(store, ask);
    }
    return err;
}

rd_err rd_store_replay_keep(struct rd_store *store, const struct rd_replay_ask *ask, int status,
                            const void *answer, size_t len)
{
    if (len > RD_REPLAY_ANSWER_MAX || status < 200 || status > 299) {
        return RD_ERR_INTERNAL;
    }
    uint8_t nonce[NONCE_LEN];
    uint8_t bound[RD_HASH_LEN];
    uint8_t key[RD_HASH_LEN];
    uint8_t sealed[SEALED_MAX];
    rd_id_random(nonce, sizeof nonce);
    bind_to(ask, status, bound);
    derive_key(store, key);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(sealed, NULL, answer, len, bound, sizeof bound,
                                                     NULL, nonce, key);
    rd_mem_wipe(key, sizeof key);
    RD_TRY(rd_store_db_begin(&store->writer));
    rd_err err = rd_store_db_run(
        &store->writer, RD_STORE_SQL_REPLAY_ADD,
        RD_STORE_VALUES(RD_STORE_VALUE_INT(ask->owner), RD_STORE_VALUE_TEXT(ask->key),
                        RD_STORE_VALUE_BLOB(ask->body_hash, RD_HASH_LEN),
                        RD_STORE_VALUE_INT(status), RD_STORE_VALUE_INT(store->now_ms()),
                        RD_STORE_VALUE_BLOB(nonce, sizeof nonce),
                        RD_STORE_VALUE_BLOB(sealed, len + TAG_LEN)));
    err = err == RD_OK ? rd_store_db_commit(&store->writer) : err;
    rd_store_db_end(&store->writer);
    return err;
}
