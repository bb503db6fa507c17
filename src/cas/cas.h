/* SPDX-License-Identifier: Apache-2.0
 *
 * The content-addressed store on local disk, log-structured (as Haystack and Bitcask are). Objects
 * are named by the BLAKE3 of their bytes, belong to one or more owners, carry a content type and a
 * small `meta` (for generated outputs: the statement to be signed), and may get one `note` (the
 * signature).
 *
 * Thread-safe throughout. One committer thread makes batches durable: one fdatasync covers many.
 * The layout on disk and the crash argument stand at the top of pack.c.
 *
 * Writing: begin -> data... -> seal (gives the hash) -> commit (calls back when the object counts)
 * or abort at any time before commit. Nothing is visible to readers before commit's callback.
 *
 * Durability: STRICT calls back after fdatasync of the object and its note; RELAXED calls back
 * when the bytes are with the kernel, syncs within rd_cas_config.relaxed_ms, and only then asks
 * for notes. A failed fdatasync is final: the store refuses all further writes (STORAGE) and says
 * so through rd_cas_healthy(); reads go on. */
#ifndef RD_CAS_CAS_H
#define RD_CAS_CAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"

struct rd_cas;
struct rd_cas_writer;

enum rd_cas_durability { RD_CAS_STRICT, RD_CAS_RELAXED };

enum { RD_CAS_META_MAX = 65536, RD_CAS_NOTE_MAX = 512, RD_CAS_TYPE_MAX = 63 };

/* An object that asked for a note. The annotator fills note and note_len. */
struct rd_cas_note_request {
    const struct rd_hash *hash;
    const void *meta;
    size_t meta_len;
    uint8_t note[RD_CAS_NOTE_MAX];
    size_t note_len;
};

struct rd_cas_config {
    const char *dir; /* created when missing (its parent must exist) */
    enum rd_cas_durability durability;
    unsigned relaxed_ms;     /* RELAXED: longest time until a sync; default 500 */
    uint64_t pack_bytes;     /* size of a preallocated segment; default 256 MiB */
    uint64_t own_file_bytes; /* objects above this size get a file of their own; default 16 MiB */
    uint64_t min_free_bytes; /* refuse new objects (DISK_FULL) below this much free disk */
    /* Called on the committer thread with a batch of objects whose commit asked for a note; NULL
     * when nothing ever asks. An error leaves the objects without one: strict commits fail with it.
     */
    rd_err (*annotate)(void *ctx, struct rd_cas_note_request *requests, size_t count);
    void *annotate_ctx;
};

/* Opens (recovering after a crash: torn tails are cut, objects that wait for a note are asked
 * again) or creates. CORRUPT with the file and offset when what was durable does not check;
 * CONFLICT when another process has it open; CONFIG for settings out of bounds. On a full disk it
 * opens all the same, to be read and deleted from. */
rd_err rd_cas_open(const struct rd_cas_config *config, struct rd_cas **ret,
                   struct rd_why *why) RD_MUST;
/* Commits what was handed in, syncs, frees. Writers must be finished before. */
void rd_cas_close(struct rd_cas *cas);
bool rd_cas_healthy(struct rd_cas *cas);

/* `owner` is an opaque number (the tenant); `size_hint` the expected size, 0 when unknown. */
rd_err rd_cas_begin(struct rd_cas *cas, uint64_t owner, uint64_t size_hint,
                    struct rd_cas_writer **ret) RD_MUST;
rd_err rd_cas_data(struct rd_cas_writer *writer, const void *data, size_t len) RD_MUST;
uint64_t rd_cas_written(const struct rd_cas_writer *writer); /* bytes so far */
/* No more data; `ret` gets the hashes. */
rd_err rd_cas_seal(struct rd_cas_writer *writer, struct rd_hash *ret) RD_MUST;

struct rd_cas_commit {
    const char *content_type; /* at most RD_CAS_TYPE_MAX bytes; copied */
    const void *meta;         /* copied; at most RD_CAS_META_MAX */
    size_t meta_len;
    bool want_note;
    /* Called once, from the committer thread or (RELAXED) from inside rd_cas_commit itself. */
    void (*done)(void *ctx, rd_err err);
    void *ctx;
};
/* Takes the writer over in every case. An error means done() is not called and nothing is stored
 * (CAPACITY: too many commits wait for the disk). The same bytes again: the first record stays,
 * with its type, meta and note, the owner is added, and as much is written and synced as for new
 * bytes, so that neither answer nor timing tells. One exception: bytes stored without asking for a
 * note and now made with one get the new record, or an upload could keep an output from being
 * signed. */
rd_err rd_cas_commit(struct rd_cas_writer *writer, const struct rd_cas_commit *commit) RD_MUST;
void rd_cas_abort(struct rd_cas_writer *writer); /* NULL is fine */

/* A readable object. The descriptor stays valid until released, whatever compaction does meanwhile.
 */
struct rd_cas_object {
    int fd; /* shared with others: use pread/sendfile with offsets only; dup() to keep it */
    uint64_t offset; /* of the first byte in fd */
    uint64_t size;
    uint64_t created_ms; /* Unix milliseconds */
    struct rd_hash hash;
    char content_type[RD_CAS_TYPE_MAX + 1];
    void *internal;
};
/* NOT_FOUND when no such object is visible. */
rd_err rd_cas_open_object(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN],
                          struct rd_cas_object *ret) RD_MUST;
void rd_cas_release_object(struct rd_cas_object *object);
/* Reads everything and compares with the name: CORRUPT when it differs. Serving paths call it once
 * per object and process (the store remembers). */
rd_err rd_cas_verify_object(struct rd_cas *cas, struct rd_cas_object *object) RD_MUST;
bool rd_cas_owned_by(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN], uint64_t owner);
/* The meta and the note of an object; free both with rd_mem_free. *ret_note is NULL and its length
 * 0 while there is none yet. NOT_FOUND without the object. */
struct rd_cas_meta {
    char *meta;
    size_t meta_len;
    char *note;
    size_t note_len;
};
rd_err rd_cas_read_meta(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN],
                        struct rd_cas_meta *ret) RD_MUST;

/* Removes `owner` from the object, durably; with its last owner the object is gone for readers and
 * its space is given back by compaction. NOT_FOUND when the owner has no such object. */
rd_err rd_cas_delete(struct rd_cas *cas, const uint8_t blake3[RD_HASH_LEN], uint64_t owner) RD_MUST;
/* Removes every object created before `before_ms`, for all owners; the count goes to ret_count. */
rd_err rd_cas_expire(struct rd_cas *cas, uint64_t before_ms, uint64_t *ret_count) RD_MUST;
/* Rewrites packs of which more than `dead_percent` is garbage. Readers are never blocked. CORRUPT
 * when a pack has a record that does not check: that pack is left as it is, the others are done. */
rd_err rd_cas_compact(struct rd_cas *cas, unsigned dead_percent, uint64_t *ret_freed) RD_MUST;

struct rd_cas_scrub {
    uint64_t objects, bytes, bad;
    void (*on_bad)(void *ctx, const char *where, const uint8_t blake3[RD_HASH_LEN]);
    void *ctx;
};
/* Reads and checks every object. RD_OK when all were read, with the bad ones counted and reported.
 */
rd_err rd_cas_scrub(struct rd_cas *cas, struct rd_cas_scrub *scrub) RD_MUST;

struct rd_cas_stats {
    uint64_t objects, bytes, dead_bytes, packs, syncs, commits, unnoted;
};
void rd_cas_stats(struct rd_cas *cas, struct rd_cas_stats *ret);

#endif
