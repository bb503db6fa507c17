/* SPDX-License-Identifier: Apache-2.0
 *
 * What gRPC says beside the messages, as pure functions: status codes, the text of a status
 * (percent-encoded), the time that a call has. */
#ifndef RD_ENGINE_TRITON_GRPC_STATUS_H
#define RD_ENGINE_TRITON_GRPC_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    RD_GRPC_OK = 0,
    RD_GRPC_CANCELLED = 1,
    RD_GRPC_STATUS_COUNT = 17,
    RD_GRPC_STATUS_NONE = -1, /* none came */
    RD_GRPC_TEXT_MAX = 200,   /* of a status's text that may end up in our own */
    RD_GRPC_TIMEOUT_LEN = 9,  /* "99999999m" */
};

/* What a status means for a run. */
struct rd_grpc_meaning {
    const char *name; /* "UNAVAILABLE" */
    rd_err err;
    bool final, faultless; /* struct rd_engine_report */
};

/* Never NULL: a number that is none means what UNKNOWN means. */
const struct rd_grpc_meaning *rd_grpc_meaning(int status);
/* A whole decimal number below 1000; RD_GRPC_STATUS_NONE when it is not one. */
int rd_grpc_status_parse(const char *text, size_t len);
/* The same for an answer that is HTTP and no gRPC: the status that its code stands for. */
int rd_grpc_status_http(int http_status);
/* Percent-decodes into one line of valid UTF-8 without control characters, at most `room` - 1
 * bytes. */
void rd_grpc_text(const char *text, size_t len, char *out, size_t room);
/* The value of grpc-timeout: at most eight digits and a unit, never more than `ns` but at least
 * 1. */
void rd_grpc_timeout(uint64_t ns, char out[RD_GRPC_TIMEOUT_LEN + 1]);
/* application/grpc, alone or with +proto or parameters. */
bool rd_grpc_type_is(const char *type, size_t len);

#endif
