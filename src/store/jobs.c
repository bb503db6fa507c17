/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing jobs: a batch of changes in one transaction with one sync. See jobs.h.
 *
 * Each change is a few statements of sql.c. What a change can be refused for (another job has the
 * key, the job has ended) is found out before its first row is written, or by the one statement
 * that would have written it; so a refused change leaves nothing behind and needs no savepoint, and
 * the rest of the batch goes on. Any other failure ends the whole batch.
 *
 * A job that has ended is never changed again, whatever comes late: each UPDATE says so. A lease
 * must have a higher token than the one before. */
#include "store/jobs.h"

#include <string.h>

#include "base/limits.h"
#include "store/internal.h"

static const char *const status_names[RD_STATUS_COUNT_] = {
    [RD_STATUS_QUEUED] = "queued",       [RD_STATUS_RUNNING] = "running",
    [RD_STATUS_COMPLETE] = "complete",   [RD_STATUS_ERROR] = "error",
    [RD_STATUS_CANCELLED] = "cancelled",
};

const char *rd_job_status_name(enum rd_job_status status)
{
    return (size_t)status < RD_STATUS_COUNT_ ? status_names[status] : NULL;
}

bool rd_job_status_parse(const char *name, enum rd_job_status *ret)
{
    for (size_t i = 0; i < RD_STATUS_COUNT_; i++) {
        if (strcmp(name, status_names[i]) == 0) {
            *ret = (enum rd_job_status)i;
            return true;
        }
    }
    return false;
}

static bool fits(const char *text, size_t min, size_t max)
{
    size_t len = text == NULL ? SIZE_MAX : strnlen(text, max + 1);
    return len >= min && len <= max;
}

static bool number_fits(uint64_t value)
{
    return value <= INT64_MAX;
}

/* What the callers have checked long ago; here it protects what is on disk from their mistakes. */
static bool row_valid(const struct rd_job_row *row, const char *key)
{
    return row->n > 0 && number_fits(row->n) && rd_id_valid(row->id, "j_") && row->owner > 0 &&
           number_fits(row->owner) && row->lane <= 2 && fits(row->model, 1, RD_MODEL_NAME_MAX) &&
           row->request != NULL && row->request_len > 0 && row->request_len <= RD_JOB_REQUEST_MAX &&
           fits(row->request_id, 0, RD_STORE_REQUEST_ID_MAX) &&
           fits(row->webhook, 0, RD_LIMIT_URL) && number_fits(row->created_ms) &&
           number_fits(row->expires_ms) && (key == NULL || fits(key, 1, RD_IDEMPOTENCY_KEY_MAX));
}

/* The job that has this key; *ret_found false: none. */
static rd_err look_up_key(struct rd_store_db *db, struct rd_job_write *write, bool *ret_found)
{
    sqlite3_stmt *row = NULL;
    uint8_t hash[RD_HASH_LEN];
    RD_TRY(rd_store_db_query(db, RD_STORE_SQL_JOB_KEY_GET,
                             RD_STORE_VALUES(RD_STORE_VALUE_INT(write->row.owner),
                                             RD_STORE_VALUE_TEXT(write->idempotency_key)),
                             &row));
    RD_TRY(rd_store_db_row(db, row, ret_found));
    if (!*ret_found) {
        return RD_OK;
    }
    bool ok = rd_store_column_text(row, 0, write->existing, sizeof write->existing) &&
              rd_store_column_blob(row, 1, hash, sizeof hash);
    (void)sqlite3_reset(row);
    if (!ok) {
        return RD_ERR_CORRUPT;
    }
    if (memcmp(hash, write->body_hash, sizeof hash) != 0) {
        write->existing[0] = '\0';
        write->err = RD_ERR_CONFLICT;
    }
    return RD_OK;
}

rd_err rd_store_job_key(struct rd_store *store, struct rd_job_write *write)
{
    bool found = false;
    write->err = RD_OK;
    write->existing[0] = '\0';
    rd_store_db_lock(&store->reader);
    rd_err err = look_up_key(&store->reader, write, &found);
    rd_store_db_unlock(&store->reader);
    return err == RD_OK && !found ? RD_ERR_NOT_FOUND : err;
}

/* *ret_taken: there is a job with this number or id, or no such tenant; nothing was written. */
static rd_err add_row(struct rd_store *store, const struct rd_job_row *row, bool *ret_taken)
{
    struct rd_store_db *db = &store->writer;
    uint8_t seal[RD_STORE_SEAL_LEN];
    rd_err err = rd_store_db_run(
        db, RD_STORE_SQL_JOB_ADD,
        RD_STORE_VALUES(RD_STORE_VALUE_INT(row->n), RD_STORE_VALUE_TEXT(row->id),
                        RD_STORE_VALUE_INT(row->owner), RD_STORE_VALUE_INT(row->lane),
                        RD_STORE_VALUE_TEXT(row->model), RD_STORE_VALUE_INT(row->kind),
                        RD_STORE_VALUE_INT(row->units), RD_STORE_VALUE_TEXT(row->request_id),
                        RD_STORE_VALUE_TEXT(row->webhook), RD_STORE_VALUE_INT(row->seed),
                        RD_STORE_VALUE_INT(row->media), RD_STORE_VALUE_INT(row->created_ms),
                        RD_STORE_VALUE_INT(row->expires_ms), RD_STORE_VALUE_INT(row->task)));
    *ret_taken = err != RD_OK && (sqlite3_extended_errcode(db->handle) & 0xff) == SQLITE_CONSTRAINT;
    if (err != RD_OK) {
        return *ret_taken ? RD_OK : err;
    }
    rd_store_seal_job(store, row, seal);
    return rd_store_db_run(db, RD_STORE_SQL_JOB_REQUEST_ADD,
                           RD_STORE_VALUES(RD_STORE_VALUE_INT(row->n),
                                           RD_STORE_VALUE_TEXT_LEN(row->request, row->request_len),
                                           RD_STORE_VALUE_BLOB(seal, sizeof seal)));
}

