/* SPDX-License-Identifier: Apache-2.0
 *
 * Identifiers. See id.h. */
#include "base/id.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "base/clock.h"
#include "base/text.h"

void rd_id_new_at(const char *prefix, uint64_t unix_ms, const uint8_t random[10],
                  char out[RD_ID_MAX])
{
    unsigned __int128 value = unix_ms & 0xffffffffffffu;
    for (int i = 0; i < 10; i++) {
        value = value << 8 | random[i];
    }
    size_t len = strnlen(prefix, RD_ID_MAX - RD_ID_DIGITS - 1);
    memcpy(out, prefix, len);
    rd_text_base62_u128(value, RD_ID_DIGITS, out + len);
}

/* An id needs no secret, and every request has one: each thread fetches randomness for 64 of them
 * at a time. A child must not go on with its parent's. */
enum { ID_RANDOM = 10, IDS_AHEAD = 64 };
static _Atomic unsigned forks;

static void on_fork(void)
{
    atomic_fetch_add(&forks, 1);
}

__attribute__((constructor)) static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, on_fork);
}

void rd_id_new(const char *prefix, char out[RD_ID_MAX])
{
    static _Thread_local struct {
        uint8_t random[IDS_AHEAD][ID_RANDOM];
        unsigned left, forks;
    } ahead;
    unsigned now = atomic_load_explicit(&forks, memory_order_relaxed);
    if (ahead.left == 0 || ahead.forks != now) {
        rd_id_random(ahead.random, sizeof ahead.random);
        ahead.left = IDS_AHEAD;
        ahead.forks = now;
    }
    rd_id_new_at(prefix, rd_clock_wall_ms(), ahead.random[--ahead.left], out);
}

bool rd_id_valid(const char *text, const char *prefix)
{
    if (!rd_text_starts(text, prefix)) {
        return false;
    }
    text += strlen(prefix);
    size_t len = strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    return text[len] == '\0' && len >= 12 && len <= 40;
}

void rd_id_asset(const uint8_t blake3[RD_HASH_LEN], char out[RD_ID_ASSET_LEN + 1])
{
    out[0] = 'a';
    out[1] = '_';
    rd_text_hex(blake3, RD_HASH_LEN, out + 2);
}

bool rd_id_asset_parse(const char *text, size_t len, uint8_t ret_blake3[RD_HASH_LEN])
{
    return len == RD_ID_ASSET_LEN && text[0] == 'a' && text[1] == '_' &&
           rd_text_unhex(text + 2, len - 2, ret_blake3, RD_HASH_LEN);
}

void rd_id_secret(size_t digits, char *out)
{
    static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (size_t i = 0; i < digits; i++) {
        out[i] = alphabet[randombytes_uniform(62)];
    }
    out[digits] = '\0';
}

void rd_id_random(void *out, size_t len)
{
    randombytes_buf(out, len);
}
