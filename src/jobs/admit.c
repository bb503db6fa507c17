/* SPDX-License-Identifier: Apache-2.0
 *
 * Getting in: take (a slot now), submit (a job for the queue), adopt (a run becomes a job). Memory
 * comes first and the decision last, so that what the queue has admitted can always be carried out.
 */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "jobs/internal.h"

static const uint64_t second_ns = 1000000000;

static char *dup_or_null(const char *text, bool *ok)
{
    if (text == NULL || text[0] == '\0') {
        return NULL;
    }
    char *copy = rd_mem_strdup(text);
    *ok = *ok && copy != NULL;
    return copy;
}

/* One that is in no table. NULL is fine. */
static void drop(struct rd_jobs *jobs, struct job *job)
{
    if (job != NULL && job->request != NULL) {
        jobs->requests_kept -= strlen(job->request) + 1;
    }
    rd_jobs_job_free(job);
}

struct job *rd_jobs_make(struct rd_jobs *jobs, const struct rd_jobs_ask *ask,
                         const struct rd_job_row *row)
{
    struct job *job = rd_mem_alloc(sizeof *job);
    if (job == NULL) {
        return NULL;
    }
    bool ok = rd_jobs_tenant(jobs, ask->owner, ask->tenant, &job->tenant) == RD_OK &&
              rd_jobs_class(jobs, &ask->want, &job->class_) == RD_OK;
    if (row != NULL) {
        job->row = *row;
        job->webhook = dup_or_null(row->webhook, &ok);
        job->request_id = dup_or_null(row->request_id, &ok);
        size_t len = row->request == NULL ? 0 : row->request_len + 1;
        if (len > 0 && len <= RD_JOBS_REQUEST_KEPT &&
            jobs->requests_kept + len <= RD_JOBS_REQUESTS_KEPT) {
            job->request = rd_mem_memdupz(row->request, row->request_len);
            jobs->requests_kept += job->request == NULL ? 0 : strlen(job->request) + 1;
        }
    }
    if (!ok) {
        drop(jobs, job);
        return NULL;
    }
    job->row.owner = ask->owner;
    job->row.tenant = jobs->tenants[job->tenant - 1].name;
    job->row.lane = (unsigned)ask->lane;
    job->row.model = jobs->classes[job->class_].model;
    job->row.kind = ask->want.kind;
    job->row.task = (unsigned)ask->want.task;
    job->row.media = (unsigned)ask->want.media;
    job->row.units = ask->units;
    job->row.request = job->request;
    job->row.request_len = job->request == NULL ? 0 : strlen(job->request);
    job->row.webhook = job->webhook;
    job->row.request_id = job->request_id;
    job->row.backend = "";
    job->row.result = NULL;
    job->accepted_ns = rd_clock_mono_ns();
    return job;
}

static void tell_limits(struct rd_jobs *jobs, uint32_t tenant, const struct rd_queue_result *result,
                        struct rd_jobs_limits *ret)
{
    const struct rd_tenant_limits *limits = &jobs->tenants[tenant - 1].limits;
    *ret = (struct rd_jobs_limits){.retry_s = 1};
    if (result->admit == RD_ADMIT_RATE) {
        ret->retry_s = result->wait_ns / second_ns + 1;
    }
    if (limits->rate.per_s == RD_BUCKET_UNLIMITED) {
        return;
    }
    struct rd_tenant_state state;
    rd_queue_tenant(jobs->queue, tenant, rd_clock_mono_ns(), &state);
    ret->burst = limits->rate.burst;
    ret->rate = limits->rate.per_s;
    /* One may have come in between: what was refused was refused with none. */
    ret->left = result->admit == RD_ADMIT_RATE ? 0 : state.tokens;
    ret->reset_s = (state.wait_ns + second_ns - 1) / second_ns;
}

static struct rd_queue_event submit_event(const struct job *job, const struct rd_jobs_ask *ask)
{
    return (struct rd_queue_event){
        .kind = RD_EV_SUBMIT,
        .tenant = job->tenant,
        .class_ = job->class_,
        .lane = ask->lane,
        .units = ask->units,
    };
}

