/* SPDX-License-Identifier: Apache-2.0
 *
 * The scripted backend of the HTTP engine's tests: a loopback handler that does one thing or
 * another wrong by the request's path, and remembers the newest request. At the path "/" it is
 * good, unless the prompt is "slow": then it never answers; or a path: then it does as there. */
#ifndef RD_TESTS_HTTP_BACKEND_H
#define RD_TESTS_HTTP_BACKEND_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>

struct loopback_request;

enum { HTTP_BACKEND_PICTURE = 20000 }; /* bytes of a good picture */

extern struct http_backend {
    pthread_mutex_t lock; /* for the newest request: */
    char head[4096];
    char *body; /* with a NUL behind */
    size_t body_len;
    sem_t gone; /* posted when a client left /hang-inside */
} http_backend;

bool http_backend_handle(void *ctx, int fd, const struct loopback_request *request);
/* The picture that a good answer to `body` holds. */
void http_backend_picture(char *out, size_t len, const char *body);

#endif
