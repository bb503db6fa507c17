/* SPDX-License-Identifier: Apache-2.0
 *
 * Where storage meets provenance. The store asks for a note on each generated output; the note is
 * the signature of the statement that the object carries as its meta. A batch is one round trip to
 * the signer. The note's bytes: 43 of key id (base64url), then 64 of Ed25519 signature. */
#include <string.h>

#include "gateway/gateway.h"

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
