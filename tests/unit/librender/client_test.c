/* SPDX-License-Identifier: Apache-2.0
 *
 * The client object: what it takes, the names, and how failures of all kinds become a status and
 * words.
 */
#include <netinet/in.h>
#include <sys/socket.h>

#include "fixture.h"

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(render_status_name(RENDER_OK), "ok");
    assert_string_equal(render_status_name(RENDER_ERR_BUSY), "busy");
    assert_string_equal(render_status_name(RENDER_ERR_CANCELLED), "cancelled");
    assert_string_equal(render_status_name((render_status)11), "unknown");
    assert_string_equal(render_status_name((render_status)-1), "unknown");
    assert_true(strlen(render_version()) >= 5);
}

static void test_urls_and_keys(void **state)
{
    (void)state;
    static const char *const good[] = {"http://localhost", "https://render.example:8443/media/",
                                       "http://[::1]:8080", "http://127.0.0.1:1/"};
    static const char *const bad[] = {"",
                                      "localhost:8080",
                                      "ftp://host",
                                      "http://",
                                      "http:///x",
                                      "http://user:pass@host",
                                      "http://host?x",
                                      "http://host#x",
                                      "http://ho st",
                                      "http://host\r\nX: y",
                                      "file:///etc/passwd"};
    static const char *const bad_keys[] = {"", "with space", "line\nX-Evil: 1", "\xc3\xab",
                                           "tab\t"};
    char long_url[2100] = "http://";
    char long_key[258];
    memset(long_url + 7, 'a', 2042);
    memset(long_key, 'k', 257);
    long_key[257] = '\0';
    render_client *client = NULL;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(render_client_new(good[i], NULL, &client), RENDER_OK);
        render_client_free(client);
    }
    client = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(render_client_new(bad[i], NULL, &client), RENDER_ERR_USAGE);
    }
    for (size_t i = 0; i < sizeof bad_keys / sizeof *bad_keys; i++) {
        assert_int_equal(render_client_new(good[0], bad_keys[i], &client), RENDER_ERR_USAGE);
    }
    assert_int_equal(render_client_new(long_url, NULL, &client), RENDER_ERR_USAGE);
    assert_int_equal(render_client_new(good[0], long_key, &client), RENDER_ERR_USAGE);
    assert_int_equal(render_client_new(NULL, NULL, &client), RENDER_ERR_USAGE);
    assert_null(client);
    long_key[256] = '\0';
    assert_int_equal(render_client_new(good[0], long_key, &client), RENDER_OK);
    render_client_free(client);
    render_client_free(NULL);
    render_free(NULL);
}

static void test_every_status(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        render_status status;
        int retry_after;
        const char *words;
    } rows[] = {
        {"/case/status:401", RENDER_ERR_AUTH, -1, "send a valid API key"},
        {"/case/status:403", RENDER_ERR_AUTH, -1, "lacks the scope"},
        {"/case/status:404", RENDER_ERR_REFUSED, -1, "nothing is here"},
        {"/case/status:409", RENDER_ERR_REFUSED, -1, "status 409"},
        {"/case/status:413", RENDER_ERR_REFUSED, -1, "status 413"},
        {"/case/status:429", RENDER_ERR_BUSY, 7,
         "too many requests; wait for Retry-After\n"
         "  try again in 7 s\n  request id: " REQUEST_ID},
        {"/case/status:503", RENDER_ERR_BUSY, 7, "every slot for this model is taken"},
        {"/case/status:500", RENDER_ERR_SERVER, -1, "the log has the request id"},
        {"/case/status:504", RENDER_ERR_SERVER, -1, "did not answer in time"},
        {"/case/status:507", RENDER_ERR_SERVER, -1, "status 507"},
        {"/case/status:400", RENDER_ERR_REFUSED, -1,
         "the request is not valid; details lists what to change\n  steps: 1 to 150\n"
         "  seed: a whole number\n  request id: " REQUEST_ID},
        {"/case/html", RENDER_ERR_SERVER, -1,
         "HTTP status 502, not from a Render gateway: <html>Bad Gateway ?[31m\n  request id"},
        {"/case/redirect", RENDER_ERR_SERVER, -1,
         "sends this elsewhere (https://elsewhere.example/)"},
        {"/case/bad-error", RENDER_ERR_REFUSED, -1, "HTTP status 400, not from a Render gateway"},
        {"/case/text", RENDER_ERR_SERVER, -1, "answered text/plain instead of JSON"},
        {"/case/cut", RENDER_ERR_SERVER, -1, "the answer was cut off"},
        {"/case/garbage", RENDER_ERR_SERVER, -1, "does not answer in HTTP"},
        {"/case/nothing", RENDER_ERR_CONNECT, -1, "cannot reach the gateway"},
        {"/case/large", RENDER_ERR_SERVER, -1, "larger than this program takes"},
    };
    render_client *client = test_client(TEST_KEY);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *json = NULL;
        render_status status = render_call(client, "GET", rows[i].path, NULL, &json);
        if (status != rows[i].status) {
            fail_msg("%s: %s: %s", rows[i].path, render_status_name(status),
                     render_client_error(client));
        }
        assert_null(json);
        assert_int_equal(render_client_retry_after(client), rows[i].retry_after);
        assert_says(client, rows[i].words);
        assert_int_equal(render_call(client, "GET", "/models", NULL, &json), RENDER_OK);
        assert_string_equal(render_client_error(client), ""); /* the next call forgets it */
        assert_string_equal(render_client_request_id(client), REQUEST_ID);
        render_free(json);
    }
    render_client_free(client);
}

