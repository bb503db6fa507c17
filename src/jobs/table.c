/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs by the queue's number and by id; the ended ones that are still kept; tenants and classes. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "jobs/internal.h"

enum { BY_ID_FIRST = 1024 };

/* Ids are random in their last digits, and nobody but us makes them: no keyed hash is needed. */
static uint32_t hash_of(const char *id)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (const char *p = id; *p != '\0'; p++) {
        hash = (hash ^ (uint8_t)*p) * 1099511628211u;
    }
    return (uint32_t)(hash ^ hash >> 32);
}

struct job *rd_jobs_find(struct rd_jobs *jobs, const char *id)
{
    if (jobs->by_id_cap == 0) {
        return NULL;
    }
    size_t mask = jobs->by_id_cap - 1;
    uint32_t hash = hash_of(id);
    for (size_t i = hash & mask; jobs->by_id[i].job != NULL; i = (i + 1) & mask) {
        if (jobs->by_id[i].hash == hash && strcmp(jobs->by_id[i].job->row.id, id) == 0) {
            return jobs->by_id[i].job;
        }
    }
    return NULL;
}

static void put(struct rd_jobs *jobs, const struct by_id *entry)
{
    size_t mask = jobs->by_id_cap - 1;
    size_t i = entry->hash & mask;
    while (jobs->by_id[i].job != NULL) {
        i = (i + 1) & mask;
    }
    jobs->by_id[i] = *entry;
}

rd_err rd_jobs_insert(struct rd_jobs *jobs, struct job *job)
{
    if (jobs->by_id_count * 2 >= jobs->by_id_cap) {
        size_t old_cap = jobs->by_id_cap;
        size_t cap = old_cap == 0 ? BY_ID_FIRST : old_cap * 2;
        struct by_id *bigger = rd_mem_alloc_array(cap, sizeof *bigger);
        if (bigger == NULL) {
            return RD_ERR_NO_MEMORY;
        }
        struct by_id *old = jobs->by_id;
        jobs->by_id = bigger;
        jobs->by_id_cap = cap;
        for (size_t i = 0; i < old_cap; i++) {
            if (old[i].job != NULL) {
                put(jobs, &old[i]);
            }
        }
        rd_mem_free(old);
    }
    const struct by_id entry = {job, hash_of(job->row.id)};
    put(jobs, &entry);
    jobs->by_id_count++;
    return RD_OK;
}

/* Linear probing without tombstones: what stood behind the hole moves up. */
static void remove_id(struct rd_jobs *jobs, const struct job *job)
{
    if (jobs->by_id_cap == 0) {
        return;
    }
    size_t mask = jobs->by_id_cap - 1;
    size_t hole = hash_of(job->row.id) & mask;
    while (jobs->by_id[hole].job != job) {
        if (jobs->by_id[hole].job == NULL) {
            return; /* it is not in the table: a run of the sync tier */
        }
        hole = (hole + 1) & mask;
    }
    jobs->by_id[hole].job = NULL;
    jobs->by_id_count--;
    for (size_t i = (hole + 1) & mask; jobs->by_id[i].job != NULL; i = (i + 1) & mask) {
        size_t home = jobs->by_id[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            jobs->by_id[hole] = jobs->by_id[i];
            jobs->by_id[i].job = NULL;
            hole = i;
        }
    }
}

void rd_jobs_job_free(struct job *job)
{
    if (job == NULL) {
        return;
    }
    rd_mem_free(job->request);
    rd_mem_free(job->webhook);
    rd_mem_free(job->request_id);
    rd_mem_free(job->result);
    rd_mem_free(job->message);
    rd_jobs_ring_free(job->ring);
    rd_mem_free(job);
}

void rd_jobs_remove(struct rd_jobs *jobs, struct job *job)
{
    while (job->watches != NULL) { /* their fn got the last event, or never will: nothing follows */
        struct rd_jobs_watch *watch = job->watches;
        job->watches = watch->next;
        watch->job = NULL;
        watch->link = NULL;
    }
    if (job->number != 0) {
        jobs->by_number[job->number] = NULL;
    }
    if (job->request != NULL) {
        jobs->requests_kept -= strlen(job->request) + 1;
    }
    remove_id(jobs, job);
    rd_jobs_job_free(job);
}

