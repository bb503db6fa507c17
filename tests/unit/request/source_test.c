/* SPDX-License-Identifier: Apache-2.0
 *
 * source.c: every form of image and mask, and what is refused, through the whole parser. */
#include "fixture.h"

#include "base/text.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ALIAS "a_3FhT0pXqWb5c8YkZrN1mQv"

static struct fixture f;

static int start(void **state)
{
    (void)state;
    fixture_start(&f, &plasma, RD_TASK_I2I);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_end(&f);
    return 0;
}

static const char *body_of(const char *image)
{
    static char body[8192];
    int len = snprintf(body, sizeof body, "{\"prompt\":\"x\",\"image\":\"%s\"}", image);
    assert_in_range(len, 1, sizeof body - 1);
    return body;
}

static void https_urls(void **state)
{
    (void)state;
    static const char *const good[] = {
        "https://example.com/cat.png",
        "https://example.com",
        "https://example.com:443/x",
        "https://example.com:65535",
        "HTTPS://EXAMPLE.com/",
        "https://h?q=1&r=%20/@",
        "https://127.0.0.1/",
        "https://[2001:db8::1]/x",
        "https://[::1]:8443/x",
        "https://a_b-c.example/x;y=(z)!~*',+$",
        "https://example.com/a/a_short",
        "https://h/x@y:z",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_accepted(&f, body_of(good[i]));
        assert_int_equal(f.generation->image.kind, RD_SOURCE_URL);
        assert_string_equal(f.generation->image.url, good[i]);
        assert_null(f.generation->image.bytes);
        assert_non_null(strstr(f.generation->json, good[i]));
    }
}

static void other_urls(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "x",
        "cat.png",
        "/etc/passwd",
        "http://example.com/",
        "ftp://h/",
        "file:///etc/passwd",
        "https:/h/",
        "https:///x",
        "https://",
        "https://?x",
        "https://:443/",
        "https://u@h/",
        "https://u:p@h/",
        "https://@h/",
        "https://h@evil/",
        "https://h/x#f",
        "https://h#@evil/",
        "https://h:/x",
        "https://h:0/",
        "https://h:65536/",
        "https://h:99999999999999999999/",
        "https://h:80a/",
        "https://h:+80/",
        "https://h:080/",
        "https://h h/",
        "https://h/a b",
        "https://h/\\n",
        "https://h/\\\\x",
        "https://h/\\u00e9",
        "https://b\\u00fccher.example/",
        "https://h/<",
        "https://h/{x}",
        "https://h/\\\"",
        "https://%68/",
        "https://h%2f/",
        "https://h*/",
        "https://[::1",
        "https://[]/",
        "https://[::1]x/",
        "https://[g]/",
        "https://[::1]:/",
        "//h/x",
        "javascript:alert(1)",
        " https://h/",
        "https://h/\\t",
        "https://h/\\u007f",
        "https://h/`",
        "http://127.0.0.1:8080/uploads/x",
        ("http://127.0.0.1:80801/a/" ALIAS),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_refused(&f, body_of(bad[i]), "image", "format");
    }
}

static void url_length(void **state)
{
    (void)state;
    char url[RD_LIMIT_URL + 2];
    memset(url, 'x', sizeof url);
    memcpy(url, "https://h/", 10);
    url[RD_LIMIT_URL] = '\0';
    assert_accepted(&f, body_of(url));
    url[RD_LIMIT_URL] = 'x';
    url[RD_LIMIT_URL + 1] = '\0';
    assert_refused(&f, body_of(url), "image", "maxLength");
}

