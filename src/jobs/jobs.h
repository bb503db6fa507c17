/* SPDX-License-Identifier: Apache-2.0
 *
 * The async tier's driver: it owns the queue (core/queue.h), does what its actions say, and tells
 * everybody what happens to jobs. It knows no HTTP and no engine: the gateway hands in how a run is
 * started and stopped (struct rd_jobs_host), and answers its clients from the callbacks here.
 *
 * Threads: every function may be called from any thread. One lock guards the queue and the jobs in
 * memory and is held for memory work only. One thread of its own, the writer, gathers what must be
 * durable, writes it with one sync for all (store/jobs.h), and then tells who waits for it; it also
 * keeps the time. Callbacks named `fn` run under the lock or on the writer: they must be quick,
 * must not block, and must not call back into this header unless it says so.
 *
 * What is in memory: every job that has not ended (about 500 bytes; a large request only in the
 * store), and the last RD_JOBS_ENDED_KEPT that have. Older ones are read from the store by the
 * caller, on a thread that may wait. */
#ifndef RD_JOBS_JOBS_H
#define RD_JOBS_JOBS_H

#include "base/buf.h"
#include "core/generation.h"
#include "core/queue.h"
#include "store/jobs.h"

struct rd_jobs;

enum {
    RD_JOBS_ENDED_KEPT = 1024,
    RD_JOBS_REQUEST_KEPT = 1024,      /* bytes: a smaller submission stays in memory ... */
    RD_JOBS_REQUESTS_KEPT = 64 << 20, /* ... while all of them together are less than this */
    RD_JOBS_HEARTBEAT_S = 15,
    RD_JOBS_EVENTS_KEPT =
        64, /* of one job, for those who come back; older ones are told as missed */
    RD_JOBS_EVENT_MAX = 200 * 1024, /* bytes of one event's data; a larger preview is left out */
    RD_JOBS_WATCHES_MAX = 65536,
    RD_JOBS_LOOKS_MAX = 1024, /* refused submissions whose keys are looked up */
};

/* A run's place: whose it is, and on which backend. */
struct rd_jobs_slot {
    uint32_t job, backend;
    uint64_t token;
    uint64_t deadline_ns; /* of the job, over all its attempts, monotonic; 0: none */
};

/* What a backend must be able to do for a job. Jobs that want the same are one class of the queue.
 */
struct rd_jobs_want {
    const char *model; /* "family/model" */
    int kind;          /* enum rd_backend_kind, -1: any */
    enum rd_task task;
    enum rd_media media;
};

struct rd_jobs_host {
    void *ctx;
    /* Start the run of this job: read it from the store, attach, compute, rd_jobs_done,
     * rd_jobs_slot_free. Called without the lock, on any thread; must not block. */
    void (*run)(void *ctx, const char *id, const struct rd_jobs_slot *slot);
    /* Does this backend serve that? Under the lock; asked when a class is first seen, and after a
     * reload. */
    bool (*serves)(void *ctx, uint32_t backend, const struct rd_jobs_want *want);
    /* Would it take work now? Under the lock, some ten times a second. */
    bool (*ready)(void *ctx, uint32_t backend);
    /* What the tenant may; under the lock, when a tenant is first seen and after a reload. */
    void (*limits)(void *ctx, const char *tenant, struct rd_tenant_limits *ret);
    /* Ten times a second, on the writer, without the lock. */
    void (*tick)(void *ctx);
    /* A job that has a webhook has ended: there is a new message in the store. Under the lock. */
    void (*message)(void *ctx);
    /* The store has failed for good: the gateway must stop. Once. */
    void (*broken)(void *ctx);
};

struct rd_jobs_options {
    struct rd_store *store; /* must outlive it */
    struct rd_queue_config queue;
    struct rd_jobs_host host;
    const char *public_url;     /* copied */
    unsigned keep_days;         /* ended jobs and deliveries; 0: for ever */
    unsigned idempotency_hours; /* >= 1 */
};
/* Reads what has not ended and puts it back into the queue. Nothing runs before rd_jobs_go. */
rd_err rd_jobs_open(const struct rd_jobs_options *options, struct rd_jobs **ret,
                    struct rd_why *why) RD_MUST;
void rd_jobs_go(struct rd_jobs *jobs);
/* Starts no more runs and admits nothing (DRAINING); what is queued stays for the next start. */
void rd_jobs_drain(struct rd_jobs *jobs);
/* Runs that were drained too long are broken off, to be run again after the next start. */
void rd_jobs_break_off(struct rd_jobs *jobs);
unsigned rd_jobs_running(struct rd_jobs *jobs);
/* Writes what is left. No run is open any more, and nobody calls in. NULL is fine. */
void rd_jobs_close(struct rd_jobs *jobs);

/* ---- backends: the gateway's, by name, so that a reload keeps count ---- */

struct rd_jobs_backend {
    const char *name;  /* copied */
    uint32_t slots;    /* 0 retires it */
    uint32_t weight;   /* its share of the work against others; 0: as slots */
    uint64_t lease_ns; /* a run that gives no sign of life for so long is lost; 0: never */
};
/* The number of the backend with this name, made at first sight (RD_QUEUE_BACKENDS_MAX: NO_MEMORY).
 * One of the same name keeps its number, its slots in use and its breaker. Follow a set of changes
 * with rd_jobs_reloaded. */
