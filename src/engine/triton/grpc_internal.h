/* SPDX-License-Identifier: Apache-2.0
 *
 * The structs of the gRPC engine and who may touch them.
 *
 *     engine       constant after open(), but for the pool, the health and the workers (a lock
 *                  each) and a few atomics
 *     driver       one thread: an epoll set, the connections, the calls, the prober. All of it is
 *                  that thread's, but for `inbox`, `woken`, `closing`
 *     connection   a socket, TLS where asked, an HTTP/2 session; row 0 is the prober's own
 *     call         one RPC on one stream: of a run, or of the prober
 *     run          one start(): made by the caller's thread, then owned by one thread at a time. It
 *                  goes through the inbox to the driver's thread, and from there to a worker and
 *                  back when a picture is to be encoded or decoded. `cancelled` is the one field
 *                  that other threads write meanwhile.
 *
 * A call is in one list at a time: waiting for a stream (driver->waiting), open (its connection's),
 * or over (driver->over). What ends a call only moves it to `over`; its owner hears of it from the
 * driver's loop, never from inside nghttp2. */
#ifndef RD_ENGINE_TRITON_GRPC_INTERNAL_H
#define RD_ENGINE_TRITON_GRPC_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>

#include "engine/engine.h"
#include "engine/tensor/answer.h"
#include "engine/tensor/mapping.h"
#include "engine/tensor/tensor.h"
#include "engine/triton/grpc_address.h"
#include "engine/triton/grpc_message.h"
#include "engine/triton/grpc_request.h"
#include "engine/triton/grpc_status.h"

enum {
    RD_GRPC_SLOTS_MAX = 1024,
    RD_GRPC_TIMEOUT_MS = 300000, /* a whole run, when the configuration says nothing */
    RD_GRPC_TIMEOUT_MS_MAX = 3600000,
    RD_GRPC_MODELS_MAX = 64,     /* that one backend is asked about */
    RD_GRPC_CONNECTIONS_MAX = 9, /* the prober's, and eight for runs */
    RD_GRPC_CONNECT_MS = 5000,   /* to the server's SETTINGS; each address a part of it */
    RD_GRPC_PROBE_CONNECT_MS = 600,
    RD_GRPC_PROBE_MS = 750,        /* an answer to a probe; with the interval less than 2 s */
    RD_GRPC_PROBE_EVERY_MS = 1000, /* while ready */
    RD_GRPC_PROBE_AGAIN_MS = 250,  /* while not */
    RD_GRPC_PROBE_ANSWER_MAX = 256 << 10,
    RD_GRPC_WORKERS_MAX = 4,
    /* A picture of 1.5 MB comes without a pause for a WINDOW_UPDATE, and ten of them at once. */
    RD_GRPC_STREAM_WINDOW = 2 << 20,
    RD_GRPC_CONNECTION_WINDOW = 16 << 20,
    RD_GRPC_FRAME_MAX = 64 << 10,
    RD_GRPC_IN = 128 << 10, /* read at once */
    RD_GRPC_OUT = 64 << 10, /* frames are gathered in it, so that a small call is one write */
    RD_GRPC_READS_MAX = 16, /* of one connection before others have their turn */
    /* Frames without headers or data between two with: a peer that sends only these is at war. */
    RD_GRPC_CONTROL_MAX = 4096,
    /* Sent again when the server says that it has not looked at it. A server that refuses streams
     * is full for a moment, whatever number it told: its connection rests, longer each time. */
    RD_GRPC_REPEATS_MAX = 8,
    RD_GRPC_REST_MS = 2,
    RD_GRPC_REST_MS_MAX = 64,
    /* Keep-alive. gRPC servers allow two PINGs in a silent call and then one in five minutes, and
     * hang up on who sends more ("too_many_pings"). */
    RD_GRPC_PING_AFTER_MS = 30000,
    RD_GRPC_PING_RARELY_MS = 310000,
    RD_GRPC_PINGS_SOON = 2,
    RD_GRPC_PING_TIMEOUT_MS = 20000,
    RD_GRPC_TRACE_MAX = 64, /* a traceparent has 55 */
    RD_GRPC_KEY_MAX = 8192,
    RD_GRPC_EVENTS_MAX = 64,
    RD_GRPC_NS_PER_MS = 1000000,
};

enum rd_grpc_kind { RD_GRPC_RUNS, RD_GRPC_PROBES, RD_GRPC_KIND_COUNT_ };

struct rd_grpc_driver;
struct rd_grpc_connection;
struct rd_grpc_call;

/* ---- calls (grpc_call.c) ---- */

