/* SPDX-License-Identifier: Apache-2.0
 *
 * The gateway's end of render-signer, the only process that holds the signing key. The signer is
 * started with one socketpair and answers a closed list of framed requests (signer_proto.h):
 * PUBLIC_KEY, SIGN_STATEMENTS. It adds the DSSE framing itself and refuses what is not a Statement,
 * so that it is no oracle for other bytes. It has no network and a system-call filter. */
#ifndef RD_PROVENANCE_SIGNER_H
#define RD_PROVENANCE_SIGNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "provenance/statement.h"

struct rd_signer;

/* Starts `program` for `key_file` (created 0600 when missing) and asks for the public key. `why`
 * tells an unreadable key, a wrong mode, a missing program. */
rd_err rd_signer_start(const char *program, const char *key_file, struct rd_signer **ret,
                       struct rd_why *why) RD_MUST;
const uint8_t *rd_signer_public_key(const struct rd_signer *signer); /* RD_KEY_LEN bytes */
const char *rd_signer_keyid(const struct rd_signer *signer);

struct rd_signer_item {
    const void *statement;
    size_t len;
    uint8_t signature[RD_SIGNATURE_LEN]; /* out */
};
/* Signs a batch: one round trip, or more beyond the frame's limits (256 statements, 1 MiB). All or
 * nothing: on failure no signature may be used. Thread-safe (serialised). INVALID_REQUEST when the
 * signer refuses one of them as no Statement, TOO_LARGE when one is over 64 KiB, STORAGE when the
 * signer is gone. A signer that died is started again, at most once a second, and the batch is
 * tried once more (the same statement always gets the same signature); so a lone crash is not seen.
 */
rd_err rd_signer_sign(struct rd_signer *signer, struct rd_signer_item *items, size_t count) RD_MUST;
/* Whether the process runs; reaps it when it has ended. For readiness probes; never blocks for
 * long. */
bool rd_signer_alive(struct rd_signer *signer) RD_MUST;
/* Starts it again when it does not run, at most once a second. STORAGE when it does not come up. */
rd_err rd_signer_revive(struct rd_signer *signer) RD_MUST;
int rd_signer_pid(const struct rd_signer *signer); /* for logs; 0 when it does not run */
/* Closes the channel, waits for the process, frees. */
void rd_signer_stop(struct rd_signer *signer);

#endif
