/* SPDX-License-Identifier: Apache-2.0
 *
 * The signer's closed list of requests, as a table, and the loop that answers them. See
 * provenance/signer_proto.h for the frames.
 *
 * The signer is no oracle: what it signs is always "DSSEv1 28 application/vnd.in-toto+json <len> "
 * and a text that begins as an in-toto Statement, so no answer of it can be passed off as a
 * signature of anything else. It does not judge whether a statement is true; only the gateway can
 * know that.
 *
 * A batch is judged whole before its first statement is signed. There is no state between requests:
 * each may come at any time, any number of times, and none opens the way for another. */
#include "signer/serve.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "base/mem.h"
#include "base/text.h"

static bool answer_public_key(struct rd_signerd *signerd, const struct rd_signer_header *header);
static bool answer_sign(struct rd_signerd *signerd, const struct rd_signer_header *header);

static const struct {
    enum rd_signer_kind kind;
    uint16_t count_min, count_max;
    uint32_t length_min, length_max;
    bool (*answer)(struct rd_signerd *signerd, const struct rd_signer_header *header);
} requests[] = {
    {RD_SIGNER_PUBLIC_KEY, 0, 0, 0, 0, answer_public_key},
    {RD_SIGNER_SIGN_STATEMENTS, 1, RD_SIGNER_BATCH_MAX, RD_SIGNER_LENGTH_LEN, RD_SIGNER_BODY_MAX,
     answer_sign},
};
enum { REQUESTS = sizeof requests / sizeof requests[0] };

/* The row for a header, or -1. */
static int find(const struct rd_signer_header *header)
{
    for (int i = 0; i < REQUESTS; i++) {
        if (requests[i].kind == header->kind) {
            bool fits = header->count >= requests[i].count_min &&
                        header->count <= requests[i].count_max &&
                        header->length >= requests[i].length_min &&
                        header->length <= requests[i].length_max;
            return fits ? i : -1;
        }
    }
    return -1;
}

bool rd_signerd_header_ok(const struct rd_signer_header *header)
{
    return find(header) >= 0;
}

bool rd_signerd_answer(struct rd_signerd *signerd, const struct rd_signer_header *header)
{
    int row = find(header);
    return row >= 0 && requests[row].answer(signerd, header);
}

/* Compact JSON holds no control characters, so a NUL or a line feed means that it is something
 * else. */
bool rd_signerd_statement_ok(const char *text, size_t len)
{
    static const size_t prefix_len = sizeof RD_STATEMENT_PREFIX - 1;
    if (len <= prefix_len || len > RD_SIGNER_STATEMENT_MAX ||
        memcmp(text, RD_STATEMENT_PREFIX, prefix_len) != 0 || text[len - 1] != '}') {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x20) {
            return false;
        }
    }
    return rd_text_utf8_valid(text, len);
}

static void begin_answer(struct rd_signerd *signerd, enum rd_signer_kind kind, uint16_t count,
                         size_t length)
{
    rd_signer_header_write(signerd->answer, (struct rd_signer_header){.kind = (uint16_t)kind,
                                                                      .count = count,
                                                                      .length = (uint32_t)length});
    signerd->answer_len = RD_SIGNER_HEADER_LEN + length;
}

static bool answer_public_key(struct rd_signerd *signerd, const struct rd_signer_header *header)
{
    (void)header;
    begin_answer(signerd, RD_SIGNER_PUBLIC_KEY, 1, RD_KEY_LEN);
    memcpy(signerd->answer + RD_SIGNER_HEADER_LEN, signerd->key->public, RD_KEY_LEN);
    return true;
}

/* False unless the lengths fill the body exactly and none is over the limit. Sums fit: at most 256
 * lengths of 64 KiB each. */
static bool lengths_ok(const uint8_t *body, const struct rd_signer_header *header)
{
    size_t total = (size_t)header->count * RD_SIGNER_LENGTH_LEN;
    if (total > header->length) {
        return false;
    }
    for (size_t i = 0; i < header->count; i++) {
        uint32_t len = rd_signer_get_u32(body + i * RD_SIGNER_LENGTH_LEN);
        if (len > RD_SIGNER_STATEMENT_MAX) {
            return false;
        }
        total += len;
    }
    return total == header->length;
}

