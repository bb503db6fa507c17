/* SPDX-License-Identifier: Apache-2.0
 *
 * The seam between the shared HTTP transport and what is said over it. The transport (driver.c,
 * run.c, probe.c, transport.c) has the threads, connections, deadlines, cancelling, TLS, keys,
 * statuses and health; a dialect (plain.c, triton/http.c, openai/) is one const table of functions
 * that says what to ask and what the answer means. This comment is its manual.
 *
 * A run is a row of exchanges, one after the other: request, head, body, end.
 *
 *     start()                      begin() request()                    caller's thread
 *     [ connection ]               header()... head() data()... end()    driver's thread
 *        end() says AGAIN          request() ... for another output, or to poll after a pause
 *        end() says OVER           report(), then done() of the run's sink
 *
 * An answer whose status is not 200 (or 2xx, when the request says so) never reaches head(): it is
 * a refusal. The transport keeps the first RD_HTTP_ERROR_MAX bytes of its body, makes an error of
 * the status (rd_http_status_err: 429 and 503 are CAPACITY, 408 and 504 BACKEND_TIMEOUT, the rest
 * BACKEND_FAILED; 3xx and 4xx are `final`, 400 and 422 `faultless`, too), and shows it to
 * refused(), which may read the body, correct the verdict, or go on (a poll that met a 502). A
 * failed connection is shown to it as well, as status 0. A body that is shorter than its
 * Content-Length, that has neither length nor chunks, or that is over `answer_max` ends the run
 * before end().
 *
 * The dialect calls run->job->sink for outputs, progress and previews, by the rules of engine.h,
 * in head(), data() and end() only. It never calls done(). To fail it returns an error: the sink's
 * own as it is, or one of its own by rd_http_fail(), which has the words for the log. The first
 * error ends the run: the connection is closed, nothing but abandon() and report() follows.
 *
 * Memory. `state` (run_size bytes) belongs to the run object, which is used again: it is zero when
 * made, and keeps what the last run left until begin() puts it in order, so that buffers are kept.
 * forget() frees what it points to. `shared` (shared_size bytes) belongs to the engine; open()
 * fills it, runs only read it; what probes find and runs need is in atomics or under a lock of the
 * dialect's own. Of an answer's body at most RD_ENGINE_HELD_MAX may be kept.
 *
 * No function may block. All but open(), close(), probe(), probed(), capabilities() are called
 * for one run by one thread at a time. */
#ifndef RD_ENGINE_HTTP_DIALECT_H
#define RD_ENGINE_HTTP_DIALECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/http/body.h"

enum {
    RD_HTTP_OWN_HEADERS = 4,      /* header lines of a dialect's own, each request */
    RD_HTTP_ERROR_MAX = 4096,     /* of a refusal's body that is kept */
    RD_HTTP_PATH_MAX = 1024,      /* a path behind the backend's URL */
    RD_HTTP_PROBE_MAX = 64 << 10, /* a probe's answer */
};

/* What a dialect sees of a run. */
struct rd_http_run {
    const struct rd_engine_job *job; /* until report(); after that the farewell must not use it */
    void *state;
    void *shared;
    unsigned exchanges;       /* requests so far, the present one included */
    struct rd_http_body body; /* of the request; empty when request() is called */
    uint64_t deadline_ns;     /* of the run: the job's or the configured timeout's */
    uint64_t spent_ns;        /* wall time of the exchanges that are complete, and of pauses */
    /* Set by rd_http_fail(), or for the dialect's own verdicts; see rd_engine_report. */
    bool final, faultless;
};

/* One request. Filled with what stands behind "default" before request() is called. */
struct rd_http_request {
    const char *method;       /* "GET", "POST" (default) or "DELETE": a literal */
    const char *path;         /* "/..." behind the configured URL; NULL (default): that URL as it
                               * is. Copied. At most RD_HTTP_PATH_MAX bytes. */
    bool at_origin;           /* behind scheme, host and port of the URL, without its path */
    const char *accept;       /* default: the generation's media type */
    const char *content_type; /* default: "application/json"; sent when there is a body */
    /* "Name: value"; NULL: none (default). Must live until the exchange's end. */
    const char *headers[RD_HTTP_OWN_HEADERS];
    bool any_2xx;        /* other statuses than 200 are answers, too */
    uint64_t answer_max; /* bytes of its body; default: RD_LIMIT_OBJECT_BYTES */
};

/* The head of an answer that is not a refusal. */
struct rd_http_answer {
    long status;
    const char *type; /* Content-Type with its parameters; NULL: none */
    uint64_t length;  /* of the body; 0 when it is not known (or 0) */
};

struct rd_http_refusal {
    long status;      /* 0: no answer came, the connection could not be made or broke */
    const char *body; /* its first bytes, a NUL behind; "" when it was not text */
    size_t len;
    /* The verdict; the dialect may change it. */
    rd_err err;
    bool final, faultless;
    struct rd_why why;
    bool again; /* no failure: make another exchange, `after_ms` from now */
    unsigned after_ms;
};

/* What follows an exchange. */
struct rd_http_next {
    bool again;        /* another request(); false (default): the run is over, well */
    unsigned after_ms; /* ... that long from now; 0: at once */
};

