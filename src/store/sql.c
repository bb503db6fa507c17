/* SPDX-License-Identifier: Apache-2.0
 *
 * The schema, version by version, and every statement of the store. See db.h for how they run.
 *
 * The table `migrations` of the database holds one row a schema version. To change the schema:
 * append a row to rd_store_migrations (never edit one that shipped), keep every statement right for
 * the newest version, and add a file of the old version to the tests.
 *
 * How jobs lie on disk. Accepting a job must cost appends only, since it is done tens of thousands
 * of times a second: `n` ascends, ids are time-ordered, and each index is led by what ascends or by
 * what few values share. The one exception are idempotency keys, which are the clients' own. A job
 * is in three tables, so that reading a million states does not read a million requests, and ending
 * a job does not make its row grow where it stands:
 *
 *     jobs          what is asked again and again: whose, where, in which state
 *     job_requests  the submission as it came, and the seal over it and what never changes in jobs
 *     job_results   outputs or error, when it has ended
 *
 * Lists go by (owner, status, n) and (status, n): every filter has its index, whatever a tenant has
 * left behind. A list of all states merges the states' ranges, which SQLite does row by row without
 * sorting. */
#include "store/db.h"

const struct rd_store_migration rd_store_migrations[] = {
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
    {2, "jobs, webhooks",
     /* One row: the highest numbers ever given out, which must not be given again when the jobs
        that had them are forgotten. */
     "CREATE TABLE job_marks(one INTEGER PRIMARY KEY CHECK(one = 1), n INTEGER NOT NULL,"
     " token INTEGER NOT NULL) STRICT;"
     "INSERT INTO job_marks VALUES(1, 0, 0);"
     "CREATE TABLE jobs(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
     " owner INTEGER NOT NULL REFERENCES tenants(owner), lane INTEGER NOT NULL,"
     " model TEXT NOT NULL, kind INTEGER NOT NULL, units INTEGER NOT NULL,"
     " request_id TEXT NOT NULL, webhook TEXT NOT NULL, seed INTEGER NOT NULL,"
     " media INTEGER NOT NULL, created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,"
     " started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL, attempt INTEGER NOT NULL,"
     " token INTEGER NOT NULL, backend TEXT NOT NULL, cancel INTEGER NOT NULL,"
     " status INTEGER NOT NULL, device_ns INTEGER NOT NULL, device_source INTEGER NOT NULL) STRICT;"
     "CREATE INDEX jobs_owner ON jobs(owner, status, n);"
     "CREATE INDEX jobs_status ON jobs(status, n);"
     "CREATE INDEX jobs_ended ON jobs(ended_ms) WHERE status >= 2;"
     "CREATE TABLE job_requests(n INTEGER PRIMARY KEY, request TEXT NOT NULL, seal BLOB NOT NULL)"
     " STRICT;"
     "CREATE TABLE job_results(n INTEGER PRIMARY KEY, result TEXT NOT NULL) STRICT;"
     /* `job` is an id and not a reference: a key outlives its job if that is forgotten first. */
     "CREATE TABLE job_keys(n INTEGER PRIMARY KEY, owner INTEGER NOT NULL, key TEXT NOT NULL,"
     " body_hash BLOB NOT NULL, job TEXT NOT NULL, created_ms INTEGER NOT NULL) STRICT;"
     "CREATE UNIQUE INDEX job_keys_key ON job_keys(owner, key);"
     "CREATE TABLE deliveries(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, job TEXT NOT NULL,"
     " owner INTEGER NOT NULL REFERENCES tenants(owner), url TEXT NOT NULL,"
     " attempt INTEGER NOT NULL, created_ms INTEGER NOT NULL, next_ms INTEGER NOT NULL,"
     " state INTEGER NOT NULL, status INTEGER NOT NULL, reason TEXT NOT NULL, body TEXT NOT NULL)"
     " STRICT;"
     "CREATE INDEX deliveries_owner ON deliveries(owner, state, n);"
     "CREATE INDEX deliveries_state ON deliveries(state, n);"
     "CREATE INDEX deliveries_due ON deliveries(next_ms, n) WHERE state = 0;"
     "CREATE INDEX deliveries_over ON deliveries(created_ms) WHERE state > 0;"
     "CREATE TABLE webhooks_disabled(owner INTEGER NOT NULL, url TEXT NOT NULL,"
     " since_ms INTEGER NOT NULL, PRIMARY KEY(owner, url)) STRICT, WITHOUT ROWID;"
     "CREATE TABLE webhook_secrets(n INTEGER PRIMARY KEY, owner INTEGER NOT NULL"
     " REFERENCES tenants(owner), created_ms INTEGER NOT NULL, nonce BLOB NOT NULL,"
     " secret BLOB NOT NULL) STRICT;"
     "CREATE INDEX webhook_secrets_owner ON webhook_secrets(owner, n);"},
    {3, "kept answers",
     "CREATE TABLE replays(n INTEGER PRIMARY KEY, owner INTEGER NOT NULL, key TEXT NOT NULL,"
     " body_hash BLOB NOT NULL, status INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
     " nonce BLOB NOT NULL, answer BLOB NOT NULL) STRICT;"
     "CREATE UNIQUE INDEX replays_key ON replays(owner, key);"},
    {4, "the task of a job", "ALTER TABLE jobs ADD COLUMN task INTEGER NOT NULL DEFAULT 0;"},
};
const size_t rd_store_migration_count = sizeof rd_store_migrations / sizeof *rd_store_migrations;

