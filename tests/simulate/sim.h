/* SPDX-License-Identifier: Apache-2.0
 *
 * The simulated world around the real queue (src/core/queue.h), shared by the files of this folder.
 *
 *   main.c     seeds, processes, what is printed
 *   world.c    virtual time, the loop, crash and restart; the driver: it does what actions say
 *   store.c    rows on a disk that syncs late and may lose what it did not sync
 *   engine.c   runs that succeed, fail, hang, answer late or twice
 *   clients.c  submissions, cancels, adoptions, reloads, clocks
 *   breaker.c  what the queue should know of backends: breakers, quarantine, who may get a run
 *   limits.c   the model: who may enter
 *   model.c    what each step should have done, told independently of the queue
 *   check.c    what must hold after every step, and at the end
 *
 * Everything that happens follows from the seed: one generator, one heap of what happens when, no
 * address or real time in any decision. Jobs have two names: `id` for ever (an index here, the
 * row's key), and the queue's number, which is used again. */
#ifndef RD_TESTS_SIM_H
#define RD_TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/queue.h"

#define MS 1000000ull
#define SECOND 1000000000ull
#define NEVER UINT64_MAX

enum {
    JOBS = 4096, /* ids in one run; when they are used up clients stop */
    LIVE = 512,  /* with a number in the queue */
    TENANTS = 6,
    CLASSES = 4,
    BACKENDS = 5,
    RUNS = 8192,
    WRITES = 4096,
    AGENDA = 16384,
    RESULTS = 4096, /* of one backend, in 100 s */
    TRACE = 48,     /* events that are printed when a run fails */
};

/* Which faults this seed has; a seed has about half of them, so that each also acts alone. Rates
 * are in thousandths. */
struct plan {
    unsigned steps;
    unsigned insert_fails, lease_fails;
    unsigned hangs, twice, fails, fails_again, gives_up, heartbeat_lost;
    unsigned crashes, cancels, reloads, outages, sickness, clock;
    unsigned now_only, adopts, leaves, ttl, high, low;
    unsigned noise; /* events that fit no state, from a driver with a bug */
    bool crowd;     /* hundreds of jobs at once: more actions than fit one step */
    uint32_t tenants, classes, backends, units_max, slots_max;
    bool fair;   /* tenants keep a backlog in one class: long windows for the fairness bound */
    bool steady; /* one of three backends is dead, the load leaves room: nothing may fail */
    bool uneven; /* jobs of tenants with even numbers take longer than their units say */
};

struct job {
    uint32_t tenant, class_, units;
    enum rd_lane lane;
    uint64_t expires_ns; /* on the queue's clock */
    bool now_only;       /* submitted so; `durable` after ADOPT */
    bool durable;

    /* in this life of the process; number 0: the queue does not have it */
    uint32_t number;
    enum rd_job_state state;
    uint64_t token; /* of the one lease that is worth something */
    uint32_t backend, attempt;
    uint64_t started_ns;
    uint64_t due_ns; /* RUNNING: end of its lease; STOPPING: of patience; WAITING: of the pause */
    bool returned;   /* to the front of its flow */
    bool elsewhere;  /* it is to go on at once */
    uint32_t failed; /* bits: the backends that it failed on */
    bool lost;       /* its last attempt ended so */
    uint64_t deadline_ns; /* over all attempts; NEVER: none, or it never ran */
    uint64_t permit;
    bool stopped;   /* STOP was given to its run */
    bool cancel;    /* asked for */
    uint64_t order; /* when it came to its flow */

    /* promises */
    bool told, cancel_told;
    unsigned runs;

    /* its row */
    bool row;
    uint32_t row_attempt;
    bool row_cancel, row_ended;
    enum rd_job_end row_end;
};

struct tenant {
    struct rd_tenant_limits limits;
    uint32_t running, queued; /* the model's own count */
    unsigned __int128 level;  /* the model's own bucket, in nano-tokens */
    uint64_t level_ns;
    uint64_t window_ns; /* limits are the same since then */
    uint64_t admitted, given_back;
};

struct backend {
    uint32_t slots, taken; /* slots 0: retired */
    uint32_t weight, leases;
    bool ready, quarantined;
    bool sick; /* every run fails at once */
    uint64_t lease_ns;
    bool serves[CLASSES + 1];
};

/* A breaker as the list of the results that it has heard of. */
struct breaker {
    bool known;
    enum rd_breaker_state state;
    uint64_t since_ns, period;
    uint32_t probes, successes, results;
    uint64_t at_ns[RESULTS];
    bool bad[RESULTS];
};

