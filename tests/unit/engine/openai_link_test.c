/* SPDX-License-Identifier: Apache-2.0
 *
 * Which addresses of pictures are on the engine's own server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "engine/openai/link.h"

static void test_own(void **state)
{
    (void)state;
    static const struct {
        const char *engine, *url, *path;
    } rows[] = {
        {"http://a:8000", "/x/1.png", "/x/1.png"},
        {"http://a:8000/base", "/x/1.png?a=1&b=%20", "/x/1.png?a=1&b=%20"},
        {"http://a:8000/base", "http://a:8000/generated-images/1.png", "/generated-images/1.png"},
        {"http://a", "http://A:80/1", "/1"},
        {"https://a", "https://a:443/1#part", "/1"},
        {"http://a", "http://a", "/"},
        {"http://[::1]:9", "http://[::1]:9/1", "/1"},
        {"http://a", "http://user:word@a/1", "/1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[64] = "";
        struct rd_why why = {""};
        if (rd_openai_link(rows[i].engine, rows[i].url, path, sizeof path, &why) != RD_OK) {
            fail_msg("%s: %s", rows[i].url, why.text);
        }
        assert_string_equal(path, rows[i].path);
    }
}

static void test_not_own(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "",
        "1.png",
        "//b/1.png",
        "http://b:8000/1",
        "http://a:8001/1",
        "http://a/1",
        "https://a:8000/1",
        "file:///etc/passwd",
        "ftp://a:8000/1",
        "gopher://a:8000/1",
        "http://a:8000@b/1",
        "http://a:8000.b/1",
        "http://127.0.0.1:8000/1",
        "http://a:8000/\r\nHost: b",
        "/\x01",
        "data:image/png;base64,AAAA",
    };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        char path[64] = "";
        struct rd_why why = {""};
        if (rd_openai_link("http://a:8000/base", urls[i], path, sizeof path, &why) !=
            RD_ERR_BACKEND_FAILED) {
            fail_msg("'%s' became '%s'", urls[i], path);
        }
        assert_non_null(strstr(why.text, "not on the engine's own server"));
    }
}

static void test_too_long(void **state)
{
    (void)state;
    char path[8];
    struct rd_why why;
    assert_int_equal(rd_openai_link("http://a", "/123456", path, sizeof path, &why), RD_OK);
    assert_string_equal(path, "/123456");
    assert_int_equal(rd_openai_link("http://a", "/1234567", path, sizeof path, &why),
                     RD_ERR_BACKEND_FAILED);
    assert_int_equal(rd_openai_link("http://a", "/12345?1", path, sizeof path, &why),
                     RD_ERR_BACKEND_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own),
        cmocka_unit_test(test_not_own),
        cmocka_unit_test(test_too_long),
    };
    return cmocka_run_group_tests_name("engine/openai_link", tests, NULL, NULL);
}
