/* SPDX-License-Identifier: Apache-2.0
 *
 * Internal to verify*.c: the one way in which hostile JSON is read here. */
#ifndef RD_PROVENANCE_VERIFY_JSON_H
#define RD_PROVENANCE_VERIFY_JSON_H

#include <jansson.h>
#include <stddef.h>

/* An object from exactly these bytes: UTF-8, no duplicate names, no NUL, nothing behind it, nested
 * at most RD_VERIFY_DEPTH_MAX deep. NULL otherwise. The caller owns it (json_auto_t, json_decref).
 */
json_t *rd_verify_json_object(const char *text, size_t len);

#endif
