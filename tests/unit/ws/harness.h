/* SPDX-License-Identifier: Apache-2.0
 *
 * A host that writes down what it is asked and answers when the test says so, and a client that
 * writes frames byte by byte, also wrong ones. A read that takes 20 s fails the test. */
#ifndef TEST_WS_HARNESS_H
#define TEST_WS_HARNESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ws/ws.h"

enum { HOST_CALLS = 4096, FRAME_MAX = 2 << 20 };

struct call {
    char what[12]; /* "submit", "watch", "cancel" */
    char job[RD_ID_MAX];
    char body[256];
    uint64_t after;
    rd_jobs_event_fn *fn;
    void *fn_ctx;
    struct rd_ws_ask *ask; /* NULL once it is answered */
};

/* One for each test; sessions are pointers to it. */
struct host {
    struct rd_ws *ws;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct call calls[HOST_CALLS];
    unsigned count, unwatched, ended, closed, checks;
    bool revoked;
    rd_err watch_err; /* answered at once, from inside the call, unless `hold_watches` */
    bool hold_watches, last_inside; /* tell the last event from inside watch */
};

struct host *
host_start(const struct rd_ws_options *times); /* its host is filled in; NULL: defaults */
void host_stop(struct host *host);
/* The call with this number, once it was made. */
struct call *host_call(struct host *host, unsigned number, const char *what);
void host_event(struct host *host, struct call *watch, const char *name, const char *data,
                bool last, bool *ret_taken);
/* Waits until *counter (under the lock) is `wanted`. */
void host_wait(struct host *host, const unsigned *counter, unsigned wanted);

/* The client's end of a new connection. */
int client_connect(struct host *host, const void *extra, size_t extra_len);
void client_frame(int fd, unsigned first, const void *payload, size_t len); /* masked */
void client_text(int fd, const char *text);
void client_raw(int fd, const void *bytes, size_t len);
/* The next frame's opcode; -1 at the end of the stream. `payload` has room for FRAME_MAX. */
int client_read(int fd, char *payload, size_t *ret_len);
/* The next data frame is this text. */
void client_expect(int fd, const char *text);
/* The next frame that is no data is a close with this code, then nothing; closes fd. */
void client_expect_close(int fd, unsigned code);

#define JOB "j_0123456789abcdefghijkl"

#endif
