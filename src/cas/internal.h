/* SPDX-License-Identifier: Apache-2.0
 *
 * What the store's source files share. Nothing outside src/cas (and its tests) includes this.
 *
 * Threads: callers; the committer (commit.c), which makes batches durable; the keeper (keeper.c),
 * which makes packs ahead of need and writes the hint files of full ones.
 *
 * Locks, taken in this order, none held while a callback runs:
 *   maintain  one compaction at a time; held for long
 *   log       the order of the log: places, numbers (seq), what is dirty. Held for one write.
 *   queue     the committer's queue
 *   map       the index and the table of packs. Held for memory accesses only, so a reader never
 *             waits for a disk.
 * Rule: the number of a record and its effect on the index happen under one hold of `log`. So
 * memory always equals what replaying the log up to that number would give (but for `durable`
 * marks). */
#ifndef RD_CAS_INTERNAL_H
#define RD_CAS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "cas/cas.h"
#include "cas/index.h"
#include "cas/pack.h"

enum {
    RD_CAS_BUFFER = 262144,   /* bytes that a writer holds in memory at most */
    RD_CAS_META_ROOM = 16384, /* kept free for the meta behind a payload that streams in */
    RD_CAS_BATCH_MAX = 256,   /* commits in one batch: bounds one call to annotate() */
    RD_CAS_PACKS_MAX = 65536, /* 16 TiB at the default size; then DISK_FULL */
    RD_CAS_POOL_MAX = 24,     /* idle writers that keep their buffer: 6 MiB */
    RD_CAS_PATH_MAX = 4096,
    RD_CAS_UNLINKS_MAX = 4096, /* pairs in one UNLINK job; 48 bytes each, below EVENTS_MAX */
    RD_CAS_PACK_BYTES_MIN = 1 << 20,
    RD_CAS_QUEUE_MAX = 65536, /* commits that wait for a sync; then CAPACITY */
};

/* A descriptor that several users share; closed by the last. First member of what embeds it. */
struct rd_cas_handle {
    atomic_uint refs;
    int fd;
};
void rd_cas_handle_ref(struct rd_cas_handle *handle);
void rd_cas_handle_unref(struct rd_cas_handle *handle); /* frees the memory too */

struct rd_cas_pack {
    struct rd_cas_handle handle; /* one reference is the pack table's */
    struct rd_cas_pack_head head;
    uint64_t size; /* of the file */
    /* under the log lock */
    uint64_t tail;         /* where the next record goes */
    uint64_t last_seq;     /* highest number in the pack */
    unsigned open_regions; /* being filled by writers */
    bool dirty;            /* has headers that no sync has covered; then in the dirty list */
    struct rd_cas_pack *dirty_next, *sync_next; /* the second is the committer's */
    bool sealed;                                /* END is written: no new records */
    bool hinted; /* its hint file is written and the file cut to its tail */
    bool stuck;  /* its hint could not be written: it stays as it is until the next start */
    /* under the map lock */
    uint64_t live; /* bytes of records that the index points to */
    uint64_t kept; /* bytes of EVENTS records: neither live nor garbage */
};

/* One fact from the log, as replay and hint files see it. */
struct rd_cas_item {
    uint8_t kind;  /* OBJECT, DUP, LARGE, EVENTS (then `event` says which) */
    uint8_t event; /* enum rd_cas_event_type or 0 */
    bool want_note;
    uint32_t pack;
    uint32_t place; /* order among the items of one seq */
    uint32_t note_len;
    uint64_t offset, capacity; /* of the record; for a note offset is the note's */
    uint64_t seq;
    uint64_t size;
    uint64_t owner;
    uint64_t created_ms;
    uint64_t large_id;
    uint8_t blake3[RD_HASH_LEN];
};

/* (object, owner), for UNLINK. */
struct rd_cas_pair {
    uint8_t blake3[RD_HASH_LEN];
    uint64_t owner;
    uint64_t only_seq; /* 0: any; else only the link whose latest event has this number */
    bool found;        /* out: it was linked, and is no more */
};

enum rd_cas_job_kind { RD_CAS_JOB_OBJECT, RD_CAS_JOB_UNLINK, RD_CAS_JOB_SYNC, RD_CAS_JOB_NOTE };

/* Work for the committer. Owned by the queue, freed after done(), unless `waited` (then the
 * waiter's). */
struct rd_cas_job {
    struct rd_cas_job *next;
    enum rd_cas_job_kind kind;
    bool waited;
    struct rd_cas_item item; /* OBJECT: the record as appended */
    bool fresh;              /* OBJECT: its owner had no link before */
    bool acked;              /* OBJECT: RELAXED has called done() already */
    bool want_note;          /* OBJECT: as the caller said */
    char *meta;              /* owned */
    size_t meta_len;
    struct rd_cas_pair *pairs; /* UNLINK: the waiter's */
    size_t pair_count;
    struct rd_hash hash;
    struct rd_cas_item note; /* the note's event, when seq is not 0 */
    void (*done)(void *ctx, rd_err err);
    void *ctx;
    rd_err err;
};

