/* SPDX-License-Identifier: Apache-2.0
 *
 * Server-sent events from any server: what is heard does not depend on how the stream is cut into
 * pieces. The first byte is the size of the pieces of the second reading. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "librender/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool on_event(void *ctx, const char *name, const char *text, uint64_t id)
{
    struct rd_buf *heard = ctx;
    assert(strlen(name) <= RD_SSE_NAME_MAX);
    rd_buf_printf(heard, "%s#%llu ", name, (unsigned long long)id);
    rd_buf_str(heard, text);
    return heard->len < 4096;
}

static bool read_in(const uint8_t *data, size_t size, size_t piece, struct rd_buf *heard)
{
    struct rd_sse sse;
    bool go_on = true;
    rd_sse_init(&sse, on_event, heard);
    for (size_t at = 0; at < size && go_on; at += piece) {
        go_on = rd_sse_feed(&sse, (const char *)data + at, size - at < piece ? size - at : piece);
    }
    rd_sse_done(&sse);
    return go_on;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    RD_AUTO_BUF struct rd_buf whole;
    RD_AUTO_BUF struct rd_buf pieces;
    rd_buf_init(&whole, 4 << 20);
    rd_buf_init(&pieces, 4 << 20);
    bool a = read_in(data + 1, size - 1, size, &whole);
    bool b = read_in(data + 1, size - 1, (size_t)data[0] % 16 + 1, &pieces);
    assert(a == b && strcmp(rd_buf_cstr(&whole), rd_buf_cstr(&pieces)) == 0);
    return 0;
}
