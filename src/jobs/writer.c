/* SPDX-License-Identifier: Apache-2.0
 *
 * The writer: one thread that gathers changes, makes a batch of them durable with one sync, tells
 * the queue, and then tells whoever waits. While one batch is being synced the next one gathers, so
 * under load many share a sync and alone nobody waits for others. It keeps the time as well.
 *
 * When the disk is full, new jobs are refused at once, and what belongs to jobs that were accepted
 * (leases, ends, wishes to cancel) is held and tried again each second: nothing that was promised
 * is dropped. When the store has failed for good, the driver breaks (rd_jobs_host.broken). */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "jobs/internal.h"

enum {
    BATCH_MAX = 512, /* changes of one sync: bounds how long the first of them waits */
    LOOK_MS = 100,   /* readiness, slow watchers, heartbeats */
    HOLD_MS = 1000,
    SWEEP_MS = 60000,
    SWEEP_ROWS = 1000,
};
static const uint64_t ms_ns = 1000000;
static const uint64_t day_ms = 86400000;

/* ---- one change with its texts in one block ---- */

static size_t room(const char *text, size_t len)
{
    return text == NULL ? 0 : len + 1;
}

static const char *pack(char **to, const char *text, size_t len)
{
    if (text == NULL) {
        return NULL;
    }
    char *start = *to;
    memcpy(start, text, len);
    start[len] = '\0';
    *to += len + 1;
    return start;
}

static size_t length(const char *text)
{
    return text == NULL ? 0 : strlen(text);
}

struct write *rd_jobs_write_new(const struct rd_job_write *change)
{
    const struct rd_job_row *row = &change->row;
    bool adds = change->kind == RD_WRITE_ADD;
    const char *request = adds ? row->request : NULL;
    const struct {
        const char *text;
        size_t len;
    } texts[] = {
        {row->tenant, length(row->tenant)},
        {row->model, length(row->model)},
        {request, row->request_len},
        {row->request_id, length(row->request_id)},
        {row->webhook, length(row->webhook)},
        {row->backend, length(row->backend)},
        {row->result, length(row->result)},
        {change->idempotency_key, length(change->idempotency_key)},
        {change->message, length(change->message)},
    };
    size_t size = 0;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size += room(texts[i].text, texts[i].len);
    }
    struct write *write = rd_mem_alloc(sizeof *write + size);
    if (write == NULL) {
        return NULL;
    }
    write->change = *change;
    struct rd_job_row *to = &write->change.row;
    char *at = (char *)(write + 1);
    to->tenant = pack(&at, texts[0].text, texts[0].len);
    to->model = pack(&at, texts[1].text, texts[1].len);
    to->request = pack(&at, texts[2].text, texts[2].len);
    to->request_id = pack(&at, texts[3].text, texts[3].len);
    to->webhook = pack(&at, texts[4].text, texts[4].len);
    to->backend = pack(&at, texts[5].text, texts[5].len);
    to->result = pack(&at, texts[6].text, texts[6].len);
    write->change.idempotency_key = pack(&at, texts[7].text, texts[7].len);
    write->change.message = pack(&at, texts[8].text, texts[8].len);
    return write;
}

void rd_jobs_write_add(struct rd_jobs *jobs, struct write *write)
{
    bool first = jobs->writes == NULL;
    write->next = NULL;
    *jobs->writes_end = write;
    jobs->writes_end = &write->next;
    if (first) {
        pthread_cond_signal(&jobs->wake);
    }
}

/* ---- after the sync ---- */

static void queue_event(struct rd_jobs *jobs, enum rd_queue_event_kind kind,
                        const struct write *write)
{
    struct rd_queue_event event = {.kind = kind, .job = write->job, .token = write->token};
    struct rd_queue_result result;
    rd_jobs_step(jobs, &event, &result);
}

static void answer_cancels(struct job *job, rd_err err, struct waiter **ret_list)
{
    while (job->cancels != NULL) {
        struct waiter *waiter = job->cancels;
        job->cancels = waiter->next;
        waiter->err = err;
        waiter->next = *ret_list;
        *ret_list = waiter;
    }
}

