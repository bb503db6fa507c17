/* SPDX-License-Identifier: Apache-2.0
 *
 * Fetches against a scripted server on loopback, which is what an attacker would aim at. Each
 * refusal has its control: the same URL succeeds when its host is in allow_hosts, so the server and
 * the route to it are real and only the guard stood between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "fetch/hook.h"
#include "loopback.h"

static const char *const loopback_name[] = {"127.0.0.1"};
static const struct rd_fetch_options closed = {.max_bytes = 1000};
static const struct rd_fetch_options opened = {
    .max_bytes = 1000, .allow_hosts = loopback_name, .allow_hosts_count = 1};

static struct loopback *server;
static char last_head[4096]; /* of the newest request */
static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;

static void answer_sized(int fd, size_t claimed, size_t sent)
{
    char *body = calloc(1, sent + 1);
    assert_non_null(body);
    memset(body, 'x', sent);
    loopback_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", claimed);
    loopback_send(fd, body, sent);
    free(body);
}

/* The path says what the server does. */
static bool handle(void *ctx, int fd, const struct loopback_request *request)
{
    (void)ctx;
    char path[64] = "";
    (void)sscanf(request->head, "%*s %63s", path);
    (void)pthread_mutex_lock(&last_lock);
    (void)snprintf(last_head, sizeof last_head, "%s", request->head);
    (void)pthread_mutex_unlock(&last_lock);
    unsigned long number = strtoul(path + strcspn(path, "0123456789"), NULL, 10);
    if (strncmp(path, "/bytes/", 7) == 0) {
        answer_sized(fd, number, number);
        return true;
    }
    if (strncmp(path, "/chunked/", 9) == 0) {
        loopback_printf(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (unsigned long i = 0; i < number; i++) {
            loopback_printf(fd, "1\r\ny\r\n");
        }
        loopback_printf(fd, "0\r\n\r\n");
        return true;
    }
    if (strncmp(path, "/endless", 8) == 0) { /* no length at all, never stops */
        loopback_printf(fd, "HTTP/1.1 200 OK\r\n\r\n");
        for (unsigned i = 0; i < 100000; i++) {
            loopback_send(fd, "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
                          64);
        }
        return false;
    }
    if (strncmp(path, "/short/", 7) == 0) {
        answer_sized(fd, 100, number);
        return false;
    }
    if (strncmp(path, "/slow", 5) == 0) {
        loopback_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        loopback_wait_gone(fd);
        return false;
    }
    if (strncmp(path, "/mute", 5) == 0) {
        loopback_wait_gone(fd);
        return false;
    }
    if (strncmp(path, "/headers", 8) == 0) {
        loopback_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
        for (unsigned i = 0; i < 100; i++) {
            loopback_printf(fd, "X-%u: %0400u\r\n", i, i);
        }
        loopback_printf(fd, "\r\n");
        return false;
    }
    if (strncmp(path, "/hops/", 6) == 0 && number > 0) {
        loopback_printf(
            fd, "HTTP/1.1 302 Found\r\nLocation: /hops/%lu\r\nContent-Length: 4\r\n\r\nbody",
            number - 1);
        return true;
    }
    if (strncmp(path, "/to?", 4) == 0) {
        loopback_printf(fd, "HTTP/1.1 301 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n",
                        path + 4);
        return true;
    }
    if (strncmp(path, "/status/", 8) == 0) {
        loopback_printf(fd, "HTTP/1.1 %lu Odd\r\nContent-Length: 3\r\n\r\nodd", number);
        return true;
    }
    loopback_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    return true;
}

static int setup(void **state)
{
    (void)state;
    server = loopback_start(handle, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loopback_stop(server);
    return 0;
}

struct result {
    rd_err err;
    struct rd_buf out;
    struct rd_why why;
};

/* `format` has one %u for the port. */
static struct result fetch_with(const char *format, const struct rd_fetch_options *options,
                                const struct rd_fetch_hook *hook)
{
    char url[512];
    char port[8];
    const char *mark = strstr(format, "%u");
    (void)snprintf(port, sizeof port, "%u", loopback_port(server));
    if (mark == NULL) {
        (void)snprintf(url, sizeof url, "%s", format);
    } else {
        (void)snprintf(url, sizeof url, "%.*s%s%s", (int)(mark - format), format, port, mark + 2);
    }
    struct result result;
    memset(&result, 0, sizeof result);
    rd_buf_init(&result.out, 1 << 20);
    rd_buf_str(&result.out, "keep");
    result.err = rd_fetch_hooked(url, options, hook, &result.out, &result.why);
    return result;
}

static void expect(const char *format, const struct rd_fetch_options *options,
                   const struct rd_fetch_hook *hook, rd_err err, const char *why)
{
    struct result result = fetch_with(format, options, hook);
    if (result.err != err) {
        fail_msg("%s: %s (%s), not %s", format, rd_err_info(result.err)->code, result.why.text,
                 rd_err_info(err)->code);
    }
    if (strstr(result.why.text, why) == NULL) {
        fail_msg("%s: why is '%s', not '%s'", format, result.why.text, why);
    }
    if (err != RD_OK) {
        assert_string_equal(rd_buf_cstr(&result.out), "keep");
        assert_int_equal(result.out.err, RD_OK);
    }
    rd_buf_done(&result.out);
}

static const struct rd_fetch_hook plain = {0};

/* ---- the text of URLs ---- */

static void test_urls_refused(void **state)
{
    (void)state;
    static const struct {
        const char *url, *why;
    } cases[] = {
        {"", "not a URL"},
        {"example.com/x.png", "not a URL"},
        {"//example.com/x.png", "not a URL"},
        {"https://", "not a URL"},
        {"https:///x", "not a URL"},
        {"https:/x", "not a URL"},
        {"https:x", "not a URL"},
        {"https:///u:p@x/", "not a URL"},
        {"http://example.com/x.png", "only https"},
        {"ftp://example.com/x", "only https"},
        {"file:///etc/passwd", "not a URL"},
        {"gopher://example.com:443/", "only https"},
        {"dict://example.com:443/", "only https"},
        {"data:image/png;base64,AA", "not"},
        {"javascript:alert(1)", "not"},
        {"https://example.com:80/", "only port 443"},
        {"https://example.com:8443/", "only port 443"},
        {"https://example.com:65979/", "not a URL"}, /* 443 + 65536 */
        {"https://example.com:0/", "port"},
        {"https://u:p@example.com/", "user name"},
        {"https://u@example.com/", "user name"},
        {"https://@example.com/", "user name"},
        {"https://example.com@127.0.0.1/", "user name"},
        {"https://a:b@c:d@example.com/", "user name"},
        {"https://example.com\\@127.0.0.1/", "percent-encoded"},
        {"https://example.com/a b", "percent-encoded"},
        {"https://example.com/\r\nHost: x", "percent-encoded"},
        {"https://ex\xc3\xa4mple.com/", "percent-encoded"},
        {"https://example.com/\x7f", "percent-encoded"},
        {"https://exam ple.com/", "percent-encoded"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rd_why why = {""};
        rd_err err = rd_fetch_url_check(cases[i].url, &closed, &plain, &why);
        if (err != RD_ERR_INVALID_REQUEST || strstr(why.text, cases[i].why) == NULL) {
            fail_msg("'%s': %s '%s'", cases[i].url, rd_err_info(err)->code, why.text);
        }
    }
}

static void test_urls_accepted(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "https://example.com/x.png",
        "https://example.com:443/x.png",
        "HTTPS://EXAMPLE.COM/",
        "https://example.com",
        "https://example.com/?q=a@b",
        "https://example.com/@x",
        "https://[2606:4700::1111]/x.png",
        "https://8.8.8.8/x",
        "https://example.com/#f",
        "https://xn--bcher-kva.example/",
    };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct rd_why why = {""};
        if (rd_fetch_url_check(urls[i], &closed, &plain, &why) != RD_OK) {
            fail_msg("'%s': %s", urls[i], why.text);
        }
    }
}

static void test_url_length(void **state)
{
    (void)state;
    char url[RD_LIMIT_URL + 2];
    memset(url, 'a', sizeof url);
    memcpy(url, "https://example.com/", 20);
    url[RD_LIMIT_URL + 1] = '\0';
    struct rd_why why = {""};
    assert_int_equal(rd_fetch_url_check(url, &closed, &plain, &why), RD_ERR_INVALID_REQUEST);
    assert_non_null(strstr(why.text, "longer"));
    url[RD_LIMIT_URL] = '\0';
    assert_int_equal(rd_fetch_url_check(url, &closed, &plain, &why), RD_OK);
}

/* ---- the guard ---- */

static void test_loopback_refused(void **state)
{
    (void)state;
    unsigned before = loopback_connections(server);
    struct rd_fetch_hook hook = {.port = loopback_port(server)};
    static const char *const urls[] = {
        "http://127.0.0.1:%u/",
        "https://127.0.0.1:%u/",
        "http://0x7f.1:%u/",
        "http://2130706433:%u/",
        "http://127.1:%u/",
        "http://0177.0.0.1:%u/",
        "http://017700000001:%u/",
        "http://0x7f000001:%u/",
        "http://127.0.1:%u/",
        "http://0x7F.0x0.0x0.0x1:%u/",
        "http://0:%u/",
        "http://0.0.0.0:%u/",
        "http://localhost:%u/",
        "http://localhost.:%u/",
        "http://LOCALHOST:%u/",
        "http://a.localhost:%u/",
        "http://[::1]:%u/",
        "http://[::]:%u/",
        "http://[::ffff:127.0.0.1]:%u/",
        "http://[::ffff:7f00:1]:%u/",
        "http://[::127.0.0.1]:%u/",
        "http://[64:ff9b::7f00:1]:%u/",
        "http://[0:0:0:0:0:ffff:7f00:0001]:%u/",
        "http://%%31%%32%%37.0.0.1:%u/",
        "http://127.0.0.1.:%u/",
    };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct result result = fetch_with(urls[i], &closed, &hook);
        if (result.err != RD_ERR_INVALID_REQUEST) {
            fail_msg("%s: %s", urls[i], rd_err_info(result.err)->code);
        }
        assert_string_equal(rd_buf_cstr(&result.out), "keep");
        rd_buf_done(&result.out);
    }
    assert_int_equal(loopback_connections(server), before);
    expect("http://127.0.0.1:%u/", &opened, &plain, RD_OK, ""); /* the control */
    assert_int_equal(loopback_connections(server), before + 1);
}

