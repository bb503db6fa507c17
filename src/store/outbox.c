/* SPDX-License-Identifier: Apache-2.0
 *
 * The outbox of webhooks: messages that were made in the transaction that ended their job, and what
 * became of each try. See jobs.h.
 *
 * An endpoint is a tenant and a URL. Once it has answered 410, what waits for it is put aside as
 * DISABLED, and no message is made for it any more, until one of its messages is replayed. */
#include <string.h>

#include "store/internal.h"
#include "store/jobs.h"

rd_err rd_store_message_add(struct rd_store *store, const struct rd_job_write *write)
{
    return rd_store_db_run(&store->writer, RD_STORE_SQL_MESSAGE_ADD,
                           RD_STORE_VALUES(RD_STORE_VALUE_INT(write->row.n),
                                           RD_STORE_VALUE_TEXT(write->message_id),
                                           RD_STORE_VALUE_INT(write->row.ended_ms),
                                           RD_STORE_VALUE_TEXT(write->message)));
}

rd_err rd_store_delivery_put(struct rd_store *store, const struct rd_job_write *write, rd_err *ret)
{
    struct rd_store_db *db = &store->writer;
    const struct rd_delivery *delivery = &write->delivery;
    const struct rd_store_value *id = RD_STORE_VALUES(RD_STORE_VALUE_TEXT(delivery->id));
    if (!rd_id_valid(delivery->id, "msg_") || delivery->next_ms > INT64_MAX ||
        delivery->state > RD_DELIVERY_DISABLED || delivery->status < 0) {
        *ret = RD_ERR_INTERNAL;
        return RD_OK;
    }
    RD_TRY(rd_store_db_run(
        db, RD_STORE_SQL_DELIVERY_PUT,
        RD_STORE_VALUES(RD_STORE_VALUE_TEXT(delivery->id), RD_STORE_VALUE_INT(delivery->attempt),
                        RD_STORE_VALUE_INT(delivery->next_ms), RD_STORE_VALUE_INT(delivery->state),
                        RD_STORE_VALUE_INT(delivery->status),
                        RD_STORE_VALUE_TEXT(delivery->reason == NULL ? "" : delivery->reason))));
    if (sqlite3_changes(db->handle) == 0) {
        *ret = RD_ERR_NOT_FOUND;
        return RD_OK;
    }
    if (write->disable_endpoint) {
        RD_TRY(rd_store_db_run(db, RD_STORE_SQL_ENDPOINT_DISABLE,
                               RD_STORE_VALUES(RD_STORE_VALUE_TEXT(delivery->id),
                                               RD_STORE_VALUE_INT(store->now_ms()))));
        RD_TRY(rd_store_db_run(db, RD_STORE_SQL_ENDPOINT_DROP, id));
    }
    *ret = RD_OK;
    return RD_OK;
}

/* ---- reading ---- */

static bool read_row(sqlite3_stmt *row, struct rd_delivery *ret)
{
    uint64_t attempt = 0;
    uint64_t state = 0;
    uint64_t status = 0;
    *ret = (struct rd_delivery){.n = 0};
    bool ok = rd_store_column_u64(row, 0, &ret->n) &&
              rd_store_column_text(row, 1, ret->id, sizeof ret->id) &&
              rd_store_column_text(row, 2, ret->job, sizeof ret->job) &&
              rd_store_column_u64(row, 3, &ret->owner) &&
              (ret->tenant = rd_store_column_ref(row, 4, NULL)) != NULL &&
              (ret->url = rd_store_column_ref(row, 5, NULL)) != NULL &&
              rd_store_column_u64(row, 6, &attempt) && attempt <= UINT32_MAX &&
              rd_store_column_u64(row, 7, &ret->created_ms) &&
              rd_store_column_u64(row, 8, &ret->next_ms) && rd_store_column_u64(row, 9, &state) &&
              state <= RD_DELIVERY_DISABLED && rd_store_column_u64(row, 10, &status) &&
              status <= INT32_MAX && (ret->reason = rd_store_column_ref(row, 11, NULL)) != NULL &&
              (ret->body = rd_store_column_ref(row, 12, NULL)) != NULL;
    ret->attempt = (unsigned)attempt;
    ret->status = (int)status;
    ret->state = (unsigned)state;
    return ok;
}

struct walk {
    struct rd_store_db *db;
    bool (*each)(void *ctx, const struct rd_delivery *delivery);
    void *ctx;
    uint64_t due_ms;  /* what is due later is not told, but ends the walk ... */
    uint64_t limit;   /* ... as does what is beyond this many ... */
    uint64_t next_ms; /* out: ... and when that is due */
};

/* Under the reader's lock. */
static rd_err walk(struct walk *walk, enum rd_store_sql sql, const struct rd_store_value *values)
{
    sqlite3_stmt *statement = NULL;
    bool more = true;
    RD_TRY(rd_store_db_query(walk->db, sql, values, &statement));
    for (uint64_t count = 0; more; count++) {
        struct rd_delivery delivery;
        RD_TRY(rd_store_db_row(walk->db, statement, &more));
        if (!more) {
            return RD_OK;
        }
        rd_err err = read_row(statement, &delivery) ? RD_OK : RD_ERR_CORRUPT;
        if (err == RD_OK && (count == walk->limit || delivery.next_ms > walk->due_ms)) {
            walk->next_ms = delivery.next_ms;
            more = false;
        } else if (err == RD_OK) {
            more = walk->each(walk->ctx, &delivery);
        }
        if (err != RD_OK || !more) {
            (void)sqlite3_reset(statement); /* ends the read, so that checkpoints can pass */
            return err;
        }
    }
    return RD_OK;
}

