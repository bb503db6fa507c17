/* SPDX-License-Identifier: Apache-2.0
 *
 * The state of one sync generation, shared by generate.c (its way) and answer.c (its answer). */
#ifndef RD_GATEWAY_GENERATE_H
#define RD_GATEWAY_GENERATE_H

#include "gateway/gateway.h"
#include "gateway/sources.h"

enum rd_answer {
    RD_ANSWER_BYTES, /* the output's bytes; multipart/mixed for several */
    RD_ANSWER_JSON,  /* asset URLs */
};

struct rd_output {
    struct rd_run *run;
    struct rd_cas_writer *writer; /* owned until committed */
    struct rd_buf statement;
    struct rd_hash hash;
    uint64_t size;
    bool sealed;
};

struct rd_run {
    struct rd_call *call;
    const struct rd_model *model;
    enum rd_modality modality;
    enum rd_task task;
    enum rd_media media;
    enum rd_answer answer;
    struct rd_generation *generation; /* in the exchange's arena */
    struct rd_sources sources;
    struct rd_backend *backend; /* a slot of it is taken until the engine is done */
    bool suspended;
    bool fetching; /* counted in gateway->fetching */

    pthread_mutex_t lock; /* of the next three */
    struct rd_engine_run *engine_run;
    bool engine_done, client_gone;

    _Atomic int pending; /* what the answer waits for */
    _Atomic int err;     /* enum rd_err: the first that came */
    struct rd_why why;
    struct rd_engine_report report;
    uint64_t started_ms, engine_started_ns;
    struct rd_output outputs[RD_LIMIT_COUNT];
};

/* Sets run->media and run->answer from Accept; replies itself (406) when nothing fits. */
bool rd_generate_negotiate(struct rd_run *run);
/* Replies with the stored outputs. */
void rd_generate_answer(struct rd_run *run);

#endif
