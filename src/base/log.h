/* SPDX-License-Identifier: Apache-2.0
 *
 * The structured log: one line an event on stderr, as JSON or as text. Only the edges (main,
 * gateway, signer) log; libraries report through rd_err and rd_why. Never pass a secret.
 * Thread-safe: a line is one write(2).
 *
 *     rd_log(RD_LOG_INFO, "listening", (struct rd_log_field[]){
 *         RD_LOG_STR("url", url), RD_LOG_INT("threads", n), RD_LOG_END}); */
#ifndef RD_BASE_LOG_H
#define RD_BASE_LOG_H

#include <stdint.h>

#include "base/err.h"

enum rd_log_level { RD_LOG_DEBUG, RD_LOG_INFO, RD_LOG_WARN, RD_LOG_ERROR, RD_LOG_OFF };
enum rd_log_format { RD_LOG_JSON, RD_LOG_TEXT };

struct rd_log_field {
    const char *name; /* NULL ends the list */
    enum { RD_LOG_KIND_STR, RD_LOG_KIND_INT, RD_LOG_KIND_NUM } kind;
    const char *str; /* NULL: the field is left out */
    int64_t integer;
    double number;
};
#define RD_LOG_STR(n, v)                                                                           \
    {                                                                                              \
        .name = (n), .kind = RD_LOG_KIND_STR, .str = (v)                                           \
    }
#define RD_LOG_INT(n, v)                                                                           \
    {                                                                                              \
        .name = (n), .kind = RD_LOG_KIND_INT, .integer = (int64_t)(v)                              \
    }
#define RD_LOG_NUM(n, v)                                                                           \
    {                                                                                              \
        .name = (n), .kind = RD_LOG_KIND_NUM, .number = (v)                                        \
    }
#define RD_LOG_END                                                                                 \
    {                                                                                              \
        .name = NULL                                                                               \
    }

/* Call before threads start, or on reload (both are single words, written atomically). */
void rd_log_configure(enum rd_log_level level, enum rd_log_format format);
bool rd_log_enabled(enum rd_log_level level);
void rd_log(enum rd_log_level level, const char *event, const struct rd_log_field *fields);

#endif
