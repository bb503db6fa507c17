/* SPDX-License-Identifier: Apache-2.0
 *
 * Where storage meets provenance. The store asks for a note on each generated output; the note is
 * the signature of the statement that the object carries as its meta. A batch is one round trip to
 * the signer. The note's bytes: 43 of key id (base64url), then 64 of Ed25519 signature. */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/text.h"
#include "gateway/sources.h"

enum { NOTE_LEN = RD_KEYID_LEN + RD_SIGNATURE_LEN, BATCH = 64 };
_Static_assert((int)NOTE_LEN <= (int)RD_CAS_NOTE_MAX, "a note holds a key id and a signature");

rd_err rd_attest_batch(void *ctx, struct rd_cas_note_request *requests, size_t count)
{
    struct rd_gateway *gateway = ctx;
    const char *keyid = rd_signer_keyid(gateway->signer);
    for (size_t start = 0; start < count; start += BATCH) {
        struct rd_signer_item items[BATCH];
        size_t n = count - start < BATCH ? count - start : BATCH;
        for (size_t i = 0; i < n; i++) {
            items[i].statement = requests[start + i].meta;
            items[i].len = requests[start + i].meta_len;
        }
        RD_TRY(rd_signer_sign(gateway->signer, items, n));
        for (size_t i = 0; i < n; i++) {
            struct rd_cas_note_request *request = &requests[start + i];
            memcpy(request->note, keyid, RD_KEYID_LEN);
            memcpy(request->note + RD_KEYID_LEN, items[i].signature, RD_SIGNATURE_LEN);
            request->note_len = NOTE_LEN;
        }
    }
    return RD_OK;
}

rd_err rd_attest_envelope(struct rd_gateway *gateway, const uint8_t blake3[RD_HASH_LEN],
                          struct rd_buf *out)
{
    struct rd_cas_meta meta;
    RD_TRY(rd_cas_read_meta(gateway->cas, blake3, &meta));
    rd_err err = RD_ERR_NOT_FOUND;
    if (meta.note != NULL && meta.note_len == NOTE_LEN) {
        char keyid[RD_KEYID_LEN + 1];
        uint8_t signature[RD_SIGNATURE_LEN];
        memcpy(keyid, meta.note, RD_KEYID_LEN);
        keyid[RD_KEYID_LEN] = '\0';
        memcpy(signature, meta.note + RD_KEYID_LEN, RD_SIGNATURE_LEN);
        err = rd_dsse_envelope(out, meta.meta, meta.meta_len, keyid, signature);
    }
    rd_mem_free(meta.meta);
    rd_mem_free(meta.note);
    return err;
}

void rd_attest_salt(const struct rd_gateway *gateway, uint64_t owner, const char *request_id,
                    uint8_t ret[RD_SALT_LEN])
{
    char label[RD_ID_MAX + 32];
    (void)snprintf(label, sizeof label, "%llu/%s", (unsigned long long)owner, request_id);
    rd_statement_salt(gateway->prompt_secret, label, ret);
}

/* Appends the salts of the fields that a statement may commit to. */
static rd_err write_salts(const struct rd_call *call, const char *statement, size_t len,
                          struct rd_buf *out)
{
    static const char *const fields[] = {"prompt", "negative_prompt", "other"};
    json_t *json = json_loadb(statement, len, 0, NULL);
    const json_t *run = json_object_get(json_object_get(json, "predicate"), "runDetails");
    const char *request_id =
        json_string_value(json_object_get(json_object_get(run, "metadata"), "invocationId"));
    if (request_id == NULL) { /* an upload: nothing was committed to */
        json_decref(json);
        return RD_ERR_NOT_FOUND;
    }
    uint8_t salt[RD_SALT_LEN];
    rd_attest_salt(call->gateway, call->key.owner, request_id, salt);
    json_decref(json);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        uint8_t field_salt[RD_SALT_LEN];
        char hex[2 * RD_SALT_LEN + 1];
        rd_statement_field_salt(salt, fields[i], field_salt);
        rd_text_hex(field_salt, RD_SALT_LEN, hex);
        rd_buf_printf(out, "%s\"%s\":\"%s\"", i == 0 ? "" : ",", fields[i], hex);
    }
    return rd_buf_err(out);
}

/* GET /a/{asset}/reveal: what the owner of an output publishes beside its prompt, so that others
 * can check it against the commitment in the statement. Each salt opens its own field only. */
void rd_reveal_handle(struct rd_call *call)
{
    uint8_t blake3[RD_HASH_LEN];
    struct rd_cas_meta meta = {.meta = NULL};
    RD_AUTO_BUF struct rd_buf answer;
    rd_buf_init(&answer, 4096);
    rd_err err = rd_asset_resolve(call->gateway, call->args[0], blake3);
    if (err == RD_OK && !rd_cas_owned_by(call->gateway->cas, blake3, call->key.owner)) {
        err = RD_ERR_NOT_FOUND;
    }
    err = err == RD_OK ? rd_cas_read_meta(call->gateway->cas, blake3, &meta) : err;
    if (err == RD_OK) {
        rd_buf_str(&answer, "{\"salts\":{");
        err = write_salts(call, meta.meta, meta.meta_len, &answer);
        rd_buf_str(&answer, "}}");
        rd_mem_free(meta.meta);
        rd_mem_free(meta.note);
    }
    if (err != RD_OK) {
        rd_reply_error(call, err, NULL, NULL);
        return;
    }
    rd_http_reply_header(call->exchange, "Cache-Control", "no-store");
    rd_reply_json(call, 200, &answer);
}
