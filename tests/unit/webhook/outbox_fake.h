/* SPDX-License-Identifier: Apache-2.0
 *
 * An outbox in memory in the place of the store's, with the same promises: the sender's tests put
 * messages in, see what was written, and let writing fail when they want. */
#ifndef RD_TESTS_OUTBOX_FAKE_H
#define RD_TESTS_OUTBOX_FAKE_H

#include "store/jobs.h"

void outbox_reset(void);
/* A pending message that is due at `next_ms`; its number in *ret_id's place: "msg_" + n. */
void outbox_add(uint64_t n, uint64_t owner, const char *url, const char *body, uint64_t next_ms);
/* The row as it is now; its texts live until outbox_reset. */
struct rd_delivery outbox_row(uint64_t n);
/* Waits until at least `attempts` tries of n are written down, or it is not pending any more. */
struct rd_delivery outbox_wait(uint64_t n, unsigned attempts);
/* Waits until message n was written, as a try or put off, `writes` times in all. */
void outbox_wait_writes(uint64_t n, unsigned writes);
bool outbox_disabled(uint64_t n);                /* its endpoint was */
unsigned outbox_pending(void);                   /* messages that are */
void outbox_wait_idle(void);                     /* until none is */
void outbox_secrets(size_t count);               /* 2: a rotation lasts */
void outbox_fail(unsigned times, bool for_good); /* of the writes to come */
unsigned outbox_failures(void);                  /* writes that failed so far */
void outbox_wait_failures(unsigned count);

#endif
