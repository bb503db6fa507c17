/* SPDX-License-Identifier: Apache-2.0
 *
 * See grpc_message.h. A state machine over pieces of any size; `at` is what the next byte belongs
 * to. Three lengths nest: of the message, of the infer_response in it (`inner_left`; of a unary
 * answer the message itself), and of a field in that one. take() counts down the first two, so that
 * no state can read past either.
 *
 * A gathered field goes into `head` with its tag and length as they came, so `head` is again a
 * ModelInferResponse, only without field 6. protobuf-c needs one piece of memory; this gives it
 * one without the pictures. */
#include "engine/triton/grpc_message.h"

#include <string.h>

#include <inference.pb-c.h>

#include "base/mem.h"
#include "engine/triton/grpc_status.h"

enum {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2,
    WIRE_FIXED32 = 5,
    FIELD_RAW = 6,      /* of ModelInferResponse */
    FIELD_ERROR = 1,    /* of ModelStreamInferResponse */
    FIELD_RESPONSE = 2, /* the same */
    ERROR_TEXT_MAX = 4096,
    VARINT_BITS = 64,
    VARINT_LEN_MAX = 10,
};

/* ---- life ---- */

void rd_grpc_message_reset(struct rd_grpc_message *message, bool stream)
{
    message->stream = stream;
    message->at = RD_GRPC_AT_FRAME;
    message->frame_len = 0;
    message->messages = 0;
    message->server_error = false;
    rd_buf_reset(&message->head);
    rd_buf_reset(&message->error);
}

void rd_grpc_message_init(struct rd_grpc_message *message, bool stream,
                          const struct rd_grpc_message_sink *sink)
{
    *message = (struct rd_grpc_message){.sink = *sink};
    rd_buf_init(&message->head, RD_GRPC_HEAD_MAX);
    rd_buf_init(&message->error, ERROR_TEXT_MAX);
    rd_grpc_message_reset(message, stream);
}

void rd_grpc_message_done(struct rd_grpc_message *message)
{
    rd_buf_done(&message->head);
    rd_buf_done(&message->error);
}

/* ---- beginnings and ends ---- */

static rd_err broken(struct rd_why *why, const char *what)
{
    return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the server's answer is not valid: %s", what);
}

static void begin_tag(struct rd_grpc_message *message)
{
    message->at = RD_GRPC_AT_TAG;
    message->varint = 0;
    message->varint_bits = 0;
}

static rd_err begin_message(struct rd_grpc_message *message, struct rd_why *why)
{
    if (message->frame[0] != 0) {
        return broken(why, message->frame[0] == 1
                               ? "it is compressed, which was not asked for"
                               : "the first byte of a message is neither 0 nor 1");
    }
    if (!message->stream && message->messages > 0) {
        return broken(why, "a second message, where one was asked for");
    }
    message->left = (uint64_t)message->frame[1] << 24 | (uint64_t)message->frame[2] << 16 |
                    (uint64_t)message->frame[3] << 8 | message->frame[4];
    if (message->left > INT32_MAX) {
        return broken(why, "a message of more than 2 GiB");
    }
    message->inner = !message->stream;
    message->inner_left = message->left;
    message->inner_seen = false;
    message->head_given = false;
    message->raws = 0;
    rd_buf_reset(&message->head);
    rd_buf_reset(&message->error);
    begin_tag(message);
    return RD_OK;
}

static rd_err gathered(const struct rd_buf *buf, struct rd_why *why)
{
    return rd_buf_err(buf) == RD_ERR_TOO_LARGE
               ? broken(why, "more than 256 KiB in front of the tensors' bytes (are they in "
                             "'contents' instead of raw_output_contents?)")
               : rd_buf_err(buf);
}

static rd_err give_head(struct rd_grpc_message *message, struct rd_why *why)
{
    message->head_given = true;
    RD_TRY(gathered(&message->head, why));
    Inference__ModelInferResponse *head = inference__model_infer_response__unpack(
        NULL, message->head.len, (const uint8_t *)rd_buf_cstr(&message->head));
    if (head == NULL) {
        return broken(why, "what stands in front of the tensors' bytes cannot be unpacked");
    }
    rd_err err = message->sink.head(message->sink.ctx, head, why);
    inference__model_infer_response__free_unpacked(head, NULL);
    return err;
}

static rd_err end_inner(struct rd_grpc_message *message, struct rd_why *why)
{
    message->inner = false;
    message->inner_seen = true;
    return message->head_given ? RD_OK : give_head(message, why);
}

