/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of Triton's HTTP dialect: what an engine knows of its models (written by the prober's
 * thread alone, read by runs through atomics), and what a run keeps. */
#ifndef RD_ENGINE_TRITON_HTTP_INTERNAL_H
#define RD_ENGINE_TRITON_HTTP_INTERNAL_H

#include <stdatomic.h>

#include <jansson.h>

#include "engine/http/dialect.h"
#include "engine/tensor/answer.h"
#include "engine/tensor/mapping.h"
#include "engine/tensor/tensor.h"
#include "engine/triton/http_scan.h"

enum {
    RD_TRITON_MODELS_MAX = 32, /* of one backend: each is asked about in every round of probes */
    /* What Triton takes when it is started without --http-max-input-size. */
    RD_TRITON_BODY_USUAL = 1 << 26,
    RD_TRITON_NAME_MAX = 200, /* bytes of a model's name at the server; of a version a quarter */
    RD_TRITON_LINE_MAX = 64,  /* a header line of ours */
};

struct rd_triton_model {
    const char *name;   /* "family/model" */
    const char *server; /* as the server calls it */
    const struct rd_mapping *mapping;
    char path[RD_HTTP_PATH_MAX - 32]; /* "/v2/models/flux/versions/2" */
    /* the prober's */
    bool checked;   /* the mapping was compared with the server's model */
    json_t *config; /* the server's ModelConfig, between its two questions; or NULL */
    uint64_t queue_count, queue_ns;
    /* of one request, in the last window with requests */
    _Atomic(uint64_t) queue_average_ns;
};

struct rd_triton_server {
    struct rd_triton_model models[RD_TRITON_MODELS_MAX];
    size_t models_count;
    /* It knows the binary tensor extension; so is assumed until it has said otherwise. */
    atomic_bool binary;
    atomic_bool ran; /* a run was done since statistics were asked for */
    /* the prober's */
    bool known, has_config, has_statistics, ran_before;
    bool complete;     /* the last round of questions came to its end */
    unsigned question; /* the one being asked; http_probe.c */
    size_t model;      /* about the one */
};

/* One run's state. */
struct rd_triton_run {
    const struct rd_triton_model *model;
    unsigned output;
    char path[RD_HTTP_PATH_MAX];
    char length_line[RD_TRITON_LINE_MAX]; /* a header */
    struct rd_tensors tensors;
    uint64_t body_len; /* of the request */
    struct rd_triton_scan scan;
    struct rd_answer answer;
    bool answering; /* `answer` is in use */
    bool has_length;
    uint64_t head_len;            /* Inference-Header-Content-Length, when has_length */
    uint64_t device_ns, queue_ns; /* over the outputs so far */
    unsigned tellers;             /* outputs whose device time the model told */
    char device[64];
};

/* http_probe.c: for struct rd_http_dialect. */
bool rd_triton_http_probe(void *shared, unsigned step, char path[RD_HTTP_PATH_MAX]);
bool rd_triton_http_probed(void *shared, unsigned step, long status, const char *body, size_t len,
                           char *why);

/* http_request.c: writes the body of an inference request; `binary`: with the binary tensor
 * extension, whose header line goes into `length_line`. */
rd_err rd_triton_http_write(struct rd_http_run *run, bool binary, struct rd_http_body *body,
                            char length_line[RD_TRITON_LINE_MAX]) RD_MUST;
/* "/v2/models/NAME[/versions/VERSION]" with what URLs do not take as %XX. False: too long. */
bool rd_triton_http_path(const char *model, const char *version, char *out, size_t room);
/* The text of {"error": "..."}, as one line; false when the body is not that. */
bool rd_triton_http_error(const char *body, size_t len, char *out, size_t room);
/* The JSON of others; NULL when it is none, or has a key twice. */
json_t *rd_triton_http_json(const char *text, size_t len);

#endif
