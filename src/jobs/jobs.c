/* SPDX-License-Identifier: Apache-2.0
 *
 * Open and close, and the step: one event goes into the queue, and what it answers is
 * done. Writing is handed to the writer (writer.c), starting to the host once the lock is free
 * (rd_jobs_leave), stopping is asked of the run at once.
 *
 * Running out of memory in the middle of a step cannot be undone, since the queue has decided.
 * Then the driver breaks, as on a failed disk: the process ends and the next one reads what is
 * durable. Memory that a submission needs is taken before the queue is asked. */
#include "jobs/internal.h"

#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/limits.h"

void rd_jobs_lock(struct rd_jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
}

void rd_jobs_leave(struct rd_jobs *jobs)
{
    struct start *list = jobs->starts;
    jobs->starts = NULL;
    jobs->starts_end = &jobs->starts;
    pthread_mutex_unlock(&jobs->lock);
    while (list != NULL) {
        struct start *start = list;
        list = start->next;
        jobs->options.host.run(jobs->options.host.ctx, start->id, &start->slot);
        rd_mem_free(start);
    }
}

void rd_jobs_break(struct rd_jobs *jobs)
{
    if (!jobs->broken) {
        jobs->broken = true;
        jobs->options.host.broken(jobs->options.host.ctx);
    }
}

/* ---- actions ---- */

static void write_or_break(struct rd_jobs *jobs, const struct rd_job_write *change,
                           const struct rd_queue_action *action)
{
    struct write *write = rd_jobs_write_new(change);
    if (write == NULL) {
        rd_jobs_break(jobs);
        return;
    }
    write->job = action->job;
    write->token = action->token;
    rd_jobs_write_add(jobs, write);
}

static void write_lease(struct rd_jobs *jobs, struct job *job, const struct rd_queue_action *action)
{
    job->row.token = action->token;
    job->row.attempt = action->attempt;
    job->row.backend = jobs->backends[action->backend].name;
    job->row.started_ms = rd_clock_wall_ms();
    const struct rd_job_write change = {.kind = RD_WRITE_LEASE, .row = job->row};
    write_or_break(jobs, &change, action);
}

static void run(struct rd_jobs *jobs, struct job *job, const struct rd_queue_action *action)
{
    uint64_t now = rd_clock_mono_ns();
    job->started_ns = now;
    jobs->backends[action->backend].taken++;
    job->progress = 0;
    job->stop_wanted = false;
    job->slot =
        (struct rd_jobs_slot){action->job, action->backend, action->token, action->deadline_ns};
    rd_jobs_observe(&jobs->classes[job->class_].wait[job->row.lane], now - job->accepted_ns);
    if (job->now_only) {
        job->row.token = action->token;
        job->row.attempt = action->attempt;
        job->row.backend = jobs->backends[action->backend].name;
        job->row.started_ms = rd_clock_wall_ms();
        return; /* the caller of rd_jobs_take, or rd_jobs_done, starts it */
    }
    job->row.status = RD_STATUS_RUNNING;
    rd_jobs_publish_started(jobs, job);
    struct start *start = rd_mem_alloc(sizeof *start);
    if (start == NULL) {
        rd_jobs_break(jobs);
        return;
    }
    memcpy(start->id, job->row.id, sizeof start->id);
    start->slot = job->slot;
    *jobs->starts_end = start;
    jobs->starts_end = &start->next;
}

/* What each end is on the wire. */
static const struct {
    enum rd_job_status status;
    rd_err err;
    const char *text;
} ends[] = {
    [RD_END_COMPLETE] = {RD_STATUS_COMPLETE, RD_OK, NULL},
    [RD_END_ERROR] = {RD_STATUS_ERROR, RD_OK, NULL}, /* what the run said */
    [RD_END_CANCELLED] = {RD_STATUS_CANCELLED, RD_ERR_CANCELLED, "cancelled by its owner"},
    [RD_END_EXPIRED] = {RD_STATUS_CANCELLED, RD_ERR_EXPIRED, NULL},
    [RD_END_LOST] = {RD_STATUS_ERROR, RD_ERR_BACKEND_TIMEOUT,
                     "the engine gave no sign of life, as often as it may be tried"},
};

