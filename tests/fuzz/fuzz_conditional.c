/* SPDX-License-Identifier: Apache-2.0
 *
 * Conditional headers on any text: the first byte says which ones there are, lines are split at
 * LF. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http/conditional.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rd_conditional_object object = {true, "\"abc\"", 784111777};
    enum { LINES = 5 };
    char *text = size == 0 ? NULL : rd_mem_memdupz(data + 1, size - 1);
    if (text == NULL) {
        return 0;
    }
    const char *lines[LINES] = {NULL};
    char *at = text;
    for (unsigned i = 0; i < LINES && at != NULL; i++) {
        char *end = strchr(at, '\n');
        lines[i] = (data[0] >> i & 1) != 0 ? at : NULL;
        if (end != NULL) {
            *end++ = '\0';
        }
        at = end;
    }
    struct rd_conditional_request request = {(data[0] & 0x80) != 0, lines[0], lines[1], lines[2],
                                             lines[3]};
    enum rd_conditional outcome = rd_conditional_evaluate(&request, &object);
    assert(request.is_read || outcome != RD_CONDITIONAL_NOT_MODIFIED);
    assert(lines[0] != NULL || lines[1] != NULL || lines[2] != NULL || lines[3] != NULL ||
           outcome == RD_CONDITIONAL_PROCEED);
    (void)rd_conditional_range_applies(lines[4], &object);
    uint64_t time;
    if (rd_conditional_date(text, &time)) { /* what is read can be written, and is read again */
        char again[RD_CLOCK_HTTP_DATE_LEN + 1];
        uint64_t time_again = 0;
        rd_clock_http_date(time, again);
        assert(time > 253402300799u ||
               (rd_conditional_date(again, &time_again) && time_again == time));
    }
    rd_mem_free(text);
    return 0;
}
