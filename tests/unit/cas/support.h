/* SPDX-License-Identifier: Apache-2.0
 *
 * What the store's tests share: a folder that goes away, objects made from a number, and commits
 * that wait for their callback. Header only; every test program includes it once. */
#ifndef RD_TESTS_CAS_SUPPORT_H
#define RD_TESTS_CAS_SUPPORT_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cas/cas.h"
#include "cas/internal.h"
#include "cas/io.h"

#define HELPER __attribute__((unused)) static

struct place {
    char root[256];
    char dir[300]; /* the store's */
};

/* Tests that sync a thousand times define PLACE_IN_MEMORY: then a RAM disk is taken where there is
 * one. The others run on whatever disk holds TMPDIR. */
#ifdef PLACE_IN_MEMORY
enum { IN_MEMORY = 1 };
#else
enum { IN_MEMORY = 0 };
#endif

HELPER void place_make(struct place *place)
{
    const char *tmp = getenv("TMPDIR");
    tmp = tmp == NULL ? "/tmp" : tmp;
    if (IN_MEMORY && access("/dev/shm", W_OK | X_OK) == 0) {
        tmp = "/dev/shm";
    }
    (void)snprintf(place->root, sizeof place->root, "%s/rd-cas-XXXXXX", tmp);
    assert_non_null(mkdtemp(place->root));
    (void)snprintf(place->dir, sizeof place->dir, "%s/cas", place->root);
}

HELPER int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

