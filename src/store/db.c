/* SPDX-License-Identifier: Apache-2.0
 *
 * The database file: schema, checks at open, statements, transactions. See db.h.
 *
 * DIR/render.db is SQLite 3 with application id "RNDR", in WAL mode with synchronous=FULL: a commit
 * that returned survives a power cut. The table `migrations` holds one row a schema version. To
 * change the schema: append a row to the table below (never edit one that shipped), keep every
 * statement in `statement_texts` right for the newest version, and add a file of the old version to
 * the tests.
 *
 * At open, before anything is believed: the file must be ours and not newer; then quick_check reads
 * every page of a database of up to 64 MiB (about 0.1 s); of a larger one, which only upload
 * tickets can make, it reads the tables that decide who may do what. Content that still looks like
 * a valid page but was altered is caught by the rows' seals (seal.h), not here. */
#include "store/db.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"

enum {
    APPLICATION_ID = 0x524e4452, /* "RNDR" */
    BUSY_TIMEOUT_MS = 5000,      /* somebody looks at the file with sqlite3(1) */
};
static const uint64_t full_check_bytes_max = RD_MIB(64);

static const struct {
    int version;
    const char *name;
    const char *sql;
} migrations[] = {
    {1, "tenants, keys, uploads",
     "CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;"
     /* AUTOINCREMENT: an owner's number is never given to another tenant, even after a deletion. */
     "CREATE TABLE tenants(owner INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
     " created_ms INTEGER NOT NULL) STRICT;"
     "CREATE TABLE keys(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
     " owner INTEGER NOT NULL REFERENCES tenants(owner), name TEXT NOT NULL, prefix TEXT NOT NULL,"
     " scopes INTEGER NOT NULL, hash BLOB NOT NULL UNIQUE, created_ms INTEGER NOT NULL,"
     " expires_ms INTEGER NOT NULL, revoked_ms INTEGER NOT NULL, last_used_ms INTEGER NOT NULL,"
     " seal BLOB NOT NULL) STRICT;"
     "CREATE TABLE uploads(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
     " token_hash BLOB NOT NULL UNIQUE, owner INTEGER NOT NULL REFERENCES tenants(owner),"
     " content_type TEXT NOT NULL, bytes INTEGER NOT NULL, expires_ms INTEGER NOT NULL,"
     " done INTEGER NOT NULL, blake3 BLOB NOT NULL, seal BLOB NOT NULL) STRICT;"
     "CREATE INDEX uploads_open ON uploads(owner, expires_ms) WHERE done = 0;"
     "CREATE INDEX uploads_sweep ON uploads(expires_ms) WHERE done = 0;"},
};
enum { SCHEMA_VERSION = sizeof migrations / sizeof *migrations };

#define UPLOAD_COLUMNS                                                                             \
    "SELECT u.id, t.name, u.owner, u.content_type, u.bytes, u.expires_ms, u.done, u.blake3, "      \
    "u.seal,"                                                                                      \
    " u.token_hash FROM uploads u JOIN tenants t ON t.owner = u.owner "

static const char *const statement_texts[RD_STORE_SQL_COUNT_] = {
    [RD_STORE_SQL_META_GET] = "SELECT value FROM meta WHERE name = ?1",
    [RD_STORE_SQL_META_PUT] = "INSERT INTO meta VALUES(?1, ?2)"
                              " ON CONFLICT(name) DO UPDATE SET value = excluded.value",
    [RD_STORE_SQL_ROWS_UNDER_PEPPER] = "SELECT (SELECT count(*) FROM keys),"
                                       " (SELECT count(*) FROM uploads)",
    [RD_STORE_SQL_TENANT_ADD] = "INSERT INTO tenants(name, created_ms) VALUES(?1, ?2)",
    [RD_STORE_SQL_TENANT_OWNER] = "SELECT owner FROM tenants WHERE name = ?1",
    [RD_STORE_SQL_KEY_ADD] =
        "INSERT INTO keys VALUES(NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 0, ?9)",
    [RD_STORE_SQL_KEY_LOAD] =
        "SELECT k.id, t.name, k.name, k.prefix, k.scopes, k.owner, k.created_ms, k.expires_ms,"
        " k.revoked_ms, k.last_used_ms, k.hash, k.seal"
        " FROM keys k LEFT JOIN tenants t ON t.owner = k.owner ORDER BY k.n",
    [RD_STORE_SQL_KEY_REVOKE] = "UPDATE keys SET revoked_ms = ?2, seal = ?3 WHERE id = ?1",
    [RD_STORE_SQL_KEY_USED] = "UPDATE keys SET last_used_ms = ?2 WHERE id = ?1",
    [RD_STORE_SQL_UPLOAD_OPEN_COUNT] =
        "SELECT count(*) FROM (SELECT 1 FROM uploads"
        " WHERE owner = ?1 AND done = 0 AND expires_ms > ?2 LIMIT ?3)",
    [RD_STORE_SQL_UPLOAD_SWEEP] =
        "DELETE FROM uploads WHERE n IN (SELECT n FROM uploads"
        " WHERE done = 0 AND expires_ms <= ?1 ORDER BY expires_ms LIMIT ?2)",
    [RD_STORE_SQL_UPLOAD_ADD] =
        "INSERT INTO uploads VALUES(NULL, ?1, ?2, ?3, ?4, ?5, ?6, 0, zeroblob(32), ?7)",
    [RD_STORE_SQL_UPLOAD_BY_TOKEN] = UPLOAD_COLUMNS "WHERE u.token_hash = ?1",
    [RD_STORE_SQL_UPLOAD_BY_ID] = UPLOAD_COLUMNS "WHERE u.id = ?1",
    [RD_STORE_SQL_UPLOAD_FINISH] =
        "UPDATE uploads SET done = 1, blake3 = ?2, seal = ?3 WHERE id = ?1",
};

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
    static const char *const part[] = {"PRAGMA quick_check(meta)", "PRAGMA quick_check(tenants)",
                                       "PRAGMA quick_check(keys)", NULL};
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
    if (version > SCHEMA_VERSION) {
        return rd_why_set(why, RD_ERR_CORRUPT,
                          "%s has schema version %lld, this program knows up to %d: run the newer "
                          "render-gateway, or restore the backup from before the upgrade",
                          path, (long long)version, (int)SCHEMA_VERSION);
    }
    *ret_version = version;
    return RD_OK;
}

