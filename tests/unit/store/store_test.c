/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening the store: what is made, what is refused and in which words, damage in every page, and
 * what stands after a kill. */
#include <signal.h>
#include <sys/wait.h>

#include "jobs_fixture.h"

static unsigned mode_of(const char *name)
{
    struct stat info;
    assert_int_equal(stat(test_path(name), &info), 0);
    return info.st_mode & 0777;
}

static void test_open_makes_private_files(void **state)
{
    (void)state;
    mode_t old = umask(0);
    struct rd_store *store = test_open();
    static const char *const names[] = {"render.db", "render.db-wal", "render.db-shm", "pepper",
                                        "lock"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(mode_of(names[i]), 0600);
    }
    (void)umask(old);
    assert_true(rd_store_healthy(store));
    assert_int_equal(rd_store_key_count(store), 0);
    rd_store_close(store);
    rd_store_close(NULL);
}

static void test_open_makes_the_folder(void **state)
{
    (void)state;
    assert_int_equal(rmdir(test_dir), 0);
    rd_store_close(test_open());
    struct stat info;
    assert_int_equal(stat(test_dir, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
}

static void test_two_gateways_do_not_share(void **state)
{
    (void)state;
    char words[64];
    struct rd_store *store = test_open();
    (void)snprintf(words, sizeof words, "process %ld", (long)getpid());
    test_refused(RD_ERR_CONFLICT, words);
    char text[RD_KEY_TEXT_LEN + 1];
    (void)test_key(store, "acme", text); /* the first is not disturbed */
    rd_store_close(store);
    rd_store_close(test_open());
}

static void test_newer_database_is_refused(void **state)
{
    (void)state;
    rd_store_close(test_open());
    test_sql("INSERT INTO migrations VALUES(7, 'from the future', 1)");
    test_refused(RD_ERR_CORRUPT, "schema version 7, this program knows up to 4: run the newer");
}

/* vN.db and vN.pepper were made by the program of schema version N, with these in it. */
static void open_version(unsigned version, struct rd_store **ret)
{
    static const char *const names[][2] = {{"db", "render.db"}, {"pepper", "pepper"}};
    for (size_t i = 0; i < 2; i++) {
        char path[400];
        struct rd_buf file;
        rd_buf_init(&file, 1u << 20);
        (void)snprintf(path, sizeof path, "%s/v%u.%s", RD_STORE_FILES, version, names[i][0]);
        assert_int_equal(rd_fs_read(path, &file, NULL), RD_OK);
        test_write(names[i][1], file.data, file.len);
        rd_buf_done(&file);
    }
    *ret = test_open();
}

static void test_a_database_of_version_1_is_brought_up_to_date(void **state)
{
    (void)state;
    struct rd_store *store = NULL;
    struct rd_key key;
    struct rd_upload upload;
    open_version(1, &store);
    for (int again = 0; again < 2; again++) {
        static const char good[] = "rk_GeYpCKrBIXXKszR4olMaSU6MAiqycG2PUY5e";
        static const char revoked[] = "rk_lEcY8vUEUvyyvC5Kq5J803nnzWjsck271RKX";
        assert_int_equal(rd_store_key_count(store), 3);
        assert_int_equal(rd_store_key_check(store, good, RD_KEY_TEXT_LEN, &key), RD_OK);
        assert_string_equal(key.id, "key_03524CwxxgSTYMoOmFDG7I");
        assert_string_equal(key.tenant, "acme");
        assert_int_equal(key.scopes, RD_SCOPE_GENERATE | RD_SCOPE_READ);
        assert_int_equal(rd_store_key_check(store, revoked, RD_KEY_TEXT_LEN, &key),
                         RD_ERR_UNAUTHORIZED);
        assert_int_equal(rd_store_upload_resolve(store, "a_03524CwzuFXaa6yEtDGZD7", &upload),
                         RD_OK);
        assert_int_equal(upload.blake3[0], 42);
        /* and takes what is new */
        struct rd_job_write write = job_add(1 + (uint64_t)again, 1);
        assert_int_equal(rd_store_jobs_apply(store, &write, 1), RD_OK);
        assert_int_equal(write.err, RD_OK);
        rd_store_close(store);
        store = test_open();
    }
    rd_store_close(store);
}

static bool is_running(void *ctx, const struct rd_job_row *row)
{
    unsigned *seen = ctx;
    assert_string_equal(row->id, "j_03529tWZApvATRsJ28WUzI");
    assert_string_equal(row->model, "flux/schnell");
    assert_string_equal(row->backend, "box");
    ++*seen;
    return true;
}

static void up_to_date(unsigned version)
{
    struct rd_store *store = NULL;
    struct rd_key key;
    unsigned live = 0;
    open_version(version, &store);
    static const char text[] = "rk_so7g21QQUrPk9Yn5x73RW7dw9H9qjh10mnA2";
    assert_int_equal(rd_store_key_check(store, text, RD_KEY_TEXT_LEN, &key), RD_OK);
    assert_string_equal(key.tenant, "acme");
    assert_int_equal(rd_store_jobs_live(store, is_running, &live), RD_OK);
    assert_int_equal(live, 1);
    /* The key "order-2" has the job that was cancelled. */
    struct rd_job_write again = job_add(3, key.owner);
    again.idempotency_key = "order-2";
    assert_int_equal(rd_store_jobs_apply(store, &again, 1), RD_OK);
    assert_int_equal(again.err, RD_ERR_CONFLICT); /* its body was another */
    const struct rd_replay_ask ask = {.owner = key.owner, .key = "order-2"};
    struct rd_replay got;
    assert_int_equal(rd_store_replay_begin(store, &ask, &got), RD_OK);
    assert_int_equal(rd_store_replay_keep(store, &ask, 200, "{}", 2), RD_OK);
    rd_store_close(store);
}

static void test_a_database_of_version_2_is_brought_up_to_date(void **state)
{
    (void)state;
    up_to_date(2);
}

static void test_a_database_of_version_3_is_brought_up_to_date(void **state)
{
    (void)state;
    up_to_date(3);
}

/* Killed between two steps, or before the end of one: the next start goes on. */
static void test_a_migration_that_fails_is_as_if_never_begun(void **state)
{
    (void)state;
    struct rd_store *store = NULL;
    open_version(1, &store);
    rd_store_close(store);
    assert_int_equal(unlink(test_path("render.db")), 0);
    char path[400];
    struct rd_buf file;
    rd_buf_init(&file, 1u << 20);
    (void)snprintf(path, sizeof path, "%s/v1.db", RD_STORE_FILES);
    assert_int_equal(rd_fs_read(path, &file, NULL), RD_OK);
    test_write("render.db", file.data, file.len);
    rd_buf_done(&file);
    test_sql("CREATE TABLE webhook_secrets(x)"); /* the last table of the step is in the way */
    test_refused(RD_ERR_STORAGE, "already exists");
    test_sql("DROP TABLE webhook_secrets");
    rd_store_close(test_open());
}

static void test_foreign_files_are_refused(void **state)
{
    (void)state;
    test_sql("CREATE TABLE recipes(name TEXT)");
    test_refused(RD_ERR_CORRUPT, "of another program");
    test_write("render.db", "this is not a database, but long enough to look at: ............", 64);
    test_refused(RD_ERR_CORRUPT, "restore it from a backup");
    assert_int_equal(unlink(test_path("render.db")), 0);
    assert_int_equal(mkdir(test_path("render.db"), 0700), 0);
    test_refused(RD_ERR_IO, "render.db");
}

static void test_an_empty_database_is_begun(void **state)
{
    (void)state;
    test_write("render.db", "", 0); /* as after a crash between creating and writing it */
    rd_store_close(test_open());
}

/* What the gateway would believe. */
struct snapshot {
    struct rd_key keys[4];
    size_t count;
};

static bool snap(void *ctx, const struct rd_key *key)
{
    struct snapshot *snapshot = ctx;
    snapshot->keys[snapshot->count++] = *key;
    return snapshot->count < 4;
}

static struct snapshot filled_store(void)
{
    struct snapshot snapshot = {.count = 0};
    char text[RD_KEY_TEXT_LEN + 1];
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    struct rd_upload upload;
    struct rd_store *store = test_open();
    struct rd_key key = test_key(store, "acme", text);
    (void)test_key(store, "beta", text);
    (void)test_key(store, "acme", text);
    assert_int_equal(rd_store_key_revoke(store, NULL, key.id), RD_OK);
    assert_int_equal(rd_store_upload_create(store, &key, "image/png", 5, 1000, &upload, token),
                     RD_OK);
    assert_int_equal(rd_store_key_list(store, NULL, snap, &snapshot), RD_OK);
    assert_int_equal(snapshot.count, 3);
    rd_store_close(store);
    return snapshot;
}

/* Opens the damaged file: it may be refused with a clear word, or believed; never believed wrongly.
 */
static bool open_damaged(const struct snapshot *truth)
{
    struct rd_store *store = NULL;
    struct rd_why why = {""};
    rd_err err = rd_store_open(test_dir, &store, &why);
    if (err != RD_OK) {
        assert_true(strlen(why.text) > 20);
        assert_true(err == RD_ERR_CORRUPT || err == RD_ERR_STORAGE);
        return true;
    }
    struct snapshot found = {.count = 0};
    assert_int_equal(rd_store_key_list(store, NULL, snap, &found), RD_OK);
    for (size_t i = 0; i < found.count; i++) {
        found.keys[i].last_used_ms = 0; /* not sealed, grants nothing */
    }
    assert_int_equal(found.count, truth->count);
    assert_memory_equal(found.keys, truth->keys, sizeof found.keys);
    rd_store_close(store);
    return false;
}

static void test_damage_in_every_page(void **state)
{
    (void)state;
    struct snapshot truth = filled_store();
    size_t len = 0;
    char *whole = test_read("render.db", &len);
    size_t refused = 0;
    size_t tried = 0;
    for (size_t at = 0; at < len; at += 251) {
        whole[at] = (char)~whole[at];
        test_write("render.db", whole, len);
        refused += open_damaged(&truth) ? 1 : 0;
        whole[at] = (char)~whole[at];
        tried++;
    }
    for (size_t page = 0; page < len; page += 4096) { /* the head and the tail of each page */
        for (size_t i = 0; i < 2; i++) {
            size_t at = i == 0 ? page : page + 4096 - 256;
            char kept[256];
            memcpy(kept, whole + at, sizeof kept);
            for (size_t k = 0; k < sizeof kept; k++) {
                whole[at + k] = (char)(whole[at + k] ^ 0x55);
            }
            test_write("render.db", whole, len);
            refused += open_damaged(&truth) ? 1 : 0;
            memcpy(whole + at, kept, sizeof kept);
            tried++;
        }
    }
    for (size_t cut = 4096; cut < len; cut += 4096) {
        test_write("render.db", whole, cut - 7);
        assert_true(open_damaged(&truth));
    }
    print_message("# %zu of %zu damages refused, the others harmless\n", refused, tried);
    assert_true(refused >= len / 4096 * 2); /* most of a small database is empty space */
    test_write("render.db", whole, len);
    assert_false(open_damaged(&truth));
    rd_mem_free(whole);
}

static void test_an_altered_key_is_refused(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "UPDATE keys SET scopes = 15 WHERE n = 2",
        "UPDATE keys SET scopes = 99 WHERE n = 2",
        "UPDATE keys SET owner = 1 WHERE n = 2",
        "UPDATE keys SET revoked_ms = 0 WHERE n = 1",
        "UPDATE keys SET expires_ms = 1 WHERE n = 2",
        "UPDATE keys SET name = 'other' WHERE n = 2",
        "UPDATE keys SET hash = randomblob(32) WHERE n = 2",
        "UPDATE keys SET hash = randomblob(8) WHERE n = 2",
        "UPDATE keys SET seal = (SELECT seal FROM keys WHERE n = 1) WHERE n = 2",
        "UPDATE keys SET created_ms = -5 WHERE n = 2",
        "UPDATE keys SET id = printf('%99d', 1) WHERE n = 2",
        "UPDATE tenants SET name = 'rival' WHERE owner = 2",
        "PRAGMA foreign_keys=OFF; DELETE FROM tenants WHERE owner = 2",
    };
    (void)filled_store();
    size_t len = 0;
    char *whole = test_read("render.db", &len);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        test_sql(changes[i]);
        test_refused(RD_ERR_CORRUPT, "was altered outside of the gateway");
        test_write("render.db", whole, len);
    }
    test_sql("UPDATE keys SET last_used_ms = 5");
    rd_store_close(test_open());
    rd_mem_free(whole);
}

