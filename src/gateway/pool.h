/* SPDX-License-Identifier: Apache-2.0
 *
 * A few threads for work that would block a thread that serves others: decoding large bodies,
 * fetching source images, hashing large objects. First come, first served; bounded. */
#ifndef RD_GATEWAY_POOL_H
#define RD_GATEWAY_POOL_H

#include "base/err.h"

enum { RD_POOL_QUEUE_MAX = 1024 };

struct rd_pool;

rd_err rd_pool_start(unsigned threads, struct rd_pool **ret) RD_MUST;
/* Runs work(ctx) on one of the threads. CAPACITY when RD_POOL_QUEUE_MAX are waiting. */
rd_err rd_pool_submit(struct rd_pool *pool, void (*work)(void *ctx), void *ctx) RD_MUST;
/* Runs what is queued, joins the threads, frees. NULL is fine. */
void rd_pool_stop(struct rd_pool *pool);

#endif
