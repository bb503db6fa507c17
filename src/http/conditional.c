/* SPDX-License-Identifier: Apache-2.0
 *
 * Conditional requests. See conditional.h.
 *
 * strptime is not used: it reads names in the process's locale, skips white space freely, and takes
 * half a date for a whole one. The three forms differ only in their separators, so one small reader
 * driven by a pattern does for all. */
#include "http/conditional.h"

#include <stddef.h>
#include <string.h>

/* --- entity tags --- */

static const char *skip_separators(const char *at)
{
    while (*at == ' ' || *at == '\t' || *at == ',') {
        at++;
    }
    return at;
}

/* Behind the opaque tag (with its quotes) at `at`, or NULL when there is none. */
static const char *skip_opaque(const char *at)
{
    if (*at != '"') {
        return NULL;
    }
    for (at++; *at != '"'; at++) {
        unsigned char c = (unsigned char)*at;
        if (c <= 0x20 || c == 0x7f) { /* also the text's end */
            return NULL;
        }
    }
    return at + 1;
}

/* Whether a list of tags has this one. Weak comparison ignores the W/ prefix; strong comparison
 * lets a weak tag match nothing. Stops at what is no tag. */
static bool list_has(const char *list, const char *etag, bool weak)
{
    size_t etag_len = strlen(etag);
    for (const char *at = skip_separators(list); *at != '\0'; at = skip_separators(at)) {
        bool is_weak = at[0] == 'W' && at[1] == '/';
        const char *start = is_weak ? at + 2 : at;
        const char *end = skip_opaque(start);
        if (end == NULL) {
            return false;
        }
        if ((weak || !is_weak) && (size_t)(end - start) == etag_len &&
            memcmp(start, etag, etag_len) == 0) {
            return true;
        }
        at = end;
        if (*at != ',' && *at != ' ' && *at != '\t' && *at != '\0') {
            return false;
        }
    }
    return false;
}

static bool is_star(const char *value)
{
    value += strspn(value, " \t");
    return value[0] == '*' && value[1 + strspn(value + 1, " \t")] == '\0';
}

static bool tags_match(const char *value, const struct rd_conditional_object *object, bool weak)
{
    if (!object->exists) {
        return false;
    }
    return is_star(value) || list_has(value, object->etag, weak);
}

/* --- dates --- */

struct date {
    unsigned year, month, day, hour, minute, second; /* month and day from 1 */
};

static bool read_digits(const char **at, unsigned count, unsigned *ret)
{
    unsigned value = 0;
    for (unsigned i = 0; i < count; i++, (*at)++) {
        if (**at < '0' || **at > '9') {
            return false;
        }
        value = value * 10 + (unsigned)(**at - '0');
    }
    *ret = value;
    return true;
}

/* One of `names`, which are all three letters long; its index from 0. */
static bool read_name(const char **at, const char *names, unsigned count, unsigned *ret)
{
    for (unsigned i = 0; i < count; i++) {
        if (strncmp(*at, names + (size_t)3 * i, 3) == 0) {
            *at += 3;
            *ret = i;
            return true;
        }
    }
    return false;
}

/* Day of month in asctime: two characters, the first may be a space. */
static bool read_padded_day(const char **at, unsigned *ret)
{
    if (**at == ' ') {
        (*at)++;
        return read_digits(at, 1, ret);
    }
    return read_digits(at, 2, ret);
}

/* Reads `text` by `pattern`: a day name, l long day name, d day, e padded day, m month name, Y
 * year, y two-digit year, H i S the time; every other character (so also those of GMT) stands
 * for itself. */
