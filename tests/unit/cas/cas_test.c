/* SPDX-License-Identifier: Apache-2.0
 *
 * The store through its public face: what goes in comes out, for every way in, after a restart, for
 * the right owner; and every refusal. */
#include "support.h"

static void test_sizes_and_ways_in(void **state)
{
    (void)state;
    /* Around every border: sectors, blocks, the buffer, the file limit. */
    static const size_t sizes[] = {0,       1,       511,     512,    513,    4095,
                                   4096,    65536,   262143,  262144, 262145, 600000,
                                   1048575, 1048576, 1048577, 1600000};
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    for (int pass = 0; pass < 2; pass++) { /* the second after a restart */
        struct rd_cas *cas = must_open(&config);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            for (int way = 0; way < 4; way++) { /* hint right, none, too small, too large */
                size_t hint = way == 0   ? sizes[i]
                              : way == 1 ? 0
                              : way == 2 ? sizes[i] / 2
                                         : sizes[i] * 2 + 9;
                uint64_t n = i * 10 + (uint64_t)way;
                char *bytes = make_bytes(n, sizes[i]);
                struct rd_hash hash, want;
                rd_hash_blake3(bytes, sizes[i], want.blake3);
                rd_hash_sha256(bytes, sizes[i], want.sha256);
                if (pass == 0) {
                    struct put put = {.owner = 7,
                                      .data = bytes,
                                      .len = sizes[i],
                                      .hint = hint,
                                      .step = way == 3 ? 1000 : 70000,
                                      .type = "image/png",
                                      .meta = "m",
                                      .meta_len = 1};
                    assert_int_equal(put_object(cas, &put, &hash), RD_OK);
                    assert_memory_equal(&hash, &want, sizeof want);
                }
                assert_true(has_bytes(cas, &want, bytes, sizes[i]));
                assert_true(rd_cas_owned_by(cas, want.blake3, 7));
                assert_false(rd_cas_owned_by(cas, want.blake3, 8));
                struct rd_cas_object object;
                assert_int_equal(rd_cas_open_object(cas, want.blake3, &object), RD_OK);
                assert_string_equal(object.content_type, "image/png");
                assert_memory_equal(&object.hash, &want, sizeof want);
                rd_cas_release_object(&object);
                rd_mem_free(bytes);
            }
        }
        assert_int_equal(scrub_bad(cas), 0);
        assert_true(rd_cas_healthy(cas));
        rd_cas_close(cas);
    }
    place_remove(&place);
}

static void test_nothing_before_the_callback(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    struct rd_cas *cas = must_open(&config);
    struct rd_cas_writer *writer;
    struct rd_cas_object object;
    struct rd_hash hash;
    char *bytes = make_bytes(1, 700000);
    assert_int_equal(rd_cas_begin(cas, 1, 700000, &writer), RD_OK);
    assert_int_equal(rd_cas_data(writer, bytes, 700000), RD_OK);
    assert_int_equal(rd_cas_written(writer), 700000);
    assert_int_equal(rd_cas_seal(writer, &hash), RD_OK);
    assert_int_equal(rd_cas_open_object(cas, hash.blake3, &object), RD_ERR_NOT_FOUND);
    assert_int_equal(rd_cas_data(writer, bytes, 1), RD_ERR_INTERNAL); /* sealed */
    rd_cas_abort(writer);
    rd_cas_abort(NULL);
    assert_int_equal(stats_of(cas).objects, 0);
    rd_cas_close(cas);
    cas = must_open(&config);
    assert_int_equal(rd_cas_open_object(cas, hash.blake3, &object), RD_ERR_NOT_FOUND);
    assert_int_equal(stats_of(cas).objects, 0);
    rd_cas_close(cas);
    rd_mem_free(bytes);
    place_remove(&place);
}

