/* SPDX-License-Identifier: Apache-2.0
 *
 * WebSockets: one connection on which a client submits, watches and cancels many jobs. This folder
 * has the protocol (RFC 6455, server side, with wslay for the frames) and the messages; what a job
 * is, it learns from the functions in struct rd_ws_host. The handshake is HTTP's: handshake.h.
 *
 * One thread serves all connections with epoll; it waits for nobody. What comes from other threads
 * (events of jobs, answers of the host) is put into a connection's queue, which is bounded, under
 * one lock that is held for memory work only. It is taken inside the host's locks, so nothing of
 * the host is called while it is held.
 *
 * Messages are JSON objects, one in a text message. From the client:
 *     {"type": "generate", "id": .., <the fields of POST /queue>}
 *     {"type": "subscribe", "id": .., "job_id": .., "after": <event_id, optional>}
 *     {"type": "cancel", "id": .., "job_id": ..}
 * `id` is the client's own, text or a whole number; it comes back in the answer. From the server:
 *     {"type": "ack", "id": .., "job_id": ..}
 *     {"type": "error", "id": .., "job_id": .., "code": .., "message": .., ...}     of a request
 *     {"type": "position" | "started" | "progress" | "frame" | "complete" | "error",
 *      "job_id": .., "event_id": .., <the event's data>}                            of a job
 *     {"type": "missed", "job_id": .., "count": n}
 * Who generates is subscribed. A reader who is too slow loses events but never a job's last one:
 * when that, or an answer, finds no room, then the connection is closed with 1013 and the client
 * asks again on a new one. */
#ifndef RD_WS_WS_H
#define RD_WS_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "jobs/jobs.h"

struct rd_ws;
struct rd_ws_conn;
struct rd_ws_ask; /* a request of a client that its host has not answered yet */

/* What the jobs behind the connections are. Called on the server's thread, but for `watch`, which
 * is also called from inside rd_ws_submitted; nothing here may wait. Each submit, watch and cancel
 * must be answered once, from any thread, also from inside the call. `session` is who is connected.
 */
struct rd_ws_host {
    void *ctx;
    bool (*valid)(void *ctx, void *session); /* is the key still good? twice a second */
    void (*submit)(void *ctx, void *session, const char *body, size_t len, struct rd_ws_ask *ask);
    void (*watch)(void *ctx, void *session, const char *job, uint64_t after, rd_jobs_event_fn *fn,
                  void *fn_ctx, struct rd_ws_ask *ask);
    void (*unwatch)(void *ctx, void *watch); /* once for each watch that was not NULL */
    void (*cancel)(void *ctx, void *session, const char *job, struct rd_ws_ask *ask);
    void (*end)(void *ctx, void *session); /* the last call */
};
/* The answers. `json` is the answer of POST /queue: a JobCreated, or the contract's Error. */
void rd_ws_submitted(struct rd_ws_ask *ask, int status, const char *json);
void rd_ws_watched(struct rd_ws_ask *ask, rd_err err, void *watch);
void rd_ws_cancelled(struct rd_ws_ask *ask, rd_err err);

struct rd_ws_options {
    struct rd_ws_host host;
    /* 0: as it says here; milliseconds. For tests. */
    unsigned ping_ms;  /* 20000: from one ping to the next */
    unsigned pong_ms;  /* 20000: for its answer */
    unsigned close_ms; /* 5000: for a close handshake */
    unsigned check_ms; /* 500: from one look at a key to the next */
    size_t held;       /* RD_LIMIT_WS_HELD */
};
rd_err rd_ws_start(const struct rd_ws_options *options, struct rd_ws **ret) RD_MUST;
/* Says 1001 (going away) to everybody and admits nobody. */
void rd_ws_drain(struct rd_ws *ws);
void rd_ws_cut(struct rd_ws *ws);       /* ends those that are left at once */
unsigned rd_ws_count(struct rd_ws *ws); /* connections, admitted ones included */
/* Cuts what is left and ends. The host must have answered, or still answer, everything. NULL is
 * fine. */
void rd_ws_stop(struct rd_ws *ws);

/* Room for one more connection, before 101 is said, so that nothing can fail after it; of `owner`,
 * whose connections are bounded too. RATE_LIMITED: this owner has too many; CAPACITY: all together;
 * DRAINING; NO_MEMORY. RD_OK takes the session over. */
rd_err rd_ws_admit(struct rd_ws *ws, uint64_t owner, void *session,
                   struct rd_ws_conn **ret) RD_MUST;
/* The client left before 101 was said. */
void rd_ws_abandon(struct rd_ws_conn *conn);

/* A socket that was handed over: non-blocking; `extra` is what the client sent behind its
 * handshake. */
struct rd_ws_socket {
    int fd;
    const void *extra;
    size_t extra_len;
    void (*close)(void *handle); /* gives the socket back, once, on the server's thread */
    void *handle;
};
/* From any thread; does not wait. Should the bytes of `extra` find no memory, the connection ends.
 */
void rd_ws_take(struct rd_ws_conn *conn, const struct rd_ws_socket *socket);

#endif
