/* SPDX-License-Identifier: Apache-2.0
 *
 * What render-signer answers. The judgement of a request is a pure function over bytes, so that
 * tests and the fuzzer reach it without a process; the loop around it moves the bytes. */
#ifndef RD_SIGNER_SERVE_H
#define RD_SIGNER_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "provenance/signer_proto.h"
#include "signer/key.h"

enum {
    RD_SIGNERD_ANSWER_MAX = RD_SIGNER_HEADER_LEN + RD_SIGNER_BATCH_MAX * RD_SIGNATURE_LEN,
    RD_SIGNERD_PAE_MAX = RD_SIGNER_STATEMENT_MAX + 128, /* what DSSE puts before a statement */
};

/* All memory that serving needs, got before the filter forbids to get any. */
struct rd_signerd {
    const struct rd_signerd_key *key;
    uint8_t *body;     /* RD_SIGNER_BODY_MAX bytes, owned */
    struct rd_buf pae; /* RD_SIGNERD_PAE_MAX bytes reserved */
    uint8_t answer[RD_SIGNERD_ANSWER_MAX];
    size_t answer_len;
};

rd_err rd_signerd_init(struct rd_signerd *signerd, const struct rd_signerd_key *key) RD_MUST;
void rd_signerd_done(struct rd_signerd *signerd);

/* Whether a request with this header is in the table; judged before its body is read. */
bool rd_signerd_header_ok(const struct rd_signer_header *header);
/* Whether these bytes may be signed as a statement. */
bool rd_signerd_statement_ok(const char *text, size_t len);
/* Answers the request whose body (header->length bytes) stands in signerd->body: fills `answer`.
 * False: the request is outside the table, close the channel. */
bool rd_signerd_answer(struct rd_signerd *signerd, const struct rd_signer_header *header) RD_MUST;

enum rd_signerd_end {
    RD_SIGNERD_END_EOF = 0,      /* the gateway closed the channel between two requests */
    RD_SIGNERD_END_PROTOCOL = 3, /* something outside the table */
    RD_SIGNERD_END_IO = 4,       /* the channel broke, or closed inside a request */
};
/* Answers requests until the channel ends. The values are the process's exit codes. */
enum rd_signerd_end rd_signerd_serve(struct rd_signerd *signerd, int channel);

#endif
