/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the queue, shared by queue*.c and by nobody else.
 *
 *   queue.c         events, and what each means to one job (the life cycle)
 *   queue_admit.c   who may enter: SUBMIT, RESTORE, and the limits
 *   queue_backend.c backends: their slots, breakers and quarantine, and which one takes a run
 *   queue_fair.c    flows, their virtual time, and which job a free slot goes to
 *   queue_timer.c   one timer a job, in one heap
 *   queue_look.c    questions
 *   queue_check.c   what must always hold, for tests
 *
 * All memory is arrays of fixed size inside struct rd_queue, all references are numbers from 1, and
 * zero is the empty state: a page that was never needed was never touched. */
#ifndef RD_CORE_QUEUE_INTERNAL_H
#define RD_CORE_QUEUE_INTERNAL_H

#include "core/queue.h"

#define RD_QUEUE_NEVER UINT64_MAX
#define RD_QUEUE_CLASS_LANES (RD_QUEUE_CLASSES_MAX * RD_LANE_COUNT_)
#define RD_QUEUE_CLASS_WORDS (RD_QUEUE_CLASSES_MAX / 64u)
#define RD_QUEUE_FAILED_KEPT 3u /* backends that a job failed on: one less than its attempts */
/* One run is charged at most a day: what a wrong clock of an engine can do to its tenant. */
#define RD_QUEUE_RUN_NS_MAX (86400ull * 1000000000ull)
#define RD_QUEUE_UNIT_NS_GUESS 50000000ull /* until a class has been observed: one step, 50 ms */
#define RD_QUEUE_CHARGE_PART 8ull          /* a run is charged at least 1 / this of its estimate */
#define RD_QUEUE_NS_PER_US 1000ull

struct job {
    uint64_t token;       /* of its lease; 0: it has none */
    uint64_t expires_ns;  /* end of its ttl; RD_QUEUE_NEVER: none */
    uint64_t started_ns;  /* RUN was given */
    uint64_t charged_us;  /* what its flow was charged for this run */
    uint64_t deadline_ns; /* of all its attempts; RD_QUEUE_NEVER: none, or it never ran */
    uint64_t permit;      /* of its backend's breaker, while it has a lease */
    uint32_t tenant;
    uint32_t units;
    uint32_t attempt;   /* leases so far */
    uint32_t timer;     /* place in the heap; 0: no timer */
    uint32_t flow;      /* from entering to ENDING */
    uint32_t next_free; /* FREE only */
    uint16_t class_;
    uint16_t backend;                      /* of its lease */
    uint16_t failed[RD_QUEUE_FAILED_KEPT]; /* backends that it failed on, the last one first; 0 */
    uint8_t lane;
    uint8_t state;
    bool durable; /* has a row, or will have: not now_only */
    bool cancel;  /* ACCEPTED only: cancelled before its row was written */
    bool lost;    /* its last attempt ended because the lease ran out */
};

/* Jobs of one class, lane and tenant. A flow without jobs is kept, with its virtual time, until its
 * number is needed for another: who comes one job at a time does not shed what was used. */
struct flow {
    uint64_t vtime_us;
    uint64_t served; /* when it was last served, in starts; ties go to the longest ago */
    uint32_t refs;   /* jobs before ENDING */
    uint32_t place;  /* in its class and lane's heap; 0: empty, or its tenant is at its cap */
    uint32_t tenant;
    uint32_t class_lane;               /* class_lane_of(class, lane) */
    uint32_t tenant_next, tenant_prev; /* all flows of this tenant */
    uint32_t idle_next, idle_prev;     /* flows without jobs, longest idle first */
};

struct tenant {
    struct rd_bucket bucket;
    struct rd_tenant_limits limits;
    bool known;
    uint32_t running; /* LEASING, RUNNING, STOPPING */
    uint32_t queued;  /* ACCEPTED, QUEUED, WAITING */
    uint32_t flows;   /* first of the list */
};

struct class_ {
    uint64_t unit_ns; /* observed, a unit; 0: not yet */
    uint64_t job_ns;  /* observed, a job */
    uint64_t served;  /* as in struct flow */
};

struct class_lane {
    uint64_t top_us;   /* the highest virtual time that any of its flows ever had */
    uint64_t start_us; /* the highest virtual time that a job was started at */
    uint32_t heap_len;
    uint32_t waiting; /* jobs in QUEUED */
    uint32_t flows;   /* that have a job in QUEUED */
};

