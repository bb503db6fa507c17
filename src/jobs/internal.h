/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the driver: what is in memory, and which file does what. Everything here is guarded
 * by jobs->lock unless it says otherwise.
 *
 *   jobs.c       open, close; the step: events into the queue, actions out of it
 *   backends.c   what the queue is told of backends, and what it thinks of them
 *   admit.c      getting in: take, submit, adopt
 *   run.c        what runs tell: attach, progress, done
 *   table.c      jobs by number and by id, the ended ones, tenants and classes
 *   events.c     one sequence of events a job, and those who watch
 *   writer.c     the thread that makes changes durable, in batches
 *   json.c       how a job looks on the wire
 *   ask.c        get, cancel, queue, metrics */
#ifndef RD_JOBS_INTERNAL_H
#define RD_JOBS_INTERNAL_H

#include <pthread.h>

#include "base/mem.h"
#include "jobs/jobs.h"

enum { BUCKETS = 12, KINDS = 8 };

struct event {
    uint64_t id;
    char name[10];
    char *data; /* owned; NULL: a preview that a newer one replaced */
    size_t len;
};

/* The events of one job that are still kept. */
struct ring {
    struct event events[RD_JOBS_EVENTS_KEPT]; /* [first .. first + count), modulo */
    unsigned first, count;
    unsigned dropped;      /* events that fell out */
    uint64_t dropped_last; /* the id of the last of them */
};

struct rd_jobs_watch {
    struct job *job;
    rd_jobs_event_fn *fn;
    void *ctx;
    unsigned missed;
    bool owed_last; /* the job has ended, and fn could not take that yet */
    uint64_t told_ns;
    struct rd_jobs_watch *next, **link;         /* of the job */
    struct rd_jobs_watch *all_next, **all_link; /* of all jobs */
};

struct class_ {
    char model[RD_MODEL_NAME_MAX];
    int kind;
    enum rd_task task;
    enum rd_media media;
    struct histogram {
        uint64_t buckets[BUCKETS + 1], sum_us;
    } wait[RD_LANE_COUNT_], run[RD_LANE_COUNT_];
};

struct tenant {
    uint64_t owner;
    char name[RD_NAME_MAX + 1];
    struct rd_tenant_limits limits;
};

struct backend {
    char name[64];
    uint32_t slots, taken, weight;
    uint64_t lease_ns;
    bool ready;
};

struct job {
    uint32_t number; /* the queue's; 0: ended */
    bool now_only;   /* of the sync tier, not adopted */
    bool settled;    /* it has its outcome, which is not durable yet */
    /* model and backend point into jobs->classes and ->backends; request, webhook, request_id and
     * result are owned or NULL */
    struct rd_job_row row;
    char *request, *webhook, *request_id, *result;
    uint32_t tenant, class_;
    struct rd_jobs_slot slot; /* of its last run */
    void (*stop)(void *run);
    void *run;
    bool stop_wanted;
    double progress;
    uint64_t accepted_ns, started_ns, progress_ns /* last heartbeat */, reported_ns;
    /* what rd_jobs_done said, until the end is written */
    rd_err err;
    char *message; /* owned; NULL: the error's own text */
    /* events */
    uint64_t event_last;
    struct ring *ring; /* owned; NULL until somebody watches or it runs */
    struct rd_jobs_watch *watches;
    uint32_t told_position;
    /* those who wait for its cancelling to be durable */
    struct waiter *cancels;
    struct job *ended_next, *ended_prev;
};

/* The hash stands beside, so that the table grows without looking at a million jobs. */
struct by_id {
    struct job *job; /* NULL: free */
    uint32_t hash;
};

struct waiter {
    rd_jobs_done_fn *fn;
    void *ctx;
    rd_err err;
    struct waiter *next;
};

/* One change on its way to the disk; one block of memory with all its texts. */
struct write {
    struct write *next;
    struct rd_job_write change;
    uint32_t job; /* number, for the event that follows */
    uint64_t token;
    enum rd_admit refused; /* of a look at a key: why, if the key is new */
    bool unknown;          /* of such a look: its key has no job */
    rd_jobs_created_fn *created;
    void *ctx;
};

struct start { /* a RUN that the host has not been told yet */
    struct start *next;
    char id[RD_ID_MAX];
    struct rd_jobs_slot slot;
};

struct rd_jobs {
    struct rd_jobs_options options;
    char *public_url;
    pthread_mutex_t lock;
    struct rd_queue *queue; /* mapped */
    bool going, draining, closing, broken;
    uint64_t next_n;
    struct job **by_number; /* RD_QUEUE_JOBS_MAX + 1, mapped: touched as used */
    struct by_id *by_id;    /* open addressing, power of two */
    size_t by_id_cap, by_id_count;
    struct job *ended_newest, *ended_oldest;
    size_t ended_count, requests_kept;

