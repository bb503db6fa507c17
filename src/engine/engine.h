/* SPDX-License-Identifier: Apache-2.0
 *
 * The seam between the gateway and whatever computes pictures. An implementation is one const table
 * of functions; all of them pass tests/unit/engine/conformance.
 *
 * Life of a run: start() -> zero or more progress/preview -> for each output: begin, data..., end
 * -> exactly one done. Between start() and done() the engine may call the sink from any one thread
 * at a time; never from inside start() or cancel().
 *
 * An engine MUST call done() exactly once for each start() that returned RD_OK, also after
 * cancel(); MUST stop when a sink function returns an error, and pass that error to done(); MUST
 * stop soon after cancel() (between steps) and then give RD_ERR_CANCELLED unless it had already
 * finished; MUST produce only the media type that was asked for; MUST copy nothing it can stream.
 * INVALID_REQUEST is for a source picture that cannot be decoded; its why begins with "image: " or
 * "mask: ", and goes to the client. Every other why goes to the log only.
 * It MUST NOT call the sink after done(), hold the job after done(), block in start() or cancel(),
 * log, or read a configuration other than what open() got. What it keeps in memory of one run's
 * outputs is bounded by RD_ENGINE_HELD_MAX; the rest is streamed into the sink. The exception is a
 * picture that has to be encoded here, since there is none before all of it came: a raw one takes 3
 * bytes a pixel (engine/tensor/answer.h), and a file of another type than was asked for is held
 * whole, up to 16 MiB there and 64 MiB in engine/openai/picture.h; each also takes its pixels and
 * the encoded file while it is encoded. */
#ifndef RD_ENGINE_ENGINE_H
#define RD_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/generation.h"

struct rd_mapping; /* engine/tensor/mapping.h: how a generation becomes tensors */

enum {
    RD_ENGINE_WHY_MAX = 200,
    RD_ENGINE_HELD_MAX = 256 << 10, /* bytes of one run's outputs in memory at a time */
};

/* How a device time was obtained. UNKNOWN means null on the wire, never zero. */
enum rd_device_time_source {
    RD_DEVICE_TIME_UNKNOWN,
    RD_DEVICE_TIME_CPU,      /* CPU seconds of the built-in engine */
    RD_DEVICE_TIME_ENGINE,   /* the engine's own figure */
    RD_DEVICE_TIME_MEASURED, /* wall time of the request */
};

struct rd_engine_report {
    uint64_t device_ns;
    enum rd_device_time_source source;
    char device[64]; /* "cpu", "cuda:0", "" when not told */
    bool final;      /* it failed, and the same request would fail again: not to be repeated */
    bool faultless;  /* it failed, and that says nothing about the backend (a source picture that
                        cannot be read, a refused prompt): its breaker does not count it */
};

/* Where a run delivers. The owner (gateway) implements it; every function gets `ctx`. */
struct rd_engine_sink {
    void *ctx;
    /* fraction 0..1, `step` of generation->steps finished. May be NULL. */
    void (*progress)(void *ctx, double fraction, unsigned step);
    /* A small encoded picture of the state so far; valid during the call. May be NULL: then the
     * engine need not make one. */
    void (*preview)(void *ctx, enum rd_media media, const void *bytes, size_t len);
    /* Output `index` starts; `size_hint` bytes are expected, 0 when unknown. */
    rd_err (*begin)(void *ctx, unsigned index, enum rd_media media, uint64_t size_hint);
    rd_err (*data)(void *ctx, unsigned index, const void *bytes, size_t len);
    rd_err (*end)(void *ctx, unsigned index);
    /* The last call. `why` is NULL or says what went wrong; both are valid during the call. */
    void (*done)(void *ctx, rd_err err, const struct rd_why *why,
                 const struct rd_engine_report *report);
};

struct rd_engine_job {
    const struct rd_generation *generation; /* lives until done() returns */
    const char *request_id;                 /* the same */
    const char *traceparent;                /* W3C trace context or NULL */
    uint64_t deadline_mono_ns;              /* 0: none; past it: RD_ERR_BACKEND_TIMEOUT */
    unsigned priority;                      /* 1 high, 2 normal, 3 low; 0: not told */
    struct rd_engine_sink sink;
};