struct backend {
    uint32_t slots;
    uint32_t taken;  /* may exceed slots after a reload */
    uint32_t leases; /* LEASING, RUNNING, STOPPING: of the slots taken, those that a job has */
    uint32_t weight; /* 0: as slots */
    bool known, ready, quarantined;
    uint64_t lease_ns;
    struct rd_breaker breaker;
    uint64_t classes[RD_QUEUE_CLASS_WORDS];
};

/* The time stands here and not with the job: a heap of a million is then read in one place. */
struct timer {
    uint64_t due_ns;
    uint32_t job;
};

struct rd_queue {
    struct rd_queue_config config;
    uint64_t now_ns;
    uint64_t token;  /* the last one given */
    uint64_t starts; /* clock of `served` */
    uint64_t work;   /* loop rounds so far: tests see by it that a step is cheap */
    uint64_t random;
    uint64_t job_ns;           /* observed, over all classes */
    uint64_t breakers_next_ns; /* when some breaker changes by itself; RD_QUEUE_NEVER: none does */
    uint32_t jobs_used;        /* numbers 1..jobs_used have been in use */
    uint32_t jobs_free;        /* first of those that are free again */
    uint32_t flows_used;
    uint32_t idle_first, idle_last;
    uint32_t timers_len;
    uint32_t eligible; /* flows in heaps */
    uint32_t queued[RD_LANE_COUNT_];
    uint32_t backends_used, tenants_used, classes_used;     /* the highest numbers seen */
    uint64_t waiting[RD_LANE_COUNT_][RD_QUEUE_CLASS_WORDS]; /* classes whose heap is not empty */
    struct class_ classes[RD_QUEUE_CLASSES_MAX + 1];
    struct class_lane class_lanes[RD_QUEUE_CLASS_LANES];
    struct backend backends[RD_QUEUE_BACKENDS_MAX + 1];
    struct tenant tenants[RD_QUEUE_TENANTS_MAX + 1];
    struct flow flows[RD_QUEUE_FLOWS_MAX + 1];
    struct timer timers[RD_QUEUE_JOBS_MAX + 1];
    struct rd_lanes lanes;
    struct job jobs[RD_QUEUE_JOBS_MAX + 1];
    uint32_t flow_of[RD_QUEUE_CLASS_LANES][RD_QUEUE_TENANTS_MAX + 1];
    uint32_t heaps[RD_QUEUE_CLASS_LANES][RD_QUEUE_TENANTS_MAX + 1];
};

/* ---- small tools ---- */

