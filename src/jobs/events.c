/* SPDX-License-Identifier: Apache-2.0
 *
 * What happens to a job, as one sequence of events, told to whoever watches. An event's id is
 * attempt << 32 | milliseconds since the job was accepted, or one more than the last: so ids ascend
 * within a job over retries and restarts without being stored, and Last-Event-ID means the same
 * whichever process answers. Only the last event is durable (it is the job's row); what a run said
 * on its way is kept in a ring for those who come back, with the newest preview only. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "jobs/internal.h"

enum { POSITION_EVERY = 10 }; /* looks, which come ten times a second */
static const uint64_t heartbeat_ns = (uint64_t)RD_JOBS_HEARTBEAT_S * 1000000000;

void rd_jobs_ring_free(struct ring *ring)
{
    if (ring == NULL) {
        return;
    }
    for (unsigned i = 0; i < RD_JOBS_EVENTS_KEPT; i++) {
        rd_mem_free(ring->events[i].data);
    }
    rd_mem_free(ring);
}

static uint64_t next_id(struct job *job)
{
    uint64_t now = rd_clock_wall_ms();
    uint64_t ms = now > job->row.created_ms ? now - job->row.created_ms : 0;
    uint64_t id = (uint64_t)job->row.attempt << 32 | (ms & UINT32_MAX);
    job->event_last = id > job->event_last ? id : job->event_last + 1;
    return job->event_last;
}

/* ---- the ring ---- */

static void drop_previews(struct ring *ring)
{
    for (unsigned i = 0; i < ring->count; i++) {
        struct event *event = &ring->events[(ring->first + i) % RD_JOBS_EVENTS_KEPT];
        if (strcmp(event->name, "preview") == 0) {
            rd_mem_free(RD_STEAL(event->data));
        }
    }
}

/* Keeping is for those who come back: without memory nothing is kept, and they are told so. */
static void keep(struct job *job, const struct rd_jobs_event *event)
{
    if (job->ring == NULL) {
        job->ring = rd_mem_alloc(sizeof *job->ring);
    }
    struct ring *ring = job->ring;
    if (ring == NULL) {
        return;
    }
    if (strcmp(event->name, "preview") == 0 || event->last) {
        drop_previews(ring);
    }
    if (ring->count == RD_JOBS_EVENTS_KEPT) {
        struct event *oldest = &ring->events[ring->first];
        ring->dropped++;
        ring->dropped_last = oldest->id;
        rd_mem_free(RD_STEAL(oldest->data));
        ring->first = (ring->first + 1) % RD_JOBS_EVENTS_KEPT;
        ring->count--;
    }
    struct event *to = &ring->events[(ring->first + ring->count++) % RD_JOBS_EVENTS_KEPT];
    to->id = event->id;
    (void)snprintf(to->name, sizeof to->name, "%s", event->name);
    to->data = rd_mem_memdupz(event->data, event->len);
    to->len = event->len;
}

/* ---- telling ---- */

static void offer(struct rd_jobs_watch *watch, struct rd_jobs_event *event)
{
    event->missed = watch->missed;
    if (watch->fn(watch->ctx, event)) {
        watch->missed = 0;
        watch->owed_last = false;
        watch->told_ns = rd_clock_mono_ns();
    } else if (event->last) {
        watch->owed_last = true;
    } else if (event->name[0] != '\0') {
        watch->missed++;
    }
}

static void publish(struct job *job, struct rd_jobs_event *event)
{
    keep(job, event);
    for (struct rd_jobs_watch *watch = job->watches; watch != NULL; watch = watch->next) {
        offer(watch, event);
    }
}

void rd_jobs_publish(struct rd_jobs *jobs, struct job *job, const char *name,
                     const struct rd_buf *data)
{
    (void)jobs;
    if (rd_buf_err(data) != RD_OK) {
        return; /* out of memory: a progress report less */
    }
    struct rd_jobs_event event = {.id = next_id(job),
                                  .job = job->row.id,
                                  .name = name,
                                  .data = rd_buf_cstr(data),
                                  .len = data->len};
    publish(job, &event);
}

void rd_jobs_publish_started(struct rd_jobs *jobs, struct job *job)
{
    RD_AUTO_BUF struct rd_buf data;
    rd_buf_init(&data, 64);
    rd_buf_printf(&data, "{\"attempt\":%u}", job->row.attempt);
    rd_jobs_publish(jobs, job, "started", &data);
}

void rd_jobs_publish_position(struct rd_jobs *jobs, struct job *job)
{
    struct rd_queue_job look;
    if (!rd_queue_look(jobs->queue, job->number, &look) || look.position == 0) {
        return;
    }
    job->told_position = look.position;
    RD_AUTO_BUF struct rd_buf data;
    rd_buf_init(&data, 128);
    rd_buf_printf(&data, "{\"position\":%" PRIu32, look.position);
    rd_jobs_write_seconds(&data, "eta_seconds", look.eta_ns);
    rd_buf_char(&data, '}');
    rd_jobs_publish(jobs, job, "position", &data);
}

/* The last event of a row. `data` keeps the text. */
static void last_event(const struct rd_job_row *row, const char *public_url, uint64_t id,
                       struct rd_buf *data, struct rd_jobs_event *ret)
{
    rd_jobs_write_end(row, public_url, data);
    *ret = (struct rd_jobs_event){
        .id = id,
        .job = row->id,
        .name = row->status == RD_STATUS_COMPLETE ? "complete" : "error",
        .data = rd_buf_cstr(data),
        .len = data->len,
        .last = true,
    };
}

