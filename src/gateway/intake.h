/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking bytes from a client into the store while they arrive: shared by uploads and objects.
 * Order: begin (on headers) -> chunks -> seal -> commit; the client never sees anything
 * half-written, and an exchange that ends early gives up what it wrote. */
#ifndef RD_GATEWAY_INTAKE_H
#define RD_GATEWAY_INTAKE_H

#include "gateway/gateway.h"
#include "media/media.h"

struct rd_intake {
    struct rd_call *call;
    struct rd_cas_writer *writer; /* owned until committed */
    uint64_t max;
    uint64_t size;
    struct rd_hash hash; /* after seal */
    bool existed;        /* the tenant had it before (objects.c) */
    char *probe;         /* the first bytes, owned: what the picture's header is read from */
    size_t probe_len;
    bool is_image;
    struct rd_image_info image; /* when is_image */
    const char *content_type;   /* by content: image/..., video/mp4, or application/octet-stream */
    struct rd_why why;          /* why it is no image */
    rd_err committed;
    void (*done)(struct rd_call *call, rd_err err);
    void *user;                                          /* the route's own; */
    void (*drop_user)(struct rd_call *call, void *user); /* called with it at the end, or NULL */
};

/* From a route's `begin`: opens a writer and streams the body into it, at most `max` bytes. Sets
 * call->state and call->drop. NULL when it could not, with the error replied. */
struct rd_intake *rd_intake_begin(struct rd_call *call, uint64_t owner, uint64_t max);
/* From a route's `handle`: ends the bytes, computes hash and type. The error of the stream, if any.
 */
rd_err rd_intake_seal(struct rd_call *call) RD_MUST;
/* Suspends, stores, and calls done(call, err), which replies. */
void rd_intake_commit(struct rd_call *call, void (*done)(struct rd_call *call, rd_err err));

#endif
