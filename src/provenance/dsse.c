/* SPDX-License-Identifier: Apache-2.0
 *
 * DSSE v1.0.2, the making side: the bytes that are signed, and the envelope that carries them.
 *
 *     PAE      = "DSSEv1" SP len(type) SP type SP len(body) SP body      lengths in decimal, bytes
 *     envelope =
 * {"payload":base64(body),"payloadType":type,"signatures":[{"keyid":..,"sig":base64}]}
 *
 * The encoding has one reading only: the lengths fence both parts, so that no other type and body
 * give the same bytes, and no other protocol's message begins with "DSSEv1 ". */
#include "provenance/statement.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

rd_err rd_dsse_pae(struct rd_buf *out, const char *type, const void *payload, size_t len)
{
    rd_buf_printf(out, "DSSEv1 %zu %s %zu ", strlen(type), type, len);
    rd_buf_append(out, payload, len);
    return rd_buf_err(out);
}

rd_err rd_dsse_envelope(struct rd_buf *out, const void *statement, size_t len,
                        const char keyid[RD_KEYID_LEN + 1],
                        const uint8_t signature[RD_SIGNATURE_LEN])
{
    if (len > SIZE_MAX / 2) {
        return RD_ERR_TOO_LARGE;
    }
    rd_buf_str(out, "{\"payload\":\"");
    size_t encoded = RD_TEXT_BASE64_LEN(len);
    char *room = rd_buf_reserve(out, encoded);
    if (room != NULL) {
        rd_text_base64(statement, len,
                       room); /* its NUL takes the byte behind, which every buffer has */
        rd_buf_commit(out, encoded);
    }
    char sig[RD_TEXT_BASE64_LEN(RD_SIGNATURE_LEN) + 1];
    rd_text_base64(signature, RD_SIGNATURE_LEN, sig);
    rd_buf_str(out, "\",\"payloadType\":\"" RD_STATEMENT_PAYLOAD_TYPE
                    "\",\"signatures\":[{\"keyid\":\"");
    rd_buf_str(out, keyid);
    rd_buf_str(out, "\",\"sig\":\"");
    rd_buf_str(out, sig);
    rd_buf_str(out, "\"}]}");
    return rd_buf_err(out);
}
