/* SPDX-License-Identifier: Apache-2.0
 *
 * The driver: one thread that drives all transfers of (a share of) a backend.
 *
 *     other threads --inbox, wake_fd--> [ epoll: wake_fd, sockets ] --libcurl multi--> backend
 *
 * libcurl's multi_socket interface with an epoll set of our own, not curl_multi_poll: that one
 * builds and passes the list of all sockets at every turn.
 *
 * Waking. `inbox` is a stack that other threads push on with compare-and-swap and the driver takes
 * whole, reversing it. `woken` makes a burst of pushes cost one write(2): only who turns it from
 * false to true writes. The driver turns it back BEFORE it looks at the inbox and the flags, so
 * what came later writes again. wake_fd is edge-triggered: nobody needs to read it.
 *
 * Idle sockets. libcurl asks to forget a socket at the end of each transfer and to watch it again
 * at the start of the next. The driver keeps it in the set instead, so a request on a kept
 * connection costs no epoll_ctl; when an idle socket does speak (the peer closed it), it is dropped
 * from the set then. Closing goes through rd_http_socket_close, so that a new socket with the same
 * number starts with a clean row. */
#include "engine/http/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum { NS_PER_MS = 1000000, WAIT_MAX_MS = 60000, SOCKETS_STEP = 64 };

/* ---- sockets ---- */

static struct rd_http_socket *socket_row(struct rd_http_driver *driver, curl_socket_t fd)
{
    size_t index = (size_t)fd;
    if (index >= driver->sockets_count) {
        size_t count = index + SOCKETS_STEP;
        struct rd_http_socket *grown = rd_mem_resize(driver->sockets, count * sizeof *grown);
        if (grown == NULL) {
            return NULL;
        }
        memset(grown + driver->sockets_count, 0, (count - driver->sockets_count) * sizeof *grown);
        driver->sockets = grown;
        driver->sockets_count = count;
    }
    return &driver->sockets[index];
}

static void socket_watch(struct rd_http_driver *driver, curl_socket_t fd,
                         struct rd_http_socket *row, uint32_t mask)
{
    struct epoll_event event = {.events = mask, .data.fd = fd};
    int op = mask == 0 ? EPOLL_CTL_DEL : row->mask == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(driver->epoll_fd, op, fd, &event) == 0) {
        row->mask = mask;
    } else {
        row->mask = 0; /* libcurl's timers end the transfer */
    }
}

/* CURLMOPT_SOCKETFUNCTION */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_user)
{
    (void)easy;
    (void)socket_user;
    struct rd_http_driver *driver = user;
    struct rd_http_socket *row = socket_row(driver, fd);
    if (row == NULL) {
        return -1;
    }
    row->wanted = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) |
                  (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    if (what == CURL_POLL_REMOVE) {
        row->wanted = 0;
        if (row->mask & EPOLLOUT) { /* would report itself writable for ever */
            socket_watch(driver, fd, row, EPOLLIN);
        }
    } else if (row->mask != row->wanted) {
        socket_watch(driver, fd, row, row->wanted);
    }
    return 0;
}

curl_socket_t rd_http_socket_open(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)user;
    (void)purpose;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

int rd_http_socket_close(void *user, curl_socket_t fd)
{
    struct rd_http_driver *driver = user;
    if ((size_t)fd < driver->sockets_count) {
        driver->sockets[fd] =
            (struct rd_http_socket){0}; /* close() takes it out of the epoll set */
    }
    return close(fd);
}

/* CURLMOPT_TIMERFUNCTION */
static int on_timer(CURLM *multi, long timeout_ms, void *user)
{
    (void)multi;
    struct rd_http_driver *driver = user;
    driver->timer_ns = timeout_ms < 0 ? 0 : rd_clock_mono_ns() + (uint64_t)timeout_ms * NS_PER_MS;
    return 0;
}

static void socket_event(struct rd_http_driver *driver, const struct epoll_event *event)
{
    curl_socket_t fd = event->data.fd;
    struct rd_http_socket *row = &driver->sockets[fd];
    if (row->mask == 0) {
        return; /* closed by an event before this one in the same batch */
    }
    if (row->wanted == 0) {
        socket_watch(driver, fd, row, 0); /* an idle connection's end; libcurl sees it at reuse */
        return;
    }
    /* An error is reported as readiness for what was wanted: libcurl then meets it in recv() or
     * send(), where it knows a kept connection that died and replaces it. CURL_CSELECT_ERR would
     * end the transfer, and the kernel does show EPOLLERR alone for a moment while a reset arrives.
     */
    uint32_t ready = event->events & (uint32_t)(EPOLLERR | EPOLLHUP) ? row->wanted : event->events;
    int bits = (ready & EPOLLIN ? CURL_CSELECT_IN : 0) | (ready & EPOLLOUT ? CURL_CSELECT_OUT : 0);
    int running;
    (void)curl_multi_socket_action(driver->multi, fd, bits, &running);
}

