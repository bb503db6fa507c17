/* SPDX-License-Identifier: Apache-2.0
 *
 * The database file: checks at open, migrations, transactions, checkpoints. See db.h; the schema
 * and the statements are in sql.c.
 *
 * DIR/render.db is SQLite 3 with application id "RNDR", in WAL mode with synchronous=FULL: a commit
 * that returned survives a power cut. Both are asked for and then read back, since a library that
 * was built or told otherwise would take the request and do something else.
 *
 * At open, before anything is believed: the file must be ours and not newer; then quick_check reads
 * every page of a database of up to 64 MiB (about 0.1 s). Of a larger one, which only jobs and
 * upload tickets can make, it reads the tables that decide who may do what, so that a start with a
 * million jobs takes no longer. Content that still looks like a valid page but was altered is
 * caught by the rows' seals (seal.h), not here.
 *
 * Checkpoints are ours and not SQLite's automatic ones, for two reasons. SQLite swallows an error
 * of an automatic checkpoint, and a failed sync must never be overlooked. And it makes them inside
 * of the commit, so that those whose change is durable already wait for it. One is due each
 * CHECKPOINT_PAGES: more often would cost more in all, more rarely stall the writer longer. */
#include "store/db.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"

enum {
    APPLICATION_ID = 0x524e4452, /* "RNDR" */
    BUSY_TIMEOUT_MS = 5000,      /* somebody looks at the file with sqlite3(1) */
    SYNCHRONOUS_FULL = 2,        /* as PRAGMA synchronous answers */
    CHECKPOINT_PAGES = 4000,     /* 16 MiB */
};
static const uint64_t full_check_bytes_max = RD_MIB(64);

/* SQLite knows ENOSPC of a write as SQLITE_FULL; a quota, a limit of the file's size, and the WAL's
 * index that finds no room come as I/O errors. The write was refused then, and nothing is in doubt.
 * (sqlite3_system_errno does not tell the reason of an error inside of a COMMIT.) */
static bool no_room(int rc)
{
    return (rc == SQLITE_IOERR_WRITE || rc == SQLITE_IOERR_SHMSIZE) &&
           rd_err_errno(errno) == RD_ERR_DISK_FULL;
}

/* Turns SQLite's result into ours and remembers what cannot be trusted again. */
static rd_err failure(struct rd_store_db *db, int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return RD_ERR_DISK_FULL;
    case SQLITE_NOMEM:
        return RD_ERR_NO_MEMORY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        atomic_store(&db->failed, true);
        return RD_ERR_CORRUPT;
    case SQLITE_IOERR:
        if (rc == SQLITE_IOERR_NOMEM) {
            return RD_ERR_NO_MEMORY;
        }
        if (no_room(rc)) {
            return RD_ERR_DISK_FULL;
        }
        atomic_store(&db->failed, true);
        return RD_ERR_STORAGE;
    default:
        return RD_ERR_STORAGE;
    }
}

/* `failure` with the words for whoever starts the gateway. */
static rd_err failure_at_open(struct rd_store_db *db, const char *path, int rc, struct rd_why *why)
{
    const char *text = db->handle == NULL ? sqlite3_errstr(rc) : sqlite3_errmsg(db->handle);
    rd_err err = failure(db, rc);
    if (err == RD_ERR_CORRUPT) {
        return rd_why_set(
            why, err,
            "%s is damaged (%s): restore it from a backup, or save what is readable with "
            "`sqlite3 render.db .recover` into a new file",
            path, text);
    }
    return rd_why_set(why, err, "cannot use the database %s: %s", path, text);
}

/* The first integer that `sql` gives; 0 when it gives no row. */
static int read_int(struct rd_store_db *db, const char *sql, int64_t *ret)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db->handle, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(statement);
        int64_t value = rc == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
        if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
            *ret = value;
            rc = SQLITE_OK;
        }
    }
    (void)sqlite3_finalize(statement);
    return rc;
}

