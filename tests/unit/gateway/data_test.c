/* SPDX-License-Identifier: Apache-2.0
 *
 * data.c: what the first start puts into the data folder, what later starts accept there, and what
 * each fault is called. The search for render-signer looks beside the running program, so this
 * program copies itself into a folder laid out as an installation and runs the copy (`--signer`).
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "gateway/data.h"

static char root[64]; /* a fresh folder for each test */

static int make_root(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/render-data-test-XXXXXX");
    return mkdtemp(root) == NULL ? -1 : 0;
}

static int remove_root(void **state)
{
    (void)state;
    char words[2][8] = {"rm", "-rf"};
    char *const argv[] = {words[0], words[1], root, NULL};
    pid_t child = fork();
    if (child == 0) {
        (void)execv("/bin/rm", argv);
        _exit(127);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}

static const char *under(const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    (void)close(fd);
}

static unsigned mode_of(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return (unsigned)(info.st_mode & 07777);
}

/* ---- paths and the folder ---- */

/* Prints where the signer is, or why it is nowhere: what the copy of this program does. */
static int print_signer(void)
{
    struct rd_data_paths paths;
    struct rd_why why = {""};
    rd_err err = rd_data_paths("d", &paths, &why);
    (void)puts(err == RD_OK ? paths.signer_program : why.text);
    return 0;
}

static void copy_self(const char *path)
{
    int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int out = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
    struct stat info;
    assert_true(in >= 0 && out >= 0);
    assert_int_equal(fstat(in, &info), 0);
    off_t left = info.st_size;
    while (left > 0) {
        ssize_t sent = sendfile(out, in, NULL, (size_t)left);
        assert_true(sent > 0);
        left -= sent;
    }
    (void)close(in);
    (void)close(out);
}

static void run_copy(const char *path, char *out, size_t room)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char words[2][256] = {"", "--signer"};
        (void)snprintf(words[0], sizeof words[0], "%s", path);
        char *const argv[] = {words[0], words[1], NULL};
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)execv(path, argv);
        _exit(127);
    }
    (void)close(ends[1]);
    size_t len = 0;
    ssize_t got;
    while (len < room - 1 && (got = read(ends[0], out + len, room - 1 - len)) > 0) {
        len += (size_t)got;
    }
    out[len] = '\0';
    (void)close(ends[0]);
    int status = 0;
    assert_true(waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
}

static void the_signer_is_found_beside_the_program(void **state)
{
    (void)state;
    char out[4096];
    assert_int_equal(mkdir(under("gateway"), 0755), 0);
    assert_int_equal(mkdir(under("signer"), 0755), 0);
    const char *copy = under("gateway/program");
    copy_self(copy);
    run_copy(copy, out, sizeof out);
    assert_non_null(strstr(out, "no render-signer beside this program in"));
    write_file(under("signer/render-signer"), "", 0644); /* not a program */
    run_copy(copy, out, sizeof out);
    assert_non_null(strstr(out, "no render-signer"));
    assert_int_equal(chmod(under("signer/render-signer"), 0755), 0); /* a build folder */
    run_copy(copy, out, sizeof out);
    assert_non_null(strstr(out, "gateway/../signer/render-signer"));
    write_file(under("gateway/render-signer"), "", 0755); /* an installation comes first */
    run_copy(copy, out, sizeof out);
    assert_non_null(strstr(out, "gateway/render-signer"));
}

static void the_folder_is_made_private_and_must_be(void **state)
{
    (void)state;
    struct rd_data_paths paths;
    struct rd_why why = {""};
    /* Without a signer here, preparing ends with that; the folder has been judged before. */
    assert_int_equal(rd_data_prepare(under("new"), &paths, &why), RD_ERR_CONFIG);
    assert_non_null(strstr(why.text, "render-signer"));
    assert_int_equal(mode_of(under("new")), 0700);
    static const mode_t open_modes[] = {0701, 0710, 0750, 0755, 0777, 01777};
    for (size_t i = 0; i < sizeof open_modes / sizeof open_modes[0]; i++) {
        assert_int_equal(chmod(under("new"), open_modes[i]), 0);
        assert_int_equal(rd_data_prepare(under("new"), &paths, &why), RD_ERR_CONFIG);
        assert_non_null(strstr(why.text, "chmod 700"));
        assert_int_equal(mode_of(under("new")), open_modes[i]); /* told, not changed */
    }
}

static void folders_that_cannot_be(void **state)
{
    (void)state;
    struct rd_data_paths paths;
    struct rd_why why = {""};
    write_file(under("file"), "x", 0600);
    assert_int_not_equal(rd_data_prepare(under("file"), &paths, &why), RD_OK);
    assert_non_null(strstr(why.text, "file"));
    assert_int_not_equal(rd_data_prepare(under("no/parent"), &paths, &why), RD_OK);
    assert_non_null(strstr(why.text, "no/parent"));
    char path[RD_DATA_PATH_MAX + 16];
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    assert_int_equal(rd_data_paths(path, &paths, &why), RD_ERR_CONFIG);
    assert_non_null(strstr(why.text, "too long"));
}

/* ---- the administrator's key ---- */

static void read_line(const char *path, char *out, size_t room)
{
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(fgets(out, (int)room, file));
    assert_int_equal(fgetc(file), EOF);
    (void)fclose(file);
    assert_int_equal(out[strlen(out) - 1], '\n');
    out[strlen(out) - 1] = '\0';
}

