/* SPDX-License-Identifier: Apache-2.0
 *
 * The outputs of one request, on their way from the server into the sink.
 *
 *     rd_answer_init(&answer, mapping, generation, output, &job.sink);
 *     for each message (one; of a decoupled model any number):
 *         rd_answer_head(&answer, tensors, count, &why)      what the message says it holds
 *         rd_answer_data(&answer, index, bytes, len, &why)   raw bytes, as they come
 *     rd_answer_finish(&answer, &why)
 *     rd_answer_done(&answer)
 *
 * A picture that comes as a file of the asked type streams: the sink's begin, data and end are
 * called as its bytes come, nothing is gathered. A file of another type (PNG where WebP was asked)
 * is held whole, at most RD_ANSWER_FILE_MAX, then decoded and encoded again. A raw picture is
 * turned into 8-bit RGB sample by sample as it comes, so that it holds 3 bytes a pixel of the
 * generation's size whatever its datatype, and is encoded at the end. These two hold more than
 * RD_ENGINE_HELD_MAX, since there is no picture before all of it is there.
 *
 * Nothing that a server sends is believed: datatype and shape are compared with the mapping and the
 * generation, lengths with what comes, first bytes with the type. What is wrong is BACKEND_FAILED
 * with words for the operator, and sets `malformed`. An error of the sink is returned as it is.
 * After an error only rd_answer_done may be called. A preview is a courtesy: one that is wrong, or
 * that RD_ENGINE_HELD_MAX does not hold, is left out, and nobody hears of it.
 *
 * In a decoupled answer a picture or preview without elements, or of length 0, means "not yet", so
 * that a model whose framework wants every output in every message can be served. Progress out
 * of 0..1, or that counts back, counts as not told, and so do device seconds below 1 ns.
 * Tensors that the mapping does not name are ignored. */
#ifndef RD_ENGINE_TENSOR_ANSWER_H
#define RD_ENGINE_TENSOR_ANSWER_H

#include "base/buf.h"
#include "engine/tensor/mapping.h"
#include "engine/tensor/pixels.h"

enum {
    RD_ANSWER_TENSORS_MAX = 64,    /* in one message */
    RD_ANSWER_FILE_MAX = 16 << 20, /* a picture that has to be encoded again */
    /* A raw preview, 256 x 256: its pixels take 3/4 of what may be held, its file the rest. */
    RD_ANSWER_PREVIEW_PIXELS_MAX = RD_ENGINE_HELD_MAX / 4,
    RD_ANSWER_MAGIC_LEN = 12, /* first bytes that tell what a file is */
    RD_ANSWER_DEVICE_SECONDS_MAX = 1 << 20,
};

/* One output of the mapping, in the current message. Private. */
struct rd_answer_part {
    bool present, skipped; /* the message has it; without elements: not yet */
    bool left_out;         /* a preview that is wrong: the rest of its bytes is not looked at */
    uint64_t expected;     /* bytes; of BYTES known behind the first 4 */
    uint64_t received;
    uint8_t first[RD_ANSWER_MAGIC_LEN]; /* a number, a length, a file's first bytes */
    struct rd_buf file;                 /* a preview or a text so far */
    struct rd_pixels pixels;            /* a raw preview so far */
};

enum rd_answer_stage {
    RD_ANSWER_NO_PICTURE,
    RD_ANSWER_MAGIC,  /* of a file: its first bytes are gathered */
    RD_ANSWER_STREAM, /* the sink's begin was called; bytes go there as they come */
    RD_ANSWER_HELD,   /* a file of another type */
    RD_ANSWER_PIXELS, /* raw */
};

struct rd_answer {
    const struct rd_mapping *mapping;
    const struct rd_generation *generation;
    unsigned output;
    const struct rd_engine_sink *sink;
    int8_t part_of[RD_ANSWER_TENSORS_MAX]; /* of the message's tensors: the mapping's row, or -1 */
    size_t tensors_count;
    struct rd_answer_part parts[RD_MAPPING_TENSORS_MAX];
    enum rd_answer_stage stage;
    const struct rd_mapping_tensor *picture; /* its row; NULL: it has not come */
    struct rd_buf file;                      /* HELD: the picture so far */
    struct rd_pixels pixels;                 /* PIXELS: the same */
    double progress;                         /* the most that was told of this output */

    /* What the caller reads at the end. */
    bool malformed;   /* an error was the server's: what came is not what was asked for */
    bool device_told; /* it gave its device time: RD_DEVICE_TIME_ENGINE */
    uint64_t device_ns;
    char device[64]; /* "" when not told */
};

/* `mapping`, `generation` and `sink` live until rd_answer_done. Takes no memory. */
void rd_answer_init(struct rd_answer *answer, const struct rd_mapping *mapping,
                    const struct rd_generation *generation, unsigned output,
                    const struct rd_engine_sink *sink);
void rd_answer_done(struct rd_answer *answer);

/* A message begins, with these tensors; the one before it must be complete. `tensors` are not
 * needed behind the call. */
rd_err rd_answer_head(struct rd_answer *answer, const struct rd_tensor_info *tensors, size_t count,
                      struct rd_why *why) RD_MUST;
/* Bytes of tensor `index` of the message. Of each tensor they come in order; tensors may come in
 * any. Progress, previews and the picture go to the sink from inside this call. */
rd_err rd_answer_data(struct rd_answer *answer, size_t index, const void *bytes, size_t len,
                      struct rd_why *why) RD_MUST;
/* The last message is over: the picture must have come, whole. When it was raw or of another type
 * it is encoded and given to the sink now. Then the sink had begin, data and end once. */
rd_err rd_answer_finish(struct rd_answer *answer, struct rd_why *why) RD_MUST;

/* rd_answer_finish has to decode or encode a picture (some 100 ms): not for a thread that others
 * wait for. */
bool rd_answer_is_slow(const struct rd_answer *answer);

#endif