/* Each step is one transaction together with its row in `migrations`: it happened or it did not. */
static int migrate(struct rd_store_db *db, int64_t version, uint64_t now_ms)
{
    int rc = SQLITE_OK;
    for (size_t i = (size_t)version; rc == SQLITE_OK && i < SCHEMA_VERSION; i++) {
        char *sql = sqlite3_mprintf(
            "BEGIN IMMEDIATE; PRAGMA application_id=%d; CREATE TABLE IF NOT EXISTS migrations("
            "version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_ms INTEGER NOT NULL) STRICT;"
            "%s INSERT INTO migrations VALUES(%d, %Q, %llu); COMMIT",
            (int)APPLICATION_ID, migrations[i].sql, migrations[i].version, migrations[i].name,
            (unsigned long long)now_ms);
        rc = sql == NULL ? SQLITE_NOMEM : sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
        sqlite3_free(sql);
        if (rc != SQLITE_OK && sqlite3_get_autocommit(db->handle) == 0) {
            (void)sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
        }
    }
    return rc;
}

static int prepare_all(struct rd_store_db *db)
{
    int rc = SQLITE_OK;
    for (size_t i = 0; rc == SQLITE_OK && i < RD_STORE_SQL_COUNT_; i++) {
        rc = sqlite3_prepare_v3(db->handle, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                &db->statements[i], NULL);
    }
    return rc;
}

static rd_err open_writer(struct rd_store_db *db, const char *path, uint64_t now_ms,
                          struct rd_why *why)
{
    int64_t version = 0;
    RD_TRY(open_connection(db, path, why));
    RD_TRY(check_identity(db, path, &version, why));
    RD_TRY(check_pages(db, path, why));
    int rc = sqlite3_exec(db->handle, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
    rc = rc == SQLITE_OK ? migrate(db, version, now_ms) : rc;
    rc = rc == SQLITE_OK ? prepare_all(db) : rc;
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
    int rc = atomic_load(&db->failed)
                 ? SQLITE_IOERR
                 : sqlite3_exec(db->handle, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        rd_err err = failure(db, rc);
        rd_store_db_unlock(db);
        return err;
    }
    return RD_OK;
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
        return sqlite3_bind_text(statement, position, value->data, -1, SQLITE_STATIC);
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

bool rd_store_column_text(sqlite3_stmt *statement, int column, char *ret, size_t room)
{
    if (sqlite3_column_type(statement, column) != SQLITE_TEXT) {
        return false;
    }
    const unsigned char *text = sqlite3_column_text(statement, column);
    size_t len = (size_t)sqlite3_column_bytes(statement, column);
    if (text == NULL || len >= room || memchr(text, '\0', len) != NULL) {
        return false;
    }
    memcpy(ret, text, len);
    ret[len] = '\0';
    return true;
}

bool rd_store_column_u64(sqlite3_stmt *statement, int column, uint64_t *ret)
{
    if (sqlite3_column_type(statement, column) != SQLITE_INTEGER) {
        return false;
    }
    int64_t value = sqlite3_column_int64(statement, column);
    if (value < 0) {
        return false;
    }
    *ret = (uint64_t)value;
    return true;
}

bool rd_store_column_blob(sqlite3_stmt *statement, int column, void *ret, size_t len)
{
    if (sqlite3_column_type(statement, column) != SQLITE_BLOB) {
        return false;
    }
    const void *data = sqlite3_column_blob(statement, column);
    if (data == NULL || (size_t)sqlite3_column_bytes(statement, column) != len) {
        return false;
    }
    memcpy(ret, data, len);
    return true;
}
