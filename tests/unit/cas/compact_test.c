/* SPDX-License-Identifier: Apache-2.0
 *
 * Deletion and compaction: space comes back, what lives stays reachable (also for those who read
 * while it moves, and after restarts with and without hint files), what was deleted stays deleted
 * although its records may lie in packs that were not touched. */
#define PLACE_IN_MEMORY
#include "support.h"

static void drop_hints(const struct place *place)
{
    for (unsigned i = 0; i < 100; i++) {
        char path[400];
        (void)snprintf(path, sizeof path, "%s/packs/%08u.idx", place->dir, i);
        (void)unlink(path);
    }
}

static uint64_t disk_bytes(const struct place *place)
{
    char path[1000];
    uint64_t sum = 0;
    (void)snprintf(path, sizeof path, "%s/packs", place->dir);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        struct stat info;
        (void)snprintf(path, sizeof path, "%s/packs/%s", place->dir, entry->d_name);
        if (entry->d_name[0] != '.' && stat(path, &info) == 0) {
            sum += (uint64_t)info.st_blocks * 512;
        }
    }
    closedir(dir);
    return sum;
}

enum { COUNT = 100, LEN = 60000 };

/* Small, streamed and large objects; everything has two owners. */
static void fill_for_two(struct rd_cas *cas, struct rd_hash hashes[COUNT])
{
    for (uint64_t n = 0; n < COUNT; n++) {
        size_t len = n % 10 == 0 ? 450000 : n % 10 == 5 ? 300000 : LEN; /* large, streamed, small */
        char *bytes = make_bytes(n, len);
        struct put put = {.owner = 1,
                          .data = bytes,
                          .len = len,
                          .hint = len,
                          .type = "a/b",
                          .meta = &n,
                          .meta_len = sizeof n,
                          .want_note = true};
        assert_int_equal(put_object(cas, &put, &hashes[n]), RD_OK);
        put.owner = 2;
        assert_int_equal(put_object(cas, &put, &hashes[n]), RD_OK);
        rd_mem_free(bytes);
    }
}

static void test_space_comes_back(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct notary notary = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct rd_cas_config config = small_config(&place);
    config.pack_bytes = 1 << 20;
    config.own_file_bytes = 400000;
    config.annotate = annotate;
    config.annotate_ctx = &notary;
    struct rd_cas *cas = must_open(&config);
    struct rd_hash hashes[COUNT];
    fill_for_two(cas, hashes);
    for (uint64_t n = 0; n < COUNT; n++) {
        if (n % 4 != 0) {
            assert_int_equal(rd_cas_delete(cas, hashes[n].blake3, 1), RD_OK);
        }
        if (n % 4 == 1 || n % 4 == 2) {
            assert_int_equal(rd_cas_delete(cas, hashes[n].blake3, 2), RD_OK);
        }
    }
    uint64_t before = disk_bytes(&place), dead = stats_of(cas).dead_bytes, freed = 0;
    assert_true(dead > 0);
    assert_int_equal(rd_cas_compact(cas, 10, &freed), RD_OK);
    assert_true(freed > dead / 2);
    assert_true(stats_of(cas).dead_bytes < dead / 4);
    assert_true(disk_bytes(&place) < before);
    for (int pass = 0; pass < 3; pass++) { /* as it is; after a restart; with only the packs */
        assert_int_equal(stats_of(cas).objects, COUNT / 2);
        for (uint64_t n = 0; n < COUNT; n++) {
            size_t len = n % 10 == 0 ? 450000 : n % 10 == 5 ? 300000 : LEN;
            bool lives = n % 4 == 0 || n % 4 == 3;
            assert_int_equal(has_n(cas, n, len), lives);
            assert_int_equal(rd_cas_owned_by(cas, hashes[n].blake3, 1), n % 4 == 0);
            assert_int_equal(rd_cas_owned_by(cas, hashes[n].blake3, 2), lives);
            assert_int_equal(is_noted(cas, &hashes[n], &n, sizeof n), lives);
        }
        assert_int_equal(scrub_bad(cas), 0);
        rd_cas_close(cas);
        if (pass == 1) {
            drop_hints(&place);
        }
        cas = must_open(&config);
    }
    /* All deleted: nothing but the events about it stays. */
    uint64_t count;
    assert_int_equal(rd_cas_expire(cas, UINT64_MAX, &count), RD_OK);
    assert_int_equal(count, COUNT / 2);
    assert_int_equal(rd_cas_compact(cas, 0, &freed), RD_OK);
    assert_int_equal(stats_of(cas).dead_bytes, 0);
    rd_cas_close(cas);
    cas = must_open(&config);
    assert_int_equal(stats_of(cas).objects, 0);
    rd_cas_close(cas);
    place_remove(&place);
}

