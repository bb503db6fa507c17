/* SPDX-License-Identifier: Apache-2.0
 *
 * The opening handshake of RFC 6455, section 4.2, as a pure function of the request's headers.
 *
 * Browsers let no script set a header of this request but Sec-WebSocket-Protocol. So the API key
 * may come there, as the protocol "render.key.<key>" beside "render.v1", and only the latter is
 * answered. There is no ?key=: URLs end up in logs and histories.
 *
 * Origin: a browser always sends it, and it must then be one that the operator allows (`cors` in
 * the configuration). Other programs send none; nothing is lost, because the key, unlike a cookie,
 * is never added by a browser on its own. */
#ifndef RD_WS_HANDSHAKE_H
#define RD_WS_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { RD_WS_ACCEPT_LEN = 28 };
#define RD_WS_PROTOCOL "render.v1"

struct rd_ws_handshake {
    const char *(*header)(void *ctx, const char *name); /* or NULL when the request lacks it */
    void *ctx;
    const char *const *origins; /* allowed; "*" is any */
    size_t origins_count;
};
struct rd_ws_handshake_answer {
    char accept[RD_WS_ACCEPT_LEN + 1]; /* Sec-WebSocket-Accept */
    bool protocol;                     /* answer Sec-WebSocket-Protocol: RD_WS_PROTOCOL */
    const char *key;                   /* inside the header; NULL: none was given there */
    size_t key_len;
};

/* UPGRADE_REQUIRED: no WebSocket handshake, or not of version 13. FORBIDDEN: the Origin. Else
 * INVALID_REQUEST. *ret_problem says what to change. */
rd_err rd_ws_handshake(const struct rd_ws_handshake *request, struct rd_ws_handshake_answer *ret,
                       const char **ret_problem) RD_MUST;

#endif