struct rd_grpc_call_ops {
    /* Bytes of the answer's body. What is not RD_OK ends the call, with `call->why` if it was set.
     */
    rd_err (*data)(struct rd_grpc_call *call, const uint8_t *bytes, size_t len);
    /* The call is over and in no list: call->err says how. */
    void (*over)(struct rd_grpc_call *call);
};

struct rd_grpc_list {
    struct rd_grpc_call *first, *last;
};

struct rd_grpc_call {
    /* set by its owner before rd_grpc_call_start */
    const struct rd_grpc_call_ops *ops;
    const char *method; /* "ModelInfer" */
    const struct rd_grpc_request *request;
    const char *traceparent; /* NULL: none */
    uint64_t deadline_ns;
    enum rd_grpc_kind kind;
    bool status_errors; /* a stream's errors shall come as a status: triton_grpc_error */

    /* how it ended; `err` and what follows may be read in over() */
    rd_err err;
    bool final, faultless;
    struct rd_why why;
    bool reached;     /* its headers went out */
    uint64_t sent_ns; /* when */

    /* private */
    struct rd_grpc_call *next, *prev;
    struct rd_grpc_list *list;
    struct rd_grpc_driver *driver;
    struct rd_grpc_connection *connection; /* NULL: not open */
    int32_t stream;
    uint64_t offset;                 /* of the request, sent */
    unsigned repeats;                /* refused unseen, and sent again */
    bool heard;                      /* some header or data of the answer came */
    bool typed;                      /* Content-Type is gRPC's */
    bool encoded;                    /* with a grpc-encoding */
    int http_status;                 /* 0: none yet */
    int status;                      /* grpc-status; RD_GRPC_STATUS_NONE */
    size_t head_len;                 /* bytes of headers so far */
    char text[RD_GRPC_TEXT_MAX + 1]; /* grpc-message, decoded */
};

void rd_grpc_list_push(struct rd_grpc_list *list, struct rd_grpc_call *call);
void rd_grpc_list_take(struct rd_grpc_call *call); /* out of the list that it is in, if any */

/* Puts the call in the queue for a stream. */
void rd_grpc_call_start(struct rd_grpc_driver *driver, struct rd_grpc_call *call);
/* Ends it from our side; an open stream is reset with CANCEL. Harmless when it is over. `why` NULL:
 * the error's own words. */
void rd_grpc_call_stop(struct rd_grpc_call *call, rd_err err, const char *why);
/* Ends it because the connection is gone, or sends it again when the server cannot have seen it. */
void rd_grpc_call_lost(struct rd_grpc_call *call, bool unseen, const char *why);
/* Opens a stream for a call that waits. */
rd_err rd_grpc_call_submit(struct rd_grpc_call *call,
                           struct rd_grpc_connection *connection) RD_MUST;
/* The callbacks that streams need; `user` of the session is the connection. */
void rd_grpc_call_callbacks(nghttp2_session_callbacks *callbacks);
/* From the connection's on_frame_recv: headers or data of a stream. */
void rd_grpc_call_frame(struct rd_grpc_connection *connection, const nghttp2_frame *frame);

/* ---- connections (grpc_connection.c, grpc_socket.c) ---- */

enum rd_grpc_state {
    RD_GRPC_CLOSED,
    RD_GRPC_LOOKUP,     /* the name is being resolved */
    RD_GRPC_CONNECTING, /* TCP */
    RD_GRPC_HANDSHAKE,  /* TLS */
    RD_GRPC_GREETING,   /* HTTP/2: the server's SETTINGS have not come */
    RD_GRPC_OPEN,
};

struct rd_grpc_connection {
    struct rd_grpc_driver *driver;
    enum rd_grpc_kind kind;
    enum rd_grpc_state state;
    uint32_t serial; /* counts openings, so that an old event is known */
    struct rd_grpc_lookup *lookup;
    const struct addrinfo *address; /* the one being tried */
    unsigned tries;
    int fd;
    uint32_t mask; /* registered with epoll for; 0: not registered */
    SSL *ssl;
    nghttp2_session *session;
    struct rd_grpc_list calls;
    unsigned calls_count;
    bool leaving; /* GOAWAY: no new call; closed with the last one */
    bool again;   /* there is more to read than one turn took */
    uint8_t *out;
    size_t out_at, out_len;
    uint64_t until_ns;          /* of the attempt to connect, this address's part */
    uint64_t heard_ns, ping_ns; /* last bytes came; the PING that is unanswered, or 0 */
    uint64_t pinged_ns;
    unsigned pings;    /* since the last headers or data */
    unsigned control;  /* frames that were neither, since then */
    unsigned refusals; /* of streams, since the last headers or data */
    uint64_t rest_ns;  /* no new call before; 0: it does not rest */
    bool broken;       /* to be closed when nghttp2 has returned; `why` says why */
    struct rd_why why;
};

