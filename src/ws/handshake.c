/* SPDX-License-Identifier: Apache-2.0
 *
 * The opening handshake. See handshake.h. SHA-1 is what the RFC asks for; it proves here only that
 * the server has read this very request, and keeps nothing secret. */
#include "ws/handshake.h"

#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "base/text.h"

#define KEY_PREFIX "render.key."

enum { KEY_BYTES = 16, KEY_TEXT = 24, SHA1_BYTES = 20 };

/* The next element of a comma-separated list; false at its end. */
static bool next_element(const char **at, const char **ret, size_t *ret_len)
{
    const char *p = *at + strspn(*at, ", \t");
    size_t len = strcspn(p, ",");
    *at = p + len;
    while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t')) {
        len--;
    }
    *ret = p;
    *ret_len = len;
    return len > 0;
}

static bool list_has(const char *list, const char *token)
{
    const char *element = NULL;
    size_t len = 0;
    while (list != NULL && next_element(&list, &element, &len)) {
        if (len == strlen(token) && strncasecmp(element, token, len) == 0) {
            return true;
        }
    }
    return false;
}

static bool origin_allowed(const struct rd_ws_handshake *request)
{
    const char *origin = request->header(request->ctx, "Origin");
    for (size_t i = 0; origin != NULL && i < request->origins_count; i++) {
        if (strcmp(request->origins[i], "*") == 0 || strcmp(request->origins[i], origin) == 0) {
            return true;
        }
    }
    return origin == NULL;
}

static bool accept_of(const char *key, char ret[RD_WS_ACCEPT_LEN + 1])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455, 1.3 */
    uint8_t nonce[KEY_TEXT / 4 * 3 + 3];
    size_t nonce_len = 0;
    if (key == NULL || strlen(key) != KEY_TEXT ||
        rd_text_unbase64(key, KEY_TEXT, nonce, &nonce_len) != RD_OK || nonce_len != KEY_BYTES) {
        return false;
    }
    char text[KEY_TEXT + sizeof guid];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_len = 0;
    memcpy(text, key, KEY_TEXT);
    memcpy(text + KEY_TEXT, guid, sizeof guid);
    if (EVP_Digest(text, sizeof text - 1, digest, &digest_len, EVP_sha1(), NULL) != 1 ||
        digest_len != SHA1_BYTES) {
        return false;
    }
    _Static_assert(RD_TEXT_BASE64_LEN(SHA1_BYTES) == RD_WS_ACCEPT_LEN, "its length in base64");
    rd_text_base64(digest, SHA1_BYTES, ret);
    return true;
}

static void read_protocols(const char *list, struct rd_ws_handshake_answer *answer)
{
    const char *element = NULL;
    size_t len = 0;
    while (list != NULL && next_element(&list, &element, &len)) {
        if (rd_text_eq(element, len, RD_WS_PROTOCOL)) {
            answer->protocol = true;
        } else if (len > strlen(KEY_PREFIX) &&
                   strncmp(element, KEY_PREFIX, strlen(KEY_PREFIX)) == 0) {
            answer->key = element + strlen(KEY_PREFIX);
            answer->key_len = len - strlen(KEY_PREFIX);
        }
    }
}

rd_err rd_ws_handshake(const struct rd_ws_handshake *request, struct rd_ws_handshake_answer *ret,
                       const char **ret_problem)
{
    struct rd_ws_handshake_answer answer = {.accept = ""};
    void *ctx = request->ctx;
    const char *version = request->header(ctx, "Sec-WebSocket-Version");
    if (!list_has(request->header(ctx, "Upgrade"), "websocket") ||
        !list_has(request->header(ctx, "Connection"), "upgrade")) {
        *ret_problem = "this path speaks WebSocket: send Upgrade: websocket, Connection: Upgrade";
        return RD_ERR_UPGRADE_REQUIRED;
    }
    if (version == NULL || strcmp(version, "13") != 0) {
        *ret_problem = "this path speaks WebSocket version 13 (RFC 6455)";
        return RD_ERR_UPGRADE_REQUIRED;
    }
    if (!accept_of(request->header(ctx, "Sec-WebSocket-Key"), answer.accept)) {
        *ret_problem = "Sec-WebSocket-Key: 16 bytes in base64";
        return RD_ERR_INVALID_REQUEST;
    }
    if (!origin_allowed(request)) {
        *ret_problem = "this Origin is not allowed; the operator lists those that are under cors";
        return RD_ERR_FORBIDDEN;
    }
    read_protocols(request->header(ctx, "Sec-WebSocket-Protocol"), &answer);
    *ret = answer;
    return RD_OK;
}