static void ended(struct rd_jobs *jobs, const struct write *write, struct waiter **waiters)
{
    struct job *job = jobs->by_number[write->job];
    if (job == NULL) {
        return;
    }
    bool cancelled = job->row.status == RD_STATUS_CANCELLED;
    queue_event(jobs, RD_EV_ENDED, write);
    if (write->change.message != NULL) {
        jobs->options.host.message(jobs->options.host.ctx);
    }
    jobs->by_number[job->number] = NULL;
    job->number = 0;
    job->settled = false;
    answer_cancels(job, cancelled ? RD_OK : RD_ERR_CONFLICT, waiters);
    rd_jobs_publish_end(jobs, job);
    rd_jobs_keep_ended(jobs, job);
}

/* A submission's row is written, or it is not: what the queue is told, and what its maker. */
static void added(struct rd_jobs *jobs, struct write *write)
{
    struct job *job = jobs->by_number[write->job];
    const struct rd_job_write *change = &write->change;
    bool adopted = change->row.status == RD_STATUS_RUNNING;
    if (change->err != RD_OK || change->existing[0] != '\0') {
        if (adopted) { /* its answer says so; the run is not wanted any more */
            queue_event(jobs, RD_EV_CANCEL, write);
            return;
        }
        queue_event(jobs, RD_EV_LOST, write);
        if (job != NULL) {
            rd_jobs_remove(jobs, job);
        }
        return;
    }
    jobs->accepted++;
    queue_event(jobs, RD_EV_DURABLE, write);
}

static void post(struct rd_jobs *jobs, struct write *write, struct waiter **waiters)
{
    struct job *job = jobs->by_number[write->job];
    switch (write->change.kind) {
    case RD_WRITE_ADD:
        added(jobs, write);
        break;
    case RD_WRITE_LEASE:
        queue_event(jobs, write->change.err == RD_OK ? RD_EV_LEASED : RD_EV_UNLEASED, write);
        break;
    case RD_WRITE_CANCEL:
        if (job != NULL) {
            answer_cancels(job, write->change.err, waiters);
        }
        break;
    case RD_WRITE_END:
        ended(jobs, write, waiters);
        break;
    case RD_WRITE_RETRY:
        break; /* nobody waits for it */
    case RD_WRITE_DELIVERY:
        break; /* webhook/ writes these itself */
    }
}

/* Without the lock: callbacks may come back in. */
static void tell_created(struct rd_jobs *jobs, struct write *write)
{
    if (write->created == NULL) {
        return;
    }
    struct rd_jobs_created created = {.id = write->change.row.id};
    const char *existing = write->change.existing;
    if (write->change.err == RD_OK && existing[0] != '\0') {
        created.id = existing;
        created.existing = true;
    }
    rd_jobs_where(jobs, &created);
    write->created(write->ctx, write->change.err, write->change.err == RD_OK ? &created : NULL);
}

static void tell(struct rd_jobs *jobs, struct write *list, struct waiter *waiters)
{
    while (waiters != NULL) {
        struct waiter *waiter = waiters;
        waiters = waiter->next;
        waiter->fn(waiter->ctx, waiter->err);
        rd_mem_free(waiter);
    }
    while (list != NULL) {
        struct write *write = list;
        list = write->next;
        tell_created(jobs, write);
        rd_mem_free(write);
    }
}

/* ---- looks at keys ---- */

bool rd_jobs_look_add(struct rd_jobs *jobs, struct write *look)
{
    if (look == NULL || jobs->asked_count == RD_JOBS_LOOKS_MAX) {
        rd_mem_free(look);
        return false;
    }
    look->next = jobs->asked;
    jobs->asked = look;
    jobs->asked_count++;
    pthread_cond_signal(&jobs->wake);
    return true;
}

/* A submission with a key was refused: a job that the key has already is its answer all the same.
 */
static void tell_looked_up(struct rd_jobs *jobs, struct write *look)
{
    if (!look->unknown) {
        tell_created(jobs, look);
        return;
    }
    const char *text = NULL;
    const struct rd_jobs_created refused = {.id = "", .admit = look->refused};
    look->created(look->ctx, rd_jobs_refusal(look->refused, &text), &refused);
}

