/* SPDX-License-Identifier: Apache-2.0
 *
 * What the store's tests share: a fresh folder for each test, a clock that stands still, files. */
#ifndef RD_TEST_STORE_FIXTURE_H
#define RD_TEST_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/internal.h"
#include "store/store.h"

static char test_dir[64];
static _Atomic uint64_t test_now = 1800000000000;

static inline uint64_t test_clock(void)
{
    return atomic_load(&test_now);
}

static inline const char *test_path(const char *name)
{
    static char path[400];
    (void)snprintf(path, sizeof path, "%s/%s", test_dir, name);
    return path;
}

static inline int test_setup(void **state)
{
    (void)state;
    /* In memory where that is possible: thousands of fsyncs would wait for everybody else's. */
    (void)snprintf(test_dir, sizeof test_dir, "%s/render-store-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    atomic_store(&test_now, 1800000000000);
    return mkdtemp(test_dir) == NULL ? -1 : 0;
}

static inline int test_teardown(void **state)
{
    (void)state;
    DIR *dir = opendir(test_dir);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        (void)unlink(test_path(entry->d_name));
        (void)rmdir(test_path(entry->d_name));
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return rmdir(test_dir);
}

/* Opens with the standing clock, or fails the test with the store's own words. */
static inline struct rd_store *test_open(void)
{
    struct rd_store *store = NULL;
    struct rd_why why = {""};
    if (rd_store_open(test_dir, &store, &why) != RD_OK) {
        fail_msg("rd_store_open: %s", why.text);
    }
    store->now_ms = test_clock;
    return store;
}

/* Opening must fail with `err`, with `words` in what it says. */
static inline void test_refused(rd_err err, const char *words)
{
    struct rd_store *store = NULL;
    struct rd_why why = {""};
    rd_err got = rd_store_open(test_dir, &store, &why);
    assert_null(store);
    if (got != err || strstr(why.text, words) == NULL) {
        fail_msg("got %d '%s', expected %d '%s'", (int)got, why.text, (int)err, words);
    }
}

static inline struct rd_key test_key(struct rd_store *store, const char *tenant,
                                     char text[RD_KEY_TEXT_LEN + 1])
{
    struct rd_key key;
    struct rd_why why = {""};
    if (rd_store_key_create(store, tenant, "a name", RD_SCOPE_GENERATE | RD_SCOPE_READ, 0, &key,
                            text, &why) != RD_OK) {
        fail_msg("rd_store_key_create: %s", why.text);
    }
    return key;
}

/* The whole file; free with rd_mem_free. */
static inline char *test_read(const char *name, size_t *ret_len)
{
    struct rd_buf buf;
    rd_buf_init(&buf, 64u << 20);
    assert_int_equal(rd_fs_read(test_path(name), &buf, NULL), RD_OK);
    return rd_buf_steal(&buf, ret_len);
}

static inline void test_write(const char *name, const void *data, size_t len)
{
    /* Without fsync: hundreds of damaged copies are written. */
    (void)unlink(test_path(name));
    RD_AUTO_CLOSE int fd = open(test_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(rd_fs_pwrite_all(fd, data, len, 0), RD_OK);
}

static inline void test_sql(const char *sql)
{
    sqlite3 *db = NULL;
    char *message = NULL;
    assert_int_equal(sqlite3_open(test_path("render.db"), &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK) {
        fail_msg("%s: %s", sql, message);
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

#endif
