/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs against the stub gateway: what a submission sends, what comes back for each state, and
 * watching over connections that break. */
#include "fixture.h"

static void test_submit(void **state)
{
    (void)state;
    char *json = NULL;
    render_client *client = test_client(TEST_KEY);
    render_generate_request request = test_request("a red circle");
    render_submit_options options = RENDER_SUBMIT_OPTIONS_INIT;
    options.priority = "low";
    options.webhook = "https://hooks.example/x";
    options.idempotency_key = "j_0123456789mine";
    options.ttl_s = 60;
    options.count = 2;
    request.format = "512";
    request.seed = 7;
    request.content_type = "image/webp";
    request.fields_json = "{\"steps\":9,\"task\":\"no\"}";
    assert_int_equal(render_job_submit(client, &request, &options, &json), RENDER_OK);
    assert_non_null(strstr(json, "\"id\": \"j_0123456789mine\""));
    render_free(json);
    json_t *last = test_last();
    assert_string_equal(test_text(last, "method"), "POST");
    assert_string_equal(test_text(last, "path"), "/queue");
    assert_string_equal(test_header(last, "Accept"), "image/webp");
    json_t *wanted = json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:i, s:i}",
                               "steps", 9, "task", "t2i", "modality", "image", "family", "builtin",
                               "model", "plasma", "format", "512", "priority", "low", "webhook",
                               "https://hooks.example/x", "idempotency_key", "j_0123456789mine",
                               "ttl", 60, "prompt", "a red circle", "seed", 7, "count", 2);
    assert_true(json_equal(json_object_get(last, "json"), wanted));
    json_decref(wanted);
    json_decref(last);
    render_client_free(client);
}

static void test_submit_as_it_is(void **state)
{
    (void)state;
    char *json = NULL;
    render_client *client = test_client(TEST_KEY);
    render_generate_request request = test_request("waves");
    request.video = 1;
    assert_int_equal(render_job_submit(client, &request, NULL, &json), RENDER_OK);
    render_free(json);
    json_t *last = test_last();
    json_t *wanted = json_pack("{s:s, s:s, s:s, s:s, s:s}", "modality", "video", "family",
                               "builtin", "model", "plasma", "task", "t2v", "prompt", "waves");
    assert_true(json_equal(json_object_get(last, "json"), wanted));
    assert_string_equal(test_header(last, "Accept"), "application/json");
    json_decref(wanted);
    json_decref(last);
    request = test_request("case:status:429");
    json = NULL;
    assert_int_equal(render_job_submit(client, &request, NULL, &json), RENDER_ERR_BUSY);
    assert_int_equal(render_client_retry_after(client), 7);
    assert_null(json);
    render_client_free(client);
}

static void test_wrong_arguments(void **state)
{
    (void)state;
    static const render_submit_options wrong[] = {
        {NULL, NULL, "", 0, 0},
        {NULL, NULL, "01234567890123456789012345678901234567890123456789012345678901234", 0, 0},
        {NULL, NULL, NULL, 59, 0},
        {NULL, NULL, NULL, 86401, 0},
        {NULL, NULL, NULL, 0, 5},
        {"\xff", NULL, NULL, 0, 0},
        {NULL, "\xff", NULL, 0, 0},
    };
    static const char *const ids[] = {
        NULL, "", "j_", "a_0123456789ab", "j_0123456789a/", "j_012345678901?x"};
    char *json = NULL;
    render_client *client = test_client(TEST_KEY);
    render_generate_request request = test_request("p");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(render_job_submit(client, &request, &wrong[i], &json), RENDER_ERR_USAGE);
        assert_string_not_equal(render_client_error(client), "");
    }
    request.fields_json = "[]";
    assert_int_equal(render_job_submit(client, &request, NULL, &json), RENDER_ERR_USAGE);
    request.fields_json = NULL;
    request.model = "plasma";
    assert_int_equal(render_job_submit(client, &request, NULL, &json), RENDER_ERR_USAGE);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        assert_int_equal(render_job_get(client, ids[i], &json), RENDER_ERR_USAGE);
        assert_int_equal(render_job_cancel(client, ids[i], &json), RENDER_ERR_USAGE);
        assert_int_equal(render_job_watch(client, ids[i], 0, NULL, NULL), RENDER_ERR_USAGE);
    }
    assert_int_equal(render_job_list(client, NULL, NULL, 1001, &json), RENDER_ERR_USAGE);
    assert_null(json);
    render_client_free(client);
}

static void test_get_and_cancel(void **state)
{
    (void)state;
    char *json = NULL;
    render_client *client = test_client(TEST_KEY);
    assert_int_equal(render_job_get(client, "j_0123456789running", &json), RENDER_OK);
    assert_non_null(strstr(json, "\"status\": \"running\""));
    render_free(json);
    assert_int_equal(render_job_get(client, "j_0123456789complete", &json), RENDER_OK); /* a 303 */
    assert_non_null(strstr(json, "\"status\": \"complete\""));
    render_free(json);
    assert_int_equal(render_job_cancel(client, "j_0123456789queued", &json), RENDER_OK);
    assert_non_null(strstr(json, "\"status\": \"cancelled\""));
    render_free(json);
    json = NULL;
    assert_int_equal(render_job_cancel(client, "j_0123456789complete", &json), RENDER_ERR_REFUSED);
    assert_int_equal(render_job_get(client, "j_0123456789unknown", &json), RENDER_ERR_REFUSED);
    assert_says(client, "nothing is here");
    assert_null(json);
    render_client_free(client);
}

