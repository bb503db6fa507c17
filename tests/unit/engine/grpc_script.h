/* SPDX-License-Identifier: Apache-2.0
 *
 * What the scripted gRPC server answers (grpc_backend.h has the server): the bodies, rightly or
 * wrongly made, and how a stream ends. */
#ifndef RD_TESTS_ENGINE_GRPC_SCRIPT_H
#define RD_TESTS_ENGINE_GRPC_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum end {
    END_STATUS,    /* trailers with `status` */
    END_NO_STATUS, /* END_STREAM on the data */
    END_NEVER,     /* nothing more comes */
    END_RESET,     /* RST_STREAM with `code` */
    END_CLOSE,     /* the connection is closed */
};

struct bytes {
    uint8_t *data;
    size_t len;
};

struct stream {
    struct stream *next; /* of its connection */
    int32_t id;
    char path[128];
    struct bytes headers, in, out;
    size_t out_at;
    char prompt[128];
    uint64_t seed;
    bool many; /* ModelStreamInfer */

    int http_status;
    const char *type;
    const char *encoding;
    enum end end;
    const char *status, *message;
    uint32_t code;
};

void grpc_put(struct bytes *to, const void *data, size_t len);
/* Finds prompt and seed in the request that came, and remembers it in grpc_backend. */
void grpc_read_infer(struct stream *stream);
/* Makes the answer that the prompt asks for. */
void grpc_choose_script(struct stream *stream);
/* The answer to a question about health. */
void grpc_answer_probe(struct stream *stream, const char *method);

#endif