struct rd_engine;     /* one configured backend; each implementation has its own */
struct rd_engine_run; /* one start(); valid until done() was called */

/* What an operator wrote for one backend (config/config.h fills it). Lives as long as the engine
 * that was opened with it. What a type has no use for is refused by the configuration. */
struct rd_engine_config {
    const char *name;          /* unique in the configuration */
    const char *type;          /* "builtin", "http", "triton", "openai", "process" */
    const char *url;           /* NULL for builtin and process */
    unsigned slots;            /* runs at a time, >= 1 */
    unsigned timeout_ms;       /* whole run; 0: the type's default */
    const char *const *models; /* that it serves, "family/model" */
    size_t models_count;
    /* http, triton, openai */
    const char *ca_file;  /* TLS: whom to trust; NULL: the system's authorities */
    const char *key_file; /* its first line is sent as "Authorization: Bearer"; NULL: none */
    const char *health;   /* http, openai: the path that answers 200 when it is ready; NULL: the
                             type's own way */
    /* triton */
    const struct rd_mapping *const *mappings; /* the first that is for the model counts */
    size_t mappings_count;
    /* openai */
    const char *remote_model; /* how the server calls the model; NULL: as the catalogue does */
    /* process */
    const char *const *command; /* argv; command[0] is an absolute path */
    size_t command_count;
    uint64_t memory_max, output_max; /* bytes; 0: the type's default */
};

/* What an engine can do for one model; does not change while it is open. */
struct rd_engine_capabilities {
    unsigned tasks; /* 1u << enum rd_task */
    unsigned media; /* 1u << enum rd_media that it delivers; of others start() is never asked */
    bool progress, previews;
    bool trusted; /* it encodes in this process: its pictures need no second look */
};

struct rd_engine_health {
    bool ready;                  /* it is up: it would take work if a slot is free */
    char why[RD_ENGINE_WHY_MAX]; /* not ready: in words, for the operator; else "" */
};

struct rd_engine_ops {
    const char *type;
    rd_err (*open)(const struct rd_engine_config *config, struct rd_engine **ret,
                   struct rd_why *why) RD_MUST;
    /* Takes the run on and returns at once. At most config->slots at a time (the caller counts). */
    rd_err (*start)(struct rd_engine *engine, const struct rd_engine_job *job,
                    struct rd_engine_run **ret_run) RD_MUST;
    /* Asks a run to stop; a wish, harmless at any time before done() returned. Thread-safe. */
    void (*cancel)(struct rd_engine *engine, struct rd_engine_run *run);
    /* `model` ("family/model") is one of config->models. Thread-safe. */
    void (*capabilities)(struct rd_engine *engine, const char *model,
                         struct rd_engine_capabilities *ret);
    /* From probes that the engine makes by itself, on a connection of their own, and from how its
     * runs went; the caller knows which slots are free. Before the first probe came back: not
     * ready. Never spends device time, never waits. Thread-safe. */
    void (*health)(struct rd_engine *engine, struct rd_engine_health *ret);
    /* Cancels what runs, waits for its done(), frees. */
    void (*close)(struct rd_engine *engine);
};

extern const struct rd_engine_ops rd_engine_builtin_ops;     /* builtin/ */
extern const struct rd_engine_ops rd_engine_http_ops;        /* http/ */
extern const struct rd_engine_ops rd_engine_openai_ops;      /* openai/ */
extern const struct rd_engine_ops rd_engine_process_ops;     /* process/ */
extern const struct rd_engine_ops rd_engine_triton_grpc_ops; /* triton/, grpc:// and grpcs:// */
extern const struct rd_engine_ops rd_engine_triton_http_ops; /* triton/, http:// and https:// */
/* The engine for a type and a URL, whose scheme may choose between two; NULL: there is none. */
const struct rd_engine_ops *rd_engine_find(const char *type, const char *url);

#endif
