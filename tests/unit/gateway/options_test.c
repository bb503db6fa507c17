/* SPDX-License-Identifier: Apache-2.0
 *
 * options.c: every command line as words in, and exit code or options out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/options.h"

enum { WORDS_MAX = 12, TEXT_MAX = 8192 };

struct outcome {
    int code;
    struct rd_gateway_options options;
    char out[TEXT_MAX], err[TEXT_MAX];
};

/* A descriptor replaced by a file for a while. */
struct diverted {
    int fd, saved, file;
};

static struct diverted divert(int fd)
{
    struct diverted diverted = {.fd = fd, .saved = dup(fd), .file = fileno(tmpfile())};
    assert_true(diverted.saved >= 0 && diverted.file >= 0);
    assert_true(dup2(diverted.file, fd) == fd);
    return diverted;
}

static void restore(struct diverted diverted, char text[TEXT_MAX])
{
    assert_true(dup2(diverted.saved, diverted.fd) == diverted.fd);
    (void)close(diverted.saved);
    ssize_t len = pread(diverted.file, text, TEXT_MAX - 1, 0);
    text[len < 0 ? 0 : len] = '\0';
}

/* `line` split at spaces; a word "''" is the empty word. */
static void parse(const char *line, struct outcome *ret)
{
    static char words[1024];
    char *argv[WORDS_MAX + 1] = {NULL};
    int argc = 0;
    char *rest = NULL;
    (void)snprintf(words, sizeof words, "render-gateway %s", line);
    for (char *word = strtok_r(words, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        assert_true(argc < WORDS_MAX);
        argv[argc++] = strcmp(word, "''") == 0 ? word + 2 : word;
    }
    memset(ret, 0, sizeof *ret);
    optind = 0; /* getopt begins anew */
    (void)fflush(stdout);
    struct diverted out = divert(STDOUT_FILENO);
    struct diverted err = divert(STDERR_FILENO);
    ret->code = rd_gateway_options_parse(argc, argv, &ret->options);
    (void)fflush(stdout);
    restore(out, ret->out);
    restore(err, ret->err);
}

static void good_lines(void **state)
{
    (void)state;
    static const struct {
        const char *line, *data, *host, *config;
        unsigned port;
        bool scrub;
    } cases[] = {
        {"--data d --listen 127.0.0.1:8080", "d", "127.0.0.1", NULL, 8080, false},
        {"--listen=[::1]:0 --data=/x/y", "/x/y", "::1", NULL, 0, false},
        {"--data d --listen localhost:65535 --config c.yaml", "d", "localhost", "c.yaml", 65535,
         false},
        {"scrub --data d", "d", "", NULL, 0, true},
        {"--data d scrub", "d", "", NULL, 0, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct outcome got;
        parse(cases[i].line, &got);
        if (got.code != -1) {
            fail_msg("'%s': %d, %s", cases[i].line, got.code, got.err);
        }
        assert_string_equal(got.options.data, cases[i].data);
        assert_string_equal(got.options.host, cases[i].host);
        assert_int_equal(got.options.port, cases[i].port);
        assert_int_equal(got.options.scrub, cases[i].scrub);
        if (cases[i].config == NULL) {
            assert_null(got.options.config);
        } else {
            assert_string_equal(got.options.config, cases[i].config);
        }
        assert_string_equal(got.out, "");
        assert_string_equal(got.err, "");
    }
}

static void wrong_lines_say_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"", "--data"},
        {"--data d", "--listen"},
        {"--listen 127.0.0.1:1", "--data"},
        {"--data", "--data"},
        {"--data d --listen", "--listen"},
        {"--data d --listen 127.0.0.1", "127.0.0.1"},
        {"--data d --listen 127.0.0.1:", "127.0.0.1:"},
        {"--data d --listen :8080", ":8080"},
        {"--data d --listen []:8080", "[]:8080"},
        {"--data d --listen ::1:8080", "::1:8080"},
        {"--data d --listen h:65536", "h:65536"},
        {"--data d --listen h:-1", "h:-1"},
        {"--data d --listen h:+1", "h:+1"},
        {"--data d --listen h:08", "h:08"},
        {"--data d --listen h:1x", "h:1x"},
        {"--data d --listen h:99999999999999999999", "h:99999"},
        {"--data d --listen ''", "HOST:PORT"},
        {"--data d --listen h:1 dance", "dance"},
        {"--data d --listen h:1 --dance", "--dance"},
        {"scrub dance --data d", "dance"},
        {"scrub", "--data"},
        {"-x", "-x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct outcome got;
        parse(cases[i].line, &got);
        if (got.code != 2 || strstr(got.err, cases[i].says) == NULL ||
            strstr(got.err, "--help") == NULL) {
            fail_msg("'%s': %d, '%s'", cases[i].line, got.code, got.err);
        }
        assert_string_equal(got.out, "");
    }
}

static void hosts_to_the_last_byte(void **state)
{
    (void)state;
    for (size_t len = 255; len <= 256; len++) {
        char line[512];
        struct outcome got;
        char host[300];
        memset(host, 'h', len);
        host[len] = '\0';
        (void)snprintf(line, sizeof line, "--data d --listen %s:1", host);
        parse(line, &got);
        assert_int_equal(got.code, len == 255 ? -1 : 2);
    }
}

static void help_and_version(void **state)
{
    (void)state;
    struct outcome got;
    parse("--help", &got);
    assert_int_equal(got.code, 0);
    static const char *const taught[] = {"usage:",        "--data DIR", "--listen HOST:PORT",
                                         "--config FILE", "scrub",      "SIGTERM",
                                         "SIGHUP",        "admin.key"};
    for (size_t i = 0; i < sizeof taught / sizeof taught[0]; i++) {
        assert_non_null(strstr(got.out, taught[i]));
    }
    assert_string_equal(got.err, "");
    parse("--version", &got);
    assert_int_equal(got.code, 0);
    assert_string_equal(got.out, "render-gateway " RD_VERSION "\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_lines),
        cmocka_unit_test(wrong_lines_say_what_is_wrong),
        cmocka_unit_test(hosts_to_the_last_byte),
        cmocka_unit_test(help_and_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