void rd_grpc_connection_open(struct rd_grpc_connection *connection, struct rd_grpc_driver *driver,
                             enum rd_grpc_kind kind);
/* Ends what is open on it. `why` NULL: it had nothing open. */
void rd_grpc_connection_close(struct rd_grpc_connection *connection, const char *why);
/* The name may be known now. */
void rd_grpc_connection_looked(struct rd_grpc_connection *connection);
void rd_grpc_connection_event(struct rd_grpc_connection *connection, uint32_t events);
/* Writes what there is to write; closes what is broken or has left. */
void rd_grpc_connection_settle(struct rd_grpc_connection *connection);
/* Timeouts and keep-alive; when it wants to be called next, UINT64_MAX: never. */
uint64_t rd_grpc_connection_timer(struct rd_grpc_connection *connection, uint64_t now);
/* It refused a stream: it rests. */
void rd_grpc_connection_refused(struct rd_grpc_connection *connection);
/* It takes one more call. */
bool rd_grpc_connection_room(const struct rd_grpc_connection *connection);

/* grpc_socket.c: bytes, with and without TLS. -1: would block; -2: an error, `why` is set; read
 * gives 0 at the end. */
enum { RD_GRPC_BLOCKED = -1, RD_GRPC_BROKEN = -2 };
rd_err rd_grpc_tls_context(const struct rd_engine_config *config, SSL_CTX **ret,
                           struct rd_why *why) RD_MUST;
rd_err rd_grpc_tls_start(struct rd_grpc_connection *connection) RD_MUST;
int rd_grpc_tls_shake(struct rd_grpc_connection *connection); /* 1: done */
ssize_t rd_grpc_read(struct rd_grpc_connection *connection, uint8_t *out, size_t room);
ssize_t rd_grpc_write(struct rd_grpc_connection *connection, const uint8_t *data, size_t len);
/* A socket on its way to the address, or -1 with errno. */
int rd_grpc_connect(const struct addrinfo *address);

/* ---- health (grpc_probe.c) ---- */

/* A model of the backend. `queue` are the driver's. */
struct rd_grpc_model {
    const char *name;   /* "family/model" */
    const char *server; /* as the server calls it */
    const struct rd_mapping *mapping;
    bool checked; /* the mapping was compared with the server's model */
    uint64_t queue_count, queue_ns;
    uint64_t queue_average_ns; /* of one request, in the last window with requests */
};

struct rd_grpc_probe {
    struct rd_grpc_call call;
    struct rd_grpc_request request;
    struct rd_buf answer;
    const struct rd_grpc_question *question;
    struct rd_grpc_model *model; /* NULL: of the server */
    /* What ModelConfig said of the model, until its metadata came; NULL: the server has no such
     * method. inference.pb-c.h has it. */
    struct Inference__ModelConfigResponse *config;
};

struct rd_grpc_prober {
    struct rd_grpc_driver *driver;
    struct rd_grpc_probe probe; /* one at a time: a round is a handful of round trips */
    size_t question, model;     /* the one being asked, about the model */
    bool asking;
    uint64_t next_ns, deadline_ns; /* the next round; the end of this one */
    uint32_t serial;               /* of the connection on which the models were checked */
    bool ran;                      /* a run was done since statistics were asked for */
};

void rd_grpc_prober_init(struct rd_grpc_prober *prober, struct rd_grpc_driver *driver);
void rd_grpc_prober_done(struct rd_grpc_prober *prober);
/* The next round is in `ms`, if not before. */
void rd_grpc_prober_soon(struct rd_grpc_prober *prober, unsigned ms);
/* Begins a round when it is time; when it wants to be called next. */
uint64_t rd_grpc_prober_timer(struct rd_grpc_prober *prober, uint64_t now);

/* ---- runs (grpc_run.c), workers (grpc_worker.c) ---- */

struct rd_engine_run {
    struct rd_grpc_call call; /* the first member: over() finds the run by it */
    struct rd_engine *engine;
    struct rd_engine_run *next, *prev; /* inbox, pool, workers' queue (next only); driver's list */
    struct rd_engine_job job;
    const struct rd_grpc_model *model;
    atomic_bool cancelled;
    enum {
        RD_GRPC_RUN_MAKE,   /* its tensors are to be made */
        RD_GRPC_RUN_SEND,   /* they are: to be sent */
        RD_GRPC_RUN_FINISH, /* the answer came: to be finished */
        RD_GRPC_RUN_NEXT,   /* finished: the next output */
    } stage;
    bool calling; /* `call` is started and not over */
    bool away;    /* it is with a worker, or on its way back */

