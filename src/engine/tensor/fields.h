/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to tensor/: what kind of value each field and each output is, once, for the check, for
 * the making of inputs and for the reading of answers. */
#ifndef RD_ENGINE_TENSOR_FIELDS_H
#define RD_ENGINE_TENSOR_FIELDS_H

#include "engine/tensor/mapping.h"

enum rd_tensor_kind {
    RD_KIND_CONSTANT,
    RD_KIND_TEXT,    /* BYTES */
    RD_KIND_INTEGER, /* any datatype that holds all of 0..max */
    RD_KIND_NUMBER,  /* a float */
    RD_KIND_PICTURE, /* BYTES: a file; UINT8 and floats: raw */
    RD_KIND_FILE,    /* BYTES: a video */
};

struct rd_tensor_field {
    const char *name;
    enum rd_tensor_kind kind;
    uint64_t max; /* INTEGER */
};

extern const struct rd_tensor_field rd_tensor_inputs[RD_INPUT_COUNT_];
extern const struct rd_tensor_field rd_tensor_outputs[RD_OUTPUT_COUNT_];

/* A constant as the bytes of its datatype; of BYTES nothing is written. False: it does not fit. */
bool rd_tensor_constant(const struct rd_mapping_tensor *row, uint8_t out[8]);

/* "[1, -1, 3]", cut at `room`. Returns `out`. */
const char *rd_tensor_shape_text(const int64_t *shape, size_t rank, char *out, size_t room);
enum { RD_TENSOR_SHAPE_ROOM = 96 };

/* A server's text, fit for a log and a terminal: printable ASCII, cut. Returns `out`. */
enum { RD_TENSOR_TEXT_ROOM = 65 };
const char *rd_tensor_text(const char *text, char out[RD_TENSOR_TEXT_ROOM]);

#endif
