/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers as bytes: every datatype at its limits and one beyond, and half floats at each of their
 * 65536 values and at the ties between them. Expected bytes are written out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "engine/tensor/datatype.h"

#define BIT(n) ((uint64_t)1 << (n))

static void names_go_both_ways(void **state)
{
    (void)state;
    static const char *const names[] = {"BOOL", "UINT8", "UINT16", "UINT32", "UINT64",
                                        "INT8", "INT16", "INT32",  "INT64",  "FP16",
                                        "BF16", "FP32",  "FP64",   "BYTES"};
    static const size_t sizes[] = {1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 2, 4, 8, 0};
    for (unsigned i = 0; i < RD_DATATYPE_COUNT_; i++) {
        enum rd_datatype got = RD_DATATYPE_COUNT_;
        assert_string_equal(rd_datatype_name(i), names[i]);
        assert_true(rd_datatype_parse(names[i], &got));
        assert_int_equal(got, i);
        assert_int_equal(rd_datatype_size(got), sizes[i]);
        assert_int_equal(rd_datatype_is_float(got), i >= RD_DATATYPE_FP16 && i <= RD_DATATYPE_FP64);
    }
    enum rd_datatype kept = RD_DATATYPE_FP32;
    assert_null(rd_datatype_name(RD_DATATYPE_COUNT_));
    assert_false(rd_datatype_parse("STRING", &kept));
    assert_false(rd_datatype_parse("fp32", &kept));
    assert_false(rd_datatype_parse("", &kept));
    assert_int_equal(kept, RD_DATATYPE_FP32);
}

static void integers_at_their_limits(void **state)
{
    (void)state;
    static const struct {
        enum rd_datatype datatype;
        uint64_t most, least; /* magnitudes; `least` is of the most negative one */
    } rows[] = {
        {RD_DATATYPE_BOOL, 1, 0},
        {RD_DATATYPE_UINT8, 255, 0},
        {RD_DATATYPE_UINT16, 65535, 0},
        {RD_DATATYPE_UINT32, UINT32_MAX, 0},
        {RD_DATATYPE_INT8, 127, 128},
        {RD_DATATYPE_INT16, 32767, 32768},
        {RD_DATATYPE_INT32, INT32_MAX, BIT(31)},
        {RD_DATATYPE_INT64, INT64_MAX, BIT(63)},
        {RD_DATATYPE_FP16, 2048, 2048},
        {RD_DATATYPE_BF16, 256, 256},
        {RD_DATATYPE_FP32, 1 << 24, 1 << 24},
        {RD_DATATYPE_FP64, BIT(53), BIT(53)},
    };
    uint8_t out[8];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum rd_datatype d = rows[i].datatype;
        assert_true(rd_datatype_put_integer(d, false, rows[i].most, out));
        assert_true(rd_datatype_get_number(d, out) == (double)rows[i].most);
        assert_false(rd_datatype_put_integer(d, false, rows[i].most + 1, out));
        assert_true(rd_datatype_put_integer(d, true, rows[i].least, out));
        assert_true(rd_datatype_get_number(d, out) == -(double)rows[i].least);
        assert_false(rd_datatype_put_integer(d, true, rows[i].least + 1, out));
    }
    assert_true(rd_datatype_put_integer(RD_DATATYPE_UINT64, false, UINT64_MAX, out));
    assert_memory_equal(out, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    assert_false(rd_datatype_put_integer(RD_DATATYPE_UINT64, true, 1, out));
    assert_false(rd_datatype_put_integer(RD_DATATYPE_BYTES, false, 1, out));
}

