/* SPDX-License-Identifier: Apache-2.0
 *
 * The scrub: each byte that the store relies on is flipped, one at a time, and found; and a sound
 * store has nothing to report. */
#define PLACE_IN_MEMORY
#include "support.h"

struct report {
    size_t calls;
    char where[128];
    uint8_t blake3[RD_HASH_LEN];
};

static void on_bad(void *ctx, const char *where, const uint8_t blake3[RD_HASH_LEN])
{
    struct report *report = ctx;
    report->calls++;
    (void)snprintf(report->where, sizeof report->where, "%s", where);
    memcpy(report->blake3, blake3, RD_HASH_LEN);
}

static uint64_t scrub(struct rd_cas *cas, struct report *report)
{
    struct rd_cas_scrub result = {.on_bad = on_bad, .ctx = report};
    *report = (struct report){0};
    assert_int_equal(rd_cas_scrub(cas, &result), RD_OK);
    assert_int_equal(result.bad, report->calls);
    return result.bad;
}

/* Flips bits of [from, to) and expects each flip to be found; `step` apart. */
static void flip_all(struct rd_cas *cas, int fd, uint64_t from, uint64_t to, uint64_t step)
{
    struct report report;
    for (uint64_t at = from; at < to; at += step) {
        uint8_t byte, bad;
        assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
        bad = byte ^ (uint8_t)(1u << at % 8);
        assert_int_equal(pwrite(fd, &bad, 1, (off_t)at), 1);
        if (scrub(cas, &report) == 0) {
            fail_msg("the flip at %llu was not found", (unsigned long long)at);
        }
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    }
    assert_int_equal(scrub(cas, &report), 0);
}

static int open_pack(const struct place *place)
{
    char path[400];
    (void)snprintf(path, sizeof path, "%s/packs/00000001.pack", place->dir);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    return fd;
}

static void test_every_byte(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct notary notary = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct rd_cas_config config = small_config(&place);
    config.annotate = annotate;
    config.annotate_ctx = &notary;
    struct rd_cas *cas = must_open(&config);
    struct rd_hash hash;
    struct put put = {.owner = 1,
                      .data = "payload",
                      .len = 7,
                      .type = "a/b",
                      .meta = "statement",
                      .meta_len = 9,
                      .want_note = true};
    assert_int_equal(put_object(cas, &put, &hash), RD_OK);
    int fd = open_pack(&place);
    flip_all(cas, fd, 0, 512, 1);                         /* the pack's first block */
    flip_all(cas, fd, 4096, 4096 + 512 + 7 + 9, 1);       /* header, payload, meta */
    flip_all(cas, fd, 8192, 8192 + 512 + 48 + 5 + 32, 1); /* header, event, note */
    close(fd);
    rd_cas_close(cas);
    place_remove(&place);
}

static void test_streamed_and_large(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    struct rd_cas *cas = must_open(&config);
    struct rd_hash streamed = put_n(cas, 1, 1, 300000), large = put_n(cas, 1, 2, 1100000);
    struct rd_cas_object object;
    struct report report;
    int fd = open_pack(&place);
    flip_all(cas, fd, 4096, 4096 + 1024, 16);      /* both headers */
    flip_all(cas, fd, 8192, 8192 + 300000, 29989); /* payload */
    assert_int_equal(rd_cas_open_object(cas, streamed.blake3, &object), RD_OK);
    assert_int_equal(object.offset, 8192);
    rd_cas_release_object(&object);
    close(fd);
    char path[400];
    (void)snprintf(path, sizeof path, "%s/large", place.dir);
    DIR *dir = opendir(path);
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL && entry->d_name[0] == '.') {
    }
    assert_non_null(entry);
    (void)snprintf(path, sizeof path, "%s/large/%.32s", place.dir, entry->d_name);
    closedir(dir);
    fd = open(path, O_RDWR);
    flip_all(cas, fd, 0, 1100000, 99991);
    assert_int_equal(ftruncate(fd, 1099999), 0);
    assert_int_equal(scrub(cas, &report), 1);
    assert_memory_equal(report.blake3, large.blake3, RD_HASH_LEN);
    close(fd);
    assert_int_equal(unlink(path), 0); /* gone altogether */
    assert_int_equal(scrub(cas, &report), 1);
    assert_int_equal(rd_cas_open_object(cas, large.blake3, &object), RD_ERR_CORRUPT);
    rd_cas_close(cas);
    place_remove(&place);
}

static void test_counts(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    struct rd_cas *cas = must_open(&config);
    struct rd_cas_scrub result = {.bad = 9};
    assert_int_equal(rd_cas_scrub(cas, &result), RD_OK);
    assert_int_equal(result.objects, 0);
    assert_int_equal(result.bad, 0);
    for (uint64_t n = 0; n < 600; n++) { /* more than one step of names */
        (void)put_n(cas, 1, n, 10);
    }
    assert_int_equal(rd_cas_scrub(cas, &result), RD_OK);
    assert_int_equal(result.objects, 600);
    assert_int_equal(result.bytes, 6000);
    assert_int_equal(result.bad, 0);
    rd_cas_close(cas);
    place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_byte),
                                       cmocka_unit_test(test_streamed_and_large),
                                       cmocka_unit_test(test_counts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