static rd_err add(struct rd_store *store, struct rd_job_write *write)
{
    const struct rd_job_row *row = &write->row;
    bool found = false;
    if (!row_valid(row, write->idempotency_key)) {
        write->err = RD_ERR_INTERNAL;
        return RD_OK;
    }
    if (write->idempotency_key != NULL) {
        RD_TRY(look_up_key(&store->writer, write, &found));
        if (found) {
            return RD_OK;
        }
    }
    bool taken = false;
    RD_TRY(add_row(store, row, &taken));
    if (taken) {
        write->err = RD_ERR_INTERNAL;
    }
    if (taken || write->idempotency_key == NULL) {
        return RD_OK;
    }
    return rd_store_db_run(
        &store->writer, RD_STORE_SQL_JOB_KEY_ADD,
        RD_STORE_VALUES(RD_STORE_VALUE_INT(row->n), RD_STORE_VALUE_INT(row->owner),
                        RD_STORE_VALUE_TEXT(write->idempotency_key),
                        RD_STORE_VALUE_BLOB(write->body_hash, RD_HASH_LEN),
                        RD_STORE_VALUE_TEXT(row->id), RD_STORE_VALUE_INT(row->created_ms)));
}

/* Runs an UPDATE of the live job n. Where none was changed, `ret` says why: NOT_FOUND, or CONFLICT
 * for a job that has ended (or has a newer lease). */
static rd_err update(struct rd_store_db *db, enum rd_store_sql sql,
                     const struct rd_store_value *values, rd_err *ret)
{
    sqlite3_stmt *row = NULL;
    bool found = false;
    RD_TRY(rd_store_db_run(db, sql, values));
    if (sqlite3_changes(db->handle) > 0) {
        *ret = RD_OK;
        return RD_OK;
    }
    RD_TRY(rd_store_db_query(db, RD_STORE_SQL_JOB_EXISTS, RD_STORE_VALUES(values[0]), &row));
    RD_TRY(rd_store_db_row(db, row, &found));
    (void)sqlite3_reset(row);
    *ret = found ? RD_ERR_CONFLICT : RD_ERR_NOT_FOUND;
    return RD_OK;
}

static rd_err lease(struct rd_store *store, struct rd_job_write *write)
{
    const struct rd_job_row *row = &write->row;
    if (!fits(row->backend, 0, RD_STORE_BACKEND_MAX) || !number_fits(row->token)) {
        write->err = RD_ERR_INTERNAL;
        return RD_OK;
    }
    return update(&store->writer, RD_STORE_SQL_JOB_LEASE,
                  RD_STORE_VALUES(RD_STORE_VALUE_INT(row->n), RD_STORE_VALUE_INT(row->token),
                                  RD_STORE_VALUE_INT(row->attempt),
                                  RD_STORE_VALUE_TEXT(row->backend),
                                  RD_STORE_VALUE_INT(row->started_ms)),
                  &write->err);
}

static rd_err end(struct rd_store *store, struct rd_job_write *write)
{
    const struct rd_job_row *row = &write->row;
    const char *result = row->result == NULL ? "" : row->result;
    if (row->status < RD_STATUS_COMPLETE || row->status >= RD_STATUS_COUNT_ ||
        !fits(result, 0, RD_JOB_REQUEST_MAX) ||
        (write->message != NULL && !rd_id_valid(write->message_id, "msg_"))) {
        write->err = RD_ERR_INTERNAL;
        return RD_OK;
    }
    RD_TRY(update(&store->writer, RD_STORE_SQL_JOB_END,
                  RD_STORE_VALUES(RD_STORE_VALUE_INT(row->n), RD_STORE_VALUE_INT(row->status),
                                  RD_STORE_VALUE_INT(row->ended_ms),
                                  RD_STORE_VALUE_INT(row->device_ns),
                                  RD_STORE_VALUE_INT(row->device_source)),
                  &write->err));
    if (write->err == RD_OK && result[0] != '\0') {
        RD_TRY(rd_store_db_run(
            &store->writer, RD_STORE_SQL_JOB_RESULT_ADD,
            RD_STORE_VALUES(RD_STORE_VALUE_INT(row->n), RD_STORE_VALUE_TEXT(result))));
    }
    return write->err == RD_OK && write->message != NULL ? rd_store_message_add(store, write)
                                                         : RD_OK;
}