static void integers_on_the_wire(void **state)
{
    (void)state;
    uint8_t out[8];
    assert_true(rd_datatype_put_integer(RD_DATATYPE_INT64, false, 0x0102030405060708, out));
    assert_memory_equal(out, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    assert_true(rd_datatype_put_integer(RD_DATATYPE_INT32, true, 2, out));
    assert_memory_equal(out, "\xfe\xff\xff\xff", 4);
    assert_true(rd_datatype_put_integer(RD_DATATYPE_INT16, true, 0, out)); /* -0 is 0 */
    assert_memory_equal(out, "\0\0", 2);
    assert_true(rd_datatype_put_integer(RD_DATATYPE_FP32, false, 1, out));
    assert_memory_equal(out, "\0\0\x80\x3f", 4);
    assert_true(rd_datatype_put_integer(RD_DATATYPE_FP16, true, 2, out));
    assert_memory_equal(out, "\x00\xc0", 2);
}

static void assert_number(enum rd_datatype datatype, double value, const char *bytes)
{
    uint8_t out[8];
    if (!rd_datatype_put_number(datatype, value, out)) {
        fail_msg("%s %g refused", rd_datatype_name(datatype), value);
    }
    assert_memory_equal(out, bytes, rd_datatype_size(datatype));
}

static void floats_on_the_wire(void **state)
{
    (void)state;
    uint8_t out[8];
    assert_number(RD_DATATYPE_FP64, 3.5, "\0\0\0\0\0\0\x0c\x40");
    assert_number(RD_DATATYPE_FP32, 3.5, "\0\0\x60\x40");
    assert_number(RD_DATATYPE_FP32, 0.1, "\xcd\xcc\xcc\x3d");
    assert_number(RD_DATATYPE_FP16, 3.5, "\x00\x43");
    assert_number(RD_DATATYPE_FP16, 0.1, "\x66\x2e");
    assert_number(RD_DATATYPE_BF16, 3.5, "\x60\x40");
    assert_number(RD_DATATYPE_BF16, 0.1, "\xcd\x3d");
    assert_number(RD_DATATYPE_FP32, 3.4028234663852886e38, "\xff\xff\x7f\x7f");
    assert_false(rd_datatype_put_number(RD_DATATYPE_FP32, 3.4028236e38, out));
    assert_false(rd_datatype_put_number(RD_DATATYPE_INT32, 1, out));
    assert_false(rd_datatype_put_number(RD_DATATYPE_BYTES, 1, out));
    for (unsigned d = RD_DATATYPE_FP16; d <= RD_DATATYPE_FP64; d++) {
        assert_false(rd_datatype_put_number((enum rd_datatype)d, (double)NAN, out));
        assert_false(rd_datatype_put_number((enum rd_datatype)d, (double)INFINITY, out));
        assert_false(rd_datatype_put_number((enum rd_datatype)d, -(double)INFINITY, out));
    }
}

static void halves_round_once_and_to_even(void **state)
{
    (void)state;
    uint8_t out[8];
    const double u = ldexp(1, -10);                         /* between neighbours above 1 */
    assert_number(RD_DATATYPE_FP16, 1 + u / 2, "\x00\x3c"); /* a tie, to even */
    assert_number(RD_DATATYPE_FP16, 1 + u / 2 + ldexp(1, -40),
                  "\x01\x3c"); /* not a tie: no float */
    assert_number(RD_DATATYPE_FP16, 1 + 1.5 * u, "\x02\x3c");
    assert_number(RD_DATATYPE_FP16, 2 - u / 2, "\x00\x40"); /* into the next exponent */
    assert_number(RD_DATATYPE_FP16, 65504, "\xff\x7b");
    assert_number(RD_DATATYPE_FP16, 65519.996, "\xff\x7b");
    assert_false(rd_datatype_put_number(RD_DATATYPE_FP16, 65520, out));
    assert_false(rd_datatype_put_number(RD_DATATYPE_FP16, -1e300, out));
    assert_number(RD_DATATYPE_FP16, ldexp(1, -14), "\x00\x04"); /* the smallest normal one */
    assert_number(RD_DATATYPE_FP16, ldexp(1023, -24), "\xff\x03");
    assert_number(RD_DATATYPE_FP16, ldexp(1023.5, -24), "\x00\x04");
    assert_number(RD_DATATYPE_FP16, ldexp(1, -24), "\x01\x00");
    assert_number(RD_DATATYPE_FP16, ldexp(1, -25), "\x00\x00");
    assert_number(RD_DATATYPE_FP16, ldexp(1.0001, -25), "\x01\x00");
    assert_number(RD_DATATYPE_FP16, -ldexp(1, -30), "\x00\x80");
    assert_number(RD_DATATYPE_FP16, 5e-324, "\x00\x00");
    assert_number(RD_DATATYPE_BF16, 1 + ldexp(1, -8), "\x80\x3f");
    assert_number(RD_DATATYPE_BF16, 1 + ldexp(1, -8) + ldexp(1, -50), "\x81\x3f");
    assert_false(rd_datatype_put_number(RD_DATATYPE_BF16, 3.4e38, out));
    assert_number(RD_DATATYPE_BF16, 3.3895313892515355e38, "\x7f\x7f");
}

static void known_halves_read(void **state)
{
    (void)state;
    static const struct {
        enum rd_datatype datatype;
        const char *bytes;
        double value;
    } rows[] = {
        {RD_DATATYPE_FP16, "\x01\x00", 0x1p-24},    {RD_DATATYPE_FP16, "\xff\x03", 0x1.ff8p-15},
        {RD_DATATYPE_FP16, "\x00\x04", 0x1p-14},    {RD_DATATYPE_FP16, "\xff\x7b", 65504},
        {RD_DATATYPE_FP16, "\x00\xc1", -2.5},       {RD_DATATYPE_FP16, "\x55\x35", 0.333251953125},
        {RD_DATATYPE_BF16, "\x01\x00", 0x1p-133},   {RD_DATATYPE_BF16, "\x20\xc0", -2.5},
        {RD_DATATYPE_BF16, "\x7f\x7f", 0x1.fep127},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double got = rd_datatype_get_number(rows[i].datatype, (const uint8_t *)rows[i].bytes);
        assert_true(got == rows[i].value);
    }
}

/* Every finite value is itself again; what is not finite reads as that and cannot be written. */
static void every_half_goes_both_ways(void **state)
{
    (void)state;
    static const enum rd_datatype halves[] = {RD_DATATYPE_FP16, RD_DATATYPE_BF16};
    static const unsigned exponents[] = {0x7c00, 0x7f80};
    for (size_t h = 0; h < 2; h++) {
        double before = -1;
        for (unsigned bits = 0; bits <= UINT16_MAX; bits++) {
            const uint8_t in[2] = {(uint8_t)bits, (uint8_t)(bits >> 8)};
            uint8_t out[8];
            double value = rd_datatype_get_number(halves[h], in);
            bool finite = (bits & exponents[h]) != exponents[h];
            assert_int_equal(isfinite(value) != 0, finite);
            assert_int_equal(rd_datatype_put_number(halves[h], value, out), finite);
            if (finite) {
                assert_memory_equal(out, in, 2);
                assert_true((bits & 0x7fff) == 0 || bits >= 0x8000 || value > before);
                before = value;
            } else {
                bool nan = (bits & ~exponents[h] & 0x7fff) != 0;
                assert_int_equal(isnan(value) != 0, nan);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_go_both_ways),
        cmocka_unit_test(integers_at_their_limits),
        cmocka_unit_test(integers_on_the_wire),
        cmocka_unit_test(floats_on_the_wire),
        cmocka_unit_test(halves_round_once_and_to_even),
        cmocka_unit_test(known_halves_read),
        cmocka_unit_test(every_half_goes_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
