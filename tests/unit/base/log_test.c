/* SPDX-License-Identifier: Apache-2.0
 *
 * The log, through a pipe in the place of stderr: the form of both formats, levels, that no value
 * can forge a line or a field, and that lines of several threads do not mix. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

enum { CAPTURE_MAX = 1 << 17 };

static char captured[CAPTURE_MAX];
static int real_stderr;
static FILE *file;

static void begin_capture(void)
{
    file = tmpfile();
    assert_non_null(file);
    real_stderr = dup(STDERR_FILENO);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
}

static size_t end_capture(void)
{
    assert_true(dup2(real_stderr, STDERR_FILENO) >= 0);
    (void)close(real_stderr);
    ssize_t len = pread(fileno(file), captured, sizeof captured - 1, 0);
    assert_true(len >= 0);
    captured[len] = '\0';
    (void)fclose(file);
    return (size_t)len;
}

static size_t count_of(const char *text, char c)
{
    size_t count = 0;
    for (; *text != '\0'; text++) {
        count += *text == c;
    }
    return count;
}

/* What follows the time stamp, whose form is checked here too. */
static const char *after_time(const char *line, bool json)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";
    const char *at = line;
    if (json) {
        assert_memory_equal(line, "{\"time\":\"", 9);
        at += 9;
    }
    for (size_t i = 0; i < sizeof form - 1; i++) {
        assert_true(form[i] == 'd' ? at[i] >= '0' && at[i] <= '9' : at[i] == form[i]);
    }
    return at + sizeof form - 1;
}

static void json_lines(void **state)
{
    (void)state;
    rd_log_configure(RD_LOG_DEBUG, RD_LOG_JSON);
    begin_capture();
    rd_log(RD_LOG_WARN, "an event",
           (struct rd_log_field[]){RD_LOG_STR("text", "a\"b"), RD_LOG_STR("absent", NULL),
                                   RD_LOG_INT("n", -5), RD_LOG_NUM("x", 0.25), RD_LOG_END});
    (void)end_capture();
    assert_string_equal(after_time(captured, true),
                        "\",\"level\":\"warn\",\"event\":\"an event\",\"text\":\"a\\\"b\",\"n\":-5,"
                        "\"x\":0.25}\n");
}

static void text_lines(void **state)
{
    (void)state;
    rd_log_configure(RD_LOG_DEBUG, RD_LOG_TEXT);
    begin_capture();
    rd_log(RD_LOG_INFO, "an event",
           (struct rd_log_field[]){RD_LOG_STR("text", "a b"), RD_LOG_INT("n", 7), RD_LOG_END});
    rd_log(RD_LOG_ERROR, "bare", NULL);
    (void)end_capture();
    const char *second = strchr(captured, '\n') + 1;
    assert_memory_equal(after_time(captured, false), " info  an event text=\"a b\" n=7\n", 31);
    assert_string_equal(after_time(second, false), " error bare\n");
}

static void levels_are_respected(void **state)
{
    (void)state;
    for (int level = RD_LOG_DEBUG; level <= RD_LOG_OFF; level++) {
        rd_log_configure((enum rd_log_level)level, RD_LOG_TEXT);
        begin_capture();
        for (int line = RD_LOG_DEBUG; line <= RD_LOG_OFF + 1; line++) {
            rd_log((enum rd_log_level)line, "x", NULL);
            if (line <= RD_LOG_OFF) {
                assert_int_equal(rd_log_enabled((enum rd_log_level)line), line >= level);
            }
        }
        (void)end_capture();
        assert_int_equal(count_of(captured, '\n'), RD_LOG_OFF - level);
    }
}

/* Whatever a client sends as a value stays one line and inside its quotes. */
static void no_value_forges_a_line_or_a_field(void **state)
{
    (void)state;
    static const char hostile[] = "x\n{\"level\":\"info\"}\r\n\" admin=\"1\x1b[2J\x7f\xff\0";
    for (int format = RD_LOG_JSON; format <= RD_LOG_TEXT; format++) {
        rd_log_configure(RD_LOG_INFO, (enum rd_log_format)format);
        begin_capture();
        rd_log(RD_LOG_INFO, "event",
               (struct rd_log_field[]){RD_LOG_STR("path", hostile), RD_LOG_END});
        size_t len = end_capture();
        assert_int_equal(count_of(captured, '\n'), 1);
        assert_int_equal(captured[len - 1], '\n');
        for (size_t i = 0; i + 1 < len; i++) {
            assert_true((unsigned char)captured[i] >= 0x20 && captured[i] != 0x7f);
        }
        assert_null(strstr(captured, "\" admin=\"1")); /* the quote before it is escaped */
        assert_non_null(strstr(captured, "\\\" admin=\\\"1"));
    }
}

static void an_over_long_line_is_said_to_be_one(void **state)
{
    (void)state;
    static char huge[10000];
    memset(huge, 'h', sizeof huge - 1);
    rd_log_configure(RD_LOG_INFO, RD_LOG_JSON);
    begin_capture();
    rd_log(RD_LOG_INFO, "event", (struct rd_log_field[]){RD_LOG_STR("huge", huge), RD_LOG_END});
    (void)end_capture();
    assert_int_equal(count_of(captured, '\n'), 1);
    assert_non_null(strstr(captured, "too long"));
}

static void *chatter(void *arg)
{
    const char *name = arg;
    for (int i = 0; i < 200; i++) {
        rd_log(RD_LOG_INFO, "chatter",
               (struct rd_log_field[]){RD_LOG_STR("name", name), RD_LOG_INT("i", i), RD_LOG_END});
    }
    return NULL;
}

static void lines_of_threads_stay_whole(void **state)
{
    (void)state;
    static char names[4][64];
    pthread_t threads[4];
    rd_log_configure(RD_LOG_INFO, RD_LOG_JSON);
    begin_capture();
    for (int i = 0; i < 4; i++) {
        memset(names[i], 'a' + i, sizeof names[i] - 1);
        assert_int_equal(pthread_create(&threads[i], NULL, chatter, names[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    (void)end_capture();
    size_t lines = 0;
    for (char *line = captured; *line != '\0';) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = '\0';
        assert_int_equal(count_of(line, '{'), 1);
        assert_int_equal(end[-1], '}');
        assert_non_null(strstr(line, "\"name\":\""));
        const char *name = strstr(line, "\"name\":\"") + 8;
        assert_int_equal(strspn(name, (char[]){name[0], '\0'}), 63);
        lines++;
        line = end + 1;
    }
    assert_int_equal(lines, 800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines),
        cmocka_unit_test(text_lines),
        cmocka_unit_test(levels_are_respected),
        cmocka_unit_test(no_value_forges_a_line_or_a_field),
        cmocka_unit_test(an_over_long_line_is_said_to_be_one),
        cmocka_unit_test(lines_of_threads_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
