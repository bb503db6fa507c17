/* SPDX-License-Identifier: Apache-2.0
 *
 * Idempotency-Key on the routes that make something other than a job: the second request with the
 * same key and body gets the first one's answer, byte for byte, and nothing is made again
 * (draft-ietf-httpapi-idempotency-key-header). Routes say RD_ON_POOL_ONCE; their handlers know
 * nothing of it, because they all answer through reply.c. */
#ifndef RD_GATEWAY_REPLAY_H
#define RD_GATEWAY_REPLAY_H

#include "gateway/gateway.h"

/* True: the request has a key and was answered. On the pool, before the handler. */
bool rd_replay_answered(struct rd_call *call) RD_MUST;
/* reply.c: this is the answer. Not RD_OK: it could not be kept, so it must not be given. */
rd_err rd_replay_keep(struct rd_call *call, int status, const struct rd_buf *answer) RD_MUST;
/* reply.c: it came to nothing; the key is free. */
void rd_replay_release(struct rd_call *call);

/* A key as clients send it: a structured string, or a bare token. False: not 1 to
 * RD_IDEMPOTENCY_KEY_MAX visible ASCII characters. */
bool rd_replay_key(const char *text, char ret[RD_IDEMPOTENCY_KEY_MAX + 1]);

#endif
