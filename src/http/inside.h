/* SPDX-License-Identifier: Apache-2.0
 *
 * The server's own data, for the sources of this folder. Nobody outside src/http includes this. */
#ifndef RD_HTTP_INSIDE_H
#define RD_HTTP_INSIDE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "http/loop.h"
#include "http/server.h"
#include "http/watch.h"

enum { RD_HTTP_PARTIES = 256 }; /* rows of the parties' accounts; two in one row share it */

struct rd_http_server {
    struct rd_http_app app;
    int listen_fd; /* owned; each loop has a copy */
    int idle_fd;   /* owned; an unconnected socket, to take the number of another */
    unsigned threads, loops_count;
    struct rd_http_loop *loops; /* owned; `threads` of them */
    uint16_t port;
    atomic_bool closing;
    _Atomic size_t held, held_by[RD_HTTP_PARTIES]; /* bytes: see rd_http_hold */
    _Atomic unsigned exchanges;
    _Atomic unsigned resuming; /* replies on their way into a loop */
    struct rd_http_watch watch;
};

#endif
