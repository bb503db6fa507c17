/* SPDX-License-Identifier: Apache-2.0
 *
 * The integer arithmetic under the pictures: known answers, and closeness to what libm says. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "engine/builtin/noise.h"

static void hashes_are_for_ever(void **state)
{
    (void)state;
    /* Known answers: a change here is a change of every picture. */
    assert_int_equal(rd_noise_hash(0, 0, 0, 0), 0u);
    assert_int_equal(rd_noise_hash(1, 2, 3, 4), 508331025u);
    assert_int_equal(rd_noise_hash(0xffffffffu, -1, -1, 0xffffffffu), 2041404420u);
    assert_int_equal(rd_noise_hash_bytes(0, "circle", 6), 903326556u);
    assert_int_not_equal(rd_noise_hash_bytes(0, "", 0), rd_noise_hash_bytes(1, "", 0));
}

static void hashes_spread(void **state)
{
    (void)state;
    unsigned ones = 0;
    for (int32_t i = 0; i < 4096; i++) {
        ones += (unsigned)__builtin_popcount(rd_noise_hash(7, i & 63, i >> 6, 1));
        assert_in_range(rd_noise_range(rd_noise_hash(7, i, 0, 1), 3, 5), 3, 5);
    }
    assert_in_range(ones, 4096 * 16 - 1500, 4096 * 16 + 1500);
    assert_int_equal(rd_noise_range(0, -5, 5), -5);
    assert_int_equal(rd_noise_range(0xffffffffu, -5, 5), 5);
}

static void sine_is_near_the_sine(void **state)
{
    (void)state;
    for (uint32_t t = 0; t < 65536; t += 7) {
        double turn = t * 2 * M_PI / 65536;
        assert_true(fabs(rd_noise_sin(t) / 32768.0 - sin(turn)) < 0.0005);
        assert_true(fabs(rd_noise_cos(t) / 32768.0 - cos(turn)) < 0.0005);
    }
    assert_int_equal(rd_noise_sin(0), 0);
    assert_int_equal(rd_noise_sin(32768), 0);
    assert_int_equal(rd_noise_sin(16384), 32767);
    assert_int_equal(rd_noise_sin(49152), -32767);
    assert_int_equal(rd_noise_cos(65536), rd_noise_cos(0)); /* a loop closes */
}

static void arc_tangent_is_near(void **state)
{
    (void)state;
    for (int32_t y = -1000; y <= 1000; y += 37) {
        for (int32_t x = -1000; x <= 1000; x += 41) {
            double want = atan2(y, x) * 65536 / (2 * M_PI);
            double got = rd_noise_atan2(y, x);
            double off = fmod(fabs(want - got), 65536);
            assert_true(off < 60 || off > 65536 - 60);
        }
    }
    assert_int_equal(rd_noise_atan2(0, 0), 0);
    assert_int_equal(rd_noise_atan2(0, -5), 32768);
    assert_int_equal(rd_noise_atan2(INT32_MIN, INT32_MIN), 40960);
}

static void roots_are_exact(void **state)
{
    (void)state;
    static const struct {
        uint64_t value;
        uint32_t root;
    } table[] = {{0, 0},
                 {1, 1},
                 {3, 1},
                 {4, 2},
                 {99, 9},
                 {100, 10},
                 {UINT64_MAX, 4294967295u},
                 {18446744065119617025u, 4294967295u},
                 {18446744065119617024u, 4294967294u}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_int_equal(rd_noise_isqrt(table[i].value), table[i].root);
    }
}

static void noise_is_smooth_and_centred(void **state)
{
    (void)state;
    int64_t sum = 0;
    int32_t last = rd_noise_gradient(5, 0, 40000);
    for (int32_t x = 0; x < 4000; x++) {
        int32_t n = rd_noise_gradient(5, x * 512, 40000);
        assert_true(n - last < 1200 && last - n < 1200); /* no seam between cells */
        last = n;
        sum += n;
        assert_int_equal(rd_noise_gradient(5, (x - 2000) * 65536, 3 * 65536), 0); /* lattice */
    }
    for (int32_t i = 0; i < 60000; i++) { /* sixty rows, far apart */
        sum += rd_noise_gradient(5, i % 1000 * 20011, i / 1000 * 131071);
    }
    assert_true(sum / 64000 < 400 && sum / 64000 > -400);
    for (int kind = 0; kind < RD_NOISE_KIND_COUNT_; kind++) {
        int32_t low = INT32_MAX;
        int32_t high = INT32_MIN;
        for (int32_t i = 0; i < 10000; i++) {
            int32_t n =
                rd_noise_kind_at((enum rd_noise_kind)kind, 3, i % 100 * 10, i / 100 * 10, 1000);
            low = n < low ? n : low;
            high = n > high ? n : high;
        }
        assert_true(low >= -32768 && high <= 32767 && high - low > 24000);
    }
}

static void steps_are_clamped(void **state)
{
    (void)state;
    assert_int_equal(rd_noise_smooth(-5), 0);
    assert_int_equal(rd_noise_smooth(0), 0);
    assert_int_equal(rd_noise_smooth(32768), 32768);
    assert_int_equal(rd_noise_smooth(65536), 65536);
    assert_int_equal(rd_noise_smooth(70000), 65536);
    assert_int_equal(rd_noise_clamp(INT64_MAX, -3, 9), 9);
    assert_int_equal(rd_noise_clamp(INT64_MIN, -3, 9), -3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_for_ever),   cmocka_unit_test(hashes_spread),
        cmocka_unit_test(sine_is_near_the_sine), cmocka_unit_test(arc_tangent_is_near),
        cmocka_unit_test(roots_are_exact),       cmocka_unit_test(noise_is_smooth_and_centred),
        cmocka_unit_test(steps_are_clamped),
    };
    return cmocka_run_group_tests_name("engine/builtin_noise", tests, NULL, NULL);
}