#define UPLOAD_COLUMNS                                                                             \
    "SELECT u.id, t.name, u.owner, u.content_type, u.bytes, u.expires_ms, u.done, u.blake3, "      \
    "u.seal,"                                                                                      \
    " u.token_hash FROM uploads u JOIN tenants t ON t.owner = u.owner "

/* What a job looks like to whoever reads it: job_read.c takes the columns by position. */
#define JOB_COLUMNS                                                                                \
    "SELECT j.n, j.id, j.owner, t.name, j.lane, j.model, j.kind, j.units, j.request_id,"           \
    " j.webhook, j.seed, j.media, j.created_ms, j.expires_ms, j.started_ms, j.ended_ms,"           \
    " j.attempt, j.token, j.backend, j.cancel, j.status, j.device_ns, j.device_source, j.task"
#define JOB_WHOLE JOB_COLUMNS ", r.result, q.request, q.seal"
#define JOB_LISTED JOB_COLUMNS ", r.result, NULL, NULL"
#define JOB_LIVE JOB_COLUMNS ", NULL, NULL, NULL"
#define JOB_TENANT " LEFT JOIN tenants t ON t.owner = j.owner"
#define JOB_RESULT " LEFT JOIN job_results r ON r.n = j.n"
#define JOB_REQUEST " LEFT JOIN job_requests q ON q.n = j.n"
/* What a sweep takes: the jobs that ended before ?1, at most ?2. */
#define SWEPT "SELECT n FROM jobs WHERE status >= 2 AND ended_ms < ?1 ORDER BY ended_ms LIMIT ?2"
/* The tenant's jobs in one status before ?2: a part of the merged list. */
#define JOB_PART(status) "SELECT n FROM jobs WHERE owner = ?1 AND status = " status " AND n < ?2"

#define JOB_PARTS                                                                                  \
    JOB_PART("0")                                                                                  \
    " UNION ALL " JOB_PART("1") " UNION ALL " JOB_PART("2") " UNION ALL " JOB_PART(                \
        "3") " UNION ALL " JOB_PART("4")

#define DELIVERY_COLUMNS                                                                           \
    "SELECT d.n, d.id, d.job, d.owner, t.name, d.url, d.attempt, d.created_ms, d.next_ms,"         \
    " d.state, d.status, d.reason, d.body"
#define DELIVERY_TENANT " LEFT JOIN tenants t ON t.owner = d.owner"
#define DELIVERY_PART(state)                                                                       \
    "SELECT n FROM deliveries WHERE owner = ?1 AND state = " state " AND n < ?2"
#define DELIVERY_PARTS                                                                             \
    DELIVERY_PART("0")                                                                             \
    " UNION ALL " DELIVERY_PART("1") " UNION ALL " DELIVERY_PART("2") " UNION ALL " DELIVERY_PART( \
        "3")

