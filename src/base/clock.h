/* SPDX-License-Identifier: Apache-2.0
 *
 * Time. The only place that reads a clock. Durations use the monotonic clock; the wall clock is for
 * what people and other machines read. */
#ifndef RD_BASE_CLOCK_H
#define RD_BASE_CLOCK_H

#include <stdint.h>

uint64_t rd_clock_mono_ns(void);
uint64_t rd_clock_wall_ms(void);       /* Unix milliseconds */
uint64_t rd_clock_thread_cpu_ns(void); /* CPU time of the calling thread */

enum { RD_CLOCK_RFC3339_LEN = 24, RD_CLOCK_HTTP_DATE_LEN = 29 };
/* "2026-11-22T11:48:16.042Z"; room for 25. */
void rd_clock_rfc3339_ms(uint64_t unix_ms, char out[RD_CLOCK_RFC3339_LEN + 1]);
/* "2026-11-22T11:48:16Z"; room for 21. */
void rd_clock_rfc3339_s(uint64_t unix_ms, char out[21]);
/* "Sun, 22 Nov 2026 11:48:16 GMT" (RFC 9110 IMF-fixdate); room for 30. */
void rd_clock_http_date(uint64_t unix_s, char out[RD_CLOCK_HTTP_DATE_LEN + 1]);

#endif
