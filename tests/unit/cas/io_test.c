/* SPDX-License-Identifier: Apache-2.0
 *
 * Failure is a normal input: the Nth write, sync or allocation of a fixed story fails, for every
 * N, in two ways (a full disk, a dying one), and short writes happen all the time. The story must
 * end in clean errors; what was acknowledged must be there after a restart, and nothing else may
 * be seen half. */
#define PLACE_IN_MEMORY
#include "support.h"

#include <errno.h>

enum call { WRITE, SYNC, ALLOCATE };

static struct {
    pthread_mutex_t lock;
    enum call call;
    int error;
    size_t at;      /* which call fails; counted from 1; 0: none */
    bool on_and_on; /* all later ones too */
    size_t seen;
    bool shorten; /* writes take half at a time */
} fault = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool fails(enum call call)
{
    pthread_mutex_lock(&fault.lock);
    bool hit = false;
    if (call == fault.call) {
        fault.seen++;
        hit =
            fault.at != 0 && (fault.seen == fault.at || (fault.on_and_on && fault.seen > fault.at));
    }
    pthread_mutex_unlock(&fault.lock);
    errno = hit ? fault.error : errno;
    return hit;
}

static ssize_t faulty_write(int fd, const struct iovec *parts, int count, off_t offset)
{
    if (fails(WRITE)) {
        return -1;
    }
    if (fault.shorten && parts[0].iov_len > 1) {
        struct iovec half = {.iov_base = parts[0].iov_base, .iov_len = parts[0].iov_len / 2};
        return pwritev(fd, &half, 1, offset);
    }
    return pwritev(fd, parts, count, offset);
}

static int faulty_sync(int fd)
{
    return fails(SYNC) ? -1 : fdatasync(fd);
}

static int faulty_allocate(int fd, int mode, off_t offset, off_t len)
{
    return fails(ALLOCATE) ? -1 : fallocate(fd, mode, offset, len);
}

static void install(bool on)
{
    rd_cas_io.pwritev = on ? faulty_write : pwritev;
    rd_cas_io.fdatasync = on ? faulty_sync : fdatasync;
    rd_cas_io.fallocate = on ? faulty_allocate : fallocate;
}

enum { STORY = 14 };
static const size_t lens[STORY] = {100,    70000, 300000, 300000, 0,     700000, 1200000,
                                   250000, 90,    280000, 260000, 65536, 520000, 1};

struct outcome {
    rd_err put[STORY];
    bool deleted[STORY];
};

/* Writes the objects of the story, deletes some; the outcome of each step. */
static void tell_story(struct rd_cas *cas, struct outcome *out)
{
    for (uint64_t n = 0; n < STORY; n++) {
        struct rd_hash hash;
        char *bytes = make_bytes(n, lens[n]);
        struct put put = {.owner = 1,
                          .data = bytes,
                          .len = lens[n],
                          .step = 50000,
                          .type = "a/b",
                          .hint = n % 3 == 0 ? 0 : lens[n],
                          .meta = &n,
                          .meta_len = sizeof n,
                          .want_note = n % 2 == 0};
        out->put[n] = put_object(cas, &put, &hash);
        out->deleted[n] = false;
        if (out->put[n] == RD_OK && n % 5 == 1) {
            out->deleted[n] = rd_cas_delete(cas, hash.blake3, 1) == RD_OK;
        }
        rd_mem_free(bytes);
    }
}

static void check_story(struct rd_cas *cas, const struct outcome *out)
{
    uint64_t seen = 0;
    for (uint64_t n = 0; n < STORY; n++) {
        bool there = has_n(cas, n, lens[n]);
        seen += there ? 1 : 0;
        if (out->put[n] == RD_OK && n % 5 != 1) {
            assert_true(there);
        }
        if (out->deleted[n]) {
            assert_false(there);
        }
    }
    assert_int_equal(stats_of(cas).objects, seen);
    assert_int_equal(scrub_bad(cas), 0);
}

/* One run with the Nth call failing; false when there was no Nth call. */
static bool run_with_fault(enum call call, int error, size_t at, bool on_and_on)
{
    struct place place;
    place_make(&place);
    struct notary notary = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct rd_cas_config config = small_config(&place);
    config.pack_bytes = 1 << 20;
    config.annotate = annotate;
    config.annotate_ctx = &notary;
    struct outcome out;
    struct rd_cas *cas;
    fault.call = call;
    fault.error = error;
    fault.at = at;
    fault.on_and_on = on_and_on;
    fault.seen = 0;
    install(true);
    if (rd_cas_open(&config, &cas, NULL) == RD_OK) {
        tell_story(cas, &out);
        bool healthy = rd_cas_healthy(cas);
        for (size_t n = 0; n < STORY; n++) {
            assert_true(out.put[n] == RD_OK || out.put[n] == RD_ERR_DISK_FULL ||
                        out.put[n] == RD_ERR_STORAGE || out.put[n] == RD_ERR_IO);
            if (!healthy && n == STORY - 1) { /* final means final */
                assert_int_equal(out.put[n], RD_ERR_STORAGE);
            }
            if (out.put[n] == RD_OK && n % 5 != 1) { /* reads go on */
                assert_true(has_n(cas, n, lens[n]));
            }
        }
        rd_cas_close(cas);
        install(false);
        for (int pass = 0; pass < 2; pass++) {
            cas = must_open(&config);
            check_story(cas, &out);
            rd_cas_close(cas);
        }
    }
    install(false);
    place_remove(&place);
    return fault.seen >= at;
}