const char *const rd_store_statements[RD_STORE_SQL_COUNT_] = {
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
    [RD_STORE_SQL_MARKS_GET] = "SELECT n, token FROM job_marks",
    [RD_STORE_SQL_MARKS_PUT] = "UPDATE job_marks SET n = max(n, ?1), token = max(token, ?2)",
    [RD_STORE_SQL_JOB_KEY_GET] =
        "SELECT job, body_hash FROM job_keys WHERE owner = ?1 AND key = ?2",
    [RD_STORE_SQL_JOB_KEY_ADD] = "INSERT INTO job_keys VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [RD_STORE_SQL_JOB_ADD] = "INSERT INTO jobs VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,"
                             " ?12, ?13, 0, 0, 0, 0, '', 0, 0, 0, 0, ?14)",
    [RD_STORE_SQL_JOB_REQUEST_ADD] = "INSERT INTO job_requests VALUES(?1, ?2, ?3)",
    [RD_STORE_SQL_JOB_LEASE] = "UPDATE jobs SET status = 1, token = ?2, attempt = ?3, backend = ?4,"
                               " started_ms = ?5 WHERE n = ?1 AND status < 2 AND token < ?2",
    [RD_STORE_SQL_JOB_RETRY] = "UPDATE jobs SET status = 0 WHERE n = ?1 AND status < 2",
    [RD_STORE_SQL_JOB_CANCEL] = "UPDATE jobs SET cancel = 1 WHERE n = ?1 AND status < 2",
    [RD_STORE_SQL_JOB_END] = "UPDATE jobs SET status = ?2, ended_ms = ?3, device_ns = ?4,"
                             " device_source = ?5 WHERE n = ?1 AND status < 2",
    [RD_STORE_SQL_JOB_RESULT_ADD] = "INSERT INTO job_results VALUES(?1, ?2)",
    [RD_STORE_SQL_JOB_EXISTS] = "SELECT 1 FROM jobs WHERE n = ?1",
    [RD_STORE_SQL_JOBS_LIVE] =
        JOB_LIVE " FROM jobs j" JOB_TENANT " WHERE j.status = 0 UNION ALL " JOB_LIVE
                 " FROM jobs j" JOB_TENANT " WHERE j.status = 1 ORDER BY 1",
    [RD_STORE_SQL_JOB_GET] = JOB_WHOLE " FROM jobs j" JOB_TENANT JOB_RESULT JOB_REQUEST
                                       " WHERE j.id = ?1 AND (?2 = 0 OR j.owner = ?2)",
    [RD_STORE_SQL_JOBS_EXPORT] = JOB_WHOLE " FROM jobs j" JOB_TENANT JOB_RESULT JOB_REQUEST
                                           " WHERE j.n > ?1 ORDER BY j.n LIMIT ?2",
    [RD_STORE_SQL_JOB_PLACE] =
        "SELECT n + (id < ?1) FROM jobs WHERE id <= ?1 ORDER BY id DESC LIMIT 1",
    [RD_STORE_SQL_JOBS_ALL] = JOB_LISTED " FROM jobs j" JOB_TENANT JOB_RESULT
                                         " WHERE j.n < ?1 ORDER BY j.n DESC LIMIT ?2",
    [RD_STORE_SQL_JOBS_ALL_STATUS] =
        JOB_LISTED " FROM jobs j" JOB_TENANT JOB_RESULT
                   " WHERE j.status = ?1 AND j.n < ?2 ORDER BY j.n DESC LIMIT ?3",
    [RD_STORE_SQL_JOBS_OWNER] =
        JOB_LISTED " FROM (" JOB_PARTS " ORDER BY n DESC LIMIT ?3) p"
                   " CROSS JOIN jobs j ON j.n = p.n" JOB_TENANT JOB_RESULT " ORDER BY p.n DESC",
    [RD_STORE_SQL_JOBS_OWNER_STATUS] =
        JOB_LISTED " FROM jobs j" JOB_TENANT JOB_RESULT
                   " WHERE j.owner = ?1 AND j.status = ?2 AND j.n < ?3 ORDER BY j.n DESC LIMIT ?4",
    [RD_STORE_SQL_SWEEP_KEYS] = "DELETE FROM job_keys WHERE n IN (SELECT n FROM (SELECT n,"
                                " created_ms FROM job_keys ORDER BY n LIMIT ?2)"
                                " WHERE created_ms < ?1)",
    [RD_STORE_SQL_SWEEP_REQUESTS] = "DELETE FROM job_requests WHERE n IN (" SWEPT ")",
    [RD_STORE_SQL_SWEEP_RESULTS] = "DELETE FROM job_results WHERE n IN (" SWEPT ")",
    [RD_STORE_SQL_SWEEP_JOBS] = "DELETE FROM jobs WHERE n IN (" SWEPT ")",
    [RD_STORE_SQL_SWEEP_DELIVERIES] =
        "DELETE FROM deliveries WHERE n IN (SELECT n FROM deliveries"
        " WHERE state > 0 AND created_ms < ?1 ORDER BY created_ms LIMIT ?2)",
    [RD_STORE_SQL_MESSAGE_ADD] =
        "INSERT INTO deliveries SELECT NULL, ?2, id, owner, webhook, 0, ?3, ?3, 0, 0, '', ?4"
        " FROM jobs j WHERE n = ?1 AND webhook <> '' AND NOT EXISTS"
        " (SELECT 1 FROM webhooks_disabled w WHERE w.owner = j.owner AND w.url = j.webhook)"
        " ON CONFLICT(id) DO NOTHING",
    [RD_STORE_SQL_DELIVERY_PUT] = "UPDATE deliveries SET attempt = ?2, next_ms = ?3, state = ?4,"
                                  " status = ?5, reason = ?6 WHERE id = ?1",
    [RD_STORE_SQL_ENDPOINT_DISABLE] =
        "INSERT INTO webhooks_disabled SELECT owner, url, ?2 FROM deliveries WHERE id = ?1"
        " ON CONFLICT DO NOTHING",
    [RD_STORE_SQL_ENDPOINT_DROP] =
        "UPDATE deliveries SET state = 3, next_ms = 0 WHERE (owner, url) ="
        " (SELECT owner, url FROM deliveries WHERE id = ?1) AND state = 0",
    [RD_STORE_SQL_ENDPOINT_ENABLE] = "DELETE FROM webhooks_disabled WHERE (owner, url) ="
                                     " (SELECT owner, url FROM deliveries WHERE id = ?1)",
    [RD_STORE_SQL_DELIVERY_REPLAY] =
        "UPDATE deliveries SET state = 0, attempt = 0, next_ms = ?3, status = 0, reason = ''"
        " WHERE id = ?1 AND (?2 = 0 OR owner = ?2)",
    [RD_STORE_SQL_DELIVERIES_DUE] =
        DELIVERY_COLUMNS " FROM deliveries d INDEXED BY deliveries_due" DELIVERY_TENANT
                         " WHERE d.state = 0 ORDER BY d.next_ms, d.n LIMIT ?1",
    [RD_STORE_SQL_DELIVERY_PLACE] =
        "SELECT n + (id < ?1) FROM deliveries WHERE id <= ?1 ORDER BY id DESC LIMIT 1",
    [RD_STORE_SQL_DELIVERIES_ALL] = DELIVERY_COLUMNS " FROM deliveries d" DELIVERY_TENANT
                                                     " WHERE d.n < ?1 ORDER BY d.n DESC LIMIT ?2",
    [RD_STORE_SQL_DELIVERIES_ALL_STATE] =
        DELIVERY_COLUMNS " FROM deliveries d" DELIVERY_TENANT
                         " WHERE d.state = ?1 AND d.n < ?2 ORDER BY d.n DESC LIMIT ?3",
    [RD_STORE_SQL_DELIVERIES_OWNER] = DELIVERY_COLUMNS
    " FROM (" DELIVERY_PARTS " ORDER BY n DESC LIMIT ?3) p"
    " CROSS JOIN deliveries d ON d.n = p.n" DELIVERY_TENANT " ORDER BY p.n DESC",
    [RD_STORE_SQL_DELIVERIES_OWNER_STATE] = DELIVERY_COLUMNS
    " FROM deliveries d" DELIVERY_TENANT " WHERE d.owner = ?1 AND d.state = ?2 AND d.n < ?3"
    " ORDER BY d.n DESC LIMIT ?4",
    [RD_STORE_SQL_DELIVERIES_AGE] = "SELECT count(*), coalesce(min(next_ms), 0) FROM deliveries"
                                    " INDEXED BY deliveries_due WHERE state = 0",
    [RD_STORE_SQL_REPLAY_GET] = "SELECT body_hash, status, nonce, answer FROM replays"
                                " WHERE owner = ?1 AND key = ?2",
    [RD_STORE_SQL_REPLAY_ADD] = "INSERT INTO replays VALUES(NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [RD_STORE_SQL_SWEEP_REPLAYS] = "DELETE FROM replays WHERE n IN (SELECT n FROM (SELECT n,"
                                   " created_ms FROM replays ORDER BY n LIMIT ?2)"
                                   " WHERE created_ms < ?1)",
    [RD_STORE_SQL_SECRETS_GET] = "SELECT created_ms, nonce, secret FROM webhook_secrets"
                                 " WHERE owner = ?1 ORDER BY n DESC LIMIT 2",
    [RD_STORE_SQL_SECRET_ADD] = "INSERT INTO webhook_secrets VALUES(NULL, ?1, ?2, ?3, ?4)",
    [RD_STORE_SQL_SECRETS_TRIM] =
        "DELETE FROM webhook_secrets WHERE owner = ?1 AND n NOT IN (SELECT n FROM webhook_secrets"
        " WHERE owner = ?1 ORDER BY n DESC LIMIT 2)",
};
