/* SPDX-License-Identifier: Apache-2.0
 *
 * Files: bounded reads, all-or-nothing replacement under kill -9 and under a disk that takes no
 * more, and every refusal with its reason. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"

static char folder[64];
static char path[128];
static char temporary[160];

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/render-fs-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/file", folder);
    (void)snprintf(temporary, sizeof temporary, "%s.new", path);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(path);
    assert_int_equal(rmdir(folder), 0); /* no temporary file was left */
    return 0;
}

static void assert_content(const char *expected)
{
    RD_AUTO_BUF struct rd_buf buf;
    rd_buf_init(&buf, 1 << 20);
    assert_int_equal(rd_fs_read(path, &buf, NULL), RD_OK);
    assert_string_equal(rd_buf_cstr(&buf), expected);
}

static void replaces_whole_files(void **state)
{
    (void)state;
    struct stat info;
    assert_int_equal(rd_fs_write_atomic(path, "one", 3, 0600, NULL), RD_OK);
    assert_content("one");
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    mode_t mask = umask(0777);
    assert_int_equal(rd_fs_write_atomic(path, "twotwo", 6, 0644, NULL), RD_OK);
    (void)umask(mask);
    assert_content("twotwo");
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0644);
    assert_int_equal(rd_fs_write_atomic(path, "", 0, 0600, NULL), RD_OK);
    assert_content("");
    /* what a crash left is no hindrance */
    int left = open(temporary, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(left, "half a fi", 9), 9);
    (void)close(left);
    assert_int_equal(rd_fs_write_atomic(path, "x", 1, 0600, NULL), RD_OK);
    assert_content("x");
}

static void relative_paths(void **state)
{
    (void)state;
    char before[4096];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(rd_fs_write_atomic("file", "r", 1, 0600, NULL), RD_OK);
    assert_int_equal(chdir(before), 0);
    assert_content("r");
}

static void failures_have_reasons_and_change_nothing(void **state)
{
    (void)state;
    struct rd_why why = {""};
    RD_AUTO_BUF struct rd_buf buf;
    rd_buf_init(&buf, 100);
    assert_int_equal(rd_fs_read(path, &buf, &why), RD_ERR_NOT_FOUND);
    assert_non_null(strstr(why.text, path));
    assert_int_equal(rd_fs_read(folder, &buf, &why), RD_ERR_IO);
    assert_int_equal(rd_fs_write_atomic("/nonexistent/file", "x", 1, 0600, &why), RD_ERR_IO);
    assert_non_null(strstr(why.text, "/nonexistent/file"));
    assert_int_equal(rd_fs_write_atomic(folder, "x", 1, 0600, &why),
                     RD_ERR_IO); /* a folder there */
    assert_int_equal(rd_fs_sync_dir("/nonexistent", &why), RD_ERR_IO);
    assert_int_equal(rd_fs_mkdir("/nonexistent/a", 0700, &why), RD_ERR_IO);
    assert_int_equal(rd_fs_write_atomic(path, "x", 1, 0600, NULL), RD_OK);
    assert_int_equal(rd_fs_mkdir(path, 0700, &why), RD_ERR_IO);
    assert_non_null(strstr(why.text, "not a directory"));
    assert_int_equal(rd_fs_sync_dir(path, &why), RD_ERR_IO);
    assert_int_equal(rd_fs_mkdir(folder, 0700, NULL), RD_OK); /* there already */
}

static void reads_up_to_the_ceiling(void **state)
{
    (void)state;
    enum { LEN = 50000 };
    RD_AUTO_FREE char *text = rd_mem_alloc(LEN);
    assert_non_null(text);
    memset(text, 't', LEN);
    assert_int_equal(rd_fs_write_atomic(path, text, LEN, 0600, NULL), RD_OK);
    for (size_t max = LEN - 1; max <= LEN; max++) {
        struct rd_why why = {""};
        RD_AUTO_BUF struct rd_buf buf;
        rd_buf_init(&buf, max);
        assert_int_equal(rd_fs_read(path, &buf, &why), max == LEN ? RD_OK : RD_ERR_TOO_LARGE);
        assert_int_equal(why.text[0] != '\0', max < LEN);
    }
}

