/* SPDX-License-Identifier: Apache-2.0
 *
 * The simulated store: one row a job. Writes gather while a sync runs and share the next one. Only
 * what is synced is acknowledged to the queue. In a crash the disk keeps, of the writes that were
 * not acknowledged, the first so many: none, all, or any number between. */
#include "sim.h"

static struct write *at(struct world *w, uint32_t index)
{
    return &w->writes[(w->writes_first + index) % WRITES];
}

static void begin_sync(struct world *w)
{
    if (w->syncing == 0 && w->writes_count != 0) {
        w->syncing = w->writes_count;
        sim_happen(w, sim_between(w, MS / 5, 5 * MS), HAPPEN_SYNC, 0);
    }
}

void sim_write(struct world *w, struct write write)
{
    if (w->writes_count == WRITES) {
        sim_broken(w, "the simulator's list of writes is large enough", write.id);
        return;
    }
    *at(w, w->writes_count) = write;
    w->writes_count++;
    begin_sync(w);
}

static void to_disk(struct world *w, const struct write *write)
{
    struct job *job = &w->jobs[write->id];
    if (write->fails) {
        return;
    }
    if (write->kind == WRITE_INSERT ? job->row : !job->row || job->row_ended) {
        sim_broken(w, "a row is made once, and an ended one is never written again", write->id);
    }
    switch (write->kind) {
    case WRITE_INSERT:
        job->row = true;
        job->row_attempt = write->attempt;
        break;
    case WRITE_LEASE:
        if (write->attempt != job->row_attempt + 1) {
            sim_broken(w, "each lease is one more than its row says", write->id);
        }
        job->row_attempt = write->attempt;
        break;
    case WRITE_CANCEL:
        job->row_cancel = true;
        break;
    case WRITE_END:
        job->row_ended = true;
        job->row_end = write->end;
        break;
    }
}

/* The queue and the client hear of it. */
static void acknowledge(struct world *w, const struct write *write)
{
    struct job *job = &w->jobs[write->id];
    struct rd_queue_event event = {.job = write->number, .token = write->token};
    switch (write->kind) {
    case WRITE_INSERT:
        job->told = job->told || !write->fails;
        event.kind = write->fails ? RD_EV_LOST : RD_EV_DURABLE;
        break;
    case WRITE_LEASE:
        event.kind = write->fails ? RD_EV_UNLEASED : RD_EV_LEASED;
        break;
    case WRITE_CANCEL:
        job->cancel_told = true;
        return;
    case WRITE_END:
        job->cancel_told = job->cancel_told || job->cancel;
        event.kind = RD_EV_ENDED;
        break;
    }
    sim_step(w, &event, write->id);
}

void sim_synced(struct world *w)
{
    const uint32_t synced = w->syncing;
    for (uint32_t i = 0; i < synced; i++) {
        to_disk(w, at(w, i));
    }
    for (uint32_t i = 0; i < synced && w->broken == NULL; i++) {
        const struct write write = *at(w, 0);
        w->writes_first = (w->writes_first + 1) % WRITES;
        w->writes_count--;
        acknowledge(w, &write);
    }
    w->syncing = 0;
    begin_sync(w);
}

void sim_store_crash(struct world *w)
{
    const uint32_t kept = sim_below(w, w->writes_count + 1);
    for (uint32_t i = 0; i < kept; i++) {
        to_disk(w, at(w, i));
    }
    w->writes_count = 0;
    w->syncing = 0;
}
