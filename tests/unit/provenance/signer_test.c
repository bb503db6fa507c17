/* SPDX-License-Identifier: Apache-2.0
 *
 * The gateway's end of the signer, with the real render-signer behind it (its path is the
 * argument): batches at and over every limit, threads, kill -9 and recovery, start-up faults, and
 * what /proc says about the process. And a dishonest signer: this very program, started again with
 * --key, plays one. (Raw frames, without this client: signer/process_test.c.) */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "fixture.h"
#include "provenance/signer.h"
#include "provenance/signer_proto.h"

static const char *program; /* render-signer */
static char self[4096];     /* this program */
static char folder[64];
static char key_file[128];

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/render-signer-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(key_file, sizeof key_file, "%s/signing.key", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(key_file);
    assert_int_equal(rmdir(folder), 0); /* nothing else was left behind */
    return 0;
}

static struct rd_signer *start(void)
{
    struct rd_signer *signer = NULL;
    struct rd_why why = {""};
    if (rd_signer_start(program, key_file, &signer, &why) != RD_OK) {
        fail_msg("%s", why.text);
    }
    return signer;
}

static void assert_signed(const struct rd_signer *signer, const struct rd_signer_item *item)
{
    RD_AUTO_BUF struct rd_buf pae;
    rd_buf_init(&pae, item->len + 128);
    assert_int_equal(rd_dsse_pae(&pae, RD_STATEMENT_PAYLOAD_TYPE, item->statement, item->len),
                     RD_OK);
    assert_int_equal(crypto_sign_verify_detached(item->signature, (const uint8_t *)pae.data,
                                                 pae.len, rd_signer_public_key(signer)),
                     0);
}

/* A statement of exactly `len` bytes; `tag` makes it one of its kind. The caller frees. */
static char *statement_of(size_t len, unsigned tag)
{
    char *text = rd_mem_alloc(len + 1);
    assert_non_null(text);
    int head = snprintf(text, len + 1, RD_STATEMENT_PREFIX "\"tag\":\"%08x", tag);
    assert_true(head > 0 && (size_t)head + 2 <= len);
    memset(text + head, 'x', len - (size_t)head - 2);
    memcpy(text + len - 2, "\"}", 2);
    return text;
}

static void sign_all(struct rd_signer *signer, size_t count, size_t len)
{
    struct rd_signer_item *items = rd_mem_alloc_array(count, sizeof *items);
    char **texts = rd_mem_alloc_array(count, sizeof *texts);
    assert_true(items != NULL && texts != NULL);
    for (size_t i = 0; i < count; i++) {
        texts[i] = statement_of(len, (unsigned)i);
        items[i] = (struct rd_signer_item){.statement = texts[i], .len = len};
    }
    assert_int_equal(rd_signer_sign(signer, items, count), RD_OK);
    for (size_t i = 0; i < count; i++) {
        assert_signed(signer, &items[i]);
        rd_mem_free(texts[i]);
    }
    rd_mem_free(texts);
    rd_mem_free(items);
}

