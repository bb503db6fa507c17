/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of an API key: "rk_", 30 random base62 digits, 6 base62 digits of the CRC-32 (that of
 * zlib and PNG) over the 33 characters before. The checksum is no protection; it lets a scanner for
 * leaked secrets be sure without asking us, and it answers typing errors without a look-up. */
#include <string.h>

#include "base/text.h"
#include "store/internal.h"

enum { PREFIX_LEN = 3, SECRET_LEN = 30, CHECK_LEN = 6 };
static const char prefix[] = "rk_";

uint32_t rd_store_crc32(const void *data, size_t len)
{
    /* By half bytes: 16 entries stay in one cache line, and 33 bytes are done in 0.1 us. */
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    const uint8_t *p = data;
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

void rd_store_key_text_new(char ret[RD_KEY_TEXT_LEN + 1])
{
    memcpy(ret, prefix, PREFIX_LEN);
    rd_id_secret(SECRET_LEN, ret + PREFIX_LEN);
    rd_text_base62_u128(rd_store_crc32(ret, PREFIX_LEN + SECRET_LEN), CHECK_LEN,
                        ret + PREFIX_LEN + SECRET_LEN);
}

bool rd_store_key_text_valid(const char *text, size_t len)
{
    char check[CHECK_LEN + 1];
    if (len != RD_KEY_TEXT_LEN || memcmp(text, prefix, PREFIX_LEN) != 0) {
        return false;
    }
    for (size_t i = PREFIX_LEN; i < len; i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';
        bool upper = text[i] >= 'A' && text[i] <= 'Z';
        bool lower = text[i] >= 'a' && text[i] <= 'z';
        if (!digit && !upper && !lower) {
            return false;
        }
    }
    rd_text_base62_u128(rd_store_crc32(text, PREFIX_LEN + SECRET_LEN), CHECK_LEN, check);
    return memcmp(check, text + PREFIX_LEN + SECRET_LEN, CHECK_LEN) == 0;
}
