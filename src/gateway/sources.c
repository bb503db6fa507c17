/* SPDX-License-Identifier: Apache-2.0
 *
 * Source images. See sources.h. Whatever the source, the bytes are probed before anything decodes
 * them: type, sides and pixel count are known and within the limits when an engine gets them. */
#include "gateway/sources.h"

#include <string.h>

#include "base/fs.h"
#include "base/limits.h"
#include "base/text.h"
#include "fetch/fetch.h"
#include "media/media.h"

static bool missing(const struct rd_source *source)
{
    return source->kind != RD_SOURCE_NONE && source->bytes == NULL;
}

bool rd_sources_needed(const struct rd_generation *generation)
{
    return missing(&generation->image) || missing(&generation->mask);
}

bool rd_sources_far(const struct rd_generation *generation)
{
    return generation->image.kind == RD_SOURCE_URL || generation->mask.kind == RD_SOURCE_URL;
}

void rd_sources_done(struct rd_sources *sources)
{
    rd_mem_free(sources->image);
    rd_mem_free(sources->mask);
}

/* The asset id in an own asset URL ("https://here/a/ID", "/a/ID") or the bare id. */
static const char *asset_id(const char *url)
{
    const char *slash = strrchr(url, '/');
    return slash == NULL ? url : slash + 1;
}

static bool hold(const struct rd_sources_for *of, size_t len)
{
    return of->exchange == NULL || rd_http_hold(of->exchange, len);
}

static rd_err load_asset(const struct rd_sources_for *of, const char *url, char **ret,
                         size_t *ret_len, struct rd_why *why)
{
    uint8_t blake3[RD_HASH_LEN];
    struct rd_cas_object object;
    rd_err err = rd_asset_resolve(of->gateway, asset_id(url), blake3);
    err = err == RD_OK ? rd_cas_open_object(of->gateway->cas, blake3, &object) : err;
    if (err != RD_OK) {
        return rd_why_set(why, err == RD_ERR_NOT_FOUND ? RD_ERR_INVALID_REQUEST : err,
                          "no such asset here, or nothing was uploaded to it yet");
    }
    char *bytes = NULL;
    if (object.size > RD_LIMIT_UPLOAD_BYTES) {
        err =
            rd_why_set(why, RD_ERR_INVALID_REQUEST, "larger than %d bytes", RD_LIMIT_UPLOAD_BYTES);
    } else if (!hold(of, (size_t)object.size) ||
               (bytes = rd_mem_alloc((size_t)object.size)) == NULL) {
        err = RD_ERR_NO_MEMORY;
    } else {
        err = rd_cas_verify_object(of->gateway->cas, &object);
        err = err == RD_OK
                  ? rd_fs_pread_all(object.fd, bytes, (size_t)object.size, (off_t)object.offset)
                  : err;
    }
    *ret_len = (size_t)object.size;
    rd_cas_release_object(&object);
    if (err != RD_OK) {
        rd_mem_free(bytes);
        return err;
    }
    *ret = bytes;
    return RD_OK;
}

static rd_err load_url(const struct rd_sources_for *of, const char *url, char **ret,
                       size_t *ret_len, struct rd_why *why)
{
    const struct rd_config *config = of->runtime->config;
    const struct rd_fetch_options options = {
        .max_bytes = RD_LIMIT_UPLOAD_BYTES,
        .allow_hosts = config->fetch_allow_hosts,
        .allow_hosts_count = config->fetch_allow_hosts_count,
        .ca_file = config->fetch_ca_file,
    };
    RD_AUTO_BUF struct rd_buf bytes;
    rd_buf_init(&bytes, RD_LIMIT_UPLOAD_BYTES);
    rd_err err = rd_fetch(url, &options, &bytes, why);
    if (err != RD_OK) {
        /* Whatever the other side did, it is the request's URL that cannot be used. */
        return err == RD_ERR_NO_MEMORY || err == RD_ERR_CONFIG ? err : RD_ERR_INVALID_REQUEST;
    }
    if (!hold(of, bytes.len)) {
        return RD_ERR_NO_MEMORY;
    }
    *ret = rd_buf_steal(&bytes, ret_len);
    return *ret == NULL ? RD_ERR_NO_MEMORY : RD_OK;
}

static rd_err load_one(const struct rd_sources_for *of, struct rd_source *source, char **owned,
                       const char *field, struct rd_problems *problems)
{
    if (!missing(source)) {
        return RD_OK;
    }
    struct rd_why why = {.text = "cannot be loaded"};
    struct rd_image_info info;
    size_t len = 0;
    rd_err err = source->kind == RD_SOURCE_URL ? load_url(of, source->url, owned, &len, &why)
                                               : load_asset(of, source->url, owned, &len, &why);
    if (err == RD_OK) {
        err = rd_image_probe(*owned, len, &info, &why);
        err = err == RD_ERR_TOO_LARGE ? RD_ERR_INVALID_REQUEST : err;
    }
    if (err == RD_ERR_INVALID_REQUEST) {
        rd_problems_add(problems, of->arena, field, "source", "%s", why.text);
    }
    if (err != RD_OK) {
        return err;
    }
    source->bytes = (const uint8_t *)*owned;
    source->bytes_len = len;
    rd_hash_sha256(source->bytes, len, source->sha256);
    return RD_OK;
}

rd_err rd_sources_load(const struct rd_sources_for *of, struct rd_generation *generation,
                       struct rd_sources *sources, struct rd_problems *problems)
{
    rd_err first = load_one(of, &generation->image, &sources->image, "image", problems);
    rd_err second = load_one(of, &generation->mask, &sources->mask, "mask", problems);
    return first != RD_OK ? first : second;
}
