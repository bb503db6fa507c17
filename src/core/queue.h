/* SPDX-License-Identifier: Apache-2.0
 *
 * The heart of the async tier: which job may enter, which runs next, and what becomes of it. Pure:
 * no file, socket, thread, clock or memory of its own; `step(state, event, now) -> actions`. The
 * driver (src/jobs/) does what the actions say and reports back with events. So a year of traffic
 * runs in a test with virtual time, and a bug is a seed (tests/simulate).
 *
 *   SUBMIT
 *     v          LOST
 *   ACCEPTED -----------> free        ENDING -ENDED-> free
 *     v DURABLE                         ^ ^ ^
 *   QUEUED -- TTL, CANCEL --------------+ | |        no engine has begun
 *     |  ^-- UNLEASED --+                 | |
 *     v a slot          |                 | |
 *   LEASING -- TTL, CANCEL ---------------+ |
 *     v LEASED                              |
 *   RUNNING -- DONE ------------------------+--------- may not be repeated, or too often
 *     |  |                                  |
 *     |  +- DONE, lease ran out -> WAITING -+          TTL, CANCEL; else back to QUEUED
 *     v CANCEL                              |
 *   STOPPING -- DONE, patience ran out -----+
 *
 * Durable before told: ACCEPTED is not yet promised to anybody, and LEASING has not yet started an
 * engine; in both a row is being written. A job in ENDING has an outcome whose row is being
 * written; nothing changes it any more. After a crash, RESTORE puts what the rows say back. The
 * driver writes rows in the order of the actions, those of one job above all.
 *
 * A run may be repeated when its engine says so, or when its lease ran out: then its engine is told
 * to STOP, its token is worth nothing any more, and its slot stays taken until the engine lets go.
 * Elsewhere first: when the backend is to blame and another one, on which the job has not failed,
 * has a free slot, the job goes on there at once (RETRY without a pause, then WRITE_LEASE). Else it
 * waits for its next attempt and goes to the front of its flow. All this as long as it has
 * attempts, ttl and time before its deadline left; else its failure is its end. TTL ends what has
 * no engine: QUEUED, LEASING, WAITING; the deadline ends the same of what ran before. STOPPING ends
 * cancelled whatever the engine answers, or when patience ends.
 *
 * A run of the sync tier is a job too, so that one decision covers all limits: SUBMIT with `now`
 * takes a slot at once or is refused, is never written (LEASING is skipped), and goes from DONE
 * straight to free (FREE), unless it can go on elsewhere at once: then DONE answers RUN, with a new
 * token. When its lease ran out it is not repeated. ADOPT makes an ordinary, durable job of it
 * while it runs.
 *
 * Backends (core/admission.h chooses). Each has a circuit breaker (core/breaker.h): a start takes a
 * permit, which the end gives back with a verdict. One whose breaker is not ready gets no work. One
 * that was told to STOP a run and has not ended it within the patience is quarantined: it gets no
 * work until every run that is over has let go of its slot, and BACKEND has said ready after that.
 *
 * Who runs next. A job belongs to a class (what the same backends serve), a lane, and a tenant;
 * jobs of the same three are one flow, first in first out. A free slot of a backend goes to the
 * highest lane that has an eligible job in a class which the backend serves; of several classes the
 * one that was served longest ago; inside a class's lane to the flow with the smallest virtual time
 * (start-time fair queueing: starting a job adds its estimated device time, DONE corrects that by
 * what it took; a flow that was empty begins at the least time of those that wait, so nobody saves
 * up idleness). A tenant at its concurrency cap is passed over until one of its jobs ends. So one
 * tenant's batch of 10,000 delays another's single job by at most the jobs that already run.
 *
 * Jobs, tenants, classes and backends are numbers from 1 up to their maximum; the driver chooses
 * those of the last three. 0 or more than the maximum is nothing: such an event changes nothing, a
 * submission is refused with FULL, and so is one of a tenant whose limits were never told.
 *
 * Time is monotonic nanoseconds; only differences matter, and a `now` before the last one counts as
 * the last one. Every operation is O(log n) in jobs and flows; classes and backends are few.
 *
 * Not thread-safe: the driver has one lock. Source of the fairness rule: Goyal, Vin, Cheng,
 * "Start-time Fair Queueing", SIGCOMM 1996. */
