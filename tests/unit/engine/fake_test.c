/* SPDX-License-Identifier: Apache-2.0
 *
 * Does the conformance suite notice? First the scripted engine that keeps every MUST passes it,
 * with servers that are late, partial, hanging, too generous or wrong behind it. Then, for each way
 * to break a MUST, the test of the suite that is there for it is run in a process of its own: it
 * must fail, and say why. A test that has failed is given up at once (CMOCKA_TEST_ABORT), because
 * the engine that broke the rules may still use what the test had on its stack. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance.h"
#include "fake.h"

enum { FAILURES = 5, OUTPUT_MAX = 8192 };

static const struct rd_format square = {"512", RD_MODALITY_IMAGE, 512, 512};
#define GENERATION(text)                                                                           \
    {                                                                                              \
        .task = RD_TASK_T2I, .family = "fam", .model = "mod", .format = &square,                   \
        .media = RD_MEDIA_PNG, .prompt = (text), .negative_prompt = "", .seed = 7, .count = 1      \
    }
static const struct rd_generation quick = GENERATION("quick");
static const struct rd_generation late = GENERATION("late");
static const struct rd_generation slow = GENERATION("slow");
static const struct rd_generation partial = GENERATION("partial");
static const struct rd_generation oversized = GENERATION("oversized");
static const struct rd_generation malformed = GENERATION("malformed");
static const struct rd_generation refused = GENERATION("refused");
static const struct rd_generation lost = GENERATION("lost");

static const struct rd_conformance_failure failures[FAILURES] = {
    {"partial", &partial, RD_ERR_BACKEND_FAILED, false, false},
    {"oversized", &oversized, RD_ERR_BACKEND_FAILED, true, false},
    {"malformed", &malformed, RD_ERR_BACKEND_FAILED, true, false},
    {"refused", &refused, RD_ERR_INVALID_REQUEST, true, true},
    {"lost", &lost, RD_ERR_BACKEND_TIMEOUT, false, false},
};

static struct rd_conformance given = {
    .ops = &fake_ops,
    .config = {.name = "fake", .type = "fake", .slots = 8},
    .quick = &quick,
    .slow = &slow,
    .stop_ms = 1000,
    .races = 20,
    .failures = failures,
    .failures_count = FAILURES,
    .server = fake_server,
};

static void a_late_server_is_a_good_one(void **state)
{
    (void)state;
    struct rd_conformance slower = given;
    void *pointer = &slower;
    slower.quick = &late;
    rd_conformance_one(&pointer);
    rd_conformance_all_slots(&pointer);
    rd_conformance_sink_errors(&pointer);
    rd_conformance_cancel_inside(&pointer);
}

/* ---- breaches ---- */

static const struct {
    enum fake_breach breach;
    void (*test)(void **state);
    const char *words;
} breaches[] = {
    {FAKE_TWICE, rd_conformance_one, "done after done"},
    {FAKE_NEVER, rd_conformance_one, "no done() after"},
    {FAKE_AFTER, rd_conformance_one, "data after done"},
    {FAKE_DEAF, rd_conformance_cancel_slow, "no done() after"},
    {FAKE_DEAF, rd_conformance_cancel_inside, "done(ok), not cancelled"},
    {FAKE_TIMELESS, rd_conformance_deadline, "no done() after"},
    {FAKE_GOES_ON, rd_conformance_sink_errors, "after a sink function failed"},
    {FAKE_OTHER_ERROR, rd_conformance_sink_errors, "another error than the sink's"},
    {FAKE_FEWER, rd_conformance_one, "done with 0 of 1 outputs"},
    {FAKE_UNENDED, rd_conformance_one, "done with 0 of 1 outputs"},
    {FAKE_OTHER_MEDIA, rd_conformance_one, "begin with image/webp, not image/png"},
    {FAKE_TEXT, rd_conformance_one, "output 0 is no image/png"},
    {FAKE_HINT, rd_conformance_one, "bytes, told were 7"},
    {FAKE_SAME_SEED, rd_conformance_counts, "another seed, the same picture"},
    {FAKE_RANDOM, rd_conformance_same, "the same request, another picture"},
    {FAKE_IN_START, rd_conformance_one, "progress from inside start() or cancel()"},
    {FAKE_IN_CANCEL, rd_conformance_cancel_slow, "done from inside start() or cancel()"},
    {FAKE_BLOCKS_START, rd_conformance_one, "start() blocked"},
    {FAKE_BLOCKS_CANCEL, rd_conformance_cancel_slow, "cancel() blocked"},
    {FAKE_TWO_THREADS, rd_conformance_one, "while another sink function runs"},
    {FAKE_BACKWARDS, rd_conformance_one, "progress 0.4 after 0.7"},
    {FAKE_KNOWN_ZERO, rd_conformance_one, "a device time that is known and zero"},
    {FAKE_UNKNOWN_TIME, rd_conformance_one, "a device time that is not known, of 1000 ns"},
    {FAKE_FINAL_SUCCESS, rd_conformance_one, "success, and final"},
    {FAKE_NO_REPORT, rd_conformance_one, "done without a report"},
    {FAKE_EMPTY_WHY, rd_conformance_failures, "an empty why"},
    {FAKE_WRONG_ERROR, rd_conformance_cancel_slow, "done(backend_failed), not cancelled"},
    {FAKE_WRONG_ERROR, rd_conformance_close, "done(backend_failed), not cancelled"},
    {FAKE_ALWAYS_READY, rd_conformance_server, "after the server went away"},
    {FAKE_NEVER_READY, rd_conformance_ready, "not ready after"},
    {FAKE_READY_WORDS, rd_conformance_ready, "ready 1 with the words"},
    {FAKE_UNTOLD_PREVIEWS, rd_conformance_capabilities, "previews, which capabilities() does not"},
    {FAKE_CANNOT, rd_conformance_capabilities, "can.tasks"},
    {FAKE_FICKLE, rd_conformance_capabilities, "again.trusted"},
    {FAKE_STUCK_AFTER_FAIL, rd_conformance_failures, "done(backend_failed), not ok"},
};
enum { BREACHES = sizeof breaches / sizeof breaches[0] };

