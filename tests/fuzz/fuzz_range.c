/* SPDX-License-Identifier: Apache-2.0
 *
 * Range headers on any text: the first 8 bytes are the object's size. What is answered lies
 * inside the object, and Content-Range names it. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "http/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint64_t size;
    if (len < sizeof size) {
        return 0;
    }
    memcpy(&size, data, sizeof size);
    char *header = rd_mem_memdupz(data + sizeof size, len - sizeof size);
    struct rd_range range = {UINT64_MAX, 0};
    if (header != NULL && rd_range_parse(header, size, &range) == RD_RANGE_PART) {
        assert(range.first <= range.last && range.last < size);
        char text[RD_RANGE_TEXT_MAX];
        rd_range_content(&range, size, text);
        assert(strlen(text) < sizeof text - 1);
    }
    rd_mem_free(header);
    return 0;
}
