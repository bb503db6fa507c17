/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the server is: a grpc:// or grpcs:// URL, and its name made into addresses without waiting:
 * a name is resolved by a thread of its own, since getaddrinfo() may take many seconds and the
 * driver's thread serves others. */
#ifndef RD_ENGINE_TRITON_GRPC_ADDRESS_H
#define RD_ENGINE_TRITON_GRPC_ADDRESS_H

#include <netdb.h>
#include <stdbool.h>

#include "base/err.h"

enum {
    RD_GRPC_HOST_MAX = 253,
    RD_GRPC_PORT = 8001,     /* Triton's */
    RD_GRPC_ADDRESS_MAX = 4, /* of one name that are tried */
};

struct rd_grpc_target {
    bool tls;
    char host[RD_GRPC_HOST_MAX + 1]; /* without brackets */
    char port[6];
    char authority[RD_GRPC_HOST_MAX + 10]; /* :authority */
};

/* grpc://HOST, grpc://HOST:PORT, grpc://[V6]:PORT, with grpcs:// for TLS; nothing behind but a
 * slash. CONFIG, with words, otherwise. */
rd_err rd_grpc_target_parse(const char *url, struct rd_grpc_target *ret,
                            struct rd_why *why) RD_MUST;

/* One name on its way to addresses. */
struct rd_grpc_lookup;
/* `wake_fd`, an eventfd, is written when it is known; it is duplicated. A numeric address is known
 * at once. NO_MEMORY or IO. */
rd_err rd_grpc_lookup_start(const struct rd_grpc_target *target, int wake_fd,
                            struct rd_grpc_lookup **ret) RD_MUST;
/* True when it is known: the addresses, which live as long as the lookup, or NULL and in words why
 * there are none. */
bool rd_grpc_lookup_known(struct rd_grpc_lookup *lookup, const struct addrinfo **ret,
                          struct rd_why *why);
/* At any time; a thread that still waits for an answer drops it. NULL is fine. */
void rd_grpc_lookup_drop(struct rd_grpc_lookup *lookup);

#endif