static rd_err end_message(struct rd_grpc_message *message, struct rd_why *why)
{
    if (message->error.len > 0 || message->error.err != RD_OK) {
        char text[RD_GRPC_TEXT_MAX + 1];
        rd_grpc_text(rd_buf_cstr(&message->error), message->error.len, text, sizeof text);
        message->server_error = true;
        return rd_why_set(why, RD_ERR_BACKEND_FAILED, "the server answered: %s", text);
    }
    if (!message->inner_seen) {
        return broken(why, "a message of a stream without a response");
    }
    message->at = RD_GRPC_AT_FRAME;
    message->frame_len = 0;
    message->messages++;
    return message->sink.end(message->sink.ctx, message->raws, why);
}

/* Behind a field: the response in it, or the message, may be over with it. */
static rd_err end_field(struct rd_grpc_message *message, struct rd_why *why)
{
    begin_tag(message);
    if (message->inner && message->inner_left == 0) {
        RD_TRY(end_inner(message, why));
    }
    return message->left == 0 ? end_message(message, why) : RD_OK;
}

/* ---- varints ---- */

/* Takes `count` bytes off what is left; the caller has seen to it that there are as many. */
static void take(struct rd_grpc_message *message, uint64_t count)
{
    message->left -= count;
    if (message->inner) {
        message->inner_left -= count;
    }
}

static uint64_t room(const struct rd_grpc_message *message)
{
    return message->inner ? message->inner_left : message->left;
}

/* One byte of a varint; *ret_whole when it was the last. */
static rd_err varint_byte(struct rd_grpc_message *message, uint8_t byte, bool *ret_whole,
                          struct rd_why *why)
{
    if (room(message) == 0) {
        return broken(why, "a field is longer than what it stands in");
    }
    take(message, 1);
    if (message->varint_bits >= VARINT_BITS || (message->varint_bits == 63 && (byte & 0x7e) != 0)) {
        return broken(why, "a number of more than 64 bits");
    }
    message->varint |= (uint64_t)(byte & 0x7f) << message->varint_bits;
    message->varint_bits += 7;
    *ret_whole = (byte & 0x80) == 0;
    return RD_OK;
}