static void test_pepper(void **state)
{
    (void)state;
    struct snapshot truth = filled_store();
    size_t len = 0;
    char *pepper = test_read("pepper", &len);
    assert_int_equal(len, 32);

    assert_int_equal(unlink(test_path("pepper")), 0);
    test_refused(RD_ERR_CORRUPT, "/pepper is missing, and without it none of the 3 API keys");
    assert_int_not_equal(access(test_path("pepper"), F_OK), 0); /* none was made up */

    char wrong[33] = "not the same pepper as before...";
    test_write("pepper", wrong, 32);
    test_refused(RD_ERR_CORRUPT, "/pepper is not the one that");
    test_write("pepper", pepper, 31);
    test_refused(RD_ERR_CORRUPT, "not the 32 bytes");
    test_write("pepper", wrong, 33);
    test_refused(RD_ERR_CORRUPT, "not the 32 bytes");
    test_write("pepper", "", 0);
    test_refused(RD_ERR_CORRUPT, "not the 32 bytes");
    assert_int_equal(unlink(test_path("pepper")), 0);
    assert_int_equal(mkdir(test_path("pepper"), 0700), 0);
    test_refused(RD_ERR_IO, "pepper");
    assert_int_equal(rmdir(test_path("pepper")), 0);

    test_write("pepper", pepper, 32);
    assert_int_equal(chmod(test_path("pepper"), 0640), 0);
    test_refused(RD_ERR_IO, "readable by others (mode 640): run `chmod 600`");
    assert_int_equal(chmod(test_path("pepper"), 0600), 0);
    assert_false(open_damaged(&truth));
    rd_mem_free(pepper);
}

