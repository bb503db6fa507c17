/* SPDX-License-Identifier: Apache-2.0
 *
 * A scripted gRPC server on 127.0.0.1 for tests of the gRPC engine: nghttp2's server side on
 * blocking sockets, one thread a connection, with TLS where asked. The prompt of an inference says
 * how it is answered, rightly or wrongly (the table is in grpc_backend.c); the health of the server
 * is set by the switches here. */
#ifndef RD_TESTS_ENGINE_GRPC_BACKEND_H
#define RD_TESTS_ENGINE_GRPC_BACKEND_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GRPC_BACKEND_PICTURE = 70000, GRPC_BACKEND_TEXT = 4096 };

struct grpc_backend {
    /* switches */
    atomic_bool not_live, not_ready, model_missing, wrong_metadata, silent; /* probes' answers */
    atomic_bool no_config, more_inputs, decoupled_model;
    atomic_bool plain;       /* answers with HTTP/1.1 text to whatever comes */
    atomic_bool mute;        /* accepts, and says nothing */
    atomic_bool no_alpn;     /* TLS without ALPN */
    atomic_uint streams_max; /* SETTINGS_MAX_CONCURRENT_STREAMS; 0: not told */
    atomic_uint queue_ms;    /* told by ModelStatistics for each request */

    /* what was seen */
    atomic_uint connections, infers, resets, probes, statistics;
    sem_t reset; /* posted for each RST_STREAM */
    pthread_mutex_t lock;
    char headers[GRPC_BACKEND_TEXT]; /* of the last inference, "name: value\n" */
    char request[GRPC_BACKEND_TEXT]; /* its message, in words */
};
extern struct grpc_backend grpc_backend;

/* Listens on `port` (0: a free one), with TLS when `certificate` and `key` (PEM files) are given;
 * returns the port. */
unsigned grpc_backend_start(unsigned port, const char *certificate, const char *key);
/* Cuts every connection, waits for every thread. */
void grpc_backend_stop(void);
/* Sets every switch and number back. */
void grpc_backend_reset(void);
/* The picture for a seed. */
void grpc_backend_picture(uint8_t out[GRPC_BACKEND_PICTURE], uint64_t seed);

#endif
