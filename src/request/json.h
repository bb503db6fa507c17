/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON library with one gap closed: it calls some failures of memory "invalid", which would
 * tell a client that a good body is wrong. Here every failed allocation of a parse is noticed. */
#ifndef RD_REQUEST_JSON_H
#define RD_REQUEST_JSON_H

#include <jansson.h>
#include <stddef.h>

/* As json_loadb. When it fails for want of memory, json_error_code(error) is
 * json_error_out_of_memory, always. */
json_t *rd_json_load(const char *text, size_t len, size_t flags, json_error_t *error);

#endif
