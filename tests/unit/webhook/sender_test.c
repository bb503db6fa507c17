/* SPDX-License-Identifier: Apache-2.0
 *
 * The sender against receivers that do everything wrong, with an outbox in memory (outbox_fake.h)
 * and the schedule hurried where it would take days. Each refusal of the guard has its control: the
 * same URL is delivered to when its host is allowed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <sodium.h>

#include "../fetch/loopback.h"
#include "base/clock.h"
#include "base/limits.h"
#include "outbox_fake.h"
#include "webhook/hook.h"
#include "webhook/sign.h"

#define HURRY 10000000 /* a day is 9 ms */
static const char body[] = "{\"type\":\"job.complete\",\"timestamp\":\"2026-11-22T00:00:00Z\"}";

static const char *const names[] = {"127.0.0.1"};
static const struct rd_fetch_options closed = {.max_bytes = 0};
static const struct rd_fetch_options opened = {.allow_hosts = names, .allow_hosts_count = 1};

static struct loopback *server;
static struct rd_webhook_sender *sender;

/* What came, and the gate at which "/gate" waits. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char head[4096], text[65536]; /* of the newest request */
    unsigned came, inside, most;
    bool open;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void wait_at_gate(void)
{
    (void)pthread_mutex_lock(&seen.lock);
    seen.inside++;
    seen.most = seen.inside > seen.most ? seen.inside : seen.most;
    (void)pthread_cond_broadcast(&seen.changed);
    while (!seen.open) {
        (void)pthread_cond_wait(&seen.changed, &seen.lock);
    }
    seen.inside--;
    (void)pthread_mutex_unlock(&seen.lock);
}

static void wait_inside(unsigned count)
{
    (void)pthread_mutex_lock(&seen.lock);
    while (seen.inside < count) {
        (void)pthread_cond_wait(&seen.changed, &seen.lock);
    }
    (void)pthread_mutex_unlock(&seen.lock);
}

static void open_gate(void)
{
    (void)pthread_mutex_lock(&seen.lock);
    seen.open = true;
    (void)pthread_cond_broadcast(&seen.changed);
    (void)pthread_mutex_unlock(&seen.lock);
}

static void flood_headers(int fd)
{
    loopback_printf(fd, "HTTP/1.1 200 OK\r\n");
    for (unsigned i = 0; i < 100; i++) {
        loopback_printf(fd, "X-%u: %0400u\r\n", i, i);
    }
}

static void endless(int fd)
{
    static const char piece[4096] = "z";
    loopback_printf(fd, "HTTP/1.1 200 OK\r\n\r\n");
    for (unsigned i = 0; i < 10000; i++) {
        loopback_send(fd, piece, sizeof piece);
    }
}

/* The path says what the receiver does. */
static bool handle(void *ctx, int fd, const struct loopback_request *request)
{
    (void)ctx;
    char path[64] = "";
    (void)sscanf(request->head, "%*s %63s", path);
    (void)pthread_mutex_lock(&seen.lock);
    seen.came++;
    (void)snprintf(seen.head, sizeof seen.head, "%s", request->head);
    (void)snprintf(seen.text, sizeof seen.text, "%s", request->body);
    (void)pthread_mutex_unlock(&seen.lock);
    unsigned long number = strtoul(path + strcspn(path, "0123456789"), NULL, 10);
    if (strncmp(path, "/status/", 8) == 0) {
        loopback_printf(fd, "HTTP/1.1 %lu X\r\nContent-Length: 2\r\n\r\nno", number);
    } else if (strncmp(path, "/busy/", 6) == 0) {
        loopback_printf(fd, "HTTP/1.1 429 X\r\nRetry-After: %lu\r\nContent-Length: 0\r\n\r\n",
                        number);
    } else if (strcmp(path, "/moved") == 0) {
        loopback_printf(fd, "HTTP/1.1 307 X\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n");
    } else if (strcmp(path, "/mute") == 0) {
        loopback_wait_gone(fd);
        return false;
    } else if (strcmp(path, "/interim") == 0) {
        loopback_printf(fd, "HTTP/1.1 100 Continue\r\n\r\n");
        loopback_wait_gone(fd);
        return false;
    } else if (strcmp(path, "/late-body") == 0) {
        loopback_printf(fd, "HTTP/1.1 202 X\r\nContent-Length: 9\r\n\r\nabc");
        loopback_wait_gone(fd);
        return false;
    } else if (strcmp(path, "/endless") == 0) {
        endless(fd);
        return false;
    } else if (strcmp(path, "/headers") == 0) {
        flood_headers(fd);
        return false;
    } else if (strcmp(path, "/close") == 0) {
        return false;
    } else if (strcmp(path, "/reset") == 0) {
        loopback_reset_on_close(fd);
        return false;
    } else if (strcmp(path, "/noise") == 0) {
        loopback_printf(fd, "SSH-2.0-OpenSSH_9.2\r\n");
        return false;
    } else {
        if (strcmp(path, "/gate") == 0) {
            wait_at_gate();
        }
        loopback_printf(fd, "HTTP/1.1 204 X\r\n\r\n");
    }
    return true;
}