static void test_name_resolving_to_loopback(void **state)
{
    (void)state;
    unsigned before = loopback_connections(server);
    char resolve[64];
    (void)snprintf(resolve, sizeof resolve, "pics.test:%u:127.0.0.1", loopback_port(server));
    struct rd_fetch_hook hook = {.port = loopback_port(server), .resolve = resolve};
    expect("http://pics.test:%u/", &closed, &hook, RD_ERR_INVALID_REQUEST, "no address that may");
    assert_int_equal(loopback_connections(server), before);

    static const char *const names[] = {"pics.test"};
    struct rd_fetch_options named = {.max_bytes = 9, .allow_hosts = names, .allow_hosts_count = 1};
    expect("http://pics.test:%u/", &named, &hook, RD_OK, "");
    expect("http://PICS.test:%u/", &named, &hook, RD_OK, "");
    assert_int_equal(loopback_connections(server), before + 2);
    /* The list is exact: neither a longer nor a shorter name, nor the address behind it. */
    expect("http://a.pics.test:%u/", &named, &hook, RD_ERR_INVALID_REQUEST, "");
    expect("http://pics.tes:%u/", &named, &hook, RD_ERR_INVALID_REQUEST, "");
    expect("http://127.0.0.1:%u/", &named, &hook, RD_ERR_INVALID_REQUEST, "no address that may");
    assert_int_equal(loopback_connections(server), before + 2);
}