#ifndef RD_CORE_QUEUE_H
#define RD_CORE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/breaker.h"
#include "core/bucket.h"
#include "core/lanes.h"

#define RD_QUEUE_JOBS_MAX (1u << 20)  /* live at once; more are refused (FULL) */
#define RD_QUEUE_FLOWS_MAX (1u << 16) /* non-empty (class, lane, tenant) at once; more: FULL */
#define RD_QUEUE_TENANTS_MAX 16384u
#define RD_QUEUE_CLASSES_MAX 1024u
#define RD_QUEUE_BACKENDS_MAX 256u
#define RD_QUEUE_ACTIONS_MAX 64u

enum rd_lane { RD_LANE_HIGH, RD_LANE_NORMAL, RD_LANE_LOW, RD_LANE_COUNT_ };

enum rd_job_state {
    RD_JOB_FREE,
    RD_JOB_ACCEPTED,
    RD_JOB_QUEUED,
    RD_JOB_LEASING,
    RD_JOB_RUNNING,
    RD_JOB_STOPPING,
    RD_JOB_WAITING,
    RD_JOB_ENDING,
};

/* How a job ended. */
enum rd_job_end {
    RD_END_COMPLETE,
    RD_END_ERROR,     /* the engine's error, the last of the attempts */
    RD_END_CANCELLED, /* by its owner */
    RD_END_EXPIRED,   /* its ttl in the queue ran out; on the wire "cancelled" with code expired */
    RD_END_LOST,      /* its lease ran out as often as it may be tried; on the wire "error" */
};

/* Why a submission was refused; each has its own answer. */
enum rd_admit {
    RD_ADMIT_OK,
    RD_ADMIT_RATE,        /* the tenant's token bucket is empty: ret wait_ns */
    RD_ADMIT_CONCURRENCY, /* `now` only: the tenant runs as many as it may */
    RD_ADMIT_DEPTH,       /* the tenant has as many in the queue as it may */
    RD_ADMIT_LANE,        /* the tenant's plan does not allow the high lane */
    RD_ADMIT_FULL,        /* a table of this gateway is full */
    RD_ADMIT_NO_BACKEND,  /* `now` only: none serves the class */
    RD_ADMIT_NOT_READY,   /* `now` only: those that do are not ready */
    RD_ADMIT_NO_SLOT,     /* `now` only: all their slots are taken */
    RD_ADMIT_NO_MEMORY,   /* these two only the driver says: there is no memory for it, */
    RD_ADMIT_STOPPED,     /* or nothing is taken any more */
    RD_ADMIT_COUNT_,
};

struct rd_tenant_limits {
    struct rd_bucket_rate rate; /* submissions; core/bucket.h has the value for "no limit" */
    uint32_t concurrency;       /* running at once; 0: no limit */
    uint32_t depth;             /* accepted, queued and waiting at once; 0: no limit */
    bool high;                  /* may use the high lane */
};

struct rd_queue_config {
    uint32_t attempts_max;     /* >= 1; contract: 4 (three retries) */
    uint64_t retry_first_ns;   /* 1 s; doubles each time, plus up to as much again of jitter */
    uint64_t retry_max_ns;     /* never longer than this */
    uint64_t stop_patience_ns; /* STOPPING so long ends cancelled; the slot stays taken */
    uint64_t deadline_ns;      /* from a job's first RUN (after a restart: the next) over all its
                                  attempts; 0: none. What runs then is its engine's to end. */
    uint64_t token_last; /* the highest in any row: no token of before a restart is used again */
};