static rd_err open_connection(struct rd_store_db *db, const char *path, struct rd_why *why)
{
    *db = (struct rd_store_db){.handle = NULL};
    if (pthread_mutex_init(&db->lock, NULL) != 0) {
        return rd_why_set(why, RD_ERR_NO_MEMORY, "cannot make a mutex");
    }
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                SQLITE_OPEN_EXRESCODE;
    int rc = sqlite3_open_v2(path, &db->handle, flags, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    }
    if (rc == SQLITE_OK) {
        /* A file that was made to attack us must not run functions from its schema. */
        rc = sqlite3_exec(db->handle,
                          "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"
                          "PRAGMA mmap_size=0; PRAGMA foreign_keys=ON; PRAGMA synchronous=FULL;"
                          "PRAGMA temp_store=MEMORY",
                          NULL, NULL, NULL);
    }
    return rc == SQLITE_OK ? RD_OK : failure_at_open(db, path, rc, why);
}

static rd_err check_pages(struct rd_store_db *db, const char *path, struct rd_why *why)
{
    struct stat info;
    bool small = stat(path, &info) != 0 || (uint64_t)info.st_size <= full_check_bytes_max;
    static const char *const whole[] = {"PRAGMA quick_check(1)", NULL};
    static const char *const part[] = {"PRAGMA quick_check(meta)",
                                       "PRAGMA quick_check(tenants)",
                                       "PRAGMA quick_check(keys)",
                                       "PRAGMA quick_check(job_marks)",
                                       "PRAGMA quick_check(webhooks_disabled)",
                                       "PRAGMA quick_check(webhook_secrets)",
                                       NULL};
    for (const char *const *sql = small ? whole : part; *sql != NULL; sql++) {
        sqlite3_stmt *statement = NULL;
        int rc = sqlite3_prepare_v2(db->handle, *sql, -1, &statement, NULL);
        rc = rc == SQLITE_OK ? sqlite3_step(statement) : rc;
        const char *text =
            rc == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
        char found[160] = "";
        if (text != NULL && strcmp(text, "ok") != 0) {
            (void)snprintf(found, sizeof found, "%.*s", (int)strcspn(text, "\r\n"), text);
        }
        (void)sqlite3_finalize(statement);
        if (rc != SQLITE_ROW) {
            return failure_at_open(db, path, rc, why);
        }
        if (found[0] != '\0') {
            return rd_why_set(
                why, RD_ERR_CORRUPT,
                "%s is damaged (%s): restore it from a backup, or save what is readable "
                "with `sqlite3 render.db .recover` into a new file",
                path, found);
        }
    }
    return RD_OK;
}

/* Ours, and not newer than this program? *ret_version is 0 for a database without any table. */
static rd_err check_identity(struct rd_store_db *db, const char *path, int64_t *ret_version,
                             struct rd_why *why)
{
    int64_t tables = 0;
    int64_t application = 0;
    int64_t version = 0;
    int rc = read_int(db, "SELECT count(*) FROM sqlite_schema", &tables);
    if (rc == SQLITE_OK && tables > 0) {
        rc = read_int(db, "PRAGMA application_id", &application);
        if (rc == SQLITE_OK && application != APPLICATION_ID) {
            return rd_why_set(why, RD_ERR_CORRUPT,
                              "%s is an SQLite database of another program: move it away, or give "
                              "another --data folder",
                              path);
        }
        rc = rc == SQLITE_OK ? read_int(db, "SELECT max(version) FROM migrations", &version) : rc;
    }
    if (rc != SQLITE_OK) {
        return failure_at_open(db, path, rc, why);
    }
    if (version > (int64_t)rd_store_migration_count) {
        return rd_why_set(why, RD_ERR_CORRUPT,
                          "%s has schema version %lld, this program knows up to %d: run the newer "
                          "render-gateway, or restore the backup from before the upgrade",
                          path, (long long)version, (int)rd_store_migration_count);
    }
    *ret_version = version;
    return RD_OK;
}

