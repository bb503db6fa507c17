/* SPDX-License-Identifier: Apache-2.0
 *
 * What the queue asks of the gateway (struct rd_jobs_host): to run a job, to know its backends, its
 * tenants' limits. A run is made on the pool from what the store has: the submission is read as it
 * was when it came, its pictures are loaded, and the run answers to the queue. */
#include "gateway/jobrun.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "gateway/submission.h"
#include "gateway/waits.h"

struct order {
    struct rd_gateway *gateway;
    struct rd_jobs_slot slot;
    char id[RD_ID_MAX];
    struct rd_run *run;
    rd_err err;
    char message[256];
};

/* ---- ends that come before the engine ---- */

static void give_up(struct order *order)
{
    const struct rd_jobs_outcome outcome = {
        .outcome = rd_err_info(order->err)->retriable ? RD_OUTCOME_FAILED_AGAIN : RD_OUTCOME_FAILED,
        .err = order->err,
        .message = order->message[0] == '\0' ? NULL : order->message,
    };
    (void)rd_jobs_done(order->gateway->jobs, &order->slot, &outcome, NULL);
    rd_jobs_slot_free(order->gateway->jobs, order->slot.backend);
    rd_run_free(order->run);
}

static void note(struct order *order, rd_err err, const struct rd_problems *problems)
{
    order->err = err;
    if (problems->count > 0) {
        (void)snprintf(order->message, sizeof order->message, "%s%s%s", problems->list[0].field,
                       problems->list[0].field[0] == '\0' ? "" : ": ", problems->list[0].message);
    }
}

/* ---- from the row to a run ---- */

/* Under the store's lock: quick. */
static void read_row(void *ctx, const struct rd_job_row *row)
{
    struct order *order = ctx;
    struct rd_run *run = order->run;
    struct rd_submission submission;
    struct rd_problems problems = {.count = 0};
    run->owner = row->owner;
    run->media = (enum rd_media)row->media;
    (void)snprintf(run->request_id, sizeof run->request_id, "%s", row->request_id);
    rd_err err = rd_submission_read(run, row->request, row->request_len, NULL, row->seed,
                                    &submission, &problems);
    run->priority = (unsigned)submission.lane + 1;
    rd_submission_done(&submission);
    if (err != RD_OK) { /* the catalogue or the configuration has changed since it was accepted */
        note(order, err, &problems);
    }
}

static void load_sources(struct order *order)
{
    struct rd_run *run = order->run;
    struct rd_problems problems = {.count = 0};
    const struct rd_sources_for of = {order->gateway, run->runtime, &run->arena, NULL};
    rd_err err = rd_sources_load(&of, run->generation, &run->sources, &problems);
    if (err != RD_OK) {
        note(order, err, &problems);
    }
}

static void start(void *ctx)
{
    struct order *order = ctx;
    struct rd_gateway *gateway = order->gateway;
    struct rd_runtime *runtime = rd_gateway_runtime(gateway);
    order->run = rd_run_new(gateway, runtime);
    rd_runtime_unref(runtime);
    order->err = order->run == NULL ? RD_ERR_NO_MEMORY : RD_OK;
    if (order->err == RD_OK) {
        rd_err err = rd_store_job_get(gateway->store, 0, order->id, read_row, order);
        order->err = err == RD_OK ? order->err : err;
    }
    if (order->err == RD_OK) {
        load_sources(order);
    }
    if (order->err != RD_OK) {
        give_up(order);
        rd_mem_free(order);
        return;
    }
    struct rd_run *run = order->run;
    run->slot = order->slot;
    atomic_store(&run->whose, RD_RUN_QUEUES);
    rd_run_attach(run);
    rd_mem_free(order);
    rd_run_start(run);
}

/* ---- the host ---- */

static void host_run(void *ctx, const char *id, const struct rd_jobs_slot *slot)
{
    struct rd_gateway *gateway = ctx;
    struct order *order = rd_mem_alloc(sizeof *order);
    if (order != NULL) {
        order->gateway = gateway;
        order->slot = *slot;
        (void)snprintf(order->id, sizeof order->id, "%s", id);
        /* Loading may wait for another host's picture: the fetchers' threads do that anyway. */
        if (rd_pool_submit(gateway->starters, start, order) == RD_OK) {
            return;
        }
    }
    rd_mem_free(order);
    const struct rd_jobs_outcome outcome = {.outcome = RD_OUTCOME_FAILED_AGAIN,
                                            .err = RD_ERR_CAPACITY};
    (void)rd_jobs_done(gateway->jobs, slot, &outcome, NULL);
    rd_jobs_slot_free(gateway->jobs, slot->backend);
}

static bool host_serves(void *ctx, uint32_t number, const struct rd_jobs_want *want)
{
    struct rd_runtime *runtime = rd_gateway_runtime(ctx);
    const struct rd_backend *backend = rd_runtime_backend(runtime, number);
    struct rd_engine_capabilities can = {.tasks = 0};
    if (backend != NULL && rd_backend_serves(backend, want->model, want->kind)) {
        backend->ops->capabilities(backend->engine, want->model, &can);
    }
    bool serves = (can.tasks >> want->task & 1) != 0 && (can.media >> want->media & 1) != 0;
    rd_runtime_unref(runtime);
    return serves;
}

