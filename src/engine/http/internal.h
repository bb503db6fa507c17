/* SPDX-License-Identifier: Apache-2.0
 *
 * The structs of the HTTP transport and who may touch them. What is said over it: dialect.h.
 *
 *     engine   constant after open(), but for the pool (its lock), the workers' queue (its lock),
 * the prober (its lock), and a few atomics driver   one thread: an epoll set, a libcurl multi
 * handle, the runs it drives. Everything in it belongs to that thread, but for `inbox`, `woken`,
 * `load`, `closing` (atomics) run      one start(): made by the caller's thread, then handed
 * through the inbox to the driver's thread, which owns it until done() was called and gives it back
 * to the pool. A worker owns it meanwhile when a step is slow, and hands it back through the inbox.
 * `cancelled` is the one field that other threads write. prober   one thread with a connection of
 * its own, that asks whether the server is ready
 *
 * A run keeps its libcurl easy handle, with every constant option set, and its buffers: the next
 * start() sets only what differs. Setting up a handle costs about as much as a whole small request.
 */
#ifndef RD_ENGINE_HTTP_INTERNAL_H
#define RD_ENGINE_HTTP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <curl/curl.h>

#include "engine/engine.h"
#include "engine/http/dialect.h"
#include "engine/http/reply.h"

enum {
    RD_HTTP_SLOTS_MAX = 1024,      /* connections of one backend */
    RD_HTTP_DRIVERS_MAX = 4,       /* threads of one backend */
    RD_HTTP_WORKERS_MAX = 4,       /* for slow steps, of a dialect that has such */
    RD_HTTP_SLOTS_PER_DRIVER = 64, /* one thread serves this many; see docs/http-engine.md */
    RD_HTTP_TIMEOUT_MS = 300000,   /* a whole run, when the configuration says nothing */
    RD_HTTP_TIMEOUT_MS_MAX = 3600000,
    RD_HTTP_CONNECT_MS = 5000,
    RD_HTTP_FAREWELL_MS = 1000,    /* to tell the server that a run was given up */
    RD_HTTP_IDLE_S = 60,           /* an idle connection older than this is not used again */
    RD_HTTP_BUFFER = 98304,        /* libcurl allocates it anew each time, so below malloc's mmap
                                    * and trim threshold; a 64 KiB picture comes in one recv(2) */
    RD_HTTP_HEADER_TEXT = 320,     /* one header line that we send */
    RD_HTTP_KEY_MAX = 4096,        /* bytes of a key file's first line */
    RD_HTTP_DISCARD_MAX = 65536,   /* of an error's body: read on, so that the connection lives */
    RD_HTTP_TEXT_KEPT = 256 << 10, /* of a request's text, from one run to the next */
    RD_HTTP_EVENTS_MAX = 64,       /* taken from epoll at once */
    /* A server that stops answering is out of rotation after at most PERIOD + ANSWER. */
    RD_HTTP_PROBE_PERIOD_MS = 1000, /* from one probe's start to the next */
    RD_HTTP_PROBE_AGAIN_MS = 250,   /* ... after one that failed */
    RD_HTTP_PROBE_ANSWER_MS = 900,  /* a round of probes */
    RD_HTTP_PROBE_STEPS_MAX = 64,   /* requests of a round */
};

struct rd_http_driver;

enum rd_http_phase {
    RD_HTTP_NEW,      /* on its way to the driver; the first request is made, or slow to make */
    RD_HTTP_ACTIVE,   /* libcurl has it */
    RD_HTTP_WAITING,  /* for wake_ns */
    RD_HTTP_AWAY,     /* a worker has it, or it is on its way back */
    RD_HTTP_FAREWELL, /* done; libcurl tells the server */
};

struct rd_engine_run {
    struct rd_http_run face; /* first: what the dialect sees */
    struct rd_engine *engine;
    struct rd_http_driver *driver;
    struct rd_engine_run *inbox_next;  /* in the inbox, with the workers, or in the pool */
    struct rd_engine_run *next, *prev; /* the driver's list */
    struct rd_engine_job job;
    atomic_bool cancelled;
    enum rd_http_phase phase;
    bool step_end; /* AWAY: end() is called there, not request() */
    bool prepared; /* the next request is made */
    uint64_t wake_ns;

