/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections that have nothing to do wait outside libmicrohttpd: see park.c. Nobody outside
 * src/http includes this. */
#ifndef RD_HTTP_PARK_H
#define RD_HTTP_PARK_H

#include <stdint.h>

struct rd_http_loop;

/* Of all that has arrived on a socket, how many bytes are not there to be read any more. */
uint64_t rd_http_park_consumed(int fd);

/* On the loop's thread, between two runs of the library: parks and returns what the watcher asked
 * for. */
void rd_http_park_errands(struct rd_http_loop *loop);

#endif