static void test_limits(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    struct rd_cas *cas = must_open(&config);
    struct rd_hash hash;
    char *meta = make_bytes(3, RD_CAS_META_MAX + 1);
    char type[RD_CAS_TYPE_MAX + 2];
    memset(type, 'x', sizeof type);
    type[RD_CAS_TYPE_MAX + 1] = '\0';
    struct put put = {.owner = 1,
                      .data = "abc",
                      .len = 3,
                      .meta = meta,
                      .type = "a/b",
                      .meta_len = RD_CAS_META_MAX};
    assert_int_equal(put_object(cas, &put, &hash), RD_OK);
    put.meta_len++;
    assert_int_equal(put_object(cas, &put, &hash), RD_ERR_INVALID_REQUEST);
    put.meta_len = 0;
    put.data = "abd";
    put.type = type;
    assert_int_equal(put_object(cas, &put, &hash), RD_ERR_INVALID_REQUEST);
    put.type = type + 1;
    assert_int_equal(put_object(cas, &put, &hash), RD_OK);
    struct rd_cas_object object;
    assert_int_equal(rd_cas_open_object(cas, hash.blake3, &object), RD_OK);
    assert_string_equal(object.content_type, type + 1);
    rd_cas_release_object(&object);

    /* A streamed object whose meta is larger than the room kept for it. */
    char *bytes = make_bytes(4, 500000);
    put = (struct put){.owner = 1,
                       .data = bytes,
                       .len = 500000,
                       .hint = 500000,
                       .step = 100000,
                       .meta = meta,
                       .meta_len = RD_CAS_META_MAX,
                       .type = "a/b"};
    assert_int_equal(put_object(cas, &put, &hash), RD_OK);
    assert_true(has_bytes(cas, &hash, bytes, 500000));
    struct rd_cas_meta got;
    assert_int_equal(rd_cas_read_meta(cas, hash.blake3, &got), RD_OK);
    assert_int_equal(got.meta_len, RD_CAS_META_MAX);
    assert_memory_equal(got.meta, meta, RD_CAS_META_MAX);
    assert_null(got.note);
    assert_int_equal(got.note_len, 0);
    rd_mem_free(got.meta);

    struct rd_cas_writer *writer;
    assert_int_equal(rd_cas_begin(cas, 1, ((uint64_t)1 << 32) + 1, &writer), RD_ERR_TOO_LARGE);
    /* A commit without seal is refused, and takes the writer. */
    assert_int_equal(rd_cas_begin(cas, 1, 0, &writer), RD_OK);
    struct rd_cas_commit commit = {.content_type = "a/b"};
    assert_int_equal(rd_cas_commit(writer, &commit), RD_ERR_INVALID_REQUEST);
    rd_mem_free(bytes);
    rd_mem_free(meta);
    rd_cas_close(cas);
    config.pack_bytes = (1 << 20) - 1;
    struct rd_why why;
    assert_int_equal(rd_cas_open(&config, &cas, &why), RD_ERR_CONFIG);
    place_remove(&place);
}

static void test_one_process_at_a_time(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    struct rd_cas *cas = must_open(&config), *second = NULL;
    struct rd_why why;
    assert_int_equal(rd_cas_open(&config, &second, &why), RD_ERR_CONFLICT);
    assert_non_null(strstr(why.text, "another process"));
    rd_cas_close(cas);
    cas = must_open(&config);
    rd_cas_close(cas);
    rd_cas_close(NULL);
    config.dir = "/nonexistent/deeper/still";
    assert_int_equal(rd_cas_open(&config, &second, &why), RD_ERR_IO);
    place_remove(&place);
}

