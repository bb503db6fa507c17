/* SPDX-License-Identifier: Apache-2.0
 *
 * Data URIs on any bytes, against the slow decoder of base/text.h: both take the same base64 and
 * give the same bytes. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "request/data_uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd_data_uri uri;
    struct rd_why why;
    if (rd_data_uri_split((const char *)data, size, &uri, &why) != RD_OK) {
        return 0;
    }
    assert(uri.media < RD_MEDIA_MP4 && uri.base64 + uri.base64_len == (const char *)data + size);
    uint8_t *fast = rd_mem_alloc(uri.decoded_len);
    uint8_t *slow = rd_mem_alloc(uri.base64_len / 4 * 3 + 3);
    size_t slow_len = 0;
    if (fast != NULL && slow != NULL) {
        rd_err err = rd_data_uri_decode(&uri, fast, &why);
        assert((err == RD_OK) ==
               (rd_text_unbase64(uri.base64, uri.base64_len, slow, &slow_len) == RD_OK));
        assert(err != RD_OK || (slow_len == uri.decoded_len && memcmp(fast, slow, slow_len) == 0));
    }
    rd_mem_free(fast);
    rd_mem_free(slow);
    return 0;
}