static const char *url_of(const char *path)
{
    static char url[256];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u%s", loopback_port(server), path);
    return url;
}

static void start(const struct rd_fetch_options *options, unsigned hurry, unsigned total_ms)
{
    struct rd_webhook_hook hook = {
        .hurry = hurry, .total_ms = total_ms, .trouble_ms = 5, .stop_ms = 100};
    assert_int_equal(rd_webhook_start_hooked(NULL, options, &hook, &sender, NULL), RD_OK);
}

static int setup(void **state)
{
    (void)state;
    seen.came = seen.inside = seen.most = 0;
    seen.open = false;
    server = loopback_start(handle, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    open_gate();
    rd_webhook_stop(sender);
    sender = NULL;
    loopback_stop(server);
    outbox_reset();
    return 0;
}

static void add(uint64_t n, const char *path)
{
    outbox_add(n, 7, url_of(path), body, rd_clock_wall_ms());
}

/* ---- what is sent ---- */

static void check_signed(uint64_t owner, size_t secrets)
{
    char id[64];
    char when[32];
    char signature[512];
    loopback_header(seen.head, "webhook-id", id, sizeof id);
    loopback_header(seen.head, "webhook-timestamp", when, sizeof when);
    loopback_header(seen.head, "webhook-signature", signature, sizeof signature);
    uint64_t unix_s = strtoull(when, NULL, 10);
    uint64_t now_s = rd_clock_wall_ms() / 1000;
    assert_true(unix_s <= now_s && unix_s + 30 > now_s);
    struct rd_webhook_secrets keys;
    assert_int_equal(rd_store_webhook_secrets(NULL, owner, 0, &keys), RD_OK);
    assert_int_equal(keys.count, secrets);
    struct rd_webhook_message message = {id, unix_s, seen.text, strlen(seen.text)};
    struct rd_buf wanted;
    rd_buf_init(&wanted, 1024);
    assert_int_equal(rd_webhook_signatures(&keys, &message, &wanted), RD_OK);
    assert_string_equal(signature, rd_buf_cstr(&wanted));
    rd_buf_done(&wanted);
}

static void test_what_is_sent(void **state)
{
    (void)state;
    char value[256];
    add(1, "/hook?a=b");
    start(&opened, 1, 0);
    struct rd_delivery row = outbox_wait(1, 1);
    assert_int_equal(row.state, RD_DELIVERY_DONE);
    assert_int_equal(row.attempt, 1);
    assert_int_equal(row.status, 204);
    assert_int_equal(row.next_ms, 0);
    assert_string_equal(row.reason, "");
    assert_int_equal(strncmp(seen.head, "POST /hook?a=b HTTP/1.1\r\n", 25), 0);
    assert_string_equal(seen.text, body);
    loopback_header(seen.head, "Content-Type", value, sizeof value);
    assert_string_equal(value, "application/json");
    loopback_header(seen.head, "User-Agent", value, sizeof value);
    assert_string_equal(value, "render/" RD_VERSION);
    loopback_header(seen.head, "webhook-id", value, sizeof value);
    assert_string_equal(value, "msg_1");
    check_signed(7, 1);
    outbox_secrets(2); /* a rotation: the header has three entries */
    add(2, "/hook");
    rd_webhook_wake(sender);
    (void)outbox_wait(2, 1);
    check_signed(7, 2);
}

static void test_the_whole_schedule(void **state)
{
    (void)state;
    add(1, "/status/500");
    start(&opened, HURRY, 0);
    outbox_wait_idle();
    struct rd_delivery row = outbox_row(1);
    assert_int_equal(row.state, RD_DELIVERY_FAILED);
    assert_int_equal(row.attempt, 10);
    assert_int_equal(row.next_ms, 0);
    assert_int_equal(row.status, 500);
    assert_string_equal(row.reason, "the endpoint answered 500");
    assert_int_equal(loopback_requests(server), 10);
}

static void test_the_second_try_is_five_seconds_later(void **state)
{
    (void)state;
    add(1, "/status/404");
    start(&opened, 1, 0);
    uint64_t before = rd_clock_wall_ms();
    struct rd_delivery row = outbox_wait(1, 1);
    uint64_t after = rd_clock_wall_ms();
    assert_int_equal(row.state, RD_DELIVERY_PENDING);
    assert_true(row.next_ms >= before + 5000 && row.next_ms <= after + 5500);
}

/* ---- answers ---- */

static void test_answers(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        int state, status;
        const char *reason;
    } cases[] = {
        {"/status/200", RD_DELIVERY_DONE, 200, ""},
        {"/status/299", RD_DELIVERY_DONE, 299, ""},
        {"/endless", RD_DELIVERY_DONE, 200, ""},
        {"/late-body", RD_DELIVERY_DONE, 202, ""},
        {"/moved", RD_DELIVERY_PENDING, 307, "redirects are not followed"},
        {"/status/410", RD_DELIVERY_DISABLED, 410, "no more"},
        {"/status/400", RD_DELIVERY_PENDING, 400, "answered 400"},
        {"/mute", RD_DELIVERY_PENDING, 0, "in time"},
        {"/interim", RD_DELIVERY_PENDING, 0, "in time"},
        {"/headers", RD_DELIVERY_PENDING, 0, "header block"},
        {"/close", RD_DELIVERY_PENDING, 0, "without an answer"},
        {"/reset", RD_DELIVERY_PENDING, 0, "broke"},
        {"/noise", RD_DELIVERY_PENDING, 0, "failed"},
    };
    start(&opened, 1, 300);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned before = loopback_requests(server);
        add(i + 1, cases[i].path);
        rd_webhook_wake(sender);
        struct rd_delivery row = outbox_wait(i + 1, 1);
        if ((int)row.state != cases[i].state || row.status != cases[i].status || row.attempt != 1 ||
            strstr(row.reason, cases[i].reason) == NULL) {
            fail_msg("%s: state %d, status %d, '%s'", cases[i].path, (int)row.state, row.status,
                     row.reason);
        }
        assert_int_equal(outbox_disabled(i + 1), cases[i].state == RD_DELIVERY_DISABLED);
        if (strcmp(cases[i].path, "/close") != 0 && strcmp(cases[i].path, "/reset") != 0) {
            assert_int_equal(loopback_requests(server), before + 1); /* not followed, not doubled */
        }
    }
}

