/* SPDX-License-Identifier: Apache-2.0
 *
 * What a script says: the last words of a text without end, and one line of the protocol. */
#ifndef RD_ENGINE_PROCESS_WORDS_H
#define RD_ENGINE_PROCESS_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RD_PROCESS_LINE_MAX = 4096, /* bytes of one line of stdout; a longer one is no message */
    RD_PROCESS_WORDS_KEPT = 1024,
    RD_PROCESS_WORDS_SHOWN = 180, /* of them, in an error: a log line has no room for more */
};

/* The last bytes of what was written. */
struct rd_process_words {
    char text[RD_PROCESS_WORDS_KEPT];
    size_t len;
};

void rd_process_words_add(struct rd_process_words *words, const char *bytes, size_t len);
/* The last lines, as far as they fit, made harmless, on one line; "" when there are none. */
void rd_process_words_last(const struct rd_process_words *words,
                           char out[RD_PROCESS_WORDS_SHOWN + 1]);

/* One line of the protocol; what it does not say has its `has_` false or is "". */
struct rd_process_line {
    bool has_progress, has_step, has_device_ns, has_error;
    double progress; /* 0..1 */
    unsigned step;
    uint64_t device_ns; /* > 0 */
    char device[64];
    char preview[64]; /* the name of a file in the run's folder, without a '/' */
    char error[RD_PROCESS_WORDS_SHOWN + 1];
    bool retriable;
};

/* Reads a JSON object; false when it is none. A member of another type than it should have, or out
 * of its range, is as if it were not there. */
bool rd_process_line_parse(const char *text, size_t len, struct rd_process_line *ret);

#endif