enum rd_queue_event_kind {
    RD_EV_SUBMIT,    /* tenant, lane, class_, units, ttl_ns (0: none), now_only; answers in ret_* */
    RD_EV_RESTORE,   /* the same from a row, after a restart, in the order of the rows, before any
                        backend is ready: no limits are asked (only FULL is possible); ttl_ns: what
                        is left of it, at least 1; attempt: leases written so far (all used up: ends
                        LOST); cancel: was asked for before (ends CANCELLED) */
    RD_EV_DURABLE,   /* job: its row is written */
    RD_EV_LOST,      /* job: its row could not be written; as if it had never been */
    RD_EV_LEASED,    /* job, token: the lease is written */
    RD_EV_UNLEASED,  /* job, token: it could not; QUEUED again, first, the attempt not counted */
    RD_EV_HEARTBEAT, /* job, token: its run is alive */
    RD_EV_DONE,      /* job, token, outcome, verdict, device_ns (0: unknown): the run's end. A token
                        that is not the job's current one changes nothing (ret_stale is set): the
                        result of a run that lost its lease is dropped. */
    RD_EV_SLOT,    /* backend: the engine of one RUN has let go, whatever became of its job. Exactly
                      one for each RUN (and each SUBMIT with now_only), never before its DONE. */
    RD_EV_ADOPT,   /* job: a now_only run becomes a durable job (its row says leased, as often as
                      it was tried).
                      ret_job is the job, or 0: it was over already. Its row is written next. */
    RD_EV_CANCEL,  /* job; ret_cancel says what it met */
    RD_EV_ENDED,   /* job: its last row is written; the number is free */
    RD_EV_TENANT,  /* tenant, limits: new or changed */
    RD_EV_BACKEND, /* backend, slots, weight (0: as slots), ready, lease_ns (0: never ends): new or
                      changed, or asked again. slots 0: retired, it serves nothing; the SLOTs of its
                      last runs still come. Its breaker is kept. */
    RD_EV_CLASS,   /* class_, backend, serves: one of the classes that it serves */
    RD_EV_TICK,    /* time has passed; due timers fire */
};

enum rd_outcome {
    RD_OUTCOME_OK,
    RD_OUTCOME_FAILED,       /* not to be repeated */
    RD_OUTCOME_FAILED_AGAIN, /* safe to repeat */
    RD_OUTCOME_CANCELLED,    /* the engine acknowledged the STOP */
};

/* What a run's end says about its backend. */
enum rd_verdict {
    RD_VERDICT_SAYS_NOTHING, /* cancelled, never sent, or the request's own fault */
    RD_VERDICT_GOOD,
    RD_VERDICT_BAD, /* it is to blame: another one may do better */
};

enum rd_cancel {
    RD_CANCEL_ENDED,    /* it was not running: it is over as soon as the row is written */
    RD_CANCEL_STOPPING, /* it runs; STOP was given now or before */
    RD_CANCEL_TOO_LATE, /* its outcome is settled already; or there is no such job */
};

struct rd_queue_event {
    enum rd_queue_event_kind kind;
    uint32_t job, tenant, class_, backend;
    uint64_t token;
    /* SUBMIT, RESTORE */
    enum rd_lane lane;
    uint32_t units; /* how much work, relative to others of its class (steps times outputs), >= 1 */
    uint64_t ttl_ns;
    bool now_only, cancel;
    uint32_t attempt;
    /* DONE */
    enum rd_outcome outcome;
    enum rd_verdict verdict;
    uint64_t device_ns;
    /* TENANT, BACKEND, CLASS */
    struct rd_tenant_limits limits;
    uint32_t slots, weight;
    bool ready, serves;
    uint64_t lease_ns;
    uint32_t random; /* any 32 random bits, for jitter and ties; used by every kind */
};

enum rd_queue_action_kind {
    RD_ACT_WRITE_LEASE, /* job, token, backend, attempt: make the lease durable, then LEASED */
    RD_ACT_RUN,  /* job, token, backend, attempt, deadline_ns (on the queue's clock; 0: none):
                    start the engine. For now_only it is the answer */
    RD_ACT_STOP, /* job, token: ask the engine to break off */
    RD_ACT_WRITE_CANCEL, /* job: make it durable that a running job's cancelling was asked for */
    RD_ACT_WRITE_END,    /* job, end, device_ns (DONE's): make the outcome durable, then ENDED */
    RD_ACT_RETRY,        /* job, attempt (so far), wait_ns (0: elsewhere, at once), device_ns: it
                            runs again */
    RD_ACT_FREE,         /* job, end, device_ns: a now_only run is over, its number is free */
};

