/* SPDX-License-Identifier: Apache-2.0
 *
 * The scripted Triton of the tests of engine/triton/http.c: a loopback handler that speaks v2 with
 * or without the binary tensor extension, and does one thing or another wrong by the prompt. */
#ifndef RD_TESTS_TRITON_HTTP_BACKEND_H
#define RD_TESTS_TRITON_HTTP_BACKEND_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loopback_request;

enum { TRITON_PICTURE = 20000 }; /* bytes of a good picture */

extern struct triton_backend {
    pthread_mutex_t lock; /* for all of it */
    /* set by tests */
    bool plain; /* no extensions */
    bool unready, decoupled;
    int model_status;       /* of /ready; 0: 200 */
    const char *metadata;   /* instead of the right one */
    uint64_t queue_ns_each; /* by which the statistics grow with each request */
    /* what came: the newest inference request */
    char path[256], head[4096];
    char *json; /* its JSON */
    char *blobs;
    size_t blobs_len;
    unsigned metadata_asked, statistics_asked, inferred;
} triton_backend;

bool triton_backend_handle(void *ctx, int fd, const struct loopback_request *request);
void triton_backend_reset(void); /* as at the beginning; frees */
/* The picture that the server paints for this seed. */
void triton_backend_picture(char *out, size_t len, uint64_t seed);

#endif