    struct rd_grpc_request request;
    struct rd_grpc_message message;
    struct rd_answer answer;
    struct rd_tensors tensors;
    bool has_answer;
    size_t tensors_told; /* of the message that is coming */
    char traceparent[RD_GRPC_TRACE_MAX];

    uint64_t deadline_ns;
    unsigned output;
    rd_err err; /* what stopped it; the first counts */
    bool final, faultless;
    bool sink_failed; /* the last error of the answer is the sink's own */
    struct rd_why why;
    bool reached, all_told;
    uint64_t measured_ns, device_ns;
    char device[64];
};

rd_err rd_grpc_run_new(struct rd_engine *engine, struct rd_engine_run **ret) RD_MUST;
void rd_grpc_run_free(struct rd_engine_run *run);
void rd_grpc_run_prepare(struct rd_engine_run *run, const struct rd_engine_job *job);
/* The work of its stage has to decode or encode a picture: for a worker. */
bool rd_grpc_run_is_slow(const struct rd_engine_run *run);
/* Does it; any thread. */
void rd_grpc_run_work(struct rd_engine_run *run);
/* The driver's thread goes on with it. False: it is over. */
bool rd_grpc_run_step(struct rd_engine_run *run);
void rd_grpc_run_stop(struct rd_engine_run *run, rd_err err, const char *why);
void rd_grpc_run_report(struct rd_engine_run *run);

/* The few threads that encode and decode pictures; they are started when they are needed. */
struct rd_grpc_workers {
    struct rd_grpc_driver *driver;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct rd_engine_run *first, *last;
    pthread_t threads[RD_GRPC_WORKERS_MAX];
    unsigned threads_count, threads_max, idle;
    bool closing;
};

rd_err rd_grpc_workers_open(struct rd_grpc_workers *workers, struct rd_grpc_driver *driver,
                            unsigned most) RD_MUST;
void rd_grpc_workers_close(struct rd_grpc_workers *workers);
/* The run comes back through the driver's inbox. Without a thread it is done at once, here. */
void rd_grpc_workers_push(struct rd_grpc_workers *workers, struct rd_engine_run *run);

/* ---- the driver (grpc_driver.c) ---- */

struct rd_grpc_driver {
    struct rd_engine *engine;
    pthread_t thread;
    bool running; /* the thread was started */
    int epoll_fd, wake_fd;
    _Atomic(struct rd_engine_run *) inbox; /* newest first */
    atomic_bool woken, closing;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *options;
    uint8_t *in;
    struct rd_grpc_connection connections[RD_GRPC_CONNECTIONS_MAX];
    struct rd_grpc_list waiting[RD_GRPC_KIND_COUNT_], over;
    struct rd_engine_run *runs; /* head of the list of those that are not with a worker */
    unsigned away;              /* with a worker */
    uint64_t next_deadline_ns;  /* no run's deadline is earlier */
    uint64_t retry_ns;          /* no further connection for runs is tried before */
    struct rd_grpc_prober prober;
    struct rd_grpc_workers workers;
};

void rd_grpc_driver_init(struct rd_grpc_driver *driver, struct rd_engine *engine);
rd_err rd_grpc_driver_open(struct rd_grpc_driver *driver, struct rd_why *why) RD_MUST;
void rd_grpc_driver_close(struct rd_grpc_driver *driver); /* also of one that is not quite open */
void rd_grpc_driver_push(struct rd_grpc_driver *driver, struct rd_engine_run *run);
void rd_grpc_driver_wake(struct rd_grpc_driver *driver);
/* Goes on with a run that the driver's thread has: its call is over, or it came by the inbox. */
void rd_grpc_driver_go(struct rd_grpc_driver *driver, struct rd_engine_run *run);
/* No connection could be made. */
void rd_grpc_driver_unreachable(struct rd_grpc_driver *driver, enum rd_grpc_kind kind,
                                const char *why);

/* ---- the engine (grpc.c) ---- */

struct rd_engine {
    const struct rd_engine_config *config;
    struct rd_grpc_target target;
    SSL_CTX *tls;        /* NULL: h2c */
    char *authorization; /* "Bearer ...", or NULL */
    unsigned slots, timeout_ms;
    struct rd_grpc_model models[RD_GRPC_MODELS_MAX];
    size_t models_count;
    pthread_mutex_t pool_lock;
    struct rd_engine_run *pool;
    atomic_uint active;
    pthread_mutex_t health_lock;
    struct rd_engine_health health;
    struct rd_grpc_driver driver;
};

/* `why` NULL: it is ready. */
void rd_grpc_engine_health(struct rd_engine *engine, const char *why);
/* The run is done; its slot is free before the owner hears of it. */
void rd_grpc_engine_release(struct rd_engine *engine, struct rd_engine_run *run);

#endif