/* The record lies in an old pack that is never compacted; the pack with its UNLINK is. */
static void test_deleted_stays_deleted(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    config.pack_bytes = 1 << 20;
    struct rd_cas *cas = must_open(&config);
    struct rd_hash victim = put_n(cas, 1, 1, 1000), twice = put_n(cas, 1, 2, 1000);
    for (uint64_t n = 10; n < 25; n++) {
        (void)put_n(cas, 1, n, 60000); /* fills the first pack with what lives */
    }
    for (uint64_t n = 25; n < 35; n++) {
        struct rd_hash hash = put_n(cas, 1, n, 60000); /* the second with what dies */
        assert_int_equal(rd_cas_delete(cas, hash.blake3, 1), RD_OK);
    }
    assert_int_equal(rd_cas_delete(cas, victim.blake3, 1), RD_OK);
    assert_int_equal(rd_cas_delete(cas, twice.blake3, 1), RD_OK);
    (void)put_n(cas, 1, 2, 1000); /* this one comes again */
    for (int pass = 0; pass < 4; pass++) {
        uint64_t freed;
        assert_int_equal(rd_cas_compact(cas, 50, &freed), RD_OK);
        assert_false(has_n(cas, 1, 1000));
        assert_true(has_n(cas, 2, 1000));
        rd_cas_close(cas);
        drop_hints(&place);
        cas = must_open(&config);
        assert_false(has_n(cas, 1, 1000));
        assert_true(has_n(cas, 2, 1000));
        for (uint64_t n = 25; n < 35; n++) {
            assert_false(has_n(cas, n, 60000));
        }
        struct rd_hash hash = put_n(cas, 1, 100 + (uint64_t)pass, 400000); /* some new garbage */
        assert_int_equal(rd_cas_delete(cas, hash.blake3, 1), RD_OK);
    }
    rd_cas_close(cas);
    place_remove(&place);
}

static void test_open_objects_outlive_their_pack(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    struct rd_cas *cas = must_open(&config);
    struct rd_hash hash = put_n(cas, 1, 1, 100000), kept = put_n(cas, 1, 2, 100000);
    struct rd_cas_object gone, moved;
    uint64_t freed;
    assert_int_equal(rd_cas_open_object(cas, hash.blake3, &gone), RD_OK);
    assert_int_equal(rd_cas_open_object(cas, kept.blake3, &moved), RD_OK);
    assert_int_equal(rd_cas_delete(cas, hash.blake3, 1), RD_OK);
    assert_int_equal(rd_cas_compact(cas, 1, &freed), RD_OK);
    assert_true(freed >= 100000);
    assert_int_equal(rd_cas_verify_object(cas, &gone),
                     RD_OK); /* reads its bytes from the old file */
    assert_int_equal(rd_cas_verify_object(cas, &moved), RD_OK);
    rd_cas_release_object(&gone);
    rd_cas_release_object(&moved);
    assert_true(has_n(cas, 2, 100000));
    rd_cas_close(cas);
    place_remove(&place);
}

static void test_rot_is_not_laundered(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    struct rd_cas *cas = must_open(&config);
    struct rd_hash gone = put_n(cas, 1, 1, 100000), bad = put_n(cas, 1, 2, 1000);
    struct rd_cas_object object;
    char path[400], byte;
    uint64_t freed = 0;
    assert_int_equal(rd_cas_open_object(cas, bad.blake3, &object), RD_OK);
    uint64_t at = object.offset + 500;
    rd_cas_release_object(&object);
    (void)snprintf(path, sizeof path, "%s/packs/00000001.pack", place.dir);
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    assert_int_equal(rd_cas_delete(cas, gone.blake3, 1), RD_OK);
    assert_int_equal(rd_cas_compact(cas, 1, &freed), RD_ERR_CORRUPT);
    assert_int_equal(access(path, F_OK), 0); /* the pack stays, for whoever may save it */
    assert_int_equal(rd_cas_open_object(cas, bad.blake3, &object), RD_OK);
    assert_int_equal(rd_cas_verify_object(cas, &object), RD_ERR_CORRUPT);
    rd_cas_release_object(&object);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
    assert_int_equal(rd_cas_compact(cas, 1, &freed), RD_OK);
    assert_true(has_n(cas, 2, 1000));
    assert_true(access(path, F_OK) != 0);
    rd_cas_close(cas);
    place_remove(&place);
}

/* The store is copied at every sync of a compaction, as a crash would leave it, and opened. */
static struct {
    pthread_mutex_t lock;
    const struct place *place; /* NULL: none wanted now */
    pthread_t committer;
    struct place copies[64];
    size_t count;
} snapshots = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Only on the committer, while the compaction waits for it: else writes would go on under the copy.
 */
static int copying_sync(int fd)
{
    int result = fdatasync(fd);
    pthread_mutex_lock(&snapshots.lock);
    if (snapshots.place != NULL && snapshots.count < 64 &&
        pthread_equal(pthread_self(), snapshots.committer)) {
        place_copy(snapshots.place, &snapshots.copies[snapshots.count++]);
    }
    pthread_mutex_unlock(&snapshots.lock);
    return result;
}

