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

bool rd_generate_negotiate(struct rd_run *run)
{
    static const char *const image_offers[] = {"image/png", "image/webp", "image/jpeg",
                                               "application/json", "multipart/mixed"};
    static const char *const video_offers[] = {"video/mp4", "application/json"};
    enum { IMAGE_TYPES = 3, JSON_OFFER = 3 };
    const char *accept = rd_http_request_header(run->call->exchange, "Accept");
    if (run->modality == RD_MODALITY_VIDEO) {
        int chosen = rd_accept_choose(accept, video_offers, 2);
        run->media = RD_MEDIA_MP4;
        run->answer = chosen == 1 ? RD_ANSWER_JSON : RD_ANSWER_BYTES;
        if (chosen < 0) {
            rd_reply_error(run->call, RD_ERR_NOT_ACCEPTABLE,
                           "videos are video/mp4; application/json gives asset URLs", NULL);
        }
        return chosen >= 0;
    }
    int chosen =
        rd_accept_choose(accept, image_offers, sizeof image_offers / sizeof image_offers[0]);
    if (chosen < 0) {
        rd_reply_error(
            run->call, RD_ERR_NOT_ACCEPTABLE,
            "images are image/png, image/webp or image/jpeg; application/json gives asset URLs",
            NULL);
        return false;
    }
    /* JSON or multipart wraps some picture: the best type that is named as well, else PNG. */
    int picture =
        chosen < IMAGE_TYPES ? chosen : rd_accept_choose(accept, image_offers, IMAGE_TYPES);
    run->media = picture < 0 ? RD_MEDIA_PNG : (enum rd_media)picture;
    _Static_assert(RD_MEDIA_PNG == 0 && RD_MEDIA_WEBP == 1 && RD_MEDIA_JPEG == 2, "as offered");
    run->answer = chosen == JSON_OFFER ? RD_ANSWER_JSON : RD_ANSWER_BYTES;
    return true;
}

static void common(struct rd_run *run)
{
    struct rd_http_exchange *x = run->call->exchange;
    uint64_t ns = rd_clock_mono_ns() - rd_http_started_ns(x);
    rd_call_common_headers(run->call);
    rd_http_reply_headerf(x, "X-Weyl-Seed", "%" PRIu32, run->generation->seed);
    rd_http_reply_headerf(x, "X-Weyl-Duration-Ms", "%" PRIu64, (ns + 500000) / 1000000);
    if (run->report.source != RD_DEVICE_TIME_UNKNOWN) {
        rd_http_reply_headerf(x, "x-gpu-seconds", "%" PRIu64 ".%09" PRIu64,
                              run->report.device_ns / 1000000000,
                              run->report.device_ns % 1000000000);
    }
    if (run->report.device[0] != '\0') {
        rd_http_reply_header(x, "x-gpu-device", run->report.device);
    }
    rd_http_reply_header(x, "Cache-Control", "no-store");
}

static void asset_url(const struct rd_run *run, unsigned index, struct rd_buf *out)
{
    char asset[RD_ID_ASSET_LEN + 1];
    rd_id_asset(run->outputs[index].hash.blake3, asset);
    rd_buf_printf(out, "%s/a/%s", run->call->gateway->public_url, asset);
}

static void answer_json(struct rd_run *run)
{
    const struct rd_generation *generation = run->generation;
    RD_AUTO_BUF struct rd_buf body;
    rd_buf_init(&body, JSON_ANSWER_MAX);
    rd_buf_str(&body, "{\"outputs\":[");
    for (unsigned i = 0; i < generation->count; i++) {
        const struct rd_output *output = &run->outputs[i];
        char asset[RD_ID_ASSET_LEN + 1];
        char sha256[RD_HASH_HEX_LEN + 1];
        rd_id_asset(output->hash.blake3, asset);
        rd_text_hex(output->hash.sha256, RD_HASH_LEN, sha256);
        rd_buf_printf(&body, "%s{\"asset\":\"%s\",\"url\":\"", i == 0 ? "" : ",", asset);
        asset_url(run, i, &body);
        rd_buf_printf(&body,
                      "\",\"attestation\":\"%s/a/%s/attestation\",\"content_type\":\"%s\","
                      "\"bytes\":%" PRIu64 ",\"width\":%u,\"height\":%u,\"seed\":%" PRIu32
                      ",\"blake3\":\"%s\",\"sha256\":\"%s\"}",
                      run->call->gateway->public_url, asset, rd_media_type(generation->media),
                      output->size, generation->format->width, generation->format->height,
                      rd_generation_seed(generation, i), asset + 2, sha256);
    }
    rd_buf_printf(
        &body, "],\"model\":\"%s/%s\",\"task\":\"%s\",\"seed\":%" PRIu32 ",\"request_id\":\"%s\"",
        run->model->family, run->model->name, rd_task_name(generation->task), generation->seed,
        rd_http_request_id(run->call->exchange));
    if (run->report.source == RD_DEVICE_TIME_UNKNOWN) {
        rd_buf_str(&body, ",\"gpu_seconds\":null}");
    } else {
        rd_buf_printf(&body, ",\"gpu_seconds\":%" PRIu64 ".%09" PRIu64 "}",
                      run->report.device_ns / 1000000000, run->report.device_ns % 1000000000);
    }
    if (rd_buf_err(&body) != RD_OK) {
        rd_reply_error(run->call, rd_buf_err(&body), NULL, NULL);
        return;
    }
    common(run);
    rd_http_reply_header(run->call->exchange, "Content-Type", "application/json");
    rd_http_reply_text(run->call->exchange, body.data, body.len);
    rd_http_reply(run->call->exchange, 200);
}

