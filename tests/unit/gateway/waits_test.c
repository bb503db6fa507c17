/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients that wait: one claim each, whoever comes first, and what happens when the time is up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "gateway/waits.h"

struct client {
    struct rd_wait wait; /* first, as in generate.h */
    bool may, visited;
    unsigned asked, late;
};

static bool may(struct rd_wait *wait)
{
    struct client *client = (struct client *)wait;
    client->asked++;
    return client->may;
}

static void late(struct rd_wait *wait)
{
    ((struct client *)wait)->late++;
}

static void visit(struct rd_wait *wait)
{
    ((struct client *)wait)->visited = true;
}

static void one_claim_each(void **state)
{
    (void)state;
    struct rd_waits *waits = NULL;
    struct client clients[3] = {0};
    assert_int_equal(rd_waits_new(&waits), RD_OK);
    for (unsigned i = 0; i < 3; i++) {
        clients[i].wait.until_ns = UINT64_MAX;
        assert_true(rd_waits_add(waits, &clients[i].wait));
    }
    assert_true(rd_waits_claim(waits, &clients[1].wait)); /* from the middle */
    assert_false(rd_waits_claim(waits, &clients[1].wait));
    rd_waits_visit(waits, &clients[1].wait, visit);
    rd_waits_visit(waits, &clients[2].wait, visit);
    assert_false(clients[1].visited);
    assert_true(clients[2].visited);
    assert_true(rd_waits_claim(waits, &clients[2].wait));
    assert_true(rd_waits_claim(waits, &clients[0].wait));
    rd_waits_tick(waits);
    rd_waits_free(waits);
}

/* Who wants to end a wait before it has begun is not forgotten. */
static void a_claim_before_the_wait(void **state)
{
    (void)state;
    struct rd_waits *waits = NULL;
    struct client client = {.wait = {.late = late}};
    assert_int_equal(rd_waits_new(&waits), RD_OK);
    assert_false(rd_waits_claim(waits, &client.wait));
    assert_false(rd_waits_add(waits, &client.wait));
    rd_waits_tick(waits);
    assert_int_equal(client.late, 0);
    client.wait.until_ns = UINT64_MAX;
    rd_waits_put_back(waits, &client.wait);
    rd_waits_tick(waits);
    assert_int_equal(client.late, 1); /* at once, since somebody asked */
    rd_waits_free(waits);
}

static void the_time_is_up(void **state)
{
    (void)state;
    struct rd_waits *waits = NULL;
    struct client due = {.wait = {.until_ns = 0, .late = late}};
    struct client not_yet = {.wait = {.until_ns = UINT64_MAX, .late = late}};
    struct client cannot = {.wait = {.until_ns = 0, .may = may, .late = late}};
    struct client can = {.wait = {.until_ns = 0, .may = may, .late = late}, .may = true};
    assert_int_equal(rd_waits_new(&waits), RD_OK);
    assert_true(rd_waits_add(waits, &due.wait));
    assert_true(rd_waits_add(waits, &not_yet.wait));
    assert_true(rd_waits_add(waits, &cannot.wait));
    assert_true(rd_waits_add(waits, &can.wait));
    rd_waits_tick(waits);
    assert_int_equal(due.late, 1);
    assert_int_equal(can.late, 1);
    assert_int_equal(not_yet.late, 0);
    assert_int_equal(cannot.late, 0);
    assert_int_equal(cannot.asked, 1);
    assert_true(cannot.wait.until_ns > rd_clock_mono_ns()); /* asked again later, not at once */
    rd_waits_tick(waits);
    assert_int_equal(cannot.asked, 1);
    assert_false(rd_waits_claim(waits, &due.wait));
    assert_true(rd_waits_claim(waits, &cannot.wait));
    assert_true(rd_waits_claim(waits, &not_yet.wait));
    rd_waits_free(waits);
}

static void a_drain_ends_those_who_wait_for_jobs(void **state)
{
    (void)state;
    struct rd_waits *waits = NULL;
    struct client job = {.wait = {.until_ns = UINT64_MAX, .leaves = true, .late = late}};
    struct client run = {.wait = {.until_ns = UINT64_MAX, .late = late}};
    assert_int_equal(rd_waits_new(&waits), RD_OK);
    assert_true(rd_waits_add(waits, &job.wait));
    assert_true(rd_waits_add(waits, &run.wait));
    rd_waits_drain(waits);
    rd_waits_tick(waits);
    assert_int_equal(job.late, 1);
    assert_int_equal(run.late, 0);
    assert_true(rd_waits_claim(waits, &run.wait));
    rd_waits_free(waits);
}

enum { RACES = 20000 };

struct race {
    struct rd_waits *waits;
    struct client clients[RACES];
    _Atomic unsigned claimed;
};

static void *claim_all(void *ctx)
{
    struct race *race = ctx;
    for (unsigned i = 0; i < RACES; i++) {
        if (rd_waits_claim(race->waits, &race->clients[i].wait)) {
            atomic_fetch_add(&race->claimed, 1);
        }
    }
    return NULL;
}

/* Two claimers and the clock: each client is answered once. */
static void a_race_has_one_winner(void **state)
{
    (void)state;
    static struct race race;
    pthread_t threads[2];
    unsigned told = 0;
    assert_int_equal(rd_waits_new(&race.waits), RD_OK);
    for (unsigned i = 0; i < RACES; i++) {
        race.clients[i].wait.until_ns = i % 3 == 0 ? 0 : UINT64_MAX;
        race.clients[i].wait.late = late;
        assert_true(rd_waits_add(race.waits, &race.clients[i].wait));
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, claim_all, &race), 0);
    }
    rd_waits_tick(race.waits);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (unsigned i = 0; i < RACES; i++) {
        told += race.clients[i].late;
        assert_true(race.clients[i].late <= 1);
    }
    assert_int_equal(told + atomic_load(&race.claimed), RACES);
    rd_waits_free(race.waits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_claim_each),
        cmocka_unit_test(a_claim_before_the_wait),
        cmocka_unit_test(the_time_is_up),
        cmocka_unit_test(a_drain_ends_those_who_wait_for_jobs),
        cmocka_unit_test(a_race_has_one_winner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