static void own_assets(void **state)
{
    (void)state;
    static const struct {
        const char *given, *id;
    } good[] = {
        {"a_" HEX64, "a_" HEX64},
        {"/a/a_" HEX64, "a_" HEX64},
        {"http://127.0.0.1:8080/a/a_" HEX64, "a_" HEX64},
        {ALIAS, ALIAS},
        {"http://127.0.0.1:8080/a/" ALIAS, ALIAS},
        {"a_123456789012", "a_123456789012"},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_accepted(&f, body_of(good[i].given));
        assert_int_equal(f.generation->image.kind, RD_SOURCE_ASSET);
        assert_string_equal(f.generation->image.url, good[i].id);
        assert_non_null(strstr(f.generation->json, good[i].given)); /* as given */
    }
    static const char *const bad[] = {
        "a_",
        "a_short",
        ("a_" HEX64 "0"),
        ("a_" HEX64 "/"),
        "/a/",
        "/a/../x",
        ("/a/a_" HEX64 "?x=1"),
        ("/a/a_" HEX64 "/attestation"),
        "http://127.0.0.1:8080/a/x",
        ("/a/b_" HEX64),
        "a_1234567890.2",
        "http://127.0.0.1:8080/a/../../etc/passwd",
        ("/a/" HEX64),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_refused(&f, body_of(bad[i]), "image", "format");
    }
}

static void public_urls(void **state)
{
    (void)state;
    f.context.public_url = "https://cdn.example/render/";
    assert_accepted(&f, body_of("https://cdn.example/render/a/" ALIAS));
    assert_int_equal(f.generation->image.kind, RD_SOURCE_ASSET);
    assert_accepted(&f, body_of("https://cdn.example/a/" ALIAS)); /* somebody else's */
    assert_int_equal(f.generation->image.kind, RD_SOURCE_URL);
    f.context.public_url = NULL;
    assert_accepted(&f, body_of(ALIAS));
    assert_refused(&f, body_of("http://127.0.0.1:8080/a/" ALIAS), "image", "format");
    f.context.public_url = "";
    assert_accepted(&f, body_of("/a/" ALIAS));
    f.context.public_url = "http://127.0.0.1:8080";
}

static void data_uris(void **state)
{
    (void)state;
    static const struct {
        const char *uri;
        uint8_t first;
    } good[] = {{PNG_URI, 0x89},
                {"data:image/webp;base64," WEBP_BASE64, 'R'},
                {"data:image/jpeg;base64," JPEG_BASE64, 0xff},
                {"data:image/jpg;base64," JPEG_BASE64, 0xff}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_accepted(&f, body_of(good[i].uri));
        assert_int_equal(f.generation->image.kind, RD_SOURCE_DATA);
        assert_null(f.generation->image.url);
        assert_in_range(f.generation->image.bytes_len, 60, 300);
        assert_int_equal(f.generation->image.bytes[0], good[i].first);
        assert_null(strstr(f.generation->json, "base64"));
    }
    assert_accepted(&f, body_of(PNG_URI));
    char hex[65];
    rd_text_hex(f.generation->image.sha256, 32, hex);
    assert_string_equal(hex, PNG_SHA256);
    assert_non_null(strstr(f.generation->json, "\"image\":\"data:sha256:" PNG_SHA256 "\""));
}

/* The same URI as other JSON encoders write it: slashes escaped (PHP), or any letter. */
static void escaped_data_uris(void **state)
{
    (void)state;
    char uri[1024] = "";
    size_t len = 0;
    for (const char *p = PNG_URI; *p != '\0'; p++) {
        if (*p == '/') {
            uri[len++] = '\\';
        }
        uri[len++] = *p;
    }
    uri[len] = '\0';
    char hex[65];
    assert_accepted(&f, body_of(uri));
    rd_text_hex(f.generation->image.sha256, 32, hex);
    assert_string_equal(hex, PNG_SHA256);
    (void)snprintf(uri, sizeof uri, "\\u0064ata%s", &PNG_URI[4]);
    assert_accepted(&f, body_of(uri));
    rd_text_hex(f.generation->image.sha256, 32, hex);
    assert_string_equal(hex, PNG_SHA256);
}

