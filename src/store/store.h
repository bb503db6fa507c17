/* SPDX-License-Identifier: Apache-2.0
 *
 * What must survive besides the objects: tenants, API keys and upload tickets. SQLite in WAL mode
 * with synchronous=FULL, one writer connection, schema versions with migrations. Thread-safe. A
 * change is durable when its call returns RD_OK.
 *
 * API keys look like "rk_" + 30 base62 digits (178 bits) + 6 base62 digits of CRC-32 over what
 * stands before (so that scanners and typing errors are caught without a look-up). Only
 * HMAC-SHA-256(pepper, key) is stored; the pepper is DIR/pepper (0600), 32 random bytes.
 * Verification works from memory: a revoked key is refused from the moment rd_store_key_revoke
 * returns. */
#ifndef RD_STORE_STORE_H
#define RD_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/id.h"

struct rd_store;

/* Locks DIR (CONFLICT when another gateway has it) and opens or creates DIR/render.db and
 * DIR/pepper. CORRUPT with what to do when the database is not sound or newer than this program. */
rd_err rd_store_open(const char *dir, struct rd_store **ret, struct rd_why *why) RD_MUST;
void rd_store_close(struct rd_store *store);
bool rd_store_healthy(struct rd_store *store);

/* Scopes: one bit each; the table of names is in keys.c. */
enum rd_scope {
    RD_SCOPE_GENERATE = 1u << 0, /* generations, models, own assets */
    RD_SCOPE_UPLOAD = 1u << 1,   /* POST /uploads, PUT /v1/objects */
    RD_SCOPE_READ = 1u << 2,     /* GET of what needs a key */
    RD_SCOPE_ADMIN = 1u << 3,    /* keys of all tenants, other tenants' behalf */
    RD_SCOPE_ALL = 15u,
};
bool rd_scope_parse(const char *name, unsigned *ret_bit);
const char *rd_scope_name(unsigned bit);

enum { RD_KEY_TEXT_LEN = 3 + 30 + 6, RD_NAME_MAX = 64 };

struct rd_key {
    char id[RD_ID_MAX];           /* "key_..." */
    char tenant[RD_NAME_MAX + 1]; /* [a-z0-9][a-z0-9-]{0,63} */
    char name[RD_NAME_MAX + 1];   /* for people, UTF-8 without control characters */
    char prefix[13];              /* the first 12 characters of the key, for display */
    unsigned scopes;
    uint64_t owner; /* the tenant's number, as cas/ knows it; >= 1, never used again */
    uint64_t created_ms, expires_ms, revoked_ms, last_used_ms; /* 0: never */
};

/* 1 to 64 of a-z, 0-9 and '-', not beginning with '-'. */
bool rd_store_tenant_valid(const char *tenant);
/* What a key is for: 1 to 64 bytes of UTF-8 without control characters. */
bool rd_store_name_valid(const char *name);
/* Makes a key; `ret_text` is shown once and never stored. expires_ms 0: never. INVALID_REQUEST with
 * why for a bad tenant or name. */
rd_err rd_store_key_create(struct rd_store *store, const char *tenant, const char *name,
                           unsigned scopes, uint64_t expires_ms, struct rd_key *ret,
                           char ret_text[RD_KEY_TEXT_LEN + 1], struct rd_why *why) RD_MUST;
/* Who is this? UNAUTHORIZED for anything but a valid, unexpired, unrevoked key. No disk access;
 * last_used is written lazily, at most once a minute a key. */
rd_err rd_store_key_check(struct rd_store *store, const char *text, size_t len,
                          struct rd_key *ret) RD_MUST;
/* Revokes; tenant NULL means any (administrator). NOT_FOUND for another tenant's key. When the disk
 * fails, the key is refused all the same until a restart, and the error says so. */
rd_err rd_store_key_revoke(struct rd_store *store, const char *tenant, const char *id) RD_MUST;
/* Calls `each` for the keys of `tenant` (NULL: all), oldest first, until it returns false. */
rd_err rd_store_key_list(struct rd_store *store, const char *tenant,
                         bool (*each)(void *ctx, const struct rd_key *key), void *ctx) RD_MUST;
size_t rd_store_key_count(struct rd_store *store);

/* Upload tickets. The token is a secret of 178 bits; only its SHA-256 is stored. Creating answers
 * INVALID_REQUEST outside of 1 to RD_LIMIT_UPLOAD_BYTES bytes and a day's life, and RATE_LIMITED
 * for a tenant with 10,000 unused ones. */
enum { RD_UPLOAD_TOKEN_LEN = 30 };
struct rd_upload {
    char id[RD_ID_MAX]; /* "a_" + 22 digits: the asset alias, known before the content is */
    char tenant[RD_NAME_MAX + 1];
    uint64_t owner;
    char content_type[32];
    uint64_t bytes; /* what was announced */
    uint64_t expires_ms;
    bool done;
    uint8_t blake3[RD_HASH_LEN]; /* when done */
};
rd_err rd_store_upload_create(struct rd_store *store, const struct rd_key *key,
                              const char *content_type, uint64_t bytes, uint64_t ttl_ms,
                              struct rd_upload *ret,
                              char ret_token[RD_UPLOAD_TOKEN_LEN + 1]) RD_MUST;
/* Claims a ticket for one PUT: NOT_FOUND (unknown, or expired for over a day), GONE (used, expired,
 * or being used). A claim that is given up with rd_store_upload_release can be claimed again;
 * claims do not survive a restart. Only a claimed ticket can be finished (else CONFLICT); finishing
 * ends the claim, releasing it afterwards does nothing. */
rd_err rd_store_upload_claim(struct rd_store *store, const char *token, size_t len,
                             struct rd_upload *ret) RD_MUST;
void rd_store_upload_release(struct rd_store *store, const char *id);
rd_err rd_store_upload_finish(struct rd_store *store, const char *id,
                              const uint8_t blake3[RD_HASH_LEN]) RD_MUST;
/* The content behind an alias; NOT_FOUND until it is uploaded. */
rd_err rd_store_upload_resolve(struct rd_store *store, const char *id,
                               struct rd_upload *ret) RD_MUST;

/* Answers kept for an Idempotency-Key: a request that makes something is done once, however often
 * it is sent. (Jobs do not need it: jobs.h finds the job that has the key.) One who has begun ends
 * with keep, if it went well, and with release in any case. */
enum { RD_IDEMPOTENCY_KEY_MAX = 64, RD_REPLAY_ANSWER_MAX = 8192 };
struct rd_replay_ask {
    uint64_t owner;
    const char *key;                /* 1 to RD_IDEMPOTENCY_KEY_MAX characters */
    uint8_t body_hash[RD_HASH_LEN]; /* of all that makes it the same request */
};
struct rd_replay {
    int status; /* 0: there is no answer yet, do it */
    size_t len;
    char answer[RD_REPLAY_ANSWER_MAX];
};
/* IDEMPOTENCY: the key stands for another request. CONFLICT: it is being answered now. CORRUPT: the
 * row was altered. Only RD_OK with status 0 has begun. */
rd_err rd_store_replay_begin(struct rd_store *store, const struct rd_replay_ask *ask,
                             struct rd_replay *ret) RD_MUST;
/* RD_OK: the answer (2xx) is durable and may be sent. Until the sweep of jobs.h forgets it. */
rd_err rd_store_replay_keep(struct rd_store *store, const struct rd_replay_ask *ask, int status,
                            const void *answer, size_t len) RD_MUST;
void rd_store_replay_release(struct rd_store *store, const struct rd_replay_ask *ask);

#endif