void rd_jobs_keep_ended(struct rd_jobs *jobs, struct job *job)
{
    job->ended_next = NULL;
    job->ended_prev = jobs->ended_newest;
    *(jobs->ended_newest == NULL ? &jobs->ended_oldest : &jobs->ended_newest->ended_next) = job;
    jobs->ended_newest = job;
    jobs->ended_count++;
    /* One that somebody still has to be told about is not forgotten; it goes to the back. */
    for (size_t turns = 0; jobs->ended_count > RD_JOBS_ENDED_KEPT && turns < 2; turns++) {
        struct job *oldest = jobs->ended_oldest;
        jobs->ended_oldest = oldest->ended_next;
        *(oldest->ended_next == NULL ? &jobs->ended_newest : &oldest->ended_next->ended_prev) =
            NULL;
        if (oldest->watches == NULL) {
            jobs->ended_count--;
            rd_jobs_remove(jobs, oldest);
            continue;
        }
        oldest->ended_next = NULL;
        oldest->ended_prev = jobs->ended_newest;
        *(jobs->ended_newest == NULL ? &jobs->ended_oldest : &jobs->ended_newest->ended_next) =
            oldest;
        jobs->ended_newest = oldest;
    }
}

struct job *rd_jobs_at(struct rd_jobs *jobs, const struct rd_jobs_slot *slot)
{
    struct job *job = slot->job <= RD_QUEUE_JOBS_MAX ? jobs->by_number[slot->job] : NULL;
    return job != NULL && job->row.token == slot->token ? job : NULL;
}

rd_err rd_jobs_tenant(struct rd_jobs *jobs, uint64_t owner, const char *name, uint32_t *ret)
{
    /* Owners are small numbers given in order, so this is nearly always the first look. */
    for (uint64_t i = 0; i < RD_QUEUE_TENANTS_MAX; i++) {
        uint32_t at = (uint32_t)((owner + i) % RD_QUEUE_TENANTS_MAX);
        struct tenant *tenant = &jobs->tenants[at];
        if (tenant->owner == owner) {
            *ret = at + 1;
            return RD_OK;
        }
        if (tenant->owner != 0) {
            continue;
        }
        tenant->owner = owner;
        (void)snprintf(tenant->name, sizeof tenant->name, "%s", name);
        jobs->tenants_count++;
        jobs->options.host.limits(jobs->options.host.ctx, tenant->name, &tenant->limits);
        struct rd_queue_event event = {
            .kind = RD_EV_TENANT, .tenant = at + 1, .limits = tenant->limits};
        struct rd_queue_result result;
        rd_jobs_step(jobs, &event, &result);
        *ret = at + 1;
        return RD_OK;
    }
    return RD_ERR_CAPACITY;
}

/* Tells the queue which backends serve the class. */
void rd_jobs_class_serves(struct rd_jobs *jobs, uint32_t class_)
{
    const struct class_ *c = &jobs->classes[class_];
    for (uint32_t b = 1; b <= jobs->backends_count; b++) {
        const struct rd_jobs_want want = {c->model, c->kind, c->task, c->media};
        bool serves = jobs->backends[b].slots > 0 &&
                      jobs->options.host.serves(jobs->options.host.ctx, b, &want);
        struct rd_queue_event event = {
            .kind = RD_EV_CLASS, .class_ = class_, .backend = b, .serves = serves};
        struct rd_queue_result result;
        rd_jobs_step(jobs, &event, &result);
    }
}

rd_err rd_jobs_class(struct rd_jobs *jobs, const struct rd_jobs_want *want, uint32_t *ret)
{
    for (uint32_t i = 1; i <= jobs->classes_count; i++) {
        const struct class_ *c = &jobs->classes[i];
        if (c->kind == want->kind && c->task == want->task && c->media == want->media &&
            strcmp(c->model, want->model) == 0) {
            *ret = i;
            return RD_OK;
        }
    }
    if (jobs->classes_count == RD_QUEUE_CLASSES_MAX - 1 ||
        strlen(want->model) >= RD_MODEL_NAME_MAX) {
        return RD_ERR_CAPACITY;
    }
    struct class_ *c = &jobs->classes[++jobs->classes_count];
    (void)snprintf(c->model, sizeof c->model, "%s", want->model);
    c->kind = want->kind;
    c->task = want->task;
    c->media = want->media;
    *ret = jobs->classes_count;
    rd_jobs_class_serves(jobs, *ret);
    return RD_OK;
}