static void test_all_addresses_private(void **state)
{
    (void)state;
    unsigned before = loopback_connections(server);
    char resolve[128];
    (void)snprintf(resolve, sizeof resolve, "pics.test:%u:127.0.0.1,[::1],10.0.0.1,169.254.169.254",
                   loopback_port(server));
    struct rd_fetch_hook hook = {.port = loopback_port(server), .resolve = resolve};
    expect("http://pics.test:%u/", &closed, &hook, RD_ERR_INVALID_REQUEST, "no address that may");
    expect("http://127.0.0.1:%u/", &opened, &plain, RD_OK,
           ""); /* accepted in order: the only one */
    assert_int_equal(loopback_connections(server), before + 1);
}

static void test_redirects_are_checked(void **state)
{
    (void)state;
    struct rd_fetch_hook hook = {.port = 0};
    static const struct {
        const char *url, *why;
    } cases[] = {
        {"http://127.0.0.1:%u/to?https://127.0.0.2/", "no address that may"},
        {"http://127.0.0.1:%u/to?https://10.0.0.1/", "no address that may"},
        {"http://127.0.0.1:%u/to?https://169.254.169.254/latest/", "no address that may"},
        {"http://127.0.0.1:%u/to?https://[::1]/", "no address that may"},
        {"http://127.0.0.1:%u/to?https://2130706434/", "no address that may"},
        {"http://127.0.0.1:%u/to?http://8.8.8.8/", "only https"},
        {"http://127.0.0.1:%u/to?https://8.8.8.8:22/", "only port"},
        {"http://127.0.0.1:%u/to?https://u:p@8.8.8.8/", "user name"},
        {"http://127.0.0.1:%u/to?file:///etc/passwd", "not a URL"},
        {"http://127.0.0.1:%u/to?gopher://127.0.0.1:1/x", "only https"},
        {"http://127.0.0.1:%u/to?//8.8.8.8/x", "only https"}, /* keeps http */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect(cases[i].url, &opened, &hook, RD_ERR_INVALID_REQUEST, cases[i].why);
    }
}