static void put_varint(struct rd_buf *buf, uint64_t value)
{
    char bytes[VARINT_LEN_MAX];
    size_t len = 0;
    do {
        bytes[len++] = (char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        value >>= 7;
    } while (value != 0);
    rd_buf_append(buf, bytes, len);
}

/* ---- fields ---- */

/* The next `len` bytes are the field's. */
static rd_err begin_bytes(struct rd_grpc_message *message, enum rd_grpc_at at, uint64_t len,
                          struct rd_why *why)
{
    if (len > room(message)) {
        return broken(why, "a field is longer than what it stands in");
    }
    struct rd_buf *buf = message->copy_to;
    if (at == RD_GRPC_AT_COPY && len > buf->max - buf->len) {
        if (buf == &message->head) {
            buf->err = RD_ERR_TOO_LARGE;
            return gathered(buf, why);
        }
        at = RD_GRPC_AT_SKIP; /* a long error is an error, too */
        rd_buf_str(buf, "an error of many words");
    }
    message->at = at;
    message->field_left = len;
    return len == 0 ? end_field(message, why) : RD_OK;
}

static bool is_gathered(const struct rd_grpc_message *message)
{
    return message->inner && message->tag >> 3 != FIELD_RAW;
}

static rd_err got_tag(struct rd_grpc_message *message, struct rd_why *why)
{
    unsigned wire = (unsigned)message->varint & 7;
    uint64_t field = message->varint >> 3;
    if (field == 0 || field > 0x1fffffff ||
        (wire != WIRE_VARINT && wire != WIRE_FIXED64 && wire != WIRE_BYTES &&
         wire != WIRE_FIXED32)) {
        return broken(why, "a field of an unknown kind");
    }
    message->tag = (uint32_t)message->varint;
    if (message->inner && field < FIELD_RAW && message->head_given) {
        return broken(why, "tensors' bytes in front of what describes them");
    }
    if (is_gathered(message) && !message->head_given) {
        put_varint(&message->head, message->varint);
    }
    message->varint = 0;
    message->varint_bits = 0;
    message->copy_to = &message->head;
    enum rd_grpc_at at =
        is_gathered(message) && !message->head_given ? RD_GRPC_AT_COPY : RD_GRPC_AT_SKIP;
    switch (wire) {
    case WIRE_VARINT:
        message->at = RD_GRPC_AT_VALUE;
        return RD_OK;
    case WIRE_FIXED64:
        return begin_bytes(message, at, 8, why);
    case WIRE_FIXED32:
        return begin_bytes(message, at, 4, why);
    default:
        message->at = RD_GRPC_AT_LEN;
        return RD_OK;
    }
}

static rd_err got_len(struct rd_grpc_message *message, struct rd_why *why)
{
    uint64_t len = message->varint;
    uint32_t field = message->tag >> 3;
    if (message->inner && field == FIELD_RAW) {
        if (!message->head_given) {
            RD_TRY(give_head(message, why));
        }
        message->raws++;
        if (len == 0) {
            RD_TRY(message->sink.raw(message->sink.ctx, message->raws - 1, NULL, 0, true, why));
        }
        return begin_bytes(message, RD_GRPC_AT_RAW, len, why);
    }
    if (message->inner) {
        if (message->head_given) {
            return begin_bytes(message, RD_GRPC_AT_SKIP, len, why);
        }
        put_varint(&message->head, len);
        return begin_bytes(message, RD_GRPC_AT_COPY, len, why);
    }
    if (field == FIELD_ERROR) {
        rd_buf_reset(&message->error); /* the last one counts */
        message->copy_to = &message->error;
        return begin_bytes(message, RD_GRPC_AT_COPY, len, why);
    }
    if (field != FIELD_RESPONSE) {
        return begin_bytes(message, RD_GRPC_AT_SKIP, len, why);
    }
    if (message->inner_seen) {
        return broken(why, "two responses in one message");
    }
    if (len > message->left) {
        return broken(why, "a field is longer than what it stands in");
    }
    message->inner = true;
    message->inner_left = len;
    return end_field(message, why); /* or its first tag comes */
}

static rd_err got_varint(struct rd_grpc_message *message, struct rd_why *why)
{
    switch (message->at) {
    case RD_GRPC_AT_TAG:
        return got_tag(message, why);
    case RD_GRPC_AT_LEN:
        return got_len(message, why);
    case RD_GRPC_AT_VALUE:
        if (is_gathered(message) && !message->head_given) {
            put_varint(&message->head, message->varint);
        }
        return end_field(message, why);
    case RD_GRPC_AT_FRAME:
    case RD_GRPC_AT_COPY:
    case RD_GRPC_AT_SKIP:
    case RD_GRPC_AT_RAW:
    default:
        return RD_ERR_INTERNAL; /* no varint is read there */
    }
}

static rd_err field_bytes(struct rd_grpc_message *message, const uint8_t *bytes, size_t len,
                          struct rd_why *why)
{
    take(message, len);
    message->field_left -= len;
    if (message->at == RD_GRPC_AT_COPY) {
        rd_buf_append(message->copy_to, bytes, len);
        RD_TRY(gathered(message->copy_to, why));
    } else if (message->at == RD_GRPC_AT_RAW) {
        RD_TRY(message->sink.raw(message->sink.ctx, message->raws - 1, bytes, len,
                                 message->field_left == 0, why));
    }
    return message->field_left == 0 ? end_field(message, why) : RD_OK;
}

static rd_err frame_bytes(struct rd_grpc_message *message, const uint8_t *bytes, size_t len,
                          struct rd_why *why)
{
    memcpy(message->frame + message->frame_len, bytes, len);
    message->frame_len += len;
    if (message->frame_len < RD_GRPC_FRAME_LEN) {
        return RD_OK;
    }
    RD_TRY(begin_message(message, why));
    if (message->left > 0) {
        return RD_OK;
    }
    if (message->inner) { /* an empty response is a response without anything */
        RD_TRY(end_inner(message, why));
    }
    return end_message(message, why);
}

rd_err rd_grpc_message_feed(struct rd_grpc_message *message, const uint8_t *bytes, size_t len,
                            struct rd_why *why)
{
    while (len > 0) {
        size_t used = 1;
        if (message->at == RD_GRPC_AT_FRAME) {
            size_t missing = RD_GRPC_FRAME_LEN - message->frame_len;
            used = len < missing ? len : missing;
            RD_TRY(frame_bytes(message, bytes, used, why));
        } else if (message->at == RD_GRPC_AT_COPY || message->at == RD_GRPC_AT_SKIP ||
                   message->at == RD_GRPC_AT_RAW) {
            used = len < message->field_left ? len : (size_t)message->field_left;
            RD_TRY(field_bytes(message, bytes, used, why));
        } else {
            bool whole = false;
            RD_TRY(varint_byte(message, *bytes, &whole, why));
            if (whole) {
                RD_TRY(got_varint(message, why));
            }
        }
        bytes += used;
        len -= used;
    }
    return RD_OK;
}

rd_err rd_grpc_message_finish(const struct rd_grpc_message *message, struct rd_why *why)
{
    if (message->at != RD_GRPC_AT_FRAME || message->frame_len > 0) {
        return broken(why, "it ends in the middle of a message");
    }
    return message->messages == 0 && !message->stream ? broken(why, "it holds no message") : RD_OK;
}
