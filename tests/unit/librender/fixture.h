/* SPDX-License-Identifier: Apache-2.0
 *
 * What librender's tests share: the stub gateway as a child process, clients, small files. */
#ifndef RD_TEST_LIBRENDER_FIXTURE_H
#define RD_TEST_LIBRENDER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "render.h"

#define ASSET "a_6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
#define REQUEST_ID "req_0V8zT3kQ1mXw5bYc7nRd2s"
#define TEST_KEY "rk_test"

static char stub_url[64];
static pid_t stub_pid;
static int stub_stdin = -1;

/* STUB is the path of stub_gateway.py, PYTHON that of the interpreter: from meson.build. */
static inline int stub_start(void **state)
{
    (void)state;
    int in[2];
    int out[2];
    if (pipe(in) != 0 || pipe(out) != 0) {
        return -1;
    }
    stub_pid = fork();
    if (stub_pid == 0) {
        (void)dup2(in[0], 0);
        (void)dup2(out[1], 1);
        (void)close(in[0]);
        (void)close(in[1]);
        (void)close(out[0]);
        (void)close(out[1]);
        (void)unsetenv("LD_PRELOAD");
        (void)execl(PYTHON, "python3", STUB, (char *)NULL);
        _exit(127);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    stub_stdin = in[1];
    FILE *answer = fdopen(out[0], "r");
    int port = 0;
    char line[32] = "";
    if (answer != NULL && fgets(line, sizeof line, answer) != NULL) {
        port = (int)strtol(line, NULL, 10);
    }
    if (answer != NULL) {
        (void)fclose(answer);
    }
    (void)snprintf(stub_url, sizeof stub_url, "http://127.0.0.1:%d", port);
    (void)unsetenv("http_proxy");
    return port > 0 ? 0 : -1;
}

static inline int stub_stop(void **state)
{
    (void)state;
    (void)close(stub_stdin);
    return waitpid(stub_pid, NULL, 0) == stub_pid ? 0 : -1;
}

static inline render_client *test_client(const char *key)
{
    render_client *client = NULL;
    assert_int_equal(render_client_new(stub_url, key, &client), RENDER_OK);
    assert_string_equal(render_client_error(client), "");
    return client;
}

static inline render_generate_request test_request(const char *prompt)
{
    render_generate_request request = RENDER_GENERATE_REQUEST_INIT;
    request.model = "builtin/plasma";
    request.prompt = prompt;
    return request;
}

/* What the stub got last; free with json_decref. */
static inline json_t *test_last(void)
{
    char *text = NULL;
    render_client *client = test_client(NULL);
    assert_int_equal(render_call(client, "GET", "/last", NULL, &text), RENDER_OK);
    json_t *last = json_loads(text, 0, NULL);
    assert_non_null(last);
    render_free(text);
    render_client_free(client);
    return last;
}

static inline const char *test_text(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static inline const char *test_header(const json_t *last, const char *name)
{
    return test_text(json_object_get(last, "headers"), name);
}

/* Writes a file under /tmp; unlink(file) when done. */
static inline void test_file(char file[64], const void *bytes, size_t len)
{
    (void)snprintf(file, 64, "/tmp/render-test-XXXXXX");
    int fd = mkstemp(file);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    assert_int_equal(close(fd), 0);
}

static inline void assert_says(const render_client *client, const char *words)
{
    if (strstr(render_client_error(client), words) == NULL) {
        fail_msg("'%s' does not say '%s'", render_client_error(client), words);
    }
}

#endif