/* ---- runs ---- */

static void run_link(struct rd_http_driver *driver, struct rd_engine_run *run)
{
    run->prev = NULL;
    run->next = driver->runs;
    if (run->next != NULL) {
        run->next->prev = run;
    }
    driver->runs = run;
}

static void run_unlink(struct rd_http_driver *driver, struct rd_engine_run *run)
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

static void run_launch(struct rd_http_driver *driver, struct rd_engine_run *run);

static void note_time(struct rd_http_driver *driver, uint64_t at)
{
    if (at < driver->next_ns) {
        driver->next_ns = at;
    }
}

/* The run is over: run->err says how. A last word to the server may follow. */
static void run_over(struct rd_http_driver *driver, struct rd_engine_run *run)
{
    struct rd_engine *engine = driver->engine;
    bool farewell =
        atomic_fetch_add(&engine->farewells, 1) < engine->slots && rd_http_run_farewell(run);
    atomic_fetch_sub(&driver->load, 1);
    rd_http_engine_release(engine);
    rd_http_run_report(run);
    if (farewell) {
        run->phase = RD_HTTP_FAREWELL;
        run->face.deadline_ns = rd_clock_mono_ns() + (uint64_t)RD_HTTP_FAREWELL_MS * NS_PER_MS;
        note_time(driver, run->face.deadline_ns);
        farewell = curl_multi_add_handle(driver->multi, run->easy) == CURLM_OK;
    }
    if (!farewell) {
        atomic_fetch_sub(&engine->farewells, 1);
        run_unlink(driver, run);
        rd_http_engine_pool(engine, run);
    }
}

static void farewell_over(struct rd_http_driver *driver, struct rd_engine_run *run)
{
    (void)curl_multi_remove_handle(driver->multi, run->easy);
    atomic_fetch_sub(&driver->engine->farewells, 1);
    run_unlink(driver, run);
    rd_http_engine_pool(driver->engine, run);
}

/* Ends a run that is under way; its connection is closed with it. */
static void run_abort(struct rd_http_driver *driver, struct rd_engine_run *run, rd_err err,
                      const char *why)
{
    if (run->phase == RD_HTTP_ACTIVE) {
        (void)curl_multi_remove_handle(driver->multi, run->easy);
    }
    rd_http_run_stop(run, err, why);
    run_over(driver, run);
}

/* Hands the prepared request to libcurl, or ends the run. */
static void run_transmit(struct rd_http_driver *driver, struct rd_engine_run *run)
{
    rd_err err = rd_http_run_arm(run);
    if (err == RD_OK && curl_multi_add_handle(driver->multi, run->easy) != CURLM_OK) {
        err = RD_ERR_NO_MEMORY;
    }
    if (err != RD_OK) {
        rd_http_run_stop(run, err, NULL);
        run_over(driver, run);
    } else {
        run->phase = RD_HTTP_ACTIVE;
    }
}

/* The exchange is behind us. */
static void run_ended(struct rd_http_driver *driver, struct rd_engine_run *run)
{
    if (run->err != RD_OK || !run->then.again) {
        run_over(driver, run);
    } else if (run->then.after_ms == 0) {
        run_launch(driver, run);
    } else {
        run->phase = RD_HTTP_WAITING;
        rd_http_run_tick(run);
        run->wake_ns = rd_clock_mono_ns() + (uint64_t)run->then.after_ms * NS_PER_MS;
        note_time(driver, run->wake_ns);
    }
}

static bool send_away(struct rd_http_driver *driver, struct rd_engine_run *run, bool end)
{
    const struct rd_http_dialect *dialect = driver->engine->dialect;
    if (dialect->slow == NULL || !dialect->slow(&run->face, end)) {
        return false;
    }
    run->step_end = end;
    run->phase = RD_HTTP_AWAY;
    rd_http_workers_push(&driver->engine->workers, run);
    return true;
}

