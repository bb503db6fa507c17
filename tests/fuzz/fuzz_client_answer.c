/* SPDX-License-Identifier: Apache-2.0
 *
 * What librender makes of an answer that is no success, from a gateway that means harm: the first
 * byte chooses the HTTP status, the rest is the body. The text for people must be UTF-8 without
 * control characters, bounded, and never empty. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "librender/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const long statuses[] = {301, 400, 401, 404, 429, 500, 502, 503};
    static render_client *client;
    if (size == 0 ||
        (client == NULL && render_client_new("http://x", NULL, &client) != RENDER_OK)) {
        return 0;
    }
    struct rd_buf body;
    rd_buf_init(&body, RD_CLIENT_JSON_MAX);
    rd_buf_append(&body, data + 1, size - 1);
    rd_client_reset(client);
    render_status status = rd_client_refused(client, statuses[data[0] % 8], &body);
    const char *text = render_client_error(client);
    size_t len = strlen(text);
    bool sound = status != RENDER_OK && len > 0 && len <= RD_CLIENT_ERROR_MAX &&
                 rd_text_utf8_valid(text, len);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        bool c1 = c == 0xc2 && (unsigned char)text[i + 1] < 0xa0;
        sound = sound && (c >= 0x20 || c == '\n') && c != 0x7f && !c1;
    }
    if (!sound) {
        abort();
    }
    rd_buf_done(&body);
    return 0;
}
