/* SPDX-License-Identifier: Apache-2.0
 *
 * One of the server's event loops: a libmicrohttpd daemon of its own and the thread that drives it.
 * Nobody outside src/http includes this. */
#ifndef RD_HTTP_LOOP_H
#define RD_HTTP_LOOP_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"

struct rd_http_conn;
struct rd_http_server;

struct rd_http_loop {
    struct rd_http_server *server;
    struct MHD_Daemon *daemon; /* owned; NULL before it is started */
    int listen_fd;             /* a copy of the listener, owned by the daemon once there is one */
    int wake_fd;               /* owned; an eventfd */
    atomic_bool stopping;
    pthread_t thread;
    bool running;
    atomic_bool has_errands;
    struct rd_http_conn *errands; /* guarded by the watch's lock: see park.c */
};

/* A loop that has nothing yet; fails without a descriptor. */
rd_err rd_http_loop_init(struct rd_http_loop *loop, struct rd_http_server *server,
                         int listen_fd) RD_MUST;
/* Starts the thread of a loop whose daemon stands (MHD_USE_EPOLL, without a thread of its own). */
rd_err rd_http_loop_run(struct rd_http_loop *loop) RD_MUST;
/* Has it look for connections that were resumed; from any thread. */
void rd_http_loop_wake(struct rd_http_loop *loop);
/* Accepts nobody any more; what is open goes on. `idle_fd` is an unconnected socket. */
void rd_http_loop_stop_listening(struct rd_http_loop *loop, int idle_fd);
/* Ends the thread, then the daemon with its connections. Also when it never ran. */
void rd_http_loop_stop(struct rd_http_loop *loop);
/* The rest, when nobody can wake it any more. */
void rd_http_loop_done(struct rd_http_loop *loop);

#endif