/* It did not come to a decision. Unlocks. */
static enum rd_admit cannot(struct rd_jobs *jobs, struct rd_jobs_limits *ret_limits)
{
    enum rd_admit admit = jobs->broken || jobs->draining ? RD_ADMIT_STOPPED : RD_ADMIT_NO_MEMORY;
    jobs->refused[admit]++;
    rd_jobs_leave(jobs);
    *ret_limits = (struct rd_jobs_limits){.retry_s = 1};
    return admit;
}

enum rd_admit rd_jobs_take(struct rd_jobs *jobs, const struct rd_jobs_ask *ask,
                           struct rd_jobs_slot *ret, struct rd_jobs_limits *ret_limits)
{
    rd_jobs_lock(jobs);
    struct job *job = jobs->broken ? NULL : rd_jobs_make(jobs, ask, NULL);
    if (job == NULL) {
        return cannot(jobs, ret_limits);
    }
    job->now_only = true;
    struct rd_queue_event event = submit_event(job, ask);
    event.now_only = true;
    struct rd_queue_result result;
    rd_jobs_step_new(jobs, &event, job, &result);
    tell_limits(jobs, job->tenant, &result, ret_limits);
    if (result.admit != RD_ADMIT_OK) {
        jobs->refused[result.admit]++;
        rd_jobs_job_free(job);
    } else {
        *ret = job->slot;
    }
    rd_jobs_leave(jobs);
    return result.admit;
}

/* A refusal that has to wait for a look at the submission's key: `fn` is told of it. */
static bool look_first(struct rd_jobs *jobs, const struct rd_job_write *add, enum rd_admit admit,
                       rd_jobs_created_fn *fn, void *ctx)
{
    if (add->idempotency_key == NULL) {
        return false;
    }
    struct rd_job_write key = {.kind = RD_WRITE_ADD,
                               .row = {.owner = add->row.owner},
                               .idempotency_key = add->idempotency_key};
    memcpy(key.body_hash, add->body_hash, sizeof key.body_hash);
    struct write *look = rd_jobs_write_new(&key);
    if (look != NULL) {
        look->refused = admit;
        look->created = fn;
        look->ctx = ctx;
    }
    return rd_jobs_look_add(jobs, look);
}

enum rd_admit rd_jobs_submit(struct rd_jobs *jobs, const struct rd_jobs_ask *ask,
                             const struct rd_job_write *add, rd_jobs_created_fn *fn, void *ctx,
                             struct rd_jobs_limits *ret_limits)
{
    struct write *write = rd_jobs_write_new(add); /* copies a large request: outside the lock */
    rd_jobs_lock(jobs);
    struct job *job =
        write == NULL || jobs->broken || jobs->draining ? NULL : rd_jobs_make(jobs, ask, &add->row);
    if (job != NULL && job->row.id[0] == '\0') {
        rd_id_new("j_", job->row.id);
    }
    if (job == NULL || rd_jobs_insert(jobs, job) != RD_OK) {
        drop(jobs, job);
        rd_mem_free(write);
        return cannot(jobs, ret_limits);
    }
    struct rd_queue_event event = submit_event(job, ask);
    if (add->row.expires_ms > add->row.created_ms) {
        event.ttl_ns = (add->row.expires_ms - add->row.created_ms) * 1000000;
    }
    struct rd_queue_result result;
    rd_jobs_step_new(jobs, &event, job, &result);
    tell_limits(jobs, job->tenant, &result, ret_limits);
    if (result.admit != RD_ADMIT_OK) {
        rd_jobs_remove(jobs, job);
        rd_mem_free(write);
        if (look_first(jobs, add, result.admit, fn, ctx)) {
            result.admit = RD_ADMIT_OK;
        }
        jobs->refused[result.admit] += result.admit != RD_ADMIT_OK;
    } else {
        job->row.n = jobs->next_n++;
        memcpy(write->change.row.id, job->row.id, sizeof job->row.id);
        write->change.row.n = job->row.n;
        write->job = job->number;
        write->created = fn;
        write->ctx = ctx;
        rd_jobs_write_add(jobs, write);
    }
    rd_jobs_leave(jobs);
    return result.admit;
}

