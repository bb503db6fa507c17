/* SPDX-License-Identifier: Apache-2.0
 *
 * The three structs of the HTTP engine and who may touch them.
 *
 *     engine   constant after open(), but for the pool (its lock), and a few atomics
 *     driver   one thread: an epoll set, a libcurl multi handle, the runs it drives. Everything in
 * it belongs to that thread, but for `inbox`, `woken`, `load`, `closing` (atomics) run      one
 * start(): made by the caller's thread, then handed through the inbox to the driver's thread, which
 * owns it until done() was called and gives it back to the pool. `cancelled` is the one field that
 * other threads write meanwhile.
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
#include "engine/http/body.h"
#include "engine/http/reply.h"

enum {
    RD_HTTP_SLOTS_MAX = 1024,      /* connections of one backend */
    RD_HTTP_DRIVERS_MAX = 4,       /* threads of one backend */
    RD_HTTP_SLOTS_PER_DRIVER = 64, /* one thread serves this many; see docs/http-engine.md */
    RD_HTTP_TIMEOUT_MS = 300000,   /* a whole run, when the configuration says nothing */
    RD_HTTP_TIMEOUT_MS_MAX = 3600000,
    RD_HTTP_CONNECT_MS = 5000,
    RD_HTTP_NOT_READY_MS = 1000, /* after a failed connect */
    RD_HTTP_IDLE_S = 60,         /* an idle connection older than this is not used again */
    RD_HTTP_BUFFER = 98304,      /* libcurl allocates it anew each time, so below malloc's mmap
                                  * and trim threshold; a 64 KiB picture comes in one recv(2) */
    RD_HTTP_HEADER_TEXT = 320,   /* one header line that we send */
    RD_HTTP_DISCARD_MAX = 65536, /* of an error's body: read on, so that the connection lives */
    RD_HTTP_EVENTS_MAX = 64,     /* taken from epoll at once */
};

struct rd_http_driver;

struct rd_engine_run {
    struct rd_engine *engine;
    struct rd_http_driver *driver;
    struct rd_engine_run *next, *prev; /* inbox or pool (next only); the driver's list of runs */
    struct rd_engine_job job;
    atomic_bool cancelled;

    CURL *easy;
    struct rd_http_body body;
    struct curl_slist headers[5]; /* linked in place: libcurl only reads the list */
    char accept[RD_HTTP_HEADER_TEXT], request_id[RD_HTTP_HEADER_TEXT],
        traceparent[RD_HTTP_HEADER_TEXT];

    uint64_t deadline_ns; /* of the run */
    uint64_t sent_ns;     /* when this output's request was handed to libcurl */
    unsigned output;      /* the one being made */
    bool reached;         /* some request of the run went out */

    unsigned attempts; /* connections on which this output's request went out */

    /* The answer to this output's request. */
    enum { RD_HTTP_HEAD, RD_HTTP_PICTURE, RD_HTTP_REFUSAL } stage;
    bool begun;   /* sink.begin() was called */
    bool chunked; /* Transfer-Encoding: chunked */
    size_t head_bytes;
    uint64_t body_bytes;
    uint8_t first[RD_HTTP_MAGIC_LEN]; /* of the picture, until there are enough to judge it */
    char snippet[RD_HTTP_SNIPPET_MAX];
    size_t snippet_len;
    bool snippet_wanted;
    uint64_t told_ns; /* X-Device-Seconds */
    bool told;

    rd_err err; /* what stopped the run; the first one counts */
    bool final; /* it would stop another one too */
    struct rd_why why;
    uint64_t measured_ns, device_ns; /* over the outputs so far */
    bool all_told;
    char device[64];
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
    uint64_t timer_ns;         /* libcurl wants to be called then; 0: no */
    uint64_t next_deadline_ns; /* no run's deadline is earlier; UINT64_MAX: none */
};

struct rd_engine {
    char *url;
    unsigned slots;
    unsigned timeout_ms;
    pthread_mutex_t pool_lock;
    struct rd_engine_run *pool;
    atomic_uint active;
    atomic_uint turn;                /* breaks ties between drivers */
    _Atomic(uint64_t) not_before_ns; /* ready() is false until then */
    unsigned drivers_count;
    struct rd_http_driver drivers[RD_HTTP_DRIVERS_MAX];
};

/* run.c: made and freed by any thread, the rest by the driver's. */
rd_err rd_http_run_new(struct rd_engine *engine, struct rd_engine_run **ret) RD_MUST;
void rd_http_run_free(struct rd_engine_run *run);
/* Takes the job and makes the first request's body. */
rd_err rd_http_run_prepare(struct rd_engine_run *run, const struct rd_engine_job *job) RD_MUST;
/* Sets the easy handle for output run->output. */
rd_err rd_http_run_arm(struct rd_engine_run *run) RD_MUST;
/* libcurl is through with the request. True: run->output was advanced and is to be armed again;
 * false: the run is over, run->err says how. */
bool rd_http_run_finish(struct rd_engine_run *run, CURLcode code);
/* Notes the first reason to stop. */
void rd_http_run_stop(struct rd_engine_run *run, rd_err err, const char *why);
/* Tells the owner. The last touch before the pool. */
void rd_http_run_report(struct rd_engine_run *run);

/* driver.c */
rd_err rd_http_driver_open(struct rd_http_driver *driver, struct rd_engine *engine,
                           struct rd_why *why) RD_MUST;
void rd_http_driver_close(struct rd_http_driver *driver); /* also of one half open */
void rd_http_driver_push(struct rd_http_driver *driver, struct rd_engine_run *run);
void rd_http_driver_wake(struct rd_http_driver *driver);
/* CURLOPT_OPENSOCKETFUNCTION and CURLOPT_CLOSESOCKETFUNCTION; `user` is the driver. */
curl_socket_t rd_http_socket_open(void *user, curlsocktype purpose, struct curl_sockaddr *address);
int rd_http_socket_close(void *user, curl_socket_t fd);

/* http.c: the run is done; its slot is free before the owner hears of it. */
void rd_http_engine_release(struct rd_engine *engine, struct rd_engine_run *run);

#endif
