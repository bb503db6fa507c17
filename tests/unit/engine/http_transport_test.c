/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP transport by itself, with a dialect made for it: exchanges in a row, polling, what is
 * refused and tried again, the last word after a cancel, slow steps on workers, keys, health. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../fetch/loopback.h"
#include "base/clock.h"
#include "base/limits.h"
#include "engine/http/internal.h"
#include "recorder.h"

enum { WAIT_MS = 20000, NS_PER_MS = 1000000, ANSWER_MAX = 5000 };

static struct loopback *server;
static char base_url[64];
static sem_t deleted;
static atomic_uint health_status; /* of GET /alive; 0: it hangs */
static char last_head[4096], last_body[256];
static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;

static const struct rd_format square = {"512", RD_MODALITY_IMAGE, 512, 512};
static const struct rd_generation generation = {.task = RD_TASK_T2I,
                                                .family = "fam",
                                                .model = "mod",
                                                .format = &square,
                                                .media = RD_MEDIA_PNG,
                                                .prompt = "",
                                                .negative_prompt = "",
                                                .count = 1};

/* ---- the server ---- */

static void answer(int fd, const char *status, const char *body)
{
    loopback_printf(fd, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s",
                    status, strlen(body), body);
}

static bool handle(void *ctx, int fd, const struct loopback_request *request)
{
    (void)ctx;
    char method[8] = "", path[64] = "";
    static atomic_uint polls;
    (void)sscanf(request->head, "%7s %63s", method, path);
    if (strcmp(path, "/alive") == 0 || strcmp(path, "/base/alive") == 0) {
        unsigned status = atomic_load(&health_status);
        if (status == 0) {
            loopback_wait_gone(fd);
            return false;
        }
        loopback_printf(fd, "HTTP/1.1 %u X\r\nContent-Length: 0\r\n\r\n", status);
        return true;
    }
    (void)pthread_mutex_lock(&last_lock);
    (void)snprintf(last_head, sizeof last_head, "%s", request->head);
    (void)snprintf(last_body, sizeof last_body, "%s", request->body);
    (void)pthread_mutex_unlock(&last_lock);
    if (strcmp(method, "DELETE") == 0) {
        (void)sem_post(&deleted);
        answer(fd, "204 Gone", "");
    } else if (strcmp(path, "/base/submit") == 0) {
        atomic_store(&polls, 0);
        answer(fd, "202 Accepted", "job");
    } else if (strcmp(path, "/base/poll") == 0) {
        unsigned poll = atomic_fetch_add(&polls, 1);
        answer(fd, poll == 1 ? "502 Bad" : "200 OK", poll == 3 ? "ready" : "wait");
    } else if (strcmp(path, "/base/forever") == 0) {
        answer(fd, "200 OK", "wait");
    } else if (strcmp(path, "/file") == 0) {
        answer(fd, "200 OK", "\x89PNG\r\n\x1a\nand pixels");
    } else if (strcmp(path, "/base/large") == 0) {
        char body[ANSWER_MAX + 2];
        memset(body, 'x', sizeof body - 1);
        body[sizeof body - 1] = '\0';
        answer(fd, "200 OK", body);
    } else if (strcmp(path, "/base/exact") == 0) {
        char body[ANSWER_MAX + 1];
        memset(body, 'x', sizeof body - 1);
        body[sizeof body - 1] = '\0';
        answer(fd, "200 OK", body);
    } else if (strcmp(path, "/base/teapot") == 0) {
        answer(fd, "422 No", "{\"error\":\"bad prompt\"}");
    } else {
        loopback_wait_gone(fd);
        return false;
    }
    return true;
}

/* ---- the dialect ---- */

/* What a run does is its prompt: "poll", or the path of its one request. */
struct script {
    unsigned step;
    char text[64];
    size_t text_len;
    char path[64];
    pthread_t data_thread;
    bool apart; /* request() and end() ran on other threads than data() */
    bool fail_end;
};