/* Takes the lock away for as long as it reads and tells. Refusals are counted before they are told:
 * who has heard of one finds it in the metrics. */
static void look_up_keys(struct rd_jobs *jobs)
{
    struct write *list = RD_STEAL(jobs->asked);
    jobs->asked_count = 0;
    rd_jobs_leave(jobs);
    for (struct write *look = list; look != NULL; look = look->next) {
        look->unknown = rd_store_job_key(jobs->options.store, &look->change) != RD_OK;
    }
    rd_jobs_lock(jobs);
    for (const struct write *look = list; look != NULL; look = look->next) {
        jobs->refused[look->refused] += look->unknown;
    }
    rd_jobs_leave(jobs);
    while (list != NULL) {
        struct write *look = list;
        list = look->next;
        tell_looked_up(jobs, look);
        rd_mem_free(look);
    }
    rd_jobs_lock(jobs);
}

/* ---- one batch ---- */

/* The batch could not be written. New jobs are refused; the rest is held, in its order, and who
 * waits for a cancelling hears that it is not durable yet. */
static struct write *hold(struct rd_jobs *jobs, struct write *list, rd_err err,
                          struct waiter **waiters)
{
    struct write *refused = NULL;
    struct write **held = &jobs->held;
    while (*held != NULL) {
        held = &(*held)->next;
    }
    while (list != NULL) {
        struct write *write = list;
        struct job *job = jobs->by_number[write->job];
        list = write->next;
        write->next = NULL;
        if (job != NULL) {
            answer_cancels(job, err, waiters);
        }
        /* A shutdown waits for slots, so what only waits for its lease gives its slot back. */
        bool lease = write->change.kind == RD_WRITE_LEASE && jobs->draining;
        if (write->change.kind == RD_WRITE_ADD || lease) {
            write->change.err = err;
            write->next = refused;
            refused = write;
        } else {
            *held = write;
            held = &write->next;
        }
    }
    jobs->held_until_ns = rd_clock_mono_ns() + HOLD_MS * ms_ns;
    return refused;
}

static void write_batch(struct rd_jobs *jobs, struct write *list)
{
    struct rd_job_write *changes = jobs->batch;
    size_t count = 0;
    for (struct write *write = list; write != NULL; write = write->next) {
        changes[count++] = write->change;
    }
    rd_err err = rd_store_jobs_apply(jobs->options.store, changes, count);
    struct waiter *waiters = NULL;
    rd_jobs_lock(jobs);
    if (err == RD_OK) {
        size_t i = 0;
        for (struct write *write = list; write != NULL; write = write->next, i++) {
            write->change.err = changes[i].err;
            memcpy(write->change.existing, changes[i].existing, sizeof changes[i].existing);
        }
    } else {
        list = hold(jobs, list, err, &waiters);
    }
    for (struct write *write = list; write != NULL; write = write->next) {
        post(jobs, write, &waiters);
    }
    if (!rd_store_healthy(jobs->options.store)) {
        rd_jobs_break(jobs);
    }
    rd_jobs_leave(jobs);
    tell(jobs, list, waiters);
}

/* Takes at most a batch from the front, what was held first. Under the lock. */
static struct write *take(struct rd_jobs *jobs, uint64_t now)
{
    if (jobs->held != NULL && now >= jobs->held_until_ns) {
        struct write **end = &jobs->held;
        while (*end != NULL) {
            end = &(*end)->next;
        }
        *end = jobs->writes;
        if (jobs->writes == NULL) {
            jobs->writes_end = end;
        }
        jobs->writes = jobs->held;
        jobs->held = NULL;
    }
    struct write *list = jobs->writes;
    struct write **end = &jobs->writes;
    for (size_t n = 0; n < BATCH_MAX && *end != NULL; n++) {
        end = &(*end)->next;
    }
    jobs->writes = *end;
    *end = NULL;
    if (jobs->writes == NULL) {
        jobs->writes_end = &jobs->writes;
    }
    return list;
}

/* ---- the thread ---- */

