/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of what is wrong with a request. See request.h. */
#include "request/request.h"

#include <stdarg.h>
#include <stdio.h>

enum { MESSAGE_MAX = 1024 }; /* the longest is a list of all samplers */

void rd_problems_add(struct rd_problems *problems, struct rd_arena *arena, const char *field,
                     const char *constraint, const char *fmt, ...)
{
    if (problems->count == RD_LIMIT_PROBLEMS) {
        problems->dropped++;
        return;
    }
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    struct rd_problem problem = {
        .field = rd_arena_printf(arena, "%s", field),
        .constraint = rd_arena_printf(arena, "%s", constraint),
        .message = len < 0 ? NULL : rd_arena_printf(arena, "%s", message),
    };
    if (problem.field == NULL || problem.constraint == NULL || problem.message == NULL) {
        problems->dropped++;
        return;
    }
    problems->list[problems->count++] = problem;
}

void rd_problems_json(const struct rd_problems *problems, struct rd_buf *out)
{
    rd_buf_char(out, '[');
    for (size_t i = 0; i < problems->count; i++) {
        const struct rd_problem *problem = &problems->list[i];
        rd_buf_str(out, i == 0 ? "{\"field\":" : ",{\"field\":");
        rd_buf_json_str(out, problem->field);
        rd_buf_str(out, ",\"constraint\":");
        rd_buf_json_str(out, problem->constraint);
        rd_buf_str(out, ",\"message\":");
        rd_buf_json_str(out, problem->message);
        rd_buf_char(out, '}');
    }
    rd_buf_char(out, ']');
}
