/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading jobs: see jobs.h. On the reader's connection, which never waits for a sync.
 *
 * A row is handed out while SQLite holds it: its texts point into SQLite's memory and live until
 * the next row. So nothing is copied, and the reader's lock is held meanwhile. The one walk that is
 * long while others read, the export, gives the lock back every few rows; it sees each job as it is
 * when its turn comes.
 *
 * The seal is checked wherever a request is handed out: before a job runs, and before its owner
 * sees it. */
#include <string.h>

#include "base/text.h"
#include "store/internal.h"
#include "store/jobs.h"

static bool column_below(sqlite3_stmt *row, int column, uint64_t end, uint64_t *ret)
{
    return rd_store_column_u64(row, column, ret) && *ret < end;
}

/* The columns that never change. */
static bool read_submission(sqlite3_stmt *row, struct rd_job_row *ret)
{
    uint64_t lane = 0;
    uint64_t units = 0;
    uint64_t seed = 0;
    uint64_t media = 0;
    uint64_t task = 0;
    bool ok = rd_store_column_u64(row, 0, &ret->n) &&
              rd_store_column_text(row, 1, ret->id, sizeof ret->id) &&
              rd_store_column_u64(row, 2, &ret->owner) &&
              (ret->tenant = rd_store_column_ref(row, 3, NULL)) != NULL &&
              column_below(row, 4, 3, &lane) &&
              (ret->model = rd_store_column_ref(row, 5, NULL)) != NULL &&
              sqlite3_column_type(row, 6) == SQLITE_INTEGER &&
              column_below(row, 7, (uint64_t)UINT32_MAX + 1, &units) &&
              (ret->request_id = rd_store_column_ref(row, 8, NULL)) != NULL &&
              (ret->webhook = rd_store_column_ref(row, 9, NULL)) != NULL &&
              column_below(row, 10, (uint64_t)UINT32_MAX + 1, &seed) &&
              column_below(row, 11, (uint64_t)UINT32_MAX + 1, &media) &&
              rd_store_column_u64(row, 12, &ret->created_ms) &&
              rd_store_column_u64(row, 13, &ret->expires_ms) &&
              column_below(row, 23, (uint64_t)UINT32_MAX + 1, &task);
    ret->lane = (unsigned)lane;
    ret->kind = sqlite3_column_int(row, 6);
    ret->units = (uint32_t)units;
    ret->seed = (uint32_t)seed;
    ret->media = (unsigned)media;
    ret->task = (unsigned)task;
    return ok;
}

static bool read_state(sqlite3_stmt *row, struct rd_job_row *ret)
{
    uint64_t attempt = 0;
    uint64_t cancel = 0;
    uint64_t status = 0;
    uint64_t source = 0;
    bool ok =
        rd_store_column_u64(row, 14, &ret->started_ms) &&
        rd_store_column_u64(row, 15, &ret->ended_ms) &&
        column_below(row, 16, (uint64_t)UINT32_MAX + 1, &attempt) &&
        rd_store_column_u64(row, 17, &ret->token) &&
        (ret->backend = rd_store_column_ref(row, 18, NULL)) != NULL &&
        column_below(row, 19, 2, &cancel) && column_below(row, 20, RD_STATUS_COUNT_, &status) &&
        rd_store_column_u64(row, 21, &ret->device_ns) && column_below(row, 22, INT32_MAX, &source);
    ret->attempt = (unsigned)attempt;
    ret->cancel = cancel == 1;
    ret->status = (enum rd_job_status)status;
    ret->device_source = (int)source;
    return ok;
}

/* How much of a job a statement of sql.c selects. */
enum part { STATE, WITH_REQUEST };

