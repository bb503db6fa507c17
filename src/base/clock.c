/* SPDX-License-Identifier: Apache-2.0
 *
 * Clocks and the two ways in which a time is written. See clock.h. */
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t read_ns(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        abort(); /* cannot fail for these clocks */
    }
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t rd_clock_mono_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t rd_clock_wall_ms(void)
{
    return read_ns(CLOCK_REALTIME) / 1000000u;
}

uint64_t rd_clock_thread_cpu_ns(void)
{
    return read_ns(CLOCK_THREAD_CPUTIME_ID);
}

static struct tm broken_down(uint64_t unix_s)
{
    time_t when = (time_t)unix_s;
    struct tm tm = {0};
    if (gmtime_r(&when, &tm) == NULL) {
        tm = (struct tm){.tm_year = 70, .tm_mday = 1};
    }
    return tm;
}

void rd_clock_rfc3339_ms(uint64_t unix_ms, char out[RD_CLOCK_RFC3339_LEN + 1])
{
    char seconds[21];
    rd_clock_rfc3339_s(unix_ms, seconds);
    (void)snprintf(out, RD_CLOCK_RFC3339_LEN + 1, "%.19s.%03uZ", seconds,
                   (unsigned)(unix_ms % 1000));
}

void rd_clock_rfc3339_s(uint64_t unix_ms, char out[21])
{
    struct tm tm = broken_down(unix_ms / 1000);
    if (strftime(out, 21, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) {
        out[0] = '\0';
    }
}

void rd_clock_http_date(uint64_t unix_s, char out[RD_CLOCK_HTTP_DATE_LEN + 1])
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm tm = broken_down(unix_s);
    char text[64]; /* roomy: the compiler does not see that each part has its fixed width */
    (void)snprintf(text, sizeof text, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT",
                   days[(unsigned)tm.tm_wday % 7], (unsigned)tm.tm_mday % 100,
                   months[(unsigned)tm.tm_mon % 12], (unsigned)(tm.tm_year + 1900) % 10000,
                   (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
                   (unsigned)tm.tm_sec % 100);
    memcpy(out, text, RD_CLOCK_HTTP_DATE_LEN);
    out[RD_CLOCK_HTTP_DATE_LEN] = '\0';
}