static void test_list(void **state)
{
    (void)state;
    char *json = NULL;
    render_client *client = test_client(TEST_KEY);
    assert_int_equal(render_job_list(client, NULL, NULL, 0, &json), RENDER_OK);
    assert_non_null(strstr(json, "\"next\": \"j_0000000001running\""));
    render_free(json);
    assert_int_equal(render_job_list(client, "error", NULL, 1000, &json), RENDER_OK);
    assert_non_null(strstr(json, "\"next\": null"));
    render_free(json);
    json_t *last = test_last();
    assert_string_equal(test_text(last, "path"), "/jobs?status=error&limit=1000");
    json_decref(last);
    assert_int_equal(render_job_list(client, "a&b", "j_0000000001running", 0, &json), RENDER_OK);
    render_free(json);
    last = test_last();
    assert_string_equal(test_text(last, "path"), "/jobs?status=a%26b&after=j_0000000001running");
    json_decref(last);
    render_client_free(client);
}

struct heard {
    char text[512];
    size_t len;
    unsigned count, stop_at;
};

static int hear(void *ctx, const render_job_event *event)
{
    struct heard *heard = ctx;
    int put = snprintf(heard->text + heard->len, sizeof heard->text - heard->len, "%s#%llu ",
                       event->name, (unsigned long long)event->id);
    heard->len += (size_t)put;
    return ++heard->count == heard->stop_at;
}

static void test_watch(void **state)
{
    (void)state;
    struct heard heard = {.text = ""};
    render_client *client = test_client(TEST_KEY);
    /* The stub breaks the stream twice, and tells the last event of each again. */
    assert_int_equal(render_job_watch(client, "j_0123456789running", 0, hear, &heard), RENDER_OK);
    assert_string_equal(heard.text, "position#1 started#2 progress#3 preview#4 complete#5 ");
    assert_string_equal(render_client_error(client), "");
    json_t *last = test_last();
    assert_string_equal(test_header(last, "Last-Event-ID"), "3");
    assert_string_equal(test_header(last, "Accept"), "text/event-stream");
    json_decref(last);
    heard = (struct heard){.text = ""};
    assert_int_equal(render_job_watch(client, "j_0123456789error", 4, hear, &heard), RENDER_OK);
    assert_string_equal(heard.text, "error#5 ");
    heard = (struct heard){.text = ""};
    assert_int_equal(render_job_watch(client, "j_0123456789busy", 4, hear, &heard), RENDER_OK);
    assert_string_equal(heard.text, "complete#5 ");
    render_client_free(client);
}

static int give_up(void *ctx, uint64_t received, uint64_t expected)
{
    unsigned *left = ctx;
    (void)received;
    (void)expected;
    return (*left)-- == 0;
}

static void test_watch_that_fails(void **state)
{
    (void)state;
    struct heard heard = {.stop_at = 2};
    unsigned left = 3;
    render_client *client = test_client(TEST_KEY);
    assert_int_equal(render_job_watch(client, "j_0123456789running", 0, hear, &heard),
                     RENDER_ERR_CANCELLED);
    assert_int_equal(heard.count, 2);
    heard = (struct heard){.stop_at = 0};
    assert_int_equal(render_job_watch(client, "j_0123456789unknown", 0, hear, &heard),
                     RENDER_ERR_REFUSED);
    assert_says(client, "nothing is here");
    assert_int_equal(render_job_watch(client, "j_0123456789html", 0, hear, &heard),
                     RENDER_ERR_SERVER);
    assert_says(client, "is no stream of events");
    assert_int_equal(render_job_watch(client, "j_0123456789flood", 0, hear, &heard),
                     RENDER_ERR_SERVER);
    assert_says(client, "is no stream of events");
    render_client_on_progress(client, give_up, &left); /* while it waits between connections */
    assert_int_equal(render_job_watch(client, "j_0123456789silent", 0, hear, &heard),
                     RENDER_ERR_CANCELLED);
    assert_int_equal(heard.count, 0);
    render_client_free(client);
    assert_int_equal(render_client_new("http://127.0.0.1:1", NULL, &client), RENDER_OK);
    assert_int_equal(render_job_watch(client, "j_0123456789running", 0, hear, &heard),
                     RENDER_ERR_CONNECT); /* at once */
    render_client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_submit),
        cmocka_unit_test(test_submit_as_it_is),
        cmocka_unit_test(test_wrong_arguments),
        cmocka_unit_test(test_get_and_cancel),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_watch_that_fails),
    };
    return cmocka_run_group_tests(tests, stub_start, stub_stop);
}