rd_err rd_jobs_adopt(struct rd_jobs *jobs, const struct rd_jobs_slot *slot,
                     const struct rd_jobs_ask *ask, const struct rd_job_write *add,
                     rd_jobs_created_fn *fn, void *ctx)
{
    struct write *write = rd_jobs_write_new(add);
    rd_jobs_lock(jobs);
    struct job *run = write == NULL ? NULL : rd_jobs_at(jobs, slot);
    struct job *job = run == NULL || !run->now_only ? NULL : rd_jobs_make(jobs, ask, &add->row);
    if (job == NULL) {
        rd_err err =
            write == NULL || (run != NULL && run->now_only) ? RD_ERR_NO_MEMORY : RD_ERR_NOT_FOUND;
        rd_jobs_leave(jobs);
        rd_mem_free(write);
        return err;
    }
    if (job->row.id[0] == '\0') {
        rd_id_new("j_", job->row.id);
    }
    /* The run's place in the queue goes over to the job that is described by `add`. */
    job->number = run->number;
    job->row.token = run->row.token;
    job->row.attempt = run->row.attempt;
    job->row.backend = run->row.backend;
    job->row.started_ms = run->row.started_ms;
    job->row.status = RD_STATUS_RUNNING;
    job->row.n = jobs->next_n++;
    job->slot = run->slot;
    job->started_ns = run->started_ns;
    job->progress = run->progress;
    job->stop = run->stop;
    job->run = run->run;
    jobs->by_number[job->number] = job;
    rd_jobs_job_free(run);
    /* Its row, and that it has been leased so often: after a crash its next attempt is one more. */
    const struct rd_job_write leased = {.kind = RD_WRITE_LEASE, .row = job->row};
    struct write *lease = rd_jobs_write_new(&leased);
    if (lease == NULL || rd_jobs_insert(jobs, job) != RD_OK) {
        rd_jobs_break(jobs); /* the run can neither go back nor on */
        rd_mem_free(lease);
        rd_mem_free(write);
    } else {
        memcpy(write->change.row.id, job->row.id, sizeof job->row.id);
        write->change.row.n = job->row.n;
        write->change.row.status = RD_STATUS_RUNNING;
        write->job = job->number;
        write->token = job->row.token;
        write->created = fn;
        write->ctx = ctx;
        rd_jobs_write_add(jobs, write);
        rd_jobs_write_add(jobs, lease); /* its token is 0: the queue is not told */
        struct rd_queue_event event = {.kind = RD_EV_ADOPT, .job = job->number};
        struct rd_queue_result result;
        rd_jobs_step(jobs, &event, &result);
    }
    rd_jobs_leave(jobs);
    return RD_OK;
}

rd_err rd_jobs_refusal(enum rd_admit admit, const char **ret_text)
{
    static const struct {
        rd_err err;
        const char *text; /* NULL: the error's own */
    } refusals[] = {
        [RD_ADMIT_OK] = {RD_OK, NULL},
        [RD_ADMIT_RATE] = {RD_ERR_RATE_LIMITED, NULL},
        [RD_ADMIT_CONCURRENCY] = {RD_ERR_CONCURRENCY, NULL},
        [RD_ADMIT_DEPTH] = {RD_ERR_QUEUE_FULL, NULL},
        [RD_ADMIT_LANE] = {RD_ERR_PLAN, NULL},
        [RD_ADMIT_FULL] = {RD_ERR_QUEUE_FULL, "the gateway's queue is full; wait for Retry-After"},
        [RD_ADMIT_NO_BACKEND] = {RD_ERR_MODEL_UNAVAILABLE, NULL},
        [RD_ADMIT_NOT_READY] = {RD_ERR_NOT_READY, NULL},
        [RD_ADMIT_NO_SLOT] = {RD_ERR_CAPACITY, NULL},
        [RD_ADMIT_NO_MEMORY] = {RD_ERR_NO_MEMORY, NULL},
        [RD_ADMIT_STOPPED] = {RD_ERR_DRAINING, NULL},
    };
    *ret_text = refusals[admit].text;
    return refusals[admit].err;
}