static rd_err apply_one(struct rd_store *store, struct rd_job_write *write)
{
    write->err = RD_OK;
    write->existing[0] = '\0';
    switch (write->kind) {
    case RD_WRITE_ADD:
        return add(store, write);
    case RD_WRITE_LEASE:
        return lease(store, write);
    case RD_WRITE_RETRY:
        return update(&store->writer, RD_STORE_SQL_JOB_RETRY,
                      RD_STORE_VALUES(RD_STORE_VALUE_INT(write->row.n)), &write->err);
    case RD_WRITE_CANCEL:
        return update(&store->writer, RD_STORE_SQL_JOB_CANCEL,
                      RD_STORE_VALUES(RD_STORE_VALUE_INT(write->row.n)), &write->err);
    case RD_WRITE_END:
        return end(store, write);
    case RD_WRITE_DELIVERY:
        return rd_store_delivery_put(store, write, &write->err);
    }
    write->err = RD_ERR_INTERNAL;
    return RD_OK;
}

static rd_err apply_all(struct rd_store *store, struct rd_job_write *writes, size_t count)
{
    uint64_t n = 0;
    uint64_t token = 0;
    for (size_t i = 0; i < count; i++) {
        struct rd_job_write *write = &writes[i];
        RD_TRY(apply_one(store, write));
        bool added = write->kind == RD_WRITE_ADD && write->existing[0] == '\0';
        if (write->err == RD_OK && added && write->row.n > n) {
            n = write->row.n;
        }
        if (write->err == RD_OK && write->kind == RD_WRITE_LEASE && write->row.token > token) {
            token = write->row.token;
        }
    }
    if (n > 0 || token > 0) {
        RD_TRY(rd_store_db_run(&store->writer, RD_STORE_SQL_MARKS_PUT,
                               RD_STORE_VALUES(RD_STORE_VALUE_INT(n), RD_STORE_VALUE_INT(token))));
    }
    return rd_store_db_commit(&store->writer);
}

/* A row of a job that is none stands where a new one has to go: only damage does that. The same
 * batch would fail for ever. */
static rd_err stray_row(struct rd_store_db *db, rd_err err)
{
    if (err != RD_ERR_STORAGE ||
        (sqlite3_extended_errcode(db->handle) & 0xff) != SQLITE_CONSTRAINT) {
        return err;
    }
    atomic_store(&db->failed, true);
    return RD_ERR_CORRUPT;
}

rd_err rd_store_jobs_apply(struct rd_store *store, struct rd_job_write *writes, size_t count)
{
    rd_err err = rd_store_db_begin(&store->writer);
    if (err == RD_OK) {
        err = stray_row(&store->writer, apply_all(store, writes, count));
        rd_store_db_end(&store->writer);
    }
    for (size_t i = 0; err != RD_OK && i < count; i++) {
        writes[i].err = err;
        writes[i].existing[0] = '\0';
    }
    return err;
}

/* Deletes, and says whether there may be more: as many rows went as were asked for. */
static rd_err sweep(struct rd_store_db *db, enum rd_store_sql sql, uint64_t before_ms, unsigned max,
                    bool *more)
{
    RD_TRY(rd_store_db_run(
        db, sql, RD_STORE_VALUES(RD_STORE_VALUE_INT(before_ms), RD_STORE_VALUE_INT(max))));
    *more |= (unsigned)sqlite3_changes(db->handle) >= max;
    return RD_OK;
}

static rd_err sweep_all(struct rd_store_db *db, uint64_t keys_before_ms, uint64_t jobs_before_ms,
                        unsigned max, bool *more)
{
    bool ignored = false;
    RD_TRY(sweep(db, RD_STORE_SQL_SWEEP_KEYS, keys_before_ms, max, more));
    RD_TRY(sweep(db, RD_STORE_SQL_SWEEP_REPLAYS, keys_before_ms, max, more));
    if (jobs_before_ms > 0) {
        RD_TRY(sweep(db, RD_STORE_SQL_SWEEP_REQUESTS, jobs_before_ms, max, &ignored));
        RD_TRY(sweep(db, RD_STORE_SQL_SWEEP_RESULTS, jobs_before_ms, max, &ignored));
        RD_TRY(sweep(db, RD_STORE_SQL_SWEEP_JOBS, jobs_before_ms, max, more)); /* last: the others
                                                                                  go by it */
        RD_TRY(sweep(db, RD_STORE_SQL_SWEEP_DELIVERIES, jobs_before_ms, max, more));
    }
    return rd_store_db_commit(db);
}

rd_err rd_store_jobs_sweep(struct rd_store *store, uint64_t keys_before_ms, uint64_t jobs_before_ms,
                           unsigned max, bool *ret_more)
{
    bool more = false;
    RD_TRY(rd_store_db_begin(&store->writer));
    rd_err err = sweep_all(&store->writer, keys_before_ms, jobs_before_ms, max, &more);
    rd_store_db_end(&store->writer);
    if (err == RD_OK) {
        *ret_more = more;
    }
    return err;
}
