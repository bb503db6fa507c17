/* SPDX-License-Identifier: Apache-2.0
 *
 * See process_script.h. It reads its request from stdin and dispatches on request.prompt through
 * the table at the end. A behaviour returns the exit status. */
#include "process_script.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

extern char **environ;

static json_t *request;

static const char *text_of(const char *name)
{
    const char *text = json_string_value(json_object_get(request, name));
    return text != NULL ? text : "";
}

static int fail(const char *words)
{
    (void)fprintf(stderr, "%s\n", words);
    return 9;
}

static int write_file(const char *path, const void *bytes, size_t len)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(bytes, 1, len, file) != len || fclose(file) != 0) {
        return fail("cannot write");
    }
    return 0;
}

/* A picture as far as the engine looks: the right first bytes, then noise from the seed. */
static int paint(void)
{
    unsigned char bytes[PROCESS_SCRIPT_PICTURE];
    static const char *const starts[][2] = {{"image/png", "\x89PNG\r\n\x1a\n"},
                                            {"image/jpeg", "\xff\xd8\xff"}};
    unsigned seed = (unsigned)json_integer_value(json_object_get(request, "seed"));
    for (size_t i = 0; i < sizeof bytes; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (unsigned char)(seed >> 24);
    }
    for (size_t i = 0; i < 2; i++) {
        if (strcmp(text_of("media"), starts[i][0]) == 0) {
            memcpy(bytes, starts[i][1], strlen(starts[i][1]));
        }
    }
    return write_file(text_of("output"), bytes, sizeof bytes);
}

static void say(const char *line)
{
    (void)printf("%s\n", line);
    (void)fflush(stdout);
}

static int quick(void)
{
    say("{\"progress\": 0.5, \"step\": 2}");
    (void)write_file("now.png", "\x89PNG\r\n\x1a\n....", 12);
    say("{\"preview\": \"now.png\"}");
    say("{\"device_seconds\": 0.25, \"device\": \"cuda:0\"}");
    return paint();
}

static int untimed(void)
{
    return paint();
}

static int slow(void)
{
    say("{\"progress\": 0.1, \"step\": 1}");
    while (pause() != 0) { /* which it never is */
    }
    return 0;
}

static int deaf(void)
{
    (void)signal(SIGTERM, SIG_IGN);
    return slow();
}

/* Tells the number of its child, which would live for long, and then does as `then`. */
static int with_child(int (*then)(void))
{
    int ready[2];
    char go;
    if (pipe(ready) != 0) {
        return fail("no pipe");
    }
    pid_t pid = fork();
    if (pid == 0) {
        (void)signal(SIGTERM, SIG_IGN);
        (void)!write(ready[1], "x", 1);
        (void)pause();
        _exit(0);
    }
    (void)!read(ready[0], &go, 1);
    (void)printf("{\"device\": \"pid %d\"}\n", (int)pid);
    (void)fflush(stdout);
    return then();
}

static int family_slow(void)
{
    return with_child(slow);
}

static int family_left(void)
{
    return with_child(paint);
}

static int status_3(void)
{
    (void)fprintf(stderr, "a long story\nTraceback:\n\x1b[31mCUDA out of memory\x1b[0m\n\n");
    return 3;
}

static int crash(void)
{
    (void)signal(SIGSEGV, SIG_DFL);
    (void)raise(SIGSEGV);
    return 0;
}

static int nothing(void)
{
    return 0;
}

static int text(void)
{
    return write_file(text_of("output"), "<script>alert(1)</script>", 25);
}

static int empty(void)
{
    return write_file(text_of("output"), "", 0);
}

static int short_file(void)
{
    return write_file(text_of("output"), "\x89PNG\r\n\x1a\n", 8);
}

static int a_link(void)
{
    (void)write_file("real.png", "\x89PNG\r\n\x1a\n....", 12);
    return symlink("real.png", text_of("output"));
}

static int a_pipe(void)
{
    return mkfifo(text_of("output"), 0600);
}

static int a_folder(void)
{
    return mkdir(text_of("output"), 0700);
}

static int too_big(void)
{
    static char bytes[100001];
    memcpy(bytes, "\x89PNG\r\n\x1a\n", 8);
    return write_file(text_of("output"), bytes, sizeof bytes);
}

static int just_fits(void)
{
    static char bytes[100000];
    memcpy(bytes, "\x89PNG\r\n\x1a\n", 8);
    return write_file(text_of("output"), bytes, sizeof bytes);
}

static int garbage(void)
{
    static char noise[20000];
    for (size_t i = 0; i < sizeof noise; i++) {
        noise[i] = (char)(i * 7 % 251);
    }
    (void)fwrite(noise, 1, sizeof noise, stdout);
    say("\n{\"progress\":\n{}\n[1]\n\"text\"\n{\"progress\": \"half\"}\n{\"progress\": -1}\n"
        "{\"progress\": 7}\n{\"step\": -3}\n{\"preview\": \"../../etc/passwd\"}\n"
        "{\"preview\": 5}\n{\"preview\": \"is-not-there.png\"}\n{\"device_seconds\": 0}\n"
        "{\"device_seconds\": -1}\n{\"device_seconds\": 1e300}\n{\"device\": {}}\n"
        "Loading pipeline components...");
    (void)printf("{\"error\": \"%5000s\"}\n", "too long a line");
    (void)fwrite(noise, 1, 3000, stdout);
    (void)fflush(stdout);
    return paint();
}

static int error_final(void)
{
    say("{\"error\": \"the prompt is refused\", \"retriable\": false}");
    return slow();
}

static int error_again(void)
{
    say("{\"error\": \"the device is busy\"}");
    return 1;
}

