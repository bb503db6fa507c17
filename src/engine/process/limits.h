/* SPDX-License-Identifier: Apache-2.0
 *
 * What the configuration must know of this engine, so that a number out of range is refused with
 * its file and line. */
#ifndef RD_ENGINE_PROCESS_LIMITS_H
#define RD_ENGINE_PROCESS_LIMITS_H

enum { RD_PROCESS_SLOTS_MAX = 64 }; /* processes at a time */

#endif