/* The process of its own: one test of the suite against one breach. */
static int run_breach(const char *number)
{
    const struct rlimit none = {0, 0};
    size_t index = (size_t)strtoul(number, NULL, 10);
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(breaches[index].test, &given)};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
    fake_breach = breaches[index].breach;
    /* Who waits in vain waits briefly; for all others a busy machine is no reason to fail. */
    bool endless = fake_breach == FAKE_NEVER || fake_breach == FAKE_NEVER_READY ||
                   fake_breach == FAKE_DEAF || fake_breach == FAKE_TIMELESS ||
                   fake_breach == FAKE_ALWAYS_READY;
    given.stop_ms = given.notice_ms = given.wait_ms = endless ? 300 : 20000;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

struct child {
    pid_t pid;
    int output;
};

static struct child start_child(size_t index)
{
    extern char **environ;
    char number[16];
    char *const argv[] = {(char[]){"fake"}, number, NULL};
    struct child child = {.output = -1};
    int ends[2];
    posix_spawn_file_actions_t actions;
    (void)snprintf(number, sizeof number, "%zu", index);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO), 0);
    assert_int_equal(posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1), 0);
    assert_int_equal(posix_spawn(&child.pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(ends[1]);
    child.output = ends[0];
    return child;
}

/* What it printed, once it has ended; what does not fit is left out. */
static int finish_child(struct child child, char output[OUTPUT_MAX])
{
    size_t len = 0;
    ssize_t got;
    int status = 0;
    char rest[512];
    while ((got = read(child.output, len + 1 < OUTPUT_MAX ? output + len : rest,
                       len + 1 < OUTPUT_MAX ? OUTPUT_MAX - len - 1 : sizeof rest)) > 0) {
        len += len + 1 < OUTPUT_MAX ? (size_t)got : 0;
    }
    output[len] = '\0';
    (void)close(child.output);
    assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
    return status;
}

static void each_breach_is_noticed(void **state)
{
    (void)state;
    static struct child children[BREACHES];
    bool seen[FAKE_BREACH_COUNT_] = {[FAKE_NONE] = true};
    for (size_t i = 0; i < BREACHES; i++) { /* all at once: some of them wait */
        children[i] = start_child(i);
        seen[breaches[i].breach] = true;
    }
    for (size_t i = 0; i < BREACHES; i++) {
        static char output[OUTPUT_MAX];
        int status = finish_child(children[i], output);
        bool failed = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
        if (!failed || strstr(output, breaches[i].words) == NULL) {
            fail_msg("breach %d: status %d, without \"%s\":\n%s", (int)breaches[i].breach, status,
                     breaches[i].words, output);
        }
    }
    for (size_t i = 0; i < FAKE_BREACH_COUNT_; i++) {
        assert_true(seen[i]);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        return run_breach(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_breach_is_noticed),
        cmocka_unit_test(a_late_server_is_a_good_one),
        RD_CONFORMANCE_TESTS(&given),
    };
    return cmocka_run_group_tests_name("engine/fake", tests, NULL, NULL);
}