static void tend(struct rd_jobs *jobs, uint64_t now)
{
    if (now >= jobs->next_ns) {
        struct rd_queue_event event = {.kind = RD_EV_TICK};
        struct rd_queue_result result;
        rd_jobs_step(jobs, &event, &result);
    }
}

static void wait_until(struct rd_jobs *jobs, uint64_t until)
{
    const struct timespec at = {.tv_sec = (time_t)(until / 1000000000),
                                .tv_nsec = (long)(until % 1000000000)};
    (void)pthread_cond_timedwait(&jobs->wake, &jobs->lock, &at);
}

static void sweep(struct rd_jobs *jobs)
{
    uint64_t now = rd_clock_wall_ms();
    uint64_t keys = (uint64_t)jobs->options.idempotency_hours * 3600000;
    uint64_t keep = jobs->options.keep_days * day_ms;
    bool more = true;
    for (unsigned turns = 0; more && turns < 100; turns++) {
        rd_err err =
            rd_store_jobs_sweep(jobs->options.store, now > keys ? now - keys : 0,
                                keep == 0 || now < keep ? 0 : now - keep, SWEEP_ROWS, &more);
        more = more && err == RD_OK;
    }
}

static void *writer(void *ctx)
{
    struct rd_jobs *jobs = ctx;
    uint64_t look_ns = 0;
    uint64_t sweep_ns = rd_clock_mono_ns() + SWEEP_MS * ms_ns;
    rd_jobs_lock(jobs);
    for (;;) {
        uint64_t now = rd_clock_mono_ns();
        tend(jobs, now);
        if (now >= look_ns && jobs->going) {
            look_ns = now + LOOK_MS * ms_ns;
            rd_jobs_poll(jobs);
            rd_jobs_tend_watches(jobs, now);
            rd_jobs_leave(jobs);
            jobs->options.host.tick(jobs->options.host.ctx);
            rd_jobs_lock(jobs);
        }
        struct write *list = take(jobs, now);
        if (list != NULL) {
            rd_jobs_leave(jobs);
            write_batch(jobs, list);
            rd_jobs_lock(jobs);
            continue;
        }
        if (jobs->asked != NULL) {
            look_up_keys(jobs);
            continue;
        }
        if (jobs->closing) {
            break;
        }
        if (now >= sweep_ns && !jobs->broken) {
            sweep_ns = now + SWEEP_MS * ms_ns;
            rd_jobs_leave(jobs);
            sweep(jobs);
            rd_jobs_lock(jobs);
            continue;
        }
        if (jobs->starts != NULL) { /* a TICK has started something */
            rd_jobs_leave(jobs);
            rd_jobs_lock(jobs);
            continue;
        }
        uint64_t until = now + LOOK_MS * ms_ns;
        wait_until(jobs, jobs->next_ns < until ? jobs->next_ns : until);
    }
    rd_jobs_leave(jobs);
    return NULL;
}

rd_err rd_jobs_writer_start(struct rd_jobs *jobs)
{
    jobs->batch = rd_mem_alloc_array(BATCH_MAX, sizeof *jobs->batch);
    jobs->writer_runs =
        jobs->batch != NULL && pthread_create(&jobs->writer, NULL, writer, jobs) == 0;
    return jobs->writer_runs ? RD_OK : RD_ERR_NO_MEMORY;
}

/* What is not written when the store has failed is told so. */
void rd_jobs_writer_stop(struct rd_jobs *jobs)
{
    if (jobs->writer_runs) {
        rd_jobs_lock(jobs);
        jobs->closing = true;
        pthread_cond_signal(&jobs->wake);
        rd_jobs_leave(jobs);
        (void)pthread_join(jobs->writer, NULL);
        jobs->writer_runs = false;
    }
    for (struct write *list = jobs->writes; list != NULL; list = list->next) {
        list->change.err = RD_ERR_STORAGE;
    }
    tell(jobs, RD_STEAL(jobs->writes), NULL);
    tell(jobs, RD_STEAL(jobs->held), NULL);
    jobs->writes_end = &jobs->writes;
    rd_mem_free(RD_STEAL(jobs->batch));
}
