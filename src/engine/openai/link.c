/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether an address is on the engine's server. See link.h. libcurl's own parser takes the URLs
 * apart, the one that reads the configured URL, so that nothing is read in two ways. */
#include "engine/openai/link.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

static bool same_part(CURLU *a, CURLU *b, CURLUPart part)
{
    char *first = NULL;
    char *second = NULL;
    bool same = curl_url_get(a, part, &first, CURLU_DEFAULT_PORT) == CURLUE_OK &&
                curl_url_get(b, part, &second, CURLU_DEFAULT_PORT) == CURLUE_OK &&
                strcasecmp(first, second) == 0;
    curl_free(first);
    curl_free(second);
    return same;
}

static bool take_path(CURLU *url, char *out, size_t room)
{
    char *path = NULL;
    char *query = NULL;
    bool ok = curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK;
    (void)curl_url_get(url, CURLUPART_QUERY, &query, 0);
    int len = -1;
    if (ok) {
        len = snprintf(out, room, "%s%s%s", path, query != NULL ? "?" : "",
                       query != NULL ? query : "");
    }
    ok = len > 0 && (size_t)len < room;
    for (int i = 0; ok && i < len; i++) {
        ok = out[i] > 0x20 && out[i] < 0x7f; /* it becomes a request line */
    }
    curl_free(path);
    curl_free(query);
    return ok;
}

rd_err rd_openai_link(const char *engine_url, const char *url, char *out, size_t room,
                      struct rd_why *why)
{
    CURLU *ours = curl_url();
    CURLU *theirs = curl_url();
    rd_err err = RD_ERR_NO_MEMORY;
    if (ours != NULL && theirs != NULL &&
        curl_url_set(ours, CURLUPART_URL, engine_url, 0) == CURLUE_OK &&
        curl_url_set(theirs, CURLUPART_URL, engine_url, 0) == CURLUE_OK) {
        bool absolute = strstr(url, "://") != NULL;
        bool good = (absolute || (url[0] == '/' && url[1] != '/')) &&
                    curl_url_set(theirs, CURLUPART_URL, url, 0) == CURLUE_OK &&
                    same_part(ours, theirs, CURLUPART_SCHEME) &&
                    same_part(ours, theirs, CURLUPART_HOST) &&
                    same_part(ours, theirs, CURLUPART_PORT) && take_path(theirs, out, room);
        err = good ? RD_OK
                   : rd_why_set(why, RD_ERR_BACKEND_FAILED,
                                "the engine sent no picture but an address, which is not fetched "
                                "because it is not on the engine's own server (it should answer "
                                "with b64_json)");
    }
    curl_url_cleanup(ours);
    curl_url_cleanup(theirs);
    return err;
}
