/* SPDX-License-Identifier: Apache-2.0
 *
 * Integer noise. See noise.h. The sine is a fifth-order odd polynomial on a quarter turn (largest
 * error 0.00016, far below one colour level) and the arc tangent a second-order one on an octant:
 * tables would be no faster here and need a generator that could differ. */
#include "engine/builtin/noise.h"

uint32_t rd_noise_hash_bytes(uint32_t seed, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    uint32_t h = 2166136261u ^ seed;
    for (size_t i = 0; i < len; i++) {
        h = (h ^ p[i]) * 16777619u;
    }
    return rd_noise_hash(h, (int32_t)(len & 0xffff), 0, 0x51ed);
}

int32_t rd_noise_sin(uint32_t turn)
{
    int32_t t = (int32_t)(turn & 0xffff);
    int32_t sign = 1;
    if (t >= 32768) {
        t -= 32768;
        sign = -1;
    }
    if (t > 16384) {
        t = 32768 - t;
    }
    /* sin(pi/2 x) = a x - b x^3 + c x^5 with a + c - b = 1; x is Q14. */
    int64_t x = t;
    int64_t x2 = x * x >> 14;
    int64_t y = 51437 - ((x2 * (21042 - (x2 * 2373 >> 14))) >> 14);
    int32_t result = (int32_t)(y * x >> 14);
    return sign * (result > 32767 ? 32767 : result);
}

int32_t rd_noise_cos(uint32_t turn)
{
    return rd_noise_sin(turn + 16384);
}

uint32_t rd_noise_atan2(int32_t y, int32_t x)
{
    int64_t ax = x < 0 ? -(int64_t)x : x;
    int64_t ay = y < 0 ? -(int64_t)y : y;
    if (ax == 0 && ay == 0) {
        return 0;
    }
    int64_t lo = ax < ay ? ax : ay;
    int64_t hi = ax < ay ? ay : ax;
    int64_t r = (lo << 15) / hi;
    /* atan(r) = r (pi/4 + 0.273 (1 - r)), in turns of 65536 */
    int64_t a = r * (8192 + (((32768 - r) * 2847) >> 15)) >> 15;
    if (ax < ay) {
        a = 16384 - a;
    }
    if (x < 0) {
        a = 32768 - a;
    }
    if (y < 0) {
        a = 65536 - a;
    }
    return (uint32_t)a & 0xffff;
}

uint32_t rd_noise_isqrt(uint64_t value)
{
    uint64_t root = 0;
    uint64_t bit = (uint64_t)1 << 62;
    while (bit > value) {
        bit >>= 2;
    }
    while (bit != 0) {
        if (value >= root + bit) {
            value -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
        bit >>= 2;
    }
    return (uint32_t)root;
}

/* The dot product of one of sixteen gradients with the offset (Q12), by the corner's hash. */
static int32_t corner(uint32_t h, int32_t dx, int32_t dy)
{
    static const int8_t gx[16] = {16, 15, 11, 6, 0, -6, -11, -15, -16, -15, -11, -6, 0, 6, 11, 15};
    static const int8_t gy[16] = {0, 6, 11, 15, 16, 15, 11, 6, 0, -6, -11, -15, -16, -15, -11, -6};
    unsigned i = h >> 28;
    return (gx[i] * dx + gy[i] * dy) / 4;
}

int32_t rd_noise_gradient(uint32_t seed, int32_t x, int32_t y)
{
    int32_t ix = x >> 16;
    int32_t iy = y >> 16;
    int32_t fx = (x & 0xffff) >> 4; /* Q12 */
    int32_t fy = (y & 0xffff) >> 4;
    int32_t a = corner(rd_noise_hash(seed, ix, iy, 1), fx, fy);
    int32_t b = corner(rd_noise_hash(seed, ix + 1, iy, 1), fx - 4096, fy);
    int32_t c = corner(rd_noise_hash(seed, ix, iy + 1, 1), fx, fy - 4096);
    int32_t d = corner(rd_noise_hash(seed, ix + 1, iy + 1, 1), fx - 4096, fy - 4096);
    /* 6t^5 - 15t^4 + 10t^3: no creases where cells meet */
    int64_t sx = fx;
    int64_t sy = fy;
    int64_t u = (sx * sx >> 12) * sx >> 12;
    u = u * ((sx * (6 * sx - 61440) >> 12) + 40960) >> 12;
    int64_t v = (sy * sy >> 12) * sy >> 12;
    v = v * ((sy * (6 * sy - 61440) >> 12) + 40960) >> 12;
    int64_t top = a + ((b - a) * u >> 12);
    int64_t bottom = c + ((d - c) * u >> 12);
    return rd_noise_clamp((top + ((bottom - top) * v >> 12)) * 2, -32768, 32767);
}

int32_t rd_noise_fbm(uint32_t seed, int32_t x, int32_t y, unsigned octaves)
{
    int32_t sum = 0;
    uint32_t ux = (uint32_t)x;
    uint32_t uy = (uint32_t)y;
    for (unsigned i = 0; i < octaves; i++) {
        sum += rd_noise_gradient(seed + i * 0x68bc21ebu, (int32_t)ux, (int32_t)uy) >> i;
        /* doubled and moved by no whole number of cells, so that the lattices never meet */
        ux = ux * 2 + 23170;
        uy = uy * 2 + 41230;
    }
    return rd_noise_clamp(sum, -32768, 32767);
}

int32_t rd_noise_kind_at(enum rd_noise_kind kind, uint32_t seed, int32_t x, int32_t y, int32_t side)
{
    if (kind == RD_NOISE_GAUSSIAN) {
        /* four bytes summed are close enough to a bell for the eye */
        uint32_t h = rd_noise_hash(seed, x, y, 7);
        int32_t sum = (int32_t)((h & 0xff) + (h >> 8 & 0xff) + (h >> 16 & 0xff) + (h >> 24));
        return (sum - 510) * 64;
    }
    int32_t px = (int32_t)((int64_t)x * 65536 / side);
    int32_t py = (int32_t)((int64_t)y * 65536 / side);
    switch (kind) {
    case RD_NOISE_PERLIN:
        return rd_noise_clamp((int64_t)rd_noise_gradient(seed, px * 14, py * 14) * 2, -32768,
                              32767);
    case RD_NOISE_BROWNIAN:
        return rd_noise_clamp((int64_t)rd_noise_fbm(seed, px * 3, py * 3, 6) * 2, -32768, 32767);
    case RD_NOISE_FRACTAL: {
        int32_t n = rd_noise_fbm(seed, px * 6, py * 6, 5);
        return 30000 - rd_noise_clamp((n < 0 ? -(int64_t)n : n) * 5, 0, 60000);
    }
    case RD_NOISE_GAUSSIAN:
    case RD_NOISE_KIND_COUNT_:
        break;
    }
    return 0;
}
