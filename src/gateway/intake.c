/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes from a client into the store. See intake.h. Hashing happens on the HTTP thread, in the
 * pieces in which the bytes arrive (at most 64 KiB, about 50 us), so no other client waits longer
 * than that. */
#include "gateway/intake.h"

#include <string.h>

static void drop(struct rd_call *call)
{
    struct rd_intake *intake = call->state;
    rd_cas_abort(intake->writer);
    rd_mem_free(intake->probe);
    if (intake->drop_user != NULL) {
        intake->drop_user(call, intake->user);
    }
}

static rd_err take(void *ctx, struct rd_http_exchange *x, const void *data, size_t len)
{
    struct rd_intake *intake = ctx;
    if (len > intake->max - intake->size) {
        return RD_ERR_TOO_LARGE;
    }
    intake->size += len;
    if (intake->probe_len < RD_IMAGE_PROBE_MAX) {
        size_t part = RD_IMAGE_PROBE_MAX - intake->probe_len;
        part = part < len ? part : len;
        char *probe =
            rd_http_hold(x, part) ? rd_mem_resize(intake->probe, intake->probe_len + part) : NULL;
        if (probe == NULL) {
            return RD_ERR_NO_MEMORY;
        }
        memcpy(probe + intake->probe_len, data, part);
        intake->probe = probe;
        intake->probe_len += part;
    }
    return rd_cas_data(intake->writer, data, len);
}

struct rd_intake *rd_intake_begin(struct rd_call *call, uint64_t owner, uint64_t max)
{
    struct rd_intake *intake = rd_arena_alloc(rd_http_arena(call->exchange), sizeof *intake);
    if (intake == NULL) {
        rd_reply_error(call, RD_ERR_NO_MEMORY, NULL, NULL);
        return NULL;
    }
    intake->call = call;
    intake->max = max;
    rd_http_hold_for(call->exchange, owner);
    uint64_t announced = 0;
    bool known = rd_http_request_length(call->exchange, &announced);
    rd_err err = known && announced > max ? RD_ERR_TOO_LARGE : RD_OK;
    err = err == RD_OK ? rd_cas_begin(call->gateway->cas, owner, announced, &intake->writer) : err;
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return NULL;
    }
    call->state = intake;
    call->drop = drop;
    rd_http_stream_body(call->exchange, take, intake);
    return intake;
}

rd_err rd_intake_seal(struct rd_call *call)
{
    struct rd_intake *intake = call->state;
    RD_TRY(rd_http_body_err(call->exchange));
    uint64_t announced = 0;
    if (rd_http_request_length(call->exchange, &announced) && announced != intake->size) {
        return RD_ERR_INVALID_REQUEST;
    }
    RD_TRY(rd_cas_seal(intake->writer, &intake->hash));
    intake->is_image =
        rd_image_probe(intake->probe, intake->probe_len, &intake->image, &intake->why) == RD_OK;
    bool mp4 = intake->probe_len >= 12 && memcmp(intake->probe + 4, "ftyp", 4) == 0;
    intake->content_type = intake->is_image ? rd_media_type(intake->image.media)
                           : mp4            ? rd_media_type(RD_MEDIA_MP4)
                                            : "application/octet-stream";
    return RD_OK;
}

static void committed(void *ctx, rd_err err)
{
    struct rd_intake *intake = ctx;
    intake->done(intake->call, err);
}

void rd_intake_commit(struct rd_call *call, void (*done)(struct rd_call *call, rd_err err))
{
    struct rd_intake *intake = call->state;
    struct rd_cas_writer *writer = intake->writer;
    const struct rd_cas_commit commit = {
        .content_type = intake->content_type,
        .done = committed,
        .ctx = intake,
    };
    intake->writer = NULL;
    intake->done = done;
    rd_http_suspend(call->exchange);
    rd_err err = rd_cas_commit(writer, &commit);
    if (err != RD_OK) {
        done(call, err);
    }
}