static void the_first_administrator(void **state)
{
    (void)state;
    struct rd_store *store = NULL;
    struct rd_why why = {""};
    struct rd_key key;
    char text[64];
    assert_int_equal(mkdir(under("d"), 0700), 0);
    assert_int_equal(rd_store_open(under("d"), &store, &why), RD_OK);
    assert_int_equal(rd_data_admin_key(store, under("d/admin.key"), &why), RD_OK);
    /* A kill before the file was written: nobody can know the key, so there is another. */
    assert_int_equal(unlink(under("d/admin.key")), 0);
    rd_store_close(store);
    store = NULL;
    assert_int_equal(rd_store_open(under("d"), &store, &why), RD_OK);
    assert_int_equal(rd_data_admin_key(store, under("d/admin.key"), &why), RD_OK);
    assert_int_equal(mode_of(under("d/admin.key")), 0600);
    read_line(under("d/admin.key"), text, sizeof text);
    assert_int_equal(strlen(text), RD_KEY_TEXT_LEN);
    assert_int_equal(rd_store_key_check(store, text, strlen(text), &key), RD_OK);
    assert_int_equal(key.scopes, RD_SCOPE_ALL);
    assert_string_equal(key.tenant, "admin");
    assert_int_equal(unlink(under("d/admin.key")), 0); /* kept elsewhere: it does not come back */
    assert_int_equal(rd_data_admin_key(store, under("d/admin.key"), &why), RD_OK);
    assert_int_equal(access(under("d/admin.key"), F_OK), -1);
    rd_store_close(store);
}

static void a_key_that_cannot_be_written_is_made_again(void **state)
{
    (void)state;
    struct rd_store *store = NULL;
    struct rd_why why = {""};
    struct rd_key key;
    char text[64];
    assert_int_equal(mkdir(under("d"), 0700), 0);
    assert_int_equal(rd_store_open(under("d"), &store, &why), RD_OK);
    assert_int_not_equal(rd_data_admin_key(store, under("missing/admin.key"), &why), RD_OK);
    assert_non_null(strstr(why.text, "missing/admin.key"));
    assert_int_equal(rd_data_admin_key(store, under("d/admin.key"), &why), RD_OK);
    read_line(under("d/admin.key"), text, sizeof text);
    assert_int_equal(rd_store_key_check(store, text, strlen(text), &key), RD_OK);
    rd_store_close(store);
}

/* ---- the secret that prompts are committed to with ---- */

static void the_prompt_secret_is_made_once(void **state)
{
    (void)state;
    uint8_t first[RD_SALT_LEN];
    uint8_t again[RD_SALT_LEN];
    uint8_t other[RD_SALT_LEN];
    struct rd_why why = {""};
    assert_int_equal(rd_data_prompt_secret(under("secret"), first, &why), RD_OK);
    assert_int_equal(mode_of(under("secret")), 0600);
    assert_int_equal(rd_data_prompt_secret(under("secret"), again, &why), RD_OK);
    assert_memory_equal(first, again, RD_SALT_LEN);
    assert_int_equal(rd_data_prompt_secret(under("other"), other, &why), RD_OK);
    assert_memory_not_equal(first, other, RD_SALT_LEN);
}

static void a_damaged_prompt_secret_is_refused(void **state)
{
    (void)state;
    char good[2 * RD_SALT_LEN + 2];
    memset(good, 'a', sizeof good);
    good[2 * RD_SALT_LEN] = '\n';
    good[2 * RD_SALT_LEN + 1] = '\0';
    uint8_t secret[RD_SALT_LEN];
    struct rd_why why = {""};
    write_file(under("secret"), good, 0600);
    assert_int_equal(rd_data_prompt_secret(under("secret"), secret, &why), RD_OK);
    static const char *const damages[] = {"", "a", "upper", "letter", "longer", "unended"};
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        char bad[sizeof good + 1];
        memcpy(bad, good, sizeof good);
        switch (i) {
        case 0:
        case 1:
            bad[i] = '\0';
            break;
        case 2:
            bad[5] = 'A';
            break;
        case 3:
            bad[5] = 'g';
            break;
        case 4:
            bad[2 * RD_SALT_LEN] = 'a';
            bad[2 * RD_SALT_LEN + 1] = '\n';
            bad[2 * RD_SALT_LEN + 2] = '\0';
            break;
        default:
            bad[2 * RD_SALT_LEN] = '\0';
        }
        write_file(under("secret"), bad, 0600);
        why.text[0] = '\0';
        if (rd_data_prompt_secret(under("secret"), secret, &why) == RD_OK ||
            strstr(why.text, "secret") == NULL) {
            fail_msg("%s: accepted, or without a reason: '%s'", damages[i], why.text);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--signer") == 0) {
        return print_signer();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_signer_is_found_beside_the_program, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(the_folder_is_made_private_and_must_be, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(folders_that_cannot_be, make_root, remove_root),
        cmocka_unit_test_setup_teardown(the_first_administrator, make_root, remove_root),
        cmocka_unit_test_setup_teardown(a_key_that_cannot_be_written_is_made_again, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(the_prompt_secret_is_made_once, make_root, remove_root),
        cmocka_unit_test_setup_teardown(a_damaged_prompt_secret_is_refused, make_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