void rd_jobs_publish_end(struct rd_jobs *jobs, struct job *job)
{
    RD_AUTO_BUF struct rd_buf data;
    struct rd_jobs_event event;
    rd_buf_init(&data, RD_KIB(8));
    uint64_t id = (uint64_t)(job->row.attempt + 1) << 32; /* after all that it ran; see below */
    last_event(&job->row, jobs->public_url, id, &data, &event);
    job->event_last = id;
    publish(job, &event);
}

/* The same id as above, from what is stored. */
void rd_job_last_event(const struct rd_job_row *row, const char *public_url, rd_jobs_event_fn *fn,
                       void *ctx)
{
    RD_AUTO_BUF struct rd_buf data;
    struct rd_jobs_event event;
    rd_buf_init(&data, RD_KIB(8));
    last_event(row, public_url, (uint64_t)(row->attempt + 1) << 32, &data, &event);
    (void)fn(ctx, &event);
}

/* ---- watching ---- */

static void replay(struct rd_jobs *jobs, struct job *job, uint64_t after,
                   struct rd_jobs_watch *watch)
{
    const struct ring *ring = job->ring;
    if (ring != NULL && after != 0 && after < ring->dropped_last) {
        watch->missed = ring->dropped;
    }
    bool any = false;
    for (unsigned i = 0; ring != NULL && i < ring->count; i++) {
        const struct event *event = &ring->events[(ring->first + i) % RD_JOBS_EVENTS_KEPT];
        bool last = job->number == 0 && i + 1 == ring->count;
        /* Who did not watch wants to know the end of one that has ended, not its story. */
        bool wanted = last || (event->id > after && (job->number != 0 || after != 0));
        if (!wanted || event->data == NULL) {
            continue;
        }
        struct rd_jobs_event told = {.id = event->id,
                                     .job = job->row.id,
                                     .name = event->name,
                                     .data = event->data,
                                     .len = event->len,
                                     .last = last};
        offer(watch, &told);
        any = true;
    }
    if (!any && job->number == 0) {
        watch->owed_last = true; /* there was no memory to keep it: told at the next look */
    } else if (!any && after == 0) {
        rd_jobs_publish_position(jobs, job);
    }
}

static void link_watch(struct rd_jobs *jobs, struct job *job, struct rd_jobs_watch *watch)
{
    watch->job = job;
    watch->next = job->watches;
    watch->link = &job->watches;
    if (watch->next != NULL) {
        watch->next->link = &watch->next;
    }
    job->watches = watch;
    watch->all_next = jobs->watches;
    watch->all_link = &jobs->watches;
    if (watch->all_next != NULL) {
        watch->all_next->all_link = &watch->all_next;
    }
    jobs->watches = watch;
    jobs->watches_count++;
}

static void unlink_watch(struct rd_jobs *jobs, struct rd_jobs_watch *watch)
{
    if (watch->link != NULL) {
        *watch->link = watch->next;
        if (watch->next != NULL) {
            watch->next->link = watch->link;
        }
    }
    *watch->all_link = watch->all_next;
    if (watch->all_next != NULL) {
        watch->all_next->all_link = watch->all_link;
    }
    jobs->watches_count--;
}

rd_err rd_jobs_watch(struct rd_jobs *jobs, uint64_t owner, const char *id, uint64_t after,
                     rd_jobs_event_fn *fn, void *ctx, struct rd_jobs_watch **ret)
{
    struct rd_jobs_watch *watch = rd_mem_alloc(sizeof *watch);
    if (watch == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    rd_jobs_lock(jobs);
    struct job *job = rd_jobs_find(jobs, id);
    rd_err err = job == NULL || (owner != 0 && job->row.owner != owner) ? RD_ERR_NOT_FOUND
                 : jobs->watches_count >= RD_JOBS_WATCHES_MAX           ? RD_ERR_CAPACITY
                                                                        : RD_OK;
    if (err != RD_OK) {
        rd_jobs_leave(jobs);
        rd_mem_free(watch);
        return err;
    }
    watch->fn = fn;
    watch->ctx = ctx;
    watch->told_ns = rd_clock_mono_ns();
    link_watch(jobs, job, watch);
    replay(jobs, job, after, watch);
    if (job->number == 0 && !watch->owed_last) {
        unlink_watch(jobs, watch);
        rd_mem_free(RD_STEAL(watch));
    }
    *ret = watch; /* before the lock is free: fn may need it at once */
    rd_jobs_leave(jobs);
    return RD_OK;
}

void rd_jobs_unwatch(struct rd_jobs *jobs, struct rd_jobs_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    rd_jobs_lock(jobs);
    unlink_watch(jobs, watch);
    rd_jobs_leave(jobs);
    rd_mem_free(watch);
}

void rd_jobs_tend_watches(struct rd_jobs *jobs, uint64_t now_ns)
{
    static const struct rd_jobs_event heartbeat = {.job = "", .name = "", .data = ""};
    jobs->looks++;
    for (struct rd_jobs_watch *watch = jobs->watches; watch != NULL; watch = watch->all_next) {
        struct job *job = watch->job;
        if (job == NULL) {
            continue;
        }
        if (watch->owed_last) {
            RD_AUTO_BUF struct rd_buf data;
            struct rd_jobs_event event;
            rd_buf_init(&data, RD_KIB(8));
            last_event(&job->row, jobs->public_url, job->event_last, &data, &event);
            offer(watch, &event);
        } else if (now_ns > watch->told_ns + heartbeat_ns || jobs->draining) {
            struct rd_jobs_event event = heartbeat;
            watch->told_ns = now_ns;
            offer(watch, &event);
        }
        if (jobs->looks % POSITION_EVERY == 0 && job->number != 0) {
            struct rd_queue_job look;
            if (rd_queue_look(jobs->queue, job->number, &look) && look.position != 0 &&
                look.position != job->told_position) {
                rd_jobs_publish_position(jobs, job);
            }
        }
    }
}
