/* SPDX-License-Identifier: Apache-2.0
 *
 * PUT/GET/HEAD /v1/objects/{hash}: the content-addressed store itself, per tenant. The hash is the
 * BLAKE3 in lower-case hex. Another tenant's object is 404, and putting the same bytes answers the
 * same whether or not another tenant has them. Bytes go to disk as they arrive. */
#include <string.h>

#include "base/limits.h"
#include "base/text.h"
#include "gateway/intake.h"

static bool parse_hash(struct rd_call *call, uint8_t ret[RD_HASH_LEN])
{
    return rd_text_unhex(call->args[0], strlen(call->args[0]), ret, RD_HASH_LEN);
}

void rd_object_begin(struct rd_call *call)
{
    uint8_t blake3[RD_HASH_LEN];
    if (!parse_hash(call, blake3)) {
        rd_reply_problem(call, RD_ERR_INVALID_REQUEST, "hash", "format",
                         "the name of an object is its BLAKE3 as 64 lower-case hex digits");
        return;
    }
    (void)rd_intake_begin(call, call->key.owner, RD_LIMIT_OBJECT_BYTES);
}

static void put_done(struct rd_call *call, rd_err err)
{
    struct rd_intake *intake = call->state;
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    char hex[RD_HASH_HEX_LEN + 1];
    RD_AUTO_BUF struct rd_buf json;
    rd_buf_init(&json, 1024);
    rd_text_hex(intake->hash.sha256, RD_HASH_LEN, hex);
    rd_buf_printf(&json,
                  "{\"hash\":\"%s\",\"sha256\":\"%s\",\"bytes\":%llu,\"content_type\":\"%s\"}",
                  call->args[0], hex, (unsigned long long)intake->size, intake->content_type);
    rd_reply_json(call, intake->existed ? 200 : 201, &json);
}

void rd_object_put(struct rd_call *call)
{
    struct rd_intake *intake = call->state;
    uint8_t blake3[RD_HASH_LEN];
    rd_err err = rd_intake_seal(call);
    if (err == RD_OK &&
        (!parse_hash(call, blake3) || memcmp(blake3, intake->hash.blake3, RD_HASH_LEN) != 0)) {
        err = RD_ERR_HASH_MISMATCH;
    }
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    intake->existed = rd_cas_owned_by(call->gateway->cas, blake3, call->key.owner);
    rd_intake_commit(call, put_done);
}

void rd_object_get(struct rd_call *call)
{
    uint8_t blake3[RD_HASH_LEN];
    struct rd_cas_object object;
    rd_err err = RD_ERR_NOT_FOUND;
    if (parse_hash(call, blake3) && rd_cas_owned_by(call->gateway->cas, blake3, call->key.owner)) {
        err = rd_cas_open_object(call->gateway->cas, blake3, &object);
    }
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    rd_serve_object(call, &object, "private, max-age=31536000, immutable");
}
