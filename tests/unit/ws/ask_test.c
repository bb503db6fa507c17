/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests and events on a connection: the order of what the client hears, answers that come late
 * or never in its time, a reader who is too slow. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "harness.h"

#define CREATED "{\"id\":\"" JOB "\",\"status\":\"queued\"}"
#define ACK "{\"type\":\"ack\",\"id\":1,\"job_id\":\"" JOB "\"}"

static void test_generate_is_watched(void **state)
{
    struct host *host = host_start(NULL);
    int fd = client_connect(host, NULL, 0);
    (void)state;
    client_text(fd, "{\"type\":\"generate\",\"id\":1,\"prompt\":\"p\"}");
    struct call *submit = host_call(host, 0, "submit");
    assert_string_equal(submit->body, "{\"prompt\":\"p\"}");
    rd_ws_submitted(submit->ask, 202, CREATED);
    client_expect(fd, ACK);
    struct call *watch = host_call(host, 1, "watch");
    assert_string_equal(watch->job, JOB);
    assert_true(watch->after == 0);
    host_event(host, watch, "started", "{}", false, NULL);
    host_event(host, watch, "", "", false, NULL); /* a heartbeat: nothing is sent */
    host_event(host, watch, "progress", "{\"progress\":0.5,\"step\":2}", false, NULL);
    host_event(host, watch, "complete", "{\"output\":\"u\"}", true, NULL);
    client_expect(fd, "{\"type\":\"started\",\"job_id\":\"" JOB "\",\"event_id\":1}");
    client_expect(fd, "{\"type\":\"progress\",\"job_id\":\"" JOB
                      "\",\"event_id\":3,\"progress\":0.5,\"step\":2}");
    client_expect(fd,
                  "{\"type\":\"complete\",\"job_id\":\"" JOB "\",\"event_id\":4,\"output\":\"u\"}");
    host_wait(host, &host->unwatched, 1);
    (void)close(fd);
    host_wait(host, &host->ended, 1);
    host_stop(host);
}

static void test_refused(void **state)
{
    struct host *host = host_start(NULL);
    int fd = client_connect(host, NULL, 0);
    (void)state;
    client_text(fd, "{\"type\":\"generate\",\"id\":\"a\"}");
    rd_ws_submitted(host_call(host, 0, "submit")->ask, 429,
                    "{\"error\":\"queue_full\",\"message\":\"m\",\"retriable\":true}");
    client_expect(fd, "{\"type\":\"error\",\"id\":\"a\",\"job_id\":null,\"code\":\"queue_full\","
                      "\"message\":\"m\",\"retriable\":true}");
    client_text(fd, "{\"type\":\"generate\",\"id\":\"b\"}");
    rd_ws_submitted(host_call(host, 1, "submit")->ask, 202, "{}"); /* an answer without a job */
    client_expect(
        fd, "{\"type\":\"error\",\"id\":\"b\",\"job_id\":null,\"code\":\"internal\",\"message\":"
            "\"an error inside the gateway; the log has the request id\"}");
    client_text(fd, "nonsense");
    client_expect(fd,
                  "{\"type\":\"error\",\"id\":null,\"job_id\":null,\"code\":\"invalid_json\","
                  "\"message\":\"a message is a JSON object: {\\\"type\\\": .., \\\"id\\\": .., "
                  "...}\",\"retriable\":false}");
    (void)close(fd);
    host_stop(host);
}

static void test_subscribe_and_cancel(void **state)
{
    struct host *host = host_start(NULL);
    int fd = client_connect(host, NULL, 0);
    (void)state;
    client_text(fd, "{\"type\":\"subscribe\",\"id\":1,\"job_id\":\"" JOB "\",\"after\":77}");
    client_expect(fd, ACK);
    assert_true(host_call(host, 0, "watch")->after == 77);
    client_text(fd, "{\"type\":\"subscribe\",\"id\":2,\"job_id\":\"" JOB "\"}");
    client_expect(fd,
                  "{\"type\":\"error\",\"id\":2,\"job_id\":\"" JOB
                  "\",\"code\":\"conflict\",\"message\":\"this connection is subscribed to the job "
                  "already\",\"retriable\":false}");
    client_text(fd, "{\"type\":\"cancel\",\"id\":1,\"job_id\":\"" JOB "\"}");
    rd_ws_cancelled(host_call(host, 1, "cancel")->ask, RD_OK);
    client_expect(fd, ACK);
    client_text(fd, "{\"type\":\"cancel\",\"id\":3,\"job_id\":\"" JOB "\"}");
    rd_ws_cancelled(host_call(host, 2, "cancel")->ask, RD_ERR_CONFLICT);
    client_expect(
        fd, "{\"type\":\"error\",\"id\":3,\"job_id\":\"" JOB
            "\",\"code\":\"conflict\",\"message\":\"the job has ended\",\"retriable\":false}");
    (void)close(fd);
    host_wait(host, &host->unwatched, 1);
    host_stop(host);
}

