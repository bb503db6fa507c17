/* SPDX-License-Identifier: Apache-2.0
 *
 * The signer against any stream of bytes on its channel: cut into frames as its loop does. Every
 * answer must have the form of the table, and a signature may only ever come back for bytes that
 * are a statement. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "provenance/signer_proto.h"
#include "signer/serve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct rd_signerd_key key;
static struct rd_signerd signerd;

static void check_answer(const struct rd_signer_header *request)
{
    struct rd_signer_header answer;
    if (signerd.answer_len < RD_SIGNER_HEADER_LEN ||
        !rd_signer_header_read(signerd.answer, &answer) ||
        answer.length != signerd.answer_len - RD_SIGNER_HEADER_LEN) {
        abort();
    }
    if (answer.kind == RD_SIGNER_REFUSED) {
        if (request->kind != RD_SIGNER_SIGN_STATEMENTS || answer.count >= request->count) {
            abort();
        }
        return;
    }
    if (answer.kind != request->kind) {
        abort();
    }
    if (answer.kind == RD_SIGNER_SIGN_STATEMENTS) {
        const uint8_t *statement = signerd.body + (size_t)request->count * RD_SIGNER_LENGTH_LEN;
        for (size_t i = 0; i < request->count; i++) {
            size_t len = rd_signer_get_u32(signerd.body + i * RD_SIGNER_LENGTH_LEN);
            if (!rd_signerd_statement_ok((const char *)statement, len)) {
                abort();
            }
            statement += len;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t seed[32] = {1};
    if (key.secret == NULL) {
        if (sodium_init() < 0 || (key.secret = sodium_malloc(64)) == NULL ||
            crypto_sign_seed_keypair(key.public, key.secret, seed) != 0 ||
            rd_signerd_init(&signerd, &key) != RD_OK) {
            abort();
        }
    }
    while (size >= RD_SIGNER_HEADER_LEN) {
        struct rd_signer_header header;
        if (!rd_signer_header_read(data, &header) || !rd_signerd_header_ok(&header) ||
            size - RD_SIGNER_HEADER_LEN < header.length) {
            return 0;
        }
        memcpy(signerd.body, data + RD_SIGNER_HEADER_LEN, header.length);
        if (!rd_signerd_answer(&signerd, &header)) {
            return 0;
        }
        check_answer(&header);
        data += RD_SIGNER_HEADER_LEN + header.length;
        size -= RD_SIGNER_HEADER_LEN + header.length;
    }
    return 0;
}