static void test_an_empty_store_takes_a_new_pepper(void **state)
{
    (void)state;
    rd_store_close(test_open());
    assert_int_equal(unlink(test_path("pepper")), 0);
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    struct rd_key key = test_key(store, "acme", text);
    rd_store_close(store);
    store = test_open();
    assert_int_equal(rd_store_key_check(store, text, RD_KEY_TEXT_LEN, &key), RD_OK);
    rd_store_close(store);
}

/* Runs `body` in a process without root's power to read and write everything. */
static void as_nobody(void (*body)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
            _exit(3);
        }
        body();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void expect_denied(void)
{
    struct rd_store *store = NULL;
    struct rd_why why = {""};
    rd_err err = rd_store_open(test_dir, &store, &why);
    if (err != RD_ERR_IO || strstr(why.text, "Permission denied") == NULL ||
        strstr(why.text, test_dir) == NULL) {
        (void)fprintf(stderr, "# got %d '%s'\n", (int)err, why.text);
        _exit(1);
    }
}

static void test_read_only_folder(void **state)
{
    (void)state;
    assert_int_equal(chmod(test_dir, 0555), 0);
    as_nobody(expect_denied);
    rd_store_close(test_open()); /* files of another user */
    as_nobody(expect_denied);
    assert_int_equal(chmod(test_dir, 0700), 0);
}