/* 429: the message waits as long as asked, and so do the others of that host, untried; another
 * host's go on. A host that rests is not asked again before its time. */
static void test_a_busy_host_is_left_alone(void **state)
{
    (void)state;
    static const char *const both[] = {"127.0.0.1", "localhost"};
    const struct rd_fetch_options options = {.allow_hosts = both, .allow_hosts_count = 2};
    char other[128];
    (void)snprintf(other, sizeof other, "http://localhost:%u/ok", loopback_port(server));
    add(1, "/busy/50");
    start(&options, 1, 0);
    struct rd_delivery row = outbox_wait(1, 1);
    uint64_t now = rd_clock_wall_ms();
    assert_true(row.next_ms > now + 49000 && row.next_ms <= now + 50000);
    assert_string_equal(row.reason, "the endpoint answered 429: too many requests");
    add(2, "/ok");
    outbox_add(3, 7, other, body, now);
    rd_webhook_wake(sender);
    assert_int_equal(outbox_wait(3, 1).state, RD_DELIVERY_DONE);
    outbox_wait_writes(2, 1);
    row = outbox_row(2);
    assert_int_equal(row.state, RD_DELIVERY_PENDING);
    assert_int_equal(row.attempt, 0);
    assert_true(row.next_ms > now + 48000 && row.next_ms <= now + 52000);
    assert_int_equal(loopback_requests(server), 2);
}

static void test_sizes(void **state)
{
    (void)state;
    char *large = calloc(1, RD_LIMIT_WEBHOOK_BODY + 2);
    assert_non_null(large);
    memset(large, 'a', RD_LIMIT_WEBHOOK_BODY);
    outbox_add(1, 7, url_of("/ok"), large, 1);
    large[RD_LIMIT_WEBHOOK_BODY] = 'a';
    outbox_add(2, 7, url_of("/ok"), large, 1);
    start(&opened, 1, 0);
    outbox_wait_idle();
    assert_int_equal(outbox_row(1).state, RD_DELIVERY_DONE);
    assert_int_equal(outbox_row(2).state, RD_DELIVERY_FAILED);
    assert_string_equal(outbox_row(2).reason, "the message is too large");
    assert_int_equal(loopback_requests(server), 1);
    free(large);
}