/* Makes the next request and sends it. */
static void run_launch(struct rd_http_driver *driver, struct rd_engine_run *run)
{
    if (atomic_load(&run->cancelled)) {
        rd_http_run_stop(run, RD_ERR_CANCELLED, NULL);
    } else if (rd_clock_mono_ns() >= run->face.deadline_ns) {
        rd_http_run_stop(run, RD_ERR_BACKEND_TIMEOUT, "the deadline has passed");
    } else if (!run->prepared && run->err == RD_OK) {
        if (send_away(driver, run, false)) {
            return;
        }
        rd_err err = rd_http_run_prepare(run);
        if (err != RD_OK) {
            rd_http_run_stop(run, err, NULL);
        }
    }
    if (run->err != RD_OK) {
        run_over(driver, run);
    } else {
        run_transmit(driver, run);
    }
}

static void run_received(struct rd_http_driver *driver, struct rd_engine_run *run, CURLcode code)
{
    if (run->phase == RD_HTTP_FAREWELL) {
        farewell_over(driver, run);
        return;
    }
    if (rd_http_run_received(run, code)) {
        if (send_away(driver, run, true)) {
            return;
        }
        rd_http_run_end(run);
    }
    run_ended(driver, run);
}

/* From the inbox: a new run, or one that a worker has finished a step of. */
static void run_arrived(struct rd_http_driver *driver, struct rd_engine_run *run, bool back)
{
    note_time(driver, run->face.deadline_ns);
    if (!back) {
        run_link(driver, run);
        run_launch(driver, run);
    } else if (run->step_end) {
        run_ended(driver, run);
    } else {
        run_launch(driver, run);
    }
}

static void take_inbox(struct rd_http_driver *driver)
{
    struct rd_engine_run *newest = atomic_exchange(&driver->inbox, NULL);
    struct rd_engine_run *oldest = NULL;
    while (newest != NULL) {
        struct rd_engine_run *next = newest->inbox_next;
        newest->inbox_next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct rd_engine_run *next = oldest->inbox_next;
        run_arrived(driver, oldest, oldest->phase == RD_HTTP_AWAY);
        oldest = next;
    }
}

static bool may_be_stopped(const struct rd_engine_run *run)
{
    return run->phase == RD_HTTP_ACTIVE || run->phase == RD_HTTP_WAITING;
}

static void sweep_cancelled(struct rd_http_driver *driver)
{
    bool closing = atomic_load(&driver->closing);
    struct rd_engine_run *next;
    for (struct rd_engine_run *run = driver->runs; run != NULL; run = next) {
        next = run->next; /* done() may start() another run, but that one waits in the inbox */
        if (closing) {
            atomic_store(&run->cancelled, true); /* for those that are away */
        }
        if (may_be_stopped(run) && atomic_load(&run->cancelled)) {
            run_abort(driver, run, RD_ERR_CANCELLED, NULL);
        }
    }
}

static void sweep_times(struct rd_http_driver *driver, uint64_t now)
{
    struct rd_engine_run *next;
    driver->next_ns = UINT64_MAX;
    for (struct rd_engine_run *run = driver->runs; run != NULL; run = next) {
        next = run->next;
        if (run->phase == RD_HTTP_AWAY) { /* its time is noted when it is back */
            continue;
        }
        if (run->face.deadline_ns <= now) {
            if (run->phase == RD_HTTP_FAREWELL) {
                farewell_over(driver, run);
            } else {
                run_abort(driver, run, RD_ERR_BACKEND_TIMEOUT, "the engine did not answer in time");
            }
            continue;
        }
        note_time(driver, run->face.deadline_ns);
        if (run->phase == RD_HTTP_WAITING) {
            if (run->wake_ns <= now) {
                run_launch(driver, run);
            } else {
                note_time(driver, run->wake_ns);
            }
        }
    }
}

static void reap(struct rd_http_driver *driver)
{
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(driver->multi, &left)) != NULL) {
        struct rd_engine_run *run = NULL;
        CURLcode code = message->data.result;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&run);
        (void)curl_multi_remove_handle(driver->multi, message->easy_handle); /* frees `message` */
        run_received(driver, run, code);
    }
}

/* ---- the thread ---- */