static void snapshots_want(const struct place *place, pthread_t committer)
{
    pthread_mutex_lock(&snapshots.lock);
    snapshots.place = place;
    snapshots.committer = committer;
    pthread_mutex_unlock(&snapshots.lock);
}

static void test_crash_while_compacting(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    config.pack_bytes = 1 << 20;
    rd_cas_io.fdatasync = copying_sync;
    struct rd_cas *cas = must_open(&config);
    for (uint64_t n = 0; n < 60; n++) {
        (void)put_n(cas, 1, n, 50000);
        (void)put_n(cas, 2, n, 50000);
    }
    for (uint64_t n = 0; n < 60; n += 2) {
        for (uint64_t owner = 1; owner <= 2; owner++) {
            char *bytes = make_bytes(n, 50000);
            uint8_t name[RD_HASH_LEN];
            rd_hash_blake3(bytes, 50000, name);
            assert_int_equal(rd_cas_delete(cas, name, owner), RD_OK);
            rd_mem_free(bytes);
        }
    }
    snapshots_want(&place, cas->committer);
    uint64_t freed;
    assert_int_equal(rd_cas_compact(cas, 5, &freed), RD_OK);
    snapshots_want(NULL, cas->committer);
    rd_cas_close(cas);
    rd_cas_io.fdatasync = fdatasync;
    assert_true(snapshots.count >= 3);
    for (size_t i = 0; i < snapshots.count; i++) {
        struct rd_cas_config other = config;
        other.dir = snapshots.copies[i].dir;
        for (int pass = 0; pass < 2; pass++) {
            cas = must_open(&other);
            assert_int_equal(stats_of(cas).objects, 30);
            for (uint64_t n = 0; n < 60; n++) {
                assert_int_equal(has_n(cas, n, 50000), n % 2 == 1);
            }
            assert_int_equal(scrub_bad(cas), 0);
            assert_int_equal(rd_cas_compact(cas, 5, &freed), RD_OK);
            rd_cas_close(cas);
            drop_hints(&snapshots.copies[i]);
        }
        place_remove(&snapshots.copies[i]);
    }
    snapshots.count = 0;
    place_remove(&place);
}

struct reader {
    struct rd_cas *cas;
    atomic_bool stop;
    size_t reads;
};

enum { LIVING = 24 };

static void *read_on(void *arg)
{
    struct reader *reader = arg;
    for (uint64_t n = 0; !atomic_load(&reader->stop) || reader->reads < LIVING;
         n = (n + 1) % LIVING) {
        if (!has_n(reader->cas, n, 20000 + n)) {
            return arg; /* it was there all the time */
        }
        reader->reads++;
    }
    return NULL;
}

static void test_readers_and_writers_meanwhile(void **state)
{
    (void)state;
    enum { READERS = 2 };
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    config.pack_bytes = 1 << 20;
    struct rd_cas *cas = must_open(&config);
    struct reader readers[READERS];
    pthread_t threads[READERS];
    for (uint64_t n = 0; n < LIVING; n++) {
        (void)put_n(cas, 1, n, 20000 + n);
        (void)put_n(cas, 1, 1000 + n, 40000); /* garbage between */
    }
    for (int i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.cas = cas};
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    }
    for (uint64_t round = 0; round < 6; round++) {
        for (uint64_t n = 0; n < LIVING; n += 3) {
            char *bytes = make_bytes(round == 0 ? 1000 + n : 2000 + 100 * (round - 1) + n, 40000);
            uint8_t name[RD_HASH_LEN];
            rd_hash_blake3(bytes, 40000, name);
            assert_int_equal(rd_cas_delete(cas, name, 1), RD_OK);
            rd_mem_free(bytes);
            (void)put_n(cas, 1, 2000 + 100 * round + n, 40000);
        }
        uint64_t freed;
        assert_int_equal(rd_cas_compact(cas, 1, &freed), RD_OK);
        assert_int_equal(scrub_bad(cas), 0);
    }
    for (int i = 0; i < READERS; i++) {
        void *bad;
        atomic_store(&readers[i].stop, true);
        assert_int_equal(pthread_join(threads[i], &bad), 0);
        assert_null(bad);
        assert_true(readers[i].reads >= LIVING);
    }
    struct rd_cas_stats before = stats_of(cas);
    rd_cas_close(cas);
    drop_hints(&place);
    cas = must_open(&config);
    assert_int_equal(stats_of(cas).objects, before.objects);
    assert_int_equal(stats_of(cas).bytes, before.bytes);
    rd_cas_close(cas);
    place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_space_comes_back),
        cmocka_unit_test(test_deleted_stays_deleted),
        cmocka_unit_test(test_open_objects_outlive_their_pack),
        cmocka_unit_test(test_rot_is_not_laundered),
        cmocka_unit_test(test_crash_while_compacting),
        cmocka_unit_test(test_readers_and_writers_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