/* ---- the guard ---- */

static void test_the_guard(void **state)
{
    (void)state;
    static const struct {
        const char *url, *reason;
    } cases[] = {
        {"https://127.0.0.1/", "no address that messages"},
        {"https://localhost/", "no address that messages"}, /* known only once it is resolved */
        {"https://[::1]/", "no address that messages"},
        {"https://10.0.0.1/", "no address that messages"},
        {"https://169.254.169.254/latest/", "no address that messages"},
        {"https://127.0.0.1:8443/", "only port 443"},
        {"http://127.0.0.1/", "only https"},
        {"nonsense", "not a URL"},
    };
    start(&closed, 1, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        outbox_add(i + 1, 7, cases[i].url, body, rd_clock_wall_ms());
        rd_webhook_wake(sender);
        struct rd_delivery row = outbox_wait(i + 1, 1);
        if (row.state != RD_DELIVERY_PENDING || row.status != 0 ||
            strstr(row.reason, cases[i].reason) == NULL) {
            fail_msg("%s: '%s'", cases[i].url, row.reason);
        }
    }
    add(100, "/ok");
    rd_webhook_wake(sender);
    assert_string_equal(outbox_wait(100, 1).reason, "only https URLs are taken");
    assert_int_equal(loopback_connections(server), 0);
    assert_int_equal(rd_webhook_configure(sender, &opened), RD_OK); /* the control */
    add(101, "/ok");
    rd_webhook_wake(sender);
    assert_int_equal(outbox_wait(101, 1).state, RD_DELIVERY_DONE);
}

/* ---- many ---- */

static void test_a_host_gets_so_many_at_once(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 40; n++) {
        add(n, "/gate");
    }
    start(&opened, 1, 0);
    wait_inside(RD_LIMIT_WEBHOOKS_HOST);
    open_gate();
    outbox_wait_idle();
    assert_int_equal(seen.most, RD_LIMIT_WEBHOOKS_HOST);
    assert_int_equal(loopback_requests(server), 40);
}

static void test_thousands(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 2000; n++) {
        add(n, "/ok");
    }
    start(&opened, 1, 0);
    outbox_wait_idle();
    assert_int_equal(loopback_requests(server), 2000); /* each once */
    assert_true(loopback_connections(server) <= 64);   /* and they are used again */
}

/* A thousand messages for a host that hangs, all due before the one for another host. */
static void test_a_hanging_host_holds_up_nobody(void **state)
{
    (void)state;
    static const char *const both[] = {"127.0.0.1", "localhost"};
    const struct rd_fetch_options options = {.allow_hosts = both, .allow_hosts_count = 2};
    char other[128];
    uint64_t now = rd_clock_wall_ms();
    (void)snprintf(other, sizeof other, "http://localhost:%u/ok", loopback_port(server));
    for (uint64_t n = 1; n <= 1000; n++) {
        outbox_add(n, 7, url_of("/mute"), body, now - 2000 + n);
    }
    outbox_add(2000, 8, other, body, now);
    start(&options, 1, 0);
    assert_int_equal(outbox_wait(2000, 1).state, RD_DELIVERY_DONE);
    assert_true(rd_clock_wall_ms() - now < 10000); /* before the first try there has timed out */
    assert_int_equal(loopback_requests(server), RD_LIMIT_WEBHOOKS_HOST + 1);
}

