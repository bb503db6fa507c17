/* SPDX-License-Identifier: Apache-2.0
 *
 * What a sync generation answers: the bytes of one output, multipart/mixed for several, or JSON
 * with asset URLs when the client prefers application/json. Bytes go out of the store's own file.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "gateway/generate.h"
#include "http/accept.h"

enum { JSON_ANSWER_MAX = 16384, PART_HEADER_MAX = 1024 };

bool rd_generate_negotiate(struct rd_sync *sync)
{
    static const char *const image_offers[] = {"image/png", "image/webp", "image/jpeg",
                                               "application/json", "multipart/mixed"};
    static const char *const video_offers[] = {"video/mp4", "application/json"};
    enum { IMAGE_TYPES = 3, JSON_OFFER = 3 };
    const char *accept = rd_http_request_header(sync->call->exchange, "Accept");
    if (sync->modality == RD_MODALITY_VIDEO) {
        int chosen = rd_accept_choose(accept, video_offers, 2);
        sync->media = RD_MEDIA_MP4;
        sync->answer = chosen == 1 ? RD_ANSWER_JSON : RD_ANSWER_BYTES;
        if (chosen < 0) {
            rd_reply_error(sync->call, RD_ERR_NOT_ACCEPTABLE,
                           "videos are video/mp4; application/json gives asset URLs", NULL);
        }
        return chosen >= 0;
    }
    int chosen =
        rd_accept_choose(accept, image_offers, sizeof image_offers / sizeof image_offers[0]);
    if (chosen < 0) {
        rd_reply_error(
            sync->call, RD_ERR_NOT_ACCEPTABLE,
            "images are image/png, image/webp or image/jpeg; application/json gives asset URLs",
            NULL);
        return false;
    }
    /* JSON or multipart wraps some picture: the best type that is named as well, else PNG. */
    int picture =
        chosen < IMAGE_TYPES ? chosen : rd_accept_choose(accept, image_offers, IMAGE_TYPES);
    sync->media = picture < 0 ? RD_MEDIA_PNG : (enum rd_media)picture;
    _Static_assert(RD_MEDIA_PNG == 0 && RD_MEDIA_WEBP == 1 && RD_MEDIA_JPEG == 2, "as offered");
    sync->answer = chosen == JSON_OFFER ? RD_ANSWER_JSON : RD_ANSWER_BYTES;
    return true;
}

static void common(struct rd_sync *sync, const struct rd_result *result)
{
    struct rd_http_exchange *x = sync->call->exchange;
    uint64_t ns = rd_clock_mono_ns() - rd_http_started_ns(x);
    rd_call_common_headers(sync->call);
    rd_reply_limits(sync->call, &sync->limits);
    rd_http_reply_headerf(x, "X-Weyl-Seed", "%" PRIu32, result->seed);
    rd_http_reply_headerf(x, "X-Weyl-Duration-Ms", "%" PRIu64, (ns + 500000) / 1000000);
    const char *source = rd_jobs_device_source((int)result->device_source);
    if (source != NULL) {
        rd_http_reply_headerf(x, "x-gpu-seconds", "%" PRIu64 ".%09" PRIu64,
                              result->device_ns / 1000000000, result->device_ns % 1000000000);
        rd_http_reply_header(x, "x-gpu-source", source);
    }
    if (result->device[0] != '\0') {
        rd_http_reply_header(x, "x-gpu-device", result->device);
    }
    if (sync->queued) {
        rd_http_reply_headerf(x, "Link", "</jobs/%s>; rel=\"monitor\"", sync->job_id);
        rd_http_reply_headerf(x, "Preference-Applied", "wait=%u", sync->wait_s);
    }
    rd_http_reply_header(x, "Cache-Control", "no-store");
}

static void asset_url(const struct rd_sync *sync, const struct rd_hash *hash, struct rd_buf *out)
{
    char asset[RD_ID_ASSET_LEN + 1];
    rd_id_asset(hash->blake3, asset);
    rd_buf_printf(out, "%s/a/%s", sync->call->gateway->public_url, asset);
}

