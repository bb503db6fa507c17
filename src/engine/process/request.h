/* SPDX-License-Identifier: Apache-2.0
 *
 * What a command reads on its stdin, as docs/process-engine.md says: the request of an http engine,
 * but that pictures are files, and that the output has a place. */
#ifndef RD_ENGINE_PROCESS_REQUEST_H
#define RD_ENGINE_PROCESS_REQUEST_H

#include <limits.h>

#include "engine/engine.h"

/* Where the output `index` is to be written. */
rd_err rd_process_request_output(const struct rd_engine_job *job, const char *folder,
                                 unsigned index, char ret_path[PATH_MAX],
                                 struct rd_why *why) RD_MUST;
/* Writes the source pictures into the folder, once for a run. */
rd_err rd_process_request_sources(const struct rd_engine_job *job, const char *folder,
                                  struct rd_why *why) RD_MUST;
/* Writes the request for output `index` into the folder and opens it for reading. */
rd_err rd_process_request_open(const struct rd_engine_job *job, const char *folder, unsigned index,
                               int *ret_fd, struct rd_why *why) RD_MUST;

#endif