static void settle(struct rd_jobs *jobs, struct job *job, const struct rd_queue_action *action)
{
    struct rd_job_row *row = &job->row;
    row->status = ends[action->end].status;
    row->device_ns = action->device_ns;
    row->ended_ms = rd_clock_wall_ms();
    job->settled = true;
    jobs->ended[action->end]++;
    if (job->started_ns != 0) {
        rd_jobs_observe(&jobs->classes[job->class_].run[row->lane],
                        rd_clock_mono_ns() - job->started_ns);
    }
    if (action->end == RD_END_COMPLETE) {
        return; /* rd_jobs_done left the outputs in job->result */
    }
    rd_err err = ends[action->end].err == RD_OK ? job->err : ends[action->end].err;
    const struct rd_err_info *info = rd_err_info(err);
    const char *text = ends[action->end].text;
    text = text == NULL && action->end == RD_END_ERROR ? job->message : text;
    RD_AUTO_BUF struct rd_buf error;
    rd_buf_init(&error, RD_KIB(4));
    rd_buf_printf(&error, "{\"code\":\"%s\",\"message\":", info->code);
    rd_buf_json_str(&error, text == NULL ? info->message : text);
    rd_buf_printf(&error, ",\"retriable\":%s}", info->retriable ? "true" : "false");
    rd_mem_free(job->result);
    job->result = rd_buf_err(&error) == RD_OK ? rd_buf_steal(&error, NULL) : NULL;
    row->result = job->result;
}

static void write_end(struct rd_jobs *jobs, struct job *job, const struct rd_queue_action *action)
{
    settle(jobs, job, action);
    struct rd_job_write change = {.kind = RD_WRITE_END, .row = job->row};
    change.row.result = job->result == NULL ? "" : job->result;
    RD_AUTO_BUF struct rd_buf message;
    rd_buf_init(&message, RD_KIB(20)); /* Standard Webhooks: a message is small */
    if (job->row.webhook != NULL && job->row.webhook[0] != '\0') {
        rd_job_message(&change.row, jobs->public_url, &message);
        change.message = rd_buf_err(&message) == RD_OK ? rd_buf_cstr(&message) : NULL;
        rd_id_new("msg_", change.message_id);
    }
    write_or_break(jobs, &change, action);
}

static void perform(struct rd_jobs *jobs, const struct rd_queue_action *action)
{
    struct job *job = jobs->by_number[action->job];
    if (job == NULL) {
        return;
    }
    switch (action->kind) {
    case RD_ACT_WRITE_LEASE:
        write_lease(jobs, job, action);
        break;
    case RD_ACT_RUN:
        run(jobs, job, action);
        break;
    case RD_ACT_STOP:
        jobs->leases_lost += job->row.cancel ? 0 : 1; /* nobody asked for it */
        job->stop_wanted = true;
        if (job->stop != NULL) {
            job->stop(job->run);
        }
        break;
    case RD_ACT_WRITE_CANCEL: {
        const struct rd_job_write change = {.kind = RD_WRITE_CANCEL, .row = job->row};
        write_or_break(jobs, &change, action);
        break;
    }
    case RD_ACT_WRITE_END:
        write_end(jobs, job, action);
        break;
    case RD_ACT_RETRY:
        job->row.status = RD_STATUS_QUEUED;
        job->run = NULL;
        job->stop = NULL;
        rd_jobs_publish_position(jobs, job);
        if (action->wait_ns != 0) { /* else its next lease follows at once */
            const struct rd_job_write change = {.kind = RD_WRITE_RETRY, .row = job->row};
            write_or_break(jobs, &change, action);
        }
        break;
    case RD_ACT_FREE:
        rd_jobs_remove(jobs, job);
        break;
    }
}

/* For jitter and ties (splitmix64, Steele et al. 2014); nothing here is a secret, and a system call
 * for each step would be too much. */
static uint32_t draw(struct rd_jobs *jobs)
{
    uint64_t z = jobs->random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (uint32_t)(z >> 32);
}

void rd_jobs_step_new(struct rd_jobs *jobs, struct rd_queue_event *event, struct job *newborn,
                      struct rd_queue_result *ret)
{
    struct rd_queue_result more;
    struct rd_queue_result *result = ret;
    uint64_t now = rd_clock_mono_ns();
    event->random = draw(jobs);
    for (;;) {
        rd_queue_step(jobs->queue, event, now, result);
        if (newborn != NULL && result == ret && result->job != 0) {
            newborn->number = result->job;
            jobs->by_number[result->job] = newborn;
        }
        for (size_t i = 0; i < result->count; i++) {
            perform(jobs, &result->actions[i]);
        }
        if (!result->more) {
            break;
        }
        event->kind = RD_EV_TICK;
        result = &more;
    }
    if (result->next_ns < jobs->next_ns) {
        pthread_cond_signal(&jobs->wake);
    }
    jobs->next_ns = result->next_ns;
}

