/* SPDX-License-Identifier: Apache-2.0
 *
 * server.c: answers that are given later, from another thread, and clients that leave meanwhile.
 * The promises of server.h that are tested here: gone() comes within 100 ms, once, and never after
 * the reply; an exchange lives until done(); a reply may race with everything. The races are run
 * many times, under the sanitizers too; what they must not do is checked in every one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "harness.h"

enum { PENDING_MAX = 2048, GONE_MS_MAX = 100 };

/* Exchanges that wait for the test to reply, first come first, and what was heard of them. */
struct desk {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct rd_http_exchange *pending[PENDING_MAX];
    unsigned pending_count;
    unsigned gone, done, sent;
    uint64_t gone_at_ms;
};

static void desk_init(struct desk *desk)
{
    memset(desk, 0, sizeof *desk);
    assert_int_equal(pthread_mutex_init(&desk->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&desk->changed, NULL), 0);
}

static void desk_done(struct desk *desk)
{
    (void)pthread_cond_destroy(&desk->changed);
    (void)pthread_mutex_destroy(&desk->lock);
}

static void put(struct desk *desk, struct rd_http_exchange *x)
{
    rd_http_suspend(x);
    pthread_mutex_lock(&desk->lock);
    desk->pending[desk->pending_count++] = x;
    pthread_cond_broadcast(&desk->changed);
    pthread_mutex_unlock(&desk->lock);
}

static void on_headers(void *ctx, struct rd_http_exchange *x)
{
    (void)ctx;
    rd_http_buffer_body(x, 1000);
}

static void on_request(void *ctx, struct rd_http_exchange *x)
{
    put(ctx, x);
}

static void on_gone(void *ctx, struct rd_http_exchange *x)
{
    struct desk *desk = ctx;
    assert_int_equal(strncmp(rd_http_request_id(x), "req_", 4), 0); /* it is alive */
    pthread_mutex_lock(&desk->lock);
    desk->gone++;
    desk->gone_at_ms = harness_now_ms();
    pthread_cond_broadcast(&desk->changed);
    pthread_mutex_unlock(&desk->lock);
}

static void on_done(void *ctx, struct rd_http_exchange *x, bool sent)
{
    struct desk *desk = ctx;
    (void)x;
    pthread_mutex_lock(&desk->lock);
    desk->done++;
    desk->sent += sent ? 1 : 0;
    pthread_cond_broadcast(&desk->changed);
    pthread_mutex_unlock(&desk->lock);
}

static struct rd_http_server *start(struct desk *desk, unsigned threads)
{
    desk_init(desk);
    const struct rd_http_app app = {.ctx = desk,
                                    .headers = on_headers,
                                    .request = on_request,
                                    .gone = on_gone,
                                    .done = on_done};
    return harness_start(&app, threads);
}

/* Waits until *count is at least `least`; the test fails when that takes too long. */
static void wait_for(struct desk *desk, const unsigned *count, unsigned least)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += HARNESS_PATIENCE_MS / 1000;
    int timed_out = 0;
    pthread_mutex_lock(&desk->lock);
    while (*count < least && timed_out == 0) {
        timed_out = pthread_cond_timedwait(&desk->changed, &desk->lock, &until);
    }
    unsigned have = *count;
    pthread_mutex_unlock(&desk->lock);
    if (have < least) {
        fail_msg("%u instead of %u", have, least);
    }
}

static struct rd_http_exchange *take(struct desk *desk)
{
    wait_for(desk, &desk->pending_count, 1);
    pthread_mutex_lock(&desk->lock);
    struct rd_http_exchange *x = desk->pending[0];
    desk->pending_count--;
    memmove(desk->pending, desk->pending + 1, desk->pending_count * sizeof *desk->pending);
    pthread_mutex_unlock(&desk->lock);
    return x;
}

static const char get[] = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

static unsigned gone_so_far(struct desk *desk)
{
    pthread_mutex_lock(&desk->lock);
    unsigned gone = desk->gone;
    pthread_mutex_unlock(&desk->lock);
    return gone;
}

/* ---- one at a time ---- */

