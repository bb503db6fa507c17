/* SPDX-License-Identifier: Apache-2.0
 *
 * The scripted server of the tests of engines of type "openai". The first part of a path chooses
 * what it does ("/good/v1/images/generations"), and for some how a picture is made; it remembers
 * the newest request that was no probe. A prompt of "slow" is never answered, one of "!MODE" as
 * another first part would be. */
#ifndef RD_TESTS_OPENAI_BACKEND_H
#define RD_TESTS_OPENAI_BACKEND_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loopback_request;

enum { OPENAI_BACKEND_PICTURE = 20000 }; /* bytes of a good picture */

extern struct openai_backend {
    pthread_mutex_t lock; /* for all below */
    char head[4096];      /* of the newest POST */
    char *body;           /* with a NUL behind */
    size_t body_len;
    unsigned posts, polls, deletes, probes; /* so far */
    char deleted[256];                      /* path of the newest DELETE */
    bool down;                              /* everything is answered with 503 */
    uint8_t *real;                          /* an encoded PNG, for those who decode */
    size_t real_len;
    sem_t told; /* posted at every DELETE */
} openai_backend;

void openai_backend_init(void);
void openai_backend_done(void);
bool openai_backend_handle(void *ctx, int fd, const struct loopback_request *request);

#endif
