/* SPDX-License-Identifier: Apache-2.0
 *
 * The process engine: the conformance suite with a script that is this program itself
 * (process_script.c), then each way in which a script can misbehave, what it finds around it, its
 * limits, and that nothing of it is left: no process, no file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "conformance.h"
#include "engine/process/folder.h"
#include "engine/process/internal.h"
#include "process_script.h"
#include "recorder.h"

enum { WAIT_MS = 20000, NS_PER_MS = 1000000 };

static char scratch[] = "/tmp/process-test-XXXXXX"; /* $TMPDIR of the engines */
static char script[64], self[4096];

static const struct rd_format square = {"512", RD_MODALITY_IMAGE, 512, 512};
#define GENERATION(text)                                                                           \
    {                                                                                              \
        .task = RD_TASK_T2I, .family = "fam", .model = "mod", .format = &square,                   \
        .media = RD_MEDIA_PNG, .prompt = "p", .negative_prompt = "", .seed = 7, .count = 1,        \
        .steps = 4, .json = "{\"prompt\":\"" text "\"}",                                           \
        .json_len = sizeof "{\"prompt\":\"" text "\"}" - 1                                         \
    }
static const struct rd_generation quick = GENERATION("quick");
static const struct rd_generation slow = GENERATION("slow");
static const struct rd_generation status_3 = GENERATION("status 3");
static const struct rd_generation crash = GENERATION("crash");
static const struct rd_generation nothing = GENERATION("nothing");
static const struct rd_generation text = GENERATION("text");
static const struct rd_generation empty = GENERATION("empty");
static const struct rd_generation error_final = GENERATION("error, final");
static const struct rd_generation error_again = GENERATION("error, again");

static const struct rd_conformance_failure failures[] = {
    {"status 3", &status_3, RD_ERR_BACKEND_FAILED, false, false},
    {"crash", &crash, RD_ERR_BACKEND_FAILED, false, false},
    {"nothing", &nothing, RD_ERR_BACKEND_FAILED, true, false},
    {"text", &text, RD_ERR_BACKEND_FAILED, true, false},
    {"empty", &empty, RD_ERR_BACKEND_FAILED, true, false},
    {"error, final", &error_final, RD_ERR_BACKEND_FAILED, true, true},
    {"error, again", &error_again, RD_ERR_BACKEND_FAILED, false, false},
};

static const char *const command[] = {script, "--script"};

/* The "server" of this engine is its command. */
static void server(void *ctx, bool up)
{
    (void)ctx;
    assert_int_equal(up ? symlink(self, script) : unlink(script), 0);
}

static struct rd_conformance given = {
    .ops = &rd_engine_process_ops,
    .config =
        {.name = "test", .type = "process", .slots = 8, .command = command, .command_count = 2},
    .quick = &quick,
    .slow = &slow,
    .stop_ms = 2000,
    .races = 12,
    .failures = failures,
    .failures_count = sizeof failures / sizeof failures[0],
    .server = server,
};

/* ---- tools ---- */

static unsigned entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned count = 0;
    const struct dirent *entry;
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    (void)closedir(dir);
    return count;
}

/* The process is gone, or a zombie that is not ours to reap. */
static bool gone(pid_t pid)
{
    char path[64];
    char line[512] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return true;
    }
    char *got = fgets(line, sizeof line, file);
    (void)fclose(file);
    const char *behind = got != NULL ? strrchr(line, ')') : NULL;
    return behind == NULL || behind[2] == 'Z' || behind[2] == 'X';
}

static void assert_gone(pid_t pid)
{
    uint64_t until = rd_clock_mono_ns() + (uint64_t)WAIT_MS * NS_PER_MS;
    while (!gone(pid)) {
        assert_true(rd_clock_mono_ns() < until);
        (void)usleep(1000);
    }
}

static struct rd_engine *open_with(const struct rd_engine_config *config)
{
    struct rd_engine *engine = NULL;
    struct rd_why why = {""};
    if (rd_engine_process_ops.open(config, &engine, &why) != RD_OK) {
        fail_msg("open: %s", why.text);
    }
    return engine;
}

