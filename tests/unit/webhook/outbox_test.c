/* SPDX-License-Identifier: Apache-2.0
 *
 * The sender on the real store, killed over and over. The program starts itself again as a child
 * that only sends; the parent is the endpoint, and kills the child (SIGKILL) whenever so many
 * messages have come. In the end every message has come at least once, under its own id, and the
 * store says delivered. */
#include "../store/fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include <curl/curl.h>
#include <sodium.h>

#include "../fetch/loopback.h"
#include "base/clock.h"
#include "store/jobs.h"
#include "webhook/sender.h"

enum { MESSAGES = 400, KILL_EVERY = 23 };

static const char *program;
static const char *const names[] = {"127.0.0.1"};
static const struct rd_fetch_options options = {.allow_hosts = names, .allow_hosts_count = 1};

/* ---- the endpoint ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t came;
    unsigned count, kill_at; /* messages so far; the child is killed at so many */
    pid_t child;
    unsigned times[MESSAGES]; /* each came */
    char ids[MESSAGES][RD_ID_MAX];
    bool mixed; /* a message came under two ids */
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER};

static bool handle(void *ctx, int fd, const struct loopback_request *request)
{
    (void)ctx;
    char id[RD_ID_MAX];
    loopback_header(request->head, "webhook-id", id, sizeof id);
    unsigned long n = strtoul(request->body + strcspn(request->body, "0123456789"), NULL, 10);
    (void)pthread_mutex_lock(&seen.lock);
    seen.mixed = seen.mixed || n >= MESSAGES || (seen.times[n] > 0 && strcmp(seen.ids[n], id) != 0);
    if (!seen.mixed) {
        seen.times[n]++;
        (void)snprintf(seen.ids[n], sizeof seen.ids[n], "%s", id);
    }
    if (++seen.count == seen.kill_at && seen.child > 0) {
        (void)kill(seen.child, SIGKILL); /* between a try and its outcome */
    }
    (void)pthread_mutex_unlock(&seen.lock);
    loopback_printf(fd, "HTTP/1.1 204 X\r\n\r\n");
    return true;
}

/* ---- the child ---- */

static bool any(void *ctx, const struct rd_delivery *delivery)
{
    (void)delivery;
    *(bool *)ctx = true;
    return false;
}

static bool pending(struct rd_store *store)
{
    bool found = false;
    const struct rd_job_filter filter = {.after = "", .status = RD_DELIVERY_PENDING, .limit = 1};
    rd_err err = rd_store_deliveries_list(store, &filter, any, &found);
    return err != RD_OK || found;
}

/* Sends until nothing is pending. */
static int child(const char *dir)
{
    struct rd_store *store = NULL;
    struct rd_webhook_sender *sender = NULL;
    struct rd_why why = {""};
    if (rd_store_open(dir, &store, &why) != RD_OK ||
        rd_webhook_start(store, &options, &sender, &why) != RD_OK) {
        (void)fprintf(stderr, "child: %s\n", why.text);
        return 1;
    }
    while (pending(store)) {
        (void)sched_yield();
    }
    rd_webhook_stop(sender);
    rd_store_close(store);
    return 0;
}

static pid_t spawn(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)execl("/proc/self/exe", program, "child", test_dir, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* ---- the parent ---- */

static void fill(unsigned port)
{
    struct rd_store *store = NULL;
    struct rd_key key;
    char text[RD_KEY_TEXT_LEN + 1];
    char url[64];
    char body[64];
    assert_int_equal(rd_store_open(test_dir, &store, NULL), RD_OK);
    assert_int_equal(rd_store_key_create(store, "acme", "x", RD_SCOPE_ALL, 0, &key, text, NULL),
                     RD_OK);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/hook", port);
    for (unsigned n = 0; n < MESSAGES; n++) {
        struct rd_job_write writes[2] = {
            {.kind = RD_WRITE_ADD,
             .row = {.n = n + 1,
                     .owner = key.owner,
                     .lane = 1,
                     .model = "builtin/plasma",
                     .kind = -1,
                     .units = 1,
                     .request = "{}",
                     .request_len = 2,
                     .request_id = "req_1234567890123456789012",
                     .webhook = url,
                     .created_ms = rd_clock_wall_ms()}},
            {.kind = RD_WRITE_END,
             .row = {.n = n + 1,
                     .status = RD_STATUS_COMPLETE,
                     .result = "[]",
                     .ended_ms = rd_clock_wall_ms()},
             .message = body},
        };
        rd_id_new("j_", writes[0].row.id);
        rd_id_new("msg_", writes[1].message_id);
        (void)snprintf(body, sizeof body, "{\"message\":%u}", n);
        assert_int_equal(rd_store_jobs_apply(store, writes, 2), RD_OK);
        assert_int_equal(writes[0].err, RD_OK);
        assert_int_equal(writes[1].err, RD_OK);
    }
    rd_store_close(store);
}

static bool check_row(void *ctx, const struct rd_delivery *delivery)
{
    unsigned *count = ctx;
    unsigned long n = strtoul(delivery->body + strcspn(delivery->body, "0123456789"), NULL, 10);
    assert_int_equal(delivery->state, RD_DELIVERY_DONE);
    assert_int_equal(delivery->attempt, 1);
    assert_int_equal(delivery->status, 204);
    assert_string_equal(delivery->id, seen.ids[n]);
    ++*count;
    return true;
}

static void test_killed_over_and_over(void **state)
{
    (void)state;
    struct loopback *server = loopback_start(handle, NULL);
    fill(loopback_port(server));
    unsigned killed = 0;
    for (int status = -1; status != 0;) {
        (void)pthread_mutex_lock(&seen.lock);
        seen.kill_at = seen.count + KILL_EVERY + killed;
        seen.child = spawn();
        assert_true(seen.child > 0);
        pid_t pid = seen.child;
        (void)pthread_mutex_unlock(&seen.lock);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        (void)pthread_mutex_lock(&seen.lock);
        seen.child = 0;
        (void)pthread_mutex_unlock(&seen.lock);
        assert_true(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
        killed += status != 0;
    }
    assert_true(killed >= 5);
    loopback_stop(server);
    assert_false(seen.mixed);
    unsigned doubled = 0;
    for (unsigned n = 0; n < MESSAGES; n++) {
        assert_true(seen.times[n] >= 1);
        doubled += seen.times[n] - 1;
    }
    assert_true(doubled <= killed * 300); /* what was in the air, not everything */
    struct rd_store *store = NULL;
    unsigned count = 0;
    const struct rd_job_filter filter = {.after = "", .status = -1, .limit = 2 * MESSAGES};
    assert_int_equal(rd_store_open(test_dir, &store, NULL), RD_OK);
    assert_int_equal(rd_store_deliveries_list(store, &filter, check_row, &count), RD_OK);
    assert_int_equal(count, MESSAGES);
    rd_store_close(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_killed_over_and_over, test_setup, test_teardown),
    };
    if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        return 1;
    }
    if (argc == 3 && strcmp(argv[1], "child") == 0) {
        return child(argv[2]);
    }
    program = argv[0];
    return cmocka_run_group_tests_name("webhook/outbox", tests, NULL, NULL);
}
