/* SPDX-License-Identifier: Apache-2.0
 *
 * The inputs of one request: raw little-endian bytes, in the order of the mapping, ready for
 * raw_input_contents of gRPC or the binary tensor extension of HTTP.
 *
 * What is large is not copied. A tensor's bytes are `head` and behind it `body`: a number is in its
 * head alone; of BYTES the head is the length in 4 bytes, the body points into the generation (the
 * prompt, the encoded source picture); of a raw picture the body is memory of struct rd_tensors. */
#ifndef RD_ENGINE_TENSOR_TENSOR_H
#define RD_ENGINE_TENSOR_TENSOR_H

#include "engine/tensor/mapping.h"

struct rd_tensor {
    const char *name; /* the mapping's */
    enum rd_datatype datatype;
    unsigned rank;
    int64_t shape[RD_MAPPING_RANK_MAX]; /* no -1 is left in it */
    uint8_t head[8];
    size_t head_len;
    const uint8_t *body;
    size_t body_len; /* head_len + body_len: the tensor's size in bytes */
};

struct rd_tensors {
    struct rd_tensor items[RD_MAPPING_TENSORS_MAX];
    size_t count;
    uint64_t bytes;    /* of all of them */
    uint8_t *owned[2]; /* raw pictures */
};

/* Makes the inputs for output `output` of the generation. Lives until rd_tensors_done, and no
 * longer than the generation and the mapping. INVALID_REQUEST when a source picture cannot be
 * decoded: `why` begins with "image: " or "mask: " and is for the client. Else NO_MEMORY, or
 * INTERNAL: the mapping does not do the generation's task. */
rd_err rd_tensors_make(const struct rd_mapping *mapping, const struct rd_generation *generation,
                       unsigned output, struct rd_tensors *ret, struct rd_why *why) RD_MUST;
void rd_tensors_done(struct rd_tensors *tensors); /* zeroed is fine */

/* rd_tensors_make has to decode and resize a source picture (some 50 ms): not for a thread that
 * others wait for. Else it takes microseconds. */
bool rd_tensors_is_slow(const struct rd_mapping *mapping, const struct rd_generation *generation);

#endif
