/* SPDX-License-Identifier: Apache-2.0
 *
 * The datatypes of the Open Inference Protocol as one table: names, sizes, and numbers as the
 * little-endian bytes that go over the wire. Integers are handed over as sign and magnitude, so
 * that each function takes every value of INT64 and of UINT64. */
#ifndef RD_ENGINE_TENSOR_DATATYPE_H
#define RD_ENGINE_TENSOR_DATATYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rd_datatype {
    RD_DATATYPE_BOOL,
    RD_DATATYPE_UINT8,
    RD_DATATYPE_UINT16,
    RD_DATATYPE_UINT32,
    RD_DATATYPE_UINT64,
    RD_DATATYPE_INT8,
    RD_DATATYPE_INT16,
    RD_DATATYPE_INT32,
    RD_DATATYPE_INT64,
    RD_DATATYPE_FP16,
    RD_DATATYPE_BF16, /* Triton's addition */
    RD_DATATYPE_FP32,
    RD_DATATYPE_FP64,
    RD_DATATYPE_BYTES, /* each element: its length in 4 bytes, then that many */
    RD_DATATYPE_COUNT_
};

const char *rd_datatype_name(unsigned index); /* "FP16"; NULL behind the last */
bool rd_datatype_parse(const char *name, enum rd_datatype *ret);
size_t rd_datatype_size(enum rd_datatype datatype); /* bytes of an element; BYTES: 0 */
bool rd_datatype_is_float(enum rd_datatype datatype);

/* The number as `datatype`, in rd_datatype_size bytes of `out`. False when the datatype cannot hold
 * it: out of range, an integer that a float would round, a fraction for an integer, text. */
bool rd_datatype_put_integer(enum rd_datatype datatype, bool negative, uint64_t magnitude,
                             uint8_t out[8]);
/* For floats only; rounded to the nearest, ties to even. False also for what is not finite. */
bool rd_datatype_put_number(enum rd_datatype datatype, double value, uint8_t out[8]);
/* The element at `bytes` as a double; of no use for BYTES. UINT64 and INT64 are rounded. */
double rd_datatype_get_number(enum rd_datatype datatype, const uint8_t *bytes);

#endif
