/* SPDX-License-Identifier: Apache-2.0
 *
 * What one run of the built-in engine does, apart from threads: decode the sources, paint each
 * output, show previews, encode, deliver. builtin.c runs it on a worker; a test may run it where it
 * stands. */
#ifndef RD_ENGINE_BUILTIN_BUILTIN_H
#define RD_ENGINE_BUILTIN_BUILTIN_H

#include "engine/builtin/field.h"
#include "engine/engine.h"

/* Does the whole job except done(). `pulse` is asked often: at least once in 20 ms of painting. */
rd_err rd_builtin_run(const struct rd_engine_job *job, const struct rd_pulse *pulse,
                      struct rd_why *why) RD_MUST;

#endif