/* Each step is one transaction together with its row in `migrations`: it happened or it did not. */
static rd_err migrate(struct rd_store_db *db, const char *path, int64_t version, uint64_t now_ms,
                      struct rd_why *why)
{
    for (size_t i = (size_t)version; i < rd_store_migration_count; i++) {
        char *sql = sqlite3_mprintf(
            "BEGIN IMMEDIATE; PRAGMA application_id=%d; CREATE TABLE IF NOT EXISTS migrations("
            "version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_ms INTEGER NOT NULL) STRICT;"
            "%s INSERT INTO migrations VALUES(%d, %Q, %llu); COMMIT",
            (int)APPLICATION_ID, rd_store_migrations[i].sql, rd_store_migrations[i].version,
            rd_store_migrations[i].name, (unsigned long long)now_ms);
        int rc = sql == NULL ? SQLITE_NOMEM : sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
        sqlite3_free(sql);
        rd_err err = rc == SQLITE_OK ? RD_OK : failure_at_open(db, path, rc, why);
        if (rc != SQLITE_OK && sqlite3_get_autocommit(db->handle) == 0) {
            (void)sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
        }
        RD_TRY(err);
    }
    return RD_OK;
}

/* What was asked for is not always what is. */
static rd_err check_durable(struct rd_store_db *db, const char *path, struct rd_why *why)
{
    int64_t synchronous = 0;
    bool wal = false;
    sqlite3_stmt *statement = NULL;
    int rc = read_int(db, "PRAGMA synchronous", &synchronous);
    if (rc == SQLITE_OK && synchronous < SYNCHRONOUS_FULL) {
        return rd_why_set(why, RD_ERR_STORAGE,
                          "the SQLite library does not sync every commit (synchronous is %lld, and "
                          "must be 2, FULL), so an accepted job could be lost: use another build "
                          "of SQLite",
                          (long long)synchronous);
    }
    rc = rc == SQLITE_OK
             ? sqlite3_prepare_v2(db->handle, "PRAGMA journal_mode", -1, &statement, NULL)
             : rc;
    if (rc == SQLITE_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *mode = (const char *)sqlite3_column_text(statement, 0);
        wal = mode != NULL && strcmp(mode, "wal") == 0;
        rc = SQLITE_OK;
    }
    (void)sqlite3_finalize(statement);
    if (rc != SQLITE_OK) {
        return failure_at_open(db, path, rc, why);
    }
    return wal ? RD_OK
               : rd_why_set(why, RD_ERR_STORAGE,
                            "%s cannot be used with a write-ahead log: put the --data folder on a "
                            "local file system",
                            path);
}

static int prepare_all(struct rd_store_db *db)
{
    int rc = SQLITE_OK;
    for (size_t i = 0; rc == SQLITE_OK && i < RD_STORE_SQL_COUNT_; i++) {
        rc = sqlite3_prepare_v3(db->handle, rd_store_statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                                &db->statements[i], NULL);
    }
    return rc;
}

/* Called by SQLite after each commit. */
static int note_wal(void *ctx, sqlite3 *handle, const char *name, int pages)
{
    struct rd_store_db *db = ctx;
    (void)handle;
    (void)name;
    if (pages < db->wal_pages) { /* it began anew */
        db->checkpoint_at = CHECKPOINT_PAGES;
    }
    db->wal_pages = pages;
    return SQLITE_OK;
}

/* Copies the WAL's pages into the database, and lets the WAL begin anew with the next change. The
 * second can only be while nobody reads; readers that come and go leave no such moment by chance,
 * so their lock is taken for it. What somebody else's sqlite3(1) or a full disk holds up is tried
 * again after as many pages more. */
static rd_err checkpoint(struct rd_store_db *db)
{
    db->checkpoint_at = db->wal_pages + CHECKPOINT_PAGES;
    int rc = sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (rc == SQLITE_OK && db->reader != NULL) {
        rd_store_db_lock(db->reader);
        (void)sqlite3_busy_timeout(db->handle, 0); /* wait for no other program */
        rc = sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
        (void)sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS);
        rd_store_db_unlock(db->reader);
    }
    rd_err err = rc == SQLITE_OK ? RD_OK : failure(db, rc);
    return atomic_load(&db->failed) ? err : RD_OK;
}