static void test_owners(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    struct rd_cas *cas = must_open(&config);
    struct rd_hash hash = put_n(cas, 1, 5, 1000);
    uint64_t bytes = stats_of(cas).bytes;
    (void)put_n(cas, 2, 5, 1000);
    (void)put_n(cas, 2, 5, 1000); /* twice the same: one link */
    (void)put_n(cas, 3, 5, 1000);
    assert_int_equal(stats_of(cas).objects, 1);
    assert_int_equal(stats_of(cas).bytes, bytes);
    for (int pass = 0; pass < 2; pass++) {
        assert_true(rd_cas_owned_by(cas, hash.blake3, 1));
        assert_true(rd_cas_owned_by(cas, hash.blake3, 2));
        assert_true(rd_cas_owned_by(cas, hash.blake3, 3));
        assert_false(rd_cas_owned_by(cas, hash.blake3, 4));
        assert_int_equal(rd_cas_delete(cas, hash.blake3, 4), RD_ERR_NOT_FOUND);
        rd_cas_close(cas);
        cas = must_open(&config);
    }
    assert_int_equal(rd_cas_delete(cas, hash.blake3, 1), RD_OK); /* the first owner leaves */
    assert_int_equal(rd_cas_delete(cas, hash.blake3, 1), RD_ERR_NOT_FOUND);
    assert_true(has_n(cas, 5, 1000));
    rd_cas_close(cas);
    cas = must_open(&config);
    assert_false(rd_cas_owned_by(cas, hash.blake3, 1));
    assert_true(rd_cas_owned_by(cas, hash.blake3, 2));
    assert_int_equal(rd_cas_delete(cas, hash.blake3, 2), RD_OK);
    assert_int_equal(rd_cas_delete(cas, hash.blake3, 3), RD_OK);
    assert_false(has_n(cas, 5, 1000));
    assert_int_equal(stats_of(cas).objects, 0);
    assert_int_equal(stats_of(cas).bytes, 0);
    (void)put_n(cas, 2, 5, 1000); /* and it comes back */
    rd_cas_close(cas);
    cas = must_open(&config);
    assert_true(has_n(cas, 5, 1000));
    assert_true(rd_cas_owned_by(cas, hash.blake3, 2));
    assert_false(rd_cas_owned_by(cas, hash.blake3, 3));
    rd_cas_close(cas);
    place_remove(&place);
}

static size_t files_in(const struct place *place, const char *folder)
{
    char path[400];
    size_t count = 0;
    (void)snprintf(path, sizeof path, "%s/%s", place->dir, folder);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    closedir(dir);
    return count;
}

static void test_large_files(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    struct rd_cas *cas = must_open(&config);
    struct rd_hash hash = put_n(cas, 1, 9, 3000000);
    assert_int_equal(files_in(&place, "large"), 1);
    (void)put_n(cas, 2, 9, 3000000); /* the same again leaves no second file */
    assert_int_equal(files_in(&place, "large"), 1);
    struct rd_cas_object object;
    assert_int_equal(rd_cas_open_object(cas, hash.blake3, &object), RD_OK);
    assert_int_equal(object.offset, 0);
    assert_int_equal(object.size, 3000000);
    assert_int_equal(rd_cas_delete(cas, hash.blake3, 1), RD_OK);
    assert_int_equal(files_in(&place, "large"), 1);
    assert_int_equal(rd_cas_delete(cas, hash.blake3, 2), RD_OK);
    assert_int_equal(files_in(&place, "large"), 0);
    /* Whoever has it open still reads it. */
    assert_int_equal(rd_cas_verify_object(cas, &object), RD_OK);
    rd_cas_release_object(&object);
    assert_int_equal(rd_cas_open_object(cas, hash.blake3, &object), RD_ERR_NOT_FOUND);
    /* An aborted one leaves nothing. */
    struct rd_cas_writer *writer;
    char *bytes = make_bytes(10, 2000000);
    assert_int_equal(rd_cas_begin(cas, 1, 0, &writer), RD_OK);
    assert_int_equal(rd_cas_data(writer, bytes, 2000000), RD_OK);
    assert_int_equal(files_in(&place, "tmp"), 1);
    rd_cas_abort(writer);
    assert_int_equal(files_in(&place, "tmp"), 0);
    rd_mem_free(bytes);
    /* Orphans of a crash go at the next start; strangers stay. */
    (void)put_n(cas, 1, 11, 1500000);
    rd_cas_close(cas);
    char path[400];
    static const char *const strays[] = {"large/00000000000000aa", "tmp/00000000000000bb",
                                         "packs/00000099.new", "packs/00000098.idx",
                                         "large/README"};
    for (size_t i = 0; i < 5; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", place.dir, strays[i]);
        int fd = open(path, O_CREAT | O_WRONLY, 0600);
        assert_true(fd >= 0);
        close(fd);
    }
    cas = must_open(&config);
    assert_int_equal(files_in(&place, "large"), 2); /* the object and README */
    assert_int_equal(files_in(&place, "tmp"), 0);
    assert_true(has_n(cas, 11, 1500000));
    rd_cas_close(cas);
    place_remove(&place);
}