static void test_no_control_characters_from_a_server(void **state)
{
    (void)state;
    char *json = NULL;
    render_client *client = test_client(NULL);
    assert_int_equal(render_call(client, "GET", "/case/evil-error", NULL, &json),
                     RENDER_ERR_REFUSED);
    const unsigned char *text = (const unsigned char *)render_client_error(client);
    for (size_t i = 0; text[i] != '\0'; i++) {
        assert_true(text[i] >= 0x20 || text[i] == '\n');
        assert_int_not_equal(text[i], 0x7f);
        assert_false(text[i] == 0xc2 && text[i + 1] < 0xa0);
    }
    assert_says(client, "?[2J?1mred?");
    render_client_free(client);
}

static void test_nobody_listens(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound and not listening: refuses, and stays ours */
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    char url[64];
    char *json = NULL;
    render_client *client = NULL;
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    assert_int_equal(render_client_new(url, NULL, &client), RENDER_OK);
    assert_int_equal(render_call(client, "GET", "/models", NULL, &json), RENDER_ERR_CONNECT);
    assert_says(client, "cannot reach the gateway");
    assert_says(client, url);
    assert_string_equal(render_client_request_id(client), "");
    render_client_free(client);
    assert_int_equal(close(fd), 0);
    assert_int_equal(render_client_new("http://name.invalid", NULL, &client), RENDER_OK);
    assert_int_equal(render_call(client, "GET", "/models", NULL, &json), RENDER_ERR_CONNECT);
    render_client_free(client);
}

static void test_a_missing_ca_file(void **state)
{
    (void)state;
    char *json = NULL;
    char url[80];
    render_client *client = NULL;
    (void)snprintf(url, sizeof url, "https%s",
                   stub_url + 4); /* speaks no TLS: fails, whatever CA */
    assert_int_equal(render_client_new(url, NULL, &client), RENDER_OK);
    assert_int_equal(render_call(client, "GET", "/models", NULL, &json), RENDER_ERR_CONNECT);
    assert_int_equal(render_client_ca_file(client, "/nonexistent.pem"), RENDER_OK);
    assert_int_equal(render_call(client, "GET", "/models", NULL, &json), RENDER_ERR_IO);
    assert_says(client, "certificates cannot be read");
    assert_int_equal(render_client_ca_file(client, NULL), RENDER_OK);
    assert_int_equal(render_call(client, "GET", "/models", NULL, &json), RENDER_ERR_CONNECT);
    render_client_free(client);
}

static void test_what_is_sent(void **state)
{
    (void)state;
    char *json = NULL;
    char url[80];
    render_client *client = NULL;
    (void)snprintf(url, sizeof url, "%s/below///", stub_url);
    assert_int_equal(render_client_new(url, TEST_KEY, &client), RENDER_OK);
    assert_int_equal(render_call(client, "POST", "/echo", "{\"a\":1}", &json), RENDER_OK);
    json_t *last = json_loads(json, 0, NULL);
    assert_string_equal(test_text(last, "path"), "/below/echo");
    assert_string_equal(test_text(last, "method"), "POST");
    assert_string_equal(test_header(last, "Authorization"), "Bearer " TEST_KEY);
    assert_string_equal(test_header(last, "Content-Type"), "application/json");
    assert_string_equal(test_header(last, "Accept"), "application/json");
    assert_memory_equal(test_header(last, "User-Agent"), "librender/", 10);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(last, "json"), "a")), 1);
    json_decref(last);
    render_free(json);
    assert_int_equal(render_call(client, "DELETE", "/keys/key_0V8zT3kQ1mXw5bYc7nRd2s", NULL, &json),
                     RENDER_OK);
    assert_string_equal(json, "");
    render_free(json);
    static const char *const bad[][2] = {
        {"GET", "models"}, {"get", "/models"}, {"", "/models"}, {"GET\r\nX: y", "/"}, {"GET", ""}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(render_call(client, bad[i][0], bad[i][1], NULL, &json), RENDER_ERR_USAGE);
    }
    assert_int_equal(render_call(client, "GET", "/models\r\nX: y", NULL, &json), RENDER_ERR_USAGE);
    render_client_free(client);
}

struct progress {
    unsigned calls, give_up_at;
    uint64_t received;
};

static int on_progress(void *ctx, uint64_t received, uint64_t expected)
{
    struct progress *progress = ctx;
    progress->calls++;
    progress->received = received;
    (void)expected;
    return progress->give_up_at != 0 && progress->calls >= progress->give_up_at;
}

static void test_progress(void **state)
{
    (void)state;
    char *json = NULL;
    struct progress progress = {.calls = 0};
    render_client *client = test_client(NULL);
    render_client_on_progress(client, on_progress, &progress);
    assert_int_equal(render_call(client, "GET", "/models", NULL, &json), RENDER_OK);
    assert_true(progress.calls > 0);
    assert_int_equal(progress.received, strlen(json));
    render_free(json);
    json = NULL;
    progress = (struct progress){.give_up_at = 2};
    assert_int_equal(render_call(client, "GET", "/case/slow", NULL, &json), RENDER_ERR_CANCELLED);
    assert_null(json);
    assert_says(client, "given up");
    progress = (struct progress){.calls = 0};
    render_client_on_progress(client, NULL, NULL);
    assert_int_equal(render_call(client, "GET", "/models", NULL, &json), RENDER_OK);
    assert_int_equal(progress.calls, 0);
    render_free(json);
    render_client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_urls_and_keys),
        cmocka_unit_test(test_every_status),
        cmocka_unit_test(test_no_control_characters_from_a_server),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_a_missing_ca_file),
        cmocka_unit_test(test_what_is_sent),
        cmocka_unit_test(test_progress),
    };
    return cmocka_run_group_tests_name("librender/client", tests, stub_start, stub_stop);
}