static void test_unknown_job(void **state)
{
    struct host *host = host_start(NULL);
    host->watch_err = RD_ERR_NOT_FOUND;
    int fd = client_connect(host, NULL, 0);
    (void)state;
    for (int i = 0; i < 2; i++) { /* the second time, too: the failed one is forgotten */
        client_text(fd, "{\"type\":\"subscribe\",\"id\":1,\"job_id\":\"" JOB "\"}");
        client_expect(fd, "{\"type\":\"error\",\"id\":1,\"job_id\":\"" JOB
                          "\",\"code\":\"not_found\",\"message\":\"no such job of this caller\","
                          "\"retriable\":false}");
    }
    (void)close(fd);
    host_stop(host);
}

static void test_job_that_has_ended(void **state)
{
    struct host *host = host_start(NULL);
    host->last_inside = true;
    int fd = client_connect(host, NULL, 0);
    (void)state;
    for (int i = 0; i < 2; i++) {
        client_text(fd, "{\"type\":\"subscribe\",\"id\":1,\"job_id\":\"" JOB "\"}");
        client_expect(fd, ACK);
        client_expect(fd, "{\"type\":\"complete\",\"job_id\":\"" JOB
                          "\",\"event_id\":7,\"output\":\"x\"}");
    }
    (void)close(fd);
    host_stop(host);
}

static void test_same_job_generated_twice(void **state)
{
    struct host *host = host_start(NULL);
    int fd = client_connect(host, NULL, 0);
    (void)state;
    for (unsigned i = 0; i < 2; i++) { /* one idempotency key: one job, watched once */
        client_text(fd, "{\"type\":\"generate\",\"id\":1}");
        rd_ws_submitted(host_call(host, i == 0 ? 0 : 2, "submit")->ask, 202, CREATED);
        client_expect(fd, ACK);
    }
    client_text(fd, "{\"type\":\"cancel\",\"id\":1,\"job_id\":\"" JOB "\"}");
    rd_ws_cancelled(host_call(host, 3, "cancel")->ask, RD_OK);
    client_expect(fd, ACK); /* and no error before it */
    (void)close(fd);
    host_stop(host);
}

static void test_answers_after_the_end(void **state)
{
    struct host *host = host_start(NULL);
    host->hold_watches = true;
    int fd = client_connect(host, NULL, 0);
    (void)state;
    client_text(fd, "{\"type\":\"subscribe\",\"id\":1,\"job_id\":\"" JOB "\"}");
    client_text(fd, "{\"type\":\"generate\",\"id\":2}");
    client_text(fd, "{\"type\":\"cancel\",\"id\":3,\"job_id\":\"" JOB "\"}");
    struct call *watch = host_call(host, 0, "watch");
    struct call *submit = host_call(host, 1, "submit");
    struct call *cancel = host_call(host, 2, "cancel");
    (void)close(fd);
    host_wait(host, &host->closed, 1);
    assert_int_equal(host->ended, 0); /* it waits for its answers */
    host_event(host, watch, "started", "{}", false, NULL);
    rd_ws_watched(watch->ask, RD_OK, watch);
    rd_ws_cancelled(cancel->ask, RD_OK);
    assert_int_equal(host->unwatched, 0);
    rd_ws_submitted(submit->ask, 202, "{\"id\":\"j_0123456789abcdefghijk2\"}");
    struct call *second = host_call(host, 3, "watch");
    rd_ws_watched(second->ask, RD_OK, second);
    host_wait(host, &host->ended, 1);
    assert_int_equal(host->unwatched, 2);
    host_stop(host);
}