rd_err rd_jobs_backend(struct rd_jobs *jobs, const struct rd_jobs_backend *backend,
                       uint32_t *ret_backend) RD_MUST;
uint32_t rd_jobs_backend_taken(struct rd_jobs *jobs, uint32_t backend); /* slots in use */
/* What the queue thinks of its backends, those that were retired and are free left out:
 * [{"name","slots","taken","weight","ready","quarantined","breaker":{"state","requests","failures",
 * "retry_after_seconds"}}]. state: "closed", "open", "half_open"; requests and failures: of the
 * last 100 s; retry_after_seconds: until an open one lets probes through, else null. */
void rd_jobs_backends_json(struct rd_jobs *jobs, struct rd_buf *json);
/* Asks host.serves, ready and limits for everything again. */
void rd_jobs_reloaded(struct rd_jobs *jobs);

/* ---- getting in ---- */

struct rd_jobs_ask {
    uint64_t owner;
    const char *tenant;
    enum rd_lane lane;
    struct rd_jobs_want want;
    uint32_t units;
};
/* What the limits were when it was decided: RateLimit headers. */
struct rd_jobs_limits {
    uint64_t burst, rate; /* burst 0: there is no rate limit, and no header */
    uint64_t left, reset_s;
    uint64_t retry_s; /* refused: when to try again, >= 1 */
};
/* The sync tier: a slot now, or why not. */
enum rd_admit rd_jobs_take(struct rd_jobs *jobs, const struct rd_jobs_ask *ask,
                           struct rd_jobs_slot *ret, struct rd_jobs_limits *ret_limits) RD_MUST;

struct rd_jobs_created {
    const char *id;
    bool existing;       /* the idempotency key had this job already */
    enum rd_admit admit; /* not OK: it was refused after all, and id is "" (err says the same) */
    uint32_t position;
    uint64_t eta_ns;
};
typedef void rd_jobs_created_fn(void *ctx, rd_err err, const struct rd_jobs_created *created);
/* A job for the queue. `add` is an RD_WRITE_ADD with everything but n, and id when that is "";
 * texts are copied. When it is admitted `fn` is called once, on the writer, after the sync (or with
 * the error: CONFLICT for an idempotency key with another body); it may call rd_jobs_watch.
 * A key that has a job already is answered with it whatever the limits say: what they refuse, with
 * a key, is OK here, and `fn` is told of the refusal (created->admit) once the store says that the
 * key is new; *ret_limits is the refusal's. */
enum rd_admit rd_jobs_submit(struct rd_jobs *jobs, const struct rd_jobs_ask *ask,
                             const struct rd_job_write *add, rd_jobs_created_fn *fn, void *ctx,
                             struct rd_jobs_limits *ret_limits) RD_MUST;
/* A run of the sync tier becomes a job while it runs; as rd_jobs_submit without a decision.
 * NOT_FOUND when the run is over already (then fn is not called). */
rd_err rd_jobs_adopt(struct rd_jobs *jobs, const struct rd_jobs_slot *slot,
                     const struct rd_jobs_ask *ask, const struct rd_job_write *add,
                     rd_jobs_created_fn *fn, void *ctx) RD_MUST;
/* Fills in position and eta of created->id, 0 when it runs or has ended. */
void rd_jobs_where(struct rd_jobs *jobs, struct rd_jobs_created *created);
/* The error and text of a refusal. */
rd_err rd_jobs_refusal(enum rd_admit admit, const char **ret_text);

/* ---- a run tells how it goes ---- */

/* `stop` is called under the lock when the run is to be broken off; CANCELLED: it is already. */
rd_err rd_jobs_attach(struct rd_jobs *jobs, const struct rd_jobs_slot *slot,
                      void (*stop)(void *run), void *run) RD_MUST;
void rd_jobs_progress(struct rd_jobs *jobs, const struct rd_jobs_slot *slot, double fraction,
                      unsigned step);
/* A picture of the state so far; `data_uri` is copied. Nobody watching: nothing is kept. */
void rd_jobs_preview(struct rd_jobs *jobs, const struct rd_jobs_slot *slot, const char *data_uri,
                     size_t len);
bool rd_jobs_watched(struct rd_jobs *jobs, const struct rd_jobs_slot *slot);

struct rd_jobs_outcome {
    enum rd_outcome outcome;
    enum rd_verdict verdict; /* about the backend; only one that is BAD makes it go on elsewhere */
    rd_err err;              /* when not OK */
    const char *message;     /* for the job's owner; NULL: the error's own text */
    const char *assets;      /* OK: JSON list of asset ids */
    uint64_t device_ns;
    int device_source; /* enum rd_device_time_source */
};
/* The run's end, once. After it `run` may be freed: stop() is not called any more.
 * True: it was a run of the sync tier, which failed (FAILED_AGAIN, verdict BAD), and *ret_again is
 * a slot on another backend, taken for it: the caller starts it again there, as a run of its own,
 * with rd_jobs_done and rd_jobs_slot_free of its own; the old slot is still to be freed. Always
 * false for a run of the queue, which is told through host.run, and when `ret_again` is NULL: the
 * caller cannot start it again, and its failure is its end. */
