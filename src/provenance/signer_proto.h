/* SPDX-License-Identifier: Apache-2.0
 *
 * The protocol between the gateway and render-signer, once for both ends.
 *
 * One stream socketpair, made by the gateway; the signer holds the other end as its only channel.
 * The gateway sends a request, the signer answers it, in turn; the signer never speaks first,
 * except for one FAILED frame instead of an answer when it could not start.
 *
 *     frame  = header body
 *     header = magic[4] "RDS1" | kind u16 | count u16 | length u32     (12 bytes, little-endian)
 *
 *     request           count   body                              answer
 *     PUBLIC_KEY        0       empty                             PUBLIC_KEY, count 1, 32 bytes
 *     SIGN_STATEMENTS   1..256  count lengths (u32), then the     SIGN_STATEMENTS, same count,
 *                               statements back to back           64 bytes for each
 *                                                               or REFUSED, count = which one (from
 * 0): nothing of the batch was signed
 *
 * Whatever is not in this table (another magic, kind or count, a length over the limit, lengths
 * that do not add up) ends the signer: it closes the channel without an answer. A statement that is
 * not one (rd_signer_statement_ok) is a REFUSED answer instead, so that one bad statement of one
 * request does not cost the others their signer.
 *
 * Why lengths before statements, and not pairs: both ends can move a whole batch with one system
 * call each, and every length is known to be sound before the first byte of a statement is looked
 * at. */
#ifndef RD_PROVENANCE_SIGNER_PROTO_H
#define RD_PROVENANCE_SIGNER_PROTO_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "provenance/statement.h"

enum {
    RD_SIGNER_HEADER_LEN = 12,
    RD_SIGNER_BATCH_MAX = 256,       /* statements in a frame: bounds the time of one answer */
    RD_SIGNER_STATEMENT_MAX = 65536, /* one statement; a real one has about 2 KiB */
    RD_SIGNER_BODY_MAX = 1 << 20,    /* the signer's whole buffer */
    RD_SIGNER_LENGTH_LEN = 4,        /* one entry of the table of lengths */
    RD_SIGNER_FAILED_MAX = 512,      /* text of a FAILED frame */
    RD_SIGNER_TIMEOUT_MS = 5000,     /* the gateway's patience for one answer */
};

enum rd_signer_kind {
    RD_SIGNER_PUBLIC_KEY = 1,
    RD_SIGNER_SIGN_STATEMENTS = 2,
    RD_SIGNER_REFUSED = 0x8001, /* answer only */
    RD_SIGNER_FAILED = 0x8002,  /* answer only: it could not start; body = one line of text */
};

struct rd_signer_header {
    uint16_t kind;
    uint16_t count;
    uint32_t length; /* bytes of body */
};

_Static_assert(RD_SIGNER_STATEMENT_MAX + RD_SIGNER_LENGTH_LEN <= RD_SIGNER_BODY_MAX,
               "a frame takes at least one statement of any allowed size");
_Static_assert(RD_SIGNER_BATCH_MAX <= UINT16_MAX, "count is a u16");

static inline void rd_signer_put_u32(uint8_t *out, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

static inline uint32_t rd_signer_get_u32(const uint8_t *in)
{
    return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

static inline void rd_signer_header_write(uint8_t out[RD_SIGNER_HEADER_LEN],
                                          struct rd_signer_header header)
{
    memcpy(out, "RDS1", 4);
    rd_signer_put_u32(out + 4, (uint32_t)header.kind | (uint32_t)header.count << 16);
    rd_signer_put_u32(out + 8, header.length);
}

/* False when the magic is another. The fields are not judged. */
static inline bool rd_signer_header_read(const uint8_t in[RD_SIGNER_HEADER_LEN],
                                         struct rd_signer_header *ret)
{
    if (memcmp(in, "RDS1", 4) != 0) {
        return false;
    }
    uint32_t word = rd_signer_get_u32(in + 4);
    *ret = (struct rd_signer_header){.kind = (uint16_t)(word & 0xffff),
                                     .count = (uint16_t)(word >> 16),
                                     .length = rd_signer_get_u32(in + 8)};
    return true;
}

#endif