static inline uint64_t rd_queue_add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline uint64_t rd_queue_mul(uint64_t a, uint64_t b)
{
    return b != 0 && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

static inline uint32_t rd_queue_class_lane(uint32_t class_, uint32_t lane)
{
    return (class_ - 1) * RD_LANE_COUNT_ + lane;
}

static inline bool rd_queue_class_in(const uint64_t *set, uint32_t class_)
{
    return (set[(class_ - 1) / 64] >> ((class_ - 1) % 64) & 1) != 0;
}

/* 32 bits from what the events brought along; not for secrets. */
static inline uint32_t rd_queue_draw(struct rd_queue *queue)
{
    queue->random = queue->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(queue->random >> 32);
}

static inline bool rd_queue_is_job(const struct rd_queue *queue, uint32_t job)
{
    return 1 <= job && job <= queue->jobs_used;
}

/* May another job of this tenant start? */
static inline bool rd_queue_may_start(const struct tenant *tenant)
{
    return !tenant->known || tenant->limits.concurrency == 0 ||
           tenant->running < tenant->limits.concurrency;
}

/* ---- queue_timer.c ---- */

/* The heap's tree: each place has four below it. */
static inline uint32_t rd_queue_timer_above(uint32_t place)
{
    return (place + 2) / 4;
}

/* Sets, moves, or with RD_QUEUE_NEVER removes the job's timer. */
void rd_queue_timer_set(struct rd_queue *queue, uint32_t job, uint64_t due_ns);
/* The job whose timer is due at queue->now_ns, or 0. */
uint32_t rd_queue_timer_due(const struct rd_queue *queue);

/* ---- queue_fair.c ---- */

/* The flow for a job that enters, counted; 0: every number is in use. */
uint32_t rd_queue_flow_take(struct rd_queue *queue, uint32_t class_lane, uint32_t tenant);
void rd_queue_flow_release(struct rd_queue *queue, uint32_t flow);
/* Into and out of the list of jobs that wait for a slot. */
void rd_queue_wait_push(struct rd_queue *queue, uint32_t job, bool front);
void rd_queue_wait_remove(struct rd_queue *queue, uint32_t job);
/* After the tenant's limits changed, or its running jobs by `change`. */
void rd_queue_tenant_run(struct rd_queue *queue, uint32_t tenant, int change);
void rd_queue_tenant_sync(struct rd_queue *queue, uint32_t tenant);
/* The job's flow pays the estimate of its run; later, instead, what the run really took; or
 * nothing, because there was none. */
void rd_queue_charge(struct rd_queue *queue, uint32_t job);
void rd_queue_correct(struct rd_queue *queue, uint32_t job, uint64_t took_ns);
void rd_queue_refund(struct rd_queue *queue, uint32_t job);
/* A run of this class took so long; only those that succeeded teach. */
void rd_queue_learn(struct rd_queue *queue, uint32_t job, uint64_t took_ns);
/* The job that the next free slot goes to, or 0. */
uint32_t rd_queue_next(struct rd_queue *queue, uint32_t *ret_backend);

/* ---- queue_backend.c ---- */

void rd_queue_on_backend(struct rd_queue *queue, const struct rd_queue_event *event);
void rd_queue_on_class(struct rd_queue *queue, const struct rd_queue_event *event);
void rd_queue_on_slot(struct rd_queue *queue, uint32_t backend);
/* Takes a slot and a permit for the job, which gets the backend. */
void rd_queue_lease(struct rd_queue *queue, uint32_t job, uint32_t backend);
/* Its lease is over: the verdict goes to the breaker. The slot stays taken. */
void rd_queue_release(struct rd_queue *queue, uint32_t job, enum rd_verdict verdict);
/* The job failed on its backend, which is to blame. */
void rd_queue_blame(struct rd_queue *queue, uint32_t job);
/* The job's backend does not end what it was told to. */
void rd_queue_quarantine(struct rd_queue *queue, uint32_t job);
/* Breakers change by themselves as time passes. */
void rd_queue_tend_breakers(struct rd_queue *queue);
/* It would take a run if a slot is free. */
bool rd_queue_usable(const struct rd_queue *queue, const struct backend *backend);
/* The backend for one more run of the class; *ret_backend only with TAKE. `job` 0: a new one. */
enum rd_admission rd_queue_backend_for(struct rd_queue *queue, uint32_t class_, uint32_t job,
                                       uint32_t *ret_backend);
/* A backend for the job that it has not failed on. */
bool rd_queue_elsewhere(struct rd_queue *queue, uint32_t job, uint32_t *ret_backend);
/* Classes that some backend with a free slot serves. */
void rd_queue_open_classes(const struct rd_queue *queue, uint64_t *ret_set);

/* ---- queue.c ---- */

/* The next action; the caller has seen to it that there is room. */
struct rd_queue_action *rd_queue_act(struct rd_queue_result *ret, enum rd_queue_action_kind kind,
                                     uint32_t job);
/* Into and out of the numbers of what is accepted, queued or waiting. */
void rd_queue_enter(struct rd_queue *queue, uint32_t job);
void rd_queue_leave(struct rd_queue *queue, uint32_t job);
/* Gives the job, which waits in no list, a slot: LEASING, or RUNNING when it is now_only. */
void rd_queue_start(struct rd_queue *queue, uint32_t job, uint32_t backend,
                    struct rd_queue_result *ret);
/* Its outcome is settled; it is in no list and has no lease any more. The last action says so. */
void rd_queue_finish(struct rd_queue *queue, uint32_t job, enum rd_job_end end,
                     struct rd_queue_result *ret);

/* ---- queue_admit.c ---- */

void rd_queue_submit(struct rd_queue *queue, const struct rd_queue_event *event,
                     struct rd_queue_result *ret);
void rd_queue_restore(struct rd_queue *queue, const struct rd_queue_event *event,
                      struct rd_queue_result *ret);
void rd_queue_lost(struct rd_queue *queue, uint32_t job);
void rd_queue_limits(struct rd_queue *queue, const struct rd_queue_event *event);
void rd_queue_job_free(struct rd_queue *queue, uint32_t job);

/* ---- queue_look.c ---- */

/* What one run of the job will take; 0: nothing is known yet. */
uint64_t rd_queue_estimate_ns(const struct rd_queue *queue, uint32_t job);

#endif
