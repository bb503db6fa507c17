/* SPDX-License-Identifier: Apache-2.0
 *
 * Upload tickets. A ticket is a row from its creation; its secret token is only there as a SHA-256
 * (178 random bits need no slow hash and no pepper). The states of a ticket:
 *
 *     open --claim--> claimed --finish--> done      (done is for ever: the id is the asset's alias)
 *       ^--release-------'
 *     open, past its hour: expired; deleted a day later
 *
 * "Claimed" is only in memory: a PUT that was cut off by a restart may be tried again. One mutex
 * makes "not done on disk" and "not claimed in memory" one question: finish commits before it gives
 * the claim up, so a claim sees the one or the other.
 *
 * Expired tickets are deleted a few with each new ticket, so no sweep ever holds the disk for long,
 * and a store that is not used does no work. */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/internal.h"

enum { FIRST_ROOM = 16 };

static bool token_valid(const char *token, size_t len)
{
    if (len != RD_UPLOAD_TOKEN_LEN) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        bool digit = token[i] >= '0' && token[i] <= '9';
        bool letter = (token[i] >= 'A' && token[i] <= 'Z') || (token[i] >= 'a' && token[i] <= 'z');
        if (!digit && !letter) {
            return false;
        }
    }
    return true;
}

static bool read_row(const struct rd_store *store, sqlite3_stmt *row, struct rd_upload *ret,
                     uint8_t ret_token_hash[RD_HASH_LEN])
{
    uint8_t written[RD_STORE_SEAL_LEN];
    uint8_t expected[RD_STORE_SEAL_LEN];
    uint64_t done = 0;
    bool ok = rd_store_column_text(row, 0, ret->id, sizeof ret->id) &&
              rd_store_column_text(row, 1, ret->tenant, sizeof ret->tenant) &&
              rd_store_column_u64(row, 2, &ret->owner) &&
              rd_store_column_text(row, 3, ret->content_type, sizeof ret->content_type) &&
              rd_store_column_u64(row, 4, &ret->bytes) &&
              rd_store_column_u64(row, 5, &ret->expires_ms) && rd_store_column_u64(row, 6, &done) &&
              rd_store_column_blob(row, 7, ret->blake3, RD_HASH_LEN) &&
              rd_store_column_blob(row, 8, written, sizeof written) &&
              rd_store_column_blob(row, 9, ret_token_hash, RD_HASH_LEN) && done <= 1;
    if (!ok) {
        return false;
    }
    ret->done = done == 1;
    rd_store_seal_upload(store, ret, ret_token_hash, expected);
    return rd_text_secret_eq(written, sizeof written, expected, sizeof expected);
}

/* One ticket by token or id; NOT_FOUND, or CORRUPT when the row is not what was written. */
static rd_err look_up(struct rd_store *store, enum rd_store_sql sql,
                      const struct rd_store_value *values, struct rd_upload *ret,
                      uint8_t ret_token_hash[RD_HASH_LEN])
{
    sqlite3_stmt *row = NULL;
    bool got = false;
    struct rd_upload found = {.bytes = 0};
    rd_store_db_lock(&store->reader);
    rd_err err = rd_store_db_query(&store->reader, sql, values, &row);
    err = err == RD_OK ? rd_store_db_row(&store->reader, row, &got) : err;
    if (err == RD_OK && !got) {
        err = RD_ERR_NOT_FOUND;
    } else if (err == RD_OK) {
        err = read_row(store, row, &found, ret_token_hash) ? RD_OK : RD_ERR_CORRUPT;
        (void)sqlite3_reset(row); /* ends the read transaction, so that checkpoints can pass */
    }
    rd_store_db_unlock(&store->reader);
    if (err == RD_OK) {
        *ret = found;
    }
    return err;
}

