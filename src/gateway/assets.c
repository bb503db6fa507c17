/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /a/{asset}: stored bytes at a permanent URL, with ETag, ranges and conditional requests, sent
 * by sendfile; and the attestation of a generated one. Assets are capabilities: who knows the hash
 * of the bytes may fetch them. Only pictures and videos are served here, so that no stored object
 * can become a page of this origin. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "gateway/sources.h"
#include "http/conditional.h"
#include "http/range.h"

/* Larger objects are checked against their name on a worker before their first serving. */
#define VERIFY_INLINE_MAX ((uint64_t)1 << 20)

enum { ENVELOPE_MAX = 1 << 18 };

struct serving {
    struct rd_cas_object object;
    const char *cache_control;
};

static void drop_serving(struct rd_call *call)
{
    struct serving *serving = call->state;
    rd_cas_release_object(&serving->object);
}

static void corrupt(struct rd_call *call, rd_err err)
{
    rd_reply_error(call, err, "a stored object does not match its checksum; run the scrub", NULL);
}

static void serve_now(struct rd_call *call)
{
    struct serving *serving = call->state;
    const struct rd_cas_object *object = &serving->object;
    struct rd_http_exchange *x = call->exchange;
    char etag[RD_HASH_HEX_LEN + 3];
    etag[0] = '"';
    rd_text_hex(object->hash.blake3, RD_HASH_LEN, etag + 1);
    memcpy(etag + 1 + RD_HASH_HEX_LEN, "\"", 2);
    char modified[RD_CLOCK_HTTP_DATE_LEN + 1];
    rd_clock_http_date(object->created_ms / 1000, modified);

    bool read =
        rd_http_request_method(x) == RD_HTTP_GET || rd_http_request_method(x) == RD_HTTP_HEAD;
    const struct rd_conditional_object state = {
        .exists = true, .etag = etag, .last_modified = object->created_ms / 1000};
    const struct rd_conditional_request conditions = {
        .is_read = read,
        .if_match = rd_http_request_header(x, "If-Match"),
        .if_none_match = rd_http_request_header(x, "If-None-Match"),
        .if_modified_since = rd_http_request_header(x, "If-Modified-Since"),
        .if_unmodified_since = rd_http_request_header(x, "If-Unmodified-Since"),
    };
    enum rd_conditional outcome = rd_conditional_evaluate(&conditions, &state);
    if (outcome == RD_CONDITIONAL_FAILED) {
        rd_reply_error(call, RD_ERR_PRECONDITION_FAILED, NULL, NULL);
        return;
    }
    struct rd_range range = {0, 0};
    enum rd_range_kind kind = RD_RANGE_WHOLE;
    /* RFC 9110 14.2: ranges count for GET only. */
    if (rd_http_request_method(x) == RD_HTTP_GET &&
        rd_conditional_range_applies(rd_http_request_header(x, "If-Range"), &state)) {
        kind = rd_range_parse(rd_http_request_header(x, "Range"), object->size, &range);
    }
    char content_range[RD_RANGE_TEXT_MAX];
    if (outcome == RD_CONDITIONAL_PROCEED && kind == RD_RANGE_UNSATISFIABLE) {
        rd_range_content(NULL, object->size, content_range);
        rd_http_reply_header(x, "Content-Range", content_range);
        rd_reply_error(call, RD_ERR_RANGE, NULL, NULL);
        return;
    }
    rd_call_common_headers(call);
    rd_http_reply_header(x, "ETag", etag);
    rd_http_reply_header(x, "Last-Modified", modified);
    rd_http_reply_header(x, "Cache-Control", serving->cache_control);
    if (outcome == RD_CONDITIONAL_NOT_MODIFIED) {
        rd_http_reply(x, 304);
        return;
    }
    rd_http_reply_header(x, "Accept-Ranges", "bytes");
    rd_http_reply_header(x, "Content-Type", object->content_type);
    if (kind == RD_RANGE_PART) {
        rd_range_content(&range, object->size, content_range);
        rd_http_reply_header(x, "Content-Range", content_range);
        rd_http_reply_file(x, object->fd, object->offset + range.first,
                           range.last - range.first + 1);
        rd_http_reply(x, 206);
        return;
    }
    rd_http_reply_file(x, object->fd, object->offset, object->size);
    rd_http_reply(x, 200);
}

static void verify_and_serve(void *ctx)
{
    struct rd_call *call = ctx;
    struct serving *serving = call->state;
    rd_err err = rd_cas_verify_object(call->gateway->cas, &serving->object);
    if (err != RD_OK) {
        corrupt(call, err);
        return;
    }
    serve_now(call);
}

void rd_serve_object(struct rd_call *call, struct rd_cas_object *object, const char *cache_control)
{
    struct serving *serving = rd_arena_alloc(rd_http_arena(call->exchange), sizeof *serving);
    if (serving == NULL) {
        rd_cas_release_object(object);
        rd_reply_error(call, RD_ERR_NO_MEMORY, NULL, NULL);
        return;
    }
    serving->object = *object;
    serving->cache_control = cache_control;
    call->state = serving;
    call->drop = drop_serving;
    if (object->size <= VERIFY_INLINE_MAX) {
        verify_and_serve(call);
        return;
    }
    rd_http_suspend(call->exchange);
    rd_err err = rd_pool_submit(call->gateway->pool, verify_and_serve, call);
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
    }
}

/* The hash that an asset id names: the id itself, or what was uploaded under an alias. */
rd_err rd_asset_resolve(struct rd_gateway *gateway, const char *id, uint8_t ret[RD_HASH_LEN])
{
    if (rd_id_asset_parse(id, strlen(id), ret)) {
        return RD_OK;
    }
    struct rd_upload upload;
    if (!rd_id_valid(id, "a_")) {
        return RD_ERR_NOT_FOUND;
    }
    RD_TRY(rd_store_upload_resolve(gateway->store, id, &upload));
    memcpy(ret, upload.blake3, RD_HASH_LEN);
    return RD_OK;
}

void rd_asset_handle(struct rd_call *call)
{
    uint8_t blake3[RD_HASH_LEN];
    struct rd_cas_object object;
    rd_err err = rd_asset_resolve(call->gateway, call->args[0], blake3);
    err = err == RD_OK ? rd_cas_open_object(call->gateway->cas, blake3, &object) : err;
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    enum rd_media media;
    if (!rd_media_parse(object.content_type, &media)) {
        rd_cas_release_object(&object);
        rd_reply_error(call, RD_ERR_NOT_FOUND, NULL, NULL);
        return;
    }
    rd_serve_object(call, &object, "public, max-age=31536000, immutable");
}

void rd_attestation_handle(struct rd_call *call)
{
    uint8_t blake3[RD_HASH_LEN];
    RD_AUTO_BUF struct rd_buf envelope;
    rd_buf_init(&envelope, ENVELOPE_MAX);
    rd_err err = rd_asset_resolve(call->gateway, call->args[0], blake3);
    err = err == RD_OK ? rd_attest_envelope(call->gateway, blake3, &envelope) : err;
    if (err != RD_OK) {
        if (err == RD_ERR_NOT_FOUND) { /* relaxed durability signs within a second */
            rd_http_reply_header(call->exchange, "Retry-After", "1");
        }
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    rd_http_reply_header(call->exchange, "Cache-Control", "public, max-age=31536000, immutable");
    rd_reply_json(call, 200, &envelope);
}