static void a_reply_from_another_thread(void **state)
{
    (void)state;
    struct desk desk;
    struct rd_http_server *server = start(&desk, 1);
    int fd = harness_connect(server);
    for (unsigned i = 0; i < 20; i++) {
        if (i % 2 == 0) {
            harness_text(fd, "%s", get);
        } else {
            harness_text(fd, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
        }
        harness_ok(take(&desk), "later");
        harness_expect(fd, 200, "later");
    }
    (void)close(fd);
    harness_stop(server);
    assert_int_equal(desk.done, 20);
    assert_int_equal(desk.sent, 20);
    assert_int_equal(desk.gone, 0);
    desk_done(&desk);
}

static void reply_at_once(void *ctx, struct rd_http_exchange *x)
{
    (void)ctx;
    rd_http_suspend(x);
    harness_ok(x, "at once");
}

static void a_reply_right_after_the_suspension(void **state)
{
    (void)state;
    const struct rd_http_app app = {.request = reply_at_once};
    struct rd_http_server *server = harness_start(&app, 1);
    int fd = harness_connect(server);
    for (unsigned round = 0; round < 100; round++) {
        harness_text(fd, "%s", get);
        harness_expect(fd, 200, "at once");
    }
    (void)close(fd);
    harness_stop(server);
}

static void a_client_that_closes_is_noticed_at_once(void **state)
{
    (void)state;
    struct desk desk;
    struct rd_http_server *server = start(&desk, 1);
    for (unsigned i = 1; i <= 20; i++) {
        int fd = harness_connect(server);
        harness_text(fd, "%s", get);
        struct rd_http_exchange *x = take(&desk);
        uint64_t left_ms = harness_now_ms();
        if (i % 3 == 0) { /* a reset instead of a close */
            const struct linger now = {.l_onoff = 1, .l_linger = 0};
            assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
        }
        if (i % 3 == 1) {
            (void)shutdown(fd, SHUT_WR); /* half a close counts */
        } else {
            (void)close(fd);
        }
        wait_for(&desk, &desk.gone, i);
        uint64_t took_ms = desk.gone_at_ms - left_ms;
        harness_ok(x, "nobody reads this");
        if (took_ms > GONE_MS_MAX) {
            fail_msg("noticed after %llu ms", (unsigned long long)took_ms);
        }
        if (i % 3 == 1) {
            (void)close(fd);
        }
    }
    harness_stop(server);
    assert_int_equal(desk.gone, 20);
    assert_int_equal(desk.done, 20);
    desk_done(&desk);
}

static void a_client_that_left_before_the_suspension(void **state)
{
    (void)state;
    struct desk desk;
    struct rd_http_server *server = start(&desk, 1);
    for (unsigned i = 1; i <= 20; i++) {
        int fd = harness_connect(server);
        harness_text(fd, "%s", get);
        (void)close(fd); /* mostly before the request is read */
        struct rd_http_exchange *x = take(&desk);
        wait_for(&desk, &desk.gone, i);
        harness_ok(x, "nobody reads this");
    }
    harness_stop(server);
    assert_int_equal(desk.gone, 20);
    desk_done(&desk);
}

static void leaving_with_a_second_request_unread(void **state)
{
    (void)state;
    struct desk desk;
    struct rd_http_server *server = start(&desk, 1);
    int fd = harness_connect(server);
    harness_text(fd, "%s%s", get, get);
    struct rd_http_exchange *x = take(&desk);
    (void)close(fd);
    wait_for(&desk, &desk.gone, 1);
    harness_ok(x, "first");
    /* the second may or may not be read before the write fails; if it is, it is told as well */
    uint64_t until = harness_now_ms() + 300;
    while (harness_now_ms() < until) {
        pthread_mutex_lock(&desk.lock);
        bool another = desk.pending_count > 0;
        pthread_mutex_unlock(&desk.lock);
        if (another) {
            x = take(&desk);
            wait_for(&desk, &desk.gone, 2);
            harness_ok(x, "second");
            break;
        }
    }
    harness_stop(server);
    assert_int_equal(desk.gone, desk.done);
    desk_done(&desk);
}

static void requests_behind_a_waiting_one_wait(void **state)
{
    (void)state;
    struct desk desk;
    struct rd_http_server *server = start(&desk, 1);
    int fd = harness_connect(server);
    harness_text(fd, "%s%s%s", get, get, get);
    for (unsigned i = 0; i < 3; i++) {
        struct rd_http_exchange *x = take(&desk);
        pthread_mutex_lock(&desk.lock);
        assert_int_equal(desk.pending_count, 0); /* the next is not read before this is answered */
        assert_int_equal(desk.done, i);
        pthread_mutex_unlock(&desk.lock);
        harness_ok(x, "in turn");
        harness_expect(fd, 200, "in turn");
    }
    (void)close(fd);
    harness_stop(server);
    desk_done(&desk);
}

static void a_connection_is_watched_again_for_each_exchange(void **state)
{
    (void)state;
    struct desk desk;
    struct rd_http_server *server = start(&desk, 1);
    int fd = harness_connect(server);
    harness_text(fd, "%s", get);
    harness_ok(take(&desk), "first");
    harness_expect(fd, 200, "first");
    harness_text(fd, "%s", get);
    struct rd_http_exchange *x = take(&desk);
    assert_int_equal(gone_so_far(&desk), 0);
    (void)close(fd);
    wait_for(&desk, &desk.gone, 1);
    harness_ok(x, "nobody reads this");
    harness_stop(server);
    desk_done(&desk);
}

static void two_hundred_waiting_at_once(void **state)
{
    (void)state;
    enum { CONNECTIONS = 200 };
    struct desk desk;
    struct rd_http_server *server = start(&desk, 4);
    int fds[CONNECTIONS];
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        fds[i] = harness_connect(server);
        harness_text(fds[i], "GET /%u HTTP/1.1\r\nHost: h\r\n\r\n", i);
    }
    wait_for(&desk, &desk.pending_count, CONNECTIONS);
    for (unsigned i = 0; i < CONNECTIONS; i += 2) {
        (void)close(fds[i]);
    }
    wait_for(&desk, &desk.gone, CONNECTIONS / 2);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        struct rd_http_exchange *x = take(&desk);
        char path[32];
        (void)snprintf(path, sizeof path, "%s", rd_http_request_path(x));
        harness_ok(x, path);
    }
    for (unsigned i = 1; i < CONNECTIONS; i += 2) {
        char path[32];
        (void)snprintf(path, sizeof path, "/%u", i);
        harness_expect(fds[i], 200, path);
        (void)close(fds[i]);
    }
    harness_stop(server);
    assert_int_equal(desk.gone, CONNECTIONS / 2);
    assert_int_equal(desk.done, CONNECTIONS);
    desk_done(&desk);
}