static int wait_ms(const struct rd_http_driver *driver)
{
    uint64_t at = driver->next_ns;
    if (driver->timer_ns != 0 && driver->timer_ns < at) {
        at = driver->timer_ns;
    }
    if (at == UINT64_MAX) {
        return -1;
    }
    uint64_t now = rd_clock_mono_ns();
    uint64_t ms = at <= now ? 0 : (at - now + NS_PER_MS - 1) / NS_PER_MS;
    return ms > WAIT_MAX_MS ? WAIT_MAX_MS : (int)ms;
}

static void *drive(void *user)
{
    struct rd_http_driver *driver = user;
    struct epoll_event events[RD_HTTP_EVENTS_MAX];
    int running;
    while (!atomic_load(&driver->closing) || driver->runs != NULL ||
           atomic_load(&driver->inbox) != NULL) {
        bool woken = false;
        int count = epoll_wait(driver->epoll_fd, events, RD_HTTP_EVENTS_MAX, wait_ms(driver));
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == driver->wake_fd) {
                woken = true;
            } else {
                socket_event(driver, &events[i]);
            }
        }
        reap(driver); /* first: what is complete is not cancelled any more */
        if (woken) {
            atomic_store(&driver->woken, false);
            take_inbox(driver);
            sweep_cancelled(driver);
        }
        uint64_t now = rd_clock_mono_ns();
        if (driver->next_ns <= now) {
            sweep_times(driver, now);
        }
        if (driver->timer_ns != 0 && driver->timer_ns <= now) {
            driver->timer_ns = 0;
            (void)curl_multi_socket_action(driver->multi, CURL_SOCKET_TIMEOUT, 0, &running);
            reap(driver);
        }
    }
    return NULL;
}

void rd_http_driver_wake(struct rd_http_driver *driver)
{
    if (!atomic_exchange(&driver->woken, true)) {
        static const uint64_t one = 1;
        ssize_t written;
        do {
            written = write(driver->wake_fd, &one, sizeof one);
        } while (written < 0 && errno == EINTR);
    }
}

void rd_http_driver_push(struct rd_http_driver *driver, struct rd_engine_run *run)
{
    struct rd_engine_run *newest = atomic_load(&driver->inbox);
    do {
        run->inbox_next = newest;
    } while (!atomic_compare_exchange_weak(&driver->inbox, &newest, run));
    rd_http_driver_wake(driver);
}

rd_err rd_http_driver_open(struct rd_http_driver *driver, struct rd_engine *engine,
                           struct rd_why *why)
{
    driver->engine = engine;
    driver->next_ns = UINT64_MAX;
    driver->wake_fd = -1;
    driver->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (driver->epoll_fd < 0) {
        return rd_why_errno(why, errno, "make", "an epoll set");
    }
    driver->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = (uint32_t)(EPOLLIN | EPOLLET),
                                .data.fd = driver->wake_fd};
    if (driver->wake_fd < 0 ||
        epoll_ctl(driver->epoll_fd, EPOLL_CTL_ADD, driver->wake_fd, &event) != 0) {
        return rd_why_errno(why, errno, "make", "an eventfd");
    }
    driver->multi = curl_multi_init();
    if (driver->multi == NULL ||
        curl_multi_setopt(driver->multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
        curl_multi_setopt(driver->multi, CURLMOPT_SOCKETDATA, driver) != CURLM_OK ||
        curl_multi_setopt(driver->multi, CURLMOPT_TIMERFUNCTION, on_timer) != CURLM_OK ||
        curl_multi_setopt(driver->multi, CURLMOPT_TIMERDATA, driver) != CURLM_OK ||
        curl_multi_setopt(driver->multi, CURLMOPT_MAXCONNECTS, (long)engine->slots) != CURLM_OK) {
        return RD_ERR_NO_MEMORY;
    }
    int failed = pthread_create(&driver->thread, NULL, drive, driver);
    driver->running = failed == 0;
    return failed == 0 ? RD_OK : rd_why_errno(why, failed, "start", "the engine's thread");
}

void rd_http_driver_stop(struct rd_http_driver *driver)
{
    if (driver->running) {
        atomic_store(&driver->closing, true);
        rd_http_driver_wake(driver);
        (void)pthread_join(driver->thread, NULL);
        driver->running = false;
    }
}

void rd_http_driver_close(struct rd_http_driver *driver)
{
    if (driver->multi != NULL) {
        (void)curl_multi_cleanup(driver->multi);
    }
    rd_mem_free(driver->sockets);
    if (driver->wake_fd >= 0) {
        (void)close(driver->wake_fd);
    }
    if (driver->epoll_fd >= 0) {
        (void)close(driver->epoll_fd);
    }
}