static void start_on(struct rd_engine *engine, const struct rd_generation *generation,
                     struct recorder *recorder)
{
    recorder_init(recorder);
    assert_int_equal(recorder_start(recorder, &rd_engine_process_ops, engine, generation, 1),
                     RD_OK);
}

static void finish(struct recorder *recorder)
{
    assert_true(recorder_wait(recorder, WAIT_MS));
    assert_string_equal(recorder->violation, "");
    recorder_done(recorder);
}

/* One run in an engine of its own; `with` may set limits. */
static void run_with(const struct rd_engine_config *with, const struct rd_generation *generation,
                     struct recorder *recorder)
{
    struct rd_engine *engine = open_with(with);
    start_on(engine, generation, recorder);
    finish(recorder);
    rd_engine_process_ops.close(engine);
    assert_int_equal(entries(scratch), 1);            /* the script; no folder is left */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nor a child */
}

static struct rd_generation prompt(const char *json)
{
    struct rd_generation generation = quick;
    generation.json = json;
    generation.json_len = strlen(json);
    return generation;
}

#define PROMPT(words) prompt("{\"prompt\":\"" words "\"}")

/* ---- what goes well ---- */

static void a_good_run(void **state)
{
    (void)state;
    struct recorder recorder;
    run_with(&given.config, &quick, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    assert_int_equal(recorder.size[0], PROCESS_SCRIPT_PICTURE);
    assert_int_equal(recorder.size_hint[0], PROCESS_SCRIPT_PICTURE);
    assert_int_equal(recorder.progressed, 1);
    assert_int_equal(recorder.previews, 1);
    assert_int_equal(recorder.report.source, RD_DEVICE_TIME_ENGINE);
    assert_int_equal(recorder.report.device_ns, 250 * NS_PER_MS);
    assert_string_equal(recorder.report.device, "cuda:0");
}

static void device_time_that_is_not_told_is_measured(void **state)
{
    (void)state;
    struct recorder recorder;
    struct rd_generation generation = PROMPT("untimed");
    uint64_t from = rd_clock_mono_ns();
    run_with(&given.config, &generation, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    assert_int_equal(recorder.report.source, RD_DEVICE_TIME_MEASURED);
    assert_true(recorder.report.device_ns > 0);
    assert_true(recorder.report.device_ns < rd_clock_mono_ns() - from);
    assert_string_equal(recorder.report.device, "");
}

/* Whoever starts the gateway may ignore SIGCHLD, and that is inherited. */
static void ends_are_heard_of(void **state)
{
    (void)state;
    struct recorder recorder;
    struct sigaction action = {.sa_handler = SIG_IGN};
    assert_int_equal(sigaction(SIGCHLD, &action, NULL), 0);
    run_with(&given.config, &quick, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    action = (struct sigaction){.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
    assert_int_equal(sigaction(SIGCHLD, &action, NULL), 0);
    run_with(&given.config, &status_3, &recorder);
    assert_int_equal(recorder.err, RD_ERR_BACKEND_FAILED);
}

static void what_a_script_finds(void **state)
{
    (void)state;
    struct recorder recorder;
    struct rd_generation generation = PROMPT("surroundings");
    run_with(&given.config, &generation, &recorder);
    assert_string_equal(recorder.why.text, "");
    assert_int_equal(recorder.err, RD_OK);

    generation = PROMPT("sources");
    generation.task = RD_TASK_EDIT;
    generation.media = RD_MEDIA_JPEG;
    generation.image = (struct rd_source){.kind = RD_SOURCE_DATA,
                                          .bytes = (const uint8_t *)PROCESS_SCRIPT_IMAGE,
                                          .bytes_len = sizeof PROCESS_SCRIPT_IMAGE - 1};
    generation.mask = (struct rd_source){.kind = RD_SOURCE_DATA,
                                         .bytes = (const uint8_t *)PROCESS_SCRIPT_MASK,
                                         .bytes_len = sizeof PROCESS_SCRIPT_MASK - 1};
    run_with(&given.config, &generation, &recorder);
    assert_string_equal(recorder.why.text, "");
    assert_int_equal(recorder.err, RD_OK);
}

static void garbage_costs_no_picture(void **state)
{
    (void)state;
    struct recorder recorder;
    struct rd_generation generation = PROMPT("garbage");
    run_with(&given.config, &generation, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    assert_int_equal(recorder.progressed, 0);
    assert_int_equal(recorder.previews, 0);
    assert_int_equal(recorder.report.source, RD_DEVICE_TIME_MEASURED); /* zero was told */
}

static void many_lines_come_all(void **state)
{
    (void)state;
    struct recorder recorder;
    struct rd_generation generation = PROMPT("many lines");
    uint64_t from = rd_clock_mono_ns();
    run_with(&given.config, &generation, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    assert_int_equal(recorder.progressed, 1500);
    assert_true(rd_clock_mono_ns() - from > (uint64_t)900 * NS_PER_MS); /* and were held back */
}

/* ---- what does not ---- */

static void bad_ends(void **state)
{
    (void)state;
    static const struct {
        const char *json, *why;
        bool final;
    } table[] = {
        {"{\"prompt\":\"status 3\"}", "status 3: a long story Traceback: ?[31mCUDA out of memory",
         false},
        {"{\"prompt\":\"crash\"}", "killed by SIGSEGV", false},
        {"{\"prompt\":\"nothing\"}", "wrote no file", true},
        {"{\"prompt\":\"text\"}", "is no image/png", true},
        {"{\"prompt\":\"empty\"}", "is empty", true},
        {"{\"prompt\":\"short\"}", "is no image/png", true},
        {"{\"prompt\":\"link\"}", "cannot be read", true},
        {"{\"prompt\":\"pipe\"}", "no plain file", true},
        {"{\"prompt\":\"folder\"}", "no plain file", true},
        {"{\"prompt\":\"error, final\"}", "the command says: the prompt is refused", true},
        {"{\"prompt\":\"error, again\"}", "the command says: the device is busy", false},
        {"{\"prompt\":\"log flood\"}", "64 MiB to its stderr", true},
        {"{\"prompt\":\"not known\"}", "status 9: no such behaviour", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct recorder recorder;
        struct rd_generation generation = prompt(table[i].json);
        run_with(&given.config, &generation, &recorder);
        assert_int_equal(recorder.err, RD_ERR_BACKEND_FAILED);
        assert_int_equal(recorder.begun, 0);
        if (strstr(recorder.why.text, table[i].why) == NULL ||
            recorder.report.final != table[i].final) {
            fail_msg("%s: %s%s", table[i].json, recorder.why.text,
                     recorder.report.final ? ", final" : "");
        }
        assert_true(recorder.report.source != RD_DEVICE_TIME_UNKNOWN);
    }
}

static void an_output_has_a_limit(void **state)
{
    (void)state;
    struct rd_engine_config config = given.config;
    struct rd_generation generation = PROMPT("just fits");
    struct recorder recorder;
    config.output_max = 100000;
    run_with(&config, &generation, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    assert_int_equal(recorder.size[0], 100000);
    generation = PROMPT("too big");
    run_with(&config, &generation, &recorder);
    assert_int_equal(recorder.err, RD_ERR_BACKEND_FAILED);
    assert_non_null(strstr(recorder.why.text, "limit \"output\", 100000 bytes"));
    assert_true(recorder.report.final);
    assert_int_equal(recorder.begun, 0);
}

/* A shell tells the limit that it has got: a program of a sanitizer build could not even start. */
static void memory_has_a_limit(void **state)
{
    (void)state;
    static const char *const shell[] = {"/bin/sh", "-c", "ulimit -v >&2; ulimit -c >&2; exit 1"};
    struct rd_engine_config config = given.config;
    struct recorder recorder;
    config.command = shell;
    config.command_count = 3;
    run_with(&config, &quick, &recorder);
    assert_non_null(strstr(recorder.why.text, "status 1: unlimited 0"));
    config.memory_max = (uint64_t)300 << 20;
    run_with(&config, &quick, &recorder);
    assert_non_null(strstr(recorder.why.text, "status 1: 307200 0"));
}

/* ---- ends that are asked for ---- */

static pid_t told_pid(const struct recorder *recorder)
{
    int pid = 0;
    assert_int_equal(sscanf(recorder->report.device, "pid %d", &pid), 1);
    return pid;
}

static void the_group_dies(void **state)
{
    (void)state;
    struct rd_generation generation = PROMPT("family left");
    struct recorder recorder;
    run_with(&given.config, &generation, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    assert_gone(told_pid(&recorder));

    generation = PROMPT("family slow");
    struct rd_engine *engine = open_with(&given.config);
    start_on(engine, &generation, &recorder);
    while (atomic_load(&recorder.run) == NULL || recorder.progressed == 0) {
        (void)recorder_wait(&recorder, 1); /* until it has said who its child is */
    }
    recorder_cancel(&recorder);
    finish(&recorder);
    assert_int_equal(recorder.err, RD_ERR_CANCELLED);
    assert_gone(told_pid(&recorder));
    rd_engine_process_ops.close(engine);
}

/* As the first process of a container, to which all orphans are given: run_with() finds no child,
 * living or dead, that was left to us. */
static void orphans_are_reaped(void **state)
{
    (void)state;
    struct rd_generation generation = PROMPT("family left");
    struct recorder recorder;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    run_with(&given.config, &generation, &recorder);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0), 0);
    assert_int_equal(recorder.err, RD_OK);
    assert_true(kill(told_pid(&recorder), 0) != 0); /* not even a zombie */
}

static void who_does_not_hear_is_killed(void **state)
{
    (void)state;
    struct rd_engine_config config = given.config;
    struct rd_generation generation = PROMPT("deaf");
    struct recorder recorder;
    config.timeout_ms = 100;
    uint64_t from = rd_clock_mono_ns();
    run_with(&config, &generation, &recorder);
    uint64_t took = rd_clock_mono_ns() - from;
    assert_int_equal(recorder.err, RD_ERR_BACKEND_TIMEOUT);
    assert_non_null(strstr(recorder.why.text, "did not end in time"));
    assert_true(took >= (uint64_t)(100 + RD_PROCESS_GRACE_MS) * NS_PER_MS);
}

static void slots_hold(void **state)
{
    (void)state;
    struct rd_engine_config config = given.config;
    struct recorder recorders[3];
    config.slots = 1;
    struct rd_engine *engine = open_with(&config);
    start_on(engine, &slow, &recorders[0]);
    recorder_init(&recorders[1]);
    assert_int_equal(recorder_start(&recorders[1], &rd_engine_process_ops, engine, &quick, 1),
                     RD_ERR_CAPACITY);
    recorder_done(&recorders[1]);
    recorder_cancel(&recorders[0]);
    finish(&recorders[0]);
    start_on(engine, &quick, &recorders[2]);
    finish(&recorders[2]);
    assert_int_equal(recorders[2].err, RD_OK);
    rd_engine_process_ops.close(engine);
}

/* ---- opening ---- */

static void configurations(void **state)
{
    (void)state;
    static const char *const relative[] = {"script"};
    static const struct {
        const char *const *command;
        size_t command_count;
        unsigned slots, timeout_ms;
        const char *why; /* NULL: it opens */
    } table[] = {
        {command, 0, 1, 0, "command"},
        {command, RD_PROCESS_COMMAND_MAX + 1, 1, 0, "command"},
        {relative, 1, 1, 0, "absolute path"},
        {command, 2, 0, 0, "slots"},
        {command, 2, RD_PROCESS_SLOTS_MAX + 1, 0, "slots"},
        {command, 2, RD_PROCESS_SLOTS_MAX, RD_PROCESS_TIMEOUT_MS_MAX, NULL},
        {command, 2, 1, RD_PROCESS_TIMEOUT_MS_MAX + 1, "timeout"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct rd_engine_config config = {.name = "p",
                                                .command = table[i].command,
                                                .command_count = table[i].command_count,
                                                .slots = table[i].slots,
                                                .timeout_ms = table[i].timeout_ms};
        struct rd_engine *engine = NULL;
        struct rd_why why = {""};
        rd_err err = rd_engine_process_ops.open(&config, &engine, &why);
        assert_int_equal(err, table[i].why != NULL ? RD_ERR_CONFIG : RD_OK);
        if (table[i].why != NULL) {
            assert_non_null(strstr(why.text, table[i].why));
            assert_null(engine);
        } else {
            rd_engine_process_ops.close(engine);
        }
    }
    assert_ptr_equal(rd_engine_find("process", NULL), &rd_engine_process_ops);
}

static void a_command_that_cannot_be_run(void **state)
{
    (void)state;
    static const struct {
        const char *path, *why;
    } table[] = {{"/is/not/there", "No such file"},
                 {"/tmp", "Permission denied"},
                 {"/etc/passwd", "Permission denied"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const char *const words[] = {table[i].path};
        struct rd_engine_config config = given.config;
        struct rd_engine_health health;
        struct recorder recorder;
        config.command = words;
        config.command_count = 1;
        struct rd_engine *engine = open_with(&config);
        rd_engine_process_ops.health(engine, &health);
        assert_false(health.ready);
        assert_non_null(strstr(health.why, table[i].path));
        assert_non_null(strstr(health.why, table[i].why));
        start_on(engine, &quick, &recorder);
        finish(&recorder);
        assert_int_equal(recorder.err, RD_ERR_BACKEND_FAILED);
        assert_non_null(strstr(recorder.why.text, "status 127: cannot execute the command: "));
        rd_engine_process_ops.close(engine);
    }
}

/* What a crash has left goes with the next start; what is in use, or not ours, stays. */
static void folders_of_the_dead_are_removed(void **state)
{
    (void)state;
    char dead[PATH_MAX];
    char run[PATH_MAX];
    char file[PATH_MAX];
    char alive[PATH_MAX];
    int lock = -1;
    int other = -1;
    assert_int_equal(rd_process_folder_open(dead, &lock, NULL), RD_OK);
    assert_int_equal(rd_process_folder_make(dead, 0, run, NULL), RD_OK);
    assert_int_equal(rd_process_folder_path(run, "output-0.png", file, NULL), RD_OK);
    assert_int_equal(rd_process_file_write(file, "x", 1, NULL), RD_OK);
    assert_int_equal(rd_process_folder_open(alive, &other, NULL), RD_OK);
    assert_int_equal(access(file, F_OK), 0); /* it is locked */
    rd_process_folder_close(alive, other);
    (void)close(lock); /* as the kernel does when the process dies */
    assert_int_equal(rd_process_folder_open(alive, &other, NULL), RD_OK);
    assert_int_equal(access(dead, F_OK), -1);
    struct stat status;
    assert_int_equal(stat(alive, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    rd_process_folder_close(alive, other);
    assert_int_equal(access(alive, F_OK), -1);
}

/* In a child that has no privileges, for whom modes count. Nothing of it is cmocka's. */
static int remove_locked_folders(const char *root)
{
    static const char *const folders[] = {"r", "r/cache", "r/cache/deep", "r/dark", "r/dark/er"};
    static const struct {
        const char *folder;
        mode_t mode;
    } locked[] = {{"r/cache/deep", 0555}, {"r/cache", 0555}, {"r/dark/er", 0}, {"r/dark", 0}};
    enum { NOBODY = 65534 };
    char path[PATH_MAX];
    char file[PATH_MAX];
    if (geteuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)) {
        return 1;
    }
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        if (rd_process_folder_path(root, folders[i], path, NULL) != RD_OK ||
            mkdir(path, 0700) != 0 || rd_process_folder_path(path, "x", file, NULL) != RD_OK ||
            rd_process_file_write(file, "x", 1, NULL) != RD_OK) {
            return 2;
        }
    }
    for (size_t i = 0; i < sizeof locked / sizeof locked[0]; i++) {
        if (rd_process_folder_path(root, locked[i].folder, path, NULL) != RD_OK ||
            chmod(path, locked[i].mode) != 0) {
            return 3;
        }
    }
    if (rd_process_folder_path(root, "r", path, NULL) != RD_OK) {
        return 4;
    }
    rd_process_folder_remove(path);
    return access(path, F_OK) == 0 ? 5 : 0;
}

static void folders_without_rights_are_removed(void **state)
{
    (void)state;
    char root[] = "/tmp/process-test-locked-XXXXXX";
    int status = -1;
    assert_non_null(mkdtemp(root));
    assert_int_equal(chmod(root, 0777), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(remove_locked_folders(root));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    rd_process_folder_remove(root);
    assert_int_equal(status, 0);
}

/* In a child that has no privileges, and a limit that is lower than the command's. */
static int spawn_below_a_limit(void)
{
    static const char *const words[] = {"/bin/true"};
    enum { NOBODY = 65534, MIB = 1 << 20 };
    const struct rlimit own = {MIB, MIB};
    struct rd_process_environment environment;
    if ((geteuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)) ||
        setrlimit(RLIMIT_FSIZE, &own) != 0 || rd_process_environment_take(&environment) != RD_OK) {
        return 1;
    }
    const struct rd_process_child child = {
        .command = words,
        .command_count = 1,
        .environment = &environment,
        .folder = "/tmp",
        .in = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3),
        .out = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3),
        .err = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3),
        .output_max = 2 * MIB,
    };
    pid_t pid = -1;
    int pidfd = -1;
    int status = -1;
    if (rd_process_spawn(&child, &pid, &pidfd, NULL) != RD_OK || waitpid(pid, &status, 0) != pid) {
        return 2;
    }
    return status == 0 ? 0 : 3;
}

/* The gateway may have less than a command is given; then that counts. */
static void a_lower_limit_stays(void **state)
{
    (void)state;
    int status = -1;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(spawn_below_a_limit());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int setup(void **state)
{
    (void)state;
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len < 0 || mkdtemp(scratch) == NULL) {
        return -1;
    }
    self[len] = '\0';
    (void)snprintf(script, sizeof script, "%s/script", scratch);
    (void)setenv("TMPDIR", scratch, 1);
    (void)setenv("CUDA_VISIBLE_DEVICES", "5", 1);
    (void)setenv("RENDER_TEST_SECRET", "must not pass", 1);
    (void)signal(SIGPIPE, SIG_IGN); /* as the gateway does */
    server(NULL, true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unsigned left = entries(scratch);
    rd_process_folder_remove(scratch);
    return left == 1 ? 0 : -1;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--script") == 0) {
        return process_script_main();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_run),
        cmocka_unit_test(device_time_that_is_not_told_is_measured),
        cmocka_unit_test(ends_are_heard_of),
        cmocka_unit_test(what_a_script_finds),
        cmocka_unit_test(garbage_costs_no_picture),
        cmocka_unit_test(many_lines_come_all),
        cmocka_unit_test(bad_ends),
        cmocka_unit_test(an_output_has_a_limit),
        cmocka_unit_test(memory_has_a_limit),
        cmocka_unit_test(a_lower_limit_stays),
        cmocka_unit_test(the_group_dies),
        cmocka_unit_test(orphans_are_reaped),
        cmocka_unit_test(who_does_not_hear_is_killed),
        cmocka_unit_test(slots_hold),
        cmocka_unit_test(configurations),
        cmocka_unit_test(a_command_that_cannot_be_run),
        cmocka_unit_test(folders_of_the_dead_are_removed),
        cmocka_unit_test(folders_without_rights_are_removed),
        RD_CONFORMANCE_TESTS(&given),
    };
    return cmocka_run_group_tests_name("engine/process", tests, setup, teardown);
}