enum write_kind { WRITE_INSERT, WRITE_LEASE, WRITE_CANCEL, WRITE_END };
struct write {
    enum write_kind kind;
    uint32_t id, number, attempt;
    uint64_t token;
    enum rd_job_end end;
    bool fails;
};

struct run {
    uint32_t id, number, backend;
    uint64_t token, started_ns, device_ns;
    enum rd_outcome outcome;
    enum rd_verdict verdict;
    bool hangs, twice, done, stopped;
};

enum happening {
    HAPPEN_TICK,
    HAPPEN_CLIENT, /* a: tenant */
    HAPPEN_CHAOS,
    HAPPEN_SYNC,      /* a batch is on the disk */
    HAPPEN_HEARTBEAT, /* a: run */
    HAPPEN_DONE,
    HAPPEN_AGAIN, /* the same result a second time */
    HAPPEN_SLOT,
    HAPPEN_LEAVE, /* a: id; the client of a sync run goes */
    HAPPEN_ADOPT,
    HAPPEN_BACK,  /* a: backend comes back */
    HAPPEN_CURED, /* a: backend that was sick */
    HAPPEN_POLL,  /* a: backend in quarantine, asked whether it is ready */
};
struct entry {
    uint64_t at_ns, seq;
    enum happening what;
    uint32_t a;
    uint32_t life; /* HAPPEN_SYNC and later belong to one life of the process */
};

/* Service that tenants of one class and lane got, and since when a pair of them both waited. */
struct shares {
    uint64_t took_us[TENANTS + 1];
    bool waits[TENANTS + 1];
    bool both[TENANTS + 1][TENANTS + 1];
    int64_t base_us[TENANTS + 1][TENANTS + 1];
};

struct traced {
    unsigned step;
    uint64_t now_ns;
    struct rd_queue_event event;
    uint32_t id;
    enum rd_admit admit;
    bool stale;
    size_t count;
    struct rd_queue_action actions[4];
};

struct world {
    uint64_t seed, random;
    struct plan plan;
    bool settling; /* no more faults, no more submissions */
    bool tracing;
    bool blind; /* rd_queue_check is not asked: the model must notice */
    unsigned step;
    uint32_t life;
    uint64_t now_ns;    /* true time */
    uint64_t behind_ns; /* what the process sees is so much less */
    uint64_t core_ns;   /* the queue's: the highest that it was shown */
    uint64_t tick_ns;   /* when TICK is planned; NEVER: not */
    struct rd_queue *queue;
    struct rd_queue_config config;

    uint32_t jobs_used;
    struct job jobs[JOBS + 1];
    uint32_t live[LIVE];
    uint32_t live_count;
    uint32_t started[RD_QUEUE_ACTIONS_MAX];       /* by the last step */
    uint64_t started_after[RD_QUEUE_ACTIONS_MAX]; /* its class was served before then */
    uint32_t started_count;
    uint64_t starts, served[CLASSES + 1]; /* which class was served when, in starts */
    uint32_t id_of[LIVE * 4];             /* by number */
    uint64_t token, order;                /* the last ones */

    struct tenant tenants[TENANTS + 1];
    struct backend backends[BACKENDS + 1]; /* as the queue was told */
    struct backend wanted[BACKENDS + 1];   /* as they are */
    struct breaker breakers[BACKENDS + 1];
    uint64_t unit_ns[CLASSES + 1];
    uint64_t longest_us; /* run or estimate */
    uint32_t slots_most;
    struct shares shares[CLASSES + 1][RD_LANE_COUNT_];

    struct write writes[WRITES];
    uint32_t writes_first, writes_count, syncing;

    uint32_t runs_used;
    struct run runs[RUNS];

    uint32_t agenda_len;
    uint64_t agenda_seq;
    struct entry agenda[AGENDA + 1];

    struct traced trace[TRACE];
    unsigned traced;
    const char *broken; /* the invariant that does not hold; the run ends */
    uint32_t broken_id;
    uint64_t counted[20]; /* what happened, see sim_counted_names */
};