static void answer_bytes(struct rd_run *run)
{
    struct rd_cas_object object;
    rd_err err = rd_cas_open_object(run->call->gateway->cas, run->outputs[0].hash.blake3, &object);
    if (err != RD_OK) {
        rd_reply_error(run->call, err, "an output vanished before its answer", NULL);
        return;
    }
    char asset[RD_ID_ASSET_LEN + 1];
    rd_id_asset(run->outputs[0].hash.blake3, asset);
    common(run);
    rd_http_reply_headerf(run->call->exchange, "Content-Location", "%s/a/%s",
                          run->call->gateway->public_url, asset);
    rd_http_reply_header(run->call->exchange, "Content-Type",
                         rd_media_type(run->generation->media));
    rd_http_reply_file(run->call->exchange, object.fd, object.offset, object.size);
    rd_cas_release_object(&object);
    rd_http_reply(run->call->exchange, 200);
}

/* The header of part `index` (or the closing delimiter when index == count), in the arena. */
static struct rd_http_piece part_header(struct rd_run *run, unsigned index, const char *boundary)
{
    struct rd_http_piece piece = {.text = NULL, .fd = -1};
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, PART_HEADER_MAX);
    rd_buf_printf(&text, "%s--%s", index == 0 ? "" : "\r\n", boundary);
    if (index == run->generation->count) {
        rd_buf_str(&text, "--\r\n");
    } else {
        rd_buf_printf(&text,
                      "\r\nContent-Type: %s\r\nContent-Length: %" PRIu64 "\r\nX-Weyl-Seed: %" PRIu32
                      "\r\nContent-Location: ",
                      rd_media_type(run->generation->media), run->outputs[index].size,
                      rd_generation_seed(run->generation, index));
        asset_url(run, index, &text);
        rd_buf_str(&text, "\r\n\r\n");
    }
    if (rd_buf_err(&text) == RD_OK) {
        piece.text = rd_arena_strndup(rd_http_arena(run->call->exchange), text.data, text.len);
        piece.len = text.len;
    }
    return piece;
}

static void answer_multipart(struct rd_run *run)
{
    struct rd_http_piece pieces[2 * RD_LIMIT_COUNT + 1];
    struct rd_cas_object objects[RD_LIMIT_COUNT];
    unsigned count = run->generation->count;
    unsigned opened = 0;
    char boundary[33];
    rd_id_secret(32, boundary);
    rd_err err = RD_OK;
    for (unsigned i = 0; i <= count && err == RD_OK; i++) {
        pieces[2 * i] = part_header(run, i, boundary);
        err = pieces[2 * i].text == NULL ? RD_ERR_NO_MEMORY : RD_OK;
        if (i == count || err != RD_OK) {
            break;
        }
        err = rd_cas_open_object(run->call->gateway->cas, run->outputs[i].hash.blake3, &objects[i]);
        if (err == RD_OK) {
            opened = i + 1;
            pieces[2 * i + 1] = (struct rd_http_piece){
                .fd = objects[i].fd, .offset = objects[i].offset, .len = objects[i].size};
        }
    }
    if (err == RD_OK) {
        rd_http_reply_pieces(run->call->exchange, pieces, 2 * count + 1);
    }
    for (unsigned i = 0; i < opened; i++) {
        rd_cas_release_object(&objects[i]);
    }
    if (err != RD_OK) {
        rd_reply_error(run->call, err, NULL, NULL);
        return;
    }
    common(run);
    rd_http_reply_headerf(run->call->exchange, "Content-Type", "multipart/mixed; boundary=%s",
                          boundary);
    rd_http_reply(run->call->exchange, 200);
}

void rd_generate_answer(struct rd_run *run)
{
    if (run->answer == RD_ANSWER_JSON) {
        answer_json(run);
    } else if (run->generation->count > 1) {
        answer_multipart(run);
    } else {
        answer_bytes(run);
    }
}
