/* SPDX-License-Identifier: Apache-2.0
 *
 * The sender with each of its own allocations failing once: it does not start and says so, or every
 * message is delivered all the same, since memory comes back. Only base/mem.h is wrapped, so
 * neither the test server nor libcurl suffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#include <curl/curl.h>
#include <sodium.h>

#include "../fetch/loopback.h"
#include "base/clock.h"
#include "base/mem.h"
#include "outbox_fake.h"
#include "webhook/hook.h"

static atomic_int left = -1; /* allocations until the one that fails; below 0: none does */

static bool fails(void)
{
    return atomic_load(&left) >= 0 && atomic_fetch_sub(&left, 1) == 0;
}

void *__real_rd_mem_alloc(size_t size);
void *__real_rd_mem_alloc_array(size_t count, size_t size);
void *__real_rd_mem_resize(void *block, size_t size);
char *__real_rd_mem_strdup(const char *text);
void *__wrap_rd_mem_alloc(size_t size);
void *__wrap_rd_mem_alloc_array(size_t count, size_t size);
void *__wrap_rd_mem_resize(void *block, size_t size);
char *__wrap_rd_mem_strdup(const char *text);

void *__wrap_rd_mem_alloc(size_t size)
{
    return fails() ? NULL : __real_rd_mem_alloc(size);
}

void *__wrap_rd_mem_alloc_array(size_t count, size_t size)
{
    return fails() ? NULL : __real_rd_mem_alloc_array(count, size);
}

void *__wrap_rd_mem_resize(void *block, size_t size)
{
    return fails() ? NULL : __real_rd_mem_resize(block, size);
}

char *__wrap_rd_mem_strdup(const char *text)
{
    return fails() ? NULL : __real_rd_mem_strdup(text);
}

static bool handle(void *ctx, int fd, const struct loopback_request *request)
{
    (void)ctx;
    (void)request;
    loopback_printf(fd, "HTTP/1.1 204 X\r\n\r\n");
    return true;
}

static void on_result(void *ctx, const struct rd_webhook_result *result)
{
    atomic_store((atomic_int *)ctx, result->err == RD_OK && result->status == 204 ? 1 : 2);
}

/* One run with the nth allocation failing; false when the run needs fewer. */
static bool run(int nth, const char *url)
{
    static const char *const names[] = {"127.0.0.1"};
    const struct rd_fetch_options options = {
        .allow_hosts = names, .allow_hosts_count = 1, .ca_file = "/nonexistent"};
    const struct rd_webhook_hook hook = {.hurry = 10000000, .trouble_ms = 2, .stop_ms = 100};
    struct rd_webhook_sender *sender = NULL;
    atomic_int answer = 0;
    for (uint64_t n = 1; n <= 3; n++) {
        outbox_add(n, 7, url, "{}", rd_clock_wall_ms());
    }
    atomic_store(&left, nth);
    rd_err err = rd_webhook_start_hooked(NULL, &options, &hook, &sender, NULL);
    assert_int_equal(err == RD_OK ? RD_ERR_NO_MEMORY : err, RD_ERR_NO_MEMORY);
    if (err == RD_OK) {
        err = rd_webhook_test(sender, 7, url, on_result, &answer, NULL);
        assert_true(err == RD_OK || err == RD_ERR_NO_MEMORY);
        while (err == RD_OK && atomic_load(&answer) == 0) {
            (void)sched_yield();
        }
        err = rd_webhook_configure(sender, &options);
        assert_true(err == RD_OK || err == RD_ERR_NO_MEMORY);
        outbox_wait_idle();
        for (uint64_t n = 1; n <= 3; n++) {
            assert_int_equal(outbox_row(n).state, RD_DELIVERY_DONE);
        }
        rd_webhook_stop(sender);
    }
    outbox_reset();
    return atomic_exchange(&left, -1) < 0;
}

static void test_each_allocation_fails_once(void **state)
{
    (void)state;
    char url[64];
    struct loopback *server = loopback_start(handle, NULL);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/", loopback_port(server));
    int nth = 0;
    while (run(nth, url)) {
        nth++;
    }
    assert_true(nth > 20 && nth < 1000);
    loopback_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation_fails_once)};
    if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        return 1;
    }
    return cmocka_run_group_tests_name("webhook/faults", tests, NULL, NULL);
}