static bool host_ready(void *ctx, uint32_t number)
{
    struct rd_runtime *runtime = rd_gateway_runtime(ctx);
    const struct rd_backend *backend = rd_runtime_backend(runtime, number);
    struct rd_engine_health health = {.ready = false};
    if (backend != NULL) {
        backend->ops->health(backend->engine, &health);
    }
    rd_runtime_unref(runtime);
    return health.ready;
}

static void host_limits(void *ctx, const char *tenant, struct rd_tenant_limits *ret)
{
    struct rd_runtime *runtime = rd_gateway_runtime(ctx);
    const struct rd_config_limits *limits = rd_config_limits_of(runtime->config, tenant);
    *ret = (struct rd_tenant_limits){
        .rate = {limits->rate == 0 ? RD_BUCKET_UNLIMITED : limits->rate, limits->burst},
        .concurrency = limits->concurrency,
        .depth = limits->queue_depth,
        .high = limits->high,
    };
    rd_runtime_unref(runtime);
}

static void host_tick(void *ctx)
{
    struct rd_gateway *gateway = ctx;
    rd_waits_tick(gateway->waits);
}

static void host_message(void *ctx)
{
    struct rd_gateway *gateway = ctx;
    rd_webhook_wake(gateway->webhooks);
}

static void host_broken(void *ctx)
{
    struct rd_gateway *gateway = ctx;
    atomic_store(&gateway->broken, true); /* main looks, and stops */
}

/* The queue hears of all this only with rd_jobs_reloaded. */
static rd_err number_backends(struct rd_gateway *gateway, struct rd_runtime *fresh)
{
    enum { LEASE_GRACE_S = 30, LEASE_UNKNOWN_S = 3600 };
    const uint64_t second_ns = 1000000000;
    for (size_t i = 0; i < fresh->backends_count; i++) {
        struct rd_backend *backend = &fresh->backends[i];
        const struct rd_engine_config *engine = &backend->config->engine;
        /* An engine gives up by itself at its timeout: a run is lost only well after that. */
        uint64_t lease = engine->timeout_ms == 0
                             ? LEASE_UNKNOWN_S * second_ns
                             : engine->timeout_ms * (second_ns / 1000) + LEASE_GRACE_S * second_ns;
        const struct rd_jobs_backend known = {.name = engine->name,
                                              .slots = engine->slots,
                                              .weight = backend->config->weight,
                                              .lease_ns = lease};
        RD_TRY(rd_jobs_backend(gateway->jobs, &known, &backend->number));
    }
    return RD_OK;
}

/* Those that are gone retire after the others have taken over: what serves a model is never less
 * than in one of the two. A run that was given to one of them in between goes on elsewhere. */
static void retire(struct rd_gateway *gateway, const struct rd_runtime *old,
                   struct rd_runtime *fresh)
{
    for (size_t i = 0; i < old->backends_count; i++) {
        const struct rd_jobs_backend gone = {.name = old->backends[i].config->engine.name};
        uint32_t number;
        if (rd_runtime_backend(fresh, old->backends[i].number) == NULL &&
            rd_jobs_backend(gateway->jobs, &gone, &number) != RD_OK) {
            rd_log(RD_LOG_ERROR, "a backend that is gone cannot retire", NULL); /* cannot be */
        }
    }
}

rd_err rd_jobrun_switch(struct rd_gateway *gateway, struct rd_runtime *fresh)
{
    RD_TRY(number_backends(gateway, fresh));
    pthread_mutex_lock(&gateway->runtime_lock);
    struct rd_runtime *old = gateway->runtime;
    gateway->runtime = fresh;
    pthread_mutex_unlock(&gateway->runtime_lock);
    rd_jobs_reloaded(gateway->jobs);
    retire(gateway, old, fresh);
    rd_jobs_reloaded(gateway->jobs);
    rd_runtime_unref(old);
    return RD_OK;
}

rd_err rd_jobrun_open(struct rd_gateway *gateway, struct rd_why *why)
{
    const struct rd_config *config = gateway->runtime->config;
    const struct rd_jobs_options options = {
        .store = gateway->store,
        .queue =
            {
                .attempts_max = 4,
                .retry_first_ns = 1000000000,
                .retry_max_ns = 60 * (uint64_t)1000000000,
                .stop_patience_ns = 30 * (uint64_t)1000000000,
                .deadline_ns = config->jobs_deadline_ms * (uint64_t)1000000,
            },
        .host = {gateway, host_run, host_serves, host_ready, host_limits, host_tick, host_message,
                 host_broken},
        .public_url = gateway->public_url,
        .keep_days = config->keep_days,
        .idempotency_hours = config->idempotency_hours,
    };
    RD_TRY(rd_waits_new(&gateway->waits));
    RD_TRY(rd_jobs_open(&options, &gateway->jobs, why));
    return number_backends(gateway, gateway->runtime);
}