static void lying_data_uris(void **state)
{
    (void)state;
    static const struct {
        const char *uri, *constraint;
    } bad[] = {
        {"data:image/"
         "jpeg;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAACXBIWXMAAAABAAAAAQBPJcTWAAAAE"
         "ElEQVR4nGP4y8AARAwQCgAfrgP19hgqWQAAAABJRU5ErkJggg==",
         "media"},
        {"data:image/png;base64," WEBP_BASE64, "media"},
        {"data:image/webp;base64," JPEG_BASE64, "media"},
        {"data:image/png;base64,QUJDRA==", "media"},
        {"data:image/png;base64,PHN2Zy8+", "media"}, /* <svg/> */
        {"data:image/gif;base64,R0lGODlh", "format"},
        {"data:text/html;base64,QUJD", "format"},
        {"data:image/png;base64,QUJD!A==", "format"},
        {"data:image/png;base64,", "format"},
        {"data:,", "format"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_refused(&f, body_of(bad[i].uri), "image", bad[i].constraint);
    }
}

/* A PNG header that claims `side` pixels; the CRC is right. */
static void png_header(uint32_t side, char out[128])
{
    uint8_t png[33] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n',
                       0,    0,   0,   13,  'I',  'H',  'D',  'R'};
    for (int i = 0; i < 4; i++) {
        png[16 + i] = png[20 + i] = (uint8_t)(side >> (24 - 8 * i));
    }
    png[24] = 8;
    png[25] = 2;
    uint32_t crc = 0xffffffffu;
    for (int i = 12; i < 29; i++) {
        crc ^= png[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
    }
    for (int i = 0; i < 4; i++) {
        png[29 + i] = (uint8_t)(~crc >> (24 - 8 * i));
    }
    memcpy(out, "data:image/png;base64,", 22);
    rd_text_base64(png, sizeof png, out + 22);
}

static void bombs(void **state)
{
    (void)state;
    char uri[128];
    png_header(8000, uri);
    assert_accepted(&f, body_of(uri));
    png_header(8001, uri); /* more than 64 million pixels */
    assert_refused(&f, body_of(uri), "image", "media");
    png_header(16385, uri);
    assert_refused(&f, body_of(uri), "image", "media");
    png_header(0xffffffffu, uri);
    assert_refused(&f, body_of(uri), "image", "media");
    png_header(0, uri);
    assert_refused(&f, body_of(uri), "image", "media");
}

static void too_large_once_decoded(void **state)
{
    (void)state;
    static const char head[] = "{\"prompt\":\"x\",\"image\":\"data:image/png;base64,";
    size_t text = (RD_LIMIT_DATA_URI_DECODED + 2) / 3 * 4;
    size_t len = strlen(head) + text + 2;
    RD_AUTO_FREE char *body = rd_mem_alloc(len + 8);
    assert_non_null(body);
    memset(body, 'A', len + 8);
    memcpy(body, head, strlen(head));
    memcpy(body + len - 2, "\"}", 2);
    assert_int_equal(fixture_parse_len(&f, body, len), RD_ERR_INVALID_REQUEST);
    assert_one_problem(&f, "image", "maxLength"); /* 20 MiB and one byte */
    body[len - 3] = '=';
    assert_int_equal(fixture_parse_len(&f, body, len), RD_ERR_INVALID_REQUEST);
    assert_one_problem(&f, "image", "media"); /* 20 MiB, but no picture */
}

static void two_sources(void **state)
{
    (void)state;
    struct fixture e;
    fixture_start(&e, &plasma, RD_TASK_EDIT);
    assert_accepted(&e, "{\"prompt\":\"x\",\"image\":\"" PNG_URI "\",\"mask\":\"" ALIAS "\"}");
    assert_int_equal(e.generation->image.kind, RD_SOURCE_DATA);
    assert_int_equal(e.generation->mask.kind, RD_SOURCE_ASSET);
    assert_refused(
        &e, "{\"prompt\":\"x\",\"image\":\"" PNG_URI "\",\"mask\":\"data:image/png;base64,QQ==\"}",
        "mask", "media");
    fixture_end(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(https_urls),
        cmocka_unit_test(other_urls),
        cmocka_unit_test(url_length),
        cmocka_unit_test(own_assets),
        cmocka_unit_test(public_urls),
        cmocka_unit_test(data_uris),
        cmocka_unit_test(escaped_data_uris),
        cmocka_unit_test(lying_data_uris),
        cmocka_unit_test(bombs),
        cmocka_unit_test(too_large_once_decoded),
        cmocka_unit_test(two_sources),
    };
    return cmocka_run_group_tests_name("request/source", tests, start, end);
}
