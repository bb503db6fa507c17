/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of an exchange, shared by server.c (its life) and exchange.c (its request and answer).
 * Nobody outside src/http includes this. */
#ifndef RD_HTTP_EXCHANGE_H
#define RD_HTTP_EXCHANGE_H

#include <microhttpd.h>

#include <pthread.h>
#include <stdatomic.h>

#include "http/server.h"

struct rd_http_conn;
struct rd_http_loop;

struct reply_header {
    const char *name, *value; /* in the arena */
};

/* A streamed answer: see stream.c. */
struct rd_http_stream {
    pthread_mutex_t lock; /* guards what follows, down to `head_sent` */
    int fd;               /* -1 before it has the socket; then owned */
    struct rd_buf wait;   /* from `sent` on: what the socket did not take yet */
    size_t sent;
    bool ended;                /* by the application */
    bool released;             /* by libmicrohttpd */
    bool dead;                 /* the client is gone, or the answer failed */
    bool told;                 /* so the application knows */
    bool head_sent;            /* the whole answer to a HEAD request */
    _Atomic uint64_t stuck_ns; /* since when the socket takes nothing; 0: nothing waits */
    bool posted;               /* these two are guarded by the watch's news_lock */
    struct rd_http_exchange *next_news;
};

struct rd_http_exchange {
    struct rd_http_server *server;
    struct rd_http_loop *loop; /* that its connection belongs to */
    const struct rd_http_app *app;
    struct MHD_Connection *connection;
    struct rd_http_conn *conn; /* NULL when there was no memory for it */
    struct rd_arena arena;
    void *user;
    char id[RD_ID_MAX];
    uint64_t started_ns;

    /* request */
    enum rd_http_method method;
    bool http_1_0;
    const char *path, *query; /* raw, in the arena */
    rd_err refusal;
    bool begun, dispatched;
    bool has_length, has_body;
    bool unsound; /* its framing can be read in two ways: never reuse the connection */
    uint64_t length;
    struct rd_buf body;
    rd_err body_err;
    unsigned party;
    size_t holding, counted; /* asked for by rd_http_hold; of that, counted at the server */
    size_t announced_held;   /* of the body, held before it came */
    uint64_t received;
    size_t drained;
    rd_err (*chunk)(void *ctx, struct rd_http_exchange *exchange, const void *data, size_t len);
    void *chunk_ctx;

    /* answer */
    bool suspended, replied, told_gone;
    bool streamed, ours; /* the answer is a stream; its connection is taken over */
    bool over;           /* done() has been called */
    bool last;           /* the connection ends with this answer */
    bool broken; /* a part of the answer could not be kept: cut the connection instead of sending
                    less */
    int status;
    struct reply_header headers[RD_HTTP_REPLY_HEADERS_MAX];
    size_t headers_count;
    const char *text;             /* in the arena */
    struct rd_http_piece *pieces; /* in the arena; descriptors are owned until handed over */
    size_t pieces_count;
    uint64_t reply_len;
    struct rd_http_stream stream; /* when `streamed` */
    const char *protocol;         /* of an upgrade, in the arena; NULL: none */
    rd_http_taken *taken;
    void *taken_ctx;
};

/* Gives the collected answer to libmicrohttpd, on the connection's thread. */
enum MHD_Result rd_http_exchange_queue(struct rd_http_exchange *exchange);
/* The last call to the application (server.c). */
void rd_http_exchange_done(struct rd_http_exchange *exchange, bool sent);
/* Adds the collected headers. */
enum MHD_Result rd_http_exchange_add_headers(struct rd_http_exchange *exchange,
                                             struct MHD_Response *response);
/* Wakes a suspended connection (server.c). */
void rd_http_exchange_resume(struct rd_http_exchange *exchange);
void rd_http_exchange_free(struct rd_http_exchange *exchange);

#endif
