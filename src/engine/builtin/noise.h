/* SPDX-License-Identifier: Apache-2.0
 *
 * Arithmetic that gives the same bits on every machine: hashes instead of a stateful random source
 * (so that any pixel, stroke or frame can be computed alone and in any order), and sine, arc
 * tangent, square root and noise in integers. Nothing here touches a floating-point number, because
 * the last bit of libm differs between systems and one bit is another picture.
 *
 * Units: angles are 16-bit turns (65536 is once round), coordinates are Q16 (65536 is one cell),
 * results of sine and noise are Q15 (-32768..32767). Right shifts of negative numbers are
 * arithmetic, as on every compiler that builds this. */
#ifndef RD_ENGINE_BUILTIN_NOISE_H
#define RD_ENGINE_BUILTIN_NOISE_H

#include <stddef.h>
#include <stdint.h>

/* 32 well mixed bits for a point of a layer. A pure function: the only source of chance. */
static inline uint32_t rd_noise_hash(uint32_t seed, int32_t x, int32_t y, uint32_t layer)
{
    uint32_t h = seed ^ ((uint32_t)x * 0x9e3779b1u) ^ (layer * 0x85ebca77u);
    h = (h ^ (h >> 15)) * 0x2c1b3c6du;
    h ^= (uint32_t)y * 0xc2b2ae3du;
    h = (h ^ (h >> 12)) * 0x297a2d39u;
    return h ^ (h >> 15);
}

/* A number in lo..hi (hi included, hi >= lo) from the hash `h`. */
static inline int32_t rd_noise_range(uint32_t h, int32_t lo, int32_t hi)
{
    return lo + (int32_t)(((uint64_t)h * (uint64_t)(uint32_t)(hi - lo + 1)) >> 32);
}

static inline int32_t rd_noise_clamp(int64_t value, int32_t lo, int32_t hi)
{
    return value < lo ? lo : value > hi ? hi : (int32_t)value;
}

/* Hermite step of Q16: 0 at 0, 65536 at 65536, flat at both ends. */
static inline int32_t rd_noise_smooth(int32_t t)
{
    int64_t c = rd_noise_clamp(t, 0, 65536);
    return (int32_t)((c * c / 65536) * (196608 - 2 * c) / 65536);
}

/* FNV-1a over bytes, finished with a mixing step: names and words become seeds. */
uint32_t rd_noise_hash_bytes(uint32_t seed, const void *bytes, size_t len);

int32_t rd_noise_sin(uint32_t turn);           /* Q15; only the low 16 bits of `turn` count */
int32_t rd_noise_cos(uint32_t turn);           /* Q15 */
uint32_t rd_noise_atan2(int32_t y, int32_t x); /* 16-bit turn; 0 for (0, 0) */
uint32_t rd_noise_isqrt(uint64_t value);       /* floor of the root */

/* Gradient noise at (x, y) in Q16 cells; Q15, about -20000..20000, 0 on the lattice. */
int32_t rd_noise_gradient(uint32_t seed, int32_t x, int32_t y);
/* `octaves` (1..8) of it, each twice as fine and half as strong; Q15, about -26000..26000. */
int32_t rd_noise_fbm(uint32_t seed, int32_t x, int32_t y, unsigned octaves);

/* The kinds of start noise, as `noise_type` names them. */
enum rd_noise_kind {
    RD_NOISE_GAUSSIAN, /* every pixel for itself */
    RD_NOISE_PERLIN,   /* smooth patches of one size */
    RD_NOISE_BROWNIAN, /* large soft masses with fine ones in them */
    RD_NOISE_FRACTAL,  /* ridges at all sizes */
    RD_NOISE_KIND_COUNT_
};
/* Noise of that kind for pixel (x, y) of a picture whose short side has `side` pixels; Q15. */
int32_t rd_noise_kind_at(enum rd_noise_kind kind, uint32_t seed, int32_t x, int32_t y,
                         int32_t side);

#endif