static void test_notes(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct notary notary = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct rd_cas_config config = small_config(&place);
    config.annotate = annotate;
    config.annotate_ctx = &notary;
    struct rd_cas *cas = must_open(&config);
    struct rd_hash hash, plain;
    struct put put = {.owner = 1,
                      .data = "one",
                      .len = 3,
                      .type = "a/b",
                      .meta = "statement",
                      .meta_len = 9,
                      .want_note = true};
    assert_int_equal(put_object(cas, &put, &hash), RD_OK);
    assert_true(is_noted(cas, &hash, "statement", 9));
    /* The same again, with another meta: the first record and note stay. */
    put.meta = "different";
    put.owner = 2;
    assert_int_equal(put_object(cas, &put, &hash), RD_OK);
    assert_true(is_noted(cas, &hash, "statement", 9));
    assert_int_equal(notary.notes, 1);
    /* Bytes that were first stored plainly get their note when they are made again with one. */
    struct put upload = {.owner = 3, .data = "two", .len = 3, .type = "c/d"};
    assert_int_equal(put_object(cas, &upload, &plain), RD_OK);
    put = (struct put){.owner = 4,
                       .data = "two",
                       .len = 3,
                       .type = "a/b",
                       .meta = "second",
                       .meta_len = 6,
                       .want_note = true};
    assert_int_equal(put_object(cas, &put, &plain), RD_OK);
    assert_true(is_noted(cas, &plain, "second", 6));
    assert_true(rd_cas_owned_by(cas, plain.blake3, 3));
    /* A refused note fails the commit, and nothing is stored, not even after a restart. */
    notary.fail = RD_ERR_INTERNAL;
    struct rd_hash failed;
    put = (struct put){.owner = 4,
                       .data = "three",
                       .len = 5,
                       .type = "a/b",
                       .meta = "third",
                       .meta_len = 5,
                       .want_note = true};
    assert_int_equal(put_object(cas, &put, &failed), RD_ERR_INTERNAL);
    assert_false(rd_cas_owned_by(cas, failed.blake3, 4));
    assert_false(has_bytes(cas, &failed, "three", 5));
    assert_int_equal(stats_of(cas).unnoted, 0);
    rd_cas_close(cas);
    cas = must_open(&config);
    assert_false(has_bytes(cas, &failed, "three", 5));
    assert_true(is_noted(cas, &hash, "statement", 9));
    assert_true(is_noted(cas, &plain, "second", 6));
    notary.fail = RD_OK;
    assert_int_equal(put_object(cas, &put, &failed), RD_OK);
    assert_true(is_noted(cas, &failed, "third", 5));
    rd_cas_close(cas);
    place_remove(&place);
}

/* Waits, by going through the committer's queue, until it has nothing left that was queued before.
 */
static void flush(struct rd_cas *cas)
{
    struct rd_cas_job job = {.kind = RD_CAS_JOB_SYNC};
    assert_int_equal(rd_cas_queue_wait(cas, &job), RD_OK);
}

