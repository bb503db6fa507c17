/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of ws/ share: message.c reads and writes messages, conn.c moves frames between a
 * socket and a connection's queue, ask.c turns messages into requests to the host and events into
 * messages, server.c is the thread.
 *
 * A connection's members belong to the server's thread, but those under "lock", which belong to
 * server->lock. Life: admitted -> taken (the thread has it) -> the socket ends (`closed`, nothing
 * is put into its queue any more) -> no ask is open -> its watches are given back -> freed. */
#ifndef RD_WS_INTERNAL_H
#define RD_WS_INTERNAL_H

#include <pthread.h>

#include <wslay/wslay.h>

#include "base/buf.h"
#include "base/limits.h"
#include "ws/ws.h"

enum {
    RD_WS_ID_MAX = 128,             /* a client's own id, as JSON */
    RD_WS_MESSAGE_KEPT = 16 * 1024, /* of the memory for incoming messages, between them */
    RD_WS_BUDGET = 256 * 1024,      /* read from one connection before the others have their turn */
    RD_WS_BATCH = 64 * 1024,        /* handed to wslay at once */
    RD_WS_LINGER_MS = 1000,         /* for the client to close, after both sides said so */
    /* Of RD_LIMIT_WS_QUEUE: events that may be missed fill the first half, and reading stops at
     * three quarters; the rest is for answers and for last events. */
    RD_WS_QUEUE_EVENTS = RD_LIMIT_WS_QUEUE / 2,
    RD_WS_QUEUE_PAUSE = RD_LIMIT_WS_QUEUE / 4 * 3,
    RD_WS_FRAMES_PAUSE = 1024,       /* in wslay's own queue: pongs */
    RD_WS_OUT_MAX = 256 * 1024 + 512 /* one outgoing message: the largest event fits */
};

/* RFC 6455, 7.4.1, and the registry behind it. */
enum rd_ws_code {
    RD_WS_GOING_AWAY = 1001,
    RD_WS_PROTOCOL_ERROR = 1002,
    RD_WS_UNSUPPORTED = 1003,
    RD_WS_POLICY = 1008,
    RD_WS_TOO_BIG = 1009,
    RD_WS_TRY_LATER = 1013,
};

/* ---- messages (message.c) ---- */

enum rd_ws_kind { RD_WS_GENERATE, RD_WS_SUBSCRIBE, RD_WS_CANCEL };

struct rd_ws_message {
    enum rd_ws_kind kind;
    char id[RD_WS_ID_MAX + 1]; /* as JSON; "null" */
    char job[RD_ID_MAX];
    uint64_t after;
    char *body; /* GENERATE: the object without type and id; rd_mem_free */
};
/* INVALID_JSON, INVALID_REQUEST or NO_MEMORY with *ret_problem; `ret->id` is set as soon as it is
 * known, so that the error can be told under it. */
rd_err rd_ws_message_parse(const char *text, size_t len, struct rd_ws_message *ret,
                           const char **ret_problem) RD_MUST;
void rd_ws_write_ack(struct rd_buf *out, const char *id, const char *job);
/* `job` "" is null, `message` NULL the error's own. */
void rd_ws_write_error(struct rd_buf *out, const char *id, const char *job, rd_err err,
                       const char *message);
/* The contract's Error of an HTTP answer as a message. */
void rd_ws_write_refusal(struct rd_buf *out, const char *id, const char *json);
void rd_ws_write_event(struct rd_buf *out, const struct rd_jobs_event *event);
void rd_ws_write_missed(struct rd_buf *out, const char *job, unsigned count);
/* The job's id in a JobCreated; false when there is none. */
bool rd_ws_created_job(const char *json, char ret[RD_ID_MAX]);

/* ---- connections ---- */

/* A message on its way out. */
struct rd_ws_out {
    struct rd_ws_out *next;
    size_t len;
    char *text; /* owned */
};

/* A job that is watched. */
struct rd_ws_sub {
    struct rd_ws_conn *conn;
    struct rd_ws_sub *next;
    char job[RD_ID_MAX];
    void *watch;           /* lock */
    struct rd_ws_out *ack; /* lock: goes ahead of the first event; NULL: is out */
    bool settled;          /* lock: the host has answered the watch */
    bool ended;            /* lock: its last event was put */
};

