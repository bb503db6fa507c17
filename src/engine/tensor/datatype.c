/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers as bytes. Wire order is little-endian whatever the machine's: every store is by shifts.
 *
 * Half floats are made by hand, from the double and not by way of a float, since two roundings are
 * not one: 1 + 2^-11 + 2^-40 must become 1 + 2^-10, and as a float it would first become the tie
 * 1 + 2^-11, which goes to even, 1. A double is m * 2^e with 1 <= m < 2; the wanted precision of p
 * bits is a unit of 2^(e - p), never finer than the format's smallest number; nearbyint of value /
 * unit rounds once, ties to even, and the division by a power of two is exact. */
#include "engine/tensor/datatype.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum kind { UNSIGNED, SIGNED, FLOAT, TEXT };

static const struct {
    const char *name;
    enum kind kind;
    unsigned size;
    unsigned bits; /* UNSIGNED, SIGNED: of the magnitude; FLOAT: integers up to 2^bits are exact */
} table[RD_DATATYPE_COUNT_] = {
    [RD_DATATYPE_BOOL] = {"BOOL", UNSIGNED, 1, 1},
    [RD_DATATYPE_UINT8] = {"UINT8", UNSIGNED, 1, 8},
    [RD_DATATYPE_UINT16] = {"UINT16", UNSIGNED, 2, 16},
    [RD_DATATYPE_UINT32] = {"UINT32", UNSIGNED, 4, 32},
    [RD_DATATYPE_UINT64] = {"UINT64", UNSIGNED, 8, 64},
    [RD_DATATYPE_INT8] = {"INT8", SIGNED, 1, 7},
    [RD_DATATYPE_INT16] = {"INT16", SIGNED, 2, 15},
    [RD_DATATYPE_INT32] = {"INT32", SIGNED, 4, 31},
    [RD_DATATYPE_INT64] = {"INT64", SIGNED, 8, 63},
    [RD_DATATYPE_FP16] = {"FP16", FLOAT, 2, 11},
    [RD_DATATYPE_BF16] = {"BF16", FLOAT, 2, 8},
    [RD_DATATYPE_FP32] = {"FP32", FLOAT, 4, 24},
    [RD_DATATYPE_FP64] = {"FP64", FLOAT, 8, 53},
    [RD_DATATYPE_BYTES] = {"BYTES", TEXT, 0, 0},
};

/* The two formats of 16 bits: sign, exponent, fraction. For writing. */
struct half {
    int fraction_bits;
    int exponent_min; /* of the smallest normal number; -min is one less than the largest */
};
static const struct half fp16 = {10, -14};
static const struct half bf16 = {7, -126};

const char *rd_datatype_name(unsigned index)
{
    return index < RD_DATATYPE_COUNT_ ? table[index].name : NULL;
}

bool rd_datatype_parse(const char *name, enum rd_datatype *ret)
{
    for (unsigned i = 0; i < RD_DATATYPE_COUNT_; i++) {
        if (strcmp(table[i].name, name) == 0) {
            *ret = (enum rd_datatype)i;
            return true;
        }
    }
    return false;
}

size_t rd_datatype_size(enum rd_datatype datatype)
{
    return table[datatype].size;
}

bool rd_datatype_is_float(enum rd_datatype datatype)
{
    return table[datatype].kind == FLOAT;
}

static void store(uint64_t bits, unsigned size, uint8_t *out)
{
    for (unsigned i = 0; i < size; i++) {
        out[i] = (uint8_t)(bits >> (8 * i));
    }
}

static uint64_t load(const uint8_t *bytes, unsigned size)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < size; i++) {
        bits |= (uint64_t)bytes[i] << (8 * i);
    }
    return bits;
}

/* ---- 16 bits ---- */