    CURL *easy;
    struct rd_http_request request;
    struct rd_buf url;      /* that the handle has; empty: the engine's */
    const char *method_set; /* that the handle has; NULL: none */
    struct curl_slist headers[6 + RD_HTTP_OWN_HEADERS]; /* libcurl only reads the list */
    char content_type[RD_HTTP_HEADER_TEXT], accept[RD_HTTP_HEADER_TEXT],
        request_id[RD_HTTP_HEADER_TEXT], traceparent[RD_HTTP_HEADER_TEXT];

    uint64_t since_ns; /* the time since then is to be added to face.spent_ns ... */
    bool ticking;      /* ... while it ticks: during exchanges, and pauses between them */
    bool reached;      /* some request of the run went out */

    /* The exchange. */
    unsigned attempts; /* connections on which it went out */
    enum { RD_HTTP_HEAD, RD_HTTP_BODY, RD_HTTP_REFUSAL } stage;
    bool chunked; /* Transfer-Encoding: chunked */
    size_t head_bytes;
    uint64_t body_bytes;
    char error[RD_HTTP_ERROR_MAX + 1]; /* the beginning of a refusal's body, when it is text */
    size_t error_len;
    bool error_wanted;
    struct rd_http_next then;

    rd_err err; /* what stopped the run; the first one counts */
    struct rd_why why;
};

/* A socket as epoll knows it, by its number. */
struct rd_http_socket {
    uint32_t mask;   /* registered with epoll for; 0: not registered */
    uint32_t wanted; /* what libcurl waits for; 0: an idle connection */
};

struct rd_http_driver {
    struct rd_engine *engine;
    pthread_t thread;
    bool running; /* the thread was started */
    int epoll_fd, wake_fd;
    CURLM *multi;

    _Atomic(struct rd_engine_run *) inbox; /* newest first */
    atomic_bool woken;                     /* wake_fd was written and not yet looked at */
    atomic_bool closing;
    atomic_uint load; /* runs handed to this driver and not done */

    struct rd_engine_run *runs; /* head of the list */
    struct rd_http_socket *sockets;
    size_t sockets_count;
    uint64_t timer_ns; /* libcurl wants to be called then; 0: no */
    uint64_t next_ns;  /* no run's deadline or pause ends earlier; UINT64_MAX: none */
};

/* Threads for slow steps: a list of runs behind a lock. */
struct rd_http_workers {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct rd_engine_run *first, *last;
    bool made, closing;
    unsigned count;
    pthread_t threads[RD_HTTP_WORKERS_MAX];
};

struct rd_http_prober {
    struct rd_engine *engine;
    pthread_t thread;
    pthread_mutex_t lock; /* for the rest of this group */
    pthread_cond_t changed;
    struct rd_engine_health health;
    bool made, running, closing;
    bool kicked; /* a run found the server gone: look again soon */

    CURLM *multi; /* its own: no connection is shared with runs */
    CURL *easy;
    struct curl_slist headers[1];
    struct rd_buf url, answer;
};

struct rd_engine {
    const struct rd_http_dialect *dialect;
    void *shared;        /* the dialect's */
    char *url, *origin;  /* without a "/" at their end when paths are put behind */
    char *authorization; /* a header line, or NULL; a secret */
    char *ca_file;       /* or NULL */
    char *health;        /* or NULL: the configuration's path, at the origin */
    unsigned slots;
    unsigned timeout_ms;
    pthread_mutex_t pool_lock;
    struct rd_engine_run *pool;
    atomic_uint active;
    atomic_uint farewells; /* at most `slots` */
    atomic_uint turn;      /* breaks ties between drivers */
    unsigned drivers_count;
    struct rd_http_driver drivers[RD_HTTP_DRIVERS_MAX];
    struct rd_http_workers workers;
    struct rd_http_prober prober;
};

/* easy.c: a libcurl handle and what is set in it. */
/* What every handle of the engine has, a run's or the prober's. */
bool rd_http_easy_common(const struct rd_engine *engine, CURL *easy);
/* "Name: value" in `line`; "Name:" (which sends nothing) when the value is absent, too long, or
 * holds what a header must not. */
void rd_http_header_line(char line[RD_HTTP_HEADER_TEXT], const char *name, const char *value);
/* Sets all that is constant for a run. */
bool rd_http_easy_constant(struct rd_engine_run *run);
/* Sets what run->request says. TOO_LARGE: the path is too long. */
rd_err rd_http_easy_request(struct rd_engine_run *run) RD_MUST;