static bool sign_one(struct rd_signerd *signerd, const uint8_t *statement, size_t len,
                     uint8_t signature[RD_SIGNATURE_LEN])
{
    rd_buf_reset(&signerd->pae);
    return rd_dsse_pae(&signerd->pae, RD_STATEMENT_PAYLOAD_TYPE, statement, len) == RD_OK &&
           crypto_sign_detached(signature, NULL, (const uint8_t *)signerd->pae.data,
                                signerd->pae.len, signerd->key->secret) == 0;
}

static bool answer_sign(struct rd_signerd *signerd, const struct rd_signer_header *header)
{
    const uint8_t *body = signerd->body;
    if (!lengths_ok(body, header)) {
        return false;
    }
    const uint8_t *statement = body + (size_t)header->count * RD_SIGNER_LENGTH_LEN;
    for (uint16_t i = 0; i < header->count; i++) {
        size_t len = rd_signer_get_u32(body + (size_t)i * RD_SIGNER_LENGTH_LEN);
        if (!rd_signerd_statement_ok((const char *)statement, len)) {
            begin_answer(signerd, RD_SIGNER_REFUSED, i, 0);
            return true;
        }
        statement += len;
    }
    statement = body + (size_t)header->count * RD_SIGNER_LENGTH_LEN;
    begin_answer(signerd, RD_SIGNER_SIGN_STATEMENTS, header->count,
                 (size_t)header->count * RD_SIGNATURE_LEN);
    uint8_t *signature = signerd->answer + RD_SIGNER_HEADER_LEN;
    for (size_t i = 0; i < header->count; i++) {
        size_t len = rd_signer_get_u32(body + i * RD_SIGNER_LENGTH_LEN);
        if (!sign_one(signerd, statement, len, signature + i * RD_SIGNATURE_LEN)) {
            return false;
        }
        statement += len;
    }
    return true;
}

rd_err rd_signerd_init(struct rd_signerd *signerd, const struct rd_signerd_key *key)
{
    *signerd = (struct rd_signerd){.key = key, .body = rd_mem_alloc(RD_SIGNER_BODY_MAX)};
    rd_buf_init(&signerd->pae, RD_SIGNERD_PAE_MAX);
    if (signerd->body == NULL || rd_buf_reserve(&signerd->pae, RD_SIGNERD_PAE_MAX) == NULL) {
        rd_signerd_done(signerd);
        return RD_ERR_NO_MEMORY;
    }
    return RD_OK;
}

void rd_signerd_done(struct rd_signerd *signerd)
{
    rd_mem_free(signerd->body);
    rd_buf_done(&signerd->pae);
    signerd->body = NULL;
}

/* 1: all `len` bytes; 0: the channel ended before the first; -1: it broke or ended after it. */
static int read_all(int channel, uint8_t *out, size_t len)
{
    size_t got = 0;
    while (got < len) {
        ssize_t step = read(channel, out + got, len - got);
        if (step < 0 && errno == EINTR) {
            continue;
        }
        if (step <= 0) {
            return step == 0 && got == 0 ? 0 : -1;
        }
        got += (size_t)step;
    }
    return 1;
}

static bool write_all(int channel, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t step = write(channel, data, len);
        if (step < 0 && errno == EINTR) {
            continue;
        }
        if (step <= 0) {
            return false;
        }
        data += step;
        len -= (size_t)step;
    }
    return true;
}

enum rd_signerd_end rd_signerd_serve(struct rd_signerd *signerd, int channel)
{
    for (;;) {
        uint8_t bytes[RD_SIGNER_HEADER_LEN];
        struct rd_signer_header header;
        int got = read_all(channel, bytes, sizeof bytes);
        if (got <= 0) {
            return got == 0 ? RD_SIGNERD_END_EOF : RD_SIGNERD_END_IO;
        }
        if (!rd_signer_header_read(bytes, &header) || !rd_signerd_header_ok(&header)) {
            return RD_SIGNERD_END_PROTOCOL;
        }
        if (read_all(channel, signerd->body, header.length) != 1) {
            return RD_SIGNERD_END_IO;
        }
        if (!rd_signerd_answer(signerd, &header)) {
            return RD_SIGNERD_END_PROTOCOL;
        }
        if (!write_all(channel, signerd->answer, signerd->answer_len)) {
            return RD_SIGNERD_END_IO;
        }
    }
}
