/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine's thread: one for all its processes.
 *
 *     other threads --inbox, wake_fd--> [ epoll: wake_fd; stdout, stderr, pidfd of each process ]
 *
 * Each time it wakes it handles what epoll tells and then gives every run a turn: at most 64 runs,
 * that take longer than any list, so no structure would gain anything. The time of the earliest
 * thing that is due in some run is epoll's timeout.
 *
 * An event may be for a run that has closed the descriptor in the same batch; its number in the
 * watch is then -1. Runs are never freed before close(), so there is always a watch to look at. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/process/internal.h"

enum { NS_PER_MS = 1000000, WAIT_MAX_MS = 60000, EVENTS_MAX = 64 };

static void take_inbox(struct rd_engine *engine)
{
    (void)pthread_mutex_lock(&engine->lock);
    struct rd_engine_run *newest = engine->inbox;
    engine->inbox = NULL;
    (void)pthread_mutex_unlock(&engine->lock);
    while (newest != NULL) {
        struct rd_engine_run *next = newest->next;
        newest->next = engine->runs;
        engine->runs = newest;
        newest = next;
    }
}

/* Gives every run its turn; when the next thing is due, UINT64_MAX for nothing. */
static uint64_t turns(struct rd_engine *engine)
{
    uint64_t earliest = UINT64_MAX;
    struct rd_engine_run **link = &engine->runs;
    while (*link != NULL) {
        struct rd_engine_run *run = *link;
        uint64_t next_ns = UINT64_MAX;
        if (rd_process_run_turn(run, &next_ns)) {
            earliest = next_ns < earliest ? next_ns : earliest;
            link = &run->next;
        } else {
            *link = run->next;
            rd_process_release(engine, run);
        }
    }
    return earliest;
}

static int wait_ms(uint64_t until_ns)
{
    if (until_ns == UINT64_MAX) {
        return -1;
    }
    uint64_t now = rd_clock_mono_ns();
    uint64_t ms = until_ns <= now ? 0 : (until_ns - now + NS_PER_MS - 1) / NS_PER_MS;
    return ms > WAIT_MAX_MS ? WAIT_MAX_MS : (int)ms;
}

static bool inbox_empty(struct rd_engine *engine)
{
    (void)pthread_mutex_lock(&engine->lock);
    bool empty = engine->inbox == NULL;
    (void)pthread_mutex_unlock(&engine->lock);
    return empty;
}

static void *drive(void *user)
{
    struct rd_engine *engine = user;
    struct epoll_event events[EVENTS_MAX];
    uint64_t until_ns = UINT64_MAX;
    while (!atomic_load(&engine->closing) || engine->runs != NULL || !inbox_empty(engine)) {
        int count = epoll_wait(engine->epoll_fd, events, EVENTS_MAX, wait_ms(until_ns));
        for (int i = 0; i < count; i++) {
            struct rd_process_watch *watch = events[i].data.ptr;
            if (watch != NULL) {
                rd_process_run_event(watch->run, watch->event);
            }
        }
        take_inbox(engine);
        until_ns = turns(engine);
    }
    return NULL;
}

/* The eventfd is edge-triggered: nobody needs to read it. */
void rd_process_driver_wake(struct rd_engine *engine)
{
    static const uint64_t one = 1;
    ssize_t written;
    do {
        written = write(engine->wake_fd, &one, sizeof one);
    } while (written < 0 && errno == EINTR);
}

/* An ignored SIGCHLD is inherited from whoever started the gateway, and has the kernel reap our
 * children by itself: then nobody would learn how, or even that, they ended. */
static void hear_of_children(void)
{
    struct sigaction action;
    if (sigaction(SIGCHLD, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
        (action.sa_handler == SIG_IGN || (action.sa_flags & SA_NOCLDWAIT) != 0)) {
        memset(&action, 0, sizeof action);
        action.sa_handler = SIG_DFL;
        (void)sigaction(SIGCHLD, &action, NULL);
    }
}

rd_err rd_process_driver_open(struct rd_engine *engine, struct rd_why *why)
{
    hear_of_children();
    engine->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (engine->epoll_fd < 0) {
        return rd_why_errno(why, errno, "make", "an epoll set");
    }
    engine->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = (uint32_t)(EPOLLIN | EPOLLET), .data.ptr = NULL};
    if (engine->wake_fd < 0 ||
        epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, engine->wake_fd, &event) != 0) {
        return rd_why_errno(why, errno, "make", "an eventfd");
    }
    int failed = pthread_create(&engine->thread, NULL, drive, engine);
    engine->threaded = failed == 0;
    return failed == 0 ? RD_OK : rd_why_errno(why, failed, "start", "the engine's thread");
}

void rd_process_driver_close(struct rd_engine *engine)
{
    if (engine->threaded) {
        atomic_store(&engine->closing, true);
        rd_process_driver_wake(engine);
        (void)pthread_join(engine->thread, NULL);
    }
    if (engine->wake_fd >= 0) {
        (void)close(engine->wake_fd);
    }
    if (engine->epoll_fd >= 0) {
        (void)close(engine->epoll_fd);
    }
}