/* A large file whose bytes no sync has covered. */
struct rd_cas_large {
    struct rd_cas_large *next;
    int fd; /* owned */
};

struct rd_cas {
    char dir[RD_CAS_PATH_MAX - 64]; /* room for the names below it */
    int lock_fd, large_dir_fd;
    struct rd_cas_config config;
    atomic_bool failed; /* a write or sync failed: read-only from here on */

    pthread_mutex_t maintain;

    pthread_mutex_t log;
    struct rd_cas_pack *active, *spare; /* also in the pack table */
    uint64_t seq;                       /* last number given */
    uint64_t synced;                    /* durable up to this number */
    uint32_t next_number;
    struct rd_cas_pack *dirty;        /* list of packs */
    struct rd_cas_large *large_dirty; /* list; large/ itself must be synced when there is any */
    bool spare_asked;                 /* the keeper knows */
    bool unhinted;                    /* there are sealed packs without hint */

    pthread_mutex_t queue;
    pthread_cond_t queue_cond, keeper_cond;
    struct rd_cas_job *first, **last;
    atomic_size_t queued;
    bool urgent, stopping, keeper_stopping, keeper_work;
    uint64_t due_ns; /* RELAXED: when the next sync must start; 0 none */
    pthread_t committer, keeper;
    bool committer_runs, keeper_runs;

    pthread_mutex_t map;
    struct rd_cas_index *index;
    struct rd_cas_pack **packs; /* by number, ascending */
    size_t pack_count, pack_cap;
    uint64_t *doomed_large; /* files to remove once durable */
    size_t doomed_count, doomed_cap;
    uint64_t bytes, unnoted;

    pthread_mutex_t pool_lock;
    struct rd_cas_writer *pool;
    size_t pool_count;

    struct rd_cas_note_request *requests; /* the committer's, BATCH_MAX */
    atomic_uint_fast64_t syncs, commits;
};

/* writer.c */
void rd_cas_writer_drain_pool(struct rd_cas *cas);

/* cas.c: paths. `out` has RD_CAS_PATH_MAX bytes. */
void rd_cas_path_pack(const struct rd_cas *cas, uint32_t number, const char *suffix, char *out);
void rd_cas_path_large(const struct rd_cas *cas, uint64_t id, char *out);
void rd_cas_path_tmp(const struct rd_cas *cas, uint64_t id, char *out);
/* The store refuses writes from now on; returns STORAGE. */
rd_err rd_cas_fail(struct rd_cas *cas);
/* Frees everything; threads must be gone. */
void rd_cas_free(struct rd_cas *cas);

/* state.c: what the log means. The map lock must be held. */
struct rd_cas_pack *rd_cas_state_pack(struct rd_cas *cas, uint32_t number); /* NULL: no such pack */
rd_err rd_cas_state_add_pack(struct rd_cas *cas, struct rd_cas_pack *pack) RD_MUST;
void rd_cas_state_drop_pack(struct rd_cas *cas, struct rd_cas_pack *pack);
/* Makes sure that the next link to this object cannot fail. *ret_dup: a record of it stands
 * already, and another that wants a note or not (`want_note`) adds nothing to it. */
rd_err rd_cas_state_reserve(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN], bool want_note,
                            bool *ret_dup) RD_MUST;
/* OBJECT, LARGE, DUP, LINK. ret_fresh: the owner had no link before. */
rd_err rd_cas_state_link(struct rd_cas *cas, const struct rd_cas_item *item, bool durable,
                         bool *ret_fresh) RD_MUST;
/* The record of `item` has become durable. */
void rd_cas_state_publish(struct rd_cas *cas, const struct rd_cas_item *item);
/* Whether an UNLINK of the pair has something to do. */
bool rd_cas_state_linked(struct rd_cas *cas, const struct rd_cas_pair *pair);
/* False when there was no such link. */
bool rd_cas_state_unlink(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN], uint64_t owner);
void rd_cas_state_note(struct rd_cas *cas, const struct rd_cas_item *note);
/* The record of `item`, a copy, becomes the object's place. */
void rd_cas_state_move(struct rd_cas *cas, struct rd_cas_entry *entry,
                       const struct rd_cas_item *item);
/* Applies any item of the log, for recovery. */
rd_err rd_cas_state_replay(struct rd_cas *cas, const struct rd_cas_item *item) RD_MUST;

/* log.c: the tail of the log. All but make_pack and locate need the log lock. */
struct rd_cas_place {
    struct rd_cas_pack *pack;
    uint64_t offset, capacity;
};
rd_err rd_cas_log_make_pack(struct rd_cas *cas, uint32_t number, uint64_t base_seq,
                            struct rd_cas_pack **ret) RD_MUST;
/* Room for `capacity` bytes at the tail; nothing is taken until rd_cas_log_append. */
rd_err rd_cas_log_room(struct rd_cas *cas, uint64_t capacity, struct rd_cas_place *ret) RD_MUST;
/* Gives `head` its place and number, writes it with the parts behind it, and moves the tail. At
 * most RD_CAS_LOG_PARTS parts. An error that leaves the log in doubt is final for the store. */