static void answer_json(struct rd_sync *sync, const struct rd_result *result)
{
    const char *base = sync->call->gateway->public_url;
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, JSON_ANSWER_MAX);
    rd_buf_str(&body, "{\"outputs\":[");
    for (unsigned i = 0; i < result->count; i++) {
        char asset[RD_ID_ASSET_LEN + 1];
        char sha256[RD_HASH_HEX_LEN + 1];
        rd_id_asset(result->hashes[i].blake3, asset);
        rd_text_hex(result->hashes[i].sha256, RD_HASH_LEN, sha256);
        rd_buf_printf(&body, "%s{\"asset\":\"%s\",\"url\":\"", i == 0 ? "" : ",", asset);
        asset_url(sync, &result->hashes[i], &body);
        rd_buf_printf(&body,
                      "\",\"attestation\":\"%s/a/%s/attestation\",\"content_type\":\"%s\","
                      "\"bytes\":%" PRIu64 ",\"width\":%u,\"height\":%u,\"seed\":%" PRIu32
                      ",\"blake3\":\"%s\",\"sha256\":\"%s\"}",
                      base, asset, rd_media_type(sync->media), result->sizes[i],
                      sync->picture->width, sync->picture->height, result->seed + i, asset + 2,
                      sha256);
    }
    rd_buf_printf(
        &body, "],\"model\":\"%s/%s\",\"task\":\"%s\",\"seed\":%" PRIu32 ",\"request_id\":\"%s\"",
        sync->model->family, sync->model->name, rd_task_name(sync->task), result->seed,
        rd_http_request_id(sync->call->exchange));
    rd_jobs_write_device_time(&body, (int)result->device_source, result->device_ns);
    rd_buf_char(&body, '}');
    if (rd_buf_err(&body) != RD_OK) {
        rd_reply_error(sync->call, rd_buf_err(&body), NULL, NULL);
        return;
    }
    common(sync, result);
    rd_http_reply_header(sync->call->exchange, "Content-Type", "application/json");
    rd_http_reply_text(sync->call->exchange, body.data, body.len);
    rd_http_reply(sync->call->exchange, 200);
}

static void answer_bytes(struct rd_sync *sync, const struct rd_result *result)
{
    struct rd_cas_object object;
    rd_err err = rd_cas_open_object(sync->call->gateway->cas, result->hashes[0].blake3, &object);
    if (err != RD_OK) {
        rd_reply_error(sync->call, err, "an output vanished before its answer", NULL);
        return;
    }
    char asset[RD_ID_ASSET_LEN + 1];
    rd_id_asset(result->hashes[0].blake3, asset);
    common(sync, result);
    rd_http_reply_headerf(sync->call->exchange, "Content-Location", "%s/a/%s",
                          sync->call->gateway->public_url, asset);
    rd_http_reply_header(sync->call->exchange, "Content-Type", rd_media_type(sync->media));
    rd_http_reply_file(sync->call->exchange, object.fd, object.offset, object.size);
    rd_cas_release_object(&object);
    rd_http_reply(sync->call->exchange, 200);
}

/* The header of part `index` (or the closing delimiter when index == count), in the arena. */
static struct rd_http_piece part_header(struct rd_sync *sync, const struct rd_result *result,
                                        unsigned index, const char *boundary)
{
    struct rd_http_piece piece = {.text = NULL, .fd = -1};
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, PART_HEADER_MAX);
    rd_buf_printf(&text, "%s--%s", index == 0 ? "" : "\r\n", boundary);
    if (index == result->count) {
        rd_buf_str(&text, "--\r\n");
    } else {
        rd_buf_printf(&text,
                      "\r\nContent-Type: %s\r\nContent-Length: %" PRIu64 "\r\nX-Weyl-Seed: %" PRIu32
                      "\r\nContent-Location: ",
                      rd_media_type(sync->media), result->sizes[index], result->seed + index);
        asset_url(sync, &result->hashes[index], &text);
        rd_buf_str(&text, "\r\n\r\n");
    }
    if (rd_buf_err(&text) == RD_OK) {
        piece.text = rd_arena_strndup(rd_http_arena(sync->call->exchange), text.data, text.len);
        piece.len = text.len;
    }
    return piece;
}

static void answer_multipart(struct rd_sync *sync, const struct rd_result *result)
{
    struct rd_http_piece pieces[2 * RD_LIMIT_COUNT + 1];
    struct rd_cas_object objects[RD_LIMIT_COUNT];
    unsigned count = result->count;
    unsigned opened = 0;
    char boundary[33];
    rd_id_secret(32, boundary);
    rd_err err = RD_OK;
    for (unsigned i = 0; i <= count && err == RD_OK; i++) {
        pieces[2 * i] = part_header(sync, result, i, boundary);
        err = pieces[2 * i].text == NULL ? RD_ERR_NO_MEMORY : RD_OK;
        if (i == count || err != RD_OK) {
            break;
        }
        err = rd_cas_open_object(sync->call->gateway->cas, result->hashes[i].blake3, &objects[i]);
        if (err == RD_OK) {
            opened = i + 1;
            pieces[2 * i + 1] = (struct rd_http_piece){
                .fd = objects[i].fd, .offset = objects[i].offset, .len = objects[i].size};
        }
    }
    if (err == RD_OK) {
        rd_http_reply_pieces(sync->call->exchange, pieces, 2 * count + 1);
    }
    for (unsigned i = 0; i < opened; i++) {
        rd_cas_release_object(&objects[i]);
    }
    if (err != RD_OK) {
        rd_reply_error(sync->call, err, NULL, NULL);
        return;
    }
    common(sync, result);
    rd_http_reply_headerf(sync->call->exchange, "Content-Type", "multipart/mixed; boundary=%s",
                          boundary);
    rd_http_reply(sync->call->exchange, 200);
}

void rd_generate_answer(struct rd_sync *sync, const struct rd_result *result)
{
    if (sync->answer == RD_ANSWER_JSON) {
        answer_json(sync, result);
    } else if (result->count > 1) {
        answer_multipart(sync, result);
    } else {
        answer_bytes(sync, result);
    }
}
