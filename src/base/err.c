/* SPDX-License-Identifier: Apache-2.0
 *
 * The error table and the two ways to fill a struct rd_why. See err.h. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct rd_err_info table[RD_ERR_COUNT_] = {
    [RD_OK] = {200, "ok", "ok", false},
#define X(name, http, code, message, retriable) [RD_ERR_##name] = {http, code, message, retriable},
#include "base/errors.def"
#undef X
};

const struct rd_err_info *rd_err_info(rd_err err)
{
    if ((unsigned)err >= RD_ERR_COUNT_) {
        err = RD_ERR_INTERNAL;
    }
    return &table[err];
}

rd_err rd_err_find(const char *code)
{
    for (int i = RD_OK + 1; i < RD_ERR_COUNT_; i++) {
        if (strcmp(table[i].code, code) == 0) {
            return (rd_err)i;
        }
    }
    return RD_ERR_INTERNAL;
}

rd_err rd_err_errno(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: /* RLIMIT_FSIZE, or what the file system takes: no room in this place either */
        return RD_ERR_DISK_FULL;
    case ENOMEM:
        return RD_ERR_NO_MEMORY;
    default:
        return RD_ERR_IO;
    }
}

rd_err rd_why_set(struct rd_why *why, rd_err err, const char *fmt, ...)
{
    if (why != NULL) {
        va_list args;
        va_start(args, fmt);
        if (vsnprintf(why->text, sizeof why->text, fmt, args) < 0) {
            why->text[0] = '\0';
        }
        va_end(args);
    }
    return err;
}

rd_err rd_why_errno(struct rd_why *why, int errnum, const char *verb, const char *object)
{
    char message[128];
    /* strerror_r is the GNU one here: it may return a static string. */
    const char *text = strerror_r(errnum, message, sizeof message);
    return rd_why_set(why, rd_err_errno(errnum), "cannot %s %s: %s", verb, object, text);
}
