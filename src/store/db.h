/* SPDX-License-Identifier: Apache-2.0
 *
 * One SQLite connection with its prepared statements and its mutex. Every statement of the store is
 * a row of the table in sql.c, named by enum rd_store_sql; nothing builds SQL from input.
 *
 * A connection belongs to whoever holds its lock: rd_store_db_lock .. rd_store_db_unlock for
 * reading, rd_store_db_begin .. [rd_store_db_commit] .. rd_store_db_end for a change. There are
 * two: the writer, which alone writes and checkpoints (two checkpointing connections can corrupt
 * the WAL in the SQLite of Debian 12), and the reader, so that a look-up never waits for another
 * caller's fsync. */
#ifndef RD_STORE_DB_H
#define RD_STORE_DB_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

#include "base/err.h"

enum rd_store_sql {
    RD_STORE_SQL_META_GET,
    RD_STORE_SQL_META_PUT,
    RD_STORE_SQL_ROWS_UNDER_PEPPER,
    RD_STORE_SQL_TENANT_ADD,
    RD_STORE_SQL_TENANT_OWNER,
    RD_STORE_SQL_KEY_ADD,
    RD_STORE_SQL_KEY_LOAD,
    RD_STORE_SQL_KEY_REVOKE,
    RD_STORE_SQL_KEY_USED,
    RD_STORE_SQL_UPLOAD_OPEN_COUNT,
    RD_STORE_SQL_UPLOAD_SWEEP,
    RD_STORE_SQL_UPLOAD_ADD,
    RD_STORE_SQL_UPLOAD_BY_TOKEN,
    RD_STORE_SQL_UPLOAD_BY_ID,
    RD_STORE_SQL_UPLOAD_FINISH,
    RD_STORE_SQL_MARKS_GET,
    RD_STORE_SQL_MARKS_PUT,
    RD_STORE_SQL_JOB_KEY_GET,
    RD_STORE_SQL_JOB_KEY_ADD,
    RD_STORE_SQL_JOB_ADD,
    RD_STORE_SQL_JOB_REQUEST_ADD,
    RD_STORE_SQL_JOB_LEASE,
    RD_STORE_SQL_JOB_RETRY,
    RD_STORE_SQL_JOB_CANCEL,
    RD_STORE_SQL_JOB_END,
    RD_STORE_SQL_JOB_RESULT_ADD,
    RD_STORE_SQL_JOB_EXISTS,
    RD_STORE_SQL_JOBS_LIVE,
    RD_STORE_SQL_JOB_GET,
    RD_STORE_SQL_JOBS_EXPORT,
    RD_STORE_SQL_JOB_PLACE,
    RD_STORE_SQL_JOBS_ALL,
    RD_STORE_SQL_JOBS_ALL_STATUS,
    RD_STORE_SQL_JOBS_OWNER,
    RD_STORE_SQL_JOBS_OWNER_STATUS,
    RD_STORE_SQL_SWEEP_KEYS,
    RD_STORE_SQL_SWEEP_REQUESTS,
    RD_STORE_SQL_SWEEP_RESULTS,
    RD_STORE_SQL_SWEEP_JOBS,
    RD_STORE_SQL_SWEEP_DELIVERIES,
    RD_STORE_SQL_MESSAGE_ADD,
    RD_STORE_SQL_DELIVERY_PUT,
    RD_STORE_SQL_ENDPOINT_DISABLE,
    RD_STORE_SQL_ENDPOINT_DROP,
    RD_STORE_SQL_ENDPOINT_ENABLE,
    RD_STORE_SQL_DELIVERY_REPLAY,
    RD_STORE_SQL_DELIVERIES_DUE,
    RD_STORE_SQL_DELIVERY_PLACE,
    RD_STORE_SQL_DELIVERIES_ALL,
    RD_STORE_SQL_DELIVERIES_ALL_STATE,
    RD_STORE_SQL_DELIVERIES_OWNER,
    RD_STORE_SQL_DELIVERIES_OWNER_STATE,
    RD_STORE_SQL_DELIVERIES_AGE,
    RD_STORE_SQL_REPLAY_GET,
    RD_STORE_SQL_REPLAY_ADD,
    RD_STORE_SQL_SWEEP_REPLAYS,
    RD_STORE_SQL_SECRETS_GET,
    RD_STORE_SQL_SECRET_ADD,
    RD_STORE_SQL_SECRETS_TRIM,
    RD_STORE_SQL_COUNT_,
};

