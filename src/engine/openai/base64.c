/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder. See base64.h. Nearly all of a picture goes through take_quanta(), four characters at
 * a time; what stands at the seams between pieces, and the padding, through the carried quantum. */
#include "engine/openai/base64.h"

#define BAD 0xff
static const uint8_t *digits(void)
{
    static const uint8_t table[256] = {
#define ROW BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD
        ROW, ROW, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, 62,  BAD, BAD, BAD, 63,
        52,  53,  54,  55,  56,  57,  58,  59,  60,  61,  BAD, BAD, BAD, BAD, BAD, BAD, BAD, 0,
        1,   2,   3,   4,   5,   6,   7,   8,   9,   10,  11,  12,  13,  14,  15,  16,  17,  18,
        19,  20,  21,  22,  23,  24,  25,  BAD, BAD, BAD, BAD, BAD, BAD, 26,  27,  28,  29,  30,
        31,  32,  33,  34,  35,  36,  37,  38,  39,  40,  41,  42,  43,  44,  45,  46,  47,  48,
        49,  50,  51,  BAD, BAD, BAD, BAD, BAD, ROW, ROW, ROW, ROW, ROW, ROW, ROW, ROW,
#undef ROW
    };
    return table;
}

void rd_openai_base64_begin(struct rd_openai_base64 *base64, void *ctx,
                            rd_err (*bytes)(void *ctx, const uint8_t *bytes, size_t len))
{
    base64->ctx = ctx;
    base64->bytes = bytes;
    base64->quantum_len = 0;
    base64->padded = false;
    base64->bad = false;
    base64->out_len = 0;
}

bool rd_openai_base64_whole(const struct rd_openai_base64 *base64)
{
    return base64->quantum_len == 0;
}

static rd_err flush(struct rd_openai_base64 *b)
{
    size_t len = b->out_len;
    b->out_len = 0;
    return len == 0 ? RD_OK : b->bytes(b->ctx, b->out, len);
}

static rd_err make_room(struct rd_openai_base64 *b)
{
    return b->out_len + 3 > sizeof b->out ? flush(b) : RD_OK;
}

/* One quantum, which may be padded: then it is the last. False: it is no base64. */
static bool take_quantum(struct rd_openai_base64 *b)
{
    const uint8_t *digit = digits();
    const char *text = b->quantum;
    unsigned pads = text[3] != '=' ? 0 : text[2] != '=' ? 1 : 2;
    uint32_t value = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t d = i < 4 - pads ? digit[(unsigned char)text[i]] : 0;
        if (d == BAD) {
            return false;
        }
        value = value << 6 | d;
    }
    if (b->padded || (value & (pads == 2 ? 0xffffu : pads == 1 ? 0xffu : 0)) != 0) {
        return false; /* something behind the end, or bits that would be lost */
    }
    b->padded = pads > 0;
    uint8_t *out = b->out + b->out_len;
    out[0] = (uint8_t)(value >> 16);
    out[1] = (uint8_t)(value >> 8);
    out[2] = (uint8_t)value;
    b->out_len += 3 - pads;
    return true;
}

/* The next character of the carried quantum. What was decoded before a fault is handed on before it
 * is told, so that pieces of any size give the same. */
static rd_err carry(struct rd_openai_base64 *b, char c)
{
    b->quantum[b->quantum_len++] = c;
    if (b->quantum_len < sizeof b->quantum) {
        return RD_OK;
    }
    b->quantum_len = 0;
    if (take_quantum(b)) {
        return RD_OK;
    }
    RD_TRY(flush(b));
    b->bad = true;
    return RD_ERR_BACKEND_FAILED;
}

/* As many plain quanta as there are and fit. */
static size_t take_quanta(struct rd_openai_base64 *base64, const char *data, size_t len)
{
    const uint8_t *digit = digits();
    const unsigned char *in = (const unsigned char *)data;
    uint8_t *out = base64->out + base64->out_len;
    size_t room = (sizeof base64->out - base64->out_len) / 3;
    size_t most = base64->padded ? 0 : len / 4 < room ? len / 4 : room;
    size_t done = 0;
    for (; done < most; done++, in += 4, out += 3) {
        uint8_t a = digit[in[0]], b = digit[in[1]], c = digit[in[2]], d = digit[in[3]];
        if (((a | b | c | d) & 0xc0) != 0) {
            break; /* padding, or wrong: take_quantum() knows */
        }
        out[0] = (uint8_t)(a << 2 | b >> 4);
        out[1] = (uint8_t)(b << 4 | c >> 2);
        out[2] = (uint8_t)(c << 6 | d);
    }
    base64->out_len += 3 * done;
    return 4 * done;
}

rd_err rd_openai_base64_plain(struct rd_openai_base64 *base64, const char *data, size_t len,
                              size_t *ret_used)
{
    struct rd_openai_base64 *b = base64;
    size_t at = 0;
    RD_TRY(make_room(b));
    while (b->quantum_len > 0 && !b->padded && at < len &&
           digits()[(unsigned char)data[at]] != BAD) {
        RD_TRY(carry(b, data[at++]));
    }
    size_t used = 1;
    while (b->quantum_len == 0 && used > 0) {
        RD_TRY(make_room(b));
        used = take_quanta(b, data + at, len - at);
        at += used;
    }
    *ret_used = at;
    return RD_OK;
}

rd_err rd_openai_base64_take(struct rd_openai_base64 *base64, const char *data, size_t len)
{
    struct rd_openai_base64 *b = base64;
    while (len > 0) {
        RD_TRY(make_room(b));
        size_t used = b->quantum_len == 0 ? take_quanta(b, data, len) : 0;
        if (used == 0) {
            RD_TRY(carry(b, *data));
            used = 1;
        }
        data += used;
        len -= used;
    }
    return flush(b);
}