static void test_relaxed(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct notary notary = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct rd_cas_config config = small_config(&place);
    config.durability = RD_CAS_RELAXED;
    config.relaxed_ms = 60000; /* never by itself in this test */
    config.annotate = annotate;
    config.annotate_ctx = &notary;
    struct rd_cas *cas = must_open(&config);
    struct rd_hash hash;
    struct put put = {.owner = 1,
                      .data = "one",
                      .len = 3,
                      .type = "a/b",
                      .meta = "statement",
                      .meta_len = 9,
                      .want_note = true};
    assert_int_equal(put_object(cas, &put, &hash), RD_OK); /* called back inside commit */
    assert_true(has_bytes(cas, &hash, "one", 3));
    assert_int_equal(stats_of(cas).syncs, 0);
    assert_int_equal(stats_of(cas).unnoted, 1);
    struct rd_cas_meta meta;
    assert_int_equal(rd_cas_read_meta(cas, hash.blake3, &meta), RD_OK);
    assert_null(meta.note);
    rd_mem_free(meta.meta);
    flush(cas); /* sync; then notes are asked for */
    flush(cas);
    assert_true(is_noted(cas, &hash, "statement", 9));
    assert_int_equal(stats_of(cas).unnoted, 0);
    (void)put_n(cas, 1, 4, 2000000); /* a file of its own */
    assert_int_equal(rd_cas_delete(cas, hash.blake3, 1), RD_OK);
    /* Asked, refused: stays without, and is asked again at the next start. */
    notary.fail = RD_ERR_INTERNAL;
    put.data = "two";
    assert_int_equal(put_object(cas, &put, &hash), RD_OK);
    rd_cas_close(cas); /* syncs what is left */
    notary.fail = RD_OK;
    cas = must_open(&config);
    assert_true(has_bytes(cas, &hash, "two", 3));
    assert_true(has_n(cas, 4, 2000000));
    flush(cas);
    flush(cas);
    assert_true(is_noted(cas, &hash, "statement", 9));
    assert_int_equal(stats_of(cas).objects, 2);
    rd_cas_close(cas);
    place_remove(&place);
}

static struct done synced = DONE_INIT;

static int announcing_sync(int fd)
{
    int result = fdatasync(fd);
    on_done(&synced, RD_OK);
    return result;
}

static void test_relaxed_syncs_in_time(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    config.durability = RD_CAS_RELAXED;
    config.relaxed_ms = 1;
    struct rd_cas *cas = must_open(&config);
    (void)put_n(cas, 1, 1, 100); /* the pack is there now, so the next sync is the committer's */
    rd_cas_close(cas);
    rd_cas_io.fdatasync = announcing_sync;
    cas = must_open(&config);
    synced.calls = 0;
    (void)put_n(cas, 1, 2, 100);
    assert_int_equal(wait_done(&synced), RD_OK); /* ends only when the committer does its duty */
    rd_cas_close(cas);
    rd_cas_io.fdatasync = fdatasync;
    place_remove(&place);
}

static void test_expiry(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    struct rd_cas *cas = must_open(&config);
    struct rd_hash hash = {{0}, {0}};
    for (uint64_t n = 0; n < 10; n++) {
        hash = put_n(cas, 1, n, 100);
        (void)put_n(cas, 2, n, 100);
    }
    struct rd_cas_object object;
    assert_int_equal(rd_cas_open_object(cas, hash.blake3, &object), RD_OK);
    uint64_t last = object.created_ms, count = 99;
    rd_cas_release_object(&object);
    assert_int_equal(rd_cas_expire(cas, 1, &count), RD_OK);
    assert_int_equal(count, 0);
    assert_int_equal(rd_cas_expire(cas, last + 1, &count), RD_OK);
    assert_int_equal(count, 10);
    assert_int_equal(stats_of(cas).objects, 0);
    rd_cas_close(cas);
    cas = must_open(&config);
    assert_int_equal(stats_of(cas).objects, 0);
    rd_cas_close(cas);
    place_remove(&place);
}