static bool put_half(const struct half *format, double value, uint8_t *out)
{
    int exponent = 0;
    double size = fabs(value);
    (void)frexp(size, &exponent); /* size = m * 2^exponent, m in [0.5, 1) */
    exponent =
        size == 0 || exponent - 1 < format->exponent_min ? format->exponent_min : exponent - 1;
    double units = nearbyint(ldexp(size, format->fraction_bits - exponent));
    unsigned one = 1u << format->fraction_bits;
    unsigned bits;
    if (units < one) { /* below the smallest normal number */
        bits = (unsigned)units;
    } else { /* rounding up to 2 * one carries into the exponent by itself */
        bits = (unsigned)(exponent - format->exponent_min) * one + (unsigned)units;
    }
    unsigned infinity = (unsigned)(2 - 2 * format->exponent_min + 1) * one;
    if (bits >= infinity) {
        return false;
    }
    store(bits | (signbit(value) ? 0x8000u : 0), 2, out);
    return true;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A half is a float with fewer bits. BF16 has the same exponent; FP16's is smaller by 112, which a
 * multiplication by 2^112 puts right for normal and subnormal numbers alike, and exactly. */
static double get_half(enum rd_datatype datatype, const uint8_t *bytes)
{
    uint32_t bits = (uint32_t)load(bytes, 2);
    if (datatype == RD_DATATYPE_BF16) {
        return (double)float_of(bits << 16);
    }
    uint32_t size = bits & 0x7fff;
    double value = size < 0x7c00   ? (double)(float_of(size << 13) * 0x1p112f)
                   : size > 0x7c00 ? (double)NAN
                                   : (double)INFINITY;
    return (bits & 0x8000) != 0 ? -value : value;
}

/* ---- numbers ---- */

bool rd_datatype_put_integer(enum rd_datatype datatype, bool negative, uint64_t magnitude,
                             uint8_t out[8])
{
    unsigned bits = table[datatype].bits;
    negative = negative && magnitude != 0;
    switch (table[datatype].kind) {
    case UNSIGNED:
        if (negative || (bits < 64 && magnitude >> bits != 0)) {
            return false;
        }
        break;
    case SIGNED:
        if (magnitude >> bits != 0 && !(negative && magnitude == (uint64_t)1 << bits)) {
            return false;
        }
        break;
    case FLOAT:
        if (magnitude > (uint64_t)1 << bits) {
            return false;
        }
        return rd_datatype_put_number(datatype, negative ? -(double)magnitude : (double)magnitude,
                                      out);
    case TEXT:
        return false;
    }
    store(negative ? 0 - magnitude : magnitude, table[datatype].size, out);
    return true;
}

bool rd_datatype_put_number(enum rd_datatype datatype, double value, uint8_t out[8])
{
    if (table[datatype].kind != FLOAT || !isfinite(value)) {
        return false;
    }
    if (datatype == RD_DATATYPE_FP16) {
        return put_half(&fp16, value, out);
    }
    if (datatype == RD_DATATYPE_BF16) {
        return put_half(&bf16, value, out);
    }
    uint64_t bits = 0;
    if (datatype == RD_DATATYPE_FP32) {
        if (fabs(value) > (double)FLT_MAX) { /* what rounds down to it is refused as well */
            return false;
        }
        float narrow = (float)value;
        uint32_t word;
        memcpy(&word, &narrow, sizeof word);
        bits = word;
    } else {
        memcpy(&bits, &value, sizeof bits);
    }
    store(bits, table[datatype].size, out);
    return true;
}

static double get_integer(enum rd_datatype datatype, const uint8_t *bytes)
{
    unsigned size = table[datatype].size;
    uint64_t bits = load(bytes, size);
    if (table[datatype].kind == SIGNED && (bits >> (8 * size - 1) & 1) != 0) {
        uint64_t magnitude = size == 8 ? 0 - bits : ((uint64_t)1 << (8 * size)) - bits;
        return -(double)magnitude;
    }
    return (double)bits;
}

double rd_datatype_get_number(enum rd_datatype datatype, const uint8_t *bytes)
{
    if (table[datatype].kind == TEXT) {
        return 0;
    }
    if (table[datatype].kind != FLOAT) {
        return get_integer(datatype, bytes);
    }
    if (table[datatype].size == 2) {
        return get_half(datatype, bytes);
    }
    uint64_t bits = load(bytes, table[datatype].size);
    if (datatype == RD_DATATYPE_FP32) {
        return (double)float_of((uint32_t)bits);
    }
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
