/* SPDX-License-Identifier: Apache-2.0
 *
 * The body of an answer, read as it arrives: gRPC's framing, around it ModelInferResponse, for a
 * stream inside ModelStreamInferResponse. A picture is in field 6, raw_output_contents, and may
 * have any size: its bytes are handed on from the caller's buffer, never gathered. Everything in
 * front of it is small; it is gathered (at most RD_GRPC_HEAD_MAX), and unpacked by protobuf-c when
 * the first raw field or the end of the message comes.
 *
 * The sizes that the wire tells must agree: a field that is longer than what it is in, a message
 * longer than told, raw contents in front of what describes them are refused, each in words. */
#ifndef RD_ENGINE_TRITON_GRPC_MESSAGE_H
#define RD_ENGINE_TRITON_GRPC_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct Inference__ModelInferResponse; /* inference.pb-c.h, made from inference.proto */

enum {
    RD_GRPC_HEAD_MAX = 256 << 10, /* of a message without its raw contents */
    RD_GRPC_FRAME_LEN = 5,        /* compressed flag, length in 4 bytes, big-endian */
};

/* Where a message goes. An error of a function is returned by rd_grpc_message_feed as it is. */
struct rd_grpc_message_sink {
    void *ctx;
    /* A message begins; `head` lives during the call. */
    rd_err (*head)(void *ctx, const struct Inference__ModelInferResponse *head, struct rd_why *why);
    /* Bytes of raw contents `index`, `len` > 0; `last`: its last ones. Contents of no bytes come as
     * one call with len 0 and `last`. */
    rd_err (*raw)(void *ctx, size_t index, const uint8_t *bytes, size_t len, bool last,
                  struct rd_why *why);
    /* The message is complete, with `raws` raw contents. */
    rd_err (*end)(void *ctx, size_t raws, struct rd_why *why);
};

/* What the next byte belongs to. */
enum rd_grpc_at {
    RD_GRPC_AT_FRAME, /* the 5 bytes in front of a message */
    RD_GRPC_AT_TAG,   /* a field's tag */
    RD_GRPC_AT_LEN,   /* the length of one */
    RD_GRPC_AT_VALUE, /* a varint */
    RD_GRPC_AT_COPY,  /* bytes that are gathered */
    RD_GRPC_AT_SKIP,  /* bytes that nobody wants */
    RD_GRPC_AT_RAW,   /* raw contents */
};

struct rd_grpc_message {
    struct rd_grpc_message_sink sink;
    bool stream; /* ModelStreamInferResponse, any number; else one ModelInferResponse */
    enum rd_grpc_at at;
    uint8_t frame[RD_GRPC_FRAME_LEN];
    size_t frame_len;
    uint64_t left;       /* of the message */
    uint64_t inner_left; /* of the infer_response in it; only while `inner` */
    uint64_t field_left; /* of the bytes field */
    bool inner;          /* inside an infer_response; without `stream` always */
    bool inner_seen, head_given;
    uint64_t varint;
    unsigned varint_bits;
    uint32_t tag;
    size_t raws;            /* raw contents so far */
    size_t messages;        /* complete ones */
    struct rd_buf head;     /* what is gathered of the infer_response */
    struct rd_buf error;    /* a stream's error_message */
    struct rd_buf *copy_to; /* AT_COPY */
    bool server_error;      /* the last error is error_message's text, not a broken message */
};

void rd_grpc_message_init(struct rd_grpc_message *message, bool stream,
                          const struct rd_grpc_message_sink *sink);
/* For the next answer; keeps the memory. */
void rd_grpc_message_reset(struct rd_grpc_message *message, bool stream);
void rd_grpc_message_done(struct rd_grpc_message *message);
/* BACKEND_FAILED for what the wire must not say. After an error only reset and done. */
rd_err rd_grpc_message_feed(struct rd_grpc_message *message, const uint8_t *bytes, size_t len,
                            struct rd_why *why) RD_MUST;
/* The body is over: not in the middle of a message, and without `stream` there was one. */
rd_err rd_grpc_message_finish(const struct rd_grpc_message *message, struct rd_why *why) RD_MUST;

#endif