/* ---- races ---- */

/* One exchange of a race: what happened to it, outside the exchange's own life. */
struct racer {
    atomic_uint gone, done;
    atomic_bool replied; /* rd_http_reply has returned */
};

struct race {
    struct desk desk;
    struct racer *racers;
    atomic_bool over;
    atomic_uint wrong, finished;
};

static void race_request(void *ctx, struct rd_http_exchange *x)
{
    struct race *race = ctx;
    unsigned number = 0;
    if (sscanf(rd_http_request_path(x), "/%u", &number) != 1) {
        atomic_fetch_add(&race->wrong, 1);
    }
    rd_http_set_user(x, &race->racers[number]);
    put(&race->desk, x);
}

static void race_gone(void *ctx, struct rd_http_exchange *x)
{
    struct race *race = ctx;
    struct racer *racer = rd_http_user(x);
    if (atomic_load(&racer->replied) || atomic_load(&racer->done) > 0 ||
        atomic_fetch_add(&racer->gone, 1) > 0) {
        atomic_fetch_add(&race->wrong, 1);
    }
}

static void race_done(void *ctx, struct rd_http_exchange *x, bool sent)
{
    struct race *race = ctx;
    struct racer *racer = rd_http_user(x);
    (void)sent;
    if (racer == NULL || atomic_fetch_add(&racer->done, 1) > 0) {
        atomic_fetch_add(&race->wrong, 1);
    }
    atomic_fetch_add(&race->finished, 1);
}

static void *race_replier(void *arg)
{
    struct race *race = arg;
    struct desk *desk = &race->desk;
    for (;;) {
        pthread_mutex_lock(&desk->lock);
        while (desk->pending_count == 0 && !atomic_load(&race->over)) {
            (void)pthread_cond_wait(&desk->changed, &desk->lock);
        }
        if (desk->pending_count == 0) {
            pthread_mutex_unlock(&desk->lock);
            return NULL;
        }
        struct rd_http_exchange *x = desk->pending[--desk->pending_count];
        pthread_mutex_unlock(&desk->lock);
        struct racer *racer = rd_http_user(x);
        harness_ok(x, "raced");
        atomic_store(&racer->replied, true);
    }
}

/* A client closes while its answer is given: every order of the two must be fine. */
static void closes_and_replies_race(void **state)
{
    (void)state;
    enum { ROUNDS = 2000 };
    _Static_assert((int)ROUNDS <= (int)PENDING_MAX, "all may wait at once");
    struct race race = {.racers = rd_mem_alloc_array(ROUNDS, sizeof *race.racers)};
    assert_non_null(race.racers);
    desk_init(&race.desk);
    const struct rd_http_app app = {
        .ctx = &race, .request = race_request, .gone = race_gone, .done = race_done};
    struct rd_http_server *server = harness_start(&app, 2);
    pthread_t repliers[2];
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&repliers[i], NULL, race_replier, &race), 0);
    }
    unsigned spin = 12345;
    for (unsigned i = 0; i < ROUNDS; i++) {
        int fd = harness_connect(server);
        harness_text(fd, "GET /%u HTTP/1.1\r\nHost: h\r\n\r\n", i);
        spin = spin * 1103515245u + 12345u;
        for (volatile unsigned pause = spin >> 16 & 0x3fff; pause > 0; pause--) {
        }
        (void)close(fd);
    }
    uint64_t until = harness_now_ms() + HARNESS_PATIENCE_MS;
    /* Each of them, and not until none is open: the next may not have been accepted yet, and would
     * wait for ever once nobody replies. */
    while (atomic_load(&race.finished) < ROUNDS && harness_now_ms() < until) {
        (void)usleep(1000);
    }
    atomic_store(&race.over, true);
    pthread_mutex_lock(&race.desk.lock);
    pthread_cond_broadcast(&race.desk.changed);
    pthread_mutex_unlock(&race.desk.lock);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(repliers[i], NULL), 0);
    }
    harness_stop(server);
    assert_int_equal(race.wrong, 0);
    assert_int_equal(race.finished, ROUNDS);
    for (unsigned i = 0; i < ROUNDS; i++) {
        assert_true(race.racers[i].done <= 1 && race.racers[i].gone <= 1);
        assert_int_equal(race.racers[i].done > 0, race.racers[i].replied);
    }
    rd_mem_free(race.racers);
    desk_done(&race.desk);
}