static void test_unreadable_pepper(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    (void)filled_store();
    static const char *const names[] = {"lock", "render.db"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(chown(test_path(names[i]), 65534, 65534), 0);
    }
    assert_int_equal(chown(test_dir, 65534, 65534), 0);
    as_nobody(expect_denied); /* the pepper is still root's */
    assert_int_equal(chown(test_dir, 0, 0), 0);
}

/* A child makes keys and tells each over a pipe after the call returned; it is killed; all that
 * were told must be there. */
static void test_what_returned_survives_a_kill(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rd_store *store = NULL;
        if (rd_store_open(test_dir, &store, NULL) != RD_OK) {
            _exit(1);
        }
        for (;;) {
            struct rd_key key;
            char text[RD_KEY_TEXT_LEN + 1];
            if (rd_store_key_create(store, "acme", "n", 1, 0, &key, text, NULL) != RD_OK ||
                write(ends[1], text, RD_KEY_TEXT_LEN) != RD_KEY_TEXT_LEN) {
                _exit(1);
            }
        }
    }
    (void)close(ends[1]);
    char told[50][RD_KEY_TEXT_LEN];
    size_t count = 0;
    while (count < 50 && read(ends[0], told[count], RD_KEY_TEXT_LEN) == RD_KEY_TEXT_LEN) {
        count++;
    }
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    (void)close(ends[0]);
    assert_int_equal(count, 50);
    struct rd_store *store = test_open();
    struct rd_key key;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(rd_store_key_check(store, told[i], RD_KEY_TEXT_LEN, &key), RD_OK);
    }
    rd_store_close(store);
}

