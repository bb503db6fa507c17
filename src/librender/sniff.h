/* SPDX-License-Identifier: Apache-2.0
 *
 * What a file is by its first bytes, since names lie. The gateway decides by content as well; this
 * only tells it, and tells the user at once when a file is none of the three. */
#ifndef RD_LIBRENDER_SNIFF_H
#define RD_LIBRENDER_SNIFF_H

#include <stddef.h>

enum { RD_CLIENT_SNIFF_LEN = 12 }; /* bytes that are enough */
/* "image/png", "image/jpeg", "image/webp", or NULL. */
const char *rd_client_sniff(const void *bytes, size_t len);

#endif