static bool read_pattern(const char *text, const char *pattern, struct date *date)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char *const rests[] = {"day", "day", "sday", "nesday", "rsday", "day", "urday"};
    unsigned weekday;
    for (; *pattern != '\0'; pattern++) {
        bool ok = true;
        switch (*pattern) {
        case 'a':
            ok = read_name(&text, days, 7, &weekday);
            break;
        case 'l':
            ok = read_name(&text, days, 7, &weekday) &&
                 strncmp(text, rests[weekday], strlen(rests[weekday])) == 0;
            text += ok ? strlen(rests[weekday]) : 0;
            break;
        case 'd':
            ok = read_digits(&text, 2, &date->day);
            break;
        case 'e':
            ok = read_padded_day(&text, &date->day);
            break;
        case 'm':
            ok = read_name(&text, months, 12, &date->month);
            date->month++;
            break;
        case 'Y':
            ok = read_digits(&text, 4, &date->year);
            break;
        case 'y':
            ok = read_digits(&text, 2, &date->year);
            date->year += date->year >= 70 ? 1900 : 2000;
            break;
        case 'H':
            ok = read_digits(&text, 2, &date->hour);
            break;
        case 'i':
            ok = read_digits(&text, 2, &date->minute);
            break;
        case 'S':
            ok = read_digits(&text, 2, &date->second);
            break;
        default:
            ok = *text++ == *pattern;
            break;
        }
        if (!ok) {
            return false;
        }
    }
    return *text == '\0';
}

static bool is_leap(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static bool to_unix(const struct date *date, uint64_t *ret)
{
    static const unsigned lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned leap = is_leap(date->year) ? 1 : 0;
    if (date->year < 1970 || date->day < 1 ||
        date->day > lengths[date->month - 1] + (date->month == 2 ? leap : 0) || date->hour > 23 ||
        date->minute > 59 || date->second > 60) {
        return false;
    }
    uint64_t days = date->day - 1;
    for (unsigned year = 1970; year < date->year; year++) {
        days += is_leap(year) ? 366 : 365;
    }
    for (unsigned month = 1; month < date->month; month++) {
        days += lengths[month - 1] + (month == 2 ? leap : 0);
    }
    *ret = ((days * 24 + date->hour) * 60 + date->minute) * 60 + date->second;
    return true;
}

bool rd_conditional_date(const char *text, uint64_t *ret_unix_s)
{
    static const char *const patterns[] = {
        "a, d m Y H:i:S GMT", /* Sun, 06 Nov 1994 08:49:37 GMT */
        "l, d-m-y H:i:S GMT", /* Sunday, 06-Nov-94 08:49:37 GMT */
        "a m e H:i:S Y",      /* Sun Nov  6 08:49:37 1994 */
    };
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        struct date date = {0};
        if (read_pattern(text, patterns[i], &date)) {
            return to_unix(&date, ret_unix_s);
        }
    }
    return false;
}

/* --- the conditions --- */

static bool has_date(const char *header, const struct rd_conditional_object *object, uint64_t *ret)
{
    return header != NULL && object->exists && object->last_modified != 0 &&
           rd_conditional_date(header, ret);
}

enum rd_conditional rd_conditional_evaluate(const struct rd_conditional_request *request,
                                            const struct rd_conditional_object *object)
{
    uint64_t date;
    if (request->if_match != NULL) {
        if (!tags_match(request->if_match, object, false)) {
            return RD_CONDITIONAL_FAILED;
        }
    } else if (has_date(request->if_unmodified_since, object, &date) &&
               object->last_modified > date) {
        return RD_CONDITIONAL_FAILED;
    }
    if (request->if_none_match != NULL) {
        if (tags_match(request->if_none_match, object, true)) {
            return request->is_read ? RD_CONDITIONAL_NOT_MODIFIED : RD_CONDITIONAL_FAILED;
        }
    } else if (request->is_read && has_date(request->if_modified_since, object, &date) &&
               object->last_modified <= date) {
        return RD_CONDITIONAL_NOT_MODIFIED;
    }
    return RD_CONDITIONAL_PROCEED;
}

bool rd_conditional_range_applies(const char *if_range, const struct rd_conditional_object *object)
{
    if (if_range == NULL) {
        return true;
    }
    if (!object->exists) {
        return false;
    }
    if (strcmp(if_range, object->etag) == 0) {
        return true;
    }
    uint64_t date;
    return has_date(if_range, object, &date) && date == object->last_modified;
}