static int log_flood(void)
{
    static char bytes[65536];
    memset(bytes, 'x', sizeof bytes);
    for (;;) {
        if (write(STDERR_FILENO, bytes, sizeof bytes) < 0) {
            return 1;
        }
    }
}

/* More lines than are read in a second, and than a pipe holds: they come all, but not at once. */
static int many_lines(void)
{
    for (unsigned i = 0; i < 1500; i++) {
        (void)printf("{\"progress\": %g, \"n\": \"%400u\"}\n", i / 1500.0, i);
    }
    (void)fflush(stdout);
    return paint();
}

static int find_sources(void)
{
    const struct {
        const char *name, *end, *content;
        size_t len;
    } wanted[] = {{"image", "/image.png", PROCESS_SCRIPT_IMAGE, sizeof PROCESS_SCRIPT_IMAGE - 1},
                  {"mask", "/mask.jpg", PROCESS_SCRIPT_MASK, sizeof PROCESS_SCRIPT_MASK - 1}};
    for (size_t i = 0; i < 2; i++) {
        char bytes[256];
        const char *path = text_of(wanted[i].name);
        size_t len = strlen(path);
        FILE *file = fopen(path, "rb");
        if (file == NULL || len < strlen(wanted[i].end) ||
            fread(bytes, 1, sizeof bytes, file) != wanted[i].len ||
            memcmp(bytes, wanted[i].content, wanted[i].len) != 0) {
            (void)fprintf(stderr, "%s is not as it should be: '%s'\n", wanted[i].name, path);
            return 9;
        }
        (void)fclose(file);
    }
    return paint();
}

static unsigned open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;
    while (dir != NULL && readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count - 3; /* ".", "..", the folder itself */
}

static const char *wrong_environment(void)
{
    static const char *const allowed[] = {"PATH=", "LANG=",           "PYTHONUNBUFFERED=1",
                                          "HOME=", "TMPDIR=",         "CUDA_VISIBLE_DEVICES=5",
                                          "TZ=",   "LD_LIBRARY_PATH="};
    char here[4096];
    const char *home = getenv("HOME");
    const char *temporary = getenv("TMPDIR");
    const char *devices = getenv("CUDA_VISIBLE_DEVICES");
    for (char **at = environ; *at != NULL; at++) {
        bool known = false;
        for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++) {
            known = known || strncmp(*at, allowed[i], strlen(allowed[i])) == 0;
        }
        if (!known) {
            return *at;
        }
    }
    if (getcwd(here, sizeof here) == NULL || home == NULL || temporary == NULL ||
        strcmp(here, home) != 0 || strcmp(here, temporary) != 0) {
        return "the folder";
    }
    return devices != NULL && strcmp(devices, "5") == 0 ? NULL : "CUDA_VISIBLE_DEVICES";
}

/* What a command must find around it. */
static int surroundings(void)
{
    struct rlimit core;
    struct stat status;
    struct sigaction action;
    sigset_t blocked;
    int death = 0;
    const char *wrong = wrong_environment();
    if (wrong != NULL) {
        (void)fprintf(stderr, "in the environment: %s\n", wrong);
        return 9;
    }
    if (open_files() != 3) {
        return fail("descriptors were inherited");
    }
    if (getsid(0) != getpid() || getpgrp() != getpid()) {
        return fail("not in a session of its own");
    }
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_PDEATHSIG, &death) != 0 ||
        death != SIGKILL) {
        return fail("no_new_privs, or the death signal");
    }
    if (umask(0) != 077 || stat(".", &status) != 0 || (status.st_mode & 07777) != 0700) {
        return fail("the umask, or the folder's mode");
    }
    if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0) {
        return fail("core dumps");
    }
    if (sigaction(SIGPIPE, NULL, &action) != 0 || action.sa_handler != SIG_DFL ||
        sigprocmask(SIG_SETMASK, NULL, &blocked) != 0 || sigismember(&blocked, SIGTERM)) {
        return fail("signals");
    }
    if (strcmp(text_of("family"), "fam") != 0 || strcmp(text_of("task"), "t2i") != 0 ||
        strncmp(text_of("request_id"), "req_", 4) != 0 ||
        strncmp(text_of("traceparent"), "00-", 3) != 0 ||
        json_integer_value(json_object_get(request, "width")) != 512) {
        return fail("the request");
    }
    return paint();
}

static const struct {
    const char *prompt;
    int (*run)(void);
} behaviours[] = {
    {"quick", quick},
    {"untimed", untimed},
    {"slow", slow},
    {"deaf", deaf},
    {"family slow", family_slow},
    {"family left", family_left},
    {"status 3", status_3},
    {"crash", crash},
    {"nothing", nothing},
    {"text", text},
    {"empty", empty},
    {"short", short_file},
    {"link", a_link},
    {"pipe", a_pipe},
    {"folder", a_folder},
    {"too big", too_big},
    {"just fits", just_fits},
    {"garbage", garbage},
    {"error, final", error_final},
    {"error, again", error_again},
    {"log flood", log_flood},
    {"many lines", many_lines},
    {"sources", find_sources},
    {"surroundings", surroundings},
};

int process_script_main(void)
{
    request = json_loadf(stdin, 0, NULL);
    const char *prompt =
        json_string_value(json_object_get(json_object_get(request, "request"), "prompt"));
    for (size_t i = 0; prompt != NULL && i < sizeof behaviours / sizeof behaviours[0]; i++) {
        if (strcmp(behaviours[i].prompt, prompt) == 0) {
            int status = behaviours[i].run();
            json_decref(request);
            return status;
        }
    }
    return fail("no such behaviour");
}
