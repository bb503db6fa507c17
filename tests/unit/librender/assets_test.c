/* SPDX-License-Identifier: Apache-2.0
 *
 * Uploads, fetches, attestations; and that the key stays with the gateway. */
#include "fixture.h"

static void test_upload(void **state)
{
    (void)state;
    enum { LEN = 300000 };
    char file[64];
    char *bytes = malloc(LEN);
    assert_non_null(bytes);
    memset(bytes, 'x', LEN);
    memcpy(bytes, "RIFF....WEBP", 12);
    test_file(file, bytes, LEN);
    char *url = NULL;
    render_client *client = test_client(TEST_KEY);
    assert_int_equal(render_upload(client, file, &url), RENDER_OK);
    assert_memory_equal(url, stub_url, strlen(stub_url));
    assert_non_null(strstr(url, "/a/a_0000000000000000000000"));
    render_free(url);
    json_t *last = test_last();
    assert_string_equal(test_text(last, "method"), "PUT");
    assert_string_equal(test_text(last, "path"), "/uploads/token");
    assert_string_equal(test_header(last, "Content-Type"), "image/webp");
    assert_int_equal(json_integer_value(json_object_get(last, "length")), LEN);
    json_decref(last);
    (void)unlink(file);

    url = NULL;
    assert_int_equal(render_upload(client, file, &url), RENDER_ERR_IO);
    assert_says(client, "cannot open");
    assert_int_equal(render_upload(client, "/tmp", &url), RENDER_ERR_USAGE);
    test_file(file, "\xff\xd8", 2);
    assert_int_equal(render_upload(client, file, &url), RENDER_ERR_USAGE);
    assert_says(client, "is not a PNG, JPEG or WebP file");
    (void)unlink(file);
    render_client_free(client);

    test_file(file, bytes, 100);
    client = test_client("lies"); /* the stub answers this key with nonsense */
    assert_int_equal(render_upload(client, file, &url), RENDER_ERR_SERVER);
    assert_says(client, "lacks upload_url");
    assert_null(url);
    render_client_free(client);
    (void)unlink(file);
    free(bytes);
}

static void test_fetch(void **state)
{
    (void)state;
    char url[400];
    char other[200];
    render_client *client = test_client(TEST_KEY);
    (void)snprintf(url, sizeof url, "%s/a/%s", stub_url, ASSET);
    const char *const names[] = {ASSET, "/a/" ASSET, url};
    for (size_t i = 0; i < 3; i++) {
        render_output output = RENDER_OUTPUT_INIT;
        assert_int_equal(render_fetch(client, names[i], &output), RENDER_OK);
        assert_int_equal(output.len, 3);
        assert_string_equal(output.content_type, "image/png");
        assert_string_equal(output.asset_url, url);
        render_output_done(&output);
        json_t *last = test_last();
        assert_string_equal(test_header(last, "Authorization"), "Bearer " TEST_KEY);
        json_decref(last);
    }
    /* The same server under another name is another host: it gets no key. */
    (void)snprintf(other, sizeof other, "http://localhost%s", strrchr(stub_url, ':'));
    (void)snprintf(url, sizeof url, "%s/a/%s", other, ASSET);
    render_output output = RENDER_OUTPUT_INIT;
    assert_int_equal(render_fetch(client, url, &output), RENDER_OK);
    render_output_done(&output);
    json_t *last = test_last();
    assert_null(test_header(last, "Authorization"));
    json_decref(last);
    /* Nor does one whose name only begins as ours. */
    (void)snprintf(other, sizeof other, "%s0.example/a/x", stub_url);
    assert_int_not_equal(render_fetch(client, other, &output), RENDER_OK);

    static const char *const bad[] = {"",          "a_",   "a_../../x", "file:///etc/passwd",
                                      "ftp://x/y", "x.png"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(render_fetch(client, bad[i], &output), RENDER_ERR_USAGE);
        assert_null(output.bytes);
    }
    assert_int_equal(render_fetch(client, "a_1234567890123456", &output), RENDER_ERR_REFUSED);
    assert_says(client, "nothing is here");
    render_client_free(client);
}

static void test_attestation(void **state)
{
    (void)state;
    char *text = NULL;
    render_client *client = test_client(NULL);
    /* Twice "not yet", then there. */
    assert_int_equal(render_attestation(client, ASSET, 20000, &text), RENDER_OK);
    assert_non_null(strstr(text, "payloadType"));
    render_free(text);
    text = NULL;
    assert_int_equal(render_attestation(client, "a_000000000000never", 30, &text),
                     RENDER_ERR_REFUSED);
    assert_int_equal(render_attestation(client, "a_000000000000none", 20000, &text),
                     RENDER_ERR_REFUSED);
    assert_int_equal(render_attestation(client, "none", 0, &text), RENDER_ERR_USAGE);
    assert_null(text);
    render_client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upload),
        cmocka_unit_test(test_fetch),
        cmocka_unit_test(test_attestation),
    };
    return cmocka_run_group_tests_name("librender/assets", tests, stub_start, stub_stop);
}
