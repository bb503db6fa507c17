/* SPDX-License-Identifier: Apache-2.0
 *
 * What the server and the watcher need of a streamed answer: see stream.c. Nobody outside src/http
 * includes this. */
#ifndef RD_HTTP_STREAM_H
#define RD_HTTP_STREAM_H

#include <microhttpd.h>

struct rd_http_exchange;

/* The answer of an exchange that is `streamed` goes out; on the connection's thread, and once more
 * when libmicrohttpd asks again. */
enum MHD_Result rd_http_stream_start(struct rd_http_exchange *exchange);
/* libmicrohttpd has forgotten the exchange; perhaps the stream never started. */
void rd_http_stream_released(struct rd_http_exchange *exchange);
/* On the watcher's thread: sends, tells, ends; afterwards the exchange may be gone. */
void rd_http_stream_look(struct rd_http_exchange *exchange);

#endif
