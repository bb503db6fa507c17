/* SPDX-License-Identifier: Apache-2.0
 *
 * The state of one sync call, shared by generate.c (its way) and answer.c (its answer). */
#ifndef RD_GATEWAY_GENERATE_H
#define RD_GATEWAY_GENERATE_H

#include "gateway/run.h"
#include "gateway/submission.h"
#include "gateway/waits.h"

enum rd_answer {
    RD_ANSWER_BYTES, /* the output's bytes; multipart/mixed for several */
    RD_ANSWER_JSON,  /* asset URLs */
};

/* What is answered, from a run or from a job that was stored. */
struct rd_result {
    unsigned count;
    struct rd_hash hashes[RD_LIMIT_COUNT];
    uint64_t sizes[RD_LIMIT_COUNT];
    uint32_t seed;
    uint64_t device_ns;
    enum rd_device_time_source device_source;
    const char *device;
};

struct rd_sync {
    struct rd_wait wait; /* first member: late() gets it */
    struct rd_call *call;
    struct rd_run *run; /* owned while it is a client's */
    enum rd_modality modality;
    enum rd_task task;
    const struct rd_model *model;
    enum rd_media media;
    enum rd_answer answer;
    const struct rd_format *picture; /* the format: its sides */
    bool suspended;
    bool fetching;       /* counted in gateway->fetching */
    _Atomic bool queued; /* it waits for a job of the queue */
    _Atomic bool gone;
    unsigned wait_s; /* asked for by Prefer: wait */
    struct rd_submission submission;
    char job_id[RD_ID_MAX];
    struct rd_jobs_watch *watch;
    struct rd_jobs_limits limits;
};

/* Sets sync->media and sync->answer from Accept; replies itself (406) when nothing fits. */
bool rd_generate_negotiate(struct rd_sync *sync);
/* Replies with the stored outputs. */
void rd_generate_answer(struct rd_sync *sync, const struct rd_result *result);

/* queue.c: a submission's 202, and what is said of a job that was asked for as sync. */
void rd_queue_reply_created(struct rd_call *call, const struct rd_jobs_created *created);
/* The answer for one that waited for a job which did not complete. */
void rd_queue_reply_failed(struct rd_call *call, const struct rd_job_row *row);
/* Fills in the row of a submission whose generation is run->generation. Texts point into both. */
void rd_queue_row(const struct rd_run *run, const struct rd_jobs_ask *ask,
                  const struct rd_submission *submission, const struct rd_buf *text,
                  struct rd_job_write *ret);
void rd_queue_ask(const struct rd_run *run, const struct rd_key *key, enum rd_lane lane,
                  char model[RD_MODEL_NAME_MAX], struct rd_jobs_ask *ret);

#endif