void rd_jobs_step(struct rd_jobs *jobs, struct rd_queue_event *event, struct rd_queue_result *ret)
{
    rd_jobs_step_new(jobs, event, NULL, ret);
}

/* ---- going, and reloads ---- */

static void tell_everything(struct rd_jobs *jobs)
{
    for (uint32_t i = 0; i < RD_QUEUE_TENANTS_MAX && jobs->tenants_count > 0; i++) {
        struct tenant *tenant = &jobs->tenants[i];
        if (tenant->owner == 0) {
            continue;
        }
        jobs->options.host.limits(jobs->options.host.ctx, tenant->name, &tenant->limits);
        struct rd_queue_event event = {
            .kind = RD_EV_TENANT, .tenant = i + 1, .limits = tenant->limits};
        struct rd_queue_result result;
        rd_jobs_step(jobs, &event, &result);
    }
    for (uint32_t b = 1; b <= jobs->backends_count; b++) {
        jobs->backends[b].ready =
            jobs->backends[b].slots > 0 && jobs->options.host.ready(jobs->options.host.ctx, b);
        rd_jobs_tell_backend(jobs, b);
    }
    for (uint32_t c = 1; c <= jobs->classes_count; c++) {
        rd_jobs_class_serves(jobs, c);
    }
}

void rd_jobs_reloaded(struct rd_jobs *jobs)
{
    rd_jobs_lock(jobs);
    tell_everything(jobs);
    rd_jobs_leave(jobs);
}

void rd_jobs_go(struct rd_jobs *jobs)
{
    rd_jobs_lock(jobs);
    jobs->going = true;
    tell_everything(jobs);
    rd_jobs_leave(jobs);
}

/* ---- the end ---- */

void rd_jobs_drain(struct rd_jobs *jobs)
{
    rd_jobs_lock(jobs);
    jobs->draining = true;
    jobs->held_until_ns = 0; /* see hold() */
    pthread_cond_signal(&jobs->wake);
    for (uint32_t b = 1; b <= jobs->backends_count; b++) {
        rd_jobs_tell_backend(jobs, b); /* without slots nothing starts */
    }
    rd_jobs_leave(jobs);
}

void rd_jobs_break_off(struct rd_jobs *jobs)
{
    rd_jobs_lock(jobs);
    for (uint32_t i = 1; i <= RD_QUEUE_JOBS_MAX && jobs->backends_count > 0; i++) {
        struct job *job = jobs->by_number[i];
        if (job == NULL) {
            continue;
        }
        job->stop_wanted = true; /* also of a run that is still being made: see rd_jobs_attach */
        if (job->stop != NULL) {
            job->stop(job->run);
        }
    }
    rd_jobs_leave(jobs);
}

unsigned rd_jobs_running(struct rd_jobs *jobs)
{
    struct rd_queue_counts counts;
    rd_jobs_lock(jobs);
    rd_queue_counts(jobs->queue, &counts);
    rd_jobs_leave(jobs);
    return counts.running;
}

