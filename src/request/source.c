/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a source picture comes from. See source.h. */
#include "request/source.h"

#include <string.h>
#include <strings.h>

#include "base/hash.h"
#include "base/id.h"
#include "base/text.h"
#include "media/media.h"
#include "request/data_uri.h"

static const char https[] = "https://";
static const char asset_path[] = "/a/";

static bool is_asset_id(const char *text)
{
    uint8_t blake3[RD_HASH_LEN];
    return rd_id_asset_parse(text, strlen(text), blake3) || rd_id_valid(text, "a_");
}

/* The part of `text` that should be an asset id, when `text` is of one of the three forms; or
 * NULL. */
static const char *own_asset(const char *text, const char *public_url)
{
    size_t prefix = public_url == NULL ? 0 : strlen(public_url);
    while (prefix > 0 && public_url[prefix - 1] == '/') {
        prefix--;
    }
    if (prefix > 0 && strncmp(text, public_url, prefix) == 0 &&
        rd_text_starts(text + prefix, asset_path)) {
        return text + prefix + sizeof asset_path - 1;
    }
    if (rd_text_starts(text, asset_path)) {
        return text + sizeof asset_path - 1;
    }
    return rd_text_starts(text, "a_") ? text : NULL;
}

/* host or host:port, with [IPv6] allowed; what is between "https://" and the path. */
static const char *authority_problem(const char *text, size_t len)
{
    static const char host_chars[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    static const char ip6_chars[] = "0123456789abcdefABCDEF:.";
    if (memchr(text, '@', len) != NULL) {
        return "expected a URL without user:password@";
    }
    size_t host = 0;
    if (len > 0 && text[0] == '[') {
        host = 1 + strspn(text + 1, ip6_chars);
        if (host == 1 || host >= len || text[host] != ']') {
            return "expected an IPv6 address in brackets";
        }
        host++;
    } else {
        host = strspn(text, host_chars);
        host = host > len ? len : host;
        if (host == 0) {
            return "expected a host name after https://";
        }
    }
    if (host == len) {
        return NULL;
    }
    uint64_t port;
    if (text[host] != ':' || !rd_text_u64(text + host + 1, len - host - 1, &port) || port == 0 ||
        port > 65535) {
        return "expected https://host/path or https://host:port/path, with an ASCII host name";
    }
    return NULL;
}

/* What is wrong with an https URL, or NULL. */
static const char *url_problem(const char *text, size_t len)
{
    if (strncasecmp(text, https, sizeof https - 1) != 0) {
        return "expected an https:// URL, an asset of this gateway, or a data: URI";
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= 0x20 || text[i] >= 0x7f || strchr("\"<>\\^`{|}", text[i]) != NULL) {
            return "expected a URL in ASCII, with all else percent-encoded";
        }
    }
    if (memchr(text, '#', len) != NULL) {
        return "expected a URL without a #fragment";
    }
    const char *authority = text + sizeof https - 1;
    return authority_problem(authority, strcspn(authority, "/?"));
}

/* Decodes into the arena, and looks at what the bytes really are. */
static rd_err read_data(const char *text, size_t len, struct rd_arena *arena, struct rd_source *ret,
                        struct rd_why *why)
{
    struct rd_data_uri uri;
    RD_TRY(rd_data_uri_split(text, len, &uri, why));
    uint8_t *bytes = rd_arena_alloc(arena, uri.decoded_len);
    if (bytes == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    RD_TRY(rd_data_uri_decode(&uri, bytes, why));
    struct rd_image_info info;
    rd_err err = rd_image_probe(bytes, uri.decoded_len, &info, why);
    if (err != RD_OK) {
        return err == RD_ERR_NO_MEMORY ? err : RD_ERR_UNSUPPORTED_MEDIA; /* `why` stands */
    }
    if (info.media != uri.media) {
        return rd_why_set(why, RD_ERR_UNSUPPORTED_MEDIA, "the URI says %s, but what it holds is %s",
                          rd_media_type(uri.media), rd_media_type(info.media));
    }
    struct rd_source source = {
        .kind = RD_SOURCE_DATA, .bytes = bytes, .bytes_len = uri.decoded_len};
    rd_hash_sha256(bytes, uri.decoded_len, source.sha256);
    *ret = source;
    return RD_OK;
}

static rd_err add_data_problem(const char *name, rd_err err, const struct rd_why *why,
                               struct rd_arena *arena, struct rd_problems *problems)
{
    if (err == RD_OK || err == RD_ERR_NO_MEMORY) {
        return err;
    }
    const char *constraint = err == RD_ERR_TOO_LARGE           ? "maxLength"
                             : err == RD_ERR_UNSUPPORTED_MEDIA ? "media"
                                                               : "format";
    rd_problems_add(problems, arena, name, constraint, "%s", why->text);
    return RD_OK;
}

rd_err rd_source_read(const char *name, const char *text, size_t len,
                      const struct rd_request_context *context, struct rd_arena *arena,
                      struct rd_source *ret, struct rd_problems *problems)
{
    if (rd_text_starts(text, "data:")) {
        struct rd_why why = {{0}};
        rd_err err = read_data(text, len, arena, ret, &why);
        return add_data_problem(name, err, &why, arena, problems);
    }
    if (len > RD_LIMIT_URL) {
        rd_problems_add(problems, arena, name, "maxLength",
                        "expected a URL of at most %zu bytes, got %zu", (size_t)RD_LIMIT_URL, len);
        return RD_OK;
    }
    const char *id = own_asset(text, context->public_url);
    if (id != NULL) {
        if (!is_asset_id(id)) {
            rd_problems_add(problems, arena, name, "format",
                            "expected an asset id, a_ and letters or digits, and nothing after it");
            return RD_OK;
        }
        *ret = (struct rd_source){.kind = RD_SOURCE_ASSET, .url = id};
        return RD_OK;
    }
    const char *wrong = url_problem(text, len);
    if (wrong != NULL) {
        rd_problems_add(problems, arena, name, "format", "%s", wrong);
        return RD_OK;
    }
    *ret = (struct rd_source){.kind = RD_SOURCE_URL, .url = text};
    return RD_OK;
}
