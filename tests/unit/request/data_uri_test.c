/* SPDX-License-Identifier: Apache-2.0
 *
 * data_uri.c: the decoder against libsodium's for every length and every byte, and what is
 * refused. */
#include "fixture.h"

#include <sodium.h>

#include "base/text.h"
#include "request/data_uri.h"

static const char png[] = "data:image/png;base64,";

static rd_err decode(const char *text, uint8_t *out, size_t *ret_len)
{
    struct rd_data_uri uri;
    struct rd_why why;
    rd_err err = rd_data_uri_split(text, strlen(text), &uri, &why);
    if (err == RD_OK) {
        err = rd_data_uri_decode(&uri, out, &why);
        *ret_len = uri.decoded_len;
    }
    return err;
}

static void decodes_what_sodium_encodes(void **state)
{
    (void)state;
    for (size_t len = 1; len < 200; len++) {
        uint8_t bytes[200];
        uint8_t out[200];
        char text[400];
        size_t got;
        for (size_t i = 0; i < len; i++) {
            bytes[i] = (uint8_t)(i * 37 + len * 101);
        }
        memcpy(text, png, sizeof png);
        sodium_bin2base64(text + strlen(png), sizeof text - strlen(png), bytes, len,
                          sodium_base64_VARIANT_ORIGINAL);
        assert_int_equal(decode(text, out, &got), RD_OK);
        assert_int_equal(got, len);
        assert_memory_equal(out, bytes, len);
    }
}

/* Every byte at every place of a whole and of a last block is judged as base/text.h judges it. */
static void agrees_on_every_byte(void **state)
{
    (void)state;
    for (unsigned at = 0; at < 8; at++) {
        for (unsigned c = 1; c < 256; c++) {
            char text[64] = "data:image/png;base64,QUJDREVG";
            text[strlen(png) + at] = (char)c;
            uint8_t out[16];
            uint8_t want[16];
            size_t got;
            size_t want_len;
            bool ok = rd_text_unbase64(text + strlen(png), 8, want, &want_len) == RD_OK;
            if ((decode(text, out, &got) == RD_OK) != ok) {
                fail_msg("%s: rd_text_unbase64 says %d", text, ok);
            }
            if (ok) {
                assert_int_equal(got, want_len);
                assert_memory_equal(out, want, got);
            }
        }
    }
}

static void knows_its_headers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum rd_media media;
    } good[] = {
        {"data:image/png;base64,QQ==", RD_MEDIA_PNG},
        {"data:image/jpeg;base64,QQ==", RD_MEDIA_JPEG},
        {"data:image/jpg;base64,QQ==", RD_MEDIA_JPEG},
        {"data:image/webp;base64,QQ==", RD_MEDIA_WEBP},
    };
    struct rd_data_uri uri;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(rd_data_uri_split(good[i].text, strlen(good[i].text), &uri, NULL), RD_OK);
        assert_int_equal(uri.media, good[i].media);
        assert_int_equal(uri.decoded_len, 1);
    }
}

static void refuses_what_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "data:",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/gif;base64,QQ==",
        "DATA:image/png;base64,QQ==",
        "data:image/PNG;base64,QQ==",
        "data:image/png,QQ==",
        "data:image/png;charset=x;base64,QQ==",
        "data:image/png;base64, QQ==",
        "data:image/svg+xml;base64,QQ==",
        "data:image/png;base64,Q",
        "data:image/png;base64,QQ",
        "data:image/png;base64,QQQ",
        "data:image/png;base64,QQ=Q",
        "data:image/png;base64,Q===",
        "data:image/png;base64,====",
        "data:image/png;base64,QR==",
        "data:image/png;base64,QUF=",
        "data:image/png;base64,QQ==QQ==",
        "data:image/png;base64,QQ\n=",
        "data:image/png;base64,Q-_Q",
        "data:image/png;base64,QUJ\xc3\xa9QQ=",
        "data:image/png;base64,QUJD====",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t out[32];
        size_t len;
        if (decode(bad[i], out, &len) != RD_ERR_INVALID_REQUEST) {
            fail_msg("taken: %s", bad[i]);
        }
    }
}

/* The size is judged from the length alone; the text need not even be there beyond its ends. */
static void bounds_the_size(void **state)
{
    (void)state;
    size_t max = RD_LIMIT_DATA_URI_DECODED;
    size_t len = strlen(png) + (max + 2) / 3 * 4;
    RD_AUTO_FREE char *text = rd_mem_alloc(len + 8);
    assert_non_null(text);
    memset(text, 'A', len + 8);
    memcpy(text, png, strlen(png));
    struct rd_data_uri uri;
    assert_int_equal(max % 3, 2); /* so the last block has one '=' */
    text[len - 1] = '=';
    assert_int_equal(rd_data_uri_split(text, len, &uri, NULL), RD_OK);
    assert_int_equal(uri.decoded_len, max);
    text[len - 1] = 'A';
    struct rd_why why;
    assert_int_equal(rd_data_uri_split(text, len, &uri, &why), RD_ERR_TOO_LARGE);
    assert_non_null(strstr(why.text, "20971520"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_what_sodium_encodes),
        cmocka_unit_test(agrees_on_every_byte),
        cmocka_unit_test(knows_its_headers),
        cmocka_unit_test(refuses_what_is_none),
        cmocka_unit_test(bounds_the_size),
    };
    return cmocka_run_group_tests_name("request/data_uri", tests, NULL, NULL);
}