struct rd_queue_action {
    enum rd_queue_action_kind kind;
    uint32_t job, backend, attempt;
    uint64_t token, device_ns, wait_ns, deadline_ns;
    enum rd_job_end end;
};

/* What one step answers. `more`: there may be more actions than room; call step again with TICK. */
struct rd_queue_result {
    struct rd_queue_action actions[RD_QUEUE_ACTIONS_MAX];
    size_t count;
    bool more;
    uint64_t next_ns;      /* when TICK is due next; UINT64_MAX: no timer runs */
    enum rd_admit admit;   /* SUBMIT */
    uint32_t job;          /* SUBMIT, RESTORE: its number, 1.. */
    uint64_t wait_ns;      /* SUBMIT refused for RATE: until it would be admitted */
    enum rd_cancel cancel; /* CANCEL */
    bool stale;            /* LEASED, UNLEASED, HEARTBEAT, DONE: the token is not the current one */
};

struct rd_queue; /* about 520 MiB of address space; pages are touched as jobs come */

size_t rd_queue_size(void);
/* `memory`: rd_queue_size() bytes, all zero, aligned for any type (mmap or calloc gives both). */
struct rd_queue *rd_queue_init(void *memory, const struct rd_queue_config *config);
/* The one way in. Events that do not fit the state (an unknown job, DURABLE twice) change nothing.
 */
void rd_queue_step(struct rd_queue *queue, const struct rd_queue_event *event, uint64_t now_ns,
                   struct rd_queue_result *ret);

/* Looking. */
struct rd_queue_job {
    enum rd_job_state state;
    enum rd_lane lane;
    uint32_t tenant, class_, backend, attempt;
    uint64_t token;
    /* QUEUED and WAITING: how many of those that wait now may start before it, plus one. An upper
     * bound under equal shares: all in higher lanes of its class, those before it in its own flow,
     * and as many and one more of each other flow of its lane. 0 otherwise. */
    uint32_t position;
    uint64_t eta_ns; /* until it ends, from observed times; 0: nothing is known yet */
};
bool rd_queue_look(const struct rd_queue *queue, uint32_t job, struct rd_queue_job *ret);

struct rd_queue_backend {
    uint32_t slots, taken, weight;
    bool ready, quarantined;
    bool usable; /* ready, not quarantined, and its breaker lets runs through */
    enum rd_breaker_state breaker;
    uint32_t requests, failures; /* in the breaker's window */
    uint64_t retry_ns;           /* breaker OPEN: until it lets probes through; 0: it does */
};
/* False: never told of. */
bool rd_queue_look_backend(const struct rd_queue *queue, uint32_t backend,
                           struct rd_queue_backend *ret);

struct rd_queue_counts {
    uint32_t queued[RD_LANE_COUNT_]; /* ACCEPTED, QUEUED and WAITING */
    uint32_t running;                /* slots taken */
    uint32_t capacity;               /* slots of the backends that are usable */
    uint64_t wait_ns; /* estimated wait of a normal job that came now; 0 when a slot is free */
};
void rd_queue_counts(const struct rd_queue *queue, struct rd_queue_counts *ret);
/* The same for one tenant: RateLimit headers and usage. */
struct rd_tenant_state {
    uint64_t tokens;  /* whole ones that are there now */
    uint64_t wait_ns; /* until the bucket is full again */
    uint32_t running, queued;
};
void rd_queue_tenant(const struct rd_queue *queue, uint32_t tenant, uint64_t now_ns,
                     struct rd_tenant_state *ret);

/* Checks everything that must always hold (list lengths, counters, heaps, one lease a job); for
 * tests. Returns NULL, or what does not. O(n). */
const char *rd_queue_check(const struct rd_queue *queue);

#endif