static void hanging_up_tells_who_waits_and_their_replies_end_it(void **state)
{
    (void)state;
    struct desk desk;
    struct rd_http_server *server = start(&desk, 2);
    enum { WAITING = 8 };
    int fds[WAITING];
    for (unsigned i = 0; i < WAITING; i++) {
        fds[i] = harness_connect(server);
        harness_text(fds[i], "%s", get);
    }
    wait_for(&desk, &desk.pending_count, WAITING);
    rd_http_quiesce(server);
    rd_http_hang_up(server);
    wait_for(&desk, &desk.gone, WAITING);
    for (unsigned i = 0; i < WAITING; i++) {
        harness_ok(take(&desk), "nobody reads this");
    }
    wait_for(&desk, &desk.done, WAITING);
    assert_int_equal(desk.sent, 0);
    for (unsigned i = 0; i < WAITING; i++) {
        harness_expect_closed(fds[i]);
        (void)close(fds[i]);
    }
    harness_stop(server);
    desk_done(&desk);
}

/* Two parties; each exchange has its free part, and what one holds is there again when it has
 * ended. */
static void what_requests_hold_is_bounded(void **state)
{
    (void)state;
    struct desk desk;
    struct rd_http_server *server = start(&desk, 1);
    int fds[6];
    struct rd_http_exchange *x[6];
    for (unsigned i = 0; i < 6; i++) {
        fds[i] = harness_connect(server);
        harness_text(fds[i], "%s", get);
        x[i] = take(&desk);
        rd_http_hold_for(x[i], i);
    }
    rd_http_hold_for(x[1], 0);
    assert_true(rd_http_hold(x[0], RD_LIMIT_HELD_FREE));
    assert_true(rd_http_hold(x[0], RD_LIMIT_HELD_TENANT));
    assert_false(rd_http_hold(x[0], 1));
    assert_true(rd_http_hold(x[1], RD_LIMIT_HELD_FREE)); /* small ones always pass */
    assert_false(rd_http_hold(x[1], 1));
    for (unsigned i = 2; i < 5; i++) { /* others have theirs, until all is given out */
        assert_true(rd_http_hold(x[i], RD_LIMIT_HELD_TENANT + RD_LIMIT_HELD_FREE));
    }
    assert_false(rd_http_hold(x[5], RD_LIMIT_HELD_FREE + 1));
    harness_ok(x[0], "ends");
    harness_expect(fds[0], 200, "ends");
    wait_for(&desk, &desk.done, 1);
    /* done() comes just before the account is settled */
    uint64_t until_ms = harness_now_ms() + HARNESS_PATIENCE_MS;
    while (!rd_http_hold(x[1], RD_LIMIT_HELD_TENANT)) {
        assert_true(harness_now_ms() < until_ms);
    }
    assert_false(rd_http_hold(x[5], RD_LIMIT_HELD_FREE + 1));
    for (unsigned i = 1; i < 6; i++) {
        harness_ok(x[i], "ends");
        harness_expect(fds[i], 200, "ends");
    }
    for (unsigned i = 0; i < 6; i++) {
        (void)close(fds[i]);
    }
    harness_stop(server);
    desk_done(&desk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_from_another_thread),
        cmocka_unit_test(a_reply_right_after_the_suspension),
        cmocka_unit_test(a_client_that_closes_is_noticed_at_once),
        cmocka_unit_test(a_client_that_left_before_the_suspension),
        cmocka_unit_test(leaving_with_a_second_request_unread),
        cmocka_unit_test(requests_behind_a_waiting_one_wait),
        cmocka_unit_test(a_connection_is_watched_again_for_each_exchange),
        cmocka_unit_test(two_hundred_waiting_at_once),
        cmocka_unit_test(closes_and_replies_race),
        cmocka_unit_test(hanging_up_tells_who_waits_and_their_replies_end_it),
        cmocka_unit_test(what_requests_hold_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