static struct {
    bool slow, abandons, reads_errors;
    atomic_uint forgotten;
} ways;

static rd_err script_begin(struct rd_http_run *run)
{
    struct script *script = run->state;
    memset(script, 0, sizeof *script);
    return RD_OK;
}

static rd_err script_request(struct rd_http_run *run, struct rd_http_request *request)
{
    struct script *script = run->state;
    const char *prompt = run->job->generation->prompt;
    script->text_len = 0;
    if (strcmp(prompt, "poll") != 0) {
        (void)snprintf(script->path, sizeof script->path, "/%s", prompt);
        request->path = script->path;
        request->answer_max = ANSWER_MAX;
        rd_buf_str(&run->body.text, "hello");
        return RD_OK;
    }
    if (script->step == 0) {
        request->path = "/submit";
        request->any_2xx = true;
        request->accept = "application/json";
        request->content_type = "text/special";
        request->headers[0] = "X-Own: 1";
        rd_buf_str(&run->body.text, "please");
        return RD_OK;
    }
    request->method = "GET";
    request->path = script->step == 1 ? "/poll" : "/file";
    request->at_origin = script->step == 2;
    return RD_OK;
}

static rd_err script_head(struct rd_http_run *run, const struct rd_http_answer *got)
{
    struct script *script = run->state;
    if (script->step == 2) {
        return run->job->sink.begin(run->job->sink.ctx, 0, RD_MEDIA_PNG, got->length);
    }
    return RD_OK;
}

static rd_err script_data(struct rd_http_run *run, const char *data, size_t len)
{
    struct script *script = run->state;
    script->data_thread = pthread_self();
    if (script->step == 2) {
        return run->job->sink.data(run->job->sink.ctx, 0, data, len);
    }
    size_t room = sizeof script->text - script->text_len;
    size_t take = len < room ? len : room;
    memcpy(script->text + script->text_len, data, take);
    script->text_len += take;
    return RD_OK;
}

static rd_err script_end(struct rd_http_run *run, struct rd_http_next *next)
{
    struct script *script = run->state;
    script->apart = !pthread_equal(script->data_thread, pthread_self());
    if (strcmp(run->job->generation->prompt, "poll") != 0) {
        return rd_http_fail(run, RD_ERR_BACKEND_FAILED, RD_HTTP_FINAL, "only %s",
                            script->apart ? "apart" : "together");
    }
    if (script->step == 0) {
        script->step = 1;
        *next = (struct rd_http_next){.again = true, .after_ms = 5};
    } else if (script->step == 1) {
        bool ready = script->text_len == 5 && memcmp(script->text, "ready", 5) == 0;
        script->step = ready ? 2 : 1;
        *next = (struct rd_http_next){.again = true, .after_ms = ready ? 0 : 5};
    } else {
        return run->job->sink.end(run->job->sink.ctx, 0);
    }
    return RD_OK;
}

static void script_refused(struct rd_http_run *run, struct rd_http_refusal *refusal)
{
    struct script *script = run->state;
    if (script->step == 1 && refusal->status == 502) {
        refusal->again = true;
        refusal->after_ms = 5;
    }
    if (ways.reads_errors && refusal->status == 422) {
        (void)rd_why_set(&refusal->why, RD_OK, "it said %.*s", (int)refusal->len, refusal->body);
        refusal->err = RD_ERR_INVALID_REQUEST;
    }
}

static bool script_abandon(struct rd_http_run *run, struct rd_http_request *request)
{
    (void)run;
    request->method = "DELETE";
    request->path = "/job";
    return ways.abandons;
}

static bool script_slow(const struct rd_http_run *run, bool end)
{
    (void)run;
    (void)end;
    return ways.slow;
}

static void script_forget(void *state)
{
    (void)state;
    atomic_fetch_add(&ways.forgotten, 1);
}

static void script_capabilities(void *shared, const char *model, struct rd_engine_capabilities *ret)
{
    (void)shared;
    (void)model;
    *ret = (struct rd_engine_capabilities){.tasks = 1};
}

