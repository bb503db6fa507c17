/* SPDX-License-Identifier: Apache-2.0
 *
 * URLs, origins, hosts and paths: what operators write, and what must not pass. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/limits.h"
#include "config/forms.h"

static void check(const struct rd_yaml_form *form, const char *const *texts, bool expected)
{
    for (; *texts != NULL; texts++) {
        if (form->matches(*texts, strlen(*texts)) != expected) {
            fail_msg("%s: %s", *texts, expected ? "refused" : "taken");
        }
    }
}

static void urls(void **state)
{
    (void)state;
    static const char *const good[] = {"http://a",
                                       "http://10.0.0.5:9000/generate",
                                       "https://box-2.example.org/a/b?c=d&e=%20",
                                       "http://[::1]:80/x",
                                       "http://[fd00::1]",
                                       "http://a?x",
                                       "http://localhost:65535",
                                       "http://a_b/",
                                       "grpc://10.0.0.5:8001",
                                       "grpcs://triton.example.org",
                                       NULL};
    static const char *const bad[] = {"",
                                      "http://",
                                      "http:///x",
                                      "http://:80",
                                      "ftp://a",
                                      "HTTP://a",
                                      "//a",
                                      "a",
                                      "http://a:0",
                                      "http://a:65536",
                                      "http://a:",
                                      "http://a:x",
                                      "http://a:08",
                                      "http://user@a/",
                                      "http://user:pw@a/",
                                      "http://a b/",
                                      "http://a/\r\nX: y",
                                      "http://a/#f",
                                      "http://a/\"",
                                      "http://[::1",
                                      "http://[::1]x",
                                      "http://[]",
                                      "http://[1]",
                                      "http://-a",
                                      "http://a..b",
                                      "http://a.",
                                      "http://caf\xc3\xa9/",
                                      "http://a\\b",
                                      "http://%61/",
                                      "http:/a",
                                      "grpc://a/",
                                      "grpcs://a?x",
                                      "grpc://",
                                      "grpc+http://a",
                                      NULL};
    check(&rd_config_form_url, good, true);
    check(&rd_config_form_url, bad, false);
    char text[RD_LIMIT_URL + 2] = "http://a/";
    memset(text + 9, 'x', RD_LIMIT_URL - 9);
    assert_true(rd_config_form_url.matches(text, strlen(text)));
    text[RD_LIMIT_URL] = 'x';
    assert_false(rd_config_form_url.matches(text, strlen(text)));
}

static void names_of_servers(void **state)
{
    (void)state;
    static const char *const good_paths[] = {"/", "/health", "/v1/ready?full=1", NULL};
    static const char *const bad_paths[] = {"", "health", "/a b", "/a#b", "/\r\n", NULL};
    check(&rd_config_form_url_path, good_paths, true);
    check(&rd_config_form_url_path, bad_paths, false);
    static const char *const good_models[] = {"a", "Flux_schnell-1.5", "_x", "-", NULL};
    static const char *const bad_models[] = {"", ".", "..", ".a", "a/b", "a b", "a%20", "a?", NULL};
    check(&rd_config_form_server_model, good_models, true);
    check(&rd_config_form_server_model, bad_models, false);
    static const char *const good_remote[] = {"m", "Org/M-1.0_x:Q8", "~!", NULL};
    static const char *const bad_remote[] = {"",      " ",     "a b",       "a\nb",
                                             "a\x1f", "a\x7f", "a\xc3\xa9", NULL};
    check(&rd_config_form_remote_model, good_remote, true);
    check(&rd_config_form_remote_model, bad_remote, false);
    static const char *const good_versions[] = {"1", "20260101", "999999999999999999", NULL};
    static const char *const bad_versions[] = {
        "", "0", "01", "-1", "v1", "1.0", "9999999999999999999", NULL};
    check(&rd_config_form_version, good_versions, true);
    check(&rd_config_form_version, bad_versions, false);
    static const char *const good_tensors[] = {"PROMPT", "a b", "x:0", "caf\xc3\xa9", NULL};
    static const char *const bad_tensors[] = {"", "a\nb", "\x7f", NULL};
    check(&rd_config_form_tensor, good_tensors, true);
    check(&rd_config_form_tensor, bad_tensors, false);
    char text[260];
    memset(text, 'a', sizeof text);
    assert_true(rd_config_form_tensor.matches(text, 128));
    assert_false(rd_config_form_tensor.matches(text, 129));
    assert_true(rd_config_form_server_model.matches(text, 128));
    assert_false(rd_config_form_server_model.matches(text, 129));
    assert_true(rd_config_form_remote_model.matches(text, 256));
    assert_false(rd_config_form_remote_model.matches(text, 257));
}

static void public_urls(void **state)
{
    (void)state;
    static const char *const good[] = {"http://a", "https://a:8443", "https://a/base",
                                       "http://[::1]:1", NULL};
    static const char *const bad[] = {
        "http://a/", "https://a/base/", "http://a?x", "http://a/x?y", "ws://a", "a", "", NULL};
    check(&rd_config_form_public_url, good, true);
    check(&rd_config_form_public_url, bad, false);
}

static void origins(void **state)
{
    (void)state;
    static const char *const good[] = {"*",
                                       "https://app.example.org",
                                       "http://localhost:3000",
                                       "http://[::1]:8080",
                                       "https://a:80",
                                       "http://a:443",
                                       NULL};
    static const char *const bad[] = {"",
                                      "**",
                                      "null",
                                      "app.example.org",
                                      "https://*.example.org",
                                      "https://a/",
                                      "https://a/x",
                                      "https://a?x",
                                      "HTTPS://a",
                                      "https://App.example.org",
                                      "https://a:443",
                                      "http://a:80",
                                      "file://x",
                                      NULL};
    check(&rd_config_form_origin, good, true);
    check(&rd_config_form_origin, bad, false);
}

static void hosts(void **state)
{
    (void)state;
    static const char *const good[] = {"a",       "images.internal", "10.0.0.5", "::1",
                                       "fd00::1", "::ffff:10.0.0.1", "my_host",  NULL};
    static const char *const bad[] = {"",     "a:80", "http://a", "[::1]",   "a/b",
                                      "*.a",  "-a",   "a-",       ".a",      "a.",
                                      "a..b", "a b",  ":",        "fd00::g", NULL};
    check(&rd_config_form_host, good, true);
    check(&rd_config_form_host, bad, false);
    char text[255];
    memset(text, 'a', sizeof text);
    assert_true(rd_config_form_host.matches(text, 253));
    assert_false(rd_config_form_host.matches(text, 254));
}

static void paths(void **state)
{
    (void)state;
    static const char *const good[] = {"/etc/render/catalogue.yaml", "catalogue.yaml", "a b",
                                       "caf\xc3\xa9", NULL};
    static const char *const bad[] = {"", "a\nb", "\x1b[1m", "a\x7f", NULL};
    check(&rd_config_form_path, good, true);
    check(&rd_config_form_path, bad, false);
    char text[4097];
    memset(text, 'a', sizeof text);
    assert_true(rd_config_form_path.matches(text, 4095));
    assert_false(rd_config_form_path.matches(text, 4096));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls),        cmocka_unit_test(names_of_servers),
        cmocka_unit_test(public_urls), cmocka_unit_test(origins),
        cmocka_unit_test(hosts),       cmocka_unit_test(paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
