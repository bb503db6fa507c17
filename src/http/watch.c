/* SPDX-License-Identifier: Apache-2.0
 *
 * The connections and their watcher. A suspended connection is not polled by libmicrohttpd, so
 * nobody would see its client leave: every socket therefore also stands, edge triggered, in a
 * second epoll set that only asks for EPOLLRDHUP, read by one thread. A client that half-closes
 * its connection after the request counts as gone.
 *
 * Slow clients. The thread looks at all connections every TICK_MS and shuts the socket of one
 * whose deadline has passed: RD_LIMIT_HEADER_TIME_MS for the first headers, idle time plus that for
 * later ones, and for bodies an allowance that grows with their length (server.c).
 *
 * Streams. The sockets of streamed answers are ours; they stand in the same set, also for EPOLLOUT,
 * and this thread alone tells their clients' leaving and ends them (stream.c). Whoever has news of
 * a stream posts it.
 *
 * Locks. watch->lock guards the table and everything in its connections; app.gone of a suspended
 * exchange is called under it, so that a reply (which takes it first) can never race with it.
 * news_lock guards the list of posted streams, and nothing is called under it. */
#include "http/watch.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "http/exchange.h"
#include "http/loop.h"
#include "http/stream.h"

enum { TICK_MS = 250, WATCH_EVENTS = 64, PARK_AFTER_MS = 1000 };

#define NO_SLOT UINT32_MAX
#define THE_WAKE_UP UINT64_MAX
#define NS_PER_MS ((uint64_t)1000000)

/* ---- the table ---- */

static bool put(struct rd_http_watch *watch, struct rd_http_conn *conn)
{
    uint32_t slot = 0;
    while (slot < RD_LIMIT_CONNECTIONS && watch->conns[slot] != NULL) {
        slot++;
    }
    if (slot == RD_LIMIT_CONNECTIONS) {
        return false;
    }
    conn->slot = slot;
    conn->generation = ++watch->generation;
    watch->conns[slot] = conn;
    watch->slots_used = slot >= watch->slots_used ? slot + 1 : watch->slots_used;
    return true;
}

static bool ask(const struct rd_http_conn *conn, uint32_t events)
{
    struct epoll_event event = {.events = events | EPOLLRDHUP | EPOLLET,
                                .data.u64 = (uint64_t)conn->generation << 32 | conn->slot};
    return epoll_ctl(conn->watch->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) == 0;
}

/* ---- errands: what the loops are to do with idle connections; all under the lock ---- */

static void give_errand(struct rd_http_conn *conn)
{
    if (!conn->errand) {
        bool first = conn->loop->errands == NULL;
        conn->errand = true;
        conn->next_errand = conn->loop->errands;
        conn->loop->errands = conn;
        if (first) {
            atomic_store(&conn->loop->has_errands, true);
            rd_http_loop_wake(conn->loop);
        }
    }
}

static void drop_errand(struct rd_http_conn *conn)
{
    if (!conn->errand) {
        return;
    }
    struct rd_http_conn **at = &conn->loop->errands;
    while (*at != conn) {
        at = &(*at)->next_errand;
    }
    *at = conn->next_errand;
    conn->errand = false;
}

struct rd_http_conn *rd_http_watch_errand(struct rd_http_watch *watch, struct rd_http_loop *loop)
{
    pthread_mutex_lock(&watch->lock);
    struct rd_http_conn *conn = loop->errands;
    while (conn != NULL && !conn->parked && conn->idle_ns == 0) { /* a request came */
        drop_errand(conn);
        conn = loop->errands;
    }
    if (conn != NULL) {
        drop_errand(conn);
        conn->idle_ns = 0; /* it is asked for once */
    }
    pthread_mutex_unlock(&watch->lock);
    return conn;
}

struct rd_http_conn *rd_http_conn_open(struct rd_http_watch *watch, const struct rd_http_conn *as)
{
    struct rd_http_conn *conn = rd_mem_alloc(sizeof *conn);
    if (conn == NULL) {
        return NULL;
    }
    *conn = *as;
    conn->watch = watch;
    conn->deadline_ns = rd_clock_mono_ns() + RD_LIMIT_HEADER_TIME_MS * NS_PER_MS;
    pthread_mutex_lock(&watch->lock);
    bool ok = put(watch, conn);
    pthread_mutex_unlock(&watch->lock);
    if (!ok) {
        rd_mem_free(conn);
        return NULL;
    }
    atomic_fetch_add(&watch->connections, 1);
    (void)ask(conn, 0);
    return conn;
}