bool rd_jobs_done(struct rd_jobs *jobs, const struct rd_jobs_slot *slot,
                  const struct rd_jobs_outcome *outcome, struct rd_jobs_slot *ret_again);
/* The engine has let go of the slot; once for each run, after rd_jobs_done. */
void rd_jobs_slot_free(struct rd_jobs *jobs, uint32_t backend);

/* ---- asking ---- */

/* The contract's Job as JSON, of a job in memory. owner 0: any. `request` is the submission, for
 * jobs whose own is too large to be kept; NULL: not at hand; "": leave it out. NOT_FOUND: no job in
 * memory, not the owner's, or the request is needed: *ret_stored tells whether looking in the store
 * may help. `output` gets the asset id of a complete job's first output, or "". */
rd_err rd_jobs_get(struct rd_jobs *jobs, uint64_t owner, const char *id, const char *request,
                   struct rd_buf *json, char output[RD_ID_ASSET_LEN + 1], bool *ret_stored) RD_MUST;
/* `,"name":1.250`, or null while nothing is known (0). */
void rd_jobs_write_seconds(struct rd_buf *json, const char *name, uint64_t ns);
/* `,"gpu_seconds":1.250000000,"gpu_source":"engine"`; null twice when it is not known. */
void rd_jobs_write_device_time(struct rd_buf *json, int source, uint64_t ns);
/* "cpu", "engine", "measured": how a device time was obtained; NULL: it is not known. */
const char *rd_jobs_device_source(int source);
/* There is such a job in memory, and the owner (0: any) may see it. */
bool rd_jobs_visible(struct rd_jobs *jobs, uint64_t owner, const char *id);
/* The same of a row of the store (json.c); row->request may be NULL. */
void rd_job_json(const struct rd_job_row *row, const char *public_url, struct rd_buf *json);
/* The asset id of output `index` of a complete row; false when there is none. */
bool rd_job_output(const struct rd_job_row *row, unsigned index, char ret[RD_ID_ASSET_LEN + 1]);

typedef void rd_jobs_done_fn(void *ctx, rd_err err);
/* Cancels. queued_only: CONFLICT when it runs. CONFLICT when it has ended; NOT_FOUND as above, also
 * for jobs that ended long ago (the caller looks in the store). RD_OK: `fn` is called once, on the
 * writer, when the wish (running) or the end (queued) is durable; with DISK_FULL when it cannot be
 * made so now: it will be, as soon as it can. */
rd_err rd_jobs_cancel(struct rd_jobs *jobs, uint64_t owner, const char *id, bool queued_only,
                      rd_jobs_done_fn *fn, void *ctx) RD_MUST;

void rd_jobs_queue_json(struct rd_jobs *jobs, struct rd_buf *json); /* GET /queue */
void rd_jobs_metrics(struct rd_jobs *jobs, struct rd_buf *text);    /* Prometheus */

/* ---- events ---- */

/* One event of one job. Ids ascend within a job over restarts and retries: attempt << 20 | count.
 */
struct rd_jobs_event {
    uint64_t id;
    const char *job; /* its id */
    /* "position", "started", "progress", "preview", "complete", "error"; or "": nothing happened
     * for RD_JOBS_HEARTBEAT_S, for those who keep a connection open (id and data mean nothing). */
    const char *name;
    const char *data; /* a JSON object */
    size_t len;
    bool last;       /* the job has ended; nothing follows */
    unsigned missed; /* events before this one that are no longer kept for this watcher */
};
struct rd_jobs_watch;
/* Under the lock. False: too slow, this event could not be taken; the next one that is will say how
 * many were missed. The last event is offered again until it is taken. */
typedef bool rd_jobs_event_fn(void *ctx, const struct rd_jobs_event *event);
/* Calls fn with what came after `after` (0: from what holds now on), from inside this call, and
 * from then on with each event. NOT_FOUND as rd_jobs_get. For a job that has ended fn gets the last
 * event, also when `after` is that one, and *ret is NULL. May be called from a created callback. */
rd_err rd_jobs_watch(struct rd_jobs *jobs, uint64_t owner, const char *id, uint64_t after,
                     rd_jobs_event_fn *fn, void *ctx, struct rd_jobs_watch **ret) RD_MUST;
/* After it returned fn is not called any more. NULL is fine. Never from inside fn. */
void rd_jobs_unwatch(struct rd_jobs *jobs, struct rd_jobs_watch *watch);
/* The last event of a job that is only in the store, as fn would have got it. */
void rd_job_last_event(const struct rd_job_row *row, const char *public_url, rd_jobs_event_fn *fn,
                       void *ctx);

/* The body of a job's webhook (Standard Webhooks: type, timestamp, data). */
void rd_job_message(const struct rd_job_row *row, const char *public_url, struct rd_buf *json);

#endif
