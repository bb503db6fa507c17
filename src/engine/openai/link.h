/* SPDX-License-Identifier: Apache-2.0
 *
 * A picture's address in an answer (data[].url): fetched when it lies on the engine's own server,
 * refused otherwise. The gateway would else ask any address for whoever controls an answer. */
#ifndef RD_ENGINE_OPENAI_LINK_H
#define RD_ENGINE_OPENAI_LINK_H

#include <stddef.h>

#include "base/err.h"

/* The path and query of `url`, which is a path itself ("/images/1.png") or has the scheme, host and
 * port of `engine_url`. BACKEND_FAILED with why when it is not, or does not fit into `room`. */
rd_err rd_openai_link(const char *engine_url, const char *url, char *out, size_t room,
                      struct rd_why *why) RD_MUST;

#endif