static rd_err read_row(const struct rd_store *store, sqlite3_stmt *row, enum part part,
                       struct rd_job_row *ret)
{
    uint8_t written[RD_STORE_SEAL_LEN];
    uint8_t expected[RD_STORE_SEAL_LEN];
    *ret = (struct rd_job_row){.result = ""};
    bool ok = read_submission(row, ret) && read_state(row, ret);
    if (ok && sqlite3_column_type(row, 24) != SQLITE_NULL) {
        ret->result = rd_store_column_ref(row, 24, NULL);
        ok = ret->result != NULL;
    }
    if (ok && part == WITH_REQUEST) {
        ret->request = rd_store_column_ref(row, 25, &ret->request_len);
        ok = ret->request != NULL && rd_store_column_blob(row, 26, written, sizeof written);
    }
    if (!ok) {
        return RD_ERR_CORRUPT;
    }
    if (part == WITH_REQUEST) {
        rd_store_seal_job(store, ret, expected);
        return rd_text_secret_eq(written, sizeof written, expected, sizeof expected)
                   ? RD_OK
                   : RD_ERR_CORRUPT;
    }
    return RD_OK;
}

/* A walk: the statement, what it selects, and who is told. */
struct walk {
    struct rd_store *store;
    enum part part;
    bool ascending; /* by n: a damaged tree must not lead in a circle */
    bool (*each)(void *ctx, const struct rd_job_row *row);
    void *ctx;
    uint64_t count, last_n; /* out */
    bool stopped;
};

/* Under the reader's lock. */
static rd_err walk(struct walk *walk, enum rd_store_sql sql, const struct rd_store_value *values)
{
    struct rd_store_db *db = &walk->store->reader;
    sqlite3_stmt *statement = NULL;
    bool got = false;
    rd_err err = rd_store_db_query(db, sql, values, &statement);
    while (err == RD_OK) {
        struct rd_job_row row;
        err = rd_store_db_row(db, statement, &got);
        if (err != RD_OK || !got) {
            break;
        }
        err = read_row(walk->store, statement, walk->part, &row);
        if (err == RD_OK && walk->ascending && row.n <= walk->last_n) {
            err = RD_ERR_CORRUPT;
        }
        if (err == RD_OK) {
            walk->count++;
            walk->last_n = row.n;
            walk->stopped = !walk->each(walk->ctx, &row);
        }
        if (err != RD_OK || walk->stopped) {
            (void)sqlite3_reset(statement); /* ends the read, so that checkpoints can pass */
            break;
        }
    }
    return err;
}

rd_err rd_store_jobs_last(struct rd_store *store, uint64_t *ret_n, uint64_t *ret_token)
{
    struct rd_store_db *db = &store->reader;
    sqlite3_stmt *row = NULL;
    bool got = false;
    uint64_t n = 0;
    uint64_t token = 0;
    rd_store_db_lock(db);
    rd_err err = rd_store_db_query(db, RD_STORE_SQL_MARKS_GET, NULL, &row);
    err = err == RD_OK ? rd_store_db_row(db, row, &got) : err;
    if (err == RD_OK) {
        bool ok = got && rd_store_column_u64(row, 0, &n) && rd_store_column_u64(row, 1, &token);
        (void)sqlite3_reset(row);
        err = ok ? RD_OK : RD_ERR_CORRUPT;
    }
    rd_store_db_unlock(db);
    if (err == RD_OK) {
        *ret_n = n;
        *ret_token = token;
    }
    return err;
}

rd_err rd_store_jobs_live(struct rd_store *store,
                          bool (*each)(void *ctx, const struct rd_job_row *row), void *ctx)
{
    struct walk live = {.store = store, .part = STATE, .ascending = true, .each = each, .ctx = ctx};
    rd_store_db_lock(&store->reader);
    rd_err err = walk(&live, RD_STORE_SQL_JOBS_LIVE, NULL);
    rd_store_db_unlock(&store->reader);
    return err;
}

struct one {
    void (*each)(void *ctx, const struct rd_job_row *row);
    void *ctx;
};

static bool hand_over(void *ctx, const struct rd_job_row *row)
{
    const struct one *one = ctx;
    one->each(one->ctx, row);
    return false;
}

