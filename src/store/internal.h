/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of store/ share. Not for other folders.
 *
 * Locks, in the order in which they are taken. None is held while a caller's code runs, but the
 * reader's while it is handed rows of jobs.h, whose texts would have to be copied otherwise: that
 * code must not call the store.
 *   uploads.lock   the set of claimed tickets; held across one SELECT, so that "not done yet" and
 *                  "nobody uploads it now" are one question
 *   replays.lock   the set of requests with an Idempotency-Key that are being answered
 *   writer.lock    a change on disk
 *   reader.lock    a look-up on disk
 *   keys.lock      the keys in memory; rdlock for each request's check, wrlock for a few stores
 * only flush_lock     the last-used writer's flags */
#ifndef RD_STORE_INTERNAL_H
#define RD_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <sodium.h>

#include "base/buf.h"
#include "store/db.h"
#include "store/jobs.h"
#include "store/store.h"

enum {
    RD_STORE_KEYS_MAX = 100000,        /* all are in memory: 35 MB */
    RD_STORE_REPLAYS_OPEN_MAX = 256,   /* more than the pool's threads, which alone answer them */
    RD_STORE_CLAIMS_MAX = 16384,       /* RD_LIMIT_CONNECTIONS: each is a PUT in progress */
    RD_STORE_UPLOADS_OPEN_MAX = 10000, /* unused tickets a tenant: a loop must not fill the disk */
    RD_STORE_TICKET_TTL_MS_MAX = 86400000,
    RD_STORE_SWEEP_MAX = 64,            /* expired tickets deleted with each new one */
    RD_STORE_TICKET_KEEP_MS = 86400000, /* so long after its end a ticket still answers GONE */
    RD_STORE_USED_EVERY_MS = 60000,     /* last_used is written at most so often a key */
    RD_STORE_SEAL_LEN = 32,
    RD_STORE_REQUEST_ID_MAX = 128, /* "req_..." is 26 */
    RD_STORE_BACKEND_MAX = 128,
    RD_STORE_EXPORT_ROWS = 64, /* read at once: others wait for the reader only so long */
    RD_STORE_SECRET_BESIDE_MS = 86400000, /* so long a replaced webhook secret still signs */
};

struct rd_store_key_entry {
    struct rd_key
        key; /* revoked_ms changes under the wrlock; last_used_ms is not used: see below */
    uint8_t hash[RD_HASH_LEN];
    _Atomic uint64_t last_used_ms;    /* changes under the rdlock */
    _Atomic uint64_t last_written_ms; /* what the database has */
};

struct rd_store_keys {
    pthread_rwlock_t lock;
    struct rd_store_key_entry **entries; /* owned, oldest first */
    size_t count, room;
    uint32_t *slots; /* open addressing by the hash's first bytes: index in entries + 1, 0 empty */
    size_t slot_count; /* power of two, at least twice `room` */
};

struct rd_store_claims {
    pthread_mutex_t lock;
    char (*ids)[RD_ID_MAX];
    size_t count, room;
};

/* The requests with an Idempotency-Key that are being answered. */
struct rd_store_replaying {
    uint64_t owner;
    char key[RD_IDEMPOTENCY_KEY_MAX + 1];
};
struct rd_store_replays {
    pthread_mutex_t lock;
    struct rd_store_replaying open[RD_STORE_REPLAYS_OPEN_MAX];
    size_t count;
};

struct rd_store {
    int lock_fd;
    uint64_t (*now_ms)(void); /* rd_clock_wall_ms; tests put their own */
    /* HMAC-SHA-256 with the pepper already taken in: half of the work of each check is done. */
    crypto_auth_hmacsha256_state hmac;
    uint8_t seal_key[RD_HASH_LEN];
    uint8_t pepper_check[RD_HASH_LEN];
    struct rd_store_db writer, reader;
    struct rd_store_keys keys;
    struct rd_store_claims uploads;
    struct rd_store_replays replays;

    pthread_t flusher;
    pthread_mutex_t flush_lock;
    pthread_cond_t flush_wake;
    bool flush_wanted, flush_stop; /* under flush_lock */
};

/* store.c: "DIR/name" in `ret`, which the caller releases. */
rd_err rd_store_path(const char *dir, const char *name, struct rd_buf *ret,
                     struct rd_why *why) RD_MUST;

/* pepper.c: reads DIR/pepper, or makes it for a store that holds nothing yet, and derives the keys.
 */
rd_err rd_store_pepper_load(struct rd_store *store, const char *dir, struct rd_why *why) RD_MUST;
void rd_store_key_hash(const struct rd_store *store, const char *text, size_t len,
                       uint8_t ret[RD_HASH_LEN]);

/* seal.c: a keyed BLAKE3 over what a row says, so that a row that was altered (by a failing disk or
 * by hand) is noticed before it grants anything. */
void rd_store_seal_key(const struct rd_store *store, const struct rd_key *key,
                       const uint8_t hash[RD_HASH_LEN], uint8_t ret[RD_STORE_SEAL_LEN]);
void rd_store_seal_upload(const struct rd_store *store, const struct rd_upload *upload,
                          const uint8_t token_hash[RD_HASH_LEN], uint8_t ret[RD_STORE_SEAL_LEN]);

/* What never changes about a job, with its request. */
void rd_store_seal_job(const struct rd_store *store, const struct rd_job_row *row,
                       uint8_t ret[RD_STORE_SEAL_LEN]);

/* key_text.c */
uint32_t rd_store_crc32(const void *data, size_t len);
void rd_store_key_text_new(char ret[RD_KEY_TEXT_LEN + 1]);
bool rd_store_key_text_valid(const char *text, size_t len);

/* keys.c */
rd_err rd_store_keys_load(struct rd_store *store, struct rd_why *why) RD_MUST;
void rd_store_keys_done(struct rd_store *store);
/* Writes last_used of every key where memory is ahead of the database. */
rd_err rd_store_keys_flush(struct rd_store *store) RD_MUST;
void rd_store_flush_soon(struct rd_store *store); /* store.c: wakes the thread that calls it */

/* outbox.c: parts of rd_store_jobs_apply's transaction. */
rd_err rd_store_message_add(struct rd_store *store, const struct rd_job_write *write) RD_MUST;
rd_err rd_store_delivery_put(struct rd_store *store, const struct rd_job_write *write,
                             rd_err *ret) RD_MUST;

/* job_read.c: where a list goes on: before the returned n. "" is the newest. On the reader, under
 * its lock. */
rd_err rd_store_list_place(struct rd_store *store, enum rd_store_sql sql, const char *after,
                           uint64_t *ret) RD_MUST;

/* uploads.c */
void rd_store_uploads_done(struct rd_store *store);

#endif