static void test_hops(void **state)
{
    (void)state;
    unsigned before = loopback_requests(server);
    expect("http://127.0.0.1:%u/hops/3", &opened, &plain, RD_OK, "");
    assert_int_equal(loopback_requests(server), before + 4);
    expect("http://127.0.0.1:%u/hops/4", &opened, &plain, RD_ERR_INVALID_REQUEST, "more than 3");
    assert_int_equal(loopback_requests(server), before + 8); /* the fifth was not sent */
}

/* ---- answers ---- */

static void test_bytes_arrive(void **state)
{
    (void)state;
    struct result result = fetch_with("http://127.0.0.1:%u/bytes/5", &opened, &plain);
    assert_int_equal(result.err, RD_OK);
    assert_string_equal(rd_buf_cstr(&result.out), "keepxxxxx"); /* appended */
    rd_buf_done(&result.out);
    result = fetch_with("http://127.0.0.1:%u/chunked/7", &opened, &plain);
    assert_int_equal(result.err, RD_OK);
    assert_string_equal(rd_buf_cstr(&result.out), "keepyyyyyyy");
    rd_buf_done(&result.out);
}

static void test_size_cap(void **state)
{
    (void)state;
    expect("http://127.0.0.1:%u/bytes/1000", &opened, &plain, RD_OK, "");
    expect("http://127.0.0.1:%u/bytes/1001", &opened, &plain, RD_ERR_TOO_LARGE, "larger");
    expect("http://127.0.0.1:%u/chunked/1000", &opened, &plain, RD_OK, "");
    expect("http://127.0.0.1:%u/chunked/1001", &opened, &plain, RD_ERR_TOO_LARGE, "larger");
    expect("http://127.0.0.1:%u/endless", &opened, &plain, RD_ERR_TOO_LARGE, "larger");
}

static void test_out_buffer_smaller_than_cap(void **state)
{
    (void)state;
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/bytes/600", loopback_port(server));
    struct rd_buf out;
    rd_buf_init(&out, 512);
    assert_int_equal(rd_fetch(url, &opened, &out, NULL), RD_ERR_TOO_LARGE);
    assert_int_equal(out.len, 0);
    rd_buf_done(&out);
}

