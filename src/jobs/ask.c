/* SPDX-License-Identifier: Apache-2.0
 *
 * Asking about jobs, and cancelling them. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "jobs/internal.h"

static struct job *visible(struct rd_jobs *jobs, uint64_t owner, const char *id)
{
    struct job *job = rd_jobs_find(jobs, id);
    return job == NULL || (owner != 0 && job->row.owner != owner) ? NULL : job;
}

bool rd_jobs_visible(struct rd_jobs *jobs, uint64_t owner, const char *id)
{
    rd_jobs_lock(jobs);
    bool there = visible(jobs, owner, id) != NULL;
    rd_jobs_leave(jobs);
    return there;
}

rd_err rd_jobs_get(struct rd_jobs *jobs, uint64_t owner, const char *id, const char *request,
                   struct rd_buf *json, char output[RD_ID_ASSET_LEN + 1], bool *ret_stored)
{
    rd_jobs_lock(jobs);
    const struct job *job = visible(jobs, owner, id);
    *ret_stored = job != NULL || rd_jobs_find(jobs, id) == NULL;
    if (job == NULL || (request == NULL && job->request == NULL)) {
        rd_jobs_leave(jobs);
        return RD_ERR_NOT_FOUND;
    }
    struct rd_job_row row = job->row;
    struct job_now now = {.progress = job->progress};
    if (job->settled) { /* not durable yet, so not told yet */
        row.status = row.attempt > 0 ? RD_STATUS_RUNNING : RD_STATUS_QUEUED;
        row.ended_ms = 0;
        row.device_source = 0;
    }
    struct rd_queue_job look;
    if (job->number != 0 && rd_queue_look(jobs->queue, job->number, &look)) {
        now.position = look.position;
        now.eta_ns = look.eta_ns;
    }
    if (request != NULL) {
        row.request = request[0] == '\0' ? NULL : request;
        row.request_len = strlen(request);
    }
    output[0] = '\0';
    (void)rd_job_output(&row, 0, output);
    rd_jobs_write_job(&row, &now, jobs->public_url, json);
    rd_jobs_leave(jobs);
    return rd_buf_err(json);
}

void rd_jobs_where(struct rd_jobs *jobs, struct rd_jobs_created *created)
{
    struct rd_queue_job look;
    rd_jobs_lock(jobs);
    const struct job *job = rd_jobs_find(jobs, created->id);
    bool waits = job != NULL && job->number != 0 && rd_queue_look(jobs->queue, job->number, &look);
    created->position = waits ? look.position : 0;
    created->eta_ns = waits ? look.eta_ns : 0;
    rd_jobs_leave(jobs);
}

rd_err rd_jobs_cancel(struct rd_jobs *jobs, uint64_t owner, const char *id, bool queued_only,
                      rd_jobs_done_fn *fn, void *ctx)
{
    struct waiter *waiter = rd_mem_alloc(sizeof *waiter);
    if (waiter == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    rd_jobs_lock(jobs);
    struct job *job = visible(jobs, owner, id);
    rd_err err = job == NULL                                           ? RD_ERR_NOT_FOUND
                 : job->number == 0 || job->settled                    ? RD_ERR_CONFLICT
                 : queued_only && job->row.status == RD_STATUS_RUNNING ? RD_ERR_CONFLICT
                                                                       : RD_OK;
    if (err == RD_OK) {
        waiter->fn = fn;
        waiter->ctx = ctx;
        waiter->next = job->cancels;
        job->cancels = waiter;
        struct rd_queue_event event = {.kind = RD_EV_CANCEL, .job = job->number};
        struct rd_queue_result result;
        bool asked = job->row.cancel;
        job->row.cancel = true;
        rd_jobs_step(jobs, &event, &result);
        if (result.cancel == RD_CANCEL_TOO_LATE) {
            job->row.cancel = asked;
            job->cancels = waiter->next;
            err = RD_ERR_CONFLICT;
        } else if (result.cancel == RD_CANCEL_STOPPING && asked) {
            /* The wish is on its way to the disk or there: written once more, so that this caller
             * too is answered after it is durable. */
            const struct rd_job_write change = {.kind = RD_WRITE_CANCEL, .row = job->row};
            struct write *write = rd_jobs_write_new(&change);
            if (write == NULL) {
                job->cancels = waiter->next;
                err = RD_ERR_NO_MEMORY;
            } else {
                write->job = job->number;
                rd_jobs_write_add(jobs, write);
            }
        }
    }
    rd_jobs_leave(jobs);
    if (err != RD_OK) {
        rd_mem_free(waiter);
    }
    return err;
}

void rd_jobs_queue_json(struct rd_jobs *jobs, struct rd_buf *json)
{
    struct rd_queue_counts counts;
    rd_jobs_lock(jobs);
    rd_queue_counts(jobs->queue, &counts);
    rd_jobs_leave(jobs);
    rd_buf_printf(json,
                  "{\"depth\":{\"high\":%" PRIu32 ",\"normal\":%" PRIu32 ",\"low\":%" PRIu32
                  "},\"running\":%" PRIu32 ",\"capacity\":%" PRIu32
                  ",\"estimated_wait_seconds\":%" PRIu64 ".%03" PRIu64 "}",
                  counts.queued[RD_LANE_HIGH], counts.queued[RD_LANE_NORMAL],
                  counts.queued[RD_LANE_LOW], counts.running, counts.capacity,
                  counts.wait_ns / 1000000000, counts.wait_ns / 1000000 % 1000);
}