static void reads_and_writes_at_places(void **state)
{
    (void)state;
    char got[8] = "";
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(rd_fs_pwrite_all(fd, "abcdef", 6, 0), RD_OK);
    assert_int_equal(rd_fs_pwrite_all(fd, "XY", 2, 2), RD_OK);
    assert_int_equal(rd_fs_pwrite_all(fd, "", 0, 99), RD_OK);
    assert_int_equal(rd_fs_pread_all(fd, got, 6, 0), RD_OK);
    assert_string_equal(got, "abXYef");
    assert_int_equal(rd_fs_pread_all(fd, got, 2, 4), RD_OK);
    assert_int_equal(rd_fs_pread_all(fd, got, 3, 4), RD_ERR_CORRUPT); /* one byte too far */
    assert_int_equal(rd_fs_pread_all(fd, got, 1, 100), RD_ERR_CORRUPT);
    assert_int_equal(rd_fs_pread_all(fd, got, 0, 100), RD_OK);
    (void)close(fd);
    assert_int_equal(rd_fs_pread_all(-1, got, 1, 0), RD_ERR_IO);
    assert_int_equal(rd_fs_pwrite_all(-1, "x", 1, 0), RD_ERR_IO);
}

/* A write that stops half-way: the old content stands, and the error is told. */
static void a_full_disk_keeps_the_old_content(void **state)
{
    (void)state;
    assert_int_equal(rd_fs_write_atomic(path, "old", 3, 0600, NULL), RD_OK);
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit few = {1000, 1000};
        static const char large[5000];
        struct rd_why why = {""};
        (void)signal(SIGXFSZ, SIG_IGN);
        (void)setrlimit(RLIMIT_FSIZE, &few);
        rd_err err = rd_fs_write_atomic(path, large, sizeof large, 0600, &why);
        _exit(err == RD_ERR_DISK_FULL && why.text[0] != '\0' ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_content("old");
    assert_int_equal(access(temporary, F_OK), -1);
    /* a real full device */
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (full >= 0) {
        rd_err err = rd_fs_pwrite_all(full, "x", 1, 0);
        assert_int_equal(err, RD_ERR_DISK_FULL);
        (void)close(full);
    }
}

/* Killed at some moment while it replaces the file again and again: one of the two contents stands,
 * whole. */
static void a_crash_leaves_the_old_or_the_new(void **state)
{
    (void)state;
    enum { LEN = 40000, ROUNDS = 12 };
    RD_AUTO_FREE char *contents = rd_mem_alloc(LEN);
    assert_non_null(contents);
    for (int round = 0; round < ROUNDS; round++) {
        int started[2];
        assert_int_equal(pipe(started), 0);
        memset(contents, 'a', LEN);
        assert_int_equal(rd_fs_write_atomic(path, contents, LEN, 0600, NULL), RD_OK);
        pid_t pid = fork();
        if (pid == 0) {
            for (int i = 0;; i++) {
                memset(contents, i % 2 == 0 ? 'b' : 'a', LEN);
                (void)!write(started[1], "x", 1);
                if (rd_fs_write_atomic(path, contents, LEN, 0600, NULL) != RD_OK) {
                    _exit(1);
                }
            }
        }
        char byte;
        for (int i = 0; i <= round % 3; i++) { /* in the first, second or third replacement */
            assert_int_equal(read(started[0], &byte, 1), 1);
        }
        for (volatile int spin = 0; spin < round * 5000; spin++) {
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        (void)close(started[0]);
        (void)close(started[1]);
        RD_AUTO_BUF struct rd_buf buf;
        rd_buf_init(&buf, LEN);
        assert_int_equal(rd_fs_read(path, &buf, NULL), RD_OK);
        assert_int_equal(buf.len, LEN);
        assert_int_equal(strspn(buf.data, (char[]){buf.data[0], '\0'}), LEN);
        (void)unlink(temporary);
    }
}

static void makes_folders_with_their_mode(void **state)
{
    (void)state;
    char inner[160];
    struct stat info;
    (void)snprintf(inner, sizeof inner, "%s/inner", folder);
    assert_int_equal(rd_fs_mkdir(inner, 0700, NULL), RD_OK);
    assert_int_equal(stat(inner, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0700);
    assert_int_equal(rd_fs_sync_dir(inner, NULL), RD_OK);
    assert_int_equal(rmdir(inner), 0);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(replaces_whole_files),
        WITH_FOLDER(relative_paths),
        WITH_FOLDER(failures_have_reasons_and_change_nothing),
        WITH_FOLDER(reads_up_to_the_ceiling),
        WITH_FOLDER(reads_and_writes_at_places),
        WITH_FOLDER(a_full_disk_keeps_the_old_content),
        WITH_FOLDER(a_crash_leaves_the_old_or_the_new),
        WITH_FOLDER(makes_folders_with_their_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
