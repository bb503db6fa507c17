/* SPDX-License-Identifier: Apache-2.0
 *
 * The signing key and its file. Only render-signer links this. */
#ifndef RD_SIGNER_KEY_H
#define RD_SIGNER_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct rd_signerd_key {
    uint8_t *secret; /* 64 bytes in guarded, locked, read-only memory; owned */
    uint8_t public[32];
    bool locked; /* the memory cannot be swapped out (false where RLIMIT_MEMLOCK forbids) */
};

/* Reads the key at `path`; makes one when nothing is there. CONFIG for a file that is not to be
 * trusted or not a key, with one line in `why`; IO and DISK_FULL as they come. Never replaces a
 * file. */
rd_err rd_signerd_key_open(const char *path, struct rd_signerd_key *ret,
                           struct rd_why *why) RD_MUST;
void rd_signerd_key_done(struct rd_signerd_key *key); /* wipes and frees */

#endif