static void test_unanswered_requests_are_bounded(void **state)
{
    enum { ALL = 1000, ONE_READ = 4096 };
    struct host *host = host_start(NULL);
    int fd = client_connect(host, NULL, 0);
    static const char text[] = "{\"type\":\"generate\",\"id\":1}";
    (void)state;
    char frame[64];
    static char frames[ALL * sizeof frame]; /* at once: a socket holds few small pieces */
    size_t frame_len = 6 + sizeof text - 1;
    memcpy(frame, "\x81\x9a\0\0\0\0", 6);
    memcpy(frame + 6, text, sizeof text - 1);
    assert_int_equal(sizeof text - 1, 0x1a);
    for (size_t i = 0; i < ALL; i++) {
        memcpy(frames + i * frame_len, frame, frame_len);
    }
    client_raw(fd, frames, ALL * frame_len);
    (void)host_call(host, RD_LIMIT_WS_REQUESTS - 1, "submit");
    unsigned most = RD_LIMIT_WS_REQUESTS + ONE_READ / (unsigned)frame_len;
    for (unsigned i = 0; i < ALL; i++) {
        struct call *call = host_call(host, i, "submit");
        (void)pthread_mutex_lock(&host->lock);
        assert_true(host->count <= i + most);
        (void)pthread_mutex_unlock(&host->lock);
        rd_ws_submitted(call->ask, 503, "{\"error\":\"draining\",\"message\":\"m\"}");
    }
    for (int i = 0; i < ALL; i++) {
        client_expect(fd, "{\"type\":\"error\",\"id\":1,\"job_id\":null,\"code\":\"draining\","
                          "\"message\":\"m\"}");
    }
    (void)close(fd);
    host_stop(host);
}

static char big[100 * 1024];

/* Previews for a client that reads nothing, until one finds no room. */
static unsigned fill_queue(struct host *host, struct call *watch)
{
    unsigned count = 0;
    bool taken = true;
    memset(big, 'x', sizeof big - 1);
    memcpy(big, "{\"frame\":\"", 10);
    memcpy(big + sizeof big - 3, "\"}", 3);
    while (taken) {
        host_event(host, watch, "preview", big, false, &taken);
        count += taken;
        assert_true(count < 1000);
    }
    return count;
}

static struct call *subscribe(struct host *host, int fd, unsigned number)
{
    char text[128];
    (void)snprintf(text, sizeof text,
                   "{\"type\":\"subscribe\",\"id\":1,\"job_id\":\"j_0123456789ab%06u\"}", number);
    client_text(fd, text);
    (void)snprintf(text, sizeof text,
                   "{\"type\":\"ack\",\"id\":1,\"job_id\":\"j_0123456789ab%06u\"}", number);
    client_expect(fd, text);
    return host_call(host, number, "watch");
}

static void test_watched_jobs_are_bounded(void **state)
{
    struct host *host = host_start(NULL);
    int fd = client_connect(host, NULL, 0);
    (void)state;
    for (unsigned i = 0; i < RD_LIMIT_WS_JOBS; i++) {
        (void)subscribe(host, fd, i);
    }
    client_text(fd, "{\"type\":\"subscribe\",\"id\":1,\"job_id\":\"" JOB "\"}");
    client_expect(fd, "{\"type\":\"error\",\"id\":1,\"job_id\":\"" JOB
                      "\",\"code\":\"rate_limited\",\"message\":\"this connection is subscribed to "
                      "as many jobs as may be\",\"retriable\":true}");
    (void)close(fd);
    host_wait(host, &host->unwatched, RD_LIMIT_WS_JOBS);
    host_stop(host);
}

static void test_slow_reader_misses(void **state)
{
    static char payload[FRAME_MAX];
    struct host *host = host_start(NULL);
    int fd = client_connect(host, NULL, 0);
    size_t len = 0;
    (void)state;
    struct call *watch = subscribe(host, fd, 0);
    unsigned taken = fill_queue(host, watch);
    assert_in_range(taken, 4, 11); /* half of 1 MiB, and what wslay and the socket have */
    const struct rd_jobs_event last = {99, watch->job, "complete", "{\"output\":\"u\"}",
                                       14, true,       5};
    (void)pthread_mutex_lock(&host->lock);
    assert_true(watch->fn(watch->fn_ctx, &last));
    (void)pthread_mutex_unlock(&host->lock);
    for (unsigned i = 0; i < taken; i++) {
        assert_int_equal(client_read(fd, payload, &len), 1);
        assert_non_null(strstr(payload, "\"type\":\"frame\""));
    }
    client_expect(fd, "{\"type\":\"missed\",\"job_id\":\"j_0123456789ab000000\",\"count\":5}");
    client_expect(fd, "{\"type\":\"complete\",\"job_id\":\"j_0123456789ab000000\","
                      "\"event_id\":99,\"output\":\"u\"}");
    (void)close(fd);
    host_stop(host);
}