static const struct rd_http_dialect dialect = {
    .type = "test",
    .base = true,
    .health = "/alive",
    .run_size = sizeof(struct script),
    .capabilities = script_capabilities,
    .begin = script_begin,
    .request = script_request,
    .head = script_head,
    .data = script_data,
    .end = script_end,
    .refused = script_refused,
    .abandon = script_abandon,
    .forget = script_forget,
    .slow = script_slow,
};

static rd_err script_open(const struct rd_engine_config *config, struct rd_engine **ret,
                          struct rd_why *why)
{
    return rd_http_open(&dialect, config, ret, why);
}

static const struct rd_engine_ops ops = RD_HTTP_ENGINE_OPS("test", script_open);

/* ---- tools ---- */

static struct rd_engine *open_with(struct rd_engine_config config)
{
    struct rd_engine *engine = NULL;
    struct rd_why why = {""};
    config.name = "test";
    config.type = "test";
    config.slots = 4;
    config.url = config.url != NULL ? config.url : base_url;
    if (ops.open(&config, &engine, &why) != RD_OK) {
        fail_msg("open: %s", why.text);
    }
    return engine;
}

static void start(struct rd_engine *engine, const char *prompt, struct recorder *recorder)
{
    struct rd_generation asked = generation;
    asked.prompt = prompt;
    (void)pthread_mutex_lock(&last_lock);
    last_head[0] = '\0';
    (void)pthread_mutex_unlock(&last_lock);
    recorder_init(recorder);
    assert_int_equal(recorder_start(recorder, &ops, engine, &asked, 1), RD_OK);
}

static void finish(struct recorder *recorder)
{
    assert_true(recorder_wait(recorder, WAIT_MS));
    assert_string_equal(recorder->violation, "");
}

static void wait_health(struct rd_engine *engine, bool ready, const char *why)
{
    struct rd_engine_health health;
    uint64_t until = rd_clock_mono_ns() + (uint64_t)WAIT_MS * NS_PER_MS;
    do {
        (void)usleep(1000);
        ops.health(engine, &health);
        assert_true(rd_clock_mono_ns() < until);
    } while (health.ready != ready || strstr(health.why, why) == NULL);
}

static bool wait_deleted(unsigned ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    return sem_timedwait(&deleted, &until) == 0;
}

static bool last_head_has(const char *text)
{
    (void)pthread_mutex_lock(&last_lock);
    bool has = strstr(last_head, text) != NULL;
    (void)pthread_mutex_unlock(&last_lock);
    return has;
}

/* ---- tests ---- */

static void test_polling(void **state)
{
    (void)state;
    for (unsigned slow = 0; slow < 2; slow++) {
        ways.slow = slow == 1;
        struct rd_engine *engine = open_with((struct rd_engine_config){.url = NULL});
        struct recorder recorder;
        unsigned before = loopback_serving(server);
        wait_health(engine, true, "");
        start(engine, "poll", &recorder);
        finish(&recorder);
        assert_int_equal(recorder.err, RD_OK);
        assert_int_equal(recorder.size[0], 18);
        assert_int_equal(recorder.size_hint[0], 18);
        assert_int_equal(recorder.report.source, RD_DEVICE_TIME_MEASURED);
        assert_true(recorder.report.device_ns >= 4 * 5 * NS_PER_MS); /* four pauses */
        assert_true(last_head_has("GET /file HTTP/1.1"));
        assert_false(last_head_has("Content-Type"));
        assert_int_equal(loopback_serving(server), before + 2); /* one of them the prober's */
        ops.close(engine);
        recorder_done(&recorder);
    }
    ways.slow = false;
}

