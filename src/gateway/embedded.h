/* SPDX-License-Identifier: Apache-2.0
 *
 * Files that the build compiles in (scripts/embed). */
#ifndef RD_GATEWAY_EMBEDDED_H
#define RD_GATEWAY_EMBEDDED_H

#include <stddef.h>

extern const unsigned char rd_embedded_openapi[];
extern const size_t rd_embedded_openapi_len;

#endif
