/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run tells: that it can be stopped, how far it is, how it ended. A run whose token is not
 * its job's any more (it lost its lease, or was given up) talks to nobody. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "jobs/internal.h"

/* Small pictures are done in milliseconds: nobody can use more reports than this. */
static const uint64_t progress_gap_ns = 25000000;
static const uint64_t heartbeat_gap_ns = 1000000000;

rd_err rd_jobs_attach(struct rd_jobs *jobs, const struct rd_jobs_slot *slot,
                      void (*stop)(void *run), void *run)
{
    rd_err err = RD_ERR_CANCELLED;
    rd_jobs_lock(jobs);
    struct job *job = rd_jobs_at(jobs, slot);
    if (job != NULL && !job->stop_wanted) {
        job->stop = stop;
        job->run = run;
        err = RD_OK;
    }
    rd_jobs_leave(jobs);
    return err;
}

static void heartbeat(struct rd_jobs *jobs, struct job *job, uint64_t now)
{
    if (now - job->progress_ns < heartbeat_gap_ns) {
        return;
    }
    job->progress_ns = now;
    struct rd_queue_event event = {
        .kind = RD_EV_HEARTBEAT, .job = job->number, .token = job->row.token};
    struct rd_queue_result result;
    rd_jobs_step(jobs, &event, &result);
}

void rd_jobs_progress(struct rd_jobs *jobs, const struct rd_jobs_slot *slot, double fraction,
                      unsigned step)
{
    rd_jobs_lock(jobs);
    struct job *job = rd_jobs_at(jobs, slot);
    if (job != NULL) {
        uint64_t now = rd_clock_mono_ns();
        job->progress = fraction;
        if (!job->now_only && now - job->reported_ns >= progress_gap_ns) {
            job->reported_ns = now;
            RD_AUTO_BUF struct rd_buf data;
            rd_buf_init(&data, 128);
            rd_buf_printf(&data, "{\"progress\":%.4f,\"step\":%u}", fraction, step);
            rd_jobs_publish(jobs, job, "progress", &data);
        }
        heartbeat(jobs, job, now);
    }
    rd_jobs_leave(jobs);
}

void rd_jobs_preview(struct rd_jobs *jobs, const struct rd_jobs_slot *slot, const char *data_uri,
                     size_t len)
{
    RD_AUTO_BUF struct rd_buf data;
    rd_buf_init(&data, RD_JOBS_EVENT_MAX);
    rd_buf_str(&data, "{\"frame\":\"");
    rd_buf_append(&data, data_uri, len);
    rd_buf_str(&data, "\"}");
    rd_jobs_lock(jobs);
    struct job *job = rd_jobs_at(jobs, slot);
    if (job != NULL && job->watches != NULL) {
        rd_jobs_publish(jobs, job, "preview", &data);
    }
    rd_jobs_leave(jobs);
}

bool rd_jobs_watched(struct rd_jobs *jobs, const struct rd_jobs_slot *slot)
{
    rd_jobs_lock(jobs);
    const struct job *job = rd_jobs_at(jobs, slot);
    bool watched = job != NULL && job->watches != NULL;
    rd_jobs_leave(jobs);
    return watched;
}

/* A shutdown broke the run off: this attempt does not count. The queue is not told of its end,
 * which might be the job's (its last attempt, its ttl); the next process has it as one that waits.
 */
static void give_back_attempt(struct rd_jobs *jobs, struct job *job)
{
    struct rd_job_write change = {.kind = RD_WRITE_LEASE, .row = job->row};
    change.row.attempt -= change.row.attempt > 0 ? 1 : 0;
    change.row.token++; /* a newer lease, of nobody: none is given any more */
    struct write *write = rd_jobs_write_new(&change);
    if (write != NULL) { /* without it one attempt fewer is left */
        write->token = 0;
        rd_jobs_write_add(jobs, write);
    }
    job->progress_ns = 0;
    heartbeat(jobs, job, rd_clock_mono_ns()); /* its lease lasts longer than the shutdown */
}

static void keep_outcome(struct job *job, const struct rd_jobs_outcome *outcome)
{
    job->stop = NULL;
    job->run = NULL;
    job->err = outcome->err;
    job->row.device_source = outcome->device_source;
    rd_mem_free(job->message);
    job->message = outcome->message == NULL ? NULL : rd_mem_strdup(outcome->message);
    if (outcome->outcome == RD_OUTCOME_OK && !job->now_only) {
        rd_mem_free(job->result);
        job->result = rd_mem_strdup(outcome->assets == NULL ? "[]" : outcome->assets);
        job->row.result = job->result;
        job->progress = 1;
    }
}

/* The queue's answer to the end of a sync run is another run. */
static bool runs_again(const struct rd_queue_result *result, uint32_t job)
{
    return result->count > 0 && result->actions[0].kind == RD_ACT_RUN &&
           result->actions[0].job == job;
}

bool rd_jobs_done(struct rd_jobs *jobs, const struct rd_jobs_slot *slot,
                  const struct rd_jobs_outcome *outcome, struct rd_jobs_slot *ret_again)
{
    rd_jobs_lock(jobs);
    struct job *job = rd_jobs_at(jobs, slot);
    bool sync = job != NULL && job->now_only;
    struct rd_queue_event event = {
        .kind = RD_EV_DONE,
        .job = slot->job,
        .token = slot->token,
        .outcome = sync && ret_again == NULL && outcome->outcome != RD_OUTCOME_OK
                       ? RD_OUTCOME_FAILED
                       : outcome->outcome,
        .verdict = outcome->verdict,
        .device_ns = outcome->device_ns,
    };
    if (job != NULL) {
        keep_outcome(job, outcome);
        if (outcome->outcome != RD_OUTCOME_OK && jobs->draining && !sync && !job->row.cancel) {
            give_back_attempt(jobs, job);
            rd_jobs_leave(jobs);
            return false;
        }
    }
    struct rd_queue_result result;
    rd_jobs_step(jobs, &event, &result);
    bool again = sync && runs_again(&result, slot->job);
    if (again) {
        *ret_again = job->slot;
    }
    rd_jobs_leave(jobs);
    return again;
}

void rd_jobs_slot_free(struct rd_jobs *jobs, uint32_t backend)
{
    rd_jobs_lock(jobs);
    struct rd_queue_event event = {.kind = RD_EV_SLOT, .backend = backend};
    jobs->backends[backend].taken--;
    struct rd_queue_result result;
    rd_jobs_step(jobs, &event, &result);
    rd_jobs_leave(jobs);
}