static void test_writes_fail(void **state)
{
    (void)state;
    for (size_t at = 1; run_with_fault(WRITE, EIO, at, false); at++) {
    }
    for (size_t at = 1; run_with_fault(WRITE, ENOSPC, at, false); at += 2) {
    }
    for (size_t at = 1; run_with_fault(WRITE, ENOSPC, at, true); at += 5) {
    }
    assert_true(fault.seen > 20);
}

static void test_syncs_fail(void **state)
{
    (void)state;
    for (size_t at = 1; run_with_fault(SYNC, EIO, at, false); at++) {
    }
    assert_true(fault.seen > 10);
}

static void test_allocations_fail(void **state)
{
    (void)state;
    for (size_t at = 1; run_with_fault(ALLOCATE, ENOSPC, at, false); at++) {
    }
    for (size_t at = 1; at <= 4; at++) {
        (void)run_with_fault(ALLOCATE, ENOSPC, at, true);
    }
    assert_true(run_with_fault(ALLOCATE, EOPNOTSUPP, 1, true)); /* then without taking space */
}

static void test_short_writes(void **state)
{
    (void)state;
    fault.shorten = true;
    assert_true(run_with_fault(WRITE, EINTR, 30, false));
    fault.shorten = false;
}

static void test_final_failure(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    struct rd_cas *cas = must_open(&config);
    struct rd_hash kept = put_n(cas, 1, 1, 1000);
    fault.call = SYNC;
    fault.error = EIO;
    fault.seen = 0;
    fault.at = 1;
    install(true);
    struct rd_hash hash;
    struct put put = {.owner = 1, .data = "lost", .len = 4, .type = "a/b"};
    assert_int_equal(put_object(cas, &put, &hash), RD_ERR_STORAGE);
    install(false); /* the disk is well again; the store does not trust it */
    assert_false(rd_cas_healthy(cas));
    assert_false(has_bytes(cas, &hash, "lost", 4));
    struct rd_cas_writer *writer;
    uint64_t n;
    assert_int_equal(rd_cas_begin(cas, 1, 0, &writer), RD_ERR_STORAGE);
    assert_int_equal(rd_cas_delete(cas, kept.blake3, 1), RD_ERR_STORAGE);
    assert_int_equal(rd_cas_expire(cas, UINT64_MAX, &n), RD_ERR_STORAGE);
    assert_int_equal(rd_cas_compact(cas, 0, &n), RD_ERR_STORAGE);
    assert_true(has_n(cas, 1, 1000));
    rd_cas_close(cas);
    cas = must_open(&config);
    assert_true(has_n(cas, 1, 1000));
    assert_int_equal(put_object(cas, &put, &hash), RD_OK);
    rd_cas_close(cas);
    place_remove(&place);
}

static void test_full_disk(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    struct rd_cas_writer *writer;
    config.min_free_bytes = (uint64_t)1 << 60; /* more than there is */
    struct rd_cas *cas = must_open(&config);
    assert_int_equal(rd_cas_begin(cas, 1, 10, &writer), RD_ERR_DISK_FULL);
    assert_true(rd_cas_healthy(cas));
    rd_cas_close(cas);
    /* A large object whose announced size the disk does not have: refused when its file is made. */
    config.min_free_bytes = 0;
    cas = must_open(&config);
    char *bytes = make_bytes(1, 2000000);
    assert_int_equal(rd_cas_begin(cas, 1, 2000000, &writer), RD_OK);
    fault.call = ALLOCATE;
    fault.error = ENOSPC;
    fault.seen = 0;
    fault.at = 1;
    install(true);
    assert_int_equal(rd_cas_data(writer, bytes, 2000000), RD_ERR_DISK_FULL);
    assert_int_equal(rd_cas_data(writer, bytes, 1), RD_ERR_DISK_FULL); /* it stays so */
    struct rd_hash hash;
    assert_int_equal(rd_cas_seal(writer, &hash), RD_ERR_DISK_FULL);
    struct rd_cas_commit commit = {.content_type = "a/b"};
    assert_int_equal(rd_cas_commit(writer, &commit), RD_ERR_DISK_FULL);
    install(false);
    assert_true(rd_cas_healthy(cas));
    (void)put_n(cas, 1, 1, 2000000); /* and with space it goes */
    assert_int_equal(stats_of(cas).objects, 1);
    rd_mem_free(bytes);
    rd_cas_close(cas);
    place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_fail),      cmocka_unit_test(test_syncs_fail),
        cmocka_unit_test(test_allocations_fail), cmocka_unit_test(test_short_writes),
        cmocka_unit_test(test_final_failure),    cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
