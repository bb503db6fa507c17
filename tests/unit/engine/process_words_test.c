/* SPDX-License-Identifier: Apache-2.0
 *
 * What a script says, byte by byte: lines of the protocol with each member right, wrong and at its
 * limits; the last words; and how many lines, how long, a run takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/process/internal.h"

static struct rd_process_line parse(const char *text)
{
    struct rd_process_line line;
    if (!rd_process_line_parse(text, strlen(text), &line)) {
        fail_msg("no object: %s", text);
    }
    return line;
}

static void what_is_no_object(void **state)
{
    (void)state;
    static const char *const table[] = {
        "",
        "{",
        "}",
        "[]",
        "5",
        "\"a\"",
        "null",
        "{\"a\":}",
        "{} {}",
        "{\"a\": 1e999}",
        "{\"a\": \"\xff\"}",
    };
    struct rd_process_line line;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_false(rd_process_line_parse(table[i], strlen(table[i]), &line));
    }
    /* As deep as a line can be: refused or read, but never a crash. */
    char deep[RD_PROCESS_LINE_MAX];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    assert_false(rd_process_line_parse(deep, sizeof deep, &line));
}

static void progress_and_step(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool has_progress, has_step;
        double progress;
        unsigned step;
    } table[] = {
        {"{}", false, false, 0, 0},
        {"{\"progress\": 0}", true, false, 0, 0},
        {"{\"progress\": 1, \"step\": 0}", true, true, 1, 0},
        {"{\"progress\": 0.25, \"step\": 7}", true, true, 0.25, 7},
        {"{\"progress\": 1.0000001}", false, false, 0, 0},
        {"{\"progress\": -0.0000001}", false, false, 0, 0},
        {"{\"progress\": \"0.5\"}", false, false, 0, 0},
        {"{\"progress\": null, \"step\": 2147483647}", false, true, 0, 2147483647},
        {"{\"step\": 2147483648}", false, false, 0, 0},
        {"{\"step\": -1}", false, false, 0, 0},
        {"{\"step\": 1.5}", false, false, 0, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct rd_process_line line = parse(table[i].text);
        if (line.has_progress != table[i].has_progress || line.has_step != table[i].has_step ||
            line.progress != table[i].progress || line.step != table[i].step) {
            fail_msg("%s", table[i].text);
        }
    }
}

static void device_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ns; /* 0: not told */
    } table[] = {
        {"{\"device_seconds\": 1.25}", 1250000000},
        {"{\"device_seconds\": 3}", 3000000000},
        {"{\"device_seconds\": 0.000000001}", 1},
        {"{\"device_seconds\": 0.0000000001}", 0},
        {"{\"device_seconds\": 0}", 0},
        {"{\"device_seconds\": -1}", 0},
        {"{\"device_seconds\": 1000000}", 1000000000000000},
        {"{\"device_seconds\": 1000001}", 0},
        {"{\"device_seconds\": \"1\"}", 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct rd_process_line line = parse(table[i].text);
        if (line.device_ns != table[i].ns || line.has_device_ns != (table[i].ns != 0)) {
            fail_msg("%s", table[i].text);
        }
    }
    assert_string_equal(parse("{\"device\": \"cuda:0\\n\\u001b\"}").device, "cuda:0 ?");
    assert_string_equal(parse("{\"device\": 5}").device, "");
    struct rd_process_line line = parse("{\"device\": \"0123456789012345678901234567890123456789"
                                        "01234567890123456789012345678901\"}");
    assert_int_equal(strlen(line.device), 63);
}

static void previews_are_plain_names(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "{\"preview\": \"\"}",    "{\"preview\": \"/etc/passwd\"}", "{\"preview\": \"a/b\"}",
        "{\"preview\": \"..\"}",  "{\"preview\": \".hidden\"}",     "{\"preview\": \"a\\u0000b\"}",
        "{\"preview\": [\"a\"]}",
    };
    char text[128];
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        assert_string_equal(parse(refused[i]).preview, "");
    }
    assert_string_equal(parse("{\"preview\": \"now 1.png\"}").preview, "now 1.png");
    for (int len = 63; len <= 64; len++) {
        (void)snprintf(text, sizeof text, "{\"preview\": \"%0*d\"}", len, 7);
        assert_int_equal(strlen(parse(text).preview), len == 63 ? 63 : 0);
    }
}

static void errors(void **state)
{
    (void)state;
    struct rd_process_line line = parse("{\"error\": \"no\\nsuch \\u001b[1m\"}");
    assert_true(line.has_error && line.retriable);
    assert_string_equal(line.error, "no such ?[1m");
    line = parse("{\"error\": \"no\", \"retriable\": false}");
    assert_true(line.has_error && !line.retriable);
    assert_true(parse("{\"error\": \"no\", \"retriable\": 0}").retriable); /* not a boolean */
    assert_true(parse("{\"error\": {}}").has_error);
    assert_string_equal(parse("{\"error\": {}}").error, "");
    assert_false(parse("{\"error\": null}").has_error);
}

