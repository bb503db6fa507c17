/* SPDX-License-Identifier: Apache-2.0
 *
 * The body of a call: one gRPC message, as a list of pieces. Source pictures are not copied into
 * it; nghttp2 reads the pieces from any offset, so the same body may be sent again. */
#ifndef RD_ENGINE_TRITON_GRPC_REQUEST_H
#define RD_ENGINE_TRITON_GRPC_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"
#include "engine/tensor/tensor.h"

enum {
    /* Text, and between two texts the body of a tensor. */
    RD_GRPC_PIECES_MAX = 2 * RD_MAPPING_TENSORS_MAX + 2,
    RD_GRPC_REQUEST_TEXT_MAX = 1 << 20, /* all but the tensors' bodies */
};

struct rd_grpc_request {
    struct rd_buf text;
    struct {
        const uint8_t *data; /* NULL: in `text`, at `from` */
        size_t from, len;
    } pieces[RD_GRPC_PIECES_MAX];
    size_t count;
    uint64_t total;
};

/* What a ModelInferRequest says beside its tensors. */
struct rd_grpc_infer {
    const char *model, *version; /* version NULL: the server's choice */
    const char *id;
    const struct rd_mapping *mapping;
    const struct rd_tensors *tensors;
    unsigned priority;   /* 1 is the highest; 0: not told */
    uint64_t timeout_us; /* 0: not told */
};

void rd_grpc_request_init(struct rd_grpc_request *request);
void rd_grpc_request_done(struct rd_grpc_request *request);
/* A message as it is. */
rd_err rd_grpc_request_message(struct rd_grpc_request *request,
                               const ProtobufCMessage *message) RD_MUST;
/* A ModelInferRequest, the tensors' bytes behind it; lives no longer than they do. TOO_LARGE over
 * 2 GiB. */
rd_err rd_grpc_request_infer(struct rd_grpc_request *request,
                             const struct rd_grpc_infer *infer) RD_MUST;
/* Copies at most `room` bytes from `offset`; 0 at the end. */
size_t rd_grpc_request_read(const struct rd_grpc_request *request, uint64_t offset, uint8_t *out,
                            size_t room);

#endif
