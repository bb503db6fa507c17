/* SPDX-License-Identifier: Apache-2.0
 *
 * The check of a source image's URL: any bytes, no crash; and what it lets through holds no control
 * byte, is https, and is let through again. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "fetch/hook.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rd_fetch_options options = {.max_bytes = 1};
    static const struct rd_fetch_hook plain = {0};
    RD_AUTO_FREE char *url = rd_mem_memdupz(data, size);
    if (url == NULL) {
        return 0;
    }
    struct rd_why why = {""};
    if (rd_fetch_url_check(url, &options, &plain, &why) == RD_OK) {
        if (strncasecmp(url, "https://", 8) != 0 || strpbrk(url, " \r\n\t\\") != NULL ||
            rd_fetch_url_check(url, &options, &plain, NULL) != RD_OK) {
            abort();
        }
    } else if (strlen(why.text) == 0) {
        abort(); /* a refusal says why */
    }
    return 0;
}
