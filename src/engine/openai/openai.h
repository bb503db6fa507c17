/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to this folder: what an engine of type "openai" knows about its server (struct
 * rd_openai_engine), and the state of one run (struct rd_openai_run), a row of exchanges:
 *
 *     pictures   ASK, and when the answer is an address FETCH; again for each output
 *     videos     SUBMIT, POLL..., CONTENT
 *
 * Who touches what: the engine's constant parts are filled by open(); `server` and `streams_not`
 * are atomics that the prober and runs write and runs read; `probe` is the prober's alone. A run
 * belongs to one thread at a time. */
#ifndef RD_ENGINE_OPENAI_OPENAI_H
#define RD_ENGINE_OPENAI_OPENAI_H

#include <stdatomic.h>

#include "engine/http/dialect.h"
#include "engine/openai/answer.h"
#include "engine/openai/request.h"

enum {
    RD_OPENAI_MODEL_MAX = 256,
    RD_OPENAI_POLL_MS = 100, /* before the first look at a video; then half as long again ... */
    RD_OPENAI_POLL_MAX_MS = 5000,  /* ... up to this */
    RD_OPENAI_POLL_FAILURES = 5,   /* looks that fail in a row end the run */
    RD_OPENAI_TIMEOUT_MS = 600000, /* a run, when the configuration says nothing: videos are slow */
};
#define RD_OPENAI_ANSWER_MAX                                                                       \
    ((uint64_t)256 << 20)                        /* a JSON answer, or events: 190 MB of picture    \
                                                  */
#define RD_OPENAI_STATUS_MAX ((uint64_t)1 << 20) /* a JSON answer about a video */

struct rd_openai_prober {
    enum { RD_OPENAI_HEALTH, RD_OPENAI_MODELS, RD_OPENAI_SYSTEM, RD_OPENAI_ROUND_OVER } asked, next;
    bool has_health; /* it answered /health before: that is how it is asked */
    bool no_health;  /* it has none: /v1/models is asked */
    bool identified; /* `server` is known, as far as it can be */
    bool healthy;    /* of this round: /health said so */
    struct rd_openai_answer answer;
};

struct rd_openai_engine {
    char *url;
    char *model;             /* config->remote_model; NULL: "family/model" */
    _Atomic int server;      /* enum rd_openai_server */
    atomic_bool streams_not; /* it was asked for partial pictures and gave none */
    struct rd_openai_prober probe;
};

struct rd_openai_run {
    bool made; /* the parts below that hold buffers */
    enum {
        RD_OPENAI_ASK,
        RD_OPENAI_FETCH,
        RD_OPENAI_SUBMIT,
        RD_OPENAI_POLL,
        RD_OPENAI_CONTENT
    } stage;
    unsigned output;
    bool plain; /* of this run: partial pictures were refused, ask without */
    struct rd_openai_request request;
    struct rd_openai_answer answer;
    struct rd_why why;
    char model[RD_OPENAI_MODEL_MAX];
    char path[RD_HTTP_PATH_MAX];
    char video[RD_OPENAI_ID_MAX + 1]; /* the server's name for it, "": none */
    bool working;                     /* the server still works on it, as far as we know */
    unsigned poll_ms, poll_failures;
    uint64_t told_ns; /* over the outputs so far */
    unsigned tellers; /* outputs whose time the server told */
};

/* health.c */
bool rd_openai_probe(void *shared, unsigned step, char path[RD_HTTP_PATH_MAX]);
bool rd_openai_probed(void *shared, unsigned step, long status, const char *body, size_t len,
                      char *why);

/* video.c: the exchanges of a video behind its submission. */
rd_err rd_openai_video_request(struct rd_openai_run *state,
                               struct rd_http_request *request) RD_MUST;
/* The end of SUBMIT and POLL. */
rd_err rd_openai_video_end(struct rd_http_run *run, struct rd_http_next *next) RD_MUST;
/* A refused POLL: ask again, or say what is wrong. */
void rd_openai_video_refused(struct rd_openai_run *state, struct rd_http_refusal *refusal);
bool rd_openai_video_abandon(struct rd_http_run *run, struct rd_http_request *request);

/* openai.c: `err` with the words in state->why, if there are any, as the run's failure. */
rd_err rd_openai_failed(struct rd_http_run *run, rd_err err);
/* A code or type of OpenAI's errors says that the prompt or picture is not allowed: FINAL and
 * FAULTLESS, for rd_http_fail(); else 0. */
unsigned rd_openai_policy(const struct rd_openai_answer *answer);

#endif