static rd_err open_writer(struct rd_store_db *db, const char *path, uint64_t now_ms,
                          struct rd_why *why)
{
    int64_t version = 0;
    RD_TRY(open_connection(db, path, why));
    RD_TRY(check_identity(db, path, &version, why));
    RD_TRY(check_pages(db, path, why));
    int rc = sqlite3_exec(db->handle,
                          "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;"
                          "PRAGMA cache_size=-32768; PRAGMA journal_size_limit=67108864",
                          NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        return failure_at_open(db, path, rc, why);
    }
    RD_TRY(check_durable(db, path, why));
    db->checkpoint_at = CHECKPOINT_PAGES;
    (void)sqlite3_wal_hook(db->handle, note_wal, db);
    RD_TRY(migrate(db, path, version, now_ms, why));
    rc = prepare_all(db);
    return rc == SQLITE_OK ? RD_OK : failure_at_open(db, path, rc, why);
}

rd_err rd_store_db_open_writer(struct rd_store_db *db, const char *path, uint64_t now_ms,
                               struct rd_why *why)
{
    rd_err err = open_writer(db, path, now_ms, why);
    if (err != RD_OK) {
        rd_store_db_close(db);
    }
    return err;
}

rd_err rd_store_db_open_reader(struct rd_store_db *db, const char *path, struct rd_why *why)
{
    rd_err err = open_connection(db, path, why);
    if (err == RD_OK) {
        int rc = sqlite3_exec(db->handle, "PRAGMA query_only=ON; PRAGMA wal_autocheckpoint=0", NULL,
                              NULL, NULL);
        if (rc == SQLITE_OK) {
            rc = sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        }
        rc = rc == SQLITE_OK ? prepare_all(db) : rc;
        err = rc == SQLITE_OK ? RD_OK : failure_at_open(db, path, rc, why);
    }
    if (err != RD_OK) {
        rd_store_db_close(db);
    }
    return err;
}