/* SQLite answers SQLITE_FULL as it does for ENOSPC when the file may not grow. */
static void limit_pages(struct rd_store *store, const char *pragma)
{
    rd_store_db_lock(&store->writer); /* the thread for last_used writes as well */
    assert_int_equal(sqlite3_exec(store->writer.handle, pragma, NULL, NULL, NULL), SQLITE_OK);
    rd_store_db_unlock(&store->writer);
}

static void test_a_full_disk_is_told_and_survived(void **state)
{
    (void)state;
    struct rd_store *store = test_open();
    char text[RD_KEY_TEXT_LEN + 1];
    char other[RD_KEY_TEXT_LEN + 1];
    struct rd_key key;
    (void)test_key(store, "acme", text);
    limit_pages(store, "PRAGMA max_page_count=1");
    rd_err err = RD_OK;
    for (int i = 0; i < 200 && err == RD_OK; i++) {
        err = rd_store_key_create(store, "acme", "n", 1, 0, &key, other, NULL);
    }
    assert_int_equal(err, RD_ERR_DISK_FULL);
    assert_true(rd_store_healthy(store)); /* room may come back */
    assert_int_equal(rd_store_key_check(store, text, RD_KEY_TEXT_LEN, &key), RD_OK);
    limit_pages(store, "PRAGMA max_page_count=100000");
    (void)test_key(store, "acme", other);
    rd_store_close(store);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_open_makes_private_files),
        TEST(test_open_makes_the_folder),
        TEST(test_two_gateways_do_not_share),
        TEST(test_newer_database_is_refused),
        TEST(test_a_database_of_version_1_is_brought_up_to_date),
        TEST(test_a_database_of_version_2_is_brought_up_to_date),
        TEST(test_a_database_of_version_3_is_brought_up_to_date),
        TEST(test_a_migration_that_fails_is_as_if_never_begun),
        TEST(test_foreign_files_are_refused),
        TEST(test_an_empty_database_is_begun),
        TEST(test_damage_in_every_page),
        TEST(test_an_altered_key_is_refused),
        TEST(test_pepper),
        TEST(test_an_empty_store_takes_a_new_pepper),
        TEST(test_read_only_folder),
        TEST(test_unreadable_pepper),
        TEST(test_what_returned_survives_a_kill),
        TEST(test_a_full_disk_is_told_and_survived),
    };
    return cmocka_run_group_tests_name("store/store", tests, NULL, NULL);
}
