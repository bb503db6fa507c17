/* SPDX-License-Identifier: Apache-2.0
 *
 * The driver: the one thread of an engine that speaks to the server.
 *
 *     other threads --inbox, wake_fd--> [ epoll: wake_fd, sockets ] <--> connections
 *
 * A turn of the loop: what the sockets say; what came through the inbox; cancels and deadlines;
 * then settle(): calls that are over go to their owners, calls that wait get streams, frames are
 * written, broken connections closed, until nothing of this makes more of it. So all that a turn
 * brought about leaves in one write for each connection.
 *
 * The inbox is a stack that others push on with compare-and-swap and the driver takes whole.
 * `woken` makes a burst of pushes cost one write(2): only who turns it from false to true writes;
 * the driver turns it back BEFORE it looks. wake_fd is edge-triggered: nobody needs to read it.
 *
 * Streams. A call goes to the first connection that has room for it; when none has, one more is
 * opened, up to RD_GRPC_CONNECTIONS_MAX; beyond that calls wait, and their deadlines run. Row 0 is
 * the prober's own, so that no picture stands in a probe's way. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/triton/grpc_internal.h"

enum { WAIT_MAX_MS = 60000, SETTLE_TURNS = 64 };

/* ---- runs ---- */

static void run_link(struct rd_grpc_driver *driver, struct rd_engine_run *run)
{
    run->prev = NULL;
    run->next = driver->runs;
    if (run->next != NULL) {
        run->next->prev = run;
    }
    driver->runs = run;
}

static void run_unlink(struct rd_grpc_driver *driver, struct rd_engine_run *run)
{
    if (run->prev != NULL) {
        run->prev->next = run->next;
    } else {
        driver->runs = run->next;
    }
    if (run->next != NULL) {
        run->next->prev = run->prev;
    }
}

void rd_grpc_driver_go(struct rd_grpc_driver *driver, struct rd_engine_run *run)
{
    for (;;) {
        if (run->err == RD_OK && atomic_load(&run->cancelled)) {
            rd_grpc_run_stop(run, RD_ERR_CANCELLED, NULL);
        } else if (run->err == RD_OK && rd_clock_mono_ns() >= run->deadline_ns) {
            rd_grpc_run_stop(run, RD_ERR_BACKEND_TIMEOUT, "the deadline has passed");
        }
        if (!rd_grpc_run_step(run)) {
            run_unlink(driver, run);
            driver->prober.ran = true;
            rd_grpc_engine_release(driver->engine, run);
            return;
        }
        if (run->calling) {
            return;
        }
        if (rd_grpc_run_is_slow(run)) {
            run_unlink(driver, run);
            driver->away++;
            rd_grpc_workers_push(&driver->workers, run);
            return;
        }
        rd_grpc_run_work(run);
    }
}

static void take_inbox(struct rd_grpc_driver *driver)
{
    struct rd_engine_run *newest = atomic_exchange(&driver->inbox, NULL);
    struct rd_engine_run *oldest = NULL;
    while (newest != NULL) {
        struct rd_engine_run *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct rd_engine_run *next = oldest->next;
        if (oldest->deadline_ns < driver->next_deadline_ns) {
            driver->next_deadline_ns = oldest->deadline_ns;
        }
        if (oldest->away) {
            oldest->away = false;
            driver->away--;
        }
        run_link(driver, oldest);
        rd_grpc_driver_go(driver, oldest);
        oldest = next;
    }
}

static void sweep_cancelled(struct rd_grpc_driver *driver)
{
    bool closing = atomic_load(&driver->closing);
    for (struct rd_engine_run *run = driver->runs; run != NULL; run = run->next) {
        if (closing || atomic_load(&run->cancelled)) {
            atomic_store(&run->cancelled, true);
            rd_grpc_call_stop(&run->call, RD_ERR_CANCELLED, NULL);
        }
    }
}

static void sweep_deadlines(struct rd_grpc_driver *driver, uint64_t now)
{
    driver->next_deadline_ns = UINT64_MAX;
    for (struct rd_engine_run *run = driver->runs; run != NULL; run = run->next) {
        if (run->deadline_ns <= now) {
            rd_grpc_call_stop(&run->call, RD_ERR_BACKEND_TIMEOUT,
                              "the engine did not answer in time");
        } else if (run->deadline_ns < driver->next_deadline_ns) {
            driver->next_deadline_ns = run->deadline_ns;
        }
    }
}

/* ---- calls ---- */