enum counted {
    COUNT_STEPS,
    COUNT_COMPLETE,
    COUNT_ERROR,
    COUNT_CANCELLED,
    COUNT_EXPIRED,
    COUNT_LOST,
    COUNT_CRASHES,
    COUNT_RETRIES,
    COUNT_STALE,
    COUNT_REFUSED,
    COUNT_ADOPTED,
    COUNT_NOISE,
    COUNT_MORE,      /* steps that had more actions than room */
    COUNT_ELSEWHERE, /* failed runs that went on on another backend */
    COUNT_OPENED,    /* breakers */
    COUNT_QUARANTINED,
    COUNT_FAIR, /* pairs of flows that were compared, in steps */
    COUNTED,
};

/* ---- chance ---- */

uint64_t sim_random(struct world *w);
/* 0..n-1 */
uint32_t sim_below(struct world *w, uint32_t n);
uint64_t sim_between(struct world *w, uint64_t low, uint64_t high);
bool sim_chance(struct world *w, unsigned thousandths);

/* ---- world.c ---- */

/* Runs one seed; true: everything held. w->broken and w->trace say more. */
bool sim_run(struct world *w, uint64_t seed, bool tracing, bool blind);
void sim_happen(struct world *w, uint64_t in_ns, enum happening what, uint32_t a);
/* Gives the queue an event, does what it answers, checks. `id`: whom it is about. */
void sim_step(struct world *w, const struct rd_queue_event *event, uint32_t id);
void sim_broken(struct world *w, const char *invariant, uint32_t id);
void sim_print(const struct world *w);
void sim_print_step(const struct traced *it);

/* ---- store.c ---- */

void sim_write(struct world *w, struct write write);
void sim_synced(struct world *w);
/* The process is gone; of what was not acknowledged, a part from the front is on the disk. */
void sim_store_crash(struct world *w);

/* ---- engine.c ---- */

void sim_engine_run(struct world *w, uint32_t id, const struct rd_queue_action *action);
void sim_engine_stop(struct world *w, uint64_t token);
void sim_engine_ghost(struct world *w, uint32_t run);
void sim_engine_happens(struct world *w, enum happening what, uint32_t run);

/* ---- clients.c ---- */

void sim_client(struct world *w, uint32_t tenant);
void sim_chaos(struct world *w);
void sim_leave(struct world *w, uint32_t id);
void sim_adopt(struct world *w, uint32_t id);
void sim_back(struct world *w, uint32_t backend);
void sim_tell_limits(struct world *w, uint32_t tenant);
void sim_tell_backend(struct world *w, uint32_t backend);
void sim_cured(struct world *w, uint32_t backend);
void sim_poll(struct world *w, uint32_t backend);

/* ---- breaker.c ---- */

void sim_breaker_init(struct world *w, uint32_t backend);
uint64_t sim_breaker_next_ns(const struct world *w, uint32_t backend);
void sim_breakers_tend(struct world *w); /* time has passed */
uint64_t sim_breaker_allow(struct world *w, uint32_t backend);
void sim_breaker_end(struct world *w, uint32_t backend, uint64_t permit, enum rd_verdict verdict);
bool sim_usable(const struct world *w, uint32_t backend);
/* Another backend, on which the job has not failed, could take it now. */
bool sim_elsewhere(const struct world *w, const struct job *job);
bool sim_least_loaded(const struct world *w, const struct job *job, uint32_t backend);
bool sim_same_backend(const struct world *w, uint32_t backend);

/* ---- limits.c ---- */

/* Before the step: what the model expects of a SUBMIT. */
enum rd_admit sim_expect_admit(struct world *w, const struct rd_queue_event *event,
                               uint64_t *ret_wait_ns);
void sim_admitted(struct world *w, uint32_t id);
void sim_given_back(struct world *w, uint32_t tenant); /* a token: its row was not written */
void sim_model_limits(struct world *w, uint32_t tenant, const struct rd_tenant_limits *limits);
void sim_limits_crash(struct world *w);

/* ---- model.c ---- */

/* After the step: the state of the model follows the event and the actions, each of which must be
 * right. */
void sim_follow(struct world *w, const struct rd_queue_event *event, uint32_t id,
                const struct rd_queue_result *r);
void sim_model_crash(struct world *w);
/* Does the event mean anything to the job in the state that it is in? (Of those without a token.)
 */
bool sim_fits(const struct world *w, const struct rd_queue_event *event, uint32_t id);
uint32_t sim_id_of(const struct world *w, uint32_t number);

/* ---- check.c ---- */

void sim_check(struct world *w, const struct rd_queue_result *r);
void sim_check_end(struct world *w);
void sim_took(struct world *w, const struct job *job, uint64_t took_ns);

#endif