static void test_request_lines(void **state)
{
    (void)state;
    struct rd_engine *engine = open_with((struct rd_engine_config){.url = NULL});
    struct recorder recorder;
    start(engine, "hang", &recorder);
    uint64_t until = rd_clock_mono_ns() + (uint64_t)WAIT_MS * NS_PER_MS;
    while (!last_head_has("POST /base/hang") && rd_clock_mono_ns() < until) {
        (void)usleep(1000);
    }
    assert_true(last_head_has("Content-Type: application/json\r\n"));
    assert_true(last_head_has("Accept: image/png\r\n"));
    assert_true(last_head_has("X-Request-Id: "));
    assert_false(last_head_has("Expect"));
    assert_false(last_head_has("Authorization"));
    recorder_cancel(&recorder);
    finish(&recorder);
    assert_int_equal(recorder.err, RD_ERR_CANCELLED);
    ops.close(engine);
    recorder_done(&recorder);
}

static void test_answer_max(void **state)
{
    (void)state;
    struct rd_engine *engine = open_with((struct rd_engine_config){.url = NULL});
    struct recorder recorder;
    start(engine, "exact", &recorder);
    finish(&recorder);
    assert_string_equal(recorder.why.text, "only together");
    assert_true(recorder.report.final);
    recorder_done(&recorder);
    start(engine, "large", &recorder);
    finish(&recorder);
    assert_string_equal(recorder.why.text, "the engine's answer is too large");
    recorder_done(&recorder);
    ops.close(engine);
}

