/* SPDX-License-Identifier: Apache-2.0
 *
 * What may be named as a webhook: private addresses in every spelling, and the controls beside
 * them. What only a resolver can tell is found at each try; sender_test.c has that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "webhook/url.h"

static const char *const listed[] = {"127.0.0.1", "hooks.internal", "::1"};
static const struct rd_fetch_options closed = {.max_bytes = 0};
static const struct rd_fetch_options opened = {.allow_hosts = listed, .allow_hosts_count = 3};

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *url, *why;
    } cases[] = {
        {"", "not a URL"},
        {"example.com/hook", "not a URL"},
        {"http://example.com/", "only https"},
        {"ftp://example.com/", "only https"},
        {"https://example.com:8443/", "only port 443"},
        {"https://u:p@example.com/", "user name"},
        {"https://example.com/a b", "percent-encoded"},
        {"https://127.0.0.1/", "no address"},
        {"https://127.1/", "no address"},
        {"https://2130706433/", "no address"},
        {"https://0x7f000001/", "no address"},
        {"https://0x7f.1/", "no address"},
        {"https://017700000001/", "no address"},
        {"https://%31%32%37.0.0.1/", "no address"},
        {"https://127.0.0.1./", "no address"},
        {"https://0/", "no address"},
        {"https://0.0.0.0/", "no address"},
        {"https://10.0.0.1/", "no address"},
        {"https://172.16.0.1/", "no address"},
        {"https://192.168.1.1/", "no address"},
        {"https://169.254.169.254/latest/meta-data/", "no address"},
        {"https://168.63.129.16/", "no address"},
        {"https://100.64.0.1/", "no address"},
        {"https://224.0.0.1/", "no address"},
        {"https://255.255.255.255/", "no address"},
        {"https://[::1]/", "no address"},
        {"https://[::]/", "no address"},
        {"https://[::ffff:127.0.0.1]/", "no address"},
        {"https://[::ffff:7f00:1]/", "no address"},
        {"https://[64:ff9b::7f00:1]/", "no address"},
        {"https://[fd00::1]/", "no address"},
        {"https://[fe80::1]/", "no address"},
        {"https://[fe80::1%25eth0]/", "no address"},
        {"https://[ff02::1]/", "no address"},
        {"https://[2001:db8::1]/", "no address"},
        {"https://localhost/", "no address"},
        {"https://LOCALHOST./", "no address"},
        {"https://a.localhost/", "no address"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rd_why why = {""};
        rd_err err = rd_webhook_url_check(cases[i].url, &closed, &why);
        if (err != RD_ERR_INVALID_REQUEST || strstr(why.text, cases[i].why) == NULL) {
            fail_msg("'%s': %s '%s'", cases[i].url, rd_err_info(err)->code, why.text);
        }
    }
}

static void test_accepted(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "https://example.com/hook?secret=a@b",
        "https://example.com:443/",
        "HTTPS://EXAMPLE.COM",
        "https://8.8.8.8/",
        "https://134744072/",
        "https://[2606:4700::1]/",
        "https://notlocalhost/",
        "https://localhost.example.com/",
        "https://127.0.0.1.example.com/",
    };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct rd_why why = {""};
        if (rd_webhook_url_check(urls[i], &closed, &why) != RD_OK) {
            fail_msg("'%s': %s", urls[i], why.text);
        }
    }
}

static void test_hosts_that_are_allowed(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool allowed;
    } cases[] = {
        {"http://127.0.0.1:8080/", true},       {"https://127.0.0.1/", true},
        {"http://[::1]:8080/x", true},          {"http://HOOKS.internal/", true},
        {"http://a.hooks.internal/", false},    {"http://127.0.0.2/", false},
        {"https://localhost/", false},          {"http://example.com/", false},
        {"https://u:p@hooks.internal/", false}, {"ftp://hooks.internal/", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rd_err err = rd_webhook_url_check(cases[i].url, &opened, NULL);
        if ((err == RD_OK) != cases[i].allowed) {
            fail_msg("'%s': %s", cases[i].url, rd_err_info(err)->code);
        }
    }
}

static void test_one_spelling_of_a_host(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host;
    } cases[] = {
        {"https://example.com/a", "example.com:443"},
        {"HTTPS://Example.COM.:443/b?c", "example.com:443"},
        {"http://example.com", "example.com:80"},
        {"https://example.com:8443", "example.com:8443"},
        {"https://[2606:4700::1]/", "2606:4700::1:443"},
        {"nonsense", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char host[RD_WEBHOOK_HOST_MAX];
        rd_webhook_url_host(cases[i].url, host);
        assert_string_equal(host, cases[i].host);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_hosts_that_are_allowed),
        cmocka_unit_test(test_one_spelling_of_a_host),
    };
    return cmocka_run_group_tests_name("webhook/url", tests, NULL, NULL);
}
