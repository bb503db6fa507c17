/* SPDX-License-Identifier: Apache-2.0
 *
 * Little-endian numbers in byte arrays, for the formats of pack.c and hint.c: explicit, so that a
 * data directory can move between machines, and without casts that could be misaligned. */
#ifndef RD_CAS_WIRE_H
#define RD_CAS_WIRE_H

#include <stddef.h>
#include <stdint.h>

static inline void rd_cas_wire_put(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

static inline uint64_t rd_cas_wire_get(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

#endif