static void test_slow_steps_are_apart(void **state)
{
    (void)state;
    ways.slow = true;
    struct rd_engine *engine = open_with((struct rd_engine_config){.url = NULL});
    struct recorder recorders[4];
    for (unsigned i = 0; i < 4; i++) {
        start(engine, "exact", &recorders[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        finish(&recorders[i]);
        assert_string_equal(recorders[i].why.text, "only apart");
        recorder_done(&recorders[i]);
    }
    for (unsigned i = 0; i < 4; i++) { /* cancelled at any moment, also while away */
        start(engine, "hang", &recorders[i]);
        recorder_cancel(&recorders[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        finish(&recorders[i]);
        assert_int_equal(recorders[i].err, RD_ERR_CANCELLED);
        recorder_done(&recorders[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        start(engine, "hang", &recorders[i]);
    }
    ops.close(engine);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(recorders[i].err, RD_ERR_CANCELLED);
        recorder_done(&recorders[i]);
    }
    ways.slow = false;
}

/* done() does not wait for it; it is sent when the run was reached, and when the engine closes. */
static void test_the_last_word(void **state)
{
    (void)state;
    ways.abandons = true;
    struct rd_engine *engine = open_with((struct rd_engine_config){.url = NULL});
    struct recorder recorder;
    struct recorder second;
    start(engine, "hang", &recorder);
    uint64_t until = rd_clock_mono_ns() + (uint64_t)WAIT_MS * NS_PER_MS;
    while (!last_head_has("POST /base/hang") && rd_clock_mono_ns() < until) {
        (void)usleep(1000);
    }
    recorder_cancel(&recorder);
    finish(&recorder);
    assert_true(wait_deleted(10000));
    assert_true(last_head_has("DELETE /base/job HTTP/1.1"));
    assert_true(last_head_has("X-Request-Id: req_000000000000conform"));
    recorder_done(&recorder);

    start(engine, "exact", &second); /* a failure of ours is one, too */
    finish(&second);
    assert_true(wait_deleted(10000));
    recorder_done(&second);

    start(engine, "hang", &recorder);
    (void)usleep(20000);
    ops.close(engine);
    assert_int_equal(recorder.err, RD_ERR_CANCELLED);
    recorder_done(&recorder);
    ways.abandons = false;
    while (sem_trywait(&deleted) == 0) {
    }
}

static void test_refusals_are_read(void **state)
{
    (void)state;
    struct rd_engine *engine = open_with((struct rd_engine_config){.url = NULL});
    struct recorder recorder;
    start(engine, "teapot", &recorder);
    finish(&recorder);
    assert_int_equal(recorder.err, RD_ERR_BACKEND_FAILED);
    assert_true(recorder.report.final && recorder.report.faultless);
    recorder_done(&recorder);
    ways.reads_errors = true;
    start(engine, "teapot", &recorder);
    finish(&recorder);
    assert_int_equal(recorder.err, RD_ERR_INVALID_REQUEST);
    recorder_done(&recorder);
    ways.reads_errors = false;
    ops.close(engine);
}

/* Out of rotation within 2 s and back within 2 s, whatever way it is not ready. */
static void test_health(void **state)
{
    (void)state;
    static const struct {
        const char *health; /* NULL: the dialect's own, behind the URL */
        unsigned status;
        const char *why;
    } cases[] = {{NULL, 503, "/base/alive: answered 503, not 200"},
                 {"/alive", 0, "/alive: no answer in time"}};
    for (unsigned i = 0; i < 2; i++) {
        struct rd_engine *engine = open_with((struct rd_engine_config){.health = cases[i].health});
        atomic_store(&health_status, 200);
        wait_health(engine, true, "");
        atomic_store(&health_status, cases[i].status);
        uint64_t from = rd_clock_mono_ns();
        wait_health(engine, false, cases[i].why);
        assert_true(rd_clock_mono_ns() - from < (uint64_t)2000 * NS_PER_MS);
        atomic_store(&health_status, 200);
        from = rd_clock_mono_ns();
        wait_health(engine, true, "");
        assert_true(rd_clock_mono_ns() - from < (uint64_t)2000 * NS_PER_MS);
        ops.close(engine);
    }
}

/* Neither a password nor a query of the URL is shown. */
static void test_urls_are_shown_bare(void **state)
{
    (void)state;
    static const char *const urls[] = {"http://me:passw0rd@127.0.0.1:1/a@b",
                                       "http://127.0.0.1:1/a@b"};
    for (size_t i = 0; i < 2; i++) {
        struct rd_engine *engine = open_with((struct rd_engine_config){.url = urls[i]});
        struct rd_engine_health health;
        struct recorder recorder;
        ops.health(engine, &health);
        assert_null(strstr(health.why, "passw0rd"));
        wait_health(engine, false, "GET http://127.0.0.1:1/a@b/alive: cannot connect");
        start(engine, "poll", &recorder);
        finish(&recorder);
        ops.health(engine, &health);
        assert_null(strstr(health.why, "passw0rd"));
        assert_null(strstr(recorder.why.text, "passw0rd"));
        ops.close(engine);
        recorder_done(&recorder);
    }
}

/* A run that cannot connect says it at once; no file descriptor is left by any of it. */
static void test_connections_leave_nothing(void **state)
{
    (void)state;
    struct recorder recorder;
    struct rd_engine_health health;
    int before = dup(0);
    (void)close(before);
    for (unsigned i = 0; i < 3; i++) {
        struct rd_engine *engine =
            open_with((struct rd_engine_config){.url = "http://127.0.0.1:1", .health = NULL});
        start(engine, "poll", &recorder);
        finish(&recorder);
        ops.health(engine, &health);
        assert_false(health.ready);
        assert_int_equal(recorder.report.source, RD_DEVICE_TIME_UNKNOWN);
        recorder_done(&recorder);
        ops.close(engine);
    }
    const struct rd_engine_config plain = {
        .name = "plain", .type = "http", .url = base_url, .slots = 1};
    for (unsigned i = 0; i < 3; i++) { /* a TCP connection is the probe */
        struct rd_engine *engine = NULL;
        assert_int_equal(rd_engine_http_ops.open(&plain, &engine, NULL), RD_OK);
        do {
            rd_engine_http_ops.health(engine, &health);
        } while (!health.ready);
        rd_engine_http_ops.close(engine);
    }
    int after = dup(0);
    (void)close(after);
    assert_int_equal(after, before);
}

static void write_key(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
}

static void test_key(void **state)
{
    (void)state;
    char path[] = "/tmp/http-transport-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    write_key(path, "secret-key.1\nmore\n");
    ways.abandons = false;
    struct rd_engine *engine = open_with((struct rd_engine_config){.key_file = path});
    struct recorder recorder;
    start(engine, "exact", &recorder);
    finish(&recorder);
    assert_true(last_head_has("Authorization: Bearer secret-key.1\r\n"));
    assert_null(strstr(recorder.why.text, "secret"));
    recorder_done(&recorder);
    ops.close(engine);

    static const char *const bad[] = {"", "\nkey", "two words\n", "tab\t\n", "\x80\n"};
    for (size_t i = 0; i <= sizeof bad / sizeof bad[0] + 1; i++) {
        struct rd_why why = {""};
        char text[RD_HTTP_KEY_MAX + 3] = "";
        size_t wild = sizeof bad / sizeof bad[0];
        memset(text, 'k', RD_HTTP_KEY_MAX + (i == wild ? 1 : 0));
        write_key(path, i < wild ? bad[i] : text);
        const struct rd_engine_config config = {
            .name = "b", .type = "test", .url = base_url, .slots = 1, .key_file = path};
        engine = NULL;
        rd_err err = ops.open(&config, &engine, &why);
        assert_int_equal(err, i == wild + 1 ? RD_OK : RD_ERR_CONFIG); /* the longest is taken */
        if (err == RD_OK) {
            ops.close(engine);
        } else {
            assert_non_null(strstr(why.text, "key_file /tmp/http-transport-"));
        }
    }
    (void)unlink(path);
}

static void test_config_refused(void **state)
{
    (void)state;
    static const struct {
        struct rd_engine_config config;
        const char *why;
    } cases[] = {
        {{.name = "b", .url = "http://x/", .slots = 1, .key_file = "/nowhere/key"},
         "cannot open key_file /nowhere/key"},
        {{.name = "b", .url = "http://x/", .slots = 1, .ca_file = "/nowhere/ca"},
         "cannot read ca_file /nowhere/ca"},
        {{.name = "b", .url = "http://x/", .slots = 1, .health = "alive"}, "begins with '/'"},
        {{.name = "b", .url = "http://x/?q", .slots = 1, .health = NULL}, "before any '?'"},
        {{.name = "b", .url = "http://x/#f", .slots = 1, .health = NULL}, "before any '?'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rd_engine *engine = NULL;
        struct rd_why why = {""};
        assert_int_equal(ops.open(&cases[i].config, &engine, &why), RD_ERR_CONFIG);
        if (strstr(why.text, cases[i].why) == NULL) {
            fail_msg("%s: %s", cases[i].why, why.text);
        }
        assert_null(engine);
    }
    atomic_store(&ways.forgotten, 0);
    struct rd_engine *engine = open_with((struct rd_engine_config){.url = NULL});
    struct recorder recorder;
    start(engine, "exact", &recorder);
    finish(&recorder);
    recorder_done(&recorder);
    ops.close(engine);
    assert_int_equal(atomic_load(&ways.forgotten), 1); /* the state's own memory is freed */
}

static int setup(void **state)
{
    (void)state;
    atomic_store(&health_status, 200);
    assert_int_equal(sem_init(&deleted, 0, 0), 0);
    server = loopback_start(handle, NULL);
    (void)snprintf(base_url, sizeof base_url, "http://127.0.0.1:%u/base/", loopback_port(server));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loopback_stop(server);
    (void)sem_destroy(&deleted);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_polling),
        cmocka_unit_test(test_request_lines),
        cmocka_unit_test(test_answer_max),
        cmocka_unit_test(test_slow_steps_are_apart),
        cmocka_unit_test(test_the_last_word),
        cmocka_unit_test(test_refusals_are_read),
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_urls_are_shown_bare),
        cmocka_unit_test(test_connections_leave_nothing),
        cmocka_unit_test(test_key),
        cmocka_unit_test(test_config_refused),
    };
    return cmocka_run_group_tests_name("engine/http_transport", tests, setup, teardown);
}