    struct tenant *tenants; /* RD_QUEUE_TENANTS_MAX, from 1, mapped */
    uint32_t tenants_count;
    struct class_ *classes; /* RD_QUEUE_CLASSES_MAX, from 1, mapped */
    uint32_t classes_count;
    struct backend backends[RD_QUEUE_BACKENDS_MAX + 1]; /* from 1 */
    uint32_t backends_count;

    struct rd_jobs_watch *watches;
    size_t watches_count;
    uint64_t looks, random;

    struct start *starts, **starts_end;
    struct write *writes, **writes_end; /* gathered for the writer */
    struct write *asked;                /* keys of submissions that were refused */
    size_t asked_count;
    struct write *held; /* could not be written for want of room; tried again */
    uint64_t held_until_ns;
    uint64_t next_ns; /* when the queue wants a TICK */
    pthread_cond_t wake;
    pthread_t writer;
    struct rd_job_write *batch; /* the writer's own */
    bool writer_runs;

    uint64_t refused[RD_ADMIT_COUNT_], accepted, ended[RD_END_LOST + 1], leases_lost;
};

/* jobs.c */
void rd_jobs_lock(struct rd_jobs *jobs);
/* Unlocks, and tells the host of the runs that are to start. */
void rd_jobs_leave(struct rd_jobs *jobs);
void rd_jobs_step(struct rd_jobs *jobs, struct rd_queue_event *event, struct rd_queue_result *ret);
/* SUBMIT and RESTORE: `newborn` gets its number before the actions are done. */
void rd_jobs_step_new(struct rd_jobs *jobs, struct rd_queue_event *event, struct job *newborn,
                      struct rd_queue_result *ret);
void rd_jobs_break(struct rd_jobs *jobs); /* nothing can be promised any more */

/* backends.c */
void rd_jobs_poll(struct rd_jobs *jobs);                                  /* their readiness */
void rd_jobs_tell_backend(struct rd_jobs *jobs, uint32_t backend);        /* to the queue */
void rd_jobs_backends_metrics(struct rd_jobs *jobs, struct rd_buf *text); /* under the lock */

/* table.c */
struct job *rd_jobs_find(struct rd_jobs *jobs, const char *id);
rd_err rd_jobs_insert(struct rd_jobs *jobs, struct job *job) RD_MUST; /* by id */
void rd_jobs_remove(struct rd_jobs *jobs, struct job *job);           /* from everywhere; frees */
void rd_jobs_keep_ended(struct rd_jobs *jobs, struct job *job);
struct job *rd_jobs_at(struct rd_jobs *jobs, const struct rd_jobs_slot *slot); /* or NULL */
void rd_jobs_job_free(struct job *job);
rd_err rd_jobs_tenant(struct rd_jobs *jobs, uint64_t owner, const char *name,
                      uint32_t *ret) RD_MUST;
rd_err rd_jobs_class(struct rd_jobs *jobs, const struct rd_jobs_want *want, uint32_t *ret) RD_MUST;
void rd_jobs_class_serves(struct rd_jobs *jobs, uint32_t class_);
void rd_jobs_observe(struct histogram *histogram, uint64_t ns);

/* admit.c */
/* A job in memory as `add` describes it; texts copied. */
struct job *rd_jobs_make(struct rd_jobs *jobs, const struct rd_jobs_ask *ask,
                         const struct rd_job_row *row);

/* events.c */
void rd_jobs_publish(struct rd_jobs *jobs, struct job *job, const char *name,
                     const struct rd_buf *data);
void rd_jobs_publish_started(struct rd_jobs *jobs, struct job *job);
void rd_jobs_publish_end(struct rd_jobs *jobs, struct job *job); /* after number became 0 */
void rd_jobs_publish_position(struct rd_jobs *jobs, struct job *job);
void rd_jobs_tend_watches(struct rd_jobs *jobs, uint64_t now_ns); /* ten times a second */
void rd_jobs_ring_free(struct ring *ring);

/* writer.c */
rd_err rd_jobs_writer_start(struct rd_jobs *jobs) RD_MUST;
void rd_jobs_writer_stop(struct rd_jobs *jobs);
/* Copies the change with its texts. NULL: no memory. */
struct write *rd_jobs_write_new(const struct rd_job_write *change) RD_MUST;
void rd_jobs_write_add(struct rd_jobs *jobs, struct write *write);
/* Has the writer look whether the key of a refused submission has a job. Takes it; false: too many
 * wait. */
bool rd_jobs_look_add(struct rd_jobs *jobs, struct write *look);

/* json.c */
struct job_now { /* what only the queue knows */
    double progress;
    uint32_t position;
    uint64_t eta_ns;
};
void rd_jobs_write_job(const struct rd_job_row *row, const struct job_now *now,
                       const char *public_url, struct rd_buf *json);
void rd_jobs_write_end(const struct rd_job_row *row, const char *public_url, struct rd_buf *json);

#endif