/* sql.c */
struct rd_store_migration {
    int version;
    const char *name;
    const char *sql;
};
extern const struct rd_store_migration rd_store_migrations[];
extern const size_t rd_store_migration_count; /* the newest version */
extern const char *const rd_store_statements[RD_STORE_SQL_COUNT_];

struct rd_store_db {
    sqlite3 *handle;
    sqlite3_stmt *statements[RD_STORE_SQL_COUNT_];
    pthread_mutex_t lock;
    /* Set by the first I/O error or corruption: after a failed fsync the kernel may have dropped
     * the pages, so no later commit may claim to be durable. Only a restart clears it. */
    atomic_bool failed;
    /* The writer's: pages in the WAL after the last commit, and at how many the next checkpoint is
     * due. Under the lock. */
    int wal_pages, checkpoint_at;
    struct rd_store_db *reader; /* the writer's: who must not read while the WAL begins anew */
};

/* Opens PATH (which exists), checks it, brings the schema up to date and prepares the statements. A
 * reader must be opened after the writer. On failure nothing stays open. */
rd_err rd_store_db_open_writer(struct rd_store_db *db, const char *path, uint64_t now_ms,
                               struct rd_why *why) RD_MUST;
rd_err rd_store_db_open_reader(struct rd_store_db *db, const char *path,
                               struct rd_why *why) RD_MUST;
void rd_store_db_close(struct rd_store_db *db); /* also after a failed open, or of zeroed memory */

void rd_store_db_lock(struct rd_store_db *db);
void rd_store_db_unlock(struct rd_store_db *db);
/* Takes the lock and begins a change; when it fails the lock is not held. A checkpoint that is due
 * is made first: those who wait for the change before this one have been told. */
rd_err rd_store_db_begin(struct rd_store_db *db) RD_MUST;
/* RD_OK: the change is durable. The lock stays held, so that memory can follow the disk. */
rd_err rd_store_db_commit(struct rd_store_db *db) RD_MUST;
/* Rolls back what was not committed, and gives the lock back. */
void rd_store_db_end(struct rd_store_db *db);

/* One value to bind. */
struct rd_store_value {
    enum { RD_STORE_END, RD_STORE_TEXT, RD_STORE_TEXT_LEN, RD_STORE_INT, RD_STORE_BLOB } kind;
    const void *data;
    size_t len;
    uint64_t number;
};
#define RD_STORE_VALUE_TEXT(t)                                                                     \
    {                                                                                              \
        RD_STORE_TEXT, (t), 0, 0                                                                   \
    }
#define RD_STORE_VALUE_TEXT_LEN(t, l)                                                              \
    {                                                                                              \
        RD_STORE_TEXT_LEN, (t), (l), 0                                                             \
    }
#define RD_STORE_VALUE_INT(n)                                                                      \
    {                                                                                              \
        RD_STORE_INT, NULL, 0, (uint64_t)(n)                                                       \
    }
#define RD_STORE_VALUE_BLOB(d, l)                                                                  \
    {                                                                                              \
        RD_STORE_BLOB, (d), (l), 0                                                                 \
    }
#define RD_STORE_VALUES(...)                                                                       \
    ((const struct rd_store_value[]){__VA_ARGS__, {RD_STORE_END, NULL, 0, 0}})

/* Binds `values` (NULL: none; they must stay valid while the statement runs) and gives the
 * statement; step it with rd_store_db_row. */
rd_err rd_store_db_query(struct rd_store_db *db, enum rd_store_sql sql,
                         const struct rd_store_value *values, sqlite3_stmt **ret) RD_MUST;
/* The next row: *ret_row false (and the statement reset) after the last. */
rd_err rd_store_db_row(struct rd_store_db *db, sqlite3_stmt *statement, bool *ret_row) RD_MUST;
/* Query and step to the end. */
rd_err rd_store_db_run(struct rd_store_db *db, enum rd_store_sql sql,
                       const struct rd_store_value *values) RD_MUST;

/* Columns, checked: false when the column is not of that type or does not fit. */
bool rd_store_column_text(sqlite3_stmt *statement, int column, char *ret, size_t room);
/* The text where SQLite has it, until the next step; NULL when it is none. `ret_len` may be NULL.
 */
const char *rd_store_column_ref(sqlite3_stmt *statement, int column, size_t *ret_len);
bool rd_store_column_u64(sqlite3_stmt *statement, int column, uint64_t *ret);
bool rd_store_column_blob(sqlite3_stmt *statement, int column, void *ret, size_t len);

#endif
