/* SPDX-License-Identifier: Apache-2.0
 *
 * What an HTTP engine may send in headers and error bodies: any bytes, no crash, and what ends up
 * in our own texts is one line of valid UTF-8 within its room. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "engine/http/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    RD_AUTO_FREE char *text = rd_mem_memdupz(data, size);
    if (text == NULL) {
        return 0;
    }
    char out[RD_HTTP_SNIPPET_MAX + 1];
    size_t room = size == 0 ? 1 : 1 + data[0] % RD_HTTP_SNIPPET_MAX;
    rd_http_sanitise(text, size, out, room);
    size_t len = strlen(out);
    if (len >= room || !rd_text_utf8_valid(out, len)) {
        abort();
    }
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)out[i] < 0x20 || out[i] == 0x7f) {
            abort();
        }
    }
    uint64_t ns = 0;
    if (rd_http_seconds_parse(text, size, &ns) && ns >= 1000001 * (uint64_t)1000000000) {
        abort();
    }
    (void)rd_http_type_is_text(text);
    for (unsigned media = 0; media < RD_MEDIA_COUNT_; media++) {
        (void)rd_http_type_is(text, (enum rd_media)media);
        if (size >= RD_HTTP_MAGIC_LEN) {
            (void)rd_http_magic_is(text, (enum rd_media)media);
        }
    }
    return 0;
}
