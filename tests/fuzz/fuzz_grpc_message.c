/* SPDX-License-Identifier: Apache-2.0
 *
 * The body of a gRPC answer: any bytes, in one piece and in pieces whose size the first byte says.
 * Both ways must hear the same, raw contents must come in order, and what is gathered has a limit;
 * then the texts and types of headers. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <inference.pb-c.h>

#include "base/mem.h"
#include "base/text.h"
#include "engine/triton/grpc_message.h"
#include "engine/triton/grpc_status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct heard {
    uint64_t sum; /* of all that came, in order */
    size_t raws, heads, ends;
    bool open; /* raw contents have begun and not ended */
};

static void add(struct heard *heard, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < len; i++) {
        heard->sum = (heard->sum ^ at[i]) * 1099511628211u;
    }
}

static rd_err on_head(void *ctx, const Inference__ModelInferResponse *head, struct rd_why *why)
{
    (void)why;
    struct heard *heard = ctx;
    heard->heads++;
    heard->raws = 0;
    add(heard, &head->n_outputs, sizeof head->n_outputs);
    add(heard, head->model_name, strlen(head->model_name));
    return RD_OK;
}

static rd_err on_raw(void *ctx, size_t index, const uint8_t *bytes, size_t len, bool last,
                     struct rd_why *why)
{
    (void)why;
    struct heard *heard = ctx;
    if (heard->heads != heard->ends + 1 || index != heard->raws) {
        abort(); /* raw contents without a head, or out of order */
    }
    add(heard, bytes, len);
    heard->open = !last;
    heard->raws += last;
    return RD_OK;
}

static rd_err on_end(void *ctx, size_t raws, struct rd_why *why)
{
    (void)why;
    struct heard *heard = ctx;
    heard->ends++;
    if (heard->open || raws != heard->raws || heard->heads != heard->ends) {
        abort();
    }
    return RD_OK;
}

static rd_err feed(struct heard *heard, bool stream, const uint8_t *data, size_t size, size_t step)
{
    const struct rd_grpc_message_sink sink = {
        .ctx = heard, .head = on_head, .raw = on_raw, .end = on_end};
    struct rd_grpc_message message;
    struct rd_why why = {""};
    rd_err err = RD_OK;
    rd_grpc_message_init(&message, stream, &sink);
    for (size_t at = 0; at < size && err == RD_OK; at += step) {
        err = rd_grpc_message_feed(&message, data + at, size - at < step ? size - at : step, &why);
    }
    if (err == RD_OK) {
        err = rd_grpc_message_finish(&message, &why);
    }
    if (message.head.len > RD_GRPC_HEAD_MAX || (err != RD_OK && why.text[0] == '\0')) {
        abort();
    }
    rd_grpc_message_done(&message);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    bool stream = (data[0] & 1) != 0;
    struct heard whole = {.sum = 1}, pieces = {.sum = 1};
    rd_err one = feed(&whole, stream, data + 1, size - 1, size);
    rd_err many = feed(&pieces, stream, data + 1, size - 1, 1 + data[0] / 2u % 16);
    if (one != many || (one == RD_OK && whole.sum != pieces.sum)) {
        abort();
    }
    char text[RD_GRPC_TEXT_MAX + 1];
    rd_grpc_text((const char *)data, size, text, 1 + data[0] % RD_GRPC_TEXT_MAX);
    if (!rd_text_utf8_valid(text, strlen(text)) || strpbrk(text, "\r\n\t") != NULL) {
        abort();
    }
    (void)rd_grpc_type_is((const char *)data, size);
    (void)rd_grpc_status_parse((const char *)data, size);
    return 0;
}
