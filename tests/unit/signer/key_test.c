/* SPDX-License-Identifier: Apache-2.0
 *
 * The key file: made once, kept, and refused for every reason there is not to trust it. A refused
 * file is never touched. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sodium.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/text.h"
#include "signer/key.h"

static char folder[64];
static char path[128];

/* RFC 8032 test 1 in this format: the golden file of v1. */
static const char golden[] = "render-signing-key v1\n"
                             "seed nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\n"
                             "public 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n";
static const char golden_public[] =
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/render-key-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/signing.key", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(path);
    (void)rmdir(path);
    assert_int_equal(rmdir(folder), 0); /* so: no temporary file stays */
    return 0;
}

/* Without fsync: these files need not survive. */
static void put(const char *text, size_t len, mode_t mode)
{
    (void)unlink(path);
    RD_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    assert_int_equal(fchmod(fd, mode), 0);
}

static void assert_refused(rd_err err, const char *words)
{
    struct rd_signerd_key key = {0};
    struct rd_why why = {""};
    rd_err got = rd_signerd_key_open(path, &key, &why);
    if (got != err || strstr(why.text, words) == NULL || strchr(why.text, '\n') != NULL) {
        fail_msg("%s \"%s\" instead of %s \"%s\"", rd_err_info(got)->code, why.text,
                 rd_err_info(err)->code, words);
    }
    assert_null(key.secret);
}

static void the_golden_file_is_read(void **state)
{
    (void)state;
    put(golden, sizeof golden - 1, 0600);
    struct rd_signerd_key key = {0};
    assert_int_equal(rd_signerd_key_open(path, &key, NULL), RD_OK);
    char hex[65];
    rd_text_hex(key.public, 32, hex);
    assert_string_equal(hex, golden_public);
    uint8_t signature[64];
    (void)crypto_sign_detached(signature, NULL, NULL, 0, key.secret);
    rd_text_hex(signature, 32, hex);
    assert_string_equal(hex, "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155");
    rd_signerd_key_done(&key);
    assert_null(key.secret);
    put(golden, sizeof golden - 1, 0400); /* an operator may take the right to write away */
    assert_int_equal(rd_signerd_key_open(path, &key, NULL), RD_OK);
    rd_signerd_key_done(&key);
}

static void a_missing_file_is_made_and_then_kept(void **state)
{
    (void)state;
    struct rd_signerd_key first = {0};
    struct rd_signerd_key second = {0};
    mode_t mask = umask(0777); /* even this must give 0600 */
    assert_int_equal(rd_signerd_key_open(path, &first, NULL), RD_OK);
    (void)umask(mask);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(info.st_nlink, 1);
    assert_int_equal(rd_signerd_key_open(path, &second, NULL), RD_OK);
    assert_memory_equal(first.public, second.public, 32);
    assert_memory_equal(first.secret, second.secret, 64);
    rd_signerd_key_done(&first);
    rd_signerd_key_done(&second);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rd_signerd_key_open(path, &first, NULL), RD_OK);
    assert_memory_not_equal(first.public, second.public, 32);
    rd_signerd_key_done(&first);
}

static void every_changed_byte_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof golden - 1; i++) {
        char text[sizeof golden];
        memcpy(text, golden, sizeof golden);
        text[i] = (char)(text[i] ^ (i % 2 == 0 ? 1 : 0x20));
        put(text, sizeof golden - 1, 0600);
        assert_refused(RD_ERR_CONFIG, "not a render signing key");
        RD_AUTO_BUF struct rd_buf after;
        rd_buf_init(&after, 1024);
        assert_int_equal(rd_fs_read(path, &after, NULL), RD_OK);
        assert_memory_equal(after.data, text, sizeof golden - 1);
    }
}

static void every_other_length_is_refused(void **state)
{
    (void)state;
    char text[2 * sizeof golden];
    memset(text, '\n', sizeof text);
    memcpy(text, golden, sizeof golden - 1);
    for (size_t len = 0; len < sizeof text; len++) {
        if (len != sizeof golden - 1) {
            put(text, len, 0600);
            assert_refused(RD_ERR_CONFIG, "is not a render signing key");
        }
    }
}

static void modes_that_let_others_in_are_refused(void **state)
{
    (void)state;
    put(golden, sizeof golden - 1, 0600);
    for (unsigned mode = 0; mode <= 07777; mode++) {
        if ((mode & 0400) == 0 || (mode & 07177) == 0) {
            continue; /* unreadable, which root does not notice; or fine */
        }
        if (mode > 0777 && mode % 64 != 0) {
            continue; /* the special bits do not need every combination */
        }
        assert_int_equal(chmod(path, mode), 0);
        assert_refused(RD_ERR_CONFIG, "it must be 0600");
    }
}

static void another_owner_is_refused(void **state)
{
    (void)state;
    put(golden, sizeof golden - 1, 0600);
    if (geteuid() != 0) {
        print_message("# not tried: only root can give a file away\n");
        return;
    }
    assert_int_equal(chown(path, 12345, 12345), 0);
    assert_refused(RD_ERR_CONFIG, "belongs to user 12345, not to user 0");
}