static void test_no_room_for_a_last_event(void **state)
{
    enum { JOBS = 12 };
    struct host *host = host_start(NULL);
    int fd = client_connect(host, NULL, 0);
    struct call *watches[JOBS];
    (void)state;
    for (unsigned i = 0; i < JOBS; i++) {
        watches[i] = subscribe(host, fd, i);
    }
    (void)fill_queue(host, watches[0]);
    for (unsigned i = 0; i < JOBS; i++) { /* more than the other half of the queue holds */
        bool taken = false;
        host_event(host, watches[i], "complete", big, true, &taken);
        assert_true(taken); /* never offered again: the connection ends instead */
    }
    client_expect_close(fd, 1013);
    host_wait(host, &host->ended, 1);
    host_stop(host);
}

static void test_memory_of_all_together(void **state)
{
    const struct rd_ws_options options = {.held = 600 * 1024};
    struct host *host = host_start(&options);
    int fds[2];
    struct call *watches[2];
    static char payload[FRAME_MAX];
    size_t len = 0;
    bool taken = true;
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        fds[i] = client_connect(host, NULL, 0);
        watches[i] = subscribe(host, fds[i], i);
    }
    /* 300 KiB may wait for both together: what the first takes the second cannot have. */
    assert_in_range(fill_queue(host, watches[0]), 2, 6);
    for (unsigned i = 0; i < 100 && taken; i++) { /* a socket may have taken some meanwhile */
        (void)fill_queue(host, watches[0]);
        host_event(host, watches[1], "preview", big, false, &taken);
    }
    assert_false(taken);
    host_event(host, watches[1], "complete", "{}", true, NULL); /* the end has its own room */
    do { /* what was taken, and what was missed */
        assert_int_equal(client_read(fds[1], payload, &len), 1);
    } while (strstr(payload, "\"type\":\"complete\"") == NULL);
    (void)close(fds[0]);
    host_wait(host, &host->ended, 1);
    /* What is read counts as well: a message of 500 KiB that does not end, and another one. */
    int half = client_connect(host, NULL, 0);
    memset(payload, 'x', sizeof payload);
    client_frame(half, 0x01, payload, 500 * 1024);
    client_text(half, ""); /* a text inside of a text: this one is at an end, and its memory free */
    client_expect_close(half, 1002);
    half = client_connect(host, NULL, 0);
    client_frame(half, 0x01, payload, 500 * 1024);
    client_frame(fds[1], 0x01, payload, 500 * 1024);
    /* One of the two is over it, whichever comes second. */
    int opcode = 0;
    struct pollfd both[2] = {{.fd = half, .events = POLLIN}, {.fd = fds[1], .events = POLLIN}};
    assert_int_equal(poll(both, 2, 20000), 1);
    int loser = both[0].revents != 0 ? half : fds[1];
    opcode = client_read(loser, payload, &len);
    assert_int_equal(opcode, 8);
    assert_int_equal((unsigned char)payload[0] << 8 | (unsigned char)payload[1], 1013);
    (void)close(half);
    (void)close(fds[1]);
    host_stop(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate_is_watched),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_subscribe_and_cancel),
        cmocka_unit_test(test_unknown_job),
        cmocka_unit_test(test_job_that_has_ended),
        cmocka_unit_test(test_same_job_generated_twice),
        cmocka_unit_test(test_answers_after_the_end),
        cmocka_unit_test(test_unanswered_requests_are_bounded),
        cmocka_unit_test(test_watched_jobs_are_bounded),
        cmocka_unit_test(test_slow_reader_misses),
        cmocka_unit_test(test_no_room_for_a_last_event),
        cmocka_unit_test(test_memory_of_all_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