static void last_words(void **state)
{
    (void)state;
    static struct rd_process_words words;
    char out[RD_PROCESS_WORDS_SHOWN + 1];
    char noise[3 * RD_PROCESS_WORDS_KEPT];
    rd_process_words_last(&words, out);
    assert_string_equal(out, "");
    rd_process_words_add(&words, " \n\t\n", 4);
    rd_process_words_last(&words, out);
    assert_string_equal(out, "");
    rd_process_words_add(&words, "one\ntwo\x1b!\n\n", 11);
    rd_process_words_last(&words, out);
    assert_string_equal(out, "    one two?!");

    memset(noise, 'x', sizeof noise);
    for (size_t len = 1; len < sizeof noise; len += 97) { /* in pieces of every size */
        rd_process_words_add(&words, noise, len);
        assert_true(words.len <= RD_PROCESS_WORDS_KEPT);
    }
    rd_process_words_add(&words, "\nlast line\n", 11);
    assert_int_equal(words.len, RD_PROCESS_WORDS_KEPT);
    rd_process_words_last(&words, out);
    assert_string_equal(out, "last line"); /* the long one before it does not fit */
    rd_process_words_add(&words, noise, sizeof noise);
    rd_process_words_last(&words, out);
    assert_int_equal(strlen(out), RD_PROCESS_WORDS_SHOWN); /* one line that is too long */
}

/* ---- the stream of lines ---- */

static unsigned progressed;
static double last_fraction;

static void on_progress(void *ctx, double fraction, unsigned step)
{
    (void)ctx;
    (void)step;
    progressed++;
    last_fraction = fraction;
}

static const struct rd_generation generation = {.count = 2, .steps = 10};

static struct rd_engine_run *new_run(void)
{
    struct rd_engine_run *run = calloc(1, sizeof *run);
    assert_non_null(run);
    run->job.generation = &generation;
    run->job.sink.progress = on_progress;
    progressed = 0;
    return run;
}

static void give(struct rd_engine_run *run, const char *text)
{
    rd_process_stdout_bytes(run, text, strlen(text));
}

static void lines_come_in_any_pieces(void **state)
{
    (void)state;
    static const char text[] = "{\"progress\": 0.5}\r\nchatter\n{\"progress\": 1, \"step\": 10}\n";
    for (size_t piece = 1; piece < sizeof text; piece++) {
        struct rd_engine_run *run = new_run();
        for (size_t at = 0; at < sizeof text - 1; at += piece) {
            size_t left = sizeof text - 1 - at;
            rd_process_stdout_bytes(run, text + at, left < piece ? left : piece);
        }
        assert_int_equal(progressed, 2);
        assert_true(last_fraction == 0.5); /* the first of two outputs */
        assert_memory_equal(run->words.text, "chatter\n", 8);
        free(run);
    }
}

static void progress_never_falls(void **state)
{
    (void)state;
    struct rd_engine_run *run = new_run();
    give(run, "{\"progress\": 0.5}\n{\"progress\": 0.4}\n{\"step\": 6}\n{\"step\": 99}\n");
    assert_int_equal(progressed, 3);
    assert_true(last_fraction == 0.5);
    assert_int_equal(run->step, 10);
    free(run);
}

static void a_line_has_a_limit(void **state)
{
    (void)state;
    for (size_t len = RD_PROCESS_LINE_MAX; len <= RD_PROCESS_LINE_MAX + 1; len++) {
        static char line[RD_PROCESS_LINE_MAX + 1];
        struct rd_engine_run *run = new_run();
        memset(line, ' ', sizeof line);
        memcpy(line, "{\"progress\": 0.5}", 17);
        rd_process_stdout_bytes(run, line, len);
        give(run, "\n");
        assert_int_equal(progressed, len == RD_PROCESS_LINE_MAX);
        give(run, "{\"progress\": 0.75}\n"); /* the next one counts again */
        assert_true(last_fraction == 0.375);
        free(run);
    }
}

static void lines_have_a_number(void **state)
{
    (void)state;
    struct rd_engine_run *run = new_run();
    for (unsigned i = 0; i < RD_PROCESS_LINES_MAX; i++) {
        give(run, "\n");
    }
    assert_int_equal(run->err, RD_OK);
    give(run, "\n");
    assert_int_equal(run->err, RD_ERR_BACKEND_FAILED);
    assert_true(run->final && !run->faultless);
    assert_non_null(strstr(run->why.text, "100000 lines"));
    give(run, "{\"progress\": 0.5}\n"); /* what is stopped says nothing more */
    assert_int_equal(progressed, 0);
    free(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_object),
        cmocka_unit_test(progress_and_step),
        cmocka_unit_test(device_times),
        cmocka_unit_test(previews_are_plain_names),
        cmocka_unit_test(errors),
        cmocka_unit_test(last_words),
        cmocka_unit_test(lines_come_in_any_pieces),
        cmocka_unit_test(progress_never_falls),
        cmocka_unit_test(a_line_has_a_limit),
        cmocka_unit_test(lines_have_a_number),
    };
    return cmocka_run_group_tests_name("engine/process_words", tests, NULL, NULL);
}
