/* SPDX-License-Identifier: Apache-2.0
 *
 * Seals of rows: BLAKE3 keyed with HMAC(pepper, "render store seal v1") over a domain word and the
 * row's fields, texts with their lengths before them, numbers as 8 bytes little-endian. SQLite has
 * no checksums of its own: a flipped bit in a scope or in an owner's number would otherwise be
 * believed. last_used_ms is not sealed, since it is written without care and grants nothing; nor is
 * a job's state, which changes with each step: what was asked for, and by whom, is. */
#include <string.h>

#include "store/internal.h"

struct message {
    uint8_t bytes[512];
    size_t len;
};

static void put(struct message *message, const void *data, size_t len)
{
    /* Every row fits: the longest has 3 texts of 64 and less than 200 bytes beside. */
    if (len <= sizeof message->bytes - message->len) {
        memcpy(message->bytes + message->len, data, len);
        message->len += len;
    }
}

static void put_u64(struct message *message, uint64_t value)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
    put(message, bytes, sizeof bytes);
}

static void put_text(struct message *message, const char *text)
{
    size_t len = strlen(text);
    put_u64(message, len);
    put(message, text, len);
}

void rd_store_seal_key(const struct rd_store *store, const struct rd_key *key,
                       const uint8_t hash[RD_HASH_LEN], uint8_t ret[RD_STORE_SEAL_LEN])
{
    struct message message = {.len = 0};
    put_text(&message, "key");
    put_text(&message, key->id);
    put_text(&message, key->tenant);
    put_text(&message, key->name);
    put_text(&message, key->prefix);
    put_u64(&message, key->scopes);
    put_u64(&message, key->owner);
    put_u64(&message, key->created_ms);
    put_u64(&message, key->expires_ms);
    put_u64(&message, key->revoked_ms);
    put(&message, hash, RD_HASH_LEN);
    rd_hash_blake3_keyed(store->seal_key, message.bytes, message.len, ret);
}

void rd_store_seal_upload(const struct rd_store *store, const struct rd_upload *upload,
                          const uint8_t token_hash[RD_HASH_LEN], uint8_t ret[RD_STORE_SEAL_LEN])
{
    struct message message = {.len = 0};
    put_text(&message, "upload");
    put_text(&message, upload->id);
    put_text(&message, upload->tenant);
    put_text(&message, upload->content_type);
    put_u64(&message, upload->owner);
    put_u64(&message, upload->bytes);
    put_u64(&message, upload->expires_ms);
    put_u64(&message, upload->done ? 1 : 0);
    put(&message, upload->blake3, RD_HASH_LEN);
    put(&message, token_hash, RD_HASH_LEN);
    rd_hash_blake3_keyed(store->seal_key, message.bytes, message.len, ret);
}

static void put_digest(struct message *message, const char *text, size_t len)
{
    uint8_t digest[RD_HASH_LEN];
    rd_hash_blake3(text, len, digest);
    put_u64(message, len);
    put(message, digest, sizeof digest);
}

void rd_store_seal_job(const struct rd_store *store, const struct rd_job_row *row,
                       uint8_t ret[RD_STORE_SEAL_LEN])
{
    struct message message = {.len = 0};
    put_text(&message, "job");
    put_text(&message, row->id);
    put_u64(&message, row->n);
    put_u64(&message, row->owner);
    put_u64(&message, row->lane);
    put_u64(&message, (uint64_t)row->kind);
    put_u64(&message, row->units);
    put_u64(&message, row->seed);
    put_u64(&message, row->media);
    put_u64(&message, row->created_ms);
    put_u64(&message, row->expires_ms);
    put_digest(&message, row->model, strlen(row->model));
    put_digest(&message, row->request_id, strlen(row->request_id));
    put_digest(&message, row->webhook, strlen(row->webhook));
    put_digest(&message, row->request, row->request_len);
    rd_hash_blake3_keyed(store->seal_key, message.bytes, message.len, ret);
}
