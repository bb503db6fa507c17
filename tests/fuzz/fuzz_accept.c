/* SPDX-License-Identifier: Apache-2.0
 *
 * Accept headers on any text: the choice is one of the offers or none, and does not change when the
 * header is said twice. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "http/accept.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const offers[] = {"image/png", "image/webp", "image/jpeg",
                                         "application/json"};
    char *header = rd_mem_memdupz(data, size);
    if (header != NULL) {
        int chosen = rd_accept_choose(header, offers, 4);
        assert(chosen >= RD_ACCEPT_NONE && chosen < 4);
        assert(rd_accept_choose(header, offers, 1) == 0 ||
               rd_accept_choose(header, offers, 1) == RD_ACCEPT_NONE);
        size_t len = strlen(header);
        char *twice = rd_mem_alloc(2 * len + 2);
        if (twice != NULL && memchr(header, '"', len) == NULL) { /* an open quote would run over */
            memcpy(twice, header, len);
            twice[len] = ',';
            memcpy(twice + len + 1, header, len + 1);
            assert(rd_accept_choose(twice, offers, 4) == chosen);
        }
        rd_mem_free(twice);
    }
    rd_mem_free(header);
    return 0;
}
