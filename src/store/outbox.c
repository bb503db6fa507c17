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
    RD_TRY(rd_store_db_run(
        db, RD_STORE_SQL_DELIVERY_PUT,
        RD_STORE_VALUES(RD_STORE_VALUE_TEXT(delivery->id), RD_STORE_VALUE_INT(delivery->attempt),
                        RD_STORE_VALUE_INT(delivery->next_ms), RD_STORE_VALUE_INT(delivery->state),
                        RD_STORE_VALUE_INT(delivery->status),
                        RD_STORE_VALUE_TEXT(delivery->reason))));
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