rd_err rd_store_deliveries_due(struct rd_store *store, uint64_t now_ms, unsigned limit,
                               bool (*each)(void *ctx, const struct rd_delivery *delivery),
                               void *ctx, uint64_t *ret_next_ms)
{
    struct walk due = {
        .db = &store->reader, .each = each, .ctx = ctx, .due_ms = now_ms, .limit = limit};
    rd_store_db_lock(due.db);
    rd_err err = walk(&due, RD_STORE_SQL_DELIVERIES_DUE,
                      RD_STORE_VALUES(RD_STORE_VALUE_INT((uint64_t)limit + 1)));
    rd_store_db_unlock(due.db);
    if (err == RD_OK) {
        *ret_next_ms = due.next_ms;
    }
    return err;
}

static rd_err list(struct walk *found, const struct rd_job_filter *filter, uint64_t place)
{
    const struct rd_store_value owner = RD_STORE_VALUE_INT(filter->owner);
    const struct rd_store_value state = RD_STORE_VALUE_INT(filter->status);
    const struct rd_store_value before = RD_STORE_VALUE_INT(place);
    const struct rd_store_value limit = RD_STORE_VALUE_INT(filter->limit);
    if (filter->owner == 0) {
        return filter->status < 0
                   ? walk(found, RD_STORE_SQL_DELIVERIES_ALL, RD_STORE_VALUES(before, limit))
                   : walk(found, RD_STORE_SQL_DELIVERIES_ALL_STATE,
                          RD_STORE_VALUES(state, before, limit));
    }
    return filter->status < 0
               ? walk(found, RD_STORE_SQL_DELIVERIES_OWNER, RD_STORE_VALUES(owner, before, limit))
               : walk(found, RD_STORE_SQL_DELIVERIES_OWNER_STATE,
                      RD_STORE_VALUES(owner, state, before, limit));
}

rd_err rd_store_deliveries_list(struct rd_store *store, const struct rd_job_filter *filter,
                                bool (*each)(void *ctx, const struct rd_delivery *delivery),
                                void *ctx)
{
    struct walk found = {
        .db = &store->reader, .each = each, .ctx = ctx, .due_ms = UINT64_MAX, .limit = UINT64_MAX};
    uint64_t place = 0;
    rd_store_db_lock(found.db);
    rd_err err = rd_store_list_place(store, RD_STORE_SQL_DELIVERY_PLACE, filter->after, &place);
    err = err == RD_OK ? list(&found, filter, place) : err;
    rd_store_db_unlock(found.db);
    return err;
}

rd_err rd_store_deliveries_age(struct rd_store *store, uint64_t *ret_count, uint64_t *ret_oldest_ms)
{
    struct rd_store_db *db = &store->reader;
    sqlite3_stmt *row = NULL;
    bool got = false;
    uint64_t count = 0;
    uint64_t oldest_ms = 0;
    rd_store_db_lock(db);
    rd_err err = rd_store_db_query(db, RD_STORE_SQL_DELIVERIES_AGE, NULL, &row);
    err = err == RD_OK ? rd_store_db_row(db, row, &got) : err;
    if (err == RD_OK) {
        bool ok =
            got && rd_store_column_u64(row, 0, &count) && rd_store_column_u64(row, 1, &oldest_ms);
        (void)sqlite3_reset(row);
        err = ok ? RD_OK : RD_ERR_CORRUPT;
    }
    rd_store_db_unlock(db);
    if (err == RD_OK) {
        *ret_count = count;
        *ret_oldest_ms = oldest_ms;
    }
    return err;
}

static rd_err replay(struct rd_store_db *db, uint64_t owner, const char *id, uint64_t now_ms)
{
    RD_TRY(rd_store_db_run(db, RD_STORE_SQL_DELIVERY_REPLAY,
                           RD_STORE_VALUES(RD_STORE_VALUE_TEXT(id), RD_STORE_VALUE_INT(owner),
                                           RD_STORE_VALUE_INT(now_ms))));
    if (sqlite3_changes(db->handle) == 0) {
        return RD_ERR_NOT_FOUND;
    }
    RD_TRY(rd_store_db_run(db, RD_STORE_SQL_ENDPOINT_ENABLE,
                           RD_STORE_VALUES(RD_STORE_VALUE_TEXT(id))));
    return rd_store_db_commit(db);
}

rd_err rd_store_delivery_replay(struct rd_store *store, uint64_t owner, const char *id,
                                uint64_t now_ms)
{
    if (!rd_id_valid(id, "msg_")) {
        return RD_ERR_NOT_FOUND;
    }
    RD_TRY(rd_store_db_begin(&store->writer));
    rd_err err = replay(&store->writer, owner, id, now_ms);
    rd_store_db_end(&store->writer);
    return err;
}