static void what_is_no_plain_file_is_refused(void **state)
{
    (void)state;
    char target[160];
    (void)snprintf(target, sizeof target, "%s/real.key", folder);
    assert_int_equal(rd_fs_write_atomic(target, golden, sizeof golden - 1, 0600, NULL), RD_OK);
    assert_int_equal(symlink(target, path), 0);
    assert_refused(RD_ERR_CONFIG, "is a symbolic link");
    assert_int_equal(unlink(target), 0);
    assert_refused(RD_ERR_CONFIG, "is a symbolic link"); /* a dangling one is not followed either */
    assert_int_equal(access(target, F_OK), -1);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_refused(RD_ERR_CONFIG, "is not a plain file");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* must not wait for a writer */
    assert_refused(RD_ERR_CONFIG, "is not a plain file");
    assert_int_equal(unlink(path), 0);
}

static void a_folder_that_is_missing_or_closed(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof path, "%s/missing/signing.key", folder);
    assert_refused(RD_ERR_IO, "cannot create");
    (void)snprintf(path, sizeof path, "/proc/signing.key");
    assert_refused(RD_ERR_IO, "cannot create");
    (void)snprintf(path, sizeof path, "%s/signing.key", folder);
}

static void a_path_that_is_too_long(void **state)
{
    (void)state;
    char long_path[5000];
    struct rd_signerd_key key = {0};
    memset(long_path, 'a', sizeof long_path);
    long_path[sizeof long_path - 1] = '\0';
    assert_int_not_equal(rd_signerd_key_open(long_path, &key, NULL), RD_OK);
    assert_null(key.secret);
}

/* Many start at once on an empty folder: all must come out with one and the same key. */
static void racing_starts_agree(void **state)
{
    (void)state;
    enum { RACERS = 8 };
    for (int round = 0; round < 4; round++) {
        int ends[2];
        int gate[2];
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(pipe(gate), 0);
        for (int i = 0; i < RACERS; i++) {
            if (fork() == 0) {
                char byte;
                struct rd_signerd_key key = {0};
                (void)close(gate[1]);
                (void)!read(gate[0], &byte, 1); /* all wait for one moment */
                rd_err err = rd_signerd_key_open(path, &key, NULL);
                ssize_t put_len = write(ends[1], key.public, 32);
                _exit(err == RD_OK && put_len == 32 ? 0 : 1);
            }
        }
        (void)close(gate[0]);
        (void)close(gate[1]);
        uint8_t first[32];
        assert_int_equal(read(ends[0], first, 32), 32);
        for (int i = 1; i < RACERS; i++) {
            uint8_t next[32];
            assert_int_equal(read(ends[0], next, 32), 32);
            assert_memory_equal(next, first, 32);
        }
        for (int i = 0; i < RACERS; i++) {
            int status = 0;
            assert_true(wait(&status) > 0);
            assert_int_equal(status, 0);
        }
        (void)close(ends[0]);
        (void)close(ends[1]);
        assert_int_equal(unlink(path), 0);
    }
}

/* How many files the folder has; the key itself is told in *ret_key. */
static unsigned count_files(bool *ret_key)
{
    unsigned count = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    *ret_key = false;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            count++;
            *ret_key |= strcmp(entry->d_name, "signing.key") == 0;
        }
    }
    (void)closedir(dir);
    return count;
}

static void clear_folder(void)
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            /* of a kill in the middle only the key or a temporary file of a random name may stay */
            assert_memory_equal(entry->d_name, "signing.key", 11);
            assert_int_equal(unlinkat(dirfd(dir), entry->d_name, 0), 0);
        }
    }
    (void)closedir(dir);
}

/* Killed while it makes a key: as soon as the temporary file is seen, or as soon as the key is.
 * Then no key or a whole one stands there, and the next start has a key. */
static void a_crash_leaves_no_half_key(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        bool key_seen = false;
        pid_t pid = fork();
        if (pid == 0) {
            struct rd_signerd_key key = {0};
            rd_err err = rd_signerd_key_open(path, &key, NULL);
            _exit(err == RD_OK ? 0 : 1);
        }
        while (count_files(&key_seen) == 0 || (round % 2 == 1 && !key_seen)) {
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        struct stat info;
        if (stat(path, &info) == 0) {
            assert_int_equal(info.st_size, sizeof golden - 1);
        }
        struct rd_signerd_key key = {0};
        assert_int_equal(rd_signerd_key_open(path, &key, NULL), RD_OK);
        rd_signerd_key_done(&key);
        clear_folder();
    }
}

/* A disk that takes nothing: an error with a reason, and nothing left behind. */
static void a_write_that_fails_leaves_nothing(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit few = {60, 60}; /* half a key file */
        struct rd_signerd_key key = {0};
        struct rd_why why = {""};
        (void)signal(SIGXFSZ, SIG_IGN);
        (void)setrlimit(RLIMIT_FSIZE, &few);
        rd_err err = rd_signerd_key_open(path, &key, &why);
        _exit(err == RD_ERR_DISK_FULL && strstr(why.text, "cannot write") != NULL ? 0 : 1);
    }
    int status = 0;
    bool key_seen = false;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(count_files(&key_seen), 0);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(the_golden_file_is_read),
        WITH_FOLDER(a_missing_file_is_made_and_then_kept),
        WITH_FOLDER(every_changed_byte_is_refused),
        WITH_FOLDER(every_other_length_is_refused),
        WITH_FOLDER(modes_that_let_others_in_are_refused),
        WITH_FOLDER(another_owner_is_refused),
        WITH_FOLDER(what_is_no_plain_file_is_refused),
        WITH_FOLDER(a_folder_that_is_missing_or_closed),
        WITH_FOLDER(a_path_that_is_too_long),
        WITH_FOLDER(racing_starts_agree),
        WITH_FOLDER(a_crash_leaves_no_half_key),
        WITH_FOLDER(a_write_that_fails_leaves_nothing),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
