/* SPDX-License-Identifier: Apache-2.0
 *
 * The signer's system-call filter. In a file of its own so that a test can put itself under the
 * very same filter and try what it forbids. */
#ifndef RD_SIGNER_FILTER_H
#define RD_SIGNER_FILTER_H

#include <stdbool.h>

#include "base/err.h"

/* Whether this build's filter is the strict one. False only when built with a sanitizer. */
extern const bool rd_signerd_filter_strict;

/* From here on the process may only read and write `channel` and exit; any other system call kills
 * it at once (SIGSYS). Cannot be taken back. Fails, and leaves the process unfiltered, where the
 * kernel has no seccomp: the caller must then give up. */
rd_err rd_signerd_filter_install(int channel, struct rd_why *why) RD_MUST;

#endif
