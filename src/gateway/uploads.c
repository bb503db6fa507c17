/* SPDX-License-Identifier: Apache-2.0
 *
 * POST /uploads hands out a URL that takes one PUT for one hour, and the asset URL under which the
 * bytes will stand. The PUT needs no key: its URL is the secret. What arrives must be as long as
 * announced and be, by its content, a picture of the announced type. */
#include <string.h>

#include <jansson.h>

#include "base/limits.h"
#include "base/text.h"
#include "gateway/intake.h"

void rd_upload_create(struct rd_call *call)
{
    struct rd_arena *arena = rd_http_arena(call->exchange);
    struct rd_problems problems = {.count = 0};
    json_t *json = rd_call_json(call);
    if (json == NULL) {
        return;
    }
    const json_t *type = json_object_get(json, "content_type");
    const json_t *bytes = json_object_get(json, "bytes");
    enum rd_media media = RD_MEDIA_COUNT_;
    if (!json_is_string(type)) {
        rd_problems_add(&problems, arena, "content_type", type == NULL ? "required" : "type",
                        "a string: image/png, image/jpeg or image/webp");
    } else if (!rd_media_parse(json_string_value(type), &media) || media == RD_MEDIA_MP4) {
        rd_problems_add(&problems, arena, "content_type", "enum",
                        "one of image/png, image/jpeg, image/webp");
    }
    json_int_t count = json_integer_value(bytes);
    if (!json_is_integer(bytes)) {
        rd_problems_add(&problems, arena, "bytes", bytes == NULL ? "required" : "type",
                        "the size of the file in bytes, a whole number");
    } else if (count < 1 || count > RD_LIMIT_UPLOAD_BYTES) {
        rd_problems_add(&problems, arena, "bytes", "range", "from 1 to %d", RD_LIMIT_UPLOAD_BYTES);
    }
    json_decref(json);
    if (problems.count + problems.dropped > 0) {
        rd_reply_problems(call, RD_ERR_INVALID_REQUEST, &problems);
        return;
    }
    struct rd_upload upload;
    char token[RD_UPLOAD_TOKEN_LEN + 1];
    rd_err err = rd_store_upload_create(call->gateway->store, &call->key, rd_media_type(media),
                                        (uint64_t)count, RD_LIMIT_UPLOAD_TTL_S * (uint64_t)1000,
                                        &upload, token);
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    const char *url = call->gateway->public_url;
    RD_AUTO_BUF struct rd_buf answer;
    rd_buf_init(&answer, 4096);
    rd_buf_printf(&answer,
                  "{\"upload_url\":\"%s/uploads/%s\",\"asset_url\":\"%s/a/%s\",\"expires_in\":%d}",
                  url, token, url, upload.id, RD_LIMIT_UPLOAD_TTL_S);
    rd_http_reply_header(call->exchange, "Cache-Control", "no-store");
    rd_reply_json(call, 200, &answer);
}

/* Gives the ticket back when its PUT came to nothing; a finished one cannot be claimed again
 * anyway. */
static void release_ticket(struct rd_call *call, void *user)
{
    const struct rd_upload *upload = user;
    rd_store_upload_release(call->gateway->store, upload->id);
}

/* Before a refusal is sent: who reads it may try again at once, and finds the ticket free. */
static void give_back(struct rd_call *call)
{
    struct rd_intake *intake = call->state;
    release_ticket(call, intake->user);
    intake->drop_user = NULL;
}

void rd_upload_begin(struct rd_call *call)
{
    struct rd_upload *upload = rd_arena_alloc(rd_http_arena(call->exchange), sizeof *upload);
    if (upload == NULL) {
        rd_reply_error(call, RD_ERR_NO_MEMORY, NULL, NULL);
        return;
    }
    const char *token = call->args[0];
    rd_err err = rd_store_upload_claim(call->gateway->store, token, strlen(token), upload);
    if (err != RD_OK) {
        rd_reply_error(call, err, err == RD_ERR_NOT_FOUND ? "no such upload URL" : NULL, NULL);
        return;
    }
    uint64_t announced = 0;
    if (rd_http_request_length(call->exchange, &announced) && announced != upload->bytes) {
        rd_store_upload_release(call->gateway->store, upload->id);
        rd_reply_problem(call, RD_ERR_INVALID_REQUEST, "", "length",
                         "Content-Length is not the number of bytes that POST /uploads announced");
        return;
    }
    struct rd_intake *intake = rd_intake_begin(call, upload->owner, upload->bytes);
    if (intake == NULL) {
        rd_store_upload_release(call->gateway->store, upload->id);
        return;
    }
    intake->user = upload;
    intake->drop_user = release_ticket;
}

/* The bytes count; now the alias does, which waits for the store's disk: on the pool. */
static void finish(void *ctx)
{
    struct rd_call *call = ctx;
    struct rd_intake *intake = call->state;
    const struct rd_upload *upload = intake->user;
    rd_err err = rd_store_upload_finish(call->gateway->store, upload->id, intake->hash.blake3);
    if (err != RD_OK) {
        give_back(call);
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    char asset[RD_ID_ASSET_LEN + 1];
    char sha256[RD_HASH_HEX_LEN + 1];
    rd_id_asset(intake->hash.blake3, asset);
    rd_text_hex(intake->hash.sha256, RD_HASH_LEN, sha256);
    const char *url = call->gateway->public_url;
    RD_AUTO_BUF struct rd_buf answer;
    rd_buf_init(&answer, 4096);
    rd_buf_printf(
        &answer,
        "{\"asset_url\":\"%s/a/%s\",\"asset\":\"%s\",\"content_type\":\"%s\",\"bytes\":%llu,"
        "\"width\":%u,\"height\":%u,\"sha256\":\"%s\"}",
        url, upload->id, asset, intake->content_type, (unsigned long long)intake->size,
        intake->image.width, intake->image.height, sha256);
    rd_http_reply_headerf(call->exchange, "Content-Location", "%s/a/%s", url, asset);
    rd_reply_json(call, 201, &answer);
}

static void put_done(struct rd_call *call, rd_err err)
{
    err = err == RD_OK ? rd_pool_submit(call->gateway->pool, finish, call) : err;
    if (err != RD_OK) {
        give_back(call);
        rd_reply_error(call, err, NULL, NULL);
    }
}

void rd_upload_put(struct rd_call *call)
{
    struct rd_intake *intake = call->state;
    const struct rd_upload *upload = intake->user;
    rd_err err = rd_intake_seal(call);
    if (err == RD_ERR_TOO_LARGE || (err == RD_OK && intake->size != upload->bytes)) {
        rd_reply_problem(call, RD_ERR_INVALID_REQUEST, "", "length",
                         "the body is not as long as POST /uploads announced");
    } else if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
    } else if (!intake->is_image) {
        rd_reply_error(call, RD_ERR_UNSUPPORTED_MEDIA, intake->why.text, NULL);
    } else if (strcmp(intake->content_type, upload->content_type) != 0) {
        rd_reply_error(call, RD_ERR_UNSUPPORTED_MEDIA,
                       rd_arena_printf(rd_http_arena(call->exchange),
                                       "announced as %s, but its bytes are %s",
                                       upload->content_type, intake->content_type),
                       NULL);
    } else {
        rd_intake_commit(call, put_done);
        return;
    }
    give_back(call); /* this thread sends the refusal when it comes back from here */
}