/* Under the writer's lock: sweep, count, insert, commit. */
static rd_err store_ticket(struct rd_store *store, const struct rd_upload *upload,
                           const uint8_t token_hash[RD_HASH_LEN])
{
    struct rd_store_db *db = &store->writer;
    uint64_t now = store->now_ms();
    uint64_t horizon = now > RD_STORE_TICKET_KEEP_MS ? now - RD_STORE_TICKET_KEEP_MS : 0;
    sqlite3_stmt *row = NULL;
    bool got = false;
    uint64_t open = 0;
    uint8_t seal[RD_STORE_SEAL_LEN];
    RD_TRY(rd_store_db_run(
        db, RD_STORE_SQL_UPLOAD_SWEEP,
        RD_STORE_VALUES(RD_STORE_VALUE_INT(horizon), RD_STORE_VALUE_INT(RD_STORE_SWEEP_MAX))));
    RD_TRY(rd_store_db_query(db, RD_STORE_SQL_UPLOAD_OPEN_COUNT,
                             RD_STORE_VALUES(RD_STORE_VALUE_INT(upload->owner),
                                             RD_STORE_VALUE_INT(now),
                                             RD_STORE_VALUE_INT(RD_STORE_UPLOADS_OPEN_MAX)),
                             &row));
    RD_TRY(rd_store_db_row(db, row, &got));
    bool ok = got && rd_store_column_u64(row, 0, &open);
    (void)sqlite3_reset(row);
    if (!ok) {
        return RD_ERR_CORRUPT;
    }
    if (open >= RD_STORE_UPLOADS_OPEN_MAX) {
        return RD_ERR_RATE_LIMITED;
    }
    rd_store_seal_upload(store, upload, token_hash, seal);
    RD_TRY(rd_store_db_run(
        db, RD_STORE_SQL_UPLOAD_ADD,
        RD_STORE_VALUES(
            RD_STORE_VALUE_TEXT(upload->id), RD_STORE_VALUE_BLOB(token_hash, RD_HASH_LEN),
            RD_STORE_VALUE_INT(upload->owner), RD_STORE_VALUE_TEXT(upload->content_type),
            RD_STORE_VALUE_INT(upload->bytes), RD_STORE_VALUE_INT(upload->expires_ms),
            RD_STORE_VALUE_BLOB(seal, sizeof seal))));
    return rd_store_db_commit(db);
}

rd_err rd_store_upload_create(struct rd_store *store, const struct rd_key *key,
                              const char *content_type, uint64_t bytes, uint64_t ttl_ms,
                              struct rd_upload *ret, char ret_token[RD_UPLOAD_TOKEN_LEN + 1])
{
    struct rd_upload upload = {.owner = key->owner, .bytes = bytes};
    size_t type_len = strnlen(content_type, sizeof upload.content_type);
    if (type_len == 0 || type_len >= sizeof upload.content_type || bytes == 0 ||
        bytes > RD_LIMIT_UPLOAD_BYTES || ttl_ms == 0 || ttl_ms > RD_STORE_TICKET_TTL_MS_MAX) {
        return RD_ERR_INVALID_REQUEST;
    }
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    uint8_t token_hash[RD_HASH_LEN];
    rd_id_secret(RD_UPLOAD_TOKEN_LEN, token);
    rd_hash_sha256(token, RD_UPLOAD_TOKEN_LEN, token_hash);
    rd_id_new("a_", upload.id);
    memcpy(upload.tenant, key->tenant, sizeof upload.tenant);
    memcpy(upload.content_type, content_type, type_len);
    upload.expires_ms = store->now_ms() + ttl_ms;
    RD_TRY(rd_store_db_begin(&store->writer));
    rd_err err = store_ticket(store, &upload, token_hash);
    rd_store_db_end(&store->writer);
    if (err == RD_OK) {
        *ret = upload;
        memcpy(ret_token, token, sizeof token);
    }
    rd_mem_wipe(token, sizeof token);
    return err;
}

/* Position of `id` among the claims, or `count`. Under the claims' lock. At most as many as there
 * are connections, and rarely more than a few. */
static size_t claim_index(const struct rd_store_claims *claims, const char *id)
{
    size_t i = 0;
    while (i < claims->count && strcmp(claims->ids[i], id) != 0) {
        i++;
    }
    return i;
}

static rd_err claim_add(struct rd_store_claims *claims, const char *id)
{
    if (claims->count == RD_STORE_CLAIMS_MAX) {
        return RD_ERR_CAPACITY;
    }
    if (claims->count == claims->room) {
        size_t room = claims->room == 0 ? FIRST_ROOM : claims->room * 2;
        void *ids = rd_mem_resize(claims->ids, room * sizeof *claims->ids);
        if (ids == NULL) {
            return RD_ERR_NO_MEMORY;
        }
        claims->ids = ids;
        claims->room = room;
    }
    (void)snprintf(claims->ids[claims->count++], RD_ID_MAX, "%s", id);
    return RD_OK;
}