void rd_grpc_driver_unreachable(struct rd_grpc_driver *driver, enum rd_grpc_kind kind,
                                const char *why)
{
    struct rd_grpc_list *waiting = &driver->waiting[kind];
    if (kind == RD_GRPC_RUNS) {
        driver->retry_ns =
            rd_clock_mono_ns() + (uint64_t)RD_GRPC_PROBE_AGAIN_MS * RD_GRPC_NS_PER_MS;
        for (size_t i = 1; i < RD_GRPC_CONNECTIONS_MAX; i++) {
            if (driver->connections[i].state != RD_GRPC_CLOSED) {
                return; /* another one serves, or may soon */
            }
        }
    }
    rd_grpc_engine_health(driver->engine, why);
    rd_grpc_prober_soon(&driver->prober, RD_GRPC_PROBE_AGAIN_MS);
    while (waiting->first != NULL) {
        rd_grpc_call_lost(waiting->first, false, why);
    }
}

/* A connection with room for a call of this kind; one is opened when there is none. */
static struct rd_grpc_connection *find_room(struct rd_grpc_driver *driver, enum rd_grpc_kind kind)
{
    size_t from = kind == RD_GRPC_PROBES ? 0 : 1;
    size_t to = kind == RD_GRPC_PROBES ? 1 : RD_GRPC_CONNECTIONS_MAX;
    struct rd_grpc_connection *closed = NULL;
    bool coming = false, open = false;
    for (size_t i = from; i < to; i++) {
        struct rd_grpc_connection *at = &driver->connections[i];
        if (rd_grpc_connection_room(at)) {
            return at;
        }
        coming = coming || at->rest_ns != 0 ||
                 (at->state != RD_GRPC_CLOSED && at->state != RD_GRPC_OPEN);
        open = open || at->state == RD_GRPC_OPEN;
        closed = closed == NULL && at->state == RD_GRPC_CLOSED ? at : closed;
    }
    /* Where one is open, another that could not be made is no reason to try without a pause. */
    if (!coming && closed != NULL && (!open || rd_clock_mono_ns() >= driver->retry_ns)) {
        rd_grpc_connection_open(closed, driver, kind);
    }
    return NULL;
}

/* True when a call got its stream. */
static bool dispatch(struct rd_grpc_driver *driver, enum rd_grpc_kind kind)
{
    struct rd_grpc_call *call;
    bool any = false;
    while ((call = driver->waiting[kind].first) != NULL) {
        struct rd_grpc_connection *connection = find_room(driver, kind);
        if (connection == NULL) {
            break;
        }
        rd_err err = rd_grpc_call_submit(call, connection);
        if (err != RD_OK) {
            rd_grpc_call_stop(call, err, NULL);
        }
        any = true;
    }
    return any;
}

/* False: there is still something to do. */
static bool settle(struct rd_grpc_driver *driver)
{
    for (unsigned turn = 0; turn < SETTLE_TURNS; turn++) {
        bool more = false;
        for (size_t i = 0; i < RD_GRPC_CONNECTIONS_MAX; i++) {
            if (driver->connections[i].state != RD_GRPC_CLOSED) {
                rd_grpc_connection_settle(&driver->connections[i]);
            }
        }
        struct rd_grpc_call *call;
        while ((call = driver->over.first) != NULL) {
            rd_grpc_list_take(call);
            call->ops->over(call);
            more = true;
        }
        more = dispatch(driver, RD_GRPC_PROBES) || more;
        more = dispatch(driver, RD_GRPC_RUNS) || more;
        if (!more && driver->over.first == NULL) {
            return true;
        }
    }
    return false;
}

/* ---- the thread ---- */

static bool finished(struct rd_grpc_driver *driver)
{
    return atomic_load(&driver->closing) && driver->runs == NULL && driver->away == 0 &&
           atomic_load(&driver->inbox) == NULL;
}

/* Timers; how long epoll may wait. */
static int timers(struct rd_grpc_driver *driver)
{
    uint64_t now = rd_clock_mono_ns();
    if (driver->next_deadline_ns <= now) {
        sweep_deadlines(driver, now);
    }
    uint64_t at = rd_grpc_prober_timer(&driver->prober, now);
    at = driver->next_deadline_ns < at ? driver->next_deadline_ns : at;
    for (size_t i = 0; i < RD_GRPC_CONNECTIONS_MAX; i++) {
        uint64_t then = rd_grpc_connection_timer(&driver->connections[i], now);
        at = then < at ? then : at;
    }
    if (driver->waiting[RD_GRPC_RUNS].first != NULL && driver->retry_ns > now &&
        driver->retry_ns < at) {
        at = driver->retry_ns;
    }
    if (at <= now) {
        return 0;
    }
    uint64_t ms = (at - now + RD_GRPC_NS_PER_MS - 1) / RD_GRPC_NS_PER_MS;
    return ms > WAIT_MAX_MS ? WAIT_MAX_MS : (int)ms;
}

static void socket_event(struct rd_grpc_driver *driver, const struct epoll_event *event)
{
    struct rd_grpc_connection *connection =
        &driver->connections[(event->data.u64 & UINT32_MAX) - 1];
    if (connection->serial == event->data.u64 >> 32) { /* else it is of an earlier socket */
        rd_grpc_connection_event(connection, event->events);
    }
}