struct rd_http_dialect {
    const char *type;             /* for messages: "http", "triton" */
    bool base;                    /* the URL is one that paths are put behind: no query in it */
    const char *health;           /* GET of this path, behind the URL, answers 200 when the server
                                   * is ready; NULL: that it takes a connection is enough.
                                   * The configuration's `health` comes before it. */
    size_t run_size, shared_size; /* may be 0: then state/shared is NULL */
    unsigned default_timeout_ms;  /* of a run; 0: RD_HTTP_TIMEOUT_MS */

    /* ---- of an engine; any may be NULL but capabilities ---- */
    rd_err (*open)(void *shared, const struct rd_engine_config *config, struct rd_why *why) RD_MUST;
    void (*close)(void *shared); /* also after an open() that failed */
    void (*capabilities)(void *shared, const char *model, struct rd_engine_capabilities *ret);
    /* Step 0, 1, ... of a round of probes, instead of `health`: writes the path to GET and returns
     * true, or false when the round is complete. On the prober's thread, as is probed(). */
    bool (*probe)(void *shared, unsigned step, char path[RD_HTTP_PATH_MAX]);
    /* The answer to a step; `body` has a NUL behind and is cut at RD_HTTP_PROBE_MAX. True: go on.
     * False: not ready, because of `why` (RD_ENGINE_WHY_MAX bytes; left empty: the transport
     * writes "GET <url>: answered <status>"). NULL: 200 is ready. */
    bool (*probed)(void *shared, unsigned step, long status, const char *body, size_t len,
                   char *why);

    /* ---- of a run; any may be NULL but request, head, data and end ---- */
    /* Puts the state of an earlier run in order. Caller's thread, before the first request(). */
    rd_err (*begin)(struct rd_http_run *run) RD_MUST;
    /* The next exchange. The first on the caller's thread, the others on the driver's. */
    rd_err (*request)(struct rd_http_run *run, struct rd_http_request *request) RD_MUST;
    /* Each line of an answer's head as it came, also of a 100 or 103 before it, and the status
     * lines ("HTTP/..."), which say that what came before is void. rd_http_header_is() helps. */
    void (*header)(struct rd_http_run *run, const char *line, size_t len);
    rd_err (*head)(struct rd_http_run *run, const struct rd_http_answer *answer) RD_MUST;
    rd_err (*data)(struct rd_http_run *run, const char *data, size_t len) RD_MUST;
    rd_err (*end)(struct rd_http_run *run, struct rd_http_next *next) RD_MUST;
    void (*refused)(struct rd_http_run *run, struct rd_http_refusal *refusal);
    /* The run failed, timed out or was cancelled: is there something to tell the server (DELETE of
     * what it still works on)? True: `request` is sent once, best effort, for at most
     * RD_HTTP_FAREWELL_MS, after done(); its answer is read by no one. */
    bool (*abandon)(struct rd_http_run *run, struct rd_http_request *request);
    /* Just before done(). `report` says the measured time (spent_ns, with what was cut off), or
     * unknown when no request went out; final and faultless are set. The dialect may know better.
     */
    void (*report)(struct rd_http_run *run, rd_err err, struct rd_engine_report *report);
    void (*forget)(void *state); /* frees what `state` points to */
    /* Whether request() (or end(), when `end`) of this exchange takes long, as decoding or encoding
     * a picture does: then it is called on a worker's thread. NULL: never. */
    bool (*slow)(const struct rd_http_run *run, bool end);
};

/* Notes why the run fails, if nothing was noted before, and returns `err`. */
enum { RD_HTTP_FINAL = 1, RD_HTTP_FAULTLESS = 2 }; /* as in rd_engine_report */
rd_err rd_http_fail(struct rd_http_run *run, rd_err err, unsigned flags, const char *fmt, ...)
    RD_PRINTF(4, 5);

/* True when `line` is the header `name`; its value without white space around it. */
bool rd_http_header_is(const char *line, size_t len, const char *name, const char **ret_value,
                       size_t *ret_len);

/* The rest of an engine's functions, and a table of them for a dialect's open function, which is
 * { return rd_http_open(&dialect, config, ret, why); } */
rd_err rd_http_open(const struct rd_http_dialect *dialect, const struct rd_engine_config *config,
                    struct rd_engine **ret, struct rd_why *why) RD_MUST;
rd_err rd_http_start(struct rd_engine *engine, const struct rd_engine_job *job,
                     struct rd_engine_run **ret_run) RD_MUST;
void rd_http_cancel(struct rd_engine *engine, struct rd_engine_run *run);
void rd_http_capabilities(struct rd_engine *engine, const char *model,
                          struct rd_engine_capabilities *ret);
void rd_http_health(struct rd_engine *engine, struct rd_engine_health *ret);
void rd_http_close(struct rd_engine *engine);

#define RD_HTTP_ENGINE_OPS(type_, open_)                                                           \
    {                                                                                              \
        .type = (type_), .open = (open_), .start = rd_http_start, .cancel = rd_http_cancel,        \
        .capabilities = rd_http_capabilities, .health = rd_http_health, .close = rd_http_close     \
    }

#endif