static void test_many_packs_and_lost_hints(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    config.pack_bytes = 1 << 20;
    struct rd_cas *cas = must_open(&config);
    for (uint64_t n = 0; n < 120; n++) {
        (void)put_n(cas, n % 3, n, 50000);
    }
    assert_true(stats_of(cas).packs >= 6);
    rd_cas_close(cas);
    for (int pass = 0; pass < 3; pass++) { /* with hints; all lost; garbled */
        DIR *dir;
        char path[1000];
        (void)snprintf(path, sizeof path, "%s/packs", place.dir);
        assert_non_null(dir = opendir(path));
        const struct dirent *entry;
        size_t hints = 0;
        while ((entry = readdir(dir)) != NULL) {
            if (strstr(entry->d_name, ".idx") != NULL) {
                hints++;
                (void)snprintf(path, sizeof path, "%s/packs/%s", place.dir, entry->d_name);
                if (pass == 1) {
                    assert_int_equal(unlink(path), 0);
                } else if (pass == 2) {
                    int fd = open(path, O_RDWR);
                    assert_int_equal(pwrite(fd, "garbage", 7, 100), 7);
                    close(fd);
                }
            }
        }
        closedir(dir);
        assert_true(hints > 0);
        cas = must_open(&config);
        assert_int_equal(stats_of(cas).objects, 120);
        for (uint64_t n = 0; n < 120; n++) {
            assert_true(has_n(cas, n, 50000));
        }
        (void)put_n(cas, 1, 500 + (uint64_t)pass, 10); /* and it goes on */
        assert_int_equal(rd_cas_delete(cas, put_n(cas, 1, 600, 10).blake3, 1), RD_OK);
        assert_int_equal(rd_cas_delete(cas, put_n(cas, 1, 500 + (uint64_t)pass, 10).blake3, 1),
                         RD_OK);
        rd_cas_close(cas);
    }
    place_remove(&place);
}

struct crowd {
    struct rd_cas *cas;
    unsigned number;
};

static void *crowd_member(void *arg)
{
    const struct crowd *crowd = arg;
    for (uint64_t i = 0; i < 40; i++) {
        uint64_t n = i % 2 == 0 ? i : 1000 * (crowd->number + 1) + i; /* half of it in common */
        size_t len = i % 8 == 0 ? 1200000 : i % 5 == 0 ? 300000 : 2000;
        struct rd_hash hash = put_n(crowd->cas, crowd->number, n, len);
        if (!rd_cas_owned_by(crowd->cas, hash.blake3, crowd->number) ||
            (i % 3 == 0 && rd_cas_delete(crowd->cas, hash.blake3, crowd->number) != RD_OK)) {
            return arg;
        }
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    struct rd_cas *cas = must_open(&config);
    pthread_t threads[THREADS];
    struct crowd crowds[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        crowds[i] = (struct crowd){.cas = cas, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_member, &crowds[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        void *bad;
        assert_int_equal(pthread_join(threads[i], &bad), 0);
        assert_null(bad);
    }
    struct rd_cas_stats before = stats_of(cas);
    assert_int_equal(scrub_bad(cas), 0);
    assert_true(rd_cas_index_valid(cas->index));
    rd_cas_close(cas);
    cas = must_open(&config);
    assert_int_equal(stats_of(cas).objects, before.objects); /* memory and log agree */
    assert_int_equal(stats_of(cas).bytes, before.bytes);
    assert_int_equal(scrub_bad(cas), 0);
    rd_cas_close(cas);
    place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_and_ways_in),
        cmocka_unit_test(test_nothing_before_the_callback),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_one_process_at_a_time),
        cmocka_unit_test(test_owners),
        cmocka_unit_test(test_large_files),
        cmocka_unit_test(test_notes),
        cmocka_unit_test(test_relaxed),
        cmocka_unit_test(test_relaxed_syncs_in_time),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_many_packs_and_lost_hints),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