static void woken(struct rd_grpc_driver *driver)
{
    atomic_store(&driver->woken, false);
    for (size_t i = 0; i < RD_GRPC_CONNECTIONS_MAX; i++) {
        rd_grpc_connection_looked(&driver->connections[i]);
    }
    take_inbox(driver);
    sweep_cancelled(driver);
}

static void *drive(void *user)
{
    struct rd_grpc_driver *driver = user;
    struct epoll_event events[RD_GRPC_EVENTS_MAX];
    while (!finished(driver)) {
        int wait = timers(driver);
        wait = settle(driver) ? wait : 0;
        if (finished(driver)) {
            break;
        }
        int count = epoll_wait(driver->epoll_fd, events, RD_GRPC_EVENTS_MAX, wait);
        bool wake = false;
        for (int i = 0; i < count; i++) {
            if (events[i].data.u64 == 0) {
                wake = true;
            } else {
                socket_event(driver, &events[i]);
            }
        }
        for (size_t i = 0; i < RD_GRPC_CONNECTIONS_MAX; i++) {
            if (driver->connections[i].again) {
                rd_grpc_connection_event(&driver->connections[i], EPOLLIN);
            }
        }
        if (wake) {
            (void)settle(driver); /* first: what is complete is not cancelled any more */
            woken(driver);
        }
    }
    return NULL;
}

void rd_grpc_driver_wake(struct rd_grpc_driver *driver)
{
    if (!atomic_exchange(&driver->woken, true)) {
        static const uint64_t one = 1;
        ssize_t written;
        do {
            written = write(driver->wake_fd, &one, sizeof one);
        } while (written < 0 && errno == EINTR);
    }
}

void rd_grpc_driver_push(struct rd_grpc_driver *driver, struct rd_engine_run *run)
{
    struct rd_engine_run *newest = atomic_load(&driver->inbox);
    do {
        run->next = newest;
    } while (!atomic_compare_exchange_weak(&driver->inbox, &newest, run));
    rd_grpc_driver_wake(driver);
}

static rd_err open_session_parts(struct rd_grpc_driver *driver)
{
    driver->in = rd_mem_alloc(RD_GRPC_IN);
    if (driver->in == NULL || nghttp2_session_callbacks_new(&driver->callbacks) != 0 ||
        nghttp2_option_new(&driver->options) != 0) {
        return RD_ERR_NO_MEMORY;
    }
    rd_grpc_call_callbacks(driver->callbacks);
    nghttp2_option_set_no_closed_streams(driver->options, 1);
    nghttp2_option_set_max_settings(driver->options, 32);
    return RD_OK;
}

void rd_grpc_driver_init(struct rd_grpc_driver *driver, struct rd_engine *engine)
{
    driver->engine = engine;
    driver->next_deadline_ns = UINT64_MAX;
    driver->epoll_fd = -1;
    driver->wake_fd = -1;
    rd_grpc_prober_init(&driver->prober, driver);
    for (size_t i = 0; i < RD_GRPC_CONNECTIONS_MAX; i++) {
        driver->connections[i].driver = driver;
        driver->connections[i].fd = -1;
    }
}

rd_err rd_grpc_driver_open(struct rd_grpc_driver *driver, struct rd_why *why)
{
    driver->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (driver->epoll_fd < 0) {
        return rd_why_errno(why, errno, "make", "an epoll set");
    }
    driver->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = (uint32_t)(EPOLLIN | EPOLLET), .data.u64 = 0};
    if (driver->wake_fd < 0 ||
        epoll_ctl(driver->epoll_fd, EPOLL_CTL_ADD, driver->wake_fd, &event) != 0) {
        return rd_why_errno(why, errno, "make", "an eventfd");
    }
    RD_TRY(open_session_parts(driver));
    RD_TRY(rd_grpc_workers_open(&driver->workers, driver, driver->engine->slots));
    int failed = pthread_create(&driver->thread, NULL, drive, driver);
    driver->running = failed == 0;
    return failed == 0 ? RD_OK : rd_why_errno(why, failed, "start", "the engine's thread");
}

void rd_grpc_driver_close(struct rd_grpc_driver *driver)
{
    if (driver->running) {
        atomic_store(&driver->closing, true);
        rd_grpc_driver_wake(driver);
        (void)pthread_join(driver->thread, NULL);
    }
    rd_grpc_workers_close(&driver->workers);
    for (size_t i = 0; i < RD_GRPC_CONNECTIONS_MAX; i++) {
        rd_grpc_connection_close(&driver->connections[i], "the engine is being closed");
    }
    rd_grpc_prober_done(&driver->prober);
    nghttp2_session_callbacks_del(driver->callbacks);
    nghttp2_option_del(driver->options);
    rd_mem_free(driver->in);
    if (driver->wake_fd >= 0) {
        (void)close(driver->wake_fd);
    }
    if (driver->epoll_fd >= 0) {
        (void)close(driver->epoll_fd);
    }
}