enum { RD_CAS_LOG_PARTS = 2 };
struct rd_cas_part {
    const void *data;
    size_t len;
};

rd_err rd_cas_log_append(struct rd_cas *cas, const struct rd_cas_place *place,
                         struct rd_cas_head *head, const struct rd_cas_part *parts,
                         size_t count) RD_MUST;
/* Takes a region to be filled, with room for payload and meta: writes its OPEN header. Takes the
 * log lock itself. */
rd_err rd_cas_log_open_region(struct rd_cas *cas, uint64_t room, struct rd_cas_place *ret) RD_MUST;
/* Gives up a region; takes the log lock itself. */
void rd_cas_log_drop_region(struct rd_cas *cas, const struct rd_cas_place *place);
/* Writes the final header of a filled region, whose payload and meta are already written. */
rd_err rd_cas_log_finish_region(struct rd_cas *cas, const struct rd_cas_place *place,
                                struct rd_cas_head *head) RD_MUST;
/* Appends events as one record; *ret_at is where the payload lies. */
rd_err rd_cas_log_events(struct rd_cas *cas, const struct rd_buf *events,
                         struct rd_cas_item *ret) RD_MUST;
/* Closes the active pack, so that it can be compacted. */
rd_err rd_cas_log_roll(struct rd_cas *cas) RD_MUST;

/* commit.c */
void *rd_cas_committer(void *cas);
struct rd_cas_job *rd_cas_job_new(enum rd_cas_job_kind kind);
void rd_cas_job_free(struct rd_cas_job *job);
void rd_cas_queue_push(struct rd_cas *cas, struct rd_cas_job *job, bool urgent);
/* Has the committer do `job` (UNLINK or SYNC) and waits until it is durable. */
rd_err rd_cas_queue_wait(struct rd_cas *cas, struct rd_cas_job *job) RD_MUST;
/* Makes all durable that was appended before the call. The committer's (and recovery's) only. */
rd_err rd_cas_sync_all(struct rd_cas *cas) RD_MUST;

/* keeper.c */
void *rd_cas_keeper(void *cas);
void rd_cas_keeper_wake(struct rd_cas *cas);

/* hint.c: all items of a pack, from its hint file or by walking. */
struct rd_cas_items {
    struct rd_cas_item *items; /* owned */
    size_t count, cap;
    uint64_t end;            /* where walking stopped, or the hint's claim */
    uint64_t synced;         /* highest `synced` met */
    uint64_t last_seq;       /* highest number met */
    uint64_t first_seq;      /* lowest first-header number; 0: no record */
    uint64_t last_first_seq; /* highest first-header number */
    uint64_t kept;           /* bytes of EVENTS records */
    bool ended;              /* an END record was met */
    bool trusted;            /* every record is known to be whole (a hint of a sealed pack) */
};
void rd_cas_items_done(struct rd_cas_items *items);
/* Walks the file of `pack` over [from, limit) and adds what is found, without judging it: an EVENTS
 * record whose payload does not check becomes one item with event 0. */
rd_err rd_cas_items_walk(const struct rd_cas_pack *pack, uint64_t from, uint64_t limit,
                         struct rd_cas_items *items) RD_MUST;
rd_err rd_cas_items_add(struct rd_cas_items *items, const struct rd_cas_item *item) RD_MUST;
/* Writes the hint file of a pack. */
rd_err rd_cas_hint_write(const struct rd_cas *cas, const struct rd_cas_pack *pack,
                         const struct rd_cas_items *items, struct rd_why *why) RD_MUST;
/* NOT_FOUND when there is none or it does not check: walk then. */
rd_err rd_cas_hint_read(const struct rd_cas *cas, const struct rd_cas_pack *pack,
                        struct rd_cas_items *items) RD_MUST;

/* recover.c: fills the tables of a store whose directory is locked. */
rd_err rd_cas_recover(struct rd_cas *cas, struct rd_why *why) RD_MUST;

/* read.c */
struct rd_cas_view {
    struct rd_cas_handle *handle; /* of the pack, referenced */
    uint8_t secret[RD_CAS_SECRET_LEN];
    uint64_t file_size, offset;
    uint64_t note_at;
    uint32_t pack, note_pack;
    uint16_t note_len;
    struct rd_cas_handle *note_handle; /* referenced; NULL without a note */
    bool verified;
};
/* Finds a visible object (with *ret_head, checked). */
rd_err rd_cas_view_open(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN],
                        struct rd_cas_view *ret, struct rd_cas_head *ret_head) RD_MUST;
void rd_cas_view_done(struct rd_cas_view *view);
/* Hashes `len` bytes of `fd` and compares: CORRUPT when they differ. */
rd_err rd_cas_check_bytes(int fd, uint64_t offset, uint64_t len,
                          const struct rd_hash *hash) RD_MUST;
/* Appends the meta of a record; CORRUPT when it does not check. */
rd_err rd_cas_read_record_meta(int fd, const struct rd_cas_head *head, struct rd_buf *out) RD_MUST;

#endif