/* run.c: made and freed by any thread, the rest by who owns the run. */
rd_err rd_http_run_new(struct rd_engine *engine, struct rd_engine_run **ret) RD_MUST;
void rd_http_run_free(struct rd_engine_run *run);
/* Takes the job; makes the first request unless that is slow. */
rd_err rd_http_run_begin(struct rd_engine_run *run, const struct rd_engine_job *job) RD_MUST;
/* Lets the dialect make the next request. */
rd_err rd_http_run_prepare(struct rd_engine_run *run) RD_MUST;
/* From now on the time counts as the server's. */
void rd_http_run_tick(struct rd_engine_run *run);
/* Sets the easy handle for the prepared request. */
rd_err rd_http_run_arm(struct rd_engine_run *run) RD_MUST;
/* libcurl is through with the request: judges what came. True: the exchange was a good one and
 * end() is to be called; else run->err or run->then say how it goes on. */
bool rd_http_run_received(struct rd_engine_run *run, CURLcode code);
/* Lets the dialect end the exchange; fills run->then, or run->err. */
void rd_http_run_end(struct rd_engine_run *run);
/* Notes the first reason to stop. */
void rd_http_run_stop(struct rd_engine_run *run, rd_err err, const char *why);
/* The run failed: asks the dialect for a last request, and makes it. */
bool rd_http_run_farewell(struct rd_engine_run *run);
/* Tells the owner. The last touch of the job. */
void rd_http_run_report(struct rd_engine_run *run);
/* What a handle's callbacks are: for easy.c. */
size_t rd_http_on_header(char *line, size_t size, size_t count, void *run);
size_t rd_http_on_body(char *data, size_t size, size_t count, void *run);
size_t rd_http_on_read(char *out, size_t size, size_t count, void *run);
int rd_http_on_seek(void *run, curl_off_t offset, int origin);
int rd_http_on_prereq(void *run, char *peer_ip, char *local_ip, int peer_port, int local_port);

/* driver.c */
rd_err rd_http_driver_open(struct rd_http_driver *driver, struct rd_engine *engine,
                           struct rd_why *why) RD_MUST;
/* Ends its runs and its thread; other threads may still push and wake. */
void rd_http_driver_stop(struct rd_http_driver *driver);
void rd_http_driver_close(struct rd_http_driver *driver); /* a stopped one, or one half open */
void rd_http_driver_push(struct rd_http_driver *driver, struct rd_engine_run *run);
void rd_http_driver_wake(struct rd_http_driver *driver);
/* CURLOPT_OPENSOCKETFUNCTION and CURLOPT_CLOSESOCKETFUNCTION; `user` is the driver. */
curl_socket_t rd_http_socket_open(void *user, curlsocktype purpose, struct curl_sockaddr *address);
int rd_http_socket_close(void *user, curl_socket_t fd);

/* worker.c */
rd_err rd_http_workers_open(struct rd_http_workers *workers, unsigned count,
                            struct rd_why *why) RD_MUST;
void rd_http_workers_close(struct rd_http_workers *workers); /* also of some half open */
void rd_http_workers_push(struct rd_http_workers *workers, struct rd_engine_run *run);

/* probe.c */
rd_err rd_http_prober_open(struct rd_http_prober *prober, struct rd_engine *engine,
                           struct rd_why *why) RD_MUST;
void rd_http_prober_close(struct rd_http_prober *prober); /* also of one half open */
/* A run could not connect: not ready from now on, until a probe says otherwise. */
void rd_http_prober_down(struct rd_http_prober *prober, const char *why);
void rd_http_prober_health(struct rd_http_prober *prober, struct rd_engine_health *ret);

/* libcurl's result in words for an operator ("cannot connect"), and the error it is. */
struct rd_http_result {
    CURLcode code;
    rd_err err;
    bool unreachable; /* the backend is down, not only this request */
    const char *text;
};
const struct rd_http_result *rd_http_result_find(CURLcode code); /* NULL: libcurl's own words */

/* transport.c: the run is done; its slot is free. */
void rd_http_engine_release(struct rd_engine *engine);
void rd_http_engine_pool(struct rd_engine *engine, struct rd_engine_run *run);

#endif