rd_err rd_store_job_get(struct rd_store *store, uint64_t owner, const char *id,
                        void (*each)(void *ctx, const struct rd_job_row *row), void *ctx)
{
    struct one one = {each, ctx};
    struct walk get = {.store = store, .part = WITH_REQUEST, .each = hand_over, .ctx = &one};
    if (!rd_id_valid(id, "j_")) {
        return RD_ERR_NOT_FOUND;
    }
    rd_store_db_lock(&store->reader);
    rd_err err = walk(&get, RD_STORE_SQL_JOB_GET,
                      RD_STORE_VALUES(RD_STORE_VALUE_TEXT(id), RD_STORE_VALUE_INT(owner)));
    rd_store_db_unlock(&store->reader);
    return err == RD_OK && get.count == 0 ? RD_ERR_NOT_FOUND : err;
}

rd_err rd_store_list_place(struct rd_store *store, enum rd_store_sql sql, const char *after,
                           uint64_t *ret)
{
    struct rd_store_db *db = &store->reader;
    sqlite3_stmt *row = NULL;
    bool got = false;
    uint64_t place = 0;
    if (after == NULL || after[0] == '\0') {
        *ret = INT64_MAX;
        return RD_OK;
    }
    RD_TRY(rd_store_db_query(db, sql, RD_STORE_VALUES(RD_STORE_VALUE_TEXT(after)), &row));
    RD_TRY(rd_store_db_row(db, row, &got));
    bool ok = !got || rd_store_column_u64(row, 0, &place);
    (void)sqlite3_reset(row);
    *ret = ok ? place : *ret;
    return ok ? RD_OK : RD_ERR_CORRUPT;
}

static rd_err list(struct walk *jobs, const struct rd_job_filter *filter)
{
    uint64_t place = 0;
    RD_TRY(rd_store_list_place(jobs->store, RD_STORE_SQL_JOB_PLACE, filter->after, &place));
    if (filter->owner == 0 && filter->status < 0) {
        return walk(jobs, RD_STORE_SQL_JOBS_ALL,
                    RD_STORE_VALUES(RD_STORE_VALUE_INT(place), RD_STORE_VALUE_INT(filter->limit)));
    }
    if (filter->owner == 0) {
        return walk(jobs, RD_STORE_SQL_JOBS_ALL_STATUS,
                    RD_STORE_VALUES(RD_STORE_VALUE_INT(filter->status), RD_STORE_VALUE_INT(place),
                                    RD_STORE_VALUE_INT(filter->limit)));
    }
    if (filter->status < 0) {
        return walk(jobs, RD_STORE_SQL_JOBS_OWNER,
                    RD_STORE_VALUES(RD_STORE_VALUE_INT(filter->owner), RD_STORE_VALUE_INT(place),
                                    RD_STORE_VALUE_INT(filter->limit)));
    }
    return walk(jobs, RD_STORE_SQL_JOBS_OWNER_STATUS,
                RD_STORE_VALUES(RD_STORE_VALUE_INT(filter->owner),
                                RD_STORE_VALUE_INT(filter->status), RD_STORE_VALUE_INT(place),
                                RD_STORE_VALUE_INT(filter->limit)));
}

rd_err rd_store_jobs_list(struct rd_store *store, const struct rd_job_filter *filter,
                          bool (*each)(void *ctx, const struct rd_job_row *row), void *ctx)
{
    struct walk jobs = {.store = store, .part = STATE, .each = each, .ctx = ctx};
    rd_store_db_lock(&store->reader);
    rd_err err = list(&jobs, filter);
    rd_store_db_unlock(&store->reader);
    return err;
}

rd_err rd_store_jobs_export(struct rd_store *store,
                            bool (*each)(void *ctx, const struct rd_job_row *row), void *ctx)
{
    struct walk all = {
        .store = store, .part = WITH_REQUEST, .ascending = true, .each = each, .ctx = ctx};
    rd_err err = RD_OK;
    do {
        all.count = 0;
        rd_store_db_lock(&store->reader);
        err = walk(&all, RD_STORE_SQL_JOBS_EXPORT,
                   RD_STORE_VALUES(RD_STORE_VALUE_INT(all.last_n),
                                   RD_STORE_VALUE_INT(RD_STORE_EXPORT_ROWS)));
        rd_store_db_unlock(&store->reader);
    } while (err == RD_OK && all.count == RD_STORE_EXPORT_ROWS && !all.stopped);
    return err;
}