static void makes_a_key_and_keeps_it(void **state)
{
    (void)state;
    struct rd_signer *signer = start();
    uint8_t key[RD_KEY_LEN];
    char keyid[RD_KEYID_LEN + 1];
    memcpy(key, rd_signer_public_key(signer), sizeof key);
    rd_jwk_thumbprint(key, keyid);
    assert_string_equal(rd_signer_keyid(signer), keyid);
    struct stat info;
    assert_int_equal(stat(key_file, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    rd_signer_stop(signer);
    signer = start();
    assert_memory_equal(rd_signer_public_key(signer), key, sizeof key);
    rd_signer_stop(signer);
}

static void known_key_gives_the_known_signature(void **state)
{
    (void)state;
    uint8_t seed[32];
    uint8_t public[32];
    char seed_text[45];
    char public_text[45];
    char file[128];
    assert_true(rd_text_unhex(KNOWN_SEED, 64, seed, 32));
    assert_true(rd_text_unhex(KNOWN_PUBLIC, 64, public, 32));
    rd_text_base64(seed, 32, seed_text);
    rd_text_base64(public, 32, public_text);
    int len = snprintf(file, sizeof file, "render-signing-key v1\nseed %s\npublic %s\n", seed_text,
                       public_text);
    assert_int_equal(rd_fs_write_atomic(key_file, file, (size_t)len, 0600, NULL), RD_OK);
    struct rd_signer *signer = start();
    assert_string_equal(rd_signer_keyid(signer), KNOWN_KEYID);
    struct rd_signer_item item = {.statement = KNOWN_STATEMENT, .len = sizeof KNOWN_STATEMENT - 1};
    assert_int_equal(rd_signer_sign(signer, &item, 1), RD_OK);
    char text[RD_TEXT_BASE64_LEN(64) + 1];
    rd_text_base64(item.signature, 64, text);
    assert_string_equal(text, KNOWN_SIGNATURE);
    rd_signer_stop(signer);
}

static void batches_at_and_over_the_limits(void **state)
{
    (void)state;
    struct rd_signer *signer = start();
    sign_all(signer, 0, 100);
    sign_all(signer, 1, 100);
    sign_all(signer, RD_SIGNER_BATCH_MAX, 100);
    sign_all(signer, RD_SIGNER_BATCH_MAX + 1, 100); /* two frames */
    sign_all(signer, 1, RD_SIGNER_STATEMENT_MAX);
    sign_all(signer, 40, RD_SIGNER_STATEMENT_MAX); /* 2.5 MiB: three frames */
    /* Just the frame's size: 16 statements of 65,532 bytes with their lengths are 1 MiB. */
    sign_all(signer, 16, RD_SIGNER_STATEMENT_MAX - RD_SIGNER_LENGTH_LEN);
    sign_all(signer, 17, RD_SIGNER_STATEMENT_MAX - RD_SIGNER_LENGTH_LEN);
    RD_AUTO_FREE char *large = statement_of(RD_SIGNER_STATEMENT_MAX + 1, 0);
    struct rd_signer_item item = {.statement = large, .len = RD_SIGNER_STATEMENT_MAX + 1};
    int pid = rd_signer_pid(signer);
    assert_int_equal(rd_signer_sign(signer, &item, 1), RD_ERR_TOO_LARGE);
    assert_int_equal(rd_signer_pid(signer), pid); /* it was not even asked */
    rd_signer_stop(signer);
}

static void a_bad_statement_is_refused_and_the_signer_stays(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "{}",
                                      "hello",
                                      "{\"_type\":\"https://in-toto.io/Statement/v0.1\",\"a\":1}",
                                      RD_STATEMENT_PREFIX,
                                      RD_STATEMENT_PREFIX "\"a\":1",
                                      " " RD_STATEMENT_PREFIX "\"a\":1}",
                                      RD_STATEMENT_PREFIX "\"a\":\"\xff\"}",
                                      RD_STATEMENT_PREFIX "\"a\":\n1}",
                                      "DSSEv1 28 application/vnd.in-toto+json 2 {}"};
    struct rd_signer *signer = start();
    int pid = rd_signer_pid(signer);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rd_signer_item items[2] = {
            {.statement = KNOWN_STATEMENT, .len = sizeof KNOWN_STATEMENT - 1},
            {.statement = bad[i], .len = strlen(bad[i])}};
        assert_int_equal(rd_signer_sign(signer, items, 2), RD_ERR_INVALID_REQUEST);
        static const uint8_t nothing[64];
        assert_memory_equal(items[0].signature, nothing, 64); /* all or nothing */
        assert_int_equal(rd_signer_sign(signer, items, 1), RD_OK);
        assert_signed(signer, &items[0]);
    }
    static const char with_nul[] = RD_STATEMENT_PREFIX "\"a\":\"\0\"}";
    struct rd_signer_item item = {.statement = with_nul, .len = sizeof with_nul - 1};
    assert_int_equal(rd_signer_sign(signer, &item, 1), RD_ERR_INVALID_REQUEST);
    assert_int_equal(rd_signer_pid(signer), pid);
    rd_signer_stop(signer);
}