/* A tenant whose many hosts all hang gets its share of the workers, and no more. */
static void test_a_tenant_with_many_hanging_hosts(void **state)
{
    (void)state;
    enum { HOSTS = 12, EACH = 8 };
    struct loopback *hosts[HOSTS];
    char url[128];
    uint64_t now = rd_clock_wall_ms();
    for (unsigned h = 0; h < HOSTS; h++) {
        hosts[h] = loopback_start(handle, NULL);
        (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/gate", loopback_port(hosts[h]));
        for (unsigned n = 0; n < EACH; n++) {
            outbox_add(h * EACH + n + 1, 7, url, body, now - 1000);
        }
    }
    outbox_add(1000, 8, url_of("/ok"), body, now);
    start(&opened, 1, 0);
    assert_int_equal(outbox_wait(1000, 1).state, RD_DELIVERY_DONE);
    wait_inside(RD_LIMIT_WEBHOOKS_TENANT);
    open_gate();
    outbox_wait_idle();
    assert_int_equal(seen.most, RD_LIMIT_WEBHOOKS_TENANT);
    for (unsigned h = 0; h < HOSTS; h++) {
        loopback_stop(hosts[h]);
    }
}

/* ---- the store fails ---- */

static void test_an_outcome_is_written_when_it_can_be(void **state)
{
    (void)state;
    outbox_fail(2, false);
    add(1, "/ok");
    start(&opened, 1, 0);
    outbox_wait_idle();
    assert_int_equal(outbox_failures(), 2);
    assert_int_equal(loopback_requests(server), 1); /* the try was not made again */
}

/* While nothing can be written, no more is read than there is room for. */
static void test_a_long_trouble(void **state)
{
    (void)state;
    uint64_t now = rd_clock_wall_ms();
    for (uint64_t n = 1; n <= 3000; n++) {
        outbox_add(n, 7, url_of("/ok"), body, now);
    }
    outbox_fail(150, false);
    start(&opened, 1, 0);
    outbox_wait_failures(150);
    assert_true(loopback_requests(server) < 1500);
    outbox_wait_idle();
    assert_int_equal(loopback_requests(server), 3000); /* each once */
}

/* What a crash between a try and its outcome looks like: the next start makes it again, with the
 * same id. A store that failed for good gets nothing more to do. */
static void test_at_least_once(void **state)
{
    (void)state;
    char first[64];
    char second[64];
    outbox_fail(1, true);
    add(1, "/ok");
    start(&opened, 1, 0);
    outbox_wait_failures(1);
    loopback_header(seen.head, "webhook-id", first, sizeof first);
    add(2, "/ok");
    rd_webhook_wake(sender);
    rd_webhook_stop(sender);
    assert_int_equal(loopback_requests(server), 1);
    assert_int_equal(outbox_pending(), 2);
    outbox_reset();
    add(1, "/ok");
    start(&opened, 1, 0);
    outbox_wait_idle();
    assert_int_equal(loopback_requests(server), 2);
    loopback_header(seen.head, "webhook-id", second, sizeof second);
    assert_string_equal(first, second);
}

/* A stop lets what runs end, and writes it down. */
static void test_stop(void **state)
{
    (void)state;
    add(1, "/gate");
    start(&opened, 1, 0);
    wait_inside(1);
    open_gate();
    rd_webhook_stop(sender);
    sender = NULL;
    assert_int_equal(outbox_row(1).state, RD_DELIVERY_DONE);
}

/* ---- test messages ---- */

struct asked {
    atomic_uint answers;
    struct rd_webhook_result result;
    char reason[128];
    pthread_mutex_t lock;
    pthread_cond_t done;
};

static void on_result(void *ctx, const struct rd_webhook_result *result)
{
    struct asked *asked = ctx;
    (void)pthread_mutex_lock(&asked->lock);
    asked->result = *result;
    (void)snprintf(asked->reason, sizeof asked->reason, "%s", result->reason);
    atomic_fetch_add(&asked->answers, 1);
    (void)pthread_cond_broadcast(&asked->done);
    (void)pthread_mutex_unlock(&asked->lock);
}

static struct asked asked = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static void wait_answers(unsigned count)
{
    (void)pthread_mutex_lock(&asked.lock);
    while (atomic_load(&asked.answers) < count) {
        (void)pthread_cond_wait(&asked.done, &asked.lock);
    }
    (void)pthread_mutex_unlock(&asked.lock);
}

static rd_err ask(uint64_t owner, const char *url)
{
    return rd_webhook_test(sender, owner, url, on_result, &asked, NULL);
}

static void test_a_test_message(void **state)
{
    (void)state;
    atomic_store(&asked.answers, 0);
    start(&opened, 1, 300);
    assert_int_equal(ask(7, url_of("/ok")), RD_OK);
    wait_answers(1);
    assert_int_equal(asked.result.err, RD_OK);
    assert_int_equal(asked.result.status, 204);
    assert_string_equal(asked.reason, "");
    assert_true(asked.result.took_ns > 0);
    check_signed(7, 1);
    assert_non_null(strstr(seen.text, "\"type\":\"webhook.test\""));
    assert_non_null(strstr(seen.head, asked.result.id));
    assert_int_equal(ask(7, url_of("/status/500")), RD_OK);
    wait_answers(2);
    assert_int_equal(asked.result.status, 500);
    assert_string_equal(asked.reason, "the endpoint answered 500");
    assert_int_equal(ask(7, url_of("/mute")), RD_OK);
    wait_answers(3);
    assert_int_equal(asked.result.err, RD_OK);
    assert_int_equal(asked.result.status, 0);
    assert_non_null(strstr(asked.reason, "in time"));
    assert_int_equal(ask(7, "https://10.0.0.1/"), RD_ERR_INVALID_REQUEST);
    assert_int_equal(ask(7, "http://example.com/"), RD_ERR_INVALID_REQUEST);
    assert_int_equal(atomic_load(&asked.answers), 3);
}

static void test_so_many_tests_at_once(void **state)
{
    (void)state;
    atomic_store(&asked.answers, 0);
    start(&opened, 1, 0);
    for (unsigned i = 0; i < RD_LIMIT_WEBHOOK_TESTS_TENANT; i++) {
        assert_int_equal(ask(7, url_of("/gate")), RD_OK);
    }
    assert_int_equal(ask(7, url_of("/gate")), RD_ERR_RATE_LIMITED);
    assert_int_equal(ask(8, url_of("/ok")), RD_OK); /* another tenant's are not counted */
    wait_answers(1);
    open_gate();
    wait_answers(RD_LIMIT_WEBHOOK_TESTS_TENANT + 1);
    assert_int_equal(ask(7, url_of("/ok")), RD_OK);
    wait_answers(RD_LIMIT_WEBHOOK_TESTS_TENANT + 2);
}

static void test_a_test_when_the_sender_stops(void **state)
{
    (void)state;
    atomic_store(&asked.answers, 0);
    start(&opened, 1, 0);
    assert_int_equal(ask(7, url_of("/mute")), RD_OK);
    while (loopback_requests(server) == 0) {
        (void)sched_yield();
    }
    rd_webhook_stop(sender);
    sender = NULL;
    assert_int_equal(atomic_load(&asked.answers), 1);
    assert_int_equal(asked.result.err, RD_ERR_CANCELLED);
}

static bool told(const char *line)
{
    struct rd_buf text;
    rd_buf_init(&text, 4096);
    rd_webhook_metrics(sender, &text);
    bool found = strstr(rd_buf_cstr(&text), line) != NULL;
    rd_buf_done(&text);
    return found;
}

static void test_metrics(void **state)
{
    (void)state;
    add(1, "/ok");
    add(2, "/status/410");
    add(3, "/status/500"); /* again in 5 s */
    outbox_add(4, 7, url_of("/gate"), body, rd_clock_wall_ms() - 60000);
    start(&opened, 1, 0);
    (void)outbox_wait(1, 1);
    (void)outbox_wait(2, 1);
    (void)outbox_wait(3, 1);
    assert_true(told("tries_total{outcome=\"delivered\"} 1\n"));
    assert_true(told("tries_total{outcome=\"gone\"} 1\n"));
    assert_true(told("tries_total{outcome=\"again\"} 1\n"));
    assert_true(told("tries_total{outcome=\"failed\"} 0\n"));
    while (!told("\nrender_webhook_pending 2\n")) {
        (void)sched_yield();
    }
    assert_true(told("\nrender_webhook_running 1\n"));
    assert_true(told("\nrender_webhook_oldest_seconds 60."));
    open_gate();
    while (!told("\nrender_webhook_pending 1\n")) {
        (void)sched_yield();
    }
    assert_true(told("\nrender_webhook_oldest_seconds 0.000\n")); /* not due yet */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_sent),
        TEST(test_the_whole_schedule),
        TEST(test_the_second_try_is_five_seconds_later),
        TEST(test_answers),
        TEST(test_a_busy_host_is_left_alone),
        TEST(test_sizes),
        TEST(test_the_guard),
        TEST(test_a_host_gets_so_many_at_once),
        TEST(test_thousands),
        TEST(test_a_hanging_host_holds_up_nobody),
        TEST(test_a_tenant_with_many_hanging_hosts),
        TEST(test_an_outcome_is_written_when_it_can_be),
        TEST(test_a_long_trouble),
        TEST(test_at_least_once),
        TEST(test_stop),
        TEST(test_a_test_message),
        TEST(test_so_many_tests_at_once),
        TEST(test_a_test_when_the_sender_stops),
        TEST(test_metrics),
    };
    if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        return 1;
    }
    int failed = cmocka_run_group_tests_name("webhook/sender", tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
