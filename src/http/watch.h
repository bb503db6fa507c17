/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of open connections and the thread that watches them: see watch.c. Nobody outside
 * src/http includes this. */
#ifndef RD_HTTP_WATCH_H
#define RD_HTTP_WATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

struct rd_http_app;
struct rd_http_exchange;

struct MHD_Connection;
struct rd_http_loop;

struct rd_http_conn {
    struct rd_http_watch *watch;
    int fd; /* of libmicrohttpd; of a stream or an upgraded connection it is ours */
    uint32_t slot, generation;
    bool hup;                         /* the client closed its side */
    struct rd_http_exchange *waiting; /* the suspended exchange, or NULL */
    struct rd_http_exchange *stream;  /* whose streamed answer this is, or NULL */
    uint64_t deadline_ns;             /* 0: none */
    uint64_t idle_ns;                 /* since when it waits for a next request; 0: it does not */
    struct rd_http_loop *loop;        /* NULL when its application alone has it */
    struct MHD_Connection *library;   /* when it is one of libmicrohttpd's */
    uint64_t consumed;                /* bytes of requests; see park.c */
    bool parked;
    bool errand; /* it stands in its loop's list */
    struct rd_http_conn *next_errand;
};

struct rd_http_watch {
    const struct rd_http_app *app;
    int epoll_fd, wake_fd; /* owned */
    pthread_t thread;
    bool running;
    atomic_bool stopping, look_again;
    _Atomic unsigned connections;
    _Atomic uint64_t park_after_ns; /* a constant; tests have less */
    pthread_mutex_t lock;
    uint32_t generation; /* of the next connection; tells old events from new */
    uint32_t slots_used; /* highest slot in use + 1 */
    struct rd_http_conn *conns[RD_LIMIT_CONNECTIONS];
    pthread_mutex_t news_lock;
    struct rd_http_exchange *news; /* streams to look at, by stream.next_news */
};

rd_err rd_http_watch_init(struct rd_http_watch *watch, const struct rd_http_app *app) RD_MUST;
rd_err rd_http_watch_start(struct rd_http_watch *watch) RD_MUST;
/* Ends the thread, after a last look at the streams. Also when it never started. */
void rd_http_watch_done(struct rd_http_watch *watch);
/* Wakes the thread. */
void rd_http_watch_wake(struct rd_http_watch *watch);
/* Has the thread look at a stream (rd_http_stream_look). Takes no lock that an application's
 * callback could be called under. */
void rd_http_watch_post(struct rd_http_watch *watch, struct rd_http_exchange *exchange);
bool rd_http_watch_posted(struct rd_http_watch *watch, const struct rd_http_exchange *exchange);
void rd_http_watch_hang_up(struct rd_http_watch *watch);

/* A connection of libmicrohttpd, as `as` says. NULL without memory or a free slot: then it works,
 * but nobody sees its client leave. */
struct rd_http_conn *rd_http_conn_open(struct rd_http_watch *watch, const struct rd_http_conn *as);
/* Gives its place to a connection of ours, with as->fd, the same socket, and `as` for the rest;
 * `old` is then an empty shell that is still to be closed. Watched for `events` and the client's
 * leaving; 0: not at all. NULL without memory for it, then nothing has changed. */
struct rd_http_conn *rd_http_conn_take_over(struct rd_http_conn *old, const struct rd_http_conn *as,
                                            uint32_t events);
/* Forgets it; closes nothing. */
void rd_http_conn_close(struct rd_http_conn *conn);
void rd_http_conn_deadline(struct rd_http_conn *conn, uint64_t ms); /* 0: none; NULL is fine */
/* The same, and it waits for its next request. */
void rd_http_conn_idle(struct rd_http_conn *conn, uint64_t ms);
/* The next connection that is to be parked or given back by this loop; NULL: none. */
struct rd_http_conn *rd_http_watch_errand(struct rd_http_watch *watch, struct rd_http_loop *loop);
/* Has the application hear when the client of this suspended exchange leaves; NULL ends that. */
void rd_http_conn_wait(struct rd_http_conn *conn, struct rd_http_exchange *exchange);

#endif