HELPER void place_remove(struct place *place)
{
    (void)nftw(place->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

HELPER void copy_file(const char *from, const char *into)
{
    char step[65536];
    struct stat info;
    int in = open(from, O_RDONLY);
    if (in < 0) {
        return; /* a hint file on its way to its name */
    }
    int out = open(into, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(out >= 0);
    assert_int_equal(fstat(in, &info), 0);
    assert_int_equal(ftruncate(out, info.st_size), 0);
    /* Holes stay holes: a preallocated pack is mostly one. */
    for (off_t at = lseek(in, 0, SEEK_DATA); at >= 0 && at < info.st_size;) {
        ssize_t got = pread(in, step, sizeof step, at);
        assert_true(got > 0);
        assert_int_equal(pwrite(out, step, (size_t)got, at), got);
        at = lseek(in, at + got, SEEK_DATA);
    }
    close(in);
    close(out);
}

HELPER void copy_folder(const char *from, const char *into)
{
    DIR *dir = opendir(from);
    assert_non_null(dir);
    assert_true(mkdir(into, 0700) == 0);
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        char a[600], b[600];
        struct stat info;
        if (entry->d_name[0] == '.') {
            continue;
        }
        (void)snprintf(a, sizeof a, "%s/%s", from, entry->d_name);
        (void)snprintf(b, sizeof b, "%s/%s", into, entry->d_name);
        if (lstat(a, &info) != 0) {
            continue; /* a hint file on its way to its name */
        }
        if (S_ISDIR(info.st_mode)) {
            copy_folder(a, b);
        } else {
            copy_file(a, b);
        }
    }
    closedir(dir);
}

HELPER void remove_folder(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A copy of the store as it stands on disk now, at `into`: what a crash would leave, at best. */
HELPER void place_copy(const struct place *place, struct place *into)
{
    place_make(into);
    copy_folder(place->dir, into->dir);
}

HELPER struct rd_cas_config small_config(const struct place *place)
{
    return (struct rd_cas_config){
        .dir = place->dir, .pack_bytes = 4 << 20, .own_file_bytes = 1 << 20, .relaxed_ms = 20};
}

HELPER struct rd_cas *must_open(const struct rd_cas_config *config)
{
    struct rd_cas *cas = NULL;
    struct rd_why why = {"-"};
    rd_err err = rd_cas_open(config, &cas, &why);
    if (err != RD_OK) {
        fail_msg("open: %s: %s", rd_err_info(err)->code, why.text);
    }
    return cas;
}

/* The bytes of object `n` with `len` bytes; the same for the same arguments. */
HELPER char *make_bytes(uint64_t n, size_t len)
{
    char *bytes = rd_mem_alloc(len + 1);
    assert_non_null(bytes);
    uint64_t x = n * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < len; i += sizeof x) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(bytes + i, &x, len - i < sizeof x ? len - i : sizeof x);
    }
    return bytes;
}

struct done {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int calls;
    rd_err err;
};
#define DONE_INIT                                                                                  \
    {                                                                                              \
        .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER                        \
    }

HELPER void on_done(void *ctx, rd_err err)
{
    struct done *done = ctx;
    pthread_mutex_lock(&done->lock);
    done->calls++;
    done->err = err;
    pthread_cond_signal(&done->cond);
    pthread_mutex_unlock(&done->lock);
}

HELPER rd_err wait_done(struct done *done)
{
    pthread_mutex_lock(&done->lock);
    while (done->calls == 0) {
        pthread_cond_wait(&done->cond, &done->lock);
    }
    rd_err err = done->err;
    pthread_mutex_unlock(&done->lock);
    return err;
}

struct put {
    uint64_t owner;
    const void *data;
    size_t len, hint, step;
    const char *type;
    const void *meta;
    size_t meta_len;
    bool want_note;
};

/* The whole way; the first error of any step. */
HELPER rd_err put_object(struct rd_cas *cas, const struct put *put, struct rd_hash *ret)
{
    struct rd_cas_writer *writer;
    struct done done = DONE_INIT;
    struct rd_cas_commit commit = {.content_type = put->type,
                                   .meta = put->meta,
                                   .meta_len = put->meta_len,
                                   .want_note = put->want_note,
                                   .done = on_done,
                                   .ctx = &done};
    RD_TRY(rd_cas_begin(cas, put->owner, put->hint, &writer));
    size_t step = put->step == 0 ? put->len : put->step;
    rd_err err = RD_OK;
    for (size_t at = 0; at < put->len && err == RD_OK; at += step) {
        size_t part = put->len - at < step ? put->len - at : step;
        err = rd_cas_data(writer, (const char *)put->data + at, part);
    }
    if (err == RD_OK) {
        err = rd_cas_seal(writer, ret);
    }
    if (err != RD_OK) {
        rd_cas_abort(writer);
        return err;
    }
    RD_TRY(rd_cas_commit(writer, &commit));
    return wait_done(&done);
}

/* Object `n` of `len` bytes for `owner`, announced; must succeed. */
HELPER struct rd_hash put_n(struct rd_cas *cas, uint64_t owner, uint64_t n, size_t len)
{
    struct rd_hash hash;
    char *bytes = make_bytes(n, len);
    struct put put = {
        .owner = owner, .data = bytes, .len = len, .hint = len, .type = "application/octet-stream"};
    assert_int_equal(put_object(cas, &put, &hash), RD_OK);
    rd_mem_free(bytes);
    return hash;
}

/* Whether the object is there and its bytes are these. */
HELPER bool has_bytes(struct rd_cas *cas, const struct rd_hash *hash, const void *data, size_t len)
{
    struct rd_cas_object object;
    if (rd_cas_open_object(cas, hash->blake3, &object) != RD_OK) {
        return false;
    }
    char *got = rd_mem_alloc(len + 1);
    bool same = object.size == len &&
                rd_fs_pread_all(object.fd, got, len, (off_t)object.offset) == RD_OK &&
                memcmp(got, data, len) == 0 && rd_cas_verify_object(cas, &object) == RD_OK;
    rd_cas_release_object(&object);
    rd_mem_free(got);
    return same;
}

HELPER bool has_n(struct rd_cas *cas, uint64_t n, size_t len)
{
    struct rd_hash hash;
    char *bytes = make_bytes(n, len);
    rd_hash_blake3(bytes, len, hash.blake3);
    bool has = has_bytes(cas, &hash, bytes, len);
    rd_mem_free(bytes);
    return has;
}

HELPER struct rd_cas_stats stats_of(struct rd_cas *cas)
{
    struct rd_cas_stats stats;
    rd_cas_stats(cas, &stats);
    return stats;
}

HELPER void print_bad(void *ctx, const char *where, const uint8_t blake3[RD_HASH_LEN])
{
    (void)ctx;
    print_message("# bad: %s (%02x%02x...)\n", where, blake3[0], blake3[1]);
}

HELPER uint64_t scrub_bad(struct rd_cas *cas)
{
    struct rd_cas_scrub scrub = {.on_bad = print_bad};
    assert_int_equal(rd_cas_scrub(cas, &scrub), RD_OK);
    return scrub.bad;
}

/* An annotator: the note is "note:" and the BLAKE3 of the meta. Fails with `fail` when set. */
struct notary {
    pthread_mutex_t lock;
    rd_err fail;
    size_t calls, notes;
};
HELPER rd_err annotate(void *ctx, struct rd_cas_note_request *requests, size_t count)
{
    struct notary *notary = ctx;
    pthread_mutex_lock(&notary->lock);
    rd_err err = notary->fail;
    notary->calls++;
    notary->notes += err == RD_OK ? count : 0;
    pthread_mutex_unlock(&notary->lock);
    for (size_t i = 0; i < count && err == RD_OK; i++) {
        memcpy(requests[i].note, "note:", 5);
        rd_hash_blake3(requests[i].meta, requests[i].meta_len, requests[i].note + 5);
        requests[i].note_len = 5 + RD_HASH_LEN;
    }
    return err;
}

HELPER bool is_noted(struct rd_cas *cas, const struct rd_hash *hash, const void *meta, size_t len)
{
    struct rd_cas_meta got = {0};
    uint8_t want[5 + RD_HASH_LEN] = "note:";
    if (rd_cas_read_meta(cas, hash->blake3, &got) != RD_OK) {
        return false;
    }
    rd_hash_blake3(meta, len, want + 5);
    bool same = got.meta_len == len && memcmp(got.meta, meta, len) == 0 &&
                got.note_len == sizeof want && memcmp(got.note, want, sizeof want) == 0;
    rd_mem_free(got.meta);
    rd_mem_free(got.note);
    return same;
}

#endif