void rd_store_db_close(struct rd_store_db *db)
{
    if (db->handle == NULL) {
        return;
    }
    for (size_t i = 0; i < RD_STORE_SQL_COUNT_; i++) {
        (void)sqlite3_finalize(db->statements[i]);
        db->statements[i] = NULL;
    }
    if (atomic_load(&db->failed)) {
        /* No other sync is tried after one that failed: the next start reads what the WAL holds. */
        (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    (void)sqlite3_close_v2(db->handle);
    db->handle = NULL;
    (void)pthread_mutex_destroy(&db->lock);
}

void rd_store_db_lock(struct rd_store_db *db)
{
    (void)pthread_mutex_lock(&db->lock);
}

void rd_store_db_unlock(struct rd_store_db *db)
{
    (void)pthread_mutex_unlock(&db->lock);
}

rd_err rd_store_db_begin(struct rd_store_db *db)
{
    rd_store_db_lock(db);
    rd_err err = atomic_load(&db->failed) ? RD_ERR_STORAGE : RD_OK;
    if (err == RD_OK && db->wal_pages >= db->checkpoint_at) {
        err = checkpoint(db);
    }
    if (err == RD_OK) {
        int rc = sqlite3_exec(db->handle, "BEGIN IMMEDIATE", NULL, NULL, NULL);
        err = rc == SQLITE_OK ? RD_OK : failure(db, rc);
    }
    if (err != RD_OK) {
        rd_store_db_unlock(db);
    }
    return err;
}

rd_err rd_store_db_commit(struct rd_store_db *db)
{
    int rc = sqlite3_exec(db->handle, "COMMIT", NULL, NULL, NULL);
    return rc == SQLITE_OK ? RD_OK : failure(db, rc);
}

void rd_store_db_end(struct rd_store_db *db)
{
    /* Committed, or an error that has already rolled back: then there is nothing to roll back. */
    if (sqlite3_get_autocommit(db->handle) == 0) {
        (void)sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    }
    rd_store_db_unlock(db);
}

static int bind(sqlite3_stmt *statement, int position, const struct rd_store_value *value)
{
    switch (value->kind) {
    case RD_STORE_TEXT:
        return sqlite3_bind_text64(statement, position, value->data, strlen(value->data),
                                   SQLITE_STATIC, SQLITE_UTF8);
    case RD_STORE_TEXT_LEN:
        return sqlite3_bind_text64(statement, position, value->data, value->len, SQLITE_STATIC,
                                   SQLITE_UTF8);
    case RD_STORE_INT:
        return sqlite3_bind_int64(statement, position, (int64_t)value->number);
    case RD_STORE_BLOB:
        return sqlite3_bind_blob64(statement, position, value->data, value->len, SQLITE_STATIC);
    case RD_STORE_END:
        break;
    }
    return SQLITE_MISUSE;
}

rd_err rd_store_db_query(struct rd_store_db *db, enum rd_store_sql sql,
                         const struct rd_store_value *values, sqlite3_stmt **ret)
{
    sqlite3_stmt *statement = db->statements[sql];
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    int position = 1;
    for (const struct rd_store_value *v = values; v != NULL && v->kind != RD_STORE_END; v++) {
        int rc = bind(statement, position++, v);
        if (rc != SQLITE_OK) {
            return failure(db, rc);
        }
    }
    *ret = statement;
    return RD_OK;
}

rd_err rd_store_db_row(struct rd_store_db *db, sqlite3_stmt *statement, bool *ret_row)
{
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        *ret_row = true;
        return RD_OK;
    }
    (void)sqlite3_reset(statement);
    if (rc == SQLITE_DONE) {
        *ret_row = false;
        return RD_OK;
    }
    return failure(db, rc);
}

rd_err rd_store_db_run(struct rd_store_db *db, enum rd_store_sql sql,
                       const struct rd_store_value *values)
{
    sqlite3_stmt *statement = NULL;
    bool row = true;
    RD_TRY(rd_store_db_query(db, sql, values, &statement));
    while (row) {
        RD_TRY(rd_store_db_row(db, statement, &row));
    }
    return RD_OK;
}

/* sqlite3_column_value costs one look at the row where sqlite3_column_type and its like cost one
 * each; what it gives is for one thread at a time, which the lock sees to. */
const char *rd_store_column_ref(sqlite3_stmt *statement, int column, size_t *ret_len)
{
    sqlite3_value *value = sqlite3_column_value(statement, column);
    if (sqlite3_value_type(value) != SQLITE_TEXT) {
        return NULL;
    }
    const char *text = (const char *)sqlite3_value_text(value);
    size_t len = (size_t)sqlite3_value_bytes(value);
    if (text == NULL || memchr(text, '\0', len) != NULL) {
        return NULL;
    }
    if (ret_len != NULL) {
        *ret_len = len;
    }
    return text;
}

bool rd_store_column_text(sqlite3_stmt *statement, int column, char *ret, size_t room)
{
    size_t len = 0;
    const char *text = rd_store_column_ref(statement, column, &len);
    if (text == NULL || len >= room) {
        return false;
    }
    memcpy(ret, text, len + 1);
    return true;
}

bool rd_store_column_u64(sqlite3_stmt *statement, int column, uint64_t *ret)
{
    sqlite3_value *value = sqlite3_column_value(statement, column);
    if (sqlite3_value_type(value) != SQLITE_INTEGER) {
        return false;
    }
    int64_t number = sqlite3_value_int64(value);
    if (number < 0) {
        return false;
    }
    *ret = (uint64_t)number;
    return true;
}

bool rd_store_column_blob(sqlite3_stmt *statement, int column, void *ret, size_t len)
{
    sqlite3_value *value = sqlite3_column_value(statement, column);
    if (sqlite3_value_type(value) != SQLITE_BLOB) {
        return false;
    }
    const void *data = sqlite3_value_blob(value);
    if (data == NULL || (size_t)sqlite3_value_bytes(value) != len) {
        return false;
    }
    memcpy(ret, data, len);
    return true;
}
