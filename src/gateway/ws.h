/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /ws: what the WebSockets of ws/ are bound to. */
#ifndef RD_GATEWAY_WS_H
#define RD_GATEWAY_WS_H

#include "gateway/gateway.h"
#include "ws/ws.h"

/* Fills gateway->ws, over gateway->jobs. */
rd_err rd_sockets_start(struct rd_gateway *gateway) RD_MUST;
/* The route checks the key itself, since browsers cannot send Authorization (ws/handshake.h). */
void rd_sockets_handle(struct rd_call *call);

#endif