static void test_broken_answers(void **state)
{
    (void)state;
    expect("http://127.0.0.1:%u/short/99", &opened, &plain, RD_ERR_INVALID_REQUEST, "ended early");
    expect("http://127.0.0.1:%u/headers", &opened, &plain, RD_ERR_INVALID_REQUEST, "header block");
    static const unsigned statuses[] = {201, 204, 206, 300, 304, 400, 401,
                                        403, 404, 410, 429, 500, 503};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        char url[64];
        char why[32];
        (void)snprintf(url, sizeof url, "http://127.0.0.1:%%u/status/%u", statuses[i]);
        (void)snprintf(why, sizeof why, "answered %u", statuses[i]);
        expect(url, &opened, &plain, RD_ERR_INVALID_REQUEST, why);
    }
    expect("http://127.0.0.1:%u/status/302", &opened, &plain, RD_ERR_INVALID_REQUEST,
           "answered 302");
    expect("http://127.0.0.1:1/", &opened, &plain, RD_ERR_INVALID_REQUEST, "cannot connect");
    expect("https://127.0.0.1:%u/", &opened, &plain, RD_ERR_INVALID_REQUEST, "TLS handshake");
    struct rd_fetch_options no_ca = opened;
    no_ca.ca_file = "/nonexistent/ca.pem";
    expect("https://127.0.0.1:%u/", &no_ca, &plain, RD_ERR_CONFIG, "CA file");
}

static void test_slow_servers(void **state)
{
    (void)state;
    struct rd_fetch_hook hook = {.total_ms = 150};
    uint64_t from = rd_clock_mono_ns();
    expect("http://127.0.0.1:%u/slow", &opened, &hook, RD_ERR_BACKEND_TIMEOUT, "in time");
    expect("http://127.0.0.1:%u/mute", &opened, &hook, RD_ERR_BACKEND_TIMEOUT, "in time");
    expect("http://127.0.0.1:%u/to?/slow", &opened, &hook, RD_ERR_BACKEND_TIMEOUT, "in time");
    uint64_t took_ms = (rd_clock_mono_ns() - from) / 1000000;
    assert_true(took_ms >= 400 && took_ms < 5000);
}

/* Nothing of the environment, and no more headers than these, goes out. */
static void test_what_is_sent(void **state)
{
    (void)state;
    assert_int_equal(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
    assert_int_equal(setenv("all_proxy", "http://127.0.0.1:1", 1), 0);
    expect("http://127.0.0.1:%u/to?/next", &opened, &plain, RD_OK, "");
    assert_int_equal(unsetenv("http_proxy"), 0);
    assert_int_equal(unsetenv("all_proxy"), 0);
    char wanted[256];
    (void)snprintf(wanted, sizeof wanted,
                   "GET /next HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: render/" RD_VERSION
                   "\r\nAccept: */*\r\n\r\n",
                   loopback_port(server));
    (void)pthread_mutex_lock(&last_lock);
    assert_string_equal(last_head, wanted);
    (void)pthread_mutex_unlock(&last_lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls_refused),
        cmocka_unit_test(test_urls_accepted),
        cmocka_unit_test(test_url_length),
        cmocka_unit_test(test_loopback_refused),
        cmocka_unit_test(test_name_resolving_to_loopback),
        cmocka_unit_test(test_all_addresses_private),
        cmocka_unit_test(test_redirects_are_checked),
        cmocka_unit_test(test_hops),
        cmocka_unit_test(test_bytes_arrive),
        cmocka_unit_test(test_size_cap),
        cmocka_unit_test(test_out_buffer_smaller_than_cap),
        cmocka_unit_test(test_broken_answers),
        cmocka_unit_test(test_slow_servers),
        cmocka_unit_test(test_what_is_sent),
    };
    return cmocka_run_group_tests_name("fetch/fetch", tests, setup, teardown);
}
