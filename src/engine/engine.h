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
 * log, or read a configuration other than what open() got. */
#ifndef RD_ENGINE_ENGINE_H
#define RD_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/generation.h"

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
    struct rd_engine_sink sink;
};

struct rd_engine;     /* one configured backend; each implementation has its own */
struct rd_engine_run; /* one start(); valid until done() was called */

/* What an operator wrote for one backend (config/config.h fills it). */
struct rd_engine_config {
    const char *name;    /* unique in the configuration */
    const char *type;    /* "builtin", "http" */
    const char *url;     /* http: where to POST; NULL for builtin */
    unsigned slots;      /* runs at a time, >= 1 */
    unsigned timeout_ms; /* whole run; 0: the type's default */
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
    /* True when the engine is up: it would take work if a slot is free, which the caller knows.
     * Never spends device time, never waits. Thread-safe. */
    bool (*ready)(struct rd_engine *engine);
    /* Cancels what runs, waits for its done(), frees. */
    void (*close)(struct rd_engine *engine);
};

extern const struct rd_engine_ops rd_engine_builtin_ops; /* builtin/ */
extern const struct rd_engine_ops rd_engine_http_ops;    /* http/ */
/* The table of all types; NULL when `type` is none. */
const struct rd_engine_ops *rd_engine_find(const char *type);

#endif
