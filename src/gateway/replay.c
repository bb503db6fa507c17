/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests that are answered once. See replay.h. */
#include "gateway/replay.h"

#include <string.h>

#include "gateway/routes.h"

struct rd_call_replay {
    struct rd_replay_ask ask;
    char key[RD_IDEMPOTENCY_KEY_MAX + 1];
};

bool rd_replay_key(const char *text, char ret[RD_IDEMPOTENCY_KEY_MAX + 1])
{
    size_t len = strlen(text);
    if (len >= 2 && text[0] == '"' && text[len - 1] == '"') {
        text++;
        len -= 2;
    }
    if (len == 0 || len > RD_IDEMPOTENCY_KEY_MAX) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] >= 0x7f) {
            return false;
        }
    }
    memcpy(ret, text, len);
    ret[len] = '\0';
    return true;
}

/* Method and path are part of what a key stands for, so that one key on two routes is a mistake
 * that is told. */
static rd_err hash_request(struct rd_call *call, uint8_t ret[RD_HASH_LEN])
{
    const struct rd_buf *body = rd_http_body(call->exchange);
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, body->len + RD_KIB(9));
    rd_buf_printf(&text, "%s\n%s\n", call->route->name, rd_http_request_path(call->exchange));
    rd_buf_append(&text, body->data, body->len);
    RD_TRY(rd_buf_err(&text));
    rd_hash_sha256(text.data, text.len, ret);
    return RD_OK;
}

static void give_again(struct rd_call *call, const struct rd_replay *replay)
{
    RD_AUTO_BUF struct rd_buf answer;
    rd_buf_init(&answer, RD_REPLAY_ANSWER_MAX);
    rd_buf_append(&answer, replay->answer, replay->len);
    rd_http_reply_header(call->exchange, "Cache-Control", "no-store");
    rd_reply_json(call, replay->status, &answer);
}

bool rd_replay_answered(struct rd_call *call)
{
    const char *header = rd_http_request_header(call->exchange, "Idempotency-Key");
    if (header == NULL) {
        return false;
    }
    struct rd_call_replay *replay = rd_arena_alloc(rd_http_arena(call->exchange), sizeof *replay);
    if (replay == NULL) {
        rd_reply_error(call, RD_ERR_NO_MEMORY, NULL, NULL);
        return true;
    }
    if (!rd_replay_key(header, replay->key)) {
        rd_reply_problem(call, RD_ERR_INVALID_REQUEST, "Idempotency-Key", "length",
                         "1 to 64 visible ASCII characters without spaces");
        return true;
    }
    replay->ask = (struct rd_replay_ask){.owner = call->key.owner, .key = replay->key};
    struct rd_replay found;
    rd_err err = hash_request(call, replay->ask.body_hash);
    err = err == RD_OK ? rd_store_replay_begin(call->gateway->store, &replay->ask, &found) : err;
    if (err != RD_OK) {
        rd_reply_error(call, err,
                       err == RD_ERR_CONFLICT
                           ? "the first request with this Idempotency-Key is still being answered"
                           : NULL,
                       NULL);
        return true;
    }
    if (found.status != 0) {
        give_again(call, &found);
        rd_mem_wipe(&found, sizeof found);
        return true;
    }
    call->replay = replay;
    return false;
}

rd_err rd_replay_keep(struct rd_call *call, int status, const struct rd_buf *answer)
{
    if (call->replay == NULL) {
        return RD_OK;
    }
    RD_TRY(rd_store_replay_keep(call->gateway->store, &call->replay->ask, status, answer->data,
                                answer->len));
    rd_replay_release(call);
    return RD_OK;
}

void rd_replay_release(struct rd_call *call)
{
    if (call->replay != NULL) {
        rd_store_replay_release(call->gateway->store, &call->replay->ask);
        call->replay = NULL;
    }
}