struct thread_work {
    struct rd_signer *signer;
    unsigned number;
};

static void *sign_in_a_thread(void *arg)
{
    const struct thread_work *work = arg;
    for (unsigned round = 0; round < 40; round++) {
        struct rd_signer_item items[8];
        char *texts[8];
        size_t count = 1 + round % 8;
        for (size_t i = 0; i < count; i++) {
            texts[i] = statement_of(200, work->number * 1000 + round * 8 + (unsigned)i);
            items[i] = (struct rd_signer_item){.statement = texts[i], .len = 200};
        }
        assert_int_equal(rd_signer_sign(work->signer, items, count), RD_OK);
        for (size_t i = 0; i < count; i++) {
            assert_signed(work->signer, &items[i]);
            rd_mem_free(texts[i]);
        }
        assert_true(rd_signer_alive(work->signer));
    }
    return NULL;
}

static void threads_share_one_signer(void **state)
{
    (void)state;
    struct rd_signer *signer = start();
    pthread_t threads[4];
    struct thread_work work[4];
    for (unsigned i = 0; i < 4; i++) {
        work[i] = (struct thread_work){signer, i};
        assert_int_equal(pthread_create(&threads[i], NULL, sign_in_a_thread, &work[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    rd_signer_stop(signer);
}

/* Waits for the death of a child that somebody else will reap. */
static void await_end(int pid)
{
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static void await_mono(uint64_t until_ns)
{
    while (rd_clock_mono_ns() < until_ns) {
        (void)poll(NULL, 0, 10);
    }
}

static void recovers_from_kill_9(void **state)
{
    (void)state;
    uint64_t started = rd_clock_mono_ns();
    struct rd_signer *signer = start();
    struct rd_signer_item item = {.statement = KNOWN_STATEMENT, .len = sizeof KNOWN_STATEMENT - 1};
    int first = rd_signer_pid(signer);
    assert_true(rd_signer_alive(signer));
    assert_int_equal(kill(first, SIGKILL), 0);
    await_end(first);
    assert_false(rd_signer_alive(signer));
    assert_int_equal(rd_signer_pid(signer), 0);
    assert_int_equal(waitpid(first, NULL, WNOHANG), -1); /* reaped: no zombie */
    assert_int_equal(errno, ECHILD);
    /* It was started less than a second ago: not yet again. */
    if (rd_clock_mono_ns() - started < 900000000u) {
        assert_int_equal(rd_signer_sign(signer, &item, 1), RD_ERR_STORAGE);
    }
    await_mono(started + 1100000000u);
    assert_int_equal(rd_signer_sign(signer, &item, 1), RD_OK);
    assert_signed(signer, &item);
    int second = rd_signer_pid(signer);
    assert_true(second > 0 && second != first);
    /* Killed again, later than a second after its start, and nobody looked: the batch does not
     * notice. */
    uint64_t restarted = rd_clock_mono_ns();
    await_mono(restarted + 1100000000u);
    assert_int_equal(kill(second, SIGKILL), 0);
    await_end(second);
    memset(item.signature, 0, 64);
    assert_int_equal(rd_signer_sign(signer, &item, 1), RD_OK);
    assert_signed(signer, &item);
    assert_int_equal(waitpid(second, NULL, WNOHANG), -1);
    rd_signer_stop(signer);
}

static void another_key_after_a_restart_is_refused(void **state)
{
    (void)state;
    uint64_t started = rd_clock_mono_ns();
    struct rd_signer *signer = start();
    struct rd_signer_item item = {.statement = KNOWN_STATEMENT, .len = sizeof KNOWN_STATEMENT - 1};
    assert_int_equal(unlink(key_file), 0);
    int pid = rd_signer_pid(signer);
    assert_int_equal(kill(pid, SIGKILL), 0);
    await_end(pid);
    await_mono(started + 1100000000u);
    assert_int_equal(rd_signer_sign(signer, &item, 1), RD_ERR_STORAGE);
    assert_int_equal(rd_signer_pid(signer), 0);
    rd_signer_stop(signer);
}

static void start_says_what_is_wrong(void **state)
{
    (void)state;
    struct rd_signer *signer = NULL;
    struct rd_why why = {""};
    assert_int_not_equal(rd_signer_start("/nonexistent/render-signer", key_file, &signer, &why),
                         RD_OK);
    assert_non_null(strstr(why.text, "/nonexistent/render-signer"));
    assert_int_equal(rd_fs_write_atomic(key_file, "garbage", 7, 0600, NULL), RD_OK);
    assert_int_equal(rd_signer_start(program, key_file, &signer, &why), RD_ERR_STORAGE);
    assert_non_null(strstr(why.text, "is not a render signing key"));
    assert_int_equal(rd_fs_write_atomic(key_file, "garbage", 7, 0644, NULL), RD_OK);
    assert_int_equal(rd_signer_start(program, key_file, &signer, &why), RD_ERR_STORAGE);
    assert_non_null(strstr(why.text, "has mode 0644; it must be 0600"));
    assert_int_equal(rd_signer_start(program, "/nonexistent/key", &signer, NULL), RD_ERR_STORAGE);
    assert_int_equal(rd_signer_start("/bin/true", key_file, &signer, &why), RD_ERR_STORAGE);
    assert_non_null(strstr(why.text, "ended or gave no answer"));
    assert_null(signer);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left of any of these */
}

/* ---- what the kernel says about the process ---- */

static bool status_has(int pid, const char *line)
{
    char path[64];
    char text[8192];
    (void)snprintf(path, sizeof path, "/proc/%d/status", pid);
    RD_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t len = read(fd, text, sizeof text - 1);
    assert_true(len > 0);
    text[len] = '\0';
    return strstr(text, line) != NULL;
}

/* Descriptors 0 to 3 and no more: /dev/null twice, stderr, the channel. The descriptors of a
 * process that cannot be traced are only shown to root. */
static void assert_descriptors(int pid)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        assert_int_equal(errno, EACCES);
        assert_int_not_equal(geteuid(), 0);
        return;
    }
    int sockets = 0;
    const struct dirent *entry = readdir(dir);
    for (; entry != NULL; entry = readdir(dir)) {
        char target[256] = "";
        if (entry->d_name[0] == '.') {
            continue;
        }
        if (readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1) < 0) {
            continue;
        }
        assert_in_range(atoi(entry->d_name), 0, 3);
        if (strncmp(target, "socket:", 7) == 0 && strcmp(entry->d_name, "2") != 0) {
            assert_string_equal(entry->d_name, "3");
            sockets++;
        }
    }
    (void)closedir(dir);
    assert_int_equal(sockets, 1);
}

static void the_process_is_locked_down(void **state)
{
    (void)state;
    int leaked = open("/dev/null", O_RDONLY); /* without CLOEXEC on purpose: must not reach it */
    struct rd_signer *signer = start();
    int pid = rd_signer_pid(signer);
    assert_true(status_has(pid, "\nSeccomp:\t2\n"));
    assert_true(status_has(pid, "\nNoNewPrivs:\t1\n"));
    assert_descriptors(pid);
    /* Polite signals do not end it: the gateway still drains. */
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(kill(pid, SIGINT), 0);
    assert_int_equal(kill(pid, SIGHUP), 0);
    sign_all(signer, 1, 100);
    assert_int_equal(rd_signer_pid(signer), pid);
    rd_signer_stop(signer);
    (void)close(leaked);
}

/* ---- a dishonest signer; which one is in the environment ---- */

static void answer(int channel, unsigned kind, unsigned count, uint32_t length, size_t really)
{
    uint8_t frame[RD_SIGNER_HEADER_LEN + 1024] = {0};
    rd_signer_header_write(frame, (struct rd_signer_header){.kind = (uint16_t)kind,
                                                            .count = (uint16_t)count,
                                                            .length = length});
    (void)!write(channel, frame, RD_SIGNER_HEADER_LEN + really);
}

static int play_dishonest(void)
{
    const char *mode = getenv("DISHONEST");
    char drain[4096];
    if (mode == NULL || read(3, drain, sizeof drain) <= 0) {
        return 1;
    }
    if (strcmp(mode, "short-key") == 0) {
        answer(3, RD_SIGNER_PUBLIC_KEY, 1, 31, 31);
    } else if (strcmp(mode, "magic") == 0) {
        (void)!write(3, "XXXXXXXXXXXXXXXXXXXXXXXX", 24);
    } else if (strcmp(mode, "long-failure") == 0) {
        answer(3, RD_SIGNER_FAILED, 0, RD_SIGNER_FAILED_MAX + 1, 600);
    } else {
        answer(3, RD_SIGNER_PUBLIC_KEY, 1, 32, 32);
        (void)!read(3, drain, sizeof drain);
        if (strcmp(mode, "kind") == 0) {
            answer(3, 77, 1, 64, 64);
        } else if (strcmp(mode, "count") == 0) {
            answer(3, RD_SIGNER_SIGN_STATEMENTS, 2, 128, 128);
        } else if (strcmp(mode, "length") == 0) {
            answer(3, RD_SIGNER_SIGN_STATEMENTS, 1, UINT32_MAX, 64);
        } else if (strcmp(mode, "cut") == 0) {
            answer(3, RD_SIGNER_SIGN_STATEMENTS, 1, 64, 63);
        }
    }
    return 0;
}

static void nonsense_from_the_signer_is_an_error(void **state)
{
    (void)state;
    static const char *const at_start[] = {"short-key", "magic", "long-failure"};
    static const char *const at_signing[] = {"kind", "count", "length", "cut"};
    struct rd_signer *signer = NULL;
    for (size_t i = 0; i < sizeof at_start / sizeof at_start[0]; i++) {
        assert_int_equal(setenv("DISHONEST", at_start[i], 1), 0);
        assert_int_equal(rd_signer_start(self, key_file, &signer, NULL), RD_ERR_STORAGE);
    }
    for (size_t i = 0; i < sizeof at_signing / sizeof at_signing[0]; i++) {
        struct rd_signer_item item = {.statement = KNOWN_STATEMENT,
                                      .len = sizeof KNOWN_STATEMENT - 1};
        assert_int_equal(setenv("DISHONEST", at_signing[i], 1), 0);
        assert_int_equal(rd_signer_start(self, key_file, &signer, NULL), RD_OK);
        assert_int_equal(rd_signer_sign(signer, &item, 1), RD_ERR_STORAGE);
        static const uint8_t nothing[64];
        assert_memory_equal(item.signature, nothing, 64);
        rd_signer_stop(signer);
    }
    rd_signer_stop(NULL);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(int argc, char **argv)
{
    if (argc > 2) { /* started as a signer */
        return play_dishonest();
    }
    if (argc < 2 || realpath(argv[0], self) == NULL) {
        (void)fputs("usage: signer_test PATH_OF_RENDER_SIGNER\n", stderr);
        return 2;
    }
    program = argv[1];
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(makes_a_key_and_keeps_it),
        WITH_FOLDER(known_key_gives_the_known_signature),
        WITH_FOLDER(batches_at_and_over_the_limits),
        WITH_FOLDER(a_bad_statement_is_refused_and_the_signer_stays),
        WITH_FOLDER(threads_share_one_signer),
        WITH_FOLDER(recovers_from_kill_9),
        WITH_FOLDER(another_key_after_a_restart_is_refused),
        WITH_FOLDER(start_says_what_is_wrong),
        WITH_FOLDER(the_process_is_locked_down),
        WITH_FOLDER(nonsense_from_the_signer_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