static void *map(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void unmap(void *memory, size_t size)
{
    if (memory != NULL) {
        (void)munmap(memory, size);
    }
}

static const size_t by_number_size = (RD_QUEUE_JOBS_MAX + 1) * sizeof(struct job *);
static const size_t tenants_size = RD_QUEUE_TENANTS_MAX * sizeof(struct tenant);
static const size_t classes_size = RD_QUEUE_CLASSES_MAX * sizeof(struct class_);

void rd_jobs_close(struct rd_jobs *jobs)
{
    if (jobs == NULL) {
        return;
    }
    rd_jobs_writer_stop(jobs);
    for (size_t i = 0; i < jobs->by_id_cap; i++) {
        rd_jobs_job_free(jobs->by_id[i].job);
    }
    while (jobs->watches != NULL) {
        struct rd_jobs_watch *watch = jobs->watches;
        jobs->watches = watch->all_next;
        rd_mem_free(watch);
    }
    rd_mem_free(jobs->by_id);
    unmap(jobs->by_number, by_number_size);
    unmap(jobs->tenants, tenants_size);
    unmap(jobs->classes, classes_size);
    unmap(jobs->queue, rd_queue_size());
    rd_mem_free(jobs->public_url);
    (void)pthread_cond_destroy(&jobs->wake);
    (void)pthread_mutex_destroy(&jobs->lock);
    rd_mem_free(jobs);
}

/* ---- the beginning ---- */

struct restoring {
    struct rd_jobs *jobs;
    uint64_t now_ms;
    rd_err err;
};

/* What no row has that this program wrote is as good as anything: its engine will say so. */
static enum rd_task task_of(const struct rd_job_row *row)
{
    return row->task < RD_TASK_COUNT_ ? (enum rd_task)row->task : RD_TASK_T2I;
}

static enum rd_media media_of(const struct rd_job_row *row)
{
    return row->media < RD_MEDIA_COUNT_ ? (enum rd_media)row->media : RD_MEDIA_PNG;
}

/* A row that has not ended goes back into the queue. */
static bool restore(void *ctx, const struct rd_job_row *row)
{
    struct restoring *restoring = ctx;
    struct rd_jobs *jobs = restoring->jobs;
    const struct rd_jobs_ask ask = {
        .owner = row->owner,
        .tenant = row->tenant,
        .lane = (enum rd_lane)row->lane,
        .want = {row->model, row->kind, task_of(row), media_of(row)},
        .units = row->units,
    };
    struct job *job = rd_jobs_make(jobs, &ask, row);
    if (job == NULL || rd_jobs_insert(jobs, job) != RD_OK) {
        rd_jobs_job_free(job);
        restoring->err = RD_ERR_NO_MEMORY;
        return false;
    }
    job->row.status = RD_STATUS_QUEUED;
    /* Its time in the queue is counted by the wall clock over a restart, and from here on by the
     * monotonic one. What ran already may not expire any more. */
    uint64_t left_ms = 0;
    if (row->expires_ms != 0 && row->attempt == 0) {
        left_ms = row->expires_ms > restoring->now_ms ? row->expires_ms - restoring->now_ms : 1;
    }
    struct rd_queue_event event = {
        .kind = RD_EV_RESTORE,
        .tenant = job->tenant,
        .class_ = job->class_,
        .lane = ask.lane,
        .units = row->units,
        .ttl_ns = left_ms * 1000000,
        .attempt = row->attempt,
        .cancel = row->cancel,
    };
    struct rd_queue_result result;
    rd_jobs_step_new(jobs, &event, job, &result);
    restoring->err = job->number == 0 ? RD_ERR_CAPACITY : RD_OK;
    return restoring->err == RD_OK;
}

static rd_err load(struct rd_jobs *jobs, void *memory, struct rd_why *why)
{
    struct restoring restoring = {.jobs = jobs, .now_ms = rd_clock_wall_ms(), .err = RD_OK};
    struct rd_queue_config config = jobs->options.queue;
    rd_err err = rd_store_jobs_last(jobs->options.store, &jobs->next_n, &config.token_last);
    jobs->next_n++;
    jobs->queue = rd_queue_init(memory, &config);
    if (err == RD_OK) {
        err = rd_store_jobs_live(jobs->options.store, restore, &restoring);
        err = err == RD_OK ? restoring.err : err;
    }
    return err == RD_OK ? RD_OK
                        : rd_why_set(why, err, "the queued jobs cannot be read: %s",
                                     rd_err_info(err)->message);
}

rd_err rd_jobs_open(const struct rd_jobs_options *options, struct rd_jobs **ret, struct rd_why *why)
{
    struct rd_jobs *jobs = rd_mem_alloc(sizeof *jobs);
    pthread_condattr_t monotonic;
    if (jobs == NULL || pthread_mutex_init(&jobs->lock, NULL) != 0 ||
        pthread_condattr_init(&monotonic) != 0) {
        rd_mem_free(jobs);
        return RD_ERR_NO_MEMORY;
    }
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&jobs->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    jobs->options = *options;
    jobs->next_ns = UINT64_MAX;
    rd_id_random(&jobs->random, sizeof jobs->random);
    jobs->writes_end = &jobs->writes;
    jobs->starts_end = &jobs->starts;
    jobs->public_url = rd_mem_strdup(options->public_url);
    jobs->by_number = map(by_number_size);
    jobs->tenants = map(tenants_size);
    jobs->classes = map(classes_size);
    void *memory = map(rd_queue_size());
    rd_err err = jobs->public_url == NULL || jobs->by_number == NULL || jobs->tenants == NULL ||
                         jobs->classes == NULL || memory == NULL
                     ? RD_ERR_NO_MEMORY
                     : RD_OK;
    if (err == RD_OK) {
        err = load(jobs, memory, why);
    } else {
        unmap(memory, rd_queue_size());
    }
    err = err == RD_OK ? rd_jobs_writer_start(jobs) : err;
    if (err != RD_OK) {
        rd_jobs_close(jobs);
        return err;
    }
    *ret = jobs;
    return RD_OK;
}
