/* SPDX-License-Identifier: Apache-2.0
 *
 * Single values: sizes, durations and numbers from text and back, and the nearest name to a
 * misspelt one. Sizes and durations must have a unit: `timeout: 30` has been read as seconds and as
 * milliseconds by half of the people each. Only zero is the same in all units. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "yaml/read.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first, so that printing takes the first that divides. */
static const struct unit size_units[] = {
    {"TiB", 1ull << 40}, {"GiB", 1ull << 30}, {"MiB", 1ull << 20}, {"KiB", 1ull << 10}, {"B", 1},
};
static const struct unit duration_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

#define COUNT(table) (sizeof(table) / sizeof(table)[0])

static bool with_unit(const char *text, size_t len, const struct unit *units, size_t count,
                      uint64_t *ret)
{
    size_t digits = 0;
    uint64_t number;
    while (digits < len && text[digits] >= '0' && text[digits] <= '9') {
        digits++;
    }
    if (!rd_text_u64(text, digits, &number)) {
        return false;
    }
    if (digits == len) {
        if (number == 0) {
            *ret = 0;
        }
        return number == 0;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t value;
        if (rd_text_eq(text + digits, len - digits, units[i].name)) {
            if (__builtin_mul_overflow(number, units[i].factor, &value)) {
                return false;
            }
            *ret = value;
            return true;
        }
    }
    return false;
}

bool rd_yaml_size(const char *text, size_t len, uint64_t *ret_bytes)
{
    return with_unit(text, len, size_units, COUNT(size_units), ret_bytes);
}

bool rd_yaml_duration(const char *text, size_t len, uint64_t *ret_ms)
{
    return with_unit(text, len, duration_units, COUNT(duration_units), ret_ms);
}

static void unit_text(uint64_t value, const struct unit *units, char out[32])
{
    while (value % units->factor != 0) {
        units++;
    }
    if (snprintf(out, 32, "%llu%s", (unsigned long long)(value / units->factor),
                 value == 0 ? "" : units->name) < 0) {
        out[0] = '\0';
    }
}

void rd_yaml_size_text(uint64_t bytes, char out[32])
{
    unit_text(bytes, size_units, out);
}

void rd_yaml_duration_text(uint64_t ms, char out[32])
{
    unit_text(ms, duration_units, out);
}

static size_t skip_digits(const char *text, size_t len, size_t at)
{
    while (at < len && text[at] >= '0' && text[at] <= '9') {
        at++;
    }
    return at;
}

/* [-]digits[.digits][e[+-]digits]: strtod alone would take " 0x1p3", "inf" and "nan" as well. */
bool rd_yaml_double(const char *text, size_t len, double *ret)
{
    char copy[32];
    size_t at = len > 0 && text[0] == '-' ? 1 : 0;
    size_t start = at;
    if (len >= sizeof copy || (at = skip_digits(text, len, at)) == start) {
        return false;
    }
    if (at < len && text[at] == '.') {
        start = ++at;
        at = skip_digits(text, len, at);
        if (at == start) {
            return false;
        }
    }
    if (at < len && (text[at] == 'e' || text[at] == 'E')) {
        at++;
        at += at < len && (text[at] == '+' || text[at] == '-');
        start = at;
        at = skip_digits(text, len, at);
        if (at == start) {
            return false;
        }
    }
    if (at != len) {
        return false;
    }
    memcpy(copy, text, len);
    copy[len] = '\0';
    *ret = strtod(copy, NULL);
    return true;
}

enum { NAME_MAX_ = 64 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The edit distance with swaps of neighbours, three rows of the usual table; SIZE_MAX for texts too
 * long to be names. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][NAME_MAX_ + 1];
    size_t a_len = strlen(a), b_len = strlen(b);
    if (a_len > NAME_MAX_ || b_len > NAME_MAX_) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= b_len; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        const size_t *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = least(change, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = least(row[j], above2[j - 2] + 1);
            }
        }
    }
    return rows[a_len % 3][b_len];
}

const char *rd_yaml_nearest(const char *text, const struct rd_yaml_schema *schema)
{
    const char *nearest = NULL;
    size_t best = 3;
    for (size_t i = 0; i < schema->count; i++) {
        const char *name = schema->fields[i].name;
        size_t d = distance(text, name);
        /* Two wrong letters of three are another word. */
        if (d < best && d * 2 < strlen(name)) {
            best = d;
            nearest = name;
        }
    }
    return nearest;
}