rd_err rd_store_upload_claim(struct rd_store *store, const char *token, size_t len,
                             struct rd_upload *ret)
{
    if (!token_valid(token, len)) {
        return RD_ERR_NOT_FOUND;
    }
    uint8_t token_hash[RD_HASH_LEN];
    uint8_t found_hash[RD_HASH_LEN];
    struct rd_upload upload;
    rd_hash_sha256(token, len, token_hash);
    (void)pthread_mutex_lock(&store->uploads.lock);
    rd_err err =
        look_up(store, RD_STORE_SQL_UPLOAD_BY_TOKEN,
                RD_STORE_VALUES(RD_STORE_VALUE_BLOB(token_hash, RD_HASH_LEN)), &upload, found_hash);
    if (err == RD_OK && (upload.done || upload.expires_ms <= store->now_ms() ||
                         claim_index(&store->uploads, upload.id) < store->uploads.count)) {
        err = RD_ERR_GONE;
    }
    err = err == RD_OK ? claim_add(&store->uploads, upload.id) : err;
    (void)pthread_mutex_unlock(&store->uploads.lock);
    if (err == RD_OK) {
        *ret = upload;
    }
    return err;
}

void rd_store_upload_release(struct rd_store *store, const char *id)
{
    struct rd_store_claims *claims = &store->uploads;
    (void)pthread_mutex_lock(&claims->lock);
    size_t i = claim_index(claims, id);
    if (i < claims->count) {
        memmove(claims->ids[i], claims->ids[claims->count - 1], RD_ID_MAX);
        claims->count--;
    }
    (void)pthread_mutex_unlock(&claims->lock);
}

static bool is_claimed(struct rd_store *store, const char *id)
{
    (void)pthread_mutex_lock(&store->uploads.lock);
    bool claimed = claim_index(&store->uploads, id) < store->uploads.count;
    (void)pthread_mutex_unlock(&store->uploads.lock);
    return claimed;
}

rd_err rd_store_upload_finish(struct rd_store *store, const char *id,
                              const uint8_t blake3[RD_HASH_LEN])
{
    struct rd_upload upload;
    uint8_t token_hash[RD_HASH_LEN];
    uint8_t seal[RD_STORE_SEAL_LEN];
    if (!is_claimed(store, id)) {
        return RD_ERR_CONFLICT;
    }
    RD_TRY(look_up(store, RD_STORE_SQL_UPLOAD_BY_ID, RD_STORE_VALUES(RD_STORE_VALUE_TEXT(id)),
                   &upload, token_hash));
    upload.done = true;
    memcpy(upload.blake3, blake3, RD_HASH_LEN);
    rd_store_seal_upload(store, &upload, token_hash, seal);
    RD_TRY(rd_store_db_begin(&store->writer));
    rd_err err = rd_store_db_run(&store->writer, RD_STORE_SQL_UPLOAD_FINISH,
                                 RD_STORE_VALUES(RD_STORE_VALUE_TEXT(id),
                                                 RD_STORE_VALUE_BLOB(blake3, RD_HASH_LEN),
                                                 RD_STORE_VALUE_BLOB(seal, sizeof seal)));
    err = err == RD_OK ? rd_store_db_commit(&store->writer) : err;
    rd_store_db_end(&store->writer);
    if (err == RD_OK) {
        rd_store_upload_release(store, id); /* only now: see the top of the file */
    }
    return err;
}

rd_err rd_store_upload_resolve(struct rd_store *store, const char *id, struct rd_upload *ret)
{
    struct rd_upload upload;
    uint8_t token_hash[RD_HASH_LEN];
    if (!rd_id_valid(id, "a_")) {
        return RD_ERR_NOT_FOUND;
    }
    RD_TRY(look_up(store, RD_STORE_SQL_UPLOAD_BY_ID, RD_STORE_VALUES(RD_STORE_VALUE_TEXT(id)),
                   &upload, token_hash));
    if (!upload.done) {
        return RD_ERR_NOT_FOUND;
    }
    *ret = upload;
    return RD_OK;
}

void rd_store_uploads_done(struct rd_store *store)
{
    rd_mem_free(store->uploads.ids);
    store->uploads.ids = NULL;
    store->uploads.count = 0;
    store->uploads.room = 0;
}