struct rd_http_conn *rd_http_conn_take_over(struct rd_http_conn *old, const struct rd_http_conn *as,
                                            uint32_t events)
{
    struct rd_http_conn *conn = rd_mem_alloc(sizeof *conn);
    if (conn == NULL) {
        return NULL;
    }
    struct rd_http_watch *watch = old->watch;
    pthread_mutex_lock(&watch->lock);
    *conn = *as;
    conn->watch = watch;
    conn->slot = old->slot;
    conn->generation = ++watch->generation;
    /* This tells also what happened before, and nobody takes it before the lock is free. */
    bool ok = events == 0 || ask(conn, events);
    if (ok) {
        watch->conns[conn->slot] = conn;
        old->slot = NO_SLOT;
        drop_errand(old);
        (void)epoll_ctl(watch->epoll_fd, EPOLL_CTL_DEL, old->fd, NULL);
    }
    pthread_mutex_unlock(&watch->lock);
    if (!ok) {
        rd_mem_free(conn);
        return NULL;
    }
    return conn;
}

void rd_http_conn_close(struct rd_http_conn *conn)
{
    struct rd_http_watch *watch = conn->watch;
    if (conn->slot != NO_SLOT) {
        (void)epoll_ctl(watch->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
        pthread_mutex_lock(&watch->lock);
        drop_errand(conn);
        watch->conns[conn->slot] = NULL;
        while (watch->slots_used > 0 && watch->conns[watch->slots_used - 1] == NULL) {
            watch->slots_used--;
        }
        pthread_mutex_unlock(&watch->lock);
        atomic_fetch_sub(&watch->connections, 1);
    }
    rd_mem_free(conn);
}

void rd_http_conn_deadline(struct rd_http_conn *conn, uint64_t ms)
{
    if (conn == NULL) {
        return;
    }
    pthread_mutex_lock(&conn->watch->lock);
    conn->deadline_ns = ms == 0 ? 0 : rd_clock_mono_ns() + ms * NS_PER_MS;
    conn->idle_ns = 0;
    pthread_mutex_unlock(&conn->watch->lock);
}

void rd_http_conn_idle(struct rd_http_conn *conn, uint64_t ms)
{
    if (conn == NULL) {
        return;
    }
    pthread_mutex_lock(&conn->watch->lock);
    conn->idle_ns = rd_clock_mono_ns();
    conn->deadline_ns = conn->idle_ns + ms * NS_PER_MS;
    pthread_mutex_unlock(&conn->watch->lock);
}

void rd_http_conn_wait(struct rd_http_conn *conn, struct rd_http_exchange *x)
{
    if (conn == NULL) {
        return;
    }
    pthread_mutex_lock(&conn->watch->lock);
    conn->waiting = x;
    bool hup = conn->hup && x != NULL;
    pthread_mutex_unlock(&conn->watch->lock);
    if (hup) { /* it left before: have the watcher look again */
        atomic_store(&conn->watch->look_again, true);
        rd_http_watch_wake(conn->watch);
    }
}

void rd_http_watch_hang_up(struct rd_http_watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    for (uint32_t i = 0; i < watch->slots_used; i++) {
        if (watch->conns[i] != NULL) { /* the watcher sees the end, and tells */
            (void)shutdown(watch->conns[i]->fd, SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&watch->lock);
}

/* ---- the thread ---- */

void rd_http_watch_wake(struct rd_http_watch *watch)
{
    (void)eventfd_write(watch->wake_fd, 1);
}

void rd_http_watch_post(struct rd_http_watch *watch, struct rd_http_exchange *x)
{
    pthread_mutex_lock(&watch->news_lock);
    bool first = watch->news == NULL;
    if (!x->stream.posted) {
        x->stream.posted = true;
        x->stream.next_news = watch->news;
        watch->news = x;
    }
    pthread_mutex_unlock(&watch->news_lock);
    if (first) {
        rd_http_watch_wake(watch);
    }
}

bool rd_http_watch_posted(struct rd_http_watch *watch, const struct rd_http_exchange *x)
{
    pthread_mutex_lock(&watch->news_lock);
    bool posted = x->stream.posted;
    pthread_mutex_unlock(&watch->news_lock);
    return posted;
}

static void look_at_news(struct rd_http_watch *watch)
{
    for (;;) {
        pthread_mutex_lock(&watch->news_lock);
        struct rd_http_exchange *x = watch->news;
        if (x != NULL) {
            watch->news = x->stream.next_news;
            x->stream.posted = false;
        }
        pthread_mutex_unlock(&watch->news_lock);
        if (x == NULL) {
            return;
        }
        rd_http_stream_look(x);
    }
}

static void tell_gone(struct rd_http_watch *watch, struct rd_http_conn *conn)
{
    if (conn->hup && conn->waiting != NULL && !conn->waiting->told_gone) {
        conn->waiting->told_gone = true;
        watch->app->gone(watch->app->ctx, conn->waiting);
    }
}

static void look_at(struct rd_http_watch *watch, struct rd_http_conn *conn, uint64_t now)
{
    if (conn->stream != NULL) {
        uint64_t stuck_ns = atomic_load(&conn->stream->stream.stuck_ns);
        if (stuck_ns != 0 && now > stuck_ns + RD_LIMIT_IDLE_TIME_MS * NS_PER_MS) {
            (void)shutdown(conn->fd, SHUT_RDWR); /* the set tells */
        }
        return;
    }
    tell_gone(watch, conn);
    if (conn->deadline_ns != 0 && now > conn->deadline_ns) {
        conn->deadline_ns = 0;
        (void)shutdown(conn->fd, SHUT_RDWR);
    } else if (conn->loop == NULL || conn->parked) {
        return; /* upgraded, or its next event tells all */
    } else if (conn->idle_ns != 0 && !conn->hup &&
               now >= conn->idle_ns + atomic_load(&watch->park_after_ns)) {
        give_errand(conn);
    } else if (conn->hup && conn->waiting == NULL) {
        /* libmicrohttpd misses the end of a stream that comes together with its last bytes;
         * this loses nothing, since no more can come, and makes it look again. */
        (void)shutdown(conn->fd, SHUT_RD);
    }
}

static void look_at_all(struct rd_http_watch *watch)
{
    uint64_t now = rd_clock_mono_ns();
    pthread_mutex_lock(&watch->lock);
    for (uint32_t i = 0; i < watch->slots_used; i++) {
        if (watch->conns[i] != NULL) {
            look_at(watch, watch->conns[i], now);
        }
    }
    pthread_mutex_unlock(&watch->lock);
}

static void take_event(struct rd_http_watch *watch, const struct epoll_event *event)
{
    uint32_t slot = (uint32_t)event->data.u64;
    struct rd_http_conn *conn = slot < RD_LIMIT_CONNECTIONS ? watch->conns[slot] : NULL;
    if (conn == NULL || conn->generation != event->data.u64 >> 32) {
        return;
    }
    conn->hup |= (event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    if (conn->stream != NULL) {
        rd_http_watch_post(watch, conn->stream);
    } else if (conn->parked) {
        give_errand(conn);
    } else {
        tell_gone(watch, conn);
    }
}

/* Streams that have ended and whose clients take nothing would keep the server for ever. */
static void look_at_the_last(struct rd_http_watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    for (uint32_t i = 0; i < watch->slots_used; i++) {
        struct rd_http_conn *conn = watch->conns[i];
        if (conn != NULL && conn->stream != NULL) {
            conn->hup = true;
            rd_http_watch_post(watch, conn->stream);
        }
    }
    pthread_mutex_unlock(&watch->lock);
    look_at_news(watch);
}

static void *run(void *arg)
{
    struct rd_http_watch *watch = arg;
    uint64_t next_tick = 0;
    while (!atomic_load(&watch->stopping)) {
        struct epoll_event events[WATCH_EVENTS];
        int count = epoll_wait(watch->epoll_fd, events, WATCH_EVENTS, TICK_MS);
        pthread_mutex_lock(&watch->lock);
        for (int i = 0; i < count; i++) {
            if (events[i].data.u64 == THE_WAKE_UP) {
                eventfd_t value;
                (void)eventfd_read(watch->wake_fd, &value);
            } else {
                take_event(watch, &events[i]);
            }
        }
        pthread_mutex_unlock(&watch->lock);
        look_at_news(watch);
        uint64_t now = rd_clock_mono_ns();
        if (atomic_exchange(&watch->look_again, false) || now >= next_tick) {
            look_at_all(watch);
            next_tick = now + TICK_MS * NS_PER_MS;
        }
    }
    look_at_the_last(watch);
    return NULL;
}

rd_err rd_http_watch_init(struct rd_http_watch *watch, const struct rd_http_app *app)
{
    watch->app = app;
    watch->park_after_ns = PARK_AFTER_MS * NS_PER_MS;
    watch->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = THE_WAKE_UP};
    bool ok = pthread_mutex_init(&watch->lock, NULL) == 0 &&
              pthread_mutex_init(&watch->news_lock, NULL) == 0 && watch->epoll_fd >= 0 &&
              watch->wake_fd >= 0 &&
              epoll_ctl(watch->epoll_fd, EPOLL_CTL_ADD, watch->wake_fd, &event) == 0;
    return ok ? RD_OK : rd_err_errno(errno);
}

rd_err rd_http_watch_start(struct rd_http_watch *watch)
{
    watch->running = pthread_create(&watch->thread, NULL, run, watch) == 0;
    return watch->running ? RD_OK : RD_ERR_NO_MEMORY;
}

void rd_http_watch_done(struct rd_http_watch *watch)
{
    atomic_store(&watch->stopping, true);
    rd_http_watch_wake(watch);
    if (watch->running) {
        (void)pthread_join(watch->thread, NULL);
    }
    for (uint32_t i = 0; i < watch->slots_used; i++) {
        struct rd_http_conn *conn = watch->conns[i];
        if (conn != NULL && conn->parked) { /* the loops have ended, and nobody takes it back */
            (void)close(conn->fd);
            rd_mem_free(conn);
        }
    }
    rd_fs_close_ptr_(&watch->epoll_fd);
    rd_fs_close_ptr_(&watch->wake_fd);
    (void)pthread_mutex_destroy(&watch->news_lock);
    (void)pthread_mutex_destroy(&watch->lock);
}