struct rd_ws_ask {
    struct rd_ws_conn *conn;
    enum rd_ws_kind kind;
    char id[RD_WS_ID_MAX + 1];
    char job[RD_ID_MAX];
    struct rd_ws_sub *sub;
};

enum rd_ws_state {
    RD_WS_OPEN,
    RD_WS_CLOSING, /* a close frame is queued or sent */
    RD_WS_LINGER,  /* both have said it, or nothing more is read: until the client's end */
    RD_WS_DEAD,    /* the socket is given back */
};

struct rd_ws_conn {
    struct rd_ws *ws;
    struct rd_ws_conn *next, *next_served, *next_arrival;
    struct rd_ws_conn *next_dirty; /* lock */
    void *session;
    uint64_t owner;
    struct rd_ws_socket socket; /* `extra` is a copy */
    size_t extra_done;
    enum rd_ws_state state;
    wslay_event_context_ptr wslay;
    struct rd_buf message; /* what of an incoming message is there */
    bool gone;             /* the client has ended the stream, or it broke */
    bool bad_frame;        /* what it sent is no frame */
    bool data_frame;       /* the frame that arrives belongs to it */
    size_t budget;
    uint32_t interest; /* what epoll watches */
    uint64_t ping_ns, pong_ns /* until then; 0: none is due */, close_ns;
    uint64_t ping_count;
    /* lock */
    struct rd_ws_out *out, **out_end;
    size_t queued;
    struct rd_ws_sub *subs;
    unsigned sub_count, asks;
    bool dirty, closed, overflow;
};

struct rd_ws {
    struct rd_ws_options options;
    pthread_t thread;
    int epoll, event;
    struct rd_ws_conn *conns; /* taken; the thread's */
    size_t incoming;          /* the thread's: bytes of incoming messages in all connections */
    /* lock */
    pthread_mutex_t lock;
    struct rd_ws_conn *arrivals, *dirty;
    size_t outgoing; /* bytes queued in all connections */
    unsigned count;
    struct rd_ws_owner {
        uint64_t owner;
        unsigned count;
    } * owners; /* who has connections; `owner_count` of RD_LIMIT_WS_CONNECTIONS places */
    unsigned owner_count;
    bool draining, cutting, stopping;
};

/* conn.c: the thread's. */
rd_err rd_ws_conn_init(struct rd_ws_conn *conn) RD_MUST;
void rd_ws_conn_done(struct rd_ws_conn *conn);
/* The socket is there. */
void rd_ws_conn_begin(struct rd_ws_conn *conn, uint64_t now_ns);
/* Reads, handles, writes what can be; `events` are epoll's. */
void rd_ws_conn_step(struct rd_ws_conn *conn, uint32_t events, uint64_t now_ns);
void rd_ws_conn_tick(struct rd_ws_conn *conn, uint64_t now_ns, bool check_key);
void rd_ws_conn_close(struct rd_ws_conn *conn, enum rd_ws_code code, const char *reason,
                      uint64_t now_ns);
void rd_ws_conn_kill(struct rd_ws_conn *conn);

/* ask.c */
/* One whole message of the client; the thread's. */
void rd_ws_handle(struct rd_ws_conn *conn, const char *text, size_t len);
/* Gives back the watches of jobs that have ended (all: of every job); the thread's. */
void rd_ws_reap_subs(struct rd_ws_conn *conn, bool all);

/* server.c: any thread. Puts a chain of messages, all or none. A full queue: when they may be
 * missed, false; else the connection will be closed with 1013. Frees the chain. NULL: there was no
 * memory. */
bool rd_ws_put(struct rd_ws_conn *conn, struct rd_ws_out *chain, bool missable);
/* The same for the events of a job, with the job's ack before them, when it is not out yet. */
bool rd_ws_put_event(struct rd_ws_sub *sub, struct rd_ws_out *chain, bool missable);
void rd_ws_put_ack(struct rd_ws_sub *sub);    /* when it is not out yet */
bool rd_ws_has_room(struct rd_ws_conn *conn); /* for something that may be missed; a guess */
/* The buffer's text as a message; NULL without memory, or when the buffer failed. */
struct rd_ws_out *rd_ws_out_new(struct rd_buf *text);
void rd_ws_out_free(struct rd_ws_out *chain);
void rd_ws_touch(struct rd_ws_conn *conn); /* the thread will look at it; with the lock held */

#endif
