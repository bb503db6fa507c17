/* SPDX-License-Identifier: Apache-2.0
 *
 * The one error idiom. A function that can fail returns `rd_err` and is marked RD_MUST; RD_OK is 0.
 * Outputs are named ret_x and are untouched on failure. RD_TRY returns early. Library code never
 * logs: it says what went wrong through an optional `struct rd_why` and the edge logs once.
 * The list of errors is errors.def. */
#ifndef RD_BASE_ERR_H
#define RD_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>

#define RD_MUST __attribute__((warn_unused_result))
#define RD_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

typedef enum rd_err {
    RD_OK = 0,
#define X(name, http, code, message, retriable) RD_ERR_##name,
#include "base/errors.def"
#undef X
    RD_ERR_COUNT_
} rd_err;

#define RD_TRY(expr)                                                                               \
    do {                                                                                           \
        rd_err rd_try_err_ = (expr);                                                               \
        if (rd_try_err_ != RD_OK) {                                                                \
            return rd_try_err_;                                                                    \
        }                                                                                          \
    } while (0)

/* One row of errors.def. */
struct rd_err_info {
    int http;            /* status code */
    const char *code;    /* on the wire, snake_case */
    const char *message; /* default text, English, no full stop */
    bool retriable;
};

/* The row for `err`; RD_OK gives 200 "ok". Never NULL. */
const struct rd_err_info *rd_err_info(rd_err err);

/* The error with this code on the wire; INTERNAL when there is none. */
rd_err rd_err_find(const char *code);

/* The error for a failed system call's errno: ENOSPC, EDQUOT and EFBIG are DISK_FULL, ENOMEM is
 * NO_MEMORY, anything else IO. */
rd_err rd_err_errno(int errnum);

/* What went wrong, where, in one line for a human. Callers may pass NULL where a function takes
 * one. */
struct rd_why {
    char text[512];
};

/* Fills `why` (when not NULL; cut at its size) and returns `err`, so that one can write
 * `return rd_why_set(why, RD_ERR_IO, "cannot open %s: %s", path, strerror(errno));` */
rd_err rd_why_set(struct rd_why *why, rd_err err, const char *fmt, ...) RD_PRINTF(3, 4);

/* The same for a failed system call on `object`: "<verb> <object>: <strerror>". */
rd_err rd_why_errno(struct rd_why *why, int errnum, const char *verb, const char *object);

#endif
