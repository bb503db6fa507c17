/* SPDX-License-Identifier: Apache-2.0
 *
 * One generation being computed: from a slot to outputs that are committed. Both tiers make runs:
 * generate.c for a client that waits (the run lives beside its exchange), jobrun.c for a job of the
 * queue. A run that a client waits for can become a job while it computes (rd_run_adopt): then it
 * answers to the queue instead.
 *
 *   make, parse, load        the request becomes a struct rd_generation in the run's own arena
 *   start                    the engine delivers bytes into the store; each is looked at on its way
 *                            (media/check.h) unless the engine is trusted         engine's thread
 *   commit                   statements written, outputs committed together      engine's thread
 *   over                     `done` for a client, rd_jobs_done for the queue     store's committer
 *
 * A client's run whose backend fails may get a slot on another one (rd_jobs_done): what it
 * delivered is dropped, and it starts there with the same generation. A job's attempts are runs of
 * their own. Nothing of a run that failed is stored. `pending` counts what the end waits for: the
 * engine's done() and each commit; whoever brings it to zero ends it. */
#ifndef RD_GATEWAY_RUN_H
#define RD_GATEWAY_RUN_H

#include "gateway/gateway.h"
#include "gateway/sources.h"
#include "media/check.h"

struct rd_output {
    struct rd_run *run;
    struct rd_cas_writer *writer; /* owned until committed */
    struct rd_media_check *check; /* owned; NULL: the engine is trusted */
    struct rd_buf statement;
    struct rd_hash hash;
    uint64_t size;
    bool sealed;
};

struct rd_run {
    struct rd_gateway *gateway;
    struct rd_runtime *runtime;        /* of the request: one reference */
    struct rd_runtime *engine_runtime; /* of the backend: one reference, from the start on */
    struct rd_arena arena;             /* generation and all it points to */
    uint64_t owner;
    char request_id[RD_ID_MAX];
    char traceparent[129]; /* "" for none */
    const struct rd_model *model;
    enum rd_modality modality;
    enum rd_task task;
    enum rd_media media;
    struct rd_generation *generation;
    struct rd_sources sources;
    unsigned priority; /* as the engine is told: 1 high, 2 normal, 3 low */

    /* A client's run: called once when it is over, on any thread. Not called once it is the
     * queue's; then the run frees itself. */
    void (*done)(struct rd_run *run, rd_err err);
    void *ctx;

    _Atomic int whose;    /* enum rd_run_whose */
    pthread_mutex_t lock; /* of the next six; an attempt sets them anew */
    struct rd_jobs_slot slot;
    struct rd_backend *backend;
    struct rd_engine_run *engine_run;
    bool engine_started, engine_done, stopped;
    bool trusted; /* the backend's engine is */
    bool refused; /* what it delivered is no picture */

    _Atomic int pending;
    _Atomic int err; /* enum rd_err: the first that came */
    struct rd_why why;
    struct rd_engine_report report; /* of the last attempt, and so are these: */
    uint64_t started_ms;
    uint64_t engine_started_ns, engine_ns; /* of all of them */
    struct rd_output outputs[RD_LIMIT_COUNT];
};

enum rd_run_whose {
    RD_RUN_CLIENTS, /* `done` is told; it may become a job */
    RD_RUN_QUEUES,  /* the queue is told */
};

/* NULL: no memory. Takes a reference to the runtime. */
struct rd_run *rd_run_new(struct rd_gateway *gateway, struct rd_runtime *runtime) RD_MUST;
void rd_run_free(struct rd_run *run); /* NULL is fine; never while it computes */
/* The body (or what of it belongs to the generation) into run->generation; run->model, modality,
 * task and media are set. As rd_request_parse. */
rd_err rd_run_parse(struct rd_run *run, const char *body, size_t len,
                    struct rd_request_context *context, struct rd_problems *problems) RD_MUST;
/* A slot was taken (run->slot): starts. What goes wrong is told like any other end. */
void rd_run_start(struct rd_run *run);
/* Asks it to stop; harmless at any time before it is over. Thread-safe, does not block. */
void rd_run_stop(struct rd_run *run);
/* Tells the queue how to stop a run that is its own; stops it at once if that was wished already.
 */
void rd_run_attach(struct rd_run *run);
/* From now on the run is the queue's. False: its engine has not begun, or is done, or was stopped.
 * Until rd_run_adopted is called it does not end. Takes only the run's lock. */
bool rd_run_adopt(struct rd_run *run) RD_MUST;
void rd_run_adopted(struct rd_run *run);
/* How much work it is, for the queue's estimates. */
uint32_t rd_run_units(const struct rd_generation *generation);
/* What the owner may be told of the error; "" for the error's own text. */
const char *rd_run_message(const struct rd_run *run, rd_err err);

#endif
